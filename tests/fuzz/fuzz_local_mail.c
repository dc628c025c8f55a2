/* Messages for sendmail(8): whatever comes in, the lines are CRLF lines, Bcc is gone, and
 * what was made once stays as it is when it is made again. */
#include <string.h>

#include "relay/cli/local_mail.h"
#include "relay/sys/base/bug.h"
#include "relay/wire/header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_lines(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        BUG_ON(s.p[i] == '\n' && (i == 0 || s.p[i - 1] != '\r'));
    BUG_ON(s.n < 2 || s.p[s.n - 1] != '\n');
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct local_mail m, again;
    struct err err;
    size_t body_at;
    struct header_field bcc;
    struct local_mail_wish wish = {
        .recipients_from_header = size % 2 == 0, .host = "h.example", .from = SLICE("u@h.example")};
    local_mail_init(&m);
    int rc = local_mail_read(&m, &wish, slice_from(data, size), &err);
    if (rc == 0) {
        struct slice made = buf_slice(&m.message);
        check_lines(made);
        BUG_ON(header_find(header_section(made, &body_at), SLICE("bcc"), &bcc));
        wish.recipients_from_header = false;
        local_mail_init(&again);
        BUG_ON(local_mail_read(&again, &wish, made, &err) != 0);
        bool mbox = slice_starts(made, SLICE("From ")) || slice_starts(made, SLICE(">From "));
        BUG_ON(!mbox && !slice_eq(buf_slice(&again.message), made));
        local_mail_fini(&again);
    }
    local_mail_fini(&m);
    return 0;
}
