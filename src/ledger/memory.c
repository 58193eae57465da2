/*
 * The store that keeps nothing over an end of the process: all jobs by id, in the order of their ids, and the finished
 * ones by when they expire. Bounded: above a limit the finished jobs that ended first go before their time.
 *
 * Threads: any. Lock: its own, a leaf; it is never held while committed is called.
 */
#define HASH_NONFATAL_OOM 1
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "ledger/ledger.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "base/clock.h"
#include "base/heap.h"
#include "base/lock.h"
#include "base/metrics.h"

#define SWEEP_BATCH 500  /* jobs removed under one hold of the lock */
#define SCAN_BATCH 20000 /* jobs looked at under one hold of the lock */

/* What the store keeps of a job beside the job. */
struct record {
	UT_hash_handle hh;
	UT_hash_handle key_hash; /* by key */
	char *key;               /* the owner's idempotency key (key_of), when the job has one */
	struct job *job;         /* a reference */
	struct heap_node expiry_node;
	struct list finished_node; /* in the order they ended, once done */
	int64_t expires_wall_ms;
	int64_t bytes, disk_bytes;
};

/* A removed record leaves its place behind, as a gap, until gaps are the larger part. */
struct place {
	struct id id;
	struct record *record;
};

struct memory {
	struct ledger base;
	struct ledger_limits limits;
	struct ledger_hooks hooks;

	struct lock lock;
	struct record *records; /* by id */
	struct record *keyed;   /* by idempotency key */
	struct place *order;    /* in the order of ids, which is that of submission */
	size_t order_count, order_capacity, gaps;
	struct heap expiry;
	struct list finished;
	struct ledger_usage usage;
};

static struct memory *
memory_of(struct ledger *ledger)
{
	return container_of(ledger, struct memory, base);
}

static bool
expires_before(const struct heap_node *a, const struct heap_node *b)
{
	return container_of(a, struct record, expiry_node)->expires_wall_ms <
		container_of(b, struct record, expiry_node)->expires_wall_ms;
}

static struct record *
find_locked(struct memory *memory, const struct id *id)
{
	struct record *record;

	HASH_FIND(hh, memory->records, id, sizeof *id, record);
	return record;
}

/* Owner and idempotency key as one; malloc'd, NULL when memory runs out. No owner's name has a line feed. */
static char *
key_of(const struct job_spec *spec)
{
	char *key;

	return asprintf(&key, "%s\n%s", spec->owner == NULL ? "" : spec->owner, spec->idempotency_key) < 0 ? NULL : key;
}

/* Gives the record that has the same key, NULL for none. Returns 0 or -ENOMEM. */
static int
find_key_locked(struct memory *memory, const struct job_spec *spec, struct record **ret)
{
	*ret = NULL;
	if (spec->idempotency_key == NULL)
		return 0;
	char *key = key_of(spec);
	if (key == NULL)
		return -ENOMEM;
	HASH_FIND(key_hash, memory->keyed, key, strlen(key), *ret);
	free(key);
	return 0;
}

/* ---- the order */

/* The first place that is not below id. */
static size_t
order_lower_bound(const struct memory *memory, const struct id *id)
{
	size_t low = 0, high = memory->order_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (id_compare(&memory->order[middle].id, id) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static int
order_reserve(struct memory *memory)
{
	if (memory->order_count < memory->order_capacity)
		return 0;
	size_t capacity = memory->order_capacity == 0 ? 1024 : memory->order_capacity * 2;
	struct place *order = realloc(memory->order, capacity * sizeof *order);
	if (order == NULL)
		return -ENOMEM;
	memory->order = order;
	memory->order_capacity = capacity;
	return 0;
}

/* Ids are made in order, but two submissions may arrive here the other way round: then a few places move up. */
static void
order_insert(struct memory *memory, struct record *record)
{
	size_t at = memory->order_count++;

	while (at > 0 && id_compare(&memory->order[at - 1].id, &record->job->id) > 0) {
		memory->order[at] = memory->order[at - 1];
		at--;
	}
	memory->order[at] = (struct place){.id = record->job->id, .record = record};
}

static void
order_remove(struct memory *memory, const struct record *record)
{
	size_t kept = 0, at = order_lower_bound(memory, &record->job->id);

	assert(at < memory->order_count && memory->order[at].record == record);
	memory->order[at].record = NULL;
	memory->gaps++;
	if (memory->gaps < 1024 || memory->gaps < memory->order_count / 2)
		return;
	for (size_t i = 0; i < memory->order_count; i++)
		if (memory->order[i].record != NULL)
			memory->order[kept++] = memory->order[i];
	memory->order_count = kept;
	memory->gaps = 0;
}

/* ---- records */

/* What a finished job costs in memory, about. */
static int64_t
bytes_of(const struct job *job, const struct response *response, const struct attempt *attempt)
{
	int64_t bytes = (int64_t)(sizeof *job + sizeof(struct record) + job->spec->arena.bytes);

	if (attempt != NULL)
		bytes += (int64_t)attempt->arena.bytes;
	if (response != NULL) {
		bytes += (int64_t)response->arena.bytes;
		if (response->body.data != NULL)
			bytes += response->body.bytes;
	}
	return bytes;
}

/* False when memory runs out. */
static bool
add_key_locked(struct memory *memory, struct record *record)
{
	if (record->job->spec->idempotency_key == NULL)
		return true;
	record->key = key_of(record->job->spec);
	if (record->key == NULL)
		return false;
	HASH_ADD_KEYPTR(key_hash, memory->keyed, record->key, strlen(record->key), record);
	return record->key_hash.tbl != NULL;
}

static struct job *take_locked(struct memory *memory, struct record *record);

/* -EEXIST when another job has the key of this one, and which, and how it compares; -ENOMEM; else 0. */
static int
look_for_key_locked(struct memory *memory, struct ledger_entry *entry)
{
	const struct job_spec *spec = entry->job->spec;
	struct record *other;
	int error = find_key_locked(memory, spec, &other);

	if (other == NULL)
		return error;
	if (!list_empty(&other->finished_node) && other->expires_wall_ms <= steady_wall_ms()) {
		job_unref(take_locked(memory, other)); /* it has expired, and its key with it */
		metric_add(METRIC_JOBS_EXPIRED, 1);
		return 0;
	}
	entry->existing = other->job->id;
	entry->same = memcmp(other->job->spec->fingerprint, spec->fingerprint, sizeof spec->fingerprint) == 0;
	return -EEXIST;
}

static int
add_locked(struct memory *memory, struct job *job)
{
	struct record *record = calloc(1, sizeof *record);

	if (record == NULL || order_reserve(memory) != 0) {
		free(record);
		return -ENOMEM;
	}
	record->job = job;
	list_init(&record->finished_node);
	HASH_ADD_KEYPTR(hh, memory->records, &job->id, sizeof job->id, record);
	if (record->hh.tbl == NULL) {
		free(record);
		return -ENOMEM;
	}
	if (!add_key_locked(memory, record)) {
		HASH_DEL(memory->records, record);
		free(record->key);
		free(record);
		return -ENOMEM;
	}
	job_ref(job);
	order_insert(memory, record);
	memory->usage.jobs++;
	return 0;
}

/* Takes a record out; its job's reference goes to the caller. */
static struct job *
take_locked(struct memory *memory, struct record *record)
{
	struct job *job = record->job;

	order_remove(memory, record);
	HASH_DEL(memory->records, record);
	if (record->key != NULL)
		HASH_DELETE(key_hash, memory->keyed, record);
	heap_remove(&memory->expiry, &record->expiry_node);
	if (!list_empty(&record->finished_node)) {
		list_remove(&record->finished_node);
		memory->usage.finished--;
	}
	memory->usage.jobs--;
	memory->usage.bytes -= record->bytes;
	memory->usage.disk_bytes -= record->disk_bytes;
	free(record->key);
	free(record);
	return job;
}

static int
end_locked(struct memory *memory, struct job *job, const struct ledger_end *end)
{
	struct record *record = find_locked(memory, &job->id);

	if (record == NULL)
		return -ENOENT;
	if (end->response != NULL)
		body_close(&end->response->body);
	record->expires_wall_ms = end->expires_wall_ms;
	record->bytes = bytes_of(job, end->response, end->attempt);
	record->disk_bytes = end->response != NULL && end->response->body.path != NULL ? end->response->body.bytes : 0;
	memory->usage.bytes += record->bytes;
	memory->usage.disk_bytes += record->disk_bytes;
	memory->usage.finished++;
	heap_insert(&memory->expiry, &record->expiry_node);
	list_push_back(&memory->finished, &record->finished_node);
	return 0;
}

static bool
over_limits(const struct memory *memory)
{
	const struct ledger_usage *usage = &memory->usage;

	return usage->finished > memory->limits.max_jobs || usage->bytes > memory->limits.max_bytes ||
		usage->disk_bytes > memory->limits.max_disk_bytes;
}

/* Drops references outside the lock: the last one may unlink a file. */
static void
unref_all(struct job **jobs, size_t count)
{
	for (size_t i = 0; i < count; i++)
		job_unref(jobs[i]);
}

/* The oldest finished jobs go while a limit is passed. The newest one stays even when it alone is above a limit. */
static void
evict(struct memory *memory)
{
	struct job *gone[SWEEP_BATCH];
	size_t count;

	do {
		count = 0;
		lock_take(&memory->lock);
		while (count < SWEEP_BATCH && memory->usage.finished > 1 && over_limits(memory))
			gone[count++] =
				take_locked(memory, container_of(memory->finished.next, struct record, finished_node));
		lock_drop(&memory->lock);
		metric_add(METRIC_JOBS_EVICTED, count);
		unref_all(gone, count);
	} while (count == SWEEP_BATCH);
}

/* ---- the interface */

static void
remove_entry_locked(struct memory *memory, struct ledger_entry *entry)
{
	struct record *record = find_locked(memory, &entry->job->id);

	entry->found = record != NULL;
	if (record != NULL)
		job_unref(take_locked(memory, record)); /* not the last one: the entry holds another */
}

static int
write_entry_locked(struct memory *memory, struct ledger_entry *entry)
{
	int error;

	switch (entry->verb) {
	case LEDGER_ADD:
		error = look_for_key_locked(memory, entry);
		if (error == 0 && entry->only_existing)
			error = -EDQUOT;
		return error != 0 ? error : add_locked(memory, entry->job);
	case LEDGER_END:
		return end_locked(memory, entry->job, &entry->end);
	case LEDGER_REMOVE:
		remove_entry_locked(memory, entry);
		return 0;
	case LEDGER_START:
	case LEDGER_REQUEUE:
		return 0; /* the job itself is what is kept */
	}
	return -EINVAL;
}

static void
memory_write(struct ledger *ledger, struct list *entries)
{
	struct memory *memory = memory_of(ledger);
	bool full;

	lock_take(&memory->lock);
	LIST_FOR_EACH(node, entries) {
		struct ledger_entry *entry = container_of(node, struct ledger_entry, node);

		entry->error = write_entry_locked(memory, entry);
	}
	full = over_limits(memory);
	lock_drop(&memory->lock);
	memory->hooks.committed(memory->hooks.context, entries);
	if (full)
		evict(memory);
}

static int
memory_recover(struct ledger *ledger, const struct id *after, struct job **jobs, size_t limit)
{
	(void)ledger, (void)after, (void)jobs, (void)limit;
	return 0;
}

static int
memory_find(struct ledger *ledger, const struct id *id, enum ledger_depth depth, struct job **ret)
{
	struct memory *memory = memory_of(ledger);

	(void)depth;
	lock_take(&memory->lock);
	struct record *record = find_locked(memory, id);
	if (record != NULL)
		*ret = job_ref(record->job);
	lock_drop(&memory->lock);
	return record != NULL ? 0 : -ENOENT;
}

/* Looks at up to SCAN_BATCH places below *before; moves *before down to the last one looked at. */
static size_t
list_some(struct memory *memory, const struct ledger_filter *filter, struct id *before, bool *from_newest,
	struct id *ids, size_t limit, bool *ret_end)
{
	size_t count = 0, looked = 0;

	lock_take(&memory->lock);
	size_t at = *from_newest ? memory->order_count : order_lower_bound(memory, before);
	for (; at > 0 && count < limit && looked < SCAN_BATCH; looked++) {
		const struct place *place = &memory->order[--at];

		*before = place->id;
		*from_newest = false;
		if (place->record != NULL && ledger_filter_fits(filter, place->record->job))
			ids[count++] = place->id;
	}
	*ret_end = at == 0;
	lock_drop(&memory->lock);
	return count;
}

static int
memory_list(struct ledger *ledger, const struct ledger_filter *filter, const struct id *before, struct id *ids,
	size_t limit)
{
	struct ledger_filter wide = *filter;
	struct id cursor = before != NULL ? *before : (struct id){{0}};
	bool from_newest = before == NULL, end = false;
	size_t count = 0;

	if ((filter->states & LEDGER_LIVE_STATES) != 0)
		wide.states |= LEDGER_LIVE_STATES;
	while (count < limit && !end)
		count += list_some(memory_of(ledger), &wide, &cursor, &from_newest, ids + count, limit - count, &end);
	return (int)count;
}

static int64_t
memory_sweep(struct ledger *ledger, int64_t now_wall_ms)
{
	struct memory *memory = memory_of(ledger);
	struct job *gone[SWEEP_BATCH];
	struct heap_node *first;
	size_t count = 0;
	int64_t next = INT64_MAX;

	lock_take(&memory->lock);
	while ((first = heap_first(&memory->expiry)) != NULL) {
		struct record *record = container_of(first, struct record, expiry_node);

		next = record->expires_wall_ms;
		if (next > now_wall_ms || count == SWEEP_BATCH)
			break;
		gone[count++] = take_locked(memory, record);
		next = INT64_MAX;
	}
	lock_drop(&memory->lock);
	metric_add(METRIC_JOBS_EXPIRED, count);
	unref_all(gone, count);
	return next;
}

static void
memory_usage(struct ledger *ledger, struct ledger_usage *ret)
{
	struct memory *memory = memory_of(ledger);

	lock_take(&memory->lock);
	*ret = memory->usage;
	lock_drop(&memory->lock);
}

static void
memory_close(struct ledger *ledger)
{
	struct memory *memory = memory_of(ledger);
	struct record *record, *next;

	HASH_CLEAR(key_hash, memory->keyed);
	HASH_ITER(hh, memory->records, record, next) {
		HASH_DEL(memory->records, record);
		job_unref(record->job);
		free(record->key);
		free(record);
	}
	free(memory->order);
	lock_release(&memory->lock);
	free(memory);
}

static bool
memory_accepts(struct ledger *ledger, char *ret_why, size_t size)
{
	(void)ledger, (void)ret_why, (void)size;
	return true;
}

/* Everything is committed as soon as it is written. */
static void
memory_stop(struct ledger *ledger)
{
	(void)ledger;
}

static const struct ledger_ops memory_ops = {
	.name = "memory",
	.recover = memory_recover,
	.write = memory_write,
	.find = memory_find,
	.list = memory_list,
	.sweep = memory_sweep,
	.accepts = memory_accepts,
	.usage = memory_usage,
	.stop = memory_stop,
	.close = memory_close,
};

int
ledger_memory_open(const struct ledger_limits *limits, const struct ledger_hooks *hooks, struct ledger **ret)
{
	struct memory *memory = calloc(1, sizeof *memory);

	if (memory == NULL)
		return -ENOMEM;
	memory->base.ops = &memory_ops;
	memory->limits = *limits;
	memory->hooks = *hooks;
	lock_init(&memory->lock);
	heap_init(&memory->expiry, expires_before);
	list_init(&memory->finished);
	*ret = &memory->base;
	return 0;
}
