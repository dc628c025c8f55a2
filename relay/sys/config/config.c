#include "relay/sys/config/config.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>
#include <openssl/crypto.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/config/credential_record.h"
#include "relay/sys/config/material.h"

/* The snapshot is one JSON object. The tables below name each member once, for
 * writing and for reading. */
enum kind { KIND_STR, KIND_STR_OR_NONE, KIND_U64, KIND_UNSIGNED, KIND_U16, KIND_BOOL };

struct member {
    const char *key;
    enum kind kind;
    size_t offset;
};

#define MEMBER(type, field, kind)                                                                  \
    {                                                                                              \
#field, kind, offsetof(struct type, field)                                                 \
    }

static const struct member CONFIG_MEMBERS[] = {
    MEMBER(config, generation, KIND_U64),
    MEMBER(config, development, KIND_BOOL),
    MEMBER(config, hostname, KIND_STR),
    MEMBER(config, state_dir, KIND_STR),
    MEMBER(config, run_dir, KIND_STR),
    MEMBER(config, tls_cert_path, KIND_STR),
    MEMBER(config, tls_key_path, KIND_STR),
    MEMBER(config, tls_cert_pem, KIND_STR),
    MEMBER(config, tls_key_pem, KIND_STR),
    MEMBER(config, tls_ca_path, KIND_STR),
    MEMBER(config, admin_key_sha256[0], KIND_STR),
    MEMBER(config, admin_key_sha256[1], KIND_STR),
    MEMBER(config, redis, KIND_STR),
    MEMBER(config, redis_embedded, KIND_BOOL),
    MEMBER(config, redis_user, KIND_STR),
    MEMBER(config, redis_password, KIND_STR),
    MEMBER(config, redis_tls, KIND_BOOL),
    MEMBER(config, redis_ca_path, KIND_STR),
    MEMBER(config, redis_links, KIND_UNSIGNED),
    MEMBER(config, lease_ms, KIND_U64),
    MEMBER(config, history_bytes, KIND_U64),
    MEMBER(config, history_age_ms, KIND_U64),
    MEMBER(config, commit_timeout_ms, KIND_U64),
    MEMBER(config, commit_unknown_timeout_ms, KIND_U64),
    MEMBER(config, message_bytes_max, KIND_U64),
    MEMBER(config, dns_forward, KIND_STR),
    MEMBER(config, dns_trust_anchor, KIND_STR),
    MEMBER(config, mx_port, KIND_U16),
    MEMBER(config, loopback_only, KIND_BOOL),
    MEMBER(config, site_connections_max, KIND_UNSIGNED),
    MEMBER(config, connections_max, KIND_UNSIGNED),
    MEMBER(config, retry.first_ms, KIND_U64),
    MEMBER(config, retry.max_ms, KIND_U64),
    MEMBER(config, retry.factor_pct, KIND_UNSIGNED),
    MEMBER(config, retry.jitter_pct, KIND_UNSIGNED),
    MEMBER(config, retry.expire_ms, KIND_U64),
    MEMBER(config, hold_uncertain, KIND_BOOL),
    MEMBER(config, ndr_from_domain, KIND_STR),
    MEMBER(config, ndr_delay_after_ms, KIND_U64),
    MEMBER(config, sandbox_dir, KIND_STR),
    MEMBER(config, checker_socket, KIND_STR),
};

static const struct member LISTENER_MEMBERS[] = {
    MEMBER(config_listener, address, KIND_STR),
    MEMBER(config_listener, port, KIND_U16),
};

static const struct member CREDENTIAL_MEMBERS[] = {
    MEMBER(config_credential, user, KIND_STR),
    MEMBER(config_credential, password_hash, KIND_STR),
    MEMBER(config_credential, other_password_hash, KIND_STR),
    MEMBER(config_credential, scram, KIND_STR_OR_NONE),
    MEMBER(config_credential, other_scram, KIND_STR_OR_NONE),
    MEMBER(config_credential, key_sha256, KIND_STR),
    MEMBER(config_credential, other_key_sha256, KIND_STR),
    MEMBER(config_credential, tenant, KIND_STR),
    MEMBER(config_credential, rate.count, KIND_UNSIGNED),
    MEMBER(config_credential, rate.per_ms, KIND_U64),
    MEMBER(config_credential, daily, KIND_UNSIGNED),
    MEMBER(config_credential, new_recipients, KIND_UNSIGNED),
    MEMBER(config_credential, expires_unix_ms, KIND_U64),
    MEMBER(config_credential, frozen, KIND_BOOL),
};

static const struct member DKIM_KEY_MEMBERS[] = {
    MEMBER(config_dkim_key, domain, KIND_STR), MEMBER(config_dkim_key, selector, KIND_STR),
    MEMBER(config_dkim_key, path, KIND_STR),   MEMBER(config_dkim_key, record, KIND_STR),
    MEMBER(config_dkim_key, pem, KIND_STR),
};

static const struct member DOMAIN_MEMBERS[] = {
    MEMBER(config_domain, name, KIND_STR),
    MEMBER(config_domain, policy, KIND_UNSIGNED),
};

/* What the objects of a list have in them. */
struct shape {
    const struct member *members;
    size_t count, bytes; /* members, and of one struct */
};
static const struct shape LISTENER = {LISTENER_MEMBERS, ARRAY_LEN(LISTENER_MEMBERS),
                                      sizeof(struct config_listener)};
static const struct shape CREDENTIAL = {CREDENTIAL_MEMBERS, ARRAY_LEN(CREDENTIAL_MEMBERS),
                                        sizeof(struct config_credential)};
static const struct shape DKIM_KEY = {DKIM_KEY_MEMBERS, ARRAY_LEN(DKIM_KEY_MEMBERS),
                                      sizeof(struct config_dkim_key)};
static const struct shape DOMAIN = {DOMAIN_MEMBERS, ARRAY_LEN(DOMAIN_MEMBERS),
                                    sizeof(struct config_domain)};
static const struct shape CONFIG = {CONFIG_MEMBERS, ARRAY_LEN(CONFIG_MEMBERS),
                                    sizeof(struct config)};

/* The struct and the JSON that its strings point into. */
struct config_generation {
    unsigned holders;
    struct config config;
    json_t *json;
    struct config_listener *listeners;
    struct config_credential *credentials;
    struct config_dkim_key *dkim_keys;
    struct config_domain *domains;
};

/* No member: that is how records looked before there was one. */
static json_t *
text_or_none(const char *text)
{
    return text != NULL && text[0] != '\0' ? json_string(text) : NULL;
}

static json_t *
member_to_json(const struct member *m, const void *base)
{
    const void *at = (const char *)base + m->offset;
    switch (m->kind) {
    case KIND_STR:
        return json_string(*(const char *const *)at != NULL ? *(const char *const *)at : "");
    case KIND_STR_OR_NONE:
        return text_or_none(*(const char *const *)at);
    case KIND_U64:
        return json_integer((json_int_t) * (const uint64_t *)at);
    case KIND_UNSIGNED:
        return json_integer(*(const unsigned *)at);
    case KIND_U16:
        return json_integer(*(const uint16_t *)at);
    case KIND_BOOL:
        return json_boolean(*(const bool *)at);
    }
    return NULL;
}

static json_t *
object_of(const struct shape *shape, const void *base)
{
    json_t *o = json_object();
    for (size_t i = 0; i < shape->count; i++)
        json_object_set_new(o, shape->members[i].key, member_to_json(&shape->members[i], base));
    return o;
}

static json_t *
list_of(const struct shape *shape, const void *all, unsigned count)
{
    json_t *a = json_array();
    for (unsigned i = 0; i < count; i++)
        json_array_append_new(a, object_of(shape, (const char *)all + i * shape->bytes));
    return a;
}

static json_t *
strings_to_json(const char *const *strings, unsigned count)
{
    json_t *a = json_array();
    for (unsigned i = 0; i < count; i++)
        json_array_append_new(a, json_string(strings[i]));
    return a;
}

static json_t *
listeners_to_json(const struct config *c)
{
    json_t *a = json_array();
    for (unsigned i = 0; i < c->listener_count; i++) {
        json_t *o = object_of(&LISTENER, &c->listeners[i]);
        json_object_set_new(o, "kind", json_integer(c->listeners[i].kind));
        json_object_set_new(o, "proxies",
                            strings_to_json(c->listeners[i].proxies, c->listeners[i].proxy_count));
        json_array_append_new(a, o);
    }
    return a;
}

json_t *
config_credential_to_json(const struct config_credential *cr)
{
    json_t *o = object_of(&CREDENTIAL, cr);
    json_object_set_new(o, "class", json_integer(cr->klass));
    json_object_set_new(o, "senders", strings_to_json(cr->senders, cr->sender_count));
    json_object_set_new(o, "networks", strings_to_json(cr->networks, cr->network_count));
    json_object_set_new(o, "recipients", strings_to_json(cr->recipients, cr->recipient_count));
    return o;
}

static json_t *
credentials_to_json(const struct config *c, enum config_reader reader)
{
    json_t *a = json_array();
    for (unsigned i = 0; reader != CONFIG_READER_SIGNER && i < c->credential_count; i++)
        json_array_append_new(a, config_credential_to_json(&c->credentials[i]));
    return a;
}

static json_t *
config_to_json(const struct config *c, enum config_reader reader)
{
    json_t *root = object_of(&CONFIG, c);
    json_object_set_new(root, "listeners", listeners_to_json(c));
    json_object_set_new(root, "credentials", credentials_to_json(c, reader));
    json_object_set_new(root, "dkim_keys", list_of(&DKIM_KEY, c->dkim_keys, c->dkim_key_count));
    json_object_set_new(root, "domains", list_of(&DOMAIN, c->domains, c->domain_count));
    json_object_set_new(root, "egress", strings_to_json(c->egress, c->egress_count));
    json_object_set_new(root, "signer_sockets",
                        strings_to_json(c->signer_sockets, c->signer_count));
    return root;
}

int
config_write_snapshot(const struct config *c, enum config_reader reader, int fd, struct err *err)
{
    json_t *root = config_to_json(c, reader);
    if (reader != CONFIG_READER_WORKER)
        json_object_set_new(root, "redis_password", json_string(""));
    int rc = material_add(root, c, reader, err);
    if (rc == 0 && json_dumpfd(root, fd, JSON_COMPACT) != 0)
        rc = err_set_errno(err, ERR_IO, "configuration snapshot");
    material_wipe(root);
    json_decref(root);
    return rc;
}

static int
member_from_json(const struct member *m, json_t *object, void *base, struct err *err)
{
    json_t *v = json_object_get(object, m->key);
    void *at = (char *)base + m->offset;
    if (m->kind == KIND_STR_OR_NONE && v == NULL) {
        *(const char **)at = "";
        return 0;
    }
    bool is_text = m->kind == KIND_STR || m->kind == KIND_STR_OR_NONE;
    bool is_number = m->kind == KIND_U64 || m->kind == KIND_UNSIGNED || m->kind == KIND_U16;
    if ((is_text && !json_is_string(v)) || (m->kind == KIND_BOOL && !json_is_boolean(v)) ||
        (is_number && (!json_is_integer(v) || json_integer_value(v) < 0)))
        return err_set(err, ERR_CONFIG, "configuration snapshot: %s is missing", m->key);
    if (is_text)
        *(const char **)at = json_string_value(v);
    else if (m->kind == KIND_BOOL)
        *(bool *)at = json_is_true(v);
    else if (m->kind == KIND_U64)
        *(uint64_t *)at = (uint64_t)json_integer_value(v);
    else if (m->kind == KIND_UNSIGNED)
        *(unsigned *)at = (unsigned)json_integer_value(v);
    else
        *(uint16_t *)at = (uint16_t)json_integer_value(v);
    return 0;
}

static int
read_object(const struct shape *shape, json_t *o, void *base, struct err *err)
{
    for (size_t i = 0; i < shape->count; i++)
        if (member_from_json(&shape->members[i], o, base, err) != 0)
            return -1;
    return 0;
}

/* The objects of the list as an array, which is the caller's; NULL with err filled. */
static void *
read_list(const struct shape *shape, json_t *list, unsigned *count, struct err *err)
{
    size_t i;
    json_t *o;
    char *all = calloc(json_array_size(list) + 1, shape->bytes);
    BUG_ON(all == NULL);
    json_array_foreach(list, i, o)
    {
        if (read_object(shape, o, all + i * shape->bytes, err) != 0) {
            free(all);
            return NULL;
        }
    }
    *count = (unsigned)json_array_size(list);
    return all;
}

/* An array of the strings of a JSON array; their bytes stay the JSON's. */
static const char **
strings_from_json(json_t *array, unsigned *count)
{
    *count = (unsigned)json_array_size(array);
    const char **out = calloc(*count + 1u, sizeof *out);
    BUG_ON(out == NULL);
    for (unsigned i = 0; i < *count; i++)
        out[i] = json_string_value(json_array_get(array, i));
    return out;
}

static int
read_listeners(struct config_generation *s, struct err *err)
{
    json_t *a = json_object_get(s->json, "listeners");
    s->config.listeners = s->listeners = read_list(&LISTENER, a, &s->config.listener_count, err);
    for (unsigned i = 0; i < s->config.listener_count; i++) {
        json_t *o = json_array_get(a, i);
        struct config_listener *l = &s->listeners[i];
        l->kind = (enum config_listener_kind)json_integer_value(json_object_get(o, "kind"));
        l->proxies = strings_from_json(json_object_get(o, "proxies"), &l->proxy_count);
    }
    return s->listeners != NULL ? 0 : -1;
}

static int
read_credentials(struct config_generation *s, struct err *err)
{
    json_t *a = json_object_get(s->json, "credentials");
    s->config.credentials = s->credentials =
        read_list(&CREDENTIAL, a, &s->config.credential_count, err);
    for (unsigned i = 0; i < s->config.credential_count; i++) {
        struct config_credential *cr = &s->credentials[i];
        json_t *o = json_array_get(a, i);
        cr->klass = (enum config_class)json_integer_value(json_object_get(o, "class"));
        cr->senders = strings_from_json(json_object_get(o, "senders"), &cr->sender_count);
        cr->networks = strings_from_json(json_object_get(o, "networks"), &cr->network_count);
        cr->recipients = strings_from_json(json_object_get(o, "recipients"), &cr->recipient_count);
    }
    return s->credentials != NULL ? 0 : -1;
}

static int
read_lists(struct config_generation *s, struct err *err)
{
    struct config *c = &s->config;
    json_t *keys = json_object_get(s->json, "dkim_keys"),
           *names = json_object_get(s->json, "domains");
    if (read_listeners(s, err) != 0 || read_credentials(s, err) != 0)
        return -1;
    c->dkim_keys = s->dkim_keys = read_list(&DKIM_KEY, keys, &c->dkim_key_count, err);
    if (c->dkim_keys == NULL)
        return -1;
    c->domains = s->domains = read_list(&DOMAIN, names, &c->domain_count, err);
    return c->domains != NULL ? 0 : -1;
}

/* Reads through an offset of its own: the descriptor is shared by all children. */
static ssize_t
read_all(int fd, char *out, size_t cap)
{
    size_t n = 0;
    while (n < cap) {
        ssize_t got = pread(fd, out + n, cap - n, (off_t)n);
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        n += (size_t)got;
    }
    return (ssize_t)n;
}

static json_t *
parse_snapshot(int fd, struct err *err)
{
    enum { SNAPSHOT_MAX = 16 << 20 };
    char *text = malloc(SNAPSHOT_MAX);
    BUG_ON(text == NULL);
    ssize_t n = read_all(fd, text, SNAPSHOT_MAX);
    json_error_t why = {.text = "cannot be read"};
    json_t *root = n > 0 ? json_loadb(text, (size_t)n, JSON_REJECT_DUPLICATES, &why) : NULL;
    OPENSSL_cleanse(text, n > 0 ? (size_t)n : 0);
    free(text);
    if (root == NULL)
        err_set(err, ERR_CONFIG, "configuration snapshot: %s", why.text);
    return root;
}

const struct config *
config_read_snapshot(int fd, struct err *err)
{
    json_t *root = parse_snapshot(fd, err);
    if (root == NULL)
        return NULL;
    struct config_generation *s = calloc(1, sizeof *s);
    BUG_ON(s == NULL);
    s->holders = 1;
    s->config.memory = s;
    s->json = root;
    s->config.signer_sockets =
        strings_from_json(json_object_get(root, "signer_sockets"), &s->config.signer_count);
    s->config.egress = strings_from_json(json_object_get(root, "egress"), &s->config.egress_count);
    if (read_object(&CONFIG, root, &s->config, err) != 0 || read_lists(s, err) != 0) {
        config_free(&s->config); /* finds and frees the whole snapshot */
        return NULL;             /* NOLINT(clang-analyzer-unix.Malloc) */
    }
    return &s->config;
}

const struct config *
config_read_credentials(json_t *array, struct err *err)
{
    struct config_generation *s = calloc(1, sizeof *s);
    BUG_ON(s == NULL);
    s->holders = 1;
    s->config.memory = s;
    s->json = json_pack("{s:o}", "credentials", array);
    BUG_ON(s->json == NULL);
    if (read_credentials(s, err) == 0)
        return &s->config;
    config_free(&s->config);
    return NULL; /* NOLINT(clang-analyzer-unix.Malloc) */
}

static void
generation_free(struct config_generation *s)
{
    for (unsigned i = 0; i < s->config.credential_count; i++) {
        free(s->credentials[i].senders);
        free(s->credentials[i].networks);
        free(s->credentials[i].recipients);
    }
    for (unsigned i = 0; i < s->config.listener_count; i++)
        free(s->listeners[i].proxies);
    free(s->listeners);
    free(s->credentials);
    free(s->dkim_keys);
    free(s->domains);
    free(s->config.egress);
    free(s->config.signer_sockets);
    material_wipe(s->json);
    json_decref(s->json);
    free(s);
}

struct config_generation *
config_hold(struct config_generation *g)
{
    if (g != NULL)
        g->holders++;
    return g;
}

void
config_let_go(struct config_generation **g)
{
    struct config_generation *held = *g;
    *g = NULL;
    if (held != NULL && --held->holders == 0)
        generation_free(held);
}

void
config_free(const struct config *c)
{
    struct config_generation *memory = c != NULL ? c->memory : NULL;
    config_let_go(&memory);
}

const struct config_credential *
config_credential_by_user(const struct config *c, struct slice user)
{
    const struct config_credential *found = NULL;
    for (unsigned i = 0; i < c->credential_count; i++)
        if (slice_eq(slice_str(c->credentials[i].user), user))
            found = &c->credentials[i]; /* the others too: time shall not tell who there is */
    return found;
}

enum config_policy
config_policy_of(const struct config *c, const char *domain)
{
    for (unsigned i = 0; i < c->domain_count; i++)
        if (strcmp(c->domains[i].name, domain) == 0)
            return c->domains[i].policy;
    return CONFIG_POLICY_WARN;
}
