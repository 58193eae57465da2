/*
 * A store for the tests of the ledger: opened over a folder of its own, with hooks that note what came back. Entries that
 * were written are awaited on a condition variable. Check's assertions are made in the functions here, so they are for the
 * thread of the test, but for those that say otherwise.
 */
#ifndef TESTS_STORE_H
#define TESTS_STORE_H

#include "base/lock.h"
#include "ledger/ledger.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))
#define BIT(state) (1u << JOB_##state)

/* Whether a sanitizer watches, and slowly: what is done many times is done fewer times then. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED true
#endif
#endif
#ifndef SANITIZED
#define SANITIZED false
#endif

enum store_kind { IN_MEMORY, IN_SQLITE };
#define STORE_KINDS 2

struct store {
	enum store_kind kind;
	struct ledger *ledger;
	char dir[128], bodies[160]; /* the folder, which goes with the store; and the one in it for large bodies */
	bool lent;                  /* the folder is not the store's own, it stays */

	/* What each entry that came back is shown to, on whichever thread; may be NULL. */
	void (*seen)(void *context, const struct ledger_entry *entry);
	void *seen_context;

	struct lock lock; /* guards the rest */
	struct cond changed;
	size_t committed, twice, relieved, failed; /* entries, those that came back again, calls of the hooks */
	char why[300];                             /* of the failure */
};

/* An entry, and what became of it: guarded by the store's lock until it has come back. */
struct written {
	struct ledger_entry entry;
	unsigned times; /* it came back */
	size_t place;   /* the how manieth it was, of all that came back, from 1 */
};

/* NULL limits: none. */
void store_open(struct store *store, enum store_kind kind, const struct ledger_limits *limits);

/* Over a folder that is there and stays (with bodies/ in it): for SQLite. */
void store_open_at(struct store *store, const char *dir);

/* Opens what was shut again: the same folder. */
void store_shut(struct store *store);
void store_reopen(struct store *store);

/* Shuts it if need be, looks that nothing came back twice, removes the folder. */
void store_close(struct store *store);

/* An empty folder below $TMPDIR; and its end. */
void folder_make(char *path, size_t size);
void folder_remove(const char *path);

/* Any thread. Only what has come back may be written again. */
void store_write(struct store *store, struct written *entries, size_t count);

/* Until all of them have come back; any thread. False when that takes so long that it never will. */
bool store_await(struct store *store, struct written *entries, size_t count);

/* The same for a short time. */
bool store_await_for(struct store *store, struct written *entries, size_t count, int64_t patience_ms);

/* Waits for the failed hook, or that it was relieved so many times. */
void store_await_failure(struct store *store);
void store_await_relief(struct store *store, size_t times);

/* So many of the entries have come back. */
size_t store_came_back(struct store *store, const struct written *entries, size_t count);

/* Writes one entry, awaits it and gives its error; any thread (-ETIME: it never came). */
int store_put(struct store *store, struct written *written);

/*
 * A job with an id, for "http", a host, a port and the tags "all" and this one; the caller's. Any thread.
 */
struct job *new_job(const char *host, int port, const char *tag);
char *arena_format(struct arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));
void unref_all(struct job **jobs, size_t count);

/* One entry, awaited; they give its error (remove: whether the job was there). Any thread. */
int add_job(struct store *store, struct job *job);
bool remove_job(struct store *store, struct job *job);

/*
 * Ends the job well, with a body of so many bytes, in memory or in a file that is made for it; as the service does, the job
 * is given what came of it once that is committed.
 */
int end_job(struct store *store, struct job *job, int64_t expires, int64_t bytes, bool in_file);

struct job *add_new(struct store *store, const char *host, int port, const char *tag);

/* Adds many, in batches; jobs are made if they are NULL, and kept if keep. */
void add_many(struct store *store, struct job **jobs, size_t count);
void remove_many(struct store *store, struct job **jobs, size_t count);
void end_many(struct store *store, struct job **jobs, size_t count, const int64_t *expires);

/* The end of a job: its attempt and response are the entry's. */
void end_init(
	struct written *written, struct job *job, int64_t expires, int64_t bytes, bool in_file, const char *bodies);
void end_take_over(struct written *written); /* what is committed becomes the job's */
void end_release(struct written *written);   /* else it is freed */

/* A response and a body of so many bytes, which tell their place; a file is BODIES/ID.part, and still open. */
struct response *new_response(const struct job *job, int64_t bytes, bool in_file, const char *bodies);

/* A round of the writer: entries and steps of expiry before it are done. */
void store_turn(struct store *store);

/* Calls sweep until nothing is left to remove; gives the next time. */
int64_t store_sweep(struct store *store, int64_t now_wall_ms);

struct ledger_usage usage_of(struct store *store);
bool has(struct store *store, const struct job *job);
struct job *find_job(struct store *store, const struct id *id, enum ledger_depth depth);

/* A page, whose order is looked at. */
size_t list_page(
	struct store *store, const struct ledger_filter *filter, const struct id *before, struct id *ids, size_t limit);

/* Walks the pages from the newest to the end, and counts the jobs. */
size_t count_listed(struct store *store, const struct ledger_filter *filter, size_t page);

/*
 * One number of the SQLite store, past the ledger: what any other program sees; and changes that the ledger does not make.
 * Neither goes through tests/fault_vfs.h.
 */
int64_t store_number(const struct store *store, const char *sql_format, ...) __attribute__((format(printf, 2, 3)));
void store_exec(const struct store *store, const char *sql);

/* Opens it anew, also after a failure, and looks whether ledger_sqlite_check finds anything. */
void store_reopen_whole(struct store *store);

bool store_accepts(struct store *store, char *ret_why, size_t size);
enum job_state state_of(struct store *store, const struct job *job);

/* Entries that need no more; for START and REQUEUE with a version. */
struct written entry_of(enum ledger_verb verb, struct job *job);
struct written change_of(enum ledger_verb verb, struct job *job, uint32_t version);

/* A repeatable stream of numbers (xorshift64*); a state is never 0. */
uint64_t next_random(uint64_t *state);
int random_below(uint64_t *state, int bound);

#endif
