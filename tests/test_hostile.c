/*
 * Origins that mean harm, or are just broken: endless answers of every kind, nonsense, cuts at every byte, and TLS that must not be
 * trusted. Each ends with its own code, within its clock, in bounded memory, and leaves the daemon as it was.
 */
#include "rig.h"

#include "raw_origin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OK_HEAD "HTTP/1.1 200 OK\r\n"
#define CHUNKED OK_HEAD "Transfer-Encoding: chunked\r\n\r\n"
#define HELLO OK_HEAD "Content-Length: 5\r\n\r\nhello"
#define HINT "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n"

/* ---- words */

static struct raw_origin *raw;

static const char *
start_raw(const struct raw_script *script)
{
	raw = raw_origin_start(script);
	ck_assert_msg(raw, "no raw origin");
	return text("%s://127.0.0.1:%u/", script->tls ? "https" : "http", raw_origin_port(raw));
}

static void
stop_raw(void)
{
	if (raw)
		raw_origin_stop(raw);
	raw = NULL;
}

/* The most that the daemon has ever had in memory, in KiB. */
static long
peak_kib(void)
{
	FILE *file = fopen(text("/proc/%d/status", (int)server_pid(the_server)), "r");
	char line[256];
	long kib = -1;

	while (file && fgets(line, sizeof line, file))
		if (!strncmp(line, "VmHWM:", 6))
			kib = strtol(line + 6, NULL, 10);
	if (file)
		fclose(file);
	return kib;
}

/* Far more than one answer may take, far less than what an unbounded one would. */
#define GROWTH_KIB (32 * 1024)

static void
expect_modest(long before_kib)
{
	if (!getenv("FETCHPOOL_SANITIZED"))
		expect_that(
			peak_kib() - before_kib < GROWTH_KIB, "it grew from %ld to %ld KiB", before_kib, peak_kib());
}

/* ---- answers that never end, or make no sense */

static const struct {
	struct raw_script script;
	const char *more, *code, *phase;
} answers[] = {
	/* without an end */
	{{.again = HINT, .times = RAW_ENDLESS}, "", "protocol_error", "first_byte"},
	{{.again = "HTTP/1.1 100 Continue\r\n\r\n", .times = RAW_ENDLESS}, "", "protocol_error", "first_byte"},
	{{.again = HINT, .times = 101, .end = HELLO}, "", "protocol_error", "first_byte"},
	{{.begin = OK_HEAD, .again = "X-Field: value\r\n", .times = RAW_ENDLESS}, "", "protocol_error", "first_byte"},
	{{.begin = OK_HEAD, .again = "a:\r\n", .times = RAW_ENDLESS}, "", "protocol_error", "first_byte"},
	{{.begin = OK_HEAD "A: b\r\n", .again = " x\r\n", .times = RAW_ENDLESS}, "", "protocol_error", "first_byte"},
	{{.begin = OK_HEAD "A: b\r\n", .again = "\t\r\n", .times = RAW_ENDLESS}, "", "protocol_error", "first_byte"},
	{{.begin = OK_HEAD "A: ", .again = "long", .times = RAW_ENDLESS}, "", "protocol_error", "first_byte"},
	{{.begin = OK_HEAD, .again = "name", .times = RAW_ENDLESS}, "", "protocol_error", "first_byte"},
	{{.begin = "HTTP/1.1 200 ", .again = "reason", .times = RAW_ENDLESS}, "", "protocol_error", "first_byte"},
	{{.again = "\r\n", .times = RAW_ENDLESS}, "", "protocol_error", "first_byte"},
	{{.again = "x", .times = RAW_ENDLESS}, "", "protocol_error", "first_byte"},
	{{.again = HELLO, .times = RAW_ENDLESS}, NULL, NULL, NULL},
	{{.begin = OK_HEAD "\r\n", .again = "body", .times = RAW_ENDLESS}, "'max_body_bytes':1000000", "too_large",
		"body"},
	{{.begin = CHUNKED, .again = "5\r\nhello\r\n", .times = RAW_ENDLESS}, "'max_body_bytes':1000000", "too_large",
		"body"},
	{{.begin = CHUNKED "5;", .again = "name=value;", .times = RAW_ENDLESS}, "'idle_timeout':'500ms'",
		"idle_timeout", "body"},
	{{.begin = CHUNKED, .again = "0", .times = RAW_ENDLESS}, "", "protocol_error", "body"},
	{{.begin = CHUNKED "5\r\nhello\r\n0\r\n", .again = "X-Trailer: x\r\n", .times = RAW_ENDLESS}, "",
		"protocol_error", "body"},
	{{.begin = CHUNKED "5\r\nhello\r\n0\r\n", .again = "long", .times = RAW_ENDLESS}, "", "protocol_error", "body"},
	/* one upon the other */
	{{.begin = OK_HEAD "Content-Encoding: gzip", .again = ", gzip", .times = 5, .end = "\r\n\r\n"}, "",
		"bad_content_encoding", "body"},
	{{.begin = OK_HEAD, .again = "Content-Encoding: gzip\r\n", .times = 1000, .end = "\r\n"}, "",
		"bad_content_encoding", "body"},
	{{.begin = OK_HEAD "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"}, "", "protocol_error", "first_byte"},
	{{.begin = OK_HEAD "Transfer-Encoding: gzip\r\n\r\nx"}, "", "protocol_error", "first_byte"},
	{{.begin = OK_HEAD "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"}, "", "protocol_error", "first_byte"},
	{{.begin = OK_HEAD "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n"}, "", "protocol_error",
		"first_byte"},
	/* numbers */
	{{.begin = CHUNKED "FFFFFFFFFFFFFFFF\r\nhello"}, "", "protocol_error", "body"},
	{{.begin = CHUNKED "FFFFFFFFFFFFFFFF1\r\nhello"}, "", "protocol_error", "body"},
	{{.begin = CHUNKED "8000000000000000\r\nhello"}, "", "protocol_error", "body"},
	{{.begin = CHUNKED "10000000000000005\r\nhello\r\n0\r\n\r\n"}, "", "protocol_error", "body"},
	{{.begin = CHUNKED "-5\r\nhello\r\n0\r\n\r\n"}, "", "protocol_error", "body"},
	{{.begin = CHUNKED "g\r\nhello\r\n0\r\n\r\n"}, "", "protocol_error", "body"},
	{{.begin = CHUNKED "\r\nhello\r\n0\r\n\r\n"}, "", "protocol_error", "body"},
	{{.begin = CHUNKED "4\r\nhello\r\n0\r\n\r\n"}, "", "protocol_error", "body"},
	{{.begin = CHUNKED "7FFFFFFFFFFFFFFF\r\nhello"}, "", "truncated", "body"},
	{{.begin = OK_HEAD "Content-Length: 9223372036854775807\r\n\r\nhello"}, "", "too_large", "body"},
	{{.begin = OK_HEAD "Content-Encoding: gzip\r\nContent-Length: 9223372036854775807\r\n\r\n"}, "", "truncated",
		"body"},
	/* first lines */
	{{.begin = "hello, this is HTTP/0.9"}, "", "protocol_error", "first_byte"},
	{{.begin = "<html>hello</html>\r\n\r\n"}, "", "protocol_error", "first_byte"},
	{{.begin = "SSH-2.0-OpenSSH_9.2\r\n"}, "", "protocol_error", "first_byte"},
	{{.begin = "ICY 200 OK\r\n\r\nhello"}, "", "protocol_error", "first_byte"},
	{{.begin = "HTTP/1.1 20\r\n\r\nhello"}, "", "protocol_error", "first_byte"},
	{{.begin = "HTTP/1.1 2000 OK\r\n\r\nhello"}, "", "protocol_error", "first_byte"},
	{{.begin = "HTTP/1.1 -20 OK\r\n\r\nhello"}, "", "protocol_error", "first_byte"},
	{{.begin = "HTTP/1.1 OK\r\n\r\nhello"}, "", "protocol_error", "first_byte"},
	{{.begin = "HTTP/9.9 200 OK\r\n\r\nhello"}, "", "protocol_error", "first_byte"},
	{{.begin = "HTTP/1 200 OK\r\n\r\nhello"}, "", "protocol_error", "first_byte"},
	{{.begin = "HTTP/1.1\r\n\r\nhello"}, "", "protocol_error", "first_byte"},
	{{.begin = "\0\0\0\0", .begin_bytes = 4}, "", "protocol_error", "first_byte"},
	{{.begin = OK_HEAD "no field\r\n\r\nhello"}, "", "protocol_error", "first_byte"},
#define NUL_IN_VALUE OK_HEAD "X-Nul: a\0b\r\nContent-Length: 5\r\n\r\nhello"
	{{.begin = NUL_IN_VALUE, .begin_bytes = sizeof NUL_IN_VALUE - 1}, "", "protocol_error", "first_byte"},
#define NUL_IN_LENGTH                                                                                                  \
	OK_HEAD "Content-Length: 5\0"                                                                                  \
		"0\r\n\r\nhello"
	{{.begin = NUL_IN_LENGTH, .begin_bytes = sizeof NUL_IN_LENGTH - 1}, "", "protocol_error", "first_byte"},
	/* redirects */
	{{.begin = "HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n"}, "", "too_many_redirects",
		"redirect"},
	{{.begin = "HTTP/1.1 302 Found\r\nLocation: ?\r\n\r\n"}, "'max_redirects':20", "too_many_redirects",
		"redirect"},
	{{.begin = "HTTP/1.1 307 T\r\nLocation: /", .again = "a", .times = 90000, .end = "\r\n\r\n"}, "",
		"bad_redirect", "redirect"},
	/* slowly */
	{{.begin = HELLO, .pause_ms = 40}, "'timeout':'400ms'", "timeout", "first_byte"},
	{{.begin = HELLO, .pause_ms = 40}, "'deadline':'400ms'", "deadline_exceeded", NULL},
	{{.again = "HTTP/1.1 100 Continue\r\n\r\n", .times = RAW_ENDLESS, .pause_ms = 5}, "'timeout':'400ms'",
		"timeout", "first_byte"},
	{{.begin = OK_HEAD "Content-", .ending = RAW_STALL}, "'idle_timeout':'300ms'", "idle_timeout", "first_byte"},
	{{.begin = HINT, .ending = RAW_STALL}, "'idle_timeout':'300ms'", "idle_timeout", "first_byte"},
	{{.begin = CHUNKED "5\r\nhel", .ending = RAW_STALL}, "'idle_timeout':'300ms'", "idle_timeout", "body"},
	{{.begin = CHUNKED "5\r\nhello\r\n0\r\n", .ending = RAW_STALL}, "'idle_timeout':'300ms'", "idle_timeout",
		"body"},
	{{.begin = OK_HEAD "Content-Length: 10\r\n\r\nhello", .ending = RAW_STALL}, "'idle_timeout':'300ms'",
		"idle_timeout", "body"},
	{{.begin = OK_HEAD "\r\nhello", .ending = RAW_STALL}, "'idle_timeout':'300ms'", "idle_timeout", "body"},
	/* not so bad */
	{{.again = HINT, .times = 100, .end = HELLO}, "", NULL, NULL},
	{{.begin = HELLO "and more", .ending = RAW_STALL}, "", NULL, NULL},
	{{.begin = OK_HEAD "Transfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n"}, "", NULL, NULL},
	{{.begin = CHUNKED "5;a=b;c=\"d\"\r\nhello\r\n0\r\n\r\n"}, "", NULL, NULL},
	{{.begin = OK_HEAD "Transfer-Encoding: identity\r\n\r\nhello"}, "", NULL, NULL},
	{{.begin = OK_HEAD "Content-Length: 5\r\n\r\nhello", .pause_ms = 2}, "", NULL, NULL},
	{{.begin = OK_HEAD "Content-Length: 50\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"}, "", NULL,
		NULL},
};

START_TEST(each_bad_answer_has_its_code)
{
	long before_kib = peak_kib();
	const char *more = answers[_i].more && *answers[_i].more ? answers[_i].more : "'timeout':'60s'";
	json_t *job = fetch(start_raw(&answers[_i].script), "%s", more);

	if (answers[_i].code)
		expect_failed(job, answers[_i].code, answers[_i].phase);
	else
		expect(job, "response.body", "'hello'");
	expect_that(json_array_size(json_at(job, "attempts")) == 1, "there is not one attempt");
	expect_modest(before_kib);
	stop_raw();
	expect(fetch(url("/echo"), ""), "state", "'succeeded'");
}
END_TEST

static const char *const bodiless[] = {
	"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
	"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
	"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello",
	"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
};

/* What comes behind such an answer is nobody's: not its body, nor the answer to the next request. */
START_TEST(what_follows_an_answer_without_a_body_is_dropped)
{
	const char *there = start_raw(&(struct raw_script){.begin = bodiless[_i]});
	json_t *first = fetch(there, ""), *second = fetch(there, "");

	expect(first, "response.body", "''");
	expect(second, "response.body", "''");
	expect(second, "response.status", "%lld", (long long)json_int_at(first, "response.status"));
	stop_raw();
}
END_TEST

/* A redirect's body is of no interest, however long. */
START_TEST(an_endless_body_of_a_redirect_is_left)
{
	const char *head = text("HTTP/1.1 302 Found\r\nLocation: %s\r\n\r\n", url("/text/5"));
	long before_kib = peak_kib();
	json_t *job = fetch(start_raw(&(struct raw_script){.begin = head, .again = "body", .times = RAW_ENDLESS}), "");

	expect(job, "response.body", "'%s'", origin_text_of(5));
	expect_modest(before_kib);
	stop_raw();
}
END_TEST

/* ---- cuts at every byte; but for the line feed after a last chunk and its trailers, without which libcurl can do */

static const char gzipped[] =
	"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xcb\x48\xcd\xc9\xc9\x07\x00\x86\xa6\x10\x36\x05\x00\x00"
	"\x00"; /* "hello" */

#define CHUNKED_TRAILED CHUNKED "3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nX-T: t\r\n\r\n"

static struct {
	const char *bytes;
	size_t size;
} wholes[] = {
	{HELLO, sizeof HELLO - 1}, {HINT HELLO, sizeof HINT HELLO - 1}, {CHUNKED_TRAILED, sizeof CHUNKED_TRAILED - 2},
	{NULL, 0}, /* gzip: make_gzipped */
};

static void
make_gzipped(void)
{
	static char whole[200];
	int head = snprintf(whole, sizeof whole, OK_HEAD "Content-Encoding: gzip\r\nContent-Length: %zu\r\n\r\n",
		sizeof gzipped - 1);

	memcpy(whole + head, gzipped, sizeof gzipped - 1);
	wholes[3].bytes = whole;
	wholes[3].size = (size_t)head + sizeof gzipped - 1;
}

static bool
is_cut(const json_t *job)
{
	static const char *const codes[] = {"truncated", "connection_lost", "protocol_error"};
	const char *code = json_text_at(job, "error.code");

	for (size_t i = 0; code && i < COUNT_OF(codes); i++)
		if (!strcmp(code, codes[i]))
			return true;
	return false;
}

START_TEST(a_cut_answer_is_never_whole)
{
	json_t *jobs[256];

	make_gzipped();
	for (size_t i = 0; i < wholes[_i].size; i++)
		jobs[i] = submit(url("/script?hex=%s", hex_of(wholes[_i].bytes, i)), "'timeout':'60s'");
	for (size_t i = 0; i < wholes[_i].size; i++) {
		json_t *job = job_done(jobs[i]);

		expect_that(is_cut(job), "cut at byte %zu of %zu: %s %s", i, wholes[_i].size,
			json_text_at(job, "state"), dumped(json_at(job, "error")));
	}
	expect(fetch(url("/script?hex=%s", hex_of(wholes[_i].bytes, wholes[_i].size)), ""), "response.body", "'hello'");
}
END_TEST

START_TEST(a_reset_answer_is_never_whole)
{
	size_t step = rig_scaled(10) < 10 ? 7 : 3;

	make_gzipped();
	for (size_t i = 1; i < wholes[_i].size; i += step) {
		struct raw_script script = {.begin = wholes[_i].bytes, .begin_bytes = i, .ending = RAW_RESET};
		json_t *job = fetch(start_raw(&script), "'timeout':'60s'");

		expect_that(is_cut(job), "reset at byte %zu of %zu: %s %s", i, wholes[_i].size,
			json_text_at(job, "state"), dumped(json_at(job, "error")));
		stop_raw();
	}
}
END_TEST

/* ---- TLS */

static const struct {
	struct raw_script script;
	const char *more, *code, *phase;
} secure[] = {
	{{.begin = HELLO, .tls = RAW_TLS_GOOD}, "", NULL, NULL},
	{{.begin = HELLO, .tls = RAW_TLS_EXPIRED}, "", "tls_failed", "tls"},
	{{.begin = HELLO, .tls = RAW_TLS_NOT_YET}, "", "tls_failed", "tls"},
	{{.begin = HELLO, .tls = RAW_TLS_WRONG_HOST}, "", "tls_failed", "tls"},
	{{.begin = HELLO, .tls = RAW_TLS_SELF_SIGNED}, "", "tls_failed", "tls"},
	{{.begin = HELLO, .tls = RAW_TLS_UNKNOWN_CA}, "", "tls_failed", "tls"},
	{{.begin = HELLO, .tls = RAW_TLS_NO_SERVER}, "", "tls_failed", "tls"},
	{{.begin = HELLO, .tls = RAW_TLS_OLD}, "", "tls_failed", "tls"},
	{{.tls = RAW_TLS_GARBAGE}, "", "tls_failed", "tls"},
	{{.tls = RAW_TLS_END}, "", "tls_failed", "tls"},
	{{.tls = RAW_TLS_BREAK}, "", "tls_failed", "tls"},
	{{.tls = RAW_TLS_HALF}, "'connect_timeout':'400ms'", "connect_timeout", "tls"},
	/* ends that nobody vouches for: anyone on the way may have made them */
	{{.begin = HELLO, .tls = RAW_TLS_GOOD, .ending = RAW_CLOSE_UNNOTIFIED}, "", NULL, NULL},
	{{.begin = OK_HEAD "\r\nhello", .tls = RAW_TLS_GOOD}, "", NULL, NULL},
	{{.begin = OK_HEAD "\r\nhello", .tls = RAW_TLS_GOOD, .ending = RAW_CLOSE_UNNOTIFIED}, "", "truncated", "body"},
	{{.begin = OK_HEAD "Content-Length: 10\r\n\r\nhello", .tls = RAW_TLS_GOOD}, "", "truncated", "body"},
	{{.begin = OK_HEAD "Content-Length: 10\r\n\r\nhello", .tls = RAW_TLS_GOOD, .ending = RAW_CLOSE_UNNOTIFIED}, "",
		"truncated", "body"},
	{{.begin = CHUNKED "5\r\nhello\r\n", .tls = RAW_TLS_GOOD}, "", "truncated", "body"},
	{{.begin = CHUNKED "5\r\nhello\r\n", .tls = RAW_TLS_GOOD, .ending = RAW_CLOSE_UNNOTIFIED}, "", "truncated",
		"body"},
	{{.begin = OK_HEAD "X: y", .tls = RAW_TLS_GOOD, .ending = RAW_CLOSE_UNNOTIFIED}, "", "truncated", NULL},
	{{.tls = RAW_TLS_GOOD}, "", "connection_lost", "first_byte"},
	{{.begin = OK_HEAD "Content-Length: 10\r\n\r\nhello", .tls = RAW_TLS_GOOD, .ending = RAW_RESET}, "", NULL,
		"reset"},
	{{.begin = OK_HEAD "\r\nhello", .tls = RAW_TLS_GOOD, .ending = RAW_STALL}, "'idle_timeout':'300ms'",
		"idle_timeout", "body"},
};

START_TEST(each_bad_tls_has_its_code)
{
	const char *more = *secure[_i].more ? secure[_i].more : "'timeout':'60s'";
	json_t *job = fetch(start_raw(&secure[_i].script), "%s", more);

	if (secure[_i].code)
		expect_failed(job, secure[_i].code, secure[_i].phase);
	else if (secure[_i].phase)
		expect_that(is_cut(job), "%s %s", json_text_at(job, "state"), dumped(json_at(job, "error")));
	else
		expect(job, "response.body", "'hello'");
	stop_raw();
}
END_TEST

static void
setup_tls(void)
{
	const char *ca_path = text("%s/ca.pem", server_directory());

	ck_assert_msg(raw_origin_ca(ca_path), "no CA");
	rig_share("--origin-ca", text("default=%s", ca_path));
}

int
main(void)
{
	Suite *suite = suite_create("hostile");
	TCase *plain = rig_case(suite, "answers", rig_share_default);
	TCase *tls = rig_case(suite, "tls", setup_tls);

	tcase_add_loop_test(plain, each_bad_answer_has_its_code, 0, COUNT_OF(answers));
	tcase_add_loop_test(plain, what_follows_an_answer_without_a_body_is_dropped, 0, COUNT_OF(bodiless));
	tcase_add_test(plain, an_endless_body_of_a_redirect_is_left);
	tcase_add_loop_test(plain, a_cut_answer_is_never_whole, 0, COUNT_OF(wholes));
	tcase_add_loop_test(plain, a_reset_answer_is_never_whole, 0, COUNT_OF(wholes));
	tcase_add_loop_test(tls, each_bad_tls_has_its_code, 0, COUNT_OF(secure));
	return rig_run(suite);
}
