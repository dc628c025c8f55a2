/* The snapshot that children read: what was written comes back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "relay/sys/config/config.h"

static const char *proxies[] = {"10.0.0.0/8", "::1"};
static const struct config_listener LISTENERS[] = {{CONFIG_SMTP, "0.0.0.0", 587, NULL, 0},
                                                   {CONFIG_SMTPS, "::1", 465, proxies, 2},
                                                   {CONFIG_HTTP, "127.0.0.1", 8025, NULL, 0}};

static void
test_listeners_and_redis_come_back(void **state)
{
    struct config c = {
        .redis = "unix:/r", .redis_embedded = true, .listeners = LISTENERS, .listener_count = 3};
    struct err err = {0};
    (void)state;
    int fd = memfd_create("test", 0);
    assert_int_equal(config_write_snapshot(&c, CONFIG_READER_OTHER, fd, &err), 0);
    const struct config *back = config_read_snapshot(fd, &err);
    assert_non_null(back);
    assert_true(back->redis_embedded);
    assert_string_equal(back->redis, "unix:/r");
    assert_int_equal(back->listener_count, 3);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(back->listeners[i].kind, LISTENERS[i].kind);
        assert_string_equal(back->listeners[i].address, LISTENERS[i].address);
        assert_int_equal(back->listeners[i].port, LISTENERS[i].port);
        assert_int_equal(back->listeners[i].proxy_count, LISTENERS[i].proxy_count);
        for (unsigned k = 0; k < LISTENERS[i].proxy_count; k++)
            assert_string_equal(back->listeners[i].proxies[k], LISTENERS[i].proxies[k]);
    }
    config_free(back);
    close(fd);
}

static void
put(char path[64], const char *text, size_t n)
{
    strcpy(path, "/tmp/stagepost-test-XXXXXX");
    int fd = mkstemp(path);
    assert_int_equal(write(fd, text, n), n);
    close(fd);
}

struct files {
    char cert[64], key[64], dkim[64];
    struct config_dkim_key keys[1];
    struct config_credential credentials[1];
    struct config c;
};

static void
make_files(struct files *f)
{
    put(f->cert, "CERT", 4);
    put(f->key, "M\xfcller\0KEY", 10);
    put(f->dkim, "DKIM", 4);
    f->keys[0] = (struct config_dkim_key){.domain = "a.org", .selector = "s", .path = f->dkim};
    f->credentials[0] = (struct config_credential){.user = "shop"};
    f->c = (struct config){.tls_cert_path = f->cert,
                           .tls_key_path = f->key,
                           .dkim_keys = f->keys,
                           .dkim_key_count = 1,
                           .credentials = f->credentials,
                           .credential_count = 1};
}

static void
remove_files(const struct files *f)
{
    unlink(f->cert);
    unlink(f->key);
    unlink(f->dkim);
}

static const struct config *
as_read_by(const struct config *c, enum config_reader reader)
{
    struct err err = {0};
    int fd = memfd_create("test", 0);
    assert_int_equal(config_write_snapshot(c, reader, fd, &err), 0);
    const struct config *back = config_read_snapshot(fd, &err);
    assert_non_null(back);
    close(fd);
    return back;
}

static void
test_each_reader_gets_the_secrets_that_it_uses(void **state)
{
    struct files f;
    (void)state;
    make_files(&f);
    const struct config *worker = as_read_by(&f.c, CONFIG_READER_WORKER);
    assert_string_equal(worker->tls_cert_pem, "CERT");
    assert_string_equal(worker->tls_key_pem, "M?ller?KEY");
    assert_string_equal(worker->dkim_keys[0].pem, "");
    assert_int_equal(worker->credential_count, 1);
    const struct config *signer = as_read_by(&f.c, CONFIG_READER_SIGNER);
    assert_string_equal(signer->dkim_keys[0].pem, "DKIM");
    assert_string_equal(signer->tls_key_pem, "");
    assert_int_equal(signer->credential_count, 0);
    const struct config *other = as_read_by(&f.c, CONFIG_READER_OTHER);
    assert_string_equal(other->tls_key_pem, "");
    assert_string_equal(other->dkim_keys[0].pem, "");
    config_free(worker);
    config_free(signer);
    config_free(other);
    remove_files(&f);
}

static void
test_a_secret_that_cannot_be_read_is_named(void **state)
{
    enum { TOO_LONG = 17 << 10 };
    static char text[TOO_LONG];
    struct err err = {0};
    struct files f;
    (void)state;
    make_files(&f);
    int fd = memfd_create("test", 0);
    unlink(f.key);
    assert_int_equal(config_write_snapshot(&f.c, CONFIG_READER_WORKER, fd, &err), -1);
    assert_true(err.code == ERR_CONFIG && strstr(err.text, f.key) != NULL);
    unlink(f.dkim);
    memset(text, 'x', sizeof text);
    put(f.dkim, text, sizeof text);
    assert_int_equal(config_write_snapshot(&f.c, CONFIG_READER_SIGNER, fd, &err), -1);
    assert_true(err.code == ERR_CONFIG && strstr(err.text, f.dkim) != NULL);
    close(fd);
    remove_files(&f);
}

static void
test_a_snapshot_without_a_member_is_refused(void **state)
{
    static const char TEXT[] = "{\"generation\":1}";
    struct err err = {0};
    (void)state;
    int fd = memfd_create("test", 0);
    assert_int_equal(write(fd, TEXT, sizeof TEXT - 1), sizeof TEXT - 1);
    assert_null(config_read_snapshot(fd, &err));
    assert_int_equal(err.code, ERR_CONFIG);
    close(fd);
}

static void
test_credentials_come_back(void **state)
{
    const char *senders[] = {"example.org", "a@b.example"}, *nets[] = {"10.0.0.0/8"},
               *to[] = {"test.example"};
    const struct config_credential shop = {.user = "shop",
                                           .tenant = "t",
                                           .password_hash = "one",
                                           .other_password_hash = "two",
                                           .other_key_sha256 = "key",
                                           .klass = CONFIG_BULK,
                                           .senders = senders,
                                           .sender_count = 2,
                                           .networks = nets,
                                           .network_count = 1,
                                           .recipients = to,
                                           .recipient_count = 1,
                                           .rate = {100, 60000},
                                           .daily = 5,
                                           .new_recipients = 6,
                                           .expires_unix_ms = 1798761600000};
    const struct config c = {.credentials = &shop, .credential_count = 1};
    struct err err = {0};
    (void)state;
    int fd = memfd_create("test", 0);
    assert_int_equal(config_write_snapshot(&c, CONFIG_READER_OTHER, fd, &err), 0);
    const struct config *back = config_read_snapshot(fd, &err);
    assert_non_null(back);
    const struct config_credential *cr = &back->credentials[0];
    assert_string_equal(cr->other_password_hash, "two");
    assert_string_equal(cr->key_sha256, "");
    assert_string_equal(cr->other_key_sha256, "key");
    assert_int_equal(cr->klass, CONFIG_BULK);
    assert_int_equal(cr->sender_count, 2);
    assert_string_equal(cr->senders[1], "a@b.example");
    assert_int_equal(cr->network_count, 1);
    assert_string_equal(cr->networks[0], "10.0.0.0/8");
    assert_string_equal(cr->recipients[0], "test.example");
    assert_int_equal(cr->rate.count, 100);
    assert_int_equal(cr->rate.per_ms, 60000);
    assert_int_equal(cr->daily, 5);
    assert_int_equal(cr->new_recipients, 6);
    assert_true(cr->expires_unix_ms == shop.expires_unix_ms);
    config_free(back);
    close(fd);
}

/* A session keeps its credential when the snapshot has been let go. */
static void
test_what_is_held_stays(void **state)
{
    const char *senders[] = {"example.org"};
    const struct config_credential shop = {
        .user = "shop", .tenant = "t", .senders = senders, .sender_count = 1};
    const struct config c = {.credentials = &shop, .credential_count = 1};
    struct err err = {0};
    (void)state;
    int fd = memfd_create("test", 0);
    assert_int_equal(config_write_snapshot(&c, CONFIG_READER_OTHER, fd, &err), 0);
    const struct config *back = config_read_snapshot(fd, &err);
    assert_non_null(back);
    struct config_generation *held = config_hold(back->memory);
    const struct config_credential *mine = config_credential_by_user(back, SLICE("shop"));
    config_free(back);
    assert_string_equal(mine->user, "shop");
    assert_string_equal(mine->senders[0], "example.org");
    config_let_go(&held);
    assert_null(held);
    config_let_go(&held);
    assert_null(config_hold(NULL));
    close(fd);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_listeners_and_redis_come_back),
        cmocka_unit_test(test_each_reader_gets_the_secrets_that_it_uses),
        cmocka_unit_test(test_a_secret_that_cannot_be_read_is_named),
        cmocka_unit_test(test_a_snapshot_without_a_member_is_refused),
        cmocka_unit_test(test_what_is_held_stays),
        cmocka_unit_test(test_credentials_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
