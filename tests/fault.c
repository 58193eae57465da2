/*
 * fault.so: a disk that fails when a test says so, and whose writes are written down; see fault.h.
 *
 * It stands between a process and the C library by LD_PRELOAD. A call that is none of ours goes straight on. What a
 * descriptor leads to is asked of /proc each time, so nothing has to be kept of open, dup and close. Only when a journal is
 * written is there a lock: a change and its record are one step, so the journal's order is the order of the changes. A
 * sync runs without it, and says how many records stood there when it began.
 */
#undef _FORTIFY_SOURCE /* its inline functions are the very ones that are made here */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "fault.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

/* The function of this name in whatever comes behind us. */
#define NEXT(name)                                                                                                     \
	({                                                                                                             \
		static _Atomic(void *) found_;                                                                         \
		(__typeof__(&name))next_of(&found_, #name);                                                            \
	})

static struct fault_page own_page, *page = &own_page;
static char dir[PATH_MAX];
static size_t dir_length; /* 0: nothing is ours */
static int journal = -1;
static pthread_mutex_t journal_lock = PTHREAD_MUTEX_INITIALIZER;

static void *
next_of(_Atomic(void *) *found, const char *name)
{
	void *next = atomic_load(found);

	if (!next) {
		next = dlsym(RTLD_NEXT, name);
		atomic_store(found, next);
	}
	return next;
}

static void __attribute__((noreturn)) give_up(const char *what)
{
	dprintf(STDERR_FILENO, "fault.so: %s: %s\n", what, strerror(errno));
	abort();
}

static void
map_page(const char *path)
{
	int fd = NEXT(open)(path, O_RDWR | O_CLOEXEC);
	void *mapped = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (mapped == MAP_FAILED)
		give_up(path);
	close(fd);
	page = mapped;
	atomic_fetch_add(&page->loaded, 1);
}

static void __attribute__((constructor)) begin(void)
{
	const char *dir_given = getenv("FAULT_DIR"), *control = getenv("FAULT_CONTROL");
	const char *journal_given = getenv("FAULT_JOURNAL");

	if (!dir_given || strlen(dir_given) >= sizeof dir)
		return;
	if (control)
		map_page(control);
	if (journal_given) {
		journal = NEXT(open)(journal_given, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
		if (journal < 0)
			give_up(journal_given);
	}
	strcpy(dir, dir_given);
	dir_length = strlen(dir);
}

/* ---- which file is meant */

struct place {
	bool ours;
	char path[PATH_MAX + NAME_MAX + 2];
	const char *name; /* from the folder on: "/ledger.db", and "" for the folder itself */
};

static void
place_judge(struct place *place)
{
	place->ours = !strncmp(place->path, dir, dir_length) &&
		(place->path[dir_length] == '/' || place->path[dir_length] == '\0');
	place->name = place->ours ? place->path + dir_length : NULL;
}

static void
read_link_of(int fd, char *ret_path, size_t size)
{
	static const char gone[] = " (deleted)";
	char link[64];
	ssize_t length;

	snprintf(link, sizeof link, fd == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", fd);
	length = readlink(link, ret_path, size - 1);
	ret_path[length > 0 ? length : 0] = '\0';
	if ((size_t)length > sizeof gone && length > 0 && !strcmp(ret_path + length - (sizeof gone - 1), gone))
		ret_path[(size_t)length - (sizeof gone - 1)] = '\0';
}

static void
place_of_fd(struct place *place, int fd)
{
	int saved = errno;

	place->ours = false;
	if (dir_length) {
		read_link_of(fd, place->path, PATH_MAX);
		place_judge(place);
	}
	errno = saved;
}

static void
squeeze_slashes(char *path)
{
	char *to = path;

	for (const char *from = path; *from; from++)
		if (*from != '/' || from[1] != '/')
			*to++ = *from;
	*to = '\0';
}

static void
place_of_path(struct place *place, int at, const char *path)
{
	int saved = errno;
	size_t used = 0;

	place->ours = false;
	if (dir_length) {
		if (*path != '/') {
			read_link_of(at, place->path, PATH_MAX);
			used = strlen(place->path);
			place->path[used++] = '/';
		}
		snprintf(place->path + used, sizeof place->path - used, "%s", path);
		squeeze_slashes(place->path);
		place_judge(place);
	}
	errno = saved;
}

/* ---- failing */

static bool
path_fits(const char *name, const char *wanted)
{
	size_t length = strlen(wanted), name_length = strlen(name);

	if (!length || wanted[length - 1] != '$')
		return strstr(name, wanted) != NULL;
	length--;
	return name_length >= length && !strncmp(name + name_length - length, wanted, length);
}

static void
hold(struct fault_rule *rule)
{
	while (atomic_load(&rule->armed))
		syscall(SYS_futex, &rule->armed, FUTEX_WAIT, 1, NULL, NULL, 0);
}

static bool
rule_strikes(struct fault_rule *rule, bool *ret_half)
{
	uint32_t nth = atomic_fetch_add(&rule->hits, 1);
	bool strikes = rule->error && nth >= rule->skip && (!rule->times || nth - rule->skip < rule->times);

	if (strikes) {
		atomic_fetch_add(&rule->failed, 1);
		*ret_half = rule->half && (nth - rule->skip) % 2 == 0;
	}
	syscall(SYS_futex, &rule->hits, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
	if (rule->hold)
		hold(rule);
	return strikes;
}

/* True when the call is to fail, with errno set; *ret_half instead when a write is to be done by half. */
static bool
fails_or_half(const struct place *place, unsigned call, bool *ret_half)
{
	int saved = errno;
	const char *name = *place->name ? place->name : "/";

	*ret_half = false;
	for (size_t i = 0; i < FAULT_MAX_RULES; i++) {
		struct fault_rule *rule = &page->rules[i];

		if (!atomic_load(&rule->armed) || !(rule->calls & call) || !path_fits(name, rule->path))
			continue;
		if (!rule_strikes(rule, ret_half))
			continue;
		errno = rule->error;
		return !*ret_half;
	}
	errno = saved;
	return false;
}

static bool
fails(const struct place *place, unsigned call)
{
	bool half;

	return fails_or_half(place, call, &half) || half;
}

/* ---- the journal; all of it keeps errno */

static bool
is_journaled(const struct place *place)
{
	size_t length = place->ours ? strlen(place->name) : 0;

	return place->ours && journal >= 0 && (length < 4 || strcmp(place->name + length - 4, "-shm") != 0);
}

static void
journal_begin(const struct place *place)
{
	if (is_journaled(place))
		pthread_mutex_lock(&journal_lock);
}

static void
journal_end(const struct place *place)
{
	if (is_journaled(place))
		pthread_mutex_unlock(&journal_lock);
}

static void
record_locked(struct fault_record record, const void *name, const void *data)
{
	struct iovec parts[3] = {{&record, sizeof record}, {(void *)(uintptr_t)name, record.name_bytes},
		{(void *)(uintptr_t)data, record.data_bytes}};
	size_t size = sizeof record + record.name_bytes + record.data_bytes;
	int saved = errno;

	record.magic = FAULT_RECORD_MAGIC;
	if (NEXT(writev)(journal, parts, 3) != (ssize_t)size)
		give_up("the journal");
	atomic_fetch_add(&page->journaled, 1);
	errno = saved;
}

/* Names in the journal have no slash in front. */
static void
record_name_locked(const struct place *place, struct fault_record record)
{
	const char *name = *place->name ? place->name + 1 : "";

	if (!is_journaled(place))
		return;
	record.name_bytes = (uint32_t)strlen(name);
	record_locked(record, name, NULL);
}

static uint64_t
inode_of(int fd)
{
	struct stat64 is = {0};
	int saved = errno;

	fstat64(fd, &is);
	errno = saved;
	return is.st_ino;
}

static int64_t
size_of(int fd)
{
	struct stat64 is = {0};

	fstat64(fd, &is);
	return is.st_size;
}

/* ---- opening */

static bool
is_there(const struct place *place)
{
	struct stat64 is;
	int saved = errno;
	bool there = !lstat64(place->path, &is);

	errno = saved;
	return there;
}

static unsigned
calls_of_open(int flags, bool there)
{
	if (!there)
		return flags & O_CREAT ? FAULT_CREATE : 0;
	if ((flags & O_ACCMODE) == O_RDONLY)
		return FAULT_OPEN_READ;
	return flags & O_TRUNC ? FAULT_OPEN | FAULT_TRUNCATE : FAULT_OPEN;
}

static int
file_open(int at, const char *path, int flags, mode_t mode)
{
	struct place place;
	bool there;
	int fd;

	place_of_path(&place, at, path);
	if (!place.ours)
		return NEXT(openat64)(at, path, flags, mode);
	journal_begin(&place);
	there = is_there(&place);
	fd = fails(&place, calls_of_open(flags, there)) ? -1 : NEXT(openat64)(at, path, flags, mode);
	if (fd >= 0 && !there)
		record_name_locked(&place, (struct fault_record){.verb = FAULT_RECORD_CREATE, .inode = inode_of(fd)});
	if (fd >= 0 && there && flags & O_TRUNC && is_journaled(&place))
		record_locked((struct fault_record){.verb = FAULT_RECORD_TRUNCATE, .inode = inode_of(fd)}, NULL, NULL);
	journal_end(&place);
	return fd;
}

/* The mode is there with O_CREAT alone. */
#define DEFINE_OPEN(name, at, ...)                                                                                     \
	int name(__VA_ARGS__, int flags, ...)                                                                          \
	{                                                                                                              \
		mode_t mode = 0;                                                                                       \
		va_list arguments;                                                                                     \
                                                                                                                       \
		if (flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE) {                                             \
			va_start(arguments, flags);                                                                    \
			mode = va_arg(arguments, mode_t);                                                              \
			va_end(arguments);                                                                             \
		}                                                                                                      \
		return file_open(at, path, flags, mode);                                                               \
	}

DEFINE_OPEN(open, AT_FDCWD, const char *path)
DEFINE_OPEN(open64, AT_FDCWD, const char *path)
DEFINE_OPEN(openat, at, int at, const char *path)
DEFINE_OPEN(openat64, at, int at, const char *path)

/* What _FORTIFY_SOURCE makes of an open without a mode. */
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int at, const char *path, int flags);
int __openat64_2(int at, const char *path, int flags);

int
__open_2(const char *path, int flags)
{
	return file_open(AT_FDCWD, path, flags, 0);
}

int
__open64_2(const char *path, int flags)
{
	return file_open(AT_FDCWD, path, flags, 0);
}

int
__openat_2(int at, const char *path, int flags)
{
	return file_open(at, path, flags, 0);
}

int
__openat64_2(int at, const char *path, int flags)
{
	return file_open(at, path, flags, 0);
}

/* ---- reading */

static bool
read_fails(int fd)
{
	struct place place;

	place_of_fd(&place, fd);
	return place.ours && fails(&place, FAULT_READ);
}

ssize_t
read(int fd, void *to, size_t size)
{
	return read_fails(fd) ? -1 : NEXT(read)(fd, to, size);
}

ssize_t
pread(int fd, void *to, size_t size, off_t offset)
{
	return read_fails(fd) ? -1 : NEXT(pread)(fd, to, size, offset);
}

ssize_t
pread64(int fd, void *to, size_t size, off64_t offset)
{
	return read_fails(fd) ? -1 : NEXT(pread64)(fd, to, size, offset);
}

/* ---- writing */

#define AT_POSITION ((off64_t)-1)

/* Writes down the first `size` bytes of the parts. */
static void
record_write_locked(int fd, const struct iovec *parts, size_t size, off64_t offset)
{
	char *data = malloc(size + 1);
	size_t used = 0;

	if (!data)
		give_up("a record");
	for (; used < size; parts++) {
		size_t count = parts->iov_len < size - used ? parts->iov_len : size - used;

		memcpy(data + used, parts->iov_base, count);
		used += count;
	}
	record_locked((struct fault_record){.verb = FAULT_RECORD_WRITE,
			      .inode = inode_of(fd),
			      .offset = (uint64_t)offset,
			      .data_bytes = (uint32_t)size},
		NULL, data);
	free(data);
}

static ssize_t
write_parts(int fd, const struct iovec *parts, int count, off64_t offset)
{
	return offset == AT_POSITION ? NEXT(writev)(fd, parts, count) : NEXT(pwritev64)(fd, parts, count, offset);
}

static ssize_t
file_write(const struct place *place, int fd, const struct iovec *parts, int count, off64_t offset)
{
	struct iovec half;
	bool by_half;
	ssize_t written;

	if (fails_or_half(place, FAULT_WRITE, &by_half))
		return -1;
	if (by_half) {
		half = (struct iovec){parts->iov_base, (parts->iov_len + 1) / 2};
		parts = &half;
		count = 1;
	}
	journal_begin(place);
	written = write_parts(fd, parts, count, offset);
	if (written > 0 && is_journaled(place))
		record_write_locked(fd, parts, (size_t)written,
			offset == AT_POSITION ? lseek64(fd, 0, SEEK_CUR) - written : offset);
	journal_end(place);
	return written;
}

ssize_t
write(int fd, const void *from, size_t size)
{
	struct place place;

	place_of_fd(&place, fd);
	if (!place.ours)
		return NEXT(write)(fd, from, size);
	return file_write(&place, fd, &(struct iovec){(void *)(uintptr_t)from, size}, 1, AT_POSITION);
}

ssize_t
pwrite(int fd, const void *from, size_t size, off_t offset)
{
	struct place place;

	place_of_fd(&place, fd);
	if (!place.ours)
		return NEXT(pwrite)(fd, from, size, offset);
	return file_write(&place, fd, &(struct iovec){(void *)(uintptr_t)from, size}, 1, offset);
}

ssize_t
pwrite64(int fd, const void *from, size_t size, off64_t offset)
{
	struct place place;

	place_of_fd(&place, fd);
	if (!place.ours)
		return NEXT(pwrite64)(fd, from, size, offset);
	return file_write(&place, fd, &(struct iovec){(void *)(uintptr_t)from, size}, 1, offset);
}

ssize_t
writev(int fd, const struct iovec *parts, int count)
{
	struct place place;

	place_of_fd(&place, fd);
	if (!place.ours)
		return NEXT(writev)(fd, parts, count);
	return file_write(&place, fd, parts, count, AT_POSITION);
}

ssize_t
pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
	struct place place;

	place_of_fd(&place, fd);
	if (!place.ours)
		return NEXT(pwritev)(fd, parts, count, offset);
	return file_write(&place, fd, parts, count, offset);
}

ssize_t
pwritev64(int fd, const struct iovec *parts, int count, off64_t offset)
{
	struct place place;

	place_of_fd(&place, fd);
	if (!place.ours)
		return NEXT(pwritev64)(fd, parts, count, offset);
	return file_write(&place, fd, parts, count, offset);
}

/* ---- sizes */

static int
file_truncate(int fd, off64_t size)
{
	struct place place;
	int failed;

	place_of_fd(&place, fd);
	if (place.ours && fails(&place, FAULT_TRUNCATE))
		return -1;
	journal_begin(&place);
	failed = NEXT(ftruncate64)(fd, size);
	if (!failed && is_journaled(&place))
		record_locked(
			(struct fault_record){
				.verb = FAULT_RECORD_TRUNCATE, .inode = inode_of(fd), .offset = (uint64_t)size},
			NULL, NULL);
	journal_end(&place);
	return failed;
}

int
ftruncate(int fd, off_t size)
{
	return file_truncate(fd, size);
}

int
ftruncate64(int fd, off64_t size)
{
	return file_truncate(fd, size);
}

/* Only a new size is written down: nothing tells room that was taken from room that was not. */
static int
file_allocate(int fd, int mode, off64_t offset, off64_t size)
{
	struct place place;
	int64_t before;
	int failed;

	place_of_fd(&place, fd);
	if (place.ours && fails(&place, FAULT_ALLOCATE))
		return -1;
	journal_begin(&place);
	before = size_of(fd);
	failed = NEXT(fallocate64)(fd, mode, offset, size);
	if (!failed && is_journaled(&place) && size_of(fd) != before)
		record_locked(
			(struct fault_record){
				.verb = FAULT_RECORD_TRUNCATE, .inode = inode_of(fd), .offset = (uint64_t)size_of(fd)},
			NULL, NULL);
	journal_end(&place);
	return failed;
}

int
fallocate(int fd, int mode, off_t offset, off_t size)
{
	return file_allocate(fd, mode, offset, size);
}

int
fallocate64(int fd, int mode, off64_t offset, off64_t size)
{
	return file_allocate(fd, mode, offset, size);
}

/* These give the error instead of setting it. */
int
posix_fallocate(int fd, off_t offset, off_t size)
{
	int saved = errno, error = file_allocate(fd, 0, offset, size) ? errno : 0;

	errno = saved;
	return error;
}

int
posix_fallocate64(int fd, off64_t offset, off64_t size)
{
	return posix_fallocate(fd, offset, size);
}

/* ---- making it last */

static void
record_sync(const struct place *place, int fd, uint64_t covers)
{
	struct fault_record record = {.verb = FAULT_RECORD_SYNC, .covers = covers};
	struct stat64 is = {0};
	int saved = errno;

	fstat64(fd, &is);
	errno = saved;
	record.inode = is.st_ino;
	journal_begin(place);
	if (S_ISDIR(is.st_mode)) {
		record.verb = FAULT_RECORD_SYNC_DIR;
		record_name_locked(place, record);
	} else
		record_locked(record, NULL, NULL);
	journal_end(place);
}

static int
file_sync(int fd, int (*sync_next)(int fd))
{
	struct place place;
	uint64_t covers;
	int failed;

	place_of_fd(&place, fd);
	if (place.ours && fails(&place, FAULT_SYNC))
		return -1;
	covers = atomic_load(&page->journaled);
	failed = sync_next(fd);
	if (!failed && is_journaled(&place))
		record_sync(&place, fd, covers);
	return failed;
}

int
fsync(int fd)
{
	return file_sync(fd, NEXT(fsync));
}

int
fdatasync(int fd)
{
	return file_sync(fd, NEXT(fdatasync));
}

/* ---- names */

/* Both of them in one record. */
static void
record_rename_locked(const struct place *from, const struct place *to)
{
	size_t from_length = strlen(from->name + 1), to_length = strlen(to->name + 1);
	char names[2 * PATH_MAX];
	struct stat64 is = {0};
	int saved = errno;

	lstat64(to->path, &is);
	errno = saved;
	memcpy(names, from->name + 1, from_length + 1);
	memcpy(names + from_length + 1, to->name + 1, to_length);
	record_locked((struct fault_record){.verb = FAULT_RECORD_RENAME,
			      .inode = is.st_ino,
			      .name_bytes = (uint32_t)(from_length + 1 + to_length)},
		names, NULL);
}

static int
file_rename(int from_at, const char *from, int to_at, const char *to, unsigned flags)
{
	struct place from_place, to_place;
	int failed;

	place_of_path(&from_place, from_at, from);
	place_of_path(&to_place, to_at, to);
	if (from_place.ours && fails(&from_place, FAULT_RENAME))
		return -1;
	journal_begin(&from_place);
	failed = flags ? NEXT(renameat2)(from_at, from, to_at, to, flags) : NEXT(renameat)(from_at, from, to_at, to);
	if (!failed && is_journaled(&from_place) && is_journaled(&to_place))
		record_rename_locked(&from_place, &to_place);
	journal_end(&from_place);
	return failed;
}

int
rename(const char *from, const char *to)
{
	return file_rename(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int
renameat(int from_at, const char *from, int to_at, const char *to)
{
	return file_rename(from_at, from, to_at, to, 0);
}

int
renameat2(int from_at, const char *from, int to_at, const char *to, unsigned flags)
{
	return file_rename(from_at, from, to_at, to, flags);
}

static int
file_unlink(int at, const char *path, int flags)
{
	struct place place;
	int failed;

	place_of_path(&place, at, path);
	if (place.ours && fails(&place, FAULT_UNLINK))
		return -1;
	journal_begin(&place);
	failed = NEXT(unlinkat)(at, path, flags);
	if (!failed)
		record_name_locked(&place,
			(struct fault_record){.verb = flags & AT_REMOVEDIR ? FAULT_RECORD_RMDIR : FAULT_RECORD_UNLINK});
	journal_end(&place);
	return failed;
}

int
unlink(const char *path)
{
	return file_unlink(AT_FDCWD, path, 0);
}

int
unlinkat(int at, const char *path, int flags)
{
	return file_unlink(at, path, flags);
}

int
rmdir(const char *path)
{
	return file_unlink(AT_FDCWD, path, AT_REMOVEDIR);
}

static int
dir_make(int at, const char *path, mode_t mode)
{
	struct place place;
	int failed;

	place_of_path(&place, at, path);
	if (place.ours && !is_there(&place) && fails(&place, FAULT_MKDIR))
		return -1;
	journal_begin(&place);
	failed = NEXT(mkdirat)(at, path, mode);
	if (!failed && is_journaled(&place) && *place.name)
		record_name_locked(&place, (struct fault_record){.verb = FAULT_RECORD_MKDIR});
	journal_end(&place);
	return failed;
}

int
mkdir(const char *path, mode_t mode)
{
	return dir_make(AT_FDCWD, path, mode);
}

int
mkdirat(int at, const char *path, mode_t mode)
{
	return dir_make(at, path, mode);
}
