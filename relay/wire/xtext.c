#include "relay/wire/xtext.h"

#include "relay/sys/base/limits.h"
#include "relay/wire/text.h"

#include <string.h>

/*
 * RFC 3461 4:
 *   xtext   = *( xchar / hexchar )
 *   xchar   = any ASCII CHAR between "!" (33) and "~" (126) but "+" and "="
 *   hexchar = "+" 2(%x30-39 / %x41-46)
 */

static bool
is_xchar(char c)
{
    return c >= 33 && c <= 126 && c != '+' && c != '=';
}

static int
hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The octet of "HH" behind a '+', or -1. Only printable ones: 32..126. */
static int
hex_octet(struct slice s)
{
    if (s.n < 2 || hex_digit(s.p[0]) < 0 || hex_digit(s.p[1]) < 0)
        return -1;
    int v = hex_digit(s.p[0]) * 16 + hex_digit(s.p[1]);
    return v >= 32 && v <= 126 ? v : -1;
}

/* Decodes into `to` (as long as `in`); false when it is not xtext. */
static bool
decode(struct slice in, char *to, size_t *written)
{
    size_t n = 0;
    while (in.n > 0) {
        struct slice c = slice_cut(&in, 1);
        if (is_xchar(c.p[0])) {
            to[n++] = c.p[0];
            continue;
        }
        int octet = c.p[0] == '+' ? hex_octet(in) : -1;
        if (octet < 0)
            return false;
        to[n++] = (char)octet;
        in = slice_skip(in, 2);
    }
    *written = n;
    return true;
}

static bool
is_plain_xtext(struct slice in)
{
    for (size_t i = 0; i < in.n; i++)
        if (!is_xchar(in.p[i]))
            return false;
    return true;
}

enum parse
xtext_decode(struct slice in, struct arena *arena, struct slice *out)
{
    if (is_plain_xtext(in)) {
        *out = in;
        return PARSE_OK;
    }
    char *to = arena_alloc(arena, in.n);
    size_t n = 0;
    if (to == NULL || !decode(in, to, &n))
        return PARSE_BAD;
    *out = slice_from(to, n);
    return PARSE_OK;
}

bool
xtext_encode(struct slice text, struct buf *out)
{
    size_t begin = buf_slice(out).n;
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        bool ok = is_xchar((char)c) ? buf_add_char(out, (char)c) : buf_addf(out, "+%02X", c);
        if (!ok) {
            buf_truncate(out, begin);
            return false;
        }
    }
    return true;
}

/*
 * RFC 3461 4.2: original-recipient-address = addr-type ";" xtext
 * RFC 6533 3:   EmbeddedUnicodeChar = "\x{" HEXPOINT "}"; utf-8-addr-xtext has
 *               it for everything but QCHAR; utf-8-addr-unitext also takes
 *               UTF-8 as it is.
 */

/* The type is an atom (RFC 3461 4.2). */
static bool
is_addr_type(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!ascii_is_alnum(s.p[i]) && s.p[i] != '-' && s.p[i] != '_')
            return false;
    return s.n > 0;
}

static bool
is_utf8_type(struct slice type)
{
    return slice_eq_nocase(type, SLICE("utf-8"));
}

static size_t
put_utf8(uint32_t c, char to[4])
{
    if (c < 0x80) {
        to[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char leads[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = n - 1; i > 0; i--, c >>= 6)
        to[i] = (char)(0x80 | (c & 0x3f));
    to[0] = (char)(leads[n] | c);
    return n;
}

/* The code point of "\x{HEX}" at the front; 0 when there is none. */
static uint32_t
cut_embedded(struct slice *s)
{
    if (!slice_starts(*s, SLICE("\\x{")))
        return 0;
    struct slice rest = slice_skip(*s, 3);
    size_t digits = slice_find(rest, '}');
    if (digits == rest.n || digits < 2 || digits > 6 || (digits > 2 && rest.p[0] == '0'))
        return 0;
    uint32_t c = 0;
    for (size_t i = 0; i < digits; i++) {
        int v = hex_digit(rest.p[i]);
        if (v < 0)
            return 0;
        c = c * 16 + (uint32_t)v;
    }
    *s = slice_skip(rest, digits + 1);
    return c;
}

/* One character of a utf-8 address; `to` has room for it, for no form is
 * shorter than what it stands for. */
static bool
decode_utf8_char(struct slice *in, char *to, size_t *n)
{
    uint32_t c = cut_embedded(in);
    if (c == 0) {
        size_t len = utf8_sequence(*in, &c);
        if (len == 0 || c == '\\' || c == '+' || c == '=' || c <= ' ')
            return false;
        *in = slice_skip(*in, len);
    }
    if (text_is_unsafe(c))
        return false;
    char one[4];
    size_t len = put_utf8(c, one);
    if (utf8_sequence(slice_from(one, len), NULL) != len)
        return false;
    memcpy(to + *n, one, len);
    *n += len;
    return true;
}

static enum parse
decode_utf8_address(struct slice in, struct arena *arena, struct slice *out)
{
    char *to = arena_alloc(arena, in.n + 1);
    size_t n = 0;
    if (to == NULL)
        return PARSE_BAD;
    while (in.n > 0)
        if (!decode_utf8_char(&in, to, &n))
            return PARSE_BAD;
    *out = slice_from(to, n);
    return PARSE_OK;
}

enum parse
orcpt_decode(struct slice in, struct arena *arena, struct orcpt *out)
{
    struct orcpt o;
    size_t semicolon = slice_find(in, ';');
    if (in.n > ORCPT_MAX || semicolon == in.n)
        return PARSE_BAD;
    o.type = slice_from(in.p, semicolon);
    struct slice address = slice_skip(in, semicolon + 1);
    if (!is_addr_type(o.type) || address.n == 0)
        return PARSE_BAD;
    enum parse r = is_utf8_type(o.type) ? decode_utf8_address(address, arena, &o.address)
                                        : xtext_decode(address, arena, &o.address);
    if (r == PARSE_OK)
        *out = o;
    return r;
}

static bool
add_utf8_address(struct slice address, struct buf *out)
{
    while (address.n > 0) {
        uint32_t c = 0;
        size_t n = utf8_sequence(address, &c);
        bool plain = n == 1 && is_xchar((char)c) && c != '\\';
        bool ok = n > 0 && (plain ? buf_add_char(out, (char)c) : buf_addf(out, "\\x{%02X}", c));
        if (!ok)
            return false;
        address = slice_skip(address, n);
    }
    return true;
}

bool
orcpt_encode(const struct orcpt *o, struct buf *out)
{
    size_t begin = buf_slice(out).n;
    bool ok =
        buf_add(out, o->type) && buf_add_char(out, ';') &&
        (is_utf8_type(o->type) ? add_utf8_address(o->address, out) : xtext_encode(o->address, out));
    if (!ok)
        buf_truncate(out, begin);
    return ok;
}

bool
orcpt_add_field(const struct orcpt *o, struct buf *out)
{
    size_t begin = buf_slice(out).n;
    bool ok = buf_add(out, o->type) && buf_add(out, SLICE("; ")) &&
              (is_utf8_type(o->type) ? add_utf8_address(o->address, out)
                                     : text_add_ascii(out, o->address));
    if (!ok)
        buf_truncate(out, begin);
    return ok;
}
