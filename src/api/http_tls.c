/* See http_tls.h. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "api/http_tls.h"

#include <errno.h>
#include <fcntl.h>
#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <microhttpd.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "api/http_connection.h"
#include "base/lock.h"
#include "base/log.h"

#define MAX_CHAIN 16
#define MAX_FILE_BYTES (1 << 20)

/*
 * Forward secrecy and authenticated ciphers alone. A dropped protocol version, a cipher in CBC mode or a key exchange
 * without forward secrecy cannot be negotiated, whatever the system's own policy says.
 */
#define PRIORITIES                                                                                                     \
	"NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-KX-ALL:+ECDHE-ECDSA:+ECDHE-RSA:-CIPHER-ALL:+AES-256-GCM:"         \
	"+CHACHA20-POLY1305:+AES-128-GCM:-SIGN-RSA-SHA1:-SIGN-ECDSA-SHA1:%SERVER_PRECEDENCE"

struct http_tls_pair {
	atomic_uint references;
	gnutls_pcert_st chain[MAX_CHAIN];
	unsigned chain_length;
	gnutls_privkey_t key;
	char *path; /* of the certificate, for the log */
	int64_t not_before, not_after;
};

struct http_tls {
	struct lock lock; /* guards the pointer */
	struct http_tls_pair *pair;
};

/* ---- files */

/* Reads a whole file, which the caller wipes and frees. Returns 0 or -errno. */
static int
read_file(const char *path, gnutls_datum_t *ret)
{
	struct stat status;
	ssize_t count = 0;
	int error = 0, fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	*ret = (gnutls_datum_t){0};
	if (fd < 0)
		return -errno;
	if (fstat(fd, &status) != 0)
		error = -errno;
	else if (!S_ISREG(status.st_mode))
		error = S_ISDIR(status.st_mode) ? -EISDIR : -EINVAL;
	else if (status.st_size > MAX_FILE_BYTES)
		error = -EFBIG;
	else if ((ret->data = malloc((size_t)status.st_size + 1)) == NULL)
		error = -ENOMEM;
	while (error == 0 && (off_t)ret->size < status.st_size &&
		(count = read(fd, ret->data + ret->size, (size_t)status.st_size - ret->size)) > 0)
		ret->size += (unsigned)count;
	if (count < 0)
		error = -errno;
	close(fd);
	if (error != 0) {
		free(ret->data);
		*ret = (gnutls_datum_t){0};
	}
	return error;
}

static void
wipe(gnutls_datum_t *data)
{
	if (data->data != NULL)
		gnutls_memset(data->data, 0, data->size);
	free(data->data);
	*data = (gnutls_datum_t){0};
}

static int __attribute__((format(printf, 2, 3))) fail(char **ret_message, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	if (vasprintf(ret_message, format, args) < 0)
		*ret_message = NULL;
	va_end(args);
	return -EINVAL;
}

/* ---- a pair */

static int
note_times(struct http_tls_pair *pair)
{
	gnutls_x509_crt_t leaf;

	int code = gnutls_x509_crt_init(&leaf);
	if (code < 0)
		return code;
	code = gnutls_x509_crt_import(leaf, &pair->chain[0].cert, GNUTLS_X509_FMT_DER);
	if (code >= 0) {
		pair->not_before = gnutls_x509_crt_get_activation_time(leaf);
		pair->not_after = gnutls_x509_crt_get_expiration_time(leaf);
	}
	gnutls_x509_crt_deinit(leaf);
	return code;
}

/* The first is the server's own; the rest are put in their order, whatever it is in the file. */
static int
import_chain(struct http_tls_pair *pair, const gnutls_datum_t *pem)
{
	gnutls_x509_crt_t *certificates;
	unsigned count;

	int code = gnutls_x509_crt_list_import2(&certificates, &count, pem, GNUTLS_X509_FMT_PEM, 0);
	if (code < 0)
		return code;
	unsigned kept = count < MAX_CHAIN ? count : MAX_CHAIN;
	code = gnutls_pcert_import_x509_list(pair->chain, certificates, &kept, GNUTLS_X509_CRT_LIST_SORT);
	if (code >= 0) {
		pair->chain_length = kept;
		code = note_times(pair);
	}
	for (unsigned i = 0; i < count; i++)
		gnutls_x509_crt_deinit(certificates[i]);
	gnutls_free(certificates);
	return code;
}

static int
load_chain(struct http_tls_pair *pair, const char *path, char **ret_message)
{
	gnutls_datum_t pem;

	int error = read_file(path, &pem);
	if (error != 0)
		return fail(ret_message, "--tls-cert: %s: %s", path, strerror(-error));
	int code = import_chain(pair, &pem);
	free(pem.data);
	if (code < 0)
		return fail(ret_message, "--tls-cert: %s holds no certificate that can be read, in PEM form (%s)", path,
			gnutls_strerror(code));
	return 0;
}

static int
load_key(struct http_tls_pair *pair, const char *path, char **ret_message)
{
	gnutls_datum_t pem;

	int error = read_file(path, &pem);
	if (error != 0)
		return fail(ret_message, "--tls-key: %s: %s", path, strerror(-error));
	int code = gnutls_privkey_init(&pair->key);
	if (code >= 0)
		code = gnutls_privkey_import_x509_raw(pair->key, &pem, GNUTLS_X509_FMT_PEM, NULL, 0);
	wipe(&pem);
	if (code == GNUTLS_E_DECRYPTION_FAILED)
		return fail(ret_message, "--tls-key: %s is locked with a password; give it unlocked", path);
	if (code < 0)
		return fail(ret_message, "--tls-key: %s holds no private key that can be read, in PEM form (%s)", path,
			gnutls_strerror(code));
	return 0;
}

static bool
belong_together(struct http_tls_pair *pair)
{
	unsigned char mine[64], theirs[64];
	size_t mine_size = sizeof mine, theirs_size = sizeof theirs;
	gnutls_pubkey_t public_key;

	if (gnutls_pubkey_init(&public_key) < 0)
		return false;
	bool same = gnutls_pubkey_import_privkey(public_key, pair->key, 0, 0) >= 0 &&
		gnutls_pubkey_get_key_id(public_key, GNUTLS_KEYID_USE_SHA256, mine, &mine_size) >= 0 &&
		gnutls_pubkey_get_key_id(pair->chain[0].pubkey, GNUTLS_KEYID_USE_SHA256, theirs, &theirs_size) >= 0 &&
		mine_size == theirs_size && memcmp(mine, theirs, mine_size) == 0;
	gnutls_pubkey_deinit(public_key);
	return same;
}

static int
load(struct http_tls_pair *pair, const struct config *config, char **ret_message)
{
	pair->path = strdup(config->tls_cert);
	if (pair->path == NULL)
		return -ENOMEM;
	int error = load_chain(pair, config->tls_cert, ret_message);
	if (error == 0)
		error = load_key(pair, config->tls_key, ret_message);
	if (error == 0 && !belong_together(pair))
		error = fail(ret_message,
			"--tls-key: %s is not the key of the first certificate in %s (--tls-cert), which has to be the "
			"server's own",
			config->tls_key, config->tls_cert);
	return error;
}

int
http_tls_pair_load(const struct config *config, struct http_tls_pair **ret, char **ret_message)
{
	const char *cert = config->tls_cert, *key = config->tls_key;

	*ret_message = NULL;
	*ret = NULL;
	if (cert == NULL && key == NULL)
		return 0;
	if (cert == NULL || key == NULL)
		return fail(ret_message, "%s %s: give %s, too", key == NULL ? "--tls-cert" : "--tls-key",
			key == NULL ? cert : key, key == NULL ? "--tls-key" : "--tls-cert");
	if (MHD_is_feature_supported(MHD_FEATURE_TLS) != MHD_YES)
		return fail(ret_message, "--tls-cert %s: this build of libmicrohttpd has no TLS", cert);
	struct http_tls_pair *pair = calloc(1, sizeof *pair);
	if (pair == NULL)
		return -ENOMEM;
	pair->references = 1;
	int error = load(pair, config, ret_message);
	if (error != 0)
		http_tls_pair_unref(pair);
	else
		*ret = pair;
	return error;
}

static struct http_tls_pair *
pair_ref(struct http_tls_pair *pair)
{
	atomic_fetch_add(&pair->references, 1);
	return pair;
}

void
http_tls_pair_unref(struct http_tls_pair *pair)
{
	if (pair == NULL || atomic_fetch_sub(&pair->references, 1) != 1)
		return;
	for (unsigned i = 0; i < pair->chain_length; i++)
		gnutls_pcert_deinit(&pair->chain[i]);
	if (pair->key != NULL)
		gnutls_privkey_deinit(pair->key);
	free(pair->path);
	free(pair);
}

void
http_tls_pair_warn(const struct http_tls_pair *pair)
{
	int64_t now = time(NULL);

	if (pair->not_after < now)
		log_warn("--tls-cert: the certificate in %s is out of date: clients will not take it", pair->path);
	else if (pair->not_before > now)
		log_warn("--tls-cert: the certificate in %s is not valid yet: clients will not take it", pair->path);
}

/* ---- the place of the pair */

struct http_tls *
http_tls_new(struct http_tls_pair *pair)
{
	struct http_tls *tls = calloc(1, sizeof *tls);

	if (tls == NULL)
		return NULL;
	lock_init(&tls->lock);
	tls->pair = pair;
	return tls;
}

void
http_tls_free(struct http_tls *tls)
{
	if (tls == NULL)
		return;
	http_tls_pair_unref(tls->pair);
	lock_release(&tls->lock);
	free(tls);
}

void
http_tls_set_pair(struct http_tls *tls, struct http_tls_pair *pair)
{
	lock_take(&tls->lock);
	struct http_tls_pair *old = tls->pair;
	tls->pair = pair;
	lock_drop(&tls->lock);
	http_tls_pair_unref(old);
}

int64_t
http_tls_expires(struct http_tls *tls)
{
	lock_take(&tls->lock);
	int64_t expires = tls->pair->not_after;
	lock_drop(&tls->lock);
	return expires;
}

/* ---- connections */

/* GnuTLS asks, within the handshake: the certificate that http_tls_begin hung on the session. */
static int
give_pair(gnutls_session_t session, const gnutls_datum_t *authorities, int authority_count,
	const gnutls_pk_algorithm_t *algorithms, int algorithm_count, gnutls_pcert_st **ret_chain,
	unsigned *ret_chain_length, gnutls_privkey_t *ret_key)
{
	struct http_tls_pair *pair = gnutls_session_get_ptr(session);

	(void)authorities, (void)authority_count, (void)algorithms, (void)algorithm_count;
	if (pair == NULL)
		return -1;
	*ret_chain = pair->chain;
	*ret_chain_length = pair->chain_length;
	*ret_key = pair->key;
	return 0;
}

const struct MHD_OptionItem *
http_tls_options(void)
{
	static const struct MHD_OptionItem options[] = {
		{MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t)PRIORITIES},
		{MHD_OPTION_HTTPS_CERT_CALLBACK, 0, (void *)give_pair},
		{MHD_OPTION_END, 0, NULL},
	};

	return options;
}

static gnutls_session_t
session_of(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);

	return info == NULL ? NULL : info->tls_session;
}

struct http_tls_pair *
http_tls_begin(struct http_tls *tls, struct MHD_Connection *connection)
{
	gnutls_session_t session = session_of(connection);
	struct http_tls_pair *pair = NULL;

	if (session == NULL)
		return NULL;
	if (tls != NULL) {
		lock_take(&tls->lock);
		pair = pair_ref(tls->pair);
		lock_drop(&tls->lock);
	}
	gnutls_session_set_ptr(session, pair);
	return pair;
}

bool
http_tls_used(struct MHD_Connection *connection)
{
	return session_of(connection) != NULL;
}

/* ---- what comes over TLS passes under the same eyes as what comes without (http_connection.c) */

static ssize_t
receive_tls(void *context, void *bytes, size_t size)
{
	unsigned char sequence[8];

	/* What gnutls_record_recv is, but for the number. */
	return gnutls_record_recv_seq(context, bytes, size, sequence);
}

static void
send_tls(void *context, const void *bytes, size_t count)
{
	ssize_t sent = gnutls_record_send(context, bytes, count);

	if (sent < 0)
		log_debug("a refusal could not be sent: %s", gnutls_strerror((int)sent));
}

/* libmicrohttpd's calls of it come here instead of to the library: this program's symbols go first. */
ssize_t
gnutls_record_recv(gnutls_session_t session, void *bytes, size_t size)
{
	struct http_connection *connection = http_connection_find(gnutls_transport_get_int(session));
	const struct http_wire wire = {receive_tls, send_tls, session};
	ssize_t count;

	if (connection == NULL)
		return receive_tls(session, bytes, size);
	return http_connection_receive(connection, &wire, bytes, size, &count) ? count : GNUTLS_E_PREMATURE_TERMINATION;
}
