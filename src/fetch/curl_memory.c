/* See curl_memory.h. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "fetch/curl_memory.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/reserve.h"

static _Thread_local bool failed;

static void *
noted(void *memory)
{
	failed |= memory == NULL;
	return memory;
}

/* libcurl 7.88 crashes when some of its small allocations fail (one of the hash of a socket's transfers does): they are in reserve. */
#define SMALL_BYTES 1024

static void *
noted_malloc(size_t bytes)
{
	return noted(bytes <= SMALL_BYTES ? reserve_malloc(bytes) : malloc(bytes));
}

static void *
noted_realloc(void *memory, size_t bytes)
{
	return noted(reserve_realloc(memory, bytes));
}

static void *
noted_calloc(size_t count, size_t bytes)
{
	void *memory;

	if (bytes != 0 && count > SMALL_BYTES / bytes)
		return noted(calloc(count, bytes));
	memory = noted(reserve_malloc(count * bytes));
	return memory == NULL ? NULL : memset(memory, 0, count * bytes);
}

static char *
noted_strdup(const char *text)
{
	size_t bytes = strlen(text) + 1;
	char *copy = noted_malloc(bytes);

	return copy == NULL ? NULL : memcpy(copy, text, bytes);
}

int
curl_memory_init(void)
{
	CURLcode code = curl_global_init_mem(
		CURL_GLOBAL_ALL, noted_malloc, reserve_free, noted_realloc, noted_strdup, noted_calloc);

	return code == CURLE_OK ? 0 : -ENOMEM;
}

bool
curl_memory_failed(void)
{
	return failed;
}

void
curl_memory_forget(void)
{
	failed = false;
}
