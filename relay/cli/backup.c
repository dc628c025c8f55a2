#include "relay/cli/backup.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "relay/cli/check_config.h" /* CONFIG_DEFAULT_PATH */
#include "relay/cli/cli.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/proc/backup.h"

static const char BACKUP_USAGE[] =
    "usage: stagepost backup DIR [--state DIR | -c FILE]\n"
    "Copies the queue, with its mail, into the new folder DIR, also while the gateway runs:\n"
    "all that was accepted before the command started is in it. Configuration and keys are\n"
    "not. For who may read the state directory: root.\n" CLI_OPTIONS_HELP;
static const char RESTORE_USAGE[] =
    "usage: stagepost restore DIR --state DIR | -c FILE\n"
    "Puts a copy into a state directory that has no queue. No gateway may run there. What was\n"
    "delivered after the copy was taken will be delivered again.\n" CLI_OPTIONS_HELP;

typedef int copy_fn(const struct client_place *p, const char *folder, struct backup_list *l,
                    struct err *err);

static int
take(const struct client_place *p, const char *folder, struct backup_list *l, struct err *err)
{
    return backup_take(p->state_dir, folder, l, err);
}

static int
restore(const struct client_place *p, const char *folder, struct backup_list *l, struct err *err)
{
    return backup_restore(folder, p->state_dir, p->user[0] != '\0' ? p->user : "stagepost", l, err);
}

static int
exit_code(const struct err *err)
{
    switch (err->code) {
    case ERR_BAD:
        return EX_DATAERR;
    case ERR_NOT_FOUND:
        return EX_NOINPUT;
    case ERR_IO:
        return EX_IOERR;
    default:
        return client_exit_of_err(err);
    }
}

static int
run(const struct cli *c, const char *folder, copy_fn *copy)
{
    struct err err = {0};
    struct backup_list *l = calloc(1, sizeof *l);
    BUG_ON(l == NULL);
    int code = EX_OK;
    if (copy(&c->place, folder, l, &err) != 0) {
        code = cli_fail(c, exit_code(&err), "%s", err.text);
    } else {
        uint64_t bytes = 0;
        for (unsigned i = 0; i < l->count; i++)
            bytes += l->files[i].bytes;
        if (c->json)
            printf("{\"files\":%u,\"bytes\":%" PRIu64 "}\n", l->count, bytes);
        else
            printf("%u files, %" PRIu64 " bytes\n", l->count, bytes);
    }
    free(l);
    return code;
}

/* NULL: *code is the exit code. */
static const char *
parse(struct cli *c, int argc, char **argv, int *code)
{
    static const struct option OPTIONS[] = {CLI_OPTIONS};
    int id;
    while ((id = getopt_long(argc, argv, CLI_SHORT, OPTIONS, NULL)) != -1)
        if (!cli_option(c, id, optarg, code))
            return NULL;
    if (argc - optind == 1)
        return argv[optind];
    *code = cli_usage(c, "one folder is needed");
    return NULL;
}

int
backup_main(int argc, char **argv)
{
    struct cli c = {.name = "backup", .usage = BACKUP_USAGE};
    int code = EX_USAGE;
    const char *folder = parse(&c, argc, argv, &code);
    if (folder == NULL)
        return code;
    code = cli_open(&c);
    return code == EX_OK ? run(&c, folder, take) : code;
}

int
restore_main(int argc, char **argv)
{
    struct cli c = {.name = "restore", .usage = RESTORE_USAGE};
    int code = EX_USAGE;
    const char *folder = parse(&c, argc, argv, &code);
    if (folder == NULL)
        return code;
    if (c.state == NULL && c.config == NULL)
        return cli_usage(&c, "where to: --state DIR or -c FILE is needed");
    code = cli_open(&c);
    return code == EX_OK ? run(&c, folder, restore) : code;
}
