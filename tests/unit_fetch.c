/*
 * The fetch room's pure parts: the rules of redirects, the head of an answer line by line, and the sink that takes the
 * body in, in memory and in files.
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <check.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/id.h"
#include "base/text.h"
#include "fetch/head.h"
#include "fetch/redirect.h"
#include "fetch/sink.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))
#define TEXT(text) text, sizeof(text) - 1

/* ---- redirects */

static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"};

/* to_get: for each of the methods, y when the next hop is a GET. */
static const struct {
	int status;
	bool followed;
	const char *to_get;
} statuses[] = {
	{200, false, "nnnnnnn"},
	{300, false, "nnnnnnn"},
	{301, true, "nnynnnn"},
	{302, true, "nnynnnn"},
	{303, true, "nnyyyyy"},
	{304, false, "nnnnnnn"},
	{305, false, "nnnnnnn"},
	{306, false, "nnnnnnn"},
	{307, true, "nnnnnnn"},
	{308, true, "nnnnnnn"},
	{309, false, "nnnnnnn"},
	{399, false, "nnnnnnn"},
	{404, false, "nnnnnnn"},
};

START_TEST(follows_redirects)
{
	int status = statuses[_i].status;

	ck_assert_msg(redirect_followed(status) == statuses[_i].followed, "%d", status);
	for (int i = 0; i < COUNT(methods); i++)
		ck_assert_msg(redirect_turns_to_get(status, methods[i]) == (statuses[_i].to_get[i] == 'y'),
			"%d to a %s", status, methods[i]);
}
END_TEST

START_TEST(follows_no_other_status)
{
	int followed = 0;

	for (int status = 0; status < 1000; status++)
		followed += redirect_followed(status);
	ck_assert_int_eq(followed, 5);
}
END_TEST

START_TEST(drops_fields_of_the_body)
{
	static const struct {
		const char *name;
		bool dropped;
	} table[] = {
		{"content-type", true},
		{"Content-Type", true},
		{"CONTENT-ENCODING", true},
		{"content-language", true},
		{"Content-Location", true},
		{"content", false},
		{"content-types", false},
		{"x-content-type", false},
		{"accept", false},
		{"authorization", false}, /* whose rule is another one */
		{"", false},
	};

	for (int i = 0; i < COUNT(table); i++)
		ck_assert_msg(redirect_body_field(table[i].name) == table[i].dropped, "\"%s\"", table[i].name);
}
END_TEST

/* ---- heads */

struct reading {
	struct arena arena;
	struct head head;
};

static void
reading_init(struct reading *reading)
{
	*reading = (struct reading){0};
	head_init(&reading->head, &reading->arena);
}

/* From memory that ends where the line does, so that the address sanitizer sees a step too far. */
static enum head_step
give(struct reading *reading, const char *line, size_t length)
{
	char *copy = malloc(length + (length == 0));

	memcpy(copy, line, length);
	enum head_step step = head_line(&reading->head, copy, length);
	free(copy);
	return step;
}

/* Gives a text line by line, each with its LF; returns what the last one came to. */
static enum head_step
give_all(struct reading *reading, const char *text)
{
	enum head_step step = HEAD_MORE;

	while (*text != '\0') {
		size_t length = strcspn(text, "\n");
		length += text[length] == '\n';
		ck_assert_msg(step == HEAD_MORE, "step %d before %s", (int)step, text);
		step = give(reading, text, length);
		text += length;
	}
	return step;
}

static const struct {
	const char *text;
	int status;
	const char *version;
	struct {
		const char *name, *value;
	} fields[5];
} heads[] = {
	{"HTTP/1.1 200 OK\r\n\r\n", 200, "1.1", {{NULL, NULL}}},
	{"HTTP/1.0 404 Not Found\r\n\r\n", 404, "1.0", {{NULL, NULL}}},
	{"HTTP/2 204 \r\n\r\n", 204, "2", {{NULL, NULL}}},
	{"HTTP/3 599\r\n\r\n", 599, "3", {{NULL, NULL}}},
	{"HTTP/1.1 200\n\n", 200, "1.1", {{NULL, NULL}}}, /* bare LF */
	{"HTTP/1.1 999 Odd\r\n\r\n", 999, "1.1", {{NULL, NULL}}},
	{"HTTP/1.1 200 OK\r\nA: b\r\nContent-TYPE:text/html\r\n\r\n", 200, "1.1",
		{{"a", "b"}, {"content-type", "text/html"}}},
	{"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nX: y\r\nset-cookie: b=2\r\n\r\n", 200, "1.1",
		{{"set-cookie", "a=1"}, {"x", "y"}, {"set-cookie", "b=2"}}},
	{"HTTP/1.1 200 OK\r\nA: \t b c \t\r\nB:\r\nC: \r\nD: e: f\r\n\r\n", 200, "1.1",
		{{"a", "b c"}, {"b", ""}, {"c", ""}, {"d", "e: f"}}},
	/* bytes that are not UTF-8 are read as ISO 8859-1, each value by itself */
	{"HTTP/1.1 200 OK\r\nA: caf\xe9\r\nB: caf\xc3\xa9\r\nC: \x80\xff\r\nD: \xc3\xa9 \xe9\r\n\r\n", 200, "1.1",
		{{"a", "caf\xc3\xa9"}, {"b", "caf\xc3\xa9"}, {"c", "\xc2\x80\xc3\xbf"},
			{"d", "\xc3\x83\xc2\xa9 \xc3\xa9"}}},
	/* a folded value is one; what has no name that is a token is dropped */
	{"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\t d \r\nE: f\r\n\r\n", 200, "1.1", {{"a", "b c d"}, {"e", "f"}}},
	{"HTTP/1.1 200 OK\r\n fold\r\nA: b\r\n\r\n", 200, "1.1", {{"a", "b"}}},
	{"HTTP/1.1 200 OK\r\n\xc4: b\r\n: c\r\nx y: d\r\nA: b\r\n\r\n", 200, "1.1", {{"a", "b"}}},
	{"HTTP/1.1 200 OK\r\nno colon\r\nA: b\r\n\r\n", 200, "1.1", {{"a", "b"}}},
	/* interim heads leave nothing behind */
	{"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nA: b\r\n\r\n", 200, "1.1", {{"a", "b"}}},
	{"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\nA: 1\r\n\r\nHTTP/1.1 102 P\r\nB: 1\r\n\r\nHTTP/1.1 404 No\r\nC: d\r\n\r\n",
		404, "1.1", {{"c", "d"}}},
	{"HTTP/1.0 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", 200, "1.1", {{NULL, NULL}}},
	/* within a final head, such a line is no status line any more */
	{"HTTP/1.1 200 OK\r\nHTTP/1.1 500 X: y\r\n\r\n", 200, "1.1", {{NULL, NULL}}},
};

START_TEST(reads_heads)
{
	struct reading reading;
	const struct fields *fields = &reading.head.fields;
	size_t wanted = 0;

	reading_init(&reading);
	enum head_step step = give_all(&reading, heads[_i].text);
	ck_assert_msg(step == HEAD_ENDED, "row %d: step %d", _i, (int)step);
	ck_assert(reading.head.whole);
	ck_assert_int_eq(reading.head.status, heads[_i].status);
	ck_assert_str_eq(reading.head.version, heads[_i].version);
	while (wanted < (size_t)COUNT(heads[_i].fields) && heads[_i].fields[wanted].name != NULL)
		wanted++;
	ck_assert_msg(fields->count == wanted, "row %d: %zu fields", _i, fields->count);
	for (size_t i = 0; i < wanted; i++) {
		ck_assert_str_eq(fields->items[i].name, heads[_i].fields[i].name);
		ck_assert_str_eq(fields->items[i].value, heads[_i].fields[i].value);
	}
	arena_release(&reading.arena);
}
END_TEST

START_TEST(ignores_trailers)
{
	struct reading reading;

	reading_init(&reading);
	ck_assert_int_eq(give_all(&reading, "HTTP/1.1 200 OK\r\nA: b\r\n\r\n"), HEAD_ENDED);
	ck_assert_int_eq(give_all(&reading, "X-Sum: 1\r\nContent-Length: 7\r\nHTTP/1.1 500 No\r\n\r\n"), HEAD_MORE);
	ck_assert_int_eq(reading.head.status, 200);
	ck_assert_uint_eq(reading.head.fields.count, 1);
	/* They do not count against the bounds either. */
	for (int i = 0; i < 2 * HEAD_MAX_FIELDS; i++)
		ck_assert_int_eq(
			give(&reading, TEXT("X-Long: 0123456789012345678901234567890123456789\r\n")), HEAD_MORE);
	arena_release(&reading.arena);
}
END_TEST

/* Heads that have not ended, or whose status cannot be read: there is no status to show. */
START_TEST(waits_for_the_end)
{
	static const struct {
		const char *text;
		int status;
	} table[] = {
		{"", 0},
		{"\r\n", 0},
		{"HTTP/1.1 200 OK\r\n", 200},
		{"HTTP/1.1 200 OK\r\nA: b\r\n", 200},
		{"HTTP/1.1 100 Continue\r\n\r\n", 100},
		{"HTTP/1.1\r\n\r\n", 0},
		{"HTTP/ 200\r\n\r\n", 0},
		{"HTTP/1.1 abc\r\n\r\n", 0},
		{"HTTP/1.12345678901234567890 200\r\n\r\n", 0},
		{"ICY 200 OK\r\n\r\n", 0},
	};

	for (int i = 0; i < COUNT(table); i++) {
		struct reading reading;
		reading_init(&reading);
		enum head_step step = give_all(&reading, table[i].text);
		ck_assert_msg(step == HEAD_MORE && !reading.head.whole, "%s: step %d", table[i].text, (int)step);
		ck_assert_msg(reading.head.status == table[i].status, "%s: %d", table[i].text, reading.head.status);
		arena_release(&reading.arena);
	}
}
END_TEST

START_TEST(bounds_the_fields)
{
	struct reading reading;

	reading_init(&reading);
	ck_assert_int_eq(give_all(&reading, "HTTP/1.1 200 OK\r\n"), HEAD_MORE);
	for (int i = 0; i < HEAD_MAX_FIELDS; i++) {
		char line[32];
		int length = snprintf(line, sizeof line, "N%d: %d\r\n", i, i);
		ck_assert_int_eq(give(&reading, line, (size_t)length), HEAD_MORE);
	}
	ck_assert_uint_eq(reading.head.fields.count, HEAD_MAX_FIELDS);
	ck_assert_str_eq(fields_get(&reading.head.fields, "n0"), "0"); /* over all the times the list grew */
	ck_assert_str_eq(fields_get(&reading.head.fields, "n1999"), "1999");
	ck_assert_int_eq(give(&reading, TEXT("A: b\r\n")), HEAD_TOO_LONG);
	arena_release(&reading.arena);
}
END_TEST

/* A head of exactly HEAD_MAX_BYTES passes, one byte more does not; interim heads count. */
START_TEST(bounds_the_bytes)
{
	static const char *const begins[] = {
		"HTTP/1.1 200 OK\r\n", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\n"};

	for (int row = 0; row < 2 * COUNT(begins); row++) {
		struct reading reading;
		const char *begin = begins[row / 2];
		size_t length = HEAD_MAX_BYTES - strlen(begin) - strlen("\r\n") + (size_t)(row % 2);
		char *line = malloc(length);

		memset(line, 'x', length);
		memcpy(line, "Long: ", 6);
		memcpy(line + length - 2, "\r\n", 2);
		reading_init(&reading);
		ck_assert_int_eq(give_all(&reading, begin), HEAD_MORE);
		ck_assert_int_eq(give(&reading, line, length), HEAD_MORE);
		ck_assert_int_eq(give(&reading, TEXT("\r\n")), row % 2 == 0 ? HEAD_ENDED : HEAD_TOO_LONG);
		ck_assert_uint_eq(strlen(fields_get(&reading.head.fields, "long")), length - 8);
		arena_release(&reading.arena);
		free(line);
	}
}
END_TEST

START_TEST(bounds_the_interim_heads)
{
	struct reading reading;

	reading_init(&reading);
	for (int i = 0; i < HEAD_MAX_INTERIM; i++)
		ck_assert_int_eq(give_all(&reading, "HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n"), HEAD_MORE);
	ck_assert_int_eq(give_all(&reading, "HTTP/1.1 200 OK\r\n\r\n"), HEAD_ENDED);
	arena_release(&reading.arena);
	reading_init(&reading);
	for (int i = 0; i < HEAD_MAX_INTERIM; i++)
		ck_assert_int_eq(give_all(&reading, "HTTP/1.1 100 Continue\r\n\r\n"), HEAD_MORE);
	ck_assert_int_eq(give_all(&reading, "HTTP/1.1 100 Continue\r\n\r\n"), HEAD_TOO_LONG);
	ck_assert_ptr_nonnull(strstr(reading.head.why, "interim"));
	arena_release(&reading.arena);
}
END_TEST

START_TEST(bounds_the_trailers)
{
	struct reading reading;
	enum head_step step = HEAD_MORE;
	size_t lines = 0;

	reading_init(&reading);
	ck_assert_int_eq(give_all(&reading, "HTTP/1.1 200 OK\r\n\r\n"), HEAD_ENDED);
	for (; step == HEAD_MORE && lines < HEAD_MAX_BYTES; lines++)
		step = give(&reading, TEXT("Trailer: x\r\n"));
	ck_assert_int_eq(step, HEAD_TOO_LONG);
	ck_assert_uint_eq(lines, (HEAD_MAX_BYTES - 19) / 12 + 1);
	ck_assert_uint_eq(reading.head.fields.count, 0);
	arena_release(&reading.arena);
}
END_TEST

/* Short lines folded onto a long value may not cost more memory than a few times the head's size. */
START_TEST(bounds_folding)
{
	struct reading reading;
	static char line[200000];

	memset(line, 'v', sizeof line);
	memcpy(line, "A: ", 3);
	reading_init(&reading);
	ck_assert_int_eq(give_all(&reading, "HTTP/1.1 200 OK\r\n"), HEAD_MORE);
	ck_assert_int_eq(give(&reading, line, sizeof line), HEAD_MORE);
	for (int i = 0; i < HEAD_MAX_FOLDED; i++)
		ck_assert_int_eq(give(&reading, TEXT(" x\r\n")), HEAD_MORE);
	ck_assert_uint_eq(strlen(fields_get(&reading.head.fields, "a")), sizeof line - 3 + 2 * HEAD_MAX_FOLDED);
	ck_assert_uint_le(reading.arena.bytes, 4 * HEAD_MAX_BYTES);
	ck_assert_int_eq(give(&reading, TEXT("\tx\r\n")), HEAD_TOO_LONG);
	arena_release(&reading.arena);
}
END_TEST

START_TEST(bounds_one_line)
{
	struct reading reading;
	char *line = calloc(1, HEAD_MAX_BYTES + 1);

	reading_init(&reading);
	ck_assert_int_eq(give(&reading, line, HEAD_MAX_BYTES + 1), HEAD_TOO_LONG);
	free(line);
	arena_release(&reading.arena);
}
END_TEST

/* What the answer says of its body; the field is left out when it is NULL. */
static void
read_with(struct reading *reading, const char *name, const char *value)
{
	char line[200];

	reading_init(reading);
	ck_assert_int_eq(give_all(reading, "HTTP/1.1 200 OK\r\nX: y\r\n"), HEAD_MORE);
	if (value == NULL)
		return;
	snprintf(line, sizeof line, "%s: %s\r\n", name, value);
	ck_assert_int_eq(give(reading, line, strlen(line)), HEAD_MORE);
}

static const struct {
	const char *fields;
	enum head_step step;
	int64_t length;
} lengths[] = {
	{"", HEAD_ENDED, -1},
	{"Content-Length: 0\r\n", HEAD_ENDED, 0},
	{"Content-Length: 5\r\n", HEAD_ENDED, 5},
	{"Content-Length: \t 5\t \r\n", HEAD_ENDED, 5},
	{"Content-Length: 007\r\n", HEAD_ENDED, 7},
	{"Content-Length: 9223372036854775807\r\n", HEAD_ENDED, INT64_MAX},
	{"Content-Length: 5\r\nContent-Length: 5\r\n", HEAD_ENDED, 5},
	{"Content-Length: 5, 5\r\n", HEAD_ENDED, 5},
	{"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", HEAD_ENDED, -1},
	{"Content-Length: x\r\nTransfer-Encoding: chunked\r\n", HEAD_ENDED, -1},
	{"Content-Length: 9223372036854775808\r\n", HEAD_BROKEN, 0},
	{"Content-Length: 99999999999999999999999\r\n", HEAD_BROKEN, 0},
	{"Content-Length:\r\n", HEAD_BROKEN, 0},
	{"Content-Length: -1\r\n", HEAD_BROKEN, 0},
	{"Content-Length: +5\r\n", HEAD_BROKEN, 0},
	{"Content-Length: 5 5\r\n", HEAD_BROKEN, 0},
	{"Content-Length: 5, 6\r\n", HEAD_BROKEN, 0},
	{"Content-Length: 5\r\nContent-Length: 6\r\n", HEAD_BROKEN, 0},
	{"Content-Length: 0x5\r\n", HEAD_BROKEN, 0},
	{"Content-Length: 5x\r\n", HEAD_BROKEN, 0},
	{"Content-Length: five\r\n", HEAD_BROKEN, 0},
};

START_TEST(tells_the_length)
{
	struct reading reading;

	reading_init(&reading);
	ck_assert_int_eq(give_all(&reading, "HTTP/1.1 200 OK\r\nX: y\r\n"), HEAD_MORE);
	if (*lengths[_i].fields != '\0')
		ck_assert_int_eq(give_all(&reading, lengths[_i].fields), HEAD_MORE);
	enum head_step step = give_all(&reading, "\r\n");
	ck_assert_msg(step == lengths[_i].step, "%s: step %d", lengths[_i].fields, (int)step);
	if (step == HEAD_ENDED)
		ck_assert_msg(reading.head.content_length == lengths[_i].length, "%s: %lld", lengths[_i].fields,
			(long long)reading.head.content_length);
	arena_release(&reading.arena);
}
END_TEST

static const struct {
	const char *value, *type;
	bool is;
} types[] = {
	{"text/html", "text/html", true},
	{"Text/HTML", "text/html", true},
	{"text/html; charset=utf-8", "text/html", true},
	{"text/html;charset=utf-8", "text/html", true},
	{"text/html ; charset=utf-8", "text/html", true},
	{"text/html\t;x", "text/html", true},
	{"  text/html", "text/html", true},
	{"application/problem+json", "application/problem+json", true},
	{"application/problem+json", "application/problem", false},
	{"text/htmlx", "text/html", false},
	{"text/htm", "text/html", false},
	{"text/html,text/plain", "text/html", false},
	{"xtext/html", "text/html", false},
	{"text", "text/html", false},
	{"", "text/html", false},
	{NULL, "text/html", false},
};

START_TEST(tells_the_type)
{
	struct reading reading;

	read_with(&reading, "Content-Type", types[_i].value);
	ck_assert_msg(head_is_type(&reading.head, types[_i].type) == types[_i].is, "\"%s\", %s",
		types[_i].value != NULL ? types[_i].value : "(none)", types[_i].type);
	arena_release(&reading.arena);
}
END_TEST

/* ---- the sink */

static char directory[128];
static struct id id;

static void
make_directory(void)
{
	const char *where = getenv("TMPDIR");

	snprintf(directory, sizeof directory, "%s/unit-fetch-XXXXXX", where != NULL ? where : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(directory));
	id = id_new();
}

/* The one file that the sink may make. */
static const char *
file_path(void)
{
	static char path[256];
	char name[ID_TEXT_BYTES];

	id_format(&id, name);
	snprintf(path, sizeof path, "%s/%s.part", directory, name);
	return path;
}

static bool
file_is_there(void)
{
	return access(file_path(), F_OK) == 0;
}

/* Fails unless the directory is empty again. */
static void
remove_directory(void)
{
	ck_assert_msg(rmdir(directory) == 0, "%s: %s", directory, strerror(errno));
}

static void
open_sink(struct sink *sink, int64_t cap, int64_t inline_bytes)
{
	ck_assert_int_eq(sink_open(sink, directory, &id, cap, inline_bytes), 0);
}

static char
pattern(size_t i)
{
	return (char)('a' + i % 23);
}

/* Writes count bytes of the pattern, which goes on where it was, so many at a time. Returns the first error. */
static int
write_pattern(struct sink *sink, size_t count, size_t piece)
{
	char *bytes = malloc(piece);
	size_t at = (size_t)sink->bytes, end = at + count;
	int error = 0;

	while (error == 0 && at < end) {
		size_t some = end - at < piece ? end - at : piece;
		for (size_t i = 0; i < some; i++)
			bytes[i] = pattern(at + i);
		error = sink_write(sink, bytes, some);
		at += some;
	}
	free(bytes);
	return error;
}

/* The bytes of the body, wherever they are. */
static char *
bytes_of(const struct body *body)
{
	char *bytes = calloc(1, (size_t)body->bytes + 1);

	if (body->data != NULL)
		return memcpy(bytes, body->data, (size_t)body->bytes);
	FILE *file = fopen(body->path, "re");
	ck_assert_msg(file != NULL, "%s: %s", body->path, strerror(errno));
	ck_assert_uint_eq(fread(bytes, 1, (size_t)body->bytes, file), (size_t)body->bytes);
	ck_assert_int_eq(fgetc(file), EOF);
	fclose(file);
	return bytes;
}

/* As response_free does at the end. */
static void
drop_body(struct body *body)
{
	if (body->path != NULL)
		ck_assert_int_eq(unlink(body->path), 0);
	free(body->path);
	free(body->data);
	*body = (struct body){0};
}

static const struct {
	const char *text;
	size_t length, times;
	const char *sha256;
} vectors[] = {
	{TEXT(""), 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
	{TEXT("abc"), 1, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
	{TEXT("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"), 1,
		"248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
	{TEXT("aaaaaaaaaa"), 100000,
		"cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"}, /* in a file */
};

START_TEST(hashes_bodies)
{
	struct sink sink;
	struct body body;
	char sha256[65];

	make_directory();
	open_sink(&sink, INT64_MAX, 0);
	for (size_t i = 0; i < vectors[_i].times; i++)
		ck_assert_int_eq(sink_write(&sink, vectors[_i].text, vectors[_i].length), 0);
	ck_assert_int_eq(sink_finish(&sink, &body), 0);
	ck_assert_int_eq(body.bytes, (int64_t)(vectors[_i].length * vectors[_i].times));
	hex_encode(body.sha256, 32, sha256);
	ck_assert_str_eq(sha256, vectors[_i].sha256);
	drop_body(&body);
	remove_directory();
}
END_TEST

enum { MEMORY = SINK_MEMORY_BYTES };

static const struct {
	const char *what;
	int64_t inline_bytes;
	size_t count, piece;
	bool in_file;
} spills[] = {
	{"nothing", 0, 0, 1, false},
	{"a little", 0, 1000, 7, false},
	{"as much as memory takes", 0, MEMORY, 1000, false},
	{"as much as memory takes, at once", 0, MEMORY, MEMORY, false},
	{"a byte more", 0, MEMORY + 1, 1000, true},
	{"a byte more, at once", 0, MEMORY + 1, MEMORY + 1, true},
	{"much, at once", 0, 1000000, 1000000, true},
	{"much", 0, 1000000, 4099, true},
	{"inline below the bound changes nothing", 10, MEMORY, 4096, false},
	{"as much as is shown", 3 * MEMORY, 3 * MEMORY, 4099, false},
	{"a byte more than is shown", 3 * MEMORY, 3 * MEMORY + 1, 4099, true},
};

START_TEST(spills_to_a_file)
{
	struct sink sink;
	struct body body;
	size_t wrong = 0;

	make_directory();
	open_sink(&sink, INT64_MAX, spills[_i].inline_bytes);
	ck_assert_int_eq(write_pattern(&sink, spills[_i].count, spills[_i].piece), 0);
	ck_assert_msg(file_is_there() == spills[_i].in_file, "%s", spills[_i].what);
	ck_assert_int_eq(sink_finish(&sink, &body), 0);
	ck_assert_int_eq(body.bytes, (int64_t)spills[_i].count);
	ck_assert_int_eq(body.path != NULL, spills[_i].in_file);
	ck_assert_int_eq(body.data == NULL, spills[_i].in_file);
	if (spills[_i].in_file)
		ck_assert_str_eq(body.path, file_path());
	char *bytes = bytes_of(&body);
	for (size_t i = 0; i < spills[_i].count; i++)
		wrong += bytes[i] != pattern(i);
	ck_assert_msg(wrong == 0, "%s: %zu bytes are wrong", spills[_i].what, wrong);
	free(bytes);
	sink_abandon(&sink); /* closed: the body stays */
	ck_assert_int_eq(file_is_there(), spills[_i].in_file);
	drop_body(&body);
	remove_directory();
}
END_TEST

START_TEST(keeps_files_private)
{
	struct sink sink;
	struct body body;
	struct stat info;

	make_directory();
	open_sink(&sink, INT64_MAX, 0);
	ck_assert_int_eq(write_pattern(&sink, MEMORY + 1, MEMORY + 1), 0);
	ck_assert_int_eq(sink_finish(&sink, &body), 0);
	ck_assert_int_eq(stat(body.path, &info), 0);
	ck_assert_msg((info.st_mode & 077) == 0, "others may read it: %o", (unsigned)info.st_mode);
	drop_body(&body);
	remove_directory();
}
END_TEST

/* A body of exactly the cap passes; a byte more, at the end or all at once, is too much. */
static const struct {
	int64_t cap;
	size_t first, second;
	int error;
} caps[] = {
	{0, 0, 0, 0},
	{0, 0, 1, -EFBIG},
	{10, 10, 0, 0},
	{10, 9, 1, 0},
	{10, 10, 1, -EFBIG},
	{10, 9, 2, -EFBIG},
	{10, 0, 11, -EFBIG},
	{10, 0, 1000000, -EFBIG},
	{MEMORY, MEMORY - 1, 1, 0},
	{MEMORY, MEMORY, 1, -EFBIG},
	{3 * MEMORY, 2 * MEMORY, MEMORY, 0},
	{3 * MEMORY, 2 * MEMORY, MEMORY + 1, -EFBIG},
	{3 * MEMORY, 3 * MEMORY, 1, -EFBIG},
};

START_TEST(stops_at_the_cap)
{
	struct sink sink;

	make_directory();
	open_sink(&sink, caps[_i].cap, 0);
	ck_assert_int_eq(write_pattern(&sink, caps[_i].first, caps[_i].first + 1), 0);
	int error = write_pattern(&sink, caps[_i].second, caps[_i].second + 1);
	ck_assert_msg(error == caps[_i].error, "row %d: %d", _i, error);
	/* What did not fit is not counted. */
	ck_assert_int_eq(sink.bytes, (int64_t)(caps[_i].first + (error == 0 ? caps[_i].second : 0)));
	sink_abandon(&sink);
	remove_directory();
}
END_TEST

static const struct {
	const char *what;
	const char *bytes;
	size_t length;
	int64_t inline_bytes;
	bool is_text;
} texts[] = {
	{"nothing", TEXT(""), 100, true}, {"ASCII", TEXT("plain\r\n\t\x7f"), 100, true},
	{"UTF-8", TEXT("\xc3\xa9\xe4\xb8\xad\xf0\x9f\x98\x80"), 100, true}, {"a NUL", TEXT("a\0b"), 100, false},
	{"a NUL at the end", TEXT("ab\0"), 100, false}, {"no UTF-8", TEXT("caf\xe9"), 100, false},
	{"half a character", TEXT("caf\xc3"), 100, false}, {"a surrogate", TEXT("\xed\xa0\x80"), 100, false},
	{"as long as is shown", TEXT("12345"), 5, true},
	{"longer than is shown", TEXT("123456"), 5, false}, /* not looked at */
};

START_TEST(tells_text)
{
	struct sink sink;
	struct body body;

	make_directory();
	open_sink(&sink, INT64_MAX, texts[_i].inline_bytes);
	/* Byte by byte: a character may come in pieces. */
	for (size_t i = 0; i < texts[_i].length; i++)
		ck_assert_int_eq(sink_write(&sink, texts[_i].bytes + i, 1), 0);
	ck_assert_int_eq(sink_finish(&sink, &body), 0);
	ck_assert_msg(body.is_text == texts[_i].is_text, "%s is%s text", texts[_i].what, body.is_text ? "" : " no");
	drop_body(&body);
	remove_directory();
}
END_TEST

START_TEST(abandons_bodies)
{
	static const size_t counts[] = {0, 10, MEMORY, MEMORY + 1, 500000};

	make_directory();
	for (int i = 0; i < COUNT(counts); i++) {
		struct sink sink;

		open_sink(&sink, INT64_MAX, 0);
		ck_assert_int_eq(write_pattern(&sink, counts[i], 50000), 0);
		ck_assert_int_eq(file_is_there(), counts[i] > MEMORY);
		sink_abandon(&sink);
		ck_assert_msg(!file_is_there(), "after %zu bytes the file stays", counts[i]);
		sink_abandon(&sink);
	}
	remove_directory();
}
END_TEST

START_TEST(tells_errors_of_the_file)
{
	struct sink sink;

	make_directory();
	open_sink(&sink, INT64_MAX, 0);
	remove_directory();
	ck_assert_int_eq(write_pattern(&sink, MEMORY, MEMORY), 0); /* no file is needed yet */
	ck_assert_int_eq(write_pattern(&sink, 1, 1), -ENOENT);
	sink_abandon(&sink);
}
END_TEST

/* ---- the suites */

static TCase *
redirect_tests(void)
{
	TCase *tests = tcase_create("redirect");

	tcase_add_loop_test(tests, follows_redirects, 0, COUNT(statuses));
	tcase_add_test(tests, follows_no_other_status);
	tcase_add_test(tests, drops_fields_of_the_body);
	return tests;
}

static TCase *
head_tests(void)
{
	TCase *tests = tcase_create("head");

	tcase_add_loop_test(tests, reads_heads, 0, COUNT(heads));
	tcase_add_test(tests, ignores_trailers);
	tcase_add_test(tests, waits_for_the_end);
	tcase_add_test(tests, bounds_the_fields);
	tcase_add_test(tests, bounds_the_bytes);
	tcase_add_test(tests, bounds_the_interim_heads);
	tcase_add_test(tests, bounds_the_trailers);
	tcase_add_test(tests, bounds_folding);
	tcase_add_test(tests, bounds_one_line);
	tcase_add_loop_test(tests, tells_the_length, 0, COUNT(lengths));
	tcase_add_loop_test(tests, tells_the_type, 0, COUNT(types));
	return tests;
}

static TCase *
sink_tests(void)
{
	TCase *tests = tcase_create("sink");

	tcase_add_loop_test(tests, hashes_bodies, 0, COUNT(vectors));
	tcase_add_loop_test(tests, spills_to_a_file, 0, COUNT(spills));
	tcase_add_test(tests, keeps_files_private);
	tcase_add_loop_test(tests, stops_at_the_cap, 0, COUNT(caps));
	tcase_add_loop_test(tests, tells_text, 0, COUNT(texts));
	tcase_add_test(tests, abandons_bodies);
	tcase_add_test(tests, tells_errors_of_the_file);
	return tests;
}

int
main(void)
{
	TCase *(*const groups[])(void) = {redirect_tests, head_tests, sink_tests};
	Suite *suite = suite_create("fetch");
	SRunner *runner = srunner_create(suite);

	for (int i = 0; i < COUNT(groups); i++) {
		TCase *tests = groups[i]();

		tcase_set_timeout(tests, 60); /* sanitizers on a busy machine */
		suite_add_tcase(suite, tests);
	}
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
