/*
 * A load generator: requests on kept-alive connections, one in flight on each, from one thread with epoll.
 *
 *	load --target IPV4:PORT [--connections N] [--requests N] [--seconds N] [--rate N] [--method M] [--path P]
 *	     [--body TEXT | --bodies FILE] [--expect STATUS|any] [--reconnect MS] [--ids FILE]
 *	     [--token TOKEN]
 *
 * Closed loop: each connection sends its next request when it has the answer to the last. With --rate an open loop:
 * requests fall due at that rate whatever the answers do, wait for a connection when none is free, and are timed from
 * when they fell due. All connections are made before the first request. It ends after --requests, or when --seconds
 * are over; answers still to come are awaited. --bodies takes the lines of FILE in turn. An answer with another status
 * than --expect (default: any 2xx) is an error, and so is a broken connection, which is not made anew. --ids writes the
 * last segment of each answer's Location there, a line each.
 *
 * For servers that are to be overloaded: with "--expect any" every status is an answer like another, and with --reconnect
 * a connection that is closed, breaks or cannot be made is tried anew so much later. A request that it broke under is
 * "broken", an attempt to connect that failed is "refused"; neither is an error then.
 *
 * Prints one line of JSON on standard output. Times are in microseconds, those of events since the first request.
 */
#include <config.h>

#include "common.h"

#include <errno.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define MAX_CONNECTIONS 60000
#define MAX_REQUESTS 50000000
#define MAX_BODIES 1000000
#define MAX_SECONDS 3600
#define DEFAULT_REQUESTS 1000
#define HEAD_BYTES 8192
#define EVENTS_A_TURN 256
#define QUIET_MS 120000 /* nothing at all for so long: something hangs */

struct text {
	char *bytes;
	size_t length;
};

struct options {
	struct sockaddr_in target;
	const char *target_text, *method, *path, *token;
	size_t connections, requests;
	int64_t seconds, rate;
	int expect;           /* 0: any 2xx */
	bool any;             /* status will do */
	int64_t reconnect_ms; /* -1: not at all */
	FILE *ids;
};

struct conn {
	int fd; /* -1: broken */
	bool connecting;
	bool listed;     /* stands among the idle ones */
	int64_t anew_us; /* when a broken one is made anew */
	bool closing;    /* the server said that it closes it */
	bool busy;
	int64_t due_us; /* when its request fell due */
	const struct text *request;
	size_t sent;
	char in[HEAD_BYTES];
	size_t in_used;
	bool in_body;
	int status;
	int64_t body_left;
};

struct load {
	struct options options;
	int epoll, timer;
	struct conn *conns;
	struct conn **idle; /* free connections, the last freed first */
	size_t idle_count;
	struct conn **broken; /* to be made anew: a ring, in the order in which they are due */
	size_t broken_first, broken_count;
	struct text *requests; /* taken in turn */
	size_t request_count;
	uint32_t *latencies; /* of good answers */
	size_t started, finished, answers, errors, breaks, refused;
	size_t statuses[600];
	char first_error[160];
	int64_t begin_us, last_sent_us, first_done_us, half_done_us, last_done_us, until_us;
};

/* ---- requests */

static struct text
make_request(const struct options *options, const char *body, size_t body_bytes)
{
	struct text text;
	char head[2048];
	int used;

	used = snprintf(head, sizeof head, "%s %s HTTP/1.1\r\nHost: %s\r\n", options->method, options->path,
		options->target_text);
	if (used > 0 && (size_t)used < sizeof head && options->token != NULL)
		used += snprintf(
			head + used, sizeof head - (size_t)used, "Authorization: Bearer %s\r\n", options->token);
	if (used > 0 && (size_t)used < sizeof head && body != NULL)
		used += snprintf(head + used, sizeof head - (size_t)used,
			"Content-Type: application/json\r\nContent-Length: %zu\r\n", body_bytes);
	if (used < 0 || (size_t)used + 3 > sizeof head)
		bench_die("the path is too long");
	memcpy(head + used, "\r\n", 3);
	used += 2;
	text.length = (size_t)used + body_bytes;
	text.bytes = malloc(text.length);
	if (text.bytes == NULL)
		bench_die("a request");
	memcpy(text.bytes, head, (size_t)used);
	if (body != NULL)
		memcpy(text.bytes + used, body, body_bytes);
	return text;
}

static void
add_request(struct load *load, const char *body, size_t body_bytes)
{
	if (load->request_count == MAX_BODIES)
		bench_die("more than %d bodies", MAX_BODIES);
	if ((load->request_count & (load->request_count - 1)) == 0) {
		size_t room = load->request_count ? 2 * load->request_count : 1;

		load->requests = realloc(load->requests, room * sizeof *load->requests);
		if (load->requests == NULL)
			bench_die("requests");
	}
	load->requests[load->request_count++] = make_request(&load->options, body, body_bytes);
}

static void
read_bodies(struct load *load, const char *path)
{
	FILE *file = fopen(path, "r");
	char *line = NULL;
	size_t room = 0;
	ssize_t length;

	if (file == NULL)
		bench_die("%s", path);
	while ((length = getline(&line, &room, file)) > 0) {
		if (line[length - 1] == '\n')
			length--;
		add_request(load, line, (size_t)length);
	}
	free(line);
	fclose(file);
	if (load->request_count == 0)
		bench_die("%s is empty", path);
}

/* ---- a connection */

static int64_t
since_begin(const struct load *load)
{
	return bench_now_us() - load->begin_us;
}

static void
note_error(struct load *load, const struct conn *conn, const char *what, int number)
{
	if (load->errors++ == 0)
		snprintf(load->first_error, sizeof load->first_error, "%s %d, after %zu bytes of a head", what, number,
			conn->in_used);
}

static bool
reconnects(const struct load *load)
{
	return load->options.reconnect_ms >= 0;
}

static void
conn_list(struct load *load, struct conn *conn)
{
	if (conn->listed)
		return;
	conn->listed = true;
	load->idle[load->idle_count++] = conn;
}

static void
conn_close(struct load *load, struct conn *conn)
{
	close(conn->fd);
	conn->fd = -1;
	conn->connecting = conn->closing = conn->in_body = false;
	conn->in_used = 0;
	if (!reconnects(load))
		return;
	conn->anew_us = bench_now_us() + load->options.reconnect_ms * 1000;
	load->broken[(load->broken_first + load->broken_count++) % load->options.connections] = conn;
}

static void
conn_break(struct load *load, struct conn *conn, const char *what)
{
	int error = errno;

	if (conn->busy) {
		conn->busy = false;
		load->finished++;
		load->breaks++;
		if (!reconnects(load))
			note_error(load, conn, what, error);
	}
	conn_close(load, conn);
}

static void
conn_watch(struct load *load, struct conn *conn, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = conn};

	if (epoll_ctl(load->epoll, EPOLL_CTL_MOD, conn->fd, &event) != 0)
		bench_die("epoll_ctl");
}

static void
conn_send(struct load *load, struct conn *conn)
{
	bool waited = conn->sent > 0;
	ssize_t sent = send(conn->fd, conn->request->bytes + conn->sent, conn->request->length - conn->sent,
		MSG_NOSIGNAL | MSG_DONTWAIT);

	if (sent < 0 && errno != EAGAIN) {
		conn_break(load, conn, "send: errno");
		return;
	}
	if (sent > 0)
		conn->sent += (size_t)sent;
	if (conn->sent < conn->request->length)
		conn_watch(load, conn, EPOLLIN | EPOLLOUT);
	else if (waited)
		conn_watch(load, conn, EPOLLIN);
}

static void
conn_start(struct load *load, struct conn *conn, int64_t due_us)
{
	conn->busy = true;
	conn->due_us = due_us;
	conn->request = &load->requests[load->started++ % load->request_count];
	conn->sent = 0;
	load->last_sent_us = since_begin(load);
	conn_send(load, conn);
}

/* May a further request be started? */
static bool
more(const struct load *load)
{
	return load->started < load->options.requests && (load->until_us == 0 || bench_now_us() < load->until_us);
}

/* When request number n falls due in an open loop, since the begin. */
static int64_t
due_of(const struct load *load, size_t number)
{
	return (int64_t)(number * UINT64_C(1000000) / (uint64_t)load->options.rate);
}

static void
conn_done(struct load *load, struct conn *conn)
{
	int64_t now = since_begin(load), latency = now - conn->due_us;
	bool good = load->options.any  ? true
		: load->options.expect ? conn->status == load->options.expect
				       : conn->status / 100 == 2;

	if (load->finished == 0)
		load->first_done_us = now;
	if (load->finished == load->options.requests / 2)
		load->half_done_us = now;
	load->last_done_us = now;
	load->statuses[conn->status < 600 ? conn->status : 0]++;
	if (good)
		load->latencies[load->answers++] = latency > UINT32_MAX ? UINT32_MAX : (uint32_t)latency;
	else
		note_error(load, conn, "status", conn->status);
	load->finished++;
	conn->busy = false;
	conn->in_body = false;
	if (conn->closing && reconnects(load))
		conn_close(load, conn);
	else if (!more(load) || (load->options.rate > 0 && due_of(load, load->started) > now))
		conn_list(load, conn);
	else
		conn_start(load, conn, load->options.rate > 0 ? due_of(load, load->started) : now);
}

static const char *
header_value(const char *head, const char *name)
{
	size_t length = strlen(name);

	for (const char *line = strstr(head, "\r\n"); line != NULL; line = strstr(line, "\r\n")) {
		line += 2;
		if (strncasecmp(line, name, length) == 0 && line[length] == ':')
			return line + length + 1 + strspn(line + length + 1, " ");
	}
	return NULL;
}

static void
write_id(FILE *ids, const char *head)
{
	const char *location = header_value(head, "location"), *from;
	size_t length;

	if (location == NULL)
		return;
	length = strcspn(location, "\r");
	for (from = location + length; from > location && from[-1] != '/';)
		from--;
	fprintf(ids, "%.*s\n", (int)(location + length - from), from);
}

/* Reads the head at conn->in once it is whole. False: it is not, or makes no sense and the connection is broken. */
static bool
conn_read_head(struct load *load, struct conn *conn)
{
	const char *length, *closing;
	char *end;

	conn->in[conn->in_used] = '\0';
	end = strstr(conn->in, "\r\n\r\n");
	if (end == NULL) {
		if (conn->in_used == sizeof conn->in - 1)
			conn_break(load, conn, "a head that is too long: errno");
		return false;
	}
	end[2] = '\0';
	conn->status = conn->in_used > 12 ? atoi(conn->in + 9) : 0;
	length = header_value(conn->in, "content-length");
	if (conn->status < 200 || (length == NULL && conn->status != 204)) {
		conn_break(load, conn, "an answer without Content-Length: errno");
		return false;
	}
	closing = header_value(conn->in, "connection");
	conn->closing = closing != NULL && strncasecmp(closing, "close", 5) == 0;
	conn->body_left = length != NULL ? strtoll(length, NULL, 10) : 0;
	if (load->options.ids != NULL)
		write_id(load->options.ids, conn->in);
	conn->body_left -= (int64_t)(conn->in_used - (size_t)(end + 4 - conn->in));
	conn->in_used = 0;
	conn->in_body = true;
	return true;
}

static void
conn_read(struct load *load, struct conn *conn)
{
	char dropped[65536];
	ssize_t got;

	if (conn->in_body)
		got = recv(conn->fd, dropped, sizeof dropped, MSG_DONTWAIT);
	else
		got = recv(conn->fd, conn->in + conn->in_used, sizeof conn->in - 1 - conn->in_used, MSG_DONTWAIT);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got == 0)
		errno = 0;
	if (got <= 0 || !conn->busy) {
		conn_break(load, conn, "the server closed: errno");
		return;
	}
	if (conn->in_body) {
		conn->body_left -= got;
	} else {
		conn->in_used += (size_t)got;
		if (!conn_read_head(load, conn))
			return;
	}
	if (conn->body_left < 0)
		conn_break(load, conn, "more than the answer: errno");
	else if (conn->body_left == 0)
		conn_done(load, conn);
}

/* ---- the run */

/* At once, or by conn_connected once it can be written to. */
static void
conn_open(struct load *load, struct conn *conn)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = conn};
	int one = 1;

	conn->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | (reconnects(load) ? SOCK_NONBLOCK : 0), 0);
	if (conn->fd < 0)
		bench_die("socket");
	setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (connect(conn->fd, (struct sockaddr *)&load->options.target, sizeof load->options.target) != 0) {
		if (!reconnects(load))
			bench_die("connection to %s", load->options.target_text);
		conn->connecting = errno == EINPROGRESS;
		if (!conn->connecting) {
			load->refused++;
			conn_close(load, conn);
			return;
		}
		event.events |= EPOLLOUT;
	}
	if (epoll_ctl(load->epoll, EPOLL_CTL_ADD, conn->fd, &event) != 0)
		bench_die("epoll_ctl");
	if (!conn->connecting)
		conn_list(load, conn);
}

static void
conn_connected(struct load *load, struct conn *conn)
{
	int error = 0;
	socklen_t length = sizeof error;

	if (getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0 || error != 0) {
		load->refused++;
		conn_close(load, conn);
		return;
	}
	conn->connecting = false;
	conn_watch(load, conn, EPOLLIN);
	conn_list(load, conn);
}

static void
open_conns(struct load *load)
{
	size_t count = load->options.connections;

	load->conns = calloc(count, sizeof *load->conns);
	load->idle = calloc(count, sizeof *load->idle);
	load->broken = calloc(count, sizeof *load->broken);
	if (load->conns == NULL || load->idle == NULL || load->broken == NULL)
		bench_die("%zu connections", count);
	for (size_t i = 0; i < count; i++)
		conn_open(load, &load->conns[i]);
}

/* Makes those anew whose time has come; the milliseconds until the next one's has, QUIET_MS when there is none. */
static int
mend(struct load *load)
{
	while (load->broken_count > 0) {
		struct conn *conn = load->broken[load->broken_first];
		int64_t now = bench_now_us();

		if (conn->anew_us > now)
			return (int)((conn->anew_us - now) / 1000) + 1;
		load->broken_first = (load->broken_first + 1) % load->options.connections;
		load->broken_count--;
		conn_open(load, conn);
	}
	return QUIET_MS;
}

static void
arm_timer(struct load *load)
{
	int64_t at = load->begin_us + due_of(load, load->started);
	struct itimerspec when = {.it_value = {.tv_sec = at / 1000000, .tv_nsec = at % 1000000 * 1000}};

	if (timerfd_settime(load->timer, TFD_TIMER_ABSTIME, &when, NULL) != 0)
		bench_die("timerfd_settime");
}

/* Starts what has fallen due (in a closed loop: everything) on the idle connections. */
static void
start_due(struct load *load)
{
	while (load->idle_count > 0 && more(load)) {
		int64_t now = since_begin(load), due = load->options.rate > 0 ? due_of(load, load->started) : now;
		struct conn *conn;

		if (due > now) {
			arm_timer(load);
			return;
		}
		conn = load->idle[--load->idle_count];
		conn->listed = false;
		if (conn->fd >= 0 && !conn->connecting)
			conn_start(load, conn, due);
	}
}

static bool
any_alive(const struct load *load)
{
	for (size_t i = 0; i < load->options.connections; i++)
		if (load->conns[i].fd >= 0)
			return true;
	return reconnects(load);
}

static void
run(struct load *load)
{
	struct epoll_event events[EVENTS_A_TURN];

	load->begin_us = bench_now_us();
	if (load->options.seconds > 0)
		load->until_us = load->begin_us + load->options.seconds * 1000000;
	start_due(load);
	while (load->finished < load->started || (more(load) && any_alive(load))) {
		int wait_ms = more(load) ? mend(load) : QUIET_MS;
		int count = epoll_wait(load->epoll, events, EVENTS_A_TURN, wait_ms);

		if (count == 0 && wait_ms == QUIET_MS) {
			errno = 0;
			bench_die(
				"no answer for %d s, %zu are awaited", QUIET_MS / 1000, load->started - load->finished);
		}
		for (int i = 0; i < count; i++) {
			struct conn *conn = events[i].data.ptr;
			uint64_t ticks;

			if (conn == NULL) {
				if (read(load->timer, &ticks, sizeof ticks) < 0 && errno != EAGAIN)
					bench_die("timerfd");
				continue;
			}
			if (conn->fd >= 0 && conn->connecting) {
				conn_connected(load, conn);
				continue;
			}
			if (events[i].events & EPOLLOUT && conn->busy && conn->sent < conn->request->length)
				conn_send(load, conn);
			if (events[i].events & ~(uint32_t)EPOLLOUT && conn->fd >= 0)
				conn_read(load, conn);
		}
		start_due(load);
	}
}

static int
compare_latencies(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

	return (left > right) - (left < right);
}

static uint32_t
quantile(const struct load *load, size_t count, double share)
{
	size_t at = (size_t)(share * (double)count);

	return count == 0 ? 0 : load->latencies[at < count ? at : count - 1];
}

static void
print_report(struct load *load)
{
	size_t good = load->answers, due = load->started;
	const char *comma = "";
	double seconds = (double)load->last_done_us / 1e6;

	qsort(load->latencies, good, sizeof *load->latencies, compare_latencies);
	printf("{\"answers\":%zu,\"errors\":%zu,\"seconds\":%.6f,\"per_second\":%.1f,", good, load->errors, seconds,
		seconds > 0 ? (double)good / seconds : 0);
	printf("\"p50_us\":%u,\"p90_us\":%u,\"p99_us\":%u,\"p99_9_us\":%u,\"max_us\":%u,", quantile(load, good, 0.5),
		quantile(load, good, 0.9), quantile(load, good, 0.99), quantile(load, good, 0.999),
		quantile(load, good, 1));
	if (load->options.rate > 0 && load->until_us != 0)
		due = (size_t)(load->options.rate * load->options.seconds);
	printf("\"unsent\":%zu,\"broken\":%zu,\"refused\":%zu,\"statuses\":{",
		due > load->started ? due - load->started : 0, load->breaks, load->refused);
	for (int status = 0; status < 600; status++)
		if (load->statuses[status] > 0) {
			printf("%s\"%d\":%zu", comma, status, load->statuses[status]);
			comma = ",";
		}
	printf("},\"last_sent_us\":%lld,\"first_done_us\":%lld,\"half_done_us\":%lld,\"last_done_us\":%lld}\n",
		(long long)load->last_sent_us, (long long)load->first_done_us, (long long)load->half_done_us,
		(long long)load->last_done_us);
}

/* ---- options */

/* Takes one option; those that make the requests are kept for later in ret_body and ret_bodies. */
static void
take_option(struct load *load, const char *name, const char *value, const char **ret_body, const char **ret_bodies)
{
	struct options *options = &load->options;

	if (strcmp(name, "--target") == 0) {
		options->target_text = value;
		options->target = bench_address(value);
	} else if (strcmp(name, "--connections") == 0)
		options->connections = (size_t)bench_number(name, value, 1, MAX_CONNECTIONS);
	else if (strcmp(name, "--requests") == 0)
		options->requests = (size_t)bench_number(name, value, 1, MAX_REQUESTS);
	else if (strcmp(name, "--seconds") == 0)
		options->seconds = bench_number(name, value, 1, MAX_SECONDS);
	else if (strcmp(name, "--rate") == 0)
		options->rate = bench_number(name, value, 1, 10000000);
	else if (strcmp(name, "--method") == 0)
		options->method = value;
	else if (strcmp(name, "--path") == 0)
		options->path = value;
	else if (strcmp(name, "--token") == 0)
		options->token = value;
	else if (strcmp(name, "--expect") == 0 && strcmp(value, "any") == 0)
		options->any = true;
	else if (strcmp(name, "--reconnect") == 0)
		options->reconnect_ms = bench_number(name, value, 0, 60000);
	else if (strcmp(name, "--expect") == 0)
		options->expect = (int)bench_number(name, value, 200, 599);
	else if (strcmp(name, "--body") == 0)
		*ret_body = value;
	else if (strcmp(name, "--bodies") == 0)
		*ret_bodies = value;
	else if (strcmp(name, "--ids") == 0) {
		options->ids = fopen(value, "w");
		if (options->ids == NULL)
			bench_die("%s", value);
	} else
		bench_die("unknown option %s", name);
}

static void
prepare(struct load *load, int argc, char **argv)
{
	const char *body = NULL, *bodies = NULL;

	load->options = (struct options){.method = "GET", .path = "/", .connections = 1, .reconnect_ms = -1};
	for (int i = 1; i < argc; i += 2) {
		if (i + 1 == argc)
			bench_die("%s wants a value", argv[i]);
		take_option(load, argv[i], argv[i + 1], &body, &bodies);
	}
	if (load->options.target_text == NULL)
		bench_die("--target is missing");
	if (load->options.requests == 0)
		load->options.requests = load->options.seconds > 0 ? MAX_REQUESTS : DEFAULT_REQUESTS;
	if (bodies != NULL)
		read_bodies(load, bodies);
	else
		add_request(load, body, body != NULL ? strlen(body) : 0);
	/* Untouched pages of it cost nothing. */
	load->latencies = malloc(load->options.requests * sizeof *load->latencies);
	if (load->latencies == NULL)
		bench_die("latencies");
}

int
main(int argc, char **argv)
{
	static struct load load;
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};

	prepare(&load, argc, argv);
	bench_raise_descriptors();
	load.epoll = epoll_create1(EPOLL_CLOEXEC);
	load.timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (load.epoll < 0 || load.timer < 0 || epoll_ctl(load.epoll, EPOLL_CTL_ADD, load.timer, &event) != 0)
		bench_die("epoll");
	open_conns(&load);
	run(&load);
	print_report(&load);
	if (load.errors > 0)
		fprintf(stderr, "bench: the first of %zu errors: %s\n", load.errors, load.first_error);
	if (load.options.ids != NULL && fclose(load.options.ids) != 0)
		bench_die("--ids");
	return load.errors > 0;
}
