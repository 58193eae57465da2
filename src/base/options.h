/*
 * From the command line, the environment and the configuration file to one struct config. The options themselves are
 * the rows of options.tbl.h. Called by main at the start and at SIGHUP; one call at a time, since the file's scanner
 * is global.
 */
#ifndef FETCHPOOL_BASE_OPTIONS_H
#define FETCHPOOL_BASE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/config.h"

/* Checks of values that this room cannot judge; NULL members pass everything. */
struct options_checks {
	bool (*egress_rule)(const char *rule);
	const char *(*proxy_problem)(const char *named_url); /* NULL: none; nothing of the value is in it */
};

/*
 * Reads all sources: the command line wins over the environment ("NAME=VALUE" strings up to a NULL), that over the
 * file, that over the defaults; of a list the highest source that has it counts alone. With --help or --version the
 * rest is not looked at. argv is left as it is, so that a reload can read it again.
 *
 * Returns 0, and ret is released with config_release; or -EINVAL with a message for the user that names the source, to
 * be freed; or -ENOMEM without one. ret is untouched then.
 */
int options_load(int argc, char **argv, char *const *environment, const struct options_checks *checks,
	struct config *ret, char **ret_message) __attribute__((warn_unused_result));

void options_print_help(FILE *out);

enum option_kind { OPTION_FLAG, OPTION_STRING, OPTION_LIST, OPTION_DURATION, OPTION_SIZE, OPTION_COUNT, OPTION_ENUM };

struct option_view {
	const char *name; /* without dashes */
	enum option_kind kind;
	const char *word;         /* NULL for a flag */
	const char *default_text; /* NULL for none */
	const char *help;
	bool reloadable;
};

size_t options_count(void);

/* The option at index, in the order of --help. */
struct option_view options_view(size_t index);

/*
 * Writes the value as a user would give it (a list's values with blanks between, nothing as ""), cut to size. User and
 * password of a URL are written as ***.
 */
void options_value_text(const struct config *config, size_t index, char *buffer, size_t size);

/* The value of a duration (milliseconds), size (bytes) or count; false for other kinds. */
bool options_value_number(const struct config *config, size_t index, int64_t *ret);

#endif
