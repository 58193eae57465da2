/*
 * So many a minute, as a bucket: it holds a minute's worth, is full at first, and fills evenly, on the monotonic clock.
 * Whole numbers throughout, so nothing is lost to rounding. The owner's lock.
 */
#ifndef FETCHPOOL_BASE_BUCKET_H
#define FETCHPOOL_BASE_BUCKET_H

#include <stdint.h>

#define BUCKET_MAX INT64_C(1000000000)

/* All zeroes: no limit. */
struct bucket {
	int64_t per_minute; /* 0: no limit */
	int64_t level;      /* in sixty-thousandths: a millisecond brings per_minute of them */
	int64_t filled_mono_ms;
};

/* Sets the limit, up to BUCKET_MAX (0: none). What was taken stays taken. */
void bucket_limit(struct bucket *bucket, int64_t per_minute, int64_t now_mono_ms);

/*
 * Takes count at once or nothing. Returns 0 when they were taken; else the milliseconds until they could be, INT64_MAX
 * when they never can.
 */
int64_t bucket_take(struct bucket *bucket, int64_t count, int64_t now_mono_ms);

/* Puts back what was taken in vain. */
void bucket_return(struct bucket *bucket, int64_t count);

#endif
