/*
 * URLs: read once, by libcurl's own parser behind strict checks, into a canonical form that everything else uses, so
 * that no two readers can disagree about where a URL leads (the parser differentials of server-side request forgery).
 * Pure functions, any thread.
 */
#ifndef FETCHPOOL_FETCH_URL_H
#define FETCHPOOL_FETCH_URL_H

#include <stdbool.h>

#include "base/arena.h"
#include "core/job.h"

struct url {
	char *text;                /* canonical: scheme://host[:port]/path[?query], no fragment, all ASCII */
	struct origin_name origin; /* host without brackets; an address literal in its shortest usual form */
};

/*
 * Reads an absolute http or https URL. Refuses (with a reason a client can act on in *ret_why, a string constant):
 * other schemes, anything but exactly two slashes after the scheme, userinfo, an empty or broken host, ports outside
 * 1-65535, blanks, control characters and backslashes anywhere, zone ids. A fragment is dropped, an IDN host becomes
 * punycode (UTS #46, IDNA 2008), bytes above 0x7f in path and query become %XX, other escapes stay as given; a default
 * port is left out; IPv4 spellings (decimal, octal, hex, short) become dotted quads, full-width digits and dots too.
 * Strings live in the arena. Returns 0, -EINVAL or -ENOMEM.
 */
int url_parse(struct arena *arena, const char *text, struct url *ret, const char **ret_why)
	__attribute__((warn_unused_result));

/* Resolves a Location against the URL of the hop that sent it (RFC 3986, section 5), with the same checks. */
int url_resolve(struct arena *arena, const char *base, const char *location, struct url *ret, const char **ret_why)
	__attribute__((warn_unused_result));

/* True when both have one scheme, host and port. */
bool origin_name_equal(const struct origin_name *a, const struct origin_name *b);

#endif
