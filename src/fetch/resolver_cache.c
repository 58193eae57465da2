/* See resolver_cache.h. */
#include "fetch/resolver_cache.h"

#include <stdlib.h>
#include <string.h>

#include "fetch/resolved.h"

#define HASH_NONFATAL_OOM 1 /* a node that found no room has hh.tbl NULL */
#include <uthash.h>

struct cached {
	struct list node;
	UT_hash_handle hh;
	struct resolved result;
	int64_t expires_mono_ms;
	size_t host_bytes;
	char host[];
};

void
resolver_cache_init(struct resolver_cache *cache, size_t capacity)
{
	*cache = (struct resolver_cache){.capacity = capacity, .generation = RESOLVED_FIXED_GENERATION};
	list_init(&cache->used);
}

static void
drop(struct resolver_cache *cache, struct cached *cached)
{
	HASH_DEL(cache->names, cached);
	list_remove(&cached->node);
	free(cached);
}

void
resolver_cache_release(struct resolver_cache *cache)
{
	while (cache->names != NULL)
		drop(cache, cache->names);
}

static struct cached *
find(struct resolver_cache *cache, const char *host, size_t host_bytes)
{
	struct cached *cached;

	HASH_FIND(hh, cache->names, host, host_bytes, cached);
	return cached;
}

static void
touch(struct resolver_cache *cache, struct cached *cached)
{
	list_remove(&cached->node);
	list_push_back(&cache->used, &cached->node);
}

/* A new entry without an answer yet; NULL when memory runs out. */
static struct cached *
add(struct resolver_cache *cache, const char *host, size_t host_bytes)
{
	struct cached *cached = calloc(1, sizeof *cached + host_bytes + 1);

	if (cached == NULL)
		return NULL;
	cached->host_bytes = host_bytes;
	memcpy(cached->host, host, host_bytes);
	HASH_ADD_KEYPTR(hh, cache->names, cached->host, cached->host_bytes, cached);
	if (cached->hh.tbl == NULL) {
		free(cached);
		return NULL;
	}
	list_push_back(&cache->used, &cached->node);
	if (HASH_COUNT(cache->names) > cache->capacity)
		drop(cache, container_of(cache->used.next, struct cached, node));
	return cached;
}

bool
resolver_cache_find(
	struct resolver_cache *cache, const char *host, size_t host_bytes, int64_t now_mono_ms, struct resolved *ret)
{
	struct cached *cached = find(cache, host, host_bytes);

	if (cached == NULL || cached->expires_mono_ms <= now_mono_ms)
		return false;
	touch(cache, cached);
	*ret = cached->result;
	return true;
}

void
resolver_cache_store(struct resolver_cache *cache, const char *host, size_t host_bytes, int64_t ttl_ms,
	int64_t now_mono_ms, struct resolved *resolved)
{
	struct cached *cached = find(cache, host, host_bytes);

	if (cached != NULL && resolved_same(&cached->result, resolved))
		resolved->generation = cached->result.generation;
	else
		resolved->generation = ++cache->generation;
	if (ttl_ms == 0)
		return;
	if (cached == NULL)
		cached = add(cache, host, host_bytes);
	if (cached == NULL)
		return;
	touch(cache, cached);
	cached->result = *resolved;
	cached->expires_mono_ms = now_mono_ms + ttl_ms;
}

size_t
resolver_cache_count(const struct resolver_cache *cache)
{
	return HASH_COUNT(cache->names);
}
