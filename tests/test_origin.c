/* The tests' own tools, tried on each other: the scripted origin asked by the small client. No daemon takes part. */
#include "rig.h"

#include <string.h>

static struct client_reply *
ask(const char *method, const char *target, const char *body)
{
	struct client_address address = {.port = origin_port(the_origin)};
	struct client_request request = {
		.method = method, .target = target, .fields = "", .body = body, .body_bytes = body ? strlen(body) : 0};

	return rig_keep(client_call(&address, &request));
}

static const struct {
	const char *target;
	int status; /* 0: no whole answer */
	const char *body;
} scripts[] = {
	{"/", 200, "the root\n"},
	{"/text/5", 200, "abcde"},
	{"/status/404", 404, "status 404\n"},
	{"/status/204", 204, ""},
	{"/delay/5", 200, "waited 5\n"},
	{"/delay/5/3", 200, "abc"},
	{"/drip/4/2", 200, "abcd"},
	{"/chunked/3", 200, "part0part1part2"},
	{"/chunked/0", 200, ""},
	{"/nocl", 200, "until the end"},
	{"/redirect/0", 200, "arrived\n"},
	{"/redirect/2", 302, "moved\n"},
	{"/redirect-to?url=/x&status=307", 307, "moved\n"},
	{"/1xx", 200, "after the hint\n"},
	{"/gate/1", 200, "through the gate\n"},
	{"/raw?hex=616263", 200, "abc"},
	{"/script?hex=485454502f312e3120323031200d0a0d0a7878", 201, "xx"},
	{"/closeafter", 200, "and gone\n"},
	{"/closeafter/2", 200, "and gone\n"},
	{"/nowhere", 404, "no such script\n"},
	{"/reset", 0, NULL},
	{"/resetbody", 0, NULL},
	{"/close", 0, NULL},
	{"/closechunked", 0, NULL},
	{"/cuthead", 0, NULL},
	{"/empty", 0, NULL},
	{"/garbage", 0, NULL},
};

START_TEST(scripts_do_what_they_say)
{
	struct client_reply *reply = ask("GET", scripts[_i].target, NULL);

	expect_status(reply, scripts[_i].status);
	if (scripts[_i].body)
		expect_text(reply->body.data, scripts[_i].body);
}
END_TEST

START_TEST(requests_are_logged)
{
	const char *key = new_key();
	const struct origin_request *seen;

	ask("POST", text("/echo?k=%s", key), "thing");
	seen = await_seen(key);
	expect_text(seen->method, "POST");
	expect_text(seen->target, text("/echo?k=%s", key));
	expect_text(seen->body, "thing");
	expect_text(origin_field(seen, "content-length"), "5");
	expect_that(origin_await_end(the_origin, seen) == ORIGIN_ANSWERED, "the answer is not whole");
	expect_that(origin_count(the_origin, key) == 1, "it came more than once");
}
END_TEST

START_TEST(a_client_that_leaves_is_logged)
{
	const char *key = new_key();
	struct client_address address = {.port = origin_port(the_origin)};
	struct client_wire wire;

	ck_assert_int_eq(client_connect(&wire, &address), 0);
	wire_get(&wire, "/hold?k=%s", key);
	await_seen(key);
	client_close(&wire);
	expect_that(origin_await_end(the_origin, await_seen(key)) == ORIGIN_LEFT, "nobody noticed");
}
END_TEST

START_TEST(a_held_request_is_let_go)
{
	const char *key = new_key();
	struct client_address address = {.port = origin_port(the_origin)};
	struct client_wire wire;

	ck_assert_int_eq(client_connect(&wire, &address), 0);
	wire_get(&wire, "/hold?k=%s", key);
	await_seen(key);
	expect_that(client_is_quiet(&wire), "it was not held");
	origin_release(the_origin, key);
	expect_text(wire_receive(&wire)->body.data, "let go\n");
	client_close(&wire);
	expect_text(ask("GET", text("/hold?k=%s", key), NULL)->body.data, "let go\n");
}
END_TEST

START_TEST(the_flaky_one_recovers)
{
	for (int i = 0; i < 3; i++)
		expect_status(ask("GET", "/flaky/2?k=x", NULL), i < 2 ? 0 : 200);
}
END_TEST

START_TEST(ports_behave_as_named)
{
	struct client_address closed = {.port = closed_port()}, silent = {.port = silent_port()};
	struct client_wire wire;

	expect_that(client_connect(&wire, &closed) < 0, "a closed port is open");
	expect_that(client_connect(&wire, &silent) == 0, "a silent port is closed");
	client_close(&wire);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("origin");
	TCase *tcase = rig_case(suite, "origin and client", NULL);

	tcase_add_loop_test(tcase, scripts_do_what_they_say, 0, COUNT_OF(scripts));
	tcase_add_test(tcase, requests_are_logged);
	tcase_add_test(tcase, a_client_that_leaves_is_logged);
	tcase_add_test(tcase, a_held_request_is_let_go);
	tcase_add_test(tcase, the_flaky_one_recovers);
	tcase_add_test(tcase, ports_behave_as_named);
	return rig_run(suite);
}
