#include "relay/wire/qp.h"

static bool
is_plain(char c)
{
    return (c >= 33 && c <= 126 && c != '=') || c == ' ' || c == '\t';
}

/* One octet; `column` counts what stands on the line. The last place of a line
 * is kept for the '=' of a soft line break. */
static bool
add_octet(unsigned char c, bool encoded, size_t *column, struct buf *out)
{
    size_t width = encoded ? 3 : 1;
    if (*column + width > QP_LINE_MAX - 1) {
        if (!buf_add_str(out, "=\r\n"))
            return false;
        *column = 0;
    }
    *column += width;
    return encoded ? buf_addf(out, "=%02X", c) : buf_add_char(out, (char)c);
}

/* A line without its CRLF. White space at its end must be encoded. */
static bool
add_line(struct slice line, struct buf *out)
{
    size_t column = 0;
    for (size_t i = 0; i < line.n; i++) {
        char c = line.p[i];
        bool white_end = i + 1 == line.n && (c == ' ' || c == '\t');
        if (!add_octet((unsigned char)c, !is_plain(c) || white_end, &column, out))
            return false;
    }
    return true;
}

bool
qp_encode(struct slice text, struct buf *out)
{
    size_t begin = buf_slice(out).n;
    while (text.n > 0) {
        size_t end = slice_find_slice(text, SLICE("\r\n"));
        bool ended = end < text.n;
        bool ok = add_line(slice_cut(&text, end), out) && (!ended || buf_add_str(out, "\r\n"));
        if (!ok) {
            buf_truncate(out, begin);
            return false;
        }
        text = slice_skip(text, ended ? 2 : 0);
    }
    return true;
}
