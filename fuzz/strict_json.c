/* See strict_json.h. */
#include "strict_json.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_DEPTH 200 /* so that reading deeper texts ends */

struct reader {
	const uint8_t *at, *end;
	struct strict_json *result;
};

static bool
wrong(struct reader *reader, const char *why)
{
	if (reader->result->wrong == NULL)
		reader->result->wrong = why;
	return false;
}

static int
peek(const struct reader *reader)
{
	return reader->at < reader->end ? *reader->at : -1;
}

static void
skip_blanks(struct reader *reader)
{
	while (peek(reader) == ' ' || peek(reader) == '\t' || peek(reader) == '\r' || peek(reader) == '\n')
		reader->at++;
}

static bool
take(struct reader *reader, int c)
{
	if (peek(reader) != c)
		return false;
	reader->at++;
	return true;
}

/* ---- strings */

static bool
read_hex(struct reader *reader, unsigned *ret)
{
	unsigned value = 0;

	for (int i = 0; i < 4; i++) {
		int c = peek(reader);

		if (c >= '0' && c <= '9')
			value = value * 16 + (unsigned)(c - '0');
		else if (c >= 'a' && c <= 'f')
			value = value * 16 + (unsigned)(c - 'a' + 10);
		else if (c >= 'A' && c <= 'F')
			value = value * 16 + (unsigned)(c - 'A' + 10);
		else
			return wrong(reader, "an escape without four digits");
		reader->at++;
	}
	*ret = value;
	return true;
}

static bool
read_escape(struct reader *reader)
{
	unsigned first, second;
	int c = peek(reader);

	if (c < 0 || strchr("\"\\/bfnrtu", c) == NULL)
		return wrong(reader, "an unknown escape");
	reader->at++;
	if (c != 'u')
		return true;
	if (!read_hex(reader, &first))
		return false;
	if (first == 0)
		return wrong(reader, "an escaped NUL");
	if (first < 0xd800 || first > 0xdfff)
		return true;
	if (first > 0xdbff || !take(reader, '\\') || !take(reader, 'u') || !read_hex(reader, &second) ||
		second < 0xdc00 || second > 0xdfff)
		return wrong(reader, "a lone surrogate");
	return true;
}

/* One character of more than a byte: the shortest form, no surrogate, at most U+10FFFF (RFC 3629). */
static bool
read_wide(struct reader *reader)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	uint8_t first = *reader->at;
	int bytes = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
	uint32_t value = first & (0x7fu >> bytes);

	if (first < 0xc0 || first >= 0xf8 || reader->end - reader->at < bytes)
		return wrong(reader, "broken UTF-8");
	for (int i = 1; i < bytes; i++) {
		if ((reader->at[i] & 0xc0) != 0x80)
			return wrong(reader, "broken UTF-8");
		value = value << 6 | (reader->at[i] & 0x3f);
	}
	reader->at += bytes;
	if (value < least[bytes] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff))
		return wrong(reader, "UTF-8 of no character");
	return true;
}

static bool
read_string(struct reader *reader)
{
	if (!take(reader, '"'))
		return wrong(reader, "no string");
	for (;;) {
		int c = peek(reader);

		if (c < 0x20)
			return wrong(reader, "a string with a control character, or without end");
		if (c >= 0x80) {
			if (!read_wide(reader))
				return false;
			continue;
		}
		reader->at++;
		if (c == '"')
			return true;
		if (c == '\\' && !read_escape(reader))
			return false;
	}
}

/* ---- numbers */

static size_t
skip_digits(struct reader *reader)
{
	const uint8_t *from = reader->at;

	while (peek(reader) >= '0' && peek(reader) <= '9')
		reader->at++;
	return (size_t)(reader->at - from);
}

static bool
fits(struct reader *reader, const uint8_t *from, bool whole)
{
	size_t length = (size_t)(reader->at - from);
	char *text = strndup((const char *)from, length);

	if (text == NULL)
		abort();
	errno = 0;
	bool in_range = whole ? (strtoll(text, NULL, 10), errno == 0) : isfinite(strtod(text, NULL)) != 0;
	free(text);
	return in_range || wrong(reader, "a number out of range");
}

static bool
read_number(struct reader *reader)
{
	const uint8_t *from = reader->at;
	bool whole = true;

	take(reader, '-');
	if (!take(reader, '0') && skip_digits(reader) == 0)
		return wrong(reader, "no value");
	if (take(reader, '.')) {
		whole = false;
		if (skip_digits(reader) == 0)
			return wrong(reader, "a point without digits");
	}
	if (peek(reader) == 'e' || peek(reader) == 'E') {
		whole = false;
		reader->at++;
		if (!take(reader, '+'))
			take(reader, '-');
		if (skip_digits(reader) == 0)
			return wrong(reader, "an exponent without digits");
	}
	return fits(reader, from, whole);
}

/* ---- values */

static bool read_value(struct reader *reader, int depth);

static bool
read_items(struct reader *reader, int close, int depth)
{
	reader->at++;
	skip_blanks(reader);
	if (take(reader, close))
		return true;
	for (;;) {
		if (close == '}') {
			skip_blanks(reader);
			if (!read_string(reader))
				return false;
			skip_blanks(reader);
			if (!take(reader, ':'))
				return wrong(reader, "a name without a value");
			reader->result->members++;
		}
		if (!read_value(reader, depth + 1))
			return false;
		if (take(reader, close))
			return true;
		if (!take(reader, ','))
			return wrong(reader, "items without a comma");
	}
}

static bool
read_word(struct reader *reader, const char *word)
{
	size_t length = strlen(word);

	if ((size_t)(reader->end - reader->at) < length || memcmp(reader->at, word, length) != 0)
		return wrong(reader, "no value");
	reader->at += length;
	return true;
}

/* With the blanks around it. */
static bool
read_value(struct reader *reader, int depth)
{
	bool ok;

	if (depth > MAX_DEPTH)
		return wrong(reader, "too deep");
	if (depth > reader->result->depth)
		reader->result->depth = depth;
	skip_blanks(reader);
	switch (peek(reader)) {
	case '{':
		ok = read_items(reader, '}', depth);
		break;
	case '[':
		ok = read_items(reader, ']', depth);
		break;
	case '"':
		ok = read_string(reader);
		break;
	case 't':
		ok = read_word(reader, "true");
		break;
	case 'f':
		ok = read_word(reader, "false");
		break;
	case 'n':
		ok = read_word(reader, "null");
		break;
	default:
		ok = read_number(reader);
	}
	skip_blanks(reader);
	return ok;
}

bool
strict_json_read(const uint8_t *bytes, size_t count, struct strict_json *ret)
{
	struct reader reader = {.at = bytes, .end = bytes + count, .result = ret};

	*ret = (struct strict_json){0};
	if (!read_value(&reader, 1))
		return false;
	return reader.at == reader.end || wrong(&reader, "something behind the value");
}
