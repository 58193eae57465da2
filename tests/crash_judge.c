/* See crash_judge.h. */
#include "crash_judge.h"

#include "rig.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

/* The daemon's clock is ours, but we look at it a little earlier or later. */
#define CLOCK_SLACK_MS 100
/* A job that is to be gone must be, so much later at the latest. */
#define EXPIRY_LATE_MS 5000
/* Crashes in a row that none may live through: of a start that comes right before a crash there may be no record. */
#define OUTLIVED (CRASH_POISONED_AFTER + 2)

static struct crash_verdict
fine(void)
{
	return (struct crash_verdict){0};
}

static struct crash_verdict
fault(enum crash_fault fault, const char *why)
{
	return (struct crash_verdict){.why = why, .fault = fault};
}

void
crash_hash(const struct bytes *raw, unsigned char ret[32])
{
	if (!EVP_Digest(raw->data, raw->used, ret, NULL, EVP_sha256(), NULL))
		abort();
}

static const char *
text_at(const json_t *json, const char *path)
{
	const char *text = json_text_at(json, path);

	return text ? text : "";
}

/* A retry moves run_at, so that it is promised only where there is none. */
char *
crash_promise_of(const struct crash_kind *kind, const json_t *json)
{
	static const char *const members[] = {
		"id", "created_at", "batch", "tags", "meta", "priority", "request", "run_at"};
	size_t count = COUNT_OF(members) - (kind->max_attempts > 1);
	json_t *kept = json_object();
	char *text = NULL;

	for (size_t i = 0; i < count; i++)
		json_object_set(kept, members[i], json_at(json, members[i]));
	if (json_object_size(kept) == count)
		text = json_dumps(kept, JSON_COMPACT);
	json_decref(kept);
	return text;
}

bool
crash_may_be_expired(const struct crash_job *job, int64_t wall_ms)
{
	int64_t earliest = job->done ? job->expires_ms : job->born_ms + job->kind->ttl_ms;

	return job->kind->ttl_ms && wall_ms >= earliest - CLOCK_SLACK_MS;
}

/* ---- ends: which a job of this kind may have */

static unsigned
crashes_since(struct crash_now now, int64_t wall_ms)
{
	unsigned count = 0;

	while (count < now.crashes && now.crash_ms[now.crashes - 1 - count] >= wall_ms)
		count++;
	return count;
}

static struct crash_verdict
judge_unknown(const struct crash_job *job, struct crash_now now)
{
	if (crash_kind_repeatable(job->kind))
		return fault(CRASH_ODD, "outcome_unknown, though it may be sent again");
	if (now.ends == job->born)
		return fault(CRASH_ODD, "outcome_unknown without a crash");
	return fine();
}

/* It can have been running only in crashes after its start. */
static struct crash_verdict
judge_poisoned(const struct crash_job *job, const json_t *json, struct crash_now now)
{
	if (!crash_kind_repeatable(job->kind))
		return fault(CRASH_ODD, "poisoned, though it can have been running in one crash at most");
	if (crashes_since(now, job->born_ms) < CRASH_POISONED_AFTER ||
		crashes_since(now, time_at(json, "started_at")) < CRASH_POISONED_AFTER)
		return fault(CRASH_ODD, "poisoned too early");
	return fine();
}

static struct crash_verdict
judge_failure(const struct crash_job *job, const json_t *json, struct crash_now now)
{
	const char *code = text_at(json, "error.code");

	if (!strcmp(code, "outcome_unknown"))
		return judge_unknown(job, now);
	if (!strcmp(code, "poisoned"))
		return judge_poisoned(job, json, now);
	if (!job->kind->error || strcmp(code, job->kind->error) != 0)
		return fault(CRASH_ODD, "failed for no reason that there is");
	return fine();
}

static struct crash_verdict
judge_success(const struct crash_job *job, const json_t *json)
{
	const struct crash_kind *kind = job->kind;

	if (!kind->status)
		return fault(CRASH_ODD, "succeeded, though it cannot");
	if (kind->held && !job->released)
		return fault(CRASH_ODD, "succeeded without an answer from the origin");
	if (json_int_at(json, "response.status") != kind->status)
		return fault(CRASH_ODD, "succeeded with another status than the origin sends");
	if (kind->body_bytes && json_int_at(json, "response.body_bytes") != kind->body_bytes)
		return fault(CRASH_ODD, "succeeded with another length than the origin sends");
	/* Times of one form and zone: their order is that of the texts. */
	if (strcmp(text_at(json, "started_at"), text_at(json, "run_at")) < 0 && kind->max_attempts <= 1)
		return fault(CRASH_ODD, "was started before its run_at");
	return fine();
}

static struct crash_verdict
judge_end(const struct crash_job *job, const json_t *json, struct crash_now now)
{
	const char *state = text_at(json, "state");

	if (time_at(json, "finished_at") < 0 || time_at(json, "expires_at") < 0)
		return fault(CRASH_ODD, "done without finished_at or expires_at");
	if (!strcmp(state, "succeeded"))
		return judge_success(job, json);
	if (!strcmp(state, "failed"))
		return judge_failure(job, json, now);
	if (strcmp(state, "cancelled") != 0)
		return fault(CRASH_ODD, "done in no state that there is");
	if (!job->cancel_sent && !job->delete_sent)
		return fault(CRASH_ODD, "cancelled, though nobody asked for it");
	return fine();
}

static bool
ended_as(const struct crash_job *job, const char *state)
{
	char member[64];

	snprintf(member, sizeof member, "\"state\":\"%s\"", state);
	return job->end && strstr(job->end, member);
}

static struct crash_verdict
judge_same_end(const struct crash_job *job, const json_t *json, const struct bytes *raw)
{
	unsigned char hash[32];

	if (!raw)
		return ended_as(job, text_at(json, "state")) ? fine() : fault(CRASH_CHANGED, "it ended otherwise");
	crash_hash(raw, hash);
	if (memcmp(hash, job->end_hash, sizeof hash) != 0)
		return fault(CRASH_CHANGED, "it was finished, and its JSON is another now");
	return fine();
}

/* ---- answers */

struct crash_verdict
crash_judge_json(const struct crash_job *job, const struct crash_known *known, const json_t *json,
	const struct bytes *raw, struct crash_now now)
{
	char *promise = crash_promise_of(job->kind, json);
	bool kept = promise && (!job->promise || !strcmp(promise, job->promise));
	bool whole = promise != NULL;

	free(promise);
	if (!whole)
		return fault(CRASH_ODD, "the answer is no whole job");
	if (!kept)
		return fault(CRASH_CHANGED, "what was acknowledged reads otherwise now");
	if (!json_true_at(json, "done"))
		return known->done ? fault(CRASH_CHANGED, "it was finished, and is not now") : fine();
	return job->end ? judge_same_end(job, json, raw) : judge_end(job, json, now);
}

static struct crash_verdict
judge_absence(const struct crash_job *job, const struct crash_known *known, struct crash_now now)
{
	if (known->removed || job->delete_sent || crash_may_be_expired(job, now.wall_ms))
		return fine();
	return fault(CRASH_LOST, known->done ? "it was finished, and is not there" : "it is not there");
}

struct crash_verdict
crash_judge_answer(const struct crash_job *job, const struct crash_known *known, const struct client_reply *reply,
	struct crash_now now)
{
	const char *etag = client_field(reply, "etag");

	if (reply->status == 404)
		return judge_absence(job, known, now);
	if ((reply->status != 200 && reply->status != 202) || !reply->json)
		return fault(CRASH_ODD, "an answer that should not be");
	if (known->removed)
		return fault(CRASH_CHANGED, "it was removed, and is there again");
	if (job->done && job->kind->ttl_ms && now.wall_ms > job->expires_ms + EXPIRY_LATE_MS)
		return fault(CRASH_ODD, "it should have expired, and is there");
	if (job->end && json_true_at(reply->json, "done") && *job->etag && etag && strcmp(etag, job->etag) != 0)
		return fault(CRASH_CHANGED, "it was finished, and its ETag is another now");
	return crash_judge_json(job, known, reply->json, &reply->body, now);
}

/* ---- the origin's side */

/* One that no answer ends runs from its start on, and was seen to. */
static bool
outlived_poison(const struct crash_job *job, size_t count, struct crash_now now)
{
	unsigned lived = now.ends - job->born;

	return job->kind->held && crash_kind_repeatable(job->kind) && *job->id && !job->done && !job->removed &&
		lived >= OUTLIVED && now.row >= OUTLIVED && count >= OUTLIVED;
}

struct crash_verdict
crash_judge_count(const struct crash_job *job, size_t count, struct crash_now now)
{
	size_t attempts = (job->kind->max_attempts ? job->kind->max_attempts : 1) * (job->kind->hops + 1);

	if (!crash_kind_repeatable(job->kind) && count > 1)
		return fault(CRASH_RESENT, "not to be sent twice, and was");
	if (!crash_kind_sent(job->kind) && count)
		return fault(CRASH_RESENT, "not to be sent at all, and was");
	if (count > attempts * (now.ends - job->born + 1))
		return fault(CRASH_RESENT, "sent more often than its attempts and the ends of the daemon account for");
	if (outlived_poison(job, count, now))
		return fault(CRASH_ODD, "running in one crash after the other, and not poisoned");
	if (job->count_at_end >= 0 && count != (size_t)job->count_at_end)
		return fault(CRASH_RESENT, "sent again after it was finished");
	if (ended_as(job, "succeeded") && !count)
		return fault(CRASH_ODD, "succeeded, and the origin never saw it");
	return fine();
}
