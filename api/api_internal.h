/* Shared by api.c, submission.c and routes/; nobody else includes it. */
#ifndef STAGEPOST_API_API_INTERNAL_H
#define STAGEPOST_API_API_INTERNAL_H

#include "api/api.h"
#include "api/http/server.h"
#include "api/json/writer.h"
#include "api/problem.h"
#include "relay/accept/credential.h"

struct api {
    struct api_parts parts;
    struct http_server *http;
    bool draining;
};

/* The credential of "Authorization: Bearer KEY" (RFC 6750 2.1), or NULL. */
const struct config_credential *api_credential(const struct http_request *r);

/* For http_route.admit: a known key is needed; 401 otherwise. */
bool api_admit_key(struct http_request *r);
/* A known key, or a client on loopback. */
bool api_admit_key_or_loopback(struct http_request *r);

/* Whether the request may carry such a body: its Content-Type is absent or
 * `type` ("application/json") or, with `type` ending in '/', begins with it;
 * answers 415 otherwise. */
bool api_admit_type(struct http_request *r, const char *type);

/* Answers with JSON. The buffer is freed. 500 when it has overflowed. */
void api_respond_json(struct http_request *r, unsigned status, struct buf *json);

#endif
