/*
 * The one thread that minds the clock for everything that does not run: jobs whose run_at comes, whose queue_timeout or
 * deadline is up, waits whose time is up, results that expire. It sleeps until the first of them.
 */
#include "service/private.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"

void
poke_housekeeper_locked(struct service *service, int64_t due_mono_ms)
{
	if (due_mono_ms < service->sleeps_until)
		cond_signal(&service->changed);
}

static void
fail_overdue_locked(struct service *service, struct job *job, enum job_error_code why, struct list *changes)
{
	struct job_error error = {.code = why, .phase = JOB_PHASE_queue};

	if (job->finishing)
		return;
	snprintf(error.message, sizeof error.message, "%s",
		why == JOB_ERROR_queue_timeout ? "the job was not started within queue_timeout"
					       : "the job's deadline passed before it was started");
	end_job_locked(service, job, JOB_failed, &error, NULL, NULL, changes);
}

/* Ends what has waited too long. The memory for an end is there before a job is taken out of the queue for it. */
static void
end_overdue_locked(struct service *service, int64_t now, struct list *changes, int *ret_wake)
{
	enum job_error_code why;
	struct job *job;

	while (change_reserve(&service->reserved_end) == 0) {
		job = scheduler_expire_locked(service->scheduler, now, &why, ret_wake);
		if (job == NULL)
			return;
		if (job->reserved_end == NULL) {
			job->reserved_end = service->reserved_end;
			service->reserved_end = NULL;
		}
		fail_overdue_locked(service, job, why, changes);
	}
	retry_later_locked(service);
}

/* What found no memory before is tried again. */
static void
retry_locked(struct service *service, int64_t now, int *ret_wake, struct list *dropped)
{
	if (service->retry_due_mono_ms > now)
		return;
	service->retry_due_mono_ms = INT64_MAX;
	schedule_again_locked(service, ret_wake, dropped);
	*ret_wake = SCHEDULER_ALL_LOOPS;
}

/* When there is something to do for jobs, waits and what is tried again. */
static int64_t
next_due_locked(const struct service *service)
{
	int64_t due = scheduler_next_due_locked(service->scheduler);
	int64_t await_due = awaits_next_due_locked(&service->table.awaits);

	if (service->retry_due_mono_ms != INT64_MAX && due <= mono_ms())
		due = INT64_MAX; /* it is due, and could not be done */
	if (await_due < due)
		due = await_due;
	return service->retry_due_mono_ms < due ? service->retry_due_mono_ms : due;
}

/* Removes what has expired; gives the monotonic time to come again. */
static int64_t
sweep(struct service *service)
{
	int64_t now = steady_wall_ms();

	lock_take(&service->table.lock);
	int64_t due = service->sweep_due_wall_ms;
	service->sweep_due_wall_ms = INT64_MAX;
	lock_drop(&service->table.lock);
	if (due <= now)
		due = service->ledger->ops->sweep(service->ledger, now);
	lock_take(&service->table.lock);
	if (due < service->sweep_due_wall_ms)
		service->sweep_due_wall_ms = due;
	due = service->sweep_due_wall_ms;
	lock_drop(&service->table.lock);
	return due == INT64_MAX ? INT64_MAX : mono_ms() + (due > now ? due - now : 0);
}

int64_t
housekeeper_round(struct service *service)
{
	struct list changes, woken, dropped;
	int wake = SCHEDULER_NO_LOOP;
	int64_t now = mono_ms();

	list_init(&changes);
	list_init(&woken);
	list_init(&dropped);
	lock_take(&service->table.lock);
	retry_locked(service, now, &wake, &dropped);
	end_overdue_locked(service, now, &changes, &wake);
	awaits_expire_locked(&service->table.awaits, now, &woken);
	int64_t due = next_due_locked(service);
	lock_drop(&service->table.lock);
	wake_loops(service, wake);
	changes_write(service, &changes);
	await_wake_all(&woken);
	run_unref_launched(&dropped);
	int64_t sweep_due = sweep(service); /* last: it reads the store */
	return due < sweep_due ? due : sweep_due;
}

/* The longest sleep: the steady clock follows the wall clock, and what expires goes by it. */
#define LONGEST_SLEEP_MS 60000

static bool
sleep_until(struct service *service, int64_t due)
{
	int64_t longest = mono_ms() + LONGEST_SLEEP_MS;

	lock_take(&service->table.lock);
	/* Something may have come between the look and this lock. */
	int64_t first = next_due_locked(service);
	int64_t sweep_due = service->sweep_due_wall_ms;
	if (sweep_due != INT64_MAX)
		sweep_due = mono_ms() + (sweep_due - steady_wall_ms());
	if (first < due)
		due = first;
	if (sweep_due < due)
		due = sweep_due;
	service->sleeps_until = due < longest ? due : longest;
	if (!service->stop_housekeeping)
		cond_wait_until(&service->changed, &service->table.lock, service->sleeps_until);
	service->rounds++;
	service->sleeps_until = INT64_MIN; /* awake: looks at everything before it sleeps again */
	bool stop = service->stop_housekeeping;
	lock_drop(&service->table.lock);
	return !stop;
}

void *
housekeeper_run(void *context)
{
	struct service *service = context;

	while (sleep_until(service, housekeeper_round(service)))
		;
	return NULL;
}

/* ---- is anyone stuck? */

static unsigned
ask_housekeeper(struct service *service)
{
	lock_take(&service->table.lock);
	unsigned rounds = service->rounds;
	cond_signal(&service->changed);
	lock_drop(&service->table.lock);
	return rounds;
}

bool
service_beats(struct service *service)
{
	unsigned loops = (unsigned)service->config->workers;
	bool first = service->beats == NULL, all = true;

	if (first)
		service->beats = calloc(loops + 1, sizeof *service->beats);
	if (service->beats == NULL)
		return true; /* no memory to tell */
	for (unsigned i = 0; i <= loops; i++) {
		unsigned now = i < loops ? pool_turns(service->pool, i) : ask_housekeeper(service);

		all &= now != service->beats[i];
		service->beats[i] = now;
	}
	pool_wake_all(service->pool);
	return first || all;
}
