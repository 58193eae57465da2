/*
 * What a service and systemd tell each other, by the protocols of sd_listen_fds(3), sd_notify(3) and
 * sd_watchdog_enabled(3), without libsystemd: the sockets that were opened for us, and lines on how we are. Without
 * systemd all of it does nothing.
 */
#ifndef FETCHPOOL_BASE_SYSTEMD_H
#define FETCHPOOL_BASE_SYSTEMD_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

struct systemd {
	int fd;                     /* a datagram socket for notices; -1: nobody wants any */
	struct sockaddr_un address; /* where they go */
	socklen_t address_length;
	size_t passed_sockets; /* the descriptors from 3 on */
	int64_t watchdog_ms;   /* how often it wants to hear of us; 0: never */
};

/*
 * Reads the variables and takes them out of the environment, which no other thread may touch meanwhile. Sockets that were passed
 * are closed on exec from here on. Returns 0, or -EINVAL with a message (malloc'd, or NULL) for variables that make no sense.
 */
int systemd_init(struct systemd *systemd, char **ret_message) __attribute__((warn_unused_result));
void systemd_release(struct systemd *systemd);

/* Sends lines like "READY=1". Any thread; may wait for a moment; what cannot be sent is dropped. */
void systemd_notify(const struct systemd *systemd, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Sends "RELOADING=1", with the time that goes with it. "READY=1" ends it. */
void systemd_notify_reloading(const struct systemd *systemd);

#endif
