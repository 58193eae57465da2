/*
 * Every change of a job goes this way: it is decided under the core lock, written to the ledger, and seen by clients
 * once the ledger has committed it: durable first, visible second.
 */
#include "service/private.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory_budget.h"
#include "base/metrics.h"

int
change_reserve(struct ledger_entry **reserved)
{
	if (*reserved == NULL)
		*reserved = calloc(1, sizeof **reserved);
	return *reserved != NULL ? 0 : -ENOMEM;
}

/* Makes the change in what was reserved for it. */
static struct ledger_entry *
take_reserved(struct ledger_entry **reserved, enum ledger_verb verb, struct job *job)
{
	struct ledger_entry *entry = *reserved;

	assert(entry != NULL);
	*reserved = NULL;
	entry->verb = verb;
	entry->job = job_ref(job);
	list_init(&entry->node);
	return entry;
}

struct ledger_entry *
change_new(enum ledger_verb verb, struct job *job)
{
	struct ledger_entry *entry = NULL;

	return change_reserve(&entry) == 0 ? take_reserved(&entry, verb, job) : NULL;
}

struct ledger_entry *
change_add(struct ledger_entry **reserved, enum ledger_verb verb, struct job *job, struct list *changes)
{
	struct ledger_entry *entry = take_reserved(reserved, verb, job);

	list_push_back(changes, &entry->node);
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
	uint64_t order = (uint64_t)wall_us();

	/* By the clock, so that it goes on over restarts, but never twice the same. */
	service->finish_order = order > service->finish_order ? order : service->finish_order + 1;
	struct ledger_entry *entry = change_add(&job->reserved_end, LEDGER_END, job, changes);
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
	int64_t steady = steady_wall_ms(), apart = steady - entry->end.finished_wall_ms;
	/* By the steady clock; but where that is the wall clock, exactly ttl after the end. */
	if (apart > -1000 && apart < 1000)
		steady = entry->end.finished_wall_ms;
	entry->end.expires_wall_ms = steady + job->spec->ttl_ms;
}

void
start_job_locked(struct job *job, bool lazy, struct ledger_entry **reserved, struct list *changes)
{
	struct ledger_entry *entry = change_add(reserved, LEDGER_START, job, changes);

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
	struct ledger_entry *entry = change_add(&job->reserved_end, LEDGER_REQUEUE, job, changes);

	entry->start = (struct ledger_start){
		.version = job->state == JOB_queued ? job->version : job->version + 1,
		.crashes = crashes,
		.started_wall_ms = job->started_wall_ms,
	};
}

void
retry_later_locked(struct service *service)
{
	int64_t due = mono_ms() + MEMORY_RETRY_MS;

	if (due >= service->retry_due_mono_ms)
		return;
	service->retry_due_mono_ms = due;
	poke_housekeeper_locked(service, due);
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
	if (entry->error != 0)
		return;
	/* The change itself goes back as the removal: that takes no memory, which is what has run out. */
	list_remove(&entry->node);
	entry->verb = LEDGER_REMOVE;
	list_push_back(&result->changes, &entry->node);
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
	job_ref(job);
	list_push_back(&service->unscheduled, &job->launch_node);
	retry_later_locked(service);
}

void
schedule_again_locked(struct service *service, int *ret_wake, struct list *dropped)
{
	struct list again;
	int wake;

	list_init(&again);
	list_splice(&again, &service->unscheduled);
	for (struct list *node; (node = list_pop_front(&again)) != NULL;) {
		struct job *job = container_of(node, struct job, launch_node);
		bool runs = !job->finishing && !service->draining;

		if (runs && scheduler_add_locked(service->scheduler, job, mono_ms(), &wake) != 0) {
			list_push_back(&service->unscheduled, node);
			retry_later_locked(service);
			continue;
		}
		if (runs)
			*ret_wake = scheduler_wake_both(*ret_wake, wake);
		list_push_back(dropped, node);
	}
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
	memory_give(MEMORY_SPECS, &job->counted_bytes);
	if (end->response != NULL)
		memory_give(MEMORY_RESPONSES, &end->response->body.counted_bytes);
	end->attempt = NULL; /* the job's from now on */
	end->response = NULL;
	job->error = end->error;
	job->finished_wall_ms = end->finished_wall_ms;
	job->expires_wall_ms = end->expires_wall_ms;
	job->finish_order = end->finish_order;
	if (job->expires_wall_ms < service->sweep_due_wall_ms) {
		service->sweep_due_wall_ms = job->expires_wall_ms;
		poke_housekeeper_locked(service, mono_ms() + (job->expires_wall_ms - steady_wall_ms()));
	}
	count_end(end->state);
	if (job->reserved_removal != NULL)
		change_add(&job->reserved_removal, LEDGER_REMOVE, job, &result->changes);
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
	struct list done;

	list_init(&done);
	list_init(&result.woken);
	list_init(&result.changes);
	lock_take(&service->table.lock);
	for (struct list *node; (node = list_pop_front(entries)) != NULL;) {
		list_push_back(&done, node);
		commit_locked(service, container_of(node, struct ledger_entry, node), &result);
	}
	lock_drop(&service->table.lock);
	wake_loops(service, result.wake);
	await_wake_all(&result.woken);
	for (struct list *node; (node = list_pop_front(&done)) != NULL;)
		change_free(container_of(node, struct ledger_entry, node));
	changes_write(service, &result.changes);
}

void
changes_relieved(void *context)
{
	struct service *service = context;

	pool_wake_all(service->pool); /* they may take jobs again */
}
