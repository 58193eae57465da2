/* The bearer tokens of clients (RFC 6750), from a file with one a line. */
#ifndef FETCHPOOL_API_TOKENS_H
#define FETCHPOOL_API_TOKENS_H

#include <stdbool.h>

struct tokens;

/*
 * Reads the file (NULL: no tokens, everyone is let in). Blank lines and lines that begin with # are skipped. Returns 0
 * or -errno with a message (malloc'd).
 */
int tokens_load(const char *path, struct tokens **ret, char **ret_message) __attribute__((warn_unused_result));
void tokens_free(struct tokens *tokens);

/* Puts the tokens of fresh in the place of those of tokens, and the other way round. */
void tokens_swap(struct tokens *tokens, struct tokens *fresh);

/* True when the Authorization field (NULL: none came) carries one of them. Takes the same time for all wrong ones. */
bool tokens_admit(struct tokens *tokens, const char *authorization);

#endif
