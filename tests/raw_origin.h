/*
 * An origin that sends just the bytes it is told to, in the clear or over TLS, right or wrong: for answers that no scripted path of
 * tests/origin.h makes. A thread of its own serves one connection after another: it reads a request's head, sends `begin`, then
 * `again` so many times, then `end`, and ends the connection as told.
 *
 * Certificates are made at the start. Those that are good are signed by a CA whose file raw_origin_ca() writes.
 */
#ifndef TESTS_RAW_ORIGIN_H
#define TESTS_RAW_ORIGIN_H

#include <stdbool.h>
#include <stddef.h>

#define RAW_ENDLESS ((size_t)-1) /* until the client leaves */

enum raw_ending {
	RAW_CLOSE,
	RAW_RESET,
	RAW_STALL,           /* waits until the client leaves */
	RAW_CLOSE_UNNOTIFIED /* TLS: without its word that this was all */
};

enum raw_tls {
	RAW_PLAIN,
	RAW_TLS_GOOD, /* for 127.0.0.1 and localhost */
	RAW_TLS_EXPIRED,
	RAW_TLS_NOT_YET,
	RAW_TLS_WRONG_HOST,
	RAW_TLS_SELF_SIGNED,
	RAW_TLS_UNKNOWN_CA,
	RAW_TLS_NO_SERVER, /* a certificate for clients alone */
	RAW_TLS_OLD,       /* TLS 1.1 at most */
	/* Instead of a handshake, once its first byte came: */
	RAW_TLS_GARBAGE,
	RAW_TLS_HALF, /* the beginning of a record, and nothing more */
	RAW_TLS_END,
	RAW_TLS_BREAK, /* a reset */
};

struct raw_script {
	const void *begin;
	size_t begin_bytes; /* 0: it is a text */
	const char *again;
	size_t times; /* or RAW_ENDLESS */
	const char *end;
	enum raw_ending ending;
	unsigned pause_ms; /* above 0: byte by byte, with these pauses */
	enum raw_tls tls;
};

struct raw_origin;

/* The script's texts stay the caller's. NULL when there is no port. */
struct raw_origin *raw_origin_start(const struct raw_script *script);
void raw_origin_stop(struct raw_origin *origin);
unsigned raw_origin_port(const struct raw_origin *origin);
/* How many connections came so far. */
size_t raw_origin_connections(struct raw_origin *origin);

/* Writes the certificate of the CA, as PEM, to this file. Once in a process, before any origin with TLS. */
bool raw_origin_ca(const char *path);

#endif
