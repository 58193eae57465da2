/* What systemd and the daemon tell each other: sockets that are passed, notices, the watchdog; and rights of unix sockets. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "rig.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* ---- sockets that are passed */

static int
tcp_socket(in_addr_t host, bool listening, unsigned *ret_port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(host)};
	socklen_t length = sizeof address;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0);
	ck_assert(!listening || listen(fd, 64) == 0);
	ck_assert(getsockname(fd, (struct sockaddr *)&address, &length) == 0);
	if (ret_port)
		*ret_port = ntohs(address.sin_port);
	return fd;
}

/* A leading @ stands for the abstract namespace. */
static int
unix_socket(const char *path, int type)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	ck_assert(strlen(path) < sizeof address.sun_path);
	strcpy(address.sun_path, path);
	if (*path == '@')
		address.sun_path[0] = '\0';
	socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path) + (*path != '@'));
	ck_assert_msg(fd >= 0 && bind(fd, (struct sockaddr *)&address, length) == 0, "%s: %s", path, strerror(errno));
	ck_assert(type != SOCK_STREAM || listen(fd, 64) == 0);
	return fd;
}

static const char *
new_path(void)
{
	return text("%s/%s.sock", server_directory(), new_key());
}

#define STATE "--state-dir", server_directory(), "--egress-allow", "127.0.0.0/8"

START_TEST(a_passed_socket_takes_the_place_of_the_default)
{
	unsigned port;
	int fd = tcp_socket(INADDR_LOOPBACK, true, &port);

	server_pass(fd);
	struct server *server = start_server(SERVER_BARE, STATE);
	expect_that(server_port(server, 0) == port, "it listens on %u, not on %u", server_port(server, 0), port);
	expect_that(server_count_lines(server, "listening on") == 1, "on another one, too: %s", said_by(server));
	expect(fetch(url("/echo"), ""), "state", "'succeeded'");
	server_signal(server, SIGHUP);
	expect_that(server_await_line(server, "reloaded tokens"), "no reload");
	expect_that(server_count_lines(server, "until a restart") == 0, "said: %s", said_by(server));
	close(fd);
}
END_TEST

START_TEST(passed_and_asked_for_stand_beside_each_other)
{
	unsigned port;
	const char *path = new_path();
	int tcp = tcp_socket(INADDR_LOOPBACK, true, &port), local = unix_socket(path, SOCK_STREAM);

	server_pass(tcp);
	server_pass(local);
	struct server *server = start_server("--front-threads", "3");
	expect_that(server_port(server, 0) == port && server_port(server, 1) != 0, "ports %u and %u",
		server_port(server, 0), server_port(server, 1));
	expect_that(server_count_lines(server, text("listening on unix:%s", path)) == 1, "not the unix socket");
	for (int i = 0; i < 20; i++)
		expect_status(get("/livez"), 200);
	server_use_unix(server, path);
	for (int i = 0; i < 20; i++)
		expect_status(get("/v1/info"), 200);
	server_use_unix(server, NULL);
	server_use_port(server, server_port(server, 1));
	expect_status(get("/livez"), 200);
	expect_that(end_server(server, SIGTERM) == 0, "not exit status 0");
	expect_that(access(path, F_OK) == 0, "a socket that systemd made was removed");
	close(tcp);
	close(local);
}
END_TEST

/* What comes while no server runs is answered by the next one. */
START_TEST(clients_wait_over_a_restart)
{
	unsigned port;
	int fd = tcp_socket(INADDR_LOOPBACK, true, &port);
	const char *state = new_state_dir();

	server_pass(fd);
	struct server *server = start_server_on(state, "--front-threads", "2", "--listen", text("unix:%s", new_path()));
	expect_that(end_server(server, SIGTERM) == 0, "not exit status 0");
	struct client_wire wire;
	expect_that(client_connect(&wire, &(struct client_address){.port = port}) == 0, "nobody listens");
	wire_get(&wire, "/livez");
	server_pass(fd);
	start_server_on(state, "--front-threads", "2", "--listen", text("unix:%s", new_path()));
	expect_status(wire_receive(&wire), 200);
	client_close(&wire);
	close(fd);
}
END_TEST

START_TEST(an_abstract_socket_may_be_passed)
{
	const char *name = text("@fetchpool-%s", new_key());
	int fd = unix_socket(name, SOCK_STREAM);

	server_pass(fd);
	start_server(SERVER_BARE, STATE);
	expect_that(server_count_lines(the_server, text("listening on unix:%s", name)) == 1, "said: %s",
		said_by(the_server));
	close(fd);
}
END_TEST

static int
make_listening_port(void)
{
	return tcp_socket(INADDR_LOOPBACK, false, NULL);
}

static int
make_public(void)
{
	return tcp_socket(INADDR_ANY, true, NULL);
}

static int
make_datagrams(void)
{
	return unix_socket(new_path(), SOCK_DGRAM);
}

static int
make_file(void)
{
	return open("/dev/null", O_RDWR | O_CLOEXEC);
}

static int
make_netlink(void)
{
	return socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0);
}

static const struct {
	int (*make)(void);
	const char *message;
} unfit[] = {
	{make_listening_port, "descriptor 3 of LISTEN_FDS cannot be listened on: it does not listen"},
	{make_public, "passed by systemd, is reachable from other machines"},
	{make_datagrams, "descriptor 3 of LISTEN_FDS cannot be listened on: it is no stream socket"},
	{make_file, "descriptor 3 of LISTEN_FDS cannot be listened on: it is no socket"},
	{make_netlink, "descriptor 3 of LISTEN_FDS cannot be listened on: it is neither a TCP nor a unix socket"},
};

START_TEST(unfit_sockets_are_refused)
{
	int fd = unfit[_i].make();

	server_pass(fd);
	const struct server_run *run = run_server(STATE);
	expect_that(run->status == 2 && strstr(run->err, unfit[_i].message), "status %d: %s", run->status, run->err);
	close(fd);
}
END_TEST

START_TEST(a_public_one_is_fine_with_tokens)
{
	int fd = tcp_socket(INADDR_ANY, true, NULL);

	server_pass(fd);
	start_server(SERVER_BARE, STATE, "--auth-token-file", file_with("tokens", "token\n"));
	expect_problem(get("/v1/info"), 401, NULL);
	/* A reload without them would leave it open to everybody. */
	close(fd);
}
END_TEST

/* Set for another process, such as the shell that started this one. */
START_TEST(variables_of_others_are_ignored)
{
	start_server("LISTEN_PID=1", "LISTEN_FDS=3");
	expect_status(get("/livez"), 200);
	const struct server_run *run = run_server("LISTEN_FDS=nonsense", "--check-config");
	expect_that(run->status == 0, "without LISTEN_PID: status %d: %s", run->status, run->err);
}
END_TEST

/* ---- notices */

static int notices;
static char notice[4096];

static const char *
notices_at(const char *name)
{
	notices = unix_socket(name, SOCK_DGRAM);
	return text("NOTIFY_SOCKET=%s", name);
}

/* Waits for a notice with this line; those before it are dropped. */
static const char *
await_notice(const char *line)
{
	for (;;) {
		struct pollfd ready = {.fd = notices, .events = POLLIN};

		expect_that(
			poll(&ready, 1, SERVER_PATIENCE_MS) == 1, "no notice with %s; the last was: %s", line, notice);
		ssize_t got = recv(notices, notice, sizeof notice - 1, 0);
		ck_assert(got >= 0);
		notice[got] = '\0';
		const char *at = strstr(notice, line);
		if (at && (at == notice || at[-1] == '\n'))
			return notice;
	}
}

static void
no_notices(void)
{
	notices = -1;
	*notice = '\0';
}

static void
close_notices(void)
{
	if (notices >= 0)
		close(notices);
}

START_TEST(a_life_is_told)
{
	const char *name = _i ? text("@fetchpool-%s", new_key()) : new_path();
	struct server *server = start_server(notices_at(name));

	await_notice("READY=1");
	/* Ready is no less than that: jobs are taken. */
	expect(fetch(url("/echo"), ""), "state", "'succeeded'");
	server_signal(server, SIGHUP);
	const char *at = strstr(await_notice("RELOADING=1"), "MONOTONIC_USEC=");
	expect_that(at && strtoll(at + strlen("MONOTONIC_USEC="), NULL, 10) / 1000 <= mono_ms(), "said: %s", notice);
	await_notice("READY=1");
	expect_that(!strstr(notice, "failed"), "said: %s", notice);
	server_signal(server, SIGTERM);
	await_notice("STOPPING=1");
	expect_that(strstr(notice, "STATUS=draining"), "said: %s", notice);
	expect_that(server_wait(server) == 0, "not exit status 0");
}
END_TEST

START_TEST(a_bad_reload_is_told)
{
	const char *path = file_with("reload.conf", "egress-allow = 127.0.0.0/8\n");
	struct server *server = start_server(SERVER_GUARDED, notices_at(new_path()), "--config", path);

	await_notice("READY=1");
	file_with("reload.conf", "egress-allow = nonsense/99\n");
	server_signal(server, SIGHUP);
	await_notice("RELOADING=1");
	await_notice("READY=1");
	expect_that(strstr(notice, "the last reload failed"), "said: %s", notice);
}
END_TEST

START_TEST(ready_comes_after_recovery)
{
	const char *state = new_state_dir();
	struct server *server = start_server_on(state, "--listen", "127.0.0.1:0");
	json_t *job = fetch(url("/echo"), "");

	expect_that(end_server(server, SIGKILL) == 128 + SIGKILL, "it ended by itself");
	start_server_on(state, notices_at(new_path()), "--listen", "127.0.0.1:0");
	await_notice("STATUS=taking up");
	await_notice("READY=1");
	expect_status(get("/v1/jobs/%s", id_of(job)), 200);
}
END_TEST

START_TEST(a_start_that_fails_is_never_ready)
{
	const struct server_run *run =
		run_server(notices_at(new_path()), "--listen", "127.0.0.1:0", "--state-dir", "/dev/null/nothing");

	expect_that(run->status != 0, "it runs");
	while (recv(notices, notice, sizeof notice - 1, MSG_DONTWAIT) > 0)
		expect_that(!strstr(notice, "READY=1"), "it said it was ready");
}
END_TEST

START_TEST(nobody_need_listen)
{
	start_server(text("NOTIFY_SOCKET=%s", new_path()));
	expect_status(get("/livez"), 200);
	start_server("NOTIFY_SOCKET=nonsense");
	expect_status(get("/livez"), 200);
	start_server(text("NOTIFY_SOCKET=/%s", repeated("x", 200)));
	expect_status(get("/livez"), 200);
}
END_TEST

/* ---- the watchdog */

START_TEST(the_watchdog_is_told)
{
	struct server *server = start_server(notices_at(new_path()), "WATCHDOG_USEC=100000", "--workers", "3");

	await_notice("READY=1");
	for (int i = 0; i < 5; i++)
		await_notice("WATCHDOG=1");
	/* While it drains, too. */
	const char *key = new_key();
	submit(url("/hold?k=%s", key), "'timeout':'60s'");
	await_seen(key);
	server_signal(server, SIGTERM);
	await_notice("STOPPING=1");
	await_notice("WATCHDOG=1");
	origin_release(the_origin, key);
	expect_that(server_wait(server) == 0, "not exit status 0");
}
END_TEST

START_TEST(another_ones_watchdog_is_not)
{
	start_server(notices_at(new_path()), "WATCHDOG_USEC=1000", "WATCHDOG_PID=1");
	await_notice("READY=1");
	expect_status(get("/livez"), 200);
	while (recv(notices, notice, sizeof notice - 1, MSG_DONTWAIT) > 0)
		expect_that(!strstr(notice, "WATCHDOG=1"), "it tells a watchdog that is not its own");
}
END_TEST

/* A loop that waits for a disk for ever is stuck: so nothing is told, until it goes on. */
START_TEST(a_stuck_thread_is_not_covered_up)
{
	struct disk *disk = new_disk();

	start_server_on(disk->state_dir, ON_DISK(disk), notices_at(new_path()), "WATCHDOG_USEC=200000", "--workers",
		"1", "--inline-body-bytes", "0");
	await_notice("WATCHDOG=1");
	struct fault_rule *rule = disk_fails(disk, .calls = FAULT_WRITE, .path = "bodies/", .hold = true);
	submit(url("/bytes/200000"), "");
	await_hits(rule, 1);
	expect_that(server_await_line(the_server, "the watchdog is not told"), "it is told all the same");
	disk_heal(disk);
	while (recv(notices, notice, sizeof notice - 1, MSG_DONTWAIT) > 0)
		;
	await_notice("WATCHDOG=1");
}
END_TEST

/* ---- rights of unix sockets */

static mode_t
mode_of(const char *path, gid_t *ret_group)
{
	struct stat status;

	expect_that(stat(path, &status) == 0, "%s: %s", path, strerror(errno));
	if (ret_group)
		*ret_group = status.st_gid;
	return status.st_mode & 07777;
}

static const struct {
	const char *mode;
	mode_t want, mask;
} modes[] = {
	{NULL, 0600, 022},
	{NULL, 0600, 0},
	{"0600", 0600, 0},
	{"0660", 0660, 022},
	{"666", 0666, 077},
	{"0622", 0622, 077},
};

START_TEST(a_unix_socket_has_its_mode)
{
	const char *path = new_path();
	mode_t before = umask(modes[_i].mask);

	if (modes[_i].mode)
		start_server("--listen", text("unix:%s", path), "--unix-mode", modes[_i].mode);
	else
		start_server("--listen", text("unix:%s", path));
	umask(before);
	expect_that(mode_of(path, NULL) == modes[_i].want, "mode %o", mode_of(path, NULL));
	server_use_unix(the_server, path);
	expect_status(get("/livez"), 200);
}
END_TEST

/* A group of this process that is not its first; -1 when there is none. */
static gid_t
another_group(void)
{
	gid_t groups[64];
	int count = getgroups(64, groups);
	const struct group *daemon = getgrnam("daemon");

	if (geteuid() == 0 && daemon)
		return daemon->gr_gid;
	for (int i = 0; i < count; i++)
		if (groups[i] != getegid() && getgrgid(groups[i]))
			return groups[i];
	return (gid_t)-1;
}

START_TEST(a_unix_socket_has_its_group)
{
	const char *path = new_path();
	gid_t group = another_group(), got;

	if (group == (gid_t)-1)
		return; /* nothing to give it */
	start_server("--listen", text("unix:%s", path), "--unix-group", getgrgid(group)->gr_name);
	expect_that(mode_of(path, &got) == 0660, "mode %o", mode_of(path, NULL));
	expect_that(got == group, "group %u, not %u", got, group);
	end_server(the_server, SIGTERM);
	start_server(
		"--listen", text("unix:%s", path), "--unix-group", getgrgid(group)->gr_name, "--unix-mode", "0620");
	expect_that(mode_of(path, &got) == 0620 && got == group, "mode %o", mode_of(path, NULL));
}
END_TEST

static const struct {
	const char *option, *value, *message;
} bad[] = {
	{"--unix-mode", "660x", "--unix-mode: \"660x\" is not a mode in octal"},
	{"--unix-mode", "888", "--unix-mode: \"888\" is not a mode in octal"},
	{"--unix-mode", "4755", "--unix-mode: \"4755\" is not a mode in octal"},
	{"--unix-mode", "6", "--unix-mode: \"6\" is not a mode in octal"},
	{"--unix-group", "no-such-group-here", "--unix-group: there is no group \"no-such-group-here\""},
};

START_TEST(bad_rights_exit_2)
{
	const struct server_run *run = run_server(bad[_i].option, bad[_i].value, "--check-config");

	expect_that(run->status == 2 && strstr(run->err, bad[_i].message), "status %d: %s", run->status, run->err);
}
END_TEST

/* A file that is no socket is not replaced, nor are its rights changed. */
START_TEST(a_file_in_the_way_stays)
{
	const char *path = file_with("in-the-way", "precious");

	chmod(path, 0600);
	const struct server_run *run = run_server("--listen", text("unix:%s", path), "--unix-mode", "0666", STATE);
	expect_that(run->status == 1, "exit status %d", run->status);
	expect_that(mode_of(path, NULL) == 0600, "mode %o", mode_of(path, NULL));
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("activation");
	TCase *sockets = rig_case(suite, "sockets", NULL), *told = rig_case(suite, "notices", NULL);
	TCase *rights = rig_case(suite, "rights", NULL);

	tcase_add_test(sockets, a_passed_socket_takes_the_place_of_the_default);
	tcase_add_test(sockets, passed_and_asked_for_stand_beside_each_other);
	tcase_add_test(sockets, clients_wait_over_a_restart);
	tcase_add_test(sockets, an_abstract_socket_may_be_passed);
	tcase_add_loop_test(sockets, unfit_sockets_are_refused, 0, COUNT_OF(unfit));
	tcase_add_test(sockets, a_public_one_is_fine_with_tokens);
	tcase_add_test(sockets, variables_of_others_are_ignored);

	tcase_add_checked_fixture(told, no_notices, close_notices);
	tcase_add_loop_test(told, a_life_is_told, 0, 2);
	tcase_add_test(told, a_bad_reload_is_told);
	tcase_add_test(told, ready_comes_after_recovery);
	tcase_add_test(told, a_start_that_fails_is_never_ready);
	tcase_add_test(told, nobody_need_listen);
	tcase_add_test(told, the_watchdog_is_told);
	tcase_add_test(told, another_ones_watchdog_is_not);
	tcase_add_test(told, a_stuck_thread_is_not_covered_up);

	tcase_add_loop_test(rights, a_unix_socket_has_its_mode, 0, COUNT_OF(modes));
	tcase_add_test(rights, a_unix_socket_has_its_group);
	tcase_add_loop_test(rights, bad_rights_exit_2, 0, COUNT_OF(bad));
	tcase_add_test(rights, a_file_in_the_way_stays);
	return rig_run(suite);
}
