#include "api/message.h"

#include <stdio.h>
#include <stdlib.h>

#include "api/draft.h"
#include "api/json/reader.h"
#include "api/mime.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"

void
message_setup(void)
{
    mime_setup();
}

void
message_init(struct message *m, struct slice json, size_t bytes_max)
{
    *m = (struct message){.json = json, .bytes_max = bytes_max};
    arena_init(&m->arena, API_MESSAGE_ARENA_MAX);
    buf_init(&m->mime, 0);
    field_errors_init(&m->errors, &m->arena);
}

void
message_fini(struct message *m)
{
    buf_fini(&m->mime);
    arena_fini(&m->arena);
}

static enum message_result
fail(struct message *m, enum message_result result, const char *detail)
{
    snprintf(m->detail, sizeof m->detail, "%s", detail);
    return result;
}

/* What the parts need at least, so that nothing is built that is too large. */
static size_t
least_bytes(const struct draft *d)
{
    size_t n = d->text.n + d->html.n;
    for (unsigned i = 0; i < d->attachment_count; i++)
        n += d->attachments[i].content.len / 3 * 4;
    return n;
}

static enum message_result
build(struct message *m, struct draft *d)
{
    if (m->errors.total > 0)
        return fail(m, MESSAGE_INVALID, "some fields are not valid");
    if (d->no_room)
        return fail(m, MESSAGE_TOO_LARGE, "the addresses and names are too long together");
    if (least_bytes(d) > m->bytes_max || !mime_build(d, &m->mime) || m->mime.len > m->bytes_max)
        return fail(m, MESSAGE_TOO_LARGE, "the message is larger than is accepted");
    m->from = d->lists[DRAFT_FROM].v[0].address;
    m->from_domain = d->lists[DRAFT_FROM].v[0].domain;
    m->recipients = d->recipients;
    m->recipient_count = d->recipient_count;
    m->smtputf8 = d->smtputf8;
    m->send_at_unix_ms = d->wishes.send_at_unix_ms;
    m->expires_unix_ms = d->wishes.expires_unix_ms;
    m->klass = d->wishes.klass;
    m->tags = d->wishes.tags;
    m->metadata = d->wishes.metadata;
    return MESSAGE_OK;
}

void
message_compile_object(struct message *m, json_t *object)
{
    struct draft *d = calloc(1, sizeof *d);
    BUG_ON(d == NULL);
    d->arena = &m->arena;
    d->errors = &m->errors;
    d->wishes.now_unix_ms = m->now_unix_ms;
    draft_read(d, object);
    m->result = build(m, d);
    draft_fini(d);
    free(d);
}

void
message_fill(struct message *m, struct submit_op *op)
{
    op->envelope.reverse_path = m->from;
    op->envelope.smtputf8 = m->smtputf8;
    op->envelope.send_at_unix_ms = m->send_at_unix_ms;
    op->envelope.tags = m->tags;
    op->envelope.metadata = m->metadata;
    op->reverse_domain = m->from_domain;
    op->recipients = m->recipients;
    op->recipient_count = m->recipient_count;
    op->expires_unix_ms = m->expires_unix_ms;
    op->klass = m->klass;
    op->message = blob_take_buf(&m->mime);
}

void
message_compile(struct message *m)
{
    json_t *root = reader_parse_object(m->json, m->detail, sizeof m->detail);
    if (root == NULL) {
        m->result = MESSAGE_NOT_JSON;
        return;
    }
    message_compile_object(m, root);
    json_decref(root);
}
