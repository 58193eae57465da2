/*
 * Memory in reserve, for libraries that crash or end the process when an allocation fails in the wrong place: what malloc does not give
 * comes from a region that is set aside at the start. It is not touched before, so it costs no memory until then. Pieces go back to
 * either by reserve_free alone. Threads: any; the lock is a leaf.
 */
#ifndef FETCHPOOL_BASE_RESERVE_H
#define FETCHPOOL_BASE_RESERVE_H

#include <stddef.h>

/* Once, before there are threads. Returns 0 or -errno. */
int reserve_init(void) __attribute__((warn_unused_result));

/* As malloc and realloc; NULL when neither malloc nor the reserve has it. */
void *reserve_malloc(size_t bytes);
void *reserve_realloc(void *memory, size_t bytes);
void reserve_free(void *memory);

#endif
