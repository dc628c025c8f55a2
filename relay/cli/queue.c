#include "relay/cli/queue.h"

#include <stdio.h>
#include <string.h>

#include "relay/cli/check_config.h"
#include "relay/cli/cli.h"
#include "relay/cli/pages.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"

enum option_id { O_STATUS = 1, O_TO, O_SINCE, O_UNTIL, O_LIMIT };
enum { LIMIT_DEFAULT = 100, LIMIT_MOST = 100000 };

static const char USAGE[] =
    "usage: stagepost queue [summary] [DOMAIN]   by domain: how much waits, since when, why\n"
    "       stagepost queue shape                by domain: how old it is, in minutes\n"
    "       stagepost queue ls                   messages that wait, newest first\n"
    "  --status S     ls: queued, deferred, held, delivered, bounced, expired, suppressed,\n"
    "                 cancelled; without it the first three\n"
    "  --to ADDRESS   ls: this recipient\n"
    "  --since TIME   ls: accepted at or after, --until TIME before (RFC 3339)\n"
    "  --limit N      rows (100)\n"
    "  --tenant T     this tenant's only\n" CLI_OPTIONS_HELP;

struct view {
    struct cli cli;
    const char *status, *to, *since, *until, *limit_text;
    uint64_t limit;
};

static int
call(const struct view *v, struct buf *path, json_t **answer)
{
    cli_path_tenant(path, &v->cli);
    struct client_request q = {.method = "GET", .path = cli_path(path)};
    int code = cli_call(&v->cli, &q, answer);
    buf_fini(path);
    return code;
}

/* ---- by domain ------------------------------------------------------------------ */

/* In front of numbers that are estimates: not all of a long queue is looked at. */
static const char *
about_of(const json_t *row)
{
    return json_is_true(json_object_get(row, "sampled")) ? "~" : "";
}

static void
add_summary_row(struct table *t, const json_t *row)
{
    char oldest[32], next[32];
    const char *about = about_of(row);
    struct buf reply;
    table_add(t, cli_text(row, "domain"));
    table_add(t, cli_text(row, "tenant"));
    table_add(t, cli_text(row, "class"));
    table_addf(t, "%s%lld", about, cli_number(row, "queued"));
    table_addf(t, "%s%lld", about, cli_number(row, "deferred"));
    table_addf(t, "%lld", cli_number(row, "held"));
    table_addf(t, "%lld", cli_number(row, "inflight"));
    table_add(t, cli_time(row, "oldest_at", oldest));
    table_add(t, cli_time(row, "next_attempt_at", next));
    buf_init(&reply, VERDICT_RECORD_MAX + 256);
    cli_add_reply(&reply, json_object_get(row, "last_response"));
    table_add(t, buf_slice(&reply));
    buf_fini(&reply);
}

static void
print_summary(const json_t *answer)
{
    static const char *const HEADS[] = {"DOMAIN", "TENANT",   "CLASS",  "QUEUED",   "DEFERRED",
                                        "HELD",   "INFLIGHT", "OLDEST", "NEXT TRY", "LAST REPLY"};
    const json_t *total = json_object_get(answer, "total");
    struct table t;
    size_t i;
    json_t *row;
    if (json_is_object(total))
        printf("%lld queued, %lld deferred, %lld held, %lld being delivered\n",
               cli_number(total, "queued"), cli_number(total, "deferred"),
               cli_number(total, "held"), cli_number(total, "inflight"));
    table_init(&t, "lllrrrrlll", HEADS);
    json_array_foreach(json_object_get(answer, "data"), i, row) add_summary_row(&t, row);
    if (table_rows(&t) > 0)
        cli_print_table(&t);
    else
        table_fini(&t);
}

static int
summary(const struct view *v, const char *domain)
{
    struct buf path;
    json_t *answer;
    buf_init(&path, HTTP_URL_MAX);
    buf_add_str(&path, "/v1/queues");
    if (domain != NULL) {
        buf_add_char(&path, '/');
        cli_path_segment(&path, slice_str(domain));
    }
    cli_path_query(&path, "limit", domain == NULL ? v->limit_text : NULL);
    int code = call(v, &path, &answer);
    if (answer != NULL)
        print_summary(answer);
    json_decref(answer);
    return code;
}

/* As qshape(1) of Postfix: the columns are ages in minutes, "up to". */
static const long long AGES[] = {5, 10, 20, 40, 80, 160, 320, 640, 1280, 0};

static long long
count_of_age(const json_t *row, long long up_to)
{
    size_t i;
    json_t *age;
    json_array_foreach(json_object_get(row, "ages"), i, age)
    {
        const json_t *limit = json_object_get(age, "up_to_minutes");
        if (up_to == 0 ? json_is_null(limit) : json_integer_value(limit) == up_to)
            return cli_number(age, "count");
    }
    return 0;
}

/* Of all, as many as of those that were looked at. */
static void
add_share(struct table *t, long long all, long long count, long long looked_at)
{
    if (looked_at < all && looked_at > 0 && count > 0)
        table_addf(t, "~%lld", (all * count + looked_at / 2) / looked_at);
    else
        table_addf(t, "%lld", count);
}

static void
add_shape_row(struct table *t, const json_t *row)
{
    long long all =
                  cli_number(row, "queued") + cli_number(row, "deferred") + cli_number(row, "held"),
              looked_at = 0;
    for (size_t i = 0; i < ARRAY_LEN(AGES); i++)
        looked_at += count_of_age(row, AGES[i]);
    table_add(t, cli_text(row, "domain"));
    table_add(t, cli_text(row, "tenant"));
    table_addf(t, "%lld", all);
    for (size_t i = 0; i < ARRAY_LEN(AGES); i++)
        add_share(t, all, count_of_age(row, AGES[i]), looked_at);
}

static int
shape(const struct view *v, const char *domain)
{
    static const char *const HEADS[] = {"DOMAIN", "TENANT", "TOTAL", "5",   "10",   "20",   "40",
                                        "80",     "160",    "320",   "640", "1280", "1280+"};
    struct buf path;
    struct table t;
    json_t *answer, *row;
    size_t i;
    if (domain != NULL)
        return cli_usage(&v->cli, "shape shows all domains");
    buf_init(&path, HTTP_URL_MAX);
    buf_add_str(&path, "/v1/queues?shape=1");
    cli_path_query(&path, "limit", v->limit_text);
    int code = call(v, &path, &answer);
    if (answer == NULL)
        return code;
    table_init(&t, "llrrrrrrrrrrr", HEADS);
    json_array_foreach(json_object_get(answer, "data"), i, row) add_shape_row(&t, row);
    cli_print_table(&t);
    json_decref(answer);
    return code;
}

/* ---- messages ------------------------------------------------------------------- */

static void
add_message(struct table *t, const json_t *m)
{
    char at[32];
    const json_t *to = json_object_get(m, "recipients");
    size_t more = json_array_size(to);
    table_add(t, cli_text(m, "id"));
    table_add(t, cli_text(m, "tenant"));
    table_add(t, cli_text(m, "status"));
    table_add(t, cli_time(m, "created_at", at));
    table_addf(t, "%lld", cli_number(m, "size"));
    table_add(t, cli_text(m, "from").n > 0 ? cli_text(m, "from") : SLICE("<>"));
    if (more > 1)
        table_addf(t, "%.150s +%zu", cli_text(json_array_get(to, 0), "email").p, more - 1);
    else
        table_add(t, cli_text(json_array_get(to, 0), "email"));
}

static int
list_status(const struct view *v, const char *status, struct pages *p)
{
    struct buf path;
    buf_init(&path, HTTP_URL_MAX);
    buf_add_str(&path, "/v1/messages");
    cli_path_query(&path, "status", status);
    cli_path_query(&path, "to", v->to);
    cli_path_query(&path, "since", v->since);
    cli_path_query(&path, "until", v->until);
    cli_path_tenant(&path, &v->cli);
    int code = pages_read(p, buf_slice(&path));
    buf_fini(&path);
    return code;
}

static int
list(const struct view *v, const char *domain)
{
    static const char *const HEADS[] = {"ID", "TENANT", "STATUS", "ACCEPTED", "SIZE", "FROM", "TO"};
    static const char *const WAITING[] = {"queued", "deferred", "held"};
    struct pages p = {
        .cli = &v->cli, .align = "llllrll", .heads = HEADS, .add = add_message, .left = v->limit};
    int code = EX_OK;
    if (domain != NULL)
        return cli_usage(&v->cli, "%s: ls looks for recipients with --to", domain);
    pages_begin(&p);
    if (v->status != NULL)
        code = list_status(v, v->status, &p);
    for (size_t i = 0; v->status == NULL && code == EX_OK && i < ARRAY_LEN(WAITING); i++)
        code = list_status(v, WAITING[i], &p);
    pages_end(&p);
    return code;
}

/* ---- the command ---------------------------------------------------------------- */

static int
run(struct view *v, int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(const struct view *v, const char *domain);
    } VERBS[] = {{"summary", summary}, {"ls", list}, {"shape", shape}};
    static char summary_word[] = "summary";
    char *of_domain[] = {summary_word, argc > 0 ? argv[0] : NULL};
    if (argc == 1 && strchr(argv[0], '.') != NULL) { /* no verb has a dot */
        argc = 2;
        argv = of_domain;
    }
    const char *verb = argc > 0 ? argv[0] : summary_word;
    if (argc > 2)
        return cli_usage(&v->cli, "%s: one domain at most", argv[2]);
    for (size_t i = 0; i < ARRAY_LEN(VERBS); i++)
        if (strcmp(VERBS[i].name, verb) == 0) {
            int code = cli_open(&v->cli);
            return code == EX_OK ? VERBS[i].run(v, argc > 1 ? argv[1] : NULL) : code;
        }
    return cli_usage(&v->cli, "%s: summary, ls or shape is needed", verb);
}

static bool
view_option(struct view *v, int id, const char *value, int *code)
{
    const char **texts[] = {[O_STATUS] = &v->status,
                            [O_TO] = &v->to,
                            [O_SINCE] = &v->since,
                            [O_UNTIL] = &v->until,
                            [O_LIMIT] = &v->limit_text};
    if (id < O_STATUS || id > O_LIMIT)
        return cli_option(&v->cli, id, value, code);
    *texts[id] = value;
    if (id != O_LIMIT ||
        (slice_to_u64(slice_str(value), &v->limit) && v->limit >= 1 && v->limit <= LIMIT_MOST))
        return true;
    *code = cli_usage(&v->cli, "--limit %s: a number from 1 to %d is wanted", value, LIMIT_MOST);
    return false;
}

int
queue_main(int argc, char **argv)
{
    static const struct option OPTIONS[] = {
        {"status", required_argument, NULL, O_STATUS}, {"to", required_argument, NULL, O_TO},
        {"since", required_argument, NULL, O_SINCE},   {"until", required_argument, NULL, O_UNTIL},
        {"limit", required_argument, NULL, O_LIMIT},   CLI_OPTIONS};
    struct view v = {.cli = {.name = "queue", .usage = USAGE}, .limit = LIMIT_DEFAULT};
    int id, code;
    while ((id = getopt_long(argc, argv, CLI_SHORT, OPTIONS, NULL)) != -1)
        if (!view_option(&v, id, optarg, &code))
            return code;
    return run(&v, argc - optind, argv + optind);
}

int
queue_mailq_main(int argc, char **argv)
{
    char ls[] = "ls", *words[] = {argv[0], ls, NULL};
    struct view v = {.cli = {.name = "mailq", .usage = USAGE}, .limit = LIMIT_DEFAULT};
    return argc == 1 ? run(&v, 1, words + 1) : cli_usage(&v.cli, "mailq takes no arguments");
}
