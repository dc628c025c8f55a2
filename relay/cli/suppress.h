/* `stagepost suppress ls|add|rm`: addresses to which a tenant's mail is not sent. */
#ifndef STAGEPOST_CLI_SUPPRESS_H
#define STAGEPOST_CLI_SUPPRESS_H

/* argv from "suppress" on; an exit code of sysexits.h. */
int suppress_main(int argc, char **argv);

#endif
