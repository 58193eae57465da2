/* See proxy.h. A thread takes connections, each has a thread of its own, with blocking calls. */
#include "proxy.h"

#include "rig.h"
#include "tls_origin.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_CONNECTIONS 256

struct connection {
	struct proxy *proxy;
	pthread_t thread;
	int fd;
	_Atomic(int) out_fd;
	SSL *ssl; /* NULL: none */
};

struct proxy {
	struct proxy_options options;
	struct tls_origin *tls; /* lends its certificates */
	int listener;
	unsigned port;
	pthread_t thread;
	_Atomic(size_t) connection_count, request_count;
	struct connection connections[MAX_CONNECTIONS];
	struct proxy_request requests[MAX_CONNECTIONS]; /* written before the count */
	pthread_mutex_t lock;                           /* of those who write them */
};

/* ---- bytes */

static ssize_t
take(struct connection *connection, void *data, size_t size)
{
	return connection->ssl != NULL ? SSL_read(connection->ssl, data, (int)size)
				       : recv(connection->fd, data, size, 0);
}

static bool
give(struct connection *connection, const void *data, size_t size)
{
	if (connection->ssl != NULL)
		return SSL_write(connection->ssl, data, (int)size) == (int)size;
	return send(connection->fd, data, size, MSG_NOSIGNAL) == (ssize_t)size;
}

static bool
take_all(struct connection *connection, void *data, size_t size)
{
	for (size_t got = 0; got < size;) {
		ssize_t count = take(connection, (char *)data + got, size - got);

		if (count <= 0)
			return false;
		got += (size_t)count;
	}
	return true;
}

/* ---- what is asked for */

static void
note(struct proxy *proxy, const struct proxy_request *request)
{
	pthread_mutex_lock(&proxy->lock);
	proxy->requests[proxy->request_count] = *request;
	proxy->request_count++;
	pthread_mutex_unlock(&proxy->lock);
}

static bool
is_bad(const struct proxy *proxy, const struct proxy_request *request)
{
	return proxy->options.bad_host == NULL || strcmp(proxy->options.bad_host, request->host) == 0;
}

static bool
read_connect(struct connection *connection, struct proxy_request *request)
{
	for (size_t used = 0; strstr(request->head, "\r\n\r\n") == NULL; used++)
		if (used + 1 == sizeof request->head || !take_all(connection, request->head + used, 1))
			return false;
	if (sscanf(request->head, "CONNECT [%299[^]]]:%u ", request->host, &request->port) != 2 &&
		sscanf(request->head, "CONNECT %299[^:]:%u ", request->host, &request->port) != 2)
		return false;
	const char *field = strstr(request->head, "\r\nProxy-Authorization: Basic ");
	unsigned char plain[100] = "";
	char coded[130] = "";
	if (field != NULL && sscanf(field + 29, "%129s", coded) == 1 && strlen(coded) < sizeof request->user)
		EVP_DecodeBlock(plain, (const unsigned char *)coded, (int)strlen(coded));
	snprintf(request->user, sizeof request->user, "%s", (char *)plain);
	return true;
}

static bool
answer_connect(struct connection *connection, struct proxy_request *request)
{
	const struct proxy_options *options = &connection->proxy->options;
	int status = options->status != 0 && is_bad(connection->proxy, request) ? options->status : 200;
	char text[600];

	if (options->user != NULL && strcmp(options->user, request->user) != 0)
		status = 407;
	request->tunnelled = status == 200;
	note(connection->proxy, request);
	snprintf(text, sizeof text, "HTTP/1.1 %d Said\r\n%s%s\r\n", status, options->head != NULL ? options->head : "",
		status == 200 ? "" : "Content-Length: 0\r\n");
	return give(connection, text, strlen(text)) && status == 200;
}

static bool
read_socks_user(struct connection *connection, struct proxy_request *request)
{
	unsigned char head[2], text[256];
	size_t used = 0;

	if (!take_all(connection, head, 2))
		return false;
	for (int part = 0; part < 2; part++) {
		if (part == 1 && !take_all(connection, head + 1, 1))
			return false;
		if (head[1] >= sizeof request->user - used - 1 || !take_all(connection, text, head[1]))
			return false;
		memcpy(request->user + used, text, head[1]);
		used += head[1];
		if (part == 0)
			request->user[used++] = ':';
	}
	const char *wanted = connection->proxy->options.user;
	bool welcome = wanted == NULL || strcmp(wanted, request->user) == 0;
	return give(connection, welcome ? "\1\0" : "\1\1", 2) && welcome;
}

/* What comes behind the first byte. */
static bool
read_socks(struct connection *connection, struct proxy_request *request)
{
	unsigned char count, methods[256], head[4], length, port[2], bytes[256];
	bool ask = connection->proxy->options.user != NULL;

	if (!take_all(connection, &count, 1) || !take_all(connection, methods, count))
		return false;
	if (ask && memchr(methods, 2, count) == NULL) {
		give(connection, "\5\xff", 2);
		return false;
	}
	if (!give(connection, ask ? "\5\2" : "\5\0", 2) || (ask && !read_socks_user(connection, request)) ||
		!take_all(connection, head, 4))
		return false;
	request->address_type = head[3];
	length = head[3] == 1 ? 4 : 16;
	if (head[3] == 3 && !take_all(connection, &length, 1))
		return false;
	if (!take_all(connection, bytes, length) || !take_all(connection, port, 2))
		return false;
	request->port = (unsigned)port[0] << 8 | port[1];
	if (head[3] == 3)
		snprintf(request->host, sizeof request->host, "%.*s", length, (char *)bytes);
	else
		inet_ntop(head[3] == 1 ? AF_INET : AF_INET6, bytes, request->host, sizeof request->host);
	return true;
}

static bool
answer_socks(struct connection *connection, struct proxy_request *request)
{
	const struct proxy_options *options = &connection->proxy->options;
	int reply = is_bad(connection->proxy, request) ? options->socks_reply : 0;
	unsigned char text[10] = {5, (unsigned char)reply, 0, 1};

	request->tunnelled = reply == 0;
	note(connection->proxy, request);
	return give(connection, text, sizeof text) && reply == 0;
}

/* ---- the tunnel */

static int
connect_out(unsigned port)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

static void
carry(struct connection *connection, int out)
{
	struct pollfd fds[2] = {{.fd = connection->fd, .events = POLLIN}, {.fd = out, .events = POLLIN}};
	char data[16384];

	for (;;) {
		bool pending = connection->ssl != NULL && SSL_pending(connection->ssl) > 0;

		if (!pending && poll(fds, 2, -1) < 0)
			return;
		if (pending || fds[0].revents != 0) {
			ssize_t count = take(connection, data, sizeof data);
			if (count <= 0 || send(out, data, (size_t)count, MSG_NOSIGNAL) != count)
				return;
		}
		if (!pending && fds[1].revents != 0) {
			ssize_t count = recv(out, data, sizeof data, 0);
			if (count <= 0 || !give(connection, data, (size_t)count))
				return;
		}
	}
}

static bool
is_asked(struct connection *connection, struct proxy_request *request)
{
	unsigned char version;

	if (!connection->proxy->options.socks)
		return read_connect(connection, request) && answer_connect(connection, request);
	return take_all(connection, &version, 1) && version == 5 && read_socks(connection, request) &&
		answer_socks(connection, request);
}

static void
serve(struct connection *connection)
{
	const struct proxy_options *options = &connection->proxy->options;
	struct proxy_request *request = calloc(1, sizeof *request);
	char bytes[4096];

	if (options->silent)
		while (take(connection, bytes, sizeof bytes) > 0)
			;
	else if (request != NULL && is_asked(connection, request)) {
		int out = connect_out(options->to_port != 0 ? options->to_port : request->port);

		connection->out_fd = out;
		if (out >= 0)
			carry(connection, out);
	}
	free(request);
}

static void *
run_connection(void *context)
{
	struct connection *connection = context;
	struct proxy *proxy = connection->proxy;

	if (proxy->tls != NULL)
		connection->ssl = SSL_new(tls_origin_context(proxy->tls));
	if (connection->ssl == NULL ||
		(SSL_set_fd(connection->ssl, connection->fd) == 1 && SSL_accept(connection->ssl) == 1))
		serve(connection);
	SSL_free(connection->ssl);
	ERR_clear_error();
	shutdown(connection->fd, SHUT_RDWR);
	return NULL;
}

static void *
run(void *context)
{
	struct proxy *proxy = context;
	int fd;

	while (proxy->connection_count < MAX_CONNECTIONS && (fd = accept(proxy->listener, NULL, NULL)) >= 0) {
		struct connection *connection = &proxy->connections[proxy->connection_count];

		connection->proxy = proxy;
		connection->fd = fd;
		connection->out_fd = -1;
		if (pthread_create(&connection->thread, NULL, run_connection, connection) != 0) {
			close(fd);
			break;
		}
		proxy->connection_count++;
	}
	return NULL;
}

/* ---- life */

struct proxy *
proxy_start(const struct proxy_options *options)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	struct proxy *proxy = calloc(1, sizeof *proxy);
	socklen_t length = sizeof address;

	ck_assert(proxy != NULL);
	signal(SIGPIPE, SIG_IGN);
	proxy->options = *options;
	proxy->tls = options->tls ? tls_origin_start(&(struct tls_origin_options){.ask_client = true}) : NULL;
	pthread_mutex_init(&proxy->lock, NULL);
	proxy->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert(proxy->listener >= 0 && bind(proxy->listener, (struct sockaddr *)&address, sizeof address) == 0);
	ck_assert(listen(proxy->listener, 64) == 0);
	ck_assert(getsockname(proxy->listener, (struct sockaddr *)&address, &length) == 0);
	proxy->port = ntohs(address.sin_port);
	ck_assert(pthread_create(&proxy->thread, NULL, run, proxy) == 0);
	return proxy;
}

void
proxy_stop(struct proxy *proxy)
{
	shutdown(proxy->listener, SHUT_RDWR);
	pthread_join(proxy->thread, NULL);
	for (size_t i = 0; i < proxy->connection_count; i++) {
		struct connection *connection = &proxy->connections[i];

		shutdown(connection->fd, SHUT_RDWR);
		pthread_join(connection->thread, NULL);
		close(connection->fd);
		if (connection->out_fd >= 0)
			close(connection->out_fd);
	}
	close(proxy->listener);
	if (proxy->tls != NULL)
		tls_origin_stop(proxy->tls);
	pthread_mutex_destroy(&proxy->lock);
	free(proxy);
}

unsigned
proxy_port(const struct proxy *proxy)
{
	return proxy->port;
}

const char *
proxy_ca(const struct proxy *proxy)
{
	return tls_origin_ca(proxy->tls);
}

size_t
proxy_connections(struct proxy *proxy)
{
	return proxy->connection_count;
}

size_t
proxy_requests(struct proxy *proxy)
{
	return proxy->request_count;
}

const struct proxy_request *
proxy_request(struct proxy *proxy, size_t nth)
{
	return &proxy->requests[nth];
}
