/*
 * The origin that sends what it is told; see raw_origin.h.
 *
 * Its thread owns the sockets but for `stop`, a pipe that raw_origin_stop closes one end of, which ends every wait. The CA is made once
 * for the process, before any thread.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "raw_origin.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define DAY 86400L

struct raw_origin {
	pthread_t thread;
	struct raw_script script;
	int listen_fd, stop[2];
	unsigned port;
	SSL_CTX *context; /* NULL: no TLS */
	atomic_size_t connections;
};

/* One connection: with a TLS session, or without. */
struct wire {
	struct raw_origin *origin;
	int fd;
	SSL *ssl;
};

static void *
must(void *made)
{
	if (!made) {
		ERR_print_errors_fp(stderr);
		abort();
	}
	return made;
}

/* ---- certificates */

static struct {
	EVP_PKEY *key;
	X509 *certificate;
} ca;

static EVP_PKEY *
new_key_pair(void)
{
	EVP_PKEY_CTX *context = must(EVP_PKEY_CTX_new_id(EVP_PKEY_EC, NULL));
	EVP_PKEY *key = NULL;

	if (EVP_PKEY_keygen_init(context) <= 0 ||
		EVP_PKEY_CTX_set_ec_paramgen_curve_nid(context, NID_X9_62_prime256v1) <= 0 ||
		EVP_PKEY_keygen(context, &key) <= 0)
		must(NULL);
	EVP_PKEY_CTX_free(context);
	return key;
}

static void
add_extension(X509 *certificate, int nid, const char *value)
{
	X509_EXTENSION *extension = must(X509V3_EXT_conf_nid(NULL, NULL, nid, value));

	X509_add_ext(certificate, extension, -1);
	X509_EXTENSION_free(extension);
}

/* Valid from and until so many seconds from now. issuer NULL: signed by its own key. The caller's. */
static X509 *
new_certificate(const char *name, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key, long from, long until,
	const char *alternative, const char *usage)
{
	static long serial;
	X509 *certificate = must(X509_new());
	X509_NAME *subject = X509_get_subject_name(certificate);

	X509_set_version(certificate, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(certificate), ++serial + (long)getpid() * 1000);
	X509_gmtime_adj(X509_getm_notBefore(certificate), from);
	X509_gmtime_adj(X509_getm_notAfter(certificate), until);
	X509_set_pubkey(certificate, key);
	X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
	X509_set_issuer_name(certificate, issuer ? X509_get_subject_name(issuer) : subject);
	if (alternative)
		add_extension(certificate, NID_subject_alt_name, alternative);
	else
		add_extension(certificate, NID_basic_constraints, "critical,CA:TRUE");
	if (usage)
		add_extension(certificate, NID_ext_key_usage, usage);
	if (!X509_sign(certificate, issuer_key ? issuer_key : key, EVP_sha256()))
		must(NULL);
	return certificate;
}

bool
raw_origin_ca(const char *path)
{
	FILE *file = fopen(path, "w");
	bool written;

	ca.key = new_key_pair();
	ca.certificate = new_certificate("tests' own CA", ca.key, NULL, NULL, -DAY, DAY, NULL, NULL);
	written = file && PEM_write_X509(file, ca.certificate);
	return file && !fclose(file) && written;
}

static X509 *
certificate_for(enum raw_tls kind, EVP_PKEY *key)
{
	static const char here[] = "IP:127.0.0.1,DNS:localhost", server[] = "serverAuth";
	EVP_PKEY *other_key;
	X509 *other, *made;

	switch (kind) {
	case RAW_TLS_EXPIRED:
		return new_certificate("old", key, ca.certificate, ca.key, -2 * DAY, -DAY, here, server);
	case RAW_TLS_NOT_YET:
		return new_certificate("young", key, ca.certificate, ca.key, DAY, 2 * DAY, here, server);
	case RAW_TLS_WRONG_HOST:
		return new_certificate(
			"127.0.0.1", key, ca.certificate, ca.key, -DAY, DAY, "IP:127.0.0.2,DNS:other.example", server);
	case RAW_TLS_NO_SERVER:
		return new_certificate("client", key, ca.certificate, ca.key, -DAY, DAY, here, "clientAuth");
	case RAW_TLS_SELF_SIGNED:
		return new_certificate("127.0.0.1", key, NULL, NULL, -DAY, DAY, here, server);
	case RAW_TLS_UNKNOWN_CA:
		other_key = new_key_pair();
		other = new_certificate("tests' own CA", other_key, NULL, NULL, -DAY, DAY, NULL, NULL);
		made = new_certificate("127.0.0.1", key, other, other_key, -DAY, DAY, here, server);
		X509_free(other);
		EVP_PKEY_free(other_key);
		return made;
	default:
		return new_certificate("127.0.0.1", key, ca.certificate, ca.key, -DAY, DAY, here, server);
	}
}

static SSL_CTX *
new_context(enum raw_tls kind)
{
	SSL_CTX *context = must(SSL_CTX_new(TLS_server_method()));
	EVP_PKEY *key = new_key_pair();
	X509 *certificate = certificate_for(kind, key);

	if (kind == RAW_TLS_OLD) {
		SSL_CTX_set_security_level(context, 0);
		SSL_CTX_set_min_proto_version(context, TLS1_VERSION);
		SSL_CTX_set_max_proto_version(context, TLS1_1_VERSION);
	}
	if (SSL_CTX_use_certificate(context, certificate) != 1 || SSL_CTX_use_PrivateKey(context, key) != 1)
		must(NULL);
	X509_free(certificate);
	EVP_PKEY_free(key);
	return context;
}

/* ---- one connection; the socket does not block, so that every wait ends when told to */

/* False when it is time to stop. */
static bool
await(const struct wire *wire, short events)
{
	struct pollfd fds[2] = {{.fd = wire->fd, .events = events}, {.fd = wire->origin->stop[0], .events = POLLIN}};

	while (poll(fds, 2, -1) < 0)
		if (errno != EINTR)
			return false;
	return !fds[1].revents;
}

/* Waits for what the session asks for; false when it has failed. */
static bool
await_session(const struct wire *wire, int result)
{
	int why = SSL_get_error(wire->ssl, result);

	ERR_clear_error();
	if (why == SSL_ERROR_WANT_READ)
		return await(wire, POLLIN);
	return why == SSL_ERROR_WANT_WRITE && await(wire, POLLOUT);
}

static bool
shake_hands(const struct wire *wire)
{
	int result;

	while ((result = SSL_accept(wire->ssl)) != 1)
		if (!await_session(wire, result))
			return false;
	return true;
}

/* The number of bytes, 0 or less at the end. */
static ssize_t
receive(const struct wire *wire, char *bytes, size_t size)
{
	for (;;) {
		ssize_t got = wire->ssl ? SSL_read(wire->ssl, bytes, (int)size) : recv(wire->fd, bytes, size, 0);

		if (got > 0)
			return got;
		if (wire->ssl ? !await_session(wire, (int)got) : got == 0 || errno != EAGAIN || !await(wire, POLLIN))
			return 0;
	}
}

static bool
deliver(const struct wire *wire, const char *bytes, size_t size)
{
	while (size > 0) {
		ssize_t sent =
			wire->ssl ? SSL_write(wire->ssl, bytes, (int)size) : send(wire->fd, bytes, size, MSG_NOSIGNAL);

		if (sent > 0) {
			bytes += sent;
			size -= (size_t)sent;
		} else if (wire->ssl ? !await_session(wire, (int)sent) : errno != EAGAIN || !await(wire, POLLOUT))
			return false;
	}
	return true;
}

/* With the script's pauses. False when the client has left. */
static bool
deliver_slowly(const struct wire *wire, const char *bytes, size_t size)
{
	unsigned pause_ms = wire->origin->script.pause_ms;
	struct pollfd stop = {.fd = wire->origin->stop[0], .events = POLLIN};

	if (!pause_ms)
		return deliver(wire, bytes, size);
	for (size_t i = 0; i < size; i++)
		if (!deliver(wire, bytes + i, 1) || poll(&stop, 1, (int)pause_ms) != 0)
			return false;
	return true;
}

/* Reads up to the blank line. */
static bool
read_head(const struct wire *wire)
{
	char head[8192];
	size_t used = 0;
	ssize_t got;

	while (used < sizeof head - 1 && (got = receive(wire, head + used, sizeof head - 1 - used)) > 0) {
		used += (size_t)got;
		head[used] = '\0';
		if (strstr(head, "\r\n\r\n"))
			return true;
	}
	return false;
}

static bool
play(const struct wire *wire)
{
	const struct raw_script *script = &wire->origin->script;
	size_t length = script->again ? strlen(script->again) : 0, many = length ? 1 + 8192 / length : 0;
	char *piece = must(malloc(length * many + 1));
	bool well = true;

	if (script->begin)
		well = deliver_slowly(
			wire, script->begin, script->begin_bytes ? script->begin_bytes : strlen(script->begin));
	for (size_t i = 0; i < many; i++)
		memcpy(piece + i * length, script->again, length);
	for (size_t left = length ? script->times : 0; well && left > 0;) {
		size_t count = left < many ? left : many;

		well = deliver_slowly(wire, piece, count * length);
		left -= left == RAW_ENDLESS ? 0 : count;
	}
	free(piece);
	return well && (!script->end || deliver_slowly(wire, script->end, strlen(script->end)));
}

static void
reset_on_close(int fd)
{
	struct linger at_once = {.l_onoff = 1};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

static void
end_as_told(const struct wire *wire)
{
	char rest[4096];

	switch (wire->origin->script.ending) {
	case RAW_RESET:
		reset_on_close(wire->fd);
		break;
	case RAW_STALL:
		while (receive(wire, rest, sizeof rest) > 0)
			;
		break;
	case RAW_CLOSE:
		if (wire->ssl)
			SSL_shutdown(wire->ssl);
		break;
	case RAW_CLOSE_UNNOTIFIED:
		break;
	}
}

/* Instead of a handshake. */
static void
spoil_handshake(const struct wire *wire, enum raw_tls kind)
{
	static const char garbage[] = "\x16\x03\x03\x00\x30garbage that is no ServerHello, whatever it says it was";
	char hello[4096];

	if (receive(wire, hello, 1) <= 0)
		return;
	if (kind == RAW_TLS_GARBAGE)
		deliver(wire, garbage, sizeof garbage - 1);
	if (kind == RAW_TLS_HALF)
		deliver(wire, "\x16\x03\x03", 3);
	if (kind == RAW_TLS_BREAK)
		reset_on_close(wire->fd);
	while (kind == RAW_TLS_HALF && receive(wire, hello, sizeof hello) > 0)
		;
}

static void
serve(struct raw_origin *origin, int fd)
{
	struct wire wire = {.origin = origin, .fd = fd};
	enum raw_tls kind = origin->script.tls;
	bool well = true;

	fcntl(fd, F_SETFL, O_NONBLOCK);
	if (kind >= RAW_TLS_GARBAGE)
		spoil_handshake(&wire, kind);
	else {
		if (origin->context) {
			wire.ssl = must(SSL_new(origin->context));
			SSL_set_fd(wire.ssl, fd);
			well = shake_hands(&wire);
		}
		if (well && read_head(&wire) && play(&wire))
			end_as_told(&wire);
		SSL_free(wire.ssl);
		ERR_clear_error();
	}
	close(fd);
}

static void *
run(void *context)
{
	struct raw_origin *origin = context;
	struct wire listening = {.origin = origin, .fd = origin->listen_fd};

	while (await(&listening, POLLIN)) {
		int fd = accept4(origin->listen_fd, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0)
			continue;
		atomic_fetch_add(&origin->connections, 1);
		serve(origin, fd);
	}
	return NULL;
}

/* ---- life */

struct raw_origin *
raw_origin_start(const struct raw_script *script)
{
	struct raw_origin *origin = must(calloc(1, sizeof *origin));
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof address;

	origin->script = *script;
	if (script->tls != RAW_PLAIN && script->tls < RAW_TLS_GARBAGE)
		origin->context = new_context(script->tls);
	origin->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (pipe2(origin->stop, O_CLOEXEC) || bind(origin->listen_fd, (struct sockaddr *)&address, size) ||
		listen(origin->listen_fd, 512) || getsockname(origin->listen_fd, (struct sockaddr *)&address, &size)) {
		free(origin);
		return NULL;
	}
	origin->port = ntohs(address.sin_port);
	if (pthread_create(&origin->thread, NULL, run, origin))
		abort();
	return origin;
}

void
raw_origin_stop(struct raw_origin *origin)
{
	close(origin->stop[1]);
	pthread_join(origin->thread, NULL);
	close(origin->stop[0]);
	close(origin->listen_fd);
	SSL_CTX_free(origin->context);
	free(origin);
}

unsigned
raw_origin_port(const struct raw_origin *origin)
{
	return origin->port;
}

size_t
raw_origin_connections(struct raw_origin *origin)
{
	return atomic_load(&origin->connections);
}
