/*
 * The SQLite store: what was written is there again after a restart, field by field; what is removed leaves nothing behind;
 * bodies are files that come and go with their jobs; entries are written in their order, or not at all.
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "samples.h"
#include "store.h"

/* ---- what was written is there again */

/* Nothing is set, everything, or what chance sets. */
static const int chances[] = {0, 100, 50};

/* A job with its end. */
struct ended {
	struct job *job;
	struct written end;
};

static void
write_ends(struct store *store, struct sampler *sampler, struct ended *ended, int count)
{
	for (int i = 0; i < count; i++) {
		ended[i].job = sample_job(sampler);
		ck_assert_int_eq(add_job(store, ended[i].job), 0);
		ended[i].end = (struct written){.entry = {.verb = LEDGER_END, .job = ended[i].job}};
		ended[i].end.entry.end = sample_end(sampler, ended[i].job);
		ck_assert_int_eq(store_put(store, &ended[i].end), 0);
	}
}

static void
look_at_end(struct store *store, const struct ended *ended)
{
	for (int depth = LEDGER_SUMMARY; depth <= LEDGER_WHOLE; depth++) {
		struct job *found = find_job(store, &ended->job->id, (enum ledger_depth)depth);

		ck_assert_ptr_nonnull(found);
		same_job(found, ended->job);
		ended_so(found, &ended->end.entry.end, (enum ledger_depth)depth);
		job_unref(found);
	}
}

START_TEST(keeps_ends)
{
	enum { JOBS = 60 };
	struct sampler sampler = {.random = 4711 + (uint64_t)_i, .chance = chances[_i]};
	struct ended ended[JOBS];
	struct store store;

	store_open(&store, IN_SQLITE, NULL);
	write_ends(&store, &sampler, ended, JOBS);
	for (int i = 0; i < JOBS; i++)
		look_at_end(&store, &ended[i]);
	store_reopen(&store);
	for (int i = 0; i < JOBS; i++) {
		look_at_end(&store, &ended[i]);
		end_release(&ended[i].end);
		job_unref(ended[i].job);
	}
	ck_assert_uint_eq(usage_of(&store).finished, JOBS);
	ck_assert_int_eq(store_number(&store, "SELECT count(*) FROM request_bodies"), 0); /* never sent again */
	store_close(&store);
}
END_TEST

/* Every code, phase and done state, each by itself. */
START_TEST(keeps_errors)
{
	enum { MOST = 128 };
	struct ended ended[MOST];
	struct store store;
	int count = 0;

	store_open(&store, IN_SQLITE, NULL);
	for (int code = 0; code < JOB_ERROR_COUNT; code++) {
		for (int phase = code % 3; phase < JOB_PHASE_COUNT; phase += 3) {
			struct ledger_end end = {
				.state = (enum job_state)(JOB_succeeded + code % 3), .total_bytes = -1};

			end.error = (struct job_error){.code = (enum job_error_code)code};
			if (code != JOB_ERROR_none)
				end.error.phase = (enum job_phase)phase;
			ck_assert_int_lt(count, MOST);
			ended[count].job = new_job("a.example", 80, "x");
			ck_assert_int_eq(add_job(&store, ended[count].job), 0);
			ended[count].end = (struct written){.entry = {.verb = LEDGER_END, .job = ended[count].job}};
			ended[count].end.entry.end = end;
			ck_assert_int_eq(store_put(&store, &ended[count].end), 0);
			count++;
		}
	}
	store_reopen(&store);
	for (int i = 0; i < count; i++) {
		look_at_end(&store, &ended[i]);
		job_unref(ended[i].job);
	}
	store_close(&store);
}
END_TEST

/* A row that makes no sense is not made sense of. */
static const char *const nonsense[] = {
	"UPDATE results SET state = 'queued'",
	"UPDATE results SET state = 'odd'",
	"UPDATE results SET error = 'odd', error_phase = 'body'",
	"UPDATE results SET error = 'timeout', error_phase = 'odd'",
	"UPDATE results SET error = 'timeout', error_phase = NULL",
	"UPDATE results SET body_sha256 = NULL",
	"UPDATE results SET body_sha256 = x'00'",
	"UPDATE results SET response_url = NULL",
	"UPDATE results SET body_bytes = 2",
	"DELETE FROM results",
};

START_TEST(refuses_nonsense)
{
	struct store store;
	struct job *found = NULL;

	store_open(&store, IN_SQLITE, NULL);
	struct job *job = add_new(&store, "a.example", 80, "x");
	ck_assert_int_eq(end_job(&store, job, 1000, 1, false), 0);
	store_exec(&store, nonsense[_i]);
	ck_assert_int_eq(store.ledger->ops->find(store.ledger, &job->id, LEDGER_WHOLE, &found), -EIO);
	ck_assert_ptr_null(found);
	job_unref(job);
	store_close(&store);
}
END_TEST

/* ---- recovery */

/* A job that is not done, and how it is when the server ends. */
struct unfinished {
	struct job *job;
	enum job_state state;
	struct ledger_start last; /* of the entries that changed it */
	bool gone;
};

static void
change(struct store *store, struct unfinished *unfinished, enum ledger_verb verb, struct ledger_start start)
{
	struct written written = {.entry = {.verb = verb, .job = unfinished->job, .start = start}};

	ck_assert_int_eq(store_put(store, &written), 0);
	unfinished->state = verb == LEDGER_START ? JOB_running : JOB_queued;
	unfinished->last = start;
}

/* One way of an unfinished job through its life, told by a number. */
static void
live(struct store *store, struct sampler *sampler, struct unfinished *unfinished, int way)
{
	*unfinished = (struct unfinished){.job = sample_job(sampler), .state = JOB_queued, .last = {.version = 1}};
	ck_assert_int_eq(add_job(store, unfinished->job), 0);
	switch (way) {
	case 0:
		return;
	case 1:
		change(store, unfinished, LEDGER_START,
			(struct ledger_start){.version = 2, .started_wall_ms = 11, .attempt_started_wall_ms = 12});
		return;
	case 2:
		change(store, unfinished, LEDGER_START,
			(struct ledger_start){
				.version = 2, .started_wall_ms = 21, .attempt_started_wall_ms = 22, .lazy = true});
		return;
	case 3: /* ran, crashed, waits */
		change(store, unfinished, LEDGER_START,
			(struct ledger_start){.version = 2, .started_wall_ms = 31, .attempt_started_wall_ms = 32});
		change(store, unfinished, LEDGER_REQUEUE,
			(struct ledger_start){.version = 3, .crashes = 1, .started_wall_ms = 31});
		return;
	case 4: /* and runs again */
		change(store, unfinished, LEDGER_START, (struct ledger_start){.version = 2});
		change(store, unfinished, LEDGER_REQUEUE, (struct ledger_start){.version = 3, .crashes = 2});
		change(store, unfinished, LEDGER_START,
			(struct ledger_start){.version = UINT32_MAX - 2,
				.crashes = 2,
				.started_wall_ms = INT64_C(253402300799999),
				.attempt_started_wall_ms = 42});
		return;
	default:
		unfinished->gone = true;
		if (way == 5)
			ck_assert(remove_job(store, unfinished->job));
		else
			ck_assert_int_eq(end_job(store, unfinished->job, 1000, 10, false), 0);
	}
}

static void
look_at_recovered(const struct job *found, const struct unfinished *unfinished)
{
	same_job(found, unfinished->job);
	same_request_body(found->spec, unfinished->job->spec);
	ck_assert_int_eq(found->state, unfinished->state);
	ck_assert_uint_eq(found->version, unfinished->last.version);
	ck_assert_uint_eq(found->crashes, unfinished->last.crashes);
	ck_assert_int_eq(found->started_wall_ms, unfinished->last.started_wall_ms);
	ck_assert_int_eq(found->attempt_started_wall_ms, unfinished->last.attempt_started_wall_ms);
	ck_assert_int_eq(found->finished_wall_ms, 0);
	ck_assert_uint_eq(found->references, 1);
	ck_assert_ptr_null(found->response);
	ck_assert_uint_eq(found->attempt_count, 0);
	ck_assert_int_eq(found->error.code, JOB_ERROR_none);
}

START_TEST(recovers_what_is_not_done)
{
	enum { JOBS = 77, PAGE = 9 };
	struct sampler sampler = {.random = 815 + (uint64_t)_i, .chance = chances[_i]};
	struct unfinished unfinished[JOBS];
	struct job *page[PAGE];
	struct store store;
	struct id after;
	int count, at = 0;

	store_open(&store, IN_SQLITE, NULL);
	for (int i = 0; i < JOBS; i++)
		live(&store, &sampler, &unfinished[i], i % 7);
	store_reopen(&store);
	for (bool first = true;; first = false) {
		count = store.ledger->ops->recover(store.ledger, first ? NULL : &after, page, PAGE);
		ck_assert_int_ge(count, 0);
		for (int i = 0; i < count; i++, at++) {
			while (unfinished[at].gone)
				at++;
			look_at_recovered(page[i], &unfinished[at]);
		}
		if (count < PAGE)
			break;
		after = page[PAGE - 1]->id;
		unref_all(page, PAGE);
	}
	unref_all(page, (size_t)count);
	for (; at < JOBS; at++)
		ck_assert(unfinished[at].gone);
	/* Found, they are pictures without their bodies. */
	for (int i = 0; i < JOBS; i++) {
		struct job *found = find_job(&store, &unfinished[i].job->id, LEDGER_WHOLE);

		ck_assert_int_eq(found == NULL, i % 7 == 5);
		if (found != NULL && !unfinished[i].gone) {
			ck_assert_int_eq(found->state, unfinished[i].state);
			ck_assert_ptr_null(found->spec->body);
		}
		if (found != NULL)
			job_unref(found);
		job_unref(unfinished[i].job);
	}
	store_close(&store);
}
END_TEST

/* A request body that is missing or cut off is no body to send. */
START_TEST(recovers_whole_bodies_alone)
{
	static const char *const harm[] = {"DELETE FROM request_bodies", "UPDATE request_bodies SET body = x'00'",
		"UPDATE jobs SET request_body_bytes = 7", "UPDATE live SET state = 'succeeded'",
		"UPDATE live SET state = 'odd'"};
	struct sampler sampler = {.random = 17, .chance = 100};
	struct job *jobs[2], *job;
	struct store store;

	store_open(&store, IN_SQLITE, NULL);
	do { /* one with a body of several bytes */
		job = sample_job(&sampler);
		if (job->spec->body_bytes > 7)
			break;
		job_unref(job);
	} while (true);
	ck_assert_int_eq(add_job(&store, job), 0);
	store_shut(&store);
	store_exec(&store, harm[_i]);
	store_reopen(&store);
	ck_assert_int_eq(store.ledger->ops->recover(store.ledger, NULL, jobs, 2), -EIO);
	job_unref(job);
	store_close(&store);
}
END_TEST

/* The numbers that outlive a restart: the order of ends, and that of ids even when the clock was set back. */
START_TEST(goes_on_counting)
{
	struct ledger_filter any = {0};
	struct store store;
	struct id ids[2];

	store_open(&store, IN_SQLITE, NULL);
	ck_assert_uint_eq(store.ledger->finish_order, 0);
	struct job *ahead = new_job("a.example", 80, "x");
	ahead->id = id_make(id_stamp(&ahead->id) + (UINT64_C(3600000) << 12), UINT64_C(1) << 63);
	ck_assert_int_eq(add_job(&store, ahead), 0);
	struct written written;
	end_init(&written, ahead, 1000, 1, false, store.bodies);
	written.entry.end.finish_order = 123456789;
	ck_assert_int_eq(store_put(&store, &written), 0);
	end_release(&written);
	store_reopen(&store);
	ck_assert_uint_eq(store.ledger->finish_order, 123456789);
	struct job *next = add_new(&store, "a.example", 80, "x");
	ck_assert_int_gt(id_compare(&next->id, &ahead->id), 0);
	ck_assert_uint_eq(list_page(&store, &any, NULL, ids, 2), 2);
	ck_assert_int_eq(id_compare(&ids[0], &next->id), 0);
	job_unref(ahead);
	job_unref(next);
	store_close(&store);
}
END_TEST

/* A key is one of its owner's: two owners may have the same. */
START_TEST(tells_keys_of_owners_apart)
{
	static const char *const owners[] = {NULL, "a", "b"};
	struct store store;

	store_open(&store, IN_SQLITE, NULL);
	for (int i = 0; i < 6; i++) {
		struct sampler sampler = {.random = 7 + (uint64_t)i};
		struct job *job = sample_job(&sampler);

		job->spec->owner = owners[i % 3] == NULL ? NULL : arena_string(&job->spec->arena, owners[i % 3]);
		job->spec->idempotency_key = arena_string(&job->spec->arena, "key");
		ck_assert_int_eq(add_job(&store, job), i < 3 ? 0 : -EEXIST);
		job_unref(job);
	}
	store_close(&store);
}
END_TEST

START_TEST(knows_keys_after_a_restart)
{
	struct sampler sampler = {.random = 5, .chance = 100};
	struct job *first = sample_job(&sampler), *second = sample_job(&sampler);
	struct store store;

	second->spec->idempotency_key = first->spec->idempotency_key; /* first outlives it */
	second->spec->owner = first->spec->owner;
	store_open(&store, IN_SQLITE, NULL);
	ck_assert_int_eq(add_job(&store, first), 0);
	for (int round = 0; round < 2; round++) {
		struct written written = {.entry = {.verb = LEDGER_ADD, .job = second}};

		store_reopen(&store);
		if (round == 1)
			memcpy(second->spec->fingerprint, first->spec->fingerprint, sizeof first->spec->fingerprint);
		ck_assert_int_eq(store_put(&store, &written), -EEXIST);
		ck_assert_int_eq(id_compare(&written.entry.existing, &first->id), 0);
		ck_assert_int_eq(written.entry.same, round == 1);
	}
	job_unref(second);
	job_unref(first);
	store_close(&store);
}
END_TEST

/* ---- what goes leaves nothing behind */

static void
body_path(const struct store *store, const struct job *job, const char *end, char *ret, size_t size)
{
	char text[ID_TEXT_BYTES];

	id_format(&job->id, text);
	snprintf(ret, size, "%s/%s%s", store->bodies, text, end);
}

static bool
body_there(const struct store *store, const struct job *job, const char *end)
{
	char path[300];

	body_path(store, job, end, path, sizeof path);
	return access(path, F_OK) == 0;
}

/* The rows of all tables that have something of the job. */
static int64_t
rows_of(const struct store *store, const struct job *job)
{
	static const char *const tables[] = {"jobs", "live", "results", "attempts", "request_bodies", "tags"};
	int64_t rows = 0;

	/* So that a table that comes later is not forgotten here. */
	ck_assert_int_eq(store_number(store, "SELECT count(*) FROM sqlite_schema WHERE type = 'table'"), COUNT(tables));
	for (int i = 0; i < COUNT(tables); i++)
		rows += store_number(
			store, "SELECT count(*) FROM %s WHERE seq = %lld", tables[i], (long long)id_stamp(&job->id));
	return rows;
}

START_TEST(removes_without_trace)
{
	struct sampler sampler = {.random = 99, .chance = 100};
	struct job *queued = sample_job(&sampler), *done = sample_job(&sampler), *other = sample_job(&sampler);
	struct store store;

	store_open(&store, IN_SQLITE, NULL);
	ck_assert_int_eq(add_job(&store, queued), 0);
	ck_assert_int_eq(add_job(&store, done), 0);
	ck_assert_int_eq(add_job(&store, other), 0);
	ck_assert_int_eq(rows_of(&store, queued), 3 + (int64_t)queued->spec->tag_count);
	struct written end;
	end_init(&end, done, 1000, 70000, true, store.bodies);
	end.entry.end.attempt = sample_attempt(&sampler);
	ck_assert_int_eq(store_put(&store, &end), 0);
	end_take_over(&end);
	ck_assert_int_eq(rows_of(&store, done), 3 + (int64_t)done->spec->tag_count);
	ck_assert(body_there(&store, done, ""));
	int64_t others = rows_of(&store, other);
	if (_i == 0) {
		ck_assert(remove_job(&store, done));
		ck_assert(remove_job(&store, queued));
		ck_assert_int_eq(rows_of(&store, queued), 0);
	} else {
		ck_assert(store_sweep(&store, 1000) == INT64_MAX);
		ck_assert(has(&store, queued));
	}
	ck_assert_int_eq(rows_of(&store, done), 0);
	ck_assert(!body_there(&store, done, ""));
	ck_assert_int_eq(rows_of(&store, other), others);
	ck_assert_int_eq(usage_of(&store).disk_bytes, 0);
	store_reopen(&store);
	ck_assert_uint_eq(usage_of(&store).jobs, _i == 0 ? 1 : 2);
	job_unref(queued);
	job_unref(done);
	job_unref(other);
	store_close(&store);
}
END_TEST

/* ---- bodies in files */

static void
look_at_body(struct store *store, const struct job *job, int64_t bytes)
{
	struct job *found = find_job(store, &job->id, LEDGER_WHOLE);
	char path[300];

	ck_assert_ptr_nonnull(found);
	body_path(store, job, "", path, sizeof path);
	ck_assert_str_eq(found->response->body.path, path);
	ck_assert_ptr_null(found->response->body.data);
	ck_assert_int_eq(found->response->body.bytes, bytes);
	ck_assert(found->response->body.kept);
	FILE *file = fopen(path, "r");
	ck_assert_ptr_nonnull(file);
	for (int64_t i = 0; i < bytes; i++)
		if (getc(file) != (unsigned char)(i * 7 + i / 256))
			ck_abort_msg("%s differs at %lld", path, (long long)i);
	ck_assert_int_eq(getc(file), EOF);
	fclose(file);
	job_unref(found); /* which leaves the file */
}

START_TEST(keeps_large_bodies)
{
	enum { JOBS = 12 };
	struct written ends[JOBS];
	struct job *jobs[JOBS];
	struct store store;

	store_open(&store, IN_SQLITE, NULL);
	for (int i = 0; i < JOBS; i++)
		jobs[i] = add_new(&store, "a.example", 80, "x");
	for (int i = 0; i < JOBS; i++)
		end_init(&ends[i], jobs[i], 1000, 1000 * i, i % 4 != 0, store.bodies);
	store_write(&store, ends, JOBS);
	ck_assert(store_await(&store, ends, JOBS));
	for (int i = 0; i < JOBS; i++) {
		ck_assert_int_eq(ends[i].entry.error, 0);
		ck_assert_int_eq(ends[i].entry.end.response->body.fd, 0);
		end_take_over(&ends[i]);
		ck_assert(!body_there(&store, jobs[i], ".part"));
		ck_assert_int_eq(body_there(&store, jobs[i], ""), i % 4 != 0);
		job_unref(jobs[i]); /* of what the ledger keeps, nothing goes with it */
	}
	ck_assert_int_eq(usage_of(&store).disk_bytes, 1000 * (66 - 0 - 4 - 8));
	store_reopen(&store);
	ck_assert_int_eq(usage_of(&store).disk_bytes, 1000 * (66 - 0 - 4 - 8));
	store_close(&store);
}
END_TEST

START_TEST(finds_large_bodies)
{
	struct store store;

	store_open(&store, IN_SQLITE, NULL);
	struct job *job = add_new(&store, "a.example", 80, "x"), *empty = add_new(&store, "a.example", 80, "x");
	ck_assert_int_eq(end_job(&store, job, 1000, 300000, true), 0);
	ck_assert_int_eq(end_job(&store, empty, 1000, 0, true), 0);
	look_at_body(&store, job, 300000);
	store_reopen(&store);
	look_at_body(&store, job, 300000);
	look_at_body(&store, empty, 0);
	job_unref(job);
	job_unref(empty);
	store_close(&store);
}
END_TEST

static void
make_file(const char *path)
{
	FILE *file = fopen(path, "w");

	ck_assert_ptr_nonnull(file);
	fputs("left behind", file);
	fclose(file);
}

/* What no result names goes at the start: of fetches that were cut off, and of ends that were not committed. */
START_TEST(sweeps_orphans)
{
	static const char *const others[] = {"README", ".hidden", "ledger.db", "0198c0de-0000-7000-8000-00000000000g"};
	struct store store;
	char path[300];
	struct job *never = new_job("a.example", 80, "x");

	store_open(&store, IN_SQLITE, NULL);
	struct job *job = add_new(&store, "a.example", 80, "x"), *queued = add_new(&store, "a.example", 80, "x"),
		   *small = add_new(&store, "a.example", 80, "x");
	ck_assert_int_eq(end_job(&store, job, 1000, 1000, true), 0);
	ck_assert_int_eq(end_job(&store, small, 1000, 1000, false), 0);
	store_shut(&store);
	struct job *const named[] = {job, queued, small, never};
	for (int i = 0; i < COUNT(named); i++) {
		body_path(&store, named[i], ".part", path, sizeof path);
		make_file(path);
		if (named[i] == job)
			continue;
		body_path(&store, named[i], "", path, sizeof path);
		make_file(path);
	}
	for (int i = 0; i < COUNT(others); i++) {
		snprintf(path, sizeof path, "%s/%s", store.bodies, others[i]);
		make_file(path);
	}
	store_reopen(&store);
	for (int i = 0; i < COUNT(named); i++) {
		ck_assert_msg(!body_there(&store, named[i], ".part"), "%d.part", i);
		ck_assert_msg(body_there(&store, named[i], "") == (named[i] == job), "%d", i);
		if (named[i] != job)
			job_unref(named[i]);
	}
	for (int i = 0; i < COUNT(others); i++) {
		snprintf(path, sizeof path, "%s/%s", store.bodies, others[i]);
		ck_assert_msg(access(path, F_OK) == 0, "%s", others[i]);
	}
	look_at_body(&store, job, 1000);
	ck_assert_int_eq(usage_of(&store).disk_bytes, 1000);
	job_unref(job);
	store_close(&store);
}
END_TEST

/* Who ends a job with a body that is not there has a broken disk, or worse. */
START_TEST(fails_without_the_body)
{
	struct store store;
	struct written end;
	char path[300];

	store_open(&store, IN_SQLITE, NULL);
	struct job *job = add_new(&store, "a.example", 80, "x");
	end_init(&end, job, 1000, 1000, true, store.bodies);
	body_path(&store, job, ".part", path, sizeof path);
	ck_assert_int_eq(unlink(path), 0);
	store_write(&store, &end, 1);
	store_await_failure(&store);
	ck_assert_msg(strstr(store.why, path) != NULL, "%s", store.why);
	ck_assert_uint_eq(store_came_back(&store, &end, 1), 0);
	store.ledger->ops->stop(store.ledger);
	ck_assert(store_await(&store, &end, 1));
	ck_assert_int_eq(end.entry.error, -ESHUTDOWN);
	end_release(&end);
	store_reopen(&store);
	ck_assert(store.ledger->failed_before);
	struct job *found = find_job(&store, &job->id, LEDGER_WHOLE);
	ck_assert_int_eq(found->state, JOB_queued);
	job_unref(found);
	job_unref(job);
	store_close(&store);
}
END_TEST

/* ---- order, and the end */

/* The places at which the entries of many jobs come back: of each job in the order of writing. */
START_TEST(keeps_the_order)
{
	enum { JOBS = 40, STEPS = 5 };
	static struct written steps[STEPS][JOBS];
	struct job *jobs[JOBS];
	struct store store;

	store_open(&store, IN_SQLITE, NULL);
	for (int i = 0; i < JOBS; i++) {
		jobs[i] = new_job("a.example", 80, "x");
		steps[0][i] = (struct written){.entry = {.verb = LEDGER_ADD, .job = jobs[i]}};
		steps[1][i] = (struct written){
			.entry = {.verb = LEDGER_START, .job = jobs[i], .start = {.version = 2, .lazy = i % 2 == 0}}};
		steps[2][i] = (struct written){
			.entry = {.verb = LEDGER_REQUEUE, .job = jobs[i], .start = {.version = 3, .crashes = 1}}};
		end_init(&steps[3][i], jobs[i], 1000, 10, i % 8 == 1, store.bodies);
		steps[4][i] = (struct written){.entry = {.verb = LEDGER_REMOVE, .job = jobs[i]}};
	}
	for (int step = 0; step < STEPS; step++) {
		/* A service starts what it has seen added, and removes what it has seen end. */
		if (step == 1 || step == 4)
			ck_assert(store_await(&store, steps[step - 1], JOBS));
		store_write(&store, steps[step], JOBS);
	}
	for (int step = 0; step < STEPS; step++)
		ck_assert(store_await(&store, steps[step], JOBS));
	for (int i = 0; i < JOBS; i++) {
		for (int step = 0; step < STEPS; step++) {
			ck_assert_int_eq(steps[step][i].entry.error, 0);
			if (step > 0)
				ck_assert_msg(steps[step][i].place > steps[step - 1][i].place,
					"job %d: step %d came back before step %d", i, step, step - 1);
		}
		ck_assert(steps[4][i].entry.found);
		end_release(&steps[3][i]);
		job_unref(jobs[i]);
	}
	ck_assert_uint_eq(usage_of(&store).jobs, 0);
	store_close(&store);
}
END_TEST

/* What was written before the stop is committed, whatever it is; what comes after it is given back. */
START_TEST(stops)
{
	enum { JOBS = 50 };
	struct written adds[JOBS], starts[JOBS], ends[JOBS / 2], late;
	struct job *jobs[JOBS];
	struct store store;

	store_open(&store, IN_SQLITE, NULL);
	for (int i = 0; i < JOBS; i++) {
		jobs[i] = new_job("a.example", 80, "x");
		adds[i] = (struct written){.entry = {.verb = LEDGER_ADD, .job = jobs[i]}};
		starts[i] = (struct written){
			.entry = {.verb = LEDGER_START, .job = jobs[i], .start = {.version = 2, .lazy = true}}};
		if (i < JOBS / 2)
			end_init(&ends[i], jobs[i], 1000, 10, i % 3 == 0, store.bodies);
	}
	store_write(&store, adds, JOBS);
	store_write(&store, starts, JOBS);
	store_write(&store, ends, JOBS / 2);
	store.ledger->ops->stop(store.ledger);
	ck_assert_uint_eq(store_came_back(&store, adds, JOBS), JOBS);
	ck_assert_uint_eq(store_came_back(&store, starts, JOBS), JOBS);
	ck_assert_uint_eq(store_came_back(&store, ends, JOBS / 2), JOBS / 2);
	for (int i = 0; i < JOBS; i++) {
		ck_assert_int_eq(adds[i].entry.error, 0);
		ck_assert_int_eq(starts[i].entry.error, 0);
		if (i < JOBS / 2)
			ck_assert_int_eq(ends[i].entry.error, 0);
	}
	late = (struct written){.entry = {.verb = LEDGER_REMOVE, .job = jobs[0]}};
	ck_assert_int_eq(store_put(&store, &late), -ESHUTDOWN);
	ck_assert_int_eq(end_job(&store, jobs[JOBS - 1], 1000, 10, true), -ESHUTDOWN);
	struct job *more = new_job("a.example", 80, "x");
	ck_assert_int_eq(add_job(&store, more), -ESHUTDOWN);
	ck_assert(has(&store, jobs[0])); /* it can still be read */
	job_unref(more);
	store_reopen(&store);
	ck_assert(!store.ledger->failed_before);
	ck_assert_uint_eq(usage_of(&store).jobs, JOBS);
	ck_assert_uint_eq(usage_of(&store).finished, JOBS / 2);
	ck_assert_int_eq(store_number(&store, "SELECT count(*) FROM live WHERE state = 'running'"), JOBS / 2);
	for (int i = 0; i < JOBS; i++) {
		if (i < JOBS / 2)
			end_release(&ends[i]);
		job_unref(jobs[i]);
	}
	store_close(&store);
}
END_TEST

/* An end, a start or a return of a job that is not there changes nothing; what was ended twice ended as at first. */
START_TEST(ignores_strangers)
{
	struct store store;
	struct written written;
	struct job *job = new_job("a.example", 80, "x"), *found;

	store_open(&store, IN_SQLITE, NULL);
	for (int verb = LEDGER_START; verb <= LEDGER_REQUEUE; verb++) {
		written = (struct written){
			.entry = {.verb = (enum ledger_verb)verb, .job = job, .start = {.version = 2}}};
		ck_assert_int_eq(store_put(&store, &written), 0);
	}
	ck_assert_int_eq(end_job(&store, job, 1000, 1, false), -ENOENT);
	ck_assert_int_eq(rows_of(&store, job), 0);
	ck_assert_int_eq(add_job(&store, job), 0);
	end_init(&written, job, 1000, 1, false, store.bodies);
	ck_assert_int_eq(store_put(&store, &written), 0);
	written.entry.end.version = 77;
	ck_assert_int_eq(store_put(&store, &written), -ENOENT);
	end_release(&written);
	written = (struct written){.entry = {.verb = LEDGER_START, .job = job, .start = {.version = 88}}};
	ck_assert_int_eq(store_put(&store, &written), 0);
	found = find_job(&store, &job->id, LEDGER_WHOLE);
	ck_assert_int_eq(found->state, JOB_succeeded);
	ck_assert_uint_eq(found->version, 3);
	ck_assert_uint_eq(usage_of(&store).finished, 1);
	ck_assert_uint_eq(usage_of(&store).jobs, 1);
	job_unref(found);
	job_unref(job);
	store_close(&store);
}
END_TEST

/* ---- the suites */

static TCase *
row_tests(void)
{
	TCase *tests = tcase_create("rows");

	tcase_add_loop_test(tests, keeps_ends, 0, COUNT(chances));
	tcase_add_test(tests, keeps_errors);
	tcase_add_loop_test(tests, refuses_nonsense, 0, COUNT(nonsense));
	tcase_add_loop_test(tests, recovers_what_is_not_done, 0, COUNT(chances));
	tcase_add_loop_test(tests, recovers_whole_bodies_alone, 0, 5);
	tcase_add_test(tests, goes_on_counting);
	tcase_add_test(tests, knows_keys_after_a_restart);
	tcase_add_test(tests, tells_keys_of_owners_apart);
	tcase_add_loop_test(tests, removes_without_trace, 0, 2);
	return tests;
}

static TCase *
body_tests(void)
{
	TCase *tests = tcase_create("bodies");

	tcase_add_test(tests, keeps_large_bodies);
	tcase_add_test(tests, finds_large_bodies);
	tcase_add_test(tests, sweeps_orphans);
	tcase_add_test(tests, fails_without_the_body);
	return tests;
}

static TCase *
order_tests(void)
{
	TCase *tests = tcase_create("order");

	tcase_add_test(tests, keeps_the_order);
	tcase_add_test(tests, stops);
	tcase_add_test(tests, ignores_strangers);
	return tests;
}

int
main(void)
{
	TCase *(*const groups[])(void) = {row_tests, body_tests, order_tests};
	Suite *suite = suite_create("sqlite");
	SRunner *runner = srunner_create(suite);

	log_configure(LOG_ALWAYS, false); /* what goes wrong here does so on purpose */
	for (int i = 0; i < COUNT(groups); i++) {
		TCase *tests = groups[i]();

		tcase_set_timeout(tests, 120); /* sanitizers on a busy machine */
		suite_add_tcase(suite, tests);
	}
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
