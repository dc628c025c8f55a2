/*
 * One transaction. Happy path: MAIL, RCPT ... and DATA leave together when the
 * peer does pipelining (RFC 2920), else one by one; 354; the text with
 * back-pressure; the dot when the owner allows it; the final reply.
 *
 * Ways it ends: a refusal of MAIL, of all recipients or of DATA (RSET, and the
 * connection goes on), the final reply, or client_drop() by way of
 * client_mail_fail(). Every recipient has a result then.
 */
#include "relay/deliver/client_internal.h"

#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/failpoint.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/base/log.h"
#include "relay/sys/base/metrics.h"
#include "relay/wire/text.h"
#include "relay/wire/xtext.h"

/* ---- results ------------------------------------------------------------ */

static void
settle(struct client *c, struct client_rcpt *rcpt, const struct finding *f)
{
    outcome_verdict(f, slice_str(c->mx), c->mail.op->arena, &rcpt->verdict);
    rcpt->result = RCPT_SETTLED;
}

/* One verdict for all that have none yet; their texts share the arena's copy. */
static void
settle_open(struct client *c, const struct finding *f)
{
    struct client_send_op *op = c->mail.op;
    struct verdict v;
    outcome_verdict(f, slice_str(c->mx), op->arena, &v);
    for (unsigned i = 0; i < op->count; i++)
        if (op->rcpts[i].result == RCPT_OPEN) {
            op->rcpts[i].verdict = v;
            op->rcpts[i].result = RCPT_SETTLED;
        }
}

/* Those that were to come again now have only their own verdict when there is
 * no "now" any more. */
static void
settle_again(struct client_send_op *op)
{
    for (unsigned i = 0; i < op->count; i++)
        if (op->rcpts[i].result == RCPT_AGAIN)
            op->rcpts[i].result = RCPT_SETTLED;
}

static void
reopen_again(struct client_send_op *op)
{
    for (unsigned i = 0; i < op->count; i++)
        if (op->rcpts[i].result == RCPT_AGAIN)
            op->rcpts[i].result = RCPT_OPEN;
}

static void
hand_over(struct client *c)
{
    c->finished = c->mail.op;
    c->mail.op = NULL;
    client_schedule(c);
}

void
client_mail_fail(struct client *c, const struct finding *f)
{
    struct client_send_op *op = c->mail.op;
    op->failure = *f;
    if (outcome_rule(f->phase, f->seen)->scope == SCOPE_HOST) {
        /* The first thing that a used connection says is that it is closed:
         * it was closed while idle, and this message was never seen. */
        op->peer_was_gone =
            c->messages > 1 && f->phase == PHASE_MAIL &&
            (f->seen == SEEN_LOST ? c->mail.replies == 0
                                  : f->seen == SEEN_CLOSING && c->mail.replies == 1);
        reopen_again(op);
    } else {
        settle_open(c, f);
        settle_again(op);
    }
    hand_over(c);
}

/* The transaction is over and the connection is not. */
static void
end_mail(struct client *c, bool delivered)
{
    unsigned state = c->sm.state;
    if (!delivered)
        settle_again(c->mail.op);
    hand_over(c);
    if (state == CLIENT_RCPT || state == CLIENT_DATA) {
        client_command(c, "RSET");
        client_flush(c);
        client_move(c, CLIENT_RSET);
    } else {
        client_become_ready(c);
    }
}

void
client_judge_rset(struct client *c, const struct reply *r)
{
    if (!client_in_step(c))
        return;
    if (outcome_sort_reply(PHASE_MAIL, r) == SEEN_OK)
        client_become_ready(c);
    else
        client_drop_broken(c, "RSET was refused");
}

/* ---- may it go there at all? --------------------------------------------- */

static bool
has_control(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f)
            return true;
    return false;
}

/* Fills f when this peer cannot be given the message (RFC 6152, 6531, 1870). */
static bool
message_is_unfit(const struct client *c, struct finding *f)
{
    const struct client_send_op *op = c->mail.op;
    const struct envelope *e = op->envelope;
    size_t bytes = content_bytes(op->content);
    if (has_control(e->reverse_path)) {
        finding_from_us(f, PHASE_MAIL, SEEN_UNFIT, "the sender's address is not valid");
        f->enhanced = (struct enhanced){5, 1, 7};
    } else if ((e->smtputf8 || !text_is_ascii(e->reverse_path)) && !c->ehlo.smtputf8) {
        finding_from_us(f, PHASE_MAIL, SEEN_UNFIT,
                        "the message needs SMTPUTF8, which the host does not offer");
        f->enhanced = (struct enhanced){5, 6, 7};
    } else if (e->eightbit && !c->ehlo.eightbitmime) {
        finding_from_us(f, PHASE_MAIL, SEEN_UNFIT,
                        "the message needs 8BITMIME, which the host does not offer");
        f->enhanced = (struct enhanced){5, 6, 3};
    } else if (c->ehlo.size_max_bytes > 0 && bytes > c->ehlo.size_max_bytes) {
        finding_from_us(f, PHASE_MAIL, SEEN_UNFIT,
                        "the message has %zu bytes, the host takes %llu at most", bytes,
                        (unsigned long long)c->ehlo.size_max_bytes);
        f->enhanced = (struct enhanced){5, 3, 4};
    } else {
        return false;
    }
    return true;
}

static void
settle_unfit_recipients(struct client *c)
{
    struct client_send_op *op = c->mail.op;
    struct finding f;
    for (unsigned i = 0; i < op->count; i++) {
        if (has_control(op->rcpts[i].address)) {
            finding_from_us(&f, PHASE_RCPT, SEEN_UNFIT, "the address is not valid");
            f.enhanced = (struct enhanced){5, 1, 3};
        } else if (!text_is_ascii(op->rcpts[i].address) && !c->ehlo.smtputf8) {
            finding_from_us(&f, PHASE_RCPT, SEEN_UNFIT,
                            "the address needs SMTPUTF8, which the host does not offer");
            f.enhanced = (struct enhanced){5, 6, 7};
        } else {
            continue;
        }
        settle(c, &op->rcpts[i], &f);
    }
}

/* ---- commands ----------------------------------------------------------- */

static void
add_mail_command(struct client *c)
{
    const struct envelope *e = c->mail.op->envelope;
    struct buf line;
    buf_init(&line, CLIENT_COMMAND_MAX);
    buf_addf(&line, "MAIL FROM:<%.*s>", SLICE_FMT(e->reverse_path));
    if (c->ehlo.size)
        buf_addf(&line, " SIZE=%zu", content_bytes(c->mail.op->content));
    if (e->eightbit)
        buf_add_str(&line, " BODY=8BITMIME");
    if (e->smtputf8 || !text_is_ascii(e->reverse_path))
        buf_add_str(&line, " SMTPUTF8");
    if (c->ehlo.dsn && e->ret != RET_UNSET)
        buf_add_str(&line, e->ret == RET_FULL ? " RET=FULL" : " RET=HDRS");
    if (c->ehlo.dsn && e->envid.n > 0) {
        buf_add_str(&line, " ENVID=");
        xtext_encode(e->envid, &line);
    }
    BUG_ON(line.overflowed);
    client_command(c, "%.*s", SLICE_FMT(buf_slice(&line)));
    buf_fini(&line);
}

static void
add_notify(struct buf *line, unsigned notify)
{
    static const struct {
        unsigned bit;
        const char *name;
    } names[] = {{NOTIFY_NEVER, "NEVER"},
                 {NOTIFY_SUCCESS, "SUCCESS"},
                 {NOTIFY_FAILURE, "FAILURE"},
                 {NOTIFY_DELAY, "DELAY"}};
    const char *before = " NOTIFY=";
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (notify & names[i].bit) {
            buf_addf(line, "%s%s", before, names[i].name);
            before = ",";
        }
}

static void
add_orcpt(struct buf *line, struct slice orcpt)
{
    struct slice address = orcpt;
    struct orcpt o = {.type = slice_cut_at(&address, ';')};
    o.address = address;
    size_t before = line->len;
    buf_add_str(line, " ORCPT=");
    if (!orcpt_encode(&o, line))
        buf_truncate(line, before);
}

static void
add_rcpt_command(struct client *c, const struct client_rcpt *rcpt)
{
    struct buf line;
    buf_init(&line, CLIENT_COMMAND_MAX);
    buf_addf(&line, "RCPT TO:<%.*s>", SLICE_FMT(rcpt->address));
    if (c->ehlo.dsn && (rcpt->options.notify & NOTIFY_GIVEN))
        add_notify(&line, rcpt->options.notify);
    if (c->ehlo.dsn && rcpt->options.orcpt.n > 0)
        add_orcpt(&line, rcpt->options.orcpt);
    BUG_ON(line.overflowed);
    client_command(c, "%.*s", SLICE_FMT(buf_slice(&line)));
    buf_fini(&line);
}

/* The next recipient that is not settled yet, from `at` on; count: none. */
static unsigned
next_open(const struct client_send_op *op, unsigned at)
{
    while (at < op->count && op->rcpts[at].result != RCPT_OPEN)
        at++;
    return at;
}

/* ---- MAIL --------------------------------------------------------------- */

static void
enter_mail(struct client *c)
{
    struct client_send_op *op = c->mail.op;
    add_mail_command(c);
    c->mail.pipelined = c->ehlo.pipelining;
    if (c->mail.pipelined) {
        for (unsigned i = next_open(op, 0); i < op->count; i = next_open(op, i + 1))
            add_rcpt_command(c, &op->rcpts[i]);
        client_command(c, "DATA");
    }
    client_flush(c);
    client_move(c, CLIENT_MAIL);
}

void
client_send_start(struct client_send_op *op, struct client *c)
{
    BUG_ON(c->sm.state != CLIENT_READY || c->mail.op != NULL || c->finished != NULL);
    BUG_ON(op->count == 0 || op->count > client_rcpt_max(c));
    op->peer_was_gone = op->dot_sent = op->relayed_without_dsn = false;
    for (unsigned i = 0; i < op->count; i++) {
        op->rcpts[i].result = RCPT_OPEN;
        op->rcpts[i].accepted = false;
    }
    c->mail = (struct client_mail){.op = op};
    c->ready_due = false;
    if (c->messages++ > 0)
        metrics_add(METRIC_MX_REUSES, 1);

    struct finding f;
    if (message_is_unfit(c, &f))
        settle_open(c, &f);
    else
        settle_unfit_recipients(c);
    c->mail.at = next_open(op, 0);
    if (c->mail.at == op->count) {
        hand_over(c);
        client_become_ready(c);
        return;
    }
    enter_mail(c);
}

/* What RCPT waits for next; without pipelining it is said now. */
static void
go_on_with_recipients(struct client *c)
{
    struct client_send_op *op = c->mail.op;
    if (c->mail.at < op->count) {
        if (!c->mail.pipelined) {
            add_rcpt_command(c, &op->rcpts[c->mail.at]);
            client_flush(c);
        }
        return;
    }
    FAILPOINT("deliver.after-rcpt");
    if (c->mail.pipelined) {
        client_move(c, CLIENT_DATA);
    } else if (c->mail.accepted > 0) {
        client_command(c, "DATA");
        client_flush(c);
        client_move(c, CLIENT_DATA);
    } else {
        end_mail(c, false);
    }
}

void
client_judge_mail(struct client *c, const struct reply *r)
{
    enum seen seen = outcome_sort_reply(PHASE_MAIL, r);
    if (!client_in_step(c))
        return;
    c->mail.mail_ok = seen == SEEN_OK;
    if (c->mail.mail_ok) {
        FAILPOINT("deliver.after-mail");
    } else {
        struct finding f;
        finding_from_reply(&f, PHASE_MAIL, seen, r);
        if (outcome_rule(PHASE_MAIL, seen)->scope != SCOPE_MESSAGE) {
            client_drop(c, &f);
            return;
        }
        if (!c->mail.pipelined) {
            settle_open(c, &f);
            end_mail(c, false);
            return;
        }
        /* The replies to RCPT and DATA still come; recipients are settled now,
         * so that a peer that closes first changes nothing. */
        settle_open(c, &f);
    }
    client_move(c, CLIENT_RCPT);
    go_on_with_recipients(c);
}

/* ---- RCPT --------------------------------------------------------------- */

static void
judge_recipient(struct client *c, struct client_rcpt *rcpt, enum seen seen, const struct reply *r)
{
    struct finding f;
    if (seen == SEEN_OK) {
        rcpt->accepted = true;
        c->mail.accepted++;
        return;
    }
    bool again = c->mail.accepted > 0 && outcome_is_too_many(r);
    finding_from_reply(&f, PHASE_RCPT, again ? SEEN_TOO_MANY : seen, r);
    settle(c, rcpt, &f);
    if (again)
        rcpt->result = RCPT_AGAIN;
}

/* With pipelining and a refused MAIL the recipients are settled, but each
 * reply must still be counted: `at` then walks over all that were sent. */
static void
next_recipient(struct client *c)
{
    struct client_send_op *op = c->mail.op;
    if (c->mail.mail_ok)
        c->mail.at = next_open(op, c->mail.at + 1);
    else
        c->mail.at = c->owed > 1 ? c->mail.at + 1 : op->count; /* one is left: DATA's */
}

void
client_judge_rcpt(struct client *c, const struct reply *r)
{
    struct client_send_op *op = c->mail.op;
    enum seen seen = outcome_sort_reply(PHASE_RCPT, r);
    if (!client_in_step(c))
        return;
    if (seen == SEEN_CLOSING || seen == SEEN_BROKEN) {
        struct finding f;
        finding_from_reply(&f, PHASE_RCPT, seen, r);
        client_drop(c, &f);
        return;
    }
    if (c->mail.mail_ok)
        judge_recipient(c, &op->rcpts[c->mail.at], seen, r);
    next_recipient(c);
    timer_start(&c->timer, clock_scaled_ms(sm_row(&c->sm)->timeout_ms));
    go_on_with_recipients(c);
}

/* ---- DATA --------------------------------------------------------------- */

static void
enter_body(struct client *c)
{
    struct client_mail *m = &c->mail;
    m->piece = 0;
    m->piece_count = content_pieces(m->op->content, m->pieces);
    m->text_bytes = content_bytes(m->op->content);
    m->sent_bytes = 0;
    dot_encoder_init(&m->dots);
    client_move(c, CLIENT_BODY);
    client_pump_text(c);
}

void
client_judge_data(struct client *c, const struct reply *r)
{
    enum seen seen = outcome_sort_reply(PHASE_DATA, r);
    struct finding f;
    if (!client_in_step(c))
        return;
    finding_from_reply(&f, PHASE_DATA, seen, r);
    if (c->mail.accepted == 0) {
        /* RFC 2920 3.1: a peer that says 354 to nobody. Everything is settled;
         * no dot without an intent, so the connection ends. */
        if (seen == SEEN_TEMP || seen == SEEN_PERM)
            end_mail(c, false);
        else
            client_drop_broken(c, "354 without a recipient");
    } else if (seen == SEEN_OK) {
        enter_body(c);
    } else if (outcome_rule(PHASE_DATA, seen)->scope == SCOPE_MESSAGE) {
        settle_open(c, &f);
        end_mail(c, false);
    } else {
        client_drop(c, &f);
    }
}

/* ---- the text ----------------------------------------------------------- */

static void
text_is_bad(struct client *c)
{
    struct finding f;
    LOG0(LOG_ERROR, "delivery.bad-text");
    finding_from_us(&f, PHASE_BODY, SEEN_UNFIT,
                    "the message has a line end that cannot be sent (RFC 5321 2.3.8)");
    client_drop(c, &f);
}

static void
count_sent(struct client *c, size_t n)
{
    bool was_half = c->mail.sent_bytes * 2 >= c->mail.text_bytes;
    c->mail.sent_bytes += n;
    if (!was_half && c->mail.sent_bytes * 2 >= c->mail.text_bytes)
        FAILPOINT("deliver.half-data");
}

/* Encodes one piece of output. False: the text is bad, the client is dropped. */
static bool
pump_piece(struct client *c)
{
    struct client_mail *m = &c->mail;
    size_t room = CLIENT_BODY_PIECE;
    while (m->piece < m->piece_count && room > 0) {
        struct slice all = m->pieces[m->piece];
        struct slice part = slice_cut(&all, room);
        size_t offered = part.n;
        enum parse p = dot_encode(&m->dots, &part, &c->out);
        if (p == PARSE_BAD) {
            text_is_bad(c);
            return false;
        }
        size_t taken = offered - part.n;
        m->pieces[m->piece] = slice_skip(m->pieces[m->piece], taken);
        room -= taken;
        count_sent(c, taken);
        if (m->pieces[m->piece].n == 0)
            m->piece++;
        if (p == PARSE_MORE)
            break;
    }
    client_flush(c);
    return true;
}

void
client_pump_text(struct client *c)
{
    while (c->mail.piece < c->mail.piece_count) {
        if (stream_unsent_bytes(c->stream) > stream_output_high_water())
            return; /* on_drain goes on */
        if (!pump_piece(c))
            return;
    }
    client_move(c, CLIENT_DOT);
    client_try_dot(c);
}

void
client_judge_early(struct client *c)
{
    struct slice in = stream_input(c->stream);
    struct reply r;
    buf_clear(&c->text);
    enum seen seen = SEEN_BROKEN;
    if (reply_cut(&in, &c->text, &r) == PARSE_OK)
        seen = outcome_sort_reply(client_phase(c), &r);
    if (seen == SEEN_BROKEN) {
        client_drop_broken(c, "a reply that was not asked for");
        return;
    }
    struct finding f;
    finding_from_reply(&f, client_phase(c), seen, &r);
    client_drop(c, &f);
}

/* ---- the dot ------------------------------------------------------------ */

void
client_try_dot(struct client *c)
{
    if (c->sm.state != CLIENT_DOT)
        return;
    if (!c->mail.op->may_send_dot(c->mail.op)) {
        timer_start(&c->ask, CLIENT_DOT_ASK_MS);
        return;
    }
    FAILPOINT("deliver.before-dot");
    if (dot_encode_end(&c->mail.dots, &c->out) != PARSE_OK) {
        buf_clear(&c->out);
        text_is_bad(c);
        return;
    }
    client_flush(c);
    c->mail.op->dot_sent = true;
    c->owed = 1;
    client_move(c, CLIENT_FINAL);
#ifdef STAGEPOST_TEST_BUILD
    timer_start(&c->ask, 0); /* "deliver.dot-sent" is where the dot has left us */
#endif
}

void
client_permit_dot(struct client *c)
{
    client_try_dot(c);
}

/* A second reply makes the first one worthless: which of them answers the dot?
 * Only a 421 may follow, from a host that closes. */
static bool
is_alone(const struct client *c)
{
    struct slice rest = stream_input(c->stream);
    return rest.n == 0 || slice_starts(rest, SLICE("421"));
}

void
client_judge_final(struct client *c, const struct reply *r)
{
    enum seen seen = outcome_sort_reply(PHASE_FINAL, r);
    if (timer_active(&c->ask))
        FAILPOINT("deliver.dot-sent");
    FAILPOINT("deliver.reply-read");
    if (!is_alone(c)) {
        client_drop_broken(c, "a reply that was not asked for");
        return;
    }
    struct finding f;
    finding_from_reply(&f, PHASE_FINAL, seen, r);
    if (seen == SEEN_BROKEN || seen == SEEN_CLOSING) {
        client_drop(c, &f);
        return;
    }
    c->mail.op->relayed_without_dsn = seen == SEEN_OK && !c->ehlo.dsn;
    settle_open(c, &f);
    end_mail(c, seen == SEEN_OK);
}
