/* `stagepost credential scram`: the line for `scram` in the configuration file. Needs
 * no gateway. */
#ifndef STAGEPOST_CLI_SCRAM_KEY_PRINT_H
#define STAGEPOST_CLI_SCRAM_KEY_PRINT_H

/* Reads a password, the first line of standard input, and prints its key. like: a key
 * that it is to stand beside; NULL: none. Returns the exit code. */
int scram_key_print(const char *like);

#endif
