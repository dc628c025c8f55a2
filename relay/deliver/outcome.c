#include "relay/deliver/outcome.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"

/* A row per phase, a column per thing seen. A pair that is not given here
 * cannot happen; fallback then defers and tries nothing else. */
#define DELIVERED                                                                                  \
    {                                                                                              \
        OUTCOME_DELIVERED, SCOPE_NONE                                                              \
    }
#define TEMP(scope)                                                                                \
    {                                                                                              \
        OUTCOME_TEMP, SCOPE_##scope                                                                \
    }
#define PERM(scope)                                                                                \
    {                                                                                              \
        OUTCOME_PERM, SCOPE_##scope                                                                \
    }
#define UNCERTAIN                                                                                  \
    {                                                                                              \
        OUTCOME_UNCERTAIN, SCOPE_MESSAGE                                                           \
    }

static const struct {
    const char *name;
    struct outcome_rule rules[SEEN_COUNT];
} table[PHASE_COUNT] = {
    /* RFC 5321 5.1: DNS trouble is temporary, a definite answer is final. */
    [PHASE_ROUTE] =
        {"route", {[SEEN_TEMP] = TEMP(SITE), [SEEN_PERM] = PERM(SITE), [SEEN_OURS] = TEMP(SITE)}},
    [PHASE_CONNECT] =
        {"connect",
         {[SEEN_LOST] = TEMP(ADDRESS), [SEEN_TIMEOUT] = TEMP(ADDRESS), [SEEN_OURS] = TEMP(SITE)}},
    /* A host that does not want us is not the recipient's answer, whatever its
     * first digit: the next host may want us (RFC 5321 3.1, 4.2.1). */
    [PHASE_GREETING] = {"greeting",
                        {[SEEN_TEMP] = TEMP(HOST),
                         [SEEN_PERM] = TEMP(HOST),
                         [SEEN_CLOSING] = TEMP(HOST),
                         [SEEN_LOST] = TEMP(ADDRESS),
                         [SEEN_TIMEOUT] = TEMP(ADDRESS),
                         [SEEN_BROKEN] = TEMP(HOST)}},
    [PHASE_EHLO] = {"EHLO",
                    {[SEEN_TEMP] = TEMP(HOST),
                     [SEEN_PERM] = TEMP(HOST),
                     [SEEN_CLOSING] = TEMP(HOST),
                     [SEEN_LOST] = TEMP(ADDRESS),
                     [SEEN_TIMEOUT] = TEMP(ADDRESS),
                     [SEEN_BROKEN] = TEMP(HOST)}},
    /* A refusal to STARTTLS is an answer: the session goes on in clear. Bytes
     * behind the 220 are an attack (RFC 3207 4.2): nothing is retried in clear
     * because of them. */
    [PHASE_STARTTLS] = {"STARTTLS",
                        {[SEEN_TEMP] = TEMP(NONE),
                         [SEEN_PERM] = TEMP(NONE),
                         [SEEN_CLOSING] = TEMP(HOST),
                         [SEEN_LOST] = TEMP(NO_TLS),
                         [SEEN_TIMEOUT] = TEMP(NO_TLS),
                         [SEEN_BROKEN] = TEMP(HOST)}},
    [PHASE_TLS] = {"TLS handshake", {[SEEN_LOST] = TEMP(NO_TLS), [SEEN_TIMEOUT] = TEMP(NO_TLS)}},
    [PHASE_MAIL] = {"MAIL",
                    {[SEEN_TEMP] = TEMP(MESSAGE),
                     [SEEN_PERM] = PERM(MESSAGE),
                     [SEEN_CLOSING] = TEMP(HOST),
                     [SEEN_LOST] = TEMP(HOST),
                     [SEEN_TIMEOUT] = TEMP(HOST),
                     [SEEN_BROKEN] = TEMP(HOST),
                     [SEEN_UNFIT] = PERM(MESSAGE),
                     [SEEN_OURS] = TEMP(MESSAGE)}},
    [PHASE_RCPT] = {"RCPT",
                    {[SEEN_TEMP] = TEMP(RECIPIENT),
                     [SEEN_PERM] = PERM(RECIPIENT),
                     [SEEN_TOO_MANY] = TEMP(RECIPIENT),
                     [SEEN_CLOSING] = TEMP(HOST),
                     [SEEN_LOST] = TEMP(HOST),
                     [SEEN_TIMEOUT] = TEMP(HOST),
                     [SEEN_BROKEN] = TEMP(HOST),
                     [SEEN_UNFIT] = PERM(RECIPIENT),
                     [SEEN_OURS] = TEMP(MESSAGE)}},
    [PHASE_DATA] = {"DATA",
                    {[SEEN_TEMP] = TEMP(MESSAGE),
                     [SEEN_PERM] = PERM(MESSAGE),
                     [SEEN_CLOSING] = TEMP(HOST),
                     [SEEN_LOST] = TEMP(HOST),
                     [SEEN_TIMEOUT] = TEMP(HOST),
                     [SEEN_BROKEN] = TEMP(HOST),
                     [SEEN_OURS] = TEMP(MESSAGE)}},
    /* A reply before the dot answers nothing that we said: never final, and it
     * cannot mean delivered. */
    [PHASE_BODY] = {"message text",
                    {[SEEN_TEMP] = TEMP(MESSAGE),
                     [SEEN_PERM] = TEMP(MESSAGE),
                     [SEEN_CLOSING] = TEMP(MESSAGE),
                     [SEEN_LOST] = TEMP(MESSAGE),
                     [SEEN_TIMEOUT] = TEMP(MESSAGE),
                     [SEEN_BROKEN] = TEMP(MESSAGE),
                     [SEEN_UNFIT] = PERM(MESSAGE),
                     [SEEN_OURS] = TEMP(MESSAGE)}},
    [PHASE_DOT] = {"before the final dot",
                   {[SEEN_TEMP] = TEMP(MESSAGE),
                    [SEEN_PERM] = TEMP(MESSAGE),
                    [SEEN_CLOSING] = TEMP(MESSAGE),
                    [SEEN_LOST] = TEMP(MESSAGE),
                    [SEEN_TIMEOUT] = TEMP(MESSAGE),
                    [SEEN_BROKEN] = TEMP(MESSAGE),
                    [SEEN_OURS] = TEMP(MESSAGE)}},
    /* RFC 5321 4.2.5: a 4xx or 5xx here says that the peer does not have it.
     * No reply at all says nothing (RFC 1047). */
    [PHASE_FINAL] = {"end of data",
                     {[SEEN_OK] = DELIVERED,
                      [SEEN_TEMP] = TEMP(MESSAGE),
                      [SEEN_PERM] = PERM(MESSAGE),
                      [SEEN_CLOSING] = TEMP(HOST),
                      [SEEN_LOST] = UNCERTAIN,
                      [SEEN_TIMEOUT] = UNCERTAIN,
                      [SEEN_BROKEN] = UNCERTAIN}},
};

/* What we say ourselves (RFC 3463): subject and detail by what was seen. */
static const struct {
    unsigned class_, subject, detail;
} own_codes[SEEN_COUNT] = {
    [SEEN_LOST] = {4, 4, 2},    /* bad connection */
    [SEEN_TIMEOUT] = {4, 4, 1}, /* no answer from host */
    [SEEN_BROKEN] = {4, 5, 0},  /* protocol status */
    [SEEN_OURS] = {4, 3, 0},    /* mail system status */
    [SEEN_UNFIT] = {5, 6, 0},
};

const struct outcome_rule *
outcome_rule(enum phase phase, enum seen seen)
{
    static const struct outcome_rule fallback = {OUTCOME_TEMP, SCOPE_SITE};
    BUG_ON(phase >= PHASE_COUNT || seen >= SEEN_COUNT);
    const struct outcome_rule *rule = &table[phase].rules[seen];
    /* {0, 0} reads as DELIVERED: only the final phase may say that. */
    if (rule->outcome == OUTCOME_DELIVERED && !(phase == PHASE_FINAL && seen == SEEN_OK))
        return &fallback;
    return rule;
}

const char *
outcome_phase_name(enum phase phase)
{
    BUG_ON(phase >= PHASE_COUNT);
    return table[phase].name;
}

enum seen
outcome_sort_reply(enum phase phase, const struct reply *r)
{
    if (r->code == 421)
        return SEEN_CLOSING;
    switch (r->code / 100) {
    case 2:
        /* 354 is the only go-ahead for text (RFC 5321 4.3.2). */
        return phase == PHASE_DATA || phase == PHASE_BODY || phase == PHASE_DOT ? SEEN_BROKEN
                                                                                : SEEN_OK;
    case 3:
        return phase == PHASE_DATA && r->code == 354 ? SEEN_OK : SEEN_BROKEN;
    case 4:
        return SEEN_TEMP;
    case 5:
        return SEEN_PERM;
    default:
        return SEEN_BROKEN;
    }
}

bool
outcome_is_too_many(const struct reply *r)
{
    if (r->code != 452 && r->code != 552) /* 552: RFC 821 servers (RFC 5321 4.5.3.1.10) */
        return false;
    if (r->enhanced.class_ == 0)
        return r->code == 452;
    return r->enhanced.subject == 5 && r->enhanced.detail == 3;
}

static struct enhanced
own_code(enum seen seen)
{
    return (struct enhanced){.class_ = own_codes[seen].class_,
                             .subject = own_codes[seen].subject,
                             .detail = own_codes[seen].detail};
}

void
finding_from_reply(struct finding *f, enum phase phase, enum seen seen, const struct reply *r)
{
    *f = (struct finding){
        .phase = phase, .seen = seen, .code = r->code, .enhanced = r->enhanced, .text_bytes = 0};
    if (seen == SEEN_BROKEN) /* "2.0.0 ok" where it makes no sense says nothing of us */
        f->enhanced = own_code(seen);
    struct slice text = r->text;
    if (text.n > sizeof f->text)
        text.n = sizeof f->text;
    /* A sequence cut in the middle would not be valid UTF-8 any more. */
    if (text.n < r->text.n)
        while (text.n > 0 && ((unsigned char)r->text.p[text.n] & 0xc0) == 0x80)
            text.n--;
    for (size_t i = 0; i < text.n; i++)
        f->text[i] = text.p[i] == '\n' ? ' ' : text.p[i];
    f->text_bytes = text.n;
}

void
finding_from_us(struct finding *f, enum phase phase, enum seen seen, const char *fmt, ...)
{
    *f = (struct finding){.phase = phase, .seen = seen, .enhanced = own_code(seen)};
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(f->text, sizeof f->text, fmt, args);
    va_end(args);
    BUG_ON(n < 0);
    f->text_bytes = (size_t)n < sizeof f->text ? (size_t)n : sizeof f->text - 1;
}

void
outcome_verdict(const struct finding *f, struct slice mx, struct arena *arena, struct verdict *out)
{
    *out = (struct verdict){
        .outcome = outcome_rule(f->phase, f->seen)->outcome,
        .code = f->code,
        .enhanced = {(uint16_t)f->enhanced.class_, (uint16_t)f->enhanced.subject,
                     (uint16_t)f->enhanced.detail},
        .phase = slice_str(outcome_phase_name(f->phase)),
        .at_unix_ms = clock_sched_unix_ms(),
    };
    struct slice text = slice_from(f->text, f->text_bytes);
    if (!arena_copy(arena, text, &out->text))
        out->text = SLICE_NONE;
    if (!arena_copy(arena, mx, &out->mx))
        out->mx = SLICE_NONE;
}
