/* stagepost: one program for the supervisor, its children and the operator. */
#include <string.h>

#include "relay/cli/commands.h"
#include "relay/sys/proc/child.h"

int
main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "child") == 0)
        return child_main(argc - 2, argv + 2);
    return commands_main(argc, argv);
}
