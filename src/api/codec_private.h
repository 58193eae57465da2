/* What the files of the codec share. */
#ifndef FETCHPOOL_API_CODEC_PRIVATE_H
#define FETCHPOOL_API_CODEC_PRIVATE_H

#include <jansson.h>

#include "api/problem.h"

/* A strict JSON object, or NULL with a problem. The caller's to decref. */
json_t *codec_load(const char *bytes, size_t length, struct problem *problem);

/* A key of an object: its reader gives 0, or -1 with a problem whose pointer is relative to the value. */
struct codec_key {
	const char *name;
	int (*read)(void *context, const json_t *value, struct problem *problem);
	bool takes_null; /* else a null is as if left out */
};

/* Reads each member by its row, in the order given; refuses others. */
int codec_each(const json_t *object, const struct codec_key *keys, size_t count, void *context, struct problem *problem)
	__attribute__((warn_unused_result));

/* "invalid", pointing at the value itself. Returns -1. */
int codec_wrong(struct problem *problem, const char *detail);

/* A number of seconds or a string with a unit. */
int codec_read_duration(const json_t *value, int64_t *ret_ms, struct problem *problem)
	__attribute__((warn_unused_result));
int codec_read_positive_duration(const json_t *value, int64_t *ret_ms, struct problem *problem)
	__attribute__((warn_unused_result));

#endif
