/*
 * See http.h.
 *
 * Threads: a libmicrohttpd daemon with one epoll thread of its own for each listening socket ("front threads"), and the
 * notifier, which alone resumes parked requests. Resuming costs as much as the thread has parked requests, under a mutex
 * that MHD_resume_connection takes, too (0.9.75): several front threads keep the lists short, and no fetch thread ever
 * waits for one. It also watches the clocks of connections (http_connection.c).
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
#include <limits.h>
#include <microhttpd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/http_accept.h"
#include "api/http_listen.h"
#include "api/http_private.h"
#include "api/http_tls.h"
#include "base/clock.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/metrics.h"

#define CONNECTION_MEMORY 16384 /* for the head of a request and of its answer */
#define WATCH_MS 500            /* between two looks at the clocks of connections */
#define STOP_MS 1000            /* how long http_stop waits for answers under way */
#define PASSED_FIRST 3          /* the first of LISTEN_FDS */

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

static void
watch(struct http *http)
{
	int64_t now_ms = mono_ms();

	for (size_t i = 0; i < http->front_room; i++)
		http_connections_watch(&http->fronts[i].connections, now_ms);
	http_linger_watch(&http->bounds.lingering, now_ms);
}

static void *
notify(void *context)
{
	struct http *http = context;
	int64_t watch_due_ms = mono_ms() + WATCH_MS;
	struct list woken;

	list_init(&woken);
	lock_take(&http->lock);
	for (;;) {
		while (list_empty(&http->woken) && !http->stop_notifier)
			if (!cond_wait_until(&http->wake, &http->lock, watch_due_ms))
				break;
		if (list_empty(&http->woken) && http->stop_notifier)
			break;
		list_splice(&woken, &http->woken);
		lock_drop(&http->lock);
		for (struct list *node; (node = list_pop_front(&woken)) != NULL;)
			MHD_resume_connection(container_of(node, struct http_request, wake_node)->connection);
		if (mono_ms() >= watch_due_ms) {
			watch(http);
			watch_due_ms = mono_ms() + WATCH_MS;
		}
		lock_take(&http->lock);
	}
	lock_drop(&http->lock);
	return NULL;
}

/* ---- requests */

struct http_connection *
http_connection_of(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return info == NULL ? NULL : info->socket_context;
}

/* False when the bytes of this request did not pass under our eyes: then they may be anything. */
static bool
was_scanned(const struct http_connection *known)
{
	static atomic_bool told;

	if (known->scan.requests > known->answered || http_scan_in_head(&known->scan) ||
		http_scan_in_body(&known->scan))
		return true;
	if (!atomic_exchange(&told, true))
		log_error("requests reach libmicrohttpd unseen, so none is taken: its recv is not this program's");
	return false;
}

/*
 * The request line is in: keep the target as it came. libmicrohttpd would now split and decode the query into its own
 * memory, and stall when that runs out, so the query is hidden from it.
 */
static void *
on_request_line(void *context, const char *target, struct MHD_Connection *connection)
{
	struct http_front *front = context;
	struct http *http = front->http;
	struct http_connection *known = http_connection_of(connection);
	struct http_request *request = NULL;

	if (known != NULL && (!MHD_LAX || was_scanned(known)))
		request = http_request_new(http, connection, target);
#if MHD_LAX
	char *query = target == NULL ? NULL : strchr((char *)target, '?');
	if (query != NULL)
		query[1] = '\0';
#endif
	if (request == NULL)
		return NULL;
	lock_take(&http->lock);
	http->active++;
	lock_drop(&http->lock);
	return request;
}

static enum MHD_Result
on_access(void *context, struct MHD_Connection *connection, const char *url, const char *method, const char *version,
	const char *data, size_t *data_count, void **request_context)
{
	struct http_request *request = *request_context;
	size_t count = *data_count;

	(void)context, (void)connection, (void)url, (void)version;
	*data_count = 0;
	if (request == NULL)
		return MHD_NO; /* there is no memory for it, or it cannot be trusted */
	return http_request_step(request, method, data, count) ? MHD_YES : MHD_NO;
}

static void
on_completed(
	void *context, struct MHD_Connection *connection, void **request_context, enum MHD_RequestTerminationCode how)
{
	struct http_front *front = context;
	struct http *http = front->http;
	struct http_request *request = *request_context;
	struct http_connection *known = http_connection_of(connection);

	(void)how;
	if (known != NULL)
		http_connection_answered(known);
	*request_context = NULL;
	if (request == NULL)
		return;
	http_request_free(request);
	lock_take(&http->lock);
	if (--http->active == 0)
		cond_broadcast(&http->quiet);
	lock_drop(&http->lock);
}

/* ---- connections */

static void
begin_connection(struct http_front *front, struct MHD_Connection *connection, void **socket_context)
{
	const union MHD_ConnectionInfo *fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	const union MHD_ConnectionInfo *client =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	struct http_connection *known = NULL;

	if (fd != NULL)
		known = http_connection_new(
			&front->connections, fd->connect_fd, client == NULL ? NULL : client->client_addr);
	*socket_context = known;
	/* One that there is no memory for gets no certificate, so its handshake fails. */
	struct http_tls_pair *pair = http_tls_begin(known == NULL ? NULL : front->http->tls, connection);
	if (known != NULL)
		known->pair = pair;
}

static void
on_connection(void *context, struct MHD_Connection *connection, void **socket_context,
	enum MHD_ConnectionNotificationCode what)
{
	struct http_connection *known = *socket_context;

	if (what == MHD_CONNECTION_NOTIFY_STARTED) {
		begin_connection(context, connection, socket_context);
	} else if (known != NULL) {
		http_tls_pair_unref(known->pair);
		http_connection_free(known);
		*socket_context = NULL;
	}
}

size_t
http_connections(struct http *http)
{
	return http_connections_open(&http->bounds);
}

/* ---- life */

static void __attribute__((format(printf, 2, 0))) on_log(void *context, const char *format, va_list args)
{
	char line[512];

	(void)context;
	if (!log_enabled(LOG_DEBUG))
		return;
	vsnprintf(line, sizeof line, format, args);
	line[strcspn(line, "\n")] = '\0';
	log_debug("libmicrohttpd: %s", line);
}

/* One bound for all doors and threads; libmicrohttpd's own is for each thread. */
static enum MHD_Result
on_accept(void *context, const struct sockaddr *address, socklen_t length)
{
	struct http *http = context;

	(void)length;
	return http_connection_admitted(&http->bounds, address) ? MHD_YES : MHD_NO;
}

static const struct MHD_OptionItem no_options[] = {{MHD_OPTION_END, 0, NULL}};

static struct MHD_Daemon *
start_daemon(struct http_front *front, int socket, const struct config *config)
{
	struct http *http = front->http;
	unsigned flags = MHD_USE_AUTO_INTERNAL_THREAD;

#ifdef __linux__
	flags = MHD_USE_EPOLL_INTERNAL_THREAD;
#endif
	/*
	 * Turbo leaves the closing side of a socket open until its close, which http_connection_free needs. With TLS it would
	 * leave out the alert that tells a whole answer from a cut one, and without it that is all that is sent.
	 */
	flags |= MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
	flags |= front->connections.tls ? MHD_USE_TLS : MHD_USE_TURBO;
	return MHD_start_daemon(flags, 0, on_accept, http, on_access, http, MHD_OPTION_EXTERNAL_LOGGER, on_log, front,
		MHD_OPTION_LISTEN_SOCKET, socket, MHD_OPTION_CONNECTION_LIMIT, (unsigned)INT_MAX,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY, MHD_OPTION_CONNECTION_TIMEOUT,
		(unsigned)(config->keepalive_timeout_ms / 1000), MHD_OPTION_URI_LOG_CALLBACK, on_request_line, front,
		MHD_OPTION_NOTIFY_COMPLETED, on_completed, front, MHD_OPTION_NOTIFY_CONNECTION, on_connection, front,
		MHD_OPTION_ARRAY, front->connections.tls ? http_tls_options() : no_options,
#if !MHD_LAX
		MHD_OPTION_CLIENT_DISCIPLINE_LVL, 1,
#endif
		MHD_OPTION_END);
}

static int
start_door(struct http *http, struct http_door *door, const struct config *config)
{
	for (size_t i = 0; i < door->socket_count; i++) {
		struct http_front *front = &http->fronts[http->front_count];

		front->connections.tls = door->tls;
		front->daemon = start_daemon(front, door->sockets[i], config);
		if (front->daemon == NULL)
			return -EIO;
		door->sockets[i] = -1; /* the daemon's from now on */
		http->front_count++;
	}
	return 0;
}

/* What helps with an address that cannot be listened on. */
static const char *
hint_for(int error, const struct config *config)
{
	if (error == -EADDRINUSE)
		return "; stop what uses it, or choose another with --listen";
	if (error == -EPERM && config->unix_group != NULL)
		return "; its user has to be in the group of --unix-group";
	return "";
}

static int
open_doors(struct http *http, const struct config *config, char **ret_message)
{
	int error = 0;

	for (size_t i = 0; error == 0 && i < config->passed_sockets; i++) {
		error = http_door_adopt(PASSED_FIRST + (int)i, config, &http->doors[http->door_count]);
		http->door_count += error == 0;
	}
	for (size_t i = 0; error == 0 && i < config->listen.count; i++) {
		error = http_door_open(config->listen.items[i], config, &http->doors[http->door_count]);
		http->door_count += error == 0;
		if (error != 0 &&
			asprintf(ret_message, "cannot listen on %s: %s%s", config->listen.items[i], strerror(-error),
				hint_for(error, config)) < 0)
			*ret_message = NULL;
	}
	return error;
}

static int
start_tls(struct http *http, const struct config *config, char **ret_message)
{
	struct http_tls_pair *pair;

	int error = http_tls_pair_load(config, &pair, ret_message);
	if (error != 0 || pair == NULL)
		return error;
	http_tls_pair_warn(pair);
	http->tls = http_tls_new(pair);
	if (http->tls == NULL)
		http_tls_pair_unref(pair);
	return http->tls == NULL ? -ENOMEM : 0;
}

static int
open_all(struct http *http, const struct config *config, char **ret_message)
{
	size_t doors = config->passed_sockets + config->listen.count;
	size_t most = doors * (size_t)config->front_threads;

	http->doors = calloc(doors, sizeof *http->doors);
	http->fronts = calloc(most, sizeof *http->fronts);
	for (; http->fronts != NULL && http->front_room < most; http->front_room++) {
		http->fronts[http->front_room].http = http;
		http_connections_init(&http->fronts[http->front_room].connections, &http->bounds, false);
	}
	int error = http_accept_init();
	if (error == 0)
		error = http->doors == NULL || http->fronts == NULL ? -ENOMEM : start_tls(http, config, ret_message);
	return error == 0 ? open_doors(http, config, ret_message) : error;
}

int
http_start(const struct config *config, const struct http_setup *setup, struct http **ret, char **ret_message)
{
	struct http *http = calloc(1, sizeof *http);

	*ret_message = NULL;
	if (http == NULL)
		return -ENOMEM;
	http->setup = *setup;
	http->max_request_bytes = (size_t)config->max_request_bytes;
	http_bounds_init(&http->bounds, config);
	lock_init(&http->lock);
	cond_init(&http->wake);
	cond_init(&http->quiet);
	list_init(&http->woken);
	int error = open_all(http, config, ret_message);
	if (error == 0)
		error = thread_start(&http->notifier, "notifier", notify, http);
	http->notifying = error == 0;
	*ret = http; /* the front threads' requests look there */
	for (size_t i = 0; error == 0 && i < http->door_count; i++)
		error = start_door(http, &http->doors[i], config);
	if (error != 0) {
		*ret = NULL;
		http_stop(http);
	}
	return error;
}

const char *
http_address(const struct http *http, size_t index)
{
	return index < http->door_count ? http->doors[index].address : NULL;
}

int
http_bound(const struct http *http, size_t index, struct sockaddr_storage *ret)
{
	socklen_t length = sizeof *ret;

	if (index >= http->front_count)
		return -ENOENT;
	const union MHD_DaemonInfo *info = MHD_get_daemon_info(http->fronts[index].daemon, MHD_DAEMON_INFO_LISTEN_FD);
	if (info == NULL || info->listen_fd < 0)
		return -EBADF;
	memset(ret, 0, sizeof *ret);
	return getsockname(info->listen_fd, (struct sockaddr *)ret, &length) == 0 ? 0 : -errno;
}

bool
http_listens_locally(const struct config *config, char *ret_what, size_t size)
{
	for (size_t i = 0; i < config->listen.count; i++) {
		if (!http_listen_is_local(config->listen.items[i])) {
			snprintf(ret_what, size, "--listen %s", config->listen.items[i]);
			return false;
		}
	}
	for (size_t i = 0; i < config->passed_sockets; i++) {
		if (!http_passed_is_local(PASSED_FIRST + (int)i)) {
			char *address = http_passed_address(PASSED_FIRST + (int)i, config->tls_cert != NULL);

			snprintf(ret_what, size, "%s, passed by systemd,", address == NULL ? "a socket" : address);
			free(address);
			return false;
		}
	}
	return true;
}

int
http_check(const struct config *config, char **ret_message)
{
	struct http_tls_pair *pair;

	*ret_message = NULL;
	for (size_t i = 0; i < config->passed_sockets; i++) {
		int fd = PASSED_FIRST + (int)i;
		const char *fault = http_passed_fault(fd);

		if (fault == NULL)
			continue;
		if (asprintf(ret_message, "descriptor %d of LISTEN_FDS cannot be listened on: %s", fd, fault) < 0)
			*ret_message = NULL;
		return -EINVAL;
	}
	int error = http_tls_pair_load(config, &pair, ret_message);
	http_tls_pair_unref(pair);
	return error;
}

int
http_certificate_load(
	const struct http *http, const struct config *config, struct http_tls_pair **ret, char **ret_message)
{
	int error = http_tls_pair_load(config, ret, ret_message);

	if (error != 0 || (*ret != NULL) == (http->tls != NULL))
		return error;
	http_tls_pair_unref(*ret);
	*ret = NULL;
	*ret_message = strdup(http->tls != NULL ? "--tls-cert is gone: to serve plain http again takes a restart"
						: "--tls-cert is new: to serve https takes a restart");
	return -EINVAL;
}

void
http_certificate_use(struct http *http, struct http_tls_pair *pair)
{
	if (pair == NULL)
		return;
	http_tls_pair_warn(pair);
	http_tls_set_pair(http->tls, pair);
}

int64_t
http_certificate_expires(const struct http *http)
{
	return http->tls == NULL ? 0 : http_tls_expires(http->tls);
}

bool
http_is_tls(const struct http_request *request)
{
	return http_tls_used(request->connection);
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
	for (size_t i = 0; i < http->front_count; i++)
		MHD_stop_daemon(http->fronts[i].daemon);
	for (size_t i = 0; i < http->front_room; i++)
		http_connections_release(&http->fronts[i].connections);
	http_bounds_release(&http->bounds);
	for (size_t i = 0; i < http->door_count; i++)
		http_door_close(&http->doors[i]);
	free(http->fronts);
	free(http->doors);
	http_tls_free(http->tls);
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
