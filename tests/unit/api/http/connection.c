/* The time limits of a connection, scaled down. */
#include <pthread.h>

#include "api/http/server.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/limits.h"
#include "tests/unit/support/http_client.h"

#define UPLOAD_TEXT "16000000"
enum { BIG_BYTES = 32 << 20, LATE_MS = 1000, UPLOAD_BYTES = 16000000 };

static struct loop *loop;
static struct http_server *server;
static pthread_t thread;
static uint16_t port;
static char *big_text;
static struct http_request *waiter;
static struct timer late;

static void
say(struct http_request *r, unsigned status, struct slice text)
{
    http_respond(
        r, &(struct http_reply){.status = status, .content_type = "text/plain", .body = text});
}

static void
refuse(struct http_request *r, unsigned status, const char *code, const char *detail)
{
    (void)detail;
    say(r, status, slice_str(code));
}

static void
echo(struct http_request *r)
{
    say(r, 200, buf_slice(&r->body));
}

static void
big(struct http_request *r)
{
    say(r, 200, slice_from(big_text, BIG_BYTES));
}

/* Answers later than any time limit of the connection. */
static void
on_late(struct timer *t)
{
    (void)t;
    say(waiter, 200, SLICE("late"));
}

static void
slow(struct http_request *r)
{
    waiter = r;
    timer_init(&late, loop, on_late);
    timer_start(&late, LATE_MS);
}

static void
stop(struct http_request *r)
{
    http_server_drain(server);
    say(r, 200, SLICE("bye"));
}

static const struct http_route ROUTES[] = {
    {"POST", "/echo", 1000, NULL, echo}, {"POST", "/upload", UPLOAD_BYTES, NULL, echo},
    {"GET", "/big", 0, NULL, big},       {"GET", "/slow", 0, NULL, slow},
    {"GET", "/stop", 0, NULL, stop},
};

static void *
run(void *arg)
{
    loop_run(loop);
    http_server_free(server);
    loop_run(loop);
    loop_free(loop);
    return arg;
}

static int
set_up(void **state)
{
    (void)state;
    struct err err = {0};
    big_text = calloc(1, BIG_BYTES);
    assert_non_null(big_text);
    loop = loop_new();
    struct http_server_config cfg = {
        .routes = ROUTES, .route_count = ARRAY_LEN(ROUTES), .refuse = refuse};
    server = http_server_new(loop, &cfg);
    assert_int_equal(http_server_listen(server, listen_anywhere(&port), NULL, &err), 0);
    return pthread_create(&thread, NULL, run, NULL);
}

static void
request(struct client *c, const char *line, const char *rest)
{
    char text[1024];
    int n =
        snprintf(text, sizeof text, "%s HTTP/1.1\r\nHost: localhost:%u\r\n%s", line, port, rest);
    client_send(c, slice_from(text, (size_t)n));
}

static int
tear_down(void **state)
{
    (void)state;
    struct client c = client_open(port);
    request(&c, "GET /stop", "\r\n");
    client_read(&c, false);
    client_close(&c);
    pthread_join(thread, NULL);
    free(big_text);
    return 0;
}

static void
closes_an_idle_connection(void **state)
{
    (void)state;
    struct client c = client_open(port);
    assert_true(client_at_end(&c));
    client_close(&c);
    c = client_open(port);
    request(&c, "POST /echo", "Content-Length: 1\r\n\r\na");
    assert_int_equal(client_read(&c, false).status, 200);
    assert_true(client_at_end(&c));
    client_close(&c);
}

static void
answers_408_to_a_slow_request(void **state)
{
    (void)state;
    static const char *const PARTS[] = {"POS", "POST /echo HTTP/1.1\r\nHost: a\r\n"};
    for (size_t i = 0; i < ARRAY_LEN(PARTS); i++) {
        struct client c = client_open(port);
        client_send(&c, slice_str(PARTS[i]));
        struct answer a = client_read(&c, false);
        assert_true(a.status == 408 && answer_has(&a, "connection", "close"));
        assert_true(client_at_end(&c));
        client_close(&c);
    }
}

/* Sends `piece` every 20 ms until an answer comes or so much was sent. */
static size_t
trickle(struct client *c, struct slice piece, size_t bytes)
{
    size_t sent = 0;
    struct timeval soon = {.tv_usec = 20000};
    setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof soon);
    while (sent < bytes && c->in.len == 0 &&
           send(c->fd, piece.p, piece.n, MSG_NOSIGNAL) == (ssize_t)piece.n) {
        sent += piece.n;
        client_fill(c);
    }
    soon = (struct timeval){.tv_sec = CLIENT_LIMIT_S};
    setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof soon);
    return sent;
}

/* Bytes that trickle do not extend the limit. */
static void
answers_408_to_a_trickled_body(void **state)
{
    (void)state;
    static const char *const FRAMES[] = {"Content-Length: 1000000\r\n\r\n",
                                         "Transfer-Encoding: chunked\r\n\r\nf4240\r\n"};
    for (size_t i = 0; i < ARRAY_LEN(FRAMES); i++) {
        struct client c = client_open(port);
        request(&c, "POST /upload", FRAMES[i]);
        assert_in_range(trickle(&c, SLICE("a"), 1000000), 1, HTTP_BODY_PROGRESS_BYTES);
        assert_int_equal(client_read(&c, false).status, 408);
        client_close(&c);
    }
}

/* Until its last limit a body may come slowly, many times the limit for a part of
 * it. Only a machine that stands still for so long makes it end before: then again. */
static void
waits_for_a_body_that_comes_on(void **state)
{
    (void)state;
    static char piece[HTTP_BODY_PROGRESS_BYTES];
    uint64_t begun = 0, lasted = 0;
    for (int i = 0; i < 5 && lasted < clock_scaled_ms(HTTP_BODY_TIMEOUT_MS); i++) {
        struct client c = client_open(port);
        begun = clock_mono_ms();
        request(&c, "POST /upload", "Content-Length: " UPLOAD_TEXT "\r\n\r\n");
        assert_in_range(trickle(&c, slice_from(piece, sizeof piece), UPLOAD_BYTES), 1,
                        UPLOAD_BYTES - 1);
        assert_int_equal(client_read(&c, false).status, 408);
        lasted = clock_mono_ms() - begun;
        client_close(&c);
    }
    assert_true(lasted >= clock_scaled_ms(HTTP_BODY_TIMEOUT_MS));
}

static void
does_not_limit_the_handler(void **state)
{
    (void)state;
    struct client c = client_open(port);
    request(&c, "GET /slow", "\r\n");
    assert_int_equal(client_read(&c, false).status, 200);
    client_close(&c);
}

/* A client that reads nothing is cut off: it gets less than was sent. */
static void
aborts_a_reader_that_stands_still(void **state)
{
    (void)state;
    struct client c = client_open(port);
    request(&c, "GET /big", "\r\n");
    request(&c, "GET /big", "\r\n");
    struct client other = client_open(port); /* its 408 comes after the same time */
    client_send(&other, SLICE("G"));
    assert_int_equal(client_read(&other, false).status, 408);
    client_close(&other);
    other = client_open(port);
    client_send(&other, SLICE("G"));
    assert_int_equal(client_read(&other, false).status, 408);
    client_close(&other);
    size_t got = 0;
    while (client_fill(&c)) {
        got += c.in.len;
        buf_clear(&c.in);
    }
    assert_in_range(got, 1, BIG_BYTES - 1);
    client_close(&c);
}

int
main(void)
{
    setenv("STAGEPOST_TIME_SCALE", "100", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(closes_an_idle_connection),
        cmocka_unit_test(answers_408_to_a_slow_request),
        cmocka_unit_test(answers_408_to_a_trickled_body),
        cmocka_unit_test(waits_for_a_body_that_comes_on),
        cmocka_unit_test(does_not_limit_the_handler),
        cmocka_unit_test(aborts_a_reader_that_stands_still),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
