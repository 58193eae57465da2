/*
 * Runs a target over files, without a fuzzer: what was found once, and the seeds, stay found. Under every compiler and
 * sanitizer. A crash ends it there; the name of the file is on standard error then.
 */
#include <stdio.h>
#include <stdlib.h>

#include "fuzz.h"

#define MAX_BYTES (1 << 20)

int
main(int argc, char **argv)
{
	static uint8_t bytes[MAX_BYTES];

	for (int i = 1; i < argc; i++) {
		FILE *file = fopen(argv[i], "rb");

		if (file == NULL) {
			perror(argv[i]);
			return EXIT_FAILURE;
		}
		size_t count = fread(bytes, 1, sizeof bytes, file);
		fclose(file);
		fprintf(stderr, "%s\n", argv[i]);
		uint8_t *copy = fuzz_copy(bytes, count);
		LLVMFuzzerTestOneInput(copy, count);
		free(copy);
	}
	printf("%d inputs\n", argc - 1);
	return EXIT_SUCCESS;
}
