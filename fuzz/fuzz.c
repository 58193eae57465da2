/* See fuzz.h. */
#include "fuzz.h"

#include <dirent.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

_Noreturn void
fuzz_fail(const char *file, int line, const char *condition, const char *format, ...)
{
	va_list args;

	fprintf(stderr, "%s:%d: does not hold: %s\n    ", file, line, condition);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	fflush(stderr);
	abort();
}

void *
fuzz_copy(const uint8_t *bytes, size_t count)
{
	void *copy = malloc(count == 0 ? 1 : count);

	if (copy == NULL)
		abort();
	if (count > 0)
		memcpy(copy, bytes, count);
	return copy;
}

char *
fuzz_line(const uint8_t **at, const uint8_t *end)
{
	if (*at >= end)
		return NULL;
	const uint8_t *feed = memchr(*at, '\n', (size_t)(end - *at));
	const uint8_t *stop = feed == NULL ? end : feed;
	char *line = strndup((const char *)*at, (size_t)(stop - *at));

	if (line == NULL)
		abort();
	*at = feed == NULL ? end : feed + 1;
	return line;
}

static char directory[PATH_MAX];

/* Two levels are enough for what a state directory holds. */
static void
remove_below(const char *path, int levels)
{
	DIR *dir = opendir(path);

	for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
		char inner[2 * PATH_MAX];
		struct stat info;

		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name);
		if (lstat(inner, &info) == 0 && S_ISDIR(info.st_mode) && levels > 0)
			remove_below(inner, levels - 1);
		else
			unlink(inner);
	}
	if (dir != NULL)
		closedir(dir);
	rmdir(path);
}

static void
remove_directory(void)
{
	remove_below(directory, 2);
}

const char *
fuzz_directory(void)
{
	const char *parent = getenv("TMPDIR");

	if (directory[0] != '\0')
		return directory;
	snprintf(directory, sizeof directory, "%s/fuzz.XXXXXX", parent == NULL || *parent == '\0' ? "/tmp" : parent);
	FUZZ_CHECK(mkdtemp(directory) != NULL, "no directory can be made as %s", directory);
	atexit(remove_directory);
	return directory;
}
