/*
 * Every change of a job goes this way: it is decided under the core lock, written to the ledger, and seen by clients
 * once the ledger has committed it: durable first, visible second.
 */
#include "service/private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"

struct ledger_entry *
change_new(enum ledger_verb verb, struct job *job)
{
	struct ledger_entry *entry = calloc(1, sizeof *entry);

	if (entry == NULL)
		return NULL;
	entry->verb = verb;
	entry->job = job_ref(job);
	list_init(&entry->node);
	return entry;
}

static void
change_free(struct ledger_entry *entry)
{
	if (entry->verb == LEDGER_END) {
		attempt_free(entry->end.attempt);
		response_free(entry->end.response);
	}
	job_unref(entry->job);
	free(entry);
}

void
changes_write(struct service *service, struct list *changes)
{
	if (!list_empty(changes))
		service->ledger->ops->write(service->ledger, changes);
}

static void
add_change(enum ledger_verb verb, struct job *job, struct list *changes, struct ledger_entry **ret)
{
	struct ledger_entry *entry = change_new(verb, job);

	if (entry == NULL)
		abort(); /* what has happened to a job must not be lost, and there is nobody to tell */
	list_push_back(changes, &entry->node);
	*ret = entry;
}

static int64_t
weight_of(const struct response *response)
{
	const int64_t small = 4096, file = UNSTORED_MAX / 256;

	if (response == NULL)
		return small;
	return response->body.path != NULL ? file : small + response->body.bytes;
}

void
end_job_locked(struct service *service, struct job *job, enum job_state state, const struct job_error *error,
	struct attempt *attempt, struct response *response, struct list *changes)
{
	struct ledger_entry *entry;
	uint64_t order = (uint64_t)wall_us();

	/* By the clock, so that it goes on over restarts, but never twice the same. */
	service->finish_order = order > service->finish_order ? order : service->finish_order + 1;
	add_change(LEDGER_END, job, changes, &entry);
	job->finishing = true;
	entry->end = (struct ledger_end){
		.state = state,
		.version = job->version + 1,
		.attempt = attempt,
		.response = response,
		.started_wall_ms = job->started_wall_ms,
		.finished_wall_ms = wall_ms(),
		.received_bytes = attempt != NULL ? attempt->received_bytes : 0,
		.total_bytes = atomic_load_explicit(&job->total_bytes, memory_order_relaxed),
		.finish_order = service->finish_order,
	};
	if (error != NULL)
		entry->end.error = *error;
	entry->end.weight = weight_of(response);
	service->unstored += entry->end.weight;
	entry->end.expires_wall_ms = entry->end.finished_wall_ms + job->spec->ttl_ms;
}

void
start_job_locked(struct job *job, bool lazy, struct list *changes)
{
	struct ledger_entry *entry;

	add_change(LEDGER_START, job, changes, &entry);
	entry->start = (struct ledger_start){
		.version = lazy ? job->version : job->version + 1, /* else the state changes with the commit */
		.crashes = job->crashes,
		.started_wall_ms = job->started_wall_ms,
		.attempt_started_wall_ms = job->attempt_started_wall_ms,
		.lazy = lazy,
	};
}

void
requeue_job_locked(struct job *job, unsigned crashes, struct list *changes)
{
	struct ledger_entry *entry;

	add_change(LEDGER_REQUEUE, job, changes, &entry);
	entry->start = (struct ledger_start){
		.version = job->state == JOB_queued ? job->version : job->version + 1,
		.crashes = crashes,
		.started_wall_ms = job->started_wall_ms,
	};
}

void
change_removal(struct job *job, struct list *changes)
{
	struct ledger_entry *entry;

	add_change(LEDGER_REMOVE, job, changes, &entry);
}

/* ---- what is seen once it is committed */

/* What a batch of commits brings about. */
struct outcome_of_commit {
	struct list woken, changes;
	int wake;
};

/* The job was not taken in after all, and its client is told why. What is in the ledger of it goes again. */
static void
refuse_added_locked(struct service *service, struct ledger_entry *entry, int error, struct outcome_of_commit *result)
{
	struct job *job = entry->job;

	if (error != -EEXIST && error != -EDQUOT && error != -ESHUTDOWN && error != -ENOSPC)
		log_error("a job could not be taken in: %s", strerror(-error));
	table_unreserve_locked(&service->table);
	if (job->owner != NULL && !entry->only_existing)
		owner_unadmit_locked(job->owner, 1);
	job->unkept = true;
	job->unkept_why = error;
	job->existing = entry->existing;
	job->existing_same = entry->same;
	awaits_job_changed_locked(&service->table.awaits, job, &result->woken);
	if (entry->error == 0)
		change_removal(job, &result->changes);
}

/* Lets the scheduler have a queued job. Returns 0 or -ENOMEM. */
static int
schedule_locked(struct service *service, struct job *job, struct outcome_of_commit *result)
{
	int wake;
	int error = scheduler_add_locked(service->scheduler, job, mono_ms(), &wake);

	result->wake = scheduler_wake_both(result->wake, wake);
	poke_housekeeper_locked(service, scheduler_next_due_locked(service->scheduler));
	return error;
}

static void
commit_add_locked(struct service *service, struct ledger_entry *entry, struct outcome_of_commit *result)
{
	struct job *job = entry->job;
	int error = entry->error;

	if (error == 0)
		error = table_insert_locked(&service->table, job);
	if (error == 0) {
		error = schedule_locked(service, job, result);
		if (error != 0)
			table_remove_locked(&service->table, job);
	}
	if (error != 0) {
		refuse_added_locked(service, entry, error, result);
		return;
	}
	job->version = 1;
	if (job->owner != NULL)
		job->owner->submitted++;
	metric_add(METRIC_JOBS_SUBMITTED, 1);
	awaits_job_changed_locked(&service->table.awaits, job, &result->woken);
}

/* A start that nobody awaited changes nothing more. */
static void
commit_start_locked(struct service *service, struct ledger_entry *entry, struct outcome_of_commit *result)
{
	int wake = SCHEDULER_NO_LOOP;

	if (entry->start.lazy || entry->error != 0)
		return;
	run_launched_locked(service, entry->job, &result->woken, &result->changes, &wake);
	result->wake = scheduler_wake_both(result->wake, wake);
}

static void
commit_requeue_locked(struct service *service, struct ledger_entry *entry, struct outcome_of_commit *result)
{
	struct job *job = entry->job;

	if (entry->error != 0 || job->finishing)
		return; /* an end comes behind it */
	job->crashes = entry->start.crashes;
	job->attempt_started_wall_ms = 0;
	if (job->state != JOB_queued)
		table_move_locked(&service->table, job, JOB_queued, &result->woken);
	if (service->draining || schedule_locked(service, job, result) == 0)
		return;
	log_error("job stays queued until a restart: out of memory");
}

static void
count_end(enum job_state state)
{
	metric_add(state == JOB_succeeded     ? METRIC_JOBS_SUCCEEDED
			: state == JOB_failed ? METRIC_JOBS_FAILED
					      : METRIC_JOBS_CANCELLED,
		1);
}

static void
commit_end_locked(struct service *service, struct ledger_entry *entry, struct outcome_of_commit *result)
{
	struct job *job = entry->job;
	struct ledger_end *end = &entry->end;
	bool crowded = service->unstored >= UNSTORED_MAX;

	service->unstored -= end->weight;
	if (crowded && service->unstored < UNSTORED_MAX)
		result->wake = SCHEDULER_ALL_LOOPS; /* attempts may begin again */
	if (entry->error == -ENOENT)
		log_error("a job ended that the store does not know");
	else if (entry->error != 0)
		return; /* it was not kept, so it is not seen */
	job->final_total_bytes = end->total_bytes;
	job->final_received_bytes = end->received_bytes;
	if (end->attempt != NULL)
		job_add_attempt(job, end->attempt);
	job->response = end->response;
	end->attempt = NULL; /* the job's from now on */
	end->response = NULL;
	job->error = end->error;
	job->finished_wall_ms = end->finished_wall_ms;
	job->expires_wall_ms = end->expires_wall_ms;
	job->finish_order = end->finish_order;
	if (job->expires_wall_ms < service->sweep_due_wall_ms) {
		service->sweep_due_wall_ms = job->expires_wall_ms;
		poke_housekeeper_locked(service, mono_ms() + (job->expires_wall_ms - wall_ms()));
	}
	count_end(end->state);
	if (job->removed)
		change_removal(job, &result->changes);
	table_finish_locked(&service->table, job, end->state, &result->woken);
}

static void
commit_removal_locked(struct service *service, struct ledger_entry *entry, struct outcome_of_commit *result)
{
	struct job *job = entry->job;

	if (entry->error != 0)
		return;
	if (entry->found && !job->unkept)
		metric_add(METRIC_JOBS_REMOVED, 1);
	if (job->removal == JOB_KEPT)
		job->removal = entry->found ? JOB_GONE : JOB_WAS_GONE;
	awaits_job_changed_locked(&service->table.awaits, job, &result->woken);
}

static void
commit_locked(struct service *service, struct ledger_entry *entry, struct outcome_of_commit *result)
{
	switch (entry->verb) {
	case LEDGER_ADD:
		commit_add_locked(service, entry, result);
		break;
	case LEDGER_START:
		commit_start_locked(service, entry, result);
		break;
	case LEDGER_REQUEUE:
		commit_requeue_locked(service, entry, result);
		break;
	case LEDGER_END:
		commit_end_locked(service, entry, result);
		break;
	case LEDGER_REMOVE:
		commit_removal_locked(service, entry, result);
		break;
	}
}

void
changes_committed(void *context, struct list *entries)
{
	struct service *service = context;
	struct outcome_of_commit result = {.wake = SCHEDULER_NO_LOOP};

	list_init(&result.woken);
	list_init(&result.changes);
	lock_take(&service->table.lock);
	LIST_FOR_EACH(node, entries)
		commit_locked(service, container_of(node, struct ledger_entry, node), &result);
	lock_drop(&service->table.lock);
	wake_loops(service, result.wake);
	await_wake_all(&result.woken);
	for (struct list *node; (node = list_pop_front(entries)) != NULL;)
		change_free(container_of(node, struct ledger_entry, node));
	changes_write(service, &result.changes);
}

void
changes_relieved(void *context)
{
	struct service *service = context;

	pool_wake_all(service->pool); /* they may take jobs again */
}
