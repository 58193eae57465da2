/*
 * Listening sockets: addresses read, sockets bound, or taken over from systemd. For http.c and for main's check of the
 * options. Main's thread, before the front threads are there.
 */
#ifndef FETCHPOOL_API_HTTP_LISTEN_H
#define FETCHPOOL_API_HTTP_LISTEN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/config.h"

/* The sockets of one --listen value, or of one socket of systemd's: one a front thread. */
struct http_door {
	char *address;   /* as shown: "http://127.0.0.1:8080", "https://[::1]:8443", "unix:/run/x", "unix:@x" */
	char *unix_path; /* to unlink at the end; NULL for TCP, and for what systemd made */
	bool tls;
	int *sockets;
	size_t socket_count;
};

/*
 * Opens the door. A unix socket has its mode and its group before anyone can connect; the rights of a file that is there are
 * never widened. Returns 0 or -errno; the door is empty then.
 */
int http_door_open(const char *listen, const struct config *config, struct http_door *ret)
	__attribute__((warn_unused_result));

/* The same of a socket that was passed, which stays open and as it is. After http_passed_fault found nothing. */
int http_door_adopt(int passed, const struct config *config, struct http_door *ret) __attribute__((warn_unused_result));

/* Closes the sockets that are still the door's (not -1), and removes the path. */
void http_door_close(struct http_door *door);

/* True for loopback addresses, localhost and unix paths. */
bool http_listen_is_local(const char *listen);

/* Why this descriptor is no listening stream socket; NULL when it is one. */
const char *http_passed_fault(int fd);

/* As http_listen_is_local. */
bool http_passed_is_local(int fd);

/* As in struct http_door; malloc'd, or NULL. */
char *http_passed_address(int fd, bool tls);

#endif
