/* Jobs that wait over an end of the daemon: nothing of what they were asked for is forgotten, and no clock stands still. */
#include "durable.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* ---- what they were asked for */

static const char *const waiting[] = {
	"'delay':'1h'",
	"'delay':'1h','tags':['zw\\u00f6lf','a b'],'meta':{'z':[1e300,{'a':null}],'b':'\\\\'},'priority':100",
	"'delay':'90m','deadline':'2h','queue_timeout':'30s','ttl':'1m','priority':-100",
	"'delay':'1h','method':'POST','body':'h\\u00e9llo','headers':{'X-One':'1','x-many':['a','b']}",
	"'delay':'1h','method':'PUT','json':{'b':1,'a':2},'auth':{'bearer':'secret'}",
	"'run_at':'%d-12-31T23:59:59.5+02:00','expect':{'status':['2xx',304]}",
};

START_TEST(waiting_jobs_do_not_change)
{
	struct kept kept[COUNT_OF(waiting)];
	struct server *server = start_first(NULL);
	int year = atoi(json_text_at(submit_later(""), "created_at")) + 2;

	for (size_t i = 0; i < COUNT_OF(waiting); i++) {
		bool dated = strstr(waiting[i], "%d");
		const char *more = dated ? text("'run_at':'%d-12-31T23:59:59.5+02:00'", year) : waiting[i];

		kept[i] = keep(id_of(submit(url("/echo"), "%s", more)));
	}
	server = start_kept(end_by(server, ways[_i]), NULL);
	expect_kept(kept, COUNT_OF(kept));
	start_kept(end_by(server, ways[!_i]), NULL);
	expect_kept(kept, COUNT_OF(kept));
	expect_that(metric("fetchpool_jobs_recovered_total") == COUNT_OF(kept) + 1, "%g jobs were taken up",
		metric("fetchpool_jobs_recovered_total"));
}
END_TEST

static const struct {
	const char *target, *more;
	const char *path, *value; /* of the job once it is done */
} specs[] = {
	{"/text/100", "'max_body_bytes':10", "error.code", "'too_large'"},
	{"/redirect/3", "'max_redirects':2", "error.code", "'too_many_redirects'"},
	{"/redirect/1", "'max_redirects':0", "response.status", "302"},
	{"/gzip", "'decompress':false", "response.headers.content-encoding", "['gzip']"},
	{"/gzip", "", "response.body", "'{\\'gzipped\\':true}'"},
	{"/status/404", "'expect':{'status':[200,'3xx']}", "error.code", "'expect_failed'"},
	{"/status/304", "'expect':{'status':[200,'3xx']}", "response.status", "304"},
	{"/text/5", "'expect':{'content_type':'application/json'}", "error.code", "'expect_failed'"},
	{"/text/5", "'expect':{'content_type':'text/plain'}", "error", "null"},
	{"/text/5", "'expect':{'sha256':'%s'}", "error.code", "'expect_failed'"},
	{"/stall/10", "'idle_timeout':'30ms'", "error.code", "'idle_timeout'"},
	{"/hold", "'timeout':'30ms'", "error.code", "'timeout'"},
	{"/hold", "'first_byte_timeout':'30ms'", "error.code", "'first_byte_timeout'"},
	{NULL, "'connect_timeout':'30ms'", "error.code", "'connect_timeout'"},
	{"/echo", "'ttl':'90s'", "error", "null"},
};

START_TEST(waiting_jobs_do_what_they_were_asked_for)
{
	const char *key = new_key(), *wrong_hash = sha256_of("x", 1);
	struct server *server = start_busy(key);
	json_t *jobs[COUNT_OF(specs)], *job;

	for (size_t i = 0; i < COUNT_OF(specs); i++) {
		const char *more =
			strstr(specs[i].more, "%s") ? text("'expect':{'sha256':'%s'}", wrong_hash) : specs[i].more;

		jobs[i] = submit(
			specs[i].target ? url("%s", specs[i].target) : text("http://127.0.0.1:%u/", stuck_port()), "%s",
			more);
		expect(jobs[i], "state", "'queued'");
	}
	start_kept(end_by(server, ways[_i]), NULL);
	origin_release(the_origin, key);
	for (size_t i = 0; i < COUNT_OF(specs); i++) {
		job = job_done(jobs[i]);
		expect(job, specs[i].path, "%s", specs[i].value);
		expect_that(json_array_size(json_at(job, "attempts")) == 1, "%s: not one attempt: %s", specs[i].more,
			dumped(json_at(job, "attempts")));
	}
	expect_that(time_at(job, "expires_at") - time_at(job, "finished_at") == 90000, "expires_at is %s",
		json_text_at(job, "expires_at"));
}
END_TEST

START_TEST(waiting_requests_are_sent_whole)
{
	const char *hold = new_key(), *key = new_key();
	const char *large = repeated("0123456789abcdef", 1 << 15);
	struct server *server = start_busy(hold);
	json_t *echo = submit(url("/sink?k=%s", key),
		"'method':'POST','body_base64':'AAECA/8=','auth':{'bearer':'tok.en'},"
		"'headers':{'X-One':'1','x-many':['a','b: c'],'X-Empty':'','Cookie':'sid=secret'}");
	json_t *empty = submit(url("/sink?k=%s", key), "'method':'POST','body':''");
	json_t *json = submit(url("/sink?k=%s", key), "'method':'PUT','json':{'b':1,'a':[0.1]}");
	json_t *whole = submit(url("/sink?k=%s", key), "'method':'PUT','body':'%s'", large);
	const struct origin_request *request;

	start_kept(end_by(server, ways[_i]), "--max-in-flight", "1");
	origin_release(the_origin, hold);
	expect(job_done(echo), "state", "'succeeded'");
	expect(job_done(empty), "state", "'succeeded'");
	expect(job_done(json), "state", "'succeeded'");
	expect(job_done(whole), "response.body", "'{\\'length\\':%zu,\\'sha256\\':\\'%s\\'}'", strlen(large),
		sha256_of(large, strlen(large)));
	request = origin_await_seen(the_origin, key, 0); /* they go in their old order */
	expect_text(hex_of(request->body, request->body_bytes), "00010203ff");
	expect_text(origin_field(request, "authorization"), "Bearer tok.en");
	expect_text(origin_field(request, "cookie"), "sid=secret");
	expect_text(origin_field(request, "x-one"), "1");
	expect_text(origin_field(request, "x-empty"), "");
	expect_that(origin_field_count(request, "x-many") == 2, "x-many is not sent twice");
	expect_text(origin_field(origin_await_seen(the_origin, key, 1), "content-length"), "0");
	request = origin_await_seen(the_origin, key, 2);
	expect_text(request->body, "{\"b\":1,\"a\":[0.1]}");
	expect_text(origin_field(request, "content-type"), "application/json");
	expect_that(origin_count(the_origin, key) == 4, "it was fetched %zu times", origin_count(the_origin, key));
}
END_TEST

START_TEST(priorities_hold)
{
	const char *key = new_key();
	struct server *server = start_busy(key);
	json_t *low = submit(url("/echo"), "'priority':-1"), *middle = submit(url("/echo"), "");
	json_t *high = submit(url("/echo"), "'priority':1"), *second = submit(url("/echo"), "");
	struct client_reply *reply;

	start_kept(end_by(server, ways[_i]), "--max-in-flight", "1");
	origin_release(the_origin, key);
	reply = post(
		"/v1/wait", "{'ids':['%s','%s','%s','%s']}", id_of(low), id_of(middle), id_of(high), id_of(second));
	expect_status(reply, 200);
	expect(reply->json, "finished.0.id", "'%s'", id_of(high));
	expect(reply->json, "finished.1.id", "'%s'", id_of(middle));
	expect(reply->json, "finished.2.id", "'%s'", id_of(second));
	expect(reply->json, "finished.3.id", "'%s'", id_of(low));
}
END_TEST

/* ---- clocks that run out while nobody looks */

START_TEST(clocks_go_on_while_it_is_down)
{
	const char *hold = new_key(), *key = new_key(), *dir;
	struct server *server = start_busy(hold);
	json_t *deadline[8], *queue[8], *due, *job;

	for (size_t i = 0; i < COUNT_OF(deadline); i++) {
		deadline[i] = submit(url("/hold?k=%s", key), "'deadline':'150ms','priority':9");
		queue[i] = submit(url("/hold?k=%s", key), "'queue_timeout':'150ms','priority':9");
	}
	due = submit(url("/echo"), "'delay':'150ms','queue_timeout':'20s','deadline':'1h'");
	dir = end_by(server, ways[_i]);
	let_pass(170);
	start_kept(dir, NULL);
	for (size_t i = 0; i < COUNT_OF(deadline); i++) {
		expect_failed(job = job_done(deadline[i]), "deadline_exceeded", "queue");
		expect(job, "attempts", "[]");
		expect(job, "started_at", "null");
		expect_failed(job = job_done(queue[i]), "queue_timeout", "queue");
		expect(job, "attempts", "[]");
	}
	expect_that(origin_count(the_origin, key) == 0, "what was too late was fetched");
	expect(job_done(due), "state", "'succeeded'");
}
END_TEST

START_TEST(a_deadline_counts_from_the_submission)
{
	const char *key = new_key();
	struct server *server = start_first(NULL);
	json_t *job = submit(url("/hold?k=%s", key), "'deadline':'1s'");
	int64_t life;

	await_seen(key);
	await_changes(2);
	start_kept(end_by(server, SIGKILL), NULL);
	expect_failed(job = job_done(job), "deadline_exceeded", NULL);
	life = time_at(job, "finished_at") - time_at(job, "created_at");
	expect_that(life >= 1000, "it ended after %d ms", (int)life);
}
END_TEST

/* ---- how many there may be */

static void
expect_full(void)
{
	struct client_reply *reply = post("/v1/jobs", "{'url':'%s'}", url("/echo"));

	expect_problem(reply, 503, NULL);
	expect(reply->json, "code", "'queue_full'");
}

START_TEST(the_queue_holds_those_of_before)
{
	struct server *server = start_first("--max-queued", "3");
	json_t *jobs[3];

	for (size_t i = 0; i < COUNT_OF(jobs); i++)
		jobs[i] = submit_later("");
	expect_full();
	server = start_kept(end_by(server, ways[_i]), "--max-queued", "3");
	expect_full();
	poke("/v1/jobs/%s/cancel", id_of(jobs[0]));
	jobs[0] = submit_later("");
	expect_full();
	start_kept(
		end_by(server, ways[_i]), "--max-queued", "2"); /* more than it would take are taken up all the same */
	expect_full();
	poke("/v1/jobs/%s/cancel", id_of(jobs[0]));
	expect_full();
	poke("/v1/jobs/%s/cancel", id_of(jobs[1]));
	submit_later("");
	expect_full();
	expect(job_now(jobs[2]), "state", "'queued'");
}
END_TEST

START_TEST(a_job_that_ran_does_not_count_twice)
{
	const char *key = new_key();
	struct server *server = start_first("--max-queued", "2");
	json_t *job = submit(url("/hold?k=%s", key), "");

	await_seen(key);
	await_changes(2);
	start_kept(end_by(server, ways[_i]), "--max-queued", "2");
	expect_that(origin_await_seen(the_origin, key, 1), "it does not run again");
	submit_later("");
	submit_later("");
	expect_full();
	origin_release(the_origin, key);
	job_done(job);
	expect_full();
}
END_TEST

static void
add_specs(TCase *tcase)
{
	tcase_add_loop_test(tcase, waiting_jobs_do_not_change, 0, WAYS);
	tcase_add_loop_test(tcase, waiting_jobs_do_what_they_were_asked_for, 0, WAYS);
	tcase_add_loop_test(tcase, waiting_requests_are_sent_whole, 0, WAYS);
	tcase_add_loop_test(tcase, priorities_hold, 0, WAYS);
}

int
main(void)
{
	Suite *suite = suite_create("durable queue");
	TCase *tcase = rig_case(suite, "clocks and counts", NULL);

	tcase_add_loop_test(tcase, clocks_go_on_while_it_is_down, 0, WAYS);
	tcase_add_test(tcase, a_deadline_counts_from_the_submission);
	tcase_add_loop_test(tcase, the_queue_holds_those_of_before, 0, WAYS);
	tcase_add_loop_test(tcase, a_job_that_ran_does_not_count_twice, 0, WAYS);
	add_specs(rig_case(suite, "specs", NULL));
	return rig_run(suite);
}
