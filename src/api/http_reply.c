/* Answers: made, given their fields, handed to libmicrohttpd. See http.h. A front thread. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "api/http.h"

#include <microhttpd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/http_private.h"
#include "base/log.h"
#include "base/metrics.h"

void
http_reply_header(struct http_reply *reply, const char *name, const char *format, ...)
{
	char *value;
	va_list args;

	if (reply->header_count == HTTP_MAX_HEADERS)
		return;
	va_start(args, format);
	int length = vasprintf(&value, format, args);
	va_end(args);
	if (length < 0) {
		reply->poor = true;
		return;
	}
	reply->headers[reply->header_count].name = name;
	reply->headers[reply->header_count++].value = value;
}

static struct MHD_Response *
make_response(struct http_reply *reply)
{
	struct MHD_Response *response;

	switch (reply->kind) {
	case HTTP_BODY_FILE:
		response = MHD_create_response_from_fd_at_offset64(reply->length, reply->fd, reply->offset);
		if (response == NULL)
			close(reply->fd);
		return response;
	case HTTP_BODY_BORROWED:
		response = MHD_create_response_from_buffer_with_free_callback_cls(
			reply->length, (void *)(reply->bytes + reply->offset), reply->release, reply->release_context);
		if (response == NULL)
			reply->release(reply->release_context);
		return response;
	case HTTP_BODY_BUFFER:
		break;
	}
	response = reply->buffer.failed
		? NULL
		: MHD_create_response_from_buffer(reply->buffer.count, reply->buffer.data, MHD_RESPMEM_MUST_FREE);
	if (response == NULL)
		free(reply->buffer.data);
	reply->buffer = (struct buffer){0};
	return response;
}

void
http_count_status(int status)
{
	static const enum metric metrics[] = {
		METRIC_HTTP_REQUESTS_2XX, METRIC_HTTP_REQUESTS_3XX, METRIC_HTTP_REQUESTS_4XX, METRIC_HTTP_REQUESTS_5XX};

	if (status >= 200 && status < 600)
		metric_add(metrics[status / 100 - 2], 1);
}

/* False when there was no memory for one. What cannot be sent as a field is left out. */
static bool
add_headers(struct MHD_Response *response, struct http_reply *reply)
{
	bool good = !reply->poor;

	for (size_t i = 0; i < reply->header_count; i++) {
		char *value = reply->headers[i].value;

		if (response != NULL && MHD_add_response_header(response, reply->headers[i].name, value) != MHD_YES)
			good &= *value == '\0' || strpbrk(value, "\t\r\n") != NULL;
		free(value);
	}
	reply->header_count = 0;
	return good;
}

void
http_send(struct http_request *request, struct http_reply *reply)
{
	struct MHD_Response *response = make_response(reply);
	struct http_setup *setup = &request->http->setup;
	struct http_connection *known = http_connection_of(request->connection);

	request->replied = true;
	/* Above --max-connections each answer makes room for others. */
	bool closes = reply->close || request->over_limit || setup->closing(setup->context);
	bool good = add_headers(response, reply) && response != NULL &&
		(!closes || MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close") == MHD_YES);
	if (!good) {
		log_error("out of memory for an answer");
		request->out_of_memory = true; /* closes the connection */
		if (response != NULL)
			MHD_destroy_response(response);
		return;
	}
	if (known != NULL)
		http_connection_answers(known);
	http_count_status(reply->status);
	if (MHD_queue_response(request->connection, (unsigned)reply->status, response) != MHD_YES) {
		log_debug("an answer could not be queued");
		request->out_of_memory = true;
	}
	MHD_destroy_response(response);
}

static void
send_problem(struct http_request *request, struct problem *problem, const char *extra, bool and_close)
{
	struct http_reply reply = {.status = problem->status, .close = and_close};

	problem_write(problem, &reply.buffer, extra);
	if (http_param(request, "pretty") != NULL)
		request->http->setup.indent(&reply.buffer);
	buffer_append_char(&reply.buffer, '\n');
	http_reply_header(&reply, "Content-Type", "application/problem+json");
	http_reply_header(&reply, "Cache-Control", "no-store");
	http_reply_header(&reply, "X-Content-Type-Options", "nosniff");
	if (problem->retry_after_s != 0)
		http_reply_header(&reply, "Retry-After", "%d", problem->retry_after_s);
	if (problem->challenge != NULL)
		http_reply_header(&reply, "WWW-Authenticate", "%s", problem->challenge);
	if (problem->allow != NULL)
		http_reply_header(&reply, "Allow", "%s", problem->allow);
	if (problem->content_range[0] != '\0')
		http_reply_header(&reply, "Content-Range", "%s", problem->content_range);
	http_send(request, &reply);
	problem_release(problem);
}

void
http_send_problem(struct http_request *request, struct problem *problem, const char *extra)
{
	send_problem(request, problem, extra, false);
}

void
http_send_last_problem(struct http_request *request, struct problem *problem)
{
	send_problem(request, problem, "", true);
}
