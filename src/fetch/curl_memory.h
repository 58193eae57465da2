/*
 * libcurl's allocations, watched: it tells a head that is too long and a lack of memory by the same code. Threads: any; what is told is
 * of the calling thread.
 */
#ifndef FETCHPOOL_FETCH_CURL_MEMORY_H
#define FETCHPOOL_FETCH_CURL_MEMORY_H

#include <stdbool.h>

/* Makes libcurl ready, once, before there are threads. Returns 0 or -ENOMEM. */
int curl_memory_init(void) __attribute__((warn_unused_result));

/* True when an allocation of libcurl failed on this thread since curl_memory_forget. */
bool curl_memory_failed(void);
void curl_memory_forget(void);

#endif
