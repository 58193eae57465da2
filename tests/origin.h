/*
 * A scripted HTTP/1.1 origin: what the daemon under test fetches from.
 *
 * One thread of its own with an epoll loop; it is bound to 127.0.0.1 and logs every request it read. The path says what
 * happens (the table in origin.c), `k=KEY` in the query names a request, so that a test finds it again. The waiting
 * functions end after ORIGIN_PATIENCE_MS at the latest.
 */
#ifndef TESTS_ORIGIN_H
#define TESTS_ORIGIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ORIGIN_PATIENCE_MS 20000

enum origin_end {
	ORIGIN_OPEN,     /* the answer is not whole yet */
	ORIGIN_ANSWERED, /* everything the script says was handed to the socket */
	ORIGIN_LEFT,     /* the client went away before */
};

struct origin_field {
	char *name; /* in lower case */
	char *value;
};

/* One request as the origin read it. Lives until origin_stop; all but `end` never changes. */
struct origin_request {
	char *method;
	char *target;
	char *key;
	struct origin_field *fields;
	size_t field_count;
	char *body; /* NUL behind the last byte */
	size_t body_bytes;
	enum origin_end end; /* under the origin's lock: read it with origin_await_end */
};

struct origin;

/* Port 0 takes a free one; NULL when the port is taken. */
struct origin *origin_start(unsigned port);
void origin_stop(struct origin *origin);
unsigned origin_port(const struct origin *origin);
/* Blocks until the origin's thread has ended, for the program of its own. */
void origin_join(struct origin *origin);

/* How many requests of this key came so far; a NULL key counts all. */
size_t origin_count(struct origin *origin, const char *key);
/* The nth request (from 0) of this key, waited for; NULL when it does not come in time. */
const struct origin_request *origin_await_seen(struct origin *origin, const char *key, size_t nth);
/* Waits until the request is answered or its client has left. */
enum origin_end origin_await_end(struct origin *origin, const struct origin_request *request);
/* Lets the /hold requests of this key be answered, those to come as well. */
void origin_release(struct origin *origin, const char *key);

/* The first value of a field, NULL without one; and how many there are. */
const char *origin_field(const struct origin_request *request, const char *name);
size_t origin_field_count(const struct origin_request *request, const char *name);

/* The bytes that /text/N and /bytes/N are made of. */
void origin_text(uint64_t offset, char *ret_text, size_t size);
void origin_pattern(uint64_t offset, char *ret_bytes, size_t size);

/* What /gzip, /br and /zstd hold. */
#define ORIGIN_GZIPPED "{\"gzipped\":true}"
#define ORIGIN_SQUEEZED "squeezed and spelled out again, spelled out again\n"

#endif
