/*
 * Whether a peer said that it had sent all before its TLS connection ended (close_notify, RFC 8446, section 6.1). An answer
 * that only the end of the connection bounds is whole when it did (RFC 9112, section 9.8); libcurl does not tell. The
 * loop's thread.
 */
#ifndef FETCHPOOL_FETCH_TLS_END_H
#define FETCHPOOL_FETCH_TLS_END_H

#include <curl/curl.h>
#include <stdbool.h>

struct tls_end;

/*
 * Watches the TLS connection that the handle uses now; for within libcurl's callbacks. NULL when there is none, it is not OpenSSL's, or
 * memory runs out (*ret_no_memory). The caller's, who may let go of it before or after the connection ends.
 */
struct tls_end *tls_end_watch(CURL *easy, bool *ret_no_memory) __attribute__((warn_unused_result));

/* True once the peer said so. */
bool tls_end_announced(const struct tls_end *end);

/* Takes NULL, too. */
void tls_end_release(struct tls_end *end);

#endif
