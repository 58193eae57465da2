/*
 * See http_connection.h.
 *
 * libmicrohttpd offers no place to look at bytes before it parses them. But it reads with recv and gnutls_record_recv,
 * and a program's own functions of these names go before those of its libraries. So this file has the one, and
 * http_tls.c the other. They do what the real ones do, and for a socket of a front thread look at what came. Whatever else in the process reads (libcurl,
 * c-ares) goes straight through: a thread that is no front thread has no table of connections.
 *
 * A request that is refused here is answered here, at a moment at which libmicrohttpd reads, so it has nothing to send;
 * then it is told that the connection was lost. When whole requests came ahead of it in the same piece, they are handed
 * on first, and the socket is shut for reading: so libmicrohttpd comes again once it has answered them.
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif
#undef _FORTIFY_SOURCE /* makes an inline function of recv, which is defined here */

#include "api/http_connection.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#ifdef __linux__
#include <linux/sockios.h>
#include <linux/tcp.h>
#endif

#include "api/http_private.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"

/*
 * Above the limit so many are let in still, for calls that are always open: /livez and its like. When there are more,
 * the oldest of them goes. So nobody can take up that room by just being there, and who asks at once has an answer.
 */
#define RESERVE 64
/* And so many that are on their way out, or that nobody has looked at yet. */
#define LEAVING 64

/* The stretch over which the rate of a reader is taken. */
#define WINDOW_MS 20000

static _Thread_local struct http_connections *connections_here;

/* ---- bounds */

void
http_bounds_init(struct http_bounds *bounds, const struct config *config)
{
	bounds->max_connections = (size_t)config->max_connections;
	bounds->max_per_address = (size_t)config->max_connections_per_address;
	bounds->keepalive_ms = config->keepalive_timeout_ms;
	bounds->head_ms = config->head_timeout_ms;
	bounds->body_ms = config->body_timeout_ms;
	bounds->min_rate = config->min_client_rate;
	list_init(&bounds->above);
	lock_init(&bounds->lock);
	http_linger_init(&bounds->lingering);
}

void
http_bounds_release(struct http_bounds *bounds)
{
	struct peer_count *count, *next;

	HASH_ITER(hh, bounds->peers, count, next) {
		HASH_DEL(bounds->peers, count);
		free(count);
	}
	http_linger_release(&bounds->lingering);
	lock_release(&bounds->lock);
}

static struct peer
peer_of_ipv4(const uint8_t *bytes)
{
	struct peer peer = {.family = bytes[0] == 127 ? 0 : 4};

	memcpy(peer.bytes, bytes, 4);
	return peer;
}

static struct peer
peer_of(const struct sockaddr *address)
{
	struct peer peer = {0};

	if (address == NULL)
		return peer;
	if (address->sa_family == AF_INET) {
		return peer_of_ipv4((const uint8_t *)&((const struct sockaddr_in *)(const void *)address)->sin_addr);
	} else if (address->sa_family == AF_INET6) {
		const struct sockaddr_in6 *v6 = (const void *)address;

		if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) /* IPv4 on a socket that takes both */
			return peer_of_ipv4(v6->sin6_addr.s6_addr + 12);
		memcpy(peer.bytes, &v6->sin6_addr, sizeof peer.bytes);
		peer.family = IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr) ? 0 : 6;
	}
	return peer;
}

static struct peer_count *
find_peer_locked(struct http_bounds *bounds, const struct peer *peer)
{
	struct peer_count *count;

	lock_assert_held(&bounds->lock);
	HASH_FIND(hh, bounds->peers, peer, sizeof *peer, count);
	return count;
}

bool
http_connection_admitted(struct http_bounds *bounds, const struct sockaddr *address)
{
	struct peer peer = peer_of(address);
	size_t of_peer = 0;

	if (atomic_load(&bounds->connections) >= bounds->max_connections + RESERVE + LEAVING) {
		metric_add(METRIC_REFUSED_CONNECTIONS_LIMIT, 1);
		return false;
	}
	if (peer.family == 0)
		return true;
	lock_take(&bounds->lock);
	const struct peer_count *count = find_peer_locked(bounds, &peer);
	if (count != NULL)
		of_peer = count->connections;
	lock_drop(&bounds->lock);
	if (of_peer < bounds->max_per_address)
		return true;
	metric_add(METRIC_REFUSED_CONNECTIONS_ADDRESS, 1);
	return false;
}

/* False when memory runs out. */
static bool
count_peer(struct http_bounds *bounds, const struct peer *peer)
{
	if (peer->family == 0)
		return true;
	lock_take(&bounds->lock);
	struct peer_count *count = find_peer_locked(bounds, peer);
	if (count == NULL && (count = calloc(1, sizeof *count)) != NULL) {
		count->peer = *peer;
		HASH_ADD(hh, bounds->peers, peer, sizeof *peer, count);
		if (count->hh.tbl == NULL) {
			free(count);
			count = NULL;
		}
	}
	if (count != NULL)
		count->connections++;
	lock_drop(&bounds->lock);
	return count != NULL;
}

static void
uncount_peer(struct http_bounds *bounds, const struct peer *peer)
{
	if (peer->family == 0)
		return;
	lock_take(&bounds->lock);
	struct peer_count *count = find_peer_locked(bounds, peer);
	if (--count->connections == 0) {
		HASH_DEL(bounds->peers, count);
		free(count);
	}
	lock_drop(&bounds->lock);
}

/* Something came that its thread has not got round to: it will have its answer, and leave by itself. */
static bool
is_owed_a_look(const struct http_connection *connection)
{
	int unread = 0;

	return atomic_load(&connection->sending) || (ioctl(connection->fd, FIONREAD, &unread) == 0 && unread > 0);
}

/* The oldest that only is there; NULL when there is none. */
static struct http_connection *
choose_to_leave_locked(struct http_bounds *bounds)
{
	lock_assert_held(&bounds->lock);
	LIST_FOR_EACH(node, &bounds->above) {
		struct http_connection *connection = container_of(node, struct http_connection, above);

		if (!is_owed_a_look(connection))
			return connection;
	}
	return NULL;
}

static void
leave_above_locked(struct http_bounds *bounds, struct http_connection *connection)
{
	if (list_empty(&connection->above))
		return;
	list_remove(&connection->above);
	bounds->above_count--;
}

/* A connection above the limit has come. Whoever has to go for it is shut down, which wakes its thread. */
static void
enter_above(struct http_bounds *bounds, struct http_connection *connection)
{
	lock_take(&bounds->lock);
	struct http_connection *leaves = bounds->above_count < RESERVE ? NULL : choose_to_leave_locked(bounds);
	if (leaves != NULL) {
		leave_above_locked(bounds, leaves);
		shutdown(leaves->fd, SHUT_RDWR);
		metric_add(METRIC_REFUSED_CONNECTIONS_LIMIT, 1);
	}
	list_push_back(&bounds->above, &connection->above);
	bounds->above_count++;
	lock_drop(&bounds->lock);
}

/* Before its socket is closed, for that may be another's at once. */
static void
leave_above(struct http_bounds *bounds, struct http_connection *connection)
{
	lock_take(&bounds->lock);
	leave_above_locked(bounds, connection);
	lock_drop(&bounds->lock);
}

size_t
http_connections_open(struct http_bounds *bounds)
{
	return atomic_load(&bounds->connections);
}

/* ---- life */

void
http_connections_init(struct http_connections *connections, struct http_bounds *bounds, bool tls)
{
	*connections = (struct http_connections){.bounds = bounds, .tls = tls};
	lock_init(&connections->lock);
}

void
http_connections_release(struct http_connections *connections)
{
	lock_release(&connections->lock);
}

struct http_connection *
http_connection_new(struct http_connections *owner, int fd, const struct sockaddr *address)
{
	struct http_connection *connection = calloc(1, sizeof *connection);
	struct http_bounds *bounds = owner->bounds;

	connections_here = owner;
	if (connection == NULL)
		return NULL;
	connection->owner = owner;
	connection->fd = fd;
	list_init(&connection->above);
	connection->peer = peer_of(address);
	/* Within it a TLS handshake has to be over, too. */
	atomic_init(&connection->due_ms, mono_ms() + bounds->keepalive_ms);
	if (!count_peer(bounds, &connection->peer)) {
		free(connection);
		return NULL;
	}
	lock_take(&owner->lock);
	HASH_ADD_INT(owner->by_socket, fd, connection);
	lock_drop(&owner->lock);
	if (connection->hh.tbl == NULL) {
		uncount_peer(bounds, &connection->peer);
		free(connection);
		return NULL;
	}
	connection->over_limit = atomic_fetch_add(&bounds->connections, 1) >= bounds->max_connections;
	if (connection->over_limit)
		enter_above(bounds, connection);
	return connection;
}

/*
 * Ends the sending side of a socket that is about to be closed, and reads what has come: bytes that were never read
 * would turn the close into a reset, which may take the last answer with it.
 */
static void
part(int fd)
{
	char drop[4096];

	shutdown(fd, SHUT_WR);
	for (int i = 0; i < 16 && recvfrom(fd, drop, sizeof drop, MSG_DONTWAIT, NULL, NULL) > 0; i++)
		;
}

void
http_connection_free(struct http_connection *connection)
{
	struct http_connections *owner = connection->owner;

	lock_take(&owner->lock);
	HASH_DEL(owner->by_socket, connection);
	lock_drop(&owner->lock);
	if (connection->over_limit)
		leave_above(owner->bounds, connection);
	part(connection->fd); /* with TLS, libmicrohttpd has ended the session by now */
	if (connection->refused || http_scan_in_body(&connection->scan))
		http_linger(&owner->bounds->lingering, connection->fd, mono_ms());
	atomic_fetch_sub(&owner->bounds->connections, 1);
	uncount_peer(owner->bounds, &connection->peer);
	free(connection);
}

/* ---- clocks */

enum { READING_NOTHING, READING_HEAD, READING_BODY };

/* What libmicrohttpd still has to read. While it has a whole request to answer, nobody is waited for. */
static int
reading(const struct http_connection *connection)
{
	const struct http_scan *scan = &connection->scan;

	if (scan->requests > connection->answered)
		return READING_NOTHING;
	return http_scan_in_body(scan) ? READING_BODY : http_scan_in_head(scan) ? READING_HEAD : READING_NOTHING;
}

static void
set_clock(struct http_connection *connection)
{
	const struct http_bounds *bounds = connection->owner->bounds;
	int now_reading = reading(connection);
	int64_t due_ms = 0;

	if (now_reading == connection->reading && now_reading != READING_NOTHING)
		return; /* the time is for the whole of it */
	connection->reading = now_reading;
	if (now_reading != READING_NOTHING)
		due_ms = mono_ms() + (now_reading == READING_HEAD ? bounds->head_ms : bounds->body_ms);
	atomic_store(&connection->due_ms, due_ms);
}

void
http_connection_answers(struct http_connection *connection)
{
	atomic_store(&connection->sending, true);
}

void
http_connection_answered(struct http_connection *connection)
{
	atomic_store(&connection->sending, false);
	connection->answered++;
	set_clock(connection);
}

#ifdef __linux__
/* Bytes that the other side has taken, and whether some wait for it. False when nobody can tell: no TCP socket. */
static bool
ask_progress(int fd, uint64_t *ret_acknowledged, bool *ret_waits)
{
	struct tcp_info info;
	socklen_t length = sizeof info;
	int queued = 0;

	memset(&info, 0, sizeof info);
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) != 0 || ioctl(fd, SIOCOUTQ, &queued) != 0)
		return false;
	*ret_acknowledged = info.tcpi_bytes_acked;
	*ret_waits = queued > 0;
	return true;
}
#else
static bool
ask_progress(int fd, uint64_t *ret_acknowledged, bool *ret_waits)
{
	(void)fd, (void)ret_acknowledged, (void)ret_waits;
	return false;
}
#endif

/* True when an answer has gone out too slowly over the last stretch, for want of a reader. */
static bool
reads_too_slowly(struct http_connection *connection, int64_t now_ms)
{
	int64_t stretch_ms = now_ms - connection->window_start_ms;
	uint64_t before = connection->window_acknowledged;
	bool waits = false;

	if (!atomic_load(&connection->sending)) {
		connection->window_start_ms = 0;
		return false;
	}
	if (connection->window_start_ms != 0 && stretch_ms < WINDOW_MS)
		return false;
	if (!ask_progress(connection->fd, &connection->window_acknowledged, &waits))
		return false;
	bool first = connection->window_start_ms == 0;
	connection->window_start_ms = now_ms;
	return !first && waits &&
		(int64_t)(connection->window_acknowledged - before) <
		connection->owner->bounds->min_rate * (stretch_ms / 1000);
}

static void
watch_connection(struct http_connection *connection, int64_t now_ms)
{
	int64_t due_ms = atomic_load(&connection->due_ms);

	if (due_ms != 0 && now_ms >= due_ms && !atomic_exchange(&connection->overdue, true)) {
		metric_add(METRIC_CUT_CONNECTIONS_REQUEST, 1);
		shutdown(connection->fd, SHUT_RD); /* wakes its thread, which says so to the client */
	} else if (reads_too_slowly(connection, now_ms)) {
		metric_add(METRIC_CUT_CONNECTIONS_READER, 1);
		shutdown(connection->fd, SHUT_RDWR);
	}
}

void
http_connections_watch(struct http_connections *connections, int64_t now_ms)
{
	struct http_connection *connection, *next;

	lock_take(&connections->lock);
	HASH_ITER(hh, connections->by_socket, connection, next)
		watch_connection(connection, now_ms);
	lock_drop(&connections->lock);
}

/* ---- what comes in */

static const char *
code_of(int status)
{
	switch (status) {
	case 408:
		return "request_timeout";
	case 413:
		return "request_too_large";
	case 414:
		return "target_too_long";
	case 431:
		return "head_too_large";
	case 505:
		return "version_not_supported";
	default:
		return "malformed_http";
	}
}

/* The whole answer to a request that goes no further. */
static void
write_refusal(const struct http_scan *scan, struct buffer *answer)
{
	struct problem problem = {0};
	struct buffer body = {0};

	problem_set(&problem, scan->status, code_of(scan->status), NULL, "%s", scan->wrong);
	problem_write(&problem, &body, "");
	buffer_append_char(&body, '\n');
	buffer_printf(answer,
		"HTTP/1.1 %d %s\r\nContent-Type: application/problem+json\r\nCache-Control: no-store\r\n"
		"X-Content-Type-Options: nosniff\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n",
		scan->status, problem_title(scan->status), body.count);
	if (!scan->is_head)
		buffer_append(answer, body.data, body.count);
	answer->failed |= body.failed;
	problem_release(&problem);
	buffer_release(&body);
}

/* Answers once. */
static void
refuse(struct http_connection *connection, const struct http_wire *wire)
{
	struct buffer answer = {0};

	if (connection->refused)
		return;
	connection->refused = true;
	write_refusal(&connection->scan, &answer);
	if (!answer.failed) {
		http_count_status(connection->scan.status);
		wire->send(wire->context, answer.data, answer.count);
	}
	buffer_release(&answer);
}

/* True when nothing that comes on this connection is of interest any more. */
static bool
is_over(struct http_connection *connection, const struct http_wire *wire)
{
	struct http_scan *scan = &connection->scan;

	if (scan->status == 0 && atomic_load(&connection->overdue)) {
		/* One that has not even begun a request gets no answer to it. */
		connection->refused = !http_scan_in_head(scan) && !http_scan_in_body(scan);
		scan->status = 408;
		scan->wrong = "the request did not come in time";
	}
	if (scan->status == 0)
		return false;
	refuse(connection, wire);
	return true;
}

/* Bytes have come: how many of them may libmicrohttpd have? 0 for none. */
static size_t
let_in(struct http_connection *connection, char *bytes, size_t count, const struct http_wire *wire)
{
	size_t good = http_scan_and_hide(&connection->scan, bytes, count);

	set_clock(connection);
	if (connection->scan.status == 0)
		return good;
	metric_add(METRIC_HTTP_MALFORMED, 1);
	if (good > 0)
		shutdown(connection->fd, SHUT_RD);
	else
		refuse(connection, wire);
	return good;
}

struct http_connection *
http_connection_find(int fd)
{
	struct http_connection *connection = NULL;

	if (connections_here != NULL)
		HASH_FIND_INT(connections_here->by_socket, &fd, connection);
	return connection;
}

bool
http_connection_receive(
	struct http_connection *connection, const struct http_wire *wire, void *bytes, size_t size, ssize_t *ret)
{
	if (is_over(connection, wire))
		return false;
	ssize_t count = wire->receive(wire->context, bytes, size);
	if (count > 0) {
		count = (ssize_t)let_in(connection, bytes, (size_t)count, wire);
		if (count == 0)
			return false;
	}
	*ret = count;
	return true;
}

/* ---- without TLS */

static ssize_t
receive_plain(void *context, void *bytes, size_t size)
{
	const int *fd = context;

	return recvfrom(*fd, bytes, size, 0, NULL, NULL);
}

/* A socket that does not take it at once has had its chance. */
static void
send_plain(void *context, const void *bytes, size_t count)
{
	const int *fd = context;

	if (send(*fd, bytes, count, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		log_debug("a refusal could not be sent: %s", strerror(errno));
}

ssize_t
recv(int fd, void *bytes, size_t size, int flags)
{
	struct http_connection *connection = http_connection_find(fd);
	const struct http_wire wire = {receive_plain, send_plain, &fd};
	ssize_t count;

	/* With TLS this is GnuTLS, which reads for gnutls_record_recv. */
	if (connection == NULL || connection->owner->tls || flags != 0)
		return recvfrom(fd, bytes, size, flags, NULL, NULL);
	if (http_connection_receive(connection, &wire, bytes, size, &count))
		return count;
	errno = ECONNRESET;
	return -1;
}
