/* See descriptors.h. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "base/descriptors.h"

#include <sys/resource.h>

#define OWN 128     /* the log, the state directory, the database, the resolver, and room for libraries */
#define HEALTH 128  /* connections beyond max-connections, for health checks: half of them on their way out */
#define OF_WORKER 8 /* epoll, eventfd, and addresses that are tried at the same time */
#define OF_FRONT 12 /* epoll, eventfd, a socket for each address; connections of the database that read */
#define KEPT_OF_WORKER 4096

static int64_t
least_of(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t
most_of(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

void
descriptors_plan(const struct config *config, int64_t limit, struct descriptor_plan *ret)
{
	int64_t doors = (int64_t)(config->listen.count + config->passed_sockets);
	int64_t own = OWN + HEALTH + OF_WORKER * config->workers + OF_FRONT * config->front_threads * most_of(doors, 1);
	int64_t clients = config->max_connections, fetches = config->max_in_flight;
	int64_t kept = KEPT_OF_WORKER * config->workers, files = (fetches + 3) / 4;

	/* Enough to work at all is given in every case: what is missing then is told by errors. */
	int64_t rest = most_of(limit - own, 64), few = rest / 32;
	*ret = (struct descriptor_plan){.wanted = own + clients + fetches + files + kept};
	files = least_of(files, few);
	int64_t shared = rest - files - least_of(kept, few), half = shared / 2;
	ret->fits = clients + fetches <= shared;
	if (!ret->fits) {
		clients = least_of(clients, most_of(half, shared - fetches));
		fetches = least_of(fetches, shared - clients);
	}
	ret->connections = clients;
	ret->in_flight = fetches;
	ret->kept_connections = least_of(kept, rest - files - clients - fetches);
}

int64_t
descriptors_raise_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return INT64_MAX;
	rlim_t before = limit.rlim_cur;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
		limit.rlim_cur = before;
	return limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur > INT64_MAX ? INT64_MAX : (int64_t)limit.rlim_cur;
}

void
descriptors_apply(const struct descriptor_plan *plan, struct config *config)
{
	config->max_connections = plan->connections;
	config->max_in_flight = plan->in_flight;
	config->origin_connections = plan->in_flight + plan->kept_connections;
}
