/* See codec.h. Strict reading (RFC 8259) and the small requests. */
#include "api/codec.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "api/codec_private.h"
#include "base/clock.h"
#include "base/text.h"

#define MAX_IDS 1000

void
codec_init(void)
{
	codec_memory_init();
	json_object_seed(0);
}

const char *
codec_library_version(void)
{
	return JANSSON_VERSION;
}

/* The depth of a value, the outermost being 1; stops to count beyond the limit. */
static int
depth_of(const json_t *value, int above)
{
	int deepest = above + 1;
	const char *key;
	json_t *member;
	size_t i;

	if (deepest > CODEC_MAX_DEPTH || !(json_is_object(value) || json_is_array(value)))
		return deepest;
	json_object_foreach((json_t *)value, key, member) {
		int depth = depth_of(member, above + 1);
		deepest = depth > deepest ? depth : deepest;
	}
	json_array_foreach(value, i, member) {
		int depth = depth_of(member, above + 1);
		deepest = depth > deepest ? depth : deepest;
	}
	return deepest;
}

json_t *
codec_load(const char *bytes, size_t length, struct problem *problem)
{
	json_error_t error;
	bool poor;
	const char *nul = length == 0 ? NULL : memchr(bytes, '\0', length);

	/* jansson 2.14 passes over one that follows a number. */
	if (nul != NULL) {
		problem_set(problem, 400, "invalid_json", NULL, "the body is no JSON: byte %zu is NUL",
			(size_t)(nul - bytes));
		return NULL;
	}
	json_t *value = codec_parse(bytes == NULL ? "" : bytes, length, JSON_REJECT_DUPLICATES, &error, &poor);
	if (poor) {
		codec_no_memory(problem);
		return NULL;
	}
	if (value == NULL) {
		problem_set(problem, 400, "invalid_json", NULL, "the body is no JSON: line %d, column %d: %s",
			error.line, error.column, error.text);
		return NULL;
	}
	if (!json_is_object(value))
		problem_set(problem, 400, "invalid", "", "the body has to be a JSON object");
	else if (depth_of(value, 0) > CODEC_MAX_DEPTH)
		problem_set(
			problem, 400, "invalid_json", NULL, "the body is nested more than %d deep", CODEC_MAX_DEPTH);
	else
		return value;
	json_decref(value);
	return NULL;
}

int
codec_wrong(struct problem *problem, const char *detail)
{
	return problem_set(problem, 400, "invalid", "", "%s", detail);
}

int
codec_each(const json_t *object, const struct codec_key *keys, size_t count, void *context, struct problem *problem)
{
	const char *name;
	json_t *value;

	json_object_foreach((json_t *)object, name, value) {
		const struct codec_key *key = NULL;

		for (size_t i = 0; i < count && key == NULL; i++)
			if (strcmp(keys[i].name, name) == 0)
				key = &keys[i];
		int rc;
		if (key == NULL)
			rc = problem_set(problem, 400, "unknown_key", "", "there is no key \"%.100s\" here", name);
		else if (json_is_null(value) && !key->takes_null)
			rc = 0; /* as if left out */
		else
			rc = key->read(context, value, problem);
		if (rc != 0) {
			problem_prefix(problem, name, 0);
			return rc;
		}
	}
	return 0;
}

int
codec_read_duration(const json_t *value, int64_t *ret_ms, struct problem *problem)
{
	int error = -EINVAL;

	if (json_is_number(value))
		error = duration_from_seconds(json_number_value(value), ret_ms);
	else if (json_is_string(value) && strlen(json_string_value(value)) == json_string_length(value))
		error = duration_parse(json_string_value(value), ret_ms);
	if (error == -ERANGE)
		return codec_wrong(problem, "a duration of over ten years");
	if (error != 0)
		return codec_wrong(problem,
			"give a duration: seconds as a number, or a string like \"250ms\", \"1.5s\", \"2m\", \"1h\"");
	return 0;
}

int
codec_read_positive_duration(const json_t *value, int64_t *ret_ms, struct problem *problem)
{
	int64_t ms;

	if (codec_read_duration(value, &ms, problem) != 0)
		return -1;
	if (ms == 0)
		return codec_wrong(problem, "this duration has to be above 0");
	*ret_ms = ms;
	return 0;
}

int
codec_no_memory(struct problem *problem)
{
	return problem_set(problem, 503, "no_memory", NULL, "the server is out of memory; try again later");
}

/* True for characters that may not stand in anything that goes into a head: controls, but not tabs. */
bool
codec_has_control(const char *text)
{
	for (; *text != '\0'; text++)
		if (((unsigned char)*text < 0x20 && *text != '\t') || *text == 0x7f)
			return true;
	return false;
}

#define MAX_LABEL_BYTES 255

bool
codec_is_label(const char *text)
{
	size_t length = strlen(text);

	for (const unsigned char *c = (const unsigned char *)text; *c != '\0'; c++)
		if (*c < 0x20 || *c == 0x7f || (c[0] == 0xc2 && c[1] >= 0x80 && c[1] <= 0x9f)) /* C1 in UTF-8 */
			return false;
	return length > 0 && length <= MAX_LABEL_BYTES;
}

int
codec_read_integer(const json_t *value, int64_t low, int64_t high, int64_t *ret, struct problem *problem)
{
	if (!json_is_integer(value) || json_integer_value(value) < low || json_integer_value(value) > high)
		return problem_set(problem, 400, "invalid", "", "this has to be an integer from %lld to %lld",
			(long long)low, (long long)high);
	*ret = json_integer_value(value);
	return 0;
}

int
codec_read_boolean(const json_t *value, bool *ret, struct problem *problem)
{
	if (!json_is_boolean(value))
		return codec_wrong(problem, "this is true or false");
	*ret = json_is_true(value);
	return 0;
}

/* ---- POST /v1/wait */

void
wait_request_release(struct wait_request *wait)
{
	free(wait->ids);
	*wait = (struct wait_request){0};
}

/* The memory for the pointers and, behind them, the strings. */
static char **
allocate_ids(const json_t *value, size_t count)
{
	size_t bytes = count * sizeof(char *);

	for (size_t i = 0; i < count; i++)
		bytes += json_string_length(json_array_get(value, i)) + 1;
	return malloc(bytes);
}

/* Reads a list of ids; doubles count once. One piece of memory holds it all. */
static int
read_ids(const json_t *value, char ***ret_ids, size_t *ret_count, struct problem *problem)
{
	size_t count = json_array_size(value), kept = 0;

	if (!json_is_array(value) || count == 0 || count > MAX_IDS)
		return codec_wrong(problem, "give a list of 1 to 1000 ids");
	for (size_t i = 0; i < count; i++) {
		if (json_is_string(json_array_get(value, i)))
			continue;
		codec_wrong(problem, "an id is a string");
		problem_prefix(problem, NULL, i);
		return -1;
	}
	char **ids = allocate_ids(value, count);
	if (ids == NULL)
		return codec_no_memory(problem);
	char *at = (char *)(ids + count);
	for (size_t i = 0; i < count; i++) {
		const char *text = json_string_value(json_array_get(value, i));
		bool seen = false;

		for (size_t k = 0; k < kept && !seen; k++)
			seen = text_equal_nocase(ids[k], text);
		if (seen)
			continue;
		ids[kept++] = strcpy(at, text);
		at += strlen(text) + 1;
	}
	*ret_ids = ids;
	*ret_count = kept;
	return 0;
}

struct wait_reader {
	struct wait_request *wait;
	bool any;
	int64_t number; /* 0: all */
};

static int
read_wait_ids(void *context, const json_t *value, struct problem *problem)
{
	struct wait_reader *reader = context;

	return read_ids(value, &reader->wait->ids, &reader->wait->count, problem);
}

static int
read_wait_mode(void *context, const json_t *value, struct problem *problem)
{
	struct wait_reader *reader = context;

	if (json_is_string(value) && strcmp(json_string_value(value), "any") == 0)
		reader->number = 1;
	else if (json_is_string(value) && strcmp(json_string_value(value), "all") == 0)
		reader->number = 0;
	else if (json_is_integer(value) && json_integer_value(value) >= 1)
		reader->number = json_integer_value(value);
	else
		return codec_wrong(problem, "mode is \"any\", \"all\" or a number of jobs, at least 1");
	return 0;
}

static int
read_wait_timeout(void *context, const json_t *value, struct problem *problem)
{
	struct wait_reader *reader = context;

	return codec_read_duration(value, &reader->wait->timeout_ms, problem);
}

static const struct codec_key wait_keys[] = {
	{"ids", read_wait_ids, false},
	{"mode", read_wait_mode, false},
	{"timeout", read_wait_timeout, false},
};

int
codec_read_wait(const char *bytes, size_t length, struct wait_request *ret, struct problem *problem)
{
	struct wait_request wait = {.timeout_ms = -1};
	struct wait_reader reader = {.wait = &wait};

	json_t *body = codec_load(bytes, length, problem);
	if (body == NULL)
		return -1;
	int rc = codec_each(body, wait_keys, sizeof wait_keys / sizeof *wait_keys, &reader, problem);
	if (rc == 0 && wait.ids == NULL)
		rc = problem_set(problem, 400, "invalid", "/ids", "give the ids of the jobs to wait for");
	if (rc == 0 && reader.number > (int64_t)wait.count)
		rc = problem_set(
			problem, 400, "invalid", "/mode", "mode is more than the %zu jobs named in ids", wait.count);
	wait.needed = reader.number == 0 ? wait.count : (size_t)reader.number;
	json_decref(body);
	if (rc != 0)
		wait_request_release(&wait);
	else
		*ret = wait;
	return rc;
}

/* ---- filters */

int
codec_read_origin(struct arena *arena, const char *text, struct ledger_filter *ret, struct problem *problem)
{
	char *host = arena_string(arena, text);
	uint64_t port = 0;

	if (host == NULL)
		return codec_no_memory(problem);
	ascii_lower_string(host);
	char *colon = host[0] == '[' ? strstr(host, "]:") : strchr(host, ':');
	if (colon != NULL && host[0] != '[' && strchr(colon + 1, ':') != NULL)
		colon = NULL; /* a bare IPv6 address */
	if (host[0] == '[' && colon != NULL)
		*colon++ = '\0';
	if (colon != NULL) {
		*colon++ = '\0';
		if (text_to_uint64(colon, &port) != 0 || port < 1 || port > 65535)
			return codec_wrong(problem, "origin is HOST or HOST:PORT");
	}
	if (host[0] == '[') {
		host++;
		host[strcspn(host, "]")] = '\0';
	}
	size_t length = strlen(host);
	if (length > 1 && host[length - 1] == '.')
		host[length - 1] = '\0';
	if (*host == '\0')
		return codec_wrong(problem, "origin is HOST or HOST:PORT");
	ret->host = host;
	ret->port = (int)port;
	return 0;
}

static int
read_state(const char *name, size_t length, unsigned *states, struct problem *problem)
{
	enum job_state state;

	if (!job_state_from_name(name, length, &state))
		return problem_set(problem, 400, "invalid", "",
			"there is no state \"%.*s\"; there are queued, running, retrying, succeeded, failed, cancelled",
			(int)(length < 40 ? length : 40), name);
	*states |= 1u << state;
	return 0;
}

int
codec_read_states(const char *text, unsigned *ret, struct problem *problem)
{
	for (;;) {
		size_t length = strcspn(text, ",");

		if (read_state(text, length, ret, problem) != 0)
			return -1;
		if (text[length] == '\0')
			return 0;
		text += length + 1;
	}
}

/* ---- POST /v1/jobs/cancel */

void
cancel_request_release(struct cancel_request *cancel)
{
	free(cancel->ids);
	arena_release(&cancel->text);
	*cancel = (struct cancel_request){0};
}

static int
copy_string(struct arena *arena, const json_t *value, const char **ret, struct problem *problem)
{
	if (!json_is_string(value) || json_string_length(value) == 0)
		return codec_wrong(problem, "give a string that is not empty");
	*ret = arena_string(arena, json_string_value(value));
	return *ret != NULL ? 0 : codec_no_memory(problem);
}

static int
read_cancel_state(void *context, const json_t *value, struct problem *problem)
{
	struct cancel_request *cancel = context;
	unsigned *states = &cancel->filter.states;

	if (json_is_string(value))
		return codec_read_states(json_string_value(value), states, problem);
	if (!json_is_array(value) || json_array_size(value) == 0)
		return codec_wrong(problem, "state is a string like \"queued,running\", or a list of states");
	for (size_t i = 0; i < json_array_size(value); i++) {
		const json_t *item = json_array_get(value, i);
		int rc = json_is_string(item)
			? read_state(json_string_value(item), json_string_length(item), states, problem)
			: codec_wrong(problem, "a state is a string");
		if (rc != 0) {
			problem_prefix(problem, NULL, i);
			return rc;
		}
	}
	return 0;
}

static int
read_cancel_tag(void *context, const json_t *value, struct problem *problem)
{
	struct cancel_request *cancel = context;

	return copy_string(&cancel->text, value, &cancel->filter.tag, problem);
}

static int
read_cancel_batch(void *context, const json_t *value, struct problem *problem)
{
	struct cancel_request *cancel = context;

	return copy_string(&cancel->text, value, &cancel->filter.batch, problem);
}

static int
read_cancel_origin(void *context, const json_t *value, struct problem *problem)
{
	struct cancel_request *cancel = context;
	const char *text;

	if (copy_string(&cancel->text, value, &text, problem) != 0)
		return -1;
	return codec_read_origin(&cancel->text, text, &cancel->filter, problem);
}

static int
read_cancel_ids(void *context, const json_t *value, struct problem *problem)
{
	struct cancel_request *cancel = context;

	return read_ids(value, &cancel->ids, &cancel->id_count, problem);
}

static const struct codec_key cancel_keys[] = {
	{"state", read_cancel_state, false},
	{"tag", read_cancel_tag, false},
	{"batch", read_cancel_batch, false},
	{"origin", read_cancel_origin, false},
	{"ids", read_cancel_ids, false},
};

int
codec_read_cancel(const char *bytes, size_t length, struct cancel_request *ret, struct problem *problem)
{
	struct cancel_request cancel = {0};
	const struct ledger_filter *filter = &cancel.filter;

	json_t *body = codec_load(bytes, length, problem);
	if (body == NULL)
		return -1;
	int rc = codec_each(body, cancel_keys, sizeof cancel_keys / sizeof *cancel_keys, &cancel, problem);
	json_decref(body);
	if (rc == 0 && filter->states == 0 && !filter->tag && !filter->batch && !filter->host && !cancel.ids)
		rc = problem_set(problem, 400, "invalid", "", "give at least one of state, tag, origin, batch, ids");
	if (rc != 0)
		cancel_request_release(&cancel);
	else
		*ret = cancel;
	return rc;
}

/* ---- POST /v1/egress/check */

static int
read_url(void *context, const json_t *value, struct problem *problem)
{
	char **url = context;

	if (!json_is_string(value) || json_string_length(value) == 0)
		return codec_wrong(problem, "url has to be a string that is not empty");
	*url = strdup(json_string_value(value));
	return *url != NULL ? 0 : codec_no_memory(problem);
}

char *
codec_read_url(const char *bytes, size_t length, struct problem *problem)
{
	static const struct codec_key keys[] = {{"url", read_url, false}};
	char *url = NULL;

	json_t *body = codec_load(bytes, length, problem);
	if (body == NULL)
		return NULL;
	int rc = codec_each(body, keys, 1, &url, problem);
	json_decref(body);
	if (rc == 0 && url == NULL)
		rc = problem_set(problem, 400, "invalid", "/url", "give the url to check");
	if (rc == 0)
		return url;
	free(url);
	return NULL;
}

/* ---- writing jansson's values */

char *
codec_dump(const json_t *value, size_t flags)
{
	bool poor;

	for (size_t precision = 15;; precision++) {
		char *text = codec_print(value, flags | JSON_ENCODE_ANY | JSON_REAL_PRECISION(precision));

		if (text == NULL || precision == 17)
			return text;
		json_t *again = codec_parse(text, strlen(text), 0, NULL, &poor);
		bool same = again != NULL && json_equal((json_t *)value, again);
		json_decref(again);
		if (same)
			return text;
		free(text);
		if (poor)
			return NULL;
	}
}

void
codec_indent(struct buffer *json)
{
	bool poor;
	json_t *value = codec_parse(json->data, json->count, 0, NULL, &poor);
	char *text = value == NULL ? NULL : codec_dump(value, JSON_INDENT(2));

	if (text != NULL) {
		json->count = 0;
		buffer_append_string(json, text);
	}
	free(text);
	json_decref(value);
}
