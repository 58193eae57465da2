/*
 * From JSON to structs, and what is written back: every key of a spec, good and bad, how strict the reader is, and the
 * small requests. Whoever reads a row of the tables knows what a client may send.
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <check.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/codec.h"
#include "api/json_out.h"
#include "api/problem.h"
#include "base/buffer.h"
#include "base/clock.h"
#include "base/text.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

/* Reads from a copy without a NUL behind it, so that the address sanitizer sees a step too far. */
static struct job_spec *
read_spec(const char *json, size_t length, struct problem *problem)
{
	char *copy = malloc(length + (length == 0));

	memcpy(copy, json, length);
	struct job_spec *spec = codec_read_spec(copy, length, problem);
	free(copy);
	return spec;
}

/* A spec with these members beside the url. */
static struct job_spec *
spec_with(const char *members)
{
	struct problem problem = {0};
	char *json;

	ck_assert_int_gt(asprintf(&json, "{\"url\":\"http://a.example/\",%s}", members), 0);
	struct job_spec *spec = read_spec(json, strlen(json), &problem);
	ck_assert_msg(
		spec != NULL, "%s: %s at %s", members, problem.detail, problem.pointer != NULL ? problem.pointer : "");
	free(json);
	return spec;
}

/* What the reader says of it; released by the caller. */
static struct problem
problem_of(const char *json, size_t length)
{
	struct problem problem = {0};
	struct job_spec *spec = read_spec(json, length, &problem);

	ck_assert_msg(spec == NULL, "%.200s was taken", json);
	ck_assert_msg(*problem.detail != '\0', "%.200s", json);
	return problem;
}

static void
check_problem(const char *what, struct problem *problem, int status, const char *code, const char *pointer)
{
	ck_assert_msg(problem->status == status && strcmp(problem->code, code) == 0, "%s: %d %s: %s", what,
		problem->status, problem->code, problem->detail);
	if (pointer == NULL)
		ck_assert_msg(problem->pointer == NULL, "%s points at %s", what, problem->pointer);
	else
		ck_assert_msg(problem->pointer != NULL && strcmp(problem->pointer, pointer) == 0, "%s points at %s",
			what, problem->pointer != NULL ? problem->pointer : "nothing");
	problem_release(problem);
}

/* ---- a spec, as it is read */

START_TEST(reads_the_defaults)
{
	struct job_spec *spec = spec_with("\"meta\":null");

	ck_assert_str_eq(spec->url, "http://a.example/");
	ck_assert_str_eq(spec->method, "GET");
	ck_assert_uint_eq(spec->headers.count, 0);
	ck_assert_ptr_null(spec->authorization);
	ck_assert(!spec->has_body && !spec->body_is_json);
	ck_assert_int_eq(spec->timeout_ms, 60000);
	ck_assert_int_eq(spec->connect_timeout_ms, 10000);
	ck_assert_int_eq(spec->first_byte_timeout_ms, 0);
	ck_assert_int_eq(spec->idle_timeout_ms, 30000);
	ck_assert_int_eq(spec->queue_timeout_ms, 0);
	ck_assert_int_eq(spec->deadline_ms, 0);
	ck_assert_int_eq(spec->max_redirects, 10);
	ck_assert_int_eq(spec->max_body_bytes, -1);
	ck_assert(spec->decompress);
	ck_assert_uint_eq(spec->expect.status_count, 0);
	ck_assert_ptr_null(spec->expect.content_type);
	ck_assert(!spec->expect.has_sha256);
	ck_assert_int_eq(spec->priority, 0);
	ck_assert_int_eq(spec->delay_ms, 0);
	ck_assert_int_eq(spec->run_at_wall_ms, 0);
	ck_assert_int_eq(spec->ttl_ms, 0);
	ck_assert(!spec->retry_unsafe);
	ck_assert_uint_eq(spec->tag_count, 0);
	ck_assert_ptr_null(spec->meta);
	ck_assert_ptr_null(spec->idempotency_key);
	job_spec_free(spec);
}
END_TEST

/* Every key but meta and json takes a null as if it were not there. */
START_TEST(takes_nulls_as_left_out)
{
	struct job_spec *spec = spec_with(
		"\"method\":null,\"headers\":null,\"body\":null,\"body_base64\":null,\"auth\":null,"
		"\"timeout\":null,\"connect_timeout\":null,\"first_byte_timeout\":null,\"idle_timeout\":null,"
		"\"queue_timeout\":null,\"deadline\":null,\"retry\":null,\"max_redirects\":null,"
		"\"max_body_bytes\":null,\"decompress\":null,\"expect\":null,\"tls\":null,\"proxy\":null,\"priority\":null,\"delay\":null,"
		"\"run_at\":null,\"ttl\":null,\"tags\":null,\"meta\":null,\"idempotency_key\":null");

	ck_assert_str_eq(spec->method, "GET");
	ck_assert(!spec->has_body);
	ck_assert_int_eq(spec->timeout_ms, 60000);
	ck_assert_int_eq(spec->max_redirects, 10);
	ck_assert_ptr_null(spec->idempotency_key);
	job_spec_free(spec);
	spec = spec_with(
		"\"retry\":{\"max_attempts\":null,\"backoff\":null,\"on_status\":null,\"unsafe\":null},"
		"\"expect\":{\"status\":null,\"content_type\":null,\"sha256\":null},\"headers\":{\"a\":null,\"b\":\"1\"}");
	ck_assert_uint_eq(spec->headers.count, 1);
	ck_assert_uint_eq(spec->expect.status_count, 0);
	job_spec_free(spec);
}
END_TEST

#define MEMBER(name) offsetof(struct job_spec, name)

/* A value, and the number it has to leave at offset: int64_t, but int for the narrow ones. */
static const struct {
	const char *members;
	size_t offset;
	bool narrow;
	int64_t value;
} numbers[] = {
	{"\"timeout\":1", MEMBER(timeout_ms), false, 1000},
	{"\"timeout\":0.5", MEMBER(timeout_ms), false, 500},
	{"\"timeout\":1e2", MEMBER(timeout_ms), false, 100000},
	{"\"timeout\":0.0001", MEMBER(timeout_ms), false, 1},
	{"\"timeout\":\"250ms\"", MEMBER(timeout_ms), false, 250},
	{"\"timeout\":\"1.5s\"", MEMBER(timeout_ms), false, 1500},
	{"\"timeout\":\"2m\"", MEMBER(timeout_ms), false, 120000},
	{"\"timeout\":\"1h\"", MEMBER(timeout_ms), false, 3600000},
	{"\"timeout\":\"30\"", MEMBER(timeout_ms), false, 30000},
	{"\"timeout\":315360000", MEMBER(timeout_ms), false, CLOCK_MAX_DURATION_MS},
	{"\"connect_timeout\":2", MEMBER(connect_timeout_ms), false, 2000},
	{"\"first_byte_timeout\":2", MEMBER(first_byte_timeout_ms), false, 2000},
	{"\"idle_timeout\":2", MEMBER(idle_timeout_ms), false, 2000},
	{"\"queue_timeout\":2", MEMBER(queue_timeout_ms), false, 2000},
	{"\"deadline\":2", MEMBER(deadline_ms), false, 2000},
	{"\"ttl\":2", MEMBER(ttl_ms), false, 2000},
	{"\"delay\":2", MEMBER(delay_ms), false, 2000},
	{"\"delay\":0", MEMBER(delay_ms), false, 0},
	{"\"delay\":\"0ms\"", MEMBER(delay_ms), false, 0},
	{"\"run_at\":\"2026-01-31T12:00:00Z\"", MEMBER(run_at_wall_ms), false, INT64_C(1769860800000)},
	{"\"run_at\":\"2026-01-31T13:00:00.25+01:00\"", MEMBER(run_at_wall_ms), false, INT64_C(1769860800250)},
	{"\"run_at\":\"1970-01-01T00:00:00Z\"", MEMBER(run_at_wall_ms), false, 1},
	{"\"run_at\":\"1960-01-01T00:00:00Z\"", MEMBER(run_at_wall_ms), false, 1},
	{"\"max_redirects\":0", MEMBER(max_redirects), true, 0},
	{"\"max_redirects\":20", MEMBER(max_redirects), true, 20},
	{"\"max_body_bytes\":0", MEMBER(max_body_bytes), false, 0},
	{"\"max_body_bytes\":9223372036854775807", MEMBER(max_body_bytes), false, INT64_MAX},
	{"\"priority\":-100", MEMBER(priority), true, -100},
	{"\"priority\":100", MEMBER(priority), true, 100},
	{"\"priority\":-0", MEMBER(priority), true, 0},
};

START_TEST(reads_numbers)
{
	struct job_spec *spec = spec_with(numbers[_i].members);
	const char *at = (const char *)spec + numbers[_i].offset;
	int64_t value;
	int narrow;

	if (numbers[_i].narrow) {
		memcpy(&narrow, at, sizeof narrow);
		value = narrow;
	} else {
		memcpy(&value, at, sizeof value);
	}
	ck_assert_msg(value == numbers[_i].value, "%s: %lld", numbers[_i].members, (long long)value);
	job_spec_free(spec);
}
END_TEST

START_TEST(reads_methods_and_flags)
{
	static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND",
		"M-SEARCH", "X!#$%&'*+-.^_`|~9"};

	for (int i = 0; i < COUNT(methods); i++) {
		char members[64];
		snprintf(members, sizeof members, "\"method\":\"%s\"", methods[i]);
		struct job_spec *spec = spec_with(members);
		ck_assert_str_eq(spec->method, methods[i]);
		job_spec_free(spec);
	}
	struct job_spec *spec = spec_with("\"decompress\":false");
	ck_assert(!spec->decompress);
	job_spec_free(spec);
	spec = spec_with("\"retry\":{\"unsafe\":true}");
	ck_assert(spec->retry_unsafe);
	job_spec_free(spec);
}
END_TEST

START_TEST(reads_headers)
{
	static const struct field wanted[] = {{(char *)"Accept", (char *)"text/html"},
		{(char *)"X-List", (char *)"one"}, {(char *)"X-List", (char *)""}, {(char *)"x-list", (char *)"three"},
		{(char *)"X-Empty", (char *)""}, {(char *)"X-Blanks", (char *)"a \t b"},
		{(char *)"X-Text", (char *)"\xc3\xa9"}};
	struct job_spec *spec = spec_with(
		"\"headers\":{\"Accept\":\"text/html\",\"X-List\":[\"one\",\"\"],\"x-list\":\"three\",\"X-None\":[],"
		"\"X-Empty\":\"\",\"X-Blanks\":\" \\ta \\t b\\t \",\"X-Text\":\"\\u00e9\"}");

	ck_assert_uint_eq(spec->headers.count, COUNT(wanted));
	for (int i = 0; i < COUNT(wanted); i++) {
		ck_assert_str_eq(spec->headers.items[i].name, wanted[i].name);
		ck_assert_str_eq(spec->headers.items[i].value, wanted[i].value);
	}
	job_spec_free(spec);
}
END_TEST

static const struct {
	const char *members, *body;
	size_t length;
	bool json;
} bodies[] = {
	{"\"method\":\"POST\",\"body\":\"h\\u00e9\\nllo\"", "h\xc3\xa9\nllo", 7, false},
	{"\"body\":\"\"", "", 0, false},
	{"\"method\":\"POST\",\"body_base64\":\"aGk=\"", "hi", 2, false},
	{"\"method\":\"POST\",\"body_base64\":\"AP/+\"", "\0\xff\xfe", 3, false},
	{"\"method\":\"POST\",\"body_base64\":\"\"", "", 0, false},
	{"\"json\":null", "null", 4, true},
	{"\"json\":{ \"b\" : [1, 2.5, true] , \"a\":\"\\u00e9/\"}", "{\"b\":[1,2.5,true],\"a\":\"\xc3\xa9/\"}", 28,
		true},
	{"\"json\":\"text\"", "\"text\"", 6, true},
	{"\"json\":0.1", "0.1", 3, true},
	{"\"json\":9223372036854775807", "9223372036854775807", 19, true},
};

START_TEST(reads_bodies)
{
	struct job_spec *spec = spec_with(bodies[_i].members);

	ck_assert(spec->has_body);
	ck_assert_int_eq(spec->body_is_json, bodies[_i].json);
	ck_assert_msg(
		spec->body_bytes == bodies[_i].length && memcmp(spec->body, bodies[_i].body, bodies[_i].length) == 0,
		"%s: %zu bytes: %.*s", bodies[_i].members, spec->body_bytes, (int)spec->body_bytes,
		(const char *)spec->body);
	job_spec_free(spec);
}
END_TEST

START_TEST(reads_auth)
{
	static const struct {
		const char *auth, *value;
	} table[] = {
		{"{\"basic\":{\"user\":\"Aladdin\",\"password\":\"open sesame\"}}",
			"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="},
		{"{\"basic\":{\"user\":\"\",\"password\":\"\"}}", "Basic Og=="},
		{"{\"basic\":{\"password\":\"a:b\",\"user\":\"\\u00fc\"}}", "Basic w7w6YTpi"},
		{"{\"bearer\":\"abc.def-1\"}", "Bearer abc.def-1"},
		{"{\"bearer\":\"abc\",\"basic\":null}", "Bearer abc"},
		{"{\"bearer\":null,\"basic\":{\"user\":\"\",\"password\":\"\"}}", "Basic Og=="},
	};

	for (int i = 0; i < COUNT(table); i++) {
		char members[200];
		snprintf(members, sizeof members, "\"auth\":%s", table[i].auth);
		struct job_spec *spec = spec_with(members);
		ck_assert_str_eq(spec->authorization, table[i].value);
		ck_assert_uint_eq(spec->headers.count, 0);
		job_spec_free(spec);
	}
}
END_TEST

START_TEST(reads_expect)
{
	struct job_spec *spec =
		spec_with("\"expect\":{\"status\":[200,\"3xx\",599,100],\"content_type\":\"Application/JSON\","
			  "\"sha256\":\"BA7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\"}");
	static const struct status_range wanted[] = {{200, 200}, {300, 399}, {599, 599}, {100, 100}};

	ck_assert_uint_eq(spec->expect.status_count, COUNT(wanted));
	for (int i = 0; i < COUNT(wanted); i++) {
		ck_assert_int_eq(spec->expect.statuses[i].low, wanted[i].low);
		ck_assert_int_eq(spec->expect.statuses[i].high, wanted[i].high);
	}
	ck_assert_str_eq(spec->expect.content_type, "application/json");
	ck_assert(spec->expect.has_sha256);
	ck_assert_uint_eq(spec->expect.sha256[0], 0xba);
	ck_assert_uint_eq(spec->expect.sha256[31], 0xad);
	job_spec_free(spec);
}
END_TEST

START_TEST(reads_tls_and_proxy)
{
	struct job_spec *spec = spec_with("\"tls\":{\"ca\":\"a-1\",\"client_cert\":\"b_2\",\"insecure\":true},"
					  "\"proxy\":\"c.3\"");

	ck_assert_str_eq(spec->tls_ca, "a-1");
	ck_assert_str_eq(spec->tls_client_cert, "b_2");
	ck_assert(spec->tls_insecure);
	ck_assert_str_eq(spec->proxy, "c.3");
	job_spec_free(spec);
	spec = spec_with("\"tls\":{\"ca\":null,\"client_cert\":null,\"insecure\":null},\"proxy\":null");
	ck_assert(spec->tls_ca == NULL && spec->tls_client_cert == NULL && !spec->tls_insecure && spec->proxy == NULL);
	job_spec_free(spec);
}
END_TEST

START_TEST(reads_tags)
{
	struct job_spec *spec = spec_with("\"tags\":[\"a\",\"b c\",\"a\",\"\\u00e9\\u4e2d\",\"A\",\"b c\"]");
	static const char *const wanted[] = {"a", "b c", "\xc3\xa9\xe4\xb8\xad", "A"};

	ck_assert_uint_eq(spec->tag_count, COUNT(wanted));
	for (int i = 0; i < COUNT(wanted); i++)
		ck_assert_str_eq(spec->tags[i], wanted[i]);
	job_spec_free(spec);
	spec = spec_with("\"tags\":[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\",\"10\",\"11\",\"12\",\"13\","
			 "\"14\",\"15\",\"16\"]");
	ck_assert_uint_eq(spec->tag_count, 16);
	job_spec_free(spec);
	spec = spec_with("\"tags\":[]");
	ck_assert_uint_eq(spec->tag_count, 0);
	job_spec_free(spec);
}
END_TEST

/* What comes back is compact, but the same: the order of keys, and numbers no longer than they were. */
static const struct {
	const char *given, *kept; /* NULL: null */
} metas[] = {
	{"null", NULL},
	{"7", "7"},
	{"\"x\"", "\"x\""},
	{"{}", "{}"},
	{"[ ]", "[]"},
	{"false", "false"},
	{"{ \"z\" : 1 , \"a\" : 2 , \"m\" : [ 3 ] }", "{\"z\":1,\"a\":2,\"m\":[3]}"},
	{"{\"9\":0,\"10\":0,\"1\":0,\"\":0}", "{\"9\":0,\"10\":0,\"1\":0,\"\":0}"},
	{"0.1", "0.1"},
	{"1.5", "1.5"},
	{"[0.1,0.2,0.7,1.1,2.675]", "[0.1,0.2,0.7,1.1,2.675]"},
	{"0.30000000000000004", "0.30000000000000004"},
	{"1e22", "1e22"},
	{"1.0", "1.0"},
	{"5e-324", "4.94065645841247e-324"},
	{"1.7976931348623157e308", "1.7976931348623157e308"},
	{"-9223372036854775808", "-9223372036854775808"},
	{"9007199254740993", "9007199254740993"},
	{"\"\\u00e9 \\ud83d\\ude00 \\/ \\u0001\"", "\"\xc3\xa9 \xf0\x9f\x98\x80 / \\u0001\""},
};

START_TEST(keeps_meta)
{
	char members[300];

	snprintf(members, sizeof members, "\"meta\":%s", metas[_i].given);
	struct job_spec *spec = spec_with(members);
	if (metas[_i].kept == NULL)
		ck_assert_ptr_null(spec->meta);
	else
		ck_assert_str_eq(spec->meta, metas[_i].kept);
	job_spec_free(spec);
}
END_TEST

/* ---- bounds: a member made of many pieces */

/* Builds before, count times piece (with a comma between), after. */
static char *
repeat(const char *before, const char *piece, const char *between, size_t count, const char *after)
{
	struct buffer buffer = {0};

	buffer_append_string(&buffer, before);
	for (size_t i = 0; i < count; i++) {
		buffer_append_string(&buffer, i == 0 ? "" : between);
		buffer_append_string(&buffer, piece);
	}
	buffer_append_string(&buffer, after);
	return buffer_steal(&buffer);
}

static const struct {
	const char *before, *piece, *between, *after;
	size_t good, bad; /* how often the piece may come, and is too often */
	const char *pointer;
} bounds[] = {
	{"\"meta\":\"", "x", "", "\"", 4094, 4095, "/meta"},
	{"\"meta\":[", "1", " , ", "]", 2047, 2048, "/meta"}, /* in compact form */
	{"\"tags\":[\"", "x", "", "\"]", 255, 256, "/tags/0"},
	{"\"tags\":[\"", "\\u00e9", "", "\"]", 127, 128, "/tags/0"}, /* bytes, not characters */
	{"\"tags\":[", "\"a\"", ",", "]", 16, 17, "/tags"},
	{"\"idempotency_key\":\"", "x", "", "\"", 255, 256, "/idempotency_key"},
	{"\"idempotency_key\":\"", "\\u00e9", "", "\"", 127, 128, "/idempotency_key"},
	{"\"headers\":{\"x\":[", "\"\"", ",", "]}", 256, 257, "/headers/x/256"},
	{"\"headers\":{\"x\":\"", "y", "", "\"}", 65535, 65536, "/headers/x"},
	{"\"expect\":{\"status\":[", "200", ",", "]}", 100, 101, "/expect/status"},
};

START_TEST(keeps_bounds)
{
	char *good = repeat(bounds[_i].before, bounds[_i].piece, bounds[_i].between, bounds[_i].good, bounds[_i].after);
	char *members =
		repeat(bounds[_i].before, bounds[_i].piece, bounds[_i].between, bounds[_i].bad, bounds[_i].after);
	char *bad;

	job_spec_free(spec_with(good));
	ck_assert_int_gt(asprintf(&bad, "{\"url\":\"u\",%s}", members), 0);
	struct problem problem = problem_of(bad, strlen(bad));
	check_problem(bounds[_i].before, &problem, 400, "invalid", bounds[_i].pointer);
	free(good);
	free(members);
	free(bad);
}
END_TEST

/* The outermost value is depth 1, and 32 is the deepest. */
START_TEST(keeps_the_depth)
{
	static const struct {
		const char *open, *close;
	} kinds[] = {{"[", "]"}, {"{\"a\":", "}"}};
	struct problem problem;

	for (int i = 0; i < COUNT(kinds); i++) {
		const char *inner = i == 0 ? "" : "1"; /* which has a depth of its own */
		size_t deepest = i == 0 ? CODEC_MAX_DEPTH - 1 : CODEC_MAX_DEPTH - 2;
		for (size_t depth = deepest; depth <= deepest + 1; depth++) {
			char *opens = repeat("{\"url\":\"u\",\"meta\":", kinds[i].open, "", depth, inner);
			char *json = repeat(opens, kinds[i].close, "", depth, "}");
			if (depth == deepest) {
				problem = (struct problem){0};
				struct job_spec *spec = read_spec(json, strlen(json), &problem);
				ck_assert_msg(spec != NULL, "%s: %s", json, problem.detail);
				job_spec_free(spec);
			} else {
				problem = problem_of(json, strlen(json));
				check_problem(json, &problem, 400, "invalid_json", NULL);
			}
			free(opens);
			free(json);
		}
	}
	char *far = repeat("{\"url\":\"u\",\"meta\":", "[", "", 100000, "");
	problem = problem_of(far, strlen(far));
	check_problem("a hundred thousand", &problem, 400, "invalid_json", NULL);
	free(far);
}
END_TEST

/* ---- a spec, refused */

#define URL "\"url\":\"http://a.example/\","

static const struct {
	const char *json;
	const char *code, *pointer;
} refused[] = {
	{"{}", "invalid", "/url"},
	{"{\"url\":null}", "invalid", "/url"},
	{"{\"url\":\"\"}", "invalid", "/url"},
	{"{\"url\":7}", "invalid", "/url"},
	{"{\"url\":[\"http://a.example/\"]}", "invalid", "/url"},
	{"[]", "invalid", ""},
	{"\"http://a.example/\"", "invalid", ""},
	{"null", "invalid", ""},
	{"[{\"url\":\"http://a.example/\"}]", "invalid", ""},
	/* keys that there are not */
	{"{" URL "\"methud\":\"GET\"}", "unknown_key", "/methud"},
	{"{" URL "\"URL\":\"x\"}", "unknown_key", "/URL"},
	{"{" URL "\"\":1}", "unknown_key", "/"},
	{"{" URL "\"a/b~c\":1}", "unknown_key", "/a~1b~0c"},
	{"{" URL "\"nope\":null}", "unknown_key", "/nope"},
	{"{" URL "\"retry\":{\"tries\":1}}", "unknown_key", "/retry/tries"},
	{"{" URL "\"expect\":{\"code\":1}}", "unknown_key", "/expect/code"},
	{"{" URL "\"tls\":{\"key\":\"a\"}}", "unknown_key", "/tls/key"},
	{"{" URL "\"auth\":{\"digest\":{}}}", "unknown_key", "/auth/digest"},
	{"{" URL "\"auth\":{\"basic\":{\"name\":\"x\"}}}", "unknown_key", "/auth/basic/name"},
	/* method */
	{"{" URL "\"method\":\"get\"}", "invalid", "/method"},
	{"{" URL "\"method\":\"Get\"}", "invalid", "/method"},
	{"{" URL "\"method\":\"\"}", "invalid", "/method"},
	{"{" URL "\"method\":\"G T\"}", "invalid", "/method"},
	{"{" URL "\"method\":\"GET\\r\\n\"}", "invalid", "/method"},
	{"{" URL "\"method\":\"\\u00c9\"}", "invalid", "/method"},
	{"{" URL "\"method\":\"CONNECT\"}", "invalid", "/method"},
	{"{" URL "\"method\":\"TRACE\"}", "invalid", "/method"},
	{"{" URL "\"method\":1}", "invalid", "/method"},
	/* headers */
	{"{" URL "\"headers\":[]}", "invalid", "/headers"},
	{"{" URL "\"headers\":\"a: b\"}", "invalid", "/headers"},
	{"{" URL "\"headers\":{\"a\":1}}", "invalid", "/headers/a"},
	{"{" URL "\"headers\":{\"a\":{}}}", "invalid", "/headers/a"},
	{"{" URL "\"headers\":{\"a\":[\"b\",7]}}", "invalid", "/headers/a/1"},
	{"{" URL "\"headers\":{\"a\":[null]}}", "invalid", "/headers/a/0"},
	{"{" URL "\"headers\":{\"\":\"b\"}}", "invalid", "/headers/"},
	{"{" URL "\"headers\":{\"a b\":\"c\"}}", "invalid", "/headers/a b"},
	{"{" URL "\"headers\":{\"a:\":\"c\"}}", "invalid", "/headers/a:"},
	{"{" URL "\"headers\":{\"\\u00e9\":\"c\"}}", "invalid", "/headers/\xc3\xa9"},
	{"{" URL "\"headers\":{\"a\\r\\nb\":\"c\"}}", "invalid", "/headers/a\r\nb"},
	{"{" URL "\"headers\":{\"a/b\":\"c\"}}", "invalid", "/headers/a~1b"},
	{"{" URL "\"headers\":{\"a\":\"b\\r\\nc: d\"}}", "invalid", "/headers/a"},
	{"{" URL "\"headers\":{\"a\":\"b\\n\"}}", "invalid", "/headers/a"},
	{"{" URL "\"headers\":{\"a\":\"b\\r\"}}", "invalid", "/headers/a"},
	{"{" URL "\"headers\":{\"a\":\"b\\u0001\"}}", "invalid", "/headers/a"},
	{"{" URL "\"headers\":{\"a\":\"b\\u007f\"}}", "invalid", "/headers/a"},
	{"{" URL "\"headers\":{\"Host\":\"b\"}}", "invalid", "/headers/Host"},
	{"{" URL "\"headers\":{\"content-length\":\"1\"}}", "invalid", "/headers/content-length"},
	{"{" URL "\"headers\":{\"Transfer-Encoding\":\"chunked\"}}", "invalid", "/headers/Transfer-Encoding"},
	{"{" URL "\"headers\":{\"CONNECTION\":\"close\"}}", "invalid", "/headers/CONNECTION"},
	{"{" URL "\"headers\":{\"Proxy-Authorization\":\"x\"}}", "invalid", "/headers/Proxy-Authorization"},
	{"{" URL "\"headers\":{\"Keep-Alive\":\"x\"}}", "invalid", "/headers/Keep-Alive"},
	{"{" URL "\"headers\":{\"TE\":[\"trailers\"]}}", "invalid", "/headers/TE"},
	{"{" URL "\"headers\":{\"Trailer\":\"x\"}}", "invalid", "/headers/Trailer"},
	{"{" URL "\"headers\":{\"Upgrade\":\"h2c\"}}", "invalid", "/headers/Upgrade"},
	/* bodies */
	{"{" URL "\"body\":7}", "invalid", "/body"},
	{"{" URL "\"body\":{}}", "invalid", "/body"},
	{"{" URL "\"body_base64\":7}", "invalid", "/body_base64"},
	{"{" URL "\"body_base64\":\"aGk\"}", "invalid", "/body_base64"},
	{"{" URL "\"body_base64\":\"aG k\"}", "invalid", "/body_base64"},
	{"{" URL "\"body_base64\":\"aGl=\"}", "invalid", "/body_base64"},
	{"{" URL "\"body_base64\":\"a-_=\"}", "invalid", "/body_base64"},
	{"{" URL "\"body\":\"a\",\"json\":1}", "invalid", "/json"},
	{"{" URL "\"json\":null,\"body\":\"a\"}", "invalid", "/body"},
	{"{" URL "\"body\":\"a\",\"body_base64\":\"\"}", "invalid", "/body_base64"},
	{"{" URL "\"method\":\"HEAD\",\"body\":\"\"}", "invalid", "/body"},
	{"{" URL "\"body_base64\":\"\",\"method\":\"HEAD\"}", "invalid", "/body_base64"},
	{"{" URL "\"json\":null,\"method\":\"HEAD\"}", "invalid", "/json"},
	/* auth */
	{"{" URL "\"auth\":\"x\"}", "invalid", "/auth"},
	{"{" URL "\"auth\":{}}", "invalid", "/auth"},
	{"{" URL "\"auth\":{\"bearer\":null}}", "invalid", "/auth"},
	{"{" URL "\"auth\":{\"bearer\":\"a\",\"basic\":{\"user\":\"a\",\"password\":\"b\"}}}", "invalid", "/auth"},
	{"{" URL "\"auth\":{\"bearer\":\"\"}}", "invalid", "/auth/bearer"},
	{"{" URL "\"auth\":{\"bearer\":\"a b\"}}", "invalid", "/auth/bearer"},
	{"{" URL "\"auth\":{\"bearer\":\"a\\r\\nb\"}}", "invalid", "/auth/bearer"},
	{"{" URL "\"auth\":{\"bearer\":7}}", "invalid", "/auth/bearer"},
	{"{" URL "\"auth\":{\"basic\":\"a:b\"}}", "invalid", "/auth/basic"},
	{"{" URL "\"auth\":{\"basic\":{\"user\":\"a\"}}}", "invalid", "/auth/basic"},
	{"{" URL "\"auth\":{\"basic\":{\"password\":\"a\"}}}", "invalid", "/auth/basic"},
	{"{" URL "\"auth\":{\"basic\":{\"user\":\"a\",\"password\":7}}}", "invalid", "/auth/basic/password"},
	{"{" URL "\"auth\":{\"basic\":{\"user\":\"a:b\",\"password\":\"\"}}}", "invalid", "/auth/basic/user"},
	{"{" URL "\"auth\":{\"basic\":{\"user\":\"a\\n\",\"password\":\"\"}}}", "invalid", "/auth/basic/user"},
	{"{" URL "\"auth\":{\"bearer\":\"x\"},\"headers\":{\"AUTHORIZATION\":\"y\"}}", "invalid", "/auth"},
	{"{" URL "\"headers\":{\"authorization\":\"y\"},\"auth\":{\"bearer\":\"x\"}}", "invalid", "/auth"},
	/* durations and times */
	{"{" URL "\"timeout\":0}", "invalid", "/timeout"},
	{"{" URL "\"timeout\":0.0}", "invalid", "/timeout"},
	{"{" URL "\"timeout\":\"0s\"}", "invalid", "/timeout"},
	{"{" URL "\"timeout\":-1}", "invalid", "/timeout"},
	{"{" URL "\"timeout\":\"soon\"}", "invalid", "/timeout"},
	{"{" URL "\"timeout\":\"\"}", "invalid", "/timeout"},
	{"{" URL "\"timeout\":\"1 s\"}", "invalid", "/timeout"},
	{"{" URL "\"timeout\":true}", "invalid", "/timeout"},
	{"{" URL "\"timeout\":[1]}", "invalid", "/timeout"},
	{"{" URL "\"timeout\":315360001}", "invalid", "/timeout"},
	{"{" URL "\"timeout\":\"87601h\"}", "invalid", "/timeout"},
	{"{" URL "\"timeout\":1e300}", "invalid", "/timeout"},
	{"{" URL "\"connect_timeout\":0}", "invalid", "/connect_timeout"},
	{"{" URL "\"first_byte_timeout\":0}", "invalid", "/first_byte_timeout"},
	{"{" URL "\"idle_timeout\":\"x\"}", "invalid", "/idle_timeout"},
	{"{" URL "\"queue_timeout\":0}", "invalid", "/queue_timeout"},
	{"{" URL "\"deadline\":0}", "invalid", "/deadline"},
	{"{" URL "\"ttl\":0}", "invalid", "/ttl"},
	{"{" URL "\"delay\":-1}", "invalid", "/delay"},
	{"{" URL "\"delay\":\"11y\"}", "invalid", "/delay"},
	{"{" URL "\"run_at\":1769860800}", "invalid", "/run_at"},
	{"{" URL "\"run_at\":\"tomorrow\"}", "invalid", "/run_at"},
	{"{" URL "\"run_at\":\"2026-01-31T12:00:00\"}", "invalid", "/run_at"},
	{"{" URL "\"run_at\":\"2126-01-31T12:00:00Z\"}", "invalid", "/run_at"},
	{"{" URL "\"delay\":1,\"run_at\":\"2026-01-31T12:00:00Z\"}", "invalid", "/run_at"},
	{"{" URL "\"run_at\":\"2026-01-31T12:00:00Z\",\"delay\":0}", "invalid", "/delay"},
	/* numbers and flags */
	{"{" URL "\"max_redirects\":21}", "invalid", "/max_redirects"},
	{"{" URL "\"max_redirects\":-1}", "invalid", "/max_redirects"},
	{"{" URL "\"max_redirects\":1.0}", "invalid", "/max_redirects"},
	{"{" URL "\"max_redirects\":\"1\"}", "invalid", "/max_redirects"},
	{"{" URL "\"max_body_bytes\":-1}", "invalid", "/max_body_bytes"},
	{"{" URL "\"max_body_bytes\":\"1MiB\"}", "invalid", "/max_body_bytes"},
	{"{" URL "\"priority\":101}", "invalid", "/priority"},
	{"{" URL "\"priority\":-101}", "invalid", "/priority"},
	{"{" URL "\"priority\":4294967296}", "invalid", "/priority"},
	{"{" URL "\"decompress\":1}", "invalid", "/decompress"},
	{"{" URL "\"decompress\":\"true\"}", "invalid", "/decompress"},
	/* retry */
	{"{" URL "\"retry\":3}", "invalid", "/retry"},
	{"{" URL "\"retry\":{\"max_attempts\":0}}", "invalid", "/retry/max_attempts"},
	{"{" URL "\"retry\":{\"max_attempts\":1.5}}", "invalid", "/retry/max_attempts"},
	{"{" URL "\"retry\":{\"backoff\":0}}", "invalid", "/retry/backoff"},
	{"{" URL "\"retry\":{\"max_backoff\":\"x\"}}", "invalid", "/retry/max_backoff"},
	{"{" URL "\"retry\":{\"factor\":0.5}}", "invalid", "/retry/factor"},
	{"{" URL "\"retry\":{\"factor\":\"2\"}}", "invalid", "/retry/factor"},
	{"{" URL "\"retry\":{\"jitter\":0}}", "invalid", "/retry/jitter"},
	{"{" URL "\"retry\":{\"unsafe\":\"yes\"}}", "invalid", "/retry/unsafe"},
	{"{" URL "\"retry\":{\"on_status\":503}}", "invalid", "/retry/on_status"},
	{"{" URL "\"retry\":{\"on_status\":[503,\"5xx\"]}}", "invalid", "/retry/on_status/1"},
	{"{" URL "\"retry\":{\"on_status\":[99]}}", "invalid", "/retry/on_status/0"},
	{"{" URL "\"retry\":{\"on_status\":[600]}}", "invalid", "/retry/on_status/0"},
	/* expect */
	{"{" URL "\"tls\":[]}", "invalid", "/tls"},
	{"{" URL "\"tls\":true}", "invalid", "/tls"},
	{"{" URL "\"tls\":{\"ca\":\"\"}}", "invalid", "/tls/ca"},
	{"{" URL "\"tls\":{\"ca\":\"a b\"}}", "invalid", "/tls/ca"},
	{"{" URL "\"tls\":{\"ca\":\"a/b\"}}", "invalid", "/tls/ca"},
	{"{" URL "\"tls\":{\"ca\":\"\u00e9\"}}", "invalid", "/tls/ca"},
	{"{" URL "\"tls\":{\"client_cert\":[\"a\"]}}", "invalid", "/tls/client_cert"},
	{"{" URL "\"tls\":{\"insecure\":\"yes\"}}", "invalid", "/tls/insecure"},
	{"{" URL "\"proxy\":{}}", "invalid", "/proxy"},
	{"{" URL "\"proxy\":\"http://a\"}", "invalid", "/proxy"},
	{"{" URL "\"proxy\":\"1234567890123456789012345678901234567890123456789012345678901234x\"}", "invalid",
		"/proxy"},
	{"{" URL "\"expect\":[]}", "invalid", "/expect"},
	{"{" URL "\"expect\":{\"status\":200}}", "invalid", "/expect/status"},
	{"{" URL "\"expect\":{\"status\":[]}}", "invalid", "/expect/status"},
	{"{" URL "\"expect\":{\"status\":[200,99]}}", "invalid", "/expect/status/1"},
	{"{" URL "\"expect\":{\"status\":[600]}}", "invalid", "/expect/status/0"},
	{"{" URL "\"expect\":{\"status\":[200.0]}}", "invalid", "/expect/status/0"},
	{"{" URL "\"expect\":{\"status\":[\"200\"]}}", "invalid", "/expect/status/0"},
	{"{" URL "\"expect\":{\"status\":[\"6xx\"]}}", "invalid", "/expect/status/0"},
	{"{" URL "\"expect\":{\"status\":[\"2XX\"]}}", "invalid", "/expect/status/0"},
	{"{" URL "\"expect\":{\"status\":[\"2xxx\"]}}", "invalid", "/expect/status/0"},
	{"{" URL "\"expect\":{\"status\":[null]}}", "invalid", "/expect/status/0"},
	{"{" URL "\"expect\":{\"content_type\":\"json\"}}", "invalid", "/expect/content_type"},
	{"{" URL "\"expect\":{\"content_type\":\"text/\"}}", "invalid", "/expect/content_type"},
	{"{" URL "\"expect\":{\"content_type\":\"/html\"}}", "invalid", "/expect/content_type"},
	{"{" URL "\"expect\":{\"content_type\":\"text/html; charset=utf-8\"}}", "invalid", "/expect/content_type"},
	{"{" URL "\"expect\":{\"content_type\":7}}", "invalid", "/expect/content_type"},
	{"{" URL "\"expect\":{\"sha256\":\"ba78\"}}", "invalid", "/expect/sha256"},
	{"{" URL "\"expect\":{\"sha256\":\"zz7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\"}}",
		"invalid", "/expect/sha256"},
	{"{" URL "\"expect\":{\"sha256\":\"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad0\"}}",
		"invalid", "/expect/sha256"},
	{"{" URL "\"expect\":{\"sha256\":7}}", "invalid", "/expect/sha256"},
	/* tags */
	{"{" URL "\"tags\":\"a\"}", "invalid", "/tags"},
	{"{" URL "\"tags\":[\"a\",\"\"]}", "invalid", "/tags/1"},
	{"{" URL "\"tags\":[7]}", "invalid", "/tags/0"},
	{"{" URL "\"tags\":[null]}", "invalid", "/tags/0"},
	{"{" URL "\"tags\":[\"a\\tb\"]}", "invalid", "/tags/0"},
	{"{" URL "\"tags\":[\"a\\u007f\"]}", "invalid", "/tags/0"},
	{"{" URL "\"tags\":[\"a\\u0085\"]}", "invalid", "/tags/0"},
	{"{" URL "\"idempotency_key\":\"\"}", "invalid", "/idempotency_key"},
	{"{" URL "\"idempotency_key\":7}", "invalid", "/idempotency_key"},
	{"{" URL "\"idempotency_key\":[\"k\"]}", "invalid", "/idempotency_key"},
	{"{" URL "\"idempotency_key\":\"a\\nb\"}", "invalid", "/idempotency_key"},
	{"{" URL "\"idempotency_key\":\"a\\tb\"}", "invalid", "/idempotency_key"},
	{"{" URL "\"idempotency_key\":\"a\\u007f\"}", "invalid", "/idempotency_key"},
	{"{" URL "\"idempotency_key\":\"a\\u009f\"}", "invalid", "/idempotency_key"},
};

START_TEST(refuses_wrong_values)
{
	const char *json = refused[_i].json;
	struct problem problem = problem_of(json, strlen(json));

	check_problem(json, &problem, 400, refused[_i].code, refused[_i].pointer);
}
END_TEST

/* Settings of retry that leave it at one attempt are taken. */
START_TEST(takes_retry_of_one_attempt)
{
	job_spec_free(spec_with("\"retry\":{\"max_attempts\":1,\"backoff\":\"1s\",\"factor\":2,\"max_backoff\":\"5m\","
				"\"jitter\":false,\"on_status\":[408,503],\"unsafe\":true}"));
	job_spec_free(spec_with("\"retry\":{}"));
}
END_TEST

/* What is understood but not done yet is refused as such, once all the rest is right. */
START_TEST(refuses_what_is_not_built)
{
	static const struct {
		const char *json;
		const char *pointer;
	} table[] = {
		{"{" URL "\"retry\":{\"max_attempts\":2}}", "/retry"},
		{"{" URL "\"retry\":{\"unsafe\":true,\"max_attempts\":100}}", "/retry"},
	};

	for (int i = 0; i < COUNT(table); i++) {
		struct problem problem = problem_of(table[i].json, strlen(table[i].json));
		check_problem(table[i].json, &problem, 501, "not_implemented", table[i].pointer);
	}
	static const char worse[] = "{\"retry\":{\"max_attempts\":2}}";
	struct problem problem = problem_of(worse, strlen(worse));
	check_problem(worse, &problem, 400, "invalid", "/url");
}
END_TEST

/* ---- the idempotency key */

#define KEY(text) "\"idempotency_key\":\"" text "\""
#define NO_KEY "\"meta\":null"
#define TEN(x) x x x x x x x x x x
#define BYTES_255(x) TEN(TEN(x) TEN(x)) TEN(x x x x x) x x x x x
#define DIFFER "/idempotency_key"

static const struct {
	const char *header, *members;
	const char *key;     /* NULL: none, or a problem */
	const char *problem; /* "": without a pointer */
} keys[] = {
	/* from the JSON, from the header, from both */
	{NULL, NO_KEY, NULL, NULL},
	{NULL, KEY("a b"), "a b", NULL},
	{NULL, KEY(" \\\"a\\\" "), " \"a\" ", NULL}, /* as it is */
	{NULL, KEY("\\u00e9"), "\xc3\xa9", NULL},
	{"a", NO_KEY, "a", NULL},
	{"a", KEY("a"), "a", NULL},
	{"\"a\"", KEY("a"), "a", NULL},
	{"a", KEY("b"), NULL, DIFFER},
	{"a", KEY("A"), NULL, DIFFER},
	{"a", KEY("\\\"a\\\""), NULL, DIFFER},
	{"\" a\"", KEY("a"), NULL, DIFFER},
	{"", KEY("a"), NULL, ""},
	/* bare values */
	{" \t a b\t ", NO_KEY, "a b", NULL},
	{"a\"", NO_KEY, "a\"", NULL},
	{"a\\b", NO_KEY, "a\\b", NULL},
	{"'a'", NO_KEY, "'a'", NULL},
	{"a;b=1, c", NO_KEY, "a;b=1, c", NULL},
	{"\xc3\xa9", NO_KEY, "\xc3\xa9", NULL},
	{"\xe9", NO_KEY, "\xe9", NULL},
	{"", NO_KEY, NULL, ""},
	{" \t ", NO_KEY, NULL, ""},
	{"a\tb", NO_KEY, NULL, ""},
	{"a\001", NO_KEY, NULL, ""},
	{"a\x7f", NO_KEY, NULL, ""},
	{"a\xc2\x85", NO_KEY, NULL, ""},
	/* strings of structured fields */
	{" \"8e03978e-40d5-43dd-bc93-6894a57f9324\" ", NO_KEY, "8e03978e-40d5-43dd-bc93-6894a57f9324", NULL},
	{"\" a \"", NO_KEY, " a ", NULL},
	{"\"a\\\"b\\\\c\"", NO_KEY, "a\"b\\c", NULL},
	{"\"\\\\\"", NO_KEY, "\\", NULL},
	{"\"~ !\"", NO_KEY, "~ !", NULL},
	{"\"\"", NO_KEY, NULL, ""},
	{"\"", NO_KEY, NULL, ""},
	{"\"a", NO_KEY, NULL, ""},
	{"\"a\\", NO_KEY, NULL, ""},
	{"\"a\\\"", NO_KEY, NULL, ""},
	{"\"a\\b\"", NO_KEY, NULL, ""},
	{"\"a\"b", NO_KEY, NULL, ""},
	{"\"a\" \"b\"", NO_KEY, NULL, ""},
	{"\"a\", \"b\"", NO_KEY, NULL, ""},
	{"\"a\";p=1", NO_KEY, NULL, ""},
	{"\"a\tb\"", NO_KEY, NULL, ""},
	{"\"a\x7f\"", NO_KEY, NULL, ""},
	{"\"\xc3\xa9\"", NO_KEY, NULL, ""},
	/* the length is that of the key */
	{BYTES_255("x"), NO_KEY, BYTES_255("x"), NULL},
	{" " BYTES_255("x") " ", NO_KEY, BYTES_255("x"), NULL},
	{"\"" BYTES_255("\\\"") "\"", NO_KEY, BYTES_255("\""), NULL},
	{"x" BYTES_255("x"), NO_KEY, NULL, ""},
	{"\"x" BYTES_255("x") "\"", NO_KEY, NULL, ""},
};

START_TEST(settles_keys)
{
	struct problem problem = {0};
	struct job_spec *spec = spec_with(keys[_i].members);
	char *given = spec->idempotency_key;
	static const uint8_t zeroes[sizeof spec->fingerprint];
	int rc = codec_set_idempotency_key(spec, keys[_i].header, &problem);

	if (keys[_i].problem != NULL) {
		ck_assert_msg(rc == -1, "%s was taken as %s", keys[_i].header, spec->idempotency_key);
		check_problem(
			keys[_i].header, &problem, 400, "invalid", *keys[_i].problem != '\0' ? keys[_i].problem : NULL);
		ck_assert_ptr_eq(spec->idempotency_key, given);
	} else {
		ck_assert_msg(rc == 0, "%s: %s", keys[_i].header, problem.detail);
		ck_assert_msg((keys[_i].key == NULL) == (spec->idempotency_key == NULL), "%s", keys[_i].header);
		if (keys[_i].key != NULL)
			ck_assert_str_eq(spec->idempotency_key, keys[_i].key);
	}
	bool printed = memcmp(spec->fingerprint, zeroes, sizeof zeroes) != 0;
	ck_assert_msg(printed == (keys[_i].key != NULL), "%s", keys[_i].header);
	job_spec_free(spec);
}
END_TEST

/* The fingerprint of a request, in hexadecimal. */
static void
fingerprint_of(const char *members, const char *key, char ret[65])
{
	struct problem problem = {0};
	struct job_spec *spec = spec_with(members);

	ck_assert_int_eq(codec_set_idempotency_key(spec, key, &problem), 0);
	hex_encode(spec->fingerprint, sizeof spec->fingerprint, ret);
	job_spec_free(spec);
}

/* Pairs that mean the same. */
static const struct {
	const char *a, *b;
} equals[] = {
	{NO_KEY, NO_KEY},
	{"\"headers\":{},\"tags\":[],\"expect\":{},\"retry\":{},\"body\":null,\"auth\":null", NO_KEY},
	{"\"tls\":{},\"proxy\":null", NO_KEY},
	{"\"tls\":{\"ca\":null,\"insecure\":false}", NO_KEY},
	{"\"method\":\"GET\",\"timeout\":60,\"connect_timeout\":10,\"idle_timeout\":30", NO_KEY},
	{"\"max_redirects\":10,\"decompress\":true,\"priority\":0,\"delay\":0", NO_KEY},
	{"\"retry\":{\"max_attempts\":1,\"unsafe\":false}", NO_KEY},
	{"\"retry\":{\"backoff\":2,\"jitter\":false,\"on_status\":[503]}", NO_KEY}, /* of no effect without a retry */
	{"\"timeout\":\"1m\"", "\"timeout\":\"60000ms\""},
	{"\"delay\":90", "\"delay\":\"1.5m\""},
	{"\"ttl\":\"24h\"", "\"ttl\":8.64e4"},
	{"\"run_at\":\"2026-01-31T12:00:00Z\"", "\"run_at\":\"2026-01-31T13:00:00.000+01:00\""},
	{"\"priority\":5,\"timeout\":2", "\"timeout\":2,\"priority\":5"},
	{"\"headers\":{\"A\":\"1\",\"b\":\"2\"}", "\"headers\":{\"B\":[\"2\"],\"a\":\"1\"}"},
	{"\"headers\":{\"a\":[\"1\",\"2\"],\"b\":\"\"}", "\"headers\":{\"A\":\"1\",\"b\":\"\",\"a\":[\"2\"]}"},
	{"\"headers\":{\"a\":\" 1\\t\",\"b\":[],\"c\":null}", "\"headers\":{\"a\":\"1\"}"},
	{"\"body\":\"hi\"", "\"body_base64\":\"aGk=\""},
	{"\"body\":\"\"", "\"body_base64\":\"\""},
	{"\"body\":\"\\u00e9\\/\"", "\"body\":\"\xc3\xa9/\""},
	{"\"json\":{\"a\":1,\"b\":{\"c\":[1],\"d\":2}}", "\"json\": { \"b\": {\"d\":2,\"c\":[1]}, \"\\u0061\":1 }"},
	{"\"json\":[0.1,1e2,5e-324]", "\"json\":[1e-1,100.0,4.9e-324]"},
	{"\"meta\":{\"z\":1,\"a\":[{\"y\":1,\"b\":2}]}", "\"meta\":{\"a\":[{\"b\":2,\"y\":1}],\"z\":1}"},
	{"\"tags\":[\"a\",\"b\",\"a\"]", "\"tags\":[\"a\",\"b\"]"},
	{"\"auth\":{\"basic\":{\"user\":\"a\",\"password\":\"b\"}}",
		"\"auth\":{\"basic\":{\"password\":\"b\",\"user\":\"a\"},\"bearer\":null}"},
	{"\"expect\":{\"status\":[\"2xx\",304],\"content_type\":\"text/html\"}",
		"\"expect\":{\"content_type\":\"Text/HTML\",\"status\":[\"2xx\",304],\"sha256\":null}"},
};

START_TEST(equal_requests_have_one_fingerprint)
{
	char a[65], b[65];

	fingerprint_of(equals[_i].a, "key", a);
	fingerprint_of(equals[_i].b, "another key", b);
	ck_assert_msg(strcmp(a, b) == 0, "%s and %s differ", equals[_i].a, equals[_i].b);
}
END_TEST

/* Each of these is another request than any other. */
static const char *const different[] = {
	NO_KEY,
	"\"tls\":{\"ca\":\"a\"}",
	"\"tls\":{\"ca\":\"A\"}",
	"\"tls\":{\"client_cert\":\"a\"}",
	"\"tls\":{\"ca\":\"a\",\"client_cert\":\"a\"}",
	"\"tls\":{\"insecure\":true}",
	"\"proxy\":\"a\"",
	"\"method\":\"POST\"",
	"\"method\":\"PUT\"",
	"\"timeout\":7",
	"\"connect_timeout\":7",
	"\"first_byte_timeout\":7",
	"\"idle_timeout\":7",
	"\"queue_timeout\":7",
	"\"deadline\":7",
	"\"delay\":7",
	"\"delay\":7.001",
	"\"ttl\":7",
	"\"ttl\":\"24h\"",
	"\"run_at\":\"1970-01-01T00:00:07Z\"",
	"\"run_at\":\"1960-01-01T00:00:00Z\"",
	"\"retry\":{\"unsafe\":true}",
	"\"max_redirects\":7",
	"\"max_redirects\":0",
	"\"max_body_bytes\":7",
	"\"max_body_bytes\":0",
	"\"decompress\":false",
	"\"priority\":7",
	"\"priority\":-7",
	/* headers, and what looks like them */
	"\"headers\":{\"a\":\"1\"}",
	"\"headers\":{\"a\":\"2\"}",
	"\"headers\":{\"a\":\"\"}",
	"\"headers\":{\"b\":\"1\"}",
	"\"headers\":{\"a\":[\"1\",\"2\"]}",
	"\"headers\":{\"a\":[\"2\",\"1\"]}",
	"\"headers\":{\"a\":[\"1\",\"1\"]}",
	"\"headers\":{\"a\":\"12\"}",
	"\"headers\":{\"a1\":\"2\"}",
	"\"headers\":{\"a\":\"1\",\"b\":\"2\"}",
	"\"headers\":{\"a\":\"2\",\"b\":\"1\"}",
	"\"headers\":{\"a\":\"A\"}",
	"\"headers\":{\"a\":\"a\"}",
	"\"headers\":{\"accept\":\"*/*\"}",
	"\"headers\":{\"authorization\":\"Bearer a\"}",
	/* auth */
	"\"auth\":{\"bearer\":\"a\"}",
	"\"auth\":{\"bearer\":\"A\"}",
	"\"auth\":{\"basic\":{\"user\":\"a\",\"password\":\"\"}}",
	"\"auth\":{\"basic\":{\"user\":\"\",\"password\":\"a\"}}",
	/* bodies */
	"\"body\":\"\"",
	"\"body\":\"a\"",
	"\"body\":\"1\"",
	"\"body\":\"{\\\"a\\\":1}\"",
	"\"json\":null",
	"\"json\":1",
	"\"json\":1.0",
	"\"json\":\"1\"",
	"\"json\":{\"a\":1}",
	"\"json\":{\"a\":2}",
	"\"json\":{\"a\":null}",
	"\"json\":[1,2]",
	"\"json\":[2,1]",
	"\"json\":0.30000000000000004",
	"\"json\":0.3",
	/* meta, tags, expect */
	"\"meta\":1",
	"\"meta\":{\"a\":1}",
	"\"meta\":[1,2]",
	"\"meta\":[2,1]",
	"\"tags\":[\"a\",\"b\"]",
	"\"tags\":[\"b\",\"a\"]",
	"\"tags\":[\"ab\"]",
	"\"tags\":[\"a\"]",
	"\"tags\":[\"A\"]",
	"\"expect\":{\"status\":[200]}",
	"\"expect\":{\"status\":[\"2xx\"]}",
	"\"expect\":{\"status\":[200,299]}",
	"\"expect\":{\"status\":[\"2xx\",200,299]}",
	"\"expect\":{\"content_type\":\"text/html\"}",
	"\"expect\":{\"sha256\":\"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\"}",
	"\"expect\":{\"sha256\":\"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ae\"}",
};

START_TEST(different_requests_have_different_fingerprints)
{
	char prints[COUNT(different)][65];

	for (int i = 0; i < COUNT(different); i++) {
		fingerprint_of(different[i], "key", prints[i]);
		for (int k = 0; k < i; k++)
			ck_assert_msg(
				strcmp(prints[i], prints[k]) != 0, "%s and %s are equal", different[i], different[k]);
	}
}
END_TEST

START_TEST(the_url_is_in_the_fingerprint)
{
	static const char json[] = "{\"url\":\"http://b.example/\"," KEY("key") "}";
	struct problem problem = {0};
	char a[65], b[65];

	struct job_spec *spec = read_spec(json, strlen(json), &problem);
	ck_assert_ptr_nonnull(spec);
	ck_assert_int_eq(codec_set_idempotency_key(spec, NULL, &problem), 0);
	hex_encode(spec->fingerprint, sizeof spec->fingerprint, b);
	job_spec_free(spec);
	fingerprint_of(KEY("key"), NULL, a);
	ck_assert_str_ne(a, b);
	fingerprint_of(NO_KEY, "key", b);
	ck_assert_str_eq(a, b);
}
END_TEST

/* Computed apart from the code. A store keeps fingerprints, so another version has to come to the same. */
START_TEST(fingerprints_stay)
{
	static const struct {
		const char *members, *wanted;
	} table[] = {
		{NO_KEY, "01c907727f991255ad5d1502077f809c22e2a8c6fd3683ea448d802937b3322b"},
		{"\"delay\":2.5,\"body_base64\":\"AP8=\"",
			"59614e5842e0e0176ac8e4398bfb686ca6ea13b7efab81ea5ce428d8c63b23f1"},
		{"\"method\":\"POST\",\"auth\":{\"bearer\":\"t\"},\"timeout\":1.5,\"connect_timeout\":1,"
		 "\"first_byte_timeout\":2,\"idle_timeout\":3,\"queue_timeout\":4,\"deadline\":5,"
		 "\"retry\":{\"unsafe\":true},\"max_redirects\":0,\"max_body_bytes\":0,\"decompress\":false,"
		 "\"priority\":-7,\"run_at\":\"2026-01-31T13:00:00.25+01:00\",\"ttl\":\"1h\","
		 "\"expect\":{\"status\":[\"2xx\",304],\"content_type\":\"text/html\",\"sha256\":"
		 "\"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\"},\"tags\":[\"b\",\"a\"],"
		 "\"headers\":{\"X-List\":[\"2\",\"1\"],\"Accept\":\"*/*\"},"
		 "\"json\":{\"b\":[1,2.5],\"a\":\"\\u00e9\"},\"meta\":{\"z\":0.1,\"m\":null}",
			"568f1cf38b7cf889e5d57ec123ea628ae4570e66f0fe081182adc2c3b4f574c6"},
		{"\"proxy\":\"c\",\"tls\":{\"client_cert\":\"b\",\"insecure\":true,\"ca\":\"a\"}",
			"c3b9571530d4babc4f0f0e155ed8231d816810b373890f010ccbe99369943b87"},
	};

	for (int i = 0; i < COUNT(table); i++) {
		char print[65];

		fingerprint_of(table[i].members, "key", print);
		ck_assert_msg(strcmp(print, table[i].wanted) == 0, "%s: %s", table[i].members, print);
	}
}
END_TEST

/* ---- how strict JSON is read; each of these is a body of its own */

#define TEXT(text) text, sizeof(text) - 1

static const struct {
	const char *json;
	size_t length;
} broken[] = {
	{TEXT("")},
	{TEXT(" ")},
	{TEXT("{")},
	{TEXT("}")},
	{TEXT("{\"url\":\"u\"")},
	{TEXT("{\"url\":\"u\"}}")},
	{TEXT("{\"url\":\"u\"} x")},
	{TEXT("{\"url\":\"u\"}{}")},
	{TEXT("{\"url\":\"u\"}\0")},
	{TEXT("{\"url\":\"u\",}")},
	{TEXT("{,\"url\":\"u\"}")},
	{TEXT("{\"url\" \"u\"}")},
	{TEXT("{url:\"u\"}")},
	{TEXT("{'url':'u'}")},
	{TEXT("{\"url\":\"u\",\"url\":\"u\"}")},
	{TEXT("{\"url\":\"u\",\"\\u0075rl\":\"u\"}")},
	{TEXT("{\"url\":\"u\",\"meta\":{\"a\":1,\"b\":{\"c\":1,\"c\":1}}}")},
	{TEXT("{\"url\":\"u\",\"meta\":[1,]}")},
	{TEXT("{\"url\":\"u\",\"meta\":[1 2]}")},
	{TEXT("{\"url\":\"u\",\"meta\":01}")},
	{TEXT("{\"url\":\"u\",\"meta\":+1}")},
	{TEXT("{\"url\":\"u\",\"meta\":.5}")},
	{TEXT("{\"url\":\"u\",\"meta\":1.}")},
	{TEXT("{\"url\":\"u\",\"meta\":1e}")},
	{TEXT("{\"url\":\"u\",\"meta\":0x10}")},
	{TEXT("{\"url\":\"u\",\"meta\":-}")},
	{TEXT("{\"url\":\"u\",\"meta\":NaN}")},
	{TEXT("{\"url\":\"u\",\"meta\":Infinity}")},
	{TEXT("{\"url\":\"u\",\"meta\":True}")},
	{TEXT("{\"url\":\"u\",\"meta\":nul}")},
	{TEXT("{\"url\":\"u\",\"meta\":9223372036854775808}")},
	{TEXT("{\"url\":\"u\",\"meta\":-9223372036854775809}")},
	{TEXT("{\"url\":\"u\",\"meta\":1e309}")},
	{TEXT("{\"url\":\"u\",\"meta\":-1e309}")},
	{TEXT("{\"url\":\"u\",\"meta\":\"\\x\"}")},
	{TEXT("{\"url\":\"u\",\"meta\":\"\\u12\"}")},
	{TEXT("{\"url\":\"u\",\"meta\":\"\\u0000\"}")},
	{TEXT("{\"url\":\"u\",\"meta\":{\"\\u0000\":1}}")},
	{TEXT("{\"url\":\"u\",\"meta\":{\"a\\u0000b\":1}}")},
	{TEXT("{\"url\":\"u\",\"meta\":\"\\ud800\"}")},
	{TEXT("{\"url\":\"u\",\"meta\":\"\\udc00\"}")},
	{TEXT("{\"url\":\"u\",\"meta\":\"\\ud800\\u0041\"}")},
	{TEXT("{\"url\":\"u\",\"meta\":\"\\ud800\\ud800\"}")},
	{TEXT("{\"url\":\"u\",\"meta\":\"a\nb\"}")},
	{TEXT("{\"url\":\"u\",\"meta\":\"a\tb\"}")},
	{TEXT("{\"url\":\"u\",\"meta\":\"a\0b\"}")},
	{TEXT("{\"url\":\"u\",\"meta\":\"\xff\"}")},
	{TEXT("{\"url\":\"u\",\"meta\":\"\xc3\"}")},
	{TEXT("{\"url\":\"u\",\"meta\":\"\xc0\xaf\"}")},
	{TEXT("{\"url\":\"u\",\"meta\":\"\xed\xa0\x80\"}")},
	{TEXT("{\"url\":\"u\",\"meta\":\"\xf4\x90\x80\x80\"}")},
	{TEXT("{\"url\":\"u\",\"\xff\":1}")},
	{TEXT("{\"url\":\"u\",\"meta\":1\0}")},
	{TEXT("{\"url\":\"u\",\"meta\":[1.5\0\n]}")},
	{TEXT("{\"url\":\"u\"}\0")},
	{TEXT("\xef\xbb\xbf{\"url\":\"u\"}")},
	{TEXT("{\"url\":\"u\" /* why */}")},
	{TEXT("{\"url\":\"u\"} // why")},
	{TEXT("{\"url\":\"u\",\f\"meta\":1}")},
	{TEXT("url=u")},
};

START_TEST(refuses_broken_json)
{
	struct problem problem = problem_of(broken[_i].json, broken[_i].length);

	check_problem(broken[_i].json, &problem, 400, "invalid_json", NULL);
}
END_TEST

START_TEST(takes_blanks_and_escapes)
{
	static const char json[] =
		" \r\n\t{ \"\\u0075\\u0072\\u006c\"\n:\t\"\\/\\u0041\\\\\\\"\\b\\f\\n\\r\\t\" } \r\n";
	struct problem problem = {0};
	struct job_spec *spec = read_spec(json, strlen(json), &problem);

	ck_assert_msg(spec != NULL, "%s", problem.detail);
	ck_assert_str_eq(spec->url, "/A\\\"\b\f\n\r\t");
	job_spec_free(spec);
	ck_assert_ptr_null(codec_read_spec(NULL, 0, &problem)); /* a body that did not come */
	check_problem("nothing", &problem, 400, "invalid_json", NULL);
}
END_TEST

/* ---- POST /v1/wait */

#define ID_A "019aa0c4-6d0e-7c61-9d3a-2f6f3b9c1f00"
#define ID_B "019aa0c4-6d0e-7c61-9d3a-2f6f3b9c1f01"
#define IDS_AB "\"ids\":[\"" ID_A "\",\"" ID_B "\"]"

static const struct {
	const char *json;
	const char *code, *pointer; /* NULL: taken */
	size_t count, needed;
	int64_t timeout_ms;
} waits[] = {
	{"{" IDS_AB "}", NULL, NULL, 2, 2, -1},
	{"{" IDS_AB ",\"mode\":\"all\"}", NULL, NULL, 2, 2, -1},
	{"{" IDS_AB ",\"mode\":\"any\"}", NULL, NULL, 2, 1, -1},
	{"{" IDS_AB ",\"mode\":1}", NULL, NULL, 2, 1, -1},
	{"{\"mode\":2," IDS_AB "}", NULL, NULL, 2, 2, -1},
	{"{" IDS_AB ",\"mode\":null,\"timeout\":null}", NULL, NULL, 2, 2, -1},
	{"{" IDS_AB ",\"timeout\":0}", NULL, NULL, 2, 2, 0},
	{"{" IDS_AB ",\"timeout\":\"1.5s\"}", NULL, NULL, 2, 2, 1500},
	{"{\"ids\":[\"" ID_A "\",\"" ID_A "\",\"" ID_B "\",\"" ID_A "\"]}", NULL, NULL, 2, 2, -1},
	{"{\"ids\":[\"\",\"no id\"]}", NULL, NULL, 2, 2, -1}, /* which will not be found */
	{"{}", "invalid", "/ids", 0, 0, 0},
	{"{\"ids\":null}", "invalid", "/ids", 0, 0, 0},
	{"{\"ids\":[]}", "invalid", "/ids", 0, 0, 0},
	{"{\"ids\":\"" ID_A "\"}", "invalid", "/ids", 0, 0, 0},
	{"{\"ids\":[\"" ID_A "\",7]}", "invalid", "/ids/1", 0, 0, 0},
	{"{\"ids\":[null]}", "invalid", "/ids/0", 0, 0, 0},
	{"{" IDS_AB ",\"mode\":3}", "invalid", "/mode", 0, 0, 0},
	{"{\"ids\":[\"" ID_A "\",\"" ID_A "\"],\"mode\":2}", "invalid", "/mode", 0, 0, 0},
	{"{" IDS_AB ",\"mode\":0}", "invalid", "/mode", 0, 0, 0},
	{"{" IDS_AB ",\"mode\":-1}", "invalid", "/mode", 0, 0, 0},
	{"{" IDS_AB ",\"mode\":1.0}", "invalid", "/mode", 0, 0, 0},
	{"{" IDS_AB ",\"mode\":\"1\"}", "invalid", "/mode", 0, 0, 0},
	{"{" IDS_AB ",\"mode\":\"ALL\"}", "invalid", "/mode", 0, 0, 0},
	{"{" IDS_AB ",\"mode\":true}", "invalid", "/mode", 0, 0, 0},
	{"{" IDS_AB ",\"timeout\":-1}", "invalid", "/timeout", 0, 0, 0},
	{"{" IDS_AB ",\"timeout\":\"x\"}", "invalid", "/timeout", 0, 0, 0},
	{"{" IDS_AB ",\"wait\":1}", "unknown_key", "/wait", 0, 0, 0},
	{"[\"" ID_A "\"]", "invalid", "", 0, 0, 0},
	{"{\"ids\":[\"\\u0000\"]}", "invalid_json", NULL, 0, 0, 0},
};

START_TEST(reads_waits)
{
	struct wait_request wait;
	struct problem problem = {0};
	const char *json = waits[_i].json;
	int rc = codec_read_wait(json, strlen(json), &wait, &problem);

	if (waits[_i].code != NULL) {
		ck_assert_msg(rc == -1, "%s was taken", json);
		check_problem(json, &problem, 400, waits[_i].code, waits[_i].pointer);
		return;
	}
	ck_assert_msg(rc == 0, "%s: %s", json, problem.detail);
	ck_assert_msg(wait.count == waits[_i].count && wait.needed == waits[_i].needed, "%s: %zu of %zu", json,
		wait.needed, wait.count);
	ck_assert_int_eq(wait.timeout_ms, waits[_i].timeout_ms);
	for (size_t i = 1; i < wait.count; i++)
		ck_assert_str_ne(wait.ids[i], wait.ids[i - 1]);
	wait_request_release(&wait);
}
END_TEST

START_TEST(reads_a_thousand_ids)
{
	for (int count = 1000; count <= 1001; count++) {
		struct wait_request wait;
		struct problem problem = {0};
		struct buffer json = {0};

		for (int i = 0; i < count; i++)
			buffer_printf(&json, "%s\"%08d-0000-7000-8000-000000000000\"", i == 0 ? "{\"ids\":[" : ",", i);
		buffer_append_string(&json, "]}");
		int rc = codec_read_wait(json.data, json.count, &wait, &problem);
		buffer_release(&json);
		if (count > 1000) {
			ck_assert_int_eq(rc, -1);
			check_problem("1001 ids", &problem, 400, "invalid", "/ids");
			continue;
		}
		ck_assert_int_eq(rc, 0);
		ck_assert_uint_eq(wait.count, 1000);
		ck_assert_str_eq(wait.ids[999], "00000999-0000-7000-8000-000000000000");
		wait_request_release(&wait);
		ck_assert_ptr_null(wait.ids);
	}
}
END_TEST

/* ---- filters */

#define BIT(state) (1u << JOB_##state)

static const struct {
	const char *text;
	unsigned states; /* 0: refused */
} state_lists[] = {
	{"queued", BIT(queued)},
	{"queued,running", BIT(queued) | BIT(running)},
	{"queued,queued", BIT(queued)},
	{"retrying,succeeded,failed,cancelled", BIT(retrying) | BIT(succeeded) | BIT(failed) | BIT(cancelled)},
	{"", 0},
	{",", 0},
	{"queued,", 0},
	{",queued", 0},
	{"queued, running", 0},
	{"Queued", 0},
	{"done", 0},
	{"queued running", 0},
};

START_TEST(reads_states)
{
	unsigned states = 0;
	struct problem problem = {0};
	int rc = codec_read_states(state_lists[_i].text, &states, &problem);

	if (state_lists[_i].states == 0) {
		ck_assert_msg(rc == -1, "\"%s\" was taken", state_lists[_i].text);
		check_problem(state_lists[_i].text, &problem, 400, "invalid", "");
		return;
	}
	ck_assert_int_eq(rc, 0);
	ck_assert_msg(states == state_lists[_i].states, "\"%s\": %x", state_lists[_i].text, states);
}
END_TEST

static const struct {
	const char *text, *host; /* NULL: refused */
	int port;
} origins[] = {
	{"a.example", "a.example", 0},
	{"A.Example", "a.example", 0},
	{"a.example:80", "a.example", 80},
	{"a.example:65535", "a.example", 65535},
	{"a.example.", "a.example", 0},
	{"a.example.:8080", "a.example", 8080},
	{"127.0.0.1:1", "127.0.0.1", 1},
	{"[::1]", "::1", 0},
	{"[::1]:80", "::1", 80},
	{"[2001:DB8::1]:443", "2001:db8::1", 443},
	{"::1", "::1", 0},
	{"", NULL, 0},
	{":80", NULL, 0},
	{"[]", NULL, 0},
	{"[]:80", NULL, 0},
	{"a.example:", NULL, 0},
	{"a.example:0", NULL, 0},
	{"a.example:65536", NULL, 0},
	{"a.example:99999999999999999999", NULL, 0},
	{"a.example:http", NULL, 0},
	{"a.example:-1", NULL, 0},
	{"a.example: 80", NULL, 0},
	{"[::1]:", NULL, 0},
	{"[::1]:x", NULL, 0},
};

START_TEST(reads_origins)
{
	struct arena arena = {0};
	struct ledger_filter filter = {0};
	struct problem problem = {0};
	const char *text = origins[_i].text;
	int rc = codec_read_origin(&arena, text, &filter, &problem);

	if (origins[_i].host == NULL) {
		ck_assert_msg(rc == -1, "\"%s\" was taken", text);
		check_problem(text, &problem, 400, "invalid", "");
	} else {
		ck_assert_msg(rc == 0, "\"%s\": %s", text, problem.detail);
		ck_assert_str_eq(filter.host, origins[_i].host);
		ck_assert_int_eq(filter.port, origins[_i].port);
	}
	arena_release(&arena);
}
END_TEST

static const struct {
	const char *json;
	const char *code, *pointer; /* NULL: taken */
	struct ledger_filter filter;
	size_t ids;
} cancels[] = {
	{"{\"state\":\"queued,running\"}", NULL, NULL, {.states = BIT(queued) | BIT(running)}, 0},
	{"{\"state\":[\"queued\",\"retrying\"]}", NULL, NULL, {.states = BIT(queued) | BIT(retrying)}, 0},
	{"{\"tag\":\"a b\"}", NULL, NULL, {.tag = "a b"}, 0},
	{"{\"origin\":\"A.example:80\"}", NULL, NULL, {.host = "a.example", .port = 80}, 0},
	{"{\"batch\":\"x\"}", NULL, NULL, {.batch = "x"}, 0},
	{"{" IDS_AB "}", NULL, NULL, {0}, 2},
	{"{\"tag\":\"t\",\"state\":\"failed\",\"origin\":\"h\"," IDS_AB "}", NULL, NULL,
		{.states = BIT(failed), .tag = "t", .host = "h"}, 2},
	{"{\"tag\":\"t\",\"state\":null,\"ids\":null}", NULL, NULL, {.tag = "t"}, 0},
	{"{}", "invalid", "", {0}, 0},
	{"{\"tag\":null}", "invalid", "", {0}, 0},
	{"{\"state\":\"\"}", "invalid", "/state", {0}, 0},
	{"{\"state\":\"nope\"}", "invalid", "/state", {0}, 0},
	{"{\"state\":[]}", "invalid", "/state", {0}, 0},
	{"{\"state\":[\"queued\",\"nope\"]}", "invalid", "/state/1", {0}, 0},
	{"{\"state\":[\"queued,running\"]}", "invalid", "/state/0", {0}, 0},
	{"{\"state\":[7]}", "invalid", "/state/0", {0}, 0},
	{"{\"state\":{}}", "invalid", "/state", {0}, 0},
	{"{\"tag\":\"\"}", "invalid", "/tag", {0}, 0},
	{"{\"tag\":[\"a\"]}", "invalid", "/tag", {0}, 0},
	{"{\"origin\":\"a:b\"}", "invalid", "/origin", {0}, 0},
	{"{\"origin\":\"\"}", "invalid", "/origin", {0}, 0},
	{"{\"batch\":\"\"}", "invalid", "/batch", {0}, 0},
	{"{\"ids\":[]}", "invalid", "/ids", {0}, 0},
	{"{\"ids\":[1]}", "invalid", "/ids/0", {0}, 0},
	{"{\"tag\":\"t\",\"all\":true}", "unknown_key", "/all", {0}, 0},
	{"true", "invalid", "", {0}, 0},
	{"", "invalid_json", NULL, {0}, 0},
};

static bool
same_text(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

START_TEST(reads_cancels)
{
	struct cancel_request cancel;
	struct problem problem = {0};
	const char *json = cancels[_i].json;
	const struct ledger_filter *wanted = &cancels[_i].filter;
	int rc = codec_read_cancel(json, strlen(json), &cancel, &problem);

	if (cancels[_i].code != NULL) {
		ck_assert_msg(rc == -1, "%s was taken", json);
		check_problem(json, &problem, 400, cancels[_i].code, cancels[_i].pointer);
		return;
	}
	ck_assert_msg(rc == 0, "%s: %s", json, problem.detail);
	ck_assert_msg(cancel.filter.states == wanted->states && same_text(cancel.filter.tag, wanted->tag) &&
			same_text(cancel.filter.host, wanted->host) && cancel.filter.port == wanted->port &&
			same_text(cancel.filter.batch, wanted->batch),
		"%s", json);
	ck_assert_msg(cancel.id_count == cancels[_i].ids && (cancel.ids != NULL) == (cancels[_i].ids > 0), "%s", json);
	cancel_request_release(&cancel);
}
END_TEST

START_TEST(reads_urls)
{
	static const struct {
		const char *json, *url; /* NULL: refused */
		const char *code, *pointer;
	} table[] = {
		{"{\"url\":\"http://a.example/\"}", "http://a.example/", NULL, NULL},
		{"{\"url\":\"no url\"}", "no url", NULL, NULL}, /* which the guard says */
		{"{\"url\":\"\"}", NULL, "invalid", "/url"},
		{"{\"url\":7}", NULL, "invalid", "/url"},
		{"{\"url\":null}", NULL, "invalid", "/url"},
		{"{}", NULL, "invalid", "/url"},
		{"{\"url\":\"u\",\"x\":1}", NULL, "unknown_key", "/x"},
		{"[]", NULL, "invalid", ""},
	};

	for (int i = 0; i < COUNT(table); i++) {
		struct problem problem = {0};
		char *url = codec_read_url(table[i].json, strlen(table[i].json), &problem);
		ck_assert_msg(same_text(url, table[i].url), "%s: %s", table[i].json, url);
		if (url == NULL)
			check_problem(table[i].json, &problem, 400, table[i].code, table[i].pointer);
		free(url);
	}
}
END_TEST

/* ---- what is written */

static const struct {
	const char *text;
	size_t length;
	const char *json;
} strings[] = {
	{TEXT(""), "\"\""},
	{TEXT("plain"), "\"plain\""},
	{TEXT("a\"b"), "\"a\\\"b\""},
	{TEXT("\"\""), "\"\\\"\\\"\""},
	{TEXT("\\"), "\"\\\\\""},
	{TEXT("/"), "\"/\""},
	{TEXT("\b\f\n\r\t"), "\"\\b\\f\\n\\r\\t\""},
	{TEXT("\x01\x1f"), "\"\\u0001\\u001f\""},
	{TEXT("a\0b"), "\"a\\u0000b\""},
	{TEXT("\x7f"), "\"\x7f\""},
	{TEXT("\xc3\xa9\xf0\x9f\x98\x80"), "\"\xc3\xa9\xf0\x9f\x98\x80\""},
	{TEXT("</script>"), "\"</script>\""},
};

START_TEST(escapes_strings)
{
	struct buffer buffer = {0};
	struct json_out out = {.buffer = &buffer};

	out_text(&out, NULL, strings[_i].text, strings[_i].length);
	char *json = buffer_steal(&buffer);
	ck_assert_str_eq(json, strings[_i].json);
	free(json);
}
END_TEST

START_TEST(writes_values)
{
	struct buffer buffer = {0};
	struct json_out out = {.buffer = &buffer};

	out_open(&out, NULL, '{');
	out_open(&out, "empty", '[');
	out_close(&out, ']');
	out_open(&out, "k\"ey", '[');
	out_integer(&out, NULL, INT64_MIN);
	out_integer(&out, NULL, INT64_MAX);
	out_integer_or_null(&out, NULL, 0);
	out_integer_or_null(&out, NULL, -1);
	out_boolean(&out, NULL, true);
	out_boolean(&out, NULL, false);
	out_string(&out, NULL, NULL);
	out_string(&out, NULL, "x");
	out_open(&out, NULL, '{');
	out_close(&out, '}');
	out_close(&out, ']');
	out_time(&out, "never", 0);
	out_time(&out, "then", INT64_C(1769860800250));
	out_raw(&out, "raw", "[1,{}]");
	out_null(&out, "null");
	out_close(&out, '}');
	char *json = buffer_steal(&buffer);
	ck_assert_str_eq(json,
		"{\"empty\":[],\"k\\\"ey\":[-9223372036854775808,9223372036854775807,0,null,true,false,null,\"x\",{}],"
		"\"never\":null,\"then\":\"2026-01-31T12:00:00.250Z\",\"raw\":[1,{}],\"null\":null}");
	free(json);
}
END_TEST

static const struct {
	const char *compact, *pretty;
} indented[] = {
	{"{\"b\":1,\"a\":[true,null,\"x\"]}", "{\n  \"b\": 1,\n  \"a\": [\n    true,\n    null,\n    \"x\"\n  ]\n}"},
	{"{}", "{}"}, {"[]", "[]"}, {"[0.1,1e22,0.30000000000000004]", NULL},
	{"{\"meta\":0.1}", "{\n  \"meta\": 0.1\n}"},
	{"{\"meta\":0.30000000000000004}", "{\n  \"meta\": 0.30000000000000004\n}"},
	{"{\"n\":9223372036854775807}", "{\n  \"n\": 9223372036854775807\n}"},
	{"{\"t\":\"\xc3\xa9\\u0001\\\"\"}", "{\n  \"t\": \"\xc3\xa9\\u0001\\\"\"\n}"},
	{"no json", "no json"}, /* stays as it is */
};

START_TEST(indents)
{
	struct buffer buffer = {0};

	buffer_append_string(&buffer, indented[_i].compact);
	codec_indent(&buffer);
	char *pretty = buffer_steal(&buffer);
	if (indented[_i].pretty != NULL)
		ck_assert_str_eq(pretty, indented[_i].pretty);
	else
		ck_assert_msg(strstr(pretty, "0.30000000000000004") != NULL, "%s", pretty);
	free(pretty);
}
END_TEST

START_TEST(writes_problems)
{
	struct problem problem = {0};
	struct buffer buffer = {0};

	ck_assert_int_eq(problem_set(&problem, 400, "invalid", "/b", "no %s", "\"x\""), -1);
	problem_prefix(&problem, NULL, 3);
	problem_prefix(&problem, "a/~", 0);
	problem_write(&problem, &buffer, ",\"extra\":1");
	char *json = buffer_steal(&buffer);
	ck_assert_str_eq(json,
		"{\"type\":\"about:blank\",\"title\":\"Bad Request\",\"status\":400,\"detail\":\"no \\\"x\\\"\","
		"\"code\":\"invalid\",\"pointer\":\"/a~1~0/3/b\",\"extra\":1}");
	free(json);
	problem_set(&problem, 503, "full", NULL, "%0500d", 7); /* longer than there is room for */
	ck_assert_uint_eq(strlen(problem.detail), sizeof problem.detail - 1);
	ck_assert_int_eq(problem.retry_after_s, 1);
	ck_assert_ptr_null(problem.pointer);
	problem_release(&problem);
}
END_TEST

/* What a client sent may be cut where a detail ends, but never within a character. */
START_TEST(cuts_details_between_characters)
{
	struct problem problem = {0};

	for (int blanks = 0; blanks < 4; blanks++) {
		char *text = repeat("", "\xf0\x9f\x98\x80", "", 200, "");
		problem_set(&problem, 400, "invalid", NULL, "%*s%s", blanks, "", text);
		size_t length = strlen(problem.detail);
		ck_assert_msg(
			length >= sizeof problem.detail - 4 && (length - (size_t)blanks) % 4 == 0, "%zu bytes", length);
		problem_release(&problem);
		free(text);
	}
}
END_TEST

/* ---- the suites */

static TCase *
spec_tests(void)
{
	TCase *tests = tcase_create("spec");

	tcase_add_test(tests, reads_the_defaults);
	tcase_add_test(tests, takes_nulls_as_left_out);
	tcase_add_loop_test(tests, reads_numbers, 0, COUNT(numbers));
	tcase_add_test(tests, reads_methods_and_flags);
	tcase_add_test(tests, reads_headers);
	tcase_add_loop_test(tests, reads_bodies, 0, COUNT(bodies));
	tcase_add_test(tests, reads_auth);
	tcase_add_test(tests, reads_expect);
	tcase_add_test(tests, reads_tls_and_proxy);
	tcase_add_test(tests, reads_tags);
	tcase_add_loop_test(tests, keeps_meta, 0, COUNT(metas));
	tcase_add_loop_test(tests, keeps_bounds, 0, COUNT(bounds));
	tcase_add_loop_test(tests, refuses_wrong_values, 0, COUNT(refused));
	tcase_add_test(tests, takes_retry_of_one_attempt);
	tcase_add_test(tests, refuses_what_is_not_built);
	return tests;
}

static TCase *
key_tests(void)
{
	TCase *tests = tcase_create("keys");

	tcase_add_loop_test(tests, settles_keys, 0, COUNT(keys));
	tcase_add_loop_test(tests, equal_requests_have_one_fingerprint, 0, COUNT(equals));
	tcase_add_test(tests, different_requests_have_different_fingerprints);
	tcase_add_test(tests, the_url_is_in_the_fingerprint);
	tcase_add_test(tests, fingerprints_stay);
	return tests;
}

static TCase *
json_tests(void)
{
	TCase *tests = tcase_create("json");

	tcase_add_test(tests, keeps_the_depth);
	tcase_add_loop_test(tests, refuses_broken_json, 0, COUNT(broken));
	tcase_add_test(tests, takes_blanks_and_escapes);
	return tests;
}

static TCase *
request_tests(void)
{
	TCase *tests = tcase_create("requests");

	tcase_add_loop_test(tests, reads_waits, 0, COUNT(waits));
	tcase_add_test(tests, reads_a_thousand_ids);
	tcase_add_loop_test(tests, reads_states, 0, COUNT(state_lists));
	tcase_add_loop_test(tests, reads_origins, 0, COUNT(origins));
	tcase_add_loop_test(tests, reads_cancels, 0, COUNT(cancels));
	tcase_add_test(tests, reads_urls);
	return tests;
}

static TCase *
output_tests(void)
{
	TCase *tests = tcase_create("output");

	tcase_add_loop_test(tests, escapes_strings, 0, COUNT(strings));
	tcase_add_test(tests, writes_values);
	tcase_add_loop_test(tests, indents, 0, COUNT(indented));
	tcase_add_test(tests, writes_problems);
	tcase_add_test(tests, cuts_details_between_characters);
	return tests;
}

int
main(void)
{
	TCase *(*const groups[])(void) = {spec_tests, key_tests, json_tests, request_tests, output_tests};
	Suite *suite = suite_create("codec");
	SRunner *runner = srunner_create(suite);

	codec_init();
	for (int i = 0; i < COUNT(groups); i++) {
		TCase *tests = groups[i]();

		tcase_set_timeout(tests, 60); /* sanitizers on a busy machine */
		suite_add_tcase(suite, tests);
	}
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
