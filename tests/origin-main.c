/* The tests' scripted origin as a program of its own, for the examples and for trying things by hand: origin PORT-or-0 */
#include "origin.h"

#include <stdio.h>
#include <stdlib.h>

int
main(int argc, char **argv)
{
	char *end = NULL;
	unsigned long port = argc == 2 ? strtoul(argv[1], &end, 10) : 65536;
	struct origin *origin;

	if (port > 65535 || end == argv[1] || *end) {
		fprintf(stderr, "usage: origin PORT (0 takes a free one)\n");
		return 2;
	}
	origin = origin_start((unsigned)port);
	if (!origin) {
		perror("origin: cannot listen");
		return 1;
	}
	printf("origin listening on http://127.0.0.1:%u\n", origin_port(origin));
	fflush(stdout);
	origin_join(origin); /* runs until a signal ends it */
	origin_stop(origin);
	return 0;
}
