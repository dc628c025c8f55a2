/*
 * Refusals as RFC 9457 problem details: "type" is about:blank, so the status
 * says what kind it is, but for quotas, whose type clients may know; "code" is stable and for
 * programs, "detail" for people, "errors" names the fields by JSON pointer (RFC 6901), and
 * "request_id" finds the request in the log.
 */
#ifndef STAGEPOST_API_PROBLEM_H
#define STAGEPOST_API_PROBLEM_H

#include <stdbool.h>

#include "relay/sys/base/arena.h"
#include "relay/sys/base/slice.h"

struct head_field;
struct http_request;
struct writer;

/* One wrong field. Strings live in the arena of the list. */
struct field_error {
    struct slice pointer; /* "/to/0/email" */
    const char *code;     /* constant, snake case */
    struct slice detail;
};

/* At most API_ERRORS_MAX are kept; `total` counts on. */
struct field_errors {
    struct arena *arena;
    struct field_error *v;
    unsigned count, total;
};

void field_errors_init(struct field_errors *e, struct arena *arena);
/* Copies pointer and detail. Always returns false, for `return field_errors_add(...)`. */
bool field_errors_add(struct field_errors *e, struct slice pointer, const char *code,
                      const char *detail);

struct problem {
    unsigned status;
    const char *code;
    const char *detail;
    const struct field_errors *errors; /* NULL: none */
    const char *quota;                 /* the exceeded one, as RateLimit-Policy calls it; NULL */
    unsigned retry_after_s;            /* 0: no Retry-After */
    const struct head_field *extra;    /* at most 2 more fields */
    unsigned extra_count;
};
/* Answers and ends the request. A 401 carries WWW-Authenticate. */
void problem_respond(struct http_request *r, const struct problem *p);
/* One problem of several inside an answer: {"status","code","detail","errors",
 * "retry_after"}. */
void problem_write(struct writer *w, const char *key, const struct problem *p);
/* Without field errors. */
void problem_say(struct http_request *r, unsigned status, const char *code, const char *detail);

#endif
