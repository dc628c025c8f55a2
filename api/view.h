/* What several routes show alike: a message, a remote's reply, the queue's refusals. */
#ifndef STAGEPOST_API_VIEW_H
#define STAGEPOST_API_VIEW_H

#include "api/json/writer.h"
#include "queue/operate.h"

struct http_request;

/* key: NULL inside an array and at the top. */
void view_message(struct writer *w, const char *key, const struct queue_message *m,
                  bool with_tenant);
/* The status that it shows, the least finished of its recipients'. Static. */
struct slice view_status(const struct queue_message *m);
/* A verdict as the queue keeps it; null when there is none. */
void view_response(struct writer *w, const char *key, struct slice record);

/* Answers for an operation that ended with an error: 404, 503 and so on. */
void view_refuse(struct http_request *r, const struct err *err);
void view_not_found(struct http_request *r);

#endif
