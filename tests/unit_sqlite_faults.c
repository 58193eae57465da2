/*
 * The SQLite store on a broken disk: it says so once and reports nothing more as committed; read in vain, it says that, and no
 * more. Whatever was reported is there afterwards, wherever the fault came.
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

#include "base/log.h"
#include "fault_vfs.h"
#include "store.h"

/* ---- a broken one */

static const struct fault_vfs_rule breakages[] = {
	{.calls = VFS_WRITE, .file = "-wal", .rc = SQLITE_IOERR_WRITE, .error = EIO},
	{.calls = VFS_WRITE, .file = "-wal", .rc = SQLITE_IOERR_WRITE, .error = EIO, .skip = 3},
	{.calls = VFS_WRITE, .file = "-wal", .rc = SQLITE_IOERR_WRITE, .error = EIO, .skip = 6, .half = true},
	{.calls = VFS_WRITE, .file = "-wal", .rc = SQLITE_IOERR_WRITE, .error = EROFS},
	{.calls = VFS_SYNC, .file = "-wal", .rc = SQLITE_IOERR_FSYNC, .error = EIO},
	{.calls = VFS_SYNC, .file = "-wal", .rc = SQLITE_IOERR_FSYNC, .error = ENOSPC}, /* some of it may be gone */
	{.calls = VFS_SYNC,
		.file = "-wal",
		.rc = SQLITE_IOERR_FSYNC,
		.error = EIO,
		.times = 1}, /* though it seems to heal */
	{.calls = VFS_WRITE, .file = "-wal", .rc = SQLITE_IOERR_WRITE, .error = EIO, .times = 1},
};

START_TEST(fails_once)
{
	struct written batch[3], more[3];
	struct store store;
	char why[300] = "";

	store_open(&store, IN_SQLITE, NULL);
	struct job *old = add_new(&store, "a.example", 80, "x"), *new = new_job("a.example", 80, "x"),
		   *late = new_job("a.example", 80, "x");
	struct job *large = add_new(&store, "a.example", 80, "x");
	end_init(&batch[0], old, 1000, 10, false, store.bodies);
	batch[1] = entry_of(LEDGER_ADD, new);
	batch[2] = change_of(LEDGER_START, new, 2);
	fault_vfs_fail(&breakages[_i]);
	store_write(&store, batch, 3);
	store_await_failure(&store);
	ck_assert_msg(strstr(store.why, "ledger.db") != NULL, "%s", store.why);
	ck_assert(!store_accepts(&store, why, sizeof why));
	ck_assert_str_ne(why, "");
	more[0] = entry_of(LEDGER_ADD, late);
	more[1] = entry_of(LEDGER_REMOVE, old);
	end_init(&more[2], large, 1000, 10, true, store.bodies);
	ck_assert_int_eq(remove(more[2].entry.end.response->body.path), 0); /* the next thing to fail */
	store_write(&store, more, 3);
	store.ledger->ops->sweep(store.ledger, 1000);
	/* There is nobody to wait for: only that the end gives all back shows that none was committed. */
	store.ledger->ops->stop(store.ledger);
	ck_assert(store_await(&store, batch, 3) && store_await(&store, more, 3));
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(batch[i].entry.error, -ESHUTDOWN);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(more[i].entry.error, -ESHUTDOWN);
	end_release(&more[2]);
	job_unref(large);
	ck_assert_uint_eq(store.failed, 1);
	ck_assert_uint_eq(store.relieved, 0);
	fault_vfs_heal();
	store_reopen_whole(&store);
	ck_assert(store.ledger->failed_before);
	/* The commit that failed is there or not: all of it. */
	bool there = has(&store, new);
	ck_assert_int_eq(state_of(&store, old), there ? JOB_succeeded : JOB_queued);
	if (there)
		ck_assert_int_eq(state_of(&store, new), JOB_running);
	ck_assert(!has(&store, late));
	store_reopen(&store);
	ck_assert(!store.ledger->failed_before);
	end_release(&batch[0]);
	job_unref(old);
	job_unref(new);
	job_unref(late);
	store_close(&store);
}
END_TEST

/* What breaks when the log is taken in harms nothing that was reported. */
static const struct fault_vfs_rule checkpoint_breakages[] = {
	{.calls = VFS_WRITE, .file = "ledger.db", .rc = SQLITE_IOERR_WRITE, .error = EIO},
	{.calls = VFS_WRITE, .file = "ledger.db", .rc = SQLITE_IOERR_WRITE, .error = EIO, .skip = 100, .half = true},
	{.calls = VFS_SYNC, .file = "ledger.db", .rc = SQLITE_IOERR_FSYNC, .error = EIO},
	{.calls = VFS_READ, .file = "-wal", .rc = SQLITE_IOERR_READ, .error = EIO, .skip = 50},
};

START_TEST(fails_in_a_checkpoint)
{
	enum { MOST = 20, BODY = 1000000 };
	struct job *jobs[MOST];
	struct written add, end = {.times = 0};
	struct store store;
	int count = 0;

	store_open(&store, IN_SQLITE, NULL);
	fault_vfs_fail(&checkpoint_breakages[_i]);
	for (; count < MOST; count++) { /* a thousand pages, and it breaks */
		jobs[count] = new_job("a.example", 80, "x");
		add = entry_of(LEDGER_ADD, jobs[count]);
		store_write(&store, &add, 1);
		end_init(&end, jobs[count], 1000, BODY, false, store.bodies);
		store_write(&store, &end, 1);
		while (!store_await_for(&store, &end, 1, 10) && store.failed == 0)
			;
		if (store_came_back(&store, &end, 1) == 0)
			break;
		ck_assert_int_eq(end.entry.error, 0);
		end_release(&end);
	}
	ck_assert_int_lt(count, MOST);
	store_await_failure(&store);
	store.ledger->ops->stop(store.ledger);
	end_release(&end);
	fault_vfs_heal();
	store_reopen_whole(&store);
	for (int i = 0; i < count; i++)
		ck_assert_int_eq(state_of(&store, jobs[i]), JOB_succeeded);
	unref_all(jobs, (size_t)count + 1);
	store_close(&store);
}
END_TEST

/* ---- reading in vain */

/* Whichever read fails, the answer is the right one or -EIO; and the next one is right. */
START_TEST(tells_that_it_cannot_read)
{
	struct ledger_filter filter = {.tag = "x"};
	struct store store;
	struct job *found, *page[2];
	struct id ids[2];
	int told = 0;

	store_open(&store, IN_SQLITE, NULL);
	struct job *live = add_new(&store, "a.example", 80, "x"), *job = add_new(&store, "a.example", 80, "x");
	ck_assert_int_eq(end_job(&store, job, 1000, 30000, false), 0);
	store_reopen(&store);
	for (unsigned skip = 0;; skip++) {
		struct fault_vfs_rule rule = {
			.calls = VFS_READ, .rc = SQLITE_IOERR_READ, .error = EIO, .skip = skip, .times = 1};
		int result, right;

		rule.file = "";
		found = NULL;
		fault_vfs_fail(&rule);
		if (_i == 0) {
			result = store.ledger->ops->find(store.ledger, &job->id, LEDGER_WHOLE, &found);
			right = 0;
		} else if (_i == 1) {
			result = store.ledger->ops->list(store.ledger, &filter, NULL, ids, 2);
			right = 2;
		} else {
			result = store.ledger->ops->recover(store.ledger, NULL, page, 2);
			right = 1;
		}
		bool failed = fault_vfs_failures() > 0;
		fault_vfs_heal();
		ck_assert_msg(result == right || (failed && result == -EIO), "read %u: %d", skip, result);
		told += result == -EIO;
		if (found != NULL)
			ck_assert_int_eq(found->response->body.data[29999], job->response->body.data[29999]);
		if (found != NULL)
			job_unref(found);
		if (_i == 2 && result == 1)
			job_unref(page[0]);
		if (!failed)
			break;
		store_reopen(&store); /* with nothing in a cache */
	}
	ck_assert_int_gt(told, 1);
	ck_assert(has(&store, job) && has(&store, live));
	ck_assert_uint_eq(store.failed, 0);
	job_unref(live);
	job_unref(job);
	store_close(&store);
}
END_TEST

/* ---- every call in turn */

/* Some of all that a store does, with steps that are awaited, and some that are not; stops when it fails. */
struct life {
	struct job *jobs[6];
	struct written adds[6], ends[4], removal;
};

static void
begin_life(struct life *life, struct store *store)
{
	for (int i = 0; i < 6; i++) {
		life->jobs[i] = new_job("a.example", 80, "x");
		life->adds[i] = entry_of(LEDGER_ADD, life->jobs[i]);
	}
	for (int i = 0; i < 4; i++)
		end_init(&life->ends[i], life->jobs[i], 1000, i * 9000, i == 3, store->bodies);
	life->removal = entry_of(LEDGER_REMOVE, life->jobs[1]);
}

static void
await_or_fail(struct store *store, struct written *written, size_t count)
{
	while (!store_await_for(store, written, count, 10)) {
		lock_take(&store->lock);
		bool failed = store->failed > 0;
		lock_drop(&store->lock);
		if (failed)
			return;
	}
}

static void
live(struct life *life, struct store *store)
{
	store_write(store, life->adds, 3);
	await_or_fail(store, life->adds, 3);
	store_write(store, life->adds + 3, 3);
	await_or_fail(store, life->adds, 6);
	store_write(store, life->ends, 4);
	await_or_fail(store, life->ends, 4);
	store_write(store, &life->removal, 1);
	await_or_fail(store, &life->removal, 1);
	store->ledger->ops->stop(store->ledger);
}

static void
look_back(struct life *life, struct store *store)
{
	for (int i = 0; i < 6; i++) {
		struct job *found = find_job(store, &life->jobs[i]->id, LEDGER_WHOLE);
		bool gone = i == 1 && life->removal.entry.error == 0 && life->removal.entry.found;

		if (life->adds[i].entry.error == 0 && i != 1) /* which may have been removed, unreported */
			ck_assert_msg(found != NULL, "job %d was lost", i);
		if (gone)
			ck_assert_msg(found == NULL, "job %d is there again", i);
		if (found != NULL && i < 4 && life->ends[i].entry.error == 0)
			ck_assert_msg(found->state == JOB_succeeded, "the end of job %d was lost", i);
		/* Refused for lack of room, it may not come to life. */
		if (life->adds[i].entry.error == -ENOSPC)
			ck_assert_msg(found == NULL, "job %d was refused, and is there", i);
		if (found != NULL)
			job_unref(found);
	}
}

static void
end_life(struct life *life)
{
	for (int i = 0; i < 6; i++)
		job_unref(life->jobs[i]);
	for (int i = 0; i < 4; i++)
		end_release(&life->ends[i]);
}

/* Each full disk costs the writer's patience, so it is looked at in fewer places. */
static const struct fault_vfs_rule anywhere[] = {
	{.calls = VFS_WRITE | VFS_TRUNCATE, .file = "", .rc = SQLITE_FULL, .times = 1},
	{.calls = VFS_WRITE | VFS_SYNC | VFS_TRUNCATE, .file = "", .rc = SQLITE_IOERR_WRITE, .error = EIO},
	{.calls = VFS_SYNC, .file = "", .rc = SQLITE_IOERR_FSYNC, .error = EIO, .times = 1},
	{.calls = VFS_WRITE, .file = "", .rc = SQLITE_IOERR_WRITE, .error = EIO, .times = 1, .half = true},
};

START_TEST(survives_a_fault_anywhere)
{
	struct fault_vfs_rule rule = anywhere[_i];
	struct life life;
	bool failed = true;

	for (rule.skip = 0; failed; rule.skip += 1 + rule.skip / (_i == 0 || SANITIZED ? 2 : 12)) {
		struct store store;

		store_open(&store, IN_SQLITE, NULL);
		begin_life(&life, &store);
		fault_vfs_fail(&rule);
		live(&life, &store);
		store_shut(&store);
		failed = fault_vfs_failures() > 0;
		fault_vfs_heal();
		ck_assert_uint_le(store.failed, 1);
		store_reopen_whole(&store);
		look_back(&life, &store);
		end_life(&life);
		store_close(&store);
	}
}
END_TEST

/* At the start a fault gives a message, and does no harm. */
START_TEST(opens_or_says_why)
{
	struct fault_vfs_rule rule = anywhere[_i % COUNT(anywhere)];
	struct ledger_hooks hooks = {0};
	struct job *job = NULL;
	struct store store;
	bool failed = true;

	store_open(&store, IN_SQLITE, NULL);
	if (_i >= COUNT(anywhere)) {
		job = add_new(&store, "a.example", 80, "x");
		rule.calls |= VFS_READ;
	}
	store_shut(&store);
	for (rule.skip = 0; failed; rule.skip++) {
		struct ledger *ledger = NULL;
		char *message;

		if (_i < COUNT(anywhere)) { /* a new one each time */
			char path[200];

			snprintf(path, sizeof path, "%s/ledger.db", store.dir);
			remove(path);
		}
		fault_vfs_fail(&rule);
		int error = ledger_sqlite_open(store.dir, store.bodies, &hooks, &ledger, &message);
		failed = fault_vfs_failures() > 0;
		ck_assert_msg(error == 0 || failed, "%d: %s", error, message);
		ck_assert_int_eq(error != 0, message != NULL);
		ck_assert_int_eq(error != 0, ledger == NULL);
		free(message);
		fault_vfs_heal();
		if (error == 0)
			ledger->ops->close(ledger);
		store_reopen_whole(&store);
		if (job != NULL)
			ck_assert(has(&store, job));
		store_shut(&store);
	}
	if (job != NULL)
		job_unref(job);
	store_close(&store);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("sqlite_faults");
	TCase *tests = tcase_create("faults");
	SRunner *runner = srunner_create(suite);

	fault_vfs_install();
	log_configure(LOG_ALWAYS, false); /* what goes wrong here does so on purpose */
	tcase_add_loop_test(tests, fails_once, 0, COUNT(breakages));
	tcase_add_loop_test(tests, fails_in_a_checkpoint, 0, COUNT(checkpoint_breakages));
	tcase_add_loop_test(tests, tells_that_it_cannot_read, 0, 3);
	tcase_add_loop_test(tests, survives_a_fault_anywhere, 0, COUNT(anywhere));
	tcase_add_loop_test(tests, opens_or_says_why, 0, 2 * COUNT(anywhere));
	tcase_set_timeout(tests, 120); /* sanitizers on a busy machine */
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
