#include "relay/sys/base/utf8.h"

/* RFC 3629 4: lead octet, how many follow, and the least code point, which
 * rules out overlong forms. */
struct utf8_lead {
    unsigned char mask, lead;
    unsigned char follow;
    uint32_t least;
};

static const struct utf8_lead utf8_leads[] = {
    {0x80, 0x00, 0, 0},
    {0xe0, 0xc0, 1, 0x80},
    {0xf0, 0xe0, 2, 0x800},
    {0xf8, 0xf0, 3, 0x10000},
};

size_t
utf8_sequence(struct slice s, uint32_t *code)
{
    if (s.n == 0)
        return 0;
    unsigned char first = (unsigned char)s.p[0];
    size_t row = 0;
    while (row < 4 && (first & utf8_leads[row].mask) != utf8_leads[row].lead)
        row++;
    if (row == 4 || s.n <= utf8_leads[row].follow)
        return 0;
    uint32_t c = first & (unsigned char)~utf8_leads[row].mask;
    for (size_t i = 1; i <= utf8_leads[row].follow; i++) {
        unsigned char next = (unsigned char)s.p[i];
        if ((next & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (next & 0x3f);
    }
    bool surrogate = c >= 0xd800 && c <= 0xdfff;
    if (c < utf8_leads[row].least || surrogate || c > 0x10ffff)
        return 0;
    if (code != NULL)
        *code = c;
    return (size_t)utf8_leads[row].follow + 1;
}

bool
utf8_is_valid(struct slice s)
{
    while (s.n > 0) {
        size_t n = utf8_sequence(s, NULL);
        if (n == 0)
            return false;
        s = slice_skip(s, n);
    }
    return true;
}
