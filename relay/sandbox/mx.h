/*
 * The sandbox's mail exchanger: every domain's MX. It takes every message,
 * keeps it (store.h) before it says 250, and plays the magic recipients
 * (mx_magic.h).
 */
#ifndef STAGEPOST_SANDBOX_MX_H
#define STAGEPOST_SANDBOX_MX_H

#include "relay/sandbox/store.h"
#include "relay/sys/base/err.h"
#include "relay/sys/net/loop.h"
#include "relay/sys/net/tls.h"

struct sandbox_mx;

/* Takes the listening descriptor over; borrows the store and the TLS context
 * (NULL: STARTTLS is not offered). */
struct sandbox_mx *sandbox_mx_open(struct loop *l, int fd, struct store *store,
                                   struct tls_context *tls, struct err *err);
/* Ends all sessions at once. Puts that the store is busy with finish without
 * them: the store may be closed when the loop has nothing left to do. NULL is
 * fine. */
void sandbox_mx_close(struct sandbox_mx *mx);

#endif
