/*
 * Nothing is sent under a name that the credential does not own: the
 * reverse-path and every mailbox in From, Sender, Resent-From and Resent-Sender
 * (RFC 6409 6.1). It owns domains, single addresses, or both. Pure.
 */
#ifndef STAGEPOST_ACCEPT_POLICY_SENDER_H
#define STAGEPOST_ACCEPT_POLICY_SENDER_H

#include "relay/accept/policy/party.h"
#include "relay/sys/config/config.h"

/* path and its domain: canonical. An empty path is the null reverse-path, which
 * any credential may use (RFC 5321 4.5.5): the header From still has to be owned. */
bool policy_sender_envelope(const struct config_credential *cr, struct slice path,
                            struct slice domain);

/* Whether all are owned; *culprit is the first address that is not. */
bool policy_sender_header(const struct config_credential *cr, const struct slice *addresses,
                          const struct slice *domains, unsigned count, struct slice *culprit);

#endif
