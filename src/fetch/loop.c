/*
 * See loop.h. A turn of the loop: libev runs what is due (sockets, the timers, the inbox); before it sleeps again,
 * settle() brings everything to rest: libcurl's finished hops are taken, ended transfers handed back in one batch,
 * new jobs taken and begun, until nothing is left to do. libcurl is never called from one of its own callbacks: they
 * only note what is wanted.
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "fetch/loop.h"

#include <errno.h>
#include <ev.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/lock.h"
#include "base/log.h"
#include "fetch/curl_memory.h"
#include "fetch/loop_private.h"

#define TAKE_BATCH 64     /* jobs taken at once */
#define SWEEP_SECONDS 60. /* a shard that was not used between two sweeps keeps nothing */

/* ---- for transfers */

static void
on_resolved(struct resolver_query *query, const struct resolved *resolved)
{
	struct transfer *transfer = container_of(query, struct transfer, query);
	struct loop *loop = transfer->loop;

	*(struct resolved *)query->context = *resolved;
	lock_take(&loop->lock);
	list_push_back(&loop->answers, &transfer->answer_node);
	lock_drop(&loop->lock);
	ev_async_send(loop->ev, &loop->wake);
}

bool
loop_resolve(struct loop *loop, struct transfer *transfer, const char *host, struct resolved *ret)
{
	transfer->query.answer = on_resolved;
	transfer->query.context = ret;
	int rc = resolver_lookup(loop->resolver, host, &transfer->query, ret);
	if (rc < 0) {
		*ret = (struct resolved){.error = rc};
		snprintf(ret->message, sizeof ret->message, "%s", strerror(-rc));
	}
	return rc != 0;
}

void
loop_cancel_resolve(struct loop *loop, struct transfer *transfer)
{
	resolver_cancel(loop->resolver, &transfer->query);
	lock_take(&loop->lock);
	list_remove(&transfer->answer_node);
	lock_drop(&loop->lock);
}

static bool
clock_before(const struct heap_node *a, const struct heap_node *b)
{
	return container_of(a, struct transfer, clock_node)->clock_due_us <
		container_of(b, struct transfer, clock_node)->clock_due_us;
}

/* A later time is left to the timer that is set: it will fire early, look, and be set anew. */
void
loop_set_clock(struct loop *loop, struct transfer *transfer, int64_t due_us)
{
	if (transfer->clock_node.queued && transfer->clock_due_us <= due_us)
		return;
	heap_remove(&loop->clocks, &transfer->clock_node);
	transfer->clock_due_us = due_us;
	if (due_us != INT64_MAX)
		heap_insert(&loop->clocks, &transfer->clock_node);
}

void
loop_clear_clock(struct loop *loop, struct transfer *transfer)
{
	heap_remove(&loop->clocks, &transfer->clock_node);
}

void
loop_ended(struct loop *loop, struct transfer *transfer)
{
	list_remove(&transfer->node);
	list_push_back(&loop->ended, &transfer->node);
}

/* ---- a turn */

/* Transfers whose timer has come. Each is taken off first, so that it can be set anew. */
static void
run_clocks(struct loop *loop)
{
	int64_t now_us = mono_us();

	for (struct heap_node *node; (node = heap_first(&loop->clocks)) != NULL;) {
		struct transfer *transfer = container_of(node, struct transfer, clock_node);

		if (transfer->clock_due_us > now_us)
			return;
		heap_remove(&loop->clocks, node);
		transfer_timeout(transfer);
	}
}

static void
on_clock(struct ev_loop *ev, ev_timer *timer, int events)
{
	(void)events;
	ev_timer_stop(ev, timer);
	run_clocks(ev_userdata(ev));
}

/* A libev timer that fires too early costs a look at the heap; to move it for each transfer would cost more. */
static void
arm_clock(struct loop *loop)
{
	struct heap_node *first = heap_first(&loop->clocks);

	if (first == NULL)
		return;
	int64_t left_us = container_of(first, struct transfer, clock_node)->clock_due_us - mono_us();
	double left = left_us <= 0 ? 0. : (double)left_us / 1e6 + 0.0002;
	if (ev_is_active(&loop->clock) && ev_timer_remaining(loop->ev, &loop->clock) <= left)
		return;
	ev_now_update(loop->ev);
	ev_timer_stop(loop->ev, &loop->clock);
	ev_timer_set(&loop->clock, left, 0.);
	ev_timer_start(loop->ev, &loop->clock);
}

static bool
hand_back(struct loop *loop)
{
	struct list outcomes;

	if (list_empty(&loop->ended))
		return false;
	list_init(&outcomes);
	for (struct list *node; (node = list_pop_front(&loop->ended)) != NULL;) {
		struct outcome *outcome = transfer_finish(container_of(node, struct transfer, node));

		list_init(&outcome->node);
		list_push_back(&outcomes, &outcome->node);
	}
	loop->hooks->ended(loop->hooks->context, loop->index, &outcomes);
	loop->may_take = true;
	return true;
}

/* An attempt for which there is no memory ends before it began. */
static void
give_up(struct loop *loop, struct job *job)
{
	struct list outcomes;

	loop->poor = (struct outcome){
		.job = job,
		.lent = true,
		.error = {.code = JOB_ERROR_internal, .message = "the server ran out of memory"},
	};
	list_init(&outcomes);
	list_push_back(&outcomes, &loop->poor.node);
	loop->hooks->ended(loop->hooks->context, loop->index, &outcomes);
}

static bool
take_jobs(struct loop *loop)
{
	struct job *jobs[TAKE_BATCH];

	if (!loop->may_take)
		return false;
	size_t count = loop->hooks->take(loop->hooks->context, loop->index, jobs, TAKE_BATCH);
	loop->may_take = count == TAKE_BATCH;
	if (count == 0)
		return false;
	struct egress_policy *policy = loop_policy(loop);
	for (size_t i = 0; i < count; i++) {
		struct transfer *transfer = transfer_new(loop, loop->settings, policy, jobs[i]);

		if (transfer == NULL) {
			give_up(loop, jobs[i]);
			loop->may_take = true;
			continue;
		}
		list_push_back(&loop->transfers, &transfer->node);
		transfer_start(transfer);
	}
	egress_policy_unref(policy);
	return true;
}

static void
on_settle(struct ev_loop *ev, ev_prepare *prepare, int events)
{
	struct loop *loop = ev_userdata(ev);
	bool worked;

	(void)prepare, (void)events;
	do {
		worked = loop_run_shards(loop);
		worked |= hand_back(loop);
		worked |= take_jobs(loop);
	} while (worked);
	curl_memory_forget();
	arm_clock(loop);
	atomic_fetch_add_explicit(&loop->turns, 1, memory_order_relaxed);
}

/* ---- the inbox */

static void
run_cancels(struct list *cancels)
{
	for (struct list *node; (node = list_pop_front(cancels)) != NULL;) {
		struct job *job = container_of(node, struct job, cancel_node);

		if (job->transfer != NULL)
			transfer_abort(job->transfer);
		job_unref(job);
	}
}

/* One answer at a time, under the lock: the transfer may be cancelled by what an earlier one brings about. */
static struct transfer *
next_answer(struct loop *loop)
{
	lock_take(&loop->lock);
	struct list *node = list_pop_front(&loop->answers);
	lock_drop(&loop->lock);
	return node == NULL ? NULL : container_of(node, struct transfer, answer_node);
}

static void
stop(struct loop *loop)
{
	while (!list_empty(&loop->transfers))
		transfer_abort(container_of(loop->transfers.next, struct transfer, node));
	hand_back(loop);
	ev_break(loop->ev, EVBREAK_ALL);
}

static void
on_wake(struct ev_loop *ev, ev_async *async, int events)
{
	struct loop *loop = ev_userdata(ev);
	struct transfer *transfer;
	struct list cancels;
	bool stopping;

	(void)async, (void)events;
	list_init(&cancels);
	lock_take(&loop->lock);
	list_splice(&cancels, &loop->cancels);
	loop->may_take |= loop->woken;
	loop->woken = false;
	stopping = loop->stopping;
	lock_drop(&loop->lock);
	while ((transfer = next_answer(loop)) != NULL)
		transfer_resolved(transfer);
	run_cancels(&cancels);
	if (stopping)
		stop(loop);
}

void
loop_wake(struct loop *loop)
{
	lock_take(&loop->lock);
	bool was_woken = loop->woken;
	loop->woken = true;
	lock_drop(&loop->lock);
	if (!was_woken)
		ev_async_send(loop->ev, &loop->wake);
}

unsigned
loop_turns(const struct loop *loop)
{
	return atomic_load_explicit(&loop->turns, memory_order_relaxed);
}

void
loop_cancel(struct loop *loop, struct job *job)
{
	lock_take(&loop->lock);
	if (list_empty(&job->cancel_node)) {
		job_ref(job);
		list_push_back(&loop->cancels, &job->cancel_node);
	}
	lock_drop(&loop->lock);
	ev_async_send(loop->ev, &loop->wake);
}

struct egress_policy *
loop_policy(struct loop *loop)
{
	lock_take(&loop->lock);
	struct egress_policy *policy = egress_policy_ref(loop->policy);
	lock_drop(&loop->lock);
	return policy;
}

void
loop_set_policy(struct loop *loop, struct egress_policy *policy)
{
	lock_take(&loop->lock);
	struct egress_policy *old = loop->policy;
	loop->policy = egress_policy_ref(policy);
	lock_drop(&loop->lock);
	egress_policy_unref(old);
}

/* ---- life */

static void
on_sweep(struct ev_loop *ev, ev_timer *timer, int events)
{
	(void)timer, (void)events;
	loop_sweep_shards(ev_userdata(ev));
}

static struct ev_loop *
ev_new(void)
{
	struct ev_loop *ev = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);

	return ev != NULL ? ev : ev_loop_new(EVFLAG_AUTO | EVFLAG_NOENV);
}

int
loop_new(unsigned index, const struct pool_settings *settings, const struct pool_hooks *hooks,
	struct resolver *resolver, struct loop **ret)
{
	struct loop *loop = calloc(1, sizeof *loop);

	if (loop == NULL)
		return -ENOMEM;
	loop->index = index;
	loop->settings = settings;
	loop->hooks = hooks;
	loop->resolver = resolver;
	loop->policy = egress_policy_ref(settings->policy);
	lock_init(&loop->lock);
	list_init(&loop->cancels);
	list_init(&loop->answers);
	list_init(&loop->transfers);
	list_init(&loop->ended);
	heap_init(&loop->clocks, clock_before);
	loop->ev = ev_new();
	for (int i = 0; loop->ev != NULL && i < SHARDS; i++) {
		if (loop_shard_init(loop, &loop->shards[i]) != 0) {
			loop_free(loop);
			return -ENOMEM;
		}
	}
	if (loop->ev == NULL) {
		loop_free(loop);
		return -EMFILE;
	}
	ev_set_userdata(loop->ev, loop);
	ev_async_init(&loop->wake, on_wake);
	ev_async_start(loop->ev, &loop->wake);
	ev_prepare_init(&loop->settle, on_settle);
	ev_prepare_start(loop->ev, &loop->settle);
	ev_init(&loop->clock, on_clock);
	ev_timer_init(&loop->sweep, on_sweep, SWEEP_SECONDS, SWEEP_SECONDS);
	ev_timer_start(loop->ev, &loop->sweep);
	*ret = loop;
	return 0;
}

static void *
run(void *context)
{
	struct loop *loop = context;

	ev_run(loop->ev, 0);
	return NULL;
}

int
loop_start(struct loop *loop)
{
	char name[16];

	snprintf(name, sizeof name, "fetch-%u", loop->index);
	int error = thread_start(&loop->thread, name, run, loop);
	loop->started = error == 0;
	return error;
}

void
loop_stop(struct loop *loop)
{
	if (!loop->started)
		return;
	lock_take(&loop->lock);
	loop->stopping = true;
	lock_drop(&loop->lock);
	ev_async_send(loop->ev, &loop->wake);
	thread_join(loop->thread);
	loop->started = false;
}

void
loop_free(struct loop *loop)
{
	if (loop == NULL)
		return;
	run_cancels(&loop->cancels);
	loop_release_shards(loop);
	if (loop->ev != NULL)
		ev_loop_destroy(loop->ev);
	egress_policy_unref(loop->policy);
	lock_release(&loop->lock);
	free(loop);
}
