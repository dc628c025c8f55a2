/*
 * The one parser for mailboxes and paths: SMTP, HTTP, header fields, DKIM
 * domain choice, suppression list and reports all use it.
 * RFC 5321 4.1.2, RFC 6531 3.3 (UTF-8), RFC 5322 3.4 (header fields).
 *
 * What it never does: interpret `%` or `!` in a local part, repair anything,
 * follow a source route. Stricter than the grammars:
 *   - domains are LDH labels, or U-labels that libidn2 takes; an A-label must be
 *     valid; no trailing dot, no all-digit last label (RFC 3696 2);
 *   - a U-label stands as its A-label reads (RFC 5890 2.3.2.1: in NFC), capitals
 *     aside; what UTS 46 would map to it, as full-width letters or a zero-width
 *     space inside, is refused;
 *   - literals are [1.2.3.4] and [IPv6:...] only;
 *   - no control characters even quoted; UTF-8 must be valid, without C1
 *     controls, line separators or bidirectional overrides;
 *   - a local part that looks like an encoded word (`=?..?..?..?=`) is refused
 *     (RFC 2047 5: it must not stand there, and some readers decode it).
 */
#ifndef STAGEPOST_WIRE_ADDRESS_H
#define STAGEPOST_WIRE_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>

#include "relay/sys/base/arena.h"
#include "relay/sys/base/buf.h"
#include "relay/sys/base/slice.h"

/*
 * Slices borrow the parsed text; only a local part with a backslash in it is
 * copied into the arena.
 */
struct mailbox {
    struct slice local;  /* the content: no quotes, no backslashes; case kept; may be empty */
    struct slice domain; /* as written; a literal with its brackets */
    bool quoted;         /* written out, the local part needs quotes */
    bool literal;        /* the domain is an address literal */
    bool utf8;           /* a byte above 127 in local part or domain */
};

enum address_fault {
    ADDRESS_FINE,
    ADDRESS_EMPTY,      /* nothing there, or no local part */
    ADDRESS_SYNTAX,     /* not by the grammar */
    ADDRESS_NO_DOMAIN,  /* `user`, `user@` */
    ADDRESS_BAD_DOMAIN, /* the domain is not a domain name or literal */
    ADDRESS_MAPPED,     /* it would be one after a mapping: domain_is_mapped() */
    ADDRESS_BAD_OCTET,  /* control character, invalid or unsafe UTF-8 */
    ADDRESS_TOO_LONG,   /* ADDRESS_LOCAL_MAX, _DOMAIN_MAX or _PATH_MAX, written or canonical */
    ADDRESS_NULL_PATH,  /* `<>` where a mailbox is needed */
    ADDRESS_BUDGET,     /* the arena is used up */
    ADDRESS_FAULT_COUNT,
};
/* "the domain is not valid", for replies and problem details. */
const char *address_fault_text(enum address_fault fault);

/* All parsers: PARSE_OK, or PARSE_BAD with *fault set and nothing else changed.
 * `fault` may be NULL. Never PARSE_MORE. */

/* The whole of `text` is one mailbox, `user@example.org` (no brackets, no name,
 * no spaces around). */
enum parse address_parse(struct slice text, struct arena *arena, struct mailbox *out,
                         enum address_fault *fault);

enum path_kind {
    PATH_MAILBOX,
    PATH_NULL,       /* <>: only as reverse-path */
    PATH_POSTMASTER, /* <Postmaster> without domain: only as forward-path */
};

struct path {
    enum path_kind kind;
    struct mailbox mailbox; /* PATH_MAILBOX; PATH_POSTMASTER has `local` only */
    bool source_route;      /* `@a,@b:` stood there and was dropped (RFC 5321 App. C) */
};

/* Cut `<...>` from the front; `in` then begins behind the `>`. */
enum parse path_cut_reverse(struct slice *in, struct arena *arena, struct path *out,
                            enum address_fault *fault); /* MAIL FROM */
enum parse path_cut_forward(struct slice *in, struct arena *arena, struct path *out,
                            enum address_fault *fault); /* RCPT TO */

struct address_list {
    struct mailbox *v; /* in the arena, in order; groups are flattened */
    size_t n;          /* may be 0: "undisclosed-recipients:;" */
};
/*
 * The value of From, Sender, To, Cc, Reply-To (behind the colon, folds
 * included): RFC 5322 3.4 with groups, comments and quoted strings; encoded
 * words stay words. Of the obsolete forms only dots in a display name are
 * taken; white space or a comment inside an address (`a @ b`) is not, for
 * readers disagree about it. Anything that cannot be parsed to the end is
 * PARSE_BAD.
 */
enum parse address_list_parse(struct slice value, struct arena *arena, struct address_list *out,
                              enum address_fault *fault);

/* Appends local@domain with the local part quoted only where it must be, so
 * that equal mailboxes are written equally; the domain as it was written.
 * False (nothing appended) when it does not fit. */
bool address_format(const struct mailbox *m, struct buf *out);
/* The same with the domain in its canonical form: what is stored, compared and
 * put into envelopes. It needs SMTPUTF8 only when it is not ASCII. */
bool address_format_canonical(const struct mailbox *m, struct buf *out);

/* Appends the canonical form of a domain: lower case, U-labels as A-labels.
 * Literals (with brackets) pass in lower case. False (nothing appended) when
 * it is not a domain, as it is written, or does not fit. */
bool domain_add_canonical(struct slice domain, struct buf *out);
/* UTS 46 would make a domain of it, which a reader of the text does not see. */
bool domain_is_mapped(struct slice domain);
/* A fully checked host or domain name in ASCII: LDH labels of 1 to 63, at most
 * 253 octets, no trailing dot, last label not all digits. */
bool domain_is_ldh(struct slice domain);
/* "[192.0.2.1]" or "[IPv6:2001:db8::1]" with a valid address in it. */
bool domain_is_literal(struct slice domain);

#endif
