/*
 * See url.h. Two readers that disagree about where a URL leads are how a guard is walked around (the one that checks
 * sees one host, the one that connects another). So there is one path to a struct url:
 *
 *   1. prechecks refuse what readers are known to disagree about: blanks, controls, backslashes, userinfo, any number
 *      of slashes but two, percent-escapes in the host;
 *   2. the host is brought into its one form here: UTS #46 by libidn2, then IPv4 spellings, then IPv6 text;
 *   3. libcurl's parser, the one that the fetch itself goes through, reads the result and must find that very scheme,
 *      host and port in it; path and query are taken as it gives them (dot segments removed, RFC 3986, section 5.2.4);
 *   4. what was put together from its parts is read again and must come out unchanged.
 */
#include "fetch/url.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <errno.h>
#include <idn2.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/buffer.h"
#include "base/text.h"
#include "fetch/host_name.h"

#define URL_MAX_BYTES 16384
#define HOST_TEXT_BYTES 256 /* 253 characters, or an address in brackets, and a NUL */

/* The authority of a URL that passed the prechecks; host is as given, not terminated. */
struct pieces {
	const char *scheme; /* a constant */
	const char *host, *rest;
	size_t host_bytes;
	int port;
};

static int
refuse(const char **ret_why, const char *why)
{
	*ret_why = why;
	return -EINVAL;
}

static int
default_port(const char *scheme)
{
	return strcmp(scheme, "https") == 0 ? 443 : 80;
}

/* ---- prechecks */

static int
check_bytes(const char *text, const char **ret_why)
{
	size_t bytes = strnlen(text, URL_MAX_BYTES + 1);

	if (bytes > URL_MAX_BYTES)
		return refuse(ret_why, "the URL is longer than 16 KiB");
	for (size_t i = 0; i < bytes; i++) {
		unsigned char c = (unsigned char)text[i];
		if (c <= 0x20 || c == 0x7f)
			return refuse(ret_why, "the URL holds a blank or a control character; percent-encode it");
		if (c == '\\')
			return refuse(ret_why, "the URL holds a backslash; percent-encode it as %5C or use a slash");
	}
	return 0;
}

/* Digits from 1 to 65535; empty stands for the default, as it does for browsers and curl. */
static int
read_port(const char *text, size_t length, const char *scheme, int *ret)
{
	int port = 0;

	if (length == 0) {
		*ret = default_port(scheme);
		return 0;
	}
	for (size_t i = 0; i < length; i++) {
		if (text[i] < '0' || text[i] > '9')
			return -EINVAL;
		port = port * 10 + (text[i] - '0');
		if (port > 65535)
			return -EINVAL;
	}
	if (port == 0)
		return -EINVAL;
	*ret = port;
	return 0;
}

/* Takes HOST[:PORT] or [ADDRESS][:PORT] apart. */
static int
split_authority(const char *authority, size_t length, struct pieces *pieces, const char **ret_why)
{
	const char *end = authority + length, *colon;

	if (memchr(authority, '@', length) != NULL)
		return refuse(ret_why, "the URL holds a user or password; use auth instead");
	if (length > 0 && authority[0] == '[') {
		const char *bracket = memchr(authority, ']', length);
		if (bracket == NULL || (bracket + 1 < end && bracket[1] != ':'))
			return refuse(ret_why, "the URL's IPv6 address is broken; write it as [2001:db8::1]");
		colon = bracket + 1 < end ? bracket + 1 : NULL;
	} else {
		colon = memchr(authority, ':', length);
	}
	pieces->host = authority;
	pieces->host_bytes = colon != NULL ? (size_t)(colon - authority) : length;
	if (pieces->host_bytes == 0)
		return refuse(ret_why, "the URL has no host");
	const char *port = colon != NULL ? colon + 1 : end;
	if (read_port(port, (size_t)(end - port), pieces->scheme, &pieces->port) != 0)
		return refuse(ret_why, "the URL's port is no number from 1 to 65535");
	return 0;
}

static int
split(const char *text, struct pieces *ret, const char **ret_why)
{
	struct pieces pieces = {.scheme = "http"};
	const char *authority = text + strlen("http://");

	if (text_prefix_nocase(text, "https://")) {
		pieces.scheme = "https";
		authority = text + strlen("https://");
	} else if (!text_prefix_nocase(text, "http://")) {
		return refuse(ret_why, "the URL does not begin with http:// or https://");
	}
	if (*authority == '/')
		return refuse(ret_why, "the URL has more than two slashes after its scheme");
	size_t length = strcspn(authority, "/?#");
	int error = split_authority(authority, length, &pieces, ret_why);
	if (error != 0)
		return error;
	pieces.rest = authority + length;
	*ret = pieces;
	return 0;
}

/* ---- the host */

/* [ADDRESS], without a zone: that one means something on one machine only (RFC 6874). */
static int
read_bracketed(const char *text, size_t length, char ret[HOST_TEXT_BYTES], const char **ret_why)
{
	char inner[INET6_ADDRSTRLEN];
	struct in6_addr address;

	if (memchr(text, '%', length) != NULL)
		return refuse(ret_why, "the URL's IPv6 address has a zone id, which cannot be fetched");
	if (length - 2 >= sizeof inner)
		return refuse(ret_why, "the URL's IPv6 address is broken");
	memcpy(inner, text + 1, length - 2);
	inner[length - 2] = '\0';
	if (inet_pton(AF_INET6, inner, &address) != 1)
		return refuse(ret_why, "the URL's IPv6 address is broken");
	ret[0] = '[';
	inet_ntop(AF_INET6, &address, ret + 1, INET6_ADDRSTRLEN);
	strcat(ret, "]");
	return 0;
}

/*
 * UTS #46, nontransitional as browsers and IDNA 2008 have it. It also maps full-width digits and ideographic full
 * stops, so that numbers and dots are looked for in its result alone.
 */
static int
to_ascii(const char *host, char **ret, const char **ret_why)
{
	int error = idn2_to_ascii_8z(host, ret, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);

	if (error == IDN2_MALLOC)
		return -ENOMEM;
	if (error != IDN2_OK)
		return refuse(ret_why, "the URL's host is no valid internationalized name");
	return 0;
}

/* The host in ASCII, lower case, and without its trailing dot; owned by the caller. */
static int
read_name(const char *text, size_t length, char **ret, const char **ret_why)
{
	char *host = strndup(text, length), *ascii = NULL;
	bool foreign = false;
	int error = 0;

	if (host == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < length; i++)
		foreign |= (unsigned char)host[i] >= 0x80;
	if (foreign) {
		error = utf8_valid(host, length) ? to_ascii(host, &ascii, ret_why)
						 : refuse(ret_why, "the URL's host is not valid UTF-8");
		free(host);
		host = error == 0 ? strdup(ascii) : NULL;
		idn2_free(ascii);
		if (host == NULL)
			return error != 0 ? error : -ENOMEM;
		length = strlen(host);
	}
	ascii_lower_string(host);
	if (length > 0 && host[length - 1] == '.')
		host[length - 1] = '\0';
	*ret = host;
	return 0;
}

/*
 * Decimal, octal, hexadecimal and short spellings, as inet_aton reads them, and so everything else that connects; by
 * the C library's word, a blank may follow it, but none gets here. False when it is no address.
 */
static bool
spells_ipv4(const char *host, char ret[HOST_TEXT_BYTES])
{
	struct in_addr address;

	if (host[0] < '0' || host[0] > '9' || inet_aton(host, &address) == 0)
		return false;
	return inet_ntop(AF_INET, &address, ret, HOST_TEXT_BYTES) != NULL;
}

/* The one form of a host, with brackets around an IPv6 address. */
static int
read_host(const struct pieces *pieces, char ret[HOST_TEXT_BYTES], const char **ret_why)
{
	char *name;

	if (pieces->host[0] == '[')
		return read_bracketed(pieces->host, pieces->host_bytes, ret, ret_why);
	if (memchr(pieces->host, '%', pieces->host_bytes) != NULL)
		return refuse(ret_why, "the URL's host holds a percent-escape; write it plainly");
	int error = read_name(pieces->host, pieces->host_bytes, &name, ret_why);
	if (error != 0)
		return error;
	if (!spells_ipv4(name, ret)) {
		const char *problem = host_name_problem(name);
		if (problem != NULL)
			error = refuse(ret_why, problem);
		else
			memcpy(ret, name, strlen(name) + 1);
	}
	free(name);
	return error;
}

/* ---- libcurl's reading */

/* What libcurl finds in a URL. */
struct parts {
	char *scheme, *host, *port, *path, *query; /* query: NULL for none */
};

static void
parts_release(struct parts *parts)
{
	curl_free(parts->scheme);
	curl_free(parts->host);
	curl_free(parts->port);
	curl_free(parts->path);
	curl_free(parts->query);
}

static CURLUcode
read_parts(CURLU *handle, const char *text, struct parts *parts)
{
	CURLUcode code = curl_url_set(handle, CURLUPART_URL, text, CURLU_DISALLOW_USER);

	if (code == CURLUE_OK)
		code = curl_url_get(handle, CURLUPART_SCHEME, &parts->scheme, 0);
	if (code == CURLUE_OK)
		code = curl_url_get(handle, CURLUPART_HOST, &parts->host, 0);
	if (code == CURLUE_OK)
		code = curl_url_get(handle, CURLUPART_PORT, &parts->port, CURLU_DEFAULT_PORT);
	if (code == CURLUE_OK)
		code = curl_url_get(handle, CURLUPART_PATH, &parts->path, 0);
	if (code == CURLUE_OK) {
		code = curl_url_get(handle, CURLUPART_QUERY, &parts->query, 0);
		if (code == CURLUE_NO_QUERY)
			code = CURLUE_OK;
	}
	return code;
}

static void
append_origin(struct buffer *buffer, const struct pieces *pieces, const char *host)
{
	buffer_printf(buffer, "%s://%s", pieces->scheme, host);
	if (pieces->port != default_port(pieces->scheme))
		buffer_printf(buffer, ":%d", pieces->port);
}

/* Reads text through libcurl, which must see the origin that we saw; gives what it makes of it, owned by the caller. */
static int
through_curl(const char *text, const struct pieces *pieces, const char *host, char **ret, const char **ret_why)
{
	struct buffer buffer = {0};
	struct parts parts = {0};
	uint64_t port = 0;
	CURLU *handle = curl_url();
	CURLUcode code = handle == NULL ? CURLUE_OUT_OF_MEMORY : read_parts(handle, text, &parts);
	int error = 0;

	if (code == CURLUE_OUT_OF_MEMORY)
		error = -ENOMEM;
	else if (code != CURLUE_OK)
		error = refuse(ret_why, "the URL is malformed");
	else if (strcmp(parts.scheme, pieces->scheme) != 0 || strcmp(parts.host, host) != 0 ||
		text_to_uint64(parts.port, &port) != 0 || port != (uint64_t)pieces->port)
		error = refuse(ret_why, "the URL can be read in more than one way");
	if (error == 0) {
		append_origin(&buffer, pieces, host);
		buffer_append_string(&buffer, parts.path);
		if (parts.query != NULL)
			buffer_printf(&buffer, "?%s", parts.query);
		*ret = buffer_steal(&buffer);
		if (*ret == NULL)
			error = -ENOMEM;
	}
	parts_release(&parts);
	curl_url_cleanup(handle);
	return error;
}

/* ---- putting it together */

/* Path and query up to the fragment, bytes above 0x7f as %XX (RFC 3986, section 2.1), all else as given. */
static void
append_rest(struct buffer *buffer, const char *rest)
{
	size_t length = strcspn(rest, "#");

	if (rest[0] != '/')
		buffer_append_char(buffer, '/');
	for (size_t i = 0; i < length; i++) {
		unsigned char c = (unsigned char)rest[i];
		if (c >= 0x80)
			buffer_printf(buffer, "%%%02X", c);
		else
			buffer_append_char(buffer, rest[i]);
	}
}

/* The canonical text, owned by the caller. */
static int
canonical_text(const struct pieces *pieces, const char *host, char **ret, const char **ret_why)
{
	struct buffer buffer = {0};
	char *first = NULL, *second = NULL;
	int error;

	append_origin(&buffer, pieces, host);
	append_rest(&buffer, pieces->rest);
	char *plain = buffer_steal(&buffer);
	if (plain == NULL)
		return -ENOMEM;
	error = through_curl(plain, pieces, host, &first, ret_why);
	if (error == 0 && strcmp(plain, first) != 0) {
		error = through_curl(first, pieces, host, &second, ret_why);
		if (error == 0 && strcmp(first, second) != 0)
			error = refuse(ret_why, "the URL can be read in more than one way");
	}
	free(plain);
	free(second);
	if (error != 0)
		free(first);
	else
		*ret = first;
	return error;
}

static int
fill(struct arena *arena, const struct pieces *pieces, const char *host, const char *text, struct url *ret)
{
	size_t bracket = host[0] == '[';
	struct url url = {
		.text = arena_string(arena, text),
		.origin = {.scheme = arena_string(arena, pieces->scheme),
			.host = arena_copy(arena, host + bracket, strlen(host) - 2 * bracket),
			.port = pieces->port},
	};

	if (url.text == NULL || url.origin.scheme == NULL || url.origin.host == NULL)
		return -ENOMEM;
	*ret = url;
	return 0;
}

int
url_parse(struct arena *arena, const char *text, struct url *ret, const char **ret_why)
{
	struct pieces pieces;
	char host[HOST_TEXT_BYTES], *canonical = NULL;
	int error = check_bytes(text, ret_why);

	if (error == 0)
		error = split(text, &pieces, ret_why);
	if (error == 0)
		error = read_host(&pieces, host, ret_why);
	if (error == 0)
		error = canonical_text(&pieces, host, &canonical, ret_why);
	if (error == 0 && strlen(canonical) > URL_MAX_BYTES)
		error = refuse(ret_why, "the URL is longer than 16 KiB once its bytes are percent-encoded");
	if (error == 0)
		error = fill(arena, &pieces, host, canonical, ret);
	free(canonical);
	return error;
}

/* ---- relative references */

/* scheme ":" (RFC 3986, section 3.1) */
static bool
has_scheme(const char *text)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
	size_t length = strspn(text, letters);

	if (length == 0)
		return false;
	while (text[length] != '\0' && (strchr(letters, text[length]) != NULL || strchr("0123456789+-.", text[length])))
		length++;
	return text[length] == ':';
}

/* How much of the base stays before a reference (RFC 3986, section 5.2.2). base: canonical, so it has a path. */
static size_t
kept_of_base(const char *base, const char *reference)
{
	size_t scheme = strcspn(base, ":") + 1, path, query;

	if (has_scheme(reference))
		return 0;
	if (reference[0] == '/' && reference[1] == '/')
		return scheme;
	path = scheme + 2;
	path += strcspn(base + path, "/?");
	if (reference[0] == '/')
		return path;
	query = path + strcspn(base + path, "?");
	if (reference[0] == '?')
		return query;
	if (reference[0] == '\0' || reference[0] == '#')
		return strlen(base);
	while (query > path && base[query - 1] != '/')
		query--;
	return query;
}

/* Blanks around are no part of a field's value; those within are sent by servers that meant %20, so curl reads them. */
static void
append_reference(struct buffer *buffer, const char *reference)
{
	size_t length = strlen(reference);

	while (length > 0 && (reference[length - 1] == ' ' || reference[length - 1] == '\t'))
		length--;
	for (size_t i = 0; i < length; i++) {
		if (reference[i] == ' ')
			buffer_append_string(buffer, "%20");
		else
			buffer_append_char(buffer, reference[i]);
	}
}

int
url_resolve(struct arena *arena, const char *base, const char *location, struct url *ret, const char **ret_why)
{
	struct buffer buffer = {0};

	location += strspn(location, " \t");
	if (strnlen(base, URL_MAX_BYTES + 1) > URL_MAX_BYTES || strnlen(location, URL_MAX_BYTES + 1) > URL_MAX_BYTES)
		return refuse(ret_why, "the URL is longer than 16 KiB");
	if (strstr(base, "://") == NULL)
		return refuse(ret_why, "the URL to start from is not absolute");
	buffer_append(&buffer, base, kept_of_base(base, location));
	append_reference(&buffer, location);
	char *text = buffer_steal(&buffer);
	if (text == NULL)
		return -ENOMEM;
	int error = url_parse(arena, text, ret, ret_why);
	free(text);
	return error;
}

bool
origin_name_equal(const struct origin_name *a, const struct origin_name *b)
{
	return a->port == b->port && strcmp(a->scheme, b->scheme) == 0 && strcmp(a->host, b->host) == 0;
}
