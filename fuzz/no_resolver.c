/*
 * The resolver's interface without a resolver: every name is unknown, at once. Linked before the library it takes the
 * place of src/fetch/resolver.c, so that no input can make a target ask a name server.
 */
#include "fetch/resolver.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fetch/resolved.h"

struct resolver {
	char unused;
};

int
resolver_new(const char *servers, struct resolver **ret)
{
	(void)servers;
	*ret = calloc(1, sizeof **ret);
	return *ret == NULL ? -ENOMEM : 0;
}

void
resolver_free(struct resolver *resolver)
{
	free(resolver);
}

int
resolver_lookup(struct resolver *resolver, const char *host, struct resolver_query *query, struct resolved *ret)
{
	(void)resolver, (void)query;
	if (resolved_at_once(host, strnlen(host, RESOLVED_HOST_MAX + 1), ret))
		return 1;
	*ret = (struct resolved){.generation = RESOLVED_FIXED_GENERATION};
	resolved_set_error(ret, -EHOSTUNREACH, "no names are looked up here");
	return 1;
}

void
resolver_cancel(struct resolver *resolver, struct resolver_query *query)
{
	(void)resolver, (void)query;
}

void
resolver_gauges(struct resolver *resolver, struct resolver_gauges *ret)
{
	(void)resolver;
	*ret = (struct resolver_gauges){0};
}

const char *
resolver_version(void)
{
	return "none";
}
