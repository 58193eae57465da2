/* See pool.h. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "fetch/pool.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/lock.h"
#include "base/reserve.h"
#include "fetch/curl_memory.h"
#include "fetch/ev_memory.h"
#include "fetch/loop.h"
#include "fetch/resolver.h"
#include "fetch/url.h"

struct pool {
	struct pool_settings settings;
	struct pool_hooks hooks;
	struct resolver *resolver;
	struct loop **loops;
	char curl_version[160];
	struct lock lock; /* guards policy and the pointer to the resolver */
	struct egress_policy *policy;
};

/* Not curl_version(): what it asks of its LDAP library may look this host's name up, and wait for it. */
static void
name_libraries(struct pool *pool)
{
	const curl_version_info_data *info = curl_version_info(CURLVERSION_NOW);

	snprintf(pool->curl_version, sizeof pool->curl_version, "%s %s", info->version,
		info->ssl_version == NULL ? "" : info->ssl_version);
}

int
pool_new(const struct pool_settings *settings, const struct pool_hooks *hooks, struct pool **ret)
{
	struct pool *pool = calloc(1, sizeof *pool);

	if (pool == NULL)
		return -ENOMEM;
	if (reserve_init() != 0 || curl_memory_init() != 0) {
		free(pool);
		return -ENOMEM;
	}
	ev_memory_init();
	name_libraries(pool);
	pool->settings = *settings;
	pool->hooks = *hooks;
	pool->policy = egress_policy_ref(settings->policy);
	lock_init(&pool->lock);
	pool->loops = calloc(settings->loops, sizeof(struct loop *));
	int error = pool->loops == NULL ? -ENOMEM : resolver_new(settings->dns_servers, &pool->resolver);
	for (unsigned i = 0; error == 0 && i < settings->loops; i++)
		error = loop_new(i, &pool->settings, &pool->hooks, pool->resolver, &pool->loops[i]);
	if (error != 0) {
		pool_free(pool);
		return error;
	}
	*ret = pool;
	return 0;
}

int
pool_start(struct pool *pool)
{
	int error = 0;

	for (unsigned i = 0; error == 0 && i < pool->settings.loops; i++)
		error = loop_start(pool->loops[i]);
	return error;
}

void
pool_wake(struct pool *pool, unsigned loop)
{
	loop_wake(pool->loops[loop]);
}

void
pool_wake_all(struct pool *pool)
{
	for (unsigned i = 0; i < pool->settings.loops; i++)
		loop_wake(pool->loops[i]);
}

unsigned
pool_turns(const struct pool *pool, unsigned loop)
{
	return loop_turns(pool->loops[loop]);
}

void
pool_cancel(struct pool *pool, struct job *job)
{
	loop_cancel(pool->loops[job->loop], job);
}

void
pool_set_policy(struct pool *pool, struct egress_policy *policy)
{
	lock_take(&pool->lock);
	struct egress_policy *old = pool->policy;
	pool->policy = egress_policy_ref(policy);
	lock_drop(&pool->lock);
	egress_policy_unref(old);
	for (unsigned i = 0; i < pool->settings.loops; i++)
		loop_set_policy(pool->loops[i], policy);
}

void
pool_stop(struct pool *pool)
{
	for (unsigned i = 0; i < pool->settings.loops; i++)
		loop_stop(pool->loops[i]);
	lock_take(&pool->lock);
	struct resolver *resolver = pool->resolver;
	pool->resolver = NULL;
	lock_drop(&pool->lock);
	if (resolver != NULL)
		resolver_free(resolver); /* which answers the checks that still wait */
}

void
pool_free(struct pool *pool)
{
	if (pool == NULL)
		return;
	for (unsigned i = 0; pool->loops != NULL && i < pool->settings.loops; i++)
		loop_free(pool->loops[i]);
	free(pool->loops);
	if (pool->resolver != NULL)
		resolver_free(pool->resolver);
	egress_policy_unref(pool->policy);
	lock_release(&pool->lock);
	free(pool);
	curl_global_cleanup();
}

void
pool_name_gauges(struct pool *pool, struct resolver_gauges *ret)
{
	*ret = (struct resolver_gauges){0};
	lock_take(&pool->lock);
	if (pool->resolver != NULL)
		resolver_gauges(pool->resolver, ret);
	lock_drop(&pool->lock);
}

const char *
pool_curl_version(const struct pool *pool)
{
	return pool->curl_version;
}

const char *
pool_resolver_version(void)
{
	return resolver_version();
}

/* ---- what the guard says */

struct check_state {
	struct arena arena;
	struct url url;
	struct resolver_query query;
	struct pool_check *check;
};

static void
judge(struct check_state *state, const struct resolved *resolved)
{
	struct pool_check *check = state->check;

	check->address_count = resolved->count;
	memcpy(check->addresses, resolved->addresses, resolved->count * sizeof *check->addresses);
	if (resolved->error != 0)
		check->message = strdup(resolved->message);
	else
		for (size_t i = 0; i < resolved->count && check->verdict.allowed; i++)
			check->verdict = egress_check_address(
				check->policy, state->url.origin.host, state->url.origin.port, &resolved->addresses[i]);
	struct arena arena = state->arena;
	arena_release(&arena);
	check->done(check);
}

static void
on_check_resolved(struct resolver_query *query, const struct resolved *resolved)
{
	judge(container_of(query, struct check_state, query), resolved);
}

int
pool_check_url(struct pool *pool, const char *url, struct pool_check *check, const char **ret_why)
{
	struct arena arena = {0};
	struct check_state *state = arena_alloc(&arena, sizeof *state);
	struct resolved resolved = {0};

	int error = state == NULL ? -ENOMEM : url_parse(&arena, url, &state->url, ret_why);
	if (error != 0) {
		arena_release(&arena);
		return error;
	}
	state->arena = arena;
	state->check = check;
	state->query.answer = on_check_resolved;
	lock_take(&pool->lock);
	check->policy = egress_policy_ref(pool->policy);
	lock_drop(&pool->lock);
	check->verdict = egress_check_host(check->policy, state->url.origin.host, state->url.origin.port);
	if (!check->verdict.allowed) {
		resolved.count = address_parse(state->url.origin.host, &resolved.addresses[0]) == 0;
		judge(state, &resolved);
		return 0;
	}
	lock_take(&pool->lock);
	int rc = pool->resolver == NULL
		? -ECANCELED
		: resolver_lookup(pool->resolver, state->url.origin.host, &state->query, &resolved);
	lock_drop(&pool->lock);
	if (rc == 1)
		judge(state, &resolved);
	if (rc >= 0)
		return 0;
	egress_policy_unref(check->policy);
	check->policy = NULL;
	arena = state->arena;
	arena_release(&arena);
	return rc;
}
