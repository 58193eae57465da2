/* Bodies: inline, on their own address, whole and in ranges, decoded or as they came. */
#define _XOPEN_SOURCE 700 /* nftw */
#include "rig.h"

#include <ftw.h>
#include <string.h>

/* ---- inline */

static const struct {
	const char *bytes;
	size_t size;
	const char *body;   /* JSON */
	const char *base64; /* JSON */
} inlined[] = {
	{"", 0, "''", "null"},
	{"plain", 5, "'plain'", "null"},
	{"gr\xc3\xbc\xc3\x9f \xf0\x9f\x98\x80 \\ \t\x01\x7f\r\n", 19,
		"'gr\\u00fc\\u00df \\ud83d\\ude00 \\\\ \\t\\u0001\\u007f\\r\\n'", "null"},
	{"\xc0\xaf", 2, "null", "'wK8='"},
	{"\xed\xa0\x80", 3, "null", "'7aCA'"},
	{"\xf5\x80\x80\x80", 4, "null", "'9YCAgA=='"},
	{"ok\xe2\x82", 4, "null", "'b2vigg=='"},
	{"a\0b", 3, "null", "'YQBi'"},
	{"\xff\xfe", 2, "null", "'//4='"},
};

START_TEST(text_and_bytes_are_told_apart)
{
	json_t *job = fetch(url("/raw?hex=%s", hex_of(inlined[_i].bytes, inlined[_i].size)), "");

	expect(job, "state", "'succeeded'");
	expect(job, "response.body", "%s", inlined[_i].body);
	expect(job, "response.body_base64", "%s", inlined[_i].base64);
	expect(job, "response.body_bytes", "%zu", inlined[_i].size);
	expect(job, "response.body_sha256", "'%s'", sha256_of(inlined[_i].bytes, inlined[_i].size));
	expect(job, "response.body_url", "'/v1/jobs/%s/body'", id_of(job));
}
END_TEST

START_TEST(up_to_64_kib_are_inline)
{
	json_t *job = fetch(url("/text/65536"), "");

	expect_text(json_text_at(job, "response.body"), origin_text_of(65536));
	job = fetch(url("/text/65537"), "");
	expect(job, "response.body", "null");
	expect(job, "response.body_base64", "null");
	expect(job, "response.body_bytes", "65537");
	expect_text(get("%s", json_text_at(job, "response.body_url"))->body.data, origin_text_of(65537));
}
END_TEST

START_TEST(the_inline_limit_is_an_option)
{
	start_server("--inline-body-bytes", "100");
	expect_text(json_text_at(fetch(url("/text/100"), ""), "response.body"), origin_text_of(100));
	expect(fetch(url("/text/101"), ""), "response.body", "null");
	expect(fetch(url("/bytes/101"), ""), "response.body_base64", "null");
}
END_TEST

static void
expect_pattern(const char *id, size_t size)
{
	struct client_reply *reply = get("/v1/jobs/%s/body", id);
	const char *want = origin_pattern_of(size);

	expect_status(reply, 200);
	expect_that(reply->body.used == size, "%zu bytes, not %zu", reply->body.used, size);
	expect_that(!memcmp(reply->body.data, want, size), "the bytes differ");
}

static const size_t sizes[] = {0, 1, 65535, 65537, 100000, 1 << 20, (1 << 20) + 1, 8 << 20};

START_TEST(bodies_of_any_size_are_kept)
{
	size_t size = sizes[_i];
	json_t *job = fetch(url("/bytes/%zu", size), "");

	expect(job, "response.body_bytes", "%zu", size);
	expect(job, "response.body_sha256", "'%s'", sha256_of(origin_pattern_of(size), size));
	expect(job, "progress", "{'received_bytes':%zu,'total_bytes':%zu}", size, size);
	expect_pattern(id_of(job), size);
}
END_TEST

START_TEST(body_none_leaves_the_body_out)
{
	json_t *job = fetch_query("?wait=25s&body=none", url("/text/100"), "");
	json_t *again = get("/v1/jobs/%s?body=none", id_of(job))->json;

	for (int i = 0; i < 2; i++) {
		expect(job, "response.body", "null");
		expect(job, "response.body_base64", "null");
		expect(job, "response.body_bytes", "100");
		job = again;
	}
	expect_text(json_text_at(job_now(job), "response.body"), origin_text_of(100));
}
END_TEST

/* ---- framing and codings */

static const struct {
	const char *path, *more, *body;
	int received; /* -1: do not care */
	const char *total;
} arrivals[] = {
	{"/chunked/3", "", "'part0part1part2'", 15, "null"},
	{"/chunked/0", "", "''", 0, "null"},
	{"/nocl", "", "'until the end'", 13, "null"},
	{"/gzip", "", "'{\\'gzipped\\':true}'", -1, NULL},
	{"/br", "", "'squeezed and spelled out again, spelled out again\\n'", 37, "37"},
	{"/zstd", "", "'squeezed and spelled out again, spelled out again\\n'", 48, "48"},
	{"/drip/5/10", "", "'abcde'", 5, "5"},
	{"/unknowncoding", "'decompress':false", "'uryyb\\n'", 6, "6"},
};

START_TEST(each_framing_and_coding_is_read)
{
	json_t *job = fetch(url("%s", arrivals[_i].path), "%s", arrivals[_i].more);

	expect(job, "state", "'succeeded'");
	expect(job, "response.body", "%s", arrivals[_i].body);
	if (arrivals[_i].received >= 0)
		expect(job, "progress.received_bytes", "%d", arrivals[_i].received);
	if (arrivals[_i].total)
		expect(job, "progress.total_bytes", "%s", arrivals[_i].total);
}
END_TEST

START_TEST(received_bytes_are_those_on_the_wire)
{
	json_t *job = fetch(url("/gzip/100000"), "");
	json_int_t received = json_int_at(job, "progress.received_bytes");

	expect(job, "response.body_bytes", "100000");
	expect(job, "response.body_sha256", "'%s'", sha256_of(origin_text_of(100000), 100000));
	expect_that(received > 0 && received < 50000, "%d bytes were received", (int)received);
	expect(job, "progress.total_bytes", "%d", (int)received);
	expect(job, "attempts.0.received_bytes", "%d", (int)received);
}
END_TEST

START_TEST(without_decompress_the_bytes_are_as_they_came)
{
	json_t *job = fetch(url("/gzip"), "'decompress':false");
	size_t size = 0;
	const char *bytes = unbase64(json_text_at(job, "response.body_base64"), &size);

	expect_that(bytes && size > 2 && !memcmp(bytes, "\x1f\x8b", 2), "no gzip: %s",
		json_text_at(job, "response.body_base64"));
	expect(job, "response.headers.content-encoding", "['gzip']");
}
END_TEST

/* ORIGIN_SQUEEZED in each coding. */
#define GZIP_HEX                                                                                                       \
	"1f8b08000000000002032b2e2c4d4dad4a4d5148cc4b51282e48cdc901b2f34b4b1412d31333f3743085b8006748934b3200"         \
	"0000"
#define BR_HEX "1b3100f8454fd695f475b5d8feca0c452b32ca32054911c0d867a74f7a11913cd0ba45e130"
#define ZSTD_HEX "28b52ffd20323d0100040273717565657a656420616e64207370656c6c6564206f757420616761696e2c0a01009b379d"
/* 64 MiB of zero, squeezed twice. */
#define BOMB_HEX                                                                                                       \
	"1f8b0800000000000203eddcaf4e427114c0f18b5c37261b622019e4118814061acc06cd8e0720926573260b2f41666373b3"         \
	"d27803b4d9fd139c33392fdcfb18bff3f9a4934f3c3bfb9e3d36b2d241fd635dabed87d9fc7ff9d538ca00000080c4cd5eef"         \
	"ebe53120eb16dbcbab1b0000002075e3e3565e1d05fe6e4fcfad0300000092f730e8b7ab0f81efbb496e1d00000090bcceef"         \
	"dba8ba056c8aa7936bfb00000080e4bd080600000040288201000000108b6000000000c4221800000000c10806000000402c"         \
	"8201000000108b6000000000c4221800000000c10806000000402c820100000010cb62d0ef968f01ed9f623abc38cc000000"         \
	"88e4b9f9d97b5fed877c073c4cecfae2fe0000"

static const char *
coded(const char *coding, const char *hex, size_t digits)
{
	return url("/raw?hex=%.*s&extra=content-encoding:%%20%s", (int)digits, hex, coding);
}

static const struct {
	const char *coding, *hex;
} squeezed[] = {{"gzip", GZIP_HEX}, {"br", BR_HEX}, {"zstd", ZSTD_HEX}};

/* The Content-Length is right each time: only the coding tells that something is missing. */
START_TEST(a_coding_that_ends_early_fails)
{
	const char *coding = squeezed[_i].coding, *hex = squeezed[_i].hex;

	for (size_t digits = 2; digits < strlen(hex); digits += 2)
		expect_failed(fetch(coded(coding, hex, digits), ""), "bad_content_encoding", "body");
	expect(fetch(coded(coding, hex, strlen(hex)), ""), "response.body", "'%s'",
		"squeezed and spelled out again, spelled out again\\n");
}
END_TEST

static const char *const spoilt[] = {
	GZIP_HEX "78", GZIP_HEX "0078", GZIP_HEX "1f8b", GZIP_HEX "1f8b08000000000002032b2e", GZIP_HEX BR_HEX};

START_TEST(garbage_behind_gzip_fails)
{
	expect_failed(fetch(coded("gzip", spoilt[_i], strlen(spoilt[_i])), ""), "bad_content_encoding", "body");
}
END_TEST

START_TEST(gzip_may_have_several_members)
{
	static const char three[] = GZIP_HEX GZIP_HEX GZIP_HEX;
	json_t *job = fetch(coded("gzip", three, sizeof three - 1), "");

	expect(job, "state", "'succeeded'");
	expect_text(json_text_at(job, "response.body"), ORIGIN_SQUEEZED ORIGIN_SQUEEZED ORIGIN_SQUEEZED);
}
END_TEST

START_TEST(a_bomb_is_stopped_at_the_limit)
{
	const char *target = coded("gzip,gzip", BOMB_HEX, strlen(BOMB_HEX));

	expect_failed(fetch(target, "'max_body_bytes':1000000"), "too_large", "body");
	expect_failed(fetch(target, "'max_body_bytes':%d", 64 << 20), "too_large", "body");
	expect(fetch(target, "'decompress':false,'max_body_bytes':1000"), "state", "'succeeded'");
}
END_TEST

START_TEST(the_ratio_is_an_option)
{
	const char *target = coded("gzip,gzip", BOMB_HEX, strlen(BOMB_HEX));
	json_t *job;

	start_server("--max-decode-ratio", "1000000");
	expect_failed(fetch(target, "'max_body_bytes':%d", (64 << 20) - 1), "too_large", "body");
	expect(fetch(target, "'max_body_bytes':%d", 64 << 20), "response.body_bytes", "%d", 64 << 20);
	start_server("--max-decode-ratio", "50");
	job = fetch(url("/gzip/5000000"), "");
	expect_failed(job, "too_large", "body");
	expect_that(strstr(json_text_at(job, "error.message"), "--max-decode-ratio"), "it does not say why: %s",
		json_text_at(job, "error.message"));
	expect(fetch(url("/gzip/1000000"), ""), "response.body_bytes", "1000000");
}
END_TEST

/* ---- the body's own address */

static const char *
stored(const char *path)
{
	return text("/v1/jobs/%s/body", id_of(fetch(url("%s", path), "")));
}

static void
expect_safe(const struct client_reply *reply)
{
	const char *policy = client_field(reply, "content-security-policy");
	const char *disposition = client_field(reply, "content-disposition");

	expect_header(reply, "x-content-type-options", "nosniff");
	expect_that(
		policy && !strncmp(policy, "sandbox", 7), "Content-Security-Policy is %s", policy ? policy : "missing");
	expect_that(disposition && !strncmp(disposition, "attachment", 10), "Content-Disposition is %s",
		disposition ? disposition : "missing");
}

START_TEST(the_body_comes_with_its_headers)
{
	struct client_reply *reply = get("%s", stored("/text/1000"));
	const char *etag = client_field(reply, "etag");

	expect_status(reply, 200);
	expect_text(reply->body.data, origin_text_of(1000));
	expect_header(reply, "content-type", "text/plain");
	expect_header(reply, "content-length", "1000");
	expect_header(reply, "accept-ranges", "bytes");
	expect_that(etag && etag[0] == '"' && strlen(etag) > 2, "ETag is %s", etag ? etag : "missing");
	expect_safe(reply);
}
END_TEST

START_TEST(the_type_is_the_origins)
{
	expect_header(get("%s", stored("/raw?hex=3c&type=text/html;%20charset=utf-8")), "content-type",
		"text/html; charset=utf-8");
	expect_header(get("%s", stored("/raw?hex=3c&type=-")), "content-type", "application/octet-stream");
	expect_safe(get("%s", stored("/raw?hex=3c&type=text/html")));
}
END_TEST

START_TEST(an_empty_body_is_there)
{
	struct client_reply *reply = get("%s", stored("/status/204"));

	expect_status(reply, 200);
	expect_header(reply, "content-length", "0");
	expect_safe(reply);
}
END_TEST

START_TEST(head_of_a_body)
{
	const char *path = stored("/text/1000");
	struct client_reply *head = call_with("HEAD", "", "%s", path), *whole = get("%s", path);

	expect_status(head, 200);
	expect_that(head->body.used == 0, "HEAD has a body of %zu bytes", head->body.used);
	expect_header(head, "content-length", "1000");
	expect_header(head, "content-type", "text/plain");
	expect_header(head, "etag", client_field(whole, "etag"));
	expect_safe(head);
}
END_TEST

static const struct {
	const char *range;
	int status;
	const char *content_range;
	size_t from, size;
} ranges[] = {
	{"bytes=0-9", 206, "bytes 0-9/1000", 0, 10},
	{"bytes=5-5", 206, "bytes 5-5/1000", 5, 1},
	{"bytes=990-", 206, "bytes 990-999/1000", 990, 10},
	{"bytes=-7", 206, "bytes 993-999/1000", 993, 7},
	{"bytes=-5000", 206, "bytes 0-999/1000", 0, 1000},
	{"bytes=500-99999", 206, "bytes 500-999/1000", 500, 500},
	{"bytes=0-9223372036854775807", 206, "bytes 0-999/1000", 0, 1000},
	{"Bytes=0-9", 206, "bytes 0-9/1000", 0, 10},
	{"bytes=1000-", 416, "bytes */1000", 0, 0},
	{"bytes=99999-100000", 416, "bytes */1000", 0, 0},
	{"bytes=-0", 416, "bytes */1000", 0, 0},
	{"bytes=0-1,5-6", 200, NULL, 0, 1000},
	{"lines=1-2", 200, NULL, 0, 1000},
	{"bytes=9-3", 200, NULL, 0, 1000},
	{"bytes=x-y", 200, NULL, 0, 1000},
	{"bytes=", 200, NULL, 0, 1000},
	{"bytes=-", 200, NULL, 0, 1000},
	{"0-9", 200, NULL, 0, 1000},
};

START_TEST(ranges_are_served)
{
	struct client_reply *reply =
		call_with("GET", text("Range: %s\r\n", ranges[_i].range), "%s", stored("/text/1000"));
	const char *whole = origin_text_of(1000);

	expect_status(reply, ranges[_i].status);
	expect_header(reply, "content-range", ranges[_i].content_range);
	if (ranges[_i].status == 416) {
		expect_problem(reply, 416, NULL);
		return;
	}
	expect_that(reply->body.used == ranges[_i].size, "%zu bytes, not %zu", reply->body.used, ranges[_i].size);
	expect_that(!memcmp(reply->body.data, whole + ranges[_i].from, ranges[_i].size), "the bytes differ: %.40s",
		reply->body.data);
	expect_safe(reply);
}
END_TEST

START_TEST(ranges_of_a_large_body)
{
	const char *path = stored("/bytes/3000000"), *whole = origin_pattern_of(3000000);
	struct client_reply *reply = call_with("GET", "Range: bytes=1234567-2345678\r\n", "%s", path);

	expect_status(reply, 206);
	expect_header(reply, "content-range", "bytes 1234567-2345678/3000000");
	expect_that(
		reply->body.used == 1111112 && !memcmp(reply->body.data, whole + 1234567, 1111112), "the bytes differ");
}
END_TEST

START_TEST(a_range_of_an_empty_body_is_416)
{
	struct client_reply *reply = call_with("GET", "Range: bytes=0-0\r\n", "%s", stored("/status/204"));

	expect_problem(reply, 416, NULL);
	expect_header(reply, "content-range", "bytes */0");
}
END_TEST

START_TEST(if_range_decides)
{
	const char *path = stored("/text/1000"), *etag = client_field(get("%s", path), "etag");
	struct client_reply *same = call_with("GET", text("Range: bytes=0-9\r\nIf-Range: %s\r\n", etag), "%s", path);
	struct client_reply *other = call_with("GET", "Range: bytes=0-9\r\nIf-Range: \"other\"\r\n", "%s", path);
	struct client_reply *weak = call_with("GET", text("Range: bytes=0-9\r\nIf-Range: W/%s\r\n", etag), "%s", path);
	struct client_reply *date =
		call_with("GET", "Range: bytes=0-9\r\nIf-Range: Sat, 29 Oct 1994 19:43:31 GMT\r\n", "%s", path);

	expect_status(same, 206);
	expect_status(other, 200);
	expect_status(weak, 200);
	expect_status(date, 200);
	expect_that(other->body.used == 1000, "%zu bytes", other->body.used);
}
END_TEST

START_TEST(if_none_match_gives_304)
{
	const char *path = stored("/text/1000"), *etag = client_field(get("%s", path), "etag");
	const char *const same[] = {etag, text("W/%s", etag), text("\"other\", %s", etag), "*"};

	for (size_t i = 0; i < COUNT_OF(same); i++) {
		struct client_reply *reply = call_with("GET", text("If-None-Match: %s\r\n", same[i]), "%s", path);

		expect_status(reply, 304);
		expect_header(reply, "etag", etag);
	}
	expect_status(call_with("GET", "If-None-Match: \"other\"\r\n", "%s", path), 200);
}
END_TEST

START_TEST(no_body_is_409_or_404)
{
	json_t *queued = submit_later(""), *failed = fetch(url("/close"), "");

	expect_problem(get("/v1/jobs/%s/body", id_of(queued)), 409, NULL);
	expect_problem(get("/v1/jobs/%s/body", id_of(failed)), 409, NULL);
	expect_problem(get("/v1/jobs/" UNKNOWN_ID "/body"), 404, NULL);
	poke("/v1/jobs/%s/cancel", id_of(queued));
	expect_problem(get("/v1/jobs/%s/body", id_of(queued)), 409, NULL);
}
END_TEST

/* ---- on disk */

static size_t disk_bytes;

/* All but the room that the store keeps in reserve. */
static int
add_file(const char *path, const struct stat *stat, int type, struct FTW *where)
{
	if (type == FTW_F && strcmp(path + where->base, "ledger.reserve"))
		disk_bytes += (size_t)stat->st_size;
	return 0;
}

static size_t
bytes_on_disk(void)
{
	disk_bytes = 0;
	nftw(server_state_dir(the_server), add_file, 8, FTW_PHYS);
	return disk_bytes;
}

/* Removing may go on for a moment behind the answer; each look is a call, so that the daemon gets its turn. */
static bool
disk_gets_empty(void)
{
	int64_t until = mono_ms() + SERVER_PATIENCE_MS;

	while (bytes_on_disk() >= 1 << 20)
		if (mono_ms() > until || get("/livez")->status != 200)
			return false;
	return true;
}

START_TEST(large_bodies_leave_the_disk)
{
	const char *key = new_key();
	json_t *job;

	start_server("--workers", "1");
	expect_status(del("/v1/jobs/%s", id_of(fetch(url("/bytes/4000000"), ""))), 204);
	expect_that(disk_gets_empty(), "%zu bytes of a removed job stay", bytes_on_disk());
	fetch(url("/bytes/4000000"), "'ttl':'50ms'");
	expect_that(disk_gets_empty(), "%zu bytes of an expired job stay", bytes_on_disk());
	expect_failed(fetch(url("/bytes/4000000"), "'max_body_bytes':3999999"), "too_large", "body");
	expect_failed(
		fetch(url("/bytes/4000000"), "'expect':{'sha256':'%s'}", sha256_of("", 0)), "expect_failed", "expect");
	job = submit(url("/stall/4000000?k=%s", key), "");
	await_seen(key);
	expect_status(poke("/v1/jobs/%s/cancel", id_of(job)), 200);
	expect_that(disk_gets_empty(), "%zu bytes of unfinished jobs stay", bytes_on_disk());
}
END_TEST

START_TEST(a_body_being_read_may_be_removed)
{
	struct client_wire *wire;
	struct client_reply *reply;
	const char *id;

	start_server("--workers", "1");
	id = id_of(fetch(url("/bytes/20000000"), ""));
	wire = open_wire();
	wire_get(wire, "/v1/jobs/%s/body", id);
	expect_that(client_await_bytes(wire), "no byte of the body comes");
	expect_status(del("/v1/jobs/%s", id), 204);
	reply = wire_receive(wire);
	expect_status(reply, 200);
	expect_that(reply->body.used == 20000000, "%zu bytes came", reply->body.used);
	expect_that(!memcmp(reply->body.data, origin_pattern_of(20000000), 20000000), "the bytes differ");
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("bodies");
	TCase *tcase = rig_case(suite, "bodies", rig_share_default);
	TCase *own = rig_case(suite, "daemons of their own", NULL);

	tcase_add_loop_test(tcase, text_and_bytes_are_told_apart, 0, COUNT_OF(inlined));
	tcase_add_test(tcase, up_to_64_kib_are_inline);
	tcase_add_loop_test(tcase, bodies_of_any_size_are_kept, 0, COUNT_OF(sizes));
	tcase_add_test(tcase, body_none_leaves_the_body_out);
	tcase_add_loop_test(tcase, each_framing_and_coding_is_read, 0, COUNT_OF(arrivals));
	tcase_add_test(tcase, received_bytes_are_those_on_the_wire);
	tcase_add_test(tcase, without_decompress_the_bytes_are_as_they_came);
	tcase_add_loop_test(tcase, a_coding_that_ends_early_fails, 0, COUNT_OF(squeezed));
	tcase_add_loop_test(tcase, garbage_behind_gzip_fails, 0, COUNT_OF(spoilt));
	tcase_add_test(tcase, gzip_may_have_several_members);
	tcase_add_test(tcase, a_bomb_is_stopped_at_the_limit);
	tcase_add_test(tcase, the_body_comes_with_its_headers);
	tcase_add_test(tcase, the_type_is_the_origins);
	tcase_add_test(tcase, an_empty_body_is_there);
	tcase_add_test(tcase, head_of_a_body);
	tcase_add_loop_test(tcase, ranges_are_served, 0, COUNT_OF(ranges));
	tcase_add_test(tcase, ranges_of_a_large_body);
	tcase_add_test(tcase, a_range_of_an_empty_body_is_416);
	tcase_add_test(tcase, if_range_decides);
	tcase_add_test(tcase, if_none_match_gives_304);
	tcase_add_test(tcase, no_body_is_409_or_404);
	tcase_add_test(own, the_inline_limit_is_an_option);
	tcase_add_test(own, the_ratio_is_an_option);
	tcase_add_test(own, large_bodies_leave_the_disk);
	tcase_add_test(own, a_body_being_read_may_be_removed);
	return rig_run(suite);
}
