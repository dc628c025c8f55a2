/*
 * The index by which messages are found without their ids. In each partition a
 * sorted set holds one member for each property of a message by which it may be
 * asked for: what kind of property, 8 bytes of a digest of its text, then the
 * id. Ids begin with their time, so members of one property stand by age.
 *
 * Texts never show in members. Two texts may share a digest: who reads the
 * index looks at the message too.
 */
#ifndef STAGEPOST_QUEUE_INDEX_H
#define STAGEPOST_QUEUE_INDEX_H

#include "queue/queue.h"
#include "relay/sys/base/buf.h"

enum {
    INDEX_PROPERTY_BYTES = 9, /* kind and digest */
    INDEX_MEMBER_BYTES = INDEX_PROPERTY_BYTES + 16,
};

enum index_kind {
    INDEX_ALL = 'a',
    INDEX_TENANT = 't',
    INDEX_SUBMITTER = 's',
    INDEX_RECIPIENT = 'r',        /* of any tenant */
    INDEX_TENANT_RECIPIENT = 'u', /* of one tenant */
};

struct index_property {
    char bytes[INDEX_PROPERTY_BYTES];
};

/* tenant: for INDEX_TENANT and INDEX_TENANT_RECIPIENT; text: for all but
 * INDEX_ALL and INDEX_TENANT. */
struct index_property index_property(enum index_kind kind, struct slice tenant, struct slice text);

/* All properties of a message, one behind the other: what the scripts put into
 * the index, and keep with the message to take it out again. */
bool index_add_properties(struct buf *b, const struct queue_message *m);

/* A bound for a range by bytes: "[" or "(" and a member. */
void index_add_bound(struct buf *b, char open, const struct index_property *p, struct msg_id id);

/* The id of a member of this property; false: another property, or no member. */
bool index_member_id(struct slice member, const struct index_property *p, struct msg_id *id);

#endif
