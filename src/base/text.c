/* See text.h. */
#include "base/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* The length of the well-formed sequence at bytes, 0 when there is none. */
static size_t
utf8_sequence(const unsigned char *bytes, size_t left)
{
	unsigned char first = bytes[0], low = 0x80, high = 0xbf;
	size_t length;

	if (first < 0x80)
		return 1;
	if (first >= 0xc2 && first <= 0xdf)
		length = 2;
	else if (first >= 0xe0 && first <= 0xef)
		length = 3;
	else if (first >= 0xf0 && first <= 0xf4)
		length = 4;
	else
		return 0;
	if (left < length)
		return 0;
	if (first == 0xe0)
		low = 0xa0;
	else if (first == 0xed)
		high = 0x9f;
	else if (first == 0xf0)
		low = 0x90;
	else if (first == 0xf4)
		high = 0x8f;
	if (bytes[1] < low || bytes[1] > high)
		return 0;
	for (size_t i = 2; i < length; i++)
		if (bytes[i] < 0x80 || bytes[i] > 0xbf)
			return 0;
	return length;
}

bool
utf8_valid(const void *bytes, size_t count)
{
	const unsigned char *at = bytes, *end = count == 0 ? at : at + count;

	while (at < end) {
		uint64_t eight;

		if (end - at >= 8 && (memcpy(&eight, at, 8), (eight & UINT64_C(0x8080808080808080)) == 0)) {
			at += 8;
			continue;
		}
		size_t length = utf8_sequence(at, (size_t)(end - at));
		if (length == 0)
			return false;
		at += length;
	}
	return true;
}

static bool
is_token_char(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
		(c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

bool
text_is_token(const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (!is_token_char(text[i]))
			return false;
	return length > 0;
}

char
ascii_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

void
ascii_lower_string(char *text)
{
	for (; *text != '\0'; text++)
		*text = ascii_lower(*text);
}

bool
text_equal_nocase(const char *a, const char *b)
{
	while (*a != '\0' && ascii_lower(*a) == ascii_lower(*b))
		a++, b++;
	return *a == *b;
}

bool
text_prefix_nocase(const char *text, const char *prefix)
{
	for (; *prefix != '\0'; text++, prefix++)
		if (ascii_lower(*text) != ascii_lower(*prefix))
			return false;
	return true;
}

double
text_to_double(const char *text, size_t length)
{
	double value = 0, scale = 1;
	bool fraction = false;

	for (size_t i = 0; i < length; i++) {
		if (text[i] == '.') {
			fraction = true;
			continue;
		}
		value = value * 10 + (text[i] - '0');
		if (fraction)
			scale *= 10;
	}
	return value / scale;
}

int
text_to_uint64(const char *text, uint64_t *ret)
{
	uint64_t value = 0;

	if (*text == '\0')
		return -EINVAL;
	for (; *text != '\0'; text++) {
		if (*text < '0' || *text > '9')
			return -EINVAL;
		if (__builtin_mul_overflow(value, 10, &value) ||
			__builtin_add_overflow(value, (uint64_t)(*text - '0'), &value))
			return -ERANGE;
	}
	*ret = value;
	return 0;
}

static const struct {
	const char *name, *alias;
	int shift;
} size_units[] = {{"GiB", "G", 30}, {"MiB", "M", 20}, {"KiB", "K", 10}, {"", "B", 0}};

int
size_parse(const char *text, int64_t *ret_bytes)
{
	size_t digits = strspn(text, "0123456789");
	char number[24];
	uint64_t value;

	if (digits == 0)
		return -EINVAL;
	if (digits >= sizeof number)
		return -ERANGE;
	memcpy(number, text, digits);
	number[digits] = '\0';
	int error = text_to_uint64(number, &value);
	if (error != 0)
		return error;
	for (size_t i = 0; i < sizeof size_units / sizeof *size_units; i++) {
		if (strcmp(text + digits, size_units[i].name) != 0 && strcmp(text + digits, size_units[i].alias) != 0)
			continue;
		if (value > (uint64_t)(INT64_MAX >> size_units[i].shift))
			return -ERANGE;
		*ret_bytes = (int64_t)(value << size_units[i].shift);
		return 0;
	}
	return -EINVAL;
}

void
size_format(int64_t bytes, char *buffer, size_t size)
{
	for (size_t i = 0; i < sizeof size_units / sizeof *size_units; i++) {
		int64_t unit = INT64_C(1) << size_units[i].shift;

		if (unit == 1 || (bytes >= unit && bytes % unit == 0)) {
			snprintf(buffer, size, "%" PRId64 "%s", bytes / unit, size_units[i].name);
			return;
		}
	}
}

static const char base64_alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

size_t
base64_length(size_t count)
{
	return (count + 2) / 3 * 4;
}

void
base64_encode(const void *bytes, size_t count, char *ret_text)
{
	const unsigned char *at = bytes;

	while (count > 0) {
		size_t taken = count < 3 ? count : 3;
		uint32_t group = (uint32_t)at[0] << 16;

		if (taken > 1)
			group |= (uint32_t)at[1] << 8;
		if (taken > 2)
			group |= at[2];
		ret_text[0] = base64_alphabet[group >> 18];
		ret_text[1] = base64_alphabet[group >> 12 & 63];
		ret_text[2] = taken > 1 ? base64_alphabet[group >> 6 & 63] : '=';
		ret_text[3] = taken > 2 ? base64_alphabet[group & 63] : '=';
		ret_text += 4;
		at += taken;
		count -= taken;
	}
	*ret_text = '\0';
}

static int
base64_value(char c)
{
	const char *at = c == '\0' ? NULL : strchr(base64_alphabet, c);

	return at == NULL ? -1 : (int)(at - base64_alphabet);
}

int
base64_decode(const char *text, size_t length, void *ret_bytes, size_t *ret_count)
{
	unsigned char *out = ret_bytes;

	if (length % 4 != 0)
		return -EINVAL;
	for (size_t i = 0; i < length; i += 4) {
		bool last = i + 4 == length;
		int pads = !last ? 0 : (text[i + 3] == '=') + (text[i + 3] == '=' && text[i + 2] == '=');
		uint32_t group = 0;

		for (int k = 0; k < 4; k++) {
			int value = k >= 4 - pads ? 0 : base64_value(text[i + (size_t)k]);
			if (value < 0)
				return -EINVAL;
			group = group << 6 | (uint32_t)value;
		}
		if ((pads == 1 && (group & 0xff) != 0) || (pads == 2 && (group & 0xffff) != 0))
			return -EINVAL;
		*out++ = (unsigned char)(group >> 16);
		if (pads < 2)
			*out++ = (unsigned char)(group >> 8);
		if (pads < 1)
			*out++ = (unsigned char)group;
	}
	*ret_count = (size_t)(out - (unsigned char *)ret_bytes);
	return 0;
}

void
hex_encode(const void *bytes, size_t count, char *ret_text)
{
	static const char digits[] = "0123456789abcdef";
	const unsigned char *at = bytes;

	for (size_t i = 0; i < count; i++) {
		*ret_text++ = digits[at[i] >> 4];
		*ret_text++ = digits[at[i] & 15];
	}
	*ret_text = '\0';
}

static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = ascii_lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int
hex_decode(const char *text, size_t count, void *ret_bytes)
{
	unsigned char *out = ret_bytes;

	for (size_t i = 0; i < count; i++) {
		int high = hex_value(text[2 * i]), low = high < 0 ? -1 : hex_value(text[2 * i + 1]);

		if (low < 0)
			return -EINVAL;
		out[i] = (unsigned char)(high << 4 | low);
	}
	return 0;
}
