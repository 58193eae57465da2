/*
 * See fault_vfs.h. The rules, the stops and what is written down are guarded by one lock, which is never held in a call of
 * the layer below.
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "fault_vfs.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/lock.h"

#define MAX_RULES 4
#define MAX_FILES 8
#define LOG_HEAD 32 /* bytes, at the beginning of each log */

enum change_kind { CHANGE_CREATE, CHANGE_WRITE, CHANGE_TRUNCATE, CHANGE_SYNC, CHANGE_REMOVE };

/* What was done to a file. */
struct change {
	enum change_kind kind;
	int file;
	int64_t at;
	size_t size;
	char *bytes; /* of a write */
};

/* Bytes that grow. */
struct image {
	char *bytes;
	size_t size, room;
};

/* A file that is written down, and how far its changes have been carried out for fault_vfs_lose_power. */
struct recorded {
	char *name; /* without its folder */
	struct image synced;
	bool named;      /* that it is there has reached the disk */
	bool there;      /* it is there for who looks */
	bool new_log;    /* its first sync syncs the folder, too */
	size_t *changes; /* that were not synced */
	size_t count, room;
};

struct fault_file {
	sqlite3_file base;
	sqlite3_file *below;
	const char *name;
	int recorded; /* its place; -1: none */
	int error;    /* of the last call that was made to fail */
	bool clean;   /* nothing but the head of a log was written since its last sync */
};

struct gate {
	bool closed;
	unsigned calls;
	const char *file;
	unsigned stopped, steps;
};

static struct {
	sqlite3_vfs vfs;
	sqlite3_vfs *below;
	sqlite3_io_methods methods;

	struct lock lock;
	struct cond changed;
	struct fault_vfs_rule rules[MAX_RULES];
	int rule_count;
	size_t failures;
	struct gate gate;

	bool recording;
	struct change *changes;
	size_t change_count, change_room, played;
	struct recorded files[MAX_FILES];
	int file_count;
} disk;

static _Thread_local bool armed; /* the next release of this thread stops */

static bool
ends_with(const char *name, const char *end)
{
	size_t length = strlen(name), end_length = strlen(end);

	return length >= end_length && strcmp(name + length - end_length, end) == 0;
}

/* ---- rules and stops */

void
fault_vfs_fail(const struct fault_vfs_rule *rule)
{
	lock_take(&disk.lock);
	if (disk.rule_count == MAX_RULES)
		abort();
	disk.rules[disk.rule_count++] = *rule;
	lock_drop(&disk.lock);
}

void
fault_vfs_heal(void)
{
	lock_take(&disk.lock);
	disk.rule_count = 0;
	disk.failures = 0;
	lock_drop(&disk.lock);
	fault_vfs_let_go();
}

size_t
fault_vfs_failures(void)
{
	lock_take(&disk.lock);
	size_t failures = disk.failures;
	lock_drop(&disk.lock);
	return failures;
}

void
fault_vfs_hold(unsigned calls, const char *file)
{
	lock_take(&disk.lock);
	disk.gate = (struct gate){.closed = true, .calls = calls, .file = file, .steps = disk.gate.steps};
	lock_drop(&disk.lock);
}

void
fault_vfs_arm(void)
{
	armed = true;
}

void
fault_vfs_await_stops(unsigned count)
{
	lock_take(&disk.lock);
	while (disk.gate.stopped < count)
		cond_wait(&disk.changed, &disk.lock);
	lock_drop(&disk.lock);
}

static void
step(bool closed)
{
	lock_take(&disk.lock);
	disk.gate.closed = closed;
	disk.gate.stopped = 0;
	disk.gate.steps++;
	cond_broadcast(&disk.changed);
	lock_drop(&disk.lock);
}

void
fault_vfs_step(void)
{
	step(true);
}

void
fault_vfs_let_go(void)
{
	step(false);
}

static void
stop_locked(enum fault_vfs_call call, const struct fault_file *file)
{
	struct gate *gate = &disk.gate;

	if (!gate->closed || (gate->calls & call) == 0 || !ends_with(file->name, gate->file))
		return;
	if ((call == VFS_SYNC && file->clean) || (call == VFS_RELEASE && !armed))
		return;
	armed = false;
	unsigned step_before = gate->steps;
	gate->stopped++;
	cond_broadcast(&disk.changed);
	while (gate->steps == step_before)
		cond_wait(&disk.changed, &disk.lock);
}

/* Stops if told to. The SQLite code to fail with, or SQLITE_OK; and whether half is to be done all the same. */
static int
judge(enum fault_vfs_call call, struct fault_file *file, bool *ret_half)
{
	int rc = SQLITE_OK;

	lock_take(&disk.lock);
	stop_locked(call, file);
	for (int i = 0; i < disk.rule_count; i++) {
		struct fault_vfs_rule *rule = &disk.rules[i];

		if ((rule->calls & call) == 0 || !ends_with(file->name, rule->file))
			continue;
		if (rule->skip > 0) {
			rule->skip--;
			break;
		}
		rc = rule->rc;
		file->error = rule->error;
		*ret_half = rule->half;
		disk.failures++;
		if (rule->times > 0 && --rule->times == 0)
			*rule = disk.rules[--disk.rule_count];
		break;
	}
	lock_drop(&disk.lock);
	if (rc != SQLITE_OK)
		errno = file->error; /* where SQLite's own VFS looks for it */
	return rc;
}

/* ---- writing down */

static void *
grown(void *list, size_t *room, size_t count, size_t size)
{
	if (count < *room)
		return list;
	*room = *room == 0 ? 64 : 2 * *room;
	list = realloc(list, *room * size);
	if (list == NULL)
		abort();
	return list;
}

/* Only of files that are there by their names: the log's index is not one that is kept. */
static int
place_of_locked(const char *path)
{
	const char *slash = strrchr(path, '/'), *name = slash == NULL ? path : slash + 1;

	for (int i = 0; i < disk.file_count; i++)
		if (strcmp(disk.files[i].name, name) == 0)
			return i;
	if (disk.file_count == MAX_FILES)
		abort();
	disk.files[disk.file_count] = (struct recorded){.name = strdup(name)};
	return disk.file_count++;
}

static void
note_locked(enum change_kind kind, int file, int64_t at, const void *bytes, size_t size)
{
	disk.changes = grown(disk.changes, &disk.change_room, disk.change_count, sizeof *disk.changes);
	struct change *change = &disk.changes[disk.change_count++];

	*change = (struct change){.kind = kind, .file = file, .at = at, .size = size};
	if (bytes == NULL || size == 0)
		return;
	change->bytes = malloc(size);
	if (change->bytes == NULL)
		abort();
	memcpy(change->bytes, bytes, size);
}

static void
note(struct fault_file *file, enum change_kind kind, int64_t at, const void *bytes, size_t size)
{
	lock_take(&disk.lock);
	if (disk.recording && file->recorded >= 0)
		note_locked(kind, file->recorded, at, bytes, size);
	lock_drop(&disk.lock);
}

static void
image_release(struct image *image)
{
	free(image->bytes);
	*image = (struct image){0};
}

void
fault_vfs_forget(void)
{
	lock_take(&disk.lock);
	disk.recording = false;
	for (size_t i = 0; i < disk.change_count; i++)
		free(disk.changes[i].bytes);
	free(disk.changes);
	for (int i = 0; i < disk.file_count; i++) {
		free(disk.files[i].name);
		free(disk.files[i].changes);
		image_release(&disk.files[i].synced);
	}
	disk.changes = NULL;
	disk.change_count = disk.change_room = disk.played = 0;
	disk.file_count = 0;
	lock_drop(&disk.lock);
}

void
fault_vfs_record(void)
{
	fault_vfs_forget();
	lock_take(&disk.lock);
	disk.recording = true;
	lock_drop(&disk.lock);
}

void
fault_vfs_stop_recording(void)
{
	lock_take(&disk.lock);
	disk.recording = false;
	lock_drop(&disk.lock);
}

size_t
fault_vfs_position(void)
{
	lock_take(&disk.lock);
	size_t position = disk.change_count;
	lock_drop(&disk.lock);
	return position;
}

bool
fault_vfs_is_sync(size_t position, const char *file)
{
	const struct change *change = &disk.changes[position];

	return change->kind == CHANGE_SYNC && ends_with(disk.files[change->file].name, file);
}

bool
fault_vfs_is_restart(size_t position)
{
	const struct change *change = &disk.changes[position];

	return change->kind == CHANGE_WRITE && change->at == 0 && ends_with(disk.files[change->file].name, "-wal");
}

/* ---- the loss of power */

static void
image_reserve(struct image *image, size_t size)
{
	if (size <= image->room)
		return;
	image->room = size < 2 * image->room ? 2 * image->room : size;
	image->bytes = realloc(image->bytes, image->room);
	if (image->bytes == NULL)
		abort();
}

/* So much of the change as is given: a write may be torn. */
static void
carry_out(struct image *image, const struct change *change, size_t size)
{
	size_t at = (size_t)change->at, end = change->kind == CHANGE_TRUNCATE ? at : at + size;

	if (end > image->size) {
		image_reserve(image, end);
		memset(image->bytes + image->size, 0, end - image->size);
		image->size = end;
	}
	if (change->kind == CHANGE_TRUNCATE)
		image->size = end;
	else if (size > 0)
		memcpy(image->bytes + at, change->bytes, size);
}

/* As SQLite does it with a new log or journal: all names reach the disk. */
static void
sync_folder(void)
{
	for (int i = 0; i < disk.file_count; i++) {
		struct recorded *file = &disk.files[i];

		file->named = file->there;
		if (file->there)
			continue;
		image_release(&file->synced);
		file->count = 0;
	}
}

static void
play(struct recorded *file, size_t number)
{
	const struct change *change = &disk.changes[number];

	switch (change->kind) {
	case CHANGE_CREATE: /* whatever had its name is gone */
		image_release(&file->synced);
		file->count = 0;
		file->there = true;
		file->named = false;
		file->new_log = !ends_with(file->name, ".db");
		break;
	case CHANGE_WRITE:
	case CHANGE_TRUNCATE:
		file->changes = grown(file->changes, &file->room, file->count, sizeof *file->changes);
		file->changes[file->count++] = number;
		break;
	case CHANGE_SYNC:
		for (size_t i = 0; i < file->count; i++)
			carry_out(&file->synced, &disk.changes[file->changes[i]], disk.changes[file->changes[i]].size);
		file->count = 0;
		if (file->new_log)
			sync_folder();
		file->new_log = false;
		break;
	case CHANGE_REMOVE: /* at: its folder is synced with it */
		file->there = false;
		if (change->at != 0)
			sync_folder();
		break;
	}
}

static uint64_t
mixed(uint64_t *state)
{
	uint64_t number = (*state += UINT64_C(0x9e3779b97f4a7c15));

	number = (number ^ (number >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	number = (number ^ (number >> 27)) * UINT64_C(0x94d049bb133111eb);
	return number ^ (number >> 31);
}

/* The changes that were not synced, as chance has it. */
static void
add_unsynced(struct image *image, const struct recorded *file, uint64_t *chance)
{
	uint64_t way = mixed(chance) % 4;
	size_t first = way == 0 ? file->count : way == 1 ? (size_t)(mixed(chance) % (file->count + 1)) : 0;
	const struct change *last = NULL;

	for (size_t i = 0; i < file->count; i++) {
		if (i >= first && (way != 2 || mixed(chance) % 2 == 0))
			continue;
		if (last != NULL)
			carry_out(image, last, last->size);
		last = &disk.changes[file->changes[i]];
	}
	if (last != NULL)
		carry_out(
			image, last, mixed(chance) % 2 == 0 ? last->size : (size_t)(mixed(chance) % (last->size + 1)));
}

static void
write_image(const char *path, const struct image *image)
{
	FILE *to = fopen(path, "w");

	bool written = to != NULL && (image->size == 0 || fwrite(image->bytes, image->size, 1, to) == 1);
	if (!written || fclose(to) != 0) {
		perror(path);
		abort();
	}
}

static void
leave_file(const struct recorded *file, uint64_t *chance, const char *dir)
{
	char path[4096];
	struct image image = {0};
	bool there = file->named && (file->there || *chance == 0 || mixed(chance) % 2 == 0);

	if (!file->named && file->there && *chance != 0)
		there = mixed(chance) % 2 == 0;
	snprintf(path, sizeof path, "%s/%s", dir, file->name);
	if (!there) {
		unlink(path);
		return;
	}
	if (file->synced.size > 0) {
		image_reserve(&image, file->synced.size);
		memcpy(image.bytes, file->synced.bytes, file->synced.size);
		image.size = file->synced.size;
	}
	if (*chance != 0)
		add_unsynced(&image, file, chance);
	write_image(path, &image);
	image_release(&image);
}

void
fault_vfs_lose_power(size_t position, uint64_t chance, const char *dir)
{
	lock_take(&disk.lock);
	if (position < disk.played || position > disk.change_count)
		abort();
	for (; disk.played < position; disk.played++)
		play(&disk.files[disk.changes[disk.played].file], disk.played);
	for (int i = 0; i < disk.file_count; i++)
		leave_file(&disk.files[i], &chance, dir);
	lock_drop(&disk.lock);
}

/* ---- files */

static struct fault_file *
file_of(sqlite3_file *base)
{
	return (struct fault_file *)base;
}

static int
file_close(sqlite3_file *base)
{
	sqlite3_file *below = file_of(base)->below;

	return below->pMethods == NULL ? SQLITE_OK : below->pMethods->xClose(below);
}

static int
file_read(sqlite3_file *base, void *bytes, int count, sqlite3_int64 at)
{
	struct fault_file *file = file_of(base);
	bool half;
	int rc = judge(VFS_READ, file, &half);

	return rc != SQLITE_OK ? rc : file->below->pMethods->xRead(file->below, bytes, count, at);
}

static int
file_write(sqlite3_file *base, const void *bytes, int count, sqlite3_int64 at)
{
	struct fault_file *file = file_of(base);
	bool half = false;
	int verdict = judge(VFS_WRITE, file, &half), rc = SQLITE_OK;

	if (verdict != SQLITE_OK)
		count = half ? count / 2 : 0;
	file->clean = file->clean && at == 0 && count == LOG_HEAD;
	if (count > 0)
		rc = file->below->pMethods->xWrite(file->below, bytes, count, at);
	if (rc == SQLITE_OK && count > 0)
		note(file, CHANGE_WRITE, at, bytes, (size_t)count);
	return verdict != SQLITE_OK ? verdict : rc;
}

static int
file_truncate(sqlite3_file *base, sqlite3_int64 size)
{
	struct fault_file *file = file_of(base);
	bool half;
	int rc = judge(VFS_TRUNCATE, file, &half);

	if (rc == SQLITE_OK)
		rc = file->below->pMethods->xTruncate(file->below, size);
	if (rc == SQLITE_OK)
		note(file, CHANGE_TRUNCATE, size, NULL, 0);
	return rc;
}

static int
file_sync(sqlite3_file *base, int flags)
{
	struct fault_file *file = file_of(base);
	bool half;
	int rc = judge(VFS_SYNC, file, &half);

	if (rc == SQLITE_OK)
		rc = file->below->pMethods->xSync(file->below, flags);
	if (rc == SQLITE_OK)
		note(file, CHANGE_SYNC, 0, NULL, 0);
	file->clean = rc == SQLITE_OK;
	return rc;
}

static int
file_size(sqlite3_file *base, sqlite3_int64 *ret)
{
	sqlite3_file *below = file_of(base)->below;

	return below->pMethods->xFileSize(below, ret);
}

static int
file_lock(sqlite3_file *base, int level)
{
	sqlite3_file *below = file_of(base)->below;

	return below->pMethods->xLock(below, level);
}

static int
file_unlock(sqlite3_file *base, int level)
{
	sqlite3_file *below = file_of(base)->below;

	return below->pMethods->xUnlock(below, level);
}

static int
file_check_lock(sqlite3_file *base, int *ret)
{
	sqlite3_file *below = file_of(base)->below;

	return below->pMethods->xCheckReservedLock(below, ret);
}

static int
file_control(sqlite3_file *base, int verb, void *context)
{
	struct fault_file *file = file_of(base);
	sqlite3_file *below = file->below;

	if (verb == SQLITE_FCNTL_LAST_ERRNO && file->error != 0) {
		*(int *)context = file->error;
		return SQLITE_OK;
	}
	return below->pMethods->xFileControl(below, verb, context);
}

static int
file_sector_size(sqlite3_file *base)
{
	sqlite3_file *below = file_of(base)->below;

	return below->pMethods->xSectorSize(below);
}

static int
file_traits(sqlite3_file *base)
{
	sqlite3_file *below = file_of(base)->below;

	return below->pMethods->xDeviceCharacteristics(below);
}

static int
file_map(sqlite3_file *base, int page, int size, int extend, void volatile **ret)
{
	struct fault_file *file = file_of(base);
	bool half;
	int rc = extend && page > 0 ? judge(VFS_MAP, file, &half) : SQLITE_OK;

	return rc != SQLITE_OK ? rc : file->below->pMethods->xShmMap(file->below, page, size, extend, ret);
}

static int
file_map_lock(sqlite3_file *base, int offset, int count, int flags)
{
	struct fault_file *file = file_of(base);
	sqlite3_file *below = file->below;
	bool half;
	int rc = flags == (SQLITE_SHM_UNLOCK | SQLITE_SHM_SHARED) ? judge(VFS_RELEASE, file, &half) : SQLITE_OK;

	if (rc != SQLITE_OK)
		return rc;
	return below->pMethods->xShmLock(below, offset, count, flags);
}

static void
file_map_barrier(sqlite3_file *base)
{
	sqlite3_file *below = file_of(base)->below;

	below->pMethods->xShmBarrier(below);
}

static int
file_unmap(sqlite3_file *base, int remove)
{
	sqlite3_file *below = file_of(base)->below;

	return below->pMethods->xShmUnmap(below, remove);
}

/* ---- the VFS */

static int
vfs_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *base, int flags, int *ret_flags)
{
	struct fault_file *file = file_of(base);
	int there = 0;

	(void)vfs;
	*file = (struct fault_file){.below = (sqlite3_file *)(file + 1), .name = name == NULL ? "" : name};
	file->recorded = -1;
	file->clean = true;
	if (name != NULL)
		disk.below->xAccess(disk.below, name, SQLITE_ACCESS_EXISTS, &there);
	int rc = disk.below->xOpen(disk.below, name, file->below, flags, ret_flags);
	if (file->below->pMethods != NULL)
		file->base.pMethods = &disk.methods;
	if (rc != SQLITE_OK || name == NULL)
		return rc;
	lock_take(&disk.lock);
	if (disk.recording) {
		file->recorded = place_of_locked(name);
		if (!there)
			note_locked(CHANGE_CREATE, file->recorded, 0, NULL, 0);
	}
	lock_drop(&disk.lock);
	return rc;
}

static int
vfs_delete(sqlite3_vfs *vfs, const char *name, int sync_folder)
{
	(void)vfs;
	int rc = disk.below->xDelete(disk.below, name, sync_folder);
	lock_take(&disk.lock);
	if (disk.recording && rc == SQLITE_OK)
		note_locked(CHANGE_REMOVE, place_of_locked(name), sync_folder, NULL, 0);
	lock_drop(&disk.lock);
	return rc;
}

void
fault_vfs_install(void)
{
	if (disk.below != NULL)
		return;
	sqlite3_initialize();
	disk.below = sqlite3_vfs_find(NULL);
	lock_init(&disk.lock);
	cond_init(&disk.changed);
	disk.methods = (sqlite3_io_methods){
		.iVersion = 2, /* no mapping of the database itself, which would go past this layer */
		.xClose = file_close,
		.xRead = file_read,
		.xWrite = file_write,
		.xTruncate = file_truncate,
		.xSync = file_sync,
		.xFileSize = file_size,
		.xLock = file_lock,
		.xUnlock = file_unlock,
		.xCheckReservedLock = file_check_lock,
		.xFileControl = file_control,
		.xSectorSize = file_sector_size,
		.xDeviceCharacteristics = file_traits,
		.xShmMap = file_map,
		.xShmLock = file_map_lock,
		.xShmBarrier = file_map_barrier,
		.xShmUnmap = file_unmap,
	};
	disk.vfs = *disk.below; /* whatever is not about files is as below */
	disk.vfs.zName = "fault";
	disk.vfs.pNext = NULL;
	disk.vfs.szOsFile = (int)sizeof(struct fault_file) + disk.below->szOsFile;
	disk.vfs.xOpen = vfs_open;
	disk.vfs.xDelete = vfs_delete;
	sqlite3_vfs_register(&disk.vfs, 1);
}
