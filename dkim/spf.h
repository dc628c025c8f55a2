/*
 * check_host() of RFC 7208, by libspf2 behind a DNS layer of ours. Nothing here
 * asks DNS: a check runs until it needs an answer that it has not, says which,
 * and is run again from the start when it was given (a run takes about 10 us).
 *
 *   while (spf_check_run(c) == SPF_ASK)
 *       spf_check_answer(c, status, records);   -- to spf_check_question(c)
 *
 * libspf2 1.2.10 can be crashed by records, counts lookups wrongly and differs
 * from the RFC; what is done about it, and what is left, stands in
 * dkim/README.md. It belongs into a process of its own (dkim/checker.h).
 */
#ifndef STAGEPOST_DKIM_SPF_H
#define STAGEPOST_DKIM_SPF_H

#include "dkim/spf_record.h"
#include "relay/sys/net/resolver.h"

enum spf_result {
    SPF_NONE,
    SPF_NEUTRAL,
    SPF_PASS,
    SPF_FAIL,
    SPF_SOFTFAIL,
    SPF_TEMPERROR,
    SPF_PERMERROR,
};
enum { SPF_RESULTS = SPF_PERMERROR + 1 };

const char *spf_result_name(enum spf_result r); /* "none", ... as in RFC 8601 2.7.2 */

struct spf_verdict {
    enum spf_result result;
    unsigned lookups, void_lookups; /* RFC 7208 4.6.4, of the last run */
    bool unsure;        /* DNS did not say what the address is called: others may differ */
    bool by_local_part; /* a record asks for it (%{l}, %{s}): other senders may differ */
    char text[256];     /* why it is an error; "" otherwise. Holds bytes of the record. */
};

struct spf_check;

/* Copies the question. */
struct spf_check *spf_check_new(const struct spf_mail *m);
void spf_check_free(struct spf_check *c); /* NULL is fine */

enum spf_step { SPF_DONE, SPF_ASK };
enum spf_step spf_check_run(struct spf_check *c);
/* What the last run lacked: type A, AAAA, MX, PTR or TXT. Until the next call. */
const char *spf_check_question(const struct spf_check *c, enum dns_type *type);
/* records: RDATA as they came, each as u32 length and bytes (frame_add_bytes()). */
void spf_check_answer(struct spf_check *c, enum dns_status status, struct slice records);
const struct spf_verdict *spf_check_verdict(const struct spf_check *c); /* after SPF_DONE */

#endif
