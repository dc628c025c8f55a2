/* From a route to an open session: the order of addresses, and races between
 * them (DNS-15), with scripted hosts and one that never answers a connect. */
#include "tests/unit/relay/sys/net/net_test.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "relay/deliver/dial.h"
#include "tests/unit/support/script_mx.h"

#define SAY(text)                                                                                  \
    {                                                                                              \
        MX_SAY, text                                                                               \
    }
#define HEAR(text)                                                                                 \
    {                                                                                              \
        MX_HEAR, text                                                                              \
    }

static const struct mx_step good[] = {
    SAY("220 mx\r\n"), HEAR("EHLO"), SAY("250 mx\r\n"), {MX_END, ""}};
static const struct mx_step hangs_up[] = {{MX_HANG_UP, ""}};
static const struct mx_step unwilling[] = {SAY("554 no\r\n"), {MX_END, ""}};

/* ---- a host that never answers a connect ---------------------------------------- */

enum { CALLERS = 8 };

struct hole {
    int listener, callers[CALLERS];
    struct net_address address;
};

/* Its queue of connections is full: what comes then gets no answer (Linux). */
static void
hole_open(struct hole *h)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof in;
    h->listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(h->listener >= 0);
    assert_int_equal(bind(h->listener, (struct sockaddr *)&in, sizeof in), 0);
    assert_int_equal(listen(h->listener, 0), 0);
    assert_int_equal(getsockname(h->listener, (struct sockaddr *)&in, &n), 0);
    for (int i = 0; i < CALLERS; i++) {
        h->callers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)connect(h->callers[i], (struct sockaddr *)&in, sizeof in);
    }
    char text[64];
    snprintf(text, sizeof text, "127.0.0.1:%u", ntohs(in.sin_port));
    assert_true(net_address_parse(slice_str(text), &h->address));
}

static void
hole_close(struct hole *h)
{
    for (int i = 0; i < CALLERS; i++)
        close(h->callers[i]);
    close(h->listener);
}

/* ---- the bench -------------------------------------------------------------------- */

struct bench {
    struct loop *loop;
    struct client_env env;
    struct hosts *hosts;
    struct script_mx mx[2];
    struct hole hole;
    struct route route;
    struct dial_op op;
    struct client_user user;
    bool done;
};

static void
on_done(struct dial_op *op)
{
    struct bench *b = container_of(op, struct bench, op);
    assert_false(b->done);
    b->done = true;
    if (op->client != NULL)
        client_set_user(op->client, &b->user);
}

static void
nothing(struct client_user *u)
{
    (void)u;
}

static void
bench_init(struct bench *b)
{
    *b = (struct bench){.loop = loop_new(), .user = {.on_ready = nothing, .on_closed = nothing}};
    client_env_init(&b->env, b->loop, "gateway.test", NULL);
    b->hosts = hosts_new();
    for (int i = 0; i < 2; i++)
        script_mx_open(&b->mx[i], b->loop);
    hole_open(&b->hole);
    b->op.done = on_done;
}

static bool
is_quiet(void *arg)
{
    return !client_env_busy(&((struct bench *)arg)->env);
}

static void
bench_fini(struct bench *b)
{
    assert_int_equal(b->env.racing, 0);
    client_free(b->op.client);
    run_until(b->loop, is_quiet, b);
    client_env_fini(&b->env);
    hosts_free(b->hosts);
    for (int i = 0; i < 2; i++)
        script_mx_close(&b->mx[i]);
    hole_close(&b->hole);
    loop_free(b->loop);
}

static void
add_host(struct bench *b, const char *name, uint16_t preference)
{
    struct route_host *h = &b->route.hosts[b->route.host_count++];
    snprintf(h->name, sizeof h->name, "%s", name);
    h->preference = preference;
    h->first_address = (uint8_t)b->route.address_count;
}

static void
add_address(struct bench *b, const struct net_address *a)
{
    b->route.hosts[b->route.host_count - 1].address_count++;
    b->route.addresses[b->route.address_count++] = *a;
}

static bool
is_done(void *arg)
{
    return ((struct bench *)arg)->done;
}

static void
dial(struct bench *b)
{
    dial_start(&b->op, &b->env, b->hosts, &b->route);
    run_until(b->loop, is_done, b);
}

/* ---- tests -------------------------------------------------------------------------- */

/* DNS-15: a black hole costs a moment, not the connect's time limit. */
static void
test_second_address_overtakes(void **state)
{
    struct bench b;
    (void)state;
    bench_init(&b);
    script_mx_add(&b.mx[0], good);
    add_host(&b, "mx.test", 10);
    add_address(&b, &b.hole.address);
    add_address(&b, &b.mx[0].address);
    dial(&b);
    assert_non_null(b.op.client);
    assert_int_equal(client_address(b.op.client)->port, b.mx[0].address.port);
    /* It lost, which is no failure of its own. */
    assert_int_equal(hosts_count(b.hosts), 0);
    bench_fini(&b);
}

/* The preference of MX hosts is kept: the next one is for when this one failed. */
static void
test_hosts_are_not_raced(void **state)
{
    struct bench b;
    (void)state;
    bench_init(&b);
    script_mx_add(&b.mx[0], good);
    add_host(&b, "mx1.test", 10);
    add_address(&b, &b.hole.address);
    add_host(&b, "mx2.test", 20);
    add_address(&b, &b.mx[0].address);
    dial(&b);
    assert_non_null(b.op.client);
    assert_string_equal(client_mx(b.op.client), "mx2.test");
    assert_int_equal(hosts_count(b.hosts), 1); /* it failed */
    bench_fini(&b);
}

/* The winner turns out to be of no use: the address that was given up is tried. */
static void
test_loser_is_tried_when_the_winner_fails(void **state)
{
    struct bench b;
    (void)state;
    bench_init(&b);
    script_mx_add(&b.mx[0], hangs_up);
    add_host(&b, "mx.test", 10);
    add_address(&b, &b.hole.address);
    add_address(&b, &b.mx[0].address);
    dial(&b);
    assert_null(b.op.client);
    assert_int_equal(b.mx[0].connections, 1);
    assert_int_equal(b.op.failure.phase, PHASE_CONNECT);
    assert_int_equal(b.op.failure.seen, SEEN_TIMEOUT);
    assert_int_equal(hosts_count(b.hosts), 2);
    bench_fini(&b);
}

/* A host that does not want us is left with all its addresses. */
static void
test_unwilling_host(void **state)
{
    struct bench b;
    (void)state;
    bench_init(&b);
    script_mx_add(&b.mx[0], unwilling);
    script_mx_add(&b.mx[1], good);
    add_host(&b, "mx1.test", 10);
    add_address(&b, &b.hole.address);
    add_address(&b, &b.mx[0].address);
    add_host(&b, "mx2.test", 20);
    add_address(&b, &b.mx[1].address);
    dial(&b);
    assert_non_null(b.op.client);
    assert_string_equal(client_mx(b.op.client), "mx2.test");
    bench_fini(&b);
}

/* One of two fails: the third joins at once, beside the one that is silent. */
static void
test_refused_while_another_is_silent(void **state)
{
    struct bench b;
    struct hole closed;
    (void)state;
    bench_init(&b);
    hole_open(&closed);
    hole_close(&closed);
    script_mx_add(&b.mx[0], good);
    add_host(&b, "mx.test", 10);
    add_address(&b, &b.hole.address);
    add_address(&b, &closed.address);
    add_address(&b, &b.mx[0].address);
    dial(&b);
    assert_non_null(b.op.client);
    assert_int_equal(client_address(b.op.client)->port, b.mx[0].address.port);
    assert_int_equal(hosts_count(b.hosts), 1);
    bench_fini(&b);
}

static bool
is_racing(void *arg)
{
    return ((struct bench *)arg)->env.racing == 1;
}

static void
test_cancel_in_a_race(void **state)
{
    struct bench b;
    struct hole other;
    (void)state;
    bench_init(&b);
    hole_open(&other);
    add_host(&b, "mx.test", 10);
    add_address(&b, &b.hole.address);
    add_address(&b, &other.address);
    dial_start(&b.op, &b.env, b.hosts, &b.route);
    run_until(b.loop, is_racing, &b);
    dial_cancel(&b.op);
    assert_false(b.done); /* never from within the call */
    run_until(b.loop, is_done, &b);
    assert_null(b.op.client);
    hole_close(&other);
    bench_fini(&b);
}

static void
test_cancel_at_once(void **state)
{
    struct bench b;
    (void)state;
    bench_init(&b);
    add_host(&b, "mx.test", 10);
    add_address(&b, &b.hole.address);
    dial_start(&b.op, &b.env, b.hosts, &b.route);
    dial_cancel(&b.op);
    run_until(b.loop, is_done, &b);
    assert_null(b.op.client);
    bench_fini(&b);
}

/* Descriptors are not without number: then addresses come one after the other. */
static void
test_races_are_bounded(void **state)
{
    struct bench b;
    (void)state;
    bench_init(&b);
    script_mx_add(&b.mx[0], good);
    add_host(&b, "mx.test", 10);
    add_address(&b, &b.hole.address);
    add_address(&b, &b.mx[0].address);
    b.env.racing = DIAL_RACES_MAX;
    dial(&b);
    assert_non_null(b.op.client);
    assert_int_equal(hosts_count(b.hosts), 1); /* it was waited for */
    assert_int_equal(b.env.racing, DIAL_RACES_MAX);
    b.env.racing = 0;
    bench_fini(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_second_address_overtakes),
        cmocka_unit_test(test_hosts_are_not_raced),
        cmocka_unit_test(test_loser_is_tried_when_the_winner_fails),
        cmocka_unit_test(test_unwilling_host),
        cmocka_unit_test(test_refused_while_another_is_silent),
        cmocka_unit_test(test_cancel_in_a_race),
        cmocka_unit_test(test_cancel_at_once),
        cmocka_unit_test(test_races_are_bounded),
    };
    setenv("STAGEPOST_TIME_SCALE", "20", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
