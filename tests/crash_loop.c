/* The rounds; see crash.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "crash.h"

#include "crash_line.h"
#include "crash_list.h"
#include "crash_load.h"
#include "crash_read.h"
#include "crash_shot.h"
#include "rig.h"
#include "server.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_WORDS 48
/* An origin finds a request by walking through all that it has seen: so there is a new one now and then. */
#define ROUNDS_OF_ORIGIN 8
#define KILL_EARLIEST_MS 20
#define KILL_LATEST_MS 600
#define ACKNOWLEDGED_MOST 120 /* when a kill comes with the nth acknowledgement */
#define STARTING_LATEST_MS 40
/* With SIGTERM alone no round leaves the daemon to itself: so some see that all goes on before the load begins. */
#define READ_ON_ONE_OF 4
#define DRAIN_MS 100
#define DRAIN_TIMEOUT "100ms"
/* Behind its --drain-timeout a daemon has answers to send (a second at most), and a last commit to make. */
#define DRAIN_LATE_MS 5000
#define KILLED_AT_START "exit status 137:" /* as server_start tells of it */

/* How a round ends: all from WAY_KILL on are kills under load. */
enum crash_way { WAY_STARTING, WAY_IDLE, WAY_DRAIN, WAY_KILL, WAYS = 10 };

struct loop {
	const struct crash_plan *plan;
	struct crash_report *report;
	struct crash_book *book;
	struct crash_random random;
	char state_dir[512];
	bool store_checked;
	bool drained; /* the daemon before */
	struct server *server;
	struct watched_origin *origins;
	size_t origin_count;
};

/* The connection is kept: an origin must close none while we fork, for its epoll would go on telling of the child's copy. */
struct watched_origin {
	struct origin *origin;
	struct crash_line line;
};

/* ---- the daemon */

static const struct client_address *
address_of(const struct loop *loop)
{
	return server_address(loop->server);
}

static unsigned
ms_since(int64_t begun)
{
	return (unsigned)(mono_ms() - begun);
}

static void
keep_slowest(unsigned *slowest, int64_t begun)
{
	unsigned taken = ms_since(begun);

	if (taken > *slowest)
		*slowest = taken;
}

static bool
await_ready(struct loop *loop)
{
	int64_t until = mono_ms() + SERVER_PATIENCE_MS;
	struct crash_line line;
	int status;

	crash_line_init(&line, address_of(loop));
	do {
		struct client_reply *reply = crash_line_call(&line, "GET", "/readyz", NULL);

		status = reply->status;
		client_reply_free(reply);
	} while (status != 200 && mono_ms() < until);
	crash_line_close(&line);
	return status == 200;
}

static struct server *
launch(struct loop *loop, char **ret_said)
{
	const char *words[MAX_WORDS] = {"--state-dir", loop->state_dir, "--drain-timeout", DRAIN_TIMEOUT};
	const char *const *options = loop->plan->options;

	for (size_t i = 4; options && *options && i + 1 < MAX_WORDS; i++)
		words[i] = *options++;
	return server_start(words, ret_said);
}

static bool
start_daemon(struct loop *loop)
{
	int64_t begun = mono_ms();
	char *said = NULL;

	loop->server = launch(loop, &said);
	if (!loop->server) {
		crash_book_complain(loop->book, CRASH_ODD, "the daemon does not start: %s", said);
		free(said);
		return false;
	}
	if (!await_ready(loop))
		crash_book_complain(loop->book, CRASH_ODD, "the daemon does not become ready");
	keep_slowest(&loop->report->slowest_ready_ms, begun);
	return true;
}

/* Ends it, and sees that it ends as it is meant to. */
static void
end_daemon(struct loop *loop, int signal, int expected)
{
	int status = server_stop(loop->server, signal);
	const char *report = server_sanitizer_report(loop->server);

	if (status != expected) {
		char *said = server_said(loop->server);

		crash_book_complain(
			loop->book, CRASH_ODD, "the daemon ended with status %d, not %d: %s", status, expected, said);
		free(said);
	}
	if (report)
		crash_book_complain(loop->book, CRASH_ODD, "the daemon said: %.3000s", report);
	server_free(loop->server);
	loop->server = NULL;
}

static void
check_store(struct loop *loop)
{
	int64_t begun = mono_ms();
	struct server_run *run;

	if (!loop->store_checked)
		return;
	run = server_run((const char *const[]){SERVER_BARE, "--check-store", "--state-dir", loop->state_dir, NULL});
	if (run->status != 0)
		crash_book_complain(loop->book, CRASH_ODD, "--check-store ends with status %d: %s%s", run->status,
			run->out, run->err);
	server_run_free(run);
	keep_slowest(&loop->report->slowest_check_ms, begun);
}

/* ---- a round */

static void
add_origin(struct loop *loop)
{
	struct watched_origin *added;
	struct client_address address = {0};

	loop->origins = realloc(loop->origins, (loop->origin_count + 1) * sizeof *added);
	if (!loop->origins)
		abort();
	added = &loop->origins[loop->origin_count++];
	added->origin = origin_start(0);
	if (!added->origin)
		abort();
	address.port = origin_port(added->origin);
	crash_line_init(&added->line, &address);
}

static struct origin *
origin_of_round(struct loop *loop, unsigned round)
{
	while (loop->origin_count <= round / ROUNDS_OF_ORIGIN)
		add_origin(loop);
	return loop->origins[round / ROUNDS_OF_ORIGIN].origin;
}

/* What the dead daemon sent is in the logs once the origins have answered something that came later. */
static void
let_origins_catch_up(struct loop *loop)
{
	for (size_t i = 0; i < loop->origin_count; i++)
		client_reply_free(crash_line_call(&loop->origins[i].line, "GET", "/text/1?k=caught-up", NULL));
}

static void
stop_origins(struct loop *loop)
{
	while (loop->origin_count) {
		struct watched_origin *last = &loop->origins[--loop->origin_count];

		crash_line_close(&last->line);
		origin_stop(last->origin);
	}
	free(loop->origins);
}

/* After a random time, or with a random acknowledgement, if that comes first. */
static void
await_moment(struct loop *loop)
{
	bool by_count = crash_random_below(&loop->random, 2);
	unsigned span = KILL_LATEST_MS - KILL_EARLIEST_MS;
	unsigned count = 1 + crash_random_below(&loop->random, ACKNOWLEDGED_MOST);
	unsigned delay = KILL_EARLIEST_MS + crash_random_below(&loop->random, span);

	crash_book_await(loop->book, by_count ? count : SIZE_MAX, mono_ms() + delay);
}

static void
kill_daemon(struct loop *loop)
{
	crash_book_end_begins(loop->book);
	end_daemon(loop, SIGKILL, 128 + SIGKILL);
}

/* Under load, too: what runs is put back, but for what must not be sent twice. */
static void
drain_daemon(struct loop *loop)
{
	int64_t begun = mono_ms();

	crash_book_end_begins(loop->book);
	end_daemon(loop, SIGTERM, 0);
	if (ms_since(begun) > DRAIN_MS + DRAIN_LATE_MS)
		crash_book_complain(loop->book, CRASH_ODD, "the end took %u ms, with --drain-timeout " DRAIN_TIMEOUT,
			ms_since(begun));
	keep_slowest(&loop->report->slowest_drain_ms, begun);
}

static void
end_under_load(struct loop *loop, unsigned round, void (*end)(struct loop *))
{
	struct crash_load *load;

	crash_read_some(loop->book, address_of(loop), &loop->random);
	if (loop->plan->terminate && !crash_random_below(&loop->random, READ_ON_ONE_OF))
		crash_read_on(loop->book, address_of(loop));
	load = crash_load_start(
		loop->book, address_of(loop), origin_of_round(loop, round), crash_random_next(&loop->random), 0);
	await_moment(loop);
	end(loop);
	crash_load_end(load);
}

/* Without load, what it found must go on all the same. */
static void
kill_idle(struct loop *loop)
{
	crash_read_some(loop->book, address_of(loop), &loop->random);
	crash_read_on(loop->book, address_of(loop));
	kill_daemon(loop);
}

/* While it still takes up what it found, before it listens or right behind that. */
static bool
kill_starting(struct loop *loop)
{
	struct crash_shot shot;
	char *said = NULL;
	bool hit;

	crash_book_end_begins(loop->book);
	crash_shot_start(&shot, crash_random_below(&loop->random, STARTING_LATEST_MS));
	loop->server = launch(loop, &said);
	hit = crash_shot_end(&shot);
	if (loop->server)
		end_daemon(loop, SIGKILL, 128 + SIGKILL);
	else if (!hit || strncmp(said, KILLED_AT_START, strlen(KILLED_AT_START)) != 0)
		crash_book_complain(loop->book, CRASH_ODD, "the daemon does not start, unharmed: %s", said);
	free(said);
	return true;
}

/* The daemon that follows a drain finds nothing that was running, and so nothing else sets jobs going: it is left alone. */
static enum crash_way
choose_way(struct loop *loop, unsigned round)
{
	enum crash_way way = crash_random_below(&loop->random, WAYS);

	if (loop->plan->terminate)
		return WAY_DRAIN;
	if (!round)
		return WAY_KILL;
	if (loop->drained && way != WAY_STARTING)
		way = WAY_IDLE;
	loop->drained = way == WAY_DRAIN || (loop->drained && way == WAY_STARTING);
	return way;
}

/* False when the daemon does not start. */
static bool
live_a_round(struct loop *loop, enum crash_way way, unsigned round)
{
	if (way == WAY_STARTING)
		return kill_starting(loop);
	if (!start_daemon(loop))
		return false;
	if (way == WAY_IDLE)
		kill_idle(loop);
	else
		end_under_load(loop, round, way == WAY_DRAIN ? drain_daemon : kill_daemon);
	return true;
}

static bool
run_round(struct loop *loop, unsigned round)
{
	static const enum crash_end ends[WAYS] = {
		[WAY_STARTING] = CRASH_EARLY, [WAY_DRAIN] = CRASH_DRAINED}; /* else CRASH_AT_WORK */
	enum crash_way way = choose_way(loop, round);
	int64_t begun = mono_ms();

	if (!live_a_round(loop, way, round))
		return false;
	crash_book_ended(loop->book, ends[way]);
	let_origins_catch_up(loop);
	check_store(loop);
	loop->report->rounds++;
	loop->report->drained += way == WAY_DRAIN;
	keep_slowest(&loop->report->slowest_round_ms, begun);
	return true;
}

/* ---- the end */

/* Everything runs to its end; then the daemon ends in order, and once more all must be as it was. */
static void
run_end(struct loop *loop)
{
	if (!start_daemon(loop))
		return;
	crash_read_all(loop->book, address_of(loop));
	crash_read_to_the_end(loop->book, address_of(loop));
	end_daemon(loop, SIGTERM, 0);
	check_store(loop);
	if (!start_daemon(loop))
		return;
	crash_read_all(loop->book, address_of(loop));
	crash_list_all(loop->book, address_of(loop));
	if (loop->store_checked)
		crash_read_files(loop->book, address_of(loop), loop->state_dir);
	end_daemon(loop, SIGTERM, 0);
}

static bool
has_word(const char *const *words, const char *word)
{
	for (; words && *words; words++)
		if (!strcmp(*words, word))
			return true;
	return false;
}

/* A daemon without a store, or told to use none, has nothing to check. */
static bool
store_can_be_checked(const struct crash_plan *plan)
{
	struct server_run *run = server_run((const char *const[]){SERVER_BARE, "--help", NULL});
	bool offered = run->status == 0 && strstr(run->out, "--check-store");

	server_run_free(run);
	return offered && !has_word(plan->options, "memory");
}

static void
choose_state_dir(struct loop *loop)
{
	static unsigned count;

	if (loop->plan->state_dir)
		snprintf(loop->state_dir, sizeof loop->state_dir, "%s", loop->plan->state_dir);
	else
		snprintf(loop->state_dir, sizeof loop->state_dir, "%s/crash-%u.state", server_directory(), ++count);
}

void
crash_run(const struct crash_plan *plan, struct crash_report *ret_report)
{
	struct loop loop = {.plan = plan, .report = ret_report, .random = {plan->seed}};
	bool going = true;

	*ret_report = (struct crash_report){0};
	choose_state_dir(&loop);
	loop.book = crash_book_new(plan->seed, plan->quiet);
	loop.store_checked = store_can_be_checked(plan);
	for (unsigned round = 0; going && round < plan->rounds; round++)
		going = run_round(&loop, round);
	if (going)
		run_end(&loop);
	server_free(loop.server);
	crash_book_report(loop.book, ret_report);
	crash_book_free(loop.book);
	stop_origins(&loop);
}

size_t
crash_fault_count(const struct crash_report *report)
{
	size_t count = 0;

	for (size_t i = 0; i < CRASH_FAULTS; i++)
		count += report->faults[i];
	return count;
}

void
crash_print(const struct crash_plan *plan, const struct crash_report *report)
{
	printf("crash: %u rounds (%u ended by SIGTERM), seed %llu: %zu acknowledged, %zu finished, %zu removed; "
	       "%zu lost, %zu changed, "
	       "%zu sent twice, %zu odd; %zu outcome_unknown, %zu poisoned; slowest ready %u ms, round %u ms, "
	       "check of the store %u ms",
		report->rounds, report->drained, (unsigned long long)plan->seed, report->acknowledged, report->finished,
		report->removed, report->faults[CRASH_LOST], report->faults[CRASH_CHANGED],
		report->faults[CRASH_RESENT], report->faults[CRASH_ODD], report->outcome_unknown, report->poisoned,
		report->slowest_ready_ms, report->slowest_round_ms, report->slowest_check_ms);
	if (report->drained)
		printf(", end by SIGTERM %u ms", report->slowest_drain_ms);
	if (report->kinds_refused)
		printf("; %u kinds of jobs are not built (501)", report->kinds_refused);
	putchar('\n');
	fflush(stdout);
}
