/*
 * What is a fault, and what may be: the contract's words on crashes as functions of what was known of a job and what an
 * answer now says. Pure: it changes nothing and asks nobody, so that test_crash.c can try it with made-up answers.
 */
#ifndef TESTS_CRASH_JUDGE_H
#define TESTS_CRASH_JUDGE_H

#include "client.h"
#include "crash.h"
#include "crash_kinds.h"
#include "origin.h"

#define CRASH_ID_BYTES 40
#define CRASH_POISONED_AFTER 3 /* crashes in a row */

/* A job as the book knows it. Under the book's lock, but for what never changes once it is set. */
struct crash_job {
	unsigned number; /* in its URL: the origin counts by it */
	const struct crash_kind *kind;
	struct origin *origin; /* NULL once nobody is to ask it any more */
	unsigned born;         /* ends of the daemon before it was submitted */
	int64_t born_ms;       /* wall clock */
	const char *spec;      /* what submits it */

	char id[CRASH_ID_BYTES]; /* "" until it is acknowledged */
	char *promise;           /* what of its JSON must stay as it is; NULL until acknowledged */

	bool cancel_sent, delete_sent; /* perhaps without an answer */
	bool removed;                  /* 204, or not there after a delete without an answer */
	bool done;                     /* was seen finished */
	char *end;                     /* its JSON as seen finished; only the beginning of a long one */
	unsigned char end_hash[32];    /* of all of it */
	char etag[24];                 /* with that, "" until told */
	int64_t expires_ms;            /* wall clock; 0 until done */
	int64_t body_bytes;            /* of its response when that is not within the JSON, else 0 */
	char body_hash[65];            /* then: of those, as the JSON says */
	bool released;                 /* the origin answers it, if it is held */

	long count_at_end;   /* of requests at the origin, after the first crash behind its end; -1 before */
	unsigned times_read; /* after a start, since it is done */
	bool faulty;         /* told of; not looked at again */
};

/* What was known when a request left: what it says must hold for the answer. */
struct crash_known {
	bool done, removed;
};

struct crash_verdict {
	const char *why; /* NULL: no fault */
	enum crash_fault fault;
};

struct crash_now {
	int64_t wall_ms;
	unsigned ends;           /* of the daemon so far, crashes or not */
	unsigned crashes;        /* of them */
	const int64_t *crash_ms; /* when each was, wall clock */
	unsigned row;            /* crashes at work at the end of them, one after the other */
};

/* An answer that shows the job, or a 404. */
struct crash_verdict crash_judge_answer(const struct crash_job *job, const struct crash_known *known,
	const struct client_reply *reply, struct crash_now now);
/* Any JSON of the job, from whatever answer. `raw` may be NULL where it stands within something else. */
struct crash_verdict crash_judge_json(const struct crash_job *job, const struct crash_known *known, const json_t *json,
	const struct bytes *raw, struct crash_now now);
/* How often the origin saw it. */
struct crash_verdict crash_judge_count(const struct crash_job *job, size_t count, struct crash_now now);
/* True when it may be gone by its ttl. */
bool crash_may_be_expired(const struct crash_job *job, int64_t wall_ms);

/* The members that never change, as one text; the caller frees. NULL when they are not all there. */
char *crash_promise_of(const struct crash_kind *kind, const json_t *json);
void crash_hash(const struct bytes *raw, unsigned char ret[32]);

#endif
