/* What a job looks like, what every key of a spec does, and what reads back of it. */
#include "rig.h"

#include <stdlib.h>
#include <string.h>

/* ---- the shape */

START_TEST(submitting_answers_202)
{
	struct client_reply *reply = post("/v1/jobs", "{'url':'%s'}", url("/echo"));

	expect_status(reply, 202);
	expect_header(reply, "content-type", "application/json");
	expect_header(reply, "retry-after", "1");
	expect_header(reply, "location", text("/v1/jobs/%s", id_of(reply->json)));
	expect(reply->json, "done", "false");
}
END_TEST

START_TEST(without_a_wait_it_is_always_202)
{
	for (int i = 0; i < 300; i++) /* however quick the fetch is */
		submit(url("/text/1"), "");
}
END_TEST

START_TEST(a_queued_job_has_all_its_keys)
{
	json_t *job = submit_later("");
	static const char *const nulls[] = {
		"batch", "meta", "started_at", "finished_at", "expires_at", "response", "error"};

	expect_keys(job, "", JOB_KEYS);
	expect_keys(job, "request", "method url headers body_bytes");
	expect_keys(job, "progress", "received_bytes total_bytes");
	for (size_t i = 0; i < COUNT_OF(nulls); i++)
		expect(job, nulls[i], "null");
	expect(job, "state", "'queued'");
	expect(job, "done", "false");
	expect(job, "attempts", "[]");
	expect(job, "tags", "[]");
	expect(job, "priority", "0");
	expect(job, "request.method", "'GET'");
	expect(job, "request.url", "'%s'", url("/echo"));
	expect(job, "request.body_bytes", "0");
	expect_that(json_is_integer(json_at(job, "version")), "version is no integer");
}
END_TEST

START_TEST(a_finished_job_has_all_its_keys)
{
	json_t *job = fetch(url("/redirect/1"), "");

	expect_keys(job, "", JOB_KEYS);
	expect(job, "state", "'succeeded'");
	expect(job, "done", "true");
	expect(job, "error", "null");
	expect_that(json_array_size(json_at(job, "attempts")) == 1, "there is not one attempt");
	expect_keys(job, "attempts.0",
		"number started_at finished_at status error remote_ip http_version redirects received_bytes timings_ms");
	expect_keys(job, "attempts.0.timings_ms", "queue dns connect tls first_byte total");
	expect_keys(job, "attempts.0.redirects.0", "status url location");
	expect_keys(job, "response", "status url headers body_bytes body_sha256 body body_base64 body_url");
}
END_TEST

START_TEST(an_attempt_says_what_happened)
{
	json_t *job = fetch(url("/text/1000"), "");

	expect(job, "attempts.0.number", "1");
	expect(job, "attempts.0.status", "200");
	expect(job, "attempts.0.error", "null");
	expect(job, "attempts.0.remote_ip", "'127.0.0.1'");
	expect(job, "attempts.0.http_version", "'1.1'");
	expect(job, "attempts.0.redirects", "[]");
	expect(job, "attempts.0.received_bytes", "1000");
	expect(job, "attempts.0.timings_ms.tls", "null");
	expect(job, "progress", "{'received_bytes':1000,'total_bytes':1000}");
	expect_that(time_at(job, "attempts.0.started_at") > 0, "started_at is no time");
	expect_that(time_at(job, "attempts.0.started_at") <= time_at(job, "attempts.0.finished_at"),
		"it ended before it began");
}
END_TEST

START_TEST(timings_are_in_order)
{
	json_t *timings = json_at(fetch(url("/delay/150"), ""), "attempts.0.timings_ms");
	json_int_t first_byte = json_int_at(timings, "first_byte"), total = json_int_at(timings, "total");

	expect_that(first_byte >= 140, "the first byte came after %d ms", (int)first_byte);
	expect_that(total >= first_byte, "total %d is below first_byte %d", (int)total, (int)first_byte);
	expect_that(json_is_integer(json_at(timings, "queue")), "queue is no integer");
}
END_TEST

START_TEST(times_are_in_order)
{
	json_t *job = fetch(url("/text/1"), "");
	int64_t created = time_at(job, "created_at"), started = time_at(job, "started_at");
	int64_t finished = time_at(job, "finished_at"), expires = time_at(job, "expires_at");

	expect_that(created > 0, "created_at is %s", json_text_at(job, "created_at"));
	expect_that(created <= started && started <= finished, "created %s, started %s, finished %s",
		json_text_at(job, "created_at"), json_text_at(job, "started_at"), json_text_at(job, "finished_at"));
	expect_that(expires - finished == 86400000, "kept for %lld ms", (long long)(expires - finished));
	expect(job, "run_at", "'%s'", json_text_at(job, "created_at"));
}
END_TEST

START_TEST(answers_are_compact_and_end_with_a_newline)
{
	json_t *job = fetch(url("/status/200"), "");
	struct client_reply *plain = get("/v1/jobs/%s", id_of(job)), *pretty = get("/v1/jobs/%s?pretty", id_of(job));

	expect_status(plain, 200);
	expect_status(pretty, 200);
	expect_that(strchr(plain->body.data, '\n') == plain->body.data + plain->body.used - 1, "not one line: %s",
		plain->body.data);
	expect_that(!strstr(plain->body.data, "\": ") && !strstr(plain->body.data, "\", "), "not compact: %s",
		plain->body.data);
	expect_that(strstr(pretty->body.data, "\n  "), "not indented: %s", pretty->body.data);
	expect_that(pretty->body.data[pretty->body.used - 1] == '\n', "?pretty ends without a newline");
	expect_that(json_equal(plain->json, pretty->json), "?pretty is another value: %s", pretty->body.data);
}
END_TEST

START_TEST(the_version_grows_with_each_state)
{
	const char *key = new_key();
	json_t *job = submit(url("/hold?k=%s", key), "");
	json_int_t queued = json_int_at(job, "version"), running, done;

	job = job_in_state(job, "running");
	running = json_int_at(job, "version");
	expect(job, "done", "false");
	expect(job, "response", "null");
	expect(job, "finished_at", "null");
	expect_that(time_at(job, "started_at") > 0, "a running job has no started_at");
	origin_release(the_origin, key);
	job = job_done(job);
	done = json_int_at(job, "version");
	expect_that(queued <= running && running < done, "versions %d, %d, %d", (int)queued, (int)running, (int)done);
	expect(job_now(job), "version", "%d", (int)done);
}
END_TEST

START_TEST(progress_moves_without_the_version)
{
	json_t *job = job_in_state(submit(url("/stall/10"), ""), "running");
	json_int_t version = json_int_at(job, "version");
	int64_t until = mono_ms() + SERVER_PATIENCE_MS;

	while (json_int_at(job, "progress.received_bytes") != 10 && mono_ms() < until)
		job = job_now(job);
	expect(job, "progress", "{'received_bytes':10,'total_bytes':1010}");
	expect(job, "version", "%d", (int)version);
	expect_status(poke("/v1/jobs/%s/cancel", id_of(job)), 200);
}
END_TEST

static const int final_statuses[] = {200, 201, 204, 304, 400, 404, 429, 500, 503, 599};

START_TEST(every_whole_answer_is_a_success)
{
	json_t *job = fetch(url("/status/%d", final_statuses[_i]), "");

	expect(job, "state", "'succeeded'");
	expect(job, "error", "null");
	expect(job, "response.status", "%d", final_statuses[_i]);
	expect(job, "attempts.0.status", "%d", final_statuses[_i]);
}
END_TEST

START_TEST(an_interim_answer_is_not_the_answer)
{
	json_t *job = fetch(url("/1xx"), "");

	expect(job, "response.status", "200");
	expect(job, "response.body", "'after the hint\\n'");
	expect_that(!json_at(job, "response.headers.x-early"), "the interim answer's fields are in the response");
}
END_TEST

/* ---- tags, meta, priority, ttl, times */

START_TEST(meta_comes_back_equal)
{
	static const char *const metas[] = {"7", "'text'", "[1,[2,{'a':null}]]", "false", "null", "{}", "-1.5e-7",
		"{'b':1,'a':[true,null,0.1,'\\u00e9\\u2028\\\\'],'':{}}", "9223372036854775807",
		"-9223372036854775808"};

	for (size_t i = 0; i < COUNT_OF(metas); i++)
		expect(submit_later("'meta':%s", metas[i]), "meta", "%s", metas[i]);
}
END_TEST

START_TEST(meta_keeps_the_order_of_its_keys)
{
	json_t *job = submit_later("'meta':{'zeta':1,'alpha':{'y':1,'x':2},'mid':3}");
	struct client_reply *reply = get("/v1/jobs/%s", id_of(job));

	expect_that(strstr(reply->body.data, "\"meta\":{\"zeta\":1,\"alpha\":{\"y\":1,\"x\":2},\"mid\":3}"),
		"another order: %s", reply->body.data);
}
END_TEST

START_TEST(meta_may_be_4_kib)
{
	submit_later("'meta':'%s'", repeated("x", 4094));
	expect_problem(
		post("/v1/jobs", "{'url':'http://127.0.0.1:9/','meta':'%s'}", repeated("x", 4095)), 400, "'/meta'");
}
END_TEST

START_TEST(tags_and_priority_come_back)
{
	json_t *job = submit_later("'tags':['one','zw\\u00f6lf','one'],'priority':-7");

	expect(job, "tags", "['one','zw\\u00f6lf']");
	expect(job, "priority", "-7");
	expect(job_now(job), "tags", "['one','zw\\u00f6lf']");
}
END_TEST

START_TEST(limits_are_inclusive)
{
	submit_later("'priority':100,'max_redirects':20,'tags':['%s']", repeated("t", 255));
	submit_later("'priority':-100,'max_redirects':0");
	submit_later("'tags':['1','2','3','4','5','6','7','8','9','10','11','12','13','14','15','16']");
	submit_later("'max_body_bytes':67108864");
	submit(url("/echo"), "'delay':0");
}
END_TEST

static const struct {
	const char *written;
	int64_t ms;
} durations[] = {
	{"2", 2000},
	{"'2s'", 2000},
	{"2.0", 2000},
	{"'2000ms'", 2000},
	{"'0.5m'", 30000},
	{"'1h'", 3600000},
	{"'1.5s'", 1500},
	{"'250ms'", 250},
	{"0.25", 250},
	{"'2m'", 120000},
};

START_TEST(durations_are_numbers_or_have_units)
{
	json_t *job = submit(url("/echo"), "'delay':%s,'ttl':'1h'", durations[_i].written);
	int64_t delay = time_at(job, "run_at") - time_at(job, "created_at");

	expect_that(delay == durations[_i].ms, "a delay of %s is %lld ms", durations[_i].written, (long long)delay);
	poke("/v1/jobs/%s/cancel", id_of(job));
}
END_TEST

START_TEST(a_delay_is_waited_for)
{
	json_t *job = fetch(url("/echo"), "'delay':'300ms'");

	expect(job, "state", "'succeeded'");
	expect_that(time_at(job, "started_at") >= time_at(job, "run_at"), "it started at %s, before %s",
		json_text_at(job, "started_at"), json_text_at(job, "run_at"));
	expect_that(time_at(job, "run_at") - time_at(job, "created_at") == 300, "run_at is %s",
		json_text_at(job, "run_at"));
}
END_TEST

START_TEST(run_at_is_given_back_in_our_form)
{
	int year = atoi(json_text_at(submit_later(""), "created_at")) + 2; /* nothing may be over ten years away */

	expect(submit(url("/echo"), "'run_at':'%d-12-31T23:59:59Z'", year), "run_at", "'%d-12-31T23:59:59.000Z'", year);
	expect(submit(url("/echo"), "'run_at':'%d-06-01T14:00:00.5+02:00'", year), "run_at", "'%d-06-01T12:00:00.500Z'",
		year);
	expect(fetch(url("/echo"), "'run_at':'2001-01-01T00:00:00Z'"), "state", "'succeeded'");
}
END_TEST

START_TEST(ttl_sets_expires_at)
{
	json_t *job = fetch(url("/echo"), "'ttl':'90s'");

	expect_that(time_at(job, "expires_at") - time_at(job, "finished_at") == 90000, "expires_at is %s",
		json_text_at(job, "expires_at"));
}
END_TEST

START_TEST(an_expired_job_is_gone)
{
	const char *key = new_key();
	json_t *job = fetch(url("/text/70000"), "'ttl':'50ms','tags':['%s']", key);
	int64_t until = mono_ms() + SERVER_PATIENCE_MS;
	struct client_reply *reply;

	do
		reply = get("/v1/jobs/%s", id_of(job));
	while (reply->status == 200 && mono_ms() < until);
	expect_problem(reply, 404, NULL);
	expect_problem(get("/v1/jobs/%s/body", id_of(job)), 404, NULL);
	expect(get("/v1/jobs?tag=%s", key)->json, "jobs", "[]");
}
END_TEST

START_TEST(ids_differ_and_need_no_escaping)
{
	json_t *one = submit_later(""), *other = submit_later("");

	expect_that(strcmp(id_of(one), id_of(other)) != 0, "two jobs are both %s", id_of(one));
	expect_that(strlen(id_of(one)) == 36 && strspn(id_of(one), "0123456789abcdef-") == 36, "the id %s is no UUID",
		id_of(one));
}
END_TEST

START_TEST(null_is_as_if_left_out)
{
	json_t *job = submit(url("/delay/1"),
		"'method':null,'headers':null,'body':null,'auth':null,'timeout':null,'tags':null,"
		"'priority':null,'ttl':null,'delay':null,'retry':null,'expect':null,'idempotency_key':null");

	expect(job, "request.method", "'GET'");
	expect(job_done(job), "state", "'succeeded'");
}
END_TEST

/* ---- the request that leaves */

static const char *const methods[] = {"GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "M-SEARCH"};

START_TEST(any_method_is_sent)
{
	json_t *echo = echo_of("'method':'%s'", methods[_i]);

	expect(echo, "method", "'%s'", methods[_i]);
}
END_TEST

START_TEST(head_has_no_body)
{
	json_t *job = fetch(url("/text/1000"), "'method':'HEAD'");

	expect(job, "state", "'succeeded'");
	expect(job, "response.body", "''");
	expect(job, "response.body_bytes", "0");
	expect(job, "response.headers.content-length", "['1000']");
}
END_TEST

START_TEST(headers_are_sent_as_given)
{
	json_t *echo = echo_of(
		"'headers':{'X-One':'1','x-many':['a','b, c'],'X-Empty':'','Accept':'text/x','User-Agent':'me/1'}");

	expect(echoed(echo, "x-one"), "", "['1']");
	expect(echoed(echo, "x-many"), "", "['a','b, c']");
	expect(echoed(echo, "x-empty"), "", "['']");
	expect(echoed(echo, "accept"), "", "['text/x']");
	expect(echoed(echo, "user-agent"), "", "['me/1']");
}
END_TEST

START_TEST(the_usual_headers_are_added_and_no_others)
{
	static const char *const absent[] = {
		"expect", "cookie", "authorization", "content-type", "transfer-encoding", "referer", "content-length"};
	json_t *echo = echo_of("");

	expect(echoed(echo, "accept"), "", "['*/*']");
	expect(echoed(echo, "host"), "", "['127.0.0.1:%u']", origin_port(the_origin));
	expect_that(!strncmp(json_text_at(echoed(echo, "user-agent"), "0"), "fetchpool/", 10), "user-agent is %s",
		json_text_at(echoed(echo, "user-agent"), "0"));
	for (size_t i = 0; i < COUNT_OF(absent); i++)
		expect(echoed(echo, absent[i]), "", "[]");
}
END_TEST

START_TEST(codings_are_asked_for_unless_told_not_to)
{
	const char *asked = json_text_at(echoed(echo_of(""), "accept-encoding"), "0");

	expect_that(asked && strstr(asked, "gzip") && strstr(asked, "br") && strstr(asked, "zstd"),
		"accept-encoding is %s", asked ? asked : "not sent");
	expect(echoed(echo_of("'decompress':false"), "accept-encoding"), "", "[]");
	expect(echoed(echo_of("'headers':{'Accept-Encoding':'gzip'}"), "accept-encoding"), "", "['gzip']");
}
END_TEST

START_TEST(request_headers_read_back)
{
	json_t *job =
		submit(url("/echo"), "'method':'POST','body':'h\\u00e9llo','headers':{'X-One':'1','X-Many':['a','b']}");

	expect(job, "request.method", "'POST'");
	expect(job, "request.headers.x-one", "['1']");
	expect(job, "request.headers.x-many", "['a','b']");
	expect(job, "request.body_bytes", "6");
	expect_keys(job, "request", "method url headers body_bytes");
}
END_TEST

static const struct {
	const char *more;
	const char *body; /* in base64 */
	const char *length;
	const char *type; /* a JSON array */
} bodies[] = {
	{"'method':'POST','body':'gr\\u00fc\\u00dfe\\n'", "Z3LDvMOfZQo=", "['8']", NULL},
	{"'method':'PUT','body_base64':'AAECA/8='", "AAECA/8=", "['5']", NULL},
	{"'method':'POST','json':{'a':[1,0.5,null],'b':{'':false}}", "eyJhIjpbMSwwLjUsbnVsbF0sImIiOnsiIjpmYWxzZX19",
		"['33']", "['application/json']"},
	{"'method':'POST','json':null", "bnVsbA==", "['4']", "['application/json']"},
	{"'method':'POST','json':{},'headers':{'Content-Type':'application/merge-patch+json'}", "e30=", "['2']",
		"['application/merge-patch+json']"},
	{"'method':'POST'", "", "['0']", NULL},
	{"'method':'PUT'", "", "['0']", NULL},
	{"'method':'PATCH'", "", "['0']", NULL},
	{"'method':'POST','body':''", "", "['0']", NULL},
	{"'method':'DELETE','body':'x'", "eA==", "['1']", NULL},
	{"'method':'GET','body':'x'", "eA==", "['1']", NULL},
	{"'method':'DELETE'", "", "[]", "[]"},
};

START_TEST(bodies_are_sent)
{
	json_t *echo = echo_of("%s", bodies[_i].more);

	expect(echo, "body_base64", "'%s'", bodies[_i].body);
	expect(echoed(echo, "content-length"), "", "%s", bodies[_i].length);
	expect(echoed(echo, "transfer-encoding"), "", "[]");
	if (bodies[_i].type)
		expect(echoed(echo, "content-type"), "", "%s", bodies[_i].type);
}
END_TEST

START_TEST(a_large_body_is_sent_whole)
{
	const char *body = repeated("0123456789abcdef", 1 << 17), *key = new_key();
	json_t *job = fetch(url("/sink?k=%s", key), "'method':'POST','body':'%s'", body);

	expect(job, "response.body", "'{\\'length\\':%zu,\\'sha256\\':\\'%s\\'}'", strlen(body),
		sha256_of(body, strlen(body)));
	expect_that(!origin_field(await_seen(key), "expect"), "Expect was sent");
}
END_TEST

START_TEST(the_target_is_sent_as_given)
{
	const char *target = text("/echo/a%%2Fb%%20c?x=%%7E~&y=a+b&z=%%E2%%82%%AC&empty=&k=%s", new_key());

	expect(echo_of("'url':'%s'", url("%s", target)), "target", "'%s'", target);
}
END_TEST

START_TEST(a_fragment_is_dropped)
{
	const char *key = new_key();
	json_t *job = fetch(url("/echo?k=%s#there", key), "");

	expect(job, "request.url", "'%s'", url("/echo?k=%s", key));
	expect_text(await_seen(key)->target, text("/echo?k=%s", key));
}
END_TEST

START_TEST(a_missing_path_is_the_root)
{
	const char *key = new_key();

	fetch(url("?k=%s", key), "");
	expect_text(await_seen(key)->target, text("/?k=%s", key));
}
END_TEST

START_TEST(an_international_name_is_accepted)
{
	submit("http://b\xc3\xbc"
	       "cher.invalid/",
		"'delay':'1h'");
}
END_TEST

/* ---- secrets */

START_TEST(auth_is_sent)
{
	json_t *basic = echo_of("'auth':{'basic':{'user':'\\u00fcser','password':'pa:ss'}}");

	expect(echoed(basic, "authorization"), "", "['Basic %s']", base64("\xc3\xbcser:pa:ss", 11));
	expect(echoed(echo_of("'auth':{'bearer':'tok.en'}"), "authorization"), "", "['Bearer tok.en']");
}
END_TEST

static const struct {
	const char *more, *name, *sent;
} secrets[] = {
	{"'auth':{'bearer':'S3CRET'}", "authorization", "Bearer S3CRET"},
	{"'auth':{'basic':{'user':'S3CRET','password':'S3CRET'}}", "authorization", "Basic UzNDUkVUOlMzQ1JFVA=="},
	{"'headers':{'Authorization':'Bearer S3CRET'}", "authorization", "Bearer S3CRET"},
	{"'headers':{'Cookie':'sid=S3CRET'}", "cookie", "sid=S3CRET"},
	{"'headers':{'X-API-Key':['S3CRET']}", "x-api-key", "S3CRET"},
	{"'headers':{'x-own-secret':'S3CRET'}", "x-own-secret", "S3CRET"},
};

START_TEST(secrets_do_not_read_back)
{
	const char *key = new_key();
	struct client_reply *replies[3];
	json_t *job;

	replies[0] = post("/v1/jobs?wait=25s", "{'url':'%s','tags':['%s'],%s}", url("/status/200?k=%s", key), key,
		secrets[_i].more);
	job = replies[0]->json;
	replies[1] = get("/v1/jobs/%s", id_of(job));
	replies[2] = get("/v1/jobs?tag=%s", key);
	for (size_t i = 0; i < COUNT_OF(replies); i++) {
		expect_status(replies[i], 200);
		expect_that(!strstr(replies[i]->body.data, "S3CRET") && !strstr(replies[i]->body.data, "UzNDUkVU"),
			"a secret reads back: %s", replies[i]->body.data);
	}
	expect(job, text("request.headers.%s", secrets[_i].name), "['***']");
	expect_text(origin_field(await_seen(key), secrets[_i].name), secrets[_i].sent);
}
END_TEST

/* ---- the response */

START_TEST(response_headers_are_lists_in_order)
{
	json_t *headers = json_at(fetch(url("/cookie"), ""), "response.headers");
	const char *name;
	json_t *list;

	expect(headers, "set-cookie", "['a=1','b=2; Path=/']");
	expect(headers, "x-between", "['b']");
	json_object_foreach(headers, name, list)
		expect_that(json_is_array(list) && !strpbrk(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"), "the header %s is odd",
			name);
}
END_TEST

START_TEST(a_hundred_response_headers)
{
	json_t *job = fetch(url("/headers/100"), "");

	for (int i = 0; i < 100; i++)
		expect(job, text("response.headers.x-h-%d", i), "['v%d']", i);
}
END_TEST

START_TEST(bytes_that_are_not_utf8_are_latin1)
{
	json_t *job = fetch(url("/latin1"), "");

	expect(job, "response.headers.x-latin", "['caf\\u00e9']");
	expect(job, "response.headers.x-utf8", "['caf\\u00e9']");
}
END_TEST

/* ---- what is not there yet */

START_TEST(retries_are_not_implemented_yet)
{
	expect_problem(post("/v1/jobs", "{'url':'%s','retry':{'max_attempts':3}}", url("/echo")), 501, "'/retry'");
	expect(submit_later("'retry':{'max_attempts':1,'backoff':'1s','factor':2,'max_backoff':'5m','jitter':true,"
			    "'on_status':[408,425,429,500,502,503,504],'unsafe':false}"),
		"state", "'queued'");
	expect(submit_later("'retry':{'unsafe':true}"), "state", "'queued'"); /* which is of use after a crash */
}
END_TEST

static void
setup(void)
{
	rig_share("--secret-header", "X-Own-Secret");
}

static void
add_request_tests(TCase *tcase)
{
	tcase_add_loop_test(tcase, any_method_is_sent, 0, COUNT_OF(methods));
	tcase_add_test(tcase, head_has_no_body);
	tcase_add_test(tcase, headers_are_sent_as_given);
	tcase_add_test(tcase, the_usual_headers_are_added_and_no_others);
	tcase_add_test(tcase, codings_are_asked_for_unless_told_not_to);
	tcase_add_test(tcase, request_headers_read_back);
	tcase_add_loop_test(tcase, bodies_are_sent, 0, COUNT_OF(bodies));
	tcase_add_test(tcase, a_large_body_is_sent_whole);
	tcase_add_test(tcase, the_target_is_sent_as_given);
	tcase_add_test(tcase, a_fragment_is_dropped);
	tcase_add_test(tcase, a_missing_path_is_the_root);
	tcase_add_test(tcase, an_international_name_is_accepted);
	tcase_add_test(tcase, auth_is_sent);
	tcase_add_loop_test(tcase, secrets_do_not_read_back, 0, COUNT_OF(secrets));
}

static void
add_shape_tests(TCase *tcase)
{
	tcase_add_test(tcase, submitting_answers_202);
	tcase_add_test(tcase, without_a_wait_it_is_always_202);
	tcase_add_test(tcase, a_queued_job_has_all_its_keys);
	tcase_add_test(tcase, a_finished_job_has_all_its_keys);
	tcase_add_test(tcase, an_attempt_says_what_happened);
	tcase_add_test(tcase, timings_are_in_order);
	tcase_add_test(tcase, times_are_in_order);
	tcase_add_test(tcase, answers_are_compact_and_end_with_a_newline);
	tcase_add_test(tcase, the_version_grows_with_each_state);
	tcase_add_test(tcase, progress_moves_without_the_version);
	tcase_add_loop_test(tcase, every_whole_answer_is_a_success, 0, COUNT_OF(final_statuses));
	tcase_add_test(tcase, an_interim_answer_is_not_the_answer);
	tcase_add_test(tcase, response_headers_are_lists_in_order);
	tcase_add_test(tcase, a_hundred_response_headers);
	tcase_add_test(tcase, bytes_that_are_not_utf8_are_latin1);
}

static void
add_key_tests(TCase *tcase)
{
	tcase_add_test(tcase, meta_comes_back_equal);
	tcase_add_test(tcase, meta_keeps_the_order_of_its_keys);
	tcase_add_test(tcase, meta_may_be_4_kib);
	tcase_add_test(tcase, tags_and_priority_come_back);
	tcase_add_test(tcase, limits_are_inclusive);
	tcase_add_loop_test(tcase, durations_are_numbers_or_have_units, 0, COUNT_OF(durations));
	tcase_add_test(tcase, a_delay_is_waited_for);
	tcase_add_test(tcase, run_at_is_given_back_in_our_form);
	tcase_add_test(tcase, ttl_sets_expires_at);
	tcase_add_test(tcase, an_expired_job_is_gone);
	tcase_add_test(tcase, ids_differ_and_need_no_escaping);
	tcase_add_test(tcase, null_is_as_if_left_out);
	tcase_add_test(tcase, retries_are_not_implemented_yet);
}

int
main(void)
{
	Suite *suite = suite_create("jobs");

	add_shape_tests(rig_case(suite, "the shape of a job", setup));
	add_key_tests(rig_case(suite, "what a spec may say", setup));
	add_request_tests(rig_case(suite, "the request that leaves", setup));
	return rig_run(suite);
}
