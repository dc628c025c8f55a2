/*
 * `stagepost queue [summary|ls|shape]`: what waits in the queue. `mailq` is
 * `queue ls`.
 */
#ifndef STAGEPOST_CLI_QUEUE_H
#define STAGEPOST_CLI_QUEUE_H

/* argv from "queue" on; an exit code of sysexits.h. */
int queue_main(int argc, char **argv);
/* argv from the program's name on. */
int queue_mailq_main(int argc, char **argv);

#endif
