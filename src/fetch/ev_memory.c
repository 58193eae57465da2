/*
 * See ev_memory.h. libev's tables only grow: with the highest descriptor, and with what is due in one turn. When malloc fails they go
 * on in a region that is set aside at the start; it is not touched before, so it costs no memory until then.
 *
 * Threads: any.
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "fetch/ev_memory.h"

#include <errno.h>
#include <ev.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"

#define REGION_BYTES ((size_t)64 << 20)

/* In front of each piece of memory. */
struct piece {
	alignas(max_align_t) size_t bytes;
	bool in_region; /* else malloc'd */
};

static unsigned char *region;
static _Atomic(size_t) region_used;

/* Pieces of the region are not used again: tables double, so all that they leave behind is as much as they have. */
static struct piece *
take_from_region(size_t whole)
{
	whole = (whole + alignof(max_align_t) - 1) / alignof(max_align_t) * alignof(max_align_t);
	size_t at = atomic_fetch_add(&region_used, whole);

	if (whole > REGION_BYTES || at > REGION_BYTES - whole) {
		log_error("libev needs more memory than is set aside for it, and there is none; the server ends");
		_exit(EXIT_FAILURE);
	}
	return (struct piece *)(region + at);
}

static struct piece *
piece_new(size_t bytes)
{
	size_t whole = sizeof(struct piece) + bytes;
	struct piece *piece = malloc(whole);
	bool in_region = piece == NULL;

	if (in_region)
		piece = take_from_region(whole);
	*piece = (struct piece){.bytes = bytes, .in_region = in_region};
	return piece;
}

/* As realloc, but that 0 bytes free, and that it never fails. */
static void *
realloc_always(void *memory, long bytes)
{
	struct piece *old = memory == NULL ? NULL : (struct piece *)memory - 1;
	struct piece *new = bytes == 0 ? NULL : piece_new((size_t)bytes);

	if (old != NULL && new != NULL)
		memcpy(new + 1, old + 1, old->bytes < new->bytes ? old->bytes : new->bytes);
	if (old != NULL && !old->in_region)
		free(old);
	return new == NULL ? NULL : new + 1;
}

/* libev would abort without a word on the log. */
static void
on_system_error(const char *what)
{
	log_error("%s: %s; the server ends", what, strerror(errno));
	_exit(EXIT_FAILURE);
}

int
ev_memory_init(void)
{
	if (region != NULL)
		return 0;
	void *mapped =
		mmap(NULL, REGION_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (mapped == MAP_FAILED)
		return -errno;
	region = mapped;
	ev_set_allocator(realloc_always);
	ev_set_syserr_cb(on_system_error);
	return 0;
}
