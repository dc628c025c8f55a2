/*
 * To whom a credential may send: a staging system writes to its testers only,
 * whatever addresses its data holds. Asked at RCPT and by the door. Pure.
 */
#ifndef STAGEPOST_ACCEPT_POLICY_RECIPIENT_H
#define STAGEPOST_ACCEPT_POLICY_RECIPIENT_H

#include "relay/accept/policy/party.h"
#include "relay/sys/config/config.h"

/* address and its domain: canonical. Without a list, everybody. */
bool policy_recipient_is_allowed(const struct config_credential *cr, struct slice address,
                                 struct slice domain);

#endif
