/*
 * Words for tests that start a daemon on what another one left: how that one ended, and how all that can be asked of a job is
 * compared. Everything here asserts, and all texts last until the test ends.
 */
#ifndef TESTS_DURABLE_H
#define TESTS_DURABLE_H

#include "rig.h"

/* The two ways in which a daemon ends here: killed, and as it is meant to. For loop tests. */
#define WAYS 2
extern const int ways[WAYS];

/* A daemon that keeps its jobs, and another on the directory it left; with further options or NULL. They drain nothing. */
#define START_WORDS "--store", "sqlite", "--drain-timeout", "0"
#define start_first(...) start_server(START_WORDS, __VA_ARGS__)
#define start_kept(state_dir, ...) start_server_on((state_dir), START_WORDS, __VA_ARGS__)
/* One whose only place is taken, by a fetch of this key: what is submitted waits. */
struct server *start_busy(const char *key);
/* Ends it by this signal, as is right for it; gives its state directory. */
const char *end_by(struct server *server, int signal);

/*
 * So many changes are on the disk: of a job its submission (or its return into the queue, after a restart), the start of
 * its attempt, its end. Nobody is told when a start is there that may be made again, but the figures count it.
 */
void await_changes(unsigned count);

/* Some time goes by. For what depends on the time alone: to wait for anything else, wait for that. */
void let_pass(unsigned ms);

/* An answer as a text: status, fields and body, but for what belongs to the moment. */
const char *told(const struct client_reply *reply);
/* The answers to all that can be asked of a job. */
const char *all_of(const char *id);
void expect_same(const char *after, const char *before);
/* A job and all that is told of it, which is not to change. */
struct kept {
	const char *id, *all;
};
struct kept keep(const char *id);
void expect_kept(const struct kept *kept, size_t count);

/* The ids of a page, in order, each with a blank behind it. */
const char *listed(const json_t *page);

const char *body_file(const char *state_dir, const char *id);
bool is_there(const char *path);
void make_file(const char *path, const char *content);
/* Waits until it is not there any more. */
void await_no_file(const char *path);
/* The names and contents of all files in the directory and in its bodies/, but for the lock. */
const char *files_of(const char *state_dir);

#endif
