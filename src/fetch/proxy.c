/*
 * See proxy.h. What libcurl (7.88) does with the options, as its source has it:
 *
 * - CURLOPT_CONNECT_TO with a proxy is what the proxy is asked for (CONNECT's target, SOCKS5's destination); Host, SNI and
 *   the certificate's name stay the URL's. SOCKS5 sends an address as one only when libcurl "resolves" it itself, which
 *   for an address is no look-up; CURLPROXY_SOCKS5_HOSTNAME would spell an IPv6 address of a named host out as a name.
 * - Connections are reused by what they were asked for, the proxy's kind, host name and port, and for SOCKS5 its user; an
 *   HTTP proxy's user is not compared. So a proxy gets a host name that is its alone, pinned to its addresses. A proxy over
 *   TLS needs its own name, for its certificate; there the TLS settings are made to differ (tls.h).
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "fetch/proxy.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/host_text.h"
#include "base/text.h"
#include "fetch/host_name.h"

#define NAME_MAX_BYTES 64
#define SECRET_MAX_BYTES 255 /* RFC 1929: a length is one byte */

/* ---- NAME=URL */

static const struct {
	const char *scheme;
	enum proxy_kind kind;
} kinds[] = {
	{"http://", PROXY_HTTP},
	{"https://", PROXY_HTTPS},
	{"socks5h://", PROXY_SOCKS5},
};

/* Takes %XX off in place; false for a broken one, or one that gives a control character. */
static bool
unescape(char *text)
{
	char *to = text;

	for (const char *from = text; *from != '\0'; from++, to++) {
		*to = *from;
		if (*from == '%') {
			if (strlen(from) < 3 || hex_decode(from + 1, 1, to) != 0)
				return false;
			from += 2;
		}
		if ((unsigned char)*to < 0x20 || *to == 0x7f)
			return false;
	}
	*to = '\0';
	return strlen(text) <= SECRET_MAX_BYTES;
}

/* Reads USER or USER:PASSWORD. */
static const char *
parse_user(const char *text, size_t length, struct proxy *ret, bool *ret_no_memory)
{
	const char *colon = memchr(text, ':', length);
	size_t user_length = colon != NULL ? (size_t)(colon - text) : length;

	ret->user = strndup(text, user_length);
	ret->password = strndup(colon != NULL ? colon + 1 : "", colon != NULL ? length - user_length - 1 : 0);
	if (ret->user == NULL || ret->password == NULL) {
		*ret_no_memory = true;
		return "out of memory";
	}
	if (!unescape(ret->user) || !unescape(ret->password) || *ret->user == '\0' || strchr(ret->user, ':') != NULL)
		return "the user or the password in the URL is empty, over 255 bytes, or has a broken %XX";
	return NULL;
}

/* Reads HOST:PORT. */
static const char *
parse_place(const char *text, size_t length, struct proxy *ret, bool *ret_no_memory)
{
	char host[HOST_TEXT_BYTES], port[PORT_TEXT_BYTES];
	struct address literal;
	bool has_port;

	if (!host_text_split(text, length, host, port, &has_port))
		return "the URL's host or port is too long";
	if (!has_port || !host_text_parse_port(port, 1, &ret->port))
		return "the URL lacks its port, 1 to 65535 (try NAME=http://proxy.example:3128)";
	ascii_lower_string(host);
	if (!host_text_plain_ipv6(host) && address_parse(host, &literal) != 0 && host_name_problem(host) != NULL)
		return "the URL's host is neither a name nor an address (an IPv6 address stands in brackets)";
	ret->host = strdup(host);
	*ret_no_memory = ret->host == NULL;
	return ret->host == NULL ? "out of memory" : NULL;
}

static const char *
parse_url(const char *text, struct proxy *ret, bool *ret_no_memory)
{
	size_t i = 0, count = sizeof kinds / sizeof *kinds;

	while (i < count && !text_prefix_nocase(text, kinds[i].scheme))
		i++;
	if (i == count)
		return "the URL is not http://, https:// or socks5h://";
	ret->kind = kinds[i].kind;
	text += strlen(kinds[i].scheme);
	size_t length = strcspn(text, "/?#");
	if (text[length] != '\0' && strcmp(text + length, "/") != 0)
		return "the URL has more than a host and a port (write / ? # in a user or password as %2F %3F %23)";
	for (size_t at = length; at > 0; at--) {
		if (text[at - 1] != '@')
			continue;
		const char *why = parse_user(text, at - 1, ret, ret_no_memory);
		return why != NULL ? why : parse_place(text + at, length - at, ret, ret_no_memory);
	}
	return parse_place(text, length, ret, ret_no_memory);
}

const char *
proxy_parse(const char *text, struct proxy *ret, bool *ret_no_memory)
{
	static atomic_uint last_id;
	const char *equal = strchr(text, '=');
	struct proxy proxy = {0};

	*ret_no_memory = false;
	size_t length = equal != NULL ? (size_t)(equal - text) : 0;
	if (length == 0 || length > NAME_MAX_BYTES || !text_is_token(text, length))
		return "this is not NAME=URL (try corp=http://proxy.example:3128)";
	proxy.name = strndup(text, length);
	proxy.url = strdup(equal + 1);
	*ret_no_memory = proxy.name == NULL || proxy.url == NULL;
	const char *why = *ret_no_memory ? "out of memory" : parse_url(equal + 1, &proxy, ret_no_memory);
	if (why != NULL) {
		proxy_release(&proxy);
		return why;
	}
	proxy.id = atomic_fetch_add(&last_id, 1) + 1;
	*ret = proxy;
	return NULL;
}

static void
forget(char *secret)
{
	if (secret != NULL)
		explicit_bzero(secret, strlen(secret));
	free(secret);
}

void
proxy_release(struct proxy *proxy)
{
	free(proxy->name);
	free(proxy->host);
	forget(proxy->url);
	forget(proxy->user);
	forget(proxy->password);
}

/* ---- a hop */

static bool
append(struct curl_slist **list, struct buffer *line)
{
	char *text = buffer_steal(line);
	struct curl_slist *longer = text == NULL ? NULL : curl_slist_append(*list, text);

	free(text);
	if (longer == NULL)
		return false;
	*list = longer;
	return true;
}

static void
put_address(struct buffer *line, const struct address *address)
{
	char text[ADDRESS_TEXT_BYTES];

	address_format(address, text);
	buffer_printf(line, address->family == 6 ? "[%s]" : "%s", text);
}

/* The name that libcurl knows the proxy by. */
static void
put_host(struct buffer *text, const struct proxy *proxy)
{
	struct address literal;

	if (proxy->kind != PROXY_HTTPS)
		buffer_printf(text, "proxy-%u.invalid", proxy->id);
	else if (address_parse(proxy->host, &literal) == 0)
		put_address(text, &literal);
	else
		buffer_append_string(text, proxy->host);
}

/* A proxy over TLS that is an address needs no pin; and of an IPv6 one libcurl 7.88 could not read it. */
static bool
pin(const struct proxy_hop *hop, struct curl_slist **resolve)
{
	struct buffer line = {0};
	struct address literal;

	if (hop->proxy->kind == PROXY_HTTPS && address_parse(hop->proxy->host, &literal) == 0)
		return true;
	buffer_append_char(&line, '+');
	put_host(&line, hop->proxy);
	buffer_printf(&line, ":%d:", hop->proxy->port);
	for (size_t i = 0; i < hop->proxy_count; i++) {
		if (i > 0)
			buffer_append_char(&line, ',');
		put_address(&line, &hop->proxy_addresses[i]);
	}
	return append(resolve, &line);
}

static bool
aim(const struct proxy_hop *hop, struct curl_slist **connect_to)
{
	struct buffer line = {0};

	if (hop->target == NULL)
		return true;
	buffer_append_string(&line, "::"); /* whatever the URL's host and port */
	put_address(&line, hop->target);
	buffer_printf(&line, ":%d", hop->port);
	return append(connect_to, &line);
}

static long
type_of(const struct proxy_hop *hop)
{
	if (hop->proxy->kind == PROXY_SOCKS5)
		return hop->target != NULL ? CURLPROXY_SOCKS5 : CURLPROXY_SOCKS5_HOSTNAME;
	return hop->proxy->kind == PROXY_HTTPS ? CURLPROXY_HTTPS : CURLPROXY_HTTP;
}

int
proxy_prepare(CURL *easy, const struct proxy_hop *hop, struct curl_slist **resolve, struct curl_slist **connect_to)
{
	const struct proxy *proxy = hop->proxy;
	struct buffer host = {0};

	put_host(&host, proxy);
	char *name = buffer_steal(&host);
	if (name == NULL || !pin(hop, resolve) || !aim(hop, connect_to)) {
		free(name);
		return -1;
	}
	CURLcode set = curl_easy_setopt(easy, CURLOPT_PROXY, name);
	free(name);
	curl_easy_setopt(easy, CURLOPT_NOPROXY, "");
	curl_easy_setopt(easy, CURLOPT_PROXYTYPE, type_of(hop));
	curl_easy_setopt(easy, CURLOPT_PROXYPORT, (long)proxy->port);
	curl_easy_setopt(easy, CURLOPT_HTTPPROXYTUNNEL, 1L);
	curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	curl_easy_setopt(easy, CURLOPT_HEADEROPT, (long)CURLHEADER_SEPARATE); /* ours are for the origin alone */
	curl_easy_setopt(easy, CURLOPT_PROXYAUTH, (long)CURLAUTH_BASIC);
	curl_easy_setopt(easy, CURLOPT_SOCKS5_AUTH, (long)CURLAUTH_BASIC);
	if (set == CURLE_OK && proxy->user != NULL)
		set = curl_easy_setopt(easy, CURLOPT_PROXYUSERNAME, proxy->user);
	if (set == CURLE_OK && proxy->user != NULL)
		set = curl_easy_setopt(easy, CURLOPT_PROXYPASSWORD, proxy->password);
	if (set == CURLE_OK)
		set = curl_easy_setopt(easy, CURLOPT_RESOLVE, *resolve);
	if (set == CURLE_OK && *connect_to != NULL)
		set = curl_easy_setopt(easy, CURLOPT_CONNECT_TO, *connect_to);
	return set == CURLE_OK ? 0 : -1;
}

bool
proxy_is_at(const struct proxy_hop *hop, const struct endpoint *to)
{
	if (to->port != hop->proxy->port)
		return false;
	for (size_t i = 0; i < hop->proxy_count; i++)
		if (address_equal(&hop->proxy_addresses[i], &to->address))
			return true;
	return false;
}

/* ---- why not */

/* The SOCKS5 replies (RFC 1928, section 6) that are about the target. */
static bool
is_about_target(CURLproxycode code)
{
	switch (code) {
	case CURLPX_REPLY_GENERAL_SERVER_FAILURE:
	case CURLPX_REPLY_NETWORK_UNREACHABLE:
	case CURLPX_REPLY_HOST_UNREACHABLE:
	case CURLPX_REPLY_CONNECTION_REFUSED:
	case CURLPX_REPLY_TTL_EXPIRED:
	case CURLPX_REPLY_ADDRESS_TYPE_NOT_SUPPORTED:
		return true;
	default:
		return false;
	}
}

static const char *
hint(long status)
{
	switch (status) {
	case 407:
		return ": it wants another user and password than it is configured with";
	case 403:
		return ": it does not allow this target";
	default:
		return "";
	}
}

void
proxy_explain(CURL *easy, const struct proxy *proxy, CURLcode result, const char *curl_error, char *ret_text,
	size_t size, bool *ret_elsewhere)
{
	long status = 0, code = CURLPX_OK, os_error = 0;

	curl_easy_getinfo(easy, CURLINFO_HTTP_CONNECTCODE, &status);
	curl_easy_getinfo(easy, CURLINFO_PROXY_ERROR, &code);
	curl_easy_getinfo(easy, CURLINFO_OS_ERRNO, &os_error);
	*ret_elsewhere =
		(status >= 500 && status <= 504) || (result == CURLE_PROXY && is_about_target((CURLproxycode)code));
	if (status != 0 && status / 100 != 2)
		snprintf(ret_text, size, "the proxy %s answered %ld to CONNECT%s", proxy->name, status, hint(status));
	else if (result == CURLE_COULDNT_CONNECT)
		snprintf(ret_text, size, "the proxy %s cannot be reached: %s", proxy->name,
			os_error != 0 ? strerror((int)os_error) : "no connection");
	else
		snprintf(ret_text, size, "the proxy %s: %s", proxy->name,
			*curl_error != '\0' ? curl_error : curl_easy_strerror(result));
}
