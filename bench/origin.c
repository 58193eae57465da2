/*
 * An origin that is faster than what is measured against it: GETs on kept-alive connections of loopback, answered from
 * memory by a few threads, each with its own epoll, its own listening sockets (SO_REUSEPORT) and its own timers.
 *
 *	origin [--threads N] [--bytes N] IPV4:PORT...
 *
 * Any path answers --bytes (1024) bytes; /bytes/N answers N; /delay/MS answers --bytes after so many milliseconds.
 * Several addresses make several origins: 127.0.0.1:8000 127.0.0.2:8000 and so on. Port 0 takes a free one. Each is told
 * on standard output as "origin listening on http://IPV4:PORT". It runs until SIGTERM.
 */
#include <config.h>

#include "common.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_ADDRESSES 256
#define MAX_THREADS 16
#define MAX_ANSWER_BYTES (16 << 20)
#define EVENTS_A_TURN 256

struct answer {
	char *bytes;
	size_t length;
};

/* What epoll hands back: a listening socket or a connection. */
struct source {
	int fd;
	bool listens;
};

struct conn {
	struct source source; /* first: epoll's pointer is to it */
	char in[4096];        /* a request's head, and what came behind it */
	size_t in_used;
	struct answer out; /* being sent; its bytes are the worker's own or, when owned, this connection's */
	size_t out_done;
	bool owned;
	bool delayed; /* in the heap: nothing is read until it is due */
	bool wants_out;
	int64_t due_us;
	size_t heap_at;
};

struct worker {
	pthread_t thread;
	int epoll;
	struct source listeners[MAX_ADDRESSES];
	size_t listener_count;
	struct conn **heap; /* the delayed connections, the next due first */
	size_t heap_used, heap_room;
};

static struct answer plain_answer;

static struct answer
make_answer(size_t body_bytes)
{
	struct answer answer;
	char head[160];
	int head_bytes;

	head_bytes = snprintf(head, sizeof head,
		"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %zu\r\n\r\n", body_bytes);
	answer.length = (size_t)head_bytes + body_bytes;
	answer.bytes = malloc(answer.length);
	if (answer.bytes == NULL)
		bench_die("an answer of %zu bytes", answer.length);
	memcpy(answer.bytes, head, (size_t)head_bytes);
	memset(answer.bytes + head_bytes, 'x', body_bytes);
	return answer;
}

/* ---- the heap of delayed connections */

static void
heap_set(struct worker *worker, size_t at, struct conn *conn)
{
	worker->heap[at] = conn;
	conn->heap_at = at;
}

static void
heap_up(struct worker *worker, size_t at, struct conn *conn)
{
	while (at > 0 && worker->heap[(at - 1) / 2]->due_us > conn->due_us) {
		heap_set(worker, at, worker->heap[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	heap_set(worker, at, conn);
}

static void
heap_down(struct worker *worker, size_t at, struct conn *conn)
{
	size_t child;

	while ((child = 2 * at + 1) < worker->heap_used) {
		if (child + 1 < worker->heap_used && worker->heap[child + 1]->due_us < worker->heap[child]->due_us)
			child++;
		if (worker->heap[child]->due_us >= conn->due_us)
			break;
		heap_set(worker, at, worker->heap[child]);
		at = child;
	}
	heap_set(worker, at, conn);
}

static void
heap_add(struct worker *worker, struct conn *conn)
{
	if (worker->heap_used == worker->heap_room) {
		worker->heap_room = worker->heap_room ? 2 * worker->heap_room : 256;
		worker->heap = realloc(worker->heap, worker->heap_room * sizeof(struct conn *));
		if (worker->heap == NULL)
			bench_die("timers");
	}
	conn->delayed = true;
	heap_up(worker, worker->heap_used++, conn);
}

static void
heap_remove(struct worker *worker, struct conn *conn)
{
	struct conn *last = worker->heap[--worker->heap_used];

	conn->delayed = false;
	if (last == conn)
		return;
	if (last->due_us < conn->due_us)
		heap_up(worker, conn->heap_at, last);
	else
		heap_down(worker, conn->heap_at, last);
}

/* ---- a connection */

static void
conn_close(struct worker *worker, struct conn *conn)
{
	if (conn->delayed)
		heap_remove(worker, conn);
	if (conn->owned)
		free(conn->out.bytes);
	close(conn->source.fd);
	free(conn);
}

static void
conn_watch(struct worker *worker, struct conn *conn, bool out)
{
	struct epoll_event event = {.events = out ? EPOLLOUT : EPOLLIN, .data.ptr = &conn->source};

	if (conn->wants_out == out)
		return;
	conn->wants_out = out;
	if (epoll_ctl(worker->epoll, EPOLL_CTL_MOD, conn->source.fd, &event) != 0)
		bench_die("epoll_ctl");
}

/* Sends what is left of the answer. False: the connection is gone. */
static bool
conn_send(struct worker *worker, struct conn *conn)
{
	ssize_t sent = send(conn->source.fd, conn->out.bytes + conn->out_done, conn->out.length - conn->out_done,
		MSG_NOSIGNAL | MSG_DONTWAIT);

	if (sent < 0 && errno != EAGAIN) {
		conn_close(worker, conn);
		return false;
	}
	if (sent > 0)
		conn->out_done += (size_t)sent;
	if (conn->out_done < conn->out.length) {
		conn_watch(worker, conn, true);
		return true;
	}
	if (conn->owned)
		free(conn->out.bytes);
	conn->owned = false;
	conn->out.length = conn->out_done = 0;
	conn_watch(worker, conn, false);
	return true;
}

/* Chooses the answer for the request line at conn->in; it is sent now or when it is due. */
static bool
conn_answer(struct worker *worker, struct conn *conn)
{
	const char *path = memchr(conn->in, ' ', conn->in_used);
	long number;

	conn->out = plain_answer;
	conn->out_done = 0;
	if (path != NULL && strncmp(path + 1, "/delay/", 7) == 0) {
		number = strtol(path + 8, NULL, 10);
		conn->due_us = bench_now_us() + (number > 0 ? number : 0) * 1000;
		heap_add(worker, conn);
		return true;
	}
	if (path != NULL && strncmp(path + 1, "/bytes/", 7) == 0) {
		number = strtol(path + 8, NULL, 10);
		conn->out = make_answer(number < 0 ? 0 : number > MAX_ANSWER_BYTES ? MAX_ANSWER_BYTES : (size_t)number);
		conn->owned = true;
	}
	return conn_send(worker, conn);
}

/* Answers the whole requests that have come in, one after the other. */
static void
conn_serve(struct worker *worker, struct conn *conn)
{
	while (conn->out.length == 0) {
		char *end;
		size_t used;

		conn->in[conn->in_used] = '\0';
		end = strstr(conn->in, "\r\n\r\n");
		if (end == NULL)
			return;
		used = (size_t)(end + 4 - conn->in);
		if (!conn_answer(worker, conn))
			return;
		conn->in_used -= used;
		memmove(conn->in, conn->in + used, conn->in_used);
	}
}

static void
conn_read(struct worker *worker, struct conn *conn)
{
	ssize_t got =
		recv(conn->source.fd, conn->in + conn->in_used, sizeof conn->in - 1 - conn->in_used, MSG_DONTWAIT);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0) {
		conn_close(worker, conn);
		return;
	}
	conn->in_used += (size_t)got;
	conn_serve(worker, conn);
}

/* ---- a thread */

static void
accept_all(struct worker *worker, int listener)
{
	int fd, one = 1;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct conn *conn = calloc(1, sizeof *conn);
		struct epoll_event event = {.events = EPOLLIN};

		if (conn == NULL)
			bench_die("a connection");
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
		conn->source.fd = fd;
		event.data.ptr = &conn->source;
		if (epoll_ctl(worker->epoll, EPOLL_CTL_ADD, fd, &event) != 0)
			bench_die("epoll_ctl");
	}
}

/* Sends the answers that are due; the milliseconds until the next one is, -1 when there is none. */
static int
send_due(struct worker *worker)
{
	int64_t now = bench_now_us();

	while (worker->heap_used > 0) {
		struct conn *conn = worker->heap[0];

		if (conn->due_us > now)
			return (int)((conn->due_us - now + 999) / 1000);
		heap_remove(worker, conn);
		if (conn_send(worker, conn))
			conn_serve(worker, conn);
	}
	return -1;
}

static void *
work(void *argument)
{
	struct worker *worker = argument;
	struct epoll_event events[EVENTS_A_TURN];

	for (;;) {
		int count = epoll_wait(worker->epoll, events, EVENTS_A_TURN, send_due(worker));

		for (int i = 0; i < count; i++) {
			struct source *source = events[i].data.ptr;
			struct conn *conn = (struct conn *)source;

			if (source->listens)
				accept_all(worker, source->fd);
			else if (events[i].events & EPOLLOUT && conn->wants_out) {
				if (conn_send(worker, conn))
					conn_serve(worker, conn);
			} else
				conn_read(worker, conn);
		}
	}
	return NULL;
}

/* Listens on the address, whose port is set when it was 0. */
static void
worker_listen(struct worker *worker, struct sockaddr_in *address)
{
	struct source *source = &worker->listeners[worker->listener_count++];
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = source};
	socklen_t length = sizeof *address;
	int one = 1;

	source->listens = true;
	source->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (source->fd < 0 || setsockopt(source->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
		setsockopt(source->fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) != 0)
		bench_die("socket");
	if (bind(source->fd, (struct sockaddr *)address, sizeof *address) != 0 || listen(source->fd, 4096) != 0 ||
		getsockname(source->fd, (struct sockaddr *)address, &length) != 0)
		bench_die("port %d", ntohs(address->sin_port));
	if (epoll_ctl(worker->epoll, EPOLL_CTL_ADD, source->fd, &event) != 0)
		bench_die("epoll_ctl");
}

static void
tell_address(const struct sockaddr_in *address)
{
	char host[INET_ADDRSTRLEN];

	inet_ntop(AF_INET, &address->sin_addr, host, sizeof host);
	printf("origin listening on http://%s:%d\n", host, ntohs(address->sin_port));
}

int
main(int argc, char **argv)
{
	static struct worker workers[MAX_THREADS];
	struct sockaddr_in addresses[MAX_ADDRESSES];
	size_t address_count = 0, thread_count = 1, bytes = 1024;
	sigset_t signals;
	int signal_number;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--threads") == 0 && i + 1 < argc)
			thread_count = (size_t)bench_number("--threads", argv[++i], 1, MAX_THREADS);
		else if (strcmp(argv[i], "--bytes") == 0 && i + 1 < argc)
			bytes = (size_t)bench_number("--bytes", argv[++i], 0, MAX_ANSWER_BYTES);
		else if (address_count < MAX_ADDRESSES)
			addresses[address_count++] = bench_address(argv[i]);
	}
	if (address_count == 0)
		bench_die("usage: origin [--threads N] [--bytes N] IPV4:PORT...");
	bench_raise_descriptors();
	plain_answer = make_answer(bytes);

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	bench_must(pthread_sigmask(SIG_BLOCK, &signals, NULL), "pthread_sigmask");
	for (size_t i = 0; i < thread_count; i++) {
		workers[i].epoll = epoll_create1(EPOLL_CLOEXEC);
		if (workers[i].epoll < 0)
			bench_die("epoll_create1");
		for (size_t j = 0; j < address_count; j++)
			worker_listen(&workers[i], &addresses[j]);
	}
	for (size_t i = 0; i < address_count; i++)
		tell_address(&addresses[i]);
	fflush(stdout);
	for (size_t i = 0; i < thread_count; i++)
		bench_must(pthread_create(&workers[i].thread, NULL, work, &workers[i]), "pthread_create");
	return sigwait(&signals, &signal_number);
}
