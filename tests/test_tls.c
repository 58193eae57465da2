/* The front door over TLS: what is spoken, which certificate, what a reload does, and that all calls work as without. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "rig.h"

#include <gnutls/gnutls.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#include "certs.h"
#include "tunnel.h"

static struct tunnel *tunnels[8];
static size_t tunnel_count;

static void
close_tunnels(void)
{
	while (tunnel_count > 0)
		tunnel_close(tunnels[--tunnel_count]);
}

static struct tunnel *
tunnel_by(struct tunnel_rules rules)
{
	rules.port = rules.port ? rules.port : server_port(the_server, 0);
	rules.authority = cert_authority();
	ck_assert(tunnel_count < COUNT_OF(tunnels));
	return tunnels[tunnel_count++] = tunnel_open(&rules);
}

/* Calls go over TLS from now on. */
static struct tunnel *
use_tunnel(struct tunnel_rules rules)
{
	struct tunnel *tunnel = tunnel_by(rules);

	server_use_port(the_server, tunnel_port(tunnel));
	return tunnel;
}

static const char *
cert_word(const struct cert_pair *pair)
{
	return text("FETCHPOOL_TLS_CERT=%s", pair->cert);
}

static const char *
key_word(const struct cert_pair *pair)
{
	return text("FETCHPOOL_TLS_KEY=%s", pair->key);
}

/* A daemon with a fresh certificate, and calls that go over TLS. */
static struct tunnel *
start_tls(void)
{
	struct cert_pair pair = cert_make(&(struct cert_wish){.name = "server"});

	start_server(cert_word(&pair), key_word(&pair));
	return use_tunnel((struct tunnel_rules){0});
}

/* ---- calls */

START_TEST(calls_work_as_without)
{
	struct tunnel *tunnel = start_tls();
	json_t *job = fetch(url("/text/5"), "");
	struct client_wire *wire;

	expect(job, "state", "'succeeded'");
	expect_that(server_count_lines(the_server, "listening on https://127.0.0.1:") == 1, "no line with https");
	expect_status(call_with("HEAD", "", "/v1/jobs/%s/body", id_of(job)), 200);
	expect_problem(post("/v1/jobs", "nonsense"), 400, NULL);
	expect_problem(get("/v1/jobs/" UNKNOWN_ID), 404, NULL);
	wire = open_wire();
	size_t before = tunnel_sight(tunnel).handshakes;
	for (int i = 0; i < 20; i++) {
		wire_get(wire, "/v1/jobs/%s", id_of(job));
		expect_status(wire_receive(wire), 200);
	}
	expect_that(tunnel_sight(tunnel).handshakes <= before + 1, "a connection is not kept");
	expect_text(tunnel_sight(tunnel).protocol, "http/1.1");
}
END_TEST

START_TEST(large_bodies_go_both_ways)
{
	const size_t size = 3000000;
	json_t *job;

	start_tls();
	job = fetch(url("/bytes/%zu", size), "");
	struct client_reply *reply = get("/v1/jobs/%s/body", id_of(job));
	expect_status(reply, 200);
	expect_that(
		reply->body.used == size && !memcmp(reply->body.data, origin_pattern_of(size), size), "not that body");
	reply = call_with("GET", "Range: bytes=1000000-2499999\r\n", "/v1/jobs/%s/body", id_of(job));
	expect_status(reply, 206);
	expect_that(
		reply->body.used == 1500000 && !memcmp(reply->body.data, origin_pattern_of(size) + 1000000, 1500000),
		"not that range");
	job = fetch(url("/echo"), "'method':'POST','body':'%s'", repeated("0123456789", 30000));
	expect(job, "state", "'succeeded'");
}
END_TEST

/* Suspended and resumed, with bytes of the next request in GnuTLS's hands already. */
START_TEST(waits_are_parked_and_woken)
{
	struct call *calls[30];
	const char *key = new_key();

	start_tls();
	for (size_t i = 0; i < COUNT_OF(calls); i++)
		calls[i] = call_start("POST", "/v1/jobs?wait=20s", jtext("{'url':'%s'}", url("/hold?k=%s", key)));
	await_seen(key);
	expect_that(await_metric("fetchpool_waiters", 30), "they do not wait");
	origin_release(the_origin, key);
	for (size_t i = 0; i < COUNT_OF(calls); i++) {
		struct client_reply *reply = call_end(calls[i]);

		expect_status(reply, 200);
		expect(reply->json, "state", "'succeeded'");
	}
}
END_TEST

START_TEST(requests_may_follow_close)
{
	json_t *job;
	struct client_wire *wire;

	start_tls();
	job = submit_later("");
	wire = open_wire();
	wire_send(wire,
		"GET /v1/jobs/%s?wait=100ms HTTP/1.1\r\nHost: localhost\r\n\r\n"
		"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\nGET /v1/info HTTP/1.1\r\nHost: localhost\r\n\r\n",
		id_of(job));
	for (int i = 0; i < 3; i++)
		expect_status(wire_receive(wire), 200);
}
END_TEST

START_TEST(a_last_answer_ends_whole)
{
	struct tunnel *tunnel = start_tls();
	struct client_wire *wire = open_wire();

	wire_send(wire, "GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
	expect_status(wire_receive(wire), 200);
	expect_that(client_sees_end(wire), "the connection stays");
	expect_that(tunnel_await_ends(tunnel, 1), "no end is seen");
	expect_that(tunnel_sight(tunnel).whole_ends == 1, "the end is not announced: an answer could have been cut");
}
END_TEST

static const char *const malformed[] = {
	"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: zz\r\n\r\n",
	"GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
};

START_TEST(malformed_requests_are_refused_once)
{
	start_tls();
	struct client_wire *wire = open_wire();

	wire_send(wire, "%s", malformed[_i]);
	struct client_reply *reply = wire_receive(wire);
	expect_status(reply, 400);
	expect_that(!memmem(reply->body.data, reply->body.used, "HTTP/1.1", 8), "two heads: %s", reply->body.data);
	expect_that(client_sees_end(wire), "the connection stays");
}
END_TEST

START_TEST(sound_requests_before_it_are_answered)
{
	start_tls();
	struct client_wire *wire = open_wire();

	wire_send(wire,
		"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\nGET /v1/info HTTP/1.1\r\nHost: localhost\r\n\r\n"
		"GET /livez HTTP/1.1\r\nHost : localhost\r\n\r\nGET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n");
	expect_status(wire_receive(wire), 200);
	expect_status(wire_receive(wire), 200);
	expect_status(wire_receive(wire), 400);
	expect_that(client_sees_end(wire), "the connection stays");
}
END_TEST

START_TEST(a_slow_head_has_its_time)
{
	struct cert_pair pair = cert_make(&(struct cert_wish){.name = "server"});

	start_server(cert_word(&pair), key_word(&pair), "--head-timeout", "1s");
	use_tunnel((struct tunnel_rules){0});
	struct client_wire *wire = open_wire();
	wire_send(wire, "GET /livez HTTP/1.1\r\nHost: local");
	expect_status(wire_receive(wire), 408);
	expect_that(client_sees_end(wire), "the connection stays");
}
END_TEST

/* ---- what is spoken */

static const struct {
	const char *priorities, *version; /* NULL: refused */
} spoken[] = {
	{"NORMAL", "TLS1.3"},
	{"NORMAL:-VERS-ALL:+VERS-TLS1.3", "TLS1.3"},
	{"NORMAL:-VERS-ALL:+VERS-TLS1.2", "TLS1.2"},
	{"NORMAL:-VERS-ALL:+VERS-TLS1.2:-CIPHER-ALL:+AES-128-GCM", "TLS1.2"},
	{"NORMAL:-VERS-ALL:+VERS-TLS1.1:%VERIFY_ALLOW_BROKEN", NULL},
	{"NORMAL:-VERS-ALL:+VERS-TLS1.0", NULL},
	{"NORMAL:-VERS-ALL:+VERS-TLS1.2:-CIPHER-ALL:+AES-128-CBC:+AES-256-CBC", NULL},
	{"NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+RSA", NULL},
	{"NORMAL:-VERS-ALL:+VERS-TLS1.2:-SIGN-ALL:+SIGN-RSA-SHA1:+SIGN-ECDSA-SHA1", NULL},
};

START_TEST(new_versions_alone_are_spoken)
{
	struct cert_pair pair = cert_make(&(struct cert_wish){.name = "rsa", .kind = CERT_RSA});

	start_server(cert_word(&pair), key_word(&pair));
	struct tunnel *tunnel = use_tunnel((struct tunnel_rules){.priorities = spoken[_i].priorities});
	struct client_reply *reply = get("/livez");
	struct tunnel_sight sight = tunnel_sight(tunnel);

	if (!spoken[_i].version) {
		expect_that(reply->status == 0 && sight.failures == 1, "%s is spoken", spoken[_i].priorities);
		return;
	}
	expect_status(reply, 200);
	expect_text(sight.version, spoken[_i].version);
}
END_TEST

START_TEST(plain_http_gets_no_word)
{
	struct cert_pair pair = cert_make(&(struct cert_wish){.name = "server"});

	start_server(cert_word(&pair), key_word(&pair));
	struct client_wire *wire = open_wire();
	wire_send(wire, "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n");
	struct client_reply *reply = wire_receive(wire);
	expect_that(reply->status == 0, "it answers plain http with %d", reply->status);
	expect_that(
		!wire->in.used || !memmem(wire->in.data, wire->in.used, "HTTP/", 5), "plain bytes: %s", wire->in.data);
}
END_TEST

START_TEST(unix_sockets_stay_plain)
{
	struct cert_pair pair = cert_make(&(struct cert_wish){.name = "server"});
	const char *path = text("%s/plain-%s.sock", server_directory(), new_key());

	start_server(cert_word(&pair), key_word(&pair), "--listen", "127.0.0.1:0", "--listen", text("unix:%s", path));
	server_use_unix(the_server, path);
	expect_status(get("/livez"), 200);
	expect_status(call_with("GET", "Origin: http://localhost\r\n", "/v1/info"), 200);
	server_use_unix(the_server, NULL);
	use_tunnel((struct tunnel_rules){0});
	expect_status(get("/livez"), 200);
}
END_TEST

START_TEST(targets_may_be_absolute)
{
	start_tls();
	expect_status(get("https://localhost/livez"), 200);
	expect_status(get("http://localhost/livez"), 400);
	expect_status(get("https://evil.example/v1/info"), 403);
}
END_TEST

START_TEST(silent_clients_hold_up_nobody)
{
	struct tunnel *tunnel = start_tls();
	unsigned port = tunnel_port(tunnel);
	struct client_wire *wires[60];

	server_use_port(the_server, server_port(the_server, 0));
	for (size_t i = 0; i < COUNT_OF(wires); i++) {
		wires[i] = open_wire();
		if (i % 2) /* half a handshake */
			client_send(wires[i], "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11);
	}
	server_use_port(the_server, port);
	expect(fetch(url("/echo"), ""), "state", "'succeeded'");
	expect_that(await_metric("fetchpool_client_connections", 60), "they are not let in");
	expect_that(end_server(the_server, SIGTERM) == 0, "they hold up the end");
}
END_TEST

/* Both libraries for TLS would write keys to the file that this names. */
START_TEST(no_keys_are_logged)
{
	struct cert_pair pair = cert_make(&(struct cert_wish){.name = "server"});
	const char *path = text("%s/keys-%s", server_directory(), new_key());
	struct stat status;

	start_server(cert_word(&pair), key_word(&pair), text("SSLKEYLOGFILE=%s", path));
	use_tunnel((struct tunnel_rules){0});
	expect_status(get("/livez"), 200);
	expect_that(stat(path, &status) != 0, "%s was written", path);
}
END_TEST

/* ---- guards */

static const struct {
	const char *host, *origin;
	int status;
} guarded[] = {
	{"localhost:8443", "https://localhost:8443", 200},
	{"localhost", "https://localhost", 200},
	{"[::1]:8443", "https://[::1]:8443", 200},
	{"[::1]", "https://[::1]", 200},
	{"fetch.internal", "https://fetch.internal", 200},
	{"fetch.internal:8443", "https://fetch.internal:8443", 200},
	{"fetch.internal:8443", NULL, 200},
	{"fetch.internal:8443", "http://fetch.internal:8443", 403},
	{"fetch.internal:8443", "https://fetch.internal", 403},
	{"[::1]:8443", "https://[::1]:8444", 403},
	{"[::1]:8443", "https://localhost:8443", 403},
	{"localhost:8443", "https://evil.example", 403},
	{"localhost:8443", "null", 403},
	{"other.internal:8443", "https://other.internal:8443", 403},
	{"other.internal:8443", NULL, 403},
};

START_TEST(guards_know_https)
{
	struct cert_pair pair = cert_make(&(struct cert_wish){.name = "server", .host = "fetch.internal"});

	start_server(cert_word(&pair), key_word(&pair), "--server-name", "fetch.internal");
	use_tunnel((struct tunnel_rules){.name = "fetch.internal"});
	for (size_t i = 0; i < COUNT_OF(guarded); i++) {
		struct client_reply *reply = call_request(&(struct client_request){
			.method = "GET",
			.target = "/v1/info",
			.host = guarded[i].host,
			.fields = guarded[i].origin ? text("Origin: %s\r\n", guarded[i].origin) : "",
		});

		expect_that(reply->status == guarded[i].status, "Host %s with Origin %s gives %d %s", guarded[i].host,
			guarded[i].origin ? guarded[i].origin : "none", reply->status,
			reply->error ? reply->error : "");
	}
}
END_TEST

START_TEST(ipv6_is_served_too)
{
	struct cert_pair pair = cert_make(&(struct cert_wish){.name = "server"});

	start_server(cert_word(&pair), key_word(&pair), "--listen", "[::1]:0");
	use_tunnel((struct tunnel_rules){.ipv6 = true});
	expect_status(get("/v1/info"), 200);
	expect_that(server_count_lines(the_server, "listening on https://[::1]:") == 1, "no line for it");
}
END_TEST

START_TEST(tokens_are_needed_all_the_same)
{
	struct cert_pair pair = cert_make(&(struct cert_wish){.name = "server"});
	const struct server_run *run = run_server("--listen", "0.0.0.0:0", "--state-dir", server_directory(),
		"--tls-cert", pair.cert, "--tls-key", pair.key);

	expect_that(run->status == 2 && strstr(run->err, "reachable from other machines"), "status %d: %s", run->status,
		run->err);
}
END_TEST

/* ---- certificates */

static const struct cert_wish chains[] = {
	{.name = "ec"},
	{.name = "rsa", .kind = CERT_RSA},
	{.name = "chain", .intermediate = true},
	{.name = "rsa-chain", .kind = CERT_RSA, .intermediate = true},
};

/* The client knows nothing but the authority at the top, and looks at the name. */
START_TEST(the_whole_chain_is_sent)
{
	struct cert_pair pair = cert_make(&chains[_i]);

	start_server(cert_word(&pair), key_word(&pair));
	struct tunnel *tunnel = use_tunnel((struct tunnel_rules){0});
	expect_status(get("/livez"), 200);
	struct tunnel_sight sight = tunnel_sight(tunnel);
	expect_text(sight.serial, pair.serial);
	expect_that(
		sight.chain_length == (chains[_i].intermediate ? 2 : 1), "%u certificates come", sight.chain_length);
}
END_TEST

START_TEST(an_old_certificate_is_told)
{
	struct cert_pair pair = cert_make(&(struct cert_wish){.name = "old", .expired = true});

	start_server(cert_word(&pair), key_word(&pair));
	expect_that(server_count_lines(the_server, "is out of date") == 1, "not told: %s", said_by(the_server));
	struct tunnel *tunnel = use_tunnel((struct tunnel_rules){0});
	expect_that(get("/livez")->status == 0 && tunnel_sight(tunnel).failures == 1, "the client took it");
}
END_TEST

/* The words in braces stand for files. */
static const struct {
	const char *words[4], *message;
} bad_pairs[] = {
	{{"--tls-cert", "{cert}"}, "--tls-cert {cert}: give --tls-key, too"},
	{{"--tls-key", "{key}"}, "--tls-key {key}: give --tls-cert, too"},
	{{"--tls-cert", "/nonexistent.crt", "--tls-key", "{key}"}, "--tls-cert: /nonexistent.crt: No such file"},
	{{"--tls-cert", "{cert}", "--tls-key", "/nonexistent.key"}, "--tls-key: /nonexistent.key: No such file"},
	{{"--tls-cert", "/", "--tls-key", "{key}"}, "--tls-cert: /: Is a directory"},
	{{"--tls-cert", "/dev/zero", "--tls-key", "{key}"}, "--tls-cert: /dev/zero: "},
	{{"--tls-cert", "{key}", "--tls-key", "{key}"}, "--tls-cert: {key} holds no certificate"},
	{{"--tls-cert", "{cert}", "--tls-key", "{cert}"}, "--tls-key: {cert} holds no private key"},
	{{"--tls-cert", "{cert}", "--tls-key", "{other}"}, "--tls-key: {other} is not the key of"},
	{{"--tls-cert", "{reversed}", "--tls-key", "{other}"},
		"--tls-key: {other} is not the key of the first certificate"},
	{{"--tls-cert", "{empty}", "--tls-key", "{key}"}, "--tls-cert: {empty} holds no certificate"},
};

static const char *
filled_in(const char *pattern, const struct cert_pair *pair, const struct cert_pair *other)
{
	const struct {
		const char *name, *value;
	} names[] = {{"{cert}", pair->cert}, {"{key}", pair->key}, {"{other}", other->key}, {"{reversed}", other->cert},
		{"{empty}", file_with("empty", "")}};

	for (size_t i = 0; pattern && i < COUNT_OF(names); i++) {
		const char *at = strstr(pattern, names[i].name);

		if (at)
			return text(
				"%.*s%s%s", (int)(at - pattern), pattern, names[i].value, at + strlen(names[i].name));
	}
	return pattern;
}

START_TEST(a_bad_pair_is_named)
{
	struct cert_pair pair = cert_make(&(struct cert_wish){.name = "server"});
	struct cert_pair other =
		cert_make(&(struct cert_wish){.name = "other", .intermediate = true, .reversed = true});
	const char *words[4];

	for (size_t i = 0; i < 4; i++)
		words[i] = filled_in(bad_pairs[_i].words[i], &pair, &other);
	const struct server_run *run = run_server(
		"--listen", "127.0.0.1:0", "--state-dir", server_directory(), words[0], words[1], words[2], words[3]);
	expect_that(run->status == 2, "exit status %d", run->status);
	expect_that(strstr(run->err, filled_in(bad_pairs[_i].message, &pair, &other)), "it says: %s", run->err);
}
END_TEST

/* ---- reloads */

static void
reload(const char *line)
{
	size_t before = server_count_lines(the_server, line);
	int64_t until = mono_ms() + SERVER_PATIENCE_MS;

	server_signal(the_server, SIGHUP);
	while (server_count_lines(the_server, line) == before)
		expect_that(mono_ms() < until, "not said: %s", line);
}

START_TEST(a_reload_brings_a_new_certificate)
{
	struct cert_pair old = cert_make(&(struct cert_wish){.name = "server"});

	start_server(cert_word(&old), key_word(&old));
	struct tunnel *tunnel = use_tunnel((struct tunnel_rules){0});
	struct client_wire *wire = open_wire();
	wire_get(wire, "/livez");
	expect_status(wire_receive(wire), 200);
	expect_text(tunnel_sight(tunnel).serial, old.serial);

	json_t *job = submit_later("");
	struct call *waiting = call_start("GET", text("/v1/jobs/%s?wait=30s", id_of(job)), NULL);
	expect_that(await_metric("fetchpool_waiters", 1), "nobody waits");
	struct cert_pair new = cert_make(&(struct cert_wish){.name = "server", .kind = CERT_RSA, .intermediate = true});
	reload("reloaded tokens, certificate");
	size_t handshakes = tunnel_sight(tunnel).handshakes;
	expect_status(get("/livez"), 200);
	expect_that(tunnel_sight(tunnel).handshakes == handshakes + 1, "no new connection");
	expect_text(tunnel_sight(tunnel).serial, new.serial);

	/* Those that were open go on, one that waits too. */
	wire_get(wire, "/livez");
	expect_status(wire_receive(wire), 200);
	expect_status(poke("/v1/jobs/%s/cancel", id_of(job)), 200);
	expect_status(call_end(waiting), 200);
	expect_that(metric("fetchpool_tls_certificate_expires_timestamp_seconds") > 1e9, "the end is not told");
}
END_TEST

START_TEST(a_bad_reload_keeps_the_old_one)
{
	struct cert_pair old = cert_make(&(struct cert_wish){.name = "server"});

	start_server(cert_word(&old), key_word(&old));
	struct tunnel *tunnel = use_tunnel((struct tunnel_rules){0});
	file_with("server.crt", "nonsense");
	reload("nothing reloaded: --tls-cert: ");
	expect_status(get("/livez"), 200);
	cert_make(&(struct cert_wish){.name = "unlike"});
	file_with("server.crt", "");
	reload("nothing reloaded: --tls-cert: ");
	expect_status(get("/livez"), 200);
	expect_text(tunnel_sight(tunnel).serial, old.serial);

	struct cert_pair new = cert_make(&(struct cert_wish){.name = "server"});
	reload("reloaded tokens, certificate");
	expect_status(get("/livez"), 200);
	expect_text(tunnel_sight(tunnel).serial, new.serial);
}
END_TEST

START_TEST(reloads_beside_handshakes)
{
	struct call *calls[40];

	start_tls();
	for (size_t i = 0; i < COUNT_OF(calls); i++) {
		calls[i] = call_start("GET", "/v1/info", NULL);
		if (i % 10 == 5) {
			cert_make(&(struct cert_wish){.name = "server"});
			server_signal(the_server, SIGHUP);
		}
	}
	for (size_t i = 0; i < COUNT_OF(calls); i++)
		expect_status(call_end(calls[i]), 200);
}
END_TEST

START_TEST(tls_cannot_come_and_go)
{
	struct cert_pair pair = cert_make(&(struct cert_wish){.name = "server"});
	const char *lines = text("egress-allow = 127.0.0.0/8\ntls-cert = %s\ntls-key = %s\n", pair.cert, pair.key);
	const char *path = file_with("tls.conf", lines);

	start_server(SERVER_GUARDED, "--config", path);
	file_with("tls.conf", "egress-allow = 127.0.0.0/8\n");
	reload("nothing reloaded: --tls-cert is gone");
	use_tunnel((struct tunnel_rules){0});
	expect_status(get("/livez"), 200);
	end_server(the_server, SIGTERM);

	start_server(SERVER_GUARDED, "--config", path);
	file_with("tls.conf", lines);
	reload("nothing reloaded: --tls-cert is new");
	expect_status(get("/livez"), 200);
}
END_TEST

/* ---- the end */

START_TEST(a_drain_answers_all_who_wait)
{
	struct call *calls[10];

	start_tls();
	json_t *job = submit_later("");
	for (size_t i = 0; i < COUNT_OF(calls); i++)
		calls[i] = call_start("GET", text("/v1/jobs/%s?wait=30s", id_of(job)), NULL);
	expect_that(await_metric("fetchpool_waiters", COUNT_OF(calls)), "they do not wait");
	server_signal(the_server, SIGTERM);
	for (size_t i = 0; i < COUNT_OF(calls); i++)
		expect_status(call_end(calls[i]), 200);
	expect_that(server_wait(the_server) == 0, "not exit status 0");
}
END_TEST

static TCase *
tls_case(Suite *suite, const char *name)
{
	TCase *tcase = rig_case(suite, name, NULL);

	tcase_add_checked_fixture(tcase, NULL, close_tunnels);
	return tcase;
}

int
main(void)
{
	Suite *suite = suite_create("tls");
	TCase *calls = tls_case(suite, "calls"), *spoken_here = tls_case(suite, "what is spoken");
	TCase *certificates = tls_case(suite, "certificates");

	tcase_add_test(calls, calls_work_as_without);
	tcase_add_test(calls, large_bodies_go_both_ways);
	tcase_add_test(calls, waits_are_parked_and_woken);
	tcase_add_test(calls, requests_may_follow_close);
	tcase_add_test(calls, a_last_answer_ends_whole);
	tcase_add_loop_test(calls, malformed_requests_are_refused_once, 0, COUNT_OF(malformed));
	tcase_add_test(calls, sound_requests_before_it_are_answered);
	tcase_add_test(calls, a_slow_head_has_its_time);
	tcase_add_test(calls, a_drain_answers_all_who_wait);

	tcase_add_loop_test(spoken_here, new_versions_alone_are_spoken, 0, COUNT_OF(spoken));
	tcase_add_test(spoken_here, plain_http_gets_no_word);
	tcase_add_test(spoken_here, unix_sockets_stay_plain);
	tcase_add_test(spoken_here, targets_may_be_absolute);
	tcase_add_test(spoken_here, silent_clients_hold_up_nobody);
	tcase_add_test(spoken_here, no_keys_are_logged);
	tcase_add_test(spoken_here, guards_know_https);
	tcase_add_test(spoken_here, ipv6_is_served_too);
	tcase_add_test(spoken_here, tokens_are_needed_all_the_same);

	tcase_add_loop_test(certificates, the_whole_chain_is_sent, 0, COUNT_OF(chains));
	tcase_add_test(certificates, an_old_certificate_is_told);
	tcase_add_loop_test(certificates, a_bad_pair_is_named, 0, COUNT_OF(bad_pairs));
	tcase_add_test(certificates, a_reload_brings_a_new_certificate);
	tcase_add_test(certificates, a_bad_reload_keeps_the_old_one);
	tcase_add_test(certificates, reloads_beside_handshakes);
	tcase_add_test(certificates, tls_cannot_come_and_go);
	return rig_run(suite);
}
