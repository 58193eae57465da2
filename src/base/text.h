/*
 * Bytes and characters as the wire has them: ASCII only, never the locale's idea of a letter or a number.
 */
#ifndef FETCHPOOL_BASE_TEXT_H
#define FETCHPOOL_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* True when the bytes are well-formed UTF-8 (Unicode, table 3-7: no overlong forms, no surrogates). */
bool utf8_valid(const void *bytes, size_t count);

/* True for an RFC 9110 token (section 5.6.2): at least one character. */
bool text_is_token(const char *text, size_t length);

char ascii_lower(char c);
void ascii_lower_string(char *text);

/* Compare without regard to ASCII case. */
bool text_equal_nocase(const char *a, const char *b);
bool text_prefix_nocase(const char *text, const char *prefix);

/* Reads a plain decimal number of digits and at most one point from the first length bytes, whatever the locale. */
double text_to_double(const char *text, size_t length);

/* Reads an unsigned decimal integer that fills the whole string. Returns 0, -EINVAL or -ERANGE. */
int text_to_uint64(const char *text, uint64_t *ret) __attribute__((warn_unused_result));

/* Reads a size: a number with an optional unit KiB, MiB, GiB (also K, M, G). Returns 0, -EINVAL or -ERANGE. */
int size_parse(const char *text, int64_t *ret_bytes) __attribute__((warn_unused_result));

/* Writes a size in its largest whole unit. */
void size_format(int64_t bytes, char *buffer, size_t size);

/* RFC 4648 section 4. The encoded length is base64_length(count), without a NUL, which base64_encode adds. */
size_t base64_length(size_t count);
void base64_encode(const void *bytes, size_t count, char *ret_text);

/* Strict: padded, no blanks, no stray bits. ret_bytes holds length / 4 * 3. Returns 0 or -EINVAL. */
int base64_decode(const char *text, size_t length, void *ret_bytes, size_t *ret_count)
	__attribute__((warn_unused_result));

/* Lower-case hexadecimal; ret_text holds 2 * count + 1. */
void hex_encode(const void *bytes, size_t count, char *ret_text);
int hex_decode(const char *text, size_t count, void *ret_bytes) __attribute__((warn_unused_result));

#endif
