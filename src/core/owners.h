/*
 * Whose the live jobs are: for each token's name what it has waiting and running, and what it may have. An owner is made
 * when it is first named, by a token or by a job, and stays until the end: there are as many as there were tokens. Lock:
 * the core lock for everything.
 */
#ifndef FETCHPOOL_CORE_OWNERS_H
#define FETCHPOOL_CORE_OWNERS_H

#include <stddef.h>
#include <stdint.h>
#include <uthash.h>

#include "base/bucket.h"
#include "base/heap.h"
#include "base/list.h"

/* 0: no limit. */
struct owner_limits {
	const char *name;
	int64_t jobs_per_minute, max_queued, max_in_flight;
};

struct owner {
	UT_hash_handle hh;
	struct bucket minute; /* its submissions */
	size_t max_queued, max_in_flight;
	size_t waiting;     /* jobs that are queued or retrying, and submissions on their way to that */
	size_t running;     /* jobs in that state */
	uint64_t submitted; /* jobs taken in by this process */

	/* core/scheduler.c */
	size_t in_flight;
	struct heap held; /* its lanes that wait for the end of one of its jobs */
	struct list offer_node;

	char name[];
};

struct owners {
	struct owner *by_name;
};

enum owner_quota { OWNER_WITHIN_QUOTA, OWNER_JOBS_PER_MINUTE, OWNER_MAX_QUEUED, OWNER_MAX_IN_FLIGHT };

/* Which quota a submission is over, its number, and after how long it may be worth trying again. */
struct owner_refusal {
	enum owner_quota quota;
	int64_t limit;
	int64_t retry_after_ms;
};

/* The owner of this name, made if needed (NULL when memory runs out), or NULL for a NULL name. */
struct owner *owners_get_locked(struct owners *owners, const char *name);

/* The owner of this name, or NULL when there is none. */
struct owner *owners_find_locked(const struct owners *owners, const char *name);

/* Sets the limits of these; all others keep theirs. Returns 0 or -ENOMEM, when some were set. */
int owners_limit_locked(struct owners *owners, const struct owner_limits *limits, size_t count, int64_t now_mono_ms)
	__attribute__((warn_unused_result));

void owners_release(struct owners *owners);

/*
 * Lets so many new jobs in together, which count as waiting from now on, or none of them. Jobs above max_in_flight wait
 * for their turn as long as max_queued allows; where there is no max_queued, none may be left waiting. Returns 0, or -1
 * with the quota that it is over.
 */
int owner_admit_locked(struct owner *owner, size_t count, int64_t now_mono_ms, struct owner_refusal *ret)
	__attribute__((warn_unused_result));

/* These have not become jobs after all: as if they had never been let in. */
void owner_unadmit_locked(struct owner *owner, size_t count);

#endif
