/* Idempotency keys: a submission that is repeated is the same job, on either store. */
#include "durable.h"

#include <signal.h>
#include <string.h>

/* Submits this spec, a whole object, with the key in the header (`value` as it is sent). */
static struct client_reply *post_keyed(const char *query, const char *value, const char *spec_format, ...)
	PRINTF_LIKE(3, 4);

static struct client_reply *
post_keyed(const char *query, const char *value, const char *spec_format, ...)
{
	va_list arguments;
	char spec[4096];
	const char *json;

	va_start(arguments, spec_format);
	vsnprintf(spec, sizeof spec, spec_format, arguments);
	va_end(arguments);
	json = jtext("%s", spec);
	return post_bytes(text("/v1/jobs%s", query),
		text("Content-Type: application/json\r\nIdempotency-Key: %s\r\n", value), json, strlen(json));
}

static void
expect_repeat(const struct client_reply *reply, const char *id)
{
	expect_status(reply, 200);
	expect(reply->json, "id", "'%s'", id);
	expect_header(reply, "location", text("/v1/jobs/%s", id));
	expect_keys(reply->json, "", JOB_KEYS);
}

/* The id of a job that was taken in anew. */
static const char *
taken(const struct client_reply *reply)
{
	expect_status(reply, 202);
	return id_of(reply->json);
}

static void
expect_mismatch(const struct client_reply *reply)
{
	expect_problem(reply, 422, NULL);
	expect(reply->json, "code", "'idempotency_mismatch'");
}

/* ---- the same again */

START_TEST(a_repeat_is_the_same_job)
{
	const char *key = new_key(), *seen = new_key(), *target = url("/hold?k=%s", seen);
	const char *id = taken(post("/v1/jobs", "{'url':'%s','idempotency_key':'%s'}", target, key));
	struct client_reply *reply;

	reply = post("/v1/jobs", "{'url':'%s','idempotency_key':'%s'}", target, key);
	expect_repeat(reply, id);
	expect(reply->json, "done", "false");
	expect_repeat(post_keyed("", key, "{'url':'%s'}", target), id);
	expect_repeat(post_keyed("", text("\"%s\"", key), "{'url':'%s'}", target), id);
	expect_repeat(post_keyed("", text(" \t %s \t", key), "{'url':'%s'}", target), id);
	expect_repeat(post_keyed("", key, "{'url':'%s','idempotency_key':'%s'}", target, key), id);
	await_seen(seen);
	origin_release(the_origin, seen);
	reply = post("/v1/jobs?wait=25s", "{'url':'%s','idempotency_key':'%s'}", target, key);
	expect_repeat(reply, id);
	expect(reply->json, "state", "'succeeded'");
	expect_that(origin_count(the_origin, seen) == 1, "it was fetched %zu times", origin_count(the_origin, seen));
}
END_TEST

START_TEST(header_first)
{
	const char *key = new_key(), *target = url("/hold");
	const char *id = taken(post_keyed("", key, "{'url':'%s'}", target));

	expect_repeat(post("/v1/jobs", "{'url':'%s','idempotency_key':'%s'}", target, key), id);
	expect_repeat(post_keyed("", key, "{'url':'%s'}", target), id);
	expect_mismatch(post_keyed("", key, "{'url':'%s','priority':1}", target));
}
END_TEST

START_TEST(many_at_once_are_one_job)
{
	for (int round = 0; round < 5; round++) {
		const char *seen = new_key();
		const char *spec = jtext("{'url':'%s','idempotency_key':'%s'}", url("/hold?k=%s", seen), new_key());
		struct call *calls[20];
		struct client_reply *reply;
		size_t fresh = 0;
		const char *id = NULL;

		for (size_t i = 0; i < COUNT_OF(calls); i++)
			calls[i] = call_start("POST", "/v1/jobs", spec);
		for (size_t i = 0; i < COUNT_OF(calls); i++) {
			reply = call_end(calls[i]);
			expect_that(reply->status == 200 || reply->status == 202, "call %zu: %s", i,
				wrong_status(reply, 200));
			fresh += reply->status == 202;
			id = id ? id : id_of(reply->json);
			expect(reply->json, "id", "'%s'", id);
			expect(reply->json, "done", "false");
		}
		expect_that(fresh == 1, "%zu of them were answered 202", fresh);
		origin_release(the_origin, seen);
		expect(get("/v1/jobs/%s?wait=25s", id)->json, "state", "'succeeded'");
		expect_that(origin_count(the_origin, seen) == 1, "it was fetched %zu times",
			origin_count(the_origin, seen));
	}
}
END_TEST

/* They may end before they are told. */
START_TEST(many_quick_ones_at_once_are_one_job)
{
	for (int round = 0; round < 5; round++) {
		const char *seen = new_key();
		const char *spec = jtext("{'url':'%s','idempotency_key':'%s'}", url("/text/9?k=%s", seen), new_key());
		struct call *calls[20];
		struct client_reply *reply;
		const char *id = NULL;

		for (size_t i = 0; i < COUNT_OF(calls); i++)
			calls[i] = call_start("POST", i % 2 ? "/v1/jobs?wait=25s" : "/v1/jobs", spec);
		for (size_t i = 0; i < COUNT_OF(calls); i++) {
			reply = call_end(calls[i]);
			expect_that(reply->status == 200 || reply->status == 202, "call %zu: %s", i,
				wrong_status(reply, 200));
			id = id ? id : id_of(reply->json);
			expect(reply->json, "id", "'%s'", id);
			if (i % 2)
				expect(reply->json, "state", "'succeeded'");
		}
		expect_that(origin_count(the_origin, seen) == 1, "it was fetched %zu times",
			origin_count(the_origin, seen));
	}
}
END_TEST

START_TEST(only_one_of_different_ones_is_taken)
{
	const char *key = new_key(), *target = url("/hold");
	struct call *calls[20];
	size_t fresh = 0;

	for (size_t i = 0; i < COUNT_OF(calls); i++)
		calls[i] = call_start("POST", "/v1/jobs",
			jtext("{'url':'%s','priority':%zu,'idempotency_key':'%s'}", target, i, key));
	for (size_t i = 0; i < COUNT_OF(calls); i++) {
		struct client_reply *reply = call_end(calls[i]);

		fresh += reply->status == 202;
		if (reply->status != 202)
			expect_mismatch(reply);
	}
	expect_that(fresh == 1, "%zu of them were taken", fresh);
}
END_TEST

/* ---- what is the same */

/* Members of a spec; a %s is an address on the origin. */
static const struct {
	const char *first, *second;
} equal[] = {
	{"'url':'%s','delay':'1h','priority':3", "'priority':3,'delay':'1h','url':'%s'"},
	{"'url':'%s','delay':'1h','timeout':'90s','ttl':1.5",
		"'url':'%s','delay':3600,'timeout':'1.5m','ttl':'1500ms'"},
	{"'url':'%s','delay':'1h','headers':{'X-One':'1','Accept':['a','b']}",
		"'url':'%s','delay':'1h','headers':{'accept':['a','b'],'x-one':['1']}"},
	{"'url':'%s','delay':'1h'", "'url':'%s','delay':'1h','method':'GET','priority':0,'tags':[],'body':null"},
	{"'url':'%s','delay':'1h','method':'POST','body':'hi'",
		"'url':'%s','delay':'1h','method':'POST','body_base64':'aGk='"},
	{"'url':'%s','delay':'1h','method':'POST','json':{'a':1,'b':{'c':2,'d':3}}",
		"'url':'%s','delay':'1h','method':'POST','json':{'b':{'d':3,'c':2},'a':1}"},
	{"'url':'%s','delay':'1h','meta':{'a':[1,2],'b':null}", "'url':'%s','delay':'1h','meta':{'b':null,'a':[1,2]}"},
	{"'url':'%s','run_at':'2031-06-01T14:00:00+02:00'", "'url':'%s','run_at':'2031-06-01T12:00:00.000Z'"},
	{"'url':'%s','delay':'1h','tags':['a','b','a']", "'url':'%s','delay':'1h','tags':['a','b']"},
	{"'url':'%s','delay':'1h','retry':{'max_attempts':1}", "'url':'%s','delay':'1h','retry':{'unsafe':false}"},
};

static const char *
keyed_spec(const char *members, const char *key)
{
	const char *mark = strstr(members, "%s");

	return text("{%.*s%s%s,'idempotency_key':'%s'}", (int)(mark - members), members, url("/echo"), mark + 2, key);
}

START_TEST(equal_is_what_means_the_same)
{
	const char *key = new_key();
	const char *id = taken(post("/v1/jobs", "%s", keyed_spec(equal[_i].first, key)));

	expect_repeat(post("/v1/jobs", "%s", keyed_spec(equal[_i].second, key)), id);
	expect_repeat(post("/v1/jobs", "%s", keyed_spec(equal[_i].first, key)), id);
}
END_TEST

static const char *const others[] = {
	"'url':'%s','delay':'61m','tags':['a']",
	"'url':'%s?x','delay':'1h','tags':['a']",
	"'url':'%s','delay':'1h','tags':['b']",
	"'url':'%s','delay':'1h','tags':['a','b']",
	"'url':'%s','delay':'1h','tags':['a'],'method':'POST'",
	"'url':'%s','delay':'1h','tags':['a'],'body':''",
	"'url':'%s','delay':'1h','tags':['a'],'headers':{'x-one':''}",
	"'url':'%s','delay':'1h','tags':['a'],'auth':{'bearer':'x'}",
	"'url':'%s','delay':'1h','tags':['a'],'timeout':'59s'",
	"'url':'%s','delay':'1h','tags':['a'],'connect_timeout':'9s'",
	"'url':'%s','delay':'1h','tags':['a'],'first_byte_timeout':'9s'",
	"'url':'%s','delay':'1h','tags':['a'],'idle_timeout':'9s'",
	"'url':'%s','delay':'1h','tags':['a'],'queue_timeout':'9s'",
	"'url':'%s','delay':'1h','tags':['a'],'max_body_bytes':1000",
	"'url':'%s','run_at':'2031-06-01T12:00:00Z','tags':['a']",
	"'url':'%s','delay':'1h','tags':['a'],'meta':{}",
	"'url':'%s','delay':'1h','tags':['a'],'expect':{'status':[200]}",
	"'url':'%s','delay':'1h','tags':['a'],'expect':{'content_type':'a/b'}",
	"'url':'%s','delay':'1h','tags':['a'],'decompress':false",
	"'url':'%s','delay':'1h','tags':['a'],'priority':-1",
	"'url':'%s','delay':'1h','tags':['a'],'max_redirects':0",
	"'url':'%s','delay':'1h','tags':['a'],'ttl':'1h'",
	"'url':'%s','delay':'1h','tags':['a'],'deadline':'2h'",
	"'url':'%s','delay':'1h','tags':['a'],'retry':{'unsafe':true}",
};

START_TEST(anything_else_is_a_mismatch)
{
	const char *key = new_key(), *first = "'url':'%s','delay':'1h','tags':['a']";
	const char *id = taken(post("/v1/jobs", "%s", keyed_spec(first, key)));

	for (size_t i = 0; i < COUNT_OF(others); i++) {
		struct client_reply *reply = post("/v1/jobs?wait=25s", "%s", keyed_spec(others[i], key));

		expect_that(reply->status == 422, "%s: %s", others[i], wrong_status(reply, 422));
		expect_mismatch(reply);
	}
	expect_repeat(post("/v1/jobs", "%s", keyed_spec(first, key)), id);
	expect_text(listed(get("/v1/jobs?limit=1")->json), text("%s ", id)); /* none of them is a job */
}
END_TEST

START_TEST(keys_are_told_apart)
{
	const char *target = url("/hold"), *key = new_key();
	const char *values[] = {key, text("%sx", key), text("%s ", key), text("K%s", key), text("%s\xc3\xbc", key)};

	for (size_t i = 0; i < COUNT_OF(values); i++)
		taken(post("/v1/jobs", "{'url':'%s','idempotency_key':'%s'}", target, values[i]));
	expect_status(post("/v1/jobs", "{'url':'%s'}", target), 202); /* nor is no key a key */
	expect_status(post("/v1/jobs", "{'url':'%s'}", target), 202);
	expect_status(post("/v1/jobs", "{'url':'%s','idempotency_key':null}", target), 202);
}
END_TEST

/* ---- what is no key */

static const char *const bad_values[] = {"''", "'a\\nb'", "'\\u007f'", "'\\u0080x'", "7", "true", "['a']", "{}"};

START_TEST(a_bad_key_in_json_is_400)
{
	expect_problem(post("/v1/jobs", "{'url':'%s','idempotency_key':%s}", url("/echo"), bad_values[_i]), 400,
		"'/idempotency_key'");
}
END_TEST

static const char *const bad_fields[] = {
	"", " ", "a\tb", "a\x01", "a\x7f", "\xc2\x80", "\"\"", "\"a", "\"a\"b", "\"a\\b\"", "\"a\tb\"", "\"\xc3\xbc\""};

START_TEST(a_bad_key_in_the_header_is_400)
{
	expect_problem(post_keyed("", bad_fields[_i], "{'url':'%s'}", url("/echo")), 400, "null");
}
END_TEST

START_TEST(a_key_has_up_to_255_bytes)
{
	const char *target = url("/hold"), *longest = text("%s%s", new_key(), repeated("k", 255));
	const char *right = text("%.255s", longest), *wrong = text("%.256s", longest), *id;

	id = taken(post_keyed("", right, "{'url':'%s'}", target));
	expect_repeat(post("/v1/jobs", "{'url':'%s','idempotency_key':'%s'}", target, right), id);
	expect_problem(post_keyed("", wrong, "{'url':'%s'}", target), 400, "null");
	expect_problem(
		post("/v1/jobs", "{'url':'%s','idempotency_key':'%s'}", target, wrong), 400, "'/idempotency_key'");
}
END_TEST

START_TEST(two_keys_are_400)
{
	const char *key = new_key(), *spec = jtext("{'url':'%s'}", url("/hold"));
	const char *fields =
		text("Content-Type: application/json\r\nIdempotency-Key: %s\r\nidempotency-key: %s\r\n", key, key);

	expect_problem(post_bytes("/v1/jobs", fields, spec, strlen(spec)), 400, "null");
	expect_problem(post_keyed("", key, "{'url':'%s','idempotency_key':'%s.'}", url("/hold"), key), 400,
		"'/idempotency_key'");
	taken(post_keyed("", key, "{'url':'%s'}", url("/hold"))); /* it was not taken by them */
}
END_TEST

/* ---- repeats and waits */

START_TEST(a_repeat_may_wait)
{
	const char *key = new_key(), *seen = new_key(), *target = url("/hold?k=%s", seen);
	const char *spec = jtext("{'url':'%s','idempotency_key':'%s'}", target, key);
	const char *id = taken(post("/v1/jobs?wait=0", "%s", spec));
	struct client_reply *reply = post("/v1/jobs?wait=30ms", "%s", spec);
	struct call *calls[3];

	expect_repeat(reply, id);
	expect(reply->json, "done", "false");
	expect_header(reply, "preference-applied", "wait=0");
	expect_that(client_field(reply, "retry-after"), "no Retry-After");
	reply = post("/v1/jobs", "%s", spec);
	expect(reply->json, "done", "false");
	expect_that(!client_field(reply, "preference-applied"), "a wait is told of that was not asked for");
	for (size_t i = 0; i < COUNT_OF(calls); i++)
		calls[i] = call_start("POST", "/v1/jobs?wait=25s", spec);
	expect_that(await_metric("fetchpool_waiters", COUNT_OF(calls)), "only %g wait", metric("fetchpool_waiters"));
	origin_release(the_origin, seen);
	for (size_t i = 0; i < COUNT_OF(calls); i++) {
		expect_repeat(reply = call_end(calls[i]), id);
		expect(reply->json, "state", "'succeeded'");
	}
	reply = post("/v1/jobs?wait=25s&body=none", "%s", spec);
	expect_repeat(reply, id);
	expect(reply->json, "response.body", "null");
	expect_that(origin_count(the_origin, seen) == 1, "it was fetched %zu times", origin_count(the_origin, seen));
}
END_TEST

START_TEST(a_repeat_of_a_done_job_gives_it)
{
	const char *key = new_key();
	const char *specs[] = {jtext("{'url':'%s','idempotency_key':'%s'}", url("/text/5"), key),
		jtext("{'url':'%s','idempotency_key':'%s.'}", url("/close"), key),
		jtext("{'url':'%s','idempotency_key':'%s..'}", url("/text/70000"), key)};

	for (size_t i = 0; i < COUNT_OF(specs); i++) {
		struct client_reply *first = post("/v1/jobs?wait=25s", "%s", specs[i]), *second;

		expect_status(first, 200);
		second = post("/v1/jobs", "%s", specs[i]);
		expect_repeat(second, id_of(first->json));
		expect_same(second->body.data, first->body.data);
		second = post("/v1/jobs?wait=25s", "%s", specs[i]);
		expect_same(second->body.data, first->body.data);
		expect_that(!client_field(second, "retry-after"), "Retry-After for a job that is done");
	}
}
END_TEST

START_TEST(a_repeat_of_a_cancelled_job_gives_it)
{
	const char *key = new_key(), *spec = jtext("{'url':'%s','idempotency_key':'%s'}", url("/hold"), key);
	const char *id = taken(post("/v1/jobs", "%s", spec));
	struct client_reply *reply;

	expect_status(poke("/v1/jobs/%s/cancel", id), 200);
	expect_repeat(reply = post("/v1/jobs?wait=25s", "%s", spec), id);
	expect(reply->json, "state", "'cancelled'");
}
END_TEST

/* ---- a key is kept as long as its job */

START_TEST(a_removed_job_frees_its_key)
{
	const char *key = new_key(), *before = "";
	const char *targets[] = {url("/hold"), url("/echo"), url("/text/70000"), url("/hold")};

	for (size_t i = 0; i < COUNT_OF(targets); i++) {
		const char *id = taken(post_keyed("", key, "{'url':'%s'}", targets[i])); /* another request, too */

		expect_that(strcmp(id, before) != 0, "the job that was removed is back");
		if (i == 1 || i == 2)
			expect(get("/v1/jobs/%s?wait=25s", id)->json, "done", "true");
		expect_status(del("/v1/jobs/%s", id), 204);
		before = id;
	}
}
END_TEST

START_TEST(an_expired_job_frees_its_key)
{
	const char *key = new_key();
	struct client_reply *reply = post_keyed("?wait=25s", key, "{'url':'%s','ttl':'50ms'}", url("/echo"));

	expect_status(reply, 200);
	expect_that(await_status(text("/v1/jobs/%s", id_of(reply->json)), 404), "it does not expire");
	taken(post_keyed("", key, "{'url':'%s'}", url("/hold")));
}
END_TEST

START_TEST(what_is_refused_takes_no_key)
{
	const char *key = new_key();

	expect_problem(post_keyed("", key, "{'url':'%s','priority':101}", url("/hold")), 400, "'/priority'");
	expect_problem(post_keyed("", key, "{'url':'ftp://x/'}"), 400, "'/url'");
	expect_problem(post_keyed("", key, "{'url':'%s','max_body_bytes':999999999999}", url("/hold")), 400,
		"'/max_body_bytes'");
	expect_problem(post_keyed("", key, "{'url':'%s','retry':{'max_attempts':2}}", url("/hold")), 501, "'/retry'");
	expect_problem(post_keyed("?wait=x", key, "{'url':'%s'}", url("/hold")), 400, NULL);
	taken(post_keyed("", key, "{'url':'%s'}", url("/hold")));
}
END_TEST

static const char *const stores[] = {"sqlite", "memory"};

START_TEST(a_full_queue_takes_no_key)
{
	const char *key = new_key();
	json_t *job;

	start_server("--store", stores[_i], "--max-queued", "1");
	job = submit_later("");
	expect_problem(post_keyed("", key, "{'url':'%s','delay':'1h'}", url("/hold")), 503, NULL);
	expect_status(del("/v1/jobs/%s", id_of(job)), 204);
	taken(post_keyed("", key, "{'url':'%s','delay':'2h'}", url("/hold")));
}
END_TEST

/* ---- over a restart */

START_TEST(keys_outlive_the_server)
{
	static const char *const members[] = {
		"'url':'%s','delay':'1h','meta':{'b':1,'a':2}", "'url':'%s','method':'POST'", "'url':'%s','ttl':'2h'"};
	const char *key = new_key(), *seen = new_key(), *ids[COUNT_OF(members) + 1], *hold;
	struct server *server = start_first(NULL);

	for (size_t i = 0; i < COUNT_OF(members); i++)
		ids[i] = taken(post("/v1/jobs", "%s", keyed_spec(members[i], text("%s.%zu", key, i))));
	for (size_t i = 1; i < COUNT_OF(members); i++)
		expect(get("/v1/jobs/%s?wait=25s", ids[i])->json, "state", "'succeeded'");
	hold = text("{'url':'%s','idempotency_key':'%s'}", url("/hold?k=%s", seen), key);
	ids[3] = taken(post("/v1/jobs", "%s", hold));
	await_seen(seen);
	/* What the server would fill in is not part of the request. */
	start_kept(end_by(server, ways[_i]), "--ttl", "1h", "--max-body-bytes", "1MiB");
	for (size_t i = 0; i < COUNT_OF(members); i++) {
		const char *spec = keyed_spec(members[i], text("%s.%zu", key, i));

		expect_repeat(post("/v1/jobs", "%s", spec), ids[i]);
		expect_mismatch(post("/v1/jobs", "%s", keyed_spec(others[0], text("%s.%zu", key, i))));
	}
	expect_repeat(post("/v1/jobs", "%s", hold), ids[3]);
	origin_release(the_origin, seen);
	expect(post("/v1/jobs?wait=25s", "%s", hold)->json, "state", "'succeeded'");
}
END_TEST

START_TEST(a_repeat_tells_of_an_unknown_outcome)
{
	const char *key = new_key();
	struct server *server = start_first(NULL);
	const char *spec = text("{'url':'%s','method':'POST','idempotency_key':'%s'}", url("/hold?k=%s", key), key);
	const char *id = taken(post("/v1/jobs", "%s", spec));
	struct client_reply *reply;

	await_seen(key);
	start_kept(end_by(server, SIGKILL), NULL);
	expect_repeat(reply = post("/v1/jobs?wait=25s", "%s", spec), id);
	expect_failed(reply->json, "outcome_unknown", NULL);
	expect_that(origin_count(the_origin, key) == 1, "it was sent again");
}
END_TEST

START_TEST(freed_keys_stay_free)
{
	const char *key = new_key(), *dir;
	struct server *server = start_first(NULL);
	const char *gone = taken(post_keyed("", key, "{'url':'%s'}", url("/hold"))), *id;
	struct client_reply *brief =
		post_keyed("?wait=25s", text("%s.", key), "{'url':'%s','ttl':'100ms'}", url("/echo"));

	expect_status(del("/v1/jobs/%s", gone), 204);
	dir = end_by(server, ways[_i]);
	let_pass(150);
	server = start_kept(dir, NULL);
	id = taken(post_keyed("", key, "{'url':'%s','delay':'1h'}", url("/hold")));
	expect_that(await_status(text("/v1/jobs/%s", id_of(brief->json)), 404), "it does not expire");
	taken(post_keyed("", text("%s.", key), "{'url':'%s'}", url("/hold")));
	start_kept(end_by(server, ways[_i]), NULL);
	expect_repeat(post_keyed("", key, "{'url':'%s','delay':'1h'}", url("/hold")), id);
}
END_TEST

START_TEST(keys_removed_after_a_restart_are_free)
{
	const char *key = new_key();
	struct server *server = start_first(NULL);
	const char *id = taken(post_keyed("", key, "{'url':'%s','delay':'1h'}", url("/hold")));

	start_kept(end_by(server, ways[_i]), NULL);
	expect_status(del("/v1/jobs/%s", id), 204);
	taken(post_keyed("", key, "{'url':'%s'}", url("/hold")));
}
END_TEST

/* ---- */

static void
add_same(TCase *tcase)
{
	tcase_add_test(tcase, a_repeat_is_the_same_job);
	tcase_add_test(tcase, header_first);
	tcase_add_test(tcase, many_at_once_are_one_job);
	tcase_add_test(tcase, many_quick_ones_at_once_are_one_job);
	tcase_add_test(tcase, only_one_of_different_ones_is_taken);
	tcase_add_loop_test(tcase, equal_is_what_means_the_same, 0, COUNT_OF(equal));
	tcase_add_test(tcase, anything_else_is_a_mismatch);
	tcase_add_test(tcase, keys_are_told_apart);
	tcase_add_loop_test(tcase, a_bad_key_in_json_is_400, 0, COUNT_OF(bad_values));
	tcase_add_loop_test(tcase, a_bad_key_in_the_header_is_400, 0, COUNT_OF(bad_fields));
	tcase_add_test(tcase, a_key_has_up_to_255_bytes);
	tcase_add_test(tcase, two_keys_are_400);
}

static void
add_lives(TCase *tcase)
{
	tcase_add_test(tcase, a_repeat_may_wait);
	tcase_add_test(tcase, a_repeat_of_a_done_job_gives_it);
	tcase_add_test(tcase, a_repeat_of_a_cancelled_job_gives_it);
	tcase_add_test(tcase, a_removed_job_frees_its_key);
	tcase_add_test(tcase, an_expired_job_frees_its_key);
	tcase_add_test(tcase, what_is_refused_takes_no_key);
}

static void
share_sqlite(void)
{
	rig_share("--store", "sqlite");
}

static void
share_memory(void)
{
	rig_share("--store", "memory");
}

static void
add_restarts(TCase *tcase)
{
	tcase_add_loop_test(tcase, a_full_queue_takes_no_key, 0, COUNT_OF(stores));
	tcase_add_loop_test(tcase, keys_outlive_the_server, 0, WAYS);
	tcase_add_test(tcase, a_repeat_tells_of_an_unknown_outcome);
	tcase_add_loop_test(tcase, freed_keys_stay_free, 0, WAYS);
	tcase_add_loop_test(tcase, keys_removed_after_a_restart_are_free, 0, WAYS);
}

int
main(void)
{
	Suite *suite = suite_create("idempotency");
	TCase *tcase;

	add_same(tcase = rig_case(suite, "on sqlite", share_sqlite));
	add_lives(tcase);
	add_same(tcase = rig_case(suite, "in memory", share_memory));
	add_lives(tcase);
	add_restarts(rig_case(suite, "servers of their own", NULL));
	return rig_run(suite);
}
