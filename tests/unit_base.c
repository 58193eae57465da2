/* The base room: words for time and size, bytes and text, ids, and the containers, the heap against a plain model. */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdalign.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/clock.h"
#include "base/heap.h"
#include "base/id.h"
#include "base/list.h"
#include "base/sha256.h"
#include "base/text.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

/* A repeatable stream of numbers (xorshift64*), so that a failure can be seen again. */
static uint64_t
next_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * UINT64_C(2685821657736338717);
}

/* ---- clock */

static const struct {
	const char *text;
	int result;
	int64_t ms;
} durations[] = {
	{"250ms", 0, 250},
	{"1.5s", 0, 1500},
	{"2m", 0, 120000},
	{"1h", 0, 3600000},
	{"7d", 0, INT64_C(7) * 24 * 3600000},
	{"30", 0, 30000},
	{"0", 0, 0},
	{"0.25", 0, 250},
	{"0.5ms", 0, 1},
	{"0.0001ms", 0, 1},
	{"1.4ms", 0, 1},
	{"007s", 0, 7000},
	{"3650d", 0, CLOCK_MAX_DURATION_MS},
	{"3650.1d", -ERANGE, 0},
	{"99999999999999999999h", -ERANGE, 0},
	{"", -EINVAL, 0},
	{"s", -EINVAL, 0},
	{"-1s", -EINVAL, 0},
	{"+1s", -EINVAL, 0},
	{" 1s", -EINVAL, 0},
	{"1s ", -EINVAL, 0},
	{"1 s", -EINVAL, 0},
	{"1.s", -EINVAL, 0},
	{".5s", -EINVAL, 0},
	{"1.2.3", -EINVAL, 0},
	{"1e3", -EINVAL, 0},
	{"1S", -EINVAL, 0},
	{"1w", -EINVAL, 0},
	{"inf", -EINVAL, 0},
	{"soon", -EINVAL, 0},
};

START_TEST(duration_read)
{
	int64_t ms = -7;

	ck_assert_int_eq(duration_parse(durations[_i].text, &ms), durations[_i].result);
	ck_assert_int_eq(ms, durations[_i].result == 0 ? durations[_i].ms : -7);
}
END_TEST

START_TEST(duration_numbers)
{
	int64_t ms;

	ck_assert_int_eq(duration_from_seconds(0.0001, &ms), 0);
	ck_assert_int_eq(ms, 1);
	ck_assert_int_eq(duration_from_seconds(-0.5, &ms), -EINVAL);
	ck_assert_int_eq(duration_from_seconds(__builtin_nan(""), &ms), -EINVAL);
	ck_assert_int_ne(duration_from_seconds(__builtin_inf(), &ms), 0);
	ck_assert_int_eq(duration_from_seconds(1e10, &ms), -ERANGE);
}
END_TEST

START_TEST(duration_written)
{
	static const struct {
		int64_t ms;
		const char *text;
	} rows[] = {{0, "0ms"}, {250, "250ms"}, {1500, "1500ms"}, {55000, "55s"}, {60000, "1m"}, {90000, "90s"},
		{86400000, "24h"}, {CLOCK_MAX_DURATION_MS, "87600h"}};
	char text[32];
	int64_t ms;

	for (int i = 0; i < COUNT(rows); i++) {
		duration_format(rows[i].ms, text, sizeof text);
		ck_assert_str_eq(text, rows[i].text);
		ck_assert_int_eq(duration_parse(text, &ms), 0);
		ck_assert_int_eq(ms, rows[i].ms);
	}
}
END_TEST

static const struct {
	const char *text, *canonical; /* NULL: refused */
} times[] = {
	{"1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000Z"},
	{"2026-01-31t12:00:00.25z", "2026-01-31T12:00:00.250Z"},
	{"2026-01-31 12:00:00Z", "2026-01-31T12:00:00.000Z"},
	{"2026-01-31T12:00:00.9999999Z", "2026-01-31T12:00:00.999Z"},
	{"2026-01-31T00:30:00+01:00", "2026-01-30T23:30:00.000Z"},
	{"2025-12-31T23:30:00-00:45", "2026-01-01T00:15:00.000Z"},
	{"2024-02-29T23:59:59Z", "2024-02-29T23:59:59.000Z"},
	{"2000-02-29T00:00:00Z", "2000-02-29T00:00:00.000Z"},
	{"2024-02-29T23:59:60Z", "2024-03-01T00:00:00.000Z"},
	{"1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59.500Z"},
	{"0000-01-01T00:00:00Z", "0000-01-01T00:00:00.000Z"},
	{"9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z"},
	{"2023-02-29T00:00:00Z", NULL},
	{"1900-02-29T00:00:00Z", NULL},
	{"2026-04-31T00:00:00Z", NULL},
	{"2026-13-01T00:00:00Z", NULL},
	{"2026-00-01T00:00:00Z", NULL},
	{"2026-01-00T00:00:00Z", NULL},
	{"2026-01-01T24:00:00Z", NULL},
	{"2026-01-01T00:60:00Z", NULL},
	{"2026-01-01T00:00:61Z", NULL},
	{"2026-01-01T00:00:00", NULL},
	{"2026-01-01T00:00:00.Z", NULL},
	{"2026-01-01T00:00:00+0100", NULL},
	{"2026-01-01T00:00:00+24:00", NULL},
	{"2026-01-01T00:00:00Zx", NULL},
	{"2026-01-01", NULL},
	{"26-01-01T00:00:00Z", NULL},
	{"", NULL},
};

START_TEST(time_read)
{
	int64_t ms;
	char text[CLOCK_TIME_BYTES];
	int error = time_parse(times[_i].text, &ms);

	ck_assert_int_eq(error, times[_i].canonical != NULL ? 0 : -EINVAL);
	if (error != 0)
		return;
	time_format(ms, text);
	ck_assert_str_eq(text, times[_i].canonical);
}
END_TEST

/* Every day of four hundred years and more, against the C library's calendar. */
START_TEST(time_calendar)
{
	char text[CLOCK_TIME_BYTES];
	int64_t read;

	for (int64_t day = -141000; day < 200000; day++) {
		int64_t ms = (day * 86400 + 3723) * 1000 + 4;
		time_t seconds = (time_t)(day * 86400 + 3723);
		struct tm tm;
		char wanted[64];

		gmtime_r(&seconds, &tm);
		strftime(wanted, sizeof wanted, "%Y-%m-%dT%H:%M:%S.004Z", &tm);
		time_format(ms, text);
		ck_assert_str_eq(text, wanted);
		ck_assert_int_eq(time_parse(text, &read), 0);
		ck_assert_int_eq(read, ms);
	}
}
END_TEST

START_TEST(clocks_run)
{
	int64_t first = mono_us();

	ck_assert_int_ge(mono_us(), first);
	ck_assert_int_ge(mono_ms(), first / 1000);
	ck_assert_int_gt(wall_ms(), INT64_C(1700000000000));
}
END_TEST

/* ---- text */

static const struct {
	const char *text;
	int result;
	int64_t bytes;
} sizes[] = {
	{"0", 0, 0},
	{"1", 0, 1},
	{"65536", 0, 65536},
	{"1KiB", 0, 1024},
	{"1K", 0, 1024},
	{"64MiB", 0, INT64_C(64) << 20},
	{"8GiB", 0, INT64_C(8) << 30},
	{"12B", 0, 12},
	{"9223372036854775807", 0, INT64_MAX},
	{"9223372036854775808", -ERANGE, 0},
	{"8589934592GiB", -ERANGE, 0},
	{"99999999999999999999999999", -ERANGE, 0},
	{"", -EINVAL, 0},
	{"KiB", -EINVAL, 0},
	{"-1", -EINVAL, 0},
	{"1.5KiB", -EINVAL, 0},
	{"1 KiB", -EINVAL, 0},
	{"1KB", -EINVAL, 0},
	{"1kib", -EINVAL, 0},
	{"1TiB", -EINVAL, 0},
};

START_TEST(size_read)
{
	int64_t bytes = -7;

	ck_assert_int_eq(size_parse(sizes[_i].text, &bytes), sizes[_i].result);
	ck_assert_int_eq(bytes, sizes[_i].result == 0 ? sizes[_i].bytes : -7);
}
END_TEST

START_TEST(size_written)
{
	static const struct {
		int64_t bytes;
		const char *text;
	} rows[] = {{0, "0"}, {1, "1"}, {1023, "1023"}, {1024, "1KiB"}, {1025, "1025"}, {1536, "1536"},
		{1 << 20, "1MiB"}, {3 << 20, "3MiB"}, {INT64_C(1) << 40, "1024GiB"}};
	char text[32];

	for (int i = 0; i < COUNT(rows); i++) {
		size_format(rows[i].bytes, text, sizeof text);
		ck_assert_str_eq(text, rows[i].text);
	}
}
END_TEST

static const struct {
	const char *bytes;
	bool valid;
} utf8[] = {
	{"", true},
	{"plain and long enough for whole words", true},
	{"gr\xc3\xbc\xc3\x9f"
	 "e, eight bytes on \xe2\x82\xac",
		true},
	{"\xf0\x9f\x98\x80", true},
	{"\xc2\x80", true},
	{"\xdf\xbf", true},
	{"\xe0\xa0\x80", true},
	{"\xed\x9f\xbf", true},
	{"\xee\x80\x80", true},
	{"\xef\xbf\xbf", true},
	{"\xf4\x8f\xbf\xbf", true},
	{"\x80", false},
	{"\xc3", false},
	{"\xc3(", false},
	{"\xc0\xaf", false}, /* overlong */
	{"\xc1\xbf", false},
	{"\xe0\x9f\xbf", false},
	{"\xf0\x8f\xbf\xbf", false},
	{"\xed\xa0\x80", false}, /* a surrogate */
	{"\xed\xbf\xbf", false},
	{"\xf4\x90\x80\x80", false}, /* above U+10FFFF */
	{"\xf5\x80\x80\x80", false},
	{"\xff", false},
	{"\xe2\x82", false}, /* cut */
	{"\xf0\x9f\x98", false},
	{"12345678\xe2\x82", false},
	{"1234567\xe2\x28\xa1", false},
};

START_TEST(utf8_read)
{
	ck_assert_int_eq(utf8_valid(utf8[_i].bytes, strlen(utf8[_i].bytes)), utf8[_i].valid);
}
END_TEST

START_TEST(utf8_bounds)
{
	ck_assert(utf8_valid("a\0b", 3));
	ck_assert(!utf8_valid("\xe2\x82\xac", 2));
	ck_assert(utf8_valid("\xc3\xbc\xff", 2));
}
END_TEST

START_TEST(tokens)
{
	ck_assert(text_is_token("X-Key", 5));
	ck_assert(text_is_token("!#$%&'*+-.^_`|~09azAZ", 21));
	ck_assert(!text_is_token("", 0));
	for (int c = 0; c < 256; c++) {
		char text[] = {'a', (char)c};
		bool wanted = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
			(c != 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL);

		ck_assert_msg(text_is_token(text, 2) == wanted, "character %d", c);
	}
}
END_TEST

START_TEST(letters)
{
	char text[] = "AbC-\xc4Z@[";

	ascii_lower_string(text);
	ck_assert_str_eq(text, "abc-\xc4z@[");
	ck_assert(text_equal_nocase("Accept", "aCCEPT"));
	ck_assert(text_equal_nocase("", ""));
	ck_assert(!text_equal_nocase("Accept", "Accep"));
	ck_assert(!text_equal_nocase("Accep", "Accept"));
	ck_assert(!text_equal_nocase("@", "`"));
	ck_assert(text_prefix_nocase("Bearer abc", "bearer "));
	ck_assert(text_prefix_nocase("a", ""));
	ck_assert(!text_prefix_nocase("Bear", "bearer"));
}
END_TEST

START_TEST(integers)
{
	uint64_t value = 7;

	ck_assert_int_eq(text_to_uint64("18446744073709551615", &value), 0);
	ck_assert_uint_eq(value, UINT64_MAX);
	ck_assert_int_eq(text_to_uint64("18446744073709551616", &value), -ERANGE);
	ck_assert_int_eq(text_to_uint64("99999999999999999999", &value), -ERANGE);
	ck_assert_int_eq(text_to_uint64("", &value), -EINVAL);
	ck_assert_int_eq(text_to_uint64("+1", &value), -EINVAL);
	ck_assert_int_eq(text_to_uint64("1 ", &value), -EINVAL);
	ck_assert_uint_eq(value, UINT64_MAX);
	ck_assert_int_eq(text_to_uint64("000", &value), 0);
	ck_assert_uint_eq(value, 0);
}
END_TEST

/* RFC 4648, section 10. */
static const struct {
	const char *plain, *coded;
} vectors[] = {{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}, {"fooba", "Zm9vYmE="},
	{"foobar", "Zm9vYmFy"}};

START_TEST(base64_vectors)
{
	const char *plain = vectors[_i].plain, *coded = vectors[_i].coded;
	char text[16], bytes[16];
	size_t count;

	ck_assert_uint_eq(base64_length(strlen(plain)), strlen(coded));
	base64_encode(plain, strlen(plain), text);
	ck_assert_str_eq(text, coded);
	ck_assert_int_eq(base64_decode(coded, strlen(coded), bytes, &count), 0);
	ck_assert_uint_eq(count, strlen(plain));
	ck_assert_mem_eq(bytes, plain, count);
}
END_TEST

static const char *const bad_base64[] = {"Z", "Zg",
	"Zg=", "Zg===", "Zh==", "Zm9=", "=Zg=", "Z===", "====", "Zg==Zg==", "Zm9v\n", "Zm 9", "Zm9-", "Zm9_", "Zm9\xff",
	"Zm8=AAAA"};

START_TEST(base64_strict)
{
	char bytes[16];
	size_t count = 7;

	ck_assert_int_eq(base64_decode(bad_base64[_i], strlen(bad_base64[_i]), bytes, &count), -EINVAL);
	ck_assert_uint_eq(count, 7);
}
END_TEST

START_TEST(base64_and_hex_round_trip)
{
	uint64_t state = 1;
	uint8_t bytes[64], back[64];
	char text[160];
	size_t count;

	for (int round = 0; round < 2000; round++) {
		size_t length = next_random(&state) % sizeof bytes;

		for (size_t i = 0; i < length; i++)
			bytes[i] = (uint8_t)next_random(&state);
		base64_encode(bytes, length, text);
		ck_assert_int_eq(base64_decode(text, strlen(text), back, &count), 0);
		ck_assert_uint_eq(count, length);
		ck_assert_int_eq(memcmp(bytes, back, length), 0);
		hex_encode(bytes, length, text);
		ck_assert_uint_eq(strlen(text), 2 * length);
		ck_assert_int_eq(hex_decode(text, length, back), 0);
		ck_assert_int_eq(memcmp(bytes, back, length), 0);
	}
}
END_TEST

START_TEST(hex)
{
	uint8_t bytes[4];
	char text[9];

	hex_encode("\x00\x9f\xff\x10", 4, text);
	ck_assert_str_eq(text, "009fff10");
	ck_assert_int_eq(hex_decode("00AbfF10", 4, bytes), 0);
	ck_assert_mem_eq(bytes, "\x00\xab\xff\x10", 4);
	ck_assert_int_eq(hex_decode("0g", 1, bytes), -EINVAL);
	ck_assert_int_eq(hex_decode("0", 1, bytes), -EINVAL);
	ck_assert_int_eq(hex_decode("", 0, bytes), 0);
}
END_TEST

/* ---- SHA-256 */

/* The vectors of FIPS 180-4 (as NIST gives them): a text, so many times. */
static const struct {
	const char *text;
	int times;
	const char *digest;
} digests[] = {
	{"", 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
	{"abc", 1, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
	{"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
		"248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
	{"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
		1, "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
	{"aaaaaaaaaaaaaaaaaaaa", 50000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"},
};

static void
check_digest(struct sha256 *hash, const char *wanted)
{
	uint8_t digest[SHA256_BYTES];
	char text[2 * SHA256_BYTES + 1];

	ck_assert_int_eq(sha256_final(hash, digest), 0);
	ck_assert_ptr_null(hash->context);
	hex_encode(digest, sizeof digest, text);
	ck_assert_str_eq(text, wanted);
}

START_TEST(sha256_vectors)
{
	struct sha256 hash;

	ck_assert_int_eq(sha256_init(&hash), 0);
	for (int i = 0; i < digests[_i].times; i++)
		sha256_update(&hash, digests[_i].text, strlen(digests[_i].text));
	check_digest(&hash, digests[_i].digest);
}
END_TEST

/* Wherever the bytes are cut, and with empty pieces between. */
START_TEST(sha256_pieces)
{
	const char *text = digests[3].text;

	for (size_t cut = 0; cut <= strlen(text); cut++) {
		struct sha256 hash;

		ck_assert_int_eq(sha256_init(&hash), 0);
		sha256_update(&hash, text, cut);
		sha256_update(&hash, NULL, 0);
		sha256_update(&hash, text + cut, strlen(text) - cut);
		check_digest(&hash, digests[3].digest);
	}
}
END_TEST

START_TEST(sha256_abandoned)
{
	struct sha256 none = {0}, hash, other;

	sha256_abandon(&none);
	ck_assert_int_eq(sha256_init(&hash), 0);
	ck_assert_int_eq(sha256_init(&other), 0);
	sha256_update(&hash, "ab", 2);
	sha256_update(&other, "abc", 3);
	sha256_abandon(&hash);
	sha256_abandon(&hash);
	ck_assert_ptr_null(hash.context);
	check_digest(&other, digests[1].digest);
	sha256_abandon(&other); /* it is over already */
}
END_TEST

/* ---- ids */

START_TEST(ids_grow)
{
	struct id last = id_new(), back;
	char text[ID_TEXT_BYTES];
	int64_t before = wall_ms();

	for (int i = 0; i < 100000; i++) {
		struct id id = id_new();

		ck_assert_int_gt(id_compare(&id, &last), 0);
		last = id;
	}
	id_format(&last, text);
	ck_assert_uint_eq(strlen(text), 36);
	ck_assert_int_eq(text[14], '7');
	ck_assert_ptr_nonnull(strchr("89ab", text[19]));
	ck_assert_int_eq(id_parse(text, &back), 0);
	ck_assert_int_eq(id_compare(&back, &last), 0);

	int64_t stamp = 0;
	for (int i = 0; i < 6; i++)
		stamp = stamp << 8 | last.bytes[i];
	ck_assert_int_ge(stamp, before);
	ck_assert_int_le(stamp, wall_ms() + 100); /* a counter that overflows carries into the time */
}
END_TEST

START_TEST(id_text)
{
	static const char *const refused[] = {"", "019aa0c4-6d0e-7c61-9d3a-2f6f3b9c1f0",
		"019aa0c4-6d0e-7c61-9d3a-2f6f3b9c1f000", "019aa0c46d0e-7c61-9d3a-2f6f3b9c1f00-",
		"019aa0c4-6d0e-7c61-9d3a-2f6f3b9c1f0g", "019aa0c4-6d0e-7c61-9d3a 2f6f3b9c1f00",
		"-19aa0c4-6d0e-7c61-9d3a-2f6f3b9c1f00"};
	struct id id;
	char text[ID_TEXT_BYTES];

	ck_assert_int_eq(id_parse("019AA0C4-6d0e-7c61-9d3a-2f6f3b9c1f00", &id), 0);
	id_format(&id, text);
	ck_assert_str_eq(text, "019aa0c4-6d0e-7c61-9d3a-2f6f3b9c1f00");
	for (int i = 0; i < COUNT(refused); i++)
		ck_assert_int_eq(id_parse(refused[i], &id), -EINVAL);
}
END_TEST

#define IDS_A_THREAD 20000
#define ID_THREADS 4

static struct id many_ids[ID_THREADS][IDS_A_THREAD];

static void *
make_ids(void *ids)
{
	for (struct id *id = ids; id < (struct id *)ids + IDS_A_THREAD; id++)
		*id = id_new();
	return NULL;
}

static int
compare_ids(const void *a, const void *b)
{
	return id_compare(a, b);
}

START_TEST(ids_of_threads)
{
	pthread_t threads[ID_THREADS];
	struct id *all = many_ids[0];

	for (int i = 0; i < ID_THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, make_ids, many_ids[i]), 0);
	for (int i = 0; i < ID_THREADS; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < ID_THREADS; i++)
		for (int k = 1; k < IDS_A_THREAD; k++)
			ck_assert_int_gt(id_compare(&many_ids[i][k], &many_ids[i][k - 1]), 0);
	qsort(all, (size_t)ID_THREADS * IDS_A_THREAD, sizeof *all, compare_ids);
	for (int k = 1; k < ID_THREADS * IDS_A_THREAD; k++)
		ck_assert_int_ne(id_compare(&all[k], &all[k - 1]), 0);
}
END_TEST

/* An id is its two halves and the version; the first half alone has the order. */
START_TEST(ids_in_halves)
{
	struct id last = id_new(), id;

	ck_assert_int_eq(id_parse("019aa0c4-6d0e-7c61-9d3a-2f6f3b9c1f00", &id), 0);
	ck_assert_uint_eq(id_stamp(&id), UINT64_C(0x19aa0c46d0ec61));
	ck_assert_uint_eq(id_tail(&id), UINT64_C(0x9d3a2f6f3b9c1f00));
	for (int i = 0; i < 20000; i++) {
		id = id_new();
		struct id made = id_make(id_stamp(&id), id_tail(&id));

		ck_assert_int_eq(id_compare(&made, &id), 0);
		ck_assert_uint_gt(id_stamp(&id), id_stamp(&last));
		last = id;
	}
}
END_TEST

static const struct {
	uint64_t stamp, tail;
	const char *text;
} halves[] = {
	{0, 0, "00000000-0000-7000-0000-000000000000"},
	{1, 1, "00000000-0000-7001-0000-000000000001"},
	{0xfff, UINT64_C(1) << 63, "00000000-0000-7fff-8000-000000000000"},
	{0x1000, UINT64_C(0xffff) << 48, "00000000-0001-7000-ffff-000000000000"},
	{(UINT64_C(1) << 60) - 1, UINT64_MAX, "ffffffff-ffff-7fff-ffff-ffffffffffff"},
};

START_TEST(ids_out_of_halves)
{
	struct id id = id_make(halves[_i].stamp, halves[_i].tail);
	char text[ID_TEXT_BYTES];

	id_format(&id, text);
	ck_assert_str_eq(text, halves[_i].text);
	ck_assert_uint_eq(id_stamp(&id), halves[_i].stamp);
	ck_assert_uint_eq(id_tail(&id), halves[_i].tail);
}
END_TEST

/* Last of its kind, as it takes the ids of this process far ahead of the clock. */
START_TEST(ids_continue)
{
	struct id id = id_new();
	uint64_t ahead = (id_stamp(&id) >> 12) + 3600000;

	id_continue_after(0); /* the past changes nothing */
	id_continue_after(id_stamp(&id) - 1);
	struct id next = id_new();
	ck_assert_uint_gt(id_stamp(&next), id_stamp(&id));
	ck_assert_uint_lt(id_stamp(&next) >> 12, ahead);
	id_continue_after(ahead << 12 | 5);
	next = id_new();
	ck_assert_uint_eq(id_stamp(&next), ahead << 12 | 6);
	id_continue_after(ahead << 12 | 0xfff); /* a full counter carries into the time */
	next = id_new();
	ck_assert_uint_eq(id_stamp(&next), (ahead + 1) << 12);
	ck_assert_int_eq(next.bytes[6] >> 4, 7);
}
END_TEST

/* ---- the heap, beside an array that is searched from end to end */

#define ITEMS 300

struct item {
	struct heap_node node;
	int key;
};

static bool
item_before(const struct heap_node *a, const struct heap_node *b)
{
	return container_of(a, const struct item, node)->key < container_of(b, const struct item, node)->key;
}

static int
least_key(const struct item *items)
{
	int least = INT32_MAX;

	for (int i = 0; i < ITEMS; i++)
		if (items[i].node.queued && items[i].key < least)
			least = items[i].key;
	return least;
}

static void
check_first(const struct heap *heap, const struct item *items)
{
	const struct heap_node *first = heap_first(heap);
	int key = first != NULL ? container_of(first, const struct item, node)->key : INT32_MAX;
	size_t count = 0;

	for (int i = 0; i < ITEMS; i++)
		count += items[i].node.queued;
	ck_assert_uint_eq(heap->count, count);
	ck_assert_int_eq(key, least_key(items));
}

START_TEST(heap_random)
{
	struct item items[ITEMS] = {0};
	struct heap heap;
	uint64_t state = (uint64_t)_i + 1;

	heap_init(&heap, item_before);
	for (int step = 0; step < 20000; step++) {
		struct item *item = &items[next_random(&state) % ITEMS];

		if (next_random(&state) % 8 == 0) {
			heap_pop(&heap);
		} else if (item->node.queued) {
			heap_remove(&heap, &item->node);
		} else {
			item->key = (int)(next_random(&state) % 100);
			heap_insert(&heap, &item->node);
		}
		check_first(&heap, items);
	}
	for (int last = INT32_MIN; heap.count > 0;) {
		struct item *item = container_of(heap_pop(&heap), struct item, node);

		ck_assert_int_ge(item->key, last);
		last = item->key;
	}
	ck_assert_ptr_null(heap_first(&heap));
	ck_assert_ptr_null(heap_pop(&heap));
}
END_TEST

START_TEST(heap_remove_twice)
{
	struct item items[ITEMS] = {{.key = 2}, {.key = 1}};
	struct heap heap;

	heap_init(&heap, item_before);
	heap_insert(&heap, &items[0].node);
	heap_insert(&heap, &items[1].node);
	heap_remove(&heap, &items[1].node);
	heap_remove(&heap, &items[1].node);
	check_first(&heap, items);
}
END_TEST

/* ---- lists, arenas, buffers */

struct member {
	int value;
	struct list node;
};

/* The values on the list as digits, first to last; walks back as well. */
static int
digits_of(const struct list *list)
{
	int forward = 0, backward = 0, scale = 1;

	LIST_FOR_EACH(node, list)
		forward = forward * 10 + container_of(node, struct member, node)->value;
	for (struct list *node = list->prev; node != list; node = node->prev, scale *= 10)
		backward += scale * container_of(node, struct member, node)->value;
	ck_assert_int_eq(forward, backward);
	return forward;
}

START_TEST(lists)
{
	struct member members[6];
	struct list a, b;

	list_init(&a);
	list_init(&b);
	for (int i = 0; i < 6; i++) {
		members[i].value = i;
		list_init(&members[i].node);
		ck_assert(list_empty(&members[i].node));
	}
	ck_assert(list_empty(&a));
	ck_assert_ptr_null(list_pop_front(&a));
	list_push_back(&a, &members[2].node);
	list_push_back(&a, &members[3].node);
	list_insert_before(&members[2].node, &members[1].node);
	list_insert_before(&members[3].node, &members[5].node);
	ck_assert_int_eq(digits_of(&a), 1253);
	list_remove(&members[5].node);
	list_remove(&members[5].node);
	ck_assert_int_eq(digits_of(&a), 123);
	list_splice(&b, &a);
	ck_assert(list_empty(&a));
	list_splice(&b, &a);
	list_push_back(&a, &members[4].node);
	list_push_back(&a, &members[5].node);
	list_splice(&b, &a);
	ck_assert_int_eq(digits_of(&b), 12345);
	ck_assert_ptr_eq(list_pop_front(&b), &members[1].node);
	ck_assert(list_empty(&members[1].node));
	ck_assert_int_eq(digits_of(&b), 2345);
}
END_TEST

START_TEST(arenas)
{
	struct arena arena = {0};
	char *pieces[200];

	for (int i = 0; i < COUNT(pieces); i++) {
		size_t size = (size_t)i * 37 % 700;

		pieces[i] = arena_alloc(&arena, size);
		ck_assert_ptr_nonnull(pieces[i]);
		ck_assert_uint_eq((uintptr_t)pieces[i] % alignof(max_align_t), 0);
		for (size_t k = 0; k < size; k++)
			ck_assert_int_eq(pieces[i][k], 0);
		memset(pieces[i], i, size);
	}
	for (int i = 0; i < COUNT(pieces); i++)
		for (size_t k = 0; k < (size_t)i * 37 % 700; k++)
			ck_assert_int_eq((unsigned char)pieces[i][k], i);
	ck_assert_str_eq(arena_copy(&arena, "abcdef", 3), "abc");
	ck_assert_str_eq(arena_string(&arena, ""), "");
	ck_assert_ptr_nonnull(arena_alloc(&arena, 100000));
	ck_assert_uint_gt(arena.bytes, 100000);
	ck_assert_ptr_null(arena_alloc(&arena, SIZE_MAX));
	ck_assert_ptr_null(arena_alloc(&arena, SIZE_MAX - 20));
	ck_assert_ptr_null(arena_copy(&arena, "", SIZE_MAX));
	arena_release(&arena);
	ck_assert_uint_eq(arena.bytes, 0);
	arena_release(&arena);
}
END_TEST

START_TEST(buffers)
{
	struct buffer buffer = {0};
	char wanted[3000] = "";

	for (int i = 0; i < 500; i++) {
		buffer_printf(&buffer, "%d,", i);
		snprintf(wanted + strlen(wanted), sizeof wanted - strlen(wanted), "%d,", i);
	}
	buffer_append(&buffer, NULL, 0);
	buffer_append(&buffer, "a\0b", 3);
	buffer_append_char(&buffer, 'c');
	buffer_append_string(&buffer, "de");
	ck_assert(!buffer.failed);
	ck_assert_uint_eq(buffer.count, strlen(wanted) + 6);
	char *text = buffer_steal(&buffer);
	ck_assert_mem_eq(text + strlen(wanted), "a\0bcde", 7);
	text[strlen(wanted)] = '\0';
	ck_assert_str_eq(text, wanted);
	free(text);
	ck_assert_ptr_null(buffer.data);
	ck_assert_uint_eq(buffer.count, 0);

	text = buffer_steal(&buffer);
	ck_assert_str_eq(text, "");
	free(text);
}
END_TEST

START_TEST(buffer_without_memory)
{
	struct buffer buffer = {0};

	buffer_append_string(&buffer, "abc");
	ck_assert_int_eq(buffer_reserve(&buffer, SIZE_MAX), -ENOMEM);
	ck_assert(buffer.failed);
	ck_assert_ptr_null(buffer_steal(&buffer));
	ck_assert_ptr_null(buffer.data);
	ck_assert(!buffer.failed);
}
END_TEST

static TCase *
clock_tests(void)
{
	TCase *tests = tcase_create("clock");

	tcase_add_loop_test(tests, duration_read, 0, COUNT(durations));
	tcase_add_test(tests, duration_numbers);
	tcase_add_test(tests, duration_written);
	tcase_add_loop_test(tests, time_read, 0, COUNT(times));
	tcase_add_test(tests, time_calendar);
	tcase_add_test(tests, clocks_run);
	return tests;
}

static TCase *
text_tests(void)
{
	TCase *tests = tcase_create("text");

	tcase_add_loop_test(tests, size_read, 0, COUNT(sizes));
	tcase_add_test(tests, size_written);
	tcase_add_loop_test(tests, utf8_read, 0, COUNT(utf8));
	tcase_add_test(tests, utf8_bounds);
	tcase_add_test(tests, tokens);
	tcase_add_test(tests, letters);
	tcase_add_test(tests, integers);
	tcase_add_loop_test(tests, base64_vectors, 0, COUNT(vectors));
	tcase_add_loop_test(tests, base64_strict, 0, COUNT(bad_base64));
	tcase_add_test(tests, base64_and_hex_round_trip);
	tcase_add_test(tests, hex);
	return tests;
}

static TCase *
sha256_tests(void)
{
	TCase *tests = tcase_create("sha256");

	tcase_add_loop_test(tests, sha256_vectors, 0, COUNT(digests));
	tcase_add_test(tests, sha256_pieces);
	tcase_add_test(tests, sha256_abandoned);
	return tests;
}

static TCase *
id_tests(void)
{
	TCase *tests = tcase_create("id");

	tcase_add_test(tests, ids_grow);
	tcase_add_test(tests, id_text);
	tcase_add_test(tests, ids_of_threads);
	tcase_add_test(tests, ids_in_halves);
	tcase_add_loop_test(tests, ids_out_of_halves, 0, COUNT(halves));
	tcase_add_test(tests, ids_continue);
	return tests;
}

static TCase *
container_tests(void)
{
	TCase *tests = tcase_create("containers");

	tcase_add_loop_test(tests, heap_random, 0, 5);
	tcase_add_test(tests, heap_remove_twice);
	tcase_add_test(tests, lists);
	tcase_add_test(tests, arenas);
	tcase_add_test(tests, buffers);
	tcase_add_test(tests, buffer_without_memory);
	return tests;
}

int
main(void)
{
	TCase *(*const groups[])(void) = {clock_tests, text_tests, sha256_tests, id_tests, container_tests};
	Suite *suite = suite_create("base");

	for (int i = 0; i < COUNT(groups); i++) {
		TCase *tests = groups[i]();

		tcase_set_timeout(tests, 60); /* sanitizers on a busy machine */
		suite_add_tcase(suite, tests);
	}
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
