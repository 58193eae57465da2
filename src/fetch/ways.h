/*
 * What a spec names of the configuration to be fetched by: CA bundles, client certificates, proxies. Read from the options
 * and the files that they name, at the start and at each reload; immutable and reference counted, so an attempt keeps what
 * it began with. Any thread.
 */
#ifndef FETCHPOOL_FETCH_WAYS_H
#define FETCHPOOL_FETCH_WAYS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/config.h"
#include "base/lock.h"
#include "core/job.h"
#include "fetch/proxy.h"
#include "fetch/tls.h"

struct ways;

/* The name of the bundle that is for specs without one, if it is configured; else that is the system's. */
#define WAYS_DEFAULT_CA "default"

/*
 * Reads what the configuration names. What old (or NULL) has of the same bytes is taken over from it, and so keeps its
 * connections. Returns 0, -EINVAL with a message that names option and file (malloc'd), or -ENOMEM.
 */
int ways_new(const struct config *config, struct ways *old, struct ways **ret, char **ret_message)
	__attribute__((warn_unused_result));
struct ways *ways_ref(struct ways *ways);
void ways_unref(struct ways *ways);

/* What is wrong with NAME=URL of --proxy, or NULL; nothing of the value is in it. */
const char *ways_proxy_problem(const char *text);

/* True when no CA is trusted by default, so that no certificate will do. */
bool ways_trust_nobody(const struct ways *ways);

/* A name in a spec that is not configured, or not allowed. */
struct ways_problem {
	const char *pointer; /* to it in the spec */
	enum job_error_code code;
	char detail[200];
};

/* True when all that the spec names is there. */
bool ways_have(const struct ways *ways, const struct job_spec *spec, struct ways_problem *ret);

/* For a spec of which ways_have is true; they live as long as ways. No name: no identity and no proxy. */
struct tls_store *ways_store(const struct ways *ways, const char *name);
struct tls_identity *ways_identity(const struct ways *ways, const char *name);
const struct proxy *ways_proxy(const struct ways *ways, const char *name);

/* Where the ways of today are kept. Lock: its own, a leaf. */
struct ways_slot {
	struct lock lock;
	struct ways *ways;
};

void ways_slot_init(struct ways_slot *slot, struct ways *ways);
void ways_slot_release(struct ways_slot *slot);
void ways_slot_set(struct ways_slot *slot, struct ways *ways);

/* A reference. */
struct ways *ways_slot_get(struct ways_slot *slot);

#endif
