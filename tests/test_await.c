/* Awaiting: in the submission, on a job, on many at once. */
#include "rig.h"

#include <string.h>

static struct client_reply *
submit_with(const char *query, const char *fields, const char *target_url)
{
	const char *spec = text("{\"url\":\"%s\"}", target_url);

	return post_bytes(
		text("/v1/jobs%s", query), text("Content-Type: application/json\r\n%s", fields), spec, strlen(spec));
}

/* ---- in the same call */

static const char *const waits[] = {"?wait=20s", "?wait=20", "?wait=20.5", "?wait=0.5m", "?wait=20000ms", "?wait=1h"};

START_TEST(a_submission_may_wait)
{
	struct client_reply *reply = submit_with(waits[_i], "", url("/delay/60"));

	expect_status(reply, 200);
	expect(reply->json, "state", "'succeeded'");
	expect(reply->json, "response.body", "'waited 60\\n'");
}
END_TEST

START_TEST(a_wait_that_is_too_short_gives_202)
{
	int64_t start = mono_ms();
	struct client_reply *reply = submit_with("?wait=200ms", "", url("/hold"));

	expect_status(reply, 202);
	expect_that(mono_ms() - start >= 190, "answered after %d ms", (int)(mono_ms() - start));
	expect(reply->json, "done", "false");
	expect_header(reply, "location", text("/v1/jobs/%s", id_of(reply->json)));
	expect_header(reply, "retry-after", "1");
}
END_TEST

static const struct {
	const char *query, *prefer;
	int status;
	const char *applied;
} preferences[] = {
	{"", "Prefer: wait=17\r\n", 200, "wait=17"},
	{"", "prefer: WAIT=17\r\n", 200, "wait=17"},
	{"", "Prefer: wait=\"17\"\r\n", 200, "wait=17"},
	{"", "Prefer: handling=lenient, wait=17; x=\"a,b\"\r\n", 200, "wait=17"},
	{"", "Prefer: handling=lenient\r\nPrefer: wait=17\r\n", 200, "wait=17"},
	{"", "Prefer: respond-async, wait=17\r\n", 200, "wait=17"},
	{"?wait=19s", "Prefer: wait=17\r\n", 200, "wait=19"},
	{"?wait=19.9s", "", 200, "wait=19"},
	{"?wait=1h", "", 200, "wait=25"},
	{"", "Prefer: wait=3600\r\n", 200, "wait=25"},
	{"", "Prefer: respond-async\r\n", 202, NULL},
	{"", "Prefer: x=\"wait=17\"\r\n", 202, NULL},
	{"", "", 202, NULL},
};

START_TEST(prefer_is_understood)
{
	/* Long enough for the 202s to be sent first. */
	struct client_reply *reply = submit_with(preferences[_i].query, preferences[_i].prefer, url("/delay/300"));

	expect_status(reply, preferences[_i].status);
	if (preferences[_i].applied)
		expect_header(reply, "preference-applied", preferences[_i].applied);
}
END_TEST

START_TEST(prefer_works_on_a_job)
{
	json_t *job = submit(url("/delay/100"), "");
	struct client_reply *reply = call_with("GET", "Prefer: wait=20\r\n", "/v1/jobs/%s", id_of(job));

	expect_status(reply, 200);
	expect(reply->json, "state", "'succeeded'");
	expect_header(reply, "preference-applied", "wait=20");
}
END_TEST

static const char *const bad_waits[] = {"wait=soon", "wait=-1s", "wait=5parsecs", "wait=1e999",
	"wait=", "wait=1s&wait=2s", "wiat=1s", "wait=100000h", "body=all", "wait=nan", "wait=5%20s"};

START_TEST(a_bad_wait_is_400_and_stores_nothing)
{
	const char *key = new_key();

	expect_problem(
		post(text("/v1/jobs?%s", bad_waits[_i]), "{'url':'%s','tags':['%s']}", url("/echo"), key), 400, NULL);
	expect_problem(get("/v1/jobs/%s?%s", id_of(submit_later("")), bad_waits[_i]), 400, NULL);
	expect(get("/v1/jobs?tag=%s", key)->json, "jobs", "[]");
}
END_TEST

/* ---- on a job */

START_TEST(get_waits_for_the_end)
{
	const char *key = new_key();
	json_t *job = submit(url("/hold?k=%s", key), "");
	struct call *call = call_start("GET", text("/v1/jobs/%s?wait=20s", id_of(job)), NULL);
	struct client_reply *reply;

	await_metric("fetchpool_waiters", 1);
	origin_release(the_origin, key);
	reply = call_end(call);
	expect_status(reply, 200);
	expect(reply->json, "state", "'succeeded'");
}
END_TEST

START_TEST(get_gives_the_unfinished_job_when_time_is_up)
{
	json_t *job = submit(url("/hold"), "");
	int64_t start = mono_ms();
	struct client_reply *reply = get("/v1/jobs/%s?wait=200ms", id_of(job));

	expect_status(reply, 200);
	expect(reply->json, "done", "false");
	expect_that(mono_ms() - start >= 190, "answered after %d ms", (int)(mono_ms() - start));
}
END_TEST

START_TEST(a_finished_job_is_not_waited_for)
{
	json_t *job = fetch(url("/echo"), "");
	int64_t start = mono_ms();

	expect(get("/v1/jobs/%s?wait=20s", id_of(job))->json, "state", "'succeeded'");
	expect(get("/v1/jobs/%s?wait=20s&since=%d", id_of(job), (int)json_int_at(job, "version"))->json, "state",
		"'succeeded'");
	expect(get("/v1/jobs/%s?wait=20s&since=1000000", id_of(job))->json, "state", "'succeeded'");
	expect_that(mono_ms() - start < 15000, "it waited");
}
END_TEST

START_TEST(since_gives_any_newer_version)
{
	json_t *queued = submit(url("/hold"), "'delay':'200ms'");
	int version = (int)json_int_at(queued, "version");
	struct client_reply *reply = get("/v1/jobs/%s?wait=20s&since=%d", id_of(queued), version);

	expect_status(reply, 200);
	expect(reply->json, "state", "'running'");
	/* And at once, when it is older than what there is. */
	expect(get("/v1/jobs/%s?wait=20s&since=%d", id_of(queued), version)->json, "state", "'running'");
	version = (int)json_int_at(reply->json, "version");
	expect(get("/v1/jobs/%s?wait=100ms&since=%d", id_of(queued), version)->json, "version", "%d", version);
	poke("/v1/jobs/%s/cancel", id_of(queued));
}
END_TEST

START_TEST(a_bad_since_is_400)
{
	const char *id = id_of(submit_later(""));

	expect_problem(get("/v1/jobs/%s?wait=1s&since=x", id), 400, NULL);
	expect_problem(get("/v1/jobs/%s?wait=1s&since=-1", id), 400, NULL);
}
END_TEST

START_TEST(the_etag_is_the_version)
{
	json_t *job = fetch(url("/echo"), "");
	struct client_reply *reply = get("/v1/jobs/%s", id_of(job));

	expect_header(reply, "etag", text("W/\"%d\"", (int)json_int_at(job, "version")));
}
END_TEST

START_TEST(if_none_match_gives_304)
{
	const char *id = id_of(fetch(url("/echo"), ""));
	const char *etag = client_field(get("/v1/jobs/%s", id), "etag");
	struct client_reply *same = call_with("GET", text("If-None-Match: %s\r\n", etag), "/v1/jobs/%s", id);

	expect_status(same, 304);
	expect_header(same, "etag", etag);
	expect_status(call_with("GET", "If-None-Match: W/\"0\"\r\n", "/v1/jobs/%s", id), 200);
	expect_status(call_with("GET", "If-None-Match: \"no version\"\r\n", "/v1/jobs/%s", id), 200);
}
END_TEST

START_TEST(if_none_match_waits_like_since)
{
	const char *key = new_key();
	json_t *job = job_in_state(submit(url("/hold?k=%s", key), ""), "running");
	const char *etag = client_field(get("/v1/jobs/%s", id_of(job)), "etag");
	int64_t start = mono_ms();
	struct client_reply *reply =
		call_with("GET", text("If-None-Match: %s\r\n", etag), "/v1/jobs/%s?wait=200ms", id_of(job));

	expect_status(reply, 304);
	expect_that(mono_ms() - start >= 190, "answered after %d ms", (int)(mono_ms() - start));
	origin_release(the_origin, key);
	reply = call_with("GET", text("If-None-Match: %s\r\n", etag), "/v1/jobs/%s?wait=20s", id_of(job));
	expect_status(reply, 200);
	expect(reply->json, "state", "'succeeded'");
}
END_TEST

static const char *const unknown[] = {UNKNOWN_ID, "nonsense", "019aa0c4-6d0e-7c61-9d3a-2f6f3b9c1f0", "%00", "x%2Fy"};

START_TEST(an_unknown_id_is_404)
{
	expect_problem(get("/v1/jobs/%s", unknown[_i]), 404, NULL);
	expect_problem(get("/v1/jobs/%s?wait=20s", unknown[_i]), 404, NULL);
	expect_problem(poke("/v1/jobs/%s/cancel", unknown[_i]), 404, NULL);
	expect_problem(del("/v1/jobs/%s", unknown[_i]), 404, NULL);
}
END_TEST

START_TEST(head_works_like_get)
{
	json_t *job = fetch(url("/text/100"), "");
	struct client_reply *whole = get("/v1/jobs/%s", id_of(job));
	struct client_reply *head = call_with("HEAD", "", "/v1/jobs/%s?wait=1s", id_of(job));

	expect_status(head, 200);
	expect_header(head, "etag", client_field(whole, "etag"));
	expect_header(head, "content-length", client_field(whole, "content-length"));
}
END_TEST

/* ---- on many */

static const char *
ids_of(json_t *const *jobs, size_t count)
{
	const char *list = "";

	for (size_t i = 0; i < count; i++)
		list = text("%s%s'%s'", list, i ? "," : "", id_of(jobs[i]));
	return list;
}

static json_t *wait_for(const char *format, ...) PRINTF_LIKE(1, 2);

static json_t *
wait_for(const char *format, ...)
{
	char body[4096];
	va_list arguments;
	struct client_reply *reply;

	va_start(arguments, format);
	vsnprintf(body, sizeof body, format, arguments);
	va_end(arguments);
	reply = post("/v1/wait", "%s", body);
	expect_status(reply, 200);
	expect_keys(reply->json, "", "finished pending");
	return reply->json;
}

START_TEST(any_ends_with_the_first)
{
	const char *key = new_key();
	json_t *jobs[2] = {submit(url("/hold"), ""), submit(url("/hold?k=%s", key), "")};
	struct call *call =
		call_start("POST", "/v1/wait", jtext("{'ids':[%s],'mode':'any','timeout':'20s'}", ids_of(jobs, 2)));
	struct client_reply *reply;

	await_metric("fetchpool_waiters", 1);
	origin_release(the_origin, key);
	reply = call_end(call);
	expect_status(reply, 200);
	expect(reply->json, "pending", "['%s']", id_of(jobs[0]));
	expect(reply->json, "finished.0.id", "'%s'", id_of(jobs[1]));
	expect_keys(reply->json, "finished.0", JOB_KEYS);
	expect(reply->json, "finished.0.response.body", "'let go\\n'");
}
END_TEST

/* Three held jobs that ended in the order 2, 0; the third goes on. */
static void
end_two_of_three(json_t **ret_jobs)
{
	const char *keys[3];

	for (size_t i = 0; i < 3; i++) {
		keys[i] = new_key();
		ret_jobs[i] = submit(url("/hold?k=%s", keys[i]), "");
	}
	origin_release(the_origin, keys[2]);
	job_done(ret_jobs[2]);
	origin_release(the_origin, keys[0]);
	job_done(ret_jobs[0]);
}

static const struct {
	const char *mode;
	bool waits;
} modes[] = {{"'mode':'any',", false}, {"'mode':1,", false}, {"'mode':2,", false}, {"'mode':3,", true},
	{"'mode':'all',", true}, {"", true}};

START_TEST(finished_jobs_come_in_finishing_order)
{
	json_t *jobs[3], *answer;
	int64_t start;

	end_two_of_three(jobs);
	start = mono_ms();
	answer = wait_for("{'ids':[%s],%s'timeout':'300ms'}", ids_of(jobs, 3), modes[_i].mode);
	expect_that(!modes[_i].waits || mono_ms() - start >= 290, "answered after %d ms", (int)(mono_ms() - start));
	expect_that(json_array_size(json_at(answer, "finished")) == 2, "%zu finished",
		json_array_size(json_at(answer, "finished")));
	expect(answer, "finished.0.id", "'%s'", id_of(jobs[2]));
	expect(answer, "finished.1.id", "'%s'", id_of(jobs[0]));
	expect(answer, "pending", "['%s']", id_of(jobs[1]));
}
END_TEST

START_TEST(all_ends_with_the_last)
{
	json_t *jobs[3] = {submit(url("/delay/150"), ""), submit(url("/delay/10"), ""), submit(url("/close"), "")};
	json_t *answer = wait_for("{'ids':[%s]}", ids_of(jobs, 3));

	expect(answer, "pending", "[]");
	expect_that(json_array_size(json_at(answer, "finished")) == 3, "%zu finished",
		json_array_size(json_at(answer, "finished")));
	expect(answer, "finished.2.id", "'%s'", id_of(jobs[0]));
}
END_TEST

START_TEST(doubles_count_once)
{
	json_t *job = fetch(url("/echo"), ""), *other = submit_later("");
	json_t *answer =
		wait_for("{'ids':['%s','%s','%s'],'mode':2,'timeout':'50ms'}", id_of(job), id_of(job), id_of(other));

	expect_that(json_array_size(json_at(answer, "finished")) == 1, "%zu finished",
		json_array_size(json_at(answer, "finished")));
	expect(answer, "pending", "['%s']", id_of(other));
}
END_TEST

START_TEST(unknown_ids_are_named)
{
	struct client_reply *reply = post(
		"/v1/wait", "{'ids':['%s','" UNKNOWN_ID "'],'mode':'any','timeout':'1s'}", id_of(submit_later("")));

	expect_problem(reply, 404, NULL);
	expect_that(strstr(reply->body.data, UNKNOWN_ID), "the unknown id is not named: %s", reply->body.data);
}
END_TEST

START_TEST(a_thousand_ids_and_no_more)
{
	const char *id = id_of(fetch(url("/echo"), ""));
	const char *more = repeated(text("'%s',", id), 999);

	expect_status(post("/v1/wait", "{'ids':[%s'%s']}", more, id), 200);
	expect_problem(post("/v1/wait", "{'ids':[%s'%s','%s']}", more, id, id), 400, NULL);
}
END_TEST

static const struct {
	const char *body, *pointer;
} bad_many[] = {
	{"{'ids':['" UNKNOWN_ID "'],'mode':'some'}", "'/mode'"},
	{"{'ids':['" UNKNOWN_ID "'],'mode':0}", "'/mode'"},
	{"{'ids':['" UNKNOWN_ID "'],'mode':-1}", "'/mode'"},
	{"{'ids':['" UNKNOWN_ID "'],'mode':1.5}", "'/mode'"},
	{"{'ids':['" UNKNOWN_ID "'],'timeout':'soon'}", "'/timeout'"},
	{"{'ids':['" UNKNOWN_ID "'],'timeout':-1}", "'/timeout'"},
	{"{'ids':'" UNKNOWN_ID "'}", "'/ids'"},
	{"{'ids':['" UNKNOWN_ID "',7]}", "'/ids/1'"},
	{"{'ids':[]}", "'/ids'"},
	{"{'mode':'all'}", NULL},
	{"{'ids':['" UNKNOWN_ID "'],'time_out':'1s'}", "'/time_out'"},
	{"[]", NULL},
};

START_TEST(a_bad_wait_for_many_is_400)
{
	expect_problem(post("/v1/wait", "%s", bad_many[_i].body), 400, bad_many[_i].pointer);
}
END_TEST

START_TEST(body_none_for_many)
{
	json_t *job = fetch(url("/text/10"), "");
	struct client_reply *reply = post("/v1/wait?body=none", "{'ids':['%s']}", id_of(job));

	expect_status(reply, 200);
	expect(reply->json, "finished.0.response.body", "null");
	expect(reply->json, "finished.0.response.body_bytes", "10");
}
END_TEST

START_TEST(the_cap_holds_everywhere)
{
	int64_t start;
	const char *id;

	start_server("--max-wait", "300ms");
	id = id_of(submit(url("/hold"), ""));
	start = mono_ms();
	expect(get("/v1/jobs/%s?wait=1h", id)->json, "done", "false");
	expect_that(mono_ms() - start >= 290, "a wait ended after %d ms", (int)(mono_ms() - start));
	start = mono_ms();
	expect(wait_for("{'ids':['%s'],'timeout':'1h'}", id), "pending", "['%s']", id);
	expect(wait_for("{'ids':['%s']}", id), "pending", "['%s']", id);
	expect_that(mono_ms() - start >= 580, "two waits ended after %d ms", (int)(mono_ms() - start));
	expect_status(submit_with("?wait=1h", "", url("/hold")), 202);
	expect_status(submit_with("", "Prefer: wait=3600\r\n", url("/hold")), 202);
}
END_TEST

START_TEST(a_wait_of_nothing_takes_no_place)
{
	struct client_reply *reply;
	struct client_wire *wire;
	const char *id;

	start_server("--max-waiters", "1");
	id = id_of(submit(url("/hold"), ""));
	wire = open_wire();
	wire_get(wire, "/v1/jobs/%s?wait=25s", id);
	expect_that(await_metric("fetchpool_waiters", 1), "nobody waits");
	expect_problem(get("/v1/jobs/%s?wait=25s", id), 503, NULL);
	expect(wait_for("{'ids':['%s'],'timeout':0}", id), "pending", "['%s']", id);
	expect(wait_for("{'ids':['%s'],'timeout':'0s','mode':'any'}", id), "pending", "['%s']", id);
	reply = get("/v1/jobs/%s?wait=0", id);
	expect_status(reply, 200);
	expect(reply->json, "done", "false");
	reply = call_with("GET", "Prefer: wait=0\r\n", "/v1/jobs/%s?since=1000", id);
	expect_status(reply, 200);
	expect(reply->json, "done", "false");
	expect_status(submit_with("?wait=0", "", url("/hold")), 202);
	expect_that(client_is_quiet(wire), "the one that waits was answered");
}
END_TEST

START_TEST(a_wait_that_finds_no_place_is_not_applied)
{
	struct client_reply *reply;
	struct client_wire *wire;

	start_server("--max-waiters", "1");
	wire = open_wire();
	wire_get(wire, "/v1/jobs/%s?wait=25s", id_of(submit(url("/hold"), "")));
	expect_that(await_metric("fetchpool_waiters", 1), "nobody waits");
	reply = submit_with("?wait=25s", "", url("/hold"));
	expect_status(reply, 202);
	expect_header(reply, "preference-applied", NULL);
	reply = submit_with("", "Prefer: wait=25\r\n", url("/hold"));
	expect_status(reply, 202);
	expect_header(reply, "preference-applied", NULL);
}
END_TEST

static void
setup(void)
{
	rig_share("--max-wait", "25s");
}

static void
add_many(TCase *tcase)
{
	tcase_add_test(tcase, any_ends_with_the_first);
	tcase_add_loop_test(tcase, finished_jobs_come_in_finishing_order, 0, COUNT_OF(modes));
	tcase_add_test(tcase, all_ends_with_the_last);
	tcase_add_test(tcase, doubles_count_once);
	tcase_add_test(tcase, unknown_ids_are_named);
	tcase_add_test(tcase, a_thousand_ids_and_no_more);
	tcase_add_loop_test(tcase, a_bad_wait_for_many_is_400, 0, COUNT_OF(bad_many));
	tcase_add_test(tcase, body_none_for_many);
}

static void
add_single(TCase *tcase)
{
	tcase_add_loop_test(tcase, a_submission_may_wait, 0, COUNT_OF(waits));
	tcase_add_test(tcase, a_wait_that_is_too_short_gives_202);
	tcase_add_loop_test(tcase, prefer_is_understood, 0, COUNT_OF(preferences));
	tcase_add_test(tcase, prefer_works_on_a_job);
	tcase_add_loop_test(tcase, a_bad_wait_is_400_and_stores_nothing, 0, COUNT_OF(bad_waits));
	tcase_add_test(tcase, get_waits_for_the_end);
	tcase_add_test(tcase, get_gives_the_unfinished_job_when_time_is_up);
	tcase_add_test(tcase, a_finished_job_is_not_waited_for);
	tcase_add_test(tcase, since_gives_any_newer_version);
	tcase_add_test(tcase, a_bad_since_is_400);
	tcase_add_test(tcase, the_etag_is_the_version);
	tcase_add_test(tcase, if_none_match_gives_304);
	tcase_add_test(tcase, if_none_match_waits_like_since);
	tcase_add_loop_test(tcase, an_unknown_id_is_404, 0, COUNT_OF(unknown));
	tcase_add_test(tcase, head_works_like_get);
}

int
main(void)
{
	Suite *suite = suite_create("await");
	TCase *own = rig_case(suite, "caps of their own", NULL);

	add_single(rig_case(suite, "one job", setup));
	add_many(rig_case(suite, "many jobs", setup));
	tcase_add_test(own, the_cap_holds_everywhere);
	tcase_add_test(own, a_wait_of_nothing_takes_no_place);
	tcase_add_test(own, a_wait_that_finds_no_place_is_not_applied);
	return rig_run(suite);
}
