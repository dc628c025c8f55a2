/*
 * The asker's side of the checker: some connections ("lanes") with a check under way
 * on each, and the resolver that answers the checker's questions.
 *
 * When the checker dies, the checks that it owed something are made once more, each
 * with no other beside it, so that none pays for another's record; a check that a
 * checker dies on again is temperror, as is one without a verdict within
 * CHECK_WAIT_MS. Checks that waited for DNS meanwhile are made again unharmed. A
 * domain that has certainly ended CHECK_CRASHES_MAX checkers is answered permerror
 * for CHECK_CRASHED_KEPT_MS without asking.
 */
#ifndef STAGEPOST_DKIM_CHECKER_CLIENT_H
#define STAGEPOST_DKIM_CHECKER_CLIENT_H

#include "dkim/spf.h"
#include "relay/sys/base/list.h"
#include "relay/sys/net/loop.h"
#include "relay/sys/net/resolver.h"

struct checker_client;

/* Begins to connect to the unix socket, and does so again whenever a connection
 * ends; more than one when checks wait. The resolver is borrowed. */
struct checker_client *checker_client_new(struct loop *l, struct resolver *r,
                                          const char *socket_path);
/* Every check must be done. Memory goes when the loop has turned once more.
 * NULL is fine. */
void checker_client_free(struct checker_client *c);

/* One check. The owner sets the members marked "in"; the rest is private. */
struct check_op {
    void (*done)(struct check_op *op); /* in */
    struct spf_mail mail;              /* in */
    struct spf_verdict verdict;        /* out; also set when err is */
    struct err err; /* out: ERR_AWAY (no checker, or it died twice), ERR_TIMEOUT, ERR_CANCELLED
                       with temperror; else clear */

    struct checker_client *client;
    struct check_lane *lane; /* while it is running */
    enum check_op_state { CHECK_IDLE, CHECK_WAITING, CHECK_RUNNING, CHECK_FINISHED } state;
    unsigned deaths; /* checkers that died with it */
    uint64_t order;
    struct list_node node;
    struct timer limit;
    struct deferred finish;
};

/* Cannot fail; done comes exactly once, on a later turn. */
void check_start(struct check_op *op, struct checker_client *c);
/* done comes soon with ERR_CANCELLED; no effect on an idle or finished one. */
void check_cancel(struct check_op *op);

#endif
