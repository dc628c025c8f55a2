/*
 * What an address that mail leaves from is called: its PTR records, whether one of
 * their names leads back to it (forward-confirmed, as large receivers demand), and
 * whether the name that we say in EHLO does.
 */
#ifndef STAGEPOST_CLI_CHECK_NAMES_H
#define STAGEPOST_CLI_CHECK_NAMES_H

#include "relay/sys/base/limits.h"
#include "relay/sys/base/slice.h"
#include "relay/sys/net/resolver.h"

enum names_answer { NAMES_NO, NAMES_YES, NAMES_UNKNOWN }; /* UNKNOWN: DNS gave no answer */

struct names_check {
    void (*done)(struct names_check *op); /* in */
    bool ipv6;                            /* in */
    uint8_t ip[16];                       /* in; 4 bytes for IPv4 */
    char helo[ADDRESS_DOMAIN_MAX + 1];    /* in */

    unsigned name_count;                                     /* out: of `names` */
    char names[CHECK_PTR_NAMES_MAX][ADDRESS_DOMAIN_MAX + 1]; /* out */
    enum names_answer ptr;                                   /* out: there is a PTR record */
    enum names_answer confirmed;                             /* out: a name of it leads back */
    enum names_answer helo_ok;                               /* out: helo leads to the address */

    struct resolver *resolver;
    struct dns_query query;
    unsigned next;
};

/* Cannot fail; done comes once, on a later turn. */
void names_check_start(struct names_check *op, struct resolver *r);

#endif
