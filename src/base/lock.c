/* See lock.h. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "base/lock.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A pthread call that can only fail through a bug. */
#define MUST(call)                                                                                                     \
	do {                                                                                                           \
		int error_ = (call);                                                                                   \
		if (error_ != 0)                                                                                       \
			die(#call, error_);                                                                            \
	} while (0)

static void __attribute__((noreturn)) die(const char *call, int error)
{
	fprintf(stderr, "fetchpool: bug: %s: %s\n", call, strerror(error));
	abort();
}

static uintptr_t
self(void)
{
	return (uintptr_t)pthread_self();
}

void
lock_init(struct lock *lock)
{
	MUST(pthread_mutex_init(&lock->mutex, NULL));
	atomic_init(&lock->holder, 0);
}

void
lock_release(struct lock *lock)
{
	MUST(pthread_mutex_destroy(&lock->mutex));
}

void
lock_take(struct lock *lock)
{
	MUST(pthread_mutex_lock(&lock->mutex));
	atomic_store_explicit(&lock->holder, self(), memory_order_relaxed);
}

void
lock_drop(struct lock *lock)
{
	atomic_store_explicit(&lock->holder, 0, memory_order_relaxed);
	MUST(pthread_mutex_unlock(&lock->mutex));
}

bool
lock_held(struct lock *lock)
{
	return atomic_load_explicit(&lock->holder, memory_order_relaxed) == self();
}

void
lock_assert_held(struct lock *lock)
{
	if (!lock_held(lock))
		die("lock_assert_held", EPERM);
}

void
cond_init(struct cond *cond)
{
	pthread_condattr_t attr;

	MUST(pthread_condattr_init(&attr));
#ifndef __APPLE__
	MUST(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC));
#endif
	MUST(pthread_cond_init(&cond->cond, &attr));
	MUST(pthread_condattr_destroy(&attr));
}

void
cond_release(struct cond *cond)
{
	MUST(pthread_cond_destroy(&cond->cond));
}

void
cond_signal(struct cond *cond)
{
	MUST(pthread_cond_signal(&cond->cond));
}

void
cond_broadcast(struct cond *cond)
{
	MUST(pthread_cond_broadcast(&cond->cond));
}

void
cond_wait(struct cond *cond, struct lock *lock)
{
	lock_assert_held(lock);
	atomic_store_explicit(&lock->holder, 0, memory_order_relaxed);
	MUST(pthread_cond_wait(&cond->cond, &lock->mutex));
	atomic_store_explicit(&lock->holder, self(), memory_order_relaxed);
}

static int
timed_wait(struct cond *cond, struct lock *lock, int64_t due_mono_ms)
{
	struct timespec due = {.tv_sec = due_mono_ms / 1000, .tv_nsec = (due_mono_ms % 1000) * 1000000};
#ifdef __APPLE__
	/* No monotonic condition variables there, but a relative wait, which is as good. */
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	int64_t left = due_mono_ms - ((int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000);
	if (left < 0)
		left = 0;
	due = (struct timespec){.tv_sec = left / 1000, .tv_nsec = (left % 1000) * 1000000};
	return pthread_cond_timedwait_relative_np(&cond->cond, &lock->mutex, &due);
#else
	return pthread_cond_timedwait(&cond->cond, &lock->mutex, &due);
#endif
}

bool
cond_wait_until(struct cond *cond, struct lock *lock, int64_t due_mono_ms)
{
	lock_assert_held(lock);
	atomic_store_explicit(&lock->holder, 0, memory_order_relaxed);
	int error = timed_wait(cond, lock, due_mono_ms);
	atomic_store_explicit(&lock->holder, self(), memory_order_relaxed);
	if (error != 0 && error != ETIMEDOUT)
		die("pthread_cond_timedwait", error);
	return error == 0;
}

int
thread_start(pthread_t *ret_thread, const char *name, void *(*run)(void *), void *context)
{
	sigset_t all, before;

	sigfillset(&all);
	MUST(pthread_sigmask(SIG_SETMASK, &all, &before));
	int error = pthread_create(ret_thread, NULL, run, context);
	MUST(pthread_sigmask(SIG_SETMASK, &before, NULL));
	if (error != 0)
		return -error;
#if defined(__linux__)
	pthread_setname_np(*ret_thread, name);
#else
	(void)name;
#endif
	return 0;
}

void
thread_join(pthread_t thread)
{
	MUST(pthread_join(thread, NULL));
}
