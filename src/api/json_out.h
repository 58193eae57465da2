/*
 * Writes JSON, compact, into a buffer. Names and values are trusted to be valid UTF-8; commas look after themselves.
 * A lack of memory shows in buffer->failed at the end.
 */
#ifndef FETCHPOOL_API_JSON_OUT_H
#define FETCHPOOL_API_JSON_OUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"

struct json_out {
	struct buffer *buffer;
	bool comma; /* the next element needs one before it */
};

/* key NULL: an element of an array, or the outermost value. */
void out_open(struct json_out *out, const char *key, char bracket);
void out_close(struct json_out *out, char bracket);
void out_string(struct json_out *out, const char *key, const char *text); /* NULL writes null */
void out_text(struct json_out *out, const char *key, const char *text, size_t length);
void out_integer(struct json_out *out, const char *key, int64_t value);
void out_boolean(struct json_out *out, const char *key, bool value);
void out_null(struct json_out *out, const char *key);

/* Text that is JSON already. */
void out_raw(struct json_out *out, const char *key, const char *json);

/* RFC 3339; 0 writes null. */
void out_time(struct json_out *out, const char *key, int64_t wall_ms);

/* null below zero. */
void out_integer_or_null(struct json_out *out, const char *key, int64_t value);

#endif
