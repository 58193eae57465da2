/*
 * One thread of the pool: a libev loop, some libcurl multi handles ("shards": each owns a share of the origins, since a
 * multi handle's cost grows with the connections it keeps), the timers of its transfers, and an inbox for what other
 * threads tell it. Transfers and multi handles are touched by this thread alone.
 */
#ifndef FETCHPOOL_FETCH_LOOP_H
#define FETCHPOOL_FETCH_LOOP_H

#include <stdbool.h>

#include "fetch/pool.h"
#include "fetch/transfer.h"

struct loop;

int loop_new(unsigned index, const struct pool_settings *settings, const struct pool_hooks *hooks,
	struct resolver *resolver, struct loop **ret) __attribute__((warn_unused_result));
int loop_start(struct loop *loop) __attribute__((warn_unused_result));

/* Aborts all transfers, hands their outcomes back, ends the thread. */
void loop_stop(struct loop *loop);
void loop_free(struct loop *loop);

/* ---- from any thread */

void loop_wake(struct loop *loop);
void loop_cancel(struct loop *loop, struct job *job);
/* How often it has come to rest. After a loop_wake that changes soon, unless the loop is stuck. */
unsigned loop_turns(const struct loop *loop);
/* The policy in force; a reference. Any thread. */
struct egress_policy *loop_policy(struct loop *loop);
void loop_set_policy(struct loop *loop, struct egress_policy *policy);

/* ---- for transfers, on the loop's thread */

/* An easy handle, reset, perhaps a used one; NULL when memory runs out. */
CURL *loop_take_easy(struct loop *loop);
void loop_give_easy(struct loop *loop, CURL *easy);

/* Hands the hop to libcurl, on the shard of its origin, and takes it back (which closes an unfinished connection). */
bool loop_add(struct loop *loop, struct transfer *transfer);
void loop_remove(struct loop *loop, struct transfer *transfer);

/* Asks for the addresses of a host: true when they are there at once, else transfer_resolved is called. */
bool loop_resolve(struct loop *loop, struct transfer *transfer, const char *host, struct resolved *ret);
void loop_cancel_resolve(struct loop *loop, struct transfer *transfer);

/* Calls transfer_timeout at due_us (monotonic), once. Replaces the timer that is set. */
void loop_set_clock(struct loop *loop, struct transfer *transfer, int64_t due_us);
void loop_clear_clock(struct loop *loop, struct transfer *transfer);

/* The transfer has ended: the loop finishes it within this turn. */
void loop_ended(struct loop *loop, struct transfer *transfer);

#endif
