/*
 * What a reply or a failure means. This is the one place that decides: the
 * client and the dialer report what they saw and in which phase, a table says
 * whom it concerns (recipient, message, address, host, site) and whether the
 * recipient is delivered, tried again, given up, or uncertain. Pure.
 */
#ifndef STAGEPOST_DELIVER_OUTCOME_H
#define STAGEPOST_DELIVER_OUTCOME_H

#include <stdbool.h>
#include <stdint.h>

#include "relay/sys/base/arena.h"
#include "relay/sys/base/limits.h"
#include "relay/wire/envelope.h"
#include "relay/wire/reply.h"

enum phase {
    PHASE_ROUTE,
    PHASE_CONNECT,
    PHASE_GREETING,
    PHASE_EHLO,
    PHASE_STARTTLS,
    PHASE_TLS,
    PHASE_MAIL,
    PHASE_RCPT,
    PHASE_DATA,
    PHASE_BODY,
    PHASE_DOT, /* everything but the final dot is sent; we hold it back */
    PHASE_FINAL,
    PHASE_COUNT,
};

enum seen {
    SEEN_OK,       /* what the phase hopes for: 2xx, 354 to DATA */
    SEEN_TEMP,     /* 4xx */
    SEEN_PERM,     /* 5xx */
    SEEN_CLOSING,  /* 421: the host wants no more now (RFC 5321 3.8) */
    SEEN_TOO_MANY, /* 452 to RCPT after others were taken (RFC 5321 4.5.3.1.10) */
    SEEN_LOST,     /* the connection ended or could not be made */
    SEEN_TIMEOUT,
    SEEN_BROKEN, /* no SMTP reply, or one that nothing asked for */
    SEEN_UNFIT,  /* our own: this message must not go to this peer */
    SEEN_OURS,   /* our own: queue away, lease lost, shutting down */
    SEEN_COUNT,
};

enum scope {
    SCOPE_NONE,      /* no failure */
    SCOPE_RECIPIENT, /* this recipient; the others go on */
    SCOPE_MESSAGE,   /* all recipients of this message at this site */
    SCOPE_NO_TLS,    /* the same address again without TLS (RFC 7435) */
    SCOPE_ADDRESS,   /* the next address, of this host or of another */
    SCOPE_HOST,      /* the next host */
    SCOPE_SITE,      /* every host: nothing else is tried now */
};

struct outcome_rule {
    enum outcome outcome;
    enum scope scope;
};

/* Every pair has a rule; pairs that cannot happen are temporary, scope site. */
const struct outcome_rule *outcome_rule(enum phase phase, enum seen seen);
/* "connect", "RCPT", "end of data": verdict.phase. */
const char *outcome_phase_name(enum phase phase);
/* Sorts a reply by its first digit (RFC 5321 4.2.1), never by its enhanced
 * code. SEEN_BROKEN: a class that the phase does not have. */
enum seen outcome_sort_reply(enum phase phase, const struct reply *r);
/* Whether a refusal at RCPT only says "not in this transaction": then the
 * recipient is offered again at once behind the present one. */
bool outcome_is_too_many(const struct reply *r);

/* One thing seen, with what was said. */
struct finding {
    enum phase phase;
    enum seen seen;
    unsigned code; /* 0: nobody said anything */
    struct enhanced enhanced;
    size_t text_bytes;
    char text[VERDICT_TEXT_MAX]; /* one line, sanitised */
};

void finding_from_reply(struct finding *f, enum phase phase, enum seen seen, const struct reply *r);
/* Our own words; an enhanced code is chosen from the table (RFC 3463). */
void finding_from_us(struct finding *f, enum phase phase, enum seen seen, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* The verdict that stands in the queue. The text is copied into the arena (left
 * empty when the budget is used up); mx is copied too. */
void outcome_verdict(const struct finding *f, struct slice mx, struct arena *arena,
                     struct verdict *out);

#endif
