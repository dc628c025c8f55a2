/* What a reload cannot change: keys without KEY_RELOADABLE must have the values
 * that the process was started with. */
#include <stdio.h>
#include <string.h>

#include "relay/sys/config/file_internal.h"

static bool
same_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b) == 0;
}

static bool
same_names(const struct config_list *a, const struct config_list *b)
{
    if (a->count != b->count)
        return false;
    for (unsigned i = 0; i < a->count; i++)
        if (!same_text((const char **)a->items + i, (const char **)b->items + i))
            return false;
    return true;
}

static bool
same_value(const struct config_key *k, const char *a, const char *b)
{
    a += k->offset;
    b += k->offset;
    if (config_type_is_array(k->type))
        return same_names((const void *)a, (const void *)b);
    switch (k->type) {
    case VALUE_NUMBER:
    case VALUE_CHOICE:
        return memcmp(a, b, sizeof(unsigned)) == 0;
    case VALUE_PORT:
        return memcmp(a, b, sizeof(uint16_t)) == 0;
    case VALUE_DURATION:
    case VALUE_SIZE:
    case VALUE_DATE:
        return memcmp(a, b, sizeof(uint64_t)) == 0;
    case VALUE_RATE:
        return memcmp(a, b, sizeof(struct config_rate)) == 0;
    case VALUE_SWITCH:
        return memcmp(a, b, sizeof(bool)) == 0;
    default:
        return same_text(a, b);
    }
}

/* The keys of one section, in one struct of each file. */
static void
compare_keys(struct config_file *next, const char *section, const char *where, const char *bases[2])
{
    char name[CONFIG_WHERE_MAX];
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        const struct config_key *k = &CONFIG_KEYS[i];
        if ((k->flags & KEY_RELOADABLE) != 0 || strcmp(k->section, section) != 0 ||
            same_value(k, bases[0], bases[1]))
            continue;
        snprintf(name, sizeof name, "%s%s%s", where, where[0] != '\0' ? "." : "", k->name);
        config_file_complain(next, CONFIG_ERROR, name, "changed: this needs a restart");
    }
}

static bool
is_fixed(const struct config_section *s)
{
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++)
        if (strcmp(CONFIG_KEYS[i].section, s->path) == 0 &&
            (CONFIG_KEYS[i].flags & KEY_RELOADABLE) == 0)
            return true;
    return false;
}

static void
compare_list(struct config_file *next, const struct config_section *s,
             const struct config_file *now)
{
    const struct config_list *a = (const void *)((const char *)&next->draft + s->offset);
    const struct config_list *b = (const void *)((const char *)&now->draft + s->offset);
    char where[CONFIG_WHERE_MAX];
    if (a->count != b->count) {
        config_file_complain(next, CONFIG_ERROR, s->path,
                             "%u entries instead of %u: this needs a restart", a->count, b->count);
        return;
    }
    for (unsigned i = 0; i < a->count; i++) {
        const char *bases[] = {(const char *)a->items + i * s->element_bytes,
                               (const char *)b->items + i * s->element_bytes};
        snprintf(where, sizeof where, "%s[%u]", s->path, i);
        compare_keys(next, s->path, where, bases);
    }
}

/* Lists inside of lists (domains.dkim) can all be changed. */
void
config_file_compare(struct config_file *next, const struct config_file *now)
{
    const char *bases[] = {(const char *)&next->draft, (const char *)&now->draft};
    compare_keys(next, "", "", bases);
    for (size_t i = 0; i < CONFIG_SECTION_COUNT; i++) {
        const struct config_section *s = &CONFIG_SECTIONS[i];
        if (s->element_bytes == 0)
            compare_keys(next, s->path, s->path, bases);
        else if (strchr(s->path, '.') == NULL && is_fixed(s))
            compare_list(next, s, now);
    }
}
