/*
 * The two clocks and the words for them. Every wait and time-out runs on the monotonic clock; the wall clock is only
 * for what people read, and the steady one for what expires. Names carry the unit and the clock: mono_ms, wall_ms, timeout_ms.
 */
#ifndef FETCHPOOL_BASE_CLOCK_H
#define FETCHPOOL_BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

#define CLOCK_MAX_DURATION_MS (INT64_C(10) * 365 * 24 * 3600 * 1000) /* ten years */
#define CLOCK_TIME_BYTES 25                                          /* 2026-01-31T12:00:00.000Z and its NUL */

/* Milliseconds (microseconds) of the monotonic clock. */
int64_t mono_ms(void);
int64_t mono_us(void);

/* Milliseconds since 1970-01-01T00:00:00Z. */
int64_t wall_ms(void);
int64_t wall_us(void); /* in microseconds */

/*
 * The wall clock without its jumps: it follows what is set by less than a minute at a time, and goes on as it was when more is. For what
 * has to last over restarts, and yet must not pass at once because somebody set the clock.
 */
int64_t steady_wall_ms(void);

/* Writes the time in RFC 3339, UTC, with milliseconds; buffer holds CLOCK_TIME_BYTES. */
void time_format(int64_t wall, char *buffer);

/* Reads an RFC 3339 date-time (section 5.6), any offset, any number of fraction digits. Returns 0 or -EINVAL. */
int time_parse(const char *text, int64_t *ret_wall_ms) __attribute__((warn_unused_result));

/*
 * Reads a duration: "250ms", "1.5s", "2m", "1h", "7d" or a bare number of seconds; no sign, no blanks, no exponent.
 * Returns 0, -EINVAL, or -ERANGE above ten years. Rounded to the nearest millisecond, but never from above 0 to 0.
 */
int duration_parse(const char *text, int64_t *ret_ms) __attribute__((warn_unused_result));

/* The same for a number of seconds; refuses negative, NaN and infinite ones. */
int duration_from_seconds(double seconds, int64_t *ret_ms) __attribute__((warn_unused_result));

/* Writes a duration in its largest whole unit ("55s", "250ms", "24h"). */
void duration_format(int64_t ms, char *buffer, size_t size);

#endif
