/* See crash_line.h. */
#include "crash_line.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

void
crash_line_init(struct crash_line *line, const struct client_address *address)
{
	*line = (struct crash_line){.address = *address, .wire = {.fd = -1}};
}

void
crash_line_close(struct crash_line *line)
{
	client_close(&line->wire);
}

static struct client_reply *
no_answer(const char *why)
{
	struct client_reply *reply = calloc(1, sizeof *reply);

	if (!reply)
		abort();
	reply->error = strdup(why);
	return reply;
}

static const char *
fields_for(const char *method, const char *body)
{
	if (body)
		return "Content-Type: application/json\r\n";
	return strcmp(method, "POST") != 0 ? "" : "Content-Length: 0\r\n";
}

struct client_reply *
crash_line_call(struct crash_line *line, const char *method, const char *target, const char *body)
{
	struct client_request request = {.method = method,
		.target = target,
		.fields = fields_for(method, body),
		.body = body,
		.body_bytes = body ? strlen(body) : 0};
	struct bytes bytes = {0};
	struct client_reply *reply;
	const char *connection;

	if (line->wire.fd < 0 && client_connect(&line->wire, &line->address))
		return no_answer("cannot connect");
	client_compose(&bytes, &line->address, &request);
	client_send(&line->wire, bytes.data, bytes.used);
	reply = client_receive(&line->wire, false);
	connection = client_field(reply, "connection");
	if (!reply->status || (connection && !strcasecmp(connection, "close")))
		client_close(&line->wire);
	bytes_release(&bytes);
	return reply;
}
