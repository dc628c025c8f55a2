/* What keys say together, and the struct config made of the lists. Runs after
 * errors too, so that all of them are found: a value that was wrong is "" or 0. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/config/file_internal.h"
#include "relay/sys/config/scram_key.h"
#include "relay/sys/net/prefix.h"

#define ITEMS(list, type) ((struct type *)(list).items)

/* ---- listeners ------------------------------------------------------------ */

static bool
is_any(const struct net_address *a)
{
    static const uint8_t ZERO[16];
    return memcmp(a->ip, ZERO, a->kind == NET_IPV4 ? 4 : 16) == 0;
}

/* IPv6 sockets take IPv6 only, so 0.0.0.0 and :: do not meet. */
static bool
listeners_meet(const struct config_file_listener *x, const struct config_file_listener *y)
{
    struct net_address a, b;
    if (x->port == 0 || x->port != y->port ||
        !net_address_from_ip(slice_str(x->address), x->port, &a) ||
        !net_address_from_ip(slice_str(y->address), y->port, &b) || a.kind != b.kind)
        return false;
    return is_any(&a) || is_any(&b) || memcmp(a.ip, b.ip, sizeof a.ip) == 0;
}

static void
check_listener(struct config_file *f, unsigned i)
{
    const struct config_file_listener *all = ITEMS(f->draft.listeners, config_file_listener);
    char where[CONFIG_WHERE_MAX];
    struct net_address at;
    for (unsigned k = 0; k < i; k++)
        if (listeners_meet(&all[i], &all[k])) {
            snprintf(where, sizeof where, "listeners[%u].port", i);
            config_file_complain(f, CONFIG_ERROR, where, "port %u is that of listeners[%u] too",
                                 all[i].port, k);
        }
    if (all[i].kind == CONFIG_HTTP && net_address_from_ip(slice_str(all[i].address), 0, &at) &&
        !net_address_is_loopback(&at)) {
        snprintf(where, sizeof where, "listeners[%u].address", i);
        config_file_complain(f, all[i].allow_clear ? CONFIG_WARNING : CONFIG_ERROR, where,
                             "HTTP beyond this machine: API keys travel without TLS%s",
                             all[i].allow_clear ? ""
                                                : "; kind = \"https\" has it, allow_clear = true "
                                                  "leaves it to something in front");
    }
}

/* Each of their clients could name any address as its own. */
static void
check_proxies(struct config_file *f, unsigned i)
{
    const struct config_file_listener *all = ITEMS(f->draft.listeners, config_file_listener);
    const char *const *proxies = all[i].proxies.items;
    char where[CONFIG_WHERE_MAX];
    for (unsigned k = 0; k < all[i].proxies.count; k++) {
        struct net_prefix p;
        snprintf(where, sizeof where, "listeners[%u].proxy_from", i);
        if (net_prefix_parse(slice_str(proxies[k]), &p) && p.bits == 0)
            config_file_complain(f, CONFIG_WARNING, where,
                                 "%s: everybody may say which address a connection comes from",
                                 proxies[k]);
    }
}

static void
check_listeners(struct config_file *f)
{
    const struct config_file_listener *all = ITEMS(f->draft.listeners, config_file_listener);
    unsigned http = 0, count = f->draft.listeners.count;
    for (unsigned i = 0; i < count; i++) {
        check_listener(f, i);
        check_proxies(f, i);
        http += all[i].kind == CONFIG_HTTP || all[i].kind == CONFIG_HTTPS;
    }
    if (http > SMTP_LISTENERS_MAX || count - http > SMTP_LISTENERS_MAX)
        config_file_complain(f, CONFIG_ERROR, "listeners",
                             "more than %d for SMTP, or more than that for HTTP",
                             (int)SMTP_LISTENERS_MAX);
}

/* ---- domains -------------------------------------------------------------- */

static void
check_domain(struct config_file *f, unsigned i)
{
    const struct config_file_domain *all = ITEMS(f->draft.domains, config_file_domain);
    char where[CONFIG_WHERE_MAX];
    for (unsigned k = 0; k < i; k++)
        if (all[i].name[0] != '\0' && strcmp(all[i].name, all[k].name) == 0) {
            snprintf(where, sizeof where, "domains[%u].name", i);
            config_file_complain(f, CONFIG_ERROR, where, "%s is domains[%u] too", all[i].name, k);
        }
    const struct config_file_dkim *keys = ITEMS(all[i].dkim, config_file_dkim);
    for (unsigned a = 0; a < all[i].dkim.count; a++)
        for (unsigned b = 0; b < a; b++)
            if (keys[a].selector[0] != '\0' && strcmp(keys[a].selector, keys[b].selector) == 0) {
                snprintf(where, sizeof where, "domains[%u].dkim[%u].selector", i, a);
                config_file_complain(f, CONFIG_ERROR, where, "%s stands twice", keys[a].selector);
            }
}

static bool
has_key(const struct config_file *f, const char *domain)
{
    const struct config_file_domain *all = ITEMS(f->draft.domains, config_file_domain);
    for (unsigned i = 0; i < f->draft.domains.count; i++)
        if (strcmp(all[i].name, domain) == 0)
            return all[i].dkim.count > 0;
    return false;
}

/* ---- credentials ---------------------------------------------------------- */

/* The hashes on the first two lines of the credential's password_file. */
static void
read_password_file(struct config_file *f, struct config_file_credential *c, const char *where)
{
    static const char *const ORDINALS[] = {"first", "second"};
    FILE *in = fopen(c->password_file, "re");
    if (in == NULL)
        return; /* said already */
    for (unsigned i = 0; i < ARRAY_LEN(ORDINALS); i++) {
        char line[CONFIG_HASH_MAX + 2] = "";
        if (fgets(line, sizeof line, in) == NULL)
            line[0] = '\0';
        const char *hash = config_file_keep(f, slice_trim(slice_str(line)));
        if (config_hash_ok(hash))
            c->password_hashes[i] = hash;
        else if (i == 0 || hash[0] == '$') /* other text may follow the first line */
            config_file_complain(f, CONFIG_ERROR, where,
                                 "%.200s: its %s line is no crypt(5) hash of a current method",
                                 c->password_file, ORDINALS[i]);
    }
    fclose(in);
}

static void
check_senders(struct config_file *f, const struct config_file_credential *c, unsigned i)
{
    const char **senders = c->senders.items;
    char where[CONFIG_WHERE_MAX];
    for (unsigned k = 0; k < c->senders.count; k++) {
        const char *at = strrchr(senders[k], '@');
        const char *domain = at != NULL ? at + 1 : senders[k];
        if (!has_key(f, domain)) {
            snprintf(where, sizeof where, "credentials[%u].senders", i);
            config_file_complain(f, CONFIG_WARNING, where,
                                 "%s has no DKIM key: its mail goes out unsigned", domain);
        }
    }
}

static bool
share_a_key(const struct config_file_credential *a, const struct config_file_credential *b)
{
    for (unsigned i = 0; i < 2; i++)
        for (unsigned k = 0; k < 2; k++)
            if (a->key_hashes[i][0] != '\0' && strcmp(a->key_hashes[i], b->key_hashes[k]) == 0)
                return true;
    return false;
}

static void
check_same(struct config_file *f, unsigned i)
{
    const struct config_file_credential *all = ITEMS(f->draft.credentials, config_file_credential);
    char where[CONFIG_WHERE_MAX];
    for (unsigned k = 0; k < i; k++) {
        if (all[i].out.user[0] != '\0' && strcmp(all[i].out.user, all[k].out.user) == 0) {
            snprintf(where, sizeof where, "credentials[%u].user", i);
            config_file_complain(f, CONFIG_ERROR, where, "%s is credentials[%u] too",
                                 all[i].out.user, k);
        }
        if (share_a_key(&all[i], &all[k])) {
            snprintf(where, sizeof where, "credentials[%u].key_hash", i);
            config_file_complain(f, CONFIG_ERROR, where, "credentials[%u] has the same key", k);
        }
    }
}

/* A client is told one salt, before it is known which password it has. */
static void
check_scram(struct config_file *f, const struct config_file_credential *c, unsigned i)
{
    char where[CONFIG_WHERE_MAX];
    struct scram_key keys[2];
    if (!scram_key_parse(slice_str(c->scrams[0]), &keys[0]) ||
        !scram_key_parse(slice_str(c->scrams[1]), &keys[1]) ||
        scram_key_goes_with(&keys[0], &keys[1]))
        return;
    snprintf(where, sizeof where, "credentials[%u].scram", i);
    config_file_complain(f, CONFIG_ERROR, where,
                         "the second is not of the same salt and count: `stagepost credential "
                         "scram --like FIRST` makes one");
}

static void
check_credential(struct config_file *f, unsigned i)
{
    struct config_file_credential *c = &ITEMS(f->draft.credentials, config_file_credential)[i];
    char where[CONFIG_WHERE_MAX], file[CONFIG_WHERE_MAX];
    snprintf(where, sizeof where, "credentials[%u]", i);
    snprintf(file, sizeof file, "credentials[%u].password_file", i);
    bool has_hash = c->password_hashes[0][0] != '\0', has_file = c->password_file[0] != '\0';
    if (has_hash && has_file)
        config_file_complain(f, CONFIG_ERROR, file, "password_hash is given too");
    else if (has_file && f->look == CONFIG_LOOK_AT_FILES)
        read_password_file(f, c, file);
    if (!has_hash && !has_file && c->key_hashes[0][0] == '\0' && c->scrams[0][0] == '\0')
        config_file_complain(f, CONFIG_ERROR, where,
                             "nobody can use it: password_hash, password_file, scram or key_hash "
                             "is wanted");
    check_scram(f, c, i);
    check_same(f, i);
    check_senders(f, c, i);
}

/* ---- Redis ---------------------------------------------------------------- */

static void
read_redis_password(struct config_file *f)
{
    char line[CONFIG_PASSWORD_MAX + 2] = "";
    FILE *in = fopen(f->draft.redis_password_file, "re");
    if (in == NULL)
        return; /* said already */
    if (fgets(line, sizeof line, in) == NULL)
        line[0] = '\0';
    fclose(in);
    struct slice text = slice_trim(slice_str(line));
    if (text.n == 0 || text.n > CONFIG_PASSWORD_MAX)
        config_file_complain(f, CONFIG_ERROR, "queue.redis_password_file",
                             "its first line must have 1 to %d characters", CONFIG_PASSWORD_MAX);
    else
        f->draft.config.redis_password = config_file_keep(f, text);
}

static void
check_redis(struct config_file *f)
{
    struct config *c = &f->draft.config;
    const char *given = c->redis_user[0] != '\0'                  ? "queue.redis_user"
                        : f->draft.redis_password_file[0] != '\0' ? "queue.redis_password_file"
                        : c->redis_tls                            ? "queue.redis_tls"
                        : c->redis_ca_path[0] != '\0'             ? "queue.redis_ca"
                                                                  : NULL;
    bool is_tcp = c->redis[0] != '\0' && strncmp(c->redis, "unix:", 5) != 0;
    c->redis_embedded = strcmp(c->redis, "embedded") == 0;
    if (given != NULL && c->redis_embedded)
        config_file_complain(f, CONFIG_ERROR, given, "queue.redis is \"embedded\"");
    else if (c->redis_tls && !is_tcp)
        config_file_complain(f, CONFIG_ERROR, "queue.redis_tls", "queue.redis is a unix socket");
    if (c->redis_user[0] != '\0' && f->draft.redis_password_file[0] == '\0')
        config_file_complain(f, CONFIG_ERROR, "queue.redis_user",
                             "queue.redis_password_file is wanted too");
    c->redis_password = "";
    if (f->look == CONFIG_LOOK_AT_FILES && f->draft.redis_password_file[0] != '\0')
        read_redis_password(f);
    if (c->redis_ca_path[0] == '\0')
        c->redis_ca_path = "/etc/ssl/certs/ca-certificates.crt";
}

/* ---- numbers -------------------------------------------------------------- */

static void
check_numbers(struct config_file *f)
{
    const struct config *c = &f->draft.config;
    if (c->retry.first_ms > c->retry.max_ms)
        config_file_complain(f, CONFIG_ERROR, "retry.first", "longer than retry.max");
    if (c->retry.max_ms > c->retry.expire_ms)
        config_file_complain(f, CONFIG_ERROR, "retry.max", "longer than retry.expire");
    if (c->commit_timeout_ms > c->commit_unknown_timeout_ms)
        config_file_complain(f, CONFIG_ERROR, "queue.commit_timeout",
                             "longer than queue.unknown_timeout");
    if (c->site_connections_max > c->connections_max)
        config_file_complain(f, CONFIG_ERROR, "limits.site_connections",
                             "more than limits.connections");
    if (c->ndr_from_domain[0] != '\0' && !has_key(f, c->ndr_from_domain))
        config_file_complain(f, CONFIG_WARNING, "ndr.from",
                             "%s has no DKIM key: reports go out unsigned", c->ndr_from_domain);
}

/* ---- struct config -------------------------------------------------------- */

static void
take_listeners(struct config_file *f)
{
    const struct config_file_listener *from = ITEMS(f->draft.listeners, config_file_listener);
    unsigned count = f->draft.listeners.count;
    struct config_listener *to = config_file_alloc(f, (count + 1) * sizeof *to);
    for (unsigned i = 0; i < count; i++)
        to[i] = (struct config_listener){.kind = (enum config_listener_kind)from[i].kind,
                                         .address = from[i].address,
                                         .port = from[i].port,
                                         .proxies = from[i].proxies.items,
                                         .proxy_count = from[i].proxies.count};
    f->draft.config.listeners = to;
    f->draft.config.listener_count = count;
}

static void
take_dkim_keys(struct config_file *f)
{
    const struct config_file_domain *from = ITEMS(f->draft.domains, config_file_domain);
    unsigned count = 0;
    for (unsigned i = 0; i < f->draft.domains.count; i++)
        count += from[i].dkim.count;
    struct config_dkim_key *to = config_file_alloc(f, (count + 1) * sizeof *to);
    f->draft.config.dkim_keys = to;
    f->draft.config.dkim_key_count = count;
    for (unsigned i = 0; i < f->draft.domains.count; i++) {
        const struct config_file_dkim *keys = ITEMS(from[i].dkim, config_file_dkim);
        for (unsigned k = 0; k < from[i].dkim.count; k++)
            *to++ = (struct config_dkim_key){.domain = from[i].name,
                                             .selector = keys[k].selector,
                                             .path = keys[k].path,
                                             .record = ""};
    }
}

void
config_file_set_record(struct config_file *f, unsigned number, struct slice record)
{
    const struct config *c = &f->draft.config;
    BUG_ON(number >= c->dkim_key_count);
    struct config_dkim_key *keys = (struct config_dkim_key *)(uintptr_t)c->dkim_keys;
    keys[number].record = config_file_keep(f, record);
}

static void
take_domains(struct config_file *f)
{
    const struct config_file_domain *from = ITEMS(f->draft.domains, config_file_domain);
    unsigned count = f->draft.domains.count;
    struct config_domain *to = config_file_alloc(f, (count + 1) * sizeof *to);
    for (unsigned i = 0; i < count; i++)
        to[i] = (struct config_domain){.name = from[i].name,
                                       .policy = (enum config_policy)from[i].policy};
    f->draft.config.domains = to;
    f->draft.config.domain_count = count;
    f->draft.config.egress = f->draft.egress.items;
    f->draft.config.egress_count = f->draft.egress.count;
}

static void
take_credential(const struct config_file_credential *from, struct config_credential *to)
{
    *to = from->out;
    to->password_hash = from->password_hashes[0];
    to->other_password_hash = from->password_hashes[1];
    to->scram = from->scrams[0];
    to->other_scram = from->scrams[1];
    to->key_sha256 = from->key_hashes[0];
    to->other_key_sha256 = from->key_hashes[1];
    to->klass = (enum config_class)from->klass;
    to->senders = from->senders.items;
    to->sender_count = from->senders.count;
    to->networks = from->networks.items;
    to->network_count = from->networks.count;
    to->recipients = from->recipients.items;
    to->recipient_count = from->recipients.count;
}

static void
take_credentials(struct config_file *f)
{
    const struct config_file_credential *from = ITEMS(f->draft.credentials, config_file_credential);
    unsigned count = f->draft.credentials.count;
    struct config_credential *to = config_file_alloc(f, (count + 1) * sizeof *to);
    for (unsigned i = 0; i < count; i++)
        take_credential(&from[i], &to[i]);
    f->draft.config.credentials = to;
    f->draft.config.credential_count = count;
}

/* libunbound writes IP@PORT. */
static const char *
forward_of(struct config_file *f)
{
    struct net_address a;
    char ip[64], text[CONFIG_WHERE_MAX];
    if (!net_address_parse(slice_str(f->draft.dns_forward), &a))
        return "";
    net_address_format_ip(&a, ip);
    snprintf(text, sizeof text, "%s@%u", ip, a.port);
    return config_file_keep(f, slice_str(text));
}

/* A section that is no group leaves its strings unset: that is said already, and
 * must not be in the way of saying what else is wrong. */
static void
fill_strings(struct config_file *f)
{
    struct config *c = &f->draft.config;
    const char **all[] = {&c->hostname,
                          &c->state_dir,
                          &c->tls_cert_path,
                          &c->tls_key_path,
                          &c->redis,
                          &c->dns_forward,
                          &c->ndr_from_domain,
                          &c->admin_key_sha256[0],
                          &c->admin_key_sha256[1],
                          &c->redis_user,
                          &c->redis_ca_path,
                          &c->dns_trust_anchor,
                          &f->draft.redis_password_file};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (*all[i] == NULL)
            *all[i] = "";
}

void
config_file_check(struct config_file *f)
{
    enum { SMTP_PORT = 25 }; /* RFC 5321 4.5.4.2: the only one for MX hosts */
    struct config *c = &f->draft.config;
    fill_strings(f);
    check_listeners(f);
    for (unsigned i = 0; i < f->draft.domains.count; i++)
        check_domain(f, i);
    for (unsigned i = 0; i < f->draft.credentials.count; i++)
        check_credential(f, i);
    check_numbers(f);
    check_redis(f);
    take_listeners(f);
    take_dkim_keys(f);
    take_domains(f);
    take_credentials(f);
    c->dns_forward = forward_of(f);
    if (c->dns_trust_anchor[0] == '\0' && c->dns_forward[0] == '\0' &&
        f->look == CONFIG_LOOK_AT_FILES && access(DNS_ROOT_KEY, R_OK) == 0)
        c->dns_trust_anchor = DNS_ROOT_KEY;
    c->hold_uncertain = f->draft.on_uncertain == 1;
    c->mx_port = SMTP_PORT;
    c->tls_ca_path = c->sandbox_dir = c->run_dir = "";
}
