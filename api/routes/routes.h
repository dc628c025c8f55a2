/* The table of routes and their handlers, one file each. */
#ifndef STAGEPOST_API_ROUTES_ROUTES_H
#define STAGEPOST_API_ROUTES_ROUTES_H

#include "api/http/server.h"
#include "relay/sys/config/config.h"

/* The routes that this configuration has: the sandbox's stand at the end and
 * are left out outside development. */
const struct http_route *routes_of(const struct config *c, unsigned *count);

bool messages_send_admit(struct http_request *r);
void messages_send(struct http_request *r);
void messages_batch(struct http_request *r);
bool messages_validate_admit(struct http_request *r);
void messages_validate(struct http_request *r);
bool messages_raw_admit(struct http_request *r);
void messages_raw(struct http_request *r);
void messages_get(struct http_request *r);
void messages_list(struct http_request *r);
void messages_events(struct http_request *r);
void messages_source(struct http_request *r);
bool messages_act_admit(struct http_request *r);
void messages_cancel(struct http_request *r);
void messages_retry(struct http_request *r);
void messages_hold(struct http_request *r);
void messages_release(struct http_request *r);
void queues_list(struct http_request *r);
void queues_get(struct http_request *r);
void suppressions_list(struct http_request *r);
void suppressions_get(struct http_request *r);
void suppressions_put(struct http_request *r);
void suppressions_delete(struct http_request *r);
void credentials_list(struct http_request *r);
void credentials_create(struct http_request *r);
void credentials_remove(struct http_request *r);
void credentials_rotate(struct http_request *r);
void credentials_freeze(struct http_request *r);
void credentials_unfreeze(struct http_request *r);
void health_live(struct http_request *r);
void health_ready(struct http_request *r);
void metrics_get(struct http_request *r);
void openapi_get(struct http_request *r);
void console_page(struct http_request *r);
void console_file(struct http_request *r);
void console_about(struct http_request *r);
void sandbox_list(struct http_request *r);
void sandbox_raw(struct http_request *r);
bool sandbox_admit(struct http_request *r);
void sandbox_clock(struct http_request *r);

#endif
