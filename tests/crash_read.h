/* Reads back from the daemon and the origin what the book says of jobs; while there is no load. */
#ifndef TESTS_CRASH_READ_H
#define TESTS_CRASH_READ_H

#include "crash_book.h"

/* Jobs that may still change or were not looked at often enough, and some of the others; or every one. */
void crash_read_some(struct crash_book *book, const struct client_address *address, struct crash_random *random);
void crash_read_all(struct crash_book *book, const struct client_address *address);
/* Waits until every job is done that is not held: they must go on by themselves after a start. */
void crash_read_on(struct crash_book *book, const struct client_address *address);
/*
 * Ends what was submitted from `first` to `last` - 1: lets the origin answer what it holds, waits until each is done, sees
 * that it is as it must be, and removes it. After that the origin is not asked again.
 */
void crash_read_and_remove(struct crash_book *book, const struct client_address *address, size_t first, size_t last);
/* Lets the origin answer what it holds, and waits until every job that the daemon has is done. */
void crash_read_to_the_end(struct crash_book *book, const struct client_address *address);
/* Is every file of a body one of a job that is there? */
void crash_read_files(struct crash_book *book, const struct client_address *address, const char *state_dir);

#endif
