/*
 * What the files of the SQLite ledger share. One connection on one thread writes and checkpoints (sqlite_writer.c,
 * sqlite_entries.c); all others only read (sqlite_read.c). Two writers at once would meet the WAL-reset bug of SQLite before 3.51.3
 * (sqlite.org/wal.html), so this is kept strictly.
 */
#ifndef FETCHPOOL_LEDGER_SQLITE_PRIVATE_H
#define FETCHPOOL_LEDGER_SQLITE_PRIVATE_H

#include <pthread.h>
#include <sqlite3.h>

#include "base/buffer.h"
#include "base/lock.h"
#include "ledger/ledger.h"

struct reader;

/* The writing connection and its statements, made when they are first needed. */
struct writer {
	sqlite3 *db;
	sqlite3_stmt *statements[32];
	struct buffer text;        /* for values that are put together */
	int wal_pages;             /* in the log, as of the last commit */
	bool wal_dirty;            /* some of them are not in the database yet */
	int checkpoint_at, cut_at; /* so many, and the log is taken in; and readers are kept out for it */
};

/* What a batch changes in the figures, once it is committed. */
struct usage_change {
	int64_t jobs, finished, disk_bytes, expired;
};

struct sqlite {
	struct ledger base;
	struct ledger_hooks hooks;
	char *path; /* of the database */
	const char *dir, *bodies;
	int bodies_fd; /* of that folder, to sync it */

	pthread_t thread, body_thread;
	bool thread_runs, body_thread_runs;

	struct writer writer; /* the writer's thread alone, once it runs */
	struct list held;     /* the same: entries that wait for room on the disk */
	struct list unlinks;  /* the same: files to remove after the commit */
	struct usage_change change;

	/* The lock, a leaf, guards the rest. */
	struct lock lock;
	struct cond changed;
	struct list arrivals;   /* new jobs to commit, whose clients wait: never behind a great many others */
	struct list inbox;      /* all else to commit */
	struct list lazy, aged; /* starts that are held back: new ones, and those passed over once */
	struct list skipped;    /* starts that were not needed in the end */
	struct list body_inbox; /* ends whose body is a file, to be synced first */
	struct list lost;       /* ends whose body could not be synced: for nobody any more */
	struct cond body_changed;
	int64_t sweep_before_wall_ms; /* remove what has expired until then; 0: nothing asked */
	bool idle;                    /* the writer sleeps */
	bool bodies_stopping, stopping, stopped, failed, full;
	char trouble[256]; /* why jobs are not taken in */
	struct ledger_usage usage;

	/* sqlite_read.c; its own lock, a leaf. */
	struct lock readers_lock;
	struct cond readers_changed;
	struct reader *readers; /* idle ones */
	size_t readers_active;
	bool readers_held; /* none may begin: the log is being cut */
};

static inline struct sqlite *
sqlite_of(struct ledger *ledger)
{
	return container_of(ledger, struct sqlite, base);
}

/* ---- sqlite_schema.c */

/* Opens the writing connection; makes or migrates the schema. Returns 0 or -errno with a message. */
int sqlite_schema_open(const char *path, sqlite3 **ret, char **ret_message) __attribute__((warn_unused_result));

/* One number that a statement gives. Returns an SQLite code. */
int sqlite_schema_number(sqlite3 *db, const char *sql, int64_t *ret);

/* A commit that changes nothing but is written. Returns an SQLite code. */
int sqlite_schema_touch(sqlite3 *db);

#define SQLITE_BUSY_TIMEOUT_MS 5000

/* Settings of a connection that only reads. Returns an SQLite code. */
int sqlite_schema_open_reader(const char *path, sqlite3 **ret) __attribute__((warn_unused_result));

/* ---- sqlite_entries.c: on the writer's thread; all return an SQLite code, SQLITE_OK for done */

int sqlite_exec(struct writer *writer, const char *sql);
int sqlite_write_entry(struct sqlite *sqlite, struct ledger_entry *entry);

/* Removes up to limit finished jobs that have expired by then; tells how many. */
int sqlite_write_expiry(struct sqlite *sqlite, int64_t before_wall_ms, int limit, int *ret_count);
void sqlite_write_release(struct writer *writer);

/* ---- sqlite_rows.c: structs as columns */

#define SPEC_COLUMNS                                                                                                   \
	"method, url, host, port, headers, \"authorization\", request_body_bytes, body_is_json, timeout_ms, "          \
	"connect_timeout_ms, first_byte_timeout_ms, idle_timeout_ms, queue_timeout_ms, deadline_ms, max_redirects, "   \
	"max_body_bytes, decompress, expect_status, expect_content_type, expect_sha256, priority, delay_ms, "          \
	"run_at_asked, ttl_ms, tags, meta, retry_unsafe, idempotency_key, fingerprint, owner, tls_ca, "                \
	"tls_client_cert, tls_insecure, proxy"
#define RESPONSE_COLUMNS "status, response_url, response_headers, body_bytes, body_sha256, body_is_text, body_file"
#define ATTEMPT_COLUMNS                                                                                                \
	"number, started_at, finished_at, status, error, error_phase, error_message, remote_ip, http_version, "        \
	"redirects, received_bytes, queue_ms, dns_ms, connect_ms, tls_ms, first_byte_ms, total_ms"

/*
 * The values of a statement, bound one after the other. What goes wrong is kept in rc, which is looked at once, before the statement
 * is run. Values are borrowed until it is reset.
 */
struct row {
	sqlite3_stmt *statement;
	int at; /* the index of the next one */
	int rc;
	struct buffer *text; /* for values that are put together */
};

void row_null(struct row *row);
void row_int(struct row *row, int64_t value);
void row_or_null(struct row *row, int64_t value);      /* 0 as NULL */
void row_not_negative(struct row *row, int64_t value); /* -1 as NULL */
void row_text(struct row *row, const char *text);      /* NULL as NULL */
void row_blob(struct row *row, const void *bytes, size_t count);

void sqlite_bind_spec(struct row *row, const struct job_spec *spec);
void sqlite_bind_error(struct row *row, const struct job_error *error);
void sqlite_bind_attempt(struct row *row, const struct attempt *attempt);

/* RESPONSE_COLUMNS and then the body: in the row, or in the file if it is not NULL. */
void sqlite_bind_response(struct row *row, const struct response *response, const char *file);

/* Reads from column at on. NULL (or false) when memory runs out or the row makes no sense. */
struct job_spec *sqlite_read_spec(sqlite3_stmt *statement, int at);
bool sqlite_read_error(sqlite3_stmt *statement, int at, struct job_error *ret);
struct response *sqlite_read_response(sqlite3_stmt *statement, int at, const char *bodies);
struct attempt *sqlite_read_attempt(sqlite3_stmt *statement, int at);
bool sqlite_read_state(sqlite3_stmt *statement, int at, enum job_state *ret);

/* ---- sqlite_read.c */

int sqlite_recover(struct ledger *ledger, const struct id *after, struct job **jobs, size_t limit);
int sqlite_find(struct ledger *ledger, const struct id *id, enum ledger_depth depth, struct job **ret);
int sqlite_list(struct ledger *ledger, const struct ledger_filter *filter, const struct id *before, struct id *ids,
	size_t limit);

/* The first time at which a finished job expires that comes after this one; INT64_MAX for none. */
int64_t sqlite_next_expiry(struct sqlite *sqlite, int64_t after_wall_ms);

/* Keeps readers out until sqlite_readers_release, once those that read have left; false when they have not in time. */
bool sqlite_readers_hold(struct sqlite *sqlite, int64_t due_mono_ms);
void sqlite_readers_release(struct sqlite *sqlite);
void sqlite_readers_close(struct sqlite *sqlite);

/* ---- sqlite_bodies.c: the files of large bodies */

/* Opens the folder, removes the files that no job names, and adds up the others. Before there are threads. Returns 0 or -errno. */
int sqlite_bodies_sweep(struct sqlite *sqlite);

/* The thread that syncs bodies, moves them to their names, and passes their ends on. */
void *sqlite_bodies_run(void *sqlite);

/* Notes the file of a job for sqlite_bodies_unlink, which removes what was noted, or forgets it. */
void sqlite_bodies_note(struct sqlite *sqlite, const char *file);
void sqlite_bodies_unlink(struct sqlite *sqlite, bool committed);

/* ---- sqlite_writer.c */

/* The writer's thread: until sqlite->stopping, or a failure. */
void *sqlite_writer_run(void *sqlite);

/* Minds the log of an open connection from now on. */
void sqlite_writer_init(struct writer *writer);

/* Nothing can be made durable any more: tells hooks.failed, and takes nothing in. Any thread. */
void sqlite_fail(struct sqlite *sqlite, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- sqlite.c */

/* Hands synced ends to the writer. */
void sqlite_pass_on(struct sqlite *sqlite, struct list *entries);

/* The names of the database, the marker of a failure, and the room in reserve. */
#define SQLITE_LEDGER_FILE "ledger.db"
#define SQLITE_FAILURE_FILE "ledger.failed"
#define SQLITE_RESERVE_FILE "ledger.reserve"

#endif
