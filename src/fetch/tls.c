/*
 * See tls.h.
 *
 * libcurl gives each new connection's SSL_CTX to on_context before the handshake, where it gets our store and identity. The
 * store goes in as the one to verify with (SSL_CTX_set1_verify_cert_store), not as the context's own: that one libcurl
 * fills and sets flags on by itself, for each connection. So libcurl's own stays empty, and if on_context were ever not
 * called, nothing would be trusted.
 *
 * libcurl reuses connections and TLS sessions when their settings are equal, and knows nothing of what on_context did. So
 * the settings are made to differ where ours do: CURLOPT_CAPATH, which it compares by bytes, is the path of no directory
 * that has the ids of store, identity and proxy in it. libcurl and OpenSSL do no more with it than to keep it beside that
 * empty store. An id is given once in the life of the process, so what a reload changes gets connections of its own, too.
 *
 * A proxy over TLS has a handshake before the origin's, and on_context is called for both. They are told apart by the
 * highest version: it is only named in the proxy's settings.
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "fetch/tls.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/sha256.h"

#define MAX_FILE_BYTES (16 << 20)

/* How both kinds begin. */
struct source {
	atomic_uint references;
	unsigned id;
	uint8_t digest[SHA256_BYTES]; /* of the file's bytes */
};

struct tls_store {
	struct source source;
	X509_STORE *trusted;
	size_t count;
};

struct tls_identity {
	struct source source;
	X509 *certificate;
	STACK_OF(X509) * chain;
	EVP_PKEY *key;
};

static atomic_uint last_id;

static void
source_init(struct source *source, const uint8_t *digest)
{
	atomic_init(&source->references, 1);
	source->id = atomic_fetch_add(&last_id, 1) + 1;
	memcpy(source->digest, digest, sizeof source->digest);
}

/* True when it was the last reference. */
static bool
source_unref(struct source *source)
{
	return atomic_fetch_sub_explicit(&source->references, 1, memory_order_acq_rel) == 1;
}

/* ---- libcurl's TLS */

const char *
tls_library_problem(void)
{
	const curl_version_info_data *info = curl_version_info(CURLVERSION_NOW);
	char wanted[32];

	/* "OpenSSL/3.0.15"; what a libcurl with several has besides stands in parentheses. */
	snprintf(wanted, sizeof wanted, "OpenSSL/%lu.", OPENSSL_VERSION_NUMBER >> 28);
	if (info->ssl_version != NULL && strncmp(info->ssl_version, wanted, strlen(wanted)) == 0)
		return NULL;
	return "libcurl's TLS is not the OpenSSL that fetchpool is built with; "
	       "install the libcurl that is built with it (Debian: libcurl4)";
}

/* ---- files */

static bool
fail(char *why, const char *reason)
{
	snprintf(why, TLS_WHY_BYTES, "%s", reason);
	return false;
}

/* What OpenSSL says, without its codes; then its list of errors is empty. */
static bool
fail_by_openssl(char *why, const char *what)
{
	const char *reason = ERR_reason_error_string(ERR_peek_last_error());

	snprintf(why, TLS_WHY_BYTES, "%s%s%s", what, reason != NULL ? ": " : "", reason != NULL ? reason : "");
	ERR_clear_error();
	return false;
}

static bool
read_open_file(int fd, struct buffer *ret, char *why)
{
	struct stat status;
	ssize_t got = 1;

	if (fstat(fd, &status) != 0)
		return fail(why, strerror(errno));
	if (!S_ISREG(status.st_mode))
		return fail(why, "this is no regular file");
	if (status.st_size > MAX_FILE_BYTES)
		return fail(why, "over 16 MiB are too much for certificates");
	while (got > 0 && ret->count <= MAX_FILE_BYTES) {
		if (buffer_reserve(ret, 65536) != 0)
			return fail(why, strerror(ENOMEM));
		got = read(fd, ret->data + ret->count, 65536);
		if (got < 0)
			return fail(why, strerror(errno));
		ret->count += (size_t)got;
	}
	return true;
}

static bool
digest_of(const struct buffer *bytes, uint8_t *ret, char *why)
{
	struct sha256 hash;

	if (sha256_init(&hash) != 0)
		return fail(why, strerror(ENOMEM));
	sha256_update(&hash, bytes->data, bytes->count);
	return sha256_final(&hash, ret) == 0 || fail(why, "its SHA-256 cannot be made");
}

static bool
read_file(const char *path, struct buffer *ret, uint8_t *ret_digest, char *why)
{
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return fail(why, strerror(errno));
	bool ok = read_open_file(fd, ret, why);
	close(fd);
	return ok && digest_of(ret, ret_digest, why);
}

/* There may be a key among the bytes. */
static void
forget_file(struct buffer *bytes)
{
	if (bytes->data != NULL)
		OPENSSL_cleanse(bytes->data, bytes->count);
	buffer_release(bytes);
}

/* ---- stores */

static bool
add_certificates(struct tls_store *store, BIO *bio, char *why)
{
	STACK_OF(X509_INFO) *infos = PEM_X509_INFO_read_bio(bio, NULL, NULL, NULL);
	bool ok = infos != NULL || fail_by_openssl(why, "this is no PEM with certificates");

	for (int i = 0; ok && i < sk_X509_INFO_num(infos); i++) {
		X509 *certificate = sk_X509_INFO_value(infos, i)->x509;

		if (certificate == NULL)
			continue;
		ok = X509_STORE_add_cert(store->trusted, certificate) == 1 ||
			fail_by_openssl(why, "a certificate cannot be taken");
		store->count++;
	}
	sk_X509_INFO_pop_free(infos, X509_INFO_free);
	return ok && (store->count > 0 || fail(why, "there is no certificate in it (PEM)"));
}

/* As libcurl has it: what is trusted need not be a root. */
static struct tls_store *
store_new(const uint8_t *digest)
{
	struct tls_store *store = calloc(1, sizeof *store);

	if (store == NULL)
		return NULL;
	source_init(&store->source, digest);
	store->trusted = X509_STORE_new();
	if (store->trusted == NULL) {
		free(store);
		return NULL;
	}
	X509_STORE_set_flags(store->trusted, X509_V_FLAG_TRUSTED_FIRST | X509_V_FLAG_PARTIAL_CHAIN);
	return store;
}

static struct tls_store *
store_of(const struct buffer *bytes, const uint8_t *digest, char *why)
{
	struct tls_store *store = store_new(digest);
	BIO *bio = BIO_new_mem_buf(bytes->data, (int)bytes->count);
	bool ok = (store != NULL && bio != NULL) || fail(why, strerror(ENOMEM));

	ok = ok && add_certificates(store, bio, why);
	BIO_free(bio);
	if (ok)
		return store;
	tls_store_unref(store);
	return NULL;
}

/* The system has no file, or none that can be read: what OpenSSL itself would use, a directory perhaps. */
static struct tls_store *
store_of_paths(struct tls_store *old, char *why)
{
	static const uint8_t no_digest[SHA256_BYTES];

	if (old != NULL && memcmp(old->source.digest, no_digest, sizeof no_digest) == 0)
		return tls_store_ref(old);
	struct tls_store *store = store_new(no_digest);
	if (store == NULL)
		fail(why, strerror(ENOMEM));
	else
		X509_STORE_set_default_paths(store->trusted);
	ERR_clear_error();
	return store;
}

struct tls_store *
tls_store_read(const char *path, struct tls_store *old, char *ret_why)
{
	const char *file = path != NULL ? path : curl_version_info(CURLVERSION_NOW)->cainfo;
	struct buffer bytes = {0};
	struct tls_store *store = NULL;
	uint8_t digest[SHA256_BYTES];

	if (file != NULL && read_file(file, &bytes, digest, ret_why)) {
		if (old != NULL && memcmp(old->source.digest, digest, sizeof digest) == 0)
			store = tls_store_ref(old);
		else
			store = store_of(&bytes, digest, ret_why);
	}
	buffer_release(&bytes);
	return store == NULL && path == NULL ? store_of_paths(old, ret_why) : store;
}

struct tls_store *
tls_store_ref(struct tls_store *store)
{
	atomic_fetch_add_explicit(&store->source.references, 1, memory_order_relaxed);
	return store;
}

void
tls_store_unref(struct tls_store *store)
{
	if (store == NULL || !source_unref(&store->source))
		return;
	X509_STORE_free(store->trusted);
	free(store);
}

size_t
tls_store_count(const struct tls_store *store)
{
	return store->count;
}

/* ---- identities */

/* Nobody is asked for a passphrase. */
static int
no_passphrase(char *text, int size, int writing, void *context)
{
	(void)text, (void)size, (void)writing, (void)context;
	return -1;
}

static bool
read_certificates(struct tls_identity *identity, const struct buffer *bytes, char *why)
{
	BIO *bio = BIO_new_mem_buf(bytes->data, (int)bytes->count);
	X509 *next;

	identity->chain = sk_X509_new_null();
	if (bio == NULL || identity->chain == NULL) {
		BIO_free(bio);
		return fail(why, strerror(ENOMEM));
	}
	identity->certificate = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL);
	bool ok = identity->certificate != NULL || fail(why, "there is no certificate in it (PEM)");
	while (ok && (next = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL)) != NULL) {
		if (sk_X509_push(identity->chain, next) <= 0) {
			X509_free(next);
			ok = fail(why, strerror(ENOMEM));
		}
	}
	BIO_free(bio);
	/* The last look for one fails, too; anything but the end is an error. */
	if (ok && ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
		ok = fail_by_openssl(why, "a certificate in it is broken");
	ERR_clear_error();
	return ok;
}

static bool
read_key(struct tls_identity *identity, const struct buffer *bytes, char *why)
{
	BIO *bio = BIO_new_mem_buf(bytes->data, (int)bytes->count);

	if (bio == NULL)
		return fail(why, strerror(ENOMEM));
	identity->key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
	BIO_free(bio);
	ERR_clear_error();
	return identity->key != NULL ||
		fail(why,
			"there is no key in it that can be read (PEM, without a passphrase); "
			"put certificate, chain and key into the one file");
}

static bool
equip(SSL_CTX *context, const struct tls_identity *identity)
{
	return SSL_CTX_use_certificate(context, identity->certificate) == 1 &&
		SSL_CTX_use_PrivateKey(context, identity->key) == 1 &&
		SSL_CTX_set1_chain(context, identity->chain) == 1;
}

/* Tries on a context what every connection will do. */
static bool
check_identity(const struct tls_identity *identity, char *why)
{
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());

	if (context == NULL)
		return fail(why, strerror(ENOMEM));
	bool ok = X509_check_private_key(identity->certificate, identity->key) == 1 ||
		fail(why, "the key is not that of the first certificate in it");
	ok = ok && (equip(context, identity) || fail_by_openssl(why, "the certificate cannot be used"));
	SSL_CTX_free(context);
	ERR_clear_error();
	return ok;
}

static struct tls_identity *
identity_of(const struct buffer *bytes, const uint8_t *digest, char *why)
{
	struct tls_identity *identity = calloc(1, sizeof *identity);

	if (identity == NULL) {
		fail(why, strerror(ENOMEM));
		return NULL;
	}
	source_init(&identity->source, digest);
	ERR_clear_error();
	if (read_certificates(identity, bytes, why) && read_key(identity, bytes, why) && check_identity(identity, why))
		return identity;
	tls_identity_unref(identity);
	return NULL;
}

struct tls_identity *
tls_identity_read(const char *path, struct tls_identity *old, char *ret_why)
{
	struct tls_identity *identity = NULL;
	struct buffer bytes = {0};
	uint8_t digest[SHA256_BYTES];

	if (read_file(path, &bytes, digest, ret_why)) {
		if (old != NULL && memcmp(old->source.digest, digest, sizeof digest) == 0)
			identity = tls_identity_ref(old);
		else
			identity = identity_of(&bytes, digest, ret_why);
	}
	forget_file(&bytes);
	return identity;
}

struct tls_identity *
tls_identity_ref(struct tls_identity *identity)
{
	atomic_fetch_add_explicit(&identity->source.references, 1, memory_order_relaxed);
	return identity;
}

void
tls_identity_unref(struct tls_identity *identity)
{
	if (identity == NULL || !source_unref(&identity->source))
		return;
	X509_free(identity->certificate);
	sk_X509_pop_free(identity->chain, X509_free);
	EVP_PKEY_free(identity->key);
	free(identity);
}

/* ---- connections */

static CURLcode
on_context(CURL *easy, void *context, void *data)
{
	struct tls_choice *choice = data;
	bool proxy = SSL_CTX_get_max_proto_version(context) == TLS1_3_VERSION;
	struct tls_store *store = proxy ? choice->proxy_store : choice->store;

	(void)easy;
	if (SSL_CTX_set1_verify_cert_store(context, store->trusted) != 1)
		return CURLE_OUT_OF_MEMORY;
	SSL_CTX_set_mode(context, SSL_MODE_NO_AUTO_CHAIN); /* the file has the chain; none is looked for */
	if (proxy)
		return CURLE_OK;
	choice->begun = true;
	if (choice->identity != NULL && !equip(context, choice->identity))
		return CURLE_SSL_CERTPROBLEM;
	return CURLE_OK;
}

void
tls_prepare(CURL *easy, struct tls_choice *choice)
{
	char mark[100];

	snprintf(mark, sizeof mark, "/dev/null/tls-%u-%u-%u", choice->store->source.id,
		choice->identity != NULL ? choice->identity->source.id : 0, choice->way);
	choice->begun = false;
	curl_easy_setopt(easy, CURLOPT_CAINFO, NULL);
	curl_easy_setopt(easy, CURLOPT_CAPATH, mark);
	curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, on_context);
	curl_easy_setopt(easy, CURLOPT_SSL_CTX_DATA, choice);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, choice->insecure ? 0L : 1L);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, choice->insecure ? 0L : 2L);
	if (choice->way == 0)
		return;
	snprintf(mark, sizeof mark, "/dev/null/tls-%u-0-%u", choice->proxy_store->source.id, choice->way);
	curl_easy_setopt(easy, CURLOPT_PROXY_CAINFO, NULL);
	curl_easy_setopt(easy, CURLOPT_PROXY_CAPATH, mark);
	curl_easy_setopt(easy, CURLOPT_PROXY_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2 | CURL_SSLVERSION_MAX_TLSv1_3);
}
