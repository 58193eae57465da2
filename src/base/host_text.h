/*
 * The syntax of hosts and ports as options have them. Pure functions; any thread.
 */
#ifndef FETCHPOOL_BASE_HOST_TEXT_H
#define FETCHPOOL_BASE_HOST_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#define HOST_TEXT_BYTES 256 /* the longest name has 253 characters */
#define PORT_TEXT_BYTES 8

/* True for labels of letters, digits, - and _ with dots between. */
bool host_text_is_name(const char *text);

/*
 * Cuts the first length bytes of text into a host, which keeps its brackets, and what stands behind its colon. The
 * results hold HOST_TEXT_BYTES and PORT_TEXT_BYTES; false when one does not fit.
 */
bool host_text_split(const char *text, size_t length, char *ret_host, char *ret_port, bool *ret_has_port);

/* Makes an IPv6 address in brackets its usual form without them. host, of HOST_TEXT_BYTES, is spoilt on false. */
bool host_text_plain_ipv6(char *host);

/* Reads a port from minimum on. */
bool host_text_parse_port(const char *text, int minimum, int *ret);

#endif
