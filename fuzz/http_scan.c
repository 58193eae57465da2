/*
 * The scanner of requests, fed in one piece, byte by byte, and cut in two at every place: the verdict is the same, and
 * that of a reader written from the standard, but for sizes above the limits.
 */
#include "api/http_scan.h"

#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "http_reference.h"

#define MAX_BYTES 16384
#define WORK 20000 /* bytes that are looked at in all, so that it stays quick */

static void
check_same(const struct http_scan *whole, const struct http_scan *cut, size_t at)
{
	FUZZ_CHECK(whole->status == cut->status && whole->wrong == cut->wrong, "in one piece %d %s, cut at %zu %d %s",
		whole->status, whole->wrong, at, cut->status, cut->wrong);
	FUZZ_CHECK(whole->requests == cut->requests, "in one piece %llu requests, cut at %zu %llu",
		(unsigned long long)whole->requests, at, (unsigned long long)cut->requests);
	FUZZ_CHECK(http_scan_in_head(whole) == http_scan_in_head(cut) &&
			http_scan_in_body(whole) == http_scan_in_body(cut),
		"cut at %zu it ends elsewhere", at);
}

/* What is passed on is all, or the whole requests before what is wrong. */
static size_t
feed(struct http_scan *scan, const char *bytes, size_t count)
{
	size_t passed = http_scan(scan, bytes, count);

	FUZZ_CHECK(passed <= count && (scan->status != 0 || passed == count), "%zu of %zu bytes are passed on", passed,
		count);
	FUZZ_CHECK((scan->status == 0) == (scan->wrong == NULL), "status %d, wrong %s", scan->status, scan->wrong);
	return passed;
}

static void
check_cuts(const struct http_scan *whole, const char *bytes, size_t count)
{
	size_t step = count * count / WORK + 1;

	for (size_t at = 1; at < count; at += step) {
		struct http_scan cut = {0};

		feed(&cut, bytes, at);
		if (cut.status == 0)
			feed(&cut, bytes + at, count - at);
		check_same(whole, &cut, at);
	}
	struct http_scan bytewise = {0};
	for (size_t at = 0; at < count && bytewise.status == 0; at++)
		feed(&bytewise, bytes + at, 1);
	check_same(whole, &bytewise, 0);
}

/* Refused for its size alone: the reference knows no limits. */
static bool
is_too_large(const struct http_scan *scan)
{
	return scan->status == 413 || scan->status == 414 || scan->status == 431 ||
		(scan->wrong != NULL && strstr(scan->wrong, "too long") != NULL);
}

static void
check_reference(const struct http_scan *scan, const uint8_t *bytes, size_t count, size_t passed)
{
	static struct reference reference;

	reference_read(bytes, count, &reference);
	FUZZ_CHECK(scan->requests <= reference.requests, "%llu requests are whole, by the reference %zu",
		(unsigned long long)scan->requests, reference.requests);
	if (scan->status == 0) {
		bool within = http_scan_in_head(scan) || http_scan_in_body(scan) || reference.lone_cr;

		FUZZ_CHECK(
			reference.end != REFERENCE_BROKEN, "taken, but broken after %zu requests", reference.requests);
		FUZZ_CHECK(scan->requests == reference.requests && within == (reference.end == REFERENCE_CUT),
			"%llu requests and %s, by the reference %zu", (unsigned long long)scan->requests,
			within ? "one more cut" : "no more", reference.requests);
	} else if (!is_too_large(scan)) {
		FUZZ_CHECK(scan->requests == reference.requests && reference.end != REFERENCE_CLEAN,
			"refused, but whole: %s", scan->wrong);
	}
	if (scan->status != 0) {
		reference_read(bytes, passed, &reference);
		FUZZ_CHECK(reference.end == REFERENCE_CLEAN && reference.requests == scan->requests,
			"what is passed on of %llu requests are %zu", (unsigned long long)scan->requests,
			reference.requests);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	struct http_scan scan = {0};

	if (count > MAX_BYTES)
		return 0;
	char *copy = fuzz_copy(bytes, count);
	size_t passed = feed(&scan, copy, count);
	check_cuts(&scan, copy, count);
	check_reference(&scan, bytes, count, passed);
	free(copy);
	return 0;
}
