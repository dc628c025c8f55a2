/* SPF by libspf2: the lines of the input are the records that DNS has, in the
 * order in which they are asked for. "v=spf1 " is put before each TXT. */
#include "dkim/spf.h"

#include <string.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/net/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PIECE = 255 };

static void
add_txt(struct slice line, struct buf *out)
{
    struct buf text, rdata;
    buf_init(&text, 1 << 17);
    buf_init(&rdata, 1 << 17);
    buf_add_str(&text, "v=spf1 ");
    buf_add(&text, line);
    for (struct slice s = buf_slice(&text); s.n > 0;) {
        struct slice piece = slice_cut(&s, s.n < PIECE ? s.n : PIECE);
        buf_add_char(&rdata, (char)piece.n);
        buf_add(&rdata, piece);
    }
    frame_add_bytes(out, buf_slice(&rdata));
    buf_fini(&text);
    buf_fini(&rdata);
}

static void
answer(struct spf_check *c, struct slice *rest)
{
    struct buf records;
    enum dns_type type;
    const char *name = spf_check_question(c, &type);
    BUG_ON(strlen(name) > ADDRESS_DOMAIN_MAX || name[0] == '\0');
    buf_init(&records, 1 << 18);
    struct slice line = slice_cut_at(rest, '\n');
    if (type == DNS_TXT)
        add_txt(line, &records);
    else
        frame_add_bytes(&records, line);
    spf_check_answer(c, line.n % 7 == 6 ? DNS_NXDOMAIN : DNS_OK, buf_slice(&records));
    buf_fini(&records);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice rest = slice_from(data, size);
    struct spf_mail m;
    bool ok = spf_mail_set(&m, size % 2 == 0 ? SLICE("192.0.2.1") : SLICE("2001:db8::1"),
                           SLICE("some.user+tag"), SLICE("mail.example.org"), SLICE("helo.test"));
    BUG_ON(!ok);
    struct spf_check *c = spf_check_new(&m);
    unsigned asked = 0;
    while (spf_check_run(c) == SPF_ASK) {
        BUG_ON(++asked > SPF_QUESTIONS_MAX);
        answer(c, &rest);
    }
    const struct spf_verdict *v = spf_check_verdict(c);
    BUG_ON(v->result >= SPF_RESULTS);
    BUG_ON(v->result != SPF_PERMERROR && v->lookups > SPF_LOOKUPS_MAX);
    spf_check_free(c);
    return 0;
}
