/*
 * What is kept over an end of the daemon, however it ends: results, lists, the order of ends, files. Jobs that wait are in
 * test_durable_queue.c, those that ran at the end in test_recovery.c.
 */
#include "durable.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* ---- what is done */

static const struct {
	const char *target; /* a path on the origin, a whole URL, or NULL: where nobody listens */
	const char *more;
} done[] = {
	{"/echo",
		"'method':'POST','json':{'b':1,'a':[0.1,null]},'headers':{'X-One':'1','x-many':['a: b','c'],'X-No':''}"},
	{"/echo", "'auth':{'basic':{'user':'u','password':'p'}},'headers':{'Cookie':'a=b','X-Api-Key':['1','2']}"},
	{"/echo", "'tags':['zw\\u00f6lf',' a &=+','\\ud83d\\ude00'],'priority':-7,'ttl':'7d'"},
	{"/echo", "'meta':{'z':1e300,'a':{'\\u00e9':[true,null,-0.0,9223372036854775807]},'':'\\\\ \\u2028'}"},
	{"/echo?q=%C3%A9&r=a%20b+c#cut", "'delay':'30ms','timeout':'1h','deadline':'2h','queue_timeout':'3h'"},
	{"/echo", "'method':'PATCH','body_base64':'AAECAw=='"},
	{"/text/0", ""},
	{"/text/1000", "'method':'HEAD'"},
	{"/text/65536", ""},
	{"/text/65537", ""},
	{"/bytes/1000", ""},
	{"/bytes/65536", ""},
	{"/bytes/300000", ""},
	{"/raw?hex=610062", ""},
	{"/raw?hex=c0af&type=-", ""},
	{"/raw?hex=6869&type=text%2Fhtml;%20charset=x", ""},
	{"/status/204", ""},
	{"/status/304", ""},
	{"/status/404", ""},
	{"/redirect/3", ""},
	{"/redirect/3", "'max_redirects':0"},
	{"/latin1", ""},
	{"/cookie", ""},
	{"/headers/100", ""},
	{"/gzip", ""},
	{"/gzip/200000", ""},
	{"/br", ""},
	{"/unknowncoding", "'decompress':false"},
	{"/chunked/3", ""},
	{"/nocl", ""},
	{"/1xx", ""},
	{"/close", ""},
	{"/empty", ""},
	{"/garbage", ""},
	{"/badgzip", ""},
	{"/redirect/3", "'max_redirects':2"},
	{"/redirect-to?url=ftp:%2F%2Fx%2F", ""},
	{"/text/100", "'max_body_bytes':10"},
	{"/text/100000", "'max_body_bytes':70000"},
	{"/status/404", "'expect':{'status':['2xx',304]}"},
	{"/hold", "'timeout':'20ms'"},
	{"/stall/10", "'idle_timeout':'20ms'"},
	{"http://10.0.0.1/", ""},
	{NULL, ""},
};

/* The answer to the wait tells what is told ever after. */
static struct kept
fetch_and_keep(const char *target, const char *more)
{
	const char *to = !target ? text("http://127.0.0.1:%u/", closed_port())
		: *target == '/' ? url("%s", target)
				 : target;
	struct client_reply *reply = post("/v1/jobs?wait=25s", "{'url':'%s'%s%s}", to, *more ? "," : "", more);

	expect_status(reply, 200);
	expect(reply->json, "done", "true");
	expect_same(get("/v1/jobs/%s", id_of(reply->json))->body.data, reply->body.data);
	return keep(id_of(reply->json));
}

static struct kept
cancel_and_keep(json_t *job)
{
	struct client_reply *reply = poke("/v1/jobs/%s/cancel", id_of(job));

	expect_status(reply, 200);
	expect_same(get("/v1/jobs/%s", id_of(job))->body.data, reply->body.data);
	return keep(id_of(job));
}

START_TEST(done_jobs_do_not_change)
{
	struct kept kept[COUNT_OF(done) + 3];
	size_t count = 0;
	struct server *server = start_first(NULL);

	for (size_t i = 0; i < COUNT_OF(done); i++)
		kept[count++] = fetch_and_keep(done[i].target, done[i].more);
	kept[count++] = cancel_and_keep(submit_later("'tags':['never begun']"));
	kept[count++] = cancel_and_keep(job_in_state(submit(url("/hold"), ""), "running"));
	kept[count++] = cancel_and_keep(job_in_state(submit(url("/stall/10"), ""), "running"));
	server = start_kept(end_by(server, ways[_i]), NULL);
	expect_kept(kept, count);
	start_kept(end_by(server, ways[!_i]), NULL);
	expect_kept(kept, count);
	expect_that(metric("fetchpool_jobs_recovered_total") == 0, "a job that was done was taken up");
}
END_TEST

START_TEST(a_large_body_is_served_as_before)
{
	struct server *server = start_first(NULL);
	const char *want = origin_pattern_of(1 << 20);
	json_t *job = fetch(url("/bytes/%d", 1 << 20), "");
	const char *target = json_text_at(job, "response.body_url"), *etag;
	struct client_reply *reply;

	start_kept(end_by(server, ways[_i]), NULL);
	reply = get("%s", target);
	expect_that(reply->body.used == 1 << 20 && !memcmp(reply->body.data, want, 1 << 20), "the bytes differ");
	expect_header(reply, "etag", etag = text("\"%s\"", sha256_of(want, 1 << 20)));
	reply = call_with("GET", text("If-Range: %s\r\nRange: bytes=70000-70009\r\n", etag), "%s", target);
	expect_status(reply, 206);
	expect_header(reply, "content-range", "bytes 70000-70009/1048576");
	expect_that(reply->body.used == 10 && !memcmp(reply->body.data, want + 70000, 10), "the range differs");
	expect_status(call_with("GET", text("If-None-Match: %s\r\n", etag), "%s", target), 304);
	expect_status(call_with("GET", "Range: bytes=1048576-\r\n", "%s", target), 416);
}
END_TEST

START_TEST(what_was_cancelled_or_removed_stays_so)
{
	const char *key = new_key(), *dir;
	struct server *server = start_first(NULL);
	json_t *cancelled = submit(url("/hold?k=%s", key), "'tags':['%s']", key);
	const char *gone[] = {id_of(submit_later("'tags':['%s']", key)),
		id_of(fetch(url("/echo"), "'tags':['%s']", key)),
		id_of(fetch(url("/text/70000"), "'tags':['%s']", key)),
		id_of(job_in_state(submit(url("/hold"), "'tags':['%s']", key), "running"))};

	dir = text("%s", server_state_dir(server));
	await_seen(key);
	poke("/v1/jobs/%s/cancel", id_of(cancelled));
	expect_that(is_there(body_file(dir, gone[2])), "the large body is in no file of its own");
	for (size_t i = 0; i < COUNT_OF(gone); i++)
		expect_status(del("/v1/jobs/%s", gone[i]), 204);
	expect_that(!is_there(body_file(dir, gone[2])), "the body stays behind");
	start_kept(end_by(server, ways[_i]), NULL);
	expect(job_now(cancelled), "state", "'cancelled'");
	expect_that(origin_count(the_origin, key) == 1, "what was cancelled is fetched again");
	for (size_t i = 0; i < COUNT_OF(gone); i++) {
		expect_problem(get("/v1/jobs/%s", gone[i]), 404, NULL);
		expect_problem(get("/v1/jobs/%s/body", gone[i]), 404, NULL);
		expect_problem(del("/v1/jobs/%s", gone[i]), 404, NULL);
	}
	expect_text(listed(get("/v1/jobs?tag=%s", key)->json), text("%s ", id_of(cancelled)));
	expect(post("/v1/jobs/cancel", "{'tag':'%s'}", key)->json, "", "{'cancelled':0}");
	expect_problem(poke("/v1/jobs/%s/cancel", id_of(cancelled)), 409, NULL);
}
END_TEST

START_TEST(what_is_removed_after_a_restart_is_gone)
{
	struct server *server = start_first(NULL);
	const char *id = id_of(fetch(url("/text/70000"), ""));
	const char *dir = end_by(server, ways[_i]);

	server = start_kept(dir, NULL);
	expect_that(is_there(body_file(dir, id)), "the body is gone");
	expect_status(del("/v1/jobs/%s", id), 204);
	expect_that(!is_there(body_file(dir, id)), "the body stays behind");
	start_kept(end_by(server, ways[_i]), NULL);
	expect_problem(get("/v1/jobs/%s", id), 404, NULL);
}
END_TEST

/* ---- expiry */

static const struct {
	const char *ttl;
	unsigned down_ms;
} lives[] = {{"100ms", 120}, {"400ms", 0}};

START_TEST(an_expired_job_is_gone_after_a_restart)
{
	struct server *server = start_first(NULL);
	const char *key = new_key();
	json_t *job = fetch(url("/text/70000"), "'ttl':'%s','tags':['%s']", lives[_i].ttl, key), *late;
	json_t *stays = fetch(url("/text/1"), "'ttl':'1h','tags':['%s']", key);
	const char *dir = end_by(server, SIGKILL);

	let_pass(lives[_i].down_ms);
	start_kept(dir, NULL);
	expect_that(await_status(text("/v1/jobs/%s", id_of(job)), 404), "it does not expire");
	expect_problem(get("/v1/jobs/%s/body", id_of(job)), 404, NULL);
	await_no_file(body_file(dir, id_of(job)));
	expect(job_now(stays), "expires_at", "'%s'", json_text_at(stays, "expires_at"));
	expect_text(listed(get("/v1/jobs?tag=%s", key)->json), text("%s ", id_of(stays)));
	late = fetch(url("/text/1"), "'ttl':'50ms'"); /* and so do new ones */
	expect_that(await_status(text("/v1/jobs/%s", id_of(late)), 404), "it does not expire");
}
END_TEST

/* ---- order, lists, waits */

START_TEST(new_ids_sort_behind_old_ones)
{
	struct server *server = start_first(NULL);
	const char *before = "", *after;

	for (int i = 0; i < 50; i++)
		before = id_of(submit_later(""));
	for (int i = 0; i < 2; i++) {
		server = start_kept(end_by(server, ways[_i]), NULL);
		after = id_of(submit_later(""));
		expect_that(strcmp(after, before) > 0, "%s follows %s", after, before);
		before = after;
	}
}
END_TEST

/* Every page from this query on, by the links. */
static const char *
walked(const char *query)
{
	const char *target = text("/v1/jobs?%s", query), *all = "";

	while (target) {
		struct client_reply *reply = get("%s", target);
		const char *link = client_field(reply, "link");

		expect_status(reply, 200);
		all = text("%s%s", all, told(reply));
		target = link ? text("%.*s", (int)strcspn(link + 1, ">"), link + 1) : NULL;
	}
	return all;
}

START_TEST(lists_stay_as_they_were)
{
	struct server *server = start_first(NULL);
	struct origin *there = another_origin();
	const char *here = text("127.0.0.1:%u", origin_port(the_origin));
	const char *queries[] = {"", "limit=1", "limit=7", "state=queued", "state=queued&limit=3", "state=succeeded",
		"state=succeeded&limit=2", "state=failed,cancelled", "state=failed,cancelled&limit=1",
		"state=queued,succeeded&limit=4", "state=retrying", "tag=a", "tag=a&limit=2", "tag=a&state=succeeded",
		"tag=b&state=queued,failed&limit=1", "tag=c", "origin=127.0.0.1", text("origin=%s", here),
		text("origin=%s&limit=3", here), text("origin=%s&tag=a&state=queued", here), "batch=x",
		text("state=running&origin=%s", here)};
	const char *before[COUNT_OF(queries)];

	for (int i = 0; i < 6; i++) {
		fetch(url("/echo"), "'tags':['%s','x']", i % 2 ? "a" : "b");
		submit_later("'tags':['%s']", i % 3 ? "a" : "b");
		fetch(url_on(there, "/close"), "'tags':['%s']", i % 2 ? "b" : "a");
		poke("/v1/jobs/%s/cancel", id_of(submit_later("'tags':['a']")));
		submit(url_on(there, "/echo"), "'delay':'1h'");
	}
	for (size_t i = 0; i < COUNT_OF(queries); i++)
		before[i] = walked(queries[i]);
	server = start_kept(end_by(server, ways[_i]), NULL);
	for (size_t i = 0; i < COUNT_OF(queries); i++)
		expect_same(walked(queries[i]), before[i]);
	start_kept(end_by(server, ways[!_i]), NULL);
	for (size_t i = 0; i < COUNT_OF(queries); i++)
		expect_same(walked(queries[i]), before[i]);
}
END_TEST

START_TEST(a_cursor_outlives_a_restart)
{
	struct server *server = start_first(NULL);
	const char *ids[5], *cursor;

	for (int i = 0; i < 5; i++)
		ids[i] = id_of(submit_later(""));
	cursor = json_text_at(get("/v1/jobs?limit=2")->json, "next_cursor");
	start_kept(end_by(server, ways[_i]), NULL);
	submit_later("");
	expect_text(listed(get("/v1/jobs?limit=2&cursor=%s", escaped(cursor))->json), text("%s %s ", ids[2], ids[1]));
}
END_TEST

START_TEST(the_order_of_ends_is_kept)
{
	static const size_t order[] = {3, 1, 4, 0, 2};
	struct server *server = start_first(NULL);
	const char *keys[6], *ids = "", *spec, *before;
	json_t *jobs[6];
	struct client_reply *reply;

	for (size_t i = 0; i < COUNT_OF(jobs); i++) {
		jobs[i] = submit(url("/hold?k=%s", keys[i] = new_key()), "");
		ids = text("%s%s'%s'", ids, i ? "," : "", id_of(jobs[i]));
	}
	for (size_t i = 0; i < COUNT_OF(order); i++) {
		origin_release(the_origin, keys[order[i]]);
		job_done(jobs[order[i]]);
	}
	spec = text("{'ids':[%s],'mode':5}", ids);
	before = post("/v1/wait", "%s", spec)->body.data;
	start_kept(end_by(server, ways[_i]), NULL);
	expect_same(post("/v1/wait", "%s", spec)->body.data, before);
	origin_release(the_origin, keys[5]);
	reply = post("/v1/wait", "{'ids':[%s]}", ids);
	for (size_t i = 0; i < COUNT_OF(order); i++)
		expect(reply->json, text("finished.%zu.id", i), "'%s'", id_of(jobs[order[i]]));
	expect(reply->json, "finished.5.id", "'%s'", id_of(jobs[5])); /* the last one, though of another life */
	expect(reply->json, "pending", "[]");
}
END_TEST

START_TEST(live_jobs_can_be_awaited)
{
	const char *hold = new_key(), *key = new_key();
	struct server *server = start_busy(hold);
	json_t *job = submit(url("/hold?k=%s", key), "");
	struct call *calls[3];

	start_kept(end_by(server, ways[_i]), NULL);
	calls[0] = call_start("GET", text("/v1/jobs/%s?wait=25s", id_of(job)), NULL);
	calls[1] = call_start("POST", "/v1/wait", jtext("{'ids':['%s'],'timeout':'25s'}", id_of(job)));
	expect_that(await_metric("fetchpool_waiters", 2), "only %g wait", metric("fetchpool_waiters"));
	job_in_state(job, "running"); /* by since */
	calls[2] = call_start("GET", text("/v1/jobs/%s?wait=25s&since=50", id_of(job)), NULL);
	expect_that(await_metric("fetchpool_waiters", 3), "only %g wait", metric("fetchpool_waiters"));
	origin_release(the_origin, key);
	expect(call_end(calls[0])->json, "state", "'succeeded'");
	expect(call_end(calls[1])->json, "finished.0.state", "'succeeded'");
	expect(call_end(calls[2])->json, "state", "'succeeded'");
}
END_TEST

START_TEST(live_jobs_can_be_cancelled_and_removed)
{
	const char *tag = new_key(), *key = new_key();
	struct server *server = start_first(NULL);
	json_t *one = submit_later(""), *held = submit(url("/hold?k=%s", key), "'tags':['%s']", tag), *removed;

	for (int i = 0; i < 5; i++)
		submit_later("'tags':['%s']", tag);
	removed = submit_later("'tags':['%s']", tag);
	await_seen(key);
	start_kept(end_by(server, ways[_i]), NULL);
	expect(poke("/v1/jobs/%s/cancel", id_of(one))->json, "state", "'cancelled'");
	expect_status(del("/v1/jobs/%s", id_of(removed)), 204);
	expect_problem(get("/v1/jobs/%s", id_of(removed)), 404, NULL);
	expect(post("/v1/jobs/cancel", "{'tag':'%s'}", tag)->json, "", "{'cancelled':6}");
	expect(job_now(held), "state", "'cancelled'");
	expect_that(
		json_array_size(json_at(get("/v1/jobs?state=cancelled")->json, "jobs")) == 7, "not 7 are cancelled");
}
END_TEST

/* ---- files and neighbours */

START_TEST(bodies_that_no_job_names_are_swept)
{
	struct server *server = start_first(NULL);
	json_t *job = fetch(url("/bytes/70000"), "");
	const char *all = all_of(id_of(job)), *dir = end_by(server, ways[_i]);
	const char *strays[] = {body_file(dir, UNKNOWN_ID), body_file(dir, UNKNOWN_ID ".part"),
		text("%s.part", body_file(dir, id_of(job)))};
	const char *others[] = {body_file(dir, "README"), body_file(dir, UNKNOWN_ID ".bak"),
		body_file(dir, "x" UNKNOWN_ID), text("%s/notes.txt", dir)};

	for (size_t i = 0; i < COUNT_OF(strays); i++)
		make_file(strays[i], "stray");
	for (size_t i = 0; i < COUNT_OF(others); i++)
		make_file(others[i], "other");
	start_kept(dir, NULL);
	for (size_t i = 0; i < COUNT_OF(strays); i++)
		expect_that(!is_there(strays[i]), "%s was left", strays[i]);
	for (size_t i = 0; i < COUNT_OF(others); i++)
		expect_that(is_there(others[i]), "%s was removed", others[i]);
	expect_same(all_of(id_of(job)), all);
}
END_TEST

/* The fetch was cut off within a body that went to a file. */
START_TEST(a_part_of_a_body_is_swept)
{
	struct server *server = start_first(NULL);
	json_t *job = job_in_state(submit(url("/stall/100000"), ""), "running");
	int64_t until = mono_ms() + SERVER_PATIENCE_MS;
	const char *dir = text("%s", server_state_dir(server)), *part = body_file(dir, text("%s.part", id_of(job)));

	while (!is_there(part))
		expect_that(mono_ms() < until, "there is no %s", part);
	await_changes(2);
	end_by(server, ways[_i]);
	expect_that(is_there(part) == (ways[_i] == SIGKILL), "the end left %s there, or took it away", part);
	start_kept(dir, "--max-in-flight", "1", "--egress-deny", "127.0.0.1");
	expect_failed(job_done(job), "denied_by_policy", NULL);
	expect_that(!is_there(part), "%s was left", part);
}
END_TEST

START_TEST(a_state_directory_has_one_server)
{
	struct server *server = start_first(NULL);
	const char *dir = text("%s", server_state_dir(server));
	json_t *job = submit_later("");

	for (int i = 0; i < 2; i++) {
		const struct server_run *run =
			run_server("--listen", "127.0.0.1:0", "--state-dir", dir, "--store", i ? "memory" : "sqlite");

		expect_that(run->status == 1, "exit status %d: %s", run->status, run->err);
		expect_that(!strstr(run->err, "listening on"), "it listens: %s", run->err);
		expect_that(strstr(run->err, dir) && strstr(run->err, "another fetchpool"), "it says: %s", run->err);
	}
	expect(job_now(job), "state", "'queued'");
	start_kept(end_by(server, SIGKILL), NULL); /* whoever is dead locks nothing */
	expect(job_now(job), "state", "'queued'");
}
END_TEST

START_TEST(the_memory_store_leaves_the_files_alone)
{
	struct server *server = start_first(NULL);
	struct kept kept[] = {keep(id_of(fetch(url("/text/70000"), ""))), keep(id_of(fetch(url("/echo"), ""))),
		keep(id_of(submit_later("")))};
	const char *dir = end_by(server, ways[_i]), *files = files_of(dir), *id;

	server = start_server_on(dir, "--store", "memory");
	expect(get("/v1/info")->json, "store", "'memory'");
	expect(get("/v1/jobs")->json, "jobs", "[]");
	expect_problem(get("/v1/jobs/%s", kept[0].id), 404, NULL);
	id = id_of(fetch(url("/text/80000"), ""));
	submit_later("");
	expect_status(get("/v1/jobs/%s/body", id), 200);
	end_by(server, SIGTERM);
	expect_same(files_of(dir), files);
	start_kept(dir, NULL);
	expect_kept(kept, COUNT_OF(kept));
	expect_problem(get("/v1/jobs/%s", id), 404, NULL);
}
END_TEST

static void
add_kept(TCase *tcase)
{
	tcase_add_loop_test(tcase, done_jobs_do_not_change, 0, WAYS);
	tcase_add_loop_test(tcase, a_large_body_is_served_as_before, 0, WAYS);
	tcase_add_loop_test(tcase, what_was_cancelled_or_removed_stays_so, 0, WAYS);
	tcase_add_loop_test(tcase, what_is_removed_after_a_restart_is_gone, 0, WAYS);
	tcase_add_loop_test(tcase, an_expired_job_is_gone_after_a_restart, 0, COUNT_OF(lives));
}

static void
add_seen(TCase *tcase)
{
	tcase_add_loop_test(tcase, new_ids_sort_behind_old_ones, 0, WAYS);
	tcase_add_loop_test(tcase, lists_stay_as_they_were, 0, WAYS);
	tcase_add_loop_test(tcase, a_cursor_outlives_a_restart, 0, WAYS);
	tcase_add_loop_test(tcase, the_order_of_ends_is_kept, 0, WAYS);
	tcase_add_loop_test(tcase, live_jobs_can_be_awaited, 0, WAYS);
	tcase_add_loop_test(tcase, live_jobs_can_be_cancelled_and_removed, 0, WAYS);
}

static void
add_around(TCase *tcase)
{
	tcase_add_loop_test(tcase, bodies_that_no_job_names_are_swept, 0, WAYS);
	tcase_add_loop_test(tcase, a_part_of_a_body_is_swept, 0, WAYS);
	tcase_add_test(tcase, a_state_directory_has_one_server);
	tcase_add_loop_test(tcase, the_memory_store_leaves_the_files_alone, 0, WAYS);
}

int
main(void)
{
	Suite *suite = suite_create("durable");

	add_kept(rig_case(suite, "results", NULL));
	add_seen(rig_case(suite, "lists and waits", NULL));
	add_around(rig_case(suite, "files and neighbours", NULL));
	return rig_run(suite);
}
