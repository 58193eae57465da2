/*
 * What the fuzz targets share. A target is one LLVMFuzzerTestOneInput, which returns 0 or ends the process: libFuzzer's
 * main, AFL++'s driver or replay.c calls it, one input at a time on one thread. What outlives an input is made at the
 * first one and not before, since AFL++ forks in between and no thread would survive that.
 */
#ifndef FETCHPOOL_FUZZ_FUZZ_H
#define FETCHPOOL_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

/* A finding: says what is wrong (a printf format and its arguments) and aborts, unless the condition holds. */
#define FUZZ_CHECK(condition, ...)                                                                                     \
	do {                                                                                                           \
		if (!(condition))                                                                                      \
			fuzz_fail(__FILE__, __LINE__, #condition, __VA_ARGS__);                                        \
	} while (0)
_Noreturn void fuzz_fail(const char *file, int line, const char *condition, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* The bytes in memory of exactly that size, so that the address sanitizer sees a step too far. The caller's to free. */
void *fuzz_copy(const uint8_t *bytes, size_t count);

/* Cuts the next line off (without its LF), as a string that ends at its first NUL; NULL when there is none. To free. */
char *fuzz_line(const uint8_t **at, const uint8_t *end);

/* A new directory that is removed, with what is in it, when the process ends as it should. */
const char *fuzz_directory(void);

#endif
