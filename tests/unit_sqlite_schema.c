/*
 * The database's file: how a new one is set up, which files are taken for one of ours, and what the check of a store finds.
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <check.h>
#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "fault_vfs.h"
#include "store.h"

/* ---- a new one */

static const struct {
	const char *pragma;
	int64_t value;
} settings[] = {
	{"PRAGMA auto_vacuum", 2}, /* incremental */
	{"PRAGMA page_size", 8192},
	{"PRAGMA application_id", 0x46506c67},
	{"PRAGMA user_version", 2},
	{"SELECT journal_mode = 'wal' FROM pragma_journal_mode", 1},
	{"SELECT encoding = 'UTF-8' FROM pragma_encoding", 1},
	{"SELECT count(*) FROM pragma_table_list WHERE type = 'table' AND schema = 'main' AND NOT strict "
	 "AND name NOT LIKE 'sqlite_%'",
		0},
};

START_TEST(sets_up)
{
	struct store store;

	store_open(&store, IN_SQLITE, NULL);
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < COUNT(settings); i++) {
			int64_t value = store_number(&store, "%s", settings[i].pragma);

			ck_assert_msg(value == settings[i].value, "%s: %lld", settings[i].pragma, (long long)value);
		}
		store_reopen(&store);
	}
	store_close(&store);
}
END_TEST

/* Whatever was reported has been synced: nothing was written to the log since its last sync. */
struct witness {
	size_t reports, unsynced;
};

static void
look_for_sync(void *context, const struct ledger_entry *entry)
{
	struct witness *witness = context;

	(void)entry;
	witness->reports++;
	witness->unsynced += !fault_vfs_is_sync(fault_vfs_position() - 1, "-wal");
}

START_TEST(syncs_each_commit)
{
	struct witness witness = {0};
	struct store store;

	fault_vfs_install();
	store_open(&store, IN_SQLITE, NULL);
	store_shut(&store);
	store.seen = look_for_sync;
	store.seen_context = &witness;
	fault_vfs_record();
	store_reopen(&store);
	for (int i = 0; i < 20; i++)
		job_unref(add_new(&store, "a.example", 80, "x"));
	fault_vfs_stop_recording();
	ck_assert_uint_eq(witness.reports, 20);
	ck_assert_uint_eq(witness.unsynced, 0);
	store_close(&store);
	fault_vfs_forget();
}
END_TEST

/* The id of a job in words, as people read it in the overview. */
START_TEST(shows_an_overview)
{
	char text[ID_TEXT_BYTES];
	struct store store;

	store_open(&store, IN_SQLITE, NULL);
	for (int i = 0; i < 40; i++) {
		struct job *job = add_new(&store, "a.example", 80, "x");

		if (i % 2 == 0)
			ck_assert_int_eq(end_job(&store, job, 1000, 1, false), 0);
		id_format(&job->id, text);
		ck_assert_int_eq(
			store_number(&store,
				"SELECT count(*) FROM overview WHERE id = '%s' AND state = '%s' AND url = '%s'", text,
				i % 2 == 0 ? "succeeded" : "queued", job->spec->url),
			1);
		job_unref(job);
	}
	store_close(&store);
}
END_TEST

/* ---- databases of older versions */

/* Takes back what the second step did. */
#define TO_VERSION_1                                                                                                   \
	"DROP INDEX jobs_by_owner; DROP INDEX jobs_by_idempotency_key;"                                                \
	"ALTER TABLE jobs DROP COLUMN owner; ALTER TABLE jobs DROP COLUMN tls_ca;"                                     \
	"ALTER TABLE jobs DROP COLUMN tls_client_cert; ALTER TABLE jobs DROP COLUMN tls_insecure;"                     \
	"ALTER TABLE jobs DROP COLUMN proxy;"                                                                          \
	"CREATE UNIQUE INDEX jobs_by_idempotency_key ON jobs (idempotency_key) WHERE idempotency_key IS NOT NULL;"     \
	"PRAGMA user_version = 1"

START_TEST(takes_an_older_one_over)
{
	struct store store;
	struct job *found;

	store_open(&store, IN_SQLITE, NULL);
	struct job *job = add_new(&store, "a.example", 80, "x");
	store_shut(&store);
	store_exec(&store, TO_VERSION_1);
	store_reopen(&store);
	ck_assert_int_eq(store_number(&store, "PRAGMA user_version"), 2);
	ck_assert_int_eq(store.ledger->ops->find(store.ledger, &job->id, LEDGER_WHOLE, &found), 0);
	ck_assert_str_eq(job->spec->url, found->spec->url);
	ck_assert_ptr_null(found->spec->owner);
	job_unref(found);
	job_unref(job);
	store_close(&store);
}
END_TEST

/* ---- which files are taken */

/* Gives -errno and the message, which is the caller's; opens nothing. */
static int
refusal(const struct store *store, char **ret_message)
{
	struct ledger_hooks hooks = {0};
	struct ledger *ledger = NULL;
	int error = ledger_sqlite_open(store->dir, store->bodies, &hooks, &ledger, ret_message);

	ck_assert_int_lt(error, 0);
	ck_assert_ptr_null(ledger);
	return error;
}

static char *
file_path(const struct store *store, const char *name, char *ret, size_t size)
{
	snprintf(ret, size, "%s/%s", store->dir, name);
	return ret;
}

static size_t
read_file(const char *path, char *ret, size_t size)
{
	FILE *file = fopen(path, "r");

	ck_assert_ptr_nonnull(file);
	size_t count = fread(ret, 1, size, file);
	fclose(file);
	return count;
}

static void
write_file(const char *path, const char *bytes, size_t count)
{
	FILE *file = fopen(path, "w");

	ck_assert_ptr_nonnull(file);
	ck_assert_uint_eq(fwrite(bytes, 1, count, file), count);
	ck_assert_int_eq(fclose(file), 0);
}

/* A store that was shut, and is made into something else. */
static const struct {
	const char *what, *sql, *says;
	int error;
	bool from_nothing; /* else it was a ledger */
} strangers[] = {
	{"newer", "PRAGMA user_version = 3", "newer", -EINVAL, false},
	{"much newer", "PRAGMA user_version = 2147483647", "newer", -EINVAL, false},
	{"of another program", "PRAGMA application_id = 1", "something else", -EINVAL, false},
	{"of another program and newer", "PRAGMA application_id = 1; PRAGMA user_version = 7", "something else",
		-EINVAL, false},
	{"of nobody", "PRAGMA application_id = 0", "something else", -EINVAL, false},
	{"another's empty one", "PRAGMA application_id = 1", "something else", -EINVAL, true},
	{"another's with a table", "CREATE TABLE t (x)", "something else", -EINVAL, true},
	{"another's with a version", "PRAGMA user_version = 1", "something else", -EINVAL, true},
};

START_TEST(refuses_other_databases)
{
	static char before[1 << 20], after[1 << 20];
	char path[200], *message;
	struct store store;

	store_open(&store, IN_SQLITE, NULL);
	store_shut(&store);
	file_path(&store, "ledger.db", path, sizeof path);
	if (strangers[_i].from_nothing)
		ck_assert_int_eq(unlink(path), 0);
	store_exec(&store, strangers[_i].sql);
	size_t size = read_file(path, before, sizeof before);
	int error = refusal(&store, &message);
	ck_assert_msg(error == strangers[_i].error, "%s: %d", strangers[_i].what, error);
	ck_assert_ptr_nonnull(message);
	ck_assert_msg(strncmp(message, path, strlen(path)) == 0 && strstr(message, strangers[_i].says) != NULL &&
			strstr(message, "--state-dir") != NULL,
		"%s", message);
	free(message);
	/* And left as it was. */
	ck_assert_uint_eq(read_file(path, after, sizeof after), size);
	ck_assert_mem_eq(before, after, size);
	store_close(&store);
}
END_TEST

static const size_t garbage_sizes[] = {2, 15, 100, 511, 512, 1024, 8192, 100000};

START_TEST(refuses_what_is_no_database)
{
	static char garbage[100000], after[100001];
	size_t size = garbage_sizes[_i];
	char path[200], *message;
	uint64_t random = 5;
	struct store store;

	for (size_t i = 0; i < size; i++)
		garbage[i] = (char)(next_random(&random) >> 40);
	store_open(&store, IN_SQLITE, NULL);
	store_shut(&store);
	file_path(&store, "ledger.db", path, sizeof path);
	write_file(path, garbage, size);
	ck_assert_int_eq(refusal(&store, &message), -EIO);
	ck_assert_ptr_nonnull(message);
	ck_assert_msg(strncmp(message, path, strlen(path)) == 0, "%s", message);
	free(message);
	ck_assert_uint_eq(read_file(path, after, sizeof after), size);
	ck_assert_mem_eq(garbage, after, size);
	store_close(&store);
}
END_TEST

START_TEST(takes_an_empty_file)
{
	struct store store;
	char path[200];

	store_open(&store, IN_SQLITE, NULL);
	store_shut(&store);
	write_file(file_path(&store, "ledger.db", path, sizeof path), "", 0);
	store_reopen(&store);
	struct job *job = add_new(&store, "a.example", 80, "x");
	store_reopen(&store);
	ck_assert(has(&store, job));
	for (int i = 0; i < COUNT(settings); i++)
		ck_assert_int_eq(store_number(&store, "%s", settings[i].pragma), settings[i].value);
	job_unref(job);
	store_close(&store);
}
END_TEST

START_TEST(says_what_is_missing)
{
	struct store store;
	char path[200], *message;

	store_open(&store, IN_SQLITE, NULL);
	store_shut(&store);
	ck_assert_int_eq(rmdir(store.bodies), 0);
	ck_assert_int_eq(refusal(&store, &message), -ENOENT);
	ck_assert_ptr_nonnull(message);
	ck_assert_msg(strstr(message, store.bodies) != NULL, "%s", message);
	free(message);
	ck_assert_int_eq(mkdir(store.bodies, 0700), 0);
	/* A folder in its place. */
	ck_assert_int_eq(unlink(file_path(&store, "ledger.db", path, sizeof path)), 0);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	ck_assert_int_lt(refusal(&store, &message), 0);
	ck_assert_ptr_nonnull(message);
	ck_assert_msg(strncmp(message, path, strlen(path)) == 0, "%s", message);
	free(message);
	store_close(&store);
}
END_TEST

/* The mark of a failure holds for one start. */
START_TEST(takes_the_mark_of_a_failure)
{
	struct store store;
	char path[200];

	store_open(&store, IN_SQLITE, NULL);
	ck_assert(!store.ledger->failed_before);
	store_shut(&store);
	write_file(file_path(&store, "ledger.failed", path, sizeof path), "", 0);
	store_reopen(&store);
	ck_assert(store.ledger->failed_before);
	store_reopen(&store);
	ck_assert(!store.ledger->failed_before);
	store_close(&store);
}
END_TEST

/* ---- the check */

struct findings {
	int count;
	char lines[2000];
};

static void
note_finding(void *context, const char *line)
{
	struct findings *findings = context;
	size_t used = strlen(findings->lines);

	findings->count++;
	snprintf(findings->lines + used, sizeof findings->lines - used, "%s\n", line);
}

static int
check(const struct store *store, struct findings *findings, char **ret_message)
{
	*findings = (struct findings){0};
	int result = ledger_sqlite_check(store->dir, store->bodies, note_finding, findings, ret_message);

	if (result >= 0)
		ck_assert_int_eq(result, findings->count);
	return result;
}

/* Three jobs: one that waits, one with a small body, one with a body in a file. */
static void
fill(struct store *store, struct job **ret_large)
{
	store_open(store, IN_SQLITE, NULL);
	job_unref(add_new(store, "a.example", 80, "x"));
	struct job *small = add_new(store, "a.example", 80, "x"), *large = add_new(store, "a.example", 80, "x");
	ck_assert_int_eq(end_job(store, small, 1000, 1000, false), 0);
	ck_assert_int_eq(end_job(store, large, 1000, 100000, true), 0);
	job_unref(small);
	*ret_large = large;
}

START_TEST(finds_nothing_wrong)
{
	struct findings findings;
	struct store store;
	struct job *large;
	char *message;

	fill(&store, &large);
	for (int round = 0; round < 2; round++) { /* while it is open, too */
		int result = check(&store, &findings, &message);

		ck_assert_msg(result == 0, "%d: %s%s", result, findings.lines, message == NULL ? "" : message);
		ck_assert_ptr_null(message);
		if (round == 0)
			store_shut(&store);
	}
	job_unref(large);
	store_close(&store);
}
END_TEST

static const struct {
	const char *sql, *says;
	int count;
} faults[] = {
	{"INSERT INTO live (seq, state, version, crashes) SELECT seq, 'queued', 1, 0 FROM results", "or both", 2},
	{"DELETE FROM live", "neither live nor done", 1},
	{"DELETE FROM results", "neither live nor done", 2},
	{"UPDATE results SET body_bytes = 99999 WHERE body_file IS NOT NULL", "has 100000 bytes, not 99999", 1},
	{"UPDATE results SET body_file = 'elsewhere' WHERE body_file IS NOT NULL", "bodies/elsewhere: No such file", 1},
};

START_TEST(finds_faults)
{
	struct findings findings;
	struct store store;
	struct job *large;
	char *message;

	fill(&store, &large);
	store_shut(&store);
	store_exec(&store, faults[_i].sql);
	int result = check(&store, &findings, &message);
	ck_assert_msg(result == faults[_i].count, "%d findings: %s", result, findings.lines);
	ck_assert_msg(strstr(findings.lines, faults[_i].says) != NULL, "%s", findings.lines);
	job_unref(large);
	store_close(&store);
}
END_TEST

START_TEST(finds_bodies_that_are_missing_or_cut_off)
{
	struct findings findings;
	struct store store;
	struct job *large;
	char *message, path[300], text[ID_TEXT_BYTES];

	fill(&store, &large);
	id_format(&large->id, text);
	snprintf(path, sizeof path, "%s/%s", store.bodies, text);
	ck_assert_int_eq(truncate(path, 5), 0);
	ck_assert_int_eq(check(&store, &findings, &message), 1);
	ck_assert_msg(strstr(findings.lines, path) != NULL && strstr(findings.lines, "5 bytes") != NULL, "%s",
		findings.lines);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(check(&store, &findings, &message), 1);
	ck_assert_msg(strstr(findings.lines, path) != NULL, "%s", findings.lines);
	job_unref(large);
	store_close(&store);
}
END_TEST

/* A page of each table and index in turn is overwritten: that is found, or the file cannot be read at all. */
START_TEST(finds_corrupt_pages)
{
	struct findings findings;
	struct store store;
	struct job *large;
	char *message = NULL, path[200], page[8192];

	fill(&store, &large);
	store_shut(&store);
	file_path(&store, "ledger.db", path, sizeof path);
	int64_t roots = store_number(&store, "SELECT count(*) FROM sqlite_schema WHERE rootpage > 0");
	if (_i >= roots)
		goto out;
	int64_t root = store_number(&store,
		"SELECT rootpage FROM sqlite_schema WHERE rootpage > 0 ORDER BY rootpage LIMIT 1 OFFSET %d", _i);
	memset(page, 0xa5, sizeof page);
	FILE *file = fopen(path, "r+");
	ck_assert_ptr_nonnull(file);
	ck_assert_int_eq(fseek(file, (long)(root - 1) * 8192, SEEK_SET), 0);
	ck_assert_uint_eq(fwrite(page, 1, sizeof page, file), sizeof page);
	ck_assert_int_eq(fclose(file), 0);
	int result = check(&store, &findings, &message);
	ck_assert_msg(findings.count > 0 || result < 0, "page %lld: nothing was found", (long long)root);
	ck_assert_int_eq(result < 0, message != NULL);
	free(message);
out:
	job_unref(large);
	store_close(&store);
}
END_TEST

START_TEST(checks_our_databases_alone)
{
	struct findings findings;
	struct store store;
	struct job *large;
	char *message, path[200];

	fill(&store, &large);
	store_shut(&store);
	store_exec(&store, "PRAGMA user_version = 3");
	ck_assert_int_lt(check(&store, &findings, &message), 0);
	ck_assert_ptr_nonnull(strstr(message, "newer"));
	free(message);
	file_path(&store, "ledger.db", path, sizeof path);
	write_file(path, "", 0);
	ck_assert_int_lt(check(&store, &findings, &message), 0);
	ck_assert_ptr_nonnull(message);
	free(message);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_lt(check(&store, &findings, &message), 0);
	ck_assert_ptr_nonnull(strstr(message, path));
	free(message);
	ck_assert_int_ne(access(path, F_OK), 0); /* a check makes nothing */
	ck_assert_int_eq(findings.count, 0);
	job_unref(large);
	store_close(&store);
}
END_TEST

/* ---- the suites */

static TCase *
file_tests(void)
{
	TCase *tests = tcase_create("file");

	tcase_add_test(tests, sets_up);
	tcase_add_test(tests, syncs_each_commit);
	tcase_add_test(tests, shows_an_overview);
	tcase_add_test(tests, takes_an_older_one_over);
	tcase_add_loop_test(tests, refuses_other_databases, 0, COUNT(strangers));
	tcase_add_loop_test(tests, refuses_what_is_no_database, 0, COUNT(garbage_sizes));
	tcase_add_test(tests, takes_an_empty_file);
	tcase_add_test(tests, says_what_is_missing);
	tcase_add_test(tests, takes_the_mark_of_a_failure);
	return tests;
}

static TCase *
check_tests(void)
{
	TCase *tests = tcase_create("check");

	tcase_add_test(tests, finds_nothing_wrong);
	tcase_add_loop_test(tests, finds_faults, 0, COUNT(faults));
	tcase_add_test(tests, finds_bodies_that_are_missing_or_cut_off);
	tcase_add_loop_test(tests, finds_corrupt_pages, 0, 14);
	tcase_add_test(tests, checks_our_databases_alone);
	return tests;
}

int
main(void)
{
	TCase *(*const groups[])(void) = {file_tests, check_tests};
	Suite *suite = suite_create("sqlite_schema");
	SRunner *runner = srunner_create(suite);

	log_configure(LOG_ALWAYS, false); /* what goes wrong here does so on purpose */
	for (int i = 0; i < COUNT(groups); i++) {
		TCase *tests = groups[i]();

		tcase_set_timeout(tests, 120); /* sanitizers on a busy machine */
		suite_add_tcase(suite, tests);
	}
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
