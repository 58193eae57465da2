/* See job_checks.h. */
#include "job_checks.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/codec.h"
#include "api/problem.h"
#include "fuzz.h"
#include "service.h"
#include "strict_json.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define TEN_YEARS_MS (INT64_C(3653) * 86400 * 1000)

/* ---- the spec */

static bool
is_token(const char *text)
{
	for (const char *c = text; *c != '\0'; c++)
		if (!(isascii(*c) && isalnum((unsigned char)*c)) && strchr("!#$%&'*+-.^_`|~", *c) == NULL)
			return false;
	return *text != '\0';
}

/* What may stand in a head: no control characters but tabs, no blanks around. */
static bool
is_field_value(const char *text)
{
	size_t length = strlen(text);

	for (size_t i = 0; i < length; i++)
		if (((unsigned char)text[i] < 0x20 && text[i] != '\t') || text[i] == 0x7f)
			return false;
	return length == 0 || (strchr(" \t", text[0]) == NULL && strchr(" \t", text[length - 1]) == NULL);
}

static void
check_fields(const struct fields *fields)
{
	static const char *const hop_by_hop[] = {"Host", "Content-Length", "Transfer-Encoding", "Connection",
		"Keep-Alive", "Proxy-Connection", "Proxy-Authorization", "Proxy-Authenticate", "TE", "Trailer",
		"Upgrade", "HTTP2-Settings", "Expect"};
	size_t bytes = 0;

	for (size_t i = 0; i < fields->count; i++) {
		const char *name = fields->items[i].name, *value = fields->items[i].value;

		FUZZ_CHECK(is_token(name), "the header name \"%s\"", name);
		FUZZ_CHECK(is_field_value(value), "the value of %s: \"%s\"", name, value);
		for (size_t k = 0; k < COUNT(hop_by_hop); k++)
			FUZZ_CHECK(strcasecmp(name, hop_by_hop[k]) != 0, "the header %s was taken", name);
		bytes += strlen(name) + strlen(value);
	}
	FUZZ_CHECK(fields->count <= 256 && bytes <= 65536, "%zu headers of %zu bytes", fields->count, bytes);
}

static void
check_times(const struct job_spec *spec)
{
	const int64_t above_0[] = {spec->timeout_ms, spec->connect_timeout_ms, spec->idle_timeout_ms};
	const int64_t or_none[] = {
		spec->first_byte_timeout_ms, spec->queue_timeout_ms, spec->deadline_ms, spec->delay_ms, spec->ttl_ms};

	for (size_t i = 0; i < COUNT(above_0); i++)
		FUZZ_CHECK(above_0[i] > 0 && above_0[i] <= TEN_YEARS_MS, "time-out %zu: %lld ms", i,
			(long long)above_0[i]);
	for (size_t i = 0; i < COUNT(or_none); i++)
		FUZZ_CHECK(or_none[i] >= 0 && or_none[i] <= TEN_YEARS_MS, "duration %zu: %lld ms", i,
			(long long)or_none[i]);
	FUZZ_CHECK(spec->run_at_wall_ms == 0 || spec->delay_ms == 0, "both run_at and delay");
}

static void
check_expect(const struct job_expect *expect)
{
	for (size_t i = 0; i < expect->status_count; i++)
		FUZZ_CHECK(expect->statuses[i].low >= 100 && expect->statuses[i].low <= expect->statuses[i].high &&
				expect->statuses[i].high <= 599,
			"expect.status from %d to %d", expect->statuses[i].low, expect->statuses[i].high);
}

static bool
has_upper_case_method(const struct job_spec *spec)
{
	for (const char *c = spec->method; *c != '\0'; c++)
		if (islower((unsigned char)*c))
			return false;
	return is_token(spec->method) && strcmp(spec->method, "CONNECT") != 0 && strcmp(spec->method, "TRACE") != 0;
}

void
check_spec(const struct job_spec *spec)
{
	FUZZ_CHECK(spec->url != NULL && *spec->url != '\0', "no url");
	FUZZ_CHECK(has_upper_case_method(spec), "the method %s", spec->method);
	check_fields(&spec->headers);
	if (spec->authorization != NULL)
		FUZZ_CHECK(is_field_value(spec->authorization) && strchr(spec->authorization, '\t') == NULL,
			"authorization: %s", spec->authorization);
	FUZZ_CHECK(spec->has_body || spec->body_bytes == 0, "%zu bytes of no body", spec->body_bytes);
	FUZZ_CHECK(!spec->has_body || spec->body != NULL, "a body that is nowhere");
	check_times(spec);
	check_expect(&spec->expect);
	FUZZ_CHECK(spec->max_redirects >= 0 && spec->max_redirects <= 20, "max_redirects %d", spec->max_redirects);
	FUZZ_CHECK(spec->max_body_bytes >= -1, "max_body_bytes %lld", (long long)spec->max_body_bytes);
	FUZZ_CHECK(abs(spec->priority) <= 100, "priority %d", spec->priority);
	FUZZ_CHECK(spec->tag_count <= 16, "%zu tags", spec->tag_count);
	for (size_t i = 0; i < spec->tag_count; i++)
		FUZZ_CHECK(strlen(spec->tags[i]) >= 1 && strlen(spec->tags[i]) <= 255, "the tag \"%s\"", spec->tags[i]);
	FUZZ_CHECK(spec->meta == NULL || strlen(spec->meta) <= 4096, "meta of %zu bytes", strlen(spec->meta));
}

/* ---- JSON */

/* Reads what the server wrote: by the letter, and without doubles. */
static json_t *
read_written(const struct buffer *text, const char *what)
{
	struct strict_json strict;
	json_error_t error;

	FUZZ_CHECK(!text->failed, "no memory");
	FUZZ_CHECK(strict_json_read((const uint8_t *)text->data, text->count, &strict), "%s is no JSON: %s: %.*s", what,
		strict.wrong, (int)text->count, text->data);
	json_t *value = json_loadb(text->data, text->count, JSON_REJECT_DUPLICATES, &error);
	FUZZ_CHECK(value != NULL, "%s: %s: %.*s", what, error.text, (int)text->count, text->data);
	return value;
}

void
check_problem(struct problem *problem)
{
	struct buffer text = {0};

	FUZZ_CHECK(problem->status >= 400 && problem->status <= 503, "a refusal with status %d", problem->status);
	FUZZ_CHECK(problem->code != NULL && problem->detail[0] != '\0', "a refusal without words");
	FUZZ_CHECK(problem->pointer == NULL || problem->pointer[0] == '\0' || problem->pointer[0] == '/',
		"the pointer %s", problem->pointer);
	problem_write(problem, &text, "");
	json_decref(read_written(&text, "a problem"));
	buffer_release(&text);
	problem_release(problem);
}

json_t *
check_written(struct job_spec *spec, const struct response *response)
{
	struct job *job = job_new(spec);
	struct buffer text = {0};
	struct json_out out = {.buffer = &text};

	FUZZ_CHECK(job != NULL, "no memory");
	struct job_view view = {
		.job = job,
		.state = response == NULL ? JOB_queued : JOB_succeeded,
		.version = 1,
		.response = response,
		.total_bytes = -1,
	};
	codec_write_job(&out, NULL, &view, JOB_WHOLE, fuzz_service(), 65536);
	json_t *value = read_written(&text, "a job");
	buffer_release(&text);
	job_unref(job);
	return value;
}

void
fuzz_free_json_text(char *text)
{
	json_malloc_t take;
	json_free_t give;

	json_get_alloc_funcs(&take, &give);
	give(text);
}
