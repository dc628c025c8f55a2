/*
 * Names of keys. Everything of partition P shares the hash tag {P}, so that a
 * script touches one slot of a cluster. README.md lists them.
 */
#ifndef STAGEPOST_QUEUE_KEYS_H
#define STAGEPOST_QUEUE_KEYS_H

#include "queue/queue.h"
#include "relay/sys/base/buf.h"

enum {
    KEY_BYTES_MAX = 1024,        /* any key or member that we build */
    KEY_MEMBER_MAX = 36 + 1 + 5, /* "<id>.<n>" */
    KEY_LANE_MAX = 640,          /* class, next hop and tenant */
    TENANT_BYTES_MAX = 255,
};

/* Collections of one partition. */
enum key_part {
    KEY_LEASE,
    KEY_DUE,
    KEY_INFLIGHT,
    KEY_NDR,
    KEY_OUT,
    KEY_HIST,
    KEY_STAT,
    KEY_BAD,
    KEY_IDX,
    KEY_LANES,
    KEY_HELD,
};

struct key {
    char text[KEY_BYTES_MAX];
    size_t n;
};

struct slice key_slice(const struct key *k);
struct key key_of_part(unsigned partition, enum key_part part);
struct key key_of_message(struct msg_id id);
struct key key_of_tombstone(struct msg_id id);
struct key key_of_chunk(struct msg_id id, unsigned chunk);
struct key key_of_idempotency(unsigned partition, const uint8_t digest[32]);
struct key key_of_queue(unsigned partition, struct slice lane);
struct key key_of_held(unsigned partition, struct slice lane);

/* Of a submitter or of another name, by its digest; the first byte names one of
 * 16 shards. */
struct key key_of_account(const char *kind, const uint8_t digest[32]);

/* "<id>.<n>": a delivery in the schedule and in inflight. */
size_t key_member(struct msg_id id, unsigned n, char out[KEY_MEMBER_MAX + 1]);
bool key_member_parse(struct slice member, struct msg_id *id, unsigned *n);

/*
 * A lane is one (class, next hop, tenant): "<class>:<length of next hop>:<next
 * hop>:<tenant>". The length makes it unambiguous whatever the texts hold.
 * false when a text is longer than a domain or a tenant may be.
 */
bool key_lane(enum queue_class klass, struct slice next_hop, struct slice tenant, struct key *out);

/* false: not a lane. The slices point into `lane`. */
bool key_lane_parse(struct slice lane, enum queue_class *klass, struct slice *next_hop,
                    struct slice *tenant);

/* SHA-256 of a, NUL, b: names that users choose, where they must not show. */
void key_digest(struct slice a, struct slice b, uint8_t out[32]);

/* "d<n>", "a<n>" in the message's hash. */
size_t key_field(char kind, unsigned n, char out[16]);

#endif
