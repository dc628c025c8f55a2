#include "relay/cli/suppress.h"

#include <stdio.h>
#include <string.h>

#include "relay/cli/check_config.h"
#include "relay/cli/cli.h"
#include "relay/cli/pages.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"

static const char USAGE[] =
    "usage: stagepost suppress ls [--tenant T]             the addresses\n"
    "       stagepost suppress add ADDRESS --tenant T      mail to it is not sent any more\n"
    "       stagepost suppress rm ADDRESS --tenant T       it gets mail again\n"
    "  --reason R     manual (default), hard_bounce or complaint\n" CLI_OPTIONS_HELP;

struct suppress {
    struct cli cli;
    const char *reason, *address;
};

static void
add_row(struct table *t, const json_t *row)
{
    char at[32];
    table_add(t, cli_text(row, "email"));
    table_add(t, cli_text(row, "tenant"));
    table_add(t, cli_text(row, "reason"));
    table_add(t, cli_time(row, "created_at", at));
}

static int
list(const struct suppress *s)
{
    static const char *const HEADS[] = {"ADDRESS", "TENANT", "REASON", "SINCE"};
    struct pages p = {
        .cli = &s->cli, .align = "llll", .heads = HEADS, .add = add_row, .left = UINT64_MAX};
    struct buf path;
    buf_init(&path, HTTP_URL_MAX);
    buf_add_str(&path, "/v1/suppressions");
    cli_path_tenant(&path, &s->cli);
    pages_begin(&p);
    int code = pages_read(&p, buf_slice(&path));
    pages_end(&p);
    buf_fini(&path);
    return code;
}

static int
change(const struct suppress *s, const char *method, struct slice body)
{
    struct buf path;
    json_t *answer;
    buf_init(&path, HTTP_URL_MAX);
    buf_add_str(&path, "/v1/suppressions/");
    cli_path_segment(&path, slice_str(s->address));
    cli_path_tenant(&path, &s->cli);
    struct client_request q = {.method = method,
                               .path = cli_path(&path),
                               .content_type = body.n > 0 ? "application/json" : NULL,
                               .body = body};
    int code = cli_call(&s->cli, &q, &answer);
    json_decref(answer);
    buf_fini(&path);
    return code;
}

static int
add(const struct suppress *s)
{
    json_t *body = json_object();
    json_object_set_new(body, "reason", json_string(s->reason));
    char *text = json_dumps(body, JSON_COMPACT);
    json_decref(body);
    int code = change(s, "PUT", slice_str(text));
    free(text);
    return code;
}

static int
rm(const struct suppress *s)
{
    return change(s, "DELETE", SLICE_NONE);
}

static int
run(struct suppress *s, int argc, char **argv)
{
    static const struct {
        const char *name;
        bool one_address;
        int (*run)(const struct suppress *s);
    } VERBS[] = {{"ls", false, list}, {"add", true, add}, {"rm", true, rm}};
    for (size_t i = 0; i < ARRAY_LEN(VERBS); i++) {
        if (argc == 0 || strcmp(VERBS[i].name, argv[0]) != 0)
            continue;
        if (argc != 1 + VERBS[i].one_address)
            return cli_usage(&s->cli, "%s takes %s", argv[0],
                             VERBS[i].one_address ? "one address" : "no address");
        if (VERBS[i].one_address && s->cli.tenant == NULL)
            return cli_usage(&s->cli, "--tenant is needed: each tenant has a list of its own");
        s->address = VERBS[i].one_address ? argv[1] : NULL;
        int code = cli_open(&s->cli);
        return code == EX_OK ? VERBS[i].run(s) : code;
    }
    return cli_usage(&s->cli, "ls, add or rm is needed");
}

int
suppress_main(int argc, char **argv)
{
    enum { O_REASON = 1 };
    static const struct option OPTIONS[] = {{"reason", required_argument, NULL, O_REASON},
                                            CLI_OPTIONS};
    struct suppress s = {.cli = {.name = "suppress", .usage = USAGE}, .reason = "manual"};
    int id, code;
    while ((id = getopt_long(argc, argv, CLI_SHORT, OPTIONS, NULL)) != -1)
        if (id == O_REASON)
            s.reason = optarg;
        else if (!cli_option(&s.cli, id, optarg, &code))
            return code;
    return run(&s, argc - optind, argv + optind);
}
