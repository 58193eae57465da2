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

static void
note(struct row *row, int rc)
{
	if (row->rc == SQLITE_OK)
		row->rc = rc;
	row->at++;
}

void
row_null(struct row *row)
{
	note(row, sqlite3_bind_null(row->statement, row->at));
}

void
row_int(struct row *row, int64_t value)
{
	note(row, sqlite3_bind_int64(row->statement, row->at, value));
}

void
row_text(struct row *row, const char *text)
{
	note(row, sqlite3_bind_text(row->statement, row->at, text, -1, SQLITE_STATIC));
}

void
row_blob(struct row *row, const void *bytes, size_t count)
{
	note(row, sqlite3_bind_blob64(row->statement, row->at, bytes, count, SQLITE_STATIC));
}

void
row_or_null(struct row *row, int64_t value)
{
	if (value != 0)
		row_int(row, value);
	else
		row_null(row);
}

void
row_not_negative(struct row *row, int64_t value)
{
	if (value >= 0)
		row_int(row, value);
	else
		row_null(row);
}

/* What was appended to the row's text since start, copied by SQLite; nothing as NULL. */
static void
row_since(struct row *row, size_t start)
{
	const struct buffer *text = row->text;

	if (text->failed)
		note(row, SQLITE_NOMEM);
	else if (text->count == start)
		row_null(row);
	else
		note(row,
			sqlite3_bind_text(row->statement, row->at, text->data + start, (int)(text->count - start),
				SQLITE_TRANSIENT));
}

static void
bind_fields(struct row *row, const struct fields *fields)
{
	size_t start = row->text->count;

	for (size_t i = 0; i < fields->count; i++) {
		buffer_append_string(row->text, fields->items[i].name);
		buffer_append_string(row->text, ": ");
		buffer_append_string(row->text, fields->items[i].value);
		buffer_append_char(row->text, '\n');
	}
	row_since(row, start);
}

static void
bind_tags(struct row *row, const struct job_spec *spec)
{
	size_t start = row->text->count;

	for (size_t i = 0; i < spec->tag_count; i++) {
		buffer_append_string(row->text, spec->tags[i]);
		buffer_append_char(row->text, '\n');
	}
	row_since(row, start);
}

static void
bind_statuses(struct row *row, const struct job_expect *expect)
{
	size_t start = row->text->count;

	for (size_t i = 0; i < expect->status_count; i++)
		buffer_printf(
			row->text, "%s%d-%d", i > 0 ? " " : "", expect->statuses[i].low, expect->statuses[i].high);
	row_since(row, start);
}

static void
bind_redirects(struct row *row, const struct attempt *attempt)
{
	size_t start = row->text->count;

	for (size_t i = 0; i < attempt->redirect_count; i++)
		buffer_printf(row->text, "%d %s %s\n", attempt->redirects[i].status, attempt->redirects[i].url,
			attempt->redirects[i].location);
	row_since(row, start);
}

static void
bind_hash(struct row *row, const uint8_t *hash, bool there)
{
	if (there)
		row_blob(row, hash, 32);
	else
		row_null(row);
}

void
sqlite_bind_spec(struct row *row, const struct job_spec *spec)
{
	row_text(row, spec->method);
	row_text(row, spec->url);
	row_text(row, spec->origin.host);
	row_int(row, spec->origin.port);
	bind_fields(row, &spec->headers);
	row_text(row, spec->authorization);
	row_not_negative(row, spec->has_body ? (int64_t)spec->body_bytes : -1);
	row_or_null(row, spec->body_is_json);
	row_or_null(row, spec->timeout_ms);
	row_or_null(row, spec->connect_timeout_ms);
	row_or_null(row, spec->first_byte_timeout_ms);
	row_or_null(row, spec->idle_timeout_ms);
	row_or_null(row, spec->queue_timeout_ms);
	row_or_null(row, spec->deadline_ms);
	row_int(row, spec->max_redirects);
	row_int(row, spec->max_body_bytes);
	row_int(row, spec->decompress);
	bind_statuses(row, &spec->expect);
	row_text(row, spec->expect.content_type);
	bind_hash(row, spec->expect.sha256, spec->expect.has_sha256);
	row_int(row, spec->priority);
	row_or_null(row, spec->delay_ms);
	row_or_null(row, spec->run_at_wall_ms);
	row_int(row, spec->ttl_ms);
	bind_tags(row, spec);
	row_text(row, spec->meta);
	row_or_null(row, spec->retry_unsafe);
	row_text(row, spec->idempotency_key);
	bind_hash(row, spec->fingerprint, spec->idempotency_key != NULL);
	row_text(row, spec->owner);
	row_text(row, spec->tls_ca);
	row_text(row, spec->tls_client_cert);
	row_or_null(row, spec->tls_insecure);
	row_text(row, spec->proxy);
}

void
sqlite_bind_error(struct row *row, const struct job_error *error)
{
	bool there = error->code != JOB_ERROR_none;

	row_text(row, there ? job_error_name(error->code) : NULL);
	row_text(row, there ? job_phase_name(error->phase) : NULL);
	row_text(row, there ? error->message : NULL);
}

void
sqlite_bind_response(struct row *row, const struct response *response, const char *file)
{
	if (response == NULL) {
		for (int i = 0; i < 8; i++)
			row_null(row);
		return;
	}
	row_int(row, response->status);
	row_text(row, response->url);
	bind_fields(row, &response->headers);
	row_int(row, response->body.bytes);
	bind_hash(row, response->body.sha256, true);
	row_or_null(row, response->body.is_text);
	row_text(row, file);
	if (file == NULL)
		row_blob(row, response->body.data, (size_t)response->body.bytes);
	else
		row_null(row);
}

void
sqlite_bind_attempt(struct row *row, const struct attempt *attempt)
{
	const struct timings *timings = &attempt->timings;

	row_int(row, attempt->number);
	row_int(row, attempt->started_wall_ms);
	row_or_null(row, attempt->finished_wall_ms);
	row_or_null(row, attempt->status);
	sqlite_bind_error(row, &attempt->error);
	row_text(row, *attempt->remote_ip != '\0' ? attempt->remote_ip : NULL);
	row_text(row, *attempt->http_version != '\0' ? attempt->http_version : NULL);
	bind_redirects(row, attempt);
	row_int(row, attempt->received_bytes);
	row_not_negative(row, timings->queue);
	row_not_negative(row, timings->dns);
	row_not_negative(row, timings->connect);
	row_not_negative(row, timings->tls);
	row_not_negative(row, timings->first_byte);
	row_not_negative(row, timings->total);
}

/* ---- reading */

/* A text of the arena, NULL for NULL; *ok becomes false when memory runs out. */
static char *
read_text(struct arena *arena, sqlite3_stmt *statement, int at, bool *ok)
{
	bool there = sqlite3_column_type(statement, at) != SQLITE_NULL;
	const char *text = (const char *)sqlite3_column_text(statement, at);

	*ok = *ok && there == (text != NULL);
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
	read_hash(statement, at++, spec->fingerprint);
	spec->owner = read_text(arena, statement, at++, &ok);
	spec->tls_ca = read_text(arena, statement, at++, &ok);
	spec->tls_client_cert = read_text(arena, statement, at++, &ok);
	spec->tls_insecure = sqlite3_column_int(statement, at++) != 0;
	spec->proxy = read_text(arena, statement, at, &ok);
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
