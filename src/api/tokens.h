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

/* Reads the file anew; on an error the old tokens stay. */
int tokens_reload(struct tokens *tokens, const char *path, char **ret_message) __attribute__((warn_unused_result));

/* True when tokens are asked for at all. */
bool tokens_required(struct tokens *tokens);

/* True when the Authorization field (NULL: none came) carries one of them. Takes the same time for all wrong ones. */
bool tokens_admit(struct tokens *tokens, const char *authorization);

#endif
