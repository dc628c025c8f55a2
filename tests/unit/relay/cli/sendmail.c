/* The options of sendmail(8) as its callers write them. */
#include "relay/cli/sendmail.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "relay/sys/base/bug.h"

enum { WORDS_MAX = 32 };

/* Words are given with single spaces between them. */
static bool
parse(struct sendmail_options *o, char *line, int *code)
{
    static char *words[WORDS_MAX + 1];
    int n = 0;
    for (char *at = line; at != NULL && n < WORDS_MAX; n++) {
        words[n] = at;
        at = strchr(at, ' ');
        if (at != NULL)
            *at++ = '\0';
    }
    words[n] = NULL;
    optind = 0; /* getopt begins anew */
    *code = EX_OK;
    return sendmail_parse(o, n, words, code);
}

static void
reads_what_callers_write(void **state)
{
    (void)state;
    static const struct {
        const char *line, *sender, *full_name, *as, *to;
        bool t, i;
    } ROWS[] = {
        /* PHP's default, and with its fifth argument */
        {"sendmail -t -i", NULL, NULL, NULL, NULL, true, true},
        {"sendmail -t -i -fweb@example.com", "web@example.com", NULL, NULL, NULL, true, true},
        /* cron of Debian, mailx, s-nail */
        {"sendmail -i -FCronDaemon -B8BITMIME -oem root", NULL, "CronDaemon", NULL, "root", false,
         true},
        {"sendmail -i anna@x.example", NULL, NULL, NULL, "anna@x.example", false, true},
        {"send-mail -i -- anna@x.example", NULL, NULL, NULL, "anna@x.example", false, true},
        {"sendmail -oi -oem -odb -bm -r a@b.example x", "a@b.example", NULL, NULL, "x", false,
         true},
        {"sendmail -O DeliveryMode=b -N never -R hdrs -V id -v -U -h 3 -L tag -X /dev/null x", NULL,
         NULL, NULL, "x", false, false},
        {"sendmail -f <> --as shop x", "", NULL, "shop", "x", false, false},
        /* Behind the first recipient there are no options. */
        {"sendmail x -fy -t", NULL, NULL, NULL, "x", false, false},
        {"sendmail -- -t", NULL, NULL, NULL, "-t", false, false},
    };
    for (size_t k = 0; k < ARRAY_LEN(ROWS); k++) {
        struct sendmail_options o;
        char line[256];
        int code;
        snprintf(line, sizeof line, "%s", ROWS[k].line);
        if (!parse(&o, line, &code))
            fail_msg("%s", ROWS[k].line);
        assert_int_equal(o.recipients_from_header, ROWS[k].t);
        assert_int_equal(o.dots_are_text, ROWS[k].i);
        assert_true(slice_eq(slice_str(o.sender), slice_str(ROWS[k].sender)));
        assert_true((o.sender == NULL) == (ROWS[k].sender == NULL));
        assert_true(slice_eq(slice_str(o.full_name), slice_str(ROWS[k].full_name)));
        assert_true(slice_eq(slice_str(o.as), slice_str(ROWS[k].as)));
        assert_true((o.to_count > 0) == (ROWS[k].to != NULL));
        if (o.to_count > 0)
            assert_string_equal(o.to[0], ROWS[k].to);
        assert_false(o.list_queue);
    }
}

static void
refuses_what_it_is_not(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        int code;
    } ROWS[] = {{"sendmail -bs", EX_USAGE},       {"sendmail -bd", EX_USAGE},
                {"sendmail -bi", EX_USAGE},       {"sendmail -f", EX_USAGE},
                {"sendmail --unknown", EX_USAGE}, {"sendmail -q", EX_USAGE},
                {"sendmail --help", EX_OK}};
    struct sendmail_options o;
    char line[256];
    int code;
    for (size_t k = 0; k < ARRAY_LEN(ROWS); k++) {
        snprintf(line, sizeof line, "%s", ROWS[k].line);
        assert_false(parse(&o, line, &code));
        assert_int_equal(code, ROWS[k].code);
    }
    snprintf(line, sizeof line, "sendmail -bp");
    assert_true(parse(&o, line, &code));
    assert_true(o.list_queue);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_callers_write),
        cmocka_unit_test(refuses_what_it_is_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
