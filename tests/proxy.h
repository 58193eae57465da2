/*
 * A scripted proxy on 127.0.0.1, of HTTP's CONNECT or of SOCKS5. It notes what it was asked for, and connects to where the test says (or as asked for), since the addresses that a test asks for are mostly
 * not there.
 */
#ifndef TESTS_PROXY_H
#define TESTS_PROXY_H

#include <stdbool.h>
#include <stddef.h>

struct proxy_options {
	bool socks;           /* SOCKS5 */
	unsigned to_port;     /* where tunnels lead, on 127.0.0.1; 0: to the port that was asked for */
	int status;           /* of CONNECT's answer; 0: 200, and a tunnel */
	int socks_reply;      /* of SOCKS5's answer; 0: succeeded, and a tunnel */
	const char *user;     /* wanted, "user:password"; NULL: nobody is asked */
	const char *bad_host; /* what it is asked for with this host gets the status or reply; NULL: everything does */
	const char *head;     /* more lines of CONNECT's answer, each ended by CRLF; NULL: none */
	bool silent;          /* takes connections and never answers */
	bool tls;             /* spoken to over TLS, with a certificate of its own CA to localhost and 127.0.0.1 */
};

/* What one connection asked for. */
struct proxy_request {
	int address_type; /* SOCKS5's: 1 IPv4, 3 name, 4 IPv6 */
	char host[300];
	unsigned port;
	char head[4000]; /* all of CONNECT's request */
	char user[100];  /* "user:password" as given, "" for none */
	bool tunnelled;
};

struct proxy;

struct proxy *proxy_start(const struct proxy_options *options);
void proxy_stop(struct proxy *proxy);
unsigned proxy_port(const struct proxy *proxy);
/* PEM of the CA, with tls. */
const char *proxy_ca(const struct proxy *proxy);

/* How many connections came, and how many requests were read; the nth of these (from 0). */
size_t proxy_connections(struct proxy *proxy);
size_t proxy_requests(struct proxy *proxy);
const struct proxy_request *proxy_request(struct proxy *proxy, size_t nth);

#endif
