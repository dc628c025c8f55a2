/*
 * Happy path: no entry for the pair: one is made, and a probe asks everything
 * that believed.h wants, all at once; when nothing is left to wait for, the
 * verdict goes into the entry and to who waits.
 * Ways it ends: an operation by its entry's verdict, by its limit, by cancelling,
 * or at once when there is no room for a probe; a probe by its last answer (each
 * question has a limit of its own), also when preflight_free() breaks it off.
 */
#include "relay/accept/policy/preflight.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dkim/checker_client.h"
#include "relay/accept/policy/silence.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/base/clock.h"
#include "relay/sys/base/log.h"
#include "relay/sys/base/metrics.h"

enum { BUCKETS = 512 };

/* What is known of one pair. */
struct entry {
    struct preflight *preflight;
    struct list_node in_bucket, in_age; /* in_age: the oldest verdict first */
    char from[ADDRESS_DOMAIN_MAX + 1], reverse[ADDRESS_DOMAIN_MAX + 1];
    uint64_t generation; /* of the configuration */
    bool known;          /* there is a verdict */
    bool slow;           /* somebody has waited for it in vain, and it is unknown since */
    struct believed_verdict verdict;
    uint64_t fresh_until_ms, usable_until_ms;
    struct probe *probe; /* NULL: not being asked about */
    bool in_vain;        /* somebody has waited for this probe and went on as late */
    struct list waiting; /* of struct preflight_op */
};

struct key_question {
    struct probe *probe;
    struct dns_query query;
    char record[KEY_RECORD_MAX];
    struct believed_key *out;
};

struct walk_question {
    struct probe *probe;
    struct dmarc_walk walk;
    struct dns_query query;
    bool asking;
};

struct ip_question {
    struct probe *probe;
    struct check_op check;
    struct believed_ip *out;
    bool asking;
};

struct probe {
    struct entry *entry; /* NULL: broken off */
    struct preflight *preflight;
    struct list_node node;
    unsigned pending;
    bool is_new;   /* nothing was known of the pair: its answers are hardly from the cache */
    bool answered; /* DNS has answered something */
    uint32_t ttl_s;
    struct dns_query mx;
    bool asking_mx;
    struct walk_question author, authenticated;
    struct key_question keys[KEYS_PER_DOMAIN_MAX];
    bool asking_key[KEYS_PER_DOMAIN_MAX];
    struct ip_question ips[EGRESS_MAX];
    struct believed_facts facts;
};

struct preflight {
    struct loop *loop;
    const struct config *config;
    struct resolver *resolver;
    struct checker_client *checker;
    struct list buckets[BUCKETS];
    struct list by_age;
    unsigned entries, ops;
    struct list probes;
    unsigned probe_count;
    struct silence silence;
    bool closing;
    struct deferred end;
};

/* ---- entries --------------------------------------------------------------- */

static struct list *
bucket_of(struct preflight *p, struct slice reverse, struct slice from)
{
    return &p->buckets[(slice_hash(from) * 31 + slice_hash(reverse)) % BUCKETS];
}

static struct entry *
find(struct preflight *p, struct slice reverse, struct slice from)
{
    LIST_EACH(bucket_of(p, reverse, from), node)
    {
        struct entry *e = container_of(node, struct entry, in_bucket);
        if (e->generation == p->config->generation && slice_eq(slice_str(e->from), from) &&
            slice_eq(slice_str(e->reverse), reverse))
            return e;
    }
    return NULL;
}

static void
forget(struct entry *e)
{
    BUG_ON(!list_empty(&e->waiting));
    if (e->probe != NULL)
        e->probe->entry = NULL;
    list_remove(&e->in_bucket);
    list_remove(&e->in_age);
    e->preflight->entries--;
    free(e);
}

/* The oldest that nobody waits for; what is left of an earlier configuration is that. */
static bool
make_room(struct preflight *p)
{
    if (p->entries < PREFLIGHT_ENTRIES_MAX)
        return true;
    LIST_EACH(&p->by_age, node)
    {
        struct entry *e = container_of(node, struct entry, in_age);
        if (!list_empty(&e->waiting) || e->probe != NULL)
            continue;
        forget(e);
        return true;
    }
    return false;
}

static struct entry *
add_entry(struct preflight *p, struct slice reverse, struct slice from)
{
    struct entry *e = make_room(p) ? calloc(1, sizeof *e) : NULL;
    if (e == NULL)
        return NULL;
    e->preflight = p;
    e->generation = p->config->generation;
    list_init(&e->waiting);
    list_node_init(&e->in_bucket);
    list_node_init(&e->in_age);
    if (!slice_to_cstr(from, e->from, sizeof e->from) ||
        !slice_to_cstr(reverse, e->reverse, sizeof e->reverse)) {
        free(e);
        return NULL;
    }
    list_push(bucket_of(p, reverse, from), &e->in_bucket);
    list_push(&p->by_age, &e->in_age);
    p->entries++;
    return e;
}

/* ---- operations ------------------------------------------------------------- */

static void
on_finish(struct deferred *d)
{
    struct preflight_op *op = container_of(d, struct preflight_op, finish);
    op->preflight->ops--;
    op->started = false;
    op->done(op);
}

static void
finish_op(struct preflight_op *op, const struct believed_verdict *verdict)
{
    list_remove(&op->node);
    timer_cancel(&op->limit);
    op->late = verdict == NULL;
    if (verdict != NULL)
        op->verdict = *verdict;
    deferred_schedule(&op->finish);
}

/* ---- the end of a probe ------------------------------------------------------ */

static void
log_verdict(const struct probe *pr, const struct believed_verdict *v)
{
    const struct believed_facts *f = &pr->facts;
    enum log_level level = v->result == BELIEVED_PASS ? LOG_INFO : LOG_NOTICE;
    LOG(level, "policy.preflight", LF_STR("result", believed_name(v->result)),
        LF_STR("from", f->from), LF_STR("reverse", f->reverse),
        LF_STR("spf", f->ip_count > 0 ? spf_result_name(f->ips[0].spf.result) : "not-checked"),
        LF_STR("dkim", f->key_count > 0 ? published_name(f->keys[0].state) : "no-key"),
        LF_STR("text", v->text));
}

static uint64_t
kept_s(const struct probe *pr, enum believed result)
{
    uint64_t s = pr->ttl_s < PREFLIGHT_KEPT_S ? pr->ttl_s : PREFLIGHT_KEPT_S;
    if (result == BELIEVED_UNKNOWN)
        return PREFLIGHT_UNKNOWN_KEPT_S;
    if (result == BELIEVED_FAIL)
        return PREFLIGHT_BAD_KEPT_S;
    return s > PREFLIGHT_KEPT_LEAST_S ? s : PREFLIGHT_KEPT_LEAST_S;
}

static void
settle(struct entry *e, struct probe *pr)
{
    struct list_node *n;
    believed_judge(&pr->facts, &e->verdict);
    uint64_t now = clock_mono_ms(), kept_ms = 1000 * kept_s(pr, e->verdict.result);
    bool good = e->verdict.result == BELIEVED_PASS || e->verdict.result == BELIEVED_WEAK;
    e->fresh_until_ms = now + kept_ms;
    e->usable_until_ms = e->fresh_until_ms + (good ? PREFLIGHT_STALE_S * 1000u : 0);
    e->known = true;
    e->slow &= e->verdict.result == BELIEVED_UNKNOWN;
    e->probe = NULL;
    list_remove(&e->in_age);
    list_push(&e->preflight->by_age, &e->in_age);
    log_verdict(pr, &e->verdict);
    while ((n = list_pop(&e->waiting)) != NULL)
        finish_op(container_of(n, struct preflight_op, node), &e->verdict);
}

static void
free_now(struct deferred *d)
{
    struct preflight *p = container_of(d, struct preflight, end);
    if (p->probe_count == 0)
        free(p);
}

static void
one_done(struct probe *pr)
{
    struct preflight *p = pr->preflight;
    if (--pr->pending > 0)
        return;
    if (pr->entry != NULL)
        settle(pr->entry, pr);
    list_remove(&pr->node);
    p->probe_count--;
    free(pr);
    if (p->closing)
        deferred_schedule(&p->end);
}

static void
note_answer(struct probe *pr, const struct dns_query *q)
{
    if (q->status == DNS_OK && q->ttl_s < pr->ttl_s)
        pr->ttl_s = q->ttl_s;
    if (q->status == DNS_TEMP)
        return;
    pr->answered = true;
    if (pr->is_new && silence_note_answer(&pr->preflight->silence, clock_mono_ms()))
        LOG(LOG_NOTICE, "policy.dns-answers", LF_STR("domain", pr->facts.from));
}

/* ---- questions ---------------------------------------------------------------- */

static void
ask_dns(struct probe *pr, struct dns_query *q, const char *name, enum dns_type type,
        void (*done)(struct dns_query *q))
{
    dns_query_start(q, pr->preflight->resolver, name, type, clock_scaled_ms(CHECK_DNS_TIMEOUT_MS),
                    done);
}

static void
on_mx(struct dns_query *q)
{
    struct probe *pr = container_of(q, struct probe, mx);
    char host[ADDRESS_DOMAIN_MAX + 1];
    uint16_t preference;
    pr->asking_mx = false;
    note_answer(pr, q);
    pr->facts.null_mx = q->status == DNS_OK && q->count == 1 &&
                        dns_mx_parse(q->records[0], &preference, host) && host[0] == '\0';
    dns_query_fini(q);
    one_done(pr);
}

static void
on_key(struct dns_query *q)
{
    struct key_question *k = container_of(q, struct key_question, query);
    struct probe *pr = k->probe;
    pr->asking_key[k - pr->keys] = false;
    note_answer(pr, q);
    k->out->state = published_judge(slice_str(k->record), q->status, q->records, q->count);
    dns_query_fini(q);
    one_done(pr);
}

static void
on_walk(struct dns_query *q)
{
    struct walk_question *w = container_of(q, struct walk_question, query);
    w->asking = false;
    note_answer(w->probe, q);
    dmarc_walk_answer(&w->walk, q->status, q->records, q->count);
    dns_query_fini(q);
    const char *name = dmarc_walk_question(&w->walk);
    if (name == NULL) {
        one_done(w->probe);
        return;
    }
    w->asking = true;
    ask_dns(w->probe, &w->query, name, DNS_TXT, on_walk);
}

static void
on_spf(struct check_op *op)
{
    struct ip_question *i = container_of(op, struct ip_question, check);
    i->asking = false;
    i->out->spf = op->verdict;
    one_done(i->probe);
}

static void
begin_walk(struct probe *pr, struct walk_question *w, const char *domain)
{
    w->probe = pr;
    if (!dmarc_walk_start(&w->walk, slice_str(domain)))
        return;
    pr->pending++;
    w->asking = true;
    ask_dns(pr, &w->query, dmarc_walk_question(&w->walk), DNS_TXT, on_walk);
}

/* The keys that sign for the domain: those that name it, else those for all. */
static void
begin_key(struct probe *pr, const struct config_dkim_key *key)
{
    struct believed_facts *f = &pr->facts;
    char name[(size_t)2 * ADDRESS_DOMAIN_MAX + sizeof "._domainkey."];
    if (f->key_count == KEYS_PER_DOMAIN_MAX)
        return;
    struct key_question *k = &pr->keys[f->key_count];
    k->probe = pr;
    k->out = &f->keys[f->key_count++];
    k->out->state = PUBLISHED_UNKNOWN;
    snprintf(k->out->selector, sizeof k->out->selector, "%s", key->selector);
    if (key->record == NULL || key->record[0] == '\0')
        return; /* nothing to compare with */
    snprintf(k->record, sizeof k->record, "%s", key->record);
    snprintf(name, sizeof name, "%s._domainkey.%s", key->selector, f->from);
    pr->pending++;
    pr->asking_key[k - pr->keys] = true;
    ask_dns(pr, &k->query, name, DNS_TXT, on_key);
}

static void
begin_keys(struct probe *pr)
{
    const struct config *c = pr->preflight->config;
    for (int any = 0; any < 2 && pr->facts.key_count == 0; any++)
        for (unsigned i = 0; i < c->dkim_key_count; i++)
            if (strcmp(c->dkim_keys[i].domain, any != 0 ? "*" : pr->facts.from) == 0)
                begin_key(pr, &c->dkim_keys[i]);
}

static void
begin_spf(struct probe *pr)
{
    const struct config *c = pr->preflight->config;
    struct believed_facts *f = &pr->facts;
    for (unsigned i = 0; i < c->egress_count && f->ip_count < EGRESS_MAX; i++) {
        struct ip_question *q = &pr->ips[f->ip_count];
        if (!spf_mail_set(&q->check.mail, slice_str(c->egress[i]), SLICE_NONE,
                          slice_str(f->reverse), slice_str(c->hostname)))
            continue;
        q->probe = pr;
        q->out = &f->ips[f->ip_count++];
        snprintf(q->out->text, sizeof q->out->text, "%s", c->egress[i]);
        q->check.done = on_spf;
        q->asking = true;
        pr->pending++;
        check_start(&q->check, pr->preflight->checker);
    }
}

/* The null reverse-path has no domain to ask about. */
static void
begin_all(struct probe *pr)
{
    struct believed_facts *f = &pr->facts;
    pr->pending = 1; /* this function */
    f->author = &pr->author.walk;
    f->authenticated = &pr->authenticated.walk;
    begin_walk(pr, &pr->author, f->from);
    begin_keys(pr);
    if (f->reverse[0] != '\0') {
        pr->pending++;
        pr->asking_mx = true;
        ask_dns(pr, &pr->mx, f->reverse, DNS_MX, on_mx);
        begin_spf(pr);
        if (strcmp(f->from, f->reverse) == 0)
            f->authenticated = f->author;
        else
            begin_walk(pr, &pr->authenticated, f->reverse);
    }
    one_done(pr);
}

/* false: too many are under way. */
static bool
begin_probe(struct entry *e)
{
    struct preflight *p = e->preflight;
    struct probe *pr =
        p->probe_count < PREFLIGHT_PROBES_MAX && !p->closing ? calloc(1, sizeof *pr) : NULL;
    if (pr == NULL)
        return false;
    e->in_vain = false;
    pr->entry = e;
    pr->preflight = p;
    pr->is_new = !e->known;
    pr->ttl_s = PREFLIGHT_KEPT_S;
    pr->facts.from = e->from;
    pr->facts.reverse = e->reverse;
    e->probe = pr;
    p->probe_count++;
    list_node_init(&pr->node);
    list_push(&p->probes, &pr->node);
    begin_all(pr);
    return true;
}

/* A probe whose entry was forgotten: its texts are the entry's, so it needs its end. */
static void
break_off(struct probe *pr)
{
    pr->entry = NULL;
    pr->pending++; /* this function */
    if (pr->asking_mx)
        dns_query_cancel(&pr->mx);
    if (pr->author.asking)
        dns_query_cancel(&pr->author.query);
    if (pr->authenticated.asking)
        dns_query_cancel(&pr->authenticated.query);
    for (unsigned i = 0; i < KEYS_PER_DOMAIN_MAX; i++)
        if (pr->asking_key[i])
            dns_query_cancel(&pr->keys[i].query);
    for (unsigned i = 0; i < EGRESS_MAX; i++)
        if (pr->ips[i].asking)
            check_cancel(&pr->ips[i].check);
    one_done(pr);
}

/* ---- the interface ------------------------------------------------------------- */

/* The pair's entry, being asked about unless its verdict is fresh; NULL: no room. */
static struct entry *
entry_for(struct preflight *p, struct slice reverse, struct slice from)
{
    struct entry *e = find(p, reverse, from);
    if (e == NULL)
        e = add_entry(p, reverse, from);
    if (e == NULL || e->probe != NULL || (e->known && clock_mono_ms() < e->fresh_until_ms))
        return e;
    return begin_probe(e) || e->known ? e : NULL;
}

static bool
is_usable(const struct entry *e)
{
    return e != NULL && e->known && clock_mono_ms() < e->usable_until_ms;
}

void
preflight_expect(struct preflight *p, struct slice reverse_domain)
{
    if (p != NULL && reverse_domain.n > 0)
        entry_for(p, reverse_domain, reverse_domain);
}

bool
preflight_known(struct preflight *p, struct slice reverse_domain, struct slice from_domain,
                struct believed_verdict *out)
{
    const struct entry *e = entry_for(p, reverse_domain, from_domain);
    if (!is_usable(e))
        return false;
    *out = e->verdict;
    return true;
}

/* A short wait goes on when it has been worth while: its probe is being answered. */
static void
on_limit(struct timer *t)
{
    struct preflight_op *op = container_of(t, struct preflight_op, limit);
    struct probe *pr = op->entry->probe;
    if (op->short_wait && pr->answered) {
        op->short_wait = false;
        timer_start(t, clock_scaled_ms(PREFLIGHT_WAIT_MS - PREFLIGHT_WAIT_AGAIN_MS));
        return;
    }
    op->entry->in_vain = op->entry->slow = true;
    if (silence_note_late(&op->preflight->silence, op->began_ms, clock_mono_ms())) {
        metrics_add(METRIC_DNS_SILENCES, 1);
        LOG(LOG_WARN, "policy.dns-silent", LF_STR("domain", op->entry->from));
    }
    finish_op(op, NULL);
}

static void
wait_for(struct preflight_op *op, struct entry *e)
{
    op->entry = e;
    op->began_ms = clock_mono_ms();
    op->short_wait = e->slow || silence_lasts(&op->preflight->silence, op->began_ms);
    list_push(&e->waiting, &op->node);
    timer_start(&op->limit,
                clock_scaled_ms(op->short_wait ? PREFLIGHT_WAIT_AGAIN_MS : PREFLIGHT_WAIT_MS));
}

void
preflight_start(struct preflight_op *op, struct preflight *p, struct slice reverse_domain,
                struct slice from_domain)
{
    BUG_ON(op->started);
    op->preflight = p;
    op->started = true;
    p->ops++;
    list_node_init(&op->node);
    timer_init(&op->limit, p->loop, on_limit);
    deferred_init(&op->finish, p->loop, on_finish);
    struct entry *e = entry_for(p, reverse_domain, from_domain);
    if (is_usable(e)) {
        finish_op(op, &e->verdict);
    } else if (e == NULL || e->probe == NULL || e->in_vain) {
        finish_op(op, NULL);
    } else {
        wait_for(op, e);
    }
}

void
preflight_cancel(struct preflight_op *op)
{
    if (op->started && list_node_linked(&op->node))
        finish_op(op, NULL);
}

struct preflight *
preflight_new(struct loop *l, const struct config *c, struct resolver *r,
              struct checker_client *checker)
{
    struct preflight *p = calloc(1, sizeof *p);
    BUG_ON(p == NULL);
    p->loop = l;
    p->config = c;
    p->resolver = r;
    p->checker = checker;
    for (unsigned i = 0; i < BUCKETS; i++)
        list_init(&p->buckets[i]);
    list_init(&p->by_age);
    list_init(&p->probes);
    deferred_init(&p->end, l, free_now);
    return p;
}

void
preflight_free(struct preflight *p)
{
    if (p == NULL)
        return;
    BUG_ON(p->ops > 0);
    p->closing = true;
    LIST_EACH(&p->by_age, entry)
    forget(container_of(entry, struct entry, in_age)); /* NOLINT(clang-analyzer-unix.Malloc) */
    LIST_EACH(&p->probes, node)
    break_off(container_of(node, struct probe, node));
    deferred_schedule(&p->end);
}

bool
preflight_busy(const struct preflight *p)
{
    return p->probe_count > 0;
}
