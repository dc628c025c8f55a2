#include "relay/sys/base/slice.h"

#include <string.h>

struct slice
slice_from(const void *p, size_t n)
{
    return (struct slice){p, n};
}

struct slice
slice_str(const char *s)
{
    return (struct slice){s, s != NULL ? strlen(s) : 0};
}

char
ascii_lower(char c)
{
    return (c >= 'A' && c <= 'Z') ? (char)(c | 0x20) : c;
}

bool
ascii_is_alnum(char c)
{
    char l = ascii_lower(c);
    return (c >= '0' && c <= '9') || (l >= 'a' && l <= 'z');
}

bool
slice_eq(struct slice a, struct slice b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool
slice_eq_nocase(struct slice a, struct slice b)
{
    return a.n == b.n && slice_starts_nocase(a, b);
}

int
slice_compare(struct slice a, struct slice b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int c = n > 0 ? memcmp(a.p, b.p, n) : 0;
    if (c != 0)
        return c;
    return (a.n > b.n) - (a.n < b.n);
}

bool
slice_starts(struct slice s, struct slice prefix)
{
    return s.n >= prefix.n && slice_eq(slice_from(s.p, prefix.n), prefix);
}

bool
slice_starts_nocase(struct slice s, struct slice prefix)
{
    if (s.n < prefix.n || (s.p == NULL && prefix.n > 0))
        return false;
    for (size_t i = 0; i < prefix.n; i++)
        if (ascii_lower(s.p[i]) != ascii_lower(prefix.p[i]))
            return false;
    return true;
}

bool
slice_ends_nocase(struct slice s, struct slice suffix)
{
    return s.n >= suffix.n && slice_eq_nocase(slice_skip(s, s.n - suffix.n), suffix);
}

size_t
slice_find(struct slice s, char c)
{
    const char *hit = s.n > 0 ? memchr(s.p, c, s.n) : NULL;
    return hit != NULL ? (size_t)(hit - s.p) : s.n;
}

size_t
slice_find_slice(struct slice s, struct slice needle)
{
    if (needle.n == 0)
        return 0;
    const char *hit = s.n > 0 ? memmem(s.p, s.n, needle.p, needle.n) : NULL;
    return hit != NULL ? (size_t)(hit - s.p) : s.n;
}

struct slice
slice_cut(struct slice *s, size_t n)
{
    if (n > s->n)
        n = s->n;
    struct slice head = {s->p, n};
    *s = slice_skip(*s, n);
    return head;
}

struct slice
slice_cut_at(struct slice *s, char c)
{
    size_t at = slice_find(*s, c);
    struct slice head = slice_cut(s, at);
    *s = slice_skip(*s, 1);
    return head;
}

struct slice
slice_skip(struct slice s, size_t n)
{
    if (n > s.n)
        n = s.n;
    return (struct slice){s.p != NULL ? s.p + n : NULL, s.n - n};
}

static bool
is_trimmed(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct slice
slice_trim(struct slice s)
{
    while (s.n > 0 && is_trimmed(s.p[0]))
        s = slice_skip(s, 1);
    while (s.n > 0 && is_trimmed(s.p[s.n - 1]))
        s.n--;
    return s;
}

bool
slice_to_u64(struct slice s, uint64_t *out)
{
    uint64_t v = 0;
    if (s.n == 0 || s.n > 20)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        uint64_t digit = (uint64_t)(s.p[i] - '0');
        if (v > (UINT64_MAX - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    *out = v;
    return true;
}

bool
slice_to_cstr(struct slice s, char *out, size_t cap)
{
    out[0] = '\0';
    if (s.n >= cap || slice_find(s, '\0') != s.n)
        return false;
    if (s.n > 0)
        memcpy(out, s.p, s.n);
    out[s.n] = '\0';
    return true;
}

uint64_t
slice_hash(struct slice s)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < s.n; i++)
        h = (h ^ (unsigned char)s.p[i]) * 0x100000001b3u;
    return h;
}
