/* See crash_read.h. The job's fields are read without the book's lock, as nobody else is there. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "crash_read.h"

#include "crash_line.h"
#include "rig.h"

#include <dirent.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define OFTEN 3    /* starts after which a finished job was found as it was; then it is read now and then */
#define SAMPLE 150 /* of those, at each start */
#define END_PATIENCE_MS 90000
#define SWEEP_PATIENCE_MS 10000

struct reader {
	struct crash_book *book;
	struct crash_line line;
};

static struct client_reply *
get_of(struct reader *reader, const char *id, const char *behind_id)
{
	char target[128];

	snprintf(target, sizeof target, "/v1/jobs/%s%s", id, behind_id);
	return crash_line_call(&reader->line, "GET", target, NULL);
}

/* ---- bodies */

static void
hash_hex(const struct bytes *raw, char ret[65])
{
	unsigned char hash[32];

	crash_hash(raw, hash);
	for (size_t i = 0; i < sizeof hash; i++)
		snprintf(ret + 2 * i, 3, "%02x", hash[i]);
}

static const char *
wrong_body(const struct crash_job *job, const struct client_reply *reply)
{
	const char *etag = client_field(reply, "etag");
	char hash[65];

	if (reply->status != 200)
		return "its body cannot be read";
	if ((int64_t)reply->body.used != job->body_bytes)
		return "its body has another length now";
	hash_hex(&reply->body, hash);
	if (strcmp(hash, job->body_hash) != 0)
		return "its body has other bytes now";
	if (!etag || strncmp(etag + 1, hash, 64) != 0)
		return "its body has another ETag now";
	return NULL;
}

static void
read_body(struct reader *reader, struct crash_job *job)
{
	struct client_reply *reply = get_of(reader, job->id, "/body");
	const char *why = wrong_body(job, reply);
	char now[512];

	if (why && !(reply->status == 404 && crash_may_be_expired(job, crash_wall_ms()))) {
		snprintf(now, sizeof now, "%d, %zu bytes, not %lld; %.200s", reply->status, reply->body.used,
			(long long)job->body_bytes, reply->status == 200 ? "" : reply->body.data);
		crash_book_fault(reader->book, job, reply->status == 200 ? CRASH_CHANGED : CRASH_LOST, why, now);
	}
	client_reply_free(reply);
}

/* ---- one job */

static void
read_answer(struct reader *reader, struct crash_job *job)
{
	struct crash_known known;
	struct client_reply *reply;
	int status;

	crash_book_begin(reader->book, job, CRASH_READ, &known);
	reply = get_of(reader, job->id, "");
	crash_book_seen(reader->book, job, CRASH_READ, &known, reply);
	status = reply->status;
	client_reply_free(reply);
	crash_book_settle(reader->book, job, status);
	if (status == 200 && job->body_bytes && !job->faulty)
		read_body(reader, job);
}

static void
read_job(struct reader *reader, struct crash_job *job)
{
	if (job->faulty)
		return;
	if (*job->id)
		read_answer(reader, job);
	else
		crash_book_settle(reader->book, job, 0);
	crash_book_counted(reader->book, job, crash_origin_count(job));
}

/* ---- many */

static struct reader
reader_of(struct crash_book *book, const struct client_address *address)
{
	struct reader reader = {.book = book};

	crash_line_init(&reader.line, address);
	return reader;
}

void
crash_read_some(struct crash_book *book, const struct client_address *address, struct crash_random *random)
{
	struct reader reader = reader_of(book, address);
	size_t count = crash_book_size(book);

	for (size_t i = 0; i < count; i++) {
		struct crash_job *job = crash_book_job(book, i);

		if (job->times_read < OFTEN || crash_random_below(random, (unsigned)count) < SAMPLE)
			read_job(&reader, job);
	}
	crash_line_close(&reader.line);
}

void
crash_read_all(struct crash_book *book, const struct client_address *address)
{
	struct reader reader = reader_of(book, address);
	size_t count = crash_book_size(book);

	for (size_t i = 0; i < count; i++)
		read_job(&reader, crash_book_job(book, i));
	crash_line_close(&reader.line);
}

/* ---- going on */

static bool
goes_on(const struct crash_job *job)
{
	return *job->id && !job->done && !job->removed && !job->faulty && !job->kind->held;
}

static void
await_once(struct reader *reader, struct crash_job *job)
{
	struct crash_known known;
	struct client_reply *reply;

	crash_book_begin(reader->book, job, CRASH_READ, &known);
	reply = get_of(reader, job->id, "?wait=5s");
	crash_book_seen(reader->book, job, CRASH_READ, &known, reply);
	crash_book_settle(reader->book, job, reply->status);
	client_reply_free(reply);
}

static void
await_job(struct reader *reader, struct crash_job *job)
{
	await_once(reader, job);
	if (goes_on(job))
		crash_book_fault(reader->book, job, CRASH_ODD, "does not go on after a start", "");
}

void
crash_read_on(struct crash_book *book, const struct client_address *address)
{
	struct reader reader = reader_of(book, address);
	size_t count = crash_book_size(book);

	for (size_t i = 0; i < count; i++)
		if (goes_on(crash_book_job(book, i)))
			await_job(&reader, crash_book_job(book, i));
	crash_line_close(&reader.line);
}

/* ---- the end of all */

static void
release_held(struct crash_book *book, size_t first, size_t last)
{
	for (size_t i = first; i < last; i++) {
		struct crash_job *job = crash_book_job(book, i);
		char key[16];

		if (!job->kind->held || job->done)
			continue;
		job->released = true;
		snprintf(key, sizeof key, "%u", job->number);
		origin_release(job->origin, key);
	}
}

/* Awaits some that are not done, of those that nobody knows of, too; false when there are none. */
static bool
await_some(struct reader *reader)
{
	struct client_reply *list =
		crash_line_call(&reader->line, "GET", "/v1/jobs?state=queued,running,retrying&limit=100", NULL);
	size_t count = json_array_size(json_at(list->json, "jobs")), i;
	json_t *job;

	if (list->status != 200)
		crash_book_complain(reader->book, CRASH_ODD, "the list of unfinished jobs gives %d", list->status);
	json_array_foreach(json_at(list->json, "jobs"), i, job)
		client_reply_free(get_of(reader, json_text_at(job, "id"), "?wait=10s"));
	client_reply_free(list);
	return count > 0;
}

static bool
unfinished(const struct crash_job *job)
{
	return *job->id && !job->done && !job->removed && !job->faulty;
}

static void
complain_of_unfinished(struct crash_book *book, size_t first, size_t last)
{
	for (size_t i = first; i < last; i++) {
		struct crash_job *job = crash_book_job(book, i);

		if (unfinished(job))
			crash_book_fault(book, job, CRASH_ODD, "not done at the end",
				"no list shows it any more, "
				"or too much time went by");
	}
}

void
crash_read_to_the_end(struct crash_book *book, const struct client_address *address)
{
	struct reader reader = reader_of(book, address);
	int64_t until = mono_ms() + END_PATIENCE_MS;

	release_held(book, 0, crash_book_size(book));
	while (await_some(&reader) && mono_ms() < until)
		;
	crash_line_close(&reader.line);
	crash_read_all(book, address);
	complain_of_unfinished(book, 0, crash_book_size(book));
}

static void
remove_job(struct reader *reader, struct crash_job *job)
{
	struct crash_known known;
	struct client_reply *reply;
	char target[128];

	if (!*job->id || job->removed || job->faulty)
		return;
	snprintf(target, sizeof target, "/v1/jobs/%s", job->id);
	crash_book_begin(reader->book, job, CRASH_DELETE, &known);
	reply = crash_line_call(&reader->line, "DELETE", target, NULL);
	crash_book_seen(reader->book, job, CRASH_DELETE, &known, reply);
	crash_book_settle(reader->book, job, reply->status);
	client_reply_free(reply);
}

void
crash_read_and_remove(struct crash_book *book, const struct client_address *address, size_t first, size_t last)
{
	struct reader reader = reader_of(book, address);
	int64_t until = mono_ms() + END_PATIENCE_MS;

	release_held(book, first, last);
	for (size_t i = first; i < last; i++)
		while (unfinished(crash_book_job(book, i)) && mono_ms() < until)
			await_once(&reader, crash_book_job(book, i));
	for (size_t i = first; i < last; i++)
		read_job(&reader, crash_book_job(book, i));
	complain_of_unfinished(book, first, last);
	for (size_t i = first; i < last; i++) {
		remove_job(&reader, crash_book_job(book, i));
		crash_book_job(book, i)->origin = NULL;
	}
	crash_line_close(&reader.line);
}

/* ---- files */

static bool
job_is_there(struct reader *reader, const char *file_name)
{
	char id[37];
	struct client_reply *reply;
	bool there;

	snprintf(id, sizeof id, "%.36s", file_name);
	reply = get_of(reader, id, "?body=none");
	there = reply->status == 200;
	client_reply_free(reply);
	return there;
}

/* What has expired is swept a little later; asks until then. */
static bool
file_goes(struct reader *reader, const char *path)
{
	int64_t until = mono_ms() + SWEEP_PATIENCE_MS;

	while (!access(path, F_OK) && mono_ms() < until)
		client_reply_free(crash_line_call(&reader->line, "GET", "/livez", NULL));
	return access(path, F_OK) != 0;
}

void
crash_read_files(struct crash_book *book, const struct client_address *address, const char *state_dir)
{
	struct reader reader = reader_of(book, address);
	char folder[512], path[1024];
	DIR *all;

	snprintf(folder, sizeof folder, "%s/bodies", state_dir);
	all = opendir(folder);
	for (struct dirent *entry; all && (entry = readdir(all));) {
		snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
		if (entry->d_name[0] != '.' && !job_is_there(&reader, entry->d_name) && !file_goes(&reader, path))
			crash_book_complain(book, CRASH_ODD, "%s is the body of no job that there is", path);
	}
	if (all)
		closedir(all);
	crash_line_close(&reader.line);
}
