/*
 * Takes the content codings off a body as it arrives: gzip, deflate, and br and zstd where built in. libcurl's own
 * decoders pass a stream that ends early as whole; here the end of every stream is seen, or the body is broken. The
 * decoder keeps no more than the codings' windows (32 KiB for gzip, at most 8 MiB for zstd, 16 MiB for br). One thread.
 *
 * What may follow a whole stream: further gzip members (RFC 1952, 2.2), then zero bytes; further zstd frames; up to four
 * bytes after a raw deflate stream. Anything else is broken data, as in libcurl.
 */
#ifndef FETCHPOOL_FETCH_DECODE_H
#define FETCHPOOL_FETCH_DECODE_H

#include <stddef.h>
#include <stdint.h>

#define DECODE_PIECE_BYTES (16 * 1024)  /* at most so many are handed over at once */
#define DECODE_MAX_CODINGS 5            /* in one list, identity not counted */
#define DECODE_FREE_BYTES (1024 * 1024) /* a body may always grow to this size */

struct decoder;

/* Takes decoded bytes, at least one. Anything but 0 stops the decoder. */
typedef int decode_output_fn(void *context, const void *bytes, size_t count);

/* The codings to ask for, as the value of an Accept-Encoding field. */
const char *decode_accepted(void);

/*
 * Reads the value of a Content-Encoding field (of several: joined with commas). Returns NULL and 0 in *ret_error when
 * there is nothing to take off; NULL and -EPROTONOSUPPORT for an unknown coding, -E2BIG for too many, or -ENOMEM.
 */
struct decoder *decoder_new(const char *content_encoding, decode_output_fn *output, void *context, int *ret_error);

/*
 * From now on the body may grow to so many times its size at most, seen all together at any moment; the first mebibyte is
 * free. A write that goes above that fails with -EOVERFLOW.
 */
void decoder_limit_ratio(struct decoder *decoder, int64_t max_ratio);

/* Returns 0, -EBADMSG for broken data, -EOVERFLOW, -ENOMEM, or what output returned; and the same ever after. */
int decoder_write(struct decoder *decoder, const void *bytes, size_t count) __attribute__((warn_unused_result));

/* The body has ended. Returns 0, -EBADMSG when it ended early, or the error before. A body without a byte is whole. */
int decoder_finish(struct decoder *decoder) __attribute__((warn_unused_result));

void decoder_free(struct decoder *decoder);

#endif
