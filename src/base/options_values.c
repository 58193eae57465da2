/*
 * The kinds of values: for each one function that reads a value into its member of struct config, and one that writes
 * it as a user would give it. Called while loading, and of a finished configuration by any thread.
 */
#include "base/options_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"

static void *
member_of(struct load *load, size_t index)
{
	return (char *)&load->config + option_table[index].offset;
}

static const void *
const_member_of(const struct config *config, size_t index)
{
	return (const char *)config + option_table[index].offset;
}

static int
count_parse(const char *text, int64_t *ret)
{
	uint64_t value;
	int error = text_to_uint64(text, &value);

	if (error == 0 && value > INT64_MAX)
		error = -ERANGE;
	if (error == 0)
		*ret = (int64_t)value;
	return error;
}

static void
count_format(int64_t value, char *buffer, size_t size)
{
	snprintf(buffer, size, "%" PRId64, value);
}

/* ---- readers */

/* By itself on the command line; yes or no elsewhere. */
static int
set_flag(struct load *load, const struct setting *setting)
{
	const char *text = setting->value;
	bool yes = text == NULL || strcmp(text, "yes") == 0;

	if (!yes && strcmp(text, "no") != 0)
		return FAIL(load, "%s: \"%s\" is not yes or no", setting->label, text);
	*(bool *)member_of(load, setting->index) = yes;
	return 0;
}

/* An empty string takes the value away. */
static int
set_string(struct load *load, const struct setting *setting)
{
	char **member = member_of(load, setting->index), *copy = NULL;

	if (*setting->value != '\0' && (copy = strdup(setting->value)) == NULL)
		return -ENOMEM;
	free(*member);
	*member = copy;
	return 0;
}

static int
list_add(struct config_list *list, const char *value, const char *source, bool lower)
{
	char **items = realloc(list->items, (list->count + 1) * sizeof *items);

	if (items == NULL)
		return -ENOMEM;
	list->items = items;
	char **sources = realloc(list->sources, (list->count + 1) * sizeof *sources);
	if (sources == NULL)
		return -ENOMEM;
	list->sources = sources;
	items[list->count] = strdup(value);
	sources[list->count] = strdup(source);
	if (items[list->count] == NULL || sources[list->count] == NULL) {
		free(items[list->count]);
		free(sources[list->count]);
		return -ENOMEM;
	}
	if (lower)
		ascii_lower_string(items[list->count]);
	list->count++;
	return 0;
}

static void
list_clear(struct config_list *list)
{
	for (; list->count > 0; list->count--) {
		free(list->items[list->count - 1]);
		free(list->sources[list->count - 1]);
	}
}

/* The first value from a higher source takes away those from a lower one. */
static int
set_list(struct load *load, const struct setting *setting)
{
	struct config_list *list = member_of(load, setting->index);

	if (load->layers[setting->index] != setting->layer)
		list_clear(list);
	return list_add(list, setting->value, setting->source, option_table[setting->index].flags & LOWER);
}

/* The place of a word in "one|two|three"; -1 when it is not among them. */
static int
word_index(const char *words, const char *word)
{
	size_t length = strlen(word);

	for (int i = 0;; i++) {
		size_t span = strcspn(words, "|");

		if (span == length && memcmp(words, word, span) == 0)
			return i;
		if (words[span] == '\0')
			return -1;
		words += span + 1;
	}
}

static int
set_enum(struct load *load, const struct setting *setting)
{
	const char *words = option_table[setting->index].word;
	int index = word_index(words, setting->value);

	if (index < 0)
		return FAIL(load, "%s: \"%s\" is not %s%s", setting->label, setting->value,
			strchr(words, '|') != NULL ? "one of " : "", words);
	*(int *)member_of(load, setting->index) = index;
	return 0;
}

/* ---- writers */

static void
text_flag(const void *member, const struct option *option, char *buffer, size_t size)
{
	(void)option;
	snprintf(buffer, size, "%s", *(const bool *)member ? "yes" : "no");
}

static void
text_string(const void *member, const struct option *option, char *buffer, size_t size)
{
	const char *text = *(char *const *)member;

	(void)option;
	snprintf(buffer, size, "%s", text != NULL ? text : "");
}

/* Where user and password of the item's URL begin; gives where they end, 0 when there are none. */
static size_t
userinfo(const char *item, size_t *ret_begin)
{
	const char *begin = strstr(item, "://"), *end = strrchr(item, '@');

	if (begin == NULL || end == NULL || end < begin)
		return 0;
	*ret_begin = (size_t)(begin + 3 - item);
	return (size_t)(end - item);
}

static void
text_list(const void *member, const struct option *option, char *buffer, size_t size)
{
	const struct config_list *list = member;
	size_t used = 0;

	if (size > 0)
		*buffer = '\0';
	for (size_t i = 0; i < list->count && used < size; i++) {
		const char *item = list->items[i];
		size_t begin = 0, end = option->flags & USERINFO ? userinfo(item, &begin) : 0;

		used += (size_t)snprintf(buffer + used, size - used, "%s%.*s%s%s", i > 0 ? " " : "", (int)begin, item,
			end > 0 ? "***" : "", item + end);
	}
}

static void
text_enum(const void *member, const struct option *option, char *buffer, size_t size)
{
	const char *words = option->word;

	for (int i = *(const int *)member; i > 0; i--)
		words += strcspn(words, "|") + 1;
	snprintf(buffer, size, "%.*s", (int)strcspn(words, "|"), words);
}

/* ---- the kinds, and the numbers: durations, sizes and counts */

static int set_number(struct load *load, const struct setting *setting);
static void text_number(const void *member, const struct option *option, char *buffer, size_t size);

static const struct kind {
	int (*set)(struct load *load, const struct setting *setting);
	void (*text)(const void *member, const struct option *option, char *buffer, size_t size);
	int (*parse)(const char *text, int64_t *ret); /* of numbers alone, as the two below */
	void (*format)(int64_t value, char *buffer, size_t size);
	const char *what;
} kinds[] = {
	[OPTION_FLAG] = {set_flag, text_flag, NULL, NULL, NULL},
	[OPTION_STRING] = {set_string, text_string, NULL, NULL, NULL},
	[OPTION_LIST] = {set_list, text_list, NULL, NULL, NULL},
	[OPTION_DURATION] = {set_number, text_number, duration_parse, duration_format,
		"a duration (try 30s, 500ms, 2m)"},
	[OPTION_SIZE] = {set_number, text_number, size_parse, size_format, "a size (try 65536, 64KiB, 16MiB)"},
	[OPTION_COUNT] = {set_number, text_number, count_parse, count_format, "a whole number"},
	[OPTION_ENUM] = {set_enum, text_enum, NULL, NULL, NULL},
};

static int
set_number(struct load *load, const struct setting *setting)
{
	const struct option *option = &option_table[setting->index];
	const struct kind *kind = &kinds[option->kind];
	char minimum[32], maximum[32];
	int64_t value;
	int error = kind->parse(setting->value, &value);

	if (error == -EINVAL)
		return FAIL(load, "%s: \"%s\" is not %s", setting->label, setting->value, kind->what);
	if (error == 0 && value >= option->minimum && value <= option->maximum) {
		*(int64_t *)member_of(load, setting->index) = value;
		return 0;
	}
	kind->format(option->minimum, minimum, sizeof minimum);
	kind->format(option->maximum, maximum, sizeof maximum);
	return FAIL(load, "%s: \"%s\" is not within %s and %s", setting->label, setting->value, minimum, maximum);
}

static void
text_number(const void *member, const struct option *option, char *buffer, size_t size)
{
	kinds[option->kind].format(*(const int64_t *)member, buffer, size);
}

int
option_set(struct load *load, const struct setting *setting)
{
	return kinds[option_table[setting->index].kind].set(load, setting);
}

void
options_value_text(const struct config *config, size_t index, char *buffer, size_t size)
{
	kinds[option_table[index].kind].text(const_member_of(config, index), &option_table[index], buffer, size);
}

bool
options_value_number(const struct config *config, size_t index, int64_t *ret)
{
	if (kinds[option_table[index].kind].parse == NULL)
		return false;
	*ret = *(const int64_t *)const_member_of(config, index);
	return true;
}
