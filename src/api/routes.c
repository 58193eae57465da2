/* See routes.h. */
#include "api/routes.h"

#include <string.h>

#include "api/egress_check.h"
#include "api/jobs.h"
#include "api/ops.h"
#include "api/wait.h"

static const struct route routes[] = {
	{.method = "POST",
		.path = "/v1/jobs",
		.handle = jobs_post,
		.params = "wait body pretty",
		.scope = TOKEN_SUBMIT,
		.takes_json = true},
	{.method = "GET",
		.path = "/v1/jobs",
		.handle = jobs_list,
		.params = "state tag origin batch limit cursor pretty",
		.scope = TOKEN_READ},
	/* Before the paths with {id}, which it would fit. */
	{.method = "POST",
		.path = "/v1/jobs/cancel",
		.handle = jobs_cancel_many,
		.params = "pretty",
		.scope = TOKEN_SUBMIT,
		.takes_json = true},
	{.method = "GET",
		.path = "/v1/jobs/{id}",
		.handle = jobs_get,
		.params = "wait since body pretty",
		.scope = TOKEN_READ},
	{.method = "DELETE", .path = "/v1/jobs/{id}", .handle = jobs_delete, .params = "", .scope = TOKEN_SUBMIT},
	{.method = "GET", .path = "/v1/jobs/{id}/body", .handle = jobs_body, .params = "", .scope = TOKEN_READ},
	{.method = "POST",
		.path = "/v1/jobs/{id}/cancel",
		.handle = jobs_cancel,
		.params = "body pretty",
		.scope = TOKEN_SUBMIT},
	{.method = "POST",
		.path = "/v1/wait",
		.handle = wait_post,
		.params = "body pretty",
		.scope = TOKEN_READ,
		.takes_json = true},
	{.method = "POST",
		.path = "/v1/egress/check",
		.handle = egress_check_post,
		.params = "pretty",
		.scope = TOKEN_SUBMIT,
		.takes_json = true},
	{.method = "GET",
		.path = "/v1/info",
		.handle = ops_info,
		.params = "pretty",
		.scope = TOKEN_READ,
		.always = true},
	{.method = "GET", .path = "/livez", .handle = ops_livez, .params = "", .open = true, .always = true},
	{.method = "GET", .path = "/readyz", .handle = ops_readyz, .params = "verbose", .open = true, .always = true},
	{.method = "GET", .path = "/healthz", .handle = ops_readyz, .params = "verbose", .open = true, .always = true},
	{.method = "GET", .path = "/metrics", .handle = ops_metrics, .params = "", .scope = TOKEN_READ, .always = true},
	{.method = "GET", .path = "/openapi.json", .handle = ops_openapi, .params = "pretty", .always = true},
};

#define ROUTES (sizeof routes / sizeof *routes)

/* True when the path fits the pattern; the segment at {id} is noted. */
static bool
fits(const char *pattern, const char *path, const char **segment, size_t *length)
{
	const char *hole = strstr(pattern, "{id}");
	size_t before = hole == NULL ? 0 : (size_t)(hole - pattern);

	if (hole == NULL)
		return strcmp(pattern, path) == 0;
	if (strncmp(pattern, path, before) != 0)
		return false;
	*segment = path + before;
	*length = strcspn(*segment, "/");
	return *length > 0 && strcmp(*segment + *length, hole + strlen("{id}")) == 0;
}

static bool
method_fits(const struct route *route, const char *method)
{
	return strcmp(route->method, method) == 0 || (strcmp(method, "HEAD") == 0 && strcmp(route->method, "GET") == 0);
}

/* The methods of all routes that fit the path, as Allow wants them: constants, since there are few sets. */
static const char *
allowed_methods(unsigned get, unsigned post, unsigned delete_)
{
	static const char *const sets[] = {"", "GET, HEAD", "POST", "GET, HEAD, POST", "DELETE", "GET, HEAD, DELETE",
		"POST, DELETE", "GET, HEAD, POST, DELETE"};

	return sets[get | post << 1 | delete_ << 2];
}

const struct route *
route_find(struct http_request *request, struct problem *problem)
{
	unsigned get = 0, post = 0, delete_ = 0;

	for (size_t i = 0; i < ROUTES; i++) {
		if (!fits(routes[i].path, request->path, &request->segment, &request->segment_length))
			continue;
		if (method_fits(&routes[i], request->method))
			return &routes[i];
		get |= strcmp(routes[i].method, "GET") == 0;
		post |= strcmp(routes[i].method, "POST") == 0;
		delete_ |= strcmp(routes[i].method, "DELETE") == 0;
	}
	if (!get && !post && !delete_) {
		problem_set(
			problem, 404, "not_found", NULL, "there is no such path; GET /openapi.json lists all calls");
		return NULL;
	}
	const char *allow = allowed_methods(get, post, delete_);
	problem_set(problem, 405, "method_not_allowed", NULL, "this path takes %s", allow);
	problem->allow = allow;
	return NULL;
}

bool
route_path_open(const char *path)
{
	for (size_t i = 0; i < ROUTES; i++)
		if (routes[i].open && strcmp(routes[i].path, path) == 0)
			return true;
	return false;
}
