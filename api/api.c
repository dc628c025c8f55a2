#include "api/api_internal.h"

#include <stdlib.h>

#include "api/http/query.h"
#include "api/message.h"
#include "api/routes/routes.h"
#include "api/view.h"
#include "relay/accept/api_key.h"
#include "relay/accept/credential_registry.h"
#include "relay/sys/base/bug.h"

/* RFC 6750 2.1; false: there is none. */
static bool
bearer_key(const struct http_request *r, struct slice *key)
{
    struct slice value;
    if (!head_find(&r->head, SLICE("authorization"), &value))
        return false;
    struct slice scheme = slice_cut_at(&value, ' ');
    *key = slice_trim(value);
    return slice_eq_nocase(scheme, SLICE("Bearer")) && key->n > 0;
}

static const struct config_credential *
credential_of_key(const struct http_request *r)
{
    const struct api *a = r->app;
    struct slice key;
    return bearer_key(r, &key) ? credential_by_key(a->parts.credentials, key, &r->peer) : NULL;
}

/* The same, for all that is no sending (there the door refuses, and counts it): a
 * frozen key neither sees nor changes anything. NULL: answered. */
static const struct config_credential *
credential_in_force(struct http_request *r)
{
    const struct api *a = r->app;
    const struct config_credential *cr = credential_of_key(r);
    if (cr == NULL)
        api_say_no_credential(r);
    else if (credential_is_frozen(a->parts.credentials, slice_str(cr->user)))
        problem_say(r, 403, "credential_frozen", "the credential is frozen");
    else
        return cr;
    return NULL;
}

/* Whether an operator asks; the admin key makes one. */
static bool
is_operator(struct http_request *r)
{
    const struct config *c = ((const struct api *)r->app)->parts.config;
    char hex[API_KEY_DIGEST_HEX];
    struct slice key;
    if (!r->admin && bearer_key(r, &key)) {
        api_key_digest(key, hex);
        bool one = api_key_is(c->admin_key_sha256[0], hex);
        bool other = api_key_is(c->admin_key_sha256[1], hex);
        r->admin = one || other;
    }
    return r->admin;
}

static const struct config_credential *
credential_of(const struct http_request *r)
{
    const struct api *a = r->app;
    struct slice user;
    if (!r->admin)
        return credential_of_key(r);
    if (!head_find(&r->head, SLICE("x-stagepost-credential"), &user))
        return NULL;
    return credential_by_user(a->parts.credentials, user);
}

const struct config_credential *
api_credential(struct http_request *r)
{
    const struct api *a = r->app;
    const struct config_credential *cr = credential_of(r);
    if (cr == NULL)
        return NULL;
    struct config_generation *before = r->memory;
    r->memory = config_hold(credential_memory(a->parts.credentials, cr));
    config_let_go(&before);
    return cr;
}

/* Before the registry was read once, an unknown key may be a good one, and a known
 * one may be frozen. */
static bool
are_credentials_known(const struct http_request *r)
{
    return credentials_are_known(((const struct api *)r->app)->parts.credentials);
}

void
api_say_no_credential(struct http_request *r)
{
    struct slice user;
    if (!are_credentials_known(r))
        view_refuse(r, &(struct err){.code = ERR_AWAY});
    else if (!r->admin)
        problem_say(r, 401, "unauthorized", "a known key is needed: Authorization: Bearer KEY");
    else if (!head_find(&r->head, SLICE("x-stagepost-credential"), &user))
        problem_say(r, 422, "credential_needed",
                    "an operator sends under the policy of a credential: "
                    "X-Stagepost-Credential: USER");
    else
        problem_say(r, 422, "unknown_credential",
                    "there is no credential with the name in X-Stagepost-Credential");
}

/* False: answered. */
static bool
tenant_asked_for(struct http_request *r, struct slice *tenant)
{
    struct query q;
    *tenant = SLICE_NONE;
    if (query_parse(r->head.query, &r->arena, &q) != PARSE_OK) {
        problem_say(r, 400, "bad_query", "the query cannot be read");
        return false;
    }
    query_find(&q, SLICE("tenant"), tenant);
    return true;
}

bool
api_scope_tenant(struct http_request *r, struct slice *tenant)
{
    if (r->admin)
        return tenant_asked_for(r, tenant);
    const struct config_credential *credential = credential_in_force(r);
    if (credential == NULL)
        return false;
    /* An empty name would mean everybody. */
    if (credential->tenant[0] != '\0' &&
        arena_copy(&r->arena, slice_str(credential->tenant), tenant))
        return true;
    api_say_no_credential(r);
    return false;
}

bool
api_admit_key(struct http_request *r)
{
    return is_operator(r) || credential_in_force(r) != NULL;
}

bool
api_admit_operator(struct http_request *r)
{
    if (is_operator(r))
        return true;
    if (api_admit_key(r))
        problem_say(r, 403, "operators_only",
                    "only an operator may do this: the control socket, or the admin key");
    return false;
}

bool
api_admit_sender(struct http_request *r)
{
    is_operator(r);
    if (are_credentials_known(r) && api_credential(r) != NULL)
        return true;
    api_say_no_credential(r);
    return false;
}

bool
api_admit_key_or_loopback(struct http_request *r)
{
    return r->peer_is_loopback || api_admit_key(r);
}

bool
api_admit_operator_or_loopback(struct http_request *r)
{
    return r->peer_is_loopback || api_admit_operator(r);
}

bool
api_admit_type(struct http_request *r, const char *type)
{
    struct slice value, wanted = slice_str(type);
    if (!head_find(&r->head, SLICE("content-type"), &value))
        return true;
    value = slice_trim(slice_cut_at(&value, ';'));
    if (wanted.p[wanted.n - 1] == '/' ? slice_starts_nocase(value, wanted)
                                      : slice_eq_nocase(value, wanted))
        return true;
    problem_say(r, 415, "unsupported_media_type", "the body has another Content-Type than needed");
    return false;
}

/* Clients that ask for large answers on many connections and read none of them
 * could have all memory there is. What was changed is told in any case. */
static bool
is_too_much_unread(const struct http_request *r, size_t bytes)
{
    const struct api *a = r->app;
    return bytes > API_ANSWER_SMALL && slice_eq(r->head.method, SLICE("GET")) &&
           http_server_unsent_bytes(a->http) > API_UNSENT_MAX;
}

void
api_respond_json(struct http_request *r, unsigned status, struct buf *json)
{
    buf_add_char(json, '\n');
    if (json->overflowed)
        problem_say(r, 500, "answer_too_large", "the answer is larger than one answer may be");
    else if (is_too_much_unread(r, json->len))
        problem_respond(r, &(struct problem){.status = 503,
                                             .code = "busy",
                                             .detail = "too many answers wait for their clients",
                                             .retry_after_s = 1});
    else
        http_respond(r, &(struct http_reply){.status = status,
                                             .content_type = "application/json",
                                             .body = buf_slice(json)});
    buf_fini(json);
}

struct api *
api_new(const struct api_parts *parts)
{
    struct api *a = calloc(1, sizeof *a);
    BUG_ON(a == NULL);
    a->parts = *parts;
    message_setup();
    struct http_server_config cfg = {.app = a,
                                     .hostname = parts->config->hostname,
                                     .config = parts->config,
                                     .refuse = problem_say};
    cfg.routes = routes_of(parts->config, &cfg.route_count);
    a->http = http_server_new(parts->loop, &cfg);
    return a;
}

int
api_listen(struct api *a, int fd, const struct net_proxies *proxies, struct err *err)
{
    return http_server_listen(a->http, fd, proxies, err);
}

int
api_listen_tls(struct api *a, int fd, const struct net_proxies *proxies, struct tls_context *tls,
               struct err *err)
{
    return http_server_listen_tls(a->http, fd, proxies, tls, err);
}

int
api_listen_control(struct api *a, int fd, struct err *err)
{
    return http_server_listen_control(a->http, fd, err);
}

void
api_drain(struct api *a)
{
    a->draining = true;
    http_server_drain(a->http);
}

bool
api_busy(const struct api *a)
{
    return http_server_busy(a->http);
}

void
api_free(struct api *a)
{
    if (a == NULL)
        return;
    http_server_free(a->http);
    free(a);
}
