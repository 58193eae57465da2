/*
 * What becomes of a job that runs while the daemon ends: again, unless it may be done twice by that; and not for ever, if
 * it is what kills the daemon.
 */
#include "durable.h"

#include <signal.h>
#include <string.h>

/* A job that runs, and is known to on the disk. */
static json_t *
submit_running(const char *key, const char *more)
{
	json_t *job = submit(url("/hold?k=%s", key), "%s", more);

	expect_that(origin_await_seen(the_origin, key, 0), "it does not run");
	await_changes(2);
	return job_in_state(job, "running");
}

/* It is fetched for the nth time (from 0): of a job of an earlier life that is known on the disk before. */
static void
await_run(const char *key, size_t nth)
{
	expect_that(origin_await_seen(the_origin, key, nth), "it does not run for the %zuth time", nth + 1);
}

static void
expect_runs(const char *key, size_t count)
{
	expect_that(origin_count(the_origin, key) == count, "the origin saw it %zu times, not %zu",
		origin_count(the_origin, key), count);
}

static void
expect_success(const json_t *job, const char *key)
{
	origin_release(the_origin, key);
	job = job_done(job);
	expect(job, "state", "'succeeded'");
	expect_that(json_array_size(json_at(job, "attempts")) == 1, "there is not one attempt: %s",
		dumped(json_at(job, "attempts")));
	expect(job, "attempts.0.number", "1");
}

/* ---- a crash */

static const char *const repeatable[] = {"", "'method':'HEAD'", "'method':'PUT','body':'p\\u00fct'",
	"'method':'DELETE'", "'method':'OPTIONS'", "'method':'POST','body':'x','retry':{'unsafe':true}",
	"'method':'PATCH','json':{},'retry':{'unsafe':true}"};

START_TEST(what_may_be_repeated_runs_again)
{
	struct server *server = start_first(NULL);
	const char *key = new_key();
	json_t *job = submit_running(key, repeatable[_i]);
	const struct origin_request *first, *second;

	start_kept(end_by(server, SIGKILL), NULL);
	await_run(key, 1);
	expect(job_in_state(job, "running"), "started_at", "'%s'", json_text_at(job, "started_at"));
	expect_success(job, key);
	expect_runs(key, 2);
	first = origin_await_seen(the_origin, key, 0);
	second = origin_await_seen(the_origin, key, 1);
	expect_text(second->method, first->method);
	expect_text(second->body, first->body);
	expect_that(second->field_count == first->field_count, "it was sent with %zu fields, then %zu",
		first->field_count, second->field_count);
}
END_TEST

static const char *const unrepeatable[] = {"'method':'POST','body':'x'", "'method':'PATCH','json':{}",
	"'method':'POST','retry':{'unsafe':false}", "'method':'M-SEARCH'",
	"'method':'POST','ttl':'2h','deadline':'1h'"};

START_TEST(what_may_not_be_repeated_ends)
{
	struct server *server = start_first(NULL);
	const char *key = new_key(), *all;
	json_t *job = submit_running(key, unrepeatable[_i]), *end;

	server = start_kept(end_by(server, SIGKILL), NULL);
	expect_failed(end = job_done(job), "outcome_unknown", NULL);
	expect_that(json_array_size(json_at(end, "attempts")) == 1, "there is not one attempt: %s",
		dumped(json_at(end, "attempts")));
	expect(end, "started_at", "'%s'", json_text_at(job, "started_at"));
	expect_that(json_int_at(end, "version") > json_int_at(job, "version"), "the version stays");
	expect_that(time_at(end, "finished_at") >= time_at(end, "started_at"), "it ended before it began");
	expect_that(time_at(end, "expires_at") > time_at(end, "finished_at"), "it expires before it ended");
	expect(get("/v1/jobs?state=failed")->json, "jobs.0.id", "'%s'", id_of(job));
	expect_runs(key, 1);
	all = all_of(id_of(job));
	start_kept(end_by(server, SIGKILL), NULL);
	expect_same(all_of(id_of(job)), all);
	expect(fetch(url("/echo"), ""), "state", "'succeeded'"); /* by now it would have been sent again */
	expect_runs(key, 1);
}
END_TEST

/* Nobody can tell how far it came. */
START_TEST(a_post_that_may_have_left_ends)
{
	struct server *server = start_first(NULL);
	json_t *job = job_in_state(submit(text("http://127.0.0.1:%u/", stuck_port()), "'method':'POST'"), "running");

	start_kept(end_by(server, SIGKILL), NULL);
	expect_failed(job_done(job), "outcome_unknown", NULL);
}
END_TEST

static const char *const any_method[] = {
	"", "'method':'POST','body':'x'", "'method':'PATCH'", "'method':'POST','retry':{'unsafe':true}"};

START_TEST(what_had_not_begun_runs_once)
{
	struct server *server = start_first("--max-in-flight", "1");
	const char *hold = new_key(), *key = new_key(), *later = new_key();
	json_t *first = submit_running(hold, ""), *job = submit(url("/hold?k=%s", key), "%s", any_method[_i]);
	json_t *delayed =
		submit(url("/echo?k=%s", later), "'delay':'100ms'%s%s", *any_method[_i] ? "," : "", any_method[_i]);

	start_kept(end_by(server, SIGKILL), NULL);
	await_seen(key);
	expect_success(job, key);
	expect_success(first, hold);
	expect_success(delayed, later);
	expect_runs(key, 1);
	expect_runs(hold, 2);
	expect_runs(later, 1);
}
END_TEST

START_TEST(many_at_once)
{
	struct server *server = start_first(NULL);
	const char *gets = new_key(), *posts = new_key();
	json_t *jobs[60], *job;

	for (size_t i = 0; i < COUNT_OF(jobs); i++)
		jobs[i] = submit(url("/hold?k=%s", i % 2 ? posts : gets), i % 2 ? "'method':'POST'" : "");
	expect_that(origin_await_seen(the_origin, gets, 29) && origin_await_seen(the_origin, posts, 29), "not all run");
	await_changes(120);
	start_kept(end_by(server, SIGKILL), NULL);
	expect_that(origin_await_seen(the_origin, gets, 59), "not all run again");
	origin_release(the_origin, gets);
	for (size_t i = 0; i < COUNT_OF(jobs); i++) {
		job = job_done(jobs[i]);
		if (i % 2)
			expect_failed(job, "outcome_unknown", NULL);
		else
			expect(job, "state", "'succeeded'");
	}
	expect_runs(gets, 60);
	expect_runs(posts, 30);
	expect_that(metric("fetchpool_jobs_recovered_total") == 60, "%g jobs were taken up",
		metric("fetchpool_jobs_recovered_total"));
}
END_TEST

/* ---- several crashes */

/* Starts on what the last one left, and is killed while the job runs for the nth time (from 0). */
static const char *
crash(const char *dir, const char *key, size_t nth)
{
	struct server *server = start_kept(dir, NULL);

	await_run(key, nth);
	return end_by(server, SIGKILL);
}

START_TEST(three_crashes_in_a_row_poison)
{
	struct server *server = start_first(NULL);
	const char *key = new_key(), *other = new_key(), *dir, *all;
	json_t *job = submit_running(key, _i ? "'method':'POST','retry':{'unsafe':true}" : ""), *innocent, *end;
	const char *waits = id_of(submit_later("")), *waiting = all_of(waits);

	dir = crash(crash(end_by(server, SIGKILL), key, 1), key, 2);
	server = start_kept(dir, NULL);
	expect_failed(end = job_done(job), "poisoned", NULL);
	expect_that(json_array_size(json_at(end, "attempts")) == 1, "there is not one attempt: %s",
		dumped(json_at(end, "attempts")));
	expect(end, "started_at", "'%s'", json_text_at(job, "started_at"));
	expect_same(all_of(waits), waiting); /* it was in the same crashes, but did not run */
	innocent = submit(url("/hold?k=%s", other), "");
	expect_success(innocent, other);
	expect_runs(key, 3);
	all = all_of(id_of(job));
	start_kept(end_by(server, SIGKILL), NULL);
	expect_same(all_of(id_of(job)), all);
}
END_TEST

START_TEST(a_calm_end_between_crashes_forgives)
{
	struct server *server = start_first(NULL);
	const char *key = new_key(), *dir;
	json_t *job = submit_running(key, "");

	dir = crash(end_by(server, SIGKILL), key, 1);
	server = start_kept(dir, NULL);
	await_run(key, 2);
	dir = end_by(server, SIGTERM);
	dir = crash(crash(dir, key, 3), key, 4);
	start_kept(dir, NULL);
	await_run(key, 5);
	expect_success(job, key);
	expect_runs(key, 6);
}
END_TEST

/* It was there, and did not run: so it is not what crashed the daemon. */
START_TEST(a_crash_in_which_it_waited_forgives)
{
	struct server *server = start_first("--max-in-flight", "1");
	const char *key = new_key(), *other = new_key(), *dir;
	json_t *job = submit_running(key, ""), *next = submit(url("/hold?k=%s", other), "'priority':1");

	/* Now the other one takes the only place. */
	server = start_kept(end_by(server, SIGKILL), "--max-in-flight", "1");
	await_run(other, 0);
	expect(job_in_state(job, "queued"), "attempts", "[]");
	dir = end_by(server, SIGKILL);
	for (size_t nth = 1; nth <= 2; nth++) {
		server = start_kept(dir, NULL);
		await_run(key, nth);
		await_run(other, nth);
		dir = end_by(server, SIGKILL);
	}
	start_kept(dir, NULL);
	expect_that(origin_await_seen(the_origin, key, 3), "it does not run again");
	expect_success(job, key);
	expect_runs(key, 4);
	expect(job_done(next), "error.code", "'poisoned'");
}
END_TEST

/* ---- the end as it is meant to be */

START_TEST(a_slow_fetch_goes_on_after_each_end)
{
	struct server *server = start_first(NULL);
	const char *key = new_key();
	json_t *job = submit_running(key, "");

	for (size_t nth = 1; nth <= 4; nth++) {
		server = start_kept(end_by(server, SIGTERM), NULL);
		await_run(key, nth);
		expect(job_in_state(job, "running"), "started_at", "'%s'", json_text_at(job, "started_at"));
	}
	expect_success(job, key);
	expect_runs(key, 5);
}
END_TEST

START_TEST(a_slow_post_cut_off_at_the_end_is_not_sent_again)
{
	struct server *server = start_first(NULL);
	const char *key = new_key();
	json_t *job = submit_running(key, unrepeatable[_i]);

	start_kept(end_by(server, SIGTERM), NULL);
	expect_failed(job_now(job), "outcome_unknown", NULL); /* it was known at the end */
	expect(fetch(url("/echo"), ""), "state", "'succeeded'");
	expect_runs(key, 1);
}
END_TEST

START_TEST(an_unsafe_post_goes_on_after_the_end)
{
	struct server *server = start_first(NULL);
	const char *key = new_key();
	json_t *job = submit_running(key, "'method':'POST','retry':{'unsafe':true}");

	start_kept(end_by(server, SIGTERM), NULL);
	await_run(key, 1);
	expect_success(job, key);
	expect_runs(key, 2);
}
END_TEST

START_TEST(a_post_that_never_left_goes_on_after_the_end)
{
	struct server *server = start_first(NULL);
	json_t *job = submit(
		text("http://127.0.0.1:%u/", stuck_port()), "'method':'POST','connect_timeout':'1h','timeout':'1h'");

	for (int i = 0; i < 4; i++) {
		json_t *now = job_in_state(job, "running");

		expect(now, "error", "null");
		server = start_kept(end_by(server, SIGTERM), NULL);
	}
	job_in_state(job, "running");
	expect(poke("/v1/jobs/%s/cancel", id_of(job))->json, "state", "'cancelled'");
}
END_TEST

START_TEST(a_second_signal_loses_nothing)
{
	struct server *server = start_server("--store", "sqlite", "--drain-timeout", "10m");
	const char *key = new_key(), *post_key = new_key(), *dir = text("%s", server_state_dir(server));
	json_t *job = submit_running(key, ""), *sent = submit(url("/hold?k=%s", post_key), "'method':'POST'");
	json_t *waits = submit_later("");
	int status;

	await_seen(post_key);
	server_signal(server, SIGTERM);
	expect_that(await_status("/readyz", 503), "/readyz stays %d", get("/readyz")->status);
	status = end_server(server, SIGTERM);
	expect_that(status != SERVER_KILLED && status < 128, "exit status %d", status);
	start_kept(dir, NULL);
	expect(job_now(waits), "state", "'queued'");
	expect_failed(job_done(sent), "outcome_unknown", NULL);
	expect_success(job, key);
	expect_runs(post_key, 1);
}
END_TEST

START_TEST(what_ends_while_it_drains_is_kept)
{
	struct server *server = start_server("--store", "sqlite", "--drain-timeout", "60s");
	const char *keys[] = {new_key(), new_key()}, *dir = text("%s", server_state_dir(server));
	json_t *jobs[] = {
		submit(url("/hold?k=%s", keys[0]), ""), submit(url("/hold?k=%s", keys[1]), "'method':'POST'")};

	for (size_t i = 0; i < COUNT_OF(jobs); i++)
		await_seen(keys[i]);
	server_signal(server, SIGTERM);
	expect_that(await_status("/readyz", 503), "/readyz stays %d", get("/readyz")->status);
	for (size_t i = 0; i < COUNT_OF(jobs); i++)
		origin_release(the_origin, keys[i]);
	expect_that(end_server(server, 0) == 0, "it ended badly");
	start_kept(dir, NULL);
	for (size_t i = 0; i < COUNT_OF(jobs); i++) {
		expect(job_now(jobs[i]), "state", "'succeeded'");
		expect_runs(keys[i], 1);
	}
}
END_TEST

static void
add_crashes(TCase *tcase)
{
	tcase_add_loop_test(tcase, what_may_be_repeated_runs_again, 0, COUNT_OF(repeatable));
	tcase_add_loop_test(tcase, what_may_not_be_repeated_ends, 0, COUNT_OF(unrepeatable));
	tcase_add_test(tcase, a_post_that_may_have_left_ends);
	tcase_add_loop_test(tcase, what_had_not_begun_runs_once, 0, COUNT_OF(any_method));
	tcase_add_test(tcase, many_at_once);
	tcase_add_loop_test(tcase, three_crashes_in_a_row_poison, 0, 2);
	tcase_add_test(tcase, a_calm_end_between_crashes_forgives);
	tcase_add_test(tcase, a_crash_in_which_it_waited_forgives);
}

static void
add_calm_ends(TCase *tcase)
{
	tcase_add_test(tcase, a_slow_fetch_goes_on_after_each_end);
	tcase_add_loop_test(tcase, a_slow_post_cut_off_at_the_end_is_not_sent_again, 0, COUNT_OF(unrepeatable));
	tcase_add_test(tcase, an_unsafe_post_goes_on_after_the_end);
	tcase_add_test(tcase, a_post_that_never_left_goes_on_after_the_end);
	tcase_add_test(tcase, a_second_signal_loses_nothing);
	tcase_add_test(tcase, what_ends_while_it_drains_is_kept);
}

int
main(void)
{
	Suite *suite = suite_create("recovery");

	add_crashes(rig_case(suite, "after a crash", NULL));
	add_calm_ends(rig_case(suite, "after an end as it is meant to be", NULL));
	return rig_run(suite);
}
