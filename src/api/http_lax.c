/*
 * What libmicrohttpd 0.9.75 leaves out when it refuses a request by itself, made good. Later versions need none of it.
 * See http_private.h. A front thread.
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "api/http_private.h"

#include <errno.h>
#ifdef __linux__
#include <linux/tcp.h>
#endif
#include <microhttpd.h>
#include <netinet/in.h>
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

void
http_lax_refuse_length(struct http_front *front, const char *format)
{
	if (!MHD_LAX || strstr(format, "Error processing request") == NULL)
		return;
	LIST_FOR_EACH(node, &front->heads) {
		struct http_request *request = container_of(node, struct http_request, head_node);
		const union MHD_ConnectionInfo *info =
			MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CONNECTION_FD);

		if (info == NULL || !length_is_broken(request))
			continue;
		refuse(info->connect_fd, "the Content-Length is no number");
		list_remove(&request->head_node);
		return;
	}
}

uint64_t
http_lax_sent_bytes(int fd)
{
#ifdef __linux__
	struct tcp_info info = {0};
	socklen_t length = sizeof info;

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0 &&
		length >= offsetof(struct tcp_info, tcpi_bytes_sent) + sizeof info.tcpi_bytes_sent)
		return info.tcpi_bytes_sent;
#else
	(void)fd;
#endif
	return UINT64_MAX;
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
http_lax_tell_malformed(int fd, const struct connection *known)
{
	/* Bytes that went out since the last answer are an error page of its own. */
	uint64_t sent = http_lax_sent_bytes(fd);

	if (MHD_LAX && sent != UINT64_MAX && sent == known->sent_bytes && client_still_there(fd))
		refuse(fd, "the request line cannot be read");
}
