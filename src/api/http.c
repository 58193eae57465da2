/*
 * See http.h.
 *
 * Threads: a libmicrohttpd daemon with one epoll thread of its own for each listening socket ("front threads"), and the
 * notifier, which alone resumes parked requests. Resuming costs as much as the thread has parked requests, under a mutex
 * that MHD_resume_connection takes, too (0.9.75): several front threads keep the lists short, and no fetch thread ever
 * waits for one.
 *
 * A request's park word decides who goes on when a wake comes while its handler is still about to park:
 *   RUNNING -> PARKED by http_park, after MHD_suspend_connection; RUNNING or PARKED -> WOKEN by http_wake.
 * Whoever finds the other's mark does the resuming, so it is done once.
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "api/http.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/http_head.h"
#include "api/http_listen.h"
#include "api/query.h"
#include "base/clock.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/metrics.h"

#define CONNECTION_MEMORY 16384 /* for the head of a request and of its answer */
#define IDLE_SECONDS 60
#define SWALLOW_MAX 65536 /* of the body of a refused request; above it the connection is closed */
#define STOP_MS 1000      /* how long http_stop waits for answers under way */

/* libmicrohttpd keeps heads in place up to this version, and checks little; later ones are strict by themselves. */
#define MHD_LAX (MHD_VERSION < 0x00097600)

enum { PARK_RUNNING, PARK_PARKED, PARK_WOKEN };
enum { PHASE_NEW, PHASE_BODY, PHASE_HANDLED };

struct http {
	struct http_setup setup;
	size_t max_request_bytes;
	struct http_door *doors;
	size_t door_count;
	struct MHD_Daemon **daemons;
	size_t daemon_count;

	struct lock lock; /* guards the rest; a leaf */
	struct list woken;
	struct cond wake;
	pthread_t notifier;
	bool notifying, stop_notifier;
	size_t active; /* requests between their first line and their last byte */
	struct cond quiet;
	atomic_size_t connections;
};

/* What is known of a connection between its requests. */
struct connection {
	struct http *http;
	int64_t idle_since_ms;
	bool in_request;
	bool answered_close; /* the last answer announced the close */
};

/* ---- replies */

static struct connection *
connection_of(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return info == NULL ? NULL : info->socket_context;
}

void
http_reply_header(struct http_reply *reply, const char *name, const char *format, ...)
{
	char *value;
	va_list args;

	if (reply->header_count == HTTP_MAX_HEADERS)
		return;
	va_start(args, format);
	int length = vasprintf(&value, format, args);
	va_end(args);
	if (length < 0)
		return;
	reply->headers[reply->header_count].name = name;
	reply->headers[reply->header_count++].value = value;
}

static struct MHD_Response *
make_response(struct http_reply *reply)
{
	struct MHD_Response *response;

	switch (reply->kind) {
	case HTTP_BODY_FILE:
		response = MHD_create_response_from_fd_at_offset64(reply->length, reply->fd, reply->offset);
		if (response == NULL)
			close(reply->fd);
		return response;
	case HTTP_BODY_BORROWED:
		response = MHD_create_response_from_buffer_with_free_callback_cls(
			reply->length, (void *)(reply->bytes + reply->offset), reply->release, reply->release_context);
		if (response == NULL)
			reply->release(reply->release_context);
		return response;
	case HTTP_BODY_BUFFER:
		break;
	}
	response = reply->buffer.failed
		? NULL
		: MHD_create_response_from_buffer(reply->buffer.count, reply->buffer.data, MHD_RESPMEM_MUST_FREE);
	if (response == NULL)
		free(reply->buffer.data);
	reply->buffer = (struct buffer){0};
	return response;
}

static void
count_status(int status)
{
	static const enum metric metrics[] = {METRIC_HTTP_REQUESTS_2XX, METRIC_HTTP_REQUESTS_3XX,
		METRIC_HTTP_REQUESTS_4XX, METRIC_HTTP_REQUESTS_5XX};

	if (status >= 200 && status < 600)
		metric_add(metrics[status / 100 - 2], 1);
}

/* True when the connection ends with this answer by the client's wish. */
static bool
client_closes(struct http_request *request)
{
	const char *wish = http_header(request, "Connection");

	return request->http_1_0 || (wish != NULL && strcasestr(wish, "close") != NULL);
}

void
http_send(struct http_request *request, struct http_reply *reply)
{
	struct MHD_Response *response = make_response(reply);
	struct http_setup *setup = &request->http->setup;
	struct connection *known = connection_of(request->connection);

	request->replied = true;
	for (size_t i = 0; i < reply->header_count; i++) {
		if (response != NULL)
			MHD_add_response_header(response, reply->headers[i].name, reply->headers[i].value);
		free(reply->headers[i].value);
	}
	reply->header_count = 0;
	if (response == NULL) {
		log_error("out of memory for an answer");
		return; /* the access handler closes the connection */
	}
	bool closes = reply->close || setup->closing(setup->context);
	if (closes)
		MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
	if (known != NULL)
		known->answered_close = closes || client_closes(request);
	count_status(reply->status);
	if (MHD_queue_response(request->connection, (unsigned)reply->status, response) != MHD_YES)
		log_debug("an answer could not be queued");
	MHD_destroy_response(response);
}

static void
send_problem(struct http_request *request, struct problem *problem, const char *extra, bool and_close)
{
	struct http_reply reply = {.status = problem->status, .close = and_close};

	problem_write(problem, &reply.buffer, extra);
	buffer_append_char(&reply.buffer, '\n');
	http_reply_header(&reply, "Content-Type", "application/problem+json");
	if (problem->retry_after_s != 0)
		http_reply_header(&reply, "Retry-After", "%d", problem->retry_after_s);
	if (problem->status == 401)
		http_reply_header(&reply, "WWW-Authenticate", "Bearer realm=\"fetchpool\"");
	if (problem->allow != NULL)
		http_reply_header(&reply, "Allow", "%s", problem->allow);
	if (problem->content_range[0] != '\0')
		http_reply_header(&reply, "Content-Range", "%s", problem->content_range);
	http_send(request, &reply);
	problem_release(problem);
}

void
http_send_problem(struct http_request *request, struct problem *problem, const char *extra)
{
	send_problem(request, problem, extra, false);
}

/* ---- park and wake */

void
http_park(struct http_request *request, http_handler_fn *resume)
{
	int running = PARK_RUNNING;

	request->resume = resume;
	if (atomic_load(&request->park) == PARK_WOKEN) {
		/* Woken before it came to rest: go on at once. */
		atomic_store(&request->park, PARK_RUNNING);
		resume(request);
		return;
	}
	struct MHD_Connection *connection = request->connection;
	MHD_suspend_connection(connection);
	if (!atomic_compare_exchange_strong(&request->park, &running, PARK_PARKED))
		MHD_resume_connection(connection);
}

void
http_wake(struct http_request *request)
{
	struct http *http = request->http;

	if (atomic_exchange(&request->park, PARK_WOKEN) != PARK_PARKED)
		return; /* http_park will see it */
	lock_take(&http->lock);
	list_push_back(&http->woken, &request->wake_node);
	cond_signal(&http->wake);
	lock_drop(&http->lock);
}

static void *
notify(void *context)
{
	struct http *http = context;
	struct list woken;

	list_init(&woken);
	lock_take(&http->lock);
	for (;;) {
		while (list_empty(&http->woken) && !http->stop_notifier)
			cond_wait(&http->wake, &http->lock);
		if (list_empty(&http->woken))
			break;
		list_splice(&woken, &http->woken);
		lock_drop(&http->lock);
		for (struct list *node; (node = list_pop_front(&woken)) != NULL;)
			MHD_resume_connection(container_of(node, struct http_request, wake_node)->connection);
		lock_take(&http->lock);
	}
	lock_drop(&http->lock);
	return NULL;
}

/* ---- requests */

const char *
http_header(struct http_request *request, const char *name)
{
	return MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);
}

const char *
http_param(const struct http_request *request, const char *name)
{
	for (size_t i = 0; i < request->param_count; i++)
		if (strcmp(request->params[i].name, name) == 0)
			return request->params[i].value;
	return NULL;
}

/*
 * The request line is in: keep the target as it came. libmicrohttpd would now split and decode the query into its own
 * memory, and stall when that runs out, so the query is hidden from it.
 */
static void *
on_request_line(void *context, const char *target, struct MHD_Connection *connection)
{
	struct http *http = context;
	struct http_request *request = calloc(1, sizeof *request);
	struct connection *known = connection_of(connection);

	if (known != NULL)
		known->in_request = true;
	if (request == NULL)
		return NULL;
	request->target = strdup(target == NULL ? "" : target);
#if MHD_LAX
	char *query = target == NULL ? NULL : strchr((char *)target, '?');
	if (query != NULL)
		query[1] = '\0';
#endif
	request->http = http;
	request->context = http->setup.context;
	request->connection = connection;
	list_init(&request->wake_node);
	lock_take(&http->lock);
	http->active++;
	lock_drop(&http->lock);
	return request;
}

static void
on_completed(void *context, struct MHD_Connection *connection, void **request_context,
	enum MHD_RequestTerminationCode how)
{
	struct http *http = context;
	struct http_request *request = *request_context;
	struct connection *known = connection_of(connection);

	(void)how;
	if (known != NULL) {
		known->in_request = false;
		known->idle_since_ms = mono_ms();
		if (request == NULL || !request->replied)
			known->answered_close = true; /* by libmicrohttpd's own error page */
	}
	*request_context = NULL;
	if (request == NULL)
		return;
	if (request->state != NULL && request->state_free != NULL)
		request->state_free(request->state);
	query_free(request->params);
	problem_release(&request->refusal);
	buffer_release(&request->body);
	free(request->target);
	free(request);
	lock_take(&http->lock);
	if (--http->active == 0)
		cond_broadcast(&http->quiet);
	lock_drop(&http->lock);
}

static enum MHD_Result
note_field(void *context, enum MHD_ValueKind kind, const char *name, const char *value)
{
	(void)kind;
	http_framing_field(context, name, value == NULL ? "" : value);
	return MHD_YES;
}

#if MHD_LAX
/*
 * libmicrohttpd 0.9.75 reads the head into one buffer, where method, target and version point, and tells its length:
 * so the request line and the header section can be judged byte by byte.
 */
static const char *
check_bytes(struct http_request *request, const char *method, const char *version)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
	const char *section = version + strlen(version) + 2;

	if (info == NULL || info->header_size < (size_t)(section - method))
		return "the head is broken";
	if (version != method + strlen(method) + 1 + strlen(request->target) + 1 || section[-1] != '\0')
		return "the request line is not METHOD SP TARGET SP VERSION CR LF";
	return http_head_check_section(section, info->header_size - (size_t)(section - method));
}
#endif

/* What is wrong with the bytes of the head, or NULL. */
static const char *
check_head(struct http_request *request, const char *method, const char *version)
{
	struct http_framing framing = {.is_http_1_0 = strcmp(version, "HTTP/1.0") == 0};
	const char *wrong = NULL;

	if (strcmp(version, "HTTP/1.1") != 0 && !framing.is_http_1_0)
		return "the version is neither HTTP/1.1 nor HTTP/1.0";
#if MHD_LAX
	wrong = check_bytes(request, method, version);
#else
	(void)method;
#endif
	MHD_get_connection_values(request->connection, MHD_HEADER_KIND, note_field, &framing);
	request->has_length = framing.lengths > 0 || framing.codings > 0;
	request->http_1_0 = framing.is_http_1_0 != 0;
	return wrong != NULL ? wrong : http_framing_check(&framing);
}

/* Cuts the target into path and query. */
static int
split_target(struct http_request *request, struct problem *problem)
{
	char *query = strchr(request->target, '?');

	if (request->target[0] != '/')
		return problem_set(problem, 400, "malformed_http", NULL, "the request target has to begin with /");
	if (query != NULL)
		*query++ = '\0';
	request->path = request->target;
	return query == NULL ? 0 : query_parse(query, &request->params, &request->param_count, problem);
}

static int
check_length(struct http_request *request, struct problem *problem)
{
	const char *length = http_header(request, "Content-Length");
	size_t max = request->http->max_request_bytes;

	if (length == NULL || strtoull(length, NULL, 10) <= max)
		return 0;
	return problem_set(problem, 413, "request_too_large", NULL,
		"the request body has %.20s bytes, %zu are taken; send less or raise --max-request-bytes", length, max);
}

/* True when so little of the body of a refused request is to come that the connection is worth keeping. */
static bool
little_follows(struct http_request *request)
{
	const char *length = http_header(request, "Content-Length");

	return !request->has_length || length == NULL || strtoull(length, NULL, 10) <= SWALLOW_MAX;
}

/*
 * First call: the head is in. libmicrohttpd closes the connection after an answer that is given here, so a refusal
 * waits for the body to be over, unless that would be long.
 */
static enum MHD_Result
begin(struct http_request *request, const char *method, const char *version)
{
	const char *wrong = check_head(request, method, version);
	struct problem problem = {0};

	request->method = method;
	request->phase = PHASE_BODY;
	if (wrong != NULL) {
		problem_set(&problem, 400, "malformed_http", NULL, "%s", wrong);
		send_problem(request, &problem, "", true);
		return request->replied ? MHD_YES : MHD_NO;
	}
	if (split_target(request, &problem) == 0 && check_length(request, &problem) == 0 &&
		request->http->setup.admit(request, &problem) == 0)
		return MHD_YES;
	if (problem.status != 413 && little_follows(request)) {
		request->refusal = problem;
		request->drop_body = true;
		return MHD_YES;
	}
	send_problem(request, &problem, "", true);
	return request->replied ? MHD_YES : MHD_NO;
}

static void
take_body(struct http_request *request, const char *data, size_t count)
{
	request->received += count;
	if (request->received > request->http->max_request_bytes) {
		request->too_large = true;
		buffer_release(&request->body);
	}
	if (!request->too_large && !request->drop_body)
		buffer_append(&request->body, data, count);
}

/* Last call: the body is in. */
static void
finish(struct http_request *request)
{
	struct problem problem = {0};

	request->phase = PHASE_HANDLED;
	if (request->refusal.status != 0) {
		http_send_problem(request, &request->refusal, "");
	} else if (request->too_large) {
		problem_set(&problem, 413, "request_too_large", NULL,
			"the request body is above %zu bytes; send less or raise --max-request-bytes",
			request->http->max_request_bytes);
		http_send_problem(request, &problem, "");
	} else if (request->body.failed) {
		problem_set(&problem, 503, "no_memory", NULL, "the server is out of memory; try again later");
		http_send_problem(request, &problem, "");
	} else {
		request->http->setup.handle(request);
	}
}

static enum MHD_Result
on_access(void *context, struct MHD_Connection *connection, const char *url, const char *method, const char *version,
	const char *data, size_t *data_count, void **request_context)
{
	struct http_request *request = *request_context;

	(void)context, (void)connection, (void)url;
	if (request == NULL || request->target == NULL)
		return MHD_NO; /* no memory for it */
	if (request->phase == PHASE_NEW)
		return begin(request, method, version);
	if (*data_count > 0) {
		take_body(request, data, *data_count);
		*data_count = 0;
		return MHD_YES;
	}
	if (request->replied)
		return MHD_YES;
	if (request->phase == PHASE_BODY) {
		finish(request);
	} else {
		atomic_store(&request->park, PARK_RUNNING);
		request->resume(request);
	}
	return MHD_YES;
}

/* ---- connections */

/*
 * libmicrohttpd closes a connection without a word when the request line cannot be read. The socket is still open here:
 * say what was wrong.
 */
static void
tell_malformed(int fd)
{
	static const char body[] = "{\"type\":\"about:blank\",\"title\":\"Bad Request\",\"status\":400,"
				   "\"detail\":\"the request line cannot be read\",\"code\":\"malformed_http\","
				   "\"pointer\":null}\n";
	char answer[512], drop[4096];

	int length = snprintf(answer, sizeof answer,
		"HTTP/1.1 400 Bad Request\r\nContent-Type: application/problem+json\r\nContent-Length: %zu\r\n"
		"Connection: close\r\n\r\n%s",
		sizeof body - 1, body);
	if (send(fd, answer, (size_t)length, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		return;
	shutdown(fd, SHUT_WR);
	/* What was sent and not read would turn the close into a reset, which takes the answer with it. */
	for (int i = 0; i < 16 && recv(fd, drop, sizeof drop, MSG_DONTWAIT) > 0; i++)
		;
	count_status(400);
}

/* True when the other side has not closed: then it was libmicrohttpd that gave up. */
static bool
client_still_there(int fd)
{
	char byte;
	ssize_t got = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

	return got > 0 || (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK));
}

static void
on_closed(struct http *http, struct MHD_Connection *connection, struct connection *known)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	bool idle_time_is_up = mono_ms() - known->idle_since_ms >= IDLE_SECONDS * 1000 - 1000;

	lock_take(&http->lock);
	bool stopping = http->stop_notifier;
	lock_drop(&http->lock);
	if (info != NULL && !known->in_request && !known->answered_close && !idle_time_is_up && !stopping &&
		client_still_there(info->connect_fd))
		tell_malformed(info->connect_fd);
	free(known);
}

static void
on_connection(void *context, struct MHD_Connection *connection, void **socket_context,
	enum MHD_ConnectionNotificationCode what)
{
	struct http *http = context;
	struct connection *known;

	(void)connection;
	if (what == MHD_CONNECTION_NOTIFY_STARTED) {
		known = calloc(1, sizeof *known);
		if (known != NULL)
			*known = (struct connection){.http = http, .idle_since_ms = mono_ms()};
		*socket_context = known;
		atomic_fetch_add(&http->connections, 1);
		return;
	}
	atomic_fetch_sub(&http->connections, 1);
	if (*socket_context != NULL)
		on_closed(http, connection, *socket_context);
	*socket_context = NULL;
}

size_t
http_connections(struct http *http)
{
	return atomic_load(&http->connections);
}

/* ---- life */

static void
on_log(void *context, const char *format, va_list args)
{
	char line[512];

	(void)context;
	if (!log_enabled(LOG_DEBUG))
		return;
	vsnprintf(line, sizeof line, format, args);
	line[strcspn(line, "\n")] = '\0';
	log_debug("libmicrohttpd: %s", line);
}

static struct MHD_Daemon *
start_daemon(struct http *http, int socket, const struct config *config)
{
	unsigned flags = MHD_USE_AUTO_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;

#ifdef __linux__
	flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
#endif
	return MHD_start_daemon(flags, 0, NULL, NULL, on_access, http,
		MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL,
		MHD_OPTION_LISTEN_SOCKET, socket,
		MHD_OPTION_CONNECTION_LIMIT, (unsigned)config->max_connections,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
		MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_SECONDS,
		MHD_OPTION_URI_LOG_CALLBACK, on_request_line, http,
		MHD_OPTION_NOTIFY_COMPLETED, on_completed, http,
		MHD_OPTION_NOTIFY_CONNECTION, on_connection, http,
#if !MHD_LAX
		MHD_OPTION_CLIENT_DISCIPLINE_LVL, 1,
#endif
		MHD_OPTION_END);
}

static int
start_door(struct http *http, struct http_door *door, const struct config *config)
{
	for (size_t i = 0; i < door->socket_count; i++) {
		struct MHD_Daemon *daemon = start_daemon(http, door->sockets[i], config);

		if (daemon == NULL)
			return -EIO;
		door->sockets[i] = -1; /* the daemon's from now on */
		http->daemons[http->daemon_count++] = daemon;
	}
	return 0;
}

static int
open_doors(struct http *http, const struct config *config, char **ret_message)
{
	for (size_t i = 0; i < config->listen.count; i++) {
		int error = http_door_open(config->listen.items[i], (size_t)config->front_threads, &http->doors[i]);

		if (error != 0) {
			const char *fix = error == -EADDRINUSE ? "; stop what uses it, or choose another with --listen" : "";
			if (asprintf(ret_message, "cannot listen on %s: %s%s", config->listen.items[i], strerror(-error),
				    fix) < 0)
				*ret_message = NULL;
			return error;
		}
		http->door_count++;
	}
	return 0;
}

int
http_start(const struct config *config, const struct http_setup *setup, struct http **ret, char **ret_message)
{
	struct http *http = calloc(1, sizeof *http);
	size_t most = config->listen.count * (size_t)config->front_threads;

	*ret_message = NULL;
	if (http == NULL)
		return -ENOMEM;
	http->setup = *setup;
	http->max_request_bytes = (size_t)config->max_request_bytes;
	lock_init(&http->lock);
	cond_init(&http->wake);
	cond_init(&http->quiet);
	list_init(&http->woken);
	http->doors = calloc(config->listen.count, sizeof *http->doors);
	http->daemons = calloc(most, sizeof(struct MHD_Daemon *));
	int error = http->doors == NULL || http->daemons == NULL ? -ENOMEM : open_doors(http, config, ret_message);
	if (error == 0)
		error = thread_start(&http->notifier, "notifier", notify, http);
	http->notifying = error == 0;
	for (size_t i = 0; error == 0 && i < http->door_count; i++)
		error = start_door(http, &http->doors[i], config);
	if (error != 0) {
		http_stop(http);
		return error;
	}
	*ret = http;
	return 0;
}

const char *
http_address(const struct http *http, size_t index)
{
	return index < http->door_count ? http->doors[index].address : NULL;
}

bool
http_listens_locally(const struct config *config, const char **ret_address)
{
	for (size_t i = 0; i < config->listen.count; i++) {
		if (!http_listen_is_local(config->listen.items[i])) {
			*ret_address = config->listen.items[i];
			return false;
		}
	}
	return true;
}

static void
await_quiet(struct http *http)
{
	int64_t due = mono_ms() + STOP_MS;

	lock_take(&http->lock);
	while (http->active > 0 && cond_wait_until(&http->quiet, &http->lock, due))
		;
	lock_drop(&http->lock);
}

void
http_stop(struct http *http)
{
	if (http == NULL)
		return;
	await_quiet(http);
	lock_take(&http->lock);
	http->stop_notifier = true;
	cond_signal(&http->wake);
	lock_drop(&http->lock);
	if (http->notifying)
		thread_join(http->notifier);
	for (size_t i = 0; i < http->daemon_count; i++)
		MHD_stop_daemon(http->daemons[i]);
	for (size_t i = 0; i < http->door_count; i++)
		http_door_close(&http->doors[i]);
	free(http->daemons);
	free(http->doors);
	cond_release(&http->wake);
	cond_release(&http->quiet);
	lock_release(&http->lock);
	free(http);
}

const char *
http_library_version(void)
{
	return MHD_get_version();
}
