/*
 * The service: what the server does, without a word of HTTP. The only room that composes core (the live jobs, the
 * scheduler), fetch (the pool) and ledger (what is kept). Its callers are the front door and main; any thread, without
 * any lock, unless said otherwise.
 */
#ifndef FETCHPOOL_SERVICE_SERVICE_H
#define FETCHPOOL_SERVICE_SERVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/config.h"
#include "core/await.h"
#include "core/job.h"
#include "core/owners.h"
#include "fetch/pool.h"
#include "ledger/ledger.h"

struct service;

/*
 * Opens the state directory and the ledger and makes the pool; nothing runs before service_start. The config outlives
 * the service. Returns 0 or -errno with a message (malloc'd, or NULL).
 */
int service_new(const struct config *config, struct service **ret, char **ret_message)
	__attribute__((warn_unused_result));

/*
 * Takes up the jobs of an earlier run, which may take seconds (service_recovering is true meanwhile), and lets fetches run. Returns 0
 * or -errno with a message as above.
 */
int service_start(struct service *service, char **ret_message) __attribute__((warn_unused_result));

/*
 * Tells where the front door listens, as bound: jobs are kept from there. Between service_new and service_start, on main's
 * thread. Returns 0 or -ENOMEM.
 */
int service_listening(struct service *service, const struct endpoint *endpoints, size_t count)
	__attribute__((warn_unused_result));

/* As ledger_sqlite_check on the state directory of the config, on stdout. Returns 0 when all is well, or 1. */
int service_check_store(const struct config *config);

/* What is wrong with NAME=URL of --proxy, or NULL. */
const char *service_proxy_problem(const char *named_url);

/*
 * Reads the files that the config names: 0, or -EINVAL with a message that names option and file (malloc'd), or -ENOMEM. Before
 * service_new, so that a mistake is told as one of usage.
 */
int service_check(const struct config *config, char **ret_message) __attribute__((warn_unused_result));

/* True when the text is a rule for --egress-allow and --egress-deny. */
bool service_egress_rule_valid(const char *rule);

/*
 * Takes over what SIGHUP may change: egress rules, limits of origins, CA bundles, certificates and proxies. All or nothing: 0, or -errno with a
 * message (malloc'd, or NULL).
 */
int service_reload(struct service *service, const struct config *config, char **ret_message)
	__attribute__((warn_unused_result));

/* True for a request header whose value is not read back: the usual ones and every --secret-header. */
bool service_header_is_secret(const struct service *service, const char *name);

/* ---- submit */

enum refusal_code {
	REFUSED_INVALID,
	REFUSED_QUEUE_FULL,
	REFUSED_DRAINING,
	REFUSED_STORE,
	REFUSED_NO_MEMORY,
	REFUSED_QUOTA
};

/* Why a submission was not taken. */
struct refusal {
	enum refusal_code code;
	const char *pointer; /* to the offending value of the spec; NULL: none */
	char detail[256];
	int64_t retry_after_ms; /* of REFUSED_QUOTA */
};

/*
 * Takes a job of spec->owner in. On success the spec is the job's, and *ret is a reference; the job is durable once its version is
 * above 0: await that before telling anyone. Or unkept is set, and unkept_why: -EEXIST when another job has its
 * idempotency key, which then is named by existing. On refusal the spec stays the caller's.
 * Returns 0; or 1 when its owner is over a quota, as the refusal says, but the job may be known by its idempotency key: then
 * unkept will be set, with -EEXIST, or -EDQUOT when it is not known; or -1 with the refusal.
 */
int service_submit(struct service *service, struct job_spec *spec, struct job **ret, struct refusal *ret_refusal)
	__attribute__((warn_unused_result));

/* ---- look */

/* A job as it was at one moment. What it points at belongs to the job. */
struct job_view {
	struct job *job;
	enum job_state state;
	uint32_t version;
	bool unkept, existing_same;
	int unkept_why;
	struct id existing;
	enum job_removal removal;
	int64_t started_wall_ms, finished_wall_ms, expires_wall_ms, attempt_started_wall_ms;
	uint64_t finish_order;
	const struct attempt *attempts;
	unsigned attempt_count;
	const struct response *response;
	const struct job_error *error;
	int64_t received_bytes, total_bytes;
};

/*
 * The job with a reference: 0, -ENOENT when it is unknown, expired, removed or another owner's (owner NULL: anyone's), or -EIO when
 * the store cannot be read. How much of it depth tells, if it is done; a live one is always whole.
 */
int service_find(struct service *service, const struct id *id, const char *owner, enum ledger_depth depth,
	struct job **ret) __attribute__((warn_unused_result));

/* How these jobs are now; all at one moment. */
void service_view(struct service *service, struct job *const *jobs, size_t count, struct job_view *ret_views);

/*
 * Up to limit jobs that fit, newest first, older than before (NULL: from the newest), each with a reference and as a summary.
 * Returns the count or -EIO.
 */
int service_list(struct service *service, const struct ledger_filter *filter, const struct id *before,
	struct job **jobs, size_t limit) __attribute__((warn_unused_result));

/* ---- await */

/* As await_begin_locked. */
int service_await(struct service *service, struct await *await) __attribute__((warn_unused_result));

/* ---- cancel, remove */

/*
 * Cancels the job of this owner (NULL: of anyone), or finds its end on its way. *ret is a reference; *ret_ours tells whether this call cancelled it:
 * await its end before telling anyone. Returns 0, -ENOENT, -EIO or -ENOMEM.
 */
int service_cancel(struct service *service, const struct id *id, const char *owner, struct job **ret, bool *ret_ours)
	__attribute__((warn_unused_result));

/*
 * Cancels the job of this owner (NULL: of anyone) if needed and removes it with its body. *ret is a reference: await AWAIT_REMOVAL before telling anyone.
 * Returns 0, -ENOENT, -EIO or -ENOMEM.
 */
int service_remove(struct service *service, const struct id *id, const char *owner, struct job **ret)
	__attribute__((warn_unused_result));

/*
 * Cancels every job that is not done and fits the filter, and counts them. *ret_last is the last of them, with a reference
 * (NULL: none): once its end is seen, those of all are durable. Returns 0, or -EIO or -ENOMEM, when some may have been missed.
 */
int service_cancel_matching(struct service *service, const struct ledger_filter *filter, size_t *ret_count,
	struct job **ret_last) __attribute__((warn_unused_result));

/* ---- owners */

/* Sets the quotas of these owners; those that are not named keep theirs. What they have taken stays taken. Returns 0 or -ENOMEM. */
int service_limit_owners(struct service *service, const struct owner_limits *limits, size_t count)
	__attribute__((warn_unused_result));

struct service_owner_gauges {
	char *name; /* malloc'd */
	size_t waiting, running;
	uint64_t submitted;
};

/* What each owner has, or only this one (name NULL: all). Returns their number, with *ret to be freed by the next, or -ENOMEM. */
int service_owner_gauges(struct service *service, const char *name, struct service_owner_gauges **ret)
	__attribute__((warn_unused_result));
void service_owner_gauges_free(struct service_owner_gauges *gauges, int count);

/* ---- the guard */

/* As pool_check_url. */
int service_check_url(struct service *service, const char *url, struct pool_check *check, const char **ret_why)
	__attribute__((warn_unused_result));

/*
 * The same without a service, by these settings and for a front door that listens here; waits for the answer. done,
 * context and state of the check are not the caller's. Returns as above.
 */
int service_judge(const struct config *config, const struct endpoint *listening, size_t count, const char *url,
	struct pool_check *check, const char **ret_why) __attribute__((warn_unused_result));

/* ---- operate */

struct service_gauges {
	size_t queued, running, retrying, waiting;
	size_t in_flight, origins;
	struct resolver_gauges names;
	struct ledger_usage store;
};
void service_gauges(struct service *service, struct service_gauges *ret);
const char *service_store_name(const struct service *service);
bool service_store_durable(const struct service *service);

/* False while jobs cannot be taken in, with a word why: the store is full, or failed. */
bool service_store_accepts(struct service *service, char *ret_why, size_t size);

/* True until the jobs of an earlier run are taken up; then nothing is answered about jobs. */
bool service_recovering(struct service *service);

/*
 * True when the housekeeper and every loop have made a turn since the last call; then asks all of them for the next one. The first
 * call asks alone. For one thread, which calls it every few seconds between service_start and service_stop; it takes the core
 * lock, so a lock that is held for ever holds it up, too.
 */
bool service_beats(struct service *service);

/* As pool_curl_version, pool_resolver_version. */
const char *service_curl_version(const struct service *service);
const char *service_resolver_version(void);

/* ---- the end */

/* From now on nothing is taken in and no attempt begins; all waits end. */
void service_drain(struct service *service);
bool service_draining(struct service *service);

/* Waits until no attempt runs, the time is up, or service_abort is called. */
void service_await_idle(struct service *service, int64_t due_mono_ms);

/* Ends service_await_idle at once. */
void service_abort(struct service *service);

/* Stops the threads and aborts what runs. After service_drain. */
void service_stop(struct service *service);
void service_free(struct service *service);

#endif
