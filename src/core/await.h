/*
 * Futures: what a client waits for, and the wake when it has come. An await stands for one parked client; it watches
 * one job or many and is woken once, by whichever comes first: enough of them are done (or newer than asked), its time
 * is up, or the server shuts down.
 *
 * Lock: every function here wants the core lock. Waking happens outside it: functions that find awaits to wake put them
 * on a list, and the caller calls await_wake_all after dropping the lock.
 */
#ifndef FETCHPOOL_CORE_AWAIT_H
#define FETCHPOOL_CORE_AWAIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/heap.h"
#include "base/list.h"
#include "core/job.h"

/* As since: only the end counts; or that the job's removal is decided (job->removal). */
#define AWAIT_DONE_ONLY UINT32_MAX
#define AWAIT_REMOVAL (UINT32_MAX - 1)

struct await;

/* One job that an await watches. */
struct waiter {
	struct list node; /* in its job's waiters while it waits */
	struct job *job;  /* a reference, the owner's to give back */
	struct await *await;
	uint32_t since; /* fires when the job is done or its version is above this */
};

enum await_end { AWAIT_WOKEN, AWAIT_TIMED_OUT, AWAIT_SHUT_DOWN };

/* Owned by whoever waits; may not be freed between await_begin and its wake. */
struct await {
	struct waiter *waiters;
	size_t count;
	size_t needed; /* so many must have fired */
	int64_t due_mono_ms;
	bool firm; /* for a commit, which comes soon: neither the limit nor the first part of a shut-down ends it */
	void (*wake)(struct await *await); /* called once, without a lock, on any thread */
	enum await_end end;                /* why it was woken; valid from the wake on */

	size_t fired;
	struct heap_node timer_node;
	struct list node; /* among all that wait, then on the list of those to wake */
};

struct awaits {
	struct heap timers;
	struct list waiting;
	size_t count, limit; /* of those that are not firm */
	bool shut, shut_firm;
};

void awaits_init(struct awaits *awaits, size_t limit);

/* True when the job has come to what the waiter asked for. */
bool waiter_fired(const struct waiter *waiter);

/*
 * Begins to wait. Returns 1 when there is nothing to wait for (enough have fired, or the server shuts down: end is
 * set), 0 when wake will be called, -EAGAIN when the limit of waits is reached (never for a firm one).
 */
int await_begin_locked(struct awaits *awaits, struct await *await) __attribute__((warn_unused_result));

/* The job has changed: awaits that this satisfies are moved to woken. */
void awaits_job_changed_locked(struct awaits *awaits, struct job *job, struct list *woken);

/* Moves the awaits whose time is up to woken. */
void awaits_expire_locked(struct awaits *awaits, int64_t now_mono_ms, struct list *woken);

/* The next time at which one is up; INT64_MAX for none. */
int64_t awaits_next_due_locked(const struct awaits *awaits);

/* Moves all to woken, the firm ones too if asked for; from now on nothing (else) waits. */
void awaits_shut_locked(struct awaits *awaits, bool firm, struct list *woken);

/* Calls wake on each. Without the lock. */
void await_wake_all(struct list *woken);

#endif
