/*
 * The SQLite store on a full disk: it takes no jobs in and says why, loses no ends, and goes on in its order once there is room.
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

/* ---- a full disk */

/* How it shows: in the first write, or in a later one of a commit; as a quota; in a write that is cut off; as a lack of memory. */
static const struct {
	struct fault_vfs_rule rule;
	int error;
	const char *says;
} shortages[] = {
	{{.calls = VFS_WRITE, .file = "-wal", .rc = SQLITE_FULL}, -ENOSPC, "full"},
	{{.calls = VFS_WRITE, .file = "-wal", .rc = SQLITE_FULL, .skip = 7}, -ENOSPC, "full"},
	{{.calls = VFS_WRITE, .file = "-wal", .rc = SQLITE_FULL, .half = true}, -ENOSPC, "full"},
	{{.calls = VFS_WRITE, .file = "-wal", .rc = SQLITE_IOERR_WRITE, .error = EDQUOT}, -ENOSPC, "full"},
	{{.calls = VFS_WRITE, .file = "-wal", .rc = SQLITE_IOERR_WRITE, .error = ENOSPC, .skip = 3}, -ENOSPC, "full"},
	{{.calls = VFS_WRITE, .file = "-wal", .rc = SQLITE_NOMEM, .skip = 2}, -ENOMEM, "memory"},
};

START_TEST(holds_ends_while_full)
{
	enum { OLD = 3, NEW = 3 };
	struct job *old[OLD], *new[NEW];
	struct written batch[7], late[2];
	struct store store;
	char why[100] = "";

	store_open(&store, IN_SQLITE, NULL);
	for (int i = 0; i < OLD; i++)
		old[i] = add_new(&store, "a.example", 80, "x");
	for (int i = 0; i < NEW; i++)
		new[i] = new_job("a.example", 80, "x");
	end_init(&batch[0], old[0], 1000, 10, false, store.bodies);
	batch[1] = entry_of(LEDGER_ADD, new[0]);
	end_init(&batch[2], old[1], 1000, 90000, true, store.bodies);
	batch[3] = change_of(LEDGER_START, old[2], 2);
	batch[4] = entry_of(LEDGER_ADD, new[1]);
	batch[5] = change_of(LEDGER_REQUEUE, old[2], 3);
	batch[6] = change_of(LEDGER_START, old[2], 4);
	fault_vfs_fail(&shortages[_i].rule);
	store_write(&store, batch, 7);
	ck_assert(store_await(&store, &batch[1], 1) && store_await(&store, &batch[4], 1));
	ck_assert_int_eq(batch[1].entry.error, shortages[_i].error);
	ck_assert_int_eq(batch[4].entry.error, shortages[_i].error);
	ck_assert_uint_eq(store_came_back(&store, batch, 7), 2);
	ck_assert(!store_accepts(&store, why, sizeof why));
	ck_assert(!store_accepts(&store, NULL, 0));
	ck_assert_msg(strstr(why, shortages[_i].says) != NULL, "%s", why);
	ck_assert(!has(&store, new[0]));
	for (int i = 0; i < OLD; i++)
		ck_assert_int_eq(state_of(&store, old[i]), JOB_queued);
	/* What comes meanwhile fares no better. */
	late[0] = entry_of(LEDGER_ADD, new[2]);
	end_init(&late[1], old[2], 1000, 10, false, store.bodies);
	store_write(&store, late, 2);
	ck_assert(store_await(&store, &late[0], 1));
	ck_assert_int_eq(late[0].entry.error, shortages[_i].error);
	ck_assert_uint_eq(store_came_back(&store, &late[1], 1), 0);
	ck_assert_uint_eq(store.relieved, 0);
	fault_vfs_heal();
	store_await_relief(&store, 1);
	ck_assert(store_await(&store, batch, 7) && store_await(&store, late, 2));
	ck_assert(store_accepts(&store, why, sizeof why));
	for (int i = 0; i < 7; i++)
		ck_assert_int_eq(batch[i].entry.error, i == 1 || i == 4 ? shortages[_i].error : 0);
	ck_assert_int_eq(late[1].entry.error, 0);
	/* In their order, but for the large body. */
	static const int order[] = {0, 3, 5, 6};
	for (int i = 1; i < COUNT(order); i++)
		ck_assert_uint_lt(batch[order[i - 1]].place, batch[order[i]].place);
	ck_assert_uint_lt(batch[6].place, late[1].place);
	for (int i = 0; i < OLD; i++)
		ck_assert_int_eq(state_of(&store, old[i]), JOB_succeeded);
	ck_assert_int_eq(add_job(&store, new[0]), 0);
	ck_assert_uint_eq(store.failed, 0);
	store_reopen_whole(&store);
	ck_assert(!store.ledger->failed_before);
	ck_assert_uint_eq(usage_of(&store).jobs, OLD + 1);
	ck_assert_uint_eq(usage_of(&store).finished, OLD);
	end_release(&batch[0]);
	end_release(&batch[2]);
	end_release(&late[1]);
	unref_all(old, OLD);
	unref_all(new, NEW);
	store_close(&store);
}
END_TEST

/* More than one commit takes: tried again and again while there is no room, they keep their order; and what comes then waits. */
START_TEST(holds_many_in_order)
{
	enum { JOBS = 25, BODY = 1000000 };
	struct job *jobs[JOBS], *last;
	struct written ends[JOBS], start, end;
	struct store store;

	store_open(&store, IN_SQLITE, NULL);
	for (int i = 0; i < JOBS; i++)
		jobs[i] = add_new(&store, "a.example", 80, "x");
	last = add_new(&store, "a.example", 80, "x");
	fault_vfs_fail(&shortages[0].rule);
	for (int i = 0; i < JOBS; i++) {
		end_init(&ends[i], jobs[i], 1000, BODY, false, store.bodies);
		store_write(&store, &ends[i], 1);
	}
	start = change_of(LEDGER_START, last, 2);
	store_write(&store, &start, 1);
	for (int i = 0; i < 3; i++) { /* one is refused at each try */
		struct job *job = new_job("a.example", 80, "x");

		ck_assert_int_eq(add_job(&store, job), -ENOSPC);
		job_unref(job);
	}
	ck_assert_uint_eq(store_came_back(&store, ends, JOBS), 0);
	fault_vfs_heal();
	end_init(&end, last, 1000, 10, false, store.bodies);
	store_write(&store, &end, 1);
	ck_assert(store_await(&store, ends, JOBS) && store_await(&store, &start, 1) && store_await(&store, &end, 1));
	for (int i = 0; i < JOBS; i++) {
		ck_assert_int_eq(ends[i].entry.error, 0);
		if (i > 0)
			ck_assert_uint_lt(ends[i - 1].place, ends[i].place);
		end_release(&ends[i]);
		job_unref(jobs[i]);
	}
	ck_assert_int_eq(end.entry.error, 0);
	ck_assert_uint_lt(start.place, end.place);
	ck_assert_uint_eq(usage_of(&store).finished, JOBS + 1);
	end_release(&end);
	job_unref(last);
	store_close(&store);
}
END_TEST

/* A key of a job that was refused is nobody's. */
START_TEST(forgets_keys_of_refused_jobs)
{
	struct job *jobs[3];
	struct written adds[3];
	struct store store;

	store_open(&store, IN_SQLITE, NULL);
	for (int i = 0; i < 3; i++) {
		jobs[i] = new_job("a.example", 80, "x");
		jobs[i]->spec->idempotency_key = arena_string(&jobs[i]->spec->arena, "key");
		adds[i] = entry_of(LEDGER_ADD, jobs[i]);
	}
	fault_vfs_fail(&shortages[0].rule);
	store_write(&store, adds, 2);
	ck_assert(store_await(&store, adds, 2));
	ck_assert_int_eq(adds[0].entry.error, -ENOSPC);
	ck_assert_int_eq(adds[1].entry.error, -ENOSPC);
	fault_vfs_heal();
	store_await_relief(&store, 1);
	ck_assert_int_eq(store_put(&store, &adds[2]), 0);
	ck_assert_int_eq(store_put(&store, &adds[0]), -EEXIST);
	ck_assert_int_eq(id_compare(&adds[0].entry.existing, &jobs[2]->id), 0);
	ck_assert_uint_eq(usage_of(&store).jobs, 1);
	unref_all(jobs, 3);
	store_close(&store);
}
END_TEST

/* The removal of what has expired is put off as well, not forgotten; nor are files removed whose jobs stay. */
START_TEST(expires_after_it_was_full)
{
	enum { JOBS = 150 };
	struct job *jobs[JOBS];
	int64_t expires[JOBS];
	struct store store;
	char path[300], text[ID_TEXT_BYTES];

	store_open(&store, IN_SQLITE, NULL);
	for (int i = 0; i < JOBS; i++) {
		jobs[i] = new_job("a.example", 80, "x");
		expires[i] = 1000;
	}
	add_many(&store, jobs, JOBS);
	end_many(&store, jobs + 1, JOBS - 1, expires);
	ck_assert_int_eq(end_job(&store, jobs[0], 1, 1000, true), 0);
	fault_vfs_fail(&shortages[0].rule);
	ck_assert(store.ledger->ops->sweep(store.ledger, 1000) == INT64_MAX);
	while (fault_vfs_failures() == 0) { /* whoever asks is refused, once the sweep has failed or before */
		struct job *job = new_job("a.example", 80, "x");

		ck_assert_int_eq(add_job(&store, job), -ENOSPC);
		job_unref(job);
	}
	ck_assert_uint_eq(usage_of(&store).finished, JOBS);
	id_format(&jobs[0]->id, text);
	snprintf(path, sizeof path, "%s/%s", store.bodies, text);
	FILE *file = fopen(path, "r");
	ck_assert_ptr_nonnull(file);
	fclose(file);
	fault_vfs_heal();
	store_await_relief(&store, 1);
	for (int i = 0; i < 4; i++)
		store_turn(&store);
	ck_assert_uint_eq(usage_of(&store).finished, 0);
	ck_assert_int_eq(usage_of(&store).disk_bytes, 0);
	ck_assert_ptr_null(fopen(path, "r"));
	unref_all(jobs, JOBS);
	store_close(&store);
}
END_TEST

/* The server may end before there is room again. What was held is given back, and its jobs are found as they were. */
START_TEST(stops_while_full)
{
	struct written end, start, add;
	struct store store;

	store_open(&store, IN_SQLITE, NULL);
	struct job *a = add_new(&store, "a.example", 80, "x"), *b = add_new(&store, "a.example", 80, "x"),
		   *c = new_job("a.example", 80, "x");
	end_init(&end, a, 1000, 90000, _i == 1, store.bodies);
	start = change_of(LEDGER_START, b, 2);
	add = entry_of(LEDGER_ADD, c);
	fault_vfs_fail(&shortages[0].rule);
	store_write(&store, &end, 1);
	store_write(&store, &start, 1);
	ck_assert_int_eq(store_put(&store, &add), -ENOSPC);
	store.ledger->ops->stop(store.ledger);
	ck_assert_uint_eq(store_came_back(&store, &end, 1) + store_came_back(&store, &start, 1), 2);
	ck_assert_int_eq(end.entry.error, -ESHUTDOWN);
	ck_assert_int_eq(start.entry.error, -ESHUTDOWN);
	ck_assert_int_eq(store_put(&store, &add), -ESHUTDOWN);
	end_release(&end);
	fault_vfs_heal();
	store_reopen_whole(&store);
	ck_assert(!store.ledger->failed_before);
	ck_assert_int_eq(state_of(&store, a), JOB_queued);
	ck_assert_int_eq(state_of(&store, b), JOB_queued);
	ck_assert(!has(&store, c));
	ck_assert_int_eq(end_job(&store, a, 1000, 90000, _i == 1), 0); /* its body may come again */
	job_unref(a);
	job_unref(b);
	job_unref(c);
	store_close(&store);
}
END_TEST

/* One whose read does not end: so the log grows on. */
static void *
read_slowly(void *context)
{
	struct ledger_filter any = {0};
	struct store *store = context;
	struct id id;

	store->ledger->ops->list(store->ledger, &any, NULL, &id, 1); /* opens the database */
	fault_vfs_arm();
	store->ledger->ops->list(store->ledger, &any, NULL, &id, 1);
	return NULL;
}

/* There is room in the log, but none in its index, which grows every 4096 pages: that is a full disk as well. */
START_TEST(outlasts_a_full_index)
{
	enum { JOBS = 40, BODY = 1000000 };
	static const struct fault_vfs_rule rule = {
		.calls = VFS_MAP, .file = "", .rc = SQLITE_IOERR_SHMSIZE, .error = ENOSPC};
	struct job *jobs[JOBS], *job = new_job("a.example", 80, "x");
	struct written ends[JOBS];
	struct store store;
	pthread_t reader;

	store_open(&store, IN_SQLITE, NULL);
	for (int i = 0; i < JOBS; i++)
		jobs[i] = add_new(&store, "a.example", 80, "x");
	fault_vfs_hold(VFS_RELEASE, "");
	ck_assert_int_eq(thread_start(&reader, "reader", read_slowly, &store), 0);
	fault_vfs_await_stops(1);
	fault_vfs_fail(&rule);
	for (int i = 0; i < JOBS; i++) {
		end_init(&ends[i], jobs[i], 1000, BODY, false, store.bodies);
		store_write(&store, &ends[i], 1);
	}
	while (fault_vfs_failures() == 0)
		store_await_for(&store, ends, JOBS, 10);
	ck_assert_int_eq(add_job(&store, job), -ENOSPC);
	ck_assert_uint_lt(store_came_back(&store, ends, JOBS), JOBS);
	fault_vfs_heal(); /* which lets the reader go, too */
	thread_join(reader);
	ck_assert(store_await(&store, ends, JOBS));
	ck_assert_uint_ge(store.relieved, 1);
	store_reopen_whole(&store);
	for (int i = 0; i < JOBS; i++) {
		ck_assert_int_eq(ends[i].entry.error, 0);
		ck_assert_int_eq(state_of(&store, jobs[i]), JOB_succeeded);
		end_release(&ends[i]);
		job_unref(jobs[i]);
	}
	ck_assert(!has(&store, job));
	job_unref(job);
	store_close(&store);
}
END_TEST

/* There is room in the log, but none in the database, where it is to be taken in: that stops nobody for good. */
START_TEST(outlasts_a_full_database)
{
	enum { JOBS = 12, BODY = 1000000 };
	static const struct fault_vfs_rule rule = {.calls = VFS_WRITE, .file = "ledger.db", .rc = SQLITE_FULL};
	struct job *jobs[JOBS];
	struct store store;

	store_open(&store, IN_SQLITE, NULL);
	fault_vfs_fail(&rule);
	for (int i = 0; i < JOBS; i++) {
		jobs[i] = add_new(&store, "a.example", 80, "x");
		ck_assert_int_eq(end_job(&store, jobs[i], 1000, BODY, false), 0);
	}
	ck_assert_uint_gt(fault_vfs_failures(), 0);
	fault_vfs_heal();
	store_await_relief(&store, 1);
	store_reopen_whole(&store);
	for (int i = 0; i < JOBS; i++)
		ck_assert_int_eq(state_of(&store, jobs[i]), JOB_succeeded);
	ck_assert_int_gt(usage_of(&store).bytes, (int64_t)JOBS * BODY);
	unref_all(jobs, JOBS);
	store_close(&store);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("sqlite_full");
	TCase *tests = tcase_create("full");
	SRunner *runner = srunner_create(suite);

	fault_vfs_install();
	log_configure(LOG_ALWAYS, false); /* what goes wrong here does so on purpose */
	tcase_add_loop_test(tests, holds_ends_while_full, 0, COUNT(shortages));
	tcase_add_test(tests, holds_many_in_order);
	tcase_add_test(tests, forgets_keys_of_refused_jobs);
	tcase_add_test(tests, expires_after_it_was_full);
	tcase_add_loop_test(tests, stops_while_full, 0, 2);
	tcase_add_test(tests, outlasts_a_full_index);
	tcase_add_test(tests, outlasts_a_full_database);
	tcase_set_timeout(tests, 120); /* sanitizers on a busy machine */
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
