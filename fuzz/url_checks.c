/* See url_checks.h. */
#include "url_checks.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <curl/curl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "fuzz.h"

/* ---- the text */

static bool
is_name(const char *host)
{
	size_t length = strlen(host), label = 0;

	if (length == 0 || length > 253)
		return false;
	for (const char *c = host; *c != '\0'; c++) {
		if (*c == '.' ? label == 0
			      : !(islower((unsigned char)*c) || isdigit((unsigned char)*c) || *c == '-' || *c == '_'))
			return false;
		label = *c == '.' ? 0 : label + 1;
		if (label > 63)
			return false;
	}
	return label > 0;
}

/* As getaddrinfo reads it, which knows all spellings that a connect might; false when it is no address to it. */
static bool
system_reads(const char *host, struct sockaddr_storage *ret)
{
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST},
			*found;

	if (getaddrinfo(host, NULL, &hints, &found) != 0)
		return false;
	memset(ret, 0, sizeof *ret);
	memcpy(ret, found->ai_addr, found->ai_addrlen);
	freeaddrinfo(found);
	return true;
}

static void
check_host(const struct url *url)
{
	const char *host = url->origin.host;
	struct sockaddr_storage address;
	char text[INET6_ADDRSTRLEN] = "";

	if (!system_reads(host, &address)) {
		FUZZ_CHECK(is_name(host), "the host %s of %s is neither a name nor an address", host, url->text);
		return;
	}
	if (address.ss_family == AF_INET)
		inet_ntop(AF_INET, &((struct sockaddr_in *)(void *)&address)->sin_addr, text, sizeof text);
	else
		inet_ntop(AF_INET6, &((struct sockaddr_in6 *)(void *)&address)->sin6_addr, text, sizeof text);
	FUZZ_CHECK(strcmp(host, text) == 0, "the host %s is the address %s in another spelling", host, text);
}

/* The text as its parts, put together, make it; behind the origin follows a path. */
static void
check_text(const struct url *url)
{
	const struct origin_name *origin = &url->origin;
	bool https = strcmp(origin->scheme, "https") == 0, six = strchr(origin->host, ':') != NULL;
	char start[400], port[16] = "";

	FUZZ_CHECK(https || strcmp(origin->scheme, "http") == 0, "the scheme is %s", origin->scheme);
	FUZZ_CHECK(origin->port >= 1 && origin->port <= 65535, "the port is %d", origin->port);
	if (origin->port != (https ? 443 : 80))
		snprintf(port, sizeof port, ":%d", origin->port);
	snprintf(start, sizeof start, "%s://%s%s%s%s/", origin->scheme, six ? "[" : "", origin->host, six ? "]" : "",
		port);
	FUZZ_CHECK(strncmp(url->text, start, strlen(start)) == 0, "%s does not begin with %s", url->text, start);
	for (const char *c = url->text; *c != '\0'; c++)
		FUZZ_CHECK(*c > ' ' && *c < 0x7f && *c != '\\' && *c != '#', "%s holds byte %d", url->text, *c);
}

static void
check_fixed_point(const struct url *url)
{
	struct arena arena = {0};
	struct url again;
	const char *why = "";

	FUZZ_CHECK(url_parse(&arena, url->text, &again, &why) == 0, "the canonical %s is refused: %s", url->text, why);
	FUZZ_CHECK(strcmp(again.text, url->text) == 0, "the canonical %s becomes %s", url->text, again.text);
	FUZZ_CHECK(origin_name_equal(&again.origin, &url->origin), "%s has two origins", url->text);
	arena_release(&arena);
}

/* ---- libcurl */

#define FOLDED_BYTES 400 /* more than a host that is taken has */

static bool
curl_reads(CURLU *handle, const char *text, char **ret_host, char **ret_port)
{
	char *scheme = NULL;
	bool ok = curl_url_set(handle, CURLUPART_URL, text, 0) == CURLUE_OK &&
		curl_url_get(handle, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
		(strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0) &&
		curl_url_get(handle, CURLUPART_HOST, ret_host, 0) == CURLUE_OK &&
		curl_url_get(handle, CURLUPART_PORT, ret_port, CURLU_DEFAULT_PORT) == CURLUE_OK;

	curl_free(scheme);
	return ok;
}

/* A host of libcurl's as the server's: lower case, an address in its usual form, no brackets, no dot at the end. */
static void
fold(const char *host, char ret[FOLDED_BYTES])
{
	size_t length = strlen(host);
	uint8_t address[sizeof(struct in6_addr)];
	struct in_addr four;

	snprintf(ret, FOLDED_BYTES, "%s", host + (host[0] == '['));
	for (char *c = ret; *c != '\0'; c++)
		*c = (char)tolower((unsigned char)*c);
	ret[strcspn(ret, "]")] = '\0';
	if (length > 1 && length < FOLDED_BYTES && ret[length - 1] == '.')
		ret[length - 1] = '\0';
	if (host[0] == '[' && inet_pton(AF_INET6, ret, address) == 1)
		inet_ntop(AF_INET6, address, ret, FOLDED_BYTES);
	else if (isdigit((unsigned char)ret[0]) && inet_aton(ret, &four) != 0) /* libcurl keeps "10." */
		inet_ntop(AF_INET, &four, ret, FOLDED_BYTES);
}

/* True when libcurl takes the text; then it has to lead to the same place. */
static bool
same_for_curl(const char *text, const struct url *url)
{
	char *host = NULL, *port = NULL;
	CURLU *handle = curl_url();
	bool taken;

	FUZZ_CHECK(handle != NULL, "no memory");
	if ((taken = curl_reads(handle, text, &host, &port))) {
		char folded[FOLDED_BYTES];

		fold(host, folded);
		FUZZ_CHECK(strcmp(folded, url->origin.host) == 0, "of %s we read the host %s, libcurl %s", text,
			url->origin.host, folded);
		FUZZ_CHECK(atoi(port) == url->origin.port, "of %s we read the port %d, libcurl %s", text,
			url->origin.port, port);
	}
	curl_free(host);
	curl_free(port);
	curl_url_cleanup(handle);
	return taken;
}

/* ---- for the targets */

void
check_url(const struct url *url)
{
	check_text(url);
	check_host(url);
	check_fixed_point(url);
	FUZZ_CHECK(same_for_curl(url->text, url), "libcurl refuses the canonical %s", url->text);
}

void
check_same_for_curl(const char *given, const struct url *url)
{
	for (const char *c = given; *c != '\0'; c++)
		if ((unsigned char)*c >= 0x80)
			return; /* libcurl gives such a host back as it came */
	same_for_curl(given, url);
}

void
check_location(const struct url *base, const char *location)
{
	struct arena arena = {0};
	struct url url;
	const char *why, *start = location + strspn(location, " \t");
	size_t scheme = strcspn(start, ":/?#");

	if (url_resolve(&arena, base->text, location, &url, &why) == 0) {
		check_url(&url);
		if (start[scheme] != ':' && strncmp(start, "//", 2) != 0)
			FUZZ_CHECK(origin_name_equal(&url.origin, &base->origin), "the Location %s leads from %s to %s",
				location, base->text, url.text);
	}
	arena_release(&arena);
}
