/*
 * The fetch pool: N threads, each an event loop that drives many fetches at once. It runs jobs that its owner hands
 * out, and hands back outcomes; it knows nothing of queues, stores or clients.
 */
#ifndef FETCHPOOL_FETCH_POOL_H
#define FETCHPOOL_FETCH_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "core/job.h"
#include "fetch/egress.h"
#include "fetch/resolver.h"
#include "fetch/ways.h"

struct pool;

/* What the pool asks of its owner; called on the loops' threads without any lock of the pool's. */
struct pool_hooks {
	void *context;

	/* Gives up to max jobs to run on this loop, each with a reference, which comes back in an outcome. */
	size_t (*take)(void *context, unsigned loop, struct job **jobs, size_t max);

	/* Takes over a list of struct outcome (freed by outcome_free). */
	void (*ended)(void *context, unsigned loop, struct list *outcomes);
};

/* All strings outlive the pool. */
struct pool_settings {
	unsigned loops;
	int64_t connections;       /* of all loops, in use or kept, before kept ones are closed; 0: enough */
	int64_t inline_body_bytes; /* bodies up to this size are tested for being text */
	const char *body_dir;      /* where large bodies go */
	const char *user_agent;
	char *const *secret_headers; /* lower case; not sent to another origin after a redirect, as is authorization */
	size_t secret_header_count;
	int64_t max_decode_ratio;     /* how many times its size a body may grow when its codings are taken off */
	const char *dns_servers;      /* "192.0.2.53,[2001:db8::53]:5353"; NULL: the system's */
	struct egress_policy *policy; /* the pool takes a reference */
	struct ways_slot *ways;       /* outlives the pool */
};

/* Before there are threads; one pool a process, since it sets libcurl up. Returns 0 or -errno. */
int pool_new(const struct pool_settings *settings, const struct pool_hooks *hooks, struct pool **ret)
	__attribute__((warn_unused_result));
int pool_start(struct pool *pool) __attribute__((warn_unused_result));

/* There may be something to take for one loop, or for all of them. Any thread. */
void pool_wake(struct pool *pool, unsigned loop);
void pool_wake_all(struct pool *pool);

/* How often this loop has come to rest. After a pool_wake that changes soon, unless the loop is stuck. Any thread. */
unsigned pool_turns(const struct pool *pool, unsigned loop);

/* Stops the attempt of a job that was taken; its outcome will be marked aborted. Any thread. */
void pool_cancel(struct pool *pool, struct job *job);

/* Replaces the policy for attempts that begin from now on; one that runs keeps its own. */
void pool_set_policy(struct pool *pool, struct egress_policy *policy);

/*
 * What the guard says of a URL, with a look-up of its name. done is called once: at once, or on the resolver's thread.
 * message is set instead of a verdict when the name cannot be looked up. Returns 0, -EINVAL (*ret_why: no URL), -ENOMEM.
 */
struct pool_check {
	void (*done)(struct pool_check *check);
	void *context;
	struct egress_verdict verdict;
	struct egress_policy *policy; /* a reference, the caller's to give back: the verdict's rule lives in it */
	struct address addresses[RESOLVER_MAX_ADDRESSES];
	size_t address_count;
	char *message; /* malloc'd, or NULL */
	void *state;   /* the pool's */
};
int pool_check_url(struct pool *pool, const char *url, struct pool_check *check, const char **ret_why)
	__attribute__((warn_unused_result));

/* Aborts what runs, hands back the outcomes, answers the checks that wait, and ends the threads. */
void pool_stop(struct pool *pool);
void pool_free(struct pool *pool);

/* As resolver_gauges; all 0 once stopped. */
void pool_name_gauges(struct pool *pool, struct resolver_gauges *ret);

/* "7.88.1 OpenSSL/3.0.15", and the version of c-ares. */
const char *pool_curl_version(const struct pool *pool);
const char *pool_resolver_version(void);

/* Frees an outcome and what it still owns, its job's reference too. */
void outcome_free(struct outcome *outcome);

#endif
