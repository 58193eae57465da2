/*
 * What is kept of jobs: the interface of every store. A store takes batches of entries and tells when they are kept
 * ("committed": durable, where the store is); what was committed can be found and listed. Callers hold no lock when they
 * call in. The memory store commits within the call, on the caller's thread; a durable one does so on its own thread,
 * many entries at once.
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
	LEDGER_ADD,    /* a new job */
	LEDGER_END,    /* the job is done; how is in end */
	LEDGER_REMOVE, /* the job goes, with its body */
};

/* How a job ended. Becomes the job's own when the entry is committed. */
struct ledger_end {
	enum job_state state;
	struct job_error error;
	struct attempt *attempt;   /* the last attempt, or NULL when none was begun */
	struct response *response; /* or NULL */
	int64_t finished_wall_ms, expires_wall_ms;
};

struct ledger_entry {
	struct list node;
	enum ledger_verb verb;
	struct job *job; /* a reference, the maker's */
	struct ledger_end end;
	bool found; /* set on commit of a removal: the job was there */
	int error;  /* set on commit: 0, or why this entry was not kept (-ENOMEM, -ENOSPC …) */
	void *context;
};

/* Whose name is told when a batch is committed. Called without any lock of the ledger's. */
typedef void ledger_committed_fn(void *context, struct list *entries);

struct ledger_limits {
	size_t max_jobs;
	int64_t max_bytes, max_disk_bytes; /* of finished jobs: in memory, in files */
};

/* Which jobs to list; all must hold. */
struct ledger_filter {
	unsigned states;   /* a bit 1 << JOB_… for each wanted state; 0: all */
	const char *tag;   /* NULL: any */
	const char *host;  /* NULL: any */
	int port;          /* 0: any */
	const char *batch; /* NULL: any; a batch id */
};

struct ledger_usage {
	size_t jobs;               /* known, done or not */
	size_t finished;           /* of them done */
	int64_t bytes, disk_bytes; /* of the finished ones */
};

struct ledger {
	const struct ledger_ops *ops;
};

struct ledger_ops {
	const char *name;

	/* Takes a list of entries, which comes back to committed, all of them in one call or in several. */
	void (*write)(struct ledger *ledger, struct list *entries);

	/* A job by its id, with a reference: 0 or -ENOENT. */
	int (*find)(struct ledger *ledger, const struct id *id, struct job **ret);

	/*
	 * Up to limit jobs, newest first, older than before (NULL: from the newest), each with a reference. State is
	 * only a hint here: a job may move while it is listed. Returns the count.
	 */
	size_t (*list)(struct ledger *ledger, const struct ledger_filter *filter, const struct id *before,
		struct job **jobs, size_t limit);

	/* Removes finished jobs that have expired, a bounded number at a call. Gives the next time to call, INT64_MAX for
	 * none. */
	int64_t (*sweep)(struct ledger *ledger, int64_t now_wall_ms);

	void (*usage)(struct ledger *ledger, struct ledger_usage *ret);
	void (*close)(struct ledger *ledger);
};

/* True when the job fits the filter; the state is read as it is at that moment. */
bool ledger_filter_fits(const struct ledger_filter *filter, const struct job *job);

/* The store that keeps nothing: returns 0 or -ENOMEM. */
int ledger_memory_open(const struct ledger_limits *limits, ledger_committed_fn *committed, void *context,
	struct ledger **ret) __attribute__((warn_unused_result));

#endif
