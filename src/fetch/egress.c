/*
 * See egress.h. A policy is made once and never changes, so it is read without a lock; only the reference count moves.
 *
 * The order of judgement, for a host and one of its addresses:
 *
 *   1. a deny rule on the name or the address refuses; for an IPv6 address that carries an IPv4 address (mapped, NAT64,
 *      6to4 and so on) a deny rule on that one refuses too, so that no translator leads around it;
 *   2. an allow rule on the address or the name accepts. It is taken literally: an IPv4 rule never accepts an IPv6
 *      address that carries it, since the packet would go to whatever translates it;
 *   3. this machine's own addresses, ISATAP identifiers and the ranges of ranges.tbl.h are refused;
 *   4. all else is accepted.
 *
 * Rules are looked through one by one: there are few, and a look-up is followed by a connection anyway.
 */
#include "fetch/egress.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/text.h"

#define HOST_MAX 253 /* RFC 1035, section 3.1: 255 on the wire */
#define LABEL_MAX 63

#define RULE_OWN "own address of this machine"
#define RULE_ISATAP "ISATAP identifier (RFC 5214)"
#define RULE_NOT_GLOBAL "outside of 2000::/3, global unicast (RFC 4291)"
#define RULE_MALFORMED "malformed host"

struct range {
	struct address base;
	unsigned prefix_bits;
	const char *cidr, *name; /* of the built-in ones */
};

/* A range, or a host (with below: every name below it). */
struct rule {
	char *text; /* as given */
	char *host; /* lower case, no trailing dot; NULL for a range */
	bool below;
	struct range range;
};

struct rules {
	struct rule *items;
	size_t count;
};

#define X(base, bits, name) +1
enum {
	BUILTIN_COUNT = 0
#include "fetch/ranges.tbl.h"
};
#undef X

struct egress_policy {
	atomic_uint references;
	struct rules allow, deny;
	struct address *own;
	size_t own_count;
	struct range builtin[BUILTIN_COUNT];
};

/* ---- addresses */

static size_t
address_bytes(const struct address *address)
{
	return address->family == 4 ? 4 : 16;
}

int
address_parse(const char *text, struct address *ret)
{
	struct address address = {.family = 4};

	if (inet_pton(AF_INET, text, address.bytes) != 1) {
		address.family = 6;
		if (inet_pton(AF_INET6, text, address.bytes) != 1)
			return -EINVAL;
	}
	*ret = address;
	return 0;
}

void
address_format(const struct address *address, char *ret_text)
{
	int family = address->family == 4 ? AF_INET : AF_INET6;

	if (inet_ntop(family, address->bytes, ret_text, ADDRESS_TEXT_BYTES) == NULL)
		ret_text[0] = '\0';
}

bool
address_equal(const struct address *a, const struct address *b)
{
	return a->family == b->family && memcmp(a->bytes, b->bytes, address_bytes(a)) == 0;
}

static bool
range_holds(const struct range *range, const struct address *address)
{
	unsigned whole = range->prefix_bits / 8, rest = range->prefix_bits % 8;

	if (address->family != range->base.family || memcmp(address->bytes, range->base.bytes, whole) != 0)
		return false;
	return rest == 0 || ((address->bytes[whole] ^ range->base.bytes[whole]) >> (8 - rest)) == 0;
}

static bool
is_isatap(const struct address *address)
{
	static const uint8_t local[4] = {0x00, 0x00, 0x5e, 0xfe}, global[4] = {0x02, 0x00, 0x5e, 0xfe};

	return address->family == 6 &&
		(memcmp(address->bytes + 8, local, 4) == 0 || memcmp(address->bytes + 8, global, 4) == 0);
}

/* Where the well-known ways of carrying an IPv4 address in an IPv6 one put it. */
static const struct {
	uint8_t prefix[12];
	uint8_t prefix_bytes, offset;
} carriers[] = {
	{{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 12, 12},             /* ::/96, compatible */
	{{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, 12, 12},       /* ::ffff:0:0/96, mapped */
	{{0x00, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0}, 12, 12}, /* 64:ff9b::/96, NAT64 */
	{{0x20, 0x02}, 2, 2},                                       /* 2002::/16, 6to4 */
};

static bool
carried_ipv4(const struct address *address, struct address *ret)
{
	size_t offset = is_isatap(address) ? 12 : 0;

	if (address->family != 6)
		return false;
	for (size_t i = 0; offset == 0 && i < sizeof carriers / sizeof *carriers; i++)
		if (memcmp(address->bytes, carriers[i].prefix, carriers[i].prefix_bytes) == 0)
			offset = carriers[i].offset;
	if (offset == 0)
		return false;
	*ret = (struct address){.family = 4};
	memcpy(ret->bytes, address->bytes + offset, 4);
	return true;
}

/* ---- names */

/* The last label is a number, as the URL standard's "ends in a number" checker has it. */
static bool
ends_in_number(const char *label)
{
	if (label[strspn(label, "0123456789")] == '\0')
		return true;
	if (label[0] != '0' || (label[1] != 'x' && label[1] != 'X'))
		return false;
	return label[2 + strspn(label + 2, "0123456789abcdefABCDEF")] == '\0';
}

static bool
is_label_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

const char *
host_name_problem(const char *host)
{
	const char *label = host;

	if (*host == '\0')
		return "the host is empty";
	if (strlen(host) > HOST_MAX)
		return "the host is longer than 253 characters";
	for (const char *at = host;; at++) {
		if (is_label_char(*at))
			continue;
		if (*at != '.' && *at != '\0')
			return "the host has a character that no host name has";
		if (at == label)
			return "the host has an empty label";
		if (at - label > LABEL_MAX)
			return "the host has a label longer than 63 characters";
		if (*at == '\0')
			break;
		label = at + 1;
	}
	return ends_in_number(label) ? "the host ends in a number but is no IPv4 address" : NULL;
}

/* The host in lower case and without its trailing dot; "" when it is too long to be one. */
static void
fold_host(const char *host, char ret[HOST_MAX + 1])
{
	size_t length = strlen(host);

	if (length > 0 && host[length - 1] == '.')
		length--;
	if (length > HOST_MAX)
		length = 0;
	memcpy(ret, host, length);
	ret[length] = '\0';
	ascii_lower_string(ret);
}

static bool
rule_names(const struct rule *rule, const char *host)
{
	size_t length = strlen(host), suffix = strlen(rule->host);

	if (!rule->below)
		return strcmp(rule->host, host) == 0;
	return length > suffix + 1 && host[length - suffix - 1] == '.' &&
		strcmp(host + length - suffix, rule->host) == 0;
}

/* ---- rules */

static bool
is_mapped(const struct range *range)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	return range->base.family == 6 && range->prefix_bits >= 96 && memcmp(range->base.bytes, mapped, 12) == 0;
}

/* Clears the bits behind the prefix. */
static void
mask_base(struct range *range)
{
	for (unsigned bit = range->prefix_bits; bit < address_bytes(&range->base) * 8; bit++)
		range->base.bytes[bit / 8] &= (uint8_t) ~(0x80u >> bit % 8);
}

/* An address or ADDRESS/BITS. Returns 0 or -EINVAL. */
static int
range_parse(const char *text, struct range *ret)
{
	char base[ADDRESS_TEXT_BYTES];
	size_t length = strcspn(text, "/");
	struct range range = {0};
	uint64_t bits;

	if (length >= sizeof base)
		return -EINVAL;
	memcpy(base, text, length);
	base[length] = '\0';
	if (address_parse(base, &range.base) != 0)
		return -EINVAL;
	bits = address_bytes(&range.base) * 8;
	if (text[length] == '/') {
		uint64_t most = bits;
		if (text_to_uint64(text + length + 1, &bits) != 0 || bits > most)
			return -EINVAL;
	}
	range.prefix_bits = (unsigned)bits;
	/* A mapped address would look as if it covered the IPv4 range, which it does not. */
	if (is_mapped(&range))
		return -EINVAL;
	mask_base(&range);
	*ret = range;
	return 0;
}

/* Reads what a rule means; host is filled (else "") when it names one. Returns 0 or -EINVAL. */
static int
rule_read(const char *text, struct range *ret_range, char host[HOST_MAX + 1], bool *ret_below)
{
	host[0] = '\0';
	if (range_parse(text, ret_range) == 0)
		return 0;
	*ret_below = strncmp(text, "*.", 2) == 0;
	fold_host(*ret_below ? text + 2 : text, host);
	return host_name_problem(host) == NULL ? 0 : -EINVAL;
}

bool
egress_rule_valid(const char *rule)
{
	char host[HOST_MAX + 1];
	struct range range;
	bool below;

	return rule_read(rule, &range, host, &below) == 0;
}

static int
rule_init(struct rule *rule, const char *text)
{
	char host[HOST_MAX + 1];

	if (rule_read(text, &rule->range, host, &rule->below) != 0)
		return -EINVAL;
	rule->text = strdup(text);
	if (rule->text == NULL)
		return -ENOMEM;
	if (host[0] != '\0' && (rule->host = strdup(host)) == NULL)
		return -ENOMEM;
	return 0;
}

static int
rules_init(struct rules *rules, char *const *texts, size_t count, const char **ret_bad_rule)
{
	if (count == 0)
		return 0;
	rules->items = calloc(count, sizeof *rules->items);
	if (rules->items == NULL)
		return -ENOMEM;
	rules->count = count;
	for (size_t i = 0; i < count; i++) {
		int error = rule_init(&rules->items[i], texts[i]);
		if (error == -EINVAL)
			*ret_bad_rule = texts[i];
		if (error != 0)
			return error;
	}
	return 0;
}

static void
rules_release(struct rules *rules)
{
	for (size_t i = 0; i < rules->count; i++) {
		free(rules->items[i].text);
		free(rules->items[i].host);
	}
	free(rules->items);
}

/* host: folded, NULL to look at addresses only. address: NULL to look at names only. */
static const struct rule *
rules_find(const struct rules *rules, const char *host, const struct address *address)
{
	for (size_t i = 0; i < rules->count; i++) {
		const struct rule *rule = &rules->items[i];
		if (rule->host != NULL ? host != NULL && rule_names(rule, host)
				       : address != NULL && range_holds(&rule->range, address))
			return rule;
	}
	return NULL;
}

/* ---- the policy */

static bool
address_of(const struct sockaddr *from, struct address *ret)
{
	if (from == NULL)
		return false;
	if (from->sa_family == AF_INET) {
		*ret = (struct address){.family = 4};
		memcpy(ret->bytes, &((const struct sockaddr_in *)(const void *)from)->sin_addr, 4);
	} else if (from->sa_family == AF_INET6) {
		*ret = (struct address){.family = 6};
		memcpy(ret->bytes, &((const struct sockaddr_in6 *)(const void *)from)->sin6_addr, 16);
	} else {
		return false;
	}
	return true;
}

static int
read_own_addresses(struct egress_policy *policy)
{
	struct ifaddrs *interfaces;
	size_t count = 0;

	if (getifaddrs(&interfaces) != 0)
		return -errno;
	for (struct ifaddrs *at = interfaces; at != NULL; at = at->ifa_next)
		count++;
	policy->own = calloc(count + 1, sizeof *policy->own);
	for (struct ifaddrs *at = interfaces; policy->own != NULL && at != NULL; at = at->ifa_next)
		if (address_of(at->ifa_addr, &policy->own[policy->own_count]))
			policy->own_count++;
	freeifaddrs(interfaces);
	return policy->own != NULL ? 0 : -ENOMEM;
}

static void
read_builtin_ranges(struct egress_policy *policy)
{
	struct range *range = policy->builtin;

#define X(first, bits, label)                                                                                          \
	*range = (struct range){.prefix_bits = (bits), .cidr = first "/" #bits, .name = (label)};                      \
	if (address_parse(first, &range->base) != 0)                                                                   \
		abort(); /* a typing mistake in the table */                                                           \
	range++;
#include "fetch/ranges.tbl.h"
#undef X
	assert(range == policy->builtin + BUILTIN_COUNT);
}

struct egress_policy *
egress_policy_new(
	char *const *allow, size_t allow_count, char *const *deny, size_t deny_count, const char **ret_bad_rule)
{
	struct egress_policy *policy = calloc(1, sizeof *policy);
	const char *bad_rule = NULL;

	if (policy != NULL) {
		atomic_init(&policy->references, 1);
		read_builtin_ranges(policy);
		if (rules_init(&policy->allow, allow, allow_count, &bad_rule) != 0 ||
			rules_init(&policy->deny, deny, deny_count, &bad_rule) != 0 ||
			read_own_addresses(policy) != 0) {
			egress_policy_unref(policy);
			policy = NULL;
		}
	}
	if (policy == NULL)
		*ret_bad_rule = bad_rule;
	return policy;
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
	rules_release(&policy->allow);
	rules_release(&policy->deny);
	free(policy->own);
	free(policy);
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

static struct egress_verdict
denied_by_rule(const struct rule *rule, const char *what)
{
	return verdict(false, rule->text, "%.60s is refused by the rule --egress-deny %.60s", what, rule->text);
}

static const struct rule *
find_deny(const struct egress_policy *policy, const char *host, const struct address *address)
{
	struct address carried;
	const struct rule *rule = rules_find(&policy->deny, host, address);

	if (rule == NULL && carried_ipv4(address, &carried))
		rule = rules_find(&policy->deny, NULL, &carried);
	return rule;
}

static bool
is_own(const struct egress_policy *policy, const struct address *address)
{
	for (size_t i = 0; i < policy->own_count; i++)
		if (address_equal(&policy->own[i], address))
			return true;
	return false;
}

/* What no rule speaks of. */
static struct egress_verdict
judge_by_default(const struct egress_policy *policy, const struct address *address, const char *text)
{
	static const char advice[] = "an operator can allow it with --egress-allow";

	for (size_t i = 0; i < BUILTIN_COUNT; i++) {
		const struct range *range = &policy->builtin[i];
		if (range_holds(range, address))
			return verdict(
				false, range->name, "%s is in %s, %s; %s", text, range->cidr, range->name, advice);
	}
	if (address->family == 6 && (address->bytes[0] & 0xe0) != 0x20)
		return verdict(false, RULE_NOT_GLOBAL, "%s is " RULE_NOT_GLOBAL "; %s", text, advice);
	if (is_isatap(address))
		return verdict(false, RULE_ISATAP, "%s has an " RULE_ISATAP "; %s", text, advice);
	if (is_own(policy, address))
		return verdict(false, RULE_OWN, "%s is an " RULE_OWN "; %s", text, advice);
	return verdict(true, "", "%s is a public address", text);
}

/* host: folded, or NULL when it is the address itself. */
static struct egress_verdict
judge_address(const struct egress_policy *policy, const char *host, const struct address *address)
{
	char text[ADDRESS_TEXT_BYTES];
	const struct rule *rule = find_deny(policy, host, address);

	address_format(address, text);
	if (rule != NULL)
		return denied_by_rule(rule, rule->host != NULL ? host : text);
	rule = rules_find(&policy->allow, host, address);
	if (rule != NULL)
		return verdict(true, rule->text, "%s is allowed by the rule --egress-allow %.60s", text, rule->text);
	return judge_by_default(policy, address, text);
}

struct egress_verdict
egress_check_host(const struct egress_policy *policy, const char *host)
{
	char folded[HOST_MAX + 1];
	struct address address;

	fold_host(host, folded);
	if (address_parse(folded, &address) == 0)
		return judge_address(policy, NULL, &address);
	const char *problem = host_name_problem(folded);
	if (problem != NULL)
		return verdict(false, RULE_MALFORMED, "%s", problem);
	const struct rule *rule = rules_find(&policy->deny, folded, NULL);
	if (rule != NULL)
		return denied_by_rule(rule, folded);
	return verdict(true, "", "%.100s is judged by its addresses", folded);
}

struct egress_verdict
egress_check_address(const struct egress_policy *policy, const char *host, const struct address *address)
{
	char folded[HOST_MAX + 1];
	struct address literal;

	fold_host(host, folded);
	return judge_address(policy, address_parse(folded, &literal) == 0 ? NULL : folded, address);
}
