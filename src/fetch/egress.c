/*
 * See egress.h. A policy is made once and never changes, so it is read without a lock; only the reference count moves.
 *
 * The order of judgement, for a host, a port and one of its addresses:
 *
 *   1. a deny rule on the name or the address refuses; for an IPv6 address that carries an IPv4 address (mapped, NAT64,
 *      6to4 and so on) a deny rule on that one refuses too, so that no translator leads around it;
 *   2. where this server itself listens is refused, unless an allow rule names that port: what comes from here has this
 *      machine's rights, and a range that is allowed for others' sake was not meant to grant them;
 *   3. an allow rule on the address or the name accepts. It is taken literally: an IPv4 rule never accepts an IPv6
 *      address that carries it, since the packet would go to whatever translates it;
 *   4. this machine's own addresses, ISATAP identifiers and the ranges of ranges.tbl.h are refused;
 *   5. all else is accepted.
 *
 * Before the look-up a name passes 1 by itself, and the names of names.tbl.h are refused unless 3 holds for the name or
 * for an address that it stands for.
 */
#include "fetch/egress.h"

#include <assert.h>
#include <errno.h>
#include <ifaddrs.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fetch/egress_rules.h"

#define RULE_OWN "own address of this machine"
#define RULE_LISTENING "own listening socket of this server"
#define RULE_ISATAP "ISATAP identifier (RFC 5214)"
#define RULE_NOT_GLOBAL "outside of 2000::/3, global unicast (RFC 4291)"
#define RULE_MALFORMED "malformed host"

#define ADVICE "an operator can allow it with --egress-allow"

struct special_range {
	struct address_range range;
	const char *cidr, *name;
};

#define X(base, bits, name) +1
enum {
	RANGE_COUNT = 0
#include "fetch/ranges.tbl.h"
};
#undef X

static const struct special_name {
	const char *name;
	bool below;
	const char *v4, *v6; /* what it stands for, NULL for none */
	const char *what;
} special_names[] = {
#define X(name, below, v4, v6, what) {name, below, v4, v6, what},
#include "fetch/names.tbl.h"
#undef X
};

struct egress_policy {
	atomic_uint references;
	struct egress_rules allow, deny;
	struct address *own;
	size_t own_count;
	struct endpoint *listening;
	size_t listening_count;
	struct special_range special[RANGE_COUNT];
};

/* ---- the policy */

static int
read_own_addresses(struct egress_policy *policy)
{
	struct ifaddrs *interfaces;
	struct endpoint own;
	size_t count = 0;

	if (getifaddrs(&interfaces) != 0)
		return -errno;
	for (struct ifaddrs *at = interfaces; at != NULL; at = at->ifa_next)
		count++;
	policy->own = calloc(count + 1, sizeof *policy->own);
	for (struct ifaddrs *at = interfaces; policy->own != NULL && at != NULL; at = at->ifa_next)
		if (at->ifa_addr != NULL && endpoint_of_socket(at->ifa_addr, &own))
			policy->own[policy->own_count++] = own.address;
	freeifaddrs(interfaces);
	return policy->own != NULL ? 0 : -ENOMEM;
}

static void
read_special_ranges(struct egress_policy *policy)
{
	struct special_range *special = policy->special;

#define X(first, bits, label)                                                                                          \
	*special = (struct special_range){.cidr = first "/" #bits, .name = (label)};                                   \
	if (address_range_parse(special->cidr, &special->range) != 0)                                                  \
		abort(); /* a typing mistake in the table */                                                           \
	special++;
#include "fetch/ranges.tbl.h"
#undef X
	assert(special == policy->special + RANGE_COUNT);
}

struct egress_policy *
egress_policy_new(
	char *const *allow, size_t allow_count, char *const *deny, size_t deny_count, const char **ret_bad_rule)
{
	struct egress_policy *policy = calloc(1, sizeof *policy);
	const char *bad_rule = NULL;

	if (policy != NULL) {
		atomic_init(&policy->references, 1);
		read_special_ranges(policy);
		if (egress_rules_init(&policy->allow, allow, allow_count, &bad_rule) != 0 ||
			egress_rules_init(&policy->deny, deny, deny_count, &bad_rule) != 0 ||
			read_own_addresses(policy) != 0) {
			egress_policy_unref(policy);
			policy = NULL;
		}
	}
	if (policy == NULL)
		*ret_bad_rule = bad_rule;
	return policy;
}

int
egress_policy_set_listening(struct egress_policy *policy, const struct endpoint *listening, size_t count)
{
	struct endpoint *copy = calloc(count + 1, sizeof *copy);

	if (copy == NULL)
		return -ENOMEM;
	if (count > 0)
		memcpy(copy, listening, count * sizeof *copy);
	free(policy->listening);
	policy->listening = copy;
	policy->listening_count = count;
	return 0;
}

struct egress_policy *
egress_policy_ref(struct egress_policy *policy)
{
	atomic_fetch_add_explicit(&policy->references, 1, memory_order_relaxed);
	return policy;
}

void
egress_policy_unref(struct egress_policy *policy)
{
	if (policy == NULL || atomic_fetch_sub_explicit(&policy->references, 1, memory_order_acq_rel) != 1)
		return;
	egress_rules_release(&policy->allow);
	egress_rules_release(&policy->deny);
	free(policy->own);
	free(policy->listening);
	free(policy);
}

/* ---- this machine */

static bool
is_unspecified(const struct address *address)
{
	static const struct address unspecified[] = {{.family = 4}, {.family = 6}};

	return address_equal(address, &unspecified[address->family == 6]);
}

static bool
is_loopback(const struct address *address)
{
	static const struct address v6 = {6, {[15] = 1}};

	return address->family == 4 ? address->bytes[0] == 127 : address_equal(address, &v6);
}

/* local: our end of the connection, or NULL while there is none. */
static bool
is_own(const struct egress_policy *policy, const struct address *address, const struct address *local)
{
	if (local != NULL && address_equal(local, address))
		return true;
	for (size_t i = 0; i < policy->own_count; i++)
		if (address_equal(&policy->own[i], address))
			return true;
	return false;
}

/*
 * True when packets for the address come to a socket that is bound to bound. The unspecified address leads to loopback
 * as a destination, and is every address of this machine as a listener's; one for IPv6 may take IPv4 along.
 */
static bool
leads_to(const struct egress_policy *policy, const struct address *bound, const struct address *address,
	const struct address *local)
{
	if (address_equal(bound, address) || is_unspecified(address))
		return true;
	return is_unspecified(bound) && (is_loopback(address) || is_own(policy, address, local));
}

static bool
leads_to_listener(const struct egress_policy *policy, const struct egress_target *target, const struct address *local)
{
	struct address carried[ADDRESS_MAX_CARRIED];
	size_t count = address_carried(target->address, carried);

	for (size_t i = 0; i < policy->listening_count; i++) {
		const struct endpoint *listener = &policy->listening[i];

		if (listener->port != target->port)
			continue;
		if (leads_to(policy, &listener->address, target->address, local))
			return true;
		for (size_t j = 0; j < count; j++)
			if (leads_to(policy, &listener->address, &carried[j], local))
				return true;
	}
	return false;
}

/* ---- verdicts */

static struct egress_verdict __attribute__((format(printf, 3, 4)))
verdict(bool allowed, const char *rule, const char *format, ...)
{
	struct egress_verdict verdict = {.allowed = allowed, .rule = rule};
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(verdict.reason, sizeof verdict.reason, format, arguments);
	va_end(arguments);
	return verdict;
}

/* What no rule speaks of. */
static struct egress_verdict
judge_by_default(const struct egress_policy *policy, const struct address *address, const struct address *local,
	const char *text)
{
	for (size_t i = 0; i < RANGE_COUNT; i++) {
		const struct special_range *special = &policy->special[i];
		if (address_range_holds(&special->range, address))
			return verdict(
				false, special->name, "%s is in %s, %s; " ADVICE, text, special->cidr, special->name);
	}
	if (address->family == 6 && (address->bytes[0] & 0xe0) != 0x20)
		return verdict(false, RULE_NOT_GLOBAL, "%s is " RULE_NOT_GLOBAL "; " ADVICE, text);
	if (address_is_isatap(address))
		return verdict(false, RULE_ISATAP, "%s has an " RULE_ISATAP "; " ADVICE, text);
	if (is_own(policy, address, local))
		return verdict(false, RULE_OWN, "%s is an " RULE_OWN "; " ADVICE, text);
	return verdict(true, "", "%s is a public address", text);
}

static struct egress_verdict
denied_by_rule(const struct egress_rule *rule, const char *what)
{
	return verdict(false, rule->text, "%.60s is refused by the rule --egress-deny %.60s", what, rule->text);
}

/* A deny rule on an address that this one carries; *ret_text names that. */
static const struct egress_rule *
find_deny_of_carried(const struct egress_policy *policy, const struct egress_target *target, char *ret_text)
{
	struct address carried[ADDRESS_MAX_CARRIED];
	size_t count = address_carried(target->address, carried);
	const struct egress_rule *rule = NULL;

	for (size_t i = 0; rule == NULL && i < count; i++) {
		rule = egress_rules_find(
			&policy->deny, &(struct egress_target){.address = &carried[i], .port = target->port});
		address_format(&carried[i], ret_text);
	}
	return rule;
}

/*
 * What is sent to a mapped address goes out as IPv4. So no rule on a range of IPv6 allows it, however wide: none of them was meant
 * to speak of IPv4. A rule on the name may.
 */
static const struct egress_rule *
find_allow(const struct egress_policy *policy, const struct egress_target *target, bool with_port)
{
	struct egress_target judged = *target;

	if (target->address != NULL && address_is_mapped(target->address))
		judged.address = NULL;
	return with_port ? egress_rules_find_with_port(&policy->allow, &judged)
			 : egress_rules_find(&policy->allow, &judged);
}

static struct egress_verdict
judge_address(const struct egress_policy *policy, const struct egress_target *target, const struct address *local)
{
	char text[ADDRESS_TEXT_BYTES], carried[ADDRESS_TEXT_BYTES];
	const struct egress_rule *rule = egress_rules_find(&policy->deny, target);

	address_format(target->address, text);
	if (rule != NULL)
		return denied_by_rule(rule, rule->host != NULL ? target->host : text);
	rule = find_deny_of_carried(policy, target, carried);
	if (rule != NULL)
		return verdict(false, rule->text, "%s may lead to %s, which is refused by the rule --egress-deny %.60s",
			text, carried, rule->text);
	if (find_allow(policy, target, true) == NULL && leads_to_listener(policy, target, local))
		return verdict(false, RULE_LISTENING,
			"%s port %d is an " RULE_LISTENING "; only a rule of --egress-allow with this port allows it",
			text, target->port);
	rule = find_allow(policy, target, false);
	if (rule != NULL)
		return verdict(true, rule->text, "%s is allowed by the rule --egress-allow %.60s", text, rule->text);
	return judge_by_default(policy, target->address, local, text);
}

static bool
stands_for_allowed(const struct egress_policy *policy, const char *address_text, int port)
{
	struct address address;

	return address_text != NULL && address_parse(address_text, &address) == 0 &&
		egress_rules_find(&policy->allow, &(struct egress_target){.address = &address, .port = port}) != NULL;
}

/* The row of names.tbl.h that refuses this name; NULL when none does. */
static const struct special_name *
find_refused_name(const struct egress_policy *policy, const struct egress_target *target)
{
	if (egress_rules_find(&policy->allow, target) != NULL)
		return NULL;
	for (size_t i = 0; i < sizeof special_names / sizeof *special_names; i++) {
		const struct special_name *special = &special_names[i];
		if (strcmp(special->name, target->host) != 0 &&
			!(special->below && host_name_is_below(target->host, special->name)))
			continue;
		return stands_for_allowed(policy, special->v4, target->port) ||
				stands_for_allowed(policy, special->v6, target->port)
			? NULL
			: special;
	}
	return NULL;
}

struct egress_verdict
egress_check_host(const struct egress_policy *policy, const char *host, int port)
{
	char folded[HOST_NAME_MAX_BYTES + 1];
	struct address address;

	host_name_fold(host, folded);
	if (address_parse(folded, &address) == 0)
		return judge_address(policy, &(struct egress_target){.address = &address, .port = port}, NULL);
	const char *problem = host_name_problem(folded);
	if (problem != NULL)
		return verdict(false, RULE_MALFORMED, "%s", problem);
	struct egress_target target = {.host = folded, .port = port};
	const struct egress_rule *rule = egress_rules_find(&policy->deny, &target);
	if (rule != NULL)
		return denied_by_rule(rule, folded);
	const struct special_name *special = find_refused_name(policy, &target);
	if (special != NULL)
		return verdict(
			false, special->what, "%.60s is refused by its name: %s; " ADVICE, folded, special->what);
	return verdict(true, "", "%.100s is judged by its addresses", folded);
}

struct egress_verdict
egress_check_connection(const struct egress_policy *policy, const char *host, int port, const struct address *remote,
	const struct address *local)
{
	char folded[HOST_NAME_MAX_BYTES + 1];
	struct address literal;

	host_name_fold(host, folded);
	struct egress_target target = {.address = remote, .port = port};
	if (address_parse(folded, &literal) != 0)
		target.host = folded;
	return judge_address(policy, &target, local);
}

struct egress_verdict
egress_check_address(const struct egress_policy *policy, const char *host, int port, const struct address *address)
{
	return egress_check_connection(policy, host, port, address, NULL);
}
