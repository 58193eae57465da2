/* See sink.h. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "fetch/sink.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory_budget.h"
#include "base/text.h"

/* What a body may have in memory while that is short. */
#define SHORT_MEMORY_BYTES 4096

int
sink_open(struct sink *sink, const char *dir, const struct id *id, int64_t cap, int64_t inline_bytes)
{
	*sink = (struct sink){.dir = dir, .id = *id, .cap = cap, .inline_bytes = inline_bytes, .fd = -1};
	return sha256_init(&sink->hash);
}

static int
write_file(int fd, const char *bytes, size_t count)
{
	while (count > 0) {
		ssize_t written = write(fd, bytes, count);

		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0)
			return -errno;
		bytes += written;
		count -= (size_t)written;
	}
	return 0;
}

static int64_t
max_in_memory(const struct sink *sink)
{
	if (memory_is_short())
		return SHORT_MEMORY_BYTES;
	return sink->inline_bytes > SINK_MEMORY_BYTES ? sink->inline_bytes : SINK_MEMORY_BYTES;
}

/* Goes on in a file, which begins with what was in memory. */
static int
spill(struct sink *sink)
{
	char name[ID_TEXT_BYTES];

	id_format(&sink->id, name);
	if (asprintf(&sink->path, "%s/%s.part", sink->dir, name) < 0) {
		sink->path = NULL;
		return -ENOMEM;
	}
	sink->fd = open(sink->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (sink->fd < 0)
		return -errno;
	int error = write_file(sink->fd, sink->memory.data, sink->memory.count);
	buffer_release(&sink->memory);
	memory_give(MEMORY_RESPONSES, &sink->counted_bytes);
	return error;
}

int
sink_write(struct sink *sink, const void *bytes, size_t count)
{
	if ((int64_t)count > sink->cap - sink->bytes)
		return -EFBIG;
	sink->bytes += (int64_t)count;
	sha256_update(&sink->hash, bytes, count);
	if (sink->fd < 0 && sink->bytes <= max_in_memory(sink)) {
		memory_take_anyway(MEMORY_RESPONSES, (int64_t)count);
		sink->counted_bytes += (int64_t)count;
		buffer_append(&sink->memory, bytes, count);
		return sink->memory.failed ? -ENOMEM : 0;
	}
	int error = sink->fd < 0 ? spill(sink) : 0;
	return error != 0 ? error : write_file(sink->fd, bytes, count);
}

static void
close_sink(struct sink *sink)
{
	sha256_abandon(&sink->hash);
	if (sink->fd >= 0)
		close(sink->fd);
	sink->fd = -1;
	buffer_release(&sink->memory);
	memory_give(MEMORY_RESPONSES, &sink->counted_bytes);
	free(sink->path);
	sink->path = NULL;
}

int
sink_finish(struct sink *sink, struct body *ret)
{
	struct body body = {.bytes = sink->bytes};

	int error = sha256_final(&sink->hash, body.sha256);
	if (error != 0)
		return error;
	if (sink->fd >= 0) {
		body.fd = sink->fd;
		sink->fd = -1;
		body.path = sink->path;
		sink->path = NULL;
	} else {
		body.is_text = body.bytes <= sink->inline_bytes && utf8_valid(sink->memory.data, sink->memory.count) &&
			(sink->memory.count == 0 || memchr(sink->memory.data, 0, sink->memory.count) == NULL);
		body.data = buffer_steal(&sink->memory);
		if (body.data == NULL)
			return -ENOMEM;
		char *fitting = realloc(body.data, (size_t)body.bytes + 1); /* kept for long: give back what is spare */
		if (fitting != NULL)
			body.data = fitting;
		body.counted_bytes = sink->counted_bytes;
		sink->counted_bytes = 0;
	}
	close_sink(sink);
	*ret = body;
	return 0;
}

void
sink_abandon(struct sink *sink)
{
	if (sink->path != NULL)
		unlink(sink->path);
	close_sink(sink);
}
