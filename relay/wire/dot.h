/*
 * Message text in DATA (RFC 5321 4.1.1.4, 4.5.2): taking the dots out and
 * putting them in; and in BDAT (RFC 3030), where dots are dots. Both sides work
 * on pieces cut at any byte.
 * The one end of data is CRLF . CRLF. A bare CR, a bare LF or a NUL is never
 * repaired and never ends anything (RFC 5321 2.3.8): the decoder marks the
 * message and goes on to the true end, the encoder refuses to write it.
 */
#ifndef STAGEPOST_WIRE_DOT_H
#define STAGEPOST_WIRE_DOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/sys/base/buf.h"
#include "relay/sys/base/slice.h"

struct dot_decoder {
    /* facts, readable at any time */
    bool bare;             /* a bare CR, bare LF or NUL: refuse the message */
    bool eight_bit;        /* an octet above 127 */
    bool over_size;        /* more than max_bytes: no longer stored */
    uint64_t size_bytes;   /* of the decoded text, also what was not stored */
    uint64_t longest_line; /* octets without CRLF, decoded */
    bool unfinished;       /* dot_decode_chunks_end(): the last line has no CRLF */
    /* private */
    size_t max_bytes;
    uint64_t line_bytes;
    int state;
};

void dot_decoder_init(struct dot_decoder *d, size_t max_bytes);
/*
 * Consumes from `in` and appends decoded text to `out`.
 *   PARSE_OK    the end was found; `in` begins behind the final CRLF
 *   PARSE_MORE  all of `in` was consumed
 * Never PARSE_BAD. Storing stops when the message becomes bare or over-size or
 * `out` is full (which sets over_size); the text in `out` is then useless.
 */
enum parse dot_decode(struct dot_decoder *d, struct slice *in, struct buf *out);

/* The same for the chunks of BDAT, whose end is a count of octets that the caller
 * keeps: nothing in the text ends it. Facts and storing as above. A decoder is
 * used for one or the other. */
void dot_decode_chunk(struct dot_decoder *d, struct slice in, struct buf *out);
/* After the last chunk: a CR that waits for its LF is a bare one. */
void dot_decode_chunks_end(struct dot_decoder *d);

struct dot_encoder {
    int state; /* private */
};

void dot_encoder_init(struct dot_encoder *e);
/*
 * Consumes content and appends it dot-stuffed to `out`, as far as it has room.
 *   PARSE_OK    all of `content` was consumed
 *   PARSE_MORE  `out` is full; drain it and call again with what is left
 *   PARSE_BAD   a bare CR, bare LF or NUL: the connection must not go on, for
 *               the message was begun; nothing of the offending line end was
 *               written
 */
enum parse dot_encode(struct dot_encoder *e, struct slice *content, struct buf *out);
/* Appends the end, CRLF . CRLF (without the first CRLF where the content had
 * it, or was empty). PARSE_MORE when it does not fit, PARSE_BAD as above. */
enum parse dot_encode_end(struct dot_encoder *e, struct buf *out);

#endif
