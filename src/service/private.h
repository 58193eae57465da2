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
#include "fetch/ways.h"
#include "service/service.h"

struct service {
	const struct config *config;
	struct state_dir dir;
	struct table table; /* its lock is the core lock */
	struct scheduler *scheduler;
	struct ledger *ledger;
	struct pool *pool;
	struct ways_slot ways; /* has a lock of its own */
	bool has_ways;
	char *dns_servers;     /* of --dns-server, joined; NULL: the system's */
	char **secret_headers; /* lower case: the usual ones, then --secret-header */
	size_t secret_header_count;
	struct endpoint *listening; /* where the front door does; main's thread alone */
	size_t listening_count;
	unsigned *
		beats; /* service_beats's own: the turns of each loop, then the housekeeper's rounds, when it asked last */

	/* The core lock guards the rest. */
	pthread_t housekeeper;
	bool housekeeping; /* the thread runs */
	bool stop_housekeeping;
	struct cond changed;  /* something is due earlier than the housekeeper thinks */
	int64_t sleeps_until; /* monotonic */
	int64_t sweep_due_wall_ms;
	int64_t next_complaint_mono_ms;
	_Atomic(bool) draining;   /* written under the lock, read anywhere */
	_Atomic(bool) recovering; /* the same */
	bool aborted;
	struct cond idle;      /* nothing is on the wire any more */
	size_t launching;      /* jobs in flight whose start is not durable yet: nothing of them is on the wire */
	uint64_t finish_order; /* of the newest end */
	int64_t unstored; /* weight of the ends that are not committed yet; from UNSTORED_MAX on no attempt begins */
	unsigned rounds;  /* of the housekeeper */
	struct list *launched;   /* for each loop: jobs whose start is durable, to be handed to it */
	struct list unscheduled; /* jobs to be given to the scheduler again, which had no memory; references */
	struct ledger_entry *reserved_end; /* for the next job that ends while it waits */
	int64_t retry_due_mono_ms;         /* what found no memory is tried again; INT64_MAX: nothing */
};

/* What ends may weigh before the disk has them: some memory each, their bodies, and for one in a file its descriptor. */
#define UNSTORED_MAX (64 << 20)

/* When something is tried again that found no memory. */
#define MEMORY_RETRY_MS 250

/* A change on its way to the ledger; freed when it is committed. NULL when memory runs out. */
struct ledger_entry *change_new(enum ledger_verb verb, struct job *job);

/*
 * Reserve, then commit: memory for a change that is made later, when it must not fail. Where it is reserved already, it does nothing.
 * Returns 0 or -ENOMEM.
 */
int change_reserve(struct ledger_entry **reserved) __attribute__((warn_unused_result));

/* Adds the change for which memory was reserved. */
struct ledger_entry *change_add(
	struct ledger_entry **reserved, enum ledger_verb verb, struct job *job, struct list *changes);

/* Hands changes to the ledger. Without the core lock. */
void changes_write(struct service *service, struct list *changes);

/* The ledger's hooks. */
void changes_committed(void *context, struct list *entries);
void changes_relieved(void *context);

/*
 * Adds the end of a job to changes and marks the job as finishing. With the core lock. Attempt and response become the
 * change's own. Memory for it has been reserved with the job (reserved_end): what has happened to a job must not be lost.
 */
void end_job_locked(struct service *service, struct job *job, enum job_state state, const struct job_error *error,
	struct attempt *attempt, struct response *response, struct list *changes);

/*
 * Adds to changes that the job waits again as if its attempt had not begun: once that is committed it is queued, and goes to
 * the scheduler unless the server drains. With the core lock; takes what is reserved for the job's end.
 */
void requeue_job_locked(struct job *job, unsigned crashes, struct list *changes);

/* Adds to changes that an attempt begins, in memory that is reserved. With the core lock. */
void start_job_locked(struct job *job, bool lazy, struct ledger_entry **reserved, struct list *changes);

/* The attempt that runs, as it is cut off, as far as it can be told; NULL when memory runs out. With the core lock. */
struct attempt *cut_attempt_locked(const struct job *job);

/*
 * Ends a job by a cancel, whichever state it is in; an attempt that runs is stopped when the lock is dropped. Adds to *ret_wake the
 * loops that may start others for it. Returns 0 or -ENOMEM.
 */
int cancel_job_locked(struct service *service, struct job *job, struct list *changes, int *ret_wake)
	__attribute__((warn_unused_result));

/* Something found no memory: the housekeeper tries it again, or has the loops do so, in a moment. With the core lock. */
void retry_later_locked(struct service *service);

/* Gives the scheduler jobs that it had no memory for. Those that are not to run any more go to dropped, with a reference. */
void schedule_again_locked(struct service *service, int *ret_wake, struct list *dropped);

/* Wakes the loops that the scheduler named. */
void wake_loops(struct service *service, int wake);

/* Makes the housekeeper look again if something is due before it would wake by itself. With the core lock. */
void poke_housekeeper_locked(struct service *service, int64_t due_mono_ms);

/* Does what is due now; gives the monotonic time to come again. For the housekeeper, and once at the start. */
int64_t housekeeper_round(struct service *service);

/* The housekeeper thread: run_at, queue time-outs, deadlines, waits whose time is up, expiry. */
void *housekeeper_run(void *service);

/* Takes up the jobs of an earlier run. Returns 0 or -errno with a message. */
int recover_jobs(struct service *service, char **ret_message) __attribute__((warn_unused_result));

/* Adds to changes the end of a job whose attempt was cut off and may have arrived. With the core lock. */
void end_unknown_locked(struct service *service, struct job *job, struct list *changes);

/* The start of an attempt is durable: it goes to its loop, or waits again if the server drains. With the core lock; sets *ret_wake. */
void run_launched_locked(
	struct service *service, struct job *job, struct list *woken, struct list *changes, int *ret_wake);

/* True when nothing is on the wire. With the core lock. */
bool run_idle_locked(const struct service *service);

/* Lets go of jobs that hang on a list by their launch_node. Without the core lock. */
void run_unref_launched(struct list *jobs);

/* Jobs that are to begin wait again. Once the server drains, when none begins any more. */
void run_give_up_launched(struct service *service);

/* The pool's hooks. */
size_t run_take(void *context, unsigned loop, struct job **jobs, size_t max);
void run_ended(void *context, unsigned loop, struct list *outcomes);

#endif
