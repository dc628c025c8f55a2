#include "relay/cli/zone.h"

#include <string.h>

#include "relay/wire/address.h"

enum { TXT_STRING_MAX = 255 };

bool
zone_read_domain(const char *text, char out[ADDRESS_CANONICAL_MAX])
{
    struct buf b;
    struct slice name = slice_str(text);
    if (name.n > 0 && name.p[name.n - 1] == '.')
        name.n--;
    buf_init(&b, ADDRESS_CANONICAL_MAX - 1);
    bool ok = domain_add_canonical(name, &b) &&
              slice_to_cstr(buf_slice(&b), out, ADDRESS_CANONICAL_MAX) &&
              domain_is_ldh(buf_slice(&b)) && strchr(out, '.') != NULL;
    buf_fini(&b);
    return ok;
}

void
zone_add_txt(struct buf *out, const char *name, const char *value)
{
    struct slice rest = slice_str(value);
    buf_addf(out, "  %s. TXT", name);
    while (rest.n > 0) {
        struct slice piece = slice_cut(&rest, rest.n < TXT_STRING_MAX ? rest.n : TXT_STRING_MAX);
        buf_add_str(out, " \"");
        for (size_t i = 0; i < piece.n; i++) {
            if (piece.p[i] == '"' || piece.p[i] == '\\')
                buf_add_char(out, '\\');
            buf_add_char(out, piece.p[i]);
        }
        buf_add_char(out, '"');
    }
    buf_add_char(out, '\n');
}
