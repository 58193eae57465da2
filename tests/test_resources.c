/* What the daemon does when memory or descriptors come to their end, and when the wall clock jumps. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "rig.h"

#include "nth.h"

#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define CEILING (4 << 20)
#define BODY_BYTES 100000

static double
memory_in_use(void)
{
	return metric("fetchpool_memory_bytes");
}

/* Submits jobs with large bodies until one is refused; gives how many were taken. */
static size_t
fill(const char *method)
{
	const char *body = repeated("x", BODY_BYTES);
	size_t count = 0;

	for (; count < 2 * CEILING / BODY_BYTES; count++) {
		struct client_reply *reply =
			post("/v1/jobs", "{'url':'%s','method':'%s','body':'%s','delay':'1h','tags':['fill']}",
				url("/echo"), method, body);

		if (reply->status == 202)
			continue;
		expect_problem(reply, 503, "null");
		expect(reply->json, "code", "'no_memory'");
		expect_header(reply, "retry-after", "1");
		break;
	}
	return count;
}

START_TEST(submissions_stop_at_the_ceiling_and_go_on_below_it)
{
	start_server("--max-memory", "4MiB");
	size_t count = fill("POST");

	expect_that(count > 10 && count * BODY_BYTES <= CEILING, "%zu jobs were taken", count);
	expect_that(memory_in_use() <= CEILING, "%f bytes are in use", memory_in_use());
	expect_that(metric("fetchpool_submissions_shed_total") >= 1, "the refusal is not counted");
	/* Reading goes on, and so do fetches that need little. */
	expect_status(get("/v1/jobs?limit=1"), 200);
	expect_status(post("/v1/jobs/cancel", "{'tag':'fill'}"), 200);
	expect_that(memory_in_use() < BODY_BYTES, "%f bytes are not given back", memory_in_use());
	expect(fetch(url("/text/5"), "'body':'%s','method':'POST'", repeated("y", BODY_BYTES)), "state", "'succeeded'");
}
END_TEST

START_TEST(responses_above_the_ceiling_go_to_files_and_all_jobs_end)
{
	enum { JOBS = 60 };
	json_t *jobs[JOBS];

	start_server("--max-memory", "1MiB", "--max-in-flight-per-origin", "60");
	for (size_t i = 0; i < JOBS; i++)
		jobs[i] = submit(url("/bytes/60000"), "");
	for (size_t i = 0; i < JOBS; i++) {
		json_t *job = job_done(jobs[i]);

		expect(job, "state", "'succeeded'");
		expect(job, "response.body_bytes", "60000");
		struct client_reply *reply = get("/v1/jobs/%s/body", id_of(job));
		expect_status(reply, 200);
		expect_that(reply->body.used == 60000 && !memcmp(reply->body.data, origin_pattern_of(60000), 60000),
			"the body is another");
	}
	expect_that(memory_in_use() < 65536, "%f bytes are not given back", memory_in_use());
}
END_TEST

START_TEST(what_was_taken_stays_taken_under_a_lower_ceiling)
{
	const char *dir = new_state_dir();
	struct server *server = start_server_on(dir, "--max-memory", "4MiB");
	size_t count = fill("PUT");

	end_server(server, SIGTERM);
	start_server_on(dir, "--max-memory", "1MiB");
	expect_that(memory_in_use() > 1 << 20, "%f bytes: they are not counted", memory_in_use());
	struct client_reply *reply = get("/v1/jobs?state=queued&limit=1000");
	expect_that(json_array_size(json_at(reply->json, "jobs")) == count, "some are lost");
	/* Nothing is in flight, so one may begin, and in the end all. */
	expect_problem(post("/v1/jobs", "{'url':'%s'}", url("/text/5")), 503, "null");
	expect_status(post("/v1/jobs/cancel", "{'tag':'fill'}"), 200);
	expect(fetch(url("/text/5"), ""), "state", "'succeeded'");
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("resources");

	TCase *memory = rig_case(suite, "memory", NULL);
	tcase_add_test(memory, submissions_stop_at_the_ceiling_and_go_on_below_it);
	tcase_add_test(memory, responses_above_the_ceiling_go_to_files_and_all_jobs_end);
	tcase_add_test(memory, what_was_taken_stays_taken_under_a_lower_ceiling);
	return rig_run(suite);
}
