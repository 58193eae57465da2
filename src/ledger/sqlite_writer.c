/*
 * The one thread that writes: commits, checkpoints, expiry, and what a failure of the disk means. Group commit: whatever has come while
 * the last commit ran is the next one; there is no delay. doc/ledger.md has what holds when the disk fails.
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "ledger/sqlite_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"

#define BATCH_MAX 1000          /* entries of a commit, from each list */
#define BATCH_BYTES (8 << 20)   /* of bodies in them */
#define CHECKPOINT_PAGES 1000   /* of the log, between two checkpoints */
#define CUT_PAGES 8000          /* of the log, at which readers are kept out until it is empty */
#define HOLD_MS 50              /* how long the writer waits for readers under way */
#define LAZY_MS 10              /* how long starts that nobody awaits wait for other work */
#define EXPIRY_STEP 100         /* jobs removed in one transaction, or as many as the commit before it had entries */
#define VACUUM_STEP "64"        /* pages given back in one transaction */
#define VACUUM_SLACK 1024       /* free pages that are kept anyway */
#define RETRY_MS 250            /* while the disk is full */
#define RESERVE_BYTES (8 << 20) /* of the disk, for when it is full */

/* ---- failures */

void
sqlite_fail(struct sqlite *sqlite, const char *format, ...)
{
	char why[sizeof sqlite->trouble], *path;
	va_list args;

	va_start(args, format);
	vsnprintf(why, sizeof why, format, args);
	va_end(args);
	lock_take(&sqlite->lock);
	bool first = !sqlite->failed;
	sqlite->failed = true;
	snprintf(sqlite->trouble, sizeof sqlite->trouble, "%s", why);
	lock_drop(&sqlite->lock);
	if (!first)
		return;
	/* For the next start, as far as the disk still takes anything. */
	if (asprintf(&path, "%s/" SQLITE_FAILURE_FILE, sqlite->dir) >= 0) {
		int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

		if (fd >= 0)
			close(fd);
		free(path);
	}
	sqlite->hooks.failed(sqlite->hooks.context, why);
}

static bool
has_failed(struct sqlite *sqlite)
{
	lock_take(&sqlite->lock);
	bool failed = sqlite->failed;
	lock_drop(&sqlite->lock);
	return failed;
}

/* The system's word for what went wrong with a file: sqlite3_system_errno does not know it of a commit. */
static int
errno_of_file(sqlite3_file *file)
{
	int number = 0;

	if (file != NULL && file->pMethods != NULL)
		file->pMethods->xFileControl(file, SQLITE_FCNTL_LAST_ERRNO, &number);
	return number;
}

/* A file keeps the last word for ever, so the other one is not asked: transactions write to the log, a checkpoint to the database. */
static int
system_errno(sqlite3 *db, bool checkpoint)
{
	sqlite3_file *file = NULL;

	sqlite3_file_control(db, "main", checkpoint ? SQLITE_FCNTL_FILE_POINTER : SQLITE_FCNTL_JOURNAL_POINTER, &file);
	return errno_of_file(file);
}

/* Failures that pass when there is room again, or memory, or whoever locks the database lets go. */
static bool
may_pass(int rc, int system)
{
	switch (rc & 0xff) {
	case SQLITE_FULL:
	case SQLITE_NOMEM:
	case SQLITE_BUSY:
		return true;
	default:
		/* The index of the log cannot grow; a quota is told as an error of writing. */
		return rc == SQLITE_IOERR_SHMSIZE || rc == SQLITE_IOERR_NOMEM ||
			(rc == SQLITE_IOERR_WRITE && (system == EDQUOT || system == ENOSPC));
	}
}

static int
error_of(int rc)
{
	switch (rc & 0xff) {
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_BUSY:
		return -EAGAIN;
	default:
		return -ENOSPC;
	}
}

/*
 * Room is kept in reserve: given up when the disk is full, so that the log can be taken in and what has expired can go; to be had
 * again before jobs are taken in, so that this does not come and go with each of them. Returns false when there is none.
 */
static bool
make_reserve(struct sqlite *sqlite)
{
	char path[4096];

	snprintf(path, sizeof path, "%s/" SQLITE_RESERVE_FILE, sqlite->dir);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	bool made = fd >= 0 && posix_fallocate(fd, 0, RESERVE_BYTES) == 0;
	if (fd >= 0)
		close(fd);
	if (!made)
		unlink(path);
	return made;
}

static void
give_up_reserve(struct sqlite *sqlite)
{
	char path[4096];

	snprintf(path, sizeof path, "%s/" SQLITE_RESERVE_FILE, sqlite->dir);
	unlink(path);
}

/* Jobs are not taken in for now; said once. */
static void
enter_trouble(struct sqlite *sqlite, int rc)
{
	const char *why = (rc & 0xff) == SQLITE_NOMEM ? "out of memory"
		: (rc & 0xff) == SQLITE_BUSY          ? "another program holds the database locked"
						      : "the disk is full";

	lock_take(&sqlite->lock);
	bool first = !sqlite->full;
	sqlite->full = true;
	snprintf(sqlite->trouble, sizeof sqlite->trouble, "%s", why);
	lock_drop(&sqlite->lock);
	if (first)
		give_up_reserve(sqlite);
	if (first)
		log_error("%s: %s; no job is taken in until that is over", sqlite->path, why);
}

static void
leave_trouble(struct sqlite *sqlite)
{
	lock_take(&sqlite->lock);
	bool was = sqlite->full;
	sqlite->full = false;
	lock_drop(&sqlite->lock);
	if (!was)
		return;
	log_write(LOG_ALWAYS, "%s can be written again; jobs are taken in", sqlite->path);
	sqlite->hooks.relieved(sqlite->hooks.context);
}

/* An SQLite code. */
static int
look_for_room(struct sqlite *sqlite)
{
	if (!make_reserve(sqlite))
		return SQLITE_FULL;
	int rc = sqlite_schema_touch(sqlite->writer.db);
	if (rc != SQLITE_OK)
		give_up_reserve(sqlite);
	return rc;
}

/* What a failed transaction means. Returns true when it may pass. */
static bool
take_failure(struct sqlite *sqlite, int rc, bool checkpoint)
{
	sqlite3 *db = sqlite->writer.db;
	int system = system_errno(db, checkpoint);
	char message[200];

	snprintf(message, sizeof message, "%s", sqlite3_errmsg(db));
	if (sqlite3_get_autocommit(db) == 0)
		sqlite_exec(&sqlite->writer, "ROLLBACK");
	sqlite->change = (struct usage_change){0};
	sqlite_bodies_unlink(sqlite, false);
	if (may_pass(rc, system)) {
		enter_trouble(sqlite, rc);
		return true;
	}
	sqlite_fail(sqlite, "%s: %s (%s)%s%s", sqlite->path, message, sqlite3_errstr(rc), system != 0 ? ": " : "",
		system != 0 ? strerror(system) : "");
	return false;
}

/* ---- the log */

static int
on_commit(void *context, sqlite3 *db, const char *name, int pages)
{
	struct writer *writer = context;

	(void)db, (void)name;
	if (pages <= writer->wal_pages) { /* it has begun anew */
		writer->checkpoint_at = CHECKPOINT_PAGES;
		writer->cut_at = CUT_PAGES;
	}
	writer->wal_pages = pages;
	writer->wal_dirty = true;
	return SQLITE_OK;
}

void
sqlite_writer_init(struct writer *writer)
{
	writer->checkpoint_at = CHECKPOINT_PAGES;
	writer->cut_at = CUT_PAGES;
	sqlite3_wal_hook(writer->db, on_commit, writer);
}

/* Returns false after a failure that ends everything. */
static bool
checkpoint(struct sqlite *sqlite, int mode)
{
	int in_log, done;
	int rc = sqlite3_wal_checkpoint_v2(sqlite->writer.db, NULL, mode, &in_log, &done);

	metric_add(METRIC_LEDGER_CHECKPOINTS, 1);
	if (rc == SQLITE_OK && in_log == done)
		sqlite->writer.wal_dirty = false;
	return rc == SQLITE_OK || rc == SQLITE_BUSY || take_failure(sqlite, rc, true);
}

/* Between two commits: what is in the log goes to its place, so that the log begins anew and does not grow. */
static bool
mind_the_log(struct sqlite *sqlite)
{
	struct writer *writer = &sqlite->writer;

	if (writer->wal_pages < writer->checkpoint_at)
		return true;
	writer->checkpoint_at = writer->wal_pages + CHECKPOINT_PAGES;
	if (!checkpoint(sqlite, SQLITE_CHECKPOINT_PASSIVE))
		return false;
	if (writer->wal_pages < writer->cut_at)
		return true;
	/* Readers were in the way time and again: they wait a moment, outside. For those of other programs we do not. */
	writer->cut_at = writer->wal_pages + CUT_PAGES;
	if (!sqlite_readers_hold(sqlite, mono_ms() + HOLD_MS))
		return true;
	sqlite3_busy_timeout(writer->db, 0);
	bool good = checkpoint(sqlite, SQLITE_CHECKPOINT_RESTART);
	sqlite3_busy_timeout(writer->db, SQLITE_BUSY_TIMEOUT_MS);
	sqlite_readers_release(sqlite);
	return good;
}

/* ---- a transaction */

static void
take_over_change(struct sqlite *sqlite)
{
	struct usage_change *change = &sqlite->change;

	lock_take(&sqlite->lock);
	sqlite->usage.jobs = (size_t)((int64_t)sqlite->usage.jobs + change->jobs);
	sqlite->usage.finished = (size_t)((int64_t)sqlite->usage.finished + change->finished);
	sqlite->usage.disk_bytes += change->disk_bytes;
	lock_drop(&sqlite->lock);
	metric_add(METRIC_JOBS_EXPIRED, (uint64_t)change->expired);
	*change = (struct usage_change){0};
	sqlite_bodies_unlink(sqlite, true);
}

static int
write_all(struct sqlite *sqlite, struct list *batch, uint64_t *ret_count)
{
	int rc = sqlite_exec(&sqlite->writer, "BEGIN IMMEDIATE");

	*ret_count = 0;
	if (rc != SQLITE_OK)
		return rc;
	LIST_FOR_EACH(node, batch) {
		rc = sqlite_write_entry(sqlite, container_of(node, struct ledger_entry, node));
		if (rc != SQLITE_OK)
			return rc;
		++*ret_count;
	}
	return sqlite_exec(&sqlite->writer, "COMMIT");
}

/* Those of a batch that was not committed: new jobs are refused, what became of older ones waits for better times. */
static void
put_off(struct sqlite *sqlite, struct list *batch, int error)
{
	struct list refused, kept;

	list_init(&refused);
	list_init(&kept);
	for (struct list *node; (node = list_pop_front(batch)) != NULL;) {
		struct ledger_entry *entry = container_of(node, struct ledger_entry, node);

		entry->error = error;
		list_push_back(entry->verb == LEDGER_ADD ? &refused : &kept, node);
	}
	list_splice(&kept, &sqlite->held); /* behind these: they came later */
	list_splice(&sqlite->held, &kept);
	if (!list_empty(&refused))
		sqlite->hooks.committed(sqlite->hooks.context, &refused);
}

/* Returns false after a failure that ends everything. */
static bool
commit(struct sqlite *sqlite, struct list *batch)
{
	int64_t began_us = mono_us();
	uint64_t count;
	int rc = write_all(sqlite, batch, &count);

	if (rc != SQLITE_OK) {
		bool passes = take_failure(sqlite, rc, false);

		/* It may be in the log, whole and synced, and only be missing in the index: what is refused is written over first. */
		if (passes && (rc & 0xff) != SQLITE_BUSY) {
			int touched = sqlite_schema_touch(sqlite->writer.db);

			passes = touched == SQLITE_OK || take_failure(sqlite, touched, false);
		}
		if (passes)
			put_off(sqlite, batch, error_of(rc));
		return passes;
	}
	metric_add(METRIC_LEDGER_COMMITS, 1);
	metric_add(METRIC_LEDGER_ENTRIES, count);
	metric_add(METRIC_LEDGER_COMMIT_US, (uint64_t)(mono_us() - began_us));
	take_over_change(sqlite);
	return true;
}

/* A step of expiry. Sets *ret_more when there may be more to remove. */
static bool
expire(struct sqlite *sqlite, int64_t before_wall_ms, size_t committed, bool *ret_more)
{
	/* As many as came, if they are more: what goes may not fall behind. */
	int step = committed > EXPIRY_STEP ? (int)committed : EXPIRY_STEP, count = 0;
	int rc = sqlite_exec(&sqlite->writer, "BEGIN IMMEDIATE");

	*ret_more = true;
	if (rc == SQLITE_OK)
		rc = sqlite_write_expiry(sqlite, before_wall_ms, step, &count);
	if (rc == SQLITE_OK)
		rc = sqlite_exec(&sqlite->writer, "COMMIT");
	if (rc != SQLITE_OK)
		return take_failure(sqlite, rc, false);
	take_over_change(sqlite);
	*ret_more = count >= EXPIRY_STEP;
	return true;
}

/* Gives free pages back to the file system, a few at a time, when many are free. Sets *ret_more when there are more. */
static bool
shrink(struct sqlite *sqlite, bool *ret_more)
{
	int64_t unused = 0, pages = 0;
	int rc = sqlite_schema_number(sqlite->writer.db, "PRAGMA freelist_count", &unused);

	if (rc == SQLITE_OK)
		rc = sqlite_schema_number(sqlite->writer.db, "PRAGMA page_count", &pages);
	*ret_more = unused > VACUUM_SLACK && unused > pages / 8;
	if (rc == SQLITE_OK && *ret_more)
		rc = sqlite_exec(&sqlite->writer, "PRAGMA incremental_vacuum(" VACUUM_STEP ")");
	if (rc != SQLITE_OK)
		return take_failure(sqlite, rc, false);
	/* The file itself is cut when the log is taken in. */
	return *ret_more || !sqlite->writer.wal_dirty || checkpoint(sqlite, SQLITE_CHECKPOINT_PASSIVE);
}

/* ---- the writer's thread */

/* What the writer has before it. */
struct turn {
	struct list batch;
	size_t count; /* of entries in it */
	int64_t sweep_before_wall_ms;
	bool stopping, failed;
};

/* The larger part of what an entry adds to the log. */
static int64_t
bytes_of(const struct ledger_entry *entry)
{
	if (entry->verb == LEDGER_ADD)
		return (int64_t)entry->job->spec->body_bytes;
	if (entry->verb == LEDGER_END && entry->end.response != NULL && entry->end.response->body.path == NULL)
		return entry->end.response->body.bytes;
	return 0;
}

/* Takes up to max entries, of up to BATCH_BYTES but one: no list may use up what others need. */
static void
move_some(struct turn *turn, struct list *from, size_t max)
{
	int64_t bytes = 0;

	for (size_t count = 0; count < max && bytes < BATCH_BYTES && !list_empty(from); count++) {
		struct list *node = list_pop_front(from);
		struct ledger_entry *entry = container_of(node, struct ledger_entry, node);

		if (entry->verb == LEDGER_START && entry->start.lazy)
			entry->job->pending_start = NULL; /* not held back any more */
		bytes += bytes_of(entry);
		turn->count++;
		list_push_back(&turn->batch, node);
	}
}

static bool
work_waits(const struct sqlite *sqlite)
{
	return !list_empty(&sqlite->held) || !list_empty(&sqlite->arrivals) || !list_empty(&sqlite->inbox) ||
		!list_empty(&sqlite->lazy) || !list_empty(&sqlite->aged) || sqlite->sweep_before_wall_ms != 0 ||
		sqlite->stopping;
}

/* Starts that nobody awaits are not worth a commit of their own, if one for others comes soon. */
static bool
only_starts_wait(const struct sqlite *sqlite)
{
	return list_empty(&sqlite->held) && list_empty(&sqlite->arrivals) && list_empty(&sqlite->inbox) &&
		sqlite->sweep_before_wall_ms == 0 && !sqlite->stopping;
}

/* Starts that nobody awaits are passed over once while there is other work: most jobs end before their turn comes. */
static void
take_batch_locked(struct sqlite *sqlite, struct turn *turn)
{
	move_some(turn, &sqlite->held, BATCH_MAX);
	if (list_empty(&sqlite->held)) {
		move_some(turn, &sqlite->arrivals, BATCH_MAX);
		move_some(turn, &sqlite->inbox, BATCH_MAX);
		move_some(turn, &sqlite->aged, BATCH_MAX);
	}
	if (turn->count == 0)
		move_some(turn, &sqlite->lazy, BATCH_MAX);
	list_splice(&sqlite->aged, &sqlite->lazy);
}

static void
take_turn(struct sqlite *sqlite, struct turn *turn, bool idle_work)
{
	*turn = (struct turn){.count = 0};
	list_init(&turn->batch);
	lock_take(&sqlite->lock);
	sqlite->idle = true;
	int64_t retry_mono_ms = mono_ms() + RETRY_MS;
	while (sqlite->full && !sqlite->stopping)
		if (!cond_wait_until(&sqlite->changed, &sqlite->lock, retry_mono_ms))
			break;
	while (!sqlite->full && !idle_work && !work_waits(sqlite))
		cond_wait(&sqlite->changed, &sqlite->lock);
	int64_t lazy_mono_ms = mono_ms() + LAZY_MS;
	while (!sqlite->full && !idle_work && only_starts_wait(sqlite))
		if (!cond_wait_until(&sqlite->changed, &sqlite->lock, lazy_mono_ms))
			break;
	sqlite->idle = false;
	take_batch_locked(sqlite, turn);
	turn->sweep_before_wall_ms = sqlite->sweep_before_wall_ms;
	turn->stopping = sqlite->stopping;
	turn->failed = sqlite->failed;
	lock_drop(&sqlite->lock);
}

/* Entries of starts that were not needed go back with the others. */
static void
hand_back(struct sqlite *sqlite, struct list *batch)
{
	struct list all;

	list_init(&all);
	lock_take(&sqlite->lock);
	list_splice(&all, &sqlite->skipped);
	lock_drop(&sqlite->lock);
	list_splice(&all, batch);
	if (!list_empty(&all))
		sqlite->hooks.committed(sqlite->hooks.context, &all);
}

static bool
sweep(struct sqlite *sqlite, int64_t before_wall_ms, size_t committed)
{
	bool more;

	if (!expire(sqlite, before_wall_ms, committed, &more))
		return false;
	lock_take(&sqlite->lock);
	if (!more && sqlite->sweep_before_wall_ms == before_wall_ms)
		sqlite->sweep_before_wall_ms = 0;
	lock_drop(&sqlite->lock);
	return true;
}

/* New jobs that have come meanwhile are refused, too, and the rest gets in line. */
static void
put_off_inbox(struct sqlite *sqlite, int error)
{
	struct list come, refused;

	list_init(&come);
	list_init(&refused);
	lock_take(&sqlite->lock);
	list_splice(&come, &sqlite->arrivals);
	list_splice(&come, &sqlite->inbox);
	lock_drop(&sqlite->lock);
	for (struct list *node; (node = list_pop_front(&come)) != NULL;) {
		struct ledger_entry *entry = container_of(node, struct ledger_entry, node);

		entry->error = error;
		list_push_back(entry->verb == LEDGER_ADD ? &refused : &sqlite->held, node);
	}
	if (!list_empty(&refused))
		sqlite->hooks.committed(sqlite->hooks.context, &refused);
}

/*
 * While it is full: true when there is room again. Otherwise new jobs are refused, and the rest goes on waiting; what has expired may
 * still go, if only its files.
 */
static bool
try_again(struct sqlite *sqlite, struct turn *turn)
{
	int rc = look_for_room(sqlite);
	bool more;

	if (rc == SQLITE_OK) {
		leave_trouble(sqlite);
		return true;
	}
	if (!take_failure(sqlite, rc, false))
		return false;
	put_off(sqlite, &turn->batch, error_of(rc));
	put_off_inbox(sqlite, error_of(rc));
	if (!checkpoint(sqlite, SQLITE_CHECKPOINT_PASSIVE))
		return false;
	if (turn->sweep_before_wall_ms != 0)
		expire(sqlite, turn->sweep_before_wall_ms, 0, &more);
	return false;
}

static bool
run_turn(struct sqlite *sqlite, struct turn *turn, bool *idle_work)
{
	if (sqlite->full && !try_again(sqlite, turn))
		return !has_failed(sqlite);
	if (turn->count > 0 && !commit(sqlite, &turn->batch))
		return false;
	hand_back(sqlite, &turn->batch);
	if (!mind_the_log(sqlite))
		return false;
	if (turn->sweep_before_wall_ms != 0 && !sqlite->full && !sweep(sqlite, turn->sweep_before_wall_ms, turn->count))
		return false;
	if (turn->sweep_before_wall_ms != 0)
		*idle_work = true; /* what was removed may have left much unused */
	else if (*idle_work && turn->count == 0 && !sqlite->full)
		return shrink(sqlite, idle_work);
	return true;
}

/* Nothing is left, also of what the last commit brought about; or what is left has no room. */
static bool
is_over(struct sqlite *sqlite)
{
	lock_take(&sqlite->lock);
	bool over = sqlite->full ||
		(list_empty(&sqlite->held) && list_empty(&sqlite->arrivals) && list_empty(&sqlite->inbox) &&
			list_empty(&sqlite->aged) && list_empty(&sqlite->lazy));
	lock_drop(&sqlite->lock);
	return over;
}

/* After a failure the process ends, or whoever has opened the ledger closes it: until then there is somebody to join. */
static void
await_stop(struct sqlite *sqlite)
{
	lock_take(&sqlite->lock);
	while (!sqlite->stopping)
		cond_wait(&sqlite->changed, &sqlite->lock);
	lock_drop(&sqlite->lock);
}

void *
sqlite_writer_run(void *context)
{
	struct sqlite *sqlite = context;
	bool idle_work = true;
	struct turn turn;

	if (!make_reserve(sqlite))
		log_warn("there is no room for a reserve of %d MiB in %s", RESERVE_BYTES >> 20, sqlite->dir);
	do {
		take_turn(sqlite, &turn, idle_work);
		if (turn.failed || !run_turn(sqlite, &turn, &idle_work)) {
			list_splice(&sqlite->held, &turn.batch); /* nothing more can be kept */
			await_stop(sqlite);
			return NULL;
		}
	} while (!turn.stopping || !is_over(sqlite));
	if (checkpoint(sqlite, SQLITE_CHECKPOINT_PASSIVE) && sqlite->writer.wal_dirty)
		log_warn("the log of %s stays; nothing is lost, the next start takes it in", sqlite->path);
	return NULL;
}
