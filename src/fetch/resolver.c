/*
 * The resolver's thread: it owns the libev loop, the c-ares channels and their sockets; nobody else touches them.
 * Whatever askers and this thread share is in resolver_lookups.c, under its lock.
 *
 * A look-up is taken from there into c-ares, which is kept from holding more than it can walk through; answered, it
 * goes on the thread's own list of the finished, as c-ares may call back from within a call into it, and is delivered
 * from there. Rules that need no server are in resolved.c.
 */
#include "fetch/resolver.h"

#include <ares.h>
#include <errno.h>
#include <ev.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/lock.h"
#include "fetch/resolved.h"
#include "fetch/resolver_lookups.h"

#define CACHE_MAX 10000
#define START_PER_TURN 32 /* then answers are read, or their socket's buffer would overflow */

#define STRINGIFY(number) STRINGIFY_(number)
#define STRINGIFY_(number) #number
#define TOO_MANY "the name has over " STRINGIFY(RESOLVER_MAX_ADDRESSES) " addresses"

#define TRY_TIMEOUT_MS 2000 /* c-ares doubles it with each try */
#define TRIES 3
#define TICK_SECONDS 0.1

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
	struct lookups lookups; /* has its lock */

	/* The thread's own. */
	ares_channel channel, hosts_channel; /* the second reads the hosts file alone */
	ev_timer tick;
	struct list watches;
	struct list finished;
	size_t in_flight;
};

/* ---- what c-ares says */

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

static void
fail(struct lookup *lookup, int status)
{
	resolved_set_error(&lookup->result, error_of(status), ares_strerror(status));
	lookup->ttl_ms = resolved_ttl_ms(&lookup->result, 0);
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

/* All of them or none: one that was left out would not be seen by the guard, which refuses a name for a single bad one. */
static void
take_addresses(struct resolved *result, const struct ares_addrinfo_node *nodes)
{
	struct address sorted[RESOLVER_MAX_ADDRESSES];
	size_t count = 0;

	for (const struct ares_addrinfo_node *node = nodes; node != NULL; node = node->ai_next) {
		if (count == RESOLVER_MAX_ADDRESSES) {
			resolved_set_error(result, -E2BIG, TOO_MANY);
			return;
		}
		sorted[count++] = address_of_node(node);
	}
	resolved_set_addresses(result, sorted, count);
}

/* The shortest time of all that led to the addresses, in seconds. */
static int64_t
ttl_of(const struct ares_addrinfo *info)
{
	int64_t seconds = info->nodes->ai_ttl;

	for (const struct ares_addrinfo_node *node = info->nodes; node != NULL; node = node->ai_next)
		if (node->ai_ttl < seconds)
			seconds = node->ai_ttl;
	for (const struct ares_addrinfo_cname *cname = info->cnames; cname != NULL; cname = cname->next)
		if (cname->ttl < seconds)
			seconds = cname->ttl;
	return seconds;
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
		lookup->ttl_ms = resolved_ttl_ms(&lookup->result, ttl_of(info));
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

/* RFC 6761, section 6.3: never asked of a server. */
static void
answer_localhost(struct resolver *resolver, struct lookup *lookup)
{
	/* With the hosts file alone it calls back before it returns. */
	ares_getaddrinfo(resolver->hosts_channel, lookup->host, NULL, &hints, on_hosts_answer, lookup);
	if (lookup->result.error != 0 || lookup->result.count == 0)
		resolved_set_loopback(&lookup->result);
	lookup->ttl_ms = resolved_ttl_ms(&lookup->result, 0);
	list_push_back(&resolver->finished, &lookup->node);
}

static void
start(struct resolver *resolver, struct lookup *lookup)
{
	lookup->resolver = resolver;
	if (resolved_is_localhost(lookup->host, lookup->host_bytes)) {
		answer_localhost(resolver, lookup);
		return;
	}
	resolver->in_flight++;
	ares_getaddrinfo(resolver->channel, lookup->host, NULL, &hints, on_answer, lookup);
}

/* c-ares cannot be told to forget a question, so those that nobody asks any more have a bound of their own: they do not
 * keep others waiting. */
static bool
has_room(struct resolver *resolver)
{
	return resolver->in_flight < RESOLVER_MAX_ABANDONED + RESOLVER_MAX_IN_FLIGHT &&
		resolver->in_flight < RESOLVER_MAX_IN_FLIGHT + lookups_abandoned(&resolver->lookups);
}

static void
start_waiting(struct resolver *resolver)
{
	struct lookup *lookup;

	for (int started = 0; started < START_PER_TURN && has_room(resolver); started++) {
		if ((lookup = lookups_take(&resolver->lookups)) == NULL)
			return;
		start(resolver, lookup);
	}
	/* There may be more: once more, after the sockets had their turn. */
	if (has_room(resolver))
		ev_async_send(resolver->loop, &resolver->wake);
}

/* ---- answering */

static void
deliver_finished(struct resolver *resolver)
{
	struct list *node;

	while ((node = list_pop_front(&resolver->finished)) != NULL)
		lookups_deliver(&resolver->lookups, container_of(node, struct lookup, node));
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
	if (lookups_stopped(&resolver->lookups))
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
	while ((lookup = lookups_take(&resolver->lookups)) != NULL) {
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
	char lookups[] = "fb"; /* the hosts file, then the servers */
	struct ares_options options = {
		.timeout = TRY_TIMEOUT_MS,
		.tries = TRIES,
		.sock_state_cb = on_socket_state,
		.sock_state_cb_data = resolver,
	};
	int mask = ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB;

	/* Servers of one's own do not know this machine's search domains; its hosts file counts, whatever nsswitch.conf says. */
	if (servers != NULL) {
		options.lookups = lookups;
		mask |= ARES_OPT_DOMAINS | ARES_OPT_LOOKUPS;
	}
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
	lookups_init(&resolver->lookups, CACHE_MAX);
	list_init(&resolver->watches);
	list_init(&resolver->finished);
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
	lookups_release(&resolver->lookups);
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
	lookups_stop(&resolver->lookups);
	ev_async_send(resolver->loop, &resolver->wake);
	thread_join(resolver->thread);
	resolver_release(resolver);
}

/* ---- questions */

int
resolver_lookup(struct resolver *resolver, const char *host, struct resolver_query *query, struct resolved *ret)
{
	bool begun = false;

	if (resolved_at_once(host, strnlen(host, RESOLVED_HOST_MAX + 1), ret))
		return 1;
	int rc = lookups_ask(&resolver->lookups, host, query, ret, &begun);
	if (begun)
		ev_async_send(resolver->loop, &resolver->wake);
	return rc;
}

void
resolver_cancel(struct resolver *resolver, struct resolver_query *query)
{
	lookups_cancel(&resolver->lookups, query);
}

void
resolver_gauges(struct resolver *resolver, struct resolver_gauges *ret)
{
	lookups_gauges(&resolver->lookups, ret);
}

const char *
resolver_version(void)
{
	return ares_version(NULL);
}
