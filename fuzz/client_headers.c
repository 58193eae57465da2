/*
 * The headers and credentials of a spec. Each line is a field, "name:value"; or "!basic user:password" or "!bearer
 * token"; \r \n \0 \\ in it stand for these bytes, and what is not UTF-8 is read as ISO 8859-1. The codec has to take
 * exactly what may stand in the head of a request, and the head written from it has to read as these fields and no more.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/codec.h"
#include "api/problem.h"
#include "base/text.h"
#include "fuzz.h"
#include "job_checks.h"
#include "service.h"

/* What came, and whether every part of it is in order. */
struct given {
	json_t *headers, *auth;
	bool fields_good, auth_good;
	size_t fields, bytes;
};

/* ---- the input */

struct part {
	char *text; /* UTF-8; to free */
	size_t length;
	bool has_nul;
};

/* The byte that \c stands for, or -1. */
static int
escaped(char c)
{
	switch (c) {
	case 'r':
		return '\r';
	case 'n':
		return '\n';
	case '0':
		return '\0';
	case '\\':
		return '\\';
	default:
		return -1;
	}
}

static struct part
read_part(const char *text, size_t length)
{
	struct part part = {.text = malloc(2 * length + 1)};
	bool wide = !utf8_valid(text, length);

	FUZZ_CHECK(part.text != NULL, "no memory");
	for (size_t i = 0; i < length; i++) {
		int c = (unsigned char)text[i], other = c == '\\' && i + 1 < length ? escaped(text[i + 1]) : -1;

		if (other >= 0) {
			c = other;
			i++;
		}
		part.has_nul |= c == '\0';
		if (wide && c >= 0x80) {
			part.text[part.length++] = (char)(0xc0 | c >> 6);
			c = 0x80 | (c & 0x3f);
		}
		part.text[part.length++] = (char)c;
	}
	part.text[part.length] = '\0';
	return part;
}

static json_t *
string_of(const struct part *part)
{
	json_t *string = json_stringn(part->text, part->length);

	FUZZ_CHECK(string != NULL, "no string can be made of %s", part->text);
	return string;
}

/* ---- what is in order, by the contract and RFC 9110 */

static bool
is_own_to_send(const char *name)
{
	static const char *const names[] = {"host", "content-length", "transfer-encoding", "connection", "keep-alive",
		"proxy-connection", "proxy-authorization", "proxy-authenticate", "te", "trailer", "upgrade",
		"http2-settings", "expect"};

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (strcasecmp(name, names[i]) == 0)
			return true;
	return false;
}

static bool
has_control(const struct part *part, bool tab_too)
{
	for (size_t i = 0; i < part->length; i++)
		if ((unsigned char)part->text[i] < 0x20 ? part->text[i] != '\t' || tab_too : part->text[i] == 0x7f)
			return true;
	return false;
}

static bool
is_good_name(const struct part *part)
{
	for (size_t i = 0; i < part->length; i++)
		if (!(isascii(part->text[i]) && isalnum((unsigned char)part->text[i])) &&
			(part->text[i] == '\0' || strchr("!#$%&'*+-.^_`|~", part->text[i]) == NULL))
			return false;
	return part->length > 0 && !is_own_to_send(part->text);
}

/* ---- building the spec */

static void
add_field(struct given *given, const char *line, size_t colon)
{
	struct part name = read_part(line, colon), value = read_part(line + colon + 1, strlen(line + colon + 1));
	json_t *string = string_of(&value);
	json_t *values = json_object_getn(given->headers, name.text, name.length);

	given->fields_good &= is_good_name(&name) && !has_control(&value, false);
	given->fields++;
	given->bytes += name.length + value.length;
	if (values != NULL)
		json_array_append_new(values, string);
	else
		json_object_setn_new(given->headers, name.text, name.length, json_pack("[o]", string));
	free(value.text);
	free(name.text);
}

/* A later one takes the place of an earlier one. */
static void
set_basic(struct given *given, const char *pair)
{
	size_t colon = strcspn(pair, ":");
	const char *rest = pair[colon] == ':' ? pair + colon + 1 : "";
	struct part user = read_part(pair, colon), password = read_part(rest, strlen(rest));

	json_decref(given->auth);
	given->auth = json_pack("{s{soso}}", "basic", "user", string_of(&user), "password", string_of(&password));
	given->auth_good = !has_control(&user, true) && !has_control(&password, true);
	free(password.text);
	free(user.text);
}

static void
set_bearer(struct given *given, const char *text)
{
	struct part token = read_part(text, strlen(text));

	json_decref(given->auth);
	given->auth = json_pack("{so}", "bearer", string_of(&token));
	given->auth_good = token.length > 0 && !has_control(&token, true) && strchr(token.text, ' ') == NULL;
	free(token.text);
}

static void
take_line(struct given *given, const char *line)
{
	size_t colon = strcspn(line, ":");

	if (strncmp(line, "!basic ", 7) == 0)
		set_basic(given, line + 7);
	else if (strncmp(line, "!bearer ", 8) == 0)
		set_bearer(given, line + 8);
	else if (line[colon] == ':')
		add_field(given, line, colon);
}

/* ---- what has to come of it */

static bool
names_authorization(const json_t *headers)
{
	const char *name;
	json_t *values;

	json_object_foreach((json_t *)headers, name, values)
		if (strcasecmp(name, "authorization") == 0)
			return true;
	return false;
}

static bool
is_good(const struct given *given)
{
	return given->fields_good && given->auth_good && given->fields <= 256 && given->bytes <= 65536 &&
		(given->auth == NULL || !names_authorization(given->headers));
}

/* The fields in their order, each with the blanks around its value taken off. */
static void
check_fields(const struct job_spec *spec, const json_t *headers)
{
	const char *name;
	json_t *values, *value;
	size_t count = 0, i;

	json_object_foreach((json_t *)headers, name, values) {
		json_array_foreach(values, i, value) {
			const char *text = json_string_value(value);
			const struct field *field = &spec->headers.items[count++];

			FUZZ_CHECK(count <= spec->headers.count, "the field %s is not there", name);
			text += strspn(text, " \t");
			size_t length = strlen(text);
			while (length > 0 && (text[length - 1] == ' ' || text[length - 1] == '\t'))
				length--;
			FUZZ_CHECK(strcmp(field->name, name) == 0 && strlen(field->value) == length &&
					memcmp(field->value, text, length) == 0,
				"%s: %s became %s: %s", name, text, field->name, field->value);
		}
	}
	FUZZ_CHECK(count == spec->headers.count, "%zu fields became %zu", count, spec->headers.count);
}

/* Written one below the other they are so many lines, each a token, a colon and the rest. */
static void
check_head(const struct job_spec *spec)
{
	struct buffer head = {0};
	size_t lines = 0, fields = spec->headers.count + (spec->authorization != NULL);

	for (size_t i = 0; i < spec->headers.count; i++)
		buffer_printf(&head, "%s: %s\r\n", spec->headers.items[i].name, spec->headers.items[i].value);
	if (spec->authorization != NULL)
		buffer_printf(&head, "Authorization: %s\r\n", spec->authorization);
	for (size_t at = 0; at < head.count; lines++) {
		const char *line = head.data + at, *end = memchr(line, '\r', head.count - at);

		FUZZ_CHECK(end != NULL && end[1] == '\n' && memchr(line, '\n', (size_t)(end - line)) == NULL,
			"a torn line");
		FUZZ_CHECK(text_is_token(line, strcspn(line, ":")), "a line without a name: %.*s", (int)(end - line),
			line);
		at = (size_t)(end - head.data) + 2;
	}
	FUZZ_CHECK(lines == fields, "%zu fields are %zu lines", fields, lines);
	buffer_release(&head);
}

/* The credentials are nowhere in the job as it is shown. */
static void
check_shown(struct job_spec *spec)
{
	bool secret = spec->authorization != NULL;
	json_t *job = check_written(spec, NULL);
	const json_t *values =
		json_object_get(json_object_get(json_object_get(job, "request"), "headers"), "authorization");
	const char *shown = json_string_value(json_array_get(values, 0));

	if (secret)
		FUZZ_CHECK(json_array_size(values) == 1 && strcmp(shown, "***") == 0, "auth reads back as %s", shown);
	json_decref(job);
}

static void
check_given(const struct given *given)
{
	struct problem problem = {0};
	json_t *body = json_pack("{sssO}", "url", "http://a.example/", "headers", given->headers);

	FUZZ_CHECK(body != NULL, "no memory");
	if (given->auth != NULL)
		json_object_set(body, "auth", given->auth);
	char *text = json_dumps(body, 0);
	struct job_spec *spec = codec_read_spec(text, strlen(text), &problem);
	FUZZ_CHECK((spec != NULL) == is_good(given), "%s, but it is %s: %s", spec != NULL ? "taken" : problem.detail,
		is_good(given) ? "good" : "bad", text);
	if (spec == NULL) {
		check_problem(&problem);
	} else {
		check_spec(spec);
		check_fields(spec, given->headers);
		check_head(spec);
		check_shown(spec);
	}
	fuzz_free_json_text(text);
	json_decref(body);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	const uint8_t *at = bytes, *end = bytes + count;
	struct given given = {.fields_good = true, .auth_good = true};
	char *line;

	fuzz_service();
	given.headers = json_object();
	while ((line = fuzz_line(&at, end)) != NULL) {
		take_line(&given, line);
		free(line);
	}
	check_given(&given);
	json_decref(given.auth);
	json_decref(given.headers);
	return 0;
}
