/* The handlers for those who operate the server. */
#ifndef FETCHPOOL_API_OPS_H
#define FETCHPOOL_API_OPS_H

#include "api/http.h"

void ops_livez(struct http_request *request);
void ops_readyz(struct http_request *request);
void ops_metrics(struct http_request *request);
void ops_info(struct http_request *request);
void ops_openapi(struct http_request *request);

#endif
