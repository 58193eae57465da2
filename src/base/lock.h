/*
 * Mutexes and condition variables that cannot be misused in silence: every pthread call is checked (a failure is a bug
 * and aborts), a lock knows its holder, and condition variables run on the monotonic clock.
 */
#ifndef FETCHPOOL_BASE_LOCK_H
#define FETCHPOOL_BASE_LOCK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct lock {
	pthread_mutex_t mutex;
	_Atomic(uintptr_t) holder; /* the pthread_self() of who holds it, 0 for nobody */
};

void lock_init(struct lock *lock);
void lock_release(struct lock *lock);
void lock_take(struct lock *lock);
void lock_drop(struct lock *lock);

/* True when the calling thread holds the lock. */
bool lock_held(struct lock *lock);

/* Aborts unless the calling thread holds the lock. */
void lock_assert_held(struct lock *lock);

struct cond {
	pthread_cond_t cond;
};

void cond_init(struct cond *cond);
void cond_release(struct cond *cond);
void cond_signal(struct cond *cond);
void cond_broadcast(struct cond *cond);
void cond_wait(struct cond *cond, struct lock *lock);

/* Waits until signalled or until mono_ms() reaches due_mono_ms; false when the time was up. */
bool cond_wait_until(struct cond *cond, struct lock *lock, int64_t due_mono_ms);

/* Starts a named thread; aborts only on a bug. Returns 0 or -errno. All signals are blocked in it. */
int thread_start(pthread_t *ret_thread, const char *name, void *(*run)(void *), void *context)
	__attribute__((warn_unused_result));
void thread_join(pthread_t thread);

#endif
