/* The life of the service: start, reload, drain, stop. See service.h. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "service/service.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory_budget.h"
#include "base/sha256.h"
#include "base/text.h"
#include "fetch/ways.h"
#include "service/private.h"

/* Secret without being told. */
static const char *const usual_secrets[] = {"authorization", "cookie", "x-api-key"};
#define USUAL_SECRETS (sizeof usual_secrets / sizeof *usual_secrets)

bool
service_egress_rule_valid(const char *rule)
{
	return egress_rule_valid(rule);
}

const char *
service_proxy_problem(const char *named_url)
{
	return ways_proxy_problem(named_url);
}

int
service_check(const struct config *config, char **ret_message)
{
	struct ways *ways = NULL;

	int error = ways_new(config, NULL, &ways, ret_message);
	ways_unref(ways);
	return error;
}

/* The rules were read before, so NULL is a lack of memory. */
static struct egress_policy *
make_policy(const struct service *service, const struct config *config)
{
	const struct config_list *allow = &config->egress_allow, *deny = &config->egress_deny;
	const char *bad;
	struct egress_policy *policy = egress_policy_new(allow->items, allow->count, deny->items, deny->count, &bad);

	if (policy == NULL || egress_policy_set_listening(policy, service->listening, service->listening_count) == 0)
		return policy;
	egress_policy_unref(policy);
	return NULL;
}

static int
set_limits(const struct config *config, struct scheduler_limits *ret, struct origin_limit **ret_origins)
{
	struct origin_limit *origins = calloc(config->origin_count + 1, sizeof *origins);

	if (origins == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < config->origin_count; i++)
		origins[i] = (struct origin_limit){
			.host = config->origins[i].host,
			.port = config->origins[i].port,
			.max_in_flight = (size_t)config->origins[i].max_in_flight,
		};
	*ret = (struct scheduler_limits){
		.max_in_flight = (size_t)config->max_in_flight,
		.max_in_flight_per_origin = (size_t)config->max_in_flight_per_origin,
		.origins = origins,
		.origin_count = config->origin_count,
	};
	*ret_origins = origins;
	return 0;
}

static int
make_scheduler(struct service *service)
{
	struct scheduler_limits limits;
	struct origin_limit *origins;

	int error = set_limits(service->config, &limits, &origins);
	if (error != 0)
		return error;
	error = scheduler_new(&limits, (unsigned)service->config->workers, &service->scheduler);
	free(origins);
	return error;
}

static int
list_secrets(struct service *service)
{
	const struct config_list *more = &service->config->secret_header;

	service->secret_headers = calloc(USUAL_SECRETS + more->count, sizeof(char *));
	if (service->secret_headers == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < USUAL_SECRETS; i++)
		service->secret_headers[i] = (char *)usual_secrets[i];
	for (size_t i = 0; i < more->count; i++)
		service->secret_headers[USUAL_SECRETS + i] = more->items[i];
	service->secret_header_count = USUAL_SECRETS + more->count;
	return 0;
}

/* The servers as the pool wants them: with commas between. NULL in *ret: the system's. */
static int
join_name_servers(const struct config_list *servers, char **ret)
{
	struct buffer joined = {0};

	*ret = NULL;
	if (servers->count == 0)
		return 0;
	for (size_t i = 0; i < servers->count; i++)
		buffer_printf(&joined, "%s%s", i > 0 ? "," : "", servers->items[i]);
	*ret = buffer_steal(&joined);
	return *ret == NULL ? -ENOMEM : 0;
}

static int
make_ways(struct service *service, char **ret_message)
{
	struct ways *ways;

	int error = ways_new(service->config, NULL, &ways, ret_message);
	if (error != 0)
		return error;
	if (ways_trust_nobody(ways))
		log_warn(
			"there is no bundle of CAs on this system (ca-certificates), so only https origins of a job with "
			"tls.ca can be fetched from; install one, or name one by --origin-ca default=FILE");
	ways_slot_init(&service->ways, ways);
	service->has_ways = true;
	ways_unref(ways);
	return 0;
}

static int
make_pool(struct service *service)
{
	struct pool_settings settings = {
		.loops = (unsigned)service->config->workers,
		.connections = service->config->origin_connections,
		.inline_body_bytes = service->config->inline_body_bytes,
		.body_dir = service->dir.bodies,
		.user_agent = "fetchpool/" FETCHPOOL_VERSION,
		.secret_headers = service->secret_headers,
		.secret_header_count = service->secret_header_count,
		.max_decode_ratio = service->config->max_decode_ratio,
		.dns_servers = service->dns_servers,
		.policy = make_policy(service, service->config),
		.ways = &service->ways,
	};
	struct pool_hooks hooks = {.context = service, .take = run_take, .ended = run_ended};

	if (settings.policy == NULL)
		return -ENOMEM;
	int error = pool_new(&settings, &hooks, &service->pool);
	egress_policy_unref(settings.policy);
	return error;
}

/* Nothing can be made durable any more. What is on the disk is whole; the next start goes on from there. */
static void
on_ledger_failure(void *context, const char *why)
{
	(void)context;
	log_error("%s; nothing can be stored, so the server ends", why);
	_exit(EXIT_FAILURE);
}

static int
make_ledger(struct service *service, char **ret_message)
{
	const struct config *config = service->config;
	struct ledger_limits limits = {
		.max_jobs = (size_t)config->store_max_jobs,
		.max_bytes = config->store_max_bytes,
		.max_disk_bytes = config->store_max_disk_bytes,
	};
	struct ledger_hooks hooks = {
		.context = service,
		.committed = changes_committed,
		.relieved = changes_relieved,
		.failed = on_ledger_failure,
	};

	if (config->store == STORE_SQLITE)
		return ledger_sqlite_open(
			service->dir.path, service->dir.bodies, &hooks, &service->ledger, ret_message);
	state_dir_sweep_parts(&service->dir);
	return ledger_memory_open(&limits, &hooks, &service->ledger);
}

static int
make_launched(struct service *service)
{
	service->launched = calloc((size_t)service->config->workers, sizeof *service->launched);
	if (service->launched == NULL)
		return -ENOMEM;
	for (int64_t i = 0; i < service->config->workers; i++)
		list_init(&service->launched[i]);
	return 0;
}

int
service_new(const struct config *config, struct service **ret, char **ret_message)
{
	struct service *service = calloc(1, sizeof *service);

	*ret_message = NULL;
	if (service == NULL)
		return -ENOMEM;
	service->config = config;
	service->dir.lock_fd = -1;
	memory_set_ceiling(config->max_memory);
	service->recovering = true;
	table_init(&service->table, (size_t)config->max_queued, (size_t)config->max_waiters);
	list_init(&service->unscheduled);
	service->retry_due_mono_ms = INT64_MAX;
	cond_init(&service->changed);
	cond_init(&service->idle);
	int error = sha256_prepare();
	if (error == 0)
		error = state_dir_open(config->state_dir, &service->dir, ret_message);
	if (error == 0)
		error = list_secrets(service);
	if (error == 0)
		error = make_launched(service);
	if (error == 0)
		error = make_scheduler(service);
	if (error == 0)
		error = make_ways(service, ret_message);
	if (error == 0)
		error = join_name_servers(&config->dns_server, &service->dns_servers);
	if (error == 0)
		error = make_pool(service);
	if (error == 0)
		error = make_ledger(service, ret_message);
	if (error != 0) {
		service_free(service);
		return error;
	}
	service->finish_order = service->ledger->finish_order;
	*ret = service;
	return 0;
}

static int
note_listening(struct service *service, const struct endpoint *endpoints, size_t count)
{
	struct endpoint *listening = calloc(count + 1, sizeof *listening);

	if (listening == NULL)
		return -ENOMEM;
	if (count > 0)
		memcpy(listening, endpoints, count * sizeof *listening);
	free(service->listening);
	service->listening = listening;
	service->listening_count = count;
	return 0;
}

int
service_listening(struct service *service, const struct endpoint *endpoints, size_t count)
{
	if (note_listening(service, endpoints, count) != 0)
		return -ENOMEM;
	struct egress_policy *policy = make_policy(service, service->config);
	if (policy == NULL)
		return -ENOMEM;
	pool_set_policy(service->pool, policy);
	egress_policy_unref(policy);
	return 0;
}

int
service_start(struct service *service, char **ret_message)
{
	*ret_message = NULL;
	int error = recover_jobs(service, ret_message);
	if (error != 0)
		return error;
	housekeeper_round(service); /* what came to its end while the server was down does not begin */
	error = thread_start(&service->housekeeper, "housekeeper", housekeeper_run, service);
	if (error != 0)
		return error;
	service->housekeeping = true;
	error = pool_start(service->pool);
	if (error != 0)
		return error;
	service->recovering = false;
	pool_wake_all(service->pool); /* for what was taken up */
	return 0;
}

static void
print_finding(void *context, const char *line)
{
	(void)context;
	printf("%s\n", line);
}

int
service_check_store(const struct config *config)
{
	char *bodies, *message = NULL;

	if (config->store != STORE_SQLITE) {
		printf("the memory store keeps nothing to check\n");
		return 0;
	}
	if (asprintf(&bodies, "%s/bodies", config->state_dir) < 0)
		return 1;
	int findings = ledger_sqlite_check(config->state_dir, bodies, print_finding, NULL, &message);
	free(bodies);
	if (findings < 0)
		fprintf(stderr, "fetchpool: cannot check the store: %s\n",
			message != NULL ? message : strerror(-findings));
	else if (findings == 0)
		printf("the store in %s is sound\n", config->state_dir);
	else
		fprintf(stderr,
			"fetchpool: the store in %s is damaged: %d findings; keep a copy of it before anything else\n",
			config->state_dir, findings);
	free(message);
	return findings == 0 ? 0 : 1;
}

int
service_reload(struct service *service, const struct config *config, char **ret_message)
{
	struct ways *old = ways_slot_get(&service->ways), *ways = NULL;
	struct scheduler_limits limits;
	struct origin_limit *origins;

	int error = ways_new(config, old, &ways, ret_message);
	ways_unref(old);
	if (error != 0)
		return error;
	struct egress_policy *policy = make_policy(service, config);
	error = policy == NULL ? -ENOMEM : set_limits(config, &limits, &origins);
	if (error == 0) {
		lock_take(&service->table.lock);
		error = scheduler_set_limits_locked(service->scheduler, &limits);
		lock_drop(&service->table.lock);
		free(origins);
	}
	if (error == 0) {
		ways_slot_set(&service->ways, ways);
		pool_set_policy(service->pool, policy);
		pool_wake_all(service->pool);
	}
	egress_policy_unref(policy);
	ways_unref(ways);
	return error;
}

int
service_limit_owners(struct service *service, const struct owner_limits *limits, size_t count)
{
	struct owners *owners = &service->table.owners;

	lock_take(&service->table.lock);
	int error = owners_limit_locked(owners, limits, count, mono_ms());
	for (struct owner *owner = owners->by_name; owner != NULL; owner = owner->hh.next)
		scheduler_owner_changed_locked(service->scheduler, owner);
	lock_drop(&service->table.lock);
	pool_wake_all(service->pool);
	return error;
}

int
service_owner_gauges(struct service *service, const char *name, struct service_owner_gauges **ret)
{
	const struct owners *owners = &service->table.owners;
	int count = 0;

	lock_take(&service->table.lock);
	struct service_owner_gauges *gauges = calloc(HASH_COUNT(owners->by_name) + 1, sizeof *gauges);
	for (const struct owner *owner = owners->by_name; gauges != NULL && owner != NULL; owner = owner->hh.next) {
		if (name != NULL && strcmp(name, owner->name) != 0)
			continue;
		gauges[count] = (struct service_owner_gauges){
			strdup(owner->name), owner->waiting, owner->running, owner->submitted};
		count += gauges[count].name != NULL;
	}
	lock_drop(&service->table.lock);
	*ret = gauges;
	return gauges == NULL ? -ENOMEM : count;
}

void
service_owner_gauges_free(struct service_owner_gauges *gauges, int count)
{
	for (int i = 0; i < count; i++)
		free(gauges[i].name);
	free(gauges);
}

int
service_check_url(struct service *service, const char *url, struct pool_check *check, const char **ret_why)
{
	return pool_check_url(service->pool, url, check, ret_why);
}

/* Where the caller of service_judge waits for its answer. */
struct judging {
	struct lock lock;
	struct cond answered;
	bool done;
};

static void
on_judged(struct pool_check *check)
{
	struct judging *judging = check->context;

	lock_take(&judging->lock);
	judging->done = true;
	cond_signal(&judging->answered);
	lock_drop(&judging->lock);
}

/* Asks, and waits for the answer, which the resolver gives in any case. */
static int
judge(struct service *service, const char *url, struct pool_check *check, const char **ret_why)
{
	struct judging judging = {.done = false};

	lock_init(&judging.lock);
	cond_init(&judging.answered);
	*check = (struct pool_check){.done = on_judged, .context = &judging};
	int error = pool_check_url(service->pool, url, check, ret_why);
	lock_take(&judging.lock);
	while (error == 0 && !judging.done)
		cond_wait(&judging.answered, &judging.lock);
	lock_drop(&judging.lock);
	pool_stop(service->pool);
	cond_release(&judging.answered);
	lock_release(&judging.lock);
	return error;
}

int
service_judge(const struct config *config, const struct endpoint *listening, size_t count, const char *url,
	struct pool_check *check, const char **ret_why)
{
	struct service *service = calloc(1, sizeof *service);

	if (service == NULL)
		return -ENOMEM;
	service->config = config;
	int error = note_listening(service, listening, count);
	if (error == 0)
		error = join_name_servers(&config->dns_server, &service->dns_servers);
	if (error == 0)
		error = make_pool(service);
	if (error == 0)
		error = judge(service, url, check, ret_why);
	pool_free(service->pool);
	free(service->listening);
	free(service->dns_servers);
	free(service);
	return error;
}

void
service_gauges(struct service *service, struct service_gauges *ret)
{
	struct table *table = &service->table;

	*ret = (struct service_gauges){0};
	lock_take(&table->lock);
	ret->queued = table->counts[JOB_queued];
	ret->running = table->counts[JOB_running];
	ret->retrying = table->counts[JOB_retrying];
	ret->waiting = table->awaits.count;
	ret->in_flight = scheduler_in_flight_locked(service->scheduler);
	ret->origins = scheduler_origins_locked(service->scheduler);
	lock_drop(&table->lock);
	pool_name_gauges(service->pool, &ret->names);
	service->ledger->ops->usage(service->ledger, &ret->store);
}

const char *
service_store_name(const struct service *service)
{
	return service->ledger->ops->name;
}

bool
service_store_durable(const struct service *service)
{
	return service->ledger->ops->durable;
}

bool
service_store_accepts(struct service *service, char *ret_why, size_t size)
{
	return service->ledger->ops->accepts(service->ledger, ret_why, size);
}

bool
service_recovering(struct service *service)
{
	return service->recovering;
}

const char *
service_curl_version(const struct service *service)
{
	return pool_curl_version(service->pool);
}

const char *
service_resolver_version(void)
{
	return pool_resolver_version();
}

bool
service_header_is_secret(const struct service *service, const char *name)
{
	for (size_t i = 0; i < service->secret_header_count; i++)
		if (text_equal_nocase(name, service->secret_headers[i]))
			return true;
	return false;
}

/* ---- the end */

void
service_drain(struct service *service)
{
	struct list woken;

	list_init(&woken);
	lock_take(&service->table.lock);
	service->draining = true;
	awaits_shut_locked(&service->table.awaits, false, &woken);
	lock_drop(&service->table.lock);
	await_wake_all(&woken);
	run_give_up_launched(service);
}

bool
service_draining(struct service *service)
{
	return service->draining;
}

void
service_await_idle(struct service *service, int64_t due_mono_ms)
{
	lock_take(&service->table.lock);
	while (!service->aborted && !run_idle_locked(service))
		if (!cond_wait_until(&service->idle, &service->table.lock, due_mono_ms))
			break;
	lock_drop(&service->table.lock);
}

void
service_abort(struct service *service)
{
	lock_take(&service->table.lock);
	service->aborted = true;
	cond_broadcast(&service->idle);
	lock_drop(&service->table.lock);
}

static void
stop_housekeeper(struct service *service)
{
	if (!service->housekeeping)
		return;
	lock_take(&service->table.lock);
	service->stop_housekeeping = true;
	cond_signal(&service->changed);
	lock_drop(&service->table.lock);
	thread_join(service->housekeeper);
	service->housekeeping = false;
}

void
service_stop(struct service *service)
{
	struct list woken;

	/* First whoever makes changes, then who keeps them, then whoever waits for that. */
	pool_stop(service->pool);
	stop_housekeeper(service);
	service->ledger->ops->stop(service->ledger);
	list_init(&woken);
	lock_take(&service->table.lock);
	awaits_shut_locked(&service->table.awaits, true, &woken);
	lock_drop(&service->table.lock);
	await_wake_all(&woken);
}

void
service_free(struct service *service)
{
	if (service == NULL)
		return;
	if (service->ledger != NULL)
		service->ledger->ops->stop(service->ledger);
	pool_free(service->pool);
	if (service->has_ways)
		ways_slot_release(&service->ways);
	run_unref_launched(&service->unscheduled);
	free(service->reserved_end);
	table_release(&service->table);
	if (service->ledger != NULL)
		service->ledger->ops->close(service->ledger);
	scheduler_free(service->scheduler);
	cond_release(&service->changed);
	cond_release(&service->idle);
	free(service->launched);
	free(service->beats);
	if (service->dir.path != NULL)
		state_dir_close(&service->dir);
	free(service->dns_servers);
	free(service->secret_headers);
	free(service->listening);
	free(service);
}
