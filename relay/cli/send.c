#include "relay/cli/send.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/cli/check_config.h"
#include "relay/cli/cli.h"
#include "relay/cli/local_mail.h"
#include "relay/cli/post.h"
#include "relay/sys/base/base64.h"
#include "relay/sys/base/limits.h"

static const char USAGE[] =
    "usage: stagepost send --from A --to B [--to C]... [--subject S] [FILE]   a text\n"
    "       stagepost send --raw [--from A] [--to B]... [FILE]                a finished message\n"
    "FILE is read from standard input when it is missing or \"-\". Prints the message's id.\n"
    "  --cc A, --bcc A, --reply-to A\n"
    "  --html FILE    the same in HTML\n"
    "  --attach FILE  may be repeated\n"
    "  --key KEY      idempotency key: with it a repeated command sends once\n"
    "  --as USER      the credential whose policy applies; else $STAGEPOST_CREDENTIAL,\n"
    "                 else sendmail_credential of the configuration file\n"
    "--raw: line ends are made CRLF, Bcc goes; sender and recipients, when they are not\n"
    "given, are those of the header.\n" CLI_OPTIONS_HELP;

enum { O_FROM = 1, O_TO, O_CC, O_BCC, O_REPLY_TO, O_SUBJECT, O_HTML, O_ATTACH, O_KEY, O_AS, O_RAW };

static const struct option OPTIONS[] = {{"from", required_argument, NULL, O_FROM},
                                        {"to", required_argument, NULL, O_TO},
                                        {"cc", required_argument, NULL, O_CC},
                                        {"bcc", required_argument, NULL, O_BCC},
                                        {"reply-to", required_argument, NULL, O_REPLY_TO},
                                        {"subject", required_argument, NULL, O_SUBJECT},
                                        {"html", required_argument, NULL, O_HTML},
                                        {"attach", required_argument, NULL, O_ATTACH},
                                        {"key", required_argument, NULL, O_KEY},
                                        {"as", required_argument, NULL, O_AS},
                                        {"raw", no_argument, NULL, O_RAW},
                                        CLI_OPTIONS};

struct send {
    struct cli cli;
    json_t *draft; /* the body of POST /v1/messages as it grows */
    const char *file, *key, *as;
    bool raw;
};

/* ---- parts of the draft -------------------------------------------------------- */

static int
fail(const struct send *s, const struct err *err)
{
    return cli_fail(&s->cli, err->code == ERR_NOT_FOUND ? EX_NOINPUT : EX_DATAERR, "%s", err->text);
}

/* JSON text is UTF-8, and so must be what becomes part of it. */
static int
set_text(const struct send *s, const char *name, struct slice text)
{
    json_t *v = json_stringn(text.n > 0 ? text.p : "", text.n);
    if (v == NULL)
        return cli_fail(&s->cli, EX_DATAERR, "the %s is not UTF-8", name);
    return json_object_set_new(s->draft, name, v) == 0 ? EX_OK : EX_SOFTWARE;
}

static int
set_file(const struct send *s, const char *name, const char *path)
{
    struct buf text;
    struct err err = {0};
    int code = post_read_input(path, &text, &err) == 0 ? set_text(s, name, buf_slice(&text))
                                                       : fail(s, &err);
    buf_fini(&text);
    return code;
}

static void
append(const struct send *s, const char *name, json_t *value)
{
    json_t *list = json_object_get(s->draft, name);
    if (list == NULL) {
        list = json_array();
        json_object_set_new(s->draft, name, list);
    }
    json_array_append_new(list, value);
}

static int
append_text(const struct send *s, const char *name, const char *value)
{
    json_t *v = json_string(value);
    if (v == NULL)
        return cli_fail(&s->cli, EX_DATAERR, "--%s: not UTF-8", name);
    append(s, name, v);
    return EX_OK;
}

static int
attach(const struct send *s, const char *path)
{
    struct buf bytes, text;
    struct err err = {0};
    const char *slash = strrchr(path, '/');
    int code = post_read_input(path, &bytes, &err) == 0 ? EX_OK : fail(s, &err);
    buf_init(&text, HTTP_BODY_MAX);
    if (code == EX_OK && !base64_encode(buf_slice(&bytes), &text))
        code = cli_fail(&s->cli, EX_DATAERR, "%s: too large", path);
    json_t *a = json_pack("{s:s%}", "content", text.len > 0 ? buf_slice(&text).p : "", text.len);
    if (a == NULL ||
        json_object_set_new(a, "filename", json_string(slash != NULL ? slash + 1 : path)) != 0)
        code = cli_fail(&s->cli, EX_DATAERR, "%s: the name is not UTF-8", path);
    if (code == EX_OK)
        append(s, "attachments", json_incref(a));
    json_decref(a);
    buf_fini(&text);
    buf_fini(&bytes);
    return code;
}

/* ---- options -------------------------------------------------------------------- */

static int
draft_option(const struct send *s, int id, const char *value)
{
    static const char *const TEXTS[] = {
        [O_FROM] = "from", [O_REPLY_TO] = "reply_to", [O_SUBJECT] = "subject"};
    static const char *const LISTS[] = {[O_TO] = "to", [O_CC] = "cc", [O_BCC] = "bcc"};
    if (id == O_HTML)
        return set_file(s, "html", value);
    if (id == O_ATTACH)
        return attach(s, value);
    if (id == O_TO || id == O_CC || id == O_BCC)
        return append_text(s, LISTS[id], value);
    return set_text(s, TEXTS[id], slice_str(value));
}

static bool
one_option(struct send *s, int id, const char *value, int *code)
{
    if (id == O_KEY)
        s->key = value;
    else if (id == O_AS)
        s->as = value;
    else if (id == O_RAW)
        s->raw = true;
    else if (id >= CLI_O_STATE || id == 'c' || id == '?')
        return cli_option(&s->cli, id, value, code);
    else
        *code = draft_option(s, id, value);
    return *code == EX_OK;
}

/* ---- sending --------------------------------------------------------------------- */

static int
tell(const struct send *s, int rc, struct client_answer *a, const struct err *err)
{
    json_t *answer;
    int code = cli_judge(&s->cli, rc, a, err, &answer);
    if (answer != NULL)
        cli_print(cli_text(answer, "id"));
    json_decref(answer);
    return code;
}

static int
send_draft(const struct send *s, const char *credential)
{
    char key[ID_TEXT_BYTES + 1];
    struct client_answer a;
    struct err err = {0};
    int code = set_file(s, "text", s->file);
    if (code != EX_OK)
        return code;
    char *body = json_dumps(s->draft, JSON_COMPACT);
    post_make_key(key);
    struct client_request q = {.method = "POST",
                               .path = "/v1/messages",
                               .credential = credential,
                               .idempotency_key = s->key != NULL ? s->key : key,
                               .content_type = "application/json",
                               .body = slice_str(body)};
    int rc = client_ask_patiently(&s->cli.place.socket, &q, &a, &err);
    free(body);
    return tell(s, rc, &a, &err);
}

/* --to and --from stand in for the header's. */
static int
address_message(const struct send *s, struct local_mail *m, struct slice *from, struct err *err)
{
    size_t i;
    json_t *to;
    struct slice said = cli_text(s->draft, "from");
    json_array_foreach(json_object_get(s->draft, "to"), i,
                       to) if (local_mail_add(m, slice_str(json_string_value(to)), "localhost",
                                              err) != 0) return -1;
    *from = said.n > 0 ? said : m->sender;
    return 0;
}

static int
send_message(const struct send *s, const char *credential, struct local_mail *m)
{
    struct local_mail_wish wish = {.recipients_from_header =
                                       json_object_get(s->draft, "to") == NULL,
                                   .host = "localhost",
                                   .from = cli_text(s->draft, "from")};
    struct client_answer a;
    struct slice from;
    struct buf input;
    struct err err = {0};
    int rc = post_read_input(s->file, &input, &err);
    if (rc == 0)
        rc = local_mail_read(m, &wish, buf_slice(&input), &err);
    buf_fini(&input);
    if (rc != 0 || address_message(s, m, &from, &err) != 0)
        return fail(s, &err);
    struct post p = {.credential = credential,
                     .from = from,
                     .to = m->to,
                     .to_count = m->to_count,
                     .message = buf_slice(&m->message),
                     .key = s->key};
    rc = post_raw(&s->cli, &p, &a, &err);
    return tell(s, rc, &a, &err);
}

static int
run(struct send *s)
{
    struct local_mail m;
    int code = cli_open(&s->cli);
    if (code != EX_OK)
        return code;
    const char *credential = post_credential(&s->cli, s->as);
    if (credential[0] == '\0')
        return cli_fail(&s->cli, EX_CONFIG, POST_NO_CREDENTIAL);
    if (!s->raw)
        return send_draft(s, credential);
    local_mail_init(&m);
    code = send_message(s, credential, &m);
    local_mail_fini(&m);
    return code;
}

static int
parse_and_run(struct send *s, int argc, char **argv)
{
    int id, code = EX_OK;
    while ((id = getopt_long(argc, argv, CLI_SHORT, OPTIONS, NULL)) != -1)
        if (!one_option(s, id, optarg, &code))
            return code;
    if (argc - optind > 1)
        return cli_usage(&s->cli, "%s: one file at most", argv[optind + 1]);
    s->file = optind < argc ? argv[optind] : "-";
    bool addressed =
        json_object_get(s->draft, "from") != NULL && json_object_get(s->draft, "to") != NULL;
    return s->raw || addressed ? run(s) : cli_usage(&s->cli, "--from and --to are needed");
}

int
send_main(int argc, char **argv)
{
    struct send s = {.cli = {.name = "send", .usage = USAGE}, .draft = json_object()};
    int code = parse_and_run(&s, argc, argv);
    json_decref(s.draft);
    return code;
}
