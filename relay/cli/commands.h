/* The table of commands: what `stagepost --help` prints and main() looks into. */
#ifndef STAGEPOST_CLI_COMMANDS_H
#define STAGEPOST_CLI_COMMANDS_H

/* Runs the command that argv names, by argv[1] or, for a link with the name of
 * another mailer's program ("sendmail", "mailq"), by argv[0]. An exit code. */
int commands_main(int argc, char **argv);

#endif
