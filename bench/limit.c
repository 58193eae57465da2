/*
 * What bare libcurl can do here: GETs by curl_multi_socket_action under libev, on kept-alive connections, nothing else.
 * What fetchpool drains is read against this.
 *
 *	limit [--threads N] [--in-flight N] [--requests N] URL...
 *
 * Each thread has a loop, a multi handle and its share of the requests; a handle that is done is used again at once, for
 * the next URL in turn. Prints one line of JSON.
 */
#include "common.h"

#include <curl/curl.h>
#include <errno.h>
#include <ev.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_THREADS 64
#define LONGEST_S 300 /* a run that takes longer hangs */

struct runner {
	pthread_t thread;
	char **urls;
	size_t url_count, next_url;
	size_t in_flight, requests; /* this thread's share */
	struct ev_loop *loop;
	struct ev_timer timer, give_up;
	CURLM *multi;
	size_t started, finished, errors;
	int64_t bytes;
	int64_t begin_us, end_us;
};

/* One socket of curl's. */
struct watch {
	struct ev_io io;
	struct runner *runner;
};

static pthread_barrier_t ready;

static size_t
take_body(char *data, size_t size, size_t count, void *argument)
{
	struct runner *runner = argument;

	(void)data;
	runner->bytes += (int64_t)(size * count);
	return size * count;
}

static void
start_one(struct runner *runner, CURL *easy)
{
	curl_easy_setopt(easy, CURLOPT_URL, runner->urls[runner->next_url++ % runner->url_count]);
	if (curl_multi_add_handle(runner->multi, easy) != CURLM_OK)
		bench_die("curl_multi_add_handle");
	runner->started++;
}

/* Takes in what is done and starts as many again. Called when curl is not on the stack. */
static void
reap(struct runner *runner)
{
	CURLMsg *message;
	int left;

	while ((message = curl_multi_info_read(runner->multi, &left)) != NULL) {
		CURL *easy = message->easy_handle;
		long status = 0;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
		if (message->data.result != CURLE_OK || status != 200)
			runner->errors++;
		runner->finished++;
		curl_multi_remove_handle(runner->multi, easy);
		if (runner->started < runner->requests)
			start_one(runner, easy);
		else
			curl_easy_cleanup(easy);
	}
	if (runner->finished == runner->requests)
		ev_break(runner->loop, EVBREAK_ALL);
}

static void
act(struct runner *runner, curl_socket_t socket, int events)
{
	int running;

	curl_multi_socket_action(runner->multi, socket, events, &running);
	reap(runner);
}

static void
on_socket(struct ev_loop *loop, struct ev_io *io, int events)
{
	struct watch *watch = (struct watch *)io;

	(void)loop;
	act(watch->runner, io->fd,
		(events & EV_READ ? CURL_CSELECT_IN : 0) | (events & EV_WRITE ? CURL_CSELECT_OUT : 0));
}

static void
on_timer(struct ev_loop *loop, struct ev_timer *timer, int events)
{
	(void)loop;
	(void)events;
	act(timer->data, CURL_SOCKET_TIMEOUT, 0);
}

static void
on_give_up(struct ev_loop *loop, struct ev_timer *timer, int events)
{
	struct runner *runner = timer->data;

	(void)loop;
	(void)events;
	errno = 0;
	bench_die("%zu of %zu requests are not done after %d s", runner->requests - runner->finished, runner->requests,
		LONGEST_S);
}

static int
curl_wants_socket(CURL *easy, curl_socket_t socket, int what, void *argument, void *socket_argument)
{
	struct runner *runner = argument;
	struct watch *watch = socket_argument;

	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		if (watch != NULL) {
			ev_io_stop(runner->loop, &watch->io);
			free(watch);
			curl_multi_assign(runner->multi, socket, NULL);
		}
		return 0;
	}
	if (watch == NULL) {
		watch = calloc(1, sizeof *watch);
		if (watch == NULL)
			bench_die("a socket");
		watch->runner = runner;
		ev_init(&watch->io, on_socket);
		curl_multi_assign(runner->multi, socket, watch);
	} else {
		ev_io_stop(runner->loop, &watch->io);
	}
	ev_io_set(&watch->io, socket, (what & CURL_POLL_IN ? EV_READ : 0) | (what & CURL_POLL_OUT ? EV_WRITE : 0));
	ev_io_start(runner->loop, &watch->io);
	return 0;
}

static int
curl_wants_timer(CURLM *multi, long timeout_ms, void *argument)
{
	struct runner *runner = argument;

	(void)multi;
	ev_timer_stop(runner->loop, &runner->timer);
	if (timeout_ms >= 0) {
		ev_timer_set(&runner->timer, (double)timeout_ms / 1000, 0);
		ev_timer_start(runner->loop, &runner->timer);
	}
	return 0;
}

static CURL *
make_easy(struct runner *runner)
{
	CURL *easy = curl_easy_init();

	if (easy == NULL)
		bench_die("curl_easy_init");
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_DNS_CACHE_TIMEOUT, -1L);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, 60000L);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, runner);
	return easy;
}

static void *
run(void *argument)
{
	struct runner *runner = argument;

	runner->loop = ev_loop_new(EVFLAG_AUTO);
	runner->multi = curl_multi_init();
	if (runner->loop == NULL || runner->multi == NULL)
		bench_die("a loop");
	ev_init(&runner->timer, on_timer);
	runner->timer.data = runner;
	ev_timer_init(&runner->give_up, on_give_up, LONGEST_S, 0);
	runner->give_up.data = runner;
	curl_multi_setopt(runner->multi, CURLMOPT_SOCKETFUNCTION, curl_wants_socket);
	curl_multi_setopt(runner->multi, CURLMOPT_SOCKETDATA, runner);
	curl_multi_setopt(runner->multi, CURLMOPT_TIMERFUNCTION, curl_wants_timer);
	curl_multi_setopt(runner->multi, CURLMOPT_TIMERDATA, runner);
	curl_multi_setopt(runner->multi, CURLMOPT_MAXCONNECTS, (long)(2 * runner->in_flight));

	pthread_barrier_wait(&ready);
	runner->begin_us = bench_now_us();
	ev_timer_start(runner->loop, &runner->give_up);
	for (size_t i = 0; i < runner->in_flight && i < runner->requests; i++)
		start_one(runner, make_easy(runner));
	ev_run(runner->loop, 0);
	runner->end_us = bench_now_us();
	curl_multi_cleanup(runner->multi);
	ev_loop_destroy(runner->loop);
	return NULL;
}

static void
print_report(const struct runner *runners, size_t count)
{
	int64_t begin_us = runners[0].begin_us, end_us = runners[0].end_us, bytes = 0;
	size_t finished = 0, errors = 0;
	double seconds;

	for (size_t i = 0; i < count; i++) {
		begin_us = runners[i].begin_us < begin_us ? runners[i].begin_us : begin_us;
		end_us = runners[i].end_us > end_us ? runners[i].end_us : end_us;
		finished += runners[i].finished;
		errors += runners[i].errors;
		bytes += runners[i].bytes;
	}
	seconds = (double)(end_us - begin_us) / 1e6;
	printf("{\"answers\":%zu,\"errors\":%zu,\"bytes\":%lld,\"seconds\":%.6f,\"per_second\":%.1f}\n",
		finished - errors, errors, (long long)bytes, seconds, (double)(finished - errors) / seconds);
}

int
main(int argc, char **argv)
{
	static struct runner runners[MAX_THREADS];
	size_t threads = 1, in_flight = 100, requests = 20000, errors = 0;
	int at = 1;

	for (; at + 1 < argc && strncmp(argv[at], "--", 2) == 0; at += 2) {
		if (strcmp(argv[at], "--threads") == 0)
			threads = (size_t)bench_number(argv[at], argv[at + 1], 1, MAX_THREADS);
		else if (strcmp(argv[at], "--in-flight") == 0)
			in_flight = (size_t)bench_number(argv[at], argv[at + 1], 1, 20000);
		else if (strcmp(argv[at], "--requests") == 0)
			requests = (size_t)bench_number(argv[at], argv[at + 1], 1, 50000000);
		else
			bench_die("unknown option %s", argv[at]);
	}
	if (at == argc || requests < threads || in_flight < threads)
		bench_die("usage: limit [--threads N] [--in-flight N] [--requests N] URL...");
	bench_raise_descriptors();
	curl_global_init(CURL_GLOBAL_ALL);
	bench_must(pthread_barrier_init(&ready, NULL, (unsigned)threads), "pthread_barrier_init");
	for (size_t i = 0; i < threads; i++) {
		runners[i].urls = argv + at;
		runners[i].url_count = (size_t)(argc - at);
		runners[i].next_url = i;
		runners[i].in_flight = in_flight / threads;
		runners[i].requests = requests / threads;
		bench_must(pthread_create(&runners[i].thread, NULL, run, &runners[i]), "pthread_create");
	}
	for (size_t i = 0; i < threads; i++) {
		bench_must(pthread_join(runners[i].thread, NULL), "pthread_join");
		errors += runners[i].errors;
	}
	print_report(runners, threads);
	return errors > 0;
}
