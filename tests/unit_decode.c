/*
 * The content codings: whole streams in pieces of any size, streams that end early or are broken, what may follow a
 * stream, chains, and outputs that stop. gzip and deflate are made here by zlib; br and zstd are constants or made by
 * hand, and skipped where they are not built in.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>
#include <zlib.h>

#include "fetch/decode.h"

#define COUNT(table) ((int)(sizeof(table) / sizeof *(table)))

#define TEXT "A body is whole when its last byte is, and not before: a body that ends before its last byte is no body."
#define TEXT_BYTES (sizeof TEXT - 1)

#define ZEROS_BYTES ((size_t)10 * 1024 * 1024)

/* TEXT at quality 11. */
static const unsigned char text_br[] = {0x1b, 0x67, 0x00, 0x68, 0x05, 0xe4, 0x64, 0xa9, 0xbe, 0x64, 0x4d, 0x8a, 0x8c,
	0xa0, 0x10, 0x28, 0x9c, 0x72, 0xc0, 0xde, 0x0a, 0xa4, 0xc0, 0xfa, 0x0e, 0x78, 0x90, 0x7b, 0xc0, 0x5d, 0xb1,
	0x5a, 0x11, 0xe3, 0x58, 0x41, 0xa8, 0xad, 0xa9, 0xd2, 0xb1, 0x1b, 0xaf, 0xff, 0x25, 0xb5, 0x77, 0x32, 0x1a,
	0x54, 0x30, 0xfe, 0xa1, 0x9b, 0x1d, 0xcb, 0xbf, 0x3a, 0xf4, 0x10, 0x2a};

/* TEXT with a large window, which is another format. */
static const unsigned char large_br[] = {0x11, 0x5a, 0x9c, 0x01, 0xa0, 0x15, 0x90, 0x93, 0xa5, 0xfa, 0x92, 0x35, 0x29,
	0x32, 0x82, 0x42, 0xa0, 0x70, 0xca, 0x01, 0x7b, 0x2b, 0x90, 0x02, 0xeb, 0x3b, 0xe0, 0x41, 0xee, 0x01, 0x77,
	0xc5, 0x6a, 0x45, 0x8c, 0x63, 0x05, 0xa1, 0xb6, 0xa6, 0x4a, 0xc7, 0x6e, 0xbc, 0xfe, 0x97, 0xd4, 0xde, 0xc9,
	0x68, 0x50, 0xc1, 0xf8, 0x87, 0x6e, 0x76, 0x2c, 0xff, 0xea, 0xd0, 0x43, 0xa8};

/* TEXT at level 19, with a checksum. */
static const unsigned char text_zstd[] = {0x28, 0xb5, 0x2f, 0xfd, 0x24, 0x68, 0x35, 0x02, 0x00, 0xa2, 0x04, 0x0e, 0x11,
	0xc0, 0x6b, 0x0c, 0x66, 0x09, 0x5f, 0x62, 0x5b, 0xcb, 0x72, 0xeb, 0xdd, 0xd3, 0x0f, 0xae, 0xe5, 0x04, 0xa1,
	0x99, 0x2c, 0x27, 0xae, 0x06, 0xef, 0x25, 0x68, 0xc9, 0xe2, 0x56, 0x9e, 0x2b, 0x6f, 0xe2, 0x06, 0xc9, 0x40,
	0xd3, 0xb7, 0xad, 0xbc, 0x4a, 0xd4, 0xba, 0x69, 0x3c, 0xc4, 0x3e, 0x95, 0x88, 0xad, 0xe9, 0x66, 0xb2, 0x3c,
	0x02, 0x03, 0x00, 0x5d, 0x4d, 0xc0, 0xd3, 0x1d, 0xd4, 0x98, 0x82, 0x02, 0x03, 0x2b, 0xd4, 0x85};

/* ZEROS_BYTES of zero. */
static const unsigned char zeros_br[] = {0xcb, 0xff, 0xff, 0x3f, 0x00, 0x24, 0x00, 0xe2, 0xb1, 0x40, 0x72, 0xef, 0xff,
	0xf2, 0xff, 0xff, 0x03, 0x80, 0x04, 0x40, 0x1c, 0x16, 0x80, 0xee, 0xfd, 0x07};

/* ---- bytes */

struct bytes {
	unsigned char *data;
	size_t count;
};

static struct bytes
bytes_of(const void *data, size_t count)
{
	struct bytes bytes = {malloc(count + 1), count};

	ck_assert_ptr_nonnull(bytes.data);
	memcpy(bytes.data, data, count);
	return bytes;
}

/* Both are used up. */
static struct bytes
joined(struct bytes a, struct bytes b)
{
	a.data = realloc(a.data, a.count + b.count + 1);
	ck_assert_ptr_nonnull(a.data);
	memcpy(a.data + a.count, b.data, b.count);
	a.count += b.count;
	free(b.data);
	return a;
}

static struct bytes
zeros(size_t count)
{
	struct bytes bytes = {calloc(count, 1), count};

	ck_assert_ptr_nonnull(bytes.data);
	return bytes;
}

/* ---- encoders */

enum { WRAP_RAW = -15, WRAP_ZLIB = 15, WRAP_GZIP = 31 };

/* Uses plain up. */
static struct bytes
deflated(int wrap, struct bytes plain)
{
	z_stream stream = {0};
	ck_assert_int_eq(deflateInit2(&stream, 9, Z_DEFLATED, wrap, 8, Z_DEFAULT_STRATEGY), Z_OK);
	size_t room = deflateBound(&stream, plain.count);
	struct bytes made = {malloc(room), 0};

	ck_assert_ptr_nonnull(made.data);
	stream.next_in = plain.data;
	stream.avail_in = (uInt)plain.count;
	stream.next_out = made.data;
	stream.avail_out = (uInt)room;
	ck_assert_int_eq(deflate(&stream, Z_FINISH), Z_STREAM_END);
	made.count = room - stream.avail_out;
	deflateEnd(&stream);
	free(plain.data);
	return made;
}

static struct bytes
gzipped(const char *text)
{
	return deflated(WRAP_GZIP, bytes_of(text, strlen(text)));
}

/* A zstd frame of so many blocks of 128 KiB of zeros (RFC 8878, 3.1.1), which asks for a window of 1 << log bytes. */
static struct bytes
zstd_zeros(int log, size_t blocks)
{
	const unsigned char head[] = {0x28, 0xb5, 0x2f, 0xfd, 0, (unsigned char)((log - 10) << 3)};
	const unsigned block = 128 * 1024;
	struct bytes made = bytes_of(head, sizeof head);

	for (size_t i = 0; i < blocks; i++) {
		unsigned field = block << 3 | 1 << 1 | (i + 1 == blocks); /* repeats the byte after it */
		const unsigned char rle[] = {field & 0xff, field >> 8 & 0xff, field >> 16 & 0xff, 0};
		made = joined(made, bytes_of(rle, sizeof rle));
	}
	return made;
}

/* ---- decoding */

static unsigned char taken[256 * 1024]; /* what came out, its beginning */
static size_t taken_bytes;
static size_t pieces, pieces_after_stop;
static size_t cap; /* from so many bytes on the output stops */

static int
take(void *context, const void *bytes, size_t count)
{
	ck_assert_ptr_eq(context, taken);
	ck_assert_uint_gt(count, 0);
	ck_assert_uint_le(count, DECODE_PIECE_BYTES);
	if (taken_bytes >= cap)
		pieces_after_stop++;
	if (taken_bytes + count <= sizeof taken)
		memcpy(taken + taken_bytes, bytes, count);
	taken_bytes += count;
	pieces++;
	return taken_bytes >= cap ? -EFBIG : 0;
}

static struct decoder *
decoder_of(const char *list)
{
	int error = -1;
	struct decoder *decoder = decoder_new(list, take, taken, &error);

	ck_assert_msg(decoder != NULL, "%s: %d", list, error);
	ck_assert_int_eq(error, 0);
	taken_bytes = pieces = pieces_after_stop = 0;
	cap = SIZE_MAX;
	return decoder;
}

/* Each piece lies in memory of its very size, for the address sanitizer. */
static int
write_exactly(struct decoder *decoder, const unsigned char *bytes, size_t count)
{
	unsigned char *copy = malloc(count);

	ck_assert_ptr_nonnull(copy);
	memcpy(copy, bytes, count);
	int error = decoder_write(decoder, copy, count);
	free(copy);
	return error;
}

/* Decodes in pieces of at most step bytes. Returns the first error. */
static int
decode(const char *list, struct bytes coded, size_t step)
{
	struct decoder *decoder = decoder_of(list);
	int error = 0;

	for (size_t at = 0; at < coded.count && error == 0; at += step)
		error = write_exactly(decoder, coded.data + at, coded.count - at < step ? coded.count - at : step);
	if (error != 0) {
		size_t before = pieces;
		ck_assert_int_eq(decoder_write(decoder, "x", 1), error);
		ck_assert_int_eq(decoder_finish(decoder), error);
		ck_assert_uint_eq(pieces, before);
	} else {
		error = decoder_finish(decoder);
	}
	decoder_free(decoder);
	return error;
}

static bool
took(const char *text)
{
	return taken_bytes == strlen(text) && memcmp(taken, text, taken_bytes) == 0;
}

/* Uses coded up. */
static void
expect(const char *list, struct bytes coded, int error, const char *text)
{
	for (size_t step = 1; step <= coded.count + 1; step = step < 8 ? step + 1 : step * 2) {
		int found = decode(list, coded, step);
		ck_assert_msg(found == error, "%s by %zu: %d", list, step, found);
		if (text != NULL)
			ck_assert_msg(took(text), "%s by %zu: took %.*s", list, step, (int)taken_bytes, taken);
	}
	free(coded.data);
}

static bool
built_in(const char *coding)
{
	return strstr(decode_accepted(), coding) != NULL;
}

/* ---- samples: TEXT in each coding */

static const struct sample {
	const char *list;
	int wrap; /* made by zlib; else the constant */
	const unsigned char *bytes;
	size_t count;
	bool optional;
	bool checked; /* the coding has a checksum: no bit can change unseen */
} samples[] = {
	{.list = "gzip", .wrap = WRAP_GZIP, .checked = true},
	{.list = "deflate", .wrap = WRAP_ZLIB, .checked = true},
	{.list = "deflate", .wrap = WRAP_RAW},
	{.list = "br", .bytes = text_br, .count = sizeof text_br, .optional = true},
	{.list = "zstd", .bytes = text_zstd, .count = sizeof text_zstd, .optional = true, .checked = true},
};

/* False when the coding is not built in. */
static bool
sample_bytes(const struct sample *sample, struct bytes *ret)
{
	if (sample->optional && !built_in(sample->list))
		return false;
	*ret = sample->wrap == 0 ? bytes_of(sample->bytes, sample->count)
				 : deflated(sample->wrap, bytes_of(TEXT, TEXT_BYTES));
	return true;
}

START_TEST(decodes)
{
	struct bytes coded;

	if (sample_bytes(&samples[_i], &coded))
		expect(samples[_i].list, coded, 0, TEXT);
}
END_TEST

START_TEST(sees_the_early_end)
{
	const struct sample *sample = &samples[_i];
	struct bytes coded;

	if (!sample_bytes(sample, &coded))
		return;
	for (size_t count = 1; count < coded.count; count++) {
		struct bytes part = {coded.data, count};
		ck_assert_msg(decode(sample->list, part, count) == -EBADMSG, "%s of %zu", sample->list, count);
		ck_assert_msg(decode(sample->list, part, 1) == -EBADMSG, "%s of %zu by 1", sample->list, count);
	}
	free(coded.data);
}
END_TEST

START_TEST(sees_broken_data)
{
	const struct sample *sample = &samples[_i];
	struct bytes coded;
	size_t refused = 0;

	if (!sample_bytes(sample, &coded))
		return;
	for (size_t bit = 0; bit < coded.count * 8; bit++) {
		coded.data[bit / 8] ^= (unsigned char)(1 << bit % 8);
		int error = decode(sample->list, coded, 7);
		coded.data[bit / 8] ^= (unsigned char)(1 << bit % 8);
		ck_assert(error == 0 || error == -EBADMSG);
		/* Some bits mean nothing: a gzip head's time, the fill after the last block. */
		ck_assert_msg(error != 0 || !sample->checked || took(TEXT), "%s, bit %zu", sample->list, bit);
		refused += error != 0;
	}
	ck_assert_uint_gt(refused, coded.count * 8 / (sample->checked ? 2 : 8));
	free(coded.data);
}
END_TEST

START_TEST(takes_an_empty_body)
{
	struct bytes coded;

	if (!sample_bytes(&samples[_i], &coded))
		return;
	struct decoder *decoder = decoder_of(samples[_i].list);
	ck_assert_int_eq(decoder_write(decoder, "", 0), 0);
	ck_assert_int_eq(decoder_finish(decoder), 0);
	ck_assert_uint_eq(pieces, 0);
	decoder_free(decoder);
	free(coded.data);
}
END_TEST

/* A body whose pieces end anywhere, among them ends that fill a piece to its last byte. */
START_TEST(decodes_every_length)
{
	static const int lengths[] = {0, 1, DECODE_PIECE_BYTES - 1, DECODE_PIECE_BYTES, DECODE_PIECE_BYTES + 1,
		2 * DECODE_PIECE_BYTES, 5 * DECODE_PIECE_BYTES + 7};
	static const int wraps[] = {WRAP_GZIP, WRAP_ZLIB, WRAP_RAW};

	for (int i = 0; i < COUNT(lengths) * COUNT(wraps); i++) {
		size_t length = (size_t)lengths[i / COUNT(wraps)];
		int wrap = wraps[i % COUNT(wraps)];
		struct bytes plain = zeros(length);
		for (size_t at = 0; at < length; at++)
			plain.data[at] = (unsigned char)(at * at >> 3);
		struct bytes coded = deflated(wrap, bytes_of(plain.data, length));
		for (int step = 1; step < 40000; step = step * 3 + 1) {
			ck_assert_int_eq(decode(wrap == WRAP_GZIP ? "gzip" : "deflate", coded, (size_t)step), 0);
			ck_assert_uint_eq(taken_bytes, length);
			ck_assert(memcmp(taken, plain.data, length) == 0);
		}
		free(coded.data);
		free(plain.data);
	}
}
END_TEST

/* ---- what follows a stream */

START_TEST(joins_gzip_members)
{
	struct bytes three = joined(joined(gzipped("one "), gzipped("")), gzipped("three"));
	struct bytes cut = bytes_of(three.data, three.count - 1), begun = bytes_of(three.data, three.count);

	expect("gzip", three, 0, "one three");
	expect("gzip", cut, -EBADMSG, "one three");
	expect("gzip", joined(begun, bytes_of("\x1f", 1)), -EBADMSG, "one three");
	expect("gzip", joined(gzipped("one"), deflated(WRAP_ZLIB, bytes_of("two", 3))), -EBADMSG, "one");
	expect("gzip", deflated(WRAP_ZLIB, bytes_of("two", 3)), 0, "two");
}
END_TEST

START_TEST(judges_what_follows)
{
	struct bytes raw = deflated(WRAP_RAW, bytes_of("raw", 3));

	expect("gzip", joined(gzipped("one"), zeros(1)), 0, "one");
	expect("gzip", joined(gzipped("one"), zeros(1000)), 0, "one");
	expect("gzip", joined(joined(gzipped("one"), zeros(3)), gzipped("two")), -EBADMSG, "one");
	expect("gzip", joined(gzipped("one"), bytes_of("x", 1)), -EBADMSG, "one");
	expect("deflate", joined(deflated(WRAP_ZLIB, bytes_of("one", 3)), zeros(1)), -EBADMSG, "one");
	expect("deflate", joined(bytes_of(raw.data, raw.count), bytes_of("1234", 4)), 0, "raw");
	expect("deflate", joined(raw, bytes_of("12345", 5)), -EBADMSG, "raw");
	if (built_in("br"))
		expect("br", joined(bytes_of(text_br, sizeof text_br), zeros(1)), -EBADMSG, NULL);
	if (built_in("zstd"))
		expect("zstd", joined(bytes_of(text_zstd, sizeof text_zstd), zeros(1)), -EBADMSG, TEXT);
}
END_TEST

START_TEST(joins_zstd_frames)
{
	static const char skipped[] = "\x50\x2a\x4d\x18\3\0\0\0abc";

	if (!built_in("zstd"))
		return;
	struct bytes first = bytes_of(text_zstd, sizeof text_zstd), second = bytes_of(text_zstd, sizeof text_zstd);
	expect("zstd", joined(joined(first, bytes_of(skipped, sizeof skipped - 1)), second), 0, TEXT TEXT);
	first = bytes_of(text_zstd, sizeof text_zstd);
	expect("zstd", joined(first, bytes_of(skipped, sizeof skipped - 2)), -EBADMSG, TEXT);
}
END_TEST

/* ---- windows */

START_TEST(bounds_windows)
{
	if (built_in("br"))
		expect("br", bytes_of(large_br, sizeof large_br), -EBADMSG, "");
	if (!built_in("zstd"))
		return;
	expect("zstd", zstd_zeros(23, 1), 0, NULL);
	ck_assert_uint_eq(taken_bytes, 128 * 1024);
	expect("zstd", zstd_zeros(24, 1), -EBADMSG, "");
	expect("zstd", zstd_zeros(31, 1), -EBADMSG, "");
}
END_TEST

/* ---- lists */

START_TEST(reads_lists)
{
	static const struct {
		const char *list;
		int error; /* 1: there is something to decode */
	} table[] = {
		{"", 0},
		{" ,\t, ", 0},
		{"identity", 0},
		{"Identity, identity,none", 0},
		{"gzip", 1},
		{"X-GZip", 1},
		{"\t gzip \t", 1},
		{",,gzip , identity,", 1},
		{"gzip, gzip, deflate, deflate, gzip", 1},
		{"gzip, gzip, gzip, gzip, gzip, identity, identity", 1},
		{"gzip, gzip, gzip, gzip, gzip, gzip", -E2BIG},
		{"compress", -EPROTONOSUPPORT},
		{"gzip, compress", -EPROTONOSUPPORT},
		{"compress, gzip", -EPROTONOSUPPORT},
		{"gzi", -EPROTONOSUPPORT},
		{"gzipp", -EPROTONOSUPPORT},
		{"gzip gzip", -EPROTONOSUPPORT},
		{"gzip;q=1", -EPROTONOSUPPORT},
		{"\"gzip\"", -EPROTONOSUPPORT},
		{"*", -EPROTONOSUPPORT},
	};

	for (int i = 0; i < COUNT(table); i++) {
		int error = -1;
		struct decoder *decoder = decoder_new(table[i].list, take, taken, &error);
		ck_assert_msg(error == (table[i].error == 1 ? 0 : table[i].error), "%s: %d", table[i].list, error);
		ck_assert_msg((decoder != NULL) == (table[i].error == 1), "%s", table[i].list);
		decoder_free(decoder);
	}
}
END_TEST

START_TEST(accepts_what_it_takes)
{
	char list[64], *rest = list;

	ck_assert_int_lt(snprintf(list, sizeof list, "%s", decode_accepted()), (int)sizeof list);
	ck_assert_int_eq(strncmp(list, "gzip", 4), 0);
	for (char *name; (name = strsep(&rest, ",")) != NULL;)
		decoder_free(decoder_of(name));
	if (!built_in("br")) {
		int error = 0;
		ck_assert_ptr_null(decoder_new("br", take, taken, &error));
		ck_assert_int_eq(error, -EPROTONOSUPPORT);
	}
}
END_TEST

/* ---- chains */

START_TEST(decodes_chains)
{
	struct bytes once = gzipped(TEXT);
	struct bytes twice = deflated(WRAP_GZIP, bytes_of(once.data, once.count));
	struct bytes cut = deflated(WRAP_GZIP, bytes_of(once.data, once.count - 1));
	struct bytes mixed = deflated(WRAP_ZLIB, bytes_of(once.data, once.count));

	expect("gzip, gzip", bytes_of(twice.data, twice.count), 0, TEXT);
	expect("gzip,identity,x-gzip", bytes_of(twice.data, twice.count), 0, TEXT);
	expect("gzip, gzip", bytes_of(twice.data, twice.count - 1), -EBADMSG, TEXT);
	expect("gzip, gzip", cut, -EBADMSG, NULL);
	expect("gzip, gzip", bytes_of(once.data, once.count), -EBADMSG, "");
	expect("gzip, deflate", bytes_of(mixed.data, mixed.count), 0, TEXT);
	expect("deflate, gzip", bytes_of(mixed.data, mixed.count), -EBADMSG, NULL);
	expect("gzip, gzip", gzipped(""), -EBADMSG, ""); /* the inner stream has no end */
	expect("gzip, gzip", bytes_of("", 0), 0, "");
	if (built_in("br"))
		expect("br, gzip", deflated(WRAP_GZIP, bytes_of(text_br, sizeof text_br)), 0, TEXT);
	if (built_in("zstd"))
		expect("zstd, gzip", deflated(WRAP_GZIP, bytes_of(text_zstd, sizeof text_zstd)), 0, TEXT);
	free(once.data);
	free(twice.data);
	free(mixed.data);
}
END_TEST

START_TEST(decodes_five)
{
	struct bytes coded = bytes_of(TEXT, TEXT_BYTES);

	for (int i = 0; i < DECODE_MAX_CODINGS; i++)
		coded = deflated(i % 2 ? WRAP_ZLIB : WRAP_GZIP, coded);
	expect("gzip, deflate, gzip, deflate, gzip", coded, 0, TEXT);
}
END_TEST

/* A large body through a chain: what is handed from layer to layer is as large as the body, and is no offence. */
START_TEST(decodes_large_chains)
{
	struct bytes noise = zeros(4 * 1024 * 1024);
	uint32_t x = 1;

	for (size_t i = 0; i < noise.count; i++) {
		x = x * 1664525 + 1013904223;
		noise.data[i] = (unsigned char)(x >> 24);
	}
	struct bytes coded = deflated(WRAP_GZIP, deflated(WRAP_GZIP, noise));
	ck_assert_uint_gt(coded.count, 4 * 1024 * 1024);
	ck_assert_int_eq(decode("gzip, gzip", coded, 10000), 0);
	ck_assert_uint_eq(taken_bytes, 4 * 1024 * 1024);
	free(coded.data);
}
END_TEST

/* ---- stops and bombs */

/* Uses coded up, which is ZEROS_BYTES of zero. */
static void
expect_stops(const char *list, struct bytes coded)
{
	static const size_t caps[] = {1, DECODE_PIECE_BYTES, DECODE_PIECE_BYTES + 1, 1024 * 1024, ZEROS_BYTES};

	ck_assert_int_eq(decode(list, coded, coded.count), 0);
	ck_assert_uint_eq(taken_bytes, ZEROS_BYTES);
	for (int i = 0; i < COUNT(caps); i++) {
		struct decoder *decoder = decoder_of(list);
		cap = caps[i];
		ck_assert_int_eq(decoder_write(decoder, coded.data, coded.count), -EFBIG);
		ck_assert_uint_lt(taken_bytes, cap + DECODE_PIECE_BYTES);
		ck_assert_int_eq(decoder_write(decoder, coded.data, coded.count), -EFBIG);
		ck_assert_int_eq(decoder_finish(decoder), -EFBIG);
		ck_assert_uint_eq(pieces_after_stop, 0);
		decoder_free(decoder);
	}
	free(coded.data);
}

START_TEST(stops_at_once)
{
	expect_stops("gzip", deflated(WRAP_GZIP, zeros(ZEROS_BYTES)));
	expect_stops("deflate", deflated(WRAP_RAW, zeros(ZEROS_BYTES)));
	expect_stops("gzip, gzip", deflated(WRAP_GZIP, deflated(WRAP_GZIP, zeros(ZEROS_BYTES))));
	if (built_in("br"))
		expect_stops("br", bytes_of(zeros_br, sizeof zeros_br));
	if (built_in("zstd"))
		expect_stops("zstd", zstd_zeros(17, 80));
}
END_TEST

/* A layer that makes many bytes which come to nothing in the next: no cap of the output would ever end that. */
START_TEST(stops_hidden_bombs)
{
	struct bytes padded = deflated(WRAP_GZIP, joined(gzipped("x"), zeros(ZEROS_BYTES)));
	struct bytes little = deflated(WRAP_GZIP, joined(gzipped("x"), zeros(512 * 1024)));

	/* Empty stored blocks. */
	struct bytes blocks = zeros(ZEROS_BYTES);
	for (size_t i = 0; i + 5 <= blocks.count; i += 5)
		memcpy(blocks.data + i, "\0\0\0\xff\xff", 5);
	blocks = deflated(WRAP_GZIP, blocks);

	ck_assert_int_eq(decode("gzip, gzip", padded, padded.count), -EBADMSG);
	ck_assert(took("x"));
	ck_assert_int_eq(decode("gzip, gzip", little, little.count), 0);
	ck_assert(took("x"));
	ck_assert_int_eq(decode("deflate, gzip", blocks, blocks.count), -EBADMSG);
	ck_assert_uint_eq(pieces, 0);
	free(padded.data);
	free(little.data);
	free(blocks.data);
}
END_TEST

static size_t swallowed;

static int
swallow(void *context, const void *bytes, size_t count)
{
	(void)context, (void)bytes;
	swallowed += count;
	return 0;
}

/* Gives the coded bytes in pieces of this size to a decoder with this limit; the first error. */
static int
decode_limited(const char *list, struct bytes coded, size_t piece, int64_t max_ratio)
{
	int error = -1;
	struct decoder *decoder = decoder_new(list, swallow, NULL, &error);

	swallowed = 0;
	decoder_limit_ratio(decoder, max_ratio);
	error = 0;
	for (size_t at = 0; at < coded.count && error == 0; at += piece)
		error = decoder_write(decoder, coded.data + at, coded.count - at < piece ? coded.count - at : piece);
	if (error == 0)
		error = decoder_finish(decoder);
	decoder_free(decoder);
	return error;
}

START_TEST(bounds_the_ratio)
{
	struct bytes once = deflated(WRAP_GZIP, zeros(ZEROS_BYTES));
	struct bytes twice = deflated(WRAP_GZIP, deflated(WRAP_GZIP, zeros(ZEROS_BYTES)));
	struct bytes small = deflated(WRAP_GZIP, zeros(DECODE_FREE_BYTES));
	int64_t exact = (int64_t)(ZEROS_BYTES / once.count + 1);

	ck_assert_int_eq(decode_limited("gzip", once, 512, 100), -EOVERFLOW);
	ck_assert_uint_le(swallowed, DECODE_FREE_BYTES + 100 * 512);
	ck_assert_int_eq(decode_limited("gzip", once, once.count, exact), 0);
	ck_assert_int_eq(decode_limited("gzip", once, once.count, exact - 1), -EOVERFLOW);
	ck_assert_int_eq(decode_limited("gzip", once, 512, 2000), 0); /* gzip comes to 1032 at most */
	ck_assert_int_eq(decode_limited("gzip, gzip", twice, 512, 2000), -EOVERFLOW);
	ck_assert_int_eq(decode_limited("gzip", small, 512, 1), 0);
	free(once.data);
	free(twice.data);
	free(small.data);
}
END_TEST

static int
refuse(void *context, const void *bytes, size_t count)
{
	(void)bytes, (void)count;
	return *(const int *)context;
}

START_TEST(passes_errors_on)
{
	static const int errors[] = {-EFBIG, -ENOSPC, -EIO, -ENOMEM, -EBADMSG};
	struct bytes once = gzipped(TEXT), twice = deflated(WRAP_GZIP, gzipped(TEXT));

	for (int i = 0; i < COUNT(errors); i++) {
		int error = -1, told = errors[i];
		struct decoder *one = decoder_new("gzip", refuse, &told, &error);
		struct decoder *two = decoder_new("gzip, gzip", refuse, &told, &error);
		ck_assert_int_eq(decoder_write(one, once.data, once.count), told);
		ck_assert_int_eq(decoder_write(two, twice.data, twice.count), told);
		ck_assert_int_eq(decoder_finish(two), told);
		decoder_free(one);
		decoder_free(two);
	}
	free(once.data);
	free(twice.data);
	decoder_free(NULL);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("decode");
	TCase *cases = tcase_create("decode");
	SRunner *runner = srunner_create(suite);

	suite_add_tcase(suite, cases);
	tcase_set_timeout(cases, 60);
	tcase_add_loop_test(cases, decodes, 0, COUNT(samples));
	tcase_add_loop_test(cases, sees_the_early_end, 0, COUNT(samples));
	tcase_add_loop_test(cases, sees_broken_data, 0, COUNT(samples));
	tcase_add_loop_test(cases, takes_an_empty_body, 0, COUNT(samples));
	tcase_add_test(cases, decodes_every_length);
	tcase_add_test(cases, joins_gzip_members);
	tcase_add_test(cases, judges_what_follows);
	tcase_add_test(cases, joins_zstd_frames);
	tcase_add_test(cases, bounds_windows);
	tcase_add_test(cases, reads_lists);
	tcase_add_test(cases, accepts_what_it_takes);
	tcase_add_test(cases, decodes_chains);
	tcase_add_test(cases, decodes_five);
	tcase_add_test(cases, decodes_large_chains);
	tcase_add_test(cases, stops_at_once);
	tcase_add_test(cases, stops_hidden_bombs);
	tcase_add_test(cases, bounds_the_ratio);
	tcase_add_test(cases, passes_errors_on);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
