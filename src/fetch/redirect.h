/* The rules of redirects (RFC 9110, section 15.4; Fetch standard, HTTP-redirect fetch). Pure functions. */
#ifndef FETCHPOOL_FETCH_REDIRECT_H
#define FETCHPOOL_FETCH_REDIRECT_H

#include <stdbool.h>

/* True for the statuses that are followed when they have a Location. */
bool redirect_followed(int status);

/* True when the next hop is a GET without a body: a POST after 301 and 302, all but GET and HEAD after 303. */
bool redirect_turns_to_get(int status, const char *method);

/* True for a field that describes the body, and goes with it. */
bool redirect_body_field(const char *name);

#endif
