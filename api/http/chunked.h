/*
 * The chunked transfer coding (RFC 9112 7.1), decoded strictly: what two
 * readers could read differently is refused. (http-parser as Debian builds it
 * takes any two bytes for the CRLF behind a chunk.)
 *
 *   chunk    = 1*8HEXDIG [ ";" extension ] CRLF data CRLF
 *   last     = 1*8"0" [ ";" extension ] CRLF *( trailer-line CRLF ) CRLF
 *
 * Extensions and trailer fields are read over and never used. A chunk line is at
 * most HTTP_CHUNK_LINE_MAX long, the trailer section HTTP_TRAILER_MAX. Pure.
 */
#ifndef STAGEPOST_API_HTTP_CHUNKED_H
#define STAGEPOST_API_HTTP_CHUNKED_H

#include <stddef.h>
#include <stdint.h>

#include "relay/sys/base/slice.h"

struct chunked {
    enum chunked_state { CHUNKED_SIZE, CHUNKED_DATA, CHUNKED_DATA_END, CHUNKED_TRAILER } state;
    uint64_t left;        /* of the present chunk */
    size_t trailer_bytes; /* read so far */
};

void chunked_init(struct chunked *c);

enum chunked_step {
    CHUNKED_PIECE, /* `piece` holds body bytes, at least one */
    CHUNKED_MORE,  /* more input is needed; what was understood is cut off */
    CHUNKED_END,   /* the body is complete; `in` begins behind it */
    CHUNKED_BAD,   /* the connection cannot go on */
};
enum chunked_step chunked_cut(struct chunked *c, struct slice *in, struct slice *piece);

#endif
