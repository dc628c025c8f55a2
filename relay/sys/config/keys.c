#include "relay/sys/config/keys.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/config/value.h"

#define ROOT(member) offsetof(struct config_draft, member)
#define CONF(member) offsetof(struct config_draft, config.member)
#define CRED(member) offsetof(struct config_file_credential, member)

enum {
    SECOND = 1000,
    MINUTE = 60 * SECOND,
    HOUR = 60 * MINUTE,
    DAY = 24 * HOUR,
    PROCESSES_MAX = 32, /* WORKERS_MAX and SIGNERS_MAX_HERE of relay/sys/proc */
};
#define YEAR (365ull * 24 * 3600 * 1000)
#define DAYS_35 (35ull * 24 * 3600 * 1000)
#define MINUTES(n) ((uint64_t)(n)*MINUTE)
#define MB(n) ((uint64_t)(n) << 20)

const struct config_key CONFIG_KEYS[] = {
    {"", "hostname", VALUE_NAME, NULL, .offset = CONF(hostname), .example = "mail.example.org",
     .help = "Our name, said in EHLO and written into Received and reports. It should resolve to "
             "the address that we send from, and that address back to it."},
    {"", "state", VALUE_PATH, CONFIG_DEFAULT_STATE, .least = 1, .most = 80,
     .offset = CONF(state_dir),
     .help = "Directory of the queue's data, locks and sockets; one for each gateway. Made when "
             "it is missing."},
    {"", "user", VALUE_TEXT, "stagepost", .least = 1, .most = 32, .offset = ROOT(user),
     .help = "When root starts it: the user that workers and Redis run as."},
    {"", "signer_user", VALUE_TEXT, "stagepost-sign", .least = 1, .most = 32,
     .offset = ROOT(signer_user),
     .help = "And the user of the processes that hold the DKIM keys. The key files may stay "
             "readable by root only; the other user must not be able to read them."},
    {"", "workers", VALUE_NUMBER, "2", .least = 1, .most = PROCESSES_MAX, .offset = ROOT(workers),
     .help = "Worker processes; the number of processor cores is a good one."},
    {"", "signers", VALUE_NUMBER, "1", .least = 1, .most = PROCESSES_MAX, .offset = ROOT(signers),
     .help = "Processes that hold the DKIM keys and sign; half as many as workers."},
    {"", "sendmail_credential", VALUE_TEXT, "", .most = 255, .flags = KEY_RELOADABLE,
     .offset = ROOT(sendmail_credential),
     .help = "User name of the credential under whose policy `stagepost sendmail` and `send` hand "
             "in mail of this machine, unless they are told another."},
    {"", "egress", VALUE_IPS, "[ ]", .most = EGRESS_MAX, .flags = KEY_RELOADABLE,
     .offset = ROOT(egress),
     .help = "The public IP addresses that mail leaves from; behind NAT they cannot be guessed. "
             "SPF of the sender domains is checked for each of them, as receivers do, and for none "
             "without them. For example [ \"192.0.2.1\", \"2001:db8::1\" ]."},

    {"listeners", "kind", VALUE_CHOICE, NULL, .choices = "smtp smtps http https",
     .offset = offsetof(struct config_file_listener, kind),
     .help = "smtp: submission with STARTTLS; smtps: TLS from the first byte; http: the API, "
             "without TLS, for this machine; https: with TLS."},
    {"listeners", "address", VALUE_IP, "127.0.0.1",
     .offset = offsetof(struct config_file_listener, address),
     .help = "IP address; 0.0.0.0 is every IPv4 address, :: every IPv6 address."},
    {"listeners", "port", VALUE_PORT, NULL, .least = 1, .most = UINT16_MAX,
     .offset = offsetof(struct config_file_listener, port), .help = "TCP port."},
    {"listeners", "allow_clear", VALUE_SWITCH, "false",
     .offset = offsetof(struct config_file_listener, allow_clear),
     .help = "An http listener beyond this machine's loopback: something in front of it does TLS, "
             "or API keys travel in clear."},
    {"listeners", "proxy_from", VALUE_NETWORKS, "", .most = PROXY_NETWORKS_MAX,
     .offset = offsetof(struct config_file_listener, proxies),
     .help = "Addresses and networks of proxies, as [ \"192.0.2.10\", \"10.0.0.0/8\" ]: their "
             "connections must begin with a PROXY protocol header (version 1 or 2), before TLS, "
             "and the client that it names counts as the client."},

    {"tls", "cert", VALUE_FILE, NULL, .flags = KEY_RELOADABLE, .offset = CONF(tls_cert_path),
     .example = "/etc/stagepost/tls/fullchain.pem",
     .help = "Certificate and its chain, PEM, for the listeners."},
    {"tls", "key", VALUE_FILE, NULL, .flags = KEY_SECRET_FILE | KEY_RELOADABLE,
     .offset = CONF(tls_key_path), .example = "/etc/stagepost/tls/privkey.pem",
     .help = "Its private key, PEM, not encrypted, not readable by everybody."},

    {"domains", "name", VALUE_NAME, NULL, .flags = KEY_RELOADABLE,
     .offset = offsetof(struct config_file_domain, name),
     .help = "A domain that mail is sent from; internationalised names as A-labels (xn--)."},
    {"domains", "policy", VALUE_CHOICE, "warn", .choices = "warn enforce off",
     .flags = KEY_RELOADABLE, .offset = offsetof(struct config_file_domain, policy),
     .help = "Mail from it that receivers would not believe, as SPF, DKIM or DMARC are published "
             "now: logged, refused, or not looked at. Trouble with DNS never refuses."},
    {"domains.dkim", "selector", VALUE_NAME, NULL, .flags = KEY_RELOADABLE,
     .offset = offsetof(struct config_file_dkim, selector),
     .help = "The key is published at SELECTOR._domainkey.DOMAIN."},
    {"domains.dkim", "file", VALUE_FILE, NULL, .flags = KEY_SECRET_FILE | KEY_RELOADABLE,
     .offset = offsetof(struct config_file_dkim, path),
     .help = "Private key, RSA or Ed25519, PEM, not encrypted, not readable by everybody."},

    {"credentials", "user", VALUE_TEXT, NULL, .least = 1, .most = 255, .flags = KEY_RELOADABLE,
     .offset = CRED(out.user), .help = "SMTP user name; an e-mail address is a good one."},
    {"credentials", "password_hash", VALUE_HASH, "", .flags = KEY_RELOADABLE,
     .offset = CRED(password_hashes),
     .help = "crypt(5) hash of the SMTP password, as `mkpasswd -m yescrypt` prints it; or an "
             "array of two, while one password replaces the other."},
    {"credentials", "password_file", VALUE_FILE, "", .flags = KEY_SECRET_FILE | KEY_RELOADABLE,
     .offset = CRED(password_file),
     .help = "File with that hash on its first line (and the other one on its second), instead "
             "of password_hash."},
    {"credentials", "scram", VALUE_SCRAM, "", .flags = KEY_RELOADABLE, .offset = CRED(scrams),
     .help = "The same password for clients that use SCRAM-SHA-256 or SCRAM-SHA-256-PLUS, as "
             "`stagepost credential scram` prints it; or an array of two of the same salt "
             "(`--like`). These mechanisms are offered when a credential has one."},
    {"credentials", "key_hash", VALUE_SHA256, "", .flags = KEY_RELOADABLE,
     .offset = CRED(key_hashes),
     .help = "SHA-256 of the API key, as `printf %s KEY | sha256sum` prints it, or an array of "
             "two. An API key is 32 random bytes or more (`openssl rand -hex 32`), never a "
             "password; over SMTP it is a password too, under any user name."},
    {"credentials", "tenant", VALUE_TEXT, NULL, .least = 1, .most = 64, .flags = KEY_RELOADABLE,
     .offset = CRED(out.tenant), .help = "Whose mail it is; tenants do not see each other's."},
    {"credentials", "class", VALUE_CHOICE, "transactional", .choices = "transactional bulk",
     .flags = KEY_RELOADABLE, .offset = CRED(klass),
     .help = "Transactional mail overtakes bulk mail."},
    {"credentials", "senders", VALUE_PARTIES, NULL, .least = 1, .most = 1000,
     .flags = KEY_RELOADABLE, .offset = CRED(senders),
     .help = "Domains, or single addresses, that it may send from, in the envelope and in From."},
    {"credentials", "recipients", VALUE_PARTIES, "", .least = 1, .most = 1000,
     .flags = KEY_RELOADABLE, .offset = CRED(recipients),
     .help = "Domains and addresses that it may send to, as for a staging system; without them, "
             "to everybody."},
    {"credentials", "networks", VALUE_NETWORKS, "", .least = 1, .most = 100,
     .flags = KEY_RELOADABLE, .offset = CRED(networks),
     .help = "Networks that it may be used from, such as \"192.0.2.0/24\"; without them, from "
             "everywhere."},
    {"credentials", "rate", VALUE_RATE, "", .flags = KEY_RELOADABLE, .offset = CRED(out.rate),
     .help = "Recipients in a second, minute or hour, such as \"100/m\"; without it, any number."},
    {"credentials", "daily", VALUE_NUMBER, "0", .least = 0, .most = CREDENTIAL_QUOTA_MAX,
     .flags = KEY_RELOADABLE, .offset = CRED(out.daily),
     .help = "Recipients in a day, UTC; 0 is any number."},
    {"credentials", "new_recipients", VALUE_NUMBER, "0", .least = 0, .most = CREDENTIAL_QUOTA_MAX,
     .flags = KEY_RELOADABLE, .offset = CRED(out.new_recipients),
     .help = "Recipients in a day that it did not send to in the last 90 days; 0 is any number. "
             "It bounds what a stolen password is good for."},
    {"credentials", "expires", VALUE_DATE, "", .flags = KEY_RELOADABLE,
     .offset = CRED(out.expires_unix_ms),
     .help =
         "When it ends, \"2027-01-31\" (the start of that day, UTC) or \"2027-01-31T12:00:00Z\"."},

    {"http", "admin_key_hash", VALUE_SHA256, "", .flags = KEY_RELOADABLE,
     .offset = CONF(admin_key_sha256),
     .help = "SHA-256 of a key for operators, made as key_hash of a credential: it sees and steers "
             "all tenants, over http and https as over the control socket. Or an array of two."},

    {"queue", "redis", VALUE_REDIS, "embedded", .offset = CONF(redis),
     .help = "\"embedded\": a redis-server of our own below the state directory; or the address "
             "of another, \"unix:/run/redis.sock\" or \"192.0.2.1:6379\", which must keep what it "
             "acknowledges (appendonly yes, appendfsync always, noeviction)."},
    {"queue", "redis_user", VALUE_TEXT, "", .least = 1, .most = 255, .offset = CONF(redis_user),
     .help = "User of that other Redis (ACL); without it the password alone is sent."},
    {"queue", "redis_password_file", VALUE_FILE, "", .flags = KEY_SECRET_FILE,
     .offset = ROOT(redis_password_file),
     .help = "File with the password for it on its first line."},
    {"queue", "redis_tls", VALUE_SWITCH, "false", .offset = CONF(redis_tls),
     .help = "TLS to that other Redis, whose certificate must name the IP address."},
    {"queue", "redis_ca", VALUE_FILE, "", .offset = CONF(redis_ca_path),
     .help = "Certificates of the authorities that may have signed it; without it, the system's "
             "(/etc/ssl/certs/ca-certificates.crt)."},
    {"queue", "links", VALUE_NUMBER, "4", .least = 1, .most = 16, .offset = CONF(redis_links),
     .help = "Connections of each worker to Redis."},
    {"queue", "lease", VALUE_DURATION, "4s", .least = SECOND, .most = MINUTE,
     .offset = CONF(lease_ms),
     .help = "A worker unheard for so long loses its part of the queue to the others."},
    {"queue", "commit_timeout", VALUE_DURATION, "10s", .least = SECOND, .most = MINUTES(5),
     .offset = CONF(commit_timeout_ms),
     .help = "How long Redis may take to store a message before we ask whether it did."},
    {"queue", "unknown_timeout", VALUE_DURATION, "2m", .least = SECOND, .most = MINUTES(10),
     .offset = CONF(commit_unknown_timeout_ms),
     .help = "How long a client waits for that answer before its connection is closed."},
    {"queue", "history_size", VALUE_SIZE, "256MB", .least = MB(1), .most = MB(1 << 20),
     .offset = CONF(history_bytes), .help = "Records of finished messages, at most."},
    {"queue", "history_age", VALUE_DURATION, "7d", .least = HOUR, .most = YEAR,
     .offset = CONF(history_age_ms), .help = "And for at most so long."},
    {"queue", "on_uncertain", VALUE_CHOICE, "retry", .choices = "retry hold",
     .offset = ROOT(on_uncertain), .flags = KEY_RELOADABLE,
     .help = "When a connection broke after the end of a message and nobody knows whether it "
             "was taken: send it again (a second copy is possible), or hold it for a person."},

    {"dns", "forward", VALUE_SERVER, "", .offset = ROOT(dns_forward),
     .help = "A DNS server that is asked for everything, as \"192.0.2.53:53\"; without it names "
             "are resolved from the root servers down."},

    {"dns", "trust_anchor", VALUE_FILE, "", .offset = CONF(dns_trust_anchor),
     .help =
         "The root's public key, by which answers are validated (DNSSEC). Without it: " DNS_ROOT_KEY
         " (of dns-root-data) where it is there, and with `forward` nothing, since that server "
         "may not pass on what it takes."},

    {"retry", "first", VALUE_DURATION, "1m", .least = SECOND, .most = DAY, .flags = KEY_RELOADABLE,
     .offset = CONF(retry.first_ms), .help = "Pause after the first failed attempt."},
    {"retry", "max", VALUE_DURATION, "4h", .least = SECOND, .most = DAY, .flags = KEY_RELOADABLE,
     .offset = CONF(retry.max_ms), .help = "The longest pause."},
    {"retry", "factor", VALUE_NUMBER, "200", .least = 100, .most = 1000, .flags = KEY_RELOADABLE,
     .offset = CONF(retry.factor_pct),
     .help = "Per cent: how much longer each pause is than the "
             "one before; 200 is twice as long."},
    {"retry", "jitter", VALUE_NUMBER, "20", .least = 0, .most = 50, .flags = KEY_RELOADABLE,
     .offset = CONF(retry.jitter_pct),
     .help = "Per cent: each pause is so much longer or shorter, by chance."},
    {"retry", "expire", VALUE_DURATION, "5d", .least = MINUTE, .most = DAYS_35,
     .flags = KEY_RELOADABLE, .offset = CONF(retry.expire_ms),
     .help = "From acceptance; then the sender gets a non-delivery report."},

    {"limits", "message_size", VALUE_SIZE, "50MB", .least = 64 << 10, .most = MESSAGE_BYTES_MAX,
     .flags = KEY_RELOADABLE, .offset = CONF(message_bytes_max),
     .help = "The largest message that is accepted."},
    {"limits", "connections", VALUE_NUMBER, "500", .least = 1, .most = 10000,
     .flags = KEY_RELOADABLE, .offset = CONF(connections_max),
     .help = "Outgoing connections of each worker, to all sites together."},
    {"limits", "site_connections", VALUE_NUMBER, "20", .least = 1, .most = 1000,
     .flags = KEY_RELOADABLE, .offset = CONF(site_connections_max),
     .help = "Outgoing connections of each worker to one site (domains that share MX hosts)."},

    {"ndr", "from", VALUE_NAME, "", .flags = KEY_RELOADABLE, .offset = CONF(ndr_from_domain),
     .help = "Non-delivery reports come from mailer-daemon@ this domain; without it, from the "
             "domain of the sender whom they go to."},
    {"ndr", "delay_after", VALUE_DURATION, "4h", .least = 0, .most = DAYS_35,
     .flags = KEY_RELOADABLE, .offset = CONF(ndr_delay_after_ms),
     .help = "A message that waits so long is reported once to its sender as delayed; 0s: only "
             "to those who asked for it (NOTIFY=DELAY), after 4 hours."},
};
const size_t CONFIG_KEY_COUNT = ARRAY_LEN(CONFIG_KEYS);

const struct config_section CONFIG_SECTIONS[] = {
    {.path = "listeners",
     .element_bytes = sizeof(struct config_file_listener),
     .offset = ROOT(listeners),
     .least = 1,
     .most = CONFIG_LISTENERS_MAX,
     .help = "Where mail is handed in.",
     .example = "(\n"
                "    { kind = \"smtp\";  address = \"0.0.0.0\"; port = 587; },\n"
                "    { kind = \"smtps\"; address = \"0.0.0.0\"; port = 465; },\n"
                "    { kind = \"http\";  address = \"127.0.0.1\"; port = 8025; }\n"
                ")"},
    {.path = "tls", .help = "TLS of the listeners. Passwords are taken under TLS only."},
    {.path = "domains",
     .element_bytes = sizeof(struct config_file_domain),
     .offset = ROOT(domains),
     .most = CONFIG_ENTRIES_MAX,
     .help = "Domains that mail is sent from, with their DKIM keys. Each message is signed with "
             "all keys of its From domain; without one it goes unsigned.",
     .example =
         "(\n"
         "    {\n"
         "        name = \"example.org\";\n"
         "        dkim = (\n"
         "            { selector = \"s1-rsa\"; file = \"/etc/stagepost/dkim/s1-rsa.pem\"; },\n"
         "            { selector = \"s1-ed\";  file = \"/etc/stagepost/dkim/s1-ed.pem\"; }\n"
         "        );\n"
         "    }\n"
         ")"},
    {.path = "domains.dkim",
     .element_bytes = sizeof(struct config_file_dkim),
     .offset = offsetof(struct config_file_domain, dkim),
     .most = KEYS_PER_DOMAIN_MAX,
     .help = "Keys of the domain."},
    {.path = "credentials",
     .element_bytes = sizeof(struct config_file_credential),
     .offset = ROOT(credentials),
     .most = CONFIG_ENTRIES_MAX,
     .help = "Who may hand in mail, and as whom. Each has a password (SMTP), an API key (HTTP), "
             "or both; the file holds hashes of them. Those that are made while the gateway runs "
             "(`stagepost credential add`) are not here.",
     .example = "(\n"
                "    {\n"
                "        user = \"shop\";\n"
                "        password_file = \"/etc/stagepost/shop.hash\";\n"
                "        key_hash = \"2f0a9a8de3a2f3d0f1c7f5d49d3a1d0f"
                "5b6c7e8f90123456789abcdef0123456\";\n"
                "        tenant = \"shop\";\n"
                "        class = \"transactional\";\n"
                "        senders = [ \"example.org\" ];\n"
                "    }\n"
                ")"},
    {.path = "http", .help = "The HTTP API."},
    {.path = "queue", .help = "The queue and its Redis."},
    {.path = "dns", .help = "Name resolution."},
    {.path = "retry", .help = "When a delivery is tried again."},
    {.path = "limits", .help = "Limits."},
    {.path = "ndr", .help = "Non-delivery reports."},
};
const size_t CONFIG_SECTION_COUNT = ARRAY_LEN(CONFIG_SECTIONS);

bool
config_type_is_array(enum config_type type)
{
    return type == VALUE_NAMES || type == VALUE_PARTIES || type == VALUE_NETWORKS ||
           type == VALUE_IPS;
}

const struct config_key *
config_key_find(const char *section, struct slice name)
{
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++)
        if (strcmp(CONFIG_KEYS[i].section, section) == 0 &&
            slice_eq(slice_str(CONFIG_KEYS[i].name), name))
            return &CONFIG_KEYS[i];
    return NULL;
}

const struct config_section *
config_section_find(const char *parent, struct slice name)
{
    for (size_t i = 0; i < CONFIG_SECTION_COUNT; i++) {
        struct slice path = slice_str(CONFIG_SECTIONS[i].path);
        bool nested = slice_find(path, '.') < path.n;
        if (nested != (parent[0] != '\0'))
            continue;
        if (nested) {
            if (!slice_starts(path, slice_str(parent)))
                continue;
            path = slice_skip(path, strlen(parent));
            if (!slice_starts(path, SLICE(".")))
                continue;
            path = slice_skip(path, 1);
        }
        if (slice_eq(path, name))
            return &CONFIG_SECTIONS[i];
    }
    return NULL;
}

/* ---- config.example ------------------------------------------------------- */

static void
add_bound(const struct config_key *k, uint64_t value, struct buf *out)
{
    char text[CONFIG_VALUE_TEXT];
    if (k->type == VALUE_DURATION)
        config_format_duration(value, text);
    else if (k->type == VALUE_SIZE)
        config_format_size(value, text);
    else {
        buf_addf(out, "%" PRIu64, value);
        return;
    }
    buf_add_str(out, text);
}

static void
add_choices(const char *choices, struct buf *out)
{
    struct slice rest = slice_str(choices);
    while (rest.n > 0) {
        buf_add(out, slice_cut_at(&rest, ' '));
        if (rest.n > 0)
            buf_add_str(out, slice_find(rest, ' ') < rest.n ? ", " : " or ");
    }
}

void
config_key_range(const struct config_key *k, struct buf *out)
{
    if (k->choices != NULL) {
        add_choices(k->choices, out);
        return;
    }
    if (k->most == 0 || k->type >= VALUE_TEXT)
        return;
    add_bound(k, k->least, out);
    buf_add_str(out, " to ");
    add_bound(k, k->most, out);
}

enum { EXAMPLE_COLUMNS = 90, EXAMPLE_TEXT_MAX = 2048 };

/* The text as comment lines behind `indent`, all but the first one deeper. */
static void
add_comment(struct buf *out, const char *indent, const char *deeper, struct slice text)
{
    for (bool first = true; text.n > 0; first = false) {
        size_t room = EXAMPLE_COLUMNS - strlen(indent) - 2 - (first ? 0 : strlen(deeper));
        size_t n = text.n;
        if (n > room)
            for (n = room; n > 0 && text.p[n] != ' ';)
                n--;
        BUG_ON(n == 0);
        struct slice line = slice_cut(&text, n);
        buf_addf(out, "%s# %s%.*s\n", indent, first ? "" : deeper, SLICE_FMT(line));
        text = slice_trim(text);
    }
}

static void
add_value(const struct config_key *k, const char *value, struct buf *out)
{
    bool bare = k->type == VALUE_NUMBER || k->type == VALUE_PORT || k->type == VALUE_SWITCH ||
                config_type_is_array(k->type);
    buf_addf(out, bare ? "%s" : "\"%s\"", value);
}

static void
describe_key(const struct config_key *k, struct buf *text)
{
    buf_add_str(text, k->help);
    struct buf range;
    buf_init(&range, EXAMPLE_TEXT_MAX);
    config_key_range(k, &range);
    if (buf_slice(&range).n > 0)
        buf_addf(text, " (%.*s)", SLICE_FMT(buf_slice(&range)));
    buf_fini(&range);
    if (k->fallback == NULL)
        buf_add_str(text, " Must be given.");
    if ((k->flags & KEY_RELOADABLE) == 0)
        buf_add_str(text, " [restart]");
}

static void
add_key(const struct config_key *k, const char *indent, struct buf *out)
{
    struct buf text;
    buf_init(&text, EXAMPLE_TEXT_MAX);
    describe_key(k, &text);
    add_comment(out, indent, "", buf_slice(&text));
    buf_addf(out, "%s%s%s = ", indent, k->example != NULL ? "" : "#", k->name);
    add_value(k, k->example != NULL ? k->example : k->fallback, out);
    buf_add_str(out, ";\n");
    buf_fini(&text);
}

/* Keys of list entries stand as a list of names above the example. */
static void
add_entry_keys(const char *section, const char *indent, struct buf *out)
{
    char deeper[16];
    snprintf(deeper, sizeof deeper, "%s    ", indent);
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        const struct config_key *k = &CONFIG_KEYS[i];
        if (strcmp(k->section, section) != 0)
            continue;
        struct buf text;
        buf_init(&text, EXAMPLE_TEXT_MAX);
        buf_addf(&text, "%s%s: ", indent, k->name);
        describe_key(k, &text);
        if (k->fallback != NULL && k->fallback[0] != '\0')
            buf_addf(&text, " Default: %s.", k->fallback);
        add_comment(out, "", deeper, buf_slice(&text));
        buf_fini(&text);
    }
}

static void
add_list(const struct config_section *s, struct buf *out)
{
    add_entry_keys(s->path, "  ", out);
    for (size_t i = 0; i < CONFIG_SECTION_COUNT; i++) {
        const struct config_section *inner = &CONFIG_SECTIONS[i];
        size_t n = strlen(s->path);
        if (strncmp(inner->path, s->path, n) != 0 || inner->path[n] != '.')
            continue;
        buf_addf(out, "#   %s: list of groups. %s (At most %u.)\n", inner->path + n + 1,
                 inner->help, inner->most);
        add_entry_keys(inner->path, "    ", out);
    }
    buf_addf(out, "%s = %s;\n", s->path, s->example);
}

static void
add_group(const struct config_section *s, struct buf *out)
{
    buf_addf(out, "%s = {\n", s->path);
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++)
        if (strcmp(CONFIG_KEYS[i].section, s->path) == 0)
            add_key(&CONFIG_KEYS[i], "    ", out);
    buf_add_str(out, "};\n");
}

void
config_write_example(struct buf *out)
{
    buf_add_str(out,
                "# Configuration of `stagepost serve`, in the syntax of libconfig. Printed by\n"
                "# `stagepost check config --example`; what is commented out is the default.\n"
                "# `stagepost check config -c FILE` names all errors of a file at once.\n"
                "# Durations: \"500ms\" \"10s\" \"5m\" \"4h\" \"5d\" \"2w\". Sizes: \"64KB\" "
                "\"10MB\" \"1GB\",\n"
                "# of 1024 each. Paths are absolute. SIGHUP reloads; keys marked with [restart]\n"
                "# take effect at the next start.\n"
                "\n");
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++)
        if (CONFIG_KEYS[i].section[0] == '\0')
            add_key(&CONFIG_KEYS[i], "", out);
    for (size_t i = 0; i < CONFIG_SECTION_COUNT; i++) {
        const struct config_section *s = &CONFIG_SECTIONS[i];
        if (strchr(s->path, '.') != NULL)
            continue;
        buf_add_str(out, "\n");
        add_comment(out, "", "", slice_str(s->help));
        if (s->element_bytes > 0)
            add_list(s, out);
        else
            add_group(s, out);
    }
}
