/* A job comes in: its URL is read and its settings completed, it gets a place in the queue, and goes to the ledger. */
#include "service/private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/metrics.h"
#include "fetch/url.h"

static int __attribute__((format(printf, 4, 5)))
refuse(struct refusal *refusal, enum refusal_code code, const char *pointer, const char *format, ...)
{
	va_list args;

	refusal->code = code;
	refusal->pointer = pointer;
	va_start(args, format);
	vsnprintf(refusal->detail, sizeof refusal->detail, format, args);
	va_end(args);
	return -1;
}

static int
refuse_for_memory(struct refusal *refusal)
{
	return refuse(refusal, REFUSED_NO_MEMORY, NULL, "the server is out of memory; try again later");
}

/* True when the CA bundle, the certificate and the proxy that it names are there. */
static bool
has_its_ways(struct service *service, const struct job_spec *spec, struct ways_problem *ret)
{
	struct ways *ways = ways_slot_get(&service->ways);

	bool all = ways_have(ways, spec, ret);
	ways_unref(ways);
	return all;
}

/* Completes the spec with what only the server knows. */
static int
prepare(struct service *service, struct job_spec *spec, struct refusal *refusal)
{
	const struct config *config = service->config;
	struct ways_problem problem;
	struct url url;
	const char *why;

	int error = url_parse(&spec->arena, spec->url, &url, &why);
	if (error == -ENOMEM)
		return refuse_for_memory(refusal);
	if (error != 0)
		return refuse(refusal, REFUSED_INVALID, "/url", "%s", why);
	spec->url = url.text;
	spec->origin = url.origin;
	if (!has_its_ways(service, spec, &problem))
		return refuse(refusal, REFUSED_INVALID, problem.pointer, "%s", problem.detail);
	if (spec->max_body_bytes > config->max_body_bytes)
		return refuse(refusal, REFUSED_INVALID, "/max_body_bytes",
			"the server takes bodies of up to %" PRId64 " bytes; ask for no more", config->max_body_bytes);
	if (spec->max_body_bytes < 0)
		spec->max_body_bytes = config->max_body_bytes;
	if (spec->ttl_ms == 0)
		spec->ttl_ms = config->ttl_ms;
	return 0;
}

/* Says which quota of its token a client is over. Always returns -1. */
static int
refuse_for_quota(const char *owner, const struct owner_refusal *why, struct refusal *refusal)
{
	static const char *const of_what[] = {
		[OWNER_JOBS_PER_MINUTE] = "jobs a minute (jobs-per-minute)",
		[OWNER_MAX_QUEUED] = "jobs that wait (max-queued)",
		[OWNER_MAX_IN_FLIGHT] = "unfinished jobs (max-in-flight, without a max-queued of more that wait)",
	};

	metric_add(METRIC_TOKEN_429, 1);
	refuse(refusal, REFUSED_QUOTA, NULL, "the token %s has reached its quota of %" PRId64 " %s; try again later",
		owner, why->limit, of_what[why->quota]);
	refusal->retry_after_ms = why->retry_after_ms;
	return -1;
}

/*
 * A place in the queue for a job of this owner (NULL: nobody). Returns 0; or 1 when its owner is over a quota, as refusal
 * says, and the place is the queue's alone; or -1.
 */
static int
reserve(struct service *service, const struct job_spec *spec, struct owner **ret_owner, struct refusal *refusal)
{
	struct owner_refusal quota = {0};
	char why[200];

	if (!service_store_accepts(service, why, sizeof why)) {
		metric_add(METRIC_SHED_STORE, 1);
		return refuse(refusal, REFUSED_STORE, NULL, "jobs cannot be stored (%s); try again later", why);
	}
	lock_take(&service->table.lock);
	bool draining = service->draining;
	struct owner *owner = owners_get_locked(&service->table.owners, spec->owner);
	int error = draining ? 0 : table_reserve_locked(&service->table);
	int rc = 0;
	if (!draining && error == 0 && owner != NULL && owner_admit_locked(owner, 1, mono_ms(), &quota) != 0)
		rc = spec->idempotency_key != NULL ? 1 : -1;
	if (rc < 0 || (spec->owner != NULL && owner == NULL && !draining && error == 0))
		table_unreserve_locked(&service->table);
	lock_drop(&service->table.lock);
	*ret_owner = owner;
	if (draining) {
		metric_add(METRIC_SHED_DRAINING, 1);
		return refuse(refusal, REFUSED_DRAINING, NULL, "the server is shutting down; try again later");
	}
	if (error != 0) {
		metric_add(METRIC_SHED_QUEUE_FULL, 1);
		return refuse(refusal, REFUSED_QUEUE_FULL, NULL,
			"the queue is full (%" PRId64 " jobs); try again later", service->config->max_queued);
	}
	if (spec->owner != NULL && owner == NULL)
		return refuse_for_memory(refusal);
	if (rc != 0)
		refuse_for_quota(spec->owner, &quota, refusal);
	return rc;
}

static void
unreserve(struct service *service, struct owner *owner)
{
	lock_take(&service->table.lock);
	table_unreserve_locked(&service->table);
	if (owner != NULL)
		owner_unadmit_locked(owner, 1);
	lock_drop(&service->table.lock);
}

/*
 * Both clocks are read once, so that a delay is exact on the monotonic one whatever the wall clock does. A delay is
 * rounded up to whole milliseconds, so that nothing starts early by the wall clock.
 */
static void
set_times(struct job *job)
{
	const struct job_spec *spec = job->spec;
	int64_t delay = spec->delay_ms, now_us = mono_us();

	job->created_wall_ms = wall_ms();
	job->created_mono_ms = now_us / 1000;
	if (spec->run_at_wall_ms != 0)
		delay = spec->run_at_wall_ms - job->created_wall_ms;
	job->run_at_wall_ms = job->created_wall_ms + delay;
	job->run_at_mono_ms = delay > 0 ? (now_us + 999) / 1000 + delay : job->created_mono_ms;
}

int
service_submit(struct service *service, struct job_spec *spec, struct job **ret, struct refusal *ret_refusal)
{
	struct ledger_entry *entry;
	struct list changes;
	struct owner *owner = NULL;

	if (prepare(service, spec, ret_refusal) != 0)
		return -1;
	int rc = reserve(service, spec, &owner, ret_refusal);
	if (rc < 0)
		return -1;
	struct job *job = job_new(spec);
	if (job != NULL && !job_count_memory(job, false)) {
		job->spec = NULL; /* stays the caller's */
		job_unref(job);
		unreserve(service, rc == 0 ? owner : NULL);
		metric_add(METRIC_SHED_MEMORY, 1);
		return refuse(ret_refusal, REFUSED_NO_MEMORY, NULL,
			"jobs and bodies fill the memory that --max-memory gives them; try again later");
	}
	if (job == NULL || (entry = change_new(LEDGER_ADD, job)) == NULL) {
		if (job != NULL) {
			job->spec = NULL; /* stays the caller's */
			job_unref(job);
		}
		unreserve(service, rc == 0 ? owner : NULL);
		return refuse_for_memory(ret_refusal);
	}
	job->id = id_new();
	job->owner = owner;
	entry->only_existing = rc == 1;
	set_times(job);
	list_init(&changes);
	list_push_back(&changes, &entry->node);
	changes_write(service, &changes);
	*ret = job;
	return rc;
}
