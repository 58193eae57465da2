/*
 * Lists of the SQLite store against a plain look at every job: some 500 of them as chance has it, by every combination of
 * filters, cursors and limits.
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store.h"

enum { JOBS = 500 };

static const char *const hosts[] = {"a.example", "b.example", "sub.a.example", "2001:db8::1"};
static const char *const owners[] = {"one", "two", "none"}; /* the last one has no jobs; some jobs have no owner */
static const char *const tags[] = {"often", "seldom", "Often", "a'b", "\xc3\xa9"};

struct world {
	struct store store;
	struct job *jobs[JOBS]; /* in the order of their ids; NULL: removed */
	enum job_state states[JOBS];
};

/* A job with any of the tags, "seldom" seldom. */
static struct job *
any_job(uint64_t *random)
{
	struct job *job = new_job(hosts[random_below(random, COUNT(hosts))], 80 + random_below(random, 3), "");
	struct job_spec *spec = job->spec;

	int owner = random_below(random, 3);
	spec->owner = owner == 2 ? NULL : arena_string(&spec->arena, owners[owner]);
	spec->tags = arena_alloc(&spec->arena, COUNT(tags) * sizeof(char *));
	spec->tag_count = 0;
	for (int i = 0; i < COUNT(tags); i++)
		if (random_below(random, i == 1 ? 50 : 3) == 0)
			spec->tags[spec->tag_count++] = arena_string(&spec->arena, tags[i]);
	return job;
}

static void
bring_to(struct world *world, int at, enum job_state state)
{
	struct job *job = world->jobs[at];
	struct written written = {.entry = {.verb = LEDGER_START, .job = job, .start = {.version = 2}}};

	world->states[at] = state;
	if (state == JOB_running)
		ck_assert_int_eq(store_put(&world->store, &written), 0);
	if (!job_state_done(state))
		return;
	end_init(&written, job, INT64_MAX, 10, false, world->store.bodies);
	written.entry.end.state = state;
	ck_assert_int_eq(store_put(&world->store, &written), 0);
	end_release(&written);
}

/* Made by many threads, jobs come to the store a little out of order. */
static void
make_world(struct world *world, uint64_t seed)
{
	static const enum job_state states[] = {
		JOB_queued, JOB_running, JOB_succeeded, JOB_succeeded, JOB_succeeded, JOB_failed, JOB_cancelled};
	struct job *mixed[JOBS];
	uint64_t random = seed;

	store_open(&world->store, IN_SQLITE, NULL);
	for (int i = 0; i < JOBS; i++)
		mixed[i] = world->jobs[i] = any_job(&random);
	for (int i = 0; i + 1 < JOBS; i++) {
		int other = i + random_below(&random, JOBS - i < 5 ? JOBS - i : 5);
		struct job *job = mixed[i];

		mixed[i] = mixed[other];
		mixed[other] = job;
	}
	add_many(&world->store, mixed, JOBS);
	for (int i = 0; i < JOBS; i++)
		bring_to(world, i, states[random_below(&random, COUNT(states))]);
	for (int i = 0; i < JOBS; i++) {
		if (random_below(&random, 10) > 0)
			continue;
		ck_assert(remove_job(&world->store, world->jobs[i]));
		job_unref(world->jobs[i]);
		world->jobs[i] = NULL;
	}
}

static void
end_world(struct world *world)
{
	for (int i = 0; i < JOBS; i++)
		if (world->jobs[i] != NULL)
			job_unref(world->jobs[i]);
	store_close(&world->store);
}

static bool
fits(const struct world *world, int at, const struct ledger_filter *filter)
{
	const struct job_spec *spec = world->jobs[at]->spec;
	unsigned states = filter->states;

	if ((states & LEDGER_LIVE_STATES) != 0)
		states |= LEDGER_LIVE_STATES; /* which of them is not the store's to tell */
	return (states == 0 || (states & 1u << world->states[at]) != 0) &&
		(filter->tag == NULL || job_spec_has_tag(spec, filter->tag)) &&
		(filter->host == NULL || strcmp(filter->host, spec->origin.host) == 0) &&
		(filter->port == 0 || filter->port == spec->origin.port) &&
		(filter->owner == NULL || (spec->owner != NULL && strcmp(filter->owner, spec->owner) == 0));
}

static size_t
look_at_all(const struct world *world, const struct ledger_filter *filter, const struct id *before, struct id *ids,
	size_t limit)
{
	size_t count = 0;

	for (int i = JOBS - 1; i >= 0 && count < limit; i--)
		if (world->jobs[i] != NULL && (before == NULL || id_compare(&world->jobs[i]->id, before) < 0) &&
			fits(world, i, filter))
			ids[count++] = world->jobs[i]->id;
	return count;
}

static void
compare(struct world *world, const struct ledger_filter *filter, const struct id *before, size_t limit)
{
	struct id found[JOBS + 1], wanted[JOBS + 1];
	size_t count = list_page(&world->store, filter, before, found, limit);
	size_t wanted_count = look_at_all(world, filter, before, wanted, limit);

	if (count != wanted_count || memcmp(found, wanted, count * sizeof *found) != 0)
		ck_abort_msg("states %x, tag %s, host %s, port %d, owner %s, limit %zu: %zu jobs, not these %zu",
			filter->states, filter->tag == NULL ? "any" : filter->tag,
			filter->host == NULL ? "any" : filter->host, filter->port,
			filter->owner == NULL ? "any" : filter->owner, limit, count, wanted_count);
}

/* Cursors: none, of a job, of one that was removed, of none, and before all. */
static void
compare_pages(struct world *world, const struct ledger_filter *filter, uint64_t *random)
{
	static const size_t limits[] = {1, 2, 50, JOBS + 1};
	int at = random_below(random, JOBS);
	struct id cursors[4];

	while (world->jobs[at] == NULL)
		at = (at + 1) % JOBS;
	cursors[0] = world->jobs[at]->id;
	cursors[1] = id_make(id_stamp(&cursors[0]) + 1, 0);
	cursors[2] = id_make((UINT64_C(1) << 60) - 1, UINT64_MAX);
	cursors[3] = id_make(0, 0);
	for (int limit = 0; limit < COUNT(limits); limit++) {
		compare(world, filter, NULL, limits[limit]);
		compare(world, filter, &cursors[random_below(random, COUNT(cursors))], limits[limit]);
	}
}

/* The index says which states are asked for: all of them together would take minutes. */
START_TEST(lists_as_a_plain_look_does)
{
	static const int ports[] = {0, 81, 99};
	static struct world world;
	uint64_t random = 31 + (uint64_t)_i;

	make_world(&world, random);
	for (unsigned states = (unsigned)_i; states < 1u << JOB_STATE_COUNT; states += 4) {
		for (int tag = -1; tag <= COUNT(tags); tag++) {
			for (int host = -1; host <= COUNT(hosts); host += 2) {
				struct ledger_filter filter = {.states = states,
					.tag = tag < 0              ? NULL
						: tag < COUNT(tags) ? tags[tag]
								    : "never",
					.host = host < 0              ? NULL
						: host < COUNT(hosts) ? hosts[host]
								      : "never.example",
					.port = ports[random_below(&random, COUNT(ports))]};
				int owner = random_below(&random, 2 * COUNT(owners));
				if (owner < COUNT(owners))
					filter.owner = owners[owner];

				compare_pages(&world, &filter, &random);
			}
		}
	}
	end_world(&world);
}
END_TEST

/* Every job is on one page, whatever the size of pages; new ones that come meanwhile are on none. */
START_TEST(pages_make_a_whole)
{
	static struct world world;
	struct ledger_filter filters[] = {{0}, {.tag = "often"}, {.host = "a.example"}, {.states = BIT(queued)},
		{.states = BIT(succeeded) | BIT(failed) | BIT(running)}, {.states = BIT(cancelled), .port = 81},
		{.owner = "one"}, {.owner = "two", .states = BIT(succeeded) | BIT(queued)},
		{.owner = "one", .states = BIT(running)}};
	struct id ids[JOBS], page[7], cursor;

	make_world(&world, 77);
	for (int i = 0; i < COUNT(filters); i++) {
		size_t all = look_at_all(&world, &filters[i], NULL, ids, JOBS), seen = 0, count;

		do {
			count = list_page(&world.store, &filters[i], seen == 0 ? NULL : &cursor, page, 7);
			ck_assert_mem_eq(page, ids + seen, count * sizeof *page);
			seen += count;
			cursor = page[6];
			job_unref(add_new(&world.store, "a.example", 81, "often"));
		} while (count == 7);
		ck_assert_uint_eq(seen, all);
		/* What has come is away before the next filter. */
		store_exec(&world.store,
			"DELETE FROM live WHERE seq IN (SELECT seq FROM tags WHERE tag = 'all');"
			"DELETE FROM jobs WHERE seq IN (SELECT seq FROM tags WHERE tag = 'all');"
			"DELETE FROM tags WHERE seq NOT IN (SELECT seq FROM jobs)");
	}
	end_world(&world);
}
END_TEST

/* No batch has jobs yet; and a limit of none gives none. */
START_TEST(lists_nothing)
{
	struct ledger_filter batch = {.batch = "0198c0de-0000-7000-8000-000000000000"}, any = {0};
	struct store store;
	struct id id;

	store_open(&store, IN_SQLITE, NULL);
	job_unref(add_new(&store, "a.example", 80, "x"));
	ck_assert_uint_eq(list_page(&store, &batch, NULL, &id, 1), 0);
	ck_assert_uint_eq(list_page(&store, &any, NULL, &id, 0), 0);
	ck_assert_uint_eq(list_page(&store, &any, NULL, &id, 1), 1);
	store_close(&store);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("sqlite_list");
	TCase *tests = tcase_create("lists");
	SRunner *runner = srunner_create(suite);

	tcase_add_loop_test(tests, lists_as_a_plain_look_does, 0, 4);
	tcase_add_test(tests, pages_make_a_whole);
	tcase_add_test(tests, lists_nothing);
	tcase_set_timeout(tests, 120); /* sanitizers on a busy machine */
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
