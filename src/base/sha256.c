/* See sha256.h. */
#include "base/sha256.h"

#include <assert.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdatomic.h>
#include <string.h>

/* Fetched once: asking OpenSSL 3 for an algorithm by name takes locks and a while. NULL when memory runs out. */
static const EVP_MD *
find_algorithm(void)
{
#if OPENSSL_VERSION_NUMBER >= 0x30000000L
	static _Atomic(EVP_MD *) found;
	EVP_MD *known = atomic_load(&found), *fetched;

	if (known != NULL || (fetched = EVP_MD_fetch(NULL, "SHA256", NULL)) == NULL)
		return known;
	if (atomic_compare_exchange_strong(&found, &known, fetched))
		return fetched;
	EVP_MD_free(fetched); /* another thread was faster */
	return known;
#else
	return EVP_sha256();
#endif
}

int
sha256_prepare(void)
{
	struct sha256 hash;

	/* What OpenSSL 3 did not find memory for in its very first step, it leaves out for good, and stumbles over later. */
#if OPENSSL_VERSION_NUMBER >= 0x30000000L
	if (OSSL_LIB_CTX_get0_global_default() == NULL)
		return -ENOMEM;
#endif
	int error = sha256_init(&hash);
	if (error == 0)
		sha256_abandon(&hash);
	return error;
}

int
sha256_init(struct sha256 *hash)
{
	const EVP_MD *algorithm = find_algorithm();

	*hash = (struct sha256){.context = EVP_MD_CTX_new()};
	if (hash->context != NULL && algorithm != NULL && EVP_DigestInit_ex(hash->context, algorithm, NULL) == 1)
		return 0;
	sha256_abandon(hash);
	return -ENOMEM;
}

void
sha256_update(struct sha256 *hash, const void *bytes, size_t count)
{
	assert(hash->context != NULL);
	if (EVP_DigestUpdate(hash->context, bytes, count) != 1)
		hash->failed = true;
}

int
sha256_final(struct sha256 *hash, uint8_t ret_digest[SHA256_BYTES])
{
	uint8_t digest[SHA256_BYTES];

	assert(hash->context != NULL);
	bool failed = EVP_DigestFinal_ex(hash->context, digest, NULL) != 1 || hash->failed;
	sha256_abandon(hash);
	if (failed)
		return -EIO;
	memcpy(ret_digest, digest, sizeof digest);
	return 0;
}

void
sha256_abandon(struct sha256 *hash)
{
	EVP_MD_CTX_free(hash->context);
	*hash = (struct sha256){0};
}
