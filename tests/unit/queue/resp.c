/* What Redis' errors mean, and the guard before hiredis' reader. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "queue/resp.h"
#include "relay/sys/base/bug.h"

static void
errors_have_their_class(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum resp_class class;
    } CASES[] = {
        {"OOM command not allowed when used memory > 'maxmemory'.", RESP_NO_ROOM},
        {"MISCONF Errors writing to the AOF file: No space left on device", RESP_NO_ROOM},
        {"LOADING Redis is loading the dataset in memory", RESP_AWAY},
        {"BUSY Redis is busy running a script.", RESP_AWAY},
        {"READONLY You can't write against a read only replica.", RESP_AWAY},
        {"MASTERDOWN Link with MASTER is down", RESP_AWAY},
        {"NOREPLICAS Not enough good replicas to write.", RESP_AWAY},
        {"CLUSTERDOWN Hash slot not served", RESP_AWAY},
        {"ERR max number of clients reached", RESP_AWAY},
        {"NOSCRIPT No matching script.", RESP_NO_SCRIPT},
        {"NOAUTH Authentication required.", RESP_FORBIDDEN},
        {"NOPERM this user has no permissions", RESP_FORBIDDEN},
        {"WRONGTYPE Operation against a key", RESP_UNEXPECTED},
        {"ERR unknown command", RESP_UNEXPECTED},
        {"OOMPH", RESP_UNEXPECTED},
        {"", RESP_UNEXPECTED},
    };
    for (size_t i = 0; i < ARRAY_LEN(CASES); i++)
        assert_int_equal(resp_classify(slice_str(CASES[i].text)), CASES[i].class);
}

static bool
guard(struct slice bytes, size_t step)
{
    struct resp_guard g;
    resp_guard_init(&g);
    while (bytes.n > 0)
        if (!resp_guard_feed(&g, slice_cut(&bytes, step)))
            return false;
    return true;
}

static void
sane_replies_pass_however_they_are_cut(void **state)
{
    (void)state;
    static const char SANE[] = "+OK\r\n:12\r\n-ERR no\r\n$5\r\n$9999\r\n*2\r\n$-1\r\n"
                               "*1\r\n$2\r\n\r\n\r\n*-1\r\n$0\r\n\r\n:-5\r\n";
    for (size_t step = 1; step < sizeof SANE; step++)
        assert_true(guard(SLICE(SANE), step));
}

/* RDS-18: what only a stranger would say. */
static void
absurd_replies_are_refused(void **state)
{
    (void)state;
    static const char *const BAD[] = {
        "HTTP/1.1 400 Bad Request\r\n",
        "*2147483647\r\n",
        "*1048577\r\n",
        "$9000000000\r\n",
        "$67108865\r\n",
        "$12a\r\n",
        "$-2\r\n",
        "*-2\r\n",
        "\r\n",
        "$99999999999999999999999999999999999999999\r\n",
        "%2\r\n",
        "$\r\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(BAD); i++)
        for (size_t step = 1; step < 12; step++)
            assert_false(guard(slice_str(BAD[i]), step));
}

static void
a_line_without_an_end_is_refused(void **state)
{
    (void)state;
    struct resp_guard g;
    resp_guard_init(&g);
    char flood[1024];
    for (size_t i = 0; i < sizeof flood; i++)
        flood[i] = '+';
    unsigned fed = 0;
    while (resp_guard_feed(&g, slice_from(flood, sizeof flood)))
        assert_in_range(++fed, 1, 64);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_have_their_class),
        cmocka_unit_test(sane_replies_pass_however_they_are_cut),
        cmocka_unit_test(absurd_replies_are_refused),
        cmocka_unit_test(a_line_without_an_end_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
