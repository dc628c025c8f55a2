#include "relay/wire/text.h"

#include <string.h>

bool
text_is_ascii(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] > 127)
            return false;
    return true;
}

bool
text_is_unsafe(uint32_t code)
{
    static const struct {
        uint32_t first, last;
    } ranges[] = {
        {0x00, 0x1f},     {0x7f, 0x9f},     /* C0, DEL, C1 */
        {0x061c, 0x061c}, {0x200e, 0x200f}, /* marks of direction */
        {0x2028, 0x2029},                   /* line and paragraph separators */
        {0x202a, 0x202e}, {0x2066, 0x2069}, /* embeddings, overrides, isolates */
        {0xfdd0, 0xfdef}, {0xfeff, 0xfeff}, /* noncharacters, byte order mark */
    };
    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
        if (code >= ranges[i].first && code <= ranges[i].last)
            return true;
    return (code & 0xfffe) == 0xfffe;
}

bool
text_is_line(struct slice s)
{
    while (s.n > 0) {
        uint32_t code;
        size_t n = utf8_sequence(s, &code);
        if (n == 0 || text_is_unsafe(code))
            return false;
        s = slice_skip(s, n);
    }
    return true;
}

static bool
add_sanitised(struct buf *out, struct slice s, bool ascii_only)
{
    if (s.n == 0)
        return true;
    char *to = buf_reserve(out, s.n);
    if (to == NULL)
        return false;
    size_t written = 0;
    while (s.n > 0) {
        uint32_t code = 0;
        size_t n = utf8_sequence(s, &code);
        bool keep = n > 0 && !text_is_unsafe(code) && !(ascii_only && code > 126);
        if (keep)
            memcpy(to + written, s.p, n);
        else if (n == 1 && code == '\t')
            to[written] = ' ';
        else
            memset(to + written, '?', n > 0 ? n : 1);
        n = n > 0 ? n : 1;
        written += n;
        s = slice_skip(s, n);
    }
    buf_commit(out, written);
    return true;
}

bool
text_add_safe(struct buf *out, struct slice s)
{
    return add_sanitised(out, s, false);
}

bool
text_add_ascii(struct buf *out, struct slice s)
{
    return add_sanitised(out, s, true);
}

struct slice
text_clip(struct slice s, size_t n)
{
    if (s.n <= n)
        return s;
    size_t cut = n;
    for (size_t back = 0; back < 3 && cut > 0; back++) {
        if (((unsigned char)s.p[cut] & 0xc0) != 0x80)
            break;
        cut--;
    }
    /* Not in the middle of a sequence after all: cut where we were asked to. */
    if (((unsigned char)s.p[cut] & 0xc0) == 0x80)
        cut = n;
    return slice_from(s.p, cut);
}
