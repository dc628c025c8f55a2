/*
 * A message as programs hand it to sendmail(8), made into one that can be sent.
 * Pure. Here, and only here, mail is mended, for this is how it has always been
 * between programs of one machine:
 *
 *   - line ends become CRLF, the last line gets one; an mbox "From " line goes;
 *   - a message without a header section gets an empty one;
 *   - Bcc goes (RFC 5322 3.6.3);
 *   - addresses without a domain get `host` in From, Sender, Reply-To, To, Cc
 *     and their Resent- fields; a message without From gets one.
 *
 * A bare CR, NUL and everything else is the gateway's to judge.
 */
#ifndef STAGEPOST_CLI_LOCAL_MAIL_H
#define STAGEPOST_CLI_LOCAL_MAIL_H

#include <stdbool.h>

#include "relay/sys/base/arena.h"
#include "relay/sys/base/buf.h"
#include "relay/sys/base/err.h"

struct local_mail_wish {
    bool recipients_from_header; /* -t: of To, Cc, Bcc; of Resent- ones if there are any */
    bool dot_ends;               /* no -i: a line with a single dot is the end */
    const char *host;            /* for addresses without a domain */
    struct slice from;           /* an address: From, where there is none */
    const char *full_name;       /* for that From; NULL: none */
};

struct local_mail {
    struct arena arena;
    struct buf message;
    struct slice sender; /* the first address in From; empty: there is none that can be read */
    struct slice *to;    /* in the order of the header, each once */
    unsigned to_count;
};

void local_mail_init(struct local_mail *m);
/* Once. -1 with err: ERR_FULL (too large, too many recipients), ERR_BAD (with
 * recipients_from_header: a field cannot be read; the text names it). */
int local_mail_read(struct local_mail *m, const struct local_mail_wish *wish, struct slice text,
                    struct err *err);
void local_mail_fini(struct local_mail *m);

/* Appends an address list with @host behind each address that has no domain:
 * "root (Cron)" becomes "root@host (Cron)". What is no address list passes as it is. */
void local_mail_qualify(struct slice value, const char *host, struct buf *out);
/* Adds a recipient as one writes it on a command line; with `host` when it has
 * no domain. Each address counts once. */
int local_mail_add(struct local_mail *m, struct slice address, const char *host, struct err *err);

#endif
