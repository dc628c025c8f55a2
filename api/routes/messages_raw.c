/*
 * POST /v1/messages/raw?from=&to=&to=: a finished message. Line ends must be
 * CRLF and nothing is repaired: what is signed must be what the client meant.
 */
#include <stdlib.h>
#include <string.h>

#include "api/http/query.h"
#include "api/mailbox.h"
#include "api/routes/routes.h"
#include "api/submission.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"
#include "relay/wire/header.h"
#include "relay/wire/text.h"

struct raw {
    struct submission base;
    struct field_errors errors;
    struct slice from, from_domain;
    struct submit_recipient *recipients;
    unsigned recipient_count;
    bool smtputf8;
    const char *fault; /* of the body; NULL: none */
};

/* ---- the query ---------------------------------------------------------- */

static bool
read_address(struct raw *p, struct slice text, const char *pointer, struct api_mailbox *out)
{
    const char *why;
    if (!mailbox_read(text, &p->base.request->arena, out, &why))
        return field_errors_add(&p->errors, slice_str(pointer), "invalid_address", why);
    p->smtputf8 = p->smtputf8 || !text_is_ascii(out->address);
    return true;
}

static bool
add_recipient(struct raw *p, struct slice text)
{
    struct api_mailbox to;
    if (!read_address(p, text, "/to", &to))
        return false;
    for (unsigned i = 0; i < p->recipient_count; i++)
        if (slice_eq(p->recipients[i].address, to.address))
            return true;
    if (p->recipient_count == API_RECIPIENTS_MAX)
        return field_errors_add(&p->errors, SLICE("/to"), "too_many", "too many recipients");
    p->recipients[p->recipient_count++] =
        (struct submit_recipient){.address = to.address, .domain = to.domain};
    return true;
}

static bool
read_pair(struct raw *p, const struct query_pair *pair)
{
    if (slice_eq(pair->name, SLICE("to")))
        return add_recipient(p, pair->value);
    char pointer[64] = "/";
    if (!slice_eq(pair->name, SLICE("from"))) {
        struct slice name = text_clip(pair->name, sizeof pointer - 2);
        memcpy(pointer + 1, name.p, name.n);
        return field_errors_add(&p->errors, slice_str(pointer), "unknown_field",
                                "only from and to can stand in the query");
    }
    struct api_mailbox from;
    if (p->from.n > 0)
        return field_errors_add(&p->errors, SLICE("/from"), "one_sender",
                                "exactly one sender is needed");
    if (!read_address(p, pair->value, "/from", &from))
        return false;
    p->from = from.address;
    p->from_domain = from.domain;
    return true;
}

/* False: answered. */
static bool
read_query(struct raw *p, struct http_request *r)
{
    struct query q;
    size_t most = API_RECIPIENTS_MAX;
    p->recipients = arena_alloc(&r->arena, sizeof *p->recipients * most);
    if (p->recipients == NULL || query_parse(r->head.query, &r->arena, &q) != PARSE_OK) {
        problem_say(r, 400, "bad_query", "the query cannot be read");
        return false;
    }
    for (unsigned i = 0; i < q.count; i++)
        read_pair(p, &q.pairs[i]);
    if (p->errors.total == 0 && p->from.n == 0)
        field_errors_add(&p->errors, SLICE("/from"), "required", "a sender is needed");
    if (p->errors.total == 0 && p->recipient_count == 0)
        field_errors_add(&p->errors, SLICE("/to"), "required", "a recipient is needed");
    if (p->errors.total == 0)
        return true;
    problem_respond(r, &(struct problem){.status = 422,
                                         .code = "invalid_fields",
                                         .detail = "some parameters are not valid",
                                         .errors = &p->errors});
    return false;
}

/* ---- the body ----------------------------------------------------------- */

static const char *
check_lines(struct slice text)
{
    if (text.n == 0)
        return "the message is empty";
    if (memchr(text.p, '\0', text.n) != NULL)
        return "the message has a NUL in it";
    for (size_t at = 0; at < text.n; at++) {
        const char *lf = memchr(text.p + at, '\n', text.n - at);
        size_t end = lf != NULL ? (size_t)(lf - text.p) : text.n;
        const char *cr = memchr(text.p + at, '\r', end - at);
        bool crlf = lf != NULL && end > 0 && cr == lf - 1;
        if (lf != NULL && !crlf)
            return "every line must end in CRLF, and CR stands nowhere else";
        if (lf == NULL && cr != NULL)
            return "every line must end in CRLF, and CR stands nowhere else";
        at = end;
    }
    return NULL;
}

static void
compile(struct submission *s)
{
    struct raw *p = (struct raw *)s;
    struct slice message = buf_slice(&s->request->body);
    size_t body_at;
    p->fault = check_lines(message);
    if (!text_is_ascii(header_section(message, &body_at)))
        p->smtputf8 = true; /* RFC 6531 3.1: the header section has UTF-8 */
}

static bool
finish(struct submission *s)
{
    struct raw *p = (struct raw *)s;
    if (p->fault != NULL) {
        problem_say(s->request, 422, "invalid_message", p->fault);
        return false;
    }
    s->submit.envelope.reverse_path = p->from;
    s->submit.envelope.smtputf8 = p->smtputf8;
    s->submit.reverse_domain = p->from_domain;
    s->submit.recipients = p->recipients;
    s->submit.recipient_count = p->recipient_count;
    s->submit.message = blob_take_buf(&s->request->body);
    return true;
}

static void
raw_free(struct submission *s)
{
    free(s);
}

static const struct submission_kind KIND = {compile, finish, raw_free};

bool
messages_raw_admit(struct http_request *r)
{
    return api_admit_sender(r) && api_admit_type(r, "message/");
}

void
messages_raw(struct http_request *r)
{
    struct raw *p = calloc(1, sizeof *p);
    BUG_ON(p == NULL);
    p->base.request = r;
    field_errors_init(&p->errors, &r->arena);
    if (read_query(p, r))
        submission_start(&p->base, &KIND, r);
    else
        free(p);
}
