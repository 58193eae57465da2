/* See problem.h. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "api/problem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/json_out.h"
#include "base/text.h"

static const struct {
	int status;
	const char *title;
} titles[] = {
	{400, "Bad Request"},
	{401, "Unauthorized"},
	{403, "Forbidden"},
	{404, "Not Found"},
	{405, "Method Not Allowed"},
	{408, "Request Timeout"},
	{409, "Conflict"},
	{411, "Length Required"},
	{413, "Content Too Large"},
	{414, "URI Too Long"},
	{415, "Unsupported Media Type"},
	{416, "Range Not Satisfiable"},
	{422, "Unprocessable Content"},
	{429, "Too Many Requests"},
	{431, "Request Header Fields Too Large"},
	{500, "Internal Server Error"},
	{501, "Not Implemented"},
	{503, "Service Unavailable"},
	{505, "HTTP Version Not Supported"},
};

const char *
problem_title(int status)
{
	for (size_t i = 0; i < sizeof titles / sizeof *titles; i++)
		if (titles[i].status == status)
			return titles[i].title;
	return "Error";
}

/* What a client sent may stand in a detail, and may have been cut within a character. */
static void
cut_to_utf8(char *text)
{
	size_t length = strlen(text);

	while (length > 0 && !utf8_valid(text, length))
		text[--length] = '\0';
}

int
problem_set(struct problem *problem, int status, const char *code, const char *pointer, const char *format, ...)
{
	va_list args;

	problem_release(problem);
	problem->status = status;
	problem->code = code;
	problem->pointer = pointer == NULL ? NULL : strdup(pointer);
	problem->poor = pointer != NULL && problem->pointer == NULL;
	problem->retry_after_s = status == 503 || status == 429 ? 1 : 0;
	va_start(args, format);
	vsnprintf(problem->detail, sizeof problem->detail, format, args);
	va_end(args);
	cut_to_utf8(problem->detail);
	return -1;
}

static void
append_escaped(struct buffer *buffer, const char *name)
{
	for (; *name != '\0'; name++) {
		if (*name == '~')
			buffer_append_string(buffer, "~0");
		else if (*name == '/')
			buffer_append_string(buffer, "~1");
		else
			buffer_append_char(buffer, *name);
	}
}

void
problem_prefix(struct problem *problem, const char *name, size_t index)
{
	struct buffer longer = {0};

	buffer_append_char(&longer, '/');
	if (name != NULL)
		append_escaped(&longer, name);
	else
		buffer_printf(&longer, "%zu", index);
	if (problem->pointer != NULL)
		buffer_append_string(&longer, problem->pointer);
	free(problem->pointer);
	problem->pointer = buffer_steal(&longer);
	problem->poor |= problem->pointer == NULL;
}

void
problem_release(struct problem *problem)
{
	free(problem->pointer);
	*problem = (struct problem){0};
}

void
problem_write(const struct problem *problem, struct buffer *buffer, const char *extra)
{
	struct json_out out = {.buffer = buffer};

	buffer->failed |= problem->poor;
	out_open(&out, NULL, '{');
	out_string(&out, "type", "about:blank");
	out_string(&out, "title", problem_title(problem->status));
	out_integer(&out, "status", problem->status);
	out_string(&out, "detail", problem->detail);
	out_string(&out, "code", problem->code);
	out_string(&out, "pointer", problem->pointer);
	buffer_append_string(buffer, extra);
	out_close(&out, '}');
}
