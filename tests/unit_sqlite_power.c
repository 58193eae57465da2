/*
 * The SQLite store and a loss of power, played at many points of one run (fault_vfs.h): whatever was synced is there, of the
 * rest chance decides. Each time the store opens, is whole, and has everything that was reported as committed by then.
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "fault_vfs.h"
#include "store.h"

enum { JOBS = 260, STEPS = 4, POINTS = 40, CHANCES = 3 };

/* An entry, and what stood written down when it was written, and when it was reported. */
struct step {
	struct written written;
	size_t submitted, reported;
};

/* A job goes through some of: added, started, ended, removed. */
struct life {
	struct job *job;
	struct step steps[STEPS];
	int count, next;
	int64_t bytes; /* of its body */
};

struct run {
	struct store store;
	struct life lives[JOBS];
	uint64_t random;
};

static void
note_report(void *context, const struct ledger_entry *entry)
{
	const struct written *written = container_of(entry, struct written, entry);

	(void)context;
	container_of(written, struct step, written)->reported = fault_vfs_position();
}

/* ---- the run */

static void
plan(struct run *run, struct life *life)
{
	life->job = new_job("a.example", 80, "x");
	life->count = random_below(&run->random, 8) == 0 ? 1 : 2 + random_below(&run->random, STEPS - 1);
	life->bytes = random_below(&run->random, 4) == 0 ? 0 : random_below(&run->random, 110000);
	life->steps[0].written = entry_of(LEDGER_ADD, life->job);
	life->steps[1].written = change_of(LEDGER_START, life->job, 2);
	if (life->count > 2)
		end_init(&life->steps[2].written, life->job, 1000, life->bytes, false, run->store.bodies);
	life->steps[3].written = entry_of(LEDGER_REMOVE, life->job);
	for (int i = 0; i < STEPS; i++)
		life->steps[i].submitted = life->steps[i].reported = SIZE_MAX;
}

/* The next step of some life among the first so many. */
static struct step *
take_step(struct run *run, int lives)
{
	struct life *life = &run->lives[random_below(&run->random, lives)];

	return life->next == life->count ? NULL : &life->steps[life->next++];
}

/* New lives begin while older ones go on; now and then what was written is awaited. */
static void
go_through(struct run *run)
{
	struct step *last = NULL;
	int idle = 0;

	for (int lives = 1; idle < 20 * JOBS; lives += lives < JOBS && random_below(&run->random, 3) == 0) {
		struct step *step = take_step(run, lives);

		idle = step == NULL ? idle + 1 : 0;
		if (step == NULL)
			continue;
		step->submitted = fault_vfs_position();
		store_write(&run->store, &step->written, 1);
		last = step;
		if (random_below(&run->random, 4) == 0)
			ck_assert(store_await(&run->store, &step->written, 1));
	}
	ck_assert(store_await(&run->store, &last->written, 1));
}

static void
record(struct run *run, uint64_t seed)
{
	run->random = seed;
	fault_vfs_record();
	store_open(&run->store, IN_SQLITE, NULL);
	run->store.seen = note_report;
	for (int i = 0; i < JOBS; i++)
		plan(run, &run->lives[i]);
	go_through(run);
	store_shut(&run->store);
	fault_vfs_stop_recording();
	for (int i = 0; i < JOBS; i++)
		for (int k = 0; k < run->lives[i].count; k++)
			ck_assert_int_eq(run->lives[i].steps[k].written.entry.error, 0);
}

static void
end_run(struct run *run)
{
	for (int i = 0; i < JOBS; i++) {
		if (run->lives[i].count > 2)
			end_release(&run->lives[i].steps[2].written);
		job_unref(run->lives[i].job);
	}
	store_close(&run->store);
	fault_vfs_forget();
}

/* ---- what is left of it */

/* How many steps of a life the store has carried out, by the job that was found; -1: it may be none or all. */
static int
steps_of(const struct job *found)
{
	if (found == NULL)
		return -1;
	return found->state == JOB_queued ? 1 : found->state == JOB_running ? 2 : 3;
}

static void
look_at_life(struct store *store, const struct life *life, size_t position)
{
	struct job *found = find_job(store, &life->job->id, LEDGER_WHOLE);
	int reported = 0, submitted = 0, steps = steps_of(found);

	while (reported < life->count && life->steps[reported].reported <= position)
		reported++;
	while (submitted < life->count && life->steps[submitted].submitted <= position)
		submitted++;
	if (steps < 0)
		steps = reported == 0 ? 0 : STEPS;
	ck_assert_msg(steps >= reported && steps <= submitted,
		"%d steps were reported, %d submitted, but it is as after %d", reported, submitted, steps);
	if (steps == 3) {
		ck_assert_int_eq(found->response->body.bytes, life->bytes);
		if (memcmp(found->response->body.data, life->steps[2].written.entry.end.response->body.data,
			    (size_t)life->bytes) != 0)
			ck_abort_msg("a body is another");
	}
	if (found != NULL)
		job_unref(found);
}

static void
print_finding(void *context, const char *line)
{
	(void)context;
	fprintf(stderr, "%s\n", line);
}

static void
look_after_loss(const struct run *run, size_t position, uint64_t chance, const char *dir)
{
	struct store store;
	char *message;

	fault_vfs_lose_power(position, chance, dir);
	store_open_at(&store, dir);
	int result = ledger_sqlite_check(store.dir, store.bodies, print_finding, NULL, &message);
	ck_assert_msg(result == 0, "%d findings: %s", result, message == NULL ? "" : message);
	for (int i = 0; i < JOBS; i++)
		look_at_life(&store, &run->lives[i], position);
	job_unref(add_new(&store, "a.example", 80, "x")); /* and it goes on */
	store_close(&store);
}

static int
by_size(const void *a, const void *b)
{
	size_t first = *(const size_t *)a, second = *(const size_t *)b;

	return first < second ? -1 : first > second;
}

/* Many at the beginning; around whatever ends a checkpoint or begins a log; and anywhere. */
static int
choose_points(struct run *run, size_t *points)
{
	size_t all = fault_vfs_position();
	int count = 0, special = 0;

	for (; count < 15; count++)
		points[count] = (size_t)(4 * count);
	for (size_t at = 60; at < all && special < 10; at++) {
		if (!fault_vfs_is_sync(at, "ledger.db") && !fault_vfs_is_restart(at))
			continue;
		points[count++] = at + (size_t)random_below(&run->random, 3);
		special++;
	}
	ck_assert_int_gt(special, 3); /* else there was no checkpoint */
	while (count < POINTS - 1)
		points[count++] = (size_t)random_below(&run->random, (int)all);
	points[count++] = all;
	qsort(points, (size_t)count, sizeof *points, by_size);
	return count;
}

START_TEST(keeps_what_it_reported)
{
	static struct run run;
	size_t points[POINTS];
	char dir[128], bodies[160];

	memset(&run, 0, sizeof run);
	record(&run, 1234567 + (uint64_t)_i);
	folder_make(dir, sizeof dir);
	snprintf(bodies, sizeof bodies, "%s/bodies", dir);
	ck_assert_int_eq(mkdir(bodies, 0700), 0);
	int count = choose_points(&run, points);
	for (int i = 0; i < count; i++)
		for (int chance = 0; chance < CHANCES; chance++)
			look_after_loss(&run, points[i] < points[count - 1] ? points[i] : points[count - 1],
				chance == 0 ? 0 : next_random(&run.random), dir);
	folder_remove(dir);
	end_run(&run);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("sqlite_power");
	TCase *tests = tcase_create("power");
	SRunner *runner = srunner_create(suite);

	fault_vfs_install();
	log_configure(LOG_ALWAYS, false);
	tcase_add_loop_test(tests, keeps_what_it_reported, 0, SANITIZED ? 1 : 2);
	tcase_set_timeout(tests, 120); /* sanitizers on a busy machine */
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
