#include "relay/cli/serve.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "relay/cli/check_config.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/base/log.h"
#include "relay/sys/base/version.h"
#include "relay/sys/proc/descriptors.h"
#include "relay/sys/proc/rights.h"
#include "relay/sys/proc/supervisor.h"

enum { EXIT_USAGE = 64, EXIT_TEMPFAIL = 75, EXIT_CONFIG = 78, READY_LINE_MAX = 8192 };

/* Everything that the configuration's strings point into. */
struct serve {
    struct config_file *file;
    struct statedir dir;
    struct rights rights;
    struct sockets sockets;
    char redis[256];
    const char *signer_paths[SIGNERS_MAX_HERE];
    struct config config; /* the file's, and what only a running gateway has */
    const char *path;
    struct config_file *next_file; /* while a reload is under way */
    struct config next;
};

static const char USAGE[] =
    "usage: stagepost serve [-c FILE]   (default: " CONFIG_DEFAULT_PATH ")\n";

static int
fail(const struct err *err)
{
    fprintf(stderr, "stagepost serve: %s\n", err->text);
    return err->code == ERR_CONFIG ? EXIT_CONFIG : EXIT_TEMPFAIL;
}

static void
wish_sockets(const struct config_draft *draft, struct socket_wishes *w)
{
    const struct config *c = &draft->config;
    *w = (struct socket_wishes){.listener_count = c->listener_count,
                                .workers = draft->workers,
                                .signers = draft->signers,
                                .sandbox = false};
    for (unsigned i = 0; i < c->listener_count; i++)
        BUG_ON(!net_address_from_ip(slice_str(c->listeners[i].address), c->listeners[i].port,
                                    &w->listeners[i]));
}

static void
complete_config(struct serve *s, const struct config_file *file, struct config *c,
                uint64_t generation)
{
    *c = config_file_draft(file)->config;
    c->generation = generation;
    c->state_dir = s->dir.path;
    c->run_dir = s->dir.run;
    if (c->redis_embedded) {
        snprintf(s->redis, sizeof s->redis, "unix:%s/redis.sock", s->dir.run);
        c->redis = s->redis;
    }
    for (unsigned i = 0; i < s->sockets.signers; i++)
        s->signer_paths[i] = s->sockets.signer_paths[i];
    c->signer_sockets = s->signer_paths;
    c->signer_count = s->sockets.signers;
    c->checker_socket = s->sockets.checker_path;
}

/* ---- reload ---------------------------------------------------------------- */

/* Each problem of the file as a line of the log. */
static void
log_problems(const struct config_file *f)
{
    char *text = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);
    BUG_ON(out == NULL);
    config_file_print(f, out);
    fclose(out);
    for (struct slice all = slice_from(text, n); all.n > 0;)
        LOG(LOG_WARN, "reload.problem", LF_S("text", slice_cut_at(&all, '\n')));
    free(text);
}

static const struct config *
reread(void *owner, uint64_t generation)
{
    struct serve *s = owner;
    s->next_file = config_file_read(s->path);
    check_config_materials(s->next_file);
    if (config_file_errors(s->next_file) == 0)
        config_file_compare(s->next_file, s->file);
    log_problems(s->next_file);
    unsigned errors = config_file_errors(s->next_file);
    struct err err = {.text = "the file has errors"};
    if (errors == 0 &&
        rights_check_keys(&s->rights, &config_file_draft(s->next_file)->config, &err) == 0) {
        complete_config(s, s->next_file, &s->next, generation);
        return &s->next;
    }
    LOG(LOG_ERROR, "reload.refused", LF_STR("why", err.text), LF_U("errors", errors));
    config_file_free(s->next_file);
    s->next_file = NULL;
    return NULL;
}

static void
on_reloaded(void *owner, bool ok)
{
    struct serve *s = owner;
    struct config_file *old = ok ? s->file : s->next_file;
    if (ok) {
        s->file = s->next_file;
        s->config = s->next;
    }
    s->next_file = NULL;
    config_file_free(old);
}

/* ---- the start ------------------------------------------------------------- */

static void
say_ready(void *owner)
{
    static const char *const KINDS[] = {[CONFIG_SMTP] = "smtp",
                                        [CONFIG_SMTPS] = "smtps",
                                        [CONFIG_HTTP] = "http",
                                        [CONFIG_HTTPS] = "https"};
    const struct serve *s = owner;
    struct buf line;
    char address[160];
    buf_init(&line, READY_LINE_MAX);
    buf_add_str(&line, "{\"event\":\"ready\",\"listeners\":[");
    for (unsigned i = 0; i < s->sockets.listeners; i++) {
        net_address_format(&s->sockets.at[i], address);
        buf_addf(&line, "%s{\"kind\":\"%s\",\"address\":\"%s\"}", i > 0 ? "," : "",
                 KINDS[s->config.listeners[i].kind], address);
    }
    buf_add_str(&line, "],\"state\":");
    json_add_string(&line, slice_str(s->dir.path));
    buf_addf(&line, ",\"version\":\"%s\",\"pid\":%d}\n", STAGEPOST_VERSION, (int)getpid());
    printf("%.*s", SLICE_FMT(buf_slice(&line)));
    fflush(stdout);
    buf_fini(&line);
}

static int
run(struct serve *s)
{
    const struct config_draft *draft = config_file_draft(s->file);
    struct socket_wishes wishes;
    struct err err = {0};
    BUG_ON(draft->workers > WORKERS_MAX || draft->signers > SIGNERS_MAX_HERE);
    wish_sockets(draft, &wishes);
    if (rights_find(&s->rights, draft->user, draft->signer_user, &err) != 0 ||
        rights_check_keys(&s->rights, &draft->config, &err) != 0 ||
        statedir_open(&s->dir, draft->config.state_dir, &err) != 0 ||
        statedir_claim(&s->dir, false, &err) != 0 ||
        rights_give_state(&s->rights, &s->dir, &err) != 0 ||
        sockets_bind(&s->sockets, &wishes, &s->dir, &err) != 0 ||
        rights_share_sockets(&s->rights, &s->dir, &err) != 0)
        return fail(&err);
    complete_config(s, s->file, &s->config, 1);
    if (!s->rights.separate)
        LOG(LOG_WARN, "serve.rights-not-separated",
            LF_STR("why", "not started by root: all processes are one user's"));
    struct supervisor_config supervisor = {.config = &s->config,
                                           .dir = &s->dir,
                                           .sockets = &s->sockets,
                                           .rights = &s->rights,
                                           .on_ready = say_ready,
                                           .reread = reread,
                                           .on_reloaded = on_reloaded,
                                           .owner = s};
    return supervisor_run(&supervisor);
}

/* The file, checked; false when there is nothing to start. */
static bool
read_file(struct serve *s, const char *path)
{
    s->file = config_file_read(path);
    check_config_materials(s->file);
    config_file_print(s->file, stderr);
    return config_file_errors(s->file) == 0;
}

static const char *
parse_options(int argc, char **argv, int *code)
{
    enum { O_HELP = 1 };
    static const struct option OPTIONS[] = {{"config", required_argument, NULL, 'c'},
                                            {"help", no_argument, NULL, O_HELP},
                                            {NULL, 0, NULL, 0}};
    const char *path = CONFIG_DEFAULT_PATH;
    int id;
    while ((id = getopt_long(argc, argv, "c:", OPTIONS, NULL)) != -1)
        if (id == 'c') {
            path = optarg;
        } else {
            fputs(USAGE, id == O_HELP ? stdout : stderr);
            *code = id == O_HELP ? 0 : EXIT_USAGE;
            return NULL;
        }
    if (optind == argc)
        return path;
    fprintf(stderr, "stagepost serve: %s: not an option\n%s", argv[optind], USAGE);
    *code = EXIT_USAGE;
    return NULL;
}

int
serve_main(int argc, char **argv)
{
    int code = EXIT_CONFIG;
    const char *path = parse_options(argc, argv, &code);
    if (path == NULL)
        return code;
    struct serve *s = calloc(1, sizeof *s);
    BUG_ON(s == NULL);
    s->dir.supervisor_lock_fd = s->dir.children_lock_fd = -1;
    sockets_init(&s->sockets);
    log_init("supervisor", 0, LOG_INFO);
    descriptors_raise();
    supervisor_leave_on_signals();
    signal(SIGPIPE, SIG_IGN);
    s->path = path;
    if (read_file(s, path))
        code = run(s);
    sockets_close(&s->sockets);
    statedir_close(&s->dir);
    config_file_free(s->file);
    free(s);
    return code;
}
