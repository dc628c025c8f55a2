/*
 * Handing a finished message to the gateway, for `send --raw` and sendmail: under
 * the policy of a credential, with an idempotency key of its own, so that it is
 * sent again when the answer is lost and accepted once.
 */
#ifndef STAGEPOST_CLI_POST_H
#define STAGEPOST_CLI_POST_H

#include "relay/cli/cli.h"
#include "relay/sys/base/id.h"

/* Whose policy: `as` (NULL: not said), else $STAGEPOST_CREDENTIAL, else what the
 * configuration file says (sendmail_credential), else development mode's; "" when
 * nobody said. */
#define POST_NO_CREDENTIAL                                                                         \
    "whose mail is it? --as USER, $STAGEPOST_CREDENTIAL, or sendmail_credential in the "           \
    "configuration file"
const char *post_credential(const struct cli *c, const char *as);

struct post {
    const char *credential;
    struct slice from; /* reverse-path; empty: null */
    const struct slice *to;
    unsigned to_count;
    struct slice message; /* CRLF lines */
    const char *key;      /* NULL: one is made */
};
/* As client_ask_patiently(). Recipients and sender must fit the request's line:
 * about 200 of them, else ERR_FULL. */
int post_raw(const struct cli *c, const struct post *p, struct client_answer *a, struct err *err);

/* A key that no other request has. */
void post_make_key(char key[ID_TEXT_BYTES + 1]);

/* All of a file, or of standard input for "-"; -1 with err. `out` is initialised
 * here and freed by the caller in any case. */
int post_read_input(const char *path, struct buf *out, struct err *err);

#endif
