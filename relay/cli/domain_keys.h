/*
 * `stagepost dkim new DOMAIN SELECTOR`: makes an RSA and an Ed25519 key for a
 * domain and prints what goes into the configuration file and into DNS. Both
 * kinds, since few verifiers know Ed25519 yet (RFC 8463 3). Keys that are there are
 * never written over; asks no gateway.
 */
#ifndef STAGEPOST_CLI_DOMAIN_KEYS_H
#define STAGEPOST_CLI_DOMAIN_KEYS_H

/* argv[0] is "dkim". Exit code: EX_USAGE; EX_CANTCREAT when a key cannot be made. */
int domain_keys_main(int argc, char **argv);

#endif
