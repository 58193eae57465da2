/*
 * Where a response's body goes as it arrives: memory up to a bound, then a file, ID.part, which a durable store syncs and moves
 * to its name. Counts the decoded bytes, hashes them (SHA-256), and stops at the cap. One thread.
 */
#ifndef FETCHPOOL_FETCH_SINK_H
#define FETCHPOOL_FETCH_SINK_H

#include <stdint.h>

#include "base/buffer.h"
#include "base/id.h"
#include "base/sha256.h"
#include "core/job.h"

#define SINK_MEMORY_BYTES (64 * 1024) /* at least so much stays in memory */

struct sink {
	const char *dir; /* where files go */
	struct id id;    /* names the file */
	int64_t cap, inline_bytes;
	int64_t bytes;
	struct buffer memory;
	int64_t counted_bytes; /* of it, against --max-memory */
	int fd;                /* -1: no file */
	char *path;
	struct sha256 hash;
};

/* Bodies of up to inline_bytes stay in memory, too, and are tested for being text. Returns 0 or -ENOMEM. */
int sink_open(struct sink *sink, const char *dir, const struct id *id, int64_t cap, int64_t inline_bytes)
	__attribute__((warn_unused_result));

/* Returns 0, -EFBIG above the cap, or -errno of the file. */
int sink_write(struct sink *sink, const void *bytes, size_t count) __attribute__((warn_unused_result));

/* Hands the body over, a file still open, and closes the sink. Returns 0 or -errno. */
int sink_finish(struct sink *sink, struct body *ret) __attribute__((warn_unused_result));

/* Throws the body away, its file too. A closed sink stays closed. */
void sink_abandon(struct sink *sink);

#endif
