/*
 * One JSON object per line on standard error, at most LOG_LINE_MAX bytes and
 * never blocking: a line that cannot be written at once is dropped and
 * counted (metrics: log_lines_dropped_total). First stand ts, level, event, the
 * process, then msg, attempt and session where there are such. The event is a constant dotted name;
 * values are escaped here and cut to LOG_VALUE_MAX bytes. No message body ever.
 *
 *   LOG(LOG_NOTICE, "delivery.done", LF_ID("msg", id), LF_U("code", 250));
 *   LOG0(LOG_INFO, "worker.ready");
 */
#ifndef STAGEPOST_BASE_LOG_H
#define STAGEPOST_BASE_LOG_H

#include <stdint.h>

#include "relay/sys/base/err.h"
#include "relay/sys/base/id.h"
#include "relay/sys/base/slice.h"

enum { LOG_LINE_MAX = 4096, LOG_VALUE_MAX = 1024 };

enum log_level { LOG_DEBUG, LOG_INFO, LOG_NOTICE, LOG_WARN, LOG_ERROR };

struct log_field {
    const char *key;
    enum { LOG_END, LOG_SLICE, LOG_SIGNED, LOG_BOOL, LOG_ID } kind;
    struct slice text;
    int64_t number;
    struct msg_id id;
};

#define LF_S(k, s) ((struct log_field){.key = (k), .kind = LOG_SLICE, .text = (s)})
#define LF_STR(k, s) LF_S(k, slice_str(s))
#define LF_U(k, v) ((struct log_field){.key = (k), .kind = LOG_SIGNED, .number = (int64_t)(v)})
#define LF_B(k, v) ((struct log_field){.key = (k), .kind = LOG_BOOL, .number = (v)})
#define LF_ID(k, v) ((struct log_field){.key = (k), .kind = LOG_ID, .id = (v)})
#define LF_ERR(e) LF_STR("error", (e)->text)
#define LF_END ((struct log_field){.kind = LOG_END})

#define LOG(level, event, ...)                                                                     \
    log_write((level), (event), (const struct log_field[]){__VA_ARGS__, LF_END})
#define LOG0(level, event) log_write((level), (event), (const struct log_field[]){LF_END})

void log_write(enum log_level level, const char *event, const struct log_field *fields);
/* `role` ("worker", "signer", ...) and its number stand on every line. */
void log_init(const char *role, unsigned number, enum log_level least);
uint64_t log_dropped_lines(void);

struct buf;
/* Appends `s` as a JSON string with quotes; invalid UTF-8 becomes U+FFFD. */
void json_add_string(struct buf *b, struct slice s);

#endif
