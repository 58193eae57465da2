/* See token.h. No lock, any thread. */
#include "base/token.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

/* Makes the message and gives -EINVAL. */
#define FAIL(why, ...) (buffer_printf((why), __VA_ARGS__), -EINVAL)

static const struct {
	enum token_scope scope;
	const char *name;
} scopes[] = {{TOKEN_SUBMIT, "submit"}, {TOKEN_READ, "read"}, {TOKEN_ADMIN, "admin"}};

#define SCOPES (sizeof scopes / sizeof *scopes)

static const struct {
	const char *name;
	size_t offset; /* in struct token */
	int64_t maximum;
} numbers[] = {
	{"jobs-per-minute", offsetof(struct token, jobs_per_minute), 1000000000},
	{"max-queued", offsetof(struct token, max_queued), 1000000000},
	{"max-in-flight", offsetof(struct token, max_in_flight), 1000000},
};

#define NUMBERS (sizeof numbers / sizeof *numbers)

const char *
token_scope_name(enum token_scope scope)
{
	for (size_t i = 0; i < SCOPES; i++)
		if (scopes[i].scope == scope)
			return scopes[i].name;
	return "";
}

int
token_hash(const char *text, size_t length, uint8_t ret[SHA256_BYTES])
{
	struct sha256 hash;
	int error = sha256_init(&hash);

	if (error != 0)
		return error;
	sha256_update(&hash, text, length);
	return sha256_final(&hash, ret);
}

bool
token_hash_equal(const uint8_t a[SHA256_BYTES], const uint8_t b[SHA256_BYTES])
{
	volatile uint8_t difference = 0; /* so that no compiler ends the loop early */

	for (size_t i = 0; i < SHA256_BYTES; i++)
		difference = difference | (uint8_t)(a[i] ^ b[i]);
	return difference == 0;
}

static bool
is_alphanumeric(char c)
{
	return (c >= '0' && c <= '9') || (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z');
}

static int
set_name(struct token *token, const char *value, struct buffer *why)
{
	size_t length = strlen(value);

	if (*token->name != '\0')
		return FAIL(why, "name: it is set twice");
	if (length == 0 || length >= sizeof token->name)
		return FAIL(why, "name: it has to have 1 to %zu characters", sizeof token->name - 1);
	for (size_t i = 0; i < length; i++)
		if (!is_alphanumeric(value[i]) && strchr("._-", value[i]) == NULL)
			return FAIL(why, "name: only letters, digits, \".\", \"_\" and \"-\" may stand in it");
	memcpy(token->name, value, length + 1);
	return 0;
}

static int
set_scope(struct token *token, const char *value, struct buffer *why)
{
	for (;;) {
		size_t length = strcspn(value, ","), i = 0;

		while (i < SCOPES && (strlen(scopes[i].name) != length || memcmp(scopes[i].name, value, length) != 0))
			i++;
		if (i == SCOPES)
			return FAIL(why, "scope: \"%.*s\" is none of submit, read, admin",
				(int)(length < 40 ? length : 40), value);
		token->scopes |= scopes[i].scope;
		if (value[length] == '\0')
			return 0;
		value += length + 1;
	}
}

static int
set_number(struct token *token, size_t index, const char *value, struct buffer *why)
{
	int64_t *member = (int64_t *)((char *)token + numbers[index].offset);
	uint64_t number;

	if (*member != 0)
		return FAIL(why, "%s: it is set twice", numbers[index].name);
	if (text_to_uint64(value, &number) != 0 || number < 1 || number > (uint64_t)numbers[index].maximum)
		return FAIL(why, "%s: \"%.40s\" is not a whole number within 1 and %" PRId64, numbers[index].name,
			value, numbers[index].maximum);
	*member = (int64_t)number;
	return 0;
}

static int
set_hash(struct token *token, const char *value, struct buffer *why)
{
	if (token->hashed)
		return FAIL(why, "sha256: there is a token already");
	if (strlen(value) != 2 * SHA256_BYTES || hex_decode(value, SHA256_BYTES, token->sha256) != 0)
		return FAIL(
			why, "sha256: it has to be the %d hexadecimal digits that sha256sum prints", 2 * SHA256_BYTES);
	token->hashed = true;
	return 0;
}

/* The b64token of RFC 6750, section 2.1: so a line that lacks its token is not read as one. */
static bool
is_b64token(const char *text)
{
	size_t length = 0;

	while (is_alphanumeric(text[length]) || (text[length] != '\0' && strchr("-._~+/", text[length]) != NULL))
		length++;
	return length > 0 && strspn(text + length, "=") == strlen(text + length);
}

static int
set_plain(struct token *token, const char *value, struct buffer *why)
{
	if (token->hashed)
		return FAIL(why, "token: there is a token already");
	if (!is_b64token(value))
		return FAIL(why,
			"token: it may consist of letters, digits and -._~+/ with = at its end (RFC 6750); give any other as "
			"its sha256");
	int error = token_hash(value, strlen(value), token->sha256);
	token->hashed = error == 0;
	return error == 0 ? 0 : -ENOMEM;
}

int
token_set(struct token *token, const char *name, const char *value, struct buffer *why)
{
	if (strcmp(name, "name") == 0)
		return set_name(token, value, why);
	if (strcmp(name, "scope") == 0)
		return set_scope(token, value, why);
	if (strcmp(name, "sha256") == 0)
		return set_hash(token, value, why);
	if (strcmp(name, "token") == 0)
		return set_plain(token, value, why);
	for (size_t i = 0; i < NUMBERS; i++)
		if (strcmp(name, numbers[i].name) == 0)
			return set_number(token, i, value, why);
	return FAIL(why, "%.40s: there is no such setting of a token", name);
}

int
token_set_first(struct token *token, const char *word, struct buffer *why)
{
	if (strncmp(word, "sha256:", 7) == 0)
		return set_hash(token, word + 7, why);
	return set_plain(token, word, why);
}

int
token_complete(struct token *token, struct buffer *why)
{
	if (!token->hashed)
		return FAIL(why, "it lacks its token: give its sha256");
	if (token->scopes == 0)
		token->scopes = TOKEN_SUBMIT | TOKEN_READ;
	if ((token->scopes & TOKEN_ADMIN) != 0)
		token->scopes = TOKEN_EVERYTHING;
	if (*token->name == '\0') {
		memcpy(token->name, "token-", 6);
		hex_encode(token->sha256, 4, token->name + 6);
	}
	return 0;
}
