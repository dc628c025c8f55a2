/*
 * Any header section: what its control fields said is JSON of bounded size, in order of
 * time, and a refusal is one line of ASCII. Encoded words: the result is UTF-8, and
 * nothing is there that was not.
 */
#include <jansson.h>

#include "relay/accept/control.h"
#include "relay/sys/base/bug.h"
#include "relay/wire/encoded_word.h"
#include "relay/wire/header.h"
#include "relay/wire/text.h"

static const int64_t NOW = INT64_C(1795420800000);

static void
check_json(struct slice text, json_type type, size_t most)
{
    json_error_t e;
    if (text.n == 0)
        return;
    json_t *root = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, &e);
    BUG_ON(root == NULL || json_typeof(root) != type || text.n > WISH_LABELS_MAX);
    size_t n = type == JSON_ARRAY ? json_array_size(root) : json_object_size(root);
    BUG_ON(n == 0 || n > most);
    json_decref(root);
}

static void
check(const struct controls *c)
{
    const struct wishes *w = &c->wishes;
    check_json(w->tags, JSON_ARRAY, WISH_TAGS_MAX);
    check_json(w->metadata, JSON_OBJECT, WISH_METADATA_MAX);
    BUG_ON(w->send_at_unix_ms != 0 && w->send_at_unix_ms <= NOW);
    BUG_ON(w->expires_unix_ms != 0 &&
           (w->expires_unix_ms <= NOW || w->expires_unix_ms <= w->send_at_unix_ms));
    BUG_ON(c->idempotency_key.n > IDEMPOTENCY_KEY_MAX || !text_is_ascii(c->idempotency_key));
    BUG_ON((c->ignored.n > 0) != (c->ignored_count > 0));
}

static void
fuzz_words(struct slice text)
{
    struct buf out;
    buf_init(&out, 2 * text.n);
    if (encoded_word_decode(text, &out)) {
        BUG_ON(!utf8_is_valid(buf_slice(&out)));
        BUG_ON(slice_find_slice(text, SLICE("=?")) == text.n && !slice_eq(buf_slice(&out), text));
    } else {
        BUG_ON(out.len > 0);
    }
    buf_fini(&out);
}

static int
fuzz_section(struct slice section)
{
    struct arena arena;
    struct header_facts facts;
    struct controls c = {.wishes.now_unix_ms = NOW};
    const char *why = "";
    if (header_check(section, true, &facts) != HEADER_FINE)
        return 0;
    arena_init(&arena, SMTP_TRANSACTION_ARENA_MAX);
    if (control_read(facts.section, &arena, &c, &why))
        check(&c);
    else
        BUG_ON(why != NULL && (!text_is_ascii(slice_str(why)) || !text_is_line(slice_str(why))));
    arena_fini(&arena);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* As a section; and as the value of a field, chosen by the first byte. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const NAMES[] = {"Stagepost-Tag",     "Stagepost-Metadata",  "Stagepost-TTL",
                                        "Stagepost-Send-At", "Mailgun-Variables",   "PM-Metadata-a",
                                        "SES-Message-Tags",  "Mailgun-Deliver-By",  "PM-Tag",
                                        "Stagepost-Class",   "Stagepost-Expires-At"};
    struct slice text = slice_from(data, size);
    struct buf field;
    fuzz_words(text);
    fuzz_section(text);
    if (size == 0)
        return 0;
    buf_init(&field, size + 100);
    buf_addf(&field, "X-%s: ", NAMES[data[0] % ARRAY_LEN(NAMES)]);
    buf_add(&field, slice_skip(text, 1));
    buf_add_str(&field, "\r\n");
    fuzz_section(buf_slice(&field));
    buf_fini(&field);
    return 0;
}
