/* Clients that ask too much of a server: slow ones, many at once, ones that send what is no HTTP. */
#include "rig.h"

#include <poll.h>
#include <string.h>

#define BYTES(text) text, sizeof(text) - 1
#define CUT "fetchpool_connections_cut_total"

#define HEAD "GET /v1/info HTTP/1.1\r\nHost: localhost\r\n"
#define POST "POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"

/* Sends a byte at a time until an answer comes. */
static struct client_reply *
drip(struct client_wire *wire)
{
	int64_t until = mono_ms() + SERVER_PATIENCE_MS;
	struct pollfd answer = {.fd = wire->fd, .events = POLLIN};

	while (poll(&answer, 1, 20) == 0 && mono_ms() < until)
		client_send(wire, "x", 1);
	return wire_receive(wire);
}

static void
expect_cut(struct client_wire *wire, const char *what)
{
	struct client_reply *reply = drip(wire);

	expect_that(reply->status == 408, "%s: answered %d %s", what, reply->status, reply->error ? reply->error : "");
	expect_problem(reply, 408, "null");
	expect(reply->json, "code", "'request_timeout'");
	expect_header(reply, "connection", "close");
	expect_that(client_sees_end(wire), "%s: the connection stays open", what);
}

static const struct {
	const char *name, *bytes;
} slow_heads[] = {
	{"a request line", "GET /"},
	{"a field", HEAD "X-A: "},
	{"a head after a request", HEAD "\r\n" HEAD "X-A: "},
};

START_TEST(a_slow_head_is_cut)
{
	struct client_wire *wire;

	start_server("--head-timeout", "300ms");
	wire = open_wire();
	wire_send(wire, "%s", slow_heads[_i].bytes);
	if (strstr(slow_heads[_i].bytes, "\r\n\r\n") != NULL)
		expect_status(wire_receive(wire), 200);
	expect_cut(wire, slow_heads[_i].name);
	expect_that(metric(CUT) == 1, "%g connections were cut", metric(CUT));
}
END_TEST

static const struct {
	const char *name, *bytes;
} slow_bodies[] = {
	{"a body", POST "Content-Length: 10000\r\n\r\n{"},
	{"a chunk", POST "Transfer-Encoding: chunked\r\n\r\nffff\r\n{"},
	{"trailers", POST "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\nx"},
};

START_TEST(a_slow_body_is_cut)
{
	struct client_wire *wire;

	start_server("--body-timeout", "300ms");
	wire = open_wire();
	wire_send(wire, "%s", slow_bodies[_i].bytes);
	expect_cut(wire, slow_bodies[_i].name);
}
END_TEST

/* Who waits for an answer is not slow, whatever has come of a next request. */
START_TEST(who_waits_is_not_cut)
{
	struct client_wire *wire;
	const char *key = new_key(), *id;

	start_server("--egress-allow", "127.0.0.0/8", "--head-timeout", "100ms", "--body-timeout", "100ms");
	id = id_of(submit(url("/hold?k=%s", key), ""));
	wire = open_wire();
	wire_send(wire, "GET /v1/jobs/%s?wait=800ms HTTP/1.1\r\nHost: localhost\r\n\r\nGET /v1/in", id);
	expect_status(wire_receive(wire), 200);
	expect_that(metric(CUT) == 0 || client_sees_end(wire), "cut in the middle");
	wire = open_wire();
	wire_send(wire, "GET /v1/jobs/%s?wait=800ms HTTP/1.1\r\nHost: localhost\r\n\r\n", id);
	expect_status(wire_receive(wire), 200);
	wire_get(wire, "/v1/info");
	expect_status(wire_receive(wire), 200);
	origin_release(the_origin, key);
}
END_TEST

/* The reserve above the limit is for calls that are always open. */
START_TEST(above_the_limit_only_health_is_told)
{
	struct client_wire *within[3], *above;

	start_server("--max-connections", "3");
	for (size_t i = 0; i < COUNT_OF(within); i++) {
		within[i] = open_wire();
		wire_get(within[i], "/v1/info");
		expect_status(wire_receive(within[i]), 200);
	}
	above = open_wire();
	wire_get(above, "/livez");
	expect_status(wire_receive(above), 200);
	expect_that(client_sees_end(above), "a place above the limit is held on to");
	above = open_wire();
	wire_get(above, "/readyz");
	expect_status(wire_receive(above), 200);
	above = open_wire();
	wire_get(above, "/v1/info");
	struct client_reply *reply = wire_receive(above);
	expect_problem(reply, 503, "null");
	expect(reply->json, "code", "'too_many_connections'");
	expect_that(client_field(reply, "retry-after") != NULL, "no Retry-After");
	expect_that(client_sees_end(above), "the connection stays open");
	wire_get(within[0], "/v1/info");
	expect_status(wire_receive(within[0]), 200);
}
END_TEST

/* Those that hold the reserve leave for others, the oldest first: so nobody can keep /livez from an answer. */
START_TEST(the_reserve_is_not_to_be_held)
{
	static struct client_wire *wires[3 + 64], *late[10];
	int64_t until = mono_ms() + SERVER_PATIENCE_MS;

	start_server("--max-connections", "3", "--front-threads", "1"); /* which takes them in their order */
	for (size_t i = 0; i < COUNT_OF(wires); i++)
		wires[i] = open_wire();
	const char *all = text("\nfetchpool_client_connections %zu\n", COUNT_OF(wires));
	struct client_reply *reply;
	do {
		wire_get(wires[0], "/metrics");
		reply = wire_receive(wires[0]);
		expect_that(mono_ms() < until, "not all connections are taken");
	} while (strstr(reply->body.data, all) == NULL);
	for (size_t i = 0; i < COUNT_OF(late); i++) {
		late[i] = open_wire();
		expect_that(client_sees_end(wires[3 + i]), "nobody left for it");
	}
	expect_status(get("/livez"), 200);
	for (size_t i = 0; i < 3; i++) {
		wire_get(wires[i], "/v1/info");
		expect_status(wire_receive(wires[i]), 200);
	}
	for (size_t i = 0; i < COUNT_OF(wires); i++)
		client_close(wires[i]);
	for (size_t i = 0; i < COUNT_OF(late); i++)
		client_close(late[i]);
	while (get("/v1/info")->status != 200)
		expect_that(mono_ms() < until, "the places of those that left stay taken");
	expect_that(metric("fetchpool_connections_refused_total") >= 1, "nobody counted");
}
END_TEST

/* What is no HTTP is refused after the answers to what came before it, and never read as a request. */
START_TEST(what_comes_first_is_answered)
{
	struct client_wire *wire = (start_server("--workers", "1"), open_wire());

	wire_send(wire, HEAD "\r\n" HEAD "\r\n" HEAD ":\nGET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n");
	expect_status(wire_receive(wire), 200);
	expect_status(wire_receive(wire), 200);
	expect_problem(wire_receive(wire), 400, "null");
	expect_that(client_sees_end(wire), "more comes behind the refusal");
}
END_TEST

static const struct {
	const char *name, *bytes;
	size_t size;
	int status;
} refused[] = {
	{"a colon and a bare LF", BYTES(HEAD ":\n" HEAD "\r\n"), 400},
	{"a NUL and a bare LF", BYTES(HEAD "\0\n" HEAD "\r\n"), 400},
	{"a chunk with bare LFs", BYTES(POST "Transfer-Encoding: chunked\r\n\r\n1\n{\n0\n\n"), 400},
	{"a chunk that does not end", BYTES(POST "Transfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n"), 400},
	{"a trailer that is a length", BYTES(POST "Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 1\r\n\r\n"),
		400},
	{"equal lengths", BYTES(POST "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}"), 400},
	{"HTTP/2", BYTES("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505},
	{"TLS", BYTES("\x16\x03\x01\x02"), 400},
	{"a bad escape in the path", BYTES("GET /v1/jobs/%zz HTTP/1.1\r\nHost: localhost\r\n\r\n"), 400},
	{"a cut escape in the path", BYTES("GET /v1/jobs/%a HTTP/1.1\r\nHost: localhost\r\n\r\n"), 400},
};

START_TEST(no_http_is_refused_with_a_problem)
{
	struct client_wire *wire = (start_server("--workers", "1"), open_wire());

	client_send(wire, refused[_i].bytes, refused[_i].size);
	struct client_reply *reply = wire_receive(wire);
	expect_that(reply->status == refused[_i].status, "%s: %d", refused[_i].name, reply->status);
	expect_problem(reply, refused[_i].status, "null");
	expect_that(client_sees_end(wire), "%s: more comes behind the refusal", refused[_i].name);
}
END_TEST

/* Blanks behind a value are no part of it. */
START_TEST(blanks_behind_values_do_not_count)
{
	start_server("--auth-token-file", file_with("tokens", "secret\n"));
	struct client_wire *wire = open_wire();

	wire_send(wire, "GET /v1/info HTTP/1.1\r\nHost: localhost \t\r\nAuthorization: Bearer secret \r\n\r\n");
	expect_status(wire_receive(wire), 200);
}
END_TEST

START_TEST(a_refused_head_has_no_body)
{
	struct client_wire *wire = (start_server("--workers", "1"), open_wire());
	struct client_reply *reply;

	wire_send(wire, "HEAD /livez HTTP/1.1\r\nHost : localhost\r\n\r\n");
	reply = rig_keep(client_receive(wire, true));
	expect_status(reply, 400);
	expect_that(client_sees_end(wire), "a body comes behind the head");
}
END_TEST

static void
expect_too_large(const char *start, const char *piece, size_t times, int status, const char *code)
{
	struct client_wire *wire = open_wire();
	const char *pieces = repeated(piece, times);

	wire_send(wire, "%s", start);
	client_send(wire, pieces, strlen(pieces));
	struct client_reply *reply = wire_receive(wire);
	expect_problem(reply, status, "null");
	expect(reply->json, "code", "%s", code);
	expect_that(client_sees_end(wire), "the connection stays open");
}

/* Who sends a body that is too large reads the answer, even if it comes before all was sent. */
START_TEST(an_early_answer_arrives)
{
	start_server("--max-request-bytes", "1000");
	const char *body = repeated("0123456789abcdef", 4 << 16);

	for (int i = 0; i < 20; i++) {
		struct client_wire *wire = open_wire();

		wire_send(wire, POST "Content-Length: %zu\r\n\r\n", strlen(body));
		expect_that(client_send(wire, body, strlen(body)), "round %d: the body is not taken", i);
		expect_problem(wire_receive(wire), 413, "null");
	}
}
END_TEST

START_TEST(heads_are_bounded)
{
	start_server("--workers", "1");
	expect_too_large("GET /", "x", 7000, 414, "'target_too_long'");
	expect_too_large(HEAD "X-A: ", "b", 9000, 431, "'head_too_large'");
	expect_too_large(HEAD, "X-A: b\r\n", 101, 431, "'head_too_large'");

	/* What is below the bounds is served: the largest head has room in libmicrohttpd's memory. */
	const char *fields =
		repeated("X-Abcdefghij: 0123456789012345678901234567890123456789012345678901234567\r\n", 98);
	struct client_wire *wire = open_wire();
	wire_send(wire, HEAD "%s\r\n", fields);
	expect_status(wire_receive(wire), 200);
	wire_send(wire, HEAD "Cookie: %s\r\n\r\n", repeated("a=1; ", 1500));
	expect_status(wire_receive(wire), 200);
	wire_send(wire, "GET /v1/jobs?limit=1&tag=%s HTTP/1.1\r\nHost: localhost\r\n\r\n", repeated("%c3%a4", 120));
	expect_status(wire_receive(wire), 200);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("clients");
	TCase *tests = rig_case(suite, "clients", NULL);

	tcase_add_loop_test(tests, a_slow_head_is_cut, 0, COUNT_OF(slow_heads));
	tcase_add_loop_test(tests, a_slow_body_is_cut, 0, COUNT_OF(slow_bodies));
	tcase_add_test(tests, who_waits_is_not_cut);
	tcase_add_test(tests, above_the_limit_only_health_is_told);
	tcase_add_test(tests, the_reserve_is_not_to_be_held);
	tcase_add_test(tests, what_comes_first_is_answered);
	tcase_add_loop_test(tests, no_http_is_refused_with_a_problem, 0, COUNT_OF(refused));
	tcase_add_test(tests, blanks_behind_values_do_not_count);
	tcase_add_test(tests, a_refused_head_has_no_body);
	tcase_add_test(tests, an_early_answer_arrives);
	tcase_add_test(tests, heads_are_bounded);
	return rig_run(suite);
}
