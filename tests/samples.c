/* See samples.h. */
#include "samples.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store.h"

#define SAME_NUMBER(field)                                                                                             \
	ck_assert_msg(a->field == b->field, "%s: %lld, not %lld", #field, (long long)a->field, (long long)b->field)
#define SAME_TEXT(field) same_text(#field, a->field, b->field)

static void
same_text(const char *what, const char *a, const char *b)
{
	bool same = a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;

	ck_assert_msg(same, "%s: \"%s\", not \"%s\"", what, a == NULL ? "(none)" : a, b == NULL ? "(none)" : b);
}

/* ---- chance */

static bool
some(struct sampler *sampler)
{
	return random_below(&sampler->random, 100) < sampler->chance;
}

/* A whole number from 1 to most, of any magnitude; 0 when it is not set. */
static int64_t
some_number(struct sampler *sampler, int64_t most)
{
	if (!some(sampler))
		return 0;
	int64_t number = (int64_t)(next_random(&sampler->random) >> 1) >> random_below(&sampler->random, 63);
	return 1 + number % most;
}

static void
fill(struct sampler *sampler, void *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		((uint8_t *)bytes)[i] = (uint8_t)(next_random(&sampler->random) >> 40);
}

/* Texts as they may come: no line feeds, but all else. */
static const char *const texts[] = {
	"",
	"plain",
	"a: b: c",
	" blanks about ",
	"tabs\tand \x01 controls \x7f",
	"caf\xe9 in Latin 1, \xff\xfe no UTF-8",
	"caf\xc3\xa9 \xe4\xb8\xad\xe6\x96\x87 \xf0\x9f\x92\xa9",
	"'); DROP TABLE jobs; --",
	"\"double\" 'single' `back` \\ %s %n ?1 :x @y $z",
	"NULL",
	"0",
	"12e5",
	"carriage\rreturn",
};

static const char *
any_text(struct sampler *sampler)
{
	return texts[random_below(&sampler->random, COUNT(texts))];
}

static char *
text(struct sampler *sampler, struct arena *arena)
{
	if (random_below(&sampler->random, 10) > 0)
		return arena_string(arena, any_text(sampler));
	size_t length = 1 + (size_t)random_below(&sampler->random, 9000);
	char *piece = arena_alloc(arena, length + 1);
	memset(piece, 'a' + random_below(&sampler->random, 26), length);
	return piece;
}

static char *
some_text(struct sampler *sampler, struct arena *arena)
{
	return some(sampler) ? text(sampler, arena) : NULL;
}

/* ---- specs */

static void
set_fields(struct sampler *sampler, struct arena *arena, struct fields *fields)
{
	if (!some(sampler))
		return;
	fields->count = 1 + (size_t)random_below(&sampler->random, 12);
	fields->items = arena_alloc(arena, fields->count * sizeof *fields->items);
	for (size_t i = 0; i < fields->count; i++)
		fields->items[i] = (struct field){
			.name = arena_format(arena, "X-%c%d", 'a' + random_below(&sampler->random, 3), (int)i / 2),
			.value = text(sampler, arena),
		};
}

static void
set_origin(struct sampler *sampler, struct job_spec *spec)
{
	static const char *const methods[] = {"GET", "POST", "PUT", "DELETE", "PROPFIND", "X-ODD"};
	static const char *const hosts[] = {"a.example", "xn--bcher-kva.example", "192.0.2.1", "2001:db8::1"};
	const char *host = hosts[random_below(&sampler->random, COUNT(hosts))];
	bool secure = random_below(&sampler->random, 2) == 0;

	spec->method = arena_string(&spec->arena, methods[random_below(&sampler->random, COUNT(methods))]);
	spec->origin.scheme = secure ? "https" : "http";
	spec->origin.host = arena_string(&spec->arena, host);
	spec->origin.port = 1 + random_below(&sampler->random, 65535);
	spec->url = arena_format(&spec->arena,
		strchr(host, ':') != NULL ? "%s://[%s]:%d/%d?q='%%20" : "%s://%s:%d/%d?q='%%20", spec->origin.scheme,
		host, spec->origin.port, random_below(&sampler->random, 1000));
}

static void
set_body(struct sampler *sampler, struct job_spec *spec)
{
	spec->has_body = some(sampler);
	if (!spec->has_body)
		return;
	spec->body_is_json = some(sampler);
	spec->body_bytes = (size_t)random_below(&sampler->random, 4) * 5000;
	spec->body = arena_alloc(&spec->arena, spec->body_bytes + 1);
	fill(sampler, spec->body, spec->body_bytes);
}

static void
set_times(struct sampler *sampler, struct job_spec *spec)
{
	const int64_t most = INT64_C(10) * 365 * 24 * 3600 * 1000;

	spec->timeout_ms = some_number(sampler, most);
	spec->connect_timeout_ms = some_number(sampler, most);
	spec->first_byte_timeout_ms = some_number(sampler, most);
	spec->idle_timeout_ms = some_number(sampler, most);
	spec->queue_timeout_ms = some_number(sampler, most);
	spec->deadline_ms = some_number(sampler, most);
	spec->delay_ms = some_number(sampler, most);
	spec->run_at_wall_ms = some_number(sampler, INT64_C(253402300799999));
	spec->ttl_ms = some_number(sampler, most);
}

static void
set_expect(struct sampler *sampler, struct job_spec *spec)
{
	struct job_expect *expect = &spec->expect;

	if (some(sampler)) {
		expect->status_count = 1 + (size_t)random_below(&sampler->random, 5);
		expect->statuses = arena_alloc(&spec->arena, expect->status_count * sizeof *expect->statuses);
		for (size_t i = 0; i < expect->status_count; i++) {
			expect->statuses[i].low = 100 + random_below(&sampler->random, 500);
			expect->statuses[i].high = expect->statuses[i].low + random_below(&sampler->random, 99);
		}
	}
	expect->content_type = some_text(sampler, &spec->arena);
	expect->has_sha256 = some(sampler);
	if (expect->has_sha256)
		fill(sampler, expect->sha256, sizeof expect->sha256);
}

static void
set_tags(struct sampler *sampler, struct job_spec *spec)
{
	if (!some(sampler))
		return;
	spec->tag_count = 1 + (size_t)random_below(&sampler->random, 16);
	spec->tags = arena_alloc(&spec->arena, spec->tag_count * sizeof(char *));
	for (size_t i = 0; i < spec->tag_count; i++)
		spec->tags[i] = arena_format(&spec->arena, "%d %s", (int)i, any_text(sampler));
}

static struct job_spec *
sample_spec(struct sampler *sampler)
{
	static int keys;
	struct job_spec *spec = job_spec_new();

	set_origin(sampler, spec);
	set_fields(sampler, &spec->arena, &spec->headers);
	spec->authorization = some_text(sampler, &spec->arena);
	set_body(sampler, spec);
	set_times(sampler, spec);
	spec->max_redirects = (int)some_number(sampler, 100);
	spec->max_body_bytes = some_number(sampler, INT64_MAX);
	spec->decompress = some(sampler);
	set_expect(sampler, spec);
	spec->priority = some(sampler) ? random_below(&sampler->random, 201) - 100 : 0;
	set_tags(sampler, spec);
	spec->meta = some_text(sampler, &spec->arena);
	spec->retry_unsafe = some(sampler);
	spec->owner = some_text(sampler, &spec->arena);
	spec->tls_ca = some_text(sampler, &spec->arena);
	spec->tls_client_cert = some_text(sampler, &spec->arena);
	spec->tls_insecure = some(sampler);
	spec->proxy = some_text(sampler, &spec->arena);
	if (some(sampler)) {
		spec->idempotency_key = arena_format(&spec->arena, "%d %s", ++keys, any_text(sampler));
		fill(sampler, spec->fingerprint, sizeof spec->fingerprint);
	}
	return spec;
}

struct job *
sample_job(struct sampler *sampler)
{
	struct job *job = job_new(sample_spec(sampler));

	job->id = id_new();
	job->created_wall_ms = 1 + some_number(sampler, INT64_C(253402300799999));
	job->run_at_wall_ms = job->created_wall_ms + some_number(sampler, 1000000);
	return job;
}

/* ---- ends */

static void
set_error(struct sampler *sampler, struct job_error *error)
{
	if (!some(sampler))
		return;
	error->code = (enum job_error_code)(1 + random_below(&sampler->random, JOB_ERROR_COUNT - 1));
	error->phase = (enum job_phase)random_below(&sampler->random, JOB_PHASE_COUNT);
	if (random_below(&sampler->random, 8) == 0)
		memset(error->message, 'm', sizeof error->message - 1);
	else
		snprintf(error->message, sizeof error->message, "%s\n%s", any_text(sampler), any_text(sampler));
}

static int64_t
some_time(struct sampler *sampler)
{
	return some(sampler) ? random_below(&sampler->random, 1000000) : -1;
}

struct attempt *
sample_attempt(struct sampler *sampler)
{
	struct arena arena = {0};
	struct attempt *attempt = arena_alloc(&arena, sizeof *attempt);

	attempt->arena = arena;
	attempt->number = (unsigned)some_number(sampler, UINT32_MAX);
	attempt->started_wall_ms = some_number(sampler, INT64_C(253402300799999));
	attempt->finished_wall_ms = some_number(sampler, INT64_C(253402300799999));
	attempt->status = (int)some_number(sampler, 999);
	set_error(sampler, &attempt->error);
	if (some(sampler))
		snprintf(attempt->remote_ip, sizeof attempt->remote_ip, "%s",
			"ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255");
	if (some(sampler))
		snprintf(attempt->http_version, sizeof attempt->http_version, "%s", "1.1");
	if (some(sampler)) {
		attempt->redirect_count = 1 + (size_t)random_below(&sampler->random, 10);
		attempt->redirects = arena_alloc(&attempt->arena, attempt->redirect_count * sizeof *attempt->redirects);
	}
	for (size_t i = 0; i < attempt->redirect_count; i++)
		attempt->redirects[i] = (struct redirect){
			.status = 300 + random_below(&sampler->random, 9),
			.url = arena_format(&attempt->arena, "http://a.example:80/%d", (int)i),
			.location = text(sampler, &attempt->arena),
		};
	attempt->received_bytes = some_number(sampler, INT64_MAX);
	attempt->timings = (struct timings){some_time(sampler), some_time(sampler), some_time(sampler),
		some_time(sampler), some_time(sampler), some_time(sampler)};
	return attempt;
}

struct response *
sample_response(struct sampler *sampler)
{
	struct arena arena = {0};
	struct response *response = arena_alloc(&arena, sizeof *response);
	size_t bytes = (size_t)(random_below(&sampler->random, 3) * random_below(&sampler->random, 20000));

	response->arena = arena;
	response->status = 100 + random_below(&sampler->random, 500);
	response->url = text(sampler, &response->arena);
	set_fields(sampler, &response->arena, &response->headers);
	response->body.bytes = (int64_t)bytes;
	fill(sampler, response->body.sha256, sizeof response->body.sha256);
	response->body.is_text = some(sampler);
	if (bytes > 0 || some(sampler)) {
		response->body.data = malloc(bytes + 1);
		fill(sampler, response->body.data, bytes);
	}
	return response;
}

struct ledger_end
sample_end(struct sampler *sampler, const struct job *job)
{
	static const enum job_state states[] = {JOB_succeeded, JOB_failed, JOB_cancelled};
	struct ledger_end end = {.state = states[random_below(&sampler->random, COUNT(states))]};

	end.version = 1 + (uint32_t)some_number(sampler, UINT32_MAX - 2);
	set_error(sampler, &end.error);
	end.attempt = some(sampler) ? sample_attempt(sampler) : NULL;
	end.response = some(sampler) ? sample_response(sampler) : NULL;
	end.started_wall_ms = some_number(sampler, INT64_C(253402300799999));
	end.finished_wall_ms = job->created_wall_ms + some_number(sampler, 1000000);
	end.expires_wall_ms = end.finished_wall_ms + some_number(sampler, 1000000000);
	end.received_bytes = some_number(sampler, INT64_MAX);
	end.total_bytes = some(sampler) ? some_number(sampler, INT64_MAX) : -1;
	end.finish_order = (uint64_t)some_number(sampler, INT64_MAX);
	return end;
}

/* ---- looks */

static void
same_fields(const struct fields *a, const struct fields *b)
{
	SAME_NUMBER(count);
	for (size_t i = 0; i < a->count; i++) {
		SAME_TEXT(items[i].name);
		SAME_TEXT(items[i].value);
	}
}

static void
same_expect(const struct job_expect *a, const struct job_expect *b)
{
	SAME_NUMBER(status_count);
	for (size_t i = 0; i < a->status_count; i++) {
		SAME_NUMBER(statuses[i].low);
		SAME_NUMBER(statuses[i].high);
	}
	SAME_TEXT(content_type);
	SAME_NUMBER(has_sha256);
	ck_assert_mem_eq(a->sha256, b->sha256, sizeof a->sha256);
}

void
same_spec(const struct job_spec *a, const struct job_spec *b)
{
	SAME_TEXT(method);
	SAME_TEXT(url);
	SAME_TEXT(origin.scheme);
	SAME_TEXT(origin.host);
	SAME_NUMBER(origin.port);
	same_fields(&a->headers, &b->headers);
	SAME_TEXT(authorization);
	SAME_NUMBER(has_body);
	SAME_NUMBER(body_bytes);
	SAME_NUMBER(body_is_json);
	SAME_NUMBER(timeout_ms);
	SAME_NUMBER(connect_timeout_ms);
	SAME_NUMBER(first_byte_timeout_ms);
	SAME_NUMBER(idle_timeout_ms);
	SAME_NUMBER(queue_timeout_ms);
	SAME_NUMBER(deadline_ms);
	SAME_NUMBER(max_redirects);
	SAME_NUMBER(max_body_bytes);
	SAME_NUMBER(decompress);
	same_expect(&a->expect, &b->expect);
	SAME_NUMBER(priority);
	SAME_NUMBER(delay_ms);
	SAME_NUMBER(run_at_wall_ms);
	SAME_NUMBER(ttl_ms);
	SAME_NUMBER(retry_unsafe);
	SAME_NUMBER(tag_count);
	for (size_t i = 0; i < a->tag_count; i++)
		SAME_TEXT(tags[i]);
	SAME_TEXT(meta);
	SAME_TEXT(owner);
	SAME_TEXT(tls_ca);
	SAME_TEXT(tls_client_cert);
	SAME_NUMBER(tls_insecure);
	SAME_TEXT(proxy);
	SAME_TEXT(idempotency_key);
	ck_assert_mem_eq(a->fingerprint, b->fingerprint, sizeof a->fingerprint);
}

void
same_request_body(const struct job_spec *a, const struct job_spec *b)
{
	SAME_NUMBER(body_bytes);
	ck_assert(a->has_body == (a->body != NULL) && b->has_body == (b->body != NULL));
	if (a->body_bytes > 0)
		ck_assert_mem_eq(a->body, b->body, a->body_bytes);
}

void
same_error(const struct job_error *a, const struct job_error *b)
{
	SAME_NUMBER(code);
	SAME_NUMBER(phase);
	SAME_TEXT(message);
}

void
same_attempt(const struct attempt *a, const struct attempt *b)
{
	SAME_NUMBER(number);
	SAME_NUMBER(started_wall_ms);
	SAME_NUMBER(finished_wall_ms);
	SAME_NUMBER(status);
	same_error(&a->error, &b->error);
	SAME_TEXT(remote_ip);
	SAME_TEXT(http_version);
	SAME_NUMBER(redirect_count);
	for (size_t i = 0; i < a->redirect_count; i++) {
		SAME_NUMBER(redirects[i].status);
		SAME_TEXT(redirects[i].url);
		SAME_TEXT(redirects[i].location);
	}
	SAME_NUMBER(received_bytes);
	SAME_NUMBER(timings.queue);
	SAME_NUMBER(timings.dns);
	SAME_NUMBER(timings.connect);
	SAME_NUMBER(timings.tls);
	SAME_NUMBER(timings.first_byte);
	SAME_NUMBER(timings.total);
}

void
same_response(const struct response *a, const struct response *b)
{
	SAME_NUMBER(status);
	SAME_TEXT(url);
	same_fields(&a->headers, &b->headers);
	SAME_NUMBER(body.bytes);
	SAME_NUMBER(body.is_text);
	ck_assert_mem_eq(a->body.sha256, b->body.sha256, sizeof a->body.sha256);
}

void
same_job(const struct job *a, const struct job *b)
{
	ck_assert_int_eq(id_compare(&a->id, &b->id), 0);
	SAME_NUMBER(created_wall_ms);
	SAME_NUMBER(run_at_wall_ms);
	same_spec(a->spec, b->spec);
}

void
ended_so(const struct job *found, const struct ledger_end *end, enum ledger_depth depth)
{
	const struct job *a = found;
	const struct ledger_end *b = end;

	ck_assert_int_eq(found->summary, depth != LEDGER_WHOLE);
	SAME_NUMBER(state);
	SAME_NUMBER(version);
	same_error(&a->error, &b->error);
	SAME_NUMBER(started_wall_ms);
	SAME_NUMBER(finished_wall_ms);
	SAME_NUMBER(expires_wall_ms);
	SAME_NUMBER(finish_order);
	ck_assert_int_eq(found->final_received_bytes, end->received_bytes);
	ck_assert_int_eq(found->final_total_bytes, end->total_bytes);
	ck_assert_int_eq(found->response != NULL, end->response != NULL);
	if (end->response != NULL)
		same_response(found->response, end->response);
	if (end->response != NULL && end->response->body.path == NULL) {
		ck_assert_int_eq(found->response->body.data != NULL, depth == LEDGER_WHOLE);
		if (depth == LEDGER_WHOLE && end->response->body.bytes > 0)
			ck_assert_mem_eq(found->response->body.data, end->response->body.data,
				(size_t)end->response->body.bytes);
	}
	ck_assert_uint_eq(found->attempt_count, end->attempt != NULL && depth >= LEDGER_ATTEMPTS);
	if (found->attempt_count > 0)
		same_attempt(found->attempts, end->attempt);
}
