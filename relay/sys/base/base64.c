#include "relay/sys/base/base64.h"

#include <string.h>

static const char ALPHABET[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static int
value_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Decodes four characters of which the last `pad` are '='; false when bad. */
static bool
decode_quad(const char *q, int pad, struct buf *out)
{
    uint32_t v = 0;
    for (int i = 0; i < 4; i++) {
        int d = i < 4 - pad ? value_of(q[i]) : 0;
        if (d < 0 || (i >= 4 - pad && q[i] != '='))
            return false;
        v = v << 6 | (uint32_t)d;
    }
    if ((pad == 1 && (v & 0xff) != 0) || (pad == 2 && (v & 0xffff) != 0))
        return false;
    char b[3] = {(char)(v >> 16), (char)(v >> 8), (char)v};
    return buf_add(out, slice_from(b, (size_t)(3 - pad)));
}

bool
base64_decode(struct slice text, struct buf *out)
{
    size_t before = out->len;
    if (text.n % 4 != 0)
        return false;
    for (size_t i = 0; i < text.n; i += 4) {
        bool last = i + 4 == text.n;
        int pad = !last || text.p[i + 3] != '=' ? 0 : text.p[i + 2] == '=' ? 2 : 1;
        if (!decode_quad(text.p + i, pad, out)) {
            buf_truncate(out, before);
            return false;
        }
    }
    return true;
}

bool
base64_encode(struct slice bytes, struct buf *out)
{
    char *to = buf_reserve(out, (bytes.n + 2) / 3 * 4);
    if (to == NULL)
        return false;
    char *p = to;
    for (size_t i = 0; i < bytes.n; i += 3) {
        size_t left = bytes.n - i;
        const unsigned char *b = (const unsigned char *)bytes.p + i;
        uint32_t v =
            (uint32_t)b[0] << 16 | (left > 1 ? (uint32_t)b[1] << 8 : 0) | (left > 2 ? b[2] : 0u);
        *p++ = ALPHABET[v >> 18];
        *p++ = ALPHABET[v >> 12 & 63];
        *p++ = left > 1 ? ALPHABET[v >> 6 & 63] : '=';
        *p++ = left > 2 ? ALPHABET[v & 63] : '=';
    }
    buf_commit(out, (size_t)(p - to));
    return true;
}
