#include "dkim/spf.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* After the system's: it wants ns_type of arpa/nameser.h. */
#include <spf2/spf.h>

#include "dkim/txt.h"
#include "relay/sys/base/bug.h"
#include "relay/sys/net/frame.h"

/* Its own limits must not come before ours: its counter starts anew in each include. */
enum { LIBRARY_LIMIT = 1000, ENVELOPE_MAX = ADDRESS_LOCAL_MAX + ADDRESS_DOMAIN_MAX + 2 };

struct answer {
    char name[ADDRESS_DOMAIN_MAX + 1];
    enum dns_type type;
    enum dns_status status;
    struct buf records;
};

struct spf_check {
    struct spf_mail mail;
    struct answer answers[SPF_QUESTIONS_MAX];
    unsigned answer_count;

    bool names_known, names_unsure;
    struct spf_names names; /* of the client, once a record has wanted them */

    /* Of one run */
    bool asking; /* answers[answer_count] is the question */
    bool forced; /* the verdict is known, whatever libspf2 goes on to say */
    bool own_record_seen;
    bool by_local_part;
    bool any_address; /* the term that is asked about ends in SPF_ANY_ADDRESS */
    struct spf_odd_names odd;
    struct spf_verdict verdict;
    /* The hosts of the last MX answer: their addresses are part of that term. */
    char hosts[SPF_HOSTS_PER_MX_MAX][ADDRESS_DOMAIN_MAX + 1];
    unsigned host_count, next_host;

    SPF_dns_server_t dns;
};

const char *
spf_result_name(enum spf_result r)
{
    static const char *const names[SPF_RESULTS] = {
        [SPF_NONE] = "none",           [SPF_NEUTRAL] = "neutral",   [SPF_PASS] = "pass",
        [SPF_FAIL] = "fail",           [SPF_SOFTFAIL] = "softfail", [SPF_TEMPERROR] = "temperror",
        [SPF_PERMERROR] = "permerror",
    };
    return names[r];
}

/* The first reason stands: it is the one that check_host() would have met. */
static void __attribute__((format(printf, 3, 4)))
force(struct spf_check *c, enum spf_result result, const char *fmt, ...)
{
    if (c->forced)
        return;
    va_list args;
    va_start(args, fmt);
    c->forced = true;
    c->verdict.result = result;
    vsnprintf(c->verdict.text, sizeof c->verdict.text, fmt, args);
    va_end(args);
}

/* --- answers for libspf2 --- */

static struct answer *
find_answer(struct spf_check *c, const char *name, enum dns_type type)
{
    for (unsigned i = 0; i < c->answer_count; i++)
        if (c->answers[i].type == type && strcmp(c->answers[i].name, name) == 0)
            return &c->answers[i];
    return NULL;
}

static SPF_dns_rr_t *
empty_rr(struct spf_check *c, const char *name, ns_type type, int herrno)
{
    SPF_dns_rr_t *rr = SPF_dns_rr_new_init(&c->dns, name, type, 0, herrno);
    BUG_ON(rr == NULL);
    return rr;
}

static void
add_rr(SPF_dns_rr_t *rr, const void *data, size_t bytes)
{
    SPF_errcode_t e = SPF_dns_rr_buf_realloc(rr, rr->num_rr, bytes);
    BUG_ON(e != SPF_E_SUCCESS);
    memcpy(rr->rr[rr->num_rr], data, bytes);
    rr->num_rr++;
}

static void
want(struct spf_check *c, const char *name, enum dns_type type)
{
    if (c->answer_count == SPF_QUESTIONS_MAX) {
        force(c, SPF_PERMERROR, "more than %d DNS questions", SPF_QUESTIONS_MAX);
        return;
    }
    struct answer *a = &c->answers[c->answer_count];
    snprintf(a->name, sizeof a->name, "%s", name);
    a->type = type;
    c->asking = true;
}

static struct answer *
answer_to(struct spf_check *c, const char *name, enum dns_type type)
{
    struct answer *a = find_answer(c, name, type);
    if (a == NULL && !c->asking && !c->forced)
        want(c, name, type);
    return a;
}

static bool
has_address(const struct spf_check *c, const struct answer *a)
{
    struct slice rest = buf_slice(&a->records), rdata;
    struct slice ip = slice_from(c->mail.ip, c->mail.ipv6 ? 16 : 4);
    while (frame_cut_bytes(&rest, &rdata))
        if (slice_eq(rdata, ip))
            return true;
    return false;
}

/* 5.5: the names that lead back to the address. A name that DNS does not answer about
 * is left out, as is all when there is no answer to the PTR question. Stops at the first
 * answer that is lacking. */
static void
learn_names(struct spf_check *c)
{
    char reverse[DNS_REVERSE_NAME_MAX], host[ADDRESS_DOMAIN_MAX + 1];
    struct slice rest, rdata;
    unsigned looked_at = 0;
    dns_reverse_name(c->mail.ip, c->mail.ipv6, reverse);
    const struct answer *ptr = answer_to(c, reverse, DNS_PTR);
    if (ptr == NULL)
        return;
    c->names = (struct spf_names){.has_ptr = ptr->status == DNS_OK || ptr->status == DNS_TEMP};
    c->names_unsure = ptr->status == DNS_TEMP;
    rest = buf_slice(&ptr->records);
    while (looked_at < SPF_PTR_NAMES_MAX && frame_cut_bytes(&rest, &rdata)) {
        looked_at++;
        if (!dns_ptr_parse(rdata, host))
            continue;
        const struct answer *a = answer_to(c, host, c->mail.ipv6 ? DNS_AAAA : DNS_A);
        if (a == NULL)
            return;
        c->names_unsure |= a->status == DNS_TEMP;
        if (has_address(c, a))
            memcpy(c->names.names[c->names.count++], host, sizeof host);
    }
    c->names_known = true;
}

/* As spf_record_prepare(), with the client's names when it wants them; they may have to be
 * asked for first, and what was written is of no use then. */
static int
prepare_record(struct spf_check *c, struct slice text, const char *at, struct buf *out,
               struct err *err)
{
    struct spf_notes notes = {.names = c->names_known ? &c->names : NULL, .odd = &c->odd};
    size_t before = buf_slice(out).n;
    int rc = spf_record_prepare(text, at, &c->mail, out, &notes, err);
    c->by_local_part |= notes.by_local_part;
    if (rc != 0 || !notes.wants_names)
        return rc;
    learn_names(c);
    if (!c->names_known)
        return 0;
    buf_truncate(out, before);
    notes = (struct spf_notes){.names = &c->names, .odd = &c->odd};
    return spf_record_prepare(text, at, &c->mail, out, &notes, err);
}

/* The answer's only SPF record as it should be read here; false: none. */
static bool
prepare_txt(struct spf_check *c, const struct answer *a, struct buf *out)
{
    struct slice rest = buf_slice(&a->records), rdata;
    unsigned found = 0;
    struct err err = {0};
    while (frame_cut_bytes(&rest, &rdata)) {
        struct buf text;
        buf_init(&text, TXT_BYTES_MAX);
        bool read = txt_join(rdata, &text), is = read && spf_record_is(buf_slice(&text));
        found += is;
        if (found > 1)
            force(c, SPF_PERMERROR, "%s: more than one SPF record", a->name);
        else if (is && prepare_record(c, buf_slice(&text), a->name, out, &err) != 0)
            force(c, SPF_PERMERROR, "%s", err.text);
        else if (!read && rdata.n > TXT_BYTES_MAX)
            force(c, SPF_PERMERROR, "%s: a TXT record of more than %d bytes", a->name,
                  TXT_BYTES_MAX);
        buf_fini(&text);
    }
    return found > 0;
}

static void
fill_txt(struct spf_check *c, const struct answer *a, bool own, SPF_dns_rr_t *rr)
{
    struct buf text;
    buf_init(&text, SPF_PREPARED_MAX + 1);
    if (prepare_txt(c, a, &text) && !c->forced && !c->asking) {
        buf_add_char(&text, '\0');
        add_rr(rr, buf_slice(&text).p, buf_slice(&text).n);
    } else if (own && !c->asking) {
        force(c, SPF_NONE, "%s", "");
    }
    buf_fini(&text);
}

static void
fill_mx(struct spf_check *c, const struct answer *a, SPF_dns_rr_t *rr)
{
    struct slice rest = buf_slice(&a->records), rdata;
    unsigned count = 0;
    uint16_t preference;
    char host[ADDRESS_DOMAIN_MAX + 1];
    c->host_count = c->next_host = 0;
    while (frame_cut_bytes(&rest, &rdata)) {
        if (++count > SPF_HOSTS_PER_MX_MAX) {
            force(c, SPF_PERMERROR, "%s: more than %d MX hosts", a->name, SPF_HOSTS_PER_MX_MAX);
            return;
        }
        if (!dns_mx_parse(rdata, &preference, host) || host[0] == '\0')
            continue;
        add_rr(rr, host, strlen(host) + 1);
        memcpy(c->hosts[c->host_count++], host, sizeof host);
    }
}

/* With a prefix of no bits every client is at the address. */
static void
fill_addresses(const struct spf_check *c, const struct answer *a, SPF_dns_rr_t *rr)
{
    struct slice rest = buf_slice(&a->records), rdata;
    size_t bytes = a->type == DNS_A ? sizeof(struct in_addr) : sizeof(struct in6_addr);
    bool any = c->any_address && (a->type == DNS_AAAA) == c->mail.ipv6;
    while (frame_cut_bytes(&rest, &rdata))
        if (rdata.n == bytes)
            add_rr(rr, any ? (const void *)c->mail.ip : rdata.p, bytes);
}

/* --- counting, RFC 7208 4.6.4 --- */

/* Whether the question begins a term: addresses of an MX's hosts belong to it,
 * and libspf2 asks for them in order. */
static bool
begins_term(struct spf_check *c, const char *name, enum dns_type type)
{
    bool address = type == DNS_A || type == DNS_AAAA;
    if (address && c->next_host < c->host_count && strcmp(c->hosts[c->next_host], name) == 0) {
        c->next_host++;
        return false;
    }
    c->host_count = c->next_host = 0;
    c->any_address = false;
    return true;
}

static void
count_question(struct spf_check *c, const char *name, enum dns_type type)
{
    if (begins_term(c, name, type) && ++c->verdict.lookups > SPF_LOOKUPS_MAX)
        force(c, SPF_PERMERROR, "more than %d DNS lookups", SPF_LOOKUPS_MAX);
}

static void
count_answer(struct spf_check *c, enum dns_status status)
{
    bool is_void = status == DNS_NODATA || status == DNS_NXDOMAIN;
    if (is_void && ++c->verdict.void_lookups > SPF_VOID_LOOKUPS_MAX)
        force(c, SPF_PERMERROR, "more than %d lookups without an answer", SPF_VOID_LOOKUPS_MAX);
}

/* --- the layer --- */

static int
herrno_of(enum dns_status s)
{
    static const int table[] = {[DNS_OK] = NETDB_SUCCESS,
                                [DNS_NODATA] = NO_DATA,
                                [DNS_NXDOMAIN] = HOST_NOT_FOUND,
                                [DNS_TEMP] = TRY_AGAIN};
    return table[s];
}

static SPF_dns_rr_t *
give(struct spf_check *c, const struct answer *a, bool own, ns_type type)
{
    SPF_dns_rr_t *rr = empty_rr(c, a->name, type, herrno_of(a->status));
    if (a->status == DNS_TEMP)
        force(c, SPF_TEMPERROR, "DNS gave no answer for %s", a->name);
    else if (a->type == DNS_TXT)
        fill_txt(c, a, own, rr);
    else if (a->type == DNS_MX)
        fill_mx(c, a, rr);
    else
        fill_addresses(c, a, rr);
    if (c->forced || c->asking)
        rr->herrno = TRY_AGAIN;
    else if (rr->num_rr == 0 && rr->herrno == NETDB_SUCCESS)
        rr->herrno = NO_DATA;
    return rr;
}

/* What a `ptr` term was made into. */
static SPF_dns_rr_t *
give_ptr(struct spf_check *c, const char *name, ns_type type)
{
    const uint8_t any[4] = {127, 0, 0, 2};
    if (strcmp(name, SPF_PTR_VOID) == 0)
        count_answer(c, DNS_NODATA);
    bool matches = strcmp(name, SPF_PTR_MATCHES) == 0 && !c->forced;
    SPF_dns_rr_t *rr = empty_rr(c, name, type, matches ? NETDB_SUCCESS : HOST_NOT_FOUND);
    if (c->forced)
        rr->herrno = TRY_AGAIN;
    if (matches)
        add_rr(rr, any, sizeof any);
    return rr;
}

static bool
our_type(ns_type type)
{
    return type == ns_t_a || type == ns_t_aaaa || type == ns_t_mx || type == ns_t_txt;
}

/* The name that DNS is asked for. */
static bool
read_name(struct spf_check *c, const char *domain, char name[ADDRESS_DOMAIN_MAX + 1], bool *any)
{
    struct slice s = slice_str(domain);
    uint64_t number;
    *any = slice_ends_nocase(s, SLICE(SPF_ANY_ADDRESS));
    if (*any)
        s.n -= strlen(SPF_ANY_ADDRESS);
    if (!slice_ends_nocase(s, SLICE(SPF_ODD_NAME)))
        return txt_domain(s, name);
    s.n -= strlen(SPF_ODD_NAME);
    if (!slice_to_u64(s, &number) || number >= c->odd.count)
        return false;
    memcpy(name, c->odd.names[number], ADDRESS_DOMAIN_MAX + 1);
    return true;
}

static SPF_dns_rr_t *
on_lookup(SPF_dns_server_t *dns, const char *domain, ns_type type, int should_cache)
{
    struct spf_check *c = dns->hook;
    char name[ADDRESS_DOMAIN_MAX + 1];
    bool any;
    (void)should_cache;
    if (c->asking || c->forced)
        return empty_rr(c, "", type, TRY_AGAIN);
    if (!our_type(type) || !read_name(c, domain, name, &any))
        return empty_rr(c, "", type, HOST_NOT_FOUND);
    bool own = !c->own_record_seen;
    c->own_record_seen = true;
    if (!own)
        count_question(c, name, (enum dns_type)type);
    c->any_address |= any;
    if (strcmp(domain, SPF_PTR_MATCHES) == 0 || strcmp(domain, SPF_PTR_DIFFERS) == 0 ||
        strcmp(domain, SPF_PTR_VOID) == 0)
        return give_ptr(c, name, type);
    if (strcmp(domain, SPF_UNUSABLE_NAME) == 0)
        return empty_rr(c, name, type, HOST_NOT_FOUND);
    struct answer *a = find_answer(c, name, (enum dns_type)type);
    if (a == NULL && !c->forced)
        want(c, name, (enum dns_type)type);
    if (a == NULL || c->forced)
        return empty_rr(c, name, type, TRY_AGAIN);
    if (!own)
        count_answer(c, a->status);
    return give(c, a, own, type);
}

/* Explanations are text of strangers, and the way to the library's overflow. */
static SPF_errcode_t
on_explanation(SPF_server_t *server, const char *domain, char **text, size_t *bytes)
{
    (void)server;
    (void)domain;
    *text = calloc(1, 1);
    BUG_ON(*text == NULL);
    *bytes = 1;
    return SPF_E_SUCCESS;
}

/* --- a run --- */

static enum spf_result
library_result(SPF_response_t *response, SPF_errcode_t e)
{
    static const enum spf_result results[] = {
        [SPF_RESULT_INVALID] = SPF_PERMERROR,   [SPF_RESULT_NEUTRAL] = SPF_NEUTRAL,
        [SPF_RESULT_PASS] = SPF_PASS,           [SPF_RESULT_FAIL] = SPF_FAIL,
        [SPF_RESULT_SOFTFAIL] = SPF_SOFTFAIL,   [SPF_RESULT_NONE] = SPF_NONE,
        [SPF_RESULT_TEMPERROR] = SPF_TEMPERROR, [SPF_RESULT_PERMERROR] = SPF_PERMERROR,
    };
    SPF_result_t r = SPF_response_result(response);
    if (r == SPF_RESULT_INVALID && e == SPF_E_DNS_ERROR)
        return SPF_TEMPERROR;
    return r < (SPF_result_t)ARRAY_LEN(results) ? results[r] : SPF_PERMERROR;
}

/* Not SPF_request_query_mailfrom(): that lets any loopback client pass. */
static void
evaluate(struct spf_check *c, SPF_server_t *server, SPF_request_t *request)
{
    SPF_record_t *record = NULL;
    SPF_response_t *response = SPF_response_new(request);
    BUG_ON(response == NULL);
    request->cur_dom = c->mail.domain;
    SPF_errcode_t e = SPF_server_get_record(server, request, response, &record);
    response->spf_record_exp = record; /* SPF_record_interpret() wants it there */
    if (e == SPF_E_SUCCESS && record != NULL)
        e = SPF_record_interpret(record, request, response, 0);
    if (!c->asking && !c->forced) {
        c->verdict.result = library_result(response, e);
        if (c->verdict.result >= SPF_TEMPERROR)
            snprintf(c->verdict.text, sizeof c->verdict.text, "%s", SPF_strerror(e));
    }
    if (record != NULL)
        SPF_record_free(record);
    SPF_response_free(response);
}

static void
fill_request(const struct spf_check *c, SPF_request_t *request)
{
    char envelope[ENVELOPE_MAX];
    struct in_addr ipv4;
    struct in6_addr ipv6;
    if (c->mail.ipv6) {
        memcpy(&ipv6, c->mail.ip, sizeof ipv6);
        SPF_request_set_ipv6(request, ipv6);
    } else {
        memcpy(&ipv4, c->mail.ip, sizeof ipv4);
        SPF_request_set_ipv4(request, ipv4);
    }
    snprintf(envelope, sizeof envelope, "postmaster@%s", c->mail.domain);
    SPF_request_set_helo_dom(request, c->mail.helo);
    SPF_request_set_env_from(request, envelope);
}

enum spf_step
spf_check_run(struct spf_check *c)
{
    c->asking = c->forced = c->own_record_seen = c->by_local_part = false;
    c->host_count = c->next_host = c->odd.count = 0;
    c->verdict = (struct spf_verdict){.result = SPF_PERMERROR};
    SPF_server_t *server = SPF_server_new_dns(&c->dns, 0);
    BUG_ON(server == NULL);
    SPF_server_set_max_dns_mech(server, LIBRARY_LIMIT);
    SPF_server_set_max_dns_mx(server, LIBRARY_LIMIT);
    SPF_request_t *request = SPF_request_new(server);
    BUG_ON(request == NULL);
    fill_request(c, request);
    evaluate(c, server, request);
    SPF_request_free(request);
    SPF_server_free(server);
    c->verdict.unsure = c->names_unsure;
    c->verdict.by_local_part = c->by_local_part;
    return c->asking ? SPF_ASK : SPF_DONE;
}

const char *
spf_check_question(const struct spf_check *c, enum dns_type *type)
{
    BUG_ON(!c->asking);
    *type = c->answers[c->answer_count].type;
    return c->answers[c->answer_count].name;
}

void
spf_check_answer(struct spf_check *c, enum dns_status status, struct slice records)
{
    BUG_ON(!c->asking);
    struct answer *a = &c->answers[c->answer_count++];
    a->status = status;
    buf_init(&a->records, CHECK_FRAME_MAX);
    if (status == DNS_OK && !buf_add(&a->records, records))
        a->status = DNS_TEMP;
    c->asking = false;
}

const struct spf_verdict *
spf_check_verdict(const struct spf_check *c)
{
    return &c->verdict;
}

struct spf_check *
spf_check_new(const struct spf_mail *m)
{
    struct spf_check *c = calloc(1, sizeof *c);
    BUG_ON(c == NULL);
    c->mail = *m;
    c->dns = (SPF_dns_server_t){
        .lookup = on_lookup, .get_exp = on_explanation, .name = "fed", .hook = c};
    return c;
}

void
spf_check_free(struct spf_check *c)
{
    if (c == NULL)
        return;
    for (unsigned i = 0; i < c->answer_count; i++)
        buf_fini(&c->answers[i].records);
    free(c);
}
