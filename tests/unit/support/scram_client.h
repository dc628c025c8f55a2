/*
 * For tests of SCRAM: the client's side, of libgsasl. Messages are octets. Include it
 * after <cmocka.h>.
 */
#ifndef STAGEPOST_TESTS_SCRAM_CLIENT_H
#define STAGEPOST_TESTS_SCRAM_CLIENT_H

#include <gsasl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

struct scram_client {
    Gsasl *library;
    Gsasl_session *session;
    char said[4096];
};

/* binding: base64 of tls-exporter, NULL: plain SCRAM-SHA-256. */
static inline void
scram_client_open(struct scram_client *c, const char *user, const char *password,
                  const char *binding)
{
    const char *name = binding != NULL ? "SCRAM-SHA-256-PLUS" : "SCRAM-SHA-256";
    assert_int_equal(gsasl_init(&c->library), GSASL_OK);
    assert_int_equal(gsasl_client_start(c->library, name, &c->session), GSASL_OK);
    gsasl_property_set(c->session, GSASL_AUTHID, user);
    gsasl_property_set(c->session, GSASL_PASSWORD, password);
    if (binding != NULL)
        gsasl_property_set(c->session, GSASL_CB_TLS_EXPORTER, binding);
}

/* What the client says to what it is told; false: it does not believe it. */
static inline bool
scram_client_step(struct scram_client *c, const char *told, size_t n)
{
    char *out = NULL;
    size_t out_n = 0;
    int rc = gsasl_step(c->session, told, n, &out, &out_n);
    snprintf(c->said, sizeof c->said, "%.*s", (int)out_n, out != NULL ? out : "");
    gsasl_free(out);
    return rc == GSASL_OK || rc == GSASL_NEEDS_MORE;
}

static inline void
scram_client_close(struct scram_client *c)
{
    gsasl_finish(c->session);
    gsasl_done(c->library);
}

#endif
