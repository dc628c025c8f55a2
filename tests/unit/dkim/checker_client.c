/* Checker and client together: verdicts, checkers that die or break off, cancelling. */
#include "dkim/checker_client.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "tests/unit/support/fake_dns.h"
#include "tests/unit/support/temp_dir.h"

#include "dkim/check_protocol.h"
#include "dkim/checker.h"
#include "relay/sys/net/listener.h"
#include "relay/sys/net/stream.h"

enum { JOBS_MAX = 16, TEST_LIMIT_MS = 60000, LISTEN = 100, CONTROL = 101 };

#define IP "192.0.2.1"

static const struct fake_dns_row ROWS[] = {
    {"good.test", DNS_TXT, FAKE_DNS_ANSWER, "v=spf1 a:host.test -all"},
    {"host.test", DNS_A, FAKE_DNS_ANSWER, IP},
    {"mx.test", DNS_TXT, FAKE_DNS_ANSWER, "v=spf1 mx ?all"},
    {"mx.test", DNS_MX, FAKE_DNS_ANSWER, "10 host.test."},
    {"bad.test", DNS_TXT, FAKE_DNS_ANSWER, "v=spf1 wrong -all"},
    {"plain.test", DNS_TXT, FAKE_DNS_ANSWER, "hello"},
    {"broken.test", DNS_TXT, FAKE_DNS_RCODE, "2"},
    {"silent.test", DNS_TXT, FAKE_DNS_SILENT, ""},
};

struct job {
    struct check_op op;
    struct rig *rig;
    unsigned place; /* in which it was done, from 1; 0: not yet */
};

struct rig {
    struct temp_dir dir;
    char path[160];
    struct fake_dns dns;
    struct loop *loop;
    struct resolver *resolver;
    struct checker_client *client;
    int listen_fd, control_fd;
    pid_t pid; /* 0: not running */
    struct job jobs[JOBS_MAX];
    unsigned started, done, wanted;
    struct timer limit;
};

static void
start_checker(struct rig *r, const char *failpoint)
{
    int control[2];
    assert_int_equal(r->pid, 0);
    assert_int_equal(pipe(control), 0);
    r->pid = fork();
    assert_true(r->pid >= 0);
    if (r->pid == 0) {
        dup2(r->listen_fd, LISTEN);
        dup2(control[0], CONTROL);
        close_range(3, LISTEN - 1, 0);
        close_range(CONTROL + 1, ~0U, 0);
        if (failpoint != NULL)
            setenv("FAILPOINT", failpoint, 1);
        const struct checker_config cfg = {LISTEN, CONTROL};
        _exit(checker_run(&cfg));
    }
    close(control[0]);
    r->control_fd = control[1];
}

/* Its exit code, or minus the signal. */
static int
wait_checker(struct rig *r)
{
    int status = 0;
    assert_int_equal(waitpid(r->pid, &status, 0), r->pid);
    r->pid = 0;
    close(r->control_fd);
    r->control_fd = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static int
set_up(void **state)
{
    struct rig *r = calloc(1, sizeof *r);
    struct net_address at = {.kind = NET_UNIX};
    struct err err = {0};
    temp_dir_make(&r->dir);
    snprintf(at.path, sizeof at.path, "%.90s/c", r->dir.path);
    snprintf(r->path, sizeof r->path, "%s", at.path);
    r->listen_fd = net_listen(&at, false, false, &err);
    assert_true(r->listen_fd >= 0);
    fake_dns_open(&r->dns, ROWS, ARRAY_LEN(ROWS));
    r->loop = loop_new();
    const struct resolver_config cfg = {.forward = r->dns.forward, .no_special_zones = true};
    r->resolver = resolver_new(r->loop, &cfg, &err);
    assert_non_null(r->resolver);
    r->client = checker_client_new(r->loop, r->resolver, r->path);
    *state = r;
    return 0;
}

static int
tear_down(void **state)
{
    struct rig *r = *state;
    checker_client_free(r->client);
    resolver_free(r->resolver);
    loop_run(r->loop);
    loop_free(r->loop);
    fake_dns_close(&r->dns);
    if (r->pid > 0) {
        kill(r->pid, SIGKILL);
        wait_checker(r);
    }
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
on_done(struct check_op *op)
{
    struct job *j = container_of(op, struct job, op);
    assert_int_equal(j->place, 0);
    j->place = ++j->rig->done;
    if (j->rig->done == j->rig->wanted)
        loop_stop(j->rig->loop);
}

static struct job *
start_job(struct rig *r, const char *domain)
{
    struct job *j = &r->jobs[r->started++];
    j->rig = r;
    j->op.done = on_done;
    assert_true(spf_mail_set(&j->op.mail, SLICE(IP), SLICE("u"), slice_str(domain), SLICE_NONE));
    check_start(&j->op, r->client);
    assert_int_equal(j->place, 0);
    return j;
}

static void
run_until_done(struct rig *r, unsigned wanted)
{
    r->wanted = wanted;
    timer_init(&r->limit, r->loop, on_limit);
    timer_start(&r->limit, TEST_LIMIT_MS);
    while (r->done < wanted)
        loop_run(r->loop);
    timer_cancel(&r->limit);
}

static void
on_pause(struct timer *t)
{
    loop_stop(t->loop);
}

static void
run_for_ms(struct rig *r, uint64_t ms)
{
    struct timer t;
    timer_init(&t, r->loop, on_pause);
    timer_start(&t, ms);
    loop_run(r->loop);
    timer_cancel(&t);
}

/* --- tests --- */

static void
test_verdicts(void **state)
{
    struct rig *r = *state;
    start_checker(r, NULL);
    struct job *good = start_job(r, "good.test"), *mx = start_job(r, "mx.test");
    struct job *bad = start_job(r, "bad.test"), *plain = start_job(r, "plain.test");
    struct job *gone = start_job(r, "gone.test"), *broken = start_job(r, "broken.test");
    run_until_done(r, 6);
    assert_int_equal(good->op.verdict.result, SPF_PASS);
    assert_int_equal(good->op.verdict.lookups, 1);
    assert_int_equal(good->op.err.code, ERR_NONE);
    assert_int_equal(mx->op.verdict.result, SPF_PASS);
    assert_int_equal(bad->op.verdict.result, SPF_PERMERROR);
    assert_string_equal(bad->op.verdict.text, "bad.test: \"wrong\" is not valid");
    assert_int_equal(plain->op.verdict.result, SPF_NONE);
    assert_int_equal(gone->op.verdict.result, SPF_NONE);
    assert_int_equal(broken->op.verdict.result, SPF_TEMPERROR);
    assert_int_equal(broken->op.err.code, ERR_NONE);
    close(r->control_fd);
    assert_int_equal(wait_checker(r), 0);
}

static void
test_a_dead_checker_costs_one_retry(void **state)
{
    struct rig *r = *state;
    start_checker(r, "check.in-checker:kill:2"); /* with an answer in hand */
    struct job *j = start_job(r, "good.test");
    while (waitpid(r->pid, NULL, WNOHANG) == 0)
        run_for_ms(r, 5);
    r->pid = 0;
    close(r->control_fd);
    assert_int_equal(r->done, 0);
    start_checker(r, NULL);
    run_until_done(r, 1);
    assert_int_equal(j->op.verdict.result, SPF_PASS);
    assert_int_equal(j->op.deaths, 1);
}

static void
test_two_dead_checkers_are_temperror(void **state)
{
    struct rig *r = *state;
    struct job *killer = start_job(r, "good.test"), *other = start_job(r, "mx.test");
    for (int i = 0; i < 2; i++) {
        start_checker(r, "check.in-checker:abort:1");
        while (waitpid(r->pid, NULL, WNOHANG) == 0)
            run_for_ms(r, 5);
        r->pid = 0;
        close(r->control_fd);
    }
    run_until_done(r, 1);
    assert_int_equal(killer->op.verdict.result, SPF_TEMPERROR);
    assert_int_equal(killer->op.err.code, ERR_AWAY);
    assert_int_equal(other->place, 0);
    start_checker(r, NULL);
    run_until_done(r, 2);
    assert_int_equal(other->op.verdict.result, SPF_PASS);
    assert_in_range(other->op.deaths, 0, 1); /* it may have been owed an answer, once */
}

static void
end_checker(struct rig *r)
{
    while (waitpid(r->pid, NULL, WNOHANG) == 0)
        run_for_ms(r, 5);
    r->pid = 0;
    close(r->control_fd);
}

/* Each kills a checker when it is alone: the domain is known for it after three. */
static void
test_a_domain_that_ends_checkers_is_remembered(void **state)
{
    struct rig *r = *state;
    for (unsigned deaths = 0; deaths < CHECK_CRASHES_MAX;) {
        struct job *j = start_job(r, "good.test");
        for (int i = 0; i < 2 && deaths < CHECK_CRASHES_MAX; i++, deaths++) {
            start_checker(r, "check.in-checker:abort:1");
            end_checker(r);
        }
        if (deaths == CHECK_CRASHES_MAX)
            start_checker(r, NULL); /* it had one death only: it is asked about again */
        run_until_done(r, r->started);
        assert_int_equal(j->op.verdict.result,
                         deaths == CHECK_CRASHES_MAX ? SPF_PASS : SPF_TEMPERROR);
    }
    unsigned asked = atomic_load(&r->dns.queries);
    struct job *known = start_job(r, "good.test"), *other = start_job(r, "mx.test");
    run_until_done(r, r->started);
    assert_int_equal(known->op.verdict.result, SPF_PERMERROR);
    assert_int_equal(known->op.err.code, ERR_NONE);
    assert_true(known->place < other->place);
    assert_int_equal(other->op.verdict.result, SPF_PASS);
    assert_true(atomic_load(&r->dns.queries) >= asked);
}

/* One waits for a server that says nothing; the others do not wait for it. */
static void
test_several_at_once(void **state)
{
    struct rig *r = *state;
    struct job *quick[10];
    start_checker(r, NULL);
    struct job *silent = start_job(r, "silent.test");
    while (silent->op.state != CHECK_RUNNING || atomic_load(&r->dns.queries) == 0)
        run_for_ms(r, 5);
    for (unsigned i = 0; i < ARRAY_LEN(quick); i++)
        quick[i] = start_job(r, i % 2 == 0 ? "good.test" : "mx.test");
    run_until_done(r, ARRAY_LEN(quick));
    assert_int_equal(silent->place, 0);
    for (unsigned i = 0; i < ARRAY_LEN(quick); i++)
        assert_int_equal(quick[i]->op.verdict.result, SPF_PASS);
    check_cancel(&silent->op);
    run_until_done(r, r->started);
}

/* It waited for DNS when the checker died: that was not of its doing. */
static void
test_who_waits_for_dns_is_innocent(void **state)
{
    struct rig *r = *state;
    start_checker(r, NULL);
    struct job *silent = start_job(r, "silent.test");
    while (silent->op.state != CHECK_RUNNING || atomic_load(&r->dns.queries) == 0)
        run_for_ms(r, 5);
    kill(r->pid, SIGKILL);
    end_checker(r);
    while (silent->op.state != CHECK_WAITING)
        run_for_ms(r, 5);
    assert_int_equal(silent->op.deaths, 0);
    start_checker(r, NULL);
    run_until_done(r, 1);
    assert_int_equal(silent->op.verdict.result, SPF_TEMPERROR);
    assert_int_equal(silent->op.err.code, ERR_NONE);
}

static void
test_cancel_while_waiting(void **state)
{
    struct rig *r = *state;
    struct job *j = start_job(r, "good.test");
    check_cancel(&j->op);
    check_cancel(&j->op);
    assert_int_equal(j->place, 0);
    run_until_done(r, 1);
    assert_int_equal(j->op.err.code, ERR_CANCELLED);
    assert_int_equal(j->op.verdict.result, SPF_TEMPERROR);
    check_cancel(&j->op);
}

/* The question to DNS is under way, and the next check has another one. */
static void
test_cancel_while_running(void **state)
{
    struct rig *r = *state;
    start_checker(r, NULL);
    struct job *silent = start_job(r, "silent.test"), *next = start_job(r, "good.test");
    while (silent->op.state != CHECK_RUNNING || atomic_load(&r->dns.queries) == 0)
        run_for_ms(r, 5);
    check_cancel(&silent->op);
    run_until_done(r, 2);
    assert_int_equal(silent->op.err.code, ERR_CANCELLED);
    assert_int_equal(next->op.verdict.result, SPF_PASS);
}

static void
test_silent_dns_is_temperror(void **state)
{
    struct rig *r = *state;
    start_checker(r, NULL);
    struct job *silent = start_job(r, "silent.test");
    run_until_done(r, 1);
    assert_int_equal(silent->op.verdict.result, SPF_TEMPERROR);
}

/* --- a checker that says the wrong things --- */

static int
accept_as_checker(struct rig *r)
{
    int fd;
    while ((fd = accept4(r->listen_fd, NULL, NULL, SOCK_NONBLOCK)) < 0)
        run_for_ms(r, 5);
    return fd;
}

static void
test_a_breach_counts_as_death(void **state)
{
    struct rig *r = *state;
    struct job *j = start_job(r, "good.test");
    for (int i = 0; i < 2; i++) {
        struct buf b;
        buf_init(&b, 1024);
        int fd = accept_as_checker(r);
        frame_add_header(&b, CHECK_FRAME_READY, 0, 0);
        if (i == 0)
            buf_add_str(&b, "never a frame");
        else
            check_add_verdict(&b, 99, &(struct spf_verdict){.result = SPF_PASS});
        assert_int_equal(write(fd, buf_slice(&b).p, buf_slice(&b).n), buf_slice(&b).n);
        while (j->op.deaths <= (unsigned)i)
            run_for_ms(r, 5);
        close(fd);
        buf_fini(&b);
    }
    run_until_done(r, 1);
    assert_int_equal(j->op.err.code, ERR_AWAY);
    assert_int_equal(j->op.verdict.result, SPF_TEMPERROR);
}

static void
test_a_breach_ends_only_its_connection(void **state)
{
    struct rig *r = *state;
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    start_checker(r, NULL);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(at.sun_path, sizeof at.sun_path, "%.100s", r->path);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    struct buf b;
    buf_init(&b, 1024);
    assert_true(check_add_answer(&b, 1, DNS_OK, SLICE_NONE)); /* to no question */
    assert_int_equal(write(fd, buf_slice(&b).p, buf_slice(&b).n), buf_slice(&b).n);
    buf_fini(&b);
    char in[64];
    ssize_t n, all = 0;
    while ((n = read(fd, in, sizeof in)) > 0)
        all += n;
    assert_int_equal(all, FRAME_HEADER_BYTES); /* READY, then the end */
    close(fd);
    struct job *j = start_job(r, "good.test");
    run_until_done(r, 1);
    assert_int_equal(j->op.verdict.result, SPF_PASS);
    assert_int_equal(j->op.deaths, 0);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_verdicts),
        TEST(test_a_dead_checker_costs_one_retry),
        TEST(test_two_dead_checkers_are_temperror),
        TEST(test_a_domain_that_ends_checkers_is_remembered),
        TEST(test_several_at_once),
        TEST(test_who_waits_for_dns_is_innocent),
        TEST(test_cancel_while_waiting),
        TEST(test_cancel_while_running),
        TEST(test_silent_dns_is_temperror),
        TEST(test_a_breach_counts_as_death),
        TEST(test_a_breach_ends_only_its_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
