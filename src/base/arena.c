/* See arena.h. */
#include "base/arena.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_FIRST 576  /* what the spec of a plain job takes */
#define BLOCK_LARGE 4032 /* later ones have half of what there is, up to this */

struct arena_block {
	struct arena_block *next;
	size_t used, size;
	alignas(max_align_t) unsigned char bytes[];
};

static struct arena_block *
grow(struct arena *arena, size_t bytes)
{
	size_t size = arena->blocks == NULL ? BLOCK_FIRST : arena->bytes / 2;

	if (size > BLOCK_LARGE)
		size = BLOCK_LARGE;
	if (bytes > size)
		size = bytes;
	if (size > SIZE_MAX - sizeof(struct arena_block))
		return NULL;
	struct arena_block *block = malloc(sizeof *block + size);
	if (block == NULL)
		return NULL;
	*block = (struct arena_block){.next = arena->blocks, .size = size};
	arena->blocks = block;
	arena->bytes += sizeof *block + size;
	return block;
}

void *
arena_alloc(struct arena *arena, size_t bytes)
{
	struct arena_block *block = arena->blocks;
	size_t align = alignof(max_align_t);

	if (bytes > SIZE_MAX - align)
		return NULL;
	bytes = (bytes + align - 1) / align * align;
	if (block == NULL || block->size - block->used < bytes)
		block = grow(arena, bytes);
	if (block == NULL)
		return NULL;
	void *piece = block->bytes + block->used;
	block->used += bytes;
	memset(piece, 0, bytes);
	return piece;
}

char *
arena_copy(struct arena *arena, const char *text, size_t length)
{
	char *copy = length == SIZE_MAX ? NULL : arena_alloc(arena, length + 1);

	if (copy != NULL && length > 0)
		memcpy(copy, text, length);
	return copy;
}

char *
arena_string(struct arena *arena, const char *text)
{
	return arena_copy(arena, text, strlen(text));
}

void
arena_release(struct arena *arena)
{
	while (arena->blocks != NULL) {
		struct arena_block *next = arena->blocks->next;

		free(arena->blocks);
		arena->blocks = next;
	}
	arena->bytes = 0;
}
