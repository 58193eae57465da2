/*
 * The daemon under test as a child process: $FETCHPOOL_BINARY, else src/fetchpool.
 *
 * Each runs on a free port of 127.0.0.1 with a state directory of its own under one directory for the whole test program.
 * A thread reads its standard error into memory and into a file there, from which server_dump_all tells after a failure.
 * The child is killed by the kernel when the program that started it ends, however it ends.
 */
#ifndef TESTS_SERVER_H
#define TESTS_SERVER_H

#include "client.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* A daemon is not waited for longer than this, to come or to go. */
#define SERVER_PATIENCE_MS 30000
#define SERVER_KILLED (-1) /* instead of an exit status: it had to be killed */

struct server;

/*
 * `options` are the command line's words, ended by NULL; a word "NAME=value" before the first that begins with a dash goes
 * into the environment. Unless given: --listen 127.0.0.1:0, --state-dir, --egress-allow 127.0.0.0/8, --drain-timeout.
 * A first word SERVER_BARE leaves all of these out, SERVER_GUARDED just --egress-allow. Returns once it listens; NULL when it ended or does not come up, with
 * what it said in *ret_said (the caller frees).
 */
#define SERVER_BARE "bare"
#define SERVER_GUARDED "guarded"
struct server *server_start(const char *const *options, char **ret_said);
/* Ends it (kills it if it runs) and frees. */
void server_free(struct server *server);

const struct client_address *server_address(const struct server *server);
/* Calls go to this unix socket from now on; NULL: to the port again. */
void server_use_unix(struct server *server, const char *path);
/* The same of another port, where something hands on to it. */
void server_use_port(struct server *server, unsigned port);
/* The next daemon that is started or run gets this descriptor as one that systemd has opened, after those before it. */
void server_pass(int fd);
/* The port of the nth address it listens on, 0 when there is none. */
unsigned server_port(const struct server *server, size_t nth);
pid_t server_pid(const struct server *server);
/* The one it was given, else one of its own. */
const char *server_state_dir(const struct server *server);
void server_signal(struct server *server, int signal);
/* Its exit status, 128 + N for signal N, SERVER_KILLED when it did not end in time. */
int server_wait(struct server *server);
int server_stop(struct server *server, int signal);
/* Stops it by SIGTERM unless a signal told it to end already, as a second one would abort it. */
int server_finish(struct server *server);
/* A line with this text on its standard error, waited for. */
bool server_await_line(struct server *server, const char *text);
size_t server_count_lines(struct server *server, const char *text);
/* All that it said on its standard error so far; the caller frees. */
char *server_said(struct server *server);
/* What a sanitizer reported on standard error, from the report on; NULL for nothing. Call after the end. */
const char *server_sanitizer_report(struct server *server);

/* A run to its end, as for --help. */
struct server_run {
	int status;
	char *out;
	char *err;
};
/* Words as for server_start after SERVER_BARE. The caller frees with server_run_free. */
struct server_run *server_run(const char *const *words);
void server_run_free(struct server_run *run);

/* The directory for the whole program, made at the first call. */
const char *server_directory(void);
/* Prints what every daemon of this program said. */
void server_dump_all(void);
/* Removes the directory with all that is in it. */
void server_clean_up(void);

#endif
