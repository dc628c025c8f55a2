#include "relay/wire/dsn.h"

#include <stdio.h>
#include <string.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/id.h"
#include "relay/sys/base/limits.h"
#include "relay/wire/date.h"
#include "relay/wire/header.h"
#include "relay/wire/qp.h"
#include "relay/wire/text.h"

enum {
    FOLD_COLUMN = 76,
    TOKEN_MAX = 900,     /* an unbroken word is cut here, below the 998 of RFC 5322 2.1.1 */
    BOUNDARY_TRIES = 16, /* of 128 random bits each */
    DELIMITERS = 4,      /* three parts and the end */
    MESSAGE_ID_KEPT_MAX = 250,
};

/* The words of each action: RFC 3464 2.3.3 gives the name and what class a
 * status must have. */
static const struct action_words {
    const char *name;
    unsigned status_class;
    const char *subject, *sentence;
} actions[] = {
    [DSN_FAILED] = {"failed", 5, "Your message could not be delivered",
                    "Your message could not be delivered to the following recipients.\r\n"
                    "It will not be tried again.\r\n"},
    [DSN_DELAYED] = {"delayed", 4, "Your message is delayed",
                     "Your message has not yet been delivered to the following recipients.\r\n"
                     "It is still being tried; you need not send it again.\r\n"},
    [DSN_DELIVERED] = {"delivered", 2, "Your message was delivered",
                       "Your message was delivered to the following recipients.\r\n"},
    [DSN_RELAYED] = {"relayed", 2, "Your message was handed on",
                     "Your message was handed on for the following recipients, to a server\r\n"
                     "that will not report its delivery.\r\n"},
    [DSN_EXPANDED] = {"expanded", 2, "Your message was sent to a list",
                      "Your message was delivered to lists for the following recipients.\r\n"},
};

/* RFC 3463 3 in words for the sender. */
static const struct {
    unsigned subject, detail;
    const char *words;
} reasons[] = {
    {1, 1, "The mailbox does not exist."},
    {1, 2, "The domain does not exist."},
    {1, 3, "The address is not valid."},
    {1, 10, "The domain accepts no mail."},
    {2, 1, "The mailbox does not accept messages."},
    {2, 2, "The mailbox is full."},
    {2, 3, "The message is too large for the mailbox."},
    {3, 4, "The message is too large for the receiving server."},
    {4, 1, "No receiving server answered."},
    {4, 3, "The domain could not be looked up."},
    {4, 4, "There is no server for the domain."},
    {4, 6, "The message was going round in a circle."},
    {4, 7, "The message could not be delivered in time."},
    {6, 3, "The receiving server cannot take 8-bit text."},
    {6, 7, "The receiving server cannot take international addresses."},
    {7, 0, "The receiving server refused the message by its policy."},
    {7, 1, "The receiving server refused the message by its policy."},
};

static const char *
reason_of(struct enhanced status)
{
    for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
        if (reasons[i].subject == status.subject && reasons[i].detail == status.detail)
            return reasons[i].words;
    return NULL;
}

/* The status of a recipient, whose class agrees with its action. */
static struct enhanced
status_of(const struct dsn_recipient *r)
{
    struct enhanced e = r->status.class_ != 0 ? r->status : r->reply_status;
    e.class_ = actions[r->action].status_class;
    return e;
}

/*
 * Words on folded lines. Each line but the first begins with `prefix`; where
 * the text has a longer word than a line may hold, the word is cut.
 */
static bool
add_folded(struct buf *out, struct slice words, size_t column, const char *prefix)
{
    bool line_begins = true;
    while (words.n > 0) {
        struct slice word = slice_cut_at(&words, ' ');
        while (word.n > 0) {
            struct slice piece = slice_from(word.p, text_clip(word, TOKEN_MAX).n);
            word = slice_skip(word, piece.n);
            if (!line_begins && column + 1 + piece.n > FOLD_COLUMN) {
                if (!buf_add_str(out, "\r\n") || !buf_add_str(out, prefix))
                    return false;
                column = strlen(prefix);
                line_begins = true;
            }
            if ((!line_begins && !buf_add_char(out, ' ')) || !buf_add(out, piece))
                return false;
            column += piece.n + !line_begins;
            line_begins = false;
        }
    }
    return buf_add_str(out, "\r\n");
}

/* As the report's form allows. */
static bool
add_text_of(struct buf *out, struct slice s, bool utf8)
{
    return utf8 ? text_add_safe(out, s) : text_add_ascii(out, s);
}

/* "Name: value", folded. */
static bool
add_field(struct buf *out, const char *name, struct slice value, bool utf8)
{
    struct buf safe;
    buf_init(&safe, DSN_DIAGNOSTIC_MAX);
    bool ok = add_text_of(&safe, text_clip(value, DSN_DIAGNOSTIC_MAX), utf8) &&
              buf_addf(out, "%s: ", name) &&
              add_folded(out, buf_slice(&safe), strlen(name) + 2, " ");
    buf_fini(&safe);
    return ok;
}

static bool
add_date_field(struct buf *out, const char *name, int64_t unix_ms)
{
    char date[DATE_TEXT_BYTES + 1];
    date_format(unix_ms, date);
    return buf_addf(out, "%s: %s\r\n", name, date);
}

/* Appends the safe form of `s` in `before` and `after`; never folded, for
 * addresses are no longer than a line may be. */
static bool
add_around(struct buf *out, const char *before, struct slice s, const char *after)
{
    return buf_add_str(out, before) && text_add_safe(out, s) && buf_add_str(out, after);
}

/* The part for people. */

static bool
add_quoted_reply(struct buf *text, const struct dsn_recipient *r)
{
    char enhanced[ENHANCED_TEXT_BYTES + 1];
    const char *quote = "        > ";
    struct slice rest = text_clip(r->text, DSN_DIAGNOSTIC_MAX);
    enhanced_format(r->reply_status, enhanced);
    bool ok = buf_add_str(text, quote);
    if (ok && r->reply_code != 0)
        ok = buf_addf(text, "%u %s%s", r->reply_code, enhanced, enhanced[0] != '\0' ? " " : "");
    size_t column = strlen(quote) + 4 + strlen(enhanced);
    while (ok) {
        struct buf safe;
        buf_init(&safe, DSN_DIAGNOSTIC_MAX);
        ok = text_add_safe(&safe, slice_cut_at(&rest, '\n')) &&
             add_folded(text, buf_slice(&safe), column, quote);
        buf_fini(&safe);
        if (rest.n == 0)
            break;
        ok = ok && buf_add_str(text, quote);
        column = strlen(quote);
    }
    return ok;
}

static bool
add_recipient_text(struct buf *text, const struct dsn_recipient *r)
{
    char date[DATE_TEXT_BYTES + 1];
    const char *reason = reason_of(status_of(r));
    bool ok = add_around(text, "\r\n    ", r->address, "\r\n");
    if (ok && reason != NULL && r->action <= DSN_DELAYED)
        ok = buf_addf(text, "        %s\r\n", reason);
    if (ok && r->action == DSN_DELAYED && r->retry_until_unix_ms != 0) {
        date_format(r->retry_until_unix_ms, date);
        ok = buf_addf(text, "        It will be tried until %s.\r\n", date);
    }
    if (!ok || (r->text.n == 0 && r->reply_code == 0))
        return ok;
    if (r->reply_code == 0)
        ok = buf_add_str(text, "        Details:\r\n");
    else if (r->remote_mta.n > 0)
        ok = add_around(text, "        The server ", r->remote_mta, " answered:\r\n");
    else
        ok = buf_add_str(text, "        The other server answered:\r\n");
    return ok && add_quoted_reply(text, r);
}

static bool
add_action_text(struct buf *text, const struct dsn_report *report, enum dsn_action action)
{
    bool any = false, ok = true;
    for (size_t i = 0; i < report->recipient_count && ok; i++) {
        if (report->recipients[i].action != action)
            continue;
        if (!any)
            ok = buf_addf(text, "\r\n%s", actions[action].sentence);
        any = true;
        ok = ok && add_recipient_text(text, &report->recipients[i]);
    }
    return ok;
}

static bool
add_text(struct buf *text, const struct dsn_report *report)
{
    bool ok = add_around(text, "This is the mail system at ", report->reporting_mta, ".\r\n");
    for (size_t a = 0; a < ARRAY_LEN(actions) && ok; a++)
        ok = add_action_text(text, report, (enum dsn_action)a);
    ok = ok && buf_add_str(text, "\r\nLines that begin with \">\" are quoted as they were "
                                 "received.\r\n");
    if (ok && report->gateway_id.n > 0)
        ok = add_around(text, "For questions, name the message as ", report->gateway_id, ".\r\n");
    return ok;
}

/* Appends `content` as the body of a part: as it is when it is ASCII, or `raw`. */
static bool
add_encoded(struct buf *out, const char *type, const char *type_8bit, struct slice content,
            bool raw)
{
    if (text_is_ascii(content))
        return buf_addf(out, "Content-Type: %s\r\n\r\n", type) && buf_add(out, content);
    if (raw)
        return buf_addf(out,
                        "Content-Type: %s\r\n"
                        "Content-Transfer-Encoding: 8bit\r\n\r\n",
                        type_8bit) &&
               buf_add(out, content);
    return buf_addf(out,
                    "Content-Type: %s\r\n"
                    "Content-Transfer-Encoding: quoted-printable\r\n\r\n",
                    type_8bit) &&
           qp_encode(content, out);
}

static bool
add_text_part(struct buf *out, const struct dsn_report *report)
{
    struct buf text;
    buf_init(&text, buf_room(out));
    bool ok = add_text(&text, report) &&
              buf_add_str(out, "Content-Description: Notification\r\n") &&
              add_encoded(out, "text/plain; charset=us-ascii", "text/plain; charset=utf-8",
                          buf_slice(&text), false);
    buf_fini(&text);
    return ok;
}

/* message/delivery-status: RFC 3464 2.2, 2.3; message/global-delivery-status: RFC
 * 6533 3, 4. */

static bool
add_recipient_field(struct buf *out, const char *name, const struct orcpt *o, bool utf8)
{
    bool ok = buf_addf(out, "%s: ", name);
    if (utf8)
        ok = ok && text_add_ascii(out, o->type) && buf_add_str(out, "; ") &&
             text_add_safe(out, o->address);
    else
        ok = ok && orcpt_add_field(o, out);
    return ok && buf_add_str(out, "\r\n");
}

static bool
add_final_recipient(struct buf *out, struct slice address, bool utf8)
{
    struct orcpt final = {SLICE("rfc822"), address};
    if (!text_is_ascii(address))
        final.type = SLICE("utf-8");
    return add_recipient_field(out, "Final-Recipient", &final, utf8);
}

static bool
add_diagnostic(struct buf *out, const struct dsn_recipient *r, bool utf8)
{
    char enhanced[ENHANCED_TEXT_BYTES + 1];
    struct buf value;
    bool ok;
    buf_init(&value, (size_t)2 * DSN_DIAGNOSTIC_MAX);
    enhanced_format(r->reply_status, enhanced);
    if (r->reply_code != 0)
        ok = buf_addf(&value, "smtp; %u %s%s", r->reply_code, enhanced,
                      enhanced[0] != '\0' ? " " : "");
    else
        ok = buf_add_str(&value, "x-stagepost; ");
    struct slice rest = text_clip(r->text, DSN_DIAGNOSTIC_MAX);
    while (ok && rest.n > 0)
        ok = buf_add(&value, slice_cut_at(&rest, '\n')) && buf_add_char(&value, ' ');
    ok = ok && add_field(out, "Diagnostic-Code", slice_trim(buf_slice(&value)), utf8);
    buf_fini(&value);
    return ok;
}

static bool
add_mta_field(struct buf *out, const char *name, struct slice mta)
{
    return buf_addf(out, "%s: dns; ", name) && text_add_ascii(out, mta) && buf_add_str(out, "\r\n");
}

static bool
add_recipient_fields(struct buf *out, const struct dsn_recipient *r, bool utf8)
{
    char status[ENHANCED_TEXT_BYTES + 1];
    enhanced_format(status_of(r), status);
    bool ok = buf_add_str(out, "\r\n");
    if (ok && r->orcpt.type.n > 0)
        ok = add_recipient_field(out, "Original-Recipient", &r->orcpt, utf8);
    ok = ok && add_final_recipient(out, r->address, utf8) &&
         buf_addf(out, "Action: %s\r\nStatus: %s\r\n", actions[r->action].name, status);
    if (ok && r->remote_mta.n > 0)
        ok = add_mta_field(out, "Remote-MTA", r->remote_mta);
    if (ok && (r->reply_code != 0 || r->text.n > 0))
        ok = add_diagnostic(out, r, utf8);
    if (ok && r->last_attempt_unix_ms != 0)
        ok = add_date_field(out, "Last-Attempt-Date", r->last_attempt_unix_ms);
    if (ok && r->action == DSN_DELAYED && r->retry_until_unix_ms != 0)
        ok = add_date_field(out, "Will-Retry-Until", r->retry_until_unix_ms);
    return ok;
}

static bool
add_status_part(struct buf *out, const struct dsn_report *report)
{
    bool ok = buf_add_str(out, "Content-Description: Delivery report\r\n") &&
              buf_add_str(out, report->utf8 ? "Content-Type: message/global-delivery-status\r\n"
                                              "Content-Transfer-Encoding: 8bit\r\n\r\n"
                                            : "Content-Type: message/delivery-status\r\n\r\n") &&
              add_mta_field(out, "Reporting-MTA", report->reporting_mta);
    if (ok && report->envid.n > 0)
        ok = add_field(out, "Original-Envelope-Id", report->envid, false);
    if (ok && report->gateway_id.n > 0)
        ok = add_field(out, "X-Stagepost-Id", report->gateway_id, false);
    ok = ok && add_date_field(out, "Arrival-Date", report->arrival_unix_ms);
    for (size_t i = 0; i < report->recipient_count && ok; i++)
        ok = add_recipient_fields(out, &report->recipients[i], report->utf8);
    return ok;
}

/* The original. */

/* The header section, copied out of the pieces. What is longer than a message
 * may have is cut behind a whole line. */
static struct slice
collect_header(const struct dsn_report *report, struct buf *mem)
{
    size_t body_at;
    for (size_t i = 0; i < report->original_pieces; i++) {
        struct slice piece = report->original[i];
        (void)buf_add(mem, slice_cut(&piece, buf_room(mem)));
    }
    struct slice section = header_section(buf_slice(mem), &body_at);
    if (buf_room(mem) == 0 && body_at == buf_slice(mem).n)
        while (section.n > 0 && section.p[section.n - 1] != '\n')
            section.n--;
    return section;
}

static bool
returns_all(const struct dsn_report *report)
{
    size_t bytes = 0;
    for (size_t i = 0; i < report->original_pieces; i++)
        bytes += report->original[i].n;
    return report->full && bytes <= DSN_RETURN_MAX;
}

/* In one piece: the encoder may not be interrupted in the middle of a line. */
static bool
add_whole_original(struct buf *out, const struct dsn_report *report)
{
    struct buf whole;
    bool ok = true;
    buf_init(&whole, DSN_RETURN_MAX);
    for (size_t i = 0; i < report->original_pieces && ok; i++)
        ok = buf_add(&whole, report->original[i]);
    ok =
        ok && add_encoded(out, "message/rfc822", "message/global", buf_slice(&whole), report->utf8);
    buf_fini(&whole);
    return ok;
}

static bool
add_original_part(struct buf *out, const struct dsn_report *report, struct slice header)
{
    if (returns_all(report))
        return buf_add_str(out, "Content-Description: Your message\r\n") &&
               add_whole_original(out, report);
    return buf_add_str(out, "Content-Description: Header of your message\r\n") &&
           add_encoded(out, "text/rfc822-headers", "message/global-headers", header, report->utf8);
}

/* The header of the report. */

static const char *
subject_of(const struct dsn_report *report)
{
    for (size_t i = 1; i < report->recipient_count; i++)
        if (report->recipients[i].action != report->recipients[0].action)
            return "Delivery report for your message";
    return actions[report->recipients[0].action].subject;
}

/* "<id>" when the original has one that is safe to repeat: RFC 5322 3.6.4. */
static struct slice
original_message_id(struct slice header)
{
    struct header_field f;
    if (!header_find(header, SLICE("Message-ID"), &f))
        return SLICE_NONE;
    struct slice id = slice_trim(f.value);
    if (id.n < 3 || id.n > MESSAGE_ID_KEPT_MAX || id.p[0] != '<' || id.p[id.n - 1] != '>')
        return SLICE_NONE;
    for (size_t i = 1; i + 1 < id.n; i++)
        if (id.p[i] < 33 || id.p[i] > 126 || id.p[i] == '<' || id.p[i] == '>')
            return SLICE_NONE;
    return id;
}

static bool
add_header(struct buf *out, const struct dsn_report *report, struct slice original_id,
           const char *boundary)
{
    bool ok = add_around(out, "From: Mail Delivery System <", report->from, ">\r\n") &&
              add_around(out, "To: <", report->to, ">\r\n") &&
              buf_addf(out, "Subject: %s\r\n", subject_of(report)) &&
              add_date_field(out, "Date", report->date_unix_ms) &&
              add_around(out, "Message-ID: <", report->message_id, ">\r\n");
    if (ok && original_id.n > 0)
        ok = add_around(out, "In-Reply-To: ", original_id, "\r\n") &&
             add_around(out, "References: ", original_id, "\r\n");
    return ok && buf_addf(out,
                          "Auto-Submitted: auto-replied\r\n" /* RFC 3834 5 */
                          "MIME-Version: 1.0\r\n"
                          "%s"
                          "Content-Type: multipart/report; report-type=%sdelivery-status;\r\n"
                          " boundary=\"%s\"\r\n\r\n",
                          report->utf8 ? "Content-Transfer-Encoding: 8bit\r\n" : "",
                          report->utf8 ? "global-" : "", boundary);
}

static bool
build(struct buf *out, const struct dsn_report *report, struct slice header, const char *boundary)
{
    return add_header(out, report, original_message_id(header), boundary) &&
           buf_addf(out, "--%s\r\n", boundary) && add_text_part(out, report) &&
           buf_addf(out, "\r\n--%s\r\n", boundary) && add_status_part(out, report) &&
           buf_addf(out, "\r\n--%s\r\n", boundary) && add_original_part(out, report, header) &&
           buf_addf(out, "\r\n--%s--\r\n", boundary);
}

/* RFC 2046 5.1.1: the boundary must not be in any part. */
static bool
boundary_is_unique(struct slice message, const char *boundary)
{
    char delimiter[80];
    size_t count = 0;
    int n = snprintf(delimiter, sizeof(delimiter), "--%s", boundary);
    BUG_ON(n < 0 || (size_t)n >= sizeof(delimiter));
    for (;;) {
        size_t at = slice_find_slice(message, slice_str(delimiter));
        if (at == message.n)
            return count == DELIMITERS;
        count++;
        message = slice_skip(message, at + 1);
    }
}

static void
make_boundary(char out[48])
{
    unsigned char bytes[16];
    random_bytes(bytes, sizeof(bytes));
    size_t n = (size_t)snprintf(out, 48, "=_report_");
    for (size_t i = 0; i < sizeof(bytes); i++)
        n += (size_t)snprintf(out + n, 48 - n, "%02x", bytes[i]);
}

bool
dsn_build(const struct dsn_report *report, struct buf *out)
{
    char boundary[48];
    struct buf mem;
    bool ok = true, unique = false;
    size_t begin = buf_slice(out).n;
    BUG_ON(report->recipient_count == 0);
    buf_init(&mem, HEADER_SECTION_MAX);
    struct slice header = collect_header(report, &mem);
    for (int i = 0; i < BOUNDARY_TRIES && ok && !unique; i++) {
        make_boundary(boundary);
        if (i == 0 && report->boundary != NULL)
            (void)snprintf(boundary, sizeof(boundary), "%s", report->boundary);
        buf_truncate(out, begin);
        ok = build(out, report, header, boundary);
        unique = boundary_is_unique(slice_skip(buf_slice(out), begin), boundary);
    }
    buf_fini(&mem);
    if (!ok || !unique)
        buf_truncate(out, begin);
    return ok && unique;
}
