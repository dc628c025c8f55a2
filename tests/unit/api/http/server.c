#include "api/http/server.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"
#include "tests/unit/support/http_client.h"

enum { ECHO_MAX = 100000, BIG_BYTES = 4 << 20, GIANT_BYTES = 64 << 20 };

/* The server under test, on its own loop in a thread of its own. */
struct fixture {
    struct loop *loop;
    struct http_server *server;
    pthread_t thread;
    uint16_t port;
    atomic_uint handled, gone, waiting;
    struct http_request *waiter;
    char *big;
};

static struct fixture f;

/* ---- handlers ----------------------------------------------------------- */

static void
say(struct http_request *r, struct slice text)
{
    http_respond(r,
                 &(struct http_reply){.status = 200, .content_type = "text/plain", .body = text});
}

static void
refuse(struct http_request *r, unsigned status, const char *code, const char *detail)
{
    (void)detail;
    http_respond(r, &(struct http_reply){
                        .status = status, .content_type = "text/plain", .body = slice_str(code)});
}

static void
hello(struct http_request *r)
{
    f.handled++;
    say(r, SLICE("hello"));
}

static void
echo(struct http_request *r)
{
    f.handled++;
    say(r, buf_slice(&r->body));
}

static bool
admit(struct http_request *r)
{
    struct slice v;
    if (!head_find(&r->head, SLICE("x-refuse"), &v))
        return true;
    refuse(r, 401, "refused", "");
    return false;
}

static void
item(struct http_request *r)
{
    say(r, r->path_arg);
}

static void
big(struct http_request *r)
{
    say(r, slice_from(f.big, BIG_BYTES));
}

/* More than the kernel takes at once. */
static void
giant(struct http_request *r)
{
    char *bytes = calloc(1, GIANT_BYTES);
    assert_non_null(bytes);
    say(r, slice_from(bytes, GIANT_BYTES));
    free(bytes);
}

static void
unsent(struct http_request *r)
{
    char text[32];
    snprintf(text, sizeof text, "%zu", http_server_unsent_bytes(r->server));
    say(r, slice_str(text));
}

static void
on_gone(struct http_request *r)
{
    f.gone++;
    f.waiter = NULL;
    say(r, SLICE("into nothing"));
}

static void
wait_for_release(struct http_request *r)
{
    f.waiter = r;
    r->on_gone = on_gone;
    f.waiting++;
}

static void
release(struct http_request *r)
{
    struct http_request *w = f.waiter;
    f.waiter = NULL;
    if (w != NULL)
        say(w, SLICE("released"));
    say(r, SLICE("ok"));
}

static void
drain_and_release(struct http_request *r)
{
    http_server_drain(f.server);
    release(r);
}

static void
stop(struct http_request *r)
{
    http_server_drain(f.server);
    say(r, SLICE("bye"));
}

static const struct http_route ROUTES[] = {
    {"GET", "/hello", 0, NULL, hello},
    {"POST", "/echo", ECHO_MAX, admit, echo},
    {"POST", "/four", 4, NULL, echo},
    {"POST", "/huge", 1 << 30, NULL, echo},
    {"GET", "/items/*", 0, NULL, item},
    {"PUT", "/items/*", 0, NULL, item},
    {"GET", "/items/*/raw", 0, NULL, item},
    {"GET", "/big", 0, NULL, big},
    {"GET", "/giant", 0, NULL, giant},
    {"GET", "/unsent", 0, NULL, unsent},
    {"GET", "/wait", 0, NULL, wait_for_release},
    {"GET", "/release", 0, NULL, release},
    {"GET", "/drain", 0, NULL, drain_and_release},
    {"GET", "/stop", 0, NULL, stop},
};

/* ---- fixture ------------------------------------------------------------ */

static void *
run(void *arg)
{
    (void)arg;
    loop_run(f.loop);
    http_server_free(f.server);
    loop_run(f.loop);
    loop_free(f.loop); /* aborts when a handle is open */
    return NULL;
}

static int
set_up(void **state)
{
    (void)state;
    struct err err = {0};
    memset(&f, 0, sizeof f);
    f.big = malloc(BIG_BYTES);
    assert_non_null(f.big);
    memset(f.big, 'x', BIG_BYTES);
    f.loop = loop_new();
    struct http_server_config cfg = {
        .routes = ROUTES, .route_count = ARRAY_LEN(ROUTES), .refuse = refuse};
    f.server = http_server_new(f.loop, &cfg);
    assert_int_equal(http_server_listen(f.server, listen_anywhere(&f.port), NULL, &err), 0);
    return pthread_create(&f.thread, NULL, run, NULL);
}

/* One request with our Host on a connection. */
static void
request(struct client *c, const char *line, const char *rest)
{
    char text[8192];
    int n =
        snprintf(text, sizeof text, "%s HTTP/1.1\r\nHost: localhost:%u\r\n%s", line, f.port, rest);
    assert_in_range(n, 1, sizeof text - 1);
    client_send(c, slice_from(text, (size_t)n));
}

static struct answer
ask(struct client *c, const char *line, const char *rest)
{
    request(c, line, rest);
    return client_read(c, false);
}

static int
tear_down(void **state)
{
    (void)state;
    struct client c = client_open(f.port);
    request(&c, "GET /stop", "\r\n");
    client_read(&c, false);
    client_close(&c);
    pthread_join(f.thread, NULL);
    free(f.big);
    return 0;
}

static void
wait_until_above(atomic_uint *n, unsigned least)
{
    for (int ms = 0; *n <= least; ms++) {
        assert_true(ms < CLIENT_LIMIT_S * 1000);
        usleep(1000);
    }
}

/* ---- tests -------------------------------------------------------------- */

static void
keeps_a_connection(void **state)
{
    (void)state;
    struct client c = client_open(f.port);
    for (int i = 0; i < 3; i++) {
        struct answer a = ask(&c, "GET /hello", "\r\n");
        struct slice v;
        assert_int_equal(a.status, 200);
        assert_true(slice_eq(a.body, SLICE("hello")));
        assert_true(answer_field(&a, "x-request-id", &v) && v.n == ID_TEXT_BYTES);
        assert_true(answer_field(&a, "date", &v) && v.n == 29);
        assert_true(slice_ends_nocase(v, SLICE(" GMT")));
        assert_false(answer_field(&a, "connection", &v));
        assert_false(answer_field(&a, "access-control-allow-origin", &v));
    }
    request(&c, "HEAD /hello", "\r\n");
    struct answer a = client_read(&c, true);
    assert_true(a.status == 200 && answer_has(&a, "content-length", "5"));
    a = ask(&c, "GET /hello", "Connection: close\r\n\r\n");
    assert_true(a.status == 200 && answer_has(&a, "connection", "close"));
    assert_true(client_at_end(&c));
    client_close(&c);
}

static void
speaks_http_1_0(void **state)
{
    (void)state;
    char text[256];
    for (int keep = 0; keep < 2; keep++) {
        struct client c = client_open(f.port);
        int n = snprintf(text, sizeof text, "GET /hello HTTP/1.0\r\nHost: 127.0.0.1:%u\r\n%s\r\n",
                         f.port, keep ? "Connection: keep-alive\r\n" : "");
        client_send(&c, slice_from(text, (size_t)n));
        struct answer a = client_read(&c, false);
        assert_int_equal(a.status, 200);
        assert_true(answer_has(&a, "connection", keep ? "keep-alive" : "close"));
        if (!keep)
            assert_true(client_at_end(&c));
        client_close(&c);
    }
}

static void
answers_pipelined_requests_in_order(void **state)
{
    (void)state;
    struct client c = client_open(f.port), other = client_open(f.port);
    char text[1024];
    int n = snprintf(text, sizeof text,
                     "GET /wait HTTP/1.1\r\nHost: localhost:%u\r\n\r\n"
                     "POST /echo HTTP/1.1\r\nHost: localhost:%u\r\nContent-Length: 3\r\n\r\nabc"
                     "GET /items/7 HTTP/1.1\r\nHost: localhost:%u\r\n\r\n",
                     f.port, f.port, f.port);
    client_send(&c, slice_from(text, (size_t)n));
    wait_until_above(&f.waiting, 0);
    assert_int_equal(f.handled, 0); /* the second waits for the first */
    assert_int_equal(ask(&other, "GET /release", "\r\n").status, 200);
    struct answer a = client_read(&c, false);
    assert_true(slice_eq(a.body, SLICE("released")));
    a = client_read(&c, false);
    assert_true(slice_eq(a.body, SLICE("abc")));
    a = client_read(&c, false);
    assert_true(slice_eq(a.body, SLICE("7")));
    client_close(&c);
    client_close(&other);
}

/* INJ-06: wherever the network cuts a request, it is the same request. */
static void
reads_at_every_split(void **state)
{
    (void)state;
    static const char *const BODIES[] = {
        "Content-Length: 11\r\n\r\nhello world",
        "Transfer-Encoding: chunked\r\n\r\n6;x=y\r\nhello \r\n5\r\nworld\r\n0\r\nT: u\r\n\r\n",
    };
    struct client c = client_open(f.port);
    for (size_t i = 0; i < ARRAY_LEN(BODIES); i++) {
        char text[512];
        int n = snprintf(text, sizeof text, "POST /echo HTTP/1.1\r\nHost: localhost:%u\r\n%s",
                         f.port, BODIES[i]);
        for (int split = 1; split < n; split++) {
            client_send(&c, slice_from(text, (size_t)split));
            usleep(200); /* mostly two reads; the answer is the same if not */
            client_send(&c, slice_from(text + split, (size_t)(n - split)));
            struct answer a = client_read(&c, false);
            assert_int_equal(a.status, 200);
            assert_true(slice_eq(a.body, SLICE("hello world")));
        }
    }
    client_close(&c);
}

static void
sends_100_continue_only_when_it_will_read(void **state)
{
    (void)state;
    struct client c = client_open(f.port);
    request(&c, "POST /echo", "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    struct answer a = client_read(&c, true);
    assert_int_equal(a.status, 100);
    client_send(&c, SLICE("ab"));
    a = client_read(&c, false);
    assert_true(a.status == 200 && slice_eq(a.body, SLICE("ab")));
    request(&c, "POST /four", "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    a = client_read(&c, false);
    assert_int_equal(a.status, 413);
    client_close(&c);
    c = client_open(f.port);
    request(&c, "POST /echo", "Expect: 100-continue\r\nX-Refuse: 1\r\nContent-Length: 5\r\n\r\n");
    a = client_read(&c, false);
    assert_int_equal(a.status, 401);
    client_close(&c);
}

/* What is refused ends the connection: nothing behind it is ever run. */
static void
refuses_and_closes(void **state)
{
    (void)state;
    static const struct {
        const char *line, *rest;
        unsigned status;
    } ROWS[] = {
        {"POST /four", "Content-Length: 5\r\n\r\nabcde", 413},
        {"POST /four", "Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n", 413},
        {"GET /hello", "Content-Length: 1\r\n\r\na", 413},
        {"POST /huge", "Content-Length: 268435457\r\n\r\n", 503}, /* over the budget of all */
        {"POST /echo", "Content-Length: 18446744073709551615\r\n\r\n", 400},
        {"POST /echo", "Content-Length: 18446744073709551\r\n\r\n", 413},
        {"POST /echo", "Transfer-Encoding: chunked\r\n\r\n5\r\nabcdeXX0\r\n\r\n", 400},
        {"POST /echo", "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n", 400},
        {"POST /echo", "Transfer-Encoding: gzip\r\n\r\n", 501},
        {"POST /echo", "Content-Encoding: gzip\r\nContent-Length: 1\r\n\r\na", 415},
        {"POST /echo", "X-Refuse: 1\r\nContent-Length: 1\r\n\r\na", 401},
        {"GET /hello", "X : y\r\n\r\n", 400},
        {"GET /hello", "X: y\r\n z\r\n\r\n", 400},
        {"GET /hello", "X: y\n\r\n", 400},
        {"GET /hello", "Host: localhost\r\n\r\n", 400},
        {"GET /none", "\r\n", 404},
        {"DELETE /hello", "\r\n", 405},
    };
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        struct client c = client_open(f.port);
        unsigned before = f.handled;
        request(&c, ROWS[i].line, ROWS[i].rest);
        request(&c, "GET /hello", "\r\n"); /* the smuggled one */
        struct answer a = client_read(&c, false);
        if (a.status != ROWS[i].status)
            fail_msg("row %zu: %u", i, a.status);
        assert_true(answer_has(&a, "connection", "close"));
        assert_true(client_at_end(&c));
        assert_int_equal(f.handled, before);
        client_close(&c);
    }
}

/* A client that sends all of a refused body first still reads the answer. */
static void
refusal_survives_a_large_body(void **state)
{
    (void)state;
    struct client c = client_open(f.port);
    request(&c, "POST /four", "Content-Length: 4194304\r\n\r\n");
    client_send(&c, slice_from(f.big, BIG_BYTES));
    assert_int_equal(client_read(&c, false).status, 413);
    client_close(&c);
}

static void
checks_host(void **state)
{
    (void)state;
    static const struct {
        const char *host;
        unsigned status;
    } ROWS[] = {{"evil.example", 421}, {"localhost", 421}, {"[x", 400}};
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        struct client c = client_open(f.port);
        char text[256];
        int n =
            snprintf(text, sizeof text, "GET /hello HTTP/1.1\r\nHost: %s\r\n\r\n", ROWS[i].host);
        client_send(&c, slice_from(text, (size_t)n));
        assert_int_equal(client_read(&c, false).status, ROWS[i].status);
        client_close(&c);
    }
    assert_int_equal(f.handled, 0);
}

static void
finds_routes(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        unsigned status;
        const char *body, *allow;
    } ROWS[] = {
        {"GET /items/a%2Fb", 200, "a%2Fb", NULL},
        {"GET /items/a/raw", 200, "a", NULL},
        {"PUT /items/x?y=z", 200, "x", NULL},
        {"GET /items/", 404, NULL, NULL},
        {"GET /items/a/b", 404, NULL, NULL},
        {"GET /items//raw", 404, NULL, NULL},
        {"GET /hello/", 404, NULL, NULL},
        {"GET /Hello", 404, NULL, NULL},
        {"POST /items/a", 405, NULL, "GET, HEAD, PUT"},
        {"OPTIONS /echo", 405, NULL, "POST"},
        {"TRACE /hello", 405, NULL, "GET, HEAD"},
    };
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        struct client c = client_open(f.port);
        struct answer a = ask(&c, ROWS[i].line, "\r\n");
        if (a.status != ROWS[i].status)
            fail_msg("%s: %u", ROWS[i].line, a.status);
        if (ROWS[i].body != NULL)
            assert_true(slice_eq(a.body, slice_str(ROWS[i].body)));
        if (ROWS[i].allow != NULL)
            assert_true(answer_has(&a, "allow", ROWS[i].allow));
        client_close(&c);
    }
}

static void
tells_the_handler_that_the_client_is_gone(void **state)
{
    (void)state;
    struct client c = client_open(f.port);
    request(&c, "GET /wait", "\r\n");
    wait_until_above(&f.waiting, 0);
    client_reset(&c);
    wait_until_above(&f.gone, 0);
}

#define HELLO "GET /hello HTTP/1.1\r\nHost: localhost:@\r\n\r\n"
#define POST(rest) "POST /echo HTTP/1.1\r\nHost: localhost:@\r\n" rest
#define CHUNKED POST("Transfer-Encoding: chunked\r\n\r\n")

/* Sends the text with the port in place of each '@', and closes this side. */
static void
send_and_close_side(struct client *c, const char *text)
{
    struct slice rest = slice_str(text);
    char number[8];
    snprintf(number, sizeof number, "%u", f.port);
    while (rest.n > 0) {
        bool port = slice_find(rest, '@') < rest.n;
        client_send(c, slice_cut_at(&rest, '@'));
        if (port)
            client_send(c, slice_str(number));
    }
    shutdown(c->fd, SHUT_WR);
}

/* What was whole when the client closed its side is answered, what was not is 400;
 * then the connection ends, without waiting for a time limit. */
static void
answers_who_closed_its_side(void **state)
{
    (void)state;
    static const struct {
        const char *sent;
        unsigned answers[3], handled; /* 0: no more */
    } ROWS[] = {
        {"", {0}, 0},
        {"\r\n", {0}, 0},
        {HELLO, {200}, 1},
        {HELLO "\r\n", {200}, 1},
        {HELLO HELLO, {200, 200}, 2},
        {HELLO CHUNKED "1\r\na\r\n0\r\n\r\n", {200, 200}, 2},
        {POST("Content-Length: 3\r\n\r\nabc"), {200}, 1},
        {POST("Content-Length: 3\r\n\r\nab"), {400}, 0},
        {POST("Content-Length: 3\r\n\r\n"), {400}, 0},
        {POST("Content-Length: 3\r\n"), {400}, 0},
        {"P", {400}, 0},
        {CHUNKED, {400}, 0},
        {CHUNKED "1\r\na\r\n", {400}, 0},
        {CHUNKED "1\r\na\r\n0\r\n", {400}, 0},
        {HELLO HELLO "GET /hel", {200, 200, 400}, 2},
    };
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        struct client c = client_open(f.port);
        unsigned before = f.handled, answers = 0;
        send_and_close_side(&c, ROWS[i].sent);
        for (; answers < 3 && ROWS[i].answers[answers] != 0; answers++)
            assert_int_equal(client_read(&c, false).status, ROWS[i].answers[answers]);
        if (!client_at_end(&c))
            fail_msg("%s: more is answered", ROWS[i].sent);
        assert_int_equal(f.handled - before, ROWS[i].handled);
        client_close(&c);
    }
}

/* Not while it waits for the handler, and not in the midst of a long answer. */
static void
waits_for_who_closed_its_side(void **state)
{
    (void)state;
    struct client c = client_open(f.port), other = client_open(f.port);
    request(&c, "GET /wait", "\r\n");
    shutdown(c.fd, SHUT_WR);
    wait_until_above(&f.waiting, 0);
    assert_int_equal(ask(&other, "GET /release", "\r\n").status, 200);
    struct answer a = client_read(&c, false);
    assert_true(slice_eq(a.body, SLICE("released")));
    assert_true(answer_has(&a, "connection", "close"));
    assert_true(client_at_end(&c));
    assert_int_equal(f.gone, 0);
    client_close(&c);
    request(&other, "GET /big", "\r\n");
    shutdown(other.fd, SHUT_WR);
    assert_int_equal(client_read(&other, false).body.n, BIG_BYTES);
    assert_true(client_at_end(&other));
    client_close(&other);
}

static void
survives_clients_that_leave_early(void **state)
{
    (void)state;
    static const char *const PARTS[] = {"", "GE", "POST /echo HTTP/1.1\r\nHost: localho",
                                        "GET / HTTP/1.0\r\n\r"};
    for (size_t i = 0; i < ARRAY_LEN(PARTS); i++) {
        struct client c = client_open(f.port);
        client_send(&c, slice_str(PARTS[i]));
        client_close(&c);
    }
    struct client c = client_open(f.port);
    request(&c, "POST /echo", "Content-Length: 1000\r\n\r\nabc");
    client_close(&c);
    c = client_open(f.port);
    request(&c, "GET /big", "\r\n");
    client_close(&c);
    c = client_open(f.port);
    assert_int_equal(ask(&c, "GET /hello", "\r\n").status, 200);
    client_close(&c);
}

/* A client that does not read stops its own requests, not the server. */
static void
waits_for_slow_readers(void **state)
{
    (void)state;
    struct client slow = client_open(f.port), c = client_open(f.port);
    for (int i = 0; i < 3; i++)
        request(&slow, "GET /big", "\r\n");
    request(&slow, "GET /hello", "\r\n");
    assert_int_equal(ask(&c, "GET /items/1", "\r\n").status, 200);
    for (int i = 0; i < 3; i++) {
        struct answer a = client_read(&slow, false);
        assert_int_equal(a.body.n, BIG_BYTES);
    }
    assert_true(slice_eq(client_read(&slow, false).body, SLICE("hello")));
    client_close(&slow);
    client_close(&c);
}

static uint64_t
unsent_bytes(void)
{
    uint64_t n = 0;
    struct client c = client_open(f.port);
    assert_true(slice_to_u64(ask(&c, "GET /unsent", "\r\n").body, &n));
    client_close(&c);
    return n;
}

static void
counts_what_nobody_reads(void **state)
{
    (void)state;
    assert_int_equal(unsent_bytes(), 0);
    struct client slow = client_open(f.port);
    request(&slow, "GET /giant", "\r\n");
    while (unsent_bytes() < GIANT_BYTES / 2)
        ;
    client_close(&slow);
    while (unsent_bytes() > 0)
        ;
}

/* At the limit idle connections make room; when none is idle, 503. */
static void
makes_room_for_new_connections(void **state)
{
    (void)state;
    static struct client all[HTTP_CONNECTIONS_MAX];
    struct rlimit files = {4096, 4096};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        all[i] = client_open(f.port);
        if (i > 0) /* at work, but for the first: half a request */
            client_send(&all[i], SLICE("G"));
    }
    struct client last = client_open(f.port);
    request(&last, "GET /wait", "\r\n");
    wait_until_above(&f.waiting, 0);
    assert_true(client_at_end(&all[0]));
    struct client refused = client_open(f.port);
    struct answer a = ask(&refused, "GET /hello", "\r\n");
    assert_int_equal(a.status, 503);
    assert_true(answer_has(&a, "retry-after", "5"));
    client_close(&refused);
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        client_close(&all[i]);
    client_close(&last);
}

static void
drain_answers_what_is_under_way(void **state)
{
    (void)state;
    struct client waiter = client_open(f.port), idle = client_open(f.port), c = client_open(f.port);
    assert_int_equal(ask(&idle, "GET /hello", "\r\n").status, 200);
    request(&waiter, "GET /wait", "\r\n");
    wait_until_above(&f.waiting, 0);
    struct answer a = ask(&c, "GET /drain", "\r\n");
    assert_true(a.status == 200 && answer_has(&a, "connection", "close"));
    a = client_read(&waiter, false);
    assert_true(slice_eq(a.body, SLICE("released")) && answer_has(&a, "connection", "close"));
    assert_true(client_at_end(&waiter) && client_at_end(&idle) && client_at_end(&c));
    client_close(&waiter);
    client_close(&idle);
    client_close(&c);
    pthread_join(f.thread, NULL); /* nothing is left: the loop has ended */
    free(f.big);
}

int
main(void)
{
    /* Shorter lingering; the other limits stay far above what a slow machine needs. */
    setenv("STAGEPOST_TIME_SCALE", "5", 1);
#define SERVER_TEST(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        SERVER_TEST(keeps_a_connection),
        SERVER_TEST(speaks_http_1_0),
        SERVER_TEST(answers_pipelined_requests_in_order),
        SERVER_TEST(reads_at_every_split),
        SERVER_TEST(sends_100_continue_only_when_it_will_read),
        SERVER_TEST(refuses_and_closes),
        SERVER_TEST(refusal_survives_a_large_body),
        SERVER_TEST(checks_host),
        SERVER_TEST(finds_routes),
        SERVER_TEST(tells_the_handler_that_the_client_is_gone),
        SERVER_TEST(answers_who_closed_its_side),
        SERVER_TEST(waits_for_who_closed_its_side),
        SERVER_TEST(survives_clients_that_leave_early),
        SERVER_TEST(waits_for_slow_readers),
        SERVER_TEST(counts_what_nobody_reads),
        SERVER_TEST(makes_room_for_new_connections),
        cmocka_unit_test_setup(drain_answers_what_is_under_way, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
