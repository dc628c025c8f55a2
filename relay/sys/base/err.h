/*
 * Our own failures (disk, Redis, configuration, a closed connection): a code
 * to branch on and a text for people, with context added on the way up:
 * "enqueue: write body: OOM command not allowed".
 * What a remote mail server said is data, never an err.
 */
#ifndef STAGEPOST_BASE_ERR_H
#define STAGEPOST_BASE_ERR_H

enum err_code {
    ERR_NONE = 0,
    ERR_CANCELLED, /* the caller cancelled the operation */
    ERR_TIMEOUT,   /* its deadline passed */
    ERR_CLOSED,    /* the peer closed the connection in an orderly way */
    ERR_IO,        /* any other failure of a socket or file */
    ERR_TLS,       /* TLS handshake or record failure */
    ERR_FULL,      /* a limit or budget is exhausted */
    ERR_BAD,       /* malformed input or reply */
    ERR_NOT_FOUND,
    ERR_REFUSED, /* the other side understood and said no */
    ERR_STALE,   /* our lease or attempt is no longer the current one */
    ERR_AWAY,    /* Redis, signer or another helper cannot be reached */
    ERR_UNKNOWN, /* the outcome of a commit is not known */
    ERR_CONFIG,
    ERR_MEMORY,
};

struct err {
    enum err_code code;
    char text[256];
};

/* Sets code and text; returns -1, so that `return err_set(...)` reads well. */
int err_set(struct err *e, enum err_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* As err_set(), with ": strerror(errno)" behind the text. */
int err_set_errno(struct err *e, enum err_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Puts "context: " in front of the text; returns -1. */
int err_context(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void err_clear(struct err *e);
const char *err_code_name(enum err_code code); /* "timeout", "closed", ... */

#endif
