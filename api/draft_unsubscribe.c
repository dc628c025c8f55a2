/*
 * "list_unsubscribe": {"url","mailto","one_click"}, for List-Unsubscribe (RFC
 * 2369 3.2) and List-Unsubscribe-Post (RFC 8058). The URIs go into the field as
 * they are, so only what RFC 3986 allows in one may stand in them.
 */
#include "api/draft.h"
#include "api/json/reader.h"
#include "api/mailbox.h"
#include "relay/sys/base/limits.h"

#define AT "/list_unsubscribe"

static bool
consists_of(struct slice s, struct slice others)
{
    for (size_t i = 0; i < s.n; i++)
        if (!ascii_is_alnum(s.p[i]) && slice_find(others, s.p[i]) == others.n)
            return false;
    return true;
}

/* RFC 3986 2: unreserved, reserved and "%". */
static bool
is_uri_text(struct slice s)
{
    return consists_of(s, SLICE("-._~:/?#[]@!$&'()*+,;=%"));
}

static bool
read_text(struct draft *d, json_t *v, const char *pointer, struct slice *out)
{
    if (!json_is_string(v)) {
        draft_fail(d, "wrong_type", "must be a string", "%s", pointer);
        return false; /* said here too, for the analyser */
    }
    *out = reader_string(v);
    if (out->n > API_UNSUBSCRIBE_URI_MAX)
        return draft_fail(d, "too_long", "the address is too long", "%s", pointer);
    return true;
}

static bool
read_url(struct draft *d, json_t *v)
{
    struct slice url = SLICE_NONE;
    if (!read_text(d, v, AT "/url", &url))
        return false;
    size_t scheme = slice_starts_nocase(url, SLICE("https://"))  ? 8
                    : slice_starts_nocase(url, SLICE("http://")) ? 7
                                                                 : 0;
    if (scheme == 0 || url.n == scheme || url.p[scheme] == '/' || !is_uri_text(url))
        return draft_fail(d, "invalid_url",
                          "must be an absolute http or https address, percent-encoded", AT "/url");
    d->unsubscribe.https = scheme == 8;
    d->unsubscribe.url = url;
    return true;
}

/* RFC 6068 2: what would need an escape can be given as a mailto: address. */
static bool
is_plain_address(struct slice s)
{
    return consists_of(s, SLICE("-._~+@!$*'"));
}

static bool
read_mailto(struct draft *d, json_t *v)
{
    struct slice text = SLICE_NONE;
    struct api_mailbox m;
    const char *why;
    if (!read_text(d, v, AT "/mailto", &text))
        return false;
    if (slice_starts_nocase(text, SLICE("mailto:"))) {
        text = slice_skip(text, 7);
        if (!is_uri_text(text) || slice_find(text, '@') == text.n)
            return draft_fail(d, "invalid_url", "not a mailto: address", AT "/mailto");
        d->unsubscribe.mailto = text;
        return true;
    }
    if (!mailbox_read(text, d->arena, &m, &why))
        return draft_fail(d, "invalid_address", why, AT "/mailto");
    if (!is_plain_address(m.address))
        return draft_fail(d, "invalid_address",
                          "this address must be given as mailto:, percent-encoded", AT "/mailto");
    d->unsubscribe.mailto = m.address;
    return true;
}

static bool
read_one_click(struct draft *d, json_t *v)
{
    if (!json_is_boolean(v))
        return draft_fail(d, "wrong_type", "must be true or false", AT "/one_click");
    d->unsubscribe.one_click = json_is_true(v);
    return true;
}

static const struct draft_member MEMBERS[] = {
    {"url", read_url}, {"mailto", read_mailto}, {"one_click", read_one_click}, {NULL, NULL}};

bool
draft_read_unsubscribe(struct draft *d, json_t *v)
{
    unsigned errors = d->errors->total;
    if (!json_is_object(v))
        return draft_fail(d, "wrong_type", "must be an object", AT);
    draft_read_members(d, v, AT, MEMBERS);
    if (d->errors->total > errors)
        return false;
    if (d->unsubscribe.url.n == 0 && d->unsubscribe.mailto.n == 0)
        return draft_fail(d, "required", "url or mailto is needed", AT "/url");
    if (d->unsubscribe.one_click && !d->unsubscribe.https)
        return draft_fail(d, "https_needed", "one click needs an https url (RFC 8058 3.1)",
                          AT "/url");
    return true;
}
