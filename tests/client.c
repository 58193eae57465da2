/* The tests' HTTP client; see client.h. Reads strictly what RFC 9112 says a client may rely on, and no more. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "client.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* ---- the wire */

static int
connect_unix(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
	if (connect(fd, (struct sockaddr *)&address, sizeof address)) {
		int error = errno;

		close(fd);
		return -error;
	}
	return fd;
}

static int
connect_port(unsigned port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (connect(fd, (struct sockaddr *)&address, sizeof address)) {
		int error = errno;

		close(fd);
		return -error;
	}
	return fd;
}

int
client_connect(struct client_wire *wire, const struct client_address *address)
{
	*wire = (struct client_wire){.fd = -1};
	wire->fd = address->unix_path ? connect_unix(address->unix_path) : connect_port(address->port);
	return wire->fd < 0 ? wire->fd : 0;
}

void
client_close(struct client_wire *wire)
{
	if (wire->fd >= 0)
		close(wire->fd);
	wire->fd = -1;
	bytes_release(&wire->in);
}

bool
client_send(struct client_wire *wire, const void *data, size_t size)
{
	const char *at = data;

	while (size) {
		ssize_t sent = send(wire->fd, at, size, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return false;
		at += sent;
		size -= (size_t)sent;
	}
	return true;
}

/* 1 when bytes were added to `in`, 0 at the end, −errno else. */
static int
wire_read(struct client_wire *wire)
{
	char chunk[65536];
	ssize_t got;

	for (;;) {
		struct pollfd ready = {.fd = wire->fd, .events = POLLIN};
		int count = poll(&ready, 1, CLIENT_PATIENCE_MS);

		if (count < 0 && errno == EINTR)
			continue;
		if (count <= 0)
			return count ? -errno : -ETIMEDOUT;
		got = recv(wire->fd, chunk, sizeof chunk, 0);
		if (got >= 0 || errno != EINTR)
			break;
	}
	if (got < 0)
		return -errno;
	if (got > 0)
		bytes_append(&wire->in, chunk, (size_t)got);
	return got > 0;
}

bool
client_sees_end(struct client_wire *wire)
{
	int got;

	if (wire->in.used)
		return false;
	got = wire_read(wire);
	return got == 0 || got == -ECONNRESET;
}

bool
client_await_bytes(struct client_wire *wire)
{
	return wire->in.used || wire_read(wire) > 0;
}

bool
client_is_quiet(struct client_wire *wire)
{
	struct pollfd ready = {.fd = wire->fd, .events = POLLIN};

	return !wire->in.used && poll(&ready, 1, 0) == 0;
}

/* ---- one answer */

static struct client_reply *
reply_new(void)
{
	struct client_reply *reply = calloc(1, sizeof *reply);

	if (!reply)
		abort();
	return reply;
}

static struct client_reply *__attribute__((format(printf, 2, 3)))
reply_fail(struct client_reply *reply, const char *format, ...)
{
	struct bytes why = {0};
	va_list arguments;

	va_start(arguments, format);
	bytes_vformat(&why, format, arguments);
	va_end(arguments);
	free(reply->error);
	reply->error = why.data;
	reply->status = 0;
	return reply;
}

void
client_reply_free(struct client_reply *reply)
{
	if (!reply)
		return;
	for (size_t i = 0; i < reply->field_count; i++) {
		free(reply->fields[i].name);
		free(reply->fields[i].value);
	}
	free(reply->fields);
	free(reply->error);
	bytes_release(&reply->body);
	json_decref(reply->json);
	free(reply);
}

/* Gives the place behind `mark`, reading until it is there; 0 when it does not come. */
static size_t
wire_until(struct client_wire *wire, const char *mark)
{
	size_t length = strlen(mark);

	for (;;) {
		char *found = wire->in.used ? memmem(wire->in.data, wire->in.used, mark, length) : NULL;

		if (found)
			return (size_t)(found - wire->in.data) + length;
		if (wire_read(wire) <= 0)
			return 0;
	}
}

static bool
wire_take(struct client_wire *wire, size_t size, struct bytes *ret_to)
{
	while (wire->in.used < size)
		if (wire_read(wire) <= 0)
			return false;
	bytes_append(ret_to, wire->in.data, size);
	bytes_drop_front(&wire->in, size);
	return true;
}

static void
reply_add_field(struct client_reply *reply, const char *line, size_t length)
{
	const char *colon = memchr(line, ':', length);
	const char *value = colon ? colon + 1 : line + length, *end = line + length;
	struct client_field *field;

	while (value < end && (*value == ' ' || *value == '\t'))
		value++;
	reply->fields = realloc(reply->fields, (reply->field_count + 1) * sizeof *field);
	if (!reply->fields)
		abort();
	field = &reply->fields[reply->field_count++];
	field->name = strndup(line, colon ? (size_t)(colon - line) : length);
	field->value = strndup(value, (size_t)(end - value));
	for (char *at = field->name; *at; at++)
		*at = (char)tolower((unsigned char)*at);
}

static bool
reply_parse_head(struct client_reply *reply, const char *head, size_t size)
{
	const char *line = memmem(head, size, "\r\n", 2), *end = head + size - 2;

	if (sscanf(head, "HTTP/1.%d %d ", &reply->minor, &reply->status) != 2)
		return false;
	for (line += 2; line < end;) {
		const char *line_end = memmem(line, (size_t)(end - line) + 2, "\r\n", 2);

		reply_add_field(reply, line, (size_t)(line_end - line));
		line = line_end + 2;
	}
	return true;
}

static bool
read_chunks(struct client_wire *wire, struct bytes *body)
{
	struct bytes crlf = {0};
	size_t size = 0, line;
	bool whole;

	do {
		line = wire_until(wire, "\r\n");
		if (line) {
			size = strtoul(wire->in.data, NULL, 16);
			bytes_drop_front(&wire->in, line);
		}
		whole = line && wire_take(wire, size, body) && wire_take(wire, 2, &crlf);
	} while (whole && size);
	bytes_release(&crlf);
	return whole;
}

static bool
read_to_end(struct client_wire *wire, struct bytes *body)
{
	int got;

	while ((got = wire_read(wire)) > 0)
		;
	bytes_append(body, wire->in.data, wire->in.used);
	wire->in.used = 0;
	return got == 0;
}

static bool
read_body(struct client_wire *wire, struct client_reply *reply)
{
	const char *coding = client_field(reply, "transfer-encoding");
	const char *length = client_field(reply, "content-length");

	if (coding && !strcasecmp(coding, "chunked"))
		return read_chunks(wire, &reply->body);
	if (length)
		return wire_take(wire, strtoul(length, NULL, 10), &reply->body);
	return read_to_end(wire, &reply->body);
}

static void
reply_parse_json(struct client_reply *reply)
{
	const char *type = client_field(reply, "content-type");
	json_error_t error;

	if (type && strstr(type, "json") && reply->body.used)
		reply->json = json_loadb(reply->body.data, reply->body.used,
			JSON_DECODE_ANY | JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
}

static bool
read_head(struct client_wire *wire, struct client_reply *reply)
{
	size_t head = wire_until(wire, "\r\n\r\n");

	if (!head) {
		reply_fail(reply, "no whole head: the server closed or stalled after %zu bytes: %.80s", wire->in.used,
			wire->in.used ? wire->in.data : "");
		return false;
	}
	if (!reply_parse_head(reply, wire->in.data, head)) {
		reply_fail(reply, "no HTTP/1 answer: %.80s", wire->in.data);
		return false;
	}
	bytes_drop_front(&wire->in, head);
	return true;
}

int
client_receive_interim(struct client_wire *wire)
{
	struct client_reply *reply = reply_new();
	int status = read_head(wire, reply) && reply->status < 200 ? reply->status : 0;

	client_reply_free(reply);
	return status;
}

struct client_reply *
client_receive(struct client_wire *wire, bool head_only)
{
	struct client_reply *reply = NULL;

	do {
		client_reply_free(reply);
		reply = reply_new();
		if (!read_head(wire, reply))
			return reply;
	} while (reply->status < 200);
	bytes_append(&reply->body, "", 0);
	if (head_only || reply->status == 204 || reply->status == 304)
		return reply;
	if (!read_body(wire, reply))
		return reply_fail(reply, "the answer's body is cut after %zu bytes", reply->body.used);
	reply_parse_json(reply);
	return reply;
}

/* ---- whole calls */

void
client_compose(struct bytes *bytes, const struct client_address *address, const struct client_request *request)
{
	bytes_format(bytes, "%s %s HTTP/1.1\r\n", request->method, request->target);
	if (request->host)
		bytes_format(bytes, "Host: %s\r\n", request->host);
	else if (address->unix_path)
		bytes_text(bytes, "Host: localhost\r\n");
	else
		bytes_format(bytes, "Host: 127.0.0.1:%u\r\n", address->port);
	if (address->token)
		bytes_format(bytes, "Authorization: Bearer %s\r\n", address->token);
	if (request->body && !request->no_length)
		bytes_format(bytes, "Content-Length: %zu\r\n", request->body_bytes);
	bytes_text(bytes, request->fields ? request->fields : "");
	bytes_text(bytes, "\r\n");
	if (request->body)
		bytes_append(bytes, request->body, request->body_bytes);
}

struct client_reply *
client_call(const struct client_address *address, const struct client_request *request)
{
	struct bytes bytes = {0};
	struct client_wire wire;
	struct client_reply *reply;
	int error = client_connect(&wire, address);

	if (error)
		return reply_fail(reply_new(), "connect: %s", strerror(-error));
	client_compose(&bytes, address, request);
	/* A server that refuses early may stop reading: its answer still counts. */
	client_send(&wire, bytes.data, bytes.used);
	reply = client_receive(&wire, !strcmp(request->method, "HEAD"));
	bytes_release(&bytes);
	client_close(&wire);
	return reply;
}

const char *
client_field(const struct client_reply *reply, const char *name)
{
	for (size_t i = 0; i < reply->field_count; i++)
		if (!strcmp(reply->fields[i].name, name))
			return reply->fields[i].value;
	return NULL;
}

size_t
client_field_count(const struct client_reply *reply, const char *name)
{
	size_t count = 0;

	for (size_t i = 0; i < reply->field_count; i++)
		count += !strcmp(reply->fields[i].name, name);
	return count;
}

/* ---- JSON by dotted path */

json_t *
json_at(const json_t *json, const char *path)
{
	const json_t *at = json;
	char name[256];

	while (at && *path) {
		size_t length = strcspn(path, ".");

		snprintf(name, sizeof name, "%.*s", (int)length, path);
		at = json_is_array(at) ? json_array_get(at, strtoul(name, NULL, 10)) : json_object_get(at, name);
		path += length + (path[length] == '.');
	}
	return (json_t *)(uintptr_t)at;
}

const char *
json_text_at(const json_t *json, const char *path)
{
	return json_string_value(json_at(json, path));
}

json_int_t
json_int_at(const json_t *json, const char *path)
{
	return json_integer_value(json_at(json, path));
}

bool
json_true_at(const json_t *json, const char *path)
{
	return json_is_true(json_at(json, path));
}
