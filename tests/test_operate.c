/* Running it: health, figures, tokens, doors, options and where they come from, locks, signals, the end. */
#include "rig.h"

#include <signal.h>
#include <string.h>
#include <sys/stat.h>

/* ---- health and figures */

START_TEST(health_is_told)
{
	static const char *const paths[] = {"/livez", "/readyz", "/healthz", "/readyz?verbose", "/healthz?verbose"};

	for (size_t i = 0; i < COUNT_OF(paths); i++) {
		expect_status(get("%s", paths[i]), 200);
		expect_status(call_with("HEAD", "", "%s", paths[i]), 200);
	}
}
END_TEST

START_TEST(metrics_are_prometheus_text)
{
	struct client_reply *reply = get("/metrics");
	const char *type = client_field(reply, "content-type");

	expect_status(reply, 200);
	expect_that(type && !strncmp(type, "text/plain", 10) && strstr(type, "version=0.0.4"), "Content-Type is %s",
		type ? type : "missing");
	for (const char *line = reply->body.data; *line; line = strchr(line, '\n') + 1) {
		expect_that(strchr(line, '\n'), "the last line is cut: %s", line);
		expect_that(!strncmp(line, "# HELP fetchpool_", 17) || !strncmp(line, "# TYPE fetchpool_", 17) ||
				!strncmp(line, "fetchpool_", 10),
			"an odd line: %.80s", line);
	}
}
END_TEST

START_TEST(metrics_count_jobs)
{
	double before = metric("fetchpool_jobs_finished_total");

	expect_that(before >= 0, "there is no fetchpool_jobs_finished_total");
	fetch(url("/echo"), "");
	fetch(url("/close"), "");
	expect_that(metric("fetchpool_jobs_finished_total") >= before + 2, "the metric went from %g to %g", before,
		metric("fetchpool_jobs_finished_total"));
}
END_TEST

START_TEST(info_tells_of_the_server)
{
	struct client_reply *reply = get("/v1/info");

	expect_status(reply, 200);
	expect_that(json_text_at(reply->json, "version"), "no version: %s", reply->body.data);
	expect_that(json_is_integer(json_at(reply->json, "uptime_ms")), "no uptime_ms: %s", reply->body.data);
	expect(reply->json, "store", "'sqlite'");
	expect_that(json_object_size(json_at(reply->json, "limits")) > 0, "no limits: %s", reply->body.data);
	expect_that(json_object_size(json_at(reply->json, "libraries")) > 0, "no libraries: %s", reply->body.data);
}
END_TEST

START_TEST(info_tells_of_the_store)
{
	start_server("--store", "memory");
	expect(get("/v1/info")->json, "store", "'memory'");
}
END_TEST

START_TEST(openapi_is_served)
{
	struct client_reply *reply = get("/openapi.json");

	expect_status(reply, 200);
	expect_that(reply->json && json_text_at(reply->json, "openapi"), "no OpenAPI: %.200s", reply->body.data);
	expect_that(!strncmp(json_text_at(reply->json, "openapi"), "3.1", 3), "OpenAPI %s",
		json_text_at(reply->json, "openapi"));
}
END_TEST

static const char *const strict[] = {"/livez?x", "/metrics?x=1", "/v1/info?x=1", "/v1/info?prety"};

START_TEST(unknown_parameters_are_400)
{
	expect_problem(get("%s", strict[_i]), 400, NULL);
}
END_TEST

/* ---- tokens */

static struct client_reply *
with_authorization(const char *value)
{
	return call_with("GET", text("Authorization: %s\r\n", value), "/v1/info");
}

START_TEST(tokens_are_asked_for)
{
	static const char *const wrong[] = {"Bearer nonsense", "Bearer first", "Bearer first-tokenx", "Bearer",
		"Bearer ", "Basic first-token", "first-token", "Bearer first-token second-token", "Bearer # a comment"};
	static const char *const right[] = {
		"Bearer first-token", "Bearer second-token", "bearer first-token", "BEARER  first-token"};
	const char *spec = jtext("{'url':'%s'}", url("/echo"));
	struct client_reply *reply;

	start_server("--auth-token-file", file_with("tokens", "first-token\n\n# a comment\nsecond-token\n"));
	reply = get("/v1/info");
	expect_problem(reply, 401, NULL);
	expect_that(!strncmp(client_field(reply, "www-authenticate"), "Bearer", 6), "WWW-Authenticate is %s",
		client_field(reply, "www-authenticate"));
	expect_problem(post_bytes("/v1/jobs", "Content-Type: application/json\r\n", spec, strlen(spec)), 401, NULL);
	for (size_t i = 0; i < COUNT_OF(wrong); i++) {
		reply = with_authorization(wrong[i]);
		expect_problem(reply, reply->status == 403 ? 403 : 401, NULL);
	}
	for (size_t i = 0; i < COUNT_OF(right); i++)
		expect_status(with_authorization(right[i]), 200);
	expect_status(get("/livez"), 200);
	expect_status(get("/readyz"), 200);
	expect_problem(get("/metrics"), 401, NULL);
	expect_problem(get("/v1/jobs/x"), 401, NULL);
}
END_TEST

START_TEST(a_reload_takes_new_tokens)
{
	const char *path = file_with("tokens", "old-token\n");
	struct server *server = start_server("--auth-token-file", path);
	int64_t until = mono_ms() + SERVER_PATIENCE_MS;

	expect_status(with_authorization("Bearer old-token"), 200);
	file_with("tokens", "new-token\n");
	server_signal(server, SIGHUP);
	while (with_authorization("Bearer new-token")->status != 200)
		expect_that(mono_ms() < until, "SIGHUP brought no new token");
	expect_problem(with_authorization("Bearer old-token"), 401, NULL);
}
END_TEST

START_TEST(a_bad_reload_changes_nothing)
{
	const char *path = file_with("reload.conf", "max-wait = 3s\negress-allow = 127.0.0.0/8\n");
	struct server *server = start_server(SERVER_GUARDED, "--config", path);

	file_with("reload.conf", "egress-allow = nonsense/99\n");
	server_signal(server, SIGHUP);
	expect_that(server_await_line(server, "reload.conf:1"), "the mistake is not named");
	expect(fetch(url("/echo"), ""), "state", "'succeeded'");
}
END_TEST

START_TEST(a_reload_says_what_needs_a_restart)
{
	const char *path = file_with("waits.conf", "max-wait = 3s\negress-allow = 127.0.0.0/8\n");
	struct server *server = start_server(SERVER_GUARDED, "--config", path);

	file_with("waits.conf", "max-wait = 4s\negress-allow = 127.0.0.0/8\n");
	server_signal(server, SIGHUP);
	expect_that(server_await_line(server, "max-wait stays 3s until a restart"), "nothing is said of max-wait");
	expect_that(server_await_line(server, "reloaded tokens"), "nothing was reloaded");
	expect_that(server_count_lines(server, "until a restart") == 1, "more than max-wait is named");
}
END_TEST

/* Without them everybody could come in, for it listens on all addresses. */
/* Neither beyond this machine nor on it: they keep its users apart. */
START_TEST(a_reload_does_not_drop_needed_tokens)
{
	const char *line = text("auth-token-file = %s\n", file_with("tokens", "token\n"));
	const char *address = _i == 0 ? "0.0.0.0:0" : "127.0.0.1:0";
	struct server *server = start_server("--listen", address, "--config", file_with("exposed.conf", line));

	expect_status(with_authorization("Bearer token"), 200);
	file_with("exposed.conf", "log-level = debug\n");
	server_signal(server, SIGHUP);
	expect_that(server_await_line(server, "nothing reloaded"), "the reload was not refused");
	expect_problem(get("/v1/info"), 401, NULL);
	expect_status(with_authorization("Bearer token"), 200);
	expect_that(server_count_lines(server, "reloaded tokens") == 0, "it was reloaded");
}
END_TEST

START_TEST(sighup_is_survived)
{
	struct server *server = start_server("--workers", "2");
	const char *key = new_key();
	json_t *job = submit(url("/hold?k=%s", key), "");

	await_seen(key);
	server_signal(server, SIGHUP);
	expect_that(await_metric("fetchpool_reloads_total", 1), "there was no reload");
	origin_release(the_origin, key);
	expect(job_done(job), "state", "'succeeded'");
}
END_TEST

/* ---- doors */

START_TEST(a_unix_socket_is_a_door)
{
	const char *path = text("%s/%s.socket", server_directory(), new_key());
	struct server *server = start_server("--listen", "127.0.0.1:0", "--listen", text("unix:%s", path));
	json_t *job;

	server_use_unix(server, path);
	job = fetch(url("/echo"), "");
	expect(job, "state", "'succeeded'");
	server_use_unix(server, NULL);
	expect(job_now(job), "state", "'succeeded'");
}
END_TEST

START_TEST(a_unix_socket_alone)
{
	const char *path = text("%s/%s.socket", server_directory(), new_key());
	struct server *server = start_server("--listen", text("unix:%s", path));
	struct stat stat_now;

	server_use_unix(server, path);
	expect_status(get("/v1/info"), 200);
	expect_that(end_server(server, SIGTERM) == 0, "it ended badly");
	expect_that(stat(path, &stat_now), "the socket is left behind");
}
END_TEST

START_TEST(two_addresses)
{
	struct server *server = start_server("--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0");
	unsigned ports[2] = {server_port(server, 0), server_port(server, 1)};

	expect_that(ports[0] && ports[1] && ports[0] != ports[1], "it listens on %u and %u", ports[0], ports[1]);
	for (size_t i = 0; i < 2; i++) {
		struct client_request request = {.method = "GET", .target = "/v1/info", .fields = ""};

		expect_status(rig_keep(client_call(&(struct client_address){.port = ports[i]}, &request)), 200);
	}
	expect_that(server_count_lines(server, "listening on http://127.0.0.1:") == 2, "not a line for each");
}
END_TEST

START_TEST(a_public_address_needs_tokens)
{
	const struct server_run *run = run_server("--listen", "0.0.0.0:0", "--state-dir", server_directory());

	expect_that(run->status == 2 || run->status == 1, "exit status %d", run->status);
	expect_that(!strstr(run->err, "listening on"), "it listens: %s", run->err);
	start_server("--listen", "0.0.0.0:0", "--auth-token-file", file_with("tokens", "token\n"));
	expect_status(with_authorization("Bearer token"), 200);
}
END_TEST

/* ---- options and where they come from */

/* How long a client may wait, in the daemon's own words. */
static const char *
wait_in_force(void)
{
	const char *spec = jtext("{'url':'%s'}", url("/delay/20"));
	struct client_reply *reply =
		post_bytes("/v1/jobs", "Content-Type: application/json\r\nPrefer: wait=50\r\n", spec, strlen(spec));

	return client_field(reply, "preference-applied");
}

START_TEST(options_come_from_the_file)
{
	start_server("--config", file_with("a.conf", "# a comment\nmax-wait = 13s\n"));
	expect_text(wait_in_force(), "wait=13");
}
END_TEST

START_TEST(the_environment_beats_the_file)
{
	start_server("FETCHPOOL_MAX_WAIT=14s", "--config", file_with("a.conf", "max-wait = 13s\n"));
	expect_text(wait_in_force(), "wait=14");
}
END_TEST

START_TEST(the_command_line_beats_both)
{
	start_server(
		"FETCHPOOL_MAX_WAIT=14s", "--max-wait", "15s", "--config", file_with("a.conf", "max-wait = 13s\n"));
	expect_text(wait_in_force(), "wait=15");
}
END_TEST

START_TEST(an_option_may_be_written_with_an_equals_sign)
{
	start_server("--max-wait=16s");
	expect_text(wait_in_force(), "wait=16");
}
END_TEST

START_TEST(lists_in_the_environment)
{
	start_server(SERVER_GUARDED, "FETCHPOOL_EGRESS_ALLOW=127.0.0.2/32 127.0.0.1/32");
	expect(fetch(url("/echo"), ""), "state", "'succeeded'");
	expect(fetch(text("http://127.0.0.3:%u/", origin_port(the_origin)), ""), "error.code", "'denied_by_policy'");
}
END_TEST

static const struct {
	const char *option, *value;
} bad_values[] = {
	{"--max-wait", "soon"},
	{"--max-wait", "0"},
	{"--max-wait", "-1s"},
	{"--max-in-flight", "many"},
	{"--max-in-flight", "0"},
	{"--store", "tape"},
	{"--listen", "nowhere"},
	{"--listen", "127.0.0.1:99999"},
	{"--listen", "127.0.0.1:"},
	{"--listen", "unix:"},
	{"--egress-allow", "10.0.0.0/99"},
	{"--egress-allow", ""},
	{"--egress-deny", "http://x/"},
	{"--log-level", "loud"},
	{"--log-format", "xml"},
	{"--max-queued", "-1"},
	{"--max-body-bytes", "1 parsec"},
	{"--auth-token-file", "/nonexistent/file"},
	{"--origin-limit", "x"},
	{"--origin-limit", "x=0"},
	{"--workers", "0"},
	{"--ttl", "x"},
	{"--drain-timeout", "x"},
	{"--server-name", "a b"},
	{"--secret-header", "a b"},
};

START_TEST(a_bad_value_exits_2_and_names_the_option)
{
	const struct server_run *run = run_server(bad_values[_i].option, bad_values[_i].value, "--check-config");

	expect_that(run->status == 2, "%s %s: exit status %d: %s", bad_values[_i].option, bad_values[_i].value,
		run->status, run->err);
	expect_that(strstr(run->err, bad_values[_i].option), "%s is not named: %s", bad_values[_i].option, run->err);
}
END_TEST

START_TEST(a_bad_variable_is_named)
{
	const struct server_run *run = run_server("FETCHPOOL_MAX_WAIT=soon", "--check-config");

	expect_that(run->status == 2 && strstr(run->err, "FETCHPOOL_MAX_WAIT"), "exit status %d: %s", run->status,
		run->err);
}
END_TEST

static const char *const bad_files[] = {"# fine\nmax-wait = soon\n", "# fine\nmax-wiat = 5s\n", "# fine\n= 5s\n",
	"# fine\nstore = tape\n", "# fine\negress-allow = 10.0.0.0/99\n"};

START_TEST(a_bad_line_is_named)
{
	const char *path = file_with("bad.conf", bad_files[_i]);
	const struct server_run *run = run_server("--config", path, "--check-config");

	expect_that(run->status == 2, "exit status %d: %s", run->status, run->err);
	expect_that(strstr(run->err, text("%s:2", path)), "the line is not named: %s", run->err);
}
END_TEST

START_TEST(a_missing_file_is_named)
{
	const struct server_run *run = run_server("--config", "/nonexistent/fetchpool.conf", "--check-config");

	expect_that(run->status == 2 && strstr(run->err, "/nonexistent/fetchpool.conf"), "exit status %d: %s",
		run->status, run->err);
}
END_TEST

START_TEST(bad_words_exit_2)
{
	const struct server_run *runs[] = {
		run_server("--max-wiat", "5s"), run_server("--max-wait"), run_server("word", "--check-config")};
	static const char *const names[] = {"max-wiat", "max-wait", "word"};

	for (size_t i = 0; i < COUNT_OF(runs); i++) {
		expect_that(runs[i]->status == 2, "exit status %d: %s", runs[i]->status, runs[i]->err);
		expect_that(strstr(runs[i]->err, names[i]), "%s is not named: %s", names[i], runs[i]->err);
	}
}
END_TEST

START_TEST(check_config_only_checks)
{
	const struct server_run *run =
		run_server("--check-config", "--listen", "127.0.0.1:0", "--state-dir", server_directory());

	expect_that(run->status == 0, "exit status %d: %s", run->status, run->err);
	expect_that(!strstr(run->err, "listening on"), "it listens: %s", run->err);
}
END_TEST

START_TEST(help_lists_every_option)
{
	static const char *const names[] = {"listen", "store", "state-dir", "workers", "max-in-flight",
		"max-in-flight-per-origin", "origin-limit", "max-queued", "max-body-bytes", "inline-body-bytes",
		"max-request-bytes", "max-wait", "max-waiters", "ttl", "egress-allow", "egress-deny", "auth-token-file",
		"server-name", "secret-header", "drain-timeout", "log-level", "log-format", "config", "check-config",
		"version", "help"};
	const struct server_run *run = run_server("--help");

	expect_that(run->status == 0 && !*run->err, "exit status %d: %s", run->status, run->err);
	for (size_t i = 0; i < COUNT_OF(names); i++)
		expect_that(strstr(run->out, text("--%s", names[i])), "--%s is missing: %s", names[i], run->out);
}
END_TEST

START_TEST(version_is_told)
{
	const struct server_run *run = run_server("--version");

	expect_that(run->status == 0 && !strncmp(run->out, "fetchpool ", 10), "exit status %d: %s%s", run->status,
		run->out, run->err);
}
END_TEST

/* ---- one of a kind */

START_TEST(a_state_directory_has_one_server)
{
	struct server *server = start_server("--workers", "1");
	const struct server_run *run = run_server("--listen", "127.0.0.1:0", "--state-dir", server_state_dir(server));

	expect_that(run->status == 1, "exit status %d: %s", run->status, run->err);
	expect_that(!strstr(run->err, "listening on"), "it listens: %s", run->err);
	expect_status(get("/livez"), 200);
}
END_TEST

START_TEST(a_port_has_one_server)
{
	const char *directory = text("%s/%s.state", server_directory(), new_key());
	const char *listen = text("127.0.0.1:%u", origin_port(the_origin));
	const struct server_run *run = run_server("--listen", listen, "--state-dir", directory);

	expect_that(run->status == 1 && strstr(run->err, listen), "exit status %d: %s", run->status, run->err);
}
END_TEST

START_TEST(a_unix_socket_has_one_server)
{
	const char *path = text("%s/%s.socket", server_directory(), new_key());
	struct server *server = start_server("--listen", text("unix:%s", path));
	const struct server_run *run = run_server(
		"--listen", text("unix:%s", path), "--state-dir", text("%s/%s.state", server_directory(), new_key()));

	expect_that(run->status == 1, "exit status %d: %s", run->status, run->err);
	server_use_unix(server, path);
	expect_status(get("/livez"), 200);
	expect_that(end_server(server, SIGKILL) != 0, "it ended well by SIGKILL");
	server = start_server("--listen", text("unix:%s", path)); /* one that was left behind is no hindrance */
	server_use_unix(server, path);
	expect_status(get("/livez"), 200);
}
END_TEST

/* ---- the end */

static const int signals[] = {SIGTERM, SIGINT};

START_TEST(a_signal_ends_an_idle_server)
{
	struct server *server = start_server("--drain-timeout", "60s");
	struct client_wire *wire = open_wire();
	int64_t start;

	fetch(url("/echo"), "");
	wire_get(wire, "/livez"); /* a kept connection must not hold up the end */
	expect_status(wire_receive(wire), 200);
	start = mono_ms();
	expect_that(end_server(server, signals[_i]) == 0, "it ended badly");
	expect_that(mono_ms() - start < 20000, "it took %d ms", (int)(mono_ms() - start));
}
END_TEST

START_TEST(draining_lets_attempts_finish)
{
	struct server *server = start_server("--drain-timeout", "60s");
	const char *key = new_key(), *other = new_key();
	json_t *job = submit(url("/hold?k=%s", key), ""), *later = submit_later("");
	struct client_reply *reply;

	await_seen(key);
	server_signal(server, SIGTERM);
	expect_that(await_status("/readyz", 503), "/readyz stays %d", get("/readyz")->status);
	reply = post("/v1/jobs", "{'url':'%s'}", url("/echo?k=%s", other));
	expect_problem(reply, 503, NULL);
	expect_that(client_field(reply, "retry-after"), "no Retry-After");
	reply = get("/v1/jobs/%s", id_of(job));
	expect_status(reply, 200);
	expect_header(reply, "connection", "close");
	expect(get("/v1/jobs/%s?wait=20s", id_of(later))->json, "done", "false");
	expect_status(get("/livez"), 200);
	origin_release(the_origin, key);
	expect_that(server_wait(server) == 0, "it ended badly");
	expect_that(origin_await_end(the_origin, await_seen(key)) == ORIGIN_ANSWERED, "the attempt was cut");
	expect_that(origin_count(the_origin, other) == 0, "a job was taken while draining");
}
END_TEST

START_TEST(draining_has_a_time)
{
	struct server *server = start_server("--drain-timeout", "300ms");
	const char *key = new_key();
	int64_t start;

	submit(url("/hold?k=%s", key), "");
	await_seen(key);
	start = mono_ms();
	expect_that(end_server(server, SIGTERM) == 0, "it ended badly");
	expect_that(mono_ms() - start >= 290, "it ended after %d ms", (int)(mono_ms() - start));
	expect_that(origin_await_end(the_origin, await_seen(key)) == ORIGIN_LEFT, "the attempt went on");
}
END_TEST

START_TEST(a_second_signal_aborts)
{
	struct server *server = start_server("--drain-timeout", "10m");
	const char *key = new_key();
	int status;

	submit(url("/hold?k=%s", key), "");
	await_seen(key);
	server_signal(server, SIGTERM);
	expect_that(await_status("/readyz", 503), "/readyz stays %d", get("/readyz")->status);
	status = end_server(server, SIGTERM);
	expect_that(status != SERVER_KILLED, "it lives on");
}
END_TEST

START_TEST(a_queued_job_does_not_hold_up_the_end)
{
	struct server *server = start_server("--drain-timeout", "10m");

	submit_later("");
	expect_that(end_server(server, SIGTERM) == 0, "it ended badly");
}
END_TEST

START_TEST(the_log_may_be_json)
{
	struct server *server = start_server("--log-format", "json", "--log-level", "debug");

	fetch(url("/echo"), "");
	expect_that(server_await_line(server, "{\""), "no line of JSON");
}
END_TEST

static void
add_options(TCase *tcase)
{
	tcase_add_test(tcase, options_come_from_the_file);
	tcase_add_test(tcase, the_environment_beats_the_file);
	tcase_add_test(tcase, the_command_line_beats_both);
	tcase_add_test(tcase, an_option_may_be_written_with_an_equals_sign);
	tcase_add_test(tcase, lists_in_the_environment);
	tcase_add_loop_test(tcase, a_bad_value_exits_2_and_names_the_option, 0, COUNT_OF(bad_values));
	tcase_add_test(tcase, a_bad_variable_is_named);
	tcase_add_loop_test(tcase, a_bad_line_is_named, 0, COUNT_OF(bad_files));
	tcase_add_test(tcase, a_missing_file_is_named);
	tcase_add_test(tcase, bad_words_exit_2);
	tcase_add_test(tcase, check_config_only_checks);
	tcase_add_test(tcase, help_lists_every_option);
	tcase_add_test(tcase, version_is_told);
}

static void
add_doors(TCase *tcase)
{
	tcase_add_test(tcase, tokens_are_asked_for);
	tcase_add_test(tcase, a_reload_takes_new_tokens);
	tcase_add_test(tcase, a_bad_reload_changes_nothing);
	tcase_add_test(tcase, a_reload_says_what_needs_a_restart);
	tcase_add_loop_test(tcase, a_reload_does_not_drop_needed_tokens, 0, 2);
	tcase_add_test(tcase, sighup_is_survived);
	tcase_add_test(tcase, a_unix_socket_is_a_door);
	tcase_add_test(tcase, a_unix_socket_alone);
	tcase_add_test(tcase, two_addresses);
	tcase_add_test(tcase, a_public_address_needs_tokens);
	tcase_add_test(tcase, a_state_directory_has_one_server);
	tcase_add_test(tcase, a_port_has_one_server);
	tcase_add_test(tcase, a_unix_socket_has_one_server);
}

static void
add_ends(TCase *tcase)
{
	tcase_add_loop_test(tcase, a_signal_ends_an_idle_server, 0, COUNT_OF(signals));
	tcase_add_test(tcase, draining_lets_attempts_finish);
	tcase_add_test(tcase, draining_has_a_time);
	tcase_add_test(tcase, a_second_signal_aborts);
	tcase_add_test(tcase, a_queued_job_does_not_hold_up_the_end);
	tcase_add_test(tcase, the_log_may_be_json);
}

int
main(void)
{
	Suite *suite = suite_create("operate");
	TCase *shared = rig_case(suite, "health and figures", rig_share_default);

	tcase_add_test(shared, health_is_told);
	tcase_add_test(shared, metrics_are_prometheus_text);
	tcase_add_test(shared, metrics_count_jobs);
	tcase_add_test(shared, info_tells_of_the_server);
	tcase_add_test(shared, info_tells_of_the_store);
	tcase_add_test(shared, openapi_is_served);
	tcase_add_loop_test(shared, unknown_parameters_are_400, 0, COUNT_OF(strict));
	add_doors(rig_case(suite, "doors", NULL));
	add_options(rig_case(suite, "options", NULL));
	add_ends(rig_case(suite, "the end", NULL));
	return rig_run(suite);
}
