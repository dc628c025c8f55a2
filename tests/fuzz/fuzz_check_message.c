/* The decoder of what asker and checker say: what it accepts is within limits. */
#include "dkim/check_protocol.h"

#include <string.h>

#include "relay/sys/base/bug.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check(const struct check_message *m, struct slice whole)
{
    BUG_ON(m->records.n > whole.n);
    BUG_ON(m->type == CHECK_FRAME_CHECK && (m->mail.domain[0] == '\0' || m->mail.local[0] == '\0'));
    BUG_ON(m->type == CHECK_FRAME_ASK && m->ask_name[0] == '\0');
    BUG_ON(m->status > DNS_TEMP || m->verdict.result >= SPF_RESULTS);
    BUG_ON(memchr(m->verdict.text, '\0', sizeof m->verdict.text) == NULL);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice whole = slice_from(data, size), in = whole;
    struct check_message m;
    for (;;) {
        struct slice before = in;
        enum parse p = check_message_cut(&in, &m);
        if (p != PARSE_OK) {
            BUG_ON(in.p != before.p || in.n != before.n);
            BUG_ON(p == PARSE_MORE && in.n >= CHECK_FRAME_MAX);
            return 0;
        }
        BUG_ON(in.n >= before.n);
        check(&m, whole);
    }
}
