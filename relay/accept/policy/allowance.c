#include "relay/accept/policy/allowance.h"

#include <inttypes.h>
#include <limits.h>

bool
policy_allowance_of(const struct config_credential *cr, struct queue_allowance *out)
{
    *out = (struct queue_allowance){.rate = cr->rate.count,
                                    .per_ms = cr->rate.per_ms,
                                    .daily = cr->daily,
                                    .fresh = cr->new_recipients};
    return out->rate > 0 || out->daily > 0 || out->fresh > 0;
}

/* New recipients do not count: the same message may have none. */
unsigned
policy_allowance_recipients_max(const struct config_credential *cr)
{
    unsigned most = UINT_MAX;
    if (cr->rate.count > 0)
        most = cr->rate.count;
    if (cr->daily > 0 && cr->daily < most)
        most = cr->daily;
    return most;
}

const char *
policy_allowance_name(enum queue_allow_result over)
{
    return over == QUEUE_OVER_RATE ? "rate" : over == QUEUE_OVER_DAILY ? "daily" : "new";
}

static const char *
period_name(uint64_t per_ms)
{
    return per_ms == 1000 ? "a second" : per_ms == 60000 ? "a minute" : "an hour";
}

void
policy_allowance_explain(const struct config_credential *cr, const struct queue_allow_op *op,
                         struct buf *out)
{
    uint64_t wait_s = (op->wait_ms + 999) / 1000;
    if (op->result == QUEUE_OVER_RATE)
        buf_addf(out, "more than %u recipients %s", cr->rate.count, period_name(cr->rate.per_ms));
    else if (op->result == QUEUE_OVER_DAILY)
        buf_addf(out, "more than %u recipients a day", cr->daily);
    else
        buf_addf(out, "more than %u new recipients a day", cr->new_recipients);
    buf_addf(out, ": try again in %" PRIu64 " s", wait_s);
}
