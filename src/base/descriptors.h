/* How many descriptors there are, and who may have them. */
#ifndef FETCHPOOL_BASE_DESCRIPTORS_H
#define FETCHPOOL_BASE_DESCRIPTORS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/config.h"

struct descriptor_plan {
	int64_t wanted;           /* for everything as it is configured */
	int64_t connections;      /* of clients */
	int64_t in_flight;        /* fetches; one in four of them may have a file, too, or less when there are few */
	int64_t kept_connections; /* to origins, of all loops */
	bool fits;                /* connections and in_flight are as configured */
};

/*
 * Shares a limit out. What the server itself needs comes first; clients and fetches are cut only when connections that are kept for
 * later have little left, and neither below half of the rest for the other's sake.
 */
void descriptors_plan(const struct config *config, int64_t limit, struct descriptor_plan *ret);

/* Raises the process's limit as far as it may, and gives it. INT64_MAX when there is none. */
int64_t descriptors_raise_limit(void);

/* Puts the numbers of the plan in force. */
void descriptors_apply(const struct descriptor_plan *plan, struct config *config);

#endif
