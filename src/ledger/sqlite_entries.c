/* Entries become rows. The writer's thread, within its transaction. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "ledger/sqlite_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

enum {
	FIND_KEY,
	ADD_JOB,
	ADD_BODY,
	ADD_TAG,
	ADD_LIVE,
	CHANGE_LIVE,
	ADD_RESULT,
	ADD_ATTEMPT,
	FIND_REMOVED,
	FIND_RESULT,
	REMOVE_JOB,
	REMOVE_LIVE,
	REMOVE_RESULT,
	REMOVE_ATTEMPTS,
	REMOVE_BODY,
	REMOVE_TAG,
	FIND_EXPIRED,
	STATEMENT_COUNT
};

#define MARKS_7 "?, ?, ?, ?, ?, ?, ?"
#define MARKS_17 MARKS_7 ", " MARKS_7 ", ?, ?, ?"
#define MARKS_34 MARKS_17 ", " MARKS_17

static const char *const texts[STATEMENT_COUNT] = {
	[FIND_KEY] = "SELECT seq, tail, fingerprint, (SELECT expires_at FROM results WHERE results.seq = jobs.seq) "
		     "FROM jobs WHERE idempotency_key = ? AND coalesce(owner, '') = coalesce(?, '')",
	[ADD_JOB] =
		"INSERT INTO jobs (seq, tail, created_at, run_at, " SPEC_COLUMNS ") VALUES (?, ?, ?, ?, " MARKS_34 ")",
	[ADD_BODY] = "INSERT INTO request_bodies (seq, body) VALUES (?, ?)",
	[ADD_TAG] = "INSERT INTO tags (tag, seq) VALUES (?, ?)",
	[ADD_LIVE] = "INSERT INTO live (seq, state, version, crashes) VALUES (?, 'queued', 1, 0)",
	[CHANGE_LIVE] =
		"UPDATE live SET state = ?2, version = ?3, started_at = ?4, attempt_started_at = ?5, crashes = ?6 "
		"WHERE seq = ?1",
	[ADD_RESULT] =
		"INSERT INTO results (seq, state, version, started_at, finished_at, expires_at, finish_order, received_bytes, total_bytes, error, error_phase, error_message, " RESPONSE_COLUMNS
		", body) VALUES (" MARKS_7 ", " MARKS_7 ", ?, ?, ?, ?, ?, ?)",
	[ADD_ATTEMPT] = "INSERT INTO attempts (seq, " ATTEMPT_COLUMNS ") VALUES (?, " MARKS_17 ")",
	[FIND_REMOVED] = "SELECT tags, request_body_bytes FROM jobs WHERE seq = ? AND tail = ?",
	[FIND_RESULT] = "SELECT body_file, body_bytes FROM results WHERE seq = ?",
	[REMOVE_JOB] = "DELETE FROM jobs WHERE seq = ?",
	[REMOVE_LIVE] = "DELETE FROM live WHERE seq = ?",
	[REMOVE_RESULT] = "DELETE FROM results WHERE seq = ?",
	[REMOVE_ATTEMPTS] = "DELETE FROM attempts WHERE seq = ?",
	[REMOVE_BODY] = "DELETE FROM request_bodies WHERE seq = ?",
	[REMOVE_TAG] = "DELETE FROM tags WHERE tag = ? AND seq = ?",
	[FIND_EXPIRED] = "SELECT jobs.seq, jobs.tail FROM results JOIN jobs USING (seq) WHERE expires_at <= ? "
			 "ORDER BY expires_at LIMIT ?",
};

_Static_assert(STATEMENT_COUNT <= sizeof((struct writer *)0)->statements / sizeof(sqlite3_stmt *), "room for all");

/* ---- statements */

static int
begin_row(struct writer *writer, int which, struct row *ret)
{
	int rc = SQLITE_OK;

	if (writer->statements[which] == NULL)
		rc = sqlite3_prepare_v3(
			writer->db, texts[which], -1, SQLITE_PREPARE_PERSISTENT, &writer->statements[which], NULL);
	writer->text.count = 0;
	writer->text.failed = false;
	*ret = (struct row){.statement = writer->statements[which], .at = 1, .rc = rc, .text = &writer->text};
	return rc;
}

/* Runs a statement that gives no rows. */
static int
run_row(struct row *row)
{
	if (row->rc != SQLITE_OK)
		return row->rc;
	int rc = sqlite3_step(row->statement);
	sqlite3_reset(row->statement);
	return rc == SQLITE_DONE ? SQLITE_OK : rc == SQLITE_ROW ? SQLITE_INTERNAL : rc;
}

/* Runs one that may give a row: SQLITE_ROW, or SQLITE_DONE. To be reset. */
static int
step_row(struct row *row)
{
	return row->rc != SQLITE_OK ? row->rc : sqlite3_step(row->statement);
}

static int
run_for(struct writer *writer, int which, int64_t seq)
{
	struct row row;

	if (begin_row(writer, which, &row) != SQLITE_OK)
		return row.rc;
	row_int(&row, seq);
	return run_row(&row);
}

int
sqlite_exec(struct writer *writer, const char *sql)
{
	return sqlite3_exec(writer->db, sql, NULL, NULL, NULL);
}

void
sqlite_write_release(struct writer *writer)
{
	for (int i = 0; i < STATEMENT_COUNT; i++)
		sqlite3_finalize(writer->statements[i]);
	buffer_release(&writer->text);
}

static int64_t
seq_of(const struct id *id)
{
	return (int64_t)id_stamp(id);
}

/* ---- a new job */

static int remove_job(struct sqlite *sqlite, int64_t seq, int64_t tail, bool *ret_found);

/* SQLITE_ROW when another job has the key: the entry is told which. One that has expired goes, and its key with it. */
static int
look_for_key(struct sqlite *sqlite, struct ledger_entry *entry)
{
	const struct job_spec *spec = entry->job->spec;
	struct row row;
	bool found;

	if (spec->idempotency_key == NULL)
		return SQLITE_OK;
	int rc = begin_row(&sqlite->writer, FIND_KEY, &row);
	if (rc != SQLITE_OK)
		return rc;
	row_text(&row, spec->idempotency_key);
	row_text(&row, spec->owner);
	rc = step_row(&row);
	if (rc != SQLITE_ROW) {
		sqlite3_reset(row.statement);
		return rc == SQLITE_DONE ? SQLITE_OK : rc;
	}
	int64_t seq = sqlite3_column_int64(row.statement, 0), tail = sqlite3_column_int64(row.statement, 1);
	int64_t expires = sqlite3_column_int64(row.statement, 3); /* of one that is not done NULL, which is 0 */
	const void *fingerprint = sqlite3_column_blob(row.statement, 2);
	entry->existing = id_make((uint64_t)seq, (uint64_t)tail);
	entry->same = fingerprint != NULL && sqlite3_column_bytes(row.statement, 2) == 32 &&
		memcmp(fingerprint, spec->fingerprint, 32) == 0;
	sqlite3_reset(row.statement);
	if (expires == 0 || expires > steady_wall_ms()) {
		entry->error = -EEXIST;
		return SQLITE_ROW;
	}
	sqlite->change.expired++;
	return remove_job(sqlite, seq, tail, &found);
}

static int
add_tags(struct writer *writer, const struct job_spec *spec, int64_t seq)
{
	struct row row;
	int rc = SQLITE_OK;

	for (size_t i = 0; rc == SQLITE_OK && i < spec->tag_count; i++) {
		rc = begin_row(writer, ADD_TAG, &row);
		if (rc != SQLITE_OK)
			break;
		row_text(&row, spec->tags[i]);
		row_int(&row, seq);
		rc = run_row(&row);
	}
	return rc;
}

static int
add_request_body(struct writer *writer, const struct job_spec *spec, int64_t seq)
{
	struct row row;
	int rc = begin_row(writer, ADD_BODY, &row);

	if (rc != SQLITE_OK)
		return rc;
	row_int(&row, seq);
	row_blob(&row, spec->body == NULL ? "" : spec->body, spec->body_bytes);
	return run_row(&row);
}

static int
add_job(struct writer *writer, const struct job *job, int64_t seq)
{
	struct row row;
	int rc = begin_row(writer, ADD_JOB, &row);

	if (rc != SQLITE_OK)
		return rc;
	row_int(&row, seq);
	row_int(&row, (int64_t)id_tail(&job->id));
	row_int(&row, job->created_wall_ms);
	row_int(&row, job->run_at_wall_ms);
	sqlite_bind_spec(&row, job->spec);
	return run_row(&row);
}

static int
write_add(struct sqlite *sqlite, struct ledger_entry *entry)
{
	struct writer *writer = &sqlite->writer;
	const struct job_spec *spec = entry->job->spec;
	int64_t seq = seq_of(&entry->job->id);

	int rc = look_for_key(sqlite, entry);
	if (rc == SQLITE_ROW)
		return SQLITE_OK; /* not added, and told so */
	if (rc == SQLITE_OK && entry->only_existing) {
		entry->error = -EDQUOT;
		return SQLITE_OK;
	}
	if (rc == SQLITE_OK)
		rc = add_job(writer, entry->job, seq);
	if (rc == SQLITE_OK)
		rc = run_for(writer, ADD_LIVE, seq);
	if (rc == SQLITE_OK && spec->has_body)
		rc = add_request_body(writer, spec, seq);
	if (rc == SQLITE_OK)
		rc = add_tags(writer, spec, seq);
	sqlite->change.jobs++;
	return rc;
}

/* ---- changes of a live one, and its end */

static int
write_change(struct writer *writer, const struct ledger_entry *entry)
{
	const struct ledger_start *start = &entry->start;
	struct row row;
	int rc = begin_row(writer, CHANGE_LIVE, &row);

	if (rc != SQLITE_OK)
		return rc;
	row_int(&row, seq_of(&entry->job->id));
	row_text(&row, job_state_name(entry->verb == LEDGER_START ? JOB_running : JOB_queued));
	row_int(&row, start->version);
	row_or_null(&row, start->started_wall_ms);
	row_or_null(&row, start->attempt_started_wall_ms);
	row_int(&row, start->crashes);
	return run_row(&row);
}

static int
add_attempt(struct writer *writer, const struct attempt *attempt, int64_t seq)
{
	struct row row;
	int rc = begin_row(writer, ADD_ATTEMPT, &row);

	if (rc != SQLITE_OK)
		return rc;
	row_int(&row, seq);
	sqlite_bind_attempt(&row, attempt);
	return run_row(&row);
}

/* A body in a file is named by the last part of its path. */
static const char *
file_of(const struct response *response)
{
	if (response == NULL || response->body.path == NULL)
		return NULL;
	const char *slash = strrchr(response->body.path, '/');
	return slash == NULL ? response->body.path : slash + 1;
}

static int
add_result(struct sqlite *sqlite, const struct ledger_entry *entry, int64_t seq)
{
	struct writer *writer = &sqlite->writer;
	const struct ledger_end *end = &entry->end;
	const char *file = file_of(end->response);
	struct row row;
	int rc = begin_row(writer, ADD_RESULT, &row);

	if (rc != SQLITE_OK)
		return rc;
	row_int(&row, seq);
	row_text(&row, job_state_name(end->state));
	row_int(&row, end->version);
	row_or_null(&row, end->started_wall_ms);
	row_int(&row, end->finished_wall_ms);
	row_int(&row, end->expires_wall_ms);
	row_int(&row, (int64_t)end->finish_order);
	row_int(&row, end->received_bytes);
	row_not_negative(&row, end->total_bytes);
	sqlite_bind_error(&row, &end->error);
	sqlite_bind_response(&row, end->response, file);
	rc = run_row(&row);
	sqlite3_clear_bindings(row.statement); /* the body does not outlive the entry */
	if (file != NULL)
		sqlite->change.disk_bytes += end->response->body.bytes;
	return rc;
}

static int
write_end(struct sqlite *sqlite, struct ledger_entry *entry)
{
	struct writer *writer = &sqlite->writer;
	int64_t seq = seq_of(&entry->job->id);

	int rc = run_for(writer, REMOVE_LIVE, seq);
	if (rc == SQLITE_OK && sqlite3_changes(writer->db) == 0) {
		entry->error = -ENOENT;
		return SQLITE_OK;
	}
	if (rc == SQLITE_OK && entry->job->spec->has_body)
		rc = run_for(writer, REMOVE_BODY, seq); /* it is never sent again, nor read back */
	if (rc == SQLITE_OK)
		rc = add_result(sqlite, entry, seq);
	if (rc == SQLITE_OK && entry->end.attempt != NULL)
		rc = add_attempt(writer, entry->end.attempt, seq);
	sqlite->change.finished++;
	return rc;
}

/* ---- removal */

static int
remove_tags(struct writer *writer, char *tags, int64_t seq)
{
	struct row row;
	int rc = SQLITE_OK;

	for (char *tag = tags, *end; rc == SQLITE_OK && (end = strchr(tag, '\n')) != NULL; tag = end + 1) {
		rc = begin_row(writer, REMOVE_TAG, &row);
		if (rc != SQLITE_OK)
			break;
		*end = '\0';
		row_text(&row, tag);
		row_int(&row, seq);
		rc = run_row(&row);
	}
	return rc;
}

/* The result, when there is one, with its attempts; its file goes after the commit. */
static int
remove_result(struct sqlite *sqlite, int64_t seq)
{
	struct writer *writer = &sqlite->writer;
	struct row row;
	int rc = begin_row(writer, FIND_RESULT, &row);

	if (rc != SQLITE_OK)
		return rc;
	row_int(&row, seq);
	rc = step_row(&row);
	if (rc == SQLITE_ROW) {
		const char *file = (const char *)sqlite3_column_text(row.statement, 0);

		sqlite->change.finished--;
		if (file != NULL) {
			sqlite->change.disk_bytes -= sqlite3_column_int64(row.statement, 1);
			sqlite_bodies_note(sqlite, file);
		}
	}
	sqlite3_reset(row.statement);
	if (rc != SQLITE_ROW)
		return rc == SQLITE_DONE ? SQLITE_OK : rc;
	rc = run_for(writer, REMOVE_RESULT, seq);
	return rc == SQLITE_OK ? run_for(writer, REMOVE_ATTEMPTS, seq) : rc;
}

static int
remove_job(struct sqlite *sqlite, int64_t seq, int64_t tail, bool *ret_found)
{
	struct writer *writer = &sqlite->writer;
	struct row row;
	char *tags = NULL;
	bool body = false;
	int rc = begin_row(writer, FIND_REMOVED, &row);

	if (rc != SQLITE_OK)
		return rc;
	row_int(&row, seq);
	row_int(&row, tail);
	rc = step_row(&row);
	*ret_found = rc == SQLITE_ROW;
	if (*ret_found) {
		const char *lines = (const char *)sqlite3_column_text(row.statement, 0);

		tags = lines == NULL ? NULL : strdup(lines);
		body = sqlite3_column_type(row.statement, 1) != SQLITE_NULL;
		rc = lines != NULL && tags == NULL ? SQLITE_NOMEM : SQLITE_OK;
	}
	sqlite3_reset(row.statement);
	if (*ret_found && rc == SQLITE_OK)
		rc = remove_result(sqlite, seq);
	if (*ret_found && rc == SQLITE_OK)
		rc = run_for(writer, REMOVE_LIVE, seq);
	if (rc == SQLITE_OK && body)
		rc = run_for(writer, REMOVE_BODY, seq);
	if (rc == SQLITE_OK && tags != NULL)
		rc = remove_tags(writer, tags, seq);
	if (*ret_found && rc == SQLITE_OK)
		rc = run_for(writer, REMOVE_JOB, seq);
	sqlite->change.jobs -= *ret_found;
	free(tags);
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

int
sqlite_write_expiry(struct sqlite *sqlite, int64_t before_wall_ms, int limit, int *ret_count)
{
	struct {
		int64_t seq, tail;
	} expired[1000];
	struct row row;
	int count = 0, max = (int)(sizeof expired / sizeof *expired);
	bool found;
	int rc = begin_row(&sqlite->writer, FIND_EXPIRED, &row);

	*ret_count = 0;
	if (rc != SQLITE_OK)
		return rc;
	row_int(&row, before_wall_ms);
	row_int(&row, limit < max ? limit : max);
	while ((rc = step_row(&row)) == SQLITE_ROW && count < max) {
		expired[count].seq = sqlite3_column_int64(row.statement, 0);
		expired[count++].tail = sqlite3_column_int64(row.statement, 1);
	}
	sqlite3_reset(row.statement);
	if (rc == SQLITE_DONE)
		rc = SQLITE_OK;
	for (int i = 0; rc == SQLITE_OK && i < count; i++)
		rc = remove_job(sqlite, expired[i].seq, expired[i].tail, &found);
	sqlite->change.expired += count;
	*ret_count = count;
	return rc;
}

/* ---- any entry */

int
sqlite_write_entry(struct sqlite *sqlite, struct ledger_entry *entry)
{
	entry->error = 0;
	switch (entry->verb) {
	case LEDGER_ADD:
		return write_add(sqlite, entry);
	case LEDGER_START:
	case LEDGER_REQUEUE:
		return write_change(&sqlite->writer, entry);
	case LEDGER_END:
		return write_end(sqlite, entry);
	case LEDGER_REMOVE:
		return remove_job(sqlite, seq_of(&entry->job->id), (int64_t)id_tail(&entry->job->id), &entry->found);
	}
	return SQLITE_MISUSE;
}
