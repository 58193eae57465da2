/* The query of a request: split, decoded strictly. */
#ifndef FETCHPOOL_API_QUERY_H
#define FETCHPOOL_API_QUERY_H

#include <stddef.h>

#include "api/http.h"

/*
 * Reads "a=1&b" into params (malloc'd, freed by query_free). Percent escapes and + are decoded; what is then not
 * UTF-8, or has a NUL, or comes twice is refused. Returns 0, or -1 with a problem.
 */
int query_parse(const char *text, struct http_param **ret_params, size_t *ret_count, struct problem *problem);
void query_free(struct http_param *params);

/* Refuses parameters that are not among the allowed ones (names with blanks between). 0, or -1 with a problem. */
int query_check(const struct http_request *request, const char *allowed, struct problem *problem);

#endif
