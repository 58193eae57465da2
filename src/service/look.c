/* Jobs are looked at and awaited. */
#include "service/private.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"

#define LIST_PAGE 256 /* ids that the ledger gives at once */

/* A live job, with a reference; NULL when there is none. */
static struct job *
find_live(struct service *service, const struct id *id)
{
	lock_take(&service->table.lock);
	struct job *job = table_find_locked(&service->table, id);
	if (job != NULL)
		job_ref(job);
	lock_drop(&service->table.lock);
	return job;
}

/* Among those that were taken in, have not expired, and whose removal is not durable yet; and the owner's. Takes the reference over. */
static int
check_there(struct service *service, struct job *job, const char *owner, struct job **ret)
{
	lock_take(&service->table.lock);
	bool gone = !job_spec_owned_by(job->spec, owner) || job->removal != JOB_KEPT || job->version == 0 ||
		(job_state_done(job->state) && job->expires_wall_ms <= steady_wall_ms());
	lock_drop(&service->table.lock);
	if (gone) {
		job_unref(job);
		return -ENOENT;
	}
	*ret = job;
	return 0;
}

/*
 * The live ones are in the table, the others in the ledger. Between the looks a job may come into the table, or leave it with its end:
 * then another look finds it. One that is still on its way into the table is not known to anyone yet.
 */
int
service_find(struct service *service, const struct id *id, const char *owner, enum ledger_depth depth, struct job **ret)
{
	for (int look = 0; look < 3; look++) {
		struct job *job = find_live(service, id);

		if (job != NULL)
			return check_there(service, job, owner, ret);
		int error = service->ledger->ops->find(service->ledger, id, depth, &job);
		if (error != 0)
			return error;
		if (job_state_done(job->state))
			return check_there(service, job, owner, ret);
		job_unref(job);
	}
	return -ENOENT;
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
		.unkept_why = job->unkept_why,
		.existing = job->existing,
		.existing_same = job->existing_same,
		.removal = job->removal,
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

/* The jobs of a page of ids that fit, as they are now, in its order. Returns their number or -EIO. */
static int
fetch_page(
	struct service *service, const struct ledger_filter *filter, const struct id *ids, int count, struct job **jobs)
{
	int kept = 0;

	for (int i = 0; i < count; i++) {
		struct job *job;
		int error = service_find(service, &ids[i], filter->owner, LEDGER_SUMMARY, &job);

		if (error == -ENOENT)
			continue;
		if (error != 0) {
			while (kept > 0)
				job_unref(jobs[--kept]);
			return error;
		}
		/* It may have moved on since the ledger looked. */
		if (ledger_filter_fits(filter, job))
			jobs[kept++] = job;
		else
			job_unref(job);
	}
	return kept;
}

static int
newest_first(const void *a, const void *b)
{
	struct job *const *first = a, *const *second = b;

	return id_compare(&(*second)->id, &(*first)->id);
}

/* The table knows those that run as they are now, where the ledger may be behind. */
static int
list_running(struct service *service, const struct ledger_filter *filter, const struct id *before, struct job **jobs,
	size_t limit)
{
	size_t kept = 0, count = 0;

	lock_take(&service->table.lock);
	size_t max = service->table.counts[JOB_running];
	struct job **running = calloc(max + 1, sizeof(struct job *));
	size_t found = running == NULL ? 0 : table_running_locked(&service->table, running, max);
	for (size_t i = 0; i < found; i++) {
		struct job *job = running[i];

		if ((before == NULL || id_compare(&job->id, before) < 0) && ledger_filter_fits(filter, job))
			running[count++] = job;
		else
			job_unref(job); /* not the last reference: the table has one */
	}
	lock_drop(&service->table.lock);
	if (running == NULL)
		return -ENOMEM;
	qsort(running, count, sizeof *running, newest_first);
	for (size_t i = 0; i < count; i++) {
		if (kept < limit)
			jobs[kept++] = running[i];
		else
			job_unref(running[i]);
	}
	free(running);
	return (int)kept;
}

/* True when there may be a job of this state that is not done. With the core lock. */
static bool
may_have_locked(struct service *service, const struct ledger_filter *filter, enum job_state state)
{
	const struct owner *owner;

	if (service->table.counts[state] == 0 || filter->owner == NULL)
		return service->table.counts[state] > 0;
	owner = owners_find_locked(&service->table.owners, filter->owner);
	return owner != NULL && (state == JOB_running ? owner->running : owner->waiting) > 0;
}

/* Without the states in which there is no job right now: a list of few looks at all that are not done. */
static struct ledger_filter
narrow(struct service *service, const struct ledger_filter *filter)
{
	struct ledger_filter narrow = *filter;

	lock_take(&service->table.lock);
	for (int i = 0; i < JOB_STATE_COUNT; i++)
		if ((LEDGER_LIVE_STATES & 1u << i) != 0 && !may_have_locked(service, filter, (enum job_state)i))
			narrow.states &= ~(1u << i);
	lock_drop(&service->table.lock);
	return narrow;
}

int
service_list(struct service *service, const struct ledger_filter *filter, const struct id *before, struct job **jobs,
	size_t limit)
{
	struct id ids[LIST_PAGE];
	size_t kept = 0;
	int error = 0;
	struct ledger_filter narrowed = narrow(service, filter);

	if (narrowed.states == 1u << JOB_running)
		return list_running(service, filter, before, jobs, limit);
	if (filter->states != 0 && narrowed.states == 0)
		return 0;
	filter = &narrowed;
	while (error == 0 && kept < limit) {
		size_t wanted = limit - kept < LIST_PAGE ? limit - kept : LIST_PAGE;
		int count = service->ledger->ops->list(service->ledger, filter, before, ids, wanted);
		int found = count <= 0 ? count : fetch_page(service, filter, ids, count, jobs + kept);

		if (found > 0)
			kept += (size_t)found;
		error = found < 0 ? found : 0;
		if (count < (int)wanted)
			break;
		before = &ids[count - 1];
	}
	if (error == 0)
		return (int)kept;
	while (kept > 0)
		job_unref(jobs[--kept]);
	return error;
}

int
service_await(struct service *service, struct await *await)
{
	lock_take(&service->table.lock);
	int rc = await_begin_locked(&service->table.awaits, await);
	if (rc == 0)
		poke_housekeeper_locked(service, await->due_mono_ms);
	lock_drop(&service->table.lock);
	return rc;
}
