/* See http_head.h. */
#include "api/http_head.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/text.h"

/* RFC 9110, section 5.5: visible characters, blanks, tabs and obs-text. */
static bool
is_value_byte(unsigned char c)
{
	return c == '\t' || (c >= 0x20 && c != 0x7f);
}

/* One "name NUL value NUL NUL"; moves *at behind it. */
static const char *
check_line(const char **at, const char *end)
{
	const char *name = *at;

	if (*name == ' ' || *name == '\t')
		return "a header line is folded";
	const char *colon = memchr(name, '\0', (size_t)(end - name));
	if (colon == NULL || !text_is_token(name, (size_t)(colon - name)))
		return "a header name is no token";
	const char *value = colon + 1;
	while (value < end && *value != '\0') {
		if (!is_value_byte((unsigned char)*value))
			return "a header value has a control character";
		value++;
	}
	if (end - value < 2 || value[1] != '\0')
		return "a header line does not end in CR LF, or has a NUL";
	*at = value + 2;
	return NULL;
}

const char *
http_head_check_section(const char *bytes, size_t length)
{
	const char *at = bytes, *end = bytes + length;

	while (at < end && *at != '\0') {
		const char *wrong = check_line(&at, end);
		if (wrong != NULL)
			return wrong;
	}
	if (end - at != 2 || at[0] != '\0' || at[1] != '\0')
		return "the header section does not end in CR LF CR LF, or has a NUL";
	return NULL;
}

void
http_framing_field(struct http_framing *framing, const char *name, const char *value)
{
	if (text_equal_nocase(name, "host")) {
		framing->hosts++;
		framing->host = value;
	} else if (text_equal_nocase(name, "content-length")) {
		if (framing->length != NULL && strcmp(framing->length, value) != 0)
			framing->lengths_differ = 1;
		framing->lengths++;
		framing->length = value;
	} else if (text_equal_nocase(name, "transfer-encoding")) {
		framing->codings++;
		framing->coding = value;
	}
}

const char *
http_framing_check(const struct http_framing *framing)
{
	uint64_t length;

	if (framing->hosts > 1)
		return "there are several Host fields";
	if (framing->hosts == 0 && !framing->is_http_1_0)
		return "the Host field is missing";
	if (framing->codings > 0 && framing->lengths > 0)
		return "there are both Content-Length and Transfer-Encoding";
	if (framing->codings > 1 || (framing->codings == 1 && !text_equal_nocase(framing->coding, "chunked")))
		return "the only Transfer-Encoding taken is chunked";
	if (framing->codings > 0 && framing->is_http_1_0)
		return "HTTP/1.0 has no Transfer-Encoding";
	if (framing->lengths_differ)
		return "the Content-Length fields differ";
	if (framing->lengths > 0 && text_to_uint64(framing->length, &length) != 0)
		return "the Content-Length is no number";
	return NULL;
}
