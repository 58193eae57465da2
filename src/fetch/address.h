/*
 * IP addresses and ranges of them, as the guard compares them. Pure functions; any thread.
 */
#ifndef FETCHPOOL_FETCH_ADDRESS_H
#define FETCHPOOL_FETCH_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sockaddr;

/* An IPv4 (family 4) or IPv6 (family 6) address in network order. */
struct address {
	uint8_t family;
	uint8_t bytes[16];
};

/* An address and a TCP port. */
struct endpoint {
	struct address address;
	int port;
};

/* The addresses that begin with the same bits; those of base behind them are clear. */
struct address_range {
	struct address base;
	unsigned prefix_bits;
};

#define ADDRESS_TEXT_BYTES 46

/* Reads a dotted quad or an IPv6 address without brackets and zone. Returns 0 or -EINVAL. */
int address_parse(const char *text, struct address *ret) __attribute__((warn_unused_result));
void address_format(const struct address *address, char *ret_text);
bool address_equal(const struct address *a, const struct address *b);

/* Of a socket; a zone is left out. False for families other than IPv4 and IPv6. */
bool endpoint_of_socket(const struct sockaddr *from, struct endpoint *ret);

/* Reads an address or ADDRESS/BITS; bits behind the prefix are cleared. Returns 0 or -EINVAL. */
int address_range_parse(const char *text, struct address_range *ret) __attribute__((warn_unused_result));
bool address_range_holds(const struct address_range *range, const struct address *address);

/* An ISATAP interface identifier (RFC 5214, section 6.1), in any prefix. */
bool address_is_isatap(const struct address *address);

#define ADDRESS_MAX_CARRIED 5

/*
 * The IPv4 addresses that an IPv6 address may stand for: compatible, mapped (RFC 4291), translated (RFC 2765), NAT64 by
 * the well-known prefix (RFC 6052) and by local ones of each length (RFC 8215), 6to4 (RFC 3056), client and server of
 * Teredo (RFC 4380), ISATAP. Returns how many there are; 0 for IPv4.
 */
size_t address_carried(const struct address *address, struct address ret[ADDRESS_MAX_CARRIED]);

/* An IPv4 address in the form of an IPv6 one, ::ffff:a.b.c.d (RFC 4291, section 2.5.5.2): systems send IPv4 for it. */
bool address_is_mapped(const struct address *address);

#endif
