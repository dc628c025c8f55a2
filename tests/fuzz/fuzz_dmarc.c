/* DMARC records and the tree walk: lines of input are TXT records, a domain first. */
#include "dkim/dmarc.h"

#include <string.h>

#include "dkim/txt.h"
#include "relay/sys/base/bug.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { RECORDS_AT_ONCE = 3 };

static void
check_record(struct slice text)
{
    struct dmarc_record r;
    if (!dmarc_record_parse(text, &r))
        return;
    BUG_ON(!dmarc_record_claimed(text));
    BUG_ON(r.p > DMARC_REJECT || r.sp > DMARC_REJECT || r.np > DMARC_REJECT);
    BUG_ON((r.bad_policy || r.without_p) && (r.np != DMARC_NONE || r.applies != r.reports));
}

/* An answer of the next records, each as it stands: mostly malformed RDATA. */
static void
answer(struct dmarc_walk *w, struct slice *rest)
{
    struct slice records[RECORDS_AT_ONCE];
    unsigned count = 0;
    while (count < RECORDS_AT_ONCE && rest->n > 0) {
        records[count] = slice_cut_at(rest, '\n');
        check_record(records[count++]);
    }
    dmarc_walk_answer(w, (enum dns_status)(count > 0 ? DNS_OK : DNS_NODATA), records, count);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice rest = slice_from(data, size), domain = slice_cut_at(&rest, '\n');
    struct dmarc_walk w;
    check_record(rest);
    if (!dmarc_walk_start(&w, domain))
        return 0;
    while (dmarc_walk_question(&w) != NULL)
        answer(&w, &rest);
    BUG_ON(w.questions > DMARC_QUESTIONS_MAX);
    BUG_ON(!slice_ends_nocase(slice_str(w.domain), slice_str(w.organizational)));
    struct dmarc_found f = dmarc_walk_result(&w, size % 2 == 0);
    BUG_ON(f.record != NULL && !slice_ends_nocase(slice_str(w.domain), slice_str(f.at)));
    BUG_ON(!dmarc_aligned(&w, &w, true));
    return 0;
}
