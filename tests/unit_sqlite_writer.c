/*
 * The thread that writes the SQLite store: what it takes up when, made visible by stopping it in the sync that ends a commit;
 * and that the log stays bounded while others read.
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <check.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/metrics.h"
#include "fault_vfs.h"
#include "store.h"

static uint64_t
written_entries(void)
{
	return atomic_load(&metric_values[METRIC_LEDGER_ENTRIES]);
}

/* A commit whose sync stops: until fault_vfs_let_go the writer is busy with it. */
static void
keep_busy(struct store *store, struct written *written, struct job *job)
{
	*written = (struct written){.entry = {.verb = LEDGER_ADD, .job = job}};
	fault_vfs_hold(VFS_SYNC, "-wal");
	store_write(store, written, 1);
	fault_vfs_await_stops(1);
}

static struct written
start_of(struct job *job, uint32_t version, bool lazy)
{
	return (struct written){.entry = {.verb = LEDGER_START,
					.job = job,
					.start = {.version = version, .attempt_started_wall_ms = 12, .lazy = lazy}}};
}

/* As other programs see it. */
static int64_t
count_running(const struct store *store)
{
	return store_number(store, "SELECT count(*) FROM live WHERE state = 'running'");
}

/* ---- starts that nobody awaits */

START_TEST(writes_lazy_starts_when_idle)
{
	struct store store;

	store_open(&store, IN_SQLITE, NULL);
	struct job *job = add_new(&store, "a.example", 80, "x");
	struct written start = start_of(job, 1, true);
	ck_assert_int_eq(store_put(&store, &start), 0);
	ck_assert_int_eq(count_running(&store), 1);
	ck_assert_ptr_null(job->pending_start);
	job_unref(job);
	store_close(&store);
}
END_TEST

/* What makes a start that waits unnecessary. */
static const enum ledger_verb after_start[] = {LEDGER_END, LEDGER_REQUEUE};

START_TEST(skips_lazy_starts)
{
	struct written busy, start, next;
	struct store store;

	store_open(&store, IN_SQLITE, NULL);
	struct job *job = add_new(&store, "a.example", 80, "x"), *other = new_job("a.example", 80, "x");
	keep_busy(&store, &busy, other);
	uint64_t before = written_entries();
	start = start_of(job, 1, true);
	store_write(&store, &start, 1);
	if (after_start[_i] == LEDGER_END)
		end_init(&next, job, 1000, 10, false, store.bodies);
	else
		next = (struct written){.entry = {.verb = LEDGER_REQUEUE, .job = job, .start = {.version = 2}}};
	store_write(&store, &next, 1);
	ck_assert_ptr_null(job->pending_start);
	fault_vfs_let_go();
	ck_assert(store_await(&store, &busy, 1) && store_await(&store, &start, 1) && store_await(&store, &next, 1));
	ck_assert_int_eq(start.entry.error, 0);
	ck_assert_int_eq(next.entry.error, 0);
	ck_assert_uint_lt(start.place, next.place);
	ck_assert_uint_eq(written_entries() - before, 2);
	if (after_start[_i] == LEDGER_END)
		end_release(&next);
	job_unref(job);
	job_unref(other);
	store_close(&store);
}
END_TEST

/* Other work goes before it once, not for ever. */
START_TEST(passes_lazy_starts_over_once)
{
	struct written busy, start, adds[3];
	struct job *others[4];
	struct store store;

	store_open(&store, IN_SQLITE, NULL);
	struct job *job = add_new(&store, "a.example", 80, "x");
	for (int i = 0; i < 4; i++)
		others[i] = new_job("a.example", 80, "x");
	keep_busy(&store, &busy, others[3]);
	start = start_of(job, 1, true);
	store_write(&store, &start, 1);
	for (int i = 0; i < 3; i++) {
		adds[i] = (struct written){.entry = {.verb = LEDGER_ADD, .job = others[i]}};
		store_write(&store, &adds[i], 1); /* while the last one is on its way */
		fault_vfs_step();
		fault_vfs_await_stops(1);
		ck_assert_uint_eq(store_came_back(&store, &adds[i], 1), 0);
		ck_assert_uint_eq(store_came_back(&store, &start, 1), i == 2);
		ck_assert_int_eq(count_running(&store), i == 2);
	}
	fault_vfs_let_go();
	ck_assert(store_await(&store, &busy, 1) && store_await(&store, adds, 3));
	unref_all(others, 4);
	job_unref(job);
	store_close(&store);
}
END_TEST

/* A start that is awaited is written with all else, in its place. */
START_TEST(writes_firm_starts_at_once)
{
	struct written busy, lazy, start;
	struct store store;

	store_open(&store, IN_SQLITE, NULL);
	struct job *job = add_new(&store, "a.example", 80, "x"), *other = new_job("a.example", 80, "x");
	keep_busy(&store, &busy, other);
	lazy = start_of(job, 7, true);
	start = start_of(job, 2, false);
	store_write(&store, &lazy, 1);
	store_write(&store, &start, 1);
	fault_vfs_step();
	fault_vfs_await_stops(1);
	fault_vfs_let_go();
	ck_assert(store_await(&store, &start, 1) && store_await(&store, &lazy, 1));
	ck_assert_int_eq(store_number(&store, "SELECT version FROM live WHERE state = 'running'"), 2);
	job_unref(job);
	job_unref(other);
	store_close(&store);
}
END_TEST

static void *
run_stop(void *context)
{
	struct store *store = context;

	store->ledger->ops->stop(store->ledger);
	return NULL;
}

/* The end of the server writes them, too: what was running is told from what was not. */
START_TEST(writes_lazy_starts_at_the_end)
{
	enum { JOBS = 5 };
	struct written busy, starts[JOBS];
	struct job *jobs[JOBS];
	struct store store;
	pthread_t thread;

	store_open(&store, IN_SQLITE, NULL);
	for (int i = 0; i < JOBS; i++)
		jobs[i] = add_new(&store, "a.example", 80, "x");
	struct job *other = new_job("a.example", 80, "x");
	keep_busy(&store, &busy, other);
	for (int i = 0; i < JOBS; i++)
		starts[i] = start_of(jobs[i], 1, true);
	store_write(&store, starts, JOBS);
	ck_assert_int_eq(thread_start(&thread, "stop", run_stop, &store), 0);
	fault_vfs_let_go();
	thread_join(thread);
	ck_assert_uint_eq(store_came_back(&store, starts, JOBS), JOBS);
	for (int i = 0; i < JOBS; i++)
		ck_assert_int_eq(starts[i].entry.error, 0);
	ck_assert_int_eq(count_running(&store), JOBS);
	unref_all(jobs, JOBS);
	job_unref(other);
	store_close(&store);
}
END_TEST

/* ---- commits */

/* What comes while a commit is on its way is the next one, all of it together. */
START_TEST(commits_in_groups)
{
	enum { JOBS = 300 };
	static struct written adds[JOBS];
	struct written busy;
	struct store store;

	store_open(&store, IN_SQLITE, NULL);
	struct job *other = new_job("a.example", 80, "x");
	keep_busy(&store, &busy, other);
	for (int i = 0; i < JOBS; i++) {
		adds[i] = (struct written){.entry = {.verb = LEDGER_ADD, .job = new_job("a.example", 80, "x")}};
		store_write(&store, &adds[i], 1);
	}
	uint64_t before = atomic_load(&metric_values[METRIC_LEDGER_COMMITS]);
	fault_vfs_let_go();
	ck_assert(store_await(&store, adds, JOBS));
	ck_assert_uint_eq(atomic_load(&metric_values[METRIC_LEDGER_COMMITS]) - before, 2);
	for (int i = 0; i < JOBS; i++) {
		ck_assert_uint_eq(adds[i].place, (size_t)i + 2);
		job_unref(adds[i].entry.job);
	}
	job_unref(other);
	store_close(&store);
}
END_TEST

/* Nobody sees what is not committed. */
START_TEST(shows_nothing_before_its_commit)
{
	struct written busy;
	struct store store;
	struct ledger_filter any = {0};
	struct id id;

	store_open(&store, IN_SQLITE, NULL);
	struct job *job = new_job("a.example", 80, "x");
	keep_busy(&store, &busy, job);
	ck_assert(!has(&store, job));
	ck_assert_uint_eq(list_page(&store, &any, NULL, &id, 1), 0);
	ck_assert_uint_eq(usage_of(&store).jobs, 0);
	ck_assert_uint_eq(store_came_back(&store, &busy, 1), 0);
	fault_vfs_let_go();
	ck_assert(store_await(&store, &busy, 1));
	ck_assert(has(&store, job));
	job_unref(job);
	store_close(&store);
}
END_TEST

/* A body has its name before anything says so; who has ended without one in a file does not wait for that. */
START_TEST(moves_bodies_before_their_commit)
{
	struct written busy, end, small;
	char text[ID_TEXT_BYTES], path[300], part[310];
	struct store store;

	store_open(&store, IN_SQLITE, NULL);
	struct job *job = add_new(&store, "a.example", 80, "x"), *other = add_new(&store, "a.example", 80, "x"),
		   *first = new_job("a.example", 80, "x");
	id_format(&job->id, text);
	snprintf(path, sizeof path, "%s/%s", store.bodies, text);
	snprintf(part, sizeof part, "%s.part", path);
	end_init(&end, job, 1000, 100000, true, store.bodies);
	ck_assert_int_eq(access(part, F_OK), 0);
	keep_busy(&store, &busy, first);
	fault_vfs_step(); /* on to the commit of the end, which comes once its body is in place */
	store_write(&store, &end, 1);
	fault_vfs_await_stops(1);
	ck_assert_int_eq(access(path, F_OK), 0);
	ck_assert_int_ne(access(part, F_OK), 0);
	ck_assert_int_eq(store_number(&store, "SELECT count(*) FROM results"), 0);
	end_init(&small, other, 1000, 100, false, store.bodies);
	store_write(&store, &small, 1);
	fault_vfs_let_go();
	ck_assert(store_await(&store, &busy, 1) && store_await(&store, &end, 1) && store_await(&store, &small, 1));
	ck_assert_int_eq(store_number(&store, "SELECT count(*) FROM results WHERE body_file = '%s'", text), 1);
	end_release(&end);
	end_release(&small);
	job_unref(job);
	job_unref(other);
	job_unref(first);
	store_close(&store);
}
END_TEST

/* ---- expiry, and giving room back */

/* A hundred at a time, and whoever comes meanwhile is let in between. */
START_TEST(expires_in_steps)
{
	enum { JOBS = 250 };
	struct job *jobs[JOBS], *late;
	int64_t expires[JOBS];
	struct written add;
	struct store store;

	store_open(&store, IN_SQLITE, NULL);
	for (int i = 0; i < JOBS; i++) {
		jobs[i] = new_job("a.example", 80, "x");
		expires[i] = i < 240 ? 1000 - i : 2000 + i;
	}
	add_many(&store, jobs, JOBS);
	end_many(&store, jobs, JOBS, expires);
	fault_vfs_hold(VFS_SYNC, "-wal");
	ck_assert_int_eq(store.ledger->ops->sweep(store.ledger, 1000), 2240);
	fault_vfs_await_stops(1);
	ck_assert_int_eq(store_number(&store, "SELECT count(*) FROM results"), 250);
	late = new_job("a.example", 80, "x");
	add = (struct written){.entry = {.verb = LEDGER_ADD, .job = late}};
	store_write(&store, &add, 1);
	fault_vfs_step();
	fault_vfs_await_stops(1); /* in the commit of what came */
	ck_assert_int_eq(store_number(&store, "SELECT count(*) FROM results"), 150);
	ck_assert_int_eq(store_number(&store, "SELECT max(expires_at) FROM results WHERE expires_at <= 1000"), 1000);
	fault_vfs_step();
	fault_vfs_await_stops(1); /* in the second step */
	ck_assert(has(&store, late));
	ck_assert_int_eq(store_number(&store, "SELECT count(*) FROM results"), 150);
	fault_vfs_step();
	fault_vfs_await_stops(1); /* and the last */
	ck_assert_int_eq(store_number(&store, "SELECT count(*) FROM results"), 50);
	fault_vfs_let_go();
	store_turn(&store);
	store_turn(&store);
	ck_assert_int_eq(store_number(&store, "SELECT count(*) FROM results"), 10);
	ck_assert_uint_eq(usage_of(&store).finished, 10);
	ck_assert_int_eq(store.ledger->ops->sweep(store.ledger, 2240), 2241);
	ck_assert(store.ledger->ops->sweep(store.ledger, 3000) == INT64_MAX);
	unref_all(jobs, JOBS);
	job_unref(late);
	store_close(&store);
}
END_TEST

/* What is unused in the file goes back to the file system while there is nothing else to do, in steps as well. */
START_TEST(shrinks_in_steps)
{
	struct store store;

	store_open(&store, IN_SQLITE, NULL);
	store_turn(&store);
	store_exec(&store,
		"CREATE TABLE junk (x); WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n "
		"WHERE i < 1500) INSERT INTO junk SELECT zeroblob(8000) FROM n; DROP TABLE junk");
	int64_t unused = store_number(&store, "PRAGMA freelist_count");
	int64_t pages = store_number(&store, "PRAGMA page_count");
	ck_assert_int_gt(unused, 1500);
	fault_vfs_hold(VFS_SYNC, "-wal");
	store.ledger->ops->sweep(store.ledger, 1); /* after which it looks for what is unused */
	for (int64_t left = unused; left > 1024; left -= 64) {
		fault_vfs_await_stops(1);
		int64_t now = store_number(&store, "PRAGMA freelist_count");
		ck_assert_int_eq(now, left);
		fault_vfs_step();
	}
	fault_vfs_let_go();
	store_turn(&store);
	int64_t rest = store_number(&store, "PRAGMA freelist_count");
	ck_assert_int_le(rest, 1024);
	ck_assert_int_gt(rest, 1024 - 64 - 1);
	store_shut(&store);
	ck_assert_int_le(store_number(&store, "PRAGMA page_count"), pages - (unused - rest));
	store_close(&store);
}
END_TEST

/* ---- the log */

/* A thread that reads, time and again. Each time it stops at the end of it. */
struct reader {
	struct store *store;
	struct job *job;
	pthread_t thread;
	atomic_bool over;
	atomic_size_t reads, wrong;
};

static void *
run_reader(void *context)
{
	struct reader *reader = context;
	struct ledger *ledger = reader->store->ledger;

	while (!reader->over) {
		struct job *found = NULL;

		if (reader->reads > 0) /* the first one opens the database */
			fault_vfs_arm();
		if (ledger->ops->find(ledger, &reader->job->id, LEDGER_WHOLE, &found) != 0 ||
			found->state != JOB_succeeded)
			reader->wrong++;
		if (found != NULL)
			job_unref(found);
		reader->reads++;
	}
	return NULL;
}

static void
start_reader(struct reader *reader, struct store *store)
{
	*reader = (struct reader){.store = store, .job = add_new(store, "a.example", 80, "x")};
	ck_assert_int_eq(end_job(store, reader->job, 1000, 100, false), 0);
	ck_assert_int_eq(thread_start(&reader->thread, "reader", run_reader, reader), 0);
}

static void
end_reader(struct reader *reader)
{
	thread_join(reader->thread);
	ck_assert_uint_eq(reader->wrong, 0);
	job_unref(reader->job);
}

/* Some 130 pages, in one batch. */
#define LARGE 1000000

static void
write_large(struct store *store, int64_t patience_ms)
{
	struct job *job = new_job("a.example", 80, "x");
	struct written written[2] = {{.entry = {.verb = LEDGER_ADD, .job = job}}};

	end_init(&written[1], job, 1000, LARGE, false, store->bodies);
	store_write(store, written, 2);
	while (!store_await_for(store, written, 2, patience_ms))
		fault_vfs_step(); /* it may be that the writer waits for the readers */
	ck_assert_int_eq(written[0].entry.error + written[1].entry.error, 0);
	end_release(&written[1]);
	job_unref(job);
}

#define LOG_PAGE (8192 + 24)

/*
 * Always one or two are reading, each from before the last commit, so the log never begins anew by itself. It is taken in each
 * 1000 pages; when there are 8000 by then, the writer keeps readers out and waits for those that are in, which then leave. On a
 * busy machine it may have waited in vain, and tries again after 8000 more: only then it is looked so far.
 */
START_TEST(bounds_the_log)
{
	enum { ROUNDS = 75, MORE_ROUNDS = 155, READERS = 2 };
	const int64_t bound = INT64_C(9300) * LOG_PAGE, far_bound = INT64_C(18600) * LOG_PAGE;
	struct reader readers[READERS];
	struct store store;
	int64_t most = 0;

	store_open(&store, IN_SQLITE, NULL);
	fault_vfs_hold(VFS_RELEASE, "");
	for (int i = 0; i < READERS; i++)
		start_reader(&readers[i], &store);
	for (int round = 0; round < ROUNDS || (round < MORE_ROUNDS && most > bound); round++) {
		fault_vfs_await_stops(READERS);
		write_large(&store, 30);
		int64_t now = usage_of(&store).wal_bytes;
		most = now > most ? now : most;
		fault_vfs_step();
	}
	for (int i = 0; i < READERS; i++)
		readers[i].over = true;
	fault_vfs_let_go();
	for (int i = 0; i < READERS; i++) {
		ck_assert_uint_ge(readers[i].reads, ROUNDS);
		end_reader(&readers[i]);
	}
	ck_assert_msg(most < far_bound, "the log came to %lld pages", (long long)most / LOG_PAGE);
	store_close(&store);
}
END_TEST

/* One read that hangs does not stop the writer. The log grows meanwhile; once it has ended, that is over. */
START_TEST(outlasts_a_slow_reader)
{
	enum { ROUNDS = 70 };
	struct reader reader;
	struct store store;

	store_open(&store, IN_SQLITE, NULL);
	fault_vfs_hold(VFS_RELEASE, "");
	start_reader(&reader, &store);
	fault_vfs_await_stops(1);
	for (int i = 0; i < ROUNDS; i++)
		write_large(&store, 60000);
	int64_t most = usage_of(&store).wal_bytes;
	ck_assert_int_gt(most, INT64_C(8000) * LOG_PAGE);
	ck_assert_uint_eq(reader.reads, 1);
	reader.over = true;
	fault_vfs_let_go();
	end_reader(&reader);
	for (int i = 0; i < 10; i++)
		write_large(&store, 60000);
	ck_assert_int_lt(usage_of(&store).wal_bytes, most + 2 * LARGE);
	store_close(&store);
}
END_TEST

/* ---- the suites */

static TCase *
order_tests(void)
{
	TCase *tests = tcase_create("order");

	tcase_add_test(tests, writes_lazy_starts_when_idle);
	tcase_add_loop_test(tests, skips_lazy_starts, 0, COUNT(after_start));
	tcase_add_test(tests, passes_lazy_starts_over_once);
	tcase_add_test(tests, writes_firm_starts_at_once);
	tcase_add_test(tests, writes_lazy_starts_at_the_end);
	tcase_add_test(tests, commits_in_groups);
	tcase_add_test(tests, shows_nothing_before_its_commit);
	tcase_add_test(tests, moves_bodies_before_their_commit);
	tcase_add_test(tests, expires_in_steps);
	tcase_add_test(tests, shrinks_in_steps);
	return tests;
}

static TCase *
log_tests(void)
{
	TCase *tests = tcase_create("log");

	tcase_add_test(tests, bounds_the_log);
	tcase_add_test(tests, outlasts_a_slow_reader);
	return tests;
}

int
main(void)
{
	TCase *(*const groups[])(void) = {order_tests, log_tests};
	Suite *suite = suite_create("sqlite_writer");
	SRunner *runner = srunner_create(suite);

	fault_vfs_install();
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
