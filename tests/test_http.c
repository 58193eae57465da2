/* The front door as HTTP: what is malformed is refused and never read as two requests, what is right is served. */
#include "rig.h"

#include <string.h>

/* A request that must never be answered, for it stands where no request may be read from. */
#define SMUGGLED "GET /v1/info HTTP/1.1\r\nHost: localhost\r\n\r\n"
#define BYTES(literal) .bytes = (literal), .size = sizeof(literal) - 1
#define GET_INFO "GET /v1/info HTTP/1.1\r\nHost: localhost\r\n"
#define POST_JOB "POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
#define SPEC "{\"url\":\"http://127.0.0.1:9/\",\"delay\":\"1h\"}" /* 42 bytes */

static const struct {
	const char *name;
	const char *bytes;
	size_t size;
	int status; /* may be instead of 400, and where it is no mistake of framing the connection may go on */
} malformed[] = {
	{"a blank before the colon", BYTES(GET_INFO "X-A : b\r\n\r\n"), 0},
	{"a tab before the colon", BYTES(GET_INFO "X-A\t: b\r\n\r\n"), 0},
	{"a folded line", BYTES(GET_INFO "X-A: b\r\n c\r\n\r\n"), 0},
	{"a folded line with a tab", BYTES(GET_INFO "X-A: b\r\n\tc\r\n\r\n"), 0},
	{"a fold behind the request line", BYTES("GET /v1/info HTTP/1.1\r\n X-A: b\r\nHost: localhost\r\n\r\n"), 0},
	{"a folded Transfer-Encoding", BYTES(POST_JOB "Transfer-Encoding:\r\n chunked\r\n\r\n"), 0},
	{"a folded Content-Length", BYTES(POST_JOB "Content-Length:\r\n 42\r\n\r\n" SPEC), 0},
	{"a bare CR in a value", BYTES(GET_INFO "X-A: b\rc\r\n\r\n"), 0},
	{"a bare CR as a line's end", BYTES(GET_INFO "X-A: b\rX-B: c\r\n\r\n"), 0},
	{"a bare LF within the head", BYTES(GET_INFO "X-A: b\nX-B: c\r\n\r\n"), 0},
	{"a bare LF behind the request line", BYTES("GET /v1/info HTTP/1.1\nHost: localhost\r\n\r\n"), 0},
	{"a NUL in a value", BYTES(GET_INFO "X-A: b\0c\r\n\r\n"), 0},
	{"a NUL in a name", BYTES(GET_INFO "X-\0A: b\r\n\r\n"), 0},
	{"a NUL in the target", BYTES("GET /v1/in\0fo HTTP/1.1\r\nHost: localhost\r\n\r\n"), 0},
	{"a field without a name", BYTES(GET_INFO ": b\r\n\r\n"), 0},
	{"a field without a colon", BYTES(GET_INFO "X-A\r\n\r\n"), 0},
	{"a name that is no token", BYTES(GET_INFO "X(A): b\r\n\r\n"), 0},
	{"a name with a blank", BYTES(GET_INFO "X A: b\r\n\r\n"), 0},
	{"a name that is not ASCII", BYTES(GET_INFO "X-\xc3\xa4: b\r\n\r\n"), 0},
	{"Content-Length and Transfer-Encoding",
		BYTES(POST_JOB "Content-Length: 42\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 0},
	{"Transfer-Encoding and Content-Length",
		BYTES(POST_JOB "Transfer-Encoding: chunked\r\nContent-Length: 42\r\n\r\n0\r\n\r\n"), 0},
	{"two Content-Lengths that differ", BYTES(POST_JOB "Content-Length: 42\r\nContent-Length: 41\r\n\r\n" SPEC), 0},
	{"a list of Content-Lengths that differ", BYTES(POST_JOB "Content-Length: 42, 41\r\n\r\n" SPEC), 0},
	{"Content-Length +42", BYTES(POST_JOB "Content-Length: +42\r\n\r\n" SPEC), 0},
	{"Content-Length -1", BYTES(POST_JOB "Content-Length: -1\r\n\r\n"), 0},
	{"Content-Length 0x2a", BYTES(POST_JOB "Content-Length: 0x2a\r\n\r\n" SPEC), 0},
	{"Content-Length 4 2", BYTES(POST_JOB "Content-Length: 4 2\r\n\r\n" SPEC), 0},
	{"an empty Content-Length", BYTES(POST_JOB "Content-Length:\r\n\r\n" SPEC), 0},
	{"a Content-Length beyond all numbers", BYTES(POST_JOB "Content-Length: 99999999999999999999999\r\n\r\n"), 413},
	{"Transfer-Encoding gzip", BYTES(POST_JOB "Transfer-Encoding: gzip\r\n\r\n"), 0},
	{"Transfer-Encoding identity", BYTES(POST_JOB "Transfer-Encoding: identity\r\n\r\n"), 0},
	{"Transfer-Encoding gzip, chunked", BYTES(POST_JOB "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), 0},
	{"Transfer-Encoding chunked, chunked", BYTES(POST_JOB "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
		0},
	{"Transfer-Encoding twice",
		BYTES(POST_JOB "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 0},
	{"Transfer-Encoding xchunked", BYTES(POST_JOB "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"), 0},
	{"Transfer-Encoding \"chunked\"", BYTES(POST_JOB "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"), 0},
	{"a chunk size that is none", BYTES(POST_JOB "Transfer-Encoding: chunked\r\n\r\nxyz\r\nabc\r\n0\r\n\r\n"), 0},
	{"a negative chunk size", BYTES(POST_JOB "Transfer-Encoding: chunked\r\n\r\n-1\r\nabc\r\n0\r\n\r\n"), 0},
	{"a chunk size beyond all numbers",
		BYTES(POST_JOB "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nabc\r\n0\r\n\r\n"), 413},
	{"no Host", BYTES("GET /v1/info HTTP/1.1\r\n\r\n"), 403},
	{"two Hosts", BYTES("GET /v1/info HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n"), 403},
	{"an empty Host", BYTES("GET /v1/info HTTP/1.1\r\nHost:\r\n\r\n"), 403},
	{"a Host that is none", BYTES("GET /v1/info HTTP/1.1\r\nHost: local host\r\n\r\n"), 403},
	{"a line of garbage", BYTES("garbage\r\n\r\n"), 0},
	{"a lower-case protocol", BYTES("GET /v1/info http/1.1\r\nHost: localhost\r\n\r\n"), 505},
	{"HTTP/2.0", BYTES("GET /v1/info HTTP/2.0\r\nHost: localhost\r\n\r\n"), 505},
	{"no target", BYTES("GET HTTP/1.1\r\nHost: localhost\r\n\r\n"), 505},
	{"a method that is no token", BYTES("G(ET /v1/info HTTP/1.1\r\nHost: localhost\r\n\r\n"), 405},
};

/* Sends the bytes with a second request right behind: one refusal comes, then the end of the connection. */
static void
expect_refused(const char *name, const char *bytes, size_t size, int or_status)
{
	struct client_wire *wire = open_wire();
	struct client_reply *reply;

	client_send(wire, bytes, size);
	client_send(wire, SMUGGLED, strlen(SMUGGLED));
	reply = wire_receive(wire);
	expect_that(reply->status == 400 || (or_status && reply->status == or_status), "%s: answered %d: %s%s", name,
		reply->status, reply->error ? reply->error : "", reply->body.used ? reply->body.data : "");
	if (reply->status == 403 || reply->status == 405)
		return;
	expect_that(client_sees_end(wire), "%s: more comes behind the refusal, or the connection stays open: %.60s",
		name, wire->in.used ? wire->in.data : "");
}

START_TEST(a_malformed_request_is_refused_and_ends_the_connection)
{
	expect_refused(malformed[_i].name, malformed[_i].bytes, malformed[_i].size, malformed[_i].status);
}
END_TEST

/* The refusal is a problem as any other, and the head comes once. */
START_TEST(a_refusal_is_a_problem)
{
	struct client_wire *wire = open_wire();
	struct client_reply *reply;

	wire_send(wire, GET_INFO "X-A : b\r\n\r\n");
	reply = wire_receive(wire);
	expect_problem(reply, 400, "null");
	expect_header(reply, "connection", "close");
	expect_that(client_field_count(reply, "content-length") == 1, "%zu Content-Lengths",
		client_field_count(reply, "content-length"));
}
END_TEST

START_TEST(nothing_is_stored_by_a_refused_request)
{
	struct client_wire *wire = open_wire();
	const char *key = new_key();
	const char *spec = jtext("{'url':'http://127.0.0.1:9/','delay':'1h','tags':['%s']}", key);

	wire_send(wire, POST_JOB "Content-Length: %zu\r\nX-A : b\r\n\r\n%s", strlen(spec), spec);
	expect_status(wire_receive(wire), 400);
	expect(get("/v1/jobs?tag=%s", key)->json, "jobs", "[]");
}
END_TEST

START_TEST(equal_content_lengths_are_one_or_none)
{
	struct client_wire *wire = open_wire();
	struct client_reply *reply;

	/* RFC 9112 leaves both open: taken as one, or refused; but never two requests. */
	wire_send(wire, POST_JOB "Content-Length: 42\r\nContent-Length: 42\r\n\r\n" SPEC);
	reply = wire_receive(wire);
	expect_that(reply->status == 202 || reply->status == 400, "answered %d", reply->status);
}
END_TEST

START_TEST(a_head_in_pieces_is_one_head)
{
	static const char head[] = GET_INFO "X-A: b\r\n\r\n";
	struct client_wire *wire = open_wire();

	for (size_t i = 0; i < sizeof head - 1; i++)
		client_send(wire, head + i, 1);
	expect_status(wire_receive(wire), 200);
}
END_TEST

START_TEST(very_long_heads_are_refused)
{
	static const size_t sizes[] = {70000, 200000, 3000000};
	const char *targets[] = {"/v1/jobs?tag=", "/v1/jobs/"};

	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		struct client_reply *reply =
			call_with("GET", text("X-Long: %s\r\n", repeated("x", sizes[i])), "/v1/info");

		expect_that(reply->status == 431 || reply->status == 400 || reply->status == 413,
			"a field of %zu: %d %s", sizes[i], reply->status, reply->error ? reply->error : "");
		for (size_t j = 0; j < COUNT_OF(targets); j++) {
			reply = get("%s%s", targets[j], repeated("y", sizes[i]));
			expect_that(reply->status >= 400 && reply->status < 500, "a target of %zu: %d %s", sizes[i],
				reply->status, reply->error ? reply->error : "");
		}
	}
}
END_TEST

START_TEST(very_many_arguments_are_refused)
{
	struct client_reply *reply = get("/v1/jobs?%s", repeated("a&", 3000));

	expect_that(reply->status == 400 || reply->status == 414 || reply->status == 431, "answered %d %s",
		reply->status, reply->error ? reply->error : "");
	reply = call_with("GET", repeated("X-A: b\r\n", 3000), "/v1/info");
	expect_that(reply->status == 400 || reply->status == 431 || reply->status == 200, "3000 fields: answered %d %s",
		reply->status, reply->error ? reply->error : "");
}
END_TEST

/* ---- methods, paths, media types, sizes */

static const struct {
	const char *method, *path, *allow; /* one that must be in Allow */
} not_allowed[] = {
	{"PUT", "/v1/jobs", "POST"},
	{"DELETE", "/v1/jobs", "GET"},
	{"PATCH", "/v1/jobs/x", "DELETE"},
	{"POST", "/v1/jobs/x", "GET"},
	{"POST", "/v1/jobs/x/body", "GET"},
	{"GET", "/v1/jobs/x/cancel", "POST"},
	{"GET", "/v1/wait", "POST"},
	{"POST", "/v1/info", "GET"},
	{"DELETE", "/metrics", "GET"},
	{"POST", "/livez", "GET"},
	{"POST", "/readyz", "GET"},
	{"GET", "/v1/egress/check", "POST"},
	{"OPTIONS", "/v1/jobs", "GET"},
	{"FROB", "/v1/jobs", "GET"},
};

START_TEST(a_wrong_method_is_405)
{
	struct client_reply *reply =
		call_with(not_allowed[_i].method, "Content-Length: 0\r\n", "%s", not_allowed[_i].path);
	const char *allow = client_field(reply, "allow");

	expect_problem(reply, 405, NULL);
	expect_that(allow && strstr(allow, not_allowed[_i].allow) && !strstr(allow, not_allowed[_i].method),
		"Allow is %s", allow ? allow : "missing");
}
END_TEST

static const char *const unknown_paths[] = {"/", "/v1", "/v1/", "/v1/job", "/v2/jobs", "/v1/jobs/x/y/z",
	"/v1/jobs/x/bodyy", "/v1/jobs/", "//v1/info", "/V1/info", "/v1/batches/x/y/z", "/livez/x"};

START_TEST(an_unknown_path_is_404)
{
	expect_problem(get("%s", unknown_paths[_i]), 404, NULL);
}
END_TEST

START_TEST(a_body_needs_a_length)
{
	expect_problem(call_with("POST", "Content-Type: application/json\r\n", "/v1/jobs"), 411, NULL);
	expect_problem(call_with("POST", "Content-Type: application/json\r\n", "/v1/wait"), 411, NULL);
}
END_TEST

static const struct {
	const char *field;
	int status;
} types[] = {
	{"Content-Type: application/json\r\n", 202},
	{"Content-Type: application/json; charset=utf-8\r\n", 202},
	{"Content-Type: APPLICATION/JSON ; Charset=\"UTF-8\"\r\n", 202},
	{"Content-Type: application/x-www-form-urlencoded\r\n", 415},
	{"Content-Type: multipart/form-data; boundary=x\r\n", 415},
	{"Content-Type: text/json\r\n", 415},
	{"Content-Type: text/plain\r\n", 415},
	{"Content-Type: application/jsonp\r\n", 415},
	{"Content-Type: application\r\n", 415},
	{"", 415},
};

START_TEST(the_media_type_counts)
{
	struct client_reply *reply = post_bytes("/v1/jobs", types[_i].field, SPEC, strlen(SPEC));

	expect_status(reply, types[_i].status);
	if (reply->status == 415)
		expect_problem(reply, 415, NULL);
	if (strstr(types[_i].field, "form-urlencoded"))
		expect_that(strstr(json_text_at(reply->json, "detail"), "--json"), "no hint: %s",
			json_text_at(reply->json, "detail"));
}
END_TEST

START_TEST(chunked_bodies_are_taken)
{
	struct client_wire *wire = open_wire();

	wire_send(wire,
		POST_JOB "Transfer-Encoding: chunked\r\n\r\n7;a=b\r\n%.7s\r\n23\r\n%s\r\n0\r\nX-Trailer: y\r\n\r\n",
		SPEC, &SPEC[7]);
	expect_status(wire_receive(wire), 202);
	wire_get(wire, "/livez");
	expect_status(wire_receive(wire), 200);
}
END_TEST

START_TEST(a_length_over_the_limit_is_413_at_once)
{
	struct client_wire *wire = open_wire();

	wire_send(wire, POST_JOB "Content-Length: 16777217\r\n\r\n");
	expect_problem(wire_receive(wire), 413, NULL);
	wire = open_wire();
	wire_send(wire, POST_JOB "Content-Length: 99999999999\r\nExpect: 100-continue\r\n\r\n");
	expect_problem(wire_receive(wire), 413, NULL);
}
END_TEST

START_TEST(chunks_over_the_limit_are_413)
{
	struct client_wire *wire;
	const char *chunk = text("4000\r\n%s\r\n", repeated(" ", 0x4000));

	start_server("--max-request-bytes", "100KiB");
	wire = open_wire();
	wire_send(wire, POST_JOB "Transfer-Encoding: chunked\r\n\r\n");
	for (int i = 0; i < 20; i++)
		client_send(wire, chunk, strlen(chunk));
	wire_send(wire, "0\r\n\r\n");
	expect_problem(wire_receive(wire), 413, NULL);
	expect_status(post_bytes("/v1/jobs", "Content-Type: application/json\r\n",
			      text("%s" SPEC, repeated(" ", 102358)), 102400),
		202);
	expect_problem(post_bytes("/v1/jobs", "Content-Type: application/json\r\n",
			       text("%s" SPEC, repeated(" ", 102359)), 102401),
		413, NULL);
}
END_TEST

/* ---- connections */

START_TEST(connections_are_kept)
{
	static const struct {
		const char *path;
		int status;
	} calls[] = {
		{"/v1/info", 200}, {"/nothing", 404}, {"/v1/jobs/x", 404}, {"/v1/jobs?limit=x", 400}, {"/livez", 200}};
	struct client_wire *wire = open_wire();

	for (size_t i = 0; i < COUNT_OF(calls); i++) {
		wire_get(wire, "%s", calls[i].path);
		expect_status(wire_receive(wire), calls[i].status);
	}
}
END_TEST

START_TEST(connections_are_kept_after_a_wait)
{
	struct client_wire *wire = open_wire();

	for (int i = 0; i < 3; i++) {
		const char *spec = jtext("{'url':'%s'}", url("/delay/%d", 40 * i));

		wire_send(wire,
			"POST /v1/jobs?wait=20s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
			"Content-Length: %zu\r\n\r\n%s",
			strlen(spec), spec);
		expect(wire_receive(wire)->json, "state", "'succeeded'");
	}
}
END_TEST

START_TEST(a_close_is_honoured)
{
	struct client_wire *wire = open_wire();

	wire_send(wire, GET_INFO "Connection: close\r\n\r\n");
	expect_status(wire_receive(wire), 200);
	expect_that(client_sees_end(wire), "the connection stays open");
}
END_TEST

START_TEST(two_requests_ahead_give_two_answers)
{
	struct client_wire *wire = open_wire();

	wire_send(wire,
		GET_INFO "\r\n" POST_JOB "Content-Length: %zu\r\n\r\n" SPEC
			 "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n",
		strlen(SPEC));
	expect_that(json_at(wire_receive(wire)->json, "version"), "the first answer is not /v1/info's");
	expect_status(wire_receive(wire), 202);
	expect_status(wire_receive(wire), 200);
	expect_that(client_is_quiet(wire), "there is a fourth answer");
}
END_TEST

START_TEST(a_request_behind_a_wait_waits)
{
	struct client_wire *wire = open_wire();
	const char *key = new_key();
	const char *id = id_of(submit(url("/hold?k=%s", key), ""));

	wire_send(wire, "GET /v1/jobs/%s?wait=20s HTTP/1.1\r\nHost: localhost\r\n\r\n" GET_INFO "\r\n", id);
	await_seen(key);
	origin_release(the_origin, key);
	expect(wire_receive(wire)->json, "state", "'succeeded'");
	expect_that(json_at(wire_receive(wire)->json, "version"), "the second answer is not /v1/info's");
}
END_TEST

START_TEST(http_1_0_is_served)
{
	struct client_wire *wire = open_wire();
	struct client_reply *reply;

	wire_send(wire, "GET /v1/info HTTP/1.0\r\nHost: localhost\r\n\r\n");
	reply = wire_receive(wire);
	expect_status(reply, 200);
	expect_header(reply, "transfer-encoding", NULL);
	expect_that(client_sees_end(wire), "the connection stays open");
}
END_TEST

START_TEST(expect_100_continue_is_answered)
{
	struct client_wire *wire = open_wire();

	wire_send(wire, POST_JOB "Content-Length: %zu\r\nExpect: 100-continue\r\n\r\n", strlen(SPEC));
	expect_that(client_receive_interim(wire) == 100, "no 100 Continue");
	wire_send(wire, SPEC);
	expect_status(wire_receive(wire), 202);
}
END_TEST

START_TEST(a_client_that_leaves_within_its_request_is_forgotten)
{
	static const char *const starts[] = {"", "GET", GET_INFO, POST_JOB "Content-Length: 42\r\n\r\n{\"url\"",
		POST_JOB "Transfer-Encoding: chunked\r\n\r\n7\r\n{\"u"};

	for (size_t i = 0; i < COUNT_OF(starts); i++) {
		struct client_wire *wire = open_wire();

		client_send(wire, starts[i], strlen(starts[i]));
		client_close(wire);
	}
	expect_status(get("/livez"), 200);
}
END_TEST

/* ---- who may ask */

static const struct {
	const char *host;
	int status;
} hosts[] = {
	{"localhost", 200},
	{"localhost:1", 200},
	{"LocalHost", 200},
	{"127.0.0.1", 200},
	{"127.0.0.1:8080", 200},
	{"[::1]", 200},
	{"[::1]:8080", 200},
	{"10.1.2.3:80", 200},
	{"own.example", 200},
	{"OWN.example:80", 200},
	{"evil.example", 403},
	{"localhost.evil.example", 403},
	{"127.0.0.1.evil.example", 403},
	{"xlocalhost", 403},
	{"own.example.evil", 403},
	{"localhost@evil.example", 403},
	{"1.2.3", 403},
	{"[::1", 403},
	{"localhost:x", 403},
	{"own.example,evil.example", 403},
};

START_TEST(only_own_hosts_are_served)
{
	struct client_reply *reply = call_request(
		&(struct client_request){.method = "GET", .target = "/v1/info", .host = hosts[_i].host, .fields = ""});

	if (hosts[_i].status == 403 && reply->status == 400)
		return; /* what is no host at all may be called malformed */
	expect_status(reply, hosts[_i].status);
	if (hosts[_i].status == 403)
		expect_problem(reply, 403, NULL);
}
END_TEST

START_TEST(only_the_own_origin_is_served)
{
	unsigned port = server_address(the_server)->port;
	const char *foreign[] = {"http://evil.example", "null", text("https://127.0.0.1:%u", port),
		text("http://127.0.0.1:%u", port ^ 1), "http://127.0.0.1",
		text("http://127.0.0.1:%u.evil.example", port)};
	const char *key = new_key(), *spec = jtext("{'url':'http://127.0.0.1:9/','tags':['%s']}", key);

	for (size_t i = 0; i < COUNT_OF(foreign); i++) {
		const char *fields = text("Origin: %s\r\nContent-Type: application/json\r\n", foreign[i]);

		expect_problem(post_bytes("/v1/jobs", fields, spec, strlen(spec)), 403, NULL);
		expect_problem(call_with("GET", text("Origin: %s\r\n", foreign[i]), "/v1/info"), 403, NULL);
	}
	expect(get("/v1/jobs?tag=%s", key)->json, "jobs", "[]");
	expect_status(call_with("GET", text("Origin: http://127.0.0.1:%u\r\n", port), "/v1/info"), 200);
}
END_TEST

static void
setup(void)
{
	rig_share("--server-name", "own.example");
}

static void
add_requests(TCase *tcase)
{
	tcase_add_loop_test(tcase, a_wrong_method_is_405, 0, COUNT_OF(not_allowed));
	tcase_add_loop_test(tcase, an_unknown_path_is_404, 0, COUNT_OF(unknown_paths));
	tcase_add_test(tcase, a_body_needs_a_length);
	tcase_add_loop_test(tcase, the_media_type_counts, 0, COUNT_OF(types));
	tcase_add_test(tcase, chunked_bodies_are_taken);
	tcase_add_test(tcase, a_length_over_the_limit_is_413_at_once);
	tcase_add_test(tcase, connections_are_kept);
	tcase_add_test(tcase, connections_are_kept_after_a_wait);
	tcase_add_test(tcase, a_close_is_honoured);
	tcase_add_test(tcase, two_requests_ahead_give_two_answers);
	tcase_add_test(tcase, a_request_behind_a_wait_waits);
	tcase_add_test(tcase, http_1_0_is_served);
	tcase_add_test(tcase, expect_100_continue_is_answered);
	tcase_add_test(tcase, a_client_that_leaves_within_its_request_is_forgotten);
	tcase_add_loop_test(tcase, only_own_hosts_are_served, 0, COUNT_OF(hosts));
	tcase_add_test(tcase, only_the_own_origin_is_served);
}

int
main(void)
{
	Suite *suite = suite_create("http");
	TCase *bytes = rig_case(suite, "malformed bytes", setup);
	TCase *own = rig_case(suite, "limits of their own", NULL);

	tcase_add_loop_test(bytes, a_malformed_request_is_refused_and_ends_the_connection, 0, COUNT_OF(malformed));
	tcase_add_test(bytes, a_refusal_is_a_problem);
	tcase_add_test(bytes, nothing_is_stored_by_a_refused_request);
	tcase_add_test(bytes, equal_content_lengths_are_one_or_none);
	tcase_add_test(bytes, a_head_in_pieces_is_one_head);
	tcase_add_test(bytes, very_long_heads_are_refused);
	tcase_add_test(bytes, very_many_arguments_are_refused);
	add_requests(rig_case(suite, "requests and connections", setup));
	tcase_add_test(own, chunks_over_the_limit_are_413);
	return rig_run(suite);
}
