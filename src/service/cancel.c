/* Jobs are stopped, one or many, and removed. */
#include "service/private.h"

#include <errno.h>
#include <stdlib.h>

#define PAGE 500 /* jobs cancelled under one hold of the core lock */

int
cancel_job_locked(struct service *service, struct job *job, struct list *changes, int *ret_wake)
{
	struct attempt *attempt = NULL;
	int wake = SCHEDULER_NO_LOOP;

	if (change_reserve(&job->reserved_end) != 0)
		return -ENOMEM;
	if (job->state == JOB_running) {
		attempt = cut_attempt_locked(job);
		pool_cancel(service->pool, job);
	} else if (!job->launching && job->origin != NULL) {
		scheduler_remove_locked(service->scheduler, job, &wake);
	}
	*ret_wake = scheduler_wake_both(*ret_wake, wake);
	end_job_locked(service, job, JOB_cancelled, NULL, attempt, NULL, changes);
	return 0;
}

int
service_cancel(struct service *service, const struct id *id, const char *owner, struct job **ret, bool *ret_ours)
{
	struct list changes;
	int wake = SCHEDULER_NO_LOOP;
	int error = 0;

	list_init(&changes);
	*ret_ours = false;
	lock_take(&service->table.lock);
	struct job *job = table_find_locked(&service->table, id);
	if (job != NULL && job_spec_owned_by(job->spec, owner)) {
		job_ref(job);
		*ret_ours = !job->finishing;
		if (*ret_ours)
			error = cancel_job_locked(service, job, &changes, &wake);
	} else {
		job = NULL;
	}
	lock_drop(&service->table.lock);
	wake_loops(service, wake);
	changes_write(service, &changes);
	if (job == NULL)
		return service_find(service, id, owner, LEDGER_WHOLE, ret);
	if (error != 0) {
		job_unref(job);
		return error;
	}
	*ret = job;
	return 0;
}

/* One that is done goes at once. One that is not ends first, and its end brings the removal about (changes.c). 0 or -ENOMEM. */
static int
remove_locked(struct service *service, struct job *job, struct list *changes, int *ret_wake)
{
	bool done = job_state_done(job->state);

	if (job->removed)
		return 0;
	if (change_reserve(&job->reserved_removal) != 0)
		return -ENOMEM;
	if (!done && !job->finishing && cancel_job_locked(service, job, changes, ret_wake) != 0) {
		free(job->reserved_removal);
		job->reserved_removal = NULL;
		return -ENOMEM;
	}
	job->removed = true;
	if (done)
		change_add(&job->reserved_removal, LEDGER_REMOVE, job, changes);
	return 0;
}

int
service_remove(struct service *service, const struct id *id, const char *owner, struct job **ret)
{
	struct list changes;
	struct job *job;
	int wake = SCHEDULER_NO_LOOP;
	int error = service_find(service, id, owner, LEDGER_SUMMARY, &job);

	if (error != 0)
		return error;
	list_init(&changes);
	lock_take(&service->table.lock);
	error = remove_locked(service, job, &changes, &wake);
	lock_drop(&service->table.lock);
	wake_loops(service, wake);
	changes_write(service, &changes);
	if (error == 0)
		*ret = job;
	else
		job_unref(job);
	return error;
}

/* Cancels those of a page that still fit, and counts them. The last of them goes to *last, with a reference. 0 or -ENOMEM. */
static int
cancel_page(struct service *service, const struct ledger_filter *filter, const struct id *ids, size_t count,
	struct job **last, size_t *total)
{
	struct list changes;
	size_t cancelled = 0;
	int wake = SCHEDULER_NO_LOOP;
	struct job *before = *last;
	int error = 0;

	list_init(&changes);
	lock_take(&service->table.lock);
	for (size_t i = 0; error == 0 && i < count; i++) {
		struct job *job = table_find_locked(&service->table, &ids[i]);

		if (job == NULL || job->finishing || !ledger_filter_fits(filter, job))
			continue;
		error = cancel_job_locked(service, job, &changes, &wake);
		if (error != 0)
			break;
		cancelled++;
		*last = job;
	}
	if (cancelled > 0)
		job_ref(*last);
	lock_drop(&service->table.lock);
	wake_loops(service, wake);
	changes_write(service, &changes);
	if (cancelled > 0 && before != NULL)
		job_unref(before);
	*total += cancelled;
	return error;
}

int
service_cancel_matching(
	struct service *service, const struct ledger_filter *filter, size_t *ret_count, struct job **ret_last)
{
	struct ledger_filter live = *filter;
	struct id ids[PAGE], cursor;

	*ret_count = 0;
	*ret_last = NULL;
	live.states = filter->states == 0 ? LEDGER_LIVE_STATES : filter->states & LEDGER_LIVE_STATES;
	if (live.states == 0)
		return 0;
	for (const struct id *before = NULL;; before = &cursor) {
		int count = service->ledger->ops->list(service->ledger, &live, before, ids, PAGE);

		if (count <= 0)
			return count;
		cursor = ids[count - 1];
		int error = cancel_page(service, &live, ids, (size_t)count, ret_last, ret_count);
		if (error != 0)
			return error;
	}
}
