/*
 * Replaying a journal; see power.h.
 *
 * A file is a thing by itself, with a list of what was done to its bytes; folders hold names for files. Since an inode
 * number is used again after its file is gone, each CREATE begins a new file. `choose` marks the records that last;
 * then those are carried out, names on a table in memory, bytes in buffers, and what came of it is written.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "power.h"

#include "bytes.h"
#include "fault.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR 512
#define NONE ((size_t)-1)

struct record {
	struct fault_record head;
	char *name;  /* the first name, or "" */
	char *other; /* of a RENAME: the new name */
	const char *data;
	size_t thing; /* what it changes or syncs: a file for bytes, a folder for names */
	size_t file;  /* of CREATE and RENAME: the file that gets the name */
};

enum thing_kind { THING_FILE, THING_FOLDER };

struct thing {
	enum thing_kind kind;
	uint64_t inode;   /* of a file */
	const char *name; /* of a folder */
};

struct power_journal {
	struct bytes raw;
	struct record *records;
	size_t count;
	struct thing *things;
	size_t thing_count;
};

static void __attribute__((noreturn)) give_up(const char *what)
{
	fprintf(stderr, "power: %s: %s\n", what, strerror(errno));
	exit(99);
}

static void *
grown(void *list, size_t count, size_t size)
{
	void *made = count & (count - 1) ? list : realloc(list, (count ? 2 * count : 1) * size);

	if (!made)
		give_up("memory");
	return made;
}

/* ---- reading */

static size_t
add_thing(struct power_journal *journal, struct thing thing)
{
	journal->things = grown(journal->things, journal->thing_count, sizeof *journal->things);
	journal->things[journal->thing_count] = thing;
	return journal->thing_count++;
}

/* The latest file with this inode. */
static size_t
file_of(const struct power_journal *journal, uint64_t inode)
{
	for (size_t i = journal->thing_count; i-- > 0;)
		if (journal->things[i].kind == THING_FILE && journal->things[i].inode == inode)
			return i;
	fprintf(stderr, "power: the journal changes a file that it does not make\n");
	exit(99);
}

static size_t
folder_named(struct power_journal *journal, const char *name)
{
	for (size_t i = 0; i < journal->thing_count; i++)
		if (journal->things[i].kind == THING_FOLDER && !strcmp(journal->things[i].name, name))
			return i;
	name = strdup(name);
	if (!name)
		give_up("memory");
	return add_thing(journal, (struct thing){.kind = THING_FOLDER, .name = name});
}

/* The folder that a name is in. */
static size_t
folder_of(struct power_journal *journal, const char *name)
{
	const char *slash = strrchr(name, '/');
	char *folder = strndup(name, slash ? (size_t)(slash - name) : 0);
	size_t found = folder_named(journal, folder);

	free(folder);
	return found;
}

static void
assign_things(struct power_journal *journal, struct record *record)
{
	record->file = NONE;
	switch (record->head.verb) {
	case FAULT_RECORD_CREATE:
		record->file = add_thing(journal, (struct thing){.kind = THING_FILE, .inode = record->head.inode});
		record->thing = folder_of(journal, record->name);
		break;
	case FAULT_RECORD_RENAME:
		record->file = file_of(journal, record->head.inode);
		record->thing = folder_of(journal, record->other);
		if (record->thing != folder_of(journal, record->name)) {
			fprintf(stderr, "power: %s goes to another folder\n", record->name);
			exit(99);
		}
		break;
	case FAULT_RECORD_SYNC_DIR:
		record->thing = folder_named(journal, record->name);
		break;
	case FAULT_RECORD_UNLINK:
	case FAULT_RECORD_MKDIR:
	case FAULT_RECORD_RMDIR:
		record->thing = folder_of(journal, record->name);
		break;
	default:
		record->thing = file_of(journal, record->head.inode);
	}
}

/* Reads the record at this place; gives its size, 0 when it is not whole. */
static size_t
read_record(struct power_journal *journal, size_t at)
{
	size_t left = journal->raw.used - at;
	const char *raw = journal->raw.data + at;
	struct record record = {0};

	if (left < sizeof record.head)
		return 0;
	memcpy(&record.head, raw, sizeof record.head);
	if (record.head.magic != FAULT_RECORD_MAGIC)
		give_up("the journal is broken");
	if (left - sizeof record.head < (size_t)record.head.name_bytes + record.head.data_bytes)
		return 0;
	record.name = calloc(1, record.head.name_bytes + 1);
	if (!record.name)
		give_up("memory");
	memcpy(record.name, raw + sizeof record.head, record.head.name_bytes);
	record.other = record.name + strlen(record.name) + (record.head.verb == FAULT_RECORD_RENAME);
	record.data = raw + sizeof record.head + record.head.name_bytes;
	assign_things(journal, &record);
	journal->records = grown(journal->records, journal->count, sizeof *journal->records);
	journal->records[journal->count++] = record;
	return sizeof record.head + record.head.name_bytes + record.head.data_bytes;
}

static void
read_whole(const char *path, struct bytes *ret)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char chunk[65536];
	ssize_t got = -1;

	while (fd >= 0 && (got = read(fd, chunk, sizeof chunk)) > 0)
		bytes_append(ret, chunk, (size_t)got);
	if (got < 0)
		give_up(path);
	close(fd);
}

struct power_journal *
power_open(const char *path)
{
	struct power_journal *journal = calloc(1, sizeof *journal);
	size_t at = 0, size;

	if (!journal)
		give_up("memory");
	read_whole(path, &journal->raw);
	while ((size = read_record(journal, at)) > 0)
		at += size;
	return journal;
}

void
power_close(struct power_journal *journal)
{
	for (size_t i = 0; i < journal->count; i++)
		free(journal->records[i].name);
	for (size_t i = 0; i < journal->thing_count; i++)
		free((char *)(uintptr_t)journal->things[i].name);
	free(journal->records);
	free(journal->things);
	bytes_release(&journal->raw);
	free(journal);
}

size_t
power_count(const struct power_journal *journal)
{
	return journal->count;
}

/* ---- what lasts */

/* splitmix64 */
static uint64_t
draw(uint64_t *chance)
{
	uint64_t z = *chance += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static bool
is_sync(const struct record *record)
{
	return record->head.verb == FAULT_RECORD_SYNC || record->head.verb == FAULT_RECORD_SYNC_DIR;
}

/* For each thing: below which record all is sure. */
static void
note_syncs(const struct power_journal *journal, size_t count, size_t *ret_sure)
{
	for (size_t i = 0; i < count; i++) {
		const struct record *record = &journal->records[i];

		if (is_sync(record) && record->head.covers > ret_sure[record->thing])
			ret_sure[record->thing] = record->head.covers;
	}
}

/* Of the changes of one thing that are not sure. */
static void
choose_unsure(
	const struct power_journal *journal, size_t thing, size_t sure, size_t count, uint64_t *chance, bool *keep)
{
	enum { ALL, NOTHING, FIRST_FEW, ANY, STYLES } style = draw(chance) % STYLES;
	size_t unsure = 0, nth = 0, few;

	for (size_t i = sure; i < count; i++)
		unsure += journal->records[i].thing == thing && !is_sync(&journal->records[i]);
	few = unsure ? draw(chance) % unsure : 0;
	for (size_t i = sure; i < count; i++) {
		if (journal->records[i].thing != thing || is_sync(&journal->records[i]))
			continue;
		keep[i] = style == ALL || (style == FIRST_FEW && nth < few) || (style == ANY && draw(chance) % 2);
		nth++;
	}
}

static void
choose(const struct power_journal *journal, size_t count, uint64_t *chance, bool *keep)
{
	size_t *sure = calloc(journal->thing_count + 1, sizeof *sure);

	if (!sure)
		give_up("memory");
	note_syncs(journal, count, sure);
	for (size_t i = 0; i < count; i++)
		keep[i] = !is_sync(&journal->records[i]) && i < sure[journal->records[i].thing];
	for (size_t thing = 0; *chance && thing < journal->thing_count; thing++)
		choose_unsure(journal, thing, sure[thing], count, chance, keep);
	free(sure);
}

/* The last write of a file that is not sure, NONE when there is none or it stays whole. */
static size_t
choose_torn(const struct power_journal *journal, size_t file, size_t count, const size_t *sure, uint64_t *chance)
{
	for (size_t i = count; i-- > sure[file];)
		if (journal->records[i].thing == file && journal->records[i].head.verb == FAULT_RECORD_WRITE)
			return draw(chance) % 2 ? i : NONE;
	return NONE;
}

/* ---- carrying it out */

struct name {
	char *name;
	size_t file; /* NONE: a folder */
};

struct names {
	struct name *list;
	size_t count;
};

static struct name *
names_find(const struct names *names, const char *name)
{
	for (size_t i = 0; i < names->count; i++)
		if (!strcmp(names->list[i].name, name))
			return &names->list[i];
	return NULL;
}

static void
names_drop(struct names *names, const char *name)
{
	struct name *found = names_find(names, name);

	if (!found)
		return;
	free(found->name);
	*found = names->list[--names->count];
}

static void
names_set(struct names *names, const char *name, size_t file)
{
	names_drop(names, name);
	names->list = grown(names->list, names->count, sizeof *names->list);
	names->list[names->count++] = (struct name){.name = strdup(name), .file = file};
}

static void
carry_out_name(struct names *names, const struct record *record)
{
	switch (record->head.verb) {
	case FAULT_RECORD_CREATE:
	case FAULT_RECORD_MKDIR:
		names_set(names, record->name, record->file);
		break;
	case FAULT_RECORD_RENAME:
		names_drop(names, record->name);
		names_set(names, record->other, record->file);
		break;
	case FAULT_RECORD_UNLINK:
	case FAULT_RECORD_RMDIR:
		names_drop(names, record->name);
		break;
	default:
		break;
	}
}

static void
set_size(struct bytes *content, size_t size)
{
	size_t used = content->used;

	if (size <= used) {
		content->used = size;
		return;
	}
	bytes_reserve(content, size - used);
	memset(content->data + used, 0, size - used);
	content->used = size;
}

/* A torn write loses any of its sectors. */
static void
carry_out_write(struct bytes *content, const struct record *record, bool torn, uint64_t *chance)
{
	size_t end = record->head.offset + record->head.data_bytes;

	for (size_t at = record->head.offset; at < end;) {
		size_t sector_end = (at / SECTOR + 1) * SECTOR, part_end = sector_end < end ? sector_end : end;

		if (!torn || draw(chance) % 2) {
			if (content->used < part_end)
				set_size(content, part_end);
			memcpy(content->data + at, record->data + (at - record->head.offset), part_end - at);
		}
		at = part_end;
	}
}

static void
write_file(const char *path, const struct bytes *content)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	for (size_t done = 0; fd >= 0 && done < content->used;) {
		ssize_t written = write(fd, content->data + done, content->used - done);

		if (written < 0)
			give_up(path);
		done += (size_t)written;
	}
	if (fd < 0 || close(fd))
		give_up(path);
}

static void
make_file(const struct power_journal *journal, size_t count, const bool *keep, size_t file, const char *path,
	uint64_t *chance)
{
	struct bytes content = {0};
	size_t *sure = calloc(journal->thing_count + 1, sizeof *sure), torn = NONE;

	if (!sure)
		give_up("memory");
	note_syncs(journal, count, sure);
	if (*chance)
		torn = choose_torn(journal, file, count, sure, chance);
	for (size_t i = 0; i < count; i++) {
		const struct record *record = &journal->records[i];

		if (!keep[i] || record->thing != file)
			continue;
		if (record->head.verb == FAULT_RECORD_TRUNCATE)
			set_size(&content, record->head.offset);
		else
			carry_out_write(&content, record, i == torn, chance);
	}
	write_file(path, &content);
	bytes_release(&content);
	free(sure);
}

/* True when all folders on the way to it are there. */
static bool
is_reachable(const struct names *names, const char *name)
{
	const char *slash = strrchr(name, '/');
	char *folder;
	bool there;

	if (!slash)
		return true;
	folder = strndup(name, (size_t)(slash - name));
	there = names_find(names, folder) && is_reachable(names, folder);
	free(folder);
	return there;
}

static int
by_name(const void *a, const void *b)
{
	return strcmp(((const struct name *)a)->name, ((const struct name *)b)->name);
}

void
power_replay(const struct power_journal *journal, size_t count, uint64_t chance, const char *dir)
{
	bool *keep = calloc(count + 1, sizeof *keep);
	struct names names = {0};
	char *path;

	if (!keep || count > journal->count)
		give_up("no such point in the journal");
	choose(journal, count, &chance, keep);
	for (size_t i = 0; i < count; i++)
		if (keep[i])
			carry_out_name(&names, &journal->records[i]);
	if (names.count)
		qsort(names.list, names.count, sizeof *names.list, by_name); /* folders come before what is in them */
	for (size_t i = 0; i < names.count; i++) {
		const struct name *name = &names.list[i];

		if (!is_reachable(&names, name->name))
			continue;
		if (asprintf(&path, "%s/%s", dir, name->name) < 0)
			give_up("memory");
		if (name->file != NONE)
			make_file(journal, count, keep, name->file, path, &chance);
		else if (mkdir(path, 0700))
			give_up(path);
		free(path);
	}
	for (size_t i = 0; i < names.count; i++)
		free(names.list[i].name);
	free(names.list);
	free(keep);
}

/* ---- for people */

void
power_print(const struct power_journal *journal, size_t from, size_t count, FILE *to)
{
	static const char *const verbs[] = {[FAULT_RECORD_CREATE] = "create",
		[FAULT_RECORD_WRITE] = "write",
		[FAULT_RECORD_TRUNCATE] = "truncate",
		[FAULT_RECORD_SYNC] = "sync",
		[FAULT_RECORD_SYNC_DIR] = "sync folder",
		[FAULT_RECORD_RENAME] = "rename",
		[FAULT_RECORD_UNLINK] = "unlink",
		[FAULT_RECORD_MKDIR] = "mkdir",
		[FAULT_RECORD_RMDIR] = "rmdir"};

	for (size_t i = from; i < count && i < journal->count; i++) {
		const struct record *record = &journal->records[i];

		fprintf(to, "%zu: %s %s %s file %llu at %llu, %u bytes, covers %llu\n", i, verbs[record->head.verb],
			record->name, record->other, (unsigned long long)record->head.inode,
			(unsigned long long)record->head.offset, record->head.data_bytes,
			(unsigned long long)record->head.covers);
	}
}
