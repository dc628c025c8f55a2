/* The body of POST /v1/credentials, by the rules of the configuration file: the
 * same keys, read by the same table (relay/sys/config/keys.h). */
#ifndef STAGEPOST_API_CREDENTIAL_DRAFT_H
#define STAGEPOST_API_CREDENTIAL_DRAFT_H

#include <jansson.h>

#include "api/problem.h"
#include "relay/sys/config/config.h"

/* Everything but secrets, into `out`, in the arena of the errors. False: they say
 * what is wrong. */
bool credential_draft_read(const json_t *root, struct field_errors *errors,
                           struct config_credential *out);

#endif
