/*
 * Loss of power: is what was acknowledged on the disk? The daemon runs on a disk that is written down; power.h makes of it
 * what would be left at any point, and a new daemon is asked what it knows. Points and losses are drawn by
 * $FETCHPOOL_TEST_SEED, else by a fixed number.
 */
#include "power.h"
#include "rig.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define POINTS 10
#define LARGE_BYTES 100000
#define NEVER SIZE_MAX

/* ---- the tools themselves: this program, run as "scribble DIR", is what they work on */

static int
scribble_file(const char *path, char what, size_t count, int how)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC | how, 0600);
	char block[1000];

	memset(block, what, sizeof block);
	return fd >= 0 && write(fd, block, count) == (ssize_t)count ? fd : -1;
}

static int
scribble_sync_folder(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), failed = fd < 0 || fsync(fd);

	close(fd);
	return failed;
}

/* What is below "full" fails with half a write. Returns 0, or which step went otherwise than the test arranged. */
static int
scribble(const char *dir)
{
	int fd;

	if (chdir(dir) || mkdir("sub", 0700))
		return 1;
	fd = scribble_file("sub/one.part", 'a', 1000, O_CREAT);
	if (fd < 0 || fsync(fd) || rename("sub/one.part", "sub/one") || scribble_sync_folder("sub") ||
		scribble_sync_folder("."))
		return 2;
	if (write(fd, "bbbb", 4) != 4 || close(fd)) /* not synced */
		return 3;
	fd = scribble_file("two", 'c', 1000, O_CREAT);
	if (fd < 0 || fdatasync(fd) || close(fd)) /* its name is not */
		return 4;
	fd = open("full", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, "12345678", 8) != 4 || write(fd, "5678", 4) != -1 || errno != ENOSPC || fsync(fd))
		return 5;
	return close(fd) || unlink("full") ? 6 : 0;
}

static void
run_scribble(struct disk *disk)
{
	const char *binary = getenv("FETCHPOOL_BINARY"), *kept = binary ? text("%s", binary) : NULL;
	const struct server_run *run;

	setenv("FETCHPOOL_BINARY", "/proc/self/exe", 1);
	run = run_server(ON_DISK(disk), "scribble", disk->state_dir);
	if (kept)
		setenv("FETCHPOOL_BINARY", kept, 1);
	else
		unsetenv("FETCHPOOL_BINARY");
	expect_that(run->status == 0, "step %d failed: %s", run->status, run->err);
	expect_that(atomic_load(&disk->page->loaded) == 1, "fault.so was not loaded");
}

/* What is in the file; NULL when it is not there. */
static const char *
content_of(const char *dir, const char *name, size_t *ret_size)
{
	int fd = open(text("%s/%s", dir, name), O_RDONLY | O_CLOEXEC);
	char *content = (char *)(uintptr_t)repeated(" ", 4096);
	ssize_t size = fd < 0 ? -1 : read(fd, content, 4096);

	if (fd >= 0)
		close(fd);
	*ret_size = size < 0 ? 0 : (size_t)size;
	return size < 0 ? NULL : content;
}

START_TEST(replays_keep_what_was_synced)
{
	struct disk *disk = new_written_disk();
	struct power_journal *journal;
	size_t one_size, two_size;
	unsigned ones_longer = 0, twos = 0;

	disk_fails(disk, .calls = FAULT_WRITE, .path = "/full$", .error = ENOSPC, .half = true);
	run_scribble(disk);
	journal = power_open(disk->journal);
	expect_that(power_count(journal) == disk_written(disk), "%zu records, not %zu", power_count(journal),
		disk_written(disk));
	for (uint64_t chance = 0; chance < 50; chance++) {
		const char *dir = new_state_dir(), *one, *two;

		power_replay(journal, power_count(journal), chance, dir);
		one = content_of(dir, "sub/one", &one_size);
		two = content_of(dir, "two", &two_size);
		expect_that(one && one_size >= 1000 && !memcmp(one, repeated("a", 1000), 1000),
			"%d: a synced file is lost", (int)chance);
		expect_that(access(text("%s/sub/one.part", dir), F_OK), "%d: the old name is left", (int)chance);
		expect_that(!two || two_size == 1000, "%d: synced bytes are lost", (int)chance);
		expect_that(chance || (one_size == 1000 && !two), "what was not synced is kept");
		ones_longer += one_size > 1000;
		twos += two != NULL;
	}
	expect_that(ones_longer > 5 && ones_longer < 45 && twos > 5 && twos < 45, "chance keeps %u and %u of 50",
		ones_longer, twos);
	power_close(journal);
}
END_TEST

START_TEST(replays_end_where_the_power_went)
{
	struct disk *disk = new_written_disk();
	struct power_journal *journal;
	size_t size;

	disk_fails(disk, .calls = FAULT_WRITE, .path = "/full$", .error = ENOSPC, .half = true);
	run_scribble(disk);
	journal = power_open(disk->journal);
	for (size_t count = 0; count <= power_count(journal); count++) {
		const char *dir = new_state_dir(), *one;

		power_replay(journal, count, 0, dir);
		one = content_of(dir, "sub/one", &size);
		/* mkdir, create, write, sync, rename, sync of "sub": the seventh syncs "." */
		expect_that((one != NULL) == (count >= 7), "after %zu records the file is %s", count,
			one ? "there" : "not there");
		expect_that(!one || size == 1000, "after %zu records it has %zu bytes", count, size);
	}
	power_close(journal);
}
END_TEST

/* ---- what the daemon promised, and after how many records */

struct promise {
	const char *id;
	size_t taken;       /* the 202 was there */
	size_t sent, ended; /* the origin had seen the request; the end was seen. NEVER: not */
	size_t removed;     /* the 204 was there */
	json_t *end;        /* the finished job */
	const char *held;   /* the key of a POST that the origin holds */
	size_t seen_before; /* by the origin, of that key, when the daemon was started anew */
	size_t large;       /* the body's size, when it is in a file */
};

struct book {
	struct promise list[200];
	size_t count;
	struct disk *disk;
};

static struct promise *
note_taken(struct book *book, const json_t *job)
{
	struct promise *promise = &book->list[book->count++];

	expect_that(book->count < COUNT_OF(book->list), "too many promises");
	*promise = (struct promise){
		.id = id_of(job), .taken = disk_written(book->disk), .sent = NEVER, .ended = NEVER, .removed = NEVER};
	return promise;
}

static void
note_end(struct book *book, struct promise *promise)
{
	promise->end = get("/v1/jobs/%s?wait=25s", promise->id)->json;
	promise->ended = disk_written(book->disk);
	expect(promise->end, "done", "true");
}

/* One job of each kind; those that end do so while the next are submitted. */
static void
promise_some(struct book *book)
{
	const char *key = new_key();
	struct promise *later, *held, *removed, *large, *first = &book->list[book->count];

	note_taken(book, submit(url("/text/500"), "'tags':['a'],'meta':{'n':1}"));
	note_taken(book, submit(url("/echo"), "'method':'POST','body':'once'"));
	large = note_taken(book, submit(url("/bytes/%d", LARGE_BYTES), ""));
	large->large = LARGE_BYTES;
	note_taken(book, submit(url("/text/60000"), ""));
	note_taken(book, submit(url("/close"), ""));
	removed = note_taken(book, submit(url("/bytes/%d", LARGE_BYTES), ""));
	held = note_taken(book, submit(url("/hold?k=%s", key), "'method':'POST','body':'never twice'"));
	held->held = key;
	await_seen(key);
	held->sent = disk_written(book->disk);
	for (struct promise *promise = first; promise < held; promise++)
		note_end(book, promise);
	expect_status(del("/v1/jobs/%s", removed->id), 204);
	removed->removed = disk_written(book->disk);
	later = note_taken(book, submit_later(""));
	poke("/v1/jobs/%s/cancel", later->id);
	note_end(book, later);
	note_taken(book, submit_later(""));
}

static uint64_t
seed(void)
{
	const char *given = getenv("FETCHPOOL_TEST_SEED");

	return given ? strtoull(given, NULL, 10) : 20260131;
}

/* Every other point is just where something was promised; the others lie anywhere. */
static size_t
point_of(const struct book *book, size_t total, size_t nth)
{
	const struct promise *promise = &book->list[(nth * 7919 + seed()) % book->count];
	const size_t moments[] = {promise->ended, promise->taken, promise->sent, promise->removed};
	size_t first = book->list[0].taken, moment = moments[nth / 2 % COUNT_OF(moments)];

	if (nth % 2)
		return first + (size_t)((nth * 0x9e3779b97f4a7c15u + seed()) % (total - first));
	return moment == NEVER ? promise->taken : moment;
}

/* ---- what is left of it */

static const char *
wrong_end(const struct promise *promise, const json_t *now)
{
	const char *was = dumped(promise->end);
	struct client_reply *body;

	if (!json_equal(promise->end, now))
		return text("it was %s and is %s", was, dumped(now));
	if (!promise->large)
		return NULL;
	body = get("/v1/jobs/%s/body", promise->id);
	if (body->status != 200 || body->body.used != promise->large ||
		memcmp(body->body.data, origin_pattern_of(promise->large), promise->large) != 0)
		return text("its body is lost: status %d, %zu bytes", body->status, body->body.used);
	return NULL;
}

/* A POST that the origin had seen is told as unknown, and the origin sees it no more. */
static const char *
wrong_sent(const struct promise *promise)
{
	const json_t *job = get("/v1/jobs/%s?wait=25s", promise->id)->json;
	size_t seen = origin_count(the_origin, promise->held) - promise->seen_before;

	return seen == 0 ? wrong_failure(job, "outcome_unknown", NULL) : "it was sent once more";
}

/* One that it had not seen may be sent; then the origin has to see it now, not while the next daemon is asked. */
static const char *
let_be_sent(const struct promise *promise)
{
	const json_t *job = get("/v1/jobs/%s", promise->id)->json;

	if (!strcmp(json_text_at(job, "state"), "queued"))
		job = get("/v1/jobs/%s?wait=20s&since=%d", promise->id, (int)json_int_at(job, "version"))->json;
	if (json_true_at(job, "done"))
		return NULL;
	if (strcmp(json_text_at(job, "state"), "running") != 0)
		return text("it is not started: %s", dumped(job));
	return origin_await_seen(the_origin, promise->held, promise->seen_before) ? NULL : "it is not sent";
}

static const char *
wrong_promise(const struct promise *promise, size_t point)
{
	struct client_reply *reply = get("/v1/jobs/%s", promise->id);

	if (point >= promise->removed)
		return reply->status == 404 ? NULL : text("it was removed, and answers %d", reply->status);
	if (promise->removed != NEVER && reply->status == 404)
		return NULL; /* the removal may have come as far as the disk */
	if (point >= promise->taken && reply->status != 200)
		return text("it is gone: status %d", reply->status);
	if (point >= promise->ended)
		return wrong_end(promise, reply->json);
	if (promise->held && point >= promise->sent)
		return wrong_sent(promise);
	return promise->held && reply->status == 200 ? let_be_sent(promise) : NULL;
}

/* Every file is of a job that is known. */
static const char *
wrong_files(const char *dir)
{
	DIR *bodies = opendir(text("%s/bodies", dir));
	const char *wrong = bodies ? NULL : "there are no bodies";
	struct dirent *entry;

	while (bodies && !wrong && (entry = readdir(bodies)))
		if (*entry->d_name != '.' && get("/v1/jobs/%.36s", entry->d_name)->status != 200)
			wrong = text("bodies/%s is of no job", entry->d_name);
	if (bodies)
		closedir(bodies);
	return wrong;
}

static void
expect_kept(struct book *book, size_t point, uint64_t chance, const char *dir)
{
	const struct server_run *check = run_server("--check-store", "--state-dir", dir);
	struct server *server;
	const char *wrong;

	expect_that(check->status == 0, "point %zu, chance %llu: --check-store gives %d: %s%s", point,
		(unsigned long long)chance, check->status, check->out, check->err);
	for (size_t i = 0; i < book->count; i++)
		book->list[i].seen_before = book->list[i].held ? origin_count(the_origin, book->list[i].held) : 0;
	server = start_server_on(dir, NULL);
	for (size_t i = 0; i < book->count; i++) {
		wrong = wrong_promise(&book->list[i], point);
		expect_that(!wrong, "point %zu, chance %llu, job %zu: %s", point, (unsigned long long)chance, i, wrong);
	}
	wrong = wrong_files(dir);
	expect_that(!wrong, "point %zu, chance %llu: %s", point, (unsigned long long)chance, wrong);
	end_server(server, SIGKILL);
}

static struct book *
run_and_kill(void)
{
	static struct book book;
	struct disk *disk = new_written_disk();
	struct server *server = start_server_on(disk->state_dir, ON_DISK(disk), "--log-level", "info");

	expect_that(atomic_load(&disk->page->loaded) == 1, "fault.so was not loaded");
	book = (struct book){.disk = disk};
	for (size_t i = 0; i < 5; i++)
		promise_some(&book);
	end_server(server, SIGKILL);
	return &book;
}

static void
lose_power(uint64_t chance_of_all)
{
	struct book *book = run_and_kill();
	struct power_journal *journal = power_open(book->disk->journal);

	for (size_t nth = 0; nth < POINTS; nth++) {
		size_t point = point_of(book, power_count(journal), nth);
		uint64_t chance = chance_of_all ? chance_of_all + nth : 0;
		const char *dir = new_state_dir();

		power_replay(journal, point, chance, dir);
		expect_kept(book, point, chance, dir);
	}
	power_close(journal);
}

START_TEST(what_was_acknowledged_is_synced)
{
	lose_power(0);
}
END_TEST

START_TEST(what_was_not_synced_does_no_harm)
{
	lose_power(seed() + 1);
}
END_TEST

/* A directory that the daemon makes itself has to last, too, with those above it. */
START_TEST(a_new_directory_is_synced)
{
	struct disk *disk = new_written_disk();
	const char *inner = text("%s/deep/state", disk->state_dir), *dir = new_state_dir();
	struct power_journal *journal;
	struct server *server;
	struct stat is;
	json_t *job;
	size_t point;

	server = start_server_on(inner, ON_DISK(disk), "--log-level", "info");
	job = submit_later("");
	point = disk_written(disk);
	end_server(server, SIGKILL);
	journal = power_open(disk->journal);
	power_replay(journal, point, 0, dir);
	power_close(journal);
	expect_that(!stat(text("%s/deep/state/ledger.db", dir), &is), "the directory is lost");
	start_server_on(text("%s/deep/state", dir), NULL);
	expect(job_now(job), "state", "'queued'");
}
END_TEST

/* ---- nothing is told before it is synced: the sync is held up, and nothing comes */

static struct server *
start_on(struct disk *disk)
{
	return start_server_on(disk->state_dir, ON_DISK(disk), "--log-level", "info");
}

START_TEST(a_202_waits_for_the_sync)
{
	struct disk *disk = new_disk();
	struct client_wire *wire;
	struct fault_rule *rule;
	const char *spec = jtext("{'url':'%s','delay':'1h'}", url("/echo"));

	start_on(disk);
	wire = open_wire();
	rule = disk_fails(disk, .calls = FAULT_SYNC, .path = "ledger.db-wal", .hold = true);
	wire_send(wire,
		"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
		strlen(spec), spec);
	await_hits(rule, 1);
	expect_that(client_is_quiet(wire), "it is acknowledged before it is synced");
	disk_heal(disk);
	expect_status(wire_receive(wire), 202);
}
END_TEST

START_TEST(an_end_waits_for_the_sync)
{
	struct disk *disk = new_disk();
	const char *key = new_key();
	struct client_wire *wire;
	struct fault_rule *rule;
	json_t *job;

	start_on(disk);
	wire = open_wire();
	job = submit(url("/hold?k=%s", key), "");
	await_seen(key);
	wire_get(wire, "/v1/jobs/%s?wait=25s", id_of(job));
	rule = disk_fails(disk, .calls = FAULT_SYNC, .path = "ledger.db-wal", .hold = true);
	origin_release(the_origin, key);
	await_hits(rule, 1);
	expect(job_now(job), "done", "false");
	expect_that(client_is_quiet(wire), "the end is told before it is synced");
	disk_heal(disk);
	expect(wire_receive(wire)->json, "state", "'succeeded'");
}
END_TEST

/* The start of a POST is on the disk before its first byte leaves. */
START_TEST(a_post_waits_for_the_sync_of_its_start)
{
	struct disk *disk = new_disk();
	struct origin *origin;
	struct fault_rule *rule;
	const char *key = new_key();
	json_t *job;

	start_on(disk);
	origin = the_origin;
	job = submit(url("/echo?k=%s", key), "'method':'POST','body':'x','delay':'300ms'");
	rule = disk_fails(disk, .calls = FAULT_SYNC, .path = "ledger.db-wal", .hold = true);
	await_hits(rule, 1);
	expect_that(origin_count(origin, key) == 0, "it is sent before its start is synced");
	disk_heal(disk);
	expect(job_done(job), "state", "'succeeded'");
	expect_that(origin_count(origin, key) == 1, "it was sent %zu times", origin_count(origin, key));
}
END_TEST

/* The bytes are synced, then the name, then the row. */
START_TEST(a_large_body_is_synced_before_the_row)
{
	struct disk *disk = new_disk();
	struct fault_rule *bytes, *name;
	json_t *job;

	start_on(disk);
	bytes = disk_fails(disk, .calls = FAULT_SYNC, .path = ".part$", .hold = true);
	name = disk_fails(disk, .calls = FAULT_SYNC, .path = "/bodies$", .hold = true);
	job = submit(url("/bytes/%d", LARGE_BYTES), "");
	await_hits(bytes, 1);
	expect(job_now(job), "done", "false");
	expect_that(access(text("%s/bodies/%s", disk->state_dir, id_of(job)), F_OK), "it is moved before it is synced");
	rule_end(bytes);
	await_hits(name, 1);
	expect(job_now(job), "done", "false");
	expect_that(!access(text("%s/bodies/%s", disk->state_dir, id_of(job)), F_OK), "it is not moved");
	rule_end(name);
	expect(job_done(job), "state", "'succeeded'");
}
END_TEST

static void
add_tools(TCase *tcase)
{
	tcase_add_test(tcase, replays_keep_what_was_synced);
	tcase_add_test(tcase, replays_end_where_the_power_went);
}

static void
add_order(TCase *tcase)
{
	tcase_add_test(tcase, a_202_waits_for_the_sync);
	tcase_add_test(tcase, an_end_waits_for_the_sync);
	tcase_add_test(tcase, a_post_waits_for_the_sync_of_its_start);
	tcase_add_test(tcase, a_large_body_is_synced_before_the_row);
}

static void
add_loss(TCase *tcase)
{
	tcase_add_test(tcase, what_was_acknowledged_is_synced);
	tcase_add_test(tcase, what_was_not_synced_does_no_harm);
	tcase_add_test(tcase, a_new_directory_is_synced);
}

int
main(int argc, char **argv)
{
	Suite *suite;

	if (argc == 3 && !strcmp(argv[1], "scribble"))
		return scribble(argv[2]);
	suite = suite_create("power");
	add_tools(rig_case(suite, "the tools", NULL));
	add_order(rig_case(suite, "order", NULL));
	add_loss(rig_case(suite, "loss of power", NULL));
	return rig_run(suite);
}
