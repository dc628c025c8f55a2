/*
 * Which keys a SCRAM exchange is held with. A false salt is a keyed hash of the name,
 * of the length and count that one of the credentials with keys has: what a stranger is
 * told does not say whether the name is known.
 */
#include <string.h>

#include <openssl/crypto.h>

#include "relay/accept/credential_internal.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/id.h"

/* ---- keys --------------------------------------------------------------------- */

/* Those of a credential that can be read and go with the first. */
static unsigned
keys_of(const struct config_credential *cr, struct scram_key keys[PASSWORDS],
        const char *texts[PASSWORDS])
{
    unsigned count = 0;
    for (unsigned i = 0; cr != NULL && i < PASSWORDS; i++) {
        texts[count] = credential_scram_text(cr, i);
        if (scram_key_parse(slice_str(texts[count]), &keys[count]) &&
            (count == 0 || scram_key_goes_with(&keys[0], &keys[count])))
            count++;
    }
    return count;
}

static bool
has_keys(const struct config_credential *cr)
{
    return credential_scram_text(cr, 0)[0] != '\0' || credential_scram_text(cr, 1)[0] != '\0';
}

bool
credentials_offer_scram(const struct credentials *cs)
{
    const struct config_credential *cr;
    for (unsigned i = 0; (cr = credential_at(cs, i)) != NULL; i++)
        if (has_keys(cr))
            return true;
    return false;
}

static void
take_shape(const struct credentials *cs, struct slice user, struct scram_key *out)
{
    const struct config_credential *cr = credential_standing_in(cs, user, has_keys);
    struct scram_key keys[PASSWORDS];
    const char *texts[PASSWORDS];
    bool found = keys_of(cr, keys, texts) > 0;
    out->iterations = found ? keys[0].iterations : SCRAM_ITERATIONS;
    out->salt_bytes = found ? keys[0].salt_bytes : SCRAM_SALT;
}

/* Nobody's: no proof fits it. */
static void
false_key(const struct credentials *cs, struct slice user, struct scram_key *out)
{
    uint8_t digest[SHA512_DIGEST_LENGTH];
    *out = (struct scram_key){0};
    take_shape(cs, user, out);
    credential_name_digest(cs, INVENTED_SALT, user, digest);
    memcpy(out->salt, digest, out->salt_bytes);
    random_bytes(out->stored, sizeof out->stored);
    random_bytes(out->server, sizeof out->server);
}

/* The false key is made for everybody, so that time does not tell. */
static unsigned
keys_for(const struct credentials *cs, const struct config_credential *cr, struct slice user,
         struct scram_key keys[PASSWORDS], const char *texts[PASSWORDS])
{
    struct scram_key none;
    false_key(cs, user, &none);
    unsigned count = keys_of(cr, keys, texts);
    if (count > 0)
        return count;
    keys[0] = none;
    texts[0] = NULL;
    return 1;
}

/* ---- the exchange --------------------------------------------------------------- */

void
credential_scram_init(struct credential_scram *x, struct credentials *cs,
                      const struct stream_binding *binding, bool plus)
{
    x->cs = cs;
    x->exchange = scram_new(binding, plus);
    buf_init(&x->last, SCRAM_MESSAGE_MAX);
}

void
credential_scram_fini(struct credential_scram *x)
{
    scram_free(x->exchange);
    buf_fini(&x->last);
    *x = (struct credential_scram){0};
}

enum scram_outcome
credential_scram_first(struct credential_scram *x, struct slice message, struct buf *answer)
{
    struct scram_key keys[PASSWORDS];
    const char *texts[PASSWORDS];
    enum scram_outcome o = scram_take_first(x->exchange, message);
    if (o != SCRAM_GO_ON)
        return o;
    struct slice user = scram_user(x->exchange);
    keys_for(x->cs, credential_by_user(x->cs, user), user, keys, texts);
    o = scram_answer(x->exchange, &keys[0], answer);
    OPENSSL_cleanse(keys, sizeof keys);
    return o;
}

const char *
credential_scram_judge(const struct credentials *cs, const struct config_credential *cr,
                       struct credential_scram *x, struct slice final)
{
    struct scram_key keys[PASSWORDS];
    const char *texts[PASSWORDS];
    unsigned which = 0;
    unsigned count = keys_for(cs, cr, scram_user(x->exchange), keys, texts);
    enum scram_outcome o = scram_take_final(x->exchange, final, keys, count, &which, &x->last);
    OPENSSL_cleanse(keys, sizeof keys);
    return o == SCRAM_RIGHT ? texts[which] : NULL;
}
