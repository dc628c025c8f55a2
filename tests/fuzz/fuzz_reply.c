/* Replies of a server, and the keywords of EHLO in them. */
#include <stddef.h>
#include <stdint.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"
#include "relay/wire/ehlo.h"
#include "relay/wire/reply.h"
#include "relay/wire/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check(const struct reply *r)
{
    struct ehlo e;
    BUG_ON(r->code < 200 || r->code > 599 || r->lines == 0 || r->lines > REPLY_LINES_MAX);
    BUG_ON(r->enhanced.class_ != 0 && r->enhanced.class_ != r->code / 100);
    BUG_ON(!utf8_is_valid(r->text));
    for (size_t i = 0; i < r->text.n; i++)
        BUG_ON((unsigned char)r->text.p[i] < 32 && r->text.p[i] != '\n');
    ehlo_parse(r, &e);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_from(data, size);
    struct reply r;
    struct buf text;
    buf_init(&text, REPLY_BYTES_MAX);
    for (;;) {
        struct slice before = in;
        enum parse verdict = reply_cut(&in, &text, &r);
        if (verdict != PARSE_OK) {
            BUG_ON(!slice_eq(before, in));
            break;
        }
        BUG_ON(in.n >= before.n);
        check(&r);
        /* No prefix of a reply is a reply or hopeless. */
        for (size_t n = 0; n < before.n - in.n; n += 1 + n / 16) {
            struct slice prefix = slice_from(before.p, n);
            BUG_ON(reply_cut(&prefix, &text, &r) != PARSE_MORE);
        }
    }
    buf_fini(&text);
    return 0;
}
