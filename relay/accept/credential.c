/*
 * Happy path: the user is looked up; when the password was right some minutes
 * ago the answer is ready on the next turn; else crypt_r() runs on the work pool
 * and a right answer is remembered.
 *
 * Ways it ends: OK, WRONG (a known or an unknown user: one hash was computed
 * for both), BUSY (CREDENTIAL_HASHES_MAX are under way, or cancelled). The hash
 * of a cancelled check runs to its end unheard.
 */
#include "relay/accept/credential.h"

#include <crypt.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

#include "relay/sys/base/buf.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/id.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/net/work.h"

/* Takes part in no login: it gives the hash of an unknown user its cost when
 * no credential has a password. */
static const char DUMMY_SETTING[] = "$y$j9T$abcdefghijklmnopqrstu.";

struct verified {
    uint8_t mac[SHA256_DIGEST_LENGTH]; /* of user, password and stored hash */
    uint64_t until_ms;                 /* clock_mono_ms(); 0: empty */
};

struct credentials {
    struct loop *loop;
    const struct config *config;
    uint8_t mac_key[32]; /* of this process, never stored */
    struct verified verified[CREDENTIAL_CACHE_SLOTS];
    unsigned checks; /* not done yet, or their hash is still running */
    bool freed;
};

struct credential_check_state {
    struct work_op work;
    struct deferred soon;
    struct credentials *cs;
    struct config_generation *memory;           /* of what follows */
    struct credential_check_op *op;             /* NULL once cancelled and told */
    const struct config_credential *credential; /* NULL: unknown user */
    const char *setting;                        /* stored hash, or the dummy's */
    uint8_t mac[SHA256_DIGEST_LENGTH];
    char *password; /* NUL-terminated copy */
    size_t password_bytes;
    struct crypt_data *crypt;
    enum credential_result result;
    bool matches; /* set on the pool thread */
    bool working; /* on the pool */
    bool telling; /* `soon` is scheduled: the result is settled */
};

static const char *
text_or_empty(const char *s)
{
    return s != NULL ? s : "";
}

/* What an unknown user costs is what the first known one costs. */
static const char *
dummy_setting(const struct config *c)
{
    for (unsigned i = 0; i < c->credential_count; i++)
        if (text_or_empty(c->credentials[i].password_hash)[0] != '\0')
            return c->credentials[i].password_hash;
    return DUMMY_SETTING;
}

struct credentials *
credentials_new(struct loop *l, const struct config *c)
{
    struct credentials *cs = calloc(1, sizeof *cs);
    BUG_ON(cs == NULL);
    cs->loop = l;
    cs->config = c;
    random_bytes(cs->mac_key, sizeof cs->mac_key);
    return cs;
}

static void
credentials_free_when_idle(struct credentials *cs)
{
    if (!cs->freed || cs->checks > 0)
        return;
    OPENSSL_cleanse(cs, sizeof *cs);
    free(cs);
}

void
credentials_free(struct credentials *cs)
{
    if (cs == NULL)
        return;
    cs->freed = true;
    credentials_free_when_idle(cs);
}

/* ---- what was verified before ------------------------------------------- */

/* The stored hash is part of it: a changed password is a different entry. */
static void
mac_of(const struct credentials *cs, struct slice user, struct slice password, const char *stored,
       uint8_t mac[SHA256_DIGEST_LENGTH])
{
    const uint64_t lengths[] = {user.n, password.n};
    struct buf b;
    buf_init(&b, SIZE_MAX / 2);
    buf_reserve(&b, sizeof lengths + user.n + password.n + strlen(stored)); /* moved never */
    buf_add(&b, slice_from(lengths, sizeof lengths));
    buf_add(&b, user);
    buf_add(&b, password);
    buf_add_str(&b, stored);
    struct slice all = buf_slice(&b);
    BUG_ON(HMAC(EVP_sha256(), cs->mac_key, sizeof cs->mac_key, (const unsigned char *)all.p, all.n,
                mac, NULL) == NULL);
    OPENSSL_cleanse(b.mem, b.cap);
    buf_fini(&b);
}

static struct verified *
verified_slot(struct credentials *cs, const uint8_t mac[SHA256_DIGEST_LENGTH])
{
    return &cs->verified[(mac[0] | (unsigned)mac[1] << 8) % CREDENTIAL_CACHE_SLOTS];
}

static bool
verified_before(struct credentials *cs, const uint8_t mac[SHA256_DIGEST_LENGTH])
{
    const struct verified *v = verified_slot(cs, mac);
    return v->until_ms > clock_mono_ms() && CRYPTO_memcmp(v->mac, mac, sizeof v->mac) == 0;
}

static void
remember(struct credentials *cs, const uint8_t mac[SHA256_DIGEST_LENGTH])
{
    struct verified *v = verified_slot(cs, mac);
    memcpy(v->mac, mac, sizeof v->mac);
    v->until_ms = clock_mono_ms() + CREDENTIAL_CACHE_MS;
}

/* ---- checking ----------------------------------------------------------- */

static void
state_free(struct credential_check_state *st)
{
    struct credentials *cs = st->cs;
    if (st->password != NULL)
        OPENSSL_cleanse(st->password, st->password_bytes + 1);
    free(st->password);
    if (st->crypt != NULL)
        OPENSSL_cleanse(st->crypt, sizeof *st->crypt);
    free(st->crypt);
    config_let_go(&st->memory);
    free(st);
    cs->checks--;
    credentials_free_when_idle(cs);
}

/* Tells the owner; the hash may still be running. */
static void
state_tell(struct credential_check_state *st)
{
    struct credential_check_op *op = st->op;
    st->op = NULL;
    op->state = NULL;
    op->credential = st->result == CREDENTIAL_OK ? credential_renew(st->cs, st->credential) : NULL;
    /* Removed or changed by a reload while the hash was computed: wrong now. */
    op->result =
        st->result == CREDENTIAL_OK && op->credential == NULL ? CREDENTIAL_WRONG : st->result;
    if (!st->working)
        state_free(st);
    op->done(op);
}

static void
on_soon(struct deferred *d)
{
    state_tell(container_of(d, struct credential_check_state, soon));
}

/* On the pool thread. crypt_r() answers "*0" or "*1", or NULL, to what it
 * cannot hash; neither can equal a stored hash of 20 characters and more. */
static void
hash_run(struct work_op *work)
{
    struct credential_check_state *st = container_of(work, struct credential_check_state, work);
    const char *got = crypt_r(st->password, st->setting, st->crypt);
    size_t n = strlen(st->setting);
    st->matches =
        got != NULL && got[0] != '*' && strlen(got) == n && CRYPTO_memcmp(got, st->setting, n) == 0;
}

static void
hash_done(struct work_op *work)
{
    struct credential_check_state *st = container_of(work, struct credential_check_state, work);
    st->working = false;
    if (st->matches && st->credential != NULL)
        remember(st->cs, st->mac);
    if (st->op == NULL) {
        state_free(st);
        return;
    }
    if (st->telling)
        return; /* cancelled: on_soon() tells and frees */
    st->result = st->matches && st->credential != NULL ? CREDENTIAL_OK : CREDENTIAL_WRONG;
    state_tell(st);
}

static void
tell_soon(struct credential_check_state *st, enum credential_result result)
{
    st->result = result;
    st->telling = true;
    deferred_schedule(&st->soon);
}

/* The user's credential when the password could be right at all: crypt(5) ends
 * at a NUL, which must not make two passwords one. */
static const struct config_credential *
find_user(const struct config *c, struct slice user, struct slice password)
{
    const struct config_credential *cr = config_credential_by_user(c, user);
    if (cr == NULL || text_or_empty(cr->password_hash)[0] == '\0')
        return NULL;
    return slice_find(password, '\0') == password.n ? cr : NULL;
}

static void
keep_password(struct credential_check_state *st, struct slice password)
{
    st->password_bytes = password.n;
    st->password = calloc(1, password.n + 1);
    BUG_ON(st->password == NULL);
    if (password.n > 0)
        memcpy(st->password, password.p, password.n);
}

void
credential_check_start(struct credential_check_op *op, struct credentials *cs, struct slice user,
                       struct slice password)
{
    struct credential_check_state *st = calloc(1, sizeof *st);
    BUG_ON(st == NULL);
    cs->checks++;
    st->cs = cs;
    st->op = op;
    op->state = st;
    op->credential = NULL;
    deferred_init(&st->soon, cs->loop, on_soon);
    st->memory = config_hold(cs->config->memory);
    st->credential = find_user(cs->config, user, password);
    st->setting =
        st->credential != NULL ? st->credential->password_hash : dummy_setting(cs->config);
    mac_of(cs, user, password, st->setting, st->mac);
    if (st->credential != NULL && verified_before(cs, st->mac)) {
        tell_soon(st, CREDENTIAL_OK);
        return;
    }
    if (cs->checks > CREDENTIAL_HASHES_MAX) {
        tell_soon(st, CREDENTIAL_BUSY);
        return;
    }
    keep_password(st, password);
    st->crypt = calloc(1, sizeof *st->crypt);
    BUG_ON(st->crypt == NULL);
    st->working = true;
    work_start(&st->work, cs->loop, hash_run, hash_done);
}

void
credential_check_cancel(struct credential_check_op *op)
{
    struct credential_check_state *st = op->state;
    if (st != NULL && !st->telling)
        tell_soon(st, CREDENTIAL_BUSY);
}

const struct config_credential *
credential_renew(const struct credentials *cs, const struct config_credential *old)
{
    const struct config_credential *now =
        config_credential_by_user(cs->config, slice_str(old->user));
    bool same = now != NULL &&
                strcmp(text_or_empty(now->password_hash), text_or_empty(old->password_hash)) == 0;
    return same ? now : NULL;
}

/* ---- API keys ----------------------------------------------------------- */

/* Every credential is looked at, so that time does not tell which one it was. */
const struct config_credential *
credential_by_key(const struct credentials *cs, struct slice key)
{
    static const char digits[] = "0123456789abcdef";
    uint8_t digest[SHA256_DIGEST_LENGTH];
    char hex[2 * SHA256_DIGEST_LENGTH];
    SHA256((const unsigned char *)(key.n > 0 ? key.p : ""), key.n, digest);
    for (size_t i = 0; i < sizeof digest; i++) {
        hex[2 * i] = digits[digest[i] >> 4];
        hex[2 * i + 1] = digits[digest[i] & 15];
    }
    const struct config_credential *found = NULL;
    for (unsigned i = 0; i < cs->config->credential_count; i++) {
        const struct config_credential *cr = &cs->config->credentials[i];
        const char *stored = text_or_empty(cr->key_sha256);
        if (strlen(stored) == sizeof hex && CRYPTO_memcmp(stored, hex, sizeof hex) == 0)
            found = cr;
    }
    OPENSSL_cleanse(digest, sizeof digest);
    OPENSSL_cleanse(hex, sizeof hex);
    return found;
}

const struct config_credential *
credential_by_user(const struct credentials *cs, struct slice user)
{
    return config_credential_by_user(cs->config, user);
}
