/*
 * Nothing is sent under a name that the credential does not own: the domain of
 * the reverse-path and of every mailbox in From, Sender, Resent-From and
 * Resent-Sender (RFC 6409 6.1). Pure.
 */
#ifndef STAGEPOST_ACCEPT_POLICY_SENDER_H
#define STAGEPOST_ACCEPT_POLICY_SENDER_H

#include <stdbool.h>

#include "relay/sys/base/slice.h"
#include "relay/sys/config/config.h"

/* domain: canonical; empty is the null reverse-path, which any credential may
 * use (RFC 5321 4.5.5): the header From still has to be owned. */
bool policy_sender_envelope(const struct config_credential *cr, struct slice domain);

/* Whether all are owned; *culprit is the first that is not. An empty domain is
 * owned by nobody. */
bool policy_sender_header(const struct config_credential *cr, const struct slice *domains,
                          unsigned count, struct slice *culprit);

#endif
