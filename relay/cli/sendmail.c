#include "relay/cli/sendmail.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "relay/cli/check_config.h"
#include "relay/cli/local_mail.h"
#include "relay/cli/post.h"
#include "relay/cli/queue.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"

static const char USAGE[] =
    "usage: stagepost sendmail [-t] [-i] [-f SENDER] [-F NAME] [RECIPIENT]... <MESSAGE\n"
    "  -t             recipients are in To, Cc and Bcc\n"
    "  -i, -oi        a line with a single dot is not the end\n"
    "  -f, -r SENDER  who hears of failures; without it, the address in From\n"
    "  -F NAME        for the From that a message without one gets\n"
    "  -bm            the default; -bp is mailq\n"
    "  --as USER      the credential whose policy applies; else $STAGEPOST_CREDENTIAL,\n"
    "                 else sendmail_credential of the configuration file\n"
    "Other options of sendmail are read over: -B -h -L -N -O -o -R -U -V -v -X.\n" CLI_OPTIONS_HELP;

/* ---- options ------------------------------------------------------------------ */

enum { O_AS = 1 };

/* -oi, -oem, -odb ...: one letter and perhaps a value. */
static bool
mode_option(struct sendmail_options *o, int id, const char *value, int *code)
{
    if (id == 'o') {
        o->dots_are_text = o->dots_are_text || value[0] == 'i';
        return true;
    }
    if (strcmp(value, "m") == 0)
        return true;
    o->list_queue = strcmp(value, "p") == 0;
    if (!o->list_queue)
        *code = cli_usage(&o->cli, "-b%s: this program takes messages only", value);
    return o->list_queue;
}

static bool
one_option(struct sendmail_options *o, int id, const char *value, int *code)
{
    switch (id) {
    case 't':
        o->recipients_from_header = true;
        return true;
    case 'i':
        o->dots_are_text = true;
        return true;
    case 'f':
    case 'r':
        o->sender = strcmp(value, "<>") == 0 ? "" : value;
        return true;
    case 'F':
        o->full_name = value;
        return true;
    case O_AS:
        o->as = value;
        return true;
    case 'o':
    case 'b':
        return mode_option(o, id, value, code);
    case 'C':
        o->cli.config = value;
        return true;
    default:
        if (id >= CLI_O_STATE || id == '?')
            return cli_option(&o->cli, id, value, code);
        return true; /* read over */
    }
}

bool
sendmail_parse(struct sendmail_options *o, int argc, char **argv, int *code)
{
    static const struct option OPTIONS[] = {{"as", required_argument, NULL, O_AS}, CLI_OPTIONS};
    /* '+': what follows a recipient is a recipient, so that no address is an option. */
    static const char SHORT[] = "+tif:r:F:b:o:O:B:N:R:V:h:L:X:C:vUGnm";
    int id;
    *o = (struct sendmail_options){.cli = {.name = "sendmail", .usage = USAGE}};
    while ((id = getopt_long(argc, argv, SHORT, OPTIONS, NULL)) != -1)
        if (!one_option(o, id, optarg, code))
            return false;
    o->to = argv + optind;
    o->to_count = (unsigned)(argc - optind);
    return true;
}

/* ---- the message ---------------------------------------------------------------- */

struct job {
    const struct sendmail_options *o;
    char host[256];
    struct local_mail sender; /* of which to[0]: -f, or the user at this host */
    struct local_mail mail;
};

static void
find_host(const struct sendmail_options *o, char out[256])
{
    if (o->cli.place.hostname[0] != '\0')
        snprintf(out, 256, "%s", o->cli.place.hostname);
    else if (gethostname(out, 256) != 0 || memchr(out, '\0', 256) == NULL || out[0] == '\0')
        snprintf(out, 256, "localhost");
}

static const char *
who_am_i(void)
{
    const struct passwd *p = getpwuid(getuid());
    return p != NULL && p->pw_name[0] != '\0' ? p->pw_name : "nobody";
}

static bool
is_given(const char *address)
{
    return address != NULL && address[0] != '\0';
}

static int
find_sender(struct job *j)
{
    struct err err = {0};
    const char *said = is_given(j->o->sender) ? j->o->sender : who_am_i();
    if (local_mail_add(&j->sender, slice_str(said), j->host, &err) == 0 && j->sender.to_count == 1)
        return EX_OK;
    return cli_usage(&j->o->cli, "-f %s: not an address", said);
}

static int
fail(const struct job *j, int code, const struct err *err)
{
    return cli_fail(&j->o->cli, code, "%s", err->text);
}

/* A refusal of a recipient is what callers know as "no such user". */
static int
code_of_refusal(const struct client_answer *a)
{
    struct slice body = buf_slice(&a->body);
    size_t i;
    json_t *e, *j = json_loadb(body.n > 0 ? body.p : "", body.n, 0, NULL);
    int code = client_exit_of_status(a->status);
    json_array_foreach(json_object_get(j, "errors"), i,
                       e) if (code == EX_DATAERR && slice_eq(cli_text(e, "pointer"), SLICE("/to")))
        code = EX_NOUSER;
    json_decref(j);
    return code;
}

/* -f, else From, else the user. */
static struct slice
reverse_path(const struct job *j)
{
    if (j->o->sender != NULL)
        return is_given(j->o->sender) ? j->sender.to[0] : SLICE("");
    return j->mail.sender.n > 0 ? j->mail.sender : j->sender.to[0];
}

static int
hand_in(const struct job *j)
{
    const struct cli *c = &j->o->cli;
    struct client_answer a;
    struct err err = {0};
    json_t *answer;
    struct post p = {.credential = post_credential(c, j->o->as),
                     .from = reverse_path(j),
                     .to = j->mail.to,
                     .to_count = j->mail.to_count,
                     .message = buf_slice(&j->mail.message)};
    if (p.credential[0] == '\0')
        return cli_fail(c, EX_CONFIG, POST_NO_CREDENTIAL);
    int rc = post_raw(c, &p, &a, &err);
    int code = rc != 0 ? client_exit_of_err(&err) : code_of_refusal(&a);
    cli_judge(c, rc, &a, &err, &answer);
    json_decref(answer);
    return code == EX_UNAVAILABLE ? EX_TEMPFAIL : code;
}

static int
read_message(struct job *j)
{
    const struct sendmail_options *o = j->o;
    struct local_mail_wish wish = {.recipients_from_header = o->recipients_from_header,
                                   .dot_ends = !o->dots_are_text,
                                   .host = j->host,
                                   .from = j->sender.to[0],
                                   .full_name = o->full_name};
    struct buf input;
    struct err err = {0};
    int rc = post_read_input("-", &input, &err);
    if (rc == 0)
        rc = local_mail_read(&j->mail, &wish, buf_slice(&input), &err);
    buf_fini(&input);
    return rc == 0 ? EX_OK : fail(j, EX_DATAERR, &err);
}

static int
add_recipients(struct job *j)
{
    struct err err = {0};
    for (unsigned i = 0; i < j->o->to_count; i++)
        if (local_mail_add(&j->mail, slice_str(j->o->to[i]), j->host, &err) != 0)
            return fail(j, EX_NOUSER, &err);
    return j->mail.to_count > 0 ? EX_OK : cli_usage(&j->o->cli, "there are no recipients");
}

static int
run(struct sendmail_options *o)
{
    struct job j = {.o = o};
    int code = cli_open(&o->cli);
    if (code != EX_OK)
        return code;
    find_host(o, j.host);
    local_mail_init(&j.sender);
    local_mail_init(&j.mail);
    code = find_sender(&j);
    if (code == EX_OK)
        code = read_message(&j);
    if (code == EX_OK)
        code = add_recipients(&j);
    if (code == EX_OK)
        code = hand_in(&j);
    local_mail_fini(&j.mail);
    local_mail_fini(&j.sender);
    return code;
}

int
sendmail_main(int argc, char **argv)
{
    struct sendmail_options o;
    int code;
    if (!sendmail_parse(&o, argc, argv, &code))
        return code;
    if (!o.list_queue)
        return run(&o);
    char name[] = "mailq", *words[] = {name, NULL};
    return queue_mailq_main(1, words);
}
