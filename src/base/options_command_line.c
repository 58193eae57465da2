/*
 * The command line as a source of settings. It is read twice: once for what has to be known before the file is read,
 * once in its turn. An option that is not known is told with the one it resembles.
 */
#include "base/options_private.h"

#include <assert.h>
#include <string.h>

/* How many characters have to be changed, put in or left out to make one of the other (Levenshtein's distance). */
static size_t
edit_distance(const char *a, size_t a_length, const char *b)
{
	size_t row[OPTION_NAME_BYTES], b_length = strlen(b);

	assert(b_length < OPTION_NAME_BYTES);
	for (size_t k = 0; k <= b_length; k++)
		row[k] = k;
	for (size_t i = 1; i <= a_length; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t k = 1; k <= b_length; k++) {
			size_t changed = diagonal + (a[i - 1] != b[k - 1]);
			size_t least = row[k] < row[k - 1] ? row[k] + 1 : row[k - 1] + 1;

			diagonal = row[k];
			row[k] = changed < least ? changed : least;
		}
	}
	return row[b_length];
}

/* The option the name was meant for; NULL when none is near. */
static const char *
similar_name(const char *name, size_t length)
{
	const char *best = NULL;
	size_t best_distance = 3;

	if (length < 3 || length > OPTION_NAME_BYTES)
		return NULL;
	for (size_t i = 0; i < OPTION_TOTAL; i++) {
		size_t distance = edit_distance(name, length, option_table[i].name);

		if (distance < best_distance) {
			best = option_table[i].name;
			best_distance = distance;
		}
	}
	return best;
}

static int
fail_unknown(struct load *load, const char *argument, size_t length)
{
	const char *similar = length > 2 ? similar_name(argument + 2, length - 2) : NULL;

	if (similar != NULL)
		return FAIL(load, "%.*s: no such option (did you mean --%s?)", (int)length, argument, similar);
	return FAIL(load, "%.*s: no such option (--help lists them)", (int)length, argument);
}

/* Reads the option at argv[*at] and moves past it and its value. */
static int
take_argument(struct load *load, int argc, char **argv, int *at, struct setting *ret)
{
	const char *argument = argv[(*at)++];
	size_t length = strcspn(argument, "=");

	if (*argument != '-' || strcmp(argument, "--") == 0)
		return FAIL(load, "\"%s\": options only, no other arguments", argument);
	ret->index = strncmp(argument, "--", 2) == 0 ? option_find(argument + 2, length - 2) : OPTION_TOTAL;
	if (ret->index == OPTION_TOTAL)
		return fail_unknown(load, argument, length);
	const struct option *option = &option_table[ret->index];
	ret->layer = LAYER_COMMAND_LINE;
	ret->value = argument[length] == '=' ? argument + length + 1 : NULL;
	ret->label = ret->source = arena_copy(&load->arena, argument, length);
	if (ret->label == NULL)
		return -ENOMEM;
	if (option->kind == OPTION_FLAG)
		return ret->value == NULL ? 0 : FAIL(load, "%s: takes no value", ret->label);
	if (ret->value == NULL && *at < argc)
		ret->value = argv[(*at)++];
	return ret->value != NULL ? 0 : FAIL(load, "%s: lacks its value (%s)", ret->label, option->word);
}

int
command_line_scan(struct load *load, int argc, char **argv)
{
	struct setting setting;
	int at = 1;

	while (at < argc && !load->config.help && !load->config.version) {
		int error = take_argument(load, argc, argv, &at, &setting);

		if (error != 0)
			return error;
		if (setting.index == INDEX_config_file)
			load->config_path = setting.value;
		load->config.help = setting.index == INDEX_help;
		load->config.version = setting.index == INDEX_version;
	}
	return 0;
}

int
command_line_apply(struct load *load, int argc, char **argv)
{
	struct setting setting;
	int at = 1, error = 0;

	while (at < argc && error == 0) {
		error = take_argument(load, argc, argv, &at, &setting);
		if (error == 0)
			error = option_apply(load, &setting);
	}
	return error;
}
