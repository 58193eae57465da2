/* One job: submitted, read, awaited, cancelled, removed. See jobs.h. */
#include "api/jobs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/codec.h"
#include "api/front.h"
#include "api/wait.h"
#include "base/text.h"

static void
refuse_unknown(struct http_request *request)
{
	front_refuse(request, 404, "not_found", "there is no such job; it may have expired or been removed");
}

bool
jobs_path_id(const struct http_request *request, struct id *ret)
{
	char text[ID_TEXT_BYTES];

	if (request->segment_length != ID_TEXT_BYTES - 1)
		return false;
	memcpy(text, request->segment, ID_TEXT_BYTES - 1);
	text[ID_TEXT_BYTES - 1] = '\0';
	return id_parse(text, ret) == 0;
}

/* 404, or 503 when the store cannot tell. */
static void
refuse_for(struct http_request *request, int error)
{
	if (error == -ENOENT)
		refuse_unknown(request);
	else if (error == -ENOMEM)
		front_refuse_memory(request);
	else
		front_refuse_store(request);
}

bool
jobs_find(struct http_request *request, enum ledger_depth depth, struct job **ret)
{
	struct id id;
	int error = jobs_path_id(request, &id)
		? service_find(api_of(request)->service, &id, front_sees(request), depth, ret)
		: -ENOENT;

	if (error != 0)
		refuse_for(request, error);
	return error == 0;
}

/* The state for one job (NULL: set later), whose reference it takes over; NULL after a 503 was sent. */
static struct wait_state *
state_for(struct http_request *request, struct job *job)
{
	struct wait_state *state = wait_state_new(request, &job, 1);

	if (state == NULL) {
		if (job != NULL)
			job_unref(job);
		front_refuse_memory(request);
	}
	return state;
}

/* How much of a finished job the answer needs. */
static enum ledger_depth
depth_of(const struct http_request *request)
{
	return http_param(request, "body") != NULL ? LEDGER_ATTEMPTS : LEDGER_WHOLE;
}

static enum job_detail
detail_of(const struct http_request *request)
{
	return http_param(request, "body") != NULL ? JOB_WITHOUT_BODY : JOB_WHOLE;
}

static void
look(struct http_request *request, struct job_view *ret)
{
	const struct wait_state *state = request->state;

	service_view(api_of(request)->service, &state->waiters[0].job, 1, ret);
}

static void
send_job(struct http_request *request, const struct job_view *view, struct http_reply *reply)
{
	const struct api *api = api_of(request);
	const struct wait_state *state = request->state;
	struct buffer json = {0};
	struct json_out out = {.buffer = &json};

	codec_write_job(&out, NULL, view, detail_of(request), api->service, api->config->inline_body_bytes);
	http_reply_header(reply, "ETag", "W/\"%u\"", (unsigned)view->version);
	wait_tell(reply, state->wait_ms);
	reply->close = state->await.end == AWAIT_SHUT_DOWN;
	front_send_json(request, reply, &json);
}

/* ---- POST /v1/jobs */

static void
answer_submitted(struct http_request *request)
{
	const struct wait_state *state = request->state;
	struct http_reply reply = {0};
	struct job_view view;
	char id[ID_TEXT_BYTES];

	look(request, &view);
	/* 200 is the answer to a wait; without one it would depend on who was faster. And that to a repeated submission. */
	reply.status = state->repeated || (state->wait_ms >= 0 && job_state_done(view.state)) ? 200 : 202;
	id_format(&view.job->id, id);
	http_reply_header(&reply, "Location", "/v1/jobs/%s", id);
	if (reply.status == 202 || !job_state_done(view.state))
		http_reply_header(&reply, "Retry-After", "1");
	send_job(request, &view, &reply);
}

static void
await_submitted(struct http_request *request)
{
	struct wait_state *state = request->state;

	if (state->wait_ms >= 0 && wait_begin(state, 1, AWAIT_DONE_ONLY, state->wait_ms, answer_submitted) == 0)
		return;
	state->wait_ms = -1; /* none was asked for, or too many wait: no wait is in force */
	answer_submitted(request);
}

/* Another job has the idempotency key: it is the answer, if it was asked for in the same way. */
static void
answer_repeated(struct http_request *request, const struct job_view *view)
{
	struct wait_state *state = request->state;
	struct problem problem = {0};
	struct job *job;

	if (!view->existing_same) {
		problem_set(&problem, 422, "idempotency_mismatch", NULL,
			"another request was made with this idempotency key; use a new key, or repeat that request as it was");
		http_send_problem(request, &problem, "");
		return;
	}
	int error =
		service_find(api_of(request)->service, &view->existing, front_sees(request), depth_of(request), &job);
	if (error == -EIO) {
		front_refuse_store(request);
		return;
	}
	if (error != 0) {
		/* Just removed, with its key. */
		front_refuse(request, 503, "not_kept", "the job with this idempotency key is just going; try again");
		return;
	}
	job_unref(state->waiters[0].job);
	state->waiters[0].job = job;
	state->repeated = true;
	await_submitted(request);
}

static const struct {
	int status;
	const char *code;
} refusals[] = {
	[REFUSED_INVALID] = {400, "invalid"},
	[REFUSED_QUEUE_FULL] = {503, "queue_full"},
	[REFUSED_DRAINING] = {503, "draining"},
	[REFUSED_STORE] = {503, "store_unavailable"},
	[REFUSED_NO_MEMORY] = {503, "no_memory"},
	[REFUSED_QUOTA] = {429, "quota_exceeded"},
};

static void
set_refusal(struct problem *problem, const struct refusal *refusal)
{
	problem_set(problem, refusals[refusal->code].status, refusals[refusal->code].code, refusal->pointer, "%s",
		refusal->detail);
	if (refusal->code == REFUSED_QUOTA)
		problem->retry_after_s = (int)((refusal->retry_after_ms + 999) / 1000);
}

/* It was no repetition, so the quota holds. */
static void
refuse_for_quota(struct http_request *request)
{
	const struct wait_state *state = request->state;
	struct problem problem = {0};

	set_refusal(&problem, &state->over_quota);
	http_send_problem(request, &problem, "");
}

/* The job is durable, or could not be made so. */
static void
after_commit(struct http_request *request)
{
	struct job_view view;

	look(request, &view);
	if (view.unkept && view.unkept_why == -EEXIST)
		answer_repeated(request, &view);
	else if (view.unkept && view.unkept_why == -EDQUOT)
		refuse_for_quota(request);
	else if (view.unkept)
		front_refuse(request, 503, "not_kept", "the job could not be stored: %s; try again later",
			strerror(-view.unkept_why));
	else if (view.version == 0)
		front_refuse_draining(request);
	else
		await_submitted(request);
}

static int
set_idempotency_key(struct http_request *request, struct job_spec *spec, struct problem *problem)
{
	size_t count = http_header_count(request, "Idempotency-Key");
	const char *key = http_header(request, "Idempotency-Key");

	if (count > 1)
		return problem_set(problem, 400, "invalid", NULL, "there is more than one Idempotency-Key; send one");
	return codec_set_idempotency_key(spec, count == 0 ? NULL : key == NULL ? "" : key, problem);
}

/* Whose the job is to be. */
static int
set_owner(struct http_request *request, struct job_spec *spec, struct problem *problem)
{
	if (*request->client.name == '\0')
		return 0;
	spec->owner = arena_string(&spec->arena, request->client.name);
	return spec->owner != NULL
		? 0
		: problem_set(problem, 503, "no_memory", NULL, "the server is out of memory; try again later");
}

static struct job *
submit(struct http_request *request, struct problem *problem)
{
	struct refusal refusal;
	struct job *job;

	struct job_spec *spec = codec_read_spec(request->body.data, request->body.count, problem);
	if (spec == NULL)
		return NULL;
	if (set_owner(request, spec, problem) != 0 || set_idempotency_key(request, spec, problem) != 0) {
		job_spec_free(spec);
		return NULL;
	}
	http_release_body(request); /* not held twice while the client waits */
	int rc = service_submit(api_of(request)->service, spec, &job, &refusal);
	if (rc == 1)
		((struct wait_state *)request->state)->over_quota = refusal;
	if (rc >= 0)
		return job;
	job_spec_free(spec);
	set_refusal(problem, &refusal);
	return NULL;
}

void
jobs_post(struct http_request *request)
{
	struct problem problem = {0};
	struct wait_state *state;
	int64_t wait_ms;

	if (!front_body_param_valid(request))
		return;
	if (wait_asked_for(request, &wait_ms, &problem) != 0) {
		http_send_problem(request, &problem, "");
		return;
	}
	/* Before the job is taken in: after that there is no way back. */
	state = state_for(request, NULL);
	if (state == NULL)
		return;
	state->wait_ms = wait_ms;
	state->waiters[0].job = submit(request, &problem);
	if (state->waiters[0].job == NULL)
		http_send_problem(request, &problem, "");
	else
		wait_firmly(state, 0, INT64_MAX, after_commit);
}

/* ---- GET /v1/jobs/ID */

/* W/"7", "7" or 7 as a version. */
static bool
read_version(const char *text, uint32_t *ret)
{
	char digits[16];
	uint64_t value;

	if (strncmp(text, "W/", 2) == 0)
		text += 2;
	size_t length = strlen(text);
	if (length >= 2 && text[0] == '"' && text[length - 1] == '"') {
		text++;
		length -= 2;
	}
	if (length == 0 || length >= sizeof digits)
		return false;
	memcpy(digits, text, length);
	digits[length] = '\0';
	if (text_to_uint64(digits, &value) != 0 || value >= AWAIT_REMOVAL)
		return false;
	*ret = (uint32_t)value;
	return true;
}

/* True when one of the tags of an If-None-Match list is that of the version. */
static bool
etag_matches(const char *list, uint32_t version)
{
	while (*list != '\0') {
		char tag[24];
		uint32_t named;
		size_t length;

		list += strspn(list, " \t,");
		length = strcspn(list, ",");
		if (length > 0 && length < sizeof tag) {
			memcpy(tag, list, length);
			tag[length] = '\0';
			tag[strcspn(tag, " \t")] = '\0';
			if (strcmp(tag, "*") == 0 || (read_version(tag, &named) && named == version))
				return true;
		}
		list += length;
	}
	return false;
}

static void
answer_read(struct http_request *request)
{
	const struct wait_state *state = request->state;
	struct http_reply reply = {.status = 200};
	struct job_view view;

	look(request, &view);
	if (state->has_etag && etag_matches(http_header(request, "If-None-Match"), view.version)) {
		reply.status = 304;
		http_reply_header(&reply, "ETag", "W/\"%u\"", (unsigned)view.version);
		wait_tell(&reply, state->wait_ms);
		reply.close = state->await.end == AWAIT_SHUT_DOWN;
		http_send(request, &reply);
		return;
	}
	send_job(request, &view, &reply);
}

static int
read_since(struct http_request *request, struct wait_state *state, struct problem *problem)
{
	const char *since = http_param(request, "since");
	const char *tags = http_header(request, "If-None-Match");
	struct job_view view;

	state->since = AWAIT_DONE_ONLY;
	if (since != NULL && !read_version(since, &state->since))
		return problem_set(problem, 400, "invalid_query", NULL, "since has to be a job's version, a number");
	state->has_etag = tags != NULL;
	if (since == NULL && tags != NULL) {
		/* Any change from what the client has; if it has another version already, that is one. */
		look(request, &view);
		state->since = etag_matches(tags, view.version) ? view.version : 0;
	}
	return 0;
}

void
jobs_get(struct http_request *request)
{
	struct problem problem = {0};
	struct wait_state *state;
	struct job *job;
	int64_t wait_ms;

	if (!front_body_param_valid(request))
		return;
	if (wait_asked_for(request, &wait_ms, &problem) != 0) {
		http_send_problem(request, &problem, "");
		return;
	}
	if (!jobs_find(request, depth_of(request), &job) || (state = state_for(request, job)) == NULL)
		return;
	state->wait_ms = wait_ms;
	if (read_since(request, state, &problem) != 0)
		http_send_problem(request, &problem, "");
	else if (wait_ms <= 0)
		answer_read(request);
	else if (wait_begin(state, 1, state->since, wait_ms, answer_read) != 0)
		wait_refuse(request);
}

/* ---- POST /v1/jobs/ID/cancel, DELETE /v1/jobs/ID */

static void
answer_cancelled(struct http_request *request)
{
	const struct api *api = api_of(request);
	const struct wait_state *state = request->state;
	struct http_reply reply = {.status = 200};
	struct problem problem = {0};
	struct buffer extra = {0};
	struct json_out out = {.buffer = &extra, .comma = true};
	struct job_view view;

	look(request, &view);
	if (state->ours && job_state_done(view.state)) {
		send_job(request, &view, &reply);
		return;
	}
	if (!job_state_done(view.state)) {
		front_refuse_unstored(request, state->await.end == AWAIT_SHUT_DOWN);
		return;
	}
	codec_write_job(&out, "job", &view, detail_of(request), api->service, api->config->inline_body_bytes);
	char *text = buffer_steal(&extra);
	if (text == NULL) {
		front_refuse_memory(request);
		return;
	}
	problem_set(
		&problem, 409, "already_done", NULL, "the job is done already: it is %s", job_state_name(view.state));
	http_send_problem(request, &problem, text);
	free(text);
}

void
jobs_cancel(struct http_request *request)
{
	struct wait_state *state;
	struct job *job;
	struct id id;
	bool ours;

	if (!front_body_param_valid(request))
		return;
	int error = jobs_path_id(request, &id)
		? service_cancel(api_of(request)->service, &id, front_sees(request), &job, &ours)
		: -ENOENT;
	if (error != 0) {
		refuse_for(request, error);
		return;
	}
	state = state_for(request, job);
	if (state == NULL)
		return;
	state->ours = ours;
	wait_firmly(state, AWAIT_DONE_ONLY, api_of(request)->config->max_wait_ms, answer_cancelled);
}

static void
answer_deleted(struct http_request *request)
{
	const struct wait_state *state = request->state;
	struct http_reply reply = {.status = 204};
	struct job_view view;

	look(request, &view);
	if (view.removal == JOB_GONE)
		http_send(request, &reply);
	else if (view.removal == JOB_WAS_GONE)
		refuse_unknown(request);
	else
		front_refuse_unstored(request, state->await.end == AWAIT_SHUT_DOWN);
}

void
jobs_delete(struct http_request *request)
{
	struct wait_state *state;
	struct job *job;
	struct id id;
	int error = jobs_path_id(request, &id)
		? service_remove(api_of(request)->service, &id, front_sees(request), &job)
		: -ENOENT;

	if (error != 0) {
		refuse_for(request, error);
		return;
	}
	state = state_for(request, job);
	if (state != NULL)
		wait_firmly(state, AWAIT_REMOVAL, api_of(request)->config->max_wait_ms, answer_deleted);
}
