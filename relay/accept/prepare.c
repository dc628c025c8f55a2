#include "relay/accept/prepare.h"

#include <stdio.h>
#include <string.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"
#include "relay/wire/address.h"
#include "relay/wire/date.h"
#include "relay/wire/header.h"
#include "relay/wire/text.h"

/* One message under way. */
struct work {
    const struct prepare_input *in;
    struct arena *arena;
    struct header_facts facts;
    struct prepared *out;
    struct reply_text *refusal;
    struct buf head;
    bool keep_message_id;
};

static bool
refuse(struct work *w, unsigned code, const char *enhanced, const char *text)
{
    *w->refusal = (struct reply_text){code, enhanced, text};
    return false;
}

static bool
refuse_content(struct work *w, const char *text)
{
    return refuse(w, 550, "5.6.0", text);
}

static bool
refuse_budget(struct work *w)
{
    return refuse(w, 452, "4.3.1", "the message needs more memory than one transaction may have");
}

/* ---- fields that are not passed on -------------------------------------- */

static bool
has_date(const struct work *w)
{
    return slice_trim(w->facts.known[HEADER_DATE].value).n > 0;
}

/* Return-Path is the last server's to add (RFC 5321 4.4). */
static bool
is_dropped(const struct work *w, struct slice name)
{
    static const struct slice NAMES[] = {SLICE("Bcc"), SLICE("Resent-Bcc"), SLICE("Return-Path")};
    for (size_t i = 0; i < ARRAY_LEN(NAMES); i++)
        if (slice_eq_nocase(name, NAMES[i]))
            return true;
    if (!w->keep_message_id && slice_eq_nocase(name, SLICE("Message-ID")))
        return true;
    if (!has_date(w) && slice_eq_nocase(name, SLICE("Date")))
        return true;
    return control_is_one(name);
}

/* ---- body --------------------------------------------------------------- */

static bool
has_eight_bit(struct slice s)
{
    for (; s.n >= sizeof(uint64_t); s = slice_skip(s, sizeof(uint64_t))) {
        uint64_t v;
        memcpy(&v, s.p, sizeof v);
        if ((v & 0x8080808080808080u) != 0)
            return true;
    }
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] > 127)
            return true;
    return false;
}

/* The rules of RFC 5321 2.3.8 and 4.5.3.1.6, once more for every door: what
 * passes here may be signed and sent as it is. */
static bool
check_body(struct work *w, struct slice body)
{
    if (body.n > 0 && memchr(body.p, '\0', body.n) != NULL)
        return refuse_content(w, "the body contains a NUL");
    w->out->header_eight_bit = w->facts.eight_bit;
    w->out->eight_bit = w->facts.eight_bit || has_eight_bit(body);
    while (body.n > 0) {
        size_t n = slice_find(body, '\n');
        if (n == body.n)
            return refuse_content(w, "the last line does not end with CRLF");
        struct slice line = slice_cut(&body, n + 1);
        if (n == 0 || memchr(line.p, '\r', n) != line.p + n - 1)
            return refuse_content(w, "the body contains a bare CR or LF");
        if (line.n > SMTP_TEXT_LINE_MAX)
            return refuse_content(w, "a line is longer than 998 octets");
    }
    return true;
}

/* ---- senders ------------------------------------------------------------ */

/* The domain is the end of the address. */
static bool
canonical_sender(struct work *w, const struct mailbox *m, struct slice *address,
                 struct slice *domain)
{
    struct buf b;
    buf_init(&b, ADDRESS_CANONICAL_MAX);
    bool ok = domain_add_canonical(m->domain, &b);
    size_t domain_bytes = b.len;
    buf_clear(&b);
    if (!ok || !address_format_canonical(m, &b))
        ok = refuse_content(w, "an address of the sender has no valid domain");
    else if (!arena_copy(w->arena, buf_slice(&b), address))
        ok = refuse_budget(w);
    else
        *domain = slice_skip(*address, address->n - domain_bytes);
    buf_fini(&b);
    return ok;
}

static bool
is_sender_field(struct slice name)
{
    static const struct slice NAMES[] = {SLICE("From"), SLICE("Sender"), SLICE("Resent-From"),
                                         SLICE("Resent-Sender")};
    for (size_t i = 0; i < ARRAY_LEN(NAMES); i++)
        if (slice_eq_nocase(name, NAMES[i]))
            return true;
    return false;
}

static bool
parse_senders(struct work *w, struct slice value, struct address_list *list)
{
    enum address_fault fault = ADDRESS_FINE;
    if (address_list_parse(value, w->arena, list, &fault) == PARSE_OK)
        return true;
    if (fault == ADDRESS_BUDGET)
        return refuse_budget(w);
    if (fault == ADDRESS_MAPPED)
        return refuse_content(w, address_fault_text(fault));
    return refuse_content(w, "From or Sender is not a valid list of addresses");
}

static bool
grow(struct work *w, struct slice **list, unsigned old, size_t more)
{
    struct slice *v = arena_alloc(w->arena, (old + more) * sizeof *v);
    if (v == NULL)
        return refuse_budget(w);
    if (old > 0)
        memcpy(v, *list, old * sizeof *v);
    *list = v;
    return true;
}

/* Grows the lists by one field's mailboxes. The old arrays stay in the arena:
 * sender fields are few, but Resent-From may be repeated. */
static bool
add_senders(struct work *w, const struct address_list *list)
{
    struct prepared *out = w->out;
    if (!grow(w, &out->senders, out->sender_count, list->n) ||
        !grow(w, &out->sender_domains, out->sender_count, list->n))
        return false;
    for (size_t i = 0; i < list->n; i++, out->sender_count++)
        if (!canonical_sender(w, &list->v[i], &out->senders[out->sender_count],
                              &out->sender_domains[out->sender_count]))
            return false;
    return true;
}

/* RFC 5322 3.6.2: several authors need a Sender. */
static bool
take_from(struct work *w)
{
    const struct header_field *from = &w->facts.known[HEADER_FROM];
    struct address_list list;
    if (from->raw.n == 0)
        return refuse_content(w, "the From field is missing");
    if (!parse_senders(w, from->value, &list))
        return false;
    if (list.n == 0)
        return refuse_content(w, "From has no address");
    if (list.v[0].literal)
        return refuse_content(w, "From needs an address with a domain name");
    if (list.n > 1 && w->facts.known[HEADER_SENDER].raw.n == 0)
        return refuse_content(w, "From has several addresses and there is no Sender");
    struct buf b;
    buf_init(&b, ADDRESS_CANONICAL_MAX);
    bool ok = address_format_canonical(&list.v[0], &b);
    if (!ok)
        refuse_content(w, "the address in From is not valid");
    else if (!arena_copy(w->arena, buf_slice(&b), &w->out->header_from))
        ok = refuse_budget(w);
    buf_fini(&b);
    return ok && add_senders(w, &list);
}

/* RFC 5322 3.6.2, 3.6.6: who sent it is one mailbox. A list or an empty group there
 * would be no answer to the question that several authors leave open. */
static bool
names_one_sender(struct slice name)
{
    return slice_eq_nocase(name, SLICE("Sender")) || slice_eq_nocase(name, SLICE("Resent-Sender"));
}

static bool
take_other_senders(struct work *w)
{
    struct slice section = w->facts.section;
    struct header_field f;
    while (header_cut(&section, &f) == PARSE_OK) {
        struct address_list list;
        if (!is_sender_field(f.name) || f.raw.p == w->facts.known[HEADER_FROM].raw.p)
            continue;
        if (!parse_senders(w, f.value, &list))
            return false;
        if (names_one_sender(f.name) && list.n != 1)
            return refuse_content(w, "Sender needs one address and no more");
        if (list.n > 0 && !add_senders(w, &list))
            return false;
    }
    return true;
}

/* ---- facts for the envelope, control fields ------------------------------- */

/* The value on one line, safe to show, cut to max bytes. */
static bool
take_text(struct work *w, struct slice value, size_t max, struct slice *out)
{
    struct buf unfolded, safe;
    buf_init(&unfolded, HEADER_FIELD_MAX);
    buf_init(&safe, HEADER_FIELD_MAX);
    bool ok = header_unfold(value, &unfolded) && text_add_safe(&safe, buf_slice(&unfolded)) &&
              arena_copy(w->arena, text_clip(buf_slice(&safe), max), out);
    buf_fini(&unfolded);
    buf_fini(&safe);
    return ok || refuse_budget(w);
}

/* An empty field is replaced by ours; any other spelling is left to the sender. */
static bool
take_message_id(struct work *w)
{
    const struct header_field *f = &w->facts.known[HEADER_MESSAGE_ID];
    struct slice id = SLICE_NONE;
    if (f->raw.n > 0 && !take_text(w, f->value, SMTP_TEXT_LINE_MAX, &id))
        return false;
    w->keep_message_id = id.n > 0;
    if (id.n >= 2 && id.p[0] == '<' && id.p[id.n - 1] == '>')
        id = slice_from(id.p + 1, id.n - 2);
    w->out->message_id = id;
    return true;
}

static bool
take_controls(struct work *w)
{
    const char *why;
    w->out->controls.wishes.now_unix_ms = w->in->now_unix_ms;
    if (control_read(w->facts.section, w->arena, &w->out->controls, &why))
        return true;
    return why != NULL ? refuse_content(w, why) : refuse_budget(w);
}

/* ---- the new header section ---------------------------------------------- */

/* RFC 5321 4.1.3. */
static void
add_literal(struct buf *b, struct slice ip)
{
    bool v6 = slice_find(ip, ':') < ip.n;
    buf_addf(b, "[%s%.*s]", v6 ? "IPv6:" : "", SLICE_FMT(ip));
}

/* RFC 5321 4.4. A client name in UTF-8 must not make the header 8-bit. */
static void
add_received(struct work *w)
{
    const struct prepare_input *in = w->in;
    struct buf *b = &w->head;
    char id[ID_TEXT_BYTES + 1], date[DATE_TEXT_BYTES + 1];
    struct slice ip = in->client_ip.n > 0 ? in->client_ip : SLICE("127.0.0.1");
    id_format(in->id, id);
    date_format(in->now_unix_ms, date);
    buf_add_str(b, "Received: from ");
    if (in->client_name.n > 0 && text_is_ascii(in->client_name))
        buf_add(b, in->client_name);
    else
        add_literal(b, ip);
    buf_add_str(b, " (");
    add_literal(b, ip);
    buf_addf(b, ")\r\n\tby %s with %s id %s", in->hostname, in->protocol, id);
    if (in->recipient.n > 0 && (in->smtputf8 || text_is_ascii(in->recipient)))
        buf_addf(b, "\r\n\tfor <%.*s>", SLICE_FMT(in->recipient));
    buf_addf(b, ";\r\n\t%s\r\n", date);
}

/* When the message is sent, as its sender wishes in either way. */
static int64_t
send_at(const struct work *w)
{
    int64_t wished = w->out->controls.wishes.send_at_unix_ms;
    if (wished > 0)
        return wished;
    return w->in->date_unix_ms > 0 ? w->in->date_unix_ms : w->in->now_unix_ms;
}

static bool
add_missing(struct work *w)
{
    if (!has_date(w)) {
        char date[DATE_TEXT_BYTES + 1];
        date_format(send_at(w), date);
        buf_addf(&w->head, "Date: %s\r\n", date);
    }
    if (w->keep_message_id)
        return true;
    char id[ID_TEXT_BYTES + 1], text[ID_TEXT_BYTES + 1 + ADDRESS_DOMAIN_MAX + 1];
    id_format(w->in->id, id);
    struct slice domain = w->out->sender_domains[0];
    int n = snprintf(text, sizeof text, "%s@%.*s", id, SLICE_FMT(domain));
    BUG_ON(n < 0 || (size_t)n >= sizeof text);
    buf_addf(&w->head, "Message-ID: <%s>\r\n", text);
    return arena_copy(w->arena, slice_str(text), &w->out->message_id) || refuse_budget(w);
}

/* Runs of fields that stay are copied in one piece. */
static void
add_kept_fields(struct work *w)
{
    struct slice section = w->facts.section;
    const char *run = section.p;
    struct header_field f;
    while (header_cut(&section, &f) == PARSE_OK)
        if (is_dropped(w, f.name)) {
            buf_add(&w->head, slice_from(run, (size_t)(f.raw.p - run)));
            run = f.raw.p + f.raw.n;
        }
    struct slice all = w->facts.section;
    buf_add(&w->head, slice_from(run, (size_t)(all.p + all.n - run)));
}

static bool
write_head(struct work *w)
{
    buf_init(&w->head, HEADER_SECTION_MAX + HEADER_ADDED_MAX);
    buf_reserve(&w->head, w->facts.section.n + HEADER_ADDED_MAX);
    add_received(w);
    bool ok = add_missing(w);
    add_kept_fields(w);
    buf_add_str(&w->head, "\r\n");
    BUG_ON(w->head.overflowed);
    if (ok) {
        w->out->content.head = blob_take_buf(&w->head);
        w->out->content.rest = blob_ref(w->in->message);
        w->out->content.rest_at = w->facts.body_at;
    }
    buf_fini(&w->head);
    return ok;
}

/* ------------------------------------------------------------------------- */

static bool
prepare(struct work *w)
{
    struct slice message = blob_slice(w->in->message);
    enum header_fault fault = header_check(message, w->in->smtputf8, &w->facts);
    if (fault != HEADER_FINE) {
        *w->refusal = header_fault_reply(fault);
        return false;
    }
    if (!slice_ends_nocase(w->facts.section, SLICE("\r\n")) && w->facts.section.n > 0)
        return refuse_content(w, "the last line does not end with CRLF");
    return check_body(w, slice_skip(message, w->facts.body_at)) && take_from(w) &&
           take_other_senders(w) &&
           take_text(w, w->facts.known[HEADER_SUBJECT].value, ENVELOPE_SUBJECT_MAX,
                     &w->out->subject) &&
           take_message_id(w) && take_controls(w) && write_head(w);
}

enum parse
prepare_message(const struct prepare_input *in, struct arena *arena, struct prepared *out,
                struct reply_text *refusal)
{
    struct prepared result = {.sender_count = 0};
    struct work w = {.in = in, .arena = arena, .out = &result, .refusal = refusal};
    if (!prepare(&w))
        return PARSE_BAD;
    *out = result;
    return PARSE_OK;
}
