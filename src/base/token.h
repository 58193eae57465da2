/*
 * One bearer token of clients (RFC 6750) as its operator writes it down, in the file of tokens or in a section of the
 * configuration: a name, what it may be used for, and a quota. The token itself is never kept, only its SHA-256.
 */
#ifndef FETCHPOOL_BASE_TOKEN_H
#define FETCHPOOL_BASE_TOKEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/sha256.h"

#define TOKEN_NAME_BYTES 65 /* the longest name and its NUL */

/* What a token may be used for. An admin may do everything, with everyone's jobs; others see their own alone. */
enum token_scope { TOKEN_SUBMIT = 1, TOKEN_READ = 2, TOKEN_ADMIN = 4 };
#define TOKEN_EVERYTHING (TOKEN_SUBMIT | TOKEN_READ | TOKEN_ADMIN)

struct token {
	char name[TOKEN_NAME_BYTES];
	uint8_t sha256[SHA256_BYTES];
	bool hashed;                                        /* sha256 is set */
	unsigned scopes;                                    /* of enum token_scope */
	int64_t jobs_per_minute, max_queued, max_in_flight; /* 0: no limit */
};

/*
 * Reads one setting into a token that was all zeroes at first: name, scope (words with commas between, which add up),
 * jobs-per-minute, max-queued, max-in-flight, token or sha256. Returns 0; or -EINVAL with "NAME: what is wrong" appended
 * to why, which never holds a token; or -ENOMEM.
 */
int token_set(struct token *token, const char *name, const char *value, struct buffer *why)
	__attribute__((warn_unused_result));

/* The same for the first word of a line of the file: TOKEN or sha256:HEX. */
int token_set_first(struct token *token, const char *word, struct buffer *why) __attribute__((warn_unused_result));

/* Gives what was not set its default: the scope, and a name made from the hash. Returns 0, or -EINVAL as above. */
int token_complete(struct token *token, struct buffer *why) __attribute__((warn_unused_result));

/* The word of one scope. */
const char *token_scope_name(enum token_scope scope);

/* The hash under which a token is kept. Returns 0, -ENOMEM or -EIO. */
int token_hash(const char *text, size_t length, uint8_t ret[SHA256_BYTES]) __attribute__((warn_unused_result));

/* Compares every byte, wherever the first difference is. */
bool token_hash_equal(const uint8_t a[SHA256_BYTES], const uint8_t b[SHA256_BYTES]);

#endif
