/*
 * TLS of the front door, by the GnuTLS that libmicrohttpd brings: the certificate with its key, the rules of the
 * handshake, and which of the two a connection uses. A reload puts a new pair in the place of the old one; a connection
 * keeps the one that was there when it began, so none is dropped. TLS 1.2 and 1.3 alone (RFC 8446, RFC 5246, RFC 9325).
 *
 * A pair never changes, and is counted by references: any thread. The place has a lock of its own, a leaf.
 */
#ifndef FETCHPOOL_API_HTTP_TLS_H
#define FETCHPOOL_API_HTTP_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/config.h"

struct MHD_Connection;
struct MHD_OptionItem;
struct http_tls;
struct http_tls_pair;

/*
 * Reads --tls-cert and --tls-key, and sees that they belong together. *ret is a reference, or NULL when neither is
 * given. Returns 0, or -errno with a message (malloc'd, or NULL) that names the option and the file.
 */
int http_tls_pair_load(const struct config *config, struct http_tls_pair **ret, char **ret_message)
	__attribute__((warn_unused_result));
void http_tls_pair_unref(struct http_tls_pair *pair);

/* Logs a certificate that is out of date, or not valid yet. */
void http_tls_pair_warn(const struct http_tls_pair *pair);

/* Takes the reference over. NULL when memory runs out: then it is still the caller's. */
struct http_tls *http_tls_new(struct http_tls_pair *pair);
void http_tls_free(struct http_tls *tls);

/* From now on new connections get this pair; the reference is taken over. */
void http_tls_set_pair(struct http_tls *tls, struct http_tls_pair *pair);

/* When the certificate of new connections ends, in seconds since 1970. */
int64_t http_tls_expires(struct http_tls *tls);

/* For MHD_OPTION_ARRAY, of a daemon with MHD_USE_TLS; it takes a copy. */
const struct MHD_OptionItem *http_tls_options(void);

/*
 * A connection begins, on its front thread, before its handshake: gives it the pair of now. The reference that is
 * returned has to live as long as the connection; NULL for one that is not TLS. With tls NULL it gets none: its handshake
 * fails.
 */
struct http_tls_pair *http_tls_begin(struct http_tls *tls, struct MHD_Connection *connection);

/* True for a connection with TLS: nothing may be written to its bare socket. */
bool http_tls_used(struct MHD_Connection *connection);

#endif
