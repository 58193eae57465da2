/* See buffer.h. */
#include "base/buffer.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void
buffer_release(struct buffer *buffer)
{
	free(buffer->data);
	*buffer = (struct buffer){0};
}

int
buffer_reserve(struct buffer *buffer, size_t more)
{
	size_t needed, capacity = buffer->capacity != 0 ? buffer->capacity : 256;

	if (__builtin_add_overflow(buffer->count, more, &needed) || needed > SIZE_MAX / 2) {
		buffer->failed = true;
		return -ENOMEM;
	}
	if (needed <= buffer->capacity)
		return 0;
	while (capacity < needed)
		capacity *= 2;
	char *data = realloc(buffer->data, capacity);
	if (data == NULL) {
		buffer->failed = true;
		return -ENOMEM;
	}
	buffer->data = data;
	buffer->capacity = capacity;
	return 0;
}

void
buffer_append(struct buffer *buffer, const void *bytes, size_t count)
{
	if (count == 0 || buffer_reserve(buffer, count) != 0)
		return;
	memcpy(buffer->data + buffer->count, bytes, count);
	buffer->count += count;
}

void
buffer_append_string(struct buffer *buffer, const char *text)
{
	buffer_append(buffer, text, strlen(text));
}

void
buffer_append_char(struct buffer *buffer, char c)
{
	buffer_append(buffer, &c, 1);
}

void
buffer_printf(struct buffer *buffer, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	int length = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (length < 0 || buffer_reserve(buffer, (size_t)length + 1) != 0) {
		buffer->failed = true;
		return;
	}
	va_start(args, format);
	vsnprintf(buffer->data + buffer->count, (size_t)length + 1, format, args);
	va_end(args);
	buffer->count += (size_t)length;
}

char *
buffer_steal(struct buffer *buffer)
{
	char *data = NULL;

	buffer_append_char(buffer, '\0');
	if (!buffer->failed) {
		data = buffer->data;
		buffer->data = NULL;
	}
	buffer_release(buffer);
	return data;
}
