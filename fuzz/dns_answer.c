/*
 * The resolver, against a name server of the target's own on loopback that answers with the input. The first byte says
 * how much of that is put right, so that it is taken for an answer at all; after it comes a proper "no such name" to end
 * the question with. However broken the answer: the look-up ends soon, hands out no more than it may and nothing that
 * the server did not send, and the guard knows what is special in it.
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "base/lock.h"
#include "fetch/egress.h"
#include "fetch/resolver.h"
#include "fuzz.h"
#include "ranges.h"

#define END_SECONDS 20 /* c-ares gives up after 14, when nothing it reads is an answer */
#define HEADER_BYTES 12
#define PACKET_BYTES 4096

/* Of the first byte. */
enum {
	RAW = 1,       /* nothing is put right but the id */
	OWN_FLAGS = 2, /* the flags are the input's */
	HALVES = 4,    /* the first half answers A, the second AAAA */
};

static struct {
	int fd;
	char address[32];
	pthread_t thread;
	atomic_bool stopped;
	struct lock lock; /* guards the input that is tried: a question asked twice may be answered late */
	const uint8_t *bytes;
	size_t count;
	struct resolver *resolver;
	struct egress_policy *policy;
} world = {.fd = -1};

/* ---- the name server */

/* Where the first question ends, or 0. */
static size_t
question_end(const uint8_t *packet, size_t size)
{
	size_t at = HEADER_BYTES;

	while (at < size && packet[at] != 0)
		at += packet[at] + 1u;
	return at + 5 <= size ? at + 5 : 0;
}

/* The input as an answer to the question in packet, which it takes the place of. Returns its size. */
static size_t
write_answer(uint8_t *packet, size_t question, bool is_aaaa)
{
	const uint8_t *bytes = world.bytes + 1;
	size_t count = world.count - 1;
	uint8_t how = world.bytes[0];

	if ((how & HALVES) != 0) {
		bytes += is_aaaa ? count / 2 : 0;
		count = is_aaaa ? count - count / 2 : count / 2;
	}
	size_t start = (how & RAW) != 0 ? 2 : question, flags = (how & OWN_FLAGS) != 0 ? 2 : 0, counts = flags + 6;
	if (start == question) {
		packet[2] = 0x85;
		packet[3] = 0x80;
		memset(packet + 6, 0, 6);
		if (count >= counts) {
			memcpy(packet + 2, bytes, flags);
			memcpy(packet + 6, bytes + flags, 6);
			bytes += counts;
			count -= counts;
		}
	}
	size_t room = PACKET_BYTES - start;
	memcpy(packet + start, bytes, count < room ? count : room);
	return start + (count < room ? count : room);
}

static void
answer_one(void)
{
	uint8_t packet[PACKET_BYTES], refusal[512];
	struct sockaddr_in from;
	socklen_t from_size = sizeof from;
	ssize_t got = recvfrom(world.fd, refusal, sizeof refusal, 0, (struct sockaddr *)&from, &from_size);
	size_t question = got < HEADER_BYTES ? 0 : question_end(refusal, (size_t)got);

	if (question == 0)
		return;
	memcpy(packet, refusal, question);
	lock_take(&world.lock);
	size_t size = write_answer(packet, question, refusal[question - 3] == 28);
	lock_drop(&world.lock);
	sendto(world.fd, packet, size, 0, (struct sockaddr *)&from, from_size);
	refusal[2] = 0x85;
	refusal[3] = 0x83; /* no such name */
	memset(refusal + 6, 0, 6);
	sendto(world.fd, refusal, question, 0, (struct sockaddr *)&from, from_size);
}

static void *
serve(void *context)
{
	(void)context;
	while (!atomic_load(&world.stopped))
		answer_one();
	return NULL;
}

/* So that the leak detector finds nothing that is still in use. A datagram of its own wakes the server. */
static void
stop(void)
{
	struct sockaddr_in self;
	socklen_t size = sizeof self;

	atomic_store(&world.stopped, true);
	if (getsockname(world.fd, (struct sockaddr *)&self, &size) == 0)
		sendto(world.fd, "", 1, 0, (struct sockaddr *)&self, size);
	thread_join(world.thread);
	resolver_free(world.resolver);
	egress_policy_unref(world.policy);
}

static void
start(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof address;
	const char *bad;

	if (world.fd >= 0)
		return;
	lock_init(&world.lock);
	world.fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	FUZZ_CHECK(world.fd >= 0 && bind(world.fd, (struct sockaddr *)&address, size) == 0 &&
			getsockname(world.fd, (struct sockaddr *)&address, &size) == 0,
		"no socket: %s", strerror(errno));
	snprintf(world.address, sizeof world.address, "127.0.0.1:%d", ntohs(address.sin_port));
	FUZZ_CHECK(resolver_new(world.address, &world.resolver) == 0, "no resolver");
	world.policy = egress_policy_new(NULL, 0, NULL, 0, &bad);
	FUZZ_CHECK(world.policy != NULL, "no policy");
	FUZZ_CHECK(thread_start(&world.thread, "dns", serve, NULL) == 0, "no thread");
	atexit(stop);
}

/* ---- the question */

struct question {
	struct resolver_query query;
	struct resolved resolved;
	sem_t answered;
};

static void
on_answer(struct resolver_query *query, const struct resolved *resolved)
{
	struct question *question = query->context;

	question->resolved = *resolved;
	sem_post(&question->answered);
}

/* A name of its own, since answers are cached. */
static void
ask(struct question *question, char *ret_name, size_t size)
{
	static unsigned long number;
	struct timespec due;

	snprintf(ret_name, size, "n%lu.example", number++);
	*question = (struct question){.query = {.answer = on_answer, .context = question}};
	sem_init(&question->answered, 0, 0);
	clock_gettime(CLOCK_REALTIME, &due);
	due.tv_sec += END_SECONDS;
	int rc = resolver_lookup(world.resolver, ret_name, &question->query, &question->resolved);
	FUZZ_CHECK(rc == 0, "a new name is answered at once: %d", rc);
	while (sem_timedwait(&question->answered, &due) != 0)
		FUZZ_CHECK(errno == EINTR, "no answer after %d s", END_SECONDS);
	sem_destroy(&question->answered);
}

static bool
was_sent(const struct address *address)
{
	return memmem(world.bytes, world.count, address->bytes, address->family == 4 ? 4 : 16) != NULL;
}

static void
check_resolved(const char *name, const struct resolved *resolved)
{
	FUZZ_CHECK(resolved->count <= RESOLVER_MAX_ADDRESSES, "%zu addresses", resolved->count);
	FUZZ_CHECK((resolved->error == 0) == (resolved->count > 0), "error %d with %zu addresses", resolved->error,
		resolved->count);
	FUZZ_CHECK(resolved->error == 0 || resolved->message[0] != '\0', "error %d without a word", resolved->error);
	for (size_t i = 0; i < resolved->count; i++) {
		const struct address *address = &resolved->addresses[i];
		struct egress_verdict verdict = egress_check_address(world.policy, name, 80, address);
		char text[ADDRESS_TEXT_BYTES];

		address_format(address, text);
		FUZZ_CHECK(was_sent(address), "%s was never sent", text);
		FUZZ_CHECK(!verdict.allowed || !address_is_special(address), "%s is special, and allowed", text);
		FUZZ_CHECK(verdict.allowed || address_is_special(address) || strncmp(verdict.rule, "own ", 4) == 0,
			"%s is public, and refused: %s", text, verdict.reason);
	}
}

static void
set_input(const uint8_t *bytes, size_t count)
{
	lock_take(&world.lock);
	world.bytes = bytes;
	world.count = count;
	lock_drop(&world.lock);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	static const uint8_t nothing[1];
	struct question question;
	char name[64];

	if (count == 0)
		return 0;
	start();
	set_input(bytes, count);
	ask(&question, name, sizeof name);
	check_resolved(name, &question.resolved);
	set_input(nothing, sizeof nothing);
	return 0;
}
