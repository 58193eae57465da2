/* Many clients at once: waiters woken, jobs that end in two ways at the same moment, waiters that leave, the end. */
#include "rig.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define WAITERS "fetchpool_waiters"

static size_t
rounds(size_t count)
{
	size_t scaled = rig_scaled(count);

	return scaled < 10 ? 10 : scaled;
}

/* Opens so many connections, each with a wait for this job. */
static struct client_wire **
park(const char *id, size_t count)
{
	struct client_wire **wires = calloc(count, sizeof(struct client_wire *));

	for (size_t i = 0; i < count; i++) {
		wires[i] = open_wire();
		wire_get(wires[i], "/v1/jobs/%s?wait=25s", id);
	}
	return wires;
}

START_TEST(a_thousand_waiters_are_woken_once)
{
	const char *key = new_key();
	const char *id = id_of(submit(url("/hold?k=%s", key), ""));
	size_t count = rounds(1000);
	struct client_wire **wires = park(id, count);

	expect_that(await_metric(WAITERS, (double)count), "only %g of %zu wait", metric(WAITERS), count);
	origin_release(the_origin, key);
	for (size_t i = 0; i < count; i++) {
		struct client_reply *reply = wire_receive(wires[i]);

		expect_status(reply, 200);
		expect(reply->json, "state", "'succeeded'");
	}
	for (size_t i = 0; i < count; i++)
		expect_that(client_is_quiet(wires[i]), "waiter %zu got more than one answer, or was closed", i);
	wire_get(wires[0], "/livez"); /* the connections are of use again */
	expect_status(wire_receive(wires[0]), 200);
	free(wires);
}
END_TEST

START_TEST(all_kinds_of_waiters_are_woken)
{
	const char *key = new_key();
	const char *id = id_of(submit(url("/hold?k=%s", key), ""));
	struct call *calls[4] = {
		call_start("GET", text("/v1/jobs/%s?wait=25s", id), NULL),
		call_start("GET", text("/v1/jobs/%s?wait=25s&since=1000", id), NULL),
		call_start("POST", "/v1/wait", jtext("{'ids':['%s'],'mode':'any'}", id)),
		call_start("POST", "/v1/jobs?wait=25s", jtext("{'url':'%s'}", url("/hold?k=%s", key))),
	};
	static const char *const paths[] = {"state", "state", "finished.0.state", "state"};

	expect_that(await_metric(WAITERS, 4), "only %g wait", metric(WAITERS));
	origin_release(the_origin, key);
	for (size_t i = 0; i < COUNT_OF(calls); i++) {
		expect_status(call_end(calls[i]), 200);
		expect(call_end(calls[i])->json, paths[i], "'succeeded'");
	}
}
END_TEST

/* Tells the first member that differs. */
static void
expect_same(json_t *before, json_t *after)
{
	const char *name;
	json_t *value;

	json_object_foreach(before, name, value)
		expect_that(json_equal(value, json_at(after, name)), "%s of a finished job changed from %s to %s", name,
			dumped(value), dumped(json_at(after, name)));
}

/* The answer of a cancel and the job's final state agree, and stay. */
static void
expect_one_end(const char *id, const struct client_reply *answer)
{
	bool won = answer->status == 200;
	struct client_reply *first, *second;

	expect_that(won || answer->status == 409, "cancel is answered %d %s", answer->status,
		answer->error ? answer->error : "");
	first = get("/v1/jobs/%s?wait=25s", id);
	expect(first->json, "state", won ? "'cancelled'" : "'succeeded'");
	expect(answer->json, won ? "state" : "job.state", won ? "'cancelled'" : "'succeeded'");
	second = get("/v1/jobs/%s", id);
	expect_same(first->json, second->json);
	if (won)
		expect_same(answer->json, first->json);
}

START_TEST(cancel_races_the_finish)
{
	for (size_t i = 0; i < rounds(200); i++) {
		const char *key = new_key();
		const char *id = id_of(submit(url("/hold?k=%s", key), ""));
		struct client_wire *wire = open_wire();

		await_seen(key);
		if (i % 2)
			origin_release(the_origin, key);
		wire_send(wire, "POST /v1/jobs/%s/cancel HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", id);
		origin_release(the_origin, key);
		expect_one_end(id, wire_receive(wire));
		client_close(wire);
	}
}
END_TEST

START_TEST(of_two_cancels_one_wins)
{
	for (size_t i = 0; i < rounds(100); i++) {
		const char *id = id_of(submit_later(""));
		struct client_wire *wires[2] = {open_wire(), open_wire()};
		int statuses[2];

		for (size_t j = 0; j < 2; j++)
			wire_send(wires[j],
				"POST /v1/jobs/%s/cancel HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", id);
		for (size_t j = 0; j < 2; j++) {
			statuses[j] = wire_receive(wires[j])->status;
			client_close(wires[j]);
		}
		expect_that(statuses[0] + statuses[1] == 200 + 409, "the two are answered %d and %d", statuses[0],
			statuses[1]);
	}
}
END_TEST

START_TEST(delete_races_the_wait)
{
	for (size_t i = 0; i < rounds(100); i++) {
		const char *id = id_of(submit_later(""));
		struct client_wire *wire = open_wire();
		struct client_reply *reply;

		wire_get(wire, "/v1/jobs/%s?wait=25s", id);
		expect_status(del("/v1/jobs/%s", id), 204);
		reply = wire_receive(wire);
		if (reply->status == 200)
			expect(reply->json, "state", "'cancelled'");
		else
			expect_problem(reply, 404, NULL); /* the wait came too late */
		expect_problem(get("/v1/jobs/%s", id), 404, NULL);
		client_close(wire);
	}
}
END_TEST

static struct client_reply *
answer_of_race(struct client_wire *wire, bool deletes)
{
	struct client_reply *reply = wire_receive(wire);
	int status = reply->status;

	if (deletes)
		expect_status(reply, 204);
	else
		expect_that(status == 200 || status == 409 || status == 404, "a cancel is answered %d %s", status,
			reply->error ? reply->error : "");
	return reply;
}

/* Each round sends the DELETE at another place among the cancels, of a job that is queued or on its way. */
START_TEST(cancels_race_the_delete)
{
	struct client_wire *wires[6];

	for (size_t j = 0; j < COUNT_OF(wires); j++)
		wires[j] = open_wire();
	for (size_t i = 0; i < rounds(200); i++) {
		bool held = i / COUNT_OF(wires) % 2;
		const char *key = new_key();
		const char *id = id_of(held ? submit(url("/hold?k=%s", key), "") : submit_later(""));
		size_t deleting = i % COUNT_OF(wires), won = 0;

		if (held)
			await_seen(key);
		for (size_t j = 0; j < COUNT_OF(wires); j++)
			wire_send(wires[j], "%s /v1/jobs/%s%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n",
				j == deleting ? "DELETE" : "POST", id, j == deleting ? "" : "/cancel");
		for (size_t j = 0; j < COUNT_OF(wires); j++)
			won += answer_of_race(wires[j], j == deleting)->status == 200;
		expect_that(won <= 1, "%zu cancels won", won);
		expect_problem(get("/v1/jobs/%s", id), 404, NULL);
	}
	expect_status(get("/readyz"), 200);
}
END_TEST

START_TEST(delete_wakes_every_waiter)
{
	const char *id = id_of(submit(url("/hold"), ""));
	struct client_wire **wires = park(id, 50);
	struct call *many = call_start("POST", "/v1/wait", jtext("{'ids':['%s']}", id));

	expect_that(await_metric(WAITERS, 51), "only %g wait", metric(WAITERS));
	expect_status(del("/v1/jobs/%s", id), 204);
	for (size_t i = 0; i < 50; i++) {
		struct client_reply *reply = wire_receive(wires[i]);

		expect_status(reply, 200);
		expect(reply->json, "state", "'cancelled'");
	}
	expect(call_end(many)->json, "finished.0.state", "'cancelled'");
	free(wires);
}
END_TEST

START_TEST(waiters_may_leave)
{
	const char *key = new_key();
	json_t *job = submit(url("/hold?k=%s", key), "");
	struct client_wire **wires = park(id_of(job), 100);
	int64_t until = mono_ms() + SERVER_PATIENCE_MS;

	expect_that(await_metric(WAITERS, 100), "only %g wait", metric(WAITERS));
	for (size_t i = 0; i < 100; i++)
		client_close(wires[i]);
	free(wires);
	origin_release(the_origin, key);
	expect(job_done(job), "state", "'succeeded'");
	while (metric(WAITERS) > 0 && mono_ms() < until)
		;
	expect_that(metric(WAITERS) == 0, "%g still wait", metric(WAITERS));
}
END_TEST

START_TEST(above_max_waiters_a_wait_is_503)
{
	const char *key = new_key(), *id;
	struct client_wire **wires;
	struct client_reply *reply;

	start_server("--max-waiters", "3");
	id = id_of(submit(url("/hold?k=%s", key), ""));
	wires = park(id, 3);
	expect_that(await_metric(WAITERS, 3), "only %g wait", metric(WAITERS));
	reply = get("/v1/jobs/%s?wait=25s", id);
	expect_problem(reply, 503, NULL);
	expect_that(client_field(reply, "retry-after"), "no Retry-After");
	expect_problem(post("/v1/wait", "{'ids':['%s']}", id), 503, NULL);
	/* A submission is taken, and answered at once; what is done needs no wait. */
	expect_status(post("/v1/jobs?wait=25s", "{'url':'%s'}", url("/hold?k=%s", key)), 202);
	expect_status(get("/v1/jobs/%s", id), 200);
	origin_release(the_origin, key);
	for (size_t i = 0; i < 3; i++)
		expect_status(wire_receive(wires[i]), 200);
	expect_status(get("/v1/jobs/%s?wait=25s", id), 200);
	free(wires);
}
END_TEST

START_TEST(the_end_wakes_waiters)
{
	struct server *server = start_server("--drain-timeout", "300ms");
	const char *id = id_of(submit(url("/hold"), ""));
	struct call *calls[3] = {
		call_start("GET", text("/v1/jobs/%s?wait=25s", id), NULL),
		call_start("POST", "/v1/jobs?wait=25s", jtext("{'url':'%s'}", url("/hold"))),
		call_start("POST", "/v1/wait", jtext("{'ids':['%s']}", id)),
	};

	expect_that(await_metric(WAITERS, 3), "only %g wait", metric(WAITERS));
	server_signal(server, SIGTERM);
	expect_status(call_end(calls[0]), 200);
	expect(call_end(calls[0])->json, "done", "false");
	expect_status(call_end(calls[1]), 202);
	expect(call_end(calls[1])->json, "done", "false");
	expect_status(call_end(calls[2]), 200);
	expect(call_end(calls[2])->json, "pending", "['%s']", id);
	for (size_t i = 0; i < COUNT_OF(calls); i++)
		expect_header(call_end(calls[i]), "connection", "close");
}
END_TEST

START_TEST(many_clients_submit_at_once)
{
	size_t count = rounds(200);
	struct client_wire **wires = calloc(count, sizeof(struct client_wire *));

	for (size_t i = 0; i < count; i++) {
		const char *spec = jtext("{'url':'%s'}", url("/text/%zu", i + 1));

		wires[i] = open_wire();
		wire_send(wires[i],
			"POST /v1/jobs?wait=25s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
			"Content-Length: %zu\r\n\r\n%s",
			strlen(spec), spec);
	}
	for (size_t i = 0; i < count; i++) {
		struct client_reply *reply = wire_receive(wires[i]);

		expect_status(reply, 200);
		expect(reply->json, "response.body_bytes", "%zu", i + 1); /* nobody gets another's job */
	}
	free(wires);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("waiters");
	TCase *shared = rig_case(suite, "waiters", rig_share_default);
	TCase *races = rig_case(suite, "races", rig_share_default);
	TCase *own = rig_case(suite, "limits and the end", NULL);

	tcase_add_test(shared, a_thousand_waiters_are_woken_once);
	tcase_add_test(shared, all_kinds_of_waiters_are_woken);
	tcase_add_test(shared, delete_wakes_every_waiter);
	tcase_add_test(shared, waiters_may_leave);
	tcase_add_test(shared, many_clients_submit_at_once);
	tcase_add_test(races, cancel_races_the_finish);
	tcase_add_test(races, of_two_cancels_one_wins);
	tcase_add_test(races, delete_races_the_wait);
	tcase_add_test(races, cancels_race_the_delete);
	tcase_add_test(own, above_max_waiters_a_wait_is_503);
	tcase_add_test(own, the_end_wakes_waiters);
	return rig_run(suite);
}
