/*
 * Tokens of clients: what each may call, whose jobs it sees, its quota; and that all of this holds over a restart and a
 * SIGHUP.
 */
#include "durable.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define TWO_AND_AN_ADMIN "alice-token name=alice\nbob-token name=bob\nroot-token name=root scope=admin\n"

/* A call with this token; body is JSON written with ', or NULL. */
static struct client_reply *
ask_with(const char *token, const char *more_fields, const char *method, const char *target, const char *body)
{
	const char *json = body == NULL ? NULL : jtext("%s", body);
	const char *fields = text("%s%s%s%s%s", token == NULL ? "" : "Authorization: Bearer ",
		token == NULL ? "" : token, token == NULL ? "" : "\r\n",
		json == NULL ? "" : "Content-Type: application/json\r\n", more_fields);

	return call_request(&(struct client_request){.method = method,
		.target = target,
		.fields = fields,
		.body = json,
		.body_bytes = json == NULL ? 0 : strlen(json)});
}

static struct client_reply *
ask(const char *token, const char *method, const char *target, const char *body)
{
	return ask_with(token, "", method, target, body);
}

/* Submits for this token; more are further members of the spec. Gives the answer. */
static struct client_reply *
try(const char *token, const char *path, const char *more)
{
	return ask(token, "POST", "/v1/jobs", text("{'url':'%s'%s%s}", url("%s", path), *more ? "," : "", more));
}

static json_t *
taken(struct client_reply *reply)
{
	expect_status(reply, 202);
	return reply->json;
}

static json_t *
finished(const char *token, const json_t *job)
{
	struct client_reply *reply = ask(token, "GET", text("/v1/jobs/%s?wait=30s", id_of(job)), NULL);

	expect_status(reply, 200);
	expect(reply->json, "done", "true");
	return reply->json;
}

static void
expect_code(const struct client_reply *reply, int status, const char *code)
{
	expect_problem(reply, status, NULL);
	expect_text(json_text_at(reply->json, "code"), code);
}

static struct server *
start_with(const char *tokens)
{
	return start_server("--auth-token-file", file_with("tokens", tokens));
}

/* ---- scopes */

static const struct {
	const char *method, *target, *body;
	int submit, read; /* what a token with this scope alone is told: 0 for anything but a 403 */
	bool open;
} calls[] = {
	{"POST", "/v1/jobs", "{'url':'http://127.0.0.1:1/'}", 0, 403, false},
	{"POST", "/v1/jobs?wait=30s", "{'url':'http://127.0.0.1:1/'}", 0, 403, false},
	{"POST", "/v1/jobs/cancel", "{'tag':'none'}", 0, 403, false},
	{"POST", "/v1/jobs/" UNKNOWN_ID "/cancel", NULL, 0, 403, false},
	{"DELETE", "/v1/jobs/" UNKNOWN_ID, NULL, 0, 403, false},
	{"POST", "/v1/egress/check", "{'url':'http://127.0.0.1:1/'}", 0, 403, false},
	{"GET", "/v1/jobs", NULL, 403, 0, false},
	{"HEAD", "/v1/jobs", NULL, 403, 0, false},
	{"GET", "/v1/jobs/" UNKNOWN_ID, NULL, 403, 0, false},
	{"GET", "/v1/jobs/" UNKNOWN_ID "?wait=1", NULL, 403, 0, false},
	{"GET", "/v1/jobs/" UNKNOWN_ID "/body", NULL, 403, 0, false},
	{"POST", "/v1/wait", "{'ids':['" UNKNOWN_ID "']}", 403, 0, false},
	{"GET", "/v1/info", NULL, 403, 0, false},
	{"GET", "/metrics", NULL, 403, 0, false},
	{"GET", "/openapi.json", NULL, 0, 0, false},
	{"GET", "/livez", NULL, 0, 0, true},
	{"GET", "/readyz", NULL, 0, 0, true},
	{"GET", "/healthz", NULL, 0, 0, true},
};

static void
share_scopes(void)
{
	const char *path = file_with("scopes",
		"submit-token scope=submit\nread-token scope=read\nboth-token\n"
		"admin-token scope=admin\n");

	rig_share("--auth-token-file", path);
}

START_TEST(scopes_open_calls)
{
	static const char *const all[] = {"submit", "read", "both", "admin"};
	const int wanted[] = {calls[_i].submit, calls[_i].read, 0, 0};
	bool open = calls[_i].open;

	for (size_t i = 0; i < COUNT_OF(all); i++) {
		struct client_reply *reply =
			ask(text("%s-token", all[i]), calls[_i].method, calls[_i].target, calls[_i].body);
		const char *needed = i == 0 ? "read" : "submit";

		expect_that((reply->status == 403) == (wanted[i] == 403), "%s: %d", all[i], reply->status);
		expect_that(reply->status != 401, "%s: %d", all[i], reply->status);
		if (reply->status != 403)
			continue;
		expect_header(reply, "www-authenticate",
			text("Bearer realm=\"fetchpool\", error=\"insufficient_scope\", scope=\"%s\"", needed));
		if (strcmp(calls[_i].method, "HEAD") != 0)
			expect_code(reply, 403, text("needs_scope_%s", needed));
	}
	struct client_reply *none = ask(NULL, calls[_i].method, calls[_i].target, calls[_i].body);
	struct client_reply *wrong = ask("no-token", calls[_i].method, calls[_i].target, calls[_i].body);
	expect_that(open == (none->status != 401) && open == (wrong->status != 401),
		"%d without a token, %d with a wrong one", none->status, wrong->status);
	if (open)
		return;
	expect_header(none, "www-authenticate", "Bearer realm=\"fetchpool\"");
	expect_header(wrong, "www-authenticate", "Bearer realm=\"fetchpool\", error=\"invalid_token\"");
}
END_TEST

/* One that may only submit is told what becomes of its own submission, and of nothing else. */
START_TEST(a_submitter_awaits_its_own)
{
	struct client_reply *reply =
		ask("submit-token", "POST", "/v1/jobs?wait=30s", text("{'url':'%s'}", url("/text/5")));

	expect_status(reply, 200);
	expect(reply->json, "state", "'succeeded'");
	expect_keys(reply->json, "", JOB_KEYS); /* whose it is does not show */
	expect_code(ask("submit-token", "GET", text("/v1/jobs/%s", id_of(reply->json)), NULL), 403, "needs_scope_read");
	expect_status(ask("submit-token", "DELETE", text("/v1/jobs/%s", id_of(reply->json)), NULL), 204);
}
END_TEST

/* ---- whose jobs */

static void
share_three(void)
{
	rig_share("--auth-token-file", file_with("three", TWO_AND_AN_ADMIN));
}

START_TEST(others_jobs_are_unknown)
{
	json_t *job = taken(try("alice-token", "/text/5", ""));
	const char *id = id_of(job), *path = text("/v1/jobs/%s", id);
	const struct {
		const char *method, *target, *body;
	} tries[] = {
		{"GET", path, NULL},
		{"GET", text("%s?wait=1s", path), NULL},
		{"GET", text("%s/body", path), NULL},
		{"POST", text("%s/cancel", path), NULL},
		{"DELETE", path, NULL},
		{"POST", "/v1/wait", text("{'ids':['%s'],'timeout':0.001}", id)},
	};

	struct client_reply *unknown = ask("bob-token", "GET", "/v1/jobs/" UNKNOWN_ID, NULL);
	for (int live = 1; live >= 0; live--) {
		if (!live)
			finished("alice-token", job);
		for (size_t i = 0; i < COUNT_OF(tries); i++) {
			struct client_reply *reply = ask("bob-token", tries[i].method, tries[i].target, tries[i].body);

			expect_code(reply, 404, "not_found");
			if (strcmp(tries[i].target, "/v1/wait") == 0)
				expect(reply->json, "unknown", "['%s']", id);
			else
				expect_text(json_text_at(reply->json, "detail"), json_text_at(unknown->json, "detail"));
		}
		expect_status(ask("bob-token", "POST", "/v1/jobs/cancel", text("{'ids':['%s']}", id)), 200);
	}
	expect(finished("alice-token", job), "state", "'succeeded'");
	for (size_t i = 0; i < 2; i++)
		expect_status(ask(i == 0 ? "alice-token" : "root-token", "GET", text("%s/body", path), NULL), 200);
	expect_status(ask("root-token", "POST", "/v1/wait", text("{'ids':['%s']}", id)), 200);
	expect_status(ask("root-token", "DELETE", path, NULL), 204);
	expect_code(ask("alice-token", "GET", path, NULL), 404, "not_found");
}
END_TEST

/* Walks through all pages of a list; gives the ids, each with a blank behind it. */
static const char *
all_pages(const char *token, const char *query)
{
	const char *ids = "", *cursor = "";

	do {
		struct client_reply *reply = ask(
			token, "GET", text("/v1/jobs?limit=2%s%s%s", query, *cursor ? "&cursor=" : "", cursor), NULL);

		expect_status(reply, 200);
		ids = text("%s%s", ids, listed(reply->json));
		cursor = json_text_at(reply->json, "next_cursor");
	} while (cursor != NULL);
	return ids;
}

/* Lists and bulk cancels, with each filter and with all states mixed, touch one's own alone. */
START_TEST(lists_hold_ones_own)
{
	static const char *const owners[] = {"alice", "bob"};
	const char *tag = new_key(), *own[2] = {"", ""}, *all = "", *later[2] = {"", ""};
	const char *key = new_key();

	for (int i = 0; i < 10; i++) {
		const char *token = text("%s-token", owners[i % 2]);
		json_t *job = taken(try(token, i < 4 ? text("/hold?k=%s", key) : "/text/1",
			text("'tags':['%s']%s", tag, i >= 8 ? ",'delay':'1h'" : "")));

		own[i % 2] = text("%s %s", id_of(job), own[i % 2]);
		all = text("%s %s", id_of(job), all);
		if (i >= 8)
			later[i % 2] = text("%s ", id_of(job));
		if (i >= 4 && i < 8)
			finished(token, job);
	}
	origin_await_seen(the_origin, key, 3);
	const char *by_tag = text("&tag=%s", tag);
	for (int i = 0; i < 2; i++) {
		const char *token = text("%s-token", owners[i]);

		expect_text(all_pages(token, ""), own[i]);
		expect_text(all_pages(token, by_tag), own[i]);
		expect_text(all_pages(token, text("&origin=127.0.0.1:%u", origin_port(the_origin))), own[i]);
		expect_text(all_pages(token, "&state=queued"), later[i]);
		expect_text(all_pages(token, "&state=queued,running,succeeded"), own[i]);
	}
	expect_text(all_pages("root-token", by_tag), all);
	/* alice cancels all that she can name, which leaves bob's as they are */
	struct client_reply *reply = ask("alice-token", "POST", "/v1/jobs/cancel", "{'state':'queued,running'}");
	expect_status(reply, 200);
	expect(reply->json, "cancelled", "3");
	expect_text(all_pages("bob-token", "&state=queued"), later[1]);
	expect_text(all_pages("alice-token", "&state=queued,running"), "");
	reply = ask("root-token", "POST", "/v1/jobs/cancel", text("{'tag':'%s'}", tag));
	expect(reply->json, "cancelled", "3");
}
END_TEST

START_TEST(keys_are_ones_own)
{
	const char *key = text("Idempotency-Key: %s\r\n", new_key());
	const char *spec = text("{'url':'%s'}", url("/text/5")), *other = text("{'url':'%s'}", url("/text/6"));
	struct client_reply *first = ask_with("alice-token", key, "POST", "/v1/jobs", spec);
	struct client_reply *bobs = ask_with("bob-token", key, "POST", "/v1/jobs", other);

	expect_status(first, 202);
	expect_status(bobs, 202);
	struct client_reply *again = ask_with("alice-token", key, "POST", "/v1/jobs", spec);
	expect_status(again, 200);
	expect_text(id_of(again->json), id_of(first->json));
	expect_status(ask_with("alice-token", key, "POST", "/v1/jobs", other), 422);
	expect_status(ask_with("bob-token", key, "POST", "/v1/jobs", other), 200);
	expect_status(ask_with("root-token", key, "POST", "/v1/jobs", spec), 202);
}
END_TEST

/* ---- quotas */

static void
expect_quota(const struct client_reply *reply, const char *number_and_name)
{
	expect_code(reply, 429, "quota_exceeded");
	expect_that(strstr(json_text_at(reply->json, "detail"), number_and_name) != NULL, "%s",
		json_text_at(reply->json, "detail"));
}

START_TEST(so_many_a_minute)
{
	const char *key = text("Idempotency-Key: %s\r\n", new_key());
	const char *spec = text("{'url':'%s'}", url("/text/5"));

	start_with("alice-token name=alice jobs-per-minute=3\nbob-token\n");
	struct client_reply *keyed = ask_with("alice-token", key, "POST", "/v1/jobs", spec);
	expect_status(keyed, 202);
	for (int i = 0; i < 20; i++) /* these cost nothing */
		expect_status(ask_with("alice-token", key, "POST", "/v1/jobs", spec), 200);
	expect_status(try("alice-token", "/text/5", "'priority':1000"), 400);
	taken(try("alice-token", "/text/5", ""));
	taken(try("alice-token", "/text/5", ""));
	struct client_reply *reply = try("alice-token", "/text/5", "");
	expect_quota(reply, "3 jobs a minute");
	int wait_s = atoi(client_field(reply, "retry-after"));
	expect_that(wait_s >= 1 && wait_s <= 20, "Retry-After: %d", wait_s);
	/* a repetition is not refused, and a key that is new is */
	expect_text(id_of(ask_with("alice-token", key, "POST", "/v1/jobs", spec)->json), id_of(keyed->json));
	expect_quota(try("alice-token", "/text/5", text("'idempotency_key':'%s'", new_key())), "3 jobs a minute");
	taken(try("bob-token", "/text/5", ""));
	expect_that(metric("fetchpool_jobs_submitted_total") < 0, "the metrics are open");
}
END_TEST

START_TEST(so_many_waiting)
{
	start_with("alice-token name=alice max-queued=2\nbob-token\n");
	json_t *first = taken(try("alice-token", "/text/5", "'delay':'1h'"));
	taken(try("alice-token", "/text/5", "'delay':'1h'"));
	struct client_reply *reply = try("alice-token", "/text/5", "");
	expect_quota(reply, "2 jobs that wait (max-queued)");
	expect_header(reply, "retry-after", "1");
	taken(try("bob-token", "/text/5", ""));
	expect_status(ask("alice-token", "POST", text("/v1/jobs/%s/cancel", id_of(first)), NULL), 200);
	finished("alice-token", taken(try("alice-token", "/text/5", "")));
	taken(try("alice-token", "/text/5", "'delay':'1h'"));
	expect_quota(try("alice-token", "/text/5", "'delay':'1h'"), "2 jobs that wait");
}
END_TEST

START_TEST(so_many_unfinished)
{
	const char *key = new_key();

	start_with("alice-token name=alice max-in-flight=2\n");
	json_t *first = taken(try("alice-token", text("/hold?k=%s", key), ""));
	json_t *second = taken(try("alice-token", text("/hold?k=%s", key), ""));
	expect_quota(try("alice-token", "/text/5", ""), "2 unfinished jobs (max-in-flight");
	origin_await_seen(the_origin, key, 1);
	expect_quota(try("alice-token", "/text/5", ""), "2 unfinished jobs (max-in-flight");
	origin_release(the_origin, key);
	finished("alice-token", first);
	finished("alice-token", second);
	finished("alice-token", taken(try("alice-token", "/text/5", "")));
}
END_TEST

/* Those above the limit wait, while those of others pass them at the same origin; and each end lets the next one begin. */
START_TEST(above_the_limit_jobs_wait)
{
	const char *key = new_key();
	json_t *jobs[6];

	start_with("alice-token name=alice max-in-flight=2 max-queued=10\nbob-token\n");
	for (int i = 0; i < 6; i++)
		jobs[i] = taken(try("alice-token", text("/hold?k=%s", key), "'priority':5"));
	origin_await_seen(the_origin, key, 1);
	finished("bob-token", taken(try("bob-token", "/text/5", "")));
	expect_that(origin_count(the_origin, key) == 2, "%zu run", origin_count(the_origin, key));
	struct client_reply *reply = ask("alice-token", "GET", "/v1/jobs?state=running", NULL);
	expect_that(json_array_size(json_at(reply->json, "jobs")) == 2, "%s", dumped(reply->json));
	/* one that waits and one that runs go: a third begins */
	expect_status(ask("alice-token", "DELETE", text("/v1/jobs/%s", id_of(jobs[2])), NULL), 204);
	expect_status(ask("alice-token", "DELETE", text("/v1/jobs/%s", id_of(jobs[0])), NULL), 204);
	origin_await_seen(the_origin, key, 2);
	finished("bob-token", taken(try("bob-token", "/text/5", "")));
	expect_that(origin_count(the_origin, key) == 3, "%zu have run", origin_count(the_origin, key));
	origin_release(the_origin, key);
	for (int i = 1; i < 6; i++)
		if (i != 2)
			expect(finished("alice-token", jobs[i]), "state", "'succeeded'");
}
END_TEST

/* ---- over a restart and a reload */

static const char *
gauge_of(const char *token, const char *line)
{
	struct client_reply *reply = ask(token, "GET", "/metrics", NULL);
	const char *at = strstr(reply->body.data, text("\n%s ", line));

	expect_status(reply, 200);
	return at == NULL ? NULL : text("%.*s", (int)strcspn(at + strlen(line) + 2, "\n"), at + strlen(line) + 2);
}

START_TEST(a_restart_keeps_owners)
{
	const char *tokens = file_with("tokens",
		"alice-token name=alice max-queued=3 max-in-flight=1\nbob-token name=bob\nroot-token scope=admin\n");
	const char *key = new_key(), *idempotency = text("Idempotency-Key: %s\r\n", new_key());
	const char *spec = text("{'url':'%s'}", url("/text/5"));
	struct server *server = start_first(NULL);
	json_t *nobodys = submit_later("");
	const char *dir = end_by(server, SIGTERM);

	server = start_kept(dir, "--auth-token-file", tokens);
	json_t *done = taken(ask_with("alice-token", idempotency, "POST", "/v1/jobs", spec));
	finished("alice-token", done);
	json_t *running = taken(try("alice-token", text("/hold?k=%s", key), ""));
	origin_await_seen(the_origin, key, 0);
	json_t *waiting = taken(try("alice-token", text("/hold?k=%s", key), ""));
	taken(try("alice-token", "/text/5", "'delay':'1h'"));
	taken(try("alice-token", "/text/5", "'delay':'1h'"));
	expect_quota(try("alice-token", "/text/5", ""), "3 jobs that wait");
	end_by(server, _i == 0 ? SIGKILL : SIGTERM);

	server = start_kept(dir, "--auth-token-file", tokens);
	origin_await_seen(the_origin, key, 1);
	expect_quota(try("alice-token", "/text/5", ""), "3 jobs that wait");
	expect_text(gauge_of("root-token", "fetchpool_token_waiting_jobs{token=\"alice\"}"), "3");
	expect_text(gauge_of("root-token", "fetchpool_token_running_jobs{token=\"alice\"}"), "1");
	expect_status(ask("alice-token", "GET", text("/v1/jobs/%s", id_of(done)), NULL), 200);
	expect_code(ask("bob-token", "GET", text("/v1/jobs/%s", id_of(done)), NULL), 404, "not_found");
	expect_code(ask("bob-token", "GET", text("/v1/jobs/%s", id_of(running)), NULL), 404, "not_found");
	expect_text(id_of(ask_with("alice-token", idempotency, "POST", "/v1/jobs", spec)->json), id_of(done));
	expect_text(all_pages("bob-token", ""), "");
	/* what was submitted before there were tokens is the admins' alone */
	expect_code(ask("alice-token", "GET", text("/v1/jobs/%s", id_of(nobodys)), NULL), 404, "not_found");
	expect_status(ask("root-token", "DELETE", text("/v1/jobs/%s", id_of(nobodys)), NULL), 204);
	origin_release(the_origin, key);
	finished("alice-token", running);
	finished("alice-token", waiting);
	end_by(server, SIGTERM);

	/* and without tokens everyone sees everything again */
	start_kept(dir, NULL);
	expect_status(get("/v1/jobs/%s", id_of(done)), 200);
}
END_TEST

static void
reload_with(struct server *server, const char *tokens, size_t times)
{
	int64_t until = mono_ms() + SERVER_PATIENCE_MS;

	file_with("tokens", tokens);
	server_signal(server, SIGHUP);
	while (server_count_lines(server, "reloaded tokens") < times)
		expect_that(mono_ms() < until, "it was not reloaded");
}

START_TEST(a_reload_changes_tokens)
{
	const char *key = new_key();
	struct server *server = start_with("alice-token name=alice max-in-flight=1 max-queued=5\nbob-token name=bob\n");
	json_t *jobs[3];

	for (int i = 0; i < 3; i++)
		jobs[i] = taken(try("alice-token", text("/hold?k=%s", key), ""));
	origin_await_seen(the_origin, key, 0);
	/* a new secret and another limit for the same name, bob is gone, carol comes */
	reload_with(
		server, "new-token name=alice max-in-flight=2 max-queued=1\ncarol-token name=carol scope=read\n", 1);
	origin_await_seen(the_origin, key, 1);
	expect_problem(ask("alice-token", "GET", "/v1/info", NULL), 401, NULL);
	expect_problem(ask("bob-token", "GET", "/v1/info", NULL), 401, NULL);
	expect_status(ask("carol-token", "GET", "/v1/info", NULL), 200);
	expect_status(ask("new-token", "GET", text("/v1/jobs/%s", id_of(jobs[2])), NULL), 200);
	expect_quota(try("new-token", "/text/5", ""), "1 jobs that wait");
	/* a mistake keeps what there is */
	file_with("tokens", "new-token name=alice\nother-token name=alice\n");
	server_signal(server, SIGHUP);
	expect_that(server_await_line(server, "tokens:2: name: a token is called alice already"),
		"the mistake is not named");
	expect_quota(try("new-token", "/text/5", ""), "1 jobs that wait");
	origin_release(the_origin, key);
	for (int i = 0; i < 3; i++)
		finished("new-token", jobs[i]);
}
END_TEST

START_TEST(a_removed_tokens_wait_ends_well)
{
	const char *key = new_key();
	struct server *server = start_with("alice-token name=alice\n");
	json_t *job = taken(try("alice-token", text("/hold?k=%s", key), ""));
	struct client_wire *wire = open_wire();
	int64_t until = mono_ms() + SERVER_PATIENCE_MS;

	wire_send(wire,
		"GET /v1/jobs/%s?wait=30s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer alice-token\r\n\r\n",
		id_of(job));
	origin_await_seen(the_origin, key, 0);
	while (strstr(ask("alice-token", "GET", "/metrics", NULL)->body.data, "\nfetchpool_waiters 1\n") == NULL)
		expect_that(mono_ms() < until, "it does not wait");
	reload_with(server, "bob-token name=bob\n", 1);
	origin_release(the_origin, key);
	struct client_reply *reply = wire_receive(wire);
	expect_status(reply, 200);
	expect(reply->json, "state", "'succeeded'");
	expect_problem(ask("alice-token", "GET", text("/v1/jobs/%s", id_of(job)), NULL), 401, NULL);
}
END_TEST

/* ---- as they are written down */

START_TEST(sections_and_file_add_up)
{
	const char *config = file_with("tokens.conf",
		text("auth-token-file = %s\n"
		     "token \"carol\" {\n\tsha256 = %s\n\tscope = {read}\n}\n"
		     "token dave { token = dave-token }\n",
			file_with("tokens", "alice-token name=alice\n"),
			sha256_of("carol-token", strlen("carol-token"))));

	start_server("--config", config);
	expect_status(ask("alice-token", "GET", "/v1/info", NULL), 200);
	expect_status(ask("carol-token", "GET", "/v1/info", NULL), 200);
	expect_code(try("carol-token", "/text/5", ""), 403, "needs_scope_submit");
	finished("dave-token", taken(try("dave-token", "/text/5", "")));
	expect_problem(get("/v1/info"), 401, NULL);
}
END_TEST

START_TEST(a_section_alone_is_enough)
{
	const char *config = file_with("alone.conf", "listen = 0.0.0.0:0\ntoken dave {\n\ttoken = dave-token\n}\n");

	start_server("--listen", "0.0.0.0:0", "--config", config);
	expect_problem(get("/v1/info"), 401, NULL);
	expect_status(ask("dave-token", "GET", "/v1/info", NULL), 200);
}
END_TEST

static const struct {
	const char *tokens, *config, *wanted;
} mistakes[] = {
	{"a\nb x=1\n", "", "tokens:2: x: there is no such setting of a token"},
	{"a scope=all\n", "", "tokens:1: scope: \"all\" is none of submit, read, admin"},
	{"a\n\n# b\na\n", "", "tokens:4: this token is there already, at "},
	{"# nothing\n", "", "there is no token in it"},
	{"a\n", "token b {\n}\n", "bad.conf:2: token \"b\": it lacks its token: give its sha256"},
	{"a name=b\n", "token b { token = x }\n", "tokens:1: name: a token is called b already, at "},
};

START_TEST(mistakes_are_named)
{
	const char *tokens = file_with("tokens", mistakes[_i].tokens),
		   *config = file_with("bad.conf", mistakes[_i].config);

	for (int check = 0; check < 2; check++) {
		const struct server_run *run = check
			? run_server("--check-config", "--auth-token-file", tokens, "--config", config)
			: run_server("--state-dir", new_state_dir(), "--auth-token-file", tokens, "--config", config);

		expect_that(run->status == 2, "status %d", run->status);
		expect_that(strstr(run->err, mistakes[_i].wanted) != NULL, "it says: %s", run->err);
	}
}
END_TEST

/* An admin sees the figures of all, others their own. */
START_TEST(figures_tell_of_tokens)
{
	start_with(TWO_AND_AN_ADMIN);
	taken(try("alice-token", "/text/5", "'delay':'1h'"));
	finished("bob-token", taken(try("bob-token", "/text/5", "")));
	expect_text(gauge_of("root-token", "fetchpool_token_waiting_jobs{token=\"alice\"}"), "1");
	expect_text(gauge_of("root-token", "fetchpool_token_submitted_jobs{token=\"bob\"}"), "1");
	expect_text(gauge_of("bob-token", "fetchpool_token_submitted_jobs{token=\"bob\"}"), "1");
	expect_text(gauge_of("bob-token", "fetchpool_token_running_jobs{token=\"bob\"}"), "0");
	expect_that(gauge_of("bob-token", "fetchpool_token_submitted_jobs{token=\"alice\"}") == NULL, "bob sees alice");
	expect_problem(ask("eve-token", "GET", "/v1/info", NULL), 401, NULL);
	expect_text(gauge_of("root-token", "fetchpool_token_refusals_total{status=\"401\"}"), "1");
	expect_text(gauge_of("root-token", "fetchpool_token_refusals_total{status=\"429\"}"), "0");
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("tokens");
	TCase *tests = rig_case(suite, "scopes", share_scopes);

	tcase_add_loop_test(tests, scopes_open_calls, 0, COUNT_OF(calls));
	tcase_add_test(tests, a_submitter_awaits_its_own);
	tests = rig_case(suite, "owners", share_three);
	tcase_add_test(tests, others_jobs_are_unknown);
	tcase_add_test(tests, lists_hold_ones_own);
	tcase_add_test(tests, keys_are_ones_own);
	tests = rig_case(suite, "alone", NULL);
	tcase_add_test(tests, so_many_a_minute);
	tcase_add_test(tests, so_many_waiting);
	tcase_add_test(tests, so_many_unfinished);
	tcase_add_test(tests, above_the_limit_jobs_wait);
	tcase_add_loop_test(tests, a_restart_keeps_owners, 0, 2);
	tcase_add_test(tests, a_reload_changes_tokens);
	tcase_add_test(tests, a_removed_tokens_wait_ends_well);
	tcase_add_test(tests, sections_and_file_add_up);
	tcase_add_test(tests, a_section_alone_is_enough);
	tcase_add_loop_test(tests, mistakes_are_named, 0, COUNT_OF(mistakes));
	tcase_add_test(tests, figures_tell_of_tokens);
	return rig_run(suite);
}
