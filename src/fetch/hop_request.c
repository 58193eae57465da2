/* See hop_request.h. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "fetch/hop_request.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "fetch/redirect.h"

bool
hop_append(struct curl_slist **list, const char *line)
{
	struct curl_slist *longer = curl_slist_append(*list, line);

	if (longer == NULL)
		return false;
	*list = longer;
	return true;
}

static bool
append_field(struct curl_slist **list, const char *name, const char *value)
{
	char small[512], *line = small;
	size_t length = strlen(name) + strlen(value) + 3;

	if (length > sizeof small && (line = malloc(length)) == NULL)
		return false;
	/* libcurl's spelling of a field with an empty value is "name;". */
	snprintf(line, length, *value == '\0' ? "%s;%s" : "%s: %s", name, value);
	bool ok = hop_append(list, line);
	if (line != small)
		free(line);
	return ok;
}

static bool
is_secret(const struct transfer *transfer, const char *name)
{
	const struct pool_settings *settings = transfer->settings;

	for (size_t i = 0; i < settings->secret_header_count; i++)
		if (text_equal_nocase(name, settings->secret_headers[i]))
			return true;
	return false;
}

static bool
append_client_fields(struct transfer *transfer)
{
	const struct job_spec *spec = transfer->job->spec;

	for (size_t i = 0; i < spec->headers.count; i++) {
		const struct field *field = &spec->headers.items[i];

		if (!transfer->send_secret && is_secret(transfer, field->name))
			continue;
		if (spec->has_body && !transfer->send_body && redirect_body_field(field->name))
			continue;
		if (!append_field(&transfer->headers, field->name, field->value))
			return false;
	}
	return true;
}

static bool
set_headers(struct transfer *transfer)
{
	const struct job_spec *spec = transfer->job->spec;
	bool body = spec->has_body && transfer->send_body;

	if (!append_client_fields(transfer))
		return false;
	if (spec->authorization != NULL && transfer->send_secret &&
		!append_field(&transfer->headers, "Authorization", spec->authorization))
		return false;
	if (spec->decompress && !fields_have(&spec->headers, "accept-encoding") &&
		!append_field(&transfer->headers, "Accept-Encoding", decode_accepted()))
		return false;
	if (!hop_append(&transfer->headers, "Expect:"))
		return false;
	/* Without a type of the client's own libcurl would call every body a form. */
	if (!fields_have(&spec->headers, "content-type") || !body)
		if (!hop_append(&transfer->headers,
			    body && spec->body_is_json ? "Content-Type: application/json" : "Content-Type:"))
			return false;
	curl_easy_setopt(transfer->easy, CURLOPT_HTTPHEADER, transfer->headers);
	return true;
}

static void
set_method(struct transfer *transfer)
{
	const struct job_spec *spec = transfer->job->spec;
	const char *method = transfer->method;
	CURL *easy = transfer->easy;
	bool body = spec->has_body && transfer->send_body;
	bool empty = !body && (!strcmp(method, "POST") || !strcmp(method, "PUT") || !strcmp(method, "PATCH"));

	if (strcmp(method, "HEAD") == 0) {
		curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
		return;
	}
	if (body || empty) {
		curl_easy_setopt(easy, CURLOPT_POST, 1L);
		curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)(body ? spec->body_bytes : 0));
		if (empty || spec->body_bytes <= HOP_SMALL_BODY_BYTES) {
			curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body ? (const char *)spec->body : "");
		} else {
			curl_easy_setopt(easy, CURLOPT_READFUNCTION, hop_on_read);
			curl_easy_setopt(easy, CURLOPT_READDATA, transfer);
		}
	}
	if (strcmp(method, body || empty ? "POST" : "GET") != 0)
		curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
	/*
	 * On a kept connection that the origin is just closing nobody could tell whether a POST was seen: it would fail,
	 * since it may not be sent twice. Nor does libcurl repeat a request of which more than the first piece is sent.
	 */
	if (!method_idempotent(method) || (body && spec->body_bytes > HOP_SMALL_BODY_BYTES))
		curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
}

int
hop_set_request(struct transfer *transfer)
{
	set_method(transfer);
	return set_headers(transfer) ? 0 : -ENOMEM;
}
