/* What a hop sends: method, fields and body, as libcurl's options. For hop.c; the loop's thread. */
#ifndef FETCHPOOL_FETCH_HOP_REQUEST_H
#define FETCHPOOL_FETCH_HOP_REQUEST_H

#include <stdbool.h>
#include <stddef.h>

#include "fetch/transfer.h"

/* Request bodies up to this size go out in one piece with the head; larger ones are read from us as the socket takes
 * them, so that we know when the last byte was handed over. */
#define HOP_SMALL_BODY_BYTES 32768

/* Sets the easy handle up for the hop's request. Returns 0 or -ENOMEM. */
int hop_set_request(struct transfer *transfer) __attribute__((warn_unused_result));

/* Adds a line to a list; false when memory runs out. */
bool hop_append(struct curl_slist **list, const char *line) __attribute__((warn_unused_result));

/* hop.c: the read callback of a large body. */
size_t hop_on_read(char *buffer, size_t size, size_t count, void *context);

#endif
