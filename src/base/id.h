/*
 * Job ids: UUID version 7 (RFC 9562, section 5.7), made so that each is greater than the one before it in this process:
 * the order of ids is the order of submission, which lists and cursors rest on.
 */
#ifndef FETCHPOOL_BASE_ID_H
#define FETCHPOOL_BASE_ID_H

#include <stdbool.h>
#include <stdint.h>

#define ID_TEXT_BYTES 37 /* 36 characters and a NUL */

struct id {
	uint8_t bytes[16];
};

/* A new id. Safe on any thread. */
struct id id_new(void);

void id_format(const struct id *id, char *ret_text);

/* Reads the 36 characters, either case. Returns 0 or -EINVAL. */
int id_parse(const char *text, struct id *ret) __attribute__((warn_unused_result));

/* Below, at or above zero as memcmp: the order of submission. */
int id_compare(const struct id *a, const struct id *b);

#endif
