#include "relay/accept/api_key.h"

#include <stdint.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/sha.h>

_Static_assert(API_KEY_DIGEST_HEX == 2 * SHA256_DIGEST_LENGTH, "two digits a byte");

void
api_key_digest(struct slice key, char hex[API_KEY_DIGEST_HEX])
{
    static const char digits[] = "0123456789abcdef";
    uint8_t digest[SHA256_DIGEST_LENGTH];
    SHA256((const unsigned char *)(key.n > 0 ? key.p : ""), key.n, digest);
    for (size_t i = 0; i < sizeof digest; i++) {
        hex[2 * i] = digits[digest[i] >> 4];
        hex[2 * i + 1] = digits[digest[i] & 15];
    }
    OPENSSL_cleanse(digest, sizeof digest);
}

bool
api_key_is(const char *stored, const char hex[API_KEY_DIGEST_HEX])
{
    return stored != NULL && strlen(stored) == API_KEY_DIGEST_HEX &&
           CRYPTO_memcmp(stored, hex, API_KEY_DIGEST_HEX) == 0;
}
