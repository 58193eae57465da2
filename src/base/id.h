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

/*
 * The two halves of an id: its first 60 bits but for the version (the time in milliseconds and a counter), which alone
 * tell it from all others of this server and have its order, and its last 64.
 */
uint64_t id_stamp(const struct id *id);
uint64_t id_tail(const struct id *id);
struct id id_make(uint64_t stamp, uint64_t tail);

/* New ids come after this stamp from now on, even if the clock was set back: for ids kept from an earlier run. */
void id_continue_after(uint64_t stamp);

/* Below, at or above zero as memcmp: the order of submission. */
int id_compare(const struct id *a, const struct id *b);

#endif
