#include "relay/cli/msg.h"

#include <stdio.h>
#include <string.h>

#include "relay/cli/check_config.h"
#include "relay/cli/cli.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"

enum { RECIPIENTS_MAX = 100, ID_TEXT_MAX = 64 };

static const char USAGE[] =
    "usage: stagepost msg ID                    status of each recipient, and the trace\n"
    "       stagepost msg ID explain            the same in sentences\n"
    "       stagepost msg ID raw                the message as it is stored\n"
    "       stagepost msg ID retry              try now what waits\n"
    "       stagepost msg ID cancel             give up what is not being delivered just now\n"
    "       stagepost msg ID hold | release     keep what waits back, let it go\n"
    "  --to ADDRESS   these recipients only (retry, cancel, hold, release)\n" CLI_OPTIONS_HELP;

struct msg {
    struct cli cli;
    const char *id;
    const char *to[RECIPIENTS_MAX];
    unsigned to_count;
};

static void
add_path(const struct msg *m, const char *tail, struct buf *path)
{
    buf_init(path, HTTP_URL_MAX);
    buf_add_str(path, "/v1/messages/");
    cli_path_segment(path, slice_str(m->id));
    buf_add_str(path, tail);
    cli_path_tenant(path, &m->cli);
}

static int
call(const struct msg *m, const char *method, const char *tail, struct slice body, json_t **answer)
{
    struct buf path;
    add_path(m, tail, &path);
    struct client_request q = {.method = method,
                               .path = cli_path(&path),
                               .content_type = body.n > 0 ? "application/json" : NULL,
                               .body = body};
    int code = cli_call(&m->cli, &q, answer);
    buf_fini(&path);
    return code;
}

/* ---- the answer in words ------------------------------------------------------ */

static void
print_line(const char *name, struct slice value)
{
    printf("%-10s", name);
    cli_print(value);
}

static void
print_head(const json_t *m)
{
    char at[32];
    struct buf line;
    buf_init(&line, 256);
    print_line("Message", cli_text(m, "id"));
    print_line("Status", cli_text(m, "status"));
    if (cli_text(m, "tenant").n > 0)
        print_line("Tenant", cli_text(m, "tenant"));
    print_line("From", cli_text(m, "from").n > 0 ? cli_text(m, "from") : SLICE("<>"));
    print_line("Subject", cli_text(m, "subject"));
    print_line("Accepted", cli_time(m, "created_at", at));
    buf_addf(&line, "%lld bytes", cli_number(m, "size"));
    print_line("Size", buf_slice(&line));
    buf_fini(&line);
}

static void
print_recipients(const json_t *m)
{
    static const char *const HEADS[] = {"RECIPIENT", "STATUS", "TRIES", "NEXT TRY", "LAST REPLY"};
    struct table t;
    struct buf reply;
    char at[32];
    size_t i;
    json_t *r;
    table_init(&t, "llrll", HEADS);
    buf_init(&reply, VERDICT_RECORD_MAX + 256);
    json_array_foreach(json_object_get(m, "recipients"), i, r)
    {
        bool uncertain = json_is_true(json_object_get(r, "uncertain"));
        buf_clear(&reply);
        cli_add_reply(&reply, json_object_get(r, "last_response"));
        table_add(&t, cli_text(r, "email"));
        table_addf(&t, "%.40s%s", cli_text(r, "status").p, uncertain ? " (uncertain)" : "");
        table_addf(&t, "%lld", cli_number(r, "attempts"));
        table_add(&t, cli_time(r, "next_attempt_at", at));
        table_add(&t, buf_slice(&reply));
    }
    putchar('\n');
    cli_print_table(&t);
    buf_fini(&reply);
}

static void
print_trace(const json_t *events)
{
    static const char *const HEADS[] = {"TIME", "EVENT", "RECIPIENT", "REPLY"};
    struct table t;
    struct buf reply;
    char at[32];
    size_t i;
    json_t *e;
    table_init(&t, "llll", HEADS);
    buf_init(&reply, VERDICT_RECORD_MAX + 256);
    json_array_foreach(json_object_get(events, "data"), i, e)
    {
        buf_clear(&reply);
        cli_add_reply(&reply, json_object_get(e, "response"));
        table_add(&t, cli_time(e, "time", at));
        table_add(&t, cli_text(e, "type"));
        table_add(&t, cli_text(e, "recipient"));
        table_add(&t, buf_slice(&reply));
    }
    putchar('\n');
    cli_print_table(&t);
    buf_fini(&reply);
}

static const char *
sentence_of(struct slice status)
{
    static const struct {
        const char *status, *sentence;
    } SENTENCES[] = {
        {"queued", "waits for its first attempt"},
        {"scheduled", "waits for the time that it was asked for"},
        {"deferred", "could not be delivered yet and will be tried again"},
        {"held", "is kept back until somebody releases it"},
        {"delivered", "was delivered: the recipient's server has taken it"},
        {"bounced", "was refused for good; its sender was told unless that is no address"},
        {"expired", "was given up: no attempt succeeded within the retry period"},
        {"suppressed", "was not tried: the address is on the suppression list"},
        {"cancelled", "was cancelled"},
    };
    for (size_t i = 0; i < ARRAY_LEN(SENTENCES); i++)
        if (slice_eq(status, slice_str(SENTENCES[i].status)))
            return SENTENCES[i].sentence;
    return "is in a state that this command does not know";
}

static void
explain_recipient(const json_t *r, struct buf *out)
{
    char at[32];
    const json_t *reply = json_object_get(r, "last_response");
    struct slice next = cli_time(r, "next_attempt_at", at);
    long long attempts = cli_number(r, "attempts");
    buf_addf(out, "%.*s: ", SLICE_FMT(cli_text(r, "email")));
    buf_add_str(out, sentence_of(cli_text(r, "status")));
    buf_addf(out, " (%lld attempt%s).", attempts, attempts == 1 ? "" : "s");
    if (json_is_object(reply)) {
        buf_add_str(out, cli_number(reply, "code") > 0 ? " The last reply: " : " We found: ");
        cli_add_reply(out, reply);
        buf_add_str(out, ".");
    }
    if (!slice_eq(next, SLICE("-")))
        buf_addf(out, " Next attempt: %.*s.", SLICE_FMT(next));
    if (json_is_true(json_object_get(r, "uncertain")))
        buf_add_str(out, " Once the connection broke after the message was sent: there may be a "
                         "second copy.");
}

static void
print_sentences(const json_t *m)
{
    struct buf out;
    size_t i;
    json_t *r;
    putchar('\n');
    json_array_foreach(json_object_get(m, "recipients"), i, r)
    {
        buf_init(&out, VERDICT_RECORD_MAX + 2048);
        explain_recipient(r, &out);
        cli_print(buf_slice(&out));
        buf_fini(&out);
    }
}

/* ---- the verbs ------------------------------------------------------------------ */

static int
show(const struct msg *m, bool in_sentences)
{
    json_t *message, *events;
    int code = call(m, "GET", "", SLICE_NONE, &message);
    if (message == NULL)
        return code;
    print_head(message);
    if (in_sentences)
        print_sentences(message);
    else
        print_recipients(message);
    json_decref(message);
    code = call(m, "GET", "/events", SLICE_NONE, &events);
    if (events != NULL)
        print_trace(events);
    json_decref(events);
    return code;
}

static int
show_status(const struct msg *m)
{
    return show(m, false);
}

static int
explain(const struct msg *m)
{
    return show(m, true);
}

/* The bytes as they are; a refusal is said in words. */
static int
raw(const struct msg *m)
{
    struct client_answer a;
    struct err err = {0};
    struct buf path;
    json_t *nothing;
    add_path(m, "/raw", &path);
    struct client_request q = {.method = "GET", .path = cli_path(&path)};
    int rc = client_ask(&m->cli.place.socket, &q, &a, &err);
    buf_fini(&path);
    if (rc != 0 || a.status != 200)
        return cli_judge(&m->cli, rc, &a, &err, &nothing);
    fwrite(buf_slice(&a.body).p, 1, buf_slice(&a.body).n, stdout);
    buf_fini(&a.body);
    return EX_OK;
}

static int
act(const struct msg *m, const char *tail, const char *done)
{
    json_t *answer, *body = json_object(), *list = json_array();
    for (unsigned i = 0; i < m->to_count; i++)
        json_array_append_new(list, json_string(m->to[i]));
    json_object_set_new(body, "recipients", list);
    char *text = m->to_count > 0 ? json_dumps(body, JSON_COMPACT) : NULL;
    json_decref(body);
    int code = call(m, "POST", tail, slice_str(text), &answer);
    if (answer != NULL)
        printf("%lld recipient%s %s\n", cli_number(answer, "affected"),
               cli_number(answer, "affected") == 1 ? "" : "s", done);
    if (cli_number(answer, "in_flight") > 0)
        printf("%lld being delivered now: ask again when that is over\n",
               cli_number(answer, "in_flight"));
    json_decref(answer);
    free(text);
    return code;
}

static int
retry(const struct msg *m)
{
    return act(m, "/retry", "due now");
}

static int
cancel(const struct msg *m)
{
    return act(m, "/cancel", "cancelled");
}

static int
hold(const struct msg *m)
{
    return act(m, "/hold", "held");
}

static int
release(const struct msg *m)
{
    return act(m, "/release", "released");
}

static int
run(struct msg *m, const char *verb)
{
    static const struct {
        const char *name;
        int (*run)(const struct msg *m);
    } VERBS[] = {{"status", show_status}, {"explain", explain}, {"raw", raw},
                 {"retry", retry},        {"cancel", cancel},   {"hold", hold},
                 {"release", release}};
    for (size_t i = 0; i < ARRAY_LEN(VERBS); i++)
        if (strcmp(VERBS[i].name, verb) == 0) {
            int code = cli_open(&m->cli);
            return code == EX_OK ? VERBS[i].run(m) : code;
        }
    return cli_usage(&m->cli, "%s: not something that can be done with a message", verb);
}

int
msg_main(int argc, char **argv)
{
    enum { O_TO = 1 };
    static const struct option OPTIONS[] = {{"to", required_argument, NULL, O_TO}, CLI_OPTIONS};
    struct msg m = {.cli = {.name = "msg", .usage = USAGE}};
    int id, code;
    while ((id = getopt_long(argc, argv, CLI_SHORT, OPTIONS, NULL)) != -1) {
        if (id == O_TO && m.to_count == RECIPIENTS_MAX)
            return cli_usage(&m.cli, "at most %d recipients", RECIPIENTS_MAX);
        if (id == O_TO)
            m.to[m.to_count++] = optarg;
        else if (!cli_option(&m.cli, id, optarg, &code))
            return code;
    }
    if (optind == argc || argc - optind > 2)
        return cli_usage(&m.cli, "one message id is needed");
    m.id = argv[optind];
    return run(&m, optind + 1 < argc ? argv[optind + 1] : "status");
}
