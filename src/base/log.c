/* See log.h. A line is made in one buffer and written by one call, so lines of several threads never mix. */
#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

#define LINE_BYTES 4096

static _Atomic(int) minimum = LOG_INFO;
static _Atomic(bool) as_json;

static const char *const level_names[] = {[LOG_DEBUG] = "debug",
	[LOG_INFO] = "info",
	[LOG_WARN] = "warning",
	[LOG_ERROR] = "error",
	[LOG_ALWAYS] = "notice"};

void
log_configure(enum log_level level, bool json)
{
	minimum = (int)level;
	as_json = json;
}

bool
log_enabled(enum log_level level)
{
	return (int)level >= minimum;
}

/* Appends text as the inside of a JSON string; gives the new length, never above size. */
static size_t
append_escaped(char *line, size_t used, size_t size, const char *text)
{
	for (; *text != '\0' && used + 8 < size; text++) {
		unsigned char c = (unsigned char)*text;

		if (c == '"' || c == '\\') {
			line[used++] = '\\';
			line[used++] = (char)c;
		} else if (c < 0x20) {
			used += (size_t)snprintf(line + used, size - used, "\\u%04x", c);
		} else {
			line[used++] = (char)c;
		}
	}
	return used;
}

/* A message that came from outside cannot begin a line of its own. */
static void
one_line(char *message)
{
	for (; *message != '\0'; message++)
		if ((unsigned char)*message < 0x20)
			*message = ' ';
}

void
log_write(enum log_level level, const char *format, ...)
{
	char message[LINE_BYTES / 2], line[LINE_BYTES], now[CLOCK_TIME_BYTES];
	size_t used;
	va_list args;

	if (!log_enabled(level))
		return;
	va_start(args, format);
	vsnprintf(message, sizeof message, format, args);
	va_end(args);
	time_format(wall_ms(), now);
	if (as_json) {
		used = (size_t)snprintf(
			line, sizeof line, "{\"time\":\"%s\",\"level\":\"%s\",\"message\":\"", now, level_names[level]);
		used = append_escaped(line, used, sizeof line - 4, message);
		used += (size_t)snprintf(line + used, sizeof line - used, "\"}\n");
	} else {
		one_line(message);
		used = (size_t)snprintf(line, sizeof line, "%s %s: %s\n", now, level_names[level], message);
	}
	ssize_t written = write(STDERR_FILENO, line, used);
	(void)written; /* nobody to tell */
}
