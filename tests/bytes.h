/* A growing run of bytes, for the tests' own origin and client. Running out of memory ends the program. */
#ifndef TESTS_BYTES_H
#define TESTS_BYTES_H

#include <stdarg.h>
#include <stddef.h>

struct bytes {
	char *data; /* NUL behind the last byte once anything was added */
	size_t used;
	size_t room;
};

void bytes_append(struct bytes *bytes, const void *data, size_t size);
void bytes_text(struct bytes *bytes, const char *text);
void bytes_format(struct bytes *bytes, const char *format, ...) __attribute__((format(printf, 2, 3)));
void bytes_vformat(struct bytes *bytes, const char *format, va_list arguments) __attribute__((format(printf, 2, 0)));
/* Makes sure of `size` further bytes behind those used. */
void bytes_reserve(struct bytes *bytes, size_t size);
void bytes_drop_front(struct bytes *bytes, size_t size);
void bytes_release(struct bytes *bytes);

#endif
