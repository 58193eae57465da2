/* Client threads that put the daemon under load until it is gone, or until each has done its share. */
#ifndef TESTS_CRASH_LOAD_H
#define TESTS_CRASH_LOAD_H

#include "crash_book.h"

struct crash_load;

/* After each request a thread rests for so long; 0: not at all. */
struct crash_load *crash_load_start(struct crash_book *book, const struct client_address *address,
	struct origin *origin, uint64_t seed, unsigned rest_ms);
/* How many requests all threads together make at most. */
size_t crash_load_size(void);
/* How many threads there are. */
size_t crash_load_threads(void);
/* Waits for their ends, and frees. Soon over once the daemon is killed. */
void crash_load_end(struct crash_load *load);

#endif
