/* Fetches the URLs given through a fetchpool server and prints "STATUS BYTES URL" for each, in the order they finish.
 * Exit status: 0 when all succeeded, 1 when one failed, 2 when the server could not be asked.
 *
 *   cc -o fetch fetch.c $(pkg-config --cflags --libs libcurl jansson)
 */
#include <curl/curl.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WAIT_IDS_MAX 1000 /* in one call of /v1/wait */

static CURL *curl; /* one handle, so that the connection is kept */

struct buffer {
	char *data;
	size_t size;
};

static size_t
buffer_add(char *data, size_t one, size_t size, void *user)
{
	struct buffer *b = user;
	char *grown = realloc(b->data, b->size + size);

	(void)one;
	if (!grown)
		return 0;
	memcpy(grown + b->size, data, size);
	b->data = grown;
	b->size += size;
	return size;
}

/* The text is jansson's to keep: it lives as long as the object. */
static const char *
text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "?";
}

/* Sends the value, which it takes over; the parsed answer is the caller's, NULL after a failure, which it has told of. */
static json_t *
post(const char *path, json_t *value)
{
	const char *server = getenv("FETCHPOOL");
	struct buffer answer = {0};
	json_error_t where;
	json_t *result = NULL;
	CURLcode code;
	long status = 0;
	char url[2048];
	char *body = value ? json_dumps(value, JSON_COMPACT) : NULL;
	struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");

	json_decref(value);
	snprintf(url, sizeof url, "%s%s", server ? server : "http://localhost:8080", path);
	if (!body || !headers) {
		fprintf(stderr, "%s: not UTF-8, or out of memory\n", path);
		goto out;
	}
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT, 90L);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, buffer_add);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, &answer);
	code = curl_easy_perform(curl);
	if (code != CURLE_OK) {
		fprintf(stderr, "%s: %s\n", url, curl_easy_strerror(code));
		goto out;
	}
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	result = json_loadb(answer.data ? answer.data : "", answer.size, 0, &where);
	if (!result) {
		fprintf(stderr, "%s: %s\n", url, where.text);
	} else if (status >= 400) {
		fprintf(stderr, "%s\n", text_of(result, "detail"));
		json_decref(result);
		result = NULL;
	}
out:
	curl_slist_free_all(headers);
	free(answer.data);
	free(body);
	return result;
}

/* The ids of the new jobs, or NULL. */
static json_t *
submit(char **urls)
{
	json_t *ids = json_array();

	for (; *urls; urls++) {
		json_t *job = post("/v1/jobs", json_pack("{s:s, s:s}", "url", *urls, "timeout", "10s"));

		if (!job || json_array_append(ids, json_object_get(job, "id")) != 0) {
			json_decref(job);
			json_decref(ids);
			return NULL;
		}
		json_decref(job);
	}
	return ids;
}

static bool
print_job(const json_t *job)
{
	const json_t *response = json_object_get(job, "response");
	const json_t *error = json_object_get(job, "error");
	const char *url = text_of(json_object_get(job, "request"), "url");

	if (json_is_object(response))
		printf("%" JSON_INTEGER_FORMAT " %" JSON_INTEGER_FORMAT " %s\n",
			json_integer_value(json_object_get(response, "status")),
			json_integer_value(json_object_get(response, "body_bytes")), url);
	else
		printf("%s 0 %s\n", json_is_object(error) ? text_of(error, "code") : text_of(job, "state"), url);
	fflush(stdout);
	return strcmp(text_of(job, "state"), "succeeded") == 0;
}

/* Waits until one or more of the first ids are done, prints those, and leaves the others in the list. */
static bool
await_some(json_t *ids, bool *ret_good)
{
	json_t *now = json_array();
	json_t *answer, *entry;
	size_t i;

	while (json_array_size(ids) > 0 && json_array_size(now) < WAIT_IDS_MAX) {
		json_array_append(now, json_array_get(ids, 0));
		json_array_remove(ids, 0);
	}
	answer = post("/v1/wait?body=none", json_pack("{s:o, s:s, s:s}", "ids", now, "mode", "any", "timeout", "30s"));
	if (!answer)
		return false;
	json_array_foreach(json_object_get(answer, "finished"), i, entry)
		if (!print_job(entry))
			*ret_good = false;
	json_array_extend(ids, json_object_get(answer, "pending"));
	json_decref(answer);
	return true;
}

int
main(int argc, char **argv)
{
	json_t *ids = NULL;
	bool asked = false, good = true;

	if (argc < 2) {
		fprintf(stderr, "usage: fetch URL...\n");
		return 2;
	}
	curl_global_init(CURL_GLOBAL_DEFAULT);
	curl = curl_easy_init();
	if (curl)
		ids = submit(argv + 1);
	if (ids) {
		asked = true;
		while (asked && json_array_size(ids) > 0)
			asked = await_some(ids, &good);
	}
	json_decref(ids);
	curl_easy_cleanup(curl);
	curl_global_cleanup();
	return !asked ? 2 : good ? 0 : 1;
}
