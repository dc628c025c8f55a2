/* The door with a queue and a signer that the test plays. */
#include "relay/accept/submit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dkim/signer_client.h"
#include "queue/allowance.h"
#include "queue/queue.h"
#include "relay/accept/credential.h"
#include "relay/accept/policy/preflight.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/base/log.h"
#include "relay/sys/base/metrics.h"

enum { OPS_MAX = 3, RECIPIENTS = 4 };

static const char *own[] = {"example.org"};
static const struct config_credential DEV = {
    .user = "dev", .tenant = "ten", .klass = CONFIG_BULK, .senders = own, .sender_count = 1};
static const char *testers[] = {"test.example"};
static const struct config_credential STAGING = {.user = "staging",
                                                 .tenant = "ten",
                                                 .senders = own,
                                                 .sender_count = 1,
                                                 .recipients = testers,
                                                 .recipient_count = 1};
static const struct config_credential LIMITED = {.user = "limited",
                                                 .tenant = "ten",
                                                 .senders = own,
                                                 .sender_count = 1,
                                                 .rate = {4, 60000},
                                                 .daily = 10,
                                                 .new_recipients = 1};
static const struct config_credential OTHER = {
    .user = "other", .tenant = "ten", .senders = own, .sender_count = 1};

/* What the fakes answer, and what they saw. */
static struct {
    struct loop *loop;
    enum queue_status status;
    enum queue_commit_result commit_result;
    enum sign_status sign_status;
    enum err_code listed_err;
    const char *suppressed; /* this address is */
    enum queue_allow_result allow_result;
    bool hold_commit, hold_sign, hold_listed, hold_allow;
    unsigned allows, allow_cancels, kept, given_back;
    struct queue_allow_op *allow;
    struct deferred allow_soon;
    unsigned commits, signs, lists, commit_cancels, sign_cancels, list_cancels;
    struct queue_commit_op *commit;
    struct sign_op *sign;
    struct queue_suppressed_op *listed;
    struct deferred commit_soon, sign_soon, listed_soon;
    /* copies of what was committed */
    struct envelope envelope;
    char envelope_bytes[2000], content[4000], sign_domain[100], sign_content[4000];
    struct {
        char next_hop[100];
        unsigned targets;
        char addresses[RECIPIENTS][100];
        enum queue_state states[RECIPIENTS];
        unsigned notify[RECIPIENTS];
        int64_t due_unix_ms, expires_unix_ms;
    } deliveries[RECIPIENTS];
    unsigned delivery_count;
    struct msg_id id;
    int64_t created_unix_ms;
    uint64_t size_bytes;
    enum queue_class klass;
    char key[300], key_credential[100];
    uint8_t digest[32];
} fake;

enum queue_status
queue_status(const struct queue *q)
{
    (void)q;
    return fake.status;
}

unsigned
queue_pick_partition(struct queue *q)
{
    (void)q;
    return 17;
}

unsigned
queue_partition_for_key(struct slice credential, struct slice key)
{
    return (unsigned)(credential.n * 16 + key.n) & 255;
}

static void
text_of(const struct content *c, char *out, size_t cap)
{
    struct slice pieces[2];
    int n = content_pieces(c, pieces);
    out[0] = '\0';
    for (int i = 0; i < n; i++) {
        size_t at = strlen(out);
        snprintf(out + at, cap - at, "%.*s", SLICE_FMT(pieces[i]));
    }
}

static void
copy_delivery(const struct queue_delivery *d)
{
    unsigned n = fake.delivery_count++;
    snprintf(fake.deliveries[n].next_hop, 100, "%.*s", SLICE_FMT(d->next_hop));
    fake.deliveries[n].targets = d->target_count;
    fake.deliveries[n].due_unix_ms = d->due_unix_ms;
    fake.deliveries[n].expires_unix_ms = d->expires_unix_ms;
    for (unsigned i = 0; i < d->target_count; i++) {
        struct rcpt_options o;
        assert_true(rcpt_options_decode(d->targets[i].options, &o));
        snprintf(fake.deliveries[n].addresses[i], 100, "%.*s", SLICE_FMT(d->targets[i].address));
        fake.deliveries[n].states[i] = d->targets[i].state;
        fake.deliveries[n].notify[i] = o.notify;
        assert_int_equal(d->targets[i].reply.n, 0);
    }
}

static void
on_commit_soon(struct deferred *d)
{
    (void)d;
    struct queue_commit_op *op = fake.commit;
    fake.commit = NULL;
    op->result = fake.commit_result;
    if (op->result == QUEUE_REPLAYED)
        assert_true(id_parse(SLICE("01890a5d-ac96-774b-bcce-b302099a8057"), &op->replayed_id));
    op->done(op);
}

void
queue_commit_start(struct queue_commit_op *op, struct queue *q)
{
    (void)q;
    const struct queue_message *m = op->message;
    assert_null(fake.commit);
    fake.commits++;
    fake.commit = op;
    fake.id = m->id;
    fake.created_unix_ms = m->created_unix_ms;
    fake.size_bytes = m->size_bytes;
    fake.klass = m->klass;
    assert_true(slice_eq(m->tenant, SLICE("ten")));
    assert_true(m->envelope.n < sizeof fake.envelope_bytes);
    memcpy(fake.envelope_bytes, m->envelope.p, m->envelope.n);
    assert_true(envelope_decode(slice_from(fake.envelope_bytes, m->envelope.n), &fake.envelope));
    text_of(&op->content, fake.content, sizeof fake.content);
    snprintf(fake.key, sizeof fake.key, "%.*s", SLICE_FMT(op->idempotency_key));
    snprintf(fake.key_credential, sizeof fake.key_credential, "%.*s",
             SLICE_FMT(op->idempotency_credential));
    memcpy(fake.digest, op->request_digest, sizeof fake.digest);
    fake.delivery_count = 0;
    for (unsigned i = 0; i < m->delivery_count; i++) {
        assert_int_equal(m->deliveries[i].index, i);
        copy_delivery(&m->deliveries[i]);
    }
    deferred_init(&fake.commit_soon, fake.loop, on_commit_soon);
    if (!fake.hold_commit)
        deferred_schedule(&fake.commit_soon);
}

void
queue_commit_cancel(struct queue_commit_op *op)
{
    assert_ptr_equal(op, fake.commit);
    fake.commit_cancels++;
    fake.commit_result = QUEUE_OUTCOME_UNKNOWN;
    deferred_schedule(&fake.commit_soon);
}

static void
on_allow_soon(struct deferred *d)
{
    (void)d;
    struct queue_allow_op *op = fake.allow;
    fake.allow = NULL;
    op->result = fake.allow_result;
    op->wait_ms = 12345;
    op->rate_left = 3;
    op->rate_full_ms = 1001;
    op->done(op);
}

void
queue_allow_start(struct queue_allow_op *op, struct queue *q)
{
    (void)q;
    fake.allows++;
    fake.allow = op;
    assert_true(slice_eq(op->submitter, SLICE("limited")));
    assert_int_equal(op->count, RECIPIENTS);
    assert_true(slice_eq(op->recipients[1], SLICE("b@d.example")));
    deferred_init(&fake.allow_soon, fake.loop, on_allow_soon);
    if (!fake.hold_allow)
        deferred_schedule(&fake.allow_soon);
}

void
queue_allow_cancel(struct queue_allow_op *op)
{
    assert_ptr_equal(op, fake.allow);
    fake.allow_cancels++;
    fake.allow_result = QUEUE_ALLOW_AWAY;
    deferred_schedule(&fake.allow_soon);
}

void
queue_allow_settle(struct queue_allow_op *op, bool keep)
{
    assert_int_equal(op->result, QUEUE_ALLOWED);
    *(keep ? &fake.kept : &fake.given_back) += 1;
}

static void
on_listed_soon(struct deferred *d)
{
    (void)d;
    struct queue_suppressed_op *op = fake.listed;
    fake.listed = NULL;
    op->err.code = fake.listed_err;
    for (unsigned i = 0; i < op->count; i++)
        op->suppressed[i] =
            fake.suppressed != NULL && slice_eq(op->addresses[i], slice_str(fake.suppressed));
    op->done(op);
}

void
queue_suppressed_start(struct queue_suppressed_op *op, struct queue *q)
{
    (void)q;
    fake.lists++;
    fake.listed = op;
    deferred_init(&fake.listed_soon, fake.loop, on_listed_soon);
    if (!fake.hold_listed)
        deferred_schedule(&fake.listed_soon);
}

void
queue_suppressed_cancel(struct queue_suppressed_op *op)
{
    assert_ptr_equal(op, fake.listed);
    fake.list_cancels++;
    fake.listed_err = ERR_CANCELLED;
    deferred_schedule(&fake.listed_soon);
}

static void
on_sign_soon(struct deferred *d)
{
    (void)d;
    struct sign_op *op = fake.sign;
    fake.sign = NULL;
    op->status = fake.sign_status;
    if (op->status == SIGN_OK) {
        buf_init(&op->fields, 1000);
        buf_add_str(&op->fields, "DKIM-Signature: v=1\r\n");
    } else {
        err_set(&op->err, ERR_BAD, "the signer's text");
    }
    op->done(op);
}

void
sign_start(struct sign_op *op, struct signer_client *c)
{
    (void)c;
    fake.signs++;
    fake.sign = op;
    snprintf(fake.sign_domain, sizeof fake.sign_domain, "%.*s", SLICE_FMT(op->domain));
    text_of(op->message, fake.sign_content, sizeof fake.sign_content);
    deferred_init(&fake.sign_soon, fake.loop, on_sign_soon);
    if (!fake.hold_sign)
        deferred_schedule(&fake.sign_soon);
}

void
sign_cancel(struct sign_op *op)
{
    assert_ptr_equal(op, fake.sign);
    fake.sign_cancels++;
    fake.sign_status = SIGN_AWAY;
    deferred_schedule(&fake.sign_soon);
}

/* Credentials, of which one was frozen after its message had begun. */
static unsigned asked_before_frozen;

bool
credential_is_frozen(const struct credentials *cs, struct slice user)
{
    assert_non_null(cs);
    assert_true(slice_eq(user, SLICE("dev")));
    return asked_before_frozen == 0 || --asked_before_frozen == 0;
}

/* A preflight that says what the test wants. */
static struct {
    bool is_known, hold;
    struct believed_verdict verdict;
    bool late;
    unsigned asked, cancels;
    char reverse[100], from[100];
    struct preflight_op *op;
    struct deferred soon;
} preflight;

bool
preflight_known(struct preflight *p, struct slice reverse, struct slice from,
                struct believed_verdict *out)
{
    assert_non_null(p);
    snprintf(preflight.reverse, sizeof preflight.reverse, "%.*s", SLICE_FMT(reverse));
    snprintf(preflight.from, sizeof preflight.from, "%.*s", SLICE_FMT(from));
    if (preflight.is_known)
        *out = preflight.verdict;
    return preflight.is_known;
}

static void
on_preflight_soon(struct deferred *d)
{
    (void)d;
    struct preflight_op *op = preflight.op;
    preflight.op = NULL;
    op->late = preflight.late;
    op->verdict = preflight.verdict;
    op->done(op);
}

void
preflight_start(struct preflight_op *op, struct preflight *p, struct slice reverse,
                struct slice from)
{
    (void)p;
    (void)reverse;
    (void)from;
    preflight.asked++;
    preflight.op = op;
    deferred_init(&preflight.soon, fake.loop, on_preflight_soon);
    if (!preflight.hold)
        deferred_schedule(&preflight.soon);
}

void
preflight_cancel(struct preflight_op *op)
{
    assert_ptr_equal(op, preflight.op);
    preflight.cancels++;
    preflight.late = true;
    deferred_schedule(&preflight.soon);
}

/* ---- a door and submissions ------------------------------------------------------ */

struct fixture {
    struct config config;
    struct submit_door *door;
    struct submission {
        struct submit_op op;
        struct submit_recipient recipients[RECIPIENTS];
        struct blob *blob;
        unsigned done;
    } s[OPS_MAX];
};

static const char MESSAGE[] = "From: A <a@Example.org>\r\nSubject: hello\r\n\r\nbody\r\n";

static void
fixture_init(struct fixture *f)
{
    memset(f, 0, sizeof *f);
    memset(&fake, 0, sizeof fake);
    memset(&preflight, 0, sizeof preflight);
    log_init("test", 0, LOG_ERROR + 1);
    f->config = (struct config){
        .hostname = "gw.example", .message_bytes_max = 2000, .retry.expire_ms = 5000};
    fake.status = QUEUE_UP;
    fake.loop = loop_new();
    f->door = submit_door_new(fake.loop, &f->config, NULL, NULL);
}

static void
fixture_fini(struct fixture *f)
{
    for (unsigned i = 0; i < OPS_MAX; i++)
        blob_unref(&f->s[i].blob);
    assert_int_equal(submit_door_pending(f->door), 0);
    submit_door_free(f->door);
    loop_free(fake.loop);
    assert_int_equal(blob_total_bytes(), 0);
}

static void
on_done(struct submit_op *op)
{
    container_of(op, struct submission, op)->done++;
}

static struct submit_op *
fill(struct fixture *f, unsigned i, const char *message)
{
    struct submission *s = &f->s[i];
    blob_unref(&s->blob);
    *s = (struct submission){.blob = blob_new_copy(slice_str(message))};
    static const struct submit_recipient four[RECIPIENTS] = {
        {.address = SLICE("a@z.example"), .domain = SLICE("z.example")},
        {.address = SLICE("b@d.example"),
         .domain = SLICE("d.example"),
         .options.notify = NOTIFY_GIVEN | NOTIFY_NEVER},
        {.address = SLICE("c@z.example"), .domain = SLICE("z.example")},
        {.address = SLICE("d@d.example"), .domain = SLICE("d.example")},
    };
    memcpy(s->recipients, four, sizeof four);
    s->op = (struct submit_op){
        .done = on_done,
        .credential = &DEV,
        .envelope = {.reverse_path = SLICE("a@example.org"), .ret = RET_HDRS, .envid = SLICE("E1")},
        .reverse_domain = SLICE("example.org"),
        .recipients = s->recipients,
        .recipient_count = RECIPIENTS,
        .message = s->blob,
        .client_name = SLICE("pc"),
        .client_address = SLICE("192.0.2.1"),
        .protocol = "ESMTPSA",
    };
    return &s->op;
}

static enum submit_result
run(struct fixture *f, unsigned i)
{
    submit_start(&f->s[i].op, f->door);
    assert_int_equal(f->s[i].done, 0);
    loop_run(fake.loop);
    assert_int_equal(f->s[i].done, 1);
    assert_null(f->s[i].op.state);
    return f->s[i].op.result;
}

static enum submit_result
submit(struct fixture *f, const char *message)
{
    fill(f, 0, message);
    return run(f, 0);
}

/* ---- tests --------------------------------------------------------------------- */

static void
accepted_means_committed(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    uint64_t before = metrics_total(METRIC_ACCEPTED_SMTP);
    int64_t now = clock_sched_unix_ms();
    assert_int_equal(submit(&f, MESSAGE), SUBMIT_ACCEPTED);
    assert_int_equal(metrics_total(METRIC_ACCEPTED_SMTP), before + 1);
    assert_int_equal(fake.commits, 1);
    assert_true(id_eq(f.s[0].op.id, fake.id));
    assert_int_equal(id_partition(fake.id), 17);
    assert_int_equal(fake.klass, QUEUE_BULK);
    assert_true(fake.created_unix_ms >= now && fake.created_unix_ms < now + 60000);

    /* signed as it is stored, under the domain of From */
    assert_string_equal(fake.sign_domain, "example.org");
    char want[sizeof fake.sign_content + 100];
    snprintf(want, sizeof want, "DKIM-Signature: v=1\r\n%s", fake.sign_content);
    assert_string_equal(fake.content, want);
    assert_int_equal(fake.size_bytes, strlen(want));
    assert_non_null(strstr(fake.content, "Received: from pc ([192.0.2.1])\r\n\tby gw.example"));
    char id[ID_TEXT_BYTES + 1], received[100];
    id_format(fake.id, id);
    snprintf(received, sizeof received, " with ESMTPSA id %s;\r\n", id); /* no `for`: several */
    assert_non_null(strstr(fake.content, received));

    assert_true(slice_eq(fake.envelope.reverse_path, SLICE("a@example.org")));
    assert_true(slice_eq(fake.envelope.header_from, SLICE("a@example.org")));
    assert_true(slice_eq(fake.envelope.subject, SLICE("hello")));
    assert_true(slice_eq(fake.envelope.credential, SLICE("dev")));
    assert_true(slice_eq(fake.envelope.envid, SLICE("E1")));
    assert_true(slice_starts(fake.envelope.message_id, slice_str(id)));
    assert_int_equal(fake.envelope.ret, RET_HDRS);
    assert_false(fake.envelope.smtputf8 || fake.envelope.eightbit || fake.envelope.is_ndr);
    assert_string_equal(fake.key, "");
    fixture_fini(&f);
}

static void
recipients_are_grouped_by_domain(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    fake.suppressed = "c@z.example";
    uint64_t before = metrics_total(METRIC_SUPPRESSED);
    assert_int_equal(submit(&f, MESSAGE), SUBMIT_ACCEPTED);
    assert_int_equal(metrics_total(METRIC_SUPPRESSED), before + 1);
    assert_int_equal(fake.delivery_count, 2);
    assert_string_equal(fake.deliveries[0].next_hop, "d.example");
    assert_int_equal(fake.deliveries[0].targets, 2);
    assert_string_equal(fake.deliveries[0].addresses[0], "b@d.example");
    assert_int_equal(fake.deliveries[0].notify[0], NOTIFY_GIVEN | NOTIFY_NEVER);
    assert_string_equal(fake.deliveries[0].addresses[1], "d@d.example");
    assert_string_equal(fake.deliveries[1].next_hop, "z.example");
    assert_string_equal(fake.deliveries[1].addresses[0], "a@z.example");
    assert_int_equal(fake.deliveries[1].states[0], QUEUE_QUEUED);
    assert_int_equal(fake.deliveries[1].states[1], QUEUE_SUPPRESSED);
    assert_true(fake.deliveries[1].due_unix_ms == fake.created_unix_ms);
    assert_true(fake.deliveries[1].expires_unix_ms == fake.created_unix_ms + 5000);
    assert_true(f.s[0].op.recipients[2].suppressed);
    assert_false(f.s[0].op.recipients[0].suppressed);

    /* nothing is due when all of a delivery are suppressed */
    fill(&f, 0, MESSAGE);
    f.s[0].op.recipient_count = 1;
    fake.suppressed = "a@z.example";
    assert_int_equal(run(&f, 0), SUBMIT_ACCEPTED);
    assert_int_equal(fake.deliveries[0].due_unix_ms, 0);
    assert_non_null(strstr(fake.content, "\tfor <a@z.example>;\r\n"));
    fixture_fini(&f);
}

/* A staging system sends to its testers only, and to none of them when another
 * recipient is somebody else. */
static void
recipients_are_allowed(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    fill(&f, 0, MESSAGE);
    f.s[0].op.credential = &STAGING;
    f.s[0].recipients[0] = (struct submit_recipient){.address = SLICE("a@test.example"),
                                                     .domain = SLICE("test.example")};
    assert_int_equal(run(&f, 0), SUBMIT_RECIPIENT);
    assert_string_equal(f.s[0].op.text, "recipient: b@d.example is not one of this credential");
    assert_int_equal(fake.commits, 0);
    fill(&f, 0, MESSAGE);
    f.s[0].op.credential = &STAGING;
    f.s[0].recipients[0] = (struct submit_recipient){.address = SLICE("a@test.example"),
                                                     .domain = SLICE("test.example")};
    f.s[0].op.recipient_count = 1;
    assert_int_equal(run(&f, 0), SUBMIT_ACCEPTED);
    fixture_fini(&f);
}

/* ACC-15: what is counted for a message that is not accepted is given back; what
 * may have been accepted is not. */
static void
recipients_are_counted(void **state)
{
    (void)state;
    static const struct {
        enum queue_commit_result commit;
        enum sign_status sign;
        enum submit_result want;
        bool kept;
    } rows[] = {
        {QUEUE_COMMITTED, SIGN_OK, SUBMIT_ACCEPTED, true},
        {QUEUE_OUTCOME_UNKNOWN, SIGN_OK, SUBMIT_UNKNOWN, true},
        {QUEUE_REPLAYED, SIGN_OK, SUBMIT_REPLAYED, false},
        {QUEUE_KEY_CONFLICT, SIGN_OK, SUBMIT_KEY_CONFLICT, false},
        {QUEUE_NO_ROOM, SIGN_OK, SUBMIT_NO_ROOM, false},
        {QUEUE_AWAY, SIGN_OK, SUBMIT_AWAY, false},
        {QUEUE_COMMITTED, SIGN_AWAY, SUBMIT_AWAY, false},
        {QUEUE_COMMITTED, SIGN_REFUSED, SUBMIT_CONTENT, false},
    };
    struct fixture f;
    fixture_init(&f);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        fake.kept = fake.given_back = 0;
        fake.commit_result = rows[i].commit;
        fake.sign_status = rows[i].sign;
        fill(&f, 0, MESSAGE);
        f.s[0].op.credential = &LIMITED;
        assert_int_equal(run(&f, 0), rows[i].want);
        assert_int_equal(fake.kept, rows[i].kept);
        assert_int_equal(fake.given_back, !rows[i].kept);
        assert_true(f.s[0].op.allowance.known);
        assert_int_equal(f.s[0].op.allowance.rate_left, 3);
        assert_int_equal(f.s[0].op.allowance.rate_full_s, 2);
    }
    assert_int_equal(fake.allows, sizeof rows / sizeof *rows);
    fake.commit_result = QUEUE_COMMITTED;
    fake.sign_status = SIGN_OK;
    assert_int_equal(submit(&f, MESSAGE), SUBMIT_ACCEPTED); /* without limits: not counted */
    assert_int_equal(fake.allows, sizeof rows / sizeof *rows);
    assert_false(f.s[0].op.allowance.known);
    fixture_fini(&f);
}

static void
over_a_limit_nothing_is_signed(void **state)
{
    (void)state;
    static const struct {
        enum queue_allow_result answer;
        enum submit_result want;
        const char *over, *text;
    } rows[] = {
        {QUEUE_OVER_RATE, SUBMIT_RATE, "rate",
         "more than 4 recipients a minute: try again in 13 s"},
        {QUEUE_OVER_DAILY, SUBMIT_RATE, "daily",
         "more than 10 recipients a day: try again in 13 s"},
        {QUEUE_OVER_FRESH, SUBMIT_RATE, "new",
         "more than 1 new recipients a day: try again in 13 s"},
        {QUEUE_ALLOW_AWAY, SUBMIT_AWAY, NULL, "the queue cannot be reached now"},
        {QUEUE_ALLOW_NO_ROOM, SUBMIT_NO_ROOM, NULL, "no room for more messages now"},
    };
    struct fixture f;
    fixture_init(&f);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        fake.allow_result = rows[i].answer;
        fill(&f, 0, MESSAGE);
        f.s[0].op.credential = &LIMITED;
        assert_int_equal(run(&f, 0), rows[i].want);
        assert_string_equal(f.s[0].op.text, rows[i].text);
        if (rows[i].over != NULL) {
            assert_string_equal(f.s[0].op.allowance.over, rows[i].over);
            assert_int_equal(f.s[0].op.allowance.retry_after_s, 13);
        }
    }
    assert_int_equal(fake.signs + fake.lists + fake.commits + fake.kept + fake.given_back, 0);

    /* what can never be allowed is refused for good, and not counted */
    static const struct config_credential two = {
        .user = "two", .tenant = "ten", .senders = own, .sender_count = 1, .daily = 2};
    unsigned before = fake.allows;
    fill(&f, 0, MESSAGE);
    f.s[0].op.credential = &two;
    assert_int_equal(run(&f, 0), SUBMIT_CONTENT);
    assert_int_equal(fake.allows, before);

    /* the client goes while it is counted */
    fake.hold_allow = true;
    fake.allow_result = QUEUE_ALLOWED;
    fill(&f, 0, MESSAGE);
    f.s[0].op.credential = &LIMITED;
    submit_start(&f.s[0].op, f.door);
    loop_run(fake.loop);
    submit_cancel(&f.s[0].op);
    loop_run(fake.loop);
    assert_int_equal(f.s[0].done, 1);
    assert_int_equal(f.s[0].op.result, SUBMIT_AWAY);
    assert_int_equal(fake.allow_cancels, 1);
    assert_int_equal(fake.commits, 0);
    fixture_fini(&f);
}

/* DESIGN promise: nothing goes out under a name that the credential does not own. */
static void
senders_are_owned(void **state)
{
    (void)state;
    static const struct {
        const char *message;
        struct slice path, domain;
        enum submit_result want;
    } rows[] = {
        {MESSAGE, SLICE("x@example.org"), SLICE("example.org"), SUBMIT_ACCEPTED},
        {MESSAGE, SLICE(""), SLICE(""), SUBMIT_ACCEPTED},
        {MESSAGE, SLICE("x@evil.example"), SLICE("evil.example"), SUBMIT_SENDER},
        {MESSAGE, SLICE("x@example.org"), SLICE(""), SUBMIT_SENDER},
        {"From: a@evil.example\r\n\r\n", SLICE(""), SLICE(""), SUBMIT_SENDER},
        {"From: a@evil.example\r\n\r\n", SLICE("x@example.org"), SLICE("example.org"),
         SUBMIT_SENDER},
        {"From: a@example.org\r\nSender: b@evil.example\r\n\r\n", SLICE(""), SLICE(""),
         SUBMIT_SENDER},
        {"From: a@example.org, b@evil.example\r\nSender: a@example.org\r\n\r\n", SLICE(""),
         SLICE(""), SUBMIT_SENDER},
        {"From: a@example.org\r\nResent-From: b@evil.example\r\n\r\n", SLICE(""), SLICE(""),
         SUBMIT_SENDER},
        {"From: \"a@example.org\" <b@evil.example>\r\n\r\n", SLICE(""), SLICE(""), SUBMIT_SENDER},
    };
    struct fixture f;
    fixture_init(&f);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        unsigned before = fake.commits;
        fill(&f, 0, rows[i].message);
        f.s[0].op.envelope.reverse_path = rows[i].path;
        f.s[0].op.reverse_domain = rows[i].domain;
        if (run(&f, 0) != rows[i].want)
            fail_msg("row %zu: %d %s", i, f.s[0].op.result, f.s[0].op.text);
        assert_int_equal(fake.commits - before, rows[i].want == SUBMIT_ACCEPTED);
    }
    fixture_fini(&f);
}

static void
results_of_the_queue(void **state)
{
    (void)state;
    static const struct {
        enum queue_commit_result commit;
        enum submit_result want;
    } rows[] = {
        {QUEUE_COMMITTED, SUBMIT_ACCEPTED},
        {QUEUE_REPLAYED, SUBMIT_REPLAYED},
        {QUEUE_KEY_CONFLICT, SUBMIT_KEY_CONFLICT},
        {QUEUE_NO_ROOM, SUBMIT_NO_ROOM},
        {QUEUE_AWAY, SUBMIT_AWAY},
        {QUEUE_OUTCOME_UNKNOWN, SUBMIT_UNKNOWN},
    };
    struct fixture f;
    fixture_init(&f);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        fake.commit_result = rows[i].commit;
        assert_int_equal(submit(&f, MESSAGE), rows[i].want);
        assert_true(f.s[0].op.text[0] != '\0');
    }
    fake.commit_result = QUEUE_REPLAYED;
    submit(&f, MESSAGE);
    char id[ID_TEXT_BYTES + 1];
    id_format(f.s[0].op.id, id);
    assert_string_equal(id, "01890a5d-ac96-774b-bcce-b302099a8057");
    fixture_fini(&f);
}

static void
results_of_signer_and_list(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    fake.sign_status = SIGN_REFUSED;
    assert_int_equal(submit(&f, MESSAGE), SUBMIT_CONTENT);
    assert_string_equal(f.s[0].op.text, "the signer's text");
    fake.sign_status = SIGN_AWAY;
    assert_int_equal(submit(&f, MESSAGE), SUBMIT_AWAY);
    assert_int_equal(fake.commits, 0);

    fake.sign_status = SIGN_NO_KEY; /* unsigned, where no key was configured */
    assert_int_equal(submit(&f, MESSAGE), SUBMIT_ACCEPTED);
    assert_string_equal(fake.content, fake.sign_content);
    f.config.development = true; /* there every domain has one */
    assert_int_equal(submit(&f, MESSAGE), SUBMIT_AWAY);
    f.config.development = false;

    fake.sign_status = SIGN_OK;
    fake.listed_err = ERR_AWAY;
    assert_int_equal(submit(&f, MESSAGE), SUBMIT_AWAY);
    assert_int_equal(fake.commits, 1);
    assert_int_equal(fake.signs, fake.lists); /* both are asked at once */
    fixture_fini(&f);
}

static void
refused_before_anybody_is_asked(void **state)
{
    (void)state;
    static const struct {
        enum queue_status status;
        const char *message;
        enum submit_result want;
    } rows[] = {
        {QUEUE_FULL_NOW, MESSAGE, SUBMIT_NO_ROOM},
        {QUEUE_AWAY_NOW, MESSAGE, SUBMIT_AWAY},
        {QUEUE_STARTING, MESSAGE, SUBMIT_AWAY},
        {QUEUE_UP, "Subject: no From\r\n\r\n", SUBMIT_CONTENT},
        {QUEUE_UP, "From: a@example.org\r\n\r\nbare\n", SUBMIT_CONTENT},
        {QUEUE_UP, "", SUBMIT_CONTENT},
    };
    struct fixture f;
    fixture_init(&f);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        fake.status = rows[i].status;
        assert_int_equal(submit(&f, rows[i].message), rows[i].want);
    }
    fake.status = QUEUE_UP;
    static char text[2100];
    size_t n = (size_t)snprintf(text, sizeof text, "From: a@example.org\r\n\r\n");
    while (n < 1990)
        n += (size_t)snprintf(text + n, sizeof text - n, "12345678\r\n");
    assert_int_equal(submit(&f, text), SUBMIT_ACCEPTED);
    snprintf(text + n, sizeof text - n, "12345678\r\n12345678\r\n");
    unsigned signs = fake.signs;
    assert_int_equal(submit(&f, text), SUBMIT_TOO_LARGE);

    struct buf b;
    buf_init(&b, 1 << 20);
    for (int i = 0; i <= RECEIVED_FIELDS_MAX; i++)
        buf_add_str(&b, "Received: x\r\n");
    buf_add_str(&b, "From: a@example.org\r\n\r\n");
    buf_add_char(&b, '\0');
    assert_int_equal(submit(&f, buf_slice(&b).p), SUBMIT_LOOP);
    buf_fini(&b);
    assert_int_equal(fake.signs, signs);
    fixture_fini(&f);
}

static void
eightbit_and_smtputf8_follow_the_message(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    assert_int_equal(submit(&f, "From: a@example.org\r\n\r\n\xc3\xa4\r\n"), SUBMIT_ACCEPTED);
    assert_true(fake.envelope.eightbit && !fake.envelope.smtputf8);

    fill(&f, 0, "From: a@example.org\r\nSubject: \xc3\xa4\r\n\r\n");
    f.s[0].op.envelope.smtputf8 = true;
    assert_int_equal(run(&f, 0), SUBMIT_ACCEPTED);
    assert_true(fake.envelope.smtputf8);

    fill(&f, 0, MESSAGE); /* asked for and not needed */
    f.s[0].op.envelope.smtputf8 = true;
    assert_int_equal(run(&f, 0), SUBMIT_ACCEPTED);
    assert_false(fake.envelope.smtputf8);

    fill(&f, 0, MESSAGE);
    f.s[0].op.envelope.smtputf8 = true;
    f.s[0].recipients[3].address = SLICE("\xc3\xa4@z.example");
    assert_int_equal(run(&f, 0), SUBMIT_ACCEPTED);
    assert_true(fake.envelope.smtputf8);
    fixture_fini(&f);
}

#define WITH_KEY(key, body)                                                                        \
    "X-Stagepost-Idempotency-Key: " key "\r\nFrom: a@example.org\r\n\r\n" body "\r\n"

static void
keys_name_the_partition_and_the_request(void **state)
{
    (void)state;
    uint8_t first[32];
    struct fixture f;
    fixture_init(&f);
    assert_int_equal(submit(&f, WITH_KEY("k1", "x")), SUBMIT_ACCEPTED);
    assert_string_equal(fake.key, "k1");
    assert_string_equal(fake.key_credential, "dev");
    assert_int_equal(id_partition(fake.id), queue_partition_for_key(SLICE("dev"), SLICE("k1")));
    assert_null(strstr(fake.content, "k1"));
    char id[ID_TEXT_BYTES + 1];
    id_format(fake.id, id);
    assert_non_null(strstr(fake.content, id)); /* Received has the id that is stored */
    memcpy(first, fake.digest, sizeof first);

    assert_int_equal(submit(&f, WITH_KEY("k1", "x")), SUBMIT_ACCEPTED);
    assert_memory_equal(fake.digest, first, sizeof first);
    assert_int_equal(submit(&f, WITH_KEY("k1", "y")), SUBMIT_ACCEPTED);
    assert_memory_not_equal(fake.digest, first, sizeof first);
    fill(&f, 0, WITH_KEY("k1", "x")); /* another recipient is another request */
    f.s[0].op.recipient_count--;
    assert_int_equal(run(&f, 0), SUBMIT_ACCEPTED);
    assert_memory_not_equal(fake.digest, first, sizeof first);
    fixture_fini(&f);
}

/* Over HTTP the request's own key and digest count, unless the message has a key of its
 * own: that one means the same at both doors. */
static void
keys_of_http(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    uint64_t before = metrics_total(METRIC_ACCEPTED_HTTP);
    uint8_t by_smtp[32];
    assert_int_equal(submit(&f, WITH_KEY("field", "x")), SUBMIT_ACCEPTED);
    memcpy(by_smtp, fake.digest, sizeof by_smtp);
    for (int its_own = 0; its_own < 2; its_own++) {
        fill(&f, 0, its_own ? WITH_KEY("field", "x") : MESSAGE);
        f.s[0].op.source = SUBMIT_HTTP;
        f.s[0].op.idempotency_key = SLICE("request");
        f.s[0].op.has_digest = true;
        memset(f.s[0].op.digest, 7, sizeof f.s[0].op.digest);
        assert_int_equal(run(&f, 0), SUBMIT_ACCEPTED);
        assert_string_equal(fake.key, its_own ? "field" : "request");
        assert_memory_equal(fake.digest, its_own ? by_smtp : f.s[0].op.digest, sizeof fake.digest);
        assert_null(strstr(fake.content, "field"));
    }
    assert_int_equal(metrics_total(METRIC_ACCEPTED_HTTP), before + 2);
    fixture_fini(&f);
}

/* What a message says about itself goes before what came with it, and does not leave. */
static void
control_fields_are_applied(void **state)
{
    (void)state;
    struct fixture f;
    char text[500], at[25];
    fixture_init(&f);
    int64_t send_at = clock_sched_unix_ms() / 1000 * 1000 + 3600000;
    clock_format_rfc3339(send_at, at);
    snprintf(text, sizeof text,
             "From: a@example.org\r\nX-Stagepost-Tag: t\r\nX-PM-Metadata-k: v\r\n"
             "X-Stagepost-Send-At: %s\r\nX-Stagepost-TTL: 2\r\nX-PM-TrackOpens: no\r\n\r\nx\r\n",
             at);
    fill(&f, 0, text);
    f.s[0].op.envelope.tags = SLICE("[\"other\"]");
    assert_int_equal(run(&f, 0), SUBMIT_ACCEPTED);
    assert_true(slice_eq(fake.envelope.tags, SLICE("[\"t\"]")));
    assert_true(slice_eq(fake.envelope.metadata, SLICE("{\"k\":\"v\"}")));
    assert_int_equal(fake.envelope.send_at_unix_ms, send_at);
    assert_int_equal(f.s[0].op.envelope.send_at_unix_ms, send_at); /* the answer says it */
    assert_int_equal(fake.deliveries[0].due_unix_ms, send_at);
    assert_int_equal(fake.deliveries[0].expires_unix_ms, send_at + 2000);
    assert_null(strstr(fake.content, "X-"));

    fill(&f, 0, MESSAGE);
    f.s[0].op.envelope.tags = SLICE("[\"other\"]");
    assert_int_equal(run(&f, 0), SUBMIT_ACCEPTED);
    assert_true(slice_eq(fake.envelope.tags, SLICE("[\"other\"]")));

    unsigned commits = fake.commits;
    assert_int_equal(submit(&f, "From: a@example.org\r\nX-Stagepost-Class: transactional\r\n\r\n"),
                     SUBMIT_CONTENT); /* the credential is for bulk mail */
    assert_int_equal(submit(&f, "From: a@example.org\r\nX-Stagepost-Tga: x\r\n\r\n"),
                     SUBMIT_CONTENT);
    assert_string_equal(f.s[0].op.text, "X-Stagepost-Tga: there is no such control field");
    assert_int_equal(fake.commits, commits);
    fixture_fini(&f);
}

/* The same key twice at once: the second waits for nobody. Another credential's
 * key is another key. */
static void
keys_in_flight(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    fake.hold_sign = fake.hold_listed = true;
    fill(&f, 0, WITH_KEY("k", "x"));
    fill(&f, 1, WITH_KEY("k", "x"));
    submit_start(&f.s[0].op, f.door);
    submit_start(&f.s[1].op, f.door);
    loop_run(fake.loop);
    assert_int_equal(submit_door_pending(f.door), 1);
    assert_int_equal(f.s[0].done, 0);
    assert_int_equal(f.s[1].done, 1);
    assert_int_equal(f.s[1].op.result, SUBMIT_KEY_IN_FLIGHT);
    deferred_schedule(&fake.sign_soon);
    deferred_schedule(&fake.listed_soon);
    loop_run(fake.loop);
    assert_int_equal(f.s[0].op.result, SUBMIT_ACCEPTED);

    fake.hold_sign = fake.hold_listed = false;
    fill(&f, 1, WITH_KEY("k", "x")); /* no longer in flight */
    assert_int_equal(run(&f, 1), SUBMIT_ACCEPTED);

    fake.hold_commit = true;
    fill(&f, 0, WITH_KEY("k", "x"));
    submit_start(&f.s[0].op, f.door);
    loop_run(fake.loop);
    fake.hold_commit = false;
    struct queue_commit_op *held = fake.commit;
    struct deferred *soon = &fake.commit_soon;
    fill(&f, 1, WITH_KEY("k", "x"));
    assert_int_equal(run(&f, 1), SUBMIT_KEY_IN_FLIGHT);
    deferred_schedule(soon);
    loop_run(fake.loop);
    assert_non_null(held);
    assert_int_equal(f.s[0].op.result, SUBMIT_ACCEPTED);

    fake.hold_sign = true;
    fill(&f, 0, WITH_KEY("k", "x"));
    submit_start(&f.s[0].op, f.door);
    loop_run(fake.loop);
    struct sign_op *first = fake.sign;
    fake.hold_sign = false;
    fill(&f, 1, WITH_KEY("k", "x"));
    f.s[1].op.credential = &OTHER;
    assert_int_equal(run(&f, 1), SUBMIT_ACCEPTED);
    fake.sign = first;
    deferred_schedule(&fake.sign_soon);
    loop_run(fake.loop);
    assert_int_equal(f.s[0].op.result, SUBMIT_ACCEPTED);
    fixture_fini(&f);
}

static void
cancelled_in_each_step(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    fill(&f, 0, MESSAGE); /* before the checks */
    submit_start(&f.s[0].op, f.door);
    submit_cancel(&f.s[0].op);
    submit_cancel(&f.s[0].op);
    assert_int_equal(f.s[0].done, 0);
    loop_run(fake.loop);
    assert_int_equal(f.s[0].done, 1);
    assert_int_equal(f.s[0].op.result, SUBMIT_AWAY);
    submit_cancel(&f.s[0].op); /* after done: nothing */
    assert_int_equal(fake.signs, 0);

    for (int held = 1; held <= 3; held++) { /* while one or both are asked */
        fake.hold_sign = held & 1;
        fake.hold_listed = held & 2;
        fake.sign_status = SIGN_OK;
        fake.listed_err = ERR_NONE;
        fill(&f, 0, MESSAGE);
        submit_start(&f.s[0].op, f.door);
        loop_run(fake.loop);
        assert_int_equal(f.s[0].done, 0);
        submit_cancel(&f.s[0].op);
        loop_run(fake.loop);
        assert_int_equal(f.s[0].done, 1);
        assert_int_equal(f.s[0].op.result, SUBMIT_AWAY);
    }
    assert_int_equal(fake.sign_cancels, 2);
    assert_int_equal(fake.list_cancels, 2);
    assert_int_equal(fake.commits, 0);

    fake.hold_sign = fake.hold_listed = false; /* during the commit */
    fake.hold_commit = true;
    fake.sign_status = SIGN_OK;
    fake.listed_err = ERR_NONE;
    fill(&f, 0, MESSAGE);
    submit_start(&f.s[0].op, f.door);
    loop_run(fake.loop);
    submit_cancel(&f.s[0].op);
    loop_run(fake.loop);
    assert_int_equal(f.s[0].op.result, SUBMIT_UNKNOWN);
    assert_int_equal(fake.commit_cancels, 1);
    fixture_fini(&f);
}

/* Frozen before the message came, and while its answers were waited for. */
static void
nothing_of_a_frozen_credential_is_committed(void **state)
{
    (void)state;
    struct fixture f;
    for (unsigned asked = 0; asked < 3; asked += 2) {
        fixture_init(&f);
        submit_door_set_credentials(f.door, (struct credentials *)&f);
        asked_before_frozen = asked;
        assert_int_equal(submit(&f, MESSAGE), SUBMIT_FROZEN);
        assert_int_equal(fake.signs, asked == 0 ? 0 : 1);
        assert_int_equal(fake.commits, 0);
        fixture_fini(&f);
    }
}

static const struct config_domain ENFORCED[] = {{"example.org", CONFIG_POLICY_ENFORCE}},
                                  NOT_LOOKED_AT[] = {{"example.org", CONFIG_POLICY_OFF}};

static void
with_preflight(struct fixture *f, const struct config_domain *domains)
{
    fixture_init(f);
    f->config.domains = domains;
    f->config.domain_count = domains != NULL;
    submit_door_set_preflight(f->door, (struct preflight *)f);
    preflight.verdict = (struct believed_verdict){
        .result = BELIEVED_FAIL, .enhanced = "5.7.26", .text = "publish it"};
}

static void
what_is_enforced_is_refused(void **state)
{
    (void)state;
    struct fixture f;
    for (int is_known = 0; is_known < 2; is_known++) {
        with_preflight(&f, ENFORCED);
        preflight.is_known = is_known == 1;
        uint64_t before = metrics_total(METRIC_PREFLIGHT_FAIL);
        assert_int_equal(submit(&f, MESSAGE), SUBMIT_POLICY);
        assert_string_equal(f.s[0].op.enhanced, "5.7.26");
        assert_string_equal(f.s[0].op.text, "publish it");
        assert_string_equal(preflight.reverse, "example.org");
        assert_string_equal(preflight.from, "example.org");
        assert_int_equal(preflight.asked, is_known == 1 ? 0 : 1);
        assert_int_equal(fake.commits, 0);
        assert_int_equal(metrics_total(METRIC_PREFLIGHT_FAIL), before + 1);
        fixture_fini(&f);
    }
}

static void
what_is_not_certain_is_accepted(void **state)
{
    (void)state;
    static const enum believed GOOD_ENOUGH[] = {BELIEVED_PASS, BELIEVED_WEAK, BELIEVED_UNKNOWN};
    struct fixture f;
    for (size_t i = 0; i < ARRAY_LEN(GOOD_ENOUGH); i++) {
        with_preflight(&f, ENFORCED);
        preflight.verdict.result = GOOD_ENOUGH[i];
        assert_int_equal(submit(&f, MESSAGE), SUBMIT_ACCEPTED);
        assert_null(f.s[0].op.enhanced);
        fixture_fini(&f);
    }
    with_preflight(&f, ENFORCED);
    preflight.late = true;
    uint64_t before = metrics_total(METRIC_PREFLIGHT_LATE);
    assert_int_equal(submit(&f, MESSAGE), SUBMIT_ACCEPTED);
    assert_int_equal(metrics_total(METRIC_PREFLIGHT_LATE), before + 1);
    fixture_fini(&f);
}

static void
a_warning_is_no_refusal(void **state)
{
    (void)state;
    struct fixture f;
    uint64_t before = metrics_total(METRIC_PREFLIGHT_FAIL);
    with_preflight(&f, NULL); /* the domain is not configured */
    assert_int_equal(submit(&f, MESSAGE), SUBMIT_ACCEPTED);
    assert_int_equal(metrics_total(METRIC_PREFLIGHT_FAIL), before + 1);
    fixture_fini(&f);
    with_preflight(&f, NOT_LOOKED_AT);
    assert_int_equal(submit(&f, MESSAGE), SUBMIT_ACCEPTED);
    assert_int_equal(preflight.asked, 0);
    assert_int_equal(metrics_total(METRIC_PREFLIGHT_FAIL), before + 1);
    fixture_fini(&f);
}

static void
a_client_that_leaves_ends_the_preflight(void **state)
{
    (void)state;
    struct fixture f;
    with_preflight(&f, ENFORCED);
    preflight.hold = true;
    fill(&f, 0, MESSAGE);
    submit_start(&f.s[0].op, f.door);
    loop_run(fake.loop);
    assert_int_equal(f.s[0].done, 0);
    submit_cancel(&f.s[0].op);
    loop_run(fake.loop);
    assert_int_equal(f.s[0].done, 1);
    assert_int_equal(f.s[0].op.result, SUBMIT_AWAY);
    assert_int_equal(preflight.cancels, 1);
    assert_int_equal(fake.commits, 0);
    fixture_fini(&f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepted_means_committed),
        cmocka_unit_test(recipients_are_grouped_by_domain),
        cmocka_unit_test(recipients_are_allowed),
        cmocka_unit_test(recipients_are_counted),
        cmocka_unit_test(over_a_limit_nothing_is_signed),
        cmocka_unit_test(senders_are_owned),
        cmocka_unit_test(results_of_the_queue),
        cmocka_unit_test(results_of_signer_and_list),
        cmocka_unit_test(refused_before_anybody_is_asked),
        cmocka_unit_test(eightbit_and_smtputf8_follow_the_message),
        cmocka_unit_test(keys_name_the_partition_and_the_request),
        cmocka_unit_test(keys_of_http),
        cmocka_unit_test(control_fields_are_applied),
        cmocka_unit_test(keys_in_flight),
        cmocka_unit_test(cancelled_in_each_step),
        cmocka_unit_test(nothing_of_a_frozen_credential_is_committed),
        cmocka_unit_test(what_is_enforced_is_refused),
        cmocka_unit_test(what_is_not_certain_is_accepted),
        cmocka_unit_test(a_warning_is_no_refusal),
        cmocka_unit_test(a_client_that_leaves_ends_the_preflight),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
