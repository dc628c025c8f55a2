/* One value: from its text to the struct, or the reason why not. */
#include <crypt.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/config/file_internal.h"
#include "relay/sys/config/scram_key.h"
#include "relay/sys/config/value.h"
#include "relay/sys/net/prefix.h"
#include "relay/sys/net/stream.h"
#include "relay/wire/address.h"

/* Everything that a store function needs to know and to say. */
struct storing {
    struct arena *arena; /* without a budget that a value could reach */
    enum config_look look;
    const struct config_key *key;
    struct slice text;
    void *at;
    char *why;
};

static bool
refuse(struct storing *s, const char *wanted)
{
    struct buf range;
    buf_init(&range, CONFIG_WHY_MAX);
    config_key_range(s->key, &range);
    bool has_range = buf_slice(&range).n > 0;
    snprintf(s->why, CONFIG_WHY_MAX, "\"%.*s\": %s is wanted%s%.*s%s",
             s->text.n > 80 ? 80 : (int)s->text.n, s->text.p, wanted, has_range ? " (" : "",
             SLICE_FMT(buf_slice(&range)), has_range ? ")" : "");
    buf_fini(&range);
    return false;
}

static bool
in_range(const struct storing *s, uint64_t value)
{
    return value >= s->key->least && value <= s->key->most;
}

static bool
keep(struct storing *s, struct slice text)
{
    struct slice copy;
    BUG_ON(!arena_copy(s->arena, text, &copy));
    *(const char **)s->at = copy.p;
    return true;
}

static bool
store_number(struct storing *s)
{
    uint64_t value;
    if (!slice_to_u64(s->text, &value) || !in_range(s, value))
        return refuse(s, "a whole number");
    if (s->key->type == VALUE_PORT)
        *(uint16_t *)s->at = (uint16_t)value;
    else
        *(unsigned *)s->at = (unsigned)value;
    return true;
}

static bool
store_duration(struct storing *s)
{
    uint64_t ms;
    if (!config_parse_duration(s->text, &ms) || !in_range(s, ms))
        return refuse(s, "a duration such as \"10s\"");
    *(uint64_t *)s->at = ms;
    return true;
}

static bool
store_size(struct storing *s)
{
    uint64_t bytes;
    if (!config_parse_size(s->text, &bytes) || !in_range(s, bytes))
        return refuse(s, "a size such as \"10MB\"");
    *(uint64_t *)s->at = bytes;
    return true;
}

static bool
store_switch(struct storing *s)
{
    *(bool *)s->at = slice_eq(s->text, SLICE("true"));
    return true;
}

static bool
store_choice(struct storing *s)
{
    struct slice rest = slice_str(s->key->choices);
    for (unsigned i = 0; rest.n > 0; i++)
        if (slice_eq(slice_cut_at(&rest, ' '), s->text)) {
            *(unsigned *)s->at = i;
            return true;
        }
    return refuse(s, "one of these words");
}

static bool
store_text(struct storing *s)
{
    if (s->key->most != 0 && !in_range(s, s->text.n))
        return refuse(s, "a text of another length");
    for (size_t i = 0; i < s->text.n; i++)
        if ((unsigned char)s->text.p[i] < ' ' || s->text.p[i] == 0x7f)
            return refuse(s, "a text without control characters");
    return keep(s, s->text);
}

static bool
store_name(struct storing *s)
{
    char lower[ADDRESS_DOMAIN_MAX + 1];
    if (!domain_is_ldh(s->text) || !slice_to_cstr(s->text, lower, sizeof lower))
        return refuse(s, "a name of letters, digits, hyphens and dots (others as xn--...)");
    for (size_t i = 0; lower[i] != '\0'; i++)
        lower[i] = ascii_lower(lower[i]);
    return keep(s, slice_str(lower));
}

static bool
store_rate(struct storing *s)
{
    struct config_rate *rate = s->at;
    if (s->text.n == 0)
        *rate = (struct config_rate){0};
    else if (!config_parse_rate(s->text, &rate->count, &rate->per_ms))
        return refuse(s, "a rate such as \"100/m\" (s, m or h)");
    return true;
}

static bool
store_date(struct storing *s)
{
    uint64_t *at = s->at;
    if (s->text.n == 0)
        *at = 0;
    else if (!config_parse_date(s->text, at))
        return refuse(s, "a date such as \"2027-01-31\" or \"2027-01-31T12:00:00Z\"");
    return true;
}

/* A domain, or an address in the form in which the door compares it. */
static bool
store_party(struct storing *s)
{
    struct arena arena;
    struct mailbox m;
    struct buf b;
    if (slice_find(s->text, '@') == s->text.n)
        return store_name(s);
    arena_init(&arena, ADDRESS_CANONICAL_MAX);
    buf_init(&b, ADDRESS_CANONICAL_MAX);
    bool ok = address_parse(s->text, &arena, &m, NULL) == PARSE_OK && !m.literal &&
              address_format_canonical(&m, &b) && keep(s, buf_slice(&b));
    buf_fini(&b);
    arena_fini(&arena);
    return ok || refuse(s, "a domain or an address");
}

static bool
store_ip(struct storing *s)
{
    struct net_address a;
    return net_address_from_ip(s->text, 0, &a) ? keep(s, s->text) : refuse(s, "an IP address");
}

static bool
store_network(struct storing *s)
{
    struct net_prefix p;
    if (net_prefix_parse(s->text, &p))
        return keep(s, s->text);
    return refuse(s, "an IP address, or a network such as \"10.0.0.0/8\" without bits behind the "
                     "prefix");
}

static bool
store_server(struct storing *s)
{
    struct net_address a;
    if (!net_address_parse(s->text, &a) || a.kind == NET_UNIX || a.port == 0)
        return refuse(s, "IP:PORT");
    return keep(s, s->text);
}

static bool
store_redis(struct storing *s)
{
    struct net_address a;
    bool ok = slice_eq(s->text, SLICE("embedded")) ||
              (net_address_parse(s->text, &a) && (a.kind == NET_UNIX || a.port != 0));
    return ok ? keep(s, s->text) : refuse(s, "\"embedded\", \"unix:/PATH\" or \"IP:PORT\"");
}

bool
config_hash_ok(const char *hash)
{
    size_t n = strlen(hash);
    return hash[0] == '$' && n >= CONFIG_HASH_MIN && n < CONFIG_HASH_MAX &&
           crypt_checksalt(hash) == CRYPT_SALT_OK;
}

static bool
store_hash(struct storing *s)
{
    char hash[CONFIG_HASH_MAX];
    if (slice_to_cstr(s->text, hash, sizeof hash) && config_hash_ok(hash))
        return keep(s, s->text);
    /* It may be a password that somebody put here: it is not repeated. */
    snprintf(
        s->why, CONFIG_WHY_MAX,
        "a crypt(5) hash of a current method is wanted, such as `mkpasswd -m yescrypt` prints");
    return false;
}

static bool
store_sha256(struct storing *s)
{
    enum { DIGITS = 64 };
    size_t good = 0;
    while (good < s->text.n && strchr("0123456789abcdef", s->text.p[good]) != NULL)
        good++;
    if (s->text.n == DIGITS && good == DIGITS)
        return keep(s, s->text);
    snprintf(s->why, CONFIG_WHY_MAX,
             "64 hexadecimal digits in lower case are wanted, the SHA-256 of the API key");
    return false;
}

static bool
store_scram(struct storing *s)
{
    struct scram_key key;
    if (scram_key_parse(s->text, &key))
        return keep(s, s->text);
    snprintf(s->why, CONFIG_WHY_MAX,
             "SCRAM-SHA-256$COUNT:SALT$KEY:KEY is wanted, as `stagepost credential scram` prints");
    return false;
}

static bool
store_path(struct storing *s)
{
    if (s->text.n == 0 || s->text.p[0] != '/')
        return refuse(s, "an absolute path");
    if (s->key->most != 0 && s->text.n > s->key->most)
        return refuse(s, "a shorter path");
    return keep(s, s->text);
}

static bool
store_file(struct storing *s)
{
    struct stat st;
    if (!store_path(s))
        return false;
    const char *path = *(const char **)s->at;
    if (s->look == CONFIG_LOOK_AT_TEXT)
        return true;
    if (stat(path, &st) != 0 || access(path, R_OK) != 0)
        snprintf(s->why, CONFIG_WHY_MAX, "%.200s: %s", path, strerror(errno));
    else if (!S_ISREG(st.st_mode))
        snprintf(s->why, CONFIG_WHY_MAX, "%.200s: not a file", path);
    else if ((s->key->flags & KEY_SECRET_FILE) != 0 && (st.st_mode & S_IRWXO) != 0)
        snprintf(s->why, CONFIG_WHY_MAX, "%.200s: everybody may read or write it: chmod o= it",
                 path);
    else
        return true;
    return false;
}

static bool (*const STORE[])(struct storing *) = {
    [VALUE_NUMBER] = store_number,     [VALUE_PORT] = store_number,
    [VALUE_DURATION] = store_duration, [VALUE_SIZE] = store_size,
    [VALUE_SWITCH] = store_switch,     [VALUE_CHOICE] = store_choice,
    [VALUE_TEXT] = store_text,         [VALUE_NAME] = store_name,
    [VALUE_NAMES] = store_name,        [VALUE_PARTIES] = store_party,
    [VALUE_NETWORKS] = store_network,  [VALUE_RATE] = store_rate,
    [VALUE_DATE] = store_date,         [VALUE_IP] = store_ip,
    [VALUE_SERVER] = store_server,     [VALUE_REDIS] = store_redis,
    [VALUE_HASH] = store_hash,         [VALUE_SHA256] = store_sha256,
    [VALUE_SCRAM] = store_scram,       [VALUE_FILE] = store_file,
    [VALUE_PATH] = store_path,         [VALUE_IPS] = store_ip,
};

bool
config_value_store(struct config_file *f, const struct config_key *k, struct slice text, void *at,
                   char why[CONFIG_WHY_MAX])
{
    struct storing s = {
        .arena = &f->arena, .look = f->look, .key = k, .text = text, .at = at, .why = why};
    return STORE[k->type](&s);
}

bool
config_value_read(const struct config_key *k, struct slice text, struct arena *arena, void *at,
                  char why[CONFIG_WHY_MAX])
{
    struct storing s = {
        .arena = arena, .look = CONFIG_LOOK_AT_TEXT, .key = k, .text = text, .at = at, .why = why};
    return STORE[k->type](&s);
}
