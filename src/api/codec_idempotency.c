/*
 * The idempotency key of a spec, and the fingerprint of the request that it stands for. See codec.h.
 *
 * What is hashed is a list of pairs, name and value, each with its length before it: two lists are never the same bytes.
 * A member at its default is not on the list, so one that a later version brings changes no fingerprint that a store
 * has kept. Numbers are decimal text and lengths big-endian, since a store may move to another machine.
 */
#include "api/codec.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/codec_private.h"
#include "base/sha256.h"
#include "base/text.h"

/* ---- the pairs */

static void
put_counted(struct sha256 *hash, const void *bytes, size_t count)
{
	uint8_t length[8];

	for (int i = 0; i < 8; i++)
		length[i] = (uint8_t)((uint64_t)count >> (56 - 8 * i));
	sha256_update(hash, length, sizeof length);
	sha256_update(hash, bytes, count);
}

static void
put(struct sha256 *hash, const char *name, const void *bytes, size_t count)
{
	put_counted(hash, name, strlen(name));
	put_counted(hash, bytes, count);
}

static void
put_text(struct sha256 *hash, const char *name, const char *text)
{
	if (text != NULL)
		put(hash, name, text, strlen(text));
}

static void
put_number(struct sha256 *hash, const char *name, int64_t value, int64_t usual)
{
	char digits[24];

	if (value == usual)
		return;
	snprintf(digits, sizeof digits, "%" PRId64, value);
	put_text(hash, name, digits);
}

/* ---- what is more than one pair, or not as it stands in the spec; these return 0 or -1: memory ran out */

/* Real numbers with 17 digits: enough to tell any two apart, without the search for fewer that codec_dump makes. */
#define SORTED (JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17))

static int
put_json(struct sha256 *hash, const char *name, const char *text, size_t length)
{
	bool poor;
	json_t *value = codec_parse(text, length, 0, NULL, &poor);
	char *sorted = value == NULL ? NULL : codec_print(value, SORTED);

	json_decref(value);
	if (sorted == NULL)
		return -1;
	put_text(hash, name, sorted);
	free(sorted);
	return 0;
}

static int
put_body(struct sha256 *hash, const struct job_spec *spec)
{
	if (spec->has_body && spec->body_is_json)
		return put_json(hash, "json", spec->body, spec->body_bytes);
	if (spec->has_body)
		put(hash, "body", spec->body, spec->body_bytes);
	return 0;
}

/* Names in lower case, in their order; the values of one name as they came. */
static int
group_headers(struct arena *arena, const struct fields *headers, struct fields *ret)
{
	*ret = (struct fields){.items = arena_alloc(arena, headers->count * sizeof *ret->items)};
	if (ret->items == NULL)
		return -1;
	for (; ret->count < headers->count; ret->count++) {
		struct field *field = &ret->items[ret->count];

		*field = headers->items[ret->count];
		field->name = arena_string(arena, field->name);
		if (field->name == NULL)
			return -1;
		ascii_lower_string(field->name);
	}
	return fields_group(ret) == 0 ? 0 : -1;
}

static int
put_headers(struct sha256 *hash, const struct fields *headers)
{
	struct arena arena = {0};
	struct fields grouped;

	int rc = group_headers(&arena, headers, &grouped);
	for (size_t i = 0; rc == 0 && i < grouped.count; i++) {
		put_text(hash, "header", grouped.items[i].name);
		put_text(hash, "value", grouped.items[i].value);
	}
	arena_release(&arena);
	return rc;
}

static void
put_expect(struct sha256 *hash, const struct job_expect *expect)
{
	for (size_t i = 0; i < expect->status_count; i++) {
		put_number(hash, "expect.status.low", expect->statuses[i].low, 0);
		put_number(hash, "expect.status.high", expect->statuses[i].high, 0);
	}
	put_text(hash, "expect.content_type", expect->content_type);
	if (expect->has_sha256)
		put(hash, "expect.sha256", expect->sha256, sizeof expect->sha256);
}

/* ---- all that a client can ask for */

static void
put_numbers(struct sha256 *hash, const struct job_spec *spec, const struct job_spec *usual)
{
	put_number(hash, "timeout", spec->timeout_ms, usual->timeout_ms);
	put_number(hash, "connect_timeout", spec->connect_timeout_ms, usual->connect_timeout_ms);
	put_number(hash, "first_byte_timeout", spec->first_byte_timeout_ms, usual->first_byte_timeout_ms);
	put_number(hash, "idle_timeout", spec->idle_timeout_ms, usual->idle_timeout_ms);
	put_number(hash, "queue_timeout", spec->queue_timeout_ms, usual->queue_timeout_ms);
	put_number(hash, "deadline", spec->deadline_ms, usual->deadline_ms);
	put_number(hash, "retry.unsafe", spec->retry_unsafe, usual->retry_unsafe);
	put_number(hash, "max_redirects", spec->max_redirects, usual->max_redirects);
	put_number(hash, "max_body_bytes", spec->max_body_bytes, usual->max_body_bytes);
	put_number(hash, "decompress", spec->decompress, usual->decompress);
	put_number(hash, "priority", spec->priority, usual->priority);
	put_number(hash, "delay", spec->delay_ms, usual->delay_ms);
	put_number(hash, "run_at", spec->run_at_wall_ms, usual->run_at_wall_ms);
	put_number(hash, "ttl", spec->ttl_ms, usual->ttl_ms);
	put_number(hash, "tls.insecure", spec->tls_insecure, usual->tls_insecure);
}

static int
put_spec(struct sha256 *hash, const struct job_spec *spec, const struct job_spec *usual)
{
	put_text(hash, "url", spec->url);
	if (strcmp(spec->method, usual->method) != 0)
		put_text(hash, "method", spec->method);
	put_text(hash, "auth", spec->authorization);
	put_numbers(hash, spec, usual);
	put_expect(hash, &spec->expect);
	put_text(hash, "tls.ca", spec->tls_ca);
	put_text(hash, "tls.client_cert", spec->tls_client_cert);
	put_text(hash, "proxy", spec->proxy);
	for (size_t i = 0; i < spec->tag_count; i++)
		put_text(hash, "tag", spec->tags[i]);
	if (put_headers(hash, &spec->headers) != 0 || put_body(hash, spec) != 0)
		return -1;
	return spec->meta == NULL ? 0 : put_json(hash, "meta", spec->meta, strlen(spec->meta));
}

static int
fingerprint_of(const struct job_spec *spec, uint8_t ret[SHA256_BYTES])
{
	struct sha256 hash;

	struct job_spec *usual = codec_new_spec();
	if (usual == NULL)
		return -1;
	int rc = sha256_init(&hash);
	if (rc == 0)
		rc = put_spec(&hash, spec, usual);
	job_spec_free(usual);
	if (rc == 0)
		return sha256_final(&hash, ret) == 0 ? 0 : -1;
	sha256_abandon(&hash);
	return -1;
}

/* ---- the key */

/* Takes the quotes and backslashes off a string of a structured field (RFC 9651, section 4.2.5). Returns 0 or -1. */
static int
unquote(char *text)
{
	char *end = text;
	const char *c = text + 1;

	for (; *c != '"'; c++) {
		if (*c == '\\' && *++c != '"' && *c != '\\')
			return -1;
		if (*c < 0x20 || *c > 0x7e) /* the NUL of a string that does not end is one */
			return -1;
		*end++ = *c;
	}
	*end = '\0';
	return c[1] == '\0' ? 0 : -1;
}

static int
read_header(struct arena *arena, const char *header, char **ret, struct problem *problem)
{
	header += strspn(header, " \t");
	size_t length = strlen(header);
	while (length > 0 && (header[length - 1] == ' ' || header[length - 1] == '\t'))
		length--;
	char *key = arena_copy(arena, header, length);
	if (key == NULL)
		return codec_no_memory(problem);
	if (*key == '"' && unquote(key) != 0)
		return problem_set(problem, 400, "invalid", NULL,
			"the Idempotency-Key begins with a quote, but is no quoted string of ASCII characters");
	if (!codec_is_label(key))
		return problem_set(problem, 400, "invalid", NULL,
			"an Idempotency-Key has 1 to 255 bytes and no control characters");
	*ret = key;
	return 0;
}

int
codec_set_idempotency_key(struct job_spec *spec, const char *header, struct problem *problem)
{
	uint8_t fingerprint[SHA256_BYTES];
	char *key = spec->idempotency_key;

	if (header != NULL && read_header(&spec->arena, header, &key, problem) != 0)
		return -1;
	if (key == NULL)
		return 0;
	if (spec->idempotency_key != NULL && strcmp(spec->idempotency_key, key) != 0)
		return problem_set(problem, 400, "invalid", "/idempotency_key",
			"the Idempotency-Key header is another key; give one of them");
	if (fingerprint_of(spec, fingerprint) != 0)
		return codec_no_memory(problem);
	spec->idempotency_key = key;
	memcpy(spec->fingerprint, fingerprint, sizeof spec->fingerprint);
	return 0;
}
