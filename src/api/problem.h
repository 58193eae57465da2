/* Errors as clients see them: RFC 9457 problem details, with a code and a JSON pointer (RFC 6901) to what is wrong. */
#ifndef FETCHPOOL_API_PROBLEM_H
#define FETCHPOOL_API_PROBLEM_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"

struct problem {
	int status;
	const char *code;       /* a constant */
	char *pointer;          /* malloc'd; NULL: none */
	char detail[400];       /* what is wrong and what to do */
	int retry_after_s;      /* 0: none */
	const char *allow;      /* a constant: the Allow of a 405 */
	const char *challenge;  /* a constant: the WWW-Authenticate of a 401, and of a 403 for a scope */
	char content_range[40]; /* of a 416; "": none */
	bool poor;              /* the pointer found no memory: the problem cannot be told */
};

/* Fills the problem (pointer: an escaped JSON pointer, copied, or NULL). Always returns -1, for `return problem_set(…)`. */
int problem_set(struct problem *problem, int status, const char *code, const char *pointer, const char *format, ...)
	__attribute__((format(printf, 5, 6)));

/* Makes the pointer relative to the member name (an index when name is NULL) of an outer value: "/x" to "/name/x". */
void problem_prefix(struct problem *problem, const char *name, size_t index);

void problem_release(struct problem *problem);

/* The body, without the newline. extra: further members as ",\"name\":…" or "". */
void problem_write(const struct problem *problem, struct buffer *buffer, const char *extra);

/* The reason phrase of a status. */
const char *problem_title(int status);

#endif
