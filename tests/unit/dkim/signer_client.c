/* Jobs, signers that die, signers that are not there, cancelling. */
#include "dkim/signer_client.h"

#include "tests/unit/support/signer_support.h"

#include <poll.h>
#include <sys/socket.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/metrics.h"

enum { SIGNERS = 2, JOBS_MAX = 64, TEST_LIMIT_MS = 60000 };

#define MESSAGE "From: a@example.org\r\nSubject: x\r\n\r\nbody\r\n"
#define BOTH_OK "rsa-sha256=ok ed25519-sha256=ok"

struct job {
    struct sign_op op;
    struct content content;
    struct rig *rig;
    unsigned place; /* in which it was done, from 1; 0: not yet */
};

struct rig {
    struct dkim_dir dir;
    struct test_signer signers[SIGNERS];
    struct loop *loop;
    struct signer_client *client;
    struct job jobs[JOBS_MAX];
    unsigned started, done, wanted;
    struct timer limit, poll;
    bool (*until)(struct rig *r);
    uint64_t retries_before;
};

static int
set_up(void **state)
{
    struct rig *r = calloc(1, sizeof *r);
    dkim_dir_init(&r->dir);
    for (int i = 0; i < SIGNERS; i++) {
        char name[32];
        snprintf(name, sizeof name, "signer%d", i);
        test_signer_listen(&r->signers[i], &r->dir, name);
    }
    r->loop = loop_new();
    r->retries_before = metrics_total(METRIC_SIGN_RETRIED);
    *state = r;
    return 0;
}

static void
open_client(struct rig *r, unsigned count)
{
    const char *paths[SIGNERS];
    for (int i = 0; i < SIGNERS; i++)
        paths[i] = r->signers[i].path;
    r->client = signer_client_new(r->loop, paths, count);
}

static int
tear_down(void **state)
{
    struct rig *r = *state;
    signer_client_free(r->client);
    loop_run(r->loop);
    for (unsigned i = 0; i < r->started; i++) {
        buf_fini(&r->jobs[i].op.fields);
        content_unref(&r->jobs[i].content);
    }
    loop_free(r->loop);
    for (int i = 0; i < SIGNERS; i++)
        test_signer_fini(&r->signers[i]);
    dkim_dir_fini(&r->dir);
    assert_int_equal(blob_total_bytes(), 0);
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
on_poll(struct timer *t)
{
    struct rig *r = container_of(t, struct rig, poll);
    if (r->until(r))
        loop_stop(r->loop);
    else
        timer_start(t, 1);
}

static void
run_until(struct rig *r, bool (*until)(struct rig *r))
{
    r->until = until;
    timer_init(&r->limit, r->loop, on_limit);
    timer_init(&r->poll, r->loop, on_poll);
    timer_start(&r->limit, TEST_LIMIT_MS);
    timer_start(&r->poll, 0);
    loop_run(r->loop);
    timer_cancel(&r->limit);
    timer_cancel(&r->poll);
}

static bool
all_done(struct rig *r)
{
    return r->done == r->started;
}

static bool
one_up(struct rig *r)
{
    return signer_client_connected(r->client) == 1;
}

static bool
none_up(struct rig *r)
{
    return signer_client_connected(r->client) == 0;
}

static uint64_t
retries(const struct rig *r)
{
    return metrics_total(METRIC_SIGN_RETRIED) - r->retries_before;
}

static bool
any_retried(struct rig *r)
{
    return retries(r) > 0;
}

static bool
any_done(struct rig *r)
{
    return r->done > 0;
}

/* It has read a job and stands at its failpoint. */
static bool
first_signer_stopped(struct rig *r)
{
    int status = 0;
    return waitpid(r->signers[0].pid, &status, WUNTRACED | WNOHANG) == r->signers[0].pid &&
           WIFSTOPPED(status);
}

static void
on_done(struct sign_op *op)
{
    struct job *j = container_of(op, struct job, op);
    assert_int_equal(j->place, 0);
    j->place = ++j->rig->done;
}

/* The message is `head` and, when body_lines > 0, a body of that many lines of
 * 80 bytes in a blob of its own. */
static struct job *
start_job(struct rig *r, const char *domain, const char *head, unsigned body_lines)
{
    struct job *j = &r->jobs[r->started++];
    j->rig = r;
    j->content.head = blob_new_copy(slice_str(head));
    if (body_lines > 0) {
        struct buf b;
        buf_init(&b, (size_t)body_lines * 80 + 3);
        buf_add_str(&b, "cut"); /* rest_at */
        for (unsigned i = 0; i < body_lines; i++)
            buf_addf(&b, "%078u\r\n", i);
        j->content.rest = blob_take_buf(&b);
        j->content.rest_at = 3;
    }
    j->op = (struct sign_op){.done = on_done, .message = &j->content, .domain = slice_str(domain)};
    sign_start(&j->op, r->client);
    assert_int_equal(j->place, 0);
    return j;
}

static void
keep(struct rig *r, const struct job *j)
{
    struct buf b;
    struct slice pieces[2];
    int count = content_pieces(&j->content, pieces);
    if (j->op.status != SIGN_OK)
        fail_msg("%s", j->op.err.text);
    buf_init(&b, MESSAGE_BYTES_MAX);
    for (int i = 0; i < count; i++)
        buf_add(&b, pieces[i]);
    dkim_dir_add(&r->dir, "signed", buf_slice(&j->op.fields), buf_slice(&b));
    buf_fini(&b);
}

static void
all_verify(struct rig *r)
{
    for (unsigned i = 0; i < r->started; i++)
        keep(r, &r->jobs[i]);
    assert_int_equal(dkim_dir_verify(&r->dir, BOTH_OK), r->started);
}

static void
many_jobs_are_signed_by_two_signers(void **state)
{
    struct rig *r = *state;
    for (int i = 0; i < SIGNERS; i++)
        test_signer_start(&r->signers[i], &r->dir, NULL);
    open_client(r, SIGNERS);
    for (unsigned i = 0; i < JOBS_MAX; i++)
        start_job(r, "example.org", i % 2 ? MESSAGE : "From: b@example.org\r\n\r\n", i * 20);
    run_until(r, all_done);
    all_verify(r);
    assert_int_equal(signer_client_connected(r->client), 2);
    assert_int_equal(retries(r), 0);
}

static void
a_short_message_overtakes_a_long_one(void **state)
{
    struct rig *r = *state;
    test_signer_start(&r->signers[0], &r->dir, NULL);
    open_client(r, 1);
    run_until(r, one_up);
    struct job *slow = start_job(r, "example.org", "From: a@example.org\r\n\r\n", 100000);
    struct job *quick = start_job(r, "example.org", MESSAGE, 0);
    run_until(r, all_done);
    assert_int_equal(quick->place, 1);
    assert_int_equal(slow->place, 2);
    all_verify(r);
}

/* More long ones than may be out at a time (SIGN_OUTSTANDING_BYTES takes three of
 * these): one waits, the short one does not. */
static void
a_short_message_overtakes_long_ones_that_wait(void **state)
{
    struct rig *r = *state;
    test_signer_start(&r->signers[0], &r->dir, NULL);
    open_client(r, 1);
    run_until(r, one_up);
    for (int i = 0; i < 4; i++)
        start_job(r, "example.org", "From: a@example.org\r\n\r\n", 28000);
    assert_int_equal(r->jobs[3].op.state, SIGN_OP_WAITING);
    struct job *quick = start_job(r, "example.org", MESSAGE, 0);
    run_until(r, all_done);
    assert_int_equal(quick->place, 1);
    all_verify(r);
}

static void
refusals_say_why(void **state)
{
    struct rig *r = *state;
    r->dir.specs[0].domain = r->dir.specs[1].domain = "example.org";
    test_signer_start(&r->signers[0], &r->dir, NULL);
    open_client(r, 1);
    struct job *lf = start_job(r, "example.org", "From: a@example.org\n\r\n", 100000);
    struct job *no_key = start_job(r, "example.com", MESSAGE, 0);
    struct job *domain = start_job(r, "example.org;", MESSAGE, 0);
    struct job *empty = start_job(r, "example.org", "", 0);
    struct job *unnamed = start_job(r, "", MESSAGE, 0);
    struct job *good = start_job(r, "example.org", MESSAGE, 0);
    run_until(r, all_done);
    assert_int_equal(lf->op.status, SIGN_REFUSED);
    assert_int_equal(lf->op.err.code, ERR_REFUSED);
    assert_string_equal(lf->op.err.text, "bare LF");
    assert_true(lf->op.sent_bytes < lf->op.message_bytes); /* answered and ended early */
    assert_int_equal(no_key->op.status, SIGN_NO_KEY);
    assert_string_equal(no_key->op.err.text, "no key for example.com");
    assert_int_equal(domain->op.status, SIGN_REFUSED);
    assert_int_equal(empty->op.status, SIGN_REFUSED);
    assert_int_equal(unnamed->op.status, SIGN_REFUSED);
    assert_int_equal(good->op.status, SIGN_OK);
    assert_int_equal(retries(r), 0); /* nothing broke the protocol */
}

static void
a_job_whose_signer_is_killed_is_tried_once_more(void **state)
{
    struct rig *r = *state;
    test_signer_start(&r->signers[0], &r->dir, "sign.in-signer:kill");
    open_client(r, 1);
    start_job(r, "example.org", MESSAGE, 0);
    run_until(r, any_retried);
    assert_int_equal(test_signer_wait(&r->signers[0]), -SIGKILL);
    assert_int_equal(r->done, 0);
    test_signer_start(&r->signers[0], &r->dir, NULL);
    run_until(r, all_done);
    all_verify(r);
    assert_int_equal(retries(r), 1);
}

static void
the_other_signer_takes_over(void **state)
{
    struct rig *r = *state;
    test_signer_start(&r->signers[0], &r->dir, "sign.in-signer:kill");
    open_client(r, SIGNERS);
    run_until(r, one_up);
    start_job(r, "example.org", MESSAGE, 0); /* to the only one that is up */
    test_signer_start(&r->signers[1], &r->dir, NULL);
    run_until(r, all_done);
    all_verify(r);
    assert_int_equal(retries(r), 1);
    assert_int_equal(test_signer_wait(&r->signers[0]), -SIGKILL);
}

/* The first job kills each signer that it meets; those sent with it do not
 * suffer for it. */
static void
a_message_that_kills_signers_goes_down_alone(void **state)
{
    struct rig *r = *state;
    test_signer_start(&r->signers[0], &r->dir, "sign.in-signer:kill");
    open_client(r, 1);
    run_until(r, one_up);
    struct job *deadly = start_job(r, "example.org", MESSAGE, 0);
    for (int i = 0; i < 20; i++)
        start_job(r, "example.org", MESSAGE, 0);
    run_until(r, any_retried);
    assert_int_equal(test_signer_wait(&r->signers[0]), -SIGKILL);
    test_signer_start(&r->signers[0], &r->dir, "sign.in-signer:kill");
    run_until(r, any_done);
    assert_int_equal(test_signer_wait(&r->signers[0]), -SIGKILL);
    test_signer_start(&r->signers[0], &r->dir, NULL);
    run_until(r, all_done);
    assert_int_equal(deadly->place, 1);
    assert_int_equal(deadly->op.status, SIGN_AWAY);
    assert_int_equal(deadly->op.err.code, ERR_AWAY);
    assert_non_null(strstr(deadly->op.err.text, "2 signers ended with this message"));
    for (unsigned i = 1; i < r->started; i++)
        assert_int_equal(r->jobs[i].op.status, SIGN_OK);
    assert_in_range(retries(r), 2, SIGN_JOBS_PER_CONNECTION);
}

static void
without_signers_jobs_end_in_time(void **state)
{
    struct rig *r = *state;
    open_client(r, SIGNERS); /* their sockets are there, nobody accepts */
    uint64_t before = clock_mono_ms();
    struct job *j = start_job(r, "example.org", MESSAGE, 0);
    run_until(r, all_done);
    assert_true(clock_mono_ms() - before >= clock_scaled_ms(SIGN_WAIT_MS));
    assert_int_equal(j->op.status, SIGN_AWAY);
    assert_int_equal(j->op.err.code, ERR_AWAY);
    assert_string_equal(j->op.err.text, "no signer took the message in time");
    assert_int_equal(retries(r), 0);
}

static void
without_a_socket_too_and_connects_when_there_is_one(void **state)
{
    struct rig *r = *state;
    close(r->signers[0].listen_fd);
    unlink(r->signers[0].path);
    open_client(r, 1);
    struct job *j = start_job(r, "example.org", MESSAGE, 0);
    run_until(r, all_done);
    assert_int_equal(j->op.status, SIGN_AWAY);
    test_signer_listen(&r->signers[0], &r->dir, "signer0");
    test_signer_start(&r->signers[0], &r->dir, NULL);
    j = start_job(r, "example.org", MESSAGE, 0);
    run_until(r, all_done);
    assert_int_equal(j->op.status, SIGN_OK);
}

static void
a_job_retried_in_vain_says_what_happened(void **state)
{
    struct rig *r = *state;
    test_signer_start(&r->signers[0], &r->dir, "sign.in-signer:kill");
    open_client(r, 1);
    struct job *j = start_job(r, "example.org", MESSAGE, 0);
    run_until(r, all_done);
    assert_int_equal(j->op.status, SIGN_AWAY);
    assert_non_null(strstr(j->op.err.text, "no signer took the message in time; before: "));
    assert_int_equal(retries(r), 1);
    assert_int_equal(test_signer_wait(&r->signers[0]), -SIGKILL);
}

static void
a_silent_signer_counts_as_dead(void **state)
{
    struct rig *r = *state;
    test_signer_start(&r->signers[0], &r->dir, "sign.in-signer:stop");
    open_client(r, SIGNERS);
    run_until(r, one_up);
    start_job(r, "example.org", MESSAGE, 0);
    test_signer_start(&r->signers[1], &r->dir, NULL);
    run_until(r, all_done);
    all_verify(r);
    assert_int_equal(retries(r), 1);
}

static void
cancelled(struct rig *r, struct job *j, enum sign_op_state in)
{
    unsigned before = r->done;
    assert_int_equal(j->op.state, in);
    sign_cancel(&j->op);
    sign_cancel(&j->op); /* once more changes nothing */
    assert_int_equal(r->done, before);
    run_until(r, all_done);
    assert_int_equal(r->done, before + 1);
    assert_int_equal(j->op.status, SIGN_AWAY);
    assert_int_equal(j->op.err.code, ERR_CANCELLED);
    sign_cancel(&j->op); /* idle */
    run_until(r, all_done);
    assert_int_equal(r->done, before + 1);
}

static void
cancel_while_waiting(void **state)
{
    struct rig *r = *state;
    open_client(r, 1);
    struct job *j = start_job(r, "example.org", MESSAGE, 0);
    cancelled(r, j, SIGN_OP_WAITING);
    test_signer_start(&r->signers[0], &r->dir, NULL);
    j = start_job(r, "example.org", MESSAGE, 0);
    run_until(r, all_done);
    assert_int_equal(j->op.status, SIGN_OK);
}

static void
cancel_while_sending(void **state)
{
    struct rig *r = *state;
    test_signer_start(&r->signers[0], &r->dir, NULL);
    open_client(r, 1);
    run_until(r, one_up);
    struct job *j = start_job(r, "example.org", MESSAGE, 50000);
    cancelled(r, j, SIGN_OP_SENDING);
    content_unref(&j->content); /* the pieces on their way hold it */
    j = start_job(r, "example.org", MESSAGE, 0);
    run_until(r, all_done);
    assert_int_equal(j->op.status, SIGN_OK);
    assert_int_equal(retries(r), 0);
}

static void
cancel_when_sent(void **state)
{
    struct rig *r = *state;
    test_signer_start(&r->signers[0], &r->dir, NULL);
    open_client(r, 1);
    run_until(r, one_up);
    struct job *j = start_job(r, "example.org", MESSAGE, 100);
    cancelled(r, j, SIGN_OP_SENT);
    content_unref(&j->content);
    j = start_job(r, "example.org", MESSAGE, 0);
    run_until(r, all_done);
    assert_int_equal(j->op.status, SIGN_OK); /* not the answer of the one before */
    assert_int_equal(retries(r), 0);
}

static bool
first_finished(struct rig *r)
{
    return r->jobs[0].op.state == SIGN_OP_FINISHED || r->jobs[0].place > 0;
}

static void
cancel_when_finished_has_no_effect(void **state)
{
    struct rig *r = *state;
    open_client(r, 1);
    struct job *j = start_job(r, "", MESSAGE, 0);
    assert_true(first_finished(r));
    sign_cancel(&j->op);
    run_until(r, all_done);
    assert_int_equal(j->op.status, SIGN_REFUSED);
    assert_int_equal(j->op.err.code, ERR_REFUSED);
}

static void
cancel_of_a_retried_job_frees_the_signer(void **state)
{
    struct rig *r = *state;
    test_signer_start(&r->signers[0], &r->dir, "sign.in-signer:kill");
    open_client(r, 1);
    run_until(r, one_up);
    struct job *j = start_job(r, "example.org", MESSAGE, 0);
    run_until(r, none_up);
    assert_int_equal(test_signer_wait(&r->signers[0]), -SIGKILL);
    test_signer_start(&r->signers[0], &r->dir, "sign.in-signer:stop");
    run_until(r, first_signer_stopped);
    struct job *behind = start_job(r, "example.org", MESSAGE, 0);
    assert_int_equal(behind->op.state, SIGN_OP_WAITING);
    sign_cancel(&j->op);
    assert_int_equal(behind->op.state, SIGN_OP_SENT);
    kill(r->signers[0].pid, SIGCONT);
    run_until(r, all_done);
    assert_int_equal(behind->op.status, SIGN_OK);
}

static void
a_draining_signer_answers_what_it_began(void **state)
{
    struct rig *r = *state;
    test_signer_start(&r->signers[0], &r->dir, NULL);
    open_client(r, 1);
    run_until(r, one_up);
    assert_int_equal(test_signer_drain(&r->signers[0]), 0); /* idle: at once */
    run_until(r, none_up);
    test_signer_start(&r->signers[0], &r->dir, NULL);
    start_job(r, "example.org", MESSAGE, 0);
    run_until(r, all_done);
    all_verify(r);
}

/* A server that is no signer, or of another version. */
static void
nonsense_instead_of_answers_is_survived(void **state)
{
    struct rig *r = *state;
    pid_t pid = fork();
    if (pid == 0) {
        for (int i = 0; i < 3; i++) {
            struct pollfd ready = {.fd = r->signers[0].listen_fd, .events = POLLIN};
            poll(&ready, 1, TEST_LIMIT_MS);
            int fd = accept(ready.fd, NULL, NULL);
            ssize_t n = write(fd, "HTTP/1.1 400 Bad Request\r\n\r\n", 28);
            usleep(1000);
            close(fd);
            if (n != 28)
                _exit(1);
        }
        _exit(0);
    }
    open_client(r, 1);
    struct job *j = start_job(r, "example.org", MESSAGE, 0);
    run_until(r, all_done);
    assert_int_equal(j->op.status, SIGN_AWAY);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

int
main(void)
{
    /* 10 s until a signer takes a job become 3.3 s, 15 s of silence 5 s. */
    setenv("STAGEPOST_TIME_SCALE", "3", 1);
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(many_jobs_are_signed_by_two_signers),
        TEST(a_short_message_overtakes_a_long_one),
        TEST(a_short_message_overtakes_long_ones_that_wait),
        TEST(refusals_say_why),
        TEST(a_job_whose_signer_is_killed_is_tried_once_more),
        TEST(the_other_signer_takes_over),
        TEST(a_message_that_kills_signers_goes_down_alone),
        TEST(without_signers_jobs_end_in_time),
        TEST(without_a_socket_too_and_connects_when_there_is_one),
        TEST(a_job_retried_in_vain_says_what_happened),
        TEST(a_silent_signer_counts_as_dead),
        TEST(cancel_while_waiting),
        TEST(cancel_while_sending),
        TEST(cancel_when_sent),
        TEST(cancel_when_finished_has_no_effect),
        TEST(cancel_of_a_retried_job_frees_the_signer),
        TEST(a_draining_signer_answers_what_it_began),
        TEST(nonsense_instead_of_answers_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
