/* What the daemon does when memory or descriptors come to their end, and when the wall clock jumps. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "rig.h"

#include "nth.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define CEILING (4 << 20)
#define BODY_BYTES 100000

/* The run-time library of the sanitizer that this program and the daemon are built with: it has to be loaded first. */
static int
find_sanitizer(struct dl_phdr_info *loaded, size_t size, void *ret_path)
{
	(void)size;
	if (!strstr(loaded->dlpi_name, "/libasan.so") && !strstr(loaded->dlpi_name, "/libtsan.so"))
		return 0;
	*(const char **)ret_path = loaded->dlpi_name;
	return 1;
}

static double
memory_in_use(void)
{
	return metric("fetchpool_memory_bytes");
}

/* Submits jobs with large bodies until one is refused; gives how many were taken. */
static size_t
fill(const char *method)
{
	const char *body = repeated("x", BODY_BYTES);
	size_t count = 0;

	for (; count < 2 * CEILING / BODY_BYTES; count++) {
		struct client_reply *reply =
			post("/v1/jobs", "{'url':'%s','method':'%s','body':'%s','delay':'1h','tags':['fill']}",
				url("/echo"), method, body);

		if (reply->status == 202)
			continue;
		expect_problem(reply, 503, "null");
		expect(reply->json, "code", "'no_memory'");
		expect_header(reply, "retry-after", "1");
		break;
	}
	return count;
}

START_TEST(submissions_stop_at_the_ceiling_and_go_on_below_it)
{
	start_server("--max-memory", "4MiB");
	size_t count = fill("POST");

	expect_that(count > 10 && count * BODY_BYTES <= CEILING, "%zu jobs were taken", count);
	expect_that(memory_in_use() <= CEILING, "%f bytes are in use", memory_in_use());
	expect_that(metric("fetchpool_submissions_shed_total") >= 1, "the refusal is not counted");
	/* Reading goes on, and so do fetches that need little. */
	expect_status(get("/v1/jobs?limit=1"), 200);
	expect_status(post("/v1/jobs/cancel", "{'tag':'fill'}"), 200);
	expect_that(memory_in_use() < BODY_BYTES, "%f bytes are not given back", memory_in_use());
	expect(fetch(url("/text/5"), "'body':'%s','method':'POST'", repeated("y", BODY_BYTES)), "state", "'succeeded'");
}
END_TEST

START_TEST(responses_above_the_ceiling_go_to_files_and_all_jobs_end)
{
	enum { JOBS = 60 };
	json_t *jobs[JOBS];

	start_server("--max-memory", "1MiB", "--max-in-flight-per-origin", "60");
	for (size_t i = 0; i < JOBS; i++)
		jobs[i] = submit(url("/bytes/60000"), "");
	for (size_t i = 0; i < JOBS; i++) {
		json_t *job = job_done(jobs[i]);

		expect(job, "state", "'succeeded'");
		expect(job, "response.body_bytes", "60000");
		struct client_reply *reply = get("/v1/jobs/%s/body", id_of(job));
		expect_status(reply, 200);
		expect_that(reply->body.used == 60000 && !memcmp(reply->body.data, origin_pattern_of(60000), 60000),
			"the body is another");
	}
	expect_that(memory_in_use() < 65536, "%f bytes are not given back", memory_in_use());
}
END_TEST

START_TEST(what_was_taken_stays_taken_under_a_lower_ceiling)
{
	const char *dir = new_state_dir();
	struct server *server = start_server_on(dir, "--max-memory", "4MiB");
	size_t count = fill("PUT");

	end_server(server, SIGTERM);
	start_server_on(dir, "--max-memory", "1MiB");
	expect_that(memory_in_use() > 1 << 20, "%f bytes: they are not counted", memory_in_use());
	struct client_reply *reply = get("/v1/jobs?state=queued&limit=1000");
	expect_that(json_array_size(json_at(reply->json, "jobs")) == count, "some are lost");
	/* Nothing is in flight, so one may begin, and in the end all. */
	expect_problem(post("/v1/jobs", "{'url':'%s'}", url("/text/5")), 503, "null");
	expect_status(post("/v1/jobs/cancel", "{'tag':'fill'}"), 200);
	expect(fetch(url("/text/5"), ""), "state", "'succeeded'");
}
END_TEST

/* ---- descriptors */

/* Words for a daemon with nth.so in it, and the page to steer it by. */
static struct nth_page *
new_nth(const char **ret_preload, const char **ret_control)
{
	const char *top = getenv("top_builddir"), *sanitizer = "";
	char *library = realpath(text("%s/tests/nth.so", top ? top : "."), NULL);
	const char *control = file_with("nth", "");
	int fd = open(control, O_RDWR | O_CLOEXEC);
	struct nth_page *page;

	ck_assert_msg(library, "tests/nth.so is missing");
	ck_assert_msg(fd >= 0 && !ftruncate(fd, sizeof *page), "cannot make %s: %s", control, strerror(errno));
	page = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ck_assert_msg(page != MAP_FAILED, "cannot map %s: %s", control, strerror(errno));
	close(fd);
	dl_iterate_phdr(find_sanitizer, &sanitizer);
	*ret_preload = text("LD_PRELOAD=%s%s%s", sanitizer, *sanitizer ? " " : "", library);
	*ret_control = text("NTH_CONTROL=%s", control);
	free(library);
	return page;
}

static void
limit_descriptors(struct server *server, rlim_t soft)
{
	struct rlimit limit;

	ck_assert_int_eq(prlimit(server_pid(server), RLIMIT_NOFILE, NULL, &limit), 0);
	limit.rlim_cur = soft;
	ck_assert_int_eq(prlimit(server_pid(server), RLIMIT_NOFILE, &limit, NULL), 0);
}

static rlim_t
highest_descriptor(struct server *server)
{
	DIR *dir = opendir(text("/proc/%d/fd", (int)server_pid(server)));
	rlim_t highest = 0;

	ck_assert(dir);
	for (struct dirent *entry; (entry = readdir(dir));)
		if (strtoul(entry->d_name, NULL, 10) > highest)
			highest = strtoul(entry->d_name, NULL, 10);
	closedir(dir);
	return highest;
}

/* False when the connection ends instead of an answer. It stays open. */
static bool
is_served(struct client_wire *wire)
{
	static const char request[] = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";

	client_send(wire, request, sizeof request - 1);
	return rig_keep(client_receive(wire, false))->status == 200;
}

static struct client_reply *
limit_of(const char *name)
{
	struct client_reply *reply = get("/v1/info");

	expect_that(json_at(reply->json, text("limits.%s", name)) != NULL, "there is no limit %s", name);
	return reply;
}

START_TEST(what_descriptors_suffice_for_stays_as_configured)
{
	struct server *server = start_server("--max-connections", "500", "--max-in-flight", "400");

	expect(limit_of("max_connections")->json, "limits.max_connections", "500");
	expect(limit_of("max_in_flight")->json, "limits.max_in_flight", "400");
	expect_that(server_count_lines(server, "limit of open files") == 0, "it warns of what is enough");
}
END_TEST

START_TEST(too_few_descriptors_are_shared_out_and_told_once)
{
	struct server *server = start_server("--max-connections", "900000", "--max-in-flight", "900000");
	json_t *limits = json_at(get("/v1/info")->json, "limits");
	json_int_t connections = json_int_at(limits, "max_connections"), fetches = json_int_at(limits, "max_in_flight");
	struct rlimit limit;

	ck_assert_int_eq(prlimit(server_pid(server), RLIMIT_NOFILE, NULL, &limit), 0);
	if (limit.rlim_cur > 2000000)
		return; /* there are enough */
	expect_that(connections > 0 && fetches > 0 && (rlim_t)(connections + fetches) < limit.rlim_cur,
		"%lld connections and %lld fetches with %llu descriptors", (long long)connections, (long long)fetches,
		(unsigned long long)limit.rlim_cur);
	expect_that(server_count_lines(server, "limit of open files") == 1, "it is not told once");
	server_signal(server, SIGHUP);
	expect_that(await_metric("fetchpool_reloads_total", 1), "it does not reload");
	expect_that(server_count_lines(server, "max-in-flight") == 1, "the reload complains of it");
	expect(get("/v1/info")->json, "limits.max_in_flight", "%lld", (long long)fetches);
}
END_TEST

START_TEST(clients_without_a_descriptor_are_turned_away_and_nothing_spins)
{
	enum { CLIENTS = 40 };
	const char *preload, *control;
	struct nth_page *page = new_nth(&preload, &control);
	struct server *server = start_server_on(new_state_dir(), preload, control, "--front-threads", "1", "--store",
		"memory", "--keepalive-timeout", "1h"); /* nothing of the server's own comes or goes */

	expect_status(get("/livez"), 200);
	limit_descriptors(server, highest_descriptor(server) + 1);
	while (is_served(open_wire()))
		; /* until all below the limit are taken */
	uint64_t accepts = page->accepts, waits = page->waits;
	/* The server may close files of its own meanwhile: for each one more finds room. */
	for (size_t turned_away = 0, served = 0; turned_away < CLIENTS;) {
		if (!is_served(open_wire()))
			turned_away++;
		else
			expect_that(++served <= 64, "clients are not turned away");
	}
	accepts = page->accepts - accepts;
	waits = page->waits - waits;
	expect_that(accepts <= 12 * CLIENTS && waits <= 40 * CLIENTS,
		"%llu accepts and %llu waits for %d clients: it spins", (unsigned long long)accepts,
		(unsigned long long)waits, CLIENTS);
	limit_descriptors(server, 10000);
	expect_status(get("/livez"), 200);
	expect_that(metric("fetchpool_connections_refused_total") >= CLIENTS, "they are not counted");
	expect(fetch(url("/text/5"), ""), "state", "'succeeded'");
}
END_TEST

START_TEST(fetches_without_a_descriptor_fail_and_can_be_made_again)
{
	struct server *server = start_server("--front-threads", "1");
	struct client_wire *wire = open_wire();

	expect_status(get("/livez"), 200);
	expect(fetch(url("/text/5"), ""), "state", "'succeeded'");
	wire_get(wire, "/livez");
	expect_status(wire_receive(wire), 200);
	limit_descriptors(server, 3);
	const char *body = jtext("{'url':'%s','timeout':'5s'}", url_on(another_origin(), "/text/5"));
	wire_send(wire,
		"POST /v1/jobs?wait=10s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
		"Content-Length: %zu\r\n\r\n%s",
		strlen(body), body);
	struct client_reply *reply = wire_receive(wire);
	limit_descriptors(server, 10000);
	expect_status(reply, 200);
	expect_failed(reply->json, "connect_failed", "connect");
	expect(reply->json, "error.retryable", "true");
	expect(fetch(url("/text/5"), ""), "state", "'succeeded'");
}
END_TEST

/* ---- the wall clock */

#define DAY_MS (INT64_C(24) * 3600 * 1000)

static const int64_t jumps[] = {DAY_MS, -DAY_MS, 400 * DAY_MS, -400 * DAY_MS};

START_TEST(a_jump_of_the_wall_clock_moves_no_time_out)
{
	const char *preload, *control;
	struct nth_page *page = new_nth(&preload, &control);
	const char *hold = new_key(), *stores[] = {"sqlite", "memory"};

	start_server_on(new_state_dir(), preload, control, "--store", stores[_i % 2]);
	json_t *kept = fetch(url("/text/5"), "'ttl':'1h'");
	json_t *held = submit(url("/hold?k=%s", hold),
		"'timeout':'30s','connect_timeout':'30s','first_byte_timeout':'30s','deadline':'1h'");
	json_t *later = submit_later("'deadline':'3h'");
	json_t *soon = submit(url("/text/3"), "'delay':'500ms'");
	struct call *call = call_start("GET", text("/v1/jobs/%s?wait=30s", id_of(held)), NULL);

	await_seen(hold);
	expect_that(await_metric("fetchpool_waiters", 1), "nobody waits");
	atomic_store(&page->wall_offset_ms, jumps[_i]);
	/* The housekeeper has looked at it all once a job with a delay has run, and expiry once another has ended. */
	expect(job_done(soon), "state", "'succeeded'");
	expect(fetch(url("/text/6"), "'ttl':'2h'"), "state", "'succeeded'");
	expect(job_now(later), "state", "'queued'");
	expect(job_now(held), "state", "'running'");
	expect(job_now(kept), "state", "'succeeded'");
	expect_that(metric("fetchpool_waiters") == 1, "the wait has ended");
	expect_that(metric("fetchpool_jobs_expired_total") == 0, "something has expired");
	/* And back. */
	atomic_store(&page->wall_offset_ms, 0);
	expect(fetch(url("/text/7"), "'timeout':'30s'"), "state", "'succeeded'");
	expect(job_now(kept), "state", "'succeeded'");
	origin_release(the_origin, hold);
	struct client_reply *reply = call_end(call);
	expect_status(reply, 200);
	expect(reply->json, "state", "'succeeded'");
}
END_TEST

START_TEST(time_outs_end_after_a_jump_as_before_it)
{
	const char *preload, *control;
	struct nth_page *page = new_nth(&preload, &control);

	start_server_on(new_state_dir(), preload, control);
	json_t *held = submit(url("/hold?k=%s", new_key()), "'timeout':'700ms'");
	json_t *late = submit_later("'deadline':'800ms'");

	atomic_store(&page->wall_offset_ms, jumps[_i]);
	expect_failed(job_done(held), "timeout", NULL);
	expect_failed(job_done(late), "deadline_exceeded", NULL);
	json_t *cut = submit(url("/hold?k=%s", new_key()), "'timeout':'30s'");
	job_in_state(cut, "running");
	atomic_store(&page->wall_offset_ms, -jumps[_i]);
	expect_status(poke("/v1/jobs/%s/cancel", id_of(cut)), 200);
	json_int_t total = json_int_at(job_now(cut), "attempts.0.timings_ms.total");
	expect_that(total >= 0 && total < 30000, "the attempt took %lld ms", (long long)total);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("resources");

	TCase *memory = rig_case(suite, "memory", NULL);
	tcase_add_test(memory, submissions_stop_at_the_ceiling_and_go_on_below_it);
	tcase_add_test(memory, responses_above_the_ceiling_go_to_files_and_all_jobs_end);
	tcase_add_test(memory, what_was_taken_stays_taken_under_a_lower_ceiling);
	TCase *descriptors = rig_case(suite, "descriptors", NULL);
	tcase_add_test(descriptors, what_descriptors_suffice_for_stays_as_configured);
	tcase_add_test(descriptors, too_few_descriptors_are_shared_out_and_told_once);
	tcase_add_test(descriptors, clients_without_a_descriptor_are_turned_away_and_nothing_spins);
	tcase_add_test(descriptors, fetches_without_a_descriptor_fail_and_can_be_made_again);
	TCase *clock = rig_case(suite, "clock", NULL);
	tcase_add_loop_test(clock, a_jump_of_the_wall_clock_moves_no_time_out, 0, COUNT_OF(jumps));
	tcase_add_loop_test(clock, time_outs_end_after_a_jump_as_before_it, 0, 2);
	return rig_run(suite);
}
