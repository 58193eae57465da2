/*
 * The limits of single origins, given as --origin-limit HOST[:PORT]=N or as a section of the file. One origin has one
 * limit: the one set last. Called while loading.
 */
#include "base/options_private.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/host_text.h"
#include "base/text.h"

struct origin_limit {
	char host[HOST_TEXT_BYTES];
	int port;
	int64_t max_in_flight;
};

/* Reads HOST or HOST:PORT. */
static bool
origin_parse(const char *text, size_t length, struct origin_limit *ret)
{
	char port[PORT_TEXT_BYTES];
	bool has_port;

	ret->port = 0;
	if (!host_text_split(text, length, ret->host, port, &has_port))
		return false;
	if (has_port && !host_text_parse_port(port, 1, &ret->port))
		return false;
	ascii_lower_string(ret->host);
	return host_text_plain_ipv6(ret->host) || host_text_is_name(ret->host);
}

static bool
origin_number_parse(const char *text, int64_t *ret)
{
	const struct option *same = &option_table[INDEX_max_in_flight_per_origin];
	uint64_t number;

	if (text_to_uint64(text, &number) != 0 || number < (uint64_t)same->minimum || number > (uint64_t)same->maximum)
		return false;
	*ret = (int64_t)number;
	return true;
}

/* Reads HOST[:PORT]=N. */
static bool
origin_limit_parse(const char *text, struct origin_limit *ret)
{
	const char *equal = strrchr(text, '=');

	return equal != NULL && origin_number_parse(equal + 1, &ret->max_in_flight) &&
		origin_parse(text, (size_t)(equal - text), ret);
}

bool
origin_limit_valid(const char *text)
{
	struct origin_limit limit;

	return origin_limit_parse(text, &limit);
}

/* Sets the limit of an origin, whether it has one already or not. */
static int
set_limit(struct load *load, const struct origin_limit *limit)
{
	struct config *config = &load->config;

	for (size_t i = 0; i < config->origin_count; i++) {
		struct config_origin *known = &config->origins[i];

		if (known->port == limit->port && strcmp(known->host, limit->host) == 0) {
			known->max_in_flight = limit->max_in_flight;
			return 0;
		}
	}
	struct config_origin *origins = realloc(config->origins, (config->origin_count + 1) * sizeof *origins);
	if (origins == NULL)
		return -ENOMEM;
	config->origins = origins;
	struct config_origin added = {strdup(limit->host), limit->port, limit->max_in_flight};
	if (added.host == NULL)
		return -ENOMEM;
	origins[config->origin_count++] = added;
	return 0;
}

/* A setting within an origin's section; there is only max-in-flight. */
int
origin_limit_apply_section(struct load *load, const struct config_file_setting *line)
{
	const struct option *same = &option_table[INDEX_max_in_flight_per_origin];
	struct origin_limit limit;

	if (!origin_parse(line->title, strlen(line->title), &limit))
		return FAIL(
			load, "%s:%d: origin: \"%s\" is not HOST[:PORT]", load->config_path, line->line, line->title);
	if (!origin_number_parse(line->value, &limit.max_in_flight))
		return FAIL(load, "%s:%d: %s: \"%s\" is not a whole number within %" PRId64 " and %" PRId64,
			load->config_path, line->line, line->name, line->value, same->minimum, same->maximum);
	return set_limit(load, &limit);
}

/* Limits given by option win over sections; both are checked already. */
int
origin_limit_apply_options(struct load *load)
{
	int error = 0;

	for (size_t i = 0; i < load->config.origin_limit.count && error == 0; i++) {
		struct origin_limit limit;

		if (origin_limit_parse(load->config.origin_limit.items[i], &limit))
			error = set_limit(load, &limit);
	}
	return error;
}
