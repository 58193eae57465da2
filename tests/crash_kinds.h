/* The kinds of jobs that the crash loop submits, and what may become of each. Constant. */
#ifndef TESTS_CRASH_KINDS_H
#define TESTS_CRASH_KINDS_H

#include "crash_random.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct crash_kind {
	const char *name;
	unsigned weight; /* how often, against the others */
	const char *method;
	const char *path;      /* on the origin; a whole URL for what is refused */
	const char *more;      /* further members of the spec, with ' for ", each with a comma before it; may be NULL */
	unsigned run_at_ms;    /* asks for a run_at so long after the submission */
	unsigned ttl_ms;       /* asks for so short a ttl that it expires while the loop runs */
	unsigned max_attempts; /* 0: one, without a word in the spec */
	int status;            /* of its response when it succeeds; 0: it never does */
	int64_t body_bytes;    /* of that response; 0: any */
	size_t upload_bytes;   /* of the request's body; 0: a few */
	unsigned hops;         /* further requests of an attempt, for redirects */
	const char *error;     /* the code it fails with even if nothing crashes */
	bool unsafe;           /* asks for retry.unsafe */
	bool keyed;            /* has an idempotency key, and is submitted again */
	bool held;             /* the origin does not answer before the end of the loop */
};

#define CRASH_KINDS_MAX 64

extern const struct crash_kind crash_kinds[];
extern const unsigned crash_kind_count;

const struct crash_kind *crash_kind_pick(struct crash_random *random);
/* False for methods that must not be sent twice. */
bool crash_kind_repeatable(const struct crash_kind *kind);
/* False when no packet of it may leave. */
bool crash_kind_sent(const struct crash_kind *kind);
/* The JSON that submits the job of this number; the caller frees. */
char *crash_kind_spec(const struct crash_kind *kind, unsigned port, unsigned number, uint64_t seed);

#endif
