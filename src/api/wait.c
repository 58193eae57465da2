/* See wait.h. */
#include "api/wait.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/codec.h"
#include "base/clock.h"
#include "base/metrics.h"
#include "base/text.h"

/* ---- how long */

/* Moves over one preference ("name=value; param"), which ends at a comma; quoted strings may hold commas. */
static const char *
end_of_preference(const char *at)
{
	bool quoted = false;

	for (; *at != '\0' && (quoted || *at != ','); at++) {
		if (quoted && *at == '\\' && at[1] != '\0')
			at++;
		else if (*at == '"')
			quoted = !quoted;
	}
	return at;
}

/* The wait of a Prefer field (RFC 7240, section 4.3), -1 when there is none that can be read. */
static int64_t
preferred_wait(const char *prefer)
{
	while (prefer != NULL && *prefer != '\0') {
		char value[32] = "";
		int64_t ms;
		const char *end = end_of_preference(prefer);

		prefer += strspn(prefer, " \t");
		if (text_prefix_nocase(prefer, "wait")) {
			const char *at = prefer + 4 + strspn(prefer + 4, " \t");
			if (*at == '=') {
				at += 1 + strspn(at + 1, " \t\"");
				size_t length = strcspn(at, " \t\";,");
				if (length < sizeof value)
					memcpy(value, at, length);
				if (duration_parse(value, &ms) == 0)
					return ms;
			}
		}
		prefer = *end == ',' ? end + 1 : end;
	}
	return -1;
}

int
wait_asked_for(struct http_request *request, int64_t *ret_ms, struct problem *problem)
{
	const char *asked = http_param(request, "wait");
	int64_t ms = -1, max = api_of(request)->config->max_wait_ms;

	if (asked == NULL) {
		char *prefer = http_header_list(request, "Prefer");
		ms = preferred_wait(prefer);
		free(prefer);
	} else if (duration_parse(asked, &ms) != 0) {
		return problem_set(problem, 400, "invalid_query", NULL,
			"wait has to be a duration like 30s, 500ms or a number of seconds");
	}
	*ret_ms = ms > max ? max : ms;
	return 0;
}

void
wait_tell(struct http_reply *reply, int64_t ms)
{
	if (ms >= 0)
		http_reply_header(reply, "Preference-Applied", "wait=%lld", (long long)(ms / 1000));
}

/* ---- waiting */

static void
free_state(void *context)
{
	struct wait_state *state = context;

	for (size_t i = 0; i < state->count; i++)
		if (state->waiters[i].job != NULL)
			job_unref(state->waiters[i].job);
	free(state);
}

struct wait_state *
wait_state_new(struct http_request *request, struct job **jobs, size_t count)
{
	struct wait_state *state = calloc(1, sizeof *state + count * sizeof *state->waiters);

	if (state == NULL)
		return NULL;
	state->request = request;
	state->wait_ms = -1;
	state->count = count;
	for (size_t i = 0; i < count; i++)
		state->waiters[i].job = jobs[i];
	request->state = state;
	request->state_free = free_state;
	return state;
}

static void
on_wake(struct await *await)
{
	http_wake(container_of(await, struct wait_state, await)->request);
}

static void
prepare_await(struct wait_state *state, size_t needed, uint32_t since, int64_t ms, bool firm)
{
	for (size_t i = 0; i < state->count; i++)
		state->waiters[i].since = since;
	state->await = (struct await){
		.waiters = state->waiters,
		.count = state->count,
		.needed = needed,
		.due_mono_ms = ms == INT64_MAX ? INT64_MAX : mono_ms() + ms,
		.firm = firm,
		.wake = on_wake,
	};
}

int
wait_begin(struct wait_state *state, size_t needed, uint32_t since, int64_t ms, http_handler_fn *then)
{
	struct http_request *request = state->request;

	prepare_await(state, needed, since, ms, false);
	if (ms <= 0) {
		state->await.end = AWAIT_TIMED_OUT; /* a look, which takes no place */
		then(request);
		return 0;
	}
	int rc = service_await(api_of(request)->service, &state->await);
	if (rc == -EAGAIN) {
		metric_add(METRIC_WAITS_SHED, 1);
		return -1;
	}
	if (rc == 1)
		then(request);
	else
		http_park(request, then);
	return 0;
}

void
wait_firmly(struct wait_state *state, uint32_t since, int64_t ms, http_handler_fn *then)
{
	struct http_request *request = state->request;

	prepare_await(state, 1, since, ms, true);
	if (service_await(api_of(request)->service, &state->await) == 0)
		http_park(request, then);
	else
		then(request);
}

/* ---- POST /v1/wait */

static int
by_finish_order(const void *a, const void *b)
{
	const struct job_view *first = a, *second = b;

	return first->finish_order < second->finish_order ? -1 : first->finish_order > second->finish_order;
}

/* Moves the done ones to the front, in finishing order. Returns their number. */
static size_t
sort_done(struct job_view *views, size_t count)
{
	size_t done = 0;

	for (size_t i = 0; i < count; i++) {
		if (!job_state_done(views[i].state))
			continue;
		struct job_view swap = views[done];
		views[done++] = views[i];
		views[i] = swap;
	}
	qsort(views, done, sizeof *views, by_finish_order);
	return done;
}

static void
write_result(struct http_request *request, struct job_view *views, size_t count, struct json_out *out)
{
	const struct api *api = api_of(request);
	enum job_detail detail = http_param(request, "body") != NULL ? JOB_WITHOUT_BODY : JOB_WHOLE;
	size_t done = sort_done(views, count);
	char id[ID_TEXT_BYTES];

	out_open(out, NULL, '{');
	out_open(out, "finished", '[');
	for (size_t i = 0; i < done; i++)
		codec_write_job(out, NULL, &views[i], detail, api->service, api->config->inline_body_bytes);
	out_close(out, ']');
	out_open(out, "pending", '[');
	for (size_t i = done; i < count; i++) {
		id_format(&views[i].job->id, id);
		out_string(out, NULL, id);
	}
	out_close(out, ']');
	out_close(out, '}');
}

/* Of jobs that were done before, the body was not held while it waited. Returns 0 or -EIO. */
static int
complete(struct http_request *request, struct wait_state *state)
{
	for (size_t i = 0; http_param(request, "body") == NULL && i < state->count; i++) {
		struct waiter *waiter = &state->waiters[i];
		struct job *job;

		if (!waiter->job->summary)
			continue;
		int error = service_find(
			api_of(request)->service, &waiter->job->id, front_sees(request), LEDGER_WHOLE, &job);
		if (error == -ENOENT)
			continue; /* removed meanwhile, and its body with it */
		if (error != 0)
			return error;
		job_unref(waiter->job);
		waiter->job = job;
	}
	return 0;
}

static void
answer_wait(struct http_request *request)
{
	struct wait_state *state = request->state;
	struct job_view *views = calloc(state->count, sizeof *views);
	struct job **jobs = calloc(state->count, sizeof(struct job *));
	struct http_reply reply = {.status = 200, .close = state->await.end == AWAIT_SHUT_DOWN};
	struct buffer json = {0};
	struct json_out out = {.buffer = &json};

	if (views == NULL || jobs == NULL) {
		front_refuse_memory(request);
	} else if (complete(request, state) != 0) {
		front_refuse_store(request);
	} else {
		for (size_t i = 0; i < state->count; i++)
			jobs[i] = state->waiters[i].job;
		service_view(api_of(request)->service, jobs, state->count, views);
		write_result(request, views, state->count, &out);
		wait_tell(&reply, state->wait_ms);
		front_send_json(request, &reply, &json);
	}
	free(jobs);
	free(views);
}

/*
 * Finds the jobs. Returns 0, -ENOENT with the unknown ids as a further member of a problem (malloc'd), or -EIO.
 */
static int
find_jobs(struct http_request *request, const struct wait_request *wait, struct job **jobs, char **ret_unknown)
{
	struct buffer unknown = {0};
	struct json_out out = {.buffer = &unknown, .comma = true};
	size_t found = 0, missing = 0;
	int error = 0;

	out_open(&out, "unknown", '[');
	for (size_t i = 0; error == 0 && i < wait->count; i++) {
		struct id id;
		int rc = id_parse(wait->ids[i], &id) != 0 ? -ENOENT
							  : service_find(api_of(request)->service, &id,
								    front_sees(request), LEDGER_ATTEMPTS, &jobs[found]);

		if (rc == 0) {
			found++;
		} else if (rc == -ENOENT) {
			missing++;
			out_string(&out, NULL, wait->ids[i]);
		} else {
			error = rc;
		}
	}
	out_close(&out, ']');
	if (error == 0 && missing > 0)
		error = -ENOENT;
	if (error == -ENOENT)
		*ret_unknown = buffer_steal(&unknown);
	else
		buffer_release(&unknown);
	while (error != 0 && found > 0)
		job_unref(jobs[--found]);
	return error;
}

void
wait_refuse(struct http_request *request)
{
	front_refuse(request, 503, "too_many_waiters",
		"%lld requests wait already (--max-waiters); poll, or try again later",
		(long long)api_of(request)->config->max_waiters);
}

static void
refuse_unknown(struct http_request *request, char *unknown)
{
	struct problem problem = {0};

	if (unknown == NULL) {
		front_refuse_memory(request);
		return;
	}
	problem_set(&problem, 404, "not_found", "/ids", "unknown has the ids that name no job; they may have expired");
	http_send_problem(request, &problem, unknown);
	free(unknown);
}

static void
begin_wait(struct http_request *request, const struct wait_request *wait, struct wait_state *state)
{
	int64_t max = api_of(request)->config->max_wait_ms;

	state->wait_ms = wait->timeout_ms < 0 || wait->timeout_ms > max ? max : wait->timeout_ms;
	if (wait_begin(state, wait->needed, AWAIT_DONE_ONLY, state->wait_ms, answer_wait) != 0)
		wait_refuse(request);
}

static void
wait_for(struct http_request *request, const struct wait_request *wait)
{
	struct job **jobs = calloc(wait->count, sizeof(struct job *));
	struct wait_state *state = NULL;
	char *unknown = NULL;

	int error = jobs == NULL ? 0 : find_jobs(request, wait, jobs, &unknown);
	if (error != 0) {
		free(jobs);
		if (error == -ENOENT)
			refuse_unknown(request, unknown);
		else
			front_refuse_store(request);
		return;
	}
	if (jobs != NULL)
		state = wait_state_new(request, jobs, wait->count);
	if (jobs != NULL && state == NULL)
		for (size_t i = 0; i < wait->count; i++)
			job_unref(jobs[i]);
	free(jobs);
	if (state == NULL)
		front_refuse_memory(request);
	else
		begin_wait(request, wait, state);
}

void
wait_post(struct http_request *request)
{
	struct problem problem = {0};
	struct wait_request wait;

	if (!front_body_param_valid(request))
		return;
	if (codec_read_wait(request->body.data, request->body.count, &wait, &problem) != 0) {
		http_send_problem(request, &problem, "");
		return;
	}
	wait_for(request, &wait);
	wait_request_release(&wait);
}
