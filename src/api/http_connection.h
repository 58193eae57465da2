/*
 * Connections of clients: how many there may be, what they may send, how long they may take. Behind libmicrohttpd's
 * back: every byte that it reads passes through here first (http_scan.h).
 *
 * A connection belongs to one front thread, which alone touches it; but for the watch over the clocks, which runs on
 * the notifier's thread, takes the front's lock, and only ever shuts sockets down.
 */
#ifndef FETCHPOOL_API_HTTP_CONNECTION_H
#define FETCHPOOL_API_HTTP_CONNECTION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#define HASH_NONFATAL_OOM 1 /* a node that found no room has hh.tbl NULL */
#include <uthash.h>

#include "api/http_linger.h"
#include "api/http_scan.h"
#include "base/config.h"
#include "base/list.h"
#include "base/lock.h"

struct MHD_Connection;
struct http_tls_pair;

/* Whom a connection is from: an IPv4 address, or the /64 of an IPv6 one. */
struct peer {
	uint8_t family; /* 4, 6; 0: this machine, which has no limit of its own */
	uint8_t bytes[8];
};

struct peer_count {
	UT_hash_handle hh;
	struct peer peer;
	size_t connections;
};

/* The bounds that all doors share. */
struct http_bounds {
	size_t max_connections, max_per_address;
	int64_t keepalive_ms, head_ms, body_ms, min_rate;
	atomic_size_t connections;
	struct lock lock; /* guards what follows; a leaf */
	struct peer_count *peers;
	struct list above; /* connections above the limit, the oldest first */
	size_t above_count;
	struct http_lingering lingering;
};

/* The connections of one front thread. */
struct http_connections {
	struct http_bounds *bounds;
	bool tls;
	struct lock lock; /* guards that by_socket does not change; a leaf */
	struct http_connection *by_socket;
};

struct http_connection {
	UT_hash_handle hh;
	struct http_connections *owner;
	int fd;
	struct peer peer;
	struct http_tls_pair *pair; /* its certificate, a reference; NULL without TLS */
	bool over_limit;            /* only calls that are always open are answered */
	struct list above;          /* then: of bounds->above, until it has to go for another */
	struct http_scan scan;
	int reading;                 /* what libmicrohttpd still has to read (http_connection.c) */
	uint64_t answered;           /* requests */
	bool refused;                /* what is wrong was said */
	atomic_int_least64_t due_ms; /* what is being read has to be in by then; 0: nothing is */
	atomic_bool overdue;         /* it was not */
	atomic_bool sending;         /* an answer is on its way */
	int64_t window_start_ms;     /* the watch's own: of the present stretch of an answer */
	uint64_t window_acknowledged;
};

void http_bounds_init(struct http_bounds *bounds, const struct config *config);
void http_bounds_release(struct http_bounds *bounds);

void http_connections_init(struct http_connections *connections, struct http_bounds *bounds, bool tls);
void http_connections_release(struct http_connections *connections);

/* False when a connection from this address is one too many. Any front thread. */
bool http_connection_admitted(struct http_bounds *bounds, const struct sockaddr *address);

/* A connection begins and ends, on its front thread. NULL when memory runs out: then it cannot be served. */
struct http_connection *http_connection_new(struct http_connections *owner, int fd, const struct sockaddr *address);
void http_connection_free(struct http_connection *connection);

/* An answer begins to be sent; it is sent, and the next request is awaited. The front thread. */
void http_connection_answers(struct http_connection *connection);
void http_connection_answered(struct http_connection *connection);

/* Shuts down connections whose time is up, and slow readers. The notifier's thread, about once a second. */
void http_connections_watch(struct http_connections *connections, int64_t now_ms);

/* How bytes come and go, with TLS or without. receive is as recv; send does what it can at once. */
struct http_wire {
	ssize_t (*receive)(void *context, void *bytes, size_t size);
	void (*send)(void *context, const void *bytes, size_t count);
	void *context;
};

/* The connection of this front thread on that socket; NULL for a socket of somebody else's. */
struct http_connection *http_connection_find(int fd);

/*
 * Reads for libmicrohttpd: gives what receive gave, or less, when it is well-formed. False when it is not, or when its
 * time was up, and after that: the client was told, and the connection is to be taken as lost.
 */
bool http_connection_receive(
	struct http_connection *connection, const struct http_wire *wire, void *bytes, size_t size, ssize_t *ret);

/* Connections open now, for /metrics. */
size_t http_connections_open(struct http_bounds *bounds);

#endif
