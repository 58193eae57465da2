/*
 * The start on what an earlier run left: its unfinished jobs are taken up where they were. What was running then is decided here: it
 * runs again, or its outcome is unknown, or it has seen too many crashes to be let near another.
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "service/private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"

#define PAGE 1000  /* jobs taken up under one hold of the core lock */
#define POISONED 3 /* crashes in a row in which a job was running */

struct tally {
	size_t jobs, again, unknown, poisoned;
};

/*
 * Time went on while nobody looked; a clock that was set back counts as none passed. What is rounded is rounded up, as in submit.c: no job
 * starts before its run_at.
 */
static void
set_mono_times(struct job *job)
{
	int64_t now_us = mono_us(), age_us = wall_us() - job->created_wall_ms * 1000;
	int64_t created_us = now_us - (age_us > 0 ? age_us : 0);

	job->created_mono_ms = created_us / 1000;
	job->run_at_mono_ms = (created_us + 999) / 1000 + (job->run_at_wall_ms - job->created_wall_ms);
}

static void
end_poisoned_locked(struct service *service, struct job *job, struct list *changes)
{
	struct job_error error = {.code = JOB_ERROR_poisoned, .phase = JOB_PHASE_queue};
	struct attempt *attempt = cut_attempt_locked(job);

	snprintf(error.message, sizeof error.message,
		"the server crashed %d times in a row while the job was running; it is not tried again", POISONED);
	if (attempt != NULL)
		attempt->error = error;
	end_job_locked(service, job, JOB_failed, &error, attempt, NULL, changes);
}

static void
take_up_running_locked(struct service *service, struct job *job, struct list *changes, struct tally *tally)
{
	unsigned crashes = job->crashes + !service->ledger->failed_before;

	if (!job_spec_repeatable(job->spec)) {
		tally->unknown++;
		end_unknown_locked(service, job, changes);
	} else if (crashes >= POISONED) {
		tally->poisoned++;
		end_poisoned_locked(service, job, changes);
	} else {
		tally->again++;
		requeue_job_locked(job, crashes, changes);
	}
}

static int
take_up_locked(struct service *service, struct job *job, struct list *changes, struct tally *tally)
{
	int wake;

	job->recovered = true;
	set_mono_times(job);
	if (job->spec->owner != NULL) {
		job->owner = owners_get_locked(&service->table.owners, job->spec->owner);
		if (job->owner == NULL)
			return -ENOMEM;
	}
	job_count_memory(job, true); /* what was taken stays taken */
	table_readmit_locked(&service->table, job);
	int error = table_insert_locked(&service->table, job);
	if (error != 0)
		return error;
	tally->jobs++;
	if ((job->state == JOB_running || job->crashes > 0) && change_reserve(&job->reserved_end) != 0)
		return -ENOMEM;
	if (job->state == JOB_running)
		take_up_running_locked(service, job, changes, tally);
	else if (job->crashes > 0 && !service->ledger->failed_before)
		requeue_job_locked(job, 0, changes); /* not in a row */
	else
		error = scheduler_add_locked(service->scheduler, job, mono_ms(), &wake);
	return error;
}

static int
take_up_page(struct service *service, struct job **jobs, int count, struct tally *tally)
{
	struct list changes;
	int error = 0;

	list_init(&changes);
	lock_take(&service->table.lock);
	for (int i = 0; error == 0 && i < count; i++)
		error = take_up_locked(service, jobs[i], &changes, tally);
	lock_drop(&service->table.lock);
	changes_write(service, &changes);
	for (int i = 0; i < count; i++)
		job_unref(jobs[i]); /* the table has its own */
	return error;
}

int
recover_jobs(struct service *service, char **ret_message)
{
	struct job *jobs[PAGE];
	struct tally tally = {0};
	struct id last;
	int64_t began = mono_ms();
	int count, error = 0;

	for (const struct id *after = NULL; error == 0; after = &last) {
		count = service->ledger->ops->recover(service->ledger, after, jobs, PAGE);
		if (count <= 0) {
			error = count;
			break;
		}
		last = jobs[count - 1]->id;
		error = take_up_page(service, jobs, count, &tally);
	}
	if (error != 0 &&
		asprintf(ret_message, "the jobs in %s cannot be taken up: %s", service->dir.path,
			error == -EIO ? "the database cannot be read; try --check-store" : strerror(-error)) < 0)
		*ret_message = NULL;
	metric_add(METRIC_JOBS_RECOVERED, tally.jobs);
	if (tally.jobs > 0)
		log_info(
			"took up %zu jobs in %lld ms: %zu were running and run again, %zu end as outcome_unknown, %zu as poisoned",
			tally.jobs, (long long)(mono_ms() - began), tally.again, tally.unknown, tally.poisoned);
	return error;
}
