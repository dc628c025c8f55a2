#include "relay/accept/scram.h"

#include <gsasl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

#include "relay/sys/base/base64.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/id.h"
#include "relay/sys/base/utf8.h"

struct scram {
    Gsasl *library;
    Gsasl_session *session;
    struct stream_binding binding;
    bool has_binding, plus;
    char user[SCRAM_USER_MAX + 1];
    struct buf bare;  /* client-first-message-bare */
    struct buf first; /* server-first-message */
};

/* ---- life ------------------------------------------------------------------- */

/* A library handle of its own: nothing is shared, and it opens nothing. */
struct scram *
scram_new(const struct stream_binding *binding, bool plus)
{
    struct scram *x = calloc(1, sizeof *x);
    BUG_ON(x == NULL || (plus && binding == NULL));
    if (binding != NULL)
        x->binding = *binding;
    x->has_binding = binding != NULL;
    x->plus = plus;
    buf_init(&x->bare, SCRAM_MESSAGE_MAX);
    buf_init(&x->first, (size_t)2 * SCRAM_MESSAGE_MAX);
    BUG_ON(gsasl_init(&x->library) != GSASL_OK);
    BUG_ON(gsasl_server_start(x->library, plus ? "SCRAM-SHA-256-PLUS" : "SCRAM-SHA-256",
                              &x->session) != GSASL_OK);
    return x;
}

void
scram_free(struct scram *x)
{
    if (x == NULL)
        return;
    gsasl_finish(x->session);
    gsasl_done(x->library);
    buf_fini(&x->bare);
    buf_fini(&x->first);
    OPENSSL_cleanse(x, sizeof *x);
    free(x);
}

struct slice
scram_user(const struct scram *x)
{
    return slice_str(x->user);
}

/* ---- the client's first message -----------------------------------------------
 *
 *   gs2-header  = ("p=" cb-name / "n" / "y") "," ["a=" saslname] ","
 *   bare        = "n=" saslname "," "r=" nonce ["," extensions]
 *   saslname    : "=2C" is a comma, "=3D" is "=", no other "=" (RFC 5802 5.1)
 */

static bool
unescape(struct slice name, char out[SCRAM_USER_MAX + 1])
{
    size_t n = 0;
    while (name.n > 0 && n < SCRAM_USER_MAX) {
        char c = slice_cut(&name, 1).p[0];
        if (c == '=') {
            struct slice code = slice_cut(&name, 2);
            if (!slice_eq(code, SLICE("2C")) && !slice_eq(code, SLICE("3D")))
                return false;
            c = code.p[0] == '2' ? ',' : '=';
        }
        out[n++] = c;
    }
    out[n] = '\0';
    return name.n == 0 && n > 0;
}

static bool
cut_attribute(struct slice *rest, const char *name, struct slice *value)
{
    if (!slice_starts(*rest, slice_str(name)))
        return false;
    *value = slice_skip(slice_cut_at(rest, ','), strlen(name));
    return true;
}

/* libgsasl takes texts to their first NUL. */
static bool
is_message(struct slice message)
{
    return message.n > 0 && message.n <= SCRAM_MESSAGE_MAX && utf8_is_valid(message) &&
           slice_find(message, '\0') == message.n;
}

/* What the flag says against what the connection has and the client chose. */
static enum scram_outcome
judge_flag(const struct scram *x, struct slice flag)
{
    if (slice_starts(flag, SLICE("p="))) {
        bool is_ours = x->plus && slice_eq(slice_skip(flag, 2), slice_str(x->binding.name));
        return is_ours ? SCRAM_GO_ON : SCRAM_WRONG;
    }
    if (slice_eq(flag, SLICE("y")))
        return x->has_binding ? SCRAM_DOWNGRADED : SCRAM_GO_ON;
    if (slice_eq(flag, SLICE("n")))
        return x->plus ? SCRAM_WRONG : SCRAM_GO_ON;
    return SCRAM_MALFORMED;
}

enum scram_outcome
scram_take_first(struct scram *x, struct slice message)
{
    char authzid[SCRAM_USER_MAX + 1] = "";
    struct slice rest = message, name, nonce;
    if (!is_message(message))
        return SCRAM_MALFORMED;
    struct slice flag = slice_cut_at(&rest, ','), to_act_for = slice_cut_at(&rest, ',');
    struct slice bare = rest;
    if (to_act_for.n > 0 &&
        (!slice_starts(to_act_for, SLICE("a=")) || !unescape(slice_skip(to_act_for, 2), authzid)))
        return SCRAM_MALFORMED;
    if (!cut_attribute(&rest, "n=", &name) || !unescape(name, x->user) ||
        !cut_attribute(&rest, "r=", &nonce) || nonce.n == 0)
        return SCRAM_MALFORMED;
    BUG_ON(!buf_add(&x->bare, bare));
    BUG_ON(!buf_add(&x->first, message)); /* until scram_answer() */
    if (authzid[0] != '\0' && strcmp(authzid, x->user) != 0)
        return SCRAM_WRONG; /* to act for somebody else is not offered */
    return judge_flag(x, flag);
}

/* ---- steps of the library ------------------------------------------------------ */

static void
set_octets(struct scram *x, Gsasl_property which, const uint8_t *bytes, size_t n)
{
    struct buf text;
    buf_init(&text, SCRAM_KEY_TEXT_MAX);
    BUG_ON(!base64_encode(slice_from(bytes, n), &text) || !buf_add_char(&text, '\0'));
    BUG_ON(gsasl_property_set(x->session, which, buf_slice(&text).p) != GSASL_OK);
    OPENSSL_cleanse(text.mem, text.cap);
    buf_fini(&text);
}

static void
set_binding(struct scram *x)
{
    bool is_unique = strcmp(x->binding.name, "tls-unique") == 0;
    set_octets(x, is_unique ? GSASL_CB_TLS_UNIQUE : GSASL_CB_TLS_EXPORTER, x->binding.bytes,
               x->binding.n);
}

static enum scram_outcome
outcome_of(int rc)
{
    BUG_ON(rc == GSASL_MALLOC_ERROR);
    return rc == GSASL_OK                      ? SCRAM_RIGHT
           : rc == GSASL_NEEDS_MORE            ? SCRAM_GO_ON
           : rc == GSASL_MECHANISM_PARSE_ERROR ? SCRAM_MALFORMED
                                               : SCRAM_WRONG;
}

/* One step; what it says goes to `out`. */
static enum scram_outcome
step(struct scram *x, struct slice message, struct buf *out)
{
    char *said = NULL;
    size_t n = 0;
    enum scram_outcome o = outcome_of(gsasl_step(x->session, message.p, message.n, &said, &n));
    if ((o == SCRAM_GO_ON || o == SCRAM_RIGHT) && !buf_add(out, slice_from(said, n)))
        o = SCRAM_MALFORMED; /* longer than anybody's first message makes it */
    gsasl_free(said);
    return o;
}

enum scram_outcome
scram_answer(struct scram *x, const struct scram_key *key, struct buf *out)
{
    char iterations[32];
    struct buf message = x->first;
    buf_init(&x->first, (size_t)2 * SCRAM_MESSAGE_MAX);
    if (x->plus)
        set_binding(x);
    snprintf(iterations, sizeof iterations, "%u", key->iterations);
    BUG_ON(gsasl_property_set(x->session, GSASL_SCRAM_ITER, iterations) != GSASL_OK);
    set_octets(x, GSASL_SCRAM_SALT, key->salt, key->salt_bytes);
    enum scram_outcome o = step(x, buf_slice(&message), &x->first);
    buf_fini(&message);
    if (o == SCRAM_GO_ON)
        return buf_add(out, buf_slice(&x->first)) ? SCRAM_GO_ON : SCRAM_MALFORMED;
    return o == SCRAM_RIGHT ? SCRAM_WRONG : o;
}

/* ---- the proof ----------------------------------------------------------------- */

/* RFC 5802 3: AuthMessage, and the proof in octets. */
static bool
read_proof(const struct scram *x, struct slice message, struct buf *auth,
           uint8_t proof[SCRAM_DIGEST_BYTES])
{
    size_t at = slice_find_slice(message, SLICE(",p="));
    struct slice text = slice_skip(message, at + 3);
    struct buf octets;
    buf_init(&octets, SCRAM_MESSAGE_MAX);
    bool good = at < message.n && base64_decode(text, &octets) && octets.len == SCRAM_DIGEST_BYTES;
    if (good) {
        memcpy(proof, buf_slice(&octets).p, SCRAM_DIGEST_BYTES);
        BUG_ON(!buf_add(auth, buf_slice(&x->bare)) || !buf_add_char(auth, ',') ||
               !buf_add(auth, buf_slice(&x->first)) || !buf_add_char(auth, ',') ||
               !buf_add(auth, slice_from(message.p, at)));
    }
    buf_fini(&octets);
    return good;
}

/* H(ClientProof XOR HMAC(StoredKey, AuthMessage)) = StoredKey */
static bool
is_proof_by(const struct scram_key *key, struct slice auth, const uint8_t proof[SCRAM_DIGEST_BYTES])
{
    uint8_t client[SCRAM_DIGEST_BYTES], stored[SCRAM_DIGEST_BYTES];
    BUG_ON(HMAC(EVP_sha256(), key->stored, sizeof key->stored, (const unsigned char *)auth.p,
                auth.n, client, NULL) == NULL);
    for (size_t i = 0; i < sizeof client; i++)
        client[i] ^= proof[i];
    SHA256(client, sizeof client, stored);
    OPENSSL_cleanse(client, sizeof client);
    return CRYPTO_memcmp(stored, key->stored, sizeof stored) == 0;
}

/* Which key the library is asked about: it can be asked once. */
static unsigned
key_of_proof(const struct scram *x, struct slice message, const struct scram_key keys[],
             unsigned count)
{
    uint8_t proof[SCRAM_DIGEST_BYTES];
    struct buf auth;
    unsigned found = 0;
    buf_init(&auth, (size_t)5 * SCRAM_MESSAGE_MAX);
    if (read_proof(x, message, &auth, proof))
        for (unsigned i = 0; i < count; i++)
            if (is_proof_by(&keys[i], buf_slice(&auth), proof))
                found = i;
    buf_fini(&auth);
    return found;
}

enum scram_outcome
scram_take_final(struct scram *x, struct slice message, const struct scram_key keys[],
                 unsigned count, unsigned *which, struct buf *out)
{
    BUG_ON(count == 0 || count > SCRAM_KEYS_MAX);
    if (!is_message(message))
        return SCRAM_MALFORMED;
    *which = key_of_proof(x, message, keys, count);
    set_octets(x, GSASL_SCRAM_STOREDKEY, keys[*which].stored, SCRAM_DIGEST_BYTES);
    set_octets(x, GSASL_SCRAM_SERVERKEY, keys[*which].server, SCRAM_DIGEST_BYTES);
    enum scram_outcome o = step(x, message, out);
    return o == SCRAM_GO_ON ? SCRAM_WRONG : o;
}

/* ---- making keys ----------------------------------------------------------------- */

static void
digest_of_label(const uint8_t salted[SCRAM_DIGEST_BYTES], const char *label,
                uint8_t out[SCRAM_DIGEST_BYTES])
{
    BUG_ON(HMAC(EVP_sha256(), salted, SCRAM_DIGEST_BYTES, (const unsigned char *)label,
                strlen(label), out, NULL) == NULL);
}

static void
derive(const char *password, struct scram_key *key)
{
    uint8_t salted[SCRAM_DIGEST_BYTES], client[SCRAM_DIGEST_BYTES];
    BUG_ON(PKCS5_PBKDF2_HMAC(password, (int)strlen(password), key->salt, (int)key->salt_bytes,
                             (int)key->iterations, EVP_sha256(), sizeof salted, salted) != 1);
    digest_of_label(salted, "Client Key", client);
    SHA256(client, sizeof client, key->stored);
    digest_of_label(salted, "Server Key", key->server);
    OPENSSL_cleanse(salted, sizeof salted);
    OPENSSL_cleanse(client, sizeof client);
}

bool
scram_key_make(struct slice password, const struct scram_key *like, struct scram_key *out)
{
    char text[SCRAM_PASSWORD_MAX + 1], *prepared = NULL;
    if (!slice_to_cstr(password, text, sizeof text) ||
        gsasl_saslprep(text, 0, &prepared, NULL) != GSASL_OK || prepared[0] == '\0') {
        OPENSSL_cleanse(text, sizeof text);
        gsasl_free(prepared);
        return false;
    }
    if (like != NULL) {
        *out = *like;
    } else {
        *out = (struct scram_key){.iterations = SCRAM_ITERATIONS, .salt_bytes = SCRAM_SALT};
        random_bytes(out->salt, SCRAM_SALT);
    }
    derive(prepared, out);
    OPENSSL_cleanse(text, sizeof text);
    OPENSSL_cleanse(prepared, strlen(prepared));
    gsasl_free(prepared);
    return true;
}
