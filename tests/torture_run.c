/* See torture.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "torture.h"

#include "client.h"
#include "origin.h"
#include "server.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define TOKEN "a-token-for-torture"
#define AUTHORIZATION "Authorization: Bearer " TOKEN "\r\n"
#define LATER "\"delay\":\"1h\""

/* What is asked of each life: the path at the origin, more of the spec, the size of the result (-1: it does not run). */
static const struct order {
	const char *path, *more;
	int bytes;
	bool cancel, remove;
} orders[] = {
	{.path = "/text/5", .more = "\"tags\":[\"a\",\"b\"],\"meta\":{\"n\":[1,2.5,\"x\"]}", .bytes = 5},
	{.path = "/bytes/100000", .more = "\"priority\":3", .bytes = 100000},
	{.path = "/text/70", .more = "\"method\":\"POST\",\"json\":{\"a\":1},\"idempotency_key\":\"k\"", .bytes = 70},
	{.path = "/gzip", .more = "\"headers\":{\"x-one\":[\"1\",\"2\"]}", .bytes = sizeof ORIGIN_GZIPPED - 1},
	{.path = "/redirect/2", .more = "\"auth\":{\"basic\":{\"user\":\"u\",\"password\":\"p\"}}", .bytes = -2},
	{.path = "/text/6", .more = LATER, .bytes = -1},
	{.path = "/text/7", .more = LATER, .bytes = -1, .cancel = true},
	{.path = "/text/8", .more = LATER, .bytes = -1, .remove = true},
};
#define ORDERS (sizeof orders / sizeof *orders)

/* What the daemon has said of each. */
struct promise {
	char id[40];
	bool acknowledged, cancelled, gone, may_be_gone;
	char state[16]; /* when it was seen done */
	json_int_t version;
};

struct life {
	struct server *server;
	const char *state_dir;
	struct promise promises[ORDERS];
	struct bytes wrong; /* a line for each finding */
};

/* What libraries do by themselves, and nothing in fetchpool can keep them from. */
static const struct {
	enum nth_kind kind;
	const char *said;
} forgiven[] = {
	/* libev 4.33 asserts when epoll does not take its own eventfd, which can only be at the start. */
	{NTH_EPOLL, "pipe_w not active"},
};

static struct origin *origin;
static struct nth_page *page;
static char *control_word, *preload_word, *token_file;
static unsigned lives;

static void __attribute__((format(printf, 2, 3))) find(struct life *life, const char *format, ...)
{
	va_list args;

	bytes_text(&life->wrong, "  ");
	va_start(args, format);
	bytes_vformat(&life->wrong, format, args);
	va_end(args);
	bytes_text(&life->wrong, "\n");
}

/* ---- calls */

static bool
is_one_of(int status, const int *statuses)
{
	for (; *statuses != 0; statuses++)
		if (*statuses == status)
			return true;
	return false;
}

/* The answer, if it is one of these; NULL when the daemon refused. Anything else is noted as wrong. */
static struct client_reply *
call(struct life *life, const char *method, const char *target, const char *body, const int *statuses)
{
	struct client_request request = {
		.method = method,
		.target = target,
		.fields = body ? AUTHORIZATION "Content-Type: application/json\r\n" : AUTHORIZATION,
		.body = body,
		.body_bytes = body ? strlen(body) : 0,
	};
	struct client_reply *reply = client_call(server_address(life->server), &request);

	if (reply->status != 0 && is_one_of(reply->status, statuses))
		return reply;
	if (reply->status == 0 && strstr(reply->error, strerror(ETIMEDOUT)))
		find(life, "%s %s hangs", method, target);
	else if (reply->status != 0 && reply->status != 503)
		find(life, "%s %s: %d %.300s", method, target, reply->status, reply->body.used ? reply->body.data : "");
	client_reply_free(reply);
	return NULL;
}

#define CALL(life, method, target, body, ...) call(life, method, target, body, (const int[]){__VA_ARGS__, 0})

/* ---- what is said of a job */

static bool
error_makes_sense(const char *code)
{
	static const char *const codes[] = {"internal", "connect_failed", "timeout", "connect_timeout",
		"first_byte_timeout", "idle_timeout", "connection_lost", "outcome_unknown"};

	for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
		if (code && !strcmp(code, codes[i]))
			return true;
	return false;
}

/* Checks a job as it was answered, and notes it as a promise. */
static void
take_job(struct life *life, size_t nth, const json_t *job, const char *where)
{
	const struct order *order = &orders[nth];
	struct promise *promise = &life->promises[nth];
	const char *id = json_text_at(job, "id"), *state = json_text_at(job, "state");
	const char *method = json_text_at(job, "request.method");
	bool posts = strstr(order->more, "POST") != NULL;

	if (!id || !state || strlen(id) >= sizeof promise->id || strlen(state) >= sizeof promise->state) {
		find(life, "%s: no job", where);
		return;
	}
	if (!method || strcmp(method, posts ? "POST" : "GET") != 0)
		find(life, "%s: the method is %s", where, method ? method : "missing");
	if (promise->acknowledged && strcmp(promise->id, id) != 0)
		find(life, "%s: another job: %s, not %s", where, id, promise->id);
	if (*promise->state && (strcmp(promise->state, state) != 0 || promise->version != json_int_at(job, "version")))
		find(life, "%s: %s was %s, and is %s now", where, id, promise->state, state);
	promise->acknowledged = true;
	strcpy(promise->id, id);
	if (!json_true_at(job, "done"))
		return;
	strcpy(promise->state, state);
	promise->version = json_int_at(job, "version");
	if (!strcmp(state, "failed") && !error_makes_sense(json_text_at(job, "error.code")))
		find(life, "%s: it failed with %s: %s", where, json_text_at(job, "error.code"),
			json_text_at(job, "error.message"));
	if (!strcmp(state, "cancelled") && !order->cancel && !order->remove)
		find(life, "%s: nobody cancelled it", where);
	if (!strcmp(state, "succeeded") && order->bytes >= 0 && json_int_at(job, "response.body_bytes") != order->bytes)
		find(life, "%s: %lld bytes, not %d", where, (long long)json_int_at(job, "response.body_bytes"),
			order->bytes);
	if (!strcmp(state, "succeeded") && order->bytes == -1)
		find(life, "%s: it was not to run", where);
}

/* ---- a life */

static void
submit_all(struct life *life)
{
	char body[1024];

	for (size_t i = 0; i < ORDERS; i++) {
		snprintf(body, sizeof body, "{\"url\":\"http://127.0.0.1:%u%s\",\"timeout\":\"3s\",%s}",
			origin_port(origin), orders[i].path, orders[i].more);
		struct client_reply *reply =
			CALL(life, "POST", orders[i].bytes == -1 ? "/v1/jobs" : "/v1/jobs?wait=10s", body, 200, 202);
		if (!reply)
			continue;
		if (!reply->json)
			find(life, "POST /v1/jobs: %d without JSON", reply->status);
		else
			take_job(life, i, reply->json, "POST /v1/jobs");
		if (reply->status == 202 && !client_field(reply, "location"))
			find(life, "POST /v1/jobs: 202 without a Location");
		client_reply_free(reply);
	}
}

static void
look_at(struct life *life, size_t nth, bool again)
{
	struct promise *promise = &life->promises[nth];
	char target[100];

	snprintf(target, sizeof target, "/v1/jobs/%s", promise->id);
	struct client_reply *reply = promise->gone ? CALL(life, "GET", target, NULL, 404)
		: promise->may_be_gone             ? CALL(life, "GET", target, NULL, 200, 404)
						   : CALL(life, "GET", target, NULL, 200);
	if (again && !reply)
		find(life, "%s cannot be read after the restart", target);
	if (reply && reply->status == 200)
		take_job(life, nth, reply->json, again ? "after the restart" : "GET");
	client_reply_free(reply);
}

static void
read_body(struct life *life, size_t nth)
{
	const struct promise *promise = &life->promises[nth];
	char target[100], *want;

	if (strcmp(promise->state, "succeeded") != 0 || orders[nth].bytes != 100000)
		return;
	snprintf(target, sizeof target, "/v1/jobs/%s/body", promise->id);
	struct client_reply *reply = CALL(life, "GET", target, NULL, 200);
	if (!reply)
		return;
	want = malloc(100000);
	origin_pattern(0, want, 100000);
	if (reply->body.used != 100000 || memcmp(reply->body.data, want, 100000) != 0)
		find(life, "%s is not what the origin sent", target);
	free(want);
	client_reply_free(reply);
}

static void
await_all(struct life *life)
{
	struct bytes body = {0};
	size_t count = 0;

	bytes_text(&body, "{\"timeout\":\"5s\",\"ids\":[");
	for (size_t i = 0; i < ORDERS; i++)
		if (life->promises[i].acknowledged && orders[i].bytes != -1)
			bytes_format(&body, "%s\"%s\"", count++ ? "," : "", life->promises[i].id);
	bytes_text(&body, "]}");
	if (count)
		client_reply_free(CALL(life, "POST", "/v1/wait", body.data, 200));
	bytes_release(&body);
}

static void
end_some(struct life *life)
{
	char target[100];

	for (size_t i = 0; i < ORDERS; i++) {
		struct promise *promise = &life->promises[i];
		struct client_reply *reply = NULL;

		if (!promise->acknowledged)
			continue;
		if (orders[i].cancel) {
			snprintf(target, sizeof target, "/v1/jobs/%s/cancel", promise->id);
			reply = CALL(life, "POST", target, NULL, 200);
			if (reply)
				take_job(life, i, reply->json, "cancel");
			promise->cancelled = reply != NULL;
		} else if (orders[i].remove) {
			snprintf(target, sizeof target, "/v1/jobs/%s", promise->id);
			reply = CALL(life, "DELETE", target, NULL, 204);
			promise->gone = reply != NULL;
			promise->may_be_gone = true;
		}
		client_reply_free(reply);
	}
}

static void
live(struct life *life)
{
	submit_all(life);
	await_all(life);
	for (size_t i = 0; i < ORDERS; i++)
		if (life->promises[i].acknowledged)
			look_at(life, i, false), read_body(life, i);
	end_some(life);
	client_reply_free(CALL(life, "GET", "/v1/jobs?limit=3&pretty", NULL, 200));
	client_reply_free(CALL(life, "GET", "/v1/jobs?state=succeeded&tag=a", NULL, 200));
	server_signal(life->server, SIGHUP);
	client_reply_free(CALL(life, "GET", "/metrics", NULL, 200));
	client_reply_free(CALL(life, "GET", "/readyz?verbose", NULL, 200));
	client_reply_free(CALL(life, "GET", "/v1/info", NULL, 200));
	client_reply_free(CALL(life, "POST", "/v1/egress/check", "{\"url\":\"http://127.0.0.1:1/\"}", 200));
	client_reply_free(CALL(life, "POST", "/v1/jobs/cancel", "{\"tag\":\"nobody\"}", 200));
}

/* It ended by itself or as it was told to, and if not with 0, it said why. */
static void
judge_end(struct life *life, int status, const char *said)
{
	for (size_t i = 0; i < sizeof forgiven / sizeof *forgiven; i++)
		if (page->kind == (int)forgiven[i].kind && strstr(said, forgiven[i].said))
			return;
	if (status == SERVER_KILLED)
		find(life, "it did not end");
	else if (status >= 128)
		find(life, "it died of signal %d", status - 128);
	else if (status != 0 && (status > 2 || !*said))
		find(life, "it ended with %d, and said: %s", status, said);
}

static struct server *
start(const struct life *life, bool tortured, char **ret_said)
{
	const char *const plain[] = {"--state-dir", life->state_dir, "--workers", "1", "--front-threads", "1",
		"--auth-token-file", token_file, NULL};
	const char *const words[] = {preload_word, control_word, "--state-dir", life->state_dir, "--workers", "1",
		"--front-threads", "1", "--auth-token-file", token_file, NULL};

	return server_start(tortured ? words : plain, ret_said);
}

/* Everything that was acknowledged is there for a daemon that nothing fails. */
static void
look_again(struct life *life)
{
	char *said = NULL;

	life->server = start(life, false, &said);
	if (!life->server) {
		find(life, "it does not start again: %s", said);
		free(said);
		return;
	}
	for (size_t i = 0; i < ORDERS; i++)
		if (life->promises[i].acknowledged)
			look_at(life, i, true);
	judge_end(life, server_stop(life->server, SIGTERM), "");
	server_free(life->server);
}

/* When nothing failed, all must have gone well: else the rest shows nothing. */
static void
judge_untouched(struct life *life)
{
	for (size_t i = 0; i < ORDERS; i++) {
		const struct promise *promise = &life->promises[i];
		const char *want = orders[i].cancel ? "cancelled" : orders[i].bytes == -1 ? "" : "succeeded";

		if (!promise->acknowledged || strcmp(promise->state, want) != 0)
			find(life, "nothing failed, but order %zu is \"%s\"", i, promise->state);
		if (orders[i].remove && !promise->gone)
			find(life, "nothing failed, but order %zu is not removed", i);
	}
}

static void
tell(const struct life *life, enum nth_kind kind, uint64_t first, uint64_t times)
{
	static const char *const names[] = {
#define X(kind, name, error) name,
		NTH_KINDS(X)
#undef X
	};

	fprintf(stderr, "torture: %s call %llu (of %llu in a row) failed, and then:\n%s", names[kind],
		(unsigned long long)first, (unsigned long long)times, life->wrong.data);
	for (size_t i = 0; i < NTH_TRACE_DEPTH && page->traced; i++)
		if (*page->trace[i])
			fprintf(stderr, "    %s\n", page->trace[i]);
}

bool
torture_run(enum nth_kind kind, uint64_t first, uint64_t times, bool *ret_struck)
{
	struct life life = {0};
	char *said = NULL, *state_dir;

	if (asprintf(&state_dir, "%s/life-%u", server_directory(), lives++) < 0)
		abort();
	mkdir(state_dir, 0700);
	life.state_dir = state_dir;
	*page = (struct nth_page){.kind = (int)kind, .first = first, .times = times};
	page->armed = 1;
	life.server = start(&life, true, &said);
	if (life.server) {
		live(&life);
		judge_end(&life, server_stop(life.server, SIGTERM), said = server_said(life.server));
		server_free(life.server);
	} else {
		judge_end(&life, atoi(said + strlen("exit status ")), strchr(said, ':') + 2);
	}
	page->armed = 0;
	*ret_struck = page->failed > 0;
	if (!*ret_struck)
		judge_untouched(&life);
	else
		look_again(&life);
	if (life.wrong.used) {
		bytes_format(&life.wrong, "  it said: %s", said);
		tell(&life, kind, first, times);
	}
	bool good = !life.wrong.used;
	bytes_release(&life.wrong);
	free(said);
	free(state_dir);
	return good;
}

uint64_t
torture_count(enum nth_kind kind)
{
	bool struck;

	torture_run(kind, 0, 0, &struck);
	return page->count;
}

bool
torture_begin(void)
{
	const char *top = getenv("top_builddir");
	char *library, *control;
	int fd;

	if (asprintf(&library, "%s/tests/nth.so", top ? top : ".") < 0 ||
		asprintf(&control, "%s/nth", server_directory()) < 0)
		abort();
	char *path = realpath(library, NULL);
	if (!path) {
		fprintf(stderr, "torture: %s is missing\n", library);
		return false;
	}
	fd = open(control, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, sizeof *page))
		abort();
	page = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (page == MAP_FAILED || asprintf(&preload_word, "LD_PRELOAD=%s", path) < 0 ||
		asprintf(&control_word, "NTH_CONTROL=%s", control) < 0)
		abort();
	free(path);
	free(library);
	free(control);
	if (asprintf(&token_file, "%s/tokens", server_directory()) < 0)
		abort();
	FILE *file = fopen(token_file, "w");
	if (!file)
		abort();
	fprintf(file, "%s name=torture scope=admin jobs-per-minute=1000\n", TOKEN);
	fclose(file);
	origin = origin_start(0);
	return origin != NULL;
}

void
torture_end(void)
{
	origin_stop(origin);
	munmap(page, sizeof *page);
	free(preload_word);
	free(control_word);
	free(token_file);
}
