/* See reserve.h. Pieces have sizes of powers of two; those that come back are kept by size. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "base/reserve.h"

#include <errno.h>
#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/lock.h"

#define REGION_BYTES ((size_t)64 << 20)
#define SMALLEST_BITS 6
#define LARGEST_BITS 25

/* In front of each piece. */
struct piece {
	alignas(max_align_t) struct piece *next; /* among those that are free */
	unsigned bits;                           /* of its size, this included */
};

static unsigned char *region;
static struct lock lock; /* guards the rest */
static size_t used;
static struct piece *unused[LARGEST_BITS + 1];

int
reserve_init(void)
{
	if (region != NULL)
		return 0;
	void *mapped =
		mmap(NULL, REGION_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (mapped == MAP_FAILED)
		return -errno;
	lock_init(&lock);
	region = mapped;
	return 0;
}

static struct piece *
cut_locked(unsigned bits)
{
	struct piece *piece = unused[bits];

	if (piece != NULL) {
		unused[bits] = piece->next;
	} else if (used + ((size_t)1 << bits) <= REGION_BYTES) {
		piece = (struct piece *)(region + used);
		used += (size_t)1 << bits;
		piece->bits = bits;
	}
	return piece;
}

static void *
take(size_t bytes)
{
	unsigned bits = SMALLEST_BITS;

	while (bits <= LARGEST_BITS && ((size_t)1 << bits) - sizeof(struct piece) < bytes)
		bits++;
	if (region == NULL || bits > LARGEST_BITS)
		return NULL;
	lock_take(&lock);
	struct piece *piece = cut_locked(bits);
	lock_drop(&lock);
	return piece == NULL ? NULL : piece + 1;
}

static struct piece *
piece_of(void *memory)
{
	uintptr_t at = (uintptr_t)memory, from = (uintptr_t)region;

	return region != NULL && at >= from && at - from < REGION_BYTES ? (struct piece *)memory - 1 : NULL;
}

void *
reserve_malloc(size_t bytes)
{
	void *memory = malloc(bytes);

	return memory != NULL || bytes == 0 ? memory : take(bytes);
}

void
reserve_free(void *memory)
{
	struct piece *piece = piece_of(memory);

	if (piece == NULL) {
		free(memory);
		return;
	}
	lock_take(&lock);
	piece->next = unused[piece->bits];
	unused[piece->bits] = piece;
	lock_drop(&lock);
}

/* A piece of malloc's that cannot grow stays as it is: how much of it would have to be copied, nobody knows. */
void *
reserve_realloc(void *memory, size_t bytes)
{
	struct piece *piece = piece_of(memory);

	if (memory == NULL)
		return reserve_malloc(bytes);
	if (piece == NULL)
		return realloc(memory, bytes);
	size_t has = ((size_t)1 << piece->bits) - sizeof *piece;
	if (bytes <= has)
		return memory;
	void *grown = reserve_malloc(bytes);
	if (grown == NULL)
		return NULL;
	memcpy(grown, memory, has);
	reserve_free(memory);
	return grown;
}
