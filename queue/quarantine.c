#include "queue/quarantine.h"

#include <stdlib.h>

#include "queue/event.h"
#include "relay/sys/base/log.h"
#include "relay/sys/base/metrics.h"

struct quarantine {
    struct link_cmd cmd;
    struct partition *p;
    struct buf event;
};

static void
on_done(struct link_cmd *c)
{
    struct quarantine *x = container_of(c, struct quarantine, cmd);
    if (c->outcome == LINK_ANSWERED && resp_is(resp_at(c->reply, 0), "OK")) {
        metrics_add(METRIC_QUARANTINED, 1);
        event_deliver(x->p, resp_text(resp_at(c->reply, 1)), buf_slice(&x->event));
    } else if (c->outcome == LINK_REFUSED) {
        struct err err;
        link_cmd_explain(c, &err);
        LOG(LOG_ERROR, "queue.quarantine.failed", LF_U("partition", x->p->number), LF_ERR(&err));
    }
    buf_fini(&x->event);
    free(x);
}

static void
add_keys(struct link_cmd *c, const struct partition *p, struct slice lane)
{
    static const enum key_part REST[] = {KEY_DUE,  KEY_INFLIGHT, KEY_NDR,
                                         KEY_STAT, KEY_OUT,      KEY_LANES};
    struct key bad = key_of_part(p->number, KEY_BAD);
    struct key queue = key_of_queue(p->number, lane);
    link_arg(c, key_slice(&bad));
    link_arg(c, key_slice(&queue));
    for (size_t i = 0; i < ARRAY_LEN(REST); i++) {
        struct key k = key_of_part(p->number, REST[i]);
        link_arg(c, key_slice(&k));
    }
}

void
quarantine_entry(struct partition *p, struct slice name, struct slice record, struct slice lane)
{
    struct quarantine *x = calloc(1, sizeof *x);
    BUG_ON(x == NULL);
    LOG(LOG_ERROR, "queue.record.broken", LF_U("partition", p->number), LF_S("name", name));
    x->p = p;
    buf_init(&x->event, KEY_BYTES_MAX);
    event_describe(&x->event, "queue.quarantined", name);
    queue_cmd_init(&x->cmd, p->q, p->number, on_done);
    x->cmd.sticky = true;
    link_cmd_script(&x->cmd, SCRIPT_CALL_QUARANTINE, 8);
    add_keys(&x->cmd, p, lane);
    link_arg(&x->cmd, name);
    link_arg(&x->cmd, record);
    link_arg(&x->cmd, lane);
    link_arg(&x->cmd, buf_slice(&x->event));
    link_cmd_start(&x->cmd);
}
