/*
 * The player of smtp_dialog.h, for one source file of a test program. It defines
 * the door, the check of passwords and queue_status() itself, so it must not be
 * in a library that other tests link with.
 */
#ifndef STAGEPOST_TESTS_SMTP_DIALOG_PLAY_H
#define STAGEPOST_TESTS_SMTP_DIALOG_PLAY_H

#include "tests/unit/support/smtp_dialog.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "relay/accept/credential.h"
#include "relay/accept/smtp/session.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/base/log.h"
#include "relay/sys/net/listener.h"
#include "relay/sys/net/tls.h"

enum { POLL_MS = 3, CLIENT_TIMEOUT_S = 30, PAUSE_NS = 50000000 };

/* ---- the world of the server ------------------------------------------------ */

static const char *const SENDERS[] = {"example.org", "xn--bcher-kva.example"};
static const struct config_credential CREDENTIAL = {.user = "dev",
                                                    .tenant = "dev",
                                                    .senders = (const char **)(uintptr_t)SENDERS,
                                                    .sender_count = 2};

static struct {
    struct dialog *dialog;
    struct loop *loop;
    struct smtp_server *server;
    atomic_uint status;
    atomic_bool drain, revoked;
    atomic_uint memory_wanted, memory_now; /* 1: full */
    atomic_uint clients;
    uint16_t port;
    struct timer poll;
} world;

enum queue_status
queue_status(const struct queue *q)
{
    (void)q;
    return (enum queue_status)atomic_load(&world.status);
}

struct fake_submit {
    struct timer timer;
    struct submit_op *op;
};

static void
copy(char *out, size_t cap, struct slice s)
{
    snprintf(out, cap, "%.*s", SLICE_FMT(s));
}

static void
note_visit(const struct submit_op *op)
{
    struct door_visit *v = &world.dialog->visit;
    *v = (struct door_visit){.user = op->credential->user};
    copy(v->reverse_path, sizeof v->reverse_path, op->envelope.reverse_path);
    copy(v->reverse_domain, sizeof v->reverse_domain, op->reverse_domain);
    copy(v->envid, sizeof v->envid, op->envelope.envid);
    copy(v->client_name, sizeof v->client_name, op->client_name);
    copy(v->client_address, sizeof v->client_address, op->client_address);
    copy(v->protocol, sizeof v->protocol, slice_str(op->protocol));
    v->ret = op->envelope.ret;
    v->smtputf8 = op->envelope.smtputf8;
    v->recipient_count = op->recipient_count;
    for (unsigned i = 0; i < op->recipient_count && i < 8; i++) {
        copy(v->recipients[i], sizeof v->recipients[i], op->recipients[i].address);
        copy(v->domains[i], sizeof v->domains[i], op->recipients[i].domain);
        copy(v->orcpt[i], sizeof v->orcpt[i], op->recipients[i].options.orcpt);
        v->notify[i] = op->recipients[i].options.notify;
    }
    struct slice message = blob_slice(op->message);
    v->message_bytes = message.n;
    if (message.n > 0)
        memcpy(v->message, message.p,
               message.n < sizeof v->message ? message.n : sizeof v->message);
}

static void
on_fake_answer(struct timer *t)
{
    struct fake_submit *f = container_of(t, struct fake_submit, timer);
    struct submit_op *op = f->op;
    const struct dialog *d = world.dialog;
    free(f);
    op->result = d->door_result;
    snprintf(op->text, sizeof op->text, "%s", d->door_text != NULL ? d->door_text : "fake");
    id_parse(SLICE("01890a5d-ac96-774b-bcce-b302099a8057"), &op->id);
    op->state = NULL;
    op->done(op);
}

void
submit_start(struct submit_op *op, struct submit_door *d)
{
    (void)d;
    struct fake_submit *f = calloc(1, sizeof *f);
    f->op = op;
    world.dialog->visits++;
    note_visit(op);
    timer_init(&f->timer, world.loop, on_fake_answer);
    timer_start(&f->timer, world.dialog->door_delay_ms);
}

/* The right password is "dev"; the user "busy" finds no room. */
struct fake_check {
    struct timer timer;
    struct credential_check_op *op;
    enum credential_result result;
};

static void
on_fake_check(struct timer *t)
{
    struct fake_check *f = container_of(t, struct fake_check, timer);
    struct credential_check_op *op = f->op;
    op->result = f->result;
    op->credential = f->result == CREDENTIAL_OK ? &CREDENTIAL : NULL;
    free(f);
    op->done(op);
}

void
credential_check_start(struct credential_check_op *op, struct credentials *cs, struct slice user,
                       struct slice password)
{
    (void)cs;
    struct fake_check *f = calloc(1, sizeof *f);
    bool right = slice_eq(user, SLICE("dev")) && slice_eq(password, SLICE("dev"));
    f->op = op;
    f->result = right                           ? CREDENTIAL_OK
                : slice_eq(user, SLICE("busy")) ? CREDENTIAL_BUSY
                                                : CREDENTIAL_WRONG;
    timer_init(&f->timer, world.loop, on_fake_check);
    timer_start(&f->timer, 1);
}

void
credential_check_cancel(struct credential_check_op *op)
{
    (void)op; /* done comes soon anyway */
}

/* SCRAM: only what the session does with it. The user "y" came by a downgrade; the
 * proof "right" is. */
bool
credentials_offer_scram(const struct credentials *cs)
{
    (void)cs;
    return world.dialog->offers_scram;
}

void
credential_scram_init(struct credential_scram *x, struct credentials *cs,
                      const struct stream_binding *binding, bool plus)
{
    x->cs = cs;
    BUG_ON(plus && (binding == NULL || binding->n == 0));
    buf_init(&x->last, 100);
}

void
credential_scram_fini(struct credential_scram *x)
{
    buf_fini(&x->last);
    *x = (struct credential_scram){0};
}

enum scram_outcome
credential_scram_first(struct credential_scram *x, struct slice message, struct buf *answer)
{
    (void)x;
    buf_add_str(answer, "first");
    return slice_eq(message, SLICE("y"))     ? SCRAM_DOWNGRADED
           : slice_eq(message, SLICE("dev")) ? SCRAM_GO_ON
                                             : SCRAM_MALFORMED;
}

void
credential_check_scram_start(struct credential_check_op *op, struct credential_scram *x,
                             struct slice message)
{
    bool right = slice_eq(message, SLICE("right"));
    if (right)
        buf_add_str(&x->last, "last");
    credential_check_start(op, x->cs, SLICE("dev"), right ? SLICE("dev") : SLICE("wrong"));
}

const struct config_credential *
credential_by_user(const struct credentials *cs, struct slice user)
{
    (void)cs;
    return slice_eq(user, SLICE("dev")) ? &CREDENTIAL : NULL;
}

struct config_generation *
credential_memory(const struct credentials *cs, const struct config_credential *cr)
{
    (void)cs;
    (void)cr;
    return NULL;
}

const struct config_credential *
credential_renew(const struct credentials *cs, const struct config_credential *old,
                 const struct credential_proof *proof, const struct net_address *from)
{
    (void)cs;
    (void)proof;
    (void)from;
    return atomic_load(&world.revoked) ? NULL : old;
}

/* ---- the client --------------------------------------------------------------- */

struct client {
    const struct step *steps;
    const struct step *at;
    pthread_t thread;
    int fd;
    SSL_CTX *ctx;
    SSL *ssl;
    bool implicit_tls;
    char in[65536];
    size_t in_bytes;
    char failure[1500];
};

static bool fail_step(struct client *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static bool
fail_step(struct client *c, const char *fmt, ...)
{
    va_list args;
    char text[1024];
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (c->failure[0] == '\0')
        snprintf(c->failure, sizeof c->failure, "step %td (%.*s): %s", c->at - c->steps,
                 (int)(c->at->bytes.n < 80 ? c->at->bytes.n : 80),
                 c->at->bytes.p ? c->at->bytes.p : "", text);
    return false;
}

static bool
client_send(struct client *c, struct slice bytes)
{
    while (bytes.n > 0) {
        ssize_t n = c->ssl != NULL ? SSL_write(c->ssl, bytes.p, (int)bytes.n)
                                   : send(c->fd, bytes.p, bytes.n, MSG_NOSIGNAL);
        if (n <= 0)
            return fail_step(c, "cannot send");
        bytes = slice_skip(bytes, (size_t)n);
    }
    return true;
}

/* 1: something came, 0: the end, -1: an error or the time is over. */
static int
client_receive(struct client *c)
{
    size_t room = sizeof c->in - c->in_bytes;
    char *to = c->in + c->in_bytes;
    ssize_t n;
    if (c->ssl != NULL) {
        n = SSL_read(c->ssl, to, (int)room);
        if (n <= 0)
            return SSL_get_error(c->ssl, (int)n) == SSL_ERROR_ZERO_RETURN ? 0 : -1;
    } else {
        n = recv(c->fd, to, room, 0);
    }
    if (n > 0)
        c->in_bytes += (size_t)n;
    return n > 0 ? 1 : (int)n;
}

static bool
client_line(struct client *c, char line[1100])
{
    char *end;
    while ((end = memchr(c->in, '\n', c->in_bytes)) == NULL)
        if (client_receive(c) <= 0)
            return fail_step(c, "no whole line came: \"%.*s\"", (int)c->in_bytes, c->in);
    size_t n = (size_t)(end - c->in) + 1;
    if (n > 512 || n < 6 || end[-1] != '\r') /* RFC 5321 4.5.3.1.5 */
        return fail_step(c, "not a reply line of at most 512 octets: \"%.*s\"", (int)n, c->in);
    memcpy(line, c->in, n);
    line[n - 2] = '\0';
    memmove(c->in, c->in + n, c->in_bytes - n);
    c->in_bytes -= n;
    return true;
}

/* One reply: the same code on all lines, 7-bit. */
static bool
client_expect(struct client *c, struct slice want, enum step_kind kind)
{
    char line[1100], code[4] = "";
    bool found = false;
    do {
        if (!client_line(c, line))
            return false;
        if (code[0] != '\0' && strncmp(code, line, 3) != 0)
            return fail_step(c, "codes differ: %s and \"%s\"", code, line);
        memcpy(code, line, 3);
        for (const char *p = line; *p != '\0'; p++)
            if ((unsigned char)*p < 32 || (unsigned char)*p > 126)
                return fail_step(c, "not printable ASCII: \"%s\"", line);
        bool last = line[3] == ' ';
        if (kind != STEP_EXPECT || last)
            found = found || strncmp(line, want.p, want.n) == 0;
    } while (line[3] == '-');
    if (found == (kind == STEP_EXPECT_NOT))
        return fail_step(c, "got \"%s\"", line);
    return true;
}

static bool
has_input(struct client *c)
{
    struct pollfd p = {.fd = c->fd, .events = POLLIN};
    return c->in_bytes > 0 || (c->ssl != NULL && SSL_pending(c->ssl) > 0) || poll(&p, 1, 0) > 0;
}

/* How long it takes does not matter, only that it ends. */
static bool
client_dribble(struct client *c, const struct step *step)
{
    char line[1100];
    for (unsigned i = 0; i < step->number; i++) {
        if (!client_send(c, step->bytes))
            return false;
        nanosleep(&(struct timespec){.tv_nsec = PAUSE_NS}, NULL);
        while (has_input(c)) {
            if (!client_line(c, line))
                return false;
            if (strncmp(line, step->also.p, step->also.n) == 0)
                return true;
            if (strncmp(line, "250 ", 4) != 0)
                return fail_step(c, "got \"%s\"", line);
        }
    }
    return fail_step(c, "goes on for ever");
}

static bool
client_handshake(struct client *c)
{
    c->ssl = SSL_new(c->ctx);
    SSL_set_fd(c->ssl, c->fd);
    return SSL_connect(c->ssl) == 1 || fail_step(c, "TLS handshake failed");
}

static bool
client_gone(struct client *c)
{
    int r;
    do
        r = client_receive(c);
    while (r > 0);
    if (r < 0 && errno == EAGAIN)
        return fail_step(c, "the server did not close");
    return c->in_bytes == 0 || fail_step(c, "got \"%.*s\"", (int)c->in_bytes, c->in);
}

static bool
client_end(struct client *c, enum step_kind kind)
{
    struct linger hard = {.l_onoff = 1, .l_linger = 0};
    if (kind == STEP_RESET) {
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
        close(c->fd);
        c->fd = -1;
    } else if (kind == STEP_FIN && c->ssl != NULL) {
        SSL_shutdown(c->ssl);
    } else {
        shutdown(c->fd, SHUT_WR);
    }
    return true;
}

static bool
client_step(struct client *c, const struct step *step)
{
    switch (step->kind) {
    case STEP_SEND:
        return client_send(c, step->bytes);
    case STEP_SEND_BYTES:
        for (size_t i = 0; i < step->bytes.n; i++)
            if (!client_send(c, slice_from(step->bytes.p + i, 1)))
                return false;
        return true;
    case STEP_EXPECT:
    case STEP_EXPECT_ANY:
    case STEP_EXPECT_NOT:
        return client_expect(c, step->bytes, step->kind);
    case STEP_REPEAT:
        for (unsigned i = 0; i < step->number; i++)
            if (!client_send(c, step->bytes) ||
                (step->also.n > 0 && !client_expect(c, step->also, STEP_EXPECT)))
                return false;
        return true;
    case STEP_DRIBBLE:
        return client_dribble(c, step);
    case STEP_KEYS:
        for (unsigned i = 0; i < step->number; i++)
            if (SSL_key_update(c->ssl, SSL_KEY_UPDATE_REQUESTED) != 1 ||
                SSL_do_handshake(c->ssl) != 1)
                return fail_step(c, "no new keys");
        return true;
    case STEP_GONE:
        return client_gone(c);
    case STEP_TLS:
        return client_handshake(c);
    case STEP_FIN:
    case STEP_CUT:
    case STEP_RESET:
        return client_end(c, step->kind);
    case STEP_PAUSE:
        nanosleep(&(struct timespec){.tv_nsec = PAUSE_NS}, NULL);
        return true;
    case STEP_DRAIN:
        atomic_store(&world.drain, true);
        return true;
    case STEP_REVOKE:
        atomic_store(&world.revoked, true);
        return true;
    case STEP_STATUS:
        atomic_store(&world.status, step->number);
        return true;
    case STEP_MEMORY:
        atomic_store(&world.memory_wanted, step->number);
        while (atomic_load(&world.memory_now) != step->number)
            nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000L}, NULL);
        return true;
    case STEP_END:
        break;
    }
    return true;
}

static void *
client_main(void *arg)
{
    struct client *c = arg;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(world.port)};
    struct timeval limit = {.tv_sec = CLIENT_TIMEOUT_S};
    int on = 1;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->at = c->steps;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    bool ok = connect(c->fd, (struct sockaddr *)&to, sizeof to) == 0 || fail_step(c, "connect");
    if (ok && c->implicit_tls)
        ok = client_handshake(c);
    for (; ok && c->at->kind != STEP_END; c->at++)
        ok = client_step(c, c->at);
    SSL_free(c->ssl);
    if (c->fd >= 0)
        close(c->fd);
    atomic_fetch_sub(&world.clients, 1);
    return NULL;
}

/* ---- playing -------------------------------------------------------------------- */

static void
make_certificate(const char *cert_path, const char *key_path)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    assert_non_null(key);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
                               (const unsigned char *)"gw.example", -1, -1, 0);
    X509_set_issuer_name(cert, X509_get_subject_name(cert));
    X509_set_pubkey(cert, key);
    assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
    FILE *f = fopen(cert_path, "w");
    assert_true(f != NULL && PEM_write_X509(f, cert) == 1 && fclose(f) == 0);
    f = fopen(key_path, "w");
    assert_true(f != NULL && PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL) == 1);
    assert_int_equal(fclose(f), 0);
    X509_free(cert);
    EVP_PKEY_free(key);
}

static struct tls_context *
make_context(void)
{
    char dir[] = "/tmp/stagepost-smtp-XXXXXX", cert[64], key[64];
    struct err err = {0};
    assert_non_null(mkdtemp(dir));
    snprintf(cert, sizeof cert, "%s/cert.pem", dir);
    snprintf(key, sizeof key, "%s/key.pem", dir);
    make_certificate(cert, key);
    struct tls_context *ctx = tls_server_new(cert, key, &err);
    unlink(cert);
    unlink(key);
    rmdir(dir);
    assert_non_null(ctx);
    return ctx;
}

static void
set_memory(unsigned wanted)
{
    unsigned now = atomic_load(&world.memory_now);
    if (wanted == now)
        return;
    static const size_t TAKEN[] = {0, (size_t)ACCEPT_BYTES_IN_MEMORY_MAX + 1,
                                   (size_t)ACCEPT_BYTES_IN_MEMORY_MAX - 100000};
    world.server->transaction_bytes += TAKEN[wanted] - TAKEN[now];
    atomic_store(&world.memory_now, wanted);
}

static void
on_poll(struct timer *t)
{
    set_memory(atomic_load(&world.memory_wanted));
    if (atomic_load(&world.clients) == 0 || atomic_load(&world.drain))
        smtp_server_drain(world.server);
    if (atomic_load(&world.clients) == 0 && !smtp_server_busy(world.server))
        loop_stop(world.loop);
    else
        timer_start(t, POLL_MS);
}

static void
open_server(const struct dialog *d, const struct config *config, struct tls_context *tls)
{
    struct net_address at;
    struct err err = {0};
    const struct smtp_server_parts parts = {.loop = world.loop, .config = config, .tls = tls};
    world.server = smtp_server_new(&parts);
    assert_true(net_address_parse(SLICE("127.0.0.1:0"), &at));
    int fd = net_listen(&at, false, false, &err);
    assert_true(fd >= 0);
    assert_int_equal(net_bound_address(fd, &at, &err), 0);
    world.port = at.port;
    assert_int_equal(smtp_server_listen(world.server, fd, d->implicit_tls, NULL, &err), 0);
}

static void
start_client(struct client *c, const struct step *steps, bool implicit_tls)
{
    *c = (struct client){.steps = steps, .fd = -1, .implicit_tls = implicit_tls};
    c->ctx = SSL_CTX_new(TLS_client_method());
    atomic_fetch_add(&world.clients, 1);
    assert_int_equal(pthread_create(&c->thread, NULL, client_main, c), 0);
}

static void
join_client(struct client *c, char failure[1500])
{
    pthread_join(c->thread, NULL);
    SSL_CTX_free(c->ctx);
    if (c->failure[0] != '\0')
        memcpy(failure, c->failure, sizeof c->failure);
    free(c);
}

void
dialog_play(struct dialog *d)
{
    const struct config config = {
        .hostname = "gw.example",
        .message_bytes_max = d->message_bytes_max > 0 ? d->message_bytes_max : MESSAGE_BYTES_MAX,
    };
    struct client *first = malloc(sizeof *first), *second = malloc(sizeof *second);
    struct tls_context *tls = make_context();
    char failure[1500] = "";
    log_init("test", 0, LOG_ERROR);
    world.dialog = d;
    world.loop = loop_new();
    atomic_store(&world.status, d->status != 0 ? d->status : QUEUE_UP);
    atomic_store(&world.drain, false);
    atomic_store(&world.revoked, false);
    atomic_store(&world.memory_wanted, 0);
    atomic_store(&world.memory_now, 0);
    open_server(d, &config, tls);
    start_client(first, d->steps, d->implicit_tls);
    if (d->second != NULL)
        start_client(second, d->second, d->implicit_tls);
    timer_init(&world.poll, world.loop, on_poll);
    timer_start(&world.poll, POLL_MS);
    loop_run(world.loop);
    join_client(first, failure);
    if (d->second != NULL)
        join_client(second, failure);
    else
        free(second);
    set_memory(0);
    assert_int_equal(world.server->transaction_bytes, 0);
    smtp_server_free(world.server);
    d->longest_turn_us = loop_take_worst_turn_us(world.loop);
    loop_free(world.loop);
    tls_context_free(tls);
    if (failure[0] != '\0')
        fail_msg("%s", failure);
    assert_int_equal(blob_total_bytes(), 0);
}

unsigned
dialog_steps(const struct step *steps)
{
    struct dialog d = {.steps = steps};
    dialog_play(&d);
    return d.visits;
}

#endif
