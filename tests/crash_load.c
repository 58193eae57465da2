/* See crash_load.h. Each thread has a connection and random numbers of its own; they meet in the book. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "crash_load.h"

#include "crash_line.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define THREADS 6
#define STEPS 45 /* of each thread in a round */

struct worker {
	pthread_t thread;
	struct crash_book *book;
	struct origin *origin;
	struct crash_line line;
	struct crash_random random;
	unsigned rest_ms;
};

struct crash_load {
	struct worker workers[THREADS];
};

/* ---- steps; false when no whole answer came */

/* `target` may hold one %s for the id. */
static bool
ask(struct worker *worker, struct crash_job *job, enum crash_intent intent, const char *method, const char *target)
{
	struct crash_known known;
	struct client_reply *reply;
	bool answered;

	crash_book_begin(worker->book, job, intent, &known);
	reply = crash_line_call(&worker->line, method, target, intent == CRASH_SUBMIT ? job->spec : NULL);
	crash_book_seen(worker->book, job, intent, &known, reply);
	answered = reply->status != 0;
	client_reply_free(reply);
	return answered;
}

static bool
submit_to(struct worker *worker, const char *target)
{
	struct crash_job *job = crash_book_add(worker->book, crash_kind_pick(&worker->random), worker->origin);

	return !job || ask(worker, job, CRASH_SUBMIT, "POST", target);
}

static bool
submit(struct worker *worker)
{
	return submit_to(worker, "/v1/jobs");
}

static bool
submit_and_wait(struct worker *worker)
{
	return submit_to(worker, "/v1/jobs?wait=250ms");
}

static bool
submit_again(struct worker *worker)
{
	struct crash_job *job = crash_book_pick(worker->book, CRASH_SUBMIT, &worker->random);

	return !job || ask(worker, job, CRASH_SUBMIT, "POST", "/v1/jobs");
}

static bool
ask_for_one(struct worker *worker, enum crash_intent intent, const char *method, const char *behind_id)
{
	struct crash_job *job = crash_book_pick(worker->book, intent, &worker->random);
	char target[128];

	if (!job)
		return true;
	snprintf(target, sizeof target, "/v1/jobs/%s%s", job->id, behind_id);
	return ask(worker, job, intent, method, target);
}

static bool
read_one(struct worker *worker)
{
	return ask_for_one(worker, CRASH_READ, "GET", "");
}

static bool
await_one(struct worker *worker)
{
	return ask_for_one(worker, CRASH_READ, "GET", "?wait=200ms");
}

static bool
cancel_one(struct worker *worker)
{
	return ask_for_one(worker, CRASH_CANCEL, "POST", "/cancel");
}

static bool
delete_one(struct worker *worker)
{
	return ask_for_one(worker, CRASH_DELETE, "DELETE", "");
}

/* Only to have it done while all the rest goes on. */
static bool
list_some(struct worker *worker)
{
	struct client_reply *reply = crash_line_call(&worker->line, "GET", "/v1/jobs?limit=50&tag=crash", NULL);
	bool answered = reply->status != 0;

	if (answered && reply->status != 200)
		crash_book_complain(
			worker->book, CRASH_ODD, "a list gives %d: %.300s", reply->status, reply->body.data);
	client_reply_free(reply);
	return answered;
}

static const struct {
	bool (*take)(struct worker *worker);
	unsigned weight;
} steps[] = {
	{submit, 52},
	{submit_and_wait, 8},
	{submit_again, 6},
	{read_one, 14},
	{await_one, 5},
	{cancel_one, 7},
	{delete_one, 6},
	{list_some, 2},
};
#define STEP_KINDS (sizeof steps / sizeof steps[0])

static bool
take_step(struct worker *worker)
{
	unsigned sum = 0, at;

	for (size_t i = 0; i < STEP_KINDS; i++)
		sum += steps[i].weight;
	at = crash_random_below(&worker->random, sum);
	for (size_t i = 0; i < STEP_KINDS; i++) {
		if (at < steps[i].weight)
			return steps[i].take(worker);
		at -= steps[i].weight;
	}
	return true;
}

/* ---- the threads */

static void
rest(const struct worker *worker)
{
	struct timespec time = {.tv_sec = worker->rest_ms / 1000, .tv_nsec = (long)(worker->rest_ms % 1000) * 1000000};

	if (worker->rest_ms)
		nanosleep(&time, NULL);
}

static void *
worker_main(void *argument)
{
	struct worker *worker = argument;

	for (int i = 0; i < STEPS && take_step(worker); i++)
		rest(worker);
	crash_line_close(&worker->line);
	return NULL;
}

size_t
crash_load_size(void)
{
	return THREADS * (size_t)STEPS;
}

size_t
crash_load_threads(void)
{
	return THREADS;
}

struct crash_load *
crash_load_start(struct crash_book *book, const struct client_address *address, struct origin *origin, uint64_t seed,
	unsigned rest_ms)
{
	struct crash_load *load = calloc(1, sizeof *load);

	if (!load)
		abort();
	for (size_t i = 0; i < THREADS; i++) {
		struct worker *worker = &load->workers[i];

		*worker = (struct worker){
			.book = book, .origin = origin, .random = {seed + i * 7919}, .rest_ms = rest_ms};
		crash_line_init(&worker->line, address);
		if (pthread_create(&worker->thread, NULL, worker_main, worker))
			abort();
	}
	return load;
}

void
crash_load_end(struct crash_load *load)
{
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(load->workers[i].thread, NULL);
	free(load);
}
