/* What has to hold of every URL that the server takes, checked by other readers than its own. */
#ifndef FETCHPOOL_FUZZ_URL_CHECKS_H
#define FETCHPOOL_FUZZ_URL_CHECKS_H

#include "fetch/url.h"

/*
 * The canonical text is plain ASCII, reads as the origin that stands beside it (by this file's own reading, by
 * libcurl's, and for addresses by the C library's), and is canonical already. Ends the process otherwise.
 */
void check_url(const struct url *url);

/* libcurl, where it takes the text as it was given, finds the same host and port in it. */
void check_same_for_curl(const char *given, const struct url *url);

/* Resolves a Location against the URL: what is taken is a URL as above, and a relative one stays at its origin. */
void check_location(const struct url *base, const char *location);

#endif
