/*
 * Macros of SPF records (RFC 7208 7): checked and expanded. Pure.
 */
#ifndef STAGEPOST_DKIM_SPF_MACRO_H
#define STAGEPOST_DKIM_SPF_MACRO_H

#include "dkim/spf_record.h"

enum { SPF_MACRO_MAX = 8192 }; /* of an expanded text, before it is cut to a name */

struct spf_macros {
    const struct spf_mail *mail;
    const char *at;          /* %{d}: the domain whose record this is */
    bool any_letter;         /* c, r and t are allowed: not in a name */
    struct spf_notes *notes; /* names for %{p} */
};

/* Appends `text` with its macros expanded. false: the syntax is wrong, or the
 * result does not fit; then something may have been appended. */
bool spf_macro_expand(const struct spf_macros *m, struct slice text, struct buf *out);

/* A domain-spec: macros, and at its end a macro or a dot and a top label. On
 * true `name` (ADDRESS_DOMAIN_MAX + 1 bytes) is the name, cut from the left to
 * the length of a name (7.3), or "" when it cannot be asked for. */
bool spf_macro_domain(const struct spf_macros *m, struct slice spec, char *name);

#endif
