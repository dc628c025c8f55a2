/*
 * The secrets that a configuration names by path: who may read the files is who
 * starts the gateway, and nobody else needs to. The supervisor reads them when
 * it writes a snapshot, and each role's snapshot carries what that role uses:
 *   worker  certificate and private key of the listeners, no DKIM key
 *   signer  the DKIM keys; neither credentials nor the listeners' key
 *   others  neither
 * A file is PEM (RFC 7468), which is ASCII; what else stands around it becomes
 * '?', as the snapshot is text.
 */
#ifndef STAGEPOST_CONFIG_MATERIAL_H
#define STAGEPOST_CONFIG_MATERIAL_H

#include <jansson.h>

#include "relay/sys/config/config.h"

/* Puts the contents for this reader into the snapshot: "tls_cert_pem",
 * "tls_key_pem", "pem" of each of `dkim_keys`. -1, err ERR_CONFIG: a file that
 * cannot be read or is too long. */
int material_add(json_t *root, const struct config *c, enum config_reader reader, struct err *err);
/* Overwrites them in memory, before the JSON is freed. */
void material_wipe(json_t *root);

#endif
