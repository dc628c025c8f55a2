#include "relay/sys/base/buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/sys/base/bug.h"

enum { MIN_CAP = 256 };

void
buf_init(struct buf *b, size_t max_bytes)
{
    *b = (struct buf){.max = max_bytes};
}

void
buf_fini(struct buf *b)
{
    free(b->mem);
    *b = (struct buf){.max = b->max};
}

static size_t
grown_cap(const struct buf *b, size_t need)
{
    size_t cap = b->cap > 0 ? b->cap : MIN_CAP;
    while (cap < need)
        cap *= 2;
    return cap > b->max && need <= b->max ? (need > b->max / 2 ? b->max : cap) : cap;
}

static void
make_room(struct buf *b, size_t n)
{
    if (b->head + b->len + n <= b->cap)
        return;
    if (b->head > 0) {
        if (b->len > 0 && b->mem != NULL)
            memmove(b->mem, b->mem + b->head, b->len);
        b->head = 0;
    }
    if (b->len + n <= b->cap)
        return;
    size_t cap = grown_cap(b, b->len + n);
    char *mem = realloc(b->mem, cap);
    BUG_ON(mem == NULL);
    b->mem = mem;
    b->cap = cap;
}

char *
buf_reserve(struct buf *b, size_t n)
{
    if (n > buf_room(b)) {
        b->overflowed = true;
        return NULL;
    }
    make_room(b, n > 0 ? n : 1);
    return b->mem + b->head + b->len;
}

void
buf_commit(struct buf *b, size_t n)
{
    BUG_ON(b->head + b->len + n > b->cap);
    b->len += n;
}

bool
buf_add(struct buf *b, struct slice s)
{
    char *to = buf_reserve(b, s.n);
    if (to == NULL)
        return false;
    if (s.n > 0)
        memcpy(to, s.p, s.n);
    buf_commit(b, s.n);
    return true;
}

bool
buf_add_str(struct buf *b, const char *s)
{
    return buf_add(b, slice_str(s));
}

bool
buf_add_char(struct buf *b, char c)
{
    return buf_add(b, slice_from(&c, 1));
}

bool
buf_add_u64(struct buf *b, uint64_t v)
{
    char digits[20]; /* of UINT64_MAX */
    size_t at = sizeof digits;
    do
        digits[--at] = (char)('0' + v % 10);
    while ((v /= 10) > 0);
    return buf_add(b, slice_from(digits + at, sizeof digits - at));
}

/* Formats n bytes, for which there is no room yet. */
__attribute__((format(printf, 3, 0))) static bool
add_formatted(struct buf *b, size_t n, const char *fmt, va_list args)
{
    char *to = n <= buf_room(b) ? buf_reserve(b, n + 1) : NULL;
    char *spill = NULL;
    if (to == NULL && n == buf_room(b)) { /* fits but for vsnprintf's NUL */
        spill = malloc(n + 1);
        BUG_ON(spill == NULL);
    }
    bool ok = to != NULL || spill != NULL;
    if (ok)
        vsnprintf(to != NULL ? to : spill, n + 1, fmt, args);
    else
        b->overflowed = true;
    if (to != NULL)
        buf_commit(b, n);
    else if (spill != NULL) {
        b->overflowed = false;
        ok = buf_add(b, slice_from(spill, n));
    }
    free(spill);
    return ok;
}

/* Most texts fit behind what is there, and are formatted once. */
bool
buf_vaddf(struct buf *b, const char *fmt, va_list args)
{
    va_list again;
    va_copy(again, args);
    if (b->cap == 0 && b->max > 0)
        make_room(b, 1);
    size_t spare = b->cap - b->head - b->len;
    int n = vsnprintf(spare > 0 ? b->mem + b->head + b->len : NULL, spare, fmt, args);
    BUG_ON(n < 0);
    bool ok = true;
    if ((size_t)n < spare && (size_t)n <= buf_room(b))
        buf_commit(b, (size_t)n);
    else
        ok = add_formatted(b, (size_t)n, fmt, again);
    va_end(again);
    return ok;
}

bool
buf_addf(struct buf *b, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    bool ok = buf_vaddf(b, fmt, args);
    va_end(args);
    return ok;
}

struct slice
buf_slice(const struct buf *b)
{
    return slice_from(b->mem != NULL ? b->mem + b->head : NULL, b->len);
}

size_t
buf_room(const struct buf *b)
{
    return b->max - b->len;
}

void
buf_consume(struct buf *b, size_t n)
{
    BUG_ON(n > b->len);
    b->len -= n;
    b->head = b->len > 0 ? b->head + n : 0;
}

void
buf_truncate(struct buf *b, size_t len)
{
    BUG_ON(len > b->len);
    b->len = len;
}

void
buf_clear(struct buf *b)
{
    b->head = b->len = 0;
    b->overflowed = false;
}

void
buf_shrink(struct buf *b, size_t keep_bytes)
{
    if (b->len == 0 && b->cap > keep_bytes)
        buf_fini(b);
}
