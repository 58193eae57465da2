/*
 * The bearer tokens of clients (RFC 6750): those of the file of tokens and those of the configuration's sections together. Kept
 * as SHA-256 hashes alone.
 */
#ifndef FETCHPOOL_API_TOKENS_H
#define FETCHPOOL_API_TOKENS_H

#include "base/config.h"
#include "base/token.h"

struct tokens;

/*
 * Reads config->auth_token_file, if there is one, and takes config->tokens as well; without either everyone is let in. A line of
 * the file is TOKEN or sha256:HEX, and then settings as "name=NAME scope=submit,read", with blanks between; blank lines and
 * lines that begin with # are skipped. Returns 0 or -errno with a message (malloc'd, or NULL) that names file and line.
 */
int tokens_load(const struct config *config, struct tokens **ret, char **ret_message)
	__attribute__((warn_unused_result));
void tokens_free(struct tokens *tokens);

/* Puts the tokens of fresh in the place of those of tokens, and the other way round. */
void tokens_swap(struct tokens *tokens, struct tokens *fresh);

/* The tokens, from index 0 up to a NULL. For one thread, before others have them. */
const struct token *tokens_at(const struct tokens *tokens, size_t index);

/* True when there are tokens, so that nobody is let in without one. */
bool tokens_required(struct tokens *tokens);

/* Who a client is: a token's name ("": there are no tokens) and what it may be used for. */
struct token_grant {
	char name[TOKEN_NAME_BYTES];
	unsigned scopes;
};

/*
 * Looks at an Authorization field (NULL: none came). Takes the same time for all wrong tokens. Returns 0; -ENOENT when there
 * is no bearer token in it; -EACCES when it is none of ours; -ENOMEM. Any thread.
 */
int tokens_admit(struct tokens *tokens, const char *authorization, struct token_grant *ret)
	__attribute__((warn_unused_result));

#endif
