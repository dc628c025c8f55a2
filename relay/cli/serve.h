/*
 * `stagepost serve -c FILE`: the gateway, as the file says (README.md). It does
 * not start while the file has errors, on a state directory of development mode,
 * or with its keys and passwords.
 */
#ifndef STAGEPOST_CLI_SERVE_H
#define STAGEPOST_CLI_SERVE_H

/* argv from "serve" on. Returns an exit code of sysexits.h. */
int serve_main(int argc, char **argv);

#endif
