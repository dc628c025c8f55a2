#include "relay/cli/devcert.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/pem.h>
#include <openssl/x509v3.h>

static X509 *
read_cert(const char *path)
{
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    X509 *cert = PEM_read_X509(f, NULL, NULL, NULL);
    fclose(f);
    assert_non_null(cert);
    return cert;
}

static void
makes_a_certificate_for_loopback_once(void **state)
{
    (void)state;
    char dir[] = "/tmp/sp-unit-XXXXXX", command[64];
    struct devcert d;
    struct err err;
    struct stat before, after;
    assert_non_null(mkdtemp(dir));
    assert_int_equal(devcert_ensure(&d, dir, &err), 0);
    X509 *ca = read_cert(d.ca_path), *cert = read_cert(d.cert_path);
    EVP_PKEY *key = X509_get0_pubkey(ca);
    assert_int_equal(X509_verify(cert, key), 1);
    assert_int_equal(X509_check_host(cert, "localhost", 0, 0, NULL), 1);
    assert_int_equal(X509_check_ip_asc(cert, "127.0.0.1", 0), 1);
    assert_int_equal(X509_check_ca(cert), 0);
    X509_free(ca);
    X509_free(cert);
    assert_int_equal(stat(d.key_path, &before), 0);
    assert_int_equal(before.st_mode & 0077, 0);
    assert_int_equal(devcert_ensure(&d, dir, &err), 0);
    assert_int_equal(stat(d.key_path, &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
    assert_int_equal(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
    /* A new authority makes a new certificate: the old one would not verify. */
    assert_int_equal(unlink(d.ca_path), 0);
    assert_int_equal(devcert_ensure(&d, dir, &err), 0);
    ca = read_cert(d.ca_path);
    cert = read_cert(d.cert_path);
    assert_int_equal(X509_verify(cert, X509_get0_pubkey(ca)), 1);
    X509_free(ca);
    X509_free(cert);
    const char *const files[] = {"ca.pem", "ca.key", "server.pem", "server.key"};
    for (size_t i = 0; i < 4; i++) {
        snprintf(command, sizeof command, "%s/%s", dir, files[i]);
        unlink(command);
    }
    assert_int_equal(rmdir(dir), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(makes_a_certificate_for_loopback_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
