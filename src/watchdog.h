/*
 * The thread that tells systemd's watchdog that the service is alive: only when the service's threads have really made a
 * turn since the last time (service_beats). There is none unless systemd asks for it (WatchdogSec=).
 */
#ifndef FETCHPOOL_WATCHDOG_H
#define FETCHPOOL_WATCHDOG_H

#include <pthread.h>
#include <stdbool.h>

#include "base/lock.h"
#include "base/systemd.h"
#include "service/service.h"

struct watchdog {
	const struct systemd *systemd;
	struct service *service;
	pthread_t thread;
	bool running;
	struct lock lock; /* guards the rest; no other lock is taken under it */
	struct cond changed;
	bool stopping, stop;
};

/* After service_start. Without a watchdog to tell it does nothing. Returns 0 or -errno. */
int watchdog_start(struct watchdog *watchdog, const struct systemd *systemd, struct service *service)
	__attribute__((warn_unused_result));

/* Before service_stop: from now on the time-out for stopping bounds us, so it is told that we live in any case. */
void watchdog_stopping(struct watchdog *watchdog);

/* After service_stop, before service_free. */
void watchdog_stop(struct watchdog *watchdog);

#endif
