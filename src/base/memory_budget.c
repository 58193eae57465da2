/* See memory_budget.h. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "base/memory_budget.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int64_t ceiling = INT64_MAX;
static atomic_int_least64_t used[MEMORY_KIND_COUNT];

static const char *const names[] =
	{[MEMORY_REQUESTS] = "requests", [MEMORY_SPECS] = "jobs", [MEMORY_RESPONSES] = "responses"};

void
memory_set_ceiling(int64_t bytes)
{
	ceiling = bytes;
}

int64_t
memory_ceiling(void)
{
	return ceiling;
}

int64_t
memory_used(enum memory_kind kind)
{
	return atomic_load_explicit(&used[kind], memory_order_relaxed);
}

const char *
memory_kind_name(enum memory_kind kind)
{
	return names[kind];
}

static int64_t
incoming(void)
{
	return memory_used(MEMORY_REQUESTS) + memory_used(MEMORY_SPECS);
}

bool
memory_is_short(void)
{
	return incoming() + memory_used(MEMORY_RESPONSES) >= ceiling;
}

bool
memory_take(enum memory_kind kind, int64_t bytes)
{
	memory_take_anyway(kind, bytes);
	if (incoming() <= ceiling / 4 * 3 && !memory_is_short())
		return true;
	memory_give(kind, &bytes);
	return false;
}

void
memory_take_anyway(enum memory_kind kind, int64_t bytes)
{
	atomic_fetch_add_explicit(&used[kind], bytes, memory_order_relaxed);
}

void
memory_give(enum memory_kind kind, int64_t *bytes)
{
	atomic_fetch_sub_explicit(&used[kind], *bytes, memory_order_relaxed);
	*bytes = 0;
}

/* ---- what the process may use at all */

/* The number in a file; INT64_MAX for none ("max"). */
static int64_t
number_in(const char *path)
{
	int64_t number;
	FILE *file = fopen(path, "re");

	if (file == NULL)
		return INT64_MAX;
	if (fscanf(file, "%" SCNd64, &number) != 1 || number <= 0)
		number = INT64_MAX;
	fclose(file);
	return number;
}

/* The least limit of a group and those above it. */
static int64_t
limit_of_group(const char *root, char *group, const char *name)
{
	int64_t least = INT64_MAX;
	char path[4096];

	for (;;) {
		snprintf(path, sizeof path, "%s%s/%s", root, group, name);
		int64_t limit = number_in(path);
		least = limit < least ? limit : least;
		char *slash = strrchr(group, '/');
		if (slash == NULL || *group == '\0')
			return least;
		*slash = '\0';
	}
}

/* A line of /proc/self/cgroup is "ID:CONTROLLERS:PATH"; version 2 has no controllers there. */
static int64_t
limit_of_line(const char *sys, char *line)
{
	char root[512], *controllers = strchr(line, ':'),
			*group = controllers == NULL ? NULL : strchr(controllers + 1, ':');

	if (group == NULL)
		return INT64_MAX;
	*group++ = '\0';
	group[strcspn(group, "\n")] = '\0';
	if (strcmp(group, "/") == 0)
		*group = '\0';
	controllers++;
	if (*controllers == '\0') {
		snprintf(root, sizeof root, "%s/fs/cgroup", sys);
		return limit_of_group(root, group, "memory.max");
	}
	if (strcmp(controllers, "memory") != 0)
		return INT64_MAX;
	snprintf(root, sizeof root, "%s/fs/cgroup/memory", sys);
	return limit_of_group(root, group, "memory.limit_in_bytes");
}

int64_t
memory_available(const char *proc, const char *sys)
{
	int64_t least = (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
	char path[512], line[4096];

	snprintf(path, sizeof path, "%s/self/cgroup", proc);
	FILE *file = fopen(path, "re");
	while (file != NULL && fgets(line, sizeof line, file) != NULL) {
		int64_t limit = limit_of_line(sys, line);
		least = limit < least ? limit : least;
	}
	if (file != NULL)
		fclose(file);
	return least;
}
