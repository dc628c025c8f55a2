#include "relay/cli/credential.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/cli/check_config.h"
#include "relay/cli/cli.h"
#include "relay/cli/scram_key_print.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/limits.h"

static const char USAGE[] =
    "usage: stagepost credential ls [--tenant T]      all there are\n"
    "       stagepost credential add USER --tenant T --sender DOMAIN|ADDRESS...\n"
    "                                      prints password and API key, once\n"
    "       stagepost credential rotate USER          a second password and key; the oldest end\n"
    "       stagepost credential freeze USER          nothing more is taken, what waits is held\n"
    "       stagepost credential unfreeze USER\n"
    "       stagepost credential rm USER\n"
    "       stagepost credential scram [--like KEY]   prints what the configuration file keeps "
    "for\n"
    "                                      SCRAM-SHA-256 of a password, read from standard input;\n"
    "                                      --like: beside this one, while it replaces the other\n"
    "  --class C      transactional (default) or bulk\n"
    "  --network N    from where it may be used, --recipient R to whom: each may be repeated\n"
    "  --rate R       such as 100/m; --daily N, --new-recipients N, --expires "
    "DATE\n" CLI_OPTIONS_HELP;

struct credential {
    struct cli cli;
    json_t *fields; /* of a new one */
    const char *user, *like;
};

static bool
goes_through_mail(const char *verb)
{
    return verb != NULL && (strcmp(verb, "freeze") == 0 || strcmp(verb, "unfreeze") == 0);
}

/* The gateway ends what it has begun, whether or not somebody still waits for it. */
static int
ask(const struct credential *c, struct client_request *q, bool sweeps, json_t **answer)
{
    struct client_answer a;
    struct err err = {0};
    if (sweeps)
        q->timeout_ms = clock_scaled_ms(CLI_SWEEP_TIMEOUT_MS);
    int rc = client_ask(&c->cli.place.socket, q, &a, &err);
    if (rc != 0 && sweeps && err.code == ERR_TIMEOUT)
        err_set(&err, ERR_TIMEOUT,
                "the gateway is not done with the waiting mail yet; it goes on, ask again later");
    return cli_judge(&c->cli, rc, &a, &err, answer);
}

static int
call(const struct credential *c, const char *method, const char *verb, struct slice body,
     json_t **answer)
{
    struct buf path;
    buf_init(&path, HTTP_URL_MAX);
    buf_add_str(&path, "/v1/credentials");
    if (c->user != NULL) {
        buf_add_char(&path, '/');
        cli_path_segment(&path, slice_str(c->user));
    }
    if (verb != NULL)
        buf_addf(&path, "/%s", verb);
    if (c->user == NULL && body.n == 0)
        cli_path_tenant(&path, &c->cli);
    struct client_request q = {.method = method,
                               .path = cli_path(&path),
                               .content_type = body.n > 0 ? "application/json" : NULL,
                               .body = body};
    int code = ask(c, &q, goes_through_mail(verb), answer);
    buf_fini(&path);
    return code;
}

static int
list(struct credential *c)
{
    static const char *const HEADS[] = {"USER", "TENANT", "CLASS", "KEPT IN", "STATE"};
    struct table t;
    json_t *answer, *row;
    size_t i;
    int code = call(c, "GET", NULL, SLICE_NONE, &answer);
    if (answer == NULL)
        return code;
    table_init(&t, "lllll", HEADS);
    json_array_foreach(json_object_get(answer, "data"), i, row)
    {
        table_add(&t, cli_text(row, "user"));
        table_add(&t, cli_text(row, "tenant"));
        table_add(&t, cli_text(row, "class"));
        table_add(&t, cli_text(row, "kept_in"));
        table_add(&t, json_is_true(json_object_get(row, "frozen")) ? SLICE("frozen") : SLICE("-"));
    }
    cli_print_table(&t);
    json_decref(answer);
    return code;
}

/* What a change answers with: secrets that are shown nowhere else. */
static int
show(int code, json_t *answer)
{
    static const char *const SHOWN[] = {"user", "password", "key"};
    for (size_t i = 0; answer != NULL && i < ARRAY_LEN(SHOWN); i++) {
        char line[512];
        struct slice text = cli_text(answer, SHOWN[i]);
        if (text.n == 0)
            continue;
        snprintf(line, sizeof line, "%-9s %.*s", SHOWN[i], SLICE_FMT(text));
        cli_print(slice_str(line));
    }
    if (answer != NULL && json_object_get(answer, "affected") != NULL)
        printf("%lld recipients of waiting mail\n", cli_number(answer, "affected"));
    if (cli_number(answer, "in_flight") > 0)
        printf("%lld are being delivered now: ask again when that is over\n",
               cli_number(answer, "in_flight"));
    json_decref(answer);
    return code;
}

static int
add(struct credential *c)
{
    json_t *answer;
    json_object_set_new(c->fields, "user", json_string(c->user));
    if (c->cli.tenant != NULL)
        json_object_set_new(c->fields, "tenant", json_string(c->cli.tenant));
    char *text = json_dumps(c->fields, JSON_COMPACT);
    c->user = NULL; /* not in the path */
    int code = call(c, "POST", NULL, slice_str(text), &answer);
    free(text);
    return show(code, answer);
}

static int
change(struct credential *c, const char *method, const char *verb)
{
    json_t *answer;
    int code = call(c, method, verb, SLICE_NONE, &answer);
    return show(code, answer);
}

static int
run_verb(struct credential *c, const char *verb)
{
    if (strcmp(verb, "add") == 0)
        return add(c);
    if (strcmp(verb, "rm") == 0)
        return change(c, "DELETE", NULL);
    return change(c, "POST", verb);
}

static int
run(struct credential *c, int argc, char **argv)
{
    static const char *const VERBS[] = {"add", "rm", "rotate", "freeze", "unfreeze"};
    bool is_list = argc == 1 && strcmp(argv[0], "ls") == 0, known = is_list;
    for (size_t i = 0; argc > 0 && i < ARRAY_LEN(VERBS); i++)
        known |= strcmp(VERBS[i], argv[0]) == 0;
    if (argc == 1 && strcmp(argv[0], "scram") == 0)
        return scram_key_print(c->like);
    if (!known)
        return cli_usage(&c->cli, "ls, add, rotate, freeze, unfreeze, rm or scram is needed");
    if (!is_list && argc != 2)
        return cli_usage(&c->cli, "%s takes one user", argv[0]);
    int code = cli_open(&c->cli);
    if (code != EX_OK)
        return code;
    c->user = is_list ? NULL : argv[1];
    return is_list ? list(c) : run_verb(c, argv[0]);
}

/* An option of `add`, as a member of the request. */
enum {
    O_SENDER = 1,
    O_NETWORK,
    O_RECIPIENT,
    O_CLASS,
    O_RATE,
    O_EXPIRES,
    O_DAILY,
    O_NEW,
    O_END,
    O_LIKE
};

static bool
take_field(json_t *fields, int id, const char *value)
{
    static const char *const NAMES[O_END] = {
        [O_SENDER] = "senders", [O_NETWORK] = "networks",  [O_RECIPIENT] = "recipients",
        [O_CLASS] = "class",    [O_RATE] = "rate",         [O_EXPIRES] = "expires",
        [O_DAILY] = "daily",    [O_NEW] = "new_recipients"};
    uint64_t number;
    if (id < O_SENDER || id >= O_END)
        return false;
    if (id <= O_RECIPIENT) {
        json_t *list = json_object_get(fields, NAMES[id]);
        if (list == NULL)
            json_object_set_new(fields, NAMES[id], list = json_array());
        json_array_append_new(list, json_string(value));
    } else if (id >= O_DAILY && slice_to_u64(slice_str(value), &number)) {
        json_object_set_new(fields, NAMES[id], json_integer((json_int_t)number));
    } else {
        json_object_set_new(fields, NAMES[id], json_string(value)); /* the gateway judges it */
    }
    return true;
}

int
credential_main(int argc, char **argv)
{
    static const struct option OPTIONS[] = {{"sender", required_argument, NULL, O_SENDER},
                                            {"network", required_argument, NULL, O_NETWORK},
                                            {"recipient", required_argument, NULL, O_RECIPIENT},
                                            {"class", required_argument, NULL, O_CLASS},
                                            {"rate", required_argument, NULL, O_RATE},
                                            {"expires", required_argument, NULL, O_EXPIRES},
                                            {"daily", required_argument, NULL, O_DAILY},
                                            {"new-recipients", required_argument, NULL, O_NEW},
                                            {"like", required_argument, NULL, O_LIKE},
                                            CLI_OPTIONS};
    struct credential c = {.cli = {.name = "credential", .usage = USAGE}, .fields = json_object()};
    int id, code = EX_OK;
    bool go_on = true;
    while (go_on && (id = getopt_long(argc, argv, CLI_SHORT, OPTIONS, NULL)) != -1)
        if (id == O_LIKE)
            c.like = optarg;
        else
            go_on = take_field(c.fields, id, optarg) || cli_option(&c.cli, id, optarg, &code);
    if (go_on)
        code = run(&c, argc - optind, argv + optind);
    json_decref(c.fields);
    return code;
}
