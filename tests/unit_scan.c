/*
 * The strict look at what clients send (api/http_scan.h). Every row is fed whole, byte by byte, and cut in two at each
 * place: the verdict is the same.
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/http_scan.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))
#define TEXT(text) text, sizeof(text) - 1
#define GET "GET / HTTP/1.1\r\nHost: a\r\n"
#define POST "POST / HTTP/1.1\r\nHost: a\r\n"
#define CHUNKED POST "Transfer-Encoding: chunked\r\n\r\n"

static const struct {
	const char *bytes;
	size_t length;
	int status;        /* 0: all is well */
	const char *wrong; /* a word of what is wrong */
	unsigned requests; /* whole ones, up to there */
} rows[] = {
	{TEXT(""), 0, NULL, 0},
	{TEXT(GET), 0, NULL, 0},
	{TEXT(GET "\r\n"), 0, NULL, 1},
	{TEXT("GET / HTTP/1.0\r\n\r\n"), 0, NULL, 1},
	{TEXT("\r\n" GET "\r\n"), 0, NULL, 1},
	{TEXT(GET "\r\n" GET "\r\n"), 0, NULL, 2},
	{TEXT(GET "\r\n\r\n" GET "\r\n"), 0, NULL, 2},
	{TEXT("GET /\xc3\xa4?b HTTP/1.1\r\nHost:\r\n\r\n"), 0, NULL, 1},
	{TEXT("X!#$%&'*+-.^_`|~9 * HTTP/1.1\r\nhOST:a\r\n\r\n"), 0, NULL, 1},
	{TEXT(GET "A: \t b \t\r\nB:\r\nC::\r\nD: \xff\x80\r\n\r\n"), 0, NULL, 1},
	{TEXT(POST "Content-Length: 5\r\n\r\n\r\n\r\n\0"), 0, NULL, 1},
	{TEXT(POST "Content-Length: 5\r\n\r\nabcd"), 0, NULL, 0},
	{TEXT(POST "Content-Length: 0\r\n\r\n" GET "\r\n"), 0, NULL, 2},
	{TEXT(POST "Content-Length:\t05\r\n\r\nabcde" GET "\r\n"), 0, NULL, 2},
	{TEXT(CHUNKED "0\r\n\r\n" GET "\r\n"), 0, NULL, 2},
	{TEXT(CHUNKED "5\r\n\r\n\r\n\0\r\n0\r\n\r\n"), 0, NULL, 1},
	{TEXT(CHUNKED "000A;x=\"y\";z\r\n0123456789\r\n00\r\nTrailer: x\r\n\r\n"), 0, NULL, 1},
	{TEXT(POST "transfer-encoding:CHUNKED\r\n\r\n1\r\nx\r\n0\r\n"), 0, NULL, 0},
	{TEXT("POST / HTTP/1.0\r\nContent-Length: 1\r\n\r\nx"), 0, NULL, 1},

	/* the request line */
	{TEXT(" GET / HTTP/1.1\r\n"), 400, "method", 0},
	{TEXT("\r\n\r\n" GET "\r\n"), 400, "method", 0},
	{TEXT("\n" GET "\r\n"), 400, "method", 0},
	{TEXT("\rGET / HTTP/1.1\r\n"), 400, "method", 0},
	{TEXT("\0"), 400, "method", 0},
	{TEXT("\x16\x03\x01\x02"), 400, "method", 0}, /* a TLS handshake */
	{TEXT("G(ET / HTTP/1.1\r\n"), 400, "request line", 0},
	{TEXT("GET\t/ HTTP/1.1\r\n"), 400, "request line", 0},
	{TEXT("GET\r\n"), 400, "request line", 0},
	{TEXT("ABCDEFGHIJKLMNOPQRSTUVWXYZ / HTTP/1.1\r\n"), 400, "request line", 0},
	{TEXT("GET  / HTTP/1.1\r\n"), 400, "target", 0},
	{TEXT("GET /\r\n"), 400, "target", 0},
	{TEXT("GET /\t HTTP/1.1\r\n"), 400, "target", 0},
	{TEXT("GET /a\0b HTTP/1.1\r\n"), 400, "target", 0},
	{TEXT("GET /\x7f HTTP/1.1\r\n"), 400, "target", 0},
	{TEXT("GET /  HTTP/1.1\r\n"), 400, "request line", 0},
	{TEXT("GET / HTTP/1.1 \r\n"), 400, "request line", 0},
	{TEXT("GET / a HTTP/1.1\r\n"), 400, "request line", 0},
	{TEXT("GET / http/1.1\r\n"), 400, "request line", 0},
	{TEXT("GET / HTTP/1.1\n"), 400, "request line", 0},
	{TEXT("GET / HTTP/1.1\rX"), 400, "CR", 0},
	{TEXT("GET / \r\n"), 400, "request line", 0},
	{TEXT("GET / HTTP/1.12345678901234567890\r\n"), 400, "request line", 0},
	{TEXT("GET / HTTP/2.0\r\n"), 505, "version", 0},
	{TEXT("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505, "version", 0},

	/* names */
	{TEXT(GET "A : b\r\n"), 400, "token", 0},
	{TEXT(GET "A\t: b\r\n"), 400, "token", 0},
	{TEXT(GET "A B: c\r\n"), 400, "token", 0},
	{TEXT(GET "A(: b\r\n"), 400, "token", 0},
	{TEXT(GET "A\0B: b\r\n"), 400, "token", 0},
	{TEXT(GET "\x01: b\r\n"), 400, "token", 0},
	{TEXT(GET "\xc3\x84: b\r\n"), 400, "token", 0},
	{TEXT(GET "A\r\n"), 400, "token", 0},
	{TEXT(GET "A\n"), 400, "token", 0},
	{TEXT(GET ": b\r\n"), 400, "token", 0},
	{TEXT(GET ":\n" GET "\r\n"), 400, "token", 0},
	{TEXT(GET "\0\n" GET "\r\n"), 400, "token", 0},
	{TEXT(GET "\n"), 400, "token", 0},
	{TEXT(GET "A: b\n:\n" GET "\r\n"), 400, "CR LF", 0},

	/* folding */
	{TEXT("GET / HTTP/1.1\r\n Host: a\r\n"), 400, "folded", 0},
	{TEXT(GET " b\r\n"), 400, "folded", 0},
	{TEXT(GET "\tTransfer-Encoding: chunked\r\n"), 400, "folded", 0},
	{TEXT(GET " \r\n\r\n"), 400, "folded", 0},

	/* values and line ends */
	{TEXT(GET "A: b\x01\r\n"), 400, "control", 0},
	{TEXT(GET "A: \x7f\r\n"), 400, "control", 0},
	{TEXT(GET "A: b\x1b[0m\r\n"), 400, "control", 0},
	{TEXT(GET "A: b\0c\r\n"), 400, "control", 0},
	{TEXT(GET "A: b\nC: d\r\n"), 400, "CR LF", 0},
	{TEXT(GET "A:\nB: c\r\n"), 400, "CR LF", 0},
	{TEXT(GET "A: b\rC: d\r\n"), 400, "CR stands", 0},
	{TEXT(GET "A: b\r\r\n"), 400, "CR stands", 0},
	{TEXT(GET "\r\r\n"), 400, "CR stands", 0},
	{TEXT(GET "\rA: b\r\n"), 400, "CR stands", 0},

	/* Host */
	{TEXT("GET / HTTP/1.1\r\n\r\n"), 400, "missing", 0},
	{TEXT("GET / HTTP/1.1\r\nHosts: a\r\n\r\n"), 400, "missing", 0},
	{TEXT(GET "Host: a\r\n"), 400, "several", 0},

	/* lengths and codings */
	{TEXT(POST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), 400, "both", 0},
	{TEXT(POST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"), 400, "both", 0},
	{TEXT(POST "Content-Length: 5\r\nContent-Length: 5\r\n"), 400, "several", 0},
	{TEXT(POST "Content-Length: 5\r\nContent-Length: 6\r\n"), 400, "several", 0},
	{TEXT(POST "Content-Length:\r\n"), 400, "number", 0},
	{TEXT(POST "Content-Length: -1\r\n"), 400, "number", 0},
	{TEXT(POST "Content-Length: +5\r\n"), 400, "number", 0},
	{TEXT(POST "Content-Length: 5, 5\r\n"), 400, "number", 0},
	{TEXT(POST "Content-Length: 5 \r\n"), 400, "number", 0}, /* libmicrohttpd leaves the blank there */
	{TEXT(POST "Transfer-Encoding: chunked \r\n"), 400, "chunked", 0},
	{TEXT(POST "Transfer-Encoding: chunked\t\r\n"), 400, "chunked", 0},
	{TEXT(POST "Content-Length: 5 5\r\n"), 400, "number", 0},
	{TEXT(POST "Content-Length: 0x5\r\n"), 400, "number", 0},
	{TEXT(POST "Content-Length: 99999999999999999999999999999\r\n"), 413, "limit", 0},
	{TEXT(POST "Content-Length: 18446744073709551616\r\n"), 413, "limit", 0},
	{TEXT(POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), 400, "chunked", 0},
	{TEXT(POST "Transfer-Encoding: gzip, chunked\r\n"), 400, "chunked", 0},
	{TEXT(POST "Transfer-Encoding: gzip\r\n"), 400, "chunked", 0},
	{TEXT(POST "Transfer-Encoding: identity\r\n"), 400, "chunked", 0},
	{TEXT(POST "Transfer-Encoding:\r\n"), 400, "chunked", 0},
	{TEXT(POST "Transfer-Encoding: chunked,\r\n"), 400, "chunked", 0},
	{TEXT(POST "Transfer-Encoding: xchunked\r\n"), 400, "chunked", 0},
	{TEXT(POST "Transfer-Encoding: \"chunked\"\r\n"), 400, "chunked", 0},
	{TEXT(POST "Transfer-Encoding: \x0b"
		   "chunked\r\n"),
		400, "control", 0},
	{TEXT("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n"), 400, "1.0", 0},

	/* chunks */
	{TEXT(CHUNKED "xyz\r\n"), 400, "chunk", 0},
	{TEXT(CHUNKED "-1\r\n"), 400, "chunk", 0},
	{TEXT(CHUNKED "0x1\r\n"), 400, "chunk", 0},
	{TEXT(CHUNKED " 1\r\n"), 400, "chunk", 0},
	{TEXT(CHUNKED "1 \r\n"), 400, "chunk", 0},
	{TEXT(CHUNKED "\r\n"), 400, "chunk", 0},
	{TEXT(CHUNKED ";a\r\n"), 400, "chunk", 0},
	{TEXT(CHUNKED "1\nx"), 400, "chunk", 0},
	{TEXT(CHUNKED "1;a\nx"), 400, "chunk", 0},
	{TEXT(CHUNKED "1\rx"), 400, "CR stands", 0},
	{TEXT(CHUNKED "1\r\nxy"), 400, "chunk", 0},
	{TEXT(CHUNKED "1\r\nx\n0\r\n"), 400, "chunk", 0},
	{TEXT(CHUNKED "1\r\nx\r0"), 400, "chunk", 0},
	{TEXT(CHUNKED "1\r\nx\r\n0\r\nA: b\n\r\n"), 400, "CR LF", 0},
	{TEXT(CHUNKED "0\r\nContent-Length: 5\r\n\r\n"), 400, "trailer", 0},
	{TEXT(CHUNKED "0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400, "trailer", 0},
	{TEXT(CHUNKED "0\r\n\n"), 400, "token", 0},
	{TEXT(CHUNKED "ffffffffffffffff\r\n"), 413, "limit", 0},
	{TEXT(CHUNKED "00000000000000000000000000001\r\nx\r\n0\r\n\r\n"), 0, NULL, 1},

	/* behind a request that is well-formed */
	{TEXT(GET "\r\n" GET "\n"), 400, "token", 1},
	{TEXT(GET "\r\nx: y\r\n"), 400, "request line", 1},
	{TEXT(POST "Content-Length: 1\r\n\r\nxyGET / HTTP/1.1\r\n:"), 400, "token", 1},
};

/* Where the requests that are well-formed end: what may be handed on when the row comes in one piece. */
static size_t
whole_bytes(int row)
{
	struct http_scan scan = {0};
	size_t whole = 0;

	for (size_t i = 0; i < rows[row].length && scan.status == 0; i++) {
		uint64_t before = scan.requests;

		http_scan(&scan, rows[row].bytes + i, 1);
		if (scan.requests > before)
			whole = i + 1;
	}
	return whole;
}

static void
expect_verdict(const struct http_scan *scan, int row, size_t cut)
{
	const char *wrong = rows[row].wrong;

	ck_assert_msg(scan->status == rows[row].status, "row %d cut at %zu: %d, %s: %s", row, cut, scan->status,
		scan->wrong == NULL ? "well-formed" : scan->wrong, rows[row].bytes);
	ck_assert_uint_eq(scan->requests, rows[row].requests);
	if (wrong != NULL)
		ck_assert_msg(strstr(scan->wrong, wrong) != NULL, "row %d cut at %zu: %s", row, cut, scan->wrong);
}

/* Feeds a copy that ends where its memory does, so that the address sanitizer sees a step too far. */
static size_t
feed(struct http_scan *scan, const char *bytes, size_t length)
{
	char *copy = malloc(length + (length == 0));

	memcpy(copy, bytes, length);
	size_t passed = http_scan(scan, copy, length);
	free(copy);
	return passed;
}

START_TEST(judges)
{
	const char *bytes = rows[_i].bytes;
	size_t length = rows[_i].length;

	for (size_t cut = 0; cut <= length; cut++) {
		struct http_scan scan = {0};

		if (feed(&scan, bytes, cut) == cut && scan.status == 0)
			feed(&scan, bytes + cut, length - cut);
		expect_verdict(&scan, _i, cut);
	}
	struct http_scan scan = {0};
	size_t passed = feed(&scan, bytes, length);
	ck_assert_uint_eq(passed, rows[_i].status == 0 ? length : whole_bytes(_i));
}
END_TEST

/* A verdict stays: nothing is looked at after it. */
START_TEST(stays_with_its_verdict)
{
	struct http_scan scan = {0};

	ck_assert_uint_eq(http_scan(&scan, TEXT("GET / HTTP/1.1\n")), 0);
	ck_assert_int_eq(scan.status, 400);
	ck_assert_uint_eq(http_scan(&scan, TEXT(GET "\r\n")), 0);
	ck_assert_int_eq(scan.status, 400);
	ck_assert_uint_eq(scan.requests, 0);
}
END_TEST

static int
scan_repeated(const char *head, const char *piece, size_t times, const char *tail)
{
	struct http_scan scan = {0};

	http_scan(&scan, head, strlen(head));
	for (size_t i = 0; i < times; i++)
		http_scan(&scan, piece, strlen(piece));
	http_scan(&scan, tail, strlen(tail));
	ck_assert(scan.status != 0 || scan.requests == 1);
	return scan.status;
}

START_TEST(bounds_heads)
{
	ck_assert_int_eq(scan_repeated("GET ", "/", HTTP_TARGET_MAX, " HTTP/1.1\r\nHost: a\r\n\r\n"), 0);
	ck_assert_int_eq(scan_repeated("GET ", "/", HTTP_TARGET_MAX + 1, ""), 414);
	ck_assert_int_eq(scan_repeated(GET, "A: b\r\n", HTTP_FIELDS_MAX - 1, "\r\n"), 0);
	ck_assert_int_eq(scan_repeated(GET, "A: b\r\n", HTTP_FIELDS_MAX, "\r\n"), 431);
	size_t rest = HTTP_HEAD_MAX - strlen(GET "A: \r\n\r\n");
	ck_assert_int_eq(scan_repeated(GET "A: ", "b", rest, "\r\n\r\n"), 0);
	ck_assert_int_eq(scan_repeated(GET "A: ", "b", rest + 1, "\r\n\r\n"), 431);
	ck_assert_int_eq(scan_repeated(GET, "A", HTTP_HEAD_MAX, ""), 431);
	ck_assert_int_eq(scan_repeated(CHUNKED, "1;a\r\nx\r\n", 20000, "0\r\n\r\n"), 0);
	ck_assert_int_eq(scan_repeated(CHUNKED "1;", "a", 300, ""), 400);
	ck_assert_int_eq(scan_repeated(CHUNKED, "0", 300, ""), 400);
	/* Host and Transfer-Encoding count, too. */
	ck_assert_int_eq(scan_repeated(CHUNKED "0\r\n", "A: b\r\n", HTTP_FIELDS_MAX - 2, "\r\n"), 0);
	ck_assert_int_eq(scan_repeated(CHUNKED "0\r\n", "A: b\r\n", HTTP_FIELDS_MAX - 1, ""), 431);
	ck_assert_int_eq(
		scan_repeated(POST "A: ", "b", HTTP_HEAD_MAX / 2, "\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
		0);
	ck_assert_int_eq(scan_repeated(CHUNKED "0\r\nA: ", "b", HTTP_HEAD_MAX, ""), 431);
}
END_TEST

/* Nobody reads cookies, and libmicrohttpd would take their memory. */
START_TEST(hides_cookies)
{
	static const char sent[] = GET "cOOkie: a=b; Cookie: c\r\nX-Cookie: d\r\nCook: e\r\nCookie: f\r\n\r\nCookie: g";
	static const char seen[] = GET "cOOki-: a=b; Cookie: c\r\nX-Cookie: d\r\nCook: e\r\nCooki-: f\r\n\r\nCookie: g";
	char bytes[sizeof sent];

	for (size_t cut = 0; cut < sizeof sent; cut++) {
		struct http_scan scan = {0};

		memcpy(bytes, sent, sizeof sent);
		http_scan_and_hide(&scan, bytes, cut);
		http_scan_and_hide(&scan, bytes + cut, sizeof sent - 1 - cut);
		ck_assert_uint_eq(scan.requests, 1);
		ck_assert_str_eq(bytes, seen);
	}
}
END_TEST

START_TEST(tells_where_it_is)
{
	struct http_scan scan = {0};

	ck_assert(!http_scan_in_head(&scan) && !http_scan_in_body(&scan));
	http_scan(&scan, TEXT("\r\n"));
	ck_assert(!http_scan_in_head(&scan) && !http_scan_in_body(&scan));
	http_scan(&scan, TEXT("P"));
	ck_assert(http_scan_in_head(&scan) && !http_scan_in_body(&scan));
	http_scan(&scan, TEXT("OST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r"));
	ck_assert(http_scan_in_head(&scan) && !http_scan_in_body(&scan));
	static const char *const pieces[] = {"\n", "1", "\r", "\n", "x", "\r", "\n", "0\r", "\n", "A: b\r", "\n", "\r"};
	for (int i = 0; i < COUNT(pieces); i++) {
		http_scan(&scan, pieces[i], strlen(pieces[i]));
		ck_assert_msg(!http_scan_in_head(&scan) && http_scan_in_body(&scan), "piece %d", i);
	}
	http_scan(&scan, TEXT("\n"));
	ck_assert_uint_eq(scan.requests, 1);
	ck_assert(!http_scan_in_head(&scan) && !http_scan_in_body(&scan));
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("scan");
	SRunner *runner = srunner_create(suite);
	TCase *tests = tcase_create("scan");

	tcase_set_timeout(tests, 60); /* sanitizers on a busy machine */
	tcase_add_loop_test(tests, judges, 0, COUNT(rows));
	tcase_add_test(tests, stays_with_its_verdict);
	tcase_add_test(tests, bounds_heads);
	tcase_add_test(tests, hides_cookies);
	tcase_add_test(tests, tells_where_it_is);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
