/* See watchdog.h. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "watchdog.h"

#include "base/clock.h"
#include "base/log.h"

/* A thread that is late once, behind a slow disk, gets some more looks before systemd's time is up. */
#define LATE_PART 8

/* Sleeps; false when it is over. */
static bool
sleep_ms(struct watchdog *watchdog, int64_t ms, bool *ret_stopping)
{
	int64_t due = mono_ms() + ms;

	lock_take(&watchdog->lock);
	while (!watchdog->stop && watchdog->stopping == *ret_stopping &&
		cond_wait_until(&watchdog->changed, &watchdog->lock, due))
		;
	bool stop = watchdog->stop;
	*ret_stopping = watchdog->stopping;
	lock_drop(&watchdog->lock);
	return !stop;
}

static void *
watch(void *context)
{
	struct watchdog *watchdog = context;
	int64_t half = (watchdog->systemd->watchdog_ms + 1) / 2, late = half / LATE_PART + 1;
	bool stopping = false, alive = service_beats(watchdog->service);

	while (sleep_ms(watchdog, alive ? half : late, &stopping)) {
		bool was_alive = alive;

		alive = stopping || service_beats(watchdog->service);
		if (alive)
			systemd_notify(watchdog->systemd, "WATCHDOG=1");
		else if (was_alive)
			log_warn("a thread has made no turn for %lld ms: the watchdog is not told that all is well",
				(long long)half);
	}
	return NULL;
}

int
watchdog_start(struct watchdog *watchdog, const struct systemd *systemd, struct service *service)
{
	*watchdog = (struct watchdog){.systemd = systemd, .service = service};
	if (systemd->watchdog_ms == 0)
		return 0;
	lock_init(&watchdog->lock);
	cond_init(&watchdog->changed);
	int error = thread_start(&watchdog->thread, "watchdog", watch, watchdog);
	watchdog->running = error == 0;
	return error;
}

static void
tell(struct watchdog *watchdog, bool *mark)
{
	lock_take(&watchdog->lock);
	*mark = true;
	cond_signal(&watchdog->changed);
	lock_drop(&watchdog->lock);
}

void
watchdog_stopping(struct watchdog *watchdog)
{
	if (watchdog->running)
		tell(watchdog, &watchdog->stopping);
}

void
watchdog_stop(struct watchdog *watchdog)
{
	if (!watchdog->running)
		return;
	tell(watchdog, &watchdog->stop);
	thread_join(watchdog->thread);
	watchdog->running = false;
	cond_release(&watchdog->changed);
	lock_release(&watchdog->lock);
}
