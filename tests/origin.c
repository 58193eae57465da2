/*
 * The scripted origin; see origin.h.
 *
 * The loop thread owns the connections, the timers and everything in them. The log of requests, the released keys and
 * the two wake-up flags are shared with the test's threads, under `lock`; `changed` is signalled at every change of the log.
 * A connection reads one request whole, its route fills `out` and names what comes behind it (a source of generated
 * bytes, a pause, an ending), and conn_pump hands that to the socket. Requests that come ahead of their turn stay in `in`.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "origin.h"

#include "bytes.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#define NO_TIMER ((size_t)-1)
#define RESET_PAUSE_MS 40 /* lets the client read what came before the RST */

enum source { SOURCE_NONE, SOURCE_TEXT, SOURCE_PATTERN, SOURCE_ENDLESS, SOURCE_ENDLESS_HEAD, SOURCE_DRIP };
enum ending { ENDING_KEEP, ENDING_CLOSE, ENDING_RESET, ENDING_STALL };

struct conn {
	struct origin *origin;
	struct conn *next, **back; /* the origin's list */
	int fd;
	bool writing; /* EPOLLOUT is asked for */
	bool answering;
	struct bytes in;
	struct bytes out;
	size_t out_done;

	/* The request being answered. */
	struct origin_request *request;
	uint64_t number[2]; /* the path's /N/M */
	int numbers;
	enum source source;
	uint64_t source_at, source_left;
	uint64_t drip_ms;
	enum ending ending;
	bool held; /* by /hold, until its key is released */
	bool gated;
	void (*resume)(struct conn *conn); /* called when the timer is due, or when let go */
	uint64_t due_ms;
	size_t timer; /* index in the heap, or NO_TIMER */
};

struct origin {
	pthread_t thread;
	bool joined;
	unsigned port;
	int listen_fd, epoll_fd, wake_fd;
	struct conn *conns;
	struct conn **timers; /* a heap, the earliest first */
	size_t timer_count, timer_room;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool stopping;
	struct origin_request **requests;
	size_t request_count, request_room;
	char **released;
	size_t released_count;
};

static void conn_pump(struct conn *conn);
static void conn_next_request(struct conn *conn);

static void *
must(void *memory)
{
	if (!memory)
		abort();
	return memory;
}

static uint64_t
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- the bytes of bodies */

void
origin_text(uint64_t offset, char *ret_text, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		uint64_t at = offset + i;

		ret_text[i] = at % 64 == 63 ? '\n' : (char)('a' + (at + at / 64) % 26);
	}
}

void
origin_pattern(uint64_t offset, char *ret_bytes, size_t size)
{
	for (size_t i = 0; i < size; i++)
		ret_bytes[i] = (char)(uint8_t)(((offset + i) * UINT64_C(2654435761)) >> 16);
}

/* ---- timers: a binary heap */

static void
timer_place(struct origin *origin, size_t at, struct conn *conn)
{
	origin->timers[at] = conn;
	conn->timer = at;
}

static void
timer_sift(struct origin *origin, size_t at)
{
	struct conn *conn = origin->timers[at];

	while (at > 0 && origin->timers[(at - 1) / 2]->due_ms > conn->due_ms) {
		timer_place(origin, at, origin->timers[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	for (size_t child; (child = 2 * at + 1) < origin->timer_count; at = child) {
		if (child + 1 < origin->timer_count &&
			origin->timers[child + 1]->due_ms < origin->timers[child]->due_ms)
			child++;
		if (origin->timers[child]->due_ms >= conn->due_ms)
			break;
		timer_place(origin, at, origin->timers[child]);
	}
	timer_place(origin, at, conn);
}

static void
timer_stop(struct conn *conn)
{
	struct origin *origin = conn->origin;
	size_t at = conn->timer;

	if (at == NO_TIMER)
		return;
	conn->timer = NO_TIMER;
	origin->timer_count--;
	if (at == origin->timer_count)
		return;
	timer_place(origin, at, origin->timers[origin->timer_count]);
	timer_sift(origin, at);
}

static void
timer_start(struct conn *conn, uint64_t delay_ms, void (*resume)(struct conn *))
{
	struct origin *origin = conn->origin;

	timer_stop(conn);
	if (origin->timer_count == origin->timer_room) {
		origin->timer_room = origin->timer_room ? origin->timer_room * 2 : 64;
		origin->timers = must(realloc(origin->timers, origin->timer_room * sizeof(struct conn *)));
	}
	conn->due_ms = now_ms() + delay_ms;
	conn->resume = resume;
	timer_place(origin, origin->timer_count++, conn);
	timer_sift(origin, conn->timer);
}

/* ---- the log */

static void
request_free(struct origin_request *request)
{
	free(request->method);
	free(request->target);
	free(request->key);
	for (size_t i = 0; i < request->field_count; i++) {
		free(request->fields[i].name);
		free(request->fields[i].value);
	}
	free(request->fields);
	free(request->body);
	free(request);
}

static void
log_add(struct origin *origin, struct origin_request *request)
{
	pthread_mutex_lock(&origin->lock);
	if (origin->request_count == origin->request_room) {
		origin->request_room = origin->request_room ? origin->request_room * 2 : 64;
		origin->requests =
			must(realloc(origin->requests, origin->request_room * sizeof(struct origin_request *)));
	}
	origin->requests[origin->request_count++] = request;
	pthread_cond_broadcast(&origin->changed);
	pthread_mutex_unlock(&origin->lock);
}

static void
log_end(struct conn *conn, enum origin_end end)
{
	struct origin *origin = conn->origin;

	if (!conn->request)
		return;
	pthread_mutex_lock(&origin->lock);
	if (conn->request->end == ORIGIN_OPEN)
		conn->request->end = end;
	pthread_cond_broadcast(&origin->changed);
	pthread_mutex_unlock(&origin->lock);
	conn->request = NULL;
}

static bool
key_is_released_locked(const struct origin *origin, const char *key)
{
	for (size_t i = 0; i < origin->released_count; i++)
		if (!strcmp(origin->released[i], key))
			return true;
	return false;
}

static bool
key_is_released(struct origin *origin, const char *key)
{
	bool released;

	pthread_mutex_lock(&origin->lock);
	released = key_is_released_locked(origin, key);
	pthread_mutex_unlock(&origin->lock);
	return released;
}

static size_t
count_locked(const struct origin *origin, const char *key)
{
	size_t count = 0;

	for (size_t i = 0; i < origin->request_count; i++)
		count += !key || !strcmp(origin->requests[i]->key, key);
	return count;
}

size_t
origin_count(struct origin *origin, const char *key)
{
	size_t count;

	pthread_mutex_lock(&origin->lock);
	count = count_locked(origin, key);
	pthread_mutex_unlock(&origin->lock);
	return count;
}

static struct timespec
patience_from_now(void)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ORIGIN_PATIENCE_MS / 1000;
	return until;
}

static struct origin_request *
nth_of_key_locked(const struct origin *origin, const char *key, size_t nth)
{
	for (size_t i = 0; i < origin->request_count; i++)
		if (!strcmp(origin->requests[i]->key, key) && !nth--)
			return origin->requests[i];
	return NULL;
}

const struct origin_request *
origin_await_seen(struct origin *origin, const char *key, size_t nth)
{
	struct timespec until = patience_from_now();
	struct origin_request *request;
	int expired = 0;

	pthread_mutex_lock(&origin->lock);
	while (!(request = nth_of_key_locked(origin, key, nth)) && !expired)
		expired = pthread_cond_timedwait(&origin->changed, &origin->lock, &until);
	pthread_mutex_unlock(&origin->lock);
	return request;
}

enum origin_end
origin_await_end(struct origin *origin, const struct origin_request *request)
{
	struct timespec until = patience_from_now();
	enum origin_end end;
	int expired = 0;

	pthread_mutex_lock(&origin->lock);
	while ((end = request->end) == ORIGIN_OPEN && !expired)
		expired = pthread_cond_timedwait(&origin->changed, &origin->lock, &until);
	pthread_mutex_unlock(&origin->lock);
	return end;
}

static void
wake(struct origin *origin)
{
	uint64_t one = 1;

	if (write(origin->wake_fd, &one, sizeof one) != sizeof one)
		abort();
}

void
origin_release(struct origin *origin, const char *key)
{
	pthread_mutex_lock(&origin->lock);
	if (!key_is_released_locked(origin, key)) {
		origin->released = must(realloc(origin->released, (origin->released_count + 1) * sizeof(char *)));
		origin->released[origin->released_count++] = must(strdup(key));
	}
	pthread_mutex_unlock(&origin->lock);
	wake(origin);
}

const char *
origin_field(const struct origin_request *request, const char *name)
{
	for (size_t i = 0; i < request->field_count; i++)
		if (!strcmp(request->fields[i].name, name))
			return request->fields[i].value;
	return NULL;
}

size_t
origin_field_count(const struct origin_request *request, const char *name)
{
	size_t count = 0;

	for (size_t i = 0; i < request->field_count; i++)
		count += !strcmp(request->fields[i].name, name);
	return count;
}

/* ---- pieces of answers */

static bool
is_head(const struct conn *conn)
{
	return !strcmp(conn->request->method, "HEAD");
}

static void
put_status(struct conn *conn, unsigned status)
{
	bytes_format(&conn->out, "HTTP/1.1 %u Scripted\r\n", status);
}

static void
put_end_of_head(struct conn *conn)
{
	bytes_text(&conn->out, "\r\n");
}

static void
put_body(struct conn *conn, const char *type, const void *body, size_t size)
{
	bytes_format(&conn->out, "Content-Type: %s\r\nContent-Length: %zu\r\n\r\n", type, size);
	if (!is_head(conn))
		bytes_append(&conn->out, body, size);
}

static void
put_text(struct conn *conn, unsigned status, const char *text)
{
	put_status(conn, status);
	put_body(conn, "text/plain", text, strlen(text));
}

/* A head that announces so many bytes; the caller says where they come from. */
static void
put_head(struct conn *conn, const char *type, uint64_t length)
{
	put_status(conn, 200);
	bytes_format(&conn->out, "Content-Type: %s\r\nContent-Length: %llu\r\n\r\n", type, (unsigned long long)length);
}

static void
put_source(struct conn *conn, enum source source, uint64_t size)
{
	if (is_head(conn))
		return;
	conn->source = source;
	conn->source_left = size;
	conn->source_at = 0;
}

static int
hex_digit(char digit)
{
	if (digit >= '0' && digit <= '9')
		return digit - '0';
	digit = (char)tolower((unsigned char)digit);
	return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

static size_t
unescape(const char *from, size_t size, char *ret_to)
{
	size_t used = 0;

	for (size_t i = 0; i < size; i++) {
		if (from[i] == '%' && i + 2 < size && hex_digit(from[i + 1]) >= 0 && hex_digit(from[i + 2]) >= 0) {
			ret_to[used++] = (char)(hex_digit(from[i + 1]) * 16 + hex_digit(from[i + 2]));
			i += 2;
		} else {
			ret_to[used++] = from[i];
		}
	}
	ret_to[used] = '\0';
	return used;
}

/* The value of a query parameter, unescaped; "" without it. The caller frees. */
static char *
query_value(const char *target, const char *name)
{
	size_t name_length = strlen(name);
	const char *at = strchr(target, '?');

	while (at) {
		const char *end;

		at++;
		end = at + strcspn(at, "&");
		if (!strncmp(at, name, name_length) && at[name_length] == '=') {
			char *value = must(malloc((size_t)(end - at) + 1));

			unescape(at + name_length + 1, (size_t)(end - at) - name_length - 1, value);
			return value;
		}
		at = *end ? end : NULL;
	}
	return must(strdup(""));
}

/* Waits, then does what `resume` says. */
static void
pause_then(struct conn *conn, uint64_t delay_ms, void (*resume)(struct conn *))
{
	timer_start(conn, delay_ms, resume);
}

/* ---- the routes' answers */

static void
answer_text(struct conn *conn)
{
	put_head(conn, "text/plain", conn->number[0]);
	put_source(conn, SOURCE_TEXT, conn->number[0]);
}

static void
answer_bytes(struct conn *conn)
{
	put_head(conn, "application/octet-stream", conn->number[0]);
	put_source(conn, SOURCE_PATTERN, conn->number[0]);
}

static json_t *
json_latin1(const char *text)
{
	struct bytes utf8 = {0};
	json_t *value = json_string(text);

	if (value)
		return value;
	for (; *text; text++) {
		unsigned char byte = (unsigned char)*text;
		char two[2] = {(char)(0xc0 | byte >> 6), (char)(0x80 | (byte & 0x3f))};

		bytes_append(&utf8, byte < 0x80 ? text : two, byte < 0x80 ? 1 : 2);
	}
	value = json_string(utf8.data);
	bytes_release(&utf8);
	return value;
}

static char *
base64_of(const char *data, size_t size)
{
	char *text = must(malloc(size / 3 * 4 + 5));

	EVP_EncodeBlock((unsigned char *)text, (const unsigned char *)data, (int)size);
	return text;
}

static void
answer_echo(struct conn *conn)
{
	const struct origin_request *request = conn->request;
	json_t *fields = json_array();
	char *base64 = base64_of(request->body, request->body_bytes);
	char *text;
	json_t *echo;

	for (size_t i = 0; i < request->field_count; i++)
		json_array_append_new(
			fields, json_pack("[s, o]", request->fields[i].name, json_latin1(request->fields[i].value)));
	echo = json_pack("{s:s, s:s, s:o, s:s}", "method", request->method, "target", request->target, "headers",
		fields, "body_base64", base64);
	text = must(json_dumps(echo, JSON_COMPACT));
	put_status(conn, 200);
	put_body(conn, "application/json", text, strlen(text));
	json_decref(echo);
	free(text);
	free(base64);
}

static void
answer_status(struct conn *conn)
{
	unsigned status = (unsigned)conn->number[0];
	char body[32];

	if (status == 204 || status == 304) {
		put_status(conn, status);
		put_end_of_head(conn);
		return;
	}
	snprintf(body, sizeof body, "status %u\n", status);
	put_text(conn, status, body);
}

static void
resume_delay(struct conn *conn)
{
	char body[48];

	if (conn->numbers == 2) {
		put_head(conn, "text/plain", conn->number[1]);
		put_source(conn, SOURCE_TEXT, conn->number[1]);
		return;
	}
	snprintf(body, sizeof body, "waited %llu\n", (unsigned long long)conn->number[0]);
	put_text(conn, 200, body);
}

static void
answer_delay(struct conn *conn)
{
	pause_then(conn, conn->number[0], resume_delay);
}

static void
answer_drip(struct conn *conn)
{
	put_head(conn, "text/plain", conn->number[0]);
	put_source(conn, SOURCE_DRIP, conn->number[0]);
	conn->drip_ms = conn->number[1];
}

static void
answer_stall(struct conn *conn)
{
	put_head(conn, "text/plain", conn->number[0] + 1000);
	put_source(conn, SOURCE_TEXT, conn->number[0]);
	conn->ending = ENDING_STALL;
}

static void
answer_reset(struct conn *conn)
{
	conn->ending = ENDING_RESET;
}

static void
resume_nothing(struct conn *conn)
{
	(void)conn;
}

static void
answer_resetbody(struct conn *conn)
{
	put_head(conn, "text/plain", 1000);
	bytes_text(&conn->out, "only the beginning of it");
	conn->ending = ENDING_RESET;
}

static void
answer_close(struct conn *conn)
{
	put_head(conn, "text/plain", 1000);
	bytes_text(&conn->out, "only the beginning of it");
	conn->ending = ENDING_CLOSE;
}

static void
put_chunked_head(struct conn *conn)
{
	put_status(conn, 200);
	bytes_text(&conn->out, "Content-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n");
}

/* Apart from resume_nothing, which ends in a reset. */
static void
resume_closeafter(struct conn *conn)
{
	(void)conn;
}

/* /closeafter/MS: a whole answer that lets the connection look kept, which is closed right behind it, or so much later. */
static void
answer_closeafter(struct conn *conn)
{
	put_text(conn, 200, "and gone\n");
	conn->ending = ENDING_CLOSE;
	if (conn->number[0])
		pause_then(conn, conn->number[0], resume_closeafter);
}

static void
answer_closechunked(struct conn *conn)
{
	put_chunked_head(conn);
	bytes_text(&conn->out, "5\r\npart0\r\n");
	conn->ending = ENDING_CLOSE;
}

static void
answer_badchunk(struct conn *conn)
{
	put_chunked_head(conn);
	bytes_text(&conn->out, "5\r\npart0\r\nzz\r\nwhat is that\r\n");
	conn->ending = ENDING_CLOSE;
}

static void
answer_chunked(struct conn *conn)
{
	put_chunked_head(conn);
	for (uint64_t i = 0; i < conn->number[0] && !is_head(conn); i++)
		bytes_format(&conn->out, "5\r\npart%u\r\n", (unsigned)(i % 10));
	if (!is_head(conn))
		bytes_text(&conn->out, "0\r\n\r\n");
}

static void
answer_cuthead(struct conn *conn)
{
	bytes_text(&conn->out, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-Cu");
	conn->ending = ENDING_CLOSE;
}

static void
answer_empty(struct conn *conn)
{
	conn->ending = ENDING_CLOSE;
}

static void
answer_garbage(struct conn *conn)
{
	bytes_text(&conn->out, "good day, this is not the protocol you took it for\r\n\r\n");
	conn->ending = ENDING_CLOSE;
}

static void
answer_endless(struct conn *conn)
{
	put_status(conn, 200);
	bytes_text(&conn->out, "Content-Type: text/plain\r\n\r\n");
	put_source(conn, SOURCE_ENDLESS, UINT64_MAX);
	conn->ending = ENDING_CLOSE;
}

static void
answer_endlesshead(struct conn *conn)
{
	put_status(conn, 200);
	conn->source = SOURCE_ENDLESS_HEAD;
	conn->source_left = UINT64_MAX;
	conn->ending = ENDING_CLOSE;
}

/* The query goes along, so that the key names every hop. */
static void
put_next_hop(struct conn *conn, const char *path)
{
	const char *query = strchr(conn->request->target, '?');

	if (!conn->number[0]) {
		put_text(conn, 200, "arrived\n");
		return;
	}
	put_status(conn, 302);
	bytes_format(&conn->out, "Location: %s/%llu", path, (unsigned long long)conn->number[0] - 1);
	if (conn->numbers == 2)
		bytes_format(&conn->out, "/%llu", (unsigned long long)conn->number[1]);
	bytes_format(&conn->out, "%s\r\n", query ? query : "");
	put_body(conn, "text/plain", "moved\n", 6);
}

static void
answer_redirect(struct conn *conn)
{
	put_next_hop(conn, "/redirect");
}

static void
resume_slowredirect(struct conn *conn)
{
	put_next_hop(conn, "/slowredirect");
}

static void
answer_slowredirect(struct conn *conn)
{
	pause_then(conn, conn->number[1], resume_slowredirect);
}

static void
answer_redirect_to(struct conn *conn)
{
	char *url = query_value(conn->request->target, "url");
	char *status = query_value(conn->request->target, "status");

	put_status(conn, *status ? (unsigned)atoi(status) : 302);
	bytes_format(&conn->out, "Location: %s\r\n", url);
	put_body(conn, "text/plain", "moved\n", 6);
	free(url);
	free(status);
}

static void
put_coded(struct conn *conn, const char *coding, const void *body, size_t size)
{
	put_status(conn, 200);
	bytes_format(&conn->out, "Content-Encoding: %s\r\n", coding);
	put_body(conn, "text/plain", body, size);
}

static void
put_gzipped(struct conn *conn, const char *plain, size_t size)
{
	z_stream stream = {0};
	size_t room = compressBound(size) + 64;
	char *squeezed = must(malloc(room));

	if (deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
		abort();
	stream.next_in = (Bytef *)(uintptr_t)plain;
	stream.avail_in = (uInt)size;
	stream.next_out = (Bytef *)squeezed;
	stream.avail_out = (uInt)room;
	if (deflate(&stream, Z_FINISH) != Z_STREAM_END)
		abort();
	put_coded(conn, "gzip", squeezed, stream.total_out);
	deflateEnd(&stream);
	free(squeezed);
}

static void
answer_gzip(struct conn *conn)
{
	size_t size = conn->numbers ? (size_t)conn->number[0] : strlen(ORIGIN_GZIPPED);
	char *plain = must(malloc(size + 1));

	if (conn->numbers)
		origin_text(0, plain, size);
	else
		memcpy(plain, ORIGIN_GZIPPED, size);
	put_gzipped(conn, plain, size);
	free(plain);
}

static void
answer_br(struct conn *conn)
{
	static const unsigned char squeezed[] = {0x1b, 0x31, 0x00, 0xf8, 0x45, 0x4f, 0xd6, 0x95, 0xf4, 0x75, 0xb5, 0xd8,
		0xfe, 0xca, 0x0c, 0x45, 0x2b, 0x32, 0xca, 0x32, 0x05, 0x49, 0x11, 0xc0, 0xd8, 0x67, 0xa7, 0x4f, 0x7a,
		0x11, 0x91, 0x3c, 0xd0, 0xba, 0x45, 0xe1, 0x30};

	put_coded(conn, "br", squeezed, sizeof squeezed);
}

static void
answer_zstd(struct conn *conn)
{
	static const unsigned char squeezed[] = {0x28, 0xb5, 0x2f, 0xfd, 0x20, 0x32, 0x3d, 0x01, 0x00, 0x04, 0x02, 0x73,
		0x71, 0x75, 0x65, 0x65, 0x7a, 0x65, 0x64, 0x20, 0x61, 0x6e, 0x64, 0x20, 0x73, 0x70, 0x65, 0x6c, 0x6c,
		0x65, 0x64, 0x20, 0x6f, 0x75, 0x74, 0x20, 0x61, 0x67, 0x61, 0x69, 0x6e, 0x2c, 0x0a, 0x01, 0x00, 0x9b,
		0x37, 0x9d};

	put_coded(conn, "zstd", squeezed, sizeof squeezed);
}

static void
answer_badgzip(struct conn *conn)
{
	static const char broken[] = "\x1f\x8b\x08\0\0\0\0\0\0\x03 these bytes never went through a compressor";

	put_coded(conn, "gzip", broken, sizeof broken - 1);
}

static void
answer_unknowncoding(struct conn *conn)
{
	put_coded(conn, "rot13", "uryyb\n", 6);
}

static void
answer_nocl(struct conn *conn)
{
	put_status(conn, 200);
	bytes_text(&conn->out, "Content-Type: text/plain\r\n\r\n");
	if (!is_head(conn))
		bytes_text(&conn->out, "until the end");
	conn->ending = ENDING_CLOSE;
}

static void
answer_flaky(struct conn *conn)
{
	if (origin_count(conn->origin, conn->request->key) <= conn->number[0])
		conn->ending = ENDING_RESET;
	else
		put_text(conn, 200, "at last\n");
}

static void
answer_headers(struct conn *conn)
{
	put_status(conn, 200);
	for (unsigned i = 0; i < conn->number[0]; i++)
		bytes_format(&conn->out, "X-H-%u: v%u\r\n", i, i);
	put_body(conn, "text/plain", "headers\n", 8);
}

static void
answer_cookie(struct conn *conn)
{
	put_status(conn, 200);
	bytes_text(&conn->out, "Set-Cookie: a=1\r\nX-Between: b\r\nSet-Cookie: b=2; Path=/\r\n");
	put_body(conn, "text/plain", "cookies\n", 8);
}

static void
answer_sink(struct conn *conn)
{
	unsigned char hash[32];
	struct bytes body = {0};

	EVP_Digest(conn->request->body, conn->request->body_bytes, hash, NULL, EVP_sha256(), NULL);
	bytes_format(&body, "{\"length\":%zu,\"sha256\":\"", conn->request->body_bytes);
	for (size_t i = 0; i < sizeof hash; i++)
		bytes_format(&body, "%02x", hash[i]);
	bytes_text(&body, "\"}");
	put_status(conn, 200);
	put_body(conn, "application/json", body.data, body.used);
	bytes_release(&body);
}

/* With url in the query it leads on to there. */
static void
resume_hold(struct conn *conn)
{
	if (strstr(conn->request->target, "url=") != NULL)
		answer_redirect_to(conn);
	else
		put_text(conn, 200, "let go\n");
}

static void
answer_hold(struct conn *conn)
{
	if (key_is_released(conn->origin, conn->request->key)) {
		resume_hold(conn);
		return;
	}
	conn->held = true;
	conn->resume = resume_hold;
}

static void
resume_gate(struct conn *conn)
{
	conn->gated = false;
	put_text(conn, 200, "through the gate\n");
}

static bool
at_same_gate(const struct conn *conn, const struct conn *other)
{
	return other->gated && other->number[0] == conn->number[0] && !strcmp(other->request->key, conn->request->key);
}

/* Opens once as many are in flight at the same time as the path says. */
static void
answer_gate(struct conn *conn)
{
	uint64_t waiting = 0;

	conn->gated = true;
	conn->resume = resume_gate;
	for (struct conn *other = conn->origin->conns; other; other = other->next)
		waiting += at_same_gate(conn, other);
	if (waiting < conn->number[0])
		return;
	for (struct conn *other = conn->origin->conns; other; other = other->next)
		if (other != conn && at_same_gate(conn, other))
			pause_then(other, 0, resume_gate);
	pause_then(conn, 0, resume_gate);
}

static void
answer_1xx(struct conn *conn)
{
	bytes_text(&conn->out, "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\nX-Early: yes\r\n\r\n");
	put_text(conn, 200, "after the hint\n");
}

static void
answer_latin1(struct conn *conn)
{
	put_status(conn, 200);
	bytes_text(&conn->out, "X-Latin: caf\xe9\r\nX-Utf8: caf\xc3\xa9\r\n");
	put_body(conn, "text/plain", "latin\n", 6);
}

static void
put_hex(struct conn *conn, const char *hex)
{
	for (; hex[0] && hex[1]; hex += 2)
		bytes_append(&conn->out, &(char){(char)(hex_digit(hex[0]) * 16 + hex_digit(hex[1]))}, 1);
}

/* /script?hex=BYTES: just these bytes, and the end. */
static void
answer_script(struct conn *conn)
{
	char *hex = query_value(conn->request->target, "hex");

	put_hex(conn, hex);
	conn->ending = ENDING_CLOSE;
	free(hex);
}

/* /raw?hex=BYTES&type=TYPE&extra=FIELD: any body under any type; a `type=-` leaves the field out. */
static void
answer_raw(struct conn *conn)
{
	char *hex = query_value(conn->request->target, "hex");
	char *type = query_value(conn->request->target, "type");
	char *extra = query_value(conn->request->target, "extra");

	put_status(conn, 200);
	if (*extra)
		bytes_format(&conn->out, "%s\r\n", extra);
	if (strcmp(type, "-") != 0)
		bytes_format(&conn->out, "Content-Type: %s\r\n", *type ? type : "text/plain");
	bytes_format(&conn->out, "Content-Length: %zu\r\n\r\n", strlen(hex) / 2);
	if (!is_head(conn))
		put_hex(conn, hex);
	free(hex);
	free(type);
	free(extra);
}

static void
answer_root(struct conn *conn)
{
	put_text(conn, 200, "the root\n");
}

static const struct {
	const char *name;
	void (*answer)(struct conn *conn);
	int numbers; /* how many the path must have at least */
} routes[] = {
	{"", answer_root, 0},
	{"text", answer_text, 1},
	{"bytes", answer_bytes, 1},
	{"echo", answer_echo, 0},
	{"status", answer_status, 1},
	{"delay", answer_delay, 1},
	{"drip", answer_drip, 2},
	{"stall", answer_stall, 1},
	{"reset", answer_reset, 0},
	{"resetbody", answer_resetbody, 0},
	{"close", answer_close, 0},
	{"closeafter", answer_closeafter, 0},
	{"closechunked", answer_closechunked, 0},
	{"cuthead", answer_cuthead, 0},
	{"empty", answer_empty, 0},
	{"garbage", answer_garbage, 0},
	{"endless", answer_endless, 0},
	{"endlesshead", answer_endlesshead, 0},
	{"redirect", answer_redirect, 1},
	{"redirect-to", answer_redirect_to, 0},
	{"slowredirect", answer_slowredirect, 2},
	{"gzip", answer_gzip, 0},
	{"br", answer_br, 0},
	{"zstd", answer_zstd, 0},
	{"badgzip", answer_badgzip, 0},
	{"unknowncoding", answer_unknowncoding, 0},
	{"chunked", answer_chunked, 1},
	{"badchunk", answer_badchunk, 0},
	{"nocl", answer_nocl, 0},
	{"flaky", answer_flaky, 1},
	{"headers", answer_headers, 1},
	{"cookie", answer_cookie, 0},
	{"sink", answer_sink, 0},
	{"hold", answer_hold, 0},
	{"gate", answer_gate, 1},
	{"1xx", answer_1xx, 0},
	{"latin1", answer_latin1, 0},
	{"raw", answer_raw, 0},
	{"script", answer_script, 0},
};

#define ROUTE_COUNT (sizeof routes / sizeof routes[0])

/* ---- one connection */

static void
conn_watch(struct conn *conn, bool writing)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | (writing ? EPOLLOUT : 0), .data.ptr = conn};

	if (conn->writing == writing)
		return;
	conn->writing = writing;
	epoll_ctl(conn->origin->epoll_fd, EPOLL_CTL_MOD, conn->fd, &event);
}

static void
conn_close(struct conn *conn, enum origin_end end)
{
	log_end(conn, end);
	timer_stop(conn);
	/* A child between fork and exec may hold a copy, which would keep the registration. */
	epoll_ctl(conn->origin->epoll_fd, EPOLL_CTL_DEL, conn->fd, NULL);
	close(conn->fd);
	if (conn->next)
		conn->next->back = conn->back;
	*conn->back = conn->next;
	bytes_release(&conn->in);
	bytes_release(&conn->out);
	free(conn);
}

static void
conn_reset(struct conn *conn)
{
	struct linger at_once = {.l_onoff = 1};

	setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
	conn_close(conn, ORIGIN_ANSWERED);
}

static void
conn_answered(struct conn *conn)
{
	switch (conn->ending) {
	case ENDING_KEEP:
		log_end(conn, ORIGIN_ANSWERED);
		conn->answering = false;
		conn_next_request(conn);
		break;
	case ENDING_CLOSE:
		conn_close(conn, ORIGIN_ANSWERED);
		break;
	case ENDING_RESET:
		if (conn->out_done) { /* something was sent: let it arrive first */
			conn->out_done = 0;
			pause_then(conn, RESET_PAUSE_MS, resume_nothing);
		} else {
			conn_reset(conn);
		}
		break;
	case ENDING_STALL: /* until the client leaves */
		break;
	}
}

/* Puts the next generated bytes into `out`; false when there are none now. */
static bool
conn_refill(struct conn *conn)
{
	size_t size = conn->source_left < 65536 ? (size_t)conn->source_left : 65536;

	conn->out.used = 0;
	conn->out_done = 0;
	if (!size)
		return false;
	if (conn->source == SOURCE_DRIP)
		size = 1;
	bytes_reserve(&conn->out, size);
	conn->out.used = size;
	if (conn->source == SOURCE_PATTERN)
		origin_pattern(conn->source_at, conn->out.data, size);
	else
		origin_text(conn->source_at, conn->out.data, size);
	if (conn->source == SOURCE_ENDLESS_HEAD) {
		conn->out.used = 0;
		bytes_format(&conn->out, "X-On-%llu: and on\r\n", (unsigned long long)conn->source_at);
	}
	conn->source_at += size;
	if (conn->source_left != UINT64_MAX)
		conn->source_left -= size;
	return true;
}

static void
resume_drip(struct conn *conn)
{
	conn_refill(conn);
}

/* Sends what there is; 1 when all of it is out, 0 when the socket is full, -1 when the client is gone. */
static int
conn_send(struct conn *conn)
{
	while (conn->out_done < conn->out.used) {
		ssize_t sent =
			send(conn->fd, conn->out.data + conn->out_done, conn->out.used - conn->out_done, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return errno == EAGAIN ? 0 : -1;
		conn->out_done += (size_t)sent;
	}
	return 1;
}

/* May free the connection. */
static void
conn_pump(struct conn *conn)
{
	for (;;) {
		int sent = conn_send(conn);

		if (sent < 0) {
			conn_close(conn, ORIGIN_LEFT);
			return;
		}
		conn_watch(conn, sent == 0);
		if (!sent || !conn->answering || conn->timer != NO_TIMER || conn->held || conn->gated)
			return;
		if (conn->source == SOURCE_DRIP && conn->source_left) {
			conn->out.used = conn->out_done = 0;
			pause_then(conn, conn->drip_ms, resume_drip);
			return;
		}
		if (!conn->source_left)
			break;
		conn_refill(conn);
	}
	conn_answered(conn);
}

static void
conn_resume(struct conn *conn)
{
	void (*resume)(struct conn *) = conn->resume;

	conn->held = false;
	conn->resume = NULL;
	resume(conn);
	conn_pump(conn);
}

static void
parse_numbers(struct conn *conn, const char *at)
{
	conn->numbers = 0;
	conn->number[0] = conn->number[1] = 0;
	while (conn->numbers < 2 && *at == '/' && isdigit((unsigned char)at[1])) {
		char *end;

		conn->number[conn->numbers++] = strtoull(at + 1, &end, 10);
		at = end;
	}
}

static void
conn_answer(struct conn *conn)
{
	const char *path = conn->request->target + (*conn->request->target == '/');
	size_t length = strcspn(path, "/?");

	conn->answering = true;
	conn->out.used = conn->out_done = 0;
	conn->source = SOURCE_NONE;
	conn->source_left = 0;
	conn->ending = ENDING_KEEP;
	parse_numbers(conn, path + length);
	for (size_t i = 0; i < ROUTE_COUNT; i++) {
		if (strlen(routes[i].name) == length && !strncmp(routes[i].name, path, length) &&
			conn->numbers >= routes[i].numbers) {
			routes[i].answer(conn);
			return;
		}
	}
	put_text(conn, 404, "no such script\n");
}

/* ---- reading requests */

static void
add_field(struct origin_request *request, const char *line, size_t length)
{
	const char *colon = memchr(line, ':', length);
	size_t name_length = colon ? (size_t)(colon - line) : length;
	const char *value = line + name_length + (colon != NULL);
	const char *end = line + length;
	struct origin_field *field;

	while (value < end && (*value == ' ' || *value == '\t'))
		value++;
	request->fields = must(realloc(request->fields, (request->field_count + 1) * sizeof *field));
	field = &request->fields[request->field_count++];
	field->name = must(strndup(line, name_length));
	field->value = must(strndup(value, (size_t)(end - value)));
	for (char *at = field->name; *at; at++)
		*at = (char)tolower((unsigned char)*at);
}

/* `head` ends behind its last line's CRLF. NULL for what is no request line. */
static struct origin_request *
parse_head(const char *head, size_t size)
{
	const char *end = head + size, *line = memmem(head, size, "\r\n", 2);
	const char *blank = memchr(head, ' ', (size_t)(line - head));
	const char *second = blank ? memchr(blank + 1, ' ', (size_t)(line - blank - 1)) : NULL;
	struct origin_request *request;

	if (!second || line - second != 9 || memcmp(second, " HTTP/1.", 8) != 0)
		return NULL;
	request = must(calloc(1, sizeof *request));
	request->method = must(strndup(head, (size_t)(blank - head)));
	request->target = must(strndup(blank + 1, (size_t)(second - blank - 1)));
	request->key = query_value(request->target, "k");
	for (line += 2; line < end;) {
		const char *line_end = memmem(line, (size_t)(end - line), "\r\n", 2);

		add_field(request, line, (size_t)(line_end - line));
		line = line_end + 2;
	}
	return request;
}

static void
conn_refuse(struct conn *conn)
{
	conn->in.used = 0;
	conn->answering = true;
	conn->out.used = conn->out_done = 0;
	conn->source_left = 0;
	bytes_text(&conn->out, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
	conn->ending = ENDING_CLOSE;
	conn_pump(conn);
}

/* Takes the next whole request out of `in`; NULL when there is none yet. Sets ret_bad for what is no HTTP. */
static struct origin_request *
conn_take_request(struct conn *conn, bool *ret_bad)
{
	char *end = conn->in.used ? memmem(conn->in.data, conn->in.used, "\r\n\r\n", 4) : NULL;
	struct origin_request *request;
	const char *length;
	size_t head_bytes;

	*ret_bad = !end && conn->in.used && (!isupper((unsigned char)conn->in.data[0]) || conn->in.used > 1 << 20);
	if (!end)
		return NULL;
	head_bytes = (size_t)(end - conn->in.data) + 4;
	request = parse_head(conn->in.data, head_bytes - 2);
	*ret_bad = !request || origin_field(request, "transfer-encoding");
	if (request && !*ret_bad) {
		length = origin_field(request, "content-length");
		request->body_bytes = length ? strtoull(length, NULL, 10) : 0;
		if (conn->in.used - head_bytes >= request->body_bytes) {
			request->body = must(malloc(request->body_bytes + 1));
			memcpy(request->body, conn->in.data + head_bytes, request->body_bytes);
			request->body[request->body_bytes] = '\0';
			bytes_drop_front(&conn->in, head_bytes + request->body_bytes);
			return request;
		}
	}
	if (request)
		request_free(request);
	return NULL;
}

/* May free the connection. */
static void
conn_next_request(struct conn *conn)
{
	bool bad;
	struct origin_request *request = conn_take_request(conn, &bad);

	if (bad) {
		conn_refuse(conn);
		return;
	}
	if (!request)
		return;
	conn->request = request;
	log_add(conn->origin, request);
	conn_answer(conn);
	conn_pump(conn);
}

/* May free the connection. */
static void
conn_readable(struct conn *conn)
{
	char chunk[16384];
	ssize_t got;

	while ((got = recv(conn->fd, chunk, sizeof chunk, 0)) > 0)
		bytes_append(&conn->in, chunk, (size_t)got);
	if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
		conn_close(conn, ORIGIN_LEFT);
		return;
	}
	if (!conn->answering)
		conn_next_request(conn);
}

static void
origin_accept(struct origin *origin)
{
	int fd, one = 1;

	while ((fd = accept4(origin->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct conn *conn = must(calloc(1, sizeof *conn));
		struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.ptr = conn};

		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
		conn->origin = origin;
		conn->fd = fd;
		conn->timer = NO_TIMER;
		conn->next = origin->conns;
		conn->back = &origin->conns;
		if (conn->next)
			conn->next->back = &conn->next;
		origin->conns = conn;
		epoll_ctl(origin->epoll_fd, EPOLL_CTL_ADD, fd, &event);
	}
}

/* ---- the loop */

/* Starts again from the front after each, for a resumed connection may be gone. */
static bool
let_go_one(struct origin *origin)
{
	for (struct conn *conn = origin->conns; conn; conn = conn->next) {
		if (conn->held && key_is_released(origin, conn->request->key)) {
			conn_resume(conn);
			return true;
		}
	}
	return false;
}

/* False when the loop is to end. */
static bool
origin_woken(struct origin *origin)
{
	uint64_t count;
	bool stopping;

	if (read(origin->wake_fd, &count, sizeof count) < 0 && errno != EAGAIN)
		abort();
	pthread_mutex_lock(&origin->lock);
	stopping = origin->stopping;
	pthread_mutex_unlock(&origin->lock);
	while (!stopping && let_go_one(origin))
		;
	return !stopping;
}

static void
origin_run_timer(struct conn *conn)
{
	bool resets = conn->resume == resume_nothing;

	timer_stop(conn);
	if (resets)
		conn_reset(conn);
	else
		conn_resume(conn);
}

static int
origin_next_timeout(const struct origin *origin)
{
	uint64_t now = now_ms();

	if (!origin->timer_count)
		return -1;
	if (origin->timers[0]->due_ms <= now)
		return 0;
	return origin->timers[0]->due_ms - now > INT_MAX ? INT_MAX : (int)(origin->timers[0]->due_ms - now);
}

/* One event a turn for a connection: it may be freed by its own event only, as timers and releases run apart. */
static void *
origin_loop(void *argument)
{
	struct origin *origin = argument;
	struct epoll_event events[256];
	bool going = true;

	while (going) {
		int count = epoll_wait(origin->epoll_fd, events, 256, origin_next_timeout(origin));
		bool woken = false;

		for (int i = 0; i < count; i++) {
			if (events[i].data.ptr == &origin->listen_fd)
				origin_accept(origin);
			else if (events[i].data.ptr == &origin->wake_fd)
				woken = true;
			else if (events[i].events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
				conn_readable(events[i].data.ptr);
			else
				conn_pump(events[i].data.ptr);
		}
		if (woken)
			going = origin_woken(origin);
		while (origin->timer_count && origin->timers[0]->due_ms <= now_ms())
			origin_run_timer(origin->timers[0]);
	}
	while (origin->conns)
		conn_close(origin->conns, ORIGIN_LEFT);
	return NULL;
}

/* ---- start and stop */

static int
listen_on(unsigned port, unsigned *ret_port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	socklen_t size = sizeof address;
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 65535) ||
		getsockname(fd, (struct sockaddr *)&address, &size)) {
		close(fd);
		return -1;
	}
	*ret_port = ntohs(address.sin_port);
	return fd;
}

static void
raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (!getrlimit(RLIMIT_NOFILE, &limit) && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static void
origin_init_lock(struct origin *origin)
{
	pthread_condattr_t monotonic;

	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&origin->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	pthread_mutex_init(&origin->lock, NULL);
}

struct origin *
origin_start(unsigned port)
{
	struct origin *origin = must(calloc(1, sizeof *origin));
	struct epoll_event listening = {.events = EPOLLIN, .data.ptr = &origin->listen_fd};
	struct epoll_event waking = {.events = EPOLLIN, .data.ptr = &origin->wake_fd};

	raise_descriptor_limit();
	json_object_seed(0);
	origin->listen_fd = listen_on(port, &origin->port);
	if (origin->listen_fd < 0) {
		free(origin);
		return NULL;
	}
	origin->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	origin->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (epoll_ctl(origin->epoll_fd, EPOLL_CTL_ADD, origin->listen_fd, &listening) ||
		epoll_ctl(origin->epoll_fd, EPOLL_CTL_ADD, origin->wake_fd, &waking))
		abort();
	origin_init_lock(origin);
	if (pthread_create(&origin->thread, NULL, origin_loop, origin))
		abort();
	return origin;
}

void
origin_join(struct origin *origin)
{
	if (!origin->joined && pthread_join(origin->thread, NULL))
		abort();
	origin->joined = true;
}

void
origin_stop(struct origin *origin)
{
	pthread_mutex_lock(&origin->lock);
	origin->stopping = true;
	pthread_mutex_unlock(&origin->lock);
	wake(origin);
	origin_join(origin);
	close(origin->listen_fd);
	close(origin->epoll_fd);
	close(origin->wake_fd);
	for (size_t i = 0; i < origin->request_count; i++)
		request_free(origin->requests[i]);
	for (size_t i = 0; i < origin->released_count; i++)
		free(origin->released[i]);
	free(origin->requests);
	free(origin->released);
	free(origin->timers);
	pthread_cond_destroy(&origin->changed);
	pthread_mutex_destroy(&origin->lock);
	free(origin);
}

unsigned
origin_port(const struct origin *origin)
{
	return origin->port;
}
