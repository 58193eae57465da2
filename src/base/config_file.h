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

/* A value of a list is a setting of its own. */
struct config_file_setting {
	const char *origin; /* the title of the section it stands in, NULL outside */
	const char *name;
	const char *value;
	int line;
};

struct config_file {
	struct config_file_setting *settings; /* in the order of the file */
	size_t count;
};

/*
 * Reads the file at path; the result lives in the arena. Returns 0; or -EINVAL with "PATH: why" or "PATH:LINE: why"
 * appended to message; or -ENOMEM. One call at a time: libconfuse's scanner is global.
 */
int config_file_read(const char *path, const struct config_file_name *names, size_t name_count, struct arena *arena,
	struct config_file *ret, struct buffer *message) __attribute__((warn_unused_result));

#endif
