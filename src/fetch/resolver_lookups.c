/* See resolver_lookups.h. */
#include "fetch/resolver_lookups.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/metrics.h"
#include "fetch/resolved.h"

void
lookups_init(struct lookups *lookups, size_t cache_capacity)
{
	*lookups = (struct lookups){0};
	lock_init(&lookups->lock);
	cond_init(&lookups->answered);
	list_init(&lookups->waiting);
	resolver_cache_init(&lookups->cache, cache_capacity);
}

void
lookups_release(struct lookups *lookups)
{
	resolver_cache_release(&lookups->cache);
	cond_release(&lookups->answered);
	lock_release(&lookups->lock);
}

/* ---- questions */

/* From the cache, or, for those who ask once more while all is being cancelled, with that. */
static bool
answer_now_locked(struct lookups *lookups, const char *host, size_t host_bytes, struct resolved *ret)
{
	lock_assert_held(&lookups->lock);
	if (lookups->stopped) {
		*ret = (struct resolved){.generation = RESOLVED_FIXED_GENERATION};
		resolved_set_error(ret, -ECANCELED, "DNS query cancelled");
		return true;
	}
	return resolver_cache_find(&lookups->cache, host, host_bytes, mono_ms(), ret);
}

static struct lookup *
add_locked(struct lookups *lookups, const char *host, size_t host_bytes)
{
	struct lookup *lookup = calloc(1, sizeof *lookup + host_bytes + 1);

	if (lookup == NULL)
		return NULL;
	lookup->host_bytes = host_bytes;
	memcpy(lookup->host, host, host_bytes);
	list_init(&lookup->queries);
	HASH_ADD_KEYPTR(hh, lookups->table, lookup->host, host_bytes, lookup);
	if (lookup->hh.tbl == NULL) {
		free(lookup);
		return NULL;
	}
	list_push_back(&lookups->waiting, &lookup->node);
	lookups->waiting_count++;
	return lookup;
}

static bool
is_abandoned(const struct lookup *lookup)
{
	return lookup->taken && list_empty(&lookup->queries);
}

/* Joins the look-up for this name, or begins one (*ret_begun). Returns 0 or -ENOMEM. */
static int
join_locked(struct lookups *lookups, const char *host, size_t host_bytes, struct resolver_query *query, bool *ret_begun)
{
	struct lookup *lookup;
	bool begun = false;

	lock_assert_held(&lookups->lock);
	HASH_FIND(hh, lookups->table, host, host_bytes, lookup);
	if (lookup == NULL) {
		lookup = add_locked(lookups, host, host_bytes);
		begun = true;
	}
	if (lookup == NULL)
		return -ENOMEM;
	lookups->abandoned_count -= is_abandoned(lookup);
	query->lookup = lookup;
	list_push_back(&lookup->queries, &query->node);
	*ret_begun = begun;
	return 0;
}

int
lookups_ask(
	struct lookups *lookups, const char *host, struct resolver_query *query, struct resolved *ret, bool *ret_begun)
{
	size_t host_bytes = strlen(host);
	bool begun = false;
	int error = 0;

	lock_take(&lookups->lock);
	bool cached = answer_now_locked(lookups, host, host_bytes, ret);
	if (!cached)
		error = join_locked(lookups, host, host_bytes, query, &begun);
	lock_drop(&lookups->lock);
	if (error != 0)
		return error;
	metric_add(cached ? METRIC_DNS_HITS : begun ? METRIC_DNS_ASKED : METRIC_DNS_JOINED, 1);
	*ret_begun = begun;
	return cached;
}

void
lookups_cancel(struct lookups *lookups, struct resolver_query *query)
{
	lock_take(&lookups->lock);
	for (;;) {
		if (query->lookup != NULL) {
			list_remove(&query->node);
			lookups->abandoned_count += is_abandoned(query->lookup);
			query->lookup = NULL;
		}
		if (lookups->answering != query)
			break;
		/* The answer that runs may ask again with the same query: look once more when it is over. */
		cond_wait(&lookups->answered, &lookups->lock);
	}
	lock_drop(&lookups->lock);
}

/* ---- answers */

/* A look-up nobody asks for any more, before it was taken. */
static void
drop_locked(struct lookups *lookups, struct lookup *lookup)
{
	HASH_DEL(lookups->table, lookup);
	free(lookup);
}

struct lookup *
lookups_take(struct lookups *lookups)
{
	struct lookup *lookup = NULL;
	struct list *node;

	lock_take(&lookups->lock);
	while (lookup == NULL && (node = list_pop_front(&lookups->waiting)) != NULL) {
		lookup = container_of(node, struct lookup, node);
		lookups->waiting_count--;
		if (list_empty(&lookup->queries)) {
			drop_locked(lookups, lookup);
			lookup = NULL;
		}
	}
	if (lookup != NULL)
		lookup->taken = true;
	lock_drop(&lookups->lock);
	return lookup;
}

size_t
lookups_abandoned(struct lookups *lookups)
{
	lock_take(&lookups->lock);
	size_t count = lookups->abandoned_count;
	lock_drop(&lookups->lock);
	return count;
}

/* Takes the lock off meanwhile. The query may be gone after it. */
static void
answer_locked(struct lookups *lookups, struct resolver_query *query, const struct resolved *result)
{
	lock_assert_held(&lookups->lock);
	query->lookup = NULL;
	lookups->answering = query;
	lock_drop(&lookups->lock);
	query->answer(query, result);
	lock_take(&lookups->lock);
	lookups->answering = NULL;
	cond_broadcast(&lookups->answered);
}

void
lookups_deliver(struct lookups *lookups, struct lookup *lookup)
{
	struct list *node;

	if (lookup->result.error != 0)
		metric_add(METRIC_DNS_FAILED, 1);
	lock_take(&lookups->lock);
	resolver_cache_store(
		&lookups->cache, lookup->host, lookup->host_bytes, lookup->ttl_ms, mono_ms(), &lookup->result);
	/* Nobody joins it from here on, so that its queries only become fewer. */
	HASH_DEL(lookups->table, lookup);
	lookups->abandoned_count -= is_abandoned(lookup);
	lookup->taken = false; /* an answer that runs may cancel the others */
	while ((node = list_pop_front(&lookup->queries)) != NULL)
		answer_locked(lookups, container_of(node, struct resolver_query, node), &lookup->result);
	lock_drop(&lookups->lock);
	free(lookup);
}

/* ---- the rest */

void
lookups_stop(struct lookups *lookups)
{
	lock_take(&lookups->lock);
	lookups->stopped = true;
	lock_drop(&lookups->lock);
}

bool
lookups_stopped(struct lookups *lookups)
{
	lock_take(&lookups->lock);
	bool stopped = lookups->stopped;
	lock_drop(&lookups->lock);
	return stopped;
}

void
lookups_gauges(struct lookups *lookups, struct resolver_gauges *ret)
{
	lock_take(&lookups->lock);
	*ret = (struct resolver_gauges){
		.cached = resolver_cache_count(&lookups->cache),
		.in_flight = HASH_COUNT(lookups->table) - lookups->waiting_count,
		.waiting = lookups->waiting_count,
	};
	lock_drop(&lookups->lock);
}
