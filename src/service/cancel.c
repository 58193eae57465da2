/* Jobs are stopped, one or many, and removed. */
#include "service/private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define PAGE 500 /* jobs cancelled under one hold of the core lock */

/* The attempt that a cancel cuts off, as far as it can be told without waiting for its loop. */
static struct attempt *
cut_attempt(const struct job *job)
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
	attempt->timings.total = attempt->finished_wall_ms - attempt->started_wall_ms;
	attempt->timings.queue =
		job->started_wall_ms > job->run_at_wall_ms ? job->started_wall_ms - job->run_at_wall_ms : 0;
	return attempt;
}

void
cancel_job_locked(struct service *service, struct job *job, struct list *changes)
{
	struct attempt *attempt = NULL;

	if (job->state == JOB_running) {
		attempt = cut_attempt(job);
		pool_cancel(service->pool, job);
	} else {
		scheduler_remove_locked(service->scheduler, job);
	}
	end_job_locked(service, job, JOB_cancelled, NULL, attempt, NULL, changes);
}

int
service_cancel(struct service *service, const struct id *id, struct job **ret, bool *ret_ours)
{
	struct list changes;

	list_init(&changes);
	*ret_ours = false;
	lock_take(&service->table.lock);
	struct job *job = table_find_locked(&service->table, id);
	bool removed = job != NULL && job->removed;
	if (job != NULL && !removed) {
		job_ref(job);
		*ret_ours = !job->finishing;
		if (*ret_ours)
			cancel_job_locked(service, job, &changes);
	}
	lock_drop(&service->table.lock);
	changes_write(service, &changes);
	if (removed)
		return -ENOENT;
	if (job == NULL)
		return service_find(service, id, ret);
	*ret = job;
	return 0;
}

int
service_remove(struct service *service, const struct id *id)
{
	struct ledger_entry *entry;
	struct list changes;
	struct job *job;

	list_init(&changes);
	if (service_find(service, id, &job) != 0)
		return -ENOENT;
	lock_take(&service->table.lock);
	bool first = !job->removed;
	job->removed = true;
	if (first && !job_state_done(job->state) && !job->finishing)
		cancel_job_locked(service, job, &changes);
	lock_drop(&service->table.lock);
	if (first) {
		entry = change_new(LEDGER_REMOVE, job);
		if (entry == NULL)
			abort(); /* the client would find a job that it was told is gone */
		list_push_back(&changes, &entry->node);
		changes_write(service, &changes);
	}
	job_unref(job);
	return first ? 0 : -ENOENT;
}

/* Cancels those of a page that still fit. */
static size_t
cancel_page(struct service *service, const struct ledger_filter *filter, struct job **jobs, size_t count)
{
	struct list changes;
	size_t cancelled = 0;

	list_init(&changes);
	lock_take(&service->table.lock);
	for (size_t i = 0; i < count; i++) {
		struct job *job = jobs[i];

		if (job->version == 0 || job->finishing || job->removed || !ledger_filter_fits(filter, job))
			continue;
		cancel_job_locked(service, job, &changes);
		cancelled++;
	}
	lock_drop(&service->table.lock);
	changes_write(service, &changes);
	return cancelled;
}

size_t
service_cancel_matching(struct service *service, const struct ledger_filter *filter)
{
	struct ledger_filter live = *filter;
	struct job *jobs[PAGE];
	struct id cursor;
	size_t count, cancelled = 0;
	unsigned open = 1u << JOB_queued | 1u << JOB_running | 1u << JOB_retrying;

	live.states = filter->states == 0 ? open : filter->states & open;
	if (live.states == 0)
		return 0;
	for (const struct id *before = NULL;; before = &cursor) {
		count = service->ledger->ops->list(service->ledger, &live, before, jobs, PAGE);
		if (count == 0)
			return cancelled;
		cursor = jobs[count - 1]->id;
		cancelled += cancel_page(service, &live, jobs, count);
		for (size_t i = 0; i < count; i++)
			job_unref(jobs[i]);
	}
}
