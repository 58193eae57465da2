/* Connections of clients (api/http_connection.h), with clocks and sockets that the test moves itself. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/http_connection.h"
#include "base/clock.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

static const struct config usual = {
	.max_connections = 10,
	.max_connections_per_address = 2,
	.keepalive_timeout_ms = 60000,
	.head_timeout_ms = 10000,
	.body_timeout_ms = 120000,
	.min_client_rate = 1024,
};

static struct http_bounds bounds;
static struct http_connections connections;

static void
begin(void)
{
	http_bounds_init(&bounds, &usual);
	http_connections_init(&connections, &bounds, false);
}

static void
end(void)
{
	http_connections_release(&connections);
	http_bounds_release(&bounds);
}

static union {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
} from;

static const struct sockaddr *
address(const char *text)
{
	memset(&from, 0, sizeof from);
	from.any.sa_family = strchr(text, ':') != NULL ? AF_INET6 : AF_INET;
	if (from.any.sa_family == AF_INET6)
		ck_assert_int_eq(inet_pton(AF_INET6, text, &from.v6.sin6_addr), 1);
	else
		ck_assert_int_eq(inet_pton(AF_INET, text, &from.v4.sin_addr), 1);
	return &from.any;
}

/* ---- how many */

struct pair {
	int server, client;
};

static struct pair connect_pair(void);
static void close_pair(struct pair pair, struct http_connection *connection);
static bool is_cut(struct pair pair);

static const struct {
	const char *first, *then;
	bool admitted; /* when the first one has as many as it may have */
} peers[] = {
	{"192.0.2.1", "192.0.2.1", false},
	{"192.0.2.1", "192.0.2.2", true},
	{"2001:db8::1", "2001:db8::1", false},
	{"2001:db8::1", "2001:db8::ffff:2", false}, /* the same /64: one host has it all */
	{"2001:db8::1", "2001:db8:0:1::1", true},
	{"192.0.2.1", "2001:db8::1", true},
	{"127.0.0.1", "127.0.0.1", true}, /* a proxy on this machine speaks for many */
	{"127.0.0.1", "127.9.9.9", true},
	{"::1", "::1", true},
	/* IPv4 on a socket that takes both */
	{"::ffff:192.0.2.1", "::ffff:192.0.2.1", false},
	{"::ffff:192.0.2.1", "::ffff:192.0.2.2", true},
	{"::ffff:192.0.2.1", "192.0.2.1", false},
	{"::ffff:127.0.0.1", "::ffff:127.0.0.1", true},
};

START_TEST(bounds_each_address)
{
	struct http_connection *held[2];

	begin();
	for (int i = 0; i < 2; i++) {
		ck_assert(http_connection_admitted(&bounds, address(peers[_i].first)));
		held[i] = http_connection_new(&connections, 1000 + i, address(peers[_i].first));
		ck_assert_ptr_nonnull(held[i]);
	}
	ck_assert(http_connection_admitted(&bounds, address(peers[_i].then)) == peers[_i].admitted);
	http_connection_free(held[0]);
	ck_assert(http_connection_admitted(&bounds, address(peers[_i].then)));
	http_connection_free(held[1]);
	ck_assert_ptr_null(bounds.peers);
	end();
}
END_TEST

START_TEST(bounds_all)
{
	struct http_connection *held[10 + 64 + 64]; /* the limit, the reserve, those that leave it */

	begin();
	for (int i = 0; i < COUNT(held); i++) {
		ck_assert(http_connection_admitted(&bounds, NULL));
		held[i] = http_connection_new(&connections, 1000 + i, NULL);
		ck_assert(held[i]->over_limit == (i >= 10));
	}
	ck_assert(!http_connection_admitted(&bounds, NULL));
	ck_assert_uint_eq(http_connections_open(&bounds), COUNT(held));
	ck_assert_uint_eq(bounds.above_count, 64);
	for (int i = 0; i < COUNT(held); i++) {
		ck_assert_ptr_eq(http_connection_find(1000 + i), held[i]);
		http_connection_free(held[i]);
		ck_assert_ptr_null(http_connection_find(1000 + i));
	}
	ck_assert_uint_eq(http_connections_open(&bounds), 0);
	ck_assert_uint_eq(bounds.above_count, 0);
	end();
}
END_TEST

/* The oldest that is above the limit goes for another, but not in the middle of its answer, or when something came of it. */
START_TEST(those_above_leave_for_others)
{
	static struct http_connection *within[10], *above[64 + 1];
	static struct pair pairs[64 + 1];

	begin();
	for (int i = 0; i < COUNT(within); i++)
		within[i] = http_connection_new(&connections, 1000 + i, NULL);
	for (int i = 0; i < COUNT(above); i++) {
		pairs[i] = connect_pair();
		above[i] = http_connection_new(&connections, pairs[i].server, NULL);
		ck_assert(above[i]->over_limit);
		if (i == 0)
			http_connection_answers(above[i]);
		if (i == 1)
			ck_assert_int_eq(send(pairs[i].client, "G", 1, 0), 1);
	}
	ck_assert(!is_cut(pairs[0]));
	ck_assert(!is_cut(pairs[1]));
	ck_assert(is_cut(pairs[2]));
	for (int i = 3; i < COUNT(above); i++)
		ck_assert(!is_cut(pairs[i]));
	for (int i = 0; i < COUNT(above); i++)
		close_pair(pairs[i], above[i]);
	for (int i = 0; i < COUNT(within); i++)
		http_connection_free(within[i]);
	ck_assert_uint_eq(bounds.above_count, 0);
	end();
}
END_TEST

/* ---- clocks */

static struct pair
connect_pair(void)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof to;
	int door = socket(AF_INET, SOCK_STREAM, 0);
	struct pair pair = {.client = socket(AF_INET, SOCK_STREAM, 0)};

	ck_assert_int_eq(bind(door, (struct sockaddr *)&to, sizeof to), 0);
	ck_assert_int_eq(listen(door, 1), 0);
	ck_assert_int_eq(getsockname(door, (struct sockaddr *)&to, &length), 0);
	ck_assert_int_eq(connect(pair.client, (struct sockaddr *)&to, sizeof to), 0);
	pair.server = accept(door, NULL, NULL);
	ck_assert_int_ge(pair.server, 0);
	ck_assert_int_eq(fcntl(pair.server, F_SETFL, O_NONBLOCK), 0);
	close(door);
	return pair;
}

static void
close_pair(struct pair pair, struct http_connection *connection)
{
	http_connection_free(connection);
	close(pair.server);
	close(pair.client);
}

/* Sends until the socket takes no more. */
static void
fill(int fd)
{
	static const char bytes[65536];

	while (send(fd, bytes, sizeof bytes, MSG_NOSIGNAL) > 0)
		;
}

/* Reads all that is there. */
static void
drain(int fd)
{
	static char bytes[65536];

	while (recvfrom(fd, bytes, sizeof bytes, MSG_DONTWAIT, NULL, NULL) > 0)
		;
}

static bool
is_cut(struct pair pair)
{
	return send(pair.server, "x", 1, MSG_NOSIGNAL) < 0 && errno == EPIPE;
}

START_TEST(cuts_slow_readers)
{
	struct pair pair = connect_pair();
	int64_t now_ms = mono_ms();

	begin();
	struct http_connection *connection = http_connection_new(&connections, pair.server, NULL);
	http_connections_watch(&connections, now_ms);
	http_connection_answers(connection);
	fill(pair.server);
	http_connections_watch(&connections, now_ms += 1000); /* a stretch begins */
	http_connections_watch(&connections, now_ms += 19000);
	ck_assert(!is_cut(pair));
	drain(pair.client);
	fill(pair.server);
	http_connections_watch(&connections, now_ms += 2000); /* much was read: another stretch */
	ck_assert(!is_cut(pair));
	http_connections_watch(&connections, now_ms += 21000); /* nothing was */
	ck_assert(is_cut(pair));
	close_pair(pair, connection);
	end();
}
END_TEST

/* A stream that has nothing to say is not slow, nor is one whose answer is over. */
START_TEST(leaves_quiet_streams)
{
	struct pair pair = connect_pair();
	int64_t now_ms = mono_ms();

	begin();
	struct http_connection *connection = http_connection_new(&connections, pair.server, NULL);
	http_connection_answers(connection);
	for (int i = 0; i < 10; i++) {
		http_connections_watch(&connections, now_ms += 5000);
		ck_assert(!is_cut(pair));
		char byte;
		ck_assert_int_eq(recvfrom(pair.client, &byte, 1, 0, NULL, NULL), 1);
	}
	http_connection_answered(connection);
	fill(pair.server);
	http_connections_watch(&connections, now_ms += 100000);
	http_connections_watch(&connections, now_ms += 100000);
	char byte;
	ck_assert_int_eq(recvfrom(pair.client, &byte, 1, 0, NULL, NULL), 1);
	close_pair(pair, connection);
	end();
}
END_TEST

/* ---- what is read */

#define HEAD "GET / HTTP/1.1\r\nHost: a\r\n"

/* What recv gives next, as libmicrohttpd calls it. */
static ssize_t
receive(struct pair pair, char *bytes, size_t size)
{
	ssize_t count = recv(pair.server, bytes, size, 0);

	return count < 0 ? -errno : count;
}

START_TEST(gives_only_what_is_whole)
{
	static const char sent[] = HEAD "\r\n" HEAD ":\n" HEAD "\r\n";
	char bytes[1000] = "", answer[1000] = "";
	struct pair pair = connect_pair();

	begin();
	struct http_connection *connection = http_connection_new(&connections, pair.server, NULL);
	ck_assert_int_eq(send(pair.client, sent, sizeof sent - 1, 0), sizeof sent - 1);
	ck_assert_int_eq(receive(pair, bytes, sizeof bytes), strlen(HEAD "\r\n"));
	ck_assert_int_eq(memcmp(bytes, HEAD "\r\n", strlen(HEAD "\r\n")), 0);
	ck_assert_int_eq(recvfrom(pair.client, answer, sizeof answer, MSG_DONTWAIT, NULL, NULL), -1);
	http_connection_answered(connection);
	ck_assert_int_eq(receive(pair, bytes, sizeof bytes), -ECONNRESET);
	ck_assert_int_gt(recvfrom(pair.client, answer, sizeof answer - 1, 0, NULL, NULL), 0);
	ck_assert_msg(strncmp(answer, "HTTP/1.1 400 ", 13) == 0, "%s", answer);
	ck_assert_int_eq(receive(pair, bytes, sizeof bytes), -ECONNRESET);
	ck_assert_int_eq(recvfrom(pair.client, answer, sizeof answer, MSG_DONTWAIT, NULL, NULL), -1);
	close_pair(pair, connection);
	end();
}
END_TEST

START_TEST(tells_of_a_time_that_is_up)
{
	char bytes[1000], answer[1000] = "";
	struct pair pair = connect_pair();

	begin();
	struct http_connection *connection = http_connection_new(&connections, pair.server, NULL);
	ck_assert_int_eq(send(pair.client, HEAD, strlen(HEAD), 0), strlen(HEAD));
	ck_assert_int_eq(receive(pair, bytes, sizeof bytes), strlen(HEAD));
	http_connections_watch(&connections, mono_ms() + 9000);
	ck_assert_int_eq(receive(pair, bytes, sizeof bytes), -EAGAIN);
	http_connections_watch(&connections, mono_ms() + 10001);
	ck_assert_int_eq(receive(pair, bytes, sizeof bytes), -ECONNRESET);
	ck_assert_int_gt(recvfrom(pair.client, answer, sizeof answer - 1, 0, NULL, NULL), 0);
	ck_assert_msg(strncmp(answer, "HTTP/1.1 408 ", 13) == 0, "%s", answer);
	close_pair(pair, connection);
	end();
}
END_TEST

/* One that never sent anything is closed in silence, one that is being answered stays. */
START_TEST(tells_nothing_to_the_silent)
{
	char bytes[1000];
	struct pair pair = connect_pair();

	begin();
	struct http_connection *connection = http_connection_new(&connections, pair.server, NULL);
	http_connections_watch(&connections, mono_ms() + 60001);
	ck_assert_int_eq(receive(pair, bytes, sizeof bytes), -ECONNRESET);
	ck_assert_int_eq(recvfrom(pair.client, bytes, sizeof bytes, MSG_DONTWAIT, NULL, NULL), -1);
	close_pair(pair, connection);

	pair = connect_pair();
	connection = http_connection_new(&connections, pair.server, NULL);
	ck_assert_int_eq(send(pair.client, HEAD "\r\n" HEAD, strlen(HEAD "\r\n" HEAD), 0), strlen(HEAD "\r\n" HEAD));
	ck_assert_int_eq(receive(pair, bytes, sizeof bytes), strlen(HEAD "\r\n" HEAD));
	http_connections_watch(&connections, mono_ms() + 1000000);
	ck_assert_int_eq(receive(pair, bytes, sizeof bytes), -EAGAIN);
	close_pair(pair, connection);
	end();
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("connection");
	SRunner *runner = srunner_create(suite);
	TCase *tests = tcase_create("connection");

	tcase_set_timeout(tests, 60); /* sanitizers on a busy machine */
	tcase_add_loop_test(tests, bounds_each_address, 0, COUNT(peers));
	tcase_add_test(tests, bounds_all);
	tcase_add_test(tests, those_above_leave_for_others);
	tcase_add_test(tests, cuts_slow_readers);
	tcase_add_test(tests, leaves_quiet_streams);
	tcase_add_test(tests, gives_only_what_is_whole);
	tcase_add_test(tests, tells_of_a_time_that_is_up);
	tcase_add_test(tests, tells_nothing_to_the_silent);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
