/* See egress_rules.h. Rules are looked through one by one: there are few, and a look-up is followed by a connection. */
#include "fetch/egress_rules.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/host_text.h"
#include "fetch/egress.h"
#include "fetch/host_name.h"

/* Room for the longest name with "*." before it, or an address with its prefix length. */
#define SUBJECT_BYTES (HOST_NAME_MAX_BYTES + 4)

/* ---- reading */

/* A range of mapped addresses would look as if it covered the IPv4 range, which it does not. */
static bool
is_mapped(const struct address_range *range)
{
	return range->prefix_bits >= 96 && address_is_mapped(&range->base);
}

static int
range_read(const char *text, struct address_range *ret)
{
	struct address_range range;

	if (address_range_parse(text, &range) != 0 || is_mapped(&range))
		return -EINVAL;
	*ret = range;
	return 0;
}

/* Cuts off :PORT, and brackets if there are some. What has two colons and no bracket is an IPv6 address as a whole. */
static int
split(const char *text, char subject[SUBJECT_BYTES], bool *ret_bracketed, int *ret_port)
{
	bool bracketed = text[0] == '[';
	const char *end = bracketed ? strchr(text, ']') : strchr(text, ':');
	size_t length;

	if (bracketed && end == NULL)
		return -EINVAL;
	if (end == NULL || (!bracketed && strchr(end + 1, ':') != NULL))
		end = text + strlen(text);
	length = (size_t)(end - text) - bracketed;
	if (length >= SUBJECT_BYTES)
		return -EINVAL;
	memcpy(subject, text + bracketed, length);
	subject[length] = '\0';
	end += bracketed;
	*ret_bracketed = bracketed;
	*ret_port = 0;
	if (*end == '\0')
		return 0;
	return *end == ':' && host_text_parse_port(end + 1, 1, ret_port) ? 0 : -EINVAL;
}

/* Reads what a rule means; host is filled (else "") when it names one. Returns 0 or -EINVAL. */
static int
rule_read(const char *text, struct egress_rule *rule, char host[HOST_NAME_MAX_BYTES + 1])
{
	char subject[SUBJECT_BYTES];
	bool bracketed;

	host[0] = '\0';
	if (split(text, subject, &bracketed, &rule->port) != 0)
		return -EINVAL;
	if (range_read(subject, &rule->range) == 0)
		return bracketed && rule->range.base.family != 6 ? -EINVAL : 0;
	rule->below = strncmp(subject, "*.", 2) == 0;
	host_name_fold(rule->below ? subject + 2 : subject, host);
	return bracketed || host_name_problem(host) != NULL ? -EINVAL : 0;
}

bool
egress_rule_valid(const char *text)
{
	char host[HOST_NAME_MAX_BYTES + 1];
	struct egress_rule rule = {0};

	return rule_read(text, &rule, host) == 0;
}

static int
rule_init(struct egress_rule *rule, const char *text)
{
	char host[HOST_NAME_MAX_BYTES + 1];

	if (rule_read(text, rule, host) != 0)
		return -EINVAL;
	rule->text = strdup(text);
	if (rule->text == NULL)
		return -ENOMEM;
	if (host[0] != '\0' && (rule->host = strdup(host)) == NULL)
		return -ENOMEM;
	return 0;
}

int
egress_rules_init(struct egress_rules *rules, char *const *texts, size_t count, const char **ret_bad_rule)
{
	if (count == 0)
		return 0;
	rules->items = calloc(count, sizeof *rules->items);
	if (rules->items == NULL)
		return -ENOMEM;
	rules->count = count;
	for (size_t i = 0; i < count; i++) {
		int error = rule_init(&rules->items[i], texts[i]);
		if (error == -EINVAL)
			*ret_bad_rule = texts[i];
		if (error != 0)
			return error;
	}
	return 0;
}

void
egress_rules_release(struct egress_rules *rules)
{
	for (size_t i = 0; i < rules->count; i++) {
		free(rules->items[i].text);
		free(rules->items[i].host);
	}
	free(rules->items);
}

/* ---- matching */

static bool
holds(const struct egress_rule *rule, const struct egress_target *target)
{
	if (rule->port != 0 && rule->port != target->port)
		return false;
	if (rule->host != NULL && target->host != NULL)
		return rule->below ? host_name_is_below(target->host, rule->host)
				   : strcmp(rule->host, target->host) == 0;
	return rule->host == NULL && target->address != NULL && address_range_holds(&rule->range, target->address);
}

const struct egress_rule *
egress_rules_find(const struct egress_rules *rules, const struct egress_target *target)
{
	for (size_t i = 0; i < rules->count; i++)
		if (holds(&rules->items[i], target))
			return &rules->items[i];
	return NULL;
}

const struct egress_rule *
egress_rules_find_with_port(const struct egress_rules *rules, const struct egress_target *target)
{
	for (size_t i = 0; i < rules->count; i++)
		if (rules->items[i].port != 0 && holds(&rules->items[i], target))
			return &rules->items[i];
	return NULL;
}
