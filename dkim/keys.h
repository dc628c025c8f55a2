/*
 * DKIM private keys: RSA and Ed25519 (RFC 6376, RFC 8301, RFC 8463), parsed once
 * and checked when they are loaded, so that libopendkim never sees a key that
 * it would ask a pass phrase for or choke on. Only the signer process loads a
 * key set; development mode and the command line use key_create() and
 * key_dns_record().
 */
#ifndef STAGEPOST_DKIM_KEYS_H
#define STAGEPOST_DKIM_KEYS_H

#include <openssl/evp.h>

#include "relay/sys/base/buf.h"
#include "relay/sys/base/err.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/base/slice.h"

enum key_kind { KEY_RSA, KEY_ED25519 };

/* One configured key. All strings are borrowed during keyset_load() only. */
struct key_spec {
    const char *domain;   /* "example.org", or "*" for any domain (development mode) */
    const char *selector; /* one or more labels, RFC 6376 3.1 */
    const char *pem_path; /* PKCS#8 or traditional PEM, not encrypted */
    const char *pem;      /* what stands there, when somebody has read it; NULL: the file is read */
};

/* A loaded key, owned by its set. */
struct signing_key {
    char domain[ADDRESS_DOMAIN_MAX + 1]; /* lower case; "*" for any */
    char selector[ADDRESS_DOMAIN_MAX + 1];
    enum key_kind kind;
    EVP_PKEY *pkey;
    char *pem;     /* PKCS#8 text, for when the shim does not work */
    uint64_t uses; /* signatures since `pkey` was last renewed */
};

struct keyset; /* opaque */

/* Loads every key or none: NULL with err ERR_CONFIG ("PATH: why") for a file
 * that cannot be read, an encrypted or malformed PEM, another type than RSA
 * and Ed25519, RSA outside KEY_RSA_BITS_MIN..KEY_RSA_BITS_MAX, a domain or
 * selector that could not stand in DNS, more than KEYS_PER_DOMAIN_MAX keys of
 * one domain. */
struct keyset *keyset_load(const struct key_spec *specs, unsigned count, struct err *err);
void keyset_free(struct keyset *ks); /* NULL is fine; wipes the keys' text */

/* The keys that sign for `domain`, in the order of their specs: those that name
 * it or, when there are none, those for "*". Case does not matter. Returns how
 * many; 0: no key. */
unsigned keyset_match(struct keyset *ks, struct slice domain,
                      struct signing_key *out[KEYS_PER_DOMAIN_MAX]);

/* A domain that the set signs for, for trials; SLICE_NONE when it has no keys. */
struct slice keyset_any_domain(const struct keyset *ks);

/* To be called once per signature: counts it, and from time to time replaces
 * `pkey` by a copy, because libopendkim never gives back a reference to an
 * Ed25519 key. -1: out of memory, the key is as before. */
int signing_key_use(struct signing_key *k);

/* A name that may stand in DNS: LDH labels (and "_"), with no trailing dot, at
 * most ADDRESS_DOMAIN_MAX bytes. Used for d= and s= alike. */
bool key_name_ok(struct slice name);

/* Makes a key pair (RSA-2048 or Ed25519) and writes it as a new PKCS#8 PEM file
 * of mode 0600; an existing file is an error, never overwritten. */
int key_create(enum key_kind kind, const char *pem_path, struct err *err);

/* Appends the TXT value to publish at SELECTOR._domainkey.DOMAIN for the private
 * key in the file: "v=DKIM1; k=rsa; p=..." (RFC 6376 3.6.1) or
 * "v=DKIM1; k=ed25519; p=..." (RFC 8463 4). Up to about 750 bytes; split into
 * character-strings of 255 when it is put into DNS. */
int key_dns_record(const char *pem_path, struct buf *out, struct err *err);

#endif
