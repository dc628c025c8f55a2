/* What a reload may not change is named; what it may is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/config/file.h"

#define SHA "2f0a9a8de3a2f3d0f1c7f5d49d3a1d0f5b6c7e8f90123456789abcdef0123456"
#define HOST "hostname = \"gw.example.org\";\n"
#define LISTEN "listeners = ( { kind = \"smtp\"; port = 587; } );\n"
#define REST                                                                                       \
    "tls = { cert = \"/c\"; key = \"/k\"; };\n"                                                    \
    "credentials = ( { user = \"u\"; tenant = \"t\"; senders = [ \"example.org\" ]; "              \
    "key_hash = \"" SHA "\"; } );\n"

static struct config_file *
parse(const char *text)
{
    struct config_file *f = config_file_parse("f", slice_str(text), CONFIG_LOOK_AT_TEXT);
    assert_int_equal(config_file_errors(f), 0);
    return f;
}

static void
check(const char *now, const char *next, unsigned errors, const char *wanted)
{
    struct config_file *a = parse(now), *b = parse(next);
    char *said = NULL;
    size_t n = 0;
    config_file_compare(b, a);
    assert_int_equal(config_file_errors(b), errors);
    FILE *to = open_memstream(&said, &n);
    config_file_print(b, to);
    fclose(to);
    if (strstr(said, wanted) == NULL)
        print_message("wanted:\n%s\nsaid:\n%s\n", wanted, said);
    assert_non_null(strstr(said, wanted));
    free(said);
    config_file_free(a);
    config_file_free(b);
}

static void
what_may_change(void **state)
{
    (void)state;
    check(HOST LISTEN REST, HOST LISTEN REST, 0, "");
    check(HOST LISTEN REST, "# a comment\n" HOST LISTEN REST, 0, "");
    check(HOST LISTEN REST,
          HOST LISTEN REST "retry = { first = \"2m\"; };\nlimits = { message_size = \"1MB\"; };\n"
                           "ndr = { from = \"example.org\"; };\n"
                           "queue = { on_uncertain = \"hold\"; };\n",
          0, "");
    check(HOST LISTEN REST,
          HOST LISTEN "tls = { cert = \"/c2\"; key = \"/k2\"; };\n"
                      "domains = ( { name = \"example.org\"; dkim = ( { selector = \"s\"; "
                      "file = \"/d\"; } ); } );\n"
                      "credentials = ( { user = \"v\"; tenant = \"w\"; senders = [ \"a.example\", "
                      "\"b.example\" ]; key_hash = \"" SHA "\"; } );\n",
          0, "");
}

static void
what_needs_a_restart(void **state)
{
    (void)state;
    check(HOST LISTEN REST, "hostname = \"other.example\";\n" LISTEN REST, 1,
          "f:1: hostname: changed: this needs a restart\n");
    check(HOST LISTEN REST, HOST LISTEN REST "workers = 3;\n", 1,
          "f:5: workers: changed: this needs a restart\n");
    check(HOST LISTEN REST, HOST LISTEN REST "state = \"/elsewhere\";\n", 1, "f:5: state: changed");
    check(HOST LISTEN REST "queue = { lease = \"5s\"; };\n", HOST LISTEN REST, 1,
          "f: queue.lease: changed");
    check(HOST LISTEN REST, HOST LISTEN REST "queue = { history_size = \"1GB\"; };\n", 1,
          "f:5: queue.history_size: changed");
    check(HOST LISTEN REST, HOST LISTEN REST "dns = { forward = \"192.0.2.1:53\"; };\n", 1,
          "f:5: dns.forward: changed");
    check(HOST LISTEN REST, HOST LISTEN REST "queue = { redis = \"unix:/r\"; };\n", 1,
          "f:5: queue.redis: changed");
}

static void
listeners_need_one_too(void **state)
{
    (void)state;
    check(
        HOST
        "listeners = ( { kind = \"smtp\"; port = 587; proxy_from = [ \"10.0.0.0/8\" ]; } );\n" REST,
        HOST
        "listeners = ( { kind = \"smtp\"; port = 587; proxy_from = [ \"10.0.0.0/9\" ]; } );\n" REST,
        1, "f:2: listeners[0].proxy_from: changed");
    check(HOST LISTEN REST, HOST "listeners = ( { kind = \"smtps\"; port = 465; } );\n" REST, 2,
          "f:2: listeners[0].kind: changed");
    check(HOST LISTEN REST,
          HOST "listeners = ( { kind = \"smtp\"; address = \"::1\"; port = 587; } );\n" REST, 1,
          "f:2: listeners[0].address: changed");
    check(HOST LISTEN REST,
          HOST "listeners = ( { kind = \"smtp\"; port = 587; }, { kind = \"http\"; port = 80; } "
               ");\n" REST,
          1, "f:2: listeners: 2 entries instead of 1: this needs a restart");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_may_change),
        cmocka_unit_test(what_needs_a_restart),
        cmocka_unit_test(listeners_need_one_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
