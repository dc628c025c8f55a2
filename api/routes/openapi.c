/* GET /openapi.json: api/openapi.json, as it was built in. It tells nobody
 * anything of anybody, so it needs no key. */
#include "api/openapi.inc"
#include "api/api_internal.h"
#include "api/routes/routes.h"

void
openapi_get(struct http_request *r)
{
    http_respond(r, &(struct http_reply){.status = 200,
                                         .content_type = "application/json",
                                         .body = SLICE(API_OPENAPI_JSON)});
}
