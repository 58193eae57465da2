/*
 * Shared by the options*.c files: a row of the table of options, a setting read from a source, and the load under way,
 * which collects settings in a struct config. A load lives on the stack of options_load; it has no lock and belongs to
 * the one thread that called.
 */
#ifndef FETCHPOOL_BASE_OPTIONS_PRIVATE_H
#define FETCHPOOL_BASE_OPTIONS_PRIVATE_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/config.h"
#include "base/config_file.h"
#include "base/options.h"

#define OPTION_NAME_BYTES 64 /* the longest name and its NUL */

/* The words of the table's column flags. */
enum { RELOAD = 1, COMPUTED = 2, NO_FILE = 4, LOWER = 8, NO_ENVIRONMENT = 16, USERINFO = 32 };

/* INDEX_member: the place of an option in the table. */
enum {
#define X(kind, name, member, ...) INDEX_##member,
#include "base/options.tbl.h"
#undef X
	OPTION_TOTAL
};

/* The sources, a later one wins. */
enum layer { LAYER_DEFAULT, LAYER_FILE, LAYER_ENVIRONMENT, LAYER_COMMAND_LINE };

struct setting {
	size_t index;
	const char *value; /* NULL for a flag */
	const char *label; /* how messages begin */
	const char *source;
	enum layer layer;
};

struct load {
	struct config config;
	const struct options_checks *checks;
	char *const *environment;
	enum layer layers[OPTION_TOTAL]; /* where each value is from so far */
	const char *sources[OPTION_TOTAL];
	const char *config_path; /* NULL: no file */
	struct arena arena;      /* lives as long as the load */
	struct buffer message;
};

/* Makes the message and gives -EINVAL. */
#define FAIL(load, ...) (buffer_printf(&(load)->message, __VA_ARGS__), -EINVAL)

/* All functions below that return int: 0, or -EINVAL with the message made, or -ENOMEM. */

/* ---- options_table.c: the rows */

struct option {
	const char *name;
	enum option_kind kind;
	size_t offset; /* in struct config */
	int64_t minimum, maximum;
	const char *default_text, *word;
	int flags;
	int (*check)(struct load *load, const struct setting *setting);
	const char *help;
};

extern const struct option option_table[OPTION_TOTAL];

/* The index of the option with this name (without dashes), or OPTION_TOTAL. */
size_t option_find(const char *name, size_t length);

/* ---- options_values.c: the kinds */

/* Reads the setting's value by its kind into the configuration. The check of the table is not made here. */
int option_set(struct load *load, const struct setting *setting) __attribute__((warn_unused_result));

/* ---- options_origins.c: limits of single origins */

/* True for HOST[:PORT]=N. */
bool origin_limit_valid(const char *text);

/* Applies a setting of an origin's section in the file. */
int origin_limit_apply_section(struct load *load, const struct config_file_setting *line)
	__attribute__((warn_unused_result));

/* Applies the values of --origin-limit, which win over sections. */
int origin_limit_apply_options(struct load *load) __attribute__((warn_unused_result));

/* ---- options_tokens.c: tokens of clients */

/* Applies a setting of a token's section in the file, or its end. */
int token_apply_section(struct load *load, const struct config_file_setting *line) __attribute__((warn_unused_result));

/* ---- options_command_line.c */

/* Looks for what has to be known before the rest is read: --config, --help and --version. */
int command_line_scan(struct load *load, int argc, char **argv) __attribute__((warn_unused_result));

int command_line_apply(struct load *load, int argc, char **argv) __attribute__((warn_unused_result));

/* ---- options.c */

/* Checks one setting and takes it over. Settings come lowest source first. */
int option_apply(struct load *load, const struct setting *setting) __attribute__((warn_unused_result));

#endif
