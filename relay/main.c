/* stagepost: one program for the supervisor, its children and the operator. */
#include <stdio.h>
#include <string.h>

#include "relay/cli/check_config.h"
#include "relay/cli/check_domain.h"
#include "relay/cli/dev.h"
#include "relay/cli/serve.h"
#include "relay/sys/proc/child.h"

enum { EXIT_USAGE = 64 };

static const char USAGE[] =
    "usage: stagepost dev [options]      development mode: see `stagepost dev --help`\n"
    "       stagepost serve [-c FILE]    the gateway\n"
    "       stagepost check config [-c FILE | --example]\n"
    "       stagepost check domain NAME  would mail from it be believed? `--help` for options\n"
    "       stagepost --version\n";

int
main(int argc, char **argv)
{
    const char *command = argc > 1 ? argv[1] : "";
    if (strcmp(command, "dev") == 0)
        return dev_main(argc - 1, argv + 1);
    if (strcmp(command, "serve") == 0)
        return serve_main(argc - 1, argv + 1);
    if (strcmp(command, "check") == 0 && argc > 2 && strcmp(argv[2], "config") == 0)
        return check_config_main(argc - 2, argv + 2);
    if (strcmp(command, "check") == 0)
        return check_main(argc - 1, argv + 1);
    if (strcmp(command, "child") == 0)
        return child_main(argc - 2, argv + 2);
    if (strcmp(command, "--version") == 0) {
        puts("stagepost 0.1");
        return 0;
    }
    fputs(USAGE, strcmp(command, "--help") == 0 ? stdout : stderr);
    return strcmp(command, "--help") == 0 ? 0 : EXIT_USAGE;
}
