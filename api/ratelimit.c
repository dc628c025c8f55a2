#include "api/ratelimit.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { DAY_S = 86400 };

/* One member of a list (RFC 8941 3.1), with two parameters of one letter each. */
static void
add(char out[128], const char *name, const char letters[2], uint64_t first, uint64_t second)
{
    size_t n = strlen(out);
    snprintf(out + n, 128 - n, "%s\"%s\";%c=%" PRIu64 ";%c=%" PRIu64, n > 0 ? ", " : "", name,
             letters[0], first, letters[1], second);
}

static void
add_limits(struct ratelimit *r, const struct config_credential *cr)
{
    if (cr->rate.count > 0)
        add(r->policy, "rate", "qw", cr->rate.count, cr->rate.per_ms / 1000);
    if (cr->daily > 0)
        add(r->policy, "daily", "qw", cr->daily, DAY_S);
    if (cr->new_recipients > 0)
        add(r->policy, "new", "qw", cr->new_recipients, DAY_S);
}

/* How many new recipients are left is not told: who tries out addresses would
 * learn which ones were written to before. */
static void
add_left(struct ratelimit *r, const struct submit_op *op)
{
    const struct submit_allowance *a = &op->allowance;
    if (op->result == SUBMIT_RATE) {
        add(r->left, a->over, "rt", 0, a->retry_after_s);
        return;
    }
    if (a->known && op->credential->rate.count > 0)
        add(r->left, "rate", "rt", a->rate_left, a->rate_full_s);
    if (a->known && op->credential->daily > 0)
        add(r->left, "daily", "rt", a->daily_left, a->daily_reset_s);
}

void
ratelimit_make(struct ratelimit *out, const struct submit_op *op)
{
    *out = (struct ratelimit){.count = 0};
    add_limits(out, op->credential);
    add_left(out, op);
    if (out->policy[0] != '\0')
        out->fields[out->count++] =
            (struct head_field){SLICE("RateLimit-Policy"), slice_str(out->policy)};
    if (out->left[0] != '\0')
        out->fields[out->count++] = (struct head_field){SLICE("RateLimit"), slice_str(out->left)};
}
