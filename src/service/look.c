/* Jobs are looked at and awaited. */
#include "service/private.h"

#include <errno.h>

#define LIST_PAGE 256 /* jobs looked at under one hold of the core lock */

int
service_find(struct service *service, const struct id *id, struct job **ret)
{
	lock_take(&service->table.lock);
	struct job *job = table_find_locked(&service->table, id);
	if (job != NULL)
		job_ref(job);
	lock_drop(&service->table.lock);
	if (job == NULL && service->ledger->ops->find(service->ledger, id, &job) != 0)
		return -ENOENT;
	lock_take(&service->table.lock);
	bool gone = job->removed || job->version == 0;
	lock_drop(&service->table.lock);
	if (gone) {
		job_unref(job);
		return -ENOENT;
	}
	*ret = job;
	return 0;
}

static void
view_locked(struct job *job, struct job_view *ret)
{
	bool done = job_state_done(job->state);

	*ret = (struct job_view){
		.job = job,
		.state = job->state,
		.version = job->version,
		.unkept = job->unkept,
		.started_wall_ms = job->started_wall_ms,
		.finished_wall_ms = job->finished_wall_ms,
		.expires_wall_ms = job->expires_wall_ms,
		.attempt_started_wall_ms = job->attempt_started_wall_ms,
		.finish_order = job->finish_order,
		.attempts = job->attempts,
		.attempt_count = job->attempt_count,
		.response = job->response,
		.error = job->error.code == JOB_ERROR_none ? NULL : &job->error,
		.received_bytes = done ? job->final_received_bytes
				       : atomic_load_explicit(&job->received_bytes, memory_order_relaxed),
		.total_bytes =
			done ? job->final_total_bytes : atomic_load_explicit(&job->total_bytes, memory_order_relaxed),
	};
}

void
service_view(struct service *service, struct job *const *jobs, size_t count, struct job_view *ret_views)
{
	lock_take(&service->table.lock);
	for (size_t i = 0; i < count; i++)
		view_locked(jobs[i], &ret_views[i]);
	lock_drop(&service->table.lock);
}

/*
 * Sorts a page into those that still fit, in front, and those that are gone or have moved out of the filter since the
 * ledger looked. Returns the number of the former.
 */
static size_t
sort_fitting(struct service *service, const struct ledger_filter *filter, struct job **jobs, size_t count)
{
	struct job *gone[LIST_PAGE];
	size_t kept = 0, lost = 0;

	lock_take(&service->table.lock);
	for (size_t i = 0; i < count; i++) {
		struct job *job = jobs[i];

		if (job->removed || job->version == 0 || !ledger_filter_fits(filter, job))
			gone[lost++] = job;
		else
			jobs[kept++] = job;
	}
	lock_drop(&service->table.lock);
	for (size_t i = 0; i < lost; i++)
		job_unref(gone[i]); /* outside the lock: the last reference may unlink a file */
	return kept;
}

size_t
service_list(struct service *service, const struct ledger_filter *filter, const struct id *before, struct job **jobs,
	size_t limit)
{
	struct id cursor;
	size_t kept = 0;

	while (kept < limit) {
		size_t wanted = limit - kept < LIST_PAGE ? limit - kept : LIST_PAGE;
		size_t count = service->ledger->ops->list(service->ledger, filter, before, jobs + kept, wanted);

		if (count == 0)
			break;
		cursor = jobs[kept + count - 1]->id;
		before = &cursor;
		kept += sort_fitting(service, filter, jobs + kept, count);
		if (count < wanted)
			break;
	}
	return kept;
}

int
service_await(struct service *service, struct await *await, bool unlimited)
{
	lock_take(&service->table.lock);
	int rc = await_begin_locked(&service->table.awaits, await, unlimited);
	if (rc == 0)
		poke_housekeeper_locked(service, await->due_mono_ms);
	lock_drop(&service->table.lock);
	return rc;
}
