/*
 * The front door's mechanics: listening, requests put together, replies sent, clients parked and woken. libmicrohttpd
 * lives behind this header and in http*.c alone.
 *
 * A request is handled on its front thread: its handler either replies, or parks the request and names what goes on
 * when it is woken. While parked nothing of it is touched by the front thread; whoever it waits for calls http_wake,
 * once, on any thread.
 */
#ifndef FETCHPOOL_API_HTTP_H
#define FETCHPOOL_API_HTTP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/problem.h"
#include "api/tokens.h"
#include "base/buffer.h"
#include "base/config.h"
#include "base/list.h"

struct http;
struct http_request;
struct MHD_Connection;

typedef void http_handler_fn(struct http_request *request);

struct http_param {
	char *name, *value; /* decoded; value is "" for a bare name */
};

struct http_request {
	/* What the client sent. */
	const char *method;
	const char *path; /* as sent, up to the query */
	struct http_param *params;
	size_t param_count;
	struct buffer body;
	char *authority; /* of a target in absolute form, which goes before Host; NULL: none */
	bool has_length; /* Content-Length or Transfer-Encoding came */
	bool over_limit; /* its connection is above --max-connections: only open calls are answered */

	/* Whose it is while it is handled. */
	void *context;             /* http_setup.context */
	const void *route;         /* the front door's own */
	struct token_grant client; /* the front door's own: whose request it is */
	const char *segment;       /* of the path where the route has {id} */
	size_t segment_length;
	void *state; /* the handler's, over a park */
	void (*state_free)(void *state);

	/* http.c's own. */
	struct http *http;
	struct MHD_Connection *connection;
	char *target;
	int phase;
	bool replied, drop_body, too_large, out_of_memory;
	int64_t counted_bytes; /* of the body, against --max-memory */
	size_t received;
	http_handler_fn *resume;
	atomic_int park;
	struct list wake_node;
	struct problem refusal; /* found at the head; sent when the body is in */
};

/* What the front door above this decides. All called on front threads. */
struct http_setup {
	void *context;

	/* The head is in. Returns 0 to go on, or -1 with a problem: then handle is not called. */
	int (*admit)(struct http_request *request, struct problem *problem);

	/* The body is in. Replies or parks. */
	http_handler_fn *handle;

	/* Lays JSON out for people, for ?pretty. */
	void (*indent)(struct buffer *json);

	/* Every answer closes its connection while this is true. */
	bool (*closing)(void *context);
};

/*
 * Opens the listening sockets of config->listen and starts the threads. Returns 0 or -errno with a message (malloc'd)
 * that names the address.
 */
int http_start(const struct config *config, const struct http_setup *setup, struct http **ret, char **ret_message)
	__attribute__((warn_unused_result));

/* The addresses that are listened on, as "http://ADDR:PORT", "https://ADDR:PORT" or "unix:PATH"; the index beyond the last gives NULL. */
const char *http_address(const struct http *http, size_t index);

struct sockaddr_storage;

/* Where the listening socket at index is bound. Returns 0, -ENOENT beyond the last, or -errno. */
int http_bound(const struct http *http, size_t index, struct sockaddr_storage *ret) __attribute__((warn_unused_result));

/* True when every address is loopback or a unix socket; false with the first that is not, in words. */
bool http_listens_locally(const struct config *config, char *ret_what, size_t size);

/* Looks at what was passed by systemd, the certificate and its key. Returns 0 or -errno with a message (malloc'd, or NULL). */
int http_check(const struct config *config, char **ret_message) __attribute__((warn_unused_result));

/*
 * The certificate and its key for a reload, in two steps: read, which may fail as above, and put to use for new connections (the
 * reference is taken over). *ret is NULL without TLS; whether there is TLS at all stays as it was at the start.
 */
struct http_tls_pair;
int http_certificate_load(const struct http *http, const struct config *config, struct http_tls_pair **ret,
	char **ret_message) __attribute__((warn_unused_result));
void http_certificate_use(struct http *http, struct http_tls_pair *pair);

/* When the certificate ends, in seconds since 1970; 0 without TLS. Any thread. */
int64_t http_certificate_expires(const struct http *http);

/*
 * Ends: waits (briefly) for the answers under way, closes the connections, joins the threads. Nothing may be parked or
 * park any more.
 */
void http_stop(struct http *http);

/* ---- in a handler */

/* True when it came over TLS. */
bool http_is_tls(const struct http_request *request);

/* The value of a header field, or NULL. */
const char *http_header(struct http_request *request, const char *name);

/* How many fields have this name. */
size_t http_header_count(struct http_request *request, const char *name);

/* The values of all fields of this name as one list (RFC 9110, section 5.3); malloc'd, NULL when there is none. */
char *http_header_list(struct http_request *request, const char *name);

/* The value of a query parameter, or NULL. */
const char *http_param(const struct http_request *request, const char *name);

enum http_body_kind { HTTP_BODY_BUFFER, HTTP_BODY_BORROWED, HTTP_BODY_FILE };

#define HTTP_MAX_HEADERS 12

struct http_reply {
	int status;
	struct {
		const char *name;
		char *value; /* malloc'd, the reply's */
	} headers[HTTP_MAX_HEADERS];
	size_t header_count;
	bool close;
	bool poor; /* there was no memory for a header field: the answer is not sent */

	enum http_body_kind kind;
	struct buffer buffer; /* HTTP_BODY_BUFFER: taken over */
	const char *bytes;    /* HTTP_BODY_BORROWED: until release is called with release_context */
	void (*release)(void *release_context);
	void *release_context;
	int fd;                  /* HTTP_BODY_FILE: taken over */
	uint64_t offset, length; /* of the last two */
};

/* Lets go of the body. */
void http_release_body(struct http_request *request);

/* Adds a header field to a reply; values that cannot be sent as a field are left out. */
void http_reply_header(struct http_reply *reply, const char *name, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Sends the reply and releases what it holds. Once a request. */
void http_send(struct http_request *request, struct http_reply *reply);

/* Sends the problem and releases it. */
void http_send_problem(struct http_request *request, struct problem *problem, const char *extra);

/*
 * Parks the request until http_wake, then goes on with resume. The wake may have come already. To be called last in a
 * handler.
 */
void http_park(struct http_request *request, http_handler_fn *resume);
void http_wake(struct http_request *request);

/* For /v1/info: "1.0.1". */
const char *http_library_version(void);

/* Connections that are open, for /metrics. */
size_t http_connections(struct http *http);

#endif
