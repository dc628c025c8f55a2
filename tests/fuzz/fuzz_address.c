/* Whatever is taken as an address is written in a form that means the same. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "relay/sys/base/bug.h"
#include "relay/wire/address.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check(const struct mailbox *m, struct arena *arena)
{
    struct buf first, second;
    struct mailbox again;
    buf_init(&first, 2048);
    buf_init(&second, 2048);
    BUG_ON(!address_format_canonical(m, &first));
    BUG_ON(address_parse(buf_slice(&first), arena, &again, NULL) != PARSE_OK);
    BUG_ON(!slice_eq(again.local, m->local) || again.literal != m->literal);
    BUG_ON(!address_format_canonical(&again, &second));
    BUG_ON(!slice_eq(buf_slice(&first), buf_slice(&second)));
    struct slice text = buf_slice(&first);
    for (size_t i = 0; i < text.n; i++)
        BUG_ON((unsigned char)text.p[i] < 32 || text.p[i] == 127);
    buf_fini(&first);
    buf_fini(&second);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_from(data, size);
    struct arena arena;
    struct mailbox m;
    struct path p;
    struct address_list list;
    arena_init(&arena, 1 << 16);
    if (address_parse(in, &arena, &m, NULL) == PARSE_OK) {
        check(&m, &arena);
        /* The header form takes no less, and finds the same (ASCII has no
         * other reading; UTF-8 neither). */
        BUG_ON(address_list_parse(in, &arena, &list, NULL) != PARSE_OK || list.n != 1);
        BUG_ON(!slice_eq(list.v[0].local, m.local) || !slice_eq(list.v[0].domain, m.domain));
    }
    struct slice rest = in;
    if (path_cut_reverse(&rest, &arena, &p, NULL) == PARSE_OK && p.kind == PATH_MAILBOX)
        check(&p.mailbox, &arena);
    rest = in;
    if (path_cut_forward(&rest, &arena, &p, NULL) == PARSE_OK && p.kind == PATH_MAILBOX)
        check(&p.mailbox, &arena);
    if (address_list_parse(in, &arena, &list, NULL) == PARSE_OK)
        for (size_t i = 0; i < list.n; i++)
            check(&list.v[i], &arena);
    arena_fini(&arena);
    return 0;
}
