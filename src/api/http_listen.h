/* Listening sockets: addresses read, sockets bound. For http.c and for main's check of the options. */
#ifndef FETCHPOOL_API_HTTP_LISTEN_H
#define FETCHPOOL_API_HTTP_LISTEN_H

#include <stdbool.h>
#include <stddef.h>

/* The sockets of one --listen value: one a front thread. */
struct http_door {
	char *address;   /* as shown: "http://127.0.0.1:8080", "unix:/run/x" */
	char *unix_path; /* to unlink at the end; NULL for TCP */
	int *sockets;
	size_t socket_count;
};

/* Opens the door. Returns 0 or -errno; the door is empty then. */
int http_door_open(const char *listen, size_t threads, struct http_door *ret) __attribute__((warn_unused_result));

/* Closes the sockets that are still the door's (not -1), and removes the path. */
void http_door_close(struct http_door *door);

/* True for loopback addresses, localhost and unix paths. */
bool http_listen_is_local(const char *listen);

#endif
