/*
 * The multi handles of a loop: each has a share of the origins, since libcurl walks what a multi handle keeps. What libcurl wishes (sockets
 * to be watched, a timer) is passed on to libev. The loop's thread; see loop_private.h.
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "fetch/loop_private.h"

#include <errno.h>
#include <stdlib.h>

#define PRUNE_EVERY 1024 /* hops of a shard between two clean-ups of its cache of addresses */
#define PRUNE_SECONDS 60L
#define KEPT_CONNECTIONS 512L /* of a shard, with those in use: enough that origins keep theirs, few enough to walk */

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

/* ---- a turn */

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

bool
loop_run_shards(struct loop *loop)
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

int
loop_shard_init(struct loop *loop, struct shard *shard)
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
void
loop_sweep_shards(struct loop *loop)
{
	for (int i = 0; i < SHARDS; i++) {
		struct shard *shard = &loop->shards[i];

		if (shard->running == 0 && shard->hops != 0 && shard->hops == shard->seen)
			shard_renew(shard);
		shard->seen = shard->hops;
	}
}

void
loop_release_shards(struct loop *loop)
{
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
}
