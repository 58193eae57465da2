/*
 * One attempt: from the job's request to an outcome, over as many hops as there are redirects. A transfer lives on its
 * loop's thread and is touched by no other; the loop gives it libcurl's multi handle, timers and name look-ups, it gives
 * the loop an outcome.
 *
 *   policy -> dns -> connect -> tls -> send -> first_byte -> body -> (redirect: policy again) -> end
 *
 * With a proxy connect takes in the look-up of the proxy's name and the way through it. When the proxy cannot reach one of
 * the vetted addresses, it is asked for the next.
 *
 * Each clock is its own: connect (look-up to connected, of each hop), first byte, idle, attempt, deadline. Only the one
 * that is due first runs as the transfer's timer; when it fires, transfer_timeout sees which one is up.
 */
#ifndef FETCHPOOL_FETCH_TRANSFER_H
#define FETCHPOOL_FETCH_TRANSFER_H

#include <curl/curl.h>
#include <stdbool.h>

#include "base/heap.h"
#include "base/list.h"
#include "core/job.h"
#include "fetch/decode.h"
#include "fetch/head.h"
#include "fetch/pool.h"
#include "fetch/resolver.h"
#include "fetch/sink.h"
#include "fetch/tls_end.h"
#include "fetch/url.h"

struct loop;
struct shard;

struct transfer {
	struct list node; /* among its loop's transfers */
	struct loop *loop;
	struct shard *shard; /* while a hop is on libcurl's hands */
	struct job *job;     /* a reference, which goes to the outcome */
	struct outcome *outcome;
	const struct pool_settings *settings;
	struct egress_policy *policy; /* a reference */
	struct ways *ways;            /* a reference */
	const struct proxy *proxy;    /* of ways; NULL: none */

	/* the hop */
	struct url hop;
	const char *method;
	bool send_body;   /* false once a redirect has turned the request into a GET */
	bool send_secret; /* false once a redirect has led to another origin */
	CURL *easy;
	struct curl_slist *headers, *resolve, *connect_to;
	struct tls_choice tls;
	struct proxy_hop proxied; /* with a proxy */
	char curl_error[CURL_ERROR_SIZE];
	size_t body_sent;
	unsigned sends; /* how often libcurl was about to send this hop's request */
	bool sent;      /* it was, for any hop */
	bool redirecting;
	size_t redirect_body_bytes;
	struct head head;
	struct sink sink;
	struct decoder *decoder; /* NULL: the body comes as it is */
	int64_t wire_bytes;      /* of the body, as they came */
	struct tls_end *tls_end; /* when only the end of a TLS connection ends the body; else NULL */

	/* the look-up */
	struct resolver_query query;
	bool asking;
	bool asking_proxy;        /* after the hop's host, for that of the proxy */
	struct resolved resolved; /* of the hop's host */
	struct resolved proxy_resolved;
	size_t target;           /* which of the resolved addresses the proxy is asked for */
	struct list answer_node; /* in the loop's inbox; guarded by its lock */

	/* how far it is, and when it came there; monotonic microseconds, 0: not yet */
	enum job_phase phase;
	int64_t started_us, hop_started_us, resolved_us, sent_us, first_byte_us, last_byte_us;
	struct heap_node clock_node;
	int64_t clock_due_us;

	struct job_error failure; /* set by the first thing that went wrong */
	bool ended;
};

/* Begins an attempt of a job that was taken; takes its reference over. NULL when memory runs out (nothing is taken). */
struct transfer *transfer_new(
	struct loop *loop, const struct pool_settings *settings, struct egress_policy *policy, struct job *job);

/* Runs the first hop. May end the transfer at once. */
void transfer_start(struct transfer *transfer);

/* The look-up has ended; the answer is in resolved, or proxy_resolved. */
void transfer_resolved(struct transfer *transfer);

/* libcurl is done with the hop. */
void transfer_hop_done(struct transfer *transfer, CURLcode result);

/* The timer has fired: ends the transfer when a clock is up, else sets the timer anew. */
void transfer_timeout(struct transfer *transfer);

/* Ends the transfer as aborted. */
void transfer_abort(struct transfer *transfer);

/* Ends the transfer with this failure, in the phase it is in. For hop.c. */
void transfer_fail(struct transfer *transfer, enum job_error_code code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Notes why the hop is about to be cut off by a callback; the first one counts. For hop.c. */
void transfer_note_failure(struct transfer *transfer, enum job_error_code code, enum job_phase phase,
	const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Sets the timer to the clock that is due first. For hop.c, when a phase begins. */
void transfer_set_clock(struct transfer *transfer);

/* After the end: hands the outcome over and frees the transfer. */
struct outcome *transfer_finish(struct transfer *transfer);

#endif
