/* Command lines: a refusal always has a reply to say, and what is taken can be
 * written again. */
#include <stddef.h>
#include <stdint.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"
#include "relay/wire/command.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_refusal(const struct reply_text *r)
{
    struct buf out;
    buf_init(&out, 4096);
    BUG_ON(r->code < 400 || r->code > 599 || r->enhanced == NULL || r->text == NULL);
    BUG_ON(!reply_add(&out, r) || buf_slice(&out).n > REPLY_WRITTEN_LINE_MAX);
    buf_fini(&out);
}

static void
check_rcpt(const struct rcpt_args *r, struct arena *arena)
{
    struct buf out;
    struct orcpt again;
    buf_init(&out, 1 << 16);
    if (r->orcpt.type.n > 0 && orcpt_encode(&r->orcpt, &out) && buf_slice(&out).n <= ORCPT_MAX) {
        BUG_ON(orcpt_decode(buf_slice(&out), arena, &again) != PARSE_OK);
        BUG_ON(!slice_eq(again.address, r->orcpt.address));
    }
    buf_fini(&out);
}

static void
check_envid(const struct mail_args *m, struct arena *arena)
{
    struct buf out;
    struct slice again;
    buf_init(&out, 1 << 16);
    BUG_ON(!xtext_encode(m->envid, &out));
    BUG_ON(xtext_decode(buf_slice(&out), arena, &again) != PARSE_OK);
    BUG_ON(!slice_eq(again, m->envid));
    buf_fini(&out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    struct command c;
    struct reply_text refusal = {0};
    struct mail_args mail;
    struct rcpt_args rcpt;
    struct bdat_args bdat;
    struct slice name;
    if (command_parse(slice_from(data, size), &c, &refusal) != PARSE_OK) {
        check_refusal(&refusal);
        return 0;
    }
    arena_init(&arena, 1 << 16);
    if (command_parse_mail(c.arg, &arena, &mail, &refusal) == PARSE_OK)
        check_envid(&mail, &arena);
    else
        check_refusal(&refusal);
    if (command_parse_rcpt(c.arg, size % 2 == 0, &arena, &rcpt, &refusal) == PARSE_OK)
        check_rcpt(&rcpt, &arena);
    else
        check_refusal(&refusal);
    if (command_parse_bdat(c.arg, &bdat, &refusal) != PARSE_OK)
        check_refusal(&refusal);
    if (command_parse_helo(c.arg, &name, &refusal) != PARSE_OK)
        check_refusal(&refusal);
    arena_fini(&arena);
    return 0;
}
