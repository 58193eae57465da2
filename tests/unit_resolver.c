/*
 * The resolver, against a small DNS server of this test's own on 127.0.0.1 that answers by name and counts what it is
 * asked; and, without one, its cache and its rules.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <check.h>

#include "base/clock.h"
#include "base/lock.h"
#include "base/metrics.h"
#include "fetch/resolved.h"
#include "fetch/resolver.h"
#include "fetch/resolver_cache.h"

#define COUNT(table) ((int)(sizeof(table) / sizeof *(table)))

enum { TYPE_A = 1, TYPE_AAAA = 28 };
enum { RCODE_OK, RCODE_SERVFAIL = 2, RCODE_NXDOMAIN = 3 };

/* ---- the server: a row answers every name that ends in its suffix */

struct script {
	const char *suffix;
	int rcode, a, aaaa; /* so many addresses of each kind */
	uint32_t ttl;
	bool silent, held, changing;
	atomic_int asked;
};

static struct script scripts[] = {
	{.suffix = "v4.test", .a = 1, .ttl = 60},
	{.suffix = "v6.test", .aaaa = 1, .ttl = 60},
	{.suffix = "both.test", .a = 3, .aaaa = 2, .ttl = 60},
	{.suffix = "many.test", .a = 12, .aaaa = 12, .ttl = 60},
	{.suffix = "lots.test", .a = 20, .ttl = 60},
	{.suffix = "none.test", .rcode = RCODE_NXDOMAIN},
	{.suffix = "empty.test"},
	{.suffix = "fail.test", .rcode = RCODE_SERVFAIL},
	{.suffix = "held.test", .a = 1, .ttl = 60, .held = true},
	{.suffix = "silent.test", .silent = true},
	{.suffix = "steady.test", .a = 1, .ttl = 0},
	{.suffix = "changing.test", .a = 1, .ttl = 1, .changing = true},
	{.suffix = "bulk.test", .a = 1, .ttl = 300},
	{.suffix = "localhost", .a = 1, .ttl = 60},
};

static struct {
	int fd, stop[2];
	pthread_t thread;
	sem_t release; /* lets one question of a held name be answered */
	sem_t seen;    /* a held question came in */
	char address[32];
} server;

static struct resolver *resolver;

static struct script *
script_for(const char *name)
{
	for (int i = 0; i < COUNT(scripts); i++) {
		size_t length = strlen(name), suffix = strlen(scripts[i].suffix);
		if (length >= suffix && strcmp(name + length - suffix, scripts[i].suffix) == 0)
			return &scripts[i];
	}
	return NULL;
}

static int
asked(const char *suffix)
{
	return atomic_load(&script_for(suffix)->asked);
}

/* The name of the first question, with dots; gives where its type stands. */
static size_t
read_name(const unsigned char *packet, size_t size, char *ret)
{
	size_t at = 12, out = 0;

	while (at < size && packet[at] != 0 && at + packet[at] < size && out + packet[at] < 255) {
		if (out > 0)
			ret[out++] = '.';
		memcpy(ret + out, packet + at + 1, packet[at]);
		out += packet[at];
		at += packet[at] + 1u;
	}
	ret[out] = '\0';
	return at + 1;
}

static size_t
add_record(unsigned char *at, int type, int index, uint32_t ttl)
{
	unsigned char record[28] = {0xc0, 12, 0, (unsigned char)type, 0, 1, (unsigned char)(ttl >> 24),
		(unsigned char)(ttl >> 16), (unsigned char)(ttl >> 8), (unsigned char)ttl};
	size_t bytes = type == TYPE_A ? 4 : 16;

	record[11] = (unsigned char)bytes;
	if (type == TYPE_A)
		memcpy(record + 12, (const unsigned char[]){127, 9, 9, (unsigned char)index}, 4);
	else
		memcpy(record + 12, (const unsigned char[16]){0xfd, 9, [15] = (unsigned char)index}, 16);
	memcpy(at, record, 12 + bytes);
	return 12 + bytes;
}

static size_t
write_answer(unsigned char *packet, size_t question_end, const struct script *script, int type)
{
	int count = type == TYPE_A ? script->a : type == TYPE_AAAA ? script->aaaa : 0;
	int first = script->changing ? atomic_load(&script->asked) : 1;
	size_t size = question_end;

	packet[2] = 0x85; /* an answer, authoritative, recursion wished */
	packet[3] = (unsigned char)(0x80 | script->rcode);
	packet[7] = (unsigned char)count;
	memset(packet + 8, 0, 4); /* no authority, nothing additional */
	for (int i = 0; i < count; i++)
		size += add_record(packet + size, type, first + i, script->ttl);
	return size;
}

static void
answer_one(void)
{
	unsigned char packet[2048];
	struct sockaddr_in from;
	socklen_t from_size = sizeof from;
	char name[256];
	ssize_t size = recvfrom(server.fd, packet, 512, 0, (struct sockaddr *)&from, &from_size);

	if (size < 17)
		return;
	size_t at = read_name(packet, (size_t)size, name);
	struct script *script = script_for(name);
	if (script == NULL)
		return;
	atomic_fetch_add(&script->asked, 1);
	if (script->held) {
		sem_post(&server.seen);
		while (sem_wait(&server.release) != 0)
			;
	}
	if (script->silent)
		return;
	size_t answer = write_answer(packet, at + 4, script, packet[at + 1]);
	if (sendto(server.fd, packet, answer, 0, (struct sockaddr *)&from, from_size) < 0)
		perror("sendto");
}

static void *
serve(void *context)
{
	struct pollfd fds[2] = {{.fd = server.fd, .events = POLLIN}, {.fd = server.stop[0], .events = POLLIN}};

	(void)context;
	for (;;) {
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return NULL;
		if (fds[1].revents != 0)
			return NULL;
		if (fds[0].revents != 0)
			answer_one();
	}
}

static void
start_server(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof address;

	server.fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ck_assert_int_ge(server.fd, 0);
	ck_assert_int_eq(bind(server.fd, (struct sockaddr *)&address, sizeof address), 0);
	ck_assert_int_eq(getsockname(server.fd, (struct sockaddr *)&address, &size), 0);
	ck_assert_int_eq(pipe(server.stop), 0);
	ck_assert_int_eq(sem_init(&server.release, 0, 0), 0);
	ck_assert_int_eq(sem_init(&server.seen, 0, 0), 0);
	snprintf(server.address, sizeof server.address, "127.0.0.1:%d", ntohs(address.sin_port));
	for (int i = 0; i < COUNT(scripts); i++)
		atomic_store(&scripts[i].asked, 0);
	ck_assert_int_eq(thread_start(&server.thread, "dns", serve, NULL), 0);
}

static void
setup(void)
{
	start_server();
	ck_assert_int_eq(resolver_new(server.address, &resolver), 0);
}

static void
teardown(void)
{
	resolver_free(resolver);
	resolver = NULL;
	for (int i = 0; i < 100; i++)
		sem_post(&server.release);
	ck_assert_int_eq((int)write(server.stop[1], "x", 1), 1);
	thread_join(server.thread);
	close(server.fd);
	close(server.stop[0]);
	close(server.stop[1]);
	sem_destroy(&server.release);
	sem_destroy(&server.seen);
}

/* ---- the asker */

struct question {
	struct resolver_query query;
	struct resolved result;
	sem_t done;
};

static void
on_answer(struct resolver_query *query, const struct resolved *resolved)
{
	struct question *question = query->context;

	question->result = *resolved;
	sem_post(&question->done);
}

static void
question_init(struct question *question)
{
	*question = (struct question){.query = {.answer = on_answer, .context = question}};
	ck_assert_int_eq(sem_init(&question->done, 0, 0), 0);
}

static void
await(sem_t *semaphore)
{
	while (sem_wait(semaphore) != 0)
		ck_assert_int_eq(errno, EINTR);
}

/* The answer may still be on its way out when its semaphore was posted. */
static void
question_release(struct question *question)
{
	if (resolver != NULL)
		resolver_cancel(resolver, &question->query);
	sem_destroy(&question->done);
}

/* Asks and waits; *ret_cached tells whether the answer came at once. */
static struct resolved
ask(const char *host, bool *ret_cached)
{
	struct question question;
	struct resolved result;

	question_init(&question);
	int got = resolver_lookup(resolver, host, &question.query, &result);
	ck_assert_int_ge(got, 0);
	if (got == 0) {
		await(&question.done);
		result = question.result;
	}
	*ret_cached = got == 1;
	question_release(&question);
	ck_assert_int_ne((int)(result.generation != 0), 0);
	return result;
}

static size_t
cached_names(void)
{
	struct resolver_gauges gauges;

	resolver_gauges(resolver, &gauges);
	return gauges.cached;
}

static uint64_t
metric(enum metric which)
{
	return atomic_load(&metric_values[which]);
}

static void
check_address(const struct address *address, const char *expected)
{
	char text[ADDRESS_TEXT_BYTES];

	address_format(address, text);
	ck_assert_str_eq(text, expected);
}

/* ---- answers */

START_TEST(answers_from_the_server_once)
{
	uint64_t hits = metric(METRIC_DNS_HITS), questions = metric(METRIC_DNS_ASKED);
	bool cached;
	struct resolved first = ask("a.v4.test", &cached);

	ck_assert(!cached);
	ck_assert_int_eq(first.error, 0);
	ck_assert_uint_eq(first.count, 1);
	check_address(&first.addresses[0], "127.9.9.1");
	ck_assert_int_eq(asked("v4.test"), 2); /* A and AAAA */
	struct resolved second = ask("a.v4.test", &cached);
	ck_assert(cached);
	ck_assert_uint_eq(second.generation, first.generation);
	ck_assert_uint_eq(second.count, 1);
	check_address(&second.addresses[0], "127.9.9.1");
	ck_assert_int_eq(asked("v4.test"), 2);
	ck_assert_uint_eq(cached_names(), 1);
	ck_assert_uint_eq(metric(METRIC_DNS_HITS), hits + 1);
	ck_assert_uint_eq(metric(METRIC_DNS_ASKED), questions + 1);
	ck_assert_uint_ne(ask("b.v4.test", &cached).generation, first.generation);
	ck_assert(!cached);
}
END_TEST

START_TEST(answers_ipv6)
{
	bool cached;
	struct resolved result = ask("v6.test", &cached);

	ck_assert_int_eq(result.error, 0);
	ck_assert_uint_eq(result.count, 1);
	check_address(&result.addresses[0], "fd09::1");
}
END_TEST

START_TEST(takes_families_in_turn)
{
	bool cached;
	struct resolved result = ask("both.test", &cached);

	ck_assert_uint_eq(result.count, 5);
	for (size_t i = 1; i < 4; i++)
		ck_assert_int_ne(result.addresses[i].family, result.addresses[i - 1].family);
	ck_assert_int_eq(result.addresses[4].family, 4);
	result = ask("many.test", &cached);
	ck_assert_uint_eq(result.count, 24);
	for (size_t i = 1; i < result.count; i++)
		ck_assert_int_ne(result.addresses[i].family, result.addresses[i - 1].family);
	result = ask("lots.test", &cached);
	ck_assert_uint_eq(result.count, 20);
}
END_TEST

START_TEST(remembers_failures)
{
	static const struct {
		const char *host;
		int error;
	} table[] = {{"none.test", -EHOSTUNREACH}, {"empty.test", -EHOSTUNREACH}, {"fail.test", -EAGAIN}};
	bool cached;

	for (int i = 0; i < COUNT(table); i++) {
		uint64_t failures = metric(METRIC_DNS_FAILED);
		struct resolved result = ask(table[i].host, &cached);
		ck_assert(!cached);
		ck_assert_int_eq(result.error, table[i].error);
		ck_assert_uint_eq(result.count, 0);
		ck_assert_int_gt((int)strlen(result.message), 0);
		ck_assert_uint_eq(metric(METRIC_DNS_FAILED), failures + 1);
		int questions = asked(table[i].host);
		ck_assert_int_gt(questions, 0);
		result = ask(table[i].host, &cached);
		if (cached) /* a slow machine may find a second gone by */
			ck_assert_int_eq(asked(table[i].host), questions);
		ck_assert_int_eq(result.error, table[i].error);
	}
}
END_TEST

START_TEST(refuses_what_is_no_name)
{
	char host[300];
	bool cached;

	memset(host, 'a', sizeof host);
	host[299] = '\0';
	ck_assert_int_eq(ask(host, &cached).error, -EHOSTUNREACH);
	ck_assert(cached);
	ck_assert_int_eq(ask("", &cached).error, -EHOSTUNREACH);
	ck_assert_int_eq(ask("a..b", &cached).error, -EHOSTUNREACH);
	host[100] = '\0'; /* a label of 100 */
	ck_assert_int_eq(ask(host, &cached).error, -EHOSTUNREACH);
}
END_TEST

START_TEST(answers_literals_at_once)
{
	static const char *const table[] = {"127.0.0.1", "8.8.8.8", "::1", "2001:db8::1", "::ffff:1.2.3.4"};
	bool cached;

	for (int i = 0; i < COUNT(table); i++) {
		struct resolved result = ask(table[i], &cached);
		ck_assert(cached);
		ck_assert_int_eq(result.error, 0);
		ck_assert_uint_eq(result.count, 1);
		check_address(&result.addresses[0], table[i]);
	}
	ck_assert_uint_eq(cached_names(), 0);
}
END_TEST

START_TEST(knows_localhost)
{
	static const char *const table[] = {"localhost", "a.localhost", "a.b.localhost"};
	bool cached;

	for (int i = 0; i < COUNT(table); i++) {
		struct resolved result = ask(table[i], &cached);
		ck_assert_int_eq(result.error, 0);
		ck_assert_uint_gt(result.count, 0);
		for (size_t j = 0; j < result.count; j++)
			ck_assert(result.addresses[j].family == 4 ? result.addresses[j].bytes[0] == 127
								  : result.addresses[j].bytes[15] == 1);
	}
	ck_assert_int_eq(asked("localhost"), 0);
	ask("notlocalhost", &cached);
	ck_assert_int_gt(asked("localhost"), 0);
}
END_TEST

/* ---- time */

/* Asks until the answer is no cached one. */
static struct resolved
ask_anew(const char *host)
{
	struct resolved result;
	struct lock lock;
	struct cond cond;
	bool cached;

	lock_init(&lock);
	cond_init(&cond);
	for (;;) {
		result = ask(host, &cached);
		if (!cached)
			break;
		lock_take(&lock);
		cond_wait_until(&cond, &lock, mono_ms() + 20);
		lock_drop(&lock);
	}
	cond_release(&cond);
	lock_release(&lock);
	return result;
}

START_TEST(forgets_after_the_ttl)
{
	int64_t started = mono_ms();
	struct resolved steady = ask_anew("steady.test"), changing = ask_anew("changing.test");
	bool cached;

	/* A ttl of 0 is taken as a second: at once, the answer is the same one. */
	ask("steady.test", &cached);
	ck_assert(cached || mono_ms() - started >= 1000);
	ck_assert_uint_eq(ask_anew("steady.test").generation, steady.generation);
	ck_assert_int_ge((int)(mono_ms() - started), 999);
	struct resolved changed = ask_anew("changing.test");
	ck_assert_uint_ne(changed.generation, changing.generation);
	ck_assert(!address_equal(&changed.addresses[0], &changing.addresses[0]));
	ck_assert_uint_eq(cached_names(), 2);
}
END_TEST

/* ---- together */

START_TEST(joins_equal_questions)
{
	enum { ASKERS = 50 };
	static struct question questions[ASKERS];
	uint64_t joined = metric(METRIC_DNS_JOINED);
	struct resolved result;

	for (int i = 0; i < ASKERS; i++) {
		question_init(&questions[i]);
		ck_assert_int_eq(resolver_lookup(resolver, "held.test", &questions[i].query, &result), 0);
	}
	await(&server.seen);
	ck_assert_uint_eq(metric(METRIC_DNS_JOINED), joined + ASKERS - 1);
	sem_post(&server.release);
	sem_post(&server.release);
	for (int i = 0; i < ASKERS; i++) {
		await(&questions[i].done);
		ck_assert_int_eq(questions[i].result.error, 0);
		ck_assert_uint_eq(questions[i].result.generation, questions[0].result.generation);
		question_release(&questions[i]);
	}
	ck_assert_int_eq(asked("held.test"), 2);
}
END_TEST

enum { BATCH = 50, BULK = 10100 };

static void
ask_batch(int first)
{
	static struct question questions[BATCH];
	struct resolved result;
	char host[64];

	for (int i = 0; i < BATCH; i++) {
		question_init(&questions[i]);
		snprintf(host, sizeof host, "n%d.bulk.test", first + i);
		ck_assert_int_eq(resolver_lookup(resolver, host, &questions[i].query, &result), 0);
	}
	for (int i = 0; i < BATCH; i++) {
		await(&questions[i].done);
		ck_assert_int_eq(questions[i].result.error, 0);
		question_release(&questions[i]);
	}
}

/* The least recently used name goes first. */
START_TEST(bounds_the_cache)
{
	bool cached;

	for (int first = 0; first < BULK; first += BATCH) {
		ask_batch(first);
		if (first == 5000) {
			ask("n0.bulk.test", &cached);
			ck_assert(cached);
		}
	}
	ck_assert_uint_eq(cached_names(), 10000);
	ask("n0.bulk.test", &cached);
	ck_assert(cached);
	ask("n10099.bulk.test", &cached);
	ck_assert(cached);
	ask("n1.bulk.test", &cached);
	ck_assert(!cached);
}
END_TEST

/* ---- leaving */

START_TEST(cancels)
{
	struct question stays, leaves, never = {0};
	struct resolved result;

	question_init(&stays);
	question_init(&leaves);
	ck_assert_int_eq(resolver_lookup(resolver, "held.test", &stays.query, &result), 0);
	ck_assert_int_eq(resolver_lookup(resolver, "held.test", &leaves.query, &result), 0);
	await(&server.seen);
	resolver_cancel(resolver, &leaves.query);
	resolver_cancel(resolver, &leaves.query);
	resolver_cancel(resolver, &never.query);
	sem_post(&server.release);
	sem_post(&server.release);
	await(&stays.done);
	resolver_cancel(resolver, &stays.query);
	ck_assert_int_eq(sem_trywait(&leaves.done), -1);
	question_release(&stays);
	question_release(&leaves);
}
END_TEST

/* A look-up that nobody waits for any more is still good for the cache, and may be joined again. */
START_TEST(cancels_the_only_one)
{
	struct question first, second;
	struct resolved result;

	question_init(&first);
	question_init(&second);
	ck_assert_int_eq(resolver_lookup(resolver, "held.test", &first.query, &result), 0);
	await(&server.seen);
	resolver_cancel(resolver, &first.query);
	ck_assert_int_eq(resolver_lookup(resolver, "held.test", &second.query, &result), 0);
	sem_post(&server.release);
	sem_post(&server.release);
	await(&second.done);
	ck_assert_int_eq(second.result.error, 0);
	ck_assert_int_eq(asked("held.test"), 2);
	question_release(&first);
	question_release(&second);
}
END_TEST

static struct {
	sem_t entered, leave;
	int left; /* neither atomic nor locked: resolver_cancel orders it */
} slow;

static void
on_slow_answer(struct resolver_query *query, const struct resolved *resolved)
{
	(void)query, (void)resolved;
	sem_post(&slow.entered);
	await(&slow.leave);
	slow.left = 1;
}

static void *
let_it_leave(void *context)
{
	(void)context;
	sem_post(&slow.leave);
	return NULL;
}

START_TEST(cancel_waits_for_a_running_answer)
{
	struct resolver_query query = {.answer = on_slow_answer};
	struct resolved result;
	pthread_t thread;

	slow.left = 0;
	ck_assert_int_eq(sem_init(&slow.entered, 0, 0) | sem_init(&slow.leave, 0, 0), 0);
	ck_assert_int_eq(resolver_lookup(resolver, "v4.test", &query, &result), 0);
	await(&slow.entered);
	ck_assert_int_eq(thread_start(&thread, "leave", let_it_leave, NULL), 0);
	resolver_cancel(resolver, &query);
	ck_assert_int_eq(slow.left, 1);
	thread_join(thread);
	sem_destroy(&slow.entered);
	sem_destroy(&slow.leave);
}
END_TEST

static void
on_slow_answer_ask_again(struct resolver_query *query, const struct resolved *resolved)
{
	on_slow_answer(query, resolved);
	ck_assert_int_eq(resolver_lookup(resolver, "silent.test", query, &(struct resolved){0}), 0);
}

/* Whether the answer asks again before or while the query is cancelled, nothing is asked afterwards. */
START_TEST(cancel_ends_what_a_running_answer_asks)
{
	struct resolver_query query = {.answer = on_slow_answer_ask_again};
	struct resolved result;
	pthread_t thread;

	ck_assert_int_eq(sem_init(&slow.entered, 0, 0) | sem_init(&slow.leave, 0, 0), 0);
	ck_assert_int_eq(resolver_lookup(resolver, "v4.test", &query, &result), 0);
	await(&slow.entered);
	ck_assert_int_eq(thread_start(&thread, "leave", let_it_leave, NULL), 0);
	resolver_cancel(resolver, &query);
	ck_assert_ptr_null(query.lookup);
	thread_join(thread);
	sem_destroy(&slow.entered);
	sem_destroy(&slow.leave);
}
END_TEST

struct chain {
	struct resolver_query query;
	struct resolved last;
	int step;
	sem_t done;
};

/* Asks for the next name from within the answer, with the same query. */
static void
on_chain_answer(struct resolver_query *query, const struct resolved *resolved)
{
	static const char *const hosts[] = {"b.v4.test", "c.v4.test", "a.v4.test"};
	struct chain *chain = query->context;

	(void)resolved;
	if (resolver_lookup(resolver, hosts[chain->step++], query, &chain->last) != 0)
		sem_post(&chain->done);
}

START_TEST(asks_again_from_within_an_answer)
{
	struct chain chain = {.query = {.answer = on_chain_answer, .context = &chain}};

	ck_assert_int_eq(sem_init(&chain.done, 0, 0), 0);
	ck_assert_int_eq(resolver_lookup(resolver, "a.v4.test", &chain.query, &chain.last), 0);
	await(&chain.done);
	ck_assert_int_eq(chain.step, 3);
	ck_assert_int_eq(chain.last.error, 0);
	ck_assert_int_eq(asked("v4.test"), 6);
	sem_destroy(&chain.done);
}
END_TEST

START_TEST(free_answers_all)
{
	enum { ASKERS = 5000 }; /* more than are in flight at once */
	struct question *questions = calloc(ASKERS, sizeof *questions);
	struct resolved result;
	char host[64];

	ck_assert_ptr_nonnull(questions);
	for (int i = 0; i < ASKERS; i++) {
		question_init(&questions[i]);
		snprintf(host, sizeof host, "n%d.silent.test", i / 2);
		ck_assert_int_eq(resolver_lookup(resolver, host, &questions[i].query, &result), 0);
	}
	resolver_free(resolver);
	resolver = NULL;
	for (int i = 0; i < ASKERS; i++) {
		ck_assert_int_eq(sem_trywait(&questions[i].done), 0);
		ck_assert_int_eq(questions[i].result.error, -ECANCELED);
		question_release(&questions[i]);
	}
	free(questions);
}
END_TEST

static void
on_stubborn_answer(struct resolver_query *query, const struct resolved *resolved)
{
	struct question *question = query->context;

	ck_assert_int_eq(resolved->error, -ECANCELED);
	if (resolver_lookup(resolver, "other.silent.test", query, &question->result) == 1)
		sem_post(&question->done);
}

START_TEST(free_takes_no_more_questions)
{
	struct question question;
	struct resolved result;

	question_init(&question);
	question.query.answer = on_stubborn_answer;
	ck_assert_int_eq(resolver_lookup(resolver, "silent.test", &question.query, &result), 0);
	resolver_free(resolver);
	resolver = NULL;
	ck_assert_int_eq(sem_trywait(&question.done), 0);
	ck_assert_int_eq(question.result.error, -ECANCELED);
	question_release(&question);
}
END_TEST

/* ---- many threads */

static void *
ask_and_cancel(void *context)
{
	uint32_t random = *(const uint32_t *)context;

	for (int round = 0; round < 300; round++) {
		struct question question;
		struct resolved result;
		char host[64];
		random = random * 1664525 + 1013904223;
		snprintf(host, sizeof host, "t%u.%s", random >> 8 & 15,
			(random >> 16 & 3) == 0 ? "silent.test" : "steady.test");
		question = (struct question){.query = {.answer = on_answer, .context = &question}};
		sem_init(&question.done, 0, 0);
		if (resolver_lookup(resolver, host, &question.query, &result) == 0) {
			if ((random >> 16 & 3) != 0 && (random >> 20 & 1) != 0)
				await(&question.done);
			resolver_cancel(resolver, &question.query);
		}
		question_release(&question);
	}
	return NULL;
}

START_TEST(survives_many_threads)
{
	enum { THREADS = 4 };
	static const uint32_t seeds[THREADS] = {1, 22, 333, 4444};
	pthread_t threads[THREADS];

	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(thread_start(&threads[i], "asker", ask_and_cancel, (void *)(uintptr_t)&seeds[i]), 0);
	for (int i = 0; i < THREADS; i++)
		thread_join(threads[i]);
}
END_TEST

START_TEST(starts_and_stops)
{
	struct resolver *other = NULL;

	ck_assert_int_eq(resolver_new(NULL, &other), 0);
	resolver_free(other);
	other = NULL;
	ck_assert_int_eq(resolver_new("no address", &other), -EINVAL);
	ck_assert_ptr_null(other);
	resolver_free(NULL);
}
END_TEST

/* ---- the cache alone */

static struct resolver_cache cache;

static void
cache_setup(void)
{
	resolver_cache_init(&cache, 3);
}

static void
cache_teardown(void)
{
	resolver_cache_release(&cache);
}

/* An answer of one address, 127.9.9.last, or none. */
static struct resolved
answer_of(uint8_t last)
{
	return (struct resolved){.count = last != 0, .addresses = {{4, {127, 9, 9, last}}}};
}

/* Stores at time 0; returns the generation. */
static uint64_t
keep(const char *host, uint8_t last, int64_t ttl_ms)
{
	struct resolved result = answer_of(last);

	resolver_cache_store(&cache, host, strlen(host), ttl_ms, 0, &result);
	return result.generation;
}

static bool
knows(const char *host, int64_t now_mono_ms)
{
	struct resolved result;

	return resolver_cache_find(&cache, host, strlen(host), now_mono_ms, &result);
}

START_TEST(cache_keeps_until_the_time_is_up)
{
	struct resolved result;

	keep("a", 7, 100);
	ck_assert(resolver_cache_find(&cache, "a", 1, 99, &result));
	check_address(&result.addresses[0], "127.9.9.7");
	ck_assert(!knows("a", 100));
	ck_assert(!knows("ab", 0));
	keep("b", 8, 0);
	ck_assert(!knows("b", 0));
	ck_assert_uint_eq(resolver_cache_count(&cache), 1);
	keep("a", 7, 200); /* anew */
	ck_assert(knows("a", 199));
}
END_TEST

START_TEST(cache_drops_the_least_recently_used)
{
	keep("a", 1, 100);
	keep("b", 2, 100);
	keep("c", 3, 100);
	ck_assert(knows("a", 0));
	keep("b", 2, 100);
	keep("d", 4, 100);
	ck_assert_uint_eq(resolver_cache_count(&cache), 3);
	ck_assert(knows("a", 0));
	ck_assert(knows("b", 0));
	ck_assert(!knows("c", 0));
	ck_assert(knows("d", 0));
}
END_TEST

START_TEST(cache_gives_a_changed_answer_a_generation)
{
	uint64_t first = keep("a", 1, 100);

	ck_assert_uint_gt(first, RESOLVED_FIXED_GENERATION);
	ck_assert_uint_eq(keep("a", 1, 100), first);
	ck_assert_uint_eq(keep("a", 1, 0), first);
	uint64_t second = keep("a", 2, 100);
	ck_assert_uint_gt(second, first);
	ck_assert_uint_gt(keep("b", 2, 100), second);
	ck_assert_uint_gt(keep("a", 0, 100), second);
}
END_TEST

/* ---- rules alone */

START_TEST(tells_localhost)
{
	static const struct {
		const char *host;
		bool local;
	} table[] = {{"localhost", true}, {"LocalHost", true}, {"a.localhost", true}, {"a.b.localhost", true},
		{"alocalhost", false}, {"localhost.a", false}, {"ocalhost", false}, {"", false}};

	for (int i = 0; i < COUNT(table); i++)
		ck_assert_msg(resolved_is_localhost(table[i].host, strlen(table[i].host)) == table[i].local, "%s",
			table[i].host);
}
END_TEST

START_TEST(bounds_the_ttl)
{
	static const struct {
		int error;
		int64_t seconds, ms;
	} table[] = {{0, -1, 1000}, {0, 0, 1000}, {0, 1, 1000}, {0, 2, 2000}, {0, 300, 300000}, {0, 301, 300000},
		{0, INT32_MAX, 300000}, {-EHOSTUNREACH, 60, 5000}, {-EAGAIN, 60, 1000}, {-ETIMEDOUT, 60, 1000},
		{-ENOMEM, 60, 0}, {-ECANCELED, 60, 0}};

	for (int i = 0; i < COUNT(table); i++)
		ck_assert_int_eq(
			resolved_ttl_ms(&(struct resolved){.error = table[i].error}, table[i].seconds), table[i].ms);
}
END_TEST

/* Families as digits: what is sorted, and the turns made of it. */
START_TEST(takes_turns)
{
	static const struct {
		const char *sorted, *turns;
	} table[] = {{"", ""}, {"4", "4"}, {"66", "66"}, {"4466", "4646"}, {"6444", "6444"}, {"466664", "464666"},
		{"444444466666666", "464646464646466"}, {"44444444444444444444", "44444444444444444444"}};

	for (int i = 0; i < COUNT(table); i++) {
		struct address sorted[32] = {0};
		struct resolved result;
		char turns[RESOLVER_MAX_ADDRESSES + 1] = "";
		size_t count = strlen(table[i].sorted), last[2] = {0};
		for (size_t j = 0; j < count; j++)
			sorted[j] = (struct address){(uint8_t)(table[i].sorted[j] - '0'), {(uint8_t)(j + 1)}};
		resolved_set_addresses(&result, sorted, count);
		for (size_t j = 0; j < result.count; j++) {
			const struct address *address = &result.addresses[j];
			turns[j] = (char)('0' + address->family);
			ck_assert_uint_gt(address->bytes[0], last[address->family == 4]); /* the order within */
			last[address->family == 4] = address->bytes[0];
		}
		ck_assert_str_eq(turns, table[i].turns);
	}
}
END_TEST

static void
add_parts(Suite *suite)
{
	TCase *alone = tcase_create("cache"), *rules = tcase_create("rules");

	tcase_add_checked_fixture(alone, cache_setup, cache_teardown);
	tcase_add_test(alone, cache_keeps_until_the_time_is_up);
	tcase_add_test(alone, cache_drops_the_least_recently_used);
	tcase_add_test(alone, cache_gives_a_changed_answer_a_generation);
	suite_add_tcase(suite, alone);
	tcase_add_test(rules, tells_localhost);
	tcase_add_test(rules, bounds_the_ttl);
	tcase_add_test(rules, takes_turns);
	suite_add_tcase(suite, rules);
}

int
main(void)
{
	Suite *suite = suite_create("resolver");
	TCase *cases = tcase_create("resolver");
	SRunner *runner = srunner_create(suite);

	suite_add_tcase(suite, cases);
	tcase_add_checked_fixture(cases, setup, teardown);
	tcase_set_timeout(cases, 60);
	tcase_add_test(cases, answers_from_the_server_once);
	tcase_add_test(cases, answers_ipv6);
	tcase_add_test(cases, takes_families_in_turn);
	tcase_add_test(cases, remembers_failures);
	tcase_add_test(cases, refuses_what_is_no_name);
	tcase_add_test(cases, answers_literals_at_once);
	tcase_add_test(cases, knows_localhost);
	tcase_add_test(cases, forgets_after_the_ttl);
	tcase_add_test(cases, joins_equal_questions);
	tcase_add_test(cases, bounds_the_cache);
	tcase_add_test(cases, cancels);
	tcase_add_test(cases, cancels_the_only_one);
	tcase_add_test(cases, cancel_waits_for_a_running_answer);
	tcase_add_loop_test(cases, cancel_ends_what_a_running_answer_asks, 0, 20);
	tcase_add_test(cases, asks_again_from_within_an_answer);
	tcase_add_test(cases, free_answers_all);
	tcase_add_test(cases, free_takes_no_more_questions);
	tcase_add_test(cases, survives_many_threads);
	tcase_add_test(cases, starts_and_stops);
	add_parts(suite);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
