/* See transfer.h. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "fetch/transfer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/metrics.h"
#include "fetch/hop.h"
#include "fetch/loop.h"
#include "fetch/redirect.h"

/* ---- life */

static struct attempt *
attempt_new(unsigned number)
{
	struct arena arena = {0};
	struct attempt *attempt = arena_alloc(&arena, sizeof *attempt);

	if (attempt == NULL)
		return NULL;
	attempt->arena = arena;
	attempt->number = number;
	attempt->started_wall_ms = wall_ms();
	attempt->timings = (struct timings){-1, -1, -1, -1, -1, -1};
	return attempt;
}

static struct response *
response_new(void)
{
	struct arena arena = {0};
	struct response *response = arena_alloc(&arena, sizeof *response);

	if (response != NULL)
		response->arena = arena;
	return response;
}

struct transfer *
transfer_new(struct loop *loop, const struct pool_settings *settings, struct egress_policy *policy, struct job *job)
{
	struct transfer *transfer = calloc(1, sizeof *transfer);
	struct outcome *outcome = calloc(1, sizeof *outcome);

	if (outcome != NULL) {
		outcome->attempt = attempt_new(job->attempt_number);
		outcome->response = response_new();
	}
	if (transfer == NULL || outcome == NULL || outcome->attempt == NULL || outcome->response == NULL) {
		if (outcome != NULL)
			outcome_free(outcome);
		free(transfer);
		return NULL;
	}
	outcome->job = job;
	transfer->loop = loop;
	transfer->job = job;
	transfer->outcome = outcome;
	transfer->settings = settings;
	transfer->policy = egress_policy_ref(policy);
	transfer->ways = ways_slot_get(settings->ways);
	transfer->sink.fd = -1;
	transfer->method = job->spec->method;
	transfer->send_body = transfer->send_secret = true;
	list_init(&transfer->node);
	list_init(&transfer->answer_node);
	transfer->started_us = mono_us();
	outcome->attempt->timings.queue = transfer->started_us / 1000 - job->run_at_mono_ms;
	if (outcome->attempt->timings.queue < 0)
		outcome->attempt->timings.queue = 0;
	job->transfer = transfer;
	return transfer;
}

void
outcome_free(struct outcome *outcome)
{
	attempt_free(outcome->attempt);
	response_free(outcome->response);
	if (outcome->job != NULL)
		job_unref(outcome->job);
	if (!outcome->lent)
		free(outcome);
}

/* Lets go of what the hop held; the easy handle with its connection goes back to the loop. */
static void
release_hop(struct transfer *transfer)
{
	if (transfer->asking)
		loop_cancel_resolve(transfer->loop, transfer);
	transfer->asking = false;
	if (transfer->shard != NULL)
		loop_remove(transfer->loop, transfer);
	if (transfer->easy != NULL)
		loop_give_easy(transfer->loop, transfer->easy);
	transfer->easy = NULL;
	curl_slist_free_all(transfer->headers);
	curl_slist_free_all(transfer->resolve);
	curl_slist_free_all(transfer->connect_to);
	transfer->headers = transfer->resolve = transfer->connect_to = NULL;
	decoder_free(transfer->decoder);
	transfer->decoder = NULL;
	tls_end_release(transfer->tls_end);
	transfer->tls_end = NULL;
}

static void
end(struct transfer *transfer)
{
	struct attempt *attempt = transfer->outcome->attempt;

	if (transfer->ended)
		return;
	transfer->ended = true;
	loop_clear_clock(transfer->loop, transfer);
	if (transfer->easy != NULL && transfer->hop_started_us != 0)
		hop_take_figures(transfer);
	release_hop(transfer);
	attempt->finished_wall_ms = wall_ms();
	attempt->timings.total = (mono_us() - transfer->started_us) / 1000;
	attempt->error = transfer->failure;
	transfer->outcome->error = transfer->failure;
	loop_ended(transfer->loop, transfer);
}

struct outcome *
transfer_finish(struct transfer *transfer)
{
	struct outcome *outcome = transfer->outcome;

	sink_abandon(&transfer->sink);
	if (outcome->error.code != JOB_ERROR_none || outcome->aborted) {
		response_free(outcome->response);
		outcome->response = NULL;
	}
	outcome->sent = transfer->sent;
	metric_add(outcome->aborted                             ? METRIC_ATTEMPTS_ABORTED
			: outcome->error.code == JOB_ERROR_none ? METRIC_ATTEMPTS_OK
								: METRIC_ATTEMPTS_FAILED,
		1);
	metric_add(METRIC_RECEIVED_BYTES, (uint64_t)outcome->attempt->received_bytes);
	transfer->job->transfer = NULL;
	egress_policy_unref(transfer->policy);
	ways_unref(transfer->ways);
	free(transfer);
	return outcome;
}

/* ---- failures */

static void __attribute__((format(printf, 4, 0))) note_failure(
	struct transfer *transfer, enum job_error_code code, enum job_phase phase, const char *format, va_list args)
{
	if (transfer->failure.code != JOB_ERROR_none)
		return;
	transfer->failure.code = code;
	transfer->failure.phase = phase;
	vsnprintf(transfer->failure.message, sizeof transfer->failure.message, format, args);
}

void
transfer_note_failure(
	struct transfer *transfer, enum job_error_code code, enum job_phase phase, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	note_failure(transfer, code, phase, format, args);
	va_end(args);
}

void
transfer_fail(struct transfer *transfer, enum job_error_code code, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	note_failure(transfer, code, hop_phase(transfer), format, args);
	va_end(args);
	end(transfer);
}

static void
fail_for_memory(struct transfer *transfer)
{
	transfer_fail(transfer, JOB_ERROR_internal, "the server ran out of memory");
}

void
transfer_abort(struct transfer *transfer)
{
	if (transfer->ended)
		return;
	transfer->outcome->aborted = true;
	end(transfer);
}

/* ---- clocks */

struct clock {
	int64_t due_us;
	enum job_error_code code;
};

static void
consider(struct clock *first, int64_t start_us, int64_t ms, enum job_error_code code)
{
	if (ms != 0 && start_us + ms * 1000 < first->due_us)
		*first = (struct clock){start_us + ms * 1000, code};
}

/* The clock that is due first in this phase. */
static struct clock
first_clock(const struct transfer *transfer)
{
	const struct job_spec *spec = transfer->job->spec;
	struct clock first = {INT64_MAX, JOB_ERROR_none};

	consider(&first, transfer->job->created_mono_ms * 1000, spec->deadline_ms, JOB_ERROR_deadline_exceeded);
	consider(&first, transfer->started_us, spec->timeout_ms, JOB_ERROR_timeout);
	if (transfer->phase <= JOB_PHASE_tls)
		consider(&first, transfer->hop_started_us, spec->connect_timeout_ms, JOB_ERROR_connect_timeout);
	else if (transfer->first_byte_us == 0 && transfer->sent_us != 0)
		consider(&first, transfer->sent_us, spec->first_byte_timeout_ms, JOB_ERROR_first_byte_timeout);
	else if (transfer->first_byte_us != 0)
		consider(&first, transfer->last_byte_us, spec->idle_timeout_ms, JOB_ERROR_idle_timeout);
	return first;
}

void
transfer_set_clock(struct transfer *transfer)
{
	loop_set_clock(transfer->loop, transfer, first_clock(transfer).due_us);
}

static const char *
clock_message(enum job_error_code code)
{
	switch (code) {
	case JOB_ERROR_connect_timeout:
		return "no connection within connect_timeout";
	case JOB_ERROR_first_byte_timeout:
		return "no byte of the answer within first_byte_timeout";
	case JOB_ERROR_idle_timeout:
		return "no byte came for idle_timeout";
	case JOB_ERROR_deadline_exceeded:
		return "the job's deadline passed during the attempt";
	default:
		return "the attempt was not over within timeout";
	}
}

void
transfer_timeout(struct transfer *transfer)
{
	int64_t now_us = mono_us();
	struct clock first = first_clock(transfer);

	if (first.due_us > now_us)
		loop_set_clock(transfer->loop, transfer, first.due_us);
	else
		transfer_fail(transfer, first.code, "%s", clock_message(first.code));
}

/* ---- the way through a hop */

static void
connect_hop(struct transfer *transfer)
{
	transfer->phase = JOB_PHASE_connect;
	transfer->easy = loop_take_easy(transfer->loop);
	if (transfer->easy == NULL || hop_prepare(transfer) != 0 || !loop_add(transfer->loop, transfer))
		fail_for_memory(transfer);
}

static void
proxy_looked_up(struct transfer *transfer)
{
	const struct resolved *resolved = &transfer->proxy_resolved;

	if (resolved->error == -ENOMEM)
		fail_for_memory(transfer);
	else if (resolved->error != 0)
		transfer_fail(transfer, JOB_ERROR_connect_failed, "the name of the proxy %s cannot be looked up: %s",
			transfer->proxy->name, resolved->message);
	else
		connect_hop(transfer);
}

/* The target has passed the guard. What leads to it, or to the proxy, is next. */
static void
go_out(struct transfer *transfer)
{
	if (transfer->proxy == NULL) {
		connect_hop(transfer);
		return;
	}
	transfer->phase = JOB_PHASE_connect;
	transfer->asking = transfer->asking_proxy = true;
	if (!loop_resolve(transfer->loop, transfer, transfer->proxy->host, &transfer->proxy_resolved))
		return;
	transfer->asking = transfer->asking_proxy = false;
	proxy_looked_up(transfer);
}

static void
begin_connect(struct transfer *transfer)
{
	for (size_t i = 0; i < transfer->resolved.count; i++) {
		struct egress_verdict verdict = egress_check_address(transfer->policy, transfer->hop.origin.host,
			transfer->hop.origin.port, &transfer->resolved.addresses[i]);

		if (!verdict.allowed) {
			metric_add(METRIC_DENIED, 1);
			transfer->phase = JOB_PHASE_policy;
			transfer_fail(transfer, JOB_ERROR_denied_by_policy, "%s", verdict.reason);
			return;
		}
	}
	go_out(transfer);
}

static void
fail_for_name(struct transfer *transfer)
{
	transfer_fail(transfer, transfer->resolved.error == -ENOMEM ? JOB_ERROR_internal : JOB_ERROR_dns_failed,
		"%s: %s", transfer->hop.origin.host, transfer->resolved.message);
}

void
transfer_resolved(struct transfer *transfer)
{
	bool of_proxy = transfer->asking_proxy;

	transfer->asking = transfer->asking_proxy = false;
	if (!of_proxy)
		transfer->resolved_us = mono_us();
	if (transfer->ended)
		return;
	if (of_proxy)
		proxy_looked_up(transfer);
	else if (transfer->resolved.error != 0)
		fail_for_name(transfer);
	else
		begin_connect(transfer);
}

/* The hop's URL is set: is it allowed, and where does it lead? */
static void
begin_hop(struct transfer *transfer)
{
	struct address literal;

	struct attempt *attempt = transfer->outcome->attempt;

	attempt->status = 0;
	attempt->remote_ip[0] = attempt->http_version[0] = '\0';
	transfer->phase = JOB_PHASE_policy;
	transfer->hop_started_us = mono_us();
	transfer->tls.begun = false;
	transfer->resolved_us = transfer->sent_us = transfer->first_byte_us = 0;
	transfer->target = 0;
	transfer->resolved.count = 0;
	transfer->sends = 0;
	transfer->wire_bytes = 0;
	transfer->redirecting = false;
	head_init(&transfer->head, &transfer->outcome->response->arena);
	struct egress_verdict verdict =
		egress_check_host(transfer->policy, transfer->hop.origin.host, transfer->hop.origin.port);
	if (!verdict.allowed) {
		metric_add(METRIC_DENIED, 1);
		transfer_fail(transfer, JOB_ERROR_denied_by_policy, "%s", verdict.reason);
		return;
	}
	transfer->phase = JOB_PHASE_dns;
	transfer_set_clock(transfer);
	bool is_literal = address_parse(transfer->hop.origin.host, &literal) == 0;
	if (transfer->proxy != NULL && transfer->proxy->resolves && !is_literal) {
		go_out(transfer); /* nobody here knows its addresses */
		return;
	}
	transfer->asking = true;
	if (!loop_resolve(transfer->loop, transfer, transfer->hop.origin.host, &transfer->resolved))
		return;
	transfer->asking = false;
	if (!is_literal)
		transfer->resolved_us = mono_us();
	if (transfer->resolved.error != 0)
		fail_for_name(transfer);
	else
		begin_connect(transfer);
}

void
transfer_start(struct transfer *transfer)
{
	const struct job_spec *spec = transfer->job->spec;
	struct ways_problem problem;

	metric_add(METRIC_ATTEMPTS_STARTED, 1);
	transfer->phase = JOB_PHASE_policy;
	if (!ways_have(transfer->ways, spec, &problem)) {
		transfer_fail(transfer, problem.code, "%s", problem.detail); /* it was there when the job came */
		return;
	}
	transfer->proxy = ways_proxy(transfer->ways, spec->proxy);
	transfer->hop = (struct url){.text = spec->url, .origin = spec->origin};
	if (sink_open(&transfer->sink, transfer->settings->body_dir, &transfer->job->id, spec->max_body_bytes,
		    transfer->settings->inline_body_bytes) != 0)
		fail_for_memory(transfer);
	else
		begin_hop(transfer);
}

/* ---- redirects */

static bool
note_redirect(struct transfer *transfer, const struct url *to)
{
	struct attempt *attempt = transfer->outcome->attempt;

	if (attempt->redirects == NULL)
		attempt->redirects = arena_alloc(
			&attempt->arena, (size_t)transfer->job->spec->max_redirects * sizeof *attempt->redirects);
	if (attempt->redirects == NULL)
		return false;
	struct redirect redirect = {
		.status = transfer->head.status,
		.url = arena_string(&attempt->arena, transfer->hop.text),
		.location = arena_string(&attempt->arena, to->text),
	};
	if (redirect.url == NULL || redirect.location == NULL)
		return false;
	attempt->redirects[attempt->redirect_count++] = redirect;
	metric_add(METRIC_REDIRECTS, 1);
	return true;
}

static void
follow(struct transfer *transfer)
{
	const char *location = fields_get(&transfer->head.fields, "location"), *why;
	struct arena *arena = &transfer->outcome->response->arena;
	struct url to;

	transfer->phase = JOB_PHASE_redirect;
	int error = url_resolve(arena, transfer->hop.text, location, &to, &why);
	if (error == -ENOMEM || (error == 0 && !note_redirect(transfer, &to))) {
		fail_for_memory(transfer);
		return;
	}
	if (error != 0) {
		transfer_fail(transfer, JOB_ERROR_bad_redirect, "the Location \"%.100s\": %s", location, why);
		return;
	}
	if (redirect_turns_to_get(transfer->head.status, transfer->method)) {
		transfer->method = "GET";
		transfer->send_body = false;
	}
	if (!origin_name_equal(&transfer->hop.origin, &to.origin))
		transfer->send_secret = false;
	hop_take_figures(transfer);
	release_hop(transfer);
	transfer->hop = to;
	/* It may have been changed since the attempt began. */
	egress_policy_unref(transfer->policy);
	transfer->policy = loop_policy(transfer->loop);
	begin_hop(transfer);
}

/* ---- the end of a hop */

static void
take_response(struct transfer *transfer)
{
	struct response *response = transfer->outcome->response;
	const struct job_expect *expect = &transfer->job->spec->expect;

	if (transfer->decoder != NULL && decoder_finish(transfer->decoder) != 0) {
		transfer_fail(transfer, JOB_ERROR_bad_content_encoding, "the encoded body ends early");
		return;
	}
	int error = sink_finish(&transfer->sink, &response->body);
	if (error != 0) {
		transfer_fail(transfer, JOB_ERROR_internal, "cannot keep the body: %s", strerror(-error));
		return;
	}
	response->status = transfer->head.status;
	response->url = arena_string(&response->arena, transfer->hop.text);
	response->headers = transfer->head.fields;
	if (response->url == NULL || fields_group(&response->headers) != 0) {
		fail_for_memory(transfer);
		return;
	}
	if (expect->has_sha256 && memcmp(expect->sha256, response->body.sha256, sizeof expect->sha256) != 0)
		transfer_note_failure(transfer, JOB_ERROR_expect_failed, JOB_PHASE_expect,
			"the body's SHA-256 is not the expected one");
	end(transfer);
}

/* The proxy could not reach that address of the target; there is another. The connect clock goes on. */
static void
try_next_address(struct transfer *transfer)
{
	release_hop(transfer);
	transfer->target++;
	connect_hop(transfer);
}

void
transfer_hop_done(struct transfer *transfer, CURLcode result)
{
	if (transfer->failure.code != JOB_ERROR_none)
		end(transfer);
	else if (transfer->redirecting)
		follow(transfer);
	else if (result != CURLE_OK && hop_elsewhere(transfer, result))
		try_next_address(transfer);
	else if (result != CURLE_OK)
		hop_explain_failure(transfer, result), end(transfer);
	else if (!transfer->head.whole)
		transfer_fail(transfer, JOB_ERROR_truncated, "the answer ended within its head");
	else if (transfer->tls_end != NULL && !tls_end_announced(transfer->tls_end))
		transfer_fail(transfer, JOB_ERROR_truncated,
			"the answer has no length, and its TLS connection ended without a word that this was all");
	else
		take_response(transfer);
}
