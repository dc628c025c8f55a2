/* The sandbox as its own process, spoken to over real sockets. */
#include "relay/sandbox/sandbox.h"

#include <arpa/inet.h>
#include <errno.h>
#include <jansson.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "relay/deliver/route.h"
#include "relay/sandbox/store.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/net/listener.h"
#include "tests/unit/support/temp_dir.h"

enum { PATIENCE_S = 60, REPLY_MAX = 8192 };

struct world {
    struct temp_dir dir;
    char captures[128], cert[128], key[128];
    pid_t pid;
    int control; /* our end of the pipe */
    int udp_fd, tcp_fd, mx_fd;
    uint16_t dns_port, mx_port;
};

/* ---- the process ---- */

static uint16_t
port_of(int fd)
{
    struct net_address a;
    struct err err;
    assert_int_equal(net_bound_address(fd, &a, &err), 0);
    return a.port;
}

static int
listen_tcp(uint16_t port)
{
    struct net_address a = {0};
    struct err err = {0};
    assert_true(net_address_from_ip(SLICE("127.0.0.1"), port, &a));
    int fd = net_listen(&a, false, false, &err);
    if (fd < 0)
        fail_msg("%s", err.text);
    return fd;
}

static int
bind_udp(uint16_t port)
{
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    return fd;
}

static char long_key[3000]; /* more than one UDP answer holds */
static const struct sandbox_dkim dkim[] = {{.selector = "dev", .txt = "v=DKIM1; p=key"},
                                           {.selector = "long", .txt = long_key}};

static void
start(struct world *w, const char *time_scale)
{
    int pipe_fds[2];
    assert_int_equal(pipe(pipe_fds), 0);
    w->pid = fork();
    assert_true(w->pid >= 0);
    if (w->pid == 0) {
        close(pipe_fds[1]);
        if (time_scale != NULL)
            setenv("STAGEPOST_TIME_SCALE", time_scale, 1);
        int code = sandbox_run(&(struct sandbox_config){.control_fd = pipe_fds[0],
                                                        .dns_udp_fd = w->udp_fd,
                                                        .dns_tcp_fd = w->tcp_fd,
                                                        .mx_fd = w->mx_fd,
                                                        .capture_dir = w->captures,
                                                        .dkim = dkim,
                                                        .dkim_count = ARRAY_LEN(dkim),
                                                        .tls_cert_path = w->cert,
                                                        .tls_key_path = w->key});
        exit(code); /* with the leak check of sanitizer builds */
    }
    close(pipe_fds[0]);
    w->control = pipe_fds[1];
}

static int
stop(struct world *w)
{
    int status;
    close(w->control);
    assert_int_equal(waitpid(w->pid, &status, 0), w->pid);
    w->pid = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int
setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    char command[600];
    memset(long_key, 'k', sizeof(long_key) - 1);
    temp_dir_make(&w->dir);
    snprintf(w->captures, sizeof(w->captures), "%s/captures", w->dir.path);
    snprintf(w->cert, sizeof(w->cert), "%s/cert.pem", w->dir.path);
    snprintf(w->key, sizeof(w->key), "%s/key.pem", w->dir.path);
    snprintf(command, sizeof(command),
             "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
             "-subj /CN=localhost -keyout %s -out %s 2>/dev/null",
             w->key, w->cert);
    if (system(command) != 0)
        return -1;
    w->tcp_fd = listen_tcp(0);
    w->dns_port = port_of(w->tcp_fd);
    w->udp_fd = bind_udp(w->dns_port);
    w->mx_fd = listen_tcp(0);
    w->mx_port = port_of(w->mx_fd);
    *state = w;
    start(w, NULL);
    return 0;
}

static int
teardown(void **state)
{
    struct world *w = *state;
    struct temp_dir captures = {0};
    if (w->pid != 0)
        assert_int_equal(stop(w), 0);
    close(w->udp_fd);
    close(w->tcp_fd);
    close(w->mx_fd);
    snprintf(captures.path, sizeof(captures.path), "%s", w->captures);
    temp_dir_remove(&captures);
    temp_dir_remove(&w->dir);
    free(w);
    return 0;
}

/* ---- a client ---- */

struct client {
    int fd;
    SSL *ssl;
    char in[REPLY_MAX];
    size_t n;
};

static void
client_open(struct client *c, uint16_t port)
{
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval patience = {.tv_sec = PATIENCE_S};
    *c = (struct client){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    assert_int_equal(connect(c->fd, (struct sockaddr *)&a, sizeof(a)), 0);
}

static void
client_close(struct client *c)
{
    if (c->ssl != NULL) {
        SSL_shutdown(c->ssl);
        SSL_CTX_free(SSL_get_SSL_CTX(c->ssl));
        SSL_free(c->ssl);
    }
    close(c->fd);
}

static void
say(struct client *c, const char *text)
{
    size_t n = strlen(text);
    if (c->ssl != NULL)
        assert_int_equal(SSL_write(c->ssl, text, (int)n), (int)n);
    else
        assert_int_equal(send(c->fd, text, n, MSG_NOSIGNAL), (ssize_t)n);
}

/* 0: the end of the connection. */
static size_t
more(struct client *c)
{
    size_t room = sizeof(c->in) - 1 - c->n;
    ssize_t n = c->ssl != NULL ? SSL_read(c->ssl, c->in + c->n, (int)room)
                               : recv(c->fd, c->in + c->n, room, 0);
    if (n < 0 && c->ssl == NULL && errno != ECONNRESET)
        fail_msg("waited in vain; so far: %s", c->in);
    n = n < 0 ? 0 : n;
    c->n += (size_t)n;
    c->in[c->n] = '\0';
    return (size_t)n;
}

/* One whole reply, its last line without CRLF in `out`; "" at the end. */
static void
hear(struct client *c, char out[REPLY_MAX])
{
    for (;;) {
        char *line = c->in, *end;
        while ((end = strstr(line, "\r\n")) != NULL && end - line > 3 && line[3] == '-')
            line = end + 2;
        if (end != NULL) {
            size_t whole = (size_t)(end + 2 - c->in);
            *end = '\0';
            snprintf(out, REPLY_MAX, "%s", line);
            memmove(c->in, c->in + whole, c->n - whole + 1);
            c->n -= whole;
            return;
        }
        if (more(c) == 0) {
            assert_int_equal(c->n, 0); /* no half reply */
            out[0] = '\0';
            return;
        }
    }
}

static void
expect(struct client *c, const char *beginning)
{
    char reply[REPLY_MAX];
    hear(c, reply);
    if (strncmp(reply, beginning, strlen(beginning)) != 0)
        fail_msg("expected \"%s\", heard \"%s\"", beginning, reply);
}

static void
expect_end(struct client *c)
{
    char reply[REPLY_MAX];
    hear(c, reply);
    assert_string_equal(reply, "");
}

static void
dialog(struct client *c, const char *text, const char *beginning)
{
    say(c, text);
    expect(c, beginning);
}

static void
greet(struct client *c, uint16_t port)
{
    client_open(c, port);
    expect(c, "220 ");
    dialog(c, "EHLO client.test\r\n", "250 ");
}

/* ---- what was captured ---- */

static json_t *
captured(struct world *w)
{
    struct buf out;
    struct err err = {0};
    buf_init(&out, 1 << 20);
    assert_int_equal(store_list(w->captures, 1000, &out, &err), 0);
    json_t *j = json_loadb(buf_slice(&out).p, out.len, 0, NULL);
    assert_non_null(j);
    buf_fini(&out);
    return j;
}

static size_t
captured_count(struct world *w)
{
    json_t *j = captured(w);
    size_t n = json_array_size(j);
    json_decref(j);
    return n;
}

static void
expect_raw(struct world *w, json_t *row, const char *expected)
{
    struct msg_id id;
    struct buf raw;
    struct err err = {0};
    assert_true(id_parse(slice_str(json_string_value(json_object_get(row, "id"))), &id));
    buf_init(&raw, 1 << 20);
    assert_int_equal(store_read_raw(w->captures, id, &raw, &err), 0);
    buf_add_char(&raw, '\0');
    assert_string_equal(buf_slice(&raw).p, expected);
    buf_fini(&raw);
}

/* ---- tests ---- */

static void
mail_is_captured_as_it_came(void **state)
{
    struct world *w = *state;
    struct client c;
    greet(&c, w->mx_port);
    dialog(&c, "MAIL FROM:<s@a.test> SIZE=100 BODY=8BITMIME\r\n", "250 2.1.0");
    dialog(&c, "RCPT TO:<r@b.test> NOTIFY=NEVER\r\n", "250 2.1.5");
    dialog(&c, "RCPT TO:<\"q r\"@c.test>\r\n", "250 2.1.5");
    dialog(&c, "DATA\r\n", "354 ");
    dialog(&c, "Subject: hi\r\n\r\n..dot\r\n...\r\nend\r\n.\r\n", "250 2.0.0 Ok: captured as 0");
    json_t *j = captured(w), *row = json_array_get(j, 0);
    assert_int_equal(json_array_size(j), 1);
    assert_string_equal(json_string_value(json_object_get(row, "from")), "s@a.test");
    assert_string_equal(json_string_value(json_array_get(json_object_get(row, "to"), 1)),
                        "\"q r\"@c.test");
    assert_string_equal(json_string_value(json_object_get(row, "subject")), "hi");
    expect_raw(w, row, "Subject: hi\r\n\r\n.dot\r\n..\r\nend\r\n");
    json_decref(j);
    /* The next transaction knows nothing of this one. */
    dialog(&c, "DATA\r\n", "503 5.5.1");
    dialog(&c, "MAIL FROM:<>\r\n", "250 ");
    dialog(&c, "DATA\r\n", "554 5.5.1");
    dialog(&c, "QUIT\r\n", "221 ");
    expect_end(&c);
    client_close(&c);
}

static void
extensions_are_offered(void **state)
{
    struct world *w = *state;
    struct client c;
    static const char *const keywords[] = {"PIPELINING", "SIZE 52428800",       "8BITMIME",
                                           "SMTPUTF8",   "ENHANCEDSTATUSCODES", "DSN",
                                           "STARTTLS"};
    client_open(&c, w->mx_port);
    expect(&c, "220 ");
    say(&c, "EHLO client.test\r\n");
    while (strstr(c.in, "\r\n250 ") == NULL)
        assert_true(more(&c) > 0);
    for (size_t i = 0; i < ARRAY_LEN(keywords); i++)
        assert_non_null(strstr(c.in, keywords[i]));
    client_close(&c);
}

static const char whole_dialog[] = "EHLO client.test\r\nMAIL FROM:<s@a.test>\r\n"
                                   "RCPT TO:<bounce@b.test>\r\nRCPT TO:<r@b.test>\r\n"
                                   "RCPT TO:<full@b.test>\r\nDATA\r\nSubject: all\r\n\r\n"
                                   "..\r\n.\r\nRSET\r\nQUIT\r\n";

static void
expect_whole_dialog(struct world *w, struct client *c)
{
    static const char *const replies[] = {
        "220 ",      "250 ",      "250 2.1.0", "550 5.1.1",
        "250 2.1.5", "452 4.2.2", "354 ",      "250 2.0.0 Ok: captured",
        "250 2.0.0", "221 "};
    for (size_t i = 0; i < ARRAY_LEN(replies); i++)
        expect(c, replies[i]);
    expect_end(c);
    json_t *j = captured(w);
    assert_int_equal(json_array_size(json_object_get(json_array_get(j, 0), "to")), 1);
    expect_raw(w, json_array_get(j, 0), "Subject: all\r\n\r\n.\r\n");
    json_decref(j);
}

/* RFC 2920 */
static void
pipelined_and_bytewise_are_the_same(void **state)
{
    struct world *w = *state;
    struct client c;
    client_open(&c, w->mx_port);
    say(&c, whole_dialog);
    expect_whole_dialog(w, &c);
    client_close(&c);
    client_open(&c, w->mx_port);
    for (size_t i = 0; i < sizeof(whole_dialog) - 1; i++)
        say(&c, (char[]){whole_dialog[i], '\0'});
    expect_whole_dialog(w, &c);
    client_close(&c);
    for (size_t cut = 1; cut < sizeof(whole_dialog) - 1; cut += 7) {
        char first[sizeof(whole_dialog)];
        snprintf(first, sizeof(first), "%.*s", (int)cut, whole_dialog);
        client_open(&c, w->mx_port);
        say(&c, first);
        say(&c, whole_dialog + cut);
        expect_whole_dialog(w, &c);
        client_close(&c);
    }
}

static void
magic_recipients_refuse(void **state)
{
    struct world *w = *state;
    struct client c;
    greet(&c, w->mx_port);
    dialog(&c, "MAIL FROM:<s@a.test>\r\n", "250 ");
    for (int i = 0; i < 2; i++) { /* always */
        dialog(&c, "RCPT TO:<Bounce+x@b.test>\r\n", "550 5.1.1");
        dialog(&c, "RCPT TO:<full@b.test>\r\n", "452 4.2.2");
        dialog(&c, "RCPT TO:<defer@b.test>\r\n", "451 4.3.0");
    }
    dialog(&c, "RCPT TO:<bouncer@b.test>\r\n", "250 ");
    dialog(&c, "RCPT TO:<greylist@b.test>\r\n", "451 4.7.1");
    dialog(&c, "RCPT TO:<greylist+1@b.test>\r\n", "451 4.7.1"); /* another recipient */
    dialog(&c, "RSET\r\n", "250 ");
    dialog(&c, "MAIL FROM:<other@a.test>\r\n", "250 ");
    dialog(&c, "RCPT TO:<greylist@b.test>\r\n", "451 4.7.1"); /* another pair */
    dialog(&c, "RSET\r\n", "250 ");
    dialog(&c, "MAIL FROM:<s@a.test>\r\n", "250 ");
    dialog(&c, "RCPT TO:<greylist@b.test>\r\n", "250 2.1.5");
    client_close(&c);
    assert_int_equal(captured_count(w), 0);
}

static void
drop_after_dot_keeps_the_copy(void **state)
{
    struct world *w = *state;
    struct client c;
    greet(&c, w->mx_port);
    say(&c, "MAIL FROM:<s@a.test>\r\nRCPT TO:<drop-after-dot@b.test>\r\nDATA\r\n");
    expect(&c, "250 ");
    expect(&c, "250 ");
    expect(&c, "354 ");
    say(&c, "Subject: kept\r\n\r\n.\r\n");
    expect_end(&c);
    client_close(&c);
    assert_int_equal(captured_count(w), 1);
}

static int64_t
now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Time runs ten times as fast here: 500 ms before each of the replies to RCPT,
 * RCPT, DATA and the dot. */
static void
slow_delays_each_reply(void **state)
{
    struct world *w = *state;
    struct client c;
    assert_int_equal(stop(w), 0);
    start(w, "10");
    greet(&c, w->mx_port);
    dialog(&c, "MAIL FROM:<s@a.test>\r\n", "250 ");
    int64_t began = now_ms();
    say(&c, "RCPT TO:<slow@b.test>\r\nRCPT TO:<r@b.test>\r\nDATA\r\n");
    expect(&c, "250 ");
    assert_true(now_ms() - began >= 490);
    expect(&c, "250 ");
    assert_true(now_ms() - began >= 990);
    expect(&c, "354 ");
    say(&c, "x\r\n.\r\n");
    expect(&c, "250 2.0.0 Ok: captured");
    assert_true(now_ms() - began >= 1990);
    dialog(&c, "MAIL FROM:<s@a.test>\r\n", "250 "); /* a new transaction */
    client_close(&c);
}

static void
secure(struct client *c)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    c->ssl = SSL_new(ctx);
    SSL_set_fd(c->ssl, c->fd);
    assert_int_equal(SSL_connect(c->ssl), 1);
    c->n = 0;
    c->in[0] = '\0';
}

static void
starttls_secures_and_forgets(void **state)
{
    struct world *w = *state;
    struct client c;
    greet(&c, w->mx_port);
    dialog(&c, "MAIL FROM:<s@a.test>\r\n", "250 ");
    dialog(&c, "STARTTLS\r\n", "220 ");
    secure(&c);
    dialog(&c, "MAIL FROM:<s@a.test>\r\n", "503 "); /* EHLO first, again */
    say(&c, "EHLO client.test\r\n");
    while (strstr(c.in, "250 ") == NULL)
        assert_true(more(&c) > 0);
    assert_null(strstr(c.in, "STARTTLS"));
    expect(&c, "250 ");
    dialog(&c, "STARTTLS\r\n", "503 ");
    dialog(&c, "MAIL FROM:<s@a.test>\r\n", "250 ");
    dialog(&c, "RCPT TO:<r@b.test>\r\n", "250 ");
    dialog(&c, "DATA\r\n", "354 ");
    dialog(&c, "Subject: tls\r\n\r\n.\r\n", "250 ");
    dialog(&c, "QUIT\r\n", "221 ");
    client_close(&c);
    assert_int_equal(captured_count(w), 1);
}

/* STL-01: RFC 3207 4.2 */
static void
bytes_behind_starttls_end_it(void **state)
{
    struct world *w = *state;
    struct client c;
    greet(&c, w->mx_port);
    say(&c, "STARTTLS\r\nMAIL FROM:<evil@a.test>\r\n");
    expect(&c, "421 4.7.0");
    expect_end(&c);
    client_close(&c);
}

static void
mistakes_are_refused(void **state)
{
    static const struct {
        const char *line, *reply;
    } cases[] = {
        {"MAIL FROM:<s@a.test>\r\n", "503 5.5.1"},
        {"RCPT TO:<r@b.test>\r\n", "503 5.5.1"},
        {"DATA\r\n", "503 5.5.1"},
        {"EHLO\r\n", "501 "},
        {"EHLO client.test\r\n", "250 "},
        {"WHAT\r\n", "502 5.5.1"},
        {"BDAT 5 LAST\r\n", "502 5.5.1"},
        {"MAIL FROM:<s@a.test> SIZE=99999999\r\n", "552 5.3.4"},
        {"MAIL FROM:s\r\n", "501 "},
        {"MAIL FROM:<s@a.test>\r\n", "250 "},
        {"MAIL FROM:<s@a.test>\r\n", "503 5.5.1"},
        {"RCPT TO:<>\r\n", "501 "},
        {"RCPT TO:<Postmaster>\r\n", "250 "},
        {"VRFY x\r\n", "252 "},
        {"HELP\r\n", "214 "},
    };
    struct world *w = *state;
    struct client c;
    client_open(&c, w->mx_port);
    expect(&c, "220 ");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char reply[REPLY_MAX];
        say(&c, cases[i].line);
        hear(&c, reply);
        if (strncmp(reply, cases[i].reply, strlen(cases[i].reply)) != 0)
            fail_msg("%s: %s", cases[i].line, reply);
    }
    for (int i = 0; i < SMTP_ERRORS_HARD; i++)
        say(&c, "WHAT\r\n");
    char reply[REPLY_MAX];
    do {
        hear(&c, reply);
    } while (strncmp(reply, "502", 3) == 0);
    assert_int_equal(strncmp(reply, "421 4.7.0", 9), 0);
    client_close(&c);
}

static void
lines_that_are_none_end_it(void **state)
{
    struct world *w = *state;
    struct client c;
    char long_line[SMTP_COMMAND_LINE_MAX + 10];
    memset(long_line, 'x', sizeof(long_line) - 1);
    long_line[sizeof(long_line) - 1] = '\0';
    const char *lines[] = {"NOOP\n", "\n", long_line};
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        greet(&c, w->mx_port);
        say(&c, lines[i]);
        expect(&c, "500 5.5.2");
        expect_end(&c);
        client_close(&c);
    }
    greet(&c, w->mx_port);
    say(&c, "GET / HTTP/1.0\r\n\r\n");
    expect_end(&c);
    client_close(&c);
}

/* SMG-01 and its like: a bare line end neither ends the message nor passes. */
static void
bare_line_ends_are_refused(void **state)
{
    struct world *w = *state;
    struct client c;
    static const char *const texts[] = {"x\r\n\n.\r\nMAIL FROM:<evil@a.test>\r\n.\r\n",
                                        "x\n.\nMAIL FROM:<evil@a.test>\r\n.\r\n",
                                        "x\r.\r\r\n.\r\n"};
    greet(&c, w->mx_port);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        dialog(&c, "MAIL FROM:<s@a.test>\r\n", "250 ");
        dialog(&c, "RCPT TO:<r@b.test>\r\n", "250 ");
        dialog(&c, "DATA\r\n", "354 ");
        dialog(&c, texts[i], "550 5.5.2");
    }
    dialog(&c, "NOOP\r\n", "250 ");
    client_close(&c);
    assert_int_equal(captured_count(w), 0);
}

/* What was answered with 250 is there after a kill -9, and the next sandbox on
 * the same directory goes on with it. */
static void
acknowledged_mail_survives_a_kill(void **state)
{
    enum { MESSAGES = 20 };
    struct world *w = *state;
    struct client c;
    int status;
    greet(&c, w->mx_port);
    for (int i = 0; i < MESSAGES; i++) {
        say(&c, "MAIL FROM:<s@a.test>\r\nRCPT TO:<r@b.test>\r\nDATA\r\n");
        expect(&c, "250 ");
        expect(&c, "250 ");
        expect(&c, "354 ");
        dialog(&c, "Subject: safe\r\n\r\n.\r\n", "250 2.0.0 Ok: captured");
    }
    kill(w->pid, SIGKILL);
    assert_int_equal(waitpid(w->pid, &status, 0), w->pid);
    close(w->control);
    client_close(&c);
    assert_int_equal(captured_count(w), MESSAGES);
    start(w, NULL);
    greet(&c, w->mx_port); /* waited in the backlog or connects now */
    say(&c, "MAIL FROM:<s@a.test>\r\nRCPT TO:<r@b.test>\r\nDATA\r\n");
    expect(&c, "250 ");
    expect(&c, "250 ");
    expect(&c, "354 ");
    dialog(&c, "Subject: after\r\n\r\n.\r\n", "250 ");
    client_close(&c);
    assert_int_equal(captured_count(w), MESSAGES + 1);
    json_t *j = captured(w);
    assert_string_equal(json_string_value(json_object_get(json_array_get(j, 0), "subject")),
                        "after");
    json_decref(j);
}

static void
end_of_control_ends_sessions(void **state)
{
    struct world *w = *state;
    struct client idle, busy;
    greet(&idle, w->mx_port);
    greet(&busy, w->mx_port);
    dialog(&busy, "MAIL FROM:<s@a.test>\r\n", "250 ");
    dialog(&busy, "RCPT TO:<r@b.test>\r\n", "250 ");
    dialog(&busy, "DATA\r\n", "354 ");
    say(&busy, "half a mess");
    assert_int_equal(stop(w), 0);
    expect(&idle, "421 4.3.2");
    expect_end(&idle);
    expect_end(&busy);
    client_close(&idle);
    client_close(&busy);
}

/* MX of a.test */
static const char dns_query[] = "\xab\xcd\1\0\0\1\0\0\0\0\0\0\1a\4test\0\0\x0f\0\1";
enum { DNS_QUERY_BYTES = sizeof(dns_query) - 1, DNS_ANSWER_MIN = DNS_QUERY_BYTES + 19 };

static void
dns_answers_over_udp(void **state)
{
    struct world *w = *state;
    struct client c = {.fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons(w->dns_port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval patience = {.tv_sec = PATIENCE_S};
    setsockopt(c.fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    assert_int_equal(connect(c.fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(send(c.fd, "junk", 4, 0), 4); /* no answer to that */
    assert_int_equal(send(c.fd, dns_query, DNS_QUERY_BYTES, 0), DNS_QUERY_BYTES);
    ssize_t n = recv(c.fd, c.in, sizeof(c.in), 0);
    assert_true(n >= DNS_ANSWER_MIN);
    assert_memory_equal(c.in, "\xab\xcd\x85\x80\0\1\0\1", 8);
    close(c.fd);
}

static void
hear_dns(struct client *c)
{
    while (c->n < 2 || c->n < 2 + ((size_t)(uint8_t)c->in[0] << 8 | (uint8_t)c->in[1]))
        assert_true(more(c) > 0);
    size_t whole = 2 + ((size_t)(uint8_t)c->in[0] << 8 | (uint8_t)c->in[1]);
    assert_true(whole >= 2 + DNS_ANSWER_MIN);
    assert_memory_equal(c->in + 2, "\xab\xcd\x85\x80\0\1\0\1", 8);
    memmove(c->in, c->in + whole, c->n - whole);
    c->n -= whole;
}

/* RFC 7766 6.2.1: any number of queries, cut anywhere. */
static void
dns_answers_over_tcp(void **state)
{
    struct world *w = *state;
    struct client c;
    char two[2 * (2 + DNS_QUERY_BYTES)];
    for (size_t i = 0; i < 2; i++) {
        char *at = two + i * (2 + DNS_QUERY_BYTES);
        at[0] = 0;
        at[1] = DNS_QUERY_BYTES;
        memcpy(at + 2, dns_query, DNS_QUERY_BYTES);
    }
    client_open(&c, w->dns_port);
    for (size_t cut = 0; cut <= sizeof(two); cut++) {
        assert_int_equal(send(c.fd, two, cut, 0), (ssize_t)cut);
        assert_int_equal(send(c.fd, two + cut, sizeof(two) - cut, 0), (ssize_t)(sizeof(two) - cut));
        hear_dns(&c);
        hear_dns(&c);
    }
    assert_int_equal(send(c.fd, "\xff\xff", 2, 0), 2); /* no query is that long */
    assert_int_equal(more(&c), 0);
    client_close(&c);
    client_open(&c, w->dns_port);
    assert_int_equal(send(c.fd, "\0\4junk", 6, 0), 6);
    assert_int_equal(more(&c), 0);
    client_close(&c);
}

/* ---- asked by our own resolver, as delivery does ---- */

struct asker {
    struct loop *loop;
    struct resolver *resolver;
    struct route_config cfg;
    struct route_op route;
    struct dns_query query;
};

static void
asker_open(struct asker *a, struct world *w)
{
    char forward[64];
    struct err err = {0};
    snprintf(forward, sizeof(forward), "127.0.0.1@%u", w->dns_port);
    *a = (struct asker){.loop = loop_new()};
    a->resolver = resolver_new(
        a->loop, &(struct resolver_config){.forward = forward, .no_special_zones = true}, &err);
    assert_non_null(a->resolver);
    a->cfg = (struct route_config){
        .resolver = a->resolver, .mx_port = w->mx_port, .allow_loopback = true};
}

static void
asker_close(struct asker *a)
{
    resolver_free(a->resolver);
    loop_free(a->loop);
}

static void
on_routed(struct route_op *op)
{
    loop_stop(container_of(op, struct asker, route)->loop);
}

static void
on_answered(struct dns_query *q)
{
    loop_stop(container_of(q, struct asker, query)->loop);
}

static struct route *
route_to(struct asker *a, const char *domain)
{
    route_start(&a->route, a->loop, &a->cfg, slice_str(domain), on_routed);
    loop_run(a->loop);
    return a->route.route;
}

static void
delivery_finds_the_sandbox(void **state)
{
    static const char *const domains[] = {"a.test", "b.example", "deep.er.invalid", "gmail.com",
                                          "localhost"};
    struct asker a;
    asker_open(&a, *state);
    for (size_t i = 0; i < ARRAY_LEN(domains); i++) {
        struct route *r = route_to(&a, domains[i]);
        if (r->verdict != ROUTE_OK)
            fail_msg("%s: %s", domains[i], r->text);
        assert_int_equal(r->host_count, 1);
        assert_memory_equal(r->hosts[0].name, "mx.", 3);
        assert_string_equal(r->hosts[0].name + 3, domains[i]);
        assert_int_equal(r->address_count, 1);
        assert_true(net_address_is_loopback(&r->addresses[0]));
        route_free(r);
    }
    asker_close(&a);
}

static void
delivery_sees_rehearsed_failures(void **state)
{
    static const struct {
        const char *domain;
        unsigned code;
        const char *enhanced;
    } cases[] = {{"a.nxdomain.example", 550, "5.1.2"},
                 {"a.servfail.example", 451, "4.4.3"},
                 {"null-mx.example", 556, "5.1.10"}};
    struct asker a;
    asker_open(&a, *state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct route *r = route_to(&a, cases[i].domain);
        assert_int_equal(r->code, cases[i].code);
        assert_string_equal(r->enhanced, cases[i].enhanced);
        route_free(r);
    }
    asker_close(&a);
}

/* A key that needs TCP. */
static void
long_keys_are_found(void **state)
{
    struct asker a;
    asker_open(&a, *state);
    dns_query_start(&a.query, a.resolver, "long._domainkey.a.test", DNS_TXT, PATIENCE_S * 1000,
                    on_answered);
    loop_run(a.loop);
    assert_int_equal(a.query.status, DNS_OK);
    assert_int_equal(a.query.count, 1);
    assert_true(a.query.records[0].n > sizeof(long_key) - 1);
    dns_query_fini(&a.query);
    asker_close(&a);
}

/* Time runs 3000 times as fast: five minutes are 100 ms. */
static void
silence_is_ended(void **state)
{
    struct world *w = *state;
    struct client c;
    assert_int_equal(stop(w), 0);
    start(w, "3000");
    client_open(&c, w->mx_port);
    expect(&c, "220 ");
    expect(&c, "421 4.4.2");
    expect_end(&c);
    client_close(&c);
    client_open(&c, w->dns_port);
    assert_int_equal(send(c.fd, "\0", 1, 0), 1);
    assert_int_equal(more(&c), 0);
    client_close(&c);
}

static void
dns_connections_are_bounded(void **state)
{
    struct world *w = *state;
    static struct client many[SANDBOX_DNS_TCP_MAX + 1];
    for (size_t i = 0; i < SANDBOX_DNS_TCP_MAX; i++)
        client_open(&many[i], w->dns_port);
    assert_int_equal(send(many[0].fd, "\0\x18", 2, 0), 2);
    struct client *last = &many[SANDBOX_DNS_TCP_MAX];
    client_open(last, w->dns_port);
    assert_int_equal(more(last), 0); /* one too many */
    client_close(last);
    client_close(&many[0]);
    do { /* room again, as soon as that end was seen */
        client_open(&many[0], w->dns_port);
        send(many[0].fd, "\0\x18", 2, MSG_NOSIGNAL);
        send(many[0].fd, dns_query, DNS_QUERY_BYTES, MSG_NOSIGNAL);
        many[0].n = 0;
    } while (more(&many[0]) == 0 && (client_close(&many[0]), true));
    assert_true(many[0].n > 2);
    for (size_t i = 0; i < SANDBOX_DNS_TCP_MAX; i++)
        client_close(&many[i]);
}

static void
what_cannot_be_opened_is_75(void **state)
{
    struct world *w = *state;
    assert_int_equal(stop(w), 0);
    char captures[sizeof(w->captures)];
    memcpy(captures, w->captures, sizeof(captures));
    strcpy(w->captures, "/nowhere/at/all");
    start(w, NULL);
    int status;
    assert_int_equal(waitpid(w->pid, &status, 0), w->pid); /* without being asked to end */
    assert_int_equal(WEXITSTATUS(status), 75);
    close(w->control);
    w->pid = 0;
    memcpy(w->captures, captures, sizeof(captures));
}

#define SANDBOX_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SANDBOX_TEST(mail_is_captured_as_it_came),
        SANDBOX_TEST(extensions_are_offered),
        SANDBOX_TEST(pipelined_and_bytewise_are_the_same),
        SANDBOX_TEST(magic_recipients_refuse),
        SANDBOX_TEST(drop_after_dot_keeps_the_copy),
        SANDBOX_TEST(slow_delays_each_reply),
        SANDBOX_TEST(starttls_secures_and_forgets),
        SANDBOX_TEST(bytes_behind_starttls_end_it),
        SANDBOX_TEST(mistakes_are_refused),
        SANDBOX_TEST(lines_that_are_none_end_it),
        SANDBOX_TEST(bare_line_ends_are_refused),
        SANDBOX_TEST(acknowledged_mail_survives_a_kill),
        SANDBOX_TEST(end_of_control_ends_sessions),
        SANDBOX_TEST(dns_answers_over_udp),
        SANDBOX_TEST(dns_answers_over_tcp),
        SANDBOX_TEST(delivery_finds_the_sandbox),
        SANDBOX_TEST(delivery_sees_rehearsed_failures),
        SANDBOX_TEST(long_keys_are_found),
        SANDBOX_TEST(silence_is_ended),
        SANDBOX_TEST(dns_connections_are_bounded),
        SANDBOX_TEST(what_cannot_be_opened_is_75),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
