/* See table.h. */
#define HASH_NONFATAL_OOM 1
#include "core/table.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>

void
table_init(struct table *table, size_t max_queued, size_t max_waiters)
{
	*table = (struct table){.max_queued = max_queued};
	lock_init(&table->lock);
	list_init(&table->running);
	awaits_init(&table->awaits, max_waiters);
}

void
table_release(struct table *table)
{
	struct job *job, *next;

	HASH_ITER(table_hash, table->jobs, job, next) {
		HASH_DELETE(table_hash, table->jobs, job);
		list_remove(&job->running_node);
		job_unref(job);
	}
	owners_release(&table->owners);
	lock_release(&table->lock);
}

/* The states in which a job counts against --max-queued. */
static bool
queues(enum job_state state)
{
	return state == JOB_queued || state == JOB_retrying;
}

int
table_reserve_locked(struct table *table)
{
	lock_assert_held(&table->lock);
	if (table->admitted >= table->max_queued)
		return -EAGAIN;
	table->admitted++;
	return 0;
}

void
table_unreserve_locked(struct table *table)
{
	lock_assert_held(&table->lock);
	table->admitted--;
}

void
table_readmit_locked(struct table *table, const struct job *job)
{
	lock_assert_held(&table->lock);
	table->admitted += queues(job->state);
	if (job->owner != NULL)
		job->owner->waiting += queues(job->state);
}

/* Keeps the list of those that run. */
static void
list_if_running(struct table *table, struct job *job)
{
	list_remove(&job->running_node);
	if (job->state == JOB_running)
		list_push_back(&table->running, &job->running_node);
}

int
table_insert_locked(struct table *table, struct job *job)
{
	lock_assert_held(&table->lock);
	HASH_ADD(table_hash, table->jobs, id, sizeof job->id, job);
	if (job->table_hash.tbl == NULL)
		return -ENOMEM;
	job_ref(job);
	table->counts[job->state]++;
	if (job->owner != NULL)
		job->owner->running += job->state == JOB_running;
	list_if_running(table, job);
	return 0;
}

void
table_remove_locked(struct table *table, struct job *job)
{
	lock_assert_held(&table->lock);
	HASH_DELETE(table_hash, table->jobs, job);
	list_remove(&job->running_node);
	table->counts[job->state]--;
	if (job->owner != NULL)
		job->owner->running -= job->state == JOB_running;
	job_unref(job);
}

struct job *
table_find_locked(struct table *table, const struct id *id)
{
	struct job *job;

	lock_assert_held(&table->lock);
	HASH_FIND(table_hash, table->jobs, id, sizeof *id, job);
	return job;
}

size_t
table_running_locked(struct table *table, struct job **jobs, size_t max)
{
	size_t count = 0;

	lock_assert_held(&table->lock);
	LIST_FOR_EACH(node, &table->running) {
		if (count == max)
			break;
		jobs[count++] = job_ref(container_of(node, struct job, running_node));
	}
	return count;
}

static void
change_state(struct table *table, struct job *job, enum job_state state)
{
	enum job_state before = job->state;

	table->counts[before]--;
	table->admitted -= queues(before);
	job_set_state(job, state);
	table->admitted += queues(state);
	table->counts[state]++;
	if (job->owner != NULL) {
		job->owner->waiting += (size_t)queues(state) - queues(before);
		job->owner->running += (size_t)(state == JOB_running) - (before == JOB_running);
	}
	list_if_running(table, job);
}

void
table_move_locked(struct table *table, struct job *job, enum job_state state, struct list *woken)
{
	lock_assert_held(&table->lock);
	assert(!job_state_done(state));
	change_state(table, job, state);
	awaits_job_changed_locked(&table->awaits, job, woken);
}

void
table_finish_locked(struct table *table, struct job *job, enum job_state state, struct list *woken)
{
	lock_assert_held(&table->lock);
	assert(job_state_done(state));
	change_state(table, job, state);
	table->counts[state]--;
	awaits_job_changed_locked(&table->awaits, job, woken);
	HASH_DELETE(table_hash, table->jobs, job);
	job_unref(job);
}
