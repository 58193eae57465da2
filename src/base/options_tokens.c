/*
 * The tokens of clients that are sections of the file:
 *
 *     token "NAME" {
 *         sha256 = HEX
 *         scope = {submit, read}
 *         jobs-per-minute = 600
 *     }
 *
 * Called while loading. Those of --auth-token-file are read by the front door.
 */
#include "base/options_private.h"

#include <stdlib.h>
#include <string.h>

/* The token of the section, which is the last one, or a new one. */
static int
token_of(struct load *load, const struct config_file_setting *line, struct config_token **ret, struct buffer *why)
{
	struct config *config = &load->config;
	struct config_token *last = config->token_count == 0 ? NULL : &config->tokens[config->token_count - 1];
	struct token fresh = {0};

	*ret = last;
	if (last != NULL && strcmp(last->token.name, line->title) == 0)
		return 0;
	int error = token_set(&fresh, "name", line->title, why);
	if (error != 0)
		return error;
	struct config_token *tokens = realloc(config->tokens, (config->token_count + 1) * sizeof *tokens);
	struct buffer source = {0};
	if (tokens == NULL)
		return -ENOMEM;
	config->tokens = tokens;
	buffer_printf(&source, "%s:%d", load->config_path, line->line);
	tokens[config->token_count] = (struct config_token){.token = fresh, .source = buffer_steal(&source)};
	*ret = &tokens[config->token_count];
	if ((*ret)->source == NULL)
		return -ENOMEM;
	config->token_count++;
	return 0;
}

int
token_apply_section(struct load *load, const struct config_file_setting *line)
{
	struct buffer why = {0};
	struct config_token *token;

	int error = token_of(load, line, &token, &why);
	if (error == 0)
		error = line->name == NULL ? token_complete(&token->token, &why)
					   : token_set(&token->token, line->name, line->value, &why);
	char *text = buffer_steal(&why);
	if (error == -EINVAL && text != NULL)
		error = FAIL(load, "%s:%d: token \"%s\": %s", load->config_path, line->line, line->title, text);
	free(text);
	return error;
}
