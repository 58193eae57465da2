/* A growable run of bytes. All zeroes is an empty one. */
#ifndef FETCHPOOL_BASE_BUFFER_H
#define FETCHPOOL_BASE_BUFFER_H

#include <stdbool.h>
#include <stddef.h>

struct buffer {
	char *data;
	size_t count, capacity;
	bool failed; /* memory ran out: what was appended since is missing */
};

void buffer_release(struct buffer *buffer);

/* Makes room for so many bytes beyond count. Returns 0 or -ENOMEM (and sets failed). */
int buffer_reserve(struct buffer *buffer, size_t more);

/* Append; on lack of memory they set failed, which is checked once at the end. */
void buffer_append(struct buffer *buffer, const void *bytes, size_t count);
void buffer_append_string(struct buffer *buffer, const char *text);
void buffer_append_char(struct buffer *buffer, char c);
void buffer_printf(struct buffer *buffer, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The bytes with a NUL after them, owned by the caller from now on; NULL when memory ran out. Empties the buffer. */
char *buffer_steal(struct buffer *buffer);

#endif
