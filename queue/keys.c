#include "queue/keys.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"

static const char *const PARTS[] = {
    [KEY_LEASE] = "lease", [KEY_DUE] = "due",     [KEY_INFLIGHT] = "inflight", [KEY_NDR] = "ndr",
    [KEY_OUT] = "out",     [KEY_HIST] = "hist",   [KEY_STAT] = "stat",         [KEY_BAD] = "bad",
    [KEY_IDX] = "idx",     [KEY_LANES] = "lanes", [KEY_HELD] = "held",
};

struct slice
key_slice(const struct key *k)
{
    return slice_from(k->text, k->n);
}

static void
add(struct key *k, const char *text, size_t n)
{
    BUG_ON(k->n + n >= sizeof k->text);
    memcpy(k->text + k->n, text, n);
    k->n += n;
}

/* "sp:{P}:" kind rest. By hand: a message needs some thirty of these. */
static struct key
key_printed(unsigned partition, const char *kind, const char *rest)
{
    struct key k;
    char digits[3];
    size_t at = sizeof digits;
    BUG_ON(partition >= QUEUE_PARTITIONS);
    for (unsigned left = partition; at == sizeof digits || left > 0; left /= 10)
        digits[--at] = (char)('0' + left % 10);
    k.n = 0;
    add(&k, "sp:{", 4);
    add(&k, digits + at, sizeof digits - at);
    add(&k, "}:", 2);
    add(&k, kind, strlen(kind));
    add(&k, rest, strlen(rest));
    return k;
}

struct key
key_of_part(unsigned partition, enum key_part part)
{
    return key_printed(partition, PARTS[part], "");
}

static struct key
key_of_id(const char *kind, struct msg_id id)
{
    char text[ID_TEXT_BYTES + 1];
    id_format(id, text);
    return key_printed(id_partition(id), kind, text);
}

struct key
key_of_message(struct msg_id id)
{
    return key_of_id("m:", id);
}

struct key
key_of_tombstone(struct msg_id id)
{
    return key_of_id("x:", id);
}

struct key
key_of_chunk(struct msg_id id, unsigned chunk)
{
    char rest[ID_TEXT_BYTES + 16];
    id_format(id, rest);
    snprintf(rest + ID_TEXT_BYTES, sizeof rest - ID_TEXT_BYTES, ":%u", chunk);
    return key_printed(id_partition(id), "b:", rest);
}

struct key
key_of_idempotency(unsigned partition, const uint8_t digest[32])
{
    char hex[65];
    for (size_t i = 0; i < 32; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    return key_printed(partition, "idem:", hex);
}

static struct key
key_of_lane(unsigned partition, const char *kind, struct slice lane)
{
    struct key k = key_printed(partition, kind, "");
    BUG_ON(k.n + lane.n > sizeof k.text);
    if (lane.n > 0) /* a record that is put away may have none */
        memcpy(k.text + k.n, lane.p, lane.n);
    k.n += lane.n;
    return k;
}

struct key
key_of_account(const char *kind, const uint8_t digest[32])
{
    struct key k;
    int n = snprintf(k.text, sizeof k.text, "sp:{a%u}:%s:", digest[0] % 16u, kind);
    BUG_ON(n < 0 || (size_t)n + 64 >= sizeof k.text);
    for (size_t i = 0; i < 32; i++)
        snprintf(k.text + n + 2 * i, 3, "%02x", digest[i]);
    k.n = (size_t)n + 64;
    return k;
}

struct key
key_of_queue(unsigned partition, struct slice lane)
{
    return key_of_lane(partition, "q:", lane);
}

struct key
key_of_held(unsigned partition, struct slice lane)
{
    return key_of_lane(partition, "h:", lane);
}

size_t
key_member(struct msg_id id, unsigned n, char out[KEY_MEMBER_MAX + 1])
{
    id_format(id, out);
    int more = snprintf(out + ID_TEXT_BYTES, KEY_MEMBER_MAX + 1 - ID_TEXT_BYTES, ".%u", n);
    BUG_ON(more < 0 || n > 99999);
    return ID_TEXT_BYTES + (size_t)more;
}

bool
key_member_parse(struct slice member, struct msg_id *id, unsigned *n)
{
    uint64_t number;
    struct slice rest = member;
    if (!id_parse(slice_cut(&rest, ID_TEXT_BYTES), id) || rest.n < 2 || rest.p[0] != '.')
        return false;
    if (!slice_to_u64(slice_skip(rest, 1), &number) || number >= QUEUE_DELIVERIES_MAX)
        return false;
    *n = (unsigned)number;
    return true;
}

bool
key_lane(enum queue_class klass, struct slice next_hop, struct slice tenant, struct key *out)
{
    if (next_hop.n > ADDRESS_DOMAIN_MAX || tenant.n > TENANT_BYTES_MAX)
        return false;
    int n = snprintf(out->text, sizeof out->text, "%u:%zu:", (unsigned)klass, next_hop.n);
    BUG_ON(n < 0);
    out->n = (size_t)n;
    memcpy(out->text + out->n, next_hop.p != NULL ? next_hop.p : "", next_hop.n);
    out->n += next_hop.n;
    out->text[out->n++] = ':';
    memcpy(out->text + out->n, tenant.p != NULL ? tenant.p : "", tenant.n);
    out->n += tenant.n;
    BUG_ON(out->n > KEY_LANE_MAX);
    return true;
}

bool
key_lane_parse(struct slice lane, enum queue_class *klass, struct slice *next_hop,
               struct slice *tenant)
{
    uint64_t number, n;
    struct slice rest = lane;
    if (!slice_to_u64(slice_cut_at(&rest, ':'), &number) || number > QUEUE_BULK ||
        !slice_to_u64(slice_cut_at(&rest, ':'), &n) || n >= rest.n || rest.p[n] != ':')
        return false;
    *klass = (enum queue_class)number;
    *next_hop = slice_cut(&rest, (size_t)n);
    *tenant = slice_skip(rest, 1);
    return true;
}

size_t
key_field(char kind, unsigned n, char out[16])
{
    int len = snprintf(out, 16, "%c%u", kind, n);
    BUG_ON(len < 0 || len >= 16);
    return (size_t)len;
}

void
key_digest(struct slice a, struct slice b, uint8_t out[32])
{
    unsigned n = 0;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    BUG_ON(ctx == NULL || EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1);
    BUG_ON(EVP_DigestUpdate(ctx, a.p, a.n) != 1 || EVP_DigestUpdate(ctx, "", 1) != 1);
    BUG_ON(EVP_DigestUpdate(ctx, b.p, b.n) != 1 || EVP_DigestFinal_ex(ctx, out, &n) != 1);
    BUG_ON(n != 32);
    EVP_MD_CTX_free(ctx);
}
