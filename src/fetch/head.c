/* See head.h. */
#include "fetch/head.h"

#include <assert.h>
#include <string.h>

#include "base/text.h"

static_assert(HEAD_MAX_BYTES == 256 * 1024, "the message names it");

#define STRINGIFY(number) STRINGIFY_(number)
#define STRINGIFY_(number) #number

void
head_init(struct head *head, struct arena *arena)
{
	*head = (struct head){.arena = arena, .content_length = -1};
}

/* The text as UTF-8: as it is, or each byte as the character of ISO 8859-1. */
static char *
to_utf8(struct arena *arena, const char *text, size_t length)
{
	if (utf8_valid(text, length))
		return arena_copy(arena, text, length);
	char *copy = length > HEAD_MAX_BYTES ? NULL : arena_alloc(arena, 2 * length + 1), *out = copy;
	for (size_t i = 0; copy != NULL && i < length; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c < 0x80) {
			*out++ = (char)c;
		} else {
			*out++ = (char)(0xc0 | c >> 6);
			*out++ = (char)(0x80 | (c & 0x3f));
		}
	}
	return copy;
}

static bool
add_field(struct head *head, char *name, char *value)
{
	if (name == NULL || value == NULL)
		return false;
	if (head->fields.count == head->capacity) {
		size_t capacity = head->capacity == 0 ? 16 : head->capacity * 2;
		struct field *items = arena_alloc(head->arena, capacity * sizeof *items);

		if (items == NULL)
			return false;
		if (head->fields.count > 0)
			memcpy(items, head->fields.items, head->fields.count * sizeof *items);
		head->fields.items = items;
		head->capacity = capacity;
	}
	head->fields.items[head->fields.count++] = (struct field){.name = name, .value = value};
	return true;
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* "HTTP/1.1 200 OK": begins a head. */
static void
take_status_line(struct head *head, const char *line, size_t length)
{
	const char *space = memchr(line, ' ', length);
	size_t version = space == NULL ? 0 : (size_t)(space - line) - 5;

	head->fields.count = 0;
	head->status = 0;
	if (version == 0 || version >= sizeof head->version)
		return;
	memcpy(head->version, line + 5, version);
	head->version[version] = '\0';
	for (const char *c = space + 1; c < line + length && *c >= '0' && *c <= '9' && head->status < 1000; c++)
		head->status = head->status * 10 + (*c - '0');
}

static enum head_step
too_long(struct head *head, const char *why)
{
	head->why = why;
	return HEAD_TOO_LONG;
}

/* Appends a blank and the text. The room doubles, or a long value with many short lines would take hundreds of megabytes of the arena. */
static bool
append_to_value(struct head *head, struct field *field, const char *text)
{
	size_t length = strlen(text), bytes = head->value_room == 0 ? strlen(field->value) : head->value_bytes;

	if (bytes + length + 2 > head->value_room) {
		size_t room = 2 * (bytes + length + 2);
		char *value = arena_alloc(head->arena, room);

		if (value == NULL)
			return false;
		memcpy(value, field->value, bytes);
		field->value = value;
		head->value_room = room;
	}
	field->value[bytes] = ' ';
	memcpy(field->value + bytes + 1, text, length + 1);
	head->value_bytes = bytes + 1 + length;
	return true;
}

/* A line that begins with a blank goes on with the value before it (obs-fold: RFC 9112, section 5.2). */
static enum head_step
unfold(struct head *head, const char *line, size_t length)
{
	if (++head->folded > HEAD_MAX_FOLDED)
		return too_long(head, "the head of the answer has over " STRINGIFY(HEAD_MAX_FOLDED) " folded lines");
	if (head->fields.count == 0)
		return HEAD_MORE;
	struct field *field = &head->fields.items[head->fields.count - 1];
	while (length > 0 && is_blank(*line))
		line++, length--;
	while (length > 0 && is_blank(line[length - 1]))
		length--;
	const char *more = to_utf8(head->arena, line, length);
	return more != NULL && append_to_value(head, field, more) ? HEAD_MORE : HEAD_NO_MEMORY;
}

static enum head_step
take_field(struct head *head, const char *line, size_t length)
{
	const char *colon = memchr(line, ':', length), *end = line + length;

	if (is_blank(*line))
		return unfold(head, line, length);
	if (colon == NULL || !text_is_token(line, (size_t)(colon - line)))
		return HEAD_MORE; /* libcurl lets it pass; there is nothing to keep */
	if (head->fields.count >= HEAD_MAX_FIELDS)
		return too_long(head, "the head of the answer has over " STRINGIFY(HEAD_MAX_FIELDS) " fields");
	head->value_room = 0;
	const char *value = colon + 1;
	while (value < end && is_blank(*value))
		value++;
	while (end > value && is_blank(end[-1]))
		end--;
	char *name = arena_copy(head->arena, line, (size_t)(colon - line));
	if (name != NULL)
		ascii_lower_string(name);
	return add_field(head, name, to_utf8(head->arena, value, (size_t)(end - value))) ? HEAD_MORE : HEAD_NO_MEMORY;
}

/* One element of a Content-Length value; moves *at behind it and its comma. */
static bool
take_length(const char **at, int64_t *ret)
{
	char digits[24];
	uint64_t value;

	*at += strspn(*at, " \t");
	size_t length = strspn(*at, "0123456789");
	if (length == 0 || length >= sizeof digits)
		return false;
	memcpy(digits, *at, length);
	digits[length] = '\0';
	*at += length;
	*at += strspn(*at, " \t");
	if (**at == ',')
		++*at;
	else if (**at != '\0')
		return false;
	if (text_to_uint64(digits, &value) != 0 || value > INT64_MAX)
		return false;
	*ret = (int64_t)value;
	return true;
}

/* Several equal lengths are one (RFC 9112, section 6.3); anything else that is not one number is an error. */
static bool
read_content_length(struct head *head)
{
	int64_t length;

	head->content_length = -1;
	if (fields_have(&head->fields, "transfer-encoding"))
		return true;
	for (size_t i = 0; i < head->fields.count; i++) {
		const char *at = head->fields.items[i].value;

		if (strcmp(head->fields.items[i].name, "content-length") != 0)
			continue;
		do {
			if (!take_length(&at, &length) || (head->content_length >= 0 && length != head->content_length))
				return false;
			head->content_length = length;
		} while (*at != '\0');
	}
	return true;
}

static enum head_step
end_interim(struct head *head)
{
	if (++head->interim > HEAD_MAX_INTERIM)
		return too_long(
			head, "over " STRINGIFY(HEAD_MAX_INTERIM) " interim answers (1xx) came before any other");
	return HEAD_MORE;
}

/* A coding that was not asked for may be anything; libcurl would take gzip off by itself, without our bounds. */
static bool
transfer_codings_known(const struct head *head)
{
	for (size_t i = 0; i < head->fields.count; i++)
		if (strcmp(head->fields.items[i].name, "transfer-encoding") == 0 &&
			!text_equal_nocase(head->fields.items[i].value, "chunked") &&
			!text_equal_nocase(head->fields.items[i].value, "identity"))
			return false;
	return true;
}

static enum head_step
end_final(struct head *head)
{
	if (!transfer_codings_known(head))
		head->why = "the Transfer-Encoding of the answer is not chunked";
	else if (!read_content_length(head))
		head->why = "the Content-Length of the answer is no number, or there are several";
	else
		return HEAD_ENDED;
	return HEAD_BROKEN;
}

enum head_step
head_line(struct head *head, const char *line, size_t length)
{
	head->bytes += length;
	if (head->bytes > HEAD_MAX_BYTES)
		return too_long(head, "the answer has over 256 KiB of head, interim answers and trailers");
	if (head->whole)
		return HEAD_MORE; /* a trailer */
	while (length > 0 && (line[length - 1] == '\n' || line[length - 1] == '\r'))
		length--;
	if (length == 0) {
		head->whole = head->status >= 200;
		return head->whole ? end_final(head) : end_interim(head);
	}
	if (length > 5 && memcmp(line, "HTTP/", 5) == 0 && (head->status == 0 || head->status < 200)) {
		take_status_line(head, line, length);
		return HEAD_MORE;
	}
	return take_field(head, line, length);
}

bool
head_is_type(const struct head *head, const char *type)
{
	const char *value = fields_get(&head->fields, "content-type");
	size_t length = strlen(type);

	if (value == NULL || !text_prefix_nocase(value, type))
		return false;
	return strchr("; \t", value[length]) != NULL; /* its NUL included */
}
