/*
 * The head of an origin's answer, line by line as libcurl hands it over: interim (1xx) heads are dropped, names lowered,
 * values kept as received, bytes that are not UTF-8 read as ISO 8859-1. Trailers are counted and ignored. One thread.
 */
#ifndef FETCHPOOL_FETCH_HEAD_H
#define FETCHPOOL_FETCH_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "core/job.h"

#define HEAD_MAX_BYTES (256 * 1024) /* of one answer, interim heads and trailers included */
#define HEAD_MAX_FIELDS 2000
#define HEAD_MAX_FOLDED 2000 /* lines folded onto a field: libcurl copies what it has of the value for each */
#define HEAD_MAX_INTERIM 100 /* interim heads before the final one */

struct head {
	struct arena *arena;
	int status; /* of the last status line; 0: none yet */
	char version[8];
	struct fields fields;
	size_t capacity;
	size_t bytes;
	size_t value_bytes, value_room; /* of the last field's value while lines are folded onto it; room 0: none yet */
	unsigned interim, folded;
	const char *why;        /* with HEAD_TOO_LONG: which bound, and with HEAD_BROKEN: a line for the client */
	int64_t content_length; /* -1: none, or it does not count beside Transfer-Encoding; valid once whole */
	bool whole;             /* the final head has ended */
};

enum head_step {
	HEAD_MORE,     /* go on */
	HEAD_ENDED,    /* this line ended the final head */
	HEAD_TOO_LONG, /* above a bound; why says which */
	/* This line ended a head that does not say how long its body is (RFC 9112, section 6.3); why says what is wrong. */
	HEAD_BROKEN,
	HEAD_NO_MEMORY,
};

void head_init(struct head *head, struct arena *arena);
enum head_step head_line(struct head *head, const char *line, size_t length) __attribute__((warn_unused_result));

/* True when the Content-Type is of this type (lower case, without parameters). */
bool head_is_type(const struct head *head, const char *type);

#endif
