/*
 * A slice is a borrowed run of bytes: pointer and length, no terminator.
 * Parsers take slices, cut from the front, and never copy.
 */
#ifndef STAGEPOST_BASE_SLICE_H
#define STAGEPOST_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct slice {
    const char *p;
    size_t n;
};

/* What a parser of bytes from outside answers. On anything but PARSE_OK it
 * has changed neither its input nor its output. */
enum parse {
    PARSE_OK,
    PARSE_MORE, /* a prefix of something valid: more bytes are needed */
    PARSE_BAD,  /* no continuation can make it valid */
};

#define SLICE(literal) ((struct slice){(literal), sizeof(literal) - 1})
#define SLICE_NONE ((struct slice){NULL, 0})

/* Printf helpers: printf("%.*s", SLICE_FMT(s)). */
#define SLICE_FMT(s) (int)(s).n, ((s).p ? (s).p : "")

struct slice slice_from(const void *p, size_t n);
struct slice slice_str(const char *s); /* NULL gives the empty slice */

bool slice_eq(struct slice a, struct slice b);
bool slice_eq_nocase(struct slice a, struct slice b); /* ASCII case only */
int slice_compare(struct slice a, struct slice b);    /* memcmp order */
bool slice_starts(struct slice s, struct slice prefix);
bool slice_starts_nocase(struct slice s, struct slice prefix);
bool slice_ends_nocase(struct slice s, struct slice suffix);

/* Index of the first `c`, or s.n when there is none. */
size_t slice_find(struct slice s, char c);
/* Index of the first occurrence of `needle`, or s.n when there is none. */
size_t slice_find_slice(struct slice s, struct slice needle);

/* The first n bytes (all of it when shorter); `s` moves behind them. */
struct slice slice_cut(struct slice *s, size_t n);
/* Everything before the first `c`; `s` moves behind that `c`. Without a `c`:
 * everything, and `s` becomes empty. */
struct slice slice_cut_at(struct slice *s, char c);
struct slice slice_skip(struct slice s, size_t n);
struct slice slice_trim(struct slice s); /* strips SP, TAB, CR, LF on both ends */

/* Unsigned decimal, digits only, 1 to 20 of them; false on overflow. */
bool slice_to_u64(struct slice s, uint64_t *out);

/* Copies into a NUL-terminated array of `cap` bytes; false (and an empty
 * string) when it does not fit or contains a NUL. */
bool slice_to_cstr(struct slice s, char *out, size_t cap);

/* FNV-1a, for hash tables of data that no stranger chooses. */
uint64_t slice_hash(struct slice s);

char ascii_lower(char c);
bool ascii_is_alnum(char c);

#endif
