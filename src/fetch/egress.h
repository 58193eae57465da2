/*
 * The egress guard: which hosts and addresses may be fetched. Pure functions on an immutable policy; any thread.
 * The ranges refused by default are those of the IANA special-purpose registries (RFC 6890 and what updates it) and a
 * few more (ranges.tbl.h), the names those of names.tbl.h; doc/egress.md lists them with their sources.
 */
#ifndef FETCHPOOL_FETCH_EGRESS_H
#define FETCHPOOL_FETCH_EGRESS_H

#include <stdbool.h>
#include <stddef.h>

#include "fetch/address.h"
#include "fetch/host_name.h"

struct egress_policy;

/*
 * Why: one line for the client. rule: the rule that decided, as given, or the name of what is built in; "" when none
 * did; never NULL.
 */
struct egress_verdict {
	bool allowed;
	const char *rule; /* lives as long as the policy */
	char reason[200];
};

/*
 * Makes a policy of rules (egress_rules.h has their forms). This machine's interface addresses are refused unless
 * allowed; they are read by egress_policy_new.
 * On a bad rule returns NULL and sets *ret_bad_rule to it; on lack of memory, or when the interfaces cannot be read,
 * returns NULL and sets it to NULL. Reference counted.
 */
struct egress_policy *egress_policy_new(
	char *const *allow, size_t allow_count, char *const *deny, size_t deny_count, const char **ret_bad_rule);
struct egress_policy *egress_policy_ref(struct egress_policy *policy);
void egress_policy_unref(struct egress_policy *policy);

/*
 * Tells it where this server itself listens: that is refused unless an allow rule names the port, too. Once, before
 * anybody else has the policy. Returns 0 or -ENOMEM.
 */
int egress_policy_set_listening(struct egress_policy *policy, const struct endpoint *listening, size_t count)
	__attribute__((warn_unused_result));

/* True when the rule can be read. */
bool egress_rule_valid(const char *rule);

/*
 * The host and the port as the URL names them, before any look-up: deny HOST rules, names that are refused by default,
 * and address literals by their address. allowed means "not refused so far": the addresses still have to pass.
 */
struct egress_verdict egress_check_host(const struct egress_policy *policy, const char *host, int port);

/* One resolved address of that host. An allow HOST rule covers whatever the name resolves to; a deny rule beats it. */
struct egress_verdict egress_check_address(
	const struct egress_policy *policy, const char *host, int port, const struct address *address);

/*
 * The same for a connection that is made. One that begins where it leads to goes to this machine, also by an address
 * that it has only got since the policy was made.
 */
struct egress_verdict egress_check_connection(const struct egress_policy *policy, const char *host, int port,
	const struct address *remote, const struct address *local);

#endif
