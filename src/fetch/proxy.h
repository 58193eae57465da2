/*
 * Proxies: what --proxy NAME=URL says, and how a hop goes through one. The target stays the guard's: fetchpool looks its
 * name up and vets every address as ever, and asks the proxy for one of those addresses, never for the name (but for
 * --proxy-resolves). Always by a tunnel (CONNECT, SOCKS5's CONNECT), for http targets too, so that the proxy is asked for an
 * address and port and nothing else. The proxy itself was chosen by the operator and is not judged by the guard; but it
 * is looked up by our resolver, and its addresses are pinned like a target's.
 */
#ifndef FETCHPOOL_FETCH_PROXY_H
#define FETCHPOOL_FETCH_PROXY_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>

#include "fetch/address.h"

enum proxy_kind { PROXY_HTTP, PROXY_HTTPS, PROXY_SOCKS5 };

struct proxy {
	char *name;
	char *url; /* as given, with its password: for comparing alone */
	enum proxy_kind kind;
	char *host; /* lower case, an IPv6 address without brackets */
	int port;
	char *user, *password; /* NULL: none */
	bool resolves;         /* it is given names, not addresses */
	unsigned id;           /* above 0; another one whenever the URL is another */
};

/*
 * Reads NAME=URL. Returns NULL and fills *ret (proxy_release it), or what is wrong: a constant without anything of the
 * value, which may hold a password. *ret_no_memory is set when it was that.
 */
const char *proxy_parse(const char *text, struct proxy *ret, bool *ret_no_memory);
void proxy_release(struct proxy *proxy);

/* Where a hop goes by a proxy. */
struct proxy_hop {
	const struct proxy *proxy;
	const struct address *proxy_addresses; /* as looked up */
	size_t proxy_count;
	const struct address *target; /* vetted; NULL: the proxy gets the name */
	int port;                     /* of the target */
};

/*
 * Sets the easy handle up. Appends to lists that the caller frees after the hop: *resolve (CURLOPT_RESOLVE) and
 * *connect_to (CURLOPT_CONNECT_TO), and sets them. Returns 0 or -ENOMEM.
 */
int proxy_prepare(CURL *easy, const struct proxy_hop *hop, struct curl_slist **resolve, struct curl_slist **connect_to)
	__attribute__((warn_unused_result));

/* True when a socket may be opened to there: it is the proxy. */
bool proxy_is_at(const struct proxy_hop *hop, const struct endpoint *to);

/*
 * Why the hop did not come as far as the origin, as a line for the client that names the proxy by its NAME. *ret_elsewhere
 * is set when the proxy could not reach this target, and may reach it at another address.
 */
void proxy_explain(CURL *easy, const struct proxy *proxy, CURLcode result, const char *curl_error, char *ret_text,
	size_t size, bool *ret_elsewhere);

#endif
