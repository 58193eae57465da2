/* The egress guard: the edges of every range, rules and their order, and an oracle written in another way. */
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <check.h>

#include "fetch/egress.h"

#define COUNT(table) ((int)(sizeof(table) / sizeof *(table)))

static struct egress_policy *
policy_of(char *const *allow, size_t allow_count, char *const *deny, size_t deny_count)
{
	const char *bad = NULL;
	struct egress_policy *policy = egress_policy_new(allow, allow_count, deny, deny_count, &bad);

	ck_assert_msg(policy != NULL, "bad rule %s", bad != NULL ? bad : "(none)");
	return policy;
}

static struct address
address_of(const char *text)
{
	struct address address;

	ck_assert_msg(address_parse(text, &address) == 0, "%s", text);
	return address;
}

static bool
allows(const struct egress_policy *policy, const char *host, const char *address)
{
	struct address parsed = address_of(address);
	struct egress_verdict verdict = egress_check_address(policy, host, &parsed);

	ck_assert_ptr_nonnull(verdict.rule);
	ck_assert_int_gt((int)strlen(verdict.reason), 0);
	ck_assert_ptr_null(strchr(verdict.reason, '\n'));
	return verdict.allowed;
}

/* ---- addresses */

START_TEST(parses_addresses)
{
	static const struct {
		const char *given, *text; /* NULL: refused */
	} table[] = {
		{"1.2.3.4", "1.2.3.4"},
		{"255.255.255.255", "255.255.255.255"},
		{"::", "::"},
		{"2001:DB8:0:0::1", "2001:db8::1"},
		{"::ffff:1.2.3.4", "::ffff:1.2.3.4"},
		{"", NULL},
		{"1.2.3", NULL},
		{"1.2.3.4.", NULL},
		{"1.2.3.256", NULL},
		{"0x7f.0.0.1", NULL},
		{" 1.2.3.4", NULL},
		{"[::1]", NULL},
		{"fe80::1%1", NULL},
		{"::1/128", NULL},
		{"localhost", NULL},
	};
	char text[ADDRESS_TEXT_BYTES];
	struct address address;

	for (int i = 0; i < COUNT(table); i++) {
		int error = address_parse(table[i].given, &address);
		ck_assert_msg((error == 0) == (table[i].text != NULL), "%s", table[i].given);
		if (error != 0)
			continue;
		address_format(&address, text);
		ck_assert_str_eq(text, table[i].text);
	}
}
END_TEST

START_TEST(compares_addresses)
{
	struct address a = address_of("1.2.3.4"), b = address_of("1.2.3.4"), c = address_of("::ffff:1.2.3.4");

	ck_assert(address_equal(&a, &b));
	ck_assert(!address_equal(&a, &c));
	b.bytes[15] = 1; /* behind an IPv4 address */
	ck_assert(address_equal(&a, &b));
}
END_TEST

/* ---- the oracle: the ranges as text, worked on bit by bit */

static const char *const refused[] = {"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
	"172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24",
	"192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4",
	"240.0.0.0/4", "168.63.129.16/32", "2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20",
	"::/3", "4000::/2", "8000::/1"};

static void
read_range(const char *text, struct address *ret_base, int *ret_bits)
{
	char base[64];

	ck_assert_int_eq(sscanf(text, "%63[^/]/%d", base, ret_bits), 2);
	*ret_base = address_of(base);
}

static int
bit_of(const struct address *address, int bit)
{
	return address->bytes[bit / 8] >> (7 - bit % 8) & 1;
}

static bool
oracle_refuses(const struct address *address)
{
	static struct address bases[COUNT(refused)];
	static int lengths[COUNT(refused)];

	for (int i = 0; i < COUNT(refused); i++) {
		int same = 0;
		if (lengths[i] == 0)
			read_range(refused[i], &bases[i], &lengths[i]);
		if (bases[i].family != address->family)
			continue;
		while (same < lengths[i] && bit_of(&bases[i], same) == bit_of(address, same))
			same++;
		if (same == lengths[i])
			return true;
	}
	return address->family == 6 && (address->bytes[8] & 0xfd) == 0 && address->bytes[9] == 0 &&
		address->bytes[10] == 0x5e && address->bytes[11] == 0xfe;
}

static bool
is_own(const struct address *address)
{
	struct ifaddrs *interfaces;
	bool own = false;

	ck_assert_int_eq(getifaddrs(&interfaces), 0);
	for (struct ifaddrs *at = interfaces; at != NULL; at = at->ifa_next) {
		char text[ADDRESS_TEXT_BYTES];
		if (at->ifa_addr == NULL || (at->ifa_addr->sa_family != AF_INET && at->ifa_addr->sa_family != AF_INET6))
			continue;
		socklen_t size =
			at->ifa_addr->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
		ck_assert_int_eq(getnameinfo(at->ifa_addr, size, text, sizeof text, NULL, 0, NI_NUMERICHOST), 0);
		text[strcspn(text, "%")] = '\0';
		struct address mine = address_of(text);
		own |= address_equal(&mine, address);
	}
	freeifaddrs(interfaces);
	return own;
}

static void
check_against_oracle(const struct egress_policy *policy, const struct address *address)
{
	char text[ADDRESS_TEXT_BYTES];
	bool expected = !oracle_refuses(address);

	address_format(address, text);
	struct egress_verdict verdict = egress_check_address(policy, "name.example", address);
	if (verdict.allowed != expected && expected && is_own(address))
		return;
	/* Check's own assertions take their time, a hundred thousand times. */
	if (verdict.allowed != expected || strstr(verdict.reason, text) == NULL)
		ck_abort_msg("%s: %s", text, verdict.reason);
	verdict = egress_check_host(policy, text);
	if (verdict.allowed != expected)
		ck_abort_msg("%s as a host: %s", text, verdict.reason);
}

/* Adds step (1 or -1) to the address as one number; false when that leaves the family. */
static bool
move(struct address *address, int step)
{
	for (int i = address->family == 4 ? 3 : 15; i >= 0; i--) {
		address->bytes[i] = (uint8_t)(address->bytes[i] + step);
		if (address->bytes[i] != (step > 0 ? 0 : 0xff))
			return true;
	}
	return false;
}

static void
check_edges(const struct egress_policy *policy, const struct address *base, int bits)
{
	struct address first = *base, last = *base;

	for (int bit = bits; bit < (base->family == 4 ? 32 : 128); bit++)
		last.bytes[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
	ck_assert(oracle_refuses(&first));
	ck_assert(oracle_refuses(&last));
	check_against_oracle(policy, &first);
	check_against_oracle(policy, &last);
	if (move(&first, -1))
		check_against_oracle(policy, &first);
	if (move(&last, 1))
		check_against_oracle(policy, &last);
}

START_TEST(keeps_the_edges)
{
	struct egress_policy *policy = policy_of(NULL, 0, NULL, 0);
	struct address base;
	int bits;

	for (int i = 0; i < COUNT(refused); i++) {
		read_range(refused[i], &base, &bits);
		check_edges(policy, &base, bits);
	}
#define X(first, length, name)                                                                                         \
	base = address_of(first);                                                                                      \
	check_edges(policy, &base, length);
#include "fetch/ranges.tbl.h"
#undef X
	egress_policy_unref(policy);
}
END_TEST

static uint32_t
next_random(uint64_t *state)
{
	*state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(*state >> 32);
}

START_TEST(agrees_with_the_oracle)
{
	struct egress_policy *policy = policy_of(NULL, 0, NULL, 0);
	uint64_t random = 1;

	for (int round = 0; round < 100000; round++) {
		struct address address = {.family = round % 2 == 0 ? 4 : 6};
		for (int i = 0; i < (address.family == 4 ? 4 : 16); i++)
			address.bytes[i] = (uint8_t)next_random(&random);
		/* Half of the IPv6 ones in 2000::/3, some near the prefixes carved out of it, some with ISATAP. */
		if (address.family == 6 && round % 4 == 1)
			address.bytes[0] = (uint8_t)(0x20 | (address.bytes[0] & 0x1f));
		if (address.family == 6 && round % 8 == 1)
			address.bytes[0] = 0x20, address.bytes[1] = (uint8_t)(round / 8 % 3), address.bytes[2] &= 3;
		if (address.family == 6 && round % 64 == 5)
			memcpy(address.bytes + 8, (const uint8_t[]){(uint8_t)(round / 64 % 4), 0, 0x5e, 0xfe}, 4);
		check_against_oracle(policy, &address);
	}
	egress_policy_unref(policy);
}
END_TEST

START_TEST(names_the_range)
{
	static const struct {
		const char *address, *reason;
	} table[] = {
		{"127.0.0.1",
			"127.0.0.1 is in 127.0.0.0/8, loopback (RFC 1122); an operator can allow it with --egress-allow"},
		{"169.254.169.254", "metadata"},
		{"168.63.129.16", "cloud host agent"},
		{"::", "unspecified"},
		{"::1", "loopback"},
		{"::2", "IPv4-compatible"},
		{"::127.0.0.1", "IPv4-compatible"},
		{"::ffff:8.8.8.8", "IPv4-mapped"},
		{"64:ff9b::8.8.8.8", "NAT64"},
		{"64:ff9b:1::1", "local-use NAT64"},
		{"2002:808:808::1", "6to4"},
		{"2001::1", "Teredo"},
		{"2001:1::1", "IETF protocol"},
		{"2001:db8::1", "documentation"},
		{"fd00:ec2::254", "unique local"},
		{"fe80::1", "link-local"},
		{"fec0::1", "site-local"},
		{"ff02::1", "multicast"},
		{"4000::1", "outside of 2000::/3"},
		{"200::1", "outside of 2000::/3"},
		{"2a00::5efe:a00:1", "ISATAP"},
		{"2a00::200:5efe:808:808", "ISATAP"},
	};
	struct egress_policy *policy = policy_of(NULL, 0, NULL, 0);

	for (int i = 0; i < COUNT(table); i++) {
		struct egress_verdict verdict = egress_check_host(policy, table[i].address);
		ck_assert_msg(!verdict.allowed, "%s", table[i].address);
		ck_assert_msg(strstr(verdict.reason, table[i].reason) != NULL, "%s", verdict.reason);
		ck_assert_msg(strstr(verdict.reason, "--egress-allow") != NULL, "%s", verdict.reason);
		ck_assert_msg(strstr(verdict.reason, verdict.rule) != NULL, "%s, %s", verdict.reason, verdict.rule);
	}
	egress_policy_unref(policy);
}
END_TEST

START_TEST(refuses_its_own_addresses)
{
	struct egress_policy *policy = policy_of(NULL, 0, NULL, 0);
	struct ifaddrs *interfaces;
	int seen = 0;

	ck_assert_int_eq(getifaddrs(&interfaces), 0);
	for (struct ifaddrs *at = interfaces; at != NULL; at = at->ifa_next) {
		struct address address = {.family = 4};
		if (at->ifa_addr == NULL || at->ifa_addr->sa_family != AF_INET)
			continue;
		memcpy(address.bytes, &((struct sockaddr_in *)(void *)at->ifa_addr)->sin_addr, 4);
		ck_assert(!egress_check_address(policy, "name.example", &address).allowed);
		seen++;
	}
	freeifaddrs(interfaces);
	ck_assert_int_gt(seen, 0);
	egress_policy_unref(policy);
}
END_TEST

/* ---- rules */

START_TEST(reads_rules)
{
	static const struct {
		const char *rule;
		bool valid;
	} table[] = {
		{"10.0.0.1", true},
		{"10.0.0.0/8", true},
		{"10.1.2.3/8", true},
		{"0.0.0.0/0", true},
		{"10.0.0.1/32", true},
		{"::1", true},
		{"fd00::/8", true},
		{"::/0", true},
		{"::1/128", true},
		{"64:ff9b::10.0.0.0/104", true},
		{"localhost", true},
		{"db.example", true},
		{"DB.Example.", true},
		{"a_b.example", true},
		{"*.example", true},
		{"*.svc.cluster.local", true},
		{"*.example.", true},
		{"xn--mnchen-3ya.de", true},
		{"", false},
		{".", false},
		{"*", false},
		{"*.", false},
		{"**.example", false},
		{"*.*.example", false},
		{"a.*.example", false},
		{"*example", false},
		{".example", false},
		{"a..b", false},
		{"10.0.0.0/33", false},
		{"10.0.0.0/", false},
		{"10.0.0.0/-1", false},
		{"10.0.0.0/+8", false},
		{"10.0.0.0/8 ", false},
		{" 10.0.0.0/8", false},
		{"10.0.0.0/8/8", false},
		{"10.0.0.0/255.0.0.0", false},
		{"10.0.0/8", false},
		{"10/8", false},
		{"fd00::/129", false},
		{"fd00::/x", false},
		{"256.0.0.1", false},
		{"127.1", false},
		{"0x7f.1", false},
		{"2130706433", false},
		{"*.1", false},
		{"a.0x7f", false},
		{"::ffff:10.0.0.1", false},
		{"::ffff:10.0.0.0/104", false},
		{"::ffff:0:0/96", false},
		{"[::1]", false},
		{"fe80::1%eth0", false},
		{"db.example:80", false},
		{"http://db.example", false},
		{"db.example/8", false},
		{"münchen.de", false},
		{"a b", false},
		{"!example", false},
	};

	for (int i = 0; i < COUNT(table); i++) {
		char *rule = strdup(table[i].rule);
		const char *bad = "untouched";
		ck_assert_msg(egress_rule_valid(rule) == table[i].valid, "'%s'", rule);
		struct egress_policy *policy = egress_policy_new(NULL, 0, &rule, 1, &bad);
		ck_assert_msg((policy != NULL) == table[i].valid, "'%s'", rule);
		if (policy == NULL)
			ck_assert_ptr_eq(bad, rule);
		egress_policy_unref(policy);
		free(rule);
	}
}
END_TEST

START_TEST(names_the_bad_rule)
{
	char good[] = "10.0.0.0/8", broken[] = "10.0.0.0/99";
	char *rules[] = {good, broken};
	const char *bad = NULL;

	ck_assert_ptr_null(egress_policy_new(rules, 2, NULL, 0, &bad));
	ck_assert_ptr_eq(bad, broken);
	bad = NULL;
	ck_assert_ptr_null(egress_policy_new(rules, 1, rules, 2, &bad));
	ck_assert_ptr_eq(bad, broken);
}
END_TEST

/* One rule each; "" for none. */
static const struct {
	const char *allow, *deny, *host, *address;
	bool allowed;
} verdicts[] = {
	{"127.0.0.0/8", "", "localhost", "127.0.0.1", true},
	{"127.0.0.1", "", "127.0.0.1", "127.0.0.1", true},
	{"127.0.0.1", "", "localhost", "127.0.0.2", false},
	{"127.255.1.1/8", "", "localhost", "127.0.0.2", true},
	{"10.0.0.0/9", "", "a.example", "10.127.255.255", true},
	{"10.0.0.0/9", "", "a.example", "10.128.0.0", false},
	{"0.0.0.0/0", "", "a.example", "224.0.0.1", true},
	{"0.0.0.0/0", "", "a.example", "::1", false},
	{"::/0", "", "a.example", "::1", true},
	{"::/0", "", "a.example", "127.0.0.1", false},
	{"fd00::/8", "", "a.example", "fd12::1", true},
	{"fd00::/8", "", "a.example", "fc12::1", false},
	/* an IPv4 rule is not for what carries the address */
	{"10.0.0.0/8", "", "a.example", "::ffff:10.0.0.1", false},
	{"10.0.0.0/8", "", "a.example", "::10.0.0.1", false},
	{"10.0.0.0/8", "", "a.example", "64:ff9b::10.0.0.1", false},
	{"10.0.0.0/8", "", "a.example", "2002:a00:1::", false},
	/* names */
	{"db.example", "", "db.example", "10.0.0.1", true},
	{"db.example", "", "DB.Example.", "10.0.0.1", true},
	{"DB.EXAMPLE.", "", "db.example", "10.0.0.1", true},
	{"db.example", "", "a.db.example", "10.0.0.1", false},
	{"db.example", "", "xdb.example", "10.0.0.1", false},
	{"db.example", "", "db.example.org", "10.0.0.1", false},
	{"*.example", "", "db.example", "10.0.0.1", true},
	{"*.example", "", "a.db.example.", "10.0.0.1", true},
	{"*.example", "", "example", "10.0.0.1", false},
	{"*.example", "", ".example", "10.0.0.1", false},
	{"*.example", "", "dbexample", "10.0.0.1", false},
	{"db.example", "", "db.example", "::1", true},
	/* deny beats allow */
	{"10.0.0.0/8", "10.1.0.0/16", "a.example", "10.1.0.1", false},
	{"10.0.0.0/8", "10.1.0.0/16", "a.example", "10.2.0.1", true},
	{"10.1.0.1", "10.0.0.0/8", "a.example", "10.1.0.1", false},
	{"db.example", "10.0.0.0/8", "db.example", "10.0.0.1", false},
	{"db.example", "10.0.0.0/8", "db.example", "192.168.0.1", true},
	{"db.example", "db.example", "db.example", "8.8.8.8", false},
	{"8.8.8.8", "*.example", "db.example", "8.8.8.8", false},
	{"*.example", "db.example", "db.example.", "8.8.8.8", false},
	{"*.example", "db.example", "a.example.", "10.0.0.1", true},
	/* what carries a denied address */
	{"::/0", "8.8.8.0/24", "a.example", "::ffff:8.8.8.8", false},
	{"::/0", "8.8.8.0/24", "a.example", "64:ff9b::8.8.8.8", false},
	{"::/0", "8.8.8.0/24", "a.example", "2002:808:808::1", false},
	{"::/0", "8.8.8.0/24", "a.example", "::8.8.8.8", false},
	{"::/0", "8.8.8.0/24", "a.example", "2a00::5efe:808:808", false},
	{"::/0", "8.8.8.0/24", "a.example", "64:ff9b::8.8.9.8", true},
	/* deny alone */
	{"", "8.8.8.8", "dns.example", "8.8.8.8", false},
	{"", "8.8.8.8", "8.8.8.8.", "8.8.8.8", false},
	{"", "8.8.8.8", "dns.example", "8.8.4.4", true},
	{"", "2a00::/16", "dns.example", "2a00::1", false},
	{"", "2a00::/16", "dns.example", "2a01::1", true},
	{"", "*.example", "example", "8.8.8.8", true},
	{"", "a.example", "b.example", "8.8.8.8", true},
};

START_TEST(applies_rules)
{
	char *allow = strdup(verdicts[_i].allow), *deny = strdup(verdicts[_i].deny);
	struct egress_policy *policy = policy_of(&allow, allow[0] != '\0', &deny, deny[0] != '\0');

	ck_assert_msg(allows(policy, verdicts[_i].host, verdicts[_i].address) == verdicts[_i].allowed, "row %d", _i);
	egress_policy_unref(policy);
	free(allow);
	free(deny);
}
END_TEST

START_TEST(checks_hosts)
{
	static const struct {
		const char *host, *rule; /* rule: NULL when not refused so far */
	} table[] = {
		{"evil.example", "evil.example"},
		{"EVIL.example.", "evil.example"},
		{"a.evil.example", NULL},
		{"a.bad.example.", "*.bad.example"},
		{"bad.example", NULL},
		{"localhost", NULL},
		{"a.localhost", NULL},
		{"127.0.0.1", "loopback (RFC 1122)"},
		{"127.0.0.1.", "loopback (RFC 1122)"},
		{"::1", "loopback (RFC 4291)"},
		{"10.1.2.3", NULL},
		{"10.9.0.1", "10.9.0.0/16"},
		{"8.8.8.8", NULL},
		{"2a00::1", NULL},
		{"127.1", "malformed host"},
		{"0x7f.0.0.1", "malformed host"},
		{"2130706433", "malformed host"},
		{"", "malformed host"},
		{".", "malformed host"},
		{"[::1]", "malformed host"},
		{"fe80::1%1", "malformed host"},
		{"a/b", "malformed host"},
		{"a..", "malformed host"},
	};
	char allow_text[] = "10.0.0.0/8", evil[] = "evil.example", bad[] = "*.bad.example", net[] = "10.9.0.0/16";
	char *allow[] = {allow_text}, *deny[] = {evil, bad, net};
	struct egress_policy *policy = policy_of(allow, 1, deny, 3);

	for (int i = 0; i < COUNT(table); i++) {
		struct egress_verdict verdict = egress_check_host(policy, table[i].host);
		ck_assert_msg(verdict.allowed == (table[i].rule == NULL), "%s: %s", table[i].host, verdict.reason);
		ck_assert_ptr_nonnull(verdict.rule);
		if (table[i].rule != NULL)
			ck_assert_str_eq(verdict.rule, table[i].rule);
	}
	egress_policy_unref(policy);
}
END_TEST

START_TEST(takes_long_hosts)
{
	char host[1000], rule[300];
	char *deny[] = {rule};

	memset(host, 'a', sizeof host);
	host[sizeof host - 1] = '\0';
	for (int i = 0; i < 4; i++)
		snprintf(rule + 63 * i, sizeof rule - 63 * (size_t)i, "%.62s.", host);
	struct egress_policy *policy = policy_of(NULL, 0, deny, 1);
	struct egress_verdict verdict = egress_check_host(policy, rule);
	ck_assert(!verdict.allowed);
	ck_assert_str_eq(verdict.rule, rule);
	ck_assert(!egress_check_host(policy, host).allowed);
	ck_assert(allows(policy, host, "8.8.8.8"));
	ck_assert(!allows(policy, rule, "8.8.8.8"));
	egress_policy_unref(policy);
}
END_TEST

START_TEST(counts_references)
{
	struct egress_policy *policy = policy_of(NULL, 0, NULL, 0);

	ck_assert_ptr_eq(egress_policy_ref(policy), policy);
	egress_policy_unref(policy);
	ck_assert(!allows(policy, "localhost", "127.0.0.1"));
	egress_policy_unref(policy);
	egress_policy_unref(NULL);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("egress");
	TCase *cases = tcase_create("egress");
	SRunner *runner = srunner_create(suite);

	suite_add_tcase(suite, cases);
	tcase_set_timeout(cases, 60);
	tcase_add_test(cases, parses_addresses);
	tcase_add_test(cases, compares_addresses);
	tcase_add_test(cases, keeps_the_edges);
	tcase_add_test(cases, agrees_with_the_oracle);
	tcase_add_test(cases, names_the_range);
	tcase_add_test(cases, refuses_its_own_addresses);
	tcase_add_test(cases, reads_rules);
	tcase_add_test(cases, names_the_bad_rule);
	tcase_add_loop_test(cases, applies_rules, 0, COUNT(verdicts));
	tcase_add_test(cases, checks_hosts);
	tcase_add_test(cases, takes_long_hosts);
	tcase_add_test(cases, counts_references);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
