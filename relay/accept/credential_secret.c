#include "relay/accept/credential_secret.h"

#include <crypt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include "relay/accept/scram.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/id.h"

enum { PASSWORD_LETTERS = 26, KEY_BYTES = 32, COST = 5 };

/* Without those that are taken for one another: people type passwords. */
static void
make_password(char out[PASSWORD_LETTERS + 1])
{
    static const char ALPHABET[32 + 1] = "abcdefghijkmnpqrstuvwxyz23456789";
    uint8_t bytes[PASSWORD_LETTERS];
    random_bytes(bytes, sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++)
        out[i] = ALPHABET[bytes[i] % 32];
    out[PASSWORD_LETTERS] = '\0';
    OPENSSL_cleanse(bytes, sizeof bytes);
}

static void
add_hex(const uint8_t *bytes, size_t n, char *out)
{
    for (size_t i = 0; i < n; i++)
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

static void
hash_password(struct credential_secret *s)
{
    char setting[CRYPT_GENSALT_OUTPUT_SIZE];
    uint8_t salt[16];
    struct crypt_data *data = calloc(1, sizeof *data);
    random_bytes(salt, sizeof salt);
    BUG_ON(data == NULL || crypt_gensalt_rn("$y$", COST, (const char *)salt, sizeof salt, setting,
                                            sizeof setting) == NULL);
    const char *hash = crypt_r(s->password, setting, data);
    BUG_ON(hash == NULL || hash[0] != '$' || strlen(hash) >= sizeof s->password_hash);
    memcpy(s->password_hash, hash, strlen(hash) + 1);
    OPENSSL_cleanse(data, sizeof *data);
    free(data);
}

static void
make_scram(struct credential_secret *s, const char *like)
{
    struct scram_key other, key;
    bool has_other = scram_key_parse(slice_str(like), &other);
    BUG_ON(!scram_key_make(slice_str(s->password), has_other ? &other : NULL, &key));
    scram_key_format(&key, s->scram);
    OPENSSL_cleanse(&key, sizeof key);
}

void
credential_secret_make(struct credential_secret *s, const char *like)
{
    uint8_t bytes[KEY_BYTES], digest[SHA256_DIGEST_LENGTH];
    make_password(s->password);
    hash_password(s);
    make_scram(s, like);
    random_bytes(bytes, sizeof bytes);
    memcpy(s->key, "sp_", 3);
    add_hex(bytes, sizeof bytes, s->key + 3);
    SHA256((const unsigned char *)s->key, strlen(s->key), digest);
    add_hex(digest, sizeof digest, s->key_sha256);
    OPENSSL_cleanse(bytes, sizeof bytes);
}

void
credential_secret_wipe(struct credential_secret *s)
{
    OPENSSL_cleanse(s, sizeof *s);
}
