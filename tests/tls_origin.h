/*
 * A scripted HTTPS/1.1 origin on 127.0.0.1, with certificates that are made when it starts: nothing of it is on the disk.
 *
 * A thread takes connections, and each has a thread of its own, with blocking calls. What it answers is JSON that tells
 * what it saw of the connection:
 *
 *	{"target":"/x","connection":1,"client":"CN of the client's certificate, or null","sni":null,"resumed":false}
 *
 * Paths: /to/URL is a 302 to that URL; everything else is a 200. It counts handshakes that failed, too.
 * Nothing here asserts but by ck_abort in tls_origin_start, which belongs on the test's own thread.
 */
#ifndef TESTS_TLS_ORIGIN_H
#define TESTS_TLS_ORIGIN_H

#include <stdbool.h>
#include <stddef.h>

enum tls_origin_cert {
	TLS_ORIGIN_GOOD,        /* issued by the origin's own CA to 127.0.0.1 and localhost */
	TLS_ORIGIN_SELF_SIGNED, /* by itself */
	TLS_ORIGIN_EXPIRED,     /* by the CA, until yesterday */
	TLS_ORIGIN_WRONG_HOST,  /* by the CA, to other.example */
};

struct tls_origin_options {
	enum tls_origin_cert cert;
	bool ask_client;    /* asks for a client's certificate of its CA; goes on without one */
	const char *host;   /* a further name in the certificate; NULL: none */
	bool refuse_resume; /* no session tickets */
};

struct tls_origin;

/* NULL options: all zeroes. */
struct tls_origin *tls_origin_start(const struct tls_origin_options *options);
/* Ends its threads and closes what is open. */
void tls_origin_stop(struct tls_origin *origin);
unsigned tls_origin_port(const struct tls_origin *origin);

/* PEM, as long as the origin lives: its CA; a certificate of that CA with its key, for a client ("CN=the client"). */
const char *tls_origin_ca(const struct tls_origin *origin);
const char *tls_origin_client(const struct tls_origin *origin);

/* What its connections are made from: for a server of another kind that speaks TLS with the same certificates. */
struct ssl_ctx_st *tls_origin_context(const struct tls_origin *origin);

/* So far: TCP connections, handshakes that ended well, requests. */
size_t tls_origin_connections(struct tls_origin *origin);
size_t tls_origin_handshakes(struct tls_origin *origin);
size_t tls_origin_requests(struct tls_origin *origin);

#endif
