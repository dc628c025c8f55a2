#include "api/batch.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/draft.h"
#include "api/json/reader.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"

enum { ERRORS_ARENA_MAX = 64 << 10 };

void
batch_init(struct batch *b, struct slice json, size_t bytes_max, struct slice batch_key)
{
    *b = (struct batch){.json = json, .bytes_max = bytes_max, .batch_key = batch_key};
    arena_init(&b->arena, ERRORS_ARENA_MAX);
    field_errors_init(&b->errors, &b->arena);
}

void
batch_fini(struct batch *b)
{
    for (unsigned i = 0; i < b->count; i++)
        message_fini(&b->items[i].message);
    free(b->items);
    arena_fini(&b->arena);
}

static bool
refuse(struct batch *b, const char *pointer, const char *code, const char *detail)
{
    return field_errors_add(&b->errors, slice_str(pointer), code, detail);
}

/* ---- keys ----------------------------------------------------------------- */

static void
hash(uint8_t out[BATCH_DIGEST_BYTES], const char *what, struct slice text, unsigned index)
{
    char number[16];
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    int n = snprintf(number, sizeof number, "%u", index);
    BUG_ON(ctx == NULL || EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1);
    BUG_ON(EVP_DigestUpdate(ctx, what, strlen(what) + 1) != 1);
    BUG_ON(EVP_DigestUpdate(ctx, number, (size_t)n + 1) != 1);
    BUG_ON(EVP_DigestUpdate(ctx, text.p, text.n) != 1);
    BUG_ON(EVP_DigestFinal_ex(ctx, out, NULL) != 1);
    EVP_MD_CTX_free(ctx);
}

/* The batch sent again gives every item its first id; another batch under the
 * same key is a conflict in each of its items. */
static bool
derive_key(struct batch *b, struct batch_item *item, unsigned index)
{
    uint8_t name[BATCH_DIGEST_BYTES];
    char key[BATCH_KEY_BYTES] = "batch:";
    hash(name, "batch key", b->batch_key, 0);
    for (size_t i = 0; i < sizeof name; i++)
        snprintf(key + 6 + 2 * i, 3, "%02x", name[i]);
    snprintf(key + 6 + 2 * sizeof name, 16, ":%u", index);
    hash(item->digest, "batch", b->json, index);
    return arena_copy(&item->message.arena, slice_str(key), &item->key);
}

static bool
key_is_valid(struct slice key)
{
    for (size_t i = 0; i < key.n; i++)
        if (key.p[i] < ' ' || key.p[i] > '~')
            return false;
    return key.n >= 1 && key.n <= IDEMPOTENCY_KEY_MAX;
}

/* Two items with one key would be one message: a mistake that is better told. */
static bool
key_is_taken(const struct batch *b, struct slice key, unsigned index)
{
    for (unsigned i = 0; i < index; i++)
        if (slice_eq(b->items[i].key, key))
            return true;
    return false;
}

/* Its place among the members does not count for the digest, nor do spaces. */
static void
hash_draft(struct batch_item *item, const json_t *draft)
{
    char *text = json_dumps(draft, JSON_COMPACT | JSON_SORT_KEYS);
    BUG_ON(text == NULL);
    hash(item->digest, "batch item", slice_str(text), 0);
    free(text);
}

static void
read_key(struct batch *b, struct batch_item *item, json_t *draft, unsigned index)
{
    static const char NAME[] = "idempotency_key", POINTER[] = "/idempotency_key";
    struct field_errors *errors = &item->message.errors;
    const json_t *v = json_object_get(draft, NAME);
    if (v != NULL && !json_is_null(v)) {
        struct slice key = json_is_string(v) ? reader_string(v) : SLICE_NONE;
        if (!key_is_valid(key))
            field_errors_add(errors, slice_str(POINTER), "invalid_idempotency_key",
                             "must have 1 to 256 visible ASCII characters");
        else if (key_is_taken(b, key, index))
            field_errors_add(errors, slice_str(POINTER), "duplicate_key",
                             "an earlier message of the batch has this key");
        else if (arena_copy(&item->message.arena, key, &item->key))
            hash_draft(item, draft);
    } else if (b->batch_key.n > 0) {
        BUG_ON(!derive_key(b, item, index));
    }
    json_object_del(draft, NAME);
}

/* ---- items ---------------------------------------------------------------- */

/* In a strict batch the first errors of all drafts, as errors of the whole. */
static void
collect_errors(struct batch *b, const struct message *m, unsigned index)
{
    char pointer[DRAFT_POINTER_MAX + 32];
    for (unsigned i = 0; i < m->errors.count; i++) {
        const struct field_error *e = &m->errors.v[i];
        snprintf(pointer, sizeof pointer, "/messages/%u%.*s", index, SLICE_FMT(e->pointer));
        refuse(b, pointer, e->code, e->detail.p);
    }
    if (m->errors.count == 0) {
        snprintf(pointer, sizeof pointer, "/messages/%u", index);
        refuse(b, pointer, "too_large", m->detail);
    }
}

static void
compile_item(struct batch *b, json_t *draft, unsigned index, size_t *bytes_left)
{
    struct batch_item *item = &b->items[index];
    struct message *m = &item->message;
    message_init(m, SLICE_NONE, *bytes_left);
    m->now_unix_ms = b->now_unix_ms;
    if (json_is_object(draft)) {
        read_key(b, item, draft, index);
        message_compile_object(m, draft);
    } else {
        field_errors_add(&m->errors, SLICE(""), "wrong_type", "must be an object");
        m->result = MESSAGE_INVALID;
        snprintf(m->detail, sizeof m->detail, "a message must be an object");
    }
    if (m->result == MESSAGE_OK)
        *bytes_left -= m->mime.len;
    else if (!b->permissive)
        collect_errors(b, m, index);
}

static void
compile_items(struct batch *b, json_t *drafts)
{
    size_t bytes_left = b->bytes_max;
    size_t n = json_array_size(drafts);
    b->items = calloc(n, sizeof *b->items);
    BUG_ON(b->items == NULL);
    for (; b->count < n && b->errors.total < API_ERRORS_MAX; b->count++)
        compile_item(b, json_array_get(drafts, b->count), b->count, &bytes_left);
}

static bool
read_mode(struct batch *b, const json_t *v)
{
    if (v == NULL || json_is_null(v))
        return true;
    const char *mode = json_is_string(v) ? json_string_value(v) : "";
    b->permissive = strcmp(mode, "permissive") == 0;
    return b->permissive || strcmp(mode, "strict") == 0 ||
           refuse(b, "/mode", "unknown_mode", "must be strict or permissive");
}

static void
read_members(struct batch *b, json_t *root)
{
    const char *key;
    json_t *v, *drafts = json_object_get(root, "messages");
    json_object_foreach(root, key, v)
    {
        char at[DRAFT_POINTER_MAX];
        draft_pointer(at, "", key);
        if (strcmp(key, "messages") != 0 && strcmp(key, "mode") != 0)
            refuse(b, at, "unknown_field", "there is no such field");
    }
    read_mode(b, json_object_get(root, "mode"));
    if (!json_is_array(drafts) || json_array_size(drafts) == 0)
        refuse(b, "/messages", "required", "a list of messages is needed");
    else if (json_array_size(drafts) > API_BATCH_MAX)
        refuse(b, "/messages", "too_many", "a batch has at most 100 messages");
    else if (b->errors.total == 0)
        compile_items(b, drafts);
}

void
batch_compile(struct batch *b)
{
    json_t *root = reader_parse_object(b->json, b->detail, sizeof b->detail);
    b->result = MESSAGE_NOT_JSON;
    if (root == NULL)
        return;
    read_members(b, root);
    json_decref(root);
    b->result = b->errors.total > 0 ? MESSAGE_INVALID : MESSAGE_OK;
    if (b->errors.total > 0)
        snprintf(b->detail, sizeof b->detail, "some fields are not valid, nothing was accepted");
}
