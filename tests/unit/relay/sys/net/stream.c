/* Plain streams. Most tests hold the other end as a raw socket, so that the peer
 * does exactly what they say; TLS is in stream_tls.c. */
#include "tests/unit/relay/sys/net/net_test.h"

#include "relay/sys/net/stream_internal.h"

enum { MEGABYTE = 1 << 20 };

static void
peer_send(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

struct peer_read {
    int fd;
    struct buf *into;
    size_t want;
    bool eof, reset;
};

/* Takes what is there; holds when `want` bytes came, or the end did. */
static bool
peer_has_read(void *arg)
{
    struct peer_read *p = arg;
    char *to = buf_reserve(p->into, 65536);
    assert_non_null(to);
    ssize_t n = recv(p->fd, to, 65536, 0);
    if (n > 0)
        buf_commit(p->into, (size_t)n);
    p->eof = n == 0;
    p->reset = n < 0 && errno == ECONNRESET;
    return p->eof || p->reset || (p->want > 0 && p->into->len >= p->want);
}

static void
peer_expect(struct loop *l, int fd, struct slice want)
{
    struct buf got;
    buf_init(&got, 64 << 20);
    run_until(l, peer_has_read, &(struct peer_read){.fd = fd, .into = &got, .want = want.n});
    assert_int_equal(got.len, want.n);
    assert_memory_equal(buf_slice(&got).p, want.p, want.n);
    buf_fini(&got);
}

static void
peer_expect_eof(struct loop *l, int fd)
{
    struct buf got;
    buf_init(&got, 64 << 20);
    struct peer_read p = {.fd = fd, .into = &got};
    run_until(l, peer_has_read, &p);
    assert_true(p.eof);
    assert_int_equal(got.len, 0);
    buf_fini(&got);
}

struct sending {
    struct send_op op;
    unsigned dones;
    struct stream *aborts, *closes;
};

static void
count_done(struct send_op *op)
{
    struct sending *s = container_of(op, struct sending, op);
    s->dones++;
    if (s->aborts != NULL)
        stream_abort(s->aborts);
    if (s->closes != NULL)
        stream_close(s->closes);
}

static bool
sending_done(void *arg)
{
    return ((struct sending *)arg)->dones > 0;
}

static void
a_dialog_survives_every_split(void **state)
{
    (void)state;
    static const char DIALOG[] = "220 hello\r\n250-one\r\n250 two\r\n";
    for (size_t at = 1; at < sizeof DIALOG - 1; at++) {
        struct loop *l = loop_new();
        struct stream *s;
        struct recorder r;
        int fd = open_stream_to_socket(l, &s, TEST_INPUT_MAX);
        recorder_init(&r, s);
        assert_int_equal(send(fd, DIALOG, at, 0), (ssize_t)at);
        run_until(l, expected_holds, &(struct expected){&r, at});
        assert_int_equal(send(fd, DIALOG + at, sizeof DIALOG - 1 - at, 0),
                         (ssize_t)(sizeof DIALOG - 1 - at));
        expect_bytes(l, &r, slice_str(DIALOG));
        stream_send(s, slice_from(DIALOG, at));
        stream_send(s, slice_from(DIALOG + at, sizeof DIALOG - 1 - at));
        peer_expect(l, fd, slice_str(DIALOG));
        recorder_fini(&r);
        stream_close(s);
        peer_expect_eof(l, fd);
        close(fd);
        loop_free(l);
    }
}

static void
copied_and_borrowed_output_keep_their_order(void **state)
{
    (void)state;
    struct loop *l = loop_new();
    struct stream *s;
    struct recorder r;
    int fd = open_stream_to_socket(l, &s, TEST_INPUT_MAX);
    recorder_init(&r, s);
    struct sending a = {0}, none = {0}, b = {0}, last = {0};
    stream_send(s, SLICE("one "));
    stream_send_ref(s, &a.op, SLICE("two "), count_done);
    stream_send_ref(s, &none.op, SLICE_NONE, count_done);
    stream_send(s, SLICE("three "));
    stream_send(s, SLICE("four "));
    stream_send_ref(s, &b.op, SLICE("five"), count_done);
    stream_send_ref(s, &last.op, SLICE_NONE, count_done);
    assert_int_equal(stream_unsent_bytes(s), 23);
    assert_int_equal(a.dones + none.dones + b.dones + last.dones, 0);
    peer_expect(l, fd, SLICE("one two three four five"));
    assert_int_equal(stream_unsent_bytes(s), 0);
    assert_true(a.dones == 1 && none.dones == 1 && b.dones == 1 && last.dones == 1);
    struct sending alone = {0};
    stream_send_ref(s, &alone.op, SLICE_NONE, count_done);
    run_until(l, sending_done, &alone);
    stream_abort(s);
    run_turns(l, 3);
    assert_int_equal(alone.dones, 1);
    recorder_fini(&r);
    close(fd);
    loop_free(l);
}

static void
a_slow_reader_holds_the_sender_back(void **state)
{
    (void)state;
    struct loop *l = loop_new();
    struct stream *s;
    struct recorder r;
    size_t n = 8 * MEGABYTE;
    char *body = malloc(n);
    for (size_t i = 0; i < n; i++)
        body[i] = (char)(i * 2654435761u >> 24);
    int fd = open_stream_to_socket(l, &s, TEST_INPUT_MAX);
    recorder_init(&r, s);
    struct sending op = {0};
    stream_send(s, SLICE("head"));
    stream_send_ref(s, &op.op, slice_from(body, n), count_done);
    run_turns(l, 30);
    assert_int_equal(op.dones, 0);
    assert_int_equal(r.drains, 0);
    assert_true(stream_unsent_bytes(s) > stream_output_high_water());
    assert_true(stream_unsent_bytes(s) < n); /* progress shows before the end */
    struct buf got;
    buf_init(&got, 64 << 20);
    run_until(l, peer_has_read, &(struct peer_read){.fd = fd, .into = &got, .want = 4 + n});
    assert_int_equal(got.len, 4 + n);
    assert_memory_equal(buf_slice(&got).p, "head", 4);
    assert_memory_equal(buf_slice(&got).p + 4, body, n);
    run_until(l, sending_done, &op);
    run_turns(l, 3);
    assert_int_equal(r.drains, 1);
    assert_int_equal(op.dones, 1);
    buf_fini(&got);
    recorder_fini(&r);
    stream_close(s);
    close(fd);
    loop_free(l);
    free(body);
}

static void
input_stops_at_its_maximum(void **state)
{
    (void)state;
    enum { MAX = 5000 };
    struct loop *l = loop_new();
    struct stream *s;
    struct recorder r;
    int fd = open_stream_to_socket(l, &s, MAX);
    recorder_init(&r, s);
    r.keeps = true;
    char flood[64 << 10];
    memset(flood, 'x', sizeof flood);
    ssize_t sent = 0, n;
    for (int i = 0; i < 50; i++) {
        while ((n = send(fd, flood, sizeof flood, MSG_NOSIGNAL)) > 0)
            sent += n;
        run_turns(l, 2);
    }
    assert_int_equal(stream_input(s).n, MAX); /* the rest is the kernel's and the peer's */
    unsigned inputs = r.inputs;
    stream_consume(s, 1);
    run_until_inputs(l, &r, inputs + 1);
    run_turns(l, 3);
    assert_int_equal(stream_input(s).n, MAX);
    assert_int_equal(r.inputs, inputs + 1);
    r.keeps = false;
    size_t had = stream_input(s).n + 1;
    stream_consume(s, MAX);
    shutdown(fd, SHUT_WR);
    run_until_flag(l, &r.ended);
    assert_int_equal(r.end.code, ERR_CLOSED);
    assert_int_equal(r.got.len + had, (size_t)sent);
    recorder_fini(&r);
    stream_close(s);
    close(fd);
    loop_free(l);
}

static void
a_paused_stream_reads_nothing(void **state)
{
    (void)state;
    struct loop *l = loop_new();
    struct stream *s;
    struct recorder r;
    int fd = open_stream_to_socket(l, &s, TEST_INPUT_MAX);
    recorder_init(&r, s);
    r.keeps = true;
    peer_send(fd, "first");
    run_until_inputs(l, &r, 1);
    stream_pause_input(s);
    peer_send(fd, "second");
    shutdown(fd, SHUT_WR);
    run_turns(l, 5);
    assert_true(slice_eq(stream_input(s), SLICE("first")));
    assert_int_equal(r.inputs, 1);
    assert_int_equal(r.ends, 0);
    r.keeps = false;
    stream_resume_input(s);
    assert_int_equal(r.inputs, 1); /* not inside the call */
    run_until_flag(l, &r.ended);
    assert_true(slice_eq(buf_slice(&r.got), SLICE("firstsecond")));
    assert_int_equal(r.end.code, ERR_CLOSED);
    recorder_fini(&r);
    stream_close(s);
    close(fd);
    loop_free(l);
}

static void
half_closed_peers_get_their_answer(void **state)
{
    (void)state;
    struct loop *l = loop_new();
    struct stream *s;
    struct recorder r;
    int fd = open_stream_to_socket(l, &s, TEST_INPUT_MAX);
    recorder_init(&r, s);
    peer_send(fd, "QUIT\r\n");
    shutdown(fd, SHUT_WR);
    run_until_flag(l, &r.ended);
    assert_true(slice_eq(buf_slice(&r.got), SLICE("QUIT\r\n")));
    assert_int_equal(r.end.code, ERR_CLOSED);
    run_turns(l, 3);
    assert_int_equal(r.ends, 1);
    stream_send(s, SLICE("221 bye\r\n"));
    stream_close(s);
    peer_expect(l, fd, SLICE("221 bye\r\n"));
    peer_expect_eof(l, fd);
    recorder_fini(&r);
    close(fd);
    loop_free(l);
}

/* Peers that refuse say why and close; our next write fails then, and the reason
 * must still be read. */
static void
what_a_peer_said_before_it_broke_is_read(void **state)
{
    (void)state;
    struct loop *l = loop_new();
    struct stream *s;
    struct recorder r;
    int fd = open_stream_to_socket(l, &s, TEST_INPUT_MAX);
    recorder_init(&r, s);
    peer_send(fd, "421 go away\r\n");
    struct sending op = {0};
    stream_send_ref(s, &op.op, SLICE("EHLO x\r\n"), count_done);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
    close(fd); /* a reset */
    run_until_flag(l, &r.ended);
    assert_true(slice_eq(buf_slice(&r.got), SLICE("421 go away\r\n")));
    assert_int_equal(r.end.code, ERR_IO);
    run_until(l, sending_done, &op);
    stream_send(s, SLICE("into the void"));
    assert_int_equal(stream_unsent_bytes(s), 0);
    struct sending late = {0};
    stream_send_ref(s, &late.op, SLICE("too late"), count_done);
    run_until(l, sending_done, &late);
    run_turns(l, 3);
    assert_true(op.dones == 1 && late.dones == 1 && r.ends == 1);
    recorder_fini(&r);
    stream_close(s);
    loop_free(l);
}

static void
a_broken_peer_is_reported_to_a_paused_user(void **state)
{
    (void)state;
    struct loop *l = loop_new();
    struct stream *s;
    struct recorder r;
    int fd = open_stream_to_socket(l, &s, TEST_INPUT_MAX);
    recorder_init(&r, s);
    stream_pause_input(s);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
    close(fd);
    run_turns(l, 3);
    assert_int_equal(r.ends, 0); /* nobody reads: nobody knows */
    stream_send(s, SLICE("hello?"));
    run_until_flag(l, &r.ended);
    assert_int_equal(r.end.code, ERR_IO);
    recorder_fini(&r);
    stream_abort(s);
    loop_free(l);
}

static void
closing_sends_what_is_pending(void **state)
{
    (void)state;
    struct loop *l = loop_new();
    struct stream *s;
    struct recorder r;
    size_t n = 4 * MEGABYTE;
    char *body = malloc(n);
    memset(body, 'b', n);
    int fd = open_stream_to_socket(l, &s, TEST_INPUT_MAX);
    recorder_init(&r, s);
    struct sending op = {0};
    stream_send_ref(s, &op.op, slice_from(body, n), count_done);
    stream_close(s);
    peer_send(fd, "nobody listens"); /* and nobody is called back */
    struct buf got;
    buf_init(&got, 64 << 20);
    run_until(l, peer_has_read, &(struct peer_read){.fd = fd, .into = &got});
    assert_int_equal(got.len, n); /* up to the FIN: no reset, though we never read */
    assert_int_equal(op.dones, 1);
    assert_int_equal(r.inputs + r.ends, 0);
    close(fd);
    buf_fini(&got);
    recorder_fini(&r);
    loop_run(l); /* returns when the stream is gone */
    loop_free(l);
    free(body);
}

static bool
late_bytes_are_read(void *arg)
{
    return ((struct stream *)arg)->discarded_bytes == 2 * strlen("MAIL FROM:<a@b.test>\r\n");
}

/* Unread bytes at close(2) make the kernel send a reset, RFC 2525 2.17. The
 * stream is its user's no more, but this test knows that it is still there. */
static void
late_bytes_do_not_destroy_the_last_reply(void **state)
{
    (void)state;
    struct loop *l = loop_new();
    struct stream *s;
    struct recorder r;
    int fd = open_stream_to_socket(l, &s, TEST_INPUT_MAX);
    recorder_init(&r, s);
    stream_send(s, SLICE("421 closing\r\n"));
    stream_close(s);
    run_turns(l, 5);
    peer_send(fd, "MAIL FROM:<a@b.test>\r\n");
    run_turns(l, 5);
    peer_send(fd, "MAIL FROM:<c@d.test>\r\n");
    run_until(l, late_bytes_are_read, s);
    peer_expect(l, fd, SLICE("421 closing\r\n"));
    peer_expect_eof(l, fd);
    close(fd);
    recorder_fini(&r);
    loop_free(l);
}

/* A peer that reads nothing does not keep a closed stream. This takes the five
 * seconds: a scaled limit would make the other tests depend on speed. */
static void
closing_takes_no_longer_than_its_limit(void **state)
{
    (void)state;
    struct loop *l = loop_new();
    struct stream *s;
    struct recorder r;
    size_t n = 16 * MEGABYTE;
    char *body = calloc(1, n);
    int fd = open_stream_to_socket(l, &s, TEST_INPUT_MAX);
    recorder_init(&r, s);
    struct sending op = {0};
    stream_send_ref(s, &op.op, slice_from(body, n), count_done);
    stream_close(s);
    run_until(l, sending_done, &op);
    loop_run(l);
    assert_int_equal(op.dones, 1);
    close(fd);
    recorder_fini(&r);
    loop_free(l);
    free(body);
}

static void
aborting_drops_what_is_pending(void **state)
{
    (void)state;
    for (int turns = 0; turns < 3; turns++) {
        struct loop *l = loop_new();
        struct stream *s;
        struct recorder r;
        size_t n = 16 * MEGABYTE;
        char *body = calloc(1, n);
        int fd = open_stream_to_socket(l, &s, TEST_INPUT_MAX);
        recorder_init(&r, s);
        struct sending ops[3] = {{.dones = 0}};
        for (int i = 0; i < 3; i++)
            stream_send_ref(s, &ops[i].op, slice_from(body, n), count_done);
        if (turns > 0)
            run_turns(l, turns * 3); /* not yet written, or in the middle of it */
        stream_abort(s);
        for (int i = 0; i < 3; i++)
            assert_int_equal(ops[i].dones, 0); /* not inside the call */
        for (int i = 0; i < 3; i++)
            run_until(l, sending_done, &ops[i]);
        run_turns(l, 3);
        for (int i = 0; i < 3; i++)
            assert_int_equal(ops[i].dones, 1);
        assert_int_equal(r.ends + r.inputs, 0);
        close(fd);
        recorder_fini(&r);
        loop_free(l);
        free(body);
    }
}

static void
done_may_close_the_stream(void **state)
{
    (void)state;
    for (int aborts = 0; aborts < 2; aborts++) {
        struct loop *l = loop_new();
        struct stream *s;
        struct recorder r;
        int fd = open_stream_to_socket(l, &s, TEST_INPUT_MAX);
        recorder_init(&r, s);
        struct sending first = {0}, second = {0};
        *(aborts ? &first.aborts : &first.closes) = s;
        stream_send_ref(s, &first.op, SLICE("first"), count_done);
        stream_send_ref(s, &second.op, SLICE("second"), count_done);
        peer_expect(l, fd, SLICE("firstsecond")); /* both were in one write */
        run_until(l, sending_done, &second);
        run_turns(l, 3);
        assert_true(first.dones == 1 && second.dones == 1);
        close(fd);
        recorder_fini(&r);
        loop_free(l);
    }
}

struct closer {
    struct stream_user user;
    struct stream *stream;
    bool abort, at_end, called;
};

static void
closer_close(struct closer *c)
{
    assert_false(c->called);
    c->called = true;
    if (c->abort)
        stream_abort(c->stream);
    else
        stream_close(c->stream);
}

static void
closer_on_input(struct stream_user *u)
{
    struct closer *c = container_of(u, struct closer, user);
    if (c->at_end)
        stream_consume(c->stream, stream_input(c->stream).n);
    else
        closer_close(c);
}

static void
closer_on_end(struct stream_user *u, const struct err *why)
{
    struct closer *c = container_of(u, struct closer, user);
    assert_int_equal(why->code, ERR_CLOSED);
    assert_true(c->at_end);
    closer_close(c);
}

static void
callbacks_may_close_the_stream(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct loop *l = loop_new();
        struct closer c = {.user = {.on_input = closer_on_input, .on_end = closer_on_end},
                           .abort = i & 1,
                           .at_end = i & 2};
        int fd = open_stream_to_socket(l, &c.stream, TEST_INPUT_MAX);
        stream_set_user(c.stream, &c.user);
        peer_send(fd, "some input");
        shutdown(fd, SHUT_WR);
        run_until_flag(l, &c.called);
        close(fd);
        loop_run(l);
        loop_free(l);
    }
}

static void
another_user_gets_the_rest(void **state)
{
    (void)state;
    struct loop *l = loop_new();
    struct stream *s;
    struct recorder first, second, third;
    int fd = open_stream_to_socket(l, &s, TEST_INPUT_MAX);
    recorder_init(&first, s);
    first.keeps = true;
    peer_send(fd, "for the second");
    run_until_inputs(l, &first, 1);
    recorder_init(&second, s);
    assert_int_equal(second.inputs, 0); /* not inside the call */
    expect_bytes(l, &second, SLICE("for the second"));
    shutdown(fd, SHUT_WR);
    run_until_flag(l, &second.ended);
    recorder_init(&third, s); /* who takes over an ended stream must learn it */
    run_until_flag(l, &third.ended);
    assert_int_equal(first.inputs, 1);
    assert_int_equal(first.ends, 0);
    recorder_fini(&first);
    recorder_fini(&second);
    recorder_fini(&third);
    stream_close(s);
    close(fd);
    loop_free(l);
}

static void
two_streams_talk(void **state)
{
    (void)state;
    struct loop *l = loop_new();
    struct pair p;
    struct recorder server, client;
    pair_open(&p, l, TEST_INPUT_MAX);
    recorder_init(&server, p.server);
    recorder_init(&client, p.client);
    stream_send(p.server, SLICE("220 ready\r\n"));
    expect_bytes(l, &client, SLICE("220 ready\r\n"));
    stream_send(p.client, SLICE("QUIT\r\n"));
    expect_bytes(l, &server, SLICE("QUIT\r\n"));
    stream_close(p.client);
    run_until_flag(l, &server.ended);
    assert_int_equal(server.end.code, ERR_CLOSED);
    stream_close(p.server);
    recorder_fini(&server);
    recorder_fini(&client);
    loop_run(l); /* both see the other's FIN and are gone */
    loop_free(l);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_dialog_survives_every_split),
        cmocka_unit_test(copied_and_borrowed_output_keep_their_order),
        cmocka_unit_test(a_slow_reader_holds_the_sender_back),
        cmocka_unit_test(input_stops_at_its_maximum),
        cmocka_unit_test(a_paused_stream_reads_nothing),
        cmocka_unit_test(half_closed_peers_get_their_answer),
        cmocka_unit_test(what_a_peer_said_before_it_broke_is_read),
        cmocka_unit_test(a_broken_peer_is_reported_to_a_paused_user),
        cmocka_unit_test(closing_sends_what_is_pending),
        cmocka_unit_test(late_bytes_do_not_destroy_the_last_reply),
        cmocka_unit_test(closing_takes_no_longer_than_its_limit),
        cmocka_unit_test(aborting_drops_what_is_pending),
        cmocka_unit_test(done_may_close_the_stream),
        cmocka_unit_test(callbacks_may_close_the_stream),
        cmocka_unit_test(another_user_gets_the_rest),
        cmocka_unit_test(two_streams_talk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
