/* What the handlers of this room share. */
#ifndef FETCHPOOL_API_FRONT_H
#define FETCHPOOL_API_FRONT_H

#include "api/api.h"
#include "api/http.h"
#include "api/problem.h"
#include "api/tokens.h"

struct api {
	const struct config *config;
	struct service *service;
	struct http *http;
	struct tokens *tokens;
	int64_t started_mono_ms;
};

static inline struct api *
api_of(const struct http_request *request)
{
	return request->context;
}

/*
 * Whose jobs the client sees: its own (its token's name), or everyone's (NULL) as an admin, or when there are no tokens.
 */
const char *front_sees(const struct http_request *request);

/* Sends JSON that is in the buffer (taken over): indented when ?pretty was given, with a newline at its end. */
void front_send_json(struct http_request *request, struct http_reply *reply, struct buffer *json);

/* ?body=none is all there is: false after a 400 was sent for anything else. */
bool front_body_param_valid(struct http_request *request);

/* A problem with this status, code and words, sent at once. */
void front_refuse(struct http_request *request, int status, const char *code, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* 503s: the store cannot be read; what was asked is not stored, since the server ends or the store is full. */
void front_refuse_unstored(struct http_request *request, bool draining);
void front_refuse_store(struct http_request *request);
void front_refuse_draining(struct http_request *request);
void front_refuse_memory(struct http_request *request);

#endif
