/* See tunnel.h. A connection's thread shovels both ways with poll; `sight` and the list of threads are under `lock`. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tunnel.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "client.h"

#define MAX_THREADS 512
#define HANDSHAKE_MS 20000

struct tunnel {
	struct tunnel_rules rules;
	gnutls_certificate_credentials_t credentials;
	int listener, stop[2];
	unsigned port;
	pthread_t thread;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct tunnel_sight sight;
	pthread_t threads[MAX_THREADS];
	size_t thread_count;
};

struct way {
	struct tunnel *tunnel;
	int plain, far;
	gnutls_session_t session;
};

static int
connect_far(const struct tunnel_rules *rules)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((in_port_t)rules->port)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons((in_port_t)rules->port)};
	int one = 1, fd = socket(rules->ipv6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	v6.sin6_addr = in6addr_loopback;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (connect(fd, rules->ipv6 ? (struct sockaddr *)&v6 : (struct sockaddr *)&v4,
		    rules->ipv6 ? sizeof v6 : sizeof v4) == 0)
		return fd;
	close(fd);
	return -1;
}

static void
note_certificate(gnutls_session_t session, struct tunnel_sight *sight)
{
	const gnutls_datum_t *chain = gnutls_certificate_get_peers(session, &sight->chain_length);
	unsigned char serial[20];
	size_t size = sizeof serial;
	gnutls_x509_crt_t cert;

	sight->serial[0] = '\0';
	if (!chain || gnutls_x509_crt_init(&cert) < 0)
		return;
	if (gnutls_x509_crt_import(cert, chain, GNUTLS_X509_FMT_DER) >= 0 &&
		gnutls_x509_crt_get_serial(cert, serial, &size) >= 0)
		for (size_t i = 0; i < size; i++)
			snprintf(sight->serial + 2 * i, 3, "%02x", serial[i]);
	gnutls_x509_crt_deinit(cert);
}

static void
note_handshake(struct way *way, int error)
{
	struct tunnel_sight *sight = &way->tunnel->sight;
	gnutls_datum_t protocol = {0};

	pthread_mutex_lock(&way->tunnel->lock);
	sight->error = error;
	if (error) {
		sight->failures++;
	} else {
		sight->handshakes++;
		sight->version = gnutls_protocol_get_name(gnutls_protocol_get_version(way->session));
		gnutls_alpn_get_selected_protocol(way->session, &protocol);
		snprintf(sight->protocol, sizeof sight->protocol, "%.*s", (int)protocol.size, (char *)protocol.data);
		note_certificate(way->session, sight);
	}
	pthread_mutex_unlock(&way->tunnel->lock);
}

static bool
greet(struct way *way)
{
	const struct tunnel_rules *rules = &way->tunnel->rules;
	const char *name = rules->name ? rules->name : "localhost";
	const gnutls_datum_t protocol = {(unsigned char *)(uintptr_t) "http/1.1", 8};
	int code;

	gnutls_init(&way->session, GNUTLS_CLIENT);
	if (rules->priorities)
		gnutls_priority_set_direct(way->session, rules->priorities, NULL);
	else
		gnutls_set_default_priority(way->session);
	gnutls_credentials_set(way->session, GNUTLS_CRD_CERTIFICATE, way->tunnel->credentials);
	gnutls_server_name_set(way->session, GNUTLS_NAME_DNS, name, strlen(name));
	gnutls_alpn_set_protocols(way->session, &protocol, 1, 0);
	if (rules->authority)
		gnutls_session_set_verify_cert(way->session, name, 0);
	gnutls_transport_set_int(way->session, way->far);
	gnutls_handshake_set_timeout(way->session, HANDSHAKE_MS);
	do
		code = gnutls_handshake(way->session);
	while (code < 0 && !gnutls_error_is_fatal(code));
	note_handshake(way, code < 0 ? code : 0);
	return code >= 0;
}

static void
note_end(struct way *way, bool whole)
{
	pthread_mutex_lock(&way->tunnel->lock);
	if (whole)
		way->tunnel->sight.whole_ends++;
	else
		way->tunnel->sight.cut_ends++;
	pthread_cond_broadcast(&way->tunnel->changed);
	pthread_mutex_unlock(&way->tunnel->lock);
}

static bool
send_whole(int fd, const char *data, size_t size)
{
	while (size) {
		ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);

		if (sent < 0)
			return false;
		data += sent;
		size -= (size_t)sent;
	}
	return true;
}

/* From the daemon to the client. False at the end. */
static bool
shovel_in(struct way *way)
{
	char bytes[16384];
	ssize_t got = gnutls_record_recv(way->session, bytes, sizeof bytes);

	if (got == GNUTLS_E_AGAIN || got == GNUTLS_E_INTERRUPTED)
		return true;
	if (got > 0)
		return send_whole(way->plain, bytes, (size_t)got);
	note_end(way, got == 0);
	return false;
}

/* From the client to the daemon. False at the end. */
static bool
shovel_out(struct way *way)
{
	char bytes[16384];
	ssize_t got = recv(way->plain, bytes, sizeof bytes, 0), sent = 0;

	for (ssize_t at = 0; at < got; at += sent) {
		sent = gnutls_record_send(way->session, bytes + at, (size_t)(got - at));
		if (sent < 0)
			return false;
	}
	return got > 0;
}

static void
shovel(struct way *way)
{
	struct pollfd ready[3] = {{.fd = way->plain, .events = POLLIN}, {.fd = way->far, .events = POLLIN},
		{.fd = way->tunnel->stop[0], .events = POLLIN}};

	for (;;) {
		bool pending = gnutls_record_check_pending(way->session) > 0;

		if (poll(ready, 3, pending ? 0 : -1) < 0 && errno != EINTR)
			return;
		if (ready[2].revents)
			return;
		if ((pending || ready[1].revents) && !shovel_in(way))
			return;
		if (ready[0].revents && !shovel_out(way)) {
			/* The client ends its side: say so, and take what still comes. */
			gnutls_bye(way->session, GNUTLS_SHUT_WR);
			ready[0].fd = -1;
		}
	}
}

static void *
way_main(void *argument)
{
	struct way *way = argument;

	if (way->far >= 0 && greet(way))
		shovel(way);
	if (way->session)
		gnutls_deinit(way->session);
	if (way->far >= 0)
		close(way->far);
	close(way->plain);
	free(way);
	return NULL;
}

static void
take(struct tunnel *tunnel, int plain)
{
	struct way *way = calloc(1, sizeof *way);
	int one = 1;

	setsockopt(plain, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	*way = (struct way){.tunnel = tunnel, .plain = plain, .far = connect_far(&tunnel->rules)};
	pthread_mutex_lock(&tunnel->lock);
	if (tunnel->thread_count == MAX_THREADS ||
		pthread_create(&tunnel->threads[tunnel->thread_count], NULL, way_main, way))
		abort();
	tunnel->thread_count++;
	pthread_mutex_unlock(&tunnel->lock);
}

static void *
tunnel_main(void *argument)
{
	struct tunnel *tunnel = argument;
	struct pollfd ready[2] = {
		{.fd = tunnel->listener, .events = POLLIN}, {.fd = tunnel->stop[0], .events = POLLIN}};

	for (;;) {
		if (poll(ready, 2, -1) < 0 && errno != EINTR)
			return NULL;
		if (ready[1].revents)
			return NULL;
		int plain = ready[0].revents ? accept4(tunnel->listener, NULL, NULL, SOCK_CLOEXEC) : -1;
		if (plain >= 0)
			take(tunnel, plain);
	}
}

struct tunnel *
tunnel_open(const struct tunnel_rules *rules)
{
	struct tunnel *tunnel = calloc(1, sizeof *tunnel);
	struct sockaddr_in address = {.sin_family = AF_INET};
	socklen_t length = sizeof address;
	pthread_condattr_t monotonic;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	tunnel->rules = *rules;
	tunnel->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(tunnel->listener, (struct sockaddr *)&address, sizeof address) || listen(tunnel->listener, 256) ||
		getsockname(tunnel->listener, (struct sockaddr *)&address, &length) || pipe2(tunnel->stop, O_CLOEXEC))
		abort();
	tunnel->port = ntohs(address.sin_port);
	gnutls_certificate_allocate_credentials(&tunnel->credentials);
	if (rules->authority)
		gnutls_certificate_set_x509_trust_file(tunnel->credentials, rules->authority, GNUTLS_X509_FMT_PEM);
	pthread_mutex_init(&tunnel->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&tunnel->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	if (pthread_create(&tunnel->thread, NULL, tunnel_main, tunnel))
		abort();
	return tunnel;
}

unsigned
tunnel_port(const struct tunnel *tunnel)
{
	return tunnel->port;
}

struct tunnel_sight
tunnel_sight(struct tunnel *tunnel)
{
	pthread_mutex_lock(&tunnel->lock);
	struct tunnel_sight sight = tunnel->sight;
	pthread_mutex_unlock(&tunnel->lock);
	return sight;
}

bool
tunnel_await_ends(struct tunnel *tunnel, size_t count)
{
	struct timespec until;
	int expired = 0;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += CLIENT_PATIENCE_MS / 1000;
	pthread_mutex_lock(&tunnel->lock);
	while (tunnel->sight.whole_ends + tunnel->sight.cut_ends < count && !expired)
		expired = pthread_cond_timedwait(&tunnel->changed, &tunnel->lock, &until);
	pthread_mutex_unlock(&tunnel->lock);
	return !expired;
}

void
tunnel_close(struct tunnel *tunnel)
{
	if (write(tunnel->stop[1], "", 1) != 1)
		abort();
	pthread_join(tunnel->thread, NULL);
	for (size_t i = 0; i < tunnel->thread_count; i++)
		pthread_join(tunnel->threads[i], NULL);
	close(tunnel->listener);
	close(tunnel->stop[0]);
	close(tunnel->stop[1]);
	gnutls_certificate_free_credentials(tunnel->credentials);
	pthread_cond_destroy(&tunnel->changed);
	pthread_mutex_destroy(&tunnel->lock);
	free(tunnel);
}
