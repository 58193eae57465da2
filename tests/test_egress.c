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
	/* numbers in each base, and mixed */
	"0X7F.0.0.1",
	"0x7f.1",
	"0177.1",
	"127.0x1",
	"0x0000007f.0.0.01",
	"00000000177.0.0.1",
	"127.0.0x0.01",
	"127.65530",
	"3232235777",
	"0xc0a80101",
	"0xa9fea9fe",
	"2852039166",
	"169.16689662",
	"0251.0376.0251.0376",
	"4294967295",
	"0xa9.0376.43518",
	/* IPv4 within IPv6 */
	"[::ffff:0:127.0.0.1]",
	"[0:0:0:0:0:ffff:7f00:0001]",
	"[::FFFF:169.254.169.254]",
	"[::a9fe:a9fe]",
	"[64:ff9b::169.254.169.254]",
	"[64:ff9b:1:7f00:0:100::]",
	"[2001:0:7f00:1::1]",
	"[2001:0:102:304:0:1234:80ff:fffe]",
	"[2002:a9fe:a9fe::]",
	"[2a00:1450::5efe:127.0.0.1]",
	"[2a00:1450::200:5efe:169.254.169.254]",
	"[fd00:ec2::254]",
	"[fd20:ce::254]",
	/* what UTS #46 makes digits, dots and letters of ASCII, or leaves out */
	"127\\uff0e0\\uff0e0\\uff0e1",
	"127\\uff610\\uff610\\uff611",
	"127.0.0.1\\u3002",
	"\\u2460\\u2461\\u2466.\\u24ea.\\u24ea.\\u2460",
	"\\ud835\\udfcf\\ud835\\udfd0\\ud835\\udfd5.0.0.1",
	"\\uff10x7f.0.0.1",
	"2130706\\uff1433",
	"\\uff4cocalhost",
	"LOCALHO\\u017fT",
	"local\\u00adhost",
	"local\\u200bhost",
	"127.0\\u00ad.0.1",
	"a\\uff0elocalhost",
	"metadata\\u3002google\\uff0einternal",
	/* names that nobody is asked for */
	"a.localhost",
	"a.b.LocalHost.",
	"localhost.localdomain",
	"ip6-localhost",
	"ip6-loopback",
	"metadata",
	"metadata.google.internal",
	"METADATA.GOOGLE.INTERNAL.",
	"metadata.goog",
	"instance-data",
	"instance-data.ec2.internal",
	"metadata.azure.internal",
	"metadata.tencentyun.com",
	"api.metadata.cloud.ibm.com",
	"metadata.packet.net",
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

/* What stands before the port; none of it is taken. */
static const char *const no_urls[] = {
	"http://user@127.0.0.1",
	"http://user:secret@127.0.0.1",
	"http://8.8.8.8@127.0.0.1",
	"http://8.8.8.8:80@127.0.0.1",
	"http://8.8.8.8%40127.0.0.1",
	"http://@127.0.0.1",
	"http://127.0.0.1%00",
	"http://127.0.0.1%2f",
	"http://%31%32%37.0.0.1",
	"http://127.0.0.1\\\\@8.8.8.8",
	"http://8.8.8.8\\\\@127.0.0.1",
	"http://127.0.0.1\\\\.example",
	"http://127.0.0.1\\t",
	"http://127.0.0.1\\n",
	"http://127.0.0.1\\r\\nX-Y: z",
	"ht\\ttp://127.0.0.1",
	" http://127.0.0.1",
	"\\u0001http://127.0.0.1",
	"http:// 127.0.0.1",
	"http://127.0.0.1 ",
	"http://1.1.1.1 &@127.0.0.1# @8.8.8.8",
	"http://[fe80::1%eth0]",
	"http://[fe80::1%25eth0]",
	"http://[::1%1]",
	"http://[::1%251]",
	"http://[::1",
	"http://::1",
	"http://::ffff:127.0.0.1",
	"http://[127.0.0.1]",
	"http://[localhost]",
	"http://[::1]x",
	"http://[[::1]]",
	"http://127.0.0.1:80",
	"http://127.0.0.1..",
	"http://localhost..",
	"http://.localhost",
	"http://127.0.0.256",
	"http://127.0.0.1.1",
	"http://127.0.0.0x100",
	"http://0x1ffffffff",
	"http://08.0.0.1",
	"http://0x",
	"http://127.0.0.1\\uff0f",
	"http://8.8.8.8\\uff20127.0.0.1",
	"http://8.8.8.8\\uff03@127.0.0.1",
	"http://127.0.0.1\\uff1a80",
	"http://\\uff05\\uff13\\uff11",
	"http://127.0.0.1\\u2100",
	"http://\\u202e127.0.0.1",
	"http:///127.0.0.1",
	"http:/127.0.0.1",
	"http:127.0.0.1",
	"//127.0.0.1",
	"http:\\\\\\\\127.0.0.1",
	"file://127.0.0.1",
	"gopher://127.0.0.1",
	"ftp://127.0.0.1",
	"ws://127.0.0.1",
	"unix://127.0.0.1",
};

START_TEST(what_is_no_url_is_400)
{
	unsigned port = origin_port(the_origin);

	expect_problem(post("/v1/jobs?wait=25s", "{'url':'%s:%u/echo'}", no_urls[_i], port), 400, "'/url'");
	expect_problem(post("/v1/egress/check", "{'url':'%s:%u/'}", no_urls[_i], port), 400, "'/url'");
	expect_that(origin_count(the_origin, NULL) == 0, "the origin was reached");
}
END_TEST

/* What stands behind the host is not taken for one. */
static const char *const led_by_8_8_8_8[] = {
	"http://8.8.8.8#@127.0.0.1/",
	"http://8.8.8.8?@127.0.0.1/",
	"http://8.8.8.8/@127.0.0.1/",
	"http://8.8.8.8/http://127.0.0.1/",
	"HTTP://0x8.0X8.010.8:0080/",
};

START_TEST(the_host_ends_where_it_does)
{
	struct client_reply *reply = post("/v1/egress/check", "{'url':'%s'}", led_by_8_8_8_8[_i]);

	expect_status(reply, 200);
	expect(reply->json, "allowed", "true");
	expect(reply->json, "addresses", "['8.8.8.8']");
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

/* A redirect is judged by the rules of when it comes. */
START_TEST(a_reload_holds_for_redirects_to_come)
{
	const char *path = file_with("egress.conf", "egress-allow = 127.0.0.0/8\n"), *key = new_key();
	struct server *server = start_server(SERVER_GUARDED, "--config", path);
	struct origin *other = another_origin();
	int64_t until = mono_ms() + SERVER_PATIENCE_MS;
	const char *to = url_on(other, "/echo");

	const char *id = id_of(submit(url("/hold?k=%s&url=%s", key, escaped(to)), ""));
	expect_that(origin_await_seen(the_origin, key, 0) != NULL, "it is not asked");
	file_with(
		"egress.conf", text("egress-allow = 127.0.0.0/8\negress-deny = 127.0.0.0/8:%u\n", origin_port(other)));
	server_signal(server, SIGHUP);
	while (json_true_at(post("/v1/egress/check", "{'url':'%s'}", to)->json, "allowed"))
		expect_that(mono_ms() < until, "SIGHUP brought no new rules");
	origin_release(the_origin, key);
	expect_failed(get("/v1/jobs/%s?wait=20s", id)->json, "denied_by_policy", "policy");
	expect_that(origin_count(other, NULL) == 0, "the redirect was followed");
}
END_TEST

/* ---- ports */

START_TEST(a_rule_with_a_port_is_for_that_port)
{
	struct origin *other = another_origin();
	unsigned port = origin_port(the_origin);

	start_server("--egress-allow", text("127.0.0.0/8:%u", port), "--egress-allow", text("[::1]:%u", port));
	expect(fetch(url("/echo"), ""), "state", "'succeeded'");
	expect(fetch(text("http://localhost:%u/echo", port), ""), "state", "'succeeded'");
	expect_failed(fetch(url_on(other, "/echo"), ""), "denied_by_policy", "policy");
	expect_failed(fetch(text("http://localhost:%u/echo", origin_port(other)), ""), "denied_by_policy", "policy");
	/* Nor by a redirect, from the same host. */
	expect_failed(
		fetch(url("/redirect-to?url=%s", escaped(url_on(other, "/echo"))), ""), "denied_by_policy", "policy");
	expect_that(origin_count(other, NULL) == 0, "the other port was reached");
}
END_TEST

START_TEST(a_name_with_a_port_is_for_that_port)
{
	struct origin *other = another_origin();

	start_server("--egress-allow", text("localhost:%u", origin_port(the_origin)));
	expect(fetch(text("http://localhost:%u/echo", origin_port(the_origin)), ""), "state", "'succeeded'");
	expect_failed(fetch(text("http://localhost:%u/echo", origin_port(other)), ""), "denied_by_policy", "policy");
	expect_that(origin_count(other, NULL) == 0, "the other port was reached");
}
END_TEST

START_TEST(a_port_can_be_denied)
{
	struct origin *other = another_origin();

	start_server("--egress-allow", "127.0.0.0/8", "--egress-deny", text("127.0.0.1:%u", origin_port(other)));
	expect(fetch(url("/echo"), ""), "state", "'succeeded'");
	expect_failed(fetch(url_on(other, "/echo"), ""), "denied_by_policy", "policy");
	expect_that(origin_count(other, NULL) == 0, "the denied port was reached");
}
END_TEST

/* ---- the server's own sockets */

static const char *const own_hosts[] = {
	"127.0.0.1", "127.1", "localhost", "a.localhost", "0.0.0.0", "0", "[::ffff:127.0.0.1]", "[::ffff:0:0]", "[::]"};

START_TEST(no_job_comes_to_its_own_server)
{
	struct server *server =
		start_server("--egress-allow", "0.0.0.0/0", "--egress-allow", "::/0", "--egress-allow", "*.example");
	unsigned port = server_port(server, 0);

	for (size_t i = 0; i < COUNT_OF(own_hosts); i++) {
		const char *there = text("http://%s:%u/livez", own_hosts[i], port);
		struct client_reply *check = post("/v1/egress/check", "{'url':'%s'}", there);

		expect_failed(fetch(there, ""), "denied_by_policy", "policy");
		expect_failed(fetch(url("/redirect-to?url=%s", escaped(there)), ""), "denied_by_policy", "policy");
		expect(check->json, "allowed", "false");
		expect(check->json, "rule", "'own listening socket of this server'");
	}
	expect(fetch(url("/echo"), ""), "state", "'succeeded'");
}
END_TEST

START_TEST(nor_when_it_listens_on_all_addresses)
{
	const char *tokens = file_with("tokens", "a-token-of-at-least-16-bytes\n");
	struct server *server = start_server(SERVER_BARE, "--listen", "127.0.0.1:0", "--listen", "0.0.0.0:0",
		"--state-dir", new_state_dir(), "--auth-token-file", tokens, "--egress-allow", "127.0.0.0/8");
	const struct server_run *run;

	for (size_t i = 0; i < 2; i++) {
		const char *body = jtext("{'url':'http://127.0.0.1:%u/livez'}", server_port(server, i));
		struct client_reply *reply = post_bytes("/v1/jobs?wait=25s",
			"Authorization: Bearer a-token-of-at-least-16-bytes\r\nContent-Type: application/json\r\n",
			body, strlen(body));

		expect_status(reply, 200);
		expect_failed(reply->json, "denied_by_policy", "policy");
	}
	/* As its settings have it, before it runs. */
	run = run_server("--listen", "0.0.0.0:8099", "--auth-token-file", tokens, "--egress-allow", "127.0.0.0/8",
		"--egress-check", "http://127.0.0.7:8099/");
	expect_that(run->status == 1 && strstr(run->out, "own listening socket"), "exit status %d: %s", run->status,
		run->out);
}
END_TEST

/* The rule, once the port is known; a reload forgets neither the socket nor the rule. */
START_TEST(a_rule_with_the_port_lets_it_in)
{
	const char *path = file_with("own.conf", "egress-allow = 127.0.0.0/8\n");
	struct server *server = start_server(SERVER_GUARDED, "--config", path);
	unsigned port = server_port(server, 0);
	const char *there = text("http://127.0.0.1:%u/livez", port);
	int64_t until = mono_ms() + SERVER_PATIENCE_MS;

	expect_failed(fetch(there, ""), "denied_by_policy", "policy");
	file_with("own.conf", text("egress-allow = {127.0.0.0/8, \"127.0.0.1:%u\"}\n", port));
	server_signal(server, SIGHUP);
	while (!json_true_at(post("/v1/egress/check", "{'url':'%s'}", there)->json, "allowed"))
		expect_that(mono_ms() < until, "SIGHUP brought no new rules");
	expect(fetch(there, ""), "response.status", "200");
	file_with("own.conf", "egress-allow = 127.0.0.0/8\n");
	server_signal(server, SIGHUP);
	while (json_true_at(post("/v1/egress/check", "{'url':'%s'}", there)->json, "allowed"))
		expect_that(mono_ms() < until, "SIGHUP brought no new rules");
	expect_failed(fetch(there, ""), "denied_by_policy", "policy");
}
END_TEST

/* ---- --egress-check */

/* allowed: -1 for no verdict. */
static const struct {
	const char *url, *allow, *deny;
	int allowed;
	const char *said;
} command_checks[] = {
	{"http://8.8.8.8/", NULL, NULL, 1, "public address"},
	{"http://127.1:81/", NULL, NULL, 0, "loopback (RFC 1122)"},
	{"http://127.0.0.1:81/", "127.0.0.1:81", NULL, 1, "127.0.0.1:81"},
	{"http://127.0.0.1:82/", "127.0.0.1:81", NULL, 0, "loopback (RFC 1122)"},
	{"http://localhost:81/", NULL, NULL, 0, "localhost (RFC 6761)"},
	{"http://localhost:81/", "localhost", NULL, 1, "--egress-allow localhost"},
	{"http://8.8.8.8/", NULL, "8.8.8.8:80", 0, "8.8.8.8:80"},
	{"http://127.0.0.1:8080/", "127.0.0.0/8", NULL, 0, "own listening socket"},
	{"http://metadata.google.internal/", NULL, NULL, 0, "metadata service"},
	{"ftp://8.8.8.8/", NULL, NULL, -1, "http://"},
	{"http://[fe80::1%25eth0]/", NULL, NULL, -1, "zone id"},
	{"", NULL, NULL, -1, "empty"},
	{"http://8.8.8.8/", "10.0.0.0/99", NULL, -1, "10.0.0.0/99"},
};

START_TEST(a_command_explains_a_verdict)
{
	const char *url = command_checks[_i].url, *allow = command_checks[_i].allow, *deny = command_checks[_i].deny;
	const char *words[8] = {SERVER_BARE}, *told;
	int allowed = command_checks[_i].allowed, count = 1;

	/* The environment is read as ever. */
	if (deny)
		words[count++] = text("FETCHPOOL_EGRESS_DENY=%s", deny);
	if (allow)
		words[count++] = text("--egress-allow=%s", allow);
	words[count++] = "--egress-check";
	words[count++] = url;
	const struct server_run *run = run_server_words(words);
	told = allowed < 0 ? run->err : run->out;
	expect_that(
		run->status == (allowed < 0 ? 2 : !allowed), "exit status %d: %s%s", run->status, run->out, run->err);
	expect_that(strstr(told, command_checks[_i].said), "\"%s\" is not said: %s", command_checks[_i].said, told);
	expect_that(allowed < 0 ? !*run->out : !*run->err, "too much is said: %s%s", run->out, run->err);
}
END_TEST

START_TEST(no_variable_makes_a_server_a_check)
{
	const struct server_run *run = run_server("FETCHPOOL_EGRESS_CHECK=http://8.8.8.8/", "--check-config");

	expect_that(run->status == 0 && !*run->out, "exit status %d: %s", run->status, run->out);
}
END_TEST

START_TEST(both_ways_give_the_same_answer)
{
	const char *path = file_with("check.conf", "egress-allow = 127.0.0.0/8\negress-deny = {8.8.4.4}\n");
	static const char *const urls[] = {
		"http://127.0.0.1:81/", "http://8.8.4.4/", "http://8.8.8.8/", "http://localhost:81/", "http://[::1]/"};

	start_server(SERVER_GUARDED, "--config", path);
	for (size_t i = 0; i < COUNT_OF(urls); i++) {
		const struct server_run *run = run_server("--config", path, "--egress-check", urls[i]);
		struct client_reply *reply = post("/v1/egress/check", "{'url':'%s'}", urls[i]);

		expect_status(reply, 200);
		expect_text(run->out, reply->body.data);
	}
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
	tcase_add_loop_test(guarded, what_is_no_url_is_400, 0, COUNT_OF(no_urls));
	tcase_add_loop_test(guarded, the_host_ends_where_it_does, 0, COUNT_OF(led_by_8_8_8_8));
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
	tcase_add_test(ruled, a_reload_holds_for_redirects_to_come);
	tcase_add_test(ruled, a_rule_with_a_port_is_for_that_port);
	tcase_add_test(ruled, a_name_with_a_port_is_for_that_port);
	tcase_add_test(ruled, a_port_can_be_denied);
	tcase_add_test(ruled, no_job_comes_to_its_own_server);
	tcase_add_test(ruled, nor_when_it_listens_on_all_addresses);
	tcase_add_test(ruled, a_rule_with_the_port_lets_it_in);
	tcase_add_loop_test(ruled, a_command_explains_a_verdict, 0, COUNT_OF(command_checks));
	tcase_add_test(ruled, no_variable_makes_a_server_a_check);
	tcase_add_test(ruled, both_ways_give_the_same_answer);
	return rig_run(suite);
}
