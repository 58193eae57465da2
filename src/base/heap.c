/* See heap.h. */
#include "base/heap.h"

#include <assert.h>

void
heap_init(struct heap *heap, heap_before_fn *before)
{
	*heap = (struct heap){.before = before};
}

/* Makes one tree of two; either may be NULL. */
static struct heap_node *
meld(struct heap *heap, struct heap_node *a, struct heap_node *b)
{
	if (a == NULL || b == NULL)
		return a != NULL ? a : b;
	if (heap->before(b, a)) {
		struct heap_node *swap = a;
		a = b;
		b = swap;
	}
	b->prev = a;
	b->next = a->child;
	if (a->child != NULL)
		a->child->prev = b;
	a->child = b;
	a->next = a->prev = NULL;
	return a;
}

/* Melds a chain of siblings in two passes: pairs from the left, then all from the right. */
static struct heap_node *
meld_siblings(struct heap *heap, struct heap_node *first)
{
	struct heap_node *pairs = NULL, *tree = NULL;

	while (first != NULL) {
		struct heap_node *a = first, *b = a->next;

		first = b != NULL ? b->next : NULL;
		a->next = a->prev = NULL;
		if (b != NULL)
			b->next = b->prev = NULL;
		a = meld(heap, a, b);
		a->next = pairs;
		pairs = a;
	}
	while (pairs != NULL) {
		struct heap_node *next = pairs->next;

		pairs->next = NULL;
		tree = meld(heap, tree, pairs);
		pairs = next;
	}
	return tree;
}

void
heap_insert(struct heap *heap, struct heap_node *node)
{
	assert(!node->queued);
	*node = (struct heap_node){.queued = true};
	heap->root = meld(heap, heap->root, node);
	heap->count++;
}

void
heap_remove(struct heap *heap, struct heap_node *node)
{
	if (!node->queued)
		return;
	if (node == heap->root) {
		heap->root = meld_siblings(heap, node->child);
	} else {
		if (node->prev->child == node)
			node->prev->child = node->next;
		else
			node->prev->next = node->next;
		if (node->next != NULL)
			node->next->prev = node->prev;
		heap->root = meld(heap, heap->root, meld_siblings(heap, node->child));
	}
	*node = (struct heap_node){.queued = false};
	heap->count--;
}

struct heap_node *
heap_first(const struct heap *heap)
{
	return heap->root;
}

struct heap_node *
heap_pop(struct heap *heap)
{
	struct heap_node *node = heap->root;

	if (node != NULL)
		heap_remove(heap, node);
	return node;
}
