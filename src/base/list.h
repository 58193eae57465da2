/*
 * An intrusive, circular, doubly linked list: the node lives in the object, so that queueing allocates nothing and
 * cannot fail. A node that is on no list points at itself.
 */
#ifndef FETCHPOOL_BASE_LIST_H
#define FETCHPOOL_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
	struct list *next, *prev;
};

/* The object of type that holds this node as member. */
#define container_of(node, type, member) ((type *)((char *)(node)-offsetof(type, member)))

#define LIST_FOR_EACH(node, head) for (struct list *node = (head)->next; node != (head); node = node->next)

static inline void
list_init(struct list *list)
{
	list->next = list->prev = list;
}

static inline bool
list_empty(const struct list *list)
{
	return list->next == list;
}

static inline void
list_insert_before(struct list *at, struct list *node)
{
	node->prev = at->prev;
	node->next = at;
	at->prev->next = node;
	at->prev = node;
}

static inline void
list_push_back(struct list *list, struct list *node)
{
	list_insert_before(list, node);
}

static inline void
list_remove(struct list *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	list_init(node);
}

/* The first node, taken off the list; NULL when the list is empty. */
static inline struct list *
list_pop_front(struct list *list)
{
	struct list *node = list->next;

	if (node == list)
		return NULL;
	list_remove(node);
	return node;
}

/* Moves everything of from to the end of to. */
static inline void
list_splice(struct list *to, struct list *from)
{
	if (list_empty(from))
		return;
	from->next->prev = to->prev;
	to->prev->next = from->next;
	from->prev->next = to;
	to->prev = from->prev;
	list_init(from);
}

#endif
