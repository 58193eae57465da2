/* The egress guard: rules, their ports and their order, what a verdict says. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
	struct egress_verdict verdict = egress_check_address(policy, host, 80, &parsed);

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

/* ---- what is built in; unit_egress_oracle.c has its edges */

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
		struct egress_verdict verdict = egress_check_host(policy, table[i].address, 80);
		ck_assert_msg(!verdict.allowed, "%s", table[i].address);
		ck_assert_msg(strstr(verdict.reason, table[i].reason) != NULL, "%s", verdict.reason);
		ck_assert_msg(strstr(verdict.reason, "--egress-allow") != NULL, "%s", verdict.reason);
		ck_assert_msg(strstr(verdict.reason, verdict.rule) != NULL, "%s, %s", verdict.reason, verdict.rule);
	}
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
		{"fe80::1%eth0", false},
		/* with ports */
		{"10.0.0.0/8:443", true},
		{"10.1.2.3:80", true},
		{"0.0.0.0/0:65535", true},
		{"db.example:80", true},
		{"db.example.:1", true},
		{"*.example:443", true},
		{"[fd00::/8]:443", true},
		{"[fd00::7]:443", true},
		{"[::]:80", true},
		{"[64:ff9b::10.0.0.0/104]:80", true},
		{"[::1]", true},
		{"[fd00::/8]", true},
		{"fd00::7:443", true}, /* an address, as it stands */
		{"10.0.0.0/8:", false},
		{"10.0.0.0/8:0", false},
		{"10.0.0.0/8:65536", false},
		{"10.0.0.0/8:-1", false},
		{"10.0.0.0/8:+80", false},
		{"10.0.0.0/8: 80", false},
		{"10.0.0.0/8:80 ", false},
		{"10.0.0.0/8:x", false},
		{"10.0.0.0/8:80-90", false},
		{"10.0.0.0/8:80:90", false},
		{"10.0.0.0:80/8", false},
		{"db.example:", false},
		{"db.example:http", false},
		{"db.example:000080", false},
		{"*.example:0", false},
		{":80", false},
		{"*:80", false},
		{"[]", false},
		{"[]:80", false},
		{"[::1", false},
		{"[::1:80", false},
		{"[::1]80", false},
		{"[::1]:", false},
		{"[::1]:0", false},
		{"[::1]/128", false},
		{"[::1]/128:80", false},
		{"[[::1]]:80", false},
		{"::1]:80", false},
		{"[10.0.0.1]:80", false},
		{"[10.0.0.0/8]:80", false},
		{"[db.example]:80", false},
		{"[*.example]:80", false},
		{"[::ffff:10.0.0.1]:80", false},
		{"[fe80::1%eth0]:80", false},
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
	{"::/0", "", "a.example", "::ffff:8.8.8.8", false},
	{"::/64", "", "a.example", "::ffff:169.254.169.254", false},
	{"a.example", "", "a.example", "::ffff:8.8.8.8", true},
	{"::/0", "8.8.8.0/24", "a.example", "64:ff9b::8.8.8.8", false},
	{"::/0", "8.8.8.0/24", "a.example", "2002:808:808::1", false},
	{"::/0", "8.8.8.0/24", "a.example", "::8.8.8.8", false},
	{"::/0", "8.8.8.0/24", "a.example", "2a00::5efe:808:808", false},
	{"::/0", "8.8.8.0/24", "a.example", "2a00::200:5efe:808:808", false},
	{"::/0", "8.8.8.0/24", "a.example", "64:ff9b::8.8.9.8", true},
	{"::/0", "8.8.8.0/24", "a.example", "::ffff:0:8.8.8.8", false},
	{"::/0", "8.8.8.0/24", "a.example", "64:ff9b:1::8.8.8.8", false},
	{"::/0", "8.8.8.0/24", "a.example", "64:ff9b:1:abcd:12:3456:808:808", false},
	{"::/0", "8.8.8.0/24", "a.example", "64:ff9b:1:abcd:8:808:800:0", false},
	{"::/0", "8.8.8.0/24", "a.example", "64:ff9b:1:ab08:8:808::", false},
	{"::/0", "8.8.8.0/24", "a.example", "64:ff9b:1:808:8:800::", false},
	{"::/0", "8.8.8.0/24", "a.example", "64:ff9b:1::8.8.9.8", true},
	{"::/0", "8.8.8.0/24", "a.example", "2001:0:102:304:0:1234:f7f7:f7f7", false}, /* Teredo's client, XORed */
	{"::/0", "8.8.8.0/24", "a.example", "2001:0:102:304:0:1234:808:808", true},
	{"::/0", "8.8.8.0/24", "a.example", "2001:0:808:808:0:1234:f7f7:f6f7", false}, /* its server */
	{"::/0", "8.8.8.0/24", "a.example", "2001:0:102:304:0:1234:f7f7:f6f7", true},
	{"::/0", "8.8.8.0/24", "a.example", "2003:808:808::1", true},
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

/* One rule each; "" for none. */
static const struct {
	const char *allow, *deny, *host, *address;
	int port;
	bool allowed;
} port_verdicts[] = {
	{"10.0.0.0/8:443", "", "a.example", "10.1.2.3", 443, true},
	{"10.0.0.0/8:443", "", "a.example", "10.1.2.3", 80, false},
	{"10.0.0.0/8:443", "", "a.example", "10.1.2.3", 4430, false},
	{"10.0.0.0/8:443", "", "a.example", "11.1.2.3", 80, true},
	{"10.1.2.3:80", "", "10.1.2.3", "10.1.2.3", 80, true},
	{"10.1.2.3:80", "", "10.1.2.3", "10.1.2.3", 81, false},
	{"10.1.2.3:80", "", "10.1.2.4", "10.1.2.4", 80, false},
	{"10.1.2.3:65535", "", "10.1.2.3", "10.1.2.3", 65535, true},
	{"[fd00::/8]:443", "", "a.example", "fd12::1", 443, true},
	{"[fd00::/8]:443", "", "a.example", "fd12::1", 80, false},
	{"[fd00::7]:443", "", "a.example", "fd00::7", 443, true},
	{"[fd00::7]:443", "", "a.example", "fd00::8", 443, false},
	{"[fd00::7]", "", "a.example", "fd00::7", 1, true},
	{"fd00::7:443", "", "a.example", "fd00::7", 443, false},
	{"db.internal:5432", "", "DB.internal.", "10.0.0.1", 5432, true},
	{"db.internal:5432", "", "db.internal", "10.0.0.1", 5433, false},
	{"*.internal:443", "", "a.b.internal", "10.0.0.1", 443, true},
	{"*.internal:443", "", "a.b.internal", "10.0.0.1", 80, false},
	{"*.internal:443", "", "internal", "10.0.0.1", 443, false},
	/* deny, for one port alone; it beats allow */
	{"", "8.8.8.8:80", "8.8.8.8", "8.8.8.8", 80, false},
	{"", "8.8.8.8:80", "8.8.8.8", "8.8.8.8", 443, true},
	{"10.0.0.0/8", "10.0.0.0/8:22", "a.example", "10.0.0.1", 22, false},
	{"10.0.0.0/8", "10.0.0.0/8:22", "a.example", "10.0.0.1", 23, true},
	{"10.0.0.1:22", "10.0.0.0/8", "a.example", "10.0.0.1", 22, false},
	{"10.0.0.0/8:22", "db.internal:22", "db.internal", "10.0.0.1", 22, false},
	{"10.0.0.0/8", "db.internal:22", "db.internal", "10.0.0.1", 80, true},
	{"", "*.example:80", "a.example", "8.8.8.8", 80, false},
	{"", "*.example:80", "a.example", "8.8.8.8", 443, true},
	{"::/0", "8.8.8.8:80", "a.example", "64:ff9b::8.8.8.8", 80, false},
	{"::/0", "8.8.8.8:80", "a.example", "64:ff9b::8.8.8.8", 443, true},
};

START_TEST(minds_ports)
{
	char *allow = strdup(port_verdicts[_i].allow), *deny = strdup(port_verdicts[_i].deny);
	struct egress_policy *policy = policy_of(&allow, allow[0] != '\0', &deny, deny[0] != '\0');
	struct address address = address_of(port_verdicts[_i].address), literal;
	const char *host = port_verdicts[_i].host;
	struct egress_verdict verdict = egress_check_address(policy, host, port_verdicts[_i].port, &address);

	ck_assert_msg(verdict.allowed == port_verdicts[_i].allowed, "row %d: %s", _i, verdict.reason);
	if (address_parse(host, &literal) == 0)
		ck_assert(egress_check_host(policy, host, port_verdicts[_i].port).allowed == verdict.allowed);
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
		{"localhost", "localhost (RFC 6761)"},
		{"a.localhost", "localhost (RFC 6761)"},
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
		struct egress_verdict verdict = egress_check_host(policy, table[i].host, 80);
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
	struct egress_verdict verdict = egress_check_host(policy, rule, 80);
	ck_assert(!verdict.allowed);
	ck_assert_str_eq(verdict.rule, rule);
	ck_assert(!egress_check_host(policy, host, 80).allowed);
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
	tcase_add_test(cases, names_the_range);
	tcase_add_test(cases, reads_rules);
	tcase_add_test(cases, names_the_bad_rule);
	tcase_add_loop_test(cases, applies_rules, 0, COUNT(verdicts));
	tcase_add_loop_test(cases, minds_ports, 0, COUNT(port_verdicts));
	tcase_add_test(cases, checks_hosts);
	tcase_add_test(cases, takes_long_hosts);
	tcase_add_test(cases, counts_references);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
