/*
 * Development mode's certificate authority and server certificate: made once
 * per state directory, EC P-256, for localhost and loopback addresses only.
 */
#ifndef STAGEPOST_CLI_DEVCERT_H
#define STAGEPOST_CLI_DEVCERT_H

#include "relay/sys/base/err.h"

struct devcert {
    char ca_path[256], cert_path[256], key_path[256];
};

/* Fills the paths; makes what is missing or expires within 30 days. */
int devcert_ensure(struct devcert *d, const char *dir, struct err *err);

#endif
