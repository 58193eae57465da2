/* See json_out.h. */
#include "api/json_out.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"

/* What follows the backslash for a character that must be escaped; 'u' for \u00XX; 0 for none. */
static char
escape_of(unsigned char c)
{
	switch (c) {
	case '"':
	case '\\':
		return (char)c;
	case '\b':
		return 'b';
	case '\f':
		return 'f';
	case '\n':
		return 'n';
	case '\r':
		return 'r';
	case '\t':
		return 't';
	default:
		return c < 0x20 ? 'u' : 0;
	}
}

static void
append_quoted(struct buffer *buffer, const char *text, size_t length)
{
	size_t plain = 0;

	buffer_append_char(buffer, '"');
	for (size_t i = 0; i < length; i++) {
		char escape = escape_of((unsigned char)text[i]);

		if (escape == 0)
			continue;
		buffer_append(buffer, text + plain, i - plain);
		plain = i + 1;
		if (escape == 'u')
			buffer_printf(buffer, "\\u%04x", (unsigned char)text[i]);
		else
			buffer_append(buffer, (char[]){'\\', escape}, 2);
	}
	buffer_append(buffer, text + plain, length - plain);
	buffer_append_char(buffer, '"');
}

static void
begin(struct json_out *out, const char *key)
{
	if (out->comma)
		buffer_append_char(out->buffer, ',');
	out->comma = true;
	if (key == NULL)
		return;
	append_quoted(out->buffer, key, strlen(key));
	buffer_append_char(out->buffer, ':');
}

void
out_open(struct json_out *out, const char *key, char bracket)
{
	begin(out, key);
	buffer_append_char(out->buffer, bracket);
	out->comma = false;
}

void
out_close(struct json_out *out, char bracket)
{
	buffer_append_char(out->buffer, bracket);
	out->comma = true;
}

void
out_text(struct json_out *out, const char *key, const char *text, size_t length)
{
	begin(out, key);
	append_quoted(out->buffer, text, length);
}

void
out_string(struct json_out *out, const char *key, const char *text)
{
	if (text == NULL)
		out_null(out, key);
	else
		out_text(out, key, text, strlen(text));
}

void
out_raw(struct json_out *out, const char *key, const char *json)
{
	begin(out, key);
	buffer_append_string(out->buffer, json);
}

void
out_integer(struct json_out *out, const char *key, int64_t value)
{
	char digits[24];

	snprintf(digits, sizeof digits, "%" PRId64, value);
	out_raw(out, key, digits);
}

void
out_boolean(struct json_out *out, const char *key, bool value)
{
	out_raw(out, key, value ? "true" : "false");
}

void
out_null(struct json_out *out, const char *key)
{
	out_raw(out, key, "null");
}

void
out_time(struct json_out *out, const char *key, int64_t wall)
{
	char text[CLOCK_TIME_BYTES];

	if (wall == 0) {
		out_null(out, key);
		return;
	}
	time_format(wall, text);
	out_text(out, key, text, strlen(text));
}

void
out_integer_or_null(struct json_out *out, const char *key, int64_t value)
{
	if (value < 0)
		out_null(out, key);
	else
		out_integer(out, key, value);
}
