/* See bucket.h. */
#include "base/bucket.h"

#define PARTS INT64_C(60000) /* of one; also the milliseconds of a minute */

static void
fill(struct bucket *bucket, int64_t now_mono_ms)
{
	int64_t full = bucket->per_minute * PARTS, passed = now_mono_ms - bucket->filled_mono_ms;

	bucket->filled_mono_ms = now_mono_ms;
	if (passed >= PARTS)
		bucket->level = full; /* also keeps the product in range */
	else if (passed > 0)
		bucket->level += passed * bucket->per_minute;
	if (bucket->level > full)
		bucket->level = full;
}

void
bucket_limit(struct bucket *bucket, int64_t per_minute, int64_t now_mono_ms)
{
	if (bucket->per_minute == 0)
		bucket->level = per_minute * PARTS;
	else
		fill(bucket, now_mono_ms);
	bucket->per_minute = per_minute;
	bucket->filled_mono_ms = now_mono_ms;
	if (bucket->level > per_minute * PARTS)
		bucket->level = per_minute * PARTS;
}

int64_t
bucket_take(struct bucket *bucket, int64_t count, int64_t now_mono_ms)
{
	if (bucket->per_minute == 0)
		return 0;
	if (count > bucket->per_minute)
		return INT64_MAX;
	fill(bucket, now_mono_ms);
	int64_t missing = count * PARTS - bucket->level;
	if (missing > 0)
		return (missing + bucket->per_minute - 1) / bucket->per_minute;
	bucket->level -= count * PARTS;
	return 0;
}

void
bucket_return(struct bucket *bucket, int64_t count)
{
	bucket->level += count * PARTS;
	if (bucket->level > bucket->per_minute * PARTS)
		bucket->level = bucket->per_minute * PARTS;
}
