/*
 * See http_listen.h. Each front thread accepts on a socket of its own (SO_REUSEPORT): with one shared socket all of them
 * wake for each new connection. A unix path cannot be shared like that: its threads take turns at one socket.
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "api/http_listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 4096

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	struct sockaddr_un un;
};

static bool
is_unix(const char *listen)
{
	return strncmp(listen, "unix:", 5) == 0;
}

/* Reads ADDR:PORT; the form was checked with the options. */
static int
read_tcp(const char *listen, union address *ret, socklen_t *ret_length)
{
	char host[64];
	const char *colon = strrchr(listen, ':');

	memset(ret, 0, sizeof *ret);
	if (colon == NULL || (size_t)(colon - listen) >= sizeof host)
		return -EINVAL;
	snprintf(host, sizeof host, "%.*s", (int)(colon - listen), listen);
	in_port_t port = htons((uint16_t)atoi(colon + 1));
	if (strcmp(host, "localhost") == 0)
		snprintf(host, sizeof host, "127.0.0.1");
	if (host[0] == '[') {
		host[strlen(host) - 1] = '\0';
		ret->v6.sin6_family = AF_INET6;
		ret->v6.sin6_port = port;
		*ret_length = sizeof ret->v6;
		return inet_pton(AF_INET6, host + 1, &ret->v6.sin6_addr) == 1 ? 0 : -EINVAL;
	}
	ret->v4.sin_family = AF_INET;
	ret->v4.sin_port = port;
	*ret_length = sizeof ret->v4;
	return inet_pton(AF_INET, host, &ret->v4.sin_addr) == 1 ? 0 : -EINVAL;
}

/* A socket that is bound, and does not listen yet. */
static int
bound_socket(const union address *address, socklen_t length, bool shared)
{
	int one = 1, error = 0;
	int fd = socket(address->any.sa_family, SOCK_STREAM, 0);

	if (fd < 0)
		return -errno;
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	if (address->any.sa_family != AF_UNIX)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (address->any.sa_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
#ifdef SO_REUSEPORT
	if (shared && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) != 0)
		error = -errno;
#else
	(void)shared;
#endif
	if (address->any.sa_family == AF_UNIX)
		fchmod(fd, 0); /* on Linux the file is made with these rights */
	if (error == 0 && bind(fd, &address->any, length) != 0)
		error = -errno;
	if (error != 0)
		close(fd);
	return error != 0 ? error : fd;
}

static int
new_socket(const union address *address, socklen_t length, bool shared)
{
	int fd = bound_socket(address, length, shared);

	if (fd >= 0 && listen(fd, BACKLOG) != 0) {
		int error = -errno;

		close(fd);
		return error;
	}
	return fd;
}

/* A socket that shares its port binds even when another of this user's programs shares it, too: ask first, alone. */
static int
probe(const union address *address, socklen_t length)
{
	int fd = new_socket(address, length, false);

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

static char *
show_tcp(int fd, bool tls)
{
	const char *scheme = tls ? "https" : "http";
	union address address;
	socklen_t length = sizeof address;
	char host[INET6_ADDRSTRLEN], *text = NULL;
	int written;

	if (getsockname(fd, &address.any, &length) != 0)
		return NULL;
	if (address.any.sa_family == AF_INET6) {
		inet_ntop(AF_INET6, &address.v6.sin6_addr, host, sizeof host);
		written = asprintf(&text, "%s://[%s]:%u", scheme, host, ntohs(address.v6.sin6_port));
	} else {
		inet_ntop(AF_INET, &address.v4.sin_addr, host, sizeof host);
		written = asprintf(&text, "%s://%s:%u", scheme, host, ntohs(address.v4.sin_port));
	}
	return written < 0 ? NULL : text;
}

static int
open_tcp(const char *listen, const struct config *config, struct http_door *door)
{
	size_t threads = (size_t)config->front_threads;
	union address address;
	socklen_t length;

	int error = read_tcp(listen, &address, &length);
	if (error == 0)
		error = probe(&address, length);
	for (size_t i = 0; error == 0 && i < threads; i++) {
		int fd = new_socket(&address, length, true);

		if (fd < 0)
			return fd;
		door->sockets[door->socket_count++] = fd;
		/* With port 0 the first one takes a port, which the others share. */
		if (i == 0 && getsockname(fd, &address.any, &length) != 0)
			return -errno;
	}
	if (error == 0)
		door->address = show_tcp(door->sockets[0], config->tls_cert != NULL);
	door->tls = config->tls_cert != NULL;
	return error != 0 ? error : door->address == NULL ? -ENOMEM : 0;
}

/* Removes a socket file that nobody answers on any more. */
static int
remove_stale(const union address *address, socklen_t length)
{
	struct stat info;
	int fd, error = 0;

	if (lstat(address->un.sun_path, &info) != 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(info.st_mode))
		return -EEXIST;
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, &address->any, length) == 0)
		error = -EADDRINUSE;
	else if (errno == ECONNREFUSED && unlink(address->un.sun_path) != 0)
		error = -errno;
	close(fd);
	return error;
}

/*
 * Gives the file its group and its rights. Nobody can connect before the socket listens, and until here the file has no rights
 * at all, so there is no moment at which more people may connect than are to.
 */
static int
set_rights(const char *path, const struct config *config)
{
	mode_t mode = config->unix_group != NULL ? 0660 : 0600;

	if (config->unix_mode != NULL)
		mode = (mode_t)strtoul(config->unix_mode, NULL, 8);
	if (config->unix_group != NULL) {
		const struct group *group = getgrnam(config->unix_group);

		if (group == NULL)
			return -ENOENT;
		if (lchown(path, (uid_t)-1, group->gr_gid) != 0)
			return -errno;
	}
	if (fchmodat(AT_FDCWD, path, mode, AT_SYMLINK_NOFOLLOW) == 0)
		return 0;
	return errno == EOPNOTSUPP && chmod(path, mode) == 0 ? 0 : -errno;
}

/* All front threads take turns at one socket: the first entry is it, the others are made from it. */
static int
share_socket(struct http_door *door, int fd, size_t threads)
{
	door->sockets[door->socket_count++] = fd;
	while (door->socket_count < threads) {
		fd = fcntl(door->sockets[0], F_DUPFD_CLOEXEC, 0);
		if (fd < 0)
			return -errno;
		door->sockets[door->socket_count++] = fd;
	}
	return 0;
}

static int
open_unix(const char *path, const struct config *config, struct http_door *door)
{
	union address address = {.un = {.sun_family = AF_UNIX}};

	if (strlen(path) >= sizeof address.un.sun_path)
		return -ENAMETOOLONG;
	strcpy(address.un.sun_path, path);
	int error = remove_stale(&address, sizeof address.un);
	if (error != 0)
		return error;
	int fd = bound_socket(&address, sizeof address.un, false);
	if (fd < 0)
		return fd;
	error = share_socket(door, fd, (size_t)config->front_threads);
	door->unix_path = strdup(path); /* from here on it is unlinked when something fails */
	if (error == 0 && door->unix_path == NULL)
		error = -ENOMEM;
	if (error == 0)
		error = set_rights(path, config);
	if (error == 0 && listen(fd, BACKLOG) != 0)
		error = -errno;
	if (error == 0 && asprintf(&door->address, "unix:%s", path) < 0)
		error = -ENOMEM;
	return error;
}

int
http_door_open(const char *listen, const struct config *config, struct http_door *ret)
{
	struct http_door door = {0};

	door.sockets = calloc((size_t)config->front_threads, sizeof *door.sockets);
	if (door.sockets == NULL)
		return -ENOMEM;
	int error = is_unix(listen) ? open_unix(listen + 5, config, &door) : open_tcp(listen, config, &door);
	if (error != 0)
		http_door_close(&door);
	else
		*ret = door;
	return error;
}

/* ---- sockets that systemd has opened */

static char *
show_unix(int fd)
{
	union address address;
	socklen_t length = sizeof address;
	char *text = NULL;

	if (getsockname(fd, &address.any, &length) != 0)
		return NULL;
	size_t used =
		length <= offsetof(struct sockaddr_un, sun_path) ? 0 : length - offsetof(struct sockaddr_un, sun_path);
	const char *path = address.un.sun_path;
	bool abstract = used > 0 && *path == '\0';
	if (abstract)
		path++, used--;
	if (asprintf(&text, "unix:%s%.*s", abstract ? "@" : "", (int)used, path) < 0)
		return NULL;
	return text;
}

static int
option_of(int fd, int option)
{
	int value = -1;
	socklen_t length = sizeof value;

	return getsockopt(fd, SOL_SOCKET, option, &value, &length) == 0 ? value : -1;
}

const char *
http_passed_fault(int fd)
{
	union address address;
	socklen_t length = sizeof address;

	if (fcntl(fd, F_GETFD) < 0)
		return "it is not open";
	if (getsockname(fd, &address.any, &length) != 0)
		return "it is no socket";
	if (address.any.sa_family != AF_INET && address.any.sa_family != AF_INET6 && address.any.sa_family != AF_UNIX)
		return "it is neither a TCP nor a unix socket";
	if (option_of(fd, SO_TYPE) != SOCK_STREAM)
		return "it is no stream socket: use ListenStream= in the .socket unit";
	if (option_of(fd, SO_ACCEPTCONN) != 1)
		return "it does not listen: the .socket unit needs Accept=no";
	return NULL;
}

static bool
is_local(const union address *address)
{
	if (address->any.sa_family == AF_UNIX)
		return true;
	if (address->any.sa_family == AF_INET6)
		return IN6_IS_ADDR_LOOPBACK(&address->v6.sin6_addr);
	return ntohl(address->v4.sin_addr.s_addr) >> 24 == 127;
}

bool
http_passed_is_local(int fd)
{
	union address address;
	socklen_t length = sizeof address;

	return getsockname(fd, &address.any, &length) == 0 && is_local(&address);
}

char *
http_passed_address(int fd, bool tls)
{
	union address address;
	socklen_t length = sizeof address;

	if (getsockname(fd, &address.any, &length) != 0)
		return NULL;
	return address.any.sa_family == AF_UNIX ? show_unix(fd) : show_tcp(fd, tls);
}

int
http_door_adopt(int passed, const struct config *config, struct http_door *ret)
{
	struct http_door door = {0};
	union address address;
	socklen_t length = sizeof address;
	size_t threads = (size_t)config->front_threads;

	/* The passed one stays as it is until the end: what is asked of it at a reload is asked of that. */
	int fd = fcntl(passed, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	fcntl(fd, F_SETFL, O_NONBLOCK);
	door.sockets = calloc(threads, sizeof *door.sockets);
	if (door.sockets == NULL) {
		close(fd);
		return -ENOMEM;
	}
	int error = share_socket(&door, fd, threads);
	if (error == 0 && getsockname(fd, &address.any, &length) != 0)
		error = -errno;
	if (error == 0) {
		door.tls = config->tls_cert != NULL && address.any.sa_family != AF_UNIX;
		door.address = http_passed_address(fd, door.tls);
	}
	if (error == 0 && door.address == NULL)
		error = -ENOMEM;
	if (error != 0)
		http_door_close(&door);
	else
		*ret = door;
	return error;
}

void
http_door_close(struct http_door *door)
{
	for (size_t i = 0; i < door->socket_count; i++)
		if (door->sockets[i] >= 0)
			close(door->sockets[i]);
	if (door->unix_path != NULL)
		unlink(door->unix_path);
	free(door->sockets);
	free(door->unix_path);
	free(door->address);
	*door = (struct http_door){0};
}

bool
http_listen_is_local(const char *listen)
{
	union address address;
	socklen_t length;

	if (is_unix(listen))
		return true;
	return read_tcp(listen, &address, &length) == 0 && is_local(&address);
}
