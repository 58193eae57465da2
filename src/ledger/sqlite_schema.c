/* The database's shape: opened, made, migrated, checked. doc/ledger.md explains it to people. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "ledger/sqlite_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define APPLICATION_ID 0x46506c67 /* "FPlg" */
#define STRING(x) STRING_OF(x)
#define STRING_OF(x) #x

#define WRITER_CACHE_KIB "16000"
#define READER_CACHE_KIB "1000"

/* The log is cut back to this when it begins anew. */
#define JOURNAL_SIZE_LIMIT "67108864"

/* The textual form of an id out of its two numbers. (A generated column would be computed with every INSERT.) */
#define ID_TEXT                                                                                                        \
	"format('%08x-%04x-7%03x-%04x-%012x', jobs.seq >> 28, jobs.seq >> 12 & 0xffff, jobs.seq & 0xfff, "             \
	"jobs.tail >> 48 & 0xffff, jobs.tail & 0xffffffffffff)"

/*
 * Step N makes a database of version N out of one of version N - 1; a step that was released is never changed. Live jobs
 * and results are tables of their own, so that what was said once (a spec, a result) is written once and never moved.
 */
static const char *const migrations[] = {
	"CREATE TABLE jobs (\n"
	"  seq INTEGER PRIMARY KEY,  -- the first 60 bits of the id: milliseconds and a counter\n"
	"  tail INTEGER NOT NULL,    -- its last 64 bits\n"
	"  created_at INTEGER NOT NULL,  -- times are milliseconds since 1970-01-01T00:00:00Z\n"
	"  run_at INTEGER NOT NULL,\n"
	"  method TEXT NOT NULL, url TEXT NOT NULL, host TEXT NOT NULL, port INTEGER NOT NULL,\n"
	"  headers TEXT,  -- a line each, \"name: value\"\n"
	"  \"authorization\" TEXT,\n"
	"  request_body_bytes INTEGER, body_is_json INTEGER,\n"
	"  timeout_ms INTEGER, connect_timeout_ms INTEGER, first_byte_timeout_ms INTEGER, idle_timeout_ms INTEGER,\n"
	"  queue_timeout_ms INTEGER, deadline_ms INTEGER,\n"
	"  max_redirects INTEGER NOT NULL, max_body_bytes INTEGER NOT NULL, decompress INTEGER NOT NULL,\n"
	"  expect_status TEXT, expect_content_type TEXT, expect_sha256 BLOB,\n"
	"  priority INTEGER NOT NULL,\n"
	"  delay_ms INTEGER, run_at_asked INTEGER,\n"
	"  ttl_ms INTEGER NOT NULL,\n"
	"  tags TEXT,  -- a line each\n"
	"  meta TEXT,  -- JSON\n"
	"  retry_unsafe INTEGER,\n"
	"  idempotency_key TEXT, fingerprint BLOB\n"
	") STRICT;\n"
	"CREATE INDEX jobs_by_host ON jobs (host, seq, port);\n"
	"CREATE UNIQUE INDEX jobs_by_idempotency_key ON jobs (idempotency_key) WHERE idempotency_key IS NOT NULL;\n"
	"CREATE TABLE request_bodies (seq INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;\n"
	"CREATE TABLE tags (tag TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (tag, seq)) STRICT, WITHOUT ROWID;\n"
	"CREATE TABLE live (  -- jobs that are not done\n"
	"  seq INTEGER PRIMARY KEY,\n"
	"  state TEXT NOT NULL, version INTEGER NOT NULL,\n"
	"  started_at INTEGER, attempt_started_at INTEGER,\n"
	"  crashes INTEGER NOT NULL  -- in a row in which the job was running\n"
	") STRICT;\n"
	"CREATE TABLE results (  -- of jobs that are done\n"
	"  seq INTEGER PRIMARY KEY,\n"
	"  state TEXT NOT NULL, version INTEGER NOT NULL,\n"
	"  started_at INTEGER, finished_at INTEGER NOT NULL, expires_at INTEGER NOT NULL,\n"
	"  finish_order INTEGER NOT NULL,\n"
	"  received_bytes INTEGER NOT NULL, total_bytes INTEGER,\n"
	"  error TEXT, error_phase TEXT, error_message TEXT,\n"
	"  status INTEGER, response_url TEXT, response_headers TEXT,\n"
	"  body_bytes INTEGER, body_sha256 BLOB, body_is_text INTEGER,\n"
	"  body_file TEXT,  -- below bodies/, when the body is not in this row\n"
	"  body BLOB\n"
	") STRICT;\n"
	"CREATE INDEX results_by_state ON results (state);\n"
	"CREATE INDEX results_by_expiry ON results (expires_at);\n"
	"CREATE TABLE attempts (\n"
	"  seq INTEGER NOT NULL, number INTEGER NOT NULL,\n"
	"  started_at INTEGER NOT NULL, finished_at INTEGER,\n"
	"  status INTEGER, error TEXT, error_phase TEXT, error_message TEXT,\n"
	"  remote_ip TEXT, http_version TEXT,\n"
	"  redirects TEXT,  -- a line each, \"status url location\"\n"
	"  received_bytes INTEGER NOT NULL,\n"
	"  queue_ms INTEGER, dns_ms INTEGER, connect_ms INTEGER, tls_ms INTEGER, first_byte_ms INTEGER, total_ms INTEGER,\n"
	"  PRIMARY KEY (seq, number)\n"
	") STRICT, WITHOUT ROWID;\n"
	"CREATE VIEW overview AS SELECT " ID_TEXT
	" AS id, coalesce(results.state, live.state) AS state, jobs.method, jobs.url,\n"
	"  results.status, results.error, strftime('%Y-%m-%dT%H:%M:%fZ', jobs.created_at / 1000.0, 'unixepoch') AS created,\n"
	"  strftime('%Y-%m-%dT%H:%M:%fZ', results.finished_at / 1000.0, 'unixepoch') AS finished, jobs.tags, seq\n"
	"  FROM jobs LEFT JOIN live USING (seq) LEFT JOIN results USING (seq);\n"
	"PRAGMA application_id = " STRING(APPLICATION_ID) ";\n",

	/* Whose a job is, and how it is fetched. An idempotency key is one of its owner's. */
	"ALTER TABLE jobs ADD COLUMN owner TEXT;\n"
	"ALTER TABLE jobs ADD COLUMN tls_ca TEXT;\n"
	"ALTER TABLE jobs ADD COLUMN tls_client_cert TEXT;\n"
	"ALTER TABLE jobs ADD COLUMN tls_insecure INTEGER;\n"
	"ALTER TABLE jobs ADD COLUMN proxy TEXT;\n"
	"CREATE INDEX jobs_by_owner ON jobs (owner, seq) WHERE owner IS NOT NULL;\n"
	"DROP INDEX jobs_by_idempotency_key;\n"
	"CREATE UNIQUE INDEX jobs_by_idempotency_key ON jobs (idempotency_key, coalesce(owner, '')) "
	"WHERE idempotency_key IS NOT NULL;\n",
};
#define SCHEMA_VERSION ((int)(sizeof migrations / sizeof *migrations))

static int
fail(sqlite3 *db, const char *path, int rc, char **ret_message)
{
	int system = db == NULL ? 0 : sqlite3_system_errno(db);

	if (asprintf(ret_message, "%s: %s%s%s%s", path, db == NULL ? sqlite3_errstr(rc) : sqlite3_errmsg(db),
		    system != 0 ? " (" : "", system != 0 ? strerror(system) : "", system != 0 ? ")" : "") < 0)
		*ret_message = NULL;
	return -EIO;
}

static int
fail_with(const char *path, char **ret_message, const char *what)
{
	if (asprintf(ret_message, "%s %s", path, what) < 0)
		*ret_message = NULL;
	return -EINVAL;
}

int
sqlite_schema_number(sqlite3 *db, const char *sql, int64_t *ret)
{
	sqlite3_stmt *statement;
	int rc = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);

	if (rc != SQLITE_OK)
		return rc;
	rc = sqlite3_step(statement);
	if (rc == SQLITE_ROW)
		*ret = sqlite3_column_int64(statement, 0);
	sqlite3_finalize(statement);
	return rc == SQLITE_ROW ? SQLITE_OK : rc == SQLITE_DONE ? SQLITE_CORRUPT : rc;
}

/* What the file is: ours, and not newer than this program; or new. */
static int
recognise(sqlite3 *db, const char *path, int64_t *ret_version, char **ret_message)
{
	int64_t application = 0, tables = 0;

	int rc = sqlite_schema_number(db, "PRAGMA application_id", &application);
	if (rc == SQLITE_OK)
		rc = sqlite_schema_number(db, "PRAGMA user_version", ret_version);
	if (rc == SQLITE_OK)
		rc = sqlite_schema_number(db, "SELECT count(*) FROM sqlite_schema", &tables);
	if (rc != SQLITE_OK)
		return fail(db, path, rc, ret_message);
	if (application != APPLICATION_ID && (application != 0 || tables != 0 || *ret_version != 0))
		return fail_with(path, ret_message,
			"is a database of something else, not of fetchpool; move it away or give another --state-dir");
	if (*ret_version > SCHEMA_VERSION)
		return fail_with(path, ret_message,
			"was written by a newer fetchpool; start that version, or give another --state-dir");
	return 0;
}

static int
set_version(sqlite3 *db)
{
	char sql[64];

	snprintf(sql, sizeof sql, "PRAGMA user_version = %d", SCHEMA_VERSION);
	return sqlite3_exec(db, sql, NULL, NULL, NULL);
}

int
sqlite_schema_touch(sqlite3 *db)
{
	int rc = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);

	if (rc == SQLITE_OK)
		rc = set_version(db);
	return rc == SQLITE_OK ? sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) : rc;
}

static int
migrate(sqlite3 *db, int64_t version)
{
	int rc = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);

	for (; rc == SQLITE_OK && version < SCHEMA_VERSION; version++)
		rc = sqlite3_exec(db, migrations[version], NULL, NULL, NULL);
	if (rc == SQLITE_OK)
		rc = set_version(db);
	return rc == SQLITE_OK ? sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) : rc;
}

/* Of a new file, before anything is in it. */
static int
shape_file(sqlite3 *db)
{
	return sqlite3_exec(db, "PRAGMA page_size = 8192; PRAGMA auto_vacuum = INCREMENTAL", NULL, NULL, NULL);
}

/* Some file systems cannot have a write-ahead log; then SQLite stays with what it has, and says so by the name. */
static int
set_log(sqlite3 *db)
{
	sqlite3_stmt *statement;
	int rc = sqlite3_prepare_v2(db, "PRAGMA journal_mode = WAL", -1, &statement, NULL);

	if (rc != SQLITE_OK)
		return rc;
	rc = sqlite3_step(statement);
	if (rc == SQLITE_ROW) {
		const char *mode = (const char *)sqlite3_column_text(statement, 0);

		rc = mode != NULL && strcmp(mode, "wal") == 0 ? SQLITE_OK : SQLITE_CANTOPEN;
	}
	sqlite3_finalize(statement);
	return rc;
}

/* synchronous=FULL: each commit syncs the log before it is told. */
static int
configure_writer(sqlite3 *db)
{
	int64_t value;
	int rc = sqlite3_exec(db,
		"PRAGMA synchronous = FULL;"
		"PRAGMA secure_delete = FAST;" /* on by default in Debian: each removal would write its zeroes */
		"PRAGMA temp_store = MEMORY;"
		"PRAGMA trusted_schema = OFF;"
		"PRAGMA cache_size = -" WRITER_CACHE_KIB,
		NULL, NULL, NULL);

	if (rc == SQLITE_OK)
		rc = set_log(db);
	if (rc == SQLITE_OK)
		rc = sqlite_schema_number(db, "PRAGMA wal_autocheckpoint = 0", &value);
	if (rc == SQLITE_OK)
		rc = sqlite_schema_number(db, "PRAGMA journal_size_limit = " JOURNAL_SIZE_LIMIT, &value);
	return rc;
}

/* Requests with their secrets are in it. SQLite gives its log the mode of the database. */
static int
make_private(const char *path, char **ret_message)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	int error = fd < 0 ? -errno : 0;

	if (fd >= 0)
		close(fd);
	else if (asprintf(ret_message, "%s: %s", path, strerror(-error)) < 0)
		*ret_message = NULL;
	return error;
}

int
sqlite_schema_open(const char *path, sqlite3 **ret, char **ret_message)
{
	sqlite3 *db = NULL;
	int64_t version = 0;

	int error = make_private(path, ret_message);
	if (error != 0)
		return error;
	int rc = sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
	error = rc != SQLITE_OK ? fail(db, path, rc, ret_message) : 0;
	if (error == 0) {
		sqlite3_extended_result_codes(db, 1);
		sqlite3_busy_timeout(db, SQLITE_BUSY_TIMEOUT_MS);
		/* One that is refused stays as it is, its log too. */
		sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
		error = recognise(db, path, &version, ret_message);
	}
	if (error == 0)
		sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
	if (error == 0 && version == 0 && (rc = shape_file(db)) != SQLITE_OK)
		error = fail(db, path, rc, ret_message);
	if (error == 0 && (rc = configure_writer(db)) != SQLITE_OK)
		error = fail(db, path, rc, ret_message);
	if (error == 0 && sqlite3_db_readonly(db, "main") == 1)
		error = fail_with(
			path, ret_message, "cannot be written; see to its permissions and those of its directory");
	if (error == 0 && version < SCHEMA_VERSION && (rc = migrate(db, version)) != SQLITE_OK)
		error = fail(db, path, rc, ret_message);
	if (error != 0) {
		sqlite3_close(db);
		return error;
	}
	*ret = db;
	return 0;
}

int
sqlite_schema_open_reader(const char *path, sqlite3 **ret)
{
	sqlite3 *db = NULL;

	*ret = NULL;
	int rc = sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL);
	if (rc == SQLITE_OK) {
		sqlite3_extended_result_codes(db, 1);
		sqlite3_busy_timeout(db, SQLITE_BUSY_TIMEOUT_MS);
		rc = sqlite3_exec(db,
			"PRAGMA query_only = ON; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -" READER_CACHE_KIB,
			NULL, NULL, NULL);
	}
	if (rc != SQLITE_OK) {
		sqlite3_close(db);
		return rc;
	}
	*ret = db;
	return SQLITE_OK;
}

/* ---- the check */

struct check {
	void (*report)(void *context, const char *line);
	void *context;
	const char *bodies;
	int findings;
};

static void __attribute__((format(printf, 2, 3))) find_fault(struct check *check, const char *format, ...)
{
	char line[512];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof line, format, args);
	va_end(args);
	check->findings++;
	check->report(check->context, line);
}

static int
check_integrity(sqlite3 *db, struct check *check)
{
	sqlite3_stmt *statement;
	int rc = sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &statement, NULL);

	while (rc == SQLITE_OK && (rc = sqlite3_step(statement)) == SQLITE_ROW) {
		const char *line = (const char *)sqlite3_column_text(statement, 0);

		if (line == NULL || strcmp(line, "ok") != 0)
			find_fault(check, "%s", line == NULL ? "integrity_check fails" : line);
		rc = SQLITE_OK;
	}
	sqlite3_finalize(statement);
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

#define ORPHANS(table)                                                                                                 \
	"SELECT format('%d rows of " table " belong to no job', count(*)) FROM " table                                 \
	" WHERE seq NOT IN (SELECT seq FROM jobs) HAVING count(*) > 0"

/* What has to hold over all tables: each row that one of these gives is a finding, in words. */
static const char *const rules[] = {
	"SELECT format('job %s is neither live nor done, or both', " ID_TEXT ") FROM jobs "
	"WHERE (seq IN (SELECT seq FROM live)) + (seq IN (SELECT seq FROM results)) <> 1",
	"SELECT format('job %s lacks its request body', " ID_TEXT ") FROM live JOIN jobs USING (seq) "
	"WHERE request_body_bytes IS NOT NULL AND seq NOT IN (SELECT seq FROM request_bodies)",
	"SELECT format('the body of job %s has not the size it should have', " ID_TEXT ") "
	"FROM results JOIN jobs USING (seq) "
	"WHERE status IS NOT NULL AND body_file IS NULL AND length(body) IS NOT body_bytes",
	ORPHANS("live"),
	ORPHANS("results"),
	ORPHANS("attempts"),
	ORPHANS("tags"),
	ORPHANS("request_bodies"),
};

/* Each row that the statement gives is a finding. */
static int
check_rows(sqlite3 *db, struct check *check, const char *sql)
{
	sqlite3_stmt *statement;
	int rc = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);

	while (rc == SQLITE_OK && (rc = sqlite3_step(statement)) == SQLITE_ROW) {
		find_fault(check, "%s", (const char *)sqlite3_column_text(statement, 0));
		rc = SQLITE_OK;
	}
	sqlite3_finalize(statement);
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int
check_files(sqlite3 *db, struct check *check)
{
	sqlite3_stmt *statement;
	int rc = sqlite3_prepare_v2(
		db, "SELECT body_file, body_bytes FROM results WHERE body_file IS NOT NULL", -1, &statement, NULL);

	while (rc == SQLITE_OK && (rc = sqlite3_step(statement)) == SQLITE_ROW) {
		const char *file = (const char *)sqlite3_column_text(statement, 0);
		int64_t bytes = sqlite3_column_int64(statement, 1);
		char path[4096];
		struct stat status;

		snprintf(path, sizeof path, "%s/%s", check->bodies, file);
		if (stat(path, &status) != 0)
			find_fault(check, "%s: %s", path, strerror(errno));
		else if (status.st_size != bytes)
			find_fault(check, "%s has %lld bytes, not %lld", path, (long long)status.st_size,
				(long long)bytes);
		rc = SQLITE_OK;
	}
	sqlite3_finalize(statement);
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

int
ledger_sqlite_check(const char *dir, const char *bodies, void (*report)(void *context, const char *line), void *context,
	char **ret_message)
{
	struct check check = {.report = report, .context = context, .bodies = bodies};
	sqlite3 *db = NULL;
	int64_t version = 0;
	char *path;

	*ret_message = NULL;
	if (asprintf(&path, "%s/" SQLITE_LEDGER_FILE, dir) < 0)
		return -ENOMEM;
	int rc = sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL);
	int error = rc != SQLITE_OK ? fail(db, path, rc, ret_message) : 0;
	if (error == 0) {
		sqlite3_busy_timeout(db, SQLITE_BUSY_TIMEOUT_MS);
		error = recognise(db, path, &version, ret_message);
	}
	if (error == 0 && version == 0)
		error = fail_with(path, ret_message, "has no tables yet");
	/* One snapshot for all, even beside a server that goes on. */
	if (error == 0)
		rc = sqlite3_exec(db, "BEGIN", NULL, NULL, NULL);
	if (error == 0 && rc == SQLITE_OK)
		rc = check_integrity(db, &check);
	for (size_t i = 0; error == 0 && rc == SQLITE_OK && i < sizeof rules / sizeof *rules; i++)
		rc = check_rows(db, &check, rules[i]);
	if (error == 0 && rc == SQLITE_OK)
		rc = check_files(db, &check);
	if (error == 0 && rc != SQLITE_OK && check.findings > 0)
		find_fault(&check, "%s: %s", path, sqlite3_errmsg(db));
	else if (error == 0 && rc != SQLITE_OK)
		error = fail(db, path, rc, ret_message);
	sqlite3_close(db);
	free(path);
	return error != 0 ? error : check.findings;
}

const char *
ledger_sqlite_version(void)
{
	return sqlite3_libversion();
}
