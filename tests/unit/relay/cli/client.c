/* The exchange with a gateway that does what a script says, and where it is looked for. */
#include "relay/cli/client.h"

#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sysexits.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "tests/unit/support/http_client.h"
#include "tests/unit/support/temp_dir.h"

/* What each connection gets, in order; NULL: nothing, and it stays open. "": it
 * is closed at once. */
struct world {
    struct temp_dir dir;
    struct net_address at;
    const char *const *script;
    unsigned connections;
    int listen_fd, open_fd;
    char asked[1024]; /* of the last connection */
    pthread_t thread;
};

static void *
serve(void *arg)
{
    struct world *w = arg;
    for (unsigned i = 0; i < w->connections; i++) {
        int fd = accept(w->listen_fd, NULL, NULL);
        if (fd < 0)
            break;
        ssize_t n = recv(fd, w->asked, sizeof w->asked - 1, 0);
        w->asked[n > 0 ? n : 0] = '\0';
        if (w->script[i] == NULL) {
            w->open_fd = fd;
            continue;
        }
        assert_true(send(fd, w->script[i], strlen(w->script[i]), MSG_NOSIGNAL) >= 0);
        close(fd);
    }
    return NULL;
}

static void
world_start(struct world *w, const char *const *script, unsigned connections)
{
    *w = (struct world){.script = script, .connections = connections, .open_fd = -1};
    temp_dir_make(&w->dir);
    w->at.kind = NET_UNIX;
    snprintf(w->at.path, sizeof w->at.path, "%.80s/s", w->dir.path);
    struct err err;
    w->listen_fd = net_listen(&w->at, false, false, &err);
    assert_true(w->listen_fd >= 0);
    int flags = fcntl(w->listen_fd, F_GETFL);
    fcntl(w->listen_fd, F_SETFL, flags & ~O_NONBLOCK);
    assert_int_equal(pthread_create(&w->thread, NULL, serve, w), 0);
}

static void
world_end(struct world *w)
{
    pthread_join(w->thread, NULL);
    close(w->listen_fd);
    if (w->open_fd >= 0)
        close(w->open_fd);
    temp_dir_remove(&w->dir);
}

static void
asks_and_reads(void **state)
{
    (void)state;
    static const char *const SCRIPT[] = {
        "HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}what follows is not the answer"};
    struct world w;
    struct client_answer a;
    struct err err;
    struct client_request q = {.method = "POST",
                               .path = "/v1/messages?a=b",
                               .credential = "shop",
                               .idempotency_key = "k",
                               .content_type = "application/json",
                               .body = SLICE("{\"x\":1}")};
    world_start(&w, SCRIPT, 1);
    assert_int_equal(client_ask(&w.at, &q, &a, &err), 0);
    assert_int_equal(a.status, 202);
    assert_true(slice_eq(buf_slice(&a.body), SLICE("{}")));
    buf_fini(&a.body);
    world_end(&w);
    assert_non_null(strstr(w.asked, "POST /v1/messages?a=b HTTP/1.1\r\n"));
    assert_non_null(strstr(w.asked, "X-Stagepost-Credential: shop\r\nIdempotency-Key: k\r\n"));
    assert_non_null(strstr(w.asked, "Content-Length: 7\r\n\r\n"));
}

static void
names_each_failure(void **state)
{
    (void)state;
    static const struct {
        const char *answer;
        enum err_code code;
        int exit_code;
    } ROWS[] = {
        {"", ERR_UNKNOWN, EX_TEMPFAIL},
        {"HTTP/1.1 200 OK\r\nContent-", ERR_UNKNOWN, EX_TEMPFAIL},
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", ERR_UNKNOWN, EX_TEMPFAIL},
        {"220 mx.example ESMTP\r\n\r\n", ERR_BAD, EX_SOFTWARE},
        {"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n", ERR_FULL, EX_DATAERR},
        {NULL, ERR_TIMEOUT, EX_TEMPFAIL},
    };
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        struct world w;
        struct client_answer a;
        struct err err;
        struct client_request q = {.method = "GET", .path = "/", .timeout_ms = 200};
        q.timeout_ms = ROWS[i].answer == NULL ? q.timeout_ms : 0;
        world_start(&w, &ROWS[i].answer, 1);
        assert_int_equal(client_ask(&w.at, &q, &a, &err), -1);
        assert_int_equal(err.code, ROWS[i].code);
        assert_int_equal(client_exit_of_err(&err), ROWS[i].exit_code);
        buf_fini(&a.body);
        world_end(&w);
    }
}

static void
nobody_is_there(void **state)
{
    (void)state;
    struct temp_dir dir;
    struct net_address at = {.kind = NET_UNIX};
    struct client_answer a;
    struct err err;
    struct client_request q = {.method = "GET", .path = "/"};
    temp_dir_make(&dir);
    snprintf(at.path, sizeof at.path, "%.80s/s", dir.path);
    for (int stale = 0; stale < 2; stale++) {
        if (stale == 1)
            close(net_listen(&at, false, false, &err)); /* as after kill -9 */
        assert_int_equal(client_ask(&at, &q, &a, &err), -1);
        assert_int_equal(err.code, ERR_AWAY);
        assert_int_equal(client_exit_of_err(&err), EX_UNAVAILABLE);
        buf_fini(&a.body);
    }
    temp_dir_remove(&dir);
}

/* A lost answer and a gateway that is being started are waited for; the request
 * carries a key, so that it cannot count twice. */
static void
is_patient(void **state)
{
    (void)state;
    static const char *const SCRIPT[] = {
        "",
        "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 1\r\n\r\n",
        "HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}",
    };
    static const char *const REFUSAL[] = {"HTTP/1.1 422 No\r\nContent-Length: 0\r\n\r\n"};
    struct world w;
    struct client_answer a;
    struct err err;
    struct client_request q = {.method = "POST", .path = "/", .idempotency_key = "k"};
    world_start(&w, SCRIPT, 3);
    assert_int_equal(client_ask_patiently(&w.at, &q, &a, &err), 0);
    assert_int_equal(a.status, 202);
    buf_fini(&a.body);
    world_end(&w);
    world_start(&w, REFUSAL, 1);
    assert_int_equal(client_ask_patiently(&w.at, &q, &a, &err), 0);
    assert_int_equal(a.status, 422);
    buf_fini(&a.body);
    world_end(&w);
}

static void
words_every_status(void **state)
{
    (void)state;
    static const struct {
        unsigned status;
        int code;
    } ROWS[] = {{200, EX_OK},       {202, EX_OK},       {204, EX_OK},       {400, EX_DATAERR},
                {401, EX_NOPERM},   {403, EX_NOPERM},   {404, EX_NOINPUT},  {409, EX_DATAERR},
                {413, EX_DATAERR},  {422, EX_DATAERR},  {429, EX_TEMPFAIL}, {500, EX_SOFTWARE},
                {503, EX_TEMPFAIL}, {504, EX_TEMPFAIL}, {300, EX_DATAERR}};
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++)
        assert_int_equal(client_exit_of_status(ROWS[i].status), ROWS[i].code);
}

/* ---- finding it ---------------------------------------------------------------- */

static void
touch(const char *dir, const char *name, const char *text)
{
    char path[300];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void
finds_the_gateway(void **state)
{
    (void)state;
    struct temp_dir dir;
    struct client_place p;
    struct err err;
    char file[300], text[400], wanted[300], longer[300];
    temp_dir_make(&dir);
    snprintf(text, sizeof text, "hostname = \"mail.example\";\nstate = \"%s/s\";\n", dir.path);
    touch(dir.path, "conf", text);
    snprintf(file, sizeof file, "%s/conf", dir.path);
    snprintf(wanted, sizeof wanted, "%s/s/run/control.sock", dir.path);
    unsetenv("STAGEPOST_STATE");
    assert_int_equal(client_find(&p, NULL, file, &err), 0);
    assert_string_equal(p.socket.path, wanted);
    assert_string_equal(p.hostname, "mail.example");
    assert_false(p.development);

    touch(dir.path, "development", "");
    setenv("STAGEPOST_STATE", dir.path, 1);
    snprintf(wanted, sizeof wanted, "%s/run/control.sock", dir.path);
    assert_int_equal(client_find(&p, NULL, NULL, &err), 0);
    assert_string_equal(p.socket.path, wanted);
    assert_true(p.development);
    assert_string_equal(p.credential, "dev");
    assert_int_equal(client_find(&p, "/tmp/other", NULL, &err), 0);
    assert_string_equal(p.socket.path, "/tmp/other/run/control.sock");
    unsetenv("STAGEPOST_STATE");

    memset(longer, 'x', sizeof longer);
    longer[90] = '\0'; /* with run/control.sock behind it */
    assert_int_equal(client_find(&p, longer, NULL, &err), 0);
    longer[90] = 'x';
    longer[92] = '\0';
    assert_int_equal(client_find(&p, longer, NULL, &err), -1);
    assert_int_equal(client_exit_of_err(&err), EX_CONFIG);
    assert_int_equal(client_find(&p, NULL, "/proc/none/conf", &err), -1);
    temp_dir_remove(&dir);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(asks_and_reads),     cmocka_unit_test(names_each_failure),
        cmocka_unit_test(nobody_is_there),    cmocka_unit_test(is_patient),
        cmocka_unit_test(words_every_status), cmocka_unit_test(finds_the_gateway),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
