/* See ranges.h. */
#include "ranges.h"

#include <arpa/inet.h>
#include <string.h>

#include "fuzz.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const struct {
	const char *first, *last;
} special_4[] =
	{
		{"0.0.0.0", "0.255.255.255"},
		{"10.0.0.0", "10.255.255.255"},
		{"100.64.0.0", "100.127.255.255"},
		{"127.0.0.0", "127.255.255.255"},
		{"168.63.129.16", "168.63.129.16"},
		{"169.254.0.0", "169.254.255.255"},
		{"172.16.0.0", "172.31.255.255"},
		{"192.0.0.0", "192.0.0.255"},
		{"192.0.2.0", "192.0.2.255"},
		{"192.31.196.0", "192.31.196.255"},
		{"192.52.193.0", "192.52.193.255"},
		{"192.80.8.124", "192.80.8.124"},
		{"192.88.99.0", "192.88.99.255"},
		{"192.168.0.0", "192.168.255.255"},
		{"192.175.48.0", "192.175.48.255"},
		{"198.18.0.0", "198.19.255.255"},
		{"198.51.100.0", "198.51.100.255"},
		{"203.0.113.0", "203.0.113.255"},
		{"224.0.0.0", "255.255.255.255"},
},
  special_6[] = {
	  {"::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
	  {"2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff"},
	  {"2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"},
	  {"2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
	  {"2620:4f:8000::", "2620:4f:8000:ffff:ffff:ffff:ffff:ffff"},
	  {"3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff"},
	  {"4000::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
};

static bool
lies_between(int family, const uint8_t *bytes, const char *first, const char *last)
{
	uint8_t low[16], high[16];
	size_t count = family == AF_INET ? 4 : 16;

	FUZZ_CHECK(inet_pton(family, first, low) == 1 && inet_pton(family, last, high) == 1, "%s to %s", first, last);
	return memcmp(low, bytes, count) <= 0 && memcmp(bytes, high, count) <= 0;
}

bool
address_is_special(const struct address *address)
{
	const uint8_t *bytes = address->bytes;

	FUZZ_CHECK(address->family == 4 || address->family == 6, "an address of family %d", address->family);
	for (size_t i = 0; address->family == 4 && i < COUNT(special_4); i++)
		if (lies_between(AF_INET, bytes, special_4[i].first, special_4[i].last))
			return true;
	for (size_t i = 0; address->family == 6 && i < COUNT(special_6); i++)
		if (lies_between(AF_INET6, bytes, special_6[i].first, special_6[i].last))
			return true;
	/* ISATAP: the interface identifier begins with 0000:5efe, or 0200:5efe. */
	return address->family == 6 && (bytes[8] & ~0x02) == 0 && bytes[9] == 0 && bytes[10] == 0x5e &&
		bytes[11] == 0xfe;
}
