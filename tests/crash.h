/*
 * The crash loop: one state directory, over and over a daemon on it, put under load and killed at a random moment (kill -9);
 * after each start everything that was ever acknowledged is looked for. Two relatives of it: each round ends with SIGTERM,
 * which may lose even less; and a load on a daemon that somebody else has started, which goes on for long.
 *
 *	crash.c         the program: tests/crash --rounds N [--signal TERM], tests/crash --target PORT --seconds N
 *	test_crash.c    its short form for `make check`
 *	crash_loop.c    rounds: start, read back, load, kill; and the end of it all
 *	crash_soak.c    the load that goes on
 *	crash_load.c    client threads that submit, read, cancel, remove
 *	crash_kinds.c   the kinds of jobs, and what may become of each
 *	crash_book.c    what was acknowledged, under one lock; tells of faults
 *	crash_judge.c   what is a fault (pure)
 *	crash_read.c    reads back from the daemon and the origin what the book says
 *	crash_list.c    walks through the list of all jobs
 *	crash_shot.c    kills a daemon that is still starting
 *	crash_line.c    a client's connection
 */
#ifndef TESTS_CRASH_H
#define TESTS_CRASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum crash_fault {
	CRASH_LOST,    /* acknowledged, and not there */
	CRASH_CHANGED, /* not as it was acknowledged, or seen finished */
	CRASH_RESENT,  /* sent to the origin more often than may be */
	CRASH_ODD,     /* anything else that must not be */
	CRASH_FAULTS,
};

struct crash_plan {
	unsigned rounds;
	uint64_t seed;
	const char *state_dir;      /* NULL: a new one */
	const char *const *options; /* further words for the daemon, ended by NULL; may be NULL */
	bool quiet;                 /* without a word on standard error */
	bool terminate;             /* every round ends with SIGTERM, under load */

	/* Of a soak alone. */
	unsigned port;     /* the daemon's, on 127.0.0.1 */
	const char *token; /* that it wants; NULL: none */
	unsigned seconds;
	unsigned rate; /* requests a second, at most */
};

struct crash_report {
	unsigned rounds, drained;
	size_t acknowledged, finished, removed, outcome_unknown, poisoned;
	size_t faults[CRASH_FAULTS];
	unsigned slowest_ready_ms, slowest_round_ms, slowest_check_ms;
	unsigned slowest_drain_ms; /* from SIGTERM under load to the end */
	unsigned kinds_refused;    /* of jobs: the daemon answers 501 */
};

/* All rounds, one after the other, on the calling thread. */
void crash_run(const struct crash_plan *plan, struct crash_report *ret_report);
/* A load of so many seconds, in slices: each is read back to its end and removed while the next one's jobs are there. */
void crash_soak(const struct crash_plan *plan, struct crash_report *ret_report);
size_t crash_fault_count(const struct crash_report *report);
/* One line, with its line feed, to standard output. */
void crash_print(const struct crash_plan *plan, const struct crash_report *report);

#endif
