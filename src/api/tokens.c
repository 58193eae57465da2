/* See tokens.h. Lock: its own, a leaf; a reload swaps the list. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "api/tokens.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/lock.h"
#include "base/text.h"

struct token_list {
	char **items;
	size_t count;
};

struct tokens {
	struct lock lock;
	struct token_list list;
	bool required;
};

static void
list_free(struct token_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->items[i]);
	free(list->items);
	*list = (struct token_list){0};
}

static int
list_add(struct token_list *list, const char *token)
{
	char **items = realloc(list->items, (list->count + 1) * sizeof(char *));

	if (items == NULL)
		return -ENOMEM;
	list->items = items;
	items[list->count] = strdup(token);
	return items[list->count] == NULL ? -ENOMEM : (list->count++, 0);
}

/* Takes the blanks off both ends. */
static char *
trim(char *line)
{
	line += strspn(line, " \t\r\n");
	size_t length = strlen(line);
	while (length > 0 && strchr(" \t\r\n", line[length - 1]) != NULL)
		line[--length] = '\0';
	return line;
}

static int
read_file(const char *path, struct token_list *list)
{
	FILE *file = fopen(path, "re");
	char *line = NULL;
	size_t size = 0;
	int error = 0;

	if (file == NULL)
		return -errno;
	while (error == 0 && getline(&line, &size, file) >= 0) {
		char *token = trim(line);

		if (*token != '\0' && *token != '#')
			error = list_add(list, token);
	}
	if (error == 0 && ferror(file))
		error = -EIO;
	free(line);
	fclose(file);
	if (error == 0 && list->count == 0)
		error = -ENODATA;
	return error;
}

int
tokens_load(const char *path, struct tokens **ret, char **ret_message)
{
	struct tokens *tokens = calloc(1, sizeof *tokens);

	*ret_message = NULL;
	if (tokens == NULL)
		return -ENOMEM;
	lock_init(&tokens->lock);
	tokens->required = path != NULL;
	int error = path == NULL ? 0 : read_file(path, &tokens->list);
	if (error == 0) {
		*ret = tokens;
		return 0;
	}
	if (asprintf(ret_message, "auth-token-file %s: %s", path,
		    error == -ENODATA ? "there is no token in it" : strerror(-error)) < 0)
		*ret_message = NULL;
	tokens_free(tokens);
	return error;
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

/* Compares every byte of what the client sent, whatever the token. */
static unsigned char
differs(const char *given, size_t length, const char *token)
{
	size_t wanted = strlen(token);
	unsigned char difference = length != wanted;

	for (size_t i = 0; i < length; i++)
		difference |= (unsigned char)(given[i] ^ token[wanted == 0 ? 0 : i % wanted]);
	return difference;
}

bool
tokens_admit(struct tokens *tokens, const char *authorization)
{
	bool found = false;

	lock_take(&tokens->lock);
	if (!tokens->required) {
		found = true;
	} else if (authorization != NULL && text_prefix_nocase(authorization, "bearer ")) {
		const char *given = authorization + strlen("bearer ");

		given += strspn(given, " ");
		for (size_t i = 0; i < tokens->list.count; i++)
			found |= differs(given, strlen(given), tokens->list.items[i]) == 0;
	}
	lock_drop(&tokens->lock);
	return found;
}
