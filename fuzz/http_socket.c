/*
 * The front door, whole: the bytes of a connection go to the daemon's own door, in this process, on a unix socket. The
 * first byte says into how many writes they are cut, the next ones where. However broken they are: what comes back is
 * well-formed answers, not more of them than there are requests by a strict reading, and the connection ends.
 *
 * Jobs are taken and run, but no name is looked up and every address is refused, so that nothing is fetched.
 */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <linux/sockios.h>

#include "api/api.h"
#include "base/buffer.h"
#include "base/clock.h"
#include "fuzz.h"
#include "http_reference.h"
#include "service.h"

#define MAX_CUTS 4
#define MAX_BYTES 65536 /* so that all fits into the socket, whoever reads first */
#define END_MS 20000    /* more than any answer may take, on a slow machine under sanitizers */
#define QUIET_MS 5      /* how long we listen for an answer that should not come */
#define INPUTS_A_SWEEP 256

/* ---- the server */

static struct api *api;

/* Also what the leak detector sees at the end is that of a daemon that stopped. */
static void
stop(void)
{
	service_drain(fuzz_service());
	service_stop(fuzz_service());
	api_stop(api);
	service_free(fuzz_service());
}

static void
start(void)
{
	char *message = NULL;
	int error;

	if (api != NULL)
		return;
	signal(SIGPIPE, SIG_IGN);
	error = api_start(fuzz_config(), fuzz_service(), &api, &message);
	if (error == 0)
		error = service_start(fuzz_service(), &message);
	FUZZ_CHECK(error == 0, "the start: %s", message == NULL ? strerror(-error) : message);
	atexit(stop);
}

/* Jobs for later would fill the queue. */
static void
sweep(void)
{
	static unsigned inputs;
	struct ledger_filter waiting = {.states = 1u << JOB_queued | 1u << JOB_retrying};
	struct job *last = NULL;
	size_t count;

	if (++inputs % INPUTS_A_SWEEP != 0)
		return;
	FUZZ_CHECK(service_cancel_matching(fuzz_service(), &waiting, &count, &last) == 0, "the store cannot be read");
	if (last != NULL)
		job_unref(last);
}

static int
connect_to_it(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof address.sun_path, "%s", fuzz_socket_path);
	FUZZ_CHECK(fd >= 0, "socket: %s", strerror(errno));
	FUZZ_CHECK(connect(fd, (struct sockaddr *)&address, sizeof address) == 0, "connect: %s", strerror(errno));
	return fd;
}

/* ---- the connection */

/* Lets the server take what was written, so that the next write is another piece to it. */
static void
await_taken(int fd, int64_t ms)
{
	int64_t due = mono_ms() + ms;
	int waiting = 0;

	while (ioctl(fd, SIOCOUTQ, &waiting) == 0 && waiting > 0 && mono_ms() < due)
		sched_yield();
}

/* The server may have closed by then: what it has answered is still there to be read. */
static void
write_piece(int fd, const uint8_t *from, const uint8_t *to)
{
	while (from < to) {
		ssize_t sent = send(fd, from, (size_t)(to - from), MSG_NOSIGNAL);

		if (sent <= 0)
			return;
		from += sent;
	}
}

static void
write_cut(int fd, const uint8_t *bytes, size_t count, const uint8_t *cuts, size_t cut_count)
{
	size_t from = 0;

	for (size_t i = 0; i < cut_count; i++) {
		size_t to = count * cuts[i] / 256;

		if (to <= from)
			continue;
		write_piece(fd, bytes + from, bytes + to);
		await_taken(fd, QUIET_MS);
		from = to;
	}
	write_piece(fd, bytes + from, bytes + count);
}

/* Reads what comes within so much time; false at the end of the connection. */
static bool
read_more(int fd, struct buffer *answer, int ms)
{
	struct pollfd ready = {.fd = fd, .events = POLLIN};
	char piece[16384];

	if (poll(&ready, 1, ms) <= 0)
		return true;
	ssize_t got = recv(fd, piece, sizeof piece, 0);
	if (got <= 0)
		return false;
	buffer_append(answer, piece, (size_t)got);
	return true;
}

/*
 * Whole requests are answered and then the connection ends, since we have ended our side. Behind a request that is cut
 * or broken, or an empty line, the server may wait for more: libmicrohttpd does not always see our end then (its clocks
 * do, later). So it is enough that the others are answered and nothing else comes.
 */
static void
read_answers(int fd, const struct reference *requests, struct buffer *answer, struct answers *ret)
{
	int64_t due = mono_ms() + END_MS;
	bool patient = requests->end == REFERENCE_CLEAN && !requests->blank, open = true;

	while (open) {
		size_t before = answer->count;

		answers_read((const uint8_t *)answer->data, answer->count, requests, ret);
		if (patient || !ret->whole || ret->count < requests->requests) {
			open = read_more(fd, answer, (int)(due - mono_ms()));
			FUZZ_CHECK(mono_ms() < due, "%zu requests have %zu answers, and the connection does not end",
				requests->requests, ret->count);
			continue;
		}
		await_taken(fd, QUIET_MS);
		open = read_more(fd, answer, QUIET_MS);
		if (answer->count == before)
			break;
	}
	answers_read((const uint8_t *)answer->data, answer->count, requests, ret);
	FUZZ_CHECK(ret->whole, "the last answer is cut: %.*s", (int)answer->count, answer->data);
	FUZZ_CHECK(!patient || ret->closes || ret->count == requests->requests,
		"%zu requests, %zu answers, then the end: %.*s", requests->requests, ret->count, (int)answer->count,
		answer->data == NULL ? "" : answer->data);
}

static void
check_connection(const uint8_t *bytes, size_t count, const uint8_t *cuts, size_t cut_count)
{
	static struct reference requests;
	struct buffer answer = {0};
	struct answers answers;
	int fd = connect_to_it();

	reference_read(bytes, count, &requests);
	write_cut(fd, bytes, count, cuts, cut_count);
	shutdown(fd, SHUT_WR);
	read_answers(fd, &requests, &answer, &answers);
	close(fd);
	buffer_release(&answer);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	size_t cut_count = count == 0 ? 0 : bytes[0] % (MAX_CUTS + 1);

	if (count < 1 + cut_count || count > MAX_BYTES)
		return 0;
	start();
	sweep();
	check_connection(bytes + 1 + cut_count, count - 1 - cut_count, bytes + 1, cut_count);
	return 0;
}
