/* How long a client is ready to wait, and the parking of those who do. */
#ifndef FETCHPOOL_API_WAIT_H
#define FETCHPOOL_API_WAIT_H

#include "api/front.h"

/*
 * The wait asked for by ?wait or Prefer, capped: milliseconds, -1 when none was. Returns 0, or -1 with a problem.
 */
int wait_asked_for(struct http_request *request, int64_t *ret_ms, struct problem *problem)
	__attribute__((warn_unused_result));

/* Tells the wait in force in Preference-Applied; ms -1: none. */
void wait_tell(struct http_reply *reply, int64_t ms);

/*
 * A client that waits for one job or more; lives as the request's state. The jobs' references are its own.
 */
struct wait_state {
	struct await await;
	struct http_request *request;
	int64_t wait_ms; /* asked for, -1: none */
	uint32_t since;
	bool has_etag;
	bool ours;                 /* of a cancel */
	bool repeated;             /* of a submission: its key was there already */
	size_t cancelled;          /* of a bulk cancel: how many */
	struct refusal over_quota; /* of a submission that is taken for a repetition alone: why */
	size_t count;
	struct waiter waiters[];
};

/* A state for these jobs, whose references it takes over, set as the request's; NULL when memory runs out. */
struct wait_state *wait_state_new(struct http_request *request, struct job **jobs, size_t count);

/*
 * Waits until needed of the jobs are past since (AWAIT_DONE_ONLY: done), for up to ms, then calls then. Returns 0, or -1 when too
 * many wait (then is not called).
 */
int wait_begin(struct wait_state *state, size_t needed, uint32_t since, int64_t ms, http_handler_fn *then)
	__attribute__((warn_unused_result));

/*
 * The same on one job, for what the store commits soon: it does not count against --max-waiters, and a drain does not end it. Without
 * an end in sight (INT64_MAX), or for up to ms.
 */
void wait_firmly(struct wait_state *state, uint32_t since, int64_t ms, http_handler_fn *then);

/* Answers that too many wait already. */
void wait_refuse(struct http_request *request);

/* POST /v1/wait. */
void wait_post(struct http_request *request);

#endif
