#include "dkim/keys.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "relay/sys/base/base64.h"
#include "relay/sys/base/bug.h"

/* Sanitizer builds look for leaks; the one we know of is not ours, see
 * forget_for_leak_check(). */
#if defined(__SANITIZE_ADDRESS__)
#define HAVE_LEAK_CHECK 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAVE_LEAK_CHECK 1
#endif
#endif
#ifdef HAVE_LEAK_CHECK
#include <sanitizer/lsan_interface.h>
#endif

enum {
    RSA_BITS = 2048,                /* RFC 8301 3.2: SHOULD be at least 2048 */
    ED25519_PUBLIC_BYTES = 32,      /* RFC 8032 5.1.5 */
    RENEW_AFTER_USES = 1000 * 1000, /* far from where a reference count would overflow */
};

struct keyset {
    unsigned count;
    struct signing_key keys[];
};

static int
crypto_error(struct err *err, enum err_code code, const char *what)
{
    char reason[160] = "unknown reason";
    unsigned long e = ERR_get_error();
    if (e != 0)
        ERR_error_string_n(e, reason, sizeof reason);
    ERR_clear_error();
    return err_set(err, code, "%s: %s", what, reason);
}

/* --- reading a key file --- */

/* Without it libcrypto would ask on the terminal. */
static int
no_pass_phrase(char *out, int size, int writing, void *ctx)
{
    (void)out, (void)size, (void)writing;
    *(bool *)ctx = true;
    return -1;
}

static int
read_all(int fd, char *out, size_t cap, size_t *n)
{
    *n = 0;
    while (*n < cap) {
        ssize_t got = read(fd, out + *n, cap - *n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            return 0;
        *n += (size_t)got;
    }
    errno = EFBIG;
    return -1;
}

static int
read_key_file(const char *path, char out[KEY_FILE_BYTES_MAX], size_t *n, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return err_set_errno(err, ERR_CONFIG, "%s", path);
    int rc = read_all(fd, out, KEY_FILE_BYTES_MAX, n);
    if (rc != 0)
        err_set_errno(err, ERR_CONFIG, "%s", path);
    close(fd);
    return rc;
}

/* libopendkim would abort, prompt or leak on a key that fails one of these. */
static int
check_key(EVP_PKEY *pkey, const char *path, enum key_kind *kind, struct err *err)
{
    int bits = EVP_PKEY_get_bits(pkey);
    switch (EVP_PKEY_get_base_id(pkey)) {
    case EVP_PKEY_ED25519:
        *kind = KEY_ED25519;
        return 0;
    case EVP_PKEY_RSA:
        *kind = KEY_RSA;
        if (bits >= KEY_RSA_BITS_MIN && bits <= KEY_RSA_BITS_MAX)
            return 0;
        return err_set(err, ERR_CONFIG, "%s: RSA key of %d bits, wanted %d to %d", path, bits,
                       KEY_RSA_BITS_MIN, KEY_RSA_BITS_MAX);
    default:
        return err_set(err, ERR_CONFIG, "%s: neither an RSA nor an Ed25519 key", path);
    }
}

static EVP_PKEY *
parse_pem(const char *path, const char *text, size_t n, struct err *err)
{
    bool encrypted = false;
    BIO *bio = BIO_new_mem_buf(text, (int)n);
    BUG_ON(bio == NULL);
    EVP_PKEY *pkey = PEM_read_bio_PrivateKey_ex(bio, NULL, no_pass_phrase, &encrypted, NULL, NULL);
    BIO_free(bio);
    if (pkey != NULL)
        return pkey;
    if (encrypted) {
        ERR_clear_error();
        err_set(err, ERR_CONFIG, "%s: the key is encrypted; store it without a pass phrase", path);
    } else {
        crypto_error(err, ERR_CONFIG, "no private key in PEM form");
        err_context(err, "%s", path);
    }
    return NULL;
}

static EVP_PKEY *
parse_file(const char *path, struct err *err)
{
    char text[KEY_FILE_BYTES_MAX];
    size_t n = 0;
    EVP_PKEY *pkey = NULL;
    if (read_key_file(path, text, &n, err) == 0)
        pkey = parse_pem(path, text, n, err);
    OPENSSL_cleanse(text, sizeof text);
    return pkey;
}

/* pem: NULL, or what stands in the file. */
static EVP_PKEY *
load_pkey(const char *path, const char *pem, enum key_kind *kind, struct err *err)
{
    EVP_PKEY *pkey = pem == NULL ? parse_file(path, err) : parse_pem(path, pem, strlen(pem), err);
    if (pkey != NULL && check_key(pkey, path, kind, err) != 0) {
        EVP_PKEY_free(pkey);
        pkey = NULL;
    }
    return pkey;
}

/* --- names --- */

static bool
label_ok(struct slice label)
{
    if (label.n == 0 || label.n > ADDRESS_LABEL_MAX || label.p[0] == '-' ||
        label.p[label.n - 1] == '-')
        return false;
    for (size_t i = 0; i < label.n; i++) {
        char c = label.p[i];
        if (!ascii_is_alnum(c) && c != '-' && c != '_')
            return false;
    }
    return true;
}

bool
key_name_ok(struct slice name)
{
    if (name.n == 0 || name.n > ADDRESS_DOMAIN_MAX || name.p[name.n - 1] == '.')
        return false;
    while (name.n > 0) {
        if (!label_ok(slice_cut_at(&name, '.')))
            return false;
    }
    return true;
}

static void
to_lower(char *s)
{
    for (; *s != '\0'; s++)
        *s = ascii_lower(*s);
}

static int
copy_name(struct signing_key *k, const struct key_spec *spec, struct err *err)
{
    bool any = strcmp(spec->domain, "*") == 0;
    if (!any && !key_name_ok(slice_str(spec->domain)))
        return err_set(err, ERR_CONFIG, "%s: \"%.100s\" is not a domain", spec->pem_path,
                       spec->domain);
    if (!key_name_ok(slice_str(spec->selector)))
        return err_set(err, ERR_CONFIG, "%s: \"%.100s\" is not a selector", spec->pem_path,
                       spec->selector);
    slice_to_cstr(slice_str(spec->domain), k->domain, sizeof k->domain);
    slice_to_cstr(slice_str(spec->selector), k->selector, sizeof k->selector);
    to_lower(k->domain);
    return 0;
}

/* --- the set --- */

/* libopendkim 2.11 keeps a reference for each Ed25519 signature, so such a key
 * outlives its set. Nothing of ours is lost by it: one key object per
 * RENEW_AFTER_USES signatures. */
static void
forget_for_leak_check(const struct signing_key *k)
{
#ifdef HAVE_LEAK_CHECK
    if (k->kind == KEY_ED25519)
        __lsan_ignore_object(k->pkey);
#else
    (void)k;
#endif
}

static char *
pem_text(EVP_PKEY *pkey)
{
    BIO *bio = BIO_new(BIO_s_secmem());
    BUG_ON(bio == NULL || PEM_write_bio_PKCS8PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL) != 1);
    char *p = NULL;
    long n = BIO_get_mem_data(bio, &p);
    char *text = strndup(p, (size_t)n);
    BUG_ON(text == NULL);
    BIO_free(bio);
    return text;
}

static int
load_key(struct signing_key *k, const struct key_spec *spec, struct err *err)
{
    if (copy_name(k, spec, err) != 0)
        return -1;
    k->pkey = load_pkey(spec->pem_path, spec->pem, &k->kind, err);
    if (k->pkey == NULL)
        return -1;
    forget_for_leak_check(k);
    k->pem = pem_text(k->pkey);
    return 0;
}

static int
check_room(const struct keyset *ks, const struct key_spec *spec, struct err *err)
{
    const struct signing_key *last = &ks->keys[ks->count - 1];
    unsigned same_domain = 0;
    for (unsigned i = 0; i < ks->count; i++) {
        const struct signing_key *k = &ks->keys[i];
        if (strcmp(k->domain, last->domain) != 0)
            continue;
        if (k != last && slice_eq_nocase(slice_str(k->selector), slice_str(last->selector)))
            return err_set(err, ERR_CONFIG, "%s: selector %.100s of %.100s has a key already",
                           spec->pem_path, last->selector, last->domain);
        same_domain++;
    }
    if (same_domain > KEYS_PER_DOMAIN_MAX)
        return err_set(err, ERR_CONFIG, "%s: more than %d keys for %.100s", spec->pem_path,
                       KEYS_PER_DOMAIN_MAX, last->domain);
    return 0;
}

struct keyset *
keyset_load(const struct key_spec *specs, unsigned count, struct err *err)
{
    struct keyset *ks = calloc(1, sizeof *ks + count * sizeof ks->keys[0]);
    BUG_ON(ks == NULL);
    for (unsigned i = 0; i < count; i++) {
        ks->count++;
        if (load_key(&ks->keys[i], &specs[i], err) != 0 || check_room(ks, &specs[i], err) != 0) {
            keyset_free(ks);
            return NULL;
        }
    }
    return ks;
}

void
keyset_free(struct keyset *ks)
{
    if (ks == NULL)
        return;
    for (unsigned i = 0; i < ks->count; i++) {
        EVP_PKEY_free(ks->keys[i].pkey);
        if (ks->keys[i].pem != NULL)
            OPENSSL_clear_free(ks->keys[i].pem, strlen(ks->keys[i].pem));
    }
    free(ks);
}

static unsigned
match_exactly(struct keyset *ks, struct slice domain, struct signing_key *out[KEYS_PER_DOMAIN_MAX])
{
    unsigned found = 0;
    for (unsigned i = 0; i < ks->count && found < KEYS_PER_DOMAIN_MAX; i++) {
        if (slice_eq_nocase(slice_str(ks->keys[i].domain), domain))
            out[found++] = &ks->keys[i];
    }
    return found;
}

unsigned
keyset_match(struct keyset *ks, struct slice domain, struct signing_key *out[KEYS_PER_DOMAIN_MAX])
{
    unsigned found = match_exactly(ks, domain, out);
    return found > 0 ? found : match_exactly(ks, SLICE("*"), out);
}

struct slice
keyset_any_domain(const struct keyset *ks)
{
    if (ks->count == 0)
        return SLICE_NONE;
    struct slice domain = slice_str(ks->keys[0].domain);
    return slice_eq(domain, SLICE("*")) ? SLICE("example.org") : domain;
}

int
signing_key_use(struct signing_key *k)
{
    if (k->kind != KEY_ED25519 || ++k->uses < RENEW_AFTER_USES)
        return 0;
    EVP_PKEY *copy = EVP_PKEY_dup(k->pkey);
    if (copy == NULL)
        return -1;
    EVP_PKEY_free(k->pkey);
    k->pkey = copy;
    k->uses = 0;
    forget_for_leak_check(k);
    return 0;
}

/* --- making keys --- */

static int
write_pem(int fd, const char *path, EVP_PKEY *pkey, struct err *err)
{
    char *text = pem_text(pkey);
    size_t n = strlen(text), at = 0;
    int rc = 0;
    while (rc == 0 && at < n) {
        ssize_t put = write(fd, text + at, n - at);
        if (put > 0)
            at += (size_t)put;
        else if (errno != EINTR)
            rc = err_set_errno(err, ERR_IO, "%s: write", path);
    }
    OPENSSL_clear_free(text, n);
    if (rc == 0 && fsync(fd) != 0)
        rc = err_set_errno(err, ERR_IO, "%s: fsync", path);
    return rc;
}

int
key_create(enum key_kind kind, const char *pem_path, struct err *err)
{
    int fd = open(pem_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_set_errno(err, ERR_IO, "%s", pem_path);
    EVP_PKEY *pkey = kind == KEY_RSA ? EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)RSA_BITS)
                                     : EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    int rc = pkey != NULL ? write_pem(fd, pem_path, pkey, err)
                          : crypto_error(err, ERR_MEMORY, "making a key");
    EVP_PKEY_free(pkey);
    if (close(fd) != 0 && rc == 0)
        rc = err_set_errno(err, ERR_IO, "%s: close", pem_path);
    if (rc != 0)
        unlink(pem_path);
    return rc;
}

/* RFC 6376 3.6.1 wants the SubjectPublicKeyInfo of RSA (erratum 3017 settles that
 * both forms occur), RFC 8463 4.2 the 32 bytes alone. */
static bool
add_public_key(EVP_PKEY *pkey, enum key_kind kind, struct buf *out)
{
    if (kind == KEY_ED25519) {
        unsigned char raw[ED25519_PUBLIC_BYTES];
        size_t n = sizeof raw;
        return EVP_PKEY_get_raw_public_key(pkey, raw, &n) == 1 &&
               base64_encode(slice_from(raw, n), out);
    }
    unsigned char *der = NULL;
    int n = i2d_PUBKEY(pkey, &der);
    bool ok = n > 0 && base64_encode(slice_from(der, (size_t)n), out);
    OPENSSL_free(der);
    return ok;
}

int
key_dns_record(const char *pem_path, struct buf *out, struct err *err)
{
    enum key_kind kind = KEY_RSA;
    EVP_PKEY *pkey = load_pkey(pem_path, NULL, &kind, err);
    if (pkey == NULL)
        return -1;
    size_t before = buf_slice(out).n;
    int rc = 0;
    if (!buf_addf(out, "v=DKIM1; k=%s; p=", kind == KEY_RSA ? "rsa" : "ed25519") ||
        !add_public_key(pkey, kind, out)) {
        buf_truncate(out, before);
        rc = err_set(err, ERR_FULL, "%s: no room for the record", pem_path);
    }
    EVP_PKEY_free(pkey);
    return rc;
}
