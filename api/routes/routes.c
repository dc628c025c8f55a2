#include "api/routes/routes.h"

#include "api/api_internal.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"

enum { SANDBOX_ROUTES = 3, SMALL_BODY_MAX = 4096 };

static const struct http_route ROUTES[] = {
    {"POST", "/v1/messages", HTTP_BODY_MAX, messages_send_admit, messages_send},
    {"POST", "/v1/messages/batch", HTTP_BODY_MAX, messages_send_admit, messages_batch},
    {"POST", "/v1/messages/validate", HTTP_BODY_MAX, messages_validate_admit, messages_validate},
    {"POST", "/v1/messages/raw", MESSAGE_BYTES_MAX, messages_raw_admit, messages_raw},
    {"GET", "/v1/messages", 0, api_admit_key, messages_list},
    {"GET", "/v1/messages/*", 0, api_admit_key, messages_get},
    {"GET", "/v1/messages/*/events", 0, api_admit_key, messages_events},
    {"GET", "/v1/messages/*/raw", 0, api_admit_key, messages_source},
    {"POST", "/v1/messages/*/cancel", API_RECIPIENTS_BODY_MAX, messages_act_admit, messages_cancel},
    {"POST", "/v1/messages/*/retry", API_RECIPIENTS_BODY_MAX, messages_act_admit, messages_retry},
    {"POST", "/v1/messages/*/hold", API_RECIPIENTS_BODY_MAX, messages_act_admit, messages_hold},
    {"POST", "/v1/messages/*/release", API_RECIPIENTS_BODY_MAX, messages_act_admit,
     messages_release},
    {"GET", "/v1/queues", 0, api_admit_key, queues_list},
    {"GET", "/v1/queues/*", 0, api_admit_key, queues_get},
    {"GET", "/v1/suppressions", 0, api_admit_key, suppressions_list},
    {"GET", "/v1/suppressions/*", 0, api_admit_key, suppressions_get},
    {"PUT", "/v1/suppressions/*", SMALL_BODY_MAX, messages_act_admit, suppressions_put},
    {"DELETE", "/v1/suppressions/*", 0, api_admit_key, suppressions_delete},
    {"GET", "/v1/credentials", 0, api_admit_operator, credentials_list},
    {"POST", "/v1/credentials", QUEUE_REGISTRY_VALUE_MAX, api_admit_operator, credentials_create},
    {"DELETE", "/v1/credentials/*", 0, api_admit_operator, credentials_remove},
    {"POST", "/v1/credentials/*/rotate", SMALL_BODY_MAX, api_admit_operator, credentials_rotate},
    {"POST", "/v1/credentials/*/freeze", SMALL_BODY_MAX, api_admit_operator, credentials_freeze},
    {"POST", "/v1/credentials/*/unfreeze", SMALL_BODY_MAX, api_admit_operator,
     credentials_unfreeze},
    {"GET", "/healthz", 0, api_admit_key_or_loopback, health_live},
    {"GET", "/readyz", 0, api_admit_key_or_loopback, health_ready},
    {"GET", "/metrics", 0, api_admit_operator_or_loopback, metrics_get},
    {"GET", "/openapi.json", 0, NULL, openapi_get},
    {"GET", "/", 0, NULL, console_page},
    {"GET", "/console/about", 0, NULL, console_about},
    {"GET", "/console/*", 0, NULL, console_file},
    /* Development only, where everything listens on loopback. */
    {"GET", "/sandbox/messages", 0, NULL, sandbox_list},
    {"GET", "/sandbox/messages/*/raw", 0, NULL, sandbox_raw},
    {"POST", "/sandbox/clock", SMALL_BODY_MAX, sandbox_admit, sandbox_clock},
};

const struct http_route *
routes_of(const struct config *c, unsigned *count)
{
    *count = ARRAY_LEN(ROUTES) - (c->development ? 0 : SANDBOX_ROUTES);
    return ROUTES;
}
