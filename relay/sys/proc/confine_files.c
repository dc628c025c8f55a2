#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "relay/sys/base/log.h"
#include "relay/sys/proc/confine.h"

/* Newer than the headers of Debian 12 are. */
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif

#define READ_FILES (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE)
#define ALL_FILES (READ_FILES | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_TRUNCATE)
#define READ_ALL (READ_FILES | LANDLOCK_ACCESS_FS_READ_DIR)
/* Versions 1 to 3 of Landlock have the first 13, 14 and 15 rights. */
#define RIGHTS_OF_VERSION(v) ((1ULL << ((v) > 2 ? 15 : (v) + 12)) - 1)

/* 0: there is none, or it is switched off. */
static int
landlock_version(void)
{
    long v = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    return v > 0 ? (int)v : 0;
}

static int
allow(int rules, const struct confine_path *p, uint64_t known)
{
    struct stat st;
    struct landlock_path_beneath_attr rule = {.parent_fd = open(p->path, O_PATH | O_CLOEXEC)};
    if (rule.parent_fd < 0)
        return 0;
    rule.allowed_access = (p->rights == CONFINE_WRITE ? known : READ_ALL) & known;
    int rc = fstat(rule.parent_fd, &st);
    if (rc == 0 && !S_ISDIR(st.st_mode))
        rule.allowed_access &= ALL_FILES;
    if (rc == 0)
        rc = (int)syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
    close(rule.parent_fd);
    return rc;
}

int
confine_files(const struct confine_path *paths, unsigned count, int least_version, struct err *err)
{
    int version = landlock_version(), rc = 0;
    if (version < least_version) {
        LOG(LOG_INFO, "confine.no-landlock", LF_U("version", version));
        return 0;
    }
    const struct landlock_ruleset_attr attr = {.handled_access_fs = RIGHTS_OF_VERSION(version)};
    int rules = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof attr, 0);
    if (rules < 0)
        return err_set_errno(err, ERR_IO, "landlock");
    for (unsigned i = 0; i < count && rc == 0; i++)
        rc = allow(rules, &paths[i], attr.handled_access_fs);
    if (rc == 0)
        rc = (int)syscall(SYS_landlock_restrict_self, rules, 0);
    if (rc != 0)
        err_set_errno(err, ERR_IO, "landlock");
    close(rules);
    return rc;
}
