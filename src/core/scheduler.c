/* See scheduler.h. */
#define HASH_NONFATAL_OOM 1
#include "core/scheduler.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "base/list.h"
#include "core/owners.h"

/* The jobs of one owner (NULL: nobody's) that wait for one origin. Lives as long as the origin. */
struct lane {
	struct lane *next; /* of its origin's owned ones */
	struct origin *origin;
	struct owner *owner;
	struct heap jobs;
	struct heap_node node; /* while it has jobs: among its origin's lanes, or held, among its owner's */
	bool held;             /* its owner has as many in flight as it may */
	int priority;          /* of its first job, as of entering that heap */
	uint64_t order;
};

struct origin {
	UT_hash_handle hh;
	struct heap lanes;  /* those that are not held, by their first jobs */
	size_t waiting;     /* jobs in them */
	struct lane common; /* of jobs without owner */
	struct lane *owned;
	size_t in_flight, limit;
	unsigned home;
	struct heap_node ready_node; /* in its home's ready queue while it may start something */
	int ready_priority;          /* of its first job, as of entering the ready queue */
	uint64_t served;             /* turn at which it was served last */
	size_t jobs;                 /* parked, queued and in flight: an origin without any is forgotten */
	int port;
	char key[]; /* host:port */
};

struct scheduler {
	struct scheduler_limits limits;
	unsigned loops;
	struct heap *ready; /* one a loop */
	struct heap timers;
	struct origin *origins;
	size_t in_flight;
	uint64_t turn, next_order;
	struct list offering; /* within offer: an owner, and those whose lanes lose their places by it */
};

static bool
job_before(const struct heap_node *a, const struct heap_node *b)
{
	const struct job *first = container_of(a, struct job, queue_node),
			 *second = container_of(b, struct job, queue_node);

	if (first->spec->priority != second->spec->priority)
		return first->spec->priority > second->spec->priority;
	return first->queue_order < second->queue_order;
}

/* As their first jobs. */
static bool
lane_before(const struct heap_node *a, const struct heap_node *b)
{
	const struct lane *first = container_of(a, struct lane, node), *second = container_of(b, struct lane, node);

	if (first->priority != second->priority)
		return first->priority > second->priority;
	return first->order < second->order;
}

static bool
origin_before(const struct heap_node *a, const struct heap_node *b)
{
	const struct origin *first = container_of(a, struct origin, ready_node),
			    *second = container_of(b, struct origin, ready_node);

	if (first->ready_priority != second->ready_priority)
		return first->ready_priority > second->ready_priority;
	return first->served < second->served;
}

static bool
timer_before(const struct heap_node *a, const struct heap_node *b)
{
	return container_of(a, struct job, timer_node)->timer_due_mono_ms <
		container_of(b, struct job, timer_node)->timer_due_mono_ms;
}

/* ---- limits */

static void
limits_release(struct scheduler_limits *limits)
{
	for (size_t i = 0; i < limits->origin_count; i++)
		free((char *)limits->origins[i].host);
	free((struct origin_limit *)limits->origins);
}

static int
limits_copy(const struct scheduler_limits *from, struct scheduler_limits *ret)
{
	struct origin_limit *origins = calloc(from->origin_count + 1, sizeof *origins);
	struct scheduler_limits copy = *from;

	if (origins == NULL)
		return -ENOMEM;
	copy.origins = origins;
	copy.origin_count = 0;
	for (size_t i = 0; i < from->origin_count; i++) {
		origins[i] = from->origins[i];
		origins[i].host = strdup(from->origins[i].host);
		if (origins[i].host == NULL) {
			limits_release(&copy);
			return -ENOMEM;
		}
		copy.origin_count++;
	}
	*ret = copy;
	return 0;
}

/* An exact HOST:PORT goes before HOST alone. */
static size_t
limit_of(const struct scheduler_limits *limits, const char *host, int port)
{
	size_t limit = limits->max_in_flight_per_origin;

	for (size_t i = 0; i < limits->origin_count; i++) {
		const struct origin_limit *row = &limits->origins[i];

		if (strcmp(row->host, host) != 0)
			continue;
		if (row->port == port)
			return row->max_in_flight;
		if (row->port == 0)
			limit = row->max_in_flight;
	}
	return limit;
}

int
scheduler_new(const struct scheduler_limits *limits, unsigned loops, struct scheduler **ret)
{
	struct scheduler *scheduler = calloc(1, sizeof *scheduler);

	if (scheduler == NULL)
		return -ENOMEM;
	scheduler->ready = calloc(loops, sizeof *scheduler->ready);
	if (scheduler->ready == NULL || limits_copy(limits, &scheduler->limits) != 0) {
		free(scheduler->ready);
		free(scheduler);
		return -ENOMEM;
	}
	scheduler->loops = loops;
	list_init(&scheduler->offering);
	for (unsigned i = 0; i < loops; i++)
		heap_init(&scheduler->ready[i], origin_before);
	heap_init(&scheduler->timers, timer_before);
	*ret = scheduler;
	return 0;
}

static void
origin_free(struct scheduler *scheduler, struct origin *origin)
{
	HASH_DEL(scheduler->origins, origin);
	for (struct lane *lane; (lane = origin->owned) != NULL;) {
		origin->owned = lane->next;
		free(lane);
	}
	free(origin);
}

void
scheduler_free(struct scheduler *scheduler)
{
	struct origin *origin, *next;

	if (scheduler == NULL)
		return;
	HASH_ITER(hh, scheduler->origins, origin, next)
		origin_free(scheduler, origin);
	limits_release(&scheduler->limits);
	free(scheduler->ready);
	free(scheduler);
}

/* ---- origins */

static void
lane_init(struct lane *lane, struct origin *origin, struct owner *owner)
{
	*lane = (struct lane){.origin = origin, .owner = owner};
	heap_init(&lane->jobs, job_before);
}

static struct origin *
origin_new(struct scheduler *scheduler, const char *key, const struct origin_name *name)
{
	size_t length = strlen(key);
	struct origin *origin = calloc(1, sizeof *origin + length + 1);

	if (origin == NULL)
		return NULL;
	memcpy(origin->key, key, length);
	origin->port = name->port;
	heap_init(&origin->lanes, lane_before);
	lane_init(&origin->common, origin, NULL);
	origin->served = ++scheduler->turn; /* behind those that wait already */
	origin->limit = limit_of(&scheduler->limits, name->host, name->port);
	HASH_ADD_KEYPTR(hh, scheduler->origins, origin->key, length, origin);
	if (origin->hh.tbl == NULL) {
		free(origin);
		return NULL;
	}
	origin->home = (unsigned)(origin->hh.hashv % scheduler->loops);
	return origin;
}

static struct origin *
origin_of(struct scheduler *scheduler, const struct origin_name *name)
{
	char key[300];
	struct origin *origin;

	int length = snprintf(key, sizeof key, "%s:%d", name->host, name->port);
	HASH_FIND(hh, scheduler->origins, key, (size_t)length, origin);
	return origin != NULL ? origin : origin_new(scheduler, key, name);
}

static void
origin_forget_if_idle(struct scheduler *scheduler, struct origin *origin)
{
	if (origin->jobs == 0)
		origin_free(scheduler, origin);
}

/* There are as many as there are owners with jobs for the origin: few. NULL when memory runs out. */
static struct lane *
lane_of(struct origin *origin, struct owner *owner)
{
	struct lane *lane = owner == NULL ? &origin->common : origin->owned;

	while (lane != NULL && lane->owner != owner)
		lane = lane->next;
	if (lane != NULL)
		return lane;
	lane = malloc(sizeof *lane);
	if (lane == NULL)
		return NULL;
	lane_init(lane, origin, owner);
	lane->next = origin->owned;
	return origin->owned = lane;
}

/* The lane whose job is next. */
static struct lane *
first_lane(const struct origin *origin)
{
	struct heap_node *first = heap_first(&origin->lanes);

	return first == NULL ? NULL : container_of(first, struct lane, node);
}

/* Puts the lane where its first job wants it to be. */
static void
lane_settle(struct lane *lane)
{
	struct heap *heap = lane->held ? &lane->owner->held : &lane->origin->lanes;
	struct heap_node *first = heap_first(&lane->jobs);
	const struct job *job = first == NULL ? NULL : container_of(first, struct job, queue_node);

	if (job != NULL && lane->node.queued && lane->order == job->queue_order)
		return;
	heap_remove(heap, &lane->node);
	if (job == NULL) {
		lane->held = false;
		return;
	}
	lane->priority = job->spec->priority;
	lane->order = job->queue_order;
	heap_insert(heap, &lane->node);
}

/* Puts the origin where it belongs in the ready queue, or takes it off. */
static void
origin_settle(struct scheduler *scheduler, struct origin *origin)
{
	struct heap *ready = &scheduler->ready[origin->home];
	const struct lane *first = first_lane(origin);
	bool may_start = first != NULL && origin->in_flight < origin->limit;
	int priority = first == NULL ? 0 : first->priority;

	if (may_start && origin->ready_node.queued && origin->ready_priority == priority)
		return;
	heap_remove(ready, &origin->ready_node);
	if (may_start) {
		origin->ready_priority = priority;
		heap_insert(ready, &origin->ready_node);
	}
}

static int
wake_for(const struct scheduler *scheduler, const struct origin *origin)
{
	if (!origin->ready_node.queued || scheduler->in_flight >= scheduler->limits.max_in_flight)
		return SCHEDULER_NO_LOOP;
	return origin->waiting >= SCHEDULER_HOT ? SCHEDULER_ALL_LOOPS : (int)origin->home;
}

int
scheduler_wake_both(int a, int b)
{
	if (a == SCHEDULER_NO_LOOP || a == b)
		return b;
	return b == SCHEDULER_NO_LOOP ? a : SCHEDULER_ALL_LOOPS;
}

int
scheduler_set_limits_locked(struct scheduler *scheduler, const struct scheduler_limits *limits)
{
	struct scheduler_limits copy;
	struct origin *origin, *next;

	int error = limits_copy(limits, &copy);
	if (error != 0)
		return error;
	limits_release(&scheduler->limits);
	scheduler->limits = copy;
	HASH_ITER(hh, scheduler->origins, origin, next) {
		char host[300];

		snprintf(host, sizeof host, "%s", origin->key);
		*strrchr(host, ':') = '\0';
		origin->limit = limit_of(&scheduler->limits, host, origin->port);
		origin_settle(scheduler, origin);
	}
	return 0;
}

/* ---- owners that are at their limit */

static bool
owner_full(const struct owner *owner)
{
	return owner != NULL && owner->max_in_flight != 0 && owner->in_flight >= owner->max_in_flight;
}

/* Takes the lane from among those that may start something. */
static void
hold(struct lane *lane)
{
	struct heap *held = &lane->owner->held;

	if (held->before == NULL)
		heap_init(held, lane_before);
	heap_remove(&lane->origin->lanes, &lane->node);
	lane->origin->waiting -= lane->jobs.count;
	lane->held = true;
	heap_insert(held, &lane->node);
}

/* Puts the owner's first held lane back. Sets *ret_displaced to the lane that was its origin's next one, if it goes before. */
static struct lane *
let_go(struct scheduler *scheduler, struct owner *owner, struct lane **ret_displaced)
{
	struct lane *lane = container_of(heap_pop(&owner->held), struct lane, node);

	*ret_displaced = first_lane(lane->origin);
	lane->held = false;
	lane->origin->waiting += lane->jobs.count;
	heap_insert(&lane->origin->lanes, &lane->node);
	origin_settle(scheduler, lane->origin);
	if (first_lane(lane->origin) != lane)
		*ret_displaced = NULL;
	return lane;
}

static bool
may_offer(const struct owner *owner)
{
	return owner->held.count > 0 && !owner_full(owner);
}

static void
add_to_offer(struct list *owners, struct owner *owner)
{
	if (owner != NULL && may_offer(owner)) {
		list_remove(&owner->offer_node);
		list_push_back(owners, &owner->offer_node);
	}
}

/*
 * A place of the owner has become free, or the lane that was to have it will not. Lanes go back to their origins until one
 * is the next that its origin starts: only then is the place sure to be used. Those that went back before it wait there for
 * their turn, and each comes to be held again at most once for each time that its origin has a free slot: so this costs as
 * much as what has happened, however many lanes there are.
 */
static int
offer(struct scheduler *scheduler, struct owner *owner)
{
	int wake = SCHEDULER_NO_LOOP;
	struct list *owners = &scheduler->offering;

	add_to_offer(owners, owner);
	for (struct list *node; (node = list_pop_front(owners)) != NULL;) {
		owner = container_of(node, struct owner, offer_node);
		while (may_offer(owner)) {
			struct lane *displaced, *lane = let_go(scheduler, owner, &displaced);
			const struct origin *origin = lane->origin;

			wake = scheduler_wake_both(wake, wake_for(scheduler, origin));
			if (displaced != NULL && displaced->owner != owner)
				add_to_offer(owners, displaced->owner);
			if (first_lane(origin) == lane && origin->in_flight < origin->limit)
				break;
		}
	}
	return wake;
}

void
scheduler_owner_changed_locked(struct scheduler *scheduler, struct owner *owner)
{
	struct lane *displaced;

	while (owner->held.count > 0)
		let_go(scheduler, owner, &displaced);
}

/* ---- jobs */

/* Only the wait for the first attempt is limited; a job may wait again after the server has ended. */
static bool
has_queue_timeout(const struct job *job)
{
	return job->spec->queue_timeout_ms != 0 && job->started_wall_ms == 0;
}

/* When a job that waits must be looked at again: at its run_at, then when a limit on its waiting is up. */
static int64_t
next_due(const struct job *job, int64_t now_mono_ms)
{
	int64_t due = INT64_MAX;

	if (job->run_at_mono_ms > now_mono_ms)
		due = job->run_at_mono_ms;
	else if (has_queue_timeout(job))
		due = job->run_at_mono_ms + job->spec->queue_timeout_ms;
	if (job->spec->deadline_ms != 0 && job->created_mono_ms + job->spec->deadline_ms < due)
		due = job->created_mono_ms + job->spec->deadline_ms;
	return due;
}

static void
set_timer(struct scheduler *scheduler, struct job *job, int64_t now_mono_ms)
{
	heap_remove(&scheduler->timers, &job->timer_node);
	job->timer_due_mono_ms = next_due(job, now_mono_ms);
	if (job->timer_due_mono_ms != INT64_MAX)
		heap_insert(&scheduler->timers, &job->timer_node);
}

static int
enqueue(struct scheduler *scheduler, struct job *job)
{
	struct origin *origin = job->origin;
	struct lane *lane = job->lane, *next = first_lane(origin);
	int wake = SCHEDULER_NO_LOOP;

	job->queue_order = ++scheduler->next_order;
	heap_insert(&lane->jobs, &job->queue_node);
	if (!lane->held)
		origin->waiting++;
	lane_settle(lane);
	origin_settle(scheduler, origin);
	if (next != NULL && first_lane(origin) != next)
		wake = offer(scheduler, next->owner);
	return scheduler_wake_both(wake, wake_for(scheduler, origin));
}

int
scheduler_add_locked(struct scheduler *scheduler, struct job *job, int64_t now_mono_ms, int *ret_wake)
{
	*ret_wake = SCHEDULER_NO_LOOP;
	job->origin = origin_of(scheduler, &job->spec->origin);
	if (job->origin == NULL)
		return -ENOMEM;
	job->lane = lane_of(job->origin, job->owner);
	if (job->lane == NULL) {
		origin_forget_if_idle(scheduler, job->origin);
		job->origin = NULL;
		return -ENOMEM;
	}
	job->origin->jobs++;
	set_timer(scheduler, job, now_mono_ms);
	if (job->run_at_mono_ms <= now_mono_ms)
		*ret_wake = enqueue(scheduler, job);
	return 0;
}

void
scheduler_remove_locked(struct scheduler *scheduler, struct job *job, int *ret_wake)
{
	struct origin *origin = job->origin;
	struct lane *lane = job->lane;

	assert(origin != NULL);
	heap_remove(&scheduler->timers, &job->timer_node);
	if (job->queue_node.queued && !lane->held)
		origin->waiting--;
	heap_remove(&lane->jobs, &job->queue_node);
	lane_settle(lane);
	origin_settle(scheduler, origin);
	*ret_wake = offer(scheduler, job->owner);
	job->origin = NULL;
	job->lane = NULL;
	origin->jobs--;
	origin_forget_if_idle(scheduler, origin);
}

/* The origin that loop should serve next: its own first, then another loop's hot one. */
static struct origin *
pick_origin(struct scheduler *scheduler, unsigned loop)
{
	for (unsigned i = 0; i < scheduler->loops; i++) {
		struct heap_node *first = heap_first(&scheduler->ready[(loop + i) % scheduler->loops]);

		if (first == NULL)
			continue;
		struct origin *origin = container_of(first, struct origin, ready_node);
		if (i == 0 || origin->waiting >= SCHEDULER_HOT)
			return origin;
	}
	return NULL;
}

/* NULL when all that wait are of owners at their limits; then the origin leaves the ready queue. */
static struct job *
start_next(struct scheduler *scheduler, struct origin *origin)
{
	struct lane *lane;

	while ((lane = first_lane(origin)) != NULL && owner_full(lane->owner))
		hold(lane);
	if (lane == NULL) {
		origin_settle(scheduler, origin);
		return NULL;
	}
	struct job *job = container_of(heap_pop(&lane->jobs), struct job, queue_node);
	lane_settle(lane);
	origin->waiting--;
	heap_remove(&scheduler->timers, &job->timer_node);
	heap_remove(&scheduler->ready[origin->home], &origin->ready_node);
	origin->served = ++scheduler->turn;
	origin->in_flight++;
	scheduler->in_flight++;
	if (job->owner != NULL)
		job->owner->in_flight++;
	origin_settle(scheduler, origin);
	job->lane = NULL;
	return job;
}

size_t
scheduler_take_locked(struct scheduler *scheduler, unsigned loop, struct job **jobs, size_t max)
{
	size_t count = 0;

	while (count < max && scheduler->in_flight < scheduler->limits.max_in_flight) {
		struct origin *origin = pick_origin(scheduler, loop);

		if (origin == NULL)
			break;
		struct job *job = start_next(scheduler, origin);
		if (job == NULL)
			continue;
		job->loop = loop;
		jobs[count++] = job;
	}
	return count;
}

void
scheduler_done_locked(struct scheduler *scheduler, struct job *job, int *ret_wake)
{
	struct origin *origin = job->origin;
	bool was_full = scheduler->in_flight >= scheduler->limits.max_in_flight;

	assert(origin != NULL && origin->in_flight > 0);
	origin->in_flight--;
	scheduler->in_flight--;
	origin_settle(scheduler, origin);
	*ret_wake = was_full ? SCHEDULER_ALL_LOOPS : wake_for(scheduler, origin);
	if (job->owner != NULL) {
		job->owner->in_flight--;
		*ret_wake = scheduler_wake_both(*ret_wake, offer(scheduler, job->owner));
	}
	job->origin = NULL;
	origin->jobs--;
	origin_forget_if_idle(scheduler, origin);
}

/* Why a job that waits has to end now; none when it has not. */
static enum job_error_code
overdue(const struct job *job, int64_t now_mono_ms)
{
	if (job->spec->deadline_ms != 0 && job->created_mono_ms + job->spec->deadline_ms <= now_mono_ms)
		return JOB_ERROR_deadline_exceeded;
	if (has_queue_timeout(job) && job->run_at_mono_ms + job->spec->queue_timeout_ms <= now_mono_ms)
		return JOB_ERROR_queue_timeout;
	return JOB_ERROR_none;
}

struct job *
scheduler_expire_locked(struct scheduler *scheduler, int64_t now_mono_ms, enum job_error_code *ret_why, int *ret_wake)
{
	for (struct heap_node *node; (node = heap_first(&scheduler->timers)) != NULL;) {
		struct job *job = container_of(node, struct job, timer_node);

		if (job->timer_due_mono_ms > now_mono_ms)
			return NULL;
		*ret_why = overdue(job, now_mono_ms);
		if (*ret_why != JOB_ERROR_none) {
			int wake;
			scheduler_remove_locked(scheduler, job, &wake);
			*ret_wake = scheduler_wake_both(*ret_wake, wake);
			return job;
		}
		set_timer(scheduler, job, now_mono_ms);
		if (!job->queue_node.queued)
			*ret_wake = scheduler_wake_both(*ret_wake, enqueue(scheduler, job));
	}
	return NULL;
}

int64_t
scheduler_next_due_locked(const struct scheduler *scheduler)
{
	struct heap_node *first = heap_first(&scheduler->timers);

	return first == NULL ? INT64_MAX : container_of(first, struct job, timer_node)->timer_due_mono_ms;
}

size_t
scheduler_in_flight_locked(const struct scheduler *scheduler)
{
	return scheduler->in_flight;
}

size_t
scheduler_origins_locked(const struct scheduler *scheduler)
{
	return HASH_COUNT(scheduler->origins);
}
