/*
 * A URL, a Location and rules, a line each: what url.c makes of the first two, and what the guard says of the host. The
 * rules are "+RULE" (allow) and "-RULE" (deny); what cannot be a rule is passed over.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fetch/egress.h"
#include "fetch/url.h"
#include "fuzz.h"
#include "ranges.h"
#include "url_checks.h"

#define MAX_RULES 4

struct rules {
	char *allow[MAX_RULES], *deny[MAX_RULES];
	size_t allow_count, deny_count;
};

static void
read_rules(const uint8_t *at, const uint8_t *end, struct rules *ret)
{
	char *line;

	while ((line = fuzz_line(&at, end)) != NULL) {
		bool valid = (*line == '+' || *line == '-') && egress_rule_valid(line + 1);

		if (valid && *line == '+' && ret->allow_count < MAX_RULES)
			ret->allow[ret->allow_count++] = strdup(line + 1);
		else if (valid && *line == '-' && ret->deny_count < MAX_RULES)
			ret->deny[ret->deny_count++] = strdup(line + 1);
		free(line);
	}
}

/* ---- rules, read by other means than the server's */

/* "ADDRESS", "ADDRESS/BITS", with ":PORT" behind it or not, IPv6 in brackets then: does it hold for the address? */
static bool
covers(const char *rule, const struct address *address, int port)
{
	char text[128];
	uint8_t base[16];
	const char *first = strchr(rule, ':'), *last = strrchr(rule, ':'), *of_port = NULL;
	size_t length = strlen(rule);
	unsigned bits = address->family == 4 ? 32 : 128;

	if (rule[0] == '[') {
		const char *end = strchr(rule, ']');
		of_port = end != NULL && end[1] == ':' ? end + 2 : NULL;
		rule++;
		length = end == NULL ? 0 : (size_t)(end - rule);
	} else if (first != NULL && first == last) {
		of_port = first + 1;
		length = (size_t)(first - rule);
	}
	snprintf(text, sizeof text, "%.*s", (int)length, rule);
	char *slash = strchr(text, '/');
	if (slash != NULL) {
		bits = (unsigned)atoi(slash + 1);
		*slash = '\0';
	}
	if (inet_pton(address->family == 4 ? AF_INET : AF_INET6, text, base) != 1)
		return false;
	for (unsigned i = 0; i < bits; i++)
		if (((base[i / 8] ^ address->bytes[i / 8]) >> (7 - i % 8) & 1) != 0)
			return false;
	return of_port == NULL || atoi(of_port) == port;
}

static bool
one_covers(char *const *rules, size_t count, const struct address *address, int port)
{
	for (size_t i = 0; i < count; i++)
		if (covers(rules[i], address, port))
			return true;
	return false;
}

static bool
has_rule(char *const *rules, size_t count, const char *rule)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(rules[i], rule) == 0)
			return true;
	return false;
}

/* The default policy is made once: it asks for this machine's addresses. */
static struct egress_policy *
policy_of(const struct rules *rules)
{
	static struct egress_policy *plain;
	const char *bad = NULL;

	if (plain == NULL)
		plain = egress_policy_new(NULL, 0, NULL, 0, &bad);
	FUZZ_CHECK(plain != NULL, "no policy can be made");
	if (rules->allow_count + rules->deny_count == 0)
		return egress_policy_ref(plain);
	struct egress_policy *policy =
		egress_policy_new(rules->allow, rules->allow_count, rules->deny, rules->deny_count, &bad);
	FUZZ_CHECK(policy != NULL, "the rule %s is valid and then is not", bad == NULL ? "(none)" : bad);
	return policy;
}

/* ::ffff:a.b.c.d, which goes out as IPv4: no range of IPv6 allows it. */
static bool
is_mapped(const struct address *address)
{
	static const uint8_t prefix[12] = {[10] = 0xff, [11] = 0xff};

	return address->family == 6 && memcmp(address->bytes, prefix, sizeof prefix) == 0;
}

/* Deny beats allow, allow beats what is special, and what no rule speaks of is refused only if it is special. */
static void
check_verdict(const struct rules *rules, const struct address *address, int port, const struct egress_verdict *verdict)
{
	bool special = address_is_special(address);
	bool denied = one_covers(rules->deny, rules->deny_count, address, port);
	bool allowed = !is_mapped(address) && one_covers(rules->allow, rules->allow_count, address, port);
	char text[ADDRESS_TEXT_BYTES];

	address_format(address, text);
	FUZZ_CHECK(verdict->rule != NULL && verdict->reason[0] != '\0', "a verdict on %s without a reason", text);
	FUZZ_CHECK(!denied || !verdict->allowed, "%s is denied, and allowed: %s", text, verdict->reason);
	FUZZ_CHECK(!verdict->allowed || allowed || !special, "%s is special, and allowed: %s", text, verdict->reason);
	/* A rule may deny an IPv4 address that this one carries. */
	if (verdict->allowed || denied ||
		(address->family == 6 && has_rule(rules->deny, rules->deny_count, verdict->rule)))
		return;
	FUZZ_CHECK(!allowed, "%s is allowed, and refused: %s", text, verdict->reason);
	FUZZ_CHECK(special || strncmp(verdict->rule, "own ", 4) == 0, "%s is public, and refused: %s", text,
		verdict->reason);
}

/* localhost and what is below it, and names of metadata services. */
static bool
is_special_name(const char *host)
{
	size_t length = strlen(host);

	return strcmp(host, "localhost") == 0 || (length > 10 && strcmp(host + length - 10, ".localhost") == 0) ||
		strcmp(host, "metadata.google.internal") == 0;
}

static void
check_name_verdict(const struct rules *rules, const char *host, const struct egress_verdict *verdict)
{
	FUZZ_CHECK(
		!verdict->allowed || rules->allow_count > 0 || !is_special_name(host), "the name %s is allowed", host);
	FUZZ_CHECK(verdict->allowed || has_rule(rules->deny, rules->deny_count, verdict->rule) ||
			strstr(verdict->reason, "by its name") != NULL,
		"the name %s is refused by no rule: %s", host, verdict->reason);
}

static void
check_guard(const struct rules *rules, const struct url *url)
{
	struct egress_policy *policy = policy_of(rules);
	struct egress_verdict verdict = egress_check_host(policy, url->origin.host, url->origin.port);
	struct address address;

	if (address_parse(url->origin.host, &address) == 0)
		check_verdict(rules, &address, url->origin.port, &verdict);
	else
		check_name_verdict(rules, url->origin.host, &verdict);
	egress_policy_unref(policy);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	const uint8_t *at = bytes, *end = bytes + count;
	char *text = fuzz_line(&at, end), *location = fuzz_line(&at, end);
	struct arena arena = {0};
	struct rules rules = {0};
	struct url url;
	const char *why = NULL;

	read_rules(at, end, &rules);
	if (text != NULL && url_parse(&arena, text, &url, &why) == 0) {
		check_url(&url);
		check_same_for_curl(text, &url);
		check_guard(&rules, &url);
		if (location != NULL)
			check_location(&url, location);
	} else if (text != NULL) {
		FUZZ_CHECK(why != NULL && *why != '\0', "%s is refused without a word", text);
	}
	for (size_t i = 0; i < MAX_RULES; i++) {
		free(rules.allow[i]);
		free(rules.deny[i]);
	}
	arena_release(&arena);
	free(location);
	free(text);
	return 0;
}
