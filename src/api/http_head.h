/*
 * A second, strict look at the head of a request (RFC 9112): libmicrohttpd 0.9.75 lets much pass that another reader
 * might understand otherwise, and what two readers disagree about is how requests are smuggled. Pure functions.
 */
#ifndef FETCHPOOL_API_HTTP_HEAD_H
#define FETCHPOOL_API_HTTP_HEAD_H

#include <stddef.h>

/*
 * Judges the header section as libmicrohttpd 0.9.75 leaves it in its buffer: each line end (CR LF or a bare LF) and the
 * colon after each name overwritten with NULs, all other bytes untouched. Begins at the first name, ends after the
 * empty line. Returns NULL when every line is well-formed, else what is wrong.
 *
 * What these bytes cannot show: a line of a colon, or of a NUL, and a bare LF looks like an empty line, and
 * libmicrohttpd takes it for one.
 */
const char *http_head_check_section(const char *bytes, size_t length);

/* The fields that say where a request ends and who it is for. */
struct http_framing {
	unsigned hosts, lengths, codings;
	int is_http_1_0;
	const char *length, *coding, *host; /* the last of each */
	int lengths_differ;
};

/* Takes one field into account. */
void http_framing_field(struct http_framing *framing, const char *name, const char *value);

/* NULL, or what is wrong with the framing (RFC 9112, section 6.3; RFC 9110, section 7.2). */
const char *http_framing_check(const struct http_framing *framing);

#endif
