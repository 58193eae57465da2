/* See tls_origin.h. */
#include "tls_origin.h"

#include <arpa/inet.h>
#include <check.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_CONNECTIONS 1024
#define MAX_HEAD_BYTES 65536
#define DAY_S (24L * 3600)

#define must(condition)                                                                                                \
	do {                                                                                                           \
		if (!(condition))                                                                                      \
			ck_abort_msg("tls_origin: " #condition);                                                       \
	} while (0)

struct connection {
	struct tls_origin *origin;
	pthread_t thread;
	int fd;
	size_t number; /* from 1 */
};

struct tls_origin {
	SSL_CTX *context;
	char *ca, *client;
	int listener;
	unsigned port;
	pthread_t thread;
	_Atomic(size_t) handshakes, requests, count;
	struct connection connections[MAX_CONNECTIONS];
};

/* ---- certificates */

static EVP_PKEY *
key_new(void)
{
	EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_id(EVP_PKEY_EC, NULL);
	EVP_PKEY *key = NULL;

	must(context != NULL && EVP_PKEY_keygen_init(context) == 1);
	must(EVP_PKEY_CTX_set_ec_paramgen_curve_nid(context, NID_X9_62_prime256v1) == 1);
	must(EVP_PKEY_keygen(context, &key) == 1);
	EVP_PKEY_CTX_free(context);
	return key;
}

static void
extend(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX context;

	X509V3_set_ctx(&context, issuer, cert, NULL, NULL, 0);
	X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
	must(extension != NULL && X509_add_ext(cert, extension, -1) == 1);
	X509_EXTENSION_free(extension);
}

/* A certificate of the CA's (NULL: self-signed), to these names (NULL: a CA). */
static X509 *
cert_new(const char *subject, EVP_PKEY *key, X509 *ca, EVP_PKEY *ca_key, const char *names, long valid_s)
{
	static _Atomic(long) serial = 1;
	X509 *cert = X509_new();
	X509_NAME *name = X509_NAME_new();

	must(cert != NULL && name != NULL);
	must(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)subject, -1, -1, 0) == 1);
	must(X509_set_version(cert, 2) == 1);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), (long)getpid() * 1000 + serial++);
	X509_gmtime_adj(X509_getm_notBefore(cert), -10 * DAY_S);
	X509_gmtime_adj(X509_getm_notAfter(cert), valid_s);
	must(X509_set_subject_name(cert, name) == 1);
	must(X509_set_issuer_name(cert, ca == NULL ? name : X509_get_subject_name(ca)) == 1);
	must(X509_set_pubkey(cert, key) == 1);
	extend(cert, ca == NULL ? cert : ca, NID_basic_constraints, names == NULL ? "critical,CA:TRUE" : "CA:FALSE");
	if (names != NULL)
		extend(cert, ca == NULL ? cert : ca, NID_subject_alt_name, names);
	must(X509_sign(cert, ca_key, EVP_sha256()) > 0);
	X509_NAME_free(name);
	return cert;
}

/* The certificate, and the key unless NULL, as a text to be freed. */
static char *
pem_of(X509 *cert, EVP_PKEY *key)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *data;

	must(bio != NULL && PEM_write_bio_X509(bio, cert) == 1);
	must(key == NULL || PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1);
	long length = BIO_get_mem_data(bio, &data);
	char *text = strndup(data, (size_t)length);
	must(text != NULL);
	BIO_free(bio);
	return text;
}

static void
make_context(struct tls_origin *origin, const struct tls_origin_options *options)
{
	EVP_PKEY *ca_key = key_new(), *key = key_new(), *client_key = key_new();
	static _Atomic(unsigned) last;
	char subject[40]; /* two CAs of one name would be taken for each other */

	snprintf(subject, sizeof subject, "a test's CA %u", ++last);
	X509 *ca = cert_new(subject, ca_key, NULL, ca_key, NULL, 30 * DAY_S);
	X509 *client = cert_new("the client", client_key, ca, ca_key, "DNS:client.example", 30 * DAY_S);
	bool own = options->cert == TLS_ORIGIN_SELF_SIGNED;
	char names[300] = "DNS:other.example";

	if (options->cert != TLS_ORIGIN_WRONG_HOST)
		snprintf(names, sizeof names, "IP:127.0.0.1,DNS:localhost%s%s",
			options->host == NULL ? "" : ",DNS:", options->host == NULL ? "" : options->host);
	X509 *cert = cert_new("an origin", key, own ? NULL : ca, own ? key : ca_key, names,
		options->cert == TLS_ORIGIN_EXPIRED ? -DAY_S : 30 * DAY_S);
	origin->ca = pem_of(ca, NULL);
	origin->client = pem_of(client, client_key);
	origin->context = SSL_CTX_new(TLS_server_method());
	must(origin->context != NULL);
	must(SSL_CTX_use_certificate(origin->context, cert) == 1);
	must(SSL_CTX_use_PrivateKey(origin->context, key) == 1);
	must(SSL_CTX_set_session_id_context(origin->context, (const unsigned char *)"test", 4) == 1);
	if (options->refuse_resume)
		must(SSL_CTX_set_num_tickets(origin->context, 0) == 1);
	if (options->ask_client) {
		must(X509_STORE_add_cert(SSL_CTX_get_cert_store(origin->context), ca) == 1);
		SSL_CTX_set_verify(origin->context, SSL_VERIFY_PEER, NULL);
	}
	EVP_PKEY_free(ca_key);
	EVP_PKEY_free(key);
	EVP_PKEY_free(client_key);
	X509_free(ca);
	X509_free(client);
	X509_free(cert);
}

/* ---- a connection */

/* Reads up to the blank line; gives the length with it, 0 when the client is gone. */
static size_t
read_head(SSL *ssl, char *head, size_t *used)
{
	for (;;) {
		head[*used] = '\0';
		char *end = strstr(head, "\r\n\r\n");
		if (end != NULL)
			return (size_t)(end - head) + 4;
		int got =
			*used + 1 < MAX_HEAD_BYTES ? SSL_read(ssl, head + *used, (int)(MAX_HEAD_BYTES - *used - 1)) : 0;
		if (got <= 0)
			return 0;
		*used += (size_t)got;
	}
}

static void
peer_name(SSL *ssl, char *ret, size_t size)
{
	char name[100] = "";
	X509 *cert = SSL_get_peer_certificate(ssl);

	snprintf(ret, size, "null");
	if (cert == NULL)
		return;
	X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, name, sizeof name);
	snprintf(ret, size, "\"%s\"", name);
	X509_free(cert);
}

static bool
answer(struct connection *connection, SSL *ssl, const char *target)
{
	char body[9000], reply[20000], client[120], sni[300] = "null";
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

	peer_name(ssl, client, sizeof client);
	if (name != NULL)
		snprintf(sni, sizeof sni, "\"%s\"", name);
	int body_bytes = snprintf(body, sizeof body,
		"{\"target\":\"%.4000s\",\"connection\":%zu,\"client\":%s,\"sni\":%s,\"resumed\":%s}", target,
		connection->number, client, sni, SSL_session_reused(ssl) ? "true" : "false");
	bool away = strncmp(target, "/to/", 4) == 0;
	int length = snprintf(reply, sizeof reply,
		"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s%.4000s\r\n\r\n%s",
		away ? "302 Found" : "200 OK", body_bytes, away ? "Location: " : "X-Path: ", away ? target + 4 : target,
		body);
	return SSL_write(ssl, reply, length) == length;
}

/* Request bodies are not read: the tests send none here. */
static void
serve(struct connection *connection, SSL *ssl)
{
	char *head = malloc(MAX_HEAD_BYTES), target[4096];
	size_t used = 0, length;

	while (head != NULL && (length = read_head(ssl, head, &used)) > 0) {
		if (sscanf(head, "%*s %4095s", target) != 1)
			break;
		connection->origin->requests++;
		if (!answer(connection, ssl, target))
			break;
		memmove(head, head + length, used - length);
		used -= length;
	}
	free(head);
}

static void *
run_connection(void *context)
{
	struct connection *connection = context;
	SSL *ssl = SSL_new(connection->origin->context);

	if (ssl != NULL && SSL_set_fd(ssl, connection->fd) == 1 && SSL_accept(ssl) == 1) {
		connection->origin->handshakes++;
		serve(connection, ssl);
		SSL_shutdown(ssl);
	}
	SSL_free(ssl);
	ERR_clear_error();
	shutdown(connection->fd, SHUT_RDWR);
	return NULL;
}

static void *
run(void *context)
{
	struct tls_origin *origin = context;
	int fd;

	while (origin->count < MAX_CONNECTIONS && (fd = accept(origin->listener, NULL, NULL)) >= 0) {
		struct connection *connection = &origin->connections[origin->count];

		*connection = (struct connection){.origin = origin, .fd = fd, .number = origin->count + 1};
		if (pthread_create(&connection->thread, NULL, run_connection, connection) != 0) {
			close(fd);
			break;
		}
		origin->count++;
	}
	return NULL;
}

/* ---- life */

static void
listen_somewhere(struct tls_origin *origin)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t length = sizeof address;

	origin->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	must(origin->listener >= 0);
	must(bind(origin->listener, (struct sockaddr *)&address, sizeof address) == 0);
	must(listen(origin->listener, 128) == 0);
	must(getsockname(origin->listener, (struct sockaddr *)&address, &length) == 0);
	origin->port = ntohs(address.sin_port);
}

struct tls_origin *
tls_origin_start(const struct tls_origin_options *options)
{
	struct tls_origin *origin = calloc(1, sizeof *origin);

	must(origin != NULL);
	signal(SIGPIPE, SIG_IGN); /* a client that left is no reason to die */
	make_context(origin, options != NULL ? options : &(struct tls_origin_options){0});
	listen_somewhere(origin);
	must(pthread_create(&origin->thread, NULL, run, origin) == 0);
	return origin;
}

void
tls_origin_stop(struct tls_origin *origin)
{
	shutdown(origin->listener, SHUT_RDWR); /* which ends accept */
	pthread_join(origin->thread, NULL);
	for (size_t i = 0; i < origin->count; i++) {
		shutdown(origin->connections[i].fd, SHUT_RDWR);
		pthread_join(origin->connections[i].thread, NULL);
		close(origin->connections[i].fd);
	}
	close(origin->listener);
	SSL_CTX_free(origin->context);
	free(origin->ca);
	free(origin->client);
	free(origin);
}

unsigned
tls_origin_port(const struct tls_origin *origin)
{
	return origin->port;
}

const char *
tls_origin_ca(const struct tls_origin *origin)
{
	return origin->ca;
}

const char *
tls_origin_client(const struct tls_origin *origin)
{
	return origin->client;
}

struct ssl_ctx_st *
tls_origin_context(const struct tls_origin *origin)
{
	return origin->context;
}

size_t
tls_origin_connections(struct tls_origin *origin)
{
	return origin->count;
}

size_t
tls_origin_handshakes(struct tls_origin *origin)
{
	return origin->handshakes;
}

size_t
tls_origin_requests(struct tls_origin *origin)
{
	return origin->requests;
}
