/*
 * Jobs on their way through the pool: handed to a loop when the scheduler lets them, ended by their outcome. The pool's hooks are
 * called on the loops' threads.
 */
#include "service/private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory_budget.h"

void
wake_loops(struct service *service, int wake)
{
	if (wake == SCHEDULER_ALL_LOOPS)
		pool_wake_all(service->pool);
	else if (wake != SCHEDULER_NO_LOOP)
		pool_wake(service->pool, (unsigned)wake);
}

/* ---- the start of attempts */

static void
begin_locked(struct service *service, struct job *job, struct list *woken)
{
	table_move_locked(&service->table, job, JOB_running, woken);
}

/*
 * An attempt that may not be made twice has its start made durable before its first byte leaves: the job comes to its loop by way
 * of the ledger. So does one of an earlier run, for it may be what ended that, and do so again before a start that nobody awaits is
 * written. Of others the start is noted, too, but not awaited. Returns true when it may begin at once.
 */
static bool
note_start_locked(struct service *service, struct job *job, int64_t now_wall_ms, struct ledger_entry **start,
	struct list *woken, struct list *changes)
{
	if (job->started_wall_ms == 0)
		job->started_wall_ms = now_wall_ms;
	job->attempt_started_wall_ms = now_wall_ms;
	job->attempt_started_mono_ms = mono_ms();
	job->attempt_number = job->attempt_count + 1;
	if (*start != NULL && (job->recovered || !job_spec_repeatable(job->spec))) {
		job->launching = true;
		service->launching++;
		start_job_locked(job, false, start, changes);
		return false;
	}
	begin_locked(service, job, woken);
	if (*start != NULL)
		start_job_locked(job, true, start, changes);
	return true;
}

/* What an attempt needs to begin and to end: the end must not fail for want of memory. The start is for a durable store alone. */
static int
reserve_attempt(const struct service *service, struct job *job, struct ledger_entry **ret_start)
{
	if (change_reserve(&job->reserved_end) != 0)
		return -ENOMEM;
	return service->ledger->ops->durable ? change_reserve(ret_start) : 0;
}

bool
run_idle_locked(const struct service *service)
{
	return scheduler_in_flight_locked(service->scheduler) <= service->launching;
}

/* The attempt of a job in flight is over, or is not begun: its place is free. */
static void
leave_flight_locked(struct service *service, struct job *job, int *ret_wake)
{
	scheduler_done_locked(service->scheduler, job, ret_wake);
	if (service->draining && run_idle_locked(service))
		cond_broadcast(&service->idle);
}

/* While its start could not be stored, as the disk was full, its time may have come. */
static bool
waited_too_long(const struct job *job)
{
	int64_t limit = job->spec->queue_timeout_ms;

	return limit != 0 && job->attempt_count == 0 && !job->recovered && mono_ms() > job->run_at_mono_ms + limit;
}

static void
end_late_locked(struct service *service, struct job *job, struct list *changes)
{
	struct job_error error = {.code = JOB_ERROR_queue_timeout, .phase = JOB_PHASE_queue};

	snprintf(error.message, sizeof error.message,
		"its start could not be stored within queue_timeout, and so it was not made");
	job->started_wall_ms = 0;
	end_job_locked(service, job, JOB_failed, &error, NULL, NULL, changes);
}

void
run_launched_locked(struct service *service, struct job *job, struct list *woken, struct list *changes, int *ret_wake)
{
	job->launching = false;
	service->launching--;
	if (!job->finishing && !service->draining && waited_too_long(job))
		end_late_locked(service, job, changes);
	if (job->finishing || service->draining) {
		leave_flight_locked(service, job, ret_wake);
		if (!job->finishing)
			requeue_job_locked(job, 0, changes);
		return;
	}
	begin_locked(service, job, woken);
	job_ref(job);
	list_push_back(&service->launched[job->loop], &job->launch_node);
	*ret_wake = (int)job->loop;
}

/* Jobs whose start has become durable. One that was cancelled meanwhile gives its place back. */
static size_t
take_launched_locked(
	struct service *service, unsigned loop, struct job **jobs, size_t max, struct list *cancelled, int *ret_wake)
{
	size_t count = 0;
	int wake;

	for (struct list *node; count < max && (node = list_pop_front(&service->launched[loop])) != NULL;) {
		struct job *job = container_of(node, struct job, launch_node);

		if (!job->finishing) {
			jobs[count++] = job;
			continue;
		}
		leave_flight_locked(service, job, &wake);
		*ret_wake = scheduler_wake_both(*ret_wake, wake);
		list_push_back(cancelled, &job->launch_node);
	}
	return count;
}

/* A job that was given does not begin after all; it waits as it did, and the scheduler gets it again in a moment. */
static void
put_back_locked(struct service *service, struct job *job)
{
	int wake; /* nobody now, since none would find memory */

	leave_flight_locked(service, job, &wake);
	job_ref(job);
	list_push_back(&service->unscheduled, &job->launch_node);
	retry_later_locked(service);
}

static size_t
take_fresh_locked(
	struct service *service, unsigned loop, struct job **jobs, size_t max, struct list *woken, struct list *changes)
{
	int64_t now = wall_ms();
	size_t count = 0, given;
	bool poor = false;

	do {
		given = scheduler_take_locked(service->scheduler, loop, jobs + count, max - count);
		size_t begun = count;

		for (size_t i = 0; i < given; i++) {
			struct job *job = jobs[count + i];
			struct ledger_entry *start = NULL;

			if (reserve_attempt(service, job, &start) != 0) {
				put_back_locked(service, job);
				poor = true;
			} else if (note_start_locked(service, job, now, &start, woken, changes)) {
				jobs[begun++] = job_ref(job);
			}
		}
		count = begun;
	} while (!poor && given > 0 && count < max);
	return count;
}

void
run_unref_launched(struct list *jobs)
{
	for (struct list *node; (node = list_pop_front(jobs)) != NULL;)
		job_unref(container_of(node, struct job, launch_node));
}

size_t
run_take(void *context, unsigned loop, struct job **jobs, size_t max)
{
	struct service *service = context;
	struct list woken, changes, cancelled;
	size_t count = 0;
	int wake = SCHEDULER_NO_LOOP;
	/* While their ends could not be kept, or wait in great number, no attempts begin. */
	bool accepts = service->ledger->ops->accepts(service->ledger, NULL, 0);

	list_init(&woken);
	list_init(&changes);
	list_init(&cancelled);
	lock_take(&service->table.lock);
	if (!service->draining) {
		count = take_launched_locked(service, loop, jobs, max, &cancelled, &wake);
		/* While memory is short none begins, either; but one may always be under way, or it might stay so. */
		bool poor = memory_is_short() && scheduler_in_flight_locked(service->scheduler) > 0;
		if (poor)
			retry_later_locked(service);
		if (accepts && !poor && service->unstored < UNSTORED_MAX)
			count += take_fresh_locked(service, loop, jobs + count, max - count, &woken, &changes);
	}
	lock_drop(&service->table.lock);
	if (wake != (int)loop) /* this one takes by itself */
		wake_loops(service, wake);
	changes_write(service, &changes);
	await_wake_all(&woken);
	run_unref_launched(&cancelled);
	return count;
}

/* ---- their end */

struct attempt *
cut_attempt_locked(const struct job *job)
{
	struct arena arena = {0};
	struct attempt *attempt = arena_alloc(&arena, sizeof *attempt);

	if (attempt == NULL)
		return NULL;
	*attempt = (struct attempt){
		.arena = arena,
		.number = job->attempt_count + 1,
		.started_wall_ms = job->attempt_started_wall_ms,
		.finished_wall_ms = wall_ms(),
		.received_bytes = atomic_load_explicit(&job->received_bytes, memory_order_relaxed),
		.timings = {-1, -1, -1, -1, -1, -1},
	};
	int64_t total = attempt->finished_wall_ms - attempt->started_wall_ms;
	int64_t queue = job->started_wall_ms - job->run_at_wall_ms;
	if (job->attempt_started_mono_ms != 0) { /* the wall clock may have been set meanwhile */
		total = mono_ms() - job->attempt_started_mono_ms;
		queue = job->attempt_started_mono_ms - job->run_at_mono_ms;
	}
	attempt->timings.total = total > 0 ? total : 0;
	attempt->timings.queue = queue > 0 ? queue : 0;
	return attempt;
}

void
end_unknown_locked(struct service *service, struct job *job, struct list *changes)
{
	struct job_error error = {.code = JOB_ERROR_outcome_unknown, .phase = JOB_PHASE_send};
	struct attempt *attempt = cut_attempt_locked(job);

	snprintf(error.message, sizeof error.message,
		"the server ended while the %.20s was on its way; it may have arrived, so it is not sent again",
		job->spec->method);
	if (attempt != NULL)
		attempt->error = error;
	end_job_locked(service, job, JOB_failed, &error, attempt, NULL, changes);
}

/* The end of the server cut the attempt off. */
static void
take_cut_off_locked(struct service *service, struct outcome *outcome, struct list *changes)
{
	struct job *job = outcome->job;

	if (job_spec_repeatable(job->spec) || !outcome->sent)
		requeue_job_locked(job, 0, changes);
	else
		end_unknown_locked(service, job, changes);
}

void
run_give_up_launched(struct service *service)
{
	struct list changes, jobs;
	int wake;

	list_init(&changes);
	list_init(&jobs);
	lock_take(&service->table.lock);
	for (int64_t i = 0; i < service->config->workers; i++)
		list_splice(&jobs, &service->launched[i]);
	LIST_FOR_EACH(node, &jobs) {
		struct job *job = container_of(node, struct job, launch_node);

		leave_flight_locked(service, job, &wake);
		if (!job->finishing)
			requeue_job_locked(job, 0, &changes);
	}
	lock_drop(&service->table.lock);
	changes_write(service, &changes);
	run_unref_launched(&jobs);
}

/* Failures that are this server's own are for the operator, too; one a second is enough. With the core lock. */
static void
tell_operator_locked(struct service *service, const struct job_error *error)
{
	int64_t now = mono_ms();

	if (error == NULL || error->code != JOB_ERROR_internal || now < service->next_complaint_mono_ms)
		return;
	service->next_complaint_mono_ms = now + 1000;
	log_error("a job failed through no fault of its origin: %s", error->message);
}

/* What an outcome makes of its job. */
static void
take_outcome_locked(struct service *service, struct outcome *outcome, struct list *changes)
{
	struct job *job = outcome->job;
	const struct job_error *error = outcome->error.code != JOB_ERROR_none ? &outcome->error : NULL;

	if (job->finishing)
		return; /* cancelled meanwhile */
	if (outcome->aborted) {
		take_cut_off_locked(service, outcome, changes);
		return;
	}
	tell_operator_locked(service, error);
	end_job_locked(service, job, error == NULL ? JOB_succeeded : JOB_failed, error, outcome->attempt,
		outcome->response, changes);
	outcome->attempt = NULL; /* the change's from now on */
	outcome->response = NULL;
}

void
run_ended(void *context, unsigned loop, struct list *outcomes)
{
	struct service *service = context;
	struct list changes;
	int wake = SCHEDULER_NO_LOOP, wakes = SCHEDULER_NO_LOOP;

	list_init(&changes);
	lock_take(&service->table.lock);
	LIST_FOR_EACH(node, outcomes) {
		struct outcome *outcome = container_of(node, struct outcome, node);

		take_outcome_locked(service, outcome, &changes);
		leave_flight_locked(service, outcome->job, &wake);
		wakes = scheduler_wake_both(wakes, wake);
	}
	lock_drop(&service->table.lock);
	changes_write(service, &changes);
	if (wakes != (int)loop) /* this one takes more by itself */
		wake_loops(service, wakes);
	for (struct list *node; (node = list_pop_front(outcomes)) != NULL;)
		outcome_free(container_of(node, struct outcome, node));
}
