/* What a submission must not say: each is a 400 that points at it, and nothing is stored. */
#include "rig.h"

#include <string.h>

#define U "'url':'http://127.0.0.1:9/'"

static const struct {
	const char *spec;    /* members, written with ' */
	const char *pointer; /* NULL: any */
} bad_specs[] = {
	{"", NULL},
	{"'url':null", NULL},
	{"'url':''", "/url"},
	{"'url':7", "/url"},
	{"'url':'/path'", "/url"},
	{"'url':'example.com/x'", "/url"},
	{"'url':'//example.com/x'", "/url"},
	{"'url':'ftp://127.0.0.1/'", "/url"},
	{"'url':'file:///etc/passwd'", "/url"},
	{"'url':'http:///x'", "/url"},
	{"'url':'http://'", "/url"},
	{"'url':'http://:80/'", "/url"},
	{"'url':'http://u:p@127.0.0.1/'", "/url"},
	{"'url':'http://u@127.0.0.1/'", "/url"},
	{"'url':'http://127.0.0.1/a b'", "/url"},
	{"'url':'http://127.0.0.1/a\\tb'", "/url"},
	{"'url':'http://127.0.0.1/\\r\\nX-Evil: 1'", "/url"},
	{"'url':'http://127.0.0.1:99999/'", "/url"},
	{"'url':'http://127.0.0.1:x/'", "/url"},
	{"'url':'http://[::1/'", "/url"},
	{"'url':'http://[::g]/'", "/url"},
	{"'url':'http://exa mple/'", "/url"},
	{"'url':'http://exa%00mple/'", "/url"},
	{"'url':'http://ex<a>mple/'", "/url"},
	{"'url':'http://300.1.1.1/'", "/url"},
	{U ",'timout':'1s'", "/timout"},
	{U ",'a/b~c':1", "/a~1b~0c"},
	{U ",'method':'get'", "/method"},
	{U ",'method':'Get'", "/method"},
	{U ",'method':'CONNECT'", "/method"},
	{U ",'method':'TRACE'", "/method"},
	{U ",'method':'GE T'", "/method"},
	{U ",'method':'GET\\r\\n'", "/method"},
	{U ",'method':''", "/method"},
	{U ",'method':1", "/method"},
	{U ",'headers':[]", "/headers"},
	{U ",'headers':'x: y'", "/headers"},
	{U ",'headers':{'Host':'x'}", "/headers/Host"},
	{U ",'headers':{'content-length':'3'}", "/headers/content-length"},
	{U ",'headers':{'Transfer-Encoding':'chunked'}", "/headers/Transfer-Encoding"},
	{U ",'headers':{'connection':'close'}", "/headers/connection"},
	{U ",'headers':{'Keep-Alive':'x'}", "/headers/Keep-Alive"},
	{U ",'headers':{'Proxy-Connection':'x'}", "/headers/Proxy-Connection"},
	{U ",'headers':{'Proxy-Authorization':'x'}", "/headers/Proxy-Authorization"},
	{U ",'headers':{'TE':'trailers'}", "/headers/TE"},
	{U ",'headers':{'Trailer':'x'}", "/headers/Trailer"},
	{U ",'headers':{'Upgrade':'h2c'}", "/headers/Upgrade"},
	{U ",'headers':{'x':'a\\r\\nEvil: 1'}", "/headers/x"},
	{U ",'headers':{'x':'a\\nb'}", "/headers/x"},
	{U ",'headers':{'x':'a\\rb'}", "/headers/x"},
	{U ",'headers':{'x':['ok','a\\nb']}", "/headers/x/1"},
	{U ",'headers':{'x':['ok',1]}", "/headers/x/1"},
	{U ",'headers':{'x':1}", "/headers/x"},
	{U ",'headers':{'x y':'1'}", "/headers/x y"},
	{U ",'headers':{'x:':'1'}", "/headers/x:"},
	{U ",'headers':{'a/b~':'1'}", "/headers/a~1b~0"},
	{U ",'headers':{'':'1'}", "/headers/"},
	{U ",'headers':{'x\\r\\ny':'1'}", NULL},
	{U ",'method':'POST','body':'x','json':1", NULL},
	{U ",'method':'POST','body':'x','body_base64':'eA=='", NULL},
	{U ",'body':1", "/body"},
	{U ",'body_base64':1", "/body_base64"},
	{U ",'body_base64':'a*b='", "/body_base64"},
	{U ",'body_base64':'YQ='", "/body_base64"},
	{U ",'body_base64':'YQ==YQ=='", "/body_base64"},
	{U ",'auth':'u:p'", "/auth"},
	{U ",'auth':{}", "/auth"},
	{U ",'auth':{'bearer':'x','basic':{'user':'u','password':'p'}}", NULL},
	{U ",'auth':{'digest':{}}", NULL},
	{U ",'auth':{'basic':{'user':'u','pass':'p'}}", NULL},
	{U ",'auth':{'basic':{'user':'a:b','password':'p'}}", "/auth/basic/user"},
	{U ",'auth':{'basic':'x'}", "/auth/basic"},
	{U ",'auth':{'bearer':7}", "/auth/bearer"},
	{U ",'auth':{'bearer':''}", "/auth/bearer"},
	{U ",'auth':{'bearer':'x\\r\\nEvil: 1'}", "/auth/bearer"},
	{U ",'auth':{'bearer':'x'},'headers':{'authorization':'y'}", NULL},
	{U ",'timeout':'soon'", "/timeout"},
	{U ",'timeout':-1", "/timeout"},
	{U ",'timeout':0", "/timeout"},
	{U ",'timeout':'0s'", "/timeout"},
	{U ",'timeout':'5 parsecs'", "/timeout"},
	{U ",'timeout':'5s '", "/timeout"},
	{U ",'timeout':''", "/timeout"},
	{U ",'timeout':'11y'", "/timeout"},
	{U ",'timeout':'100000h'", "/timeout"},
	{U ",'timeout':true", "/timeout"},
	{U ",'timeout':[1]", "/timeout"},
	{U ",'timeout':'0x10s'", "/timeout"},
	{U ",'timeout':'infs'", "/timeout"},
	{U ",'connect_timeout':'x'", "/connect_timeout"},
	{U ",'first_byte_timeout':{}", "/first_byte_timeout"},
	{U ",'idle_timeout':'1y'", "/idle_timeout"},
	{U ",'queue_timeout':'-1s'", "/queue_timeout"},
	{U ",'deadline':'x'", "/deadline"},
	{U ",'ttl':'x'", "/ttl"},
	{U ",'ttl':0", "/ttl"},
	{U ",'delay':'x'", "/delay"},
	{U ",'delay':-5", "/delay"},
	{U ",'delay':'88000h'", "/delay"},
	{U ",'run_at':'tomorrow'", "/run_at"},
	{U ",'run_at':7", "/run_at"},
	{U ",'run_at':'2030-02-30T00:00:00Z'", "/run_at"},
	{U ",'run_at':'2030-01-01T25:00:00Z'", "/run_at"},
	{U ",'run_at':'2030-01-01T00:00:00'", "/run_at"},
	{U ",'run_at':'2030-01-01'", "/run_at"},
	{U ",'delay':1,'run_at':'2030-01-01T00:00:00Z'", NULL},
	{U ",'retry':3", "/retry"},
	{U ",'retry':{'max_atempts':3}", "/retry/max_atempts"},
	{U ",'retry':{'max_attempts':0}", "/retry/max_attempts"},
	{U ",'retry':{'max_attempts':'3'}", "/retry/max_attempts"},
	{U ",'retry':{'backoff':'x'}", "/retry/backoff"},
	{U ",'retry':{'max_backoff':'x'}", "/retry/max_backoff"},
	{U ",'retry':{'factor':'2'}", "/retry/factor"},
	{U ",'retry':{'jitter':1}", "/retry/jitter"},
	{U ",'retry':{'on_status':[503,99999]}", "/retry/on_status/1"},
	{U ",'retry':{'on_status':'503'}", "/retry/on_status"},
	{U ",'retry':{'unsafe':'yes'}", "/retry/unsafe"},
	{U ",'max_redirects':21", "/max_redirects"},
	{U ",'max_redirects':-1", "/max_redirects"},
	{U ",'max_redirects':1.5", "/max_redirects"},
	{U ",'max_redirects':'1'", "/max_redirects"},
	{U ",'max_body_bytes':-1", "/max_body_bytes"},
	{U ",'max_body_bytes':'1k'", "/max_body_bytes"},
	{U ",'max_body_bytes':67108865", "/max_body_bytes"},
	{U ",'decompress':'no'", "/decompress"},
	{U ",'decompress':0", "/decompress"},
	{U ",'expect':[200]", "/expect"},
	{U ",'expect':{'statuss':[200]}", "/expect/statuss"},
	{U ",'expect':{'status':['9xx']}", "/expect/status/0"},
	{U ",'expect':{'status':[200,'2x']}", "/expect/status/1"},
	{U ",'expect':{'status':[99]}", "/expect/status/0"},
	{U ",'expect':{'status':200}", "/expect/status"},
	{U ",'expect':{'content_type':1}", "/expect/content_type"},
	{U ",'expect':{'sha256':'abc'}", "/expect/sha256"},
	{U ",'priority':101", "/priority"},
	{U ",'priority':-101", "/priority"},
	{U ",'priority':0.5", "/priority"},
	{U ",'priority':'high'", "/priority"},
	{U ",'tags':'x'", "/tags"},
	{U ",'tags':['a',7]", "/tags/1"},
	{U ",'tags':['']", "/tags/0"},
	{U ",'tags':['a\\tb']", "/tags/0"},
	{U ",'tags':['a','\\u007f']", "/tags/1"},
	{U ",'tags':['1','2','3','4','5','6','7','8','9','10','11','12','13','14','15','16','17']", NULL},
	{U ",'idempotency_key':7", "/idempotency_key"},
	{U ",'idempotency_key':''", "/idempotency_key"},
};

static size_t
stored_count(void)
{
	return json_array_size(json_at(get("/v1/jobs?limit=1000")->json, "jobs"));
}

/* `before` from stored_count, as a daemon that stores one by mistake should not fail all tests that follow. */
static void
expect_nothing_stored(size_t before)
{
	expect_that(stored_count() == before, "a refused job is stored");
}

START_TEST(a_bad_spec_is_refused)
{
	size_t before = stored_count();
	struct client_reply *reply = post("/v1/jobs", "{%s}", bad_specs[_i].spec);

	expect_problem(reply, 400, bad_specs[_i].pointer ? text("'%s'", bad_specs[_i].pointer) : NULL);
	expect_nothing_stored(before);
}
END_TEST

START_TEST(too_long_is_refused)
{
	size_t before = stored_count();

	expect_problem(post("/v1/jobs", "{" U ",'meta':'%s'}", repeated("x", 5000)), 400, "'/meta'");
	expect_problem(post("/v1/jobs", "{" U ",'tags':['%s']}", repeated("x", 256)), 400, "'/tags/0'");
	expect_nothing_stored(before);
}
END_TEST

/* ---- JSON itself, byte by byte */

#define V "{\"url\":\"http://127.0.0.1:9/\",\"delay\":\"1h\""
#define JSON(bytes)                                                                                                    \
	{                                                                                                              \
		(bytes), sizeof(bytes) - 1                                                                             \
	}

static const struct {
	const char *bytes;
	size_t size;
} bad_json[] = {
	JSON(""),
	JSON(" "),
	JSON("hello"),
	JSON("[\"http://127.0.0.1/\"]"),
	JSON("\"http://127.0.0.1/\""),
	JSON("7"),
	JSON("null"),
	JSON(V),
	JSON(V "} x"),
	JSON(V "}" V "}"),
	JSON(V "}\0"),
	JSON(V "}}"),
	JSON(V ",}"),
	JSON(V ",,\"meta\":1}"),
	JSON(V ",\"delay\":\"1h\"}"),
	JSON(V ",\"\\u0064elay\":\"1h\"}"),
	JSON(V ",\"meta\":[{\"a\":1,\"a\":2}]}"),
	JSON(V ",\"meta\":{\"a\":1,\"\\u0061\":2}}"),
	JSON("{'url':'http://127.0.0.1:9/'}"),
	JSON("{url:\"http://127.0.0.1:9/\"}"),
	JSON(V "/* */}"),
	JSON(V "// no\n}"),
	JSON("\xef\xbb\xbf" V "}"),
	JSON(V ",\"meta\":\"\xff\"}"),
	JSON(V ",\"meta\":\"\xc0\xaf\"}"),
	JSON(V ",\"meta\":\"\xed\xa0\x80\"}"),
	JSON(V ",\"meta\":\"\xf4\x90\x80\x80\"}"),
	JSON(V ",\"meta\":\"\xe2\x82\"}"),
	JSON(V ",\"\xff\":1}"),
	JSON(V ",\"meta\":\"\\ud800\"}"),
	JSON(V ",\"meta\":\"\\udc00\"}"),
	JSON(V ",\"meta\":\"\\ud800\\u0041\"}"),
	JSON(V ",\"meta\":\"\\udc00\\ud800\"}"),
	JSON(V ",\"meta\":\"a\\u0000b\"}"),
	JSON(V ",\"meta\":{\"a\\u0000b\":1}}"),
	JSON(V ",\"meta\":\"a\0b\"}"),
	JSON(V ",\"meta\":\"a\nb\"}"),
	JSON(V ",\"meta\":\"a\x01"
	       "b\"}"),
	JSON(V ",\"meta\":\"\\x41\"}"),
	JSON(V ",\"meta\":\"\\u12\"}"),
	JSON(V ",\"meta\":1e999}"),
	JSON(V ",\"meta\":-1e999}"),
	JSON(V ",\"meta\":9223372036854775808}"),
	JSON(V ",\"meta\":-9223372036854775809}"),
	JSON(V ",\"meta\":99999999999999999999999999999999999999}"),
	JSON(V ",\"meta\":NaN}"),
	JSON(V ",\"meta\":Infinity}"),
	JSON(V ",\"meta\":+1}"),
	JSON(V ",\"meta\":.5}"),
	JSON(V ",\"meta\":1.}"),
	JSON(V ",\"meta\":0x10}"),
	JSON(V ",\"priority\":01}"),
	JSON(V ",\"meta\":True}"),
	JSON(V ",\"meta\":tru}"),
	JSON(V ",\"meta\":[1,]}"),
	JSON(V ",\"meta\":[1 2]}"),
	JSON(V ",\"meta\" 1}"),
};

START_TEST(bad_json_is_refused)
{
	size_t before = stored_count();
	struct client_reply *reply =
		post_bytes("/v1/jobs", "Content-Type: application/json\r\n", bad_json[_i].bytes, bad_json[_i].size);

	expect_problem(reply, 400, NULL);
	expect_nothing_stored(before);
}
END_TEST

/* The spec's own object is depth 1, so 31 more may stand in it. */
static const char *
nested(size_t depth)
{
	return text(V ",\"meta\":%s%s}", repeated("[", depth), repeated("]", depth));
}

START_TEST(json_may_be_32_deep)
{
	static const size_t too_deep[] = {32, 33, 100, 2040, 2100, 5000, 200000};
	size_t before = stored_count();
	const char *body;

	for (size_t i = 0; i < COUNT_OF(too_deep); i++) {
		body = nested(too_deep[i]);
		expect_problem(
			post_bytes("/v1/jobs", "Content-Type: application/json\r\n", body, strlen(body)), 400, NULL);
	}
	body = text(V ",\"meta\":%s1%s}", repeated("{\"a\":", 32), repeated("}", 32));
	expect_problem(post_bytes("/v1/jobs", "Content-Type: application/json\r\n", body, strlen(body)), 400, NULL);
	expect_nothing_stored(before);
	body = nested(31);
	expect_status(post_bytes("/v1/jobs", "Content-Type: application/json\r\n", body, strlen(body)), 202);
}
END_TEST

START_TEST(odd_but_right_json_is_taken)
{
	static const char *const bodies[] = {
		" \r\n\t{ \"url\" : \"http:\\/\\/127.0.0.1:9\\u002f\" , \"delay\":\"1h\" } \n",
		V ",\"meta\":\"\\ud83d\\ude00 \xf0\x9f\x98\x80 \\u001f \\\" \\\\ \\/ \\b\\f\\n\\r\\t \x7f\"}",
		V ",\"meta\":[9223372036854775807,-9223372036854775808,-0,0.0,1e2,1E+2,1e-400]}",
		V ",\"meta\":{}}",
	};

	for (size_t i = 0; i < COUNT_OF(bodies); i++) {
		struct client_reply *reply = post_bytes(
			"/v1/jobs", "Content-Type: application/json; charset=utf-8\r\n", bodies[i], strlen(bodies[i]));

		expect_status(reply, 202);
		expect_status(del("/v1/jobs/%s", id_of(reply->json)), 204);
	}
}
END_TEST

START_TEST(the_details_help)
{
	struct client_reply *typo = post("/v1/jobs", "{" U ",'timout':'1s'}");
	struct client_reply *cut = post_bytes("/v1/jobs", "Content-Type: application/json\r\n", "{\"url\":", 7);

	expect_problem(typo, 400, "'/timout'");
	expect_that(strstr(json_text_at(typo->json, "detail"), "timout"), "it says: %s",
		json_text_at(typo->json, "detail"));
	expect_problem(cut, 400, NULL);
}
END_TEST

START_TEST(the_servers_own_limit_is_told)
{
	start_server("--max-queued", "3");
	for (int i = 0; i < 3; i++)
		submit_later("");
	for (int i = 0; i < 2; i++) {
		struct client_reply *reply = post("/v1/jobs", "{" U "}");

		expect_problem(reply, 503, NULL);
		expect_that(client_field(reply, "retry-after"), "no Retry-After");
	}
	expect_that(json_array_size(json_at(get("/v1/jobs")->json, "jobs")) == 3, "not 3 jobs");
	expect_status(post("/v1/jobs/cancel", "{'state':'queued'}"), 200);
	submit_later(""); /* there is room again */
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("refusals");
	TCase *specs = rig_case(suite, "specs", rig_share_default);
	TCase *json = rig_case(suite, "JSON", rig_share_default);
	TCase *own = rig_case(suite, "a full queue", NULL);

	tcase_add_loop_test(specs, a_bad_spec_is_refused, 0, COUNT_OF(bad_specs));
	tcase_add_test(specs, too_long_is_refused);
	tcase_add_test(specs, the_details_help);
	tcase_add_loop_test(json, bad_json_is_refused, 0, COUNT_OF(bad_json));
	tcase_add_test(json, odd_but_right_json_is_taken);
	tcase_add_test(json, json_may_be_32_deep); /* leaves a job */
	tcase_add_test(own, the_servers_own_limit_is_told);
	return rig_run(suite);
}
