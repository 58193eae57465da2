/* See address.h. */
#include "fetch/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "base/text.h"

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

bool
endpoint_of_socket(const struct sockaddr *from, struct endpoint *ret)
{
	const struct sockaddr_in *v4 = (const void *)from;
	const struct sockaddr_in6 *v6 = (const void *)from;

	if (from->sa_family == AF_INET) {
		*ret = (struct endpoint){{.family = 4}, ntohs(v4->sin_port)};
		memcpy(ret->address.bytes, &v4->sin_addr, 4);
	} else if (from->sa_family == AF_INET6) {
		*ret = (struct endpoint){{.family = 6}, ntohs(v6->sin6_port)};
		memcpy(ret->address.bytes, &v6->sin6_addr, 16);
	} else {
		return false;
	}
	return true;
}

/* ---- ranges */

/* Clears the bits behind the prefix. */
static void
mask_base(struct address_range *range)
{
	for (unsigned bit = range->prefix_bits; bit < address_bytes(&range->base) * 8; bit++)
		range->base.bytes[bit / 8] &= (uint8_t) ~(0x80u >> bit % 8);
}

int
address_range_parse(const char *text, struct address_range *ret)
{
	char base[ADDRESS_TEXT_BYTES];
	size_t length = strcspn(text, "/");
	struct address_range range = {0};
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
	mask_base(&range);
	*ret = range;
	return 0;
}

bool
address_range_holds(const struct address_range *range, const struct address *address)
{
	unsigned whole = range->prefix_bits / 8, rest = range->prefix_bits % 8;

	if (address->family != range->base.family || memcmp(address->bytes, range->base.bytes, whole) != 0)
		return false;
	return rest == 0 || ((address->bytes[whole] ^ range->base.bytes[whole]) >> (8 - rest)) == 0;
}

/* ---- IPv4 within IPv6 */

bool
address_is_isatap(const struct address *address)
{
	static const uint8_t local[4] = {0x00, 0x00, 0x5e, 0xfe}, global[4] = {0x02, 0x00, 0x5e, 0xfe};

	return address->family == 6 &&
		(memcmp(address->bytes + 8, local, 4) == 0 || memcmp(address->bytes + 8, global, 4) == 0);
}

/*
 * Where the well-known ways of carrying an IPv4 address put its bytes. A local NAT64 may use any prefix length of RFC
 * 6052 (section 2.2) within its /48, of which the address does not tell; octet 8 is left free by all of them.
 */
static const struct {
	uint8_t prefix[12];
	uint8_t prefix_bytes;
	uint8_t at[4];
	uint8_t flip; /* each byte is XORed with it */
} carriers[] = {
	{{0}, 12, {12, 13, 14, 15}, 0},                                             /* ::/96 */
	{{[10] = 0xff, [11] = 0xff}, 12, {12, 13, 14, 15}, 0},                      /* ::ffff:0:0/96 */
	{{[8] = 0xff, [9] = 0xff}, 12, {12, 13, 14, 15}, 0},                        /* ::ffff:0:0:0/96 */
	{{[1] = 0x64, [2] = 0xff, [3] = 0x9b}, 12, {12, 13, 14, 15}, 0},            /* 64:ff9b::/96 */
	{{[1] = 0x64, [2] = 0xff, [3] = 0x9b, [5] = 0x01}, 6, {12, 13, 14, 15}, 0}, /* 64:ff9b:1::/48, by /96 */
	{{[1] = 0x64, [2] = 0xff, [3] = 0x9b, [5] = 0x01}, 6, {9, 10, 11, 12}, 0},  /* by /64 */
	{{[1] = 0x64, [2] = 0xff, [3] = 0x9b, [5] = 0x01}, 6, {7, 9, 10, 11}, 0},   /* by /56 */
	{{[1] = 0x64, [2] = 0xff, [3] = 0x9b, [5] = 0x01}, 6, {6, 7, 9, 10}, 0},    /* by /48 */
	{{0x20, 0x02}, 2, {2, 3, 4, 5}, 0},                                         /* 2002::/16 */
	{{0x20, 0x01, 0x00, 0x00}, 4, {12, 13, 14, 15}, 0xff},                      /* 2001::/32, the client */
	{{0x20, 0x01, 0x00, 0x00}, 4, {4, 5, 6, 7}, 0},                             /* the server */
};

static void
carry(const struct address *address, const uint8_t at[4], uint8_t flip, struct address *ret)
{
	*ret = (struct address){.family = 4};
	for (size_t i = 0; i < 4; i++)
		ret->bytes[i] = address->bytes[at[i]] ^ flip;
}

size_t
address_carried(const struct address *address, struct address ret[ADDRESS_MAX_CARRIED])
{
	static const uint8_t last[4] = {12, 13, 14, 15};
	size_t count = 0;

	if (address->family != 6)
		return 0;
	for (size_t i = 0; i < sizeof carriers / sizeof *carriers; i++)
		if (memcmp(address->bytes, carriers[i].prefix, carriers[i].prefix_bytes) == 0 &&
			count < ADDRESS_MAX_CARRIED)
			carry(address, carriers[i].at, carriers[i].flip, &ret[count++]);
	if (address_is_isatap(address) && count < ADDRESS_MAX_CARRIED)
		carry(address, last, 0, &ret[count++]);
	return count;
}

bool
address_is_mapped(const struct address *address)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	return address->family == 6 && memcmp(address->bytes, mapped, sizeof mapped) == 0;
}
