/* Credentials that do not come with the configuration file: as JSON, with the same
 * members as in the snapshot, so that both are one struct everywhere. */
#ifndef STAGEPOST_CONFIG_CREDENTIAL_RECORD_H
#define STAGEPOST_CONFIG_CREDENTIAL_RECORD_H

#include <jansson.h>

#include "relay/sys/config/config.h"

/* A new reference. */
json_t *config_credential_to_json(const struct config_credential *cr);

/* A struct config with these credentials and nothing else; the array is taken
 * over. It has a generation of its own, which is held and let go like that of a
 * snapshot; config_free() lets go of the first holding. NULL with err: a record
 * is not whole. */
const struct config *config_read_credentials(json_t *array, struct err *err);

#endif
