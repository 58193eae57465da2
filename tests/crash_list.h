/* Walks through the daemon's list of all jobs: each that the book knows must be in it once, as it was acknowledged. */
#ifndef TESTS_CRASH_LIST_H
#define TESTS_CRASH_LIST_H

#include "crash_book.h"

/* While there is no load, and when every job is done. */
void crash_list_all(struct crash_book *book, const struct client_address *address);

#endif
