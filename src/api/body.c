/* The stored body of a response (RFC 9110, sections 13 and 14: conditions and ranges). See jobs.h. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/front.h"
#include "api/jobs.h"
#include "base/text.h"

struct range {
	uint64_t first, length;
	enum { RANGE_NONE, RANGE_PART, RANGE_UNSATISFIABLE } kind;
};

/* Digits up to stop; false when there is anything else. A number beyond all bodies is the largest. */
static bool
take_number(const char **at, char stop, uint64_t *ret)
{
	char digits[20];
	size_t length = strspn(*at, "0123456789");

	if (length == 0 || (*at)[length] != stop)
		return false;
	*ret = UINT64_MAX;
	if (length < sizeof digits) {
		memcpy(digits, *at, length);
		digits[length] = '\0';
		if (text_to_uint64(digits, ret) != 0)
			*ret = UINT64_MAX;
	}
	*at += length;
	return true;
}

/* "bytes=-500": the last 500. */
static struct range
suffix_range(const char *text, uint64_t size)
{
	uint64_t wanted;

	if (!take_number(&text, '\0', &wanted))
		return (struct range){.kind = RANGE_NONE};
	if (wanted == 0 || size == 0)
		return (struct range){.kind = RANGE_UNSATISFIABLE};
	if (wanted > size)
		wanted = size;
	return (struct range){.first = size - wanted, .length = wanted, .kind = RANGE_PART};
}

/* A single range of bytes; several, and what cannot be read, are as if not asked for. */
static struct range
read_range(const char *text, uint64_t size)
{
	struct range none = {.kind = RANGE_NONE};
	uint64_t first, last = UINT64_MAX;

	if (text == NULL || !text_prefix_nocase(text, "bytes="))
		return none;
	text += strlen("bytes=");
	text += strspn(text, " \t");
	if (*text == '-')
		return suffix_range(text + 1, size);
	if (!take_number(&text, '-', &first))
		return none;
	text++;
	if (*text != '\0' && (!take_number(&text, '\0', &last) || last < first))
		return none;
	if (first >= size)
		return (struct range){.kind = RANGE_UNSATISFIABLE};
	if (last >= size)
		last = size - 1;
	return (struct range){.first = first, .length = last - first + 1, .kind = RANGE_PART};
}

/* True when a list of tags holds this strong one; If-None-Match compares weakly. */
static bool
tag_listed(const char *list, const char *tag)
{
	return list != NULL && (strcmp(list, "*") == 0 || strstr(list, tag) != NULL);
}

static void
release_job(void *job)
{
	job_unref(job);
}

/* So that no page of a browser takes what an origin sent for its own. On every answer. */
static void
add_safety_headers(struct http_reply *reply)
{
	http_reply_header(reply, "X-Content-Type-Options", "nosniff");
	http_reply_header(reply, "Content-Security-Policy", "sandbox");
	http_reply_header(reply, "Content-Disposition", "attachment");
	http_reply_header(reply, "Cache-Control", "private, no-cache");
}

static void
add_headers(struct http_reply *reply, const struct response *response, const char *etag)
{
	const char *type = fields_get(&response->headers, "content-type");

	http_reply_header(
		reply, "Content-Type", "%s", type != NULL && *type != '\0' ? type : "application/octet-stream");
	http_reply_header(reply, "ETag", "%s", etag);
	http_reply_header(reply, "Accept-Ranges", "bytes");
	add_safety_headers(reply);
}

/* Sends a part of the body, or all of it. Takes the job's reference over. */
static void
send_bytes(struct http_request *request, struct job *job, const struct body *body, struct http_reply *reply,
	const struct range *range)
{
	reply->offset = range->first;
	reply->length = range->length;
	if (body->path == NULL) {
		reply->kind = HTTP_BODY_BORROWED;
		reply->bytes = body->data;
		reply->release = release_job;
		reply->release_context = job;
		http_send(request, reply);
		return;
	}
	reply->kind = HTTP_BODY_FILE;
	reply->fd = open(body->path, O_RDONLY | O_CLOEXEC);
	int error = errno;
	job_unref(job); /* the open file outlives its name */
	if (reply->fd >= 0) {
		http_send(request, reply);
		return;
	}
	for (size_t i = 0; i < reply->header_count; i++)
		free(reply->headers[i].value);
	if (error == ENOENT)
		front_refuse(request, 404, "not_found", "the body has just been removed");
	else
		front_refuse(request, 503, "no_resources", "the body cannot be opened: %s; try again later",
			strerror(error));
}

static void
refuse_range(struct http_request *request, struct job *job, int64_t size)
{
	struct problem problem = {0};

	job_unref(job);
	problem_set(&problem, 416, "range_not_satisfiable", NULL, "the body has %" PRId64 " bytes", size);
	snprintf(problem.content_range, sizeof problem.content_range, "bytes */%" PRId64, size);
	http_send_problem(request, &problem, "");
}

static void
send_body(struct http_request *request, struct job *job, const struct response *response)
{
	const struct body *body = &response->body;
	const char *if_range = http_header(request, "If-Range");
	struct http_reply reply = {.status = 200};
	struct range range = {.kind = RANGE_NONE};
	char etag[67] = "\"";

	hex_encode(body->sha256, 32, etag + 1);
	strcat(etag, "\"");
	/* RFC 9110, section 14.2: Range is for GET alone. */
	if (strcmp(request->method, "GET") == 0 && (if_range == NULL || strcmp(if_range, etag) == 0))
		range = read_range(http_header(request, "Range"), (uint64_t)body->bytes);
	if (tag_listed(http_header(request, "If-None-Match"), etag)) {
		reply.status = 304;
		http_reply_header(&reply, "ETag", "%s", etag);
		add_safety_headers(&reply);
		job_unref(job);
		http_send(request, &reply);
		return;
	}
	if (range.kind == RANGE_UNSATISFIABLE) {
		refuse_range(request, job, body->bytes);
		return;
	}
	if (range.kind == RANGE_PART) {
		reply.status = 206;
		http_reply_header(&reply, "Content-Range", "bytes %" PRIu64 "-%" PRIu64 "/%" PRId64, range.first,
			range.first + range.length - 1, body->bytes);
	} else {
		range.length = (uint64_t)body->bytes;
	}
	add_headers(&reply, response, etag);
	send_bytes(request, job, body, &reply, &range);
}

void
jobs_body(struct http_request *request)
{
	struct job_view view;
	struct job *job;

	if (!jobs_find(request, LEDGER_WHOLE, &job))
		return;
	service_view(api_of(request)->service, &job, 1, &view);
	if (view.response != NULL) {
		send_body(request, job, view.response);
		return;
	}
	job_unref(job);
	front_refuse(request, 409, "no_response",
		job_state_done(view.state) ? "the job has no response: it is %s; read its error"
					   : "the job is %s, not done; await it with GET /v1/jobs/ID?wait=30s",
		job_state_name(view.state));
}
