/*
 * The body of POST /v1/jobs: what the codec takes is JSON by the letter, makes a spec within bounds, means the same with
 * its keys in another order, and is given back as it came.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/codec.h"
#include "api/problem.h"
#include "fetch/url.h"
#include "fuzz.h"
#include "job_checks.h"
#include "service.h"
#include "strict_json.h"

static size_t
members_of(const json_t *value)
{
	size_t count = 0, i;
	const char *key;
	json_t *member;

	json_object_foreach((json_t *)value, key, member)
		count += 1 + members_of(member);
	json_array_foreach(value, i, member)
		count += members_of(member);
	return count;
}

/* The text was taken: so it is strict JSON, not too deep, and its tree holds each member that the text has. */
static json_t *
read_strictly(const uint8_t *bytes, size_t count)
{
	struct strict_json strict;
	json_t *value = json_loadb((const char *)bytes, count, 0, NULL);

	FUZZ_CHECK(strict_json_read(bytes, count, &strict), "taken, but no JSON: %s", strict.wrong);
	FUZZ_CHECK(strict.depth <= 32, "taken, %d deep", strict.depth);
	FUZZ_CHECK(value != NULL && members_of(value) == strict.members, "taken with doubled keys");
	return value;
}

/* ---- the same again */

/* Names that are one but for their case: what their order means is open. */
static bool
has_equal_names(const json_t *headers)
{
	const char *key, *other;
	json_t *value, *value_of_other;

	json_object_foreach((json_t *)headers, key, value)
		json_object_foreach((json_t *)headers, other, value_of_other)
			if (strcmp(key, other) != 0 && strcasecmp(key, other) == 0)
				return true;
	return false;
}

/* Read twice, the second time with all keys sorted and every escape written out, it is one request. */
static void
check_fingerprint(struct job_spec *spec, const json_t *given)
{
	struct problem problem = {0};
	const char *header = spec->idempotency_key == NULL ? "key" : NULL;
	char *sorted = json_dumps(given, JSON_SORT_KEYS | JSON_ENSURE_ASCII | JSON_INDENT(1) | JSON_REAL_PRECISION(17));

	FUZZ_CHECK(sorted != NULL, "no memory");
	struct job_spec *again = codec_read_spec(sorted, strlen(sorted), &problem);
	FUZZ_CHECK(again != NULL, "taken, but not as %s: %s", sorted, problem.detail);
	FUZZ_CHECK(codec_set_idempotency_key(spec, header, &problem) == 0, "no key: %s", problem.detail);
	FUZZ_CHECK(codec_set_idempotency_key(again, header, &problem) == 0, "no key: %s", problem.detail);
	if (!has_equal_names(json_object_get(given, "headers")))
		FUZZ_CHECK(memcmp(spec->fingerprint, again->fingerprint, sizeof spec->fingerprint) == 0,
			"another fingerprint of %s", sorted);
	job_spec_free(again);
	fuzz_free_json_text(sorted);
}

/* ---- given back */

static size_t
values_of(const json_t *header)
{
	return json_is_array(header) ? json_array_size(header) : json_is_null(header) ? 0 : 1;
}

/* Each name in lower case, with as many values as came in all its cases, but the secret ones. */
static void
check_headers(const json_t *given, const json_t *shown)
{
	const char *name, *key;
	json_t *values, *value;
	size_t came = 0;

	json_object_foreach((json_t *)shown, name, values) {
		size_t of_name = 0;

		for (const char *c = name; *c != '\0'; c++)
			FUZZ_CHECK(*c < 'A' || *c > 'Z', "the name %s is not in lower case", name);
		json_object_foreach((json_t *)given, key, value)
			of_name += strcasecmp(key, name) == 0 ? values_of(value) : 0;
		if (service_header_is_secret(fuzz_service(), name))
			FUZZ_CHECK(json_array_size(values) == 1 &&
					strcmp(json_string_value(json_array_get(values, 0)), "***") == 0,
				"the secret %s is told", name);
		else
			FUZZ_CHECK(json_array_size(values) == of_name, "%s came with %zu values", name, of_name);
	}
	json_object_foreach((json_t *)given, key, value)
		came += values_of(value);
	FUZZ_CHECK(came == 0 || json_object_size(shown) > 0, "no headers are given back");
}

static bool
equal_or_null(const json_t *given, const json_t *shown)
{
	return given == NULL ? json_is_null(shown) : json_equal(given, shown);
}

static void
check_given_back(const json_t *given, const json_t *job)
{
	const json_t *request = json_object_get(job, "request"), *method = json_object_get(given, "method");

	FUZZ_CHECK(equal_or_null(json_object_get(given, "meta"), json_object_get(job, "meta")), "another meta");
	FUZZ_CHECK(strcmp(json_string_value(json_object_get(request, "method")),
			   json_is_string(method) ? json_string_value(method) : "GET") == 0,
		"another method");
	check_headers(json_object_get(given, "headers"), json_object_get(request, "headers"));
}

/* As service_submit does it; one that is no URL would not come so far, but is text as well. */
static void
complete_url(struct job_spec *spec)
{
	struct url url;
	const char *why;

	if (url_parse(&spec->arena, spec->url, &url, &why) == 0)
		spec->url = url.text;
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	struct problem problem = {0};
	char *text = fuzz_copy(bytes, count);

	fuzz_service();
	struct job_spec *spec = codec_read_spec(text, count, &problem);
	free(text);
	if (spec == NULL) {
		check_problem(&problem);
		return 0;
	}
	json_t *given = read_strictly(bytes, count);
	check_spec(spec);
	check_fingerprint(spec, given);
	complete_url(spec);
	json_t *job = check_written(spec, NULL);
	check_given_back(given, job);
	json_decref(job);
	json_decref(given);
	return 0;
}
