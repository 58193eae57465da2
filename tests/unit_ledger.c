/*
 * What holds for every store: what is added is found and listed, newest first, whatever comes and goes meanwhile; an
 * idempotency key is one job's; what is over goes; what is said to be committed is said once. Each test runs over the memory
 * store and over SQLite. And what is the memory store's alone: its bounds.
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <check.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "store.h"

/* The index of a loop test is the store's kind, and whatever there is of it besides. */
#define KIND ((enum store_kind)(_i % STORE_KINDS))
#define ROW (_i / STORE_KINDS)

/* ---- add, find, remove */

START_TEST(finds_what_was_added)
{
	struct store store;
	struct job *a = new_job("a.example", 80, "x"), *b = new_job("a.example", 80, "x");

	store_open(&store, KIND, NULL);
	ck_assert(!has(&store, a));
	ck_assert_int_eq(add_job(&store, a), 0);
	ck_assert(has(&store, a));
	ck_assert(!has(&store, b));
	ck_assert_int_eq(add_job(&store, b), 0);
	ck_assert_int_eq(end_job(&store, b, 1000, 1, false), 0);
	ck_assert(has(&store, b));
	ck_assert(remove_job(&store, a));
	ck_assert(!remove_job(&store, a));
	ck_assert(!has(&store, a));
	ck_assert(has(&store, b));
	ck_assert_uint_eq(usage_of(&store).jobs, 1);
	ck_assert_uint_eq(store.committed, 5);
	ck_assert_uint_eq(a->references, 1);
	job_unref(a);
	store_close(&store); /* which drops the store's reference */
	ck_assert_uint_eq(b->references, 1);
	job_unref(b);
}
END_TEST

/* An id that this store cannot have made, or whose second half is another's, is nobody's. */
START_TEST(knows_ids_whole)
{
	static const struct id old = {
		{0x55, 0x0e, 0x84, 0, 0xe2, 0x9b, 0x41, 0xd4, 0xa7, 0x16, 0x44, 0x66, 0x55, 0x44, 0, 0}};
	struct store store;

	store_open(&store, KIND, NULL);
	struct job *job = add_new(&store, "a.example", 80, "x");
	ck_assert_ptr_null(find_job(&store, &old, LEDGER_WHOLE));
	for (int bit = 0; bit < 128; bit++) {
		struct id other = job->id;

		other.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		ck_assert_msg(find_job(&store, &other, LEDGER_WHOLE) == NULL, "bit %d makes no difference", bit);
	}
	struct job stranger = {.id = job->id, .spec = job->spec, .references = 1};
	list_init(&stranger.waiters);
	stranger.id.bytes[15] ^= 1;
	ck_assert(!remove_job(&store, &stranger));
	ck_assert(has(&store, job));
	job_unref(job);
	store_close(&store);
}
END_TEST

/* Many entries in one write come back, those of one job in their order, each with its own verdict. */
START_TEST(takes_batches)
{
	enum { BATCH = 50 };
	struct written written[BATCH];
	struct store store;
	struct job *jobs[BATCH];

	store_open(&store, KIND, NULL);
	for (int i = 0; i < BATCH; i++) {
		bool removal = i % 5 == 4;

		jobs[i] = removal ? job_ref(jobs[i - 1]) : new_job("a.example", 80, "x");
		written[i] = (struct written){.entry = {.verb = removal ? LEDGER_REMOVE : LEDGER_ADD, .job = jobs[i]}};
	}
	store_write(&store, written, BATCH);
	ck_assert(store_await(&store, written, BATCH));
	for (int i = 0; i < BATCH; i++) {
		ck_assert_uint_eq(written[i].times, 1);
		ck_assert_int_eq(written[i].entry.error, 0);
		if (i % 5 == 4)
			ck_assert_uint_gt(written[i].place, written[i - 1].place);
		ck_assert_int_eq(written[i].entry.found, i % 5 == 4);
		ck_assert_int_eq(has(&store, jobs[i]), i % 5 < 3);
	}
	ck_assert_uint_eq(usage_of(&store).jobs, BATCH / 5 * 3);
	unref_all(jobs, BATCH);
	store_close(&store);
}
END_TEST

/* ---- idempotency keys */

static struct job *
new_keyed(const char *key, uint8_t fingerprint)
{
	struct job *job = new_job("a.example", 80, "x");

	job->spec->idempotency_key = key == NULL ? NULL : arena_string(&job->spec->arena, key);
	memset(job->spec->fingerprint, fingerprint, sizeof job->spec->fingerprint);
	return job;
}

/* The first has the key; the others are told of it. In batches of so many: what was written in the same one counts as well. */
static const struct {
	const char *key;
	uint8_t fingerprint;
	int first; /* the place of the one that has it; -1: this one is taken */
} keyed[] = {
	{"a", 1, -1},
	{"b", 1, -1},
	{"a", 1, 0},
	{"a", 2, 0},
	{NULL, 1, -1},
	{NULL, 1, -1},
	{"A", 1, -1},
	{"a ", 1, -1},
	{"\xc3\xa9'\"%_", 0, -1},
	{"\xc3\xa9'\"%_", 0, 8},
	{"b", 1, 1},
	{"a", 1, 0},
};

START_TEST(keeps_keys_unique)
{
	static const size_t batches[] = {1, 3, COUNT(keyed)};
	struct written written[COUNT(keyed)];
	struct job *jobs[COUNT(keyed)];
	struct store store;

	store_open(&store, KIND, NULL);
	for (int i = 0; i < COUNT(keyed); i++) {
		jobs[i] = new_keyed(keyed[i].key, keyed[i].fingerprint);
		written[i] = (struct written){.entry = {.verb = LEDGER_ADD, .job = jobs[i]}};
	}
	for (size_t from = 0; from < COUNT(keyed); from += batches[ROW]) {
		size_t some = COUNT(keyed) - from < batches[ROW] ? COUNT(keyed) - from : batches[ROW];

		store_write(&store, written + from, some);
		ck_assert(store_await(&store, written + from, some));
	}
	for (int i = 0; i < COUNT(keyed); i++) {
		struct ledger_entry *entry = &written[i].entry;
		int first = keyed[i].first;

		ck_assert_int_eq(entry->error, first < 0 ? 0 : -EEXIST);
		ck_assert_int_eq(has(&store, jobs[i]), first < 0);
		if (first < 0)
			continue;
		ck_assert_int_eq(id_compare(&entry->existing, &jobs[first]->id), 0);
		ck_assert_int_eq(entry->same, keyed[i].fingerprint == keyed[first].fingerprint);
	}
	ck_assert_uint_eq(usage_of(&store).jobs, 7);
	unref_all(jobs, COUNT(keyed));
	store_close(&store);
}
END_TEST

/* A key is its job's while that is there, done or not: until it expires or is removed. */
START_TEST(gives_keys_back)
{
	const int64_t expires = wall_ms() + 3600000;
	struct store store;
	struct job *jobs[5];

	store_open(&store, KIND, NULL);
	for (int i = 0; i < 5; i++)
		jobs[i] = new_keyed("k", 0);
	ck_assert_int_eq(add_job(&store, jobs[0]), 0);
	ck_assert_int_eq(end_job(&store, jobs[0], expires, 1, false), 0);
	ck_assert_int_eq(add_job(&store, jobs[1]), -EEXIST);
	ck_assert_int_eq(store_sweep(&store, expires - 1), expires);
	ck_assert_int_eq(add_job(&store, jobs[1]), -EEXIST);
	ck_assert(store_sweep(&store, expires) == INT64_MAX);
	ck_assert_int_eq(add_job(&store, jobs[2]), 0);
	ck_assert_int_eq(add_job(&store, jobs[1]), -EEXIST);
	ck_assert(remove_job(&store, jobs[2]));
	/* In and out in one batch, and two that want it in the next. */
	struct written batch[] = {{.entry = {.verb = LEDGER_ADD, .job = jobs[3]}},
		{.entry = {.verb = LEDGER_REMOVE, .job = jobs[3]}}, {.entry = {.verb = LEDGER_ADD, .job = jobs[4]}},
		{.entry = {.verb = LEDGER_ADD, .job = jobs[1]}}};
	store_write(&store, batch, 2);
	ck_assert(store_await(&store, batch, 2));
	store_write(&store, batch + 2, 2);
	ck_assert(store_await(&store, batch + 2, 2));
	ck_assert_int_eq(batch[0].entry.error, 0);
	ck_assert(batch[1].entry.found);
	ck_assert_int_eq(batch[2].entry.error, 0);
	ck_assert_int_eq(batch[3].entry.error, -EEXIST);
	ck_assert_int_eq(id_compare(&batch[3].entry.existing, &jobs[4]->id), 0);
	ck_assert_uint_eq(usage_of(&store).jobs, 1);
	unref_all(jobs, 5);
	store_close(&store);
}
END_TEST

/* One that is only to find another is never kept itself; a key is one of its owner's. */
START_TEST(finds_keys_without_adding)
{
	struct job *job = new_keyed("k", 0), *again = new_keyed("k", 1), *others = new_keyed("k", 0);
	struct written looks[] = {{.entry = {.verb = LEDGER_ADD, .job = again, .only_existing = true}},
		{.entry = {.verb = LEDGER_ADD, .job = again, .only_existing = true}},
		{.entry = {.verb = LEDGER_ADD, .job = others, .only_existing = true}}};
	struct store store;

	others->spec->owner = arena_string(&others->spec->arena, "other");
	store_open(&store, KIND, NULL);
	ck_assert_int_eq(store_put(&store, &looks[0]), -EDQUOT);
	ck_assert(!has(&store, again));
	ck_assert_int_eq(add_job(&store, job), 0);
	ck_assert_int_eq(store_put(&store, &looks[1]), -EEXIST);
	ck_assert_int_eq(id_compare(&looks[1].entry.existing, &job->id), 0);
	ck_assert(!looks[1].entry.same);
	ck_assert_int_eq(store_put(&store, &looks[2]), -EDQUOT);
	ck_assert(!has(&store, others));
	ck_assert_uint_eq(usage_of(&store).jobs, 1);
	job_unref(job);
	job_unref(again);
	job_unref(others);
	store_close(&store);
}
END_TEST

/* ---- lists */

/* Job i of the list is of host i % 3, port 80 + i % 2, tag i % 5, and done when i % 4 is 0. */
enum { LISTED = 60 };

static const char *const hosts[] = {"a.example", "b.example", "c.example"};
static const char *const tags[] = {"t0", "t1", "t2", "t3", "t4"};

static const struct {
	struct ledger_filter filter;
	size_t found;
} filters[] = {
	{{0}, 60},
	{{.tag = "all"}, 60},
	{{.tag = "t3"}, 12},
	{{.tag = "t"}, 0},
	{{.tag = "T3"}, 0},
	{{.host = "b.example"}, 20},
	{{.host = "example"}, 0},
	{{.port = 81}, 30},
	{{.port = 82}, 0},
	{{.host = "b.example", .port = 81}, 10},
	{{.states = BIT(succeeded)}, 15},
	{{.states = BIT(queued)}, 45},
	{{.states = BIT(running)}, 45}, /* which of the live states a job is in is the table's to tell */
	{{.states = BIT(queued) | BIT(succeeded)}, 60},
	{{.states = BIT(failed) | BIT(cancelled)}, 0},
	{{.states = BIT(failed) | BIT(cancelled) | BIT(retrying)}, 45},
	{{.states = BIT(succeeded), .host = "a.example", .port = 80, .tag = "t0"}, 1},
	{{.batch = "0198c0de-0000-7000-8000-000000000000"}, 0},
};

START_TEST(lists_what_fits)
{
	struct store store;
	struct job *jobs[LISTED];

	store_open(&store, KIND, NULL);
	for (int i = 0; i < LISTED; i++) {
		jobs[i] = add_new(&store, hosts[i % 3], 80 + i % 2, tags[i % 5]);
		if (i % 4 == 0)
			ck_assert_int_eq(end_job(&store, jobs[i], 1000, 1, false), 0);
	}
	for (int row = 0; row < COUNT(filters); row++) {
		for (size_t page = 1; page <= 64; page += 7) {
			size_t found = count_listed(&store, &filters[row].filter, page);

			ck_assert_msg(
				found == filters[row].found, "row %d: %zu found in pages of %zu", row, found, page);
		}
	}
	unref_all(jobs, LISTED);
	store_close(&store);
}
END_TEST

static bool
same_id(const struct id *id, const struct job *job)
{
	return id_compare(id, &job->id) == 0;
}

START_TEST(lists_newest_first)
{
	struct ledger_filter any = {0};
	struct store store;
	struct job *jobs[LISTED];
	struct id page[LISTED + 1], unknown;

	store_open(&store, KIND, NULL);
	ck_assert_uint_eq(list_page(&store, &any, NULL, page, LISTED), 0);
	for (int i = 0; i < LISTED; i++)
		jobs[i] = add_new(&store, "a.example", 80, "x");
	ck_assert_uint_eq(list_page(&store, &any, NULL, page, LISTED + 1), LISTED);
	for (int i = 0; i < LISTED; i++)
		ck_assert(same_id(&page[i], jobs[LISTED - 1 - i]));
	ck_assert_uint_eq(list_page(&store, &any, &jobs[0]->id, page, 10), 0);
	ck_assert_uint_eq(list_page(&store, &any, &jobs[3]->id, page, 10), 3);
	ck_assert(same_id(&page[0], jobs[2]));
	ck_assert_uint_eq(list_page(&store, &any, NULL, page, 0), 0);
	/* A cursor need not be a job: it is a place in the order. */
	memset(unknown.bytes, 0xff, sizeof unknown.bytes);
	ck_assert_uint_eq(list_page(&store, &any, &unknown, page, LISTED), LISTED);
	memset(unknown.bytes, 0, sizeof unknown.bytes);
	ck_assert_uint_eq(list_page(&store, &any, &unknown, page, LISTED), 0);
	unref_all(jobs, LISTED);
	store_close(&store);
}
END_TEST

/* While the pages are read new jobs come, and the job of the cursor itself goes: every old one is seen once. */
START_TEST(pages_stay_stable)
{
	struct ledger_filter any = {0};
	struct store store;
	struct job *jobs[LISTED];
	struct id page[7], cursor;
	size_t seen = 0, count;

	store_open(&store, KIND, NULL);
	for (int i = 0; i < LISTED; i++)
		jobs[i] = add_new(&store, "a.example", 80, "x");
	do {
		count = list_page(&store, &any, seen == 0 ? NULL : &cursor, page, 7);
		for (size_t i = 0; i < count; i++) {
			ck_assert(same_id(&page[i], jobs[LISTED - 1 - seen]));
			seen++;
		}
		if (count > 0) {
			cursor = page[count - 1];
			ck_assert(remove_job(&store, jobs[LISTED - seen]));
		}
		for (int i = 0; i < 5; i++)
			job_unref(add_new(&store, "new.example", 80, "x"));
	} while (count == 7);
	ck_assert_uint_eq(seen, LISTED);
	unref_all(jobs, LISTED);
	store_close(&store);
}
END_TEST

/* Thousands go, in several orders: what stays is found and listed, over all the gaps that the others leave. */
START_TEST(closes_gaps)
{
	enum { MANY = 6000, STAYS = 97, STEP = 500 };
	struct ledger_filter any = {0};
	struct store store;
	struct job **jobs = calloc(MANY, sizeof(struct job *)), *gone[STEP];
	size_t stayed = 0, going = 0;

	store_open(&store, KIND, NULL);
	for (int i = 0; i < MANY; i++)
		jobs[i] = new_job("a.example", 80, "x");
	add_many(&store, jobs, MANY);
	for (int i = 0; i < MANY; i++) {
		/* from the oldest on, from the newest on, or from both ends in turn */
		int at = ROW == 0 ? i : ROW == 1 ? MANY - 1 - i : i % 2 == 0 ? i / 2 : MANY - 1 - i / 2;

		if (at % STAYS != 0)
			gone[going++] = jobs[at];
		else
			stayed++;
		if (going < STEP && i < MANY - 1)
			continue;
		remove_many(&store, gone, going);
		going = 0;
		ck_assert_uint_eq(count_listed(&store, &any, 64), usage_of(&store).jobs);
	}
	ck_assert_uint_eq(usage_of(&store).jobs, stayed);
	ck_assert_uint_eq(count_listed(&store, &any, 10), stayed);
	for (int i = 0; i < MANY; i++)
		ck_assert_int_eq(has(&store, jobs[i]), i % STAYS == 0);
	for (int i = 0; i < 100; i++) /* and the order goes on behind them */
		job_unref(add_new(&store, "a.example", 80, "x"));
	ck_assert_uint_eq(count_listed(&store, &any, 10), stayed + 100);
	unref_all(jobs, MANY);
	free(jobs);
	store_close(&store);
}
END_TEST

/* More jobs than the memory store looks at under one hold of its lock, of which the last and the first fit. */
START_TEST(scans_far)
{
	enum { MANY = 45000, STEP = 500 };
	struct ledger_filter filter = {.tag = "rare"}, port = {.port = 81};
	struct store store;
	struct job *jobs[STEP], *first, *last;
	struct id found[3];

	store_open(&store, KIND, NULL);
	first = add_new(&store, "a.example", 81, "rare");
	for (int i = 0; i < MANY; i += STEP) {
		for (int k = 0; k < STEP; k++)
			jobs[k] = new_job("a.example", 80, "x");
		add_many(&store, jobs, STEP);
		unref_all(jobs, STEP);
	}
	last = add_new(&store, "a.example", 81, "rare");
	ck_assert_uint_eq(list_page(&store, &filter, NULL, found, 3), 2);
	ck_assert(same_id(&found[0], last));
	ck_assert(same_id(&found[1], first));
	ck_assert_uint_eq(list_page(&store, &port, NULL, found, 3), 2);
	ck_assert(same_id(&found[1], first));
	job_unref(first);
	job_unref(last);
	store_close(&store);
}
END_TEST

START_TEST(sorts_late_comers)
{
	enum { MANY = 1000 };
	static const int order[] = {3, 0, 2, 1};
	struct ledger_filter any = {0};
	struct store store;
	struct job *jobs[MANY], *shuffled[MANY];
	struct id listed[MANY];

	store_open(&store, KIND, NULL);
	for (int i = 0; i < MANY; i++)
		jobs[i] = new_job("a.example", 80, "x");
	for (int i = 0; i < MANY; i++) /* 3 0 2 1, 7 4 6 5, … */
		shuffled[i] = jobs[i / 4 * 4 + order[i % 4]];
	add_many(&store, shuffled, MANY);
	ck_assert_uint_eq(list_page(&store, &any, NULL, listed, MANY), MANY);
	for (int i = 0; i < MANY; i++)
		ck_assert(same_id(&listed[i], jobs[MANY - 1 - i]));
	remove_many(&store, jobs, MANY);
	ck_assert_uint_eq(list_page(&store, &any, NULL, listed, MANY), 0);
	unref_all(jobs, MANY);
	store_close(&store);
}
END_TEST

/* ---- what goes by itself */

START_TEST(sweeps_what_has_expired)
{
	enum { MANY = 1500 };
	struct store store;
	struct job *jobs[MANY], *queued;
	int64_t expires[MANY];

	store_open(&store, KIND, NULL);
	queued = add_new(&store, "a.example", 80, "x");
	ck_assert(store_sweep(&store, INT64_MAX - 1) == INT64_MAX);
	for (int i = 0; i < MANY; i++) {
		jobs[i] = new_job("a.example", 80, "x");
		expires[i] = 1000 + (int64_t)i * 7919 % MANY; /* in no order: they have no common divisor */
	}
	add_many(&store, jobs, MANY);
	end_many(&store, jobs, MANY, expires);
	ck_assert_int_eq(store_sweep(&store, 999), 1000);
	ck_assert_uint_eq(usage_of(&store).finished, MANY);
	ck_assert_int_eq(store_sweep(&store, 1009), 1010);
	ck_assert_uint_eq(usage_of(&store).finished, MANY - 10);
	for (int i = 0; i < MANY; i++)
		ck_assert_int_eq(has(&store, jobs[i]), i * 7919 % MANY >= 10);
	ck_assert(store_sweep(&store, 1000000) == INT64_MAX);
	ck_assert_uint_eq(usage_of(&store).finished, 0);
	ck_assert_uint_eq(usage_of(&store).jobs, 1);
	ck_assert(has(&store, queued));
	for (int i = 0; i < MANY; i++)
		ck_assert_uint_eq(jobs[i]->references, 1);
	unref_all(jobs, MANY);
	job_unref(queued);
	store_close(&store);
}
END_TEST

START_TEST(counts_usage)
{
	struct store store;
	struct job *a, *b, *c;

	store_open(&store, KIND, NULL);
	a = add_new(&store, "a.example", 80, "x");
	b = add_new(&store, "a.example", 80, "x");
	c = add_new(&store, "a.example", 80, "x");
	ck_assert_uint_eq(usage_of(&store).jobs, 3);
	ck_assert_uint_eq(usage_of(&store).finished, 0);
	ck_assert_int_eq(end_job(&store, a, 1000, 10000, false), 0);
	ck_assert_int_eq(usage_of(&store).disk_bytes, 0);
	ck_assert_int_eq(end_job(&store, b, 1000, 70000, true), 0);
	ck_assert_int_eq(usage_of(&store).disk_bytes, 70000);
	ck_assert_uint_eq(usage_of(&store).finished, 2);
	ck_assert_uint_eq(usage_of(&store).jobs, 3);
	ck_assert(remove_job(&store, a));
	ck_assert_uint_eq(usage_of(&store).finished, 1);
	ck_assert(remove_job(&store, c));
	ck_assert_uint_eq(usage_of(&store).finished, 1);
	ck_assert_uint_eq(usage_of(&store).jobs, 1);
	ck_assert(remove_job(&store, b));
	struct ledger_usage usage = usage_of(&store);
	ck_assert_uint_eq(usage.jobs + usage.finished, 0);
	ck_assert_int_eq(usage.disk_bytes, 0);
	job_unref(a);
	job_unref(b);
	job_unref(c);
	store_close(&store);
}
END_TEST

/* A store that is in order takes jobs in, and has nothing to recover while it is new. */
START_TEST(begins_empty)
{
	char why[100] = "untouched";
	struct store store;
	struct job *jobs[3];

	store_open(&store, KIND, NULL);
	ck_assert(store.ledger->ops->accepts(store.ledger, why, sizeof why));
	ck_assert(store.ledger->ops->accepts(store.ledger, NULL, 0));
	ck_assert_str_eq(why, "untouched");
	ck_assert_int_eq(store.ledger->ops->recover(store.ledger, NULL, jobs, 3), 0);
	ck_assert(!store.ledger->failed_before);
	store.ledger->ops->stop(store.ledger);
	store.ledger->ops->stop(store.ledger);
	store_close(&store);
	ck_assert_uint_eq(store.committed + store.relieved + store.failed, 0);
}
END_TEST

/* ---- the memory store's bounds */

START_TEST(counts_memory)
{
	struct store store;
	struct job *a, *b;

	store_open(&store, IN_MEMORY, NULL);
	a = add_new(&store, "a.example", 80, "x");
	b = add_new(&store, "a.example", 80, "x");
	ck_assert_int_eq(usage_of(&store).bytes, 0); /* only finished jobs count */
	ck_assert_int_eq(end_job(&store, a, 1000, 10000, false), 0);
	int64_t bytes = usage_of(&store).bytes;
	ck_assert_int_gt(bytes, 10000);
	ck_assert_int_lt(bytes, 20000);
	ck_assert_int_eq(end_job(&store, b, 1000, 70000, true), 0);
	ck_assert_int_lt(usage_of(&store).bytes, bytes + 10000); /* a file's bytes are not in memory */
	ck_assert(remove_job(&store, a));
	ck_assert_int_lt(usage_of(&store).bytes, 10000);
	ck_assert(remove_job(&store, b));
	ck_assert_int_eq(usage_of(&store).bytes, 0);
	/* What is not there any more cannot end. */
	struct job *gone = add_new(&store, "a.example", 80, "x");
	ck_assert_uint_eq(gone->references, 2);
	ck_assert(remove_job(&store, gone));
	ck_assert_int_eq(end_job(&store, gone, 1000, 1, false), -ENOENT);
	job_unref(a);
	job_unref(b);
	job_unref(gone);
	store_close(&store);
}
END_TEST

/* Forty jobs with a body each, the newest are added first: those that ended first go, whatever their age. */
static const struct {
	const char *what;
	struct ledger_limits limits;
	int64_t body;
	bool file;
	size_t least, most; /* of finished jobs that stay */
} evictions[] = {
	{"number", {10, INT64_MAX, INT64_MAX}, 1, false, 10, 10},
	{"no number at all", {0, INT64_MAX, INT64_MAX}, 1, false, 1, 1},
	{"bytes", {1000, 1000000, INT64_MAX}, 100000, false, 8, 9},
	{"each above the bytes", {1000, 1000, INT64_MAX}, 100000, false, 1, 1},
	{"disk", {1000, INT64_MAX, 1000000}, 100000, true, 10, 10},
	{"a file is not in memory", {1000, 1000000, INT64_MAX}, 100000, true, 40, 40},
	{"memory is not on disk", {1000, INT64_MAX, 1}, 100000, false, 40, 40},
	{"nothing", {40, INT64_MAX, INT64_MAX}, 1, false, 40, 40},
};

START_TEST(evicts_the_oldest_ends)
{
	enum { JOBS = 40 };
	struct store store;
	struct job *jobs[JOBS], *queued;

	store_open(&store, IN_MEMORY, &evictions[_i].limits);
	queued = add_new(&store, "a.example", 80, "x");
	for (int i = 0; i < JOBS; i++)
		jobs[i] = add_new(&store, "a.example", 80, "x");
	for (int i = JOBS - 1; i >= 0; i--)
		ck_assert_int_eq(end_job(&store, jobs[i], 1000 + i, evictions[_i].body, evictions[_i].file), 0);
	size_t stay = usage_of(&store).finished;
	ck_assert_msg(
		stay >= evictions[_i].least && stay <= evictions[_i].most, "%s: %zu stay", evictions[_i].what, stay);
	for (int i = 0; i < JOBS; i++)
		ck_assert_int_eq(has(&store, jobs[i]), i < (int)stay);
	ck_assert(has(&store, queued)); /* never one that is not done */
	unref_all(jobs, JOBS);
	job_unref(queued);
	store_close(&store);
}
END_TEST

/* ---- threads */

enum { WRITERS = 4, EACH = 400, LISTERS = 2 };

struct crowd {
	struct store store;
	atomic_int writing;
	atomic_int wrong;
};

/* Adds, ends every second, removes every third again: those outlast the listers' sweeps, at 1000. */
static void
write_one(struct crowd *crowd, int number)
{
	struct job *job = new_job("a.example", 80, "x");
	bool goes = number % 3 == 0;

	crowd->wrong += add_job(&crowd->store, job) != 0;
	if (number % 2 == 0)
		crowd->wrong += end_job(&crowd->store, job, goes ? 2000 : 1000 + number % 100, 10, false) != 0;
	if (goes)
		crowd->wrong += !remove_job(&crowd->store, job);
	job_unref(job);
}

static void *
run_writer(void *context)
{
	struct crowd *crowd = context;

	for (int i = 0; i < EACH; i++)
		write_one(crowd, i);
	crowd->writing--;
	return NULL;
}

/* Reads pages as long as anything is written; Check's assertions are for its own thread. */
static void *
run_lister(void *context)
{
	struct ledger_filter filter = {.states = BIT(queued) | BIT(succeeded), .tag = "x"};
	struct crowd *crowd = context;
	struct ledger *ledger = crowd->store.ledger;

	while (crowd->writing > 0) {
		struct job *found;
		struct id ids[50];
		int count = ledger->ops->list(ledger, &filter, NULL, ids, 50);

		crowd->wrong += count < 0;
		for (int i = 1; i < count; i++)
			crowd->wrong += id_compare(&ids[i], &ids[i - 1]) >= 0;
		if (count > 0 && ledger->ops->find(ledger, &ids[0], LEDGER_WHOLE, &found) == 0)
			job_unref(found);
		ledger->ops->sweep(ledger, 1000);
	}
	return NULL;
}

START_TEST(serves_a_crowd)
{
	static struct crowd crowd;
	pthread_t threads[WRITERS + LISTERS];
	struct ledger_filter any = {0};
	int kept = 0;

	store_open(&crowd.store, KIND, NULL);
	crowd.writing = WRITERS;
	crowd.wrong = 0;
	for (int i = 0; i < WRITERS + LISTERS; i++)
		ck_assert_int_eq(thread_start(&threads[i], "crowd", i < WRITERS ? run_writer : run_lister, &crowd), 0);
	for (int i = 0; i < WRITERS + LISTERS; i++)
		thread_join(threads[i]);
	ck_assert_int_eq(crowd.wrong, 0);
	store_sweep(&crowd.store, 1000);
	for (int i = 0; i < EACH; i++)
		kept += i % 3 != 0 && (i % 2 != 0 || i % 100 != 0);
	ck_assert_uint_eq(usage_of(&crowd.store).jobs, WRITERS * (size_t)kept);
	ck_assert_uint_eq(count_listed(&crowd.store, &any, 64), WRITERS * (size_t)kept);
	store_close(&crowd.store);
}
END_TEST

/* ---- the suites */

static TCase *
store_tests(void)
{
	TCase *tests = tcase_create("stores");

	tcase_add_loop_test(tests, finds_what_was_added, 0, STORE_KINDS);
	tcase_add_loop_test(tests, knows_ids_whole, 0, STORE_KINDS);
	tcase_add_loop_test(tests, takes_batches, 0, STORE_KINDS);
	tcase_add_loop_test(tests, keeps_keys_unique, 0, 3 * STORE_KINDS);
	tcase_add_loop_test(tests, gives_keys_back, 0, STORE_KINDS);
	tcase_add_loop_test(tests, finds_keys_without_adding, 0, STORE_KINDS);
	tcase_add_loop_test(tests, lists_what_fits, 0, STORE_KINDS);
	tcase_add_loop_test(tests, lists_newest_first, 0, STORE_KINDS);
	tcase_add_loop_test(tests, pages_stay_stable, 0, STORE_KINDS);
	tcase_add_loop_test(tests, closes_gaps, 0, 3 * STORE_KINDS);
	tcase_add_loop_test(tests, scans_far, 0, STORE_KINDS);
	tcase_add_loop_test(tests, sorts_late_comers, 0, STORE_KINDS);
	tcase_add_loop_test(tests, sweeps_what_has_expired, 0, STORE_KINDS);
	tcase_add_loop_test(tests, counts_usage, 0, STORE_KINDS);
	tcase_add_loop_test(tests, begins_empty, 0, STORE_KINDS);
	tcase_add_loop_test(tests, serves_a_crowd, 0, STORE_KINDS);
	return tests;
}

static TCase *
memory_tests(void)
{
	TCase *tests = tcase_create("memory");

	tcase_add_test(tests, counts_memory);
	tcase_add_loop_test(tests, evicts_the_oldest_ends, 0, COUNT(evictions));
	return tests;
}

int
main(void)
{
	TCase *(*const groups[])(void) = {store_tests, memory_tests};
	Suite *suite = suite_create("ledger");
	SRunner *runner = srunner_create(suite);

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
