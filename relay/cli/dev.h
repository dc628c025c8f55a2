/*
 * `stagepost dev`: development mode. No configuration, nothing leaves the
 * machine; a sandbox catches all mail. Options and the ready line are described
 * in README.md.
 */
#ifndef STAGEPOST_CLI_DEV_H
#define STAGEPOST_CLI_DEV_H

/* argv behind "dev". Returns an exit code of sysexits.h. */
int dev_main(int argc, char **argv);

#endif
