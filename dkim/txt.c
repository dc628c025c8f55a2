#include "dkim/txt.h"

#include <string.h>

#include "relay/sys/base/limits.h"

bool
txt_join(struct slice rdata, struct buf *out)
{
    size_t before = buf_slice(out).n;
    while (rdata.n > 0) {
        size_t n = (uint8_t)*slice_cut(&rdata, 1).p;
        if (n > rdata.n || !buf_add(out, slice_cut(&rdata, n))) {
            buf_truncate(out, before);
            return false;
        }
    }
    return true;
}

static bool
host_char(char c)
{
    return ascii_is_alnum(c) || c == '-' || c == '_';
}

static bool
name_char(char c)
{
    return c > ' ' && c < 0x7f && c != '\\';
}

static bool
label_ok(struct slice label, bool (*char_ok)(char c))
{
    for (size_t i = 0; i < label.n; i++)
        if (!char_ok(label.p[i]))
            return false;
    return label.n >= 1 && label.n <= ADDRESS_LABEL_MAX;
}

static bool
read_name(struct slice name, bool (*char_ok)(char c), char *out)
{
    out[0] = '\0';
    if (name.n > 0 && name.p[name.n - 1] == '.')
        name.n--;
    struct slice rest = name;
    bool more = true;
    while (more) {
        more = slice_find(rest, '.') < rest.n;
        if (!label_ok(slice_cut_at(&rest, '.'), char_ok))
            return false;
    }
    if (!slice_to_cstr(name, out, ADDRESS_DOMAIN_MAX + 1))
        return false;
    for (char *p = out; *p != '\0'; p++)
        *p = ascii_lower(*p);
    return true;
}

bool
txt_domain(struct slice name, char *out)
{
    return read_name(name, host_char, out);
}

bool
txt_name(struct slice name, char *out)
{
    return read_name(name, name_char, out);
}

bool
txt_is_one_of(char c, const char *set)
{
    return c != '\0' && strchr(set, c) != NULL;
}
