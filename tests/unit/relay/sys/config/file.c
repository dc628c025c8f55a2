/* The configuration file: each kind of error, with its line, and all at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/config/file.h"

#define HASH "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7"
#define HASH2 "$y$j9T$hAoEkfzIw5p4OqdaE1WlX0$fHVdAb7ugAs2LFD4wcn.JIU2ulIaRwED8GuOurIhl3A"
#define SHA "2f0a9a8de3a2f3d0f1c7f5d49d3a1d0f5b6c7e8f90123456789abcdef0123456"
#define HOST "hostname = \"gw.example.org\";\n"
#define LISTEN "listeners = ( { kind = \"smtp\"; port = 587; } );\n"
#define TLS "tls = { cert = \"/c\"; key = \"/k\"; };\n"
#define DOMAINS                                                                                    \
    "domains = ( { name = \"example.org\"; dkim = ( { selector = \"s\"; file = \"/d\"; } ); } "    \
    ");\n"
#define CREDENTIAL(more)                                                                           \
    "credentials = ( { user = \"u\"; tenant = \"t\"; senders = [ \"example.org\" ]; " more " } "   \
    ");\n"
#define GOOD_CREDENTIAL CREDENTIAL("key_hash = \"" SHA "\";")
/* Five lines without an error. */
#define GOOD HOST LISTEN TLS DOMAINS GOOD_CREDENTIAL

static struct config_file *
parse(const char *text)
{
    return config_file_parse("f", slice_str(text), CONFIG_LOOK_AT_TEXT);
}

static char *
printed(const struct config_file *f)
{
    char *out = NULL;
    size_t n = 0;
    FILE *to = open_memstream(&out, &n);
    config_file_print(f, to);
    fclose(to);
    return out;
}

static void
check(const char *text, unsigned errors, unsigned warnings, const char *wanted)
{
    struct config_file *f = parse(text);
    char *said = printed(f);
    if (strcmp(said, wanted) != 0)
        print_message("of:\n%s\nwanted:\n%s\nsaid:\n%s\n", text, wanted, said);
    assert_string_equal(said, wanted);
    assert_int_equal(config_file_errors(f), errors);
    assert_int_equal(config_file_warnings(f), warnings);
    free(said);
    config_file_free(f);
}

static void
test_a_good_file_and_its_defaults(void **state)
{
    struct config_file *f = parse(GOOD);
    const struct config_draft *d = config_file_draft(f);
    const struct config *c = &d->config;
    (void)state;
    assert_int_equal(config_file_errors(f) + config_file_warnings(f), 0);
    assert_string_equal(c->hostname, "gw.example.org");
    assert_string_equal(c->state_dir, "/var/lib/stagepost");
    assert_int_equal(d->workers, 2);
    assert_int_equal(d->signers, 1);
    assert_int_equal(c->listener_count, 1);
    assert_int_equal(c->listeners[0].kind, CONFIG_SMTP);
    assert_string_equal(c->listeners[0].address, "127.0.0.1");
    assert_int_equal(c->listeners[0].port, 587);
    assert_true(c->redis_embedded);
    assert_int_equal(c->lease_ms, 4000);
    assert_int_equal(c->message_bytes_max, MESSAGE_BYTES_MAX);
    assert_int_equal(c->retry.first_ms, 60000);
    assert_int_equal(c->retry.expire_ms, 432000000);
    assert_int_equal(c->mx_port, 25);
    assert_false(c->development || c->loopback_only || c->hold_uncertain);
    assert_string_equal(c->dns_forward, "");
    assert_string_equal(c->ndr_from_domain, "");
    assert_int_equal(c->dkim_key_count, 1);
    assert_string_equal(c->dkim_keys[0].domain, "example.org");
    assert_string_equal(c->dkim_keys[0].path, "/d");
    assert_int_equal(c->credential_count, 1);
    assert_string_equal(c->credentials[0].key_sha256, SHA);
    assert_string_equal(c->credentials[0].password_hash, "");
    assert_int_equal(c->credentials[0].klass, CONFIG_TRANSACTIONAL);
    assert_string_equal(c->credentials[0].senders[0], "example.org");
    config_file_free(f);
}

static void
test_values_are_taken(void **state)
{
    struct config_file *f = parse(
        "hostname = \"GW.Example.org\"; state = \"/srv/s\"; workers = 7;\n" LISTEN TLS
        "queue = { redis = \"[2001:db8::1]:6379\"; on_uncertain = \"hold\"; history_size = "
        "\"1GB\"; };\n"
        "dns = { forward = \"192.0.2.53:5353\"; }; retry = { first = \"10s\"; jitter = 0; };\n"
        "domains = ( { name = \"A.example\"; dkim = ( { selector = \"r\"; file = \"/r\"; },\n"
        "  { selector = \"e\"; file = \"/e\"; } ); }, { name = \"b.example\"; } );\n"
        "credentials = ( { user = \"u\"; tenant = \"t\"; class = \"bulk\"; senders = [\n"
        "  \"a.EXAMPLE\" ]; password_hash = \"" HASH "\"; } );");
    const struct config *c = &config_file_draft(f)->config;
    (void)state;
    assert_int_equal(config_file_errors(f) + config_file_warnings(f), 0);
    assert_string_equal(c->hostname, "gw.example.org");
    assert_string_equal(c->redis, "[2001:db8::1]:6379");
    assert_false(c->redis_embedded);
    assert_true(c->hold_uncertain);
    assert_int_equal(c->history_bytes, 1 << 30);
    assert_string_equal(c->dns_forward, "192.0.2.53@5353");
    assert_int_equal(c->retry.first_ms, 10000);
    assert_int_equal(c->retry.jitter_pct, 0);
    assert_int_equal(c->dkim_key_count, 2);
    assert_string_equal(c->dkim_keys[1].domain, "a.example");
    assert_string_equal(c->dkim_keys[1].selector, "e");
    assert_int_equal(c->credentials[0].klass, CONFIG_BULK);
    assert_string_equal(c->credentials[0].senders[0], "a.example");
    assert_string_equal(c->credentials[0].password_hash, HASH);
    config_file_free(f);
}

static void
test_an_empty_file_names_all_that_is_missing(void **state)
{
    (void)state;
    check("", 4, 0,
          "f: hostname: must be given\n"
          "f: listeners: 0 entries: 1 to 16 are wanted\n"
          "f: tls.cert: must be given\n"
          "f: tls.key: must be given\n");
}

/* One line behind the five good ones, and what is said of it. */
static void
test_single_errors(void **state)
{
    static const struct {
        const char *line, *said;
    } TABLE[] = {
        {"hostnme = \"x\";", "hostnme: unknown key; is \"hostname\" meant?"},
        {"retries = { };", "retries: unknown key; is \"retry\" meant?"},
        {"cert = \"/x\";", "cert: unknown key here; it belongs in tls"},
        {"delivery = { port = 26; };", "delivery: unknown key"},
        {"retry = { frist = \"1s\"; };", "retry.frist: unknown key; is \"first\" meant?"},
        {"retry = { first = \"10\"; };",
         "retry.first: \"10\": a duration such as \"10s\" is wanted (1s to 1d)"},
        {"retry = { first = 10; };", "retry.first: a text is wanted, this is a number"},
        {"retry = { first = \"0s\"; };",
         "retry.first: \"0s\": a duration such as \"10s\" is wanted (1s to 1d)"},
        {"limits = { message_size = \"51MB\"; };",
         "limits.message_size: \"51MB\": a size such as \"10MB\" is wanted (64KB to 50MB)"},
        {"limits = { message_size = \"10\"; };",
         "limits.message_size: \"10\": a size such as \"10MB\" is wanted (64KB to 50MB)"},
        {"workers = 0;", "workers: \"0\": a whole number is wanted (1 to 32)"},
        {"workers = -1;", "workers: \"-1\": a whole number is wanted (1 to 32)"},
        {"workers = 4294967297L;", "workers: \"4294967297\": a whole number is wanted (1 to 32)"},
        {"workers = \"2\";", "workers: a number is wanted, this is a text"},
        {"workers = 2.0;", "workers: a number is wanted, this is a number with a point"},
        {"state = \"var\";", "state: \"var\": an absolute path is wanted"},
        {"state = true;", "state: a text is wanted, this is true or false"},
        {"queue = { on_uncertain = \"drop\"; };",
         "queue.on_uncertain: \"drop\": one of these words is wanted (retry or hold)"},
        {"queue = { redis = \"redis.example:6379\"; };",
         "queue.redis: \"redis.example:6379\": \"embedded\", \"unix:/PATH\" or \"IP:PORT\" is "
         "wanted"},
        {"dns = { forward = \"192.0.2.1\"; };", "dns.forward: \"192.0.2.1\": IP:PORT is wanted"},
        {"dns = \"192.0.2.1\";", "dns: a group { } is wanted, this is a text"},
        {"dns = ( );", "dns: a group { } is wanted, this is a list ( )"},
        {"ndr = { from = \"*\"; };",
         "ndr.from: \"*\": a name of letters, digits, hyphens and dots (others as xn--...) is "
         "wanted"},
        {"retry = { first = \"5h\"; };", "retry.first: longer than retry.max"},
        {"retry = { expire = \"1h\"; };", "retry.max: longer than retry.expire"},
        {"queue = { commit_timeout = \"3m\"; };",
         "queue.commit_timeout: longer than queue.unknown_timeout"},
        {"limits = { connections = 10; };",
         "limits.site_connections: more than limits.connections"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(TABLE); i++) {
        char text[2048], said[512];
        snprintf(text, sizeof text, GOOD "%s\n", TABLE[i].line);
        snprintf(said, sizeof said, "f:6: %s\n", TABLE[i].said);
        check(text, 1, 0, said);
    }
}

static void
test_listeners(void **state)
{
    (void)state;
    check(
        HOST TLS DOMAINS GOOD_CREDENTIAL
        "listeners = (\n"
        "  { kind = \"smtp\"; address = \"0.0.0.0\"; port = 587; },\n"
        "  { kind = \"smtp\"; address = \"::\"; port = 587; },\n"
        "  { kind = \"smtps\"; address = \"192.0.2.1\"; port = 587; },\n"
        "  { kind = \"pop3\"; address = \"localhost\"; port = 0; },\n"
        "  { kind = \"http\"; address = \"192.0.2.1\"; port = 70000; });",
        6, 0,
        "f:8: listeners[2].port: port 587 is that of listeners[0] too\n"
        "f:9: listeners[3].kind: \"pop3\": one of these words is wanted (smtp, smtps, http or "
        "https)\n"
        "f:9: listeners[3].address: \"localhost\": an IP address is wanted\n"
        "f:9: listeners[3].port: \"0\": a whole number is wanted (1 to 65535)\n"
        "f:10: listeners[4].port: \"70000\": a whole number is wanted (1 to 65535)\n"
        "f:10: listeners[4].address: HTTP beyond this machine: API keys travel without TLS; kind = "
        "\"https\" has it, allow_clear = true leaves it to something in front\n");
    check(HOST TLS DOMAINS GOOD_CREDENTIAL
          "listeners = (\n"
          "  { kind = \"http\"; address = \"192.0.2.1\"; port = 80; allow_clear = true; },\n"
          "  { kind = \"http\"; address = \"::1\"; port = 80; },\n"
          "  { kind = \"https\"; address = \"0.0.0.0\"; port = 443; });",
          0, 1,
          "f:6: warning: listeners[0].address: HTTP beyond this machine: API keys travel without "
          "TLS\n");
}

static void
test_another_redis(void **state)
{
    (void)state;
    check(GOOD "queue = { redis = \"192.0.2.1:6379\"; redis_user = \"u\"; redis_tls = true;\n"
               "redis_password_file = \"/p\"; };\n",
          0, 0, "");
    check(GOOD "queue = {\n redis_tls = true;\n redis_user = \"u\"; };\n", 2, 0,
          "f:8: queue.redis_user: queue.redis is \"embedded\"\n"
          "f:8: queue.redis_user: queue.redis_password_file is wanted too\n");
    check(GOOD "queue = { redis = \"unix:/r\";\n redis_tls = true; };\n", 1, 0,
          "f:7: queue.redis_tls: queue.redis is a unix socket\n");
}

static void
test_proxies(void **state)
{
    (void)state;
    check(HOST TLS DOMAINS GOOD_CREDENTIAL
          "listeners = (\n"
          "  { kind = \"smtp\"; port = 587; proxy_from = [ \"10.0.0.1/8\", \"lb.example\" ]; },\n"
          "  { kind = \"smtps\"; port = 465; proxy_from = \"10.0.0.1\"; },\n"
          "  { kind = \"http\"; port = 80; proxy_from = [ \"::1\", \"0.0.0.0/0\" ]; });",
          3, 1,
          "f:6: listeners[0].proxy_from: \"10.0.0.1/8\": an IP address, or a network such as "
          "\"10.0.0.0/8\" without bits behind the prefix is wanted\n"
          "f:6: listeners[0].proxy_from: \"lb.example\": an IP address, or a network such as "
          "\"10.0.0.0/8\" without bits behind the prefix is wanted\n"
          "f:7: listeners[1].proxy_from: an array [ ] is wanted, this is a text\n"
          "f:8: warning: listeners[2].proxy_from: 0.0.0.0/0: everybody may say which address a "
          "connection comes from\n");
    struct config_file *f = parse(HOST TLS DOMAINS GOOD_CREDENTIAL
                                  "listeners = ( { kind = \"smtp\"; port = 587; },\n"
                                  "  { kind = \"smtps\"; port = 465; proxy_from = [ \"::1\", "
                                  "\"10.0.0.0/8\" ]; } );");
    const struct config *c = &config_file_draft(f)->config;
    assert_int_equal(config_file_errors(f) + config_file_warnings(f), 0);
    assert_int_equal(c->listeners[0].proxy_count, 0);
    assert_int_equal(c->listeners[1].proxy_count, 2);
    assert_string_equal(c->listeners[1].proxies[1], "10.0.0.0/8");
    config_file_free(f);
}

static void
test_entries_that_are_no_groups(void **state)
{
    (void)state;
    check(HOST TLS DOMAINS GOOD_CREDENTIAL
          "listeners = ( 17,\n{ kind = \"smtp\"; prot = 1; }, \"x\" );",
          4, 0,
          "f:5: listeners[0]: a group { } is wanted, this is a number\n"
          "f:6: listeners[1].prot: unknown key; is \"port\" meant?\n"
          "f:6: listeners[1].port: must be given\n"
          "f:6: listeners[2]: a group { } is wanted, this is a text\n");
    check(HOST LISTEN TLS GOOD_CREDENTIAL "domains = ( { name = \"example.org\"; dikm = ( ); } );",
          1, 1,
          "f:4: warning: credentials[0].senders: example.org has no DKIM key: its mail goes out "
          "unsigned\n"
          "f:5: domains[0].dikm: unknown key; is \"dkim\" meant?\n");
}

static void
test_too_many_http_listeners(void **state)
{
    char text[4096] = HOST TLS DOMAINS GOOD_CREDENTIAL "listeners = (";
    (void)state;
    for (int i = 0; i < 9; i++) {
        size_t n = strlen(text);
        snprintf(text + n, sizeof text - n, "%s{ kind = \"http\"; port = %d; }", i > 0 ? "," : "",
                 8000 + i);
    }
    strncat(text, ");", sizeof text - strlen(text) - 1);
    check(text, 1, 0, "f:5: listeners: more than 8 for SMTP, or more than that for HTTP\n");
}

static void
test_domains(void **state)
{
    (void)state;
    check(HOST LISTEN TLS GOOD_CREDENTIAL
          "domains = ( { name = \"example.org\"; dkim = (\n"
          "    { selector = \"s\"; file = \"/a\"; },\n"
          "    { selector = \"S\"; file = \"b\"; } ); },\n"
          "  { name = \"EXAMPLE.org\"; },\n"
          "  { name = \"exa mple\"; dkim = ( { file = \"/a\"; } ); });",
          5, 0,
          "f:7: domains[0].dkim[1].file: \"b\": an absolute path is wanted\n"
          "f:7: domains[0].dkim[1].selector: s stands twice\n"
          "f:8: domains[1].name: example.org is domains[0] too\n"
          "f:9: domains[2].name: \"exa mple\": a name of letters, digits, hyphens and dots "
          "(others as xn--...) is wanted\n"
          "f:9: domains[2].dkim[0].selector: must be given\n");
}

static void
test_credentials(void **state)
{
    (void)state;
    check(
        HOST LISTEN TLS DOMAINS
        "credentials = (\n"
        "  { user = \"a\"; tenant = \"t\"; senders = [ \"example.org\" ]; },\n"
        "  { user = \"a\"; tenant = \"t\"; senders = [ \"other.example\" ]; password_hash = "
        "\"" HASH "\"; },\n"
        "  { user = \"c\"; tenant = \"t\"; senders = [ \"*\" ]; key_hash = \"" SHA "\"; },\n"
        "  { user = \"d\"; tenant = \"t\"; senders = [ ]; key_hash = \"" SHA "\"; },\n"
        "  { user = \"e\"; tenant = \"t\"; senders = [ 1 ]; password_hash = \"secret\"; },\n"
        "  { user = \"f\"; tenant = \"t\"; senders = [ \"example.org\" ];\n"
        "    password_hash = \"" HASH "\"; password_file = \"/p\"; },\n"
        "  { user = \"g\"; tenant = \"\"; senders = [ \"example.org\" ]; key_hash = \"abc\"; });",
        12, 1,
        "f:6: credentials[0]: nobody can use it: password_hash, password_file, scram or key_hash "
        "is wanted\n"
        "f:7: credentials[1].user: a is credentials[0] too\n"
        "f:7: warning: credentials[1].senders: other.example has no DKIM key: its mail goes out "
        "unsigned\n"
        "f:8: credentials[2].senders: \"*\": a name of letters, digits, hyphens and dots (others "
        "as xn--...) is wanted\n"
        "f:9: credentials[3].senders: 0 entries: 1 to 1000 are wanted\n"
        "f:9: credentials[3].key_hash: credentials[2] has the same key\n"
        "f:10: credentials[4].password_hash: a crypt(5) hash of a current method is wanted, such "
        "as `mkpasswd -m yescrypt` prints\n"
        "f:10: credentials[4].senders: a text is wanted, this is a number\n"
        "f:10: credentials[4]: nobody can use it: password_hash, password_file, scram or key_hash "
        "is wanted\n"
        "f:12: credentials[5].password_file: password_hash is given too\n"
        "f:13: credentials[6].key_hash: 64 hexadecimal digits in lower case are wanted, the "
        "SHA-256 of the API key\n"
        "f:13: credentials[6].tenant: \"\": a text of another length is wanted\n"
        "f:13: credentials[6]: nobody can use it: password_hash, password_file, scram or key_hash "
        "is wanted\n");
}

static void
test_what_a_credential_may_do(void **state)
{
    struct config_file *f =
        parse(HOST LISTEN TLS DOMAINS
              "credentials = ( { user = \"app@example.org\"; tenant = \"t\";\n"
              "  senders = [ \"example.org\", \"One@EXAMPLE.org\" ];\n"
              "  password_hash = [ \"" HASH "\", \"" HASH2 "\" ]; key_hash = [ \"" SHA "\" ];\n"
              "  recipients = [ \"test.example\", \"me@B\xc3\xbc"
              "cher.example\" ];\n"
              "  networks = [ \"192.0.2.0/24\", \"2001:db8::1\" ];\n"
              "  rate = \"100/m\"; daily = 5; new_recipients = 6; expires = \"2027-01-31\"; } );");
    (void)state;
    assert_int_equal(config_file_errors(f) + config_file_warnings(f), 0);
    const struct config_credential *c = &config_file_draft(f)->config.credentials[0];
    assert_string_equal(c->user, "app@example.org");
    assert_string_equal(c->password_hash, HASH);
    assert_string_equal(c->other_password_hash, HASH2);
    assert_string_equal(c->key_sha256, SHA);
    assert_string_equal(c->other_key_sha256, "");
    assert_string_equal(c->senders[1], "One@example.org");
    assert_int_equal(c->recipient_count, 2);
    assert_string_equal(c->recipients[1], "me@xn--bcher-kva.example");
    assert_int_equal(c->network_count, 2);
    assert_int_equal(c->rate.count, 100);
    assert_int_equal(c->rate.per_ms, 60000);
    assert_int_equal(c->daily, 5);
    assert_int_equal(c->new_recipients, 6);
    assert_true(c->expires_unix_ms == 1801353600000);
    config_file_free(f);

    f = parse(GOOD);
    c = &config_file_draft(f)->config.credentials[0];
    assert_int_equal(c->recipient_count + c->network_count + c->rate.count + c->daily, 0);
    assert_int_equal(c->new_recipients, 0);
    assert_true(c->expires_unix_ms == 0);
    config_file_free(f);

    check(
        HOST LISTEN TLS DOMAINS
        "credentials = ( { user = \"a\"; tenant = \"t\"; senders = [ \"a@@b\", \"example.org\" ];\n"
        "  key_hash = [ \"" SHA "\", \"" SHA "\", \"" SHA "\" ];\n"
        "  password_hash = [ \"" HASH "\", \"x\" ]; recipients = [ ];\n"
        "  networks = [ \"192.0.2.1/24\" ]; rate = \"100\"; expires = \"soon\"; } );",
        7, 0,
        "f:5: credentials[0].senders: \"a@@b\": a domain or an address is wanted\n"
        "f:6: credentials[0].key_hash: one or two are wanted\n"
        "f:7: credentials[0].password_hash: a crypt(5) hash of a current method is wanted, such "
        "as `mkpasswd -m yescrypt` prints\n"
        "f:7: credentials[0].recipients: 0 entries: 1 to 1000 are wanted\n"
        "f:8: credentials[0].networks: \"192.0.2.1/24\": an IP address, or a network such as "
        "\"10.0.0.0/8\" without bits behind the prefix is wanted\n"
        "f:8: credentials[0].rate: \"100\": a rate such as \"100/m\" (s, m or h) is wanted\n"
        "f:8: credentials[0].expires: \"soon\": a date such as \"2027-01-31\" or "
        "\"2027-01-31T12:00:00Z\" is wanted\n");
}

#define SCRAM_SALT_A "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"
#define SCRAM_SALT_B "SCRAM-SHA-256$4096:X22ZaJ0SNY7soEsUEjb6gQ==$"
#define SCRAM_KEYS                                                                                 \
    "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="

static void
test_scram_keys(void **state)
{
    struct config_file *f = parse(HOST LISTEN TLS DOMAINS CREDENTIAL(
        "scram = [ \"" SCRAM_SALT_A SCRAM_KEYS "\", \"" SCRAM_SALT_A SCRAM_KEYS "\" ];"));
    (void)state;
    assert_int_equal(config_file_errors(f) + config_file_warnings(f), 0);
    const struct config_credential *c = &config_file_draft(f)->config.credentials[0];
    assert_string_equal(c->scram, SCRAM_SALT_A SCRAM_KEYS);
    assert_string_equal(c->other_scram, c->scram);
    config_file_free(f);
    check(
        HOST LISTEN TLS DOMAINS
        "credentials = ( { user = \"a\"; tenant = \"t\"; senders = [ \"example.org\" ];\n"
        "  scram = [ \"" SCRAM_SALT_A SCRAM_KEYS "\", \"" SCRAM_SALT_B SCRAM_KEYS "\" ]; },\n"
        " { user = \"b\"; tenant = \"t\"; senders = [ \"example.org\" ]; scram = \"pencil\"; } );",
        3, 0,
        "f:6: credentials[0].scram: the second is not of the same salt and count: `stagepost "
        "credential scram --like FIRST` makes one\n"
        "f:7: credentials[1].scram: SCRAM-SHA-256$COUNT:SALT$KEY:KEY is wanted, as `stagepost "
        "credential scram` prints\n"
        "f:7: credentials[1]: nobody can use it: password_hash, password_file, scram or key_hash "
        "is wanted\n");
}

static void
test_weak_hashes_are_refused(void **state)
{
    static const char *const WEAK[] = {"$1$abcdefgh$aaaaaaaaaaaaaaaaaaaaaa", "rqXexS6ZhobKA",
                                       "$y$j9T$F5Jx5fExrKuPp53xLKQ..1", "x"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(WEAK); i++) {
        char text[2048];
        snprintf(text, sizeof text, HOST LISTEN TLS DOMAINS CREDENTIAL("password_hash = \"%s\";"),
                 WEAK[i]);
        struct config_file *f = parse(text);
        char *said = printed(f);
        assert_int_equal(config_file_errors(f), 2); /* and nobody can use the credential */
        assert_null(strstr(said, WEAK[i]) != NULL && strlen(WEAK[i]) > 1 ? said : NULL);
        free(said);
        config_file_free(f);
    }
}

static void
test_syntax_errors_have_their_line(void **state)
{
    (void)state;
    check("# a comment\n\nhostname = ;\n", 1, 0,
          "f:3: syntax error: here, or a \";\", quote or bracket is missing before\n");
    check("a = 1;\na = 2;\n", 1, 0, "f:2: duplicate setting name\n");
    check("\n  @include \"/etc/passwd\"\n", 1, 0, "f:2: @include: not supported, write one file\n");
    struct config_file *f = config_file_parse("f", slice_from("a = 1;\0b", 8), CONFIG_LOOK_AT_TEXT);
    assert_int_equal(config_file_errors(f), 1);
    config_file_free(f);
}

static void
test_problems_beyond_the_limit_are_counted(void **state)
{
    static char text[CONFIG_PROBLEMS_MAX * 32];
    (void)state;
    snprintf(text, sizeof text, "%s", GOOD);
    for (int i = 0; i < CONFIG_PROBLEMS_MAX + 3; i++) {
        size_t n = strlen(text);
        snprintf(text + n, sizeof text - n, "unheard_of_%d = 1;\n", i);
    }
    struct config_file *f = parse(text);
    char *said = printed(f);
    assert_int_equal(config_file_errors(f), CONFIG_PROBLEMS_MAX + 3);
    assert_non_null(strstr(said, "f: and 3 more\n"));
    free(said);
    config_file_free(f);
}

/* ---- files ---------------------------------------------------------------- */

static char folder[] = "/tmp/sp-config-XXXXXX";

static const char *
make_file(const char *name, const char *text, mode_t mode, char path[128])
{
    snprintf(path, 128, "%s/%s", folder, name);
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    fputs(text, out);
    fclose(out);
    assert_int_equal(chmod(path, mode), 0);
    return path;
}

static void
test_files_must_be_there_and_secret(void **state)
{
    char cert[128], key[128], open_key[128], hash[128], bad_hash[128], conf[128];
    char text[4096], wanted[2048];
    (void)state;
    make_file("cert", "", 0644, cert);
    make_file("key", "", 0640, key);
    make_file("open", "", 0644, open_key);
    make_file("hash", HASH "\nsecond line\n", 0600, hash);
    make_file("bad", "secret\n", 0600, bad_hash);
    snprintf(text, sizeof text,
             HOST LISTEN "tls = { cert = \"%s\"; key = \"%s\"; };\n"
                         "domains = ( { name = \"example.org\"; dkim = (\n"
                         "  { selector = \"a\"; file = \"%s\"; },\n"
                         "  { selector = \"b\"; file = \"%s/none\"; } ); } );\n"
                         "credentials = ( { user = \"u\"; tenant = \"t\"; senders = [ "
                         "\"example.org\" ]; password_file = \"%s\"; },\n"
                         "  { user = \"v\"; tenant = \"t\"; senders = [ \"example.org\" ]; "
                         "password_file = \"%s\"; } );\n",
             cert, key, open_key, folder, hash, bad_hash);
    make_file("conf", text, 0644, conf);
    struct config_file *f = config_file_read(conf);
    char *said = printed(f);
    snprintf(wanted, sizeof wanted,
             "%s:5: domains[0].dkim[0].file: %s: everybody may read or write it: chmod o= it\n"
             "%s:6: domains[0].dkim[1].file: %s/none: No such file or directory\n"
             "%s:8: credentials[1].password_file: %s: its first line is no crypt(5) hash of a "
             "current method\n",
             conf, open_key, conf, folder, conf, bad_hash);
    assert_string_equal(said, wanted);
    assert_string_equal(config_file_draft(f)->config.credentials[0].password_hash, HASH);
    free(said);
    config_file_free(f);
}

static void
test_the_file_itself(void **state)
{
    char conf[128];
    (void)state;
    struct config_file *f = config_file_read("/proc/none/stagepost.conf");
    char *said = printed(f);
    assert_string_equal(said, "/proc/none/stagepost.conf: No such file or directory\n");
    free(said);
    config_file_free(f);

    make_file("writable", HOST, 0666, conf);
    f = config_file_read(conf);
    said = printed(f);
    assert_non_null(strstr(said, "everybody may write it"));
    free(said);
    config_file_free(f);

    make_file("readable", CREDENTIAL("password_hash = \"" HASH "\";"), 0644, conf);
    f = config_file_read(conf);
    said = printed(f);
    assert_non_null(strstr(said, "warning: everybody may read it, and it has password hashes"));
    free(said);
    config_file_free(f);
}

static int
make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) != NULL ? 0 : -1;
}

static int
remove_folder(void **state)
{
    static const char *const NAMES[] = {"cert", "key",  "open",     "hash",
                                        "bad",  "conf", "writable", "readable"};
    char path[128];
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(NAMES); i++) {
        snprintf(path, sizeof path, "%s/%s", folder, NAMES[i]);
        unlink(path);
    }
    return rmdir(folder);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_good_file_and_its_defaults),
        cmocka_unit_test(test_values_are_taken),
        cmocka_unit_test(test_an_empty_file_names_all_that_is_missing),
        cmocka_unit_test(test_single_errors),
        cmocka_unit_test(test_listeners),
        cmocka_unit_test(test_proxies),
        cmocka_unit_test(test_another_redis),
        cmocka_unit_test(test_entries_that_are_no_groups),
        cmocka_unit_test(test_too_many_http_listeners),
        cmocka_unit_test(test_domains),
        cmocka_unit_test(test_credentials),
        cmocka_unit_test(test_what_a_credential_may_do),
        cmocka_unit_test(test_scram_keys),
        cmocka_unit_test(test_weak_hashes_are_refused),
        cmocka_unit_test(test_syntax_errors_have_their_line),
        cmocka_unit_test(test_problems_beyond_the_limit_are_counted),
        cmocka_unit_test(test_files_must_be_there_and_secret),
        cmocka_unit_test(test_the_file_itself),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
