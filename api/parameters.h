/*
 * The query of a request, checked: only names that the route knows, each at
 * most once, values of the right kind. Errors are collected and answered
 * together as a 422. `tenant` is every route's, but means something for
 * operators only (api_scope_tenant()).
 */
#ifndef STAGEPOST_API_PARAMETERS_H
#define STAGEPOST_API_PARAMETERS_H

#include "api/http/query.h"
#include "api/problem.h"

struct http_request;

struct parameters {
    struct http_request *request;
    struct query query;
    struct field_errors errors;
};

/* names: separated by spaces. False: answered (400, a query that cannot be read). */
bool parameters_read(struct parameters *p, struct http_request *r, const char *names);

/* The value; empty when it is absent. */
struct slice parameters_text(const struct parameters *p, const char *name);
/* These leave *out alone when the parameter is absent, and note an error when
 * it is not of its kind. */
void parameters_number(struct parameters *p, const char *name, unsigned most, unsigned *out);
void parameters_time(struct parameters *p, const char *name, int64_t *unix_ms);     /* RFC 3339 */
void parameters_address(struct parameters *p, const char *name, struct slice *out); /* canonical */
bool parameters_wrong(struct parameters *p, const char *name, const char *code, const char *why);

/* False: something was wrong, and it is answered. */
bool parameters_good(struct parameters *p);

#endif
