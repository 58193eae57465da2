/* Proxies: what they are asked for, what they never see, and that the guard loses nothing by them. */
#include "proxy.h"

#include "rig.h"
#include "tls_origin.h"

#include <signal.h>
#include <string.h>

#define SECRET "s3cret%40word" /* s3cret@word */

static struct proxy *http_proxy, *socks_proxy;
static const char *http_option, *socks_option;

static const char *
option_of(const char *name, const char *scheme, const struct proxy *proxy)
{
	return text("--proxy=%s=%s127.0.0.1:%u", name, scheme, proxy_port(proxy));
}

/* Both want a password, and lead to the origin whatever they are asked for. */
static void
set_up(void)
{
	struct proxy_options options = {.to_port = origin_port(the_origin), .user = "me:s3cret@word"};

	options.head = "X-Proxy: says so\r\nContent-Length: 7\r\nSet-Cookie: a=1\r\n";
	http_proxy = proxy_start(&options);
	options.socks = true;
	socks_proxy = proxy_start(&options);
	http_option = option_of("web", "http://me:" SECRET "@", http_proxy);
	socks_option = option_of("sock", "socks5h://me:" SECRET "@", socks_proxy);
}

static void
tear_down(void)
{
	proxy_stop(http_proxy);
	proxy_stop(socks_proxy);
}

static const struct proxy_request *
nth_request(struct proxy *proxy, size_t nth)
{
	expect_that(proxy_requests(proxy) > nth, "only %zu requests came", proxy_requests(proxy));
	return proxy_request(proxy, nth);
}

/* ---- the way through */

START_TEST(a_connect_proxy_is_asked_for_an_address)
{
	start_server(SERVER_GUARDED, http_option);
	json_t *job = fetch("http://8.8.8.8/echo", "'proxy':'web','auth':{'bearer':'mine'},'headers':{'x-own':'1'}");

	expect(job, "state", "'succeeded'");
	expect(job, "attempts.0.remote_ip", "'127.0.0.1'");
	expect_that(!json_at(job, "response.headers.x-proxy") && !json_at(job, "response.headers.set-cookie"),
		"the proxy's head is in the response");
	const struct proxy_request *request = nth_request(http_proxy, 0);
	expect_text(request->host, "8.8.8.8");
	ck_assert_uint_eq(request->port, 80);
	expect_text(request->user, "me:s3cret@word");
	expect_that(!strstr(request->head, "mine") && !strstr(request->head, "x-own"), "it saw %s", request->head);
	json_t *echo = json_loads(json_text_at(job, "response.body"), 0, NULL);
	json_object_set_new(job, "echo", echo);
	expect(echoed(echo, "host"), "", "['8.8.8.8']");
	expect(echoed(echo, "authorization"), "", "['Bearer mine']");
	expect(echoed(echo, "proxy-authorization"), "", "[]");
	expect(echoed(echo, "proxy-connection"), "", "[]");
	expect_keys(job, "request", "method url headers body_bytes");
}
END_TEST

START_TEST(a_socks_proxy_is_asked_for_an_address)
{
	start_server(SERVER_GUARDED, socks_option);
	json_t *job = fetch("http://8.8.8.8:81/text/5", "'proxy':'sock'");

	expect(job, "response.body_bytes", "5");
	const struct proxy_request *request = nth_request(socks_proxy, 0);
	expect_text(request->host, "8.8.8.8");
	ck_assert_int_eq(request->address_type, 1);
	ck_assert_uint_eq(request->port, 81);
	expect_text(request->user, "me:s3cret@word");
	/* IPv6 is asked for as such. */
	expect(fetch("http://[2606:4700::1111]/text/5", "'proxy':'sock'"), "state", "'succeeded'");
	request = nth_request(socks_proxy, 1);
	ck_assert_int_eq(request->address_type, 4);
	expect_text(request->host, "2606:4700::1111");
}
END_TEST

static const char *const both[] = {"web", "sock"};

START_TEST(names_are_looked_up_here)
{
	struct proxy *proxy = _i == 0 ? http_proxy : socks_proxy;

	start_server("--egress-allow=localhost", http_option, socks_option);
	json_t *job = fetch(text("http://localhost:%u/echo", origin_port(the_origin)), "'proxy':'%s'", both[_i]);

	expect(job, "state", "'succeeded'");
	const struct proxy_request *request = nth_request(proxy, 0);
	expect_that(!strcmp(request->host, "127.0.0.1") || !strcmp(request->host, "::1"), "%s", request->host);
	expect_that(request->address_type != 3, "it was asked for a name");
	expect_that(!strstr(request->head, "localhost"), "it saw the name");
	expect_that(strstr(json_text_at(job, "response.body"), "localhost:"), "Host is not the URL's");
}
END_TEST

START_TEST(the_next_address_is_tried)
{
	static const char *const bad[] = {"127.0.0.1", "::1"};
	size_t asked = 0;

	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		struct proxy_options options = {.to_port = origin_port(the_origin), .bad_host = bad[i]};

		options.socks = _i == 1;
		options.status = 502;
		options.socks_reply = 4;
		struct proxy *proxy = proxy_start(&options);
		start_server("--egress-allow=*.localhost", option_of("it", _i == 1 ? "socks5h://" : "http://", proxy));
		json_t *job = fetch("http://two.localhost/echo", "'proxy':'it'");
		expect(job, "state", "'succeeded'");
		expect_that(json_array_size(json_at(job, "attempts")) == 1, "more than one attempt");
		asked += proxy_requests(proxy);
		proxy_stop(proxy);
	}
	ck_assert_uint_eq(asked, 3); /* whichever comes first */
}
END_TEST

START_TEST(ipv6_targets_stand_in_brackets)
{
	start_server(SERVER_GUARDED, http_option);
	expect(fetch("http://[2606:4700::1111]/text/5", "'proxy':'web'"), "state", "'succeeded'");
	expect_that(!strncmp(nth_request(http_proxy, 0)->head, "CONNECT [2606:4700::1111]:80 HTTP/1.1\r\n", 39),
		"it saw %s", nth_request(http_proxy, 0)->head);
}
END_TEST

START_TEST(https_goes_through)
{
	struct tls_origin *origin = tls_origin_start(&(struct tls_origin_options){.ask_client = true});
	struct proxy_options options = {.to_port = tls_origin_port(origin), .socks = _i == 1, .tls = _i == 2};
	struct proxy *proxy = proxy_start(&options);
	static const char *const schemes[] = {"http://", "socks5h://", "https://"};
	const char *usual =
		_i == 2 ? text("--origin-ca=default=%s", file_with("proxy-ca.pem", proxy_ca(proxy))) : "--max-wait=20s";

	start_server("--egress-allow=localhost", option_of("it", schemes[_i], proxy), usual,
		text("--origin-ca=ours=%s", file_with("ca.pem", tls_origin_ca(origin))),
		text("--origin-cert=mine=%s", file_with("client.pem", tls_origin_client(origin))));
	const char *to = text("https://localhost:%u/", tls_origin_port(origin));
	json_t *job = fetch(to, "'proxy':'it','tls':{'ca':'ours','client_cert':'mine'}");
	expect(job, "state", "'succeeded'");
	expect_text(json_text_at(job, "response.body"),
		"{\"target\":\"/\",\"connection\":1,\"client\":\"the client\",\"sni\":\"localhost\",\"resumed\":false}");
	/* The tunnel is kept, and only for the same settings. */
	job = fetch(to, "'proxy':'it','tls':{'ca':'ours','client_cert':'mine'}");
	expect_that(strstr(json_text_at(job, "response.body"), "\"connection\":1"), "the tunnel was not kept");
	job = fetch(to, "'proxy':'it','tls':{'ca':'ours'}");
	expect_that(strstr(json_text_at(job, "response.body"), "\"client\":null"), "the certificate was shown");
	expect_failed(fetch(to, "'proxy':'it'"), "tls_failed", "tls");
	ck_assert_uint_eq(proxy_connections(proxy), 3);
	proxy_stop(proxy);
	tls_origin_stop(origin);
}
END_TEST

START_TEST(a_tls_proxy_is_verified)
{
	struct proxy_options options = {.to_port = origin_port(the_origin), .tls = true};
	struct proxy *proxy = proxy_start(&options);
	const char *ca = text("--origin-ca=theirs=%s", file_with("proxy-ca.pem", proxy_ca(proxy)));

	start_server(SERVER_GUARDED, option_of("it", "https://", proxy), ca, "--allow-insecure-tls");
	/* Neither a spec's bundle nor its insecure is about the proxy. */
	expect_failed(fetch("http://8.8.8.8/", "'proxy':'it'"), "connect_failed", "connect");
	expect_failed(fetch("http://8.8.8.8/", "'proxy':'it','tls':{'ca':'theirs'}"), "connect_failed", "connect");
	expect_failed(fetch("https://8.8.8.8/", "'proxy':'it','tls':{'insecure':true}"), "connect_failed", "connect");
	ck_assert_uint_eq(proxy_requests(proxy), 0);
	proxy_stop(proxy);
}
END_TEST

/* ---- the guard */

static const char *const guarded[] = {
	"http://127.0.0.1/",
	"http://127.1/",
	"http://0x7f000001/",
	"http://10.0.0.1/",
	"http://169.254.169.254/latest",
	"http://[::1]/",
	"http://[::ffff:127.0.0.1]/",
	"http://[64:ff9b::7f00:1]/",
	"http://localhost/",
	"https://192.168.1.1/",
	"http://100.64.0.1/",
};

START_TEST(private_targets_are_refused_unasked)
{
	start_server(SERVER_GUARDED, http_option, socks_option);
	for (size_t i = 0; i < COUNT_OF(guarded); i++)
		for (size_t k = 0; k < COUNT_OF(both); k++)
			expect_failed(fetch(guarded[i], "'proxy':'%s'", both[k]), "denied_by_policy", "policy");
	ck_assert_uint_eq(proxy_connections(http_proxy) + proxy_connections(socks_proxy), 0);
}
END_TEST

START_TEST(redirects_are_judged)
{
	start_server(SERVER_GUARDED, http_option);
	json_t *job =
		fetch(text("http://8.8.8.8/redirect-to?url=%s", escaped("http://127.0.0.1:9/x")), "'proxy':'web'");

	expect_failed(job, "denied_by_policy", "policy");
	ck_assert_uint_eq(proxy_requests(http_proxy), 1);
	/* And to a public one, by the same proxy. */
	job = fetch(text("http://8.8.8.8/redirect-to?url=%s", escaped("http://8.8.4.4:81/text/5")), "'proxy':'web'");
	expect(job, "response.body_bytes", "5");
	const struct proxy_request *request = nth_request(http_proxy, proxy_requests(http_proxy) - 1);
	expect_text(request->host, "8.8.4.4");
	ck_assert_uint_eq(request->port, 81);
}
END_TEST

START_TEST(denials_hold)
{
	start_server(SERVER_GUARDED, "--egress-deny=8.8.8.0/24", "--egress-deny=*.evil.example", http_option,
		"--proxy-resolves=web");
	expect_failed(fetch("http://8.8.8.8/", "'proxy':'web'"), "denied_by_policy", "policy");
	expect_failed(fetch("http://a.evil.example/", "'proxy':'web'"), "denied_by_policy", "policy");
	ck_assert_uint_eq(proxy_connections(http_proxy), 0);
}
END_TEST

START_TEST(a_proxy_may_look_names_up)
{
	struct proxy *proxy = _i == 0 ? http_proxy : socks_proxy;

	start_server(SERVER_GUARDED, http_option, socks_option, "--proxy-resolves=web", "--proxy-resolves=sock");
	json_t *job = fetch("http://no.such.name.example:81/text/5", "'proxy':'%s'", both[_i]);

	expect(job, "response.body_bytes", "5");
	expect(job, "attempts.0.timings_ms.dns", "null");
	const struct proxy_request *request = nth_request(proxy, 0);
	expect_text(request->host, "no.such.name.example");
	ck_assert_uint_eq(request->port, 81);
	/* Addresses are judged all the same. */
	expect_failed(fetch("http://127.0.0.1/", "'proxy':'%s'", both[_i]), "denied_by_policy", "policy");
	expect_failed(fetch("http://2130706433/", "'proxy':'%s'", both[_i]), "denied_by_policy", "policy");
	expect_failed(fetch("http://[::1]/", "'proxy':'%s'", both[_i]), "denied_by_policy", "policy");
	/* So are names that are special in themselves. */
	expect_failed(fetch("http://localhost/", "'proxy':'%s'", both[_i]), "denied_by_policy", "policy");
	expect_failed(fetch("http://a.localhost./", "'proxy':'%s'", both[_i]), "denied_by_policy", "policy");
	expect_failed(
		fetch("http://metadata.google.internal/", "'proxy':'%s'", both[_i]), "denied_by_policy", "policy");
	ck_assert_uint_eq(proxy_requests(proxy), 1);
}
END_TEST

/* ---- connections */

START_TEST(tunnels_are_not_mixed_up)
{
	struct proxy_options options = {.to_port = origin_port(the_origin)};
	struct proxy *proxy = proxy_start(&options);
	const char *to = url("/text/5");

	/* The same proxy by two names, with two users: libcurl by itself would take these for one. */
	start_server(option_of("a", "http://one:1@", proxy), option_of("b", "http://two:2@", proxy),
		option_of("c", "socks5h://one:1@", socks_proxy), "--workers=1");
	for (int i = 0; i < 3; i++) {
		expect(fetch(to, ""), "state", "'succeeded'");
		expect(fetch(to, "'proxy':'a'"), "state", "'succeeded'");
		expect(fetch(to, "'proxy':'b'"), "state", "'succeeded'");
	}
	ck_assert_uint_eq(proxy_connections(proxy), 2);
	expect_text(nth_request(proxy, 0)->user, "one:1");
	expect_text(nth_request(proxy, 1)->user, "two:2");
	expect_failed(fetch(to, "'proxy':'c'"), "connect_failed", "connect");
	expect(fetch(to, ""), "state", "'succeeded'");
	/* Another target has a tunnel of its own. */
	expect(fetch("http://8.8.8.8/text/5", "'proxy':'a'"), "state", "'succeeded'");
	expect(fetch("http://8.8.4.4/text/5", "'proxy':'a'"), "state", "'succeeded'");
	ck_assert_uint_eq(proxy_connections(proxy), 4);
	proxy_stop(proxy);
}
END_TEST

/* ---- failures */

static const struct {
	struct proxy_options options;
	const char *word;
} failures[] = {
	{{.status = 407}, "the proxy it answered 407 to CONNECT"},
	{{.status = 403}, "the proxy it answered 403 to CONNECT"},
	{{.status = 502}, "the proxy it answered 502 to CONNECT"},
	{{.status = 302}, "the proxy it answered 302 to CONNECT"},
	{{.user = "other:word"}, "the proxy it answered 407 to CONNECT"},
	{{.socks = true, .socks_reply = 5}, "the proxy it: "},
	{{.socks = true, .socks_reply = 2}, "the proxy it: "},
	{{.socks = true, .user = "other:word"}, "the proxy it: "},
};

START_TEST(a_proxys_no_is_told)
{
	struct proxy *proxy = proxy_start(&failures[_i].options);
	const char *scheme = failures[_i].options.socks ? "socks5h://me:" SECRET "@" : "http://me:" SECRET "@";

	start_server(SERVER_GUARDED, option_of("it", scheme, proxy));
	json_t *job = fetch("http://8.8.8.8/", "'proxy':'it'");

	expect_failed(job, "connect_failed", "connect");
	expect(job, "response", "null");
	const char *message = json_text_at(job, "error.message");
	expect_that(strstr(message, failures[_i].word), "the message is \"%s\"", message);
	expect_that(!strstr(message, "s3cret") && !strstr(message, "me:"), "the message is \"%s\"", message);
	expect_failed(fetch("https://8.8.8.8/", "'proxy':'it'"), "connect_failed", "connect");
	proxy_stop(proxy);
}
END_TEST

START_TEST(a_proxy_that_is_away_is_told)
{
	struct proxy_options options = {.silent = true};
	struct proxy *proxy = proxy_start(&options);

	start_server(SERVER_GUARDED, text("--proxy=it=http://127.0.0.1:%u", closed_port()),
		option_of("silent", "http://", proxy), "--proxy=lost=http://no.such.host.invalid:3128");
	json_t *job = fetch("http://8.8.8.8/", "'proxy':'it'");

	expect_failed(job, "connect_failed", "connect");
	expect(job, "error.message", "'the proxy it cannot be reached: Connection refused'");
	expect(job, "error.retryable", "true");
	expect_failed(
		fetch("https://8.8.8.8/", "'proxy':'silent','connect_timeout':0.3"), "connect_timeout", "connect");
	job = fetch("http://8.8.8.8/", "'proxy':'lost'");
	expect_failed(job, "connect_failed", "connect");
	expect_that(strstr(json_text_at(job, "error.message"), "the proxy lost"), "it is not named");
	proxy_stop(proxy);
}
END_TEST

/* ---- the configuration */

static const struct {
	const char *more, *pointer;
} refused[] = {
	{"'proxy':'other'", "'/proxy'"},
	{"'proxy':''", "'/proxy'"},
	{"'proxy':7", "'/proxy'"},
	{"'proxy':'http://127.0.0.1:9'", "'/proxy'"},
};

START_TEST(an_unknown_proxy_is_refused)
{
	start_server(http_option);
	for (size_t i = 0; i < COUNT_OF(refused); i++) {
		struct client_reply *reply = post("/v1/jobs", "{'url':'%s',%s}", url("/text/5"), refused[i].more);

		expect_problem(reply, 400, refused[i].pointer);
		expect_that(!strstr(reply->body.data, "web"), "a name is told: %s", reply->body.data);
	}
	const char *key = new_key();
	const char *spec = text("'url':'%s','idempotency_key':'%s'", url("/text/5"), key);
	expect_status(post("/v1/jobs", "{%s,'proxy':'web'}", spec), 202);
	expect_status(post("/v1/jobs", "{%s,'proxy':'web'}", spec), 200);
	expect_status(post("/v1/jobs", "{%s}", spec), 422);
}
END_TEST

START_TEST(bad_proxies_are_told_at_the_start)
{
	static const char *const bad[] = {
		"it",
		"=http://h:1",
		"it=",
		"it=ftp://u:s3cret@h:1",
		"it=socks5://u:s3cret@h:1",
		"it=http://u:s3cret@h",
		"it=http://u:s3cret@h:0",
		"it=http://u:s3cret@h:1/x",
		"it=http://u:s3cret@:1",
		"it=http://u:s3cret@1.2.3:4",
		"it=http://:s3cret@h:1",
		"it=http://u:s3cret%0a@h:1",
		"it=http://u:s3cret%4@h:1",
		"i t=http://u:s3cret@h:1",
		"it=http://u:s3cret@[::g]:1",
	};
	const struct server_run *run;

	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		run = run_server(text("--proxy=%s", bad[i]), "--check-config");
		expect_that(run->status == 2 && strstr(run->err, "--proxy: "), "%s: exit %d, \"%s\"", bad[i],
			run->status, run->err);
		expect_that(!strstr(run->err, "s3cret"), "the password is told: \"%s\"", run->err);
	}
	run = run_server("--proxy=it=http://h:1", "--proxy=it=http://h:2", "--check-config");
	expect_that(run->status == 2 && strstr(run->err, "the name it is there already"), "\"%s\"", run->err);
	run = run_server("--proxy-resolves=it", "--check-config");
	expect_that(run->status == 2 && strstr(run->err, "--proxy-resolves: "), "\"%s\"", run->err);
	run = run_server("--proxy=it=SOCKS5H://a%40:b%3A@[::1]:1/", "--proxy=b=https://proxy.example:443",
		"--proxy-resolves=b", "--check-config");
	expect_that(run->status == 0, "\"%s\"", run->err);
}
END_TEST

static void
reload(struct server *server, size_t before)
{
	server_signal(server, SIGHUP);
	while (server_count_lines(server, "reloaded tokens") <= before)
		expect_status(get("/livez"), 200); /* passes some time */
}

/* Writes the file, with this user for the one proxy. */
static const char *
configured(const char *user)
{
	return file_with(
		"fetchpool.conf", text("proxy = {'web=http://%s@127.0.0.1:%u'}\n", user, proxy_port(http_proxy)));
}

START_TEST(proxies_are_reloaded)
{
	const char *config = configured("me:wr0ng");
	struct server *server = start_server(SERVER_GUARDED, "--config", config, "--max-in-flight", "1", "--workers=1",
		"--egress-allow", "127.0.0.1");

	expect_failed(fetch("http://8.8.8.8/", "'proxy':'web'"), "connect_failed", "connect");
	configured("me:" SECRET);
	reload(server, 0);
	expect(fetch("http://8.8.8.8/text/5", "'proxy':'web'"), "state", "'succeeded'");
	size_t so_far = proxy_connections(http_proxy);
	reload(server, 1);
	expect(fetch("http://8.8.8.8/text/5", "'proxy':'web'"), "state", "'succeeded'");
	ck_assert_uint_eq(proxy_connections(http_proxy), so_far); /* nothing changed */
	/* A tunnel of the old password's is not used with the new one. */
	configured("me:wr0ng");
	reload(server, 2);
	expect_failed(fetch("http://8.8.8.8/text/5", "'proxy':'web'"), "connect_failed", "connect");
	/* A job whose proxy goes does not go without. */
	json_t *first = submit(url("/hold?k=first"), "");
	await_seen("first");
	json_t *job = submit(url("/text/5?k=direct"), "'proxy':'web'");
	file_with("fetchpool.conf", "\n");
	reload(server, 3);
	origin_release(the_origin, "first");
	expect(job_done(first), "state", "'succeeded'");
	expect_failed(job_done(job), "denied_by_policy", "policy");
	ck_assert_uint_eq(origin_count(the_origin, "direct"), 0);
	expect_that(!strstr(said_by(server), "s3cret") && !strstr(said_by(server), "wr0ng"), "a password was logged");
	expect_that(!strstr(get("/v1/info")->body.data, "s3cret"), "a password is told");
}
END_TEST

START_TEST(nothing_comes_from_the_environment)
{
	const char *proxy = text("http://127.0.0.1:%u", proxy_port(http_proxy));
	const char *home = new_state_dir();
	const char *netrc = text("%s/.netrc", home);
	FILE *file = fopen(netrc, "w");

	ck_assert(file != NULL && fputs("default login me password s3cret\n", file) >= 0 && fclose(file) == 0);
	start_server(text("http_proxy=%s", proxy), text("https_proxy=%s", proxy), text("ALL_PROXY=%s", proxy),
		text("all_proxy=%s", proxy), "NO_PROXY=", "no_proxy=", text("HOME=%s", home), text("NETRC=%s", netrc),
		text("CURL_HOME=%s", home), http_option);
	json_t *echo = echo_of("");
	expect(echoed(echo, "authorization"), "", "[]");
	expect(fetch(text("http://localhost:%u/", origin_port(the_origin)), ""), "done", "true");
	expect(fetch("https://127.0.0.1:9/", ""), "error.code", "'connect_failed'");
	ck_assert_uint_eq(proxy_connections(http_proxy), 0);
	/* And none of it changes how a named one is used. */
	expect(fetch(url("/text/5"), "'proxy':'web'"), "state", "'succeeded'");
	ck_assert_uint_eq(proxy_connections(http_proxy), 1);
}
END_TEST

START_TEST(no_cookie_is_kept)
{
	start_server(http_option);
	expect(fetch("http://127.0.0.1/text/5", "'proxy':'web'"), "state", "'succeeded'");
	json_t *job = fetch(url("/echo"), "'proxy':'web'");
	expect_that(!strstr(json_text_at(job, "response.body"), "a=1"), "a cookie was kept");
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("proxy");
	TCase *tcase = rig_case(suite, "proxy", NULL);

	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_add_test(tcase, a_connect_proxy_is_asked_for_an_address);
	tcase_add_test(tcase, a_socks_proxy_is_asked_for_an_address);
	tcase_add_loop_test(tcase, names_are_looked_up_here, 0, COUNT_OF(both));
	tcase_add_loop_test(tcase, the_next_address_is_tried, 0, 2);
	tcase_add_test(tcase, ipv6_targets_stand_in_brackets);
	tcase_add_loop_test(tcase, https_goes_through, 0, 3);
	tcase_add_test(tcase, a_tls_proxy_is_verified);
	tcase_add_test(tcase, private_targets_are_refused_unasked);
	tcase_add_test(tcase, redirects_are_judged);
	tcase_add_test(tcase, denials_hold);
	tcase_add_loop_test(tcase, a_proxy_may_look_names_up, 0, COUNT_OF(both));
	tcase_add_test(tcase, tunnels_are_not_mixed_up);
	tcase_add_loop_test(tcase, a_proxys_no_is_told, 0, COUNT_OF(failures));
	tcase_add_test(tcase, a_proxy_that_is_away_is_told);
	tcase_add_test(tcase, an_unknown_proxy_is_refused);
	tcase_add_test(tcase, bad_proxies_are_told_at_the_start);
	tcase_add_test(tcase, proxies_are_reloaded);
	tcase_add_test(tcase, nothing_comes_from_the_environment);
	tcase_add_test(tcase, no_cookie_is_kept);
	return rig_run(suite);
}
