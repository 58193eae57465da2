/*
 * A scripted name server for the whole-daemon tests, on a free port of 127.0.0.1, UDP and TCP, with a thread of its own. It
 * answers by rules, honestly or not; a name that no rule fits does not exist.
 *
 *	static const struct name_rule rules[] = {
 *		{"rebinds.test", "93.184.216.34; 127.0.0.1", .ttl = 0},
 *		{"*.hole", .manner = NAME_SILENT},
 *	};
 */
#ifndef TESTS_NAME_SERVER_H
#define TESTS_NAME_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum name_manner {
	NAME_SILENT = 1 << 0,         /* no answer at all */
	NAME_WRONG_ID = 1 << 1,       /* to another question's number */
	NAME_OTHER_QUESTION = 1 << 2, /* repeats another question than was asked */
	NAME_NO_ANSWER_BIT = 1 << 3,  /* a question back, as it were */
	NAME_FOREIGN = 1 << 4,        /* the records belong to another name */
	NAME_CUT = 1 << 5,            /* the last 3 bytes are missing */
	NAME_LOOPED = 1 << 6,         /* the records' name points at itself */
	NAME_NOISE = 1 << 7,          /* random bytes behind the question */
	NAME_STRANGE_SIZE = 1 << 8,   /* addresses are 3 bytes long */
	NAME_TCP = 1 << 9,            /* over UDP just that it did not fit; over TCP the answer */
	NAME_TCP_SILENT = 1 << 10,    /* with NAME_TCP: no answer there */
	NAME_TCP_CUT = 1 << 11,       /* with NAME_TCP: half of the answer and the end */
	NAME_FAILS = 1 << 12,         /* SERVFAIL */
	NAME_REFUSED = 1 << 13,       /* REFUSED */
};

/*
 * answers: addresses, and "=NAME" for an alias, with blanks between; an alias is followed by the rules, and both go into
 * the answer. Steps are separated by ";": the nth question of a type for a name gets the nth step, later ones the last. "" or NULL: the
 * name exists, without addresses.
 */
struct name_rule {
	const char *name; /* in lower case; "*.test" fits every name below test. The first rule that fits counts */
	const char *answers;
	unsigned manner; /* an OR of enum name_manner */
	uint32_t ttl;    /* seconds */
	unsigned crowd;  /* so many public IPv4 addresses before the answers */
};

struct name_server;

/* The rules stay the caller's. NULL when there is no port. */
struct name_server *name_server_start(const struct name_rule *rules, size_t count);
void name_server_stop(struct name_server *server);

/* "127.0.0.1:PORT", as --dns-server wants it. */
const char *name_server_address(const struct name_server *server);

/* How many questions came: for IPv4 addresses (type 1) or IPv6 ones (28) of a name, or with a NULL name for any at all. */
size_t name_server_asked(struct name_server *server, const char *name, unsigned type);

#endif
