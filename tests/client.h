/*
 * A small blocking HTTP/1.1 client over raw sockets, so that a test can send any bytes at all.
 *
 * Nothing here asserts, so it may be used on any thread: what went wrong is in a reply's `status` 0 and `error`.
 * A wire is one connection and belongs to one thread at a time. The caller frees replies (rig.h does it for tests).
 */
#ifndef TESTS_CLIENT_H
#define TESTS_CLIENT_H

#include "bytes.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* No answer is waited for longer than this. */
#define CLIENT_PATIENCE_MS 30000

struct client_field {
	char *name; /* in lower case */
	char *value;
};

struct client_reply {
	int status; /* 0 without a whole answer: then `error` says why */
	char *error;
	int minor; /* of HTTP/1.minor */
	struct client_field *fields;
	size_t field_count;
	struct bytes body;
	json_t *json;              /* of the body, NULL when it is none */
	struct client_reply *next; /* for whoever keeps a list of them */
};

struct client_address {
	unsigned port;         /* on 127.0.0.1 */
	const char *unix_path; /* if set, instead of the port */
	const char *token;     /* of an Authorization field in each request; NULL: none */
};

struct client_wire {
	int fd; /* -1 when it could not be opened */
	struct bytes in;
};

/* 0 or −errno. */
int client_connect(struct client_wire *wire, const struct client_address *address);
void client_close(struct client_wire *wire);
/* False when the server does not take the bytes any more. */
bool client_send(struct client_wire *wire, const void *data, size_t size);
/* Reads one answer; interim ones (1xx) are skipped. `head_only` for the answer to a HEAD. */
struct client_reply *client_receive(struct client_wire *wire, bool head_only);
/* Reads one interim answer's head and gives its status; 0 without one. */
int client_receive_interim(struct client_wire *wire);
/* Waits for the first bytes of whatever comes next, and leaves them there. */
bool client_await_bytes(struct client_wire *wire);
/* True when the server closes without sending another byte. */
bool client_sees_end(struct client_wire *wire);
/* True while nothing came and the server has not closed, right now. */
bool client_is_quiet(struct client_wire *wire);
void client_reply_free(struct client_reply *reply);

/* One request on a connection of its own. `fields` are whole lines, each ended by CRLF; "" for none. `body` may be NULL. */
struct client_request {
	const char *method;
	const char *target;
	const char *host; /* NULL: the address itself */
	const char *fields;
	const char *body;
	size_t body_bytes;
	bool no_length; /* leaves Content-Length out */
};

void client_compose(struct bytes *bytes, const struct client_address *address, const struct client_request *request);
struct client_reply *client_call(const struct client_address *address, const struct client_request *request);

/* The first value of a field, NULL without it. */
const char *client_field(const struct client_reply *reply, const char *name);
size_t client_field_count(const struct client_reply *reply, const char *name);

/* The value at a dotted path ("response.headers.x-one.0"), borrowed; NULL when there is none. "" is the value itself. */
json_t *json_at(const json_t *json, const char *path);
const char *json_text_at(const json_t *json, const char *path);
json_int_t json_int_at(const json_t *json, const char *path);
bool json_true_at(const json_t *json, const char *path);

#endif
