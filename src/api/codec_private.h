/* What the files of the codec share. */
#ifndef FETCHPOOL_API_CODEC_PRIVATE_H
#define FETCHPOOL_API_CODEC_PRIVATE_H

#include <jansson.h>

#include "api/problem.h"
#include "core/job.h"

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

/* A spec with the contract's defaults; NULL when memory runs out. */
struct job_spec *codec_new_spec(void);

/* What is read, and what has to be known until the end. */
struct spec_reader {
	struct job_spec *spec;
	const char *body_key; /* the first of the three body keys that came */
	bool delay_given, run_at_given;
	const char *not_built; /* a key that is understood but does nothing in this version */
};

/* ---- codec_memory.c */

/* Once, before jansson is used. */
void codec_memory_init(void);

/*
 * Any JSON, by jansson's flags; NULL when it is none, or when memory ran out, at any point of it, which *ret_poor tells apart. The
 * caller's to decref.
 */
json_t *codec_parse(const char *bytes, size_t length, size_t flags, json_error_t *ret_error, bool *ret_poor);

/* A value as text by jansson's flags; malloc'd, NULL when memory runs out. */
char *codec_print(const json_t *value, size_t flags);

/* ---- codec.c */

/* The JSON text, with real numbers in the shortest form that reads back as the same value; malloc'd. jansson's flags. */
char *codec_dump(const json_t *value, size_t flags);

/* 503. Returns -1. */
int codec_no_memory(struct problem *problem);

/* True when there are control characters other than tabs: what may not stand in a head. */
bool codec_has_control(const char *text);

/* A tag or an idempotency key: 1 to 255 bytes without control characters (C0, DEL, C1). */
bool codec_is_label(const char *text);

int codec_read_integer(const json_t *value, int64_t low, int64_t high, int64_t *ret, struct problem *problem)
	__attribute__((warn_unused_result));
int codec_read_boolean(const json_t *value, bool *ret, struct problem *problem) __attribute__((warn_unused_result));

/* The larger members of a spec; context is a struct spec_reader. */
int codec_read_headers(void *context, const json_t *value, struct problem *problem);
int codec_read_auth(void *context, const json_t *value, struct problem *problem);
int codec_read_retry(void *context, const json_t *value, struct problem *problem);

#endif
