/*
 * The bytes of an HTTP connection: heads and chunked bodies one after the
 * other. The first byte says where the input is split; a split must not change
 * what is read.
 */
#include <stdlib.h>
#include <string.h>

#include "api/http/chunked.h"
#include "api/http/parser.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"

enum { REQUESTS_MAX = 8 };

struct trace {
    unsigned requests, faults;
    uint64_t body_bytes, hash;
};

static void
add(struct trace *t, struct slice s)
{
    t->hash = t->hash * 1099511628211u ^ slice_hash(s) ^ s.n;
}

/* Every byte of what is said to be there is looked at. */
static void
add_head(struct trace *t, const struct head *h)
{
    add(t, h->method);
    add(t, h->path);
    add(t, h->query);
    add(t, h->host);
    BUG_ON(h->path.n == 0 || h->path.p[0] != '/' || h->host.n == 0);
    BUG_ON(h->field_count == 0 || h->field_count > HTTP_HEADERS_MAX);
    for (unsigned i = 0; i < h->field_count; i++) {
        add(t, h->fields[i].name);
        add(t, h->fields[i].value);
        BUG_ON(memchr(h->fields[i].value.p, '\n', h->fields[i].value.n) != NULL);
    }
}

/* False: more input is needed or nothing can follow. */
static bool
read_chunked(struct trace *t, struct chunked *c, struct slice *in, bool *done)
{
    for (;;) {
        struct slice piece;
        switch (chunked_cut(c, in, &piece)) {
        case CHUNKED_PIECE:
            t->body_bytes += piece.n;
            break;
        case CHUNKED_END:
            *done = true;
            return true;
        case CHUNKED_BAD:
            t->faults++;
            return false;
        default:
            return false;
        }
    }
}

static struct trace
run(struct slice text, size_t split)
{
    struct trace t = {0};
    struct chunked chunked;
    bool in_body = false;
    size_t scanned = 0, have = split;
    struct slice in = slice_from(text.p, split);
    while (t.requests < REQUESTS_MAX && t.faults == 0) {
        bool done = false;
        if (in_body && !read_chunked(&t, &chunked, &in, &done) && t.faults > 0)
            break;
        in_body = in_body && !done;
        struct arena arena;
        struct head h;
        enum head_fault fault = HEAD_FINE;
        enum parse p = PARSE_MORE;
        arena_init(&arena, HTTP_REQUEST_ARENA_MAX);
        if (!in_body)
            p = head_cut(&in, &scanned, &arena, &h, &fault);
        if (p == PARSE_OK) {
            t.requests++;
            add_head(&t, &h);
            in_body = h.body == BODY_CHUNKED;
            chunked_init(&chunked);
        } else if (p == PARSE_BAD) {
            BUG_ON(fault == HEAD_FINE);
            t.faults++;
        }
        arena_fini(&arena);
        if (p == PARSE_MORE && !done) {
            if (have == text.n)
                break;
            in.n += text.n - have;
            have = text.n;
        }
    }
    return t;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct slice text = slice_from(data + 2, size - 2);
    size_t split = text.n > 0 ? ((size_t)data[0] << 8 | data[1]) % (text.n + 1) : 0;
    struct trace whole = run(text, text.n), pieces = run(text, split);
    BUG_ON(whole.requests != pieces.requests || whole.faults != pieces.faults);
    BUG_ON(whole.hash != pieces.hash || whole.body_bytes != pieces.body_bytes);
    return 0;
}
