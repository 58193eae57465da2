/*
 * See ev_memory.h. libev's tables only grow: with the highest descriptor, and with what is due in one turn. When malloc fails they go
 * on in the reserve. Threads: any.
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "fetch/ev_memory.h"

#include <errno.h>
#include <ev.h>
#include <stdalign.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/reserve.h"

/* In front of each piece of memory. */
struct piece {
	alignas(max_align_t) size_t bytes;
};

static struct piece *
piece_new(size_t bytes)
{
	struct piece *piece = reserve_malloc(sizeof *piece + bytes);

	if (piece == NULL) {
		log_error("libev needs %zu bytes more, and there are none; the server ends", bytes);
		_exit(EXIT_FAILURE);
	}
	piece->bytes = bytes;
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
	reserve_free(old);
	return new == NULL ? NULL : new + 1;
}

/* libev would abort without a word on the log. */
static void
on_system_error(const char *what)
{
	log_error("%s: %s; the server ends", what, strerror(errno));
	_exit(EXIT_FAILURE);
}

void
ev_memory_init(void)
{
	ev_set_allocator(realloc_always);
	ev_set_syserr_cb(on_system_error);
}
