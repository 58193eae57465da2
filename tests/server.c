/*
 * Starting and ending daemons; see server.h.
 *
 * The thread that starts a server must outlive it: the parent-death signal follows the thread. Each server has one reader
 * thread; `log`, `ended` and the ports are under `lock`, `changed` is signalled at each further line and at the end.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "server.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

#define MAX_PORTS 4
#define MAX_WORDS 64

extern char **environ;

struct server {
	pid_t pid;
	bool told_to_end;
	bool reaped;
	int status;
	int err_fd;  /* the read end of its standard error */
	int file_fd; /* the copy of it */
	char *state_dir;
	struct client_address address;
	size_t addresses_expected;
	pthread_t reader;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct bytes log;
	bool ended;
	size_t address_count;
	unsigned ports[MAX_PORTS];
	size_t port_count;
};

static char directory[256];
static unsigned sequence;

/* For the next one that starts: as systemd passes sockets. */
static int passed[8];
static size_t passed_count;

const char *
server_directory(void)
{
	const char *top = getenv("TMPDIR");

	if (*directory)
		return directory;
	snprintf(directory, sizeof directory, "%s/fetchpool-test-XXXXXX", top ? top : "/tmp");
	if (!mkdtemp(directory)) {
		perror(directory);
		exit(99);
	}
	return directory;
}

/* ---- the child */

struct words {
	const char *environment[MAX_WORDS * 8];
	size_t environment_count;
	const char *arguments[MAX_WORDS];
	size_t argument_count;
};

static void
words_add(struct words *words, const char *word)
{
	if (words->argument_count + 1 >= MAX_WORDS)
		abort();
	words->arguments[words->argument_count++] = word;
	words->arguments[words->argument_count] = NULL;
}

static bool
words_have(const char *const *words, const char *word)
{
	for (; *words; words++)
		if (!strcmp(*words, word))
			return true;
	return false;
}

/* The test's own environment without what would steer the daemon. */
static void
words_inherit(struct words *words)
{
	for (char **at = environ; *at && words->environment_count < MAX_WORDS * 7; at++)
		if (strncmp(*at, "FETCHPOOL_", 10) != 0 && strncmp(*at, "STATE_DIRECTORY=", 16) != 0)
			words->environment[words->environment_count++] = *at;
	words->environment[words->environment_count] = NULL;
}

static const char *const *
words_take_environment(struct words *words, const char *const *from)
{
	for (; *from && **from != '-' && strchr(*from, '='); from++)
		words->environment[words->environment_count++] = *from;
	return from;
}

static const char *
binary(void)
{
	const char *path = getenv("FETCHPOOL_BINARY");

	return path && *path ? path : "src/fetchpool";
}

/* Puts them at 3 and after, where this process has others. Between fork and exec. */
static void
pass_sockets(struct words *words)
{
	static char pid[32], count[32];
	int high[sizeof passed / sizeof passed[0]];

	if (passed_count == 0)
		return;
	for (size_t i = 0; i < passed_count; i++)
		high[i] = fcntl(passed[i], F_DUPFD_CLOEXEC, 500);
	for (size_t i = 0; i < passed_count; i++)
		dup2(high[i], 3 + (int)i);
	snprintf(pid, sizeof pid, "LISTEN_PID=%d", (int)getpid());
	snprintf(count, sizeof count, "LISTEN_FDS=%zu", passed_count);
	words->environment[words->environment_count++] = pid;
	words->environment[words->environment_count++] = count;
	words->environment[words->environment_count] = NULL;
}

static void __attribute__((noreturn)) child_exec(struct words *words, pid_t parent, int out, int err)
{
	int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
	sigset_t none;

#ifdef __linux__
	prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
	if (getppid() != parent)
		_exit(99);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGTERM, SIG_DFL);
	signal(SIGINT, SIG_DFL);
	signal(SIGPIPE, SIG_DFL);
	dup2(nothing, STDIN_FILENO);
	dup2(out < 0 ? nothing : out, STDOUT_FILENO);
	dup2(err, STDERR_FILENO);
	pass_sockets(words);
	execve(binary(), (char *const *)(uintptr_t)words->arguments, (char *const *)(uintptr_t)words->environment);
	dprintf(STDERR_FILENO, "cannot run %s: %s\n", binary(), strerror(errno));
	_exit(98);
}

static pid_t
spawn(struct words *words, int out, int err)
{
	pid_t parent = getpid(), pid = fork();

	if (pid == 0)
		child_exec(words, parent, out, err);
	if (pid < 0)
		abort();
	passed_count = 0;
	return pid;
}

static struct timespec
patience_from_now(void)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += SERVER_PATIENCE_MS / 1000;
	return until;
}

static int
exit_status(int status)
{
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* ---- the reader */

static void
note_line_locked(struct server *server, const char *line)
{
	const char *found = strstr(line, "listening on ");
	const char *colon;

	if (!found)
		return;
	found += strlen("listening on ");
	colon = !strncmp(found, "http", 4) ? strrchr(found, ':') : NULL;
	server->address_count++;
	if (colon && server->port_count < MAX_PORTS)
		server->ports[server->port_count++] = (unsigned)strtoul(colon + 1, NULL, 10);
}

static void
note_bytes(struct server *server, const char *data, size_t size)
{
	size_t line_start;

	pthread_mutex_lock(&server->lock);
	for (size_t i = 0; i < size; i++) {
		if (data[i] != '\n') {
			bytes_append(&server->log, data + i, 1);
			continue;
		}
		line_start = server->log.used;
		while (line_start > 0 && server->log.data[line_start - 1] != '\n')
			line_start--;
		if (server->log.used)
			note_line_locked(server, server->log.data + line_start);
		bytes_append(&server->log, "\n", 1);
	}
	pthread_cond_broadcast(&server->changed);
	pthread_mutex_unlock(&server->lock);
}

static void *
reader_main(void *argument)
{
	struct server *server = argument;
	char chunk[4096];
	ssize_t got;

	while ((got = read(server->err_fd, chunk, sizeof chunk)) > 0 || (got < 0 && errno == EINTR)) {
		if (got < 0)
			continue;
		if (write(server->file_fd, chunk, (size_t)got) < 0)
			break;
		note_bytes(server, chunk, (size_t)got);
	}
	pthread_mutex_lock(&server->lock);
	server->ended = true;
	pthread_cond_broadcast(&server->changed);
	pthread_mutex_unlock(&server->lock);
	return NULL;
}

/* ---- starting */

static char *__attribute__((format(printf, 1, 2))) text_format(const char *format, ...)
{
	struct bytes text = {0};
	va_list arguments;

	va_start(arguments, format);
	bytes_vformat(&text, format, arguments);
	va_end(arguments);
	return text.data;
}

static struct server *
server_new(void)
{
	struct server *server = calloc(1, sizeof *server);
	pthread_condattr_t monotonic;
	char *path = text_format("%s/%d-%u.log", server_directory(), (int)getpid(), ++sequence);

	if (!server)
		abort();
	server->state_dir = text_format("%s/%d-%u.state", server_directory(), (int)getpid(), sequence);
	server->file_fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
	free(path);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&server->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	pthread_mutex_init(&server->lock, NULL);
	return server;
}

static void
words_add_pair(struct words *words, const char *const *given, const char *name, const char *value)
{
	if (words_have(given, name))
		return;
	words_add(words, name);
	words_add(words, value);
}

/* Remembers the state directory that it is told to use. */
static void
note_state_dir(struct server *server, const char *const *given)
{
	for (; *given; given++) {
		if (strcmp(*given, "--state-dir") != 0 || !given[1])
			continue;
		free(server->state_dir);
		server->state_dir = text_format("%s", given[1]);
	}
}

static void
words_add_defaults(struct words *words, const char *const *given, const struct server *server, bool guarded)
{
	words_add_pair(words, given, "--listen", "127.0.0.1:0");
	words_add_pair(words, given, "--state-dir", server->state_dir);
	if (!guarded)
		words_add_pair(words, given, "--egress-allow", "127.0.0.0/8");
	words_add_pair(words, given, "--drain-timeout", "500ms");
}

static void
words_prepare(struct words *words, const char *const *options, struct server *server)
{
	bool bare = options[0] && !strcmp(options[0], SERVER_BARE);
	bool guarded = options[0] && !strcmp(options[0], SERVER_GUARDED);

	*words = (struct words){0};
	options = words_take_environment(
		words, options + (bare || guarded)); /* before the inherited, for the first of a name counts */
	words_inherit(words);
	words_add(words, "fetchpool");
	if (server)
		note_state_dir(server, options);
	if (!bare && server)
		words_add_defaults(words, options, server, guarded);
	for (; *options; options++)
		words_add(words, *options);
}

static size_t
count_listens(const struct words *words)
{
	size_t count = 0;

	for (size_t i = 0; i < words->argument_count; i++)
		count += !strcmp(words->arguments[i], "--listen");
	return count + passed_count ? count + passed_count : 1;
}

/* Many tests hold thousands of connections; the daemon inherits the raised limit. */
static void
raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (!getrlimit(RLIMIT_NOFILE, &limit) && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static bool
await_listening(struct server *server)
{
	struct timespec until = patience_from_now();
	int expired = 0;
	bool up;

	pthread_mutex_lock(&server->lock);
	while (!(up = server->address_count >= server->addresses_expected) && !server->ended && !expired)
		expired = pthread_cond_timedwait(&server->changed, &server->lock, &until);
	server->address.port = server->ports[0];
	pthread_mutex_unlock(&server->lock);
	return up;
}

void
server_pass(int fd)
{
	if (passed_count == sizeof passed / sizeof passed[0])
		abort();
	passed[passed_count++] = fd;
}

struct server *
server_start(const char *const *options, char **ret_said)
{
	struct server *server = server_new();
	struct words words;
	int ends[2];

	raise_descriptor_limit();
	words_prepare(&words, options, server);
	server->addresses_expected = count_listens(&words);
	if (pipe2(ends, O_CLOEXEC))
		abort();
	server->err_fd = ends[0];
	server->pid = spawn(&words, -1, ends[1]);
	close(ends[1]);
	if (pthread_create(&server->reader, NULL, reader_main, server))
		abort();
	if (await_listening(server))
		return server;
	kill(server->pid, SIGKILL);
	server_wait(server);
	*ret_said = text_format("exit status %d: %s", server->status, server->log.used ? server->log.data : "");
	server_free(server);
	return NULL;
}

const struct client_address *
server_address(const struct server *server)
{
	return &server->address;
}

void
server_use_unix(struct server *server, const char *path)
{
	server->address.unix_path = path;
}

void
server_use_port(struct server *server, unsigned port)
{
	server->address.port = port;
}

unsigned
server_port(const struct server *server, size_t nth)
{
	return nth < server->port_count ? server->ports[nth] : 0;
}

pid_t
server_pid(const struct server *server)
{
	return server->pid;
}

const char *
server_state_dir(const struct server *server)
{
	return server->state_dir;
}

/* ---- ending */

void
server_signal(struct server *server, int signal)
{
	server->told_to_end |= signal != SIGHUP;
	if (!server->reaped)
		kill(server->pid, signal);
}

/* Its standard error ends when it does. */
static bool
await_end(struct server *server)
{
	struct timespec until = patience_from_now();
	int expired = 0;
	bool ended;

	pthread_mutex_lock(&server->lock);
	while (!(ended = server->ended) && !expired)
		expired = pthread_cond_timedwait(&server->changed, &server->lock, &until);
	pthread_mutex_unlock(&server->lock);
	return ended;
}

int
server_wait(struct server *server)
{
	bool ended;
	int status;

	if (server->reaped)
		return server->status;
	ended = await_end(server);
	if (!ended)
		kill(server->pid, SIGKILL);
	while (waitpid(server->pid, &status, 0) < 0 && errno == EINTR)
		;
	pthread_join(server->reader, NULL);
	server->reaped = true;
	server->status = ended ? exit_status(status) : SERVER_KILLED;
	return server->status;
}

int
server_finish(struct server *server)
{
	return server->told_to_end ? server_wait(server) : server_stop(server, SIGTERM);
}

int
server_stop(struct server *server, int signal)
{
	server_signal(server, signal);
	return server_wait(server);
}

void
server_free(struct server *server)
{
	if (!server)
		return;
	if (!server->reaped)
		server_stop(server, SIGKILL);
	close(server->err_fd);
	close(server->file_fd);
	bytes_release(&server->log);
	pthread_cond_destroy(&server->changed);
	pthread_mutex_destroy(&server->lock);
	free(server->state_dir);
	free(server);
}

static size_t
count_lines_locked(const struct server *server, const char *text)
{
	size_t count = 0;

	for (const char *at = server->log.data; at && (at = strstr(at, text)); at = strchr(at, '\n'))
		count++;
	return count;
}

bool
server_await_line(struct server *server, const char *text)
{
	struct timespec until = patience_from_now();
	int expired = 0;
	bool found;

	pthread_mutex_lock(&server->lock);
	while (!(found = count_lines_locked(server, text) > 0) && !server->ended && !expired)
		expired = pthread_cond_timedwait(&server->changed, &server->lock, &until);
	pthread_mutex_unlock(&server->lock);
	return found;
}

size_t
server_count_lines(struct server *server, const char *text)
{
	size_t count;

	pthread_mutex_lock(&server->lock);
	count = count_lines_locked(server, text);
	pthread_mutex_unlock(&server->lock);
	return count;
}

char *
server_said(struct server *server)
{
	char *said;

	pthread_mutex_lock(&server->lock);
	said = text_format("%s", server->log.used ? server->log.data : "");
	pthread_mutex_unlock(&server->lock);
	return said;
}

const char *
server_sanitizer_report(struct server *server)
{
	static const char *const marks[] = {
		"ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "WARNING: ThreadSanitizer", "runtime error:"};

	for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++) {
		const char *found = server->log.used ? strstr(server->log.data, marks[i]) : NULL;

		if (found)
			return found;
	}
	return NULL;
}

/* ---- runs to the end */

/* Reads both to their end; false when that takes too long. */
static bool
drain_pipes(int out, int err, struct bytes *ret_out, struct bytes *ret_err)
{
	struct pollfd ready[2] = {{.fd = out, .events = POLLIN}, {.fd = err, .events = POLLIN}};
	struct bytes *to[2] = {ret_out, ret_err};
	char chunk[4096];

	while (ready[0].fd >= 0 || ready[1].fd >= 0) {
		if (poll(ready, 2, SERVER_PATIENCE_MS) <= 0)
			return false;
		for (int i = 0; i < 2; i++) {
			ssize_t got;

			if (ready[i].fd < 0 || !ready[i].revents)
				continue;
			got = read(ready[i].fd, chunk, sizeof chunk);
			if (got <= 0)
				ready[i].fd = -1;
			else
				bytes_append(to[i], chunk, (size_t)got);
		}
	}
	return true;
}

struct server_run *
server_run(const char *const *given)
{
	struct server_run *run = calloc(1, sizeof *run);
	struct bytes out = {0}, err = {0};
	struct words words;
	int out_ends[2], err_ends[2], status;
	bool ended;
	pid_t pid;

	words_prepare(&words, given, NULL);
	if (!run || pipe2(out_ends, O_CLOEXEC) || pipe2(err_ends, O_CLOEXEC))
		abort();
	pid = spawn(&words, out_ends[1], err_ends[1]);
	close(out_ends[1]);
	close(err_ends[1]);
	bytes_append(&out, "", 0);
	bytes_append(&err, "", 0);
	ended = drain_pipes(out_ends[0], err_ends[0], &out, &err);
	if (!ended)
		kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	close(out_ends[0]);
	close(err_ends[0]);
	*run = (struct server_run){
		.status = ended ? exit_status(status) : SERVER_KILLED, .out = out.data, .err = err.data};
	return run;
}

void
server_run_free(struct server_run *run)
{
	free(run->out);
	free(run->err);
	free(run);
}

/* ---- after it all */

static void
dump_file(const char *path)
{
	FILE *file = fopen(path, "r");
	char line[1024];

	if (!file)
		return;
	fprintf(stderr, "---- %s\n", path);
	while (fgets(line, sizeof line, file))
		fputs(line, stderr);
	fclose(file);
}

void
server_dump_all(void)
{
	DIR *all = *directory ? opendir(directory) : NULL;
	struct dirent *entry;

	while (all && (entry = readdir(all))) {
		size_t length = strlen(entry->d_name);
		char *path;

		if (length < 4 || strcmp(entry->d_name + length - 4, ".log") != 0)
			continue;
		path = text_format("%s/%s", directory, entry->d_name);
		dump_file(path);
		free(path);
	}
	if (all)
		closedir(all);
}

static int
remove_entry(const char *path, const struct stat *stat, int type, struct FTW *where)
{
	(void)stat;
	(void)type;
	(void)where;
	return remove(path);
}

void
server_clean_up(void)
{
	if (*directory)
		nftw(directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	*directory = '\0';
}
