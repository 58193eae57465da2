/* Random numbers from a seed (splitmix64), so that a run can be begun again alike. */
#ifndef TESTS_CRASH_RANDOM_H
#define TESTS_CRASH_RANDOM_H

#include <stdint.h>

struct crash_random {
	uint64_t state;
};

static inline uint64_t
crash_random_next(struct crash_random *random)
{
	uint64_t mixed = (random->state += UINT64_C(0x9e3779b97f4a7c15));

	mixed = (mixed ^ (mixed >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	mixed = (mixed ^ (mixed >> 27)) * UINT64_C(0x94d049bb133111eb);
	return mixed ^ (mixed >> 31);
}

/* From 0 to limit - 1; 0 for no limit. */
static inline unsigned
crash_random_below(struct crash_random *random, unsigned limit)
{
	return limit ? (unsigned)(crash_random_next(random) % limit) : 0;
}

#endif
