/* Domains and address literals: the half of address.h that knows IDNA. */
#include "relay/wire/address.h"

#include <arpa/inet.h>
#include <idn2.h>
#include <string.h>

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

/* `text` is lower case and NUL-terminated; the answer replaces it. libidn2 takes
 * empty labels and underscores: the caller checks what comes out. */
static bool
convert_idna(char text[ADDRESS_DOMAIN_MAX + 1])
{
    uint8_t *ascii = NULL;
    int rc = idn2_lookup_u8((const uint8_t *)text, &ascii, IDN2_NONTRANSITIONAL | IDN2_NFC_INPUT);
    bool ok = rc == IDN2_OK &&
              slice_to_cstr(slice_str((const char *)ascii), text, ADDRESS_DOMAIN_MAX + 1);
    if (rc == IDN2_OK)
        idn2_free(ascii);
    return ok;
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

bool
domain_add_canonical(struct slice domain, struct buf *out)
{
    char text[ADDRESS_DOMAIN_MAX + 1];
    if (!slice_to_cstr(domain, text, sizeof(text)))
        return false;
    lower(text);
    if (domain_is_literal(domain))
        return buf_add_str(out, text);
    if (needs_idna(domain)) {
        if (has_unsafe(domain) || !convert_idna(text))
            return false;
        lower(text);
    }
    return domain_is_ldh(slice_str(text)) && buf_add_str(out, text);
}
