/*
 * Tells the service manager how far we are, by a datagram to $NOTIFY_SOCKET
 * (the protocol of sd_notify(3), systemd's Type=notify and Type=notify-reload).
 * Without that variable nothing is said; nobody is waited for.
 */
#ifndef STAGEPOST_PROC_NOTIFY_H
#define STAGEPOST_PROC_NOTIFY_H

void notify_ready(void); /* all workers accept; also at the end of a reload */
void notify_reloading(void);
void notify_stopping(void);

#endif
