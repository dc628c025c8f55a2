#include "dkim/sign.h"

#include <opendkim/dkim.h>
#include <stdlib.h>
#include <string.h>

#include "dkim/guard.h"
#include "dkim/keyshim.h"
#include "relay/sys/base/arena.h"
#include "relay/sys/base/bug.h"

enum {
    LIBRARY_MEMORY_MAX = 8 << 20, /* per job; 45 KB is usual, 256 KB of header ask for most */
    WHOLE_BODY = -1,              /* no l= (RFC 6376 8.2) */
    END_OF_HEADER_BYTES = 4,      /* CRLF CRLF */
};

#define FIELD_NAME "DKIM-Signature: "

/* RFC 6376 5.4.1, without the fields that change on the way. */
static const char *const SIGNED[] = {
    "From",
    "To",
    "Cc",
    "Subject",
    "Date",
    "Reply-To",
    "Sender",
    "Message-ID",
    "In-Reply-To",
    "References",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "Content-ID",
    "Content-Description",
    "Resent-Date",
    "Resent-From",
    "Resent-Sender",
    "Resent-To",
    "Resent-Cc",
    "Resent-Message-ID",
    "List-Id",
    "List-Help",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "List-Subscribe",
    "List-Post",
    "List-Owner",
    "List-Archive",
    "Feedback-ID",
    NULL,
};

/* Named once more in h= than they occur, so that nobody can add one unnoticed
 * (RFC 6376 8.15). Not Sender: forwarders add it rightly. */
static const char *const OVERSIGNED[] = {
    "From",
    "To",
    "Cc",
    "Subject",
    "Date",
    "Reply-To",
    "Message-ID",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    NULL,
};

struct sign_engine {
    struct keyset *keys;
    DKIM_LIB *lib;
    bool use_shim;
    unsigned open_jobs;
};

/* One signature in the making. */
struct signature {
    struct signing_key *key;
    DKIM *handle; /* NULL until the header section is complete */
};

struct sign_job {
    struct sign_engine *engine;
    char domain[ADDRESS_DOMAIN_MAX + 1];
    struct signature signatures[KEYS_PER_DOMAIN_MAX];
    unsigned count;
    struct buf header; /* the header section, until it is complete */
    bool in_body;
    unsigned signed_fields;
    struct guard_lines lines;
    struct arena memory; /* the library's: it does not free all that it allocates */
};

/* --- the library --- */

static void *
library_alloc(void *closure, size_t n)
{
    return closure != NULL ? arena_alloc(closure, n) : malloc(n);
}

static void
library_free(void *closure, void *p)
{
    if (closure == NULL)
        free(p);
}

/* What the library says of itself, never what a message contains. */
static enum sign_status
library_failed(DKIM *handle, const char *doing, DKIM_STAT stat, struct err *err)
{
    const char *text = handle != NULL ? dkim_geterror(handle) : NULL;
    err_set(err, ERR_IO, "libopendkim: %s: status %d%s%.160s", doing, stat,
            text != NULL ? ": " : "", text != NULL ? text : "");
    return SIGN_AWAY;
}

static const void *
library_key(const struct sign_engine *e, const struct signing_key *k)
{
    return e->use_shim ? keyshim_text() : k->pem;
}

static enum sign_status
open_handle(struct sign_job *j, struct signature *s, struct err *err)
{
    DKIM_STAT stat = DKIM_STAT_OK;
    dkim_alg_t alg = s->key->kind == KEY_RSA ? DKIM_SIGN_RSASHA256 : DKIM_SIGN_ED25519SHA256;
    s->handle = dkim_sign(j->engine->lib, (const unsigned char *)"job", &j->memory,
                          (dkim_sigkey_t)(uintptr_t)library_key(j->engine, s->key),
                          (const unsigned char *)s->key->selector, (const unsigned char *)j->domain,
                          DKIM_CANON_RELAXED, DKIM_CANON_RELAXED, alg, WHOLE_BODY, &stat);
    return s->handle != NULL ? SIGN_OK : library_failed(NULL, "sign", stat, err);
}

/* --- which fields --- */

static bool
in_list(const char *const *list, struct slice name)
{
    for (; *list != NULL; list++) {
        if (slice_eq_nocase(slice_str(*list), name))
            return true;
    }
    return false;
}

static bool
is_signed(struct slice name)
{
    return in_list(SIGNED, name);
}

/* --- header section --- */

/* The field stands in our own buffer with its CRLF behind it: the CR makes room
 * for the NUL that dkim_header() needs. */
static enum sign_status
feed_field(struct sign_job *j, struct slice field, struct err *err)
{
    char *p = j->header.mem + (field.p - j->header.mem);
    p[field.n] = '\0';
    for (unsigned i = 0; i < j->count; i++) {
        DKIM *handle = j->signatures[i].handle;
        DKIM_STAT stat = dkim_header(handle, (u_char *)p, field.n);
        if (stat != DKIM_STAT_OK)
            return library_failed(handle, "header", stat, err);
    }
    return SIGN_OK;
}

static enum sign_status
feed_fields(struct sign_job *j, struct slice section, struct err *err)
{
    struct slice field, name;
    enum sign_status status = SIGN_OK;
    while (status == SIGN_OK && guard_field_cut(&section, &field, &name, err) == PARSE_OK) {
        if (is_signed(name))
            status = feed_field(j, field, err);
    }
    return status;
}

static enum sign_status
end_headers(struct sign_job *j, struct err *err)
{
    for (unsigned i = 0; i < j->count; i++) {
        DKIM *handle = j->signatures[i].handle;
        DKIM_STAT stat = dkim_eoh(handle);
        if (stat != DKIM_STAT_OK)
            return library_failed(handle, "end of header", stat, err);
    }
    return SIGN_OK;
}

/* `section`: the complete header section, at the front of j->header. */
static enum sign_status
take_section(struct sign_job *j, struct slice section, struct err *err)
{
    if (guard_section(section, is_signed, &j->signed_fields, err) != 0)
        return SIGN_REFUSED;
    enum sign_status status = SIGN_OK;
    for (unsigned i = 0; i < j->count && status == SIGN_OK; i++)
        status = open_handle(j, &j->signatures[i], err);
    if (status == SIGN_OK)
        status = feed_fields(j, section, err);
    if (status == SIGN_OK)
        status = end_headers(j, err);
    j->in_body = true;
    return status;
}

/* Length of the header section in what has come so far, or SIZE_MAX. */
static size_t
section_bytes(const struct sign_job *j, size_t looked_at)
{
    struct slice all = buf_slice(&j->header);
    if (slice_starts(all, SLICE("\r\n")))
        return 0;
    size_t from = looked_at < END_OF_HEADER_BYTES ? 0 : looked_at - END_OF_HEADER_BYTES;
    struct slice rest = slice_skip(all, from);
    size_t at = slice_find_slice(rest, SLICE("\r\n\r\n"));
    return at < rest.n ? from + at + 2 : SIZE_MAX;
}

/* Collects the header section; cuts from `piece` what belongs to it. */
static enum sign_status
feed_header(struct sign_job *j, struct slice *piece, struct err *err)
{
    size_t before = buf_slice(&j->header).n;
    size_t take = piece->n < buf_room(&j->header) ? piece->n : buf_room(&j->header);
    buf_add(&j->header, slice_from(piece->p, take));
    size_t n = section_bytes(j, before);
    if (n == SIZE_MAX && take < piece->n) {
        err_set(err, ERR_BAD, "header section longer than %d bytes", HEADER_SECTION_MAX);
        return SIGN_REFUSED;
    }
    *piece = slice_skip(*piece, n == SIZE_MAX ? take : n + 2 - before);
    if (n == SIZE_MAX)
        return SIGN_OK;
    enum sign_status status = take_section(j, slice_from(buf_slice(&j->header).p, n), err);
    buf_fini(&j->header);
    return status;
}

/* --- body --- */

static enum sign_status
feed_body(struct sign_job *j, struct slice piece, struct err *err)
{
    for (unsigned i = 0; i < j->count && piece.n > 0; i++) {
        DKIM *handle = j->signatures[i].handle;
        DKIM_STAT stat = dkim_body(handle, (u_char *)(uintptr_t)piece.p, piece.n);
        if (stat != DKIM_STAT_OK)
            return library_failed(handle, "body", stat, err);
    }
    return SIGN_OK;
}

enum sign_status
sign_job_feed(struct sign_job *j, struct slice piece, struct err *err)
{
    if (guard_lines_feed(&j->lines, piece, err) != 0)
        return SIGN_REFUSED;
    if (!j->in_body) {
        enum sign_status status = feed_header(j, &piece, err);
        if (status != SIGN_OK || !j->in_body)
            return status;
    }
    return feed_body(j, piece, err);
}

/* --- the finished signature --- */

/* The value of tag=value in a signature field (RFC 6376 3.2); SLICE_NONE: none. */
static struct slice
tag_value(struct slice field, const char *tag)
{
    while (field.n > 0) {
        struct slice value = slice_cut_at(&field, ';');
        struct slice name = slice_trim(slice_cut_at(&value, '='));
        if (slice_eq(name, slice_str(tag)))
            return slice_trim(value);
    }
    return SLICE_NONE;
}

/* h= is where the library has been seen to cut silently. */
static bool
names_complete(struct slice names, unsigned wanted)
{
    unsigned count = 0, froms = 0;
    while (names.n > 0) {
        struct slice name = slice_trim(slice_cut_at(&names, ':'));
        froms += slice_eq_nocase(name, SLICE("From"));
        count++;
    }
    return count == wanted && froms == 2; /* the one there is, and the one that must not come */
}

static bool
signature_ok(const struct sign_job *j, struct slice value)
{
    unsigned wanted = j->signed_fields + (unsigned)ARRAY_LEN(OVERSIGNED) - 1;
    return slice_eq(tag_value(value, "c"), SLICE("relaxed/relaxed")) &&
           slice_eq(tag_value(value, "d"), slice_str(j->domain)) &&
           names_complete(tag_value(value, "h"), wanted) && tag_value(value, "bh").n > 0 &&
           tag_value(value, "b").n > 0 && tag_value(value, "l").p == NULL;
}

static enum sign_status
compute(struct signature *s, struct err *err)
{
    if (signing_key_use(s->key) != 0) {
        err_set(err, ERR_MEMORY, "copy of a key");
        return SIGN_AWAY;
    }
    keyshim_lend(s->key->pkey);
    DKIM_STAT stat = dkim_eom(s->handle, NULL);
    keyshim_take_back();
    return stat == DKIM_STAT_OK ? SIGN_OK : library_failed(s->handle, "end of message", stat, err);
}

static enum sign_status
add_signature(struct sign_job *j, struct signature *s, struct buf *fields, struct err *err)
{
    enum sign_status status = compute(s, err);
    if (status != SIGN_OK)
        return status;
    u_char *text = NULL;
    size_t n = 0;
    DKIM_STAT stat = dkim_getsighdr_d(s->handle, sizeof FIELD_NAME - 1, &text, &n);
    if (stat != DKIM_STAT_OK)
        return library_failed(s->handle, "signature field", stat, err);
    struct slice value = slice_from(text, n);
    if (!signature_ok(j, value)) {
        err_set(err, ERR_IO, "libopendkim made a signature that is not what was asked for");
        return SIGN_AWAY;
    }
    if (n < SIGNATURE_BYTES_MAX - sizeof FIELD_NAME - 2 && buf_add_str(fields, FIELD_NAME) &&
        buf_add(fields, value) && buf_add_str(fields, "\r\n"))
        return SIGN_OK;
    err_set(err, ERR_FULL, "no room for the signature field");
    return SIGN_AWAY;
}

/* A message may consist of a header section alone (RFC 5322 2.1). */
static enum sign_status
end_message(struct sign_job *j, struct err *err)
{
    if (guard_lines_end(&j->lines, err) != 0)
        return SIGN_REFUSED;
    return j->in_body ? SIGN_OK : take_section(j, buf_slice(&j->header), err);
}

enum sign_status
sign_job_finish(struct sign_job *j, struct buf *fields, struct err *err)
{
    size_t before = buf_slice(fields).n;
    enum sign_status status = end_message(j, err);
    for (unsigned i = 0; i < j->count && status == SIGN_OK; i++)
        status = add_signature(j, &j->signatures[i], fields, err);
    if (status != SIGN_OK)
        buf_truncate(fields, before);
    return status;
}

/* --- jobs --- */

static unsigned
find_keys(struct sign_job *j, struct slice domain)
{
    struct signing_key *keys[KEYS_PER_DOMAIN_MAX];
    unsigned count = keyset_match(j->engine->keys, domain, keys);
    for (unsigned i = 0; i < count; i++)
        j->signatures[i].key = keys[i];
    return count;
}

static struct sign_job *
job_alloc(struct sign_engine *e, struct slice domain)
{
    struct sign_job *j = calloc(1, sizeof *j);
    BUG_ON(j == NULL);
    j->engine = e;
    for (size_t i = 0; i < domain.n; i++)
        j->domain[i] = ascii_lower(domain.p[i]);
    buf_init(&j->header, HEADER_SECTION_MAX + END_OF_HEADER_BYTES);
    arena_init(&j->memory, LIBRARY_MEMORY_MAX);
    e->open_jobs++;
    return j;
}

enum sign_status
sign_job_new(struct sign_engine *e, struct slice domain, struct sign_job **out, struct err *err)
{
    if (!key_name_ok(domain)) {
        err_set(err, ERR_BAD, "not a domain that can sign");
        return SIGN_REFUSED;
    }
    struct sign_job *j = job_alloc(e, domain);
    j->count = find_keys(j, domain);
    if (j->count == 0) {
        err_set(err, ERR_NOT_FOUND, "no key for %.200s", j->domain);
        sign_job_free(j);
        return SIGN_NO_KEY;
    }
    *out = j;
    return SIGN_OK;
}

void
sign_job_free(struct sign_job *j)
{
    if (j == NULL)
        return;
    for (unsigned i = 0; i < j->count; i++) {
        if (j->signatures[i].handle != NULL)
            dkim_free(j->signatures[i].handle);
    }
    arena_fini(&j->memory);
    buf_fini(&j->header);
    j->engine->open_jobs--;
    free(j);
}

enum sign_status
sign_message(struct sign_engine *e, struct slice domain, struct slice message, struct buf *fields,
             struct err *err)
{
    struct sign_job *j = NULL;
    enum sign_status status = sign_job_new(e, domain, &j, err);
    while (status == SIGN_OK && message.n > 0)
        status = sign_job_feed(j, slice_cut(&message, SIGN_PIECE_BYTES), err);
    if (status == SIGN_OK)
        status = sign_job_finish(j, fields, err);
    sign_job_free(j);
    return status;
}

/* --- the engine --- */

static bool
set_list(DKIM_LIB *lib, dkim_opts_t option, const char *const *list)
{
    return dkim_options(lib, DKIM_OP_SETOPT, option, (void *)(uintptr_t)list, sizeof list) ==
           DKIM_STAT_OK;
}

static int
open_library(struct sign_engine *e, struct err *err)
{
    e->lib = dkim_init(library_alloc, library_free);
    if (e->lib == NULL)
        return err_set(err, ERR_MEMORY, "libopendkim: cannot start");
    if (!dkim_libfeature(e->lib, DKIM_FEATURE_ED25519) ||
        !dkim_libfeature(e->lib, DKIM_FEATURE_SHA256) ||
        !dkim_libfeature(e->lib, DKIM_FEATURE_OVERSIGN))
        return err_set(err, ERR_CONFIG, "libopendkim was built without Ed25519 or oversigning");
    u_int flags = DKIM_LIBFLAGS_NONE;
    if (dkim_options(e->lib, DKIM_OP_SETOPT, DKIM_OPTS_FLAGS, &flags, sizeof flags) !=
            DKIM_STAT_OK ||
        !set_list(e->lib, DKIM_OPTS_SIGNHDRS, SIGNED) ||
        !set_list(e->lib, DKIM_OPTS_OVERSIGNHDRS, OVERSIGNED))
        return err_set(err, ERR_CONFIG, "libopendkim refuses its options");
    return 0;
}

/* A signature made for trial; *asked_shim: the key came by the shim. */
static enum sign_status
try_out(struct sign_engine *e, bool *asked_shim, struct err *err)
{
    struct buf fields;
    uint64_t before = keyshim_reads();
    buf_init(&fields, SIGN_FIELDS_BYTES_MAX);
    enum sign_status status = sign_message(e, keyset_any_domain(e->keys),
                                           SLICE("From: <a@b>\r\n\r\nx\r\n"), &fields, err);
    buf_fini(&fields);
    *asked_shim = keyshim_reads() > before;
    return status;
}

static int
choose_key_form(struct sign_engine *e, struct err *err)
{
    bool asked_shim = false;
    if (keyset_any_domain(e->keys).n == 0)
        return 0;
    e->use_shim = true;
    if (try_out(e, &asked_shim, err) == SIGN_OK && asked_shim)
        return 0;
    e->use_shim = false;
    return try_out(e, &asked_shim, err) == SIGN_OK ? 0 : err_context(err, "signature for trial");
}

struct sign_engine *
sign_engine_new(struct keyset *keys, struct err *err)
{
    struct sign_engine *e = calloc(1, sizeof *e);
    BUG_ON(e == NULL);
    e->keys = keys;
    if (open_library(e, err) == 0 && choose_key_form(e, err) == 0)
        return e;
    sign_engine_free(e);
    return NULL;
}

void
sign_engine_free(struct sign_engine *e)
{
    if (e == NULL)
        return;
    BUG_ON(e->open_jobs > 0);
    if (e->lib != NULL)
        dkim_close(e->lib);
    free(e);
}

bool
sign_engine_uses_shim(const struct sign_engine *e)
{
    return e->use_shim;
}

void
sign_engine_avoid_shim(struct sign_engine *e)
{
    e->use_shim = false;
}
