#include "dkim/check_protocol.h"

#include <arpa/inet.h>
#include <string.h>

#include "dkim/txt.h"

static const size_t U32 = sizeof(uint32_t);
enum { FLAG_UNSURE = 1, FLAG_BY_LOCAL_PART = 2 }; /* of a VERDICT */

static bool
read_check(struct slice in, struct check_message *m)
{
    struct slice ip, local, domain, helo;
    return frame_cut_bytes(&in, &ip) && frame_cut_bytes(&in, &local) &&
           frame_cut_bytes(&in, &domain) && frame_cut_bytes(&in, &helo) && in.n == 0 &&
           spf_mail_set(&m->mail, ip, local, domain, helo);
}

static bool
read_ask(struct slice in, struct check_message *m)
{
    uint32_t type;
    struct slice name;
    if (!frame_cut_u32(&in, &type) || !frame_cut_bytes(&in, &name) || in.n != 0)
        return false;
    m->ask_type = (enum dns_type)type;
    return (type == DNS_A || type == DNS_AAAA || type == DNS_MX || type == DNS_PTR ||
            type == DNS_TXT) &&
           txt_name(name, m->ask_name);
}

static bool
read_answer(struct slice in, struct check_message *m)
{
    uint32_t status;
    struct slice record;
    if (!frame_cut_u32(&in, &status) || status > DNS_TEMP)
        return false;
    m->status = (enum dns_status)status;
    m->records = in;
    while (in.n > 0)
        if (!frame_cut_bytes(&in, &record))
            return false;
    return true;
}

static bool
read_verdict(struct slice in, struct check_message *m)
{
    uint32_t result, lookups, voids, flags;
    struct slice text;
    if (!frame_cut_u32(&in, &result) || !frame_cut_u32(&in, &lookups) ||
        !frame_cut_u32(&in, &voids) || !frame_cut_u32(&in, &flags) ||
        !frame_cut_bytes(&in, &text) || in.n != 0 || result >= SPF_RESULTS ||
        flags > (FLAG_UNSURE | FLAG_BY_LOCAL_PART))
        return false;
    m->verdict = (struct spf_verdict){.result = (enum spf_result)result,
                                      .lookups = lookups,
                                      .void_lookups = voids,
                                      .unsure = (flags & FLAG_UNSURE) != 0,
                                      .by_local_part = (flags & FLAG_BY_LOCAL_PART) != 0};
    return slice_to_cstr(text, m->verdict.text, sizeof m->verdict.text);
}

static bool
read_payload(const struct frame *f, struct check_message *m)
{
    *m = (struct check_message){.type = (enum check_frame)f->type, .request = f->request};
    switch (f->type) {
    case CHECK_FRAME_CHECK:
        return read_check(f->payload, m);
    case CHECK_FRAME_ANSWER:
        return read_answer(f->payload, m);
    case CHECK_FRAME_ASK:
        return read_ask(f->payload, m);
    case CHECK_FRAME_VERDICT:
        return read_verdict(f->payload, m);
    case CHECK_FRAME_READY:
        return f->payload.n == 0;
    default:
        return false;
    }
}

enum parse
check_message_cut(struct slice *in, struct check_message *out)
{
    struct slice rest = *in;
    struct frame f;
    struct check_message m;
    enum parse p = frame_cut(&rest, &f);
    if (p == PARSE_MORE && in->n >= CHECK_FRAME_MAX)
        return PARSE_BAD;
    if (p != PARSE_OK)
        return p;
    if (!read_payload(&f, &m))
        return PARSE_BAD;
    *in = rest;
    *out = m;
    return PARSE_OK;
}

bool
check_add_check(struct buf *b, uint64_t request, const struct spf_mail *m)
{
    char ip[INET6_ADDRSTRLEN];
    inet_ntop(m->ipv6 ? AF_INET6 : AF_INET, m->ip, ip, sizeof ip);
    const char *const texts[] = {ip, m->local, m->domain, m->helo};
    size_t bytes = 0;
    for (size_t i = 0; i < 4; i++)
        bytes += U32 + strlen(texts[i]);
    bool ok = frame_add_header(b, CHECK_FRAME_CHECK, request, bytes);
    for (size_t i = 0; i < 4; i++)
        ok = ok && frame_add_bytes(b, slice_str(texts[i]));
    return ok;
}

bool
check_add_ask(struct buf *b, uint64_t request, enum dns_type type, const char *name)
{
    return frame_add_header(b, CHECK_FRAME_ASK, request, 2 * U32 + strlen(name)) &&
           frame_add_u32(b, type) && frame_add_bytes(b, slice_str(name));
}

bool
check_add_answer(struct buf *b, uint64_t request, enum dns_status status, struct slice records)
{
    return frame_add_header(b, CHECK_FRAME_ANSWER, request, U32 + records.n) &&
           frame_add_u32(b, status) && buf_add(b, records);
}

bool
check_add_verdict(struct buf *b, uint64_t request, const struct spf_verdict *v)
{
    struct slice text = slice_str(v->text);
    unsigned flags = (v->unsure ? FLAG_UNSURE : 0u) | (v->by_local_part ? FLAG_BY_LOCAL_PART : 0u);
    return frame_add_header(b, CHECK_FRAME_VERDICT, request, 5 * U32 + text.n) &&
           frame_add_u32(b, v->result) && frame_add_u32(b, v->lookups) &&
           frame_add_u32(b, v->void_lookups) && frame_add_u32(b, flags) && frame_add_bytes(b, text);
}
