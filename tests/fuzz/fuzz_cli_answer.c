/* Heads of answers, as commands read them: a cut never changes what was whole. */
#include "relay/cli/answer.h"
#include "relay/sys/base/bug.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_from(data, size), part;
    struct answer_head head = {0}, again;
    enum parse whole = answer_cut_head(&in, &head);
    BUG_ON(whole != PARSE_OK && (in.n != size || head.status != 0));
    if (whole != PARSE_OK)
        return 0;
    BUG_ON(head.status < 100 || head.status > 599 || in.n > size);
    part = slice_from(data, size - in.n);
    BUG_ON(answer_cut_head(&part, &again) != PARSE_OK || again.body_bytes != head.body_bytes);
    part = slice_from(data, size - in.n - 1);
    BUG_ON(answer_cut_head(&part, &again) == PARSE_OK);
    return 0;
}
