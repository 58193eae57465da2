/* See systemd.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "base/systemd.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"

#define PASSED_MAX 1024
#define PATIENCE_SECONDS 5 /* for a systemd that does not read */

/* A number in a variable: 0, -ENOENT when it is not set, -EINVAL. */
static int
read_number(const char *name, uint64_t *ret)
{
	const char *text = getenv(name);

	if (text == NULL)
		return -ENOENT;
	return text_to_uint64(text, ret) == 0 ? 0 : -EINVAL;
}

/* True when the variable is not meant for another process, such as the shell that started this one. */
static bool
for_us(const char *name)
{
	uint64_t pid;
	int error = read_number(name, &pid);

	return error == -ENOENT || (error == 0 && pid == (uint64_t)getpid());
}

/* ---- sockets */

static int
take_sockets(struct systemd *systemd, char **ret_message)
{
	uint64_t count;
	int error = read_number("LISTEN_FDS", &count);

	if (error == -ENOENT || getenv("LISTEN_PID") == NULL || !for_us("LISTEN_PID"))
		return 0;
	if (error != 0 || count > PASSED_MAX) {
		if (asprintf(ret_message, "LISTEN_FDS=%s: no number of sockets", getenv("LISTEN_FDS")) < 0)
			*ret_message = NULL;
		return -EINVAL;
	}
	for (uint64_t i = 0; i < count; i++)
		fcntl(3 + (int)i, F_SETFD, FD_CLOEXEC);
	systemd->passed_sockets = count;
	return 0;
}

/* ---- notices */

/*
 * A path, or a name in the abstract namespace behind "@". The socket is not connected: whoever restarts under that name hears
 * of us again.
 */
static int
open_socket(const char *name, struct systemd *systemd)
{
	struct sockaddr_un *address = &systemd->address;
	struct timeval patience = {.tv_sec = PATIENCE_SECONDS};
	size_t length = strlen(name);

	if ((*name != '/' && *name != '@') || length < 2)
		return -EAFNOSUPPORT;
	if (length >= sizeof address->sun_path)
		return -ENAMETOOLONG;
	address->sun_family = AF_UNIX;
	memcpy(address->sun_path, name, length);
	if (*name == '@')
		address->sun_path[0] = '\0';
	systemd->address_length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + (*name == '/'));
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
	return fd;
}

static void
open_notices(struct systemd *systemd)
{
	const char *name = getenv("NOTIFY_SOCKET");
	uint64_t watchdog_us;

	if (name == NULL || *name == '\0')
		return;
	systemd->fd = open_socket(name, systemd);
	if (systemd->fd < 0) {
		log_warn("NOTIFY_SOCKET=%s cannot be written to: %s", name, strerror(-systemd->fd));
		systemd->fd = -1;
		return;
	}
	if (for_us("WATCHDOG_PID") && read_number("WATCHDOG_USEC", &watchdog_us) == 0 && watchdog_us < INT64_MAX)
		systemd->watchdog_ms = (int64_t)watchdog_us / 1000;
}

int
systemd_init(struct systemd *systemd, char **ret_message)
{
	static const char *const names[] = {"LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES",
		"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"};

	*systemd = (struct systemd){.fd = -1};
	*ret_message = NULL;
	int error = take_sockets(systemd, ret_message);
	if (error == 0)
		open_notices(systemd);
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		unsetenv(names[i]);
	return error;
}

void
systemd_release(struct systemd *systemd)
{
	if (systemd->fd >= 0)
		close(systemd->fd);
	*systemd = (struct systemd){.fd = -1};
}

void
systemd_notify(const struct systemd *systemd, const char *format, ...)
{
	char text[512];
	va_list args;

	if (systemd->fd < 0)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	if (sendto(systemd->fd, text, strlen(text), MSG_NOSIGNAL, (const struct sockaddr *)&systemd->address,
		    systemd->address_length) < 0)
		log_warn("systemd does not take \"%s\": %s", text, strerror(errno));
}

void
systemd_notify_reloading(const struct systemd *systemd)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	systemd_notify(systemd, "RELOADING=1\nMONOTONIC_USEC=%" PRId64 "\nSTATUS=reloading",
		(int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000);
}
