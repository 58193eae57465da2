/* The egress guard and the machine it runs on: names that are refused before a look-up, its addresses, its sockets. */
#include <ifaddrs.h>
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
	struct egress_verdict verdict = egress_check_address(policy, host, 80, &parsed);

	ck_assert_ptr_nonnull(verdict.rule);
	ck_assert_int_gt((int)strlen(verdict.reason), 0);
	ck_assert_ptr_null(strchr(verdict.reason, '\n'));
	return verdict.allowed;
}

/* ---- names */

/* Up to one rule each; "" for none. rule: what the verdict names; "" when it is to be looked up. */
static const struct {
	const char *allow, *deny, *host;
	int port;
	const char *rule;
} name_verdicts[] = {
	{"", "", "localhost", 80, "localhost (RFC 6761)"},
	{"", "", "LOCALHOST.", 80, "localhost (RFC 6761)"},
	{"", "", "a.localhost", 80, "localhost (RFC 6761)"},
	{"", "", "a.b.localhost.", 80, "localhost (RFC 6761)"},
	{"", "", "localhost.localdomain", 80, "localhost of a hosts file"},
	{"", "", "x.localhost.localdomain", 80, "localhost of a hosts file"},
	{"", "", "localhost6", 80, "localhost of a hosts file"},
	{"", "", "ip6-localhost", 80, "localhost of a hosts file"},
	{"", "", "IP6-loopback", 80, "localhost of a hosts file"},
	{"", "", "metadata", 80, "metadata service (Google Cloud)"},
	{"", "", "metadata.google.internal", 80, "metadata service (Google Cloud)"},
	{"", "", "Metadata.Google.Internal.", 443, "metadata service (Google Cloud)"},
	{"", "", "metadata.goog", 80, "metadata service (Google Cloud)"},
	{"", "", "instance-data", 80, "metadata service (Amazon EC2)"},
	{"", "", "instance-data.ec2.internal", 80, "metadata service (Amazon EC2)"},
	{"", "", "metadata.packet.net", 80, "metadata service (Equinix Metal)"},
	{"", "", "notlocalhost", 80, ""},
	{"", "", "localhost.example", 80, ""},
	{"", "", "metadata.example", 80, ""},
	{"", "", "a.metadata.goog", 80, ""},
	{"", "", "goog", 80, ""},
	/* allowed by name, in one way or another */
	{"localhost", "", "localhost", 80, ""},
	{"localhost", "", "a.localhost", 80, "localhost (RFC 6761)"},
	{"*.localhost", "", "a.localhost", 80, ""},
	{"*.localhost", "", "localhost", 80, "localhost (RFC 6761)"},
	{"localhost:80", "", "localhost", 80, ""},
	{"localhost:80", "", "localhost", 81, "localhost (RFC 6761)"},
	{"*.internal", "", "metadata.google.internal", 80, ""},
	{"metadata.packet.net", "", "metadata.packet.net", 443, ""},
	/* by an address that it stands for */
	{"127.0.0.0/8", "", "localhost", 80, ""},
	{"127.0.0.1", "", "a.localhost", 80, ""},
	{"127.0.0.1:80", "", "localhost", 80, ""},
	{"127.0.0.1:80", "", "localhost", 81, "localhost (RFC 6761)"},
	{"127.0.0.2", "", "localhost", 80, "localhost (RFC 6761)"},
	{"::1", "", "ip6-localhost", 80, ""},
	{"[::1]:80", "", "localhost", 80, ""},
	{"10.0.0.0/8", "", "localhost", 80, "localhost (RFC 6761)"},
	{"127.0.0.0/8", "", "metadata", 80, "metadata service (Google Cloud)"},
	{"169.254.169.254", "", "metadata.google.internal", 80, ""},
	{"169.254.169.254:80", "", "metadata.google.internal", 443, "metadata service (Google Cloud)"},
	{"169.254.0.0/16", "", "instance-data", 80, ""},
	{"fd00:ec2::254", "", "instance-data", 80, ""},
	{"fd20:ce::254", "", "metadata", 80, ""},
	/* deny beats it all */
	{"127.0.0.0/8", "localhost", "localhost", 80, "localhost"},
	{"localhost", "*.localhost", "a.localhost", 80, "*.localhost"},
	{"localhost", "localhost:80", "localhost", 80, "localhost:80"},
	{"localhost", "localhost:80", "localhost", 81, ""},
};

START_TEST(refuses_special_names)
{
	char *allow = strdup(name_verdicts[_i].allow), *deny = strdup(name_verdicts[_i].deny);
	struct egress_policy *policy = policy_of(&allow, allow[0] != '\0', &deny, deny[0] != '\0');
	struct egress_verdict verdict = egress_check_host(policy, name_verdicts[_i].host, name_verdicts[_i].port);

	ck_assert_msg(
		strcmp(verdict.rule, name_verdicts[_i].rule) == 0, "%s: %s", name_verdicts[_i].host, verdict.reason);
	ck_assert_msg(verdict.allowed == (name_verdicts[_i].rule[0] == '\0'), "%s", verdict.reason);
	if (!verdict.allowed)
		ck_assert_msg(strstr(verdict.reason, verdict.rule) != NULL, "%s", verdict.reason);
	egress_policy_unref(policy);
	free(allow);
	free(deny);
}
END_TEST

START_TEST(judges_the_addresses_of_a_special_name)
{
	char rule[] = "127.0.0.0/8";
	char *allow[] = {rule};
	struct egress_policy *policy = policy_of(allow, 1, NULL, 0);

	ck_assert(egress_check_host(policy, "localhost", 80).allowed);
	ck_assert(allows(policy, "localhost", "127.0.0.1"));
	ck_assert(!allows(policy, "localhost", "::1"));
	ck_assert(!allows(policy, "localhost", "10.0.0.1"));
	egress_policy_unref(policy);
}
END_TEST

/* ---- the server's own sockets */

#define ALLOW_ALL "0.0.0.0/0", "::/0"

/* Up to three allow rules; where it listens, as a bound address; is this address at port 8080 fetched? */
static const struct {
	const char *allow[3];
	const char *bound, *host, *address;
	bool allowed;
} own_sockets[] = {
	{{ALLOW_ALL}, "127.0.0.1", "127.0.0.1", "127.0.0.1", false},
	{{"127.0.0.0/8"}, "127.0.0.1", "localhost", "127.0.0.1", false},
	{{"127.0.0.1"}, "127.0.0.1", "localhost", "127.0.0.1", false},
	{{"localhost"}, "127.0.0.1", "localhost", "127.0.0.1", false},
	{{"a.example"}, "127.0.0.1", "a.example", "127.0.0.1", false},
	{{ALLOW_ALL}, "127.0.0.1", "a.example", "127.0.0.2", true},
	{{ALLOW_ALL}, "127.0.0.1", "a.example", "10.1.1.1", true},
	{{ALLOW_ALL}, "127.0.0.1", "0.0.0.0", "0.0.0.0", false},
	{{ALLOW_ALL}, "127.0.0.1", "::", "::", false},
	{{ALLOW_ALL}, "127.0.0.1", "::ffff:127.0.0.1", "::ffff:127.0.0.1", false},
	{{ALLOW_ALL}, "127.0.0.1", "::ffff:0.0.0.0", "::ffff:0.0.0.0", false},
	{{ALLOW_ALL}, "127.0.0.1", "::127.0.0.1", "::127.0.0.1", false},
	{{ALLOW_ALL}, "127.0.0.1", "::1", "::1", true},
	{{ALLOW_ALL}, "127.9.9.9", "127.9.9.9", "127.9.9.9", false},
	{{ALLOW_ALL}, "::1", "::1", "::1", false},
	{{ALLOW_ALL}, "::1", "::", "::", false},
	{{ALLOW_ALL}, "::1", "127.0.0.1", "127.0.0.1", true},
	/* on every address */
	{{ALLOW_ALL}, "0.0.0.0", "127.0.0.1", "127.0.0.1", false},
	{{ALLOW_ALL}, "0.0.0.0", "127.250.0.3", "127.250.0.3", false},
	{{ALLOW_ALL}, "0.0.0.0", "::ffff:127.0.0.2", "::ffff:127.0.0.2", false},
	{{ALLOW_ALL}, "0.0.0.0", "0.0.0.0", "0.0.0.0", false},
	{{ALLOW_ALL}, "0.0.0.0", "10.1.1.1", "10.1.1.1", true},
	{{ALLOW_ALL}, "0.0.0.0", "8.8.8.8", "8.8.8.8", true},
	{{ALLOW_ALL}, "::", "::1", "::1", false},
	{{ALLOW_ALL}, "::", "127.0.0.1", "127.0.0.1", false},
	{{ALLOW_ALL}, "::", "2a00::1", "2a00::1", true},
	/* a public address of its own */
	{{"203.0.113.9"}, "203.0.113.9", "me.example", "203.0.113.9", false},
	{{ALLOW_ALL}, "203.0.113.9", "me.example", "64:ff9b::203.0.113.9", false},
	/* a rule with the port */
	{{"127.0.0.1:8080"}, "127.0.0.1", "127.0.0.1", "127.0.0.1", true},
	{{"127.0.0.0/8", "127.0.0.1:8080"}, "127.0.0.1", "localhost", "127.0.0.1", true},
	{{"127.0.0.0/8:8080"}, "0.0.0.0", "127.0.0.1", "127.0.0.1", true},
	{{"127.0.0.0/8", "127.0.0.1:8081"}, "127.0.0.1", "127.0.0.1", "127.0.0.1", false},
	{{"127.0.0.0/8", "127.0.0.2:8080"}, "127.0.0.1", "127.0.0.1", "127.0.0.1", false},
	{{"localhost:8080"}, "127.0.0.1", "localhost", "127.0.0.1", true},
	{{"127.0.0.0/8", "localhost:8080"}, "127.0.0.1", "127.0.0.1", "127.0.0.1", false},
	{{"*.example:8080"}, "127.0.0.1", "a.example", "127.0.0.1", true},
	{{"[::1]:8080"}, "::1", "::1", "::1", true},
	{{ALLOW_ALL, "127.0.0.1:8080"}, "127.0.0.1", "a.example", "::ffff:127.0.0.1", false},
};

START_TEST(refuses_its_own_sockets)
{
	char *allow[3] = {NULL};
	size_t count = 0;
	struct endpoint listening = {address_of(own_sockets[_i].bound), 8080};
	struct address address = address_of(own_sockets[_i].address);
	const char *host = own_sockets[_i].host;

	for (; count < 3 && own_sockets[_i].allow[count] != NULL; count++)
		allow[count] = strdup(own_sockets[_i].allow[count]);
	struct egress_policy *policy = policy_of(allow, count, NULL, 0);
	ck_assert_int_eq(egress_policy_set_listening(policy, &listening, 1), 0);
	struct egress_verdict verdict = egress_check_address(policy, host, 8080, &address);
	ck_assert_msg(verdict.allowed == own_sockets[_i].allowed, "row %d: %s", _i, verdict.reason);
	if (!verdict.allowed) {
		ck_assert_str_eq(verdict.rule, "own listening socket of this server");
		ck_assert_msg(strstr(verdict.reason, "port 8080") != NULL, "%s", verdict.reason);
	}
	/* Another port is another's. */
	verdict = egress_check_address(policy, host, 8081, &address);
	ck_assert_str_ne(verdict.rule, "own listening socket of this server");
	egress_policy_unref(policy);
	for (size_t i = 0; i < count; i++)
		free(allow[i]);
}
END_TEST

START_TEST(refuses_each_of_its_sockets)
{
	char v4[] = "0.0.0.0/0", v6[] = "::/0";
	char *allow[] = {v4, v6};
	struct egress_policy *policy = policy_of(allow, 2, NULL, 0);
	struct endpoint listening[] = {{address_of("127.0.0.1"), 8080}, {address_of("::1"), 9090}};

	ck_assert_int_eq(egress_policy_set_listening(policy, listening, 2), 0);
	ck_assert(!egress_check_host(policy, "127.0.0.1", 8080).allowed);
	ck_assert(!egress_check_host(policy, "::1", 9090).allowed);
	ck_assert(egress_check_host(policy, "127.0.0.1", 9090).allowed);
	ck_assert(egress_check_host(policy, "::1", 8080).allowed);
	ck_assert_int_eq(egress_policy_set_listening(policy, NULL, 0), 0);
	ck_assert(egress_check_host(policy, "127.0.0.1", 8080).allowed);
	egress_policy_unref(policy);
}
END_TEST

/* An address may have come to an interface after the policy was made: a connection to it begins there, too. */
START_TEST(knows_a_connection_to_itself)
{
	struct address here = address_of("8.8.8.8"), there = address_of("8.8.4.4");
	struct endpoint listening = {address_of("0.0.0.0"), 8080};
	char rule[] = "8.8.8.8";
	char *allow[] = {rule};
	struct egress_policy *bare = policy_of(NULL, 0, NULL, 0), *policy = policy_of(allow, 1, NULL, 0);

	ck_assert(egress_check_connection(bare, "a.example", 80, &there, &here).allowed);
	ck_assert(egress_check_connection(bare, "a.example", 80, &here, NULL).allowed);
	struct egress_verdict verdict = egress_check_connection(bare, "a.example", 80, &here, &here);
	ck_assert_str_eq(verdict.rule, "own address of this machine");
	ck_assert(!verdict.allowed);
	ck_assert_int_eq(egress_policy_set_listening(policy, &listening, 1), 0);
	ck_assert(egress_check_connection(policy, "a.example", 80, &here, &here).allowed);
	ck_assert(!egress_check_connection(policy, "a.example", 8080, &here, &here).allowed);
	egress_policy_unref(bare);
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
		ck_assert(!egress_check_address(policy, "name.example", 80, &address).allowed);
		seen++;
	}
	freeifaddrs(interfaces);
	ck_assert_int_gt(seen, 0);
	egress_policy_unref(policy);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("egress self");
	TCase *cases = tcase_create("egress self");
	SRunner *runner = srunner_create(suite);

	suite_add_tcase(suite, cases);
	tcase_add_loop_test(cases, refuses_special_names, 0, COUNT(name_verdicts));
	tcase_add_test(cases, judges_the_addresses_of_a_special_name);
	tcase_add_loop_test(cases, refuses_its_own_sockets, 0, COUNT(own_sockets));
	tcase_add_test(cases, refuses_each_of_its_sockets);
	tcase_add_test(cases, knows_a_connection_to_itself);
	tcase_add_test(cases, refuses_its_own_addresses);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
