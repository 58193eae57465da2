/* See crash_book.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "crash_book.h"

#include "rig.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TOLD_MOST 3 /* faults for the same reason, in full */
#define REASONS_MOST 64
#define END_SHOWN 1500   /* bytes of a finished job's JSON that are kept to be shown */
#define RECENT 200       /* jobs that the load goes on with */
#define PICK_ATTEMPTS 32 /* before it gives up to find one */

struct reason {
	const char *why; /* of the constants */
	enum crash_fault fault;
	size_t count;
};

struct crash_book {
	uint64_t seed;
	bool quiet;
	atomic_bool ending;

	pthread_mutex_t lock;
	pthread_cond_t acknowledged_more;
	struct crash_job **jobs;
	size_t count, room;
	unsigned ends, crashes, row; /* as in struct crash_now */
	int64_t *crash_ms;           /* of each, wall clock */
	size_t acknowledged_since;   /* the last end */
	size_t acknowledged, finished, removed, outcome_unknown, poisoned;
	size_t faults[CRASH_FAULTS];
	struct reason reasons[REASONS_MOST];
	size_t reason_count;
	bool refused[CRASH_KINDS_MAX]; /* kinds that this daemon answers 501 */
};

static void *
must(void *memory)
{
	if (!memory)
		abort();
	return memory;
}

int64_t
crash_wall_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

struct crash_book *
crash_book_new(uint64_t seed, bool quiet)
{
	struct crash_book *book = must(calloc(1, sizeof *book));
	pthread_condattr_t monotonic;

	book->seed = seed;
	book->quiet = quiet;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&book->acknowledged_more, &monotonic);
	pthread_condattr_destroy(&monotonic);
	pthread_mutex_init(&book->lock, NULL);
	return book;
}

static void
job_free(struct crash_job *job)
{
	free((char *)(uintptr_t)job->spec);
	free(job->promise);
	free(job->end);
	free(job);
}

void
crash_book_free(struct crash_book *book)
{
	for (size_t i = 0; i < book->count; i++)
		job_free(book->jobs[i]);
	free(book->jobs);
	free(book->crash_ms);
	pthread_cond_destroy(&book->acknowledged_more);
	pthread_mutex_destroy(&book->lock);
	free(book);
}

/* An end that has begun counts: a daemon that drains tells what it does to its jobs. */
static struct crash_now
now_locked(const struct crash_book *book)
{
	return (struct crash_now){.wall_ms = crash_wall_ms(),
		.ends = book->ends + atomic_load(&book->ending),
		.crashes = book->crashes,
		.crash_ms = book->crash_ms,
		.row = book->row};
}

struct crash_now
crash_book_now(struct crash_book *book)
{
	struct crash_now now;

	pthread_mutex_lock(&book->lock);
	now = now_locked(book);
	pthread_mutex_unlock(&book->lock);
	return now;
}

/* ---- faults */

size_t
crash_origin_count(const struct crash_job *job)
{
	char key[16];

	snprintf(key, sizeof key, "%u", job->number);
	return job->origin ? origin_count(job->origin, key) : 0;
}

static const char *const fault_names[CRASH_FAULTS] = {
	[CRASH_LOST] = "lost",
	[CRASH_CHANGED] = "changed",
	[CRASH_RESENT] = "sent twice",
	[CRASH_ODD] = "odd",
};

static struct reason *
reason_locked(struct crash_book *book, enum crash_fault fault, const char *why)
{
	size_t at = 0;

	while (at < book->reason_count && strcmp(book->reasons[at].why, why) != 0)
		at++;
	if (at == REASONS_MOST)
		return &book->reasons[at - 1];
	if (at == book->reason_count)
		book->reasons[book->reason_count++] = (struct reason){.why = why, .fault = fault};
	return &book->reasons[at];
}

/* Counts it, and says whether it is to be told in full. */
static bool
count_fault_locked(struct crash_book *book, enum crash_fault fault, const char *why)
{
	book->faults[fault]++;
	return ++reason_locked(book, fault, why)->count <= TOLD_MOST && !book->quiet;
}

static void
fault_locked(struct crash_book *book, struct crash_job *job, enum crash_fault fault, const char *why, const char *now)
{
	if (job->faulty)
		return;
	job->faulty = true;
	if (!count_fault_locked(book, fault, why))
		return;
	fprintf(stderr, "crash: %s: job %u (%s) %s: %s\n", fault_names[fault], job->number, job->kind->name,
		*job->id ? job->id : "without an answer", why);
	fprintf(stderr, "  submitted after end %u of the daemon, now after end %u; seed %llu%s%s%s\n", job->born,
		book->ends, (unsigned long long)book->seed, job->cancel_sent ? "; a cancel was sent" : "",
		job->delete_sent ? "; a delete was sent" : "", job->removed ? "; removed" : "");
	fprintf(stderr, "  spec: %s\n", job->spec);
	fprintf(stderr, "  acknowledged: %s\n", job->promise ? job->promise : "nothing");
	fprintf(stderr, "  seen finished: %s\n", job->end ? job->end : job->done ? "told by a 409" : "no");
	fprintf(stderr, "  the origin saw it %zu times\n", crash_origin_count(job));
	fprintf(stderr, "  now: %s\n", now);
}

void
crash_book_fault(
	struct crash_book *book, struct crash_job *job, enum crash_fault fault, const char *why, const char *now)
{
	pthread_mutex_lock(&book->lock);
	fault_locked(book, job, fault, why, now);
	pthread_mutex_unlock(&book->lock);
}

static void
fault_reply_locked(
	struct crash_book *book, struct crash_job *job, struct crash_verdict verdict, const struct client_reply *reply)
{
	char now[2048];
	const char *etag = client_field(reply, "etag");

	snprintf(now, sizeof now, "%d, ETag %s: %.1900s%s", reply->status, etag ? etag : "none",
		reply->body.used ? reply->body.data : "", reply->error ? reply->error : "");
	fault_locked(book, job, verdict.fault, verdict.why, now);
}

void
crash_book_complain(struct crash_book *book, enum crash_fault fault, const char *format, ...)
{
	va_list arguments;

	pthread_mutex_lock(&book->lock);
	if (count_fault_locked(book, fault, format)) {
		fprintf(stderr, "crash: %s, after end %u of the daemon, seed %llu: ", fault_names[fault], book->ends,
			(unsigned long long)book->seed);
		va_start(arguments, format);
		vfprintf(stderr, format, arguments);
		va_end(arguments);
		fputc('\n', stderr);
	}
	pthread_mutex_unlock(&book->lock);
}

/* ---- the loop's side */

void
crash_book_end_begins(struct crash_book *book)
{
	atomic_store(&book->ending, true);
}

void
crash_book_ended(struct crash_book *book, enum crash_end end)
{
	pthread_mutex_lock(&book->lock);
	if (end != CRASH_DRAINED) {
		book->crash_ms = must(realloc(book->crash_ms, (book->crashes + 1) * sizeof *book->crash_ms));
		book->crash_ms[book->crashes++] = crash_wall_ms();
	}
	book->row = end == CRASH_AT_WORK ? book->row + 1 : 0;
	book->ends++;
	book->acknowledged_since = 0;
	pthread_mutex_unlock(&book->lock);
	atomic_store(&book->ending, false);
}

void
crash_book_await(struct crash_book *book, size_t acknowledged, int64_t until_mono_ms)
{
	struct timespec until = {.tv_sec = until_mono_ms / 1000, .tv_nsec = (long)(until_mono_ms % 1000) * 1000000};
	int expired = 0;

	pthread_mutex_lock(&book->lock);
	while (book->acknowledged_since < acknowledged && !expired)
		expired = pthread_cond_timedwait(&book->acknowledged_more, &book->lock, &until);
	pthread_mutex_unlock(&book->lock);
}

void
crash_book_report(struct crash_book *book, struct crash_report *report)
{
	pthread_mutex_lock(&book->lock);
	report->acknowledged = book->acknowledged;
	report->finished = book->finished;
	report->removed = book->removed;
	report->outcome_unknown = book->outcome_unknown;
	report->poisoned = book->poisoned;
	for (size_t i = 0; i < CRASH_FAULTS; i++)
		report->faults[i] = book->faults[i];
	for (size_t i = 0; i < CRASH_KINDS_MAX; i++)
		report->kinds_refused += book->refused[i];
	for (size_t i = 0; i < book->reason_count && !book->quiet; i++)
		fprintf(stderr, "crash: %s, %zu times: %s\n", fault_names[book->reasons[i].fault],
			book->reasons[i].count, book->reasons[i].why);
	pthread_mutex_unlock(&book->lock);
}

/* ---- the load's side */

static struct crash_job *
add_locked(struct crash_book *book, const struct crash_kind *kind, struct origin *origin)
{
	struct crash_job *job = must(calloc(1, sizeof *job));

	if (book->count == book->room) {
		book->room = book->room ? book->room * 2 : 1024;
		book->jobs = must(realloc(book->jobs, book->room * sizeof(struct crash_job *)));
	}
	job->number = (unsigned)book->count;
	job->kind = kind;
	job->origin = origin;
	job->born = book->ends;
	job->born_ms = crash_wall_ms();
	job->count_at_end = -1;
	job->spec = crash_kind_spec(kind, origin_port(origin), job->number, book->seed);
	return book->jobs[book->count++] = job;
}

struct crash_job *
crash_book_add(struct crash_book *book, const struct crash_kind *kind, struct origin *origin)
{
	struct crash_job *job;

	pthread_mutex_lock(&book->lock);
	job = book->refused[kind - crash_kinds] ? NULL : add_locked(book, kind, origin);
	pthread_mutex_unlock(&book->lock);
	return job;
}

static bool
fits_locked(const struct crash_book *book, const struct crash_job *job, enum crash_intent intent)
{
	if (job->faulty || book->refused[job->kind - crash_kinds])
		return false;
	if (intent == CRASH_SUBMIT)
		return job->kind->keyed && !job->removed; /* else the key would be free again */
	/* A keyed one stays, for its key goes with it. */
	return *job->id && (intent == CRASH_READ || !job->kind->keyed);
}

struct crash_job *
crash_book_pick(struct crash_book *book, enum crash_intent intent, struct crash_random *random)
{
	struct crash_job *found = NULL;

	pthread_mutex_lock(&book->lock);
	for (int i = 0; i < PICK_ATTEMPTS && !found && book->count; i++) {
		size_t back = crash_random_below(random, book->count < RECENT ? (unsigned)book->count : RECENT);
		struct crash_job *job = book->jobs[book->count - 1 - back];

		if (fits_locked(book, job, intent))
			found = job;
	}
	pthread_mutex_unlock(&book->lock);
	return found;
}

void
crash_book_begin(struct crash_book *book, struct crash_job *job, enum crash_intent intent, struct crash_known *ret)
{
	pthread_mutex_lock(&book->lock);
	*ret = (struct crash_known){.done = job->done, .removed = job->removed};
	job->cancel_sent |= intent == CRASH_CANCEL;
	job->delete_sent |= intent == CRASH_DELETE;
	pthread_mutex_unlock(&book->lock);
}

/* ---- answers */

static void
note_end_locked(struct crash_book *book, struct crash_job *job, const json_t *json)
{
	const char *code = json_text_at(json, "error.code");

	if (job->done)
		return;
	job->done = true;
	job->expires_ms = time_at(json, "expires_at");
	book->finished++;
	book->outcome_unknown += code && !strcmp(code, "outcome_unknown");
	book->poisoned += code && !strcmp(code, "poisoned");
}

/* Of a body that is not within the JSON; it is read back from /body. */
static void
note_large_body(struct crash_job *job, const json_t *json)
{
	const char *hash = json_text_at(json, "response.body_sha256");

	if (!hash || !json_is_null(json_at(json, "response.body")) ||
		!json_is_null(json_at(json, "response.body_base64")))
		return;
	job->body_bytes = json_int_at(json, "response.body_bytes");
	snprintf(job->body_hash, sizeof job->body_hash, "%s", hash);
}

static void
keep_end(struct crash_job *job, const struct client_reply *reply)
{
	const char *etag = client_field(reply, "etag");

	if (etag && !*job->etag)
		snprintf(job->etag, sizeof job->etag, "%s", etag);
	if (job->end)
		return;
	job->end = must(strndup(reply->body.data, END_SHOWN));
	crash_hash(&reply->body, job->end_hash);
	note_large_body(job, reply->json);
}

/* The answer shows the job, or that it is not there. */
static void
shown_locked(struct crash_book *book, struct crash_job *job, const struct crash_known *known,
	const struct client_reply *reply)
{
	struct crash_verdict verdict = crash_judge_answer(job, known, reply, now_locked(book));

	if (verdict.why) {
		fault_reply_locked(book, job, verdict, reply);
		return;
	}
	if (!json_true_at(reply->json, "done"))
		return;
	note_end_locked(book, job, reply->json);
	keep_end(job, reply);
}

static void
acknowledge_locked(struct crash_book *book, struct crash_job *job, const struct client_reply *reply)
{
	const char *id = json_text_at(reply->json, "id");

	if (*job->id || !id)
		return;
	snprintf(job->id, sizeof job->id, "%s", id);
	job->promise = crash_promise_of(job->kind, reply->json);
	book->acknowledged++;
	book->acknowledged_since++;
	pthread_cond_signal(&book->acknowledged_more);
}

static void
submitted_locked(struct crash_book *book, struct crash_job *job, const struct crash_known *known,
	const struct client_reply *reply)
{
	const char *id = json_text_at(reply->json, "id");

	if (reply->status == 501) {
		book->refused[job->kind - crash_kinds] = true;
		return;
	}
	if (*job->id && id && strcmp(job->id, id) != 0) {
		fault_reply_locked(
			book, job, (struct crash_verdict){"its idempotency key gave another job", CRASH_LOST}, reply);
		return;
	}
	if (reply->status == 200 || reply->status == 202)
		acknowledge_locked(book, job, reply);
	shown_locked(book, job, known, reply);
}

static void
cancel_answered_locked(struct crash_book *book, struct crash_job *job, const struct crash_known *known,
	const struct client_reply *reply)
{
	const char *state = json_text_at(reply->json, "state");

	if (reply->status == 200 && (!state || strcmp(state, "cancelled") != 0))
		fault_reply_locked(
			book, job, (struct crash_verdict){"a cancel is granted, but it is not", CRASH_ODD}, reply);
	else
		shown_locked(book, job, known, reply);
}

static void
cancelled_locked(struct crash_book *book, struct crash_job *job, const struct crash_known *known,
	const struct client_reply *reply)
{
	const json_t *shown = json_at(reply->json, "job");
	struct crash_verdict verdict;

	if (reply->status != 409) {
		cancel_answered_locked(book, job, known, reply);
		return;
	}
	verdict = crash_judge_json(job, known, shown, NULL, now_locked(book));
	if (!verdict.why && !json_true_at(shown, "done"))
		verdict = (struct crash_verdict){"a cancel is refused, but it is not done", CRASH_ODD};
	if (verdict.why)
		fault_reply_locked(book, job, verdict, reply);
	else
		note_end_locked(book, job, shown);
}

static void
removed_locked(struct crash_book *book, struct crash_job *job)
{
	book->removed += !job->removed;
	job->removed = true;
}

/* A daemon that drains may say that it takes no more. */
static bool
answered(const struct crash_book *book, const struct client_reply *reply)
{
	return reply->status && (reply->status != 503 || !atomic_load(&book->ending));
}

static void
no_answer_locked(struct crash_book *book, struct crash_job *job, const struct client_reply *reply)
{
	if (!atomic_load(&book->ending))
		fault_reply_locked(book, job,
			(struct crash_verdict){"no answer, before the daemon was told to end", CRASH_ODD}, reply);
}

void
crash_book_seen(struct crash_book *book, struct crash_job *job, enum crash_intent intent,
	const struct crash_known *known, const struct client_reply *reply)
{
	pthread_mutex_lock(&book->lock);
	if (!answered(book, reply))
		no_answer_locked(book, job, reply);
	else if (intent == CRASH_SUBMIT)
		submitted_locked(book, job, known, reply);
	else if (intent == CRASH_CANCEL)
		cancelled_locked(book, job, known, reply);
	else if (intent == CRASH_DELETE && reply->status == 204)
		removed_locked(book, job);
	else
		shown_locked(book, job, known, reply);
	pthread_mutex_unlock(&book->lock);
}

/* ---- reading back */

size_t
crash_book_size(struct crash_book *book)
{
	size_t count;

	pthread_mutex_lock(&book->lock);
	count = book->count;
	pthread_mutex_unlock(&book->lock);
	return count;
}

struct crash_job *
crash_book_job(struct crash_book *book, size_t at)
{
	struct crash_job *job;

	pthread_mutex_lock(&book->lock);
	job = book->jobs[at];
	pthread_mutex_unlock(&book->lock);
	return job;
}

void
crash_book_settle(struct crash_book *book, struct crash_job *job, int status)
{
	pthread_mutex_lock(&book->lock);
	if (status == 404 && !job->faulty)
		removed_locked(book, job);
	if (status == 200)
		job->delete_sent = job->cancel_sent = false;
	job->times_read += job->done || job->removed || !*job->id;
	pthread_mutex_unlock(&book->lock);
}

void
crash_book_counted(struct crash_book *book, struct crash_job *job, size_t count)
{
	struct crash_verdict verdict;
	char now[64];

	pthread_mutex_lock(&book->lock);
	verdict = crash_judge_count(job, count, now_locked(book));
	snprintf(now, sizeof now, "the origin counts %zu requests", count);
	if (verdict.why)
		fault_locked(book, job, verdict.fault, verdict.why, now);
	else if (job->done && job->count_at_end < 0)
		job->count_at_end = (long)count;
	pthread_mutex_unlock(&book->lock);
}
