/* The crash loop in short, and that it can fail: what it calls a fault, tried with made-up answers and with a store that loses all. */
#include "crash.h"
#include "crash_judge.h"
#include "rig.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROUNDS 30
#define TERMINATIONS 5

static const struct crash_kind get_kind = {.name = "GET", .method = "GET", .path = "/text/5", .status = 200};
static const struct crash_kind post_kind = {.name = "POST", .method = "POST", .path = "/echo", .status = 200};
static const struct crash_kind unsafe_kind = {.name = "unsafe",
	.method = "POST",
	.path = "/echo",
	.status = 200,
	.unsafe = true};
static const struct crash_kind retried_kind = {.name = "retried",
	.method = "GET",
	.path = "/reset",
	.max_attempts = 3,
	.error = "connection_lost"};
static const struct crash_kind fleeting_kind = {.name = "fleeting",
	.method = "GET",
	.path = "/text/5",
	.status = 200,
	.ttl_ms = 1000};
static const struct crash_kind redirected_kind = {.name = "redirected",
	.method = "GET",
	.path = "/redirect/1",
	.hops = 1,
	.status = 200};
static const struct crash_kind refused_kind = {.name = "refused",
	.method = "GET",
	.path = "http://10.0.0.1/",
	.error = "denied_by_policy"};

/* ---- made-up answers */

#define CREATED "2026-01-01T00:00:00.000Z"
#define STARTED "2026-01-01T00:00:01.000Z"
#define ENDED "2026-01-01T00:00:02.000Z"
#define EXPIRES "2026-01-02T00:00:02.000Z"
#define SUCCESS "'response':{'status':200},'error':null"
#define FAILURE(code) "'response':null,'error':{'code':'" code "'}"

/* `state` decides on `done`; the meta is what a test changes. */
static struct client_reply *
made_up(const char *state, const char *result, const char *meta)
{
	bool done = strcmp(state, "queued") != 0 && strcmp(state, "running") != 0;
	struct client_reply *reply = calloc(1, sizeof *reply);

	ck_assert(reply);
	reply->status = 200;
	bytes_text(&reply->body,
		jtext("{'id':'x','state':'%s','done':%s,'batch':null,'tags':[],'meta':%s,'priority':0,'request':{},"
		      "'created_at':'" CREATED "','run_at':'" CREATED "','started_at':'" STARTED "','finished_at':%s,"
		      "'expires_at':%s,%s}",
			state, done ? "true" : "false", meta, done ? "'" ENDED "'" : "null",
			done ? "'" EXPIRES "'" : "null", result));
	reply->json = json_loadb(reply->body.data, reply->body.used, 0, NULL);
	ck_assert_msg(reply->json, "no JSON: %s", reply->body.data);
	return rig_keep(reply);
}

static struct client_reply *
made_up_404(void)
{
	struct client_reply *reply = calloc(1, sizeof *reply);

	ck_assert(reply);
	reply->status = 404;
	return rig_keep(reply);
}

/* A job as it was acknowledged, before any crash. */
static struct crash_job
acknowledged(const struct crash_kind *kind)
{
	char *promise = crash_promise_of(kind, made_up("queued", SUCCESS, "1")->json);
	struct crash_job job = {.kind = kind, .count_at_end = -1, .promise = (char *)(uintptr_t)text("%s", promise)};

	free(promise);
	return job;
}

/* And as it was seen finished. */
static struct crash_job
finished(const struct crash_kind *kind, const struct client_reply *reply)
{
	struct crash_job job = acknowledged(kind);

	job.done = true;
	job.end = reply->body.data;
	job.expires_ms = time_at(reply->json, "expires_at");
	crash_hash(&reply->body, job.end_hash);
	return job;
}

/* After so many crashes since it was started. */
static struct crash_now
after_crashes(unsigned crashes)
{
	static int64_t times[8];

	for (size_t i = 0; i < COUNT_OF(times); i++)
		times[i] = INT64_MAX;
	return (struct crash_now){.ends = crashes, .crashes = crashes, .crash_ms = times};
}

static void
expect_verdict(const struct crash_job *job, const struct client_reply *reply, unsigned crashes, int fault)
{
	struct crash_known known = {.done = job->done, .removed = job->removed};
	struct crash_verdict verdict = crash_judge_answer(job, &known, reply, after_crashes(crashes));
	int got = verdict.why ? (int)verdict.fault : -1;

	expect_that(got == fault, "%d (%s), not %d, for %s", got, verdict.why ? verdict.why : "fine", fault,
		reply->body.used ? reply->body.data : "a 404");
}

#define FINE (-1)

START_TEST(a_missing_job_is_a_loss)
{
	struct crash_job job = acknowledged(&get_kind);

	expect_verdict(&job, made_up_404(), 1, CRASH_LOST);
	job.delete_sent = true;
	expect_verdict(&job, made_up_404(), 1, FINE);
	job = finished(&fleeting_kind, made_up("succeeded", SUCCESS, "1"));
	expect_verdict(&job, made_up_404(), 1, CRASH_LOST);
	job.expires_ms = -CRASH_FAULTS;
	expect_verdict(&job, made_up_404(), 1, FINE);
}
END_TEST

START_TEST(what_was_acknowledged_must_stay)
{
	struct crash_job job = acknowledged(&get_kind);

	expect_verdict(&job, made_up("running", SUCCESS, "1"), 1, FINE);
	expect_verdict(&job, made_up("running", SUCCESS, "2"), 1, CRASH_CHANGED);
	expect_verdict(&job, made_up("succeeded", SUCCESS, "2"), 1, CRASH_CHANGED);
	job.removed = true;
	expect_verdict(&job, made_up("running", SUCCESS, "1"), 1, CRASH_CHANGED);
}
END_TEST

START_TEST(an_end_is_final)
{
	struct crash_job job = finished(&get_kind, made_up("succeeded", SUCCESS, "1"));
	struct client_reply *tagged = made_up("succeeded", SUCCESS, "1");

	expect_verdict(&job, made_up("succeeded", SUCCESS, "1"), 1, FINE);
	expect_verdict(&job, made_up("succeeded", SUCCESS ",'x':1", "1"), 1, CRASH_CHANGED);
	expect_verdict(&job, made_up("running", SUCCESS, "1"), 1, CRASH_CHANGED);
	tagged->field_count = 1;
	tagged->fields = calloc(1, sizeof *tagged->fields);
	ck_assert(tagged->fields);
	*tagged->fields = (struct client_field){strdup("etag"), strdup("W/\"4\"")};
	expect_verdict(&job, tagged, 1, FINE);
	strcpy(job.etag, "W/\"3\"");
	expect_verdict(&job, tagged, 1, CRASH_CHANGED);
}
END_TEST

START_TEST(cancelled_only_when_asked_for)
{
	struct crash_job job = acknowledged(&get_kind);

	expect_verdict(&job, made_up("cancelled", SUCCESS, "1"), 1, CRASH_ODD);
	job.cancel_sent = true;
	expect_verdict(&job, made_up("cancelled", SUCCESS, "1"), 1, FINE);
	job = finished(&get_kind, made_up("cancelled", SUCCESS, "1"));
	expect_verdict(&job, made_up("succeeded", SUCCESS, "1"), 1, CRASH_CHANGED);
}
END_TEST

static const struct {
	const struct crash_kind *kind;
	const char *code;
	unsigned crashes;
	int fault;
} failures[] = {
	{&get_kind, "truncated", 1, CRASH_ODD},
	{&get_kind, "internal", 1, CRASH_ODD},
	{&retried_kind, "connection_lost", 0, FINE},
	{&refused_kind, "denied_by_policy", 0, FINE},
	{&post_kind, "outcome_unknown", 0, CRASH_ODD},
	{&post_kind, "outcome_unknown", 1, FINE},
	{&unsafe_kind, "outcome_unknown", 1, CRASH_ODD},
	{&get_kind, "outcome_unknown", 1, CRASH_ODD},
	{&get_kind, "poisoned", 2, CRASH_ODD},
	{&get_kind, "poisoned", 3, FINE},
	{&unsafe_kind, "poisoned", 3, FINE},
	{&post_kind, "poisoned", 3, CRASH_ODD},
};

START_TEST(failures_need_a_reason)
{
	struct crash_job job = acknowledged(failures[_i].kind);

	if (failures[_i].kind == &retried_kind) /* a retry moves run_at */
		job.promise = NULL;
	expect_verdict(&job, made_up("failed", text(FAILURE("%s"), failures[_i].code), "1"), failures[_i].crashes,
		failures[_i].fault);
}
END_TEST

START_TEST(only_crashes_since_its_start_poison)
{
	struct crash_job job = acknowledged(&get_kind);
	struct client_reply *reply = made_up("failed", FAILURE("poisoned"), "1");
	int64_t started = time_at(reply->json, "started_at");
	int64_t times[] = {started - 1000, started + 10, started + 20, started + 30};
	struct crash_known known = {0};

	ck_assert(crash_judge_answer(&job, &known, reply, (struct crash_now){.crashes = 3, .crash_ms = times}).why);
	ck_assert(!crash_judge_answer(&job, &known, reply, (struct crash_now){.crashes = 4, .crash_ms = times}).why);
}
END_TEST

static const struct {
	const struct crash_kind *kind;
	unsigned crashes;
	long count_at_end;
	size_t count;
	int fault;
} counts[] = {
	{&get_kind, 0, -1, 1, FINE},
	{&get_kind, 0, -1, 2, CRASH_RESENT},
	{&get_kind, 2, -1, 3, FINE},
	{&get_kind, 2, -1, 4, CRASH_RESENT},
	{&get_kind, 2, 1, 2, CRASH_RESENT},
	{&get_kind, 2, 2, 2, FINE},
	{&post_kind, 5, -1, 0, FINE},
	{&post_kind, 5, -1, 1, FINE},
	{&post_kind, 5, -1, 2, CRASH_RESENT},
	{&unsafe_kind, 1, -1, 2, FINE},
	{&retried_kind, 0, -1, 3, FINE},
	{&retried_kind, 0, -1, 4, CRASH_RESENT},
	{&redirected_kind, 0, -1, 2, FINE},
	{&redirected_kind, 0, -1, 3, CRASH_RESENT},
	{&refused_kind, 3, -1, 1, CRASH_RESENT},
};

START_TEST(requests_are_counted)
{
	struct crash_job job = {.kind = counts[_i].kind, .count_at_end = counts[_i].count_at_end};
	struct crash_verdict verdict = crash_judge_count(&job, counts[_i].count, after_crashes(counts[_i].crashes));

	ck_assert_int_eq(verdict.why ? (int)verdict.fault : FINE, counts[_i].fault);
}
END_TEST

START_TEST(poison_comes_at_last)
{
	static const struct crash_kind held_kind = {.name = "held", .method = "GET", .path = "/hold", .held = true};
	struct crash_job job = {.kind = &held_kind, .count_at_end = -1, .id = "x"};
	struct crash_now now = {.ends = 9, .row = 4};

	ck_assert(!crash_judge_count(&job, 9, now).why);
	now.row = 5;
	ck_assert(crash_judge_count(&job, 9, now).why);
	job.born = 5;
	ck_assert(!crash_judge_count(&job, 5, now).why);
	job.born = 0;
	job.done = true;
	ck_assert(!crash_judge_count(&job, 9, now).why);
}
END_TEST

/* ---- the loop */

START_TEST(a_store_that_forgets_is_found_out)
{
	static const char *const options[] = {"--store", "memory", NULL};
	struct crash_plan plan = {.rounds = 2, .seed = 1, .options = options, .quiet = true};
	struct crash_report report;

	crash_run(&plan, &report);
	crash_print(&plan, &report);
	expect_that(report.acknowledged > 0, "nothing was acknowledged");
	expect_that(report.faults[CRASH_LOST] > 0, "everything is lost, and nobody saw it");
}
END_TEST

START_TEST(terminations_lose_nothing)
{
	struct crash_plan plan = {.rounds = TERMINATIONS, .seed = (uint64_t)time(NULL), .terminate = true};
	struct crash_report report;

	crash_run(&plan, &report);
	crash_print(&plan, &report);
	ck_assert_uint_eq(crash_fault_count(&report), 0);
	ck_assert_uint_eq(report.drained, plan.rounds);
	ck_assert_uint_gt(report.acknowledged, 0);
	ck_assert_uint_eq(report.poisoned, 0);
}
END_TEST

START_TEST(crashes_lose_nothing)
{
	struct crash_plan plan = {.rounds = (unsigned)rig_scaled(ROUNDS), .seed = (uint64_t)time(NULL)};
	struct crash_report report;

	crash_run(&plan, &report);
	crash_print(&plan, &report);
	ck_assert_uint_eq(crash_fault_count(&report), 0);
	ck_assert_uint_eq(report.rounds, plan.rounds);
	ck_assert_uint_gt(report.acknowledged, 0);
	ck_assert_uint_gt(report.finished, 0);
	/* So many rounds meet with everything that there is to meet with. */
	ck_assert(plan.rounds < ROUNDS || (report.outcome_unknown > 0 && report.poisoned > 0));
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("crash");
	TCase *judge = rig_case(suite, "judge", NULL), *loop = rig_case(suite, "loop", NULL);

	tcase_add_test(judge, a_missing_job_is_a_loss);
	tcase_add_test(judge, what_was_acknowledged_must_stay);
	tcase_add_test(judge, an_end_is_final);
	tcase_add_test(judge, cancelled_only_when_asked_for);
	tcase_add_loop_test(judge, failures_need_a_reason, 0, COUNT_OF(failures));
	tcase_add_test(judge, only_crashes_since_its_start_poison);
	tcase_add_test(judge, poison_comes_at_last);
	tcase_add_loop_test(judge, requests_are_counted, 0, COUNT_OF(counts));
	tcase_add_test(loop, a_store_that_forgets_is_found_out);
	tcase_add_test(loop, terminations_lose_nothing);
	tcase_add_test(loop, crashes_lose_nothing);
	tcase_set_timeout(loop, 240);
	return rig_run(suite);
}
