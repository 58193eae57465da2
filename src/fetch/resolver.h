/*
 * Names to addresses, outside curl: one thread with its own libev loop and a c-ares channel, shared by all fetch loops.
 * Equal look-ups in flight are joined into one; answers are cached by their TTL (clamped), failures for a short while;
 * the cache is bounded. /etc/hosts and resolv.conf are honoured as c-ares reads them; localhost and names below it are
 * loopback by RFC 6761 when the hosts file does not say so. The egress guard is not applied here.
 */
#ifndef FETCHPOOL_FETCH_RESOLVER_H
#define FETCHPOOL_FETCH_RESOLVER_H

#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "fetch/egress.h"

#define RESOLVER_MAX_ADDRESSES 64   /* of one name; with more it cannot be fetched from */
#define RESOLVER_MAX_IN_FLIGHT 4096 /* look-ups; further ones wait their turn, first come, first served */
#define RESOLVER_MAX_ABANDONED 8192 /* further look-ups in flight that nobody asks for any more */
#define RESOLVER_MAX_TRIED 16       /* the first so many are connected to, IPv6 and IPv4 in turn */

struct resolver;

struct resolved {
	/* 0, or -EHOSTUNREACH: no such name or no address; -EAGAIN: the servers failed; -E2BIG: too many addresses;
	 * -ETIMEDOUT; -ENOMEM; -ECANCELED */
	int error;
	char message[120];   /* what c-ares says, when error */
	uint64_t generation; /* differs whenever the answer for the name differs from the one before it; never 0 */
	size_t count;
	struct address addresses[RESOLVER_MAX_ADDRESSES]; /* in the order to try (RFC 6724 as c-ares sorts) */
};

/*
 * A question: all zeroes but for answer and context, owned by the asker, who keeps it alive until answer was called or
 * resolver_cancel returned; it may be asked again, or freed, from within answer.
 * answer runs on the resolver's thread without any lock held; it must not block.
 */
struct resolver_query {
	struct list node; /* the resolver's */
	void (*answer)(struct resolver_query *query, const struct resolved *resolved);
	void *context;
	void *lookup; /* the resolver's */
};

/*
 * servers: NULL for the system's, else addresses with or without a port, IPv6 in brackets, with commas between: "127.0.0.1:5353,[::1]".
 * They are asked in this order, 3 times at most, and have 2, 4 and 8 seconds for an answer. Returns 0 or -errno.
 */
int resolver_new(const char *servers, struct resolver **ret) __attribute__((warn_unused_result));

/* Ends the thread. Queries still waiting are answered with -ECANCELED. */
void resolver_free(struct resolver *resolver);

/*
 * Asks. When the answer is cached (or the name is an address literal) fills *ret and returns 1 at once, and the query
 * is not used; returns 0 when answer will be called; -ENOMEM.
 */
int resolver_lookup(struct resolver *resolver, const char *host, struct resolver_query *query, struct resolved *ret)
	__attribute__((warn_unused_result));

/* After it answer is not called any more; when answer is running at that moment on the resolver's thread, waits for it.
 * Never from within answer. */
void resolver_cancel(struct resolver *resolver, struct resolver_query *query);

/* For /metrics: cached names; look-ups that the servers were asked, or are about to be; and those that wait for one to end, as there
 * are RESOLVER_MAX_IN_FLIGHT. */
struct resolver_gauges {
	size_t cached, in_flight, waiting;
};
void resolver_gauges(struct resolver *resolver, struct resolver_gauges *ret);

/* The version of c-ares. */
const char *resolver_version(void);

#endif
