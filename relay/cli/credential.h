/* `stagepost credential ls|add|rm|rotate|freeze|unfreeze`: who may hand in mail,
 * changed while the gateway runs. */
#ifndef STAGEPOST_CLI_CREDENTIAL_H
#define STAGEPOST_CLI_CREDENTIAL_H

/* argv from "credential" on; an exit code of sysexits.h. */
int credential_main(int argc, char **argv);

#endif
