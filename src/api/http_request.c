/*
 * A request is put together: its head judged, its query read, its body collected up to the cap; then it is handled. See
 * http.h. A front thread.
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "api/http.h"

#include <ctype.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>

#include "api/http_private.h"
#include "api/query.h"
#include "base/memory_budget.h"
#include "base/metrics.h"
#include "base/text.h"

#define SMALL_BODY 4096   /* is taken however short memory is */
#define SWALLOW_MAX 65536 /* of the body of a refused request; above it the connection is closed */

const char *
http_header(struct http_request *request, const char *name)
{
	return MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);
}

struct field_count {
	const char *name;
	size_t count;
};

static enum MHD_Result
count_field(void *context, enum MHD_ValueKind kind, const char *name, const char *value)
{
	struct field_count *count = context;

	(void)kind, (void)value;
	count->count += text_equal_nocase(name, count->name);
	return MHD_YES;
}

size_t
http_header_count(struct http_request *request, const char *name)
{
	struct field_count count = {.name = name};

	MHD_get_connection_values(request->connection, MHD_HEADER_KIND, count_field, &count);
	return count.count;
}

struct field_list {
	const char *name;
	struct buffer values;
};

static enum MHD_Result
add_value(void *context, enum MHD_ValueKind kind, const char *name, const char *value)
{
	struct field_list *list = context;

	(void)kind;
	if (!text_equal_nocase(name, list->name))
		return MHD_YES;
	if (list->values.count > 0)
		buffer_append_string(&list->values, ", ");
	buffer_append_string(&list->values, value == NULL ? "" : value);
	return MHD_YES;
}

char *
http_header_list(struct http_request *request, const char *name)
{
	struct field_list list = {.name = name};

	MHD_get_connection_values(request->connection, MHD_HEADER_KIND, add_value, &list);
	return list.values.count == 0 ? NULL : buffer_steal(&list.values);
}

const char *
http_param(const struct http_request *request, const char *name)
{
	for (size_t i = 0; i < request->param_count; i++)
		if (strcmp(request->params[i].name, name) == 0)
			return request->params[i].value;
	return NULL;
}

struct http_request *
http_request_new(struct http *http, struct MHD_Connection *connection, const char *target)
{
	struct http_request *request = calloc(1, sizeof *request);

	if (request == NULL)
		return NULL;
	request->target = strdup(target == NULL ? "" : target);
	if (request->target == NULL) {
		free(request);
		return NULL;
	}
	request->http = http;
	request->context = http->setup.context;
	request->connection = connection;
	list_init(&request->wake_node);
	return request;
}

void
http_release_body(struct http_request *request)
{
	buffer_release(&request->body);
	memory_give(MEMORY_REQUESTS, &request->counted_bytes);
}

void
http_request_free(struct http_request *request)
{
	if (request->state != NULL && request->state_free != NULL)
		request->state_free(request->state);
	query_free(request->params);
	problem_release(&request->refusal);
	http_release_body(request);
	free(request->authority);
	free(request->target);
	free(request);
}

/* ---- the head */

/*
 * Blanks behind a value are no part of it (RFC 9110, section 5.5), but libmicrohttpd 0.9.75 leaves them. The values are in the
 * request's own memory there.
 */
static enum MHD_Result
trim_value(void *context, enum MHD_ValueKind kind, const char *name, const char *value)
{
	size_t length = value == NULL ? 0 : strlen(value);

	(void)context, (void)kind, (void)name;
	while (length > 0 && (value[length - 1] == ' ' || value[length - 1] == '\t'))
		((char *)value)[--length] = '\0';
	return MHD_YES;
}

/* The framing was looked at before the bytes came here (http_scan.h). */
static void
note_framing(struct http_request *request)
{
	request->has_length =
		http_header(request, "Content-Length") != NULL || http_header(request, "Transfer-Encoding") != NULL;
}

/*
 * "http://host/path", with TLS "https://host/path" (RFC 9112, section 3.2.2) becomes "/path"; the host goes before that of
 * the Host field.
 */
static int
cut_authority(struct http_request *request, struct problem *problem)
{
	const struct http_connection *known = http_connection_of(request->connection);
	const char *scheme = known != NULL && known->owner->tls ? "https://" : "http://";
	char *authority = request->target + strlen(scheme), *path;

	if (!text_prefix_nocase(request->target, scheme))
		return 0;
	path = authority + strcspn(authority, "/?");
	if (*path != '/')
		return problem_set(problem, 400, "malformed_http", NULL, "the request target has to begin with /");
	request->authority = strndup(authority, (size_t)(path - authority));
	if (request->authority == NULL)
		return problem_set(problem, 503, "no_memory", NULL, "the server is out of memory; try again later");
	memmove(request->target, path, strlen(path) + 1);
	return 0;
}

/* Cuts the target into path and query. */
static int
split_target(struct http_request *request, struct problem *problem)
{
	for (const char *c = request->target; *c != '\0'; c++)
		if ((unsigned char)*c <= ' ' || *c == 0x7f)
			return problem_set(problem, 400, "malformed_http", NULL,
				"the request target has a blank or a control character");
	if (cut_authority(request, problem) != 0)
		return -1;
	if (request->target[0] != '/')
		return problem_set(problem, 400, "malformed_http", NULL, "the request target has to begin with /");
	char *query = strchr(request->target, '?');
	if (query != NULL)
		*query++ = '\0';
	request->path = request->target;
	for (const char *c = request->path; (c = strchr(c, '%')) != NULL; c++)
		if (!isxdigit((unsigned char)c[1]) || !isxdigit((unsigned char)c[2]))
			return problem_set(problem, 400, "malformed_http", NULL,
				"the request target has a %% without two hexadecimal digits");
	return query == NULL ? 0 : query_parse(query, &request->params, &request->param_count, problem);
}

static int
check_length(struct http_request *request, struct problem *problem)
{
	const char *length = http_header(request, "Content-Length");
	size_t max = request->http->max_request_bytes;

	if (length == NULL || strtoull(length, NULL, 10) <= max)
		return 0;
	return problem_set(problem, 413, "request_too_large", NULL,
		"the request body has %.20s bytes, %zu are taken; send less or raise --max-request-bytes", length, max);
}

/* True when so little of the body of a refused request is to come that the connection is worth keeping. */
static bool
little_follows(struct http_request *request)
{
	const char *length = http_header(request, "Content-Length");

	return !request->has_length || length == NULL || strtoull(length, NULL, 10) <= SWALLOW_MAX;
}

/*
 * First call: the head is in. libmicrohttpd closes the connection after an answer that is given here, so a refusal
 * waits for the body to be over, unless that would be long.
 */
static void
begin(struct http_request *request, const char *method)
{
	const struct http_connection *known = http_connection_of(request->connection);
	struct problem problem = {0};

	request->method = method;
	request->phase = PHASE_BODY;
	request->over_limit = known != NULL && known->over_limit;
#if MHD_LAX
	MHD_get_connection_values(request->connection, MHD_HEADER_KIND, trim_value, NULL);
#endif
	note_framing(request);
	if (split_target(request, &problem) != 0 && strcmp(problem.code, "invalid_query") != 0) {
		http_send_last_problem(request, &problem);
		return;
	}
	if (problem.status == 0 && check_length(request, &problem) == 0 &&
		request->http->setup.admit(request, &problem) == 0)
		return;
	if (problem.status != 413 && !request->over_limit && little_follows(request)) {
		request->refusal = problem;
		request->drop_body = true;
		return;
	}
	http_send_last_problem(request, &problem);
}

/* Small requests are never refused for memory: a cancel may be what gives some back. */
static bool
count_body(struct http_request *request, int64_t bytes)
{
	if (request->counted_bytes + bytes <= SMALL_BODY)
		memory_take_anyway(MEMORY_REQUESTS, bytes);
	else if (!memory_take(MEMORY_REQUESTS, bytes))
		return false;
	request->counted_bytes += bytes;
	return true;
}

static void
take_body(struct http_request *request, const char *data, size_t count)
{
	request->received += count;
	if (request->received > request->http->max_request_bytes) {
		request->too_large = true;
		http_release_body(request);
	}
	if (request->too_large || request->drop_body || request->body.failed)
		return;
	if (count_body(request, (int64_t)count)) {
		buffer_append(&request->body, data, count);
	} else {
		http_release_body(request);
		request->body.failed = true;
	}
}

/* Last call: the body is in. */
static void
finish(struct http_request *request)
{
	struct problem problem = {0};

	request->phase = PHASE_HANDLED;
	if (request->refusal.status != 0) {
		http_send_problem(request, &request->refusal, "");
	} else if (request->too_large) {
		problem_set(&problem, 413, "request_too_large", NULL,
			"the request body is above %zu bytes; send less or raise --max-request-bytes",
			request->http->max_request_bytes);
		http_send_problem(request, &problem, "");
	} else if (request->body.failed) {
		metric_add(METRIC_SHED_MEMORY, 1);
		problem_set(&problem, 503, "no_memory", NULL,
			"the server has no memory for this request now (--max-memory); try again later");
		http_send_problem(request, &problem, "");
	} else {
		request->http->setup.handle(request);
	}
}

bool
http_request_step(struct http_request *request, const char *method, const char *data, size_t count)
{
	if (request->phase == PHASE_NEW) {
		begin(request, method);
		return !request->out_of_memory;
	}
	if (count > 0) {
		take_body(request, data, count);
	} else if (request->phase == PHASE_BODY && !request->replied) {
		finish(request);
	} else if (!request->replied) {
		atomic_store(&request->park, PARK_RUNNING);
		request->resume(request);
	}
	return !request->out_of_memory;
}
