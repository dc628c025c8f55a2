#include "api/http/host.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "relay/sys/base/bug.h"

static const struct {
    const char *bound, *hostname, *host;
    enum host_answer answer;
} ROWS[] = {
    {"127.0.0.1:8025", NULL, "localhost:8025", HOST_OURS},
    {"127.0.0.1:8025", NULL, "LocalHost:8025", HOST_OURS},
    {"127.0.0.1:8025", NULL, "127.0.0.1:8025", HOST_OURS},
    {"127.0.0.1:8025", NULL, "[::1]:8025", HOST_OURS},
    {"[::1]:8025", NULL, "127.0.0.1:8025", HOST_OURS},
    {"192.0.2.7:8025", NULL, "192.0.2.7:8025", HOST_OURS},
    {"[2001:db8::7]:8025", NULL, "[2001:db8:0::7]:8025", HOST_OURS},
    {"192.0.2.7:8025", "mail.example", "mail.example:8025", HOST_OURS},
    {"127.0.0.1:80", NULL, "localhost", HOST_OURS},
    /* DNS rebinding: the browser's name is not ours */
    {"127.0.0.1:8025", NULL, "evil.example:8025", HOST_FOREIGN},
    {"127.0.0.1:8025", "mail.example", "evil.example:8025", HOST_FOREIGN},
    {"127.0.0.1:8025", NULL, "localhost.evil.example:8025", HOST_FOREIGN},
    {"127.0.0.1:8025", NULL, "localhost.:8025", HOST_FOREIGN},
    {"127.0.0.1:8025", NULL, "127.0.0.1.evil.example:8025", HOST_FOREIGN},
    {"127.0.0.1:8025", NULL, "192.0.2.7:8025", HOST_FOREIGN},
    {"127.0.0.1:8025", NULL, "localhost:8026", HOST_FOREIGN},
    {"127.0.0.1:8025", NULL, "localhost", HOST_FOREIGN},
    {"127.0.0.1:8025", NULL, "0:8025", HOST_FOREIGN},
    {"127.0.0.1:8025", NULL, "[]:8025", HOST_FOREIGN},
    {"127.0.0.1:8025", NULL, "localhost:", HOST_MALFORMED},
    {"127.0.0.1:8025", NULL, "localhost:0", HOST_MALFORMED},
    {"127.0.0.1:8025", NULL, "localhost:65536", HOST_MALFORMED},
    {"127.0.0.1:8025", NULL, "localhost:x", HOST_MALFORMED},
    {"127.0.0.1:8025", NULL, "localhost:8025:1", HOST_MALFORMED},
    {"127.0.0.1:8025", NULL, ":8025", HOST_MALFORMED},
    {"127.0.0.1:8025", NULL, "[::1:8025", HOST_MALFORMED},
    {"127.0.0.1:8025", NULL, "[::1]x:8025", HOST_MALFORMED},
    {"127.0.0.1:8025", NULL, "", HOST_MALFORMED},
};

static void
answers(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        struct net_address bound;
        assert_true(net_address_parse(slice_str(ROWS[i].bound), &bound));
        enum host_answer a = host_check(slice_str(ROWS[i].host), &bound, ROWS[i].hostname);
        if (a != ROWS[i].answer)
            fail_msg("row %zu: %s gave %d", i, ROWS[i].host, a);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(answers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
