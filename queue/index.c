#include "queue/index.h"

#include <string.h>

#include "queue/keys.h"

struct index_property
index_property(enum index_kind kind, struct slice tenant, struct slice text)
{
    struct index_property p = {.bytes = {(char)kind}};
    uint8_t digest[32];
    if (kind == INDEX_ALL)
        return p;
    if (kind == INDEX_SUBMITTER || kind == INDEX_RECIPIENT)
        tenant = SLICE_NONE;
    if (kind == INDEX_TENANT)
        text = SLICE_NONE;
    key_digest(tenant, text, digest);
    memcpy(p.bytes + 1, digest, INDEX_PROPERTY_BYTES - 1);
    return p;
}

static bool
add(struct buf *b, enum index_kind kind, struct slice tenant, struct slice text)
{
    struct index_property p = index_property(kind, tenant, text);
    return buf_add(b, slice_from(p.bytes, sizeof p.bytes));
}

bool
index_add_properties(struct buf *b, const struct queue_message *m)
{
    bool ok = add(b, INDEX_ALL, SLICE_NONE, SLICE_NONE) &&
              add(b, INDEX_TENANT, m->tenant, SLICE_NONE) &&
              (m->submitter.n == 0 || add(b, INDEX_SUBMITTER, SLICE_NONE, m->submitter));
    for (unsigned i = 0; i < m->delivery_count; i++)
        for (unsigned j = 0; ok && j < m->deliveries[i].target_count; j++) {
            struct slice address = m->deliveries[i].targets[j].address;
            ok = add(b, INDEX_RECIPIENT, SLICE_NONE, address) &&
                 add(b, INDEX_TENANT_RECIPIENT, m->tenant, address);
        }
    return ok;
}

void
index_add_bound(struct buf *b, char open, const struct index_property *p, struct msg_id id)
{
    buf_add_char(b, open);
    buf_add(b, slice_from(p->bytes, sizeof p->bytes));
    buf_add(b, slice_from(id.b, sizeof id.b));
}

bool
index_member_id(struct slice member, const struct index_property *p, struct msg_id *id)
{
    if (member.n != INDEX_MEMBER_BYTES || memcmp(member.p, p->bytes, sizeof p->bytes) != 0)
        return false;
    memcpy(id->b, member.p + INDEX_PROPERTY_BYTES, sizeof id->b);
    return true;
}
