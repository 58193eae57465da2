/*
 * See id.h. Layout: 48 bits of milliseconds, 12 bits of a counter, 62 random bits. Within a millisecond, or when the
 * wall clock steps back, the counter goes on; when it overflows, the time is carried forward (RFC 9562, section 6.2,
 * method 1).
 */
#include "base/id.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static uint64_t last; /* milliseconds and counter of the newest id, as one number of 60 bits */
static uint8_t pool[512];
static size_t pool_left;

/* Random bytes, taken from the kernel a poolful at a time. */
static void
take_random(uint8_t *bytes, size_t count)
{
	if (pool_left < count) {
		for (size_t i = 0; i < sizeof pool; i += 256)
			if (getentropy(pool + i, 256) != 0)
				abort();
		pool_left = sizeof pool;
	}
	pool_left -= count;
	memcpy(bytes, pool + pool_left, count);
}

struct id
id_make(uint64_t stamp, uint64_t tail)
{
	struct id id;

	for (int i = 0; i < 6; i++)
		id.bytes[i] = (uint8_t)(stamp >> (12 + 8 * (5 - i)));
	id.bytes[6] = (uint8_t)(0x70 | (stamp >> 8 & 0x0f));
	id.bytes[7] = (uint8_t)stamp;
	for (int i = 0; i < 8; i++)
		id.bytes[8 + i] = (uint8_t)(tail >> 8 * (7 - i));
	return id;
}

uint64_t
id_tail(const struct id *id)
{
	uint64_t tail = 0;

	for (int i = 8; i < 16; i++)
		tail = tail << 8 | id->bytes[i];
	return tail;
}

uint64_t
id_stamp(const struct id *id)
{
	uint64_t stamp = 0;

	for (int i = 0; i < 6; i++)
		stamp = stamp << 8 | id->bytes[i];
	return stamp << 12 | (uint64_t)(id->bytes[6] & 0x0f) << 8 | id->bytes[7];
}

void
id_continue_after(uint64_t stamp)
{
	pthread_mutex_lock(&mutex);
	if (stamp > last)
		last = stamp;
	pthread_mutex_unlock(&mutex);
}

struct id
id_new(void)
{
	uint64_t tail;
	uint64_t stamp = (uint64_t)wall_ms() << 12;

	pthread_mutex_lock(&mutex);
	last = stamp > last ? stamp : last + 1;
	stamp = last;
	take_random((uint8_t *)&tail, sizeof tail);
	pthread_mutex_unlock(&mutex);
	return id_make(stamp, (tail & ~(UINT64_C(3) << 62)) | UINT64_C(1) << 63); /* the variant: binary 10 */
}

void
id_format(const struct id *id, char *ret_text)
{
	char hex[33];

	hex_encode(id->bytes, 16, hex);
	snprintf(ret_text, ID_TEXT_BYTES, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16, hex + 20);
}

int
id_parse(const char *text, struct id *ret)
{
	static const int starts[] = {0, 9, 14, 19, 24}, bytes[] = {4, 2, 2, 2, 6};
	struct id id;
	uint8_t *out = id.bytes;

	if (strlen(text) != ID_TEXT_BYTES - 1 || text[8] != '-' || text[13] != '-' || text[18] != '-' ||
		text[23] != '-')
		return -EINVAL;
	for (int i = 0; i < 5; i++) {
		if (hex_decode(text + starts[i], (size_t)bytes[i], out) != 0)
			return -EINVAL;
		out += bytes[i];
	}
	*ret = id;
	return 0;
}

int
id_compare(const struct id *a, const struct id *b)
{
	return memcmp(a->bytes, b->bytes, sizeof a->bytes);
}
