/*
 * The front door: who is let in (Host, Origin, token), what is taken (route, query, type of the body), and the start and
 * the end. See api.h.
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "api/api.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "api/codec.h"
#include "api/front.h"
#include "api/guard.h"
#include "api/http_tls.h"
#include "api/query.h"
#include "api/routes.h"
#include "base/clock.h"
#include "base/metrics.h"
#include "base/text.h"

/* ---- for the handlers */

const char *
front_sees(const struct http_request *request)
{
	return (request->client.scopes & TOKEN_ADMIN) != 0 ? NULL : request->client.name;
}

void
front_send_json(struct http_request *request, struct http_reply *reply, struct buffer *json)
{
	if (http_param(request, "pretty") != NULL)
		codec_indent(json);
	buffer_append_char(json, '\n');
	reply->kind = HTTP_BODY_BUFFER;
	reply->buffer = *json;
	*json = (struct buffer){0};
	http_reply_header(reply, "Content-Type", "application/json");
	http_reply_header(reply, "Cache-Control", "no-store");
	http_send(request, reply);
}

bool
front_body_param_valid(struct http_request *request)
{
	const char *body = http_param(request, "body");

	if (body == NULL || strcmp(body, "none") == 0)
		return true;
	front_refuse(request, 400, "invalid_query", "body can only be none");
	return false;
}

void
front_refuse(struct http_request *request, int status, const char *code, const char *format, ...)
{
	struct problem problem = {0};
	char detail[sizeof problem.detail];
	va_list args;

	va_start(args, format);
	vsnprintf(detail, sizeof detail, format, args);
	va_end(args);
	problem_set(&problem, status, code, NULL, "%s", detail);
	http_send_problem(request, &problem, "");
}

void
front_refuse_store(struct http_request *request)
{
	front_refuse(request, 503, "store_unavailable", "the store cannot be read; its operator finds why on the log");
}

void
front_refuse_draining(struct http_request *request)
{
	front_refuse(request, 503, "draining", "the server is shutting down; try again later");
}

void
front_refuse_unstored(struct http_request *request, bool draining)
{
	char why[200] = "the store is slow";

	if (draining) {
		front_refuse_draining(request);
		return;
	}
	service_store_accepts(api_of(request)->service, why, sizeof why);
	front_refuse(request, 503, "store_unavailable",
		"what was asked is under way, but it cannot be stored yet (%s); ask again to see", why);
}

void
front_refuse_memory(struct http_request *request)
{
	front_refuse(request, 503, "no_memory", "the server is out of memory; try again later");
}

/* ---- admission */

static int
check_guards(struct http_request *request, struct problem *problem)
{
	const struct config_list *names = &api_of(request)->config->server_name;
	const char *host = http_header(request, "Host"), *origin = http_header(request, "Origin");

	if (request->authority != NULL)
		host = request->authority;
	if (host != NULL && !guard_host_allowed(host, names->items, names->count))
		return problem_set(problem, 403, "forbidden_host", NULL,
			"the Host \"%.100s\" is neither an address, localhost nor a --server-name", host);
	if (origin != NULL && !guard_origin_allowed(origin, host == NULL ? "" : host, http_is_tls(request)))
		return problem_set(problem, 403, "forbidden_origin", NULL,
			"the Origin \"%.100s\" is not this server's own: web pages may not call it", origin);
	return 0;
}

static int
check_token(struct http_request *request, struct problem *problem)
{
	if (route_path_open(request->path))
		return 0;
	int error = tokens_admit(api_of(request)->tokens, http_header(request, "Authorization"), &request->client);
	if (error == 0)
		return 0;
	if (error == -ENOMEM)
		return problem_set(problem, 503, "no_memory", NULL, "the server is out of memory; try again later");
	metric_add(METRIC_TOKEN_401, 1);
	if (error == -EACCES)
		problem_set(problem, 401, "unauthorized", NULL, "this token is none that the server knows");
	else
		problem_set(problem, 401, "unauthorized", NULL,
			"this server wants a token: -H 'Authorization: Bearer TOKEN', with one of its --auth-token-file");
	problem->challenge =
		error == -EACCES ? "Bearer realm=\"fetchpool\", error=\"invalid_token\"" : "Bearer realm=\"fetchpool\"";
	return -1;
}

static const struct {
	enum token_scope scope;
	const char *code, *challenge;
} scope_refusals[] = {
#define INSUFFICIENT(scope) "Bearer realm=\"fetchpool\", error=\"insufficient_scope\", scope=\"" scope "\""
	{TOKEN_SUBMIT, "needs_scope_submit", INSUFFICIENT("submit")},
	{TOKEN_READ, "needs_scope_read", INSUFFICIENT("read")},
	{TOKEN_ADMIN, "needs_scope_admin", INSUFFICIENT("admin")},
#undef INSUFFICIENT
};

static int
check_scope(struct http_request *request, unsigned needed, struct problem *problem)
{
	size_t i = 0;

	if ((needed & ~request->client.scopes) == 0)
		return 0;
	while ((scope_refusals[i].scope & needed) == 0)
		i++;
	metric_add(METRIC_TOKEN_403, 1);
	problem_set(problem, 403, scope_refusals[i].code, NULL,
		"the token %s lacks the scope %s, which this call needs", request->client.name,
		token_scope_name(scope_refusals[i].scope));
	problem->challenge = scope_refusals[i].challenge;
	return -1;
}

static bool
is_json_type(const char *type)
{
	size_t length = strlen("application/json");

	return text_prefix_nocase(type, "application/json") && strchr("; \t", type[length]) != NULL;
}

static int
check_body_type(struct http_request *request, struct problem *problem)
{
	const char *type = http_header(request, "Content-Type"), *coding = http_header(request, "Content-Encoding");

	if (!request->has_length)
		return problem_set(problem, 411, "length_required", NULL,
			"this call needs a JSON body, with Content-Length or Transfer-Encoding: chunked");
	if (type == NULL)
		return problem_set(problem, 415, "unsupported_media_type", NULL,
			"say what the body is: -H 'content-type: application/json'");
	if (text_prefix_nocase(type, "application/x-www-form-urlencoded"))
		return problem_set(problem, 415, "unsupported_media_type", NULL,
			"a form was sent, as curl -d does; use --json or -H 'content-type: application/json'");
	if (!is_json_type(type))
		return problem_set(problem, 415, "unsupported_media_type", NULL,
			"the body is %.100s; send application/json", type);
	if (coding != NULL && !text_equal_nocase(coding, "identity"))
		return problem_set(problem, 415, "unsupported_media_type", NULL,
			"request bodies are not decoded; send it without Content-Encoding");
	return 0;
}

static int
admit(struct http_request *request, struct problem *problem)
{
	if (request->over_limit && !route_path_open(request->path))
		return problem_set(problem, 503, "too_many_connections", NULL,
			"the server has as many connections as --max-connections allows; try again in a moment");
	if (check_guards(request, problem) != 0 || check_token(request, problem) != 0)
		return -1;
	const struct route *route = route_find(request, problem);
	if (route == NULL || check_scope(request, route->scope, problem) != 0 ||
		query_check(request, route->params, problem) != 0)
		return -1;
	if (!route->always && service_recovering(api_of(request)->service))
		return problem_set(problem, 503, "recovering", NULL,
			"the server takes up the jobs of its last run; try again in a moment");
	request->route = route;
	/* A body that nobody reads is not kept. */
	request->drop_body = !route->takes_json;
	return route->takes_json ? check_body_type(request, problem) : 0;
}

static void
handle(struct http_request *request)
{
	const struct route *route = request->route;

	route->handle(request);
}

static bool
closing(void *context)
{
	return service_draining(((struct api *)context)->service);
}

/* ---- life */

static int
check_exposure(const struct config *config, char **ret_message)
{
	char what[160];

	if (config->auth_token_file != NULL || config->token_count > 0 ||
		http_listens_locally(config, what, sizeof what))
		return 0;
	if (asprintf(ret_message,
		    "%s is reachable from other machines: give --auth-token-file, or a token section in the --config file, or listen on 127.0.0.1, [::1] "
		    "or unix:PATH",
		    what) < 0)
		*ret_message = NULL;
	return -EINVAL;
}

int
api_check(const struct config *config, char **ret_message)
{
	struct tokens *tokens;

	int error = http_check(config, ret_message);
	if (error == 0)
		error = check_exposure(config, ret_message);
	if (error == 0)
		error = tokens_load(config, &tokens, ret_message);
	if (error == 0)
		tokens_free(tokens);
	return error;
}

/* Tells the service what each token's jobs may take up. Returns 0 or -ENOMEM. */
static int
limit_owners(struct service *service, const struct tokens *tokens)
{
	size_t count = 0;
	const struct token *token;

	while (tokens_at(tokens, count) != NULL)
		count++;
	struct owner_limits *limits = calloc(count + 1, sizeof *limits);
	if (limits == NULL)
		return -ENOMEM;
	for (size_t i = 0; (token = tokens_at(tokens, i)) != NULL; i++)
		limits[i] = (struct owner_limits){
			token->name, token->jobs_per_minute, token->max_queued, token->max_in_flight};
	int error = service_limit_owners(service, limits, count);
	free(limits);
	return error;
}

/* Has jobs kept away from the doors. Each front thread has a socket of its own, most of them alike. */
static int
tell_where(struct api *api)
{
	struct buffer endpoints = {0}; /* of struct endpoint */
	struct endpoint endpoint, last = {.port = 0};
	struct sockaddr_storage bound;
	int error;

	for (size_t i = 0; (error = http_bound(api->http, i, &bound)) == 0; i++) {
		if (!endpoint_of_socket((const struct sockaddr *)&bound, &endpoint) ||
			(last.port == endpoint.port && address_equal(&last.address, &endpoint.address)))
			continue;
		buffer_append(&endpoints, &endpoint, sizeof endpoint);
		last = endpoint;
	}
	if (error == -ENOENT)
		error = endpoints.failed ? -ENOMEM
					 : service_listening(api->service, (const void *)endpoints.data,
						   endpoints.count / sizeof endpoint);
	buffer_release(&endpoints);
	return error;
}

int
api_start(const struct config *config, struct service *service, struct api **ret, char **ret_message)
{
	struct api *api = calloc(1, sizeof *api);
	struct http_setup setup = {
		.context = api,
		.admit = admit,
		.handle = handle,
		.indent = codec_indent,
		.closing = closing,
	};

	*ret_message = NULL;
	if (api == NULL)
		return -ENOMEM;
	api->config = config;
	api->service = service;
	api->started_mono_ms = mono_ms();
	codec_init();
	int error = tokens_load(config, &api->tokens, ret_message);
	if (error == 0)
		error = limit_owners(service, api->tokens);
	if (error == 0)
		error = http_start(config, &setup, &api->http, ret_message);
	if (error == 0 && (error = tell_where(api)) != 0)
		http_stop(api->http);
	if (error != 0) {
		tokens_free(api->tokens);
		free(api);
		return error;
	}
	*ret = api;
	return 0;
}

const char *
api_address(const struct api *api, size_t index)
{
	return http_address(api->http, index);
}

/* Whoever could not get in before would be let in to everyone's jobs: that takes a restart. */
static int
check_tokens_stay(struct api *api, const struct config *wanted, char **ret_message)
{
	if (!tokens_required(api->tokens) || wanted->auth_token_file != NULL || wanted->token_count > 0)
		return 0;
	*ret_message = strdup("there are no tokens any more; to serve everyone takes a restart");
	return -EINVAL;
}

int
api_reload(struct api *api, const struct config *config, char **ret_message)
{
	/* Where it listens does not change: it is the old addresses that may not be left open. */
	struct config exposed = *api->config;
	struct http_tls_pair *pair;
	struct tokens *tokens;

	exposed.auth_token_file = config->auth_token_file;
	exposed.token_count = config->token_count;
	int error = check_tokens_stay(api, config, ret_message);
	if (error == 0)
		error = check_exposure(&exposed, ret_message);
	if (error == 0)
		error = http_certificate_load(api->http, config, &pair, ret_message);
	if (error != 0)
		return error;
	error = tokens_load(config, &tokens, ret_message);
	if (error != 0) {
		http_tls_pair_unref(pair);
		return error;
	}
	error = service_reload(api->service, config, ret_message);
	if (error == 0)
		error = limit_owners(api->service, tokens);
	if (error == 0) {
		tokens_swap(api->tokens, tokens);
		http_certificate_use(api->http, pair);
	} else {
		http_tls_pair_unref(pair);
	}
	tokens_free(tokens);
	return error;
}

void
api_stop(struct api *api)
{
	http_stop(api->http);
	tokens_free(api->tokens);
	free(api);
}
