/*
 * JSON to structs and back. jansson lives in codec*.c and nowhere else; its values never leave this room's functions.
 * Everything is checked: an unknown key, a wrong type, a value out of range is a problem with a pointer to it.
 */
#ifndef FETCHPOOL_API_CODEC_H
#define FETCHPOOL_API_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/json_out.h"
#include "api/problem.h"
#include "service/service.h"

#define CODEC_MAX_DEPTH 32

/* Once, before any thread. */
void codec_init(void);

/* "jansson 2.14" without the name. */
const char *codec_library_version(void);

/* A job's spec; NULL with a problem. Job_spec_free it, or submit it. */
struct job_spec *codec_read_spec(const char *bytes, size_t length, struct problem *problem);

/*
 * Settles the spec's idempotency key: from the Idempotency-Key field (header; NULL: none came), else the one in the JSON.
 * A value that begins with a double quote is a structured field's string (draft-ietf-httpapi-idempotency-key-header), any
 * other is the key itself, blanks around it apart. With a key, spec->fingerprint tells one request from another.
 * Returns 0, or -1 with a problem, the spec being as it was.
 *
 * Between codec_read_spec and service_submit: the fingerprint is of what the client asked for, read but not completed.
 * The server's own settings are not in it, so a client that repeats a request after they were changed still meets its
 * job; hence naming a ttl or max_body_bytes is another request than leaving it to the server, whatever the server's is.
 *
 * Equal are requests that mean the same once they are read: durations and times in any notation, defaults named or left
 * out, a body as text or base64. The order of object keys never counts (in meta and json neither), nor the case of header
 * names; the order of lists does. Where the meaning is open they are unequal: that is a 422 which a client sees, while
 * being equal by mistake would drop a request in silence.
 */
int codec_set_idempotency_key(struct job_spec *spec, const char *header, struct problem *problem)
	__attribute__((warn_unused_result));

/* What POST /v1/wait asks for. */
struct wait_request {
	char **ids; /* as given, without doubles; malloc'd with their array */
	size_t count;
	size_t needed;
	int64_t timeout_ms; /* -1: not given */
};
int codec_read_wait(const char *bytes, size_t length, struct wait_request *ret, struct problem *problem)
	__attribute__((warn_unused_result));
void wait_request_release(struct wait_request *wait);

/* What POST /v1/jobs/cancel asks for. */
struct cancel_request {
	struct ledger_filter filter; /* points into text */
	char **ids;                  /* NULL: not given */
	size_t id_count;
	struct arena text;
};
int codec_read_cancel(const char *bytes, size_t length, struct cancel_request *ret, struct problem *problem)
	__attribute__((warn_unused_result));
void cancel_request_release(struct cancel_request *cancel);

/* The URL of {"url":…}; malloc'd, or NULL with a problem. */
char *codec_read_url(const char *bytes, size_t length, struct problem *problem);

/* "HOST" or "HOST:PORT", with brackets around an IPv6 address, as in ?origin=. Strings in the arena. */
int codec_read_origin(struct arena *arena, const char *text, struct ledger_filter *ret, struct problem *problem);

/* "queued,running" as a set of bits 1 << state. */
int codec_read_states(const char *text, unsigned *ret, struct problem *problem);

/* The JSON, indented; takes the buffer's place. */
void codec_indent(struct buffer *json);

/* How much of a job is written. */
enum job_detail {
	JOB_WHOLE,
	JOB_WITHOUT_BODY, /* ?body=none */
	JOB_LISTED,       /* without body and attempts */
};

/* Writes a job as an element (key NULL) or a member. */
void codec_write_job(struct json_out *out, const char *key, const struct job_view *view, enum job_detail detail,
	const struct service *service, int64_t inline_body_bytes);

#endif
