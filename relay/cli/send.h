/* `stagepost send`: hands a message in, from a text or a finished one, and prints its id. */
#ifndef STAGEPOST_CLI_SEND_H
#define STAGEPOST_CLI_SEND_H

/* argv from "send" on; an exit code of sysexits.h. */
int send_main(int argc, char **argv);

#endif
