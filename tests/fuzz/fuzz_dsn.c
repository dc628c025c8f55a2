/* Whatever a server answered and whatever the original was, the report has
 * clean lines and exactly four delimiters. */
#include <stddef.h>
#include <stdint.h>

#include "relay/sys/base/bug.h"
#include "relay/wire/dsn.h"
#include "relay/wire/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t
count(struct slice text, struct slice what)
{
    size_t n = 0;
    for (size_t at; (at = slice_find_slice(text, what)) < text.n; n++)
        text = slice_skip(text, at + 1);
    return n;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_from(data, size);
    struct slice text = slice_cut_at(&in, '|');
    struct slice mta = slice_cut_at(&in, '|');
    struct slice envid = slice_cut_at(&in, '|');
    struct dsn_recipient recipient = {
        .address = SLICE("user@example.org"),
        .action = size % 2 == 0 ? DSN_FAILED : DSN_DELAYED,
        .remote_mta = text_clip(mta, 255),
        .reply_code = (unsigned)(size % 600),
        .text = text,
    };
    struct dsn_report report = {
        .reporting_mta = SLICE("gate.example.com"),
        .from = SLICE("mailer-daemon@example.com"),
        .to = SLICE("shop@example.com"),
        .message_id = SLICE("1@gate.example.com"),
        .envid = envid,
        .recipients = &recipient,
        .recipient_count = 1,
        .boundary = "=_fuzz",
    };
    struct slice original = SLICE("Subject: x\r\n\r\n--=_fuzz\r\n");
    struct slice original_8bit = SLICE("Subject: \xc3\xbc\r\n\r\n--=_fuzz\r\n");
    struct buf out;
    buf_init(&out, 1 << 20);
    report.original = &original;
    report.original_pieces = 1;
    report.full = size % 3 == 0;
    report.utf8 = size % 5 == 0;
    if (size % 7 == 0)
        original = original_8bit;
    bool encoded = size % 7 == 0 && !report.utf8; /* then no delimiter is left in it */
    BUG_ON(!dsn_build(&report, &out));
    struct slice s = buf_slice(&out);
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        BUG_ON((c > 126 && (c < 128 || !report.utf8)) || (c < 32 && c != '\r' && c != '\n'));
        BUG_ON(c == '\n' && (i == 0 || s.p[i - 1] != '\r'));
        BUG_ON(c == '\r' && (i + 1 == s.n || s.p[i + 1] != '\n'));
    }
    BUG_ON(count(s, SLICE("\nReporting-MTA:")) != 1 || count(s, SLICE("\nAction:")) != 1);
    BUG_ON(count(s, SLICE("\r\n--=_")) != (report.full && !encoded ? 5 : 4));
    buf_fini(&out);
    return 0;
}
