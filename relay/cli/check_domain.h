/*
 * `stagepost check domain NAME`: what a domain publishes for mail (SPF, DMARC,
 * MX), whether receivers would believe mail from it, and what to publish.
 * Asks DNS by itself and reads SPF in a checker process of its own.
 */
#ifndef STAGEPOST_CLI_CHECK_DOMAIN_H
#define STAGEPOST_CLI_CHECK_DOMAIN_H

/* argv from "domain" on. 0: all good, 1: something to mend, 75: DNS trouble (and nothing
 * known that is to be mended), 64: usage, 70: no checker could be started. */
int check_domain_main(int argc, char **argv);

#endif
