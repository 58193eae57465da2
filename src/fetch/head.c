/* See head.h. */
#include "fetch/head.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"

void
head_init(struct head *head, struct arena *arena)
{
	*head = (struct head){.arena = arena};
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
	head->status = atoi(space);
}

static enum head_step
take_field(struct head *head, const char *line, size_t length)
{
	const char *colon = memchr(line, ':', length), *end = line + length;

	if (colon == NULL)
		return HEAD_MORE; /* libcurl lets it pass; there is nothing to keep */
	if (head->fields.count >= HEAD_MAX_FIELDS)
		return HEAD_TOO_LONG;
	const char *value = colon + 1;
	while (value < end && is_blank(*value))
		value++;
	while (end > value && is_blank(end[-1]))
		end--;
	char *name = to_utf8(head->arena, line, (size_t)(colon - line));
	if (name != NULL)
		ascii_lower_string(name);
	return add_field(head, name, to_utf8(head->arena, value, (size_t)(end - value))) ? HEAD_MORE : HEAD_NO_MEMORY;
}

enum head_step
head_line(struct head *head, const char *line, size_t length)
{
	if (head->whole)
		return HEAD_MORE; /* a trailer */
	head->bytes += length;
	if (head->bytes > HEAD_MAX_BYTES)
		return HEAD_TOO_LONG;
	while (length > 0 && (line[length - 1] == '\n' || line[length - 1] == '\r'))
		length--;
	if (length == 0) {
		head->whole = head->status >= 200;
		return head->whole ? HEAD_ENDED : HEAD_MORE;
	}
	if (length > 5 && memcmp(line, "HTTP/", 5) == 0 && (head->status == 0 || head->status < 200)) {
		take_status_line(head, line, length);
		return HEAD_MORE;
	}
	return take_field(head, line, length);
}

int64_t
head_content_length(const struct head *head)
{
	const char *text = fields_get(&head->fields, "content-length");
	uint64_t value;

	if (text == NULL || text_to_uint64(text, &value) != 0 || value > INT64_MAX)
		return -1;
	return (int64_t)value;
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
