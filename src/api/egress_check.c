/* See egress_check.h, and api.h for the command line's way in: both give one and the same object. */
#include "api/egress_check.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/codec.h"
#include "api/front.h"
#include "base/host_text.h"
#include "service/service.h"

/* ---- the answer */

static bool
is_allowed(const struct pool_check *check)
{
	return check->verdict.allowed && check->message == NULL;
}

/* NULL for an empty text, and for all that a look-up without an answer leaves unsaid. */
static const char *
said(const struct pool_check *check, const char *text)
{
	return check->message != NULL || text == NULL || *text == '\0' ? NULL : text;
}

static void
write_check(struct buffer *json, const struct pool_check *check)
{
	struct json_out out = {.buffer = json};
	char text[ADDRESS_TEXT_BYTES];

	out_open(&out, NULL, '{');
	out_boolean(&out, "allowed", is_allowed(check));
	out_string(&out, "reason", check->message != NULL ? check->message : said(check, check->verdict.reason));
	out_string(&out, "rule", said(check, check->verdict.rule));
	out_open(&out, "addresses", '[');
	for (size_t i = 0; i < check->address_count; i++) {
		address_format(&check->addresses[i], text);
		out_string(&out, NULL, text);
	}
	out_close(&out, ']');
	out_close(&out, '}');
}

/* ---- over HTTP */

struct check_state {
	struct pool_check check;
	struct http_request *request;
};

static void
free_check(void *context)
{
	struct check_state *state = context;

	egress_policy_unref(state->check.policy);
	free(state->check.message);
	free(state);
}

static void
on_checked(struct pool_check *check)
{
	http_wake(((struct check_state *)check->context)->request);
}

static void
answer_check(struct http_request *request)
{
	const struct check_state *state = request->state;
	struct http_reply reply = {.status = 200};
	struct buffer json = {0};

	write_check(&json, &state->check);
	front_send_json(request, &reply, &json);
}

static void
refuse_check(struct http_request *request, int error, const char *why)
{
	struct problem problem = {0};

	if (error == -EINVAL)
		problem_set(&problem, 400, "invalid", "/url", "%s", why);
	else
		problem_set(&problem, 503, "no_resources", NULL, "the look-up cannot be made: %s", strerror(-error));
	http_send_problem(request, &problem, "");
}

void
egress_check_post(struct http_request *request)
{
	struct problem problem = {0};
	const char *why = "";
	char *url = codec_read_url(request->body.data, request->body.count, &problem);

	if (url == NULL) {
		http_send_problem(request, &problem, "");
		return;
	}
	struct check_state *state = calloc(1, sizeof *state);
	int error = -ENOMEM;
	if (state != NULL) {
		request->state = state;
		request->state_free = free_check;
		*state = (struct check_state){.request = request, .check = {.done = on_checked, .context = state}};
		error = service_check_url(api_of(request)->service, url, &state->check, &why);
	}
	free(url);
	if (error != 0)
		refuse_check(request, error, why);
	else
		http_park(request, answer_check);
}

/* ---- on the command line */

/* Where a server with these settings would listen; false for a unix socket, and for a port that is not known yet. */
static bool
read_listen(const char *listen, struct endpoint *ret)
{
	char host[HOST_TEXT_BYTES], port[PORT_TEXT_BYTES];
	bool has_port;

	if (!host_text_split(listen, strlen(listen), host, port, &has_port) || !has_port ||
		!host_text_parse_port(port, 1, &ret->port))
		return false;
	if (host[0] == '[' && !host_text_plain_ipv6(host))
		return false;
	return address_parse(strcmp(host, "localhost") == 0 ? "127.0.0.1" : host, &ret->address) == 0;
}

static int
judge(const struct config *config, struct pool_check *check, const char **ret_why)
{
	struct endpoint *listening = calloc(config->listen.count + 1, sizeof *listening);
	size_t count = 0;

	if (listening == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < config->listen.count; i++)
		count += read_listen(config->listen.items[i], &listening[count]);
	int error = service_judge(config, listening, count, config->egress_check, check, ret_why);
	free(listening);
	return error;
}

int
api_egress_check(const struct config *config)
{
	struct pool_check check = {0};
	struct buffer json = {0};
	const char *why = NULL;
	int error = judge(config, &check, &why);
	bool allowed = is_allowed(&check);

	if (error == 0) {
		write_check(&json, &check);
		buffer_append_char(&json, '\n');
		if (json.failed)
			error = -ENOMEM;
		else
			fwrite(json.data, 1, json.count, stdout);
	}
	egress_policy_unref(check.policy);
	free(check.message);
	buffer_release(&json);
	if (error == 0)
		return allowed ? EXIT_SUCCESS : EXIT_FAILURE;
	fprintf(stderr, "fetchpool: --egress-check: %s\n", error == -EINVAL && why != NULL ? why : strerror(-error));
	return 2;
}
