/* A client's connection that is kept from call to call, and opened anew when it is gone. One thread at a time. */
#ifndef TESTS_CRASH_LINE_H
#define TESTS_CRASH_LINE_H

#include "client.h"

struct crash_line {
	struct client_address address;
	struct client_wire wire;
};

void crash_line_init(struct crash_line *line, const struct client_address *address);
void crash_line_close(struct crash_line *line);
/* A body is JSON; NULL for none. Never NULL: status 0 says that no whole answer came. The caller frees. */
struct client_reply *crash_line_call(struct crash_line *line, const char *method, const char *target, const char *body);

#endif
