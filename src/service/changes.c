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
	attempt_free(entry->end.attempt);
	response_free(entry->end.response);
	job_unref(entry->job);
	free(entry);
}

void
changes_write(struct service *service, struct list *changes)
{
	if (!list_empty(changes))
		service->ledger->ops->write(service->ledger, changes);
}

void
end_job_locked(struct service *service, struct job *job, enum job_state state, const struct job_error *error,
	struct attempt *attempt, struct response *response, struct list *changes)
{
	struct ledger_entry *entry = change_new(LEDGER_END, job);

	(void)service;
	if (entry == NULL)
		abort();
	job->finishing = true;
	entry->end = (struct ledger_end){
		.state = state,
		.attempt = attempt,
		.response = response,
		.finished_wall_ms = wall_ms(),
	};
	if (error != NULL)
		entry->end.error = *error;
	entry->end.expires_wall_ms = entry->end.finished_wall_ms + job->spec->ttl_ms;
	list_push_back(changes, &entry->node);
}

/* ---- what is seen once it is committed */

/* The job cannot be taken in after all: it leaves the ledger again, and its client is told. */
static void
refuse_added_locked(
	struct service *service, struct ledger_entry *entry, int error, struct list *woken, struct list *undo)
{
	struct job *job = entry->job;

	log_error("a job could not be taken in: %s", strerror(-error));
	table_unreserve_locked(&service->table);
	job->unkept = true;
	awaits_job_changed_locked(&service->table.awaits, job, woken);
	struct ledger_entry *removal = entry->error != 0 ? NULL : change_new(LEDGER_REMOVE, job);
	if (removal != NULL)
		list_push_back(undo, &removal->node);
}

static void
commit_add_locked(struct service *service, struct ledger_entry *entry, struct list *woken, struct list *undo, int *wake)
{
	struct job *job = entry->job;
	int error = entry->error;

	*wake = SCHEDULER_NO_LOOP;
	if (error == 0)
		error = table_insert_locked(&service->table, job);
	if (error == 0) {
		error = scheduler_add_locked(service->scheduler, job, mono_ms(), wake);
		if (error != 0)
			table_remove_locked(&service->table, job);
	}
	if (error != 0) {
		refuse_added_locked(service, entry, error, woken, undo);
		return;
	}
	job->version = 1;
	metric_add(METRIC_JOBS_SUBMITTED, 1);
	poke_housekeeper_locked(service, scheduler_next_due_locked(service->scheduler));
	awaits_job_changed_locked(&service->table.awaits, job, woken);
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
commit_end_locked(struct service *service, struct ledger_entry *entry, struct list *woken)
{
	struct job *job = entry->job;
	struct ledger_end *end = &entry->end;

	job->final_total_bytes = atomic_load_explicit(&job->total_bytes, memory_order_relaxed);
	if (end->attempt != NULL) {
		job->final_received_bytes = end->attempt->received_bytes;
		job_add_attempt(job, end->attempt);
	}
	job->response = end->response;
	end->attempt = NULL; /* the job's from now on */
	end->response = NULL;
	job->error = end->error;
	job->finished_wall_ms = end->finished_wall_ms;
	job->expires_wall_ms = end->expires_wall_ms;
	if (job->expires_wall_ms < service->sweep_due_wall_ms) {
		service->sweep_due_wall_ms = job->expires_wall_ms;
		poke_housekeeper_locked(service, mono_ms() + (job->expires_wall_ms - wall_ms()));
	}
	count_end(end->state);
	table_finish_locked(&service->table, job, end->state, woken);
}

void
changes_committed(void *context, struct list *entries)
{
	struct service *service = context;
	struct list woken, undo;
	int wake, wakes = SCHEDULER_NO_LOOP;

	list_init(&woken);
	list_init(&undo);
	lock_take(&service->table.lock);
	LIST_FOR_EACH(node, entries) {
		struct ledger_entry *entry = container_of(node, struct ledger_entry, node);

		if (entry->verb == LEDGER_ADD) {
			commit_add_locked(service, entry, &woken, &undo, &wake);
			wakes = scheduler_wake_both(wakes, wake);
		} else if (entry->verb == LEDGER_END) {
			commit_end_locked(service, entry, &woken);
		} else if (entry->found) {
			metric_add(METRIC_JOBS_REMOVED, 1);
		}
	}
	lock_drop(&service->table.lock);
	wake_loops(service, wakes);
	await_wake_all(&woken);
	for (struct list *node; (node = list_pop_front(entries)) != NULL;)
		change_free(container_of(node, struct ledger_entry, node));
	changes_write(service, &undo);
}
