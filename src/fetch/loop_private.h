/*
 * What the files of a loop share: loop.c has its turns, its inbox and its life; loop_shards.c its multi handles and their sockets. All of
 * it is the loop's own thread's, but for what the lock guards.
 */
#ifndef FETCHPOOL_FETCH_LOOP_PRIVATE_H
#define FETCHPOOL_FETCH_LOOP_PRIVATE_H

#include <ev.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/heap.h"
#include "base/list.h"
#include "base/lock.h"
#include "fetch/loop.h"

#define SHARDS 8      /* multi handles of a loop */
#define KEPT_EASY 512 /* idle easy handles kept */

struct shard {
	struct loop *loop;
	CURLM *multi;
	ev_timer timer;
	bool kick;        /* libcurl wants to be called at once */
	bool dirty;       /* libcurl was called: there may be finished hops */
	unsigned hops;    /* begun since its multi handle was made */
	unsigned seen;    /* of them, at the last sweep */
	unsigned running; /* now */
};

struct sock {
	ev_io io;
	struct shard *shard;
	CURL *easy;        /* the handle that uses it */
	struct sock *next; /* in the free list */
};

struct loop {
	unsigned index;
	const struct pool_settings *settings;
	const struct pool_hooks *hooks;
	struct resolver *resolver;
	struct ev_loop *ev;
	ev_async wake;
	ev_prepare settle;
	ev_timer clock, sweep;
	pthread_t thread;
	bool started;

	struct shard shards[SHARDS];
	struct sock *free_socks;
	size_t sock_count, hop_count; /* all there are; handles that run */
	CURL *easies[KEPT_EASY];
	size_t easy_count;
	struct heap clocks;    /* of transfers, by clock_due_us */
	struct list transfers; /* that run */
	struct list ended;     /* that have ended in this turn */
	bool may_take;
	atomic_uint turns;
	struct outcome poor; /* of an attempt for which there is no memory */

	struct lock lock;    /* the inbox; a leaf */
	struct list cancels; /* of struct job, each with a reference */
	struct list answers; /* of struct transfer */
	struct egress_policy *policy;
	bool woken, stopping;
};

/* Makes the multi handle of a shard. Returns 0 or -ENOMEM. */
int loop_shard_init(struct loop *loop, struct shard *shard) __attribute__((warn_unused_result));

/* Calls libcurl where it wants to be called at once, and takes the hops that are over. True when there was anything to do. */
bool loop_run_shards(struct loop *loop);

/* Closes what a shard keeps that was not used since the last time. */
void loop_sweep_shards(struct loop *loop);

/* Lets go of multi handles, easy handles and what belongs to sockets. */
void loop_release_shards(struct loop *loop);

#endif
