/* See host_text.h. */
#include "base/host_text.h"

#include <arpa/inet.h>
#include <stdint.h>
#include <string.h>

#include "base/text.h"

bool
host_text_is_name(const char *text)
{
	size_t length = strlen(text), label = 0;

	if (length == 0 || length > 253)
		return false;
	for (size_t i = 0; i <= length; i++) {
		char c = ascii_lower(text[i]);

		if (c == '.' || c == '\0') {
			if (label == 0 || label > 63)
				return false;
			label = 0;
		} else if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_') {
			label++;
		} else {
			return false;
		}
	}
	return true;
}

bool
host_text_parse_port(const char *text, int minimum, int *ret)
{
	uint64_t port;

	if (strlen(text) > 5 || text_to_uint64(text, &port) != 0 || port > 65535 || (int)port < minimum)
		return false;
	*ret = (int)port;
	return true;
}

bool
host_text_split(const char *text, size_t length, char *ret_host, char *ret_port, bool *ret_has_port)
{
	size_t last = length; /* the colon before the port has none and no bracket after it */

	while (last > 0 && text[last - 1] != ':' && text[last - 1] != ']')
		last--;
	*ret_has_port = last > 0 && text[last - 1] == ':';
	size_t host_length = *ret_has_port ? last - 1 : length;
	size_t port_length = *ret_has_port ? length - last : 0;
	if (host_length >= HOST_TEXT_BYTES || port_length >= PORT_TEXT_BYTES)
		return false;
	memcpy(ret_host, text, host_length);
	ret_host[host_length] = '\0';
	memcpy(ret_port, text + length - port_length, port_length);
	ret_port[port_length] = '\0';
	return true;
}

bool
host_text_plain_ipv6(char *host)
{
	unsigned char bytes[sizeof(struct in6_addr)];
	size_t length = strlen(host);

	if (length < 4 || host[0] != '[' || host[length - 1] != ']')
		return false;
	host[length - 1] = '\0';
	return inet_pton(AF_INET6, host + 1, bytes) == 1 && inet_ntop(AF_INET6, bytes, host, HOST_TEXT_BYTES) != NULL;
}
