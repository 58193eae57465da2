/* Clients are turned away, not left waiting, when there is no descriptor for them. */
#ifndef FETCHPOOL_API_HTTP_ACCEPT_H
#define FETCHPOOL_API_HTTP_ACCEPT_H

/* Before there are front threads. Returns 0 or -errno. */
int http_accept_init(void) __attribute__((warn_unused_result));

#endif
