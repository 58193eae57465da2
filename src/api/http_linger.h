/*
 * Connections that were answered before all of their request was read. A socket that is closed with bytes unread, or that
 * more come to, sends a reset, which takes the answer with it. So the sending side is shut, and what comes is read and
 * thrown away, for a while (RFC 9112, section 9.6). Put by front threads, looked after by the notifier's.
 */
#ifndef FETCHPOOL_API_HTTP_LINGER_H
#define FETCHPOOL_API_HTTP_LINGER_H

#include <stddef.h>
#include <stdint.h>

#include "base/lock.h"

#define LINGER_MAX 64 /* sockets at a time; further ones are closed at once */

struct http_lingering {
	struct lock lock; /* guards the rest; a leaf */
	struct {
		int fd;
		int64_t due_ms;
	} sockets[LINGER_MAX];
	size_t count;
};

void http_linger_init(struct http_lingering *lingering);
void http_linger_release(struct http_lingering *lingering);

/* Keeps a copy of the socket, which the caller goes on to close. */
void http_linger(struct http_lingering *lingering, int fd, int64_t now_ms);

/* Reads what has come; closes those whose other side has, or whose time is up. */
void http_linger_watch(struct http_lingering *lingering, int64_t now_ms);

#endif
