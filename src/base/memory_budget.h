/*
 * How much memory bodies and specs may take (--max-memory), counted as it is taken and given back. Process-wide. Threads: any; no lock.
 *
 * What comes in from clients (requests and specs) has three quarters of it at most, so that fetches always have some; a fetch in flight
 * is never refused what it needs, but goes on in a file, and no more begin (memory_is_short).
 */
#ifndef FETCHPOOL_BASE_MEMORY_BUDGET_H
#define FETCHPOOL_BASE_MEMORY_BUDGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum memory_kind {
	MEMORY_REQUESTS,  /* bodies of clients' requests that are coming in or being read */
	MEMORY_SPECS,     /* jobs that are not done, with their request bodies */
	MEMORY_RESPONSES, /* bodies of responses that are coming in, or wait for their commit */
	MEMORY_KIND_COUNT
};

/* Before there are threads. Without it there is no ceiling. */
void memory_set_ceiling(int64_t bytes);
int64_t memory_ceiling(void);

/* False when it would be too much; then nothing is taken. */
bool memory_take(enum memory_kind kind, int64_t bytes) __attribute__((warn_unused_result));

/* For what cannot be refused. */
void memory_take_anyway(enum memory_kind kind, int64_t bytes);

/* Gives back what was taken, and sets it to 0. */
void memory_give(enum memory_kind kind, int64_t *bytes);

int64_t memory_used(enum memory_kind kind);
const char *memory_kind_name(enum memory_kind kind);

/* True while all of it is in use. */
bool memory_is_short(void);

/* ---- what the process may use at all */

/* The memory of the machine, or of the control group if that is less; proc and sys: where those file systems are. */
int64_t memory_available(const char *proc, const char *sys);

#endif
