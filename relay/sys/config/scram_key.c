#include "relay/sys/config/scram_key.h"

#include <stdio.h>
#include <string.h>

#include "relay/sys/base/base64.h"
#include "relay/sys/base/bug.h"

static const struct slice PREFIX = SLICE("SCRAM-SHA-256$");

/* least to most octets of base64. */
static bool
parse_octets(struct slice text, size_t least, size_t most, uint8_t *out, size_t *n)
{
    struct buf b;
    buf_init(&b, SCRAM_KEY_TEXT_MAX);
    bool good = base64_decode(text, &b) && b.len >= least && b.len <= most;
    if (good) {
        *n = b.len;
        memcpy(out, buf_slice(&b).p, b.len);
    }
    buf_fini(&b);
    return good;
}

static bool
parse_digest(struct slice text, uint8_t out[SCRAM_DIGEST_BYTES])
{
    size_t n;
    return parse_octets(text, SCRAM_DIGEST_BYTES, SCRAM_DIGEST_BYTES, out, &n);
}

bool
scram_key_parse(struct slice text, struct scram_key *out)
{
    struct scram_key key = {0};
    uint64_t iterations;
    if (text.n >= SCRAM_KEY_TEXT_MAX || !slice_starts(text, PREFIX))
        return false;
    slice_cut(&text, PREFIX.n);
    struct slice count = slice_cut_at(&text, ':'), salt = slice_cut_at(&text, '$'),
                 stored = slice_cut_at(&text, ':');
    if (!slice_to_u64(count, &iterations) || iterations < SCRAM_ITERATIONS_MIN ||
        iterations > SCRAM_ITERATIONS_MAX ||
        !parse_octets(salt, SCRAM_SALT_MIN, SCRAM_SALT_MAX, key.salt, &key.salt_bytes) ||
        !parse_digest(stored, key.stored) || !parse_digest(text, key.server))
        return false;
    key.iterations = (unsigned)iterations;
    *out = key;
    return true;
}

void
scram_key_format(const struct scram_key *key, char out[SCRAM_KEY_TEXT_MAX])
{
    struct buf b;
    buf_init(&b, SCRAM_KEY_TEXT_MAX - 1);
    BUG_ON(!buf_add(&b, PREFIX) || !buf_addf(&b, "%u:", key->iterations) ||
           !base64_encode(slice_from(key->salt, key->salt_bytes), &b) || !buf_add_char(&b, '$') ||
           !base64_encode(slice_from(key->stored, sizeof key->stored), &b) ||
           !buf_add_char(&b, ':') ||
           !base64_encode(slice_from(key->server, sizeof key->server), &b));
    BUG_ON(!slice_to_cstr(buf_slice(&b), out, SCRAM_KEY_TEXT_MAX));
    buf_fini(&b);
}

bool
scram_key_goes_with(const struct scram_key *a, const struct scram_key *b)
{
    return a->iterations == b->iterations && a->salt_bytes == b->salt_bytes &&
           memcmp(a->salt, b->salt, a->salt_bytes) == 0;
}
