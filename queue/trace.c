#include "queue/trace.h"

#include "relay/sys/base/limits.h"
#include "relay/sys/net/frame.h"

enum {
    VERSION = 1,
    ENTRY_BYTES = 6, /* without a reply */
    FLAG_UNCERTAIN = 1,
    FLAG_REPLY = 2, /* follows */
    FLAG_SAME = 4,  /* as the entry before */
};

void
trace_begin(struct trace_writer *w, struct buf *b, const struct trace_record *r,
            unsigned entries_max)
{
    *w = (struct trace_writer){.b = b, .left = entries_max};
    buf_add_char(b, VERSION);
    frame_add_u64(b, (uint64_t)r->at_unix_ms);
    frame_add_u64(b, (uint64_t)r->retry_at_unix_ms);
    frame_add_u32(b, r->delivery);
    frame_add_u32(b, r->attempt);
}

void
trace_add(struct trace_writer *w, enum queue_event_kind kind, unsigned target,
          const struct queue_target *t)
{
    unsigned flags = t->uncertain ? FLAG_UNCERTAIN : 0;
    size_t others = w->left > 0 ? (size_t)--w->left * ENTRY_BYTES : 0;
    if (t->reply.n > 0 && slice_eq(t->reply, w->last))
        flags |= FLAG_SAME;
    else if (t->reply.n > 0 && buf_room(w->b) >= ENTRY_BYTES + 4 + t->reply.n + others)
        flags |= FLAG_REPLY;
    buf_add_char(w->b, (char)kind);
    buf_add_char(w->b, (char)flags);
    frame_add_u32(w->b, target);
    if ((flags & FLAG_REPLY) != 0) {
        frame_add_bytes(w->b, t->reply);
        w->last = t->reply;
    }
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

bool
trace_cut_record(struct slice *trace, struct trace_record *r, struct slice *entries)
{
    struct slice rec;
    struct trace_record out;
    if (!frame_cut_bytes(trace, &rec) || rec.n == 0 || slice_cut(&rec, 1).p[0] != VERSION)
        return false;
    if (!cut_time(&rec, &out.at_unix_ms) || !cut_time(&rec, &out.retry_at_unix_ms) ||
        !frame_cut_u32(&rec, &out.delivery) || !frame_cut_u32(&rec, &out.attempt))
        return false;
    *r = out;
    *entries = rec;
    return true;
}

bool
trace_cut_entry(struct slice *entries, struct trace_entry *e)
{
    struct slice in = *entries;
    struct trace_entry out = {.last = e->last};
    if (in.n < ENTRY_BYTES)
        return false;
    unsigned kind = (uint8_t)slice_cut(&in, 1).p[0], flags = (uint8_t)slice_cut(&in, 1).p[0];
    if (kind >= QUEUE_EVENT_KINDS || flags > (FLAG_UNCERTAIN | FLAG_REPLY | FLAG_SAME) ||
        !frame_cut_u32(&in, &out.target) ||
        ((flags & FLAG_REPLY) != 0 && !frame_cut_bytes(&in, &out.reply)))
        return false;
    if ((flags & FLAG_SAME) != 0)
        out.reply = e->last;
    else if ((flags & FLAG_REPLY) != 0)
        out.last = out.reply;
    out.kind = (enum queue_event_kind)kind;
    out.uncertain = (flags & FLAG_UNCERTAIN) != 0;
    *entries = in;
    *e = out;
    return true;
}
