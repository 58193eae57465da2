/* See crash_kinds.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "crash_kinds.h"

#include "bytes.h"

#include <string.h>
#include <time.h>

#define MARKS                                                                                                          \
	",'tags':['crash','\xc3\xa9\xe2\x82\xac'],'priority':7,'ttl':'2h'"                                             \
	",'meta':{'z':1,'a':[true,null,'x'],'\xc3\xa9':{'deep':-1.5,'big':9007199254740993}}"
#define SOON ",'backoff':'20ms'"

const struct crash_kind crash_kinds[] = {
	{.name = "text", .weight = 8, .method = "GET", .path = "/text/200", .status = 200, .body_bytes = 200},
	{.name = "inline", .weight = 2, .method = "GET", .path = "/text/20000", .status = 200, .body_bytes = 20000},
	{.name = "binary", .weight = 1, .method = "GET", .path = "/bytes/3000", .status = 200, .body_bytes = 3000},
	{.name = "large", .weight = 2, .method = "GET", .path = "/bytes/70000", .status = 200, .body_bytes = 70000},
	{.name = "slow", .weight = 5, .method = "GET", .path = "/delay/150", .status = 200},
	{.name = "slow large",
		.weight = 2,
		.method = "GET",
		.path = "/delay/60/90000",
		.status = 200,
		.body_bytes = 90000},
	{.name = "dripping", .weight = 1, .method = "GET", .path = "/drip/30/5", .status = 200, .body_bytes = 30},
	{.name = "missing", .weight = 1, .method = "GET", .path = "/status/404", .status = 404},
	{.name = "gzip", .weight = 1, .method = "GET", .path = "/gzip/30000", .status = 200, .body_bytes = 30000},
	{.name = "gzip large", .weight = 1, .method = "GET", .path = "/gzip/90000", .status = 200, .body_bytes = 90000},
	{.name = "no gzip", .weight = 1, .method = "GET", .path = "/badgzip", .error = "bad_content_encoding"},
	{.name = "chunked", .weight = 1, .method = "GET", .path = "/chunked/9", .status = 200, .body_bytes = 45},
	{.name = "redirected", .weight = 2, .method = "GET", .path = "/redirect/3", .hops = 3, .status = 200},
	{.name = "redirected too often",
		.weight = 1,
		.method = "GET",
		.path = "/redirect/3",
		.hops = 1,
		.more = ",'max_redirects':1",
		.error = "too_many_redirects"},
	{.name = "timed out",
		.weight = 1,
		.method = "GET",
		.path = "/stall/10",
		.more = ",'timeout':'120ms'",
		.error = "timeout"},
	{.name = "too large",
		.weight = 1,
		.method = "GET",
		.path = "/bytes/5000",
		.more = ",'max_body_bytes':1000",
		.error = "too_large"},
	{.name = "cut", .weight = 2, .method = "GET", .path = "/close", .error = "truncated"},
	{.name = "marked",
		.weight = 5,
		.method = "GET",
		.path = "/text/64",
		.more = MARKS,
		.status = 200,
		.body_bytes = 64},
	{.name = "delayed",
		.weight = 3,
		.method = "GET",
		.path = "/text/30",
		.more = ",'delay':'250ms'",
		.status = 200,
		.body_bytes = 30},
	{.name = "dated",
		.weight = 2,
		.method = "GET",
		.path = "/text/31",
		.run_at_ms = 400,
		.status = 200,
		.body_bytes = 31},
	{.name = "fleeting",
		.weight = 2,
		.method = "GET",
		.path = "/text/32",
		.ttl_ms = 1000,
		.status = 200,
		.body_bytes = 32},
	{.name = "fleeting large",
		.weight = 1,
		.method = "GET",
		.path = "/bytes/70000",
		.ttl_ms = 1500,
		.status = 200,
		.body_bytes = 70000},
	{.name = "retried",
		.weight = 2,
		.method = "GET",
		.path = "/reset",
		.max_attempts = 3,
		.error = "connection_lost"},
	{.name = "given up", .weight = 1, .method = "GET", .path = "/status/500", .max_attempts = 3, .status = 500},
	{.name = "held", .weight = 1, .method = "GET", .path = "/hold", .status = 200, .held = true},
	{.name = "denied", .weight = 1, .method = "GET", .path = "http://10.0.0.1/", .error = "denied_by_policy"},
	{.name = "GET keyed",
		.weight = 3,
		.method = "GET",
		.path = "/text/33",
		.keyed = true,
		.status = 200,
		.body_bytes = 33},
	{.name = "POST", .weight = 8, .method = "POST", .path = "/echo", .more = MARKS, .status = 200},
	{.name = "POST slow", .weight = 7, .method = "POST", .path = "/delay/150", .status = 200},
	{.name = "POST delayed",
		.weight = 2,
		.method = "POST",
		.path = "/echo",
		.more = ",'delay':'300ms'",
		.status = 200},
	{.name = "POST large", .weight = 1, .method = "POST", .path = "/sink", .upload_bytes = 80000, .status = 200},
	{.name = "POST cut", .weight = 1, .method = "POST", .path = "/close", .error = "truncated"},
	{.name = "POST keyed", .weight = 4, .method = "POST", .path = "/echo", .keyed = true, .status = 200},
	{.name = "POST keyed slow", .weight = 4, .method = "POST", .path = "/delay/120", .keyed = true, .status = 200},
	{.name = "POST unsafe", .weight = 3, .method = "POST", .path = "/echo", .unsafe = true, .status = 200},
	{.name = "POST unsafe slow",
		.weight = 4,
		.method = "POST",
		.path = "/delay/150",
		.unsafe = true,
		.status = 200},
	{.name = "POST held", .weight = 1, .method = "POST", .path = "/hold", .status = 200, .held = true},
	{.name = "POST unsafe held",
		.weight = 1,
		.method = "POST",
		.path = "/hold",
		.unsafe = true,
		.status = 200,
		.held = true},
};

const unsigned crash_kind_count = sizeof crash_kinds / sizeof crash_kinds[0];
_Static_assert(sizeof crash_kinds / sizeof crash_kinds[0] <= CRASH_KINDS_MAX, "CRASH_KINDS_MAX is too small");

const struct crash_kind *
crash_kind_pick(struct crash_random *random)
{
	unsigned sum = 0, at;

	for (unsigned i = 0; i < crash_kind_count; i++)
		sum += crash_kinds[i].weight;
	at = crash_random_below(random, sum);
	for (unsigned i = 0; i < crash_kind_count; i++) {
		if (at < crash_kinds[i].weight)
			return &crash_kinds[i];
		at -= crash_kinds[i].weight;
	}
	return &crash_kinds[0];
}

bool
crash_kind_repeatable(const struct crash_kind *kind)
{
	return kind->unsafe || strcmp(kind->method, "POST") != 0;
}

bool
crash_kind_sent(const struct crash_kind *kind)
{
	return kind->path[0] == '/';
}

/* So many milliseconds from now, as a member of the spec. */
static void
add_run_at(struct bytes *spec, unsigned run_at_ms)
{
	struct timespec now;
	struct tm parts;
	char text[32];
	long ms;

	clock_gettime(CLOCK_REALTIME, &now);
	ms = now.tv_nsec / 1000000 + (long)run_at_ms;
	now.tv_sec += ms / 1000;
	strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", gmtime_r(&now.tv_sec, &parts));
	bytes_format(spec, ",'run_at':'%s.%03ldZ'", text, ms % 1000);
}

static void
add_body(struct bytes *spec, const struct crash_kind *kind, unsigned number)
{
	bytes_format(spec, ",'body':'job %u", number);
	for (size_t left = kind->upload_bytes; left >= 10; left -= 10)
		bytes_text(spec, " and so on");
	bytes_text(spec, "'");
}

static void
add_retry(struct bytes *spec, const struct crash_kind *kind)
{
	if (!kind->max_attempts && !kind->unsafe)
		return;
	bytes_format(spec, ",'retry':{'max_attempts':%u%s%s}", kind->max_attempts ? kind->max_attempts : 1,
		kind->max_attempts ? SOON : "", kind->unsafe ? ",'unsafe':true" : "");
}

char *
crash_kind_spec(const struct crash_kind *kind, unsigned port, unsigned number, uint64_t seed)
{
	struct bytes spec = {0};

	bytes_format(&spec, "{'method':'%s'", kind->method);
	if (crash_kind_sent(kind))
		bytes_format(&spec, ",'url':'http://127.0.0.1:%u%s?k=%u'", port, kind->path, number);
	else
		bytes_format(&spec, ",'url':'%s?k=%u'", kind->path, number);
	if (!strcmp(kind->method, "POST"))
		add_body(&spec, kind, number);
	if (kind->held)
		bytes_text(&spec, ",'timeout':'10m'");
	if (kind->run_at_ms)
		add_run_at(&spec, kind->run_at_ms);
	if (kind->ttl_ms)
		bytes_format(&spec, ",'ttl':'%ums'", kind->ttl_ms);
	if (kind->keyed)
		bytes_format(&spec, ",'idempotency_key':'crash-%llu-%u'", (unsigned long long)seed, number);
	add_retry(&spec, kind);
	bytes_text(&spec, kind->more ? kind->more : "");
	bytes_text(&spec, "}");
	for (char *at = spec.data; *at; at++)
		if (*at == '\'')
			*at = '"';
	return spec.data;
}
