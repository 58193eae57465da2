/*
 * Large bodies are files: written aside by who fetches, synced, moved to their names and their folder synced, all before
 * the commit that names them. A thread of its own does so, for a sync takes as long as many commits.
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "ledger/sqlite_private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

#define BATCH 32     /* bodies that are passed on together */
#define PART ".part" /* the end of the name of a body that is still written */

static bool
is_part(const char *name)
{
	size_t length = strlen(name), end = strlen(PART);

	return length > end && strcmp(name + length - end, PART) == 0;
}

/* ---- the start */

/* True when a result names the file. */
static int
named(sqlite3_stmt *find, const char *name, const struct id *id, bool *ret, int64_t *ret_bytes)
{
	sqlite3_bind_int64(find, 1, (int64_t)id_stamp(id));
	sqlite3_bind_text(find, 2, name, -1, SQLITE_STATIC);
	int rc = sqlite3_step(find);
	*ret = rc == SQLITE_ROW;
	*ret_bytes = *ret ? sqlite3_column_int64(find, 0) : 0;
	sqlite3_reset(find);
	return rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : -EIO;
}

static int
sweep_folder(struct sqlite *sqlite, DIR *folder, sqlite3_stmt *find)
{
	struct id id;
	int64_t bytes;
	size_t removed = 0;
	bool keep;

	for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
		keep = !is_part(entry->d_name);
		if (keep && id_parse(entry->d_name, &id) != 0)
			continue; /* none of ours */
		if (keep && named(find, entry->d_name, &id, &keep, &bytes) != 0)
			return -EIO;
		if (keep)
			sqlite->usage.disk_bytes += bytes;
		else if (unlinkat(dirfd(folder), entry->d_name, 0) == 0)
			removed++;
	}
	if (removed > 0)
		log_info("removed %zu bodies that no job names, of fetches that were cut off", removed);
	return 0;
}

int
sqlite_bodies_sweep(struct sqlite *sqlite)
{
	sqlite3_stmt *find;
	DIR *folder = opendir(sqlite->bodies);
	int error;

	sqlite->bodies_fd = open(sqlite->bodies, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (folder == NULL || sqlite->bodies_fd < 0) {
		error = -errno;
		if (folder != NULL)
			closedir(folder);
		return error;
	}
	error = sqlite3_prepare_v2(sqlite->writer.db, "SELECT body_bytes FROM results WHERE seq = ? AND body_file = ?",
			-1, &find, NULL) == SQLITE_OK
		? 0
		: -EIO;
	if (error == 0)
		error = sweep_folder(sqlite, folder, find);
	sqlite3_finalize(find);
	closedir(folder);
	return error;
}

/* ---- removal */

struct doomed {
	struct list node;
	char file[];
};

void
sqlite_bodies_note(struct sqlite *sqlite, const char *file)
{
	size_t length = strlen(file);
	struct doomed *doomed = malloc(sizeof *doomed + length + 1);

	if (doomed == NULL)
		return; /* the next start sweeps it */
	memcpy(doomed->file, file, length + 1);
	list_init(&doomed->node);
	list_push_back(&sqlite->unlinks, &doomed->node);
}

void
sqlite_bodies_unlink(struct sqlite *sqlite, bool committed)
{
	for (struct list *node; (node = list_pop_front(&sqlite->unlinks)) != NULL;) {
		struct doomed *doomed = container_of(node, struct doomed, node);
		char path[4096];

		snprintf(path, sizeof path, "%s/%s", sqlite->bodies, doomed->file);
		if (committed && unlink(path) != 0 && errno != ENOENT)
			log_warn("cannot remove %s: %s", path, strerror(errno));
		free(doomed);
	}
}

/* ---- the thread */

/* On the very descriptor that it was written by, so that a write that failed behind our back is told. */
static int
open_again(struct body *body)
{
	if (body->fd > 0)
		return 0;
	body->fd = open(body->path, O_RDONLY | O_CLOEXEC);
	if (body->fd > 0)
		return 0;
	body->fd = 0;
	return -errno;
}

/* Moves the file, which is synced, to its name. */
static int
move(struct body *body)
{
	char *name = strdup(body->path);

	if (name == NULL)
		return -ENOMEM;
	if (is_part(name))
		name[strlen(name) - strlen(PART)] = '\0';
	if (rename(body->path, name) != 0) {
		int error = -errno;

		free(name);
		return error;
	}
	free(body->path);
	body->path = name;
	body->kept = true;
	return 0;
}

/* For want of room, memory or descriptors the job fails, which can be told. */
static bool
is_shortage(int error)
{
	return error == -ENOSPC || error == -EDQUOT || error == -ENOMEM || error == -EMFILE || error == -ENFILE;
}

static void
fail_job(struct ledger_end *end, int error)
{
	end->state = JOB_failed;
	end->error = (struct job_error){.code = JOB_ERROR_internal, .phase = JOB_PHASE_body};
	snprintf(end->error.message, sizeof end->error.message, "cannot keep the body: %s", strerror(-error));
	if (end->attempt != NULL)
		end->attempt->error = end->error;
	response_free(end->response);
	end->response = NULL;
}

/* Returns false when the disk failed, which any failure to sync is. */
static bool
settle(struct sqlite *sqlite, struct ledger_entry *entry)
{
	struct body *body = &entry->end.response->body;
	int error = open_again(body);
	bool synced = error != 0 || fsync(body->fd) == 0;

	if (!synced)
		error = -errno;
	body_close(body);
	if (error == 0)
		error = move(body);
	if (error == 0)
		return true;
	if (synced && is_shortage(error)) {
		fail_job(&entry->end, error);
		return true;
	}
	sqlite_fail(sqlite, "%s: %s", body->path, strerror(-error));
	return false;
}

static bool
settle_all(struct sqlite *sqlite, struct list *entries)
{
	LIST_FOR_EACH(node, entries)
		if (!settle(sqlite, container_of(node, struct ledger_entry, node)))
			return false;
	if (fsync(sqlite->bodies_fd) == 0)
		return true;
	sqlite_fail(sqlite, "%s: %s", sqlite->bodies, strerror(errno));
	return false;
}

void *
sqlite_bodies_run(void *context)
{
	struct sqlite *sqlite = context;
	struct list entries;

	list_init(&entries);
	lock_take(&sqlite->lock);
	for (;;) {
		while (list_empty(&sqlite->body_inbox) && !sqlite->bodies_stopping)
			cond_wait(&sqlite->body_changed, &sqlite->lock);
		if (list_empty(&sqlite->body_inbox))
			break;
		for (int i = 0; i < BATCH && !list_empty(&sqlite->body_inbox); i++)
			list_push_back(&entries, list_pop_front(&sqlite->body_inbox));
		lock_drop(&sqlite->lock);
		settle_all(sqlite, &entries);
		sqlite_pass_on(sqlite, &entries);
		lock_take(&sqlite->lock);
	}
	lock_drop(&sqlite->lock);
	return NULL;
}
