#include "api/mailbox.h"

#include "relay/sys/base/limits.h"
#include "relay/wire/address.h"

/* Quoting may double a local part, and A-labels are longer than U-labels. */
enum { CANONICAL_MAX = 2 * ADDRESS_PATH_MAX };

static bool
copy_canonical(const struct mailbox *m, struct arena *arena, struct slice *out)
{
    struct buf text;
    buf_init(&text, CANONICAL_MAX);
    bool ok = address_format_canonical(m, &text) && arena_copy(arena, buf_slice(&text), out);
    buf_fini(&text);
    return ok;
}

bool
mailbox_read(struct slice text, struct arena *arena, struct api_mailbox *out, const char **why)
{
    struct mailbox m;
    enum address_fault fault;
    if (address_parse(text, arena, &m, &fault) != PARSE_OK) {
        *why = address_fault_text(fault);
        return false;
    }
    if (m.literal) {
        *why = "address literals are not accepted";
        return false;
    }
    if (!copy_canonical(&m, arena, &out->address)) {
        *why = address_fault_text(ADDRESS_BUDGET);
        return false;
    }
    size_t at = out->address.n; /* a quoted local part may have an @ too */
    while (at > 0 && out->address.p[at - 1] != '@')
        at--;
    out->domain = slice_skip(out->address, at);
    return true;
}
