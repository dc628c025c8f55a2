/*
 * What `stagepost check domain` is asked to do: its command line, and what that
 * leaves open from a configuration file.
 */
#ifndef STAGEPOST_CLI_CHECK_OPTIONS_H
#define STAGEPOST_CLI_CHECK_OPTIONS_H

#include <stdio.h>

#include "relay/sys/base/limits.h"
#include "relay/sys/config/file.h"
#include "relay/wire/address.h"

struct check_options {
    char domain[ADDRESS_CANONICAL_MAX];
    char forward[80]; /* "127.0.0.1@53"; "" for full recursion */
    const char *ips[CHECK_DOMAIN_IPS_MAX];
    unsigned ip_count;
    bool json;
    struct config_file *file; /* NULL: nothing is known of a gateway */
};

/* argv[0] is "domain". 0, or an exit code plus one, so that 0 can be one; what is
 * wrong is said on standard error. The owner frees `file`, also then. */
int check_options_parse(struct check_options *o, int argc, char **argv);

#endif
