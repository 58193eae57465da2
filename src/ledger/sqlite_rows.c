/*
 * Structs as columns and back. Lists of lines (headers, tags, redirects) are text, which people can read and no value can
 * break: none of them may hold a line feed.
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "ledger/sqlite_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- binding */

void
sqlite_bind_text(sqlite3_stmt *statement, int at, const char *text)
{
	sqlite3_bind_text(statement, at, text, -1, SQLITE_STATIC);
}

void
sqlite_bind_positive(sqlite3_stmt *statement, int at, int64_t value)
{
	if (value != 0)
		sqlite3_bind_int64(statement, at, value);
	else
		sqlite3_bind_null(statement, at);
}

void
sqlite_bind_not_negative(sqlite3_stmt *statement, int at, int64_t value)
{
	if (value >= 0)
		sqlite3_bind_int64(statement, at, value);
	else
		sqlite3_bind_null(statement, at);
}

/* What was appended to the scratch since start, copied by SQLite; nothing as NULL. */
static void
bind_since(sqlite3_stmt *statement, int at, const struct buffer *scratch, size_t start)
{
	if (scratch->failed || scratch->count == start)
		sqlite3_bind_null(statement, at);
	else
		sqlite3_bind_text(
			statement, at, scratch->data + start, (int)(scratch->count - start), SQLITE_TRANSIENT);
}

static void
bind_fields(sqlite3_stmt *statement, int at, const struct fields *fields, struct buffer *scratch)
{
	size_t start = scratch->count;

	for (size_t i = 0; i < fields->count; i++) {
		buffer_append_string(scratch, fields->items[i].name);
		buffer_append_string(scratch, ": ");
		buffer_append_string(scratch, fields->items[i].value);
		buffer_append_char(scratch, '\n');
	}
	bind_since(statement, at, scratch, start);
}

static void
bind_tags(sqlite3_stmt *statement, int at, const struct job_spec *spec, struct buffer *scratch)
{
	size_t start = scratch->count;

	for (size_t i = 0; i < spec->tag_count; i++) {
		buffer_append_string(scratch, spec->tags[i]);
		buffer_append_char(scratch, '\n');
	}
	bind_since(statement, at, scratch, start);
}

static void
bind_statuses(sqlite3_stmt *statement, int at, const struct job_expect *expect, struct buffer *scratch)
{
	size_t start = scratch->count;

	for (size_t i = 0; i < expect->status_count; i++)
		buffer_printf(scratch, "%s%d-%d", i > 0 ? " " : "", expect->statuses[i].low, expect->statuses[i].high);
	bind_since(statement, at, scratch, start);
}

static void
bind_redirects(sqlite3_stmt *statement, int at, const struct attempt *attempt, struct buffer *scratch)
{
	size_t start = scratch->count;

	for (size_t i = 0; i < attempt->redirect_count; i++)
		buffer_printf(scratch, "%d %s %s\n", attempt->redirects[i].status, attempt->redirects[i].url,
			attempt->redirects[i].location);
	bind_since(statement, at, scratch, start);
}

static void
bind_hash(sqlite3_stmt *statement, int at, const uint8_t *hash, bool there)
{
	if (there)
		sqlite3_bind_blob(statement, at, hash, 32, SQLITE_STATIC);
	else
		sqlite3_bind_null(statement, at);
}

int
sqlite_bind_spec(sqlite3_stmt *statement, int at, const struct job_spec *spec, struct buffer *scratch)
{
	sqlite_bind_text(statement, at++, spec->method);
	sqlite_bind_text(statement, at++, spec->url);
	sqlite_bind_text(statement, at++, spec->origin.host);
	sqlite3_bind_int(statement, at++, spec->origin.port);
	bind_fields(statement, at++, &spec->headers, scratch);
	sqlite_bind_text(statement, at++, spec->authorization);
	sqlite_bind_not_negative(statement, at++, spec->has_body ? (int64_t)spec->body_bytes : -1);
	sqlite_bind_positive(statement, at++, spec->body_is_json);
	sqlite_bind_positive(statement, at++, spec->timeout_ms);
	sqlite_bind_positive(statement, at++, spec->connect_timeout_ms);
	sqlite_bind_positive(statement, at++, spec->first_byte_timeout_ms);
	sqlite_bind_positive(statement, at++, spec->idle_timeout_ms);
	sqlite_bind_positive(statement, at++, spec->queue_timeout_ms);
	sqlite_bind_positive(statement, at++, spec->deadline_ms);
	sqlite3_bind_int(statement, at++, spec->max_redirects);
	sqlite3_bind_int64(statement, at++, spec->max_body_bytes);
	sqlite3_bind_int(statement, at++, spec->decompress);
	bind_statuses(statement, at++, &spec->expect, scratch);
	sqlite_bind_text(statement, at++, spec->expect.content_type);
	bind_hash(statement, at++, spec->expect.sha256, spec->expect.has_sha256);
	sqlite3_bind_int(statement, at++, spec->priority);
	sqlite_bind_positive(statement, at++, spec->delay_ms);
	sqlite_bind_positive(statement, at++, spec->run_at_wall_ms);
	sqlite3_bind_int64(statement, at++, spec->ttl_ms);
	bind_tags(statement, at++, spec, scratch);
	sqlite_bind_text(statement, at++, spec->meta);
	sqlite_bind_positive(statement, at++, spec->retry_unsafe);
	sqlite_bind_text(statement, at++, spec->idempotency_key);
	bind_hash(statement, at++, spec->fingerprint, spec->idempotency_key != NULL);
	return at;
}

int
sqlite_bind_error(sqlite3_stmt *statement, int at, const struct job_error *error)
{
	bool there = error->code != JOB_ERROR_none;

	sqlite_bind_text(statement, at++, there ? job_error_name(error->code) : NULL);
	sqlite_bind_text(statement, at++, there ? job_phase_name(error->phase) : NULL);
	sqlite_bind_text(statement, at++, there ? error->message : NULL);
	return at;
}

int
sqlite_bind_response(
	sqlite3_stmt *statement, int at, const struct response *response, const char *file, struct buffer *scratch)
{
	if (response == NULL) {
		for (int i = 0; i < 8; i++)
			sqlite3_bind_null(statement, at++);
		return at;
	}
	sqlite3_bind_int(statement, at++, response->status);
	sqlite_bind_text(statement, at++, response->url);
	bind_fields(statement, at++, &response->headers, scratch);
	sqlite3_bind_int64(statement, at++, response->body.bytes);
	bind_hash(statement, at++, response->body.sha256, true);
	sqlite_bind_positive(statement, at++, response->body.is_text);
	sqlite_bind_text(statement, at++, file);
	if (file == NULL)
		sqlite3_bind_blob64(
			statement, at++, response->body.data, (sqlite3_uint64)response->body.bytes, SQLITE_STATIC);
	else
		sqlite3_bind_null(statement, at++);
	return at;
}

int
sqlite_bind_attempt(sqlite3_stmt *statement, int at, const struct attempt *attempt, struct buffer *scratch)
{
	const struct timings *timings = &attempt->timings;

	sqlite3_bind_int64(statement, at++, attempt->number);
	sqlite3_bind_int64(statement, at++, attempt->started_wall_ms);
	sqlite_bind_positive(statement, at++, attempt->finished_wall_ms);
	sqlite_bind_positive(statement, at++, attempt->status);
	at = sqlite_bind_error(statement, at, &attempt->error);
	sqlite_bind_text(statement, at++, *attempt->remote_ip != '\0' ? attempt->remote_ip : NULL);
	sqlite_bind_text(statement, at++, *attempt->http_version != '\0' ? attempt->http_version : NULL);
	bind_redirects(statement, at++, attempt, scratch);
	sqlite3_bind_int64(statement, at++, attempt->received_bytes);
	sqlite_bind_not_negative(statement, at++, timings->queue);
	sqlite_bind_not_negative(statement, at++, timings->dns);
	sqlite_bind_not_negative(statement, at++, timings->connect);
	sqlite_bind_not_negative(statement, at++, timings->tls);
	sqlite_bind_not_negative(statement, at++, timings->first_byte);
	sqlite_bind_not_negative(statement, at++, timings->total);
	return at;
}

/* ---- reading */

/* A text of the arena, NULL for NULL; *ok becomes false when memory runs out. */
static char *
read_text(struct arena *arena, sqlite3_stmt *statement, int at, bool *ok)
{
	const char *text = (const char *)sqlite3_column_text(statement, at);

	if (text == NULL)
		return NULL;
	char *copy = arena_copy(arena, text, (size_t)sqlite3_column_bytes(statement, at));
	*ok = *ok && copy != NULL;
	return copy;
}

static int64_t
read_not_negative(sqlite3_stmt *statement, int at)
{
	return sqlite3_column_type(statement, at) == SQLITE_NULL ? -1 : sqlite3_column_int64(statement, at);
}

static bool
read_hash(sqlite3_stmt *statement, int at, uint8_t *ret)
{
	const void *hash = sqlite3_column_blob(statement, at);

	if (hash == NULL || sqlite3_column_bytes(statement, at) != 32)
		return false;
	memcpy(ret, hash, 32);
	return true;
}

static size_t
count_of(const char *text, char c)
{
	size_t count = 0;

	for (; text != NULL && (text = strchr(text, c)) != NULL; text++)
		count++;
	return count;
}

/* The text up to the separator, cut off in place; moves *at behind it. */
static char *
cut(char **at, const char *separator)
{
	char *word = *at, *end = strstr(word, separator);

	if (end == NULL) {
		*at = word + strlen(word);
		return word;
	}
	*end = '\0';
	*at = end + strlen(separator);
	return word;
}

static void
read_fields(struct arena *arena, sqlite3_stmt *statement, int column, struct fields *ret, bool *ok)
{
	char *text = read_text(arena, statement, column, ok);
	size_t count = count_of(text, '\n');

	if (count == 0)
		return;
	ret->items = arena_alloc(arena, count * sizeof *ret->items);
	*ok = *ok && ret->items != NULL;
	for (; *ok && ret->count < count; ret->count++) {
		char *line = cut(&text, "\n");

		ret->items[ret->count].name = cut(&line, ": ");
		ret->items[ret->count].value = line;
	}
}

static void
read_tags(struct job_spec *spec, sqlite3_stmt *statement, int column, bool *ok)
{
	char *text = read_text(&spec->arena, statement, column, ok);
	size_t count = count_of(text, '\n');

	if (count == 0)
		return;
	spec->tags = arena_alloc(&spec->arena, count * sizeof *spec->tags);
	*ok = *ok && spec->tags != NULL;
	for (; *ok && spec->tag_count < count; spec->tag_count++)
		spec->tags[spec->tag_count] = cut(&text, "\n");
}

static void
read_statuses(struct job_spec *spec, sqlite3_stmt *statement, int column, bool *ok)
{
	struct job_expect *expect = &spec->expect;
	char *text = read_text(&spec->arena, statement, column, ok);

	if (text == NULL)
		return;
	size_t count = count_of(text, ' ') + 1;
	expect->statuses = arena_alloc(&spec->arena, count * sizeof *expect->statuses);
	*ok = *ok && expect->statuses != NULL;
	for (; *ok && expect->status_count < count; expect->status_count++) {
		struct status_range *range = &expect->statuses[expect->status_count];

		*ok = sscanf(cut(&text, " "), "%d-%d", &range->low, &range->high) == 2;
	}
}

static void
read_origin(struct job_spec *spec)
{
	bool secure = strncmp(spec->url, "https:", 6) == 0;

	spec->origin.scheme = secure ? "https" : "http";
}

/* In the order of SPEC_COLUMNS. */
static bool
fill_spec(struct job_spec *spec, sqlite3_stmt *statement, int at)
{
	struct arena *arena = &spec->arena;
	bool ok = true;

	spec->method = read_text(arena, statement, at++, &ok);
	spec->url = read_text(arena, statement, at++, &ok);
	spec->origin.host = read_text(arena, statement, at++, &ok);
	spec->origin.port = sqlite3_column_int(statement, at++);
	read_fields(arena, statement, at++, &spec->headers, &ok);
	spec->authorization = read_text(arena, statement, at++, &ok);
	spec->has_body = sqlite3_column_type(statement, at) != SQLITE_NULL;
	spec->body_bytes = (size_t)sqlite3_column_int64(statement, at++);
	spec->body_is_json = sqlite3_column_int(statement, at++) != 0;
	spec->timeout_ms = sqlite3_column_int64(statement, at++);
	spec->connect_timeout_ms = sqlite3_column_int64(statement, at++);
	spec->first_byte_timeout_ms = sqlite3_column_int64(statement, at++);
	spec->idle_timeout_ms = sqlite3_column_int64(statement, at++);
	spec->queue_timeout_ms = sqlite3_column_int64(statement, at++);
	spec->deadline_ms = sqlite3_column_int64(statement, at++);
	spec->max_redirects = sqlite3_column_int(statement, at++);
	spec->max_body_bytes = sqlite3_column_int64(statement, at++);
	spec->decompress = sqlite3_column_int(statement, at++) != 0;
	read_statuses(spec, statement, at++, &ok);
	spec->expect.content_type = read_text(arena, statement, at++, &ok);
	spec->expect.has_sha256 = read_hash(statement, at++, spec->expect.sha256);
	spec->priority = sqlite3_column_int(statement, at++);
	spec->delay_ms = sqlite3_column_int64(statement, at++);
	spec->run_at_wall_ms = sqlite3_column_int64(statement, at++);
	spec->ttl_ms = sqlite3_column_int64(statement, at++);
	read_tags(spec, statement, at++, &ok);
	spec->meta = read_text(arena, statement, at++, &ok);
	spec->retry_unsafe = sqlite3_column_int(statement, at++) != 0;
	spec->idempotency_key = read_text(arena, statement, at++, &ok);
	read_hash(statement, at, spec->fingerprint);
	ok = ok && spec->method != NULL && spec->url != NULL && spec->origin.host != NULL;
	if (ok)
		read_origin(spec);
	return ok;
}

struct job_spec *
sqlite_read_spec(sqlite3_stmt *statement, int at)
{
	struct job_spec *spec = job_spec_new();

	if (spec != NULL && !fill_spec(spec, statement, at)) {
		job_spec_free(spec);
		return NULL;
	}
	return spec;
}

bool
sqlite_read_state(sqlite3_stmt *statement, int at, enum job_state *ret)
{
	const char *name = (const char *)sqlite3_column_text(statement, at);

	return name != NULL && job_state_from_name(name, strlen(name), ret);
}

static const char *
phase_name(int phase)
{
	return job_phase_name((enum job_phase)phase);
}

static const char *
error_name(int code)
{
	return code == JOB_ERROR_none ? "" : job_error_name((enum job_error_code)code);
}

/* The index whose name is this; -1 for none. */
static int
index_of(const char *name, const char *(*name_of)(int index), int count)
{
	for (int i = 0; name != NULL && i < count; i++)
		if (strcmp(name_of(i), name) == 0)
			return i;
	return -1;
}

bool
sqlite_read_error(sqlite3_stmt *statement, int at, struct job_error *ret)
{
	const char *message = (const char *)sqlite3_column_text(statement, at + 2);

	*ret = (struct job_error){.code = JOB_ERROR_none};
	if (sqlite3_column_type(statement, at) == SQLITE_NULL)
		return true;
	int code = index_of((const char *)sqlite3_column_text(statement, at), error_name, JOB_ERROR_COUNT);
	int phase = index_of((const char *)sqlite3_column_text(statement, at + 1), phase_name, JOB_PHASE_COUNT);
	if (code <= 0 || phase < 0)
		return false;
	ret->code = (enum job_error_code)code;
	ret->phase = (enum job_phase)phase;
	snprintf(ret->message, sizeof ret->message, "%s", message == NULL ? "" : message);
	return true;
}

/* In the order of RESPONSE_COLUMNS. */
struct response *
sqlite_read_response(sqlite3_stmt *statement, int at, const char *bodies)
{
	struct arena arena = {0};
	struct response *response = arena_alloc(&arena, sizeof *response);
	bool ok = true;

	if (response == NULL)
		return NULL;
	response->arena = arena;
	response->status = sqlite3_column_int(statement, at++);
	response->url = read_text(&response->arena, statement, at++, &ok);
	read_fields(&response->arena, statement, at++, &response->headers, &ok);
	response->body.bytes = sqlite3_column_int64(statement, at++);
	ok = read_hash(statement, at++, response->body.sha256) && ok;
	response->body.is_text = sqlite3_column_int(statement, at++) != 0;
	const char *file = (const char *)sqlite3_column_text(statement, at);
	response->body.kept = true;
	if (file != NULL && asprintf(&response->body.path, "%s/%s", bodies, file) < 0) {
		response->body.path = NULL;
		ok = false;
	}
	if (!ok || response->url == NULL) {
		response_free(response);
		return NULL;
	}
	return response;
}

static void
read_redirects(struct attempt *attempt, sqlite3_stmt *statement, int column, bool *ok)
{
	char *text = read_text(&attempt->arena, statement, column, ok);
	size_t count = count_of(text, '\n');

	if (count == 0)
		return;
	attempt->redirects = arena_alloc(&attempt->arena, count * sizeof *attempt->redirects);
	*ok = *ok && attempt->redirects != NULL;
	for (; *ok && attempt->redirect_count < count; attempt->redirect_count++) {
		struct redirect *redirect = &attempt->redirects[attempt->redirect_count];
		char *line = cut(&text, "\n");

		redirect->status = atoi(cut(&line, " "));
		redirect->url = cut(&line, " ");
		redirect->location = line;
	}
}

static void
copy_word(char *to, size_t size, sqlite3_stmt *statement, int at)
{
	const char *word = (const char *)sqlite3_column_text(statement, at);

	snprintf(to, size, "%s", word == NULL ? "" : word);
}

/* In the order of ATTEMPT_COLUMNS. */
struct attempt *
sqlite_read_attempt(sqlite3_stmt *statement, int at)
{
	struct arena arena = {0};
	struct attempt *attempt = arena_alloc(&arena, sizeof *attempt);
	bool ok = true;

	if (attempt == NULL)
		return NULL;
	attempt->arena = arena;
	attempt->number = (unsigned)sqlite3_column_int64(statement, at++);
	attempt->started_wall_ms = sqlite3_column_int64(statement, at++);
	attempt->finished_wall_ms = sqlite3_column_int64(statement, at++);
	attempt->status = sqlite3_column_int(statement, at++);
	ok = sqlite_read_error(statement, at, &attempt->error);
	at += 3;
	copy_word(attempt->remote_ip, sizeof attempt->remote_ip, statement, at++);
	copy_word(attempt->http_version, sizeof attempt->http_version, statement, at++);
	read_redirects(attempt, statement, at++, &ok);
	attempt->received_bytes = sqlite3_column_int64(statement, at++);
	attempt->timings.queue = read_not_negative(statement, at++);
	attempt->timings.dns = read_not_negative(statement, at++);
	attempt->timings.connect = read_not_negative(statement, at++);
	attempt->timings.tls = read_not_negative(statement, at++);
	attempt->timings.first_byte = read_not_negative(statement, at++);
	attempt->timings.total = read_not_negative(statement, at);
	if (!ok) {
		attempt_free(attempt);
		return NULL;
	}
	return attempt;
}
