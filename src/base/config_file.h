/*
 * The configuration file as a flat run of settings, each with its line. What names and values mean is the options
 * table's business. libconfuse lives here and nowhere else.
 */
#ifndef FETCHPOOL_BASE_CONFIG_FILE_H
#define FETCHPOOL_BASE_CONFIG_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/buffer.h"

/* A name the file may set outside of sections. */
struct config_file_name {
	const char *name;
	bool list;
};

/* The kinds of sections, each with a title: origin "HOST" { … }. */
enum config_file_section { CONFIG_FILE_NO_SECTION, CONFIG_FILE_ORIGIN, CONFIG_FILE_TOKEN };

/* A value of a list is a setting of its own; and so is the end of a section, which has neither name nor value. */
struct config_file_setting {
	enum config_file_section section; /* in which it stands */
	const char *title;                /* of the section; NULL outside */
	const char *name;
	char *value;
	int line;
};

struct config_file {
	struct config_file_setting *settings; /* in the order of the file */
	size_t count;
};

/*
 * Reads the file at path; the result lives in the arena. Values within a token's section may be secret: they are nowhere else, and
 * the caller wipes them. Returns 0; or -EINVAL with "PATH: why" or "PATH:LINE: why"
 * appended to message; or -ENOMEM. One call at a time: libconfuse's scanner is global.
 */
int config_file_read(const char *path, const struct config_file_name *names, size_t name_count, struct arena *arena,
	struct config_file *ret, struct buffer *message) __attribute__((warn_unused_result));

#endif
