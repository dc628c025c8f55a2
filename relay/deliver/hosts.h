/*
 * What this worker remembers of single addresses for a short time: that one
 * does not answer (nothing is sent there for some seconds, so that a dead host
 * costs nothing), and that its STARTTLS is broken (opportunistic delivery goes
 * there in clear for ten minutes). Bounded by HOSTS_REMEMBERED_MAX.
 */
#ifndef STAGEPOST_DELIVER_HOSTS_H
#define STAGEPOST_DELIVER_HOSTS_H

#include <stdbool.h>
#include <stdint.h>

#include "relay/sys/net/stream.h"

struct hosts;

struct hosts *hosts_new(void);
void hosts_free(struct hosts *h);

void hosts_note_down(struct hosts *h, const struct net_address *a);
void hosts_note_up(struct hosts *h, const struct net_address *a);
/* Milliseconds until the address may be tried again; 0: now. */
uint64_t hosts_down_for_ms(const struct hosts *h, const struct net_address *a);
void hosts_note_tls_broken(struct hosts *h, const struct net_address *a);
bool hosts_tls_broken(const struct hosts *h, const struct net_address *a);
unsigned hosts_count(const struct hosts *h);

#endif
