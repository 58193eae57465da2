/* See crash_list.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "crash_list.h"

#include "crash_line.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGES_MOST 1000 /* of 1,000 jobs */

struct place {
	struct crash_job *job;
	unsigned times; /* it was in the list */
};

struct walk {
	struct crash_book *book;
	struct crash_line line;
	struct place *places; /* of the jobs that have an id, by id */
	size_t count;
};

static int
compare_places(const void *one, const void *other)
{
	return strcmp(((const struct place *)one)->job->id, ((const struct place *)other)->job->id);
}

static int
compare_id(const void *id, const void *place)
{
	return strcmp(id, ((const struct place *)place)->job->id);
}

static void
walk_init(struct walk *walk, struct crash_book *book, const struct client_address *address)
{
	size_t count = crash_book_size(book);

	*walk = (struct walk){.book = book};
	crash_line_init(&walk->line, address);
	walk->places = calloc(count + 1, sizeof *walk->places);
	if (!walk->places)
		abort();
	for (size_t i = 0; i < count; i++) {
		struct crash_job *job = crash_book_job(book, i);

		if (*job->id)
			walk->places[walk->count++].job = job;
	}
	qsort(walk->places, walk->count, sizeof *walk->places, compare_places);
}

static void
walk_release(struct walk *walk)
{
	crash_line_close(&walk->line);
	free(walk->places);
}

static void
fault(struct walk *walk, struct crash_job *job, struct crash_verdict verdict, const json_t *json)
{
	char *now = json ? json_dumps(json, JSON_COMPACT) : NULL;

	crash_book_fault(walk->book, job, verdict.fault, verdict.why, now ? now : "not in the list");
	free(now);
}

/* What nobody was told of may be listed, too. */
static void
see(struct walk *walk, const json_t *json)
{
	const char *id = json_text_at(json, "id");
	struct place *place = id ? bsearch(id, walk->places, walk->count, sizeof *walk->places, compare_id) : NULL;
	struct crash_known known;
	struct crash_verdict verdict;

	if (!place)
		return;
	place->times++;
	known = (struct crash_known){.done = place->job->done, .removed = place->job->removed};
	verdict = crash_judge_json(place->job, &known, json, NULL, crash_book_now(walk->book));
	if (verdict.why)
		fault(walk, place->job, verdict, json);
}

/* One page; false when it was the last. */
static bool
see_page(struct walk *walk, char *cursor, size_t room)
{
	char target[1024];
	struct client_reply *reply;
	const char *next;
	json_t *job;
	size_t i;

	snprintf(target, sizeof target, "/v1/jobs?limit=1000%s%s", *cursor ? "&cursor=" : "", cursor);
	reply = crash_line_call(&walk->line, "GET", target, NULL);
	if (reply->status != 200)
		crash_book_complain(walk->book, CRASH_ODD, "GET %s gives %d: %.300s", target, reply->status,
			reply->error ? reply->error : reply->body.data);
	json_array_foreach(json_at(reply->json, "jobs"), i, job)
		see(walk, job);
	next = json_text_at(reply->json, "next_cursor");
	snprintf(cursor, room, "%s", next ? next : "");
	client_reply_free(reply);
	return *cursor != '\0';
}

static void
judge_place(struct walk *walk, const struct place *place)
{
	struct crash_job *job = place->job;

	if (place->times > 1)
		fault(walk, job, (struct crash_verdict){"listed more than once", CRASH_ODD}, NULL);
	else if (place->times && job->removed)
		fault(walk, job, (struct crash_verdict){"removed, and still listed", CRASH_CHANGED}, NULL);
	else if (!place->times && !job->removed && !crash_may_be_expired(job, crash_wall_ms()))
		fault(walk, job, (struct crash_verdict){"not listed", CRASH_LOST}, NULL);
}

void
crash_list_all(struct crash_book *book, const struct client_address *address)
{
	struct walk walk;
	char cursor[512] = "";

	walk_init(&walk, book, address);
	for (int pages = 0; see_page(&walk, cursor, sizeof cursor) && pages < PAGES_MOST; pages++)
		;
	for (size_t i = 0; i < walk.count; i++)
		judge_place(&walk, &walk.places[i]);
	walk_release(&walk);
}
