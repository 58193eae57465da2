/* See ways.h. The lists are short, so names are looked for one by one. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "fetch/ways.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct named_store {
	char *name;
	struct tls_store *store;
};

struct named_identity {
	char *name;
	struct tls_identity *identity;
};

struct ways {
	atomic_uint references;
	struct tls_store *usual; /* for specs that name none, and for proxies */
	struct named_store *stores;
	size_t store_count;
	struct named_identity *identities;
	size_t identity_count;
	struct proxy *proxies;
	size_t proxy_count;
	bool insecure_allowed;
};

/* ---- names */

#define FIND(array, count, wanted)                                                                                     \
	for (size_t i = 0; i < (count); i++)                                                                           \
		if (strcmp((array)[i].name, (wanted)) == 0)                                                            \
			return &(array)[i];                                                                            \
	return NULL

static const struct named_store *
find_store(const struct ways *ways, const char *name)
{
	FIND(ways->stores, ways->store_count, name);
}

static const struct named_identity *
find_identity(const struct ways *ways, const char *name)
{
	FIND(ways->identities, ways->identity_count, name);
}

static struct proxy *
find_proxy(const struct ways *ways, const char *name)
{
	FIND(ways->proxies, ways->proxy_count, name);
}

/* ---- making them */

/* Where an item came from, for a message: an option or variable names itself, a line of a file does not. */
static int __attribute__((format(printf, 5, 6)))
refuse(const struct config_list *list, size_t at, const char *option, char **ret_message, const char *format, ...)
{
	const char *source = list->sources[at];
	bool itself = strncmp(source, "--", 2) == 0 || strncmp(source, "FETCHPOOL_", 10) == 0;
	char text[600];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	if (asprintf(ret_message, "%s%s%s: %s", source, itself ? "" : ": ", itself ? "" : option, text) < 0) {
		*ret_message = NULL;
		return -ENOMEM;
	}
	return -EINVAL;
}

/* Each name once, of all that stand before this one. */
static int
check_name(const struct config_list *list, size_t at, const char *option, char **ret_message)
{
	const char *item = list->items[at];
	int length = (int)strcspn(item, "=");

	for (size_t i = 0; i < at; i++)
		if (strncmp(list->items[i], item, (size_t)length + 1) == 0)
			return refuse(list, at, option, ret_message, "the name %.*s is there already (from %s)", length,
				item, list->sources[i]);
	return 0;
}

static int
read_stores(struct ways *ways, const struct config_list *list, const struct ways *old, char **ret_message)
{
	ways->stores = calloc(list->count + 1, sizeof *ways->stores);
	if (ways->stores == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < list->count; i++) {
		char why[TLS_WHY_BYTES];
		const char *file = strchr(list->items[i], '=') + 1;

		int error = check_name(list, i, "origin-ca", ret_message);
		if (error != 0)
			return error;
		struct named_store *made = &ways->stores[ways->store_count++];
		made->name = strndup(list->items[i], strcspn(list->items[i], "="));
		if (made->name == NULL)
			return -ENOMEM;
		const struct named_store *before = old == NULL ? NULL : find_store(old, made->name);
		made->store = tls_store_read(file, before == NULL ? NULL : before->store, why);
		if (made->store == NULL)
			return refuse(list, i, "origin-ca", ret_message, "%s: %s", file, why);
	}
	return 0;
}

static int
read_identities(struct ways *ways, const struct config_list *list, const struct ways *old, char **ret_message)
{
	ways->identities = calloc(list->count + 1, sizeof *ways->identities);
	if (ways->identities == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < list->count; i++) {
		char why[TLS_WHY_BYTES];
		const char *file = strchr(list->items[i], '=') + 1;

		int error = check_name(list, i, "origin-cert", ret_message);
		if (error != 0)
			return error;
		struct named_identity *made = &ways->identities[ways->identity_count++];
		made->name = strndup(list->items[i], strcspn(list->items[i], "="));
		if (made->name == NULL)
			return -ENOMEM;
		const struct named_identity *before = old == NULL ? NULL : find_identity(old, made->name);
		made->identity = tls_identity_read(file, before == NULL ? NULL : before->identity, why);
		if (made->identity == NULL)
			return refuse(list, i, "origin-cert", ret_message, "%s: %s", file, why);
	}
	return 0;
}

static int
read_proxies(struct ways *ways, const struct config_list *list, const struct ways *old, char **ret_message)
{
	ways->proxies = calloc(list->count + 1, sizeof *ways->proxies);
	if (ways->proxies == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < list->count; i++) {
		struct proxy *made = &ways->proxies[ways->proxy_count];
		bool no_memory;

		int error = check_name(list, i, "proxy", ret_message);
		if (error != 0)
			return error;
		const char *why = proxy_parse(list->items[i], made, &no_memory);
		if (no_memory)
			return -ENOMEM;
		if (why != NULL)
			return refuse(list, i, "proxy", ret_message, "%s", why);
		ways->proxy_count++;
		const struct proxy *before = old == NULL ? NULL : find_proxy(old, made->name);
		if (before != NULL && strcmp(before->url, made->url) == 0)
			made->id = before->id;
	}
	return 0;
}

static int
mark_resolving(struct ways *ways, const struct config_list *list, char **ret_message)
{
	for (size_t i = 0; i < list->count; i++) {
		struct proxy *proxy = find_proxy(ways, list->items[i]);

		if (proxy == NULL)
			return refuse(list, i, "proxy-resolves", ret_message,
				"there is no proxy of the name %.80s; name one of --proxy NAME=URL", list->items[i]);
		proxy->resolves = true;
	}
	return 0;
}

static int
choose_usual(struct ways *ways, const struct ways *old, char **ret_message)
{
	const struct named_store *configured = find_store(ways, WAYS_DEFAULT_CA);
	char why[TLS_WHY_BYTES];

	ways->usual = configured != NULL ? tls_store_ref(configured->store)
					 : tls_store_read(NULL, old == NULL ? NULL : old->usual, why);
	if (ways->usual != NULL)
		return 0;
	*ret_message = strdup(why);
	return *ret_message == NULL ? -ENOMEM : -EINVAL;
}

static int
fill(struct ways *ways, const struct config *config, const struct ways *old, char **ret_message)
{
	const char *problem = tls_library_problem();

	if (problem != NULL) {
		*ret_message = strdup(problem);
		return *ret_message == NULL ? -ENOMEM : -EINVAL;
	}
	ways->insecure_allowed = config->allow_insecure_tls;
	int error = read_stores(ways, &config->origin_ca, old, ret_message);
	if (error == 0)
		error = choose_usual(ways, old, ret_message);
	if (error == 0)
		error = read_identities(ways, &config->origin_cert, old, ret_message);
	if (error == 0)
		error = read_proxies(ways, &config->proxy, old, ret_message);
	if (error == 0)
		error = mark_resolving(ways, &config->proxy_resolves, ret_message);
	return error;
}

int
ways_new(const struct config *config, struct ways *old, struct ways **ret, char **ret_message)
{
	struct ways *ways = calloc(1, sizeof *ways);

	*ret_message = NULL;
	if (ways == NULL)
		return -ENOMEM;
	atomic_init(&ways->references, 1);
	int error = fill(ways, config, old, ret_message);
	if (error == 0)
		*ret = ways;
	else
		ways_unref(ways);
	return error;
}

struct ways *
ways_ref(struct ways *ways)
{
	atomic_fetch_add_explicit(&ways->references, 1, memory_order_relaxed);
	return ways;
}

void
ways_unref(struct ways *ways)
{
	if (ways == NULL || atomic_fetch_sub_explicit(&ways->references, 1, memory_order_acq_rel) != 1)
		return;
	for (size_t i = 0; i < ways->store_count; i++) {
		free(ways->stores[i].name);
		tls_store_unref(ways->stores[i].store);
	}
	for (size_t i = 0; i < ways->identity_count; i++) {
		free(ways->identities[i].name);
		tls_identity_unref(ways->identities[i].identity);
	}
	for (size_t i = 0; i < ways->proxy_count; i++)
		proxy_release(&ways->proxies[i]);
	tls_store_unref(ways->usual);
	free(ways->stores);
	free(ways->identities);
	free(ways->proxies);
	free(ways);
}

const char *
ways_proxy_problem(const char *text)
{
	struct proxy proxy;
	bool no_memory;

	const char *why = proxy_parse(text, &proxy, &no_memory);
	if (why == NULL)
		proxy_release(&proxy);
	return why;
}

bool
ways_trust_nobody(const struct ways *ways)
{
	return tls_store_count(ways->usual) == 0;
}

/* ---- what a spec names */

static bool __attribute__((format(printf, 4, 5)))
lacks(struct ways_problem *problem, const char *pointer, enum job_error_code code, const char *format, ...)
{
	va_list args;

	problem->pointer = pointer;
	problem->code = code;
	va_start(args, format);
	vsnprintf(problem->detail, sizeof problem->detail, format, args);
	va_end(args);
	return false;
}

bool
ways_have(const struct ways *ways, const struct job_spec *spec, struct ways_problem *ret)
{
	if (spec->tls_ca != NULL && find_store(ways, spec->tls_ca) == NULL)
		return lacks(ret, "/tls/ca", JOB_ERROR_tls_failed,
			"no CA bundle of the name %.64s is configured; the server is given one by --origin-ca NAME=FILE",
			spec->tls_ca);
	if (spec->tls_client_cert != NULL && find_identity(ways, spec->tls_client_cert) == NULL)
		return lacks(ret, "/tls/client_cert", JOB_ERROR_tls_failed,
			"no certificate of the name %.64s is configured; the server is given one by "
			"--origin-cert NAME=FILE",
			spec->tls_client_cert);
	if (spec->tls_insecure && !ways->insecure_allowed)
		return lacks(ret, "/tls/insecure", JOB_ERROR_tls_failed,
			"the server does not allow this; it is allowed by --allow-insecure-tls, but to name the "
			"origin's CA in tls.ca is safe");
	if (spec->proxy != NULL && find_proxy(ways, spec->proxy) == NULL)
		return lacks(ret, "/proxy", JOB_ERROR_denied_by_policy,
			"no proxy of the name %.64s is configured; the server is given one by --proxy NAME=URL",
			spec->proxy);
	return true;
}

struct tls_store *
ways_store(const struct ways *ways, const char *name)
{
	return name == NULL ? ways->usual : find_store(ways, name)->store;
}

struct tls_identity *
ways_identity(const struct ways *ways, const char *name)
{
	return name == NULL ? NULL : find_identity(ways, name)->identity;
}

const struct proxy *
ways_proxy(const struct ways *ways, const char *name)
{
	return name == NULL ? NULL : find_proxy(ways, name);
}

/* ---- today's */

void
ways_slot_init(struct ways_slot *slot, struct ways *ways)
{
	lock_init(&slot->lock);
	slot->ways = ways_ref(ways);
}

void
ways_slot_release(struct ways_slot *slot)
{
	ways_unref(slot->ways);
	lock_release(&slot->lock);
}

void
ways_slot_set(struct ways_slot *slot, struct ways *ways)
{
	lock_take(&slot->lock);
	struct ways *old = slot->ways;
	slot->ways = ways_ref(ways);
	lock_drop(&slot->lock);
	ways_unref(old);
}

struct ways *
ways_slot_get(struct ways_slot *slot)
{
	lock_take(&slot->lock);
	struct ways *ways = ways_ref(slot->ways);
	lock_drop(&slot->lock);
	return ways;
}
