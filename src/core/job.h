/*
 * What a job is: the spec that a client gave, the job with its state, the attempts and the response that came of it.
 * Knows no HTTP server, no curl, no SQL. This header alone is shared by core, fetch and ledger.
 *
 * Lifetime: a job is reference counted. Its spec never changes after submission; an attempt and a response never change
 * once they hang on the job. What does change is guarded by the core lock (core/table.h), but for the fields marked
 * atomic, which may be read anywhere.
 */
#ifndef FETCHPOOL_CORE_JOB_H
#define FETCHPOOL_CORE_JOB_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uthash.h>

#include "base/arena.h"
#include "base/heap.h"
#include "base/id.h"
#include "base/list.h"

enum job_state {
#define X(name, ...) JOB_##name,
#include "core/states.tbl.h"
#undef X
	JOB_STATE_COUNT
};

enum job_error_code {
	JOB_ERROR_none, /* no error */
#define X(code, retryable) JOB_ERROR_##code,
#include "core/errors.tbl.h"
#undef X
	JOB_ERROR_COUNT
};

enum job_phase {
#define X(name) JOB_PHASE_##name,
#include "core/phases.tbl.h"
#undef X
	JOB_PHASE_COUNT
};

const char *job_state_name(enum job_state state);
bool job_state_done(enum job_state state);
bool job_state_from_name(const char *name, size_t length, enum job_state *ret);
const char *job_error_name(enum job_error_code code);
bool job_error_retryable(enum job_error_code code);
const char *job_phase_name(enum job_phase phase);

/* ---- what the client asked for */

struct field {
	char *name; /* of a request as given, of a response in lower case */
	char *value;
};

struct fields {
	struct field *items;
	size_t count;
};

/* True when a field of this name, in any case, is there. */
bool fields_have(const struct fields *fields, const char *name);

/* The first value of a name, in any case, or NULL. */
const char *fields_get(const struct fields *fields, const char *name);

/* Puts fields of one name next to each other, by name, each name's values in their order. Returns 0 or -ENOMEM. */
int fields_group(struct fields *fields) __attribute__((warn_unused_result));

/* Where a fetch goes: what limits and connections are counted by. */
struct origin_name {
	const char *scheme; /* "http" or "https" */
	char *host;         /* lower case, ASCII (punycode), no brackets, no trailing dot */
	int port;
};

struct status_range {
	int low, high;
};

struct job_expect {
	struct status_range *statuses; /* none: any */
	size_t status_count;
	char *content_type; /* lower case, without parameters; NULL: any */
	bool has_sha256;
	uint8_t sha256[32];
};

/*
 * All strings live in the arena. Times are milliseconds; 0 means none where the contract has no default.
 * Made by api/codec, completed by service_submit (url, origin), read-only ever after.
 */
struct job_spec {
	struct arena arena;
	const char *method;
	char *url; /* canonical once prepared: no fragment, host in ASCII */
	struct origin_name origin;
	struct fields headers; /* as given */
	char *authorization;   /* the value made from auth; NULL when none was given */
	void *body;
	size_t body_bytes;
	bool has_body; /* an empty body is a body */
	bool body_is_json;
	int64_t timeout_ms, connect_timeout_ms, first_byte_timeout_ms, idle_timeout_ms;
	int64_t queue_timeout_ms, deadline_ms;
	int max_redirects;
	int64_t max_body_bytes; /* -1: the server's limit; set when prepared */
	bool decompress;
	struct job_expect expect;
	int priority;
	int64_t delay_ms;       /* 0: none */
	int64_t run_at_wall_ms; /* 0: none */
	int64_t ttl_ms;         /* 0: the server's; set when prepared */
	char *tls_ca;           /* the name of a configured bundle; NULL: the system's */
	char *tls_client_cert;  /* the name of a configured certificate; NULL: none */
	bool tls_insecure;      /* certificates are not verified */
	char *proxy;            /* the name of a configured proxy; NULL: none */
	bool retry_unsafe;      /* may run again after a crash although its method is not idempotent */
	char **tags;
	size_t tag_count;
	char *meta;              /* compact JSON; NULL for null */
	char *owner;             /* the name of the token that submitted it; NULL: there were no tokens */
	char *idempotency_key;   /* one of its owner's; NULL: none */
	uint8_t fingerprint[32]; /* of all the above as asked for, when there is a key (api/codec_idempotency.c) */
};

struct job_spec *job_spec_new(void);
void job_spec_free(struct job_spec *spec);
bool job_spec_has_tag(const struct job_spec *spec, const char *tag);

/* True when the job is this owner's; everything is nobody's (NULL). */
bool job_spec_owned_by(const struct job_spec *spec, const char *owner);

/* True for methods that may be repeated (RFC 9110, section 9.2.2); an unknown one may not. */
bool method_idempotent(const char *method);

/* True when an attempt whose outcome is not known may be made again: an idempotent method, or retry.unsafe. */
bool job_spec_repeatable(const struct job_spec *spec);

/* ---- what came of it */

struct job_error {
	enum job_error_code code;
	enum job_phase phase;
	char message[200];
};

struct redirect {
	int status;
	char *url, *location;
};

/* Milliseconds from the attempt's start; -1 for what did not happen. */
struct timings {
	int64_t queue, dns, connect, tls, first_byte, total;
};

struct attempt {
	struct attempt *next;
	struct arena arena;
	unsigned number; /* from 1 */
	int64_t started_wall_ms, finished_wall_ms;
	int status;             /* 0: none was received */
	struct job_error error; /* code none: none */
	char remote_ip[46];     /* "": none */
	char http_version[8];   /* "1.1"; "": none */
	struct redirect *redirects;
	size_t redirect_count;
	int64_t received_bytes;
	struct timings timings;
};

struct body {
	int64_t bytes;
	uint8_t sha256[32];
	char *data;            /* the bytes, when they are kept in memory; malloc'd */
	int64_t counted_bytes; /* of them, against --max-memory, until their commit */
	char *path;            /* the file, when they are not; malloc'd */
	int fd; /* of the file, until a store has synced it: a write that failed is told to whoever has it open; 0: none */
	bool kept;    /* the file is the store's: it is not removed with the response */
	bool is_text; /* valid UTF-8 without NUL; only told for bodies that are small enough to be inline */
};

struct response {
	struct arena arena;
	int status;
	char *url;             /* of the last hop */
	struct fields headers; /* grouped (fields_group) */
	struct body body;
};

void attempt_free(struct attempt *attempt);

/* Closes the file, which stays. */
void body_close(struct body *body);

/* Also removes the body's file, unless the store keeps it. */
void response_free(struct response *response);

/* How an attempt ended: the attempt, and either a response or an error (or neither, when it was aborted). */
struct outcome {
	struct list node;
	struct job *job; /* a reference */
	struct attempt *attempt;
	struct response *response;
	struct job_error error;
	bool aborted; /* cancelled or shut down: there is no result */
	bool sent;    /* something of the request may have left this machine */
	bool lent;    /* its memory is not malloc'd: for when there is none */
};

/* ---- the job */

struct lane;
struct origin;
struct owner;
struct transfer;
struct ledger_entry;

enum job_removal { JOB_KEPT, JOB_GONE, JOB_WAS_GONE };

struct job {
	atomic_uint references;
	struct id id;
	struct job_spec *spec;
	int64_t created_wall_ms, run_at_wall_ms;
	int64_t run_at_mono_ms, created_mono_ms;

	_Atomic(enum job_state) state; /* written under the core lock, through job_set_state */
	uint32_t version;              /* 0: not durable yet */
	bool unkept;                   /* the ledger could not take it in: it never was a job */
	int unkept_why;                /* then: the ledger's -errno */
	struct id existing;            /* with -EEXIST: the job that has its idempotency key */
	bool existing_same;            /* and whether that one's request is the same */
	bool removed;                  /* a client removes it; it is there until that is durable */
	enum job_removal removal;      /* what became of that */
	bool finishing;                /* an end is on its way to the ledger: no other may begin */
	bool recovered;                /* of an earlier run, which it may have ended: its start is not noted lazily */
	bool summary;                  /* made by a store without its attempts and the bytes of its body */
	bool launching;                /* taken for an attempt whose start is not durable yet */
	unsigned crashes;              /* in a row in which the server found it running */
	int64_t started_wall_ms, finished_wall_ms, expires_wall_ms; /* 0: not yet */
	int64_t attempt_started_wall_ms;                            /* of the newest attempt */
	int64_t attempt_started_mono_ms;                            /* the same; 0: in an earlier run */
	uint64_t finish_order;                                      /* grows from end to end, over restarts too */
	struct attempt *attempts, *last_attempt;
	unsigned attempt_count;
	unsigned attempt_number; /* of the newest attempt; set before its loop has the job */
	struct response *response;
	struct job_error error;
	int64_t counted_bytes; /* of the spec, against --max-memory, until it is done */
	struct list waiters;
	struct owner *owner; /* of a live job: whose spec->owner names (core/owners.h); NULL: nobody's */

	/* The running attempt; written by its loop, read anywhere. What a finished job shows is kept beside. */
	atomic_int_least64_t received_bytes, total_bytes; /* total: -1 unknown */
	int64_t final_received_bytes, final_total_bytes;

	/* core/scheduler.c */
	struct origin *origin;
	struct lane *lane;           /* of its owner at its origin */
	struct heap_node queue_node; /* in its lane */
	struct heap_node timer_node; /* in the timers */
	int64_t timer_due_mono_ms;
	uint64_t queue_order;

	/* fetch/loop.c */
	unsigned loop;             /* the loop that runs it; set when it is taken */
	struct transfer *transfer; /* the loop's own */
	struct list cancel_node;   /* in its loop's inbox; guarded by that inbox's lock */

	/* core/table.c */
	UT_hash_handle table_hash;
	struct list running_node; /* among those that run */

	struct list launch_node; /* service/run.c: ready for its loop, or to be given to the scheduler again */
	struct ledger_entry
		*reserved_end; /* the service's: memory for the change that ends this attempt or puts it back */
	struct ledger_entry *reserved_removal; /* the same: for the removal that follows its end */
	struct ledger_entry *pending_start;    /* the ledger's own: a start that it holds back; guarded by its lock */
};

/* A queued job with one reference, which takes the spec over; NULL when memory runs out (the spec stays the caller's). */
struct job *job_new(struct job_spec *spec);
struct job *job_ref(struct job *job);

/* Counts it against --max-memory: false when that is too much, and force is not set. */
bool job_count_memory(struct job *job, bool force);
void job_unref(struct job *job);

/*
 * The one door for a change of state: asserts that the step is legal, and counts the version up.
 * Lock: the core lock.
 */
void job_set_state(struct job *job, enum job_state state);

/* Hangs the attempt on the job, which owns it from now on. Lock: the core lock. */
void job_add_attempt(struct job *job, struct attempt *attempt);

#endif
