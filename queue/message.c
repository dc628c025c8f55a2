#include "queue/message.h"

#include <string.h>

#include "relay/sys/base/limits.h"

struct reading {
    struct arena *arena;
    struct queue_message *m;
    bool *seen; /* per delivery */
    bool full;
};

struct slice
message_field(const struct redisReply *hash, const char *name)
{
    for (size_t i = 0; i + 1 < resp_count(hash); i += 2)
        if (resp_is(resp_at(hash, i), name))
            return resp_text(resp_at(hash, i + 1));
    return SLICE_NONE;
}

/* "<number>" below `bound` */
static bool
number_below(struct slice s, unsigned bound, unsigned *out)
{
    uint64_t v;
    if (!slice_to_u64(s, &v) || v >= bound)
        return false;
    *out = (unsigned)v;
    return true;
}

static bool
read_delivery(struct reading *r, unsigned n, struct slice record)
{
    struct slice copy;
    struct queue_delivery *d = &r->m->deliveries[n];
    if (!arena_copy(r->arena, record, &copy)) {
        r->full = true;
        return false;
    }
    d->index = n;
    r->seen[n] = record_read_delivery(copy, r->arena, d);
    return r->seen[n];
}

static bool
read_deliveries(struct reading *r, const struct redisReply *hash)
{
    unsigned n, count = 0;
    for (size_t i = 0; i + 1 < resp_count(hash); i += 2) {
        struct slice name = resp_text(resp_at(hash, i));
        if (name.n < 2 || name.p[0] != 'd')
            continue;
        if (!number_below(slice_skip(name, 1), r->m->delivery_count, &n) || r->seen[n] ||
            !read_delivery(r, n, resp_text(resp_at(hash, i + 1))))
            return false;
        count++;
    }
    return count == r->m->delivery_count;
}

/* "n<delivery>.<target>": id. One that does not fit is not worth the message. */
static void
read_notices(struct reading *r, const struct redisReply *hash)
{
    for (size_t i = 0; i + 1 < resp_count(hash); i += 2) {
        struct slice name = resp_text(resp_at(hash, i));
        unsigned n, t;
        if (name.n < 2 || name.p[0] != 'n')
            continue;
        struct slice rest = slice_skip(name, 1), first = slice_cut_at(&rest, '.');
        if (!number_below(first, r->m->delivery_count, &n) ||
            !number_below(rest, r->m->deliveries[n].target_count, &t))
            continue;
        struct queue_target *target = &r->m->deliveries[n].targets[t];
        target->has_notice_id = id_parse(resp_text(resp_at(hash, i + 1)), &target->notice_id);
    }
}

enum message_read
message_read(const struct redisReply *hash, struct arena *a, struct queue_message *m,
             struct record_body *body)
{
    struct slice record;
    if (resp_count(hash) == 0)
        return MESSAGE_ABSENT;
    if (!arena_copy(a, message_field(hash, "r"), &record))
        return MESSAGE_TOO_LARGE;
    *m = (struct queue_message){0};
    if (!record_read_message(record, m, body))
        return MESSAGE_BROKEN;
    size_t n = m->delivery_count > 0 ? m->delivery_count : 1;
    struct reading r = {.arena = a, .m = m, .seen = arena_alloc(a, n)};
    m->deliveries = arena_alloc(a, n * sizeof *m->deliveries);
    if (m->deliveries == NULL || r.seen == NULL)
        return MESSAGE_TOO_LARGE;
    if (!read_deliveries(&r, hash))
        return r.full ? MESSAGE_TOO_LARGE : MESSAGE_BROKEN;
    read_notices(&r, hash);
    return MESSAGE_OK;
}
