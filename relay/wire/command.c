#include "relay/wire/command.h"

#include <string.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"
#include "relay/wire/text.h"

static const struct {
    const char *name;
    enum smtp_verb verb;
} verbs[] = {
    {"EHLO", CMD_EHLO}, {"HELO", CMD_HELO},  {"MAIL", CMD_MAIL},         {"RCPT", CMD_RCPT},
    {"DATA", CMD_DATA}, {"BDAT", CMD_BDAT},  {"RSET", CMD_RSET},         {"NOOP", CMD_NOOP},
    {"QUIT", CMD_QUIT}, {"VRFY", CMD_VRFY},  {"EXPN", CMD_EXPN},         {"HELP", CMD_HELP},
    {"AUTH", CMD_AUTH}, {"GET", CMD_HTTP},   {"STARTTLS", CMD_STARTTLS}, {"POST", CMD_HTTP},
    {"PUT", CMD_HTTP},  {"HEAD", CMD_HTTP},  {"DELETE", CMD_HTTP},       {"OPTIONS", CMD_HTTP},
    {"PRI", CMD_HTTP},  {"PATCH", CMD_HTTP}, {"CONNECT", CMD_HTTP},      {"TRACE", CMD_HTTP},
};

const char *
command_verb_name(enum smtp_verb verb)
{
    if (verb == CMD_HTTP)
        return "HTTP";
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
        if (verbs[i].verb == verb)
            return verbs[i].name;
    return "?";
}

static enum smtp_verb
verb_of(struct slice word)
{
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
        if (slice_eq_nocase(word, slice_str(verbs[i].name)))
            return verbs[i].verb;
    return CMD_UNKNOWN;
}

static enum parse
refuse(struct reply_text *refusal, unsigned code, const char *enhanced, const char *text)
{
    *refusal = (struct reply_text){code, enhanced, text};
    return PARSE_BAD;
}

static struct slice
skip_spaces(struct slice s)
{
    while (s.n > 0 && s.p[0] == ' ')
        s = slice_skip(s, 1);
    return s;
}

static struct slice
strip_spaces(struct slice s)
{
    s = skip_spaces(s);
    while (s.n > 0 && s.p[s.n - 1] == ' ')
        s.n--;
    return s;
}

enum parse
command_parse(struct slice line, struct command *out, struct reply_text *refusal)
{
    for (size_t i = 0; i < line.n; i++)
        if ((unsigned char)line.p[i] < 32 || line.p[i] == 127)
            return refuse(refusal, 500, "5.5.2", "Control characters are not allowed in commands");
    struct slice arg = line;
    struct slice word = slice_cut_at(&arg, ' ');
    out->verb = verb_of(word);
    out->arg = strip_spaces(arg);
    return PARSE_OK;
}

/* The reply to a fault in the path of MAIL (first column) or RCPT. */
static const struct {
    unsigned code;
    const char *mail, *rcpt;
} path_replies[ADDRESS_FAULT_COUNT] = {
    [ADDRESS_FINE] = {250, "2.1.0", "2.1.5"},       [ADDRESS_EMPTY] = {501, "5.1.7", "5.1.3"},
    [ADDRESS_SYNTAX] = {501, "5.1.7", "5.1.3"},     [ADDRESS_NO_DOMAIN] = {553, "5.1.7", "5.1.3"},
    [ADDRESS_BAD_DOMAIN] = {553, "5.1.8", "5.1.2"}, [ADDRESS_MAPPED] = {553, "5.1.7", "5.1.3"},
    [ADDRESS_BAD_OCTET] = {501, "5.1.7", "5.1.3"},  [ADDRESS_TOO_LONG] = {553, "5.1.7", "5.1.3"},
    [ADDRESS_NULL_PATH] = {501, "5.1.7", "5.1.3"},  [ADDRESS_BUDGET] = {452, "4.3.1", "4.3.1"},
};

/* Cuts "FROM:<path>" and sees that a space or nothing follows. */
static enum parse
cut_path_argument(struct slice *arg, bool mail, struct arena *arena, struct path *out,
                  struct reply_text *refusal)
{
    const char *syntax = mail ? "Syntax: MAIL FROM:<address>" : "Syntax: RCPT TO:<address>";
    struct slice keyword = mail ? SLICE("FROM:") : SLICE("TO:");
    if (!slice_starts_nocase(*arg, keyword))
        return refuse(refusal, 501, "5.5.4", syntax);
    struct slice rest = skip_spaces(slice_skip(*arg, keyword.n));
    if (!slice_starts(rest, SLICE("<")))
        return refuse(refusal, 501, "5.5.4", syntax);
    enum address_fault fault;
    enum parse r = mail ? path_cut_reverse(&rest, arena, out, &fault)
                        : path_cut_forward(&rest, arena, out, &fault);
    if (r != PARSE_OK)
        return refuse(refusal, path_replies[fault].code,
                      mail ? path_replies[fault].mail : path_replies[fault].rcpt,
                      address_fault_text(fault));
    if (rest.n > 0 && rest.p[0] != ' ')
        return refuse(refusal, 501, "5.5.4", "A space must follow the address");
    *arg = rest;
    return PARSE_OK;
}

/*
 * RFC 5321 4.1.2:
 *   esmtp-param   = esmtp-keyword ["=" esmtp-value]
 *   esmtp-keyword = (ALPHA / DIGIT) *(ALPHA / DIGIT / "-")
 *   esmtp-value   = 1*(%d33-60 / %d62-126)     (RFC 6531 3.3 adds UTF-8)
 */
struct param {
    struct slice keyword, value;
    bool has_value;
};

static bool
is_keyword(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!ascii_is_alnum(s.p[i]) && (i == 0 || s.p[i] != '-'))
            return false;
    return s.n > 0;
}

static bool
parse_param(struct slice word, struct param *out)
{
    size_t equals = slice_find(word, '=');
    out->keyword = slice_from(word.p, equals);
    out->has_value = equals < word.n;
    out->value = slice_skip(word, equals + 1);
    if (!is_keyword(out->keyword) || out->has_value != (out->value.n > 0))
        return false;
    return slice_find(out->value, '=') == out->value.n && utf8_is_valid(out->value);
}

/* Where the parameters of one command go; each setter answers NULL or why the
 * value is refused. */
struct param_sink {
    struct arena *arena;
    struct mail_args *mail;
    struct rcpt_args *rcpt;
    bool smtputf8;
};

struct param_row {
    const char *keyword;
    const char *(*set)(struct param_sink *sink, const struct param *p);
};

/* RFC 1870 6: 1*20DIGIT. More than fits is larger than any limit. */
static const char *
set_size(struct param_sink *sink, const struct param *p)
{
    bool digits = p->value.n > 0 && p->value.n <= 20;
    for (size_t i = 0; i < p->value.n; i++)
        digits = digits && p->value.p[i] >= '0' && p->value.p[i] <= '9';
    if (!digits)
        return "SIZE must be a number of octets";
    if (!slice_to_u64(p->value, &sink->mail->size_bytes))
        sink->mail->size_bytes = UINT64_MAX;
    return NULL;
}

static const char *
set_body(struct param_sink *sink, const struct param *p)
{
    if (slice_eq_nocase(p->value, SLICE("7BIT")))
        sink->mail->body = BODY_7BIT;
    else if (slice_eq_nocase(p->value, SLICE("8BITMIME")))
        sink->mail->body = BODY_8BITMIME;
    else
        return "BODY must be 7BIT or 8BITMIME";
    return NULL;
}

static const char *
set_smtputf8(struct param_sink *sink, const struct param *p)
{
    if (p->has_value)
        return "SMTPUTF8 takes no value";
    sink->mail->smtputf8 = true;
    return NULL;
}

static const char *
set_ret(struct param_sink *sink, const struct param *p)
{
    if (slice_eq_nocase(p->value, SLICE("FULL")))
        sink->mail->ret = RET_FULL;
    else if (slice_eq_nocase(p->value, SLICE("HDRS")))
        sink->mail->ret = RET_HDRS;
    else
        return "RET must be FULL or HDRS";
    return NULL;
}

static const char *
set_envid(struct param_sink *sink, const struct param *p)
{
    struct slice envid;
    if (p->value.n == 0 || xtext_decode(p->value, sink->arena, &envid) != PARSE_OK)
        return "ENVID must be printable xtext";
    if (envid.n > ENVID_MAX)
        return "ENVID is too long";
    sink->mail->has_envid = true;
    sink->mail->envid = envid;
    return NULL;
}

/* RFC 4954 5: the submitter as xtext, or <>. We trust our own authentication
 * only, so that the value is dropped. */
static const char *
set_auth(struct param_sink *sink, const struct param *p)
{
    struct slice ignored;
    if (p->value.n == 0 || xtext_decode(p->value, sink->arena, &ignored) != PARSE_OK)
        return "AUTH must be printable xtext or <>";
    return NULL;
}

static unsigned
notify_bit(struct slice word)
{
    if (slice_eq_nocase(word, SLICE("SUCCESS")))
        return NOTIFY_SUCCESS;
    if (slice_eq_nocase(word, SLICE("FAILURE")))
        return NOTIFY_FAILURE;
    return slice_eq_nocase(word, SLICE("DELAY")) ? NOTIFY_DELAY : 0;
}

static const char *
set_notify(struct param_sink *sink, const struct param *p)
{
    const char *why = "NOTIFY must be NEVER or a list of SUCCESS, FAILURE, DELAY";
    unsigned bits = 0;
    struct slice rest = p->value;
    if (slice_eq_nocase(rest, SLICE("NEVER"))) {
        sink->rcpt->notify = NOTIFY_GIVEN | NOTIFY_NEVER;
        return NULL;
    }
    if (rest.n == 0 || rest.p[rest.n - 1] == ',')
        return why;
    while (rest.n > 0) {
        unsigned bit = notify_bit(slice_cut_at(&rest, ','));
        if (bit == 0)
            return why;
        bits |= bit;
    }
    sink->rcpt->notify = NOTIFY_GIVEN | bits;
    return NULL;
}

static const char *
set_orcpt(struct param_sink *sink, const struct param *p)
{
    bool ascii = text_is_ascii(p->value);
    if ((!ascii && !sink->smtputf8) ||
        orcpt_decode(p->value, sink->arena, &sink->rcpt->orcpt) != PARSE_OK)
        return "ORCPT must be a type, a semicolon and printable xtext";
    return NULL;
}

static const struct param_row mail_params[] = {
    {"SIZE", set_size}, {"BODY", set_body},   {"SMTPUTF8", set_smtputf8},
    {"RET", set_ret},   {"ENVID", set_envid}, {"AUTH", set_auth},
    {NULL, NULL},
};

static const struct param_row rcpt_params[] = {
    {"NOTIFY", set_notify},
    {"ORCPT", set_orcpt},
    {NULL, NULL},
};

static enum parse
apply_param(const struct param_row *rows, struct slice word, unsigned *seen,
            struct param_sink *sink, struct reply_text *refusal)
{
    struct param p;
    if (!parse_param(word, &p))
        return refuse(refusal, 501, "5.5.4", "Syntax error in a parameter");
    unsigned row = 0;
    while (rows[row].keyword != NULL && !slice_eq_nocase(p.keyword, slice_str(rows[row].keyword)))
        row++;
    if (rows[row].keyword == NULL)
        return refuse(refusal, 555, "5.5.4", "Parameter not recognized");
    if ((*seen & 1u << row) != 0)
        return refuse(refusal, 501, "5.5.4", "A parameter is repeated");
    *seen |= 1u << row;
    const char *why = rows[row].set(sink, &p);
    return why == NULL ? PARSE_OK : refuse(refusal, 501, "5.5.4", why);
}

static enum parse
apply_params(const struct param_row *rows, struct slice rest, struct param_sink *sink,
             struct reply_text *refusal)
{
    unsigned seen = 0;
    for (rest = skip_spaces(rest); rest.n > 0; rest = skip_spaces(rest)) {
        enum parse r = apply_param(rows, slice_cut_at(&rest, ' '), &seen, sink, refusal);
        if (r != PARSE_OK)
            return r;
    }
    return PARSE_OK;
}

/* RFC 6531 3.5 */
static enum parse
refuse_utf8(struct reply_text *refusal)
{
    return refuse(refusal, 553, "5.6.7", "The address needs SMTPUTF8");
}

enum parse
command_parse_mail(struct slice arg, struct arena *arena, struct mail_args *out,
                   struct reply_text *refusal)
{
    struct mail_args args = {0};
    struct param_sink sink = {.arena = arena, .mail = &args};
    enum parse r = cut_path_argument(&arg, true, arena, &args.path, refusal);
    if (r == PARSE_OK)
        r = apply_params(mail_params, arg, &sink, refusal);
    if (r == PARSE_OK && args.path.mailbox.utf8 && !args.smtputf8)
        r = refuse_utf8(refusal);
    if (r == PARSE_OK)
        *out = args;
    return r;
}

enum parse
command_parse_rcpt(struct slice arg, bool smtputf8, struct arena *arena, struct rcpt_args *out,
                   struct reply_text *refusal)
{
    struct rcpt_args args = {0};
    struct param_sink sink = {.arena = arena, .rcpt = &args, .smtputf8 = smtputf8};
    enum parse r = cut_path_argument(&arg, false, arena, &args.path, refusal);
    if (r == PARSE_OK && args.path.mailbox.utf8 && !smtputf8)
        r = refuse_utf8(refusal);
    if (r == PARSE_OK)
        r = apply_params(rcpt_params, arg, &sink, refusal);
    if (r == PARSE_OK)
        *out = args;
    return r;
}

enum parse
command_parse_bdat(struct slice arg, struct bdat_args *out, struct reply_text *refusal)
{
    struct bdat_args args = {0};
    struct slice number = slice_cut_at(&arg, ' '), last = skip_spaces(arg);
    size_t digits = 0;
    while (digits < number.n && number.p[digits] >= '0' && number.p[digits] <= '9')
        digits++;
    if (number.n == 0 || digits < number.n)
        return refuse(refusal, 501, "5.5.4", "Syntax: BDAT octets [LAST]");
    args.last = slice_eq_nocase(last, SLICE("LAST"));
    if (last.n > 0 && !args.last)
        return refuse(refusal, 501, "5.5.4", "Syntax: BDAT octets [LAST]");
    while (number.n > 1 && number.p[0] == '0')
        number = slice_skip(number, 1);
    if (!slice_to_u64(number, &args.octets))
        args.octets = UINT64_MAX;
    *out = args;
    return PARSE_OK;
}

static bool
is_machine_name(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!ascii_is_alnum(s.p[i]) && s.p[i] != '-' && s.p[i] != '.' && s.p[i] != '_')
            return false;
    return s.n > 0 && s.n <= ADDRESS_DOMAIN_MAX && s.p[0] != '-' && s.p[0] != '.';
}

enum parse
command_parse_helo(struct slice arg, struct slice *name, struct reply_text *refusal)
{
    if (!is_machine_name(arg) && !domain_is_literal(arg))
        return refuse(refusal, 501, "5.5.4", "A host name or address literal is needed");
    *name = arg;
    return PARSE_OK;
}
