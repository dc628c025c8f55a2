/*
 * ADR-03, ADR-04: every entry point says the same about each address of
 * golden/addresses.txt. Run from the root of the repository.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "relay/sys/base/arena.h"
#include "relay/wire/address.h"

enum { LINE_MAX_HERE = 2048, LEAST_ADDRESSES = 150 };

struct row {
    char memory[3][LINE_MAX_HERE];
    char verdict[16];
    struct slice address, canonical;
};

/* \xNN and \\ of the file. */
static struct slice
unescape(struct slice s, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        char hex[3] = {0};
        if (s.p[i] != '\\') {
            out[n++] = s.p[i];
        } else if (s.p[i + 1] == '\\') {
            out[n++] = '\\';
            i++;
        } else {
            memcpy(hex, s.p + i + 2, 2);
            out[n++] = (char)strtoul(hex, NULL, 16);
            i += 3;
        }
    }
    return slice_from(out, n);
}

static bool
next_row(FILE *f, struct row *r)
{
    do
        if (fgets(r->memory[0], LINE_MAX_HERE, f) == NULL)
            return false;
    while (r->memory[0][0] == '#');
    struct slice line = slice_str(r->memory[0]);
    line.n -= line.p[line.n - 1] == '\n';
    assert_true(slice_to_cstr(slice_cut_at(&line, '\t'), r->verdict, sizeof r->verdict));
    r->address = unescape(slice_cut_at(&line, '\t'), r->memory[1]);
    r->canonical = unescape(line, r->memory[2]);
    return true;
}

static bool
is_canonical(const struct mailbox *m, const struct row *r)
{
    struct buf out;
    buf_init(&out, LINE_MAX_HERE);
    assert_true(address_format_canonical(m, &out));
    bool same = slice_eq(r->canonical, SLICE("?")) || slice_eq(buf_slice(&out), r->canonical);
    if (!same)
        print_message("%.*s\n", SLICE_FMT(buf_slice(&out)));
    buf_fini(&out);
    return same;
}

/* A request, and the suppression list. */
static bool
from_request(const struct row *r, struct arena *arena, bool literal)
{
    struct mailbox m;
    return address_parse(r->address, arena, &m, NULL) == PARSE_OK && m.literal == literal &&
           is_canonical(&m, r);
}

static bool
from_field(const struct row *r, struct arena *arena)
{
    struct address_list list;
    return address_list_parse(r->address, arena, &list, NULL) == PARSE_OK && list.n == 1 &&
           is_canonical(&list.v[0], r);
}

/* MAIL and RCPT: the address in brackets, and nothing behind it. */
static bool
from_path(const struct row *r, struct arena *arena, bool reverse)
{
    char text[LINE_MAX_HERE];
    struct path p;
    text[0] = '<';
    memcpy(text + 1, r->address.p, r->address.n);
    text[r->address.n + 1] = '>';
    struct slice in = slice_from(text, r->address.n + 2);
    enum parse got =
        reverse ? path_cut_reverse(&in, arena, &p, NULL) : path_cut_forward(&in, arena, &p, NULL);
    return got == PARSE_OK && p.kind == PATH_MAILBOX && !p.source_route && in.n == 0 &&
           is_canonical(&p.mailbox, r);
}

static bool
is_as_said(const struct row *r, struct arena *arena)
{
    bool literal = strcmp(r->verdict, "literal") == 0;
    bool everywhere = literal || strcmp(r->verdict, "ok") == 0;
    bool field = everywhere || strcmp(r->verdict, "header") == 0;
    return from_request(r, arena, literal) == everywhere &&
           from_path(r, arena, true) == everywhere && from_path(r, arena, false) == everywhere &&
           from_field(r, arena) == field;
}

static void
all_entry_points_agree(void **state)
{
    (void)state;
    static struct row r;
    struct arena arena;
    unsigned count = 0, wrong = 0;
    FILE *f = fopen("tests/unit/relay/wire/golden/addresses.txt", "r");
    assert_non_null(f);
    for (; next_row(f, &r); count++) {
        arena_init(&arena, 1 << 16);
        if (!is_as_said(&r, &arena)) {
            print_message("not %s: %.*s (request %d, paths %d %d, field %d)\n", r.verdict,
                          SLICE_FMT(r.address), from_request(&r, &arena, false),
                          from_path(&r, &arena, true), from_path(&r, &arena, false),
                          from_field(&r, &arena));
            wrong++;
        }
        arena_fini(&arena);
    }
    fclose(f);
    assert_true(count >= LEAST_ADDRESSES);
    assert_int_equal(wrong, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_entry_points_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
