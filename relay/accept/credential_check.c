/*
 * Happy path: the queue is asked whether client and account have failed too
 * often; the user is looked up; when the password was right some minutes ago, or
 * is an API key, or this is the proof of a SCRAM exchange, the answer is ready on the
 * next turn; else crypt_r() runs on the work pool and a right answer is remembered.
 * Who asks the same meanwhile waits for that answer: after a restart all clients of
 * an application come at once, with one password.
 *
 * Ways it ends: OK, WRONG (a known or an unknown user: as many hashes were
 * computed for both), WAIT (nothing was computed: a right password is not told
 * from a wrong one), BUSY (CREDENTIAL_HASHES_MAX are under way, Redis is away, the
 * credentials are not known yet, or cancelled). The hash of a cancelled check runs to its end
 * unheard.
 */
#include <crypt.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "queue/allowance.h"
#include "relay/accept/credential_internal.h"
#include "relay/sys/base/buf.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/net/work.h"

/* Takes part in no login: it gives the hash of an unknown user its cost when
 * no credential has a password. */
static const char DUMMY_SETTING[] = "$y$j9T$abcdefghijklmnopqrstu.";

struct credential_check_state {
    struct work_op work;
    struct deferred soon;
    struct credentials *cs;
    struct config_generation *memory, *held; /* of what follows */
    struct credential_check_op *op;          /* NULL once cancelled and told */
    struct net_address from;
    bool has_from;
    const struct config_credential *credential;    /* NULL: unknown user */
    const char *settings[PASSWORDS];               /* stored hash, or the dummy's */
    bool live[PASSWORDS];                          /* a stored one, which may be right */
    uint8_t macs[PASSWORDS][SHA256_DIGEST_LENGTH]; /* of user, password and setting */
    unsigned count;                                /* of settings */
    const char *proven;                            /* the stored hash that was right */
    struct slice user;                             /* copies in one piece of memory, wiped */
    char *password;                                /* NUL-terminated */
    size_t password_bytes, secret_bytes;
    struct crypt_data *crypt;
    struct credential_scram *scram; /* not NULL: `password` is its last message */
    struct queue_guard_op guard;
    char network[64];
    unsigned wait_s;
    enum credential_result result;
    struct list_node node; /* of `hashing`, or of another's `waiters` */
    struct list waiters;   /* for the answer to the same question */
    bool refused;          /* right, and of no use */
    bool asking, working;  /* the guard is, the pool is */
    bool telling;          /* `soon` is scheduled: the result is settled */
};

/* ---- what was verified before ------------------------------------------- */

/* The stored hash is part of it: a changed password is a different entry. */
static void
mac_of(const struct credential_check_state *st, const char *stored,
       uint8_t mac[SHA256_DIGEST_LENGTH])
{
    struct slice password = slice_from(st->password, st->password_bytes);
    const uint64_t lengths[] = {st->user.n, password.n};
    struct buf b;
    BUG_ON(stored == NULL);
    buf_init(&b, SIZE_MAX / 2);
    buf_reserve(&b, sizeof lengths + st->user.n + password.n + strlen(stored)); /* moved never */
    buf_add(&b, slice_from(lengths, sizeof lengths));
    buf_add(&b, st->user);
    buf_add(&b, password);
    buf_add_str(&b, stored);
    struct slice all = buf_slice(&b);
    BUG_ON(HMAC(EVP_sha256(), st->cs->mac_key, sizeof st->cs->mac_key, (const unsigned char *)all.p,
                all.n, mac, NULL) == NULL);
    OPENSSL_cleanse(b.mem, b.cap);
    buf_fini(&b);
}

static struct verified *
verified_slot(struct credentials *cs, const uint8_t mac[SHA256_DIGEST_LENGTH])
{
    return &cs->verified[(mac[0] | (unsigned)mac[1] << 8) % CREDENTIAL_CACHE_SLOTS];
}

/* The stored hash under which the password was right before; NULL: none. */
static const char *
verified_before(const struct credential_check_state *st)
{
    for (unsigned i = 0; i < st->count; i++) {
        const struct verified *v = verified_slot(st->cs, st->macs[i]);
        if (st->live[i] && v->until_ms > clock_mono_ms() &&
            CRYPTO_memcmp(v->mac, st->macs[i], sizeof v->mac) == 0)
            return st->settings[i];
    }
    return NULL;
}

static void
remember(const struct credential_check_state *st)
{
    for (unsigned i = 0; i < st->count; i++) {
        if (st->settings[i] != st->proven)
            continue;
        struct verified *v = verified_slot(st->cs, st->macs[i]);
        memcpy(v->mac, st->macs[i], sizeof v->mac);
        v->until_ms = clock_mono_ms() + CREDENTIAL_CACHE_MS;
    }
}

/* ---- the end -------------------------------------------------------------- */

static void
state_free(struct credential_check_state *st)
{
    struct credentials *cs = st->cs;
    OPENSSL_cleanse(st->password, st->secret_bytes);
    free(st->password);
    if (st->crypt != NULL)
        OPENSSL_cleanse(st->crypt, sizeof *st->crypt);
    free(st->crypt);
    config_let_go(&st->memory);
    config_let_go(&st->held);
    free(st);
    cs->checks--;
    credentials_free_when_idle(cs);
}

static void
state_free_when_idle(struct credential_check_state *st)
{
    if (!st->asking && !st->working)
        state_free(st);
}

/* What the guard is told. Failures at names that nobody has count too: when only ours
 * became slow under attack, an attack would find them. Each costs a hash, so that
 * strangers cannot fill Redis with names quickly, and is forgotten after an hour. */
static void
note_result(const struct credential_check_state *st, enum credential_result result)
{
    bool right = result == CREDENTIAL_OK;
    struct slice account = right ? slice_str(st->credential->user) : st->user;
    if (st->network[0] == '\0' || (right && st->guard.is_known))
        return;
    if (right || result == CREDENTIAL_WRONG)
        queue_guard_note(st->cs->queue, account, slice_str(st->network), !right);
}

/* It may have been removed or changed by a reload while the hash was computed; and a
 * right secret may be used neither from everywhere nor for ever. Once refused it is not
 * asked again: the log says why. */
static const struct config_credential *
admitted(struct credential_check_state *st)
{
    if (st->proven == NULL || st->credential == NULL || st->refused)
        return NULL;
    struct credential_proof proof = credential_proof_of(st->proven);
    const struct config_credential *cr =
        credential_renew(st->cs, st->credential, &proof, st->has_from ? &st->from : NULL);
    st->refused = cr == NULL;
    return cr;
}

/* Tells the owner; the hash may still be running. */
static void
state_tell(struct credential_check_state *st)
{
    struct credential_check_op *op = st->op;
    op->result = st->result;
    op->credential = st->result == CREDENTIAL_OK ? admitted(st) : NULL;
    if (op->credential != NULL)
        op->proof = credential_proof_of(st->proven);
    else if (op->result == CREDENTIAL_OK)
        op->result = CREDENTIAL_WRONG;
    op->wait_s = st->wait_s;
    note_result(st, op->result);
    st->op = NULL;
    op->state = NULL;
    state_free_when_idle(st);
    op->done(op);
}

static void
on_soon(struct deferred *d)
{
    state_tell(container_of(d, struct credential_check_state, soon));
}

static void
tell_soon(struct credential_check_state *st, enum credential_result result)
{
    st->result = result;
    st->telling = true;
    deferred_schedule(&st->soon);
}

/* ---- the same question ----------------------------------------------------- */

static bool
same_question(const struct credential_check_state *a, const struct credential_check_state *b)
{
    return a->count == b->count && memcmp(a->live, b->live, sizeof a->live) == 0 &&
           CRYPTO_memcmp(a->macs, b->macs, sizeof a->macs) == 0;
}

/* false: nobody has asked the same. */
static bool
try_wait_for_another(struct credential_check_state *st)
{
    LIST_EACH(&st->cs->hashing, it)
    {
        struct credential_check_state *other =
            container_of(it, struct credential_check_state, node);
        if (!same_question(st, other))
            continue;
        list_push(&other->waiters, &st->node);
        return true;
    }
    return false;
}

/* A right answer has been remembered by now. */
static void
tell_waiters(struct credential_check_state *st)
{
    struct list_node *n;
    while ((n = list_pop(&st->waiters)) != NULL) {
        struct credential_check_state *w = container_of(n, struct credential_check_state, node);
        w->proven = verified_before(w);
        tell_soon(w, w->proven != NULL ? CREDENTIAL_OK : CREDENTIAL_WRONG);
    }
}

/* ---- the hash ------------------------------------------------------------- */

/* crypt_r() answers "*0" or "*1", or NULL, to what it cannot hash; neither can
 * equal a stored hash of 20 characters and more. */
static bool
matches(const struct credential_check_state *st, const char *setting)
{
    const char *got = crypt_r(st->password, setting, st->crypt);
    size_t n = strlen(setting);
    return got != NULL && got[0] != '*' && strlen(got) == n && CRYPTO_memcmp(got, setting, n) == 0;
}

/* On the pool thread. All of them: a right one that may not be used takes as long as a
 * wrong one. */
static void
hash_run(struct work_op *work)
{
    struct credential_check_state *st = container_of(work, struct credential_check_state, work);
    for (unsigned i = 0; i < st->count; i++)
        if (matches(st, st->settings[i]) && st->live[i])
            st->proven = st->settings[i];
}

static void
hash_done(struct work_op *work)
{
    struct credential_check_state *st = container_of(work, struct credential_check_state, work);
    st->working = false;
    st->cs->hashes--;
    list_remove(&st->node);
    if (st->proven != NULL)
        remember(st);
    tell_waiters(st);
    if (st->op == NULL) {
        state_free_when_idle(st);
        return;
    }
    if (st->telling)
        return; /* cancelled: on_soon() tells and frees */
    st->result = st->proven != NULL ? CREDENTIAL_OK : CREDENTIAL_WRONG;
    state_tell(st);
}

/* ---- what is hashed ------------------------------------------------------- */

/* "": none. */
static const char *
some_password_hash(const struct config_credential *cr)
{
    const char *first = credential_password_hash(cr, 0);
    return first[0] != '\0' ? first : credential_password_hash(cr, 1);
}

static bool
has_password(const struct config_credential *cr)
{
    return some_password_hash(cr)[0] != '\0';
}

/* As often as any user needs. */
static unsigned
hashes_needed(const struct credentials *cs)
{
    const struct config_credential *cr;
    for (unsigned i = 0; (cr = credential_at(cs, i)) != NULL; i++)
        if (credential_password_hash(cr, 1)[0] != '\0')
            return PASSWORDS;
    return 1;
}

/* A user without a password costs what one with a password does: hashes of the file
 * and of the registry may be of different kinds, and some of them take ten times as
 * long. crypt(5) ends at a NUL, which must not make two passwords one. */
static void
choose_settings(struct credential_check_state *st, bool password_has_nul)
{
    bool real = st->credential != NULL && has_password(st->credential);
    const struct config_credential *stand_in =
        credential_standing_in(st->cs, st->user, has_password); /* chosen for everybody */
    const struct config_credential *cr = real ? st->credential : stand_in;
    const char *some = cr != NULL ? some_password_hash(cr) : DUMMY_SETTING;
    st->count = hashes_needed(st->cs);
    for (unsigned i = 0; i < st->count; i++) {
        const char *stored = cr != NULL ? credential_password_hash(cr, i) : "";
        st->live[i] = real && stored[0] != '\0' && !password_has_nul;
        st->settings[i] = stored[0] != '\0' ? stored : some;
        mac_of(st, st->settings[i], st->macs[i]);
    }
}

static void
keep(struct credential_check_state *st, struct slice user, struct slice password)
{
    st->password_bytes = password.n;
    st->secret_bytes = password.n + 1 + user.n;
    st->password = calloc(1, st->secret_bytes + 1);
    BUG_ON(st->password == NULL);
    if (password.n > 0)
        memcpy(st->password, password.p, password.n);
    char *name = st->password + password.n + 1;
    if (user.n > 0)
        memcpy(name, user.p, user.n);
    st->user = slice_from(name, user.n);
}

/* A key under the name of another credential of its tenant is somebody's mistake, and is
 * wrong. Names of other tenants are like any name: nobody finds out by a key of his own
 * which ones there are. */
static bool
is_key_under(const struct config_credential *cr, const struct config_credential *named)
{
    return named == NULL || named == cr || strcmp(named->tenant, cr->tenant) != 0;
}

static bool
is_key(struct credential_check_state *st, struct slice key)
{
    const char *stored;
    if (key.n < CREDENTIAL_KEY_AS_PASSWORD_MIN)
        return false;
    const struct config_credential *cr = credential_find_key(st->cs, key, &stored);
    if (cr == NULL || !is_key_under(cr, st->credential))
        return false;
    const struct config_credential *named = st->credential;
    st->credential = cr;
    st->proven = stored;
    if (admitted(st) != NULL)
        return true;
    st->credential = named;
    st->proven = NULL;
    return false;
}

/* It was right some minutes ago. One that may not be used any more, or not from there, is
 * hashed again: a quick refusal would tell that it is right. */
static bool
is_remembered(struct credential_check_state *st)
{
    st->proven = verified_before(st);
    if (admitted(st) != NULL)
        return true;
    st->proven = NULL;
    return false;
}

/* Some hashes of short texts: no work for the pool, nothing to remember. */
static void
judge_scram(struct credential_check_state *st)
{
    st->proven = credential_scram_judge(st->cs, st->credential, st->scram,
                                        slice_from(st->password, st->password_bytes));
    tell_soon(st, st->proven != NULL ? CREDENTIAL_OK : CREDENTIAL_WRONG);
}

static void
begin(struct credential_check_state *st)
{
    if (!credentials_are_known(st->cs)) {
        tell_soon(st, CREDENTIAL_BUSY);
        return;
    }
    if (st->scram != NULL) {
        judge_scram(st);
        return;
    }
    struct slice password = slice_from(st->password, st->password_bytes);
    choose_settings(st, slice_find(password, '\0') < password.n);
    if (is_key(st, password) || is_remembered(st)) {
        tell_soon(st, CREDENTIAL_OK);
        return;
    }
    if (try_wait_for_another(st))
        return;
    if (st->cs->hashes >= CREDENTIAL_HASHES_MAX) {
        tell_soon(st, CREDENTIAL_BUSY);
        return;
    }
    st->crypt = calloc(1, sizeof *st->crypt);
    BUG_ON(st->crypt == NULL);
    st->working = true;
    st->cs->hashes++;
    list_push(&st->cs->hashing, &st->node);
    work_start(&st->work, st->cs->loop, hash_run, hash_done);
}

/* ---- the guard -------------------------------------------------------------- */

static void
on_guarded(struct queue_guard_op *guard)
{
    struct credential_check_state *st = container_of(guard, struct credential_check_state, guard);
    st->asking = false;
    if (st->op == NULL) {
        state_free_when_idle(st);
    } else if (st->telling) {
        return; /* cancelled */
    } else if (guard->err.code != ERR_NONE) {
        tell_soon(st, CREDENTIAL_BUSY);
    } else if (guard->wait_ms > 0) {
        st->wait_s = (unsigned)((guard->wait_ms + 999) / 1000);
        tell_soon(st, CREDENTIAL_WAIT);
    } else {
        begin(st);
    }
}

/* A whole /64 is one client: that is what one gets. ::ffff:0:0/96 is IPv4. */
static void
name_network(struct credential_check_state *st)
{
    static const uint8_t MAPPED[12] = {[10] = 0xff, [11] = 0xff};
    struct net_address a = st->from;
    if (a.kind == NET_IPV6 && memcmp(a.ip, MAPPED, sizeof MAPPED) != 0)
        memset(a.ip + 8, 0, 8);
    net_address_format_ip(&a, st->network);
}

/* As many questions for a name that nobody has: their number takes time. */
static void
ask_guard(struct credential_check_state *st)
{
    name_network(st);
    st->asking = true;
    st->guard.done = on_guarded;
    st->guard.account = st->user;
    st->guard.network = slice_str(st->network);
    queue_guard_start(&st->guard, st->cs->queue);
}

static void
check_start(struct credential_check_op *op, struct credentials *cs, struct slice user,
            struct slice secret, struct credential_scram *scram)
{
    struct credential_check_state *st = calloc(1, sizeof *st);
    BUG_ON(st == NULL);
    cs->checks++;
    st->cs = cs;
    st->op = op;
    st->scram = scram;
    op->state = st;
    op->credential = NULL;
    deferred_init(&st->soon, cs->loop, on_soon);
    list_node_init(&st->node);
    list_init(&st->waiters);
    st->memory = config_hold(cs->config->memory);
    st->held = cs->held != NULL ? config_hold(cs->held->memory) : NULL;
    st->has_from = op->from != NULL;
    if (st->has_from)
        st->from = *op->from;
    keep(st, user, secret);
    st->credential = credential_by_user(cs, user);
    if (cs->queue != NULL && st->has_from && st->from.kind != NET_UNIX)
        ask_guard(st);
    else
        begin(st);
}

void
credential_check_start(struct credential_check_op *op, struct credentials *cs, struct slice user,
                       struct slice password)
{
    check_start(op, cs, user, password, NULL);
}

void
credential_check_scram_start(struct credential_check_op *op, struct credential_scram *x,
                             struct slice message)
{
    check_start(op, x->cs, scram_user(x->exchange), message, x);
}

void
credential_check_cancel(struct credential_check_op *op)
{
    struct credential_check_state *st = op->state;
    if (st == NULL || st->telling)
        return;
    if (st->asking)
        queue_guard_cancel(&st->guard);
    if (!st->working)
        list_remove(&st->node);
    tell_soon(st, CREDENTIAL_BUSY);
}
