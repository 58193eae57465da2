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

#define MAX_FIELDS 256
#define MAX_FIELD_BYTES 65536 /* of all names and values */
#define MAX_TAGS 16
#define MAX_TAG_BYTES 255
#define MAX_META_BYTES 4096

/* What is read, and what has to be known until the end. */
struct reader {
	struct job_spec *spec;
	const char *body_key; /* the first of the three body keys that came */
	bool delay_given, run_at_given;
	const char *not_built; /* a key that is understood but does nothing in this version */
};

static int
no_memory(struct problem *problem)
{
	return problem_set(problem, 503, "no_memory", NULL, "the server is out of memory; try again later");
}

/* ---- strings */

/* True for characters that may not stand in anything that goes into a head: controls, but not tabs. */
static bool
has_control(const char *text)
{
	for (; *text != '\0'; text++)
		if (((unsigned char)*text < 0x20 && *text != '\t') || *text == 0x7f)
			return true;
	return false;
}

static int
read_string(struct reader *reader, const json_t *value, char **ret, struct problem *problem)
{
	if (!json_is_string(value))
		return codec_wrong(problem, "this has to be a string");
	*ret = arena_copy(&reader->spec->arena, json_string_value(value), json_string_length(value));
	return *ret == NULL ? no_memory(problem) : 0;
}

static int
read_url(void *context, const json_t *value, struct problem *problem)
{
	struct reader *reader = context;

	return read_string(reader, value, &reader->spec->url, problem);
}

static int
read_method(void *context, const json_t *value, struct problem *problem)
{
	struct reader *reader = context;
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

/* ---- headers */

/* Fields that belong to the connection or the framing, which are ours to write. */
static const char *const refused_fields[] = {"host", "content-length", "transfer-encoding", "connection", "keep-alive",
	"proxy-connection", "proxy-authorization", "proxy-authenticate", "te", "trailer", "upgrade", "http2-settings",
	"expect"};

static int
check_field_name(const char *name, struct problem *problem)
{
	if (!text_is_token(name, strlen(name)))
		return codec_wrong(problem, "this is no header name");
	for (size_t i = 0; i < sizeof refused_fields / sizeof *refused_fields; i++)
		if (text_equal_nocase(name, refused_fields[i]))
			return codec_wrong(problem, "this header is the server's own to send; leave it out");
	return 0;
}

static int
add_field(struct job_spec *spec, const char *name, const json_t *value, size_t *bytes, struct problem *problem)
{
	if (!json_is_string(value))
		return codec_wrong(problem, "a header's value is a string or a list of strings");
	const char *text = json_string_value(value);
	if (has_control(text))
		return codec_wrong(problem, "a header's value has no control characters");
	*bytes += strlen(name) + strlen(text);
	if (spec->headers.count == MAX_FIELDS || *bytes > MAX_FIELD_BYTES)
		return codec_wrong(problem, "the headers are above 256 fields or 64 KiB");
	text += strspn(text, " \t");
	size_t length = strlen(text);
	while (length > 0 && (text[length - 1] == ' ' || text[length - 1] == '\t'))
		length--;
	struct field field = {
		.name = arena_string(&spec->arena, name),
		.value = arena_copy(&spec->arena, text, length),
	};
	if (field.name == NULL || field.value == NULL)
		return no_memory(problem);
	spec->headers.items[spec->headers.count++] = field;
	return 0;
}

static int
add_fields(struct job_spec *spec, const char *name, const json_t *value, size_t *bytes, struct problem *problem)
{
	int rc = check_field_name(name, problem);

	if (rc == 0 && !json_is_array(value))
		return add_field(spec, name, value, bytes, problem);
	for (size_t i = 0; rc == 0 && i < json_array_size(value); i++) {
		rc = add_field(spec, name, json_array_get(value, i), bytes, problem);
		if (rc != 0)
			problem_prefix(problem, NULL, i);
	}
	return rc;
}

/* An upper bound for the room that the fields take. */
static size_t
count_fields(const json_t *object)
{
	const char *name;
	json_t *value;
	size_t count = 0;

	json_object_foreach((json_t *)object, name, value)
		count += json_is_array(value) ? json_array_size(value) : 1;
	return count < MAX_FIELDS ? count : MAX_FIELDS;
}

static int
read_headers(void *context, const json_t *value, struct problem *problem)
{
	struct job_spec *spec = ((struct reader *)context)->spec;
	size_t bytes = 0;
	const char *name;
	json_t *member;

	if (!json_is_object(value))
		return codec_wrong(problem, "headers is an object of names and values");
	spec->headers.items = arena_alloc(&spec->arena, count_fields(value) * sizeof *spec->headers.items + 1);
	if (spec->headers.items == NULL)
		return no_memory(problem);
	json_object_foreach((json_t *)value, name, member) {
		if (json_is_null(member))
			continue;
		if (add_fields(spec, name, member, &bytes, problem) != 0) {
			problem_prefix(problem, name, 0);
			return -1;
		}
	}
	return 0;
}

/* ---- bodies */

static int
take_body_key(struct reader *reader, const char *key, struct problem *problem)
{
	if (reader->body_key != NULL)
		return problem_set(problem, 400, "invalid", "", "give one of body, body_base64 and json; there is %s already",
			reader->body_key);
	reader->body_key = key;
	reader->spec->has_body = true;
	return 0;
}

static int
read_body(void *context, const json_t *value, struct problem *problem)
{
	struct reader *reader = context;
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
	struct reader *reader = context;
	struct job_spec *spec = reader->spec;

	if (take_body_key(reader, "body_base64", problem) != 0)
		return -1;
	if (!json_is_string(value))
		return codec_wrong(problem, "body_base64 is a string");
	size_t length = json_string_length(value);
	spec->body = arena_alloc(&spec->arena, length / 4 * 3 + 1);
	if (spec->body == NULL)
		return no_memory(problem);
	if (base64_decode(json_string_value(value), length, spec->body, &spec->body_bytes) != 0)
		return codec_wrong(problem, "this is no base64 (RFC 4648, section 4, with padding and without line breaks)");
	return 0;
}

/* The shortest form of its real numbers that reads back as the same value. */
static char *
dump_compact(const json_t *value)
{
	for (size_t precision = 15;; precision++) {
		char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(precision));

		if (text == NULL || precision == 17)
			return text;
		json_t *again = json_loads(text, JSON_DECODE_ANY, NULL);
		bool same = again != NULL && json_equal((json_t *)value, again);
		json_decref(again);
		if (same)
			return text;
		free(text);
	}
}

static int
read_json(void *context, const json_t *value, struct problem *problem)
{
	struct reader *reader = context;

	if (take_body_key(reader, "json", problem) != 0)
		return -1;
	char *text = dump_compact(value);
	if (text == NULL)
		return no_memory(problem);
	reader->spec->body = arena_string(&reader->spec->arena, text);
	reader->spec->body_bytes = strlen(text);
	reader->spec->body_is_json = true;
	free(text);
	return reader->spec->body == NULL ? no_memory(problem) : 0;
}

/* ---- auth */

struct basic {
	const char *user, *password;
};

static int
read_credential(const json_t *value, const char **ret, struct problem *problem)
{
	if (!json_is_string(value) || has_control(json_string_value(value)) || strchr(json_string_value(value), '\t') != NULL)
		return codec_wrong(problem, "this has to be a string without control characters");
	*ret = json_string_value(value);
	return 0;
}

static int
read_user(void *context, const json_t *value, struct problem *problem)
{
	struct basic *basic = context;

	if (read_credential(value, &basic->user, problem) != 0)
		return -1;
	return strchr(basic->user, ':') == NULL ? 0 : codec_wrong(problem, "a user name has no colon (RFC 7617)");
}

static int
read_password(void *context, const json_t *value, struct problem *problem)
{
	return read_credential(value, &((struct basic *)context)->password, problem);
}

static int
set_authorization(struct reader *reader, const char *scheme, const char *value, struct problem *problem)
{
	struct job_spec *spec = reader->spec;
	size_t size = strlen(scheme) + strlen(value) + 2;

	spec->authorization = arena_alloc(&spec->arena, size);
	if (spec->authorization == NULL)
		return no_memory(problem);
	snprintf(spec->authorization, size, "%s %s", scheme, value);
	return 0;
}

static int
read_basic(void *context, const json_t *value, struct problem *problem)
{
	static const struct codec_key keys[] = {{"user", read_user, false}, {"password", read_password, false}};
	struct basic basic = {0};
	char *pair;

	if (!json_is_object(value))
		return codec_wrong(problem, "basic is an object with user and password");
	if (codec_each(value, keys, 2, &basic, problem) != 0)
		return -1;
	if (basic.user == NULL || basic.password == NULL)
		return codec_wrong(problem, "basic has to have user and password");
	int length = asprintf(&pair, "%s:%s", basic.user, basic.password);
	char *encoded = length < 0 ? NULL : malloc(base64_length((size_t)length) + 1);
	if (encoded == NULL) {
		if (length >= 0)
			free(pair);
		return no_memory(problem);
	}
	base64_encode(pair, (size_t)length, encoded);
	int rc = set_authorization(context, "Basic", encoded, problem);
	free(encoded);
	free(pair);
	return rc;
}

static int
read_bearer(void *context, const json_t *value, struct problem *problem)
{
	const char *token;

	if (read_credential(value, &token, problem) != 0)
		return -1;
	if (*token == '\0' || strchr(token, ' ') != NULL)
		return codec_wrong(problem, "a bearer token is not empty and has no blanks");
	return set_authorization(context, "Bearer", token, problem);
}

static int
read_auth(void *context, const json_t *value, struct problem *problem)
{
	static const struct codec_key keys[] = {{"basic", read_basic, false}, {"bearer", read_bearer, false}};

	if (!json_is_object(value))
		return codec_wrong(problem, "auth is {\"basic\":{\"user\":…,\"password\":…}} or {\"bearer\":…}");
	if (codec_each(value, keys, 2, context, problem) != 0)
		return -1;
	if (json_object_size(value) != 1 || ((struct reader *)context)->spec->authorization == NULL)
		return codec_wrong(problem, "give either basic or bearer");
	return 0;
}

/* ---- times */

#define DURATION_READER(key, member)                                                                                   \
	static int read_##key(void *context, const json_t *value, struct problem *problem)                             \
	{                                                                                                              \
		return codec_read_positive_duration(value, &((struct reader *)context)->spec->member, problem);        \
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
	struct reader *reader = context;

	reader->delay_given = true;
	if (reader->run_at_given)
		return codec_wrong(problem, "give delay or run_at, not both");
	return codec_read_duration(value, &reader->spec->delay_ms, problem);
}

static int
read_run_at(void *context, const json_t *value, struct problem *problem)
{
	struct reader *reader = context;

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
read_integer(const json_t *value, int64_t low, int64_t high, int64_t *ret, struct problem *problem)
{
	if (!json_is_integer(value) || json_integer_value(value) < low || json_integer_value(value) > high)
		return problem_set(problem, 400, "invalid", "", "this has to be an integer from %lld to %lld", (long long)low,
			(long long)high);
	*ret = json_integer_value(value);
	return 0;
}

static int
read_max_redirects(void *context, const json_t *value, struct problem *problem)
{
	int64_t number = 0;

	if (read_integer(value, 0, 20, &number, problem) != 0)
		return -1;
	((struct reader *)context)->spec->max_redirects = (int)number;
	return 0;
}

static int
read_max_body_bytes(void *context, const json_t *value, struct problem *problem)
{
	return read_integer(value, 0, INT64_MAX, &((struct reader *)context)->spec->max_body_bytes, problem);
}

static int
read_priority(void *context, const json_t *value, struct problem *problem)
{
	int64_t number = 0;

	if (read_integer(value, -100, 100, &number, problem) != 0)
		return -1;
	((struct reader *)context)->spec->priority = (int)number;
	return 0;
}

static int
read_boolean(const json_t *value, bool *ret, struct problem *problem)
{
	if (!json_is_boolean(value))
		return codec_wrong(problem, "this is true or false");
	*ret = json_is_true(value);
	return 0;
}

static int
read_decompress(void *context, const json_t *value, struct problem *problem)
{
	return read_boolean(value, &((struct reader *)context)->spec->decompress, problem);
}

/* ---- retry */

/* As the defaults of the contract; what differs from them asks for something that is not built yet. */
struct retry {
	int64_t max_attempts, backoff_ms, max_backoff_ms;
	double factor;
	bool jitter, unsafe, statuses_given;
};

static int
read_max_attempts(void *context, const json_t *value, struct problem *problem)
{
	return read_integer(value, 1, 100, &((struct retry *)context)->max_attempts, problem);
}

static int
read_backoff(void *context, const json_t *value, struct problem *problem)
{
	return codec_read_positive_duration(value, &((struct retry *)context)->backoff_ms, problem);
}

static int
read_max_backoff(void *context, const json_t *value, struct problem *problem)
{
	return codec_read_positive_duration(value, &((struct retry *)context)->max_backoff_ms, problem);
}

static int
read_factor(void *context, const json_t *value, struct problem *problem)
{
	struct retry *retry = context;

	if (!json_is_number(value) || json_number_value(value) < 1 || json_number_value(value) > 100)
		return codec_wrong(problem, "factor is a number from 1 to 100");
	retry->factor = json_number_value(value);
	return 0;
}

static int
read_jitter(void *context, const json_t *value, struct problem *problem)
{
	return read_boolean(value, &((struct retry *)context)->jitter, problem);
}

static int
read_unsafe(void *context, const json_t *value, struct problem *problem)
{
	return read_boolean(value, &((struct retry *)context)->unsafe, problem);
}

static int
read_on_status(void *context, const json_t *value, struct problem *problem)
{
	int64_t status;

	if (!json_is_array(value))
		return codec_wrong(problem, "on_status is a list of status codes");
	for (size_t i = 0; i < json_array_size(value); i++) {
		if (read_integer(json_array_get(value, i), 100, 599, &status, problem) != 0) {
			problem_prefix(problem, NULL, i);
			return -1;
		}
	}
	((struct retry *)context)->statuses_given = true;
	return 0;
}

static int
read_retry(void *context, const json_t *value, struct problem *problem)
{
	static const struct codec_key keys[] = {
		{"max_attempts", read_max_attempts, false},
		{"backoff", read_backoff, false},
		{"factor", read_factor, false},
		{"max_backoff", read_max_backoff, false},
		{"jitter", read_jitter, false},
		{"on_status", read_on_status, false},
		{"unsafe", read_unsafe, false},
	};
	struct retry retry = {.max_attempts = 1, .jitter = true};

	if (!json_is_object(value))
		return codec_wrong(problem, "retry is an object");
	if (codec_each(value, keys, sizeof keys / sizeof *keys, &retry, problem) != 0)
		return -1;
	/* With one attempt the other settings change nothing; more attempts, or unsafe, would. */
	if (retry.max_attempts > 1 || retry.unsafe)
		((struct reader *)context)->not_built = "/retry";
	return 0;
}

static int
read_idempotency_key(void *context, const json_t *value, struct problem *problem)
{
	size_t length = json_string_length(value);

	if (!json_is_string(value) || length == 0 || length > 255 || has_control(json_string_value(value)))
		return codec_wrong(problem, "idempotency_key is a string of 1 to 255 bytes without control characters");
	((struct reader *)context)->not_built = "/idempotency_key";
	return 0;
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
	struct job_spec *spec = ((struct reader *)context)->spec;
	size_t count = json_array_size(value);

	if (!json_is_array(value) || count == 0 || count > 100)
		return codec_wrong(problem, "status is a list like [200, \"3xx\"]");
	spec->expect.statuses = arena_alloc(&spec->arena, count * sizeof *spec->expect.statuses);
	if (spec->expect.statuses == NULL)
		return no_memory(problem);
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
	struct reader *reader = context;
	char *type;

	if (read_string(reader, value, &type, problem) != 0)
		return -1;
	char *slash = strchr(type, '/');
	if (slash == NULL || !text_is_token(type, (size_t)(slash - type)) || !text_is_token(slash + 1, strlen(slash + 1)))
		return codec_wrong(problem, "content_type is a media type like \"application/json\", without parameters");
	ascii_lower_string(type);
	reader->spec->expect.content_type = type;
	return 0;
}

static int
read_expect_sha256(void *context, const json_t *value, struct problem *problem)
{
	struct job_expect *expect = &((struct reader *)context)->spec->expect;

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

/* ---- tags, meta */

/* C0, DEL and C1 (in UTF-8: C2 80 to C2 9F). */
static bool
tag_has_control(const char *tag)
{
	for (const unsigned char *c = (const unsigned char *)tag; *c != '\0'; c++)
		if (*c < 0x20 || *c == 0x7f || (c[0] == 0xc2 && c[1] >= 0x80 && c[1] <= 0x9f))
			return true;
	return false;
}

static int
add_tag(struct reader *reader, const json_t *value, struct problem *problem)
{
	struct job_spec *spec = reader->spec;
	size_t length = json_string_length(value);

	if (!json_is_string(value) || length == 0 || length > MAX_TAG_BYTES || tag_has_control(json_string_value(value)))
		return codec_wrong(problem, "a tag is a string of 1 to 255 bytes without control characters");
	if (job_spec_has_tag(spec, json_string_value(value)))
		return 0;
	return read_string(reader, value, &spec->tags[spec->tag_count++], problem);
}

static int
read_tags(void *context, const json_t *value, struct problem *problem)
{
	struct reader *reader = context;
	size_t count = json_array_size(value);

	if (!json_is_array(value) || count > MAX_TAGS)
		return codec_wrong(problem, "tags is a list of up to 16 strings");
	reader->spec->tags = arena_alloc(&reader->spec->arena, (count + 1) * sizeof(char *));
	if (reader->spec->tags == NULL)
		return no_memory(problem);
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
	struct reader *reader = context;

	if (json_is_null(value))
		return 0;
	char *text = dump_compact(value);
	if (text == NULL)
		return no_memory(problem);
	size_t length = strlen(text);
	reader->spec->meta = length > MAX_META_BYTES ? NULL : arena_copy(&reader->spec->arena, text, length);
	free(text);
	if (length > MAX_META_BYTES)
		return codec_wrong(problem, "meta is over 4 KiB in its compact form");
	return reader->spec->meta == NULL ? no_memory(problem) : 0;
}

/* ---- all of it */

static const struct codec_key spec_keys[] = {
	{"url", read_url, false},
	{"method", read_method, false},
	{"headers", read_headers, false},
	{"body", read_body, false},
	{"body_base64", read_body_base64, false},
	{"json", read_json, true},
	{"auth", read_auth, false},
	{"timeout", read_timeout, false},
	{"connect_timeout", read_connect_timeout, false},
	{"first_byte_timeout", read_first_byte_timeout, false},
	{"idle_timeout", read_idle_timeout, false},
	{"queue_timeout", read_queue_timeout, false},
	{"deadline", read_deadline, false},
	{"retry", read_retry, false},
	{"max_redirects", read_max_redirects, false},
	{"max_body_bytes", read_max_body_bytes, false},
	{"decompress", read_decompress, false},
	{"expect", read_expect, false},
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
check_whole(const struct reader *reader, struct problem *problem)
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

static struct job_spec *
new_spec(void)
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
	struct reader reader = {0};

	json_t *body = codec_load(bytes, length, problem);
	if (body == NULL)
		return NULL;
	reader.spec = new_spec();
	int rc = reader.spec == NULL ? no_memory(problem) : 0;
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
