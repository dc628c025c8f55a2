#include "relay/cli/devcert.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

enum { CA_DAYS = 3650, CERT_DAYS = 820, RENEW_DAYS = 30, DAY_S = 86400 };

struct pair {
    X509 *cert;
    EVP_PKEY *key;
};

static void
pair_fini(struct pair *p)
{
    X509_free(p->cert);
    EVP_PKEY_free(p->key);
    *p = (struct pair){NULL, NULL};
}

static FILE *
create_file(const char *path, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    return fd >= 0 ? fdopen(fd, "w") : NULL;
}

static int
write_pair(const struct pair *p, const char *cert_path, const char *key_path, struct err *err)
{
    FILE *key = create_file(key_path, 0600);
    FILE *cert = create_file(cert_path, 0644);
    int ok = key != NULL && cert != NULL &&
             PEM_write_PrivateKey(key, p->key, NULL, NULL, 0, NULL, NULL) &&
             PEM_write_X509(cert, p->cert);
    if (key != NULL)
        ok &= fclose(key) == 0;
    if (cert != NULL)
        ok &= fclose(cert) == 0;
    return ok ? 0 : err_set_errno(err, ERR_IO, "%s", cert_path);
}

static void
read_pair(struct pair *p, const char *cert_path, const char *key_path)
{
    FILE *cert = fopen(cert_path, "re"), *key = fopen(key_path, "re");
    *p = (struct pair){NULL, NULL};
    if (cert != NULL && key != NULL) {
        p->cert = PEM_read_X509(cert, NULL, NULL, NULL);
        p->key = PEM_read_PrivateKey(key, NULL, NULL, NULL);
    }
    if (cert != NULL)
        fclose(cert);
    if (key != NULL)
        fclose(key);
}

static int
is_good(const struct pair *p)
{
    int days = 0, seconds = 0;
    return p->cert != NULL && p->key != NULL &&
           ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(p->cert)) && days > RENEW_DAYS;
}

static int
add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    int ok = ext != NULL && X509_add_ext(cert, ext, -1);
    X509_EXTENSION_free(ext);
    return ok;
}

static int
set_serial(X509 *cert)
{
    uint64_t serial;
    return RAND_bytes((unsigned char *)&serial, sizeof serial) == 1 &&
           ASN1_INTEGER_set_uint64(X509_get_serialNumber(cert), serial >> 1);
}

static int
set_names(X509 *cert, X509 *issuer, const char *common_name)
{
    X509_NAME *name = X509_get_subject_name(cert);
    return X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)common_name,
                                      -1, -1, 0) &&
           X509_set_issuer_name(cert, X509_get_subject_name(issuer));
}

/* ca: the issuer; NULL makes a self-signed authority. */
static int
make_pair(struct pair *p, const struct pair *ca, struct err *err)
{
    p->key = EVP_EC_gen("P-256");
    p->cert = X509_new();
    if (p->key == NULL || p->cert == NULL)
        return err_set(err, ERR_MEMORY, "development certificate");
    X509 *issuer = ca != NULL ? ca->cert : p->cert;
    int ok = X509_set_version(p->cert, X509_VERSION_3) && set_serial(p->cert) &&
             X509_gmtime_adj(X509_getm_notBefore(p->cert), -DAY_S) != NULL &&
             X509_gmtime_adj(X509_getm_notAfter(p->cert),
                             (long)(ca != NULL ? CERT_DAYS : CA_DAYS) * DAY_S) != NULL &&
             set_names(p->cert, issuer, ca != NULL ? "localhost" : "Stagepost development CA") &&
             X509_set_pubkey(p->cert, p->key) &&
             add_extension(p->cert, issuer, NID_subject_key_identifier, "hash");
    if (ok && ca == NULL)
        ok = add_extension(p->cert, issuer, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
             add_extension(p->cert, issuer, NID_key_usage, "critical,keyCertSign,cRLSign");
    else if (ok)
        ok = add_extension(p->cert, issuer, NID_basic_constraints, "critical,CA:FALSE") &&
             add_extension(p->cert, issuer, NID_authority_key_identifier, "keyid:always") &&
             add_extension(p->cert, issuer, NID_ext_key_usage, "serverAuth") &&
             add_extension(p->cert, issuer, NID_subject_alt_name,
                           "DNS:localhost,IP:127.0.0.1,IP:::1");
    if (!ok || !X509_sign(p->cert, ca != NULL ? ca->key : p->key, EVP_sha256()))
        return err_set(err, ERR_IO, "development certificate cannot be made");
    return 0;
}

static int
ensure_pair(struct pair *p, const struct pair *ca, const char *cert_path, const char *key_path,
            struct err *err)
{
    read_pair(p, cert_path, key_path);
    if (is_good(p))
        return 0;
    pair_fini(p);
    return make_pair(p, ca, err) == 0 && write_pair(p, cert_path, key_path, err) == 0 ? 0 : -1;
}

int
devcert_ensure(struct devcert *d, const char *dir, struct err *err)
{
    char ca_key[256];
    struct pair ca = {NULL, NULL}, server = {NULL, NULL};
    snprintf(d->ca_path, sizeof d->ca_path, "%s/ca.pem", dir);
    snprintf(ca_key, sizeof ca_key, "%s/ca.key", dir);
    snprintf(d->cert_path, sizeof d->cert_path, "%s/server.pem", dir);
    snprintf(d->key_path, sizeof d->key_path, "%s/server.key", dir);
    int failed = ensure_pair(&ca, NULL, d->ca_path, ca_key, err);
    if (!failed)
        failed = ensure_pair(&server, &ca, d->cert_path, d->key_path, err);
    /* After a new authority a server certificate of the old one is useless. */
    if (!failed && X509_verify(server.cert, ca.key) != 1) {
        pair_fini(&server);
        failed =
            make_pair(&server, &ca, err) || write_pair(&server, d->cert_path, d->key_path, err);
    }
    pair_fini(&ca);
    pair_fini(&server);
    return failed ? -1 : 0;
}
