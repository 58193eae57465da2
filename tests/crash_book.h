/*
 * The crash loop's book: every job that was ever submitted, what was acknowledged of it, and the faults found.
 *
 * One lock guards it all. A request is noted before it leaves (crash_book_begin), for what is known then must hold for
 * its answer, and what was asked for then may have happened even without one. Each fault is told once for a job.
 */
#ifndef TESTS_CRASH_BOOK_H
#define TESTS_CRASH_BOOK_H

#include "crash_judge.h"

#include <stdatomic.h>

struct crash_book;

/* Killed at work, killed when it had just begun, or told to end. */
enum crash_end { CRASH_AT_WORK, CRASH_EARLY, CRASH_DRAINED };
enum crash_intent { CRASH_SUBMIT, CRASH_READ, CRASH_CANCEL, CRASH_DELETE };

struct crash_book *crash_book_new(uint64_t seed, bool quiet);
void crash_book_free(struct crash_book *book);

/* ---- what the loop tells it */

/* From now on a request may go without an answer, until the daemon has ended. */
void crash_book_end_begins(struct crash_book *book);
/* Further acknowledgements are counted from 0. */
void crash_book_ended(struct crash_book *book, enum crash_end end);
/* Waits until so many submissions were acknowledged since the last end, or until then on the monotonic clock. */
void crash_book_await(struct crash_book *book, size_t acknowledged, int64_t until_mono_ms);
/* A fault of no job. */
void crash_book_complain(struct crash_book *book, enum crash_fault fault, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* Adds what it counted. */
void crash_book_report(struct crash_book *book, struct crash_report *report);

/* ---- for the load; on any thread */

/* A new job, or NULL when its kind is refused by this daemon. */
struct crash_job *crash_book_add(struct crash_book *book, const struct crash_kind *kind, struct origin *origin);
/* One of the newest at random that was acknowledged; a keyed one to submit again for CRASH_SUBMIT. NULL: none. */
struct crash_job *crash_book_pick(struct crash_book *book, enum crash_intent intent, struct crash_random *random);
/* Before the request leaves. */
void crash_book_begin(
	struct crash_book *book, struct crash_job *job, enum crash_intent intent, struct crash_known *ret);
/* With its answer. */
void crash_book_seen(struct crash_book *book, struct crash_job *job, enum crash_intent intent,
	const struct crash_known *known, const struct client_reply *reply);

/* ---- for reading back; while there is no load */

size_t crash_book_size(struct crash_book *book);
/* Good until the next crash. */
struct crash_now crash_book_now(struct crash_book *book);
struct crash_job *crash_book_job(struct crash_book *book, size_t at);
/* A read's answer decides what became of cancels and deletes without an answer. 0: it has no id to ask for. */
void crash_book_settle(struct crash_book *book, struct crash_job *job, int status);
/* The origin's side of it; all that was sent before the last kill must have come to its log. */
void crash_book_counted(struct crash_book *book, struct crash_job *job, size_t count);
size_t crash_origin_count(const struct crash_job *job);
void crash_book_fault(
	struct crash_book *book, struct crash_job *job, enum crash_fault fault, const char *why, const char *now);

int64_t crash_wall_ms(void);

#endif
