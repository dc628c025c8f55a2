/*
 * Happy path: the keeper of Redis, the sandbox, the signers, the checker and the
 * workers are started; when each worker has said "ready" once, on_ready is called. SIGTERM:
 * the workers drain, then the helpers, the keeper (and Redis) last.
 *
 * Ways a child ends: it is started again, at once when it lived for a while,
 * with growing pauses when it dies young.
 */
#include "relay/sys/proc/supervisor.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/id.h"
#include "relay/sys/base/limits.h"
#include "relay/sys/base/log.h"
#include "relay/sys/base/metrics.h"
#include "relay/sys/net/control.h"
#include "relay/sys/net/process.h"
#include "relay/sys/proc/child.h"
#include "relay/sys/proc/confine.h"
#include "relay/sys/proc/notify.h"
#include "relay/sys/proc/reload.h"
#include "relay/sys/proc/snapshots.h"

enum {
    RESTART_FIRST_MS = 50,
    RESTART_MAX_MS = 5000,
    YOUNG_MS = 10000,      /* a child that dies younger waits longer each time */
    CRASH_LOOP_DEATHS = 5, /* so many young deaths, one after the other, are an alarm */
    DRAIN_MS = 30000,      /* for each group of children; then SIGKILL */
    EXIT_UNAVAILABLE = 69,
    EXIT_SOFTWARE = 70,
    EXIT_CONFIG = 78,
    FDS_MAX = WORKER_FD_LISTEN + CONFIG_LISTENERS_MAX,
};

enum role { ROLE_KEEPER, ROLE_SANDBOX, ROLE_SIGNER, ROLE_CHECKER, ROLE_WORKER };
static const char *const ROLE_NAMES[] = {"redis", "sandbox", "signer", "checker", "worker"};

struct child {
    struct supervisor *sup;
    enum role role;
    unsigned number;
    struct process *process; /* NULL: not running */
    int control_fd;          /* our end; -1 when not running */
    struct control *control; /* what it says */
    struct control_user control_user;
    struct reload_part follows;       /* roles that follow reloads */
    uint8_t owner[QUEUE_OWNER_BYTES]; /* workers: of the running process */
    bool ready;
    uint64_t started_ms, pause_ms;
    unsigned young_deaths; /* one after the other */
    struct timer restart;
};

/* Children end in this order, a group at a time. */
enum phase { PHASE_RUNNING, PHASE_WORKERS, PHASE_HELPERS, PHASE_REDIS, PHASE_ENDED };

struct supervisor {
    const struct supervisor_config *cfg;
    struct loop *loop;
    struct child *children;
    unsigned count;
    struct snapshots snapshots; /* of the generation in force */
    int metrics_fd, life_read_fd, life_write_fd;
    enum phase phase;
    struct timer phase_limit;
    struct signal_watch *sigterm, *sigint, *sighup;
    struct reload reload;
    uint64_t generation;             /* the newest that was tried */
    struct snapshots next_snapshots; /* while a reload is under way */
    bool reload_again;               /* SIGHUP came during one */
    bool said_ready;
    char dataset[QUEUE_DATASET_BYTES + 1]; /* "": not known */
    int exit_code;
};

static void phase_advance(struct supervisor *s);

/* The others have nothing that a reload could change. */
static bool
follows_reloads(enum role r)
{
    return r == ROLE_WORKER || r == ROLE_SIGNER;
}

/* ---- starting ------------------------------------------------------------ */

static enum config_reader
reader_of(enum role role)
{
    return role == ROLE_WORKER   ? CONFIG_READER_WORKER
           : role == ROLE_SIGNER ? CONFIG_READER_SIGNER
                                 : CONFIG_READER_OTHER;
}

static unsigned
role_fds(const struct child *c, int fds[FDS_MAX])
{
    const struct sockets *s = c->sup->cfg->sockets;
    unsigned n = CHILD_FD_ROLE;
    if (c->role == ROLE_WORKER) {
        fds[n++] = s->operators;
        for (unsigned i = 0; i < s->listeners; i++)
            fds[n++] = s->listen[c->number][i];
    } else if (c->role == ROLE_SIGNER) {
        fds[n++] = s->signer[c->number];
    } else if (c->role == ROLE_CHECKER) {
        fds[n++] = s->checker;
    } else if (c->role == ROLE_SANDBOX) {
        fds[n++] = s->dns_udp;
        fds[n++] = s->dns_tcp;
        fds[n++] = s->mx;
    }
    return n;
}

/* Said again at each multiple: who looks at the log for the first time should
 * not have missed it. */
static void
count_death(struct child *c, bool young)
{
    metrics_add((enum metric)((unsigned)METRIC_DEATHS_REDIS + (unsigned)c->role), 1);
    c->young_deaths = young ? c->young_deaths + 1 : 0;
    if (!young || c->young_deaths % CRASH_LOOP_DEATHS != 0)
        return;
    metrics_add(METRIC_CRASH_LOOPS, 1);
    LOG(LOG_ERROR, "supervisor.crash-loop", LF_STR("child", ROLE_NAMES[c->role]),
        LF_U("number", c->number), LF_U("deaths", c->young_deaths));
}

static void
start_again_later(struct child *c)
{
    bool young = clock_mono_ms() - c->started_ms < YOUNG_MS;
    count_death(c, young);
    c->pause_ms = !young || c->pause_ms == 0 ? RESTART_FIRST_MS : c->pause_ms * 2;
    if (c->pause_ms > RESTART_MAX_MS)
        c->pause_ms = RESTART_MAX_MS;
    timer_start(&c->restart, c->pause_ms);
}

static void
child_exited(void *owner, int code, int signo)
{
    struct child *c = owner;
    struct supervisor *s = c->sup;
    bool wanted = s->phase != PHASE_RUNNING;
    LOG(wanted ? LOG_INFO : LOG_ERROR, "child.ended", LF_STR("child", ROLE_NAMES[c->role]),
        LF_U("number", c->number), LF_U("pid", process_pid(c->process)), LF_U("code", code),
        LF_U("signal", signo));
    process_free(c->process);
    c->process = NULL;
    if (c->role == ROLE_WORKER)
        metrics_forget_gauges(c->number + 1);
    if (c->control_fd >= 0) {
        control_close(c->control);
        c->control = NULL;
        close(c->control_fd);
        c->control_fd = -1;
        reload_part_ended(&s->reload, &c->follows);
    }
#ifdef STAGEPOST_TEST_BUILD
    unsetenv("FAILPOINT"); /* one death is what a test asked for */
#endif
    if (wanted) {
        phase_advance(s);
        return;
    }
    if (c->role == ROLE_KEEPER && code == EXIT_UNAVAILABLE) {
        s->exit_code = EXIT_UNAVAILABLE;
        raise(SIGTERM);
        return;
    }
    start_again_later(c);
}

static void
send_control(const struct child *c, const char *line)
{
    if (c->control_fd >= 0 && !control_send(c->control_fd, slice_str(line), -1))
        LOG(LOG_WARN, "supervisor.control-lost", LF_U("number", c->number));
}

/* The successor knows its predecessor's name too: a single worker takes over
 * from itself. */
static void
tell_of_death(struct supervisor *s, const uint8_t owner[QUEUE_OWNER_BYTES])
{
    char line[CONTROL_LINE_MAX], hex[OWNER_HEX_BYTES + 1];
    owner_to_hex(owner, hex);
    snprintf(line, sizeof line, CONTROL_DIED "%s\n", hex);
    for (unsigned i = 0; i < s->count; i++)
        if (s->children[i].role == ROLE_WORKER)
            send_control(&s->children[i], line);
}

static bool
all_workers_ready(const struct supervisor *s)
{
    for (unsigned i = 0; i < s->count; i++)
        if (s->children[i].role == ROLE_WORKER && !s->children[i].ready)
            return false;
    return true;
}

static void
worker_is_ready(struct child *c)
{
    struct supervisor *s = c->sup;
    c->ready = true;
    if (s->said_ready || !all_workers_ready(s))
        return;
    s->said_ready = true;
    s->cfg->on_ready(s->cfg->owner);
    notify_ready();
}

/* Workers begin with it from now on, and so do later starts: RDS-17. */
static void
learn_dataset(struct supervisor *s, struct slice uuid)
{
    struct err err = {0};
    if (s->dataset[0] != '\0' || uuid.n != QUEUE_DATASET_BYTES)
        return;
    slice_to_cstr(uuid, s->dataset, sizeof s->dataset);
    if (!s->cfg->config->development &&
        statedir_remember_dataset(s->cfg->dir, s->dataset, &err) != 0)
        LOG(LOG_ERROR, "supervisor.dataset-not-remembered", LF_ERR(&err));
}

static void
child_spoke(struct control_user *u, struct slice line)
{
    struct child *c = container_of(u, struct child, control_user);
    if (slice_starts(line, SLICE(CONTROL_DATASET)))
        learn_dataset(c->sup, slice_skip(line, sizeof CONTROL_DATASET - 1));
    else if (slice_eq(line, SLICE(CONTROL_READY)))
        worker_is_ready(c);
    else if (!reload_part_said(&c->sup->reload, &c->follows, line))
        LOG(LOG_WARN, "supervisor.control-unknown", LF_STR("child", ROLE_NAMES[c->role]));
}

static void
child_is_silent(struct control_user *u)
{
    struct child *c = container_of(u, struct child, control_user);
    control_close(c->control); /* its exit is reported on its own */
    c->control = NULL;
}

/* The parts of a start that can fail; the child's end of the control socket is
 * closed by the caller. */
static int
child_spawn(struct child *c, int child_control_fd, struct err *err)
{
    struct supervisor *s = c->sup;
    char number[16], owner[OWNER_HEX_BYTES + 1], as[RIGHTS_AS_MAX];
    int fds[FDS_MAX] = {-1, STDERR_FILENO, STDERR_FILENO};
    snprintf(number, sizeof number, "%u", c->number);
    owner_to_hex(c->owner, owner);
    rights_format(s->cfg->rights, c->role == ROLE_SIGNER, as);
    fds[CHILD_FD_CONTROL] = child_control_fd;
    bool trusted = c->role != ROLE_CHECKER; /* with what strangers must not reach */
    fds[CHILD_FD_CONFIG] = trusted ? s->snapshots.fds[reader_of(c->role)] : -1;
    fds[CHILD_FD_METRICS] = trusted ? s->metrics_fd : -1;
    fds[CHILD_FD_LOCK] = s->cfg->dir->children_lock_fd;
    fds[CHILD_FD_LIFE] = c->role == ROLE_KEEPER   ? s->life_read_fd
                         : c->role == ROLE_WORKER ? s->life_write_fd
                                                  : -1;
    char *argv[] = {(char *)(uintptr_t) "stagepost",
                    (char *)(uintptr_t) "child",
                    (char *)(uintptr_t)ROLE_NAMES[c->role],
                    number,
                    owner,
                    as,
                    s->dataset[0] != '\0' ? s->dataset : (char *)(uintptr_t) "-",
                    NULL};
    struct process_spec spec = {.file = "/proc/self/exe", .argv = argv, .fds = fds};
    spec.fd_count = (int)role_fds(c, fds);
    c->process = process_start(s->loop, &spec, child_exited, c, err);
    return c->process != NULL ? 0 : -1;
}

static void
child_start(struct child *c)
{
    struct err err = {0};
    int pair[2];
    uint8_t died[QUEUE_OWNER_BYTES];
    bool successor = c->role == ROLE_WORKER && c->started_ms != 0;
    memcpy(died, c->owner, sizeof died);
    random_bytes(c->owner, sizeof c->owner);
    c->started_ms = clock_mono_ms();
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
        timer_start(&c->restart, RESTART_MAX_MS);
        return;
    }
    int failed = child_spawn(c, pair[1], &err);
    close(pair[1]);
    if (failed != 0) {
        close(pair[0]);
        LOG(LOG_ERROR, "child.cannot-start", LF_STR("child", ROLE_NAMES[c->role]), LF_ERR(&err));
        timer_start(&c->restart, RESTART_MAX_MS);
        return;
    }
    c->control_fd = pair[0];
    c->control = control_open(c->sup->loop, c->control_fd, &c->control_user, &err);
    BUG_ON(c->control == NULL);
    if (follows_reloads(c->role))
        reload_part_started(&c->sup->reload, &c->follows, c->control_fd);
    LOG(LOG_INFO, "child.started", LF_STR("child", ROLE_NAMES[c->role]), LF_U("number", c->number),
        LF_U("pid", process_pid(c->process)));
    if (successor)
        tell_of_death(c->sup, died);
}

static void
restart_fires(struct timer *t)
{
    child_start(container_of(t, struct child, restart));
}

/* ---- ending -------------------------------------------------------------- */

static bool
in_phase(const struct child *c, enum phase phase)
{
    if (phase == PHASE_WORKERS)
        return c->role == ROLE_WORKER;
    if (phase == PHASE_HELPERS)
        return c->role == ROLE_SIGNER || c->role == ROLE_CHECKER || c->role == ROLE_SANDBOX;
    return phase == PHASE_REDIS && c->role == ROLE_KEEPER;
}

static unsigned
phase_children(const struct supervisor *s, enum phase phase)
{
    unsigned n = 0;
    for (unsigned i = 0; i < s->count; i++)
        n += in_phase(&s->children[i], phase) && s->children[i].process != NULL;
    return n;
}

/* The end of its control socket tells a child to drain and exit. */
static void
order_end(struct child *c)
{
    if (c->control_fd < 0)
        return;
    if (c->role == ROLE_WORKER)
        send_control(c, CONTROL_DRAIN "\n");
    else
        shutdown(c->control_fd, SHUT_WR);
}

static void
phase_advance(struct supervisor *s)
{
    while (s->phase < PHASE_ENDED && phase_children(s, s->phase) == 0) {
        s->phase++;
        if (s->phase == PHASE_REDIS) { /* the keeper waits for the last holder of the life pipe */
            close(s->life_write_fd);
            s->life_write_fd = -1;
        }
        for (unsigned i = 0; i < s->count; i++)
            if (in_phase(&s->children[i], s->phase))
                order_end(&s->children[i]);
        timer_start(&s->phase_limit, DRAIN_MS);
    }
    if (s->phase == PHASE_ENDED)
        loop_stop(s->loop);
}

static void
phase_too_long(struct timer *t)
{
    struct supervisor *s = container_of(t, struct supervisor, phase_limit);
    LOG(LOG_WARN, "supervisor.drain-too-long", LF_U("phase", s->phase));
    for (unsigned i = 0; i < s->count; i++)
        if (in_phase(&s->children[i], s->phase) && s->children[i].process != NULL)
            rights_kill(s->cfg->rights, s->children[i].role == ROLE_SIGNER,
                        process_pid(s->children[i].process), SIGKILL);
}

static void
on_signal(void *owner, int signo)
{
    struct supervisor *s = owner;
    LOG(LOG_NOTICE, "supervisor.signal", LF_U("signal", signo));
    if (s->phase != PHASE_RUNNING) {
        phase_too_long(&s->phase_limit);
        return;
    }
    notify_stopping();
    s->phase = PHASE_WORKERS;
    reload_cancel(&s->reload);
    for (unsigned i = 0; i < s->count; i++)
        timer_cancel(&s->children[i].restart);
    for (unsigned i = 0; i < s->count; i++)
        if (in_phase(&s->children[i], PHASE_WORKERS))
            order_end(&s->children[i]);
    timer_start(&s->phase_limit, DRAIN_MS);
    phase_advance(s);
}

/* ---- reload --------------------------------------------------------------- */

static void
try_reload(struct supervisor *s)
{
    struct err err = {0};
    s->reload_again = false;
    notify_reloading();
    s->generation++;
    const struct config *next = s->cfg->reread(s->cfg->owner, s->generation);
    if (next != NULL) {
        if (snapshots_open(&s->next_snapshots, next, &err) == 0) {
            for (unsigned i = 0; i < s->count; i++)
                s->children[i].follows.snapshot_fd =
                    s->next_snapshots.fds[reader_of(s->children[i].role)];
            reload_begin(&s->reload, s->generation);
            return;
        }
        LOG(LOG_ERROR, "reload.refused", LF_ERR(&err));
        s->cfg->on_reloaded(s->cfg->owner, false);
    }
    notify_ready();
}

static void
reload_done(struct reload *r, bool ok, const char *why)
{
    struct supervisor *s = container_of(r, struct supervisor, reload);
    if (ok) {
        snapshots_move(&s->snapshots, &s->next_snapshots);
        LOG(LOG_NOTICE, "reload.done", LF_U("generation", s->generation));
    } else {
        snapshots_close(&s->next_snapshots);
        LOG(LOG_ERROR, "reload.refused", LF_STR("why", why));
    }
    s->cfg->on_reloaded(s->cfg->owner, ok);
    if (s->phase != PHASE_RUNNING)
        return;
    notify_ready();
    if (s->reload_again)
        try_reload(s);
}

static void
on_sighup(void *owner, int signo)
{
    struct supervisor *s = owner;
    (void)signo;
    if (s->cfg->reread == NULL || s->phase != PHASE_RUNNING)
        LOG0(LOG_NOTICE, "reload.ignored");
    else if (s->reload.generation != 0)
        s->reload_again = true;
    else
        try_reload(s);
}

/* ---- running ------------------------------------------------------------- */

static void
add_child(struct supervisor *s, enum role role, unsigned number)
{
    struct child *c = &s->children[s->count++];
    *c = (struct child){.sup = s, .role = role, .number = number, .control_fd = -1};
    c->control_user = (struct control_user){.on_line = child_spoke, .on_end = child_is_silent};
    timer_init(&c->restart, s->loop, restart_fires);
    c->follows = (struct reload_part){.name = ROLE_NAMES[role], .number = number};
    list_node_init(&c->follows.node);
    if (follows_reloads(role))
        reload_add(&s->reload, &c->follows);
}

static void
make_children(struct supervisor *s)
{
    const struct sockets *k = s->cfg->sockets;
    s->children = calloc(3u + k->signers + k->workers, sizeof *s->children);
    BUG_ON(s->children == NULL);
    if (s->cfg->config->redis_embedded)
        add_child(s, ROLE_KEEPER, 0);
    if (k->mx >= 0)
        add_child(s, ROLE_SANDBOX, 0);
    for (unsigned i = 0; i < k->signers; i++)
        add_child(s, ROLE_SIGNER, i);
    add_child(s, ROLE_CHECKER, 0);
    for (unsigned i = 0; i < k->workers; i++)
        add_child(s, ROLE_WORKER, i);
    for (unsigned i = 0; i < s->count; i++)
        child_start(&s->children[i]);
}

static int
open_shared(struct supervisor *s, struct err *err)
{
    int life[2];
    if (snapshots_open(&s->snapshots, s->cfg->config, err) != 0)
        return -1;
    s->metrics_fd = metrics_create(err);
    if (s->metrics_fd < 0 || metrics_attach(s->metrics_fd, 0, err) != 0)
        return -1;
    if (pipe2(life, O_CLOEXEC) != 0)
        return err_set_errno(err, ERR_IO, "pipe");
    s->life_read_fd = life[0];
    s->life_write_fd = life[1];
    return 0;
}

static void
supervisor_fini(struct supervisor *s)
{
    timer_cancel(&s->phase_limit);
    signal_watch_close(s->sigterm);
    signal_watch_close(s->sigint);
    signal_watch_close(s->sighup);
    free(s->children);
    loop_free(s->loop);
    snapshots_close(&s->snapshots);
    close(s->metrics_fd);
    close(s->life_read_fd);
    if (s->life_write_fd >= 0)
        close(s->life_write_fd);
}

static void
leave(int signo)
{
    (void)signo;
    _exit(0);
}

void
supervisor_leave_on_signals(void)
{
    signal(SIGTERM, leave);
    signal(SIGINT, leave);
    signal(SIGHUP, SIG_IGN);
}

int
supervisor_run(const struct supervisor_config *cfg)
{
    struct err err = {0};
    struct supervisor s = {.cfg = cfg, .loop = loop_new(), .life_write_fd = -1};
    snapshots_init(&s.snapshots);
    snapshots_init(&s.next_snapshots);
    timer_init(&s.phase_limit, s.loop, phase_too_long);
    reload_init(&s.reload, s.loop, reload_done);
    s.generation = cfg->config->generation;
    setenv("UV_USE_IO_URING", "0", 1); /* nobody is allowed to */
    if (statedir_dataset(cfg->dir, s.dataset, &err) != 0 ||
        confine(CONFINE_SUPERVISOR, cfg->config, &err) != 0 || open_shared(&s, &err) != 0) {
        LOG(LOG_ERROR, "supervisor.cannot-start", LF_ERR(&err));
        loop_free(s.loop); /* the rest is exit's */
        return err.code == ERR_CONFIG ? EXIT_CONFIG : EXIT_SOFTWARE;
    }
    s.sigterm = signal_watch_open(s.loop, SIGTERM, on_signal, &s);
    s.sigint = signal_watch_open(s.loop, SIGINT, on_signal, &s);
    s.sighup = signal_watch_open(s.loop, SIGHUP, on_sighup, &s);
    make_children(&s);
    loop_run(s.loop);
    supervisor_fini(&s);
    return s.exit_code;
}
