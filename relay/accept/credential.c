#include "relay/accept/credential_internal.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "relay/accept/api_key.h"
#include "relay/accept/policy/expiry.h"
#include "relay/accept/policy/network.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/id.h"
#include "relay/sys/base/log.h"

static const char *
text_or_empty(const char *s)
{
    return s != NULL ? s : "";
}

struct credentials *
credentials_new(struct loop *l, const struct config *c)
{
    struct credentials *cs = calloc(1, sizeof *cs);
    BUG_ON(cs == NULL);
    cs->loop = l;
    cs->config = c;
    list_init(&cs->hashing);
    random_bytes(cs->mac_key, sizeof cs->mac_key);
    random_bytes(cs->name_key, sizeof cs->name_key);
    return cs;
}

void
credentials_use_queue(struct credentials *cs, struct queue *q)
{
    cs->queue = cs->config->development ? NULL : q;
    cs->registry = credential_registry_new(cs, q);
}

bool
credentials_are_known(const struct credentials *cs)
{
    return cs->registry == NULL || cs->held != NULL;
}

void
credentials_free_when_idle(struct credentials *cs)
{
    if (!cs->freed || cs->checks > 0)
        return;
    config_free(cs->held);
    json_decref(cs->marks);
    OPENSSL_cleanse(cs, sizeof *cs);
    free(cs);
}

void
credentials_close(struct credentials *cs)
{
    credential_registry_close(cs->registry);
    cs->registry = NULL;
}

void
credentials_free(struct credentials *cs)
{
    if (cs == NULL)
        return;
    cs->freed = true;
    credentials_close(cs);
    credentials_free_when_idle(cs);
}

/* ---- who there is --------------------------------------------------------- */

const struct config_credential *
credential_by_user(const struct credentials *cs, struct slice user)
{
    const struct config_credential *cr = config_credential_by_user(cs->config, user);
    const struct config_credential *held =
        cs->held != NULL ? config_credential_by_user(cs->held, user) : NULL;
    return cr != NULL ? cr : held;
}

bool
credential_is_frozen(const struct credentials *cs, struct slice user)
{
    const struct config_credential *cr = credential_by_user(cs, user);
    if (cr == NULL)
        return false;
    return cr->frozen || (credential_is_of_file(cs, cr) && credential_is_marked(cs, cr->user));
}

const char *
credential_password_hash(const struct config_credential *cr, unsigned i)
{
    return text_or_empty(i == 0 ? cr->password_hash : cr->other_password_hash);
}

const char *
credential_scram_text(const struct config_credential *cr, unsigned i)
{
    return text_or_empty(i == 0 ? cr->scram : cr->other_scram);
}

static const char *
key_hash(const struct config_credential *cr, unsigned i)
{
    return text_or_empty(i == 0 ? cr->key_sha256 : cr->other_key_sha256);
}

/* The client is not told why: who steals a password should not learn what else
 * it takes. The log says it. */
bool
credential_is_usable(const struct config_credential *cr, const struct net_address *from)
{
    char ip[64] = "";
    bool over = policy_expiry_is_over(cr, clock_sched_unix_ms());
    if (!over && policy_network_admits(cr, from))
        return true;
    if (from != NULL)
        net_address_format_ip(from, ip);
    LOG(LOG_NOTICE, "credential.not-usable", LF_STR("why", over ? "expired" : "network"),
        LF_STR("user", cr->user), LF_STR("client", ip));
    return false;
}

/* ---- names that nobody has -------------------------------------------------- */

void
credential_name_digest(const struct credentials *cs, enum credential_invented what,
                       struct slice user, uint8_t digest[SHA512_DIGEST_LENGTH])
{
    uint8_t key[sizeof cs->name_key + 1];
    memcpy(key, cs->name_key, sizeof cs->name_key);
    key[sizeof cs->name_key] = (uint8_t)what;
    BUG_ON(HMAC(EVP_sha512(), key, sizeof key, (const unsigned char *)user.p, user.n, digest,
                NULL) == NULL);
    OPENSSL_cleanse(key, sizeof key);
}

void
credential_use_dataset(struct credentials *cs, struct slice dataset)
{
    if (dataset.n > 0)
        SHA256((const unsigned char *)dataset.p, dataset.n, cs->name_key);
}

const struct config_credential *
credential_standing_in(const struct credentials *cs, struct slice user,
                       bool (*has)(const struct config_credential *))
{
    uint8_t digest[SHA512_DIGEST_LENGTH];
    const struct config_credential *cr;
    uint32_t count = 0, chosen;
    for (unsigned i = 0; (cr = credential_at(cs, i)) != NULL; i++)
        count += has(cr);
    if (count == 0)
        return NULL;
    credential_name_digest(cs, INVENTED_STAND_IN, user, digest);
    memcpy(&chosen, digest, sizeof chosen);
    chosen %= count;
    for (unsigned i = 0; (cr = credential_at(cs, i)) != NULL; i++)
        if (has(cr) && chosen-- == 0)
            break;
    return cr;
}

/* ---- proofs --------------------------------------------------------------- */

struct credential_proof
credential_proof_of(const char *stored)
{
    struct credential_proof p;
    SHA256((const unsigned char *)stored, strlen(stored), p.digest);
    return p;
}

static bool
proves(const struct credential_proof *proof, const char *stored)
{
    struct credential_proof p = credential_proof_of(stored);
    return stored[0] != '\0' && CRYPTO_memcmp(p.digest, proof->digest, sizeof p.digest) == 0;
}

const struct config_credential *
credential_renew(const struct credentials *cs, const struct config_credential *old,
                 const struct credential_proof *proof, const struct net_address *from)
{
    const struct config_credential *now = credential_by_user(cs, slice_str(old->user));
    if (now == NULL || credential_is_frozen(cs, slice_str(now->user)) ||
        !credential_is_usable(now, from))
        return NULL;
    for (unsigned i = 0; i < PASSWORDS; i++)
        if (proves(proof, credential_password_hash(now, i)) || proves(proof, key_hash(now, i)) ||
            proves(proof, credential_scram_text(now, i)))
            return now;
    return NULL;
}

/* ---- API keys ------------------------------------------------------------- */

/* Every credential is looked at, so that time does not tell which one it was. */
const struct config_credential *
credential_find_key(const struct credentials *cs, struct slice key, const char **stored)
{
    char hex[API_KEY_DIGEST_HEX];
    api_key_digest(key, hex);
    const struct config_credential *found = NULL;
    const struct config_credential *cr;
    for (unsigned i = 0; (cr = credential_at(cs, i / 2)) != NULL; i++) {
        const char *hash = key_hash(cr, i % 2);
        if (api_key_is(hash, hex)) {
            found = cr;
            *stored = hash;
        }
    }
    OPENSSL_cleanse(hex, sizeof hex);
    return found;
}

const struct config_credential *
credential_by_key(const struct credentials *cs, struct slice key, const struct net_address *from)
{
    const char *stored;
    const struct config_credential *cr = credential_find_key(cs, key, &stored);
    return cr != NULL && credential_is_usable(cr, from) ? cr : NULL;
}
