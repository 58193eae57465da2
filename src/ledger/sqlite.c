/*
 * The ledger in an SQLite database: its interface and its life. doc/ledger.md has the tables and what holds when the disk fails.
 *
 * Threads: the ops may be called on any. Locks: its own two (sqlite_private.h), leaves; none is held in a hook.
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "ledger/sqlite_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

/* ---- the interface */

/* A start that is held back is not needed when the job's end or its return is there. */
static void
skip_start_locked(struct sqlite *sqlite, struct job *job)
{
	struct ledger_entry *start = job->pending_start;

	if (start == NULL)
		return;
	job->pending_start = NULL;
	list_remove(&start->node);
	list_push_back(&sqlite->skipped, &start->node);
}

static void
take_in_locked(struct sqlite *sqlite, struct ledger_entry *entry)
{
	struct response *response = entry->verb == LEDGER_END ? entry->end.response : NULL;

	entry->error = 0;
	if (entry->verb == LEDGER_START && entry->start.lazy) {
		entry->job->pending_start = entry;
		list_push_back(&sqlite->lazy, &entry->node);
		return;
	}
	skip_start_locked(sqlite, entry->job);
	if (response != NULL && response->body.path != NULL && !response->body.kept) {
		list_push_back(&sqlite->body_inbox, &entry->node);
		cond_signal(&sqlite->body_changed);
	} else {
		list_push_back(entry->verb == LEDGER_ADD ? &sqlite->arrivals : &sqlite->inbox, &entry->node);
	}
}

static void
sqlite_write(struct ledger *ledger, struct list *entries)
{
	struct sqlite *sqlite = sqlite_of(ledger);

	lock_take(&sqlite->lock);
	bool stopped = sqlite->stopped;
	for (struct list *node; !stopped && (node = list_pop_front(entries)) != NULL;)
		take_in_locked(sqlite, container_of(node, struct ledger_entry, node));
	bool wake = !stopped && sqlite->idle;
	if (wake)
		cond_broadcast(&sqlite->changed);
	lock_drop(&sqlite->lock);
	if (!stopped)
		return;
	LIST_FOR_EACH(node, entries)
		container_of(node, struct ledger_entry, node)->error = -ESHUTDOWN;
	sqlite->hooks.committed(sqlite->hooks.context, entries);
}

void
sqlite_pass_on(struct sqlite *sqlite, struct list *entries)
{
	lock_take(&sqlite->lock);
	list_splice(sqlite->failed ? &sqlite->lost : &sqlite->inbox, entries);
	cond_broadcast(&sqlite->changed);
	lock_drop(&sqlite->lock);
}

static int64_t
sqlite_sweep(struct ledger *ledger, int64_t now_wall_ms)
{
	struct sqlite *sqlite = sqlite_of(ledger);

	lock_take(&sqlite->lock);
	sqlite->sweep_before_wall_ms = now_wall_ms;
	cond_broadcast(&sqlite->changed);
	lock_drop(&sqlite->lock);
	return sqlite_next_expiry(sqlite, now_wall_ms);
}

static bool
sqlite_accepts(struct ledger *ledger, char *ret_why, size_t size)
{
	struct sqlite *sqlite = sqlite_of(ledger);

	lock_take(&sqlite->lock);
	bool accepts = !sqlite->failed && !sqlite->full;
	if (!accepts && ret_why != NULL)
		snprintf(ret_why, size, "%s", sqlite->trouble);
	lock_drop(&sqlite->lock);
	return accepts;
}

static int64_t
file_bytes(const char *path, const char *end)
{
	char name[4096];
	struct stat status;

	snprintf(name, sizeof name, "%s%s", path, end);
	return stat(name, &status) == 0 ? status.st_size : 0;
}

static void
sqlite_usage(struct ledger *ledger, struct ledger_usage *ret)
{
	struct sqlite *sqlite = sqlite_of(ledger);

	lock_take(&sqlite->lock);
	*ret = sqlite->usage;
	lock_drop(&sqlite->lock);
	ret->bytes = file_bytes(sqlite->path, "");
	ret->wal_bytes = file_bytes(sqlite->path, "-wal");
}

static void
give_back_rest(struct sqlite *sqlite)
{
	struct list rest;
	size_t results = 0;

	list_init(&rest);
	lock_take(&sqlite->lock);
	sqlite->stopped = true;
	list_splice(&rest, &sqlite->held);
	list_splice(&rest, &sqlite->lost);
	list_splice(&rest, &sqlite->body_inbox);
	list_splice(&rest, &sqlite->arrivals);
	list_splice(&rest, &sqlite->inbox);
	list_splice(&rest, &sqlite->aged);
	list_splice(&rest, &sqlite->lazy);
	list_splice(&rest, &sqlite->skipped);
	lock_drop(&sqlite->lock);
	LIST_FOR_EACH(node, &rest) {
		struct ledger_entry *entry = container_of(node, struct ledger_entry, node);

		entry->error = -ESHUTDOWN;
		results += entry->verb == LEDGER_END;
	}
	if (results > 0)
		log_error("%zu results could not be stored; the next start takes their jobs up again", results);
	if (!list_empty(&rest))
		sqlite->hooks.committed(sqlite->hooks.context, &rest);
}

static void
sqlite_stop(struct ledger *ledger)
{
	struct sqlite *sqlite = sqlite_of(ledger);

	if (sqlite->body_thread_runs) {
		lock_take(&sqlite->lock);
		sqlite->bodies_stopping = true;
		cond_broadcast(&sqlite->body_changed);
		lock_drop(&sqlite->lock);
		thread_join(sqlite->body_thread);
		sqlite->body_thread_runs = false;
	}
	if (sqlite->thread_runs) {
		lock_take(&sqlite->lock);
		sqlite->stopping = true;
		cond_broadcast(&sqlite->changed);
		lock_drop(&sqlite->lock);
		thread_join(sqlite->thread);
		sqlite->thread_runs = false;
	}
	give_back_rest(sqlite);
}

static void
sqlite_close(struct ledger *ledger)
{
	struct sqlite *sqlite = sqlite_of(ledger);

	sqlite_stop(ledger);
	sqlite_readers_close(sqlite);
	sqlite_write_release(&sqlite->writer);
	if (sqlite->bodies_fd >= 0)
		close(sqlite->bodies_fd);
	sqlite3_close(sqlite->writer.db); /* the last one: takes the log in and removes it */
	lock_release(&sqlite->lock);
	lock_release(&sqlite->readers_lock);
	cond_release(&sqlite->changed);
	cond_release(&sqlite->body_changed);
	cond_release(&sqlite->readers_changed);
	free(sqlite->path);
	free(sqlite);
}

static const struct ledger_ops sqlite_ops = {
	.name = "sqlite",
	.durable = true,
	.recover = sqlite_recover,
	.write = sqlite_write,
	.find = sqlite_find,
	.list = sqlite_list,
	.sweep = sqlite_sweep,
	.accepts = sqlite_accepts,
	.usage = sqlite_usage,
	.stop = sqlite_stop,
	.close = sqlite_close,
};

/* ---- the start */

/* SQLite's own words, for whoever looks for the cause of a failure. */
static void
on_sqlite_log(void *context, int rc, const char *message)
{
	(void)context;
	log_debug("sqlite (%d): %s", rc, message);
}

static void
configure_sqlite(void)
{
	static bool configured;

	if (configured)
		return;
	configured = true;
	sqlite3_config(SQLITE_CONFIG_LOG, on_sqlite_log, NULL);
	sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0); /* a global lock for each allocation otherwise */
}

static int
sync_dir(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int error = fd < 0 || fsync(fd) != 0 ? -errno : 0;

	if (fd >= 0)
		close(fd);
	return error;
}

/* Whether the last process left the mark of a failure, which is taken away. */
static bool
take_failure_mark(const char *dir)
{
	char path[4096];

	snprintf(path, sizeof path, "%s/" SQLITE_FAILURE_FILE, dir);
	return unlink(path) == 0;
}

/* What is there already. Returns an SQLite code. */
static int
read_figures(struct sqlite *sqlite)
{
	sqlite3 *db = sqlite->writer.db;
	int64_t finished = 0, live = 0, newest = 0, finish_order = 0;
	int rc = sqlite_schema_number(db, "SELECT count(*) FROM results", &finished);

	if (rc == SQLITE_OK)
		rc = sqlite_schema_number(db, "SELECT count(*) FROM live", &live);
	if (rc == SQLITE_OK)
		rc = sqlite_schema_number(db, "SELECT coalesce(max(seq), 0) FROM jobs", &newest);
	if (rc == SQLITE_OK && finished > 0)
		rc = sqlite_schema_number(db,
			"SELECT max(finish_order) FROM (SELECT finish_order FROM results ORDER BY expires_at DESC LIMIT 100)",
			&finish_order);
	sqlite->base.finish_order = (uint64_t)finish_order;
	sqlite->usage.finished = (size_t)finished;
	sqlite->usage.jobs = (size_t)(finished + live);
	id_continue_after((uint64_t)newest);
	return rc;
}

static int
start_threads(struct sqlite *sqlite)
{
	int error = thread_start(&sqlite->body_thread, "bodies", sqlite_bodies_run, sqlite);

	sqlite->body_thread_runs = error == 0;
	if (error == 0)
		error = thread_start(&sqlite->thread, "ledger", sqlite_writer_run, sqlite);
	sqlite->thread_runs = error == 0;
	return error;
}

static int
begin(struct sqlite *sqlite, char **ret_message)
{
	const char *what = sqlite->path;
	const char *why = NULL;
	int error = 0;

	sqlite_writer_init(&sqlite->writer);
	if (read_figures(sqlite) != SQLITE_OK) {
		error = -EIO;
		why = sqlite3_errmsg(sqlite->writer.db);
	}
	if (error == 0) {
		sqlite->base.failed_before = take_failure_mark(sqlite->dir);
		what = sqlite->bodies;
		error = sqlite_bodies_sweep(sqlite);
	}
	if (error == 0) {
		what = sqlite->dir;
		error = sync_dir(sqlite->dir);
	}
	if (error == 0) {
		what = "threads of the ledger";
		error = start_threads(sqlite);
	}
	if (error != 0 && asprintf(ret_message, "%s: %s", what, why != NULL ? why : strerror(-error)) < 0)
		*ret_message = NULL;
	return error;
}

static struct sqlite *
sqlite_new(const char *dir, const char *bodies, const struct ledger_hooks *hooks)
{
	struct sqlite *sqlite = calloc(1, sizeof *sqlite);

	if (sqlite == NULL || asprintf(&sqlite->path, "%s/" SQLITE_LEDGER_FILE, dir) < 0) {
		free(sqlite);
		return NULL;
	}
	sqlite->base.ops = &sqlite_ops;
	sqlite->dir = dir;
	sqlite->bodies = bodies;
	sqlite->bodies_fd = -1;
	sqlite->hooks = *hooks;
	lock_init(&sqlite->lock);
	lock_init(&sqlite->readers_lock);
	cond_init(&sqlite->changed);
	cond_init(&sqlite->body_changed);
	cond_init(&sqlite->readers_changed);
	list_init(&sqlite->held);
	list_init(&sqlite->unlinks);
	list_init(&sqlite->arrivals);
	list_init(&sqlite->inbox);
	list_init(&sqlite->lazy);
	list_init(&sqlite->aged);
	list_init(&sqlite->skipped);
	list_init(&sqlite->body_inbox);
	list_init(&sqlite->lost);
	return sqlite;
}

int
ledger_sqlite_open(
	const char *dir, const char *bodies, const struct ledger_hooks *hooks, struct ledger **ret, char **ret_message)
{
	struct sqlite *sqlite;

	*ret_message = NULL;
	configure_sqlite();
	sqlite = sqlite_new(dir, bodies, hooks);
	if (sqlite == NULL)
		return -ENOMEM;
	int error = sqlite_schema_open(sqlite->path, &sqlite->writer.db, ret_message);
	if (error == 0)
		error = begin(sqlite, ret_message);
	if (error != 0) {
		sqlite_close(&sqlite->base);
		return error;
	}
	*ret = &sqlite->base;
	return 0;
}
