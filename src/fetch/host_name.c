/* See host_name.h. */
#include "fetch/host_name.h"

#include <string.h>

#include "base/text.h"

#define LABEL_MAX 63

/* The last label is a number, as the URL standard's "ends in a number" checker has it. */
static bool
ends_in_number(const char *label)
{
	if (label[strspn(label, "0123456789")] == '\0')
		return true;
	if (label[0] != '0' || (label[1] != 'x' && label[1] != 'X'))
		return false;
	return label[2 + strspn(label + 2, "0123456789abcdefABCDEF")] == '\0';
}

static bool
is_label_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

const char *
host_name_problem(const char *host)
{
	const char *label = host;

	if (*host == '\0')
		return "the host is empty";
	if (strlen(host) > HOST_NAME_MAX_BYTES)
		return "the host is longer than 253 characters";
	for (const char *at = host;; at++) {
		if (is_label_char(*at))
			continue;
		if (*at != '.' && *at != '\0')
			return "the host has a character that no host name has";
		if (at == label)
			return "the host has an empty label";
		if (at - label > LABEL_MAX)
			return "the host has a label longer than 63 characters";
		if (*at == '\0')
			break;
		label = at + 1;
	}
	return ends_in_number(label) ? "the host ends in a number but is no IPv4 address" : NULL;
}

void
host_name_fold(const char *host, char ret[HOST_NAME_MAX_BYTES + 1])
{
	size_t length = strlen(host);

	if (length > 0 && host[length - 1] == '.')
		length--;
	if (length > HOST_NAME_MAX_BYTES)
		length = 0;
	memcpy(ret, host, length);
	ret[length] = '\0';
	ascii_lower_string(ret);
}

bool
host_name_is_below(const char *host, const char *suffix)
{
	size_t length = strlen(host), tail = strlen(suffix);

	return length > tail + 1 && host[length - tail - 1] == '.' && strcmp(host + length - tail, suffix) == 0;
}
