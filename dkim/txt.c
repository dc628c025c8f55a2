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
label_ok(struct slice label)
{
    for (size_t i = 0; i < label.n; i++)
        if (!ascii_is_alnum(label.p[i]) && label.p[i] != '-' && label.p[i] != '_')
            return false;
    return label.n >= 1 && label.n <= ADDRESS_LABEL_MAX;
}

bool
txt_domain(struct slice name, char *out)
{
    out[0] = '\0';
    if (name.n > 0 && name.p[name.n - 1] == '.')
        name.n--;
    struct slice rest = name;
    bool more = true;
    while (more) {
        more = slice_find(rest, '.') < rest.n;
        if (!label_ok(slice_cut_at(&rest, '.')))
            return false;
    }
    if (!slice_to_cstr(name, out, ADDRESS_DOMAIN_MAX + 1))
        return false;
    for (char *p = out; *p != '\0'; p++)
        *p = ascii_lower(*p);
    return true;
}

bool
txt_is_one_of(char c, const char *set)
{
    return c != '\0' && strchr(set, c) != NULL;
}
