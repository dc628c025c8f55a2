/*
 * The routes over loopback, with a door, a queue, credentials and a store that
 * do what the test says. They stand here under the names of the real ones.
 */
#include "api/api.h"

#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>

#include "queue/queue.h"
#include "relay/accept/credential.h"
#include "relay/accept/submit.h"
#include "relay/sandbox/store.h"
#include "relay/accept/credential_registry.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/limits.h"
#include "relay/wire/envelope.h"
#include "tests/unit/support/fake_operate.h"
#include "tests/unit/support/http_client.h"
#include "tests/unit/support/temp_dir.h"

#define ID_TEXT "01890000-0000-7000-8000-000000000001"

/* ---- fakes -------------------------------------------------------------- */

static struct fake {
    /* What to answer; set before the request is sent. */
    enum submit_result result;
    bool hold; /* the door and the queue answer only when cancelled */
    bool suppress_first, frozen, credentials_unknown;
    enum err_code lookup_error;
    enum queue_status status;
    enum err_code depth_error, clock_error;
    /* What came. */
    atomic_uint submitted, cancelled;
    char tenant[64], user[64];
    char from[256], domain[256], to[3][256], key[300], message[4096], protocol[8], address[64];
    unsigned to_count;
    bool has_digest, smtputf8;
    uint8_t digest[32];
    int64_t advanced_ms;
} fake;

static struct loop *loop;
static struct api *api;
static pthread_t thread;
static uint16_t port;
static const struct config_credential CREDENTIAL = {.user = "shop", .tenant = "dev"};
static const struct config_credential WITHOUT_TENANT = {.user = "nameless", .tenant = ""};
static struct config config = {.development = true,
                               .hostname = "gateway.example",
                               .message_bytes_max = 4 << 20,
                               .sandbox_dir = "/captures"};

const struct config_credential *
credential_by_key(const struct credentials *cs, struct slice key, const struct net_address *from)
{
    (void)cs;
    (void)from;
    return slice_eq(key, SLICE("dev"))        ? &CREDENTIAL
           : slice_eq(key, SLICE("nameless")) ? &WITHOUT_TENANT
                                              : NULL;
}

bool
credentials_are_known(const struct credentials *cs)
{
    (void)cs;
    return !fake.credentials_unknown;
}

const struct config_credential *
credential_at(const struct credentials *cs, unsigned i)
{
    (void)cs;
    return i == 0 ? &CREDENTIAL : NULL;
}

bool
credential_is_of_file(const struct credentials *cs, const struct config_credential *cr)
{
    (void)cs;
    (void)cr;
    return true;
}

bool
credential_is_marked(const struct credentials *cs, const char *user)
{
    (void)cs;
    (void)user;
    return false;
}

void
credential_mark_name(struct slice user, struct buf *name)
{
    (void)user;
    (void)name;
    abort(); /* nothing is changed here */
}

bool
credential_record(const struct credentials *cs, struct slice user, char **text)
{
    (void)cs;
    (void)user;
    (void)text;
    return false;
}

char *
credential_record_text(const struct config_credential *cr)
{
    (void)cr;
    abort(); /* nothing is changed here */
}

void
credentials_refresh(struct credentials *cs)
{
    (void)cs;
}

static struct credentials_refresh_op *refreshing;
static struct timer refresh_timer;

static void
answer_refresh(struct timer *t)
{
    struct credentials_refresh_op *op = refreshing;
    (void)t;
    refreshing = NULL;
    op->is_fresh = true;
    op->done(op);
}

void
credentials_refresh_start(struct credentials_refresh_op *op, struct credentials *cs)
{
    (void)cs;
    assert_null(refreshing);
    refreshing = op;
    timer_init(&refresh_timer, loop, answer_refresh);
    timer_start(&refresh_timer, 0);
}

struct config_generation *
credential_memory(const struct credentials *cs, const struct config_credential *cr)
{
    (void)cs;
    (void)cr;
    return NULL;
}

bool
credential_is_frozen(const struct credentials *cs, struct slice user)
{
    (void)cs;
    (void)user;
    return fake.frozen;
}

const struct config_credential *
credential_by_user(const struct credentials *cs, struct slice user)
{
    (void)cs;
    return slice_eq(user, SLICE("shop")) ? &CREDENTIAL : NULL;
}

struct submit_state {
    struct submit_op *op;
    struct timer timer;
};

static void
submit_finish(struct timer *t)
{
    struct submit_state *s = container_of(t, struct submit_state, timer);
    struct submit_op *op = s->op;
    free(s);
    op->done(op);
}

void
submit_start(struct submit_op *op, struct submit_door *d)
{
    (void)d;
    snprintf(fake.user, sizeof fake.user, "%s", op->credential->user);
    slice_to_cstr(op->envelope.reverse_path, fake.from, sizeof fake.from);
    slice_to_cstr(op->reverse_domain, fake.domain, sizeof fake.domain);
    slice_to_cstr(op->idempotency_key, fake.key, sizeof fake.key);
    slice_to_cstr(op->client_address, fake.address, sizeof fake.address);
    slice_to_cstr(blob_slice(op->message), fake.message, sizeof fake.message);
    snprintf(fake.protocol, sizeof fake.protocol, "%s", op->protocol);
    fake.to_count = op->recipient_count;
    for (unsigned i = 0; i < op->recipient_count && i < 3; i++)
        slice_to_cstr(op->recipients[i].address, fake.to[i], sizeof fake.to[i]);
    fake.has_digest = op->has_digest;
    fake.smtputf8 = op->envelope.smtputf8;
    memcpy(fake.digest, op->digest, sizeof fake.digest);
    op->recipients[0].suppressed = fake.suppress_first;
    op->result = fake.result;
    BUG_ON(!id_parse(SLICE(ID_TEXT), &op->id));
    snprintf(op->text, sizeof op->text, "the door's own words");
    op->state = malloc(sizeof *op->state);
    op->state->op = op;
    timer_init(&op->state->timer, loop, submit_finish);
    if (!fake.hold)
        timer_start(&op->state->timer, 0);
    fake.submitted++;
}

void
submit_cancel(struct submit_op *op)
{
    fake.cancelled++;
    op->result = SUBMIT_UNKNOWN;
    timer_start(&op->state->timer, 0);
}

struct queue_suppressed_state {
    struct queue_suppressed_op *op;
    struct timer timer;
};

static void
suppressed_finish(struct timer *t)
{
    struct queue_suppressed_state *s = container_of(t, struct queue_suppressed_state, timer);
    struct queue_suppressed_op *op = s->op;
    free(s);
    op->done(op);
}

void
queue_suppressed_start(struct queue_suppressed_op *op, struct queue *q)
{
    (void)q;
    op->suppressed[0] = fake.suppress_first;
    op->state = malloc(sizeof *op->state);
    op->state->op = op;
    timer_init(&op->state->timer, loop, suppressed_finish);
    if (!fake.hold)
        timer_start(&op->state->timer, 0);
    fake.submitted++;
}

void
queue_suppressed_cancel(struct queue_suppressed_op *op)
{
    fake.cancelled++;
    timer_start(&op->state->timer, 0);
}

struct queue_lookup_state {
    struct queue_lookup_op *op;
    struct timer timer;
};

static void
lookup_finish(struct timer *t)
{
    struct queue_lookup_state *s = container_of(t, struct queue_lookup_state, timer);
    struct queue_lookup_op *op = s->op;
    free(s);
    op->done(op);
}

static struct slice
encoded_verdict(struct arena *arena)
{
    struct verdict v = {.outcome = OUTCOME_PERM,
                        .code = 550,
                        .enhanced = {5, 1, 1},
                        .text = SLICE("no \"such\" user"),
                        .phase = SLICE("RCPT"),
                        .mx = SLICE("mx.two.example")};
    struct buf b;
    struct slice out;
    buf_init(&b, 4096);
    BUG_ON(!verdict_encode(&v, &b) || !arena_copy(arena, buf_slice(&b), &out));
    buf_fini(&b);
    return out;
}

static struct queue_message *
stored_message(struct arena *arena)
{
    struct queue_message *m = arena_alloc(arena, sizeof *m);
    struct queue_delivery *d = arena_alloc(arena, 2 * sizeof *d);
    struct queue_target *t = arena_alloc(arena, 2 * sizeof *t);
    struct envelope e = {.reverse_path = SLICE("shop@example.com"),
                         .subject = SLICE("=?utf-8?B?R3LDvMOfZQ==?= 1")};
    struct buf b;
    buf_init(&b, 4096);
    *m = (struct queue_message){.tenant = SLICE("dev"),
                                .created_unix_ms = 1795420800123,
                                .size_bytes = 4711,
                                .deliveries = d,
                                .delivery_count = 2};
    BUG_ON(!id_parse(SLICE(ID_TEXT), &m->id) || !envelope_encode(&e, &b) ||
           !arena_copy(arena, buf_slice(&b), &m->envelope));
    buf_fini(&b);
    t[0] = (struct queue_target){.address = SLICE("a@one.example"), .state = QUEUE_DELIVERED};
    t[1] = (struct queue_target){.address = SLICE("b@two.example"),
                                 .state = QUEUE_DEFERRED,
                                 .reply = encoded_verdict(arena),
                                 .attempts = 3,
                                 .uncertain = true,
                                 .has_notice_id = true,
                                 .notice_id = m->id};
    d[0] = (struct queue_delivery){.targets = &t[0], .target_count = 1};
    d[1] =
        (struct queue_delivery){.targets = &t[1], .target_count = 1, .due_unix_ms = 1795424400000};
    return m;
}

void
queue_lookup_start(struct queue_lookup_op *op, struct queue *q)
{
    (void)q;
    slice_to_cstr(op->tenant, fake.tenant, sizeof fake.tenant);
    op->err.code = fake.lookup_error;
    op->message = fake.lookup_error == ERR_NONE ? stored_message(op->arena) : NULL;
    op->state = malloc(sizeof *op->state);
    op->state->op = op;
    timer_init(&op->state->timer, loop, lookup_finish);
    if (!fake.hold)
        timer_start(&op->state->timer, 0);
    fake.submitted++;
}

void
queue_lookup_cancel(struct queue_lookup_op *op)
{
    fake.cancelled++;
    timer_start(&op->state->timer, 0);
}

const char *
queue_state_name(enum queue_state s)
{
    static const char *const NAMES[] = {"queued",  "deferred", "held",       "delivered",
                                        "bounced", "expired",  "suppressed", "cancelled"};
    return NAMES[s];
}

enum queue_status
queue_status(const struct queue *q)
{
    (void)q;
    return fake.status;
}

struct queue_depth_state {
    struct queue_depth_op *op;
    struct timer timer;
};

static void
depth_finish(struct timer *t)
{
    struct queue_depth_state *s = container_of(t, struct queue_depth_state, timer);
    struct queue_depth_op *op = s->op;
    free(s);
    op->done(op);
}

void
queue_depth_start(struct queue_depth_op *op, struct queue *q)
{
    (void)q;
    op->depth = (struct queue_depth){7, 5, 2, 1, 3};
    op->err.code = fake.depth_error;
    op->state = malloc(sizeof *op->state);
    op->state->op = op;
    timer_init(&op->state->timer, loop, depth_finish);
    if (!fake.hold)
        timer_start(&op->state->timer, 0);
    fake.submitted++;
}

void
queue_depth_cancel(struct queue_depth_op *op)
{
    fake.cancelled++;
    timer_start(&op->state->timer, 0);
}

struct queue_clock_state {
    struct queue_clock_op *op;
    struct timer timer;
};

static void
clock_finish(struct timer *t)
{
    struct queue_clock_state *s = container_of(t, struct queue_clock_state, timer);
    struct queue_clock_op *op = s->op;
    free(s);
    op->done(op);
}

void
queue_clock_advance_start(struct queue_clock_op *op, struct queue *q)
{
    (void)q;
    fake.advanced_ms = op->delta_ms;
    op->err.code = fake.clock_error;
    op->state = malloc(sizeof *op->state);
    op->state->op = op;
    timer_init(&op->state->timer, loop, clock_finish);
    timer_start(&op->state->timer, 0);
}

int
store_list(const char *dir, unsigned limit, struct buf *out, struct err *err)
{
    if (strcmp(dir, "/captures") != 0)
        return err_set(err, ERR_IO, "no such directory");
    buf_addf(out, "[{\"id\":\"x\",\"size\":%u}]", limit);
    return 0;
}

int
store_read_raw(const char *dir, struct msg_id id, struct buf *out, struct err *err)
{
    char text[ID_TEXT_BYTES + 1];
    id_format(id, text);
    if (strcmp(dir, "/captures") != 0 || strcmp(text, ID_TEXT) != 0)
        return err_set(err, ERR_NOT_FOUND, "no such capture");
    buf_add_str(out, "From: a@b.example\r\n\r\ncaptured\r\n");
    return 0;
}

/* ---- fixture ------------------------------------------------------------ */

static struct temp_dir dir;
static char control[160];
static atomic_bool stopping;
static struct timer stop_poll;

static void
on_stop_poll(struct timer *t)
{
    if (stopping)
        api_drain(api);
    else
        timer_start(t, 5);
}

static void *
run(void *arg)
{
    loop_run(loop);
    api_free(api);
    loop_run(loop);
    loop_free(loop);
    return arg;
}

static int
start(void **state)
{
    (void)state;
    struct err err = {0};
    memset(&fake, 0, sizeof fake);
    fake.status = QUEUE_UP;
    *fake_operate() = (struct fake_operate){.message = stored_message};
    stopping = false;
    loop = loop_new();
    fake_operate()->loop = loop;
    api = api_new(&(struct api_parts){.loop = loop, .config = &config});
    assert_int_equal(api_listen(api, listen_anywhere(&port), NULL, &err), 0);
    temp_dir_make(&dir);
    snprintf(control, sizeof control, "%s/control.sock", dir.path);
    assert_int_equal(api_listen_control(api, listen_at(control), &err), 0);
    timer_init(&stop_poll, loop, on_stop_poll);
    timer_start(&stop_poll, 5);
    return pthread_create(&thread, NULL, run, NULL);
}

static int
stop(void **state)
{
    (void)state;
    stopping = true;
    temp_dir_remove(&dir);
    return pthread_join(thread, NULL);
}

static const char KEY[] = "Authorization: Bearer dev\r\n";

static struct answer
ask_on(struct client *c, const char *line, const char *fields, struct slice body)
{
    char text[16384];
    int n = snprintf(text, sizeof text,
                     "%s HTTP/1.1\r\nHost: localhost:%u\r\nContent-Length: %zu\r\n%s\r\n", line,
                     port, body.n, fields);
    assert_in_range(n, 1, sizeof text - 1);
    client_send(c, slice_from(text, (size_t)n));
    client_send(c, body);
    return client_read(c, false);
}

/* One request on a connection of its own. The answer's slices live in *c. */
static struct answer
ask(struct client *c, const char *line, const char *fields, struct slice body)
{
    *c = client_open(port);
    return ask_on(c, line, fields, body);
}

/* The same on the control socket. */
static struct answer
ask_control(struct client *c, const char *line, const char *fields, struct slice body)
{
    *c = client_open_at(control);
    return ask_on(c, line, fields, body);
}

static json_t *
parse(const struct answer *a)
{
    json_error_t e;
    json_t *v = json_loadb(a->body.p, a->body.n, JSON_REJECT_DUPLICATES, &e);
    if (v == NULL)
        fail_msg("%s in %.*s", e.text, SLICE_FMT(a->body));
    return v;
}

static void
assert_problem(const struct answer *a, unsigned status, const char *code)
{
    struct slice type, request_id;
    if (a->status != status)
        fail_msg("%u, not %u: %.*s", a->status, status, SLICE_FMT(a->body));
    assert_true(answer_field(a, "content-type", &type));
    assert_true(slice_eq(type, SLICE("application/problem+json")));
    json_t *p = parse(a);
    assert_int_equal(json_integer_value(json_object_get(p, "status")), status);
    assert_string_equal(json_string_value(json_object_get(p, "code")), code);
    assert_true(json_string_length(json_object_get(p, "title")) > 0);
    assert_true(json_string_length(json_object_get(p, "detail")) > 0);
    assert_true(answer_field(a, "x-request-id", &request_id));
    assert_true(
        slice_eq(request_id, slice_str(json_string_value(json_object_get(p, "request_id")))));
    json_decref(p);
}

#define GOOD                                                                                       \
    "{\"from\":\"Shop <shop@Example.com>\",\"to\":[\"a@one.example\",\"b@two.example\"],"          \
    "\"bcc\":\"c@three.example\",\"subject\":\"Hi\",\"text\":\"x\"}"
static const char JSON[] = "Authorization: Bearer dev\r\nContent-Type: application/json\r\n";

/* ---- sending ------------------------------------------------------------ */

static void
accepts_a_message(void **state)
{
    (void)state;
    struct client c;
    fake.suppress_first = true;
    struct answer a = ask(&c, "POST /v1/messages", JSON, SLICE(GOOD));
    assert_int_equal(a.status, 202);
    assert_true(answer_has(&a, "location", "/v1/messages/" ID_TEXT));
    struct slice v;
    assert_false(answer_field(&a, "idempotency-replayed", &v));
    assert_true(slice_eq(
        a.body, SLICE("{\"id\":\"" ID_TEXT "\",\"status\":\"queued\",\"durability\":\"local\","
                      "\"recipients\":[{\"email\":\"a@one.example\",\"status\":\"suppressed\"},"
                      "{\"email\":\"b@two.example\",\"status\":\"queued\"},"
                      "{\"email\":\"c@three.example\",\"status\":\"queued\"}]}\n")));
    assert_string_equal(fake.from, "shop@example.com");
    assert_string_equal(fake.domain, "example.com");
    assert_int_equal(fake.to_count, 3);
    assert_string_equal(fake.to[2], "c@three.example");
    assert_string_equal(fake.protocol, "HTTP");
    assert_string_equal(fake.address, "127.0.0.1");
    assert_false(fake.has_digest);
    assert_non_null(strstr(fake.message, "Subject: Hi\r\n"));
    assert_null(strstr(fake.message, "three.example"));
    client_close(&c);
}

/* What the door says, in the words of api/README.md. */
static void
words_every_result(void **state)
{
    (void)state;
    static const struct {
        enum submit_result result;
        unsigned status;
        const char *code;
        bool retry;
    } ROWS[] = {
        {SUBMIT_SENDER, 403, "sender_not_owned", false},
        {SUBMIT_CONTENT, 422, "message_refused", false},
        {SUBMIT_TOO_LARGE, 413, "too_large", false},
        {SUBMIT_LOOP, 422, "mail_loop", false},
        {SUBMIT_POLICY, 403, "policy", false},
        {SUBMIT_KEY_CONFLICT, 422, "idempotency_key_reused", false},
        {SUBMIT_KEY_IN_FLIGHT, 409, "idempotency_key_in_flight", true},
        {SUBMIT_NO_ROOM, 503, "queue_full", true},
        {SUBMIT_AWAY, 503, "queue_away", true},
        {SUBMIT_UNKNOWN, 504, "outcome_unknown", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        struct client c;
        struct slice v;
        fake.result = ROWS[i].result;
        struct answer a = ask(&c, "POST /v1/messages", JSON, SLICE(GOOD));
        assert_problem(&a, ROWS[i].status, ROWS[i].code);
        assert_int_equal(answer_field(&a, "retry-after", &v), ROWS[i].retry);
        if (ROWS[i].result == SUBMIT_CONTENT)
            assert_true(body_has(&a, "the door's own words"));
        client_close(&c);
    }
}

static void
asks_for_a_key(void **state)
{
    (void)state;
    static const char *const FIELDS[] = {"",
                                         "Authorization: Bearer wrong\r\n",
                                         "Authorization: dev\r\n",
                                         "Authorization: Basic ZGV2OmRldg==\r\n",
                                         "Authorization: Bearer \r\n",
                                         "Authorization: Bearerdev\r\n"};
    static const char *const LINES[] = {"POST /v1/messages", "POST /v1/messages/raw",
                                        "GET /v1/messages/" ID_TEXT};
    for (size_t i = 0; i < ARRAY_LEN(FIELDS); i++)
        for (size_t k = 0; k < ARRAY_LEN(LINES); k++) {
            struct client c;
            struct slice v;
            struct answer a = ask(&c, LINES[k], FIELDS[i], SLICE_NONE);
            assert_problem(&a, 401, "unauthorized");
            assert_true(answer_field(&a, "www-authenticate", &v));
            client_close(&c);
        }
    struct client c;
    struct answer a = ask(&c, "POST /v1/messages", "authorization: bearer dev\r\n", SLICE(GOOD));
    assert_int_equal(a.status, 202);
    client_close(&c);
    assert_int_equal(fake.submitted, 1);
    fake.credentials_unknown = true; /* neither key is judged */
    for (size_t i = 0; i < 2; i++) {
        static const char *const KEYS[] = {"Authorization: Bearer wrong\r\n",
                                           "Authorization: Bearer dev\r\n"};
        a = ask(&c, "POST /v1/messages", KEYS[i], SLICE(GOOD));
        assert_problem(&a, 503, "queue_away");
        client_close(&c);
    }
    fake.credentials_unknown = false;
    assert_int_equal(fake.submitted, 1);
}

static void
names_wrong_fields(void **state)
{
    (void)state;
    struct client c;
    struct answer a = ask(&c, "POST /v1/messages", JSON,
                          SLICE("{\"form\":1,\"subject\":\"a\\r\\nBcc: x@y.example\"}"));
    assert_problem(&a, 422, "invalid_fields");
    json_t *p = parse(&a);
    json_t *errors = json_object_get(p, "errors");
    assert_int_equal(json_array_size(errors), 2);
    json_t *e = json_array_get(errors, 0);
    assert_string_equal(json_string_value(json_object_get(e, "pointer")), "/form");
    assert_string_equal(json_string_value(json_object_get(e, "code")), "unknown_field");
    assert_true(json_string_length(json_object_get(e, "detail")) > 0);
    json_decref(p);
    client_close(&c);
    a = ask(&c, "POST /v1/messages", JSON, SLICE("{not json"));
    assert_problem(&a, 400, "invalid_json");
    client_close(&c);
    a = ask(&c, "POST /v1/messages", "Authorization: Bearer dev\r\nContent-Type: text/plain\r\n",
            SLICE(GOOD));
    assert_problem(&a, 415, "unsupported_media_type");
    client_close(&c);
    assert_int_equal(fake.submitted, 0); /* nothing reached the door */
}

static struct answer
ask_with_key(struct client *c, const char *line, const char *key, struct slice body)
{
    char fields[1024];
    snprintf(fields, sizeof fields, "%sIdempotency-Key: %s\r\n", KEY, key);
    return ask(c, line, fields, body);
}

static void
takes_idempotency_keys(void **state)
{
    (void)state;
    static const struct {
        const char *field, *key; /* NULL: refused */
    } ROWS[] = {
        {"abc", "abc"},
        {"\"abc\"", "abc"},
        {"\"a b\"", "a b"},
        {"\"a\\\"b\\\\\"", "a\"b\\"},
        {"a\\b", "a\\b"},
        {"", NULL},
        {"\"\"", NULL},
        {"\"a\\\"", NULL},
        {"gr\xc3\xbc\xc3\x9f", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        struct client c;
        struct answer a = ask_with_key(&c, "POST /v1/messages", ROWS[i].field, SLICE(GOOD));
        if (ROWS[i].key == NULL) {
            assert_problem(&a, 400, "invalid_idempotency_key");
        } else {
            assert_int_equal(a.status, 202);
            assert_string_equal(fake.key, ROWS[i].key);
            assert_true(fake.has_digest);
        }
        client_close(&c);
    }
    char key[IDEMPOTENCY_KEY_MAX + 2] = "";
    memset(key, 'k', IDEMPOTENCY_KEY_MAX);
    struct client c;
    assert_int_equal(ask_with_key(&c, "POST /v1/messages", key, SLICE(GOOD)).status, 202);
    client_close(&c);
    key[IDEMPOTENCY_KEY_MAX] = 'k';
    struct answer a = ask_with_key(&c, "POST /v1/messages", key, SLICE(GOOD));
    assert_problem(&a, 400, "invalid_idempotency_key");
    client_close(&c);
}

/* The digest is the same for the same request only. */
static void
digests_what_must_repeat(void **state)
{
    (void)state;
    static const struct {
        const char *line, *body;
        bool same;
    } ROWS[] = {
        {"POST /v1/messages/raw?from=a@b.example&to=c@d.example", "A: b\r\n\r\n", true},
        {"POST /v1/messages/raw?from=a@b.example&to=e@d.example", "A: b\r\n\r\n", false},
        {"POST /v1/messages/raw?from=a@b.example&to=c@d.example", "A: c\r\n\r\n", false},
    };
    uint8_t first[32] = {0};
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++)
        for (int again = 0; again < 2; again++) {
            struct client c;
            struct answer a = ask_with_key(&c, ROWS[i].line, "k", slice_str(ROWS[i].body));
            assert_int_equal(a.status, 202);
            if (i == 0 && again == 0)
                memcpy(first, fake.digest, sizeof first);
            assert_int_equal(memcmp(first, fake.digest, sizeof first) == 0, ROWS[i].same);
            client_close(&c);
        }
}

static void
marks_replays(void **state)
{
    (void)state;
    struct client c;
    fake.result = SUBMIT_REPLAYED;
    struct answer a = ask_with_key(&c, "POST /v1/messages", "k", SLICE(GOOD));
    assert_int_equal(a.status, 202);
    assert_true(answer_has(&a, "idempotency-replayed", "true"));
    assert_true(body_has(&a, ID_TEXT));
    client_close(&c);
}

/* Above API_JSON_INLINE_MAX the body is compiled on the work pool. */
static void
compiles_large_bodies_off_the_loop(void **state)
{
    (void)state;
    static const struct {
        const char *line, *before, *after;
        unsigned status;
    } ROWS[] = {
        {"POST /v1/messages", "{\"from\":\"a@b.example\",\"to\":\"c@d.example\",\"text\":\"", "\"}",
         202},
        {"POST /v1/messages", "{\"from\":\"a@b.example\",\"to\":\"c@\",\"text\":\"", "\"}", 422},
        {"POST /v1/messages/raw?from=a@b.example&to=c@d.example", "A: b\r\n\r\n", "\r\n", 202},
        {"POST /v1/messages/raw?from=a@b.example&to=c@d.example", "A: b\r\n\r\n", "\n", 422},
    };
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        struct buf body;
        buf_init(&body, 2 << 20);
        buf_add_str(&body, ROWS[i].before);
        while (body.len <= API_JSON_INLINE_MAX * 2)
            buf_add_str(&body, "word word word ");
        buf_add_str(&body, ROWS[i].after);
        struct client c;
        struct answer a = ask_with_key(&c, ROWS[i].line, "k", buf_slice(&body));
        assert_int_equal(a.status, ROWS[i].status);
        client_close(&c);
        buf_fini(&body);
    }
}

static void
refuses_what_is_too_large(void **state)
{
    (void)state;
    struct client c;
    struct buf body;
    buf_init(&body, 16 << 20);
    buf_add_str(&body, "{\"from\":\"a@b.example\",\"to\":\"c@d.example\",\"text\":\"");
    while (body.len <= config.message_bytes_max)
        buf_add_str(&body, "0123456789abcdef");
    buf_add_str(&body, "\"}");
    struct answer a = ask(&c, "POST /v1/messages", JSON, buf_slice(&body));
    assert_problem(&a, 413, "too_large");
    client_close(&c);
    buf_fini(&body);
}

static void
wait_until_above(atomic_uint *n, unsigned least)
{
    for (int ms = 0; *n <= least; ms++) {
        assert_true(ms < CLIENT_LIMIT_S * 1000);
        usleep(1000);
    }
}

/* A client that leaves cancels what it waits for, in every route that waits. */
static void
cancels_for_a_client_that_is_gone(void **state)
{
    (void)state;
    static const char *const LINES[] = {"POST /v1/messages", "GET /v1/messages/" ID_TEXT,
                                        "GET /metrics"};
    fake.hold = true;
    for (unsigned i = 0; i < ARRAY_LEN(LINES); i++) {
        char text[1024];
        int n = snprintf(text, sizeof text,
                         "%s HTTP/1.1\r\nHost: localhost:%u\r\n%sContent-Length: %zu\r\n\r\n%s",
                         LINES[i], port, KEY, i == 0 ? strlen(GOOD) : 0, i == 0 ? GOOD : "");
        struct client c = client_open(port);
        client_send(&c, slice_from(text, (size_t)n));
        wait_until_above(&fake.submitted, i);
        client_reset(&c);
        wait_until_above(&fake.cancelled, i);
    }
}

/* Each would have a whole message in memory. */
static void
shows_few_messages_at_a_time(void **state)
{
    (void)state;
    struct client waiting[API_SOURCES_AT_ONCE], c;
    char text[512];
    int n = snprintf(text, sizeof text,
                     "GET /v1/messages/" ID_TEXT "/raw HTTP/1.1\r\nHost: localhost:%u\r\n%s\r\n",
                     port, KEY);
    fake_operate()->hold = true;
    for (unsigned i = 0; i < ARRAY_LEN(waiting); i++) {
        waiting[i] = client_open(port);
        client_send(&waiting[i], slice_from(text, (size_t)n));
        wait_until_above(&fake_operate()->raws, i);
    }
    struct answer a = ask(&c, "GET /v1/messages/" ID_TEXT "/raw", KEY, SLICE_NONE);
    assert_problem(&a, 503, "busy");
    assert_true(answer_has(&a, "retry-after", "1"));
    client_close(&c);
    for (unsigned i = 0; i < ARRAY_LEN(waiting); i++)
        client_reset(&waiting[i]);
    fake_operate()->hold = false;
    do {
        a = ask(&c, "GET /v1/messages/" ID_TEXT "/raw", KEY, SLICE_NONE);
        client_close(&c);
    } while (a.status == 503); /* until those are gone */
    assert_int_equal(a.status, 200);
}

/* What is at the door is cancelled, the rest of a batch is not given to it. */
static void
stops_a_batch_of_a_client_that_is_gone(void **state)
{
    (void)state;
    struct buf body;
    struct client c = client_open(port);
    char text[1024];
    buf_init(&body, 64 << 10);
    buf_add_str(&body, "{\"messages\":[" GOOD);
    for (int i = 1; i < 20; i++)
        buf_add_str(&body, "," GOOD);
    buf_add_str(&body, "]}");
    int n = snprintf(text, sizeof text,
                     "POST /v1/messages/batch HTTP/1.1\r\nHost: localhost:%u\r\n%s"
                     "Content-Length: %zu\r\n\r\n",
                     port, KEY, body.len);
    fake.hold = true;
    client_send(&c, slice_from(text, (size_t)n));
    client_send(&c, buf_slice(&body));
    wait_until_above(&fake.submitted, API_BATCH_AT_ONCE - 1);
    client_reset(&c);
    wait_until_above(&fake.cancelled, API_BATCH_AT_ONCE - 1);
    assert_int_equal(ask(&c, "GET /healthz", "", SLICE_NONE).status, 200);
    client_close(&c);
    assert_int_equal(fake.submitted, API_BATCH_AT_ONCE);
    buf_fini(&body);
}

/* While the pool still compiles, there is nothing to cancel: nothing starts. */
static void
starts_nothing_for_a_client_that_is_gone(void **state)
{
    (void)state;
    struct buf body;
    char text[1024];
    buf_init(&body, 8 << 20);
    buf_add_str(&body, "{\"from\":\"a@b.example\",\"to\":\"c@d.example\",\"text\":\"");
    while (body.len <= 3 << 20)
        buf_add_str(&body, "0123456789abcde ");
    buf_add_str(&body, "\"}");
    for (int i = 0; i < 5; i++) {
        int n = snprintf(text, sizeof text,
                         "POST /v1/messages HTTP/1.1\r\nHost: localhost:%u\r\n%s"
                         "Content-Length: %zu\r\n\r\n",
                         port, KEY, body.len);
        struct client c = client_open(port);
        client_send(&c, slice_from(text, (size_t)n));
        client_send(&c, buf_slice(&body));
        client_reset(&c);
    }
    struct client c; /* the server lives and answers others */
    assert_int_equal(ask(&c, "GET /healthz", "", SLICE_NONE).status, 200);
    client_close(&c);
    buf_fini(&body);
}

/* ---- raw ---------------------------------------------------------------- */

static void
accepts_a_raw_message(void **state)
{
    (void)state;
    struct client c;
    struct slice raw = SLICE("From: shop@example.com\r\nSubject: raw\r\n\r\n.\r\nas it is\r\n");
    struct answer a = ask(&c,
                          "POST /v1/messages/raw?from=shop%40Example.com&to=a+b@one.example&to="
                          "c@two.example&to=a+b@ONE.example",
                          "Authorization: Bearer dev\r\nContent-Type: message/rfc822\r\n", raw);
    assert_int_equal(a.status, 202);
    assert_string_equal(fake.from, "shop@example.com");
    assert_int_equal(fake.to_count, 2);
    assert_string_equal(fake.to[0], "a+b@one.example");
    assert_true(slice_eq(slice_str(fake.message), raw));
    assert_false(fake.smtputf8);
    client_close(&c);
    a = ask(&c, "POST /v1/messages/raw?from=a@b.example&to=c@d.example", KEY,
            SLICE("Subject: gr\xc3\xbc\xc3\x9f\r\n\r\n"));
    assert_true(a.status == 202 && fake.smtputf8);
    client_close(&c);
    a = ask(&c, "POST /v1/messages/raw?from=a@b.example&to=%C3%BC@d.example", KEY,
            SLICE("Subject: x\r\n\r\n"));
    assert_true(a.status == 202 && fake.smtputf8);
    client_close(&c);
}

static void
refuses_raw_messages(void **state)
{
    (void)state;
    static const struct {
        const char *query;
        struct slice body;
        unsigned status;
        const char *code, *pointer;
    } ROWS[] = {
        {"from=a@b.example&to=c@d.example", {"A: b\n\n", 6}, 422, "invalid_message", NULL},
        {"from=a@b.example&to=c@d.example",
         {"A: b\r\n\r\nx\ry\r\n", 13},
         422,
         "invalid_message",
         NULL},
        {"from=a@b.example&to=c@d.example",
         {"A: b\r\n\r\nx\r\r\n", 12},
         422,
         "invalid_message",
         NULL},
        {"from=a@b.example&to=c@d.example", {"A: b\r\n\r\nx\n", 10}, 422, "invalid_message", NULL},
        {"from=a@b.example&to=c@d.example", {"A: b\r\n\r\nx\r", 10}, 422, "invalid_message", NULL},
        {"from=a@b.example&to=c@d.example", {"\nA: b\r\n\r\n", 9}, 422, "invalid_message", NULL},
        {"from=a@b.example&to=c@d.example",
         {"A: b\r\n\r\n\0\r\n", 11},
         422,
         "invalid_message",
         NULL},
        {"from=a@b.example&to=c@d.example", {"", 0}, 422, "invalid_message", NULL},
        {"to=c@d.example", {"A: b\r\n\r\n", 8}, 422, "invalid_fields", "/from"},
        {"from=a@b.example", {"A: b\r\n\r\n", 8}, 422, "invalid_fields", "/to"},
        {"from=a@b.example&to=nobody", {"A: b\r\n\r\n", 8}, 422, "invalid_fields", "/to"},
        {"from=a@b.example&to=", {"A: b\r\n\r\n", 8}, 422, "invalid_fields", "/to"},
        {"from=&to=c@d.example", {"A: b\r\n\r\n", 8}, 422, "invalid_fields", "/from"},
        {"from=a@b.example&to=c@[127.0.0.1]", {"A: b\r\n\r\n", 8}, 422, "invalid_fields", "/to"},
        {"from=a@b.example&to=c%0d%0a@d.example",
         {"A: b\r\n\r\n", 8},
         422,
         "invalid_fields",
         "/to"},
        {"from=a@b.example&from=e@b.example&to=c@d.example",
         {"A: b\r\n\r\n", 8},
         422,
         "invalid_fields",
         "/from"},
        {"from=a@b.example&to=c@d.example&cc=x", {"A: b\r\n\r\n", 8}, 422, "invalid_fields", "/cc"},
        {"from=a@b.example&to=%", {"A: b\r\n\r\n", 8}, 400, "bad_query", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        struct client c;
        char line[256], pointer[64];
        snprintf(line, sizeof line, "POST /v1/messages/raw?%s", ROWS[i].query);
        struct answer a = ask(&c, line, KEY, ROWS[i].body);
        assert_problem(&a, ROWS[i].status, ROWS[i].code);
        snprintf(pointer, sizeof pointer, "\"pointer\":\"%s\"", ROWS[i].pointer);
        assert_true(ROWS[i].pointer == NULL || body_has(&a, pointer));
        client_close(&c);
    }
    assert_int_equal(fake.submitted, 0);
}

/* ---- status, health, metrics -------------------------------------------- */

static void
shows_a_message(void **state)
{
    (void)state;
    struct client c;
    struct answer a = ask(&c, "GET /v1/messages/" ID_TEXT, KEY, SLICE_NONE);
    assert_int_equal(a.status, 200);
    assert_true(slice_eq(
        a.body,
        SLICE(
            "{\"id\":\"" ID_TEXT "\",\"status\":\"deferred\",\"from\":\"shop@example.com\","
            "\"subject\":\"Gr\xc3\xbc\xc3\x9f"
            "e 1\",\"created_at\":\"2026-11-23T08:00:00.123Z\",\"size\":4711,\"recipients\":["
            "{\"email\":\"a@one.example\",\"status\":\"delivered\",\"attempts\":0,"
            "\"next_attempt_at\":null,\"last_response\":null,\"uncertain\":false,\"ndr_id\":null},"
            "{\"email\":\"b@two.example\",\"status\":\"deferred\",\"attempts\":3,"
            "\"next_attempt_at\":\"2026-11-23T09:00:00.000Z\",\"last_response\":{\"code\":550,"
            "\"enhanced\":\"5.1.1\",\"text\":\"no \\\"such\\\" user\",\"mx\":\"mx.two.example\"},"
            "\"uncertain\":true,\"ndr_id\":\"" ID_TEXT "\"}]}\n")));
    client_close(&c);
}

static void
words_lookup_errors(void **state)
{
    (void)state;
    static const struct {
        const char *id;
        enum err_code error;
        unsigned status;
        const char *code;
    } ROWS[] = {
        {ID_TEXT, ERR_NOT_FOUND, 404, "not_found"},
        {"nonsense", ERR_NONE, 404, "not_found"},
        {"01890000-0000-4000-8000-000000000001", ERR_NONE, 404, "not_found"},
        {ID_TEXT, ERR_AWAY, 503, "queue_away"},
        {ID_TEXT, ERR_FULL, 500, "answer_too_large"},
    };
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        struct client c;
        char line[128];
        fake.lookup_error = ROWS[i].error;
        snprintf(line, sizeof line, "GET /v1/messages/%s", ROWS[i].id);
        struct answer a = ask(&c, line, KEY, SLICE_NONE);
        assert_problem(&a, ROWS[i].status, ROWS[i].code);
        client_close(&c);
    }
}

static void
tells_health(void **state)
{
    (void)state;
    static const struct {
        enum queue_status status;
        unsigned ready;
    } ROWS[] = {
        {QUEUE_UP, 200}, {QUEUE_STARTING, 503}, {QUEUE_AWAY_NOW, 503}, {QUEUE_FULL_NOW, 503}};
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        struct client c;
        fake.status = ROWS[i].status;
        assert_int_equal(ask(&c, "GET /healthz", "", SLICE_NONE).status, 200);
        client_close(&c);
        struct answer a = ask(&c, "GET /readyz", "", SLICE_NONE);
        assert_int_equal(a.status, ROWS[i].ready);
        assert_int_equal(body_has(&a, "\"reason\""), ROWS[i].ready == 503);
        client_close(&c);
    }
}

static void
shows_metrics(void **state)
{
    (void)state;
    struct client c;
    struct slice type;
    struct answer a = ask(&c, "GET /metrics", "", SLICE_NONE);
    assert_int_equal(a.status, 200);
    assert_true(answer_field(&a, "content-type", &type));
    assert_true(slice_starts(type, SLICE("text/plain; version=0.0.4")));
    assert_true(body_has(&a, "stagepost_queue_messages{state=\"live\"} 7\n"));
    assert_true(body_has(&a, "stagepost_queue_messages{state=\"notices\"} 1\n"));
    assert_true(body_has(&a, "stagepost_queue_messages{state=\"held\"} 3\n"));
    assert_true(body_has(&a, "stagepost_up 1\n") && body_has(&a, "stagepost_build_info{version="));
    assert_true(body_has(&a, "stagepost_uncertain_attempts_total"));
    assert_true(body_has(&a, "stagepost_time_to_delivery_seconds_bucket"));
    client_close(&c);
    fake.depth_error = ERR_AWAY;
    fake.status = QUEUE_AWAY_NOW;
    a = ask(&c, "GET /metrics", "", SLICE_NONE);
    assert_true(a.status == 200 && body_has(&a, "stagepost_up 0\n"));
    assert_false(body_has(&a, "stagepost_queue_messages"));
    client_close(&c);
}

/* ---- sandbox ------------------------------------------------------------ */

static void
shows_captures(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        unsigned status;
        const char *body;
    } ROWS[] = {
        {"GET /sandbox/messages", 200, "{\"data\":[{\"id\":\"x\",\"size\":100}]}\n"},
        {"GET /sandbox/messages?limit=10000", 200, "{\"data\":[{\"id\":\"x\",\"size\":10000}]}\n"},
        {"GET /sandbox/messages?limit=0", 422, NULL},
        {"GET /sandbox/messages?limit=10001", 422, NULL},
        {"GET /sandbox/messages?limit=-1", 422, NULL},
        {"GET /sandbox/messages?limit=%", 422, NULL},
        {"GET /sandbox/messages/" ID_TEXT "/raw", 200, "From: a@b.example\r\n\r\ncaptured\r\n"},
        {"GET /sandbox/messages/01890000-0000-7000-8000-000000000002/raw", 404, NULL},
        {"GET /sandbox/messages/..%2f..%2fetc/raw", 404, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        struct client c;
        struct answer a = ask(&c, ROWS[i].line, "", SLICE_NONE);
        if (a.status != ROWS[i].status)
            fail_msg("%s: %u", ROWS[i].line, a.status);
        if (ROWS[i].body != NULL)
            assert_true(slice_eq(a.body, slice_str(ROWS[i].body)));
        client_close(&c);
    }
}

static void
advances_the_clock(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        unsigned status;
        int64_t ms;
    } ROWS[] = {
        {"{\"advance\":\"4h\"}", 200, 14400000},
        {"{\"advance\":\"90s\"}", 200, 90000},
        {"{\"advance\":\"15m\"}", 200, 900000},
        {"{\"advance\":\"0s\"}", 200, 0},
        {"{\"advance\":\"3650d\"}", 200, 315360000000},
        {"{\"advance\":\"3651d\"}", 422, 0},
        {"{\"advance\":\"18446744073709551615s\"}", 422, 0},
        {"{\"advance\":\"-4h\"}", 422, 0},
        {"{\"advance\":\"4\"}", 422, 0},
        {"{\"advance\":\"h\"}", 422, 0},
        {"{\"advance\":\"\"}", 422, 0},
        {"{\"advance\":\"4h \"}", 422, 0},
        {"{\"advance\":\"1.5h\"}", 422, 0},
        {"{\"advance\":4}", 422, 0},
        {"{\"advance\":\"4h\",\"x\":1}", 422, 0},
        {"{}", 422, 0},
        {"4h", 400, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        struct client c;
        fake.advanced_ms = -1;
        struct answer a = ask(&c, "POST /sandbox/clock", "", slice_str(ROWS[i].body));
        if (a.status != ROWS[i].status)
            fail_msg("%s: %u", ROWS[i].body, a.status);
        assert_int_equal(fake.advanced_ms, a.status == 200 ? ROWS[i].ms : -1);
        assert_true(a.status != 200 || body_has(&a, "{\"now\":\"20"));
        client_close(&c);
    }
    struct client c;
    fake.clock_error = ERR_AWAY;
    struct answer a = ask(&c, "POST /sandbox/clock", "", SLICE("{\"advance\":\"1s\"}"));
    assert_problem(&a, 503, "queue_away");
    client_close(&c);
}

/* A page of somebody else cannot use a reader's browser for it. */
static void
refuses_foreign_origins(void **state)
{
    (void)state;
    char own[64];
    const char *const fields[] = {"Origin: http://evil.example\r\n", "Origin: null\r\n",
                                  "Origin: http://localhost\r\n"};
    struct client c;
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        struct answer a = ask(&c, "POST /sandbox/clock", fields[i], SLICE("{\"advance\":\"1s\"}"));
        assert_problem(&a, 403, "foreign_origin");
        client_close(&c);
    }
    snprintf(own, sizeof own, "Origin: http://localhost:%u\r\n", port);
    assert_int_equal(ask(&c, "POST /sandbox/clock", own, SLICE("{\"advance\":\"1s\"}")).status,
                     200);
    client_close(&c);
}

static int
start_production(void **state)
{
    config.development = false;
    return start(state);
}

static int
stop_production(void **state)
{
    config.development = true;
    return stop(state);
}

static void
has_no_sandbox_outside_development(void **state)
{
    (void)state;
    static const char *const LINES[] = {"GET /sandbox/messages", "POST /sandbox/clock",
                                        "GET /sandbox/messages/" ID_TEXT "/raw"};
    for (size_t i = 0; i < ARRAY_LEN(LINES); i++) {
        struct client c;
        struct answer a = ask(&c, LINES[i], KEY, SLICE_NONE);
        assert_problem(&a, 404, "not_found");
        client_close(&c);
    }
}

/* ---- what waits ---------------------------------------------------------- */

static void
lists_messages(void **state)
{
    (void)state;
    struct client c;
    struct answer a = ask(&c, "GET /v1/messages", KEY, SLICE_NONE);
    assert_int_equal(a.status, 200);
    json_t *o = parse(&a), *data = json_object_get(o, "data");
    assert_int_equal(json_array_size(data), 2);
    assert_string_equal(json_string_value(json_object_get(json_array_get(data, 1), "id")), ID_TEXT);
    assert_null(json_object_get(json_array_get(data, 0), "tenant"));
    assert_false(json_is_true(json_object_get(o, "has_more")));
    assert_true(json_is_null(json_object_get(o, "next")));
    json_decref(o);
    client_close(&c);
    assert_non_null(strstr(fake_operate()->asked,
                           "tenant=dev id=00000000-0000-0000-0000-000000000000 to= state=-1 "
                           "since=0 until=0 limit=25"));
    fake_operate()->has_more = true;
    a = ask(&c,
            "GET /v1/messages?to=anna@Two.example&status=held&limit=100"
            "&since=2026-11-23T08:00:00Z&until=2026-11-23T10:00:00.5%2B01:00&after=" ID_TEXT,
            KEY, SLICE_NONE);
    assert_int_equal(a.status, 200);
    assert_true(body_has(&a, "\"has_more\":true,\"next\":\"" ID_TEXT "\"}"));
    client_close(&c);
    assert_non_null(strstr(fake_operate()->asked,
                           "id=" ID_TEXT " to=anna@two.example state=2 since=1795420800000 "
                           "until=1795424400500 limit=100"));
    a = ask_control(&c, "GET /v1/messages?tenant=two", "", SLICE_NONE);
    assert_true(body_has(&a, "\"tenant\":\"dev\""));
    assert_non_null(strstr(fake_operate()->asked, "tenant=two "));
    client_close(&c);
}

static void
refuses_wrong_parameters(void **state)
{
    (void)state;
    static const char *const WRONG[] = {"limit=0",
                                        "limit=101",
                                        "limit=x",
                                        "status=gone",
                                        "after=abc",
                                        "since=yesterday",
                                        "to=nobody",
                                        "colour=red",
                                        "limit=1&limit=2",
                                        "since=2026-13-01T00:00:00Z",
                                        "until=2026-02-29T00:00:00Z",
                                        "since=2026-11-23T08:00:00"};
    struct client c;
    for (size_t i = 0; i < ARRAY_LEN(WRONG); i++) {
        char line[128];
        snprintf(line, sizeof line, "GET /v1/messages?%s", WRONG[i]);
        struct answer a = ask(&c, line, KEY, SLICE_NONE);
        assert_problem(&a, 422, "invalid_fields");
        client_close(&c);
    }
    struct answer a = ask(&c, "GET /v1/messages?to=%zz", KEY, SLICE_NONE);
    assert_problem(&a, 400, "bad_query");
    client_close(&c);
    assert_string_equal(fake_operate()->asked, "");
}

static void
tells_events_and_gives_bytes(void **state)
{
    (void)state;
    struct client c;
    struct answer a = ask(&c, "GET /v1/messages/" ID_TEXT "/events", KEY, SLICE_NONE);
    assert_int_equal(a.status, 200);
    assert_true(slice_eq(
        a.body,
        SLICE("{\"data\":[{\"id\":\"0.0.0.0\",\"time\":\"2026-11-23T08:00:00.123Z\","
              "\"type\":\"message.accepted\",\"recipient\":null,\"domain\":null,\"attempt\":0,"
              "\"response\":null,\"retry_at\":null,\"uncertain\":false},"
              "{\"id\":\"1.1.0.1\",\"time\":\"2026-11-23T08:00:01.000Z\","
              "\"type\":\"delivery.deferred\",\"recipient\":\"b@two.example\","
              "\"domain\":\"two.example\",\"attempt\":1,\"response\":null,"
              "\"retry_at\":\"2026-11-23T09:00:00.000Z\",\"uncertain\":true}],"
              "\"dropped\":3}\n")));
    client_close(&c);
    a = ask(&c, "GET /v1/messages/" ID_TEXT "/raw", KEY, SLICE_NONE);
    assert_int_equal(a.status, 200);
    assert_true(answer_has(&a, "content-type", "message/rfc822"));
    assert_true(slice_eq(a.body, SLICE("From: a@b.example\r\n\r\nraw\r\n")));
    client_close(&c);
    fake_operate()->error = ERR_STALE;
    a = ask(&c, "GET /v1/messages/" ID_TEXT "/raw", KEY, SLICE_NONE);
    assert_problem(&a, 404, "body_gone");
    client_close(&c);
    fake_operate()->error = ERR_NOT_FOUND;
    a = ask(&c, "GET /v1/messages/" ID_TEXT "/events", KEY, SLICE_NONE);
    assert_problem(&a, 404, "not_found");
    client_close(&c);
    fake_operate()->error = ERR_AWAY;
    a = ask(&c, "GET /v1/messages", KEY, SLICE_NONE);
    assert_problem(&a, 503, "queue_away");
    client_close(&c);
}

static void
changes_what_waits(void **state)
{
    (void)state;
    static const struct {
        const char *line, *action;
    } ROWS[] = {{"POST /v1/messages/" ID_TEXT "/retry", "action=0"},
                {"POST /v1/messages/" ID_TEXT "/cancel", "action=1"},
                {"POST /v1/messages/" ID_TEXT "/hold", "action=2"},
                {"POST /v1/messages/" ID_TEXT "/release", "action=3"}};
    struct client c;
    struct answer a;
    fake_operate()->affected = 2;
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        a = ask(&c, ROWS[i].line, KEY, SLICE_NONE);
        assert_int_equal(a.status, 200);
        assert_true(
            slice_eq(a.body, SLICE("{\"id\":\"" ID_TEXT "\",\"affected\":2,\"in_flight\":0}\n")));
        assert_non_null(strstr(fake_operate()->asked, ROWS[i].action));
        assert_non_null(strstr(fake_operate()->asked, "tenant=dev id=" ID_TEXT));
        client_close(&c);
    }
    a = ask(&c, ROWS[1].line, JSON, SLICE("{\"recipients\":[\"b@Two.example\"]}"));
    assert_int_equal(a.status, 200);
    assert_non_null(strstr(fake_operate()->asked, "recipients=1 b@two.example"));
    client_close(&c);
    fake_operate()->affected = 0;
    a = ask(&c, ROWS[1].line, KEY, SLICE_NONE);
    assert_problem(&a, 409, "nothing_to_do");
    client_close(&c);
    fake_operate()->in_flight = 1;
    a = ask(&c, ROWS[1].line, KEY, SLICE_NONE);
    assert_problem(&a, 409, "in_flight");
    client_close(&c);
}

static void
refuses_wrong_changes(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        unsigned status;
        const char *code;
    } ROWS[] = {{"[", 400, "invalid_json"},
                {"{\"recipients\":[]}", 422, "invalid_fields"},
                {"{\"recipients\":\"a@b.example\"}", 422, "invalid_fields"},
                {"{\"to\":[\"a@b.example\"]}", 422, "invalid_fields"},
                {"{\"recipients\":[\"nobody\"]}", 422, "invalid_address"},
                {"{\"recipients\":[7]}", 422, "invalid_address"}};
    struct client c;
    struct answer a;
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        a = ask(&c, "POST /v1/messages/" ID_TEXT "/hold", JSON, slice_str(ROWS[i].body));
        assert_problem(&a, ROWS[i].status, ROWS[i].code);
        client_close(&c);
    }
    a = ask(&c, "POST /v1/messages/none/hold", KEY, SLICE_NONE);
    assert_problem(&a, 404, "not_found");
    client_close(&c);
    a = ask(&c, "POST /v1/messages/" ID_TEXT "/hold", "", SLICE_NONE);
    assert_problem(&a, 401, "unauthorized");
    client_close(&c);
    a = ask(&c, "GET /v1/messages", "", SLICE_NONE);
    assert_problem(&a, 401, "unauthorized");
    client_close(&c);
    assert_string_equal(fake_operate()->asked, "");
}

static void
shows_queues(void **state)
{
    (void)state;
    struct client c;
    struct answer a = ask(&c, "GET /v1/queues", KEY, SLICE_NONE);
    assert_int_equal(a.status, 200);
    assert_true(slice_eq(
        a.body,
        SLICE("{\"data\":[{\"domain\":\"two.example\",\"class\":\"bulk\",\"queued\":5,"
              "\"deferred\":2,\"held\":1,\"inflight\":0,\"oldest_at\":\"2026-11-23T08:00:00.123Z\","
              "\"next_attempt_at\":null,\"last_response\":null,\"sampled\":false}],"
              "\"total\":{\"queued\":15,\"deferred\":6,\"held\":1,\"inflight\":0},"
              "\"truncated\":false}\n")));
    assert_non_null(strstr(fake_operate()->asked, "tenant=dev"));
    assert_non_null(strstr(fake_operate()->asked, "domain= limit=25"));
    client_close(&c);
    a = ask_control(&c, "GET /v1/queues/M%C3%BCller.Example?shape=1&limit=3", "", SLICE_NONE);
    assert_true(body_has(&a, "\"tenant\":\"dev\""));
    assert_true(body_has(&a, "\"ages\":[{\"up_to_minutes\":5,\"count\":8},"));
    assert_true(body_has(&a, "{\"up_to_minutes\":null,\"count\":0}]"));
    assert_non_null(strstr(fake_operate()->asked, "tenant= "));
    assert_non_null(strstr(fake_operate()->asked, "domain=xn--mller-kva.example limit=3"));
    client_close(&c);
    a = ask(&c, "GET /v1/queues/a%20b", KEY, SLICE_NONE);
    assert_problem(&a, 404, "not_found");
    client_close(&c);
    a = ask(&c, "GET /v1/queues?shape=yes", KEY, SLICE_NONE);
    assert_problem(&a, 422, "invalid_fields");
    client_close(&c);
}

static void
keeps_suppressions(void **state)
{
    (void)state;
    struct client c;
    fake_operate()->has_more = true;
    struct answer a = ask(&c, "GET /v1/suppressions?limit=1", KEY, SLICE_NONE);
    assert_int_equal(a.status, 200);
    assert_true(body_has(&a, "{\"data\":[{\"email\":\"a@b.example\",\"reason\":\"complaint\","
                             "\"created_at\":null}],\"has_more\":true,\"next\":\"ab00"));
    json_t *o = parse(&a);
    char line[256];
    snprintf(line, sizeof line, "GET /v1/suppressions?after=%s",
             json_string_value(json_object_get(o, "next")));
    json_decref(o);
    client_close(&c);
    a = ask(&c, line, KEY, SLICE_NONE);
    assert_int_equal(a.status, 200);
    assert_non_null(strstr(fake_operate()->asked, "tenant=dev"));
    assert_non_null(strstr(fake_operate()->asked, "after=ab"));
    client_close(&c);
    a = ask(&c, "GET /v1/suppressions?after=abc", KEY, SLICE_NONE);
    assert_problem(&a, 422, "invalid_fields");
    client_close(&c);
    fake_operate()->affected = 2;
    a = ask(&c, "PUT /v1/suppressions/anna%2Bx@Two.example", JSON,
            SLICE("{\"reason\":\"hard_bounce\"}"));
    assert_int_equal(a.status, 201);
    assert_true(
        slice_eq(a.body, SLICE("{\"email\":\"anna+x@two.example\",\"reason\":\"hard_bounce\","
                               "\"created_at\":\"2026-11-23T08:00:00.123Z\",\"affected\":2}\n")));
    assert_non_null(strstr(fake_operate()->asked, "sweep tenant=dev"));
    assert_non_null(strstr(fake_operate()->asked, "action=4 recipient=anna+x@two.example"));
    client_close(&c);
    a = ask(&c, "GET /v1/suppressions/a@b.example", KEY, SLICE_NONE);
    assert_problem(&a, 404, "not_found");
    client_close(&c);
    a = ask(&c, "DELETE /v1/suppressions/a@b.example", KEY, SLICE_NONE);
    assert_problem(&a, 404, "not_found");
    client_close(&c);
    fake_operate()->existed = true;
    a = ask(&c, "DELETE /v1/suppressions/a@b.example", KEY, SLICE_NONE);
    assert_int_equal(a.status, 204);
    client_close(&c);
    a = ask(&c, "GET /v1/suppressions/a@b.example", KEY, SLICE_NONE);
    assert_true(body_has(&a, "\"reason\":\"manual\""));
    assert_false(body_has(&a, "affected"));
    client_close(&c);
    a = ask_control(&c, "DELETE /v1/suppressions/a@b.example?tenant=two", "", SLICE_NONE);
    assert_int_equal(a.status, 204);
    assert_non_null(strstr(fake_operate()->asked, "suppression tenant=two"));
    client_close(&c);
}

static void
refuses_wrong_suppressions(void **state)
{
    (void)state;
    static const struct {
        const char *line, *body;
        unsigned status;
        const char *code;
    } ROWS[] = {
        {"PUT /v1/suppressions/nobody", "", 422, "invalid_address"},
        {"PUT /v1/suppressions/%zz", "", 422, "invalid_address"},
        {"PUT /v1/suppressions/a@b.example", "[", 400, "invalid_json"},
        {"PUT /v1/suppressions/a@b.example", "{\"reason\":\"x\"}", 422, "invalid_fields"},
        {"PUT /v1/suppressions/a@b.example", "{\"why\":\"manual\"}", 422, "invalid_fields"}};
    struct client c;
    struct answer a;
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        a = ask(&c, ROWS[i].line, JSON, slice_str(ROWS[i].body));
        assert_problem(&a, ROWS[i].status, ROWS[i].code);
        client_close(&c);
    }
    a = ask_control(&c, "DELETE /v1/suppressions/a@b.example", "", SLICE_NONE);
    assert_problem(&a, 422, "tenant_needed");
    client_close(&c);
    a = ask(&c, "PUT /v1/suppressions/a@b.example", "", SLICE_NONE);
    assert_problem(&a, 401, "unauthorized");
    client_close(&c);
    assert_string_equal(fake_operate()->asked, "");
    fake_operate()->error = ERR_FULL;
    a = ask(&c, "PUT /v1/suppressions/a@b.example", KEY, SLICE_NONE);
    assert_problem(&a, 503, "queue_full");
    client_close(&c);
}

/* ---- operators ---------------------------------------------------------- */

static void
operators_see_everything(void **state)
{
    (void)state;
    static const struct {
        const char *line, *tenant;
    } ASKED[] = {{"GET /v1/messages/" ID_TEXT, ""},
                 {"GET /v1/messages/" ID_TEXT "?tenant=two", "two"},
                 {"GET /v1/messages/" ID_TEXT "?x=1&tenant=t%2Bo", "t+o"}};
    struct client c;
    struct answer a;
    for (size_t i = 0; i < ARRAY_LEN(ASKED); i++) {
        a = ask_control(&c, ASKED[i].line, "", SLICE_NONE);
        assert_int_equal(a.status, 200);
        assert_string_equal(fake.tenant, ASKED[i].tenant);
        json_t *m = parse(&a);
        assert_string_equal(json_string_value(json_object_get(m, "tenant")), "dev");
        json_decref(m);
        client_close(&c);
    }
    a = ask_control(&c, "GET /v1/messages/" ID_TEXT "?tenant=%zz", "", SLICE_NONE);
    assert_problem(&a, 400, "bad_query");
    client_close(&c);
    a = ask_control(&c, "GET /readyz", "", SLICE_NONE);
    assert_int_equal(a.status, 200);
    client_close(&c);
    c = client_open_at(control); /* whatever Host says: there is no browser here */
    client_send(&c, SLICE("GET /healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n"));
    assert_int_equal(client_read(&c, false).status, 200);
    client_close(&c);
}

static void
operators_send_as_somebody(void **state)
{
    (void)state;
    static const char AS_SHOP[] =
        "X-Stagepost-Credential: shop\r\nContent-Type: application/json\r\n";
    struct client c;
    struct answer a = ask_control(&c, "POST /v1/messages", AS_SHOP, SLICE(GOOD));
    assert_int_equal(a.status, 202);
    assert_string_equal(fake.user, "shop");
    assert_string_equal(fake.address, "127.0.0.1");
    client_close(&c);
    a = ask_control(&c, "POST /v1/messages", "", SLICE(GOOD));
    assert_problem(&a, 422, "credential_needed");
    client_close(&c);
    a = ask_control(&c, "POST /v1/messages", KEY, SLICE(GOOD));
    assert_problem(&a, 422, "credential_needed");
    client_close(&c);
    a = ask_control(&c, "POST /v1/messages", "X-Stagepost-Credential: nobody\r\n", SLICE(GOOD));
    assert_problem(&a, 422, "unknown_credential");
    client_close(&c);
    assert_int_equal(fake.submitted, 1);
}

/* The admin key, and the one before, over TCP as by the control socket; nothing
 * else makes an operator. */
static void
the_admin_key_makes_an_operator(void **state)
{
    (void)state;
    static const struct {
        const char *fields;
        unsigned status;
    } ROWS[] = {{"Authorization: Bearer admin\r\n", 200},
                {"authorization: bearer older\r\n", 200},
                {"Authorization: Bearer adminx\r\n", 401},
                {"Authorization: Basic admin\r\n", 401},
                {"", 401}};
    struct client c;
    /* SHA-256 of "admin" and "older" */
    config.admin_key_sha256[0] = "8c6976e5b5410415bde908bd4dee15dfb167a9c873fc4bb8a81f6f2ab448a918";
    config.admin_key_sha256[1] = "da925a30e31f7fdaa7044e3e5ba4ae17670de82d677b0e7adf5700428a137a36";
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        struct answer a =
            ask(&c, "GET /v1/messages/" ID_TEXT "?tenant=two", ROWS[i].fields, SLICE_NONE);
        assert_int_equal(a.status, ROWS[i].status);
        if (a.status == 200)
            assert_string_equal(fake.tenant, "two");
        client_close(&c);
    }
    config.admin_key_sha256[0] = config.admin_key_sha256[1] = "";
    struct answer a =
        ask(&c, "GET /v1/messages/" ID_TEXT, "Authorization: Bearer admin\r\n", SLICE_NONE);
    assert_problem(&a, 401, "unauthorized");
    client_close(&c);
}

/* What an operator may say is nothing in the mouth of others. */
static void
keys_see_their_tenant(void **state)
{
    (void)state;
    struct client c;
    struct answer a = ask(&c, "GET /v1/messages/" ID_TEXT "?tenant=two", KEY, SLICE_NONE);
    assert_int_equal(a.status, 200);
    assert_string_equal(fake.tenant, "dev");
    assert_false(body_has(&a, "\"tenant\""));
    client_close(&c);
    a = ask(&c, "GET /v1/messages/" ID_TEXT "?tenant=", KEY, SLICE_NONE);
    assert_string_equal(fake.tenant, "dev");
    client_close(&c);
    a = ask(&c, "GET /v1/messages/" ID_TEXT, "Authorization: Bearer nameless\r\n", SLICE_NONE);
    assert_problem(&a, 401, "unauthorized");
    client_close(&c);
    a = ask(&c, "POST /v1/messages", "X-Stagepost-Credential: shop\r\n", SLICE(GOOD));
    assert_problem(&a, 401, "unauthorized");
    client_close(&c);
    assert_int_equal(fake.submitted, 2);
}

static void
a_frozen_key_sees_and_changes_nothing(void **state)
{
    (void)state;
    static const char *const REQUESTS[] = {
        "GET /v1/messages",
        "GET /v1/messages/" ID_TEXT,
        "GET /v1/messages/" ID_TEXT "/events",
        "GET /v1/messages/" ID_TEXT "/raw",
        "POST /v1/messages/" ID_TEXT "/cancel",
        "POST /v1/messages/" ID_TEXT "/release",
        "GET /v1/queues",
        "GET /v1/suppressions",
        "DELETE /v1/suppressions/a@b.example",
        "GET /v1/credentials",
    };
    fake.frozen = true;
    for (size_t i = 0; i < ARRAY_LEN(REQUESTS); i++) {
        struct client c;
        struct answer a = ask(&c, REQUESTS[i], KEY, SLICE_NONE);
        assert_problem(&a, 403, "credential_frozen");
        client_close(&c);
    }
    assert_int_equal(fake.submitted, 0);
}

int
main(void)
{
    setenv("STAGEPOST_TIME_SCALE", "5", 1);
#define ROUTE_TEST(t) cmocka_unit_test_setup_teardown(t, start, stop)
    const struct CMUnitTest tests[] = {
        ROUTE_TEST(accepts_a_message),
        ROUTE_TEST(words_every_result),
        ROUTE_TEST(asks_for_a_key),
        ROUTE_TEST(names_wrong_fields),
        ROUTE_TEST(takes_idempotency_keys),
        ROUTE_TEST(digests_what_must_repeat),
        ROUTE_TEST(marks_replays),
        ROUTE_TEST(compiles_large_bodies_off_the_loop),
        ROUTE_TEST(refuses_what_is_too_large),
        ROUTE_TEST(cancels_for_a_client_that_is_gone),
        ROUTE_TEST(shows_few_messages_at_a_time),
        ROUTE_TEST(stops_a_batch_of_a_client_that_is_gone),
        ROUTE_TEST(starts_nothing_for_a_client_that_is_gone),
        ROUTE_TEST(accepts_a_raw_message),
        ROUTE_TEST(refuses_raw_messages),
        ROUTE_TEST(shows_a_message),
        ROUTE_TEST(words_lookup_errors),
        ROUTE_TEST(tells_health),
        ROUTE_TEST(shows_metrics),
        ROUTE_TEST(shows_captures),
        ROUTE_TEST(advances_the_clock),
        ROUTE_TEST(refuses_foreign_origins),
        ROUTE_TEST(lists_messages),
        ROUTE_TEST(refuses_wrong_parameters),
        ROUTE_TEST(tells_events_and_gives_bytes),
        ROUTE_TEST(changes_what_waits),
        ROUTE_TEST(shows_queues),
        ROUTE_TEST(keeps_suppressions),
        ROUTE_TEST(refuses_wrong_suppressions),
        ROUTE_TEST(refuses_wrong_changes),
        ROUTE_TEST(operators_see_everything),
        ROUTE_TEST(operators_send_as_somebody),
        ROUTE_TEST(the_admin_key_makes_an_operator),
        ROUTE_TEST(keys_see_their_tenant),
        ROUTE_TEST(a_frozen_key_sees_and_changes_nothing),
        cmocka_unit_test_setup_teardown(has_no_sandbox_outside_development, start_production,
                                        stop_production),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
