/*
 * Kills (kill -9) the one child of the calling thread so much later, from a thread of its own: a daemon that is still starting, and
 * that nobody knows yet. Needs /proc.
 */
#ifndef TESTS_CRASH_SHOT_H
#define TESTS_CRASH_SHOT_H

#include <pthread.h>
#include <stdbool.h>
#include <sys/types.h>

struct crash_shot {
	pthread_t thread;
	char children[64]; /* the file that lists them */
	unsigned delay_ms;
	bool hit;
};

void crash_shot_start(struct crash_shot *shot, unsigned delay_ms);
/* Waits until it was fired; true when there was a child. */
bool crash_shot_end(struct crash_shot *shot);

#endif
