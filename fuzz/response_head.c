/*
 * What an origin answers: a byte that says how the body is cut into pieces, then the lines of the head as libcurl hands
 * them over, then the body. The head is read, its Location resolved, the body freed of its codings, and the response
 * written as a client would get it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/codec.h"
#include "api/problem.h"
#include "base/buffer.h"
#include "base/text.h"
#include "fetch/decode.h"
#include "fetch/head.h"
#include "fetch/redirect.h"
#include "fuzz.h"
#include "job_checks.h"
#include "service.h"
#include "url_checks.h"

#define MAX_DECODED (1 << 20)

/* ---- the head */

/* Hands over line by line, as libcurl does, from memory that ends with the line. *at is behind the head then. */
static enum head_step
read_head(struct head *head, const uint8_t **at, const uint8_t *end)
{
	enum head_step step = HEAD_MORE;

	while (step == HEAD_MORE && *at < end) {
		const uint8_t *feed = memchr(*at, '\n', (size_t)(end - *at));
		size_t length = (size_t)((feed == NULL ? end : feed + 1) - *at);
		char *line = fuzz_copy(*at, length);

		step = head_line(head, line, length);
		free(line);
		*at += length;
	}
	return step;
}

/* The one Content-Length of digits alone, or -1 when there is none such: the plain case, read plainly. */
static int64_t
plain_length(const struct fields *fields)
{
	const char *found = NULL;

	for (size_t i = 0; i < fields->count; i++) {
		if (strcmp(fields->items[i].name, "content-length") != 0)
			continue;
		if (found != NULL)
			return -1;
		found = fields->items[i].value;
	}
	size_t digits = found == NULL ? 0 : strspn(found, "0123456789");
	return digits == 0 || digits > 18 || found[digits] != '\0' ? -1 : strtoll(found, NULL, 10);
}

static void
check_head(const struct head *head)
{
	bool coded = fields_have(&head->fields, "transfer-encoding");
	int64_t length = plain_length(&head->fields);

	FUZZ_CHECK(head->status >= 200 && head->status < 10000, "the final status %d", head->status);
	FUZZ_CHECK(head->bytes <= HEAD_MAX_BYTES && head->fields.count <= HEAD_MAX_FIELDS,
		"a head of %zu bytes, %zu fields", head->bytes, head->fields.count);
	FUZZ_CHECK(strlen(head->version) < sizeof head->version, "a version without end");
	for (size_t i = 0; i < head->fields.count; i++) {
		const struct field *field = &head->fields.items[i];

		FUZZ_CHECK(text_is_token(field->name, strlen(field->name)), "the name \"%s\"", field->name);
		FUZZ_CHECK(utf8_valid(field->value, strlen(field->value)), "%s is no UTF-8", field->name);
		for (const char *c = field->name; *c != '\0'; c++)
			FUZZ_CHECK(*c < 'A' || *c > 'Z', "the name %s is not in lower case", field->name);
	}
	FUZZ_CHECK(!coded || head->content_length == -1, "a length of %lld beside a coding",
		(long long)head->content_length);
	FUZZ_CHECK(coded || length < 0 || length == head->content_length, "Content-Length %lld was read as %lld",
		(long long)length, (long long)head->content_length);
}

static void
check_redirect(const struct head *head)
{
	static const char *const bases[] = {"http://a.example/b/c?d", "https://[2606:4700::1111]:8443/"};
	const char *location = fields_get(&head->fields, "location"), *why;
	struct arena arena = {0};
	struct url base;

	for (size_t i = 0; location != NULL && redirect_followed(head->status) && i < sizeof bases / sizeof *bases;
		i++) {
		FUZZ_CHECK(url_parse(&arena, bases[i], &base, &why) == 0, "%s", why);
		check_location(&base, location);
	}
	FUZZ_CHECK(!redirect_turns_to_get(head->status, "GET") && !redirect_turns_to_get(head->status, "HEAD"),
		"a GET becomes a GET");
	arena_release(&arena);
}

/* ---- the body */

struct output {
	size_t count;
	bool over;
};

static int
on_output(void *context, const void *bytes, size_t count)
{
	struct output *output = context;

	FUZZ_CHECK(count > 0 && count <= DECODE_PIECE_BYTES, "a piece of %zu bytes", count);
	FUZZ_CHECK(!output->over, "more output after it was refused");
	free(fuzz_copy(bytes, count));
	output->count += count;
	output->over = output->count > MAX_DECODED;
	return output->over ? -EFBIG : 0;
}

static char *
coding_of(const struct fields *fields)
{
	struct buffer list = {0};

	for (size_t i = 0; i < fields->count; i++)
		if (strcmp(fields->items[i].name, "content-encoding") == 0)
			buffer_printf(&list, "%s%s", list.count > 0 ? ", " : "", fields->items[i].value);
	if (list.count > 0)
		return buffer_steal(&list);
	buffer_release(&list);
	return NULL;
}

/* Decodes it in pieces. Once there is an error it stays. Returns it. */
static int
decode(const char *coding, const uint8_t *at, const uint8_t *end, size_t piece, size_t *ret_count)
{
	struct output output = {0};
	int error = 0;
	struct decoder *decoder = decoder_new(coding, on_output, &output, &error);

	FUZZ_CHECK(decoder == NULL || error == 0, "a decoder with the error %d", error);
	FUZZ_CHECK(error == 0 || error == -EPROTONOSUPPORT || error == -E2BIG, "%s: error %d", coding, error);
	if (decoder == NULL)
		return error;
	while (at < end) {
		size_t length = (size_t)(end - at) < piece ? (size_t)(end - at) : piece;
		char *copy = fuzz_copy(at, length);
		int now = decoder_write(decoder, copy, length);

		free(copy);
		FUZZ_CHECK(error == 0 || now == error, "the error %d became %d", error, now);
		error = now;
		at += length;
	}
	int last = decoder_finish(decoder);
	FUZZ_CHECK(error == 0 || last == error, "the error %d became %d", error, last);
	FUZZ_CHECK(last == 0 || last == -EBADMSG || (last == -EFBIG && output.over), "decoding ends with %d", last);
	decoder_free(decoder);
	*ret_count = output.count;
	return last;
}

/* However it is cut, it is the same. */
static void
check_body(const struct head *head, const uint8_t *at, const uint8_t *end, size_t piece)
{
	char *coding = coding_of(&head->fields);
	size_t whole = 0, cut = 0;

	if (coding != NULL) {
		int error = decode(coding, at, end, SIZE_MAX, &whole), again = decode(coding, at, end, piece, &cut);

		FUZZ_CHECK((error == 0) == (again == 0), "%s: %d in one piece, %d in pieces of %zu", coding, error,
			again, piece);
		FUZZ_CHECK(error != 0 || whole == cut, "%s: %zu bytes, in pieces %zu", coding, whole, cut);
	}
	free(coding);
}

/* ---- as a client gets it */

static void
check_response(const struct head *head)
{
	struct problem problem = {0};
	static const char text[] = "{\"url\":\"http://a.example/\"}";
	struct job_spec *spec = codec_read_spec(text, strlen(text), &problem);
	struct response response = {
		.status = head->status, .url = (char *)"http://a.example/", .headers = head->fields};
	const char *name;
	json_t *values;
	size_t count = 0;

	FUZZ_CHECK(spec != NULL && fields_group(&response.headers) == 0, "no memory");
	json_t *job = check_written(spec, &response);
	json_object_foreach(json_object_get(json_object_get(job, "response"), "headers"), name, values)
		count += json_array_size(values);
	FUZZ_CHECK(count == head->fields.count, "%zu fields are shown as %zu", head->fields.count, count);
	json_decref(job);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	const uint8_t *at = bytes + 1, *end = bytes + count;
	struct arena arena = {0};
	struct head head;

	if (count == 0)
		return 0;
	fuzz_service();
	head_init(&head, &arena);
	if (read_head(&head, &at, end) == HEAD_ENDED) {
		check_head(&head);
		check_redirect(&head);
		check_body(&head, at, end, (size_t)bytes[0] + 1);
		check_response(&head);
	}
	arena_release(&arena);
	return 0;
}
