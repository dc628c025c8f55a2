/* Dates: within the years that they can name, and written out they are the same to the second. */
#include "relay/sys/base/bug.h"
#include "relay/wire/date.h"

static const int64_t YEAR_10000_AND_A_DAY = 253402387200000; /* a zone may lead there */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = slice_from(data, size);
    char out[DATE_TEXT_BYTES + 1];
    int64_t at, back;
    if (date_parse_rfc3339(text, &at))
        BUG_ON(at < 0 || at > YEAR_10000_AND_A_DAY);
    if (!date_parse(text, &at))
        return 0;
    BUG_ON(at < 0 || at > YEAR_10000_AND_A_DAY);
    date_format(at, out);
    BUG_ON(!date_parse(slice_str(out), &back));
    BUG_ON(back != at && at < YEAR_10000_AND_A_DAY - 86400000);
    return 0;
}
