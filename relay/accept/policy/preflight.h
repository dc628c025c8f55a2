/*
 * Whether receivers would believe a message, asked before it is accepted: for each
 * pair of reverse-path and From domain one probe of DNS and the checker, whose
 * verdict (believed.h) is remembered for as long as its records live, within
 * PREFLIGHT_KEPT_LEAST_S and PREFLIGHT_KEPT_S. A message whose pair is known is
 * answered at once; another waits PREFLIGHT_WAIT_MS at most and goes on as late. That is
 * paid once: a pair, and while DNS is silent (silence.h) every pair, waits no more than
 * PREFLIGHT_WAIT_AGAIN_MS unless its questions begin to be answered by then.
 *
 * What follows from a verdict is the door's affair (accept/submit.h). One per
 * worker; follows the configuration: a new generation begins with nothing known.
 */
#ifndef STAGEPOST_ACCEPT_POLICY_PREFLIGHT_H
#define STAGEPOST_ACCEPT_POLICY_PREFLIGHT_H

#include "relay/accept/policy/believed.h"
#include "relay/sys/base/list.h"
#include "relay/sys/config/config.h"
#include "relay/sys/net/loop.h"

struct checker_client;
struct preflight;

/* All are borrowed. */
struct preflight *preflight_new(struct loop *l, const struct config *c, struct resolver *r,
                                struct checker_client *checker);
/* No operation may be under way. Probes are broken off; memory goes when the loop
 * has turned. The checker client must outlive that: its checks are cancelled.
 * NULL is fine. */
void preflight_free(struct preflight *p);
/* Whether probes are under way: preflight_free() waits for none. */
bool preflight_busy(const struct preflight *p);

/* A message with this reverse-path is coming, probably with the same From domain. `p`
 * may be NULL, the domain empty. */
void preflight_expect(struct preflight *p, struct slice reverse_domain);

/* One question. The owner sets `done`; the rest is private but for "out". */
struct preflight_op {
    void (*done)(struct preflight_op *op);
    bool late;                       /* out: no verdict in time, or too many are being asked for */
    struct believed_verdict verdict; /* out, unless late */

    struct preflight *preflight;
    struct entry *entry; /* that it waits for; NULL: none */
    struct list_node node;
    struct timer limit;
    struct deferred finish;
    uint64_t began_ms;
    bool started, short_wait;
};

/* What is known now; false: nothing that may still be used, ask with preflight_start(). */
bool preflight_known(struct preflight *p, struct slice reverse_domain, struct slice from_domain,
                     struct believed_verdict *out);
/* Cannot fail; done comes exactly once, on a later turn. The domains are copied:
 * lower-case A-labels, reverse "" for the null reverse-path. */
void preflight_start(struct preflight_op *op, struct preflight *p, struct slice reverse_domain,
                     struct slice from_domain);
/* done comes soon, as late; no effect when it is done. */
void preflight_cancel(struct preflight_op *op);

#endif
