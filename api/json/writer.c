#include "api/json/writer.h"

#include <inttypes.h>

#include "relay/sys/base/clock.h"
#include "relay/sys/base/log.h"

void
writer_init(struct writer *w, struct buf *out)
{
    *w = (struct writer){.out = out};
}

static void
begin(struct writer *w, const char *key)
{
    if (w->comma)
        buf_add_char(w->out, ',');
    w->comma = true;
    if (key != NULL) {
        json_add_string(w->out, slice_str(key));
        buf_add_char(w->out, ':');
    }
}

void
writer_open(struct writer *w, const char *key, char bracket)
{
    begin(w, key);
    buf_add_char(w->out, bracket);
    w->comma = false;
}

void
writer_close(struct writer *w, char bracket)
{
    buf_add_char(w->out, bracket);
    w->comma = true;
}

void
writer_string(struct writer *w, const char *key, struct slice value)
{
    begin(w, key);
    json_add_string(w->out, value);
}

void
writer_string_or_null(struct writer *w, const char *key, struct slice value)
{
    if (value.n > 0)
        writer_string(w, key, value);
    else
        writer_null(w, key);
}

void
writer_number(struct writer *w, const char *key, uint64_t value)
{
    begin(w, key);
    buf_addf(w->out, "%" PRIu64, value);
}

void
writer_bool(struct writer *w, const char *key, bool value)
{
    begin(w, key);
    buf_add_str(w->out, value ? "true" : "false");
}

void
writer_null(struct writer *w, const char *key)
{
    begin(w, key);
    buf_add_str(w->out, "null");
}

void
writer_time(struct writer *w, const char *key, int64_t unix_ms)
{
    char text[25];
    clock_format_rfc3339(unix_ms, text);
    writer_string(w, key, slice_str(text));
}

void
writer_raw(struct writer *w, const char *key, struct slice json)
{
    begin(w, key);
    buf_add(w->out, json);
}
