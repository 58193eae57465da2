/*
 * The egress guard: which hosts and addresses may be fetched. Pure functions on an immutable policy; any thread.
 * The ranges refused by default are those of the IANA special-purpose registries (RFC 6890 and what updates it) and a
 * few more; doc/egress.md lists them with their sources.
 */
#ifndef FETCHPOOL_FETCH_EGRESS_H
#define FETCHPOOL_FETCH_EGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An IPv4 (family 4) or IPv6 (family 6) address in network order. */
struct address {
	uint8_t family;
	uint8_t bytes[16];
};

#define ADDRESS_TEXT_BYTES 46

/* Reads a dotted quad or an IPv6 address without brackets and zone. Returns 0 or -EINVAL. */
int address_parse(const char *text, struct address *ret) __attribute__((warn_unused_result));
void address_format(const struct address *address, char *ret_text);
bool address_equal(const struct address *a, const struct address *b);

/*
 * What is wrong with a host name, as a line for the client; NULL when it can be looked up: labels of letters, digits,
 * hyphens and underscores, lengths as in RFC 1035, no trailing dot, and the last label is no number (such a host is an
 * IPv4 address or nothing).
 */
const char *host_name_problem(const char *host);

struct egress_policy;

/*
 * Why: one line for the client. rule: the rule that decided, as given, or the name of the built-in range; "" when none
 * did; never NULL.
 */
struct egress_verdict {
	bool allowed;
	const char *rule; /* lives as long as the policy */
	char reason[160];
};

/*
 * Makes a policy of rules: an address, a CIDR ("10.0.0.0/8", "fd00::/8"), a HOST ("db.example"), or "*.suffix" (every
 * name below it). This machine's interface addresses are refused unless allowed; they are read by egress_policy_new.
 * On a bad rule returns NULL and sets *ret_bad_rule to it; on lack of memory, or when the interfaces cannot be read,
 * returns NULL and sets it to NULL. Reference counted.
 */
struct egress_policy *egress_policy_new(
	char *const *allow, size_t allow_count, char *const *deny, size_t deny_count, const char **ret_bad_rule);
struct egress_policy *egress_policy_ref(struct egress_policy *policy);
void egress_policy_unref(struct egress_policy *policy);

/* True when the rule can be read. */
bool egress_rule_valid(const char *rule);

/*
 * The host as the URL names it, before any look-up: deny HOST rules, and address literals by their address. allowed
 * means "not refused so far": the addresses still have to pass.
 */
struct egress_verdict egress_check_host(const struct egress_policy *policy, const char *host);

/* One resolved address of that host. An allow HOST rule covers whatever the name resolves to; a deny rule beats it. */
struct egress_verdict egress_check_address(
	const struct egress_policy *policy, const char *host, const struct address *address);

#endif
