/*
 * Where a response's body is better kept: in a row of an SQLite database, or in a file of its own that a row names.
 *
 *	bodies [--dir DIR] [--rounds N] [--mib N] [--secure-delete] [--json]
 *
 * The parts alone, as the ledger uses them: WAL, synchronous=FULL, pages of 8 KiB, 20 bodies a commit, a passive
 * checkpoint when the log has more than 4,000 pages; files are written, synced and renamed one by one, and their
 * directory is synced once a commit. For each size the two take turns; a round stores, reads back and removes all of its
 * bodies, so from the second round on both reuse what the last one freed. Medians of the rounds are told. Storing
 * includes the checkpoint of what is left in the log at the end.
 */
#include "common.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COMMIT_BODIES 20
#define CHECKPOINT_PAGES 4000
#define MAX_BODIES 1000
#define MAX_ROUNDS 99
#define KIB 1024

static const char schema[] =
	"PRAGMA page_size=8192; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0;"
	"CREATE TABLE bodies (seq INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;"
	"CREATE TABLE files (seq INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT;";

static const size_t sizes_kib[] = {4, 16, 32, 64, 100, 128, 256, 512, 1024};

enum step { STORE, READ, REMOVE, STEPS };

/* One way to keep bodies, with a database and a directory of its own. */
struct way {
	bool in_files;
	char dir[2000];
	int dir_fd;
	sqlite3 *db;
	sqlite3_stmt *begin, *commit, *insert, *select, *remove;
	int wal_pages; /* as of the last commit */
	int64_t us[STEPS][MAX_ROUNDS];
};

/* Debian's SQLite has it on when nothing is said: it zeroes, and so writes, each page that a body leaves. */
static const char *secure_delete = "PRAGMA secure_delete=FAST";
static uint8_t *body, *read_back;
static size_t body_bytes;

static void
must(struct way *way, bool good, const char *call)
{
	if (good)
		return;
	errno = 0;
	bench_die("%s: %s", call, sqlite3_errmsg(way->db));
}

static void
must_system(bool good, const char *call)
{
	if (!good)
		bench_die("%s", call);
}

static void
run(struct way *way, sqlite3_stmt *statement)
{
	must(way, sqlite3_step(statement) == SQLITE_DONE, sqlite3_sql(statement));
	must(way, sqlite3_reset(statement) == SQLITE_OK, "sqlite3_reset");
}

static void
checkpoint(struct way *way)
{
	must(way, sqlite3_wal_checkpoint_v2(way->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL) == SQLITE_OK,
		"checkpoint");
	way->wal_pages = 0;
}

static void
commit(struct way *way)
{
	run(way, way->commit);
	if (way->wal_pages > CHECKPOINT_PAGES)
		checkpoint(way);
}

static int
on_commit(void *argument, sqlite3 *db, const char *name, int pages)
{
	struct way *way = argument;

	(void)db;
	(void)name;
	way->wal_pages = pages;
	return SQLITE_OK;
}

/* ---- one body */

static void
body_name(size_t seq, char name[static 32])
{
	snprintf(name, 32, "body-%06zu", seq);
}

static void
write_file(struct way *way, const char *name)
{
	int file = openat(way->dir_fd, "new", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	must_system(file >= 0, "open");
	for (size_t done = 0; done < body_bytes;) {
		ssize_t count = write(file, body + done, body_bytes - done);

		must_system(count > 0, "write");
		done += (size_t)count;
	}
	must_system(fsync(file) == 0, "fsync");
	must_system(close(file) == 0, "close");
	must_system(renameat(way->dir_fd, "new", way->dir_fd, name) == 0, "rename");
}

static void
store_body(struct way *way, size_t seq)
{
	char name[32];

	memcpy(body, &seq, sizeof seq);
	sqlite3_bind_int64(way->insert, 1, (sqlite3_int64)seq);
	if (way->in_files) {
		body_name(seq, name);
		write_file(way, name);
		sqlite3_bind_text(way->insert, 2, name, -1, SQLITE_STATIC);
	} else {
		sqlite3_bind_blob64(way->insert, 2, body, body_bytes, SQLITE_STATIC);
	}
	run(way, way->insert);
}

static void
read_file(struct way *way, const char *name)
{
	int file = openat(way->dir_fd, name, O_RDONLY | O_CLOEXEC);

	must_system(file >= 0, "open");
	for (size_t done = 0; done < body_bytes;) {
		ssize_t count = read(file, read_back + done, body_bytes - done);

		must_system(count > 0, "read");
		done += (size_t)count;
	}
	must_system(close(file) == 0, "close");
}

static void
read_body(struct way *way, size_t seq)
{
	sqlite3_bind_int64(way->select, 1, (sqlite3_int64)seq);
	must(way, sqlite3_step(way->select) == SQLITE_ROW, "select");
	if (way->in_files) {
		read_file(way, (const char *)sqlite3_column_text(way->select, 0));
	} else {
		must(way, (size_t)sqlite3_column_bytes(way->select, 0) == body_bytes, "length");
		memcpy(read_back, sqlite3_column_blob(way->select, 0), body_bytes);
	}
	sqlite3_reset(way->select);
	if (memcmp(read_back, &seq, sizeof seq) != 0)
		bench_die("body %zu is not what was stored", seq);
}

static void
remove_body(struct way *way, size_t seq)
{
	char name[32];

	sqlite3_bind_int64(way->remove, 1, (sqlite3_int64)seq);
	run(way, way->remove);
	if (way->in_files) {
		body_name(seq, name);
		must_system(unlinkat(way->dir_fd, name, 0) == 0, "unlink");
	}
}

/* ---- many */

/* Calls it for each body, in transactions; the microseconds that this took. */
static int64_t
write_all(struct way *way, size_t bodies, void (*each)(struct way *, size_t))
{
	int64_t start_us = bench_now_us();

	for (size_t first = 1; first <= bodies; first += COMMIT_BODIES) {
		run(way, way->begin);
		for (size_t seq = first; seq < first + COMMIT_BODIES; seq++)
			each(way, seq);
		if (way->in_files)
			must_system(fsync(way->dir_fd) == 0, "fsync of the directory");
		commit(way);
	}
	checkpoint(way);
	return bench_now_us() - start_us;
}

static int64_t
read_all(struct way *way, size_t bodies)
{
	int64_t start_us = bench_now_us();

	/* In an order that is none; 7919 is a prime that divides no count of bodies. */
	for (size_t i = 0; i < bodies; i++)
		read_body(way, 1 + i * 7919 % bodies);
	return bench_now_us() - start_us;
}

static void
one_round(struct way *way, size_t bodies, int round)
{
	way->us[STORE][round] = write_all(way, bodies, store_body);
	way->us[READ][round] = read_all(way, bodies);
	way->us[REMOVE][round] = write_all(way, bodies, remove_body);
}

/* ---- a way's begin and end */

static void
prepare(struct way *way, const char *sql, sqlite3_stmt **ret)
{
	must(way, sqlite3_prepare_v2(way->db, sql, -1, ret, NULL) == SQLITE_OK, sql);
}

static void
way_open(struct way *way, const char *parent, bool in_files)
{
	char path[2048];

	*way = (struct way){.in_files = in_files};
	snprintf(way->dir, sizeof way->dir, "%s/fetchpool-bodies.XXXXXX", parent);
	must_system(mkdtemp(way->dir) != NULL, way->dir);
	way->dir_fd = open(way->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must_system(way->dir_fd >= 0, way->dir);
	snprintf(path, sizeof path, "%s/ledger.db", way->dir);
	must(way, sqlite3_open(path, &way->db) == SQLITE_OK, path);
	must(way, sqlite3_exec(way->db, schema, NULL, NULL, NULL) == SQLITE_OK, "schema");
	must(way, sqlite3_exec(way->db, secure_delete, NULL, NULL, NULL) == SQLITE_OK, secure_delete);
	sqlite3_wal_hook(way->db, on_commit, way);
	prepare(way, "BEGIN IMMEDIATE", &way->begin);
	prepare(way, "COMMIT", &way->commit);
	prepare(way, in_files ? "INSERT INTO files VALUES (?, ?)" : "INSERT INTO bodies VALUES (?, ?)", &way->insert);
	prepare(way, in_files ? "SELECT name FROM files WHERE seq = ?" : "SELECT body FROM bodies WHERE seq = ?",
		&way->select);
	prepare(way, in_files ? "DELETE FROM files WHERE seq = ?" : "DELETE FROM bodies WHERE seq = ?", &way->remove);
}

static void
way_close(struct way *way)
{
	sqlite3_finalize(way->begin);
	sqlite3_finalize(way->commit);
	sqlite3_finalize(way->insert);
	sqlite3_finalize(way->select);
	sqlite3_finalize(way->remove);
	must(way, sqlite3_close(way->db) == SQLITE_OK, "close");
	must_system(unlinkat(way->dir_fd, "ledger.db", 0) == 0, "unlink");
	close(way->dir_fd);
	must_system(rmdir(way->dir) == 0, way->dir);
}

/* ---- what is told */

static int
compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

/* Microseconds for one body, of the round in the middle. */
static double
median(struct way *way, enum step step, int rounds, size_t bodies)
{
	qsort(way->us[step], (size_t)rounds, sizeof way->us[step][0], compare);
	return (double)way->us[step][rounds / 2] / (double)bodies;
}

struct figures {
	double row[STEPS], file[STEPS]; /* microseconds a body */
};

static struct figures
measure(const char *dir, size_t bodies, int rounds)
{
	struct figures figures;
	struct way row, file;

	way_open(&row, dir, false);
	way_open(&file, dir, true);
	for (int round = 0; round < rounds; round++) {
		one_round(round % 2 == 0 ? &row : &file, bodies, round);
		one_round(round % 2 == 0 ? &file : &row, bodies, round);
	}
	for (enum step step = STORE; step < STEPS; step++) {
		figures.row[step] = median(&row, step, rounds, bodies);
		figures.file[step] = median(&file, step, rounds, bodies);
	}
	way_close(&row);
	way_close(&file);
	return figures;
}

static double
mb_per_second(double us)
{
	return (double)body_bytes / us;
}

static void
print_line(const struct figures *it)
{
	printf("%5zu KiB %9.0f %9.0f %8.1f %8.1f %9.1f %9.1f %9.1f %9.1f   %s\n", body_bytes / KIB, it->row[STORE],
		it->file[STORE], mb_per_second(it->row[STORE]), mb_per_second(it->file[STORE]), it->row[READ],
		it->file[READ], it->row[REMOVE], it->file[REMOVE], it->file[STORE] < it->row[STORE] ? "file" : "row");
}

static void
print_json(const struct figures *it, bool first)
{
	printf("%s{\"kib\": %zu, \"row_store_us\": %.1f, \"file_store_us\": %.1f, \"row_read_us\": %.1f, "
	       "\"file_read_us\": %.1f, \"row_remove_us\": %.1f, \"file_remove_us\": %.1f}",
		first ? "[" : ", ", body_bytes / KIB, it->row[STORE], it->file[STORE], it->row[READ], it->file[READ],
		it->row[REMOVE], it->file[REMOVE]);
}

/* So many that they make up mib, in whole commits. */
static size_t
bodies_of(size_t mib)
{
	size_t bodies = mib * KIB * KIB / body_bytes;

	if (bodies > MAX_BODIES)
		bodies = MAX_BODIES;
	return bodies < COMMIT_BODIES ? COMMIT_BODIES : bodies - bodies % COMMIT_BODIES;
}

static void
fill_random(uint8_t *bytes, size_t count)
{
	uint64_t state = 88172645463325252u;

	for (size_t i = 0; i < count; i++) {
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		bytes[i] = (uint8_t)state;
	}
}

int
main(int argc, char **argv)
{
	const char *dir = ".";
	size_t mib = 64, count = sizeof sizes_kib / sizeof sizes_kib[0];
	int rounds = 5;
	bool json = false;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--json") == 0)
			json = true;
		else if (strcmp(argv[i], "--secure-delete") == 0)
			secure_delete = "PRAGMA secure_delete=ON";
		else if (i + 1 == argc)
			bench_die("bodies [--dir DIR] [--rounds N] [--mib N] [--secure-delete] [--json]");
		else if (strcmp(argv[i], "--dir") == 0)
			dir = argv[++i];
		else if (strcmp(argv[i], "--rounds") == 0)
			rounds = (int)bench_number("--rounds", argv[++i], 1, MAX_ROUNDS);
		else if (strcmp(argv[i], "--mib") == 0)
			mib = (size_t)bench_number("--mib", argv[++i], 1, 4096);
		else
			bench_die("no such option: %s", argv[i]);
	}
	body = malloc(sizes_kib[count - 1] * KIB);
	read_back = malloc(sizes_kib[count - 1] * KIB);
	must_system(body != NULL && read_back != NULL, "malloc");
	fill_random(body, sizes_kib[count - 1] * KIB);
	if (!json)
		printf("              store, us a body     store, MB/s      read, us a body    remove, us a body   wins\n"
		       "   size       row      file      row     file       row      file       row      file   storing\n");
	for (size_t i = 0; i < count; i++) {
		struct figures figures;

		body_bytes = sizes_kib[i] * KIB;
		figures = measure(dir, bodies_of(mib), rounds);
		if (json)
			print_json(&figures, i == 0);
		else
			print_line(&figures);
		fflush(stdout);
	}
	if (json)
		puts("]");
	free(body);
	free(read_back);
	return 0;
}
