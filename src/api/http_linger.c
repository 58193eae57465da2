/* See http_linger.h. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "api/http_linger.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINGER_MS 5000
#define READ_MAX (4 << 20) /* of one socket at a time */

void
http_linger_init(struct http_lingering *lingering)
{
	lingering->count = 0;
	lock_init(&lingering->lock);
}

void
http_linger_release(struct http_lingering *lingering)
{
	for (size_t i = 0; i < lingering->count; i++)
		close(lingering->sockets[i].fd);
	lock_release(&lingering->lock);
}

void
http_linger(struct http_lingering *lingering, int fd, int64_t now_ms)
{
	lock_take(&lingering->lock);
	int copy = lingering->count < LINGER_MAX ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;
	if (copy >= 0) {
		lingering->sockets[lingering->count].fd = copy;
		lingering->sockets[lingering->count++].due_ms = now_ms + LINGER_MS;
	}
	lock_drop(&lingering->lock);
}

/* True when the other side has ended, one way or the other. */
static bool
read_away(int fd)
{
	char drop[16384];
	ssize_t count = 1;

	for (size_t total = 0; total < READ_MAX && count > 0; total += (size_t)count)
		count = recvfrom(fd, drop, sizeof drop, MSG_DONTWAIT, NULL, NULL);
	return count == 0 || (count < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

void
http_linger_watch(struct http_lingering *lingering, int64_t now_ms)
{
	lock_take(&lingering->lock);
	for (size_t i = 0; i < lingering->count;) {
		if (!read_away(lingering->sockets[i].fd) && now_ms < lingering->sockets[i].due_ms) {
			i++;
			continue;
		}
		close(lingering->sockets[i].fd);
		lingering->sockets[i] = lingering->sockets[--lingering->count];
	}
	lock_drop(&lingering->lock);
}
