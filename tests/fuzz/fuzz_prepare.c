/* Any message: what is accepted has a header section that passes the checks
 * again, begins with Received, has no control field left, and ends with CRLF. */
#include "relay/accept/prepare.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"
#include "relay/wire/header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check(const struct prepared *p, bool smtputf8)
{
    struct slice pieces[2], head = blob_slice(p->content.head);
    struct header_facts facts;
    struct header_field f;
    BUG_ON(header_check(head, smtputf8, &facts) != HEADER_FINE || facts.body_at != head.n);
    BUG_ON(!slice_starts(head, SLICE("Received: from ")));
    BUG_ON(facts.known[HEADER_DATE].raw.n == 0 || facts.known[HEADER_MESSAGE_ID].raw.n == 0);
    BUG_ON(facts.known[HEADER_BCC].raw.n != 0 || p->sender_count == 0);
    while (header_cut(&facts.section, &f) == PARSE_OK)
        BUG_ON(control_is_one(f.name));
    int n = content_pieces(&p->content, pieces);
    BUG_ON(!slice_ends_nocase(pieces[n - 1], SLICE("\r\n")));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    struct blob *blob = blob_new_copy(slice_from(data, size));
    arena_init(&arena, SMTP_TRANSACTION_ARENA_MAX);
    for (int smtputf8 = 0; smtputf8 < 2; smtputf8++) {
        struct prepare_input in = {
            .message = blob, .hostname = "gw.example", .protocol = "ESMTP", .smtputf8 = smtputf8};
        struct prepared out;
        struct reply_text refusal;
        if (prepare_message(&in, &arena, &out, &refusal) == PARSE_OK) {
            check(&out, smtputf8);
            content_unref(&out.content);
        } else {
            BUG_ON(refusal.code < 400 || refusal.text == NULL);
        }
    }
    arena_fini(&arena);
    blob_unref(&blob);
    BUG_ON(blob_total_bytes() != 0);
    return 0;
}
