/*
 * Happy path: attempt_new() from a job; attempt_run() on a connection loads the
 * content if it is not in memory (when there is room for it), starts the intent
 * and the transaction in the same turn; the dot waits for the intent; the verdicts
 * are written with queue_finish_start(), and the attempt is gone when that is
 * durable.
 *
 * Ways it ends: so; or without a connection (attempt_end); or the queue says
 * that the job is not ours or that it cannot be reached, before any dot: then
 * the transaction is dropped and the job released. Whatever operation of the
 * queue is under way then is waited for first (conclude()).
 */
#include "relay/deliver/attempt.h"

#include <stdlib.h>

#include "relay/deliver/result.h"
#include "relay/deliver/retry.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/base/log.h"

struct attempt {
    struct attempt_env *env;
    struct queue_job *job;
    struct list_node node; /* where it waits */
    struct arena arena;    /* verdict texts */
    struct envelope envelope;
    struct result_target *targets; /* one for each target of the job */
    /* On a connection. */
    struct client *client; /* NULL: on none */
    struct attempt_runner *runner;
    struct client_send_op send;
    bool sending;
    struct client_rcpt *rcpts; /* of the transaction */
    unsigned *rcpt_targets;    /* whose target each of them is */
    unsigned moves;            /* hosts that failed within this attempt */
    struct finding failure;    /* of the last of them */
    char failure_mx[ADDRESS_DOMAIN_MAX + 1];
    struct deferred cannot_run;
    /* With the queue. */
    struct room_op room;
    struct queue_load_op load;
    bool loading;
    struct queue_intend_op intend;
    enum { INTENT_NONE, INTENT_PENDING, INTENT_MADE } intent;
    bool concluding;
    bool release; /* the job goes back unchanged */
    uint64_t release_delay_ms;
    struct queue_finish_op finish;
    struct buf event;
};

static struct queue_delivery *
delivery_of(const struct attempt *a)
{
    return queue_job_delivery(a->job);
}

/* Whether target i has no verdict of this attempt yet. */
static bool
is_pending(const struct attempt *a, unsigned i)
{
    return result_is_open(&delivery_of(a)->targets[i]) && !a->targets[i].attempted;
}

/* ---- the end ------------------------------------------------------------ */

static void
gone(struct attempt *a)
{
    struct attempt_env *env = a->env;
    deferred_cancel(&a->cannot_run);
    room_leave(&a->room);
    BUG_ON(list_node_linked(&a->node));
    arena_fini(&a->arena);
    buf_fini(&a->event);
    free(a->targets);
    free(a->rcpts);
    free(a->rcpt_targets);
    free(a);
    env->live--;
}

static void
on_finished(struct queue_finish_op *op)
{
    struct attempt *a = container_of(op, struct attempt, finish);
    if (op->stale)
        LOG0(LOG_INFO, "delivery.late-outcome");
    gone(a);
}

static void
start_finish(struct attempt *a, int64_t retry_at_unix_ms)
{
    a->finish.done = on_finished;
    a->finish.retry_at_unix_ms = retry_at_unix_ms;
    a->finish.event = buf_slice(&a->event);
    queue_finish_start(&a->finish, a->env->queue, a->job);
    a->job = NULL;
}

/* Called again by whatever is still under way. */
static void
conclude(struct attempt *a)
{
    a->concluding = true;
    if (a->loading || a->intent == INTENT_PENDING)
        return;
    if (a->release) {
        queue_job_release(a->env->queue, a->job, a->release_delay_ms);
        a->job = NULL;
        gone(a);
        return;
    }
    start_finish(a, result_write(a->env->config, &a->envelope, a->job, a->targets, &a->event));
}

static void
release(struct attempt *a, uint64_t delay_ms)
{
    a->release = true;
    a->release_delay_ms = delay_ms;
}

/* Every target without a verdict gets this one. */
static void
judge_rest(struct attempt *a, const struct finding *f, struct slice mx)
{
    struct verdict v;
    outcome_verdict(f, mx, &a->arena, &v);
    for (unsigned i = 0; i < delivery_of(a)->target_count; i++)
        if (is_pending(a, i)) {
            a->targets[i].verdict = v;
            a->targets[i].attempted = true;
        }
}

void
attempt_end(struct attempt *a, const struct finding *f, struct slice mx)
{
    BUG_ON(a->client != NULL);
    /* What this message met itself says more than the site's state. */
    if (a->moves > 0)
        judge_rest(a, &a->failure, slice_str(a->failure_mx));
    else
        judge_rest(a, f, mx);
    if (a->loading)
        queue_load_cancel(&a->load);
    conclude(a);
}

void
attempt_give_back(struct attempt *a, uint64_t delay_ms)
{
    struct finding f;
    bool decided = a->intent != INTENT_NONE || a->moves > 0;
    for (unsigned i = 0; i < delivery_of(a)->target_count; i++)
        decided = decided || a->targets[i].attempted;
    if (decided) {
        finding_from_us(&f, PHASE_CONNECT, SEEN_OURS, "delivery is shutting down");
        attempt_end(a, &f, SLICE_NONE);
        return;
    }
    release(a, delay_ms);
    if (a->loading)
        queue_load_cancel(&a->load);
    conclude(a);
}

void
attempt_withdraw(struct attempt *a)
{
    bool decided = a->moves > 0;
    if (!a->sending || a->send.dot_sent)
        return;
    for (unsigned i = 0; i < delivery_of(a)->target_count; i++)
        decided = decided || a->targets[i].attempted;
    client_withdraw(a->client, "delivery is shutting down");
    if (!decided && client_state(a->client) == CLIENT_CLOSED)
        release(a, 0);
}

/* ---- leaving a connection ------------------------------------------------ */

static void
leave_over(struct attempt *a, bool client_idle)
{
    struct attempt_runner *r = a->runner;
    a->client = NULL;
    a->runner = NULL;
    r->on_over(r, a, client_idle);
    conclude(a);
}

static void
leave_to_move(struct attempt *a, bool host_failed)
{
    struct attempt_runner *r = a->runner;
    a->client = NULL;
    a->runner = NULL;
    r->on_move(r, a, host_failed);
}

void
attempt_lost_client(struct attempt *a)
{
    BUG_ON(a->sending);
    deferred_cancel(&a->cannot_run);
    if (room_is_waiting(&a->room))
        room_leave(&a->room);
    a->client = NULL;
    a->runner = NULL;
}

/* The job has to be released, and the connection is not at fault. */
static void
on_cannot_run(struct deferred *d)
{
    leave_over(container_of(d, struct attempt, cannot_run), true);
}

/* ---- transactions ------------------------------------------------------- */

static bool
may_send_dot(struct client_send_op *op)
{
    const struct attempt *a = container_of(op, struct attempt, send);
    return a->intent == INTENT_MADE && queue_job_may_send_dot(a->env->queue, a->job);
}

static void
on_intended(struct queue_intend_op *op)
{
    struct attempt *a = container_of(op, struct attempt, intend);
    if (op->result == QUEUE_INTENT_OK) {
        a->intent = INTENT_MADE;
        if (a->sending)
            client_permit_dot(a->client);
    } else {
        a->intent = INTENT_NONE;
        release(a, op->result == QUEUE_INTENT_AWAY ? AWAY_DELAY_MS : 0);
        if (a->sending)
            client_withdraw(a->client, "the queue took the message back");
    }
    if (a->concluding)
        conclude(a);
}

/* Takes over what one transaction found. Returns whether a recipient is left
 * for which the host failed. */
static bool
take_results(struct attempt *a)
{
    bool open = false;
    for (unsigned i = 0; i < a->send.count; i++) {
        const struct client_rcpt *rcpt = &a->rcpts[i];
        struct result_target *t = &a->targets[a->rcpt_targets[i]];
        if (rcpt->result == RCPT_SETTLED) {
            t->verdict = rcpt->verdict;
            t->attempted = true;
            t->relayed = a->send.relayed_without_dsn;
        } else if (rcpt->result == RCPT_OPEN) {
            open = true;
        }
    }
    return open;
}

static bool
any_pending(const struct attempt *a)
{
    for (unsigned i = 0; i < delivery_of(a)->target_count; i++)
        if (is_pending(a, i))
            return true;
    return false;
}

static void
host_failed(struct attempt *a)
{
    if (a->send.peer_was_gone) { /* nothing was tried: not counted */
        leave_to_move(a, false);
        return;
    }
    a->failure = a->send.failure;
    BUG_ON(!slice_to_cstr(slice_str(client_mx(a->client)), a->failure_mx, sizeof a->failure_mx));
    bool broke_off = a->failure.seen == SEEN_LOST || a->failure.seen == SEEN_BROKEN;
    if (++a->moves < (broke_off ? ATTEMPT_BROKEN_OFF_MAX : MX_ADDRESSES_MAX)) {
        leave_to_move(a, true);
        return;
    }
    judge_rest(a, &a->failure, slice_str(a->failure_mx));
    leave_over(a, false);
}

static void
on_sent(struct client_send_op *op)
{
    struct attempt *a = container_of(op, struct attempt, send);
    a->sending = false;
    bool open = take_results(a);
    if (a->release)
        leave_over(a, false);
    else if (open)
        host_failed(a);
    else if (!any_pending(a))
        leave_over(a, false);
    /* else: the next transaction follows with the connection's on_ready */
}

static void
read_options(const struct queue_target *t, struct rcpt_options *out)
{
    if (t->options.n == 0 || !rcpt_options_decode(t->options, out))
        *out = (struct rcpt_options){0};
}

/* The next recipients, as many as the peer takes at a time. */
static void
choose_recipients(struct attempt *a)
{
    const struct queue_delivery *d = delivery_of(a);
    unsigned max = client_rcpt_max(a->client);
    a->send.count = 0;
    for (unsigned i = 0; i < d->target_count && a->send.count < max; i++)
        if (is_pending(a, i)) {
            struct client_rcpt *rcpt = &a->rcpts[a->send.count];
            *rcpt = (struct client_rcpt){.address = d->targets[i].address};
            read_options(&d->targets[i], &rcpt->options);
            a->rcpt_targets[a->send.count++] = i;
        }
    BUG_ON(a->send.count == 0);
}

static void
start_transaction(struct attempt *a)
{
    choose_recipients(a);
    a->send.done = on_sent;
    a->send.may_send_dot = may_send_dot;
    a->send.envelope = &a->envelope;
    a->send.content = queue_job_content(a->job);
    a->send.rcpts = a->rcpts;
    a->send.arena = &a->arena;
    if (a->intent == INTENT_NONE) {
        a->intent = INTENT_PENDING;
        a->intend.done = on_intended;
        queue_intend_start(&a->intend, a->env->queue, a->job);
    }
    a->sending = true;
    client_send_start(&a->send, a->client);
}

static void
on_loaded(struct queue_load_op *op)
{
    struct attempt *a = container_of(op, struct attempt, load);
    a->loading = false;
    if (op->err.code != ERR_NONE && !a->concluding) {
        LOG(LOG_WARN, "delivery.content-not-loaded", LF_ID("msg", queue_job_message(a->job)->id),
            LF_ERR(&op->err));
        release(a, op->err.code == ERR_AWAY ? AWAY_DELAY_MS : 0);
    }
    if (a->concluding)
        conclude(a);
    else if (a->client == NULL || client_state(a->client) != CLIENT_READY)
        ; /* it waits for another connection, or will be told that this one closed */
    else if (a->release)
        leave_over(a, true);
    else
        start_transaction(a);
}

static void
load(struct attempt *a)
{
    a->loading = true;
    a->load.done = on_loaded;
    queue_load_start(&a->load, a->env->queue, a->job);
}

static void
on_room(struct room_op *op)
{
    struct attempt *a = container_of(op, struct attempt, room);
    if (op->has) {
        load(a);
        return;
    }
    release(a, AWAY_DELAY_MS);
    leave_over(a, true);
}

static bool
has_content(const struct attempt *a)
{
    const struct content *c = queue_job_content(a->job);
    return c != NULL && (c->head != NULL || c->rest != NULL);
}

void
attempt_run(struct attempt *a, struct client *c, struct attempt_runner *r)
{
    BUG_ON(a->sending || a->concluding || list_node_linked(&a->node));
    a->client = c;
    a->runner = r;
    if (a->release) {
        deferred_schedule(&a->cannot_run);
    } else if (has_content(a)) {
        start_transaction(a);
    } else if (!a->loading && !room_is_waiting(&a->room) &&
               room_try_take(&a->room, (size_t)queue_job_message(a->job)->size_bytes)) {
        load(a);
    }
}

/* ---- the beginning ------------------------------------------------------ */

static struct attempt *
make(struct attempt_env *env, struct queue_job *job)
{
    struct attempt *a = calloc(1, sizeof *a);
    unsigned targets = queue_job_delivery(job)->target_count;
    BUG_ON(a == NULL || targets == 0);
    unsigned at_once = targets < RCPT_PER_TRANSACTION_MAX ? targets : RCPT_PER_TRANSACTION_MAX;
    a->env = env;
    a->job = job;
    list_node_init(&a->node);
    arena_init(&a->arena, ATTEMPT_ARENA_MAX);
    buf_init(&a->event, EVENT_BYTES_MAX);
    a->targets = calloc(targets, sizeof *a->targets);
    a->rcpts = calloc(at_once, sizeof *a->rcpts);
    a->rcpt_targets = calloc(at_once, sizeof *a->rcpt_targets);
    BUG_ON(a->targets == NULL || a->rcpts == NULL || a->rcpt_targets == NULL);
    deferred_init(&a->cannot_run, env->loop, on_cannot_run);
    room_op_init(&a->room, &env->room, on_room);
    env->live++;
    return a;
}

struct attempt *
attempt_new(struct attempt_env *env, struct queue_job *job)
{
    struct attempt *a = make(env, job);
    const struct queue_message *m = queue_job_message(job);
    const struct queue_delivery *d = queue_job_delivery(job);
    if (!envelope_decode(m->envelope, &a->envelope)) {
        LOG(LOG_ERROR, "delivery.envelope-unreadable", LF_ID("msg", m->id));
        result_hold(job, "the envelope's record cannot be read", &a->event);
    } else if (retry_is_over(clock_sched_unix_ms(), d->expires_unix_ms)) {
        result_expire(&a->envelope, job, &a->event);
    } else if (any_pending(a)) {
        return a;
    }
    start_finish(a, 0);
    return NULL;
}

struct list_node *
attempt_node(struct attempt *a)
{
    return &a->node;
}

struct attempt *
attempt_from_node(struct list_node *n)
{
    return container_of(n, struct attempt, node);
}

struct slice
attempt_next_hop(const struct attempt *a)
{
    return delivery_of(a)->next_hop;
}

enum queue_class
attempt_class(const struct attempt *a)
{
    return queue_job_message(a->job)->klass;
}
