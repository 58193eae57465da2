/*
 * HTTP/1 by the letter of RFC 9112, and as strict as doc/api.md, read by other means than the server's: how many
 * requests are in some bytes, and whether what came back is answers and nothing else. The server's limits of sizes are
 * not known here, but for the length of a method.
 */
#ifndef FETCHPOOL_FUZZ_HTTP_REFERENCE_H
#define FETCHPOOL_FUZZ_HTTP_REFERENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REFERENCE_MAX_REQUESTS 4096

enum reference_end {
	REFERENCE_CLEAN,  /* the bytes end with a request, or with an empty line behind it */
	REFERENCE_CUT,    /* the last request is not whole */
	REFERENCE_BROKEN, /* what follows the last whole request is none */
};

struct reference {
	size_t requests; /* whole and well-formed ones before the end */
	enum reference_end end;
	bool blank;   /* behind the last one there is an empty line */
	bool lone_cr; /* of the last one there is but a CR, which may begin an empty line */
	bool head[REFERENCE_MAX_REQUESTS +
		1]; /* of the requests, and of one more that may be answered: is it a HEAD? */
};

void reference_read(const uint8_t *bytes, size_t count, struct reference *ret);

struct answers {
	size_t count; /* final ones; interim ones are not counted */
	bool whole;   /* the bytes end with an answer */
	bool closes;  /* the last one says that the connection ends */
};

/* Ends the process when the bytes are anything but answers to these requests, the last one perhaps cut. */
void answers_read(const uint8_t *bytes, size_t count, const struct reference *requests, struct answers *ret);

#endif
