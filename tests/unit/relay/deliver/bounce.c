#include "tests/unit/relay/sys/net/net_test.h"

#include "dkim/signer_client.h"
#include "relay/deliver/bounce.h"
#include "relay/sys/base/clock.h"
#include "relay/wire/envelope.h"
#include "tests/unit/support/fake_queue.h"

/* ---- a signer of the test's own -------------------------------------------------- */

static enum sign_status sign_answer;
static unsigned signs, signs_away;
static char sign_domain[256];
static char *reloaded; /* a string of the configuration that a reload takes away */
static struct loop *sign_loop;

static void
on_sign(struct deferred *d)
{
    struct sign_op *op = container_of(d, struct sign_op, finish);
    op->status = sign_answer;
    if (signs_away > 0) {
        signs_away--;
        if (reloaded != NULL)
            memset(reloaded, '?', strlen(reloaded));
        op->status = SIGN_AWAY;
    }
    if (op->status == SIGN_OK)
        buf_add_str(&op->fields, "DKIM-Signature: v=1\r\n");
    op->done(op);
}

void
sign_start(struct sign_op *op, struct signer_client *c)
{
    (void)c;
    signs++;
    assert_true(content_bytes(op->message) > 0);
    assert_true(slice_to_cstr(op->domain, sign_domain, sizeof sign_domain));
    buf_init(&op->fields, 4096);
    op->err = (struct err){0};
    deferred_init(&op->finish, sign_loop, on_sign);
    deferred_schedule(&op->finish);
}

/* ---- the bench --------------------------------------------------------------------- */

struct bench {
    struct loop *loop;
    struct queue queue;
    struct config config;
    struct bounce_env env;
    struct envelope envelope;
    struct buf envelope_record, options, replies[3];
    struct queue_target targets[3];
    struct queue_delivery delivery;
    struct queue_message message;
    struct content content;
    struct queue_notice_target owed[3];
};

static void
set_target(struct bench *b, unsigned i, const char *address, enum queue_state s,
           const struct verdict *v)
{
    buf_init(&b->replies[i], 4096);
    if (v != NULL)
        assert_true(verdict_encode(v, &b->replies[i]));
    b->targets[i] = (struct queue_target){.address = slice_str(address),
                                          .state = s,
                                          .reply = buf_slice(&b->replies[i]),
                                          .options = buf_slice(&b->options)};
    b->owed[i] = (struct queue_notice_target){.target = i};
}

static void
bench_init(struct bench *b)
{
    static const struct rcpt_options options = {.orcpt = {"rfc822;orig@rcpt.test", 21}};
    static const struct verdict refused = {.outcome = OUTCOME_PERM,
                                           .code = 550,
                                           .enhanced = {5, 1, 1},
                                           .text = {"no such user", 12},
                                           .phase = {"RCPT", 4},
                                           .mx = {"mx.rcpt.test", 12},
                                           .at_unix_ms = 1000};
    static const struct verdict later = {.outcome = OUTCOME_TEMP,
                                         .code = 451,
                                         .enhanced = {4, 7, 1},
                                         .text = {"greylisted", 10},
                                         .phase = {"RCPT", 4},
                                         .mx = {"mx.rcpt.test", 12},
                                         .at_unix_ms = 1000};
    *b = (struct bench){.loop = loop_new()};
    sign_loop = b->loop;
    sign_answer = SIGN_OK;
    signs = signs_away = 0;
    fake_queue_init(&b->queue, b->loop);
    b->config = (struct config){
        .hostname = "gateway.test", .ndr_from_domain = "", .retry = {.expire_ms = 86400000}};
    b->env = (struct bounce_env){.loop = b->loop, .config = &b->config, .queue = &b->queue};
    b->envelope = (struct envelope){.reverse_path = SLICE("sender@example.org"),
                                    .envid = SLICE("ENV1"),
                                    .credential = SLICE("cred")};
    buf_init(&b->envelope_record, 4096);
    buf_init(&b->options, 4096);
    assert_true(rcpt_options_encode(&options, &b->options));
    set_target(b, 0, "gone@rcpt.test", QUEUE_BOUNCED, &refused);
    set_target(b, 1, "old@rcpt.test", QUEUE_EXPIRED, &later);
    set_target(b, 2, "never@rcpt.test", QUEUE_EXPIRED, NULL);
    b->content.rest = blob_new_copy(
        SLICE("From: sender@example.org\r\nSubject: the original\r\n\r\nsecret body\r\n"));
    b->delivery = (struct queue_delivery){
        .next_hop = SLICE("rcpt.test"), .targets = b->targets, .target_count = 3};
    b->message = (struct queue_message){.id = id_new(42),
                                        .tenant = SLICE("tenant"),
                                        .klass = QUEUE_BULK,
                                        .created_unix_ms = 1000000,
                                        .deliveries = &b->delivery,
                                        .delivery_count = 1};
}

static void
bench_fini(struct bench *b)
{
    assert_int_equal(b->env.live, 0);
    content_unref(&b->content);
    buf_fini(&b->envelope_record);
    buf_fini(&b->options);
    for (int i = 0; i < 3; i++)
        buf_fini(&b->replies[i]);
    fake_queue_fini(&b->queue);
    loop_free(b->loop);
}

static bool
is_quiet(void *arg)
{
    return ((struct bench *)arg)->env.live == 0;
}

static const struct fake_report *
bounce(struct bench *b, unsigned targets)
{
    buf_clear(&b->envelope_record);
    if (b->message.envelope.n == 0) {
        assert_true(envelope_encode(&b->envelope, &b->envelope_record));
        b->message.envelope = buf_slice(&b->envelope_record);
    }
    bounce_start(&b->env, fake_notice_new(&b->queue, &b->message, &b->content, b->owed, targets));
    run_until(b->loop, is_quiet, b);
    assert_int_equal(b->queue.report_count, 1);
    return &b->queue.reports[0];
}

static bool
has(struct slice text, const char *what)
{
    return slice_find_slice(text, slice_str(what)) < text.n;
}

/* ---- tests ---------------------------------------------------------------------------- */

static void
test_report(void **state)
{
    struct bench b;
    struct envelope e;
    (void)state;
    bench_init(&b);
    const struct fake_report *r = bounce(&b, 3);
    assert_false(r->dropped);
    /* Its place in the queue. */
    assert_int_equal(id_partition(r->message.id), 42);
    assert_false(id_eq(r->message.id, b.message.id));
    assert_true(slice_eq(r->delivery.next_hop, SLICE("example.org")));
    assert_int_equal(r->targets, 1);
    assert_true(slice_eq(r->to, SLICE("sender@example.org")));
    assert_int_equal(r->message.klass, QUEUE_BULK);
    assert_true(slice_eq(r->message.tenant, SLICE("tenant")));
    assert_true(r->delivery.expires_unix_ms - r->message.created_unix_ms == 86400000);
    assert_int_equal(r->message.size_bytes, r->head.n + r->text.n);
    /* LOP-03: the null reverse-path, and it says that it is a report. */
    assert_true(envelope_decode(r->message.envelope, &e));
    assert_int_equal(e.reverse_path.n, 0);
    assert_true(e.is_ndr);
    assert_true(slice_eq(e.header_from, SLICE("mailer-daemon@example.org")));
    assert_true(e.subject.n > 0);
    /* Signed for the domain of its From. */
    assert_string_equal(sign_domain, "example.org");
    assert_true(has(r->head, "DKIM-Signature"));
    /* The text; its id is the topmost thing in it. */
    char received[128], id[ID_TEXT_BYTES + 1];
    id_format(r->message.id, id);
    snprintf(received, sizeof received, "Received: by gateway.test id %s;\r\n\t", id);
    assert_true(slice_starts(r->text, slice_str(received)));
    assert_true(has(r->text, "From: ") && has(r->text, "mailer-daemon@example.org"));
    assert_true(has(r->text, "To: ") && has(r->text, "sender@example.org"));
    assert_true(has(r->text, "Auto-Submitted: auto-replied"));
    assert_true(has(r->text, "Reporting-MTA: dns; gateway.test"));
    assert_true(has(r->text, "Original-Envelope-Id: ENV1"));
    assert_true(has(r->text, "Original-Recipient: rfc822; orig@rcpt.test"));
    assert_true(has(r->text, "Final-Recipient: rfc822; gone@rcpt.test"));
    assert_true(has(r->text, "Status: 5.1.1"));
    assert_true(has(r->text, "no such user"));
    assert_true(has(r->text, "Status: 5.4.7")); /* RTY-01: expired */
    assert_true(has(r->text, "greylisted"));
    assert_false(has(r->text, "Action: delayed"));
    /* LOP-07: the header section only, unless RET=FULL. */
    assert_true(has(r->text, "Subject: the original"));
    assert_false(has(r->text, "secret body"));
    bench_fini(&b);
}

static void
test_only_those_owed(void **state)
{
    struct bench b;
    (void)state;
    bench_init(&b);
    const struct fake_report *r = bounce(&b, 1);
    assert_true(has(r->text, "gone@rcpt.test"));
    assert_false(has(r->text, "old@rcpt.test"));
    bench_fini(&b);
}

static void
test_full_return_and_own_domain(void **state)
{
    struct bench b;
    (void)state;
    bench_init(&b);
    b.envelope.ret = RET_FULL;
    b.config.ndr_from_domain = "bounces.gateway.test";
    const struct fake_report *r = bounce(&b, 1);
    assert_true(has(r->text, "secret body"));
    assert_true(has(r->text, "mailer-daemon@bounces.gateway.test"));
    assert_string_equal(sign_domain, "bounces.gateway.test");
    assert_true(slice_eq(r->delivery.next_hop, SLICE("example.org")));
    bench_fini(&b);
}

static void
test_relayed(void **state)
{
    struct bench b;
    (void)state;
    bench_init(&b);
    b.targets[0].state = QUEUE_DELIVERED;
    const struct fake_report *r = bounce(&b, 1);
    assert_true(has(r->text, "Action: relayed"));
    bench_fini(&b);
}

/* RTY-15: what waits when the report is made is told of; what has ended is not. */
static void
test_delayed(void **state)
{
    struct bench b;
    (void)state;
    bench_init(&b);
    b.envelope.ret = RET_FULL; /* speaks of failures only */
    b.delivery.expires_unix_ms = 1795867200000;
    b.targets[1].state = QUEUE_DEFERRED;
    b.owed[0].waiting = b.owed[1].waiting = true;
    const struct fake_report *r = bounce(&b, 2);
    assert_true(has(r->text, "Subject: Your message is delayed\r\n"));
    assert_true(has(r->text, "Final-Recipient: rfc822; old@rcpt.test\r\nAction: delayed\r\n"
                             "Status: 4.7.1\r\n"));
    assert_true(has(r->text, "Will-Retry-Until: Sat, 28 Nov 2026 12:00:00 +0000\r\n"));
    assert_false(has(r->text, "gone@rcpt.test"));
    assert_false(has(r->text, "secret body"));
    bench_fini(&b);
}

static void
test_delay_is_over(void **state)
{
    struct bench b;
    (void)state;
    static const enum queue_state over[] = {QUEUE_DELIVERED, QUEUE_BOUNCED, QUEUE_HELD,
                                            QUEUE_CANCELLED};
    for (size_t i = 0; i < ARRAY_LEN(over); i++) {
        bench_init(&b);
        b.targets[0].state = over[i];
        b.owed[0].waiting = true;
        assert_true(bounce(&b, 1)->dropped);
        bench_fini(&b);
    }
}

/* LOP-02, LOP-05: no report about mail without a sender, none about a report. */
static void
test_no_report(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct bench b;
        bench_init(&b);
        if (i == 0)
            b.envelope.reverse_path = SLICE_NONE;
        else if (i == 1)
            b.envelope.is_ndr = true;
        else
            b.message.envelope = SLICE("broken");
        assert_true(bounce(&b, 3)->dropped);
        assert_int_equal(signs, 0);
        bench_fini(&b);
    }
}

static void
test_signer_trouble(void **state)
{
    static const struct {
        enum sign_status answer;
        unsigned away, tries;
        bool is_signed;
    } cases[] = {{SIGN_OK, 1, 2, true},
                 {SIGN_OK, BOUNCE_SIGN_TRIES, BOUNCE_SIGN_TRIES, false},
                 {SIGN_NO_KEY, 0, 1, false},
                 {SIGN_REFUSED, 0, 1, false}};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct bench b;
        bench_init(&b);
        sign_answer = cases[i].answer;
        signs_away = cases[i].away;
        const struct fake_report *r = bounce(&b, 1);
        assert_int_equal(signs, cases[i].tries);
        assert_int_equal(r->head.n > 0, cases[i].is_signed);
        assert_false(r->dropped); /* the report is sent in any case */
        bench_fini(&b);
    }
}

/* A reload meanwhile frees what the configuration said before. */
static void
test_reload_while_no_signer_is_there(void **state)
{
    char domain[] = "bounces.gateway.test";
    struct bench b;
    (void)state;
    bench_init(&b);
    b.config.ndr_from_domain = reloaded = domain;
    sign_answer = SIGN_OK;
    signs_away = 1;
    const struct fake_report *r = bounce(&b, 1);
    reloaded = NULL;
    assert_string_equal(sign_domain, "bounces.gateway.test");
    assert_true(r->head.n > 0);
    bench_fini(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_report),
        cmocka_unit_test(test_only_those_owed),
        cmocka_unit_test(test_full_return_and_own_domain),
        cmocka_unit_test(test_relayed),
        cmocka_unit_test(test_delayed),
        cmocka_unit_test(test_delay_is_over),
        cmocka_unit_test(test_no_report),
        cmocka_unit_test(test_signer_trouble),
        cmocka_unit_test(test_reload_while_no_signer_is_there),
    };
    setenv("STAGEPOST_TIME_SCALE", "100", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
