/* The headers and the credentials of a job's spec. See codec.h. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "api/codec_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

#define MAX_FIELDS 256
#define MAX_FIELD_BYTES 65536 /* of all names and values */

/* ---- headers */

/* Fields that belong to the connection or the framing, which are ours to write. */
static const char *const refused_fields[] = {"host", "content-length", "transfer-encoding", "connection", "keep-alive",
	"proxy-connection", "proxy-authorization", "proxy-authenticate", "te", "trailer", "upgrade", "http2-settings",
	"expect"};

static int
check_field_name(const char *name, struct problem *problem)
{
	if (!text_is_token(name, strlen(name)))
		return codec_wrong(problem, "this is no header name");
	for (size_t i = 0; i < sizeof refused_fields / sizeof *refused_fields; i++)
		if (text_equal_nocase(name, refused_fields[i]))
			return codec_wrong(problem, "this header is the server's own to send; leave it out");
	return 0;
}

static int
add_field(struct job_spec *spec, const char *name, const json_t *value, size_t *bytes, struct problem *problem)
{
	if (!json_is_string(value))
		return codec_wrong(problem, "a header's value is a string or a list of strings");
	const char *text = json_string_value(value);
	if (codec_has_control(text))
		return codec_wrong(problem, "a header's value has no control characters");
	*bytes += strlen(name) + strlen(text);
	if (spec->headers.count == MAX_FIELDS || *bytes > MAX_FIELD_BYTES)
		return codec_wrong(problem, "the headers are above 256 fields or 64 KiB");
	text += strspn(text, " \t");
	size_t length = strlen(text);
	while (length > 0 && (text[length - 1] == ' ' || text[length - 1] == '\t'))
		length--;
	struct field field = {
		.name = arena_string(&spec->arena, name),
		.value = arena_copy(&spec->arena, text, length),
	};
	if (field.name == NULL || field.value == NULL)
		return codec_no_memory(problem);
	spec->headers.items[spec->headers.count++] = field;
	return 0;
}

static int
add_fields(struct job_spec *spec, const char *name, const json_t *value, size_t *bytes, struct problem *problem)
{
	int rc = check_field_name(name, problem);

	if (rc == 0 && !json_is_array(value))
		return add_field(spec, name, value, bytes, problem);
	for (size_t i = 0; rc == 0 && i < json_array_size(value); i++) {
		rc = add_field(spec, name, json_array_get(value, i), bytes, problem);
		if (rc != 0)
			problem_prefix(problem, NULL, i);
	}
	return rc;
}

/* An upper bound for the room that the fields take. */
static size_t
count_fields(const json_t *object)
{
	const char *name;
	json_t *value;
	size_t count = 0;

	json_object_foreach((json_t *)object, name, value)
		count += json_is_array(value) ? json_array_size(value) : 1;
	return count < MAX_FIELDS ? count : MAX_FIELDS;
}

int
codec_read_headers(void *context, const json_t *value, struct problem *problem)
{
	struct job_spec *spec = ((struct spec_reader *)context)->spec;
	size_t bytes = 0;
	const char *name;
	json_t *member;

	if (!json_is_object(value))
		return codec_wrong(problem, "headers is an object of names and values");
	spec->headers.items = arena_alloc(&spec->arena, count_fields(value) * sizeof *spec->headers.items + 1);
	if (spec->headers.items == NULL)
		return codec_no_memory(problem);
	json_object_foreach((json_t *)value, name, member) {
		if (json_is_null(member))
			continue;
		if (add_fields(spec, name, member, &bytes, problem) != 0) {
			problem_prefix(problem, name, 0);
			return -1;
		}
	}
	return 0;
}

/* ---- auth */

struct basic {
	const char *user, *password;
};

static int
read_credential(const json_t *value, const char **ret, struct problem *problem)
{
	if (!json_is_string(value) || codec_has_control(json_string_value(value)) ||
		strchr(json_string_value(value), '\t') != NULL)
		return codec_wrong(problem, "this has to be a string without control characters");
	*ret = json_string_value(value);
	return 0;
}

static int
read_user(void *context, const json_t *value, struct problem *problem)
{
	struct basic *basic = context;

	if (read_credential(value, &basic->user, problem) != 0)
		return -1;
	return strchr(basic->user, ':') == NULL ? 0 : codec_wrong(problem, "a user name has no colon (RFC 7617)");
}

static int
read_password(void *context, const json_t *value, struct problem *problem)
{
	return read_credential(value, &((struct basic *)context)->password, problem);
}

static int
set_authorization(struct spec_reader *reader, const char *scheme, const char *value, struct problem *problem)
{
	struct job_spec *spec = reader->spec;
	size_t size = strlen(scheme) + strlen(value) + 2;

	spec->authorization = arena_alloc(&spec->arena, size);
	if (spec->authorization == NULL)
		return codec_no_memory(problem);
	snprintf(spec->authorization, size, "%s %s", scheme, value);
	return 0;
}

static int
read_basic(void *context, const json_t *value, struct problem *problem)
{
	static const struct codec_key keys[] = {{"user", read_user, false}, {"password", read_password, false}};
	struct basic basic = {0};
	char *pair;

	if (!json_is_object(value))
		return codec_wrong(problem, "basic is an object with user and password");
	if (codec_each(value, keys, 2, &basic, problem) != 0)
		return -1;
	if (basic.user == NULL || basic.password == NULL)
		return codec_wrong(problem, "basic has to have user and password");
	int length = asprintf(&pair, "%s:%s", basic.user, basic.password);
	char *encoded = length < 0 ? NULL : malloc(base64_length((size_t)length) + 1);
	if (encoded == NULL) {
		if (length >= 0)
			free(pair);
		return codec_no_memory(problem);
	}
	base64_encode(pair, (size_t)length, encoded);
	int rc = set_authorization(context, "Basic", encoded, problem);
	free(encoded);
	free(pair);
	return rc;
}

static int
read_bearer(void *context, const json_t *value, struct problem *problem)
{
	const char *token;

	if (read_credential(value, &token, problem) != 0)
		return -1;
	if (*token == '\0' || strchr(token, ' ') != NULL)
		return codec_wrong(problem, "a bearer token is not empty and has no blanks");
	return set_authorization(context, "Bearer", token, problem);
}

int
codec_read_auth(void *context, const json_t *value, struct problem *problem)
{
	static const struct codec_key keys[] = {{"basic", read_basic, false}, {"bearer", read_bearer, false}};

	if (!json_is_object(value))
		return codec_wrong(problem, "auth is {\"basic\":{\"user\":…,\"password\":…}} or {\"bearer\":…}");
	if (codec_each(value, keys, 2, context, problem) != 0)
		return -1;
	bool basic = !json_is_null(json_object_get(value, "basic")) && json_object_get(value, "basic") != NULL;
	bool bearer = !json_is_null(json_object_get(value, "bearer")) && json_object_get(value, "bearer") != NULL;
	if (basic == bearer)
		return codec_wrong(problem, "give either basic or bearer");
	return 0;
}
