/*
 * `stagepost check relay`: can this gateway do its work now? Asks it over the
 * control socket, then comes to each listener of the configuration file as a
 * client would, looks at the certificate's last day and, with --to DOMAIN, goes
 * the way that a delivery would go: MX, port 25, EHLO, STARTTLS. No mail is sent.
 */
#ifndef STAGEPOST_CLI_CHECK_RELAY_H
#define STAGEPOST_CLI_CHECK_RELAY_H

/* argv from "relay" on. 0: all good; 1: something to mend; 64: usage; 78: no
 * such file or state directory. */
int check_relay_main(int argc, char **argv);

#endif
