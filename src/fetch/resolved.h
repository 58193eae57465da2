/*
 * What an answer is made of and made from: the rules for names that are never asked of a server, and the order of
 * addresses. Pure functions on struct resolved of resolver.h; any thread.
 */
#ifndef FETCHPOOL_FETCH_RESOLVED_H
#define FETCHPOOL_FETCH_RESOLVED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fetch/resolver.h"

#define RESOLVED_HOST_MAX 253       /* bytes of the longest name: RFC 1035, section 3.1 */
#define RESOLVED_FIXED_GENERATION 1 /* of an address literal, which never changes */

/* Makes it a failure. */
void resolved_set_error(struct resolved *resolved, int error, const char *message);

/* True when both say the same; generations do not count. */
bool resolved_same(const struct resolved *a, const struct resolved *b);

/* Answers what needs no look-up: addresses, and what is empty or too long to be a name. False for other hosts. */
bool resolved_at_once(const char *host, size_t host_bytes, struct resolved *ret);

/* True for localhost and names below it, which are never asked of a server (RFC 6761, section 6.3). */
bool resolved_is_localhost(const char *host, size_t host_bytes);

/* Makes it this machine's loopback addresses. */
void resolved_set_loopback(struct resolved *resolved);

/*
 * Makes it the addresses, sorted by preference, but the families in turn, so that a broken one costs one try (RFC 8305,
 * section 4), beginning with the family that sorted first. At most RESOLVER_MAX_ADDRESSES.
 */
void resolved_set_addresses(struct resolved *resolved, const struct address *sorted, size_t count);

/* How long the answer may be cached, which of a success is the servers' word within limits; 0: not at all. */
int64_t resolved_ttl_ms(const struct resolved *resolved, int64_t ttl_seconds);

#endif
