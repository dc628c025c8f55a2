/*
 * Counters, gauges and histograms in shared memory, laid out from the tables
 * below: one slot per worker, so that a restarted worker continues its counters
 * and any worker can render the sum for /metrics. Every series exists from the
 * start; labels are fixed rows of the tables, so a stranger cannot create one.
 * What the queue itself knows (its depth) is not here: api/routes/metrics.c.
 */
#ifndef STAGEPOST_BASE_METRICS_H
#define STAGEPOST_BASE_METRICS_H

#include <stdint.h>

#include "relay/sys/base/buf.h"
#include "relay/sys/base/err.h"

/* Reasons as in the log's "why", in the order of enum submit_result; "text" is a
 * message whose bytes SMTP could not take. */
#define METRICS_REJECTED(X, SRC, src, help)                                                        \
    METRICS_REFUSAL(X, SRC, src, SENDER, "sender", help)                                           \
    METRICS_REFUSAL(X, SRC, src, POLICY, "policy", "")                                             \
    METRICS_REFUSAL(X, SRC, src, RECIPIENT, "recipient", "")                                       \
    METRICS_REFUSAL(X, SRC, src, FROZEN, "frozen", "")                                             \
    METRICS_REFUSAL(X, SRC, src, RATE, "rate", "")                                                 \
    METRICS_REFUSAL(X, SRC, src, CONTENT, "content", "")                                           \
    METRICS_REFUSAL(X, SRC, src, TOO_LARGE, "too-large", "")                                       \
    METRICS_REFUSAL(X, SRC, src, LOOP, "loop", "")                                                 \
    METRICS_REFUSAL(X, SRC, src, KEY_CONFLICT, "key-conflict", "")                                 \
    METRICS_REFUSAL(X, SRC, src, KEY_IN_FLIGHT, "key-in-flight", "")                               \
    METRICS_REFUSAL(X, SRC, src, NO_ROOM, "no-room", "")                                           \
    METRICS_REFUSAL(X, SRC, src, AWAY, "away", "")                                                 \
    METRICS_REFUSAL(X, SRC, src, UNKNOWN, "unknown", "")                                           \
    METRICS_REFUSAL(X, SRC, src, TEXT, "text", "")
#define METRICS_REFUSAL(X, SRC, src, REASON, reason, help)                                         \
    X(REJECTED_##SRC##_##REASON, "rejected_submissions_total",                                     \
      "source=\"" src "\",reason=\"" reason "\"", help)

/* Providers in the order of enum provider (relay/event/provider.h). */
#define METRICS_ATTEMPTS(X, RESULT, result, help)                                                  \
    X(ATTEMPTS_##RESULT, "delivery_attempts_total", "provider=\"other\",result=\"" result "\"",    \
      help)                                                                                        \
    METRICS_PROVIDER(X, RESULT, result, GOOGLE, "google")                                          \
    METRICS_PROVIDER(X, RESULT, result, MICROSOFT, "microsoft")                                    \
    METRICS_PROVIDER(X, RESULT, result, YAHOO, "yahoo")                                            \
    METRICS_PROVIDER(X, RESULT, result, APPLE, "apple")
#define METRICS_PROVIDER(X, RESULT, result, PROVIDER, provider)                                    \
    X(ATTEMPTS_##RESULT##_##PROVIDER, "delivery_attempts_total",                                   \
      "provider=\"" provider "\",result=\"" result "\"", "")

/* In the order of the supervisor's enum role. */
#define METRICS_DEATHS(X)                                                                          \
    X(DEATHS_REDIS, "child_deaths_total", "role=\"redis\"",                                        \
      "Processes that ended unasked and were replaced")                                            \
    X(DEATHS_SANDBOX, "child_deaths_total", "role=\"sandbox\"", "")                                \
    X(DEATHS_SIGNER, "child_deaths_total", "role=\"signer\"", "")                                  \
    X(DEATHS_CHECKER, "child_deaths_total", "role=\"checker\"", "")                                \
    X(DEATHS_WORKER, "child_deaths_total", "role=\"worker\"", "")

/* By the first segments of the route's path; codes as classes. */
#define METRICS_HTTP(X, ROUTE, route, help)                                                        \
    X(HTTP_##ROUTE##_2XX, "http_requests_total", "route=\"" route "\",code=\"2xx\"", help)         \
    X(HTTP_##ROUTE##_4XX, "http_requests_total", "route=\"" route "\",code=\"4xx\"", "")           \
    X(HTTP_##ROUTE##_5XX, "http_requests_total", "route=\"" route "\",code=\"5xx\"", "")

/* id, name, labels (without braces, "" for none), help. Rows of one name stand
 * together; only the first has the help. */
#define METRICS_TABLE(X)                                                                           \
    X(ACCEPTED_SMTP, "accepted_messages_total", "source=\"smtp\"", "Messages committed")           \
    X(ACCEPTED_HTTP, "accepted_messages_total", "source=\"http\"", "")                             \
    METRICS_REJECTED(X, SMTP, "smtp", "Submissions refused")                                       \
    METRICS_REJECTED(X, HTTP, "http", "")                                                          \
    X(REPLAYED, "idempotent_replays_total", "", "Submissions answered from an idempotency key")    \
    X(COMMIT_UNKNOWN, "commit_unknown_total", "", "Commits whose outcome had to be read back")     \
    X(SMTP_SESSIONS, "smtp_sessions_total", "", "SMTP submission sessions opened")                 \
    X(SMTP_AUTH_OK, "smtp_auth_total", "result=\"ok\"", "SMTP authentications")                    \
    X(SMTP_AUTH_FAILED, "smtp_auth_total", "result=\"failed\"", "")                                \
    X(HTTP_AUTH_FAILED, "http_auth_failures_total", "", "Requests without a known key")            \
    METRICS_HTTP(X, OTHER, "other", "HTTP requests answered")                                      \
    METRICS_HTTP(X, MESSAGES, "messages", "")                                                      \
    METRICS_HTTP(X, QUEUES, "queues", "")                                                          \
    METRICS_HTTP(X, SUPPRESSIONS, "suppressions", "")                                              \
    METRICS_HTTP(X, CREDENTIALS, "credentials", "")                                                \
    METRICS_HTTP(X, CONSOLE, "console", "")                                                        \
    METRICS_HTTP(X, WATCH, "watch", "")                                                            \
    METRICS_HTTP(X, SANDBOX, "sandbox", "")                                                        \
    METRICS_ATTEMPTS(X, DELIVERED, "delivered", "Recipient outcomes of delivery attempts")         \
    METRICS_ATTEMPTS(X, DEFERRED, "deferred", "")                                                  \
    METRICS_ATTEMPTS(X, BOUNCED, "bounced", "")                                                    \
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
    X(DNS_SILENCES, "preflight_dns_silences_total", "",                                            \
      "Times that DNS answered nothing for 2 s, so that messages go on without it")                \
    X(SIGNED, "dkim_signed_messages_total", "", "Messages signed")                                 \
    X(SIGN_RETRIED, "dkim_sign_retries_total", "", "Sign jobs repeated after a signer died")       \
    X(DNS_QUERIES, "dns_lookups_total", "", "DNS questions asked by delivery")                     \
    X(DNS_FAILURES, "dns_failures_total", "", "DNS questions that failed for now")                 \
    X(MX_CONNECTIONS, "mx_connections_total", "", "Connections opened to MX hosts")                \
    X(MX_REUSES, "mx_connection_reuses_total", "", "Transactions on a connection used before")     \
    X(TLS_SMTP_12, "tls_sessions_total", "side=\"smtp\",version=\"1.2\"",                          \
      "TLS sessions that were agreed on")                                                          \
    X(TLS_SMTP_13, "tls_sessions_total", "side=\"smtp\",version=\"1.3\"", "")                      \
    X(TLS_MX_12, "tls_sessions_total", "side=\"mx\",version=\"1.2\"", "")                          \
    X(TLS_MX_13, "tls_sessions_total", "side=\"mx\",version=\"1.3\"", "")                          \
    X(REDIS_ERRORS, "redis_errors_total", "", "Redis links lost and commands failed")              \
    X(LEASES_TAKEN, "lease_takeovers_total", "", "Partitions taken over from another owner")       \
    X(QUARANTINED, "quarantined_records_total", "", "Queue records that could not be read")        \
    X(LOG_DROPPED, "log_lines_dropped_total", "", "Log lines that could not be written at once")   \
    METRICS_DEATHS(X)                                                                              \
    X(CRASH_LOOPS, "crash_loops_total", "", "Alarms: a process died young several times in a row")

/* id, name, labels, how the slots are joined (SUM, or LEAST of those that are not
 * 0), help. A worker begins with 0. */
#define METRICS_GAUGES(X)                                                                          \
    X(CONNECTIONS_SMTP, "connections", "side=\"smtp\"", SUM, "Connections that are open")          \
    X(CONNECTIONS_HTTP, "connections", "side=\"http\"", SUM, "")                                   \
    X(CONNECTIONS_MX, "connections", "side=\"mx\"", SUM, "")                                       \
    X(REDIS_LINKS, "redis_links_up", "", SUM, "Connections to Redis that are usable, all workers") \
    X(TLS_EXPIRY, "tls_certificate_expiry_seconds", "", LEAST,                                     \
      "When the listeners' certificate ends, in seconds since 1970; 0: there is none")

/* id, name, labels, upper bound of the first bucket in microseconds, by how many
 * bits each bound is above the one before, buckets, help. Of one name all rows
 * have the same buckets. */
#define METRICS_FAST 100, 2, 11 /* 100 us to 105 s */
#define METRICS_HISTOGRAMS(X)                                                                      \
    X(TIME_TO_DELIVERY, "time_to_delivery_seconds", "", 1000, 1, 28,                               \
      "From acceptance to the peer's 250")                                                         \
    X(STAGE_DNS, "attempt_duration_seconds", "stage=\"dns\"", METRICS_FAST, "Parts of attempts")   \
    X(STAGE_CONNECT, "attempt_duration_seconds", "stage=\"connect\"", METRICS_FAST, "")            \
    X(STAGE_GREETING, "attempt_duration_seconds", "stage=\"greeting\"", METRICS_FAST, "")          \
    X(STAGE_TLS, "attempt_duration_seconds", "stage=\"tls\"", METRICS_FAST, "")                    \
    X(STAGE_MAIL, "attempt_duration_seconds", "stage=\"mail\"", METRICS_FAST, "")                  \
    X(STAGE_DATA, "attempt_duration_seconds", "stage=\"data\"", METRICS_FAST, "")                  \
    X(SIGN, "dkim_sign_seconds", "", METRICS_FAST, "From asking a signer to its answer")           \
    X(REDIS, "redis_latency_seconds", "", METRICS_FAST, "From a command to Redis' reply")          \
    X(HTTP, "http_request_seconds", "", METRICS_FAST, "From a request's first byte to its answer")

enum metric {
#define METRIC_ID(id, name, labels, help) METRIC_##id,
    METRICS_TABLE(METRIC_ID)
#undef METRIC_ID
        METRIC_COUNT
};

enum metric_gauge {
#define GAUGE_ID(id, name, labels, join, help) GAUGE_##id,
    METRICS_GAUGES(GAUGE_ID)
#undef GAUGE_ID
        GAUGE_COUNT
};

enum metric_histogram {
#define HISTOGRAM_ID(id, ...) HISTOGRAM_##id,
    METRICS_HISTOGRAMS(HISTOGRAM_ID)
#undef HISTOGRAM_ID
        HISTOGRAM_COUNT
};

enum { METRICS_SLOTS_MAX = 64, METRICS_BUCKETS_MAX = 28, METRICS_HTTP_CODES = 3 };

/* Makes the shared memory (a memfd) for all slots; -1 with err filled. */
int metrics_create(struct err *err);
/* Maps it and counts into `slot` from now on; the slot's gauges become 0. Without a
 * call, counts go into memory of the process (unit tests). */
int metrics_attach(int fd, unsigned slot, struct err *err);
/* The process of this slot has ended: what it had open is not open any more. */
void metrics_forget_gauges(unsigned slot);

void metrics_add(enum metric m, uint64_t n);
void metrics_set(enum metric_gauge g, uint64_t value);
void metrics_observe(enum metric_histogram h, uint64_t us);
/* The sum over all slots. */
uint64_t metrics_total(enum metric m);
uint64_t metrics_gauge(enum metric_gauge g);
/* Appends all series in Prometheus' text format. */
void metrics_render(struct buf *out);

#endif
