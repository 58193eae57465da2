/* A job as clients see it. See codec.h. No key is ever left out: what is not known is null. */
#include "api/codec.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

/* ---- fields */

/* In lower case, however long: a name that were cut could be another one. */
static void
open_field(struct json_out *out, const char *name)
{
	size_t from = out->buffer->count;

	out_open(out, name, '[');
	for (size_t i = from; i < out->buffer->count; i++)
		out->buffer->data[i] = ascii_lower(out->buffer->data[i]);
}

static bool
named_before(const struct fields *fields, size_t index)
{
	for (size_t i = 0; i < index; i++)
		if (text_equal_nocase(fields->items[i].name, fields->items[index].name))
			return true;
	return false;
}

/* Of a request: few, as the client gave them; those that are secret read ***. */
static void
write_request_fields(struct json_out *out, const struct job_spec *spec, const struct service *service)
{
	const struct fields *fields = &spec->headers;

	out_open(out, "headers", '{');
	for (size_t i = 0; i < fields->count; i++) {
		const char *name = fields->items[i].name;
		bool secret = service_header_is_secret(service, name);

		if (named_before(fields, i))
			continue;
		open_field(out, name);
		if (secret)
			out_string(out, NULL, "***");
		for (size_t k = i; k < fields->count && !secret; k++)
			if (text_equal_nocase(fields->items[k].name, name))
				out_string(out, NULL, fields->items[k].value);
		out_close(out, ']');
	}
	if (spec->authorization != NULL)
		out_raw(out, "authorization", "[\"***\"]");
	out_close(out, '}');
}

/* Of a response: perhaps thousands, but grouped by name and in lower case. */
static void
write_response_fields(struct json_out *out, const struct fields *fields)
{
	const struct field *items = fields->items;

	out_open(out, "headers", '{');
	for (size_t i = 0; i < fields->count; i++) {
		if (i == 0 || strcmp(items[i].name, items[i - 1].name) != 0)
			out_open(out, items[i].name, '[');
		out_string(out, NULL, items[i].value);
		if (i + 1 == fields->count || strcmp(items[i].name, items[i + 1].name) != 0)
			out_close(out, ']');
	}
	out_close(out, '}');
}

static void
write_request(struct json_out *out, const struct job_spec *spec, const struct service *service)
{
	out_open(out, "request", '{');
	out_string(out, "method", spec->method);
	out_string(out, "url", spec->url);
	write_request_fields(out, spec, service);
	out_integer(out, "body_bytes", (int64_t)spec->body_bytes);
	out_close(out, '}');
}

/* ---- attempts */

static void
write_error(struct json_out *out, const char *key, const struct job_error *error)
{
	if (error == NULL || error->code == JOB_ERROR_none) {
		out_null(out, key);
		return;
	}
	out_open(out, key, '{');
	out_string(out, "code", job_error_name(error->code));
	if (utf8_valid(error->message, strlen(error->message)))
		out_string(out, "message", error->message);
	else
		out_string(out, "message", job_error_name(error->code));
	out_string(out, "phase", job_phase_name(error->phase));
	out_boolean(out, "retryable", job_error_retryable(error->code));
	out_close(out, '}');
}

static void
write_timings(struct json_out *out, const struct timings *timings)
{
	out_open(out, "timings_ms", '{');
	out_integer_or_null(out, "queue", timings->queue);
	out_integer_or_null(out, "dns", timings->dns);
	out_integer_or_null(out, "connect", timings->connect);
	out_integer_or_null(out, "tls", timings->tls);
	out_integer_or_null(out, "first_byte", timings->first_byte);
	out_integer_or_null(out, "total", timings->total);
	out_close(out, '}');
}

static void
write_redirects(struct json_out *out, const struct attempt *attempt)
{
	out_open(out, "redirects", '[');
	for (size_t i = 0; i < attempt->redirect_count; i++) {
		out_open(out, NULL, '{');
		out_integer(out, "status", attempt->redirects[i].status);
		out_string(out, "url", attempt->redirects[i].url);
		out_string(out, "location", attempt->redirects[i].location);
		out_close(out, '}');
	}
	out_close(out, ']');
}

static void
write_attempt(struct json_out *out, const struct attempt *attempt)
{
	out_open(out, NULL, '{');
	out_integer(out, "number", attempt->number);
	out_time(out, "started_at", attempt->started_wall_ms);
	out_time(out, "finished_at", attempt->finished_wall_ms);
	out_integer_or_null(out, "status", attempt->status == 0 ? -1 : attempt->status);
	write_error(out, "error", &attempt->error);
	out_string(out, "remote_ip", *attempt->remote_ip != '\0' ? attempt->remote_ip : NULL);
	out_string(out, "http_version", *attempt->http_version != '\0' ? attempt->http_version : NULL);
	write_redirects(out, attempt);
	out_integer(out, "received_bytes", attempt->received_bytes);
	write_timings(out, &attempt->timings);
	out_close(out, '}');
}

static void
write_attempts(struct json_out *out, const struct job_view *view, enum job_detail detail)
{
	const struct attempt *attempt = view->attempts;

	if (detail == JOB_LISTED) {
		out_null(out, "attempts");
		return;
	}
	out_open(out, "attempts", '[');
	for (unsigned i = 0; i < view->attempt_count; i++, attempt = attempt->next)
		write_attempt(out, attempt);
	if (view->state == JOB_running) {
		struct attempt running = {
			.number = view->attempt_count + 1,
			.started_wall_ms = view->attempt_started_wall_ms,
			.received_bytes = view->received_bytes,
			.timings = {-1, -1, -1, -1, -1, -1},
		};
		write_attempt(out, &running);
	}
	out_close(out, ']');
}

/* ---- the response */

static void
write_base64(struct json_out *out, const char *key, const struct body *body)
{
	char *text = malloc(base64_length((size_t)body->bytes) + 1);

	if (text == NULL) {
		out->buffer->failed = true;
		return;
	}
	base64_encode(body->data, (size_t)body->bytes, text);
	out_string(out, key, text);
	free(text);
}

static void
write_body(struct json_out *out, const struct body *body, bool wanted, int64_t inline_bytes)
{
	bool shown = wanted && body->bytes <= inline_bytes && body->data != NULL;

	if (shown && body->is_text)
		out_text(out, "body", body->data, (size_t)body->bytes);
	else
		out_null(out, "body");
	if (shown && !body->is_text)
		write_base64(out, "body_base64", body);
	else
		out_null(out, "body_base64");
}

static void
write_response(struct json_out *out, const struct response *response, const char *id, bool body, int64_t inline_bytes)
{
	char sha256[65], url[64];

	if (response == NULL) {
		out_null(out, "response");
		return;
	}
	hex_encode(response->body.sha256, 32, sha256);
	snprintf(url, sizeof url, "/v1/jobs/%s/body", id);
	out_open(out, "response", '{');
	out_integer(out, "status", response->status);
	out_string(out, "url", response->url);
	write_response_fields(out, &response->headers);
	out_integer(out, "body_bytes", response->body.bytes);
	out_string(out, "body_sha256", sha256);
	write_body(out, &response->body, body, inline_bytes);
	out_string(out, "body_url", url);
	out_close(out, '}');
}

/* ---- the job */

static void
write_progress(struct json_out *out, const struct job_view *view)
{
	out_open(out, "progress", '{');
	out_integer(out, "received_bytes", view->received_bytes);
	out_integer_or_null(out, "total_bytes", view->total_bytes);
	out_close(out, '}');
}

static void
write_tags(struct json_out *out, const struct job_spec *spec)
{
	out_open(out, "tags", '[');
	for (size_t i = 0; i < spec->tag_count; i++)
		out_string(out, NULL, spec->tags[i]);
	out_close(out, ']');
}

void
codec_write_job(struct json_out *out, const char *key, const struct job_view *view, enum job_detail detail,
	const struct service *service, int64_t inline_body_bytes)
{
	const struct job *job = view->job;
	const struct job_spec *spec = job->spec;
	char id[ID_TEXT_BYTES];

	id_format(&job->id, id);
	out_open(out, key, '{');
	out_string(out, "id", id);
	out_string(out, "state", job_state_name(view->state));
	out_boolean(out, "done", job_state_done(view->state));
	out_integer(out, "version", view->version);
	out_null(out, "batch");
	write_tags(out, spec);
	out_raw(out, "meta", spec->meta == NULL ? "null" : spec->meta);
	out_integer(out, "priority", spec->priority);
	write_request(out, spec, service);
	out_time(out, "created_at", job->created_wall_ms);
	out_time(out, "run_at", job->run_at_wall_ms);
	out_time(out, "started_at", view->started_wall_ms);
	out_time(out, "finished_at", view->finished_wall_ms);
	out_time(out, "expires_at", view->expires_wall_ms);
	write_progress(out, view);
	write_attempts(out, view, detail);
	write_response(out, view->response, id, detail == JOB_WHOLE, inline_body_bytes);
	write_error(out, "error", view->error);
	out_close(out, '}');
}
