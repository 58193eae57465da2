/*
 * jansson's calls that take memory, made whole or not at all. jansson 2.14 goes on after some allocations that failed: with a text that
 * is cut short, or into an assertion. So its allocator does not come back from one that fails: it leaves jansson by longjmp, and what the
 * call had taken until then is given back. jansson takes no locks, and what it is given it does not change.
 *
 * Until a call is over, all that it took is on a list.
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "api/codec_private.h"

#include <setjmp.h>
#include <stdalign.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"

struct piece {
	alignas(max_align_t) struct list node;
};

/* The call into jansson that is under way; no call is made within another. */
static _Thread_local struct {
	bool under_way;
	struct list pieces;
	jmp_buf out;
} call;

static void *
piece_alloc(size_t bytes)
{
	struct piece *piece = malloc(sizeof *piece + bytes);

	if (piece == NULL && call.under_way)
		longjmp(call.out, 1);
	if (piece == NULL)
		return NULL;
	list_init(&piece->node);
	if (call.under_way)
		list_push_back(&call.pieces, &piece->node);
	return piece + 1;
}

static void
piece_free(void *memory)
{
	struct piece *piece = memory == NULL ? NULL : (struct piece *)memory - 1;

	if (piece == NULL)
		return;
	list_remove(&piece->node);
	free(piece);
}

void
codec_memory_init(void)
{
	json_set_alloc_funcs(piece_alloc, piece_free);
}

static void
call_begin(void)
{
	list_init(&call.pieces);
	call.under_way = true;
}

/* The pieces stay, each by itself. */
static void
call_good(void)
{
	call.under_way = false;
	while (list_pop_front(&call.pieces) != NULL)
		;
}

static void
call_bad(void)
{
	call.under_way = false;
	for (struct list *node; (node = list_pop_front(&call.pieces)) != NULL;)
		free(container_of(node, struct piece, node));
}

json_t *
codec_parse(const char *bytes, size_t length, size_t flags, json_error_t *ret_error, bool *ret_poor)
{
	if (setjmp(call.out) != 0) {
		call_bad();
		*ret_poor = true;
		return NULL;
	}
	call_begin();
	json_t *value = json_loadb(bytes, length, flags | JSON_DECODE_ANY, ret_error);
	call_good();
	*ret_poor = false;
	return value;
}

char *
codec_print(const json_t *value, size_t flags)
{
	if (setjmp(call.out) != 0) {
		call_bad();
		return NULL;
	}
	call_begin();
	char *text = json_dumps(value, flags);
	call_good();
	char *copy = text == NULL ? NULL : strdup(text);
	piece_free(text);
	return copy;
}
