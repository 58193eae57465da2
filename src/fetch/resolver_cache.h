/*
 * The answers that are still good, by name; the least recently used goes when there are too many. It has no lock and no
 * clock of its own: its owner guards it and tells the time.
 *
 * An answer stays after its time until it is the least recently used: with it goes the generation that tells an answer
 * that changed from one that was merely asked for again.
 */
#ifndef FETCHPOOL_FETCH_RESOLVER_CACHE_H
#define FETCHPOOL_FETCH_RESOLVER_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "fetch/resolver.h"

struct resolver_cache {
	struct cached *names;
	struct list used; /* the least recently used first */
	size_t capacity;
	uint64_t generation; /* the last one given */
};

/* capacity: so many names, at least 1. */
void resolver_cache_init(struct resolver_cache *cache, size_t capacity);
void resolver_cache_release(struct resolver_cache *cache);

/* The name's answer when there is one whose time is not up. Counts as a use. */
bool resolver_cache_find(
	struct resolver_cache *cache, const char *host, size_t host_bytes, int64_t now_mono_ms, struct resolved *ret);

/*
 * Gives the answer its generation and keeps it for the time; a ttl_ms of 0 only does the first. It may also be forgotten
 * for lack of memory.
 */
void resolver_cache_store(struct resolver_cache *cache, const char *host, size_t host_bytes, int64_t ttl_ms,
	int64_t now_mono_ms, struct resolved *resolved);

/* Number of names, those whose time is up among them. */
size_t resolver_cache_count(const struct resolver_cache *cache);

#endif
