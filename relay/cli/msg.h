/*
 * `stagepost msg ID [explain|raw|retry|cancel|hold|release]`: what became of a
 * message, and what an operator can do about it.
 */
#ifndef STAGEPOST_CLI_MSG_H
#define STAGEPOST_CLI_MSG_H

/* argv from "msg" on; an exit code of sysexits.h. */
int msg_main(int argc, char **argv);

#endif
