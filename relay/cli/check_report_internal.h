/* What judging (check_judge.c) hands to writing (check_report.c). */
#ifndef STAGEPOST_CLI_CHECK_REPORT_INTERNAL_H
#define STAGEPOST_CLI_CHECK_REPORT_INTERNAL_H

#include "relay/cli/check_report.h"

enum {
    FINDINGS_MAX = 7 * CHECK_DOMAIN_IPS_MAX + 80,
    PUBLISH_MAX = 2 + KEYS_PER_DOMAIN_MAX,
};

struct finding {
    enum finding_level level;
    const char *topic;
    char text[512];
};

struct report {
    const struct domain_facts *facts;
    struct finding findings[FINDINGS_MAX];
    unsigned count;
    struct {
        char name[(size_t)2 * ADDRESS_DOMAIN_MAX + sizeof "._domainkey."];
        char value[SPF_RECORD_MAX + 64 * CHECK_DOMAIN_IPS_MAX];
    } publish[PUBLISH_MAX];
    unsigned publish_count;
    struct dmarc_found dmarc;
};

/* Fills all of `r`; the worst level in it. */
enum finding_level check_judge(struct report *r, const struct domain_facts *f);

#endif
