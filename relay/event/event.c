#include "relay/event/event.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/log.h"
#include "relay/sys/base/metrics.h"
#include "relay/event/provider.h"

enum { AGE_MAX_MS = 1 << 30 }; /* 12 days: above the last bound of the histogram */

static const struct event_kind {
    const char *type; /* in the record */
    const char *log;  /* the log's event */
    enum log_level level;
    enum metric metric; /* METRIC_COUNT: none */
    bool by_provider;   /* the metric has a row for each */
    bool arrived;       /* counts for the time to delivery */
} kinds[EVENT_TYPES] = {
    [EVENT_SUCCEEDED] = {"delivery.succeeded", "delivery.delivered", LOG_NOTICE,
                         METRIC_ATTEMPTS_DELIVERED, true, true},
    [EVENT_DEFERRED] = {"delivery.deferred", "delivery.deferred", LOG_NOTICE,
                        METRIC_ATTEMPTS_DEFERRED, true, false},
    [EVENT_BOUNCED] = {"delivery.bounced", "delivery.bounced", LOG_NOTICE, METRIC_ATTEMPTS_BOUNCED,
                       true, false},
    [EVENT_EXPIRED] = {"delivery.expired", "delivery.expired", LOG_NOTICE, METRIC_EXPIRED, false,
                       false},
    [EVENT_UNCERTAIN] = {"delivery.uncertain", "delivery.uncertain", LOG_WARN, METRIC_UNCERTAIN,
                         false, false},
    [EVENT_HELD] = {"delivery.held", "delivery.held", LOG_WARN, METRIC_COUNT, false, false},
};

/* ---- writing ------------------------------------------------------------ */

static void
add_text(struct buf *b, const char *key, struct slice value)
{
    buf_addf(b, ",\"%s\":", key);
    json_add_string(b, value);
}

static void
add_time(struct buf *b, const char *key, int64_t unix_ms)
{
    char text[25];
    clock_format_rfc3339(unix_ms, text);
    add_text(b, key, slice_str(text));
}

static void
add_verdict(struct buf *b, const struct verdict *v)
{
    if (v->code != 0)
        buf_addf(b, ",\"code\":%u", v->code);
    if (v->enhanced[0] != 0)
        buf_addf(b, ",\"enhanced\":\"%u.%u.%u\"", v->enhanced[0], v->enhanced[1], v->enhanced[2]);
    add_text(b, "text", v->text);
    add_text(b, "mx", v->mx);
    add_text(b, "phase", v->phase);
}

static void
add_recipients(struct buf *b, const struct event_set *set)
{
    buf_add_str(b, ",\"recipients\":[");
    for (unsigned i = 0; i < set->count; i++) {
        if (i > 0)
            buf_add_char(b, ',');
        json_add_string(b, set->recipients[i]);
    }
    buf_add_char(b, ']');
}

bool
event_add(struct buf *out, const struct event_set *set)
{
    size_t before = out->len;
    bool had_overflowed = out->overflowed;
    char id[ID_TEXT_BYTES + 1];
    id_format(set->message->id, id);
    out->overflowed = false;
    buf_addf(out, "{\"type\":\"%s\",\"message\":\"%s\"", kinds[set->type].type, id);
    add_time(out, "at", set->at_unix_ms);
    add_text(out, "tenant", set->message->tenant);
    add_time(out, "created_at", set->message->created_unix_ms);
    int64_t age_ms = set->at_unix_ms - set->message->created_unix_ms;
    buf_addf(out, ",\"age_ms\":%lld,\"attempts\":%u,\"uncertain\":%s",
             (long long)(age_ms > 0 ? age_ms : 0), set->attempts,
             set->uncertain ? "true" : "false");
    if (set->double_bounce)
        buf_add_str(out, ",\"double_bounce\":true");
    if (set->next_attempt_unix_ms != 0)
        add_time(out, "next_attempt_at", set->next_attempt_unix_ms);
    add_verdict(out, set->verdict);
    add_recipients(out, set);
    buf_add_str(out, "}\n");
    if (out->overflowed) {
        buf_truncate(out, before);
        return false;
    }
    out->overflowed = had_overflowed;
    return true;
}

/* ---- reading ------------------------------------------------------------ */

static struct slice
text_of(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    return slice_from(json_string_value(v), v != NULL ? json_string_length(v) : 0);
}

static int64_t
number_of(const json_t *o, const char *key)
{
    return json_integer_value(json_object_get(o, key));
}

static const struct event_kind *
kind_of(struct slice type)
{
    for (unsigned i = 0; i < EVENT_TYPES; i++)
        if (slice_eq(type, slice_str(kinds[i].type)))
            return &kinds[i];
    return NULL;
}

static void
log_recipient(const struct event_kind *kind, const json_t *o, struct slice to)
{
    LOG(kind->level, kind->log, LF_S("msg", text_of(o, "message")), LF_S("to", to),
        LF_U("code", number_of(o, "code")), LF_S("enhanced", text_of(o, "enhanced")),
        LF_S("mx", text_of(o, "mx")), LF_U("attempts", number_of(o, "attempts")),
        LF_B("uncertain", json_is_true(json_object_get(o, "uncertain"))),
        LF_S("phase", text_of(o, "phase")), LF_S("text", text_of(o, "text")),
        LF_S("next_attempt_at", text_of(o, "next_attempt_at")),
        LF_S("tenant", text_of(o, "tenant")), LF_U("age_ms", number_of(o, "age_ms")));
}

/* Nobody else will hear of it. */
static void
report_double_bounce(const json_t *o, struct slice to)
{
    metrics_add(METRIC_DOUBLE_BOUNCES, 1);
    LOG(LOG_WARN, "delivery.double-bounce", LF_S("msg", text_of(o, "message")), LF_S("to", to),
        LF_S("tenant", text_of(o, "tenant")));
}

static void
count(const struct event_kind *kind, const json_t *o)
{
    int64_t age_ms = number_of(o, "age_ms");
    int provider = kind->by_provider ? (int)provider_of_mx(text_of(o, "mx")) : 0;
    if (kind->metric != METRIC_COUNT)
        metrics_add((enum metric)((int)kind->metric + provider), 1);
    if (kind->arrived)
        metrics_observe(HISTOGRAM_TIME_TO_DELIVERY,
                        1000 * (uint64_t)(age_ms < AGE_MAX_MS ? age_ms : AGE_MAX_MS));
}

static bool
report_one(const json_t *o)
{
    const struct event_kind *kind = kind_of(text_of(o, "type"));
    const json_t *recipients = json_object_get(o, "recipients");
    if (kind == NULL || !json_is_array(recipients))
        return false;
    for (size_t i = 0; i < json_array_size(recipients); i++) {
        const json_t *address = json_array_get(recipients, i);
        struct slice to = slice_from(json_string_value(address), json_string_length(address));
        log_recipient(kind, o, to);
        if (json_is_true(json_object_get(o, "double_bounce")))
            report_double_bounce(o, to);
        count(kind, o);
    }
    return true;
}

/* An event of the queue itself (a takeover, a quarantined record) has no
 * recipients; it is told as it is. */
static void
report_other(struct slice event_id, struct slice line, const json_t *o)
{
    struct slice type = text_of(o, "type");
    if (type.n == 0)
        type = text_of(o, "event");
    LOG(LOG_NOTICE, "event.other", LF_S("event_id", event_id), LF_S("type", type),
        LF_S("record", line));
}

void
event_report(struct slice event_id, struct slice event)
{
    while (event.n > 0) {
        struct slice line = slice_trim(slice_cut_at(&event, '\n'));
        if (line.n == 0)
            continue;
        json_t *o = json_loadb(line.p, line.n, 0, NULL);
        if (o == NULL || !report_one(o))
            report_other(event_id, line, o);
        json_decref(o);
    }
}
