/*
 * The front door's pure parts: the guard against web pages, queries, tokens. Each
 * row of the tables is a request that is let in or is not.
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <check.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/guard.h"
#include "api/http_listen.h"
#include "api/problem.h"
#include "api/query.h"
#include "api/tokens.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

/* ---- the guard */

static char *const names[] = {(char *)"fetch.example", (char *)"other"};

static const struct {
	const char *host;
	bool allowed;
} hosts[] = {
	{"localhost", true},
	{"LocalHost:8080", true},
	{"127.0.0.1", true},
	{"127.0.0.1:8080", true},
	{"192.168.1.2:80", true}, /* a page cannot rebind a number */
	{"8.8.8.8", true},
	{"[::1]", true},
	{"[::1]:8080", true},
	{"[2001:DB8::1]:1", true},
	{"fetch.example", true},
	{"FETCH.Example:8080", true},
	{"other", true},
	{"localhost:", true},
	{"", false},
	{":", false},
	{":8080", false},
	{"evil.example", false},
	{"evil.example:8080", false},
	{"localhost.", false},
	{"localhost.evil.example", false},
	{"evil.localhost", false},
	{"fetch.example.evil.example", false},
	{"xfetch.example", false},
	{"127.0.0.1.evil.example", false},
	{"127.1", false},
	{"0x7f.0.0.1", false},
	{"2130706433", false},
	{"::1", false},
	{"[::1", false},
	{"[::1]x", false},
	{"[::1]:x", false},
	{"[]", false},
	{"[]:80", false},
	{"[127.0.0.1]", false},
	{"[evil.example]", false},
	{"localhost:80:80", false},
	{"localhost:80x", false},
	{"localhost:-1", false},
	{"localhost evil.example", false},
	{"localhost,evil.example", false},
	{"user@localhost", false},
	{"localhost/", false},
	{" localhost", false},
};

START_TEST(judges_hosts)
{
	bool allowed = guard_host_allowed(hosts[_i].host, names, COUNT(names));

	ck_assert_msg(allowed == hosts[_i].allowed, "\"%s\" was %s", hosts[_i].host, allowed ? "let in" : "refused");
}
END_TEST

START_TEST(refuses_long_hosts)
{
	char host[5000];

	ck_assert(!guard_host_allowed("other", names, 1));
	ck_assert(!guard_host_allowed("other", NULL, 0));
	for (size_t length = 290; length < sizeof host; length += length < 310 ? 1 : 997) {
		memset(host, 'a', length);
		host[length] = '\0';
		ck_assert(!guard_host_allowed(host, names, COUNT(names)));
		host[0] = '[';
		ck_assert(!guard_host_allowed(host, names, COUNT(names)));
	}
}
END_TEST

static const struct {
	const char *origin, *host;
	bool allowed, tls;
} origins[] = {
	{"https://localhost:8443", "localhost:8443", true, true},
	{"https://[::1]:8443", "[::1]:8443", true, true},
	{"https://fetch.example", "Fetch.Example", true, true},
	{"http://fetch.example", "fetch.example", false, true},
	{"https://fetch.example:8443", "fetch.example", false, true},
	{"https://evil.example", "fetch.example", false, true},
	{"http://localhost:8080", "localhost:8080", true, false},
	{"http://LOCALHOST:8080", "localhost:8080", true, false},
	{"http://127.0.0.1", "127.0.0.1", true, false},
	{"http://[::1]:8080", "[::1]:8080", true, false},
	{"http://fetch.example", "Fetch.Example", true, false},
	{"null", "localhost:8080", false, false},
	{"", "localhost:8080", false, false},
	{"localhost:8080", "localhost:8080", false, false},
	{"https://localhost:8080", "localhost:8080", false, false},
	{"http://localhost", "localhost:8080", false, false},
	{"http://localhost:8081", "localhost:8080", false, false},
	{"http://127.0.0.1:8080", "localhost:8080", false, false},
	{"http://evil.example", "localhost:8080", false, false},
	{"http://localhost:8080.evil.example", "localhost:8080", false, false},
	{"http://localhost:8080/", "localhost:8080", false, false},
	{"http://evil.example http://localhost:8080", "localhost:8080", false, false},
	{"http://localhost:8080 http://evil.example", "localhost:8080", false, false},
	{"file://", "localhost:8080", false, false},
};

START_TEST(judges_origins)
{
	bool allowed = guard_origin_allowed(origins[_i].origin, origins[_i].host, origins[_i].tls);

	ck_assert_msg(allowed == origins[_i].allowed, "\"%s\" at \"%s\" was %s", origins[_i].origin, origins[_i].host,
		allowed ? "let in" : "refused");
}
END_TEST

/* ---- queries */

static const struct {
	const char *text;
	int count; /* -1: refused */
	struct {
		const char *name, *value;
	} params[3];
} queries[] = {
	{"", 0, {{NULL, NULL}}},
	{"&", 0, {{NULL, NULL}}},
	{"a=1", 1, {{"a", "1"}}},
	{"a", 1, {{"a", ""}}},
	{"a=", 1, {{"a", ""}}},
	{"=b", 1, {{"", "b"}}},
	{"a=1&b=2&c", 3, {{"a", "1"}, {"b", "2"}, {"c", ""}}},
	{"&&a=1&&b=2&", 2, {{"a", "1"}, {"b", "2"}}},
	{"a=b=c", 1, {{"a", "b=c"}}},
	{"a=b?c", 1, {{"a", "b?c"}}},
	{"a=b+c%20d%2B", 1, {{"a", "b c d+"}}},
	{"%61=%62%26%3D%25", 1, {{"a", "b&=%"}}},
	{"a=%C3%A9%e4%b8%ad", 1, {{"a", "\xc3\xa9\xe4\xb8\xad"}}},
	{"a=\xc3\xa9", 1, {{"a", "\xc3\xa9"}}},
	{"a=1&A=2", 2, {{"a", "1"}, {"A", "2"}}},
	{"a=%0a%7f", 1, {{"a", "\n\x7f"}}},
	{"a=1&a=1", -1, {{NULL, NULL}}},
	{"a=1&b&%61=2", -1, {{NULL, NULL}}},
	{"a&a", -1, {{NULL, NULL}}},
	{"a=%", -1, {{NULL, NULL}}},
	{"a=%4", -1, {{NULL, NULL}}},
	{"a=%4&b=1", -1, {{NULL, NULL}}},
	{"a=%zz", -1, {{NULL, NULL}}},
	{"a=%+1", -1, {{NULL, NULL}}},
	{"%=1", -1, {{NULL, NULL}}},
	{"a=%00", -1, {{NULL, NULL}}},
	{"a=x%00y", -1, {{NULL, NULL}}},
	{"a=%ff", -1, {{NULL, NULL}}},
	{"a=\xff", -1, {{NULL, NULL}}},
	{"a=%c3", -1, {{NULL, NULL}}},
	{"a=%c0%af", -1, {{NULL, NULL}}},
	{"%ed%a0%80=1", -1, {{NULL, NULL}}},
	{"a=%c3&b=%a9", -1, {{NULL, NULL}}},
};

START_TEST(parses_queries)
{
	struct http_param *params = NULL;
	struct problem problem = {0};
	size_t count = 99;
	int rc = query_parse(queries[_i].text, &params, &count, &problem);

	if (queries[_i].count < 0) {
		ck_assert_msg(rc == -1, "\"%s\" was taken", queries[_i].text);
		ck_assert_int_eq(problem.status, 400);
		ck_assert_str_eq(problem.code, "invalid_query");
		ck_assert_ptr_null(params);
		problem_release(&problem);
		return;
	}
	ck_assert_msg(rc == 0, "\"%s\": %s", queries[_i].text, problem.detail);
	ck_assert_msg((int)count == queries[_i].count, "\"%s\": %zu", queries[_i].text, count);
	for (size_t i = 0; i < count; i++) {
		ck_assert_str_eq(params[i].name, queries[_i].params[i].name);
		ck_assert_str_eq(params[i].value, queries[_i].params[i].value);
	}
	query_free(params);
}
END_TEST

START_TEST(bounds_queries)
{
	for (int wanted = 30; wanted < 36; wanted++) {
		char text[400];
		size_t length = 0, count = 0;
		struct http_param *params = NULL;
		struct problem problem = {0};

		for (int i = 0; i < wanted; i++)
			length += (size_t)snprintf(text + length, sizeof text - length, "&p%d=%d", i, i);
		int rc = query_parse(text, &params, &count, &problem);
		ck_assert_msg((rc == 0) == (wanted <= 32), "%d parameters: %s", wanted, problem.detail);
		if (rc == 0)
			ck_assert_int_eq((int)count, wanted);
		query_free(params);
		problem_release(&problem);
	}
	query_free(NULL);
}
END_TEST

static const struct {
	const char *query, *allowed;
	bool passes;
} checks[] = {
	{"", "", true},
	{"", "wait body", true},
	{"wait=1", "wait", true},
	{"wait=1", "body wait pretty", true},
	{"pretty", "body wait pretty", true},
	{"pretty&wait=1", "body wait pretty", true},
	{"wait=1", "", false},
	{"wai=1", "wait", false},
	{"waits=1", "wait", false},
	{"it=1", "wait", false},
	{"Wait=1", "wait", false},
	{"body+wait=1", "body wait", false},
	{"+=1", "body wait", false},
	{"=1", "body wait", false},
	{"wait=1&nope", "body wait", false},
};

START_TEST(checks_queries)
{
	struct http_request request = {0};
	struct problem problem = {0};

	ck_assert_int_eq(query_parse(checks[_i].query, &request.params, &request.param_count, &problem), 0);
	int rc = query_check(&request, checks[_i].allowed, &problem);
	ck_assert_msg((rc == 0) == checks[_i].passes, "\"%s\" among \"%s\": %s", checks[_i].query, checks[_i].allowed,
		problem.detail);
	if (rc != 0) {
		ck_assert_int_eq(problem.status, 400);
		ck_assert_str_eq(problem.code, "unknown_parameter");
	}
	problem_release(&problem);
	query_free(request.params);
}
END_TEST

/* ---- tokens */

/* A file with this text; its path is to be unlinked. */
static const char *
file_of(const char *text)
{
	static char path[256];
	const char *where = getenv("TMPDIR");

	snprintf(path, sizeof path, "%s/unit-front-XXXXXX", where != NULL ? where : "/tmp");
	int fd = mkstemp(path);
	ck_assert_msg(fd >= 0, "%s: %s", path, strerror(errno));
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
	return path;
}

static int
load(const char *path, struct tokens **ret, char **ret_message)
{
	struct config config = {.auth_token_file = (char *)path};

	return tokens_load(&config, ret, ret_message);
}

static bool
admits(struct tokens *tokens, const char *authorization)
{
	struct token_grant grant;

	return tokens_admit(tokens, authorization, &grant) == 0;
}

static struct tokens *
tokens_of(const char *text)
{
	struct tokens *tokens;
	char *message;
	const char *path = file_of(text);
	int error = load(path, &tokens, &message);

	unlink(path);
	ck_assert_msg(error == 0, "%d %s", error, message != NULL ? message : "");
	ck_assert_ptr_null(message);
	return tokens;
}

static const struct {
	const char *authorization;
	bool admitted;
} authorizations[] = {
	{"Bearer one", true},
	{"bearer one", true},
	{"BEARER one", true},
	{"Bearer   one", true},
	{"Bearer two-2/+=", true},
	{"Bearer last", true},
	{NULL, false},
	{"", false},
	{"Bearer", false},
	{"Bearer ", false},
	{"one", false},
	{"Bearerone", false},
	{"Basic one", false},
	{"Bearer\tone", false},
	{"Bearer on", false},
	{"Bearer onee", false},
	{"Bearer oneone", false},
	{"Bearer One", false},
	{"Bearer one ", false},
	{"Bearer one two", false},
	{"Bearer one, Bearer two-2/+=", false},
	{"Bearer # comment", false},
	{"Bearer #", false},
	{"Bearer nobody", false},
};

START_TEST(admits_tokens)
{
	struct tokens *tokens = tokens_of("# comment\n\n  one\t\r\n   \n\t# another\ntwo-2/+=\nlast");
	bool admitted = admits(tokens, authorizations[_i].authorization);

	ck_assert_msg(admitted == authorizations[_i].admitted, "\"%s\" was %s",
		authorizations[_i].authorization != NULL ? authorizations[_i].authorization : "(none)",
		admitted ? "let in" : "refused");
	tokens_free(tokens);
}
END_TEST

START_TEST(admits_all_without_a_file)
{
	struct tokens *tokens;
	char *message;

	ck_assert_int_eq(load(NULL, &tokens, &message), 0);
	ck_assert(admits(tokens, NULL));
	ck_assert(admits(tokens, "Bearer whatever"));
	tokens_free(tokens);
	tokens_free(NULL);
}
END_TEST

START_TEST(swaps_tokens)
{
	struct tokens *tokens = tokens_of("old\nboth\n"), *fresh = tokens_of("new\nboth\n");

	tokens_swap(tokens, fresh);
	ck_assert(!admits(tokens, "Bearer old"));
	ck_assert(admits(tokens, "Bearer new"));
	ck_assert(admits(tokens, "Bearer both"));
	ck_assert(admits(fresh, "Bearer old"));
	ck_assert(!admits(fresh, "Bearer new"));
	tokens_free(fresh);
	ck_assert(admits(tokens, "Bearer new"));
	tokens_free(tokens);
}
END_TEST

START_TEST(refuses_files_without_tokens)
{
	static const char *const texts[] = {"", "\n\n", "# only\n  # words\n", " \t \r\n"};
	struct tokens *tokens = NULL;
	char *message;

	for (int i = 0; i < COUNT(texts); i++) {
		const char *path = file_of(texts[i]);
		ck_assert_int_lt(load(path, &tokens, &message), 0);
		unlink(path);
		ck_assert_msg(message != NULL && strstr(message, path) != NULL, "%s", message);
		free(message);
	}
	ck_assert_int_eq(load("no/such/file", &tokens, &message), -ENOENT);
	ck_assert_msg(message != NULL && strstr(message, "no/such/file: ") != NULL, "%s", message);
	free(message);
	ck_assert_int_lt(load("/", &tokens, &message), 0); /* a directory */
	free(message);
	ck_assert_ptr_null(tokens);
}
END_TEST

/* ---- where to listen */

static const struct {
	const char *listen;
	bool local;
} listens[] = {
	{"127.0.0.1:8080", true},
	{"127.0.0.1:0", true},
	{"127.255.255.254:80", true},
	{"localhost:8080", true},
	{"[::1]:8080", true},
	{"[0:0:0:0:0:0:0:1]:8080", true},
	{"unix:/run/fetchpool", true},
	{"unix:relative", true},
	{"0.0.0.0:8080", false},
	{"[::]:8080", false},
	{"128.0.0.1:8080", false},
	{"126.255.255.255:8080", false},
	{"10.0.0.1:8080", false},
	{"192.168.0.1:8080", false},
	{"[fe80::1]:8080", false},
	{"[2001:db8::1]:8080", false},
	{"[::2]:8080", false},
	{"[::ffff:10.0.0.1]:8080", false},
	/* what cannot be read is not taken for local */
	{"a.example:8080", false},
	{"localhost.example:8080", false},
	{"127.0.0.1", false},
	{":8080", false},
	{"", false},
	{"127.1:8080", false},
};

START_TEST(tells_local_addresses)
{
	bool local = http_listen_is_local(listens[_i].listen);

	ck_assert_msg(local == listens[_i].local, "\"%s\" is%s local", listens[_i].listen, local ? "" : " not");
}
END_TEST

/* ---- the suites */

static TCase *
guard_tests(void)
{
	TCase *tests = tcase_create("guard");

	tcase_add_loop_test(tests, judges_hosts, 0, COUNT(hosts));
	tcase_add_test(tests, refuses_long_hosts);
	tcase_add_loop_test(tests, judges_origins, 0, COUNT(origins));
	tcase_add_loop_test(tests, tells_local_addresses, 0, COUNT(listens));
	return tests;
}

static TCase *
query_tests(void)
{
	TCase *tests = tcase_create("query");

	tcase_add_loop_test(tests, parses_queries, 0, COUNT(queries));
	tcase_add_test(tests, bounds_queries);
	tcase_add_loop_test(tests, checks_queries, 0, COUNT(checks));
	return tests;
}

static TCase *
token_tests(void)
{
	TCase *tests = tcase_create("tokens");

	tcase_add_loop_test(tests, admits_tokens, 0, COUNT(authorizations));
	tcase_add_test(tests, admits_all_without_a_file);
	tcase_add_test(tests, swaps_tokens);
	tcase_add_test(tests, refuses_files_without_tokens);
	return tests;
}

int
main(void)
{
	TCase *(*const groups[])(void) = {guard_tests, query_tests, token_tests};
	Suite *suite = suite_create("front");
	SRunner *runner = srunner_create(suite);

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
