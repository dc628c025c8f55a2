/* RCPT TO: RFC 5321 4.1.1.3, with NOTIFY and ORCPT. */
#include <string.h>

#include "relay/accept/policy/allowance.h"
#include "relay/accept/policy/recipient.h"
#include "relay/accept/smtp/session.h"
#include "relay/sys/base/bug.h"

enum { RECIPIENTS_FIRST = 8 };

static bool
is_known(const struct smtp_transaction *t, struct slice address)
{
    for (unsigned i = 0; i < t->recipient_count; i++)
        if (slice_eq(t->recipients[i].address, address))
            return true;
    return false;
}

static struct submit_recipient *
grow(struct smtp_transaction *t)
{
    if (t->recipient_count < t->recipient_cap)
        return &t->recipients[t->recipient_count];
    unsigned cap = t->recipient_cap > 0 ? 2 * t->recipient_cap : RECIPIENTS_FIRST;
    struct submit_recipient *v = arena_alloc(&t->arena, cap * sizeof *v);
    if (v == NULL)
        return NULL;
    if (t->recipient_count > 0)
        memcpy(v, t->recipients, t->recipient_count * sizeof *v);
    t->recipients = v;
    t->recipient_cap = cap;
    return &v[t->recipient_count];
}

static bool
keep_orcpt(struct smtp_transaction *t, const struct orcpt *orcpt, struct slice *out)
{
    struct buf b;
    *out = SLICE_NONE;
    if (orcpt->type.n == 0)
        return true;
    buf_init(&b, (size_t)2 * ORCPT_MAX);
    bool ok = buf_addf(&b, "%.*s;%.*s", SLICE_FMT(orcpt->type), SLICE_FMT(orcpt->address)) &&
              arena_copy(&t->arena, buf_slice(&b), out);
    buf_fini(&b);
    return ok;
}

static bool
keep(struct smtp_transaction *t, const struct rcpt_args *args, struct slice address,
     size_t domain_bytes)
{
    struct submit_recipient *r = grow(t);
    if (r == NULL)
        return false;
    *r = (struct submit_recipient){.options.notify = args->notify};
    if (!arena_copy(&t->arena, address, &r->address) ||
        !keep_orcpt(t, &args->orcpt, &r->options.orcpt))
        return false;
    r->domain = slice_skip(r->address, r->address.n - domain_bytes);
    t->recipient_count++;
    return true;
}

static void
refuse(struct smtp_session *s, const char *enhanced, const char *text)
{
    s->transaction.recipient_refused = true;
    session_refuse(s, 550, enhanced, text);
}

/* A recipient given twice gets one copy. */
static void
take(struct smtp_session *s, const struct rcpt_args *args)
{
    struct smtp_transaction *t = &s->transaction;
    struct buf b;
    buf_init(&b, ADDRESS_CANONICAL_MAX);
    bool ok = domain_add_canonical(args->path.mailbox.domain, &b);
    size_t domain_bytes = b.len;
    buf_clear(&b);
    ok = ok && address_format_canonical(&args->path.mailbox, &b);
    struct slice domain = slice_skip(buf_slice(&b), buf_slice(&b).n - domain_bytes);
    if (!ok)
        refuse(s, "5.1.3", "The address is not valid");
    else if (!policy_recipient_is_allowed(s->credential, buf_slice(&b), domain))
        refuse(s, "5.7.1", "This credential may not send to that address");
    else if (is_known(t, buf_slice(&b)))
        session_say(s, 250, "2.1.5", "Ok");
    else if (t->recipient_count >= policy_allowance_recipients_max(s->credential))
        session_say(s, 452, "4.5.3", "Too many recipients for this credential at once");
    else if (keep(t, args, buf_slice(&b), domain_bytes))
        session_say(s, 250, "2.1.5", "Ok");
    else
        session_say(s, 452, "4.5.3", "Too many recipients");
    buf_fini(&b);
}

void
verb_rcpt(struct smtp_session *s, struct slice arg)
{
    struct smtp_transaction *t = &s->transaction;
    struct rcpt_args args;
    struct reply_text refusal;
    if (!t->open) {
        session_refuse(s, 503, "5.5.1", "Send MAIL first");
    } else if (s->chunk.begun) {
        session_refuse(s, 503, "5.5.1", "The message has begun");
    } else if (t->recipient_count >= SMTP_RECIPIENTS_MAX) {
        session_say(s, 452, "4.5.3", "Too many recipients");
    } else if (!message_memory_holds(s->server, 0)) {
        session_say(s, 452, "4.3.1", "No room for more recipients now");
    } else if (command_parse_rcpt(arg, t->envelope.smtputf8, &t->arena, &args, &refusal) !=
               PARSE_OK) {
        t->recipient_refused = true;
        session_refuse_with(s, &refusal);
    } else if (args.path.kind != PATH_MAILBOX) {
        refuse(s, "5.1.1", "There are no mailboxes here; the address needs a domain");
    } else if (args.path.mailbox.literal) {
        refuse(s, "5.1.2", "Mail to address literals is not accepted");
    } else {
        take(s, &args);
    }
    message_count_memory(s);
}
