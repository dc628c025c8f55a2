#include "relay/accept/lint.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "relay/accept/lint_internal.h"
#include "relay/accept/policy/sender.h"
#include "relay/accept/prepare.h"
#include "relay/sys/base/bug.h"
#include "relay/wire/address.h"
#include "relay/wire/header.h"
#include "relay/wire/text.h"

const char *
lint_severity_name(enum lint_severity s)
{
    static const char *const NAMES[] = {"info", "warning", "error"};
    return NAMES[s];
}

void
lint_add(struct lint_report *r, enum lint_severity severity, const char *id, const char *field,
         const char *fmt, ...)
{
    r->errors = r->errors || severity == LINT_ERROR;
    if (r->count == LINT_FINDINGS_MAX)
        return;
    struct lint_finding *f = &r->v[r->count++];
    *f = (struct lint_finding){.id = id, .severity = severity, .field = field};
    va_list args;
    va_start(args, fmt);
    vsnprintf(f->detail, sizeof f->detail, fmt, args);
    va_end(args);
}

/* ---- fields that are looked at --------------------------------------------- */

enum field {
    FIELD_FROM,
    FIELD_SENDER,
    FIELD_SUBJECT,
    FIELD_DATE,
    FIELD_MESSAGE_ID,
    FIELD_BCC,
    FIELD_CONTENT_TYPE,
    FIELD_DISPOSITION,
    FIELD_UNSUBSCRIBE,
    FIELD_POST,
    FIELD_LIST_ID,
    FIELD_FEEDBACK_ID,
    FIELD_AUTO_SUBMITTED,
    FIELD_SIGNATURE,
    FIELDS,
};

static const struct {
    const char *name;
    bool once; /* RFC 5322 3.6, RFC 8058 3.1, RFC 2045 3 */
} NAMES[FIELDS] = {
    [FIELD_FROM] = {"From", true},
    [FIELD_SENDER] = {"Sender", true},
    [FIELD_SUBJECT] = {"Subject", true},
    [FIELD_DATE] = {"Date", true},
    [FIELD_MESSAGE_ID] = {"Message-ID", true},
    [FIELD_BCC] = {"Bcc", false},
    [FIELD_CONTENT_TYPE] = {"Content-Type", true},
    [FIELD_DISPOSITION] = {"Content-Disposition", false},
    [FIELD_UNSUBSCRIBE] = {"List-Unsubscribe", true},
    [FIELD_POST] = {"List-Unsubscribe-Post", true},
    [FIELD_LIST_ID] = {"List-Id", true},
    [FIELD_FEEDBACK_ID] = {"Feedback-ID", true},
    [FIELD_AUTO_SUBMITTED] = {"Auto-Submitted", false},
    [FIELD_SIGNATURE] = {"DKIM-Signature", false},
};

struct lint {
    const struct lint_facts *facts;
    struct lint_report *report;
    struct slice section, body;
    unsigned seen[FIELDS];
    struct slice value[FIELDS]; /* of the first */
    bool signature_has_one_click;
};

static bool
names(struct slice list, const char *name)
{
    while (list.n > 0)
        if (slice_eq_nocase(slice_trim(slice_cut_at(&list, ':')), slice_str(name)))
            return true;
    return false;
}

/* RFC 8058 4: a signature must cover both fields. */
static bool
covers_one_click(struct slice signature)
{
    while (signature.n > 0) {
        struct slice tag = slice_cut_at(&signature, ';');
        if (slice_eq(slice_trim(slice_cut_at(&tag, '=')), SLICE("h")))
            return names(tag, "List-Unsubscribe") && names(tag, "List-Unsubscribe-Post");
    }
    return false;
}

static void
read_fields(struct lint *l)
{
    struct slice rest = l->section;
    struct header_field f;
    while (header_cut(&rest, &f) == PARSE_OK)
        for (unsigned i = 0; i < FIELDS; i++) {
            if (!slice_eq_nocase(f.name, slice_str(NAMES[i].name)))
                continue;
            if (l->seen[i]++ == 0)
                l->value[i] = slice_trim(f.value);
            if (i == FIELD_SIGNATURE && covers_one_click(f.value))
                l->signature_has_one_click = true;
        }
}

/* ---- rules ------------------------------------------------------------------ */

static void
check_once(struct lint *l)
{
    for (unsigned i = 0; i < FIELDS; i++)
        if (NAMES[i].once && l->seen[i] > 1)
            lint_add(l->report, LINT_ERROR, "duplicate-field", NAMES[i].name,
                     "%s may stand once only, and stands %u times", NAMES[i].name, l->seen[i]);
}

static void
check_usual(struct lint *l)
{
    struct lint_report *r = l->report;
    if (l->seen[FIELD_FROM] == 0)
        lint_add(r, LINT_ERROR, "from-missing", "From", "the From field is missing");
    if (l->value[FIELD_SUBJECT].n == 0)
        lint_add(r, LINT_WARNING, "subject-missing", "Subject", "there is no subject");
    if (l->value[FIELD_DATE].n == 0)
        lint_add(r, LINT_INFO, "date-missing", "Date", "the gateway adds it");
    if (l->value[FIELD_MESSAGE_ID].n == 0)
        lint_add(r, LINT_INFO, "message-id-missing", "Message-ID", "the gateway adds it");
    if (l->seen[FIELD_BCC] > 0)
        lint_add(r, LINT_ERROR, "bcc-field", "Bcc",
                 "everybody would see who got a blind copy; the gateway leaves the field out");
    if (!text_is_ascii(l->section))
        lint_add(r, LINT_WARNING, "eight-bit-header", "",
                 "the header is not ASCII: it can be delivered only where SMTPUTF8 is offered");
}

static void
check_one_click(struct lint *l)
{
    struct lint_report *r = l->report;
    struct slice list = l->value[FIELD_UNSUBSCRIBE], post = l->value[FIELD_POST];
    if (slice_find_slice(list, SLICE("=?")) < list.n)
        lint_add(r, LINT_ERROR, "unsubscribe-encoded", "List-Unsubscribe",
                 "the addresses stand in an encoded word, which nobody decodes here");
    if (post.n == 0) {
        if (l->facts->bulk)
            lint_add(r, LINT_ERROR, "bulk-without-one-click", "List-Unsubscribe-Post",
                     "bulk mail needs one-click unsubscription (RFC 8058)");
        return;
    }
    if (!slice_eq_nocase(post, SLICE("List-Unsubscribe=One-Click")))
        lint_add(r, LINT_ERROR, "one-click-malformed", "List-Unsubscribe-Post",
                 "its value must be List-Unsubscribe=One-Click");
    if (slice_find_slice(list, SLICE("<https://")) == list.n)
        lint_add(r, LINT_ERROR, "one-click-without-https", "List-Unsubscribe",
                 "one click needs an https address there (RFC 8058 3.1)");
    if (l->seen[FIELD_SIGNATURE] > 0 && !l->signature_has_one_click)
        lint_add(r, LINT_WARNING, "one-click-not-signed", "DKIM-Signature",
                 "no signature in the message covers both fields (RFC 8058 4)");
    if (!l->facts->bulk)
        lint_add(r, LINT_INFO, "one-click-on-transactional", "List-Unsubscribe-Post",
                 "receipts and passwords are nothing to unsubscribe from");
}

/* "a:b:c:SenderId": at most four, the last one 5 to 15 characters. */
static void
check_feedback_id(struct lint *l)
{
    struct slice rest = l->value[FIELD_FEEDBACK_ID], last = SLICE_NONE;
    unsigned parts = 0;
    if (l->seen[FIELD_FEEDBACK_ID] == 0)
        return;
    for (; rest.n > 0; parts++)
        last = slice_trim(slice_cut_at(&rest, ':'));
    if (parts > 4 || last.n < 5 || last.n > 15)
        lint_add(l->report, LINT_WARNING, "feedback-id-malformed", "Feedback-ID",
                 "must be up to three parts and a sender's name of 5 to 15 characters, with colons "
                 "between");
}

static void
check_class(struct lint *l)
{
    if (!l->facts->bulk && l->seen[FIELD_AUTO_SUBMITTED] == 0)
        lint_add(l->report, LINT_INFO, "auto-submitted-missing", "Auto-Submitted",
                 "auto-generated there keeps holiday replies away (RFC 3834)");
    if (l->facts->bulk && l->seen[FIELD_LIST_ID] == 0)
        lint_add(l->report, LINT_INFO, "list-id-missing", "List-Id",
                 "receivers sort bulk mail by it (RFC 2919)");
}

/* ---- senders ----------------------------------------------------------------- */

/* Their own DMARC policies forbid it to everybody else. */
static const char *const FREE_MAIL[] = {
    "gmail.com",   "googlemail.com", "yahoo.com",  "yahoo.co.uk", "ymail.com",      "aol.com",
    "outlook.com", "hotmail.com",    "live.com",   "msn.com",     "icloud.com",     "me.com",
    "mac.com",     "gmx.de",         "gmx.net",    "gmx.com",     "web.de",         "t-online.de",
    "mail.ru",     "yandex.ru",      "yandex.com", "proton.me",   "protonmail.com", "orange.fr",
    "free.fr",     "laposte.net",    "libero.it",  "seznam.cz",   "wp.pl",          "qq.com",
    "163.com",     "zoho.com",
};

static bool
has_key(const struct config *c, struct slice domain)
{
    for (unsigned i = 0; i < c->dkim_key_count; i++)
        if (strcmp(c->dkim_keys[i].domain, "*") == 0 ||
            slice_eq_nocase(slice_str(c->dkim_keys[i].domain), domain))
            return true;
    return false;
}

static void
check_from_domain(struct lint *l, struct slice domain)
{
    for (size_t i = 0; i < ARRAY_LEN(FREE_MAIL); i++)
        if (slice_eq(domain, slice_str(FREE_MAIL[i])))
            lint_add(l->report, LINT_ERROR, "free-mail-from", "From",
                     "only the servers of %s may send mail from there", FREE_MAIL[i]);
    if (l->facts->config != NULL && !has_key(l->facts->config, domain))
        lint_add(l->report, LINT_ERROR, "no-dkim-key", "From",
                 "the gateway has no DKIM key for %.*s", SLICE_FMT(domain));
}

static void
check_senders(struct lint *l, const struct prepared *p)
{
    struct slice culprit;
    check_from_domain(l, p->sender_domains[0]);
    if (l->facts->credential != NULL &&
        !policy_sender_header(l->facts->credential, p->senders, p->sender_domains, p->sender_count,
                              &culprit))
        lint_add(l->report, LINT_ERROR, "sender-not-owned", "From",
                 "%.*s is not one of this credential", SLICE_FMT(text_clip(culprit, 150)));
}

static void
check_controls(struct lint *l, const struct controls *c)
{
    if (c->ignored_count > 0)
        lint_add(l->report, LINT_INFO, "control-ignored", "",
                 "%.*s has no effect here and is left out (%u such fields)", SLICE_FMT(c->ignored),
                 c->ignored_count);
}

/* What the door would refuse it for; unless it was said more exactly before. */
static void
check_as_the_door(struct lint *l, struct blob *message)
{
    struct arena arena;
    struct prepared prepared = {.sender_count = 0};
    struct reply_text refusal;
    const struct prepare_input in = {.message = message,
                                     .now_unix_ms = l->facts->now_unix_ms,
                                     .hostname = "localhost",
                                     .protocol = "HTTP",
                                     .smtputf8 = true};
    arena_init(&arena, SUBMIT_ARENA_MAX);
    if (prepare_message(&in, &arena, &prepared, &refusal) == PARSE_OK) {
        check_senders(l, &prepared);
        check_controls(l, &prepared.controls);
    } else if (!l->report->errors) {
        lint_add(l->report, LINT_ERROR, "refused", "", "%s", refusal.text);
    }
    content_unref(&prepared.content);
    arena_fini(&arena);
}

/* ---- what others know ---------------------------------------------------------- */

static void
check_size(struct lint *l, size_t bytes)
{
    const struct config *c = l->facts->config;
    if (c != NULL && bytes > c->message_bytes_max)
        lint_add(l->report, LINT_ERROR, "too-large", "", "larger than the gateway accepts");
    else if (bytes > LINT_LARGE_BYTES)
        lint_add(l->report, LINT_WARNING, "large", "",
                 "larger than 25 MB, which is what large receivers accept");
}

static void
check_believed(struct lint *l)
{
    static const struct {
        enum lint_severity severity;
        const char *id;
    } ROWS[BELIEVED_RESULTS] = {
        [BELIEVED_WEAK] = {LINT_WARNING, "weakly-authenticated"},
        [BELIEVED_FAIL] = {LINT_ERROR, "not-believed"},
        [BELIEVED_UNKNOWN] = {LINT_INFO, "authentication-unknown"},
    };
    const struct believed_verdict *v = l->facts->believed;
    if (v != NULL && v->result != BELIEVED_PASS)
        lint_add(l->report, ROWS[v->result].severity, ROWS[v->result].id, "From", "%s", v->text);
}

static void
check_suppressed(struct lint *l)
{
    for (unsigned i = 0; l->facts->suppressed != NULL && i < l->facts->recipient_count; i++)
        if (l->facts->suppressed[i])
            lint_add(l->report, LINT_ERROR, "suppressed-recipient", "",
                     "%.*s is on the suppression list and would get nothing",
                     SLICE_FMT(text_clip(l->facts->recipients[i], 150)));
}

bool
lint_from_domain(struct slice message, struct arena *arena, struct slice *out)
{
    struct header_field from;
    struct address_list list;
    struct buf domain;
    size_t body_at;
    if (!header_find(header_section(message, &body_at), SLICE("From"), &from) ||
        address_list_parse(from.value, arena, &list, NULL) != PARSE_OK || list.n == 0)
        return false;
    buf_init(&domain, ADDRESS_CANONICAL_MAX);
    bool ok = domain_add_canonical(list.v[0].domain, &domain) &&
              arena_copy(arena, buf_slice(&domain), out);
    buf_fini(&domain);
    return ok;
}

void
lint_message(struct blob *message, const struct lint_facts *f, struct lint_report *out)
{
    struct slice text = blob_slice(message);
    struct lint l = {.facts = f, .report = out};
    size_t body_at;
    *out = (struct lint_report){.count = 0};
    l.section = header_section(text, &body_at);
    l.body = slice_skip(text, body_at);
    read_fields(&l);
    check_once(&l);
    check_usual(&l);
    check_one_click(&l);
    check_feedback_id(&l);
    check_class(&l);
    lint_file_name(l.value[FIELD_DISPOSITION], out);
    lint_body(l.body, l.value[FIELD_CONTENT_TYPE], out);
    check_as_the_door(&l, message);
    check_size(&l, text.n);
    check_believed(&l);
    check_suppressed(&l);
}
