/* What a spec says of TLS: CA bundles, client certificates, no check at all; and that none of it rubs off on another job. */
#include "rig.h"
#include "tls_origin.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct tls_origin *good;
static const char *ca_option, *cert_option;

static const char *
https(struct tls_origin *origin, const char *path)
{
	return text("https://127.0.0.1:%u%s", tls_origin_port(origin), path);
}

static void
set_up(void)
{
	good = tls_origin_start(&(struct tls_origin_options){.ask_client = true});
	ca_option = text("--origin-ca=ours=%s", file_with("ca.pem", tls_origin_ca(good)));
	cert_option = text("--origin-cert=mine=%s", file_with("client.pem", tls_origin_client(good)));
}

static void
tear_down(void)
{
	tls_origin_stop(good);
}

/* What the origin saw of the connection. */
static json_t *
seen_by(json_t *job)
{
	expect(job, "state", "'succeeded'");
	const char *body = json_text_at(job, "response.body");
	json_t *seen = body == NULL ? NULL : json_loads(body, 0, NULL);

	expect_that(seen != NULL, "no body");
	json_object_set_new(job, "seen", seen);
	return seen;
}

START_TEST(verified_by_default)
{
	start_server(ca_option);
	json_t *job = fetch(https(good, "/"), "");

	expect_failed(job, "tls_failed", "tls");
	expect(job, "error.retryable", "false");
	expect(job, "attempts.0.timings_ms.tls", "null");
	ck_assert_uint_eq(tls_origin_requests(good), 0);
}
END_TEST

START_TEST(a_bundle_is_trusted_where_it_is_named)
{
	start_server(ca_option, cert_option);
	json_t *seen = seen_by(fetch(https(good, "/x"), "'tls':{'ca':'ours'}"));

	expect(seen, "client", "null");
	expect(seen, "target", "'/x'");
	/* The same connection again: it was made with the same settings. */
	expect(seen_by(fetch(https(good, "/y"), "'tls':{'ca':'ours'}")), "connection", "1");
	/* And not without the bundle, though it stands open. */
	expect_failed(fetch(https(good, "/"), ""), "tls_failed", "tls");
	expect_failed(fetch(https(good, "/"), "'tls':{}"), "tls_failed", "tls");
	expect_failed(fetch(https(good, "/"), "'tls':{'client_cert':'mine'}"), "tls_failed", "tls");
	ck_assert_uint_eq(tls_origin_requests(good), 2);
}
END_TEST

START_TEST(a_bundle_may_be_the_default)
{
	start_server(text("--origin-ca=default=%s", file_with("ca.pem", tls_origin_ca(good))));
	expect(fetch(https(good, "/"), ""), "state", "'succeeded'");
	expect(fetch(https(good, "/"), "'tls':{'ca':'default'}"), "state", "'succeeded'");
}
END_TEST

static const enum tls_origin_cert bad_certs[] = {TLS_ORIGIN_SELF_SIGNED, TLS_ORIGIN_EXPIRED, TLS_ORIGIN_WRONG_HOST};

START_TEST(bad_certificates_fail)
{
	struct tls_origin *origin = tls_origin_start(&(struct tls_origin_options){.cert = bad_certs[_i]});
	const char *option = text("--origin-ca=ours=%s", file_with("its-ca.pem", tls_origin_ca(origin)));

	start_server(option, "--allow-insecure-tls");
	expect_failed(fetch(https(origin, "/"), "'tls':{'ca':'ours'}"), "tls_failed", "tls");
	ck_assert_uint_eq(tls_origin_requests(origin), 0);
	/* Then without a check, and with one again: neither connection nor session is the next one's. */
	expect(fetch(https(origin, "/"), "'tls':{'insecure':true}"), "state", "'succeeded'");
	expect_failed(fetch(https(origin, "/"), "'tls':{'ca':'ours'}"), "tls_failed", "tls");
	expect_failed(fetch(https(origin, "/"), "'tls':{'ca':'ours','insecure':false}"), "tls_failed", "tls");
	expect(fetch(https(origin, "/"), "'tls':{'insecure':true},'method':'POST'"), "state", "'succeeded'");
	expect_failed(fetch(https(origin, "/"), "'tls':{'ca':'ours'},'method':'POST'"), "tls_failed", "tls");
	expect_failed(fetch(https(origin, "/"), "'method':'POST'"), "tls_failed", "tls");
	ck_assert_uint_eq(tls_origin_requests(origin), 2);
	tls_origin_stop(origin);
}
END_TEST

START_TEST(insecure_does_not_rub_off)
{
	start_server(ca_option, "--allow-insecure-tls", "--workers", "1");
	for (int i = 0; i < 3; i++) {
		expect(fetch(https(good, "/"), "'tls':{'insecure':true}"), "state", "'succeeded'");
		expect_failed(fetch(https(good, "/"), ""), "tls_failed", "tls");
		expect(fetch(https(good, "/"), "'tls':{'ca':'ours'}"), "state", "'succeeded'");
		expect_failed(fetch(https(good, "/"), "'method':'POST'"), "tls_failed", "tls");
	}
	ck_assert_uint_eq(tls_origin_requests(good), 6);
}
END_TEST

START_TEST(a_certificate_is_shown_where_it_is_named)
{
	start_server(ca_option, cert_option, "--workers", "1");
	for (int i = 0; i < 3; i++) {
		/* A POST has a connection of its own, on which a session could be resumed. */
		const char *method = i == 0 ? "GET" : "POST";
		const char *with = text("'tls':{'ca':'ours','client_cert':'mine'},'method':'%s'", method);
		const char *without = text("'tls':{'ca':'ours'},'method':'%s'", method);

		expect(seen_by(fetch(https(good, "/"), "%s", without)), "client", "null");
		expect(seen_by(fetch(https(good, "/"), "%s", with)), "client", "'the client'");
		expect(seen_by(fetch(https(good, "/"), "%s", without)), "client", "null");
	}
}
END_TEST

START_TEST(a_certificate_does_not_follow_a_redirect)
{
	struct tls_origin *other = tls_origin_start(&(struct tls_origin_options){.ask_client = true});
	const char *both = text("%s%s", tls_origin_ca(good), tls_origin_ca(other));

	start_server(text("--origin-ca=ours=%s", file_with("both.pem", both)), cert_option);
	const char *more = "'tls':{'ca':'ours','client_cert':'mine'}";
	const char *back = text("/to/%s", https(good, "/back"));

	json_t *seen = seen_by(fetch(https(good, text("/to/%s", https(other, "/there"))), "%s", more));
	expect(seen, "target", "'/there'");
	expect(seen, "client", "null");
	/* Nor is it shown when another origin sends back to the first one. */
	seen = seen_by(fetch(https(good, text("/to/%s", https(other, back))), "%s", more));
	expect(seen, "target", "'/back'");
	expect(seen, "client", "null");
	/* Within the origin it is. */
	expect(seen_by(fetch(https(good, back), "%s", more)), "client", "'the client'");
	tls_origin_stop(other);
}
END_TEST

START_TEST(a_bundle_holds_for_every_hop)
{
	start_server(ca_option, cert_option);
	const char *from = url("/redirect-to?url=%s&status=302", escaped(https(good, "/arrived")));
	json_t *seen = seen_by(fetch(from, "'tls':{'ca':'ours','client_cert':'mine'}"));

	expect(seen, "target", "'/arrived'");
	expect(seen, "client", "null");
	expect_failed(fetch(from, ""), "tls_failed", "tls");
}
END_TEST

static const struct {
	const char *more, *pointer, *word;
} refused[] = {
	{"'tls':{'ca':'other'}", "'/tls/ca'", "--origin-ca"},
	{"'tls':{'ca':'default'}", "'/tls/ca'", "--origin-ca"},
	{"'tls':{'client_cert':'other'}", "'/tls/client_cert'", "--origin-cert"},
	{"'tls':{'ca':'ours','client_cert':'ours'}", "'/tls/client_cert'", "--origin-cert"},
	{"'tls':{'insecure':true}", "'/tls/insecure'", "--allow-insecure-tls"},
	{"'tls':{'key':'mine'}", "'/tls/key'", ""},
	{"'tls':{'insecure':1}", "'/tls/insecure'", ""},
	{"'tls':{'ca':1}", "'/tls/ca'", ""},
	{"'tls':{'ca':''}", "'/tls/ca'", ""},
	{"'tls':{'ca':'../ca.pem'}", "'/tls/ca'", ""},
	{"'tls':'ours'", "'/tls'", ""},
};

START_TEST(what_is_not_configured_is_refused)
{
	start_server(ca_option, cert_option);
	struct client_reply *reply = post("/v1/jobs", "{'url':'%s',%s}", https(good, "/"), refused[_i].more);

	expect_problem(reply, 400, refused[_i].pointer);
	const char *detail = json_text_at(reply->json, "detail");
	expect_that(strstr(detail, refused[_i].word), "the detail is \"%s\"", detail);
	expect_that(!strstr(detail, "mine"), "a name that was not asked for is told: \"%s\"", detail);
}
END_TEST

START_TEST(names_are_part_of_the_request)
{
	const char *key = new_key();

	start_server(ca_option);
	struct client_reply *first =
		post("/v1/jobs", "{'url':'%s','idempotency_key':'%s','tls':{'ca':'ours'}}", https(good, "/"), key);

	expect_status(first, 202);
	expect_status(post("/v1/jobs", "{'url':'%s','idempotency_key':'%s','tls':{'ca':'ours','insecure':false}}",
			      https(good, "/"), key),
		200);
	expect_status(post("/v1/jobs", "{'url':'%s','idempotency_key':'%s'}", https(good, "/"), key), 422);
	expect_keys(first->json, "request", "method url headers body_bytes");
}
END_TEST

/* ---- files */

START_TEST(a_bad_file_is_told_at_the_start)
{
	const char *ca = file_with("ca.pem", tls_origin_ca(good)), *client = tls_origin_client(good);
	struct tls_origin *other = tls_origin_start(NULL);
	const char *key = strstr(tls_origin_client(other), "-----BEGIN PRIVATE"),
		   *end = strstr(client, "-----BEGIN PRIVATE");
	const char *mixed = text("%.*s%s", (int)(end - client), client, key);
	const struct {
		const char *option, *word;
	} mistakes[] = {
		{"--origin-ca=ours=/nowhere/ca.pem", "--origin-ca: /nowhere/ca.pem: No such file"},
		{text("--origin-ca=ours=%s", file_with("empty.pem", "")), "no certificate"},
		{text("--origin-ca=ours=%s", file_with("words.pem", "words\n")), "no certificate"},
		{"--origin-ca=ours=/", "no regular file"},
		{"--origin-ca=ours", "NAME=FILE"},
		{"--origin-ca==/x", "NAME=FILE"},
		{text("--origin-cert=mine=%s", ca), "no key in it"},
		{text("--origin-cert=mine=%s", file_with("key.pem", key)), "no certificate"},
		{text("--origin-cert=mine=%s", file_with("mixed.pem", mixed)), "not that of the first certificate"},
		{text("--origin-cert=mine=%s", file_with("cut.pem", text("%.200s", client))), "no certificate"},
	};

	for (size_t i = 0; i < COUNT_OF(mistakes); i++) {
		const struct server_run *run = run_server(mistakes[i].option, "--check-config");

		expect_that(run->status == 2 && strstr(run->err, mistakes[i].word), "%s: exit %d, \"%s\"",
			mistakes[i].option, run->status, run->err);
	}
	const struct server_run *run =
		run_server(text("--origin-ca=ours=%s", ca), text("--origin-ca=ours=%s", ca), "--check-config");
	expect_that(run->status == 2 && strstr(run->err, "the name ours is there already"), "\"%s\"", run->err);
	run = run_server(text("--config=%s", file_with("bad.conf", "log-level = info\norigin-ca = 'ours=/nowhere'\n")),
		"--check-config");
	expect_that(run->status == 2 && strstr(run->err, "bad.conf:2: origin-ca: /nowhere: "), "\"%s\"", run->err);
	tls_origin_stop(other);
}
END_TEST

static void
reload(struct server *server, const char *line, size_t before)
{
	server_signal(server, SIGHUP);
	ck_assert(server_await_line(server, line));
	while (server_count_lines(server, line) <= before)
		expect_status(get("/livez"), 200); /* passes some time */
}

START_TEST(files_are_read_again)
{
	struct tls_origin *other = tls_origin_start(NULL);
	const char *ca = file_with("changing.pem", tls_origin_ca(other));
	struct server *server = start_server(text("--origin-ca=ours=%s", ca));

	expect_failed(fetch(https(good, "/"), "'tls':{'ca':'ours'}"), "tls_failed", "tls");
	expect(fetch(https(other, "/"), "'tls':{'ca':'ours'}"), "state", "'succeeded'");
	file_with("changing.pem", tls_origin_ca(good));
	reload(server, "reloaded tokens", 0);
	expect(fetch(https(good, "/"), "'tls':{'ca':'ours'}"), "state", "'succeeded'");
	/* Its connection stands open, but was made by the old bundle. */
	expect_failed(fetch(https(other, "/"), "'tls':{'ca':'ours'}"), "tls_failed", "tls");
	/* The same again: then connections stay. */
	reload(server, "reloaded tokens", 1);
	expect(seen_by(fetch(https(good, "/"), "'tls':{'ca':'ours'}")), "connection", "2");
	/* A broken one changes nothing. */
	file_with("changing.pem", "nothing\n");
	reload(server, "nothing reloaded", 0);
	expect_that(strstr(said_by(server), "--origin-ca: "), "the option is not told");
	expect(fetch(https(good, "/"), "'tls':{'ca':'ours'}"), "state", "'succeeded'");
	tls_origin_stop(other);
}
END_TEST

START_TEST(a_name_that_goes_fails_its_jobs)
{
	const char *ca = file_with("ca.pem", tls_origin_ca(good));
	const char *config = file_with("fetchpool.conf", text("origin-ca = 'ours=%s'\nallow-insecure-tls = yes\n", ca));
	struct server *server = start_server("--config", config, "--max-in-flight", "1");

	json_t *first = submit(url("/hold?k=first"), "");
	await_seen("first");
	json_t *named = submit(https(good, "/"), "'tls':{'ca':'ours'}");
	json_t *insecure = submit(https(good, "/"), "'tls':{'insecure':true}");
	file_with("fetchpool.conf", "allow-insecure-tls = no\n");
	reload(server, "reloaded tokens", 0);
	origin_release(the_origin, "first");
	expect(job_done(first), "state", "'succeeded'");
	expect_failed(job_done(named), "tls_failed", "policy");
	expect_failed(job_done(insecure), "tls_failed", "policy");
	ck_assert_uint_eq(tls_origin_connections(good), 0);
}
END_TEST

START_TEST(names_outlast_a_crash)
{
	const char *state_dir = new_state_dir();
	struct server *server = start_server_on(state_dir, ca_option, cert_option, "--max-in-flight", "1");

	submit(url("/hold?k=first"), "");
	await_seen("first");
	json_t *job = submit(https(good, "/"), "'tls':{'ca':'ours','client_cert':'mine'}");
	end_server(server, SIGKILL);
	origin_release(the_origin, "first");
	start_server_on(state_dir, ca_option, cert_option);
	expect(seen_by(job_done(job)), "client", "'the client'");
}
END_TEST

START_TEST(no_keys_are_logged)
{
	const char *path = text("%s/keys.log", server_directory());

	start_server(text("SSLKEYLOGFILE=%s", path), ca_option);
	expect(fetch(https(good, "/"), "'tls':{'ca':'ours'}"), "state", "'succeeded'");
	expect_that(access(path, F_OK) != 0, "SSLKEYLOGFILE was written");
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("origin_tls");
	TCase *alone = rig_case(suite, "alone", NULL);

	tcase_add_checked_fixture(alone, set_up, tear_down);
	tcase_add_test(alone, verified_by_default);
	tcase_add_test(alone, a_bundle_is_trusted_where_it_is_named);
	tcase_add_test(alone, a_bundle_may_be_the_default);
	tcase_add_loop_test(alone, bad_certificates_fail, 0, COUNT_OF(bad_certs));
	tcase_add_test(alone, insecure_does_not_rub_off);
	tcase_add_test(alone, a_certificate_is_shown_where_it_is_named);
	tcase_add_test(alone, a_certificate_does_not_follow_a_redirect);
	tcase_add_test(alone, a_bundle_holds_for_every_hop);
	tcase_add_test(alone, a_bad_file_is_told_at_the_start);
	tcase_add_test(alone, files_are_read_again);
	tcase_add_test(alone, a_name_that_goes_fails_its_jobs);
	tcase_add_test(alone, names_outlast_a_crash);
	tcase_add_test(alone, no_keys_are_logged);
	tcase_add_test(alone, names_are_part_of_the_request);
	tcase_add_loop_test(alone, what_is_not_configured_is_refused, 0, COUNT_OF(refused));
	return rig_run(suite);
}
