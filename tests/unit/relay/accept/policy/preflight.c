/* Probes against a DNS server of the test's and a real checker: verdicts, what is
 * remembered, what is late, and ends at every moment. */
#include "relay/accept/policy/preflight.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "tests/unit/support/fake_dns.h"
#include "tests/unit/support/temp_dir.h"

#include "dkim/checker.h"
#include "dkim/checker_client.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/log.h"
#include "relay/sys/net/listener.h"

enum { OPS_MAX = 40, TEST_LIMIT_MS = 60000, LISTEN = 100, CONTROL = 101 };

/* The "keys" are compared as bytes. */
static const struct fake_dns_row ROWS[] = {
    {"good.test", DNS_TXT, FAKE_DNS_ANSWER, "v=spf1 ip4:192.0.2.1 -all"},
    {"good.test", DNS_MX, FAKE_DNS_ANSWER, "10 host.test."},
    {"k._domainkey.good.test", DNS_TXT, FAKE_DNS_ANSWER, "p=AAAA"},
    {"_dmarc.good.test", DNS_TXT, FAKE_DNS_ANSWER, "v=DMARC1; p=none"},
    {"wrong.test", DNS_TXT, FAKE_DNS_ANSWER, "v=spf1 -all"},
    {"k._domainkey.wrong.test", DNS_TXT, FAKE_DNS_ANSWER, "p=BBBB"},
    {"_dmarc.wrong.test", DNS_TXT, FAKE_DNS_ANSWER, "v=DMARC1; p=reject"},
    {"nullmx.test", DNS_MX, FAKE_DNS_ANSWER, "0 ."},
    {"nullmx.test", DNS_TXT, FAKE_DNS_ANSWER, "v=spf1 ip4:192.0.2.1 -all"},
    {"silent.test", DNS_TXT, FAKE_DNS_SILENT, ""},
    {"silent.test", DNS_MX, FAKE_DNS_SILENT, ""},
    {"k._domainkey.silent.test", DNS_TXT, FAKE_DNS_SILENT, ""},
    {"_dmarc.silent.test", DNS_TXT, FAKE_DNS_SILENT, ""},
    {"quiet.test", DNS_TXT, FAKE_DNS_SILENT, ""},
    {"quiet.test", DNS_MX, FAKE_DNS_SILENT, ""},
    {"k._domainkey.quiet.test", DNS_TXT, FAKE_DNS_SILENT, ""},
    {"_dmarc.quiet.test", DNS_TXT, FAKE_DNS_SILENT, ""},
    {"broken.test", DNS_TXT, FAKE_DNS_RCODE, "2"},
    {"broken.test", DNS_MX, FAKE_DNS_RCODE, "2"},
    {"k._domainkey.broken.test", DNS_TXT, FAKE_DNS_RCODE, "2"},
    {"_dmarc.broken.test", DNS_TXT, FAKE_DNS_RCODE, "2"},
};

static const char *EGRESS[] = {"192.0.2.1"};
static const struct config_dkim_key KEYS[] = {
    {.domain = "*", .selector = "k", .path = "", .record = "p=AAAA"}};

struct job {
    struct preflight_op op;
    struct rig *rig;
    bool done;
};

struct rig {
    struct temp_dir dir;
    struct fake_dns dns;
    struct loop *loop;
    struct resolver *resolver;
    struct checker_client *checker;
    struct preflight *preflight;
    struct config config;
    int listen_fd, control_fd;
    pid_t pid;
    struct job jobs[OPS_MAX];
    unsigned started, done;
    struct timer limit;
};

static void
start_checker(struct rig *r)
{
    int control[2];
    assert_int_equal(pipe(control), 0);
    r->pid = fork();
    assert_true(r->pid >= 0);
    if (r->pid == 0) {
        dup2(r->listen_fd, LISTEN);
        dup2(control[0], CONTROL);
        close_range(3, LISTEN - 1, 0);
        close_range(CONTROL + 1, ~0U, 0);
        _exit(checker_run(&(const struct checker_config){LISTEN, CONTROL}));
    }
    close(control[0]);
    r->control_fd = control[1];
}

static int
set_up(void **state)
{
    struct rig *r = calloc(1, sizeof *r);
    struct net_address at = {.kind = NET_UNIX};
    struct err err = {0};
    log_init("test", 0, LOG_ERROR + 1);
    temp_dir_make(&r->dir);
    snprintf(at.path, sizeof at.path, "%.90s/c", r->dir.path);
    r->listen_fd = net_listen(&at, false, false, &err);
    assert_true(r->listen_fd >= 0);
    start_checker(r);
    fake_dns_open(&r->dns, ROWS, ARRAY_LEN(ROWS));
    r->loop = loop_new();
    const struct resolver_config cfg = {.forward = r->dns.forward, .no_special_zones = true};
    r->resolver = resolver_new(r->loop, &cfg, &err);
    assert_non_null(r->resolver);
    r->checker = checker_client_new(r->loop, r->resolver, at.path);
    r->config = (struct config){.generation = 1,
                                .hostname = "gw.test",
                                .egress = EGRESS,
                                .egress_count = 1,
                                .dkim_keys = KEYS,
                                .dkim_key_count = 1};
    r->preflight = preflight_new(r->loop, &r->config, r->resolver, r->checker);
    *state = r;
    return 0;
}

static int
tear_down(void **state)
{
    struct rig *r = *state;
    preflight_free(r->preflight);
    checker_client_free(r->checker);
    resolver_free(r->resolver);
    loop_run(r->loop);
    loop_free(r->loop);
    fake_dns_close(&r->dns);
    kill(r->pid, SIGKILL);
    waitpid(r->pid, NULL, 0);
    close(r->control_fd);
    close(r->listen_fd);
    temp_dir_remove(&r->dir);
    free(r);
    return 0;
}

static void
on_limit(struct timer *t)
{
    (void)t;
    fail_msg("the test takes too long");
}

static void
on_done(struct preflight_op *op)
{
    struct job *j = container_of(op, struct job, op);
    assert_false(j->done);
    j->done = true;
    j->rig->done++;
    loop_stop(j->rig->loop);
}

static struct job *
start(struct rig *r, const char *reverse, const char *from)
{
    struct job *j = &r->jobs[r->started++];
    j->rig = r;
    j->op.done = on_done;
    preflight_start(&j->op, r->preflight, slice_str(reverse), slice_str(from));
    assert_false(j->done);
    return j;
}

static void
run_all(struct rig *r)
{
    timer_init(&r->limit, r->loop, on_limit);
    timer_start(&r->limit, TEST_LIMIT_MS);
    while (r->done < r->started)
        loop_run(r->loop);
    timer_cancel(&r->limit);
}

static const struct believed_verdict *
ask(struct rig *r, const char *reverse, const char *from)
{
    struct job *j = start(r, reverse, from);
    run_all(r);
    assert_false(j->op.late);
    return &j->op.verdict;
}

static bool
known(struct rig *r, const char *reverse, const char *from)
{
    struct believed_verdict v;
    return preflight_known(r->preflight, slice_str(reverse), slice_str(from), &v);
}

/* --- tests --- */

static void
test_verdicts(void **state)
{
    struct rig *r = *state;
    const struct believed_verdict *v = ask(r, "good.test", "good.test");
    assert_string_equal(v->text, "");
    assert_int_equal(v->result, BELIEVED_PASS);
    assert_int_equal(ask(r, "", "good.test")->result, BELIEVED_PASS);
    v = ask(r, "wrong.test", "wrong.test");
    assert_int_equal(v->result, BELIEVED_FAIL);
    assert_string_equal(v->enhanced, "5.7.23");
    v = ask(r, "nullmx.test", "good.test");
    assert_int_equal(v->result, BELIEVED_FAIL);
    assert_string_equal(v->enhanced, "5.7.27");
    v = ask(r, "good.test", "wrong.test"); /* SPF passes, for another domain */
    assert_int_equal(v->result, BELIEVED_FAIL);
    assert_string_equal(v->enhanced, "5.7.26");
    assert_int_equal(ask(r, "broken.test", "broken.test")->result, BELIEVED_UNKNOWN);
}

static void
test_a_known_pair_asks_nobody(void **state)
{
    struct rig *r = *state;
    assert_false(known(r, "good.test", "good.test")); /* and it is asked about now */
    struct job *a = start(r, "good.test", "good.test"), *b = start(r, "good.test", "good.test");
    run_all(r);
    assert_false(a->op.late || b->op.late);
    unsigned asked = atomic_load(&r->dns.queries);
    assert_true(known(r, "good.test", "good.test"));
    assert_int_equal(ask(r, "good.test", "good.test")->result, BELIEVED_PASS);
    assert_int_equal(atomic_load(&r->dns.queries), asked);
    r->config.generation = 2; /* a reload: keys and addresses may be others */
    assert_false(known(r, "good.test", "good.test"));
    assert_int_equal(ask(r, "good.test", "good.test")->result, BELIEVED_PASS);
}

static void
test_what_is_expected_is_asked_early(void **state)
{
    struct rig *r = *state;
    preflight_expect(NULL, SLICE("good.test"));
    preflight_expect(r->preflight, SLICE_NONE);
    assert_false(preflight_busy(r->preflight));
    preflight_expect(r->preflight, SLICE("good.test"));
    assert_true(preflight_busy(r->preflight));
    ask(r, "good.test", "good.test");
    assert_true(known(r, "good.test", "good.test"));
    assert_false(preflight_busy(r->preflight));
}

/* The door waits for two seconds; what comes later is remembered. */
static void
test_silent_dns_is_late(void **state)
{
    struct rig *r = *state;
    struct job *j = start(r, "silent.test", "silent.test");
    uint64_t began = clock_mono_ms();
    run_all(r);
    assert_true(j->op.late);
    assert_true(clock_mono_ms() - began + 1 >= clock_scaled_ms(PREFLIGHT_WAIT_MS));
    assert_false(known(r, "silent.test", "silent.test"));
    assert_true(preflight_busy(r->preflight));
    while (preflight_busy(r->preflight)) {
        start(r, "silent.test", "silent.test");
        run_all(r);
        r->started = r->done = 0;
        memset(r->jobs, 0, sizeof r->jobs);
    }
    assert_int_equal(ask(r, "silent.test", "silent.test")->result, BELIEVED_UNKNOWN);
}

static bool
waits_shortly(struct rig *r, const char *domain)
{
    struct job *j = start(r, domain, domain);
    bool shortly = j->op.short_wait;
    preflight_cancel(&j->op);
    run_all(r);
    return shortly;
}

/* DMA-04: the two seconds are paid by one message, not by each; an answer ends that. */
static void
test_silent_dns_is_waited_for_once(void **state)
{
    struct rig *r = *state;
    assert_false(waits_shortly(r, "silent.test"));
    struct job *first = start(r, "silent.test", "silent.test");
    run_all(r);
    assert_true(first->op.late);
    struct job *same = start(r, "silent.test", "silent.test");
    assert_null(same->op.entry); /* it does not wait at all */
    assert_true(waits_shortly(r, "quiet.test"));
    struct job *other = start(r, "quiet.test", "quiet.test");
    uint64_t began = clock_mono_ms();
    run_all(r);
    assert_true(other->op.short_wait);
    if (other->op.late)
        assert_true(clock_mono_ms() - began + 1 >= clock_scaled_ms(PREFLIGHT_WAIT_AGAIN_MS));
    else
        assert_int_equal(other->op.verdict.result, BELIEVED_UNKNOWN);
    for (bool late = true; late;) {
        struct job *alive = start(r, "good.test", "good.test");
        run_all(r);
        late = alive->op.late;
        r->started = r->done = 0;
        memset(r->jobs, 0, sizeof r->jobs);
    }
    assert_false(waits_shortly(r, "wrong.test")); /* DNS has answered */
}

static void
test_too_many_probes_are_late(void **state)
{
    struct rig *r = *state;
    char domain[40];
    for (unsigned i = 0; i <= PREFLIGHT_PROBES_MAX; i++) {
        snprintf(domain, sizeof domain, "d%u.silent.test", i);
        preflight_expect(r->preflight, slice_str(domain));
    }
    struct job *j = start(r, "x.silent.test", "x.silent.test");
    run_all(r);
    assert_true(j->op.late);
}

static void
test_cancelling(void **state)
{
    struct rig *r = *state;
    struct job *waiting = start(r, "silent.test", "silent.test");
    preflight_cancel(&waiting->op);
    preflight_cancel(&waiting->op);
    assert_false(waiting->done);
    run_all(r);
    assert_true(waiting->op.late);
    preflight_cancel(&waiting->op);
    /* tear_down() ends while the probe is under way */
    assert_true(preflight_busy(r->preflight));
}

/* More pairs than are kept: the oldest are forgotten, and nothing grows. */
static void
test_entries_are_bounded(void **state)
{
    struct rig *r = *state;
    char domain[40];
    ask(r, "good.test", "good.test");
    for (unsigned i = 0; i < PREFLIGHT_ENTRIES_MAX + 10; i++) {
        snprintf(domain, sizeof domain, "e%u.test", i);
        known(r, domain, domain);
    }
    for (bool late = true; late;) { /* as long as the probes of those are under way */
        struct job *j = start(r, "good.test", "good.test");
        run_all(r);
        late = j->op.late;
        r->started = r->done = 0;
        memset(r->jobs, 0, sizeof r->jobs);
    }
    assert_true(known(r, "good.test", "good.test"));
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_verdicts),
        TEST(test_a_known_pair_asks_nobody),
        TEST(test_what_is_expected_is_asked_early),
        TEST(test_silent_dns_is_late),
        TEST(test_silent_dns_is_waited_for_once),
        TEST(test_too_many_probes_are_late),
        TEST(test_cancelling),
        TEST(test_entries_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
