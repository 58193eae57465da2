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

#define SHARDS 8         /* multi handles of a loop */
#define TAKE_BATCH 64    /* jobs taken at once */
#define KEPT_EASY 512    /* idle easy handles kept */
#define PRUNE_EVERY 1024 /* hops of a shard between two clean-ups of its cache of addresses */
#define PRUNE_SECONDS 60L
#define KEPT_CONNECTIONS 512L /* of a shard, with those in use: enough that origins keep theirs, few enough to walk */
#define SWEEP_SECONDS 60.     /* a shard that was not used between two sweeps keeps nothing */

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

/* ---- libcurl's wishes */

static void
call_curl(struct shard *shard, curl_socket_t socket, int events)
{
	int running;

	shard->dirty = true;
	curl_multi_socket_action(shard->multi, socket, events, &running);
}

static void
on_socket_event(struct ev_loop *ev, ev_io *io, int events)
{
	struct sock *sock = (struct sock *)io;
	int what = (events & EV_READ ? CURL_CSELECT_IN : 0) | (events & EV_WRITE ? CURL_CSELECT_OUT : 0);

	(void)ev;
	if (events & EV_ERROR) { /* the system has no room for it among what is watched, and libev has given it up */
		struct transfer *transfer;

		curl_easy_getinfo(sock->easy, CURLINFO_PRIVATE, (char **)&transfer);
		transfer_fail(transfer, JOB_ERROR_internal, "the system cannot watch another socket");
		return;
	}
	call_curl(sock->shard, io->fd, what);
}

static void
on_shard_timer(struct ev_loop *ev, ev_timer *timer, int events)
{
	struct shard *shard = container_of(timer, struct shard, timer);

	(void)ev, (void)events;
	call_curl(shard, CURL_SOCKET_TIMEOUT, 0);
}

/*
 * A multi handle is lost when its callback finds no memory, so that is there before a hop begins: for two sockets, since libcurl
 * may try an address of either family at once.
 */
static bool
socks_reserve(struct loop *loop)
{
	while (loop->sock_count < 2 * (loop->hop_count + 1)) {
		struct sock *sock = calloc(1, sizeof *sock);

		if (sock == NULL)
			return false;
		sock->next = loop->free_socks;
		loop->free_socks = sock;
		loop->sock_count++;
	}
	return true;
}

static struct sock *
sock_new(struct shard *shard)
{
	struct sock *sock = shard->loop->free_socks;

	if (sock == NULL)
		return NULL;
	shard->loop->free_socks = sock->next;
	sock->shard = shard;
	ev_init(&sock->io, on_socket_event);
	return sock;
}

static int
on_curl_socket(CURL *easy, curl_socket_t fd, int what, void *context, void *socket_context)
{
	struct shard *shard = context;
	struct loop *loop = shard->loop;
	struct sock *sock = socket_context;

	if (sock == NULL) {
		sock = sock_new(shard);
		if (sock == NULL)
			return -1;
		curl_multi_assign(shard->multi, fd, sock);
	}
	sock->easy = easy;
	ev_io_stop(loop->ev, &sock->io);
	if (what == CURL_POLL_REMOVE) {
		curl_multi_assign(shard->multi, fd, NULL);
		sock->next = loop->free_socks;
		loop->free_socks = sock;
		return 0;
	}
	ev_io_set(&sock->io, fd, (what & CURL_POLL_IN ? EV_READ : 0) | (what & CURL_POLL_OUT ? EV_WRITE : 0));
	ev_io_start(loop->ev, &sock->io);
	return 0;
}

static int
on_curl_timer(CURLM *multi, long ms, void *context)
{
	struct shard *shard = context;

	(void)multi;
	shard->kick = ms == 0;
	ev_timer_stop(shard->loop->ev, &shard->timer);
	if (ms > 0) {
		ev_now_update(shard->loop->ev);
		ev_timer_set(&shard->timer, (double)ms / 1000, 0.);
		ev_timer_start(shard->loop->ev, &shard->timer);
	}
	return 0;
}

/* ---- for transfers */

CURL *
loop_take_easy(struct loop *loop)
{
	return loop->easy_count > 0 ? loop->easies[--loop->easy_count] : curl_easy_init();
}

void
loop_give_easy(struct loop *loop, CURL *easy)
{
	if (loop->easy_count == KEPT_EASY) {
		curl_easy_cleanup(easy);
		return;
	}
	curl_easy_reset(easy);
	loop->easies[loop->easy_count++] = easy;
}

static struct shard *
shard_of(struct loop *loop, const struct origin_name *origin)
{
	uint32_t hash = 2166136261u; /* FNV-1a */

	for (const char *c = origin->host; *c != '\0'; c++)
		hash = (hash ^ (unsigned char)*c) * 16777619u;
	hash = (hash ^ ((uint32_t)origin->port & 0xff)) * 16777619u;
	hash = (hash ^ ((uint32_t)origin->port >> 8)) * 16777619u;
	return &loop->shards[(hash ^ hash >> 16) % SHARDS];
}

bool
loop_add(struct loop *loop, struct transfer *transfer)
{
	struct shard *shard = shard_of(loop, &transfer->hop.origin);

	if (!socks_reserve(loop))
		return false;
	if (++shard->hops % PRUNE_EVERY == 0)
		curl_easy_setopt(transfer->easy, CURLOPT_DNS_CACHE_TIMEOUT, PRUNE_SECONDS);
	if (curl_multi_add_handle(shard->multi, transfer->easy) != CURLM_OK)
		return false;
	shard->running++;
	loop->hop_count++;
	transfer->shard = shard;
	return true;
}

void
loop_remove(struct loop *loop, struct transfer *transfer)
{
	loop->hop_count--;
	transfer->shard->dirty = true;
	transfer->shard->running--;
	curl_multi_remove_handle(transfer->shard->multi, transfer->easy);
	transfer->shard = NULL;
}

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

static void
take_finished_hops(struct shard *shard)
{
	CURLMsg *message;
	int left;

	shard->dirty = false;
	while ((message = curl_multi_info_read(shard->multi, &left)) != NULL) {
		struct transfer *transfer;
		CURLcode result = message->data.result;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&transfer);
		transfer_hop_done(transfer, result);
	}
}

static bool
run_shards(struct loop *loop)
{
	bool worked = false;

	for (int i = 0; i < SHARDS; i++) {
		struct shard *shard = &loop->shards[i];

		if (shard->kick) {
			shard->kick = false;
			call_curl(shard, CURL_SOCKET_TIMEOUT, 0);
		}
		if (shard->dirty) {
			take_finished_hops(shard);
			worked = true;
		}
	}
	return worked;
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
	struct egress_policy *policy;

	if (!loop->may_take)
		return false;
	size_t count = loop->hooks->take(loop->hooks->context, loop->index, jobs, TAKE_BATCH);
	loop->may_take = count == TAKE_BATCH;
	if (count == 0)
		return false;
	lock_take(&loop->lock);
	policy = egress_policy_ref(loop->policy);
	lock_drop(&loop->lock);
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
		worked = run_shards(loop);
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

/* Beyond these libcurl closes one that is not in use. Fewer when there are few descriptors. */
static long
max_connections(const struct pool_settings *settings)
{
	int64_t share = settings->connections / settings->loops / SHARDS;

	if (settings->connections == 0 || share > KEPT_CONNECTIONS)
		return KEPT_CONNECTIONS;
	return share < 1 ? 1 : (long)share;
}

/* NULL when memory runs out. */
static CURLM *
multi_new(struct shard *shard)
{
	CURLM *multi = curl_multi_init();

	if (multi == NULL)
		return NULL;
	curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket);
	curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, shard);
	curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
	curl_multi_setopt(multi, CURLMOPT_TIMERDATA, shard);
	curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, max_connections(shard->loop->settings));
	curl_multi_setopt(multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
	return multi;
}

static int
shard_init(struct loop *loop, struct shard *shard)
{
	shard->loop = loop;
	ev_init(&shard->timer, on_shard_timer);
	shard->multi = multi_new(shard);
	return shard->multi != NULL ? 0 : -ENOMEM;
}

/* Closes all connections that it keeps. */
static void
shard_renew(struct shard *shard)
{
	CURLM *multi = multi_new(shard);

	if (multi == NULL)
		return; /* next time */
	curl_multi_cleanup(shard->multi);
	shard->multi = multi;
	shard->hops = 0;
	ev_timer_stop(shard->loop->ev, &shard->timer);
	shard->kick = shard->dirty = false;
}

/*
 * libcurl looks for connections that origins have closed only when it opens another in the same multi handle. So what an idle
 * server kept would stay for ever, each with a descriptor.
 */
static void
on_sweep(struct ev_loop *ev, ev_timer *timer, int events)
{
	struct loop *loop = ev_userdata(ev);

	(void)timer, (void)events;
	for (int i = 0; i < SHARDS; i++) {
		struct shard *shard = &loop->shards[i];

		if (shard->running == 0 && shard->hops != 0 && shard->hops == shard->seen)
			shard_renew(shard);
		shard->seen = shard->hops;
	}
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
		if (shard_init(loop, &loop->shards[i]) != 0) {
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
	while (loop->easy_count > 0)
		curl_easy_cleanup(loop->easies[--loop->easy_count]);
	for (int i = 0; i < SHARDS; i++)
		if (loop->shards[i].multi != NULL)
			curl_multi_cleanup(loop->shards[i].multi);
	while (loop->free_socks != NULL) {
		struct sock *sock = loop->free_socks;

		loop->free_socks = sock->next;
		free(sock);
	}
	if (loop->ev != NULL)
		ev_loop_destroy(loop->ev);
	egress_policy_unref(loop->policy);
	lock_release(&loop->lock);
	free(loop);
}
