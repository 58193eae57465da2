/* Disks that are full, broken, read-only, or hold something else than they should; what a start makes of what it finds. */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LARGE_BYTES 100000
#define PAGE_BYTES 8192

static struct server *
start_on(struct disk *disk)
{
	struct server *server = start_server_on(disk->state_dir, ON_DISK(disk), "--log-level", "info");

	expect_that(atomic_load(&disk->page->loaded) == 1, "fault.so was not loaded");
	return server;
}

/* ---- what was acknowledged */

struct ids {
	const char *list[400];
	size_t count;
};

static void
note(struct ids *ids, const char *id)
{
	expect_that(ids->count < COUNT_OF(ids->list), "too many jobs");
	ids->list[ids->count++] = id;
}

static size_t
jobs_listed(void)
{
	json_t *page = get("/v1/jobs?limit=1000")->json;

	return json_array_size(json_at(page, "jobs"));
}

/* Killed or dead, and started anew without faults: all of them are there, and nothing else. */
static void
expect_kept_on(const char *state_dir, const struct ids *ids)
{
	start_server_on(state_dir, NULL);
	for (size_t i = 0; i < ids->count; i++)
		expect_that(get("/v1/jobs/%s", ids->list[i])->status == 200,
			"job %zu of %zu was acknowledged and is lost", i, ids->count);
}

/* ---- the disk is full */

static const struct {
	int error;
	bool half;
} full[] = {{ENOSPC, false}, {ENOSPC, true}, {EDQUOT, false}};

static struct fault_rule *
fill(struct disk *disk, int i)
{
	return disk_fails(
		disk, .calls = FAULT_GROWTH, .path = "/ledger.db", .error = full[i].error, .half = full[i].half);
}

static void
expect_no_room(void)
{
	struct client_reply *reply = post("/v1/jobs", "{'url':'%s','delay':'1h'}", url("/echo"));

	expect_problem(reply, 503, NULL);
	expect_that(client_field(reply, "retry-after"), "no Retry-After");
}

static void
expect_said_once(struct server *server)
{
	expect_that(server_await_line(server, "disk is full"), "it does not say that the disk is full");
	expect_that(server_count_lines(server, "disk is full") == 1, "it says more than once that the disk is full: %s",
		said_by(server));
}

START_TEST(a_full_disk_takes_no_jobs)
{
	struct disk *disk = new_disk();
	struct server *server = start_on(disk);
	struct ids ids = {0};
	const char *key = new_key(), *why;
	json_t *job = submit(url("/hold?k=%s", key), "");

	note(&ids, id_of(job));
	await_seen(key);
	fill(disk, _i);
	for (size_t i = 0; i < 20; i++)
		expect_no_room();
	origin_release(the_origin, key);
	expect_that(origin_await_end(the_origin, await_seen(key)) == ORIGIN_ANSWERED, "the origin was left");
	expect_that(await_status("/readyz", 503), "/readyz stays %d", get("/readyz")->status);
	why = get("/readyz?verbose")->body.data;
	expect_that(strstr(why, "disk is full"), "/readyz?verbose does not tell: %s", why);
	expect_status(get("/livez"), 200);
	expect(job_now(job), "done", "false");
	for (size_t i = 0; i < 20; i++)
		expect_no_room();
	expect_said_once(server);

	disk_heal(disk);
	expect(job_done(job), "state", "'succeeded'");
	expect_that(await_status("/readyz", 200), "/readyz stays %d", get("/readyz")->status);
	for (size_t i = 0; i < 20; i++)
		note(&ids, id_of(submit_later("")));
	expect_that(jobs_listed() == ids.count, "%zu jobs are listed, not %zu", jobs_listed(), ids.count);
	end_server(server, SIGKILL);
	expect_kept_on(disk->state_dir, &ids);
	expect(job_now(job), "state", "'succeeded'");
	expect_that(jobs_listed() == ids.count, "%zu jobs are listed, not %zu", jobs_listed(), ids.count);
}
END_TEST

/* Clients go on asking, and nothing is held that would be tried again: still it is said once. */
START_TEST(a_full_disk_is_said_once)
{
	struct disk *disk = new_disk();
	struct server *server = start_on(disk);
	int64_t until = mono_ms() + 1500;

	fill(disk, 0);
	while (mono_ms() < until)
		expect_no_room();
	expect_said_once(server);
	expect_that(server_count_lines(server, "again") == 0, "it says that there is room: %s", said_by(server));
	disk_heal(disk);
	expect_that(await_status("/readyz", 200), "/readyz stays %d", get("/readyz")->status);
	submit_later("");
}
END_TEST

/* Whether a write failed or not: each answer of 202 holds. */
START_TEST(a_disk_that_is_full_at_times)
{
	struct disk *disk = new_disk();
	struct server *server = start_on(disk);
	struct ids ids = {0};
	struct client_reply *reply;
	size_t refused = 0;

	for (size_t i = 0; i < 6; i++) {
		disk_fails(disk, .calls = FAULT_GROWTH, .path = "/ledger.db-wal", .error = ENOSPC,
			.skip = (uint32_t)(2 * i), .times = 3, .half = i % 2);
		for (size_t n = 0; n < 8; n++) {
			reply = post("/v1/jobs", "{'url':'%s'}", url("/text/100"));
			expect_that(reply->status == 202 || reply->status == 503, "status %d", reply->status);
			refused += reply->status == 503;
			if (reply->status == 202)
				note(&ids, id_of(reply->json));
		}
		disk_heal(disk);
		expect_that(await_status("/readyz", 200), "/readyz stays %d", get("/readyz")->status);
	}
	expect_that(refused > 0, "no write failed");
	for (size_t i = 0; i < ids.count; i++)
		expect_that(json_true_at(get("/v1/jobs/%s?wait=25s", ids.list[i])->json, "done"),
			"job %zu does not end", i);
	end_server(server, SIGKILL);
	expect_kept_on(disk->state_dir, &ids);
	expect_that(jobs_listed() == ids.count, "%zu jobs are listed, not %zu", jobs_listed(), ids.count);
	for (size_t i = 0; i < ids.count; i++)
		expect(get("/v1/jobs/%s", ids.list[i])->json, "state", "'succeeded'");
}
END_TEST

/* ---- no room for a large body: its job fails, and nothing else */

static const struct {
	unsigned calls;
	const char *path;
	int error;
	bool half;
} body_faults[] = {
	{FAULT_CREATE, "/bodies/", ENOSPC, false},
	{FAULT_WRITE, "/bodies/", ENOSPC, false},
	{FAULT_WRITE, "/bodies/", ENOSPC, true},
	{FAULT_WRITE, "/bodies/", EDQUOT, false},
	{FAULT_WRITE, "/bodies/", EIO, false},
	{FAULT_RENAME, ".part$", ENOSPC, false},
};

static struct fault_rule *
fail_at(struct disk *disk, unsigned calls, const char *path, int error, bool half)
{
	struct fault_rule order = {.calls = calls, .error = error, .half = half};

	snprintf(order.path, sizeof order.path, "%s", path);
	return disk_fails_by(disk, &order);
}

START_TEST(no_room_for_a_body_fails_its_job)
{
	struct disk *disk = new_disk();
	struct server *server = start_on(disk);
	json_t *job, *other;

	fail_at(disk, body_faults[_i].calls, body_faults[_i].path, body_faults[_i].error, body_faults[_i].half);
	job = fetch(url("/bytes/%d", LARGE_BYTES), "");
	expect_failed(job, "internal", NULL);
	other = fetch(url("/text/1000"), "");
	expect(other, "state", "'succeeded'");
	expect_status(get("/readyz"), 200);
	expect_that(access(text("%s/bodies/%s", disk->state_dir, id_of(job)), F_OK) &&
			access(text("%s/bodies/%s.part", disk->state_dir, id_of(job)), F_OK),
		"the file is left");
	disk_heal(disk);
	expect(fetch(url("/bytes/%d", LARGE_BYTES), ""), "state", "'succeeded'");
	end_server(server, SIGKILL);
	start_server_on(disk->state_dir, NULL);
	expect(job_now(job), "state", "'failed'");
	expect(job_now(other), "state", "'succeeded'");
}
END_TEST

/* ---- the disk is broken: better no daemon than one that promises what it cannot keep */

static void
submit_one(const char *state)
{
	(void)state;
	post("/v1/jobs", "{'url':'%s','delay':'1h'}", url("/echo"));
}

static void
fetch_large(const char *state)
{
	(void)state;
	post("/v1/jobs", "{'url':'%s'}", url("/bytes/%d", LARGE_BYTES));
}

/* Fills the log until it has to be brought over. */
static void
submit_much(const char *state)
{
	const char *body = repeated("x", 1 << 20);

	(void)state;
	for (size_t i = 0; i < 40; i++)
		if (post("/v1/jobs", "{'url':'%s','delay':'1h','method':'POST','body':'%s'}", url("/echo"), body)
				->status != 202)
			return;
}

static const struct {
	unsigned calls;
	const char *path; /* of the rule */
	const char *name; /* that is told */
	void (*provoke)(const char *state);
} broken[] = {
	{FAULT_WRITE, "/ledger.db-wal$", "ledger.db", submit_one},
	{FAULT_SYNC, "/ledger.db-wal$", "ledger.db", submit_one},
	{FAULT_WRITE, "/ledger.db$", "ledger.db", submit_much},
	{FAULT_SYNC, "/ledger.db$", "ledger.db", submit_much},
	{FAULT_SYNC, ".part$", "bodies/", fetch_large},
	{FAULT_RENAME, ".part$", "bodies/", fetch_large},
	{FAULT_SYNC, "/bodies$", "bodies", fetch_large},
};

START_TEST(a_broken_disk_ends_the_daemon)
{
	struct disk *disk = new_disk();
	struct server *server = start_on(disk);
	struct ids ids = {0};
	json_t *done = fetch(url("/bytes/%d", LARGE_BYTES), "");
	const char *said;

	note(&ids, id_of(done));
	for (size_t i = 0; i < 10; i++)
		note(&ids, id_of(submit_later("")));
	fail_at(disk, broken[_i].calls, broken[_i].path, EIO, false);
	broken[_i].provoke(disk->state_dir);
	expect_that(server_await_line(server, "so the server ends"), "nothing is said of it: %s", said_by(server));
	said = text("%s", said_by(server));
	expect_that(server_count_lines(server, broken[_i].name) > 0, "the file is not named: %s", said);
	expect_that(strstr(said, "I/O error") || strstr(said, strerror(EIO)), "the error is not named: %s", said);
	expect_that(end_server(server, 0) == 1, "it lives, or ended otherwise: %s", said);

	expect_kept_on(disk->state_dir, &ids);
	expect_right(json_equal(job_now(done), done) ? NULL : "the finished job is not the same");
	expect_that(get("/v1/jobs/%s/body", id_of(done))->body.used == LARGE_BYTES, "its body is lost");
	submit_later("");
}
END_TEST

/* The submission that met the fault got no 202, or it is there. */
START_TEST(a_broken_disk_acknowledges_nothing)
{
	struct disk *disk = new_disk();
	struct server *server = start_on(disk);
	struct client_reply *reply;

	disk_fails(disk, .calls = FAULT_SYNC, .path = "/ledger.db-wal$", .error = EIO);
	reply = post("/v1/jobs", "{'url':'%s','delay':'1h'}", url("/echo"));
	expect_that(reply->status != 202 && reply->status != 200, "status %d", reply->status);
	expect_that(end_server(server, 0) == 1, "it lives, or ended otherwise");
}
END_TEST

/* The log cannot be brought over as it ends: the next start has it. */
START_TEST(a_broken_disk_at_the_end_loses_nothing)
{
	struct disk *disk = new_disk();
	struct server *server = start_on(disk);
	struct fault_rule *rule;
	struct ids ids = {0};

	for (size_t i = 0; i < 10; i++)
		note(&ids, id_of(submit_later("")));
	rule = disk_fails(disk, .calls = FAULT_SYNC | FAULT_WRITE, .path = "/ledger.db", .error = EIO);
	end_server(server, SIGTERM);
	expect_that(atomic_load(&rule->failed) > 0, "nothing failed");
	expect_kept_on(disk->state_dir, &ids);
}
END_TEST

/* Nothing was promised of reading: the answer is an error, and the daemon lives. */
START_TEST(a_job_that_cannot_be_read_is_an_error)
{
	struct disk *disk = new_disk();
	struct server *server = start_on(disk);
	struct ids ids = {0};
	struct client_reply *reply;

	for (size_t i = 0; i < 50; i++)
		note(&ids, id_of(fetch(url("/text/30000"), "")));
	end_server(server, SIGTERM);
	disk = disk_on(disk->state_dir);
	server = start_on(disk);
	disk_fails(disk, .calls = FAULT_READ, .path = "/ledger.db", .error = EIO);
	reply = get("/v1/jobs/%s", ids.list[7]);
	expect_that(reply->status >= 500, "status %d", reply->status);
	disk_heal(disk);
	expect_status(get("/v1/jobs/%s", ids.list[7]), 200);
	submit_later("");
}
END_TEST

/* ---- the start */

static void
expect_refused(const struct server_run *run, const char *why)
{
	expect_that(run->status == 1, "exit status %d: %s", run->status, run->err);
	expect_that(!strstr(run->err, "listening on"), "it listens: %s", run->err);
	expect_that(strstr(run->err, why), "\"%s\" is not said: %s", why, run->err);
}

static const struct server_run *
run_on(const char *state_dir)
{
	return run_server("--listen", "127.0.0.1:0", "--state-dir", state_dir);
}

static const struct {
	unsigned calls;
	const char *path;
	int error;
	bool used; /* the directory was in use before */
} closed[] = {
	{FAULT_CHANGES, "", EROFS, false},
	{FAULT_CHANGES, "", EROFS, true},
	{FAULT_CHANGES, "", EACCES, false},
	{FAULT_CHANGES, "", EACCES, true},
	{FAULT_CHANGES, "/ledger.db", EROFS, false},
	{FAULT_CHANGES, "/ledger.db", EROFS, true},
	{FAULT_CHANGES, "/ledger.db", ENOSPC, false},
	{FAULT_CHANGES, "/bodies", EROFS, false},
	{FAULT_SYNC, "", EIO, false},
	{FAULT_READ, "/ledger.db", EIO, true},
};

START_TEST(a_start_without_a_disk_is_refused)
{
	struct disk *disk = new_disk();
	const struct server_run *run;

	if (closed[_i].used) {
		start_server_on(disk->state_dir, NULL);
		submit_later("");
		end_server(the_server, SIGKILL);
	}
	fail_at(disk, closed[_i].calls, closed[_i].path, closed[_i].error, false);
	run = run_server(ON_DISK(disk), "--listen", "127.0.0.1:0", "--state-dir", disk->state_dir);
	expect_refused(run, disk->state_dir);
	disk_heal(disk);
	start_server_on(disk->state_dir, NULL);
	expect_that(jobs_listed() == closed[_i].used, "%zu jobs are listed", jobs_listed());
}
END_TEST

/* A directory that a daemon has left in order, with jobs done and not done. */
static const char *
used_state_dir(void)
{
	const char *dir = new_state_dir();

	start_server_on(dir, NULL);
	for (size_t i = 0; i < 20; i++) {
		fetch(url("/text/3000"), "'tags':['some']");
		submit_later("");
	}
	fetch(url("/bytes/%d", LARGE_BYTES), "");
	expect_that(end_server(the_server, SIGTERM) == 0, "it ended badly");
	expect_that(access(text("%s/ledger.db-wal", dir), F_OK), "the log is left");
	return dir;
}

static const char *
database_of(const char *dir)
{
	return text("%s/ledger.db", dir);
}

/* Writes these bytes into the file; `size` 0: nothing. */
static void
overwrite(const char *path, off_t at, const void *bytes, size_t size)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	expect_that(fd >= 0 && pwrite(fd, bytes, size, at) == (ssize_t)size && !close(fd), "cannot write %s: %s", path,
		strerror(errno));
}

static const char *
hash_of_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat is;
	char *content;
	const char *hash;

	expect_that(fd >= 0 && !fstat(fd, &is), "cannot read %s", path);
	content = malloc((size_t)is.st_size + 1);
	expect_that(content && read(fd, content, (size_t)is.st_size) == is.st_size, "cannot read %s", path);
	hash = sha256_of(content, (size_t)is.st_size);
	free(content);
	close(fd);
	return hash;
}

static off_t
size_of_file(const char *path)
{
	struct stat is;

	expect_that(!stat(path, &is), "there is no %s", path);
	return is.st_size;
}

/* Refuses, says why, and leaves the file as it is. */
static void
expect_refused_untouched(const char *dir, const char *why)
{
	const char *before = hash_of_file(database_of(dir));
	const struct server_run *run = run_on(dir);

	expect_refused(run, why);
	expect_that(strstr(run->err, "ledger.db"), "the file is not named: %s", run->err);
	expect_text(hash_of_file(database_of(dir)), before);
}

START_TEST(a_broken_database_is_refused)
{
	const char *dir = used_state_dir(), *path = database_of(dir), *noise = repeated("\xa5", PAGE_BYTES);

	for (off_t at = PAGE_BYTES; at < size_of_file(path); at += PAGE_BYTES)
		overwrite(path, at, noise, PAGE_BYTES);
	expect_refused_untouched(dir, "malformed");
}
END_TEST

START_TEST(a_database_that_is_cut_off_is_refused)
{
	const char *dir = used_state_dir(), *path = database_of(dir);

	expect_that(!truncate(path, 3 * PAGE_BYTES), "cannot cut %s", path);
	expect_refused_untouched(dir, "malformed");
}
END_TEST

START_TEST(a_file_that_is_no_database_is_refused)
{
	const char *dir = new_state_dir(), *text_there = repeated("This is a letter, not a database.\n", 500);

	overwrite(database_of(dir), 0, text_there, strlen(text_there));
	expect_refused_untouched(dir, "not a database");
}
END_TEST

START_TEST(a_newer_database_is_refused)
{
	const char *dir = used_state_dir();

	overwrite(database_of(dir), 60, "\0\0\3\347", 4); /* user_version */
	expect_refused_untouched(dir, "newer");
}
END_TEST

START_TEST(a_database_of_something_else_is_refused)
{
	const char *dir = used_state_dir();

	overwrite(database_of(dir), 68, "GP10", 4); /* application_id */
	expect_refused_untouched(dir, "something else");
}
END_TEST

START_TEST(a_state_directory_has_one_server)
{
	struct server *server;
	const struct server_run *run;
	json_t *job;

	server = start_server_on(new_state_dir(), NULL);
	job = submit_later("");
	run = run_on(server_state_dir(server));
	expect_refused(run, server_state_dir(server));
	expect(job_now(job), "state", "'queued'");
	submit_later("");
}
END_TEST

/* Nothing else comes that would set it going: the POST before it is not sent again. */
START_TEST(what_was_queued_goes_on)
{
	const char *dir = new_state_dir(), *key = new_key();
	struct server *server = start_server_on(dir, "--max-in-flight-per-origin", "1");
	json_t *first = submit(url("/hold?k=%s", key), "'method':'POST'"), *second;

	await_seen(key);
	second = submit(url("/text/100"), "");
	expect(job_now(second), "state", "'queued'");
	end_server(server, SIGKILL);
	start_server_on(dir, NULL);
	expect(job_done(second), "state", "'succeeded'");
	expect_failed(job_now(first), "outcome_unknown", NULL);
}
END_TEST

/* ---- --check-store */

static const struct server_run *
check_store(const char *dir)
{
	return run_server("--check-store", "--state-dir", dir);
}

START_TEST(a_good_store_is_told)
{
	const char *dir = used_state_dir(), *hash = hash_of_file(database_of(dir));
	const struct server_run *run = check_store(dir);

	expect_that(run->status == 0, "exit status %d: %s%s", run->status, run->out, run->err);
	expect_that(strstr(run->out, "sound"), "it does not say so: %s%s", run->out, run->err);
	expect_text(hash_of_file(database_of(dir)), hash);
	start_server_on(dir, NULL);
	expect_that(jobs_listed() == 41, "%zu jobs are listed", jobs_listed());
	run = check_store(dir); /* beside a server */
	expect_that(run->status == 0, "exit status %d: %s%s", run->status, run->out, run->err);
	submit_later("");
	end_server(the_server, SIGKILL);
	run = check_store(dir); /* with a log that was left behind */
	expect_that(run->status == 0, "exit status %d: %s%s", run->status, run->out, run->err);
	start_server_on(dir, NULL);
	expect_that(jobs_listed() == 42, "%zu jobs are listed", jobs_listed());
}
END_TEST

static void
expect_findings(const char *dir, const char *what)
{
	const struct server_run *run = check_store(dir);

	expect_that(run->status == 1, "exit status %d: %s%s", run->status, run->out, run->err);
	expect_that(
		strstr(run->out, what) || strstr(run->err, what), "\"%s\" is not said: %s%s", what, run->out, run->err);
}

START_TEST(a_broken_store_is_told)
{
	const char *dir = used_state_dir(), *path = database_of(dir), *noise = repeated("\xa5", PAGE_BYTES);

	overwrite(path, size_of_file(path) - PAGE_BYTES, noise, PAGE_BYTES);
	expect_findings(dir, "age"); /* of a page, or on it */
}
END_TEST

START_TEST(a_body_that_is_missing_is_told)
{
	const char *dir = new_state_dir(), *body;

	start_server_on(dir, NULL);
	body = text("bodies/%s", id_of(fetch(url("/bytes/%d", LARGE_BYTES), "")));
	end_server(the_server, SIGTERM);
	expect_that(!truncate(text("%s/%s", dir, body), 100), "there is no %s", body);
	expect_findings(dir, body);
	expect_that(!unlink(text("%s/%s", dir, body)), "there is no %s", body);
	expect_findings(dir, body);
}
END_TEST

START_TEST(a_store_that_is_none_is_told)
{
	const char *dir = new_state_dir();

	expect_findings(dir, "ledger.db");
	expect_that(access(database_of(dir), F_OK), "it was made");
	overwrite(database_of(dir), 0, "hello", 5);
	expect_findings(dir, "not a database");
	expect_findings("/nonexistent/directory", "/nonexistent/directory");
}
END_TEST

static void
add_full(TCase *tcase)
{
	tcase_add_loop_test(tcase, a_full_disk_takes_no_jobs, 0, COUNT_OF(full));
	tcase_add_test(tcase, a_full_disk_is_said_once);
	tcase_add_test(tcase, a_disk_that_is_full_at_times);
	tcase_add_loop_test(tcase, no_room_for_a_body_fails_its_job, 0, COUNT_OF(body_faults));
}

static void
add_broken(TCase *tcase)
{
	tcase_add_loop_test(tcase, a_broken_disk_ends_the_daemon, 0, COUNT_OF(broken));
	tcase_add_test(tcase, a_broken_disk_acknowledges_nothing);
	tcase_add_test(tcase, a_broken_disk_at_the_end_loses_nothing);
	tcase_add_test(tcase, a_job_that_cannot_be_read_is_an_error);
}

static void
add_start(TCase *tcase)
{
	tcase_add_loop_test(tcase, a_start_without_a_disk_is_refused, 0, COUNT_OF(closed));
	tcase_add_test(tcase, a_broken_database_is_refused);
	tcase_add_test(tcase, a_database_that_is_cut_off_is_refused);
	tcase_add_test(tcase, a_file_that_is_no_database_is_refused);
	tcase_add_test(tcase, a_newer_database_is_refused);
	tcase_add_test(tcase, a_database_of_something_else_is_refused);
	tcase_add_test(tcase, a_state_directory_has_one_server);
	tcase_add_test(tcase, what_was_queued_goes_on);
}

static void
add_check(TCase *tcase)
{
	tcase_add_test(tcase, a_good_store_is_told);
	tcase_add_test(tcase, a_broken_store_is_told);
	tcase_add_test(tcase, a_body_that_is_missing_is_told);
	tcase_add_test(tcase, a_store_that_is_none_is_told);
}

int
main(void)
{
	Suite *suite = suite_create("faults");

	add_full(rig_case(suite, "a full disk", NULL));
	add_broken(rig_case(suite, "a broken disk", NULL));
	add_start(rig_case(suite, "the start", NULL));
	add_check(rig_case(suite, "the check", NULL));
	return rig_run(suite);
}
