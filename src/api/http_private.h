/* What http.c, http_request.c and http_reply.c share. */
#ifndef FETCHPOOL_API_HTTP_PRIVATE_H
#define FETCHPOOL_API_HTTP_PRIVATE_H

#include <pthread.h>

#include "api/http.h"
#include "api/http_listen.h"
#include "base/lock.h"

struct MHD_Daemon;

/* libmicrohttpd keeps heads in place up to this version, and checks little; later ones are strict by themselves. */
#define MHD_LAX (MHD_VERSION < 0x00097600)

enum { PARK_RUNNING, PARK_PARKED, PARK_WOKEN };
enum { PHASE_NEW, PHASE_BODY, PHASE_HANDLED };

struct http {
	struct http_setup setup;
	size_t max_request_bytes, max_connections;
	struct http_door *doors;
	size_t door_count;
	struct http_front *fronts;
	size_t front_count;

	struct lock lock; /* guards the rest; a leaf */
	struct list woken;
	struct cond wake;
	pthread_t notifier;
	bool notifying, stop_notifier;
	size_t active; /* requests between their first line and their last byte */
	struct cond quiet;
	atomic_size_t connections;
};

/* One front thread: a daemon of libmicrohttpd's. Touched by that thread alone. */
struct http_front {
	struct http *http;
	struct MHD_Daemon *daemon;
	struct list heads;  /* requests whose head is not in yet */
	unsigned own_pages; /* error pages of libmicrohttpd's own on connections that are not closed yet */
};

/* What is known of a connection between its requests. */
struct connection {
	int64_t idle_since_ms;
	bool in_request;
	bool answered_close; /* the last answer announced the close */
};

struct connection *http_connection_of(struct MHD_Connection *connection);

/* A request begins with its first line and ends with its last byte. */
struct http_request *http_request_new(struct http *http, struct MHD_Connection *connection, const char *target);
void http_request_free(struct http_request *request);

/* libmicrohttpd's call for each step of a request: the head, pieces of the body, its end, a wake. False: close. */
bool http_request_step(
	struct http_request *request, const char *method, const char *version, const char *data, size_t count);

/* Sends a problem and closes the connection. */
void http_send_last_problem(struct http_request *request, struct problem *problem);

/*
 * libmicrohttpd logs (format) that it is about to send an error page of its own. For a Content-Length that it cannot
 * read that page has two heads in 0.9.75: then the request that is meant is answered here instead, and its socket shut.
 */
void http_lax_before_own_page(struct http_front *front, const char *format);

/*
 * It closes a connection without a word when it cannot read the request line at all: tells the client. fd is the
 * socket, which is about to be closed.
 */
void http_lax_tell_malformed(int fd);

/*
 * Ends the sending side of a socket that is about to be closed, and reads what has come: bytes that were never read
 * would turn the close into a reset, which may take the last answer with it.
 */
void http_lax_part(int fd);

/* Counts an answer for /metrics. */
void http_count_status(int status);

#endif
