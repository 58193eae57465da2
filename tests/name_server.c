/*
 * The scripted name server; see name_server.h.
 *
 * Its thread owns the sockets. The counts of questions are shared with the test's threads, under `lock`. Messages are put
 * together as RFC 1035 has them, by hand, since no library makes wrong ones.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "name_server.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uthash.h>

#define MAX_MESSAGE 65535
#define MAX_UDP 512
#define MAX_STREAMS 32
#define MAX_ALIASES 16
#define NAME_BYTES 256

enum { TYPE_A = 1, TYPE_CNAME = 5, TYPE_AAAA = 28 };
enum { RCODE_OK = 0, RCODE_SERVFAIL = 2, RCODE_NXDOMAIN = 3, RCODE_REFUSED = 5 };

struct count {
	UT_hash_handle hh;
	size_t asked;
	char key[]; /* the type, a blank, the name */
};

/* A connection over TCP, with what came of a question. */
struct stream {
	int fd;
	size_t used;
	unsigned char in[2 + MAX_UDP];
};

struct name_server {
	pthread_t thread;
	const struct name_rule *rules;
	size_t rule_count;
	int udp_fd, tcp_fd, stop_fd;
	char address[32];
	struct stream streams[MAX_STREAMS];
	size_t stream_count;

	pthread_mutex_t lock;
	struct count *counts;
	size_t total;
};

/* ---- counting */

static size_t
count_question(struct name_server *server, const char *name, unsigned type)
{
	char key[NAME_BYTES + 16];
	struct count *count;
	size_t before;

	snprintf(key, sizeof key, "%u %s", type, name);
	pthread_mutex_lock(&server->lock);
	server->total++;
	HASH_FIND_STR(server->counts, key, count);
	if (!count) {
		count = calloc(1, sizeof *count + strlen(key) + 1);
		if (!count)
			abort();
		strcpy(count->key, key);
		HASH_ADD_KEYPTR(hh, server->counts, count->key, strlen(count->key), count);
	}
	before = count->asked++;
	pthread_mutex_unlock(&server->lock);
	return before;
}

size_t
name_server_asked(struct name_server *server, const char *name, unsigned type)
{
	char key[NAME_BYTES + 16];
	struct count *count = NULL;
	size_t asked;

	pthread_mutex_lock(&server->lock);
	if (name) {
		snprintf(key, sizeof key, "%u %s", type, name);
		HASH_FIND_STR(server->counts, key, count);
	}
	asked = name ? (count ? count->asked : 0) : server->total;
	pthread_mutex_unlock(&server->lock);
	return asked;
}

/* ---- messages */

struct message {
	unsigned char bytes[MAX_MESSAGE];
	size_t size;
	size_t answers;
};

static void
put(struct message *message, const void *bytes, size_t size)
{
	if (message->size + size > sizeof message->bytes)
		return;
	memcpy(message->bytes + message->size, bytes, size);
	message->size += size;
}

static void
put_number(struct message *message, uint32_t number, size_t size)
{
	unsigned char bytes[4] = {(unsigned char)(number >> 24), (unsigned char)(number >> 16),
		(unsigned char)(number >> 8), (unsigned char)number};

	put(message, bytes + sizeof bytes - size, size);
}

static void
put_name(struct message *message, const char *name)
{
	while (*name) {
		size_t length = strcspn(name, ".");

		put_number(message, (uint32_t)length, 1);
		put(message, name, length);
		name += length + (name[length] == '.');
	}
	put_number(message, 0, 1);
}

/* A record of what is asked, or with an owner of that name. */
static void
put_record(struct message *message, const struct name_rule *rule, const char *owner, unsigned type, const void *data,
	size_t size)
{
	if (message->size + NAME_BYTES + 16 + size > sizeof message->bytes)
		return;
	if (rule->manner & NAME_LOOPED)
		put_number(message, 0xc000 | (uint32_t)message->size, 2);
	else if (rule->manner & NAME_FOREIGN)
		put_name(message, "another.example");
	else if (owner)
		put_name(message, owner);
	else
		put_number(message, 0xc00c, 2);
	put_number(message, type, 2);
	put_number(message, 1, 2);
	put_number(message, rule->ttl, 4);
	if (rule->manner & NAME_STRANGE_SIZE && type != TYPE_CNAME)
		size = 3;
	put_number(message, (uint32_t)size, 2);
	put(message, data, size);
	message->answers++;
}

static void
put_alias(struct message *message, const struct name_rule *rule, const char *owner, const char *target)
{
	struct message name = {.size = 0};

	put_name(&name, target);
	put_record(message, rule, owner, TYPE_CNAME, name.bytes, name.size);
}

/* ---- what the rules say */

static const struct name_rule *
rule_for(const struct name_server *server, const char *name)
{
	for (size_t i = 0; i < server->rule_count; i++) {
		const struct name_rule *rule = &server->rules[i];
		size_t length = strlen(name), below = strlen(rule->name) - 1;

		if (!strcmp(rule->name, name))
			return rule;
		if (*rule->name == '*' && length > below && !strcmp(name + length - below, rule->name + 1))
			return rule;
	}
	return NULL;
}

/* The nth part, or the last one. */
static void
step_of(const char *answers, size_t nth, char *ret, size_t size)
{
	const char *end;

	while ((end = strchr(answers, ';')) && nth-- > 0)
		answers = end + 1;
	snprintf(ret, size, "%.*s", (int)strcspn(answers, ";"), answers);
}

static void
put_crowd(struct message *message, const struct name_rule *rule, const char *owner)
{
	for (unsigned i = 0; i < rule->crowd; i++)
		put_record(message, rule, owner, TYPE_A,
			(const unsigned char[]){93, 184, (unsigned char)(i >> 8), (unsigned char)i}, 4);
}

/* Puts a rule's records of this type for the owner (NULL: what was asked); follows aliases. */
static void
put_answers(struct name_server *server, struct message *message, const struct name_rule *rule, const char *owner,
	unsigned type, size_t nth)
{
	char step[2048], target[NAME_BYTES], *save = NULL;

	for (int aliases = 0; rule && aliases < MAX_ALIASES; aliases++) {
		const struct name_rule *next = NULL;

		if (type == TYPE_A)
			put_crowd(message, rule, owner);
		step_of(rule->answers ? rule->answers : "", nth, step, sizeof step);
		for (char *word = strtok_r(step, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
			unsigned char bytes[16];

			if (*word == '=') {
				put_alias(message, rule, owner, word + 1);
				next = rule_for(server, word + 1);
				snprintf(target, sizeof target, "%s", word + 1);
			} else if (type == TYPE_A && inet_pton(AF_INET, word, bytes) == 1)
				put_record(message, rule, owner, TYPE_A, bytes, 4);
			else if (type == TYPE_AAAA && inet_pton(AF_INET6, word, bytes) == 1)
				put_record(message, rule, owner, TYPE_AAAA, bytes, 16);
		}
		rule = next;
		owner = target;
	}
}

struct question {
	char name[NAME_BYTES]; /* in lower case */
	unsigned type;
	size_t end; /* of its bytes in the message */
};

static bool
read_question(const unsigned char *message, size_t size, struct question *ret)
{
	size_t at = 12, out = 0;

	if (size < 17 || message[2] & 0x80)
		return false;
	while (at < size && message[at] && at + message[at] + 5 < size && out + message[at] + 1u < NAME_BYTES) {
		if (out)
			ret->name[out++] = '.';
		for (size_t i = 1; i <= message[at]; i++)
			ret->name[out++] = (char)tolower(message[at + i]);
		at += message[at] + 1u;
	}
	ret->name[out] = '\0';
	if (at + 5 > size || message[at])
		return false;
	ret->type = (unsigned)(message[at + 1] << 8 | message[at + 2]);
	ret->end = at + 5;
	return true;
}

static void
begin_answer(struct message *message, const unsigned char *asked, const struct question *question, unsigned manner)
{
	message->size = message->answers = 0;
	put(message, asked, 2);
	if (manner & NAME_WRONG_ID)
		message->bytes[1] ^= 0x55;
	put_number(message, manner & NAME_NO_ANSWER_BIT ? 0x0180 : 0x8180, 2);
	put_number(message, 1, 2);
	put_number(message, 0, 2); /* the count of answers: end_answer */
	put_number(message, 0, 4);
	put(message, asked + 12, question->end - 12);
	if (manner & NAME_OTHER_QUESTION)
		message->bytes[13] ^= 1;
}

static void
end_answer(struct message *message, unsigned manner, unsigned rcode)
{
	static const unsigned char noise[] = {0x3f, 0xff, 0xc1, 0x9a, 0x00, 0x80, 0x41, 0xbf, 0xc0, 0xff, 0x7f, 0x05};

	if (manner & NAME_NOISE) {
		for (int i = 0; i < 8; i++)
			put(message, noise, sizeof noise);
		message->answers = 200;
	}
	if (manner & NAME_CUT)
		message->size -= 3;
	message->bytes[3] |= (unsigned char)rcode;
	message->bytes[6] = (unsigned char)(message->answers >> 8);
	message->bytes[7] = (unsigned char)message->answers;
}

/* False when there is to be no answer. */
static bool
answer(struct name_server *server, const unsigned char *asked, size_t size, bool stream, struct message *ret)
{
	struct question question;
	const struct name_rule *rule;
	unsigned manner, rcode;
	size_t nth;

	if (!read_question(asked, size, &question))
		return false;
	nth = count_question(server, question.name, question.type);
	rule = rule_for(server, question.name);
	manner = rule ? rule->manner : 0;
	if (manner & NAME_SILENT || (stream && manner & NAME_TCP_SILENT))
		return false;
	rcode = !rule                   ? RCODE_NXDOMAIN
		: manner & NAME_FAILS   ? RCODE_SERVFAIL
		: manner & NAME_REFUSED ? RCODE_REFUSED
					: RCODE_OK;
	begin_answer(ret, asked, &question, manner);
	if (rule && rcode == RCODE_OK && (stream || !(manner & NAME_TCP)))
		put_answers(server, ret, rule, NULL, question.type, stream && nth > 0 ? nth - 1 : nth);
	end_answer(ret, manner, rcode);
	if (!stream && (manner & NAME_TCP || ret->size > MAX_UDP)) {
		ret->size = question.end;
		ret->bytes[6] = ret->bytes[7] = 0;
		ret->bytes[2] |= 2; /* it did not fit */
	}
	return true;
}

/* ---- sockets */

static void
serve_datagram(struct name_server *server, struct message *message)
{
	unsigned char asked[MAX_UDP];
	struct sockaddr_in from;
	socklen_t from_size = sizeof from;
	ssize_t size = recvfrom(server->udp_fd, asked, sizeof asked, 0, (struct sockaddr *)&from, &from_size);

	if (size > 0 && answer(server, asked, (size_t)size, false, message))
		(void)!sendto(server->udp_fd, message->bytes, message->size, 0, (struct sockaddr *)&from, from_size);
}

static bool
send_all(int fd, const unsigned char *bytes, size_t size)
{
	while (size > 0) {
		ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL);

		if (sent <= 0)
			return false;
		bytes += sent;
		size -= (size_t)sent;
	}
	return true;
}

/* False when the connection is to be closed. */
static bool
answer_stream(struct name_server *server, int fd, const unsigned char *asked, size_t size, struct message *message)
{
	struct question question;
	const struct name_rule *rule;
	bool cut;

	if (!answer(server, asked, size, true, message))
		return true;
	rule = read_question(asked, size, &question) ? rule_for(server, question.name) : NULL;
	cut = rule && rule->manner & NAME_TCP_CUT;
	unsigned char length[2] = {(unsigned char)(message->size >> 8), (unsigned char)message->size};
	return send_all(fd, length, 2) && send_all(fd, message->bytes, cut ? message->size / 2 : message->size) && !cut;
}

static bool
serve_stream(struct name_server *server, struct stream *stream, struct message *message)
{
	ssize_t got = recv(stream->fd, stream->in + stream->used, sizeof stream->in - stream->used, 0);

	if (got <= 0)
		return false;
	stream->used += (size_t)got;
	for (;;) {
		size_t size = stream->used < 2 ? 0 : (size_t)(stream->in[0] << 8 | stream->in[1]);

		if (size + 2 > sizeof stream->in)
			return false;
		if (stream->used < 2 || stream->used < 2 + size)
			return true;
		if (!answer_stream(server, stream->fd, stream->in + 2, size, message))
			return false;
		stream->used -= 2 + size;
		memmove(stream->in, stream->in + 2 + size, stream->used);
	}
}

static void
accept_stream(struct name_server *server)
{
	int fd = accept4(server->tcp_fd, NULL, NULL, SOCK_CLOEXEC);

	if (fd >= 0)
		server->streams[server->stream_count++] = (struct stream){.fd = fd};
}

static void
drop_stream(struct name_server *server, size_t at)
{
	close(server->streams[at].fd);
	server->streams[at] = server->streams[--server->stream_count];
}

static void *
run(void *context)
{
	struct name_server *server = context;
	struct message *message = malloc(sizeof *message);
	struct pollfd fds[3 + MAX_STREAMS];

	if (!message)
		abort();
	for (;;) {
		size_t count = server->stream_count;

		fds[0] = (struct pollfd){.fd = server->stop_fd, .events = POLLIN};
		fds[1] = (struct pollfd){.fd = server->udp_fd, .events = POLLIN};
		fds[2] = (struct pollfd){.fd = count < MAX_STREAMS ? server->tcp_fd : -1, .events = POLLIN};
		for (size_t i = 0; i < count; i++)
			fds[3 + i] = (struct pollfd){.fd = server->streams[i].fd, .events = POLLIN};
		if (poll(fds, 3 + count, -1) < 0 && errno != EINTR)
			break;
		if (fds[0].revents)
			break;
		for (size_t i = count; i-- > 0;)
			if (fds[3 + i].revents && !serve_stream(server, &server->streams[i], message))
				drop_stream(server, i);
		if (fds[1].revents)
			serve_datagram(server, message);
		if (fds[2].revents)
			accept_stream(server);
	}
	free(message);
	return NULL;
}

/* ---- life */

/* Both on one port. */
static bool
open_sockets(struct name_server *server)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof address;
	int room = 4 << 20;

	server->tcp_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	server->udp_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	server->stop_fd = eventfd(0, EFD_CLOEXEC);
	setsockopt(server->udp_fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
	if (bind(server->tcp_fd, (struct sockaddr *)&address, size) || listen(server->tcp_fd, 64) ||
		getsockname(server->tcp_fd, (struct sockaddr *)&address, &size) ||
		bind(server->udp_fd, (struct sockaddr *)&address, size))
		return false;
	snprintf(server->address, sizeof server->address, "127.0.0.1:%u", ntohs(address.sin_port));
	return true;
}

static void
close_sockets(struct name_server *server)
{
	close(server->tcp_fd);
	close(server->udp_fd);
	close(server->stop_fd);
	while (server->stream_count > 0)
		drop_stream(server, 0);
}

struct name_server *
name_server_start(const struct name_rule *rules, size_t count)
{
	struct name_server *server = calloc(1, sizeof *server);

	if (!server)
		abort();
	server->rules = rules;
	server->rule_count = count;
	pthread_mutex_init(&server->lock, NULL);
	for (int tries = 0; !open_sockets(server); tries++) {
		close_sockets(server); /* the port was free for TCP alone */
		if (tries < 20)
			continue;
		free(server);
		return NULL;
	}
	if (pthread_create(&server->thread, NULL, run, server))
		abort();
	return server;
}

void
name_server_stop(struct name_server *server)
{
	struct count *count, *next;

	if (write(server->stop_fd, &(uint64_t){1}, sizeof(uint64_t)) < 0)
		abort();
	pthread_join(server->thread, NULL);
	close_sockets(server);
	HASH_ITER(hh, server->counts, count, next) {
		HASH_DEL(server->counts, count);
		free(count);
	}
	pthread_mutex_destroy(&server->lock);
	free(server);
}

const char *
name_server_address(const struct name_server *server)
{
	return server->address;
}
