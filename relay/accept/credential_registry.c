/*
 * Happy path: a timer asks for the generation; when it is another one all records
 * come, and become a struct config of their own, whose generation sessions and
 * requests hold like that of the file. Who waits for an answer gets that of the
 * next question: the one under way may have been asked too early.
 *
 * Ways it ends: Redis is away: what is known stays in force; when nothing is, it is
 * asked again soon, since nobody can log in before (credentials_are_known()). A record that cannot
 * be read is left out and logged; the others are taken.
 */
#include "relay/accept/credential_registry.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "queue/registry.h"
#include "relay/accept/credential_internal.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/log.h"
#include "relay/sys/config/credential_record.h"

struct credential_registry {
    struct credentials *cs;
    struct queue *queue;
    struct timer poll;
    struct queue_registry_read_op read;
    bool reading, again, closed;
    int64_t generation; /* -1: none was read yet */
    json_t *coming;     /* records of the answer */
    json_t *marks;      /* of the answer, by user */
    struct list asked;  /* waiting for the question under way */
    struct list to_ask; /* for the one after it */
};

/* ---- one record ------------------------------------------------------------- */

static bool
is_list_of_strings(json_t *v)
{
    size_t i;
    json_t *e;
    json_array_foreach(v, i, e) if (!json_is_string(e)) return false;
    return json_is_array(v);
}

/* Whoever can write to Redis could write anything. */
static json_t *
parse_record(struct slice name, struct slice value)
{
    struct err err = {0};
    json_t *o = json_loadb(value.p, value.n, JSON_REJECT_DUPLICATES, NULL);
    bool whole = is_list_of_strings(json_object_get(o, "senders")) &&
                 is_list_of_strings(json_object_get(o, "networks")) &&
                 is_list_of_strings(json_object_get(o, "recipients")) &&
                 json_is_integer(json_object_get(o, "class"));
    json_t *alone = whole ? json_pack("[O]", o) : NULL;
    const struct config *c = alone != NULL ? config_read_credentials(alone, &err) : NULL;
    if (c != NULL && slice_eq(slice_str(c->credentials[0].user), name)) {
        config_free(c);
        return o;
    }
    config_free(c);
    json_decref(o);
    LOG(LOG_ERROR, "credential.record-broken", LF_S("user", name), LF_ERR(&err));
    return NULL;
}

static char *
text_of(json_t *record)
{
    char *text = json_dumps(record, JSON_COMPACT | JSON_SORT_KEYS);
    BUG_ON(text == NULL);
    return text;
}

char *
credential_record_text(const struct config_credential *cr)
{
    json_t *o = config_credential_to_json(cr);
    char *text = text_of(o);
    json_decref(o);
    return text;
}

bool
credential_record(const struct credentials *cs, struct slice user, char **text)
{
    const struct config_credential *cr =
        cs->held != NULL ? config_credential_by_user(cs->held, user) : NULL;
    if (cr == NULL)
        return false;
    *text = credential_record_text(cr);
    return true;
}

/* ---- marks ------------------------------------------------------------------- */

void
credential_mark_name(struct slice user, struct buf *name)
{
    buf_add(name, slice_from("", 1));
    buf_add(name, user);
}

bool
credential_is_marked(const struct credentials *cs, const char *user)
{
    return json_object_get(cs->marks, user) != NULL;
}

static bool
is_mark(struct slice name)
{
    return name.n > 0 && name.p[0] == '\0';
}

/* Whatever its value is: when in doubt, it is frozen. */
static void
take_mark(struct credential_registry *r, struct slice name)
{
    json_t *user = json_stringn(name.p + 1, name.n - 1);
    if (r->marks == NULL)
        r->marks = json_object();
    if (user == NULL || json_object_set_new(r->marks, json_string_value(user), json_true()) != 0)
        LOG(LOG_ERROR, "credential.mark-broken", LF_S("user", name));
    json_decref(user);
}

/* ---- reading ------------------------------------------------------------------ */

static void
on_each(struct queue_registry_read_op *op, struct slice name, struct slice value)
{
    struct credential_registry *r = container_of(op, struct credential_registry, read);
    if (is_mark(name)) {
        take_mark(r, name);
        return;
    }
    json_t *record = parse_record(name, value);
    if (r->coming == NULL)
        r->coming = json_array();
    if (record != NULL)
        json_array_append_new(r->coming, record);
}

static void
take_over(struct credential_registry *r)
{
    struct err err = {0};
    json_t *all = r->coming != NULL ? r->coming : json_array();
    r->coming = NULL;
    const struct config *fresh = config_read_credentials(all, &err);
    BUG_ON(fresh == NULL); /* each was read alone */
    const struct config *old = r->cs->held;
    r->cs->held = fresh;
    json_decref(r->cs->marks);
    r->cs->marks = r->marks;
    r->marks = NULL;
    r->generation = r->read.generation;
    config_free(old);
    LOG(LOG_INFO, "credential.registry-read", LF_U("generation", r->generation),
        LF_U("credentials", fresh->credential_count));
}

static void
registry_free(struct credential_registry *r)
{
    json_decref(r->coming);
    json_decref(r->marks);
    free(r);
}

static void
ask(struct credential_registry *r)
{
    r->reading = true;
    r->again = false;
    for (struct list_node *n; (n = list_pop(&r->to_ask)) != NULL;)
        list_push(&r->asked, n);
    r->read.kind = CREDENTIAL_KIND;
    r->read.known = r->generation;
    queue_registry_read_start(&r->read, r->queue);
}

static void
tell(struct list *waiting, bool is_fresh)
{
    for (struct list_node *n; (n = list_pop(waiting)) != NULL;) {
        struct credentials_refresh_op *op = container_of(n, struct credentials_refresh_op, waiting);
        op->is_fresh = is_fresh;
        op->done(op);
    }
}

static void
on_read(struct queue_registry_read_op *op)
{
    struct credential_registry *r = container_of(op, struct credential_registry, read);
    if (r->closed) {
        tell(&r->asked, false);
        registry_free(r);
        return;
    }
    if (op->err.code == ERR_NONE && op->generation != r->generation) {
        credential_use_dataset(r->cs, slice_str(op->dataset));
        take_over(r);
    }
    tell(&r->asked,
         op->err.code == ERR_NONE); /* still reading: who asks again waits for the next */
    r->reading = false;
    if (r->again)
        ask(r);
    else
        timer_start(&r->poll, r->generation < 0 ? CREDENTIAL_FIRST_POLL_MS : CREDENTIAL_POLL_MS);
}

static void
on_poll(struct timer *t)
{
    ask(container_of(t, struct credential_registry, poll));
}

void
credentials_refresh(struct credentials *cs)
{
    struct credential_registry *r = cs->registry;
    if (r == NULL)
        return;
    r->again = true; /* what is under way may be too old */
    if (!r->reading)
        timer_start(&r->poll, 0);
}

void
credentials_refresh_start(struct credentials_refresh_op *op, struct credentials *cs)
{
    list_node_init(&op->waiting);
    list_push(&cs->registry->to_ask, &op->waiting);
    credentials_refresh(cs);
}

struct credential_registry *
credential_registry_new(struct credentials *cs, struct queue *q)
{
    struct credential_registry *r = calloc(1, sizeof *r);
    BUG_ON(r == NULL);
    *r = (struct credential_registry){.cs = cs, .queue = q, .generation = -1};
    r->read.done = on_read;
    r->read.each = on_each;
    list_init(&r->asked);
    list_init(&r->to_ask);
    timer_init(&r->poll, cs->loop, on_poll);
    timer_start(&r->poll, 0);
    return r;
}

void
credential_registry_close(struct credential_registry *r)
{
    if (r == NULL)
        return;
    timer_cancel(&r->poll);
    r->closed = true;
    tell(&r->to_ask, false);
    if (r->reading)
        queue_registry_read_cancel(&r->read);
    else
        registry_free(r);
}

/* ---- all there are -------------------------------------------------------------- */

bool
credential_is_of_file(const struct credentials *cs, const struct config_credential *cr)
{
    const struct config_credential *first = cs->held != NULL ? cs->held->credentials : NULL;
    return first == NULL || cr < first || cr >= first + cs->held->credential_count;
}

struct config_generation *
credential_memory(const struct credentials *cs, const struct config_credential *cr)
{
    return credential_is_of_file(cs, cr) ? cs->config->memory : cs->held->memory;
}

const struct config_credential *
credential_at(const struct credentials *cs, unsigned i)
{
    if (i < cs->config->credential_count)
        return &cs->config->credentials[i];
    i -= cs->config->credential_count;
    return cs->held != NULL && i < cs->held->credential_count ? &cs->held->credentials[i] : NULL;
}
