/* `stagepost lint`: what receivers, and the door, will say of a message. Local:
 * no gateway is asked, and nothing of DNS (that is `check domain`). */
#ifndef STAGEPOST_CLI_LINT_H
#define STAGEPOST_CLI_LINT_H

int lint_main(int argc, char **argv);

#endif
