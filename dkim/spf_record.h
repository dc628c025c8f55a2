/*
 * SPF records (RFC 7208) made safe for libspf2. A record is checked as a whole
 * against the grammar, and written anew for one question: macros expanded,
 * addresses already compared, `redirect=` at its end, explanations and unknown
 * modifiers left out. What libspf2 then reads holds only `all` and the terms that ask DNS,
 * each with a plain host name, so that nothing of its macro code, its
 * literal strings and its own limits is reached. Pure; every byte is hostile.
 */
#ifndef STAGEPOST_DKIM_SPF_RECORD_H
#define STAGEPOST_DKIM_SPF_RECORD_H

#include "relay/sys/base/buf.h"
#include "relay/sys/base/err.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/base/slice.h"

enum {
    /* v=spf1, the terms that can matter (one more than may be asked), each with
     * a name, a name of a mechanism and prefix lengths. */
    SPF_PREPARED_MAX = 16 + (SPF_LOOKUPS_MAX + 3) * (ADDRESS_DOMAIN_MAX + 32),
};

/* A name without records, for a domain that a macro made unusable: include:
 * and redirect= of it must fail when they are reached, not before. */
#define SPF_UNUSABLE_NAME "unusable.invalid"

/* What is asked about; text without NUL inside. */
struct spf_mail {
    bool ipv6;                           /* never an IPv4-mapped address */
    uint8_t ip[16];                      /* of the client; 4 bytes for IPv4 */
    char local[ADDRESS_LOCAL_MAX + 1];   /* of MAIL FROM; "postmaster" for the null sender */
    char domain[ADDRESS_DOMAIN_MAX + 1]; /* of MAIL FROM; lower case, valid */
    char helo[ADDRESS_DOMAIN_MAX + 1];   /* lower case, valid */
};

/* Fills `m` from texts; an IPv4-mapped IPv6 address becomes IPv4. An empty local
 * part is the null sender's, an empty helo the domain. false: not an address,
 * or a domain that check_host() would not take (RFC 7208 4.3). */
bool spf_mail_set(struct spf_mail *m, struct slice ip, struct slice local, struct slice domain,
                  struct slice helo);

/* Whether a TXT record is an SPF record: v=spf1 and a space or its end (4.5). */
bool spf_record_is(struct slice text);

/* What libspf2 cannot be given stands for itself under an end of ours. `a` and `mx` with a
 * prefix of no bits: every client matches, if there is an address at all. */
#define SPF_ANY_ADDRESS ".any-address.invalid"
/* A name with characters that host names do not have, or one that could be taken for
 * ours: its number in this table. */
#define SPF_ODD_NAME ".odd-name.invalid"
struct spf_odd_names {
    unsigned count;
    char names[SPF_QUESTIONS_MAX][ADDRESS_DOMAIN_MAX + 1];
};

/* Names without records of their own that stand for a `ptr` term whose answer is
 * known: it matches, it does not, and it does not since there is no PTR record. */
#define SPF_PTR_MATCHES "matches.ptr.invalid"
#define SPF_PTR_DIFFERS "differs.ptr.invalid"
#define SPF_PTR_VOID "void.ptr.invalid"

/* What the client's address is called, as far as the names lead back to it (5.5). */
struct spf_names {
    bool has_ptr; /* there was an answer to the PTR question */
    unsigned count;
    char names[SPF_PTR_NAMES_MAX][ADDRESS_DOMAIN_MAX + 1];
};

struct spf_notes {
    const struct spf_names *names; /* in; NULL: not known */
    struct spf_odd_names *odd;     /* in, out; NULL: terms with such names do not match */
    bool wants_names;              /* out: it uses ptr or %{p}, and they are not known */
    bool by_local_part;            /* out: a term that can matter uses %{l} or %{s} */
};

/* Appends the record for libspf2, at most SPF_PREPARED_MAX bytes; `at` is the
 * domain that published it. -1 with err ERR_BAD: permerror, the text says what
 * in it is wrong. */
int spf_record_prepare(struct slice text, const char *at, const struct spf_mail *m, struct buf *out,
                       struct spf_notes *notes, struct err *err);

#endif
