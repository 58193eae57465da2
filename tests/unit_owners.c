/*
 * Owners: their quotas, their counts in the table, and their places in the scheduler: by hand, and in a long random run in
 * which loops take only what they were woken for. Time is a number that the tests move.
 */
#include <check.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/id.h"
#include "core/job.h"
#include "core/owners.h"
#include "core/scheduler.h"
#include "core/table.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

/* A repeatable stream of numbers (xorshift64*), so that a failure can be seen again. */
static uint64_t
next_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * UINT64_C(2685821657736338717);
}

static int
random_below(uint64_t *state, int bound)
{
	return (int)(next_random(state) >> 33) % bound;
}

static struct job *
new_job(const char *host, struct owner *owner, int priority)
{
	struct job_spec *spec = job_spec_new();

	ck_assert_ptr_nonnull(spec);
	spec->method = "GET";
	spec->origin = (struct origin_name){"http", arena_string(&spec->arena, host), 80};
	spec->priority = priority;
	spec->owner = owner == NULL ? NULL : owner->name;
	struct job *job = job_new(spec);
	ck_assert_ptr_nonnull(job);
	job->id = id_new();
	job->owner = owner;
	return job;
}

static struct owner *
owner_with(struct owners *owners, const char *name, int64_t jobs_per_minute, int64_t max_queued, int64_t max_in_flight)
{
	struct owner_limits limits = {name, jobs_per_minute, max_queued, max_in_flight};

	ck_assert_int_eq(owners_limit_locked(owners, &limits, 1, 0), 0);
	return owners_get_locked(owners, name);
}

/* ---- quotas */

static enum owner_quota
quota_of(struct owner *owner, size_t count, int64_t now)
{
	struct owner_refusal refusal = {0};

	if (owner_admit_locked(owner, count, now, &refusal) == 0)
		return OWNER_WITHIN_QUOTA;
	ck_assert_int_gt(refusal.retry_after_ms, 0);
	ck_assert_int_gt(refusal.limit, 0);
	return refusal.quota;
}

START_TEST(quotas_hold)
{
	struct owners owners = {0};
	struct owner *free_one = owner_with(&owners, "free", 0, 0, 0);
	struct owner *queued = owner_with(&owners, "queued", 0, 3, 1);
	struct owner *flying = owner_with(&owners, "flying", 0, 0, 3);
	struct owner *slow = owner_with(&owners, "slow", 3, 0, 0);

	ck_assert_int_eq(quota_of(free_one, 1000000, 0), OWNER_WITHIN_QUOTA);
	/* all at once or none */
	ck_assert_int_eq(quota_of(queued, 4, 0), OWNER_MAX_QUEUED);
	ck_assert_int_eq(quota_of(queued, 3, 0), OWNER_WITHIN_QUOTA);
	ck_assert_int_eq(quota_of(queued, 1, 0), OWNER_MAX_QUEUED);
	owner_unadmit_locked(queued, 1);
	queued->running = 5; /* where there is max_queued, these are no matter */
	ck_assert_int_eq(quota_of(queued, 1, 0), OWNER_WITHIN_QUOTA);
	/* what waits will be in flight */
	ck_assert_int_eq(quota_of(flying, 1, 0), OWNER_WITHIN_QUOTA);
	flying->running = 1;
	ck_assert_int_eq(quota_of(flying, 2, 0), OWNER_MAX_IN_FLIGHT);
	ck_assert_int_eq(quota_of(flying, 1, 0), OWNER_WITHIN_QUOTA);
	ck_assert_int_eq(quota_of(flying, 1, 0), OWNER_MAX_IN_FLIGHT);
	ck_assert_int_eq(quota_of(slow, 3, 0), OWNER_WITHIN_QUOTA);
	ck_assert_int_eq(quota_of(slow, 1, 19999), OWNER_JOBS_PER_MINUTE);
	ck_assert_int_eq(quota_of(slow, 1, 20000), OWNER_WITHIN_QUOTA);
	owner_unadmit_locked(slow, 1);
	ck_assert_int_eq(quota_of(slow, 1, 20000), OWNER_WITHIN_QUOTA);
	owners_release(&owners);
}
END_TEST

START_TEST(new_limits_keep_counts)
{
	struct owners owners = {0};
	struct owner *owner = owner_with(&owners, "a", 10, 10, 0);

	ck_assert_int_eq(quota_of(owner, 10, 0), OWNER_WITHIN_QUOTA);
	ck_assert_ptr_eq(owner_with(&owners, "a", 60, 11, 0), owner);
	ck_assert_int_eq(quota_of(owner, 2, 0), OWNER_MAX_QUEUED);
	ck_assert_int_eq(quota_of(owner, 1, 0), OWNER_JOBS_PER_MINUTE);
	ck_assert_int_eq(quota_of(owner, 1, 1000), OWNER_WITHIN_QUOTA);
	ck_assert_uint_eq(owner->waiting, 11);
	ck_assert_ptr_null(owners_get_locked(&owners, NULL));
	ck_assert_ptr_null(owners_find_locked(&owners, "b"));
	owners_release(&owners);
}
END_TEST

START_TEST(the_table_counts)
{
	struct table table;
	struct list woken;

	list_init(&woken);
	table_init(&table, 10, 10);
	lock_take(&table.lock);
	struct owner *owner = owner_with(&table.owners, "a", 0, 0, 0);
	struct job *job = new_job("a", owner, 0), *old = new_job("a", owner, 0);
	ck_assert_int_eq(table_reserve_locked(&table), 0);
	ck_assert_int_eq(quota_of(owner, 1, 0), OWNER_WITHIN_QUOTA);
	ck_assert_int_eq(table_insert_locked(&table, job), 0);
	ck_assert_uint_eq(owner->waiting, 1);
	table_move_locked(&table, job, JOB_running, &woken);
	ck_assert_uint_eq(owner->waiting, 0);
	ck_assert_uint_eq(owner->running, 1);
	/* of an earlier run */
	job_set_state(old, JOB_running);
	table_readmit_locked(&table, old);
	ck_assert_int_eq(table_insert_locked(&table, old), 0);
	ck_assert_uint_eq(owner->running, 2);
	table_move_locked(&table, old, JOB_queued, &woken);
	ck_assert_uint_eq(owner->waiting, 1);
	ck_assert_uint_eq(owner->running, 1);
	table_finish_locked(&table, old, JOB_cancelled, &woken);
	table_finish_locked(&table, job, JOB_succeeded, &woken);
	ck_assert_uint_eq(owner->waiting, 0);
	ck_assert_uint_eq(owner->running, 0);
	lock_drop(&table.lock);
	job_unref(job);
	job_unref(old);
	table_release(&table);
}
END_TEST

/* ---- the scheduler, by hand */

static struct scheduler *
new_scheduler(size_t per_origin, unsigned loops)
{
	struct scheduler_limits limits = {.max_in_flight = 100000, .max_in_flight_per_origin = per_origin};
	struct scheduler *scheduler;

	ck_assert_int_eq(scheduler_new(&limits, loops, &scheduler), 0);
	return scheduler;
}

static struct job *
add(struct scheduler *scheduler, const char *host, struct owner *owner, int priority)
{
	struct job *job = new_job(host, owner, priority);
	int wake;

	ck_assert_int_eq(scheduler_add_locked(scheduler, job, 0, &wake), 0);
	return job;
}

static struct job *
take(struct scheduler *scheduler)
{
	struct job *job = NULL;

	return scheduler_take_locked(scheduler, 0, &job, 1) == 1 ? job : NULL;
}

static int
done(struct scheduler *scheduler, struct job *job)
{
	int wake;

	scheduler_done_locked(scheduler, job, &wake);
	job_unref(job);
	return wake;
}

START_TEST(others_go_on)
{
	struct scheduler *scheduler = new_scheduler(100, 1);
	struct owners owners = {0};
	struct owner *a = owner_with(&owners, "a", 0, 0, 2), *b = owner_with(&owners, "b", 0, 0, 0);
	struct job *jobs[6];

	for (int i = 0; i < 4; i++)
		jobs[i] = add(scheduler, "x", a, 5);
	jobs[4] = add(scheduler, "x", b, 0);
	jobs[5] = add(scheduler, "x", NULL, 0);
	ck_assert_ptr_eq(take(scheduler), jobs[0]);
	ck_assert_ptr_eq(take(scheduler), jobs[1]);
	ck_assert_ptr_eq(take(scheduler), jobs[4]);
	ck_assert_ptr_eq(take(scheduler), jobs[5]);
	ck_assert_ptr_null(take(scheduler));
	ck_assert_int_eq(done(scheduler, jobs[5]), SCHEDULER_NO_LOOP); /* no other may start for that one */
	ck_assert_ptr_null(take(scheduler));
	ck_assert_int_eq(done(scheduler, jobs[0]), 0);
	ck_assert_ptr_eq(take(scheduler), jobs[2]);
	ck_assert_ptr_null(take(scheduler));
	/* a higher limit lets one more through; a lower one stops nothing that runs */
	owner_with(&owners, "a", 0, 0, 3);
	scheduler_owner_changed_locked(scheduler, a);
	ck_assert_ptr_eq(take(scheduler), jobs[3]);
	done(scheduler, jobs[1]);
	done(scheduler, jobs[2]);
	done(scheduler, jobs[3]);
	done(scheduler, jobs[4]);
	ck_assert_uint_eq(a->in_flight, 0);
	ck_assert_uint_eq(scheduler_origins_locked(scheduler), 0);
	scheduler_free(scheduler);
	owners_release(&owners);
}
END_TEST

/* The order of a held lane is that of its jobs, whatever came while it was held; and what is cancelled in it is gone. */
START_TEST(held_jobs_keep_their_order)
{
	struct scheduler *scheduler = new_scheduler(100, 1);
	struct owners owners = {0};
	struct owner *a = owner_with(&owners, "a", 0, 0, 1);
	struct job *first = add(scheduler, "x", a, 0), *second = add(scheduler, "x", a, 0),
		   *third = add(scheduler, "y", a, 0);
	int wake;

	ck_assert_ptr_eq(take(scheduler), first);
	ck_assert_ptr_null(take(scheduler));
	struct job *urgent = add(scheduler, "y", a, 9), *gone = add(scheduler, "y", a, 10);
	ck_assert_ptr_null(take(scheduler));
	scheduler_remove_locked(scheduler, gone, &wake);
	job_unref(gone);
	done(scheduler, first);
	ck_assert_ptr_eq(take(scheduler), urgent);
	done(scheduler, urgent);
	ck_assert_ptr_eq(take(scheduler), second);
	scheduler_remove_locked(scheduler, third, &wake);
	job_unref(third);
	done(scheduler, second);
	ck_assert_ptr_null(take(scheduler));
	ck_assert_uint_eq(scheduler_origins_locked(scheduler), 0);
	scheduler_free(scheduler);
	owners_release(&owners);
}
END_TEST

/* Two owners have a free place each, and the same origin would be next for both: the one that has to wait there gets another. */
START_TEST(a_lost_place_is_made_good)
{
	struct scheduler *scheduler = new_scheduler(1, 1);
	struct owners owners = {0};
	struct owner *a = owner_with(&owners, "a", 0, 0, 1), *b = owner_with(&owners, "b", 0, 0, 1);
	struct job *of_a = add(scheduler, "p", a, 0), *of_b = add(scheduler, "q", b, 0);

	ck_assert_ptr_eq(take(scheduler), of_a);
	ck_assert_ptr_eq(take(scheduler), of_b);
	struct job *first = add(scheduler, "x", a, 0), *second = add(scheduler, "x", b, 0),
		   *other = add(scheduler, "y", b, 0);
	ck_assert_ptr_null(take(scheduler));
	done(scheduler, of_b); /* b's may be next at x */
	done(scheduler, of_a); /* but a's goes before it */
	ck_assert_ptr_eq(take(scheduler), first);
	ck_assert_ptr_eq(take(scheduler), other);
	ck_assert_ptr_null(take(scheduler));
	done(scheduler, other);
	ck_assert_ptr_null(take(scheduler));
	done(scheduler, first);
	ck_assert_ptr_eq(take(scheduler), second);
	done(scheduler, second);
	ck_assert_uint_eq(scheduler_origins_locked(scheduler), 0);
	scheduler_free(scheduler);
	owners_release(&owners);
}
END_TEST

/* ---- as chance has it */

enum { OWNERS = 4, HOSTS = 12, LOOPS = 3, SLOTS = 200, ROUNDS = 8000 };

struct world {
	struct scheduler *scheduler;
	struct owners owners;
	struct owner *owner[OWNERS + 1]; /* the last one is nobody */
	struct job *waiting[SLOTS], *flying[SLOTS];
	int waiting_count, flying_count;
	size_t host_limit, host_flying[HOSTS];
	bool woken[LOOPS];
};

static int
host_of(const struct job *job)
{
	return job->spec->origin.host[0] - 'a';
}

static void
note_wake(struct world *world, int wake)
{
	for (int i = 0; i < LOOPS; i++)
		world->woken[i] |= wake == SCHEDULER_ALL_LOOPS || wake == i;
}

static void
forget(struct job **jobs, int *count, const struct job *job)
{
	int at = 0;

	while (jobs[at] != job)
		at++;
	jobs[at] = jobs[--*count];
}

/* Loops that were woken take as much as they are given. */
static void
take_all(struct world *world)
{
	struct job *jobs[SLOTS];

	for (int i = 0; i < LOOPS; i++) {
		size_t count = world->woken[i] ? scheduler_take_locked(world->scheduler, (unsigned)i, jobs, SLOTS) : 0;

		world->woken[i] = false;
		for (size_t k = 0; k < count; k++) {
			forget(world->waiting, &world->waiting_count, jobs[k]);
			world->flying[world->flying_count++] = jobs[k];
			world->host_flying[host_of(jobs[k])]++;
		}
	}
}

/* Nobody is above a limit, and nothing waits that might run. */
static void
check_world(const struct world *world, int round)
{
	size_t flying[OWNERS] = {0};

	for (int i = 0; i < world->flying_count; i++)
		for (int k = 0; k < OWNERS; k++)
			flying[k] += world->flying[i]->owner == world->owner[k];
	for (int i = 0; i < OWNERS; i++) {
		ck_assert_uint_eq(flying[i], world->owner[i]->in_flight);
		ck_assert_uint_le(flying[i], world->owner[i]->max_in_flight);
	}
	for (int i = 0; i < world->waiting_count; i++) {
		const struct job *job = world->waiting[i];
		const struct owner *owner = job->owner;

		ck_assert_msg((owner != NULL && owner->in_flight >= owner->max_in_flight) ||
				world->host_flying[host_of(job)] >= world->host_limit,
			"round %d: a job of %s for %s might run", round, owner == NULL ? "nobody" : owner->name,
			job->spec->origin.host);
	}
}

static void
step(struct world *world, uint64_t *random)
{
	char host[2] = {(char)('a' + random_below(random, HOSTS)), '\0'};
	int wake = SCHEDULER_NO_LOOP;
	int what = random_below(random, 12);

	if (what < 5 && world->waiting_count < SLOTS / 2) {
		struct job *job =
			new_job(host, world->owner[random_below(random, OWNERS + 1)], random_below(random, 4));

		ck_assert_int_eq(scheduler_add_locked(world->scheduler, job, 0, &wake), 0);
		world->waiting[world->waiting_count++] = job;
	} else if (what < 9 && world->flying_count > 0) {
		struct job *job = world->flying[random_below(random, world->flying_count)];

		forget(world->flying, &world->flying_count, job);
		world->host_flying[host_of(job)]--;
		wake = done(world->scheduler, job);
	} else if (world->waiting_count > 0) {
		struct job *job = world->waiting[random_below(random, world->waiting_count)];

		forget(world->waiting, &world->waiting_count, job);
		scheduler_remove_locked(world->scheduler, job, &wake);
		job_unref(job);
	}
	note_wake(world, wake);
}

START_TEST(nothing_waits_that_might_run)
{
	struct world world = {.host_limit = (size_t)(_i % 3 + 1)};
	uint64_t random = 1234567 + (uint64_t)_i;

	world.scheduler = new_scheduler(world.host_limit, LOOPS);
	for (int i = 0; i < OWNERS; i++) {
		char name[2] = {(char)('a' + i), '\0'};

		world.owner[i] = owner_with(&world.owners, name, 0, 0, 1 + i * 2);
	}
	for (int round = 0; round < ROUNDS; round++) {
		/* Loops come a little later, when what they were woken for may be gone, or not be the next any more. */
		for (int steps = random_below(&random, 6); steps >= 0; steps--)
			step(&world, &random);
		take_all(&world);
		check_world(&world, round);
	}
	take_all(&world);
	while (world.flying_count + world.waiting_count > 0) {
		ck_assert_int_gt(world.flying_count, 0);
		struct job *job = world.flying[0];
		forget(world.flying, &world.flying_count, job);
		world.host_flying[host_of(job)]--;
		note_wake(&world, done(world.scheduler, job));
		take_all(&world);
	}
	ck_assert_uint_eq(scheduler_origins_locked(world.scheduler), 0);
	scheduler_free(world.scheduler);
	owners_release(&world.owners);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("owners");
	TCase *tests = tcase_create("owners");
	SRunner *runner = srunner_create(suite);

	tcase_add_test(tests, quotas_hold);
	tcase_add_test(tests, new_limits_keep_counts);
	tcase_add_test(tests, the_table_counts);
	tcase_add_test(tests, others_go_on);
	tcase_add_test(tests, held_jobs_keep_their_order);
	tcase_add_test(tests, a_lost_place_is_made_good);
	tcase_add_loop_test(tests, nothing_waits_that_might_run, 0, 6);
	tcase_set_timeout(tests, 120); /* sanitizers on a busy machine */
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
