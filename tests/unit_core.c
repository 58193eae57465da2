/*
 * The core room: a job's steps from state to state, the scheduler (by hand, and against a plain model in a long random
 * run), the awaits and the table. Time is a number that the tests move; nothing here sleeps.
 */
#include <check.h>
#include <errno.h>
#include <semaphore.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/id.h"
#include "base/lock.h"
#include "core/await.h"
#include "core/job.h"
#include "core/scheduler.h"
#include "core/table.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

/* A repeatable stream of numbers (xorshift64*), so that a failure can be seen again. */
static uint64_t
next_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * UINT64_C(2685821657736338717);
}

static int
random_below(uint64_t *state, int bound)
{
	return (int)(next_random(state) >> 33) % bound;
}

static struct job *
new_job(const char *host, int port, int priority)
{
	struct job_spec *spec = job_spec_new();

	ck_assert_ptr_nonnull(spec);
	spec->origin.scheme = arena_string(&spec->arena, "http");
	spec->origin.host = arena_string(&spec->arena, host);
	spec->origin.port = port;
	spec->priority = priority;
	struct job *job = job_new(spec);
	ck_assert_ptr_nonnull(job);
	job->id = id_new();
	return job;
}

/* ---- jobs */

static const bool steps[JOB_STATE_COUNT][JOB_STATE_COUNT] = {
	[JOB_queued] = {[JOB_running] = true, [JOB_failed] = true, [JOB_cancelled] = true},
	[JOB_running] = {[JOB_queued] = true,
		[JOB_retrying] = true,
		[JOB_succeeded] = true,
		[JOB_failed] = true,
		[JOB_cancelled] = true},
	[JOB_retrying] = {[JOB_running] = true, [JOB_failed] = true, [JOB_cancelled] = true},
};

/* The index of a loop test is both states: from * JOB_STATE_COUNT + to. */
static struct job *
job_in_state(enum job_state state)
{
	static const enum job_state ways[JOB_STATE_COUNT][3] = {
		[JOB_running] = {JOB_running},
		[JOB_retrying] = {JOB_running, JOB_retrying},
		[JOB_succeeded] = {JOB_running, JOB_succeeded},
		[JOB_failed] = {JOB_failed},
		[JOB_cancelled] = {JOB_cancelled},
	};
	struct job *job = new_job("a.example", 80, 0);

	for (int i = 0; ways[state][i] != JOB_queued; i++)
		job_set_state(job, ways[state][i]);
	ck_assert_int_eq(job->state, state);
	return job;
}

START_TEST(takes_legal_steps)
{
	enum job_state from = (enum job_state)(_i / JOB_STATE_COUNT), to = (enum job_state)(_i % JOB_STATE_COUNT);

	if (!steps[from][to])
		return;
	struct job *job = job_in_state(from);
	uint32_t version = job->version;
	job_set_state(job, to);
	ck_assert_int_eq(job->state, to);
	ck_assert_uint_eq(job->version, version + 1);
	job_unref(job);
}
END_TEST

#ifndef NDEBUG
START_TEST(aborts_at_illegal_steps)
{
	enum job_state from = (enum job_state)(_i / JOB_STATE_COUNT), to = (enum job_state)(_i % JOB_STATE_COUNT);

	if (steps[from][to])
		abort();                                          /* as the others do */
	ck_assert_ptr_nonnull(freopen("/dev/null", "w", stderr)); /* where the assertion would write */
	job_set_state(job_in_state(from), to);
}
END_TEST
#endif

START_TEST(names_states)
{
	static const struct {
		const char *name;
		bool found, done;
	} table[] = {{"queued", true, false}, {"running", true, false}, {"retrying", true, false},
		{"succeeded", true, true}, {"failed", true, true}, {"cancelled", true, true}, {"", false, false},
		{"queue", false, false}, {"queuedd", false, false}, {"Queued", false, false},
		{"canceled", false, false}};

	for (int i = 0; i < COUNT(table); i++) {
		enum job_state state;
		bool found = job_state_from_name(table[i].name, strlen(table[i].name), &state);
		ck_assert_msg(found == table[i].found, "\"%s\" is%s a state", table[i].name, found ? "" : " not");
		if (!found)
			continue;
		ck_assert_str_eq(job_state_name(state), table[i].name);
		ck_assert_msg(job_state_done(state) == table[i].done, "%s", table[i].name);
	}
}
END_TEST

START_TEST(tells_retryable_errors)
{
	static const char retryable[] =
		" dns_failed connect_failed connect_timeout first_byte_timeout idle_timeout timeout connection_lost truncated ";

	for (int i = JOB_ERROR_none + 1; i < JOB_ERROR_COUNT; i++) {
		enum job_error_code code = (enum job_error_code)i;
		char word[64];
		snprintf(word, sizeof word, " %s ", job_error_name(code));
		ck_assert_msg(job_error_retryable(code) == (strstr(retryable, word) != NULL), "%s", word);
	}
	for (int i = 0; i < JOB_PHASE_COUNT; i++)
		ck_assert_ptr_nonnull(job_phase_name((enum job_phase)i));
}
END_TEST

static const struct {
	const char *method;
	bool idempotent;
} methods[] = {
	{"GET", true},
	{"HEAD", true},
	{"OPTIONS", true},
	{"PUT", true},
	{"DELETE", true},
	{"PROPFIND", true},
	{"REPORT", true},
	{"SEARCH", true},
	{"POST", false},
	{"PATCH", false},
	{"CONNECT", false},
	{"get", false},
	{"GETS", false},
	{"", false},
	{"MKCOL", false},
};

/* Only what may arrive twice may be sent again; or what a client says may. */
START_TEST(tells_repeatable_jobs)
{
	struct job_spec spec = {.method = methods[_i].method};

	ck_assert_int_eq(method_idempotent(spec.method), methods[_i].idempotent);
	ck_assert_int_eq(job_spec_repeatable(&spec), methods[_i].idempotent);
	spec.retry_unsafe = true;
	ck_assert(job_spec_repeatable(&spec));
}
END_TEST

START_TEST(keeps_attempts_in_order)
{
	struct job *job = new_job("a.example", 80, 0);

	for (unsigned i = 1; i <= 3; i++) {
		struct arena arena = {0};
		struct attempt *attempt = arena_alloc(&arena, sizeof *attempt);
		attempt->arena = arena;
		attempt->number = i;
		job_add_attempt(job, attempt);
		ck_assert_ptr_eq(job->last_attempt, attempt);
	}
	ck_assert_uint_eq(job->attempt_count, 3);
	unsigned number = 0;
	for (const struct attempt *at = job->attempts; at != NULL; at = at->next)
		ck_assert_uint_eq(at->number, ++number);
	ck_assert_uint_eq(number, 3);
	job_unref(job_ref(job));
	job_unref(job);
}
END_TEST

START_TEST(finds_fields_and_tags)
{
	struct field items[] = {
		{(char *)"X-One", (char *)"1"}, {(char *)"x-one", (char *)"2"}, {(char *)"y", (char *)""}};
	struct fields fields = {.items = items, .count = 3};
	char *tags[] = {(char *)"a", (char *)"b c"};
	struct job_spec spec = {.tags = tags, .tag_count = 2};

	ck_assert_str_eq(fields_get(&fields, "x-ONE"), "1");
	ck_assert_str_eq(fields_get(&fields, "Y"), "");
	ck_assert_ptr_null(fields_get(&fields, "x-on"));
	ck_assert(fields_have(&fields, "Y"));
	ck_assert(!fields_have(&fields, ""));
	ck_assert(job_spec_has_tag(&spec, "b c"));
	ck_assert(!job_spec_has_tag(&spec, "b"));
}
END_TEST

/* ---- the scheduler, by hand */

#define MANY 1000

static struct scheduler *
new_scheduler(size_t total, size_t per_origin, unsigned loops)
{
	struct scheduler_limits limits = {.max_in_flight = total, .max_in_flight_per_origin = per_origin};
	struct scheduler *scheduler;

	ck_assert_int_eq(scheduler_new(&limits, loops, &scheduler), 0);
	return scheduler;
}

static int
add(struct scheduler *scheduler, struct job *job, int64_t now)
{
	int wake = 7;

	ck_assert_int_eq(scheduler_add_locked(scheduler, job, now, &wake), 0);
	return wake;
}

/* Nobody has to be woken for a job that goes, as there are no owners here. */
static void
take_out(struct scheduler *scheduler, struct job *job)
{
	int wake = 7;

	scheduler_remove_locked(scheduler, job, &wake);
	ck_assert_int_eq(wake, SCHEDULER_NO_LOOP);
}

static struct job *
add_new(struct scheduler *scheduler, const char *host, int port, int priority)
{
	struct job *job = new_job(host, port, priority);

	add(scheduler, job, 0);
	return job;
}

static struct job *
take_one(struct scheduler *scheduler, unsigned loop)
{
	struct job *job = NULL;

	return scheduler_take_locked(scheduler, loop, &job, 1) == 1 ? job : NULL;
}

static int
done(struct scheduler *scheduler, struct job *job)
{
	int wake = 7;

	scheduler_done_locked(scheduler, job, &wake);
	job_unref(job);
	return wake;
}

/* Takes and ends all that is queued. Returns how many that were. */
static size_t
drain(struct scheduler *scheduler, unsigned loops)
{
	size_t count = 0;

	for (unsigned loop = 0; loop < loops; loop++) {
		for (struct job *job; (job = take_one(scheduler, loop)) != NULL; count++)
			done(scheduler, job);
	}
	ck_assert_uint_eq(scheduler_in_flight_locked(scheduler), 0);
	return count;
}

static const struct {
	const char *host;
	int port;
	size_t allowed;
} limited[] = {
	{"plain.example", 80, 3},
	{"host.example", 80, 2},
	{"host.example", 8080, 2},
	{"both.example", 80, 5},
	{"both.example", 8080, 1},
	{"port.example", 8080, 1},
	{"port.example", 80, 3},
	{"sub.host.example", 80, 3},
	{"2001:db8::1", 443, 4},
	{"2001:db8::1", 80, 3},
};

static const struct origin_limit origin_limits[] = {
	{"host.example", 0, 2},
	{"both.example", 8080, 1},
	{"both.example", 0, 5},
	{"port.example", 8080, 1},
	{"2001:db8::1", 443, 4},
};

START_TEST(keeps_limits_of_origins)
{
	struct scheduler_limits limits = {MANY, 3, origin_limits, COUNT(origin_limits)};
	struct scheduler *scheduler;
	struct job *taken[20];

	ck_assert_int_eq(scheduler_new(&limits, 1, &scheduler), 0);
	for (int i = 0; i < 10; i++)
		add_new(scheduler, limited[_i].host, limited[_i].port, 0);
	size_t count = scheduler_take_locked(scheduler, 0, taken, 20);
	ck_assert_msg(count == limited[_i].allowed, "%s:%d: %zu", limited[_i].host, limited[_i].port, count);
	ck_assert_ptr_null(take_one(scheduler, 0));
	for (size_t i = 0; i < count; i++) {
		done(scheduler, taken[i]);
		taken[i] = take_one(scheduler, 0);
		ck_assert_ptr_nonnull(taken[i]);
		ck_assert_ptr_null(take_one(scheduler, 0));
	}
	for (size_t i = 0; i < count; i++)
		done(scheduler, taken[i]);
	ck_assert_uint_eq(drain(scheduler, 1), 10 - 2 * count);
	scheduler_free(scheduler);
}
END_TEST

START_TEST(keeps_the_total_limit)
{
	struct scheduler *scheduler = new_scheduler(3, MANY, 1);
	struct job *taken[10];

	ck_assert_int_ne(add(scheduler, new_job("a.example", 80, 0), 0), SCHEDULER_NO_LOOP);
	for (int i = 0; i < 3; i++) {
		add_new(scheduler, "b.example", 80, 0);
		add_new(scheduler, "c.example", 80, 0);
	}
	ck_assert_uint_eq(scheduler_take_locked(scheduler, 0, taken, 10), 3);
	ck_assert_uint_eq(scheduler_in_flight_locked(scheduler), 3);
	/* Full: a new job wakes nobody, but a free slot wakes everybody. */
	ck_assert_int_eq(add(scheduler, new_job("d.example", 80, 0), 0), SCHEDULER_NO_LOOP);
	ck_assert_int_eq(done(scheduler, taken[0]), SCHEDULER_ALL_LOOPS);
	ck_assert_uint_eq(scheduler_take_locked(scheduler, 0, taken, 10), 1);
	done(scheduler, taken[0]);
	ck_assert_uint_eq(scheduler_in_flight_locked(scheduler), 2);
	done(scheduler, taken[1]);
	done(scheduler, taken[2]);
	ck_assert_uint_eq(drain(scheduler, 1), 4);
	scheduler_free(scheduler);
}
END_TEST

/* A row is added from left to right and has to be taken in the order given: "host priority". */
static const struct {
	const char *what;
	struct {
		const char *host;
		int priority;
	} added[8];
	const char *order; /* the places in added, as digits */
} orders[] = {
	{"age within an origin", {{"a", 0}, {"a", 0}, {"a", 0}}, "012"},
	{"priority within an origin", {{"a", 0}, {"a", 5}, {"a", -5}, {"a", 5}, {"a", 100}}, "41302"},
	{"priority between origins", {{"a", 0}, {"b", 1}, {"c", -1}, {"d", 2}}, "3102"},
	{"the first job stands for its origin", {{"a", 0}, {"a", 9}, {"b", 5}, {"b", 0}}, "1203"},
	{"turns between origins", {{"a", 0}, {"a", 0}, {"a", 0}, {"b", 0}, {"b", 0}, {"b", 0}}, NULL},
};

START_TEST(takes_in_order)
{
	struct scheduler *scheduler = new_scheduler(MANY, MANY, 1);
	struct job *added[8], *taken[8];
	char order[9] = "";
	size_t count = 0;

	for (; count < 8 && orders[_i].added[count].host != NULL; count++)
		added[count] = add_new(scheduler, orders[_i].added[count].host, 80, orders[_i].added[count].priority);
	ck_assert_uint_eq(scheduler_take_locked(scheduler, 0, taken, 8), count);
	for (size_t i = 0; i < count; i++) {
		for (size_t k = 0; k < count; k++)
			if (added[k] == taken[i])
				order[i] = (char)('0' + k);
		if (orders[_i].order == NULL && i > 0)
			ck_assert_msg(strcmp(taken[i]->spec->origin.host, taken[i - 1]->spec->origin.host) != 0,
				"%s: %s twice in %s", orders[_i].what, taken[i]->spec->origin.host, order);
	}
	if (orders[_i].order != NULL)
		ck_assert_msg(strcmp(order, orders[_i].order) == 0, "%s: %s", orders[_i].what, order);
	for (size_t i = 0; i < count; i++)
		done(scheduler, taken[i]);
	scheduler_free(scheduler);
}
END_TEST

/* Ten origins of thirty jobs each, a slot at a time: whoever looks back over ten turns sees each of them once. */
START_TEST(gives_fair_turns)
{
	struct scheduler *scheduler = new_scheduler(1, MANY, 1);
	int last_turn[10];

	for (int i = 0; i < 300; i++) {
		char host[32];
		snprintf(host, sizeof host, "h%d", i / 30);
		add_new(scheduler, host, 80, 0);
	}
	for (int turn = 0; turn < 300; turn++) {
		struct job *job = take_one(scheduler, 0);
		ck_assert_ptr_nonnull(job);
		int origin = atoi(job->spec->origin.host + 1);
		if (turn >= 10)
			ck_assert_msg(
				turn - last_turn[origin] == 10, "h%d after %d turns", origin, turn - last_turn[origin]);
		last_turn[origin] = turn;
		done(scheduler, job);
	}
	ck_assert_uint_eq(scheduler_origins_locked(scheduler), 0);
	scheduler_free(scheduler);
}
END_TEST

START_TEST(keeps_cold_origins_at_home)
{
	const unsigned loops = 4;
	struct scheduler *scheduler = new_scheduler(MANY, MANY, loops);

	for (int i = 0; i < 50; i++) {
		char host[32];
		snprintf(host, sizeof host, "h%d.example", i);
		struct job *job = new_job(host, 80, 0);
		int home = add(scheduler, job, 0);
		ck_assert_int_ge(home, 0);
		ck_assert_int_lt(home, (int)loops);
		for (unsigned loop = 0; loop < loops; loop++)
			if ((int)loop != home)
				ck_assert_msg(take_one(scheduler, loop) == NULL, "%s taken from its home", host);
		ck_assert_ptr_eq(take_one(scheduler, (unsigned)home), job);
		ck_assert_uint_eq(job->loop, (unsigned)home);
		ck_assert_int_eq(done(scheduler, job), SCHEDULER_NO_LOOP);
	}
	scheduler_free(scheduler);
}
END_TEST

START_TEST(helps_hot_origins)
{
	struct scheduler *scheduler = new_scheduler(MANY, MANY, 2);
	int home = add(scheduler, new_job("a.example", 80, 0), 0);

	for (int i = 2; i < SCHEDULER_HOT; i++)
		ck_assert_int_eq(add(scheduler, new_job("a.example", 80, 0), 0), home);
	unsigned other = 1 - (unsigned)home;
	ck_assert_ptr_null(take_one(scheduler, other));
	ck_assert_int_eq(add(scheduler, new_job("a.example", 80, 0), 0), SCHEDULER_ALL_LOOPS);
	struct job *helped = take_one(scheduler, other);
	ck_assert_ptr_nonnull(helped);
	ck_assert_uint_eq(helped->loop, other);
	ck_assert_ptr_null(take_one(scheduler, other)); /* it has cooled down */
	ck_assert_int_eq(done(scheduler, helped), home);
	ck_assert_uint_eq(drain(scheduler, 2), SCHEDULER_HOT - 1);
	scheduler_free(scheduler);
}
END_TEST

START_TEST(joins_wakes)
{
	static const struct {
		int a, b, both;
	} table[] = {
		{SCHEDULER_NO_LOOP, SCHEDULER_NO_LOOP, SCHEDULER_NO_LOOP},
		{SCHEDULER_NO_LOOP, 3, 3},
		{3, 3, 3},
		{3, 0, SCHEDULER_ALL_LOOPS},
		{SCHEDULER_ALL_LOOPS, 3, SCHEDULER_ALL_LOOPS},
		{SCHEDULER_ALL_LOOPS, SCHEDULER_NO_LOOP, SCHEDULER_ALL_LOOPS},
	};

	for (int i = 0; i < COUNT(table); i++) {
		ck_assert_int_eq(scheduler_wake_both(table[i].a, table[i].b), table[i].both);
		ck_assert_int_eq(scheduler_wake_both(table[i].b, table[i].a), table[i].both);
	}
}
END_TEST

START_TEST(parks_until_run_at)
{
	struct scheduler *scheduler = new_scheduler(MANY, MANY, 1);
	struct job *late = new_job("a.example", 80, 9), *later = new_job("b.example", 80, 0);
	enum job_error_code why = JOB_ERROR_none;
	int wake = SCHEDULER_NO_LOOP;

	late->run_at_mono_ms = 1000;
	later->run_at_mono_ms = 2000;
	ck_assert(scheduler_next_due_locked(scheduler) == INT64_MAX);
	ck_assert_int_eq(add(scheduler, later, 0), SCHEDULER_NO_LOOP);
	ck_assert_int_eq(add(scheduler, late, 0), SCHEDULER_NO_LOOP);
	ck_assert_ptr_null(take_one(scheduler, 0));
	ck_assert_int_eq(scheduler_next_due_locked(scheduler), 1000);
	ck_assert_ptr_null(scheduler_expire_locked(scheduler, 999, &why, &wake));
	ck_assert_ptr_null(take_one(scheduler, 0));
	ck_assert_int_eq(wake, SCHEDULER_NO_LOOP);
	ck_assert_ptr_null(scheduler_expire_locked(scheduler, 1000, &why, &wake));
	ck_assert_int_eq(wake, 0);
	ck_assert_ptr_eq(take_one(scheduler, 0), late);
	ck_assert_int_eq(scheduler_next_due_locked(scheduler), 2000);
	ck_assert_ptr_null(take_one(scheduler, 0));
	ck_assert_ptr_null(scheduler_expire_locked(scheduler, 5000, &why, &wake));
	ck_assert_ptr_eq(take_one(scheduler, 0), later);
	ck_assert(scheduler_next_due_locked(scheduler) == INT64_MAX);
	done(scheduler, late);
	done(scheduler, later);
	scheduler_free(scheduler);
}
END_TEST

/* When each one ends that waits from the time 0 on, and why; 0: never. All others go before a job that is due later. */
static const struct {
	int64_t run_at, queue_timeout, deadline, ends;
	enum job_error_code why;
} waits[] = {
	{0, 0, 0, 0, JOB_ERROR_none},
	{0, 100, 0, 100, JOB_ERROR_queue_timeout},
	{0, 0, 100, 100, JOB_ERROR_deadline_exceeded},
	{0, 100, 200, 100, JOB_ERROR_queue_timeout},
	{0, 200, 100, 100, JOB_ERROR_deadline_exceeded},
	{0, 100, 100, 100, JOB_ERROR_deadline_exceeded},
	{500, 0, 0, 0, JOB_ERROR_none},
	{500, 100, 0, 600, JOB_ERROR_queue_timeout},
	{500, 0, 100, 100, JOB_ERROR_deadline_exceeded},
	{500, 0, 900, 900, JOB_ERROR_deadline_exceeded},
	{500, 100, 900, 600, JOB_ERROR_queue_timeout},
	{500, 100, 550, 550, JOB_ERROR_deadline_exceeded},
	{500, 100, 500, 500, JOB_ERROR_deadline_exceeded},
};

static struct job *
new_waiting_job(int row)
{
	struct job *job = new_job("a.example", 80, 0);

	job->run_at_mono_ms = waits[row].run_at;
	job->spec->queue_timeout_ms = waits[row].queue_timeout;
	job->spec->deadline_ms = waits[row].deadline;
	return job;
}

START_TEST(ends_waits_in_time)
{
	struct scheduler *scheduler = new_scheduler(MANY, MANY, 1);
	struct job *job = new_waiting_job(_i);
	int64_t ended = 0;

	add(scheduler, job, 0);
	while (ended == 0 && scheduler_next_due_locked(scheduler) != INT64_MAX) {
		enum job_error_code why;
		int wake = SCHEDULER_NO_LOOP;
		int64_t now = scheduler_next_due_locked(scheduler);
		struct job *over = scheduler_expire_locked(scheduler, now, &why, &wake);
		if (over == NULL)
			continue;
		ck_assert_ptr_eq(over, job);
		ck_assert_msg(why == waits[_i].why, "%s", job_error_name(why));
		ended = now;
	}
	ck_assert_int_eq(ended, waits[_i].ends);
	if (ended == 0)
		ck_assert_uint_eq(drain(scheduler, 1), 1);
	else
		job_unref(job);
	ck_assert_uint_eq(scheduler_origins_locked(scheduler), 0);
	scheduler_free(scheduler);
}
END_TEST

/* All of them at once, when the time has run far ahead: each comes with its reason, whoever was due first comes first. */
START_TEST(ends_waits_in_order)
{
	struct scheduler *scheduler = new_scheduler(MANY, MANY, 1);
	int64_t last_due = 0, dues[COUNT(waits)];
	struct job *jobs[COUNT(waits)], *over;
	enum job_error_code why;
	int wake = SCHEDULER_NO_LOOP, ended = 0;

	for (int i = 0; i < COUNT(waits); i++) {
		jobs[i] = new_waiting_job(i);
		add(scheduler, jobs[i], 0);
		dues[i] = jobs[i]->timer_due_mono_ms;
	}
	while ((over = scheduler_expire_locked(scheduler, 10000, &why, &wake)) != NULL) {
		int row = 0;
		while (jobs[row] != over)
			row++;
		/* Long overdue in both ways, a job is told of its deadline. */
		enum job_error_code wanted =
			waits[row].deadline != 0 ? JOB_ERROR_deadline_exceeded : JOB_ERROR_queue_timeout;
		ck_assert_msg(why == wanted, "row %d: %s", row, job_error_name(why));
		ck_assert_msg(dues[row] >= last_due, "row %d came late", row);
		last_due = dues[row];
		ended++;
		job_unref(over);
	}
	ck_assert_int_eq(ended, 11);
	ck_assert_int_eq(wake, 0); /* for the one that was parked */
	ck_assert_uint_eq(drain(scheduler, 1), 2);
	scheduler_free(scheduler);
}
END_TEST

START_TEST(removes_anywhere)
{
	struct scheduler *scheduler = new_scheduler(MANY, 1, 1);
	struct job *parked = new_job("a.example", 80, 0), *first, *middle, *last, *flying;

	flying = add_new(scheduler, "a.example", 80, 0);
	ck_assert_ptr_eq(take_one(scheduler, 0), flying);
	parked->run_at_mono_ms = 100;
	add(scheduler, parked, 0);
	first = add_new(scheduler, "a.example", 80, 1);
	middle = add_new(scheduler, "a.example", 80, 0);
	last = add_new(scheduler, "a.example", 80, -1);
	take_out(scheduler, parked);
	ck_assert(scheduler_next_due_locked(scheduler) == INT64_MAX);
	take_out(scheduler, first);
	take_out(scheduler, last);
	ck_assert_ptr_null(take_one(scheduler, 0)); /* the limit of 1 still holds */
	done(scheduler, flying);
	ck_assert_ptr_eq(take_one(scheduler, 0), middle);
	ck_assert_ptr_null(take_one(scheduler, 0));
	ck_assert_uint_eq(scheduler_origins_locked(scheduler), 1);
	done(scheduler, middle);
	ck_assert_uint_eq(scheduler_origins_locked(scheduler), 0);
	job_unref(parked);
	job_unref(first);
	job_unref(last);
	scheduler_free(scheduler);
}
END_TEST

/* When the first job goes, its origin no longer stands where that job's priority had put it. */
START_TEST(removal_moves_the_origin)
{
	struct scheduler *scheduler = new_scheduler(MANY, MANY, 1);
	struct job *urgent = add_new(scheduler, "a.example", 80, 9), *low = add_new(scheduler, "a.example", 80, 0);
	struct job *middle = add_new(scheduler, "b.example", 80, 5);

	take_out(scheduler, urgent);
	ck_assert_ptr_eq(take_one(scheduler, 0), middle);
	ck_assert_ptr_eq(take_one(scheduler, 0), low);
	job_unref(urgent);
	done(scheduler, middle);
	done(scheduler, low);
	scheduler_free(scheduler);
}
END_TEST

START_TEST(forgets_idle_origins)
{
	struct scheduler *scheduler = new_scheduler(MANY, MANY, 2);
	struct job *parked = new_job("a.example", 80, 0), *same_host, *queued;
	enum job_error_code why;
	int wake = SCHEDULER_NO_LOOP;

	parked->run_at_mono_ms = 100;
	parked->spec->deadline_ms = 50;
	add(scheduler, parked, 0);
	ck_assert_uint_eq(scheduler_origins_locked(scheduler), 1);
	same_host = add_new(scheduler, "a.example", 81, 0);
	ck_assert_uint_eq(scheduler_origins_locked(scheduler), 2);
	ck_assert_ptr_eq(scheduler_expire_locked(scheduler, 60, &why, &wake), parked);
	ck_assert_uint_eq(scheduler_origins_locked(scheduler), 1);
	queued = add_new(scheduler, "a.example", 81, 0);
	take_out(scheduler, same_host);
	ck_assert_uint_eq(scheduler_origins_locked(scheduler), 1);
	take_out(scheduler, queued);
	ck_assert_uint_eq(scheduler_origins_locked(scheduler), 0);
	ck_assert_ptr_null(queued->origin);
	job_unref(parked);
	job_unref(same_host);
	job_unref(queued);
	scheduler_free(scheduler);
}
END_TEST

START_TEST(takes_over_limits)
{
	static const struct origin_limit one[] = {{"a.example", 0, 1}};
	struct scheduler_limits limits = {MANY, 4, NULL, 0};
	struct scheduler *scheduler = new_scheduler(MANY, 2, 1);
	struct job *taken[12], *more[12];

	for (int i = 0; i < 10; i++)
		add_new(scheduler, "a.example", 80, 0);
	ck_assert_uint_eq(scheduler_take_locked(scheduler, 0, taken, 12), 2);
	ck_assert_int_eq(scheduler_set_limits_locked(scheduler, &limits), 0);
	ck_assert_uint_eq(scheduler_take_locked(scheduler, 0, taken + 2, 10), 2);
	limits = (struct scheduler_limits){MANY, 4, one, 1};
	ck_assert_int_eq(scheduler_set_limits_locked(scheduler, &limits), 0);
	/* Three above the new limit: each of the first three ends frees nothing. */
	for (int i = 0; i < 3; i++) {
		done(scheduler, taken[i]);
		ck_assert_ptr_null(take_one(scheduler, 0));
	}
	done(scheduler, taken[3]);
	ck_assert_uint_eq(scheduler_take_locked(scheduler, 0, more, 12), 1);
	limits = (struct scheduler_limits){3, MANY, NULL, 0};
	ck_assert_int_eq(scheduler_set_limits_locked(scheduler, &limits), 0);
	ck_assert_uint_eq(scheduler_take_locked(scheduler, 0, more + 1, 11), 2);
	for (int i = 0; i < 3; i++)
		done(scheduler, more[i]);
	ck_assert_uint_eq(drain(scheduler, 1), 3);
	scheduler_free(scheduler);
}
END_TEST

/* ---- the scheduler, against a plain model */

enum { ORIGINS = 9, LOOPS = 3, SLOTS = 400, STEPS = 20000, TOTAL_LIMIT = 12, ORIGIN_LIMIT = 3 };

enum place { FREE, PARKED, QUEUED, FLYING };

struct slot {
	struct job *job;
	enum place place;
	int origin;
	uint64_t order; /* of becoming queued; equal for those that one expiry queued together */
};

struct model {
	struct scheduler *scheduler;
	struct slot slots[SLOTS];
	bool awake[LOOPS]; /* woken, and nothing was left for it since */
	uint64_t random, order;
	int64_t now;
	size_t limits[ORIGINS];
	size_t added, taken, ended, removed, expired;
};

static const struct {
	const char *host;
	int port;
} model_origins[ORIGINS] = {
	{"a", 80}, {"a", 81}, {"b", 80}, {"b", 443}, {"c", 80}, {"d", 80}, {"e", 80}, {"f", 80}, {"hot", 80}};

static size_t
model_count(const struct model *model, enum place place, int origin)
{
	size_t count = 0;

	for (int i = 0; i < SLOTS; i++)
		count += model->slots[i].place == place && (origin < 0 || model->slots[i].origin == origin);
	return count;
}

static struct slot *
model_slot_of(struct model *model, const struct job *job)
{
	for (int i = 0; i < SLOTS; i++)
		if (model->slots[i].place != FREE && model->slots[i].job == job)
			return &model->slots[i];
	ck_abort_msg("a job came that is not in the scheduler");
	return NULL;
}

/* A random slot in this place, or NULL. */
static struct slot *
model_pick(struct model *model, enum place place)
{
	int start = random_below(&model->random, SLOTS);

	for (int i = 0; i < SLOTS; i++) {
		struct slot *slot = &model->slots[(start + i) % SLOTS];
		if (slot->place == place)
			return slot;
	}
	return NULL;
}

static void
model_wake(struct model *model, int wake)
{
	ck_assert_msg(wake >= SCHEDULER_ALL_LOOPS && wake < LOOPS, "wake is %d", wake);
	for (int i = 0; i < LOOPS; i++)
		model->awake[i] |= wake == i || wake == SCHEDULER_ALL_LOOPS;
}

static void
model_free(struct slot *slot)
{
	job_unref(slot->job);
	*slot = (struct slot){0};
}

static void
model_add(struct model *model)
{
	struct slot *slot = model_pick(model, FREE);
	int origin = random_below(&model->random, 4) == 0 ? ORIGINS - 1 : random_below(&model->random, ORIGINS);

	if (slot == NULL)
		return;
	struct job *job =
		new_job(model_origins[origin].host, model_origins[origin].port, random_below(&model->random, 3) - 1);
	job->created_mono_ms = model->now;
	job->run_at_mono_ms = model->now;
	if (random_below(&model->random, 3) == 0)
		job->run_at_mono_ms += 1 + random_below(&model->random, 100);
	if (random_below(&model->random, 3) == 0)
		job->spec->queue_timeout_ms = 1 + random_below(&model->random, 300);
	if (random_below(&model->random, 3) == 0)
		job->spec->deadline_ms = 1 + random_below(&model->random, 300);
	*slot = (struct slot){.job = job, .origin = origin, .place = PARKED};
	if (job->run_at_mono_ms <= model->now) {
		slot->place = QUEUED;
		slot->order = ++model->order;
	}
	model->added++;
	model_wake(model, add(model->scheduler, job, model->now));
}

/* Nothing of the same origin may have been more urgent, or as urgent and older. */
static void
model_check_first(const struct model *model, const struct slot *taken)
{
	int priority = taken->job->spec->priority;

	for (int i = 0; i < SLOTS; i++) {
		const struct slot *other = &model->slots[i];
		if (other->place != QUEUED || other->origin != taken->origin)
			continue;
		if (other->job->spec->priority > priority)
			ck_abort_msg("%d was taken before %d", priority, other->job->spec->priority);
		if (other->job->spec->priority == priority && other->order < taken->order)
			ck_abort_msg("a younger one was taken first");
	}
}

/* Only loops that were woken look for jobs, so a wake that goes missing shows as jobs that are left at the end. */
static void
model_take(struct model *model, unsigned loop)
{
	struct job *jobs[5];
	size_t max = 1 + (size_t)random_below(&model->random, 5);

	if (!model->awake[loop])
		return;
	size_t count = scheduler_take_locked(model->scheduler, loop, jobs, max);
	ck_assert_uint_le(count, max);
	if (count < max)
		model->awake[loop] = false;
	for (size_t i = 0; i < count; i++) {
		struct slot *slot = model_slot_of(model, jobs[i]);
		if (slot->place != QUEUED)
			ck_abort_msg("a job in place %d was taken", (int)slot->place);
		ck_assert_uint_eq(jobs[i]->loop, loop);
		model_check_first(model, slot);
		slot->place = FLYING;
		size_t flying = model_count(model, FLYING, slot->origin);
		if (flying > model->limits[slot->origin])
			ck_abort_msg("%zu in flight, of %zu", flying, model->limits[slot->origin]);
		model->taken++;
	}
	ck_assert_uint_le(model_count(model, FLYING, -1), TOTAL_LIMIT);
}

static void
model_done(struct model *model)
{
	struct slot *slot = model_pick(model, FLYING);
	int wake = 7;

	if (slot == NULL)
		return;
	scheduler_done_locked(model->scheduler, slot->job, &wake);
	model_wake(model, wake);
	model_free(slot);
	model->ended++;
}

static void
model_remove(struct model *model)
{
	struct slot *slot = model_pick(model, random_below(&model->random, 2) == 0 ? PARKED : QUEUED);

	if (slot == NULL)
		return;
	take_out(model->scheduler, slot->job);
	model_free(slot);
	model->removed++;
}

static enum job_error_code
model_overdue(const struct job *job, int64_t now)
{
	if (job->spec->deadline_ms != 0 && job->created_mono_ms + job->spec->deadline_ms <= now)
		return JOB_ERROR_deadline_exceeded;
	if (job->spec->queue_timeout_ms != 0 && job->run_at_mono_ms + job->spec->queue_timeout_ms <= now)
		return JOB_ERROR_queue_timeout;
	return JOB_ERROR_none;
}

static void
model_expire(struct model *model)
{
	int wake = SCHEDULER_NO_LOOP;
	enum job_error_code why;
	struct job *job;

	model->now += random_below(&model->random, 12);
	while ((job = scheduler_expire_locked(model->scheduler, model->now, &why, &wake)) != NULL) {
		struct slot *slot = model_slot_of(model, job);
		if (slot->place == FLYING || why != model_overdue(job, model->now))
			ck_abort_msg("a job in place %d expired: %s", (int)slot->place, job_error_name(why));
		model_free(slot);
		model->expired++;
	}
	model_wake(model, wake);
	model->order++;
	for (int i = 0; i < SLOTS; i++) {
		struct slot *slot = &model->slots[i];
		if (slot->place != PARKED && slot->place != QUEUED)
			continue;
		if (model_overdue(slot->job, model->now) != JOB_ERROR_none)
			ck_abort_msg("an overdue job was left");
		if (slot->place == PARKED && slot->job->run_at_mono_ms <= model->now) {
			slot->place = QUEUED;
			slot->order = model->order;
		}
	}
}

static int64_t
model_due(const struct slot *slot)
{
	const struct job *job = slot->job;
	int64_t due = INT64_MAX;

	if (slot->place == PARKED)
		due = job->run_at_mono_ms;
	else if (job->spec->queue_timeout_ms != 0)
		due = job->run_at_mono_ms + job->spec->queue_timeout_ms;
	if (job->spec->deadline_ms != 0 && job->created_mono_ms + job->spec->deadline_ms < due)
		due = job->created_mono_ms + job->spec->deadline_ms;
	return due;
}

static void
model_check(const struct model *model)
{
	int64_t due = INT64_MAX;
	size_t origins = 0;

	for (int i = 0; i < SLOTS; i++) {
		const struct slot *slot = &model->slots[i];
		if (slot->place == PARKED || slot->place == QUEUED)
			due = model_due(slot) < due ? model_due(slot) : due;
	}
	for (int i = 0; i < ORIGINS; i++)
		origins +=
			model_count(model, PARKED, i) + model_count(model, QUEUED, i) + model_count(model, FLYING, i) >
			0;
	ck_assert_int_eq(scheduler_next_due_locked(model->scheduler), due);
	ck_assert_uint_eq(scheduler_in_flight_locked(model->scheduler), model_count(model, FLYING, -1));
	ck_assert_uint_eq(scheduler_origins_locked(model->scheduler), origins);
}

/* New limits for some origins; the loops are woken after it, as a reload does. */
static void
model_set_limits(struct model *model)
{
	struct origin_limit rows[] = {{"a", 81, 1 + (size_t)random_below(&model->random, 4)},
		{"b", 0, 1 + (size_t)random_below(&model->random, 4)}};
	struct scheduler_limits limits = {TOTAL_LIMIT, ORIGIN_LIMIT, rows, 2};

	/* A limit may only be checked again once those above it have ended. */
	while (model_count(model, FLYING, -1) > 0)
		model_done(model);
	ck_assert_int_eq(scheduler_set_limits_locked(model->scheduler, &limits), 0);
	model->limits[1] = rows[0].max_in_flight;
	model->limits[2] = model->limits[3] = rows[1].max_in_flight;
	model_wake(model, SCHEDULER_ALL_LOOPS);
}

static void
model_step(struct model *model)
{
	int dice = random_below(&model->random, 1000);

	if (dice < 300)
		model_add(model);
	else if (dice < 600)
		model_take(model, (unsigned)random_below(&model->random, LOOPS));
	else if (dice < 850)
		model_done(model);
	else if (dice < 900)
		model_remove(model);
	else if (dice < 995)
		model_expire(model);
	else
		model_set_limits(model);
}

/* No more come in: what was woken takes what there is until nothing is queued, parked or in flight. */
static void
model_drain(struct model *model)
{
	for (int round = 0; round < 10 * SLOTS; round++) {
		for (unsigned loop = 0; loop < LOOPS; loop++)
			model_take(model, loop);
		model_done(model);
		if (round % 10 == 0)
			model_expire(model);
	}
	for (int place = PARKED; place <= FLYING; place++)
		ck_assert_msg(model_count(model, (enum place)place, -1) == 0, "%zu are left in place %d",
			model_count(model, (enum place)place, -1), place);
}

START_TEST(agrees_with_the_model)
{
	static struct model model;
	struct scheduler_limits limits = {TOTAL_LIMIT, ORIGIN_LIMIT, NULL, 0};

	model = (struct model){.random = UINT64_C(0x9e3779b97f4a7c15) + (uint64_t)_i};
	for (int i = 0; i < ORIGINS; i++)
		model.limits[i] = ORIGIN_LIMIT;
	ck_assert_int_eq(scheduler_new(&limits, LOOPS, &model.scheduler), 0);
	for (int step = 0; step < STEPS; step++) {
		model_step(&model);
		if (step % 8 == 0)
			model_check(&model);
	}
	model_drain(&model);
	model_check(&model);
	ck_assert_uint_eq(model.taken, model.ended);
	ck_assert_uint_eq(model.added, model.taken + model.removed + model.expired);
	ck_assert_uint_gt(model.taken, 1000); /* else the run was about nothing */
	ck_assert_uint_gt(model.removed, 100);
	ck_assert_uint_gt(model.expired, 100);
	scheduler_free(model.scheduler);
}
END_TEST

/* ---- awaits */

enum { WATCHED = 4 };

/* An await with its waiters, that counts its wakes. */
struct watch {
	struct await await;
	struct waiter waiters[WATCHED];
	int woken;
};

static void
count_wake(struct await *await)
{
	container_of(await, struct watch, await)->woken++;
}

static void
watch_init(struct watch *watch, struct job **jobs, size_t count, size_t needed, uint32_t since, int64_t due)
{
	*watch = (struct watch){
		.await = {.waiters = watch->waiters, .count = count, .needed = needed, .due_mono_ms = due}};
	watch->await.wake = count_wake;
	for (size_t i = 0; i < count; i++)
		watch->waiters[i] = (struct waiter){.job = jobs[i], .since = since};
}

static void
change(struct awaits *awaits, struct job *job, enum job_state state)
{
	struct list woken;

	list_init(&woken);
	job_set_state(job, state);
	awaits_job_changed_locked(awaits, job, &woken);
	await_wake_all(&woken);
}

static void
expire(struct awaits *awaits, int64_t now)
{
	struct list woken;

	list_init(&woken);
	awaits_expire_locked(awaits, now, &woken);
	await_wake_all(&woken);
}

static size_t
list_length(const struct list *list)
{
	size_t length = 0;

	LIST_FOR_EACH(node, list)
		length++;
	return length;
}

static void
new_jobs(struct job **jobs)
{
	for (int i = 0; i < WATCHED; i++)
		jobs[i] = new_job("a.example", 80, 0);
}

static void
drop_jobs(struct job **jobs)
{
	for (int i = 0; i < WATCHED; i++) {
		ck_assert_uint_eq(list_length(&jobs[i]->waiters), 0);
		job_unref(jobs[i]);
	}
}

static const struct {
	const char *what;
	size_t count, needed;
	size_t wakes_after; /* this many ends */
} modes[] = {
	{"one", 1, 1, 1},
	{"any", 4, 1, 1},
	{"two", 4, 2, 2},
	{"three", 4, 3, 3},
	{"all", 4, 4, 4},
};

START_TEST(wakes_when_enough_are_done)
{
	struct awaits awaits;
	struct job *jobs[WATCHED];
	struct watch watch;

	awaits_init(&awaits, 10);
	new_jobs(jobs);
	watch_init(&watch, jobs, modes[_i].count, modes[_i].needed, AWAIT_DONE_ONLY, 1000);
	ck_assert_int_eq(await_begin_locked(&awaits, &watch.await), 0);
	ck_assert_uint_eq(awaits.count, 1);
	for (size_t i = 0; i < modes[_i].count; i++) {
		change(&awaits, jobs[i], JOB_running); /* not an end */
		ck_assert_int_eq(watch.woken, i >= modes[_i].wakes_after);
		change(&awaits, jobs[i], JOB_succeeded);
		ck_assert_msg(watch.woken == (i + 1 >= modes[_i].wakes_after), "%s: %d wakes after %zu ends",
			modes[_i].what, watch.woken, i + 1);
		if (watch.woken == 1)
			for (int k = 0; k < WATCHED; k++)
				ck_assert_uint_eq(list_length(&jobs[k]->waiters), 0);
	}
	ck_assert_int_eq(watch.await.end, AWAIT_WOKEN);
	ck_assert_uint_eq(awaits.count, 0);
	expire(&awaits, 2000);
	ck_assert_int_eq(watch.woken, 1);
	drop_jobs(jobs);
}
END_TEST

START_TEST(does_not_wait_for_the_past)
{
	struct awaits awaits;
	struct job *jobs[WATCHED];
	struct watch watch;

	awaits_init(&awaits, 10);
	new_jobs(jobs);
	for (int i = 0; i < 2; i++)
		change(&awaits, jobs[i], JOB_cancelled);
	jobs[2]->unkept = true; /* never was a job: it ends a wait, too */
	for (size_t needed = 1; needed <= 3; needed++) {
		watch_init(&watch, jobs, WATCHED, needed, AWAIT_DONE_ONLY, 1000);
		ck_assert_int_eq(await_begin_locked(&awaits, &watch.await), 1);
		ck_assert_int_eq(watch.await.end, AWAIT_WOKEN);
	}
	ck_assert_uint_eq(awaits.count, 0);
	watch_init(&watch, jobs, WATCHED, 4, AWAIT_DONE_ONLY, 1000);
	ck_assert_int_eq(await_begin_locked(&awaits, &watch.await), 0);
	change(&awaits, jobs[3], JOB_failed);
	ck_assert_int_eq(watch.woken, 1); /* the three that were there count */
	drop_jobs(jobs);
}
END_TEST

START_TEST(wakes_at_newer_versions)
{
	struct awaits awaits;
	struct job *jobs[WATCHED];
	struct watch watch;

	awaits_init(&awaits, 10);
	new_jobs(jobs);
	jobs[0]->version = 1;
	watch_init(&watch, jobs, 1, 1, 0, 1000);
	ck_assert_int_eq(await_begin_locked(&awaits, &watch.await), 1);
	watch_init(&watch, jobs, 1, 1, 2, 1000);
	ck_assert_int_eq(await_begin_locked(&awaits, &watch.await), 0);
	change(&awaits, jobs[0], JOB_running);
	ck_assert_uint_eq(jobs[0]->version, 2);
	ck_assert_int_eq(watch.woken, 0);
	change(&awaits, jobs[0], JOB_retrying);
	ck_assert_int_eq(watch.woken, 1);
	/* A done job ends a wait at once, whatever version was asked for. */
	watch_init(&watch, jobs, 1, 1, 1000, 1000);
	ck_assert_int_eq(await_begin_locked(&awaits, &watch.await), 0);
	change(&awaits, jobs[0], JOB_failed);
	ck_assert_int_eq(watch.woken, 1);
	drop_jobs(jobs);
}
END_TEST

/* Waits for a commit are many and short: they neither count nor are refused. */
START_TEST(bounds_the_waits)
{
	struct awaits awaits;
	struct job *jobs[WATCHED];
	struct watch watches[6];

	awaits_init(&awaits, 2);
	new_jobs(jobs);
	for (int i = 0; i < 6; i++) {
		watch_init(&watches[i], jobs, WATCHED, 1, AWAIT_DONE_ONLY, 1000 * (i + 1));
		watches[i].await.firm = i >= 3;
	}
	ck_assert_int_eq(await_begin_locked(&awaits, &watches[3].await), 0);
	ck_assert_int_eq(await_begin_locked(&awaits, &watches[4].await), 0);
	ck_assert_uint_eq(awaits.count, 0);
	ck_assert_int_eq(await_begin_locked(&awaits, &watches[0].await), 0);
	ck_assert_int_eq(await_begin_locked(&awaits, &watches[1].await), 0);
	ck_assert_int_eq(await_begin_locked(&awaits, &watches[2].await), -EAGAIN);
	ck_assert_uint_eq(list_length(&jobs[0]->waiters), 4);
	ck_assert_int_eq(await_begin_locked(&awaits, &watches[5].await), 0);
	ck_assert_uint_eq(awaits.count, 2);
	expire(&awaits, 1000);
	ck_assert_uint_eq(awaits.count, 1);
	ck_assert_int_eq(await_begin_locked(&awaits, &watches[2].await), 0);
	expire(&awaits, 4000); /* a firm one has its time as well, and gives no place back */
	ck_assert_int_eq(watches[3].woken, 1);
	ck_assert_int_eq(watches[3].await.end, AWAIT_TIMED_OUT);
	ck_assert_uint_eq(awaits.count, 0);
	change(&awaits, jobs[3], JOB_cancelled);
	for (int i = 0; i < 6; i++)
		ck_assert_int_eq(watches[i].woken, 1);
	ck_assert_uint_eq(awaits.count, 0);
	drop_jobs(jobs);
}
END_TEST

START_TEST(times_out_in_order)
{
	static const int64_t dues[] = {500, 100, 900, 300, 300, 700};
	struct awaits awaits;
	struct job *jobs[WATCHED];
	struct watch watches[COUNT(dues)];

	awaits_init(&awaits, 10);
	new_jobs(jobs);
	ck_assert(awaits_next_due_locked(&awaits) == INT64_MAX);
	for (int i = 0; i < COUNT(dues); i++) {
		watch_init(&watches[i], jobs, WATCHED, 2, AWAIT_DONE_ONLY, dues[i]);
		ck_assert_int_eq(await_begin_locked(&awaits, &watches[i].await), 0);
	}
	for (int64_t now = 0; now < 1000; now += 50) {
		int64_t next = INT64_MAX;
		expire(&awaits, now);
		for (int i = 0; i < COUNT(dues); i++) {
			ck_assert_msg(watches[i].woken == (dues[i] <= now), "%d wakes at %d, due at %d",
				watches[i].woken, (int)now, (int)dues[i]);
			if (watches[i].woken == 0 && dues[i] < next)
				next = dues[i];
			else if (watches[i].woken == 1)
				ck_assert_int_eq(watches[i].await.end, AWAIT_TIMED_OUT);
		}
		ck_assert_int_eq(awaits_next_due_locked(&awaits), next);
	}
	drop_jobs(jobs);
}
END_TEST

START_TEST(wakes_the_longest_overdue_first)
{
	static const int64_t dues[] = {500, 100, 900, 300};
	static const int wanted[] = {1, 3, 0, 2};
	struct awaits awaits;
	struct job *jobs[WATCHED];
	struct watch watches[COUNT(dues)];
	struct list woken;
	int place = 0;

	awaits_init(&awaits, 10);
	new_jobs(jobs);
	for (int i = 0; i < COUNT(dues); i++) {
		watch_init(&watches[i], jobs, 1, 1, AWAIT_DONE_ONLY, dues[i]);
		ck_assert_int_eq(await_begin_locked(&awaits, &watches[i].await), 0);
	}
	list_init(&woken);
	awaits_expire_locked(&awaits, 5000, &woken);
	LIST_FOR_EACH(node, &woken)
		ck_assert_ptr_eq(node, &watches[wanted[place++]].await.node);
	ck_assert_int_eq(place, COUNT(dues));
	await_wake_all(&woken);
	drop_jobs(jobs);
}
END_TEST

static void
shut(struct awaits *awaits, bool firm)
{
	struct list woken;

	list_init(&woken);
	awaits_shut_locked(awaits, firm, &woken);
	await_wake_all(&woken);
}

START_TEST(shuts)
{
	struct awaits awaits;
	struct job *jobs[WATCHED];
	struct watch watches[3], late;

	awaits_init(&awaits, 10);
	new_jobs(jobs);
	for (int i = 0; i < 3; i++) {
		watch_init(&watches[i], jobs, WATCHED, (size_t)i + 1, AWAIT_DONE_ONLY, 1000);
		ck_assert_int_eq(await_begin_locked(&awaits, &watches[i].await), 0);
	}
	shut(&awaits, false);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(watches[i].woken, 1);
		ck_assert_int_eq(watches[i].await.end, AWAIT_SHUT_DOWN);
	}
	watch_init(&late, jobs, WATCHED, 1, AWAIT_DONE_ONLY, 1000);
	ck_assert_int_eq(await_begin_locked(&awaits, &late.await), 1);
	ck_assert_int_eq(late.await.end, AWAIT_SHUT_DOWN);
	change(&awaits, jobs[0], JOB_cancelled);
	ck_assert_int_eq(await_begin_locked(&awaits, &late.await), 1);
	ck_assert_int_eq(late.await.end, AWAIT_WOKEN);
	ck_assert(awaits_next_due_locked(&awaits) == INT64_MAX);
	drop_jobs(jobs);
}
END_TEST

/* The first part of a shut-down leaves firm waits alone, old and new ones: what they wait for still comes. */
START_TEST(shuts_firm_waits_last)
{
	struct awaits awaits;
	struct job *jobs[WATCHED];
	struct watch plain, early, late, committed, never;

	awaits_init(&awaits, 10);
	new_jobs(jobs);
	watch_init(&plain, jobs, 1, 1, 0, 1000);
	watch_init(&early, jobs, 1, 1, 0, 1000);
	watch_init(&late, jobs, 1, 1, 0, 1000);
	watch_init(&committed, jobs + 1, 1, 1, 0, 1000);
	watch_init(&never, jobs, 1, 1, 0, 1000);
	early.await.firm = late.await.firm = committed.await.firm = never.await.firm = true;
	ck_assert_int_eq(await_begin_locked(&awaits, &plain.await), 0);
	ck_assert_int_eq(await_begin_locked(&awaits, &early.await), 0);
	ck_assert_int_eq(await_begin_locked(&awaits, &committed.await), 0);
	shut(&awaits, false);
	ck_assert_int_eq(plain.woken, 1);
	ck_assert_int_eq(plain.await.end, AWAIT_SHUT_DOWN);
	ck_assert_uint_eq(awaits.count, 0);
	ck_assert_int_eq(await_begin_locked(&awaits, &late.await), 0);
	ck_assert_int_eq(awaits_next_due_locked(&awaits), 1000);
	ck_assert_int_eq(early.woken + late.woken + committed.woken, 0);
	change(&awaits, jobs[1], JOB_running);
	ck_assert_int_eq(committed.woken, 1);
	ck_assert_int_eq(committed.await.end, AWAIT_WOKEN);
	shut(&awaits, true);
	shut(&awaits, false); /* which does not open it again */
	ck_assert_int_eq(early.woken, 1);
	ck_assert_int_eq(late.woken, 1);
	ck_assert_int_eq(early.await.end, AWAIT_SHUT_DOWN);
	ck_assert_int_eq(late.await.end, AWAIT_SHUT_DOWN);
	ck_assert_int_eq(await_begin_locked(&awaits, &never.await), 1);
	ck_assert_int_eq(never.await.end, AWAIT_SHUT_DOWN);
	ck_assert_int_eq(committed.woken, 1);
	ck_assert_uint_eq(awaits.count, 0);
	drop_jobs(jobs);
}
END_TEST

static void
decide_removal(struct awaits *awaits, struct job *job, enum job_removal removal)
{
	struct list woken;

	list_init(&woken);
	job->removal = removal;
	awaits_job_changed_locked(awaits, job, &woken);
	await_wake_all(&woken);
}

/* A removal is awaited beyond the job's end: neither that nor a newer version ends the wait. */
START_TEST(waits_for_removals)
{
	static const enum job_removal decisions[] = {JOB_GONE, JOB_WAS_GONE};
	struct awaits awaits;
	struct job *jobs[WATCHED];
	struct watch removal, end;

	awaits_init(&awaits, 10);
	new_jobs(jobs);
	for (int i = 0; i < COUNT(decisions); i++) {
		watch_init(&removal, &jobs[i], 1, 1, AWAIT_REMOVAL, 1000);
		watch_init(&end, &jobs[i], 1, 1, AWAIT_DONE_ONLY, 1000);
		ck_assert_int_eq(await_begin_locked(&awaits, &removal.await), 0);
		ck_assert_int_eq(await_begin_locked(&awaits, &end.await), 0);
		change(&awaits, jobs[i], JOB_cancelled);
		ck_assert_int_eq(end.woken, 1);
		ck_assert_int_eq(removal.woken, 0);
		decide_removal(&awaits, jobs[i], decisions[i]);
		ck_assert_int_eq(removal.woken, 1);
		ck_assert_int_eq(removal.await.end, AWAIT_WOKEN);
		watch_init(&removal, &jobs[i], 1, 1, AWAIT_REMOVAL, 1000);
		ck_assert_int_eq(await_begin_locked(&awaits, &removal.await), 1);
		ck_assert_int_eq(removal.await.end, AWAIT_WOKEN);
	}
	jobs[2]->unkept = true; /* nor that it never was a job */
	watch_init(&removal, &jobs[2], 1, 1, AWAIT_REMOVAL, 1000);
	ck_assert_int_eq(await_begin_locked(&awaits, &removal.await), 0);
	expire(&awaits, 1000);
	ck_assert_int_eq(removal.await.end, AWAIT_TIMED_OUT);
	drop_jobs(jobs);
}
END_TEST

/* Many awaits with overlapping jobs: each wakes once, when its own count is full, and hangs on no job after that. */
START_TEST(detaches_from_all_jobs)
{
	struct awaits awaits;
	struct job *jobs[WATCHED];
	struct watch watches[16];

	awaits_init(&awaits, 100);
	new_jobs(jobs);
	/* The bits of the index say which jobs are watched; any of them ends the wait. */
	for (unsigned i = 1; i < 16; i++) {
		struct job *some[WATCHED];
		size_t count = 0;
		for (unsigned k = 0; k < WATCHED; k++)
			if ((i & (1u << k)) != 0)
				some[count++] = jobs[k];
		watch_init(&watches[i], some, count, 1, AWAIT_DONE_ONLY, 1000);
		ck_assert_int_eq(await_begin_locked(&awaits, &watches[i].await), 0);
	}
	for (unsigned ended = 0, k = 0; k < WATCHED; k++) {
		ended |= 1u << k;
		change(&awaits, jobs[k], JOB_failed);
		for (unsigned i = 1; i < 16; i++)
			ck_assert_msg(watches[i].woken == ((i & ended) != 0), "%u after %u: %d wakes", i, ended,
				watches[i].woken);
		for (unsigned j = 0; j < WATCHED; j++)
			ck_assert_uint_eq(list_length(&jobs[j]->waiters), j <= k ? 0 : 8u >> (k + 1));
	}
	ck_assert_uint_eq(awaits.count, 0);
	drop_jobs(jobs);
}
END_TEST

/* ---- the table */

START_TEST(counts_admissions)
{
	struct table table;
	struct list woken;
	struct job *a = new_job("a.example", 80, 0), *b = new_job("a.example", 80, 0);

	list_init(&woken);
	table_init(&table, 2, 10);
	lock_take(&table.lock);
	ck_assert_int_eq(table_reserve_locked(&table), 0);
	ck_assert_int_eq(table_reserve_locked(&table), 0);
	ck_assert_int_eq(table_reserve_locked(&table), -EAGAIN);
	table_unreserve_locked(&table);
	ck_assert_int_eq(table_reserve_locked(&table), 0);
	ck_assert_int_eq(table_insert_locked(&table, a), 0);
	ck_assert_int_eq(table_insert_locked(&table, b), 0);
	ck_assert_uint_eq(table.counts[JOB_queued], 2);
	ck_assert_int_eq(table_reserve_locked(&table), -EAGAIN); /* queued jobs keep their places */
	table_move_locked(&table, a, JOB_running, &woken);
	ck_assert_uint_eq(table.admitted, 1);
	ck_assert_int_eq(table_reserve_locked(&table), 0);
	ck_assert_int_eq(table_reserve_locked(&table), -EAGAIN);
	table_move_locked(&table, a, JOB_retrying, &woken); /* which may pass the bound */
	ck_assert_uint_eq(table.admitted, 3);
	ck_assert_uint_eq(table.counts[JOB_retrying], 1);
	table_move_locked(&table, a, JOB_running, &woken);
	table_move_locked(&table, a, JOB_queued, &woken);
	ck_assert_uint_eq(table.admitted, 3);
	table_finish_locked(&table, a, JOB_cancelled, &woken);
	table_finish_locked(&table, b, JOB_failed, &woken);
	table_unreserve_locked(&table);
	ck_assert_uint_eq(table.admitted, 0);
	for (int i = 0; i < JOB_STATE_COUNT; i++)
		ck_assert_msg(table.counts[i] == 0, "%zu %s", table.counts[i], job_state_name((enum job_state)i));
	lock_drop(&table.lock);
	ck_assert(list_empty(&woken));
	job_unref(a);
	job_unref(b);
	table_release(&table);
}
END_TEST

START_TEST(finds_live_jobs)
{
	enum { JOBS = 500 };
	struct table table;
	struct list woken;
	struct job *jobs[JOBS];

	list_init(&woken);
	table_init(&table, JOBS, 10);
	lock_take(&table.lock);
	for (int i = 0; i < JOBS; i++) {
		jobs[i] = new_job("a.example", 80, 0);
		ck_assert_int_eq(table_reserve_locked(&table), 0);
		ck_assert_ptr_null(table_find_locked(&table, &jobs[i]->id));
		ck_assert_int_eq(table_insert_locked(&table, jobs[i]), 0);
		ck_assert_uint_eq(jobs[i]->references, 2);
	}
	for (int i = 0; i < JOBS; i += 2)
		table_finish_locked(&table, jobs[i], JOB_cancelled, &woken);
	for (int i = 0; i < JOBS; i++) {
		ck_assert_ptr_eq(table_find_locked(&table, &jobs[i]->id), i % 2 == 0 ? NULL : jobs[i]);
		job_unref(jobs[i]);
	}
	lock_drop(&table.lock);
	table_release(&table); /* which drops the others */
}
END_TEST

START_TEST(lists_what_runs)
{
	enum { JOBS = 6 };
	struct table table;
	struct list woken;
	struct job *jobs[JOBS], *running[JOBS + 1];

	list_init(&woken);
	table_init(&table, JOBS, 10);
	lock_take(&table.lock);
	ck_assert_uint_eq(table_running_locked(&table, running, JOBS), 0);
	for (int i = 0; i < JOBS; i++) {
		jobs[i] = new_job("a.example", 80, 0);
		if (i == 0)
			job_set_state(jobs[i], JOB_running); /* as one of an earlier life */
		else
			ck_assert_int_eq(table_reserve_locked(&table), 0);
		ck_assert_int_eq(table_insert_locked(&table, jobs[i]), 0);
	}
	for (int i = JOBS - 1; i > 0; i--)
		table_move_locked(&table, jobs[i], JOB_running, &woken);
	/* In the order in which they began, up to so many. */
	ck_assert_uint_eq(table_running_locked(&table, running, JOBS + 1), JOBS);
	for (int i = 0; i < JOBS; i++) {
		ck_assert_ptr_eq(running[i], jobs[(JOBS - i) % JOBS]);
		ck_assert_uint_eq(running[i]->references, 3);
		job_unref(running[i]);
	}
	ck_assert_uint_eq(table_running_locked(&table, running, 2), 2);
	job_unref(running[0]);
	job_unref(running[1]);
	ck_assert_uint_eq(table_running_locked(&table, running, 0), 0);
	/* Every way out of the state leads off the list; a job that runs again goes to its end. */
	table_move_locked(&table, jobs[5], JOB_queued, &woken);
	table_move_locked(&table, jobs[4], JOB_retrying, &woken);
	table_finish_locked(&table, jobs[3], JOB_succeeded, &woken);
	table_remove_locked(&table, jobs[2]);
	table_move_locked(&table, jobs[0], JOB_retrying, &woken);
	table_move_locked(&table, jobs[0], JOB_running, &woken);
	ck_assert_uint_eq(table_running_locked(&table, running, JOBS), 2);
	ck_assert_ptr_eq(running[0], jobs[1]);
	ck_assert_ptr_eq(running[1], jobs[0]);
	job_unref(running[0]);
	job_unref(running[1]);
	ck_assert_uint_eq(table.counts[JOB_running], 2);
	lock_drop(&table.lock);
	for (int i = 0; i < JOBS; i++)
		job_unref(jobs[i]);
	table_release(&table);
}
END_TEST

/* A job of an earlier life has its place even when the queue is full; one that could not be scheduled leaves as it came. */
START_TEST(readmits_and_takes_back)
{
	struct table table;
	struct list woken;
	struct job *old = new_job("a.example", 80, 0), *ran = new_job("a.example", 80, 0);

	list_init(&woken);
	job_set_state(ran, JOB_running);
	table_init(&table, 1, 10);
	lock_take(&table.lock);
	ck_assert_int_eq(table_reserve_locked(&table), 0);
	table_readmit_locked(&table, old);
	table_readmit_locked(&table, ran); /* which does not queue */
	ck_assert_uint_eq(table.admitted, 2);
	ck_assert_int_eq(table_insert_locked(&table, old), 0);
	ck_assert_int_eq(table_insert_locked(&table, ran), 0);
	table_move_locked(&table, ran, JOB_queued, &woken);
	ck_assert_uint_eq(table.admitted, 3);
	ck_assert_int_eq(table_reserve_locked(&table), -EAGAIN);
	table_remove_locked(&table, old);
	ck_assert_ptr_null(table_find_locked(&table, &old->id));
	ck_assert_uint_eq(table.counts[JOB_queued], 1);
	ck_assert_uint_eq(table.admitted, 3);
	ck_assert_uint_eq(old->references, 1);
	table_unreserve_locked(&table);
	table_finish_locked(&table, ran, JOB_failed, &woken);
	ck_assert_uint_eq(table.admitted, 1);
	lock_drop(&table.lock);
	job_unref(old);
	job_unref(ran);
	table_release(&table);
}
END_TEST

/* ---- awaits and threads */

enum { THREADS = 8, ROUNDS = 300 };

struct race {
	struct table table;
	struct job *jobs[ROUNDS];
	sem_t ready; /* a thread is about to begin its wait for the next job */
	atomic_int parked, late;
};

struct racer {
	struct race *race;
	struct await await;
	struct waiter waiter;
	sem_t wake;
	int wakes;
	pthread_t thread;
};

static void
await_semaphore(sem_t *semaphore)
{
	while (sem_wait(semaphore) != 0)
		ck_assert_int_eq(errno, EINTR);
}

static void
wake_racer(struct await *await)
{
	struct racer *racer = container_of(await, struct racer, await);

	racer->wakes++; /* not atomic: two wakes would be a race, which the thread sanitizer sees */
	sem_post(&racer->wake);
}

/* Waits for one job; tells whether it was parked for it. */
static bool
race_once(struct racer *racer, struct job *job)
{
	struct race *race = racer->race;

	racer->wakes = 0;
	racer->waiter = (struct waiter){.job = job, .since = AWAIT_DONE_ONLY};
	racer->await = (struct await){
		.waiters = &racer->waiter, .count = 1, .needed = 1, .due_mono_ms = INT64_MAX, .wake = wake_racer};
	sem_post(&race->ready);
	lock_take(&race->table.lock);
	int begun = await_begin_locked(&race->table.awaits, &racer->await);
	lock_drop(&race->table.lock);
	if (begun == 0)
		await_semaphore(&racer->wake);
	return begun == 0;
}

/* Check's assertions are for its own thread: what goes wrong here is counted, as a wake too many or too few. */
static void *
run_racer(void *context)
{
	struct racer *racer = context;
	struct race *race = racer->race;

	for (int round = 0; round < ROUNDS; round++) {
		bool parked = race_once(racer, race->jobs[round]);
		if (racer->wakes == parked && racer->await.end == AWAIT_WOKEN)
			atomic_fetch_add(parked ? &race->parked : &race->late, 1);
	}
	return NULL;
}

static void
finish_all(struct race *race)
{
	for (int round = 0; round < ROUNDS; round++) {
		struct list woken;

		list_init(&woken);
		for (int i = 0; i < THREADS; i++)
			await_semaphore(&race->ready);
		lock_take(&race->table.lock);
		table_finish_locked(&race->table, race->jobs[round], JOB_cancelled, &woken);
		lock_drop(&race->table.lock);
		await_wake_all(&woken);
	}
}

START_TEST(wakes_every_thread_once)
{
	static struct race race;
	struct racer racers[THREADS];

	memset(&race, 0, sizeof race);
	table_init(&race.table, ROUNDS, THREADS);
	ck_assert_int_eq(sem_init(&race.ready, 0, 0), 0);
	lock_take(&race.table.lock);
	for (int i = 0; i < ROUNDS; i++) {
		race.jobs[i] = new_job("a.example", 80, 0);
		ck_assert_int_eq(table_reserve_locked(&race.table), 0);
		ck_assert_int_eq(table_insert_locked(&race.table, race.jobs[i]), 0);
	}
	lock_drop(&race.table.lock);
	for (int i = 0; i < THREADS; i++) {
		racers[i] = (struct racer){.race = &race};
		ck_assert_int_eq(sem_init(&racers[i].wake, 0, 0), 0);
		ck_assert_int_eq(thread_start(&racers[i].thread, "racer", run_racer, &racers[i]), 0);
	}
	finish_all(&race);
	for (int i = 0; i < THREADS; i++) {
		thread_join(racers[i].thread);
		ck_assert_msg(sem_trywait(&racers[i].wake) != 0, "thread %d was woken once too often", i);
		sem_destroy(&racers[i].wake);
	}
	ck_assert_int_eq(race.parked + race.late, THREADS * ROUNDS);
	ck_assert_uint_eq(race.table.awaits.count, 0);
	for (int i = 0; i < ROUNDS; i++) {
		ck_assert_uint_eq(race.jobs[i]->references, 1);
		job_unref(race.jobs[i]);
	}
	sem_destroy(&race.ready);
	table_release(&race.table);
}
END_TEST

/* ---- the suites */

static TCase *
job_tests(void)
{
	TCase *tests = tcase_create("job");

	tcase_add_loop_test(tests, takes_legal_steps, 0, JOB_STATE_COUNT * JOB_STATE_COUNT);
	tcase_add_test(tests, names_states);
	tcase_add_test(tests, tells_retryable_errors);
	tcase_add_loop_test(tests, tells_repeatable_jobs, 0, COUNT(methods));
	tcase_add_test(tests, keeps_attempts_in_order);
	tcase_add_test(tests, finds_fields_and_tags);
	return tests;
}

static TCase *
scheduler_tests(void)
{
	TCase *tests = tcase_create("scheduler");

	tcase_add_loop_test(tests, keeps_limits_of_origins, 0, COUNT(limited));
	tcase_add_test(tests, keeps_the_total_limit);
	tcase_add_loop_test(tests, takes_in_order, 0, COUNT(orders));
	tcase_add_test(tests, gives_fair_turns);
	tcase_add_test(tests, keeps_cold_origins_at_home);
	tcase_add_test(tests, helps_hot_origins);
	tcase_add_test(tests, joins_wakes);
	tcase_add_test(tests, parks_until_run_at);
	tcase_add_loop_test(tests, ends_waits_in_time, 0, COUNT(waits));
	tcase_add_test(tests, ends_waits_in_order);
	tcase_add_test(tests, removes_anywhere);
	tcase_add_test(tests, removal_moves_the_origin);
	tcase_add_test(tests, forgets_idle_origins);
	tcase_add_test(tests, takes_over_limits);
	tcase_add_loop_test(tests, agrees_with_the_model, 0, 3);
	return tests;
}

static TCase *
await_tests(void)
{
	TCase *tests = tcase_create("await");

	tcase_add_loop_test(tests, wakes_when_enough_are_done, 0, COUNT(modes));
	tcase_add_test(tests, does_not_wait_for_the_past);
	tcase_add_test(tests, wakes_at_newer_versions);
	tcase_add_test(tests, bounds_the_waits);
	tcase_add_test(tests, times_out_in_order);
	tcase_add_test(tests, wakes_the_longest_overdue_first);
	tcase_add_test(tests, shuts);
	tcase_add_test(tests, shuts_firm_waits_last);
	tcase_add_test(tests, waits_for_removals);
	tcase_add_test(tests, detaches_from_all_jobs);
	tcase_add_test(tests, wakes_every_thread_once);
	return tests;
}

static TCase *
table_tests(void)
{
	TCase *tests = tcase_create("table");

	tcase_add_test(tests, counts_admissions);
	tcase_add_test(tests, finds_live_jobs);
	tcase_add_test(tests, lists_what_runs);
	tcase_add_test(tests, readmits_and_takes_back);
	return tests;
}

/* What ends in an abort needs a process of its own. */
static TCase *
abort_tests(void)
{
	TCase *tests = tcase_create("aborts");

#ifndef NDEBUG
	tcase_add_loop_test_raise_signal(tests, aborts_at_illegal_steps, SIGABRT, 0, JOB_STATE_COUNT * JOB_STATE_COUNT);
#endif
	return tests;
}

int
main(void)
{
	TCase *(*const groups[])(void) = {job_tests, scheduler_tests, await_tests, table_tests, abort_tests};
	Suite *suite = suite_create("core");
	SRunner *runner = srunner_create(suite);
	int count = srunner_fork_status(runner) == CK_FORK ? COUNT(groups) : COUNT(groups) - 1;

	for (int i = 0; i < count; i++) {
		TCase *tests = groups[i]();

		tcase_set_timeout(tests, 120); /* sanitizers on a busy machine */
		suite_add_tcase(suite, tests);
	}
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
