/*
 * A strict look at the bytes of a connection before libmicrohttpd has them: the framing of RFC 9112, byte by byte.
 * libmicrohttpd 0.9.75 takes much that is no HTTP (a bare LF, blanks before a colon, two lengths), and then what this
 * server sees as one request may be two to a proxy before it, or the other way round. What passes here is read in one
 * way only. Pure: no I/O, no allocation; any thread, one at a time.
 */
#ifndef FETCHPOOL_API_HTTP_SCAN_H
#define FETCHPOOL_API_HTTP_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_TARGET_MAX 6000 /* bytes of a request target; above it 414 */
#define HTTP_HEAD_MAX 8192   /* of a request line, its fields and its trailers together; above it 431 */
#define HTTP_FIELDS_MAX 100  /* fields of a head and its trailers; above it 431 */

struct http_scan {
	int state;
	uint8_t line; /* of a line's end: where it leads */
	bool is_head, is_http_1_0, has_length, has_coding, has_host, in_trailers, blank_line;
	uint16_t fields;
	uint32_t head_bytes, target_bytes;
	uint64_t left;        /* of the body or the chunk */
	uint16_t word_length; /* of the word: the method, the version, a field's name, a chunk's size */
	uint16_t value_length;
	char word[24];
	char value[24];
	uint64_t requests; /* that were whole */

	/* The verdict, once there is one. */
	int status;        /* 0: all is well */
	const char *wrong; /* for the client */
};

/*
 * Looks at the next bytes. Returns how many of them may be passed on: all of them; or, once something is wrong (status
 * is not 0 then), those up to the end of the last whole request.
 */
size_t http_scan(struct http_scan *scan, const char *bytes, size_t count);

/* The same; and the name of a Cookie field becomes another, which libmicrohttpd does not know. */
size_t http_scan_and_hide(struct http_scan *scan, char *bytes, size_t count);

/* Within a request's line and fields; within its body. Between requests both are false. */
bool http_scan_in_head(const struct http_scan *scan);
bool http_scan_in_body(const struct http_scan *scan);

#endif
