#include "relay/sys/proc/confine.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/base/log.h"

#if defined(__SANITIZE_ADDRESS__)
#define NOT_CONFINED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define NOT_CONFINED 1
#endif
#endif

enum { NO_PROCESSES = 1, NO_NETWORK = 2, EXIT_REFUSED = 86 };

static const unsigned REFUSED_TO[] = {
    [CONFINE_SUPERVISOR] = 0,
    [CONFINE_KEEPER] = NO_NETWORK,
    [CONFINE_SANDBOX] = NO_PROCESSES,
    [CONFINE_WORKER] = NO_PROCESSES,
    [CONFINE_SIGNER] = NO_PROCESSES | NO_NETWORK,
    [CONFINE_CHECKER] = NO_PROCESSES | NO_NETWORK,
};

/* Names that this libseccomp does not know are calls that it is too old for. */
static const char *const REFUSED_TO_ALL[] = {
    /* other processes' memory and descriptors */
    "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "pidfd_getfd", "kcmp",
    /* another file system, another view of the system */
    "mount", "umount", "umount2", "pivot_root", "chroot", "move_mount", "open_tree", "fsopen",
    "fsconfig", "fsmount", "fspick", "mount_setattr", "unshare", "setns", "open_by_handle_at",
    "name_to_handle_at", "quotactl", "quotactl_fd", "swapon", "swapoff", "acct",
    /* parts of the kernel that nothing here uses and that had many holes */
    "bpf", "keyctl", "add_key", "request_key", "userfaultfd", "perf_event_open", "io_uring_setup",
    "io_uring_enter", "io_uring_register", "lookup_dcookie", "vmsplice", "personality",
    /* the machine */
    "kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module", "reboot",
    "settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "stime", "sethostname",
    "setdomainname", "iopl", "ioperm", "modify_ldt", "syslog", "vhangup"};

/* tgkill stays: abort() uses it. */
static const char *const REFUSED_PROCESSES[] = {"execve",
                                                "execveat",
                                                "fork",
                                                "vfork",
                                                "tkill",
                                                "rt_sigqueueinfo",
                                                "rt_tgsigqueueinfo",
                                                "pidfd_send_signal"};

/* ---- the filter ----------------------------------------------------------- */

struct filter {
    scmp_filter_ctx ctx;
    uint32_t refusal; /* what becomes of a call that nobody should try */
    bool ok;
};

static void
refuse_call(struct filter *f, uint32_t action, const char *name)
{
    int nr = seccomp_syscall_resolve_name(name);
    if (nr >= 0 && seccomp_rule_add(f->ctx, action, nr, 0) != 0)
        f->ok = false;
}

static void
refuse_when(struct filter *f, uint32_t action, int nr, struct scmp_arg_cmp when)
{
    if (seccomp_rule_add_array(f->ctx, action, nr, 1, &when) != 0)
        f->ok = false;
}

static void
refuse_namespaces(struct filter *f)
{
    static const unsigned long NEW[] = {CLONE_NEWNS,   CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC,
                                        CLONE_NEWUSER, CLONE_NEWPID,    CLONE_NEWNET};
    for (size_t i = 0; i < ARRAY_LEN(NEW); i++)
        refuse_when(f, f->refusal, SCMP_SYS(clone), SCMP_A0(SCMP_CMP_MASKED_EQ, NEW[i], NEW[i]));
    /* Its flags are in memory, where a filter cannot look: the C library then
     * uses clone(). */
    refuse_call(f, SCMP_ACT_ERRNO(ENOSYS), "clone3");
}

/* Libraries try some of them (netlink) and do without. */
static void
refuse_families(struct filter *f)
{
    const uint32_t action = SCMP_ACT_ERRNO(EAFNOSUPPORT);
    for (unsigned family = AF_INET + 1; family < AF_INET6; family++)
        refuse_when(f, action, SCMP_SYS(socket), SCMP_A0(SCMP_CMP_EQ, family, 0));
    refuse_when(f, action, SCMP_SYS(socket), SCMP_A0(SCMP_CMP_GT, AF_INET6, 0));
}

static void
refuse_processes(struct filter *f)
{
    for (size_t i = 0; i < ARRAY_LEN(REFUSED_PROCESSES); i++)
        refuse_call(f, f->refusal, REFUSED_PROCESSES[i]);
    refuse_when(f, f->refusal, SCMP_SYS(kill), SCMP_A0_32(SCMP_CMP_NE, (uint32_t)getpid(), 0));
    refuse_when(f, f->refusal, SCMP_SYS(clone), SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0));
}

static void
refuse_network(struct filter *f)
{
    refuse_when(f, f->refusal, SCMP_SYS(socket), SCMP_A0_32(SCMP_CMP_EQ, AF_INET, 0));
    refuse_when(f, f->refusal, SCMP_SYS(socket), SCMP_A0_32(SCMP_CMP_EQ, AF_INET6, 0));
}

#ifdef STAGEPOST_TEST_BUILD
/* Async-signal-safe: the number is written by hand. */
static void
on_refused_call(int signo, siginfo_t *info, void *context)
{
    char text[] = "{\"event\":\"confine.refused\",\"call\":0000}\n";
    char *end = strchr(text, '}');
    (void)signo, (void)context;
    for (int n = info->si_syscall, i = 1; i <= 4; n /= 10, i++)
        end[-i] = (char)('0' + n % 10);
    (void)!write(STDERR_FILENO, text, sizeof text - 1);
    _exit(EXIT_REFUSED);
}

static uint32_t
refusal(void)
{
    const char *wish = getenv("STAGEPOST_SECCOMP");
    struct sigaction act = {.sa_sigaction = on_refused_call, .sa_flags = SA_SIGINFO};
    if (wish == NULL || strcmp(wish, "kill") != 0)
        return SCMP_ACT_ERRNO(EPERM);
    sigaction(SIGSYS, &act, NULL);
    return SCMP_ACT_TRAP;
}
#else
static uint32_t
refusal(void)
{
    return SCMP_ACT_ERRNO(EPERM);
}
#endif

static int
load_filter(enum confine_role role, struct err *err)
{
    struct filter f = {.ctx = seccomp_init(SCMP_ACT_ALLOW), .refusal = refusal(), .ok = true};
    if (f.ctx == NULL)
        return err_set(err, ERR_MEMORY, "system-call filter");
    /* A search tree, and calls of another architecture do not exist. */
    seccomp_attr_set(f.ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    seccomp_attr_set(f.ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(ENOSYS));
    for (size_t i = 0; i < ARRAY_LEN(REFUSED_TO_ALL); i++)
        refuse_call(&f, f.refusal, REFUSED_TO_ALL[i]);
    refuse_namespaces(&f);
    refuse_families(&f);
    if ((REFUSED_TO[role] & NO_PROCESSES) != 0)
        refuse_processes(&f);
    if ((REFUSED_TO[role] & NO_NETWORK) != 0)
        refuse_network(&f);
    int rc = f.ok ? 0 : err_set(err, ERR_CONFIG, "system-call filter: a rule is not accepted");
    int failed = rc == 0 ? seccomp_load(f.ctx) : 0;
    if (failed != 0)
        LOG(LOG_WARN, "confine.no-filter", LF_STR("error", strerror(-failed)));
    seccomp_release(f.ctx);
    return rc;
}

/* ---- files ---------------------------------------------------------------- */

/* What the C library, OpenSSL, libunbound and GMime open by themselves. */
#define LIBRARY_FILES                                                                              \
    {"/usr", CONFINE_READ}, {"/lib", CONFINE_READ}, {"/lib64", CONFINE_READ},                      \
        {"/etc/ssl", CONFINE_READ}, {"/etc/ld.so.cache", CONFINE_READ},                            \
        {"/etc/localtime", CONFINE_READ}, {"/etc/nsswitch.conf", CONFINE_READ},                    \
        {"/etc/hosts", CONFINE_READ}, {"/etc/resolv.conf", CONFINE_READ},                          \
        {"/etc/services", CONFINE_READ}, {"/dev/null", CONFINE_WRITE},                             \
        {"/dev/urandom", CONFINE_READ}, {"/proc/self", CONFINE_READ},                              \
    {                                                                                              \
        "/sys/devices/system/cpu", CONFINE_READ                                                    \
    }

enum {
    VERSION_ANY = 1,
    VERSION_MOVES = 2, /* files can be moved between directories: Redis does at a rewrite */
};

static int
confine_worker(const struct config *c, struct err *err)
{
    const struct confine_path paths[] = {LIBRARY_FILES,
                                         {c->redis_ca_path, CONFINE_READ},
                                         {c->dns_trust_anchor, CONFINE_READ},
                                         {c->sandbox_dir, CONFINE_WRITE}};
    return confine_files(paths, ARRAY_LEN(paths), VERSION_ANY, err);
}

static int
confine_keeper(const struct config *c, struct err *err)
{
    char dataset[512];
    snprintf(dataset, sizeof dataset, "%s/redis", c->state_dir);
    const struct confine_path paths[] = {LIBRARY_FILES,
                                         {"/proc", CONFINE_READ},
                                         {"/sys", CONFINE_READ},
                                         {dataset, CONFINE_WRITE},
                                         {c->run_dir, CONFINE_WRITE}};
    return confine_files(paths, ARRAY_LEN(paths), VERSION_MOVES, err);
}

static int
confine_role_files(enum confine_role role, const struct config *c, struct err *err)
{
    if (role == CONFINE_WORKER)
        return confine_worker(c, err);
    if (role == CONFINE_KEEPER)
        return confine_keeper(c, err);
    if (role != CONFINE_SIGNER && role != CONFINE_CHECKER)
        return 0;
    OPENSSL_init_crypto(OPENSSL_INIT_LOAD_CONFIG, NULL); /* its file is read now or never */
    return confine_files(NULL, 0, VERSION_ANY, err);
}

/* ---- all of it ------------------------------------------------------------ */

int
confine(enum confine_role role, const struct config *c, struct err *err)
{
#ifdef NOT_CONFINED
    (void)role, (void)c, (void)err, (void)load_filter, (void)confine_role_files;
    return 0;
#else
    const struct rlimit none = {0, 0};
    if (setrlimit(RLIMIT_CORE, &none) != 0 || prctl(PR_SET_DUMPABLE, 0) != 0 ||
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return err_set_errno(err, ERR_IO, "confine");
    return confine_role_files(role, c, err) != 0 ? -1 : load_filter(role, err);
#endif
}
