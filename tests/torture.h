/*
 * One whole life of a daemon in which the Nth call of a kind fails: it is started, used in every way, and ended. Whatever call it is,
 * the daemon may refuse (503, or a connection closed), may end jobs as failed, may end by itself with a word why; but it never dies of
 * a signal, never hangs, never loses or changes what it has acknowledged, and never says what is not so.
 */
#ifndef TESTS_TORTURE_H
#define TESTS_TORTURE_H

#include "nth.h"

#include <stdbool.h>

/* Before the first run: the origin, the page, the library. False, with a word on standard error, when something is missing. */
bool torture_begin(void);
void torture_end(void);

/*
 * Returns true when all was well. *ret_struck tells whether the call was reached; what was wrong is on standard error then, with
 * where the call came from.
 */
bool torture_run(enum nth_kind kind, uint64_t first, uint64_t times, bool *ret_struck);

/* How many calls of the kind such a life makes. */
uint64_t torture_count(enum nth_kind kind);

#endif
