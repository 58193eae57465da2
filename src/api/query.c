/* See query.h. */
#include "api/query.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"

#define MAX_PARAMS 32

/* Decodes in place. False for a broken escape. */
static bool
decode(char *text)
{
	char *out = text;

	for (; *text != '\0'; text++) {
		unsigned char byte;

		if (*text == '+') {
			*out++ = ' ';
		} else if (*text == '%') {
			if (hex_decode(text + 1, 1, &byte) != 0 || byte == 0)
				return false;
			*out++ = (char)byte;
			text += 2;
		} else {
			*out++ = *text;
		}
	}
	*out = '\0';
	return true;
}

static int
take_param(char *piece, struct http_param *params, size_t count, struct problem *problem)
{
	struct http_param param = {.name = piece};
	char *equals = strchr(piece, '=');

	if (equals != NULL)
		*equals = '\0';
	param.value = equals != NULL ? equals + 1 : piece + strlen(piece);
	if (!decode(param.name) || !decode(param.value) || !utf8_valid(param.name, strlen(param.name)) ||
		!utf8_valid(param.value, strlen(param.value)))
		return problem_set(
			problem, 400, "invalid_query", NULL, "the query has a broken %%-escape, or is not UTF-8");
	for (size_t i = 0; i < count; i++)
		if (strcmp(params[i].name, param.name) == 0)
			return problem_set(problem, 400, "invalid_query", NULL,
				"the query parameter \"%s\" comes twice", param.name);
	params[count] = param;
	return 0;
}

int
query_parse(const char *text, struct http_param **ret_params, size_t *ret_count, struct problem *problem)
{
	char *copy = strdup(text), *rest = copy, *piece;
	struct http_param *params = calloc(MAX_PARAMS + 1, sizeof *params);
	size_t count = 0;
	int rc = 0;

	if (copy == NULL || params == NULL)
		rc = problem_set(problem, 503, "no_memory", NULL, "the server is out of memory; try again later");
	else
		params[MAX_PARAMS].name = copy; /* what the names and values point into */
	while (rc == 0 && (piece = strsep(&rest, "&")) != NULL) {
		if (*piece == '\0')
			continue;
		if (count == MAX_PARAMS)
			rc = problem_set(problem, 400, "invalid_query", NULL, "the query has too many parameters");
		else if ((rc = take_param(piece, params, count, problem)) == 0)
			count++;
	}
	if (rc != 0) {
		free(copy);
		free(params);
		return rc;
	}
	*ret_params = params;
	*ret_count = count;
	return 0;
}

void
query_free(struct http_param *params)
{
	if (params != NULL)
		free(params[MAX_PARAMS].name);
	free(params);
}

/* True when name is one of the blank-separated words. */
static bool
is_word_of(const char *name, const char *words)
{
	size_t length = strlen(name);

	for (const char *at = words; length > 0 && *at != '\0';) {
		size_t word = strcspn(at, " ");

		if (word == length && memcmp(at, name, length) == 0)
			return true;
		at += word + (at[word] == ' ');
	}
	return false;
}

int
query_check(const struct http_request *request, const char *allowed, struct problem *problem)
{
	for (size_t i = 0; i < request->param_count; i++)
		if (!is_word_of(request->params[i].name, allowed))
			return problem_set(problem, 400, "unknown_parameter", NULL,
				"there is no query parameter \"%.100s\" here%s%s", request->params[i].name,
				*allowed != '\0' ? "; there are: " : "", allowed);
	return 0;
}
