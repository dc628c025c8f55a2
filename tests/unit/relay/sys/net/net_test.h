/*
 * What the tests of relay/sys/net/ share: running a loop until a condition
 * holds, a recording user of a stream, listening on loopback, and a certificate
 * made on the spot.
 */
#ifndef STAGEPOST_TESTS_NET_TEST_H
#define STAGEPOST_TESTS_NET_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "relay/sys/base/buf.h"
#include "relay/sys/net/listener.h"
#include "relay/sys/net/loop.h"
#include "relay/sys/net/stream.h"
#include "relay/sys/net/tls.h"

enum { TEST_LIMIT_MS = 30000, TEST_INPUT_MAX = 64 << 10 };

/* Running the loop */

struct waiter {
    struct timer look;
    bool (*holds)(void *arg);
    void *arg;
    unsigned looks;
    bool held;
};

static inline void
waiter_look(struct timer *t)
{
    struct waiter *w = container_of(t, struct waiter, look);
    w->held = w->holds(w->arg);
    if (w->held || ++w->looks > TEST_LIMIT_MS)
        loop_stop(t->loop);
    else
        timer_start(t, 1);
}

/* Runs until the condition holds; fails the test when it does not in time. */
static inline void
run_until(struct loop *l, bool (*holds)(void *arg), void *arg)
{
    struct waiter w = {.holds = holds, .arg = arg};
    timer_init(&w.look, l, waiter_look);
    timer_start(&w.look, 1);
    loop_run(l);
    timer_cancel(&w.look);
    assert_true(w.held);
}

static inline bool
flag_holds(void *arg)
{
    return *(bool *)arg;
}

static inline void
run_until_flag(struct loop *l, bool *flag)
{
    run_until(l, flag_holds, flag);
}

static inline bool
after_looks(void *arg)
{
    return --*(int *)arg <= 0;
}

/* Runs some turns, for what must not happen. */
static inline void
run_turns(struct loop *l, int turns)
{
    run_until(l, after_looks, &turns);
}

/* A user that records what it is told */

struct recorder {
    struct stream_user user;
    struct stream *stream;
    struct buf got;
    bool keeps; /* leaves the input where it is */
    unsigned inputs, drains, ends;
    bool ended;
    struct err end;
};

static inline void
recorder_on_input(struct stream_user *u)
{
    struct recorder *r = container_of(u, struct recorder, user);
    assert_int_equal(r->ends, 0);
    r->inputs++;
    struct slice in = stream_input(r->stream);
    assert_true(in.n > 0);
    if (r->keeps)
        return;
    assert_true(buf_add(&r->got, in));
    stream_consume(r->stream, in.n);
}

static inline void
recorder_on_end(struct stream_user *u, const struct err *why)
{
    struct recorder *r = container_of(u, struct recorder, user);
    r->ends++;
    r->ended = true;
    r->end = *why;
}

static inline void
recorder_on_drain(struct stream_user *u)
{
    container_of(u, struct recorder, user)->drains++;
}

static inline void
recorder_init(struct recorder *r, struct stream *s)
{
    *r = (struct recorder){.stream = s};
    r->user = (struct stream_user){
        .on_input = recorder_on_input, .on_end = recorder_on_end, .on_drain = recorder_on_drain};
    buf_init(&r->got, 64 << 20);
    stream_set_user(s, &r->user);
}

static inline void
recorder_fini(struct recorder *r)
{
    buf_fini(&r->got);
}

struct expected {
    struct recorder *r;
    size_t bytes; /* or calls */
};

static inline bool
expected_holds(void *arg)
{
    struct expected *e = arg;
    return e->r->got.len >= e->bytes;
}

static inline bool
inputs_hold(void *arg)
{
    struct expected *e = arg;
    return e->r->inputs >= e->bytes;
}

/* Until on_input came that often. */
static inline void
run_until_inputs(struct loop *l, struct recorder *r, unsigned times)
{
    run_until(l, inputs_hold, &(struct expected){r, times});
}

static inline void
expect_bytes(struct loop *l, struct recorder *r, struct slice want)
{
    run_until(l, expected_holds, &(struct expected){r, want.n});
    assert_int_equal(r->got.len, want.n);
    assert_memory_equal(buf_slice(&r->got).p, want.p, want.n);
    buf_clear(&r->got);
}

/* A stream of ours and a raw socket as its peer */

static inline struct net_address
loopback_any_port(void)
{
    struct net_address a;
    assert_true(net_address_parse(SLICE("127.0.0.1:0"), &a));
    return a;
}

struct connecting {
    struct connect_op op;
    bool done;
};

static inline void
connecting_done(struct connect_op *op)
{
    struct connecting *c = container_of(op, struct connecting, op);
    assert_false(c->done);
    c->done = true;
}

static inline void
connecting_start(struct connecting *c, struct loop *l, const struct net_address *to)
{
    *c = (struct connecting){.op = {.done = connecting_done}};
    connect_start(&c->op, l, to, TEST_LIMIT_MS, TEST_INPUT_MAX);
}

/* A connected stream in *s; returns the other end, a nonblocking socket. */
static inline int
open_stream_to_socket(struct loop *l, struct stream **s, size_t input_max)
{
    struct err err;
    struct net_address at = loopback_any_port();
    int listening = net_listen(&at, false, false, &err);
    assert_true(listening >= 0);
    assert_int_equal(net_bound_address(listening, &at, &err), 0);
    struct connecting c = {.op = {.done = connecting_done}};
    connect_start(&c.op, l, &at, TEST_LIMIT_MS, input_max);
    run_until_flag(l, &c.done);
    assert_int_equal(c.op.err.code, ERR_NONE);
    *s = c.op.stream;
    int fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    assert_true(fd >= 0);
    close(listening);
    return fd;
}

/* Two streams that are each other's peers */

struct pair {
    struct listener *listener;
    struct stream *server, *client;
    bool accepted;
};

static inline void
pair_on_accept(void *owner, struct stream *s)
{
    struct pair *p = owner;
    assert_null(p->server);
    p->server = s;
    p->accepted = true;
}

/* Users are set by the test at once, before the loop turns again. */
static inline void
pair_open(struct pair *p, struct loop *l, size_t server_input_max)
{
    struct err err;
    struct net_address at = loopback_any_port();
    *p = (struct pair){0};
    int fd = net_listen(&at, false, false, &err);
    assert_true(fd >= 0);
    assert_int_equal(net_bound_address(fd, &at, &err), 0);
    p->listener = listener_open(l, fd, server_input_max, pair_on_accept, p, &err);
    assert_non_null(p->listener);
    struct connecting c;
    connecting_start(&c, l, &at);
    run_until_flag(l, &c.done);
    assert_int_equal(c.op.err.code, ERR_NONE);
    p->client = c.op.stream;
    run_until_flag(l, &p->accepted);
    listener_close(p->listener);
}

/* Certificates */

struct identity {
    char dir[64], cert[96], key[96];
};

static inline X509 *
self_signed(EVP_PKEY *key)
{
    X509 *x = X509_new();
    assert_non_null(x);
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), -3600);
    X509_gmtime_adj(X509_getm_notAfter(x), 86400);
    X509_NAME *name = X509_get_subject_name(x);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"mx.test", -1, -1,
                               0);
    X509_set_issuer_name(x, name);
    X509V3_CTX ctx;
    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, x, x, NULL, NULL, 0);
    X509_EXTENSION *ext =
        X509V3_EXT_conf_nid(NULL, &ctx, NID_subject_alt_name, "DNS:mx.test,IP:127.0.0.1");
    assert_non_null(ext);
    X509_add_ext(x, ext, -1);
    X509_EXTENSION_free(ext);
    X509_set_pubkey(x, key);
    assert_true(X509_sign(x, key, EVP_sha256()) > 0);
    return x;
}

static inline void
identity_make(struct identity *id)
{
    snprintf(id->dir, sizeof id->dir, "/tmp/stagepost-test-XXXXXX");
    assert_non_null(mkdtemp(id->dir));
    snprintf(id->cert, sizeof id->cert, "%s/cert.pem", id->dir);
    snprintf(id->key, sizeof id->key, "%s/key.pem", id->dir);
    EVP_PKEY *key = EVP_EC_gen("P-256");
    assert_non_null(key);
    X509 *x = self_signed(key);
    FILE *f = fopen(id->cert, "w");
    assert_non_null(f);
    assert_int_equal(PEM_write_X509(f, x), 1);
    fclose(f);
    f = fopen(id->key, "w");
    assert_non_null(f);
    assert_int_equal(PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL), 1);
    fclose(f);
    X509_free(x);
    EVP_PKEY_free(key);
}

static inline void
identity_remove(struct identity *id)
{
    unlink(id->cert);
    unlink(id->key);
    rmdir(id->dir);
}

#endif
