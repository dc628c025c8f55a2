/*
 * Happy path: PTR; the addresses of each of its names, one after the other; those of
 * the name said in EHLO; done. Ways it ends: that one; each question has a time limit.
 */
#include "relay/cli/check_names.h"

#include <string.h>

static void ask_next(struct names_check *op);

static enum names_answer
leads_here(const struct names_check *op, const struct dns_query *q)
{
    size_t bytes = op->ipv6 ? 16 : 4;
    if (q->status == DNS_TEMP)
        return NAMES_UNKNOWN;
    for (unsigned i = 0; i < q->count; i++)
        if (q->records[i].n == bytes && memcmp(q->records[i].p, op->ip, bytes) == 0)
            return NAMES_YES;
    return NAMES_NO;
}

static void
on_helo(struct dns_query *q)
{
    struct names_check *op = container_of(q, struct names_check, query);
    op->helo_ok = leads_here(op, q);
    dns_query_fini(q);
    op->done(op);
}

/* One that leads back is enough; without, trouble leaves it open. */
static void
on_name(struct dns_query *q)
{
    struct names_check *op = container_of(q, struct names_check, query);
    enum names_answer answer = leads_here(op, q);
    if (answer == NAMES_YES || (answer == NAMES_UNKNOWN && op->confirmed == NAMES_NO))
        op->confirmed = answer;
    dns_query_fini(q);
    ask_next(op);
}

static void
ask_next(struct names_check *op)
{
    bool is_helo = op->next == op->name_count;
    const char *name = is_helo ? op->helo : op->names[op->next++];
    dns_query_start(&op->query, op->resolver, name, op->ipv6 ? DNS_AAAA : DNS_A,
                    CHECK_DNS_TIMEOUT_MS, is_helo ? on_helo : on_name);
}

static void
on_ptr(struct dns_query *q)
{
    struct names_check *op = container_of(q, struct names_check, query);
    op->ptr = q->status == DNS_TEMP ? NAMES_UNKNOWN : q->status == DNS_OK ? NAMES_YES : NAMES_NO;
    op->confirmed = op->ptr == NAMES_UNKNOWN ? NAMES_UNKNOWN : NAMES_NO;
    for (unsigned i = 0; i < q->count && op->name_count < CHECK_PTR_NAMES_MAX; i++)
        op->name_count += dns_ptr_parse(q->records[i], op->names[op->name_count]);
    dns_query_fini(q);
    ask_next(op);
}

void
names_check_start(struct names_check *op, struct resolver *r)
{
    char name[DNS_REVERSE_NAME_MAX];
    op->resolver = r;
    op->next = op->name_count = 0;
    dns_reverse_name(op->ip, op->ipv6, name);
    dns_query_start(&op->query, r, name, DNS_PTR, CHECK_DNS_TIMEOUT_MS, on_ptr);
}
