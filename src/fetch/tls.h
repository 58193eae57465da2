/*
 * Whom TLS trusts and what it presents: CA bundles and client certificates, each read once for the process and shared by
 * all connections. libcurl by itself would read them anew for each connection (1.5 to 25 ms), or keep one bundle a multi
 * handle. It and tls_end.c alone see OpenSSL's TLS. Stores and identities are immutable and reference counted; any thread.
 */
#ifndef FETCHPOOL_FETCH_TLS_H
#define FETCHPOOL_FETCH_TLS_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>

struct tls_store;    /* CAs that are trusted */
struct tls_identity; /* a certificate with its chain and its key */

#define TLS_WHY_BYTES 200

/* NULL when libcurl's TLS is the OpenSSL that this is built with; else what to do, for the user. */
const char *tls_library_problem(void);

/*
 * Reads a bundle of certificates (PEM); a NULL path is the system's, which may be empty or missing. When old (or NULL) was
 * made of the same bytes, a reference to it is given. NULL with a reason in ret_why, of TLS_WHY_BYTES.
 */
struct tls_store *tls_store_read(const char *path, struct tls_store *old, char *ret_why);
struct tls_store *tls_store_ref(struct tls_store *store);
void tls_store_unref(struct tls_store *store);

/* The number of its certificates; 0 for a system's directory, too, which is looked into when there is need. */
size_t tls_store_count(const struct tls_store *store);

/* Reads a certificate, those that lead from it to a CA, and its key, all in one PEM file; as above. */
struct tls_identity *tls_identity_read(const char *path, struct tls_identity *old, char *ret_why);
struct tls_identity *tls_identity_ref(struct tls_identity *identity);
void tls_identity_unref(struct tls_identity *identity);

/* What one hop uses; its references are held elsewhere, as long as the hop is on libcurl's hands. */
struct tls_choice {
	struct tls_store *store;       /* for the origin */
	struct tls_store *proxy_store; /* for a proxy that is spoken to over TLS */
	struct tls_identity *identity; /* NULL: none; never shown to a proxy */
	bool insecure;                 /* the origin's certificate is not looked at */
	unsigned way;                  /* connections of different ways are kept apart: the proxy's id, 0 for none */
	bool begun;                    /* set when the handshake with the origin begins */
};

/* Sets the easy handle up; choice stays where it is until the hop is over. */
void tls_prepare(CURL *easy, struct tls_choice *choice);

#endif
