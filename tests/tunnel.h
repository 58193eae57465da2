/*
 * TLS for a client that speaks plain HTTP: a port of 127.0.0.1 where each connection is handed on to the daemon's port over
 * TLS (GnuTLS), one thread each. So all the words of client.h and rig.h work over TLS: server_use_port(server, tunnel port).
 *
 * Nothing here asserts; what a handshake came to is told by tunnel_last.
 */
#ifndef TESTS_TUNNEL_H
#define TESTS_TUNNEL_H

#include <stdbool.h>
#include <stddef.h>

struct tunnel_rules {
	unsigned port;          /* the daemon's */
	bool ipv6;              /* at ::1 */
	const char *authority;  /* a file: whom to trust; NULL: anybody */
	const char *name;       /* that the certificate has to have; NULL: localhost */
	const char *priorities; /* of GnuTLS; NULL: its usual ones */
};

/* The connection that was made, or refused, last. */
struct tunnel_sight {
	size_t handshakes, failures; /* so far */
	const char *version;         /* "TLS1.3" */
	char protocol[32];           /* by ALPN */
	char serial[41];             /* of the certificate, in hex */
	unsigned chain_length;       /* certificates that came */
	int error;                   /* of the handshake, GnuTLS's; 0: none */
	size_t whole_ends, cut_ends; /* so far: ends that were announced, and that were not */
};

struct tunnel;
struct tunnel *tunnel_open(const struct tunnel_rules *rules);
unsigned tunnel_port(const struct tunnel *tunnel);
struct tunnel_sight tunnel_sight(struct tunnel *tunnel);
/* Waits until so many connections of it have ended; false when that takes too long. */
bool tunnel_await_ends(struct tunnel *tunnel, size_t count);
void tunnel_close(struct tunnel *tunnel);

#endif
