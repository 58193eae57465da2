/* See await.h. */
#include "core/await.h"

#include <errno.h>

#include "base/metrics.h"

static bool
due_before(const struct heap_node *a, const struct heap_node *b)
{
	return container_of(a, struct await, timer_node)->due_mono_ms <
		container_of(b, struct await, timer_node)->due_mono_ms;
}

void
awaits_init(struct awaits *awaits, size_t limit)
{
	*awaits = (struct awaits){.limit = limit};
	heap_init(&awaits->timers, due_before);
	list_init(&awaits->waiting);
}

bool
waiter_fired(const struct waiter *waiter)
{
	const struct job *job = waiter->job;

	if (waiter->since == AWAIT_REMOVAL)
		return job->removal != JOB_KEPT;
	return job_state_done(job->state) || job->unkept ||
		(waiter->since != AWAIT_DONE_ONLY && job->version > waiter->since);
}

static bool
satisfied(struct await *await)
{
	await->fired = 0;
	for (size_t i = 0; i < await->count; i++)
		await->fired += waiter_fired(&await->waiters[i]);
	return await->fired >= await->needed;
}

int
await_begin_locked(struct awaits *awaits, struct await *await)
{
	if (satisfied(await) || (await->firm ? awaits->shut_firm : awaits->shut)) {
		await->end = await->fired >= await->needed ? AWAIT_WOKEN : AWAIT_SHUT_DOWN;
		return 1;
	}
	if (awaits->count >= awaits->limit && !await->firm)
		return -EAGAIN;
	for (size_t i = 0; i < await->count; i++) {
		struct waiter *waiter = &await->waiters[i];

		waiter->await = await;
		list_init(&waiter->node);
		if (!waiter_fired(waiter))
			list_push_back(&waiter->job->waiters, &waiter->node);
	}
	heap_insert(&awaits->timers, &await->timer_node);
	list_push_back(&awaits->waiting, &await->node);
	awaits->count += !await->firm;
	return 0;
}

/* Takes an await off everything and puts it on the list of those to wake. */
static void
detach(struct awaits *awaits, struct await *await, enum await_end end, struct list *woken)
{
	for (size_t i = 0; i < await->count; i++)
		list_remove(&await->waiters[i].node);
	heap_remove(&awaits->timers, &await->timer_node);
	list_remove(&await->node);
	awaits->count -= !await->firm;
	await->end = end;
	list_push_back(woken, &await->node);
}

void
awaits_job_changed_locked(struct awaits *awaits, struct job *job, struct list *woken)
{
	struct list pending;

	/* Taken aside first: detaching an await may take further nodes off this very list. */
	list_init(&pending);
	list_splice(&pending, &job->waiters);
	for (struct list *node; (node = list_pop_front(&pending)) != NULL;) {
		struct waiter *waiter = container_of(node, struct waiter, node);

		if (!waiter_fired(waiter))
			list_push_back(&job->waiters, node);
		else if (++waiter->await->fired >= waiter->await->needed)
			detach(awaits, waiter->await, AWAIT_WOKEN, woken);
	}
}

void
awaits_expire_locked(struct awaits *awaits, int64_t now_mono_ms, struct list *woken)
{
	for (struct heap_node *node; (node = heap_first(&awaits->timers)) != NULL;) {
		struct await *await = container_of(node, struct await, timer_node);

		if (await->due_mono_ms > now_mono_ms)
			return;
		detach(awaits, await, AWAIT_TIMED_OUT, woken);
	}
}

int64_t
awaits_next_due_locked(const struct awaits *awaits)
{
	struct heap_node *first = heap_first(&awaits->timers);

	return first == NULL ? INT64_MAX : container_of(first, struct await, timer_node)->due_mono_ms;
}

void
awaits_shut_locked(struct awaits *awaits, bool firm, struct list *woken)
{
	struct list all;

	awaits->shut = true;
	awaits->shut_firm |= firm;
	list_init(&all);
	list_splice(&all, &awaits->waiting);
	for (struct list *node; (node = list_pop_front(&all)) != NULL;) {
		struct await *await = container_of(node, struct await, node);

		list_push_back(&awaits->waiting, node);
		if (firm || !await->firm)
			detach(awaits, await, AWAIT_SHUT_DOWN, woken);
	}
}

void
await_wake_all(struct list *woken)
{
	for (struct list *node; (node = list_pop_front(woken)) != NULL;) {
		struct await *await = container_of(node, struct await, node);

		if (!await->firm)
			metric_add(await->end == AWAIT_TIMED_OUT ? METRIC_WAITS_TIMED_OUT : METRIC_WAITS_WOKEN, 1);
		await->wake(await);
	}
}
