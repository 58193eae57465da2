/* Many jobs: listed, and cancelled by a filter. See jobs.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/codec.h"
#include "api/front.h"
#include "api/jobs.h"
#include "api/wait.h"
#include "base/text.h"

#define LIMIT_DEFAULT 100
#define LIMIT_MAX 1000
#define LINK_MAX 4096 /* of the Link field: percent-encoded, a query can outgrow the room for an answer's head */

struct query {
	struct arena arena;
	struct ledger_filter filter;
	size_t limit;
	bool has_cursor;
	struct id cursor;
};

static int
invalid(struct problem *problem, const char *detail)
{
	return problem_set(problem, 400, "invalid_query", NULL, "%s", detail);
}

static int
read_page(struct http_request *request, struct query *query, struct problem *problem)
{
	const char *limit = http_param(request, "limit"), *cursor = http_param(request, "cursor");
	uint64_t number = LIMIT_DEFAULT;

	if (limit != NULL && (text_to_uint64(limit, &number) != 0 || number < 1 || number > LIMIT_MAX))
		return invalid(problem, "limit has to be a number from 1 to 1000");
	if (cursor != NULL && id_parse(cursor, &query->cursor) != 0)
		return invalid(problem, "cursor has to be the next_cursor of the page before");
	query->has_cursor = cursor != NULL;
	query->limit = (size_t)number;
	return 0;
}

static int
read_query(struct http_request *request, struct query *query, struct problem *problem)
{
	const char *state = http_param(request, "state"), *origin = http_param(request, "origin");

	query->filter.tag = http_param(request, "tag");
	query->filter.batch = http_param(request, "batch");
	query->filter.owner = front_sees(request);
	int rc = read_page(request, query, problem);
	if (rc == 0 && query->filter.tag != NULL && *query->filter.tag == '\0')
		rc = invalid(problem, "tag is empty");
	if (rc == 0 && state != NULL)
		rc = codec_read_states(state, &query->filter.states, problem);
	if (rc == 0 && origin != NULL)
		rc = codec_read_origin(&query->arena, origin, &query->filter, problem);
	if (rc != 0 && problem->pointer != NULL) {
		free(problem->pointer); /* it is in the query, which no pointer points into */
		problem->pointer = NULL;
		problem->code = "invalid_query";
	}
	return rc;
}

static void
append_encoded(struct buffer *buffer, const char *text)
{
	for (; *text != '\0'; text++) {
		unsigned char c = (unsigned char)*text;

		if ((c >= '0' && c <= '9') || (ascii_lower((char)c) >= 'a' && ascii_lower((char)c) <= 'z') ||
			strchr("-._~", c) != NULL)
			buffer_append_char(buffer, (char)c);
		else
			buffer_printf(buffer, "%%%02X", c);
	}
}

/* The same request with another cursor. */
static void
link_next(struct http_request *request, struct http_reply *reply, const char *cursor)
{
	struct buffer link = {0};

	buffer_append_string(&link, "</v1/jobs?");
	for (size_t i = 0; i < request->param_count; i++) {
		if (strcmp(request->params[i].name, "cursor") == 0)
			continue;
		append_encoded(&link, request->params[i].name);
		if (*request->params[i].value != '\0') {
			buffer_append_char(&link, '=');
			append_encoded(&link, request->params[i].value);
		}
		buffer_append_char(&link, '&');
	}
	buffer_printf(&link, "cursor=%s>; rel=\"next\"", cursor);
	size_t length = link.count;
	char *text = buffer_steal(&link);
	if (text != NULL && length <= LINK_MAX)
		http_reply_header(reply, "Link", "%s", text);
	free(text);
}

/* One more than asked for was fetched: it tells whether there is a next page. */
static void
send_page(struct http_request *request, struct job **jobs, struct job_view *views, size_t count, size_t limit)
{
	const struct api *api = api_of(request);
	struct http_reply reply = {.status = 200};
	struct buffer json = {0};
	struct json_out out = {.buffer = &json};
	char cursor[ID_TEXT_BYTES] = "";
	size_t shown = count > limit ? limit : count;

	service_view(api->service, jobs, shown, views);
	out_open(&out, NULL, '{');
	out_open(&out, "jobs", '[');
	for (size_t i = 0; i < shown; i++)
		codec_write_job(&out, NULL, &views[i], JOB_LISTED, api->service, 0);
	out_close(&out, ']');
	if (count > limit) {
		id_format(&jobs[limit - 1]->id, cursor);
		link_next(request, &reply, cursor);
	}
	out_string(&out, "next_cursor", *cursor != '\0' ? cursor : NULL);
	out_close(&out, '}');
	front_send_json(request, &reply, &json);
}

void
jobs_list(struct http_request *request)
{
	struct problem problem = {0};
	struct query query = {0};

	if (read_query(request, &query, &problem) != 0) {
		arena_release(&query.arena);
		http_send_problem(request, &problem, "");
		return;
	}
	struct job **jobs = calloc(query.limit + 1, sizeof(struct job *));
	struct job_view *views = calloc(query.limit + 1, sizeof *views);
	if (jobs == NULL || views == NULL) {
		front_refuse_memory(request);
	} else {
		int count = service_list(api_of(request)->service, &query.filter,
			query.has_cursor ? &query.cursor : NULL, jobs, query.limit + 1);
		if (count >= 0)
			send_page(request, jobs, views, (size_t)count, query.limit);
		else
			front_refuse_store(request);
		for (int i = 0; i < count; i++)
			job_unref(jobs[i]);
	}
	free(jobs);
	free(views);
	arena_release(&query.arena);
}

/* ---- POST /v1/jobs/cancel */

/* As service_cancel_matching, for the ids that are named. */
static int
cancel_named(struct service *service, const struct cancel_request *cancel, size_t *ret_count, struct job **ret_last)
{
	*ret_count = 0;
	*ret_last = NULL;
	for (size_t i = 0; i < cancel->id_count; i++) {
		struct job *job;
		struct id id;
		bool ours;

		int error = id_parse(cancel->ids[i], &id) == 0
			? service_find(service, &id, cancel->filter.owner, LEDGER_SUMMARY, &job)
			: -ENOENT;
		if (error == 0) {
			bool fits = ledger_filter_fits(&cancel->filter, job);

			job_unref(job);
			error = fits ? service_cancel(service, &id, cancel->filter.owner, &job, &ours) : -ENOENT;
		}
		if (error == -ENOENT)
			continue;
		if (error != 0)
			return error;
		if (!ours) {
			job_unref(job);
			continue;
		}
		++*ret_count;
		if (*ret_last != NULL)
			job_unref(*ret_last);
		*ret_last = job;
	}
	return 0;
}

static void
send_count(struct http_request *request, size_t count)
{
	struct http_reply reply = {.status = 200};
	struct buffer json = {0};
	struct json_out out = {.buffer = &json};

	out_open(&out, NULL, '{');
	out_integer(&out, "cancelled", (int64_t)count);
	out_close(&out, '}');
	front_send_json(request, &reply, &json);
}

/* The last of them is durable, and so are all. */
static void
answer_cancelled_many(struct http_request *request)
{
	const struct wait_state *state = request->state;

	if (state->await.end != AWAIT_WOKEN)
		front_refuse_unstored(request, state->await.end == AWAIT_SHUT_DOWN);
	else
		send_count(request, state->cancelled);
}

static void
await_cancelled(struct http_request *request, struct job *last, size_t count)
{
	struct wait_state *state = wait_state_new(request, &last, 1);

	if (state == NULL) {
		job_unref(last);
		front_refuse_memory(request);
		return;
	}
	state->cancelled = count;
	wait_firmly(state, AWAIT_DONE_ONLY, api_of(request)->config->max_wait_ms, answer_cancelled_many);
}

void
jobs_cancel_many(struct http_request *request)
{
	struct service *service = api_of(request)->service;
	struct problem problem = {0};
	struct cancel_request cancel;
	struct job *last;
	size_t count;

	if (codec_read_cancel(request->body.data, request->body.count, &cancel, &problem) != 0) {
		http_send_problem(request, &problem, "");
		return;
	}
	cancel.filter.owner = front_sees(request);
	int error = cancel.ids != NULL ? cancel_named(service, &cancel, &count, &last)
				       : service_cancel_matching(service, &cancel.filter, &count, &last);
	cancel_request_release(&cancel);
	if (error != 0) {
		if (last != NULL)
			job_unref(last);
		if (error == -ENOMEM)
			front_refuse_memory(request);
		else
			front_refuse_store(request);
	} else if (last == NULL) {
		send_count(request, 0);
	} else {
		await_cancelled(request, last, count);
	}
}
