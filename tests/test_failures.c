/* How a fetch fails: each code with its phase, and each clock. */
#include "rig.h"

#include <string.h>

/* ---- what the origin does wrong */

static const struct {
	const char *path, *more, *code, *phase;
} failures[] = {
	{"/reset", "", "connection_lost", "first_byte"},
	{"/empty", "", "connection_lost", "first_byte"},
	{"/resetbody", "", "connection_lost", "body"},
	{"/close", "", "truncated", "body"},
	{"/closechunked", "", "truncated", "body"},
	{"/cuthead", "", "truncated", NULL},
	{"/garbage", "", "protocol_error", NULL},
	{"/badchunk", "", "protocol_error", "body"},
	{"/badgzip", "", "bad_content_encoding", "body"},
	{"/unknowncoding", "", "bad_content_encoding", NULL},
	{"/text/1000", "'max_body_bytes':999", "too_large", "body"},
	{"/chunked/300", "'max_body_bytes':1499", "too_large", "body"},
	{"/gzip/5000000", "'max_body_bytes':100000", "too_large", "body"},
	{"/stall/10", "'max_body_bytes':1000,'idle_timeout':'20s'", "too_large", "body"},
	{"/status/500", "'expect':{'status':['2xx',304]}", "expect_failed", "expect"},
	{"/status/301", "'expect':{'status':[300,302,'4xx']}", "expect_failed", "expect"},
	{"/text/10", "'expect':{'content_type':'application/json'}", "expect_failed", "expect"},
	{"/raw?hex=61&type=-", "'expect':{'content_type':'text/plain'}", "expect_failed", "expect"},
	{"/text/10", "'expect':{'sha256':'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'}",
		"expect_failed", "expect"},
};

START_TEST(a_bad_answer_has_its_code)
{
	json_t *job = fetch(url("%s", failures[_i].path), "%s", failures[_i].more);

	expect_failed(job, failures[_i].code, failures[_i].phase);
	expect_keys(job, "", JOB_KEYS);
	expect_that(json_array_size(json_at(job, "attempts")) == 1, "there is not one attempt");
	expect_that(time_at(job, "finished_at") > 0 && time_at(job, "expires_at") > 0, "no finished_at or expires_at");
}
END_TEST

static const struct {
	const char *path, *more;
} near_misses[] = {
	{"/text/1000", "'max_body_bytes':1000"},
	{"/chunked/300", "'max_body_bytes':1500"},
	{"/gzip/5000", "'max_body_bytes':5000"},
	{"/status/404", "'expect':{'status':['2xx',404]}"},
	{"/status/201", "'expect':{'status':['2xx',404]}"},
	{"/raw?hex=7b7d&type=application/json;%20charset=utf-8", "'expect':{'content_type':'application/json'}"},
	{"/raw?hex=7b7d&type=Application/JSON", "'expect':{'content_type':'application/json'}"},
	{"/raw?hex=&type=x/y",
		"'expect':{'sha256':'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'}"},
	{"/raw?hex=&type=x/y",
		"'expect':{'sha256':'E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855'}"},
	{"/text/1000", "'method':'HEAD','max_body_bytes':10"},
	{"/unknowncoding", "'decompress':false"},
	{"/badgzip", "'decompress':false"},
	{"/drip/12/40", "'first_byte_timeout':'400ms'"},
	{"/drip/8/50", "'idle_timeout':'5s'"},
	{"/delay/400", "'connect_timeout':'300ms'"},
	{"/delay/300", "'idle_timeout':'200ms'"},
	{"/delay/200", "'queue_timeout':'5s'"},
};

START_TEST(what_is_just_within_the_limits_succeeds)
{
	json_t *job = fetch(url("%s", near_misses[_i].path), "%s", near_misses[_i].more);

	expect(job, "state", "'succeeded'");
}
END_TEST

/* ---- heads that are wrong, or just unusual */

#define OK_HEAD "HTTP/1.1 200 OK\r\n"
#define HINT "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n"

static json_t *
fetch_script(const char *answer)
{
	return fetch(url("/script?hex=%s", hex_of(answer, strlen(answer))), "'timeout':'20s'");
}

static const struct {
	const char *answer, *code;
} broken_heads[] = {
	{OK_HEAD "Content-Length: 5x\r\n\r\nhello", "protocol_error"},
	{OK_HEAD "Content-Length: x5\r\n\r\nhello", "protocol_error"},
	{OK_HEAD "Content-Length: 5 5\r\n\r\nhello", "protocol_error"},
	{OK_HEAD "Content-Length: -5\r\n\r\nhello", "protocol_error"},
	{OK_HEAD "Content-Length: +5\r\n\r\nhello", "protocol_error"},
	{OK_HEAD "Content-Length:\r\n\r\nhello", "protocol_error"},
	{OK_HEAD "Content-Length: 9223372036854775808\r\n\r\nhello", "protocol_error"},
	{OK_HEAD "Content-Length: 18446744073709551621\r\n\r\nhello", "protocol_error"},
	{OK_HEAD "Content-Length: 99999999999999999999999999999999\r\n\r\nhello", "protocol_error"},
	{OK_HEAD "Content-Length: 5\r\nContent-Length: 4\r\n\r\nhello", "protocol_error"},
	{OK_HEAD "Content-Length: 4\r\nContent-Length: 5\r\n\r\nhello", "protocol_error"},
	{OK_HEAD "Content-Length: 5, 4\r\n\r\nhello", "protocol_error"},
	{"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nhello", "protocol_error"},
	{"HTTP/1.1 101 Switching Protocols\r\n\r\n" OK_HEAD "Content-Length: 5\r\n\r\nhello", "protocol_error"},
	{HINT, "truncated"},
	{HINT HINT, "truncated"},
	{HINT OK_HEAD "Content-Len", "truncated"},
};

START_TEST(a_broken_head_has_its_code)
{
	expect_failed(fetch_script(broken_heads[_i].answer), broken_heads[_i].code, "first_byte");
}
END_TEST

static const char *const sound_heads[] = {
	OK_HEAD "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
	OK_HEAD "Content-Length: 5, 5\r\n\r\nhello",
	OK_HEAD "Content-Length: 05\r\n\r\nhello",
	HINT OK_HEAD "Content-Length: 5\r\n\r\nhello",
	HINT HINT OK_HEAD "\r\nhello",
};

START_TEST(a_sound_head_is_read)
{
	json_t *job = fetch_script(sound_heads[_i]);

	expect(job, "state", "'succeeded'");
	expect(job, "response.body", "'hello'");
	expect_that(!json_at(job, "response.headers.link"), "a hint's field is kept");
}
END_TEST

START_TEST(folded_lines_are_joined_by_a_blank)
{
	json_t *job = fetch_script(OK_HEAD "X-Once: one\r\n two\r\nX-Twice: one \r\n \t two\t\r\n\tthree\r\n"
					   "X-After: four\r\nContent-Length: 5\r\n\r\nhello");

	expect(job, "state", "'succeeded'");
	expect(job, "response.headers.x-once", "['one two']");
	expect(job, "response.headers.x-twice", "['one two three']");
	expect(job, "response.headers.x-after", "['four']");
	expect(job, "response.body", "'hello'");
}
END_TEST

/* ---- connections that look kept */

#define IN_A_ROW 30

/* Each request is answered whole, and its connection closed at once or a little later, without a word of it. */
static void
expect_all_seen_once(const char *more)
{
	const char *keys[IN_A_ROW];

	for (size_t i = 0; i < IN_A_ROW; i++) {
		json_t *job;

		keys[i] = new_key();
		job = fetch(url("/closeafter/%zu?k=%s", i % 3, keys[i]), "%s", more);
		expect(job, "state", "'succeeded'");
		expect(job, "response.body", "'and gone\\n'");
		expect_that(json_array_size(json_at(job, "attempts")) == 1, "there is not one attempt");
	}
	for (size_t i = 0; i < IN_A_ROW; i++)
		expect_that(origin_count(the_origin, keys[i]) == 1, "request %zu came %zu times", i,
			origin_count(the_origin, keys[i]));
	expect_that(origin_count(the_origin, NULL) == IN_A_ROW, "%zu requests came", origin_count(the_origin, NULL));
}

START_TEST(an_origin_that_closes_unasked_sees_each_post_once)
{
	expect_all_seen_once("'method':'POST','body':'x'");
}
END_TEST

START_TEST(an_origin_that_closes_unasked_sees_each_put_once)
{
	expect_all_seen_once(text("'method':'PUT','body':'%s'", repeated("0123456789", 10000)));
}
END_TEST

/* ---- what a failure leaves behind */

START_TEST(an_endless_head_is_cut_off)
{
	const char *key = new_key();
	json_t *job = fetch(url("/endlesshead?k=%s", key), "'timeout':'20s'");
	const char *code = json_text_at(job, "error.code");

	expect_failed(job, code, NULL);
	expect_that(!strcmp(code, "too_large") || !strcmp(code, "protocol_error"), "it ends as %s", code);
	expect_that(origin_await_end(the_origin, await_seen(key)) == ORIGIN_LEFT, "the connection stayed open");
}
END_TEST

static const struct {
	const char *path, *more, *code;
} early_ends[] = {
	{"/endless", "'max_body_bytes':300000", "too_large"},
	{"/stall/10", "'max_body_bytes':1000", "too_large"},
	{"/drip/1000/40", "'expect':{'status':[404,'3xx']}", "expect_failed"},
	{"/drip/1000/40", "'expect':{'content_type':'text/html'}", "expect_failed"},
	{"/hold", "'timeout':'200ms'", "timeout"},
};

START_TEST(a_failed_fetch_leaves_the_wire)
{
	const char *key = new_key();
	json_t *job = fetch(url("%s?k=%s", early_ends[_i].path, key), "%s", early_ends[_i].more);

	expect_failed(job, early_ends[_i].code, NULL);
	expect_that(origin_await_end(the_origin, await_seen(key)) == ORIGIN_LEFT, "the connection stayed open");
}
END_TEST

START_TEST(a_dropped_answer_keeps_its_status)
{
	json_t *job = fetch(url("/status/503"), "'expect':{'status':['2xx']}");

	expect_failed(job, "expect_failed", "expect");
	expect(job, "attempts.0.status", "503");
}
END_TEST

START_TEST(the_servers_limit_holds)
{
	start_server("--max-body-bytes", "50000");
	expect_failed(fetch(url("/text/50001"), ""), "too_large", "body");
	expect(fetch(url("/text/50000"), ""), "state", "'succeeded'");
	expect_problem(post("/v1/jobs", "{'url':'%s','max_body_bytes':50001}", url("/echo")), 400, "'/max_body_bytes'");
}
END_TEST

/* ---- getting there */

START_TEST(a_closed_port_is_connect_failed)
{
	json_t *job = fetch(text("http://127.0.0.1:%u/", closed_port()), "");

	expect_failed(job, "connect_failed", "connect");
	expect(job, "attempts.0.error.code", "'connect_failed'");
	expect(job, "attempts.0.status", "null");
	expect(job, "attempts.0.timings_ms.first_byte", "null");
}
END_TEST

START_TEST(plain_http_is_tls_failed)
{
	expect_failed(fetch(text("https://127.0.0.1:%u/", origin_port(the_origin)), ""), "tls_failed", "tls");
}
END_TEST

START_TEST(an_unknown_name_is_dns_failed)
{
	json_t *job = fetch("http://no-such-name.invalid/", "'connect_timeout':'3s'");
	const char *code = json_text_at(job, "error.code");

	/* Where no name server answers at all the connect clock comes first. */
	expect_failed(job, code && !strcmp(code, "connect_timeout") ? code : "dns_failed", "dns");
}
END_TEST

/* ---- clocks */

static void
expect_took(const json_t *job, int64_t least_ms)
{
	int64_t took = time_at(job, "finished_at") - time_at(job, "created_at");

	expect_that(
		took >= least_ms - 20, "it failed after %lld ms, before %lld", (long long)took, (long long)least_ms);
}

static const struct {
	const char *path, *more, *code, *phase;
	int least_ms;
} clocks[] = {
	{"/hold", "'timeout':'300ms'", "timeout", "first_byte", 300},
	{"/drip/1000/40", "'timeout':0.4", "timeout", "body", 400},
	{"/slowredirect/9/80", "'timeout':'300ms'", "timeout", NULL, 300},
	{"/hold", "'first_byte_timeout':'300ms'", "first_byte_timeout", "first_byte", 300},
	{"/stall/10", "'idle_timeout':'300ms'", "idle_timeout", "body", 300},
	{"/hold", "'deadline':'300ms'", "deadline_exceeded", "first_byte", 300},
	{"/stall/10", "'deadline':'300ms'", "deadline_exceeded", "body", 300},
};

START_TEST(each_clock_ends_the_attempt)
{
	json_t *job = fetch(url("%s", clocks[_i].path), "%s", clocks[_i].more);

	expect_failed(job, clocks[_i].code, clocks[_i].phase);
	expect_took(job, clocks[_i].least_ms);
}
END_TEST

START_TEST(the_connect_clock_while_connecting)
{
	json_t *job = fetch(text("http://127.0.0.1:%u/", stuck_port()), "'connect_timeout':'300ms'");

	expect_failed(job, "connect_timeout", "connect");
	expect_took(job, 300);
}
END_TEST

START_TEST(the_connect_clock_includes_tls)
{
	json_t *job = fetch(text("https://127.0.0.1:%u/", silent_port()), "'connect_timeout':'300ms'");

	expect_failed(job, "connect_timeout", "tls");
	expect_took(job, 300);
}
END_TEST

START_TEST(the_deadline_runs_while_waiting)
{
	json_t *job = fetch(url("/echo"), "'delay':'1h','deadline':'200ms'");

	expect_failed(job, "deadline_exceeded", "queue");
	expect(job, "attempts", "[]");
	expect(job, "started_at", "null");
	expect_took(job, 200);
}
END_TEST

START_TEST(the_queue_clock_runs_behind_others)
{
	const char *key = new_key();
	json_t *first, *second;

	start_server("--max-in-flight-per-origin", "1");
	first = submit(url("/hold?k=%s", key), "");
	await_seen(key);
	second = fetch(url("/echo"), "'queue_timeout':'200ms'");
	expect_failed(second, "queue_timeout", "queue");
	expect(second, "attempts", "[]");
	expect_took(second, 200);
	origin_release(the_origin, key);
	expect(job_done(first), "state", "'succeeded'");
}
END_TEST

START_TEST(the_queue_clock_begins_at_run_at)
{
	expect(fetch(url("/echo"), "'delay':'300ms','queue_timeout':'250ms'"), "state", "'succeeded'");
}
END_TEST

START_TEST(a_slot_is_free_again_after_each_end)
{
	start_server("--max-in-flight-per-origin", "1", "--max-in-flight", "1");
	for (size_t i = 0; i < COUNT_OF(failures); i++)
		expect_failed(fetch(url("%s", failures[i].path), "%s", failures[i].more), failures[i].code,
			failures[i].phase);
	expect_failed(fetch(url("/hold"), "'timeout':'100ms'"), "timeout", "first_byte");
	expect(fetch(url("/echo"), ""), "state", "'succeeded'");
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("failures");
	TCase *shared = rig_case(suite, "codes and clocks", rig_share_default);
	TCase *own = rig_case(suite, "with limits of their own", NULL);

	tcase_add_loop_test(shared, a_bad_answer_has_its_code, 0, COUNT_OF(failures));
	tcase_add_loop_test(shared, what_is_just_within_the_limits_succeeds, 0, COUNT_OF(near_misses));
	tcase_add_loop_test(shared, a_broken_head_has_its_code, 0, COUNT_OF(broken_heads));
	tcase_add_loop_test(shared, a_sound_head_is_read, 0, COUNT_OF(sound_heads));
	tcase_add_test(shared, folded_lines_are_joined_by_a_blank);
	tcase_add_test(shared, an_origin_that_closes_unasked_sees_each_post_once);
	tcase_add_test(shared, an_origin_that_closes_unasked_sees_each_put_once);
	tcase_add_test(shared, an_endless_head_is_cut_off);
	tcase_add_loop_test(shared, a_failed_fetch_leaves_the_wire, 0, COUNT_OF(early_ends));
	tcase_add_test(shared, a_dropped_answer_keeps_its_status);
	tcase_add_test(shared, a_closed_port_is_connect_failed);
	tcase_add_test(shared, plain_http_is_tls_failed);
	tcase_add_test(shared, an_unknown_name_is_dns_failed);
	tcase_add_loop_test(shared, each_clock_ends_the_attempt, 0, COUNT_OF(clocks));
	tcase_add_test(shared, the_connect_clock_while_connecting);
	tcase_add_test(shared, the_connect_clock_includes_tls);
	tcase_add_test(shared, the_deadline_runs_while_waiting);
	tcase_add_test(shared, the_queue_clock_begins_at_run_at);
	tcase_add_test(own, the_servers_limit_holds);
	tcase_add_test(own, the_queue_clock_runs_behind_others);
	tcase_add_test(own, a_slot_is_free_again_after_each_end);
	return rig_run(suite);
}
