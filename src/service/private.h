/* What the files of this room share. */
#ifndef FETCHPOOL_SERVICE_PRIVATE_H
#define FETCHPOOL_SERVICE_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/lock.h"
#include "base/state_dir.h"
#include "core/scheduler.h"
#include "core/table.h"
#include "fetch/egress.h"
#include "service/service.h"

struct service {
	const struct config *config;
	struct state_dir dir;
	struct table table; /* its lock is the core lock */
	struct scheduler *scheduler;
	struct ledger *ledger;
	struct pool *pool;
	char **secret_headers; /* lower case: the usual ones, then --secret-header */
	size_t secret_header_count;

	/* The core lock guards the rest. */
	pthread_t housekeeper;
	bool housekeeping; /* the thread runs */
	bool stop_housekeeping;
	struct cond changed;  /* something is due earlier than the housekeeper thinks */
	int64_t sleeps_until; /* monotonic */
	int64_t sweep_due_wall_ms;
	int64_t next_complaint_mono_ms;
	_Atomic(bool) draining; /* written under the lock, read anywhere */
	bool aborted;
	struct cond idle; /* nothing is in flight any more */
};

/* A change on its way to the ledger; freed when it is committed. NULL when memory runs out. */
struct ledger_entry *change_new(enum ledger_verb verb, struct job *job);

/* Hands changes to the ledger. Without the core lock. */
void changes_write(struct service *service, struct list *changes);

/* The ledger's answer (a ledger_committed_fn). */
void changes_committed(void *context, struct list *entries);

/*
 * Adds the end of a job to changes and marks the job as finishing. With the core lock. Attempt and response become the
 * change's own. A lack of memory here cannot be told to anyone: the job's end must not be lost, so it aborts.
 */
void end_job_locked(struct service *service, struct job *job, enum job_state state, const struct job_error *error,
	struct attempt *attempt, struct response *response, struct list *changes);

/* The same for a cancel, whichever state the job is in; an attempt that runs is stopped when the lock is dropped. */
void cancel_job_locked(struct service *service, struct job *job, struct list *changes);

/* Wakes the loops that the scheduler named. */
void wake_loops(struct service *service, int wake);

/* Makes the housekeeper look again if something is due before it would wake by itself. With the core lock. */
void poke_housekeeper_locked(struct service *service, int64_t due_mono_ms);

/* The housekeeper thread: run_at, queue time-outs, deadlines, waits whose time is up, expiry. */
void *housekeeper_run(void *service);

/* The pool's hooks. */
size_t run_take(void *context, unsigned loop, struct job **jobs, size_t max);
void run_ended(void *context, unsigned loop, struct list *outcomes);

#endif
