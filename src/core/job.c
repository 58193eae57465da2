/* See job.h. */
#include "core/job.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory_budget.h"
#include "base/text.h"

#define BIT(name) (1u << JOB_##name)

static const struct {
	const char *name;
	bool done;
	unsigned next;
} states[JOB_STATE_COUNT] = {
#define X(name, done, next) [JOB_##name] = {#name, done, next},
#include "core/states.tbl.h"
#undef X
};

static const struct {
	const char *name;
	bool retryable;
} errors[JOB_ERROR_COUNT] = {
#define X(code, retryable) [JOB_ERROR_##code] = {#code, retryable},
#include "core/errors.tbl.h"
#undef X
};

static const char *const phases[JOB_PHASE_COUNT] = {
#define X(name) [JOB_PHASE_##name] = #name,
#include "core/phases.tbl.h"
#undef X
};

const char *
job_state_name(enum job_state state)
{
	return states[state].name;
}

bool
job_state_done(enum job_state state)
{
	return states[state].done;
}

bool
job_state_from_name(const char *name, size_t length, enum job_state *ret)
{
	for (int i = 0; i < JOB_STATE_COUNT; i++) {
		if (strlen(states[i].name) == length && memcmp(states[i].name, name, length) == 0) {
			*ret = (enum job_state)i;
			return true;
		}
	}
	return false;
}

const char *
job_error_name(enum job_error_code code)
{
	return errors[code].name;
}

bool
job_error_retryable(enum job_error_code code)
{
	return errors[code].retryable;
}

const char *
job_phase_name(enum job_phase phase)
{
	return phases[phase];
}

const char *
fields_get(const struct fields *fields, const char *name)
{
	for (size_t i = 0; i < fields->count; i++)
		if (text_equal_nocase(fields->items[i].name, name))
			return fields->items[i].value;
	return NULL;
}

bool
fields_have(const struct fields *fields, const char *name)
{
	return fields_get(fields, name) != NULL;
}

struct placed_field {
	struct field field;
	size_t place;
};

static int
by_name_then_place(const void *a, const void *b)
{
	const struct placed_field *first = a, *second = b;
	int order = strcmp(first->field.name, second->field.name);

	if (order != 0)
		return order;
	return first->place < second->place ? -1 : 1;
}

int
fields_group(struct fields *fields)
{
	struct placed_field *placed = calloc(fields->count + 1, sizeof *placed);

	if (placed == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < fields->count; i++)
		placed[i] = (struct placed_field){.field = fields->items[i], .place = i};
	qsort(placed, fields->count, sizeof *placed, by_name_then_place);
	for (size_t i = 0; i < fields->count; i++)
		fields->items[i] = placed[i].field;
	free(placed);
	return 0;
}

struct job_spec *
job_spec_new(void)
{
	struct arena arena = {0};
	struct job_spec *spec = arena_alloc(&arena, sizeof *spec);

	if (spec != NULL)
		spec->arena = arena;
	return spec;
}

void
job_spec_free(struct job_spec *spec)
{
	if (spec == NULL)
		return;
	struct arena arena = spec->arena; /* which holds the spec itself */
	arena_release(&arena);
}

bool
job_spec_has_tag(const struct job_spec *spec, const char *tag)
{
	for (size_t i = 0; i < spec->tag_count; i++)
		if (strcmp(spec->tags[i], tag) == 0)
			return true;
	return false;
}

bool
job_spec_owned_by(const struct job_spec *spec, const char *owner)
{
	return owner == NULL || (spec->owner != NULL && strcmp(spec->owner, owner) == 0);
}

bool
method_idempotent(const char *method)
{
	static const char *const methods[] = {
		"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PROPFIND", "REPORT", "SEARCH"};

	for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
		if (strcmp(method, methods[i]) == 0)
			return true;
	return false;
}

bool
job_spec_repeatable(const struct job_spec *spec)
{
	return spec->retry_unsafe || method_idempotent(spec->method);
}

void
attempt_free(struct attempt *attempt)
{
	if (attempt == NULL)
		return;
	struct arena arena = attempt->arena;
	arena_release(&arena);
}

void
body_close(struct body *body)
{
	if (body->fd > 0)
		close(body->fd);
	body->fd = 0;
}

void
response_free(struct response *response)
{
	if (response == NULL)
		return;
	struct arena arena = response->arena;
	body_close(&response->body);
	if (response->body.path != NULL && !response->body.kept)
		unlink(response->body.path);
	free(response->body.path);
	free(response->body.data);
	memory_give(MEMORY_RESPONSES, &response->body.counted_bytes);
	arena_release(&arena);
}

struct job *
job_new(struct job_spec *spec)
{
	struct job *job = calloc(1, sizeof *job);

	if (job == NULL)
		return NULL;
	atomic_init(&job->references, 1);
	atomic_init(&job->state, JOB_queued);
	atomic_init(&job->received_bytes, 0);
	atomic_init(&job->total_bytes, -1);
	job->spec = spec;
	list_init(&job->waiters);
	list_init(&job->cancel_node);
	list_init(&job->running_node);
	list_init(&job->launch_node);
	return job;
}

bool
job_count_memory(struct job *job, bool force)
{
	int64_t bytes = (int64_t)(sizeof *job + job->spec->arena.bytes);

	if (force)
		memory_take_anyway(MEMORY_SPECS, bytes);
	else if (!memory_take(MEMORY_SPECS, bytes))
		return false;
	job->counted_bytes += bytes;
	return true;
}

struct job *
job_ref(struct job *job)
{
	atomic_fetch_add_explicit(&job->references, 1, memory_order_relaxed);
	return job;
}

void
job_unref(struct job *job)
{
	if (atomic_fetch_sub_explicit(&job->references, 1, memory_order_acq_rel) != 1)
		return;
	assert(list_empty(&job->waiters));
	while (job->attempts != NULL) {
		struct attempt *attempt = job->attempts;

		job->attempts = attempt->next;
		attempt_free(attempt);
	}
	response_free(job->response);
	memory_give(MEMORY_SPECS, &job->counted_bytes);
	job_spec_free(job->spec);
	free(job->reserved_end);
	free(job->reserved_removal);
	free(job);
}

void
job_set_state(struct job *job, enum job_state state)
{
	assert((states[job->state].next & (1u << state)) != 0);
	job->state = state;
	job->version++;
}

void
job_add_attempt(struct job *job, struct attempt *attempt)
{
	if (job->last_attempt != NULL)
		job->last_attempt->next = attempt;
	else
		job->attempts = attempt;
	job->last_attempt = attempt;
	job->attempt_count++;
}
