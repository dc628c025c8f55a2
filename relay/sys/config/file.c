/*
 * Walks libconfig's tree beside the table: every setting must have a key, every
 * key a value. libconfig checks only the syntax and that no name stands twice.
 */
#include "relay/sys/config/file.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "relay/sys/base/bug.h"
#include "relay/sys/config/file_internal.h"
#include "relay/sys/config/value.h"

/* A group that is being read. */
struct place {
    struct config_file *file;
    const char *section;     /* "" for the top */
    const char *where;       /* "credentials[2]", as people are told */
    config_setting_t *group; /* NULL: the file does not have it */
    char *base;              /* the struct that its keys fill */
};

/* ---- problems ------------------------------------------------------------- */

static void
add_problem(struct config_file *f, enum config_severity severity, unsigned line, const char *text)
{
    unsigned *count = severity == CONFIG_ERROR ? &f->error_count : &f->warning_count;
    (*count)++;
    if (f->problem_count == CONFIG_PROBLEMS_MAX)
        return;
    struct config_problem *p = &f->problems[f->problem_count++];
    p->line = line;
    p->order = f->problem_count;
    p->severity = severity;
    snprintf(p->text, sizeof p->text, "%s", text);
}

/* "a[2].b" in libconfig's spelling is "a.[2].b"; the deepest part that is there. */
static unsigned
line_of(const struct config_file *f, const char *where)
{
    char path[2 * CONFIG_WHERE_MAX];
    size_t n = 0;
    for (const char *p = where; *p != '\0' && n + 2 < sizeof path; p++) {
        if (*p == '[')
            path[n++] = '.';
        path[n++] = *p;
    }
    path[n] = '\0';
    while (path[0] != '\0') {
        const config_setting_t *s = config_lookup(&f->tree, path);
        if (s != NULL)
            return s->line;
        char *cut = strrchr(path, '.');
        *(cut != NULL ? cut : path) = '\0';
    }
    return 0;
}

void
config_file_complain(struct config_file *f, enum config_severity severity, const char *where,
                     const char *fmt, ...)
{
    char why[CONFIG_WHY_MAX], text[CONFIG_WHERE_MAX + CONFIG_WHY_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(why, sizeof why, fmt, args);
    va_end(args);
    snprintf(text, sizeof text, "%s%s%s", where, where[0] != '\0' ? ": " : "", why);
    add_problem(f, severity, line_of(f, where), text);
}

static int
by_line(const void *a, const void *b)
{
    const struct config_problem *x = a, *y = b;
    if (x->line != y->line)
        return x->line < y->line ? -1 : 1;
    return x->order < y->order ? -1 : 1;
}

void
config_file_print(const struct config_file *f, FILE *out)
{
    struct config_problem *sorted = calloc(f->problem_count + 1u, sizeof *sorted);
    BUG_ON(sorted == NULL);
    memcpy(sorted, f->problems, f->problem_count * sizeof *sorted);
    qsort(sorted, f->problem_count, sizeof *sorted, by_line);
    for (unsigned i = 0; i < f->problem_count; i++) {
        fprintf(out, "%s:", f->name);
        if (sorted[i].line > 0)
            fprintf(out, "%u:", sorted[i].line);
        fprintf(out, " %s%s\n", sorted[i].severity == CONFIG_WARNING ? "warning: " : "",
                sorted[i].text);
    }
    free(sorted);
    unsigned more = f->error_count + f->warning_count - f->problem_count;
    if (more > 0)
        fprintf(out, "%s: and %u more\n", f->name, more);
}

unsigned
config_file_errors(const struct config_file *f)
{
    return f->error_count;
}

unsigned
config_file_warnings(const struct config_file *f)
{
    return f->warning_count;
}

const struct config_draft *
config_file_draft(const struct config_file *f)
{
    return &f->draft;
}

/* ---- memory --------------------------------------------------------------- */

void *
config_file_alloc(struct config_file *f, size_t n)
{
    void *p = arena_alloc(&f->arena, n);
    BUG_ON(p == NULL);
    return p;
}

const char *
config_file_keep(struct config_file *f, struct slice text)
{
    struct slice copy;
    BUG_ON(!arena_copy(&f->arena, text, &copy));
    return copy.p;
}

/* ---- names ---------------------------------------------------------------- */

static void
join(char out[CONFIG_WHERE_MAX], const char *where, const char *name)
{
    snprintf(out, CONFIG_WHERE_MAX, "%s%s%s", where, where[0] != '\0' ? "." : "", name);
}

/* "dkim" of "domains.dkim" */
static const char *
section_name(const struct config_section *s)
{
    const char *dot = strrchr(s->path, '.');
    return dot != NULL ? dot + 1 : s->path;
}

/* The name of this section that is the nearest to what was written. */
static const char *
nearest(const char *section, const char *name)
{
    const char *best = NULL;
    unsigned best_distance = (unsigned)strlen(name) / 3 + 2; /* farther is no likeness */
    for (size_t i = 0; i < CONFIG_KEY_COUNT + CONFIG_SECTION_COUNT; i++) {
        bool is_key = i < CONFIG_KEY_COUNT;
        const char *candidate =
            is_key ? CONFIG_KEYS[i].name : section_name(&CONFIG_SECTIONS[i - CONFIG_KEY_COUNT]);
        if (is_key && strcmp(CONFIG_KEYS[i].section, section) != 0)
            continue;
        if (!is_key && config_section_find(section, slice_str(candidate)) == NULL)
            continue;
        unsigned d = config_distance(slice_str(name), slice_str(candidate));
        if (d < best_distance) {
            best_distance = d;
            best = candidate;
        }
    }
    return best;
}

/* Another section that has a key of just this name. */
static const char *
elsewhere(const char *name)
{
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++)
        if (strcmp(CONFIG_KEYS[i].name, name) == 0)
            return CONFIG_KEYS[i].section;
    return NULL;
}

static void
complain_unknown(const struct place *p, const config_setting_t *s)
{
    char where[CONFIG_WHERE_MAX], text[CONFIG_WHERE_MAX + CONFIG_WHY_MAX];
    const char *near = nearest(p->section, s->name), *other = elsewhere(s->name);
    join(where, p->where, s->name);
    if (near != NULL)
        snprintf(text, sizeof text, "%s: unknown key; is \"%s\" meant?", where, near);
    else if (other != NULL)
        snprintf(text, sizeof text, "%s: unknown key here; it belongs %s%s", where,
                 other[0] != '\0' ? "in " : "on the top level", other);
    else
        snprintf(text, sizeof text, "%s: unknown key", where);
    add_problem(p->file, CONFIG_ERROR, s->line, text);
}

/* ---- values --------------------------------------------------------------- */

static const char *const TYPE_NAMES[] = {
    [CONFIG_TYPE_NONE] = "nothing",
    [CONFIG_TYPE_GROUP] = "a group { }",
    [CONFIG_TYPE_INT] = "a number",
    [CONFIG_TYPE_INT64] = "a number",
    [CONFIG_TYPE_FLOAT] = "a number with a point",
    [CONFIG_TYPE_STRING] = "a text",
    [CONFIG_TYPE_BOOL] = "true or false",
    [CONFIG_TYPE_ARRAY] = "an array [ ]",
    [CONFIG_TYPE_LIST] = "a list ( )",
};

static int
wanted_type(const struct config_key *k)
{
    switch (k->type) {
    case VALUE_NUMBER:
    case VALUE_PORT:
        return CONFIG_TYPE_INT;
    case VALUE_SWITCH:
        return CONFIG_TYPE_BOOL;
    case VALUE_NAMES:
    case VALUE_IPS:
    case VALUE_PARTIES:
    case VALUE_NETWORKS:
        return CONFIG_TYPE_ARRAY;
    default:
        return CONFIG_TYPE_STRING;
    }
}

static void
complain_at(const struct place *p, const char *name, const config_setting_t *s, const char *why)
{
    char where[CONFIG_WHERE_MAX], text[CONFIG_WHERE_MAX + CONFIG_WHY_MAX];
    join(where, p->where, name);
    snprintf(text, sizeof text, "%s: %s", where, why);
    add_problem(p->file, CONFIG_ERROR, s->line, text);
}

static bool
type_fits(const struct place *p, const char *name, const config_setting_t *s, int wanted)
{
    char why[CONFIG_WHY_MAX];
    int got = s->type == CONFIG_TYPE_INT64 ? CONFIG_TYPE_INT : s->type;
    if (got == wanted)
        return true;
    snprintf(why, sizeof why, "%s is wanted, this is %s", TYPE_NAMES[wanted], TYPE_NAMES[got]);
    complain_at(p, name, s, why);
    return false;
}

static void
read_names(const struct place *p, const struct config_key *k, config_setting_t *s)
{
    char why[CONFIG_WHY_MAX];
    struct config_list *list = (struct config_list *)(void *)(p->base + k->offset);
    unsigned count = (unsigned)config_setting_length(s);
    if (count < k->least || count > k->most) {
        snprintf(why, sizeof why, "%u entries: %u to %u are wanted", count, (unsigned)k->least,
                 (unsigned)k->most);
        complain_at(p, k->name, s, why);
        return;
    }
    const char **names = config_file_alloc(p->file, count * sizeof *names);
    list->items = names;
    for (unsigned i = 0; i < count; i++) {
        const config_setting_t *e = config_setting_get_elem(s, i);
        if (type_fits(p, k->name, e, CONFIG_TYPE_STRING) &&
            !config_value_store(p->file, k, slice_str(e->value.sval), &names[list->count], why))
            complain_at(p, k->name, e, why);
        else if (names[list->count] != NULL)
            list->count++;
    }
}

/* A secret alone, or two that are both live. */
static void
read_pair(const struct place *p, const struct config_key *k, config_setting_t *s)
{
    char why[CONFIG_WHY_MAX];
    const char **pair = (const char **)(void *)(p->base + k->offset);
    int count = config_setting_length(s);
    if (count < 1 || count > 2) {
        complain_at(p, k->name, s, "one or two are wanted");
        return;
    }
    for (unsigned i = 0; i < (unsigned)count; i++) {
        const config_setting_t *e = config_setting_get_elem(s, i);
        if (type_fits(p, k->name, e, CONFIG_TYPE_STRING) &&
            !config_value_store(p->file, k, slice_str(e->value.sval), &pair[i], why))
            complain_at(p, k->name, e, why);
    }
}

/* The value as text, whatever libconfig made of it. */
static struct slice
value_text(const config_setting_t *s, char number[CONFIG_VALUE_TEXT])
{
    if (s->type == CONFIG_TYPE_STRING)
        return slice_str(s->value.sval != NULL ? s->value.sval : "");
    if (s->type == CONFIG_TYPE_BOOL)
        return slice_str(s->value.ival != 0 ? "true" : "false");
    snprintf(number, CONFIG_VALUE_TEXT, "%lld", config_setting_get_int64(s));
    return slice_str(number);
}

/* A secret, or two of which one replaces the other. */
static bool
is_pair(const struct config_key *k)
{
    return k->type == VALUE_HASH || k->type == VALUE_SHA256 || k->type == VALUE_SCRAM;
}

static void
read_value(const struct place *p, const struct config_key *k, config_setting_t *s)
{
    char why[CONFIG_WHY_MAX], number[CONFIG_VALUE_TEXT];
    if (is_pair(k) && s->type == CONFIG_TYPE_ARRAY) {
        read_pair(p, k, s);
        return;
    }
    if (!type_fits(p, k->name, s, wanted_type(k)))
        return;
    if (config_type_is_array(k->type)) {
        read_names(p, k, s);
        return;
    }
    struct slice text = value_text(s, number);
    bool may_be_empty = k->fallback != NULL && k->fallback[0] == '\0';
    if (text.n == 0 && may_be_empty)
        return; /* the default stands there */
    if (!config_value_store(p->file, k, text, p->base + k->offset, why))
        complain_at(p, k->name, s, why);
}

/* The default, also beneath a value that turns out to be wrong. */
static void
store_default(const struct place *p, const struct config_key *k)
{
    char why[CONFIG_WHY_MAX];
    void *at = p->base + k->offset;
    if (config_type_is_array(k->type))
        return;
    if (is_pair(k))
        ((const char **)at)[0] = ((const char **)at)[1] = "";
    else if (k->type >= VALUE_TEXT && (k->fallback == NULL || k->fallback[0] == '\0'))
        *(const char **)at = "";
    else if (k->fallback != NULL)
        BUG_ON(!config_value_store(p->file, k, slice_str(k->fallback), at, why));
}

static void
read_key(const struct place *p, const struct config_key *k)
{
    char where[CONFIG_WHERE_MAX];
    config_setting_t *s = p->group != NULL ? config_setting_get_member(p->group, k->name) : NULL;
    store_default(p, k);
    if (s != NULL) {
        read_value(p, k, s);
    } else if (k->fallback == NULL) {
        join(where, p->where, k->name);
        config_file_complain(p->file, CONFIG_ERROR, where, "must be given");
    }
}

/* ---- sections ------------------------------------------------------------- */

static void read_place(const struct place *p);

/* Entry i of a list; false when it is no group, so that it has no keys. */
static bool
read_entry(const struct place *list, config_setting_t *s, unsigned i)
{
    char where[CONFIG_WHERE_MAX];
    snprintf(where, sizeof where, "%.100s[%u]", list->where, i);
    struct place entry = *list;
    entry.where = where;
    entry.group = config_setting_get_elem(s, i);
    if (entry.group->type != CONFIG_TYPE_GROUP) {
        config_file_complain(list->file, CONFIG_ERROR, where, "a group { } is wanted, this is %s",
                             TYPE_NAMES[entry.group->type]);
        return false;
    }
    read_place(&entry);
    return true;
}

static void
read_entries(const struct place *p, const struct config_section *sec, config_setting_t *s)
{
    struct config_list *list = (struct config_list *)(void *)(p->base + sec->offset);
    unsigned count = s != NULL ? (unsigned)config_setting_length(s) : 0;
    struct place entries = *p;
    if (count < sec->least || count > sec->most) {
        config_file_complain(p->file, CONFIG_ERROR, p->where, "%u entries: %u to %u are wanted",
                             count, sec->least, sec->most);
        return;
    }
    list->items = config_file_alloc(p->file, (count + 1) * sec->element_bytes);
    bool whole = true;
    for (unsigned i = 0; i < count; i++) {
        entries.base = (char *)list->items + i * sec->element_bytes;
        whole &= read_entry(&entries, s, i);
    }
    list->count = whole ? count : 0; /* so that entry i is always that of the file */
}

static void
read_section(const struct place *p, const struct config_section *sec, const char *name)
{
    config_setting_t *s = p->group != NULL ? config_setting_get_member(p->group, name) : NULL;
    char where[CONFIG_WHERE_MAX];
    join(where, p->where, name);
    bool is_list = sec->element_bytes > 0;
    if (s != NULL && !type_fits(p, name, s, is_list ? CONFIG_TYPE_LIST : CONFIG_TYPE_GROUP))
        return;
    struct place inner = *p;
    inner.section = sec->path;
    inner.where = where;
    inner.group = s;
    if (is_list)
        read_entries(&inner, sec, s);
    else
        read_place(&inner);
}

static void
find_unknown(const struct place *p)
{
    int count = p->group != NULL ? config_setting_length(p->group) : 0;
    for (int i = 0; i < count; i++) {
        const config_setting_t *s = config_setting_get_elem(p->group, (unsigned)i);
        if (config_key_find(p->section, slice_str(s->name)) == NULL &&
            config_section_find(p->section, slice_str(s->name)) == NULL)
            complain_unknown(p, s);
    }
}

static void
read_place(const struct place *p)
{
    find_unknown(p);
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++)
        if (strcmp(CONFIG_KEYS[i].section, p->section) == 0)
            read_key(p, &CONFIG_KEYS[i]);
    for (size_t i = 0; i < CONFIG_SECTION_COUNT; i++) {
        const char *path = CONFIG_SECTIONS[i].path, *dot = strrchr(path, '.');
        struct slice parent = dot != NULL ? slice_from(path, (size_t)(dot - path)) : SLICE_NONE;
        if (slice_eq(parent, slice_str(p->section)))
            read_section(p, &CONFIG_SECTIONS[i], dot != NULL ? dot + 1 : path);
    }
}

/* ---- the text ------------------------------------------------------------- */

static struct config_file *
file_new(const char *name, enum config_look look)
{
    struct config_file *f = calloc(1, sizeof *f);
    BUG_ON(f == NULL);
    snprintf(f->name, sizeof f->name, "%s", name);
    f->look = look;
    config_init(&f->tree);
    /* CONFIG_FILE_BYTES_MAX and CONFIG_ENTRIES_MAX are the budget. */
    arena_init(&f->arena, SIZE_MAX / 2);
    return f;
}

/* libconfig reads other files at a line that begins with @include. */
static unsigned
include_line(struct slice text)
{
    for (unsigned line = 1; text.n > 0; line++)
        if (slice_starts(slice_trim(slice_cut_at(&text, '\n')), SLICE("@include")))
            return line;
    return 0;
}

static bool
parse_tree(struct config_file *f, struct slice text)
{
    unsigned include = include_line(text);
    if (include != 0) {
        add_problem(f, CONFIG_ERROR, include, "@include: not supported, write one file");
        return false;
    }
    if (memchr(text.p, '\0', text.n) != NULL) {
        add_problem(f, CONFIG_ERROR, 0, "not a text file: it has a NUL byte");
        return false;
    }
    const char *copy = config_file_keep(f, text);
    if (config_read_string(&f->tree, copy) == CONFIG_TRUE)
        return true;
    const char *why = config_error_text(&f->tree);
    int line = config_error_line(&f->tree);
    if (why == NULL || strcmp(why, "syntax error") == 0)
        why = "syntax error: here, or a \";\", quote or bracket is missing before";
    add_problem(f, CONFIG_ERROR, line > 0 ? (unsigned)line : 0, why);
    return false;
}

struct config_file *
config_file_parse(const char *name, struct slice text, enum config_look look)
{
    struct config_file *f = file_new(name, look);
    if (text.n > CONFIG_FILE_BYTES_MAX) {
        add_problem(f, CONFIG_ERROR, 0, "the file is too large");
        return f;
    }
    if (!parse_tree(f, text.n > 0 ? text : SLICE("\n")))
        return f;
    struct place top = {.file = f,
                        .section = "",
                        .where = "",
                        .group = config_root_setting(&f->tree),
                        .base = (char *)&f->draft};
    read_place(&top);
    config_file_check(f);
    return f;
}

static int
read_text(const char *path, struct buf *text)
{
    FILE *in = fopen(path, "re");
    if (in == NULL)
        return -1;
    enum { PIECE = 64 << 10 };
    for (;;) {
        char *to = buf_reserve(text, PIECE);
        size_t n = to != NULL ? fread(to, 1, PIECE, in) : 0;
        if (n == 0)
            break;
        buf_commit(text, n);
    }
    int failed = ferror(in);
    int saved = errno;
    fclose(in);
    errno = saved;
    return failed ? -1 : 0;
}

static bool
holds_hashes(const struct config_file *f)
{
    const struct config_file_credential *c = f->draft.credentials.items;
    for (unsigned i = 0; i < f->draft.credentials.count; i++)
        if ((c[i].password_hashes[0][0] != '\0' && c[i].password_file[0] == '\0') ||
            c[i].scrams[0][0] != '\0')
            return true;
    return false;
}

struct config_file *
config_file_read(const char *path)
{
    struct buf text;
    struct stat st;
    struct config_file *f;
    buf_init(&text, (size_t)2 * CONFIG_FILE_BYTES_MAX);
    if (read_text(path, &text) != 0) {
        f = file_new(path, CONFIG_LOOK_AT_FILES);
        add_problem(f, CONFIG_ERROR, 0, strerror(errno));
    } else {
        f = config_file_parse(path, buf_slice(&text), CONFIG_LOOK_AT_FILES);
        bool has_status = stat(path, &st) == 0;
        if (has_status && (st.st_mode & S_IWOTH) != 0)
            add_problem(f, CONFIG_ERROR, 0, "everybody may write it: chmod o= it");
        else if (has_status && (st.st_mode & S_IROTH) != 0 && holds_hashes(f))
            add_problem(f, CONFIG_WARNING, 0, "everybody may read it, and it has password hashes");
    }
    buf_fini(&text);
    return f;
}

void
config_file_free(struct config_file *f)
{
    if (f == NULL)
        return;
    config_destroy(&f->tree);
    arena_fini(&f->arena);
    free(f);
}
