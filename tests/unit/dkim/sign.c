/* Signatures over messages of many shapes, verified by dkimpy; refusals. */
#include "dkim/sign.h"

#include "tests/unit/support/dkim_support.h"

#include <malloc.h>
#include <time.h>

#include "dkim/keyshim.h"
#include "relay/sys/base/bug.h"

/* With a PEM text libopendkim 2.11 loses a whole Ed25519 key per signature. */
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#define LEAK_CHECK(on) ((on) ? __lsan_enable() : __lsan_disable())
#else
#define LEAK_CHECK(on) ((void)(on))
#endif

#define BOTH_OK "rsa-sha256=ok ed25519-sha256=ok"
#define BOTH_BAD "rsa-sha256=bad ed25519-sha256=bad"
#define HEAD "From: Anna <anna@example.org>\r\nTo: bob@example.net\r\nSubject: x\r\n"

struct fixture {
    struct dkim_dir dir;
    struct keyset *keys;
    struct sign_engine *engine;
    struct buf fields;
    struct err err;
};

static int
set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    dkim_dir_init(&f->dir);
    f->keys = keyset_load(f->dir.specs, 2, &f->err);
    assert_non_null(f->keys);
    f->engine = sign_engine_new(f->keys, &f->err);
    assert_non_null(f->engine);
    buf_init(&f->fields, SIGN_FIELDS_BYTES_MAX);
    *state = f;
    return 0;
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;
    buf_fini(&f->fields);
    sign_engine_free(f->engine);
    keyset_free(f->keys);
    dkim_dir_fini(&f->dir);
    free(f);
    return 0;
}

/* Signs in pieces of `piece` bytes and keeps the result for dkimpy. */
static void
sign_and_keep(struct fixture *f, const char *name, struct slice message, size_t piece)
{
    struct sign_job *j = NULL;
    struct slice rest = message;
    assert_int_equal(sign_job_new(f->engine, SLICE("example.org"), &j, &f->err), SIGN_OK);
    while (rest.n > 0) {
        enum sign_status status = sign_job_feed(j, slice_cut(&rest, piece), &f->err);
        if (status != SIGN_OK)
            fail_msg("%s: %s", name, f->err.text);
    }
    buf_clear(&f->fields);
    if (sign_job_finish(j, &f->fields, &f->err) != SIGN_OK)
        fail_msg("%s: %s", name, f->err.text);
    sign_job_free(j);
    dkim_dir_add(&f->dir, name, buf_slice(&f->fields), message);
}

static void
all_verify(struct fixture *f, const char *judgement)
{
    assert_int_equal(dkim_dir_verify(&f->dir, judgement), f->dir.messages);
}

static void
shapes_of_headers_verify(void **state)
{
    struct fixture *f = *state;
    const char *const messages[] = {
        HEAD "\r\nbody\r\n",
        "from:a@example.org\r\nSUBJECT:\tx\r\n\r\nbody\r\n",
        "From: a@example.org\r\nSubject:\r\n folded\r\n\tagain  and\t again \r\n\r\nbody\r\n",
        "From: a@example.org\r\nSubject: x\r\n \r\n y\r\n\r\nonly white space on a line\r\n",
        "From: a@example.org\r\nSubject: x\r\n \r\n\r\nwhite space at the end\r\n",
        "From: a@example.org\r\nSubject:\r\nTo: \t \r\n\r\nempty fields\r\n",
        "From: \xc3\xa9t\xc3\xa9 <a@example.org>\r\nSubject: \xc2\xa0\x85 \xff\r\n\r\n8-bit\r\n",
        "From: a@example.org\r\nSubject: a: b; h=x; b=\r\n\r\ntags in a field\r\n",
        "From: a@example.org\r\nSubject: 1\r\nSubject: 2\r\nTo: c@d\r\nTo: e@f\r\n\r\ndoubled\r\n",
        "From: a@example.org\r\nSubject:::\r\n\r\ncolons\r\n",
        "Received: x\r\nX-A: b\r\nX-Y:\r\n z\r\nReturn-Path: <>\r\n" HEAD "\r\nunsigned ones\r\n",
        "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nDate: Mon, 1 Jan 2024 "
        "00:00:00 +0000\r\nMessage-ID: <a@b>\r\nCc: c@d\r\nReply-To: r@s\r\n" HEAD "\r\nall\r\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(messages); i++)
        sign_and_keep(f, "header", slice_str(messages[i]), SIGN_PIECE_BYTES);
    all_verify(f, BOTH_OK);
}

static void
shapes_of_bodies_verify(void **state)
{
    struct fixture *f = *state;
    const char *const messages[] = {
        HEAD,
        HEAD "\r\n",
        HEAD "\r\n\r\n",
        HEAD "\r\n\r\n\r\n\r\n",
        HEAD "\r\n \r\n\t\r\n",
        HEAD "\r\n  leading and trailing \t \r\n",
        HEAD "\r\na\r\n\r\n\r\n",
        HEAD "\r\na\r\n \r\n\t \r\n",
        HEAD "\r\n\r\n\r\na\r\n\r\nb\r\n",
        HEAD "\r\na \t b\r\n\tc\r\n",
        HEAD "\r\n.\r\n..\r\n",
        HEAD "\r\nform\ffeed\vtab \f\r\n\f\r\n\x01\x1b[0m\x7f\r\n",
        HEAD "\r\n\xc3\xa9 \xc2\xa0 \x85 \xff\xfe\r\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(messages); i++)
        sign_and_keep(f, "body", slice_str(messages[i]), SIGN_PIECE_BYTES);
    all_verify(f, BOTH_OK);
}

static void
add_lines(struct buf *b, size_t line_bytes, unsigned count)
{
    for (unsigned n = 0; n < count; n++) {
        for (size_t i = 0; i < line_bytes; i++)
            buf_add_char(b, i % 61 == 60 ? ' ' : (char)('a' + (i + n) % 26));
        buf_add_str(b, "\r\n");
    }
}

static void
long_lines_and_many_fields_verify(void **state)
{
    struct fixture *f = *state;
    struct buf b;
    buf_init(&b, 4 << 20);
    buf_add_str(&b, HEAD "\r\n");
    add_lines(&b, 998, 3);
    sign_and_keep(f, "line998", buf_slice(&b), SIGN_PIECE_BYTES);
    add_lines(&b, 77, 30000);
    sign_and_keep(f, "large", buf_slice(&b), SIGN_PIECE_BYTES);
    buf_clear(&b);
    buf_add_str(&b, HEAD);
    for (int i = 0; i < SIGN_FIELDS_MAX - 3; i++) /* the longest name, so the longest h= */
        buf_addf(&b, "Content-Transfer-Encoding: %d\r\n", i);
    for (int i = 0; i < HEADER_FIELDS_MAX - SIGN_FIELDS_MAX; i++)
        buf_addf(&b, "X-Field-%d: value\r\n", i);
    buf_add_str(&b, "\r\nbody\r\n");
    sign_and_keep(f, "fields", buf_slice(&b), SIGN_PIECE_BYTES);
    buf_clear(&b);
    buf_add_str(&b, HEAD "References:");
    while (buf_slice(&b).n < HEADER_FIELD_MAX - 100)
        buf_add_str(&b, "\r\n <0123456789.0123456789.0123456789@mail.example.org>");
    buf_add_str(&b, "\r\n\r\nbody\r\n");
    sign_and_keep(f, "field64k", buf_slice(&b), 1000);
    buf_fini(&b);
    all_verify(f, BOTH_OK);
}

static void
pieces_may_be_cut_anywhere(void **state)
{
    struct fixture *f = *state;
    struct slice message = SLICE("X-A: b\r\n" HEAD "\r\na \r\n\r\n b  c\r\n\r\n\r\nd\r\n\r\n");
    for (size_t piece = 1; piece < 20; piece++)
        sign_and_keep(f, "pieces", message, piece);
    sign_and_keep(f, "pieces", message, message.n);
    all_verify(f, BOTH_OK);
}

static void
without_the_shim_the_same_is_signed(void **state)
{
    struct fixture *f = *state;
    assert_true(sign_engine_uses_shim(f->engine));
    uint64_t before = keyshim_reads();
    sign_and_keep(f, "shim", SLICE(HEAD "\r\nbody\r\n"), SIGN_PIECE_BYTES);
    assert_int_equal(keyshim_reads(), before + 2);
    sign_engine_avoid_shim(f->engine);
    assert_false(sign_engine_uses_shim(f->engine));
    LEAK_CHECK(false);
    sign_and_keep(f, "pem", SLICE(HEAD "\r\nbody\r\n"), SIGN_PIECE_BYTES);
    LEAK_CHECK(true);
    assert_int_equal(keyshim_reads(), before + 2);
    all_verify(f, BOTH_OK);
}

static void
nothing_can_be_added_or_changed(void **state)
{
    struct fixture *f = *state;
    struct slice message = SLICE(HEAD "\r\nbody\r\n");
    const char *const changed[] = {
        "From: eve@example.com\r\n" HEAD "\r\nbody\r\n",
        HEAD "From: eve@example.com\r\n\r\nbody\r\n",
        "Subject: y\r\n" HEAD "\r\nbody\r\n",
        "Cc: eve@example.com\r\n" HEAD "\r\nbody\r\n",
        "Date: Mon, 1 Jan 2024 00:00:00 +0000\r\n" HEAD "\r\nbody\r\n",
        "Reply-To: eve@example.com\r\n" HEAD "\r\nbody\r\n",
        "Message-ID: <x@y>\r\n" HEAD "\r\nbody\r\n",
        "MIME-Version: 1.0\r\n" HEAD "\r\nbody\r\n",
        "Content-Type: text/html\r\n" HEAD "\r\nbody\r\n",
        "Content-Transfer-Encoding: base64\r\n" HEAD "\r\nbody\r\n",
        "List-Unsubscribe: <https://e.example>\r\n" HEAD "\r\nbody\r\n",
        "List-Unsubscribe-Post: x\r\n" HEAD "\r\nbody\r\n",
    };
    buf_clear(&f->fields);
    assert_int_equal(sign_message(f->engine, SLICE("example.org"), message, &f->fields, &f->err),
                     SIGN_OK);
    for (size_t i = 0; i < ARRAY_LEN(changed); i++)
        dkim_dir_add(&f->dir, "changed", buf_slice(&f->fields), slice_str(changed[i]));
    all_verify(f, BOTH_BAD);
}

static void
what_changes_on_the_way_is_not_signed(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(sign_message(f->engine, SLICE("example.org"),
                                  SLICE("Received: by a\r\nSender: s@t\r\n" HEAD "\r\nbody\r\n"),
                                  &f->fields, &f->err),
                     SIGN_OK);
    dkim_dir_add(&f->dir, "trace", buf_slice(&f->fields),
                 SLICE("Received: by b\r\nX-Spam: no\r\nReceived: by a\r\nSender:  s@t\r\n"
                       "Bcc: z@y\r\n" HEAD "\r\nbody \r\n\r\n"));
    all_verify(f, BOTH_OK);
}

/* RFC 8463 A.2 and RFC 6376 A.2 have this body, and its hash. */
static void
body_hash_of_the_rfc_comes_out(void **state)
{
    struct fixture *f = *state;
    struct slice message = SLICE("From: Joe SixPack <joe@football.example.com>\r\n\r\nHi.\r\n\r\n"
                                 "We lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n");
    assert_int_equal(
        sign_message(f->engine, SLICE("football.example.com"), message, &f->fields, &f->err),
        SIGN_OK);
    struct slice fields = buf_slice(&f->fields);
    struct slice hash = SLICE("bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=");
    size_t first = slice_find_slice(fields, hash);
    assert_true(first < fields.n);
    fields = slice_skip(fields, first + hash.n);
    assert_true(slice_find_slice(fields, hash) < fields.n);
}

static void
fields_are_ready_to_send(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(sign_message(f->engine, SLICE("EXAMPLE.Org"), SLICE(HEAD "\r\nbody\r\n"),
                                  &f->fields, &f->err),
                     SIGN_OK);
    struct slice all = buf_slice(&f->fields);
    unsigned fields = 0;
    assert_true(slice_find_slice(all, SLICE(" d=example.org;")) < all.n);
    assert_true(slice_find_slice(all, SLICE("l=")) == all.n ||
                slice_find_slice(all, SLICE("; l=")) == all.n);
    while (all.n > 0) {
        size_t n = slice_find_slice(all, SLICE("\r\n"));
        assert_in_range(n, 1, 78);
        struct slice line = slice_cut(&all, n + 2);
        assert_int_equal(slice_find(line, '\n'), n + 1);
        if (slice_starts(line, SLICE("DKIM-Signature: v=1;")))
            fields++;
        else
            assert_true(line.p[0] == ' ' || line.p[0] == '\t');
    }
    assert_int_equal(fields, 2);
}

static void
refused(struct fixture *f, struct slice message, const char *why)
{
    buf_clear(&f->fields);
    buf_add_str(&f->fields, "kept");
    err_clear(&f->err);
    assert_int_equal(sign_message(f->engine, SLICE("example.org"), message, &f->fields, &f->err),
                     SIGN_REFUSED);
    if (strstr(f->err.text, why) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", f->err.text, why);
    assert_true(slice_eq(buf_slice(&f->fields), SLICE("kept")));
}

static void
what_would_be_signed_wrongly_is_refused(void **state)
{
    struct fixture *f = *state;
    refused(f, SLICE(""), "no From");
    refused(f, SLICE("\r\nFrom: a@b\r\n"), "no From");
    refused(f, SLICE("Subject: x\r\n\r\nbody\r\n"), "no From");
    refused(f, SLICE("From: a@b\r\nFrom: c@d\r\n\r\nbody\r\n"), "more than one From");
    refused(f, SLICE("From : a@b\r\n\r\nbody\r\n"), "space before its colon");
    refused(f, SLICE("From: a@b\r\ngarbage\r\n\r\nbody\r\n"), "no field");
    refused(f, SLICE("From: a@b\nSubject: x\r\n\r\nbody\r\n"), "bare LF");
    refused(f, SLICE("From: a@b\rSubject: x\r\n\r\nbody\r\n"), "bare CR");
    refused(f, SLICE(HEAD "\r\nbo\ndy\r\n"), "bare LF");
    refused(f, SLICE(HEAD "\r\nbo\rdy\r\n"), "bare CR");
    refused(f, SLICE(HEAD "\r\nbo\0dy\r\n"), "NUL");
    refused(f, SLICE(HEAD "\r\nbody"), "does not end in CRLF");
    refused(f, SLICE("From: a@b"), "does not end in CRLF");
    refused(f, SLICE("From: a@b\r\nSubject: a\vb\r\n\r\nbody\r\n"), "VT or FF");
}

static void
what_is_too_large_is_refused(void **state)
{
    struct fixture *f = *state;
    struct buf b;
    buf_init(&b, 1 << 20);
    buf_add_str(&b, HEAD "\r\n");
    add_lines(&b, 999, 1);
    refused(f, buf_slice(&b), "line longer");
    buf_clear(&b);
    buf_add_str(&b, HEAD);
    for (int i = 0; i < SIGN_FIELDS_MAX - 2; i++)
        buf_add_str(&b, "References: <a@b>\r\n");
    buf_add_str(&b, "\r\n");
    refused(f, buf_slice(&b), "fields to sign");
    buf_clear(&b);
    buf_add_str(&b, HEAD "X: y");
    for (int i = 0; i < HEADER_FIELD_MAX / 500; i++) {
        buf_add_str(&b, "\r\n");
        add_lines(&b, 500, 1);
        buf_truncate(&b, buf_slice(&b).n - 502);
        buf_addf(&b, " %500d", i);
    }
    buf_add_str(&b, "\r\n\r\n");
    refused(f, buf_slice(&b), "field longer");
    buf_clear(&b);
    while (buf_slice(&b).n < 2 * HEADER_SECTION_MAX)
        buf_addf(&b, "X: %0900d\r\n", 1);
    refused(f, buf_slice(&b), "header section longer");
    buf_fini(&b);
}

static void
domains_are_checked_before_anything_else(void **state)
{
    struct fixture *f = *state;
    struct sign_job *j = NULL;
    assert_int_equal(sign_job_new(f->engine, SLICE("a.org; l=0"), &j, &f->err), SIGN_REFUSED);
    assert_int_equal(sign_job_new(f->engine, SLICE("a.org\r\nX: y"), &j, &f->err), SIGN_REFUSED);
    assert_int_equal(sign_job_new(f->engine, SLICE(""), &j, &f->err), SIGN_REFUSED);
    assert_null(j);
    struct key_spec spec = {"example.org", "s", f->dir.rsa, NULL};
    struct keyset *keys = keyset_load(&spec, 1, &f->err);
    struct sign_engine *engine = sign_engine_new(keys, &f->err);
    assert_int_equal(sign_job_new(engine, SLICE("example.com"), &j, &f->err), SIGN_NO_KEY);
    assert_string_equal(f->err.text, "no key for example.com");
    sign_engine_free(engine);
    keyset_free(keys);
}

static void
an_engine_without_keys_starts(void **state)
{
    struct fixture *f = *state;
    struct sign_job *j = NULL;
    struct keyset *keys = keyset_load(NULL, 0, &f->err);
    struct sign_engine *engine = sign_engine_new(keys, &f->err);
    assert_non_null(engine);
    assert_int_equal(sign_job_new(engine, SLICE("example.org"), &j, &f->err), SIGN_NO_KEY);
    sign_engine_free(engine);
    keyset_free(keys);
}

static void
jobs_may_be_interleaved(void **state)
{
    struct fixture *f = *state;
    enum { JOBS = 8 };
    struct sign_job *jobs[JOBS];
    struct slice message = SLICE(HEAD "\r\nbody of some length\r\n");
    for (int i = 0; i < JOBS; i++)
        assert_int_equal(sign_job_new(f->engine, SLICE("example.org"), &jobs[i], &f->err), SIGN_OK);
    for (size_t at = 0; at < message.n; at += 5) {
        struct slice piece = slice_skip(message, at);
        for (int i = 0; i < JOBS; i++)
            assert_int_equal(
                sign_job_feed(jobs[i], slice_from(piece.p, piece.n < 5 ? piece.n : 5), &f->err),
                SIGN_OK);
    }
    sign_job_free(jobs[0]); /* abandoned on the way */
    for (int i = JOBS - 1; i > 0; i--) {
        buf_clear(&f->fields);
        assert_int_equal(sign_job_finish(jobs[i], &f->fields, &f->err), SIGN_OK);
        sign_job_free(jobs[i]);
        dkim_dir_add(&f->dir, "interleaved", buf_slice(&f->fields), message);
    }
    all_verify(f, BOTH_OK);
}

static void
a_renewed_key_signs_as_before(void **state)
{
    struct fixture *f = *state;
    struct signing_key *keys[KEYS_PER_DOMAIN_MAX];
    assert_int_equal(keyset_match(f->keys, SLICE("example.org"), keys), 2);
    keys[1]->uses = 1000 * 1000 - 1;
    EVP_PKEY *before = keys[1]->pkey;
    sign_and_keep(f, "renewed", SLICE(HEAD "\r\nbody\r\n"), SIGN_PIECE_BYTES);
    assert_ptr_not_equal(keys[1]->pkey, before);
    all_verify(f, BOTH_OK);
}

static void
sign_many(struct fixture *f, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        buf_clear(&f->fields);
        assert_int_equal(sign_message(f->engine, SLICE("example.org"), SLICE(HEAD "\r\nbody\r\n"),
                                      &f->fields, &f->err),
                         SIGN_OK);
    }
}

/* libopendkim alone loses 64 bytes for each Ed25519 signature. */
static void
memory_does_not_grow(void **state)
{
    struct fixture *f = *state;
    sign_many(f, 50);
    size_t before = mallinfo2().uordblks;
    sign_many(f, 500);
    assert_in_range(mallinfo2().uordblks, 0, before + 4096);
}

/* `sign --measure` (release variant): signatures per second of CPU time, to be
 * compared with `openssl speed rsa2048 ed25519`. */
static void
measure(struct fixture *f, const char *what, struct slice message)
{
    enum { ROUNDS = 2000 };
    struct timespec from, to;
    sign_many(f, 50);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
    for (int i = 0; i < ROUNDS; i++) {
        buf_clear(&f->fields);
        if (sign_message(f->engine, SLICE("example.org"), message, &f->fields, &f->err) != SIGN_OK)
            abort();
    }
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
    double us = ((double)(to.tv_sec - from.tv_sec) * 1e9 + (double)(to.tv_nsec - from.tv_nsec)) /
                1e3 / ROUNDS;
    printf("%s: %.0f us per message, %.0f messages per second and core\n", what, us, 1e6 / us);
}

static void
measure_kind(struct fixture *f, unsigned first_key, unsigned keys, const char *what)
{
    struct buf b;
    char text[80];
    struct keyset *all = f->keys;
    struct sign_engine *engine = f->engine;
    buf_init(&b, 1 << 20);
    buf_add_str(&b, HEAD "\r\n");
    f->keys = keyset_load(f->dir.specs + first_key, keys, &f->err);
    f->engine = sign_engine_new(f->keys, &f->err);
    for (unsigned kb = 10; kb <= 100; kb *= 10) {
        add_lines(&b, 78, (kb * 1024 - (unsigned)buf_slice(&b).n) / 80);
        snprintf(text, sizeof text, "%s, %u KB", what, kb);
        measure(f, text, buf_slice(&b));
    }
    sign_engine_free(f->engine);
    keyset_free(f->keys);
    f->keys = all;
    f->engine = engine;
    buf_fini(&b);
}

static int
measure_all(void)
{
    void *state = NULL;
    set_up(&state);
    measure_kind(state, 0, 2, "RSA-2048 and Ed25519");
    measure_kind(state, 0, 1, "RSA-2048");
    measure_kind(state, 1, 1, "Ed25519");
    sign_engine_avoid_shim(((struct fixture *)state)->engine);
    measure(state, "RSA-2048 and Ed25519 from PEM texts, 0.1 KB", SLICE(HEAD "\r\nbody\r\n"));
    return tear_down(&state);
}

int
main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--measure") == 0)
        return measure_all();
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(shapes_of_headers_verify),
        TEST(shapes_of_bodies_verify),
        TEST(long_lines_and_many_fields_verify),
        TEST(pieces_may_be_cut_anywhere),
        TEST(without_the_shim_the_same_is_signed),
        TEST(nothing_can_be_added_or_changed),
        TEST(what_changes_on_the_way_is_not_signed),
        TEST(body_hash_of_the_rfc_comes_out),
        TEST(fields_are_ready_to_send),
        TEST(what_would_be_signed_wrongly_is_refused),
        TEST(what_is_too_large_is_refused),
        TEST(domains_are_checked_before_anything_else),
        TEST(an_engine_without_keys_starts),
        TEST(jobs_may_be_interleaved),
        TEST(a_renewed_key_signs_as_before),
        TEST(memory_does_not_grow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
