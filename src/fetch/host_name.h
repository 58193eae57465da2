/*
 * Host names, as far as they can be looked up. Pure functions; any thread.
 */
#ifndef FETCHPOOL_FETCH_HOST_NAME_H
#define FETCHPOOL_FETCH_HOST_NAME_H

#include <stdbool.h>

#define HOST_NAME_MAX_BYTES 253 /* RFC 1035, section 3.1: 255 on the wire */

/*
 * What is wrong with a host name, as a line for the client; NULL when it can be looked up: labels of letters, digits,
 * hyphens and underscores, lengths as in RFC 1035, no trailing dot, and the last label is no number (such a host is an
 * IPv4 address or nothing).
 */
const char *host_name_problem(const char *host);

/* The host in lower case and without its trailing dot; "" when it is too long to be one. */
void host_name_fold(const char *host, char ret[HOST_NAME_MAX_BYTES + 1]);

/* True for db.example and example, false for example itself. Both folded. */
bool host_name_is_below(const char *host, const char *suffix);

#endif
