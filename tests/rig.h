/*
 * What every whole-daemon test is written with: one daemon for a test case, a fresh origin for each test, and a few words
 * that say in a line what is asked and what is expected.
 *
 * JSON in tests is written with ' for ", so that it reads well in C; jtext() turns it. Everything these functions give
 * (replies, JSON, texts, origins, daemons) lives until the test ends and is released by the rig. The expect_ macros and all
 * functions marked "asserts" belong on the test's own thread only; call_request and call_start may be used on any.
 *
 *	START_TEST(reads_well)
 *	{
 *		json_t *job = fetch(url("/text/5"), "'timeout':'5s','tags':['a']");
 *
 *		expect(job, "state", "'succeeded'");
 *		expect(job, "response.body_bytes", "5");
 *	}
 *	END_TEST
 */
#ifndef TESTS_RIG_H
#define TESTS_RIG_H

#include "client.h"
#include "fault.h"
#include "origin.h"
#include "server.h"

#include <check.h>
#include <stdint.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define PRINTF_LIKE(at, first) __attribute__((format(printf, at, first)))
/* An empty text for "nothing more" is the common case. */
#pragma GCC diagnostic ignored "-Wformat-zero-length"
#define UNKNOWN_ID "019aa0c4-6d0e-7c61-9d3a-2f6f3b9c1f00"

/* The daemon that calls go to, and the origin that url() points at. */
extern struct server *the_server;
extern struct origin *the_origin;

/* ---- the frame */

/* For a test case's unchecked setup: the daemon of all its tests, with these further options. Asserts. */
#define rig_share(...) rig_share_words((const char *const[]){__VA_ARGS__, NULL})
void rig_share_words(const char *const *options);
/* The usual unchecked setup and teardown. */
void rig_share_default(void);
void rig_unshare(void);
/* A test case with these unchecked fixtures (NULL setup: its tests start daemons of their own), and with the rig's own. */
TCase *rig_case(Suite *suite, const char *name, void (*setup)(void));
/* Runs it, tells what the daemons said when something failed, and gives main's exit status. */
int rig_run(Suite *suite);
/* A heavy test's count, less under $FETCHPOOL_TEST_SCALE. */
size_t rig_scaled(size_t count);

/* A daemon for this test alone, that calls go to from now on; it must end with status 0 and no sanitizer report. Asserts. */
#define start_server(...) start_server_words((const char *const[]){__VA_ARGS__, NULL})
struct server *start_server_words(const char *const *options);
/*
 * The same on this state directory, as another left it; it stays. Words like "LD_PRELOAD=…" before the options go into
 * the environment, as ever.
 */
#define start_server_on(state_dir, ...) start_server_on_words((state_dir), (const char *const[]){__VA_ARGS__, NULL})
struct server *start_server_on_words(const char *state_dir, const char *const *options);
/*
 * Ends one of them by this signal (SIGKILL, too; 0 waits until it ends by itself), however it ends, and gives its exit
 * status: 128 + N by signal N. Asserts that no sanitizer complained.
 */
int end_server(struct server *server, int signal);
/* What it said so far on its standard error. */
const char *said_by(struct server *server);
/* Runs the binary to its end with just these words. */
#define run_server(...) run_server_words((const char *const[]){SERVER_BARE, __VA_ARGS__, NULL})
const struct server_run *run_server_words(const char *const *words);
/*
 * A state directory on a disk that fails as it is told, and that is written down for tests/power.h: for daemons that are
 * started with start_server_on(disk->state_dir, ON_DISK(disk), …), or run with run_server(ON_DISK(disk), …).
 */
struct disk {
	const char *state_dir;
	const char *journal; /* NULL unless it is written down */
	struct fault_page *page;
	const char *words[4];
};
#define ON_DISK(disk) (disk)->words[0], (disk)->words[1], (disk)->words[2], (disk)->words[3]
struct disk *new_disk(void);
struct disk *new_written_disk(void);
/* On a directory that is there. */
struct disk *disk_on(const char *state_dir);
/* From now on these calls fail (or wait), until disk_heal. Members of struct fault_rule are given. */
#define disk_fails(disk, ...) disk_fails_by((disk), &(struct fault_rule){__VA_ARGS__})
struct fault_rule *disk_fails_by(struct disk *disk, const struct fault_rule *order);
void disk_heal(struct disk *disk);
void rule_end(struct fault_rule *rule);
/* Waits until so many calls fitted the rule. Asserts. */
void await_hits(struct fault_rule *rule, uint32_t count);
/* How many records stand in its journal. */
size_t disk_written(const struct disk *disk);

/* The word that has a daemon load this library of ours ("fault.so", "net.so") before all others. Asserts. */
const char *preload_word(const char *library);

/* A second origin, on another port. */
struct origin *another_origin(void);
/* Ports of 127.0.0.1 where: nobody listens; connections are taken and never answered; connecting never ends. */
unsigned closed_port(void);
unsigned silent_port(void);
unsigned stuck_port(void);

/* ---- texts; all of them last until the test ends */

const char *text(const char *format, ...) PRINTF_LIKE(1, 2);
/* Turns ' into ". */
const char *jtext(const char *format, ...) PRINTF_LIKE(1, 2);
/* An address on the origin. */
const char *url(const char *format, ...) PRINTF_LIKE(1, 2);
const char *url_on(struct origin *origin, const char *format, ...) PRINTF_LIKE(2, 3);
/* A word that nothing else uses: a key, a tag. */
const char *new_key(void);
/* So many times this text. */
const char *repeated(const char *once, size_t times);
/* Percent-encodes all but letters and digits. */
const char *escaped(const char *plain);
const char *hex_of(const void *data, size_t size);
/* What /text/N and /bytes/N send. */
const char *origin_text_of(size_t size);
const char *origin_pattern_of(size_t size);
const char *sha256_of(const void *data, size_t size);
/* The bytes of a base64 text, NULL when it is none. */
const char *unbase64(const char *base64, size_t *ret_size);
const char *base64(const void *data, size_t size);
/* A JSON value in compact form, for a message. */
const char *dumped(const json_t *value);
/* A file in the test's directory with this content; gives its path. */
const char *file_with(const char *name, const char *content);
/* A new and empty directory for a daemon's state, removed when the program ends. */
const char *new_state_dir(void);

/* ---- calls */

/* Has the reply released with the test. */
struct client_reply *rig_keep(struct client_reply *reply);
struct client_reply *call_request(const struct client_request *request);
/* Method and target; no body. `fields`: whole lines, each ended by CRLF. */
struct client_reply *call_with(const char *method, const char *fields, const char *target_format, ...)
	PRINTF_LIKE(3, 4);
struct client_reply *get(const char *target_format, ...) PRINTF_LIKE(1, 2);
struct client_reply *del(const char *target_format, ...) PRINTF_LIKE(1, 2);
/* A POST without a body. */
struct client_reply *poke(const char *target_format, ...) PRINTF_LIKE(1, 2);
/* A POST of JSON, written with '. */
struct client_reply *post(const char *target, const char *format, ...) PRINTF_LIKE(2, 3);
struct client_reply *post_bytes(const char *target, const char *fields, const void *body, size_t size);

/* A call on a thread of its own; call_end waits for its answer. */
struct call;
struct call *call_start(const char *method, const char *target, const char *body);
struct client_reply *call_end(struct call *call);

/* A connection of its own to the daemon, closed at the test's end. Asserts. */
struct client_wire *open_wire(void);
void wire_send(struct client_wire *wire, const char *format, ...) PRINTF_LIKE(2, 3);
struct client_reply *wire_receive(struct client_wire *wire);
/* Writes GET target with this host. */
void wire_get(struct client_wire *wire, const char *target_format, ...) PRINTF_LIKE(2, 3);

/* A value of /metrics, the sum over its labels; -1 when there is none of this name. */
double metric(const char *name);
/* Asks until the metric is at least this; false when it is not in time. */
bool await_metric(const char *name, double least);
/* Asks until the answer to GET target has this status; false when it has not in time. */
bool await_status(const char *target, int status);

/* ---- jobs; `more` are further members of the spec, "" for none. All of these assert. */

json_t *submit(const char *url, const char *more_format, ...) PRINTF_LIKE(2, 3);
/* Submits, waits for the end, and gives the finished job. */
json_t *fetch(const char *url, const char *more_format, ...) PRINTF_LIKE(2, 3);
/* The same with the whole query given. */
json_t *fetch_query(const char *query, const char *url, const char *more_format, ...) PRINTF_LIKE(3, 4);
/* A job that does not start within the test. */
json_t *submit_later(const char *more_format, ...) PRINTF_LIKE(1, 2);
const char *id_of(const json_t *job);
/* The job as it is now, and as it is once done. */
json_t *job_now(const json_t *job);
json_t *job_done(const json_t *job);
/* Waits by `since` until the job is in this state, or done. */
json_t *job_in_state(const json_t *job, const char *state);
/* What /echo says of the request that this spec made. */
json_t *echo_of(const char *more_format, ...) PRINTF_LIKE(1, 2);
/* All values of a field in it, as a JSON array. */
json_t *echoed(const json_t *echo, const char *name);
const struct origin_request *await_seen(const char *key);

/* ---- expectations: each gives NULL, or in words what is wrong */

const char *wrong_value(const json_t *json, const char *path, const char *want);
const char *wrong_status(const struct client_reply *reply, int status);
/* `pointer` as JSON ("'/url'", "null"), or NULL for any. */
const char *wrong_problem(const struct client_reply *reply, int status, const char *pointer);
const char *wrong_header(const struct client_reply *reply, const char *name, const char *want);
/* A NULL phase is any. */
const char *wrong_failure(const json_t *job, const char *code, const char *phase);
/* The object has just these keys, separated by blanks. */
const char *wrong_keys(const json_t *json, const char *path, const char *names);

#define expect_right(wrong)                                                                                            \
	do {                                                                                                           \
		const char *why_ = (wrong);                                                                            \
		ck_assert_msg(!why_, "%s", why_);                                                                      \
	} while (0)
/* The value at a path equals this JSON, written with '. */
#define expect(json, path, ...) expect_right(wrong_value((json), (path), jtext(__VA_ARGS__)))
#define expect_status(reply, status) expect_right(wrong_status((reply), (status)))
#define expect_problem(reply, status, pointer) expect_right(wrong_problem((reply), (status), (pointer)))
#define expect_header(reply, name, want) expect_right(wrong_header((reply), (name), (want)))
#define expect_failed(job, code, phase) expect_right(wrong_failure((job), (code), (phase)))
#define expect_keys(json, path, names) expect_right(wrong_keys((json), (path), (names)))
#define expect_that(condition, ...) ck_assert_msg((condition), __VA_ARGS__)
#define expect_text(got, want)                                                                                         \
	do {                                                                                                           \
		const char *got_ = (got), *want_ = (want);                                                             \
		ck_assert_msg(got_ && !strcmp(got_, want_), "%s is \"%.200s\", not \"%.200s\"", #got,                  \
			got_ ? got_ : "(null)", want_);                                                                \
	} while (0)

#define JOB_KEYS                                                                                                       \
	"id state done version batch tags meta priority request created_at run_at started_at finished_at expires_at "  \
	"progress attempts response error"

/* Milliseconds on the monotonic clock, and of an RFC 3339 time since the epoch (-1 for anything but our one form). */
int64_t mono_ms(void);
int64_t time_at(const json_t *json, const char *path);

#endif
