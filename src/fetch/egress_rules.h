/*
 * The rules of --egress-allow and --egress-deny: read from their text, and matched. For egress.c alone.
 *
 *	10.1.2.3  10.0.0.0/8  fd00::7  [fd00::7]     addresses
 *	db.internal                                  a name
 *	*.internal                                   every name below it
 *
 * each with :PORT behind it or not; an IPv6 address with a port stands in brackets ([fd00::/8]:443). Immutable once
 * made; any thread.
 */
#ifndef FETCHPOOL_FETCH_EGRESS_RULES_H
#define FETCHPOOL_FETCH_EGRESS_RULES_H

#include <stdbool.h>
#include <stddef.h>

#include "fetch/address.h"

/* A range, or a host (with below: every name below it). */
struct egress_rule {
	char *text; /* as given */
	char *host; /* lower case, no trailing dot; NULL for a range */
	bool below;
	struct address_range range;
	int port; /* 0: every port */
};

struct egress_rules {
	struct egress_rule *items;
	size_t count;
};

/* Reads the rules. Returns 0, -EINVAL with *ret_bad_rule set to the text that is none, or -ENOMEM; release it anyway. */
int egress_rules_init(struct egress_rules *rules, char *const *texts, size_t count, const char **ret_bad_rule)
	__attribute__((warn_unused_result));
void egress_rules_release(struct egress_rules *rules);

/* What a rule is asked about. */
struct egress_target {
	const char *host;              /* folded (host_name_fold); NULL to look at addresses only */
	const struct address *address; /* NULL to look at names only */
	int port;
};

/* The first rule that holds for the target's name or address at its port; NULL for none. */
const struct egress_rule *egress_rules_find(const struct egress_rules *rules, const struct egress_target *target);

/* The same among the rules that name that very port. */
const struct egress_rule *egress_rules_find_with_port(
	const struct egress_rules *rules, const struct egress_target *target);

#endif
