/*
 * The live jobs by id, and the core lock. A job is here from the moment it is durable until its end is; finished jobs
 * are the ledger's. The core lock guards this table, the awaits, the scheduler and what changes in a job; it is taken
 * before the ledger's and the pool's own locks and never while one of them is held (doc/design.md draws the order).
 */
#ifndef FETCHPOOL_CORE_TABLE_H
#define FETCHPOOL_CORE_TABLE_H

#include <stddef.h>

#include "base/id.h"
#include "base/lock.h"
#include "core/await.h"
#include "core/job.h"
#include "core/owners.h"

struct table {
	struct lock lock; /* the core lock */
	struct job *jobs; /* a hash of live jobs by id; holds a reference to each */
	size_t counts[JOB_STATE_COUNT];
	struct list running; /* jobs in that state, the one that began last at the end */
	size_t admitted;     /* not running, not done: what --max-queued bounds; counts reservations too */
	size_t max_queued;
	struct awaits awaits;
	struct owners owners; /* whose jobs they are */
};

void table_init(struct table *table, size_t max_queued, size_t max_waiters);

/* Drops all jobs. */
void table_release(struct table *table);

/* Reserves a place in the queue: 0, or -EAGAIN when it is full. table_insert or table_unreserve ends the reservation. */
int table_reserve_locked(struct table *table) __attribute__((warn_unused_result));
void table_unreserve_locked(struct table *table);

/* Takes a place for a job of an earlier life, even when the queue is full, or its owner's quota is. */
void table_readmit_locked(struct table *table, const struct job *job);

/* Makes a reserved job visible. Takes a reference of its own. Returns 0 or -ENOMEM. */
int table_insert_locked(struct table *table, struct job *job) __attribute__((warn_unused_result));

/* Takes out a job that was inserted, as if it had not been; its reservation stays. */
void table_remove_locked(struct table *table, struct job *job);

/* The job, borrowed, or NULL. */
struct job *table_find_locked(struct table *table, const struct id *id);

/* Up to max jobs that run, each with a reference. */
size_t table_running_locked(struct table *table, struct job **jobs, size_t max);

/* Moves a job to a state that is not done. Awaits it satisfies are moved to woken. */
void table_move_locked(struct table *table, struct job *job, enum job_state state, struct list *woken);

/* The same to a done state: the job leaves the table, which drops its reference last. */
void table_finish_locked(struct table *table, struct job *job, enum job_state state, struct list *woken);

#endif
