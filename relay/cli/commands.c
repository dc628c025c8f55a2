#include "relay/cli/commands.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "relay/cli/backup.h"
#include "relay/cli/check_config.h"
#include "relay/cli/check_domain.h"
#include "relay/cli/check_relay.h"
#include "relay/cli/credential.h"
#include "relay/cli/dev.h"
#include "relay/cli/domain_keys.h"
#include "relay/cli/lint.h"
#include "relay/cli/msg.h"
#include "relay/cli/queue.h"
#include "relay/cli/send.h"
#include "relay/cli/sendmail.h"
#include "relay/cli/serve.h"
#include "relay/cli/suppress.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/version.h"

struct command {
    const char *name, *arguments, *help;
    /* argv from the command's own name on. */
    int (*main)(int argc, char **argv);
};

static int check_any(int argc, char **argv);

static const struct command COMMANDS[] = {
    {"dev", "[options]", "development mode: mail stays on this machine", dev_main},
    {"serve", "[-c FILE]", "the gateway", serve_main},
    {"check", "config|domain|relay", "is the file right, would a domain be believed, does it work",
     check_any},
    {"lint", "[-c FILE] [--as USER] [--bulk] FILE", "what receivers will say of a message",
     lint_main},
    {"dkim", "new DOMAIN SELECTOR [--dir DIR]", "makes DKIM keys, prints the records to publish",
     domain_keys_main},
    {"msg", "ID [explain|raw|retry|cancel|hold|release]", "what became of a message", msg_main},
    {"queue", "[summary|ls|shape]", "what waits, for whom, and why", queue_main},
    {"suppress", "ls|add|rm", "addresses that get no mail", suppress_main},
    {"credential", "ls|add|rotate|freeze|unfreeze|rm|scram", "who may hand in mail",
     credential_main},
    {"backup", "DIR", "copies the queue, while it runs", backup_main},
    {"restore", "DIR --state DIR", "puts a copy of the queue back", restore_main},
    {"send", "--from A --to B [--subject S] [FILE]", "hands a message in", send_main},
    {"sendmail", "[-t] [-i] [RECIPIENT]...", "takes a message as sendmail(8) does", sendmail_main},
};

static const struct command CHECKS[] = {
    {"config", "[-c FILE | --example | --manual]", "the configuration file", check_config_main},
    {"domain", "NAME", "what a domain publishes about its mail", check_domain_main},
    {"relay", "[--to DOMAIN]", "can the running gateway do its work", check_relay_main},
};

/* Programs of other mailers that this one stands in for. */
static const struct command STAND_INS[] = {
    {"mailq", "", "", queue_mailq_main},
    {"sendmail", "", "", sendmail_main},
};

static void
print_rows(FILE *out, const char *before, const struct command *rows, size_t count)
{
    for (size_t i = 0; i < count; i++)
        fprintf(out, "  %s%s %s\n        %s\n", before, rows[i].name, rows[i].arguments,
                rows[i].help);
}

static const struct command *
find(const struct command *rows, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(rows[i].name, name) == 0)
            return &rows[i];
    return NULL;
}

/* Nothing, help, or something unknown was asked for. */
static int
print_help(const char *asked, const char *before, const struct command *rows, size_t count)
{
    bool wanted = strcmp(asked, "--help") == 0 || strcmp(asked, "help") == 0;
    FILE *out = wanted ? stdout : stderr;
    if (!wanted && asked[0] != '\0') {
        fprintf(out, "stagepost %s%s: no such command; `stagepost %s--help` lists them\n", before,
                asked, before);
        return EX_USAGE;
    }
    fprintf(out, "usage: stagepost %sCOMMAND ...   (`stagepost %sCOMMAND --help` for each)\n",
            before, before);
    print_rows(out, before, rows, count);
    return wanted ? EX_OK : EX_USAGE;
}

static int
check_any(int argc, char **argv)
{
    const char *asked = argc > 1 ? argv[1] : "";
    const struct command *c = find(CHECKS, ARRAY_LEN(CHECKS), asked);
    return c != NULL ? c->main(argc - 1, argv + 1)
                     : print_help(asked, "check ", CHECKS, ARRAY_LEN(CHECKS));
}

/* -h at the end is --help of any command. */
static void
spell_out_help(int argc, char **argv)
{
    static char help[] = "--help";
    if (argc > 1 && strcmp(argv[argc - 1], "-h") == 0)
        argv[argc - 1] = help;
}

int
commands_main(int argc, char **argv)
{
    const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
    const char *program = slash != NULL ? slash + 1 : argc > 0 ? argv[0] : "";
    const struct command *c = find(STAND_INS, ARRAY_LEN(STAND_INS), program);
    if (c != NULL)
        return c->main(argc, argv);
    spell_out_help(argc, argv);
    const char *asked = argc > 1 ? argv[1] : "";
    c = find(COMMANDS, ARRAY_LEN(COMMANDS), asked);
    if (c != NULL)
        return c->main(argc - 1, argv + 1);
    if (strcmp(asked, "--version") == 0) {
        puts("stagepost " STAGEPOST_VERSION);
        return EX_OK;
    }
    return print_help(asked, "", COMMANDS, ARRAY_LEN(COMMANDS));
}
