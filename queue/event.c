#include "queue/event.h"

#include <stdlib.h>

#include "relay/sys/base/log.h"

enum { PAGE = 64, EVENT_ID_MAX = 64, EVENT_NAME_MAX = 128, DELIVERY_MAX = 16 };

/* A command that nobody waits for. */
struct ack {
    struct link_cmd cmd;
};

static void
on_acked(struct link_cmd *c)
{
    free(container_of(c, struct ack, cmd)); /* what was not removed comes once more */
}

void
event_flush_acks(struct partition *p)
{
    if (p->acks.len == 0)
        return;
    struct ack *ack = calloc(1, sizeof *ack);
    BUG_ON(ack == NULL);
    struct key out = key_of_part(p->number, KEY_OUT);
    queue_cmd_init(&ack->cmd, p->q, p->number, on_acked);
    link_cmd_plain(&ack->cmd, "XDEL");
    link_arg(&ack->cmd, key_slice(&out));
    struct slice ids = buf_slice(&p->acks);
    while (ids.n > 0)
        link_arg(&ack->cmd, slice_cut_at(&ids, ' '));
    buf_clear(&p->acks);
    link_cmd_start(&ack->cmd);
}

void
event_deliver(struct partition *p, struct slice stream_id, struct slice event)
{
    if (stream_id.n == 0 || stream_id.n > EVENT_ID_MAX)
        return;
    struct buf id;
    buf_init(&id, EVENT_NAME_MAX);
    buf_addf(&id, "%u-%.*s", p->number, SLICE_FMT(stream_id));
    p->q->consumer->on_event(p->q->consumer, buf_slice(&id), event);
    buf_fini(&id);
    if (buf_room(&p->acks) <= stream_id.n)
        event_flush_acks(p);
    buf_add(&p->acks, stream_id);
    buf_add_char(&p->acks, ' ');
}

struct left {
    struct link_cmd cmd;
    struct partition *p;
};

static void read_page(struct left *left, struct slice after);

/* An entry is [id, [field, value]]. */
static void
on_page(struct link_cmd *c)
{
    struct left *left = container_of(c, struct left, cmd);
    size_t n = c->outcome == LINK_ANSWERED ? resp_count(c->reply) : 0;
    for (size_t i = 0; i < n; i++) {
        const struct redisReply *entry = resp_at(c->reply, i);
        event_deliver(left->p, resp_text(resp_at(entry, 0)),
                      resp_text(resp_at(resp_at(entry, 1), 1)));
    }
    if (n < PAGE) {
        event_flush_acks(left->p);
        free(left);
        return;
    }
    read_page(left, resp_text(resp_at(resp_at(c->reply, n - 1), 0)));
}

static void
read_page(struct left *left, struct slice after)
{
    struct partition *p = left->p;
    struct key out = key_of_part(p->number, KEY_OUT);
    struct buf from;
    buf_init(&from, EVENT_NAME_MAX);
    buf_addf(&from, "%s%.*s", after.n > 0 ? "(" : "-", SLICE_FMT(after));
    queue_cmd_init(&left->cmd, p->q, p->number, on_page);
    link_cmd_plain(&left->cmd, "XRANGE");
    link_arg(&left->cmd, key_slice(&out));
    link_arg(&left->cmd, buf_slice(&from));
    link_arg_str(&left->cmd, "+");
    link_arg_str(&left->cmd, "COUNT");
    link_arg_int(&left->cmd, PAGE);
    buf_fini(&from);
    link_cmd_start(&left->cmd);
}

void
event_read_left(struct partition *p)
{
    struct left *left = calloc(1, sizeof *left);
    BUG_ON(left == NULL);
    left->p = p;
    read_page(left, SLICE_NONE);
}

void
event_describe(struct buf *b, const char *name, struct slice member)
{
    struct slice rest = member;
    buf_add_str(b, "{\"event\":");
    json_add_string(b, slice_str(name));
    buf_add_str(b, ",\"id\":");
    json_add_string(b, slice_cut(&rest, ID_TEXT_BYTES));
    buf_add_str(b, ",\"delivery\":");
    rest = slice_skip(rest, 1);
    json_add_string(b, slice_cut(&rest, DELIVERY_MAX)); /* a broken name may be any length */
    buf_add_char(b, '}');
}
