/*
 * Jobs on their way through the pool: handed to a loop when the scheduler lets them, ended by their outcome. Called on
 * the loops' threads.
 */
#include "service/private.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"

void
wake_loops(struct service *service, int wake)
{
	if (wake == SCHEDULER_ALL_LOOPS)
		pool_wake_all(service->pool);
	else if (wake != SCHEDULER_NO_LOOP)
		pool_wake(service->pool, (unsigned)wake);
}

size_t
run_take(void *context, unsigned loop, struct job **jobs, size_t max)
{
	struct service *service = context;
	struct list woken;
	size_t count = 0;
	int64_t now = wall_ms();

	list_init(&woken);
	lock_take(&service->table.lock);
	if (!service->draining)
		count = scheduler_take_locked(service->scheduler, loop, jobs, max);
	for (size_t i = 0; i < count; i++) {
		struct job *job = job_ref(jobs[i]);

		if (job->started_wall_ms == 0)
			job->started_wall_ms = now;
		job->attempt_started_wall_ms = now;
		table_move_locked(&service->table, job, JOB_running, &woken);
	}
	lock_drop(&service->table.lock);
	await_wake_all(&woken);
	return count;
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

	/* Cancelled meanwhile, or cut off by the end of the server: there is nothing to tell. */
	if (job->finishing || outcome->aborted)
		return;
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
		scheduler_done_locked(service->scheduler, outcome->job, &wake);
		wakes = scheduler_wake_both(wakes, wake);
	}
	if (service->draining && scheduler_in_flight_locked(service->scheduler) == 0)
		cond_broadcast(&service->idle);
	lock_drop(&service->table.lock);
	changes_write(service, &changes);
	if (wakes != (int)loop) /* this one takes more by itself */
		wake_loops(service, wakes);
	for (struct list *node; (node = list_pop_front(outcomes)) != NULL;)
		outcome_free(container_of(node, struct outcome, node));
}
