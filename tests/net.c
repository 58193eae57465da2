/*
 * net.so: a net that leads nowhere but to this machine; see net.h.
 *
 * It stands between a process and the C library by LD_PRELOAD. What it is told is read once, at the start; then it only
 * reads; what a descriptor was meant to lead to belongs to whoever has the descriptor. So there is no lock.
 */
#undef _FORTIFY_SOURCE /* its inline functions are the very ones that are made here */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "net.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* The function of this name in whatever comes behind us. */
#define NEXT(name)                                                                                                     \
	({                                                                                                             \
		static _Atomic(void *) found_;                                                                         \
		if (!found_)                                                                                           \
			found_ = dlsym(RTLD_NEXT, #name);                                                              \
		(__typeof__(&name))(void *)found_;                                                                     \
	})

#define MAX_PLACES 64

static struct place {
	char address[INET6_ADDRSTRLEN];
	unsigned port;
} places[MAX_PLACES];
static size_t place_count;
/* Where the process thinks that a descriptor leads; family 0: where it does. */
static struct sockaddr_in6 peers[65536];
static int log_fd = -1;

static void
read_map(const char *map)
{
	while (map && *map && place_count < MAX_PLACES) {
		struct place *place = &places[place_count];
		size_t length = strcspn(map, " ");

		if (sscanf(map, "%45[^= ]=%u", place->address, &place->port) == 2)
			place_count++;
		map += length + strspn(map + length, " ");
	}
}

static void __attribute__((constructor)) begin(void)
{
	const char *log_path = getenv("NET_LOG");

	read_map(getenv("NET_MAP"));
	if (log_path)
		log_fd = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void
note(const char *what, const char *where, unsigned port)
{
	char line[256];
	int saved = errno, length = snprintf(line, sizeof line, port ? "%s %s:%u\n" : "%s %s\n", what, where, port);

	if (log_fd >= 0 && write(log_fd, line, (size_t)length) < 0)
		abort();
	errno = saved;
}

/* ---- addresses */

struct target {
	bool inet, loopback;
	char text[INET6_ADDRSTRLEN];
	unsigned port;
};

static struct target
target_of(const struct sockaddr *to)
{
	struct target target = {.inet = to && (to->sa_family == AF_INET || to->sa_family == AF_INET6)};

	if (target.inet && to->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const void *)to;

		inet_ntop(AF_INET, &in->sin_addr, target.text, sizeof target.text);
		target.port = ntohs(in->sin_port);
		target.loopback = ntohl(in->sin_addr.s_addr) >> 24 == 127;
	} else if (target.inet) {
		const struct sockaddr_in6 *in = (const void *)to;

		inet_ntop(AF_INET6, &in->sin6_addr, target.text, sizeof target.text);
		target.port = ntohs(in->sin6_port);
		target.loopback = IN6_IS_ADDR_LOOPBACK(&in->sin6_addr);
	}
	return target;
}

/* 0: nowhere. */
static unsigned
mapped_port(const struct target *target)
{
	for (size_t i = 0; i < place_count; i++)
		if (!strcmp(places[i].address, target->text) || (!target->loopback && !strcmp(places[i].address, "*")))
			return places[i].port;
	return 0;
}

static void
remember_peer(int fd, const struct sockaddr *to)
{
	if (fd < 0 || (size_t)fd >= sizeof peers / sizeof *peers)
		return;
	memset(&peers[fd], 0, sizeof peers[fd]);
	if (to)
		memcpy(&peers[fd], to,
			to->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
}

static int
connect_mapped(int fd, int family, unsigned port)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = v4.sin_port};

	inet_pton(AF_INET, "127.0.0.1", &v4.sin_addr);
	inet_pton(AF_INET6, "::ffff:127.0.0.1", &v6.sin6_addr);
	return family == AF_INET ? NEXT(connect)(fd, (const struct sockaddr *)&v4, sizeof v4)
				 : NEXT(connect)(fd, (const struct sockaddr *)&v6, sizeof v6);
}

static void
note_unix(const struct sockaddr *to, socklen_t size)
{
	const struct sockaddr_un *un = (const void *)to;
	char path[sizeof un->sun_path + 1] = "";
	size_t length = size > sizeof(sa_family_t) ? size - sizeof(sa_family_t) : 0;

	memcpy(path, un->sun_path, length < sizeof un->sun_path ? length : sizeof un->sun_path);
	if (length > 0 && path[0] == '\0')
		path[0] = '@';
	note("unix", path, 0);
}

/* ---- the calls */

int
connect(int fd, const struct sockaddr *to, socklen_t size)
{
	struct target target = target_of(to);
	int type = 0;
	socklen_t type_size = sizeof type;
	unsigned port;

	getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_size);
	if (to && to->sa_family == AF_UNIX)
		note_unix(to, size);
	if (!target.inet || (type == SOCK_DGRAM && target.loopback))
		return NEXT(connect)(fd, to, size);
	port = type == SOCK_STREAM ? mapped_port(&target) : 0;
	if (port) {
		note("mapped", target.text, target.port);
		remember_peer(fd, to);
		return connect_mapped(fd, to->sa_family, port);
	}
	if (type == SOCK_STREAM)
		note(target.loopback ? "loopback" : "refused", target.text, target.port);
	if (target.loopback)
		return NEXT(connect)(fd, to, size);
	errno = ENETUNREACH;
	return -1;
}

int
getpeername(int fd, struct sockaddr *restrict to, socklen_t *restrict size)
{
	int failed = NEXT(getpeername)(fd, to, size);

	if (failed || fd < 0 || (size_t)fd >= sizeof peers / sizeof *peers || peers[fd].sin6_family == AF_UNSPEC)
		return failed;
	*size = peers[fd].sin6_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
	memcpy(to, &peers[fd], *size);
	return 0;
}

int
close(int fd)
{
	remember_peer(fd, NULL);
	return NEXT(close)(fd);
}

/* True when a datagram would leave; errno is set. */
static bool
leaves(const struct sockaddr *to)
{
	struct target target = target_of(to);

	if (!target.inet || target.loopback)
		return false;
	note("refused", target.text, target.port);
	errno = ENETUNREACH;
	return true;
}

ssize_t
sendto(int fd, const void *bytes, size_t size, int flags, const struct sockaddr *to, socklen_t to_size)
{
	return leaves(to) ? -1 : NEXT(sendto)(fd, bytes, size, flags, to, to_size);
}

ssize_t
sendmsg(int fd, const struct msghdr *message, int flags)
{
	return leaves(message->msg_name) ? -1 : NEXT(sendmsg)(fd, message, flags);
}

int
sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags)
{
	for (unsigned i = 0; i < count; i++)
		if (leaves(messages[i].msg_hdr.msg_name))
			return -1;
	return NEXT(sendmmsg)(fd, messages, count, flags);
}
