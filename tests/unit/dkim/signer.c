/* The signer process, spoken to byte by byte on its socket. */
#include "dkim/signer.h"

#include "tests/unit/support/signer_support.h"

#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "dkim/protocol.h"
#include "relay/sys/net/control.h"

enum { ANSWER_LIMIT_MS = 60000, READ_MAX = 1 << 16 };

#define MESSAGE "From: a@example.org\r\nSubject: x\r\n\r\nbody\r\n"
#define BOTH_OK "rsa-sha256=ok ed25519-sha256=ok"

struct rig {
    struct dkim_dir dir;
    struct test_signer signer;
    int fd;
    struct buf in, out;
};

static int
set_up(void **state)
{
    struct rig *r = calloc(1, sizeof *r);
    dkim_dir_init(&r->dir);
    test_signer_listen(&r->signer, &r->dir, "signer");
    buf_init(&r->in, 1 << 20);
    buf_init(&r->out, 1 << 20);
    r->fd = -1;
    *state = r;
    return 0;
}

static int
tear_down(void **state)
{
    struct rig *r = *state;
    if (r->fd >= 0)
        close(r->fd);
    test_signer_fini(&r->signer);
    dkim_dir_fini(&r->dir);
    buf_fini(&r->in);
    buf_fini(&r->out);
    free(r);
    return 0;
}

static int
connect_to(const struct rig *r)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof at.sun_path, "%s", r->signer.path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    return fd;
}

/* Reads what has come; 0 at the end of the connection. */
static size_t
receive(struct rig *r)
{
    struct pollfd p = {.fd = r->fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, ANSWER_LIMIT_MS), 1);
    char *to = buf_reserve(&r->in, READ_MAX);
    assert_non_null(to);
    ssize_t n = read(r->fd, to, READ_MAX);
    if (n <= 0)
        return 0; /* a reset comes when we sent what it no longer read */
    buf_commit(&r->in, (size_t)n);
    return (size_t)n;
}

/* The next answer: its type, SIGN_FRAME_... ; 0: the connection ended. The
 * payload stays at the front of r->in until the next call. */
static int
next_answer(struct rig *r, struct frame *f, size_t *frame_bytes)
{
    buf_consume(&r->in, *frame_bytes);
    *frame_bytes = 0;
    for (;;) {
        struct slice all = buf_slice(&r->in), left = all;
        enum parse p = frame_cut(&left, f);
        assert_int_not_equal(p, PARSE_BAD);
        if (p == PARSE_OK) {
            *frame_bytes = all.n - left.n;
            return f->type;
        }
        if (receive(r) == 0)
            return 0;
    }
}

static int
answer(struct rig *r, uint64_t request, struct slice *payload)
{
    static size_t frame_bytes; /* of the answer given out last */
    struct frame f;
    if (buf_slice(&r->in).n == 0)
        frame_bytes = 0;
    int type = next_answer(r, &f, &frame_bytes);
    if (type != 0)
        assert_int_equal(f.request, request);
    if (type != 0 && payload != NULL)
        *payload = f.payload;
    return type;
}

static void
begin(struct rig *r, uint64_t request, size_t message_bytes)
{
    assert_true(
        sign_request_add_begin(&r->out, request, (uint32_t)message_bytes, SLICE("example.org")));
}

static void
frame(struct rig *r, enum sign_frame type, uint64_t request, struct slice payload)
{
    assert_true(frame_add_header(&r->out, (uint8_t)type, request, payload.n));
    assert_true(buf_add(&r->out, payload));
}

static void
flush(struct rig *r)
{
    struct slice s = buf_slice(&r->out);
    while (s.n > 0) {
        ssize_t n = send(r->fd, s.p, s.n, MSG_NOSIGNAL);
        if (n <= 0)
            break;
        s = slice_skip(s, (size_t)n);
    }
    buf_clear(&r->out);
}

static void
start(struct rig *r)
{
    test_signer_start(&r->signer, &r->dir, NULL);
    r->fd = connect_to(r);
    assert_int_equal(answer(r, 0, NULL), SIGN_FRAME_READY);
}

static void
reconnect(struct rig *r)
{
    close(r->fd);
    buf_clear(&r->in);
    r->fd = connect_to(r);
    assert_int_equal(answer(r, 0, NULL), SIGN_FRAME_READY);
}

static void
signs_when_the_last_byte_has_come(void **state)
{
    struct rig *r = *state;
    struct slice message = SLICE(MESSAGE), fields;
    start(r);
    begin(r, 5, message.n);
    for (size_t i = 0; i < message.n; i++)
        frame(r, SIGN_FRAME_PIECE, 5, slice_from(message.p + i, 1));
    flush(r);
    assert_int_equal(answer(r, 5, &fields), SIGN_FRAME_SIGNED);
    dkim_dir_add(&r->dir, "bytes", fields, message);
    assert_int_equal(dkim_dir_verify(&r->dir, BOTH_OK), 1);
}

static void
requests_may_be_interleaved_and_abandoned(void **state)
{
    struct rig *r = *state;
    struct slice message = SLICE(MESSAGE), fields;
    start(r);
    for (uint64_t id = 1; id <= SIGN_JOBS_PER_CONNECTION; id++) {
        begin(r, id, message.n);
        frame(r, SIGN_FRAME_PIECE, id, slice_from(message.p, 10));
    }
    frame(r, SIGN_FRAME_ABANDON, 2, SLICE_NONE);
    begin(r, 2, message.n); /* its place and number are free again */
    frame(r, SIGN_FRAME_PIECE, 2, message);
    frame(r, SIGN_FRAME_PIECE, 1, slice_skip(message, 10));
    flush(r);
    assert_int_equal(answer(r, 2, &fields), SIGN_FRAME_SIGNED);
    dkim_dir_add(&r->dir, "two", fields, message);
    assert_int_equal(answer(r, 1, &fields), SIGN_FRAME_SIGNED);
    dkim_dir_add(&r->dir, "one", fields, message);
    assert_int_equal(dkim_dir_verify(&r->dir, BOTH_OK), 2);
}

static void
a_refusal_comes_early_and_the_rest_is_dropped(void **state)
{
    struct rig *r = *state;
    struct slice text;
    start(r);
    begin(r, 1, 100);
    frame(r, SIGN_FRAME_PIECE, 1, SLICE("bare\nLF"));
    flush(r);
    assert_int_equal(answer(r, 1, &text), SIGN_FRAME_REFUSED);
    assert_true(slice_eq(text, SLICE("bare LF")));
    frame(r, SIGN_FRAME_PIECE, 1, slice_from(MESSAGE MESSAGE MESSAGE, 93));
    begin(r, 1, sizeof MESSAGE - 1); /* all 100 have come: the number is free */
    frame(r, SIGN_FRAME_PIECE, 1, SLICE(MESSAGE));
    flush(r);
    assert_int_equal(answer(r, 1, NULL), SIGN_FRAME_SIGNED);
}

static void
ends_after_flush(struct rig *r)
{
    flush(r);
    while (answer(r, 0, NULL) != 0)
        fail_msg("an answer came");
}

static void
a_breach_of_the_protocol_ends_the_connection_only(void **state)
{
    struct rig *r = *state;
    start(r);
    buf_add_str(&r->out, "GET / HTTP/1.1\r\n\r\n");
    ends_after_flush(r);
    reconnect(r);
    frame(r, SIGN_FRAME_PIECE, 1, SLICE("no BEGIN"));
    ends_after_flush(r);
    reconnect(r);
    frame(r, SIGN_FRAME_ABANDON, 1, SLICE_NONE);
    ends_after_flush(r);
    reconnect(r);
    begin(r, 1, 100);
    begin(r, 1, 100);
    ends_after_flush(r);
    reconnect(r);
    begin(r, 1, 10);
    frame(r, SIGN_FRAME_PIECE, 1, SLICE("more than ten"));
    ends_after_flush(r);
    reconnect(r);
    for (uint64_t id = 0; id <= SIGN_JOBS_PER_CONNECTION; id++)
        begin(r, id, 100);
    ends_after_flush(r);
    reconnect(r);
    frame_add_header(&r->out, SIGN_FRAME_PIECE, 1, SIGN_PIECE_BYTES + 1);
    for (int i = 0; i < SIGN_PIECE_BYTES + 1; i++)
        buf_add_char(&r->out, 'x');
    ends_after_flush(r);
    reconnect(r);
    begin(r, 9, sizeof MESSAGE - 1);
    frame(r, SIGN_FRAME_PIECE, 9, SLICE(MESSAGE));
    flush(r);
    assert_int_equal(answer(r, 9, NULL), SIGN_FRAME_SIGNED);
}

static void
connections_that_go_leave_nothing_behind(void **state)
{
    struct rig *r = *state;
    start(r);
    for (int i = 0; i < SIGNER_CONNECTIONS_MAX + 10; i++) {
        begin(r, 1, 100000);
        frame(r, SIGN_FRAME_PIECE, 1, SLICE(MESSAGE));
        flush(r);
        reconnect(r);
    }
    assert_int_equal(test_signer_drain(&r->signer), 0); /* under ASan: nothing leaked */
}

static void
drains_within_seconds_whatever_the_workers_do(void **state)
{
    struct rig *r = *state;
    start(r);
    begin(r, 1, sizeof MESSAGE - 1);
    begin(r, 2, 100);
    frame(r, SIGN_FRAME_PIECE, 2, SLICE("From: a@b\r\n"));
    frame(r, SIGN_FRAME_ABANDON, 2, SLICE_NONE);
    begin(r, 2, 100); /* will never be complete */
    begin(r, 3, 20);
    frame(r, SIGN_FRAME_PIECE, 3, SLICE("bare\nLF"));
    flush(r);
    assert_int_equal(answer(r, 3, NULL), SIGN_FRAME_REFUSED); /* so all before it was read */
    close(r->signer.control_fd);
    frame(r, SIGN_FRAME_PIECE, 1, SLICE(MESSAGE));
    flush(r);
    assert_int_equal(answer(r, 1, NULL), SIGN_FRAME_SIGNED);
    assert_int_equal(answer(r, 0, NULL), 0);
    r->signer.control_fd = -1;
    assert_int_equal(test_signer_wait(&r->signer), 0);
}

static void
an_idle_signer_drains_at_once(void **state)
{
    struct rig *r = *state;
    start(r);
    assert_int_equal(test_signer_drain(&r->signer), 0);
    assert_int_equal(answer(r, 0, NULL), 0);
}

static void
bad_keys_are_a_configuration_error(void **state)
{
    struct rig *r = *state;
    r->dir.specs[0].pem_path = "/proc/none/key.pem";
    test_signer_start(&r->signer, &r->dir, NULL);
    assert_int_equal(test_signer_wait(&r->signer), 78);
}

/* "prepare N" with a snapshot of these keys; the signer's answer, a line. */
static const char *
prepare(struct rig *r, const char *line, const struct config_dkim_key *keys, unsigned count)
{
    static char said[512];
    const struct config c = {.dkim_keys = keys, .dkim_key_count = count};
    struct err err = {0};
    int fd = memfd_create("test", 0);
    assert_int_equal(config_write_snapshot(&c, CONFIG_READER_OTHER, fd, &err), 0);
    assert_true(control_send(r->signer.control_fd, slice_str(line), fd));
    close(fd);
    ssize_t n = recv(r->signer.control_fd, said, sizeof said - 1, 0);
    assert_true(n > 0);
    said[n] = '\0';
    return said;
}

static void
sign_rest(struct rig *r, uint64_t id, struct slice rest, const char *name, struct slice message)
{
    struct slice fields;
    frame(r, SIGN_FRAME_PIECE, id, rest);
    flush(r);
    assert_int_equal(answer(r, id, &fields), SIGN_FRAME_SIGNED);
    dkim_dir_add(&r->dir, name, fields, message);
}

/* A message begun is signed with the keys that it began with. */
static void
new_keys_are_for_new_messages(void **state)
{
    struct rig *r = *state;
    struct slice message = SLICE(MESSAGE);
    struct config_dkim_key one = {.domain = r->dir.specs[0].domain,
                                  .selector = r->dir.specs[0].selector,
                                  .path = r->dir.specs[0].pem_path};
    start(r);
    begin(r, 1, message.n);
    frame(r, SIGN_FRAME_PIECE, 1, slice_from(message.p, 10));
    flush(r);
    assert_string_equal(prepare(r, "prepare 2\n", &one, 1), "prepared 2\n");
    begin(r, 2, message.n); /* not in force yet */
    sign_rest(r, 2, message, "two", message);
    assert_int_equal(dkim_dir_verify(&r->dir, BOTH_OK), 1);
    assert_true(control_send(r->signer.control_fd, SLICE("commit 2\n"), -1));
    one.path = "/proc/none/key.pem"; /* its answer says that the commit was read */
    assert_string_equal(prepare(r, "prepare 3\n", &one, 1),
                        "refused 3 /proc/none/key.pem: No such file or directory\n");
    sign_rest(r, 1, slice_skip(message, 10), "one", message);
    assert_int_equal(dkim_dir_verify(&r->dir, BOTH_OK), 2);
    begin(r, 3, message.n);
    sign_rest(r, 3, message, "three", message);
    assert_int_equal(dkim_dir_verify(&r->dir, "rsa-sha256=ok"), 1);
    assert_int_equal(test_signer_drain(&r->signer), 0); /* under ASan: nothing leaked */
}

int
main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(signs_when_the_last_byte_has_come),
        TEST(requests_may_be_interleaved_and_abandoned),
        TEST(a_refusal_comes_early_and_the_rest_is_dropped),
        TEST(a_breach_of_the_protocol_ends_the_connection_only),
        TEST(connections_that_go_leave_nothing_behind),
        TEST(drains_within_seconds_whatever_the_workers_do),
        TEST(an_idle_signer_drains_at_once),
        TEST(bad_keys_are_a_configuration_error),
        TEST(new_keys_are_for_new_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
