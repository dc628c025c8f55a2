/* DATA decoded whole and in pieces is the same; what is clean goes through the
 * encoder and comes back; what is not is refused by it (case SMG-14). */
#include <stddef.h>
#include <stdint.h>

#include "relay/sys/base/bug.h"
#include "relay/wire/dot.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { OUT_MAX = 1 << 21 };

struct run {
    struct dot_decoder d;
    enum parse verdict;
    size_t left;
    struct buf out;
};

static void
decode(struct run *r, struct slice in, size_t step)
{
    dot_decoder_init(&r->d, OUT_MAX);
    buf_init(&r->out, OUT_MAX);
    r->verdict = PARSE_MORE;
    while (in.n > 0 && r->verdict == PARSE_MORE) {
        struct slice piece = slice_cut(&in, step);
        r->verdict = dot_decode(&r->d, &piece, &r->out);
        in = slice_from(in.p != NULL ? in.p - piece.n : NULL, in.n + piece.n);
    }
    r->left = in.n;
}

static bool
is_clean(struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '\0' || (s.p[i] == '\n' && (i == 0 || s.p[i - 1] != '\r')) ||
            (s.p[i] == '\r' && (i + 1 == s.n || s.p[i + 1] != '\n')))
            return false;
    }
    return true;
}

static void
round_trip(struct slice text, size_t step)
{
    struct dot_encoder e;
    struct buf wire;
    struct run r;
    bool refused = false;
    dot_encoder_init(&e);
    buf_init(&wire, OUT_MAX);
    struct slice rest = text;
    while (rest.n > 0 && !refused) {
        struct slice piece = slice_cut(&rest, step);
        refused = dot_encode(&e, &piece, &wire) == PARSE_BAD;
    }
    refused = refused || dot_encode_end(&e, &wire) == PARSE_BAD;
    BUG_ON(refused == is_clean(text));
    if (!refused) {
        decode(&r, buf_slice(&wire), step);
        BUG_ON(r.verdict != PARSE_OK || r.d.bare || r.left != 0);
        BUG_ON(!slice_starts(buf_slice(&r.out), text));
        BUG_ON(r.d.size_bytes != text.n && r.d.size_bytes != text.n + 2);
        BUG_ON(!is_clean(buf_slice(&wire)));
        buf_fini(&r.out);
    }
    buf_fini(&wire);
}

/* In chunks of any size: what is clean and ends with a line comes out as it is,
 * anything else is marked. */
static void
in_chunks(struct slice text, size_t step)
{
    struct dot_decoder d;
    struct buf out;
    struct slice rest = text;
    dot_decoder_init(&d, OUT_MAX);
    buf_init(&out, OUT_MAX);
    while (rest.n > 0)
        dot_decode_chunk(&d, slice_cut(&rest, step), &out);
    dot_decode_chunks_end(&d);
    BUG_ON(d.bare == is_clean(text));
    BUG_ON(!d.bare && !slice_eq(buf_slice(&out), text));
    BUG_ON(!d.bare && d.unfinished == (text.n == 0 || slice_ends_nocase(text, SLICE("\r\n"))));
    buf_fini(&out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    size_t step = 1 + data[0] % 16;
    struct slice in = slice_from(data + 1, size - 1);
    struct run whole, pieces;
    decode(&whole, in, size);
    decode(&pieces, in, step);
    BUG_ON(whole.verdict != pieces.verdict || whole.left != pieces.left);
    BUG_ON(whole.d.bare != pieces.d.bare || whole.d.eight_bit != pieces.d.eight_bit);
    BUG_ON(!whole.d.bare && !slice_eq(buf_slice(&whole.out), buf_slice(&pieces.out)));
    BUG_ON(!whole.d.bare && whole.verdict == PARSE_OK && !is_clean(buf_slice(&whole.out)));
    buf_fini(&whole.out);
    buf_fini(&pieces.out);
    round_trip(in, step);
    in_chunks(in, step);
    return 0;
}
