/*
 * /v1/credentials, for operators: what the file has, which can be frozen here, and
 * what the registry has, which can be made, rotated and removed too.
 *
 * A change goes: read what is there (another worker may have made it a moment ago),
 * make new secrets on the work pool where the change needs them, put it when it is
 * still what was read (else 409), and let this worker read it at once. Secrets are in one answer
 * and nowhere else. A frozen credential's waiting mail is held, an unfrozen one's released.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/api_internal.h"
#include "api/credential_draft.h"
#include "api/http/query.h"
#include "api/json/reader.h"
#include "api/routes/routes.h"
#include "queue/operate.h"
#include "queue/registry.h"
#include "relay/accept/credential_registry.h"
#include "relay/accept/credential_secret.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/base/log.h"
#include "relay/sys/net/work.h"

enum change_kind { CHANGE_CREATE, CHANGE_ROTATE, CHANGE_FREEZE, CHANGE_UNFREEZE, CHANGE_REMOVE };

static const struct change_row {
    const char *event;
    bool has_secret;
    unsigned status;
} CHANGES[] = {
    [CHANGE_CREATE] = {"credential.created", true, 201},
    [CHANGE_ROTATE] = {"credential.rotated", true, 200},
    [CHANGE_FREEZE] = {"credential.frozen", false, 200},
    [CHANGE_UNFREEZE] = {"credential.unfrozen", false, 200},
    [CHANGE_REMOVE] = {"credential.removed", false, 200},
};

struct change {
    enum change_kind kind;
    struct http_request *request;
    struct api *api;
    struct credentials_refresh_op refresh;
    struct slice user;                   /* in the request's arena */
    struct config_credential credential; /* as it will be; strings in the request's arena */
    struct config_generation *memory;
    struct credential_secret secret;
    struct work_op work;
    struct queue_registry_put_op put;
    struct timer settle;
    struct queue_sweep_op sweep;
    bool is_of_file;   /* what is put is the mark that freezes it */
    char *old, *value; /* records */
};

static void
say_away(struct http_request *r, const char *detail)
{
    problem_respond(r,
                    &(struct problem){
                        .status = 503, .code = "queue_away", .detail = detail, .retry_after_s = 5});
}

/* ---- showing ------------------------------------------------------------------ */

static void
write_strings(struct writer *w, const char *key, const char *const *v, unsigned n)
{
    writer_open(w, key, '[');
    for (unsigned i = 0; i < n; i++)
        writer_string(w, NULL, slice_str(v[i]));
    writer_close(w, ']');
}

static void
write_rate(struct writer *w, const struct config_rate *rate)
{
    char text[32] = "";
    char unit = rate->per_ms == 1000 ? 's' : rate->per_ms == 60000 ? 'm' : 'h';
    if (rate->count > 0)
        snprintf(text, sizeof text, "%u/%c", rate->count, unit);
    writer_string_or_null(w, "rate", slice_str(text));
}

/* Members only; no hash of a secret is shown. */
static void
write_credential(struct writer *w, const struct config_credential *cr, bool is_frozen)
{
    writer_string(w, "user", slice_str(cr->user));
    writer_string(w, "tenant", slice_str(cr->tenant));
    writer_string(w, "class", cr->klass == CONFIG_BULK ? SLICE("bulk") : SLICE("transactional"));
    write_strings(w, "senders", cr->senders, cr->sender_count);
    write_strings(w, "recipients", cr->recipients, cr->recipient_count);
    write_strings(w, "networks", cr->networks, cr->network_count);
    write_rate(w, &cr->rate);
    writer_number(w, "daily", cr->daily);
    writer_number(w, "new_recipients", cr->new_recipients);
    if (cr->expires_unix_ms > 0)
        writer_time(w, "expires", (int64_t)cr->expires_unix_ms);
    else
        writer_null(w, "expires");
    writer_bool(w, "frozen", is_frozen);
}

struct listing {
    struct http_request *request;
    struct slice tenant; /* in the request's arena */
    struct credentials_refresh_op refresh;
};

static void
list(struct http_request *r, struct slice tenant)
{
    const struct api *a = r->app;
    const struct credentials *cs = a->parts.credentials;
    const struct config_credential *cr;
    struct buf body;
    struct writer w;
    buf_init(&body, API_ANSWER_MAX);
    writer_init(&w, &body);
    writer_open(&w, NULL, '{');
    writer_open(&w, "data", '[');
    for (unsigned i = 0; (cr = credential_at(cs, i)) != NULL; i++) {
        if (tenant.n > 0 && !slice_eq(slice_str(cr->tenant), tenant))
            continue;
        bool of_file = credential_is_of_file(cs, cr);
        writer_open(&w, NULL, '{');
        write_credential(&w, cr, cr->frozen || (of_file && credential_is_marked(cs, cr->user)));
        writer_string(&w, "kept_in", of_file ? SLICE("file") : SLICE("registry"));
        writer_close(&w, '}');
    }
    writer_close(&w, ']');
    writer_close(&w, '}');
    api_respond_json(r, 200, &body);
}

static void
on_listing(struct credentials_refresh_op *op)
{
    struct listing *l = container_of(op, struct listing, refresh);
    if (op->is_fresh)
        list(l->request, l->tenant);
    else
        say_away(l->request, "the queue cannot be asked for them now");
    free(l);
}

void
credentials_list(struct http_request *r)
{
    const struct api *a = r->app;
    struct slice tenant;
    if (!api_scope_tenant(r, &tenant))
        return;
    struct listing *l = calloc(1, sizeof *l);
    BUG_ON(l == NULL);
    *l = (struct listing){.request = r, .tenant = tenant, .refresh.done = on_listing};
    credentials_refresh_start(&l->refresh, a->parts.credentials);
}

/* ---- the end -------------------------------------------------------------------- */

static void
change_free(struct change *c)
{
    credential_secret_wipe(&c->secret);
    config_let_go(&c->memory);
    free(c->old);
    free(c->value);
    free(c);
}

static void
respond(struct change *c)
{
    struct buf body;
    struct writer w;
    buf_init(&body, API_ANSWER_MAX);
    writer_init(&w, &body);
    writer_open(&w, NULL, '{');
    write_credential(&w, &c->credential, c->credential.frozen);
    if (CHANGES[c->kind].has_secret) {
        writer_string(&w, "password", slice_str(c->secret.password));
        writer_string(&w, "key", slice_str(c->secret.key));
    }
    if (c->sweep.done != NULL) {
        writer_number(&w, "affected", c->sweep.affected);
        writer_number(&w, "in_flight", c->sweep.in_flight);
    }
    writer_close(&w, '}');
    api_respond_json(c->request, CHANGES[c->kind].status, &body);
}

static void
on_swept(struct queue_sweep_op *op)
{
    struct change *c = container_of(op, struct change, sweep);
    if (op->err.code == ERR_NONE)
        respond(c);
    else
        problem_respond(c->request,
                        &(struct problem){.status = 503,
                                          .code = "partly_done",
                                          .detail = "the credential is changed, but not all of its "
                                                    "mail was reached: ask again",
                                          .retry_after_s = 5});
    change_free(c);
}

/* All workers know by now, and commit nothing more of a frozen one. The sweep goes on
 * when its client is gone: a credential half frozen helps nobody. */
static void
on_settled(struct timer *t)
{
    struct change *c = container_of(t, struct change, settle);
    c->sweep.done = on_swept;
    c->sweep.submitter = slice_str(c->credential.user);
    c->sweep.action = c->kind == CHANGE_FREEZE ? QUEUE_HOLD : QUEUE_RELEASE;
    queue_sweep_start(&c->sweep, c->api->parts.queue);
}

/* All workers know by now: who has the answer can use what it says, anywhere. */
static void
on_known(struct timer *t)
{
    struct change *c = container_of(t, struct change, settle);
    respond(c);
    change_free(c);
}

static void
finish(struct change *c)
{
    bool sweeps = c->kind == CHANGE_FREEZE || c->kind == CHANGE_UNFREEZE;
    timer_init(&c->settle, c->api->parts.loop, sweeps ? on_settled : on_known);
    timer_start(&c->settle, c->kind == CHANGE_FREEZE ? CREDENTIAL_SETTLE_MS : CREDENTIAL_KNOWN_MS);
}

static void
on_put(struct queue_registry_put_op *op)
{
    struct change *c = container_of(op, struct change, put);
    switch (op->result) {
    case REGISTRY_DONE:
        LOG(LOG_NOTICE, CHANGES[c->kind].event, LF_STR("user", c->credential.user),
            LF_STR("tenant", c->credential.tenant));
        credentials_refresh(c->api->parts.credentials);
        finish(c);
        return;
    case REGISTRY_CHANGED:
        problem_say(c->request, 409, "changed", "somebody else changed it: look, and try again");
        break;
    case REGISTRY_FULL:
        problem_say(c->request, 503, "no_room", "there is no room for more credentials");
        break;
    case REGISTRY_AWAY:
        say_away(c->request, "it is not known whether it was done: look");
        break;
    }
    change_free(c);
}

/* ---- the change ------------------------------------------------------------------- */

static void
put_start(struct change *c, struct slice name, struct slice value)
{
    c->put.done = on_put;
    c->put.kind = CREDENTIAL_KIND;
    c->put.name = name;
    c->put.old = slice_str(c->old);
    c->put.value = value;
    queue_registry_put_start(&c->put, c->api->parts.queue);
}

static void
put_mark(struct change *c)
{
    struct buf name;
    buf_init(&name, CREDENTIAL_MARK_NAME_MAX);
    credential_mark_name(slice_str(c->credential.user), &name);
    put_start(c, buf_slice(&name), c->kind == CHANGE_FREEZE ? SLICE(CREDENTIAL_MARK) : SLICE_NONE);
    buf_fini(&name);
}

static void
put(struct change *c)
{
    struct slice value = SLICE_NONE;
    if (c->is_of_file) {
        put_mark(c);
        return;
    }
    if (c->kind != CHANGE_REMOVE) {
        c->value = credential_record_text(&c->credential);
        value = slice_str(c->value);
    }
    if (value.n > QUEUE_REGISTRY_VALUE_MAX) {
        problem_say(c->request, 422, "too_large", "the credential is larger than one may be");
        change_free(c);
        return;
    }
    put_start(c, slice_str(c->credential.user), value);
}

static void
make_secret(struct work_op *op)
{
    struct change *c = container_of(op, struct change, work);
    credential_secret_make(&c->secret, c->credential.scram);
}

/* The second secret is what was the first; what was the second is retired. */
static void
on_secret(struct work_op *op)
{
    struct change *c = container_of(op, struct change, work);
    struct config_credential *cr = &c->credential;
    cr->other_password_hash = cr->password_hash;
    cr->other_scram = cr->scram;
    cr->other_key_sha256 = cr->key_sha256;
    cr->password_hash = c->secret.password_hash;
    cr->scram = c->secret.scram;
    cr->key_sha256 = c->secret.key_sha256;
    put(c);
}

static void
begin(struct change *c)
{
    if (!CHANGES[c->kind].has_secret)
        put(c);
    else
        work_start(&c->work, c->api->parts.loop, make_secret, on_secret);
}

static struct change *
change_new(struct http_request *r, enum change_kind kind)
{
    struct change *c = calloc(1, sizeof *c);
    BUG_ON(c == NULL);
    c->kind = kind;
    c->request = r;
    c->api = r->app;
    return c;
}

/* What is there under this name becomes what it will be; false: answered. */
static bool
take_known(struct change *c)
{
    const struct credentials *cs = c->api->parts.credentials;
    const struct config_credential *cr = credential_by_user(cs, c->user);
    if (cr == NULL) {
        problem_say(c->request, 404, "not_found", "there is no such credential");
        return false;
    }
    bool freezes = c->kind == CHANGE_FREEZE || c->kind == CHANGE_UNFREEZE;
    c->is_of_file = credential_is_of_file(cs, cr);
    if (c->is_of_file && !freezes) {
        problem_say(c->request, 409, "kept_in_file",
                    "it stands in the configuration file: change that, and reload");
        return false;
    }
    c->credential = *cr;
    c->memory = config_hold(credential_memory(cs, cr));
    if (c->is_of_file)
        c->old = strdup(credential_is_marked(cs, cr->user) ? CREDENTIAL_MARK : "");
    BUG_ON(c->is_of_file ? c->old == NULL : !credential_record(cs, c->user, &c->old));
    if (freezes)
        c->credential.frozen = c->kind == CHANGE_FREEZE;
    return true;
}

static bool
take_new(struct change *c)
{
    if (credential_by_user(c->api->parts.credentials, c->user) == NULL)
        return true;
    problem_say(c->request, 409, "exists", "there is a credential with this user name");
    return false;
}

static void
on_refreshed(struct credentials_refresh_op *op)
{
    struct change *c = container_of(op, struct change, refresh);
    bool goes_on = false;
    if (!op->is_fresh)
        say_away(c->request, "the queue cannot be asked for it now: nothing is changed");
    else
        goes_on = c->kind == CHANGE_CREATE ? take_new(c) : take_known(c);
    if (goes_on)
        begin(c);
    else
        change_free(c);
}

static void
change_start(struct change *c, struct slice user)
{
    c->user = user;
    c->refresh.done = on_refreshed;
    credentials_refresh_start(&c->refresh, c->api->parts.credentials);
}

/* A change of what the registry has. What the request holds goes with its client,
 * the change does not: it comes to its end unheard. */
static void
change_known(struct http_request *r, enum change_kind kind)
{
    struct slice user;
    if (!query_decode(r->path_arg, &r->arena, &user)) {
        problem_say(r, 404, "not_found", "there is no such credential");
        return;
    }
    struct change *c = change_new(r, kind);
    change_start(c, user);
}

void
credentials_remove(struct http_request *r)
{
    change_known(r, CHANGE_REMOVE);
}

void
credentials_rotate(struct http_request *r)
{
    change_known(r, CHANGE_ROTATE);
}

void
credentials_freeze(struct http_request *r)
{
    change_known(r, CHANGE_FREEZE);
}

void
credentials_unfreeze(struct http_request *r)
{
    change_known(r, CHANGE_UNFREEZE);
}

void
credentials_create(struct http_request *r)
{
    char why[256];
    struct field_errors errors;
    field_errors_init(&errors, &r->arena);
    json_t *root = reader_parse_object(buf_slice(&r->body), why, sizeof why);
    if (root == NULL) {
        problem_say(r, 400, "bad_json", why);
        return;
    }
    struct change *c = change_new(r, CHANGE_CREATE);
    bool good = credential_draft_read(root, &errors, &c->credential);
    json_decref(root);
    if (good) {
        change_start(c, slice_str(c->credential.user));
        return;
    }
    problem_respond(r, &(struct problem){.status = 422,
                                         .code = "invalid",
                                         .detail = "the credential is not valid",
                                         .errors = &errors});
    change_free(c);
}
