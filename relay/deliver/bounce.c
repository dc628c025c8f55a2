/*
 * Happy path: the notice's targets become a report (relay/wire/dsn.h), the
 * report becomes a message in the same partition as its original, a signer
 * signs it, and the queue commits it together with the end of the debt.
 *
 * Ways it ends: so; without a signature, when no signer can be had in
 * BOUNCE_SIGN_TRIES tries or none has a key (a late report is worse than one
 * without signature); with the debt dropped, when the original may not be
 * answered (no reverse-path, our own report, an unreadable envelope) or a delay
 * that was to be told is over.
 */
#include "relay/deliver/bounce.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "dkim/signer_client.h"
#include "relay/deliver/result.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/failpoint.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/base/log.h"
#include "relay/wire/date.h"
#include "relay/wire/dsn.h"
#include "relay/wire/envelope.h"
#include "relay/wire/header.h"
#include "relay/wire/text.h"

struct bounce {
    struct bounce_env *env;
    struct queue_notice *notice;
    struct arena arena;
    struct envelope original; /* of the message that failed */
    struct slice domain;      /* of the report's From */
    struct dsn_recipient *recipients;
    size_t recipient_count;
    /* The report as a message of its own. */
    struct queue_message message;
    struct queue_delivery delivery;
    struct queue_target target;
    struct buf envelope_record;
    struct content content;
    /* Under way. */
    struct sign_op sign;
    unsigned sign_tries;
    struct timer pause;
    struct queue_notice_op commit;
};

/* ---- the end ------------------------------------------------------------ */

static void
gone(struct bounce *b)
{
    timer_cancel(&b->pause);
    content_unref(&b->content);
    buf_fini(&b->envelope_record);
    arena_fini(&b->arena);
    b->env->live--;
    free(b);
}

static void
on_committed(struct queue_notice_op *op)
{
    struct bounce *b = container_of(op, struct bounce, commit);
    if (op->message != NULL && !op->gone) /* the queue counts it */
        LOG(LOG_NOTICE, "ndr.enqueued", LF_ID("msg", b->message.id), LF_S("to", b->target.address));
    gone(b);
}

static void
commit(struct bounce *b, const struct queue_message *m)
{
    FAILPOINT("bounce.before-commit");
    b->commit = (struct queue_notice_op){.done = on_committed, .message = m, .content = b->content};
    queue_notice_commit_start(&b->commit, b->env->queue, b->notice);
    b->notice = NULL;
}

static void
drop_debt(struct bounce *b, const char *why)
{
    LOG(LOG_NOTICE, "ndr.dropped", LF_ID("msg", queue_notice_message(b->notice)->id),
        LF_STR("why", why));
    commit(b, NULL);
}

/* ---- signing ------------------------------------------------------------- */

static void
sign(struct bounce *b)
{
    b->sign_tries++;
    b->sign.message = &b->content;
    b->sign.domain = b->domain;
    sign_start(&b->sign, b->env->signers);
}

static void
on_pause(struct timer *t)
{
    sign(container_of(t, struct bounce, pause));
}

static void
on_signed(struct sign_op *op)
{
    struct bounce *b = container_of(op, struct bounce, sign);
    if (op->status == SIGN_AWAY && b->sign_tries < BOUNCE_SIGN_TRIES && !b->env->draining) {
        buf_fini(&op->fields);
        timer_start(&b->pause, clock_scaled_ms(BOUNCE_SIGN_PAUSE_MS));
        return;
    }
    if (op->status == SIGN_OK)
        b->content.head = blob_take_buf(&op->fields);
    else
        LOG(LOG_WARN, "ndr.not-signed", LF_ID("msg", b->message.id), LF_S("domain", b->domain),
            LF_ERR(&op->err));
    buf_fini(&op->fields);
    b->message.size_bytes = content_bytes(&b->content);
    commit(b, &b->message);
}

/* ---- the report ----------------------------------------------------------- */

static struct slice
domain_of(struct slice address)
{
    for (size_t i = address.n; i > 0; i--)
        if (address.p[i - 1] == '@')
            return slice_skip(address, i);
    return SLICE_NONE;
}

static enum dsn_action
action_of(const struct queue_target *t)
{
    if (!queue_state_is_terminal(t->state))
        return DSN_DELAYED;
    return t->state == QUEUE_DELIVERED ? DSN_RELAYED : DSN_FAILED;
}

static void
describe_orcpt(const struct queue_target *t, struct dsn_recipient *r)
{
    struct rcpt_options o;
    struct slice type, address;
    if (t->options.n == 0 || !rcpt_options_decode(t->options, &o) || o.orcpt.n == 0)
        return;
    address = o.orcpt;
    type = slice_cut_at(&address, ';');
    r->orcpt = (struct orcpt){.type = type, .address = address};
}

static void
describe_verdict(const struct queue_target *t, struct dsn_recipient *r)
{
    struct verdict v;
    if (t->reply.n == 0 || !verdict_decode(t->reply, &v)) {
        r->text = SLICE("no attempt was made");
        return;
    }
    r->status = r->reply_status = (struct enhanced){v.enhanced[0], v.enhanced[1], v.enhanced[2]};
    r->remote_mta = v.mx;
    r->reply_code = v.mx.n > 0 ? v.code : 0; /* our own code is not the remote's diagnostic */
    r->text = v.text;
    r->last_attempt_unix_ms = v.at_unix_ms;
}

static void
describe(const struct queue_delivery *d, const struct queue_target *t, struct dsn_recipient *r)
{
    *r = (struct dsn_recipient){.address = t->address, .action = action_of(t)};
    if (r->action == DSN_DELAYED)
        r->retry_until_unix_ms = d->expires_unix_ms;
    describe_orcpt(t, r);
    describe_verdict(t, r);
    if (t->state == QUEUE_EXPIRED)
        r->status = (struct enhanced){5, 4, 7}; /* delivery time expired (RFC 3463 3.5) */
    else if (r->action == DSN_FAILED && r->status.class_ == 4)
        r->status = (struct enhanced){5, 0, 0}; /* "failed" is permanent (RFC 3464 2.3.4) */
}

/* A delay that is over by now is not told of, nor one of what a person holds. */
static bool
describe_all(struct bounce *b)
{
    const struct queue_notice_target *targets;
    const struct queue_message *m = queue_notice_message(b->notice);
    unsigned n = queue_notice_targets(b->notice, &targets);
    b->recipients = arena_alloc(&b->arena, n * sizeof *b->recipients);
    if (b->recipients == NULL)
        return false;
    for (unsigned i = 0; i < n; i++) {
        BUG_ON(targets[i].delivery >= m->delivery_count);
        const struct queue_delivery *d = &m->deliveries[targets[i].delivery];
        BUG_ON(targets[i].target >= d->target_count);
        const struct queue_target *t = &d->targets[targets[i].target];
        if (!targets[i].waiting || result_is_open(t))
            describe(d, t, &b->recipients[b->recipient_count++]);
    }
    return true;
}

/* RFC 3461 4.3: RET speaks of reports of failure; others return the header. */
static bool
returns_all(const struct bounce *b, const struct dsn_report *r)
{
    bool any = false;
    for (size_t i = 0; i < r->recipient_count; i++)
        any = any || r->recipients[i].action == DSN_FAILED;
    return any && b->original.ret == RET_FULL;
}

static bool copyf(struct bounce *b, struct slice *out, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static bool
copyf(struct bounce *b, struct slice *out, const char *fmt, ...)
{
    struct buf text;
    va_list args;
    buf_init(&text, CLIENT_COMMAND_MAX);
    va_start(args, fmt);
    bool ok = buf_vaddf(&text, fmt, args) && arena_copy(&b->arena, buf_slice(&text), out);
    va_end(args);
    buf_fini(&text);
    return ok;
}

static bool
write_report(struct bounce *b, struct slice from, struct slice message_id, struct buf *out)
{
    const struct queue_message *m = queue_notice_message(b->notice);
    char id[ID_TEXT_BYTES + 1];
    struct slice pieces[2];
    id_format(m->id, id);
    struct dsn_report r = {
        .reporting_mta = slice_str(b->env->config->hostname),
        .from = from,
        .to = b->original.reverse_path,
        .message_id = message_id,
        .gateway_id = slice_str(id),
        .envid = b->original.envid,
        .date_unix_ms = b->message.created_unix_ms,
        .arrival_unix_ms = m->created_unix_ms,
        .recipients = b->recipients,
        .recipient_count = b->recipient_count,
        .original = pieces,
        .original_pieces = (size_t)content_pieces(queue_notice_content(b->notice), pieces),
    };
    r.full = returns_all(b, &r);
    r.utf8 = !text_is_ascii(b->original.reverse_path);
    return dsn_build(&r, out);
}

/* As the report's header says it; it is on one line. */
static struct slice
subject_of(const struct bounce *b)
{
    size_t body_at;
    struct header_field f;
    struct slice section = header_section(blob_slice(b->content.rest), &body_at);
    return header_find(section, SLICE("Subject"), &f) ? slice_trim(f.value) : SLICE_NONE;
}

/* The report's place in the queue: one recipient, the original sender. */
static bool
fill_message(struct bounce *b, struct slice from, struct slice message_id)
{
    const struct queue_message *original = queue_notice_message(b->notice);
    bool utf8 = !text_is_ascii(b->original.reverse_path);
    struct envelope e = {.is_ndr = true,
                         .smtputf8 = utf8,
                         .eightbit = utf8,
                         .header_from = from,
                         .subject = subject_of(b),
                         .message_id = message_id,
                         .credential = b->original.credential};
    /* The notice, and all that points into it, is gone before on_committed(). */
    b->target = (struct queue_target){0};
    if (!arena_copy(&b->arena, b->original.reverse_path, &b->target.address))
        return false;
    b->delivery = (struct queue_delivery){
        .next_hop = domain_of(b->original.reverse_path),
        .due_unix_ms = b->message.created_unix_ms,
        .expires_unix_ms = b->message.created_unix_ms + (int64_t)b->env->config->retry.expire_ms,
        .targets = &b->target,
        .target_count = 1};
    b->message.tenant = original->tenant;
    b->message.klass = original->klass;
    b->message.deliveries = &b->delivery;
    b->message.delivery_count = 1;
    if (!envelope_encode(&e, &b->envelope_record))
        return false;
    b->message.envelope = buf_slice(&b->envelope_record);
    return true;
}

static size_t
report_bytes_max(const struct bounce *b)
{
    /* A body in quoted-printable may be three times as long. */
    return BOUNCE_OVERHEAD_MAX + 3 * content_bytes(queue_notice_content(b->notice));
}

/* As on every message of ours, so that a receiver's complaint names it (RFC
 * 5321 4.4; there is no client to speak of). */
static void
add_received(const struct bounce *b, struct slice id, struct buf *out)
{
    char date[DATE_TEXT_BYTES + 1];
    date_format(b->message.created_unix_ms, date);
    buf_addf(out, "Received: by %s id %.*s;\r\n\t%s\r\n", b->env->config->hostname, SLICE_FMT(id),
             date);
}

static bool
build(struct bounce *b)
{
    struct slice ndr_domain = slice_str(b->env->config->ndr_from_domain);
    struct slice from, message_id;
    struct buf text;
    char id[ID_TEXT_BYTES + 1];
    struct slice domain = ndr_domain.n > 0 ? ndr_domain : domain_of(b->original.reverse_path);
    b->message.id = id_new(id_partition(queue_notice_message(b->notice)->id));
    b->message.created_unix_ms = clock_sched_unix_ms();
    id_format(b->message.id, id);
    /* A reload may free the configuration's text while a signer is waited for. */
    if (!arena_copy(&b->arena, domain, &b->domain) ||
        !copyf(b, &from, "mailer-daemon@%.*s", SLICE_FMT(b->domain)) ||
        !copyf(b, &message_id, "%s@%.*s", id, SLICE_FMT(b->domain)))
        return false;
    buf_init(&text, report_bytes_max(b));
    add_received(b, slice_str(id), &text);
    bool ok = write_report(b, from, message_id, &text);
    if (ok)
        b->content.rest = blob_take_buf(&text);
    buf_fini(&text);
    return ok && fill_message(b, from, message_id);
}

void
bounce_start(struct bounce_env *env, struct queue_notice *n)
{
    struct bounce *b = calloc(1, sizeof *b);
    BUG_ON(b == NULL);
    b->env = env;
    b->notice = n;
    env->live++;
    arena_init(&b->arena, BOUNCE_ARENA_MAX);
    buf_init(&b->envelope_record, ENVELOPE_RECORD_MAX);
    timer_init(&b->pause, env->loop, on_pause);
    b->sign.done = on_signed;
    /* The notice goes with the commit; the address is named in the log after it. */
    if (!envelope_decode(queue_notice_message(n)->envelope, &b->original) ||
        !arena_copy(&b->arena, b->original.reverse_path, &b->original.reverse_path))
        drop_debt(b, "the envelope cannot be read");
    else if (b->original.is_ndr || domain_of(b->original.reverse_path).n == 0)
        drop_debt(b, "the message has no sender to answer (RFC 5321 6.1)");
    else if (!describe_all(b))
        drop_debt(b, "there is too much to report");
    else if (b->recipient_count == 0)
        drop_debt(b, "the delay is over");
    else if (!build(b))
        drop_debt(b, "the report cannot be built");
    else
        sign(b);
}
