/*
 * Keeps web pages from driving a local server: a page of another origin says so in Origin, and a name that was rebound
 * to this machine shows in Host. Pure functions.
 */
#ifndef FETCHPOOL_API_GUARD_H
#define FETCHPOOL_API_GUARD_H

#include <stdbool.h>
#include <stddef.h>

/* True when Host is an address literal, localhost or one of the names (lower case), with or without a port. */
bool guard_host_allowed(const char *host, char *const *names, size_t count);

/* True when Origin is that of the server as the client called it: by https on a connection with TLS, else by http. */
bool guard_origin_allowed(const char *origin, const char *host, bool tls);

#endif
