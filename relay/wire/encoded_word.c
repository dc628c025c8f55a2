/*
 * RFC 2047 2, and RFC 2231 5 for the language:
 *   encoded-word = "=?" charset ["*" language] "?" encoding "?" encoded-text "?="
 * A character may be split over two words, which RFC 2047 5 (3) forbids and some
 * clients do: what is decoded is judged as a whole.
 */
#include "relay/wire/encoded_word.h"

#include "relay/sys/base/base64.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/utf8.h"

enum charset { CHARSET_UTF8, CHARSET_LATIN1 };

struct word {
    enum charset charset;
    char encoding; /* 'b' or 'q' */
    struct slice text;
};

static bool
read_charset(struct slice name, enum charset *out)
{
    static const struct {
        struct slice name;
        enum charset charset;
    } CHARSETS[] = {{SLICE("utf-8"), CHARSET_UTF8},
                    {SLICE("us-ascii"), CHARSET_UTF8},
                    {SLICE("iso-8859-1"), CHARSET_LATIN1}};
    name = slice_cut_at(&name, '*');
    for (size_t i = 0; i < ARRAY_LEN(CHARSETS); i++)
        if (slice_eq_nocase(name, CHARSETS[i].name)) {
            *out = CHARSETS[i].charset;
            return true;
        }
    return false;
}

/* Begins with "=?". False: not an encoded word, or one of a charset that is not known. */
static bool
cut_word(struct slice *in, struct word *out)
{
    struct slice rest = slice_skip(*in, 2);
    struct slice charset = slice_cut_at(&rest, '?');
    struct slice encoding = slice_cut_at(&rest, '?');
    out->text = slice_cut_at(&rest, '?');
    if (rest.n == 0 || rest.p[0] != '=' || !read_charset(charset, &out->charset) ||
        slice_find(out->text, ' ') < out->text.n)
        return false;
    out->encoding = slice_eq_nocase(encoding, SLICE("b")) ? 'b' : 'q';
    *in = slice_skip(rest, 1);
    return out->encoding == 'b' || slice_eq_nocase(encoding, SLICE("q"));
}

static int
hex_value(char c)
{
    static const char DIGITS[] = "0123456789ABCDEFabcdef";
    size_t at = slice_find(slice_from(DIGITS, sizeof DIGITS - 1), c);
    return at == sizeof DIGITS - 1 ? -1 : (int)(at < 16 ? at : at - 6);
}

static bool
decode_q(struct slice text, struct buf *out)
{
    while (text.n > 0) {
        char c = slice_cut(&text, 1).p[0];
        if (c == '=') {
            struct slice digits = slice_cut(&text, 2);
            int high = digits.n == 2 ? hex_value(digits.p[0]) : -1;
            int low = digits.n == 2 ? hex_value(digits.p[1]) : -1;
            if (high < 0 || low < 0)
                return false;
            c = (char)(high * 16 + low);
        } else if (c == '_') {
            c = ' ';
        }
        buf_add_char(out, c);
    }
    return true;
}

static void
add_latin1(struct slice bytes, struct buf *out)
{
    for (size_t i = 0; i < bytes.n; i++) {
        unsigned char c = (unsigned char)bytes.p[i];
        if (c >= 0x80) {
            buf_add_char(out, (char)(0xc0 | c >> 6));
            c = 0x80 | (c & 0x3f);
        }
        buf_add_char(out, (char)c);
    }
}

static bool
add_word(const struct word *w, struct buf *out)
{
    struct buf bytes;
    buf_init(&bytes, w->text.n);
    bool ok = w->encoding == 'b' ? base64_decode(w->text, &bytes) : decode_q(w->text, &bytes);
    if (ok && w->charset == CHARSET_LATIN1)
        add_latin1(buf_slice(&bytes), out);
    else if (ok)
        buf_add(out, buf_slice(&bytes));
    buf_fini(&bytes);
    return ok;
}

static bool
decode(struct slice text, struct buf *out)
{
    bool behind_word = false;
    while (text.n > 0) {
        struct slice plain = slice_cut(&text, slice_find_slice(text, SLICE("=?")));
        struct word w;
        bool between = behind_word && text.n > 0 && slice_trim(plain).n == 0;
        if (!between)
            buf_add(out, plain);
        if (text.n > 0 && (!cut_word(&text, &w) || !add_word(&w, out)))
            return false;
        behind_word = true;
    }
    return !out->overflowed;
}

bool
encoded_word_decode(struct slice text, struct buf *out)
{
    struct buf decoded;
    buf_init(&decoded, 2 * text.n); /* Latin 1 as it is in Q */
    bool ok = decode(text, &decoded) && utf8_is_valid(buf_slice(&decoded)) &&
              buf_add(out, buf_slice(&decoded));
    buf_fini(&decoded);
    return ok;
}
