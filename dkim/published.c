/*   record = tag *( ";" tag ) [ ";" ]       v= k= p= h= s= t= n=   (RFC 6376 3.6.1)
 *   tag    = [FWS] name [FWS] "=" [FWS] value [FWS] */
#include "dkim/published.h"

#include "dkim/txt.h"
#include "relay/sys/base/base64.h"
#include "relay/sys/base/buf.h"
#include "relay/sys/base/limits.h"

enum { RSA_KEY_LEAST = 64 }; /* bytes that can be a key of their own: not any tail of ours */

const char *
published_name(enum published p)
{
    static const char *const names[] = {
        [PUBLISHED_OURS] = "ours",     [PUBLISHED_MISSING] = "missing",
        [PUBLISHED_OTHER] = "other",   [PUBLISHED_REVOKED] = "revoked",
        [PUBLISHED_BROKEN] = "broken", [PUBLISHED_UNKNOWN] = "unknown",
    };
    return names[p];
}

struct key_record {
    struct slice type; /* k=, "rsa" when it is not there */
    struct slice key;  /* p= */
    bool has_key, well_formed;
    bool for_sha256, for_email; /* h=, s= allow them */
    bool testing;               /* t=y */
};

/* Whether one of the words of a list, "a : b : c", is `word` or "*". */
static bool
names(struct slice list, struct slice word)
{
    while (list.n > 0) {
        struct slice one = slice_trim(slice_cut_at(&list, ':'));
        if (slice_eq_nocase(one, word) || slice_eq(one, SLICE("*")))
            return true;
    }
    return false;
}

static void
apply_tag(struct key_record *r, bool first, struct slice name, struct slice value)
{
    if (slice_eq(name, SLICE("v")))
        r->well_formed &= first && slice_eq(value, SLICE("DKIM1"));
    else if (slice_eq(name, SLICE("k")))
        r->type = value;
    else if (slice_eq(name, SLICE("h")))
        r->for_sha256 = names(value, SLICE("sha256")) && slice_find(value, '*') == value.n;
    else if (slice_eq(name, SLICE("s")))
        r->for_email = names(value, SLICE("email"));
    else if (slice_eq(name, SLICE("t")))
        r->testing = names(value, SLICE("y")) && slice_find(value, '*') == value.n;
    if (!slice_eq(name, SLICE("p")))
        return;
    r->well_formed &= !r->has_key;
    r->has_key = true;
    r->key = value;
}

/* false: no list of tags with a key in it. */
static bool
read_record(struct slice text, struct key_record *r)
{
    *r = (struct key_record){
        .type = SLICE("rsa"), .well_formed = true, .for_sha256 = true, .for_email = true};
    for (bool first = true; slice_trim(text).n > 0; first = false) {
        struct slice tag = slice_cut_at(&text, ';');
        if (slice_trim(tag).n == 0 || slice_find(tag, '=') == tag.n)
            return false;
        struct slice name = slice_trim(slice_cut_at(&tag, '='));
        apply_tag(r, first, name, slice_trim(tag));
    }
    return r->has_key;
}

/* White space may stand within the base64 of p=. */
static bool
decode(struct slice text, struct buf *out)
{
    struct buf packed;
    buf_init(&packed, TXT_BYTES_MAX);
    for (size_t i = 0; i < text.n; i++)
        if (!txt_is_one_of(text.p[i], " \t\r\n"))
            buf_add_char(&packed, text.p[i]);
    bool ok = base64_decode(buf_slice(&packed), out);
    buf_fini(&packed);
    return ok;
}

/* A SubjectPublicKeyInfo ends with the RSAPublicKey that it is about. */
static bool
same_bytes(struct slice ours, struct slice theirs, bool rsa)
{
    if (slice_eq(ours, theirs))
        return true;
    return rsa && theirs.n >= RSA_KEY_LEAST && theirs.n < ours.n &&
           slice_eq(slice_skip(ours, ours.n - theirs.n), theirs);
}

static enum published
compare(const struct key_record *ours, const struct key_record *theirs)
{
    struct buf a, b;
    enum published result = PUBLISHED_BROKEN;
    buf_init(&a, TXT_BYTES_MAX);
    buf_init(&b, TXT_BYTES_MAX);
    if (decode(ours->key, &a) && decode(theirs->key, &b)) {
        bool rsa = slice_eq(ours->type, SLICE("rsa"));
        bool same = slice_eq_nocase(ours->type, theirs->type) &&
                    same_bytes(buf_slice(&a), buf_slice(&b), rsa);
        result = same ? PUBLISHED_OURS : PUBLISHED_OTHER;
    }
    buf_fini(&a);
    buf_fini(&b);
    return result;
}

static enum published
judge_text(struct slice ours, struct slice text)
{
    struct key_record a, b;
    if (!read_record(ours, &a) || !read_record(text, &b) || !b.well_formed || !b.for_sha256 ||
        !b.for_email)
        return PUBLISHED_BROKEN;
    return b.key.n == 0 ? PUBLISHED_REVOKED : compare(&a, &b);
}

/* Of several records, verifiers may take any (RFC 6376 3.6.2.2): not to be relied on. */
enum published
published_judge(struct slice ours, enum dns_status status, const struct slice *rdata,
                unsigned count)
{
    if (status == DNS_TEMP)
        return PUBLISHED_UNKNOWN;
    if (status != DNS_OK || count == 0)
        return PUBLISHED_MISSING;
    if (count > 1)
        return PUBLISHED_BROKEN;
    struct buf text;
    buf_init(&text, TXT_BYTES_MAX);
    bool ok = txt_join(rdata[0], &text);
    enum published result = ok ? judge_text(ours, buf_slice(&text)) : PUBLISHED_BROKEN;
    buf_fini(&text);
    return result;
}

/* The only record; its slices are in `text`. */
static bool
read_only(const struct slice *rdata, unsigned count, struct buf *text, struct key_record *r)
{
    return count == 1 && txt_join(rdata[0], text) && read_record(buf_slice(text), r);
}

const char *
published_fault(const struct slice *rdata, unsigned count)
{
    struct key_record r;
    struct buf text;
    const char *fault =
        "it cannot be read: v= is not DKIM1, a tag stands twice, or p= is no base64";
    buf_init(&text, TXT_BYTES_MAX);
    if (count > 1)
        fault = "several TXT records stand there, and verifiers may take any of them";
    else if (!read_only(rdata, count, &text, &r))
        fault = "what stands there is no DKIM key (a wildcard record answers for every name)";
    else if (r.well_formed && !r.for_sha256)
        fault = "its h= leaves out sha256";
    else if (r.well_formed && !r.for_email)
        fault = "its s= leaves out email";
    buf_fini(&text);
    return fault;
}

bool
published_is_testing(const struct slice *rdata, unsigned count)
{
    struct key_record r;
    struct buf text;
    buf_init(&text, TXT_BYTES_MAX);
    bool testing = read_only(rdata, count, &text, &r) && r.testing;
    buf_fini(&text);
    return testing;
}
