/*
 * A load on a daemon that somebody else has started; see crash.h.
 *
 * It comes in slices, each with an origin of its own. Between two of them the jobs of the slice before are read back to
 * their end and removed, and their origin goes: so neither the daemon nor the book's origins hold more and more.
 */
#include "crash.h"

#include "crash_load.h"
#include "crash_read.h"
#include "rig.h"

#include <stdlib.h>

#define SLICES 2 /* that have jobs at a time */

struct soak {
	const struct crash_plan *plan;
	struct crash_report *report;
	struct crash_book *book;
	struct crash_random random;
	struct client_address address;
	struct origin *origins[SLICES]; /* of slice n at n % SLICES */
	size_t first[SLICES];           /* its first job */
};

static unsigned
rest_for(unsigned rate)
{
	return (unsigned)(1000 * crash_load_threads() / rate);
}

static void
end_slice(struct soak *soak, unsigned slice, size_t last)
{
	unsigned at = slice % SLICES;

	crash_read_and_remove(soak->book, &soak->address, soak->first[at], last);
	origin_stop(soak->origins[at]);
}

static void
run_slice(struct soak *soak, unsigned slice)
{
	unsigned at = slice % SLICES;

	soak->first[at] = crash_book_size(soak->book);
	soak->origins[at] = origin_start(0);
	if (!soak->origins[at])
		abort();
	crash_load_end(crash_load_start(soak->book, &soak->address, soak->origins[at], crash_random_next(&soak->random),
		rest_for(soak->plan->rate)));
	soak->report->rounds++;
}

void
crash_soak(const struct crash_plan *plan, struct crash_report *ret_report)
{
	struct soak soak = {.plan = plan,
		.report = ret_report,
		.book = crash_book_new(plan->seed, plan->quiet),
		.random = {plan->seed},
		.address = {.port = plan->port, .token = plan->token}};
	int64_t until = mono_ms() + (int64_t)plan->seconds * 1000;
	unsigned slice = 0;

	*ret_report = (struct crash_report){0};
	for (; mono_ms() < until; slice++) {
		run_slice(&soak, slice);
		if (slice)
			end_slice(&soak, slice - 1, soak.first[slice % SLICES]);
	}
	if (slice)
		end_slice(&soak, slice - 1, crash_book_size(soak.book));
	crash_book_report(soak.book, ret_report);
	crash_book_free(soak.book);
}
