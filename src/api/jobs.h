/* The handlers of jobs. */
#ifndef FETCHPOOL_API_JOBS_H
#define FETCHPOOL_API_JOBS_H

#include "api/http.h"
#include "core/job.h"
#include "ledger/ledger.h"

void jobs_post(struct http_request *request);        /* POST /v1/jobs */
void jobs_get(struct http_request *request);         /* GET /v1/jobs/ID */
void jobs_delete(struct http_request *request);      /* DELETE /v1/jobs/ID */
void jobs_cancel(struct http_request *request);      /* POST /v1/jobs/ID/cancel */
void jobs_list(struct http_request *request);        /* GET /v1/jobs */
void jobs_cancel_many(struct http_request *request); /* POST /v1/jobs/cancel */
void jobs_body(struct http_request *request);        /* GET /v1/jobs/ID/body */

/* The job that the path names, with a reference; false after a 404 or 503 was sent. */
bool jobs_find(struct http_request *request, enum ledger_depth depth, struct job **ret);

/* The path's id; false when it is none. */
bool jobs_path_id(const struct http_request *request, struct id *ret);

#endif
