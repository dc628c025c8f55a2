/*
 * For tests of the SMTP client: one client against a scripted MX, with what the
 * client told, and a count of the states it entered.
 */
#ifndef STAGEPOST_TESTS_CLIENT_PROBE_H
#define STAGEPOST_TESTS_CLIENT_PROBE_H

#include "tests/unit/relay/sys/net/net_test.h"

#include "relay/deliver/client.h"
#include "tests/unit/support/script_mx.h"

enum { PROBE_RCPTS = 5, PROBE_ARENA = 1 << 20 };

struct probe {
    struct loop *loop;
    struct script_mx mx;
    struct client_env env;
    struct client_tracer tracer;
    struct client_user user;
    struct client *client; /* NULL once freed or said QUIT to */
    bool ready, closed;
    struct envelope envelope;
    struct content content;
    struct arena arena;
    struct client_rcpt rcpts[PROBE_RCPTS];
    struct client_send_op op;
    bool sending, done;
    bool permit; /* may_send_dot's answer */
    unsigned asked, looks;
    /* Leaves in this state (client_free or client_withdraw); CLIENT_STATES: never. */
    enum client_state leave_in;
    struct deferred leave;
    bool left;
};

static unsigned states_entered[CLIENT_STATES];

static inline void
probe_on_state(struct client_tracer *t, enum client_state s)
{
    struct probe *p = container_of(t, struct probe, tracer);
    states_entered[s]++;
    if (s == p->leave_in)
        deferred_schedule(&p->leave);
}

static inline void
probe_leave(struct deferred *d)
{
    struct probe *p = container_of(d, struct probe, leave);
    p->left = true;
    if (p->sending) {
        client_withdraw(p->client, "the test withdraws");
    } else if (p->client != NULL) {
        client_free(p->client);
        p->client = NULL;
    }
}

static inline void
probe_on_ready(struct client_user *u)
{
    struct probe *p = container_of(u, struct probe, user);
    assert_false(p->sending);
    p->ready = true;
}

static inline void
probe_on_closed(struct client_user *u)
{
    struct probe *p = container_of(u, struct probe, user);
    assert_false(p->sending);
    assert_false(p->closed);
    p->ready = false;
    p->closed = true;
}

static inline void
probe_on_done(struct client_send_op *op)
{
    struct probe *p = container_of(op, struct probe, op);
    assert_true(p->sending);
    p->sending = false;
    p->done = true;
}

static inline bool
probe_may_send_dot(struct client_send_op *op)
{
    struct probe *p = container_of(op, struct probe, op);
    p->asked++;
    return p->permit;
}

static inline void
probe_init(struct probe *p)
{
    *p = (struct probe){.loop = loop_new(), .permit = true, .leave_in = CLIENT_STATES};
    script_mx_open(&p->mx, p->loop);
    client_env_init(&p->env, p->loop, "gateway.test", NULL);
    p->tracer.on_state = probe_on_state;
    p->env.tracer = &p->tracer;
    p->user = (struct client_user){.on_ready = probe_on_ready, .on_closed = probe_on_closed};
    deferred_init(&p->leave, p->loop, probe_leave);
    arena_init(&p->arena, PROBE_ARENA);
    p->envelope.reverse_path = SLICE("sender@example.org");
    p->content.rest = blob_new_copy(SLICE("Subject: x\r\n\r\n.dot\r\nbody\r\n"));
}

static inline bool
probe_env_is_quiet(void *arg)
{
    struct probe *p = arg;
    return !client_env_busy(&p->env);
}

static inline void
probe_fini(struct probe *p)
{
    client_free(p->client);
    deferred_cancel(&p->leave);
    run_until(p->loop, probe_env_is_quiet, p);
    client_env_fini(&p->env);
    script_mx_close(&p->mx);
    content_unref(&p->content);
    arena_fini(&p->arena);
    loop_free(p->loop);
}

static inline void
probe_open(struct probe *p)
{
    p->ready = p->closed = false;
    p->client = client_open(&p->env, "mx.test", &p->mx.address, true, &p->user);
}

static inline bool
probe_settled(void *arg)
{
    struct probe *p = arg;
    return p->ready || p->closed || (p->left && p->client == NULL);
}

/* Opens until ready or closed. */
static inline void
probe_connect(struct probe *p)
{
    probe_open(p);
    run_until(p->loop, probe_settled, p);
}

static inline void
probe_start(struct probe *p, unsigned rcpts)
{
    static const char *const names[PROBE_RCPTS] = {"a@mx.test", "b@mx.test", "c@mx.test",
                                                   "d@mx.test", "e@mx.test"};
    for (unsigned i = 0; i < rcpts; i++)
        if (p->rcpts[i].address.n == 0)
            p->rcpts[i].address = slice_str(names[i]);
    p->op.done = probe_on_done;
    p->op.may_send_dot = probe_may_send_dot;
    p->op.envelope = &p->envelope;
    p->op.content = &p->content;
    p->op.rcpts = p->rcpts;
    p->op.count = rcpts;
    p->op.arena = &p->arena;
    p->sending = true;
    p->done = p->ready = false;
    client_send_start(&p->op, p->client);
    assert_false(p->done);
}

static inline void
probe_finish(struct probe *p)
{
    run_until_flag(p->loop, &p->done);
    run_until(p->loop, probe_settled, p);
}

static inline void
probe_send(struct probe *p, unsigned rcpts)
{
    probe_start(p, rcpts);
    probe_finish(p);
}

static inline bool
probe_mx_is_alone(void *arg)
{
    return ((struct probe *)arg)->mx.live == 0;
}

static inline void
probe_quit(struct probe *p)
{
    client_quit(p->client);
    p->client = NULL;
    run_until(p->loop, probe_mx_is_alone, p);
}

#define assert_rcpt(p, i, want_result, want_outcome, want_code)                                    \
    do {                                                                                           \
        assert_int_equal((p)->rcpts[i].result, (want_result));                                     \
        if ((want_result) != RCPT_OPEN) {                                                          \
            assert_int_equal((p)->rcpts[i].verdict.outcome, (want_outcome));                       \
            assert_int_equal((p)->rcpts[i].verdict.code, (want_code));                             \
        }                                                                                          \
    } while (0)

#define assert_script_kept(p) assert_string_equal((p)->mx.fault, "")

#endif
