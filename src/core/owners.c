/* See owners.h. */
#define HASH_NONFATAL_OOM 1
#include "core/owners.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct owner *
owners_find_locked(const struct owners *owners, const char *name)
{
	struct owner *owner;

	HASH_FIND_STR(owners->by_name, name, owner);
	return owner;
}

struct owner *
owners_get_locked(struct owners *owners, const char *name)
{
	struct owner *owner = name == NULL ? NULL : owners_find_locked(owners, name);
	size_t length = name == NULL ? 0 : strlen(name);

	if (name == NULL || owner != NULL)
		return owner;
	owner = calloc(1, sizeof *owner + length + 1);
	if (owner == NULL)
		return NULL;
	memcpy(owner->name, name, length);
	list_init(&owner->offer_node);
	HASH_ADD_KEYPTR(hh, owners->by_name, owner->name, length, owner);
	if (owner->hh.tbl != NULL)
		return owner;
	free(owner);
	return NULL;
}

int
owners_limit_locked(struct owners *owners, const struct owner_limits *limits, size_t count, int64_t now_mono_ms)
{
	for (size_t i = 0; i < count; i++) {
		struct owner *owner = owners_get_locked(owners, limits[i].name);

		if (owner == NULL)
			return -ENOMEM;
		bucket_limit(&owner->minute, limits[i].jobs_per_minute, now_mono_ms);
		owner->max_queued = (size_t)limits[i].max_queued;
		owner->max_in_flight = (size_t)limits[i].max_in_flight;
	}
	return 0;
}

void
owners_release(struct owners *owners)
{
	struct owner *owner, *next;

	HASH_ITER(hh, owners->by_name, owner, next) {
		HASH_DEL(owners->by_name, owner);
		free(owner);
	}
}

static int
refuse(struct owner_refusal *ret, enum owner_quota quota, int64_t limit, int64_t retry_after_ms)
{
	*ret = (struct owner_refusal){quota, limit, retry_after_ms};
	return -1;
}

int
owner_admit_locked(struct owner *owner, size_t count, int64_t now_mono_ms, struct owner_refusal *ret)
{
	if (owner->max_queued != 0) {
		if (owner->waiting + count > owner->max_queued)
			return refuse(ret, OWNER_MAX_QUEUED, (int64_t)owner->max_queued, 1000);
	} else if (owner->max_in_flight != 0 && owner->waiting + owner->running + count > owner->max_in_flight) {
		return refuse(ret, OWNER_MAX_IN_FLIGHT, (int64_t)owner->max_in_flight, 1000);
	}
	int64_t wait_ms = bucket_take(&owner->minute, (int64_t)count, now_mono_ms); /* last, as it takes */
	if (wait_ms > 0)
		return refuse(ret, OWNER_JOBS_PER_MINUTE, owner->minute.per_minute, wait_ms);
	owner->waiting += count;
	return 0;
}

void
owner_unadmit_locked(struct owner *owner, size_t count)
{
	owner->waiting -= count;
	bucket_return(&owner->minute, (int64_t)count);
}
