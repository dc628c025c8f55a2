/*
 * One SMTP command line (RFC 5321 4.1), without its CRLF, taken apart. A
 * refusal carries the exact reply to say. Nothing is repaired, with one
 * exception that common clients need: spaces between `FROM:` and `<`.
 */
#ifndef STAGEPOST_WIRE_COMMAND_H
#define STAGEPOST_WIRE_COMMAND_H

#include <stdbool.h>
#include <stdint.h>

#include "relay/sys/base/arena.h"
#include "relay/sys/base/slice.h"
#include "relay/wire/address.h"
#include "relay/wire/envelope.h"
#include "relay/wire/reply.h"
#include "relay/wire/xtext.h"

enum smtp_verb {
    CMD_UNKNOWN,
    CMD_EHLO,
    CMD_HELO,
    CMD_MAIL,
    CMD_RCPT,
    CMD_DATA,
    CMD_BDAT,
    CMD_RSET,
    CMD_NOOP,
    CMD_QUIT,
    CMD_VRFY,
    CMD_EXPN,
    CMD_HELP,
    CMD_STARTTLS,
    CMD_AUTH,
    CMD_HTTP, /* GET, POST, CONNECT, ...: a browser sent here; close at once */
    CMD_COUNT,
};
const char *command_verb_name(enum smtp_verb verb); /* "MAIL"; "?" for CMD_UNKNOWN */

struct command {
    enum smtp_verb verb;
    struct slice arg; /* behind the verb and one or more spaces, trailing spaces
                         stripped; MAIL and RCPT keep `FROM:` and `TO:` */
};

/* PARSE_BAD with *refusal when the line holds NUL, CR, LF or another control
 * character (TAB counts as one). An unknown verb is PARSE_OK and CMD_UNKNOWN. */
enum parse command_parse(struct slice line, struct command *out, struct reply_text *refusal);

enum mail_body { BODY_UNSET, BODY_7BIT, BODY_8BITMIME }; /* RFC 6152 */

struct mail_args {
    struct path path;
    uint64_t size_bytes; /* RFC 1870; 0: not given (or given as 0) */
    enum mail_body body;
    enum dsn_ret ret;
    bool smtputf8; /* RFC 6531 3.4 */
    bool has_envid;
    struct slice envid; /* decoded, printable ASCII, at most ENVID_MAX */
};
/* `arg` as command_parse() gave it. AUTH= (RFC 4954 5) is checked and dropped. */
enum parse command_parse_mail(struct slice arg, struct arena *arena, struct mail_args *out,
                              struct reply_text *refusal);

struct rcpt_args {
    struct path path;   /* never PATH_NULL */
    unsigned notify;    /* NOTIFY_* bits as in struct rcpt_options; 0: not given */
    struct orcpt orcpt; /* type.n == 0: not given */
};
/* smtputf8: MAIL of this transaction had the parameter. */
enum parse command_parse_rcpt(struct slice arg, bool smtputf8, struct arena *arena,
                              struct rcpt_args *out, struct reply_text *refusal);

struct bdat_args {
    uint64_t octets; /* UINT64_MAX: so many or more */
    bool last;
};
/* RFC 3030 2: 1*DIGIT [SP "LAST"]. After PARSE_BAD nobody knows which octets
 * that follow are text. */
enum parse command_parse_bdat(struct slice arg, struct bdat_args *out, struct reply_text *refusal);

/* The argument of EHLO and HELO: ASCII letters, digits, `-`, `.` and `_` (many
 * clients send machine names that are no domains), or an address literal. At
 * most ADDRESS_DOMAIN_MAX octets; so it is safe in a Received field. */
enum parse command_parse_helo(struct slice arg, struct slice *name, struct reply_text *refusal);

#endif
