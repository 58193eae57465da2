/*
 * The egress guard's ranges, told by others than itself: every edge of doc/egress.md written out, a million random
 * addresses against an oracle of integer comparisons that shares no table with the guard, and a thousand public
 * addresses, none of which may be refused.
 */
#include <ifaddrs.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <check.h>

#include "fetch/egress.h"

#define COUNT(table) ((int)(sizeof(table) / sizeof *(table)))
#define RANDOM_ADDRESSES 1000000
#define SEED UINT64_C(0x9e3779b97f4a7c15)

static struct egress_policy *policy;

static void
setup(void)
{
	const char *bad = NULL;

	policy = egress_policy_new(NULL, 0, NULL, 0, &bad);
	ck_assert_ptr_nonnull(policy);
}

static void
teardown(void)
{
	egress_policy_unref(policy);
}

static bool
is_own(const struct address *address)
{
	struct ifaddrs *interfaces;
	bool own = false;

	ck_assert_int_eq(getifaddrs(&interfaces), 0);
	for (struct ifaddrs *at = interfaces; at != NULL; at = at->ifa_next) {
		if (at->ifa_addr != NULL && at->ifa_addr->sa_family == AF_INET && address->family == 4)
			own |= memcmp(&((struct sockaddr_in *)(void *)at->ifa_addr)->sin_addr, address->bytes, 4) == 0;
		if (at->ifa_addr != NULL && at->ifa_addr->sa_family == AF_INET6 && address->family == 6)
			own |= memcmp(&((struct sockaddr_in6 *)(void *)at->ifa_addr)->sin6_addr, address->bytes, 16) ==
				0;
	}
	freeifaddrs(interfaces);
	return own;
}

/* ---- the edges */

/* First, last and both neighbours of each range of doc/egress.md, and the rule that refuses it; "" when none does. */
static const struct {
	const char *address, *rule;
} edges[] = {
	/* 0.0.0.0/8 */
	{"0.0.0.0", "this network (RFC 791)"},
	{"0.255.255.255", "this network (RFC 791)"},
	{"1.0.0.0", ""},
	/* 10.0.0.0/8 */
	{"9.255.255.255", ""},
	{"10.0.0.0", "private use (RFC 1918)"},
	{"10.255.255.255", "private use (RFC 1918)"},
	{"11.0.0.0", ""},
	/* 100.64.0.0/10 */
	{"100.63.255.255", ""},
	{"100.64.0.0", "shared address space (RFC 6598)"},
	{"100.127.255.255", "shared address space (RFC 6598)"},
	{"100.128.0.0", ""},
	/* 127.0.0.0/8 */
	{"126.255.255.255", ""},
	{"127.0.0.0", "loopback (RFC 1122)"},
	{"127.255.255.255", "loopback (RFC 1122)"},
	{"128.0.0.0", ""},
	/* 168.63.129.16/32 */
	{"168.63.129.15", ""},
	{"168.63.129.16", "cloud host agent (Azure)"},
	{"168.63.129.17", ""},
	/* 192.80.8.124/32 */
	{"192.80.8.123", ""},
	{"192.80.8.124", "metadata service (Equinix Metal)"},
	{"192.80.8.125", ""},
	/* 169.254.0.0/16 */
	{"169.253.255.255", ""},
	{"169.254.0.0", "link-local and metadata (RFC 3927)"},
	{"169.254.255.255", "link-local and metadata (RFC 3927)"},
	{"169.255.0.0", ""},
	/* 172.16.0.0/12 */
	{"172.15.255.255", ""},
	{"172.16.0.0", "private use (RFC 1918)"},
	{"172.31.255.255", "private use (RFC 1918)"},
	{"172.32.0.0", ""},
	/* 192.0.0.0/24 */
	{"191.255.255.255", ""},
	{"192.0.0.0", "IETF protocol assignments (RFC 6890)"},
	{"192.0.0.255", "IETF protocol assignments (RFC 6890)"},
	{"192.0.1.0", ""},
	/* 192.0.2.0/24 */
	{"192.0.1.255", ""},
	{"192.0.2.0", "documentation (RFC 5737)"},
	{"192.0.2.255", "documentation (RFC 5737)"},
	{"192.0.3.0", ""},
	/* 192.31.196.0/24 */
	{"192.31.195.255", ""},
	{"192.31.196.0", "AS112 (RFC 7535)"},
	{"192.31.196.255", "AS112 (RFC 7535)"},
	{"192.31.197.0", ""},
	/* 192.52.193.0/24 */
	{"192.52.192.255", ""},
	{"192.52.193.0", "multicast tunnelling (RFC 7450)"},
	{"192.52.193.255", "multicast tunnelling (RFC 7450)"},
	{"192.52.194.0", ""},
	/* 192.88.99.0/24 */
	{"192.88.98.255", ""},
	{"192.88.99.0", "6to4 relay anycast (RFC 7526)"},
	{"192.88.99.255", "6to4 relay anycast (RFC 7526)"},
	{"192.88.100.0", ""},
	/* 192.168.0.0/16 */
	{"192.167.255.255", ""},
	{"192.168.0.0", "private use (RFC 1918)"},
	{"192.168.255.255", "private use (RFC 1918)"},
	{"192.169.0.0", ""},
	/* 192.175.48.0/24 */
	{"192.175.47.255", ""},
	{"192.175.48.0", "AS112 (RFC 7534)"},
	{"192.175.48.255", "AS112 (RFC 7534)"},
	{"192.175.49.0", ""},
	/* 198.18.0.0/15 */
	{"198.17.255.255", ""},
	{"198.18.0.0", "benchmarking (RFC 2544)"},
	{"198.19.255.255", "benchmarking (RFC 2544)"},
	{"198.20.0.0", ""},
	/* 198.51.100.0/24 */
	{"198.51.99.255", ""},
	{"198.51.100.0", "documentation (RFC 5737)"},
	{"198.51.100.255", "documentation (RFC 5737)"},
	{"198.51.101.0", ""},
	/* 203.0.113.0/24 */
	{"203.0.112.255", ""},
	{"203.0.113.0", "documentation (RFC 5737)"},
	{"203.0.113.255", "documentation (RFC 5737)"},
	{"203.0.114.0", ""},
	/* 224.0.0.0/4 */
	{"223.255.255.255", ""},
	{"224.0.0.0", "multicast (RFC 5771)"},
	{"239.255.255.255", "multicast (RFC 5771)"},
	{"240.0.0.0", "reserved and broadcast (RFC 1112)"},
	/* 240.0.0.0/4 */
	{"239.255.255.255", "multicast (RFC 5771)"},
	{"240.0.0.0", "reserved and broadcast (RFC 1112)"},
	{"255.255.255.255", "reserved and broadcast (RFC 1112)"},
	/* 2001::/32 */
	{"2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ""},
	{"2001::", "Teredo (RFC 4380)"},
	{"2001:0:ffff:ffff:ffff:ffff:ffff:ffff", "Teredo (RFC 4380)"},
	{"2001:1::", "IETF protocol assignments (RFC 2928)"},
	/* 2001::/23 */
	{"2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ""},
	{"2001::", "Teredo (RFC 4380)"},
	{"2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", "IETF protocol assignments (RFC 2928)"},
	{"2001:200::", ""},
	/* 2001:db8::/32 */
	{"2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", ""},
	{"2001:db8::", "documentation (RFC 3849)"},
	{"2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "documentation (RFC 3849)"},
	{"2001:db9::", ""},
	/* 2002::/16 */
	{"2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ""},
	{"2002::", "6to4 (RFC 3056)"},
	{"2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "6to4 (RFC 3056)"},
	{"2003::", ""},
	/* 2620:4f:8000::/48 */
	{"2620:4f:7fff:ffff:ffff:ffff:ffff:ffff", ""},
	{"2620:4f:8000::", "AS112 (RFC 7534)"},
	{"2620:4f:8000:ffff:ffff:ffff:ffff:ffff", "AS112 (RFC 7534)"},
	{"2620:4f:8001::", ""},
	/* 3fff::/20 */
	{"3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ""},
	{"3fff::", "documentation (RFC 9637)"},
	{"3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", "documentation (RFC 9637)"},
	{"3fff:1000::", ""},
	/* ::/128 */
	{"::", "unspecified (RFC 4291)"},
	{"::1", "loopback (RFC 4291)"},
	/* ::1/128 */
	{"::", "unspecified (RFC 4291)"},
	{"::1", "loopback (RFC 4291)"},
	{"::2", "IPv4-compatible (RFC 4291)"},
	/* ::/96 */
	{"::", "unspecified (RFC 4291)"},
	{"::ffff:ffff", "IPv4-compatible (RFC 4291)"},
	{"::1:0:0", "outside of 2000::/3, global unicast (RFC 4291)"},
	/* ::ffff:0:0/96 */
	{"::fffe:ffff:ffff", "outside of 2000::/3, global unicast (RFC 4291)"},
	{"::ffff:0:0", "IPv4-mapped (RFC 4291)"},
	{"::ffff:ffff:ffff", "IPv4-mapped (RFC 4291)"},
	{"::1:0:0:0", "outside of 2000::/3, global unicast (RFC 4291)"},
	/* 64:ff9b::/96 */
	{"64:ff9a:ffff:ffff:ffff:ffff:ffff:ffff", "outside of 2000::/3, global unicast (RFC 4291)"},
	{"64:ff9b::", "NAT64 (RFC 6052)"},
	{"64:ff9b::ffff:ffff", "NAT64 (RFC 6052)"},
	{"64:ff9b::1:0:0", "outside of 2000::/3, global unicast (RFC 4291)"},
	/* 64:ff9b:1::/48 */
	{"64:ff9b:0:ffff:ffff:ffff:ffff:ffff", "outside of 2000::/3, global unicast (RFC 4291)"},
	{"64:ff9b:1::", "local-use NAT64 (RFC 8215)"},
	{"64:ff9b:1:ffff:ffff:ffff:ffff:ffff", "local-use NAT64 (RFC 8215)"},
	{"64:ff9b:2::", "outside of 2000::/3, global unicast (RFC 4291)"},
	/* 100::/64 */
	{"ff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "outside of 2000::/3, global unicast (RFC 4291)"},
	{"100::", "discard-only (RFC 6666)"},
	{"100::ffff:ffff:ffff:ffff", "discard-only (RFC 6666)"},
	{"100:0:0:1::", "outside of 2000::/3, global unicast (RFC 4291)"},
	/* 5f00::/16 */
	{"5eff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "outside of 2000::/3, global unicast (RFC 4291)"},
	{"5f00::", "segment routing (RFC 9602)"},
	{"5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "segment routing (RFC 9602)"},
	{"5f01::", "outside of 2000::/3, global unicast (RFC 4291)"},
	/* fc00::/7 */
	{"fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "outside of 2000::/3, global unicast (RFC 4291)"},
	{"fc00::", "unique local (RFC 4193)"},
	{"fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "unique local (RFC 4193)"},
	{"fe00::", "outside of 2000::/3, global unicast (RFC 4291)"},
	/* fe80::/10 */
	{"fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "outside of 2000::/3, global unicast (RFC 4291)"},
	{"fe80::", "link-local (RFC 4291)"},
	{"febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "link-local (RFC 4291)"},
	{"fec0::", "site-local (RFC 3879)"},
	/* fec0::/10 */
	{"febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "link-local (RFC 4291)"},
	{"fec0::", "site-local (RFC 3879)"},
	{"feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "site-local (RFC 3879)"},
	{"ff00::", "multicast (RFC 4291)"},
	/* ff00::/8 */
	{"feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "site-local (RFC 3879)"},
	{"ff00::", "multicast (RFC 4291)"},
	{"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "multicast (RFC 4291)"},
	/* 2000::/3 */
	{"1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "outside of 2000::/3, global unicast (RFC 4291)"},
	{"2000::", ""},
	{"3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ""},
	{"4000::", "outside of 2000::/3, global unicast (RFC 4291)"},
	/* ISATAP, around its identifiers in a prefix that is fetched */
	{"2a00::5efd:ffff:ffff", ""},
	{"2a00::5efe:0:0", "ISATAP identifier (RFC 5214)"},
	{"2a00::5efe:ffff:ffff", "ISATAP identifier (RFC 5214)"},
	{"2a00::5eff:0:0", ""},
	{"2a00::200:5efd:ffff:ffff", ""},
	{"2a00::200:5efe:0:0", "ISATAP identifier (RFC 5214)"},
	{"2a00::200:5efe:ffff:ffff", "ISATAP identifier (RFC 5214)"},
	{"2a00::200:5eff:0:0", ""},
	{"2a00::100:5efe:1:1", ""},
	{"2a00::300:5efe:1:1", ""},
};

START_TEST(keeps_every_edge)
{
	struct address address;

	for (int i = 0; i < COUNT(edges); i++) {
		ck_assert_msg(address_parse(edges[i].address, &address) == 0, "%s", edges[i].address);
		struct egress_verdict verdict = egress_check_host(policy, edges[i].address, 80);
		if (verdict.allowed != (edges[i].rule[0] == '\0') && is_own(&address))
			continue;
		ck_assert_msg(verdict.allowed == (edges[i].rule[0] == '\0'), "%s", verdict.reason);
		ck_assert_msg(strcmp(verdict.rule, edges[i].rule) == 0, "%s: %s, not %s", edges[i].address,
			verdict.rule, edges[i].rule);
		verdict = egress_check_address(policy, "name.example", 443, &address);
		ck_assert_msg(
			strcmp(verdict.rule, edges[i].rule) == 0, "%s of a name: %s", edges[i].address, verdict.rule);
	}
}
END_TEST

/* ---- the oracle */

static bool
oracle_refuses_v4(uint32_t a)
{
	uint32_t net8 = a >> 24, net16 = a >> 16, net24 = a >> 8;

	return net8 == 0 || net8 == 10 || net8 == 127 || net8 >= 224 || /* multicast, and all above it */
		(a >= 0x64400000 && a <= 0x647fffff) ||                 /* 100.64/10 */
		(a >= 0xac100000 && a <= 0xac1fffff) ||                 /* 172.16/12 */
		net16 == 0xa9fe || net16 == 0xc0a8 ||                   /* 169.254/16, 192.168/16 */
		net16 == 0xc612 || net16 == 0xc613 ||                   /* 198.18/15 */
		net24 == 0xc00000 || net24 == 0xc00002 ||               /* 192.0.0/24, 192.0.2/24 */
		net24 == 0xc01fc4 || net24 == 0xc034c1 ||               /* 192.31.196/24, 192.52.193/24 */
		net24 == 0xc05863 || net24 == 0xc0af30 ||               /* 192.88.99/24, 192.175.48/24 */
		net24 == 0xc63364 || net24 == 0xcb0071 ||               /* 198.51.100/24, 203.0.113/24 */
		a == 0xa83f8110 || a == 0xc050087c;                     /* 168.63.129.16, 192.80.8.124 */
}

static bool
oracle_refuses_v6(uint64_t high, uint64_t low)
{
	if (high < UINT64_C(0x2000000000000000) || high > UINT64_C(0x3fffffffffffffff))
		return true;
	return (high >= UINT64_C(0x2001000000000000) && high <= UINT64_C(0x200101ffffffffff)) || /* 2001::/23 */
		high >> 32 == 0x20010db8 ||                                                      /* 2001:db8::/32 */
		high >> 48 == 0x2002 ||                                                          /* 2002::/16 */
		high >> 16 == UINT64_C(0x2620004f8000) ||                                        /* 2620:4f:8000::/48 */
		high >> 44 == 0x3fff0 ||                                                         /* 3fff::/20 */
		low >> 32 == 0x00005efe || low >> 32 == 0x02005efe;                              /* ISATAP */
}

/* xorshift64* */
static uint64_t
next_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * UINT64_C(0x2545f4914f6cdd1d);
}

/* Changes up to so many of the lowest bits, often few of them; now and then it goes one beyond. */
static uint64_t
near(uint64_t base, unsigned bits, uint64_t *random)
{
	unsigned few = (unsigned)(next_random(random) % (bits + 1));
	uint64_t mask = few == 0 ? 0 : UINT64_MAX >> (64 - few);

	return (base ^ (next_random(random) & mask)) + next_random(random) % 3 - 1;
}

static uint32_t
random_v4(uint64_t *random)
{
	static const uint32_t bases[] = {0x00000000, 0x0a000000, 0x64400000, 0x64800000, 0x7f000001, 0xa83f8110,
		0xa9fea9fe, 0xac100000, 0xac200000, 0xc0000000, 0xc0000200, 0xc01fc400, 0xc034c100, 0xc0586300,
		0xc0a80000, 0xc0af3000, 0xc6120000, 0xc6140000, 0xc6336400, 0xcb007100, 0xe0000000, 0xf0000000};

	if (next_random(random) % 2 == 0)
		return (uint32_t)next_random(random);
	return (uint32_t)near(bases[next_random(random) % (sizeof bases / sizeof *bases)], 20, random);
}

static void
random_v6(uint64_t *random, uint64_t *ret_high, uint64_t *ret_low)
{
	static const uint64_t bases[] = {0, UINT64_C(0x0064ff9b00000000), UINT64_C(0x0064ff9b00010000),
		UINT64_C(0x0100000000000000), UINT64_C(0x2000000000000000), UINT64_C(0x2001000000000000),
		UINT64_C(0x2001020000000000), UINT64_C(0x20010db800000000), UINT64_C(0x20010db900000000),
		UINT64_C(0x2002000000000000), UINT64_C(0x2003000000000000), UINT64_C(0x2620004f80000000),
		UINT64_C(0x2620004f80010000), UINT64_C(0x3fff000000000000), UINT64_C(0x3fff100000000000),
		UINT64_C(0x4000000000000000), UINT64_C(0x5f00000000000000), UINT64_C(0xfc00000000000000),
		UINT64_C(0xfe80000000000000), UINT64_C(0xfec0000000000000), UINT64_C(0xff00000000000000)};
	static const uint64_t lows[] = {0, 1, UINT64_C(0x0000ffff7f000001), UINT64_C(0x000000007f000001),
		UINT64_C(0x00005efe00000000), UINT64_C(0x02005efe00000000), UINT64_C(0x01005efe00000000)};

	*ret_high = *ret_low = next_random(random);
	switch (next_random(random) % 4) {
	case 0:
		*ret_high = near(bases[next_random(random) % (sizeof bases / sizeof *bases)], 50, random);
		break;
	case 1: /* within what is fetched by and large */
		*ret_high = (next_random(random) >> 3) | UINT64_C(0x2000000000000000);
		break;
	case 2:
		*ret_high = near(bases[next_random(random) % (sizeof bases / sizeof *bases)], 20, random);
		break;
	default:
		break;
	}
	*ret_low = next_random(random);
	if (next_random(random) % 4 == 0)
		*ret_low = near(lows[next_random(random) % (sizeof lows / sizeof *lows)], 40, random);
}

static void
put(uint64_t number, size_t bytes, uint8_t *ret)
{
	while (bytes-- > 0) {
		ret[bytes] = (uint8_t)number;
		number >>= 8;
	}
}

/* Check's own assertions take their time, a million times. */
static void
compare(const struct address *address, bool refused, bool as_text)
{
	char text[ADDRESS_TEXT_BYTES];
	struct egress_verdict verdict = egress_check_address(policy, "name.example", 80, address);

	if (verdict.allowed == refused && (refused || !is_own(address)))
		ck_abort_msg("the oracle says %s: %s", refused ? "no" : "yes", verdict.reason);
	if (!as_text)
		return;
	address_format(address, text);
	if (egress_check_host(policy, text, 443).allowed != verdict.allowed)
		ck_abort_msg("%s is judged otherwise as a host", text);
}

START_TEST(agrees_with_the_oracle)
{
	uint64_t random = SEED, high, low;
	int refusals[2] = {0, 0};

	for (int round = 0; round < RANDOM_ADDRESSES; round++) {
		struct address address = {.family = round % 2 == 0 ? 4 : 6};
		bool refused;

		if (address.family == 4) {
			uint32_t v4 = random_v4(&random);
			refused = oracle_refuses_v4(v4);
			put(v4, 4, address.bytes);
		} else {
			random_v6(&random, &high, &low);
			refused = oracle_refuses_v6(high, low);
			put(high, 8, address.bytes);
			put(low, 8, address.bytes + 8);
		}
		refusals[round % 2] += refused;
		compare(&address, refused, round % 16 < 2);
	}
	printf("seed 0x%" PRIx64 ": %d addresses, refused %d of IPv4 and %d of IPv6\n", SEED, RANDOM_ADDRESSES,
		refusals[0], refusals[1]);
	/* Both sides were looked at in earnest. */
	for (int i = 0; i < 2; i++) {
		ck_assert_int_gt(refusals[i], RANDOM_ADDRESSES / 8);
		ck_assert_int_lt(refusals[i], RANDOM_ADDRESSES * 3 / 8);
	}
}
END_TEST

/* ---- public addresses */

/* Space of registries, networks and well-known services all over the world; 25 addresses of each. */
static const struct {
	const char *first;
	int bits; /* that vary, from the end of IPv4, or from bit 64 of IPv6 */
} publics[] = {
	{"1.1.1.0", 8},
	{"8.8.8.0", 8},
	{"9.9.9.0", 8},
	{"13.32.0.0", 17},
	{"20.33.0.0", 16},
	{"34.64.0.0", 22},
	{"41.204.160.0", 12},
	{"52.84.0.0", 17},
	{"77.88.0.0", 14},
	{"100.128.0.0", 16},
	{"104.16.0.0", 19},
	{"129.6.0.0", 16},
	{"140.82.112.0", 12},
	{"142.250.0.0", 17},
	{"151.101.0.0", 16},
	{"172.64.0.0", 18},
	{"185.199.108.0", 10},
	{"192.0.66.0", 8},
	{"193.0.0.0", 11},
	{"200.160.0.0", 12},
	{"2001:200::", 32},
	{"2001:4860::", 32},
	{"2001:500:88::", 16},
	{"2001:67c:2e8::", 16},
	{"2003::", 45},
	{"2400:cb00::", 32},
	{"240e::", 44},
	{"2600:9000::", 36},
	{"2606:4700::", 32},
	{"2607:f8b0::", 32},
	{"2620:0:2d0::", 16},
	{"2800:3f0::", 32},
	{"2804:14d::", 32},
	{"2a00:1450::", 32},
	{"2a01:4f8::", 32},
	{"2a03:2880::", 32},
	{"2a04:4e42::", 32},
	{"2a06:98c0::", 35},
	{"2c0f:fb50::", 32},
	{"2c0f:f248::", 32},
};

/* Changes the last bits of the first so many bytes. */
static void
vary(struct address *address, size_t bytes, int bits, uint64_t *random)
{
	uint64_t change = next_random(random) & ((UINT64_C(1) << bits) - 1);

	while (bytes-- > 0) {
		address->bytes[bytes] ^= (uint8_t)change;
		change >>= 8;
	}
}

START_TEST(refuses_no_public_address)
{
	char text[ADDRESS_TEXT_BYTES];
	uint64_t random = SEED;
	int asked = 0, refused = 0;

	for (int i = 0; i < COUNT(publics) * 25; i++) {
		struct address address;
		ck_assert_int_eq(address_parse(publics[i / 25].first, &address), 0);
		vary(&address, address.family == 4 ? 4 : 8, publics[i / 25].bits, &random);
		if (address.family == 6) /* hosts are numbered low, or at random */
			put(i % 2 == 0 ? (uint64_t)i % 25 : next_random(&random), 8, address.bytes + 8);
		if (is_own(&address))
			continue;
		address_format(&address, text);
		asked++;
		bool allowed = egress_check_host(policy, text, 443).allowed &&
			egress_check_address(policy, "name.example", 80, &address).allowed;
		if (!allowed)
			printf("%s is refused\n", text);
		refused += !allowed;
	}
	printf("seed 0x%" PRIx64 ": %d public addresses, %d refused\n", SEED, asked, refused);
	ck_assert_int_ge(asked, 990);
	ck_assert_int_eq(refused, 0);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("egress oracle");
	TCase *cases = tcase_create("egress oracle");
	SRunner *runner = srunner_create(suite);

	suite_add_tcase(suite, cases);
	tcase_set_timeout(cases, 120);
	tcase_add_checked_fixture(cases, setup, teardown);
	tcase_add_test(cases, keeps_every_edge);
	tcase_add_test(cases, agrees_with_the_oracle);
	tcase_add_test(cases, refuses_no_public_address);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
