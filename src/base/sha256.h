/*
 * SHA-256 (FIPS 180-4) of bytes that come piece by piece. OpenSSL lives in sha256.c and nowhere else. What is in the
 * struct is held from init to final or abandon. One thread.
 */
#ifndef FETCHPOOL_BASE_SHA256_H
#define FETCHPOOL_BASE_SHA256_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHA256_BYTES 32

/* All zeroes: none is under way. */
struct sha256 {
	void *context; /* OpenSSL's */
	bool failed;   /* told by final, so that an update needs no check of its own */
};

/* At the start, before anything else uses OpenSSL's library and before there are threads: 0, or -ENOMEM when it cannot be used. */
int sha256_prepare(void) __attribute__((warn_unused_result));

/* Returns 0 or -ENOMEM; then none is under way. */
int sha256_init(struct sha256 *hash) __attribute__((warn_unused_result));
void sha256_update(struct sha256 *hash, const void *bytes, size_t count);

/* Returns 0 or -EIO, with ret_digest untouched; none is under way any more, either way. */
int sha256_final(struct sha256 *hash, uint8_t ret_digest[SHA256_BYTES]) __attribute__((warn_unused_result));

/* Ends it without a digest, if one is under way at all. */
void sha256_abandon(struct sha256 *hash);

#endif
