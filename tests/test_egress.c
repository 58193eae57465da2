/* The guard: where the daemon must not fetch from, however it is written, and the rules that change that. */
#include "rig.h"

#include <signal.h>
#include <string.h>

/* All of them lead to this machine or to a special address. */
static const char *const refused[] = {
	"127.0.0.1",
	"127.1",
	"127.0.1",
	"2130706433",
	"0x7f.0.0.1",
	"0x7f000001",
	"0177.0.0.1",
	"017700000001",
	"127.0.0.1.",
	"127.255.255.254",
	"0.0.0.0",
	"0",
	"10.0.0.1",
	"100.64.0.1",
	"169.254.169.254",
	"172.16.0.1",
	"172.31.255.255",
	"192.0.0.1",
	"192.0.2.1",
	"192.31.196.1",
	"192.52.193.1",
	"192.88.99.1",
	"192.168.1.1",
	"192.175.48.1",
	"198.18.0.1",
	"198.19.255.255",
	"198.51.100.1",
	"203.0.113.1",
	"224.0.0.1",
	"240.0.0.1",
	"255.255.255.255",
	"168.63.129.16",
	"[::1]",
	"[::]",
	"[0:0:0:0:0:0:0:1]",
	"[::ffff:127.0.0.1]",
	"[::ffff:7f00:1]",
	"[::ffff:8.8.8.8]",
	"[::127.0.0.1]",
	"[64:ff9b::7f00:1]",
	"[64:ff9b:1::7f00:1]",
	"[fc00::1]",
	"[fd00::1]",
	"[fe80::1]",
	"[fec0::1]",
	"[ff02::1]",
	"[2001::1]",
	"[2001:db8::1]",
	"[2002:7f00:1::1]",
	"[2620:4f:8000::1]",
	"[3fff::1]",
	"[4000::1]",
	"[2a00:1450::5efe:7f00:1]",
	"[2a00:1450::200:5efe:7f00:1]",
	"localhost",
	"LOCALHOST",
	"localhost.",
	"127%2E0%2E0%2E1",
	"\xef\xbc\x91\xef\xbc\x92\xef\xbc\x97.0.0.1",
	"127\xe3\x80\x82"
	"0\xe3\x80\x82"
	"0\xe3\x80\x82"
	"1",
	"\xe2\x93\x9b\xe2\x93\x9e\xe2\x93\x92\xe2\x93\x90\xe2\x93\x9b\xe2\x93\x97\xe2\x93\x9e\xe2\x93\xa2\xe2\x93\xa3",
};

/* A host with escapes may also be called no host at all. */
static bool
is_no_host(const char *host, const struct client_reply *reply)
{
	if (reply->status != 400 || !strchr(host, '%'))
		return false;
	expect_problem(reply, 400, "'/url'");
	return true;
}

START_TEST(every_spelling_is_refused)
{
	struct client_reply *reply =
		post("/v1/jobs?wait=25s", "{'url':'http://%s:%u/echo'}", refused[_i], origin_port(the_origin));

	if (is_no_host(refused[_i], reply))
		return;
	expect_status(reply, 200);
	expect_failed(reply->json, "denied_by_policy", "policy");
	expect_that(origin_count(the_origin, NULL) == 0, "the origin was reached");
}
END_TEST

START_TEST(check_explains_a_refusal)
{
	struct client_reply *reply = post("/v1/egress/check", "{'url':'http://%s:81/'}", refused[_i]);

	if (is_no_host(refused[_i], reply))
		return;
	expect_status(reply, 200);
	expect_keys(reply->json, "", "allowed reason rule addresses");
	expect(reply->json, "allowed", "false");
	expect_that(json_text_at(reply->json, "reason"), "no reason: %s", reply->body.data);
	expect_that(json_is_array(json_at(reply->json, "addresses")), "no addresses: %s", reply->body.data);
}
END_TEST

static const char *const public_addresses[] = {
	"8.8.8.8", "1.1.1.1", "172.15.0.1", "172.32.0.1", "[2606:4700::1111]", "[2a00:1450::1]"};

START_TEST(check_allows_public_addresses)
{
	struct client_reply *reply = post("/v1/egress/check", "{'url':'https://%s/x'}", public_addresses[_i]);

	expect_status(reply, 200);
	expect(reply->json, "allowed", "true");
}
END_TEST

static const struct {
	const char *body, *pointer;
} bad_checks[] = {
	{"{}", NULL},
	{"{'url':7}", "'/url'"},
	{"{'url':'ftp://x/'}", "'/url'"},
	{"{'url':'/x'}", "'/url'"},
	{"{'url':'http://x/','y':1}", "'/y'"},
	{"[]", NULL},
};

START_TEST(a_bad_check_is_400)
{
	expect_problem(post("/v1/egress/check", "%s", bad_checks[_i].body), 400, bad_checks[_i].pointer);
}
END_TEST

START_TEST(a_refused_redirect_is_not_followed)
{
	const char *key = new_key();
	const char *there = text("http://127.0.0.2:%u/echo?k=%s", origin_port(the_origin), key);
	json_t *job;

	start_server("--egress-allow", "127.0.0.1/32");
	job = fetch(url("/redirect-to?url=%s", escaped(there)), "");
	expect_failed(job, "denied_by_policy", "policy");
	expect(job, "attempts.0.redirects.0.location", "'%s'", there);
	expect_that(origin_count(the_origin, key) == 0, "the origin was reached");
	expect(fetch(url("/redirect/2"), ""), "state", "'succeeded'");
}
END_TEST

START_TEST(deny_beats_allow)
{
	start_server("--egress-allow", "127.0.0.0/8", "--egress-deny", "127.0.0.1/32");
	expect_failed(fetch(url("/echo"), ""), "denied_by_policy", "policy");
	expect_failed(fetch(text("http://127.1:%u/", origin_port(the_origin)), ""), "denied_by_policy", "policy");
	expect(post("/v1/egress/check", "{'url':'%s'}", url("/"))->json, "allowed", "false");
	expect(post("/v1/egress/check", "{'url':'http://127.0.0.2/'}")->json, "allowed", "true");
	expect_that(origin_count(the_origin, NULL) == 0, "the origin was reached");
}
END_TEST

static const char *const denied_names[] = {"localhost", "LocalHost", "localhost."};

START_TEST(a_denied_name_is_refused)
{
	start_server("--egress-allow", "127.0.0.0/8", "--egress-allow", "localhost", "--egress-deny", "localhost");
	for (size_t i = 0; i < COUNT_OF(denied_names); i++)
		expect_failed(fetch(text("http://%s:%u/echo", denied_names[i], origin_port(the_origin)), ""),
			"denied_by_policy", "policy");
	expect_that(origin_count(the_origin, NULL) == 0, "the origin was reached");
	expect(fetch(url("/echo"), ""), "state", "'succeeded'");
}
END_TEST

START_TEST(an_allowed_name_is_fetched)
{
	start_server("--egress-allow", "localhost");
	expect(fetch(text("http://localhost:%u/echo", origin_port(the_origin)), ""), "state", "'succeeded'");
	/* The name is allowed, not where it leads. */
	expect_failed(fetch(url("/echo"), ""), "denied_by_policy", "policy");
}
END_TEST

START_TEST(a_name_needs_all_its_addresses_allowed)
{
	struct client_reply *check;
	bool v6;
	json_t *job;

	start_server("--egress-allow", "127.0.0.0/8");
	check = post("/v1/egress/check", "{'url':'http://localhost:%u/'}", origin_port(the_origin));
	expect_status(check, 200);
	v6 = strstr(check->body.data, "::1") != NULL; /* depends on the machine */
	expect(check->json, "allowed", v6 ? "false" : "true");
	job = fetch(text("http://localhost:%u/echo", origin_port(the_origin)), "");
	if (v6)
		expect_failed(job, "denied_by_policy", "policy");
	else
		expect(job, "state", "'succeeded'");
}
END_TEST

START_TEST(check_names_the_rule)
{
	struct client_reply *reply;

	start_server("--egress-allow", "127.0.0.0/8", "--egress-deny", "evil.example");
	reply = post("/v1/egress/check", "{'url':'http://127.0.0.1/'}");
	expect(reply->json, "allowed", "true");
	expect(reply->json, "addresses", "['127.0.0.1']");
	expect_that(strstr(reply->body.data, "127.0.0.0/8"), "the rule is not named: %s", reply->body.data);
	reply = post("/v1/egress/check", "{'url':'http://evil.example/'}");
	expect(reply->json, "allowed", "false");
	expect_that(strstr(reply->body.data, "evil.example"), "the rule is not named: %s", reply->body.data);
}
END_TEST

START_TEST(proxies_of_the_environment_are_ignored)
{
	const char *proxy = text("http://127.0.0.1:%u", silent_port());

	start_server(text("http_proxy=%s", proxy), text("HTTP_PROXY=%s", proxy), text("ALL_PROXY=%s", proxy),
		text("all_proxy=%s", proxy));
	expect(fetch(url("/echo"), "'timeout':'20s'"), "state", "'succeeded'");
}
END_TEST

START_TEST(a_reload_takes_new_rules)
{
	const char *path = file_with("egress.conf", "egress-allow = 127.0.0.0/8\n");
	struct server *server = start_server(SERVER_GUARDED, "--config", path);
	int64_t until = mono_ms() + SERVER_PATIENCE_MS;

	expect(fetch(url("/echo"), ""), "state", "'succeeded'");
	file_with("egress.conf", "egress-allow = 127.0.0.0/8\negress-deny = 127.0.0.1/32\n");
	server_signal(server, SIGHUP);
	while (json_true_at(post("/v1/egress/check", "{'url':'%s'}", url("/"))->json, "allowed"))
		expect_that(mono_ms() < until, "SIGHUP brought no new rules");
	expect_failed(fetch(url("/echo"), ""), "denied_by_policy", "policy");
}
END_TEST

static void
setup(void)
{
	rig_share(SERVER_GUARDED);
}

int
main(void)
{
	Suite *suite = suite_create("egress");
	TCase *guarded = rig_case(suite, "without rules", setup);
	TCase *ruled = rig_case(suite, "with rules", NULL);

	tcase_add_loop_test(guarded, every_spelling_is_refused, 0, COUNT_OF(refused));
	tcase_add_loop_test(guarded, check_explains_a_refusal, 0, COUNT_OF(refused));
	tcase_add_loop_test(guarded, check_allows_public_addresses, 0, COUNT_OF(public_addresses));
	tcase_add_loop_test(guarded, a_bad_check_is_400, 0, COUNT_OF(bad_checks));
	tcase_add_test(ruled, a_refused_redirect_is_not_followed);
	tcase_add_test(ruled, deny_beats_allow);
	tcase_add_test(ruled, a_denied_name_is_refused);
	tcase_add_test(ruled, an_allowed_name_is_fetched);
	tcase_add_test(ruled, a_name_needs_all_its_addresses_allowed);
	tcase_add_test(ruled, check_names_the_rule);
	tcase_add_test(ruled, proxies_of_the_environment_are_ignored);
	tcase_add_test(ruled, a_reload_takes_new_rules);
	return rig_run(suite);
}
