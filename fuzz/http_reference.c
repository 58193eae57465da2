/* See http_reference.h. */
#include "http_reference.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "fuzz.h"

struct cursor {
	const uint8_t *at, *end;
};

/* A line without its CR LF. */
struct line {
	const char *text;
	size_t length;
};

enum step { STEP_OK, STEP_CUT, STEP_BROKEN };

/* Up to the next CR LF; a CR, an LF or a NUL of its own is none of a line's. */
static enum step
read_line(struct cursor *cursor, struct line *ret)
{
	const uint8_t *c = cursor->at;

	while (c < cursor->end && *c != '\r' && *c != '\n' && *c != '\0')
		c++;
	if (c == cursor->end || (*c == '\r' && c + 1 == cursor->end))
		return STEP_CUT;
	if (*c != '\r' || c[1] != '\n')
		return STEP_BROKEN;
	*ret = (struct line){.text = (const char *)cursor->at, .length = (size_t)(c - cursor->at)};
	cursor->at = c + 2;
	return STEP_OK;
}

static size_t
token_length(const struct line *line)
{
	size_t i = 0;

	while (i < line->length &&
		((isascii(line->text[i]) && isalnum((unsigned char)line->text[i])) ||
			strchr("!#$%&'*+-.^_`|~", line->text[i]) != NULL))
		i++;
	return i;
}

/* ---- framing */

#define MAX_METHOD 24 /* bytes of a method that the contract takes */

struct framing {
	bool is_http_1_0, chunked, has_length, has_host, closes;
	uint64_t length;
};

static bool
is_field(const struct line *line, const char *name)
{
	size_t length = strlen(name);

	return line->length > length && line->text[length] == ':' && strncasecmp(line->text, name, length) == 0;
}

static bool
is_printable(const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (((unsigned char)text[i] < 0x20 && text[i] != '\t') || text[i] == 0x7f)
			return false;
	return true;
}

/* Blanks behind it are left: the contract takes none in a field that frames. */
static struct line
value_of(const struct line *line)
{
	size_t colon = token_length(line) + 1;
	struct line value = {.text = line->text + colon, .length = line->length - colon};

	while (value.length > 0 && (*value.text == ' ' || *value.text == '\t'))
		value.text++, value.length--;
	return value;
}

/* Digits alone, so many at most that count. */
static bool
read_number(const struct line *text, unsigned base, size_t most, uint64_t *ret)
{
	uint64_t value = 0;
	size_t digits = 0;

	for (size_t i = 0; i < text->length; i++) {
		int c = tolower((unsigned char)text->text[i]);
		unsigned digit = isdigit(c) ? (unsigned)(c - '0') : isxdigit(c) ? (unsigned)(c - 'a') + 10 : 99;

		digits += base == 10 || value > 0 || digit > 0;
		if (digit >= base || digits > most)
			return false;
		value = value * base + digit;
	}
	*ret = value;
	return text->length > 0;
}

static bool
take_framing(struct framing *framing, const struct line *line)
{
	struct line value = value_of(line);

	if (!is_printable(line->text, line->length))
		return false;
	if (is_field(line, "content-length")) {
		if (framing->chunked || framing->has_length || !read_number(&value, 10, 18, &framing->length))
			return false;
		framing->has_length = true;
	} else if (is_field(line, "transfer-encoding")) {
		if (framing->has_length || framing->chunked || framing->is_http_1_0 || value.length != 7 ||
			strncasecmp(value.text, "chunked", 7) != 0)
			return false;
		framing->chunked = true;
	} else if (is_field(line, "host")) {
		if (framing->has_host)
			return false;
		framing->has_host = true;
	} else if (is_field(line, "connection")) {
		for (size_t i = 0; i + 5 <= value.length; i++)
			framing->closes |= strncasecmp(value.text + i, "close", 5) == 0;
	}
	return true;
}

/* The fields up to and with the empty line. */
static enum step
read_fields(struct cursor *cursor, struct framing *ret)
{
	for (;;) {
		struct line line;
		enum step step = read_line(cursor, &line);

		if (step != STEP_OK)
			return step;
		if (line.length == 0)
			return STEP_OK;
		size_t name = token_length(&line);
		if (name == 0 || name == line.length || line.text[name] != ':' || !take_framing(ret, &line))
			return STEP_BROKEN;
	}
}

/* ---- requests */

static bool
ends_with_version(const struct line *line)
{
	static const char version[] = " HTTP/1.";
	size_t length = sizeof version; /* with its last digit */

	return line->length > length && memcmp(line->text + line->length - length, version, length - 1) == 0 &&
		strchr("01", line->text[line->length - 1]) != NULL;
}

static bool
is_request_line(const struct line *line)
{
	size_t method = token_length(line);

	if (method == 0 || method > MAX_METHOD || !ends_with_version(line) || line->text[method] != ' ')
		return false;
	size_t target = line->length - method - 1 - strlen(" HTTP/1.1");
	if (line->length < method + 1 + strlen(" HTTP/1.1") || target == 0)
		return false;
	for (size_t i = 0; i < target; i++)
		if ((unsigned char)line->text[method + 1 + i] <= ' ' || line->text[method + 1 + i] == 0x7f)
			return false;
	return true;
}

/* Their fields may say nothing of how the request is framed. */
static enum step
read_trailers(struct cursor *cursor)
{
	struct framing trailers = {0};
	enum step step = read_fields(cursor, &trailers);

	return trailers.has_length || trailers.chunked || trailers.has_host ? STEP_BROKEN : step;
}

static enum step
read_chunks(struct cursor *cursor)
{
	uint64_t size;

	do {
		struct line line;
		enum step step = read_line(cursor, &line);

		if (step != STEP_OK)
			return step;
		const char *extension = memchr(line.text, ';', line.length);
		if (!is_printable(line.text, line.length))
			return STEP_BROKEN;
		if (extension != NULL)
			line.length = (size_t)(extension - line.text);
		if (!read_number(&line, 16, 15, &size))
			return STEP_BROKEN;
		uint64_t left = (uint64_t)(cursor->end - cursor->at);
		if (size > 0 && left > size && cursor->at[size] != '\r')
			return STEP_BROKEN;
		if (size > 0 && left < size + 2)
			return STEP_CUT;
		if (size > 0 && cursor->at[size + 1] != '\n')
			return STEP_BROKEN;
		cursor->at += size > 0 ? size + 2 : 0;
	} while (size > 0);
	return read_trailers(cursor);
}

static enum step
read_request(struct cursor *cursor, bool *ret_is_head)
{
	struct framing framing = {0};
	struct line line;

	*ret_is_head = cursor->end - cursor->at >= 5 && memcmp(cursor->at, "HEAD ", 5) == 0;
	enum step step = read_line(cursor, &line);

	if (step != STEP_OK)
		return step;
	if (!is_request_line(&line))
		return STEP_BROKEN;
	framing.is_http_1_0 = line.text[line.length - 1] == '0';
	if ((step = read_fields(cursor, &framing)) != STEP_OK)
		return step;
	if (!framing.has_host && !framing.is_http_1_0)
		return STEP_BROKEN;
	if (framing.chunked)
		return read_chunks(cursor);
	if ((uint64_t)(cursor->end - cursor->at) < framing.length)
		return STEP_CUT;
	cursor->at += framing.length;
	return STEP_OK;
}

void
reference_read(const uint8_t *bytes, size_t count, struct reference *ret)
{
	struct cursor cursor = {.at = bytes, .end = bytes + count};

	ret->requests = 0;
	ret->head[0] = false;
	for (;;) {
		/* One empty line may come before a request. */
		bool blank = cursor.end - cursor.at >= 2 && cursor.at[0] == '\r' && cursor.at[1] == '\n';
		cursor.at += blank ? 2 : 0;
		ret->blank = blank && cursor.at == cursor.end;
		ret->lone_cr = cursor.end - cursor.at == 1 && *cursor.at == '\r';
		ret->end = REFERENCE_CLEAN;
		if (cursor.at == cursor.end || ret->requests == REFERENCE_MAX_REQUESTS)
			return;
		enum step step = read_request(&cursor, &ret->head[ret->requests]);
		ret->end = step == STEP_CUT ? REFERENCE_CUT : REFERENCE_BROKEN;
		if (step != STEP_OK)
			return;
		ret->head[++ret->requests] = false;
	}
}

/* ---- answers */

static int
read_status(const struct line *line)
{
	FUZZ_CHECK(line->length >= 13 && memcmp(line->text, "HTTP/1.", 7) == 0 && strchr("01", line->text[7]) != NULL &&
			line->text[8] == ' ' && isdigit((unsigned char)line->text[9]) &&
			isdigit((unsigned char)line->text[10]) && isdigit((unsigned char)line->text[11]) &&
			line->text[12] == ' ',
		"no status line: %.*s", (int)line->length, line->text);
	return atoi(line->text + 9);
}

/* One answer. False when it is cut. */
static bool
read_answer(struct cursor *cursor, bool to_head, struct answers *answers)
{
	struct framing framing = {0};
	struct line line;
	enum step step = read_line(cursor, &line);

	FUZZ_CHECK(step != STEP_BROKEN, "answer %zu begins with no line", answers->count);
	if (step == STEP_CUT)
		return false;
	int status = read_status(&line);
	FUZZ_CHECK(status >= 100 && status <= 599, "the status %d", status);
	step = read_fields(cursor, &framing);
	FUZZ_CHECK(step != STEP_BROKEN, "the head of answer %zu (%d) is broken", answers->count, status);
	if (step == STEP_CUT)
		return false;
	if (status < 200)
		return true;
	bool empty = to_head || status == 204 || status == 304;
	FUZZ_CHECK(empty || framing.has_length, "answer %zu (%d) has no length", answers->count, status);
	if (!empty && (uint64_t)(cursor->end - cursor->at) < framing.length)
		return false;
	cursor->at += empty ? 0 : framing.length;
	answers->closes = framing.closes;
	answers->count++;
	return true;
}

void
answers_read(const uint8_t *bytes, size_t count, const struct reference *requests, struct answers *ret)
{
	struct cursor cursor = {.at = bytes, .end = count == 0 ? bytes : bytes + count};

	*ret = (struct answers){.whole = true};
	while (cursor.at < cursor.end && ret->whole) {
		size_t most = requests->requests + (requests->end != REFERENCE_CLEAN);

		FUZZ_CHECK(ret->count < most, "%zu requests, but there is one more answer: %.*s", most,
			(int)(cursor.end - cursor.at), (const char *)cursor.at);
		ret->whole = read_answer(&cursor, requests->head[ret->count], ret);
	}
}
