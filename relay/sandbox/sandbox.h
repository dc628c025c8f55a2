/*
 * The sandbox of development mode: a process of its own that answers DNS for
 * every domain and is every domain's MX, on loopback, and keeps what it is
 * given as files (relay/sandbox/store.h). Nothing leaves the machine.
 *
 * The supervisor binds the sockets and hands them over; the sandbox shares no
 * memory with anybody. It may be killed at any time: a message that was
 * answered with 250 is on disk, and nothing else is promised.
 */
#ifndef STAGEPOST_SANDBOX_SANDBOX_H
#define STAGEPOST_SANDBOX_SANDBOX_H

#include <stddef.h>

/* A published DKIM key: answered under <selector>._domainkey.<any domain>. */
struct sandbox_dkim {
    const char *selector; /* LDH, lower case */
    const char *txt;      /* "v=DKIM1; k=rsa; p=..."; any length up to SANDBOX_DKIM_TXT_MAX */
};

/* Everything is borrowed until sandbox_run() returns, but the descriptors are
 * taken over. */
struct sandbox_config {
    int control_fd; /* end of file: the supervisor died or asks to end */
    int dns_udp_fd; /* bound UDP socket */
    int dns_tcp_fd; /* listening TCP socket, same port as the UDP one */
    int mx_fd;      /* listening TCP socket */
    const char *capture_dir;
    unsigned captures_max; /* 0: SANDBOX_CAPTURES_MAX */
    const struct sandbox_dkim *dkim;
    size_t dkim_count;
    const char *tls_cert_path; /* PEM; NULL: STARTTLS is not offered */
    const char *tls_key_path;
};

/* Runs until the control descriptor ends. Returns an exit code of sysexits.h:
 * 0 after an orderly end, 75 when something could not be opened (logged). */
int sandbox_run(const struct sandbox_config *cfg);

#endif
