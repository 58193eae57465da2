/*
 * What is kept of jobs: the interface of every store. A store takes batches of entries and tells when they are kept
 * ("committed": durable, where the store is); what was committed can be found and listed. Callers hold no lock when they
 * call in. The memory store commits within the call, on the caller's thread; the SQLite store does so on a thread of its
 * own, many entries at once.
 *
 * A store that several nodes share will claim jobs here, with a lease, and tell of the ends that other nodes wrote:
 * hence ends carry everything that a waiter needs, and nothing in this interface assumes that the job lives here alone.
 */
#ifndef FETCHPOOL_LEDGER_LEDGER_H
#define FETCHPOOL_LEDGER_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "core/job.h"

enum ledger_verb {
	LEDGER_ADD,     /* a new job */
	LEDGER_START,   /* an attempt begins */
	LEDGER_REQUEUE, /* the job waits again, as if its last attempt had not been begun */
	LEDGER_END,     /* the job is done; how is in end */
	LEDGER_REMOVE,  /* the job goes, with its body */
};

/* The start of an attempt, or a job put back: what changes in a job that is not done. */
struct ledger_start {
	uint32_t version; /* as it is with this change */
	unsigned crashes; /* of a job put back: job->crashes from now on */
	int64_t started_wall_ms, attempt_started_wall_ms;

	/*
	 * Nobody awaits its commit, since the attempt may be made again: it may be held back while there is other work,
	 * and left out when the job's end comes first.
	 */
	bool lazy;
};

/* How a job ended. Becomes the job's own when the entry is committed. */
struct ledger_end {
	enum job_state state;
	uint32_t version;
	struct job_error error;
	struct attempt *attempt;   /* the last attempt, or NULL when none was begun */
	struct response *response; /* or NULL */
	int64_t started_wall_ms;   /* 0: no attempt was begun */
	int64_t finished_wall_ms, expires_wall_ms;
	int64_t received_bytes, total_bytes; /* total: -1 unknown */
	uint64_t finish_order;
	int64_t weight; /* of what waits for its commit, as its maker counts it */
};

struct ledger_entry {
	struct list node;
	enum ledger_verb verb;
	struct job *job;    /* a reference, the maker's */
	bool only_existing; /* of an ADD: it is not kept, but told whether another job has its key */
	/* Set on commit: 0, or why this entry was not kept (-ENOMEM, -ENOSPC, -EAGAIN, -ESHUTDOWN; of an END -ENOENT; of an ADD -EEXIST, or
	 * -EDQUOT of one that was only to find another). */
	int error;
	bool found;         /* of a removal: the job was there */
	struct id existing; /* of an ADD with -EEXIST: the job that has the idempotency key */
	bool same;          /* and whether its request is the same */

	union {
		struct ledger_start start; /* LEDGER_START, LEDGER_REQUEUE */
		struct ledger_end end;     /* LEDGER_END */
	};
};

struct ledger_hooks {
	void *context;

	/*
	 * Entries are committed, or have an error. Called without any lock of the ledger's; for one job in the order in
	 * which its entries were written; and for all entries of one caller, but that new jobs may overtake others, and
	 * others ends with large bodies.
	 */
	void (*committed)(void *context, struct list *entries);

	/* The store takes jobs again, after it was full. */
	void (*relieved)(void *context);

	/*
	 * Nothing can be made durable any more: what was not committed may or may not be kept. The process has to end;
	 * the next start finds what is on the disk.
	 */
	void (*failed)(void *context, const char *why);
};

/* Of finished jobs, for the memory store. */
struct ledger_limits {
	size_t max_jobs;
	int64_t max_bytes, max_disk_bytes; /* in memory, in files */
};

/* Which jobs to list; all must hold. */
struct ledger_filter {
	unsigned states;   /* a bit 1 << JOB_… for each wanted state; 0: all */
	const char *tag;   /* NULL: any */
	const char *host;  /* NULL: any */
	int port;          /* 0: any */
	const char *batch; /* NULL: any; a batch id */
	const char *owner; /* NULL: anyone's */
};

#define LEDGER_LIVE_STATES (1u << JOB_queued | 1u << JOB_running | 1u << JOB_retrying)

struct ledger_usage {
	size_t jobs;        /* known, done or not */
	size_t finished;    /* of them done */
	int64_t bytes;      /* of the finished ones: memory; of a database: its file */
	int64_t disk_bytes; /* of the finished ones: files of large bodies */
	int64_t wal_bytes;  /* of a database: its write-ahead log */
};

/* How much of a job find is to give. */
enum ledger_depth {
	LEDGER_SUMMARY,  /* without attempts and bytes of the body */
	LEDGER_ATTEMPTS, /* with its attempts */
	LEDGER_WHOLE,    /* and the bytes of a body that is not in a file */
};

struct ledger {
	const struct ledger_ops *ops;
	bool failed_before;    /* the last process ended by the store's fault, so no job is to blame for that */
	uint64_t finish_order; /* of the newest end that is kept, about: later ones go on from there */
};

struct ledger_ops {
	const char *name;
	bool durable;

	/*
	 * Gives up to limit jobs that are not done, with references, in the order of their ids, the first one above after
	 * (NULL: from the first). For the start, before anything is written. Returns the count or -errno.
	 */
	int (*recover)(struct ledger *ledger, const struct id *after, struct job **jobs, size_t limit);

	/* Takes a list of entries, which comes back to committed, all of them in one call or in several. */
	void (*write)(struct ledger *ledger, struct list *entries);

	/*
	 * A job by its id, with a reference: 0, -ENOENT, or -EIO (told on the log) when the store cannot be read. A durable store
	 * makes a job of its own from what is written: one that is not done is only a picture of a live one.
	 */
	int (*find)(struct ledger *ledger, const struct id *id, enum ledger_depth depth, struct job **ret);

	/*
	 * The ids of up to limit jobs, newest first, older than before (NULL: from the newest). The states of jobs that
	 * are not done are not looked at: asked for one of them, it gives all three. Returns the count or -EIO.
	 */
	int (*list)(struct ledger *ledger, const struct ledger_filter *filter, const struct id *before, struct id *ids,
		size_t limit);

	/* Removes finished jobs that have expired, in small steps. Gives the next time to call, INT64_MAX for none. */
	int64_t (*sweep)(struct ledger *ledger, int64_t now_wall_ms);

	/* True while jobs can be taken in; else (or NULL text) says why not in a few words. */
	bool (*accepts)(struct ledger *ledger, char *ret_why, size_t size);

	void (*usage)(struct ledger *ledger, struct ledger_usage *ret);

	/* Commits what was written; from now on everything written comes back with -ESHUTDOWN. */
	void (*stop)(struct ledger *ledger);
	void (*close)(struct ledger *ledger);
};

/* True when the job fits the filter; the state is read as it is at that moment. */
bool ledger_filter_fits(const struct ledger_filter *filter, const struct job *job);

/* The store that keeps nothing: returns 0 or -ENOMEM. */
int ledger_memory_open(const struct ledger_limits *limits, const struct ledger_hooks *hooks, struct ledger **ret)
	__attribute__((warn_unused_result));

/*
 * The store in an SQLite database, dir/ledger.db, with large bodies in bodies (both outlive the ledger; one process at a
 * time, which the caller sees to). Makes or migrates it, and removes bodies that no job names. Returns 0 or -errno with a
 * message (malloc'd, or NULL) that says what is wrong with which file.
 */
int ledger_sqlite_open(const char *dir, const char *bodies, const struct ledger_hooks *hooks, struct ledger **ret,
	char **ret_message) __attribute__((warn_unused_result));

/*
 * Checks a database, which a server may have open: PRAGMA integrity_check, and that the files of bodies are there.
 * Findings go to report, a line each. Returns the number of findings, or -errno with a message when it cannot be read.
 */
int ledger_sqlite_check(const char *dir, const char *bodies, void (*report)(void *context, const char *line),
	void *context, char **ret_message) __attribute__((warn_unused_result));

const char *ledger_sqlite_version(void);

#endif
