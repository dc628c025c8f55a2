/*
 * The configuration of one generation: immutable, made once by the supervisor
 * and sent to every child as one sealed snapshot (JSON in a memfd).
 *
 * A worker has one struct config that all its parts see; a reload overwrites it
 * between two turns of the loop. So a part reads what it needs when it needs it.
 * Whoever keeps a pointer to a string or a credential for more than one turn
 * holds its generation: every session, HTTP request and password check does, so
 * that nothing below them has to. What a reload cannot change (keys.h) stays
 * where the first generation has it as long as the process lives.
 */
#ifndef STAGEPOST_CONFIG_CONFIG_H
#define STAGEPOST_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "relay/sys/base/err.h"
#include "relay/sys/base/slice.h"

struct config_generation; /* what the strings of a snapshot live in; counted */

enum config_class { CONFIG_TRANSACTIONAL, CONFIG_BULK };

struct config_rate {
    unsigned count; /* 0: no limit */
    uint64_t per_ms;
};

/* One credential is one policy object (relay/accept/policy/ has a file for each
 * question). Texts may be "" or NULL, lists empty, numbers 0: no such rule. */
struct config_credential {
    const char *user; /* SMTP user name */
    /* crypt(5), yescrypt; the other one is live too while one replaces the other. */
    const char *password_hash, *other_password_hash;
    /* SCRAM-SHA-256 (scram_key.h), of the same passwords or of others; the other one has
     * the salt of the first. */
    const char *scram, *other_scram;
    /* API key: 64 lower-case hex digits; the same. */
    const char *key_sha256, *other_key_sha256;
    const char *tenant;
    enum config_class klass;
    /* Domains (lower-case A-labels) and canonical addresses that it may send
     * from, in the envelope and in the header; a single "*" is all (development
     * only). */
    const char **senders;
    unsigned sender_count;
    const char **networks; /* CIDR, that it may come from */
    unsigned network_count;
    const char **recipients; /* domains and addresses that it may send to */
    unsigned recipient_count;
    struct config_rate rate; /* recipients in a time */
    unsigned daily;          /* recipients in a day, UTC */
    unsigned new_recipients; /* first-time recipients in a day */
    uint64_t expires_unix_ms;
    bool frozen; /* by an operator: nothing is taken from it */
};

struct config_dkim_key {
    const char *domain; /* "*": every domain (development only) */
    const char *selector;
    const char *path; /* PEM */
    /* The TXT value that belongs at SELECTOR._domainkey.DOMAIN: the public key, for
     * processes that must not read the private one. "" until somebody derived it. */
    const char *record;
    const char *pem; /* what stands there; in a signer's snapshot only */
};

/* What becomes of mail from a domain that receivers would not believe. */
enum config_policy { CONFIG_POLICY_WARN, CONFIG_POLICY_ENFORCE, CONFIG_POLICY_OFF };

struct config_domain {
    const char *name; /* lower-case A-labels */
    enum config_policy policy;
};

enum config_listener_kind { CONFIG_SMTP, CONFIG_SMTPS, CONFIG_HTTP, CONFIG_HTTPS };

/* One listening address; every worker has a socket of its own on it. */
struct config_listener {
    enum config_listener_kind kind; /* SMTP: STARTTLS; SMTPS: RFC 8314 3.3 */
    const char *address;            /* an IP address without brackets */
    uint16_t port;
    const char **proxies; /* networks whose PROXY headers are believed, net_prefix_parse() */
    unsigned proxy_count;
};

struct config_retry {
    uint64_t first_ms;   /* after the first failed attempt */
    uint64_t max_ms;     /* the longest pause between attempts */
    unsigned factor_pct; /* 200: each pause is twice the one before */
    unsigned jitter_pct; /* 20: each pause is 80 % to 120 % of that; 0: none */
    uint64_t expire_ms;  /* from acceptance; then the recipient is given up */
};

struct config {
    uint64_t generation;
    struct config_generation *memory; /* NULL: not of a snapshot */
    bool development;
    const char *hostname; /* our name in EHLO, Received, Reporting-MTA */
    const char *state_dir, *run_dir;
    const struct config_listener *listeners; /* at most CONFIG_LISTENERS_MAX */
    unsigned listener_count;

    const char *tls_cert_path, *tls_key_path;
    const char *tls_cert_pem, *tls_key_pem; /* their contents; in a worker's snapshot only */
    const char *tls_ca_path;                /* development CA, "" when there is none */

    /* Operators' keys for HTTP, SHA-256 as of a credential; "": none. */
    const char *admin_key_sha256[2];

    const char *redis;                       /* net_address_parse(): "unix:/path" or "ip:port" */
    bool redis_embedded;                     /* we start and stop it ourselves */
    const char *redis_user, *redis_password; /* "": no AUTH; never logged */
    bool redis_tls;
    const char *redis_ca_path;
    unsigned redis_links;
    uint64_t lease_ms;
    uint64_t history_bytes, history_age_ms;
    uint64_t commit_timeout_ms, commit_unknown_timeout_ms;

    uint64_t message_bytes_max;
    const struct config_credential *credentials;
    unsigned credential_count;
    const struct config_dkim_key *dkim_keys;
    unsigned dkim_key_count;
    const struct config_domain *domains;
    unsigned domain_count;
    const char **egress; /* public IP addresses that we send from; none: not known */
    unsigned egress_count;
    const char **signer_sockets; /* unix socket paths */
    unsigned signer_count;
    const char *checker_socket; /* unix socket path; "": none, nothing asks it */

    const char *dns_forward;       /* "127.0.0.1@1053"; "" for full recursion */
    const char *dns_trust_anchor;  /* file; "": answers are not validated (DNSSEC) */
    uint16_t mx_port;              /* 25; development: the sandbox's */
    bool loopback_only;            /* development: nothing leaves the machine */
    unsigned site_connections_max; /* to one site, per worker */
    unsigned connections_max;      /* to all sites, per worker */
    struct config_retry retry;
    bool hold_uncertain;
    const char *ndr_from_domain; /* "": the sender's own domain */
    uint64_t ndr_delay_after_ms; /* 0: delay notices only where they were asked for */

    const char *sandbox_dir; /* captures; "" when there is no sandbox */
};

const struct config_credential *config_credential_by_user(const struct config *c,
                                                          struct slice user);
/* Of a domain that is not configured: CONFIG_POLICY_WARN. */
enum config_policy config_policy_of(const struct config *c, const char *domain);

/* Who gets a snapshot: the worker's has the listeners' private key in it, the
 * signer's the DKIM keys and no credentials, see material.h. */
enum config_reader {
    CONFIG_READER_WORKER,
    CONFIG_READER_SIGNER,
    CONFIG_READER_OTHER,
    CONFIG_READER_COUNT
};

/* The snapshot, with the contents of the files that the reader may see. Reading
 * gives memory of its own, freed by config_free(), which wipes those. */
int config_write_snapshot(const struct config *c, enum config_reader reader, int fd,
                          struct err *err);
const struct config *config_read_snapshot(int fd, struct err *err);
/* Lets go of what reading gave; the memory goes with the last that holds it. */
void config_free(const struct config *c);
/* Both take NULL too. */
struct config_generation *config_hold(struct config_generation *g);
void config_let_go(struct config_generation **g);

#endif
