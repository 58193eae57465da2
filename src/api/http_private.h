/* What http.c, http_request.c and http_reply.c share. */
#ifndef FETCHPOOL_API_HTTP_PRIVATE_H
#define FETCHPOOL_API_HTTP_PRIVATE_H

#include <pthread.h>

#include "api/http.h"
#include "api/http_connection.h"
#include "api/http_listen.h"
#include "base/lock.h"

struct MHD_Daemon;
struct http_tls;
struct http_tls_pair;

/* libmicrohttpd keeps heads in place up to this version, and checks little; later ones are strict by themselves. */
#define MHD_LAX (MHD_VERSION < 0x00097600)

enum { PARK_RUNNING, PARK_PARKED, PARK_WOKEN };
enum { PHASE_NEW, PHASE_BODY, PHASE_HANDLED };

struct http {
	struct http_setup setup;
	size_t max_request_bytes;
	struct http_bounds bounds;
	struct http_door *doors;
	size_t door_count;
	struct http_front *fronts;
	size_t front_room, front_count; /* made; running */
	struct http_tls *tls;           /* NULL: plain http on all doors */

	struct lock lock; /* guards the rest; a leaf */
	struct list woken;
	struct cond wake;
	pthread_t notifier;
	bool notifying, stop_notifier;
	size_t active; /* requests between their first line and their last byte */
	struct cond quiet;
};

/* One front thread: a daemon of libmicrohttpd's. Touched by that thread alone. */
struct http_front {
	struct http *http;
	struct MHD_Daemon *daemon;
	struct http_connections connections;
};

/* NULL for one that there was no memory for. */
struct http_connection *http_connection_of(struct MHD_Connection *connection);

/* A request begins with its first line and ends with its last byte. */
struct http_request *http_request_new(struct http *http, struct MHD_Connection *connection, const char *target);
void http_request_free(struct http_request *request);

/* libmicrohttpd's call for each step of a request: the head, pieces of the body, its end, a wake. False: close. */
bool http_request_step(struct http_request *request, const char *method, const char *data, size_t count);

/* Sends a problem and closes the connection. */
void http_send_last_problem(struct http_request *request, struct problem *problem);

/* Counts an answer for /metrics. */
void http_count_status(int status);

#endif
