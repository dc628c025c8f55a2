/*
 * The commands' way to a running gateway: one HTTP request over its control
 * socket (api/README.md), blocking, with a time limit for the whole of it and a
 * bound on the answer. Whoever may open the socket is an operator.
 */
#ifndef STAGEPOST_CLI_CLIENT_H
#define STAGEPOST_CLI_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "relay/sys/base/buf.h"
#include "relay/sys/base/err.h"
#include "relay/sys/net/stream.h"

/* The gateway that a command is for. */
struct client_place {
    char state_dir[256];
    struct net_address socket;
    bool development;
    char hostname[256];   /* by its configuration file; "" when that was not read */
    char user[64];        /* likewise */
    char credential[256]; /* that local mail is sent under; "" when nobody said */
};

/* Looks for it: `state_dir`, else the file `config`, else $STAGEPOST_STATE, else
 * the default configuration file, else the state directory of development mode,
 * whichever of these two has a gateway. NULL: not given. ERR_CONFIG: the file
 * cannot be read or names no state directory, or the path is too long. */
int client_find(struct client_place *p, const char *state_dir, const char *config, struct err *err);

/* Where `stagepost dev` keeps its state unless told; false: neither
 * XDG_STATE_HOME nor HOME is set. */
bool client_dev_state(char out[256]);

struct client_request {
    const char *method;
    const char *path;            /* with the query, escaped; NULL: too long */
    const char *credential;      /* X-Stagepost-Credential; NULL: none */
    const char *idempotency_key; /* NULL: none */
    const char *content_type;    /* NULL: no body */
    struct slice body;
    uint64_t timeout_ms; /* 0: CLI_TIMEOUT_MS */
};

struct client_answer {
    unsigned status;
    uint64_t retry_after_s; /* 0: not said */
    struct buf body;        /* the caller's to free, also after a failure */
};

/* -1 with err: ERR_AWAY nobody listens there, ERR_REFUSED no permission (both:
 * nothing was sent), ERR_TIMEOUT, ERR_UNKNOWN (no whole answer came: whether the
 * request was carried out is not known), ERR_BAD (the answer is not HTTP of
 * ours), ERR_FULL (it, or the request, is too long). */
int client_ask(const struct net_address *at, const struct client_request *q,
               struct client_answer *a, struct err *err);

/* As client_ask(), patiently, for requests with an idempotency key: while the
 * gateway is being started anew, or the answer was lost, it is sent again for
 * CLI_PATIENCE_MS. */
int client_ask_patiently(const struct net_address *at, const struct client_request *q,
                         struct client_answer *a, struct err *err);

/* Exit codes of sysexits.h. */
int client_exit_of_err(const struct err *err);
int client_exit_of_status(unsigned status);

#endif
