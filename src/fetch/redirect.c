/* See redirect.h. */
#include "fetch/redirect.h"

#include <stddef.h>
#include <string.h>

#include "base/text.h"

bool
redirect_followed(int status)
{
	return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

bool
redirect_turns_to_get(int status, const char *method)
{
	if (status == 303)
		return strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0;
	return (status == 301 || status == 302) && strcmp(method, "POST") == 0;
}

bool
redirect_body_field(const char *name)
{
	static const char *const names[] = {"content-type", "content-encoding", "content-language", "content-location"};

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (text_equal_nocase(name, names[i]))
			return true;
	return false;
}
