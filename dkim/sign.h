/*
 * Signing one message with every key of a domain (RFC 6376, RFC 8463), relaxed/
 * relaxed, by libopendkim. The message is fed in pieces; nothing of the body is
 * kept. What the library would sign wrongly is refused before it sees it
 * (dkim/guard.h), and what it made is checked before it is given out.
 *
 * One engine per process; several jobs may be open at once. One thread.
 */
#ifndef STAGEPOST_DKIM_SIGN_H
#define STAGEPOST_DKIM_SIGN_H

#include "dkim/keys.h"
#include "dkim/protocol.h"

struct sign_engine;
struct sign_job;

/* Borrows the keys. Signs a message of its own first, to learn whether the key
 * shim works here (dkim/keyshim.h); if not, PEM texts are used: slower, as right. */
struct sign_engine *sign_engine_new(struct keyset *keys, struct err *err);
void sign_engine_free(struct sign_engine *e); /* NULL is fine; no job may be open */
bool sign_engine_uses_shim(const struct sign_engine *e);
/* From now on PEM texts are used, as where the shim does not work (tests). */
void sign_engine_avoid_shim(struct sign_engine *e);

/* Begins a message. SIGN_OK and *out, or SIGN_REFUSED (the domain is no name
 * that can stand in d=), SIGN_NO_KEY, SIGN_AWAY; err has the text. */
enum sign_status sign_job_new(struct sign_engine *e, struct slice domain, struct sign_job **out,
                              struct err *err);
void sign_job_free(struct sign_job *j); /* NULL is fine */

/* The next bytes of the message: header section, empty line, body, in CRLF lines,
 * cut anywhere. After anything but SIGN_OK the job is good for freeing only. */
enum sign_status sign_job_feed(struct sign_job *j, struct slice piece, struct err *err);

/* No more bytes. Appends one DKIM-Signature field per key to `fields`, each
 * with name, folding and CRLF, to stand before the message as they are; a
 * field is below SIGNATURE_BYTES_MAX. Anything but SIGN_OK appends nothing. */
enum sign_status sign_job_finish(struct sign_job *j, struct buf *fields, struct err *err);

/* All of the above in one call. */
enum sign_status sign_message(struct sign_engine *e, struct slice domain, struct slice message,
                              struct buf *fields, struct err *err);

#endif
