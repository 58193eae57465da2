/*
 * What libmicrohttpd 0.9.75 leaves out when it refuses a request by itself, made good. Later versions need none of it.
 * See http_private.h. A front thread.
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "api/http_private.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/text.h"

void
http_lax_part(int fd)
{
	char drop[4096];

	shutdown(fd, SHUT_WR);
	for (int i = 0; i < 16 && recv(fd, drop, sizeof drop, MSG_DONTWAIT) > 0; i++)
		;
}

/* Sends a 400 past libmicrohttpd, and ends the connection's sending side. */
static void
refuse(int fd, const char *detail)
{
	struct problem problem = {0};
	struct buffer body = {0}, answer = {0};

	problem_set(&problem, 400, "malformed_http", NULL, "%s", detail);
	problem_write(&problem, &body, "");
	problem_release(&problem);
	buffer_append_char(&body, '\n');
	buffer_printf(&answer,
		"HTTP/1.1 400 Bad Request\r\nContent-Type: application/problem+json\r\nContent-Length: %zu\r\n"
		"Connection: close\r\n\r\n",
		body.count);
	buffer_append(&answer, body.data, body.count);
	if (!answer.failed && send(fd, answer.data, answer.count, MSG_NOSIGNAL | MSG_DONTWAIT) > 0)
		http_count_status(400);
	buffer_release(&body);
	buffer_release(&answer);
	http_lax_part(fd);
}

static bool
length_is_broken(struct http_request *request)
{
	const char *length = http_header(request, "Content-Length");
	uint64_t value;

	return length != NULL && http_header(request, "Transfer-Encoding") == NULL &&
		text_to_uint64(length, &value) != 0;
}

static bool
refuse_broken_length(struct http_front *front)
{
	LIST_FOR_EACH(node, &front->heads) {
		struct http_request *request = container_of(node, struct http_request, head_node);
		const union MHD_ConnectionInfo *info =
			MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CONNECTION_FD);

		if (info == NULL || !length_is_broken(request))
			continue;
		refuse(info->connect_fd, "the Content-Length is no number");
		list_remove(&request->head_node);
		return true;
	}
	return false;
}

void
http_lax_before_own_page(struct http_front *front, const char *format)
{
	if (strstr(format, "Error processing request") == NULL)
		return;
	if (!MHD_LAX || !refuse_broken_length(front))
		front->own_pages++;
}

/* True when the other side has not closed: then it was libmicrohttpd that gave up. */
static bool
client_still_there(int fd)
{
	char byte;
	ssize_t got = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

	return got > 0 || (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK));
}

void
http_lax_tell_malformed(int fd)
{
	if (client_still_there(fd))
		refuse(fd, "the request line cannot be read");
}
