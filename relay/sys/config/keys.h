/*
 * The table of all keys of the configuration file. It is what the reader
 * (file.h) obeys, and config.example is printed from it.
 */
#ifndef STAGEPOST_CONFIG_KEYS_H
#define STAGEPOST_CONFIG_KEYS_H

#include "relay/sys/base/arena.h"
#include "relay/sys/base/buf.h"
#include "relay/sys/config/config.h"

/* How a value is written, and what is stored at config_key.offset. */
enum config_type {
    VALUE_NUMBER,   /* unsigned */
    VALUE_PORT,     /* uint16_t */
    VALUE_DURATION, /* "10s": uint64_t milliseconds */
    VALUE_SIZE,     /* "10MB": uint64_t bytes */
    VALUE_SWITCH,   /* true or false: bool */
    VALUE_RATE,     /* "100/m": struct config_rate */
    VALUE_DATE,     /* "2027-01-31" or RFC 3339: uint64_t unix milliseconds, 0 for "" */
    VALUE_CHOICE,   /* one word of `choices`: its number, unsigned */
    VALUE_TEXT,     /* const char *, as all below */
    VALUE_NAME,     /* a host or domain name in ASCII; stored in lower case */
    VALUE_NAMES,    /* array of such names: struct config_list of const char *, as the next two */
    VALUE_PARTIES,  /* array of domains and addresses, canonical */
    VALUE_NETWORKS, /* array of addresses and networks, net_prefix_parse() */
    VALUE_IP,
    VALUE_IPS,    /* array of them: struct config_list of const char * */
    VALUE_SERVER, /* IP:PORT */
    VALUE_REDIS,  /* "embedded", IP:PORT or unix:/PATH */
    VALUE_HASH,   /* crypt(5), one or an array of two: const char *[2] */
    VALUE_SHA256, /* 64 hex digits in lower case, likewise */
    VALUE_SCRAM,  /* scram_key.h, likewise */
    VALUE_FILE,   /* absolute path of a file that must be there */
    VALUE_PATH,   /* absolute path of a directory that may not be there yet */
};

enum config_key_flags {
    KEY_SECRET_FILE = 1, /* nobody but owner and group may read the file */
    KEY_RELOADABLE = 2,  /* a reload takes a new value */
};

#define CONFIG_DEFAULT_STATE "/var/lib/stagepost"

struct config_list {
    void *items; /* of the section's element_bytes each */
    unsigned count;
};

struct config_key {
    const char *section; /* "" for the top, "tls", "domains.dkim" */
    const char *name;
    enum config_type type;
    const char *fallback; /* as it is written, without quotes; NULL: must be given */
    uint64_t least, most; /* numbers; ms; bytes; characters of a text (0, 0: any); names */
    const char *choices;  /* "smtp smtps http" */
    unsigned flags;
    size_t offset; /* in the struct of its section */
    const char *help;
    const char *example; /* shown in config.example; NULL: the default, as a comment */
};

struct config_section {
    const char *path;
    size_t element_bytes; /* 0: a group, whose keys are in the parent's struct */
    size_t offset;        /* lists: of the struct config_list in the parent's struct */
    unsigned least, most; /* lists: entries */
    const char *help;
    const char *example; /* lists: the whole value */
};

/* What the keys fill; config is completed from the lists by the reader. */
struct config_file_dkim {
    const char *selector, *path;
};
struct config_file_domain {
    const char *name;
    unsigned policy;         /* enum config_policy */
    struct config_list dkim; /* of struct config_file_dkim */
};
struct config_file_credential {
    struct config_credential out; /* without lists and secrets */
    const char *password_hashes[2], *key_hashes[2], *scrams[2];
    const char *password_file;
    unsigned klass;
    struct config_list senders, networks, recipients; /* of const char * */
};
struct config_file_listener {
    unsigned kind;
    const char *address;
    uint16_t port;
    bool allow_clear;
    struct config_list proxies; /* of const char * */
};
struct config_draft {
    struct config config;
    unsigned workers, signers;
    const char *user, *signer_user; /* names; for root only */
    unsigned on_uncertain;          /* 0 retry, 1 hold */
    const char *dns_forward;
    const char *sendmail_credential; /* of commands on this machine, not of the gateway */
    const char *redis_password_file;
    struct config_list listeners, domains, credentials;
    struct config_list egress; /* of const char * */
};

/* Types that are written as an array. */
bool config_type_is_array(enum config_type type);

#define DNS_ROOT_KEY "/usr/share/dns/root.key"

extern const struct config_key CONFIG_KEYS[];
extern const size_t CONFIG_KEY_COUNT;
extern const struct config_section CONFIG_SECTIONS[];
extern const size_t CONFIG_SECTION_COUNT;

/* Whether values of the type are arrays, each entry a const char *. */
bool config_type_is_array(enum config_type type);
/* NULL: there is none. */
const struct config_key *config_key_find(const char *section, struct slice name);
/* The section at PARENT.NAME (NAME, when the parent is ""). */
const struct config_section *config_section_find(const char *parent, struct slice name);

enum { CONFIG_WHY_MAX = 384 };
/* A value of a key that comes by another way than the file, such as a request: by
 * the same rules, to `at`; for a list, one entry of it (const char *). The arena
 * needs room for the text. False: `why` says what is wrong. */
bool config_value_read(const struct config_key *k, struct slice text, struct arena *arena, void *at,
                       char why[CONFIG_WHY_MAX]);

/* "from 10s to 1d", "1 to 32", "smtp, smtps or http"; "" when anything goes. */
void config_key_range(const struct config_key *k, struct buf *out);
/* The text of config.example. */
void config_write_example(struct buf *out);

#endif
