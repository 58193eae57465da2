/* See http_scan.h. One state for each place within a request; each takes one byte, or skips what it may. */
#include "api/http_scan.h"

#include <string.h>

#include "base/text.h"

#define METHOD_MAX 24
#define CHUNK_LINE_MAX 256 /* a chunk's size and extensions */
#define LENGTH_DIGITS 18   /* of a Content-Length; what needs more is above every limit */
#define CHUNK_DIGITS 15    /* hexadecimal, without leading zeros */

enum {
	START,    /* before a request */
	START_LF, /* one blank line may come before it (RFC 9112, section 2.2) */
	METHOD,
	TARGET,
	VERSION,
	FIELD, /* the first byte of a line of fields */
	NAME,
	VALUE,
	LINE_LF, /* CR has come */
	BODY,
	CHUNK_SIZE,
	CHUNK_EXT,
	CHUNK_DATA,
	CHUNK_CR,
	CHUNK_LF,
};

/* What a line's end leads to. */
enum { AFTER_REQUEST_LINE, AFTER_FIELD, AFTER_FIELDS, AFTER_CHUNK_SIZE };

static void
refuse(struct http_scan *scan, int status, const char *wrong)
{
	scan->status = status;
	scan->wrong = wrong;
}

static void
malformed(struct http_scan *scan, const char *wrong)
{
	refuse(scan, 400, wrong);
}

static bool
is_token_byte(char c)
{
	return text_is_token(&c, 1);
}

/* RFC 9110, section 5.5: visible characters, blanks, tabs and obs-text. */
static bool
is_value_byte(char c)
{
	return c == '\t' || ((unsigned char)c >= 0x20 && c != 0x7f);
}

/* Keeps the first bytes of a word, and counts all of them. */
static void
add_to_word(struct http_scan *scan, char c)
{
	if (scan->word_length < sizeof scan->word - 1)
		scan->word[scan->word_length] = c;
	if (scan->word_length < UINT16_MAX)
		scan->word_length++;
}

static bool
word_is(const struct http_scan *scan, const char *word)
{
	size_t length = strlen(word);

	if (scan->word_length != length)
		return false;
	for (size_t i = 0; i < length; i++)
		if (ascii_lower(scan->word[i]) != word[i])
			return false;
	return true;
}

static void
add_to_value(struct http_scan *scan, char c)
{
	if (scan->value_length < sizeof scan->value - 1)
		scan->value[scan->value_length] = c;
	if (scan->value_length < UINT16_MAX)
		scan->value_length++;
}

/*
 * Ends the value; false when it was longer than what is kept. Blanks at its end stay: libmicrohttpd 0.9.75 does not take
 * them off, and then "chunked " is no coding to it.
 */
static bool
whole_value(struct http_scan *scan)
{
	if (scan->value_length >= sizeof scan->value)
		return false;
	scan->value[scan->value_length] = '\0';
	return true;
}

/* ---- fields */

static void
take_length(struct http_scan *scan)
{
	bool whole = whole_value(scan);
	size_t digits = strspn(whole ? scan->value : "", "0123456789");

	if (scan->has_length)
		malformed(scan, "there are several Content-Length fields");
	else if (scan->has_coding)
		malformed(scan, "there are both Content-Length and Transfer-Encoding");
	else if (!whole)
		refuse(scan, 413, "the Content-Length is above every limit");
	else if (digits == 0 || digits != scan->value_length)
		malformed(scan, "the Content-Length is no number");
	else if (digits > LENGTH_DIGITS)
		refuse(scan, 413, "the Content-Length is above every limit");
	scan->has_length = true;
	scan->left = 0;
	for (size_t i = 0; i < digits && scan->status == 0; i++)
		scan->left = scan->left * 10 + (uint64_t)(scan->value[i] - '0');
}

static void
take_coding(struct http_scan *scan)
{
	if (scan->has_coding || !whole_value(scan) || !text_equal_nocase(scan->value, "chunked"))
		malformed(scan, "the only Transfer-Encoding taken is chunked, once");
	else if (scan->has_length)
		malformed(scan, "there are both Content-Length and Transfer-Encoding");
	else if (scan->is_http_1_0)
		malformed(scan, "HTTP/1.0 has no Transfer-Encoding");
	scan->has_coding = true;
}

/* A field is whole: does it say where the request ends? */
static void
take_field(struct http_scan *scan)
{
	bool length = word_is(scan, "content-length"), coding = word_is(scan, "transfer-encoding");
	bool host = word_is(scan, "host");

	if (scan->in_trailers) {
		if (length || coding || host)
			malformed(scan, "a trailer may not say how the request is framed (RFC 9110, section 6.5.1)");
		return;
	}
	if (length)
		take_length(scan);
	else if (coding)
		take_coding(scan);
	else if (host && scan->has_host)
		malformed(scan, "there are several Host fields");
	scan->has_host |= host;
}

/* ---- a request begins and ends */

static void
begin(struct http_scan *scan)
{
	uint64_t requests = scan->requests;

	*scan = (struct http_scan){.state = METHOD, .requests = requests, .head_bytes = 1};
}

static void
finish(struct http_scan *scan)
{
	scan->requests++;
	scan->in_trailers = scan->is_head = false; /* what is refused next is no HEAD */
	scan->state = START;
}

static void
begin_chunk(struct http_scan *scan)
{
	scan->state = CHUNK_SIZE;
	scan->word_length = scan->value_length = 0;
	scan->left = 0;
}

/* The empty line has come. */
static void
finish_fields(struct http_scan *scan)
{
	if (scan->in_trailers) {
		finish(scan);
		return;
	}
	if (!scan->has_host && !scan->is_http_1_0) {
		malformed(scan, "the Host field is missing");
		return;
	}
	if (scan->has_coding)
		begin_chunk(scan);
	else if (scan->left > 0)
		scan->state = BODY;
	else
		finish(scan);
}

static void
finish_request_line(struct http_scan *scan)
{
	if (word_is(scan, "http/1.1") || word_is(scan, "http/1.0")) {
		scan->is_http_1_0 = scan->word[7] == '0';
		/* The name of the protocol is in capitals (RFC 9112, section 2.3). */
		if (memcmp(scan->word, "HTTP/", 5) == 0) {
			scan->state = FIELD;
			return;
		}
	} else if (scan->word_length == 8 && memcmp(scan->word, "HTTP/", 5) == 0 && scan->word[6] == '.') {
		refuse(scan, 505, "the version is neither HTTP/1.1 nor HTTP/1.0");
		return;
	}
	malformed(scan, "the request line is not METHOD SP TARGET SP VERSION CR LF");
}

static void
finish_chunk_size(struct http_scan *scan)
{
	if (scan->left > 0) {
		scan->state = CHUNK_DATA;
		return;
	}
	scan->in_trailers = true;
	scan->state = FIELD; /* what they may be was counted with the head: libmicrohttpd has one place for both */
}

static void
finish_line(struct http_scan *scan)
{
	switch (scan->line) {
	case AFTER_REQUEST_LINE:
		finish_request_line(scan);
		break;
	case AFTER_FIELD:
		take_field(scan);
		scan->state = FIELD;
		break;
	case AFTER_FIELDS:
		finish_fields(scan);
		break;
	case AFTER_CHUNK_SIZE:
		finish_chunk_size(scan);
		break;
	}
}

static void
end_line(struct http_scan *scan, int after)
{
	scan->state = LINE_LF;
	scan->line = (uint8_t)after;
}

/* ---- byte by byte */

static void
in_start(struct http_scan *scan, char c)
{
	if (c == '\r' && !scan->blank_line) {
		scan->blank_line = true;
		scan->state = START_LF;
	} else if (is_token_byte(c)) {
		begin(scan);
		add_to_word(scan, c);
	} else {
		malformed(scan, "the request does not begin with a method");
	}
}

static void
in_method(struct http_scan *scan, char c)
{
	if (c == ' ') {
		scan->is_head = scan->word_length == 4 && memcmp(scan->word, "HEAD", 4) == 0;
		scan->state = TARGET;
		scan->word_length = 0;
	} else if (!is_token_byte(c) || scan->word_length >= METHOD_MAX) {
		malformed(scan, "the request line is not METHOD SP TARGET SP VERSION CR LF");
	} else {
		add_to_word(scan, c);
	}
}

static void
in_target(struct http_scan *scan, char c)
{
	if (c == ' ' && scan->target_bytes > 0)
		scan->state = VERSION;
	else if ((unsigned char)c <= ' ' || c == 0x7f)
		malformed(scan, "the request target is missing, or has a blank or a control character");
	else if (++scan->target_bytes > HTTP_TARGET_MAX)
		refuse(scan, 414, "the request target is too long");
}

static void
in_version(struct http_scan *scan, char c)
{
	if (c == '\r')
		end_line(scan, AFTER_REQUEST_LINE);
	else if (!is_value_byte(c) || scan->word_length >= sizeof scan->word - 1)
		malformed(scan, "the request line is not METHOD SP TARGET SP VERSION CR LF");
	else
		add_to_word(scan, c);
}

static void
in_field(struct http_scan *scan, char c)
{
	if (c == '\r') {
		end_line(scan, AFTER_FIELDS);
	} else if (c == ' ' || c == '\t') {
		malformed(scan, "a header line is folded");
	} else if (!is_token_byte(c)) {
		malformed(scan, "a header name is no token");
	} else if (++scan->fields > HTTP_FIELDS_MAX) {
		refuse(scan, 431, "there are too many header fields");
	} else {
		scan->state = NAME;
		scan->word_length = scan->value_length = 0;
		add_to_word(scan, c);
	}
}

static void
in_name(struct http_scan *scan, char c)
{
	if (c == ':')
		scan->state = VALUE;
	else if (is_token_byte(c))
		add_to_word(scan, c);
	else
		malformed(scan, "a header name is no token");
}

static void
in_value(struct http_scan *scan, char c)
{
	if (c == '\r')
		end_line(scan, AFTER_FIELD);
	else if (c == '\n')
		malformed(scan, "a header line does not end in CR LF");
	else if (!is_value_byte(c))
		malformed(scan, "a header value has a control character");
	else if (scan->value_length > 0 || (c != ' ' && c != '\t'))
		add_to_value(scan, c);
}

static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = ascii_lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* RFC 9112, section 7.1. */
static void
in_chunk_size(struct http_scan *scan, char c)
{
	int digit = hex_value(c);

	if (digit >= 0) {
		/* Leading zeros count for the line, not for the number. */
		scan->value_length += scan->left > 0 || digit > 0;
		scan->left = scan->left << 4 | (uint64_t)digit;
		if (scan->value_length > CHUNK_DIGITS)
			refuse(scan, 413, "a chunk's size is above every limit");
		else if (++scan->word_length > CHUNK_LINE_MAX)
			malformed(scan, "the line of a chunk's size is too long");
	} else if (scan->word_length == 0) {
		malformed(scan, "a chunk's size is no number");
	} else if (c == '\r') {
		end_line(scan, AFTER_CHUNK_SIZE);
	} else if (c == ';') {
		scan->state = CHUNK_EXT;
	} else {
		malformed(scan, "a chunk's size is no number, or does not end in CR LF");
	}
}

static void
in_chunk_ext(struct http_scan *scan, char c)
{
	if (c == '\r')
		end_line(scan, AFTER_CHUNK_SIZE);
	else if (!is_value_byte(c))
		malformed(scan, "the extension of a chunk has a control character");
	else if (++scan->word_length > CHUNK_LINE_MAX)
		malformed(scan, "the line of a chunk's size is too long");
}

/* True for the bytes of heads and trailers, which together may be so many. */
static bool
counts(const struct http_scan *scan)
{
	return scan->state >= METHOD && scan->state <= LINE_LF &&
		(scan->state != LINE_LF || scan->line != AFTER_CHUNK_SIZE);
}

static void
take_byte(struct http_scan *scan, char c)
{
	if (counts(scan) && ++scan->head_bytes > HTTP_HEAD_MAX) {
		refuse(scan, 431, "the head is too large");
		return;
	}
	switch (scan->state) {
	case START:
		in_start(scan, c);
		break;
	case START_LF:
		if (c != '\n')
			malformed(scan, "the request does not begin with a method");
		scan->state = START;
		break;
	case METHOD:
		in_method(scan, c);
		break;
	case TARGET:
		in_target(scan, c);
		break;
	case VERSION:
		in_version(scan, c);
		break;
	case FIELD:
		in_field(scan, c);
		break;
	case NAME:
		in_name(scan, c);
		break;
	case VALUE:
		in_value(scan, c);
		break;
	case LINE_LF:
		if (c != '\n')
			malformed(scan, "a CR stands alone");
		else
			finish_line(scan);
		break;
	case CHUNK_SIZE:
		in_chunk_size(scan, c);
		break;
	case CHUNK_EXT:
		in_chunk_ext(scan, c);
		break;
	case CHUNK_CR:
	case CHUNK_LF:
		if (c != (scan->state == CHUNK_CR ? '\r' : '\n'))
			malformed(scan, "a chunk does not end in CR LF");
		else if (scan->state == CHUNK_CR)
			scan->state = CHUNK_LF;
		else
			begin_chunk(scan);
		break;
	}
}

/* Bytes of a body need no look. Returns how many there are. */
static size_t
skip_body(struct http_scan *scan, size_t count)
{
	size_t skipped = scan->left < count ? (size_t)scan->left : count;

	scan->left -= skipped;
	if (scan->left > 0)
		return skipped;
	if (scan->state == BODY)
		finish(scan);
	else
		scan->state = CHUNK_CR;
	return skipped;
}

/*
 * libmicrohttpd copies and splits the value of Cookie, for which a head within our bounds may need more room than it has. Nobody
 * here reads cookies, so once the name is complete it is made another.
 */
static void
hide_cookie(const struct http_scan *scan, char *byte)
{
	if (scan->state == NAME && word_is(scan, "cookie"))
		*byte = '-';
}

/* editable: the same bytes, or NULL when they stay as they are. */
static size_t
scan_bytes(struct http_scan *scan, const char *bytes, char *editable, size_t count)
{
	size_t at = 0, whole = 0;

	while (at < count && scan->status == 0) {
		uint64_t requests = scan->requests;

		if (scan->state == BODY || scan->state == CHUNK_DATA)
			at += skip_body(scan, count - at);
		else
			take_byte(scan, bytes[at++]);
		if (editable != NULL && at > 0)
			hide_cookie(scan, editable + at - 1);
		if (scan->requests > requests)
			whole = at;
	}
	return scan->status == 0 ? count : whole;
}

size_t
http_scan(struct http_scan *scan, const char *bytes, size_t count)
{
	return scan_bytes(scan, bytes, NULL, count);
}

size_t
http_scan_and_hide(struct http_scan *scan, char *bytes, size_t count)
{
	return scan_bytes(scan, bytes, bytes, count);
}

bool
http_scan_in_head(const struct http_scan *scan)
{
	return scan->state != START && scan->state != START_LF && !http_scan_in_body(scan);
}

bool
http_scan_in_body(const struct http_scan *scan)
{
	return scan->state >= BODY || (scan->state == LINE_LF && scan->line == AFTER_CHUNK_SIZE) || scan->in_trailers;
}
