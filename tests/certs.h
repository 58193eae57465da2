/*
 * Certificates for tests, made by GnuTLS when they are asked for: an authority, and servers' pairs below it, as PEM files
 * in the test's directory. All of them assert, and live until the test ends.
 */
#ifndef TESTS_CERTS_H
#define TESTS_CERTS_H

#include <stdbool.h>

enum cert_kind { CERT_EC, CERT_RSA };

struct cert_wish {
	const char *name;    /* of the files; written anew when they are there */
	enum cert_kind kind; /* of the key */
	const char *host;    /* a further name in it, beside localhost, 127.0.0.1 and ::1; NULL: none */
	bool intermediate;   /* it is signed by an authority below the first, which comes along in the file */
	bool reversed;       /* that one comes first in the file */
	bool expired;
};

struct cert_pair {
	const char *cert, *key; /* paths */
	char serial[41];        /* of the server's own, in hex */
};

/* The path of the authority's certificate, which clients are to trust. */
const char *cert_authority(void);
struct cert_pair cert_make(const struct cert_wish *wish);

#endif
