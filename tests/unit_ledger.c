/*
 * The memory store: what is added is found and listed, newest first, whatever comes and goes meanwhile; what is over
 * goes; what is said to be committed is said once. And the state directory, which durable bodies live in.
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/id.h"
#include "base/lock.h"
#include "base/state_dir.h"
#include "ledger/ledger.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

/* A store, and what it said it had kept. */
struct store {
	struct ledger *ledger;
	atomic_size_t committed;
	atomic_size_t twice; /* entries that came back a second time */
};

/* An entry's context counts how often it was committed. */
static void
count_committed(void *context, struct list *entries)
{
	struct store *store = context;

	LIST_FOR_EACH(node, entries) {
		struct ledger_entry *entry = container_of(node, struct ledger_entry, node);
		int *times = entry->context;
		atomic_fetch_add(&store->committed, 1);
		if ((*times)++ > 0)
			atomic_fetch_add(&store->twice, 1);
	}
}

static void
store_open(struct store *store, size_t max_jobs, int64_t max_bytes, int64_t max_disk_bytes)
{
	struct ledger_limits limits = {max_jobs, max_bytes, max_disk_bytes};

	*store = (struct store){0};
	ck_assert_int_eq(ledger_memory_open(&limits, count_committed, store, &store->ledger), 0);
	ck_assert_str_eq(store->ledger->ops->name, "memory");
}

static void
store_open_wide(struct store *store)
{
	store_open(store, SIZE_MAX / 2, INT64_MAX, INT64_MAX);
}

static void
store_close(struct store *store)
{
	ck_assert_uint_eq(store->twice, 0);
	store->ledger->ops->close(store->ledger);
}

static struct job *
new_job(const char *host, int port, const char *tag)
{
	struct job_spec *spec = job_spec_new();

	spec->origin.scheme = arena_string(&spec->arena, "http");
	spec->origin.host = arena_string(&spec->arena, host);
	spec->origin.port = port;
	spec->tags = arena_alloc(&spec->arena, 2 * sizeof(char *));
	spec->tags[0] = arena_string(&spec->arena, "all");
	spec->tags[1] = arena_string(&spec->arena, tag);
	spec->tag_count = 2;
	struct job *job = job_new(spec);
	job->id = id_new();
	return job;
}

/* Writes one entry and returns its error. */
static int
write_entry(struct store *store, struct ledger_entry *entry)
{
	struct list entries;
	int times = 0;

	entry->context = &times;
	entry->error = 12345;
	list_init(&entries);
	list_push_back(&entries, &entry->node);
	store->ledger->ops->write(store->ledger, &entries);
	list_remove(&entry->node);
	if (times != 1)
		ck_abort_msg("committed %d times", times);
	return entry->error;
}

static int
add(struct store *store, struct job *job)
{
	struct ledger_entry entry = {.verb = LEDGER_ADD, .job = job};

	return write_entry(store, &entry);
}

static struct job *
add_new(struct store *store, const char *host, int port, const char *tag)
{
	struct job *job = new_job(host, port, tag);

	ck_assert_int_eq(add(store, job), 0);
	return job;
}

static bool
remove_job(struct store *store, struct job *job)
{
	struct ledger_entry entry = {.verb = LEDGER_REMOVE, .job = job};

	return write_entry(store, &entry) == 0 && entry.found;
}

/* Ends the job, with a body of so many bytes in memory or in a file (which need not be there). */
static int
end_job(struct store *store, struct job *job, int64_t expires, int64_t bytes, const char *path)
{
	struct arena arena = {0};
	struct response *response = arena_alloc(&arena, sizeof *response);
	struct ledger_entry entry = {.verb = LEDGER_END, .job = job};

	response->arena = arena;
	response->body.bytes = bytes;
	if (path != NULL)
		response->body.path = strdup(path);
	else
		response->body.data = calloc(1, (size_t)bytes + 1);
	entry.end = (struct ledger_end){.state = JOB_succeeded, .response = response, .expires_wall_ms = expires};
	int error = write_entry(store, &entry);
	if (error != 0) {
		response_free(response);
		return error;
	}
	/* As the service does once it is told. */
	job_set_state(job, JOB_running);
	job_set_state(job, JOB_succeeded);
	job->response = response;
	return 0;
}

static struct ledger_usage
usage_of(struct store *store)
{
	struct ledger_usage usage;

	store->ledger->ops->usage(store->ledger, &usage);
	return usage;
}

static bool
has(struct store *store, const struct job *job)
{
	struct job *found = NULL;
	int error = store->ledger->ops->find(store->ledger, &job->id, &found);

	if (error != 0) {
		ck_assert_int_eq(error, -ENOENT);
		return false;
	}
	ck_assert_ptr_eq(found, job);
	job_unref(found);
	return true;
}

static size_t
list_page(struct store *store, const struct ledger_filter *filter, const struct id *before, struct job **jobs,
	size_t limit)
{
	size_t count = store->ledger->ops->list(store->ledger, filter, before, jobs, limit);

	ck_assert_uint_le(count, limit);
	for (size_t i = 1; i < count; i++)
		ck_assert_msg(id_compare(&jobs[i]->id, &jobs[i - 1]->id) < 0, "place %zu is not older", i);
	if (count > 0 && before != NULL)
		ck_assert_int_lt(id_compare(&jobs[0]->id, before), 0);
	return count;
}

static void
unref_all(struct job **jobs, size_t count)
{
	for (size_t i = 0; i < count; i++)
		job_unref(jobs[i]);
}

/* Walks the pages from the newest to the end, and counts the jobs. */
static size_t
count_listed(struct store *store, const struct ledger_filter *filter, size_t page)
{
	struct job *jobs[64];
	struct id cursor;
	size_t total = 0, count;

	do {
		count = list_page(store, filter, total == 0 ? NULL : &cursor, jobs, page);
		if (count > 0)
			cursor = jobs[count - 1]->id;
		total += count;
		unref_all(jobs, count);
	} while (count == page);
	return total;
}

/* ---- add, find, remove */

START_TEST(finds_what_was_added)
{
	struct store store;
	struct job *a = new_job("a.example", 80, "x"), *b = new_job("a.example", 80, "x");

	store_open_wide(&store);
	ck_assert(!has(&store, a));
	ck_assert_int_eq(add(&store, a), 0);
	ck_assert(has(&store, a));
	ck_assert(!has(&store, b));
	ck_assert_int_eq(add(&store, b), 0);
	ck_assert(remove_job(&store, a));
	ck_assert(!remove_job(&store, a));
	ck_assert(!has(&store, a));
	ck_assert(has(&store, b));
	ck_assert_int_eq(end_job(&store, a, 1000, 1, NULL), -ENOENT);
	ck_assert_uint_eq(a->references, 1);
	ck_assert_uint_eq(b->references, 2);
	ck_assert_uint_eq(usage_of(&store).jobs, 1);
	ck_assert_uint_eq(store.committed, 5);
	job_unref(a);
	store_close(&store); /* which drops the store's reference */
	ck_assert_uint_eq(b->references, 1);
	job_unref(b);
}
END_TEST

/* Many entries in one write come back as one list, in their order, each with its own verdict. */
START_TEST(takes_batches)
{
	enum { BATCH = 50 };
	struct ledger_entry entries[BATCH];
	int times[BATCH] = {0};
	struct store store;
	struct list list;
	struct job *jobs[BATCH];

	store_open_wide(&store);
	list_init(&list);
	for (int i = 0; i < BATCH; i++) {
		bool removal = i % 5 == 4;
		jobs[i] = removal ? job_ref(jobs[i - 1]) : new_job("a.example", 80, "x");
		entries[i] = (struct ledger_entry){.verb = removal ? LEDGER_REMOVE : LEDGER_ADD,
			.job = jobs[i],
			.context = &times[i],
			.error = 12345};
		list_push_back(&list, &entries[i].node);
	}
	store.ledger->ops->write(store.ledger, &list);
	for (int i = 0; i < BATCH; i++) {
		ck_assert_int_eq(times[i], 1);
		ck_assert_int_eq(entries[i].error, 0);
		ck_assert_int_eq(entries[i].found, i % 5 == 4);
		ck_assert_int_eq(has(&store, jobs[i]), i % 5 < 3);
	}
	ck_assert_uint_eq(usage_of(&store).jobs, BATCH / 5 * 3);
	unref_all(jobs, BATCH);
	store_close(&store);
}
END_TEST

/* ---- lists */

/* Job i of the list is of host i % 3, port 80 + i % 2, tag i % 5, and done when i % 4 is 0. */
enum { LISTED = 60 };

static const char *const hosts[] = {"a.example", "b.example", "c.example"};
static const char *const tags[] = {"t0", "t1", "t2", "t3", "t4"};

#define BIT(state) (1u << JOB_##state)

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
	{{.states = BIT(queued) | BIT(succeeded)}, 60},
	{{.states = BIT(failed) | BIT(cancelled) | BIT(running) | BIT(retrying)}, 0},
	{{.states = BIT(succeeded), .host = "a.example", .port = 80, .tag = "t0"}, 1},
	{{.batch = "0198c0de-0000-7000-8000-000000000000"}, 0},
};

START_TEST(lists_what_fits)
{
	struct store store;
	struct job *jobs[LISTED];

	store_open_wide(&store);
	for (int i = 0; i < LISTED; i++) {
		jobs[i] = add_new(&store, hosts[i % 3], 80 + i % 2, tags[i % 5]);
		if (i % 4 == 0)
			ck_assert_int_eq(end_job(&store, jobs[i], 1000, 1, NULL), 0);
	}
	for (size_t page = 1; page <= 64; page += 7) {
		size_t found = count_listed(&store, &filters[_i].filter, page);
		ck_assert_msg(found == filters[_i].found, "row %d: %zu found in pages of %zu", _i, found, page);
	}
	unref_all(jobs, LISTED);
	store_close(&store);
}
END_TEST

START_TEST(lists_newest_first)
{
	struct ledger_filter any = {0};
	struct store store;
	struct job *jobs[LISTED], *page[LISTED + 1];
	struct id unknown;

	store_open_wide(&store);
	ck_assert_uint_eq(list_page(&store, &any, NULL, page, LISTED), 0);
	for (int i = 0; i < LISTED; i++)
		jobs[i] = add_new(&store, "a.example", 80, "x");
	ck_assert_uint_eq(list_page(&store, &any, NULL, page, LISTED + 1), LISTED);
	for (int i = 0; i < LISTED; i++)
		ck_assert_ptr_eq(page[i], jobs[LISTED - 1 - i]);
	unref_all(page, LISTED);
	ck_assert_uint_eq(list_page(&store, &any, &jobs[0]->id, page, 10), 0);
	ck_assert_uint_eq(list_page(&store, &any, &jobs[3]->id, page, 10), 3);
	ck_assert_ptr_eq(page[0], jobs[2]);
	unref_all(page, 3);
	ck_assert_uint_eq(list_page(&store, &any, NULL, page, 0), 0);
	/* A cursor need not be a job: it is a place in the order. */
	memset(unknown.bytes, 0xff, sizeof unknown.bytes);
	ck_assert_uint_eq(list_page(&store, &any, &unknown, page, LISTED), LISTED);
	unref_all(page, LISTED);
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
	struct job *jobs[LISTED], *page[7];
	size_t seen = 0, count;
	struct id cursor;

	store_open_wide(&store);
	for (int i = 0; i < LISTED; i++)
		jobs[i] = add_new(&store, "a.example", 80, "x");
	do {
		count = list_page(&store, &any, seen == 0 ? NULL : &cursor, page, 7);
		for (size_t i = 0; i < count; i++) {
			ck_assert_ptr_eq(page[i], jobs[LISTED - 1 - seen]);
			seen++;
		}
		if (count > 0) {
			cursor = page[count - 1]->id;
			ck_assert(remove_job(&store, page[count - 1]));
		}
		unref_all(page, count);
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
	enum { MANY = 6000, STAYS = 97 };
	struct ledger_filter any = {0};
	struct store store;
	struct job **jobs = calloc(MANY, sizeof(struct job *));
	size_t stayed = 0;

	store_open_wide(&store);
	for (int i = 0; i < MANY; i++)
		jobs[i] = add_new(&store, "a.example", 80, "x");
	for (int i = 0; i < MANY; i++) {
		/* from the oldest on, from the newest on, or from both ends in turn */
		int at = _i == 0 ? i : _i == 1 ? MANY - 1 - i : i % 2 == 0 ? i / 2 : MANY - 1 - i / 2;
		if (at % STAYS != 0)
			ck_assert(remove_job(&store, jobs[at]));
		else
			stayed++;
		if (i % 500 == 0)
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

/* More jobs than the store looks at under one hold of its lock, of which the last and the first fit. */
START_TEST(scans_far)
{
	enum { MANY = 45000 };
	struct ledger_filter filter = {.tag = "rare"};
	struct store store;
	struct job *found[3];
	struct job *first;

	store_open_wide(&store);
	first = add_new(&store, "a.example", 80, "rare");
	for (int i = 0; i < MANY; i++)
		job_unref(add_new(&store, "a.example", 80, "x"));
	struct job *last = add_new(&store, "a.example", 80, "rare");
	ck_assert_uint_eq(list_page(&store, &filter, NULL, found, 3), 2);
	ck_assert_ptr_eq(found[0], last);
	ck_assert_ptr_eq(found[1], first);
	unref_all(found, 2);
	job_unref(first);
	job_unref(last);
	store_close(&store);
}
END_TEST

START_TEST(sorts_late_comers)
{
	enum { MANY = 1000 };
	struct ledger_filter any = {0};
	struct store store;
	struct job *jobs[MANY], *listed[MANY];

	store_open_wide(&store);
	for (int i = 0; i < MANY; i++)
		jobs[i] = new_job("a.example", 80, "x");
	for (int i = 0; i < MANY; i += 4) { /* 3 0 2 1, 7 4 6 5, … */
		static const int order[] = {3, 0, 2, 1};
		for (int k = 0; k < 4; k++)
			ck_assert_int_eq(add(&store, jobs[i + order[k]]), 0);
	}
	ck_assert_uint_eq(list_page(&store, &any, NULL, listed, MANY), MANY);
	for (int i = 0; i < MANY; i++)
		ck_assert_ptr_eq(listed[i], jobs[MANY - 1 - i]);
	for (int i = 0; i < MANY; i++)
		ck_assert(remove_job(&store, jobs[i]));
	unref_all(listed, MANY);
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
	int64_t next;
	int calls = 0;

	store_open_wide(&store);
	queued = add_new(&store, "a.example", 80, "x");
	ck_assert(store.ledger->ops->sweep(store.ledger, INT64_MAX - 1) == INT64_MAX);
	for (int i = 0; i < MANY; i++) {
		jobs[i] = add_new(&store, "a.example", 80, "x");
		/* In no order: 7919 and MANY have no common divisor. */
		ck_assert_int_eq(end_job(&store, jobs[i], 1000 + (int64_t)i * 7919 % MANY, 1, NULL), 0);
	}
	ck_assert_int_eq(store.ledger->ops->sweep(store.ledger, 999), 1000);
	ck_assert_uint_eq(usage_of(&store).finished, MANY);
	ck_assert_int_eq(store.ledger->ops->sweep(store.ledger, 1009), 1010);
	ck_assert_uint_eq(usage_of(&store).finished, MANY - 10);
	for (int i = 0; i < MANY; i++)
		ck_assert_int_eq(has(&store, jobs[i]), i * 7919 % MANY >= 10);
	/* A bounded number at a call: it says so by a time that has come. */
	while ((next = store.ledger->ops->sweep(store.ledger, 1000000)) != INT64_MAX) {
		ck_assert_int_le(next, 1000000);
		calls++;
	}
	ck_assert_int_ge(calls, 1);
	ck_assert_uint_eq(usage_of(&store).finished, 0);
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

	store_open_wide(&store);
	a = add_new(&store, "a.example", 80, "x");
	b = add_new(&store, "a.example", 80, "x");
	c = add_new(&store, "a.example", 80, "x");
	ck_assert_uint_eq(usage_of(&store).jobs, 3);
	ck_assert_int_eq(usage_of(&store).bytes, 0); /* only finished jobs count */
	ck_assert_int_eq(end_job(&store, a, 1000, 10000, NULL), 0);
	int64_t bytes = usage_of(&store).bytes;
	ck_assert_int_gt(bytes, 10000);
	ck_assert_int_lt(bytes, 20000);
	ck_assert_int_eq(end_job(&store, b, 1000, 70000, "no/such/file"), 0);
	ck_assert_int_eq(usage_of(&store).disk_bytes, 70000);
	ck_assert_int_lt(usage_of(&store).bytes, bytes + 10000); /* a file's bytes are not in memory */
	ck_assert_uint_eq(usage_of(&store).finished, 2);
	ck_assert(remove_job(&store, a));
	ck_assert(remove_job(&store, c));
	ck_assert_int_lt(usage_of(&store).bytes, 10000);
	ck_assert(remove_job(&store, b));
	struct ledger_usage usage = usage_of(&store);
	ck_assert_uint_eq(usage.jobs + usage.finished, 0);
	ck_assert_int_eq(usage.bytes, 0);
	ck_assert_int_eq(usage.disk_bytes, 0);
	job_unref(a);
	job_unref(b);
	job_unref(c);
	store_close(&store);
}
END_TEST

/* Forty jobs with a body each, the newest are added first: those that ended first go, whatever their age. */
static const struct {
	const char *what;
	size_t max_jobs;
	int64_t max_bytes, max_disk_bytes, body;
	bool file;
	size_t least, most; /* of finished jobs that stay */
} evictions[] = {
	{"number", 10, INT64_MAX, INT64_MAX, 1, false, 10, 10},
	{"no number at all", 0, INT64_MAX, INT64_MAX, 1, false, 1, 1},
	{"bytes", 1000, 1000000, INT64_MAX, 100000, false, 8, 9},
	{"each above the bytes", 1000, 1000, INT64_MAX, 100000, false, 1, 1},
	{"disk", 1000, INT64_MAX, 1000000, 100000, true, 10, 10},
	{"a file is not in memory", 1000, 1000000, INT64_MAX, 100000, true, 40, 40},
	{"memory is not on disk", 1000, INT64_MAX, 1, 100000, false, 40, 40},
	{"nothing", 40, INT64_MAX, INT64_MAX, 1, false, 40, 40},
};

START_TEST(evicts_the_oldest_ends)
{
	enum { JOBS = 40 };
	struct store store;
	struct job *jobs[JOBS], *queued;

	store_open(&store, evictions[_i].max_jobs, evictions[_i].max_bytes, evictions[_i].max_disk_bytes);
	queued = add_new(&store, "a.example", 80, "x");
	for (int i = 0; i < JOBS; i++)
		jobs[i] = add_new(&store, "a.example", 80, "x");
	for (int i = JOBS - 1; i >= 0; i--)
		ck_assert_int_eq(end_job(&store, jobs[i], 1000 + i, evictions[_i].body,
					 evictions[_i].file ? "no/such/file" : NULL),
			0);
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

	crowd->wrong += add(&crowd->store, job) != 0;
	if (number % 2 == 0)
		crowd->wrong += end_job(&crowd->store, job, goes ? 2000 : 1000 + number % 100, 10, NULL) != 0;
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
		struct job *jobs[50], *found;
		size_t count = ledger->ops->list(ledger, &filter, NULL, jobs, 50);

		for (size_t i = 1; i < count; i++)
			crowd->wrong += id_compare(&jobs[i]->id, &jobs[i - 1]->id) >= 0;
		if (count > 0 && ledger->ops->find(ledger, &jobs[0]->id, &found) == 0)
			job_unref(found);
		ledger->ops->sweep(ledger, 1000);
		unref_all(jobs, count);
	}
	return NULL;
}

START_TEST(serves_a_crowd)
{
	static struct crowd crowd;
	pthread_t threads[WRITERS + LISTERS];
	struct ledger_filter any = {0};
	int kept = 0;

	store_open_wide(&crowd.store);
	crowd.writing = WRITERS;
	crowd.wrong = 0;
	for (int i = 0; i < WRITERS + LISTERS; i++)
		ck_assert_int_eq(thread_start(&threads[i], "crowd", i < WRITERS ? run_writer : run_lister, &crowd), 0);
	for (int i = 0; i < WRITERS + LISTERS; i++)
		thread_join(threads[i]);
	ck_assert_int_eq(crowd.wrong, 0);
	crowd.store.ledger->ops->sweep(crowd.store.ledger, 1000);
	for (int i = 0; i < EACH; i++)
		kept += i % 3 != 0 && (i % 2 != 0 || i % 100 != 0);
	ck_assert_uint_eq(usage_of(&crowd.store).jobs, WRITERS * (size_t)kept);
	ck_assert_uint_eq(count_listed(&crowd.store, &any, 64), WRITERS * (size_t)kept);
	store_close(&crowd.store);
}
END_TEST

/* ---- the state directory */

static char temporary[128];

static void
make_temporary(void)
{
	const char *where = getenv("TMPDIR");

	snprintf(temporary, sizeof temporary, "%s/unit-ledger-XXXXXX", where != NULL ? where : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(temporary));
}

static int
remove_one(const char *path, const struct stat *info, int kind, struct FTW *walk)
{
	(void)info, (void)kind, (void)walk;
	return remove(path);
}

static void
remove_temporary(void)
{
	nftw(temporary, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static const char *
path_in(const char *rest)
{
	static char path[256];

	snprintf(path, sizeof path, "%s/%s", temporary, rest);
	return path;
}

static void
write_file(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);

	ck_assert_msg(fd >= 0, "%s: %s", path, strerror(errno));
	close(fd);
}

START_TEST(makes_nested_directories)
{
	static const char *const made[] = {"one", "one/two", "one/two/three", "one/two/three/bodies"};
	struct state_dir dir;
	struct stat info;
	char *message;

	make_temporary();
	ck_assert_int_eq(state_dir_open(path_in("one/two/three"), &dir, &message), 0);
	ck_assert_ptr_null(message);
	ck_assert_str_eq(dir.path, path_in("one/two/three"));
	ck_assert_str_eq(dir.bodies, path_in("one/two/three/bodies"));
	for (int i = 0; i < COUNT(made); i++) {
		ck_assert_int_eq(stat(path_in(made[i]), &info), 0);
		ck_assert_msg(S_ISDIR(info.st_mode), "%s", made[i]);
		ck_assert_msg((info.st_mode & 077) == 0, "%s: others may read it: %o", made[i], (unsigned)info.st_mode);
	}
	state_dir_close(&dir);
	ck_assert_int_eq(dir.lock_fd, -1);
	ck_assert_ptr_null(dir.path);
	/* What is there already is taken as it is, a slash at the end makes no difference. */
	ck_assert_int_eq(state_dir_open(path_in("one/two/three/"), &dir, &message), 0);
	state_dir_close(&dir);
	remove_temporary();
}
END_TEST

START_TEST(keeps_a_second_server_out)
{
	struct state_dir dir, second = {.lock_fd = 12345};
	char *message;

	make_temporary();
	ck_assert_int_eq(state_dir_open(path_in("state"), &dir, &message), 0);
	ck_assert_int_eq(state_dir_open(path_in("state"), &second, &message), -EAGAIN);
	ck_assert_ptr_nonnull(message);
	ck_assert_msg(
		strstr(message, path_in("state")) != NULL && strstr(message, "--state-dir") != NULL, "%s", message);
	ck_assert_int_eq(second.lock_fd, 12345); /* untouched */
	free(message);
	ck_assert_int_eq(state_dir_open(path_in("other"), &second, &message), 0);
	state_dir_close(&second);
	state_dir_close(&dir);
	ck_assert_int_eq(state_dir_open(path_in("state"), &dir, &message), 0);
	state_dir_close(&dir);
	remove_temporary();
}
END_TEST

START_TEST(says_why_it_cannot_be_made)
{
	struct state_dir dir;
	char *message = NULL;

	make_temporary();
	write_file(path_in("file"));
	ck_assert_int_lt(state_dir_open(path_in("file/state"), &dir, &message), 0);
	ck_assert_ptr_nonnull(message);
	ck_assert_msg(strstr(message, "file/state: ") != NULL, "%s", message);
	free(message);
	ck_assert_int_lt(state_dir_open(path_in("file"), &dir, &message), 0);
	ck_assert_ptr_nonnull(message);
	free(message);
	remove_temporary();
}
END_TEST

static const struct {
	const char *name;
	bool stays;
} swept[] = {
	{"019aa0c4-6d0e-7c61-9d3a-2f6f3b9c1f00", false},
	{"019AA0C4-6D0E-7C61-9D3A-2F6F3B9C1F01", false},
	{"00000000-0000-0000-0000-000000000000", false},
	{"019aa0c4-6d0e-7c61-9d3a-2f6f3b9c1f0", true},
	{"019aa0c4-6d0e-7c61-9d3a-2f6f3b9c1f000", true},
	{"019aa0c4-6d0e-7c61-9d3a-2f6f3b9c1fzz", true},
	{"019aa0c46d0e7c619d3a2f6f3b9c1f00", true},
	{"019aa0c4-6d0e-7c61-9d3a-2f6f3b9c1f00.txt", true},
	{"lock", true},
	{".hidden", true},
	{"README", true},
};

START_TEST(sweeps_bodies_alone)
{
	static const char beside[] = "019aa0c4-6d0e-7c61-9d3a-2f6f3b9c1f00";
	struct state_dir dir;
	char *message, path[300];

	make_temporary();
	ck_assert_int_eq(state_dir_open(path_in("state"), &dir, &message), 0);
	for (int i = 0; i < COUNT(swept); i++) {
		snprintf(path, sizeof path, "%s/%s", dir.bodies, swept[i].name);
		write_file(path);
	}
	snprintf(path, sizeof path, "%s/%s", dir.path, beside);
	write_file(path);
	state_dir_sweep_bodies(&dir);
	state_dir_sweep_bodies(&dir);
	ck_assert_msg(access(path, F_OK) == 0, "a file beside the bodies went");
	for (int i = 0; i < COUNT(swept); i++) {
		snprintf(path, sizeof path, "%s/%s", dir.bodies, swept[i].name);
		bool there = access(path, F_OK) == 0;
		ck_assert_msg(there == swept[i].stays, "%s %s", swept[i].name, there ? "stays" : "went");
	}
	state_dir_close(&dir);
	remove_temporary();
}
END_TEST

/* ---- the suites */

static TCase *
memory_tests(void)
{
	TCase *tests = tcase_create("memory");

	tcase_add_test(tests, finds_what_was_added);
	tcase_add_test(tests, takes_batches);
	tcase_add_loop_test(tests, lists_what_fits, 0, COUNT(filters));
	tcase_add_test(tests, lists_newest_first);
	tcase_add_test(tests, pages_stay_stable);
	tcase_add_loop_test(tests, closes_gaps, 0, 3);
	tcase_add_test(tests, scans_far);
	tcase_add_test(tests, sorts_late_comers);
	tcase_add_test(tests, sweeps_what_has_expired);
	tcase_add_test(tests, counts_usage);
	tcase_add_loop_test(tests, evicts_the_oldest_ends, 0, COUNT(evictions));
	tcase_add_test(tests, serves_a_crowd);
	return tests;
}

static TCase *
state_dir_tests(void)
{
	TCase *tests = tcase_create("state_dir");

	tcase_add_test(tests, makes_nested_directories);
	tcase_add_test(tests, keeps_a_second_server_out);
	tcase_add_test(tests, says_why_it_cannot_be_made);
	tcase_add_test(tests, sweeps_bodies_alone);
	return tests;
}

int
main(void)
{
	TCase *(*const groups[])(void) = {memory_tests, state_dir_tests};
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
