/* A growing run of bytes; see bytes.h. No locks: each belongs to one thread at a time. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "bytes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void
bytes_reserve(struct bytes *bytes, size_t size)
{
	size_t room = bytes->room ? bytes->room : 256;

	while (room - bytes->used <= size)
		room *= 2;
	if (room == bytes->room)
		return;
	bytes->data = realloc(bytes->data, room);
	if (!bytes->data)
		abort();
	bytes->room = room;
}

void
bytes_append(struct bytes *bytes, const void *data, size_t size)
{
	bytes_reserve(bytes, size);
	if (size)
		memcpy(bytes->data + bytes->used, data, size);
	bytes->used += size;
	bytes->data[bytes->used] = '\0';
}

void
bytes_text(struct bytes *bytes, const char *text)
{
	bytes_append(bytes, text, strlen(text));
}

void
bytes_vformat(struct bytes *bytes, const char *format, va_list arguments)
{
	char *text;
	int size = vasprintf(&text, format, arguments);

	if (size < 0)
		abort();
	bytes_append(bytes, text, (size_t)size);
	free(text);
}

void
bytes_format(struct bytes *bytes, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	bytes_vformat(bytes, format, arguments);
	va_end(arguments);
}

void
bytes_drop_front(struct bytes *bytes, size_t size)
{
	if (!size)
		return;
	memmove(bytes->data, bytes->data + size, bytes->used - size);
	bytes->used -= size;
	bytes->data[bytes->used] = '\0';
}

void
bytes_release(struct bytes *bytes)
{
	free(bytes->data);
	*bytes = (struct bytes){0};
}
