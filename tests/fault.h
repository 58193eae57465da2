/*
 * What tests/fault.so does to a process that it is preloaded into, and how a test steers it.
 *
 * The library steps between the process and the C library's calls on files below $FAULT_DIR (a path without links), and
 *
 * - makes them fail as the rules in the page of $FAULT_CONTROL say. The page is a file of sizeof(struct fault_page) that the
 *   test maps, too. A rule is written by the test, then armed, and not changed any more but for being disarmed: so neither
 *   side needs a lock, and either may be killed at any moment.
 *
 * - writes down what is done to these files in the journal of $FAULT_JOURNAL, from which tests/power.h tells what would be
 *   left after a loss of power. Files named *-shm are left out: they are mapped, and made anew after a crash.
 *
 * Either variable may be missing. What is done through stdio, a mapping or a descriptor that came from elsewhere than a path
 * is seen as far as it uses the calls below; SQLite and fetchpool use no others.
 */
#ifndef TESTS_FAULT_H
#define TESTS_FAULT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum fault_call {
	FAULT_OPEN = 1 << 0,      /* for writing, of a file that is there */
	FAULT_OPEN_READ = 1 << 1, /* for reading alone */
	FAULT_CREATE = 1 << 2,    /* an open that makes the file */
	FAULT_READ = 1 << 3,      /* read, pread */
	FAULT_WRITE = 1 << 4,     /* write, pwrite, writev, pwritev */
	FAULT_SYNC = 1 << 5,      /* fsync, fdatasync, of a file or a folder */
	FAULT_TRUNCATE = 1 << 6,  /* ftruncate, O_TRUNC */
	FAULT_RENAME = 1 << 7,    /* matched by the old name */
	FAULT_UNLINK = 1 << 8,    /* of a file or a folder */
	FAULT_MKDIR = 1 << 9,
	FAULT_ALLOCATE = 1 << 10, /* fallocate */
};

/* What takes room on the disk; what changes anything at all. */
#define FAULT_GROWTH (FAULT_CREATE | FAULT_WRITE | FAULT_MKDIR | FAULT_ALLOCATE)
#define FAULT_CHANGES (FAULT_GROWTH | FAULT_OPEN | FAULT_TRUNCATE | FAULT_RENAME | FAULT_UNLINK)

struct fault_rule {
	unsigned calls; /* an OR of enum fault_call */
	/* What the path has to contain, seen from $FAULT_DIR as "/": "" fits all, a $ at its end stands for the path's end. */
	char path[64];
	int error;               /* the errno that the call fails with; 0: it is only counted */
	uint32_t skip;           /* so many calls that fit go well first */
	uint32_t times;          /* so many fail then; 0: all of them while it is armed */
	bool half;               /* of the failing writes each other one writes half of it first, and does not fail */
	bool hold;               /* a call that fits waits until the rule is disarmed, before all else */
	_Atomic uint32_t armed;  /* set last; a futex */
	_Atomic uint32_t hits;   /* calls that fitted while it was armed; a futex */
	_Atomic uint32_t failed; /* and those of them that were made to fail */
};

#define FAULT_MAX_RULES 16

struct fault_page {
	struct fault_rule rules[FAULT_MAX_RULES];
	_Atomic uint64_t journaled; /* records that stand in the journal, whole */
	_Atomic uint32_t loaded;    /* processes that the library was loaded into */
};

/* ---- the journal: records one behind another, each a head, `name_bytes` of names, `data_bytes` of data */

enum fault_record_verb {
	FAULT_RECORD_CREATE = 1, /* name: a file's new name, where none was; inode */
	FAULT_RECORD_WRITE,      /* inode, offset, data */
	FAULT_RECORD_TRUNCATE,   /* inode, offset: the new size */
	FAULT_RECORD_SYNC,       /* inode, covers */
	FAULT_RECORD_SYNC_DIR,   /* name: the folder's; covers */
	FAULT_RECORD_RENAME,     /* name: the old one, a NUL, the new one; inode */
	FAULT_RECORD_UNLINK,     /* name */
	FAULT_RECORD_MKDIR,      /* name */
	FAULT_RECORD_RMDIR,      /* name */
};

/* Names are relative to $FAULT_DIR, which is itself "". */
struct fault_record {
	uint32_t magic;
	uint32_t verb;
	uint64_t inode;
	uint64_t offset;
	uint64_t covers; /* a sync: the number of records that stood in the journal when it began */
	uint32_t name_bytes;
	uint32_t data_bytes;
};

#define FAULT_RECORD_MAGIC 0x46504a31u

#endif
