/*
 * A disk for SQLite that fails when told, that stops a call until it is let go, and whose loss of power can be played: a layer
 * over SQLite's own VFS, which becomes the default one. For files of databases alone; whatever does not go through SQLite is not
 * seen. (tests/fault.h is the like for a whole process.)
 *
 * Files are told by how their names end: "ledger.db" is the database, "-wal" its log, "" any file. Any thread.
 */
#ifndef TESTS_FAULT_VFS_H
#define TESTS_FAULT_VFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum fault_vfs_call {
	VFS_READ = 1 << 0,
	VFS_WRITE = 1 << 1,
	VFS_SYNC = 1 << 2,
	VFS_TRUNCATE = 1 << 3,
	VFS_MAP = 1 << 4,     /* of the log's index, beyond what is there */
	VFS_RELEASE = 1 << 5, /* of what a reader sees: the end of a read */
};

struct fault_vfs_rule {
	unsigned calls;   /* an OR of enum fault_vfs_call */
	const char *file; /* the end of its name */
	int rc;           /* the SQLite code that the calls fail with */
	int error;        /* the errno behind it; 0: none */
	unsigned skip;    /* so many go well first */
	unsigned times;   /* so many fail then; 0: all, until fault_vfs_heal */
	bool half;        /* half of what a failing write has is written all the same */
};

/* Once; before the first database is opened. */
void fault_vfs_install(void);

/* Adds a rule, up to four. The first that fits a call is the one for it. */
void fault_vfs_fail(const struct fault_vfs_rule *rule);

/* Takes all rules away and lets go what is held. */
void fault_vfs_heal(void);

/* So many calls were made to fail since the last fault_vfs_heal. */
size_t fault_vfs_failures(void);

/* ---- stopping */

/*
 * From now on these calls stop before they do anything; but of syncs only those that end a commit, and of releases only the first
 * one after fault_vfs_arm of the thread that has called that.
 */
void fault_vfs_hold(unsigned calls, const char *file);
void fault_vfs_arm(void);

/* Waits until so many of them have stopped. */
void fault_vfs_await_stops(unsigned count);

/* Lets those go that have stopped; the next ones stop again. */
void fault_vfs_step(void);

/* Lets all go, and holds no more. */
void fault_vfs_let_go(void);

/* ---- power */

/* Writes down what is done to files from now on; the folder has to be empty of databases. Forgets what was written down before. */
void fault_vfs_record(void);
void fault_vfs_stop_recording(void);

/* So many changes and syncs were written down. */
size_t fault_vfs_position(void);

/* What was done at that place. */
bool fault_vfs_is_sync(size_t position, const char *file);
bool fault_vfs_is_restart(size_t position); /* a log begins anew */

/* Frees what was written down. */
void fault_vfs_forget(void);

/*
 * Makes in the folder, which is there, the files as they are found when the power went as so much stood written down. Chance 0:
 * nothing that was not synced. Any other: of the changes that were not, all, none, the first few, or any of them, as the number
 * decides, and the last of them torn. Positions go up from call to call of one recording. A file that was there is replaced or
 * goes.
 */
void fault_vfs_lose_power(size_t position, uint64_t chance, const char *dir);

#endif
