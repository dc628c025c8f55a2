#include "api/view.h"

#include <stdio.h>

#include "api/api_internal.h"
#include "api/mime.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/limits.h"
#include "relay/wire/envelope.h"

void
view_response(struct writer *w, const char *key, struct slice record)
{
    struct verdict v;
    if (record.n == 0 || !verdict_decode(record, &v)) {
        writer_null(w, key);
        return;
    }
    char enhanced[32] = "";
    if (v.enhanced[0] != 0)
        snprintf(enhanced, sizeof enhanced, "%u.%u.%u", v.enhanced[0], v.enhanced[1],
                 v.enhanced[2]);
    writer_open(w, key, '{');
    if (v.code > 0)
        writer_number(w, "code", v.code);
    else
        writer_null(w, "code"); /* nobody replied: the finding is our own */
    writer_string_or_null(w, "enhanced", slice_str(enhanced));
    writer_string(w, "text", v.text);
    writer_string_or_null(w, "mx", v.mx);
    writer_close(w, '}');
}

/* Waits for its first attempt, which its sender wanted later. */
static struct slice
status_name(const struct envelope *e, enum queue_state state)
{
    bool later = state == QUEUE_QUEUED && e->send_at_unix_ms > clock_sched_unix_ms();
    return later ? SLICE("scheduled") : slice_str(queue_state_name(state));
}

static void
write_recipient(struct writer *w, const struct envelope *e, const struct queue_delivery *d,
                const struct queue_target *t)
{
    char ndr[ID_TEXT_BYTES + 1] = "";
    if (t->has_notice_id)
        id_format(t->notice_id, ndr);
    bool waiting = t->state == QUEUE_QUEUED || t->state == QUEUE_DEFERRED;
    writer_open(w, NULL, '{');
    writer_string(w, "email", t->address);
    writer_string(w, "status", status_name(e, t->state));
    writer_number(w, "attempts", t->attempts);
    if (waiting && d->due_unix_ms > 0)
        writer_time(w, "next_attempt_at", d->due_unix_ms);
    else
        writer_null(w, "next_attempt_at");
    view_response(w, "last_response", t->reply);
    writer_bool(w, "uncertain", t->uncertain);
    writer_string_or_null(w, "ndr_id", slice_str(ndr));
    writer_close(w, '}');
}

/* Both are JSON of ours (api/draft_delivery.c). */
static void
write_wishes(struct writer *w, const struct envelope *e)
{
    if (e->send_at_unix_ms > 0)
        writer_time(w, "send_at", e->send_at_unix_ms);
    if (e->tags.n > 0)
        writer_raw(w, "tags", e->tags);
    if (e->metadata.n > 0)
        writer_raw(w, "metadata", e->metadata);
}

/* The door cuts a subject at ENVELOPE_SUBJECT_MAX bytes: perhaps within an encoded
 * word (RFC 2047), which would be shown as it is. */
static struct slice
without_broken_word(struct slice subject)
{
    size_t at = subject.n;
    while (at > 0 && subject.p[at - 1] != ' ')
        at--;
    struct slice last = slice_skip(subject, at);
    bool is_whole = last.n >= 6 && last.p[last.n - 2] == '?' && last.p[last.n - 1] == '=';
    if (subject.n + 4 <= ENVELOPE_SUBJECT_MAX || !slice_starts(last, SLICE("=?")) || is_whole)
        return subject;
    return slice_trim(slice_from(subject.p, at));
}

static void
write_subject(struct writer *w, struct slice subject)
{
    struct buf decoded;
    buf_init(&decoded, HEADER_FIELD_MAX);
    mime_add_decoded(&decoded, without_broken_word(subject));
    writer_string(w, "subject", buf_slice(&decoded));
    buf_fini(&decoded);
}

struct slice
view_status(const struct queue_message *m)
{
    struct envelope e;
    if (!envelope_decode(m->envelope, &e))
        e = (struct envelope){.reverse_path = SLICE_NONE};
    return status_name(&e, queue_message_state(m));
}

void
view_message(struct writer *w, const char *key, const struct queue_message *m, bool with_tenant)
{
    char id[ID_TEXT_BYTES + 1];
    struct envelope e;
    id_format(m->id, id);
    if (!envelope_decode(m->envelope, &e))
        e = (struct envelope){.reverse_path = SLICE_NONE};
    writer_open(w, key, '{');
    writer_string(w, "id", slice_str(id));
    if (with_tenant)
        writer_string(w, "tenant", m->tenant);
    writer_string(w, "status", status_name(&e, queue_message_state(m)));
    writer_string(w, "from", e.reverse_path);
    write_subject(w, e.subject);
    writer_time(w, "created_at", m->created_unix_ms);
    writer_number(w, "size", m->size_bytes);
    write_wishes(w, &e);
    writer_open(w, "recipients", '[');
    for (unsigned i = 0; i < m->delivery_count; i++)
        for (unsigned j = 0; j < m->deliveries[i].target_count; j++)
            write_recipient(w, &e, &m->deliveries[i], &m->deliveries[i].targets[j]);
    writer_close(w, ']');
    writer_close(w, '}');
}

void
view_not_found(struct http_request *r)
{
    problem_say(r, 404, "not_found", "there is no such message");
}

void
view_refuse(struct http_request *r, const struct err *err)
{
    if (err->code == ERR_NOT_FOUND)
        view_not_found(r);
    else if (err->code == ERR_FULL)
        problem_say(r, 500, "answer_too_large",
                    "the message has more recipients than one answer can hold");
    else if (err->code == ERR_BAD)
        problem_say(r, 500, "record_broken", "the record of the message cannot be read");
    else
        problem_respond(r, &(struct problem){.status = 503,
                                             .code = "queue_away",
                                             .detail = "the queue cannot be reached",
                                             .retry_after_s = 5});
}
