/* A header section that passes the checks can be walked to its end, and every
 * byte of it is in one field. */
#include <stddef.h>
#include <stdint.h>

#include "relay/sys/base/bug.h"
#include "relay/wire/header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
walk(const struct header_facts *facts)
{
    struct slice rest = facts->section;
    struct header_field f;
    size_t bytes = 0;
    unsigned fields = 0;
    enum parse r;
    while ((r = header_cut(&rest, &f)) == PARSE_OK) {
        struct buf line;
        bytes += f.raw.n;
        fields++;
        buf_init(&line, 1 << 20);
        BUG_ON(!header_unfold(f.value, &line));
        BUG_ON(slice_find(buf_slice(&line), '\n') != buf_slice(&line).n);
        BUG_ON(slice_find(buf_slice(&line), '\r') != buf_slice(&line).n);
        buf_fini(&line);
    }
    BUG_ON(r != PARSE_MORE || bytes != facts->section.n || fields != facts->fields);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_from(data, size);
    struct header_facts facts;
    struct header_field f;
    if (header_check(in, size % 2 == 0, &facts) == HEADER_FINE)
        walk(&facts);
    (void)header_find(in, SLICE("Subject"), &f);
    return 0;
}
