/*
 * Which job runs next, and where. Each origin (host and port) has a queue, ordered by priority and then by age, and a
 * limit of fetches in flight; origins that may start something stand in the ready queue of their home loop, the one
 * that keeps their connections, ordered by the priority of their first job and then by who was served longest ago. A
 * loop takes from its own ready queue first, and helps other loops with hot origins (SCHEDULER_HOT jobs or more).
 * Among the jobs for an origin those of one owner (a client's token) stand in a lane of their own. When an owner has as many
 * in flight as it may, the lane that would be next is held, and the origin goes on with others; when one of the owner's jobs
 * ends, held lanes go back.
 * Jobs that are not yet due, or have a time limit on queueing, stand in a heap of timers on the monotonic clock.
 *
 * A job is in exactly one of three places: parked (timer only), queued (its lane), in flight (counted by its origin and its
 * owner). All of it O(log n) in jobs and origins. Lock: every function wants the core lock.
 */
#ifndef FETCHPOOL_CORE_SCHEDULER_H
#define FETCHPOOL_CORE_SCHEDULER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/heap.h"
#include "core/job.h"

#define SCHEDULER_HOT 8

/* The limit of one host (port 0: each of its ports). */
struct origin_limit {
	const char *host;
	int port;
	size_t max_in_flight;
};

struct scheduler_limits {
	size_t max_in_flight, max_in_flight_per_origin;
	const struct origin_limit *origins;
	size_t origin_count;
};

struct owner;
struct scheduler;

/* loops: the number of fetch loops. The limits are copied. Returns 0 or -ENOMEM. */
int scheduler_new(const struct scheduler_limits *limits, unsigned loops, struct scheduler **ret)
	__attribute__((warn_unused_result));
void scheduler_free(struct scheduler *scheduler);

/* Takes over new limits (SIGHUP). Returns 0 or -ENOMEM, when nothing changed. */
int scheduler_set_limits_locked(struct scheduler *scheduler, const struct scheduler_limits *limits)
	__attribute__((warn_unused_result));

/* Which loops have something new to take: one (its index), or all of them. */
#define SCHEDULER_NO_LOOP (-1)
#define SCHEDULER_ALL_LOOPS (-2)
int scheduler_wake_both(int a, int b); /* two such wakes as one */

/*
 * Takes in a queued job of job->owner (it keeps no reference: a job leaves by take, remove or expire before its last reference goes).
 * Sets *ret_wake to the loop to wake. Returns 0 or -ENOMEM.
 */
int scheduler_add_locked(struct scheduler *scheduler, struct job *job, int64_t now_mono_ms, int *ret_wake)
	__attribute__((warn_unused_result));

/* Takes out a job that is not in flight (cancelled). Sets *ret_wake as scheduler_add_locked. */
void scheduler_remove_locked(struct scheduler *scheduler, struct job *job, int *ret_wake);

/* Limits of owners were set anew: to be called for each of all owners; then wake all loops. */
void scheduler_owner_changed_locked(struct scheduler *scheduler, struct owner *owner);

/* Gives loop up to max jobs, which are in flight from now on. */
size_t scheduler_take_locked(struct scheduler *scheduler, unsigned loop, struct job **jobs, size_t max);

/* A job in flight has ended: its slots are free. Sets *ret_wake as scheduler_add_locked. */
void scheduler_done_locked(struct scheduler *scheduler, struct job *job, int *ret_wake);

/*
 * Lets jobs run whose run_at has come. A job whose queue_timeout or deadline is up is taken out and returned, the next
 * one at each call, with the reason; NULL when there is none left. *ret_wake as scheduler_add_locked, over all calls.
 */
struct job *scheduler_expire_locked(
	struct scheduler *scheduler, int64_t now_mono_ms, enum job_error_code *ret_why, int *ret_wake);

/* The next time at which scheduler_expire_locked has something to do; INT64_MAX for never. */
int64_t scheduler_next_due_locked(const struct scheduler *scheduler);

size_t scheduler_in_flight_locked(const struct scheduler *scheduler);
size_t scheduler_origins_locked(const struct scheduler *scheduler);

#endif
