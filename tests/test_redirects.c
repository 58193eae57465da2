/* Redirects: which are followed, what is sent along, where they must not lead. */
#include "rig.h"

#include <string.h>

static const char *
redirecting(const char *to, int status)
{
	return url("/redirect-to?url=%s&status=%d", escaped(to), status);
}

START_TEST(hops_are_followed_and_told)
{
	json_t *job = fetch(url("/redirect/2"), "");

	expect(job, "state", "'succeeded'");
	expect(job, "response.status", "200");
	expect(job, "response.body", "'arrived\\n'");
	expect(job, "request.url", "'%s'", url("/redirect/2"));
	expect(job, "response.url", "'%s'", url("/redirect/0"));
	expect(job, "attempts.0.redirects",
		"[{'status':302,'url':'%s','location':'%s'},{'status':302,'url':'%s','location':'%s'}]",
		url("/redirect/2"), url("/redirect/1"), url("/redirect/1"), url("/redirect/0"));
	expect_that(json_array_size(json_at(job, "attempts")) == 1, "more than one attempt");
}
END_TEST

START_TEST(with_0_the_redirect_is_the_answer)
{
	json_t *job = fetch(url("/redirect/2"), "'max_redirects':0");

	expect(job, "state", "'succeeded'");
	expect(job, "response.status", "302");
	expect(job, "response.url", "'%s'", url("/redirect/2"));
	expect(job, "response.headers.location", "['/redirect/1']");
	expect(job, "response.body", "'moved\\n'");
	expect(job, "attempts.0.redirects", "[]");
}
END_TEST

START_TEST(there_may_be_so_many)
{
	expect_failed(fetch(url("/redirect/3"), "'max_redirects':2"), "too_many_redirects", "redirect");
	expect(fetch(url("/redirect/3"), "'max_redirects':3"), "response.body", "'arrived\\n'");
	expect(fetch(url("/redirect/10"), ""), "response.body", "'arrived\\n'");
	expect_failed(fetch(url("/redirect/11"), ""), "too_many_redirects", "redirect");
}
END_TEST

static const struct {
	const char *location, *arrives;
} relatives[] = {
	{"/echo?x=1", "/echo?x=1"},
	{"echo", "/echo"},
	{"../echo?x=1", "/echo?x=1"},
	{"./a/../echo", "/echo"},
	{"?url=/echo", "/redirect-to?url=/echo"},
};

START_TEST(locations_are_resolved)
{
	json_t *job = fetch(redirecting(relatives[_i].location, 302), "");

	expect(job, "state", "'succeeded'");
	expect(job, "attempts.0.redirects.0.location", "'%s'", url("%s", relatives[_i].arrives));
}
END_TEST

START_TEST(a_location_without_a_scheme_is_resolved)
{
	json_t *job = fetch(redirecting(text("//127.0.0.1:%u/echo", origin_port(the_origin)), 302), "");

	expect(job, "response.url", "'%s'", url("/echo"));
}
END_TEST

static const struct {
	const char *method;
	int status;
	const char *arrives;
	bool with_body;
} turns[] = {
	{"POST", 301, "GET", false},
	{"POST", 302, "GET", false},
	{"POST", 303, "GET", false},
	{"POST", 307, "POST", true},
	{"POST", 308, "POST", true},
	{"PUT", 301, "PUT", true},
	{"PUT", 302, "PUT", true},
	{"PUT", 303, "GET", false},
	{"PUT", 307, "PUT", true},
	{"PUT", 308, "PUT", true},
	{"DELETE", 303, "GET", false},
	{"PATCH", 303, "GET", false},
	{"DELETE", 307, "DELETE", true},
};

START_TEST(methods_turn_as_they_should)
{
	json_t *echo =
		echo_of("'url':'%s','method':'%s','body':'thing','headers':{'Content-Type':'text/x','X-Other':'y'}",
			redirecting("/echo", turns[_i].status), turns[_i].method);

	expect(echo, "method", "'%s'", turns[_i].arrives);
	expect(echo, "body_base64", turns[_i].with_body ? "'dGhpbmc='" : "''");
	expect(echoed(echo, "content-type"), "", turns[_i].with_body ? "['text/x']" : "[]");
	expect(echoed(echo, "content-length"), "", turns[_i].with_body ? "['5']" : "[]");
	expect(echoed(echo, "x-other"), "", "['y']");
}
END_TEST

START_TEST(head_stays_head)
{
	static const int statuses[] = {301, 302, 303, 307, 308};

	for (size_t i = 0; i < COUNT_OF(statuses); i++) {
		const char *key = new_key();
		json_t *job = fetch(redirecting(text("/text/5?k=%s", key), statuses[i]), "'method':'HEAD'");

		expect(job, "response.status", "200");
		expect_text(await_seen(key)->method, "HEAD");
	}
}
END_TEST

static const int unfollowed[] = {300, 304, 305, 306, 399, 200, 404};

START_TEST(other_statuses_are_answers)
{
	json_t *job = fetch(redirecting("/echo", unfollowed[_i]), "");

	expect(job, "state", "'succeeded'");
	expect(job, "response.status", "%d", unfollowed[_i]);
	expect(job, "attempts.0.redirects", "[]");
}
END_TEST

START_TEST(without_a_location_it_is_an_answer)
{
	expect(fetch(redirecting("", 302), ""), "response.status", "302");
	expect(fetch(url("/status/302"), ""), "response.status", "302");
}
END_TEST

static const char *const bad_targets[] = {"ftp://127.0.0.1/", "file:///etc/passwd", "gopher://127.0.0.1:70/",
	"javascript:alert(1)", "http://user:password@127.0.0.1/", "http://user@127.0.0.1/", "http://",
	"http:///nowhere", "http://[::1/", "http://127.0.0.1:99999/", "http://bad host/", "data:text/plain,x"};

START_TEST(bad_targets_are_refused)
{
	json_t *job = fetch(redirecting(bad_targets[_i], 302), "");

	expect_failed(job, "bad_redirect", "redirect");
}
END_TEST

START_TEST(secrets_stay_at_home)
{
	json_t *echo = echo_of(
		"'url':'%s','auth':{'bearer':'s3cret'},'headers':{'Cookie':'sid=1','X-API-Key':'k','X-Own-Secret':'s'}",
		redirecting("/echo", 302));

	expect(echoed(echo, "authorization"), "", "['Bearer s3cret']");
	expect(echoed(echo, "cookie"), "", "['sid=1']");
	expect(echoed(echo, "x-api-key"), "", "['k']");
	expect(echoed(echo, "x-own-secret"), "", "['s']");
}
END_TEST

static const char *const secret_specs[] = {"'auth':{'bearer':'s3cret'}", "'auth':{'basic':{'user':'u','password':'p'}}",
	"'headers':{'Authorization':'Basic eDp5'}", "'headers':{'Cookie':'sid=1'}", "'headers':{'X-API-Key':'k'}",
	"'headers':{'X-Own-Secret':'s'}"};

START_TEST(secrets_do_not_go_abroad)
{
	static const char *const names[] = {"authorization", "cookie", "x-api-key", "x-own-secret"};
	const char *key = new_key(), *there = url_on(another_origin(), "/echo?k=%s", key);
	json_t *echo = echo_of("'url':'%s',%s", redirecting(there, 307), secret_specs[_i]);

	for (size_t i = 0; i < COUNT_OF(names); i++)
		expect(echoed(echo, names[i]), "", "[]");
}
END_TEST

START_TEST(other_headers_go_abroad)
{
	const char *there = url_on(another_origin(), "/echo");
	json_t *echo = echo_of("'url':'%s','headers':{'X-Other':'kept'}", redirecting(there, 302));

	expect(echoed(echo, "x-other"), "", "['kept']");
}
END_TEST

START_TEST(no_cookie_is_kept)
{
	fetch(url("/cookie"), "");
	expect(echoed(echo_of(""), "cookie"), "", "[]");
	expect(echoed(echo_of("'url':'%s'", url("/redirect-to?url=/echo&extra=Set-Cookie")), "cookie"), "", "[]");
}
END_TEST

START_TEST(a_failure_behind_a_redirect_keeps_the_hops)
{
	const char *there = text("http://127.0.0.1:%u/", closed_port());
	json_t *job = fetch(redirecting(there, 302), "");

	expect_failed(job, "connect_failed", "connect");
	expect(job, "attempts.0.redirects.0.location", "'%s'", there);
}
END_TEST

static void
setup(void)
{
	rig_share("--secret-header", "X-Own-Secret");
}

int
main(void)
{
	Suite *suite = suite_create("redirects");
	TCase *tcase = rig_case(suite, "redirects", setup);

	tcase_add_test(tcase, hops_are_followed_and_told);
	tcase_add_test(tcase, with_0_the_redirect_is_the_answer);
	tcase_add_test(tcase, there_may_be_so_many);
	tcase_add_loop_test(tcase, locations_are_resolved, 0, COUNT_OF(relatives));
	tcase_add_test(tcase, a_location_without_a_scheme_is_resolved);
	tcase_add_loop_test(tcase, methods_turn_as_they_should, 0, COUNT_OF(turns));
	tcase_add_test(tcase, head_stays_head);
	tcase_add_loop_test(tcase, other_statuses_are_answers, 0, COUNT_OF(unfollowed));
	tcase_add_test(tcase, without_a_location_it_is_an_answer);
	tcase_add_loop_test(tcase, bad_targets_are_refused, 0, COUNT_OF(bad_targets));
	tcase_add_test(tcase, secrets_stay_at_home);
	tcase_add_loop_test(tcase, secrets_do_not_go_abroad, 0, COUNT_OF(secret_specs));
	tcase_add_test(tcase, other_headers_go_abroad);
	tcase_add_test(tcase, no_cookie_is_kept);
	tcase_add_test(tcase, a_failure_behind_a_redirect_keeps_the_hops);
	return rig_run(suite);
}
