/*
 * Jobs are found and listed: on connections of their own, which only read, taken from a pool by whichever thread asks.
 * What they see is what was committed.
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "ledger/sqlite_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

enum { FIND_JOB, FIND_ATTEMPTS, FIND_BODY, FIND_REQUEST_BODY, NEXT_EXPIRY, RECOVER, BEGIN, END, STATEMENT_COUNT };

#define JOB_COLUMNS                                                                                                    \
	"jobs.seq, jobs.tail, jobs.created_at, jobs.run_at, "                                                          \
	"live.state, live.version, live.started_at, live.attempt_started_at, live.crashes, "                           \
	"results.state, results.version, results.started_at, results.finished_at, results.expires_at, "                \
	" results.finish_order, results.received_bytes, results.total_bytes, "                                         \
	"results.error, results.error_phase, results.error_message, "                                                  \
	"results.status, results.response_url, results.response_headers, results.body_bytes, results.body_sha256, "    \
	"results.body_is_text, results.body_file, "
#define RETRY_EXPIRY_MS 60000 /* when it cannot be read */

#define AT_LIVE 4
#define AT_RESULT 9
#define AT_ERROR 17
#define AT_RESPONSE 20
#define AT_SPEC 27

static const char *const texts[STATEMENT_COUNT] = {
	[FIND_JOB] = "SELECT " JOB_COLUMNS SPEC_COLUMNS " FROM jobs LEFT JOIN live ON live.seq = jobs.seq "
		     "LEFT JOIN results ON results.seq = jobs.seq WHERE jobs.seq = ? AND jobs.tail = ?",
	[FIND_ATTEMPTS] = "SELECT " ATTEMPT_COLUMNS " FROM attempts WHERE seq = ? ORDER BY number",
	[FIND_BODY] = "SELECT body FROM results WHERE seq = ?",
	[FIND_REQUEST_BODY] = "SELECT body FROM request_bodies WHERE seq = ?",
	[NEXT_EXPIRY] = "SELECT min(expires_at) FROM results WHERE expires_at > ?",
	[RECOVER] = "SELECT " JOB_COLUMNS SPEC_COLUMNS " FROM live LEFT JOIN jobs ON jobs.seq = live.seq "
		    "LEFT JOIN results ON FALSE WHERE live.seq > ? ORDER BY live.seq LIMIT ?",
	[BEGIN] = "BEGIN",
	[END] = "COMMIT",
};

struct reader {
	struct reader *next;
	sqlite3 *db;
	sqlite3_stmt *statements[STATEMENT_COUNT];
};

/* ---- the pool */

static void
reader_close(struct reader *reader)
{
	for (int i = 0; i < STATEMENT_COUNT; i++)
		sqlite3_finalize(reader->statements[i]);
	sqlite3_close(reader->db);
	free(reader);
}

static void
complain(const struct sqlite *sqlite, const struct reader *reader, int rc)
{
	log_error("%s cannot be read: %s", sqlite->path,
		reader == NULL || reader->db == NULL || sqlite3_errcode(reader->db) == SQLITE_OK
			? sqlite3_errstr(rc)
			: sqlite3_errmsg(reader->db));
}

static struct reader *
reader_new(const struct sqlite *sqlite)
{
	struct reader *reader = calloc(1, sizeof *reader);
	int rc = SQLITE_NOMEM;

	if (reader != NULL)
		rc = sqlite_schema_open_reader(sqlite->path, &reader->db);
	for (int i = 0; rc == SQLITE_OK && i < STATEMENT_COUNT; i++)
		rc = sqlite3_prepare_v3(
			reader->db, texts[i], -1, SQLITE_PREPARE_PERSISTENT, &reader->statements[i], NULL);
	if (rc == SQLITE_OK)
		return reader;
	complain(sqlite, reader, rc);
	if (reader != NULL)
		reader_close(reader);
	return NULL;
}

static void
readers_left(struct sqlite *sqlite)
{
	sqlite->readers_active--;
	if (sqlite->readers_held)
		cond_broadcast(&sqlite->readers_changed);
}

/* Begins or ends the transaction. False when that failed: one left open would see the same for ever, and pin the log. */
static bool
turn_transaction(struct reader *reader, int which)
{
	sqlite3_step(reader->statements[which]);
	sqlite3_reset(reader->statements[which]);
	return (sqlite3_get_autocommit(reader->db) == 0) == (which == BEGIN);
}

/* A connection with a transaction begun, so that all that is read is of one moment; NULL (told on the log) when it fails. */
static struct reader *
reader_take(struct sqlite *sqlite)
{
	lock_take(&sqlite->readers_lock);
	while (sqlite->readers_held)
		cond_wait(&sqlite->readers_changed, &sqlite->readers_lock);
	sqlite->readers_active++;
	struct reader *reader = sqlite->readers;
	if (reader != NULL)
		sqlite->readers = reader->next;
	lock_drop(&sqlite->readers_lock);
	if (reader == NULL)
		reader = reader_new(sqlite);
	if (reader != NULL && turn_transaction(reader, BEGIN))
		return reader;
	if (reader != NULL) {
		complain(sqlite, reader, sqlite3_errcode(reader->db));
		reader_close(reader);
	}
	lock_take(&sqlite->readers_lock);
	readers_left(sqlite);
	lock_drop(&sqlite->readers_lock);
	return NULL;
}

/* rc is what reading came to: after a failure the connection is not used again. Returns 0 or -EIO. */
static int
reader_give(struct sqlite *sqlite, struct reader *reader, int rc)
{
	bool good = (rc == SQLITE_OK || rc == SQLITE_DONE || rc == SQLITE_ROW) && turn_transaction(reader, END);

	if (!good) {
		complain(sqlite, reader, rc);
		reader_close(reader);
	}
	lock_take(&sqlite->readers_lock);
	if (good) {
		reader->next = sqlite->readers;
		sqlite->readers = reader;
	}
	readers_left(sqlite);
	lock_drop(&sqlite->readers_lock);
	return good ? 0 : -EIO;
}

bool
sqlite_readers_hold(struct sqlite *sqlite, int64_t due_mono_ms)
{
	bool alone = true;

	lock_take(&sqlite->readers_lock);
	sqlite->readers_held = true;
	while (alone && sqlite->readers_active > 0)
		alone = cond_wait_until(&sqlite->readers_changed, &sqlite->readers_lock, due_mono_ms);
	lock_drop(&sqlite->readers_lock);
	if (!alone)
		sqlite_readers_release(sqlite);
	return alone;
}

void
sqlite_readers_release(struct sqlite *sqlite)
{
	lock_take(&sqlite->readers_lock);
	sqlite->readers_held = false;
	cond_broadcast(&sqlite->readers_changed);
	lock_drop(&sqlite->readers_lock);
}

void
sqlite_readers_close(struct sqlite *sqlite)
{
	for (struct reader *reader; (reader = sqlite->readers) != NULL;) {
		sqlite->readers = reader->next;
		reader_close(reader);
	}
}

/* ---- a job out of a row */

static bool
fill_live(struct job *job, sqlite3_stmt *statement)
{
	enum job_state state;

	if (!sqlite_read_state(statement, AT_LIVE, &state) || job_state_done(state))
		return false;
	atomic_store(&job->state, state);
	job->version = (uint32_t)sqlite3_column_int64(statement, AT_LIVE + 1);
	job->started_wall_ms = sqlite3_column_int64(statement, AT_LIVE + 2);
	job->attempt_started_wall_ms = sqlite3_column_int64(statement, AT_LIVE + 3);
	job->crashes = (unsigned)sqlite3_column_int64(statement, AT_LIVE + 4);
	return true;
}

static bool
fill_result(struct job *job, sqlite3_stmt *statement, const char *bodies)
{
	enum job_state state;

	if (!sqlite_read_state(statement, AT_RESULT, &state) || !job_state_done(state))
		return false;
	atomic_store(&job->state, state);
	job->version = (uint32_t)sqlite3_column_int64(statement, AT_RESULT + 1);
	job->started_wall_ms = sqlite3_column_int64(statement, AT_RESULT + 2);
	job->finished_wall_ms = sqlite3_column_int64(statement, AT_RESULT + 3);
	job->expires_wall_ms = sqlite3_column_int64(statement, AT_RESULT + 4);
	job->finish_order = (uint64_t)sqlite3_column_int64(statement, AT_RESULT + 5);
	job->final_received_bytes = sqlite3_column_int64(statement, AT_RESULT + 6);
	job->final_total_bytes = sqlite3_column_type(statement, AT_RESULT + 7) == SQLITE_NULL
		? -1
		: sqlite3_column_int64(statement, AT_RESULT + 7);
	if (!sqlite_read_error(statement, AT_ERROR, &job->error))
		return false;
	if (sqlite3_column_type(statement, AT_RESPONSE) == SQLITE_NULL)
		return true;
	job->response = sqlite_read_response(statement, AT_RESPONSE, bodies);
	return job->response != NULL;
}

/* A job of the current row; NULL when memory runs out or the row makes no sense. */
static struct job *
read_job(const struct sqlite *sqlite, sqlite3_stmt *statement)
{
	struct job_spec *spec = sqlite_read_spec(statement, AT_SPEC);
	struct job *job = spec == NULL ? NULL : job_new(spec);

	if (job == NULL) {
		job_spec_free(spec);
		return NULL;
	}
	job->id = id_make((uint64_t)sqlite3_column_int64(statement, 0), (uint64_t)sqlite3_column_int64(statement, 1));
	job->created_wall_ms = sqlite3_column_int64(statement, 2);
	job->run_at_wall_ms = sqlite3_column_int64(statement, 3);
	bool done = sqlite3_column_type(statement, AT_RESULT) != SQLITE_NULL;
	if (!(done ? fill_result(job, statement, sqlite->bodies) : fill_live(job, statement))) {
		job_unref(job);
		return NULL;
	}
	return job;
}

static int
read_attempts(struct reader *reader, struct job *job)
{
	sqlite3_stmt *statement = reader->statements[FIND_ATTEMPTS];
	int rc;

	sqlite3_bind_int64(statement, 1, (int64_t)id_stamp(&job->id));
	while ((rc = sqlite3_step(statement)) == SQLITE_ROW) {
		struct attempt *attempt = sqlite_read_attempt(statement, 0);

		if (attempt == NULL) {
			rc = SQLITE_NOMEM;
			break;
		}
		job_add_attempt(job, attempt);
	}
	sqlite3_reset(statement);
	return rc;
}

static int
read_body(struct reader *reader, const struct job *job, struct body *body)
{
	sqlite3_stmt *statement = reader->statements[FIND_BODY];

	sqlite3_bind_int64(statement, 1, (int64_t)id_stamp(&job->id));
	int rc = sqlite3_step(statement);
	if (rc == SQLITE_ROW) {
		const void *bytes = sqlite3_column_blob(statement, 0);
		size_t count = (size_t)sqlite3_column_bytes(statement, 0);

		body->data = malloc(count + 1);
		if (body->data == NULL || (int64_t)count != body->bytes)
			rc = body->data == NULL ? SQLITE_NOMEM : SQLITE_CORRUPT;
		else if (count > 0)
			memcpy(body->data, bytes, count);
	}
	sqlite3_reset(statement);
	return rc == SQLITE_DONE ? SQLITE_CORRUPT : rc;
}

static int
find_job(struct sqlite *sqlite, struct reader *reader, const struct id *id, enum ledger_depth depth, struct job **ret)
{
	sqlite3_stmt *statement = reader->statements[FIND_JOB];

	*ret = NULL;
	sqlite3_bind_int64(statement, 1, (int64_t)id_stamp(id));
	sqlite3_bind_int64(statement, 2, (int64_t)id_tail(id));
	int rc = sqlite3_step(statement);
	if (rc == SQLITE_ROW && (*ret = read_job(sqlite, statement)) == NULL)
		rc = SQLITE_CORRUPT;
	sqlite3_reset(statement);
	struct job *job = *ret;
	if (job != NULL)
		job->summary = depth != LEDGER_WHOLE;
	if (job != NULL && depth >= LEDGER_ATTEMPTS)
		rc = read_attempts(reader, job);
	if (job != NULL && depth == LEDGER_WHOLE && job->response != NULL && job->response->body.path == NULL &&
		(rc == SQLITE_DONE || rc == SQLITE_ROW))
		rc = read_body(reader, job, &job->response->body);
	return rc;
}

int
sqlite_find(struct ledger *ledger, const struct id *id, enum ledger_depth depth, struct job **ret)
{
	struct sqlite *sqlite = sqlite_of(ledger);
	struct job *job = NULL;

	if (id->bytes[6] >> 4 != 7)
		return -ENOENT; /* none that we made */
	struct reader *reader = reader_take(sqlite);
	if (reader == NULL)
		return -EIO;
	int rc = find_job(sqlite, reader, id, depth, &job);
	if (reader_give(sqlite, reader, rc) != 0) {
		if (job != NULL)
			job_unref(job);
		return -EIO;
	}
	*ret = job;
	return job == NULL ? -ENOENT : 0;
}

/* ---- recovery */

static int
read_request_body(struct reader *reader, struct job *job)
{
	sqlite3_stmt *statement = reader->statements[FIND_REQUEST_BODY];
	struct job_spec *spec = job->spec;

	if (!spec->has_body)
		return SQLITE_OK;
	sqlite3_bind_int64(statement, 1, (int64_t)id_stamp(&job->id));
	int rc = sqlite3_step(statement);
	if (rc == SQLITE_ROW && (size_t)sqlite3_column_bytes(statement, 0) == spec->body_bytes) {
		const void *bytes = sqlite3_column_blob(statement, 0);

		spec->body = arena_copy(&spec->arena, bytes == NULL ? "" : bytes, spec->body_bytes);
		rc = spec->body == NULL ? SQLITE_NOMEM : SQLITE_OK;
	} else if (rc == SQLITE_ROW || rc == SQLITE_DONE) {
		rc = SQLITE_CORRUPT;
	}
	sqlite3_reset(statement);
	return rc;
}

int
sqlite_recover(struct ledger *ledger, const struct id *after, struct job **jobs, size_t limit)
{
	struct sqlite *sqlite = sqlite_of(ledger);
	struct reader *reader = reader_take(sqlite);
	size_t count = 0;
	int rc;

	if (reader == NULL)
		return -EIO;
	sqlite3_stmt *statement = reader->statements[RECOVER];
	sqlite3_bind_int64(statement, 1, after == NULL ? -1 : (int64_t)id_stamp(after));
	sqlite3_bind_int64(statement, 2, (int64_t)limit);
	while ((rc = sqlite3_step(statement)) == SQLITE_ROW) {
		struct job *job = read_job(sqlite, statement);

		if (job == NULL || (rc = read_request_body(reader, job)) != SQLITE_OK) {
			if (job != NULL)
				job_unref(job);
			rc = job == NULL ? SQLITE_CORRUPT : rc;
			break;
		}
		jobs[count++] = job;
	}
	sqlite3_reset(statement);
	if (reader_give(sqlite, reader, rc) == 0)
		return (int)count;
	while (count > 0)
		job_unref(jobs[--count]);
	return -EIO;
}

int64_t
sqlite_next_expiry(struct sqlite *sqlite, int64_t after_wall_ms)
{
	struct reader *reader = reader_take(sqlite);
	int64_t next = INT64_MAX;

	if (reader == NULL)
		return after_wall_ms + RETRY_EXPIRY_MS;
	sqlite3_stmt *statement = reader->statements[NEXT_EXPIRY];
	sqlite3_bind_int64(statement, 1, after_wall_ms);
	int rc = sqlite3_step(statement);
	if (rc == SQLITE_ROW && sqlite3_column_type(statement, 0) != SQLITE_NULL)
		next = sqlite3_column_int64(statement, 0);
	sqlite3_reset(statement);
	return reader_give(sqlite, reader, rc) == 0 ? next : after_wall_ms + RETRY_EXPIRY_MS;
}

/* ---- lists */

/*
 * A way is one ordered walk through the jobs: by a tag, by the host, by the owner, by one done state, through the live ones or
 * through all.
 * Each is an index in the order of ids. What the filter asks besides is looked at on the way.
 */

/* The states as a condition on columns that hold the state of a live job, or of a result. */
static void
append_states(struct buffer *sql, unsigned states)
{
	unsigned done = states & ~LEDGER_LIVE_STATES;

	if (states == 0)
		return;
	buffer_append_string(sql, " AND (FALSE");
	if ((states & LEDGER_LIVE_STATES) != 0)
		buffer_append_string(sql, " OR EXISTS (SELECT 1 FROM live WHERE live.seq = jobs.seq)");
	/* The index alone tells: the rows of results are large. */
	if (done != 0)
		buffer_append_string(sql,
			" OR EXISTS (SELECT 1 FROM results INDEXED BY results_by_state "
			"WHERE results.seq = jobs.seq AND results.state IN (''");
	for (int i = 0; i < JOB_STATE_COUNT; i++)
		if ((done & 1u << i) != 0)
			buffer_printf(sql, ", '%s'", job_state_name((enum job_state)i));
	buffer_append_string(sql, done != 0 ? ")))" : ")");
}

/* Marks: ?1 below this seq, ?2 limit, ?3 tag, ?4 host, ?5 port, ?6 owner. */
static void
append_way(struct buffer *sql, const struct ledger_filter *filter, const char *from, const char *seq, unsigned states)
{
	sql->count = 0;
	buffer_printf(sql, "SELECT jobs.seq, jobs.tail FROM %s WHERE %s < ?1", from, seq);
	if (filter->tag != NULL)
		buffer_append_string(sql, " AND tags.tag = ?3");
	if (filter->host != NULL)
		buffer_append_string(sql, " AND jobs.host = ?4");
	if (filter->port != 0)
		buffer_append_string(sql, " AND jobs.port = ?5");
	if (filter->owner != NULL)
		buffer_append_string(sql, " AND jobs.owner = ?6");
	append_states(sql, states);
	buffer_printf(sql, " ORDER BY %s DESC LIMIT ?2", seq);
}

static int
id_after(const void *a, const void *b)
{
	return id_compare(b, a);
}

/* Appends what the way gives to ids, sorts, and keeps the newest limit. */
static int
follow_way(struct reader *reader, const struct buffer *sql, const struct ledger_filter *filter, int64_t below,
	struct id *ids, size_t *count, size_t limit)
{
	sqlite3_stmt *statement;
	size_t before = *count;
	int rc = sql->failed ? SQLITE_NOMEM
			     : sqlite3_prepare_v2(reader->db, sql->data, (int)sql->count, &statement, NULL);

	if (rc != SQLITE_OK)
		return rc;
	sqlite3_bind_int64(statement, 1, below);
	sqlite3_bind_int64(statement, 2, (int64_t)limit);
	if (filter->tag != NULL)
		sqlite3_bind_text(statement, 3, filter->tag, -1, SQLITE_STATIC);
	if (filter->host != NULL)
		sqlite3_bind_text(statement, 4, filter->host, -1, SQLITE_STATIC);
	if (filter->port != 0)
		sqlite3_bind_int(statement, 5, filter->port);
	if (filter->owner != NULL)
		sqlite3_bind_text(statement, 6, filter->owner, -1, SQLITE_STATIC);
	while ((rc = sqlite3_step(statement)) == SQLITE_ROW)
		ids[(*count)++] = id_make(
			(uint64_t)sqlite3_column_int64(statement, 0), (uint64_t)sqlite3_column_int64(statement, 1));
	sqlite3_finalize(statement);
	if (before > 0)
		qsort(ids, *count, sizeof *ids, id_after);
	if (*count > limit)
		*count = limit;
	return rc;
}

/*
 * One way when there is a tag, a host or no state to go by; else one through each state asked for. Done jobs of an owner are
 * found by the owner, so that it takes no longer for what others have there.
 */
static int
list_ways(struct reader *reader, const struct ledger_filter *filter, int64_t below, struct id *ids, size_t *count,
	size_t limit)
{
	struct buffer sql = {0};
	unsigned states = filter->states;
	int rc = SQLITE_DONE;

	bool done_too = (states & ~LEDGER_LIVE_STATES) != 0 || states == 0;

	if (filter->tag != NULL || filter->host != NULL || states == 0 || (filter->owner != NULL && done_too)) {
		append_way(&sql, filter,
			filter->tag != NULL             ? "tags CROSS JOIN jobs ON jobs.seq = tags.seq"
				: filter->host != NULL  ? "jobs INDEXED BY jobs_by_host"
				: filter->owner != NULL ? "jobs INDEXED BY jobs_by_owner"
							: "jobs",
			filter->tag != NULL ? "tags.seq" : "jobs.seq", states);
		rc = follow_way(reader, &sql, filter, below, ids, count, limit);
		states = 0;
	}
	if ((states & LEDGER_LIVE_STATES) != 0) {
		append_way(&sql, filter, "live CROSS JOIN jobs ON jobs.seq = live.seq", "live.seq", 0);
		rc = follow_way(reader, &sql, filter, below, ids, count, limit);
	}
	for (int i = 0; rc == SQLITE_DONE && i < JOB_STATE_COUNT; i++) {
		char from[128];

		if ((states & ~LEDGER_LIVE_STATES & 1u << i) == 0)
			continue;
		snprintf(from, sizeof from,
			"results INDEXED BY results_by_state CROSS JOIN jobs ON jobs.seq = results.seq AND "
			"results.state = '%s'",
			job_state_name((enum job_state)i));
		append_way(&sql, filter, from, "results.seq", 0);
		rc = follow_way(reader, &sql, filter, below, ids, count, limit);
	}
	buffer_release(&sql);
	return rc;
}

int
sqlite_list(struct ledger *ledger, const struct ledger_filter *filter, const struct id *before, struct id *ids,
	size_t limit)
{
	struct sqlite *sqlite = sqlite_of(ledger);
	size_t count = 0;

	if (filter->batch != NULL || limit == 0)
		return 0; /* no job is in a batch yet */
	struct id *found = calloc(2 * limit, sizeof *found);
	struct reader *reader = found == NULL ? NULL : reader_take(sqlite);
	if (reader == NULL) {
		free(found);
		return -EIO;
	}
	int rc =
		list_ways(reader, filter, before == NULL ? INT64_MAX : (int64_t)id_stamp(before), found, &count, limit);
	int error = reader_give(sqlite, reader, rc);
	memcpy(ids, found, count * sizeof *ids);
	free(found);
	return error != 0 ? error : (int)count;
}
