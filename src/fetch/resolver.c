/*
 * See resolver.h.
 *
 * One thread owns the libev loop, the c-ares channels and the sockets; nobody else touches them. The tables, the queue
 * and the queries are shared with the askers and guarded by the resolver's lock, a leaf: nothing is called with it
 * held, c-ares and answer functions least of all.
 *
 * A look-up is in the table of look-ups from the first question for its name until its answer is cached, so equal
 * questions meet there. On its way it is on the list of those waiting for a place in c-ares (first come, first
 * served), then in c-ares, which is kept from holding more than it can walk through, then on the thread's own list of
 * the finished, as c-ares may call back from within a call into it.
 *
 * Cached answers stay after their time until they are the least recently used: with them goes the generation that
 * tells an answer that changed from one that was merely asked for again.
 */
#include "fetch/resolver.h"

#include <ares.h>
#include <errno.h>
#include <ev.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/lock.h"
#include "base/metrics.h"
#include "base/text.h"

#define HASH_NONFATAL_OOM 1 /* a node that found no room has hh.tbl NULL */
#include <uthash.h>

#define HOST_MAX 253 /* RFC 1035, section 3.1 */
#define CACHE_MAX 10000
#define IN_FLIGHT_MAX 4096
#define START_PER_TURN 32 /* then answers are read, or their socket's buffer would overflow */

#define TRY_TIMEOUT_MS 2000 /* c-ares doubles it with each try */
#define TRIES 3
#define TICK_SECONDS 0.1

#define TTL_MIN_MS 1000
#define TTL_MAX_MS 300000
#define TTL_NO_NAME_MS 5000
#define TTL_FAILURE_MS 1000 /* RFC 2308, section 7: at most 5 minutes */

#define GENERATION_LITERAL 1 /* an address never changes */

struct lookup {
	struct resolver *resolver;
	struct list node;       /* among the waiting (lock), later among the finished (thread) */
	struct list queries;    /* lock */
	UT_hash_handle hh;      /* lock */
	struct resolved result; /* thread */
	int64_t ttl_ms;         /* thread; 0: not to be cached */
	size_t host_bytes;
	char host[];
};

struct cached {
	struct list node; /* the least recently used first */
	UT_hash_handle hh;
	struct resolved result;
	int64_t expires_mono_ms;
	size_t host_bytes;
	char host[];
};

/* A socket of c-ares. */
struct watch {
	struct list node;
	ev_io io;
	struct resolver *resolver;
};

struct resolver {
	pthread_t thread;
	struct ev_loop *loop;
	ev_async wake;

	/* The thread's own. */
	ares_channel channel, hosts_channel; /* the second reads the hosts file alone */
	ev_timer tick;
	struct list watches;
	struct list finished;
	size_t in_flight;

	struct lock lock;
	struct cond answered;
	/* Guarded by the lock. */
	struct lookup *lookups;
	struct list waiting;
	struct cached *cache;
	struct list used; /* the cached */
	uint64_t generation;
	const struct resolver_query *answering;
	bool stopping;
};

/* ---- the cache */

static struct cached *
cache_find_locked(struct resolver *resolver, const char *host, size_t host_bytes)
{
	struct cached *cached;

	lock_assert_held(&resolver->lock);
	HASH_FIND(hh, resolver->cache, host, host_bytes, cached);
	return cached;
}

static void
cache_drop_locked(struct resolver *resolver, struct cached *cached)
{
	HASH_DEL(resolver->cache, cached);
	list_remove(&cached->node);
	free(cached);
}

static void
cache_touch_locked(struct resolver *resolver, struct cached *cached)
{
	list_remove(&cached->node);
	list_push_back(&resolver->used, &cached->node);
}

/* A new entry without an answer yet; NULL when memory runs out, as a cache may forget. */
static struct cached *
cache_add_locked(struct resolver *resolver, const struct lookup *lookup)
{
	struct cached *cached = calloc(1, sizeof *cached + lookup->host_bytes + 1);

	if (cached == NULL)
		return NULL;
	cached->host_bytes = lookup->host_bytes;
	memcpy(cached->host, lookup->host, lookup->host_bytes + 1);
	HASH_ADD_KEYPTR(hh, resolver->cache, cached->host, cached->host_bytes, cached);
	if (cached->hh.tbl == NULL) {
		free(cached);
		return NULL;
	}
	list_push_back(&resolver->used, &cached->node);
	if (HASH_COUNT(resolver->cache) > CACHE_MAX)
		cache_drop_locked(resolver, container_of(resolver->used.next, struct cached, node));
	return cached;
}

static bool
same_answer(const struct resolved *a, const struct resolved *b)
{
	if (a->error != b->error || a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++)
		if (!address_equal(&a->addresses[i], &b->addresses[i]))
			return false;
	return true;
}

/* Gives the look-up's answer its generation and keeps it. */
static void
cache_store_locked(struct resolver *resolver, struct lookup *lookup)
{
	struct cached *cached = cache_find_locked(resolver, lookup->host, lookup->host_bytes);

	if (cached != NULL && same_answer(&cached->result, &lookup->result))
		lookup->result.generation = cached->result.generation;
	else
		lookup->result.generation = ++resolver->generation;
	if (lookup->ttl_ms == 0)
		return;
	if (cached == NULL)
		cached = cache_add_locked(resolver, lookup);
	if (cached == NULL)
		return;
	cache_touch_locked(resolver, cached);
	cached->result = lookup->result;
	cached->expires_mono_ms = mono_ms() + lookup->ttl_ms;
}

/* ---- what c-ares says */

static void
set_error(struct resolved *result, int error, const char *message)
{
	result->error = error;
	result->count = 0;
	snprintf(result->message, sizeof result->message, "%s", message);
}

static int
error_of(int status)
{
	switch (status) {
	case ARES_ENOTFOUND:
	case ARES_ENODATA:
	case ARES_ENONAME:
	case ARES_EBADNAME:
		return -EHOSTUNREACH;
	case ARES_ETIMEOUT:
		return -ETIMEDOUT;
	case ARES_ENOMEM:
		return -ENOMEM;
	case ARES_ECANCELLED:
	case ARES_EDESTRUCTION:
		return -ECANCELED;
	default:
		return -EAGAIN;
	}
}

/* How long a failure is remembered. */
static int64_t
failure_ttl_ms(int error)
{
	if (error == -ENOMEM || error == -ECANCELED)
		return 0;
	return error == -EHOSTUNREACH ? TTL_NO_NAME_MS : TTL_FAILURE_MS;
}

static void
fail(struct lookup *lookup, int status)
{
	int error = error_of(status);

	set_error(&lookup->result, error, ares_strerror(status));
	lookup->ttl_ms = failure_ttl_ms(error);
}

static struct address
address_of_node(const struct ares_addrinfo_node *node)
{
	struct address address = {.family = node->ai_family == AF_INET ? 4 : 6};

	if (address.family == 4)
		memcpy(address.bytes, &((const struct sockaddr_in *)(const void *)node->ai_addr)->sin_addr, 4);
	else
		memcpy(address.bytes, &((const struct sockaddr_in6 *)(const void *)node->ai_addr)->sin6_addr, 16);
	return address;
}

static const struct ares_addrinfo_node *
next_of_family(const struct ares_addrinfo_node *node, int family)
{
	while (node != NULL && node->ai_family != family)
		node = node->ai_next;
	return node;
}

/* The families in turn, so that a broken one costs one try (RFC 8305, section 4), beginning with what sorted first. */
static void
take_addresses(struct resolved *result, const struct ares_addrinfo_node *nodes)
{
	int family = nodes->ai_family, other = family == AF_INET ? AF_INET6 : AF_INET;
	const struct ares_addrinfo_node *turn = nodes, *next = next_of_family(nodes, other);

	while ((turn != NULL || next != NULL) && result->count < RESOLVER_MAX_ADDRESSES) {
		const struct ares_addrinfo_node *rest = turn;
		if (turn != NULL) {
			result->addresses[result->count++] = address_of_node(turn);
			rest = next_of_family(turn->ai_next, turn->ai_family);
		}
		turn = next;
		next = rest;
	}
}

static int64_t
ttl_of(const struct ares_addrinfo *info)
{
	int64_t seconds = TTL_MAX_MS / 1000;

	for (const struct ares_addrinfo_node *node = info->nodes; node != NULL; node = node->ai_next)
		if (node->ai_ttl < seconds)
			seconds = node->ai_ttl;
	for (const struct ares_addrinfo_cname *cname = info->cnames; cname != NULL; cname = cname->next)
		if (cname->ttl < seconds)
			seconds = cname->ttl;
	return seconds * 1000 < TTL_MIN_MS ? TTL_MIN_MS : seconds * 1000;
}

/* Fills the look-up with what c-ares found, which is given back to it. */
static void
conclude(struct lookup *lookup, int status, struct ares_addrinfo *info)
{
	lookup->result = (struct resolved){0};
	if (status == ARES_SUCCESS && (info == NULL || info->nodes == NULL))
		status = ARES_ENODATA;
	if (status == ARES_SUCCESS) {
		take_addresses(&lookup->result, info->nodes);
		lookup->ttl_ms = ttl_of(info);
	} else {
		fail(lookup, status);
	}
	if (info != NULL)
		ares_freeaddrinfo(info);
}

static void
on_answer(void *context, int status, int timeouts, struct ares_addrinfo *info)
{
	struct lookup *lookup = context;

	(void)timeouts;
	conclude(lookup, status, info);
	lookup->resolver->in_flight--;
	list_push_back(&lookup->resolver->finished, &lookup->node);
}

static void
on_hosts_answer(void *context, int status, int timeouts, struct ares_addrinfo *info)
{
	(void)timeouts;
	conclude(context, status, info);
}

/* ---- asking c-ares */

static const struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};

/* localhost or a name below it. */
static bool
is_localhost(const struct lookup *lookup)
{
	static const char name[] = "localhost";
	size_t bytes = sizeof name - 1;

	if (lookup->host_bytes < bytes || !text_equal_nocase(lookup->host + lookup->host_bytes - bytes, name))
		return false;
	return lookup->host_bytes == bytes || lookup->host[lookup->host_bytes - bytes - 1] == '.';
}

/* RFC 6761, section 6.3: never asked of a server. */
static void
answer_localhost(struct resolver *resolver, struct lookup *lookup)
{
	/* With the hosts file alone it calls back before it returns. */
	ares_getaddrinfo(resolver->hosts_channel, lookup->host, NULL, &hints, on_hosts_answer, lookup);
	if (lookup->result.error != 0 || lookup->result.count == 0)
		lookup->result = (struct resolved){.count = 2, .addresses = {{6, {[15] = 1}}, {4, {127, 0, 0, 1}}}};
	lookup->ttl_ms = TTL_MIN_MS;
	list_push_back(&resolver->finished, &lookup->node);
}

static void
start(struct resolver *resolver, struct lookup *lookup)
{
	if (is_localhost(lookup)) {
		answer_localhost(resolver, lookup);
		return;
	}
	resolver->in_flight++;
	ares_getaddrinfo(resolver->channel, lookup->host, NULL, &hints, on_answer, lookup);
}

static void
lookup_drop_locked(struct resolver *resolver, struct lookup *lookup)
{
	lock_assert_held(&resolver->lock);
	HASH_DEL(resolver->lookups, lookup);
	free(lookup);
}

/* The next one that somebody still asks for, or NULL. */
static struct lookup *
take_waiting(struct resolver *resolver)
{
	struct lookup *lookup = NULL;
	struct list *node;

	lock_take(&resolver->lock);
	while (lookup == NULL && (node = list_pop_front(&resolver->waiting)) != NULL) {
		lookup = container_of(node, struct lookup, node);
		if (list_empty(&lookup->queries)) {
			lookup_drop_locked(resolver, lookup);
			lookup = NULL;
		}
	}
	lock_drop(&resolver->lock);
	return lookup;
}

static void
start_waiting(struct resolver *resolver)
{
	struct lookup *lookup;

	for (int started = 0; started < START_PER_TURN && resolver->in_flight < IN_FLIGHT_MAX; started++) {
		if ((lookup = take_waiting(resolver)) == NULL)
			return;
		start(resolver, lookup);
	}
	/* There may be more: once more, after the sockets had their turn. */
	if (resolver->in_flight < IN_FLIGHT_MAX)
		ev_async_send(resolver->loop, &resolver->wake);
}

/* ---- answering */

/* Keeps the answer and tells everybody. The look-up is gone after it. */
static void
deliver(struct resolver *resolver, struct lookup *lookup)
{
	struct list *node;

	if (lookup->result.error != 0)
		metric_add(METRIC_DNS_FAILED, 1);
	lock_take(&resolver->lock);
	cache_store_locked(resolver, lookup);
	/* Nobody joins it from here on, so that its queries only become fewer. */
	HASH_DEL(resolver->lookups, lookup);
	while ((node = list_pop_front(&lookup->queries)) != NULL) {
		struct resolver_query *query = container_of(node, struct resolver_query, node);
		query->lookup = NULL;
		resolver->answering = query;
		lock_drop(&resolver->lock);
		query->answer(query, &lookup->result);
		query = NULL; /* may be gone */
		lock_take(&resolver->lock);
		resolver->answering = NULL;
		cond_broadcast(&resolver->answered);
	}
	lock_drop(&resolver->lock);
	free(lookup);
}

static void
deliver_finished(struct resolver *resolver)
{
	struct list *node;

	while ((node = list_pop_front(&resolver->finished)) != NULL)
		deliver(resolver, container_of(node, struct lookup, node));
}

/* Whatever happened: hand over what is done, fill the places that became free, and tick while there is work. */
static void
proceed(struct resolver *resolver)
{
	deliver_finished(resolver);
	start_waiting(resolver);
	deliver_finished(resolver);
	if (resolver->in_flight == 0)
		ev_timer_stop(resolver->loop, &resolver->tick);
	else if (!ev_is_active(&resolver->tick))
		ev_timer_again(resolver->loop, &resolver->tick);
}

/* ---- the loop */

static void
on_socket(struct ev_loop *loop, ev_io *io, int events)
{
	struct resolver *resolver = ((struct watch *)io->data)->resolver;
	int fd = io->fd;

	(void)loop;
	/* The watch may be gone after it. */
	ares_process_fd(
		resolver->channel, events & EV_READ ? fd : ARES_SOCKET_BAD, events & EV_WRITE ? fd : ARES_SOCKET_BAD);
	proceed(resolver);
}

/* Not armed by ares_timeout, which walks through all that is in flight on every call; this only visits what is due. */
static void
on_tick(struct ev_loop *loop, ev_timer *timer, int events)
{
	struct resolver *resolver = timer->data;

	(void)loop, (void)events;
	ares_process_fd(resolver->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	proceed(resolver);
}

static void
on_wake(struct ev_loop *loop, ev_async *async, int events)
{
	struct resolver *resolver = async->data;

	(void)events;
	lock_take(&resolver->lock);
	bool stopping = resolver->stopping;
	lock_drop(&resolver->lock);
	if (stopping)
		ev_break(loop, EVBREAK_ALL);
	else
		proceed(resolver);
}

static struct watch *
find_watch(struct resolver *resolver, ares_socket_t fd)
{
	LIST_FOR_EACH(node, &resolver->watches) {
		struct watch *watch = container_of(node, struct watch, node);
		if (watch->io.fd == fd)
			return watch;
	}
	return NULL;
}

static struct watch *
add_watch(struct resolver *resolver, ares_socket_t fd)
{
	struct watch *watch = calloc(1, sizeof *watch);

	/* Without memory the socket stays unheard, and what was asked through it runs into its time-out. */
	if (watch == NULL)
		return NULL;
	watch->resolver = resolver;
	ev_io_init(&watch->io, on_socket, fd, 0);
	watch->io.data = watch;
	list_push_back(&resolver->watches, &watch->node);
	return watch;
}

/* c-ares opened a socket, waits for other events on it, or (with neither) is about to close it. */
static void
on_socket_state(void *context, ares_socket_t fd, int readable, int writable)
{
	struct resolver *resolver = context;
	struct watch *watch = find_watch(resolver, fd);

	if (watch == NULL && (readable || writable))
		watch = add_watch(resolver, fd);
	if (watch == NULL)
		return;
	ev_io_stop(resolver->loop, &watch->io);
	if (readable || writable) {
		ev_io_set(&watch->io, fd, (readable ? EV_READ : 0) | (writable ? EV_WRITE : 0));
		ev_io_start(resolver->loop, &watch->io);
		return;
	}
	list_remove(&watch->node);
	free(watch);
}

/* Answers all that is left. No more questions come in. */
static void
cancel_all(struct resolver *resolver)
{
	struct lookup *lookup;

	ares_destroy(resolver->channel); /* calls back for what is in flight */
	resolver->channel = NULL;
	while ((lookup = take_waiting(resolver)) != NULL) {
		conclude(lookup, ARES_ECANCELLED, NULL);
		list_push_back(&resolver->finished, &lookup->node);
	}
	deliver_finished(resolver);
}

static void *
run(void *context)
{
	struct resolver *resolver = context;

	ev_run(resolver->loop, 0);
	cancel_all(resolver);
	return NULL;
}

/* ---- life */

static int
open_channel(struct resolver *resolver, const char *servers)
{
	struct ares_options options = {
		.timeout = TRY_TIMEOUT_MS,
		.tries = TRIES,
		.sock_state_cb = on_socket_state,
		.sock_state_cb_data = resolver,
	};
	int mask = ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB;

	/* Servers of one's own do not know this machine's search domains. */
	if (servers != NULL)
		mask |= ARES_OPT_DOMAINS;
	int status = ares_init_options(&resolver->channel, &options, mask);
	if (status == ARES_SUCCESS && servers != NULL)
		status = ares_set_servers_ports_csv(resolver->channel, servers);
	return status;
}

static int
open_hosts_channel(struct resolver *resolver)
{
	char lookups[] = "f";
	struct ares_options options = {.lookups = lookups};

	return ares_init_options(&resolver->hosts_channel, &options, ARES_OPT_LOOKUPS);
}

static int
open_channels(struct resolver *resolver, const char *servers)
{
	int status = open_channel(resolver, servers);

	if (status == ARES_SUCCESS)
		status = open_hosts_channel(resolver);
	if (status == ARES_SUCCESS)
		return 0;
	return status == ARES_ENOMEM ? -ENOMEM : -EINVAL;
}

static int
open_loop(struct resolver *resolver)
{
	unsigned flags = EVFLAG_NOENV;

	if (ev_supported_backends() & EVBACKEND_EPOLL)
		flags |= EVBACKEND_EPOLL;
	resolver->loop = ev_loop_new(flags);
	if (resolver->loop == NULL)
		return -ENOMEM;
	ev_async_init(&resolver->wake, on_wake);
	resolver->wake.data = resolver;
	ev_async_start(resolver->loop, &resolver->wake);
	ev_init(&resolver->tick, on_tick);
	resolver->tick.repeat = TICK_SECONDS;
	resolver->tick.data = resolver;
	return 0;
}

static struct resolver *
resolver_alloc(void)
{
	struct resolver *resolver = calloc(1, sizeof *resolver);

	if (resolver == NULL)
		return NULL;
	lock_init(&resolver->lock);
	cond_init(&resolver->answered);
	list_init(&resolver->watches);
	list_init(&resolver->finished);
	list_init(&resolver->waiting);
	list_init(&resolver->used);
	resolver->generation = GENERATION_LITERAL;
	return resolver;
}

/* With the thread ended, or never started. */
static void
resolver_release(struct resolver *resolver)
{
	if (resolver->channel != NULL)
		ares_destroy(resolver->channel);
	if (resolver->hosts_channel != NULL)
		ares_destroy(resolver->hosts_channel);
	if (resolver->loop != NULL)
		ev_loop_destroy(resolver->loop);
	while (resolver->cache != NULL)
		cache_drop_locked(resolver, resolver->cache);
	cond_release(&resolver->answered);
	lock_release(&resolver->lock);
	free(resolver);
	ares_library_cleanup();
}

int
resolver_new(const char *servers, struct resolver **ret)
{
	struct resolver *resolver;
	int error;

	if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS)
		return -ENOMEM;
	if ((resolver = resolver_alloc()) == NULL) {
		ares_library_cleanup();
		return -ENOMEM;
	}
	error = open_loop(resolver);
	if (error == 0)
		error = open_channels(resolver, servers);
	if (error == 0)
		error = thread_start(&resolver->thread, "resolver", run, resolver);
	if (error != 0)
		resolver_release(resolver);
	else
		*ret = resolver;
	return error;
}

void
resolver_free(struct resolver *resolver)
{
	if (resolver == NULL)
		return;
	lock_take(&resolver->lock);
	resolver->stopping = true;
	lock_drop(&resolver->lock);
	ev_async_send(resolver->loop, &resolver->wake);
	thread_join(resolver->thread);
	resolver_release(resolver);
}

/* ---- questions */

/* What needs no look-up: addresses, and what is too long to be a name. */
static bool
answer_at_once(const char *host, size_t host_bytes, struct resolved *ret)
{
	struct resolved result = {.generation = GENERATION_LITERAL};

	if (host_bytes == 0 || host_bytes > HOST_MAX)
		set_error(&result, -EHOSTUNREACH, "no host name is empty or longer than 253 characters");
	else if (address_parse(host, &result.addresses[0]) == 0)
		result.count = 1;
	else
		return false;
	*ret = result;
	return true;
}

/* From the cache, or, for those who ask once more while all is being cancelled, with that. */
static bool
answer_now_locked(struct resolver *resolver, const char *host, size_t host_bytes, struct resolved *ret)
{
	struct cached *cached = cache_find_locked(resolver, host, host_bytes);

	if (resolver->stopping) {
		*ret = (struct resolved){.generation = GENERATION_LITERAL};
		set_error(ret, -ECANCELED, ares_strerror(ARES_ECANCELLED));
		return true;
	}
	if (cached == NULL || cached->expires_mono_ms <= mono_ms())
		return false;
	cache_touch_locked(resolver, cached);
	*ret = cached->result;
	return true;
}

static struct lookup *
lookup_add_locked(struct resolver *resolver, const char *host, size_t host_bytes)
{
	struct lookup *lookup = calloc(1, sizeof *lookup + host_bytes + 1);

	if (lookup == NULL)
		return NULL;
	lookup->resolver = resolver;
	lookup->host_bytes = host_bytes;
	memcpy(lookup->host, host, host_bytes + 1);
	list_init(&lookup->queries);
	HASH_ADD_KEYPTR(hh, resolver->lookups, lookup->host, host_bytes, lookup);
	if (lookup->hh.tbl == NULL) {
		free(lookup);
		return NULL;
	}
	list_push_back(&resolver->waiting, &lookup->node);
	return lookup;
}

/* Joins the look-up for this name, or begins one (*ret_begun). Returns 0 or -ENOMEM. */
static int
ask_locked(
	struct resolver *resolver, const char *host, size_t host_bytes, struct resolver_query *query, bool *ret_begun)
{
	struct lookup *lookup;

	HASH_FIND(hh, resolver->lookups, host, host_bytes, lookup);
	*ret_begun = lookup == NULL;
	if (lookup == NULL)
		lookup = lookup_add_locked(resolver, host, host_bytes);
	if (lookup == NULL)
		return -ENOMEM;
	query->lookup = lookup;
	list_push_back(&lookup->queries, &query->node);
	return 0;
}

int
resolver_lookup(struct resolver *resolver, const char *host, struct resolver_query *query, struct resolved *ret)
{
	size_t host_bytes = strnlen(host, HOST_MAX + 1);
	bool begun = false;
	int error = 0;

	if (answer_at_once(host, host_bytes, ret))
		return 1;
	lock_take(&resolver->lock);
	bool cached = answer_now_locked(resolver, host, host_bytes, ret);
	if (!cached)
		error = ask_locked(resolver, host, host_bytes, query, &begun);
	lock_drop(&resolver->lock);
	if (error != 0)
		return error;
	metric_add(cached ? METRIC_DNS_HITS : begun ? METRIC_DNS_ASKED : METRIC_DNS_JOINED, 1);
	if (begun)
		ev_async_send(resolver->loop, &resolver->wake);
	return cached;
}

void
resolver_cancel(struct resolver *resolver, struct resolver_query *query)
{
	lock_take(&resolver->lock);
	if (query->lookup != NULL) {
		list_remove(&query->node);
		query->lookup = NULL;
	}
	while (resolver->answering == query)
		cond_wait(&resolver->answered, &resolver->lock);
	lock_drop(&resolver->lock);
}

size_t
resolver_cached(struct resolver *resolver)
{
	lock_take(&resolver->lock);
	size_t count = HASH_COUNT(resolver->cache);
	lock_drop(&resolver->lock);
	return count;
}

const char *
resolver_version(void)
{
	return ares_version(NULL);
}
