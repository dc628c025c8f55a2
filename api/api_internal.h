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
    unsigned sources; /* messages being read back to be shown */
    bool draining;
};

/*
 * Who asks. An operator (request->admin) comes by the control socket or with the
 * admin key, which the route's admit recognises, and sees all tenants; everybody else has a key and
 * sees the tenant of its credential.
 */

/* Under whose policy the request sends: the credential of "Authorization: Bearer
 * KEY" (RFC 6750 2.1), for an operator the one whose user name is in
 * X-Stagepost-Credential. NULL: none; api_say_no_credential() says why. The request
 * holds its memory. */
const struct config_credential *api_credential(struct http_request *r);
void api_say_no_credential(struct http_request *r);

/* Whose messages the request is about, in the request's arena; empty: everybody's,
 * which only an operator gets who does not say ?tenant=. False: it has answered
 * 401, 403 for a frozen key, or 400 for a query that cannot be read. */
bool api_scope_tenant(struct http_request *r, struct slice *tenant);

/* For http_route.admit, who may call: an operator or a known key; else 401, with a
 * frozen one 403. */
bool api_admit_key(struct http_request *r);
/* An operator; 401 without a known key, 403 with one. */
bool api_admit_operator(struct http_request *r);
/* A request that sends: a credential as in api_credential(); 401, 422. */
bool api_admit_sender(struct http_request *r);
/* An operator, a known key, or a client on loopback. */
bool api_admit_key_or_loopback(struct http_request *r);
/* An operator, or a client on loopback. */
bool api_admit_operator_or_loopback(struct http_request *r);

/* Whether the request may carry such a body: its Content-Type is absent or
 * `type` ("application/json") or, with `type` ending in '/', begins with it;
 * answers 415 otherwise. */
bool api_admit_type(struct http_request *r, const char *type);

/* Answers with JSON. The buffer is freed. 500 when it has overflowed. */
void api_respond_json(struct http_request *r, unsigned status, struct buf *json);

#endif
