/* TLS on streams. Between client and server stands a relay that forwards what
 * they say, byte by byte where a test wants it, and that can damage it. */
#include "tests/unit/relay/sys/net/net_test.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "relay/sys/base/id.h"
#include "relay/sys/net/tls_internal.h"

enum { MEGABYTE = 1 << 20, WHOLE = 65536 };

static struct identity identity; /* of this program's main() */

/* The relay */

struct way {
    int from, to;
    bool done;
    size_t passed;
};

struct relay {
    struct deferred turn;
    struct way up, down;  /* client to server, and back */
    size_t chunk;         /* bytes per turn of the loop */
    bool stopped, damage; /* the next byte upwards */
};

static bool
carry(struct way *w, size_t chunk, bool *damage)
{
    static char bytes[WHOLE];
    if (w->done)
        return false;
    ssize_t n = recv(w->from, bytes, chunk, 0);
    if (n < 0)
        return false;
    if (n == 0) {
        shutdown(w->to, SHUT_WR);
        w->done = true;
        return false;
    }
    if (damage != NULL && *damage) {
        bytes[n - 1] ^= 1;
        *damage = false;
    }
    for (ssize_t at = 0; at < n;) {
        ssize_t m = send(w->to, bytes + at, (size_t)(n - at), MSG_NOSIGNAL);
        if (m < 0 && errno != EAGAIN)
            return false;
        at += m > 0 ? m : 0;
    }
    w->passed += (size_t)n;
    return true;
}

static void
relay_turn(struct deferred *d)
{
    struct relay *r = container_of(d, struct relay, turn);
    carry(&r->up, r->chunk, &r->damage);
    carry(&r->down, r->chunk, NULL);
    if (!r->stopped)
        deferred_schedule(d);
}

/* Both ends and what stands between them */

struct handshake {
    struct tls_op op;
    unsigned dones;
    bool done;
};

struct world {
    struct loop *loop;
    struct stream *server, *client;
    struct recorder at_server, at_client;
    struct handshake server_tls, client_tls;
    struct tls_context *server_ctx, *client_ctx;
    int server_fd, client_fd; /* the relay's ends; carry() spins on a full socket */
    struct relay relay;
};

static void
handshake_done(struct tls_op *op)
{
    struct handshake *h = container_of(op, struct handshake, op);
    h->dones++;
    h->done = true;
}

static void
world_open_with(struct world *w, size_t server_input_max, struct tls_context *client_ctx)
{
    struct err err;
    *w = (struct world){.loop = loop_new(), .client_ctx = client_ctx};
    w->server_fd = open_stream_to_socket(w->loop, &w->server, server_input_max);
    w->client_fd = open_stream_to_socket(w->loop, &w->client, TEST_INPUT_MAX);
    recorder_init(&w->at_server, w->server);
    recorder_init(&w->at_client, w->client);
    w->server_ctx = tls_server_new(identity.cert, identity.key, &err);
    assert_non_null(w->server_ctx);
    w->relay.up = (struct way){.from = w->client_fd, .to = w->server_fd};
    w->relay.down = (struct way){.from = w->server_fd, .to = w->client_fd};
    w->relay.chunk = WHOLE;
    deferred_init(&w->relay.turn, w->loop, relay_turn);
    deferred_schedule(&w->relay.turn);
}

static void
world_open(struct world *w)
{
    struct err err;
    world_open_with(w, TEST_INPUT_MAX, tls_client_verifying_new(identity.cert, &err));
    assert_non_null(w->client_ctx);
}

static void
world_free(struct world *w)
{
    w->relay.stopped = true;
    deferred_cancel(&w->relay.turn);
    recorder_fini(&w->at_server);
    recorder_fini(&w->at_client);
    tls_context_free(w->server_ctx);
    tls_context_free(w->client_ctx);
    loop_free(w->loop);
    close(w->server_fd);
    close(w->client_fd);
}

static void
world_abort(struct world *w)
{
    stream_abort(w->server);
    stream_abort(w->client);
    world_free(w);
}

static void
start_both(struct world *w, struct slice name)
{
    stream_start_tls(w->server, &w->server_tls.op, w->server_ctx, SLICE_NONE, TEST_LIMIT_MS,
                     handshake_done);
    stream_start_tls(w->client, &w->client_tls.op, w->client_ctx, name, TEST_LIMIT_MS,
                     handshake_done);
    assert_false(w->server_tls.done || w->client_tls.done);
}

static void
shake_hands(struct world *w)
{
    start_both(w, SLICE("mx.test"));
    run_until_flag(w->loop, &w->client_tls.done);
    run_until_flag(w->loop, &w->server_tls.done);
    assert_string_equal(w->client_tls.op.err.text, "");
    assert_int_equal(w->client_tls.op.err.code, ERR_NONE);
    assert_int_equal(w->server_tls.op.err.code, ERR_NONE);
}

static void
talk(struct world *w)
{
    stream_send(w->client, SLICE("EHLO client.test\r\n"));
    expect_bytes(w->loop, &w->at_server, SLICE("EHLO client.test\r\n"));
    stream_send(w->server, SLICE("250-mx.test\r\n"));
    stream_send(w->server, SLICE("250 SIZE\r\n"));
    expect_bytes(w->loop, &w->at_client, SLICE("250-mx.test\r\n250 SIZE\r\n"));
}

static void
a_dialog_survives_single_bytes(void **state)
{
    (void)state;
    struct world w;
    world_open(&w);
    w.relay.chunk = 1; /* every split of every record, in both directions */
    assert_false(stream_is_tls(w.client));
    shake_hands(&w);
    assert_true(stream_is_tls(w.client) && stream_is_tls(w.server));
    assert_string_equal(stream_tls_version(w.client), "TLSv1.3");
    assert_true(strlen(stream_tls_cipher(w.server)) > 0);
    assert_true(stream_tls_verified(w.client));
    assert_false(stream_tls_verified(w.server));
    talk(&w);
    stream_close(w.client);
    run_until_flag(w.loop, &w.at_server.ended);
    assert_int_equal(w.at_server.end.code, ERR_CLOSED);
    assert_int_equal(w.client_tls.dones + w.server_tls.dones, 2);
    stream_close(w.server);
    world_free(&w);
}

/* tls-exporter and tls-unique are the same at both ends, other ones in each connection,
 * and there is none without TLS or without the extended master secret. */
static void
both_ends_have_one_binding(void **state)
{
    (void)state;
    static const struct {
        int version;
        uint64_t without;
        const char *name;
        size_t bytes; /* 0: none */
    } ROWS[] = {{TLS1_3_VERSION, 0, "tls-exporter", 32},
                {TLS1_2_VERSION, 0, "tls-unique", 12},
                {TLS1_2_VERSION, SSL_OP_NO_EXTENDED_MASTER_SECRET, "", 0}};
    struct stream_binding at_server, at_client, before = {.n = 0};
    for (size_t i = 0; i < 2 * ARRAY_LEN(ROWS); i++) {
        struct world w;
        const size_t row = i / 2;
        world_open(&w);
        SSL_CTX_set_max_proto_version(w.client_ctx->ssl, ROWS[row].version);
        SSL_CTX_set_options(w.client_ctx->ssl, ROWS[row].without);
        assert_false(stream_channel_binding(w.server, &at_server));
        shake_hands(&w);
        assert_int_equal(stream_channel_binding(w.server, &at_server), ROWS[row].bytes > 0);
        assert_int_equal(stream_channel_binding(w.client, &at_client), ROWS[row].bytes > 0);
        if (ROWS[row].bytes > 0) {
            assert_string_equal(at_server.name, ROWS[row].name);
            assert_int_equal(at_server.n, ROWS[row].bytes);
            assert_memory_equal(at_server.bytes, at_client.bytes, at_server.n);
            assert_memory_not_equal(at_server.bytes, before.bytes, at_server.n);
            before = at_server;
        }
        world_abort(&w);
    }
}

static void
older_versions_are_refused(void **state)
{
    (void)state;
    static const struct {
        int version;
        const char *name;
    } ROWS[] = {{TLS1_2_VERSION, "TLSv1.2"}, {TLS1_1_VERSION, NULL}};
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        struct world w;
        struct err err;
        struct tls_context *client = tls_client_verifying_new(identity.cert, &err);
        assert_non_null(client);
        SSL_CTX_set_min_proto_version(client->ssl, ROWS[i].version);
        SSL_CTX_set_max_proto_version(client->ssl, ROWS[i].version);
        SSL_CTX_set_security_level(client->ssl, 0);
        world_open_with(&w, TEST_INPUT_MAX, client);
        if (ROWS[i].name != NULL) {
            shake_hands(&w);
            assert_string_equal(stream_tls_version(w.server), ROWS[i].name);
            talk(&w);
        } else {
            start_both(&w, SLICE("mx.test"));
            run_until_flag(w.loop, &w.server_tls.done);
            run_until_flag(w.loop, &w.client_tls.done);
            assert_int_equal(w.server_tls.op.err.code, ERR_TLS);
            assert_int_equal(w.client_tls.op.err.code, ERR_TLS);
            assert_non_null(strstr(w.client_tls.op.err.text, "protocol version"));
        }
        world_abort(&w);
    }
}

static void
only_a_verified_name_counts(void **state)
{
    (void)state;
    struct identity stranger;
    identity_make(&stranger);
    static const struct {
        const char *name;
        bool trusted, works, verified;
        const char *why;
    } ROWS[] = {
        {"mx.test", true, true, true, ""},
        {"127.0.0.1", true, true, true, ""},
        {"", true, true, false, ""},
        {"other.test", true, false, false, "hostname mismatch"},
        {"127.0.0.2", true, false, false, "IP address mismatch"},
        {"mx.test", false, false, false, "certificate"},
    };
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        struct world w;
        struct err err;
        world_open_with(
            &w, TEST_INPUT_MAX,
            tls_client_verifying_new(ROWS[i].trusted ? identity.cert : stranger.cert, &err));
        start_both(&w, slice_str(ROWS[i].name));
        run_until_flag(w.loop, &w.client_tls.done);
        assert_int_equal(w.client_tls.op.err.code, ROWS[i].works ? ERR_NONE : ERR_TLS);
        assert_non_null(strstr(w.client_tls.op.err.text, ROWS[i].why));
        assert_int_equal(stream_tls_verified(w.client), ROWS[i].verified);
        run_turns(w.loop, 3);
        assert_int_equal(w.client_tls.dones, 1);
        assert_int_equal(w.at_client.ends + w.at_client.inputs, 0);
        world_abort(&w);
    }
    identity_remove(&stranger);
}

static void
opportunistic_clients_take_any_certificate(void **state)
{
    (void)state;
    struct world w;
    struct err err;
    world_open_with(&w, TEST_INPUT_MAX, tls_client_opportunistic_new(&err));
    start_both(&w, SLICE("other.test"));
    run_until_flag(w.loop, &w.client_tls.done);
    run_until_flag(w.loop, &w.server_tls.done);
    assert_int_equal(w.client_tls.op.err.code, ERR_NONE);
    assert_false(stream_tls_verified(w.client));
    talk(&w);
    world_abort(&w);
}

static void
impossible_names_are_refused(void **state)
{
    (void)state;
    char longest[300];
    memset(longest, 'a', sizeof longest);
    struct slice names[] = {SLICE("mx\0.test"), slice_from(longest, sizeof longest)};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct world w;
        world_open(&w);
        stream_start_tls(w.client, &w.client_tls.op, w.client_ctx, names[i], TEST_LIMIT_MS,
                         handshake_done);
        assert_false(w.client_tls.done);
        run_until_flag(w.loop, &w.client_tls.done);
        assert_int_equal(w.client_tls.op.err.code, ERR_TLS);
        world_abort(&w);
    }
}

static void
starttls_sends_what_was_said_before_in_clear(void **state)
{
    (void)state;
    struct world w;
    world_open(&w);
    stream_send(w.client, SLICE("STARTTLS\r\n"));
    expect_bytes(w.loop, &w.at_server, SLICE("STARTTLS\r\n"));
    stream_send(w.server, SLICE("220 go ahead\r\n"));
    stream_start_tls(w.server, &w.server_tls.op, w.server_ctx, SLICE_NONE, TEST_LIMIT_MS,
                     handshake_done);
    stream_send(w.server, SLICE("after the handshake"));
    expect_bytes(w.loop, &w.at_client, SLICE("220 go ahead\r\n"));
    stream_start_tls(w.client, &w.client_tls.op, w.client_ctx, SLICE("mx.test"), TEST_LIMIT_MS,
                     handshake_done);
    run_until_flag(w.loop, &w.client_tls.done);
    expect_bytes(w.loop, &w.at_client, SLICE("after the handshake"));
    talk(&w);
    world_abort(&w);
}

/* RFC 3207 4.2: what follows STARTTLS in the same read is the caller's to see. */
static void
injected_plaintext_stays_visible(void **state)
{
    (void)state;
    struct world w;
    world_open(&w);
    w.at_server.keeps = true;
    stream_send(w.client, SLICE("STARTTLS\r\nMAIL FROM:<evil@a.test>\r\n"));
    run_until_inputs(w.loop, &w.at_server, 1);
    stream_consume(w.server, 10);
    assert_true(slice_eq(stream_input(w.server), SLICE("MAIL FROM:<evil@a.test>\r\n")));
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        signal(SIGABRT, SIG_DFL); /* cmocka's handler would take it */
        close(STDERR_FILENO);
        start_both(&w, SLICE("mx.test"));
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
    world_abort(&w);
}

static void
a_peer_without_tls_is_an_error(void **state)
{
    (void)state;
    struct world w;
    world_open(&w);
    w.relay.stopped = true;
    stream_start_tls(w.client, &w.client_tls.op, w.client_ctx, SLICE("mx.test"), TEST_LIMIT_MS,
                     handshake_done);
    assert_int_equal(send(w.client_fd, "220 I speak SMTP\r\n", 18, MSG_NOSIGNAL), 18);
    run_until_flag(w.loop, &w.client_tls.done);
    assert_int_equal(w.client_tls.op.err.code, ERR_TLS);
    assert_non_null(strstr(w.client_tls.op.err.text, "TLS handshake: wrong version number"));
    run_turns(w.loop, 3);
    assert_int_equal(w.at_client.ends, 0); /* done has told it */
    stream_close(w.client);
    stream_abort(w.server);
    world_free(&w);
}

enum break_how { BREAK_SILENT, BREAK_FIN, BREAK_RESET };

static void
broken_handshake(enum break_how how, enum err_code want)
{
    struct world w;
    world_open(&w);
    w.relay.stopped = true;
    stream_start_tls(w.client, &w.client_tls.op, w.client_ctx, SLICE("mx.test"),
                     how == BREAK_SILENT ? 30 : TEST_LIMIT_MS, handshake_done);
    run_turns(w.loop, 3);
    if (how != BREAK_SILENT) /* whose time may be over on a slow machine */
        assert_false(w.client_tls.done);
    if (how == BREAK_FIN)
        shutdown(w.client_fd, SHUT_WR);
    if (how == BREAK_RESET) {
        setsockopt(w.client_fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0},
                   sizeof(struct linger));
        close(w.client_fd);
        w.client_fd = dup(w.server_fd); /* for world_free() to close */
    }
    run_until_flag(w.loop, &w.client_tls.done);
    assert_int_equal(w.client_tls.op.err.code, want);
    run_turns(w.loop, 3);
    assert_int_equal(w.client_tls.dones, 1);
    assert_int_equal(w.at_client.ends, 0);
    world_abort(&w);
}

static void
a_broken_handshake_says_how(void **state)
{
    (void)state;
    broken_handshake(BREAK_SILENT, ERR_TIMEOUT);
    broken_handshake(BREAK_FIN, ERR_CLOSED);
    broken_handshake(BREAK_RESET, ERR_IO);
}

static void
closing_ends_the_handshake_without_a_word(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct world w;
        world_open(&w);
        w.relay.stopped = true;
        start_both(&w, SLICE("mx.test"));
        if (i & 1)
            run_turns(w.loop, 3); /* before the first flight, or after it */
        if (i & 2) {
            stream_close(w.client);
            stream_close(w.server);
        } else {
            stream_abort(w.client);
            stream_abort(w.server);
        }
        run_turns(w.loop, 5);
        assert_int_equal(w.client_tls.dones + w.server_tls.dones, 0);
        world_free(&w);
    }
}

/* RFC 8446 6.1: without close_notify nobody knows whether that was all. */
static void
a_truncated_stream_is_an_error(void **state)
{
    (void)state;
    struct world w;
    world_open(&w);
    shake_hands(&w);
    stream_send(w.client, SLICE("DATA that seems to be all"));
    expect_bytes(w.loop, &w.at_server, SLICE("DATA that seems to be all"));
    shutdown(w.server_fd, SHUT_WR);
    run_until_flag(w.loop, &w.at_server.ended);
    assert_int_equal(w.at_server.end.code, ERR_TLS);
    assert_non_null(strstr(w.at_server.end.text, "close_notify"));
    stream_close(w.server);
    stream_abort(w.client);
    world_free(&w);
}

static void
plaintext_after_close_notify_is_never_input(void **state)
{
    (void)state;
    struct world w;
    world_open(&w);
    shake_hands(&w);
    w.relay.up.done = true; /* the FIN does not get through */
    stream_close(w.client);
    run_turns(w.loop, 5);
    char last[1000];
    ssize_t n = recv(w.client_fd, last, sizeof last, 0);
    assert_true(n > 0); /* close_notify */
    assert_int_equal(send(w.server_fd, last, (size_t)n, MSG_NOSIGNAL), n);
    assert_int_equal(send(w.server_fd, "MAIL FROM:<a@b.test>\r\n", 22, MSG_NOSIGNAL), 22);
    run_until_flag(w.loop, &w.at_server.ended);
    run_turns(w.loop, 5);
    assert_int_equal(w.at_server.end.code, ERR_CLOSED);
    assert_int_equal(w.at_server.inputs + stream_input(w.server).n, 0);
    stream_close(w.server);
    world_free(&w);
}

static void
damage_is_seen(void **state)
{
    (void)state;
    struct world w;
    world_open(&w);
    shake_hands(&w);
    talk(&w);
    w.relay.damage = true;
    stream_send(w.client, SLICE("MAIL FROM:<a@b.test>\r\n"));
    run_until_flag(w.loop, &w.at_server.ended);
    assert_int_equal(w.at_server.end.code, ERR_TLS);
    assert_int_equal(w.at_server.got.len, 0);
    assert_non_null(strstr(w.at_server.end.text, "bad record mac"));
    run_until_flag(w.loop, &w.at_client.ended); /* by the alert */
    assert_int_equal(w.at_client.end.code, ERR_TLS);
    assert_non_null(strstr(w.at_client.end.text, "alert bad record mac"));
    world_abort(&w);
}

struct sending {
    struct send_op op;
    unsigned dones;
};

static void
count_done(struct send_op *op)
{
    container_of(op, struct sending, op)->dones++;
}

static bool
sending_done(void *arg)
{
    return ((struct sending *)arg)->dones > 0;
}

static char *
make_body(size_t n)
{
    char *body = malloc(n);
    assert_non_null(body);
    for (size_t i = 0; i < n; i++)
        body[i] = (char)(i * 2654435761u >> 24);
    return body;
}

/* The server takes less than a record at a time, and stops in between. */
static void
a_slow_reader_holds_the_sender_back(void **state)
{
    (void)state;
    enum { MAX = 1000, BYTES = 12 * MEGABYTE };
    struct pair p;
    struct err err;
    struct loop *l = loop_new();
    struct tls_context *server_ctx = tls_server_new(identity.cert, identity.key, &err);
    struct tls_context *client_ctx = tls_client_opportunistic_new(&err);
    struct recorder server, client;
    struct handshake tls[2] = {{.dones = 0}};
    struct sending op = {.dones = 0};
    char *body = make_body(BYTES);
    pair_open(&p, l, MAX);
    recorder_init(&server, p.server);
    recorder_init(&client, p.client);
    stream_start_tls(p.server, &tls[0].op, server_ctx, SLICE_NONE, TEST_LIMIT_MS, handshake_done);
    stream_start_tls(p.client, &tls[1].op, client_ctx, SLICE_NONE, TEST_LIMIT_MS, handshake_done);
    run_until_flag(l, &tls[0].done);
    run_until_flag(l, &tls[1].done);
    server.keeps = true;
    stream_send(p.client, SLICE("head"));
    stream_send_ref(p.client, &op.op, slice_from(body, BYTES), count_done);
    stream_send(p.client, SLICE("tail"));
    run_turns(l, 20);
    assert_int_equal(stream_input(p.server).n, MAX);
    assert_int_equal(op.dones, 0);
    unsigned inputs = server.inputs;
    stream_pause_input(p.server);
    stream_consume(p.server, 4);
    run_turns(l, 3);
    assert_int_equal(server.inputs, inputs);
    assert_int_equal(stream_input(p.server).n, MAX - 4);
    server.keeps = false;
    stream_resume_input(p.server);
    run_until(l, expected_holds, &(struct expected){&server, BYTES});
    assert_memory_equal(buf_slice(&server.got).p, body, BYTES);
    run_until(l, sending_done, &op);
    run_turns(l, 3);
    assert_int_equal(op.dones, 1);
    assert_int_equal(client.drains, 1);
    assert_int_equal(stream_unsent_bytes(p.client), 0);
    stream_close(p.client);
    run_until_flag(l, &server.ended);
    assert_int_equal(server.end.code, ERR_CLOSED);
    assert_int_equal(server.got.len, BYTES + 4);
    stream_close(p.server);
    loop_run(l);
    recorder_fini(&server);
    recorder_fini(&client);
    tls_context_free(server_ctx);
    tls_context_free(client_ctx);
    loop_free(l);
    free(body);
}

static void
closing_sends_what_is_pending(void **state)
{
    (void)state;
    enum { BYTES = MEGABYTE };
    struct world w;
    char *body = make_body(BYTES);
    struct sending op = {.dones = 0};
    world_open(&w);
    shake_hands(&w);
    stream_send_ref(w.client, &op.op, slice_from(body, BYTES), count_done);
    stream_close(w.client);
    tls_context_free(w.client_ctx); /* streams hold what they need */
    w.client_ctx = NULL;
    run_until_flag(w.loop, &w.at_server.ended);
    assert_int_equal(w.at_server.end.code, ERR_CLOSED);
    assert_int_equal(w.at_server.got.len, BYTES);
    assert_memory_equal(buf_slice(&w.at_server.got).p, body, BYTES);
    assert_int_equal(op.dones, 1);
    stream_close(w.server);
    world_free(&w);
    free(body);
}

static void
borrowed_output_ends_once(void **state)
{
    (void)state;
    enum { BYTES = 16 * MEGABYTE };
    for (int turns = 0; turns < 2; turns++) {
        struct world w;
        char *body = make_body(BYTES);
        struct sending op = {.dones = 0}, second = {.dones = 0};
        world_open(&w);
        shake_hands(&w);
        stream_pause_input(w.server);
        w.relay.stopped = true;
        stream_send_ref(w.client, &op.op, slice_from(body, BYTES), count_done);
        stream_send_ref(w.client, &second.op, SLICE("second"), count_done);
        if (turns > 0)
            run_turns(w.loop, 5);
        stream_abort(w.client);
        assert_int_equal(op.dones, 0);
        run_until(w.loop, sending_done, &op);
        run_until(w.loop, sending_done, &second);
        run_turns(w.loop, 3);
        assert_true(op.dones == 1 && second.dones == 1);
        stream_abort(w.server);
        world_free(&w);
        free(body);
    }
}

/* Two sides that send, pause, resume and consume at random, then one closes or
 * aborts: what arrives is what was sent, in order, and each borrowed piece ends
 * once. */
enum { SIDE_ACTIONS = 300, SIDE_OPS = 400, SIDE_BYTES_MAX = 40000 };

struct side {
    struct stream_user user;
    struct stream *stream;
    struct deferred act;
    const char *body; /* what position p of either direction holds */
    size_t sent, got;
    struct sending ops[SIDE_OPS];
    unsigned op_count, acts, aborts_at;
    bool finished, ended;
    struct err end;
};

static void
side_take(struct side *s, size_t n)
{
    struct slice in = stream_input(s->stream);
    assert_true(n <= in.n);
    assert_memory_equal(in.p, s->body + s->got, n);
    s->got += n;
    stream_consume(s->stream, n);
}

static void
side_on_input(struct stream_user *u)
{
    struct side *s = container_of(u, struct side, user);
    assert_false(s->ended);
    size_t n = stream_input(s->stream).n;
    side_take(s, s->finished ? n : random_below((uint32_t)n + 1));
}

static void
side_on_end(struct stream_user *u, const struct err *why)
{
    struct side *s = container_of(u, struct side, user);
    assert_false(s->ended);
    s->ended = true;
    s->end = *why;
    deferred_cancel(&s->act);
}

static void
side_send(struct side *s)
{
    size_t n = random_below(SIDE_BYTES_MAX);
    struct slice part = slice_from(s->body + s->sent, n);
    if (stream_unsent_bytes(s->stream) > stream_output_high_water())
        return;
    s->sent += n;
    if (random_below(2) == 0)
        stream_send(s->stream, part);
    else
        stream_send_ref(s->stream, &s->ops[s->op_count++].op, part, count_done);
}

static void
side_act(struct deferred *d)
{
    struct side *s = container_of(d, struct side, act);
    switch (random_below(5)) {
    case 0:
        stream_pause_input(s->stream);
        break;
    case 1:
        stream_resume_input(s->stream);
        break;
    case 2:
        side_take(s, random_below((uint32_t)stream_input(s->stream).n + 1));
        break;
    default:
        side_send(s);
        break;
    }
    s->finished = ++s->acts == SIDE_ACTIONS;
    if (s->acts == s->aborts_at)
        stream_abort(s->stream);
    else if (s->finished)
        stream_resume_input(s->stream); /* from now on it takes everything */
    else
        deferred_schedule(d);
}

static void
side_start(struct side *s, struct loop *l, struct stream *stream, const char *body)
{
    *s = (struct side){.stream = stream, .body = body};
    s->user = (struct stream_user){.on_input = side_on_input, .on_end = side_on_end};
    stream_set_user(stream, &s->user);
    deferred_init(&s->act, l, side_act);
    deferred_schedule(&s->act);
}

static void
side_check_ops(const struct side *s)
{
    for (unsigned i = 0; i < s->op_count; i++)
        assert_int_equal(s->ops[i].dones, 1);
}

struct game {
    struct loop *loop;
    struct tls_context *server_ctx, *client_ctx;
    const char *body;
    bool tls, aborts;
};

static void
play(const struct game *g)
{
    struct pair p;
    static struct side server, client;
    struct handshake tls[2] = {{.dones = 0}};
    struct recorder idle[2];
    pair_open(&p, g->loop, 1 + random_below(30000));
    recorder_init(&idle[0], p.server);
    recorder_init(&idle[1], p.client);
    if (g->tls) {
        stream_start_tls(p.server, &tls[0].op, g->server_ctx, SLICE_NONE, TEST_LIMIT_MS,
                         handshake_done);
        stream_start_tls(p.client, &tls[1].op, g->client_ctx, SLICE_NONE, TEST_LIMIT_MS,
                         handshake_done);
        run_until_flag(g->loop, &tls[0].done);
        run_until_flag(g->loop, &tls[1].done);
    }
    side_start(&server, g->loop, p.server, g->body);
    side_start(&client, g->loop, p.client, g->body);
    if (g->aborts) {
        client.aborts_at = 1 + random_below(SIDE_ACTIONS - 1);
    } else {
        run_until_flag(g->loop, &client.finished);
        run_until_flag(g->loop, &server.finished);
        stream_close(p.client);
    }
    run_until_flag(g->loop, &server.ended);
    if (!g->aborts) {
        assert_int_equal(server.end.code, ERR_CLOSED);
        assert_int_equal(server.got, client.sent);
    }
    stream_close(p.server);
    loop_run(g->loop);
    side_check_ops(&server);
    side_check_ops(&client);
    recorder_fini(&idle[0]);
    recorder_fini(&idle[1]);
}

static void
random_games_keep_every_promise(void **state)
{
    (void)state;
    struct err err;
    char *body = make_body((size_t)SIDE_ACTIONS * SIDE_BYTES_MAX);
    struct game g = {.loop = loop_new(),
                     .server_ctx = tls_server_new(identity.cert, identity.key, &err),
                     .client_ctx = tls_client_opportunistic_new(&err),
                     .body = body};
    for (int i = 0; i < 40; i++) {
        g.tls = i & 1;
        g.aborts = i & 2;
        play(&g);
    }
    tls_context_free(g.server_ctx);
    tls_context_free(g.client_ctx);
    loop_free(g.loop);
    free(body);
}

int
main(void)
{
    identity_make(&identity);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_dialog_survives_single_bytes),
        cmocka_unit_test(both_ends_have_one_binding),
        cmocka_unit_test(older_versions_are_refused),
        cmocka_unit_test(only_a_verified_name_counts),
        cmocka_unit_test(opportunistic_clients_take_any_certificate),
        cmocka_unit_test(impossible_names_are_refused),
        cmocka_unit_test(starttls_sends_what_was_said_before_in_clear),
        cmocka_unit_test(injected_plaintext_stays_visible),
        cmocka_unit_test(a_peer_without_tls_is_an_error),
        cmocka_unit_test(a_broken_handshake_says_how),
        cmocka_unit_test(closing_ends_the_handshake_without_a_word),
        cmocka_unit_test(a_truncated_stream_is_an_error),
        cmocka_unit_test(plaintext_after_close_notify_is_never_input),
        cmocka_unit_test(damage_is_seen),
        cmocka_unit_test(a_slow_reader_holds_the_sender_back),
        cmocka_unit_test(closing_sends_what_is_pending),
        cmocka_unit_test(borrowed_output_ends_once),
        cmocka_unit_test(random_games_keep_every_promise),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    identity_remove(&identity);
    return failed;
}
