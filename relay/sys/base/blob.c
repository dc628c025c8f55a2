#include "relay/sys/base/blob.h"

#include <stdlib.h>
#include <string.h>

#include "relay/sys/base/bug.h"

struct blob {
    unsigned refs;
    char *mem;
    size_t head, n;
};

static size_t total_bytes; /* of this process: one loop, one thread */

static struct blob *
blob_new(char *mem, size_t head, size_t n)
{
    struct blob *b = malloc(sizeof *b);
    BUG_ON(b == NULL);
    *b = (struct blob){.refs = 1, .mem = mem, .head = head, .n = n};
    total_bytes += n;
    return b;
}

struct blob *
blob_new_copy(struct slice s)
{
    char *mem = malloc(s.n > 0 ? s.n : 1);
    BUG_ON(mem == NULL);
    if (s.n > 0)
        memcpy(mem, s.p, s.n);
    return blob_new(mem, 0, s.n);
}

struct blob *
blob_take_buf(struct buf *b)
{
    struct blob *blob = blob_new(b->mem, b->head, b->len);
    *b = (struct buf){.max = b->max};
    return blob;
}

struct blob *
blob_ref(struct blob *b)
{
    if (b != NULL)
        b->refs++;
    return b;
}

void
blob_unref(struct blob **b)
{
    struct blob *gone = *b;
    *b = NULL;
    if (gone == NULL || --gone->refs > 0)
        return;
    total_bytes -= gone->n;
    free(gone->mem);
    free(gone);
}

struct slice
blob_slice(const struct blob *b)
{
    if (b == NULL)
        return SLICE_NONE;
    return slice_from(b->mem != NULL ? b->mem + b->head : NULL, b->n);
}

size_t
blob_total_bytes(void)
{
    return total_bytes;
}

size_t
content_bytes(const struct content *c)
{
    return blob_slice(c->head).n + slice_skip(blob_slice(c->rest), c->rest_at).n;
}

int
content_pieces(const struct content *c, struct slice out[2])
{
    int n = 0;
    struct slice head = blob_slice(c->head);
    struct slice rest = slice_skip(blob_slice(c->rest), c->rest_at);
    if (head.n > 0)
        out[n++] = head;
    if (rest.n > 0)
        out[n++] = rest;
    for (int i = n; i < 2; i++)
        out[i] = SLICE_NONE;
    return n;
}

struct content
content_ref(const struct content *c)
{
    blob_ref(c->head);
    blob_ref(c->rest);
    return *c;
}

void
content_unref(struct content *c)
{
    blob_unref(&c->head);
    blob_unref(&c->rest);
    c->rest_at = 0;
}
