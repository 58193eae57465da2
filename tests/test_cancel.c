/* Cancelling and removing: one job, many, on the wire. */
#include "rig.h"

#include <string.h>

static const char *const wires[] = {"/hold", "/drip/1000/20", "/stall/10"};

START_TEST(cancel_stops_the_fetch_on_the_wire)
{
	const char *key = new_key();
	json_t *job = submit(url("%s?k=%s", wires[_i], key), "");
	struct client_reply *reply;

	await_seen(key);
	reply = poke("/v1/jobs/%s/cancel", id_of(job));
	expect_status(reply, 200);
	expect_keys(reply->json, "", JOB_KEYS);
	expect(reply->json, "state", "'cancelled'");
	expect(reply->json, "done", "true");
	expect(reply->json, "response", "null");
	expect_that(time_at(reply->json, "finished_at") > 0, "no finished_at");
	expect_that(origin_await_end(the_origin, await_seen(key)) == ORIGIN_LEFT, "the connection stayed open");
	expect(job_now(job), "state", "'cancelled'");
}
END_TEST

START_TEST(cancel_while_connecting)
{
	json_t *job = job_in_state(submit(text("http://127.0.0.1:%u/", stuck_port()), ""), "running");

	expect(poke("/v1/jobs/%s/cancel", id_of(job))->json, "state", "'cancelled'");
}
END_TEST

START_TEST(a_cancelled_job_does_not_start)
{
	const char *key = new_key();
	json_t *job = submit(url("/echo?k=%s", key), "'delay':'150ms'");

	expect_status(poke("/v1/jobs/%s/cancel", id_of(job)), 200);
	/* One that was to start later has run: so would this one have. */
	fetch(url("/echo"), "'delay':'300ms'");
	expect_that(origin_count(the_origin, key) == 0, "it was fetched");
	expect(job_now(job), "attempts", "[]");
}
END_TEST

START_TEST(cancel_of_a_done_job_is_409)
{
	json_t *job = fetch(url("/text/10"), "");
	struct client_reply *reply = poke("/v1/jobs/%s/cancel", id_of(job));

	expect_problem(reply, 409, NULL);
	expect(reply->json, "job.id", "'%s'", id_of(job));
	expect(reply->json, "job.state", "'succeeded'");
	expect(job_now(job), "version", "%d", (int)json_int_at(job, "version"));
}
END_TEST

START_TEST(cancel_twice_is_409)
{
	const char *id = id_of(submit_later(""));

	expect_status(poke("/v1/jobs/%s/cancel", id), 200);
	expect_problem(poke("/v1/jobs/%s/cancel", id), 409, NULL);
}
END_TEST

START_TEST(cancel_reads_no_body)
{
	/* As curl -X POST (no length), curl -d '' (a form of no bytes), and someone who sends what nobody asked for. */
	expect_status(call_with("POST", "", "/v1/jobs/%s/cancel", id_of(submit_later(""))), 200);
	expect_status(post_bytes(text("/v1/jobs/%s/cancel", id_of(submit_later(""))),
			      "Content-Type: application/x-www-form-urlencoded\r\n", "", 0),
		200);
	expect_status(post_bytes(text("/v1/jobs/%s/cancel", id_of(submit_later(""))), "Content-Type: text/plain\r\n",
			      "please", 6),
		200);
}
END_TEST

START_TEST(delete_removes_a_done_job)
{
	json_t *job = fetch(url("/text/70000"), "");
	struct client_reply *reply = del("/v1/jobs/%s", id_of(job));

	expect_status(reply, 204);
	expect_that(reply->body.used == 0, "a 204 with a body");
	expect_problem(get("/v1/jobs/%s", id_of(job)), 404, NULL);
	expect_problem(get("/v1/jobs/%s/body", id_of(job)), 404, NULL);
	expect_problem(del("/v1/jobs/%s", id_of(job)), 404, NULL);
	expect_problem(poke("/v1/jobs/%s/cancel", id_of(job)), 404, NULL);
}
END_TEST

START_TEST(delete_stops_a_running_job)
{
	const char *key = new_key();
	json_t *job = submit(url("/hold?k=%s", key), "'tags':['%s']", key);

	await_seen(key);
	expect_status(del("/v1/jobs/%s", id_of(job)), 204);
	expect_that(origin_await_end(the_origin, await_seen(key)) == ORIGIN_LEFT, "the connection stayed open");
	expect_problem(get("/v1/jobs/%s", id_of(job)), 404, NULL);
	expect(get("/v1/jobs?tag=%s", key)->json, "jobs", "[]");
}
END_TEST

/* ---- many */

START_TEST(by_tag)
{
	const char *key = new_key();
	json_t *jobs[3], *spared = submit_later("'tags':['%s-not']", key),
			 *done = fetch(url("/echo"), "'tags':['%s']", key);

	for (size_t i = 0; i < 3; i++)
		jobs[i] = submit_later("'tags':['other','%s']", key);
	expect(post("/v1/jobs/cancel", "{'tag':'%s'}", key)->json, "", "{'cancelled':3}");
	for (size_t i = 0; i < 3; i++)
		expect(job_now(jobs[i]), "state", "'cancelled'");
	expect(job_now(spared), "state", "'queued'");
	expect(job_now(done), "state", "'succeeded'");
	expect(post("/v1/jobs/cancel", "{'tag':'%s'}", key)->json, "", "{'cancelled':0}");
}
END_TEST

START_TEST(by_ids)
{
	json_t *one = submit_later(""), *two = submit_later(""), *three = submit_later("");
	struct client_reply *reply = post(
		"/v1/jobs/cancel", "{'ids':['%s','%s','%s','" UNKNOWN_ID "']}", id_of(one), id_of(two), id_of(one));

	expect_status(reply, 200);
	expect(reply->json, "", "{'cancelled':2}");
	expect(job_now(one), "state", "'cancelled'");
	expect(job_now(three), "state", "'queued'");
}
END_TEST

START_TEST(by_state)
{
	const char *key = new_key();
	json_t *queued = submit_later("'tags':['%s']", key);
	json_t *running = job_in_state(submit(url("/hold"), "'tags':['%s']", key), "running");

	expect(post("/v1/jobs/cancel", "{'tag':'%s','state':'queued'}", key)->json, "", "{'cancelled':1}");
	expect(job_now(queued), "state", "'cancelled'");
	expect(job_now(running), "state", "'running'");
	expect(post("/v1/jobs/cancel", "{'tag':'%s','state':['queued','running']}", key)->json, "", "{'cancelled':1}");
	expect(post("/v1/jobs/cancel", "{'tag':'%s','state':'queued,running'}", key)->json, "", "{'cancelled':0}");
}
END_TEST

START_TEST(by_origin)
{
	const char *key = new_key();
	struct origin *there = another_origin();
	json_t *here = submit_later("'tags':['%s']", key);
	json_t *away = submit(url_on(there, "/echo"), "'delay':'1h','tags':['%s']", key);

	expect(post("/v1/jobs/cancel", "{'tag':'%s','origin':'127.0.0.1:%u'}", key, origin_port(there))->json, "",
		"{'cancelled':1}");
	expect(job_now(here), "state", "'queued'");
	expect(job_now(away), "state", "'cancelled'");
	expect(post("/v1/jobs/cancel", "{'tag':'%s','origin':'127.0.0.1'}", key)->json, "", "{'cancelled':1}");
}
END_TEST

static const struct {
	const char *body, *pointer;
} bad_cancels[] = {
	{"{'tagg':'x'}", "'/tagg'"},
	{"{'tag':'x','state':'sleeping'}", NULL},
	{"{'tag':7}", "'/tag'"},
	{"{'ids':'x'}", "'/ids'"},
	{"{'ids':[7]}", "'/ids/0'"},
	{"{'origin':''}", "'/origin'"},
	{"{'origin':'http://x/'}", "'/origin'"},
	{"{}", NULL},
	{"[1]", NULL},
};

START_TEST(a_bad_filter_cancels_nothing)
{
	json_t *job = submit_later("'tags':['x']");

	expect_problem(post("/v1/jobs/cancel", "%s", bad_cancels[_i].body), 400, bad_cancels[_i].pointer);
	expect(job_now(job), "state", "'queued'");
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("cancel");
	TCase *tcase = rig_case(suite, "cancel", rig_share_default);

	tcase_add_loop_test(tcase, cancel_stops_the_fetch_on_the_wire, 0, COUNT_OF(wires));
	tcase_add_test(tcase, cancel_while_connecting);
	tcase_add_test(tcase, a_cancelled_job_does_not_start);
	tcase_add_test(tcase, cancel_of_a_done_job_is_409);
	tcase_add_test(tcase, cancel_twice_is_409);
	tcase_add_test(tcase, cancel_reads_no_body);
	tcase_add_test(tcase, delete_removes_a_done_job);
	tcase_add_test(tcase, delete_stops_a_running_job);
	tcase_add_test(tcase, by_tag);
	tcase_add_test(tcase, by_ids);
	tcase_add_test(tcase, by_state);
	tcase_add_test(tcase, by_origin);
	tcase_add_loop_test(tcase, a_bad_filter_cancels_nothing, 0, COUNT_OF(bad_cancels));
	return rig_run(suite);
}
