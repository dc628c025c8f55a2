/*
 * sendmail(8), as far as programs call it to hand mail in: cron, PHP's mail(),
 * mailx, monitoring. `stagepost sendmail`, or this program under the name
 * "sendmail". Reads one message (local_mail.h says what is mended in it).
 */
#ifndef STAGEPOST_CLI_SENDMAIL_H
#define STAGEPOST_CLI_SENDMAIL_H

#include "relay/cli/cli.h"

/* argv from the program's or the command's name on. Exit codes of sysexits.h as
 * callers of sendmail know them: 0 it is on disk; 64, 65 the message or 67 a
 * recipient is wrong, 75 try again (also: no gateway), 77 the credential may not
 * send this, 78 no credential is named. */
int sendmail_main(int argc, char **argv);

struct sendmail_options {
    struct cli cli;
    const char *as;
    const char *sender;    /* -f; NULL: not given; "": the null reverse-path */
    const char *full_name; /* -F */
    bool recipients_from_header, dots_are_text, list_queue;
    char *const *to;
    unsigned to_count;
};
/* False: *code is the exit code. */
bool sendmail_parse(struct sendmail_options *o, int argc, char **argv, int *code);

#endif
