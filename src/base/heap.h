/*
 * An intrusive pairing heap (Fredman, Sedgewick, Sleator, Tarjan 1986): the node lives in the object, so inserting
 * allocates nothing and cannot fail; insert O(1), remove of any node O(log n) amortised.
 */
#ifndef FETCHPOOL_BASE_HEAP_H
#define FETCHPOOL_BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>

struct heap_node {
	struct heap_node *child, *next, *prev; /* prev: the left sibling, or the parent of a first child */
	bool queued;
};

/* True when a goes before b. */
typedef bool heap_before_fn(const struct heap_node *a, const struct heap_node *b);

struct heap {
	struct heap_node *root;
	heap_before_fn *before;
	size_t count;
};

void heap_init(struct heap *heap, heap_before_fn *before);
void heap_insert(struct heap *heap, struct heap_node *node);

/* Takes the node off; a node that is not queued stays as it is. */
void heap_remove(struct heap *heap, struct heap_node *node);

/* The first node, left in its place, or NULL. */
struct heap_node *heap_first(const struct heap *heap);

/* The first node, taken off, or NULL. */
struct heap_node *heap_pop(struct heap *heap);

#endif
