/*
 * The look-ups under way: where askers, on any thread, meet the resolver's thread. It owns the queries that wait, the
 * cache, and the lock over both, a leaf: nothing is called with it held, answer functions least of all.
 *
 * A look-up is in the table from the first question for its name until its answer is cached, so equal questions meet
 * there. It first waits its turn, first come, first served; then the resolver's thread takes it, owns it while it finds
 * the answer, and gives it back to be delivered.
 */
#ifndef FETCHPOOL_FETCH_RESOLVER_LOOKUPS_H
#define FETCHPOOL_FETCH_RESOLVER_LOOKUPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HASH_NONFATAL_OOM 1 /* a node that found no room has hh.tbl NULL */
#include <uthash.h>

#include "base/list.h"
#include "base/lock.h"
#include "fetch/resolver.h"
#include "fetch/resolver_cache.h"

struct lookup {
	struct list node;          /* among the waiting (lock); the taker's once taken */
	struct list queries;       /* lock */
	bool taken;                /* lock */
	UT_hash_handle hh;         /* lock */
	struct resolver *resolver; /* the taker's, as result and ttl_ms */
	struct resolved result;    /* all zeroes at first */
	int64_t ttl_ms;            /* 0: not to be cached */
	size_t host_bytes;         /* constant, as host */
	char host[];               /* with a NUL */
};

struct lookups {
	struct lock lock;
	struct cond answered;
	/* Guarded by the lock. */
	struct lookup *table;
	struct list waiting;
	size_t waiting_count, abandoned_count;
	struct resolver_cache cache;
	const struct resolver_query *answering;
	bool stopped;
};

/* cache_capacity: so many names are cached. */
void lookups_init(struct lookups *lookups, size_t cache_capacity);

/* With every look-up delivered. */
void lookups_release(struct lookups *lookups);

/*
 * Asks, as resolver_lookup does for a name of at most RESOLVED_HOST_MAX bytes: returns 1 and fills *ret, 0 or -ENOMEM.
 * With 0, *ret_begun tells whether there is one more look-up to take.
 */
int lookups_ask(struct lookups *lookups, const char *host, struct resolver_query *query, struct resolved *ret,
	bool *ret_begun) __attribute__((warn_unused_result));

/* As resolver_cancel. */
void lookups_cancel(struct lookups *lookups, struct resolver_query *query);

/* From now on every question is answered with -ECANCELED. */
void lookups_stop(struct lookups *lookups);
bool lookups_stopped(struct lookups *lookups);

void lookups_gauges(struct lookups *lookups, struct resolver_gauges *ret);

/* ---- for the resolver's thread alone */

/* The next one that somebody still asks for, the caller's from then on until it is delivered; or NULL. */
struct lookup *lookups_take(struct lookups *lookups);

/* How many of those that were taken nobody asks for any more. */
size_t lookups_abandoned(struct lookups *lookups);

/* Keeps the result and tells everybody. The look-up is gone after it. */
void lookups_deliver(struct lookups *lookups, struct lookup *lookup);

#endif
