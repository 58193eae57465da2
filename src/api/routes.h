/* The one table of calls: method, path, handler. */
#ifndef FETCHPOOL_API_ROUTES_H
#define FETCHPOOL_API_ROUTES_H

#include <stdbool.h>

#include "api/http.h"

struct route {
	const char *method; /* GET answers HEAD, too */
	const char *path;   /* {id} stands for one segment */
	http_handler_fn *handle;
	const char *params; /* the query parameters it takes, with blanks between; ?pretty is always taken */
	bool takes_json;    /* a JSON body is needed */
	unsigned scope;     /* what a token has to be good for, of enum token_scope; 0: any token will do */
	bool open;          /* without a token */
	bool always;        /* while the jobs of the last run are taken up, too */
};

/*
 * Finds the route of a request and notes the segment that {id} stands for. Returns NULL with a problem: 404, or 405
 * with the methods that there are.
 */
const struct route *route_find(struct http_request *request, struct problem *problem);

/* True when the path, whatever the method, is open without a token. */
bool route_path_open(const char *path);

#endif
