/* See store.h. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "store.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"

#define PATIENCE_MS 60000 /* a test that waits so long has failed */
#define BATCH 500

/* ---- the hooks */

static void
on_committed(void *context, struct list *entries)
{
	struct store *store = context;

	lock_take(&store->lock);
	for (struct list *node; (node = list_pop_front(entries)) != NULL;) {
		struct ledger_entry *entry = container_of(node, struct ledger_entry, node);
		struct written *written = container_of(entry, struct written, entry);

		if (store->seen != NULL)
			store->seen(store->seen_context, entry);
		written->place = ++store->committed;
		store->twice += written->times++ > 0;
	}
	cond_broadcast(&store->changed);
	lock_drop(&store->lock);
}

static void
on_relieved(void *context)
{
	struct store *store = context;

	lock_take(&store->lock);
	store->relieved++;
	cond_broadcast(&store->changed);
	lock_drop(&store->lock);
}

static void
on_failed(void *context, const char *why)
{
	struct store *store = context;

	lock_take(&store->lock);
	store->failed++;
	snprintf(store->why, sizeof store->why, "%s", why);
	cond_broadcast(&store->changed);
	lock_drop(&store->lock);
}

/* ---- folders */

void
folder_make(char *path, size_t size)
{
	const char *where = getenv("TMPDIR");

	snprintf(path, size, "%s/fetchpool-unit-XXXXXX", where != NULL ? where : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(path));
}

static int
remove_one(const char *path, const struct stat *info, int kind, struct FTW *walk)
{
	(void)info, (void)kind, (void)walk;
	return remove(path);
}

void
folder_remove(const char *path)
{
	nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- the store's life */

static void
begin(struct store *store, enum store_kind kind)
{
	*store = (struct store){.kind = kind};
	lock_init(&store->lock);
	cond_init(&store->changed);
}

static void
set_bodies(struct store *store)
{
	snprintf(store->bodies, sizeof store->bodies, "%s/bodies", store->dir);
}

static void
open_ledger(struct store *store, const struct ledger_limits *limits)
{
	static const struct ledger_limits wide = {SIZE_MAX / 2, INT64_MAX, INT64_MAX};
	struct ledger_hooks hooks = {
		.context = store, .committed = on_committed, .relieved = on_relieved, .failed = on_failed};
	char *message = NULL;
	int error;

	if (store->kind == IN_MEMORY)
		error = ledger_memory_open(limits != NULL ? limits : &wide, &hooks, &store->ledger);
	else
		error = ledger_sqlite_open(store->dir, store->bodies, &hooks, &store->ledger, &message);
	ck_assert_msg(error == 0, "%d: %s", error, message != NULL ? message : "no message");
	ck_assert_str_eq(store->ledger->ops->name, store->kind == IN_MEMORY ? "memory" : "sqlite");
	ck_assert_int_eq(store->ledger->ops->durable, store->kind == IN_SQLITE);
}

void
store_open(struct store *store, enum store_kind kind, const struct ledger_limits *limits)
{
	begin(store, kind);
	folder_make(store->dir, sizeof store->dir);
	set_bodies(store);
	ck_assert_int_eq(mkdir(store->bodies, 0700), 0);
	open_ledger(store, limits);
}

void
store_open_at(struct store *store, const char *dir)
{
	begin(store, IN_SQLITE);
	store->lent = true;
	snprintf(store->dir, sizeof store->dir, "%s", dir);
	set_bodies(store);
	open_ledger(store, NULL);
}

void
store_shut(struct store *store)
{
	store->ledger->ops->close(store->ledger);
	store->ledger = NULL;
}

void
store_reopen(struct store *store)
{
	if (store->ledger != NULL)
		store_shut(store);
	open_ledger(store, NULL);
}

void
store_close(struct store *store)
{
	if (store->ledger != NULL)
		store_shut(store);
	ck_assert_uint_eq(store->twice, 0);
	if (!store->lent)
		folder_remove(store->dir);
	lock_release(&store->lock);
	cond_release(&store->changed);
}

/* ---- entries */

void
store_write(struct store *store, struct written *entries, size_t count)
{
	struct list list;

	list_init(&list);
	for (size_t i = 0; i < count; i++) {
		entries[i].times = 0;
		entries[i].place = 0;
		entries[i].entry.error = 12345;
		list_push_back(&list, &entries[i].entry.node);
	}
	store->ledger->ops->write(store->ledger, &list);
}

static size_t
came_back_locked(const struct written *entries, size_t count)
{
	size_t back = 0;

	for (size_t i = 0; i < count; i++)
		back += entries[i].times > 0;
	return back;
}

size_t
store_came_back(struct store *store, const struct written *entries, size_t count)
{
	lock_take(&store->lock);
	size_t back = came_back_locked(entries, count);
	lock_drop(&store->lock);
	return back;
}

bool
store_await(struct store *store, struct written *entries, size_t count)
{
	return store_await_for(store, entries, count, PATIENCE_MS);
}

bool
store_await_for(struct store *store, struct written *entries, size_t count, int64_t patience_ms)
{
	int64_t due = mono_ms() + patience_ms;
	bool all, in_time = true;

	lock_take(&store->lock);
	while (!(all = came_back_locked(entries, count) == count) && in_time)
		in_time = cond_wait_until(&store->changed, &store->lock, due);
	lock_drop(&store->lock);
	return all;
}

void
store_await_failure(struct store *store)
{
	int64_t due = mono_ms() + PATIENCE_MS;
	bool in_time = true;

	lock_take(&store->lock);
	while (store->failed == 0 && in_time)
		in_time = cond_wait_until(&store->changed, &store->lock, due);
	size_t failed = store->failed;
	lock_drop(&store->lock);
	ck_assert_uint_eq(failed, 1);
}

void
store_await_relief(struct store *store, size_t times)
{
	int64_t due = mono_ms() + PATIENCE_MS;
	bool in_time = true;

	lock_take(&store->lock);
	while (store->relieved < times && in_time)
		in_time = cond_wait_until(&store->changed, &store->lock, due);
	lock_drop(&store->lock);
	ck_assert(in_time);
}

int
store_put(struct store *store, struct written *written)
{
	store_write(store, written, 1);
	return store_await(store, written, 1) ? written->entry.error : -ETIME;
}

/* ---- jobs */

char *
arena_format(struct arena *arena, const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	return arena_string(arena, text);
}

struct job *
new_job(const char *host, int port, const char *tag)
{
	struct job_spec *spec = job_spec_new();

	spec->method = "GET";
	spec->url = arena_format(&spec->arena, "http://%s:%d/", host, port);
	spec->origin.scheme = "http";
	spec->origin.host = arena_string(&spec->arena, host);
	spec->origin.port = port;
	spec->tags = arena_alloc(&spec->arena, 2 * sizeof(char *));
	spec->tags[0] = arena_string(&spec->arena, "all");
	spec->tags[1] = arena_string(&spec->arena, tag);
	spec->tag_count = 2;
	struct job *job = job_new(spec);
	job->id = id_new();
	job->created_wall_ms = job->run_at_wall_ms = wall_ms();
	return job;
}

void
unref_all(struct job **jobs, size_t count)
{
	for (size_t i = 0; i < count; i++)
		job_unref(jobs[i]);
}

int
add_job(struct store *store, struct job *job)
{
	struct written written = {.entry = {.verb = LEDGER_ADD, .job = job}};

	return store_put(store, &written);
}

bool
remove_job(struct store *store, struct job *job)
{
	struct written written = {.entry = {.verb = LEDGER_REMOVE, .job = job}};

	return store_put(store, &written) == 0 && written.entry.found;
}

struct job *
add_new(struct store *store, const char *host, int port, const char *tag)
{
	struct job *job = new_job(host, port, tag);

	ck_assert_int_eq(add_job(store, job), 0);
	return job;
}

/* Entries of one verb for many jobs, a batch at a time. */
static void
put_many(struct store *store, struct job **jobs, size_t count, enum ledger_verb verb, const int64_t *expires)
{
	struct written *batch = calloc(BATCH, sizeof *batch);

	for (size_t from = 0; from < count; from += BATCH) {
		size_t some = count - from < BATCH ? count - from : BATCH;

		for (size_t i = 0; i < some; i++) {
			batch[i] = (struct written){.entry = {.verb = verb, .job = jobs[from + i]}};
			if (verb == LEDGER_END)
				end_init(&batch[i], jobs[from + i], expires[from + i], 1, false, store->bodies);
		}
		store_write(store, batch, some);
		ck_assert(store_await(store, batch, some));
		for (size_t i = 0; i < some; i++) {
			ck_assert_int_eq(batch[i].entry.error, 0);
			if (verb == LEDGER_END)
				end_take_over(&batch[i]);
			if (verb == LEDGER_REMOVE)
				ck_assert(batch[i].entry.found);
		}
	}
	free(batch);
}

void
add_many(struct store *store, struct job **jobs, size_t count)
{
	put_many(store, jobs, count, LEDGER_ADD, NULL);
}

void
remove_many(struct store *store, struct job **jobs, size_t count)
{
	put_many(store, jobs, count, LEDGER_REMOVE, NULL);
}

void
end_many(struct store *store, struct job **jobs, size_t count, const int64_t *expires)
{
	put_many(store, jobs, count, LEDGER_END, expires);
}

/* ---- ends */

static void
write_file(const char *path, const char *bytes, size_t count)
{
	FILE *file = fopen(path, "wx");

	if (file == NULL || fwrite(bytes, 1, count, file) != count || fclose(file) != 0)
		ck_abort_msg("%s: %s", path, strerror(errno));
}

struct response *
new_response(const struct job *job, int64_t bytes, bool in_file, const char *bodies)
{
	struct arena arena = {0};
	struct response *response = arena_alloc(&arena, sizeof *response);
	char *data = malloc((size_t)bytes + 1), text[ID_TEXT_BYTES];

	response->arena = arena;
	response->status = 200;
	response->url = arena_string(&response->arena, job->spec->url);
	response->body.bytes = bytes;
	for (int64_t i = 0; i < bytes; i++)
		data[i] = (char)(i * 7 + i / 256);
	if (!in_file) {
		response->body.data = data;
		return response;
	}
	id_format(&job->id, text);
	ck_assert_int_ge(asprintf(&response->body.path, "%s/%s.part", bodies, text), 0);
	write_file(response->body.path, data, (size_t)bytes);
	response->body.fd = open(response->body.path, O_RDWR | O_CLOEXEC);
	ck_assert_int_gt(response->body.fd, 0);
	free(data);
	return response;
}

void
end_init(struct written *written, struct job *job, int64_t expires, int64_t bytes, bool in_file, const char *bodies)
{
	*written = (struct written){.entry = {.verb = LEDGER_END, .job = job}};
	written->entry.end = (struct ledger_end){
		.state = JOB_succeeded,
		.version = 3,
		.response = new_response(job, bytes, in_file, bodies),
		.expires_wall_ms = expires,
		.received_bytes = bytes,
		.total_bytes = bytes,
	};
}

void
end_take_over(struct written *written)
{
	struct ledger_end *end = &written->entry.end;
	struct job *job = written->entry.job;

	if (job->state != JOB_running)
		job_set_state(job, JOB_running);
	job_set_state(job, end->state);
	if (end->attempt != NULL)
		job_add_attempt(job, end->attempt);
	job->response = end->response;
	job->expires_wall_ms = end->expires_wall_ms;
	end->attempt = NULL;
	end->response = NULL;
}

void
end_release(struct written *written)
{
	attempt_free(written->entry.end.attempt);
	response_free(written->entry.end.response);
	written->entry.end.attempt = NULL;
	written->entry.end.response = NULL;
}

int
end_job(struct store *store, struct job *job, int64_t expires, int64_t bytes, bool in_file)
{
	struct written written;

	end_init(&written, job, expires, bytes, in_file, store->bodies);
	int error = store_put(store, &written);
	if (error == 0)
		end_take_over(&written);
	else
		end_release(&written);
	return error;
}

/* ---- looking */

void
store_turn(struct store *store)
{
	struct job *nobody = new_job("nobody.example", 80, "x");

	ck_assert(!remove_job(store, nobody));
	job_unref(nobody);
}

int64_t
store_sweep(struct store *store, int64_t now_wall_ms)
{
	struct ledger *ledger = store->ledger;
	int64_t next = ledger->ops->sweep(ledger, now_wall_ms);

	while (next <= now_wall_ms) /* the memory store removes some at each call */
		next = ledger->ops->sweep(ledger, now_wall_ms);
	if (store->kind == IN_SQLITE) /* the other a hundred at each turn */
		for (size_t left = usage_of(store).finished / 100 + 2; left > 0; left--)
			store_turn(store);
	return next;
}

struct ledger_usage
usage_of(struct store *store)
{
	struct ledger_usage usage = {0};

	store->ledger->ops->usage(store->ledger, &usage);
	return usage;
}

struct job *
find_job(struct store *store, const struct id *id, enum ledger_depth depth)
{
	struct job *found = NULL;
	int error = store->ledger->ops->find(store->ledger, id, depth, &found);

	if (error == 0) {
		ck_assert_int_eq(id_compare(&found->id, id), 0);
		return found;
	}
	ck_assert_int_eq(error, -ENOENT);
	ck_assert_ptr_null(found);
	return NULL;
}

bool
has(struct store *store, const struct job *job)
{
	struct job *found = find_job(store, &job->id, LEDGER_SUMMARY);

	if (found == NULL)
		return false;
	if (store->kind == IN_MEMORY)
		ck_assert_ptr_eq(found, job);
	job_unref(found);
	return true;
}

size_t
list_page(
	struct store *store, const struct ledger_filter *filter, const struct id *before, struct id *ids, size_t limit)
{
	int count = store->ledger->ops->list(store->ledger, filter, before, ids, limit);

	ck_assert_int_ge(count, 0);
	ck_assert_uint_le((size_t)count, limit);
	for (int i = 1; i < count; i++)
		if (id_compare(&ids[i], &ids[i - 1]) >= 0)
			ck_abort_msg("place %d is not older", i);
	if (count > 0 && before != NULL)
		ck_assert_int_lt(id_compare(&ids[0], before), 0);
	return (size_t)count;
}

size_t
count_listed(struct store *store, const struct ledger_filter *filter, size_t page)
{
	struct id ids[64], cursor;
	size_t total = 0, count;

	do {
		count = list_page(store, filter, total == 0 ? NULL : &cursor, ids, page);
		if (count > 0)
			cursor = ids[count - 1];
		total += count;
	} while (count == page);
	return total;
}

static sqlite3 *
open_database(const struct store *store)
{
	char path[200];
	sqlite3 *db;

	snprintf(path, sizeof path, "%s/ledger.db", store->dir);
	ck_assert_int_eq(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, "unix"), SQLITE_OK);
	sqlite3_busy_timeout(db, PATIENCE_MS);
	return db;
}

int64_t
store_number(const struct store *store, const char *sql_format, ...)
{
	sqlite3 *db = open_database(store);
	sqlite3_stmt *statement;
	va_list args;

	va_start(args, sql_format);
	char *sql = sqlite3_vmprintf(sql_format, args);
	va_end(args);
	ck_assert_msg(
		sqlite3_prepare_v2(db, sql, -1, &statement, NULL) == SQLITE_OK, "%s: %s", sql, sqlite3_errmsg(db));
	ck_assert_msg(sqlite3_step(statement) == SQLITE_ROW, "%s: %s", sql, sqlite3_errmsg(db));
	int64_t number = sqlite3_column_int64(statement, 0);
	sqlite3_finalize(statement);
	sqlite3_free(sql);
	sqlite3_close(db);
	return number;
}

void
store_exec(const struct store *store, const char *sql)
{
	sqlite3 *db = open_database(store);

	ck_assert_msg(sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK, "%s: %s", sql, sqlite3_errmsg(db));
	sqlite3_close(db);
}

/* ---- after a fault */

static void
print_finding(void *context, const char *line)
{
	(void)context;
	fprintf(stderr, "%s\n", line);
}

void
store_reopen_whole(struct store *store)
{
	char *message;

	store_reopen(store);
	int result = ledger_sqlite_check(store->dir, store->bodies, print_finding, NULL, &message);
	ck_assert_msg(result == 0, "%d findings: %s", result, message == NULL ? "" : message);
}

bool
store_accepts(struct store *store, char *ret_why, size_t size)
{
	return store->ledger->ops->accepts(store->ledger, ret_why, size);
}

struct written
entry_of(enum ledger_verb verb, struct job *job)
{
	return (struct written){.entry = {.verb = verb, .job = job}};
}

struct written
change_of(enum ledger_verb verb, struct job *job, uint32_t version)
{
	return (struct written){.entry = {.verb = verb, .job = job, .start = {.version = version}}};
}

enum job_state
state_of(struct store *store, const struct job *job)
{
	struct job *found = find_job(store, &job->id, LEDGER_WHOLE);

	ck_assert_ptr_nonnull(found);
	enum job_state state = found->state;
	job_unref(found);
	return state;
}

/* ---- numbers */

uint64_t
next_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * UINT64_C(2685821657736338717);
}

int
random_below(uint64_t *state, int bound)
{
	return (int)(next_random(state) >> 33) % bound;
}
