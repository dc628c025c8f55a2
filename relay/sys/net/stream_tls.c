/*
 * TLS on a stream, over two memory BIOs: ciphertext from the socket goes into
 * one, what OpenSSL wants to write comes out of the other.
 *
 * Happy path: stream_start_tls() with nothing in the input; output that was
 * asked for before it still goes out in clear; the handshake; tls_op.done;
 * records are decrypted into the input as far as there is room, and output is
 * encrypted as fast as the socket takes it; close_notify from either side.
 *
 * Ways it ends: close_notify (ERR_CLOSED); FIN without it, a bad record, an
 * alert (ERR_TLS). In the handshake: a failure (ERR_TLS), the deadline
 * (ERR_TIMEOUT), the socket (ERR_CLOSED, ERR_IO), all by tls_op.done; or the
 * user closes the stream, and then done does not come.
 */
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/net/stream_internal.h"
#include "relay/sys/net/tls_internal.h"

enum { TLS_PHASES = TLS_BROKEN + 1, SERVER_NAME_MAX = ADDRESS_DOMAIN_MAX };

static const struct sm_row PHASES[TLS_PHASES] = {
    [TLS_SHAKING] =
        {
            .name = "shaking",
            .doing = "performing the TLS handshake",
            .next = SM_TO(TLS_UP) | SM_TO(TLS_FAILED), /* timeout: stream_start_tls()'s caller */
        },
    [TLS_UP] =
        {
            .name = "up",
            .doing = "exchanging TLS records",
            .next = SM_TO(TLS_BROKEN),
        },
    [TLS_FAILED] = {.name = "failed", .doing = "leaving a failed TLS handshake"},
    [TLS_BROKEN] = {.name = "broken", .doing = "leaving TLS"},
};

struct stream_tls {
    struct stream *stream;
    SSL *ssl; /* owns the BIOs */
    BIO *from_peer, *to_peer;
    struct sm sm;
    struct tls_op *op; /* NULL: nobody waits for the handshake */
    struct timer timer;
    struct err bad_name; /* the server name cannot be one */
    bool verifies, named, goodbye, stalled;
    size_t plain_left;   /* output from before the handshake */
    struct buf cipher;   /* on its way to the socket */
    size_t cipher_plain; /* output bytes that are in it */
};

enum tls_phase
stream_tls_phase(const struct stream *s)
{
    return (enum tls_phase)s->tls->sm.state;
}

bool
stream_tls_stalled(const struct stream *s)
{
    return s->tls->stalled;
}

size_t
stream_tls_plain_left(const struct stream *s)
{
    return s->tls->plain_left;
}

void
stream_tls_feed(struct stream *s, struct slice ciphertext)
{
    int n = BIO_write(s->tls->from_peer, ciphertext.p, (int)ciphertext.n);
    BUG_ON(n < 0 || (size_t)n != ciphertext.n);
}

bool
stream_tls_wants_bytes(const struct stream *s)
{
    return !s->tls->stalled &&
           BIO_ctrl_pending(s->tls->to_peer) + s->tls->cipher.len < STREAM_TLS_BACKLOG_MAX;
}

/* The handshake */

static void
finish_handshake(struct stream *s, const struct err *why)
{
    struct stream_tls *t = s->tls;
    struct tls_op *op = t->op;
    timer_cancel(&t->timer);
    sm_move(&t->sm, why == NULL ? TLS_UP : TLS_FAILED);
    deferred_schedule_end_of_turn(&s->flush); /* the last flight, or an alert */
    stream_update_reading(s);
    t->op = NULL;
    if (op == NULL)
        return;
    if (why == NULL)
        err_clear(&op->err);
    else
        op->err = *why;
    op->done(op);
}

void
stream_tls_abandon(struct stream *s, const struct err *why)
{
    if (stream_tls_phase(s) == TLS_SHAKING)
        finish_handshake(s, why);
}

static void
on_timeout(struct timer *timer)
{
    struct stream_tls *t = container_of(timer, struct stream_tls, timer);
    struct err why;
    err_set(&why, ERR_TIMEOUT, "TLS handshake: timed out");
    finish_handshake(t->stream, &why);
}

static void
handshake_failed(struct stream *s)
{
    SSL *ssl = s->tls->ssl;
    struct err why;
    tls_err(&why, "TLS handshake");
    long verify = SSL_get_verify_result(ssl);
    if (s->tls->verifies && verify != X509_V_OK)
        err_set(&why, ERR_TLS, "TLS handshake: %s", X509_verify_cert_error_string(verify));
    finish_handshake(s, &why);
}

static void
shake(struct stream *s)
{
    struct stream_tls *t = s->tls;
    struct err why;
    if (t->bad_name.code != ERR_NONE) {
        finish_handshake(s, &t->bad_name);
        return;
    }
    ERR_clear_error();
    int r = SSL_do_handshake(t->ssl);
    if (r == 1) {
        finish_handshake(s, NULL);
        return;
    }
    if (SSL_get_error(t->ssl, r) != SSL_ERROR_WANT_READ) {
        handshake_failed(s);
    } else if (s->at_eof) {
        err_set(&why, ERR_CLOSED, "TLS handshake: closed by the peer");
        finish_handshake(s, &why);
    } else {
        deferred_schedule_end_of_turn(&s->flush);
    }
}

/* The name to ask for and to verify; an address is verified but not sent (RFC
 * 6066 3). */
static void
set_server_name(struct stream_tls *t, struct slice name)
{
    char text[SERVER_NAME_MAX + 1];
    if (name.n == 0)
        return;
    t->named = true;
    SSL_set_hostflags(t->ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS); /* RFC 6125 6.4.3 */
    struct net_address ignored;
    bool is_ip = net_address_from_ip(name, 0, &ignored);
    bool ok =
        slice_to_cstr(name, text, sizeof text) &&
        (is_ip ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(t->ssl), text) == 1
               : SSL_set_tlsext_host_name(t->ssl, text) == 1 && SSL_set1_host(t->ssl, text) == 1);
    if (!ok)
        err_set(&t->bad_name, ERR_TLS, "TLS handshake: not a server name");
}

void
stream_offer_protocols(struct stream *s, const char *names)
{
    s->protocols = names;
}

void
stream_start_tls(struct stream *s, struct tls_op *op, struct tls_context *ctx,
                 struct slice server_name, uint64_t timeout_ms, void (*done)(struct tls_op *op))
{
    BUG_ON(s->sm.state != STREAM_OPEN || s->tls != NULL);
    BUG_ON(s->input.len > 0); /* plaintext from before the handshake: RFC 3207 4.2 */
    *op = (struct tls_op){.done = done};
    list_node_init(&op->node);
    struct stream_tls *t = calloc(1, sizeof *t);
    BUG_ON(t == NULL);
    t->stream = s;
    t->op = op;
    t->verifies = ctx->verifies;
    t->plain_left = s->unsent;
    t->ssl = SSL_new(ctx->ssl);
    t->from_peer = BIO_new(BIO_s_mem());
    t->to_peer = BIO_new(BIO_s_mem());
    BUG_ON(t->ssl == NULL || t->from_peer == NULL || t->to_peer == NULL);
    SSL_set_bio(t->ssl, t->from_peer, t->to_peer);
    if (ctx->server) {
        SSL_set_accept_state(t->ssl);
        tls_offer_protocols(t->ssl, s->protocols);
    } else {
        SSL_set_connect_state(t->ssl);
        set_server_name(t, server_name);
    }
    sm_init(&t->sm, PHASES, TLS_PHASES, TLS_SHAKING, NULL);
    buf_init(&t->cipher, STREAM_TLS_BACKLOG_MAX);
    timer_init(&t->timer, s->loop, on_timeout);
    timer_start(&t->timer, timeout_ms);
    s->tls = t;
    deferred_schedule(&s->event); /* a client speaks first */
    stream_update_reading(s);
}

/* Input */

static void
records_failed(struct stream *s, int reason)
{
    struct err why;
    sm_move(&s->tls->sm, TLS_BROKEN);
    if (reason == SSL_ERROR_SSL)
        tls_err(&why, "TLS");
    else
        err_set(&why, ERR_TLS, "TLS: connection is unusable");
    stream_set_end(s, ERR_TLS, "%s", why.text);
}

static void
read_stopped(struct stream *s, int reason)
{
    s->tls->stalled = false;
    if (reason == SSL_ERROR_ZERO_RETURN)
        stream_set_end(s, ERR_CLOSED, "closed by the peer");
    else if (reason != SSL_ERROR_WANT_READ)
        records_failed(s, reason);
    else if (s->at_eof) /* RFC 8446 6.1: possibly truncated by somebody else */
        stream_set_end(s, ERR_TLS, "TLS: closed by the peer without close_notify");
    if (BIO_ctrl_pending(s->tls->to_peer) > 0) /* KeyUpdate, alert */
        deferred_schedule_end_of_turn(&s->flush);
}

static void
decrypt(struct stream *s)
{
    struct stream_tls *t = s->tls;
    t->stalled = true;
    while (!s->paused && buf_room(&s->input) > 0) {
        size_t room = buf_room(&s->input), got = 0;
        size_t want = room < STREAM_TLS_RECORD_MAX ? room : STREAM_TLS_RECORD_MAX;
        char *to = buf_reserve(&s->input, want);
        ERR_clear_error();
        int r = SSL_read_ex(t->ssl, to, want, &got);
        if (r != 1) {
            read_stopped(s, SSL_get_error(t->ssl, r));
            return;
        }
        buf_commit(&s->input, got);
        s->input_news = true;
    }
}

void
stream_tls_pump(struct stream *s)
{
    if (stream_tls_phase(s) == TLS_SHAKING)
        shake(s);
    if (s->sm.state == STREAM_OPEN && stream_tls_phase(s) == TLS_UP && s->end.code == ERR_NONE)
        decrypt(s);
}

/* Output */

/* Encrypts from the front of the output, where nothing is under way yet. */
static void
encrypt(struct stream *s)
{
    struct stream_tls *t = s->tls;
    size_t skip = s->head_sent;
    LIST_EACH(&s->out, n)
    {
        struct send_op *op = container_of(n, struct send_op, node);
        struct slice rest = slice_skip(op->bytes, skip);
        skip = 0;
        while (rest.n > 0) {
            if (t->cipher_plain >= STREAM_TLS_WRITE_MAX)
                return;
            struct slice record = slice_cut(&rest, STREAM_TLS_RECORD_MAX);
            size_t put = 0;
            ERR_clear_error();
            int r = SSL_write_ex(t->ssl, record.p, record.n, &put);
            if (r != 1 || put != record.n) {
                records_failed(s, SSL_get_error(t->ssl, r));
                return;
            }
            t->cipher_plain += record.n;
        }
    }
}

struct slice
stream_tls_output(struct stream *s)
{
    struct stream_tls *t = s->tls;
    if (t->cipher.len == 0) {
        if (stream_tls_phase(s) == TLS_UP && t->cipher_plain == 0 && !s->output_dead)
            encrypt(s);
        size_t n = BIO_ctrl_pending(t->to_peer);
        if (n > buf_room(&t->cipher))
            n = buf_room(&t->cipher);
        if (n > 0) {
            int got = BIO_read(t->to_peer, buf_reserve(&t->cipher, n), (int)n);
            BUG_ON(got < 0 || (size_t)got != n);
            buf_commit(&t->cipher, n);
        }
    }
    return buf_slice(&t->cipher);
}

size_t
stream_tls_sent(struct stream *s, size_t n)
{
    struct stream_tls *t = s->tls;
    if (t->plain_left > 0) {
        BUG_ON(n > t->plain_left);
        t->plain_left -= n;
        return n;
    }
    buf_consume(&t->cipher, n);
    if (t->cipher.len > 0 || BIO_ctrl_pending(t->to_peer) > 0)
        return 0;
    buf_shrink(&t->cipher, STREAM_READ_MIN);
    size_t plain = t->cipher_plain;
    t->cipher_plain = 0;
    return plain;
}

void
stream_tls_output_dropped(struct stream *s)
{
    s->tls->plain_left = s->tls->cipher_plain = 0;
}

bool
stream_tls_say_goodbye(struct stream *s)
{
    struct stream_tls *t = s->tls;
    if (t->goodbye || stream_tls_phase(s) != TLS_UP)
        return false;
    t->goodbye = true;
    ERR_clear_error();
    SSL_shutdown(t->ssl);
    return BIO_ctrl_pending(t->to_peer) > 0;
}

/* What a user may ask, and the end */

bool
stream_is_tls(const struct stream *s)
{
    return s->tls != NULL && (stream_tls_phase(s) == TLS_UP || stream_tls_phase(s) == TLS_BROKEN);
}

const char *
stream_tls_version(const struct stream *s)
{
    return stream_is_tls(s) ? SSL_get_version(s->tls->ssl) : "";
}

const char *
stream_tls_cipher(const struct stream *s)
{
    return stream_is_tls(s) ? SSL_get_cipher_name(s->tls->ssl) : "";
}

/* The server is never resumed: the client's Finished is the first one. */
static size_t
tls_unique(SSL *ssl, uint8_t out[STREAM_BINDING_MAX])
{
    bool ours_is_first = SSL_is_server(ssl) == SSL_session_reused(ssl);
    if (SSL_get_extms_support(ssl) != 1)
        return 0;
    return ours_is_first ? SSL_get_finished(ssl, out, STREAM_BINDING_MAX)
                         : SSL_get_peer_finished(ssl, out, STREAM_BINDING_MAX);
}

static size_t
tls_exporter(SSL *ssl, uint8_t out[STREAM_BINDING_MAX])
{
    static const char LABEL[] = "EXPORTER-Channel-Binding";
    enum { EXPORTED = 32 }; /* RFC 9266 2 */
    return SSL_export_keying_material(ssl, out, EXPORTED, LABEL, sizeof LABEL - 1, NULL, 0, 0) == 1
               ? EXPORTED
               : 0;
}

bool
stream_channel_binding(const struct stream *s, struct stream_binding *out)
{
    if (!stream_is_tls(s) || stream_tls_phase(s) != TLS_UP)
        return false;
    SSL *ssl = s->tls->ssl;
    bool is_13 = SSL_version(ssl) == TLS1_3_VERSION;
    out->name = is_13 ? "tls-exporter" : "tls-unique";
    out->n = is_13 ? tls_exporter(ssl, out->bytes) : tls_unique(ssl, out->bytes);
    return out->n > 0 && out->n <= sizeof out->bytes;
}

bool
stream_tls_verified(const struct stream *s)
{
    return stream_is_tls(s) && s->tls->verifies && s->tls->named &&
           SSL_get0_peer_certificate(s->tls->ssl) != NULL &&
           SSL_get_verify_result(s->tls->ssl) == X509_V_OK;
}

void
stream_tls_forget_user(struct stream *s)
{
    s->tls->op = NULL;
    timer_cancel(&s->tls->timer);
}

void
stream_tls_free(struct stream *s)
{
    SSL_free(s->tls->ssl);
    buf_fini(&s->tls->cipher);
    free(s->tls);
    s->tls = NULL;
}
