/* See guard.h. */
#include "api/guard.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

/* Cuts ":port" off. False when what follows the host is no port. */
static bool
cut_port(char *host)
{
	char *colon = host[0] == '[' ? strchr(host, ']') : strchr(host, ':');

	if (colon == NULL)
		return host[0] != '[';
	if (*colon == ']')
		colon++;
	if (*colon == ':' && strspn(colon + 1, "0123456789") != strlen(colon + 1))
		return false;
	if (*colon != ':' && *colon != '\0')
		return false;
	*colon = '\0';
	return true;
}

static bool
is_literal(char *host)
{
	unsigned char bytes[16];
	size_t length = strlen(host);

	if (host[0] == '[' && host[length - 1] == ']') {
		host[length - 1] = '\0';
		return inet_pton(AF_INET6, host + 1, bytes) == 1;
	}
	return inet_pton(AF_INET, host, bytes) == 1;
}

bool
guard_host_allowed(const char *host, char *const *names, size_t count)
{
	char name[300];

	if (strlen(host) >= sizeof name)
		return false;
	strcpy(name, host);
	ascii_lower_string(name);
	if (*name == '\0' || !cut_port(name))
		return false;
	if (strcmp(name, "localhost") == 0)
		return true;
	for (size_t i = 0; i < count; i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return is_literal(name);
}

bool
guard_origin_allowed(const char *origin, const char *host, bool tls)
{
	const char *scheme = tls ? "https://" : "http://";
	size_t length = strlen(scheme);

	return strncmp(origin, scheme, length) == 0 && text_equal_nocase(origin + length, host);
}
