#include "api/credential_draft.h"

#include <stdio.h>
#include <string.h>

#include "api/json/reader.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/config/keys.h"

struct drafting {
    struct field_errors *errors;
    struct config_file_credential *to;
    const struct config_key *key;
    const json_t *value;
};

static void
refuse(struct drafting *d, const char *code, const char *why)
{
    char pointer[64];
    snprintf(pointer, sizeof pointer, "/%s", d->key->name);
    field_errors_add(d->errors, slice_str(pointer), code, why);
}

/* The number as the file would write it; other types are text there. */
static bool
text_of(const struct drafting *d, const json_t *v, char number[32], struct slice *out)
{
    bool wants_number = d->key->type == VALUE_NUMBER;
    if (wants_number && json_is_integer(v)) {
        snprintf(number, 32, "%lld", (long long)json_integer_value(v));
        *out = slice_str(number);
        return true;
    }
    *out = reader_string(v);
    return !wants_number && json_is_string(v);
}

static bool
read_one(struct drafting *d, const json_t *v, void *at)
{
    char why[CONFIG_WHY_MAX], number[32];
    struct slice text;
    if (!text_of(d, v, number, &text)) {
        refuse(d, "wrong_type",
               d->key->type == VALUE_NUMBER ? "a number is wanted" : "a text is wanted");
        return false;
    }
    if (config_value_read(d->key, text, d->errors->arena, at, why))
        return true;
    refuse(d, "invalid", why);
    return false;
}

static void
read_list(struct drafting *d, struct config_list *list)
{
    char why[64];
    size_t n = json_array_size(d->value);
    if (!json_is_array(d->value) || n < d->key->least || n > d->key->most) {
        snprintf(why, sizeof why, "an array of %u to %u texts is wanted", (unsigned)d->key->least,
                 (unsigned)d->key->most);
        refuse(d, "invalid", why);
        return;
    }
    const char **items = arena_alloc(d->errors->arena, n * sizeof *items);
    if (items == NULL) {
        refuse(d, "too_large", "more than one request may have");
        return;
    }
    list->items = items;
    for (size_t i = 0; i < n; i++)
        if (!read_one(d, json_array_get(d->value, i), &items[i]))
            return;
    list->count = (unsigned)n;
}

static bool
is_secret(const struct config_key *k)
{
    return k->type == VALUE_HASH || k->type == VALUE_SHA256 || k->type == VALUE_FILE;
}

static void
read_members(const json_t *root, struct drafting *d)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)root, name, value)
    {
        char pointer[128];
        d->key = config_key_find("credentials", slice_str(name));
        d->value = value;
        if (d->key == NULL || is_secret(d->key)) {
            snprintf(pointer, sizeof pointer, "/%.100s", name);
            field_errors_add(d->errors, slice_str(pointer), "unknown_field", "not a field");
            continue;
        }
        char *at = (char *)d->to + d->key->offset;
        if (config_type_is_array(d->key->type))
            read_list(d, (struct config_list *)(void *)at);
        else
            read_one(d, value, at);
    }
}

static void
find_missing(const json_t *root, struct drafting *d)
{
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        d->key = &CONFIG_KEYS[i];
        if (strcmp(d->key->section, "credentials") == 0 && d->key->fallback == NULL &&
            json_object_get(root, d->key->name) == NULL)
            refuse(d, "missing", "must be given");
    }
}

bool
credential_draft_read(const json_t *root, struct field_errors *errors,
                      struct config_credential *out)
{
    struct config_file_credential c = {.out = {.user = "", .tenant = ""}};
    struct drafting d = {.errors = errors, .to = &c};
    read_members(root, &d);
    find_missing(root, &d);
    *out = c.out;
    out->klass = (enum config_class)c.klass;
    out->senders = c.senders.items;
    out->sender_count = c.senders.count;
    out->networks = c.networks.items;
    out->network_count = c.networks.count;
    out->recipients = c.recipients.items;
    out->recipient_count = c.recipients.count;
    return errors->total == 0;
}
