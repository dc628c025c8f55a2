/* Domains and address literals: the half of address.h that knows IDNA. */
#include "relay/wire/address.h"

#include <arpa/inet.h>
#include <idn2.h>
#include <string.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"
#include "relay/wire/text.h"

/*
 * RFC 5321 4.1.2:
 *   Domain     = sub-domain *("." sub-domain)
 *   sub-domain = Let-dig [Ldh-str]
 * RFC 1035 2.3.4 gives the lengths.
 */
static bool
label_is_ldh(struct slice label)
{
    if (label.n == 0 || label.n > ADDRESS_LABEL_MAX)
        return false;
    for (size_t i = 0; i < label.n; i++)
        if (!ascii_is_alnum(label.p[i]) && label.p[i] != '-')
            return false;
    return label.p[0] != '-' && label.p[label.n - 1] != '-';
}

static bool
label_is_number(struct slice label)
{
    for (size_t i = 0; i < label.n; i++)
        if (label.p[i] < '0' || label.p[i] > '9')
            return false;
    return true;
}

bool
domain_is_ldh(struct slice domain)
{
    if (domain.n == 0 || domain.n > ADDRESS_DOMAIN_MAX || domain.p[domain.n - 1] == '.')
        return false;
    struct slice label = SLICE_NONE;
    while (domain.n > 0) {
        label = slice_cut_at(&domain, '.');
        if (!label_is_ldh(label))
            return false;
    }
    return !label_is_number(label); /* 192.0.2.1 is no domain: RFC 3696 2 */
}

/*
 * RFC 5321 4.1.3:
 *   IPv4-address-literal = Snum 3("." Snum)
 *   IPv6-address-literal = "IPv6:" IPv6-addr
 * General-address-literal names nothing that we could reach.
 */
bool
domain_is_literal(struct slice domain)
{
    char text[INET6_ADDRSTRLEN];
    unsigned char address[16];
    if (domain.n < 3 || domain.p[0] != '[' || domain.p[domain.n - 1] != ']')
        return false;
    struct slice inside = slice_from(domain.p + 1, domain.n - 2);
    int family = AF_INET;
    if (slice_starts_nocase(inside, SLICE("IPv6:"))) {
        family = AF_INET6;
        inside = slice_skip(inside, 5);
    }
    return slice_to_cstr(inside, text, sizeof(text)) && inet_pton(family, text, address) == 1;
}

static bool
needs_idna(struct slice domain)
{
    if (!text_is_ascii(domain))
        return true;
    while (domain.n > 0)
        if (slice_starts_nocase(slice_cut_at(&domain, '.'), SLICE("xn--")))
            return true;
    return false;
}

static void
lower(char *text)
{
    for (; *text != '\0'; text++)
        *text = ascii_lower(*text);
}

/* `text` is lower case and NUL-terminated. libidn2 takes empty labels and
 * underscores: the caller checks what comes out. */
static bool
convert_idna(const char *text, char out[ADDRESS_DOMAIN_MAX + 1])
{
    uint8_t *ascii = NULL;
    int rc = idn2_lookup_u8((const uint8_t *)text, &ascii, IDN2_NONTRANSITIONAL | IDN2_NFC_INPUT);
    bool ok =
        rc == IDN2_OK && slice_to_cstr(slice_str((const char *)ascii), out, ADDRESS_DOMAIN_MAX + 1);
    if (rc == IDN2_OK)
        idn2_free(ascii);
    return ok;
}

/* Capitals and how far their small letters are away: what people write by
 * habit. Whether UTS 46 maps one to the other is libidn2's to say. */
static bool
is_capital_of(uint32_t capital, uint32_t small)
{
    static const struct {
        uint32_t first, last, distance;
    } RANGES[] = {
        {0x00c0, 0x00de, 32},                                             /* Latin */
        {0x0100, 0x017e, 1},  {0x1e00, 0x1efe, 1},  {0x0386, 0x0386, 38}, /* Greek */
        {0x0388, 0x038a, 37}, {0x0391, 0x03ab, 32}, {0x0400, 0x040f, 80}, /* Cyrillic */
        {0x0410, 0x042f, 32}, {0x0531, 0x0556, 48},                       /* Armenian */
    };
    for (size_t i = 0; i < ARRAY_LEN(RANGES); i++)
        if (capital >= RANGES[i].first && capital <= RANGES[i].last)
            return small == capital + RANGES[i].distance;
    return false;
}

static bool
differs_in_case_only(struct slice written, struct slice canonical)
{
    uint32_t a, b;
    while (written.n > 0 && canonical.n > 0) {
        size_t n = utf8_sequence(written, &a), m = utf8_sequence(canonical, &b);
        if (n == 0 || m == 0 || (a != b && !is_capital_of(a, b)))
            return false;
        written = slice_skip(written, n);
        canonical = slice_skip(canonical, m);
    }
    return written.n == canonical.n;
}

/* Is `written` the U-label of the A-label? (RFC 5890 2.3.2.1) */
static bool
is_u_label_of(struct slice written, struct slice a_label)
{
    char text[ADDRESS_DOMAIN_MAX + 1], *unicode = NULL;
    if (!slice_to_cstr(a_label, text, sizeof text) ||
        idn2_to_unicode_8z8z(text, &unicode, 0) != IDN2_OK)
        return false;
    bool same = differs_in_case_only(written, slice_str(unicode));
    idn2_free(unicode);
    return same;
}

/*
 * UTS 46 maps more than case: it drops invisible characters and makes letters of
 * full-width ones. Such a text is not what a reader compares with, so that a
 * signature's domain and what is shown would differ.
 */
static bool
reads_as_written(struct slice written, struct slice ascii)
{
    while (written.n > 0 || ascii.n > 0) {
        struct slice label = slice_cut_at(&written, '.'), a_label = slice_cut_at(&ascii, '.');
        if (text_is_ascii(label) ? !slice_eq(label, a_label) : !is_u_label_of(label, a_label))
            return false;
    }
    return true;
}

static bool
has_unsafe(struct slice s)
{
    while (s.n > 0) {
        uint32_t code;
        size_t n = utf8_sequence(s, &code);
        if (n == 0 || text_is_unsafe(code))
            return true;
        s = slice_skip(s, n);
    }
    return false;
}

/* The canonical form with a NUL behind it; *mapped: it is a domain, but only
 * after a mapping. */
static bool
make_canonical(struct slice domain, char out[ADDRESS_DOMAIN_MAX + 1], bool *mapped)
{
    char text[ADDRESS_DOMAIN_MAX + 1];
    *mapped = false;
    if (!slice_to_cstr(domain, out, ADDRESS_DOMAIN_MAX + 1))
        return false;
    lower(out);
    if (domain_is_literal(domain))
        return true;
    if (!needs_idna(domain))
        return domain_is_ldh(slice_str(out));
    if (has_unsafe(domain) || !slice_to_cstr(slice_str(out), text, sizeof text) ||
        !convert_idna(text, out))
        return false;
    lower(out);
    if (!domain_is_ldh(slice_str(out)))
        return false;
    *mapped = !reads_as_written(slice_str(text), slice_str(out));
    return !*mapped;
}

bool
domain_add_canonical(struct slice domain, struct buf *out)
{
    char text[ADDRESS_DOMAIN_MAX + 1];
    bool mapped;
    return make_canonical(domain, text, &mapped) && buf_add_str(out, text);
}

bool
domain_is_mapped(struct slice domain)
{
    char text[ADDRESS_DOMAIN_MAX + 1];
    bool mapped;
    return !make_canonical(domain, text, &mapped) && mapped;
}
