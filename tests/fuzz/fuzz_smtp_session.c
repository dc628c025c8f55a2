/*
 * A whole session on a stream, a loop, a door and credentials that are played
 * here: any bytes, cut anywhere. Every reply must be well-formed, every message
 * that reaches the door must be clean, and at the end nothing may be left.
 *
 * Input: a byte of flags, then pieces: a length byte and so many bytes.
 */
#include <stdlib.h>
#include <string.h>

#include "relay/accept/policy/preflight.h"
#include "relay/accept/smtp/session.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FLAG_TLS = 1, FLAG_KNOWN = 2, FLAG_FIN = 4, FLAG_SMALL = 8, RESULT_SHIFT = 4 };

struct stream {
    struct stream_user *user;
    struct buf input;
    bool tls, open;
};

/* One session at a time, and no more than one of each operation. */
static struct {
    struct stream stream;
    struct deferred *reap;
    struct submit_op *submit;
    struct credential_check_op *check;
    struct tls_op *tls;
    struct timer *timer;
    enum submit_result result;
} played;

static const char *senders[] = {"example.org"};
static const struct config_credential CREDENTIAL = {
    .user = "dev", .tenant = "dev", .senders = senders, .sender_count = 1};

/* ---- what the session calls -------------------------------------------------- */

void
stream_set_user(struct stream *s, struct stream_user *u)
{
    s->user = u;
}

struct slice
stream_input(const struct stream *s)
{
    BUG_ON(!s->open);
    return buf_slice(&s->input);
}

void
stream_consume(struct stream *s, size_t n)
{
    BUG_ON(!s->open || n > s->input.len);
    buf_consume(&s->input, n);
}

void
stream_send(struct stream *s, struct slice bytes)
{
    BUG_ON(!s->open || bytes.n < 6);
    while (bytes.n > 0) {
        size_t n = slice_find(bytes, '\n');
        BUG_ON(n >= 512 || n < 5 || n == bytes.n);
        struct slice line = slice_cut(&bytes, n + 1);
        BUG_ON(line.p[0] < '2' || line.p[0] > '5' || line.p[n - 1] != '\r');
        for (size_t i = 0; i + 1 < n; i++)
            BUG_ON(line.p[i] < 32 || line.p[i] > 126);
    }
}

void
stream_close(struct stream *s)
{
    BUG_ON(!s->open);
    s->open = false;
    played.tls = NULL;
}

void
stream_abort(struct stream *s)
{
    stream_close(s);
}

bool
stream_is_tls(const struct stream *s)
{
    return s->tls;
}

const char *
stream_tls_version(const struct stream *s)
{
    return s->tls ? "TLSv1.3" : "";
}

bool
stream_channel_binding(const struct stream *s, struct stream_binding *out)
{
    *out = (struct stream_binding){.name = "tls-exporter", .n = 4};
    return s->tls;
}

size_t
stream_unsent_bytes(const struct stream *s)
{
    (void)s;
    return 0;
}

size_t
stream_output_high_water(void)
{
    return 1;
}

void
stream_offer_protocols(struct stream *s, const char *names)
{
    BUG_ON(!s->open || names[0] == '\0');
}

void
stream_start_tls(struct stream *s, struct tls_op *op, struct tls_context *ctx,
                 struct slice server_name, uint64_t timeout_ms, void (*done)(struct tls_op *op))
{
    (void)ctx, (void)server_name, (void)timeout_ms;
    BUG_ON(s->tls || s->input.len > 0);
    *op = (struct tls_op){.done = done};
    played.tls = op;
}

const struct net_address *
stream_peer(const struct stream *s)
{
    static const struct net_address PEER = {.kind = NET_IPV4, .ip = {192, 0, 2, 1}};
    (void)s;
    return &PEER;
}

void
net_address_format_ip(const struct net_address *a, char out[64])
{
    (void)a;
    memcpy(out, "192.0.2.1", 10);
}

struct listener *
listener_open(struct loop *l, int fd, size_t input_max,
              void (*on_accept)(void *owner, struct stream *s), void *owner, struct err *err)
{
    (void)l, (void)fd, (void)input_max, (void)on_accept, (void)owner, (void)err;
    return NULL;
}

void
listener_close(struct listener *ln)
{
    (void)ln;
}

void
timer_init(struct timer *t, struct loop *l, void (*fire)(struct timer *t))
{
    *t = (struct timer){.loop = l, .fire = fire};
}

void
timer_start(struct timer *t, uint64_t delay_ms)
{
    (void)delay_ms;
    t->active = true;
    played.timer = t;
}

void
timer_cancel(struct timer *t)
{
    t->active = false;
}

void
deferred_init(struct deferred *d, struct loop *l, void (*call)(struct deferred *d))
{
    *d = (struct deferred){.loop = l, .call = call};
}

void
deferred_schedule(struct deferred *d)
{
    played.reap = d;
}

enum queue_status
queue_status(const struct queue *q)
{
    (void)q;
    return QUEUE_UP;
}

/* RFC 5321 2.3.8: no CR without LF, no LF without CR, no NUL, and a last CRLF. */
static void
check_clean(struct slice message)
{
    BUG_ON(message.n > 0 && !slice_ends_nocase(message, SLICE("\r\n")));
    for (size_t i = 0; i < message.n; i++) {
        char before = i > 0 ? message.p[i - 1] : '\0', at = message.p[i];
        BUG_ON(at == '\0' || (at == '\n' && before != '\r') || (before == '\r' && at != '\n'));
    }
}

void
submit_start(struct submit_op *op, struct submit_door *d)
{
    (void)d;
    BUG_ON(played.submit != NULL || op->credential != &CREDENTIAL || op->recipient_count == 0 ||
           op->recipient_count > SMTP_RECIPIENTS_MAX);
    check_clean(blob_slice(op->message));
    for (unsigned i = 0; i < op->recipient_count; i++)
        BUG_ON(op->recipients[i].domain.n == 0 || op->recipients[i].domain.p[0] == '[');
    played.submit = op;
}

void
credential_check_start(struct credential_check_op *op, struct credentials *cs, struct slice user,
                       struct slice password)
{
    (void)cs;
    BUG_ON(played.check != NULL || user.n == 0 || password.n == 0);
    op->result = slice_eq(password, SLICE("dev")) ? CREDENTIAL_OK : CREDENTIAL_WRONG;
    op->credential = op->result == CREDENTIAL_OK ? &CREDENTIAL : NULL;
    played.check = op;
}

void
credential_check_cancel(struct credential_check_op *op)
{
    (void)op;
}

/* The exchange itself is fuzz_scram's. */
bool
credentials_offer_scram(const struct credentials *cs)
{
    (void)cs;
    return true;
}

void
credential_scram_init(struct credential_scram *x, struct credentials *cs,
                      const struct stream_binding *binding, bool plus)
{
    BUG_ON(x->last.mem != NULL || (plus && binding == NULL));
    x->cs = cs;
    buf_init(&x->last, 100);
    buf_add_str(&x->last, "last"); /* so that what is not given back leaks */
}

void
credential_scram_fini(struct credential_scram *x)
{
    buf_fini(&x->last);
    *x = (struct credential_scram){.cs = NULL};
}

enum scram_outcome
credential_scram_first(struct credential_scram *x, struct slice message, struct buf *answer)
{
    BUG_ON(x->last.mem == NULL);
    buf_add_str(answer, "first");
    return message.n == 0                        ? SCRAM_MALFORMED
           : slice_starts(message, SLICE("y"))   ? SCRAM_DOWNGRADED
           : slice_starts(message, SLICE("dev")) ? SCRAM_GO_ON
                                                 : SCRAM_WRONG;
}

void
credential_check_scram_start(struct credential_check_op *op, struct credential_scram *x,
                             struct slice message)
{
    credential_check_start(op, x->cs, SLICE("dev"), message.n > 0 ? message : SLICE("none"));
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
    return old;
}

void
preflight_expect(struct preflight *p, struct slice reverse_domain)
{
    (void)p;
    (void)reverse_domain;
}

/* ---- playing ------------------------------------------------------------------ */

static void
finish_operations(void)
{
    while (played.submit != NULL || played.check != NULL || played.tls != NULL) {
        struct submit_op *submit = played.submit;
        struct credential_check_op *check = played.check;
        struct tls_op *tls = played.tls;
        played.submit = NULL, played.check = NULL, played.tls = NULL;
        if (tls != NULL) {
            played.stream.tls = true;
            tls->done(tls);
        }
        if (check != NULL)
            check->done(check);
        if (submit != NULL) {
            submit->result = played.result;
            submit->done(submit);
        }
    }
}

/* Late replies come at once. */
static void
finish_turn(const struct smtp_server *server)
{
    finish_operations();
    while (played.reap == NULL && !list_empty(&server->sessions)) {
        struct smtp_session *s =
            container_of(list_first(&server->sessions), struct smtp_session, node);
        if (s->sm.state != SESSION_LATE)
            return;
        s->timer.fire(&s->timer);
        finish_operations();
    }
}

static void
give(struct slice bytes, const struct smtp_server *server)
{
    struct stream *s = &played.stream;
    while (bytes.n > 0 && s->open) {
        size_t room = buf_room(&s->input);
        BUG_ON(room == 0); /* the session is stuck with a full buffer */
        BUG_ON(!buf_add(&s->input, slice_cut(&bytes, room)));
        s->user->on_input(s->user);
        finish_turn(server);
    }
}

static void
greet(const struct smtp_server *server)
{
    give(SLICE("EHLO c\r\n"), server);
    give(SLICE("AUTH PLAIN AGRldgBkZXY=\r\n"), server);
}

static void
hang_up(bool orderly)
{
    struct stream *s = &played.stream;
    struct err why = {.code = orderly ? ERR_CLOSED : ERR_IO};
    if (s->open)
        s->user->on_end(s->user, &why);
    finish_operations();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_from(data, size);
    if (in.n == 0)
        return 0;
    unsigned flags = (unsigned char)slice_cut(&in, 1).p[0];
    const struct config config = {.hostname = "gw.example",
                                  .message_bytes_max = flags & FLAG_SMALL ? 100 : 100000};
    struct smtp_server server = {
        .parts = {.config = &config, .tls = (struct tls_context *)(uintptr_t)&config}};
    log_init("fuzz", 0, LOG_ERROR);
    list_init(&server.sessions);
    memset(&played, 0, sizeof played);
    played.result = (enum submit_result)((flags >> RESULT_SHIFT) % (SUBMIT_UNKNOWN + 1));
    played.stream.open = true;
    buf_init(&played.stream.input, SMTP_INPUT_MAX);
    session_open(&server, &played.stream, flags & FLAG_TLS);
    finish_turn(&server);
    if (flags & FLAG_KNOWN)
        greet(&server);
    while (in.n > 0 && played.stream.open) {
        size_t n = (unsigned char)slice_cut(&in, 1).p[0];
        give(slice_cut(&in, n), &server);
    }
    hang_up(flags & FLAG_FIN);
    BUG_ON(played.reap == NULL);
    played.reap->call(played.reap);
    BUG_ON(server.session_count != 0 || server.transaction_bytes != 0 || blob_total_bytes() != 0);
    buf_fini(&played.stream.input);
    return 0;
}
