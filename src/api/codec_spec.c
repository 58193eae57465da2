/* A job's spec: each key has a reader, a row in the table, and that is all there is to it. See codec.h. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "api/codec.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/codec_private.h"
#include "base/clock.h"
#include "base/text.h"

#define MAX_TAGS 16
#define MAX_META_BYTES 4096

/* ---- strings */

static int
read_string(struct spec_reader *reader, const json_t *value, char **ret, struct problem *problem)
{
	if (!json_is_string(value))
		return codec_wrong(problem, "this has to be a string");
	*ret = arena_copy(&reader->spec->arena, json_string_value(value), json_string_length(value));
	return *ret == NULL ? codec_no_memory(problem) : 0;
}

static int
read_url(void *context, const json_t *value, struct problem *problem)
{
	struct spec_reader *reader = context;

	return read_string(reader, value, &reader->spec->url, problem);
}

static int
read_method(void *context, const json_t *value, struct problem *problem)
{
	struct spec_reader *reader = context;
	const char *method = json_string_value(value);

	if (method == NULL || !text_is_token(method, strlen(method)))
		return codec_wrong(problem, "method has to be an HTTP method like \"GET\"");
	for (const char *c = method; *c != '\0'; c++)
		if (*c >= 'a' && *c <= 'z')
			return codec_wrong(problem, "write the method in upper case");
	if (strcmp(method, "CONNECT") == 0 || strcmp(method, "TRACE") == 0)
		return codec_wrong(problem, "CONNECT and TRACE are not done");
	char *copy;
	if (read_string(reader, value, &copy, problem) != 0)
		return -1;
	reader->spec->method = copy;
	return 0;
}

/* ---- bodies */

static int
take_body_key(struct spec_reader *reader, const char *key, struct problem *problem)
{
	if (reader->body_key != NULL)
		return problem_set(problem, 400, "invalid", "",
			"give one of body, body_base64 and json; there is %s already", reader->body_key);
	reader->body_key = key;
	reader->spec->has_body = true;
	return 0;
}

static int
read_body(void *context, const json_t *value, struct problem *problem)
{
	struct spec_reader *reader = context;
	char *text;

	if (take_body_key(reader, "body", problem) != 0 || read_string(reader, value, &text, problem) != 0)
		return -1;
	reader->spec->body = text;
	reader->spec->body_bytes = json_string_length(value);
	return 0;
}

static int
read_body_base64(void *context, const json_t *value, struct problem *problem)
{
	struct spec_reader *reader = context;
	struct job_spec *spec = reader->spec;

	if (take_body_key(reader, "body_base64", problem) != 0)
		return -1;
	if (!json_is_string(value))
		return codec_wrong(problem, "body_base64 is a string");
	size_t length = json_string_length(value);
	spec->body = arena_alloc(&spec->arena, length / 4 * 3 + 1);
	if (spec->body == NULL)
		return codec_no_memory(problem);
	if (base64_decode(json_string_value(value), length, spec->body, &spec->body_bytes) != 0)
		return codec_wrong(
			problem, "this is no base64 (RFC 4648, section 4, with padding and without line breaks)");
	return 0;
}

static int
read_json(void *context, const json_t *value, struct problem *problem)
{
	struct spec_reader *reader = context;

	if (take_body_key(reader, "json", problem) != 0)
		return -1;
	char *text = codec_dump(value, JSON_COMPACT);
	if (text == NULL)
		return codec_no_memory(problem);
	reader->spec->body = arena_string(&reader->spec->arena, text);
	reader->spec->body_bytes = strlen(text);
	reader->spec->body_is_json = true;
	free(text);
	return reader->spec->body == NULL ? codec_no_memory(problem) : 0;
}

/* ---- times */

#define DURATION_READER(key, member)                                                                                   \
	static int read_##key(void *context, const json_t *value, struct problem *problem)                             \
	{                                                                                                              \
		return codec_read_positive_duration(value, &((struct spec_reader *)context)->spec->member, problem);   \
	}

DURATION_READER(timeout, timeout_ms)
DURATION_READER(connect_timeout, connect_timeout_ms)
DURATION_READER(first_byte_timeout, first_byte_timeout_ms)
DURATION_READER(idle_timeout, idle_timeout_ms)
DURATION_READER(queue_timeout, queue_timeout_ms)
DURATION_READER(deadline, deadline_ms)
DURATION_READER(ttl, ttl_ms)

static int
read_delay(void *context, const json_t *value, struct problem *problem)
{
	struct spec_reader *reader = context;

	reader->delay_given = true;
	if (reader->run_at_given)
		return codec_wrong(problem, "give delay or run_at, not both");
	return codec_read_duration(value, &reader->spec->delay_ms, problem);
}

static int
read_run_at(void *context, const json_t *value, struct problem *problem)
{
	struct spec_reader *reader = context;

	reader->run_at_given = true;
	if (reader->delay_given)
		return codec_wrong(problem, "give delay or run_at, not both");
	if (!json_is_string(value) || time_parse(json_string_value(value), &reader->spec->run_at_wall_ms) != 0)
		return codec_wrong(problem, "run_at is a time as in RFC 3339, like \"2030-01-31T12:00:00Z\"");
	if (reader->spec->run_at_wall_ms > wall_ms() + CLOCK_MAX_DURATION_MS)
		return codec_wrong(problem, "run_at is over ten years away");
	if (reader->spec->run_at_wall_ms < 1)
		reader->spec->run_at_wall_ms = 1; /* 0 is for none */
	return 0;
}

/* ---- numbers */

static int
read_max_redirects(void *context, const json_t *value, struct problem *problem)
{
	int64_t number = 0;

	if (codec_read_integer(value, 0, 20, &number, problem) != 0)
		return -1;
	((struct spec_reader *)context)->spec->max_redirects = (int)number;
	return 0;
}

static int
read_max_body_bytes(void *context, const json_t *value, struct problem *problem)
{
	return codec_read_integer(value, 0, INT64_MAX, &((struct spec_reader *)context)->spec->max_body_bytes, problem);
}

static int
read_priority(void *context, const json_t *value, struct problem *problem)
{
	int64_t number = 0;

	if (codec_read_integer(value, -100, 100, &number, problem) != 0)
		return -1;
	((struct spec_reader *)context)->spec->priority = (int)number;
	return 0;
}

static int
read_decompress(void *context, const json_t *value, struct problem *problem)
{
	return codec_read_boolean(value, &((struct spec_reader *)context)->spec->decompress, problem);
}

/* ---- expect */

/* 304, or "3xx". */
static bool
read_status_range(const json_t *value, struct status_range *ret)
{
	const char *text = json_string_value(value);

	if (json_is_integer(value) && json_integer_value(value) >= 100 && json_integer_value(value) <= 599) {
		ret->low = ret->high = (int)json_integer_value(value);
		return true;
	}
	if (text == NULL || strlen(text) != 3 || text[0] < '1' || text[0] > '5' || strcmp(text + 1, "xx") != 0)
		return false;
	ret->low = (text[0] - '0') * 100;
	ret->high = ret->low + 99;
	return true;
}

static int
read_expect_status(void *context, const json_t *value, struct problem *problem)
{
	struct job_spec *spec = ((struct spec_reader *)context)->spec;
	size_t count = json_array_size(value);

	if (!json_is_array(value) || count == 0 || count > 100)
		return codec_wrong(problem, "status is a list like [200, \"3xx\"]");
	spec->expect.statuses = arena_alloc(&spec->arena, count * sizeof *spec->expect.statuses);
	if (spec->expect.statuses == NULL)
		return codec_no_memory(problem);
	for (size_t i = 0; i < count; i++) {
		if (!read_status_range(json_array_get(value, i), &spec->expect.statuses[i])) {
			codec_wrong(problem, "an expected status is a number like 304 or a class like \"2xx\"");
			problem_prefix(problem, NULL, i);
			return -1;
		}
	}
	spec->expect.status_count = count;
	return 0;
}

static int
read_expect_type(void *context, const json_t *value, struct problem *problem)
{
	struct spec_reader *reader = context;
	char *type;

	if (read_string(reader, value, &type, problem) != 0)
		return -1;
	char *slash = strchr(type, '/');
	if (slash == NULL || strchr(type, '*') != NULL || !text_is_token(type, (size_t)(slash - type)) ||
		!text_is_token(slash + 1, strlen(slash + 1)))
		return codec_wrong(
			problem, "content_type is a media type like \"application/json\", without parameters");
	ascii_lower_string(type);
	reader->spec->expect.content_type = type;
	return 0;
}

static int
read_expect_sha256(void *context, const json_t *value, struct problem *problem)
{
	struct job_expect *expect = &((struct spec_reader *)context)->spec->expect;

	if (!json_is_string(value) || json_string_length(value) != 64 ||
		hex_decode(json_string_value(value), 32, expect->sha256) != 0)
		return codec_wrong(problem, "sha256 is 64 hexadecimal digits");
	expect->has_sha256 = true;
	return 0;
}

static int
read_expect(void *context, const json_t *value, struct problem *problem)
{
	static const struct codec_key keys[] = {
		{"status", read_expect_status, false},
		{"content_type", read_expect_type, false},
		{"sha256", read_expect_sha256, false},
	};

	if (!json_is_object(value))
		return codec_wrong(problem, "expect is an object with any of status, content_type, sha256");
	return codec_each(value, keys, sizeof keys / sizeof *keys, context, problem);
}

/* ---- tls, proxy */

#define MAX_NAME_BYTES 64

/* The name of something in the server's configuration; whether it is there is the service's to say. */
static int
read_name(struct spec_reader *reader, const json_t *value, char **ret, struct problem *problem)
{
	const char *name = json_string_value(value);

	if (name == NULL || strlen(name) > MAX_NAME_BYTES || !text_is_token(name, strlen(name)))
		return codec_wrong(problem, "this has to be the name that the server's configuration gives it");
	return read_string(reader, value, ret, problem);
}

static int
read_tls_ca(void *context, const json_t *value, struct problem *problem)
{
	struct spec_reader *reader = context;

	return read_name(reader, value, &reader->spec->tls_ca, problem);
}

static int
read_tls_client_cert(void *context, const json_t *value, struct problem *problem)
{
	struct spec_reader *reader = context;

	return read_name(reader, value, &reader->spec->tls_client_cert, problem);
}

static int
read_tls_insecure(void *context, const json_t *value, struct problem *problem)
{
	return codec_read_boolean(value, &((struct spec_reader *)context)->spec->tls_insecure, problem);
}

static int
read_tls(void *context, const json_t *value, struct problem *problem)
{
	static const struct codec_key keys[] = {
		{"ca", read_tls_ca, false},
		{"client_cert", read_tls_client_cert, false},
		{"insecure", read_tls_insecure, false},
	};

	if (!json_is_object(value))
		return codec_wrong(problem, "tls is an object with any of ca, client_cert, insecure");
	return codec_each(value, keys, sizeof keys / sizeof *keys, context, problem);
}

static int
read_proxy(void *context, const json_t *value, struct problem *problem)
{
	struct spec_reader *reader = context;

	return read_name(reader, value, &reader->spec->proxy, problem);
}

/* ---- tags, meta, idempotency_key */

static int
add_tag(struct spec_reader *reader, const json_t *value, struct problem *problem)
{
	struct job_spec *spec = reader->spec;

	if (!json_is_string(value) || !codec_is_label(json_string_value(value)))
		return codec_wrong(problem, "a tag is a string of 1 to 255 bytes without control characters");
	if (job_spec_has_tag(spec, json_string_value(value)))
		return 0;
	return read_string(reader, value, &spec->tags[spec->tag_count++], problem);
}

static int
read_tags(void *context, const json_t *value, struct problem *problem)
{
	struct spec_reader *reader = context;
	size_t count = json_array_size(value);

	if (!json_is_array(value) || count > MAX_TAGS)
		return codec_wrong(problem, "tags is a list of up to 16 strings");
	reader->spec->tags = arena_alloc(&reader->spec->arena, (count + 1) * sizeof(char *));
	if (reader->spec->tags == NULL)
		return codec_no_memory(problem);
	for (size_t i = 0; i < count; i++) {
		if (add_tag(reader, json_array_get(value, i), problem) != 0) {
			problem_prefix(problem, NULL, i);
			return -1;
		}
	}
	return 0;
}

static int
read_meta(void *context, const json_t *value, struct problem *problem)
{
	struct spec_reader *reader = context;

	if (json_is_null(value))
		return 0;
	char *text = codec_dump(value, JSON_COMPACT);
	if (text == NULL)
		return codec_no_memory(problem);
	size_t length = strlen(text);
	reader->spec->meta = length > MAX_META_BYTES ? NULL : arena_copy(&reader->spec->arena, text, length);
	free(text);
	if (length > MAX_META_BYTES)
		return codec_wrong(problem, "meta is over 4 KiB in its compact form");
	return reader->spec->meta == NULL ? codec_no_memory(problem) : 0;
}

static int
read_idempotency_key(void *context, const json_t *value, struct problem *problem)
{
	struct spec_reader *reader = context;

	if (!json_is_string(value) || !codec_is_label(json_string_value(value)))
		return codec_wrong(problem, "idempotency_key is a string of 1 to 255 bytes without control characters");
	return read_string(reader, value, &reader->spec->idempotency_key, problem);
}

/* ---- all of it */

static const struct codec_key spec_keys[] = {
	{"url", read_url, false},
	{"method", read_method, false},
	{"headers", codec_read_headers, false},
	{"body", read_body, false},
	{"body_base64", read_body_base64, false},
	{"json", read_json, true},
	{"auth", codec_read_auth, false},
	{"timeout", read_timeout, false},
	{"connect_timeout", read_connect_timeout, false},
	{"first_byte_timeout", read_first_byte_timeout, false},
	{"idle_timeout", read_idle_timeout, false},
	{"queue_timeout", read_queue_timeout, false},
	{"deadline", read_deadline, false},
	{"retry", codec_read_retry, false},
	{"max_redirects", read_max_redirects, false},
	{"max_body_bytes", read_max_body_bytes, false},
	{"decompress", read_decompress, false},
	{"expect", read_expect, false},
	{"tls", read_tls, false},
	{"proxy", read_proxy, false},
	{"priority", read_priority, false},
	{"delay", read_delay, false},
	{"run_at", read_run_at, false},
	{"ttl", read_ttl, false},
	{"tags", read_tags, false},
	{"meta", read_meta, true},
	{"idempotency_key", read_idempotency_key, false},
};

/* What no single key shows. */
static int
check_whole(const struct spec_reader *reader, struct problem *problem)
{
	const struct job_spec *spec = reader->spec;

	if (spec->url == NULL || *spec->url == '\0')
		return problem_set(problem, 400, "invalid", "/url", "give the url to fetch");
	if (spec->authorization != NULL && fields_have(&spec->headers, "authorization"))
		return problem_set(problem, 400, "invalid", "/auth", "give auth or an Authorization header, not both");
	if (spec->has_body && strcmp(spec->method, "HEAD") == 0) {
		char pointer[32];
		snprintf(pointer, sizeof pointer, "/%s", reader->body_key);
		return problem_set(problem, 400, "invalid", pointer, "a HEAD request has no body");
	}
	if (reader->not_built != NULL)
		return problem_set(problem, 501, "not_implemented", reader->not_built,
			"%s is understood, but this version does not do it yet; leave it out", reader->not_built + 1);
	return 0;
}

struct job_spec *
codec_new_spec(void)
{
	struct job_spec *spec = job_spec_new();

	if (spec == NULL)
		return NULL;
	spec->method = "GET";
	spec->timeout_ms = 60000;
	spec->connect_timeout_ms = 10000;
	spec->idle_timeout_ms = 30000;
	spec->max_redirects = 10;
	spec->max_body_bytes = -1;
	spec->decompress = true;
	return spec;
}

struct job_spec *
codec_read_spec(const char *bytes, size_t length, struct problem *problem)
{
	struct spec_reader reader = {0};

	json_t *body = codec_load(bytes, length, problem);
	if (body == NULL)
		return NULL;
	reader.spec = codec_new_spec();
	int rc = reader.spec == NULL ? codec_no_memory(problem) : 0;
	if (rc == 0)
		rc = codec_each(body, spec_keys, sizeof spec_keys / sizeof *spec_keys, &reader, problem);
	json_decref(body);
	if (rc == 0)
		rc = check_whole(&reader, problem);
	if (rc == 0)
		return reader.spec;
	job_spec_free(reader.spec);
	return NULL;
}
