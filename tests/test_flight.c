/* Thousands of fetches in flight at once from two threads: no fetch has a thread, or waits for another. */
#include "rig.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

static size_t
thread_count(void)
{
	DIR *tasks = opendir(text("/proc/%d/task", (int)server_pid(the_server)));
	struct dirent *entry;
	size_t count = 0;

	while (tasks && (entry = readdir(tasks)))
		count += entry->d_name[0] != '.';
	if (tasks)
		closedir(tasks);
	return count;
}

/* Submits over one connection and gives the id. */
static const char *
submit_over(struct client_wire *wire, const char *target_url)
{
	const char *spec = jtext("{'url':'%s','timeout':'80s'}", target_url);
	struct client_reply *reply;

	wire_send(wire,
		"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
		strlen(spec), spec);
	reply = wire_receive(wire);
	expect_status(reply, 202);
	return id_of(reply->json);
}

/* Waits for up to 1,000 of them at a time, as that is what a call may name. */
static void
expect_all_succeed(const char *const *ids, size_t count)
{
	for (size_t i = 0; i < count; i += 1000) {
		struct bytes list = {0};
		struct client_reply *reply;
		json_t *job;
		size_t j;

		for (j = i; j < count && j < i + 1000; j++)
			bytes_format(&list, "%s'%s'", j == i ? "" : ",", ids[j]);
		reply = post("/v1/wait", "{'ids':[%s],'timeout':'50s'}", list.data);
		bytes_release(&list);
		expect_status(reply, 200);
		expect(reply->json, "pending", "[]");
		json_array_foreach(json_at(reply->json, "finished"), j, job)
			expect(job, "state", "'succeeded'");
	}
}

START_TEST(thousands_are_in_flight_at_once)
{
	size_t count = rig_scaled(5000), before;
	const char **ids = calloc(count, sizeof(char *)), *key = new_key(), *gate = url("/gate/%zu?k=%s", count, key);
	struct client_wire *wire;

	start_server("--workers", "2", "--max-in-flight", "6000", "--max-in-flight-per-origin", "6000");
	wire = open_wire();
	before = thread_count();
	for (size_t i = 0; i < count - 1; i++)
		ids[i] = submit_over(wire, gate);
	expect_that(origin_await_seen(the_origin, key, count - 2), "only %zu of %zu came to the origin",
		origin_count(the_origin, key), count);
	expect_that(thread_count() == before, "%zu threads before, %zu with %zu in flight", before, thread_count(),
		count - 1);
	expect_status(get("/livez"), 200);
	ids[count - 1] = submit_over(wire, gate);
	expect_all_succeed(ids, count);
	expect_that(thread_count() == before, "%zu threads before, %zu after", before, thread_count());
	free(ids);
}
END_TEST

START_TEST(an_origins_limit_holds)
{
	const char *key = new_key(), *ids[40];
	struct client_wire *wire;

	start_server("--workers", "2", "--max-in-flight-per-origin", "10");
	wire = open_wire();
	for (size_t i = 0; i < COUNT_OF(ids); i++)
		ids[i] = submit_over(wire, url("/hold?k=%s", key));
	expect_that(
		origin_await_seen(the_origin, key, 9), "only %zu came to the origin", origin_count(the_origin, key));
	/* Another origin's turn comes all the same. */
	expect(fetch(url_on(another_origin(), "/echo"), ""), "state", "'succeeded'");
	expect_that(origin_count(the_origin, key) == 10, "%zu came to the origin", origin_count(the_origin, key));
	origin_release(the_origin, key);
	expect_all_succeed(ids, COUNT_OF(ids));
}
END_TEST

START_TEST(higher_priority_goes_first)
{
	const char *keys[] = {new_key(), new_key(), new_key()}, *gate = new_key();
	static const int priorities[] = {-5, 0, 5};
	json_t *jobs[3];

	start_server("--workers", "1", "--max-in-flight-per-origin", "1");
	submit(url("/hold?k=%s", gate), "");
	await_seen(gate);
	for (size_t i = 0; i < COUNT_OF(jobs); i++)
		jobs[i] = submit(url("/echo?k=%s", keys[i]), "'priority':%d", priorities[i]);
	origin_release(the_origin, gate);
	for (size_t i = 0; i < COUNT_OF(jobs); i++)
		jobs[i] = job_done(jobs[i]);
	expect_that(time_at(jobs[2], "started_at") <= time_at(jobs[1], "started_at") &&
			time_at(jobs[1], "started_at") <= time_at(jobs[0], "started_at"),
		"started at %s, %s, %s", json_text_at(jobs[2], "started_at"), json_text_at(jobs[1], "started_at"),
		json_text_at(jobs[0], "started_at"));
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("flight");
	TCase *tcase = rig_case(suite, "flight", NULL);

	tcase_add_test(tcase, thousands_are_in_flight_at_once);
	tcase_add_test(tcase, an_origins_limit_holds);
	tcase_add_test(tcase, higher_priority_goes_first);
	return rig_run(suite);
}
