/*
 * Many small pieces that live and die together: allocated one by one, freed at once. Not for sharing between threads
 * while it grows.
 */
#ifndef FETCHPOOL_BASE_ARENA_H
#define FETCHPOOL_BASE_ARENA_H

#include <stddef.h>

struct arena_block;

struct arena {
	struct arena_block *blocks;
	size_t bytes; /* taken from malloc so far */
};

/* Both give NULL when memory runs out. The memory is zeroed and aligned for any object. */
void *arena_alloc(struct arena *arena, size_t bytes);
char *arena_copy(struct arena *arena, const char *text, size_t length); /* with a NUL after it */
char *arena_string(struct arena *arena, const char *text);

void arena_release(struct arena *arena);

#endif
