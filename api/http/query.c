#include "api/http/query.h"

#include "api/http/hex.h"
#include "relay/sys/base/limits.h"

bool
query_decode(struct slice text, struct arena *arena, struct slice *out)
{
    char *to = arena_alloc(arena, text.n + 1);
    if (to == NULL)
        return false;
    size_t n = 0;
    while (text.n > 0) {
        char c = slice_cut(&text, 1).p[0];
        if (c == '%') {
            int high = text.n >= 2 ? hex_digit(text.p[0]) : -1;
            int low = text.n >= 2 ? hex_digit(text.p[1]) : -1;
            if (high < 0 || low < 0)
                return false;
            c = (char)(high * 16 + low);
            text = slice_skip(text, 2);
        }
        if (c == '\0')
            return false;
        to[n++] = c;
    }
    *out = slice_from(to, n);
    return true;
}

enum parse
query_parse(struct slice text, struct arena *arena, struct query *out)
{
    unsigned parts = 1;
    for (size_t i = 0; i < text.n; i++)
        parts += text.p[i] == '&';
    if (parts > HTTP_QUERY_PAIRS_MAX)
        return PARSE_BAD;
    struct query q = {.pairs = arena_alloc(arena, sizeof *q.pairs * parts)};
    if (q.pairs == NULL)
        return PARSE_BAD;
    while (text.n > 0) {
        struct slice value = slice_cut_at(&text, '&');
        if (value.n == 0)
            continue;
        struct slice name = slice_cut_at(&value, '=');
        struct query_pair *pair = &q.pairs[q.count];
        if (!query_decode(name, arena, &pair->name) || !query_decode(value, arena, &pair->value))
            return PARSE_BAD;
        q.count++;
    }
    *out = q;
    return PARSE_OK;
}

bool
query_find(const struct query *q, struct slice name, struct slice *value)
{
    for (unsigned i = 0; i < q->count; i++)
        if (slice_eq(q->pairs[i].name, name)) {
            *value = q->pairs[i].value;
            return true;
        }
    return false;
}
