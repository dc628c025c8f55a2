#include "relay/sys/base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "relay/sys/base/bug.h"

__attribute__((format(printf, 3, 0))) static void
vset(struct err *e, enum err_code code, const char *fmt, va_list args)
{
    e->code = code;
    vsnprintf(e->text, sizeof e->text, fmt, args);
}

int
err_set(struct err *e, enum err_code code, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vset(e, code, fmt, args);
    va_end(args);
    return -1;
}

int
err_set_errno(struct err *e, enum err_code code, const char *fmt, ...)
{
    int saved = errno;
    va_list args;
    va_start(args, fmt);
    vset(e, code, fmt, args);
    va_end(args);
    size_t n = strlen(e->text);
    snprintf(e->text + n, sizeof e->text - n, ": %s", strerror(saved));
    return -1;
}

int
err_context(struct err *e, const char *fmt, ...)
{
    char inner[sizeof e->text];
    memcpy(inner, e->text, sizeof inner);
    va_list args;
    va_start(args, fmt);
    vsnprintf(e->text, sizeof e->text, fmt, args);
    va_end(args);
    size_t n = strlen(e->text);
    snprintf(e->text + n, sizeof e->text - n, ": %.*s", (int)(sizeof e->text - n - 3), inner);
    return -1;
}

void
err_clear(struct err *e)
{
    e->code = ERR_NONE;
    e->text[0] = '\0';
}

static const char *const CODE_NAMES[] = {
    [ERR_NONE] = "none",
    [ERR_CANCELLED] = "cancelled",
    [ERR_TIMEOUT] = "timeout",
    [ERR_CLOSED] = "closed",
    [ERR_IO] = "io",
    [ERR_TLS] = "tls",
    [ERR_FULL] = "full",
    [ERR_BAD] = "bad",
    [ERR_NOT_FOUND] = "not-found",
    [ERR_REFUSED] = "refused",
    [ERR_STALE] = "stale",
    [ERR_AWAY] = "away",
    [ERR_UNKNOWN] = "unknown",
    [ERR_CONFIG] = "config",
    [ERR_MEMORY] = "memory",
};

const char *
err_code_name(enum err_code code)
{
    BUG_ON((size_t)code >= ARRAY_LEN(CODE_NAMES));
    return CODE_NAMES[code];
}
