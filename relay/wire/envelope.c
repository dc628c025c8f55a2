/*
 * record          = envelope-record / options-record / verdict-record
 * envelope-record = %x45 version flags ret 6text   ; path, envid, From, subject,
 *                   [u64 2text]                    ; Message-ID, credential; with
 *                                                  ; flag 8: send at, tags, metadata
 * options-record  = %x52 version notify text
 * verdict-record  = %x56 version outcome u16 3u16 u64 3text ; code, enhanced, time;
 *                                                           ; text, phase, mx
 * text            = u16 *OCTET                     ; length, then so many octets
 *
 * Numbers are big-endian. Nothing may follow the last part, so that a record
 * has one spelling only.
 */
#include "relay/wire/envelope.h"

#include "relay/sys/base/bug.h"
#include "relay/sys/base/limits.h"

enum { RECORD_VERSION = 1 };
enum { KIND_ENVELOPE = 'E', KIND_OPTIONS = 'R', KIND_VERDICT = 'V' };
enum { FLAG_SMTPUTF8 = 1, FLAG_EIGHTBIT = 2, FLAG_NDR = 4, FLAG_WISHES = 8, FLAGS_ALL = 15 };
enum { NOTIFY_ALL = NOTIFY_GIVEN | NOTIFY_NEVER | NOTIFY_SUCCESS | NOTIFY_FAILURE | NOTIFY_DELAY };

/* ---- writing ------------------------------------------------------------ */

static bool
add_u8(struct buf *out, unsigned v)
{
    return buf_add_char(out, (char)(unsigned char)v);
}

static bool
add_u16(struct buf *out, unsigned v)
{
    return v <= UINT16_MAX && add_u8(out, v >> 8) && add_u8(out, v & 0xff);
}

static bool
add_u64(struct buf *out, uint64_t v)
{
    for (int shift = 56; shift >= 0; shift -= 8)
        if (!add_u8(out, (unsigned)(v >> shift) & 0xff))
            return false;
    return true;
}

static bool
add_text(struct buf *out, struct slice s)
{
    return s.n <= UINT16_MAX && add_u16(out, (unsigned)s.n) && buf_add(out, s);
}

static bool
add_texts(struct buf *out, const struct slice *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!add_text(out, v[i]))
            return false;
    return true;
}

/* All or nothing. */
static bool
finish(struct buf *out, size_t before, bool ok)
{
    if (!ok)
        buf_truncate(out, before);
    return ok;
}

/* ---- reading ------------------------------------------------------------ */

struct reader {
    struct slice in;
    bool bad;
};

static unsigned
get_u8(struct reader *r)
{
    if (r->in.n < 1) {
        r->bad = true;
        return 0;
    }
    return (unsigned char)slice_cut(&r->in, 1).p[0];
}

static unsigned
get_u16(struct reader *r)
{
    unsigned high = get_u8(r);
    return high << 8 | get_u8(r);
}

static uint64_t
get_u64(struct reader *r)
{
    uint64_t v = 0;
    for (int i = 0; i < 8; i++)
        v = v << 8 | get_u8(r);
    return v;
}

static struct slice
get_text(struct reader *r, size_t max)
{
    size_t n = get_u16(r);
    if (r->bad || n > r->in.n || n > max) {
        r->bad = true;
        return SLICE_NONE;
    }
    return slice_cut(&r->in, n);
}

static struct reader
reader_open(struct slice record, unsigned kind)
{
    struct reader r = {.in = record};
    if (get_u8(&r) != kind || get_u8(&r) != RECORD_VERSION)
        r.bad = true;
    return r;
}

static bool
reader_ok(const struct reader *r)
{
    return !r->bad && r->in.n == 0;
}

/* ---- envelope ----------------------------------------------------------- */

static bool
has_wishes(const struct envelope *e)
{
    return e->send_at_unix_ms > 0 || e->tags.n > 0 || e->metadata.n > 0;
}

static bool
add_wishes(const struct envelope *e, struct buf *out)
{
    return !has_wishes(e) || (add_u64(out, (uint64_t)e->send_at_unix_ms) &&
                              add_text(out, e->tags) && add_text(out, e->metadata));
}

bool
envelope_encode(const struct envelope *e, struct buf *out)
{
    size_t before = out->len;
    unsigned flags = (e->smtputf8 ? FLAG_SMTPUTF8 : 0u) | (e->eightbit ? FLAG_EIGHTBIT : 0u) |
                     (e->is_ndr ? FLAG_NDR : 0u) | (has_wishes(e) ? FLAG_WISHES : 0u);
    const struct slice texts[] = {e->reverse_path, e->envid,      e->header_from,
                                  e->subject,      e->message_id, e->credential};
    return finish(out, before,
                  e->subject.n <= ENVELOPE_SUBJECT_MAX && add_u8(out, KIND_ENVELOPE) &&
                      add_u8(out, RECORD_VERSION) && add_u8(out, flags) &&
                      add_u8(out, (unsigned)e->ret) && add_texts(out, texts, ARRAY_LEN(texts)) &&
                      add_wishes(e, out));
}

bool
envelope_decode(struct slice record, struct envelope *out)
{
    struct reader r = reader_open(record, KIND_ENVELOPE);
    unsigned flags = get_u8(&r), ret = get_u8(&r);
    struct envelope e = {
        .ret = (enum dsn_ret)ret,
        .smtputf8 = flags & FLAG_SMTPUTF8,
        .eightbit = flags & FLAG_EIGHTBIT,
        .is_ndr = flags & FLAG_NDR,
    };
    e.reverse_path = get_text(&r, UINT16_MAX);
    e.envid = get_text(&r, UINT16_MAX);
    e.header_from = get_text(&r, UINT16_MAX);
    e.subject = get_text(&r, ENVELOPE_SUBJECT_MAX);
    e.message_id = get_text(&r, UINT16_MAX);
    e.credential = get_text(&r, UINT16_MAX);
    if ((flags & FLAG_WISHES) != 0) {
        uint64_t at = get_u64(&r);
        e.send_at_unix_ms = at <= INT64_MAX ? (int64_t)at : 0;
        e.tags = get_text(&r, UINT16_MAX);
        e.metadata = get_text(&r, UINT16_MAX);
        if (at > INT64_MAX || !has_wishes(&e)) /* one spelling only */
            return false;
    }
    if (!reader_ok(&r) || (flags & ~(unsigned)FLAGS_ALL) != 0 || ret > RET_HDRS)
        return false;
    *out = e;
    return true;
}

/* ---- recipient options -------------------------------------------------- */

/* RFC 3461 4.1: NEVER stands alone. */
static bool
notify_is_valid(unsigned notify)
{
    if ((notify & ~(unsigned)NOTIFY_ALL) != 0)
        return false;
    if ((notify & NOTIFY_GIVEN) == 0)
        return notify == 0;
    if ((notify & NOTIFY_NEVER) != 0)
        return notify == (NOTIFY_GIVEN | NOTIFY_NEVER);
    return notify != NOTIFY_GIVEN;
}

bool
rcpt_options_encode(const struct rcpt_options *o, struct buf *out)
{
    size_t before = out->len;
    return finish(out, before,
                  notify_is_valid(o->notify) && add_u8(out, KIND_OPTIONS) &&
                      add_u8(out, RECORD_VERSION) && add_u8(out, o->notify) &&
                      add_text(out, o->orcpt));
}

bool
rcpt_options_decode(struct slice record, struct rcpt_options *out)
{
    struct reader r = reader_open(record, KIND_OPTIONS);
    struct rcpt_options o = {.notify = get_u8(&r)};
    o.orcpt = get_text(&r, UINT16_MAX);
    if (!reader_ok(&r) || !notify_is_valid(o.notify))
        return false;
    *out = o;
    return true;
}

bool
rcpt_options_wants_failure(const struct rcpt_options *o)
{
    return (o->notify & NOTIFY_GIVEN) == 0 || (o->notify & NOTIFY_FAILURE) != 0;
}

bool
rcpt_options_asks_delay(const struct rcpt_options *o)
{
    return (o->notify & NOTIFY_DELAY) != 0;
}

/* ---- verdict ------------------------------------------------------------ */

static bool
verdict_is_valid(const struct verdict *v)
{
    bool code = v->code == 0 || (v->code >= 200 && v->code <= 599);
    bool class_ =
        v->enhanced[0] == 0 || v->enhanced[0] == 2 || v->enhanced[0] == 4 || v->enhanced[0] == 5;
    bool detail = v->enhanced[1] <= 999 && v->enhanced[2] <= 999; /* RFC 3463 2: 3 digits */
    return v->outcome <= OUTCOME_UNCERTAIN && code && class_ && detail && v->at_unix_ms >= 0;
}

bool
verdict_encode(const struct verdict *v, struct buf *out)
{
    size_t before = out->len;
    const struct slice texts[] = {v->text, v->phase, v->mx};
    return finish(out, before,
                  verdict_is_valid(v) && v->text.n <= VERDICT_TEXT_MAX &&
                      add_u8(out, KIND_VERDICT) && add_u8(out, RECORD_VERSION) &&
                      add_u8(out, (unsigned)v->outcome) && add_u16(out, v->code) &&
                      add_u16(out, v->enhanced[0]) && add_u16(out, v->enhanced[1]) &&
                      add_u16(out, v->enhanced[2]) && add_u64(out, (uint64_t)v->at_unix_ms) &&
                      add_texts(out, texts, ARRAY_LEN(texts)));
}

bool
verdict_decode(struct slice record, struct verdict *out)
{
    struct reader r = reader_open(record, KIND_VERDICT);
    struct verdict v = {.outcome = (enum outcome)get_u8(&r)};
    v.code = get_u16(&r);
    for (unsigned i = 0; i < ARRAY_LEN(v.enhanced); i++)
        v.enhanced[i] = (uint16_t)get_u16(&r);
    v.at_unix_ms = (int64_t)get_u64(&r);
    v.text = get_text(&r, VERDICT_TEXT_MAX);
    v.phase = get_text(&r, UINT16_MAX);
    v.mx = get_text(&r, UINT16_MAX);
    if (!reader_ok(&r) || !verdict_is_valid(&v))
        return false;
    *out = v;
    return true;
}
