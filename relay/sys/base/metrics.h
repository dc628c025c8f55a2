/*
 * Counters in shared memory, laid out from the table below: one slot per
 * worker, so that a restarted worker continues its slot and any worker can
 * render the sum for /metrics. Every series exists from the start; labels are
 * fixed rows of the table, so a stranger cannot create one.
 * Gauges of the queue are not here: they are read from the queue.
 */
#ifndef STAGEPOST_BASE_METRICS_H
#define STAGEPOST_BASE_METRICS_H

#include <stdint.h>

#include "relay/sys/base/buf.h"
#include "relay/sys/base/err.h"

/* id, name, labels (without braces, "" for none), help. Rows of one name stand
 * together. */
#define METRICS_TABLE(X)                                                                           \
    X(ACCEPTED_SMTP, "accepted_messages_total", "source=\"smtp\"", "Messages committed")           \
    X(ACCEPTED_HTTP, "accepted_messages_total", "source=\"http\"", "")                             \
    X(REJECTED_SMTP, "rejected_submissions_total", "source=\"smtp\"", "Submissions refused")       \
    X(REJECTED_HTTP, "rejected_submissions_total", "source=\"http\"", "")                          \
    X(REPLAYED, "idempotent_replays_total", "", "Submissions answered from an idempotency key")    \
    X(COMMIT_UNKNOWN, "commit_unknown_total", "", "Commits whose outcome had to be read back")     \
    X(SMTP_SESSIONS, "smtp_sessions_total", "", "SMTP submission sessions opened")                 \
    X(SMTP_AUTH_OK, "smtp_auth_total", "result=\"ok\"", "SMTP authentications")                    \
    X(SMTP_AUTH_FAILED, "smtp_auth_total", "result=\"failed\"", "")                                \
    X(HTTP_2XX, "http_requests_total", "code=\"2xx\"", "HTTP requests answered")                   \
    X(HTTP_4XX, "http_requests_total", "code=\"4xx\"", "")                                         \
    X(HTTP_5XX, "http_requests_total", "code=\"5xx\"", "")                                         \
    X(ATTEMPTS_DELIVERED, "delivery_attempts_total", "result=\"delivered\"",                       \
      "Recipient outcomes of delivery attempts")                                                   \
    X(ATTEMPTS_DEFERRED, "delivery_attempts_total", "result=\"deferred\"", "")                     \
    X(ATTEMPTS_BOUNCED, "delivery_attempts_total", "result=\"bounced\"", "")                       \
    X(EXPIRED, "expired_recipients_total", "", "Recipients given up after the retry period")       \
    X(UNCERTAIN, "uncertain_attempts_total", "",                                                   \
      "Attempts that ended between the final dot and its reply")                                   \
    X(NDR_SENT, "ndr_total", "", "Non-delivery reports enqueued")                                  \
    X(DOUBLE_BOUNCES, "double_bounces_total", "",                                                  \
      "Recipients given up whose mail has no sender to tell, as a report")                         \
    X(SUPPRESSED, "suppressed_recipients_total", "", "Recipients on the suppression list")         \
    X(PREFLIGHT_PASS, "preflight_total", "result=\"pass\"",                                        \
      "Messages by what receivers would make of them")                                             \
    X(PREFLIGHT_WEAK, "preflight_total", "result=\"weak\"", "")                                    \
    X(PREFLIGHT_FAIL, "preflight_total", "result=\"fail\"", "")                                    \
    X(PREFLIGHT_UNKNOWN, "preflight_total", "result=\"unknown\"", "")                              \
    X(PREFLIGHT_LATE, "preflight_total", "result=\"late\"", "")                                    \
    X(SIGNED, "dkim_signed_messages_total", "", "Messages signed")                                 \
    X(SIGN_RETRIED, "dkim_sign_retries_total", "", "Sign jobs repeated after a signer died")       \
    X(DNS_QUERIES, "dns_lookups_total", "", "DNS questions asked by delivery")                     \
    X(DNS_FAILURES, "dns_failures_total", "", "DNS questions that failed for now")                 \
    X(MX_CONNECTIONS, "mx_connections_total", "", "Connections opened to MX hosts")                \
    X(MX_REUSES, "mx_connection_reuses_total", "", "Transactions on a connection used before")     \
    X(MX_TLS, "mx_tls_sessions_total", "", "TLS sessions with MX hosts")                           \
    X(REDIS_ERRORS, "redis_errors_total", "", "Redis links lost and commands failed")              \
    X(LEASES_TAKEN, "lease_takeovers_total", "", "Partitions taken over from another owner")       \
    X(QUARANTINED, "quarantined_records_total", "", "Queue records that could not be read")        \
    X(CHILD_DEATHS, "child_deaths_total", "", "Processes that ended unasked and were replaced")    \
    X(CRASH_LOOPS, "crash_loops_total", "", "Alarms: a process died young several times in a row")

enum metric {
#define METRIC_ID(id, name, labels, help) METRIC_##id,
    METRICS_TABLE(METRIC_ID)
#undef METRIC_ID
        METRIC_COUNT
};

/* Time from accept to the peer's 250, in milliseconds; the buckets are powers
 * of two from 1 ms to about 36 hours. */
enum { METRICS_SLOTS_MAX = 64, METRICS_TTD_BUCKETS = 28 };

/* Makes the shared memory (a memfd) for all slots; -1 with err filled. */
int metrics_create(struct err *err);
/* Maps it and counts into `slot` from now on. Without a call, counts go into
 * memory of the process (unit tests). */
int metrics_attach(int fd, unsigned slot, struct err *err);

void metrics_add(enum metric m, uint64_t n);
void metrics_observe_time_to_delivery(uint64_t ms);
/* The sum over all slots. */
uint64_t metrics_total(enum metric m);
/* Appends all series in Prometheus' text format. */
void metrics_render(struct buf *out);

#endif
