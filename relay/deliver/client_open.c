/*
 * From the greeting to READY. Sending happens on entry of a state, judging on
 * its reply.
 */
#include "relay/deliver/client_internal.h"

#include <string.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/base/log.h"
#include "relay/sys/base/metrics.h"

static void
drop_reply(struct client *c, enum seen seen, const struct reply *r)
{
    struct finding f;
    finding_from_reply(&f, client_phase(c), seen, r);
    client_drop(c, &f);
}

static void
enter_hello(struct client *c, enum client_state state)
{
    c->ehlo = (struct ehlo){0};
    client_command(c, "%s %s", state == CLIENT_HELO ? "HELO" : "EHLO", c->env->hostname);
    client_flush(c);
    client_move(c, state);
}

void
client_judge_greeting(struct client *c, const struct reply *r)
{
    enum seen seen = outcome_sort_reply(PHASE_GREETING, r);
    if (seen != SEEN_OK || r->code != 220) {
        drop_reply(c, seen == SEEN_OK ? SEEN_BROKEN : seen, r);
        return;
    }
    if (client_in_step(c)) /* bytes behind the greeting are out of step */
        enter_hello(c, CLIENT_EHLO);
}

static void
enter_starttls(struct client *c)
{
    client_command(c, "STARTTLS");
    client_flush(c);
    client_move(c, CLIENT_STARTTLS);
}

void
client_judge_ehlo(struct client *c, const struct reply *r)
{
    enum seen seen = outcome_sort_reply(PHASE_EHLO, r);
    if (!client_in_step(c))
        return;
    if (seen == SEEN_PERM) { /* RFC 5321 3.2: an old server, or one that is cautious */
        enter_hello(c, CLIENT_HELO);
        return;
    }
    if (seen != SEEN_OK) {
        drop_reply(c, seen, r);
        return;
    }
    ehlo_parse(r, &c->ehlo);
    if (c->ehlo.starttls && c->try_tls && !c->is_tls)
        enter_starttls(c);
    else
        client_become_ready(c);
}

void
client_judge_helo(struct client *c, const struct reply *r)
{
    enum seen seen = outcome_sort_reply(PHASE_EHLO, r);
    if (!client_in_step(c))
        return;
    if (seen == SEEN_OK)
        client_become_ready(c);
    else
        drop_reply(c, seen, r);
}

static void
on_handshake(struct tls_op *op)
{
    struct client *c = container_of(op, struct client, tls);
    if (op->err.code != ERR_NONE) {
        struct finding f;
        finding_from_us(&f, PHASE_TLS, op->err.code == ERR_TIMEOUT ? SEEN_TIMEOUT : SEEN_LOST,
                        "TLS handshake failed: %s", op->err.text);
        client_drop(c, &f);
        return;
    }
    bool newest = strcmp(stream_tls_version(c->stream), "TLSv1.3") == 0;
    metrics_add(newest ? METRIC_TLS_MX_13 : METRIC_TLS_MX_12, 1);
    c->is_tls = true;
    /* Nothing that was said in clear counts any more (RFC 3207 4.2). */
    enter_hello(c, CLIENT_EHLO_TLS);
}

void
client_judge_starttls(struct client *c, const struct reply *r)
{
    enum seen seen = outcome_sort_reply(PHASE_STARTTLS, r);
    if (!client_in_step(c)) /* an attack (RFC 3207 4.2) */
        return;
    if (seen == SEEN_OK && r->code == 220) {
        client_move(c, CLIENT_HANDSHAKE);
        /* RFC 6066 3: names only, no address literals. */
        struct slice name = c->mx[0] == '[' ? SLICE_NONE : slice_str(c->mx);
        stream_start_tls(c->stream, &c->tls, c->env->tls, name, clock_scaled_ms(CLIENT_TLS_MS),
                         on_handshake);
        return;
    }
    if (outcome_rule(PHASE_STARTTLS, seen)->scope == SCOPE_NONE)
        client_become_ready(c); /* it offers TLS and refuses it: RFC 7435, in clear */
    else
        drop_reply(c, seen == SEEN_OK ? SEEN_BROKEN : seen, r);
}
