/*
 * Out of descriptors libmicrohttpd 0.9.75 spins: a thread without connections tries to accept again and again. So its accept4 passes
 * through here, as its recv does (http_connection.c): a client that cannot be given a descriptor is taken in the one kept for this, and
 * closed. It sees the connection end, and nobody waits in vain.
 *
 * Threads: front threads. The lock is a leaf.
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "api/http_accept.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/lock.h"
#include "base/metrics.h"

#define PAUSE_MS 50

typedef int accept4_fn(int fd, struct sockaddr *address, socklen_t *length, int flags);

static struct lock lock; /* guards spare */
static int spare = -1;
static int null = -1; /* what the spare one is a copy of */
static bool ready;

static int
open_spare(void)
{
	return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

int
http_accept_init(void)
{
	if (!ready)
		lock_init(&lock);
	ready = true;
	if (null < 0)
		null = open_spare();
	if (spare < 0)
		spare = open_spare();
	return null < 0 || spare < 0 ? -errno : 0;
}

static accept4_fn *
next_accept4(void)
{
	static _Atomic(accept4_fn *) found;
	accept4_fn *next = atomic_load(&found);

	if (next == NULL) {
		next = (accept4_fn *)dlsym(RTLD_NEXT, "accept4");
		atomic_store(&found, next);
	}
	return next;
}

/* Takes one connection and closes it. When not even that can be done, as the limit was lowered under us, it takes its time. */
static void
shed(accept4_fn *next, int fd)
{
	lock_take(&lock);
	if (spare >= 0)
		close(spare);
	int taken = next(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	/* The connection's number becomes the spare one in one step, so that no other thread can have it in between. */
	spare = taken >= 0 ? dup3(null, taken, O_CLOEXEC) : open_spare();
	if (taken >= 0 && spare < 0) {
		close(taken);
		spare = open_spare();
	}
	lock_drop(&lock);
	if (taken >= 0)
		metric_add(METRIC_REFUSED_CONNECTIONS_DESCRIPTORS, 1);
	else
		poll(NULL, 0, PAUSE_MS);
}

int
accept4(int fd, struct sockaddr *address, socklen_t *length, int flags)
{
	accept4_fn *next = next_accept4();
	int taken = next(fd, address, length, flags);

	if (taken >= 0 || !ready || (errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM))
		return taken;
	shed(next, fd);
	errno = ECONNABORTED; /* which is true now, and no reason to stop accepting */
	return -1;
}
