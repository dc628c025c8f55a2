#include "queue/record.h"

#include <string.h>

#include "relay/sys/base/limits.h"
#include "relay/sys/net/frame.h"

static bool
add_u8(struct buf *b, unsigned v)
{
    return buf_add_char(b, (char)v);
}

static bool
cut_u8(struct slice *in, unsigned *out)
{
    if (in->n < 1)
        return false;
    *out = (uint8_t)slice_cut(in, 1).p[0];
    return true;
}

/* A byte that must be below `bound`. */
static bool
cut_below(struct slice *in, unsigned bound, unsigned *out)
{
    struct slice s = *in;
    if (!cut_u8(&s, out) || *out >= bound)
        return false;
    *in = s;
    return true;
}

static bool
cut_flag(struct slice *in, bool *out)
{
    unsigned v;
    if (!cut_below(in, 2, &v))
        return false;
    *out = v == 1;
    return true;
}

static bool
cut_version(struct slice *in)
{
    unsigned v = 0;
    return cut_u8(in, &v) && v == RECORD_VERSION;
}

static bool
cut_fixed(struct slice *in, void *out, size_t n)
{
    if (in->n < n)
        return false;
    memcpy(out, slice_cut(in, n).p, n);
    return true;
}

static bool
cut_time(struct slice *in, int64_t *out)
{
    uint64_t v;
    if (!frame_cut_u64(in, &v) || v > INT64_MAX)
        return false;
    *out = (int64_t)v;
    return true;
}

static bool
add_time(struct buf *b, int64_t v)
{
    return frame_add_u64(b, v > 0 ? (uint64_t)v : 0);
}

static bool
cut_field(struct slice *in, size_t max, struct slice *out)
{
    return frame_cut_bytes(in, out) && out->n <= max;
}

/* ---- message: version, class, flags, id, created, size, stored, chunks,
 *      deliveries, tenant, envelope; from version 2 submitter ----------------- */

bool
record_add_message(struct buf *b, const struct queue_message *m, const struct record_body *body)
{
    return m->submitter.n <= QUEUE_SUBMITTER_MAX && add_u8(b, RECORD_MESSAGE_VERSION) &&
           add_u8(b, (unsigned)m->klass) && add_u8(b, body->compressed) &&
           buf_add(b, slice_from(m->id.b, sizeof m->id.b)) && add_time(b, m->created_unix_ms) &&
           frame_add_u64(b, m->size_bytes) && frame_add_u64(b, body->stored_bytes) &&
           frame_add_u32(b, body->chunks) && frame_add_u32(b, m->delivery_count) &&
           frame_add_bytes(b, m->tenant) && frame_add_bytes(b, m->envelope) &&
           frame_add_bytes(b, m->submitter);
}

static bool
body_is_plausible(const struct record_body *body, uint64_t size_bytes)
{
    uint64_t chunks = (body->stored_bytes + QUEUE_CHUNK_BYTES - 1) / QUEUE_CHUNK_BYTES;
    if (size_bytes > QUEUE_BULK_REPLY_MAX || body->stored_bytes > QUEUE_BULK_REPLY_MAX)
        return false;
    return body->chunks == chunks && (body->compressed || body->stored_bytes == size_bytes);
}

bool
record_read_message(struct slice rec, struct queue_message *m, struct record_body *body)
{
    struct queue_message out = {.deliveries = m->deliveries};
    struct record_body stored;
    unsigned version, klass;
    uint32_t deliveries;
    bool ok = cut_below(&rec, RECORD_MESSAGE_VERSION + 1, &version) && version > 0 &&
              cut_below(&rec, QUEUE_BULK + 1, &klass) && cut_flag(&rec, &stored.compressed) &&
              cut_fixed(&rec, out.id.b, sizeof out.id.b) && cut_time(&rec, &out.created_unix_ms) &&
              frame_cut_u64(&rec, &out.size_bytes) && frame_cut_u64(&rec, &stored.stored_bytes) &&
              frame_cut_u32(&rec, &stored.chunks) && frame_cut_u32(&rec, &deliveries) &&
              cut_field(&rec, QUEUE_FIELD_MAX, &out.tenant) &&
              cut_field(&rec, QUEUE_FIELD_MAX, &out.envelope) &&
              (version == 1 || cut_field(&rec, QUEUE_SUBMITTER_MAX, &out.submitter)) && rec.n == 0;
    if (!ok || deliveries > QUEUE_DELIVERIES_MAX || !body_is_plausible(&stored, out.size_bytes))
        return false;
    out.klass = (enum queue_class)klass;
    out.delivery_count = deliveries;
    *m = out;
    *body = stored;
    return true;
}

/* ---- delivery: version, revision, finished, due, expires, attempts, crashes,
 *      next hop, targets ------------------------------------------------------ */

enum { TARGET_UNCERTAIN = 1, TARGET_DELAY_TOLD = 2, TARGET_FLAGS_END = 4 };

static bool
add_target(struct buf *b, const struct queue_target *t)
{
    unsigned flags =
        (t->uncertain ? TARGET_UNCERTAIN : 0u) | (t->delay_told ? TARGET_DELAY_TOLD : 0u);
    return add_u8(b, (unsigned)t->state) && add_u8(b, flags) && frame_add_u32(b, t->attempts) &&
           frame_add_bytes(b, t->address) && frame_add_bytes(b, t->options) &&
           frame_add_bytes(b, t->reply);
}

static bool
cut_target(struct slice *in, struct queue_target *t)
{
    unsigned state, flags = 0;
    bool ok =
        cut_below(in, QUEUE_CANCELLED + 1, &state) && cut_below(in, TARGET_FLAGS_END, &flags) &&
        frame_cut_u32(in, &t->attempts) && cut_field(in, QUEUE_FIELD_MAX, &t->address) &&
        cut_field(in, QUEUE_FIELD_MAX, &t->options) && cut_field(in, QUEUE_FIELD_MAX, &t->reply);
    t->state = ok ? (enum queue_state)state : QUEUE_QUEUED;
    t->uncertain = flags & TARGET_UNCERTAIN;
    t->delay_told = flags & TARGET_DELAY_TOLD;
    return ok;
}

bool
record_add_delivery(struct buf *b, const struct queue_delivery *d, uint64_t revision)
{
    bool ok = add_u8(b, RECORD_VERSION) && frame_add_u64(b, revision) &&
              add_u8(b, record_is_finished(d)) && add_time(b, d->due_unix_ms) &&
              add_time(b, d->expires_unix_ms) && frame_add_u32(b, d->attempts) &&
              frame_add_u32(b, d->crashes) && frame_add_bytes(b, d->next_hop) &&
              frame_add_u32(b, d->target_count);
    for (unsigned i = 0; ok && i < d->target_count; i++)
        ok = add_target(b, &d->targets[i]);
    return ok;
}

static bool
cut_targets(struct slice *in, struct arena *a, struct queue_delivery *d)
{
    d->targets = arena_alloc(a, (d->target_count > 0 ? d->target_count : 1) * sizeof *d->targets);
    bool ok = d->targets != NULL;
    for (unsigned i = 0; ok && i < d->target_count; i++)
        ok = cut_target(in, &d->targets[i]);
    return ok && in->n == 0;
}

bool
record_read_delivery(struct slice rec, struct arena *a, struct queue_delivery *d)
{
    struct queue_delivery out = {.index = d->index};
    bool finished;
    bool ok = cut_version(&rec) && frame_cut_u64(&rec, &out.revision) &&
              cut_flag(&rec, &finished) && cut_time(&rec, &out.due_unix_ms) &&
              cut_time(&rec, &out.expires_unix_ms) && frame_cut_u32(&rec, &out.attempts) &&
              frame_cut_u32(&rec, &out.crashes) &&
              cut_field(&rec, ADDRESS_DOMAIN_MAX, &out.next_hop) &&
              frame_cut_u32(&rec, &out.target_count) && out.target_count <= QUEUE_TARGETS_MAX &&
              cut_targets(&rec, a, &out);
    if (!ok || finished != record_is_finished(&out))
        return false;
    *d = out;
    return true;
}

void
record_put_revision(uint64_t revision, char out[RECORD_REVISION_BYTES])
{
    for (int i = 0; i < RECORD_REVISION_BYTES; i++)
        out[i] = (char)(revision >> (56 - 8 * i));
}

bool
record_is_finished(const struct queue_delivery *d)
{
    for (unsigned i = 0; i < d->target_count; i++)
        if (!queue_state_is_terminal(d->targets[i].state))
            return false;
    return true;
}

bool
record_is_held(const struct queue_delivery *d)
{
    for (unsigned i = 0; i < d->target_count; i++)
        if (d->targets[i].state == QUEUE_HELD)
            return true;
    return false;
}

bool
record_is_schedulable(const struct queue_delivery *d)
{
    for (unsigned i = 0; i < d->target_count; i++)
        if (d->targets[i].state == QUEUE_QUEUED || d->targets[i].state == QUEUE_DEFERRED)
            return true;
    return false;
}

/* ---- attempt: version, id, owner, epoch, revision, started; from version 2 the
 *      lane, up to the end ---------------------------------------------------- */

bool
record_add_attempt(struct buf *b, const struct record_attempt *a)
{
    return add_u8(b, RECORD_ATTEMPT_VERSION) && buf_add(b, slice_from(a->id, sizeof a->id)) &&
           buf_add(b, slice_from(a->owner, sizeof a->owner)) && frame_add_u64(b, a->epoch) &&
           frame_add_u64(b, a->revision) && add_time(b, a->started_unix_ms) && buf_add(b, a->lane);
}

bool
record_read_attempt(struct slice rec, struct record_attempt *a)
{
    struct record_attempt out;
    unsigned version;
    bool ok = cut_below(&rec, RECORD_ATTEMPT_VERSION + 1, &version) && version > 0 &&
              cut_fixed(&rec, out.id, sizeof out.id) &&
              cut_fixed(&rec, out.owner, sizeof out.owner) && frame_cut_u64(&rec, &out.epoch) &&
              frame_cut_u64(&rec, &out.revision) && cut_time(&rec, &out.started_unix_ms) &&
              rec.n <= (version == 1 ? 0 : RECORD_ATTEMPT_MAX - RECORD_ATTEMPT_BYTES);
    out.lane = rec;
    if (ok)
        *a = out;
    return ok;
}

/* ---- debt: version, delivery, count, targets ------------------------------- */

static uint32_t
debt_of(const struct queue_delivery *d, unsigned target)
{
    bool waiting = !queue_state_is_terminal(d->targets[target].state);
    return target | (waiting ? RECORD_DEBT_WAITING : 0u);
}

bool
record_add_debt(struct buf *b, unsigned delivery, const struct queue_delivery *d, const bool *owed)
{
    unsigned count = 0;
    for (unsigned i = 0; i < d->target_count; i++)
        count += owed[i];
    bool ok = add_u8(b, RECORD_VERSION) && frame_add_u32(b, delivery) && frame_add_u32(b, count);
    for (unsigned i = 0; ok && i < d->target_count; i++)
        if (owed[i])
            ok = frame_add_u32(b, debt_of(d, i));
    return ok;
}

bool
record_read_debt(struct slice rec, struct arena *a, unsigned *delivery, uint32_t **targets,
                 unsigned *count)
{
    uint32_t index, n;
    bool ok = cut_version(&rec) && frame_cut_u32(&rec, &index) && frame_cut_u32(&rec, &n) &&
              index < QUEUE_DELIVERIES_MAX && n > 0 && n <= QUEUE_TARGETS_MAX &&
              rec.n == (size_t)n * 4u;
    uint32_t *list = ok ? arena_alloc(a, n * sizeof *list) : NULL;
    if (list == NULL)
        return false;
    for (unsigned i = 0; i < n; i++)
        if (!frame_cut_u32(&rec, &list[i]) ||
            (list[i] & ~(uint32_t)RECORD_DEBT_WAITING) >= QUEUE_TARGETS_MAX)
            return false;
    *delivery = index;
    *targets = list;
    *count = n;
    return true;
}

/* ---- merge ----------------------------------------------------------------- */

static bool
same_targets(const struct queue_delivery *a, const struct queue_delivery *b)
{
    if (a->target_count != b->target_count)
        return false;
    for (unsigned i = 0; i < a->target_count; i++)
        if (!slice_eq(a->targets[i].address, b->targets[i].address))
            return false;
    return true;
}

/* Returns whether both knew a terminal state. */
static bool
merge_target(struct queue_target *current, struct queue_target *mine, bool old, struct slice reply)
{
    bool decided = queue_state_is_terminal(current->state);
    bool fact = !old && queue_state_is_terminal(mine->state);
    current->uncertain |= mine->uncertain;
    if (mine->attempts > current->attempts)
        current->attempts = mine->attempts;
    bool delay_only = !queue_state_is_terminal(mine->state);
    if (decided || (delay_only && current->delay_told))
        mine->notice_owed = false;
    current->delay_told |= mine->delay_told;
    if (decided && fact) {
        current->uncertain = true;
        return true;
    }
    if (!decided && fact) {
        current->state = mine->state;
        current->reply = reply;
    }
    return false;
}

int
record_merge(struct queue_delivery *current, struct queue_delivery *mine, const bool *old,
             struct arena *a)
{
    if (!same_targets(current, mine))
        return -1;
    int twice = 0;
    for (unsigned i = 0; i < current->target_count; i++) {
        struct slice reply;
        if (!arena_copy(a, mine->targets[i].reply, &reply))
            reply = SLICE_NONE; /* the fact matters more than its text */
        twice += merge_target(&current->targets[i], &mine->targets[i], old[i], reply);
    }
    if (mine->attempts > current->attempts)
        current->attempts = mine->attempts;
    return twice;
}
