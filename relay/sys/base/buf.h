/*
 * A growable byte buffer that never passes its maximum. Bytes are appended at
 * the end and consumed from the front; memory is released by buf_fini().
 * Out of memory aborts: budgets are what keeps us below it.
 */
#ifndef STAGEPOST_BASE_BUF_H
#define STAGEPOST_BASE_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/sys/base/slice.h"

struct buf {
    char *mem;
    size_t head, len, cap; /* bytes live at mem[head .. head+len) */
    size_t max;
    bool overflowed; /* an append did not fit; sticky until buf_clear() */
};

void buf_init(struct buf *b, size_t max_bytes);
void buf_fini(struct buf *b);

/* All appends are whole or not at all; false (and `overflowed`) when the
 * result would pass the maximum. */
bool buf_add(struct buf *b, struct slice s);
bool buf_add_str(struct buf *b, const char *s);
bool buf_add_char(struct buf *b, char c);
bool buf_add_u64(struct buf *b, uint64_t v); /* decimal */
bool buf_addf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool buf_vaddf(struct buf *b, const char *fmt, va_list args) __attribute__((format(printf, 2, 0)));

/* Room for at least n more bytes at the returned place, to be filled and then
 * counted with buf_commit(); NULL when that would pass the maximum. */
char *buf_reserve(struct buf *b, size_t n);
void buf_commit(struct buf *b, size_t n);

struct slice buf_slice(const struct buf *b);
size_t buf_room(const struct buf *b);
void buf_consume(struct buf *b, size_t n);
void buf_truncate(struct buf *b, size_t len);
void buf_clear(struct buf *b);
/* Gives back memory of an empty buffer above `keep_bytes`. */
void buf_shrink(struct buf *b, size_t keep_bytes);

#endif
