/* See resolved.h. */
#include "fetch/resolved.h"

#include <errno.h>
#include <stdio.h>

#include "base/text.h"

#define TTL_MIN_MS 1000
#define TTL_MAX_MS 300000
#define TTL_NO_NAME_MS 5000
#define TTL_FAILURE_MS 1000 /* RFC 2308, section 7: at most 5 minutes */

void
resolved_set_error(struct resolved *resolved, int error, const char *message)
{
	resolved->error = error;
	resolved->count = 0;
	snprintf(resolved->message, sizeof resolved->message, "%s", message);
}

bool
resolved_same(const struct resolved *a, const struct resolved *b)
{
	if (a->error != b->error || a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++)
		if (!address_equal(&a->addresses[i], &b->addresses[i]))
			return false;
	return true;
}

bool
resolved_at_once(const char *host, size_t host_bytes, struct resolved *ret)
{
	struct resolved result = {.generation = RESOLVED_FIXED_GENERATION};

	if (host_bytes == 0 || host_bytes > RESOLVED_HOST_MAX)
		resolved_set_error(&result, -EHOSTUNREACH, "no host name is empty or longer than 253 characters");
	else if (address_parse(host, &result.addresses[0]) == 0)
		result.count = 1;
	else
		return false;
	*ret = result;
	return true;
}

bool
resolved_is_localhost(const char *host, size_t host_bytes)
{
	static const char name[] = "localhost";
	size_t bytes = sizeof name - 1;

	if (host_bytes < bytes || !text_equal_nocase(host + host_bytes - bytes, name))
		return false;
	return host_bytes == bytes || host[host_bytes - bytes - 1] == '.';
}

void
resolved_set_loopback(struct resolved *resolved)
{
	*resolved = (struct resolved){.count = 2, .addresses = {{6, {[15] = 1}}, {4, {127, 0, 0, 1}}}};
}

/* The place of the next address of the family, or count. */
static size_t
next_of_family(const struct address *sorted, size_t count, size_t at, uint8_t family)
{
	while (at < count && sorted[at].family != family)
		at++;
	return at;
}

void
resolved_set_addresses(struct resolved *resolved, const struct address *sorted, size_t count)
{
	size_t turn = 0, next = count > 0 ? next_of_family(sorted, count, 0, sorted[0].family == 4 ? 6 : 4) : 0;

	*resolved = (struct resolved){0};
	while ((turn < count || next < count) && resolved->count < RESOLVER_MAX_ADDRESSES) {
		size_t rest = turn;
		if (turn < count) {
			resolved->addresses[resolved->count++] = sorted[turn];
			rest = next_of_family(sorted, count, turn + 1, sorted[turn].family);
		}
		turn = next;
		next = rest;
	}
}

int64_t
resolved_ttl_ms(const struct resolved *resolved, int64_t ttl_seconds)
{
	switch (resolved->error) {
	case 0:
		break;
	case -ENOMEM:
	case -ECANCELED:
		return 0;
	case -EHOSTUNREACH:
		return TTL_NO_NAME_MS;
	default:
		return TTL_FAILURE_MS;
	}
	if (ttl_seconds > TTL_MAX_MS / 1000)
		return TTL_MAX_MS;
	return ttl_seconds * 1000 < TTL_MIN_MS ? TTL_MIN_MS : ttl_seconds * 1000;
}
