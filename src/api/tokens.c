/* See tokens.h. Lock: its own, a leaf; a reload swaps the list. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "api/tokens.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/lock.h"
#include "base/text.h"

#define MAX_FILE_BYTES (4 << 20)

struct item {
	struct token token;
	char *source; /* "FILE:LINE" */
};

struct token_list {
	struct item *items;
	size_t count;
};

struct tokens {
	struct lock lock;
	struct token_list list;
	bool required;
};

/* Makes the message and gives -EINVAL. */
static int __attribute__((format(printf, 2, 3))) fail(char **ret_message, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	if (vasprintf(ret_message, format, args) < 0)
		*ret_message = NULL;
	va_end(args);
	return -EINVAL;
}

/* ---- the list */

static void
list_free(struct token_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->items[i].source);
	free(list->items);
	*list = (struct token_list){0};
}

/* Adds a token, which is complete, and its source, which is copied. No name and no token may be there twice. */
static int
list_add(struct token_list *list, const struct token *token, const char *source, char **ret_message)
{
	for (size_t i = 0; i < list->count; i++) {
		const struct item *other = &list->items[i];

		/* Nobody measures this one. */
		if (memcmp(other->token.sha256, token->sha256, sizeof token->sha256) == 0)
			return fail(ret_message, "%s: this token is there already, at %s", source, other->source);
		if (strcmp(other->token.name, token->name) == 0)
			return fail(ret_message, "%s: name: a token is called %s already, at %s", source, token->name,
				other->source);
	}
	if ((list->count & (list->count - 1)) == 0) {
		struct item *items = realloc(list->items, (list->count == 0 ? 1 : list->count * 2) * sizeof *items);

		if (items == NULL)
			return -ENOMEM;
		list->items = items;
	}
	struct item *item = &list->items[list->count];
	*item = (struct item){.token = *token, .source = strdup(source)};
	return item->source == NULL ? -ENOMEM : (list->count++, 0);
}

/* ---- the file */

/* "name=value", which is cut in two. */
static int
read_setting(struct token *token, char *word, struct buffer *why)
{
	char *equal = strchr(word, '=');

	/* The word itself is not told: it may be the second half of a token with a blank in it. */
	if (equal == NULL || equal == word || equal[1] == '\0') {
		buffer_append_string(why, "after the token come settings as NAME=VALUE, with blanks between");
		return -EINVAL;
	}
	*equal = '\0';
	if (strcmp(word, "token") == 0 || strcmp(word, "sha256") == 0) {
		buffer_printf(why, "%s: the token is the first word of its line, or sha256:HEX", word);
		return -EINVAL;
	}
	return token_set(token, word, equal + 1, why);
}

static int
read_line(char *line, struct token *token, struct buffer *why)
{
	char *rest, *word = strtok_r(line, " \t\r", &rest);
	int error = token_set_first(token, word, why);

	while (error == 0 && (word = strtok_r(NULL, " \t\r", &rest)) != NULL)
		error = read_setting(token, word, why);
	return error == 0 ? token_complete(token, why) : error;
}

/* Reads one line, and adds its token, if there is one in it. */
static int
add_line(struct token_list *list, const char *path, int number, char *line, char **ret_message)
{
	struct token token = {0};
	struct buffer why = {0};
	char *source;

	line += strspn(line, " \t\r");
	if (*line == '\0' || *line == '#')
		return 0;
	if (asprintf(&source, "%s:%d", path, number) < 0)
		return -ENOMEM;
	int error = read_line(line, &token, &why);
	char *text = buffer_steal(&why);
	if (error == -EINVAL && text != NULL)
		fail(ret_message, "%s: %s", source, text);
	if (error == 0)
		error = list_add(list, &token, source, ret_message);
	free(text);
	free(source);
	return error;
}

static int
add_lines(struct token_list *list, const char *path, char *text, char **ret_message)
{
	int error = 0;

	for (int number = 1; error == 0 && text != NULL; number++) {
		char *line = text, *end = strchr(text, '\n');

		if (end != NULL)
			*end = '\0';
		text = end == NULL ? NULL : end + 1;
		error = add_line(list, path, number, line, ret_message);
	}
	return error;
}

/* The file's bytes and a NUL. Returns their number or -errno. */
static ssize_t
read_bytes(const char *path, char *bytes, size_t size)
{
	size_t count = 0;
	ssize_t got;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	do {
		got = read(fd, bytes + count, size - count);
		if (got > 0)
			count += (size_t)got;
	} while ((got > 0 && count < size) || (got < 0 && errno == EINTR));
	ssize_t error = got < 0 ? -errno : count == size ? -EFBIG : 0;
	close(fd);
	if (error != 0)
		return error;
	bytes[count] = '\0';
	return (ssize_t)count;
}

static int
add_file(struct token_list *list, const char *path, char **ret_message)
{
	size_t before = list->count;
	char *bytes = malloc(MAX_FILE_BYTES);

	if (bytes == NULL)
		return -ENOMEM;
	ssize_t count = read_bytes(path, bytes, MAX_FILE_BYTES);
	int error = count < 0 ? (int)count : 0;
	if (error == 0 && memchr(bytes, '\0', (size_t)count) != NULL)
		error = fail(ret_message, "auth-token-file %s: there is a NUL in it; it has to be text", path);
	else if (error == 0)
		error = add_lines(list, path, bytes, ret_message);
	else
		fail(ret_message, "auth-token-file %s: %s", path, strerror(-error));
	if (error == 0 && list->count == before)
		error = fail(ret_message, "auth-token-file %s: there is no token in it", path);
	if (count > 0)
		explicit_bzero(bytes, (size_t)count);
	free(bytes);
	return error;
}

int
tokens_load(const struct config *config, struct tokens **ret, char **ret_message)
{
	struct tokens *tokens = calloc(1, sizeof *tokens);
	int error = 0;

	*ret_message = NULL;
	if (tokens == NULL)
		return -ENOMEM;
	lock_init(&tokens->lock);
	tokens->required = config->auth_token_file != NULL || config->token_count > 0;
	for (size_t i = 0; error == 0 && i < config->token_count; i++)
		error = list_add(&tokens->list, &config->tokens[i].token, config->tokens[i].source, ret_message);
	if (error == 0 && config->auth_token_file != NULL)
		error = add_file(&tokens->list, config->auth_token_file, ret_message);
	if (error != 0) {
		tokens_free(tokens);
		return error;
	}
	*ret = tokens;
	return 0;
}

void
tokens_swap(struct tokens *tokens, struct tokens *fresh)
{
	lock_take(&tokens->lock);
	struct token_list list = tokens->list;
	bool required = tokens->required;
	tokens->list = fresh->list;
	tokens->required = fresh->required;
	lock_drop(&tokens->lock);
	fresh->list = list;
	fresh->required = required;
}

void
tokens_free(struct tokens *tokens)
{
	if (tokens == NULL)
		return;
	list_free(&tokens->list);
	lock_release(&tokens->lock);
	free(tokens);
}

bool
tokens_required(struct tokens *tokens)
{
	lock_take(&tokens->lock);
	bool required = tokens->required;
	lock_drop(&tokens->lock);
	return required;
}

const struct token *
tokens_at(const struct tokens *tokens, size_t index)
{
	return index < tokens->list.count ? &tokens->list.items[index].token : NULL;
}

/* ---- clients */

/* The token of an Authorization field, or NULL. */
static const char *
bearer_of(const char *authorization)
{
	if (authorization == NULL || !text_prefix_nocase(authorization, "bearer "))
		return NULL;
	authorization += strlen("bearer ");
	authorization += strspn(authorization, " ");
	return *authorization == '\0' ? NULL : authorization;
}

/* All of them are compared, whichever it is. */
static const struct token *
find_locked(const struct tokens *tokens, const uint8_t hash[SHA256_BYTES])
{
	const struct token *found = NULL;

	for (size_t i = 0; i < tokens->list.count; i++)
		if (token_hash_equal(tokens->list.items[i].token.sha256, hash))
			found = &tokens->list.items[i].token;
	return found;
}

int
tokens_admit(struct tokens *tokens, const char *authorization, struct token_grant *ret)
{
	const char *given = bearer_of(authorization);
	uint8_t hash[SHA256_BYTES];
	int error = given == NULL ? 0 : token_hash(given, strlen(given), hash);

	lock_take(&tokens->lock);
	if (!tokens->required) {
		*ret = (struct token_grant){.name = "", .scopes = TOKEN_EVERYTHING};
		error = 0;
	} else if (given == NULL) {
		error = -ENOENT;
	} else if (error == 0) {
		const struct token *token = find_locked(tokens, hash);

		error = token == NULL ? -EACCES : 0;
		if (token != NULL) {
			memcpy(ret->name, token->name, sizeof ret->name);
			ret->scopes = token->scopes;
		}
	} else {
		error = -ENOMEM;
	}
	lock_drop(&tokens->lock);
	return error;
}
