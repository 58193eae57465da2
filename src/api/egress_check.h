/* What the guard says of a URL: POST /v1/egress/check. Its other way in, --egress-check, is in api.h. */
#ifndef FETCHPOOL_API_EGRESS_CHECK_H
#define FETCHPOOL_API_EGRESS_CHECK_H

#include "api/http.h"

void egress_check_post(struct http_request *request);

#endif
