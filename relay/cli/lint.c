#include "relay/cli/lint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/accept/lint.h"
#include "relay/cli/cli.h"
#include "relay/cli/post.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/config/file.h"

static const char USAGE[] =
    "usage: stagepost lint [-c FILE [--as USER]] [--bulk] [--json] [FILE]\n"
    "Judges a message (RFC 5322) as receivers will; FILE is standard input when it is missing\n"
    "or \"-\". Lines may end in LF. Exit code 0, or 65 when one of the findings is an error.\n"
    "  -c FILE      the gateway's configuration: which domains have DKIM keys, its limits\n"
    "  --as USER    a credential there: its class, and the senders that it owns\n"
    "  --bulk       judge it as bulk mail\n"
    "  --json       {\"ok\",\"findings\"}, as POST /v1/messages/validate answers\n";

enum { O_AS = 1, O_BULK };

static const struct option OPTIONS[] = {
    {"as", required_argument, NULL, O_AS}, {"bulk", no_argument, NULL, O_BULK}, CLI_OPTIONS};

struct lint_job {
    struct cli cli;
    const char *as, *path;
    bool bulk;
    struct config_file *file; /* NULL: without */
    struct lint_facts facts;
};

/* ---- what is judged ------------------------------------------------------- */

/* Files on this machine end their lines in LF; the wire does not. */
static void
add_crlf(struct slice text, struct buf *out)
{
    while (text.n > 0) {
        size_t n = slice_find(text, '\n');
        bool ended = n < text.n;
        struct slice line = slice_cut(&text, ended ? n + 1 : n);
        bool crlf = ended && n > 0 && line.p[n - 1] == '\r';
        buf_add(out, slice_from(line.p, crlf ? n - 1 : n));
        buf_add_str(out, "\r\n");
    }
}

static int
read_message(const struct lint_job *j, struct blob **out)
{
    struct buf file, message;
    struct err err = {0};
    int code = EX_OK;
    buf_init(&message, 2 * (size_t)MESSAGE_BYTES_MAX);
    if (post_read_input(j->path, &file, &err) != 0)
        code =
            cli_fail(&j->cli, err.code == ERR_NOT_FOUND ? EX_NOINPUT : EX_DATAERR, "%s", err.text);
    else
        add_crlf(buf_slice(&file), &message);
    if (code == EX_OK && message.overflowed)
        code = cli_fail(&j->cli, EX_DATAERR, "%s: larger than is accepted", j->path);
    if (code == EX_OK)
        *out = blob_take_buf(&message);
    buf_fini(&message);
    buf_fini(&file);
    return code;
}

static int
find_credential(struct lint_job *j)
{
    const struct config *c = j->facts.config;
    for (unsigned i = 0; i < c->credential_count; i++)
        if (strcmp(c->credentials[i].user, j->as) == 0)
            j->facts.credential = &c->credentials[i];
    if (j->facts.credential == NULL)
        return cli_fail(&j->cli, EX_CONFIG, "%s: no credential \"%s\"", j->cli.config, j->as);
    if (j->facts.credential->klass == CONFIG_BULK)
        j->facts.bulk = true;
    return EX_OK;
}

static int
read_config(struct lint_job *j)
{
    j->facts.bulk = j->bulk;
    if (j->cli.config == NULL)
        return j->as == NULL ? EX_OK : cli_usage(&j->cli, "--as needs -c FILE");
    j->file = config_file_read(j->cli.config);
    if (config_file_errors(j->file) > 0) {
        config_file_print(j->file, stderr);
        return EX_CONFIG;
    }
    j->facts.config = &config_file_draft(j->file)->config;
    return j->as == NULL ? EX_OK : find_credential(j);
}

/* ---- what is shown -------------------------------------------------------- */

static void
print_json(const struct lint_report *r)
{
    json_t *findings = json_array();
    for (unsigned i = 0; i < r->count; i++) {
        const struct lint_finding *f = &r->v[i];
        json_array_append_new(
            findings,
            json_pack("{s:s,s:s,s:o,s:o}", "id", f->id, "severity", lint_severity_name(f->severity),
                      "field", f->field[0] != '\0' ? json_string(f->field) : json_null(), "detail",
                      json_stringn_nocheck(f->detail, strlen(f->detail))));
    }
    json_t *all = json_pack("{s:b,s:o}", "ok", !r->errors, "findings", findings);
    BUG_ON(all == NULL);
    json_dumpf(all, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(all);
}

static void
print(const struct lint_report *r)
{
    static const char *const HEADS[] = {"severity", "finding", "field", "why"};
    struct table t;
    if (r->count == 0) {
        puts("nothing found");
        return;
    }
    table_init(&t, "llll", HEADS);
    for (unsigned i = 0; i < r->count; i++) {
        table_add(&t, slice_str(lint_severity_name(r->v[i].severity)));
        table_add(&t, slice_str(r->v[i].id));
        table_add(&t, slice_str(r->v[i].field[0] != '\0' ? r->v[i].field : "-"));
        table_add(&t, slice_str(r->v[i].detail));
    }
    cli_print_table(&t);
}

static int
judge(struct lint_job *j)
{
    struct lint_report *report = calloc(1, sizeof *report);
    struct blob *message = NULL;
    BUG_ON(report == NULL);
    int code = read_config(j);
    if (code == EX_OK)
        code = read_message(j, &message);
    if (code == EX_OK) {
        lint_message(message, &j->facts, report);
        if (j->cli.json)
            print_json(report);
        else
            print(report);
        code = report->errors ? EX_DATAERR : EX_OK;
    }
    blob_unref(&message);
    config_file_free(j->file);
    free(report);
    return code;
}

int
lint_main(int argc, char **argv)
{
    struct lint_job j = {.cli = {.name = "lint", .usage = USAGE}, .path = "-"};
    int id, code;
    while ((id = getopt_long(argc, argv, CLI_SHORT, OPTIONS, NULL)) != -1) {
        if (id == O_AS)
            j.as = optarg;
        else if (id == O_BULK)
            j.bulk = true;
        else if (!cli_option(&j.cli, id == 'c' ? CLI_O_CONFIG : id, optarg, &code))
            return code;
    }
    if (argc - optind > 1)
        return cli_usage(&j.cli, "one file at a time");
    if (optind < argc)
        j.path = argv[optind];
    return judge(&j);
}
