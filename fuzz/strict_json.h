/* JSON by the letter of RFC 8259, told by other means than the server's: what it takes has to pass here. */
#ifndef FETCHPOOL_FUZZ_STRICT_JSON_H
#define FETCHPOOL_FUZZ_STRICT_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct strict_json {
	size_t members; /* of all objects in it, doubles counted as they come */
	int depth;      /* the outermost value is 1 */
	const char *wrong;
};

/*
 * True for one JSON text and nothing behind it, in well-formed UTF-8 without \u0000 and lone surrogates, whose integers
 * fit into int64_t and whose other numbers are finite as double. Else wrong says why not.
 */
bool strict_json_read(const uint8_t *bytes, size_t count, struct strict_json *ret);

#endif
