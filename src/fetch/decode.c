/*
 * See decode.h. A layer for each coding, the last one listed first; each fills its piece and hands it to the next, the
 * last to the output. Nothing is made ahead: a layer goes on only when all below it have taken what it made.
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "fetch/decode.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define ZLIB_CONST
#include <zlib.h>
#ifdef HAVE_BROTLI
#include <brotli/decode.h>
#endif
#ifdef HAVE_ZSTD
#include <zstd.h>
#include <zstd_errors.h>
#endif

#include "base/text.h"

/* What a layer may hand to the next beyond twice the output: bytes that come to nothing (padding, empty blocks) can be
 * made in any number by the layer above, and would keep us busy without ever reaching the cap of the output. */
#define HIDDEN_BYTES (1024 * 1024)

#define RAW_DEFLATE_SPARE 4 /* bytes after a raw stream: some servers send a checksum there */

#define ZSTD_WINDOW_LOG 23 /* 8 MiB: RFC 9659 */

/* Names of the zlib library's windowBits. */
enum { WRAP_RAW = -MAX_WBITS, WRAP_ZLIB = MAX_WBITS, WRAP_GZIP = MAX_WBITS + 16, WRAP_ANY = MAX_WBITS + 32 };

struct span {
	const unsigned char *bytes;
	size_t count;
};

struct layer {
	const struct coding *coding;
	struct layer *next; /* NULL: the output */
	uint64_t made;
	bool ended; /* what came so far is whole */
	union {
		struct {
			z_stream stream;
			bool begun;  /* deflate: told raw from wrapped */
			bool padded; /* gzip: a zero byte came after a member */
			int spare;   /* raw deflate: bytes that may still follow */
		} zlib;
#ifdef HAVE_BROTLI
		BrotliDecoderState *brotli;
#endif
#ifdef HAVE_ZSTD
		ZSTD_DStream *zstd;
#endif
	};
	unsigned char piece[DECODE_PIECE_BYTES];
};

/* A step fills the piece from some of what came, and sets ended; it uses a byte, makes one, or fails. */
struct coding {
	const char *name, *alias;
	int (*open)(struct layer *layer);
	int (*step)(struct layer *layer, struct span *in, size_t *ret_made);
	void (*close)(struct layer *layer);
};

struct decoder {
	decode_output_fn *output;
	void *context;
	struct layer *first; /* the wire's bytes go here */
	uint64_t taken;      /* off the wire, the piece at work included */
	uint64_t made;       /* handed to the output */
	uint64_t max_ratio;  /* of made to taken; 0: any */
	bool begun;
	int error;
};

static void
advance(struct span *span, size_t count)
{
	span->bytes += count;
	span->count -= count;
}

/* ---- gzip and deflate */

static int
zlib_error(int result)
{
	return result == Z_OK ? 0 : result == Z_MEM_ERROR ? -ENOMEM : -EBADMSG;
}

/* Servers call a zlib stream gzip, too; libcurl takes it. */
static int
gzip_open(struct layer *layer)
{
	return zlib_error(inflateInit2(&layer->zlib.stream, WRAP_ANY));
}

static int
deflate_open(struct layer *layer)
{
	return zlib_error(inflateInit2(&layer->zlib.stream, WRAP_ZLIB));
}

static void
zlib_close(struct layer *layer)
{
	inflateEnd(&layer->zlib.stream);
}

static int
zlib_step(struct layer *layer, struct span *in, size_t *ret_made)
{
	z_stream *stream = &layer->zlib.stream;
	size_t given = in->count;

	stream->next_in = in->bytes;
	stream->avail_in = (uInt)given;
	stream->next_out = layer->piece;
	stream->avail_out = sizeof layer->piece;
	int result = inflate(stream, Z_NO_FLUSH);
	if (result == Z_BUF_ERROR && given == 0)
		result = Z_OK; /* the piece before had been filled to its last byte by chance */
	if (result != Z_OK && result != Z_STREAM_END)
		return zlib_error(result);
	layer->ended = result == Z_STREAM_END;
	advance(in, given - stream->avail_in);
	*ret_made = sizeof layer->piece - stream->avail_out;
	return 0;
}

/* After a whole member. */
static int
gzip_next_member(struct layer *layer, struct span *in)
{
	while (in->count > 0 && *in->bytes == 0) {
		layer->zlib.padded = true;
		advance(in, 1);
	}
	if (in->count == 0)
		return 0;
	if (layer->zlib.padded)
		return -EBADMSG;
	layer->ended = false;
	return zlib_error(inflateReset2(&layer->zlib.stream, WRAP_GZIP));
}

static int
gzip_step(struct layer *layer, struct span *in, size_t *ret_made)
{
	if (layer->ended) {
		int error = gzip_next_member(layer, in);
		if (error != 0 || in->count == 0)
			return error;
	}
	return zlib_step(layer, in, ret_made);
}

/* A zlib stream, or a raw one from servers that took the name by its word. The first byte of the one has an 8 in its low
 * bits and at most 7 above; a raw stream would begin with a stored block and stray bits, which no encoder makes. */
static int
deflate_step(struct layer *layer, struct span *in, size_t *ret_made)
{
	if (layer->ended) {
		if (in->count > (size_t)layer->zlib.spare)
			return -EBADMSG;
		layer->zlib.spare -= (int)in->count;
		advance(in, in->count);
		return 0;
	}
	if (!layer->zlib.begun) {
		layer->zlib.begun = true;
		if ((*in->bytes & 0x8f) != Z_DEFLATED) {
			layer->zlib.spare = RAW_DEFLATE_SPARE;
			int error = zlib_error(inflateReset2(&layer->zlib.stream, WRAP_RAW));
			if (error != 0)
				return error;
		}
	}
	return zlib_step(layer, in, ret_made);
}

/* ---- br */

#ifdef HAVE_BROTLI
static int
brotli_open(struct layer *layer)
{
	layer->brotli = BrotliDecoderCreateInstance(NULL, NULL, NULL);
	return layer->brotli == NULL ? -ENOMEM : 0;
}

static void
brotli_close(struct layer *layer)
{
	BrotliDecoderDestroyInstance(layer->brotli);
}

static int
brotli_error(const struct layer *layer)
{
	BrotliDecoderErrorCode code = BrotliDecoderGetErrorCode(layer->brotli);

	/* The codes fall: the first and the last of those about memory. */
	if (code <= BROTLI_DECODER_ERROR_ALLOC_CONTEXT_MODES && code >= BROTLI_DECODER_ERROR_ALLOC_BLOCK_TYPE_TREES)
		return -ENOMEM;
	return -EBADMSG;
}

static int
brotli_step(struct layer *layer, struct span *in, size_t *ret_made)
{
	size_t room = sizeof layer->piece;
	unsigned char *out = layer->piece;

	if (layer->ended)
		return -EBADMSG;
	BrotliDecoderResult result =
		BrotliDecoderDecompressStream(layer->brotli, &in->count, &in->bytes, &room, &out, NULL);
	if (result == BROTLI_DECODER_RESULT_ERROR)
		return brotli_error(layer);
	layer->ended = result == BROTLI_DECODER_RESULT_SUCCESS;
	*ret_made = sizeof layer->piece - room;
	return 0;
}
#endif

/* ---- zstd */

#ifdef HAVE_ZSTD
static void
zstd_close(struct layer *layer)
{
	ZSTD_freeDStream(layer->zstd);
}

static int
zstd_open(struct layer *layer)
{
	layer->zstd = ZSTD_createDStream();
	if (layer->zstd == NULL)
		return -ENOMEM;
	if (ZSTD_isError(ZSTD_DCtx_setParameter(layer->zstd, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG))) {
		zstd_close(layer);
		return -ENOMEM;
	}
	return 0;
}

static int
zstd_step(struct layer *layer, struct span *in, size_t *ret_made)
{
	ZSTD_inBuffer from = {.src = in->bytes, .size = in->count};
	ZSTD_outBuffer to = {.dst = layer->piece, .size = sizeof layer->piece};
	size_t wanted = ZSTD_decompressStream(layer->zstd, &to, &from);

	if (ZSTD_isError(wanted))
		return ZSTD_getErrorCode(wanted) == ZSTD_error_memory_allocation ? -ENOMEM : -EBADMSG;
	layer->ended = wanted == 0;
	advance(in, from.pos);
	*ret_made = to.pos;
	return 0;
}
#endif

/* ---- the list of codings */

static const struct coding codings[] = {
	{"gzip", "x-gzip", gzip_open, gzip_step, zlib_close},
	{"deflate", NULL, deflate_open, deflate_step, zlib_close},
#ifdef HAVE_BROTLI
	{"br", NULL, brotli_open, brotli_step, brotli_close},
#endif
#ifdef HAVE_ZSTD
	{"zstd", NULL, zstd_open, zstd_step, zstd_close},
#endif
	{"identity", "none", NULL, NULL, NULL},
};

/* deflate is taken, but not asked for: its two meanings make it a poor choice. */
const char *
decode_accepted(void)
{
	return "gzip"
#ifdef HAVE_BROTLI
	       ", br"
#endif
#ifdef HAVE_ZSTD
	       ", zstd"
#endif
		;
}

static bool
is_named(const char *name, const char *text, size_t length)
{
	return name != NULL && strlen(name) == length && text_prefix_nocase(text, name);
}

static const struct coding *
coding_named(const char *text, size_t length)
{
	for (size_t i = 0; i < sizeof codings / sizeof *codings; i++)
		if (is_named(codings[i].name, text, length) || is_named(codings[i].alias, text, length))
			return &codings[i];
	return NULL;
}

static int
add_layer(struct decoder *decoder, const struct coding *coding)
{
	struct layer *layer = calloc(1, sizeof *layer);

	if (layer == NULL)
		return -ENOMEM;
	if (coding->open(layer) != 0) {
		free(layer);
		return -ENOMEM;
	}
	layer->coding = coding;
	layer->next = decoder->first;
	decoder->first = layer;
	return 0;
}

static int
add_layers(struct decoder *decoder, const char *list)
{
	static const char between[] = ", \t";
	int count = 0, error = 0;

	for (list += strspn(list, between); *list != '\0' && error == 0; list += strspn(list, between)) {
		size_t length = strcspn(list, ",");
		const char *end = list + length;
		while (end[-1] == ' ' || end[-1] == '\t')
			end--;
		const struct coding *coding = coding_named(list, (size_t)(end - list));
		if (coding == NULL)
			error = -EPROTONOSUPPORT;
		else if (coding->open != NULL)
			error = ++count > DECODE_MAX_CODINGS ? -E2BIG : add_layer(decoder, coding);
		list += length;
	}
	return error;
}

/* ---- the decoder */

struct decoder *
decoder_new(const char *content_encoding, decode_output_fn *output, void *context, int *ret_error)
{
	struct decoder *decoder = calloc(1, sizeof *decoder);

	*ret_error = -ENOMEM;
	if (decoder == NULL)
		return NULL;
	*decoder = (struct decoder){.output = output, .context = context};
	*ret_error = add_layers(decoder, content_encoding);
	if (*ret_error == 0 && decoder->first != NULL)
		return decoder;
	decoder_free(decoder);
	return NULL;
}

void
decoder_free(struct decoder *decoder)
{
	if (decoder == NULL)
		return;
	for (struct layer *layer = decoder->first, *next; layer != NULL; layer = next) {
		next = layer->next;
		layer->coding->close(layer);
		free(layer);
	}
	free(decoder);
}

void
decoder_limit_ratio(struct decoder *decoder, int64_t max_ratio)
{
	decoder->max_ratio = (uint64_t)max_ratio;
}

static bool
grown_too_far(const struct decoder *decoder)
{
	return decoder->max_ratio != 0 && decoder->made > DECODE_FREE_BYTES &&
		(decoder->made - 1) / decoder->max_ratio >= decoder->taken;
}

static int layer_write(struct decoder *decoder, struct layer *layer, struct span in);

/* Passes the first bytes of the layer's piece on. */
static int
hand_over(struct decoder *decoder, struct layer *layer, size_t count)
{
	if (layer->next == NULL) {
		decoder->made += count;
		if (grown_too_far(decoder))
			return -EOVERFLOW;
		return decoder->output(decoder->context, layer->piece, count);
	}
	layer->made += count;
	if (layer->made > 2 * decoder->made + HIDDEN_BYTES)
		return -EBADMSG;
	return layer_write(decoder, layer->next, (struct span){layer->piece, count});
}

static int
layer_write(struct decoder *decoder, struct layer *layer, struct span in)
{
	size_t made;

	do {
		made = 0;
		int error = layer->coding->step(layer, &in, &made);
		if (error == 0 && made > 0)
			error = hand_over(decoder, layer, made);
		if (error != 0)
			return error;
	} while (in.count > 0 || (made == sizeof layer->piece && !layer->ended));
	return 0;
}

int
decoder_write(struct decoder *decoder, const void *bytes, size_t count)
{
	struct span in = {bytes, count};

	while (in.count > 0 && decoder->error == 0) {
		size_t part =
			in.count < DECODE_PIECE_BYTES ? in.count : DECODE_PIECE_BYTES; /* zlib's counts are short */

		decoder->begun = true;
		decoder->taken += part;
		decoder->error = layer_write(decoder, decoder->first, (struct span){in.bytes, part});
		advance(&in, part);
	}
	return decoder->error;
}

int
decoder_finish(struct decoder *decoder)
{
	if (decoder->error != 0 || !decoder->begun)
		return decoder->error;
	for (const struct layer *layer = decoder->first; layer != NULL; layer = layer->next)
		if (!layer->ended)
			decoder->error = -EBADMSG;
	return decoder->error;
}
