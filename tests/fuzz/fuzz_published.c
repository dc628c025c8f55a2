/* DKIM key records: the first line is ours, the others are RDATA of one answer. */
#include "dkim/published.h"

#include "relay/sys/base/bug.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { AT_ONCE = 2 };
    struct slice rest = slice_from(data, size), ours = slice_cut_at(&rest, '\n'), records[AT_ONCE];
    unsigned count = 0;
    while (count < AT_ONCE && rest.n > 0)
        records[count++] = slice_cut_at(&rest, '\n');
    enum published got = published_judge(ours, DNS_OK, records, count);
    BUG_ON(count == 0 && got != PUBLISHED_MISSING);
    BUG_ON(count == 2 && got != PUBLISHED_BROKEN);
    BUG_ON(published_name(got) == NULL);
    return 0;
}
